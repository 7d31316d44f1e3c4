//! Requests made by damaging good ones. The answer is series or an error: no panic, and none takes long.
//!
//! `RHYTHMITE_FUZZ_ROUNDS` says how many (a few thousand without it), `RHYTHMITE_FUZZ_SEED` where to begin,
//! `RHYTHMITE_FUZZ_KIND` (`target`, `time`, `pattern`, `json`, `message`) that only such are made; `.ci/fuzz` goes on until it
//! is stopped. What fails is printed as a line for `data/regressions.txt`, which is replayed first.

mod odd;

use rhythmite_graphite::answer::Params;
use rhythmite_graphite::answer::find::FindOptions;
use rhythmite_graphite::events::{NewEvent, words};
use rhythmite_graphite::{carbonapi, dashboard, glob, tags, target, time};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const ROUNDS: u64 = 6_000;
/// Longest time for one request: a second of a processor, and what a debug build takes longer.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });
/// Longest text; the limits on length have tests of their own.
const BYTES_MAX: usize = 4_000;

const REGRESSIONS: &str = include_str!("data/regressions.txt");

const TARGETS: [&str; 11] = [
    include_str!("data/alias.txt"),
    include_str!("data/arguments.txt"),
    include_str!("data/calculate.txt"),
    include_str!("data/carbonapi.txt"),
    include_str!("data/combine.txt"),
    include_str!("data/filter_data.txt"),
    include_str!("data/filter_series.txt"),
    include_str!("data/graph.txt"),
    include_str!("data/sorting.txt"),
    include_str!("data/special.txt"),
    include_str!("data/transform.txt"),
];

const TIMES: [&str; 12] = [
    "-1h",
    "now",
    "midnight+1d",
    "12:00_20240601",
    "noon yesterday",
    "6pm+2days",
    "1717243200",
    "monday",
    "june 5",
    "06/01/24",
    "teatime-30min",
    "20240601",
];

const PATTERNS: [&str; 7] = ["a.*.c", "a.{b,c{d,e}}.f", "a.**.b", "a.[a-z]?[!0-9].*", "x{a,b}*", "[]]", "a;b=c"];

const EVENTS: [&str; 3] = [
    r#"{"what":"w","tags":["a","b c"],"when":1717243200.5,"data":{"k":[1,null,true,"x'\""]}}"#,
    r#"{"what":"w","tags":"\"a, b\" c, d"}"#,
    r#"{"graphs":[["n",{"target":["n.a"]},"/r"]],"name":"x"}"#,
];

const MESSAGES: [&str; 2] = ["\x0a\x0c\x0a\x03a.*\x10\x05\x18\x09\x2a\x01x", "\x0a\x01*\x10\x03\x0a\x01b"];

/// Pieces that mean something somewhere.
const PIECES: [&str; 44] = [
    "(",
    ")",
    "{",
    "}",
    ",",
    ".",
    "*",
    "**",
    "[",
    "]",
    "!",
    "\"",
    "'",
    "\\",
    "|",
    "$1",
    "=",
    ";",
    "%",
    "%d",
    "-",
    "+",
    "0",
    "1",
    "-1",
    "9223372036854775807",
    "1e308",
    "1e-308",
    "inf",
    "nan",
    "none",
    "true",
    "\"1min\"",
    "\"-1s\"",
    "\"99999d\"",
    "a.b",
    "template(",
    "seriesByTag(",
    "movingAverage(",
    "timeShift(",
    "\u{0}",
    "é",
    "\u{1F600}",
    " ",
];

