//! Lines, pickles and rules of the measured cases, cut at each byte and damaged: nothing panics, no limit is passed, and
//! what comes after is read as if nothing had been.

// A test's helpers fail by panicking too.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/fuzz/damage.rs"]
mod damage;

use damage::Target;
use rhythmite_carbon::aggregator::{AggregationRules, Aggregator, Options, RewriteRules};
use rhythmite_carbon::framer::{LineFramer, split_frame};
use rhythmite_carbon::pickle::Decoder;
use rhythmite_carbon::plaintext::Parser;
use rhythmite_carbon::rules::{NameList, RelayRules, StorageAggregation, StorageSchemas};
use rhythmite_carbon::{Point, Reject, Sink, protobuf};
use serde_json::Value;

const KIT: &str = include_str!("data/kit.json");
const PICKLES: &str = include_str!("data/pickles.json");
const REGRESSIONS: &str = include_str!("data/regressions.txt");
const NOW_S: i64 = 1_700_000_400;
const LINE_BYTES_MAX: usize = 200;

/// Points as they came; rejects are counted.
#[derive(Default, Debug, PartialEq)]
struct Seen {
    points: Vec<(String, i64, u64)>,
    rejects: usize,
}

impl Sink for Seen {
    fn point(&mut self, point: Point<'_>) {
        assert!(!point.path.is_empty() && !point.value.is_nan());
        self.points.push((point.path.to_owned(), point.ts_s, point.value.to_bits()));
    }
    fn reject(&mut self, _: Reject<'_>) {
        self.rejects += 1;
    }
}

fn bytes(text: &str) -> Vec<u8> {
    text.strip_prefix("hex:").map_or_else(|| text.as_bytes().to_vec(), damage::unhex)
}

fn sent(ways: &[&str]) -> Vec<Vec<u8>> {
    let kit: Value = serde_json::from_str(KIT).unwrap();
    let items = kit["cases"].as_array().unwrap().iter().flat_map(|case| case["send"].as_array().unwrap());
    let items = items.filter(|item| ways.contains(&item["via"].as_str().unwrap()));
    let texts = items.flat_map(|item| item["data"].as_array().or(item["frames"].as_array()).unwrap());
    let mut found: Vec<Vec<u8>> = texts.filter_map(Value::as_str).map(bytes).collect();
    found.retain(|one| one.len() < 4_000);
    found
}

fn lines_of(bytes: &[u8], chunk: usize) -> Seen {
    let mut seen = Seen::default();
    let (mut framer, mut parser) = (LineFramer::new(LINE_BYTES_MAX), Parser::default());
    parser.line_bytes_max = LINE_BYTES_MAX;
    for piece in bytes.chunks(chunk.max(1)).chain([&b"\nfuzz.after 3 1700000000\n"[..]]) {
        framer.feed(piece, |lines| parser.parse_lines(lines, NOW_S, &mut seen));
        assert!(framer.pending_bytes() <= LINE_BYTES_MAX + piece.len());
    }
    let after = ("fuzz.after".to_owned(), 1_700_000_000, 3f64.to_bits());
    assert_eq!(seen.points.last(), Some(&after));
    seen
}

#[test]
fn lines_are_the_same_however_they_are_cut() {
    let pieces: [&[u8]; 24] = [
        b" ",
        b"\n",
        b"\r\n",
        b"..",
        b".",
        b";",
        b"=",
        b";a=b",
        b"{k=\"v\"}",
        b"{",
        b"}",
        b"~",
        b"-1",
        b"nan",
        b"inf",
        b"1e999",
        b"\0",
        b"\xff",
        b"\xc3",
        b"\t",
        b"0x10",
        b"99999999999999999999",
        b"_",
        b"+",
    ];
    let mut seeds = sent(&["line", "udp"]);
    seeds.push(b"name{a=\"b\",c=\"d\"} 1.5 1700000000.9\na;b=c;a=d 1 -1\n..a..b. 1e3 1700000000\n".to_vec());
    assert!(seeds.len() > 40);
    let read = |bytes: &[u8]| {
        let whole = lines_of(bytes, bytes.len());
        let (points, rejects) = (&whole.points, whole.rejects);
        for chunk in [1, 7] {
            let cut = lines_of(bytes, chunk);
            assert_eq!((&cut.points, cut.rejects), (points, rejects), "in pieces of {chunk}");
        }
        let mut udp = Seen::default();
        Parser::default().parse_lines(bytes, NOW_S, &mut udp);
    };
    damage::run(&Target { kind: "lines", seeds, pieces: &pieces, cost: 1, read: &read }, REGRESSIONS);
}

