//! Texts that nobody would write: good ones with bytes changed, cut, doubled and put together. The readers must not
//! panic, must come to an end, and must read back what they have read.
//!
//! `RHYTHMITE_MUTATIONS=1000000 cargo test -p rhythmite-influx --test mutations --release` looks longer; the seed of a
//! failure is in its message, and its text goes to `data/mutations.txt`.

use rhythmite_influx::influxql::{self, Params};
use rhythmite_influx::line_protocol::{LineParser, ParseOptions, Precision, for_each_point, line_end, write_line};
use serde_json::Value;

const STATEMENTS: &str = include_str!("data/influxql/statements.json");
/// Texts that once failed, one a line; `\n` stands for a line feed.
const FOUND: &str = include_str!("data/mutations.txt");
/// What means something to one of the readers.
const PIECES: [&str; 48] = [
    ",",
    "=",
    " ",
    "\"",
    "\\",
    "\n",
    "\r\n",
    "#",
    "i",
    "u",
    "t",
    "-",
    "+",
    ".",
    "e308",
    "9223372036854775808",
    "(",
    ")",
    "/",
    "'",
    "::",
    "*",
    ";",
    "--",
    "/*",
    "*/",
    "$p",
    "=~",
    "!~",
    "<>",
    "1h",
    "9999999999999w",
    "GROUP BY",
    "time(",
    "FROM",
    "SELECT",
    "fill(",
    "INTO",
    ":MEASUREMENT",
    "tz('",
    "AND",
    "\u{feff}",
    "ä",
    "\0",
    "[",
    "<<",
    "1e",
    "0x",
];

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

fn mutated(random: &mut Random, corpus: &[String]) -> Vec<u8> {
    let mut text = corpus[random.below(corpus.len())].clone().into_bytes();
    for _ in 0..=random.below(4) {
        let at = random.below(text.len() + 1);
        match random.below(7) {
            0 if at < text.len() => text[at] ^= 1 << random.below(8),
            1 => drop(text.splice(at..at, PIECES[random.below(PIECES.len())].bytes())),
            2 => text.truncate(at),
            3 => {
                let end = (at + random.below(12)).min(text.len());
                text.drain(at..end);
            }
            4 => {
                let other = corpus[random.below(corpus.len())].as_bytes();
                text.splice(at.., other[random.below(other.len() + 1)..].iter().copied());
            }
            5 => {
                let end = (at + random.below(20)).min(text.len());
                let again = text[at..end].repeat(1 + random.below(3));
                text.splice(at..at, again);
            }
            _ => {
                let piece = PIECES[random.below(PIECES.len())].as_bytes();
                let end = (at + piece.len()).min(text.len());
                text.splice(at..end, piece.iter().copied());
            }
        }
    }
    text
}

fn rounds() -> usize {
    std::env::var("RHYTHMITE_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

fn found() -> impl Iterator<Item = Vec<u8>> {
    FOUND.lines().filter(|line| !line.starts_with("//")).map(|line| line.replace("\\n", "\n").into_bytes())
}

fn check_lines(body: &[u8]) {
    let options = ParseOptions::new(Precision::Nanosecond, 7);
    let mut lines = 0;
    for_each_point(body, &options, |point| {
        lines += 1;
        let Ok(point) = point else { return };
        // What is read can be written, and reads back as itself.
        let mut scratch: Vec<String> = vec![String::new(); point.fields.len()];
        let names: Vec<String> = point.fields.iter().map(|field| field.name.text().into_owned()).collect();
        let values = point.fields.iter().zip(&mut scratch).map(|(field, scratch)| field.value.resolve(scratch));
        let mut text = String::new();
        let named = names.iter().map(String::as_str).zip(values);
        if write_line(&mut text, &point.key, named, Some(point.row.timestamp_ns)).is_err() {
            return;
        }
        let mut again = 0;
        for_each_point(text.as_bytes(), &options, |same| {
            again += 1;
            let same = same.unwrap_or_else(|e| panic!("{text:?} does not read back: {}", e.reason));
            assert_eq!(same.key.canonical(), point.key.canonical(), "{text:?}");
            assert_eq!(
                (same.fields.len(), same.row.timestamp_ns),
                (point.fields.len(), point.row.timestamp_ns),
                "{text:?}"
            );
        });
        assert_eq!(again, 1, "{text:?}");
    });
    assert!(lines <= body.len() + 1);
    // Cutting a text into lines comes to its end.
    let (mut at, mut cuts) = (0, 0);
    while let Some(end) = line_end(&body[at..]) {
        at += end + 1;
        cuts += 1;
    }
    assert!(at <= body.len() && cuts <= body.len());
    let mut parser = LineParser::new(body, &options);
    let mut keys = 0;
    while parser.next_key(b"").is_some() {
        keys += 1;
        assert!(keys <= body.len() + 1, "the parser does not come to an end");
    }
}

fn check_query(text: &str) {
    let Ok(query) = influxql::parse_query(text, &Params::default()) else { return };
    for statement in &query.statements {
        let written = statement.to_string();
        if written.contains("[REDACTED]") {
            continue;
        }
        let again = influxql::parse_query(&written, &Params::default());
        let again = again.unwrap_or_else(|e| panic!("{text:?} was read, and written as {written:?}: {e}"));
        assert_eq!(again.statements.len(), 1, "{written:?}");
        assert_eq!(again.statements[0].to_string(), written, "{text:?}");
        if let influxql::Statement::Select(select) = statement {
            let _ = influxql::compile(select, 0, influxql::Mistakes::Kept);
        }
    }
}

/// Runs a check and says what it was that failed.
fn run(what: &str, text: &[u8], check: impl Fn(&[u8]) + std::panic::RefUnwindSafe) {
    let done = std::panic::catch_unwind(|| check(text));
    assert!(done.is_ok(), "{what}: {:?}", String::from_utf8_lossy(text));
}

#[test]
fn changed_lines_do_no_harm() {
    let corpus: Vec<String> = [
        "cpu,host=a,dc=x usage=1.5,n=2i 1700000000000000000",
        "weather,city=New\\ York,x=a\\,b temp=-3.5e-7,ok=t,name=\"say \\\"hi\\\"\\\\\" 5",
        "m\\,x\\ y,a\\=b=c f\\ 1=18446744073709551615u,g=false",
        "# comment\n\nm v=1\nm v=2 2\r\n  m v=3 3\n",
        "log s=\"a\nb,c=d 1\ne\",t=TRUE -9\nlog s=\"\" 1",
        "m a=1,a=2,b=9223372036854775807i,c=1e308,d=.5,e=5. 9223372036854775806",
    ]
    .map(str::to_owned)
    .to_vec();
    found().for_each(|text| run("found before", &text, check_lines));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds() {
        let text = mutated(&mut random, &corpus);
        run(&format!("round {round}"), &text, check_lines);
    }
}

#[test]
fn changed_statements_do_no_harm() {
    let statements: Vec<Value> = serde_json::from_str(STATEMENTS).unwrap();
    let corpus: Vec<String> = statements.iter().filter_map(|case| Some(case["q"].as_str()?.to_owned())).collect();
    let check = |text: &[u8]| check_query(&String::from_utf8_lossy(text));
    found().for_each(|text| run("found before", &text, check));
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for round in 0..rounds() {
        let text = mutated(&mut random, &corpus);
        run(&format!("round {round}"), &text, check);
    }
}
