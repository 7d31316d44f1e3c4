//! Replays measured cases: the packets of a step go in, the flush must hold what the reference
//! sent. `data/cases.json` has, per case, a profile of options and steps of one flush interval
//! each, with the series expected, those that must be absent, and admin replies. `{p}` stands
//! for a prefix of the case's own.

// A panic is how a test fails, in its helpers too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use rhythmite_statsd::{Admin, Aggregator, Flush, LineBuffer, Options};
use serde_json::{Map, Value};

const PREFIX: &str = "kreplay";
const START_S: i64 = 1_700_000_000;

#[test]
fn measured_cases() {
    check(include_str!("data/cases.json"), 56);
}

/// Odd numbers, types, rates, tags, keys, gauges and admin commands, measured likewise.
#[test]
fn measured_oddities() {
    check(include_str!("data/odd.json"), 21);
}

fn check(doc: &str, cases: usize) {
    let doc: Value = serde_json::from_str(doc).unwrap();
    let list = doc["cases"].as_array().unwrap();
    assert_eq!(list.len(), cases);
    let problems = list.iter().flat_map(|case| {
        let profile = &doc["profiles"][case["profile"].as_str().unwrap()];
        play(case, options(profile)).into_iter().map(|problem| format!("{}: {problem}", case["id"]))
    });
    let problems: Vec<String> = problems.collect();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// A profile's options are the reference's, in its spelling.
fn options(profile: &Value) -> Options {
    let snake = regex::Regex::new("([a-z])([A-Z])").unwrap();
    let rename = |name: &str| snake.replace_all(name, "${1}_$2").to_lowercase();
    let mut out = Map::from_iter([("flush_interval".to_owned(), 1000.into())]);
    for (name, value) in profile.as_object().unwrap().iter().filter(|(name, _)| *name != "tcp") {
        let value = match value {
            Value::Object(section) => section.iter().map(|(k, v)| (rename(k), v.clone())).collect(),
            other => other.clone(),
        };
        out.insert(rename(name), value);
    }
    serde_json::from_value(Value::Object(out)).unwrap()
}

fn play(case: &Value, options: Options) -> Vec<String> {
    let interval_s = options.flush_interval as i64 / 1000;
    let mut admin = Admin::new(options.health_status);
    let mut aggregator = Aggregator::new(options, START_S);
    let (mut flush, mut now_s, mut problems) = (Flush::new(), START_S, Vec::new());
    for (i, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        // The runner brackets each step with two packets of its own, which internal counters see.
        let guard = format!("{PREFIX}guard{i}:1|c");
        aggregator.ingest(guard.as_bytes(), now_s);
        for packet in texts(&step["udp"]) {
            aggregator.ingest(packet.as_bytes(), now_s);
        }
        let mut stream = LineBuffer::new(65_535);
        for chunk in texts(&step["tcp"]) {
            stream.feed(chunk.as_bytes(), |packet| aggregator.ingest(packet, now_s));
        }
        for command in step["admin"].as_array().into_iter().flatten() {
            let reply = admin.reply(&fill(&command["send"]), &mut aggregator, now_s);
            problems.extend(check_reply(command, &reply.text, reply.close).map(|p| format!("step {}: {p}", i + 1)));
        }
        aggregator.ingest(guard.as_bytes(), now_s);
        now_s += interval_s;
        aggregator.emit(now_s, &mut flush);
        assert_eq!(flush.ts_s(), now_s);
        let got: BTreeMap<&str, f64> = flush.iter().collect();
        for (name, want) in step["expect"].as_object().into_iter().flatten() {
            let (name, want) = (sorted(&fill_text(name)), number(want));
            match got.get(name.as_str()) {
                Some(value) if *value == want || (value - want).abs() <= (1e-9 * want.abs()).max(1e-12) => {}
                value => problems.push(format!("step {}: {name} is {value:?}, expected {want}", i + 1)),
            }
        }
        for name in texts(&step["absent"]) {
            if let Some(value) = got.get(sorted(&name).as_str()) {
                problems.push(format!("step {}: {name} is {value}, expected nothing", i + 1));
            }
        }
    }
    problems
}

/// `pairs`: the printed value of a key, blanks aside. `keys`: a line with this name. `reply`: all of it.
fn check_reply(command: &Value, text: &str, close: bool) -> Option<String> {
    if let Some(pairs) = command["pairs"].as_object() {
        return pairs.iter().find_map(|(key, want)| {
            let pattern = format!(r"'?{}'?:\s*(\[[^\]]*\]|[-+.\deE]+)", regex::escape(&fill_text(key)));
            let got = regex::Regex::new(&pattern).unwrap().captures(text).map(|c| c[1].replace([' ', '\n'], ""));
            (got.as_deref() != want.as_str()).then(|| format!("{key} is printed as {got:?}, expected {want}"))
        });
    }
    if let Some(keys) = command["keys"].as_array() {
        let missing = keys.iter().find(|k| !text.lines().any(|l| l.starts_with(&format!("{}: ", k.as_str().unwrap()))));
        return missing.map(|k| format!("no line for {k} in {text:?}"));
    }
    let want = fill(&command["reply"]);
    (text != want || close != command["closed"]).then(|| format!("{text:?}, closed {close}; expected {want:?}"))
}

/// Tags in Graphite's order, which is what a flush has.
fn sorted(name: &str) -> String {
    let mut parts: Vec<&str> = name.split(';').collect();
    parts[1..].sort_unstable();
    parts.join(";")
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(fill).collect()
}

fn fill(text: &Value) -> String {
    fill_text(text.as_str().unwrap())
}

fn fill_text(text: &str) -> String {
    text.replace("{p}", PREFIX)
}

/// JSON knows no infinity: it stands there as text.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}
