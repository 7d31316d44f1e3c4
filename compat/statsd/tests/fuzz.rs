//! Packets of the measured cases, cut at each byte and damaged: nothing panics, the limits hold, and what comes after is
//! counted as if nothing had been.

// A test's helpers fail by panicking too.
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/fuzz/damage.rs"]
mod damage;

use damage::Target;
use rhythmite_statsd::{Admin, Aggregator, Dialect, Flush, LineBuffer, Options, config_js};
use serde_json::Value;

const CASES: &str = include_str!("data/cases.json");
const REGRESSIONS: &str = include_str!("data/regressions.txt");

const DOGS: [&str; 6] = [
    "a.b:1:2.5:3|h|@0.5|#x:1,y:2,z|c:ci-1234|e:it-false|card:low",
    "a:1|c|T1656581400\nb:-5|g|T1\nc:x:y|s|#k:v",
    "_e{5,4}:title|text|d:12|h:web|k:agg|p:low|s:nagios|t:error|#a:b,c",
    "_sc|db.up|2|d:12|h:web|#a:b|m:all \\n fine",
    "name,tag=v:1|c\nname#tag=v:1|ms\nname[tag=v,u=w]:1|g",
    "a:1|c|@1e-300\nb:1e308|c\nc:1e308|c|@0.0001\nd:9007199254740993|ms",
];

const PIECES: [&[u8]; 30] = [
    b":",
    b"|",
    b"||",
    b"|#",
    b"#",
    b"@",
    b"|@0",
    b"|@.",
    b"\n",
    b"\r",
    b",",
    b";",
    b"=",
    b"[",
    b"]",
    b"_e{",
    b"_sc|",
    b"{",
    b"}:",
    b"1e999",
    b"-1",
    b"+",
    b"NaN",
    b"Infinity",
    b"0x",
    b"\0",
    b"\xff\xfe",
    b"|T99999999999",
    b"|c:",
    b"ms",
];

fn packets() -> Vec<Vec<u8>> {
    let cases: Value = serde_json::from_str(CASES).unwrap();
    let mut found: Vec<Vec<u8>> = DOGS.iter().map(|dog| dog.as_bytes().to_vec()).collect();
    for step in cases["cases"].as_array().unwrap().iter().flat_map(|case| case["steps"].as_array().unwrap()) {
        for way in ["udp", "tcp"] {
            let sent = step[way].as_array().into_iter().flatten().filter_map(Value::as_str);
            found.extend(sent.map(|text| text.replace("{p}", "kit").into_bytes()));
        }
    }
    found.retain(|packet| packet.len() < 2_000);
    assert!(found.len() > 60, "{}", found.len());
    found
}

fn options(dialect: Dialect) -> Options {
    Options {
        dialect,
        max_keys: 100,
        max_samples: 1_000,
        max_events: 10,
        percent_threshold: vec![50.0, 99.9, -10.0],
        ..Options::default()
    }
}

fn read(packet: &[u8]) {
    for dialect in [Dialect::Statsd, Dialect::Dogstatsd] {
        let mut aggregator = Aggregator::new(options(dialect), 1_700_000_000);
        let mut flush = Flush::new();
        for now_s in [1_700_000_001, 1_700_000_010] {
            aggregator.ingest(packet, now_s);
            aggregator.ingest(b"fuzz.after:3|c", now_s);
            assert!(aggregator.key_count() <= 100 + 4);
            let after = aggregator.counters().find(|(name, _)| *name == "fuzz.after").map(|(_, value)| value);
            assert_eq!(after, Some(3.0));
            aggregator.emit(now_s, &mut flush);
            assert!(flush.iter().all(|(name, value)| !name.is_empty() && !value.is_nan()));
            assert!(aggregator.take_notices().len() <= 10 && flush.stamped().len() <= 10);
        }
    }
}

#[test]
fn packets_of_the_cases_cut_and_damaged() {
    let mut seeds = packets();
    seeds.push(b"fuzz.after:-3|c\nfuzz.before:1|ms".to_vec());
    // A damaged packet may well name the key that is looked at.
    seeds.retain(|seed| !seed.windows(10).any(|w| w == b"fuzz.after"));
    damage::run(&Target { kind: "packet", seeds, pieces: &PIECES, cost: 1, read: &read }, REGRESSIONS);
}

/// Everything that lines have left, but what begins with `fill.` and the numbers of packets and lines.
fn folded(aggregator: &mut Aggregator) -> String {
    let ours = |name: &&str| !name.starts_with("fill.") && !name.starts_with("statsd.");
    let values: Vec<_> = aggregator.counters().chain(aggregator.gauges()).filter(|(name, _)| ours(name)).collect();
    let timers: Vec<_> = aggregator.timers(usize::MAX).into_iter().filter(|(name, ..)| ours(name)).collect();
    let before = format!("{values:?} {timers:?} {} {:?}", aggregator.bad_lines(), aggregator.drops());
    let mut flush = Flush::new();
    aggregator.emit(1_700_000_010, &mut flush);
    let sets: Vec<_> = flush.iter().filter(|(name, _)| name.starts_with("stats.sets.")).collect();
    format!("{before} {sets:?} {:?}", flush.stamped())
}