/// xorshift64*: the same seed, the same requests.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn one<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// A place between two characters.
fn place(random: &mut Random, text: &str) -> usize {
    let mut at = random.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn damaged(random: &mut Random, seeds: &[&str]) -> String {
    let mut text = random.one(seeds).to_owned();
    for _ in 0..=random.below(4) {
        let (a, b) = (place(random, &text), place(random, &text));
        let (from, to) = (a.min(b), a.max(b));
        text = match random.below(5) {
            0 => [&text[..from], &text[to..]].concat(),
            1 => [&text[..to], &text[from..]].concat(),
            2 => [&text[..from], random.one(&PIECES), &text[from..]].concat(),
            3 => [&text[..from], random.one(&PIECES), &text[to..]].concat(),
            _ => {
                let other = random.one(seeds);
                [&text[..from], &other[place(random, other)..]].concat()
            }
        };
        if text.len() > BYTES_MAX {
            let end = (0..=BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
        }
    }
    text
}

fn run(kind: &str, text: &str) {
    let zone = jiff::tz::TimeZone::UTC;
    match kind {
        "target" => {
            let _ = (target::parse(text), target::parse_prefix(text));
            odd::render(text);
        }
        "time" => {
            let _ = (time::parse_time(text, &zone, odd::NOW), time::parse_interval(text));
        }
        "pattern" => {
            if let Ok(pattern) = glob::split_pattern(text) {
                let _ = (glob::matches_path(&pattern, text), glob::matches_path(&pattern, "a.b.c.d.e.f"));
            }
            let _ = tags::TagExpr::parse(text);
            let query = ["query", "from", "position"].map(|k| (k.to_owned(), text.to_owned()));
            let _ = FindOptions::parse(Params(&query), odd::NOW, &zone);
        }
        "json" => {
            let _ = (NewEvent::parse(text.as_bytes()), words(text));
            let _ = (dashboard::template_of(text, "n"), dashboard::with_value(text, "n", "v"));
        }
        "message" => {
            let _ = (carbonapi::read_fetches(text.as_bytes()), carbonapi::read_find(text.as_bytes()));
        }
        other => panic!("unknown kind {other}"),
    }
}

/// How long this thread has had a processor: on a busy machine a clock says more about the others. Where Linux does not
/// tell, the time since the first call.
#[allow(clippy::disallowed_methods, reason = "the time it takes is what is tested")]
fn busy() -> Duration {
    static FIRST: LazyLock<Instant> = LazyLock::new(Instant::now);
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let ns = told.and_then(|text| text.split(' ').next()?.parse().ok());
    ns.map_or_else(|| FIRST.elapsed(), Duration::from_nanos)
}

/// Runs a request; what is wrong with it, if anything.
fn check(kind: &str, text: &str) -> Option<String> {
    let started = busy();
    if catch_unwind(AssertUnwindSafe(|| run(kind, text))).is_err() {
        return Some(format!("panicked\n{kind} {text}"));
    }
    let took = busy().saturating_sub(started);
    (took > PATIENCE).then(|| format!("took {took:?}\n{kind} {text}"))
}

#[test]
fn what_was_found_once_stays_fixed() {
    for line in REGRESSIONS.lines() {
        let (kind, text) = line.split_once(' ').expect(line);
        assert_eq!(check(kind, text), None);
    }
}

#[test]
fn damaged_requests_are_answered_or_refused() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect(name));
    let (rounds, seed) = (number("RHYTHMITE_FUZZ_ROUNDS", ROUNDS), number("RHYTHMITE_FUZZ_SEED", 1));
    let targets: Vec<&str> =
        TARGETS.iter().flat_map(|file| file.lines()).filter_map(|l| l.strip_prefix("target ")).collect();
    assert!(targets.len() > 500, "{}", targets.len());
    let kinds: [(&str, &[&str]); 5] =
        [("target", &targets), ("time", &TIMES), ("pattern", &PATTERNS), ("json", &EVENTS), ("message", &MESSAGES)];
    let only = std::env::var("RHYTHMITE_FUZZ_KIND").ok();
    let only = only.map(|name| kinds.iter().position(|(kind, _)| *kind == name).expect("a kind"));
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for round in 0..rounds {
        // Two of three are targets: there is most to go wrong.
        let (kind, seeds) = kinds[match only {
            Some(only) => only,
            None if round % 3 < 2 => 0,
            None => random.below(kinds.len()),
        }];
        let text = damaged(&mut random, seeds);
        if let Some(problem) = check(kind, &text) {
            panic!("seed {seed}, round {round}: {problem}");
        }
    }
}