#[test]
fn pickles_end_or_are_refused() {
    let pieces: [&[u8]; 24] = [
        b"(",
        b"l",
        b"t",
        b"a",
        b"e",
        b".",
        b"\x85",
        b"\x86",
        b"\x87",
        b"]",
        b")",
        b"}",
        b"\x94",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"h\0",
        b"j\xff\xff\xff\x7f",
        b"q\x01",
        b"X\xff\xff\xff\xff",
        b"\x8a\xff",
        b"G\x7f\xf8\0\0\0\0\0\0",
        b"cos\nsystem\n",
        b"R",
        b"I1\n",
        b"0",
    ];
    let pickles: Value = serde_json::from_str(PICKLES).unwrap();
    let mut seeds: Vec<Vec<u8>> =
        pickles.as_object().unwrap().values().filter_map(Value::as_str).map(damage::unhex).collect();
    for stream in sent(&["pickle"]) {
        if let Ok(Some(frame)) = split_frame(&stream, 1 << 20) {
            seeds.push(frame.payload.to_vec());
        }
    }
    assert!(seeds.len() > 15);
    let good = seeds[0].clone();
    let read = |bytes: &[u8]| {
        let (mut decoder, mut seen) = (Decoder::default(), Seen::default());
        let _ = decoder.decode(bytes, NOW_S, &mut seen);
        let _ = decoder.decode_query(bytes);
        assert!(seen.points.len() + seen.rejects <= bytes.len(), "an item takes a byte at least");
        let mut after = Seen::default();
        decoder.decode(&good, NOW_S, &mut after).unwrap();
        assert!(!after.points.is_empty());
        let _ = split_frame(bytes, 1 << 20);
    };
    damage::run(&Target { kind: "pickle", seeds: seeds.clone(), pieces: &pieces, cost: 1, read: &read }, REGRESSIONS);
}

#[test]
fn protobuf_frames_end_or_are_refused() {
    let point = |ts: &[u8]| [b"\x12", &[ts.len() as u8 + 9][..], ts, b"\x11\0\0\0\0\0\0\xf8\x3f"].concat();
    let metric = [&b"\x0a\x03a.b"[..], &point(b"\x08\xd0\x0f"), &point(b"\x08\xff\xff\xff\xff\x0f")].concat();
    let frame = [b"\x0a", &[metric.len() as u8][..], &metric].concat();
    let pieces: [&[u8]; 10] = [
        b"\x0a",
        b"\x12",
        b"\x11",
        b"\x08",
        b"\x80\x80",
        b"\xff\xff\xff\xff\x7f",
        b"\x0d\0\0\0\0",
        b"\x0b",
        b"\0",
        b"\x0a\0",
    ];
    let read = |bytes: &[u8]| {
        let mut seen = Seen::default();
        let refused = protobuf::decode(bytes, NOW_S, &mut seen).is_err();
        assert!(!refused || seen == Seen::default(), "a refused frame gives nothing");
        assert!(seen.points.len() + seen.rejects <= bytes.len());
    };
    let mut seen = Seen::default();
    protobuf::decode(&frame, NOW_S, &mut seen).unwrap();
    assert_eq!(seen.points.len(), 2);
    damage::run(&Target { kind: "protobuf", seeds: vec![frame], pieces: &pieces, cost: 1, read: &read }, REGRESSIONS);
}

#[test]
fn rules_and_their_work() {
    let kit: Value = serde_json::from_str(KIT).unwrap();
    let setups = kit["setups"].as_object().unwrap().values();
    let files = setups.flat_map(|setup| setup["files"].as_object().unwrap().values());
    let mut seeds: Vec<Vec<u8>> = files.filter_map(Value::as_str).map(|text| text.as_bytes().to_vec()).collect();
    seeds.push(b"[a]\npattern = ^a\\.\ndestinations = 127.0.0.1:2004:a, [::1]:1:b\ncontinue = true\n[d]\ndefault = true\ndestinations = h:1\n".to_vec());
    let pieces: [&[u8]; 20] = [
        b"[",
        b"]",
        b"\n",
        b"=",
        b"<",
        b">",
        b"<<a>>",
        b"(10)",
        b"(",
        b"*",
        b"+",
        b"\\1",
        b"[pre]\n",
        b"{",
        b"sum ",
        b"p99 ",
        b"1s:1d",
        b"0s:0",
        b"99999999999y",
        b"(?i)",
    ];
    let read = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let _ = (StorageSchemas::parse(&text, "f"), StorageAggregation::parse(&text, "f"), NameList::parse(&text, "f"));
        if let Ok((rules, _)) = RelayRules::parse(&text, "f") {
            assert!(rules.find("a.b").count() <= text.len());
        }
        let (rules, rewrites) = (AggregationRules::parse(&text, "f").0, RewriteRules::parse(&text, "f").0);
        let mut aggregator = Aggregator::new(rules, rewrites, Options::default());
        let mut out = 0;
        for (path, second) in [("kit.host.a.cpu", 0), ("a.b", 1), ("kit.host.a.cpu", 61)] {
            aggregator.input(Point { path, ts_s: NOW_S + second, value: 1.0 }, NOW_S + second, &mut |_| out += 1);
        }
        (0..3).for_each(|n| aggregator.tick(NOW_S + 60 * n, &mut |_| out += 1));
        assert!(out <= 3 * (text.len() + 1), "{out}");
    };
    damage::run(&Target { kind: "rules", seeds, pieces: &pieces, cost: 20, read: &read }, REGRESSIONS);
}