#[test]
fn keys_in_the_expected_order_are_folded_like_those_in_none() {
    let read = |packet: &[u8]| {
        // The order is learned, then a byte is another.
        let mut sent = vec![packet.to_vec(); 8];
        for (n, other) in b"\n\r|#:0,x".iter().enumerate() {
            let mut changed = packet.to_vec();
            if let Some(byte) = changed.get_mut(packet.len() * n / 8) {
                *byte = *other;
            }
            sent.extend([changed, packet.to_vec()]);
        }
        for dialect in [Dialect::Statsd, Dialect::Dogstatsd] {
            let options = Options { max_keys: 100_000, max_line_bytes: 60, max_events: 100_000, ..options(dialect) };
            let mut ordered = Aggregator::new(options.clone(), 1_700_000_000);
            sent.iter().for_each(|packet| ordered.ingest(packet, 1_700_000_001));
            // Behind a key that was never sent before none is expected.
            let mut mixed = Aggregator::new(options, 1_700_000_000);
            let lines = sent.iter().flat_map(|packet| packet.split(|b| *b == b'\n'));
            for (n, line) in lines.enumerate() {
                mixed.ingest(format!("fill.{n}:1|c").as_bytes(), 1_700_000_001);
                mixed.ingest(line, 1_700_000_001);
            }
            assert_eq!(folded(&mut ordered), folded(&mut mixed), "{dialect:?}");
        }
    };
    let mut seeds = packets();
    seeds.push(b"a.b:1|c|#x:1,y:2\na.c:2|g|#x:1\na.c:2|g|#x\nd:5|ms|@0.5|#x:1,y:2\nd:5|ms\na.b:1|c".to_vec());
    // Those of the daemon's own keys count the fillers too.
    seeds.retain(|seed| !seed.windows(6).any(|w| w == b"statsd"));
    damage::run(&Target { kind: "order", seeds, pieces: &PIECES, cost: 20, read: &read }, REGRESSIONS);
}

#[test]
fn streams_are_the_same_packets_however_they_are_cut() {
    const LIMIT: usize = 100;
    let read = |bytes: &[u8]| {
        let lines = |chunk: usize| {
            let (mut buffer, mut text) = (LineBuffer::new(LIMIT), Vec::new());
            bytes.chunks(chunk).for_each(|bytes| buffer.feed(bytes, |packet| text.extend_from_slice(packet)));
            // Lines above the limit are refused, whole or cut.
            let cut = text.split(|b| *b == b'\n').map(|line| line[..line.len().min(LIMIT + 1)].to_vec());
            (cut.collect::<Vec<_>>(), buffer.is_unfinished())
        };
        let whole = lines(bytes.len().max(1));
        for chunk in [1, 3, 64] {
            assert_eq!(lines(chunk), whole, "in pieces of {chunk}");
        }
    };
    damage::run(&Target { kind: "stream", seeds: packets(), pieces: &PIECES, cost: 1, read: &read }, REGRESSIONS);
}

#[test]
fn admin_commands_and_configurations() {
    let texts =
        ["help", "config", "stats", "counters", "delcounters a.*", "deltimers a b", "health up", "quit", "gauges"];
    let seeds = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let reply = |bytes: &[u8]| {
        let mut aggregator = Aggregator::new(options(Dialect::Statsd), 0);
        aggregator.ingest(b"a.b:1|c\na.c:2|ms\na.d:1|g", 0);
        let mut admin = Admin::new(aggregator.options().health_status);
        admin.reply(&String::from_utf8_lossy(bytes), &mut aggregator, 1);
    };
    damage::run(&Target { kind: "admin", seeds, pieces: &PIECES, cost: 1, read: &reply }, REGRESSIONS);
    let config = br#"/* c */ { port: 8125, backends: ["./backends/graphite"], histogram: [{metric: 'a', bins: [1, 'inf']}], // x
        "graphite": { legacyNamespace: false, globalSuffix: "a" + "b" }, percentThreshold: [90, -10], deleteIdleStats: true }"#;
    let pieces: [&[u8]; 12] =
        [b"{", b"}", b"[", b"]", b",", b":", b"/*", b"//", b"\"", b"'", b"\\u00", b"process.env.X || 1"];
    let parse = |bytes: &[u8]| drop(config_js::parse(&String::from_utf8_lossy(bytes)));
    damage::run(
        &Target { kind: "config", seeds: vec![config.to_vec()], pieces: &pieces, cost: 1, read: &parse },
        REGRESSIONS,
    );
}
