//! What carbon 1.1.10 was measured to store for 57 inputs, as far as this package decides it: the inputs run through
//! framer, parser, lists and aggregator into a map, and the windows are read by the storage rules.

// A test's helpers fail by panicking too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use rhythmite_carbon::aggregator::{AggregationRules, Aggregator, Options, RewriteRules};
use rhythmite_carbon::framer::{FRAME_BYTES_MAX, LineFramer, split_frame};
use rhythmite_carbon::pickle::Decoder;
use rhythmite_carbon::plaintext::{LINE_BYTES_MAX, Parser};
use rhythmite_carbon::rules::{
    Aggregation, AggregationMethod, Filter, NameList, StorageAggregation, StorageSchemas, Verdict,
};
use rhythmite_carbon::{Point, Reject, Sink};
use serde_json::Value;

type Stored = BTreeMap<String, BTreeMap<i64, f64>>;

struct Server {
    now_s: i64,
    filter: Filter,
    schemas: StorageSchemas,
    aggregation: StorageAggregation,
    aggregator: Option<Aggregator>,
    stored: Stored,
    rejects: usize,
}

impl Server {
    fn new(setup: &Value, now_s: i64) -> Self {
        let file = |name: &str| setup["files"][name].as_str().unwrap_or_default().to_owned();
        let list = |name: &str| {
            let (list, warnings) = NameList::parse(&file(name), name);
            assert_eq!(warnings, []);
            list
        };
        let mut filter = Filter::default();
        if setup["use_whitelist"] == true {
            filter = Filter { whitelist: list("whitelist.conf"), blacklist: list("blacklist.conf") };
        }
        let (schemas, _) = StorageSchemas::parse(&file("storage-schemas.conf"), "storage-schemas.conf");
        let (aggregation, _) = StorageAggregation::parse(&file("storage-aggregation.conf"), "storage-aggregation.conf");
        let (rules, no_warnings) = AggregationRules::parse(&file("aggregation-rules.conf"), "aggregation-rules.conf");
        assert_eq!(no_warnings, []);
        let (rewrites, no_warnings) = RewriteRules::parse(&file("rewrite-rules.conf"), "rewrite-rules.conf");
        assert_eq!(no_warnings, []);
        let options = Options { forward_all: setup["forward_all"] == true, ..Options::default() };
        let aggregator = (setup["aggregator"] == true).then(|| Aggregator::new(rules, rewrites, options));
        Self { now_s, filter, schemas, aggregation, aggregator, stored: Stored::new(), rejects: 0 }
    }

    fn receive(&mut self, item: &Value) {
        let (mut parser, mut decoder) = (Parser::default(), Decoder::default());
        let now_s = self.now_s;
        match item["via"].as_str().unwrap() {
            "line" => {
                let mut framer = LineFramer::new(LINE_BYTES_MAX);
                for chunk in chunks(&item["data"]) {
                    framer.feed(&chunk, |lines| parser.parse_lines(lines, now_s, self));
                }
            }
            "udp" => chunks(&item["data"]).iter().for_each(|datagram| parser.parse_lines(datagram, now_s, self)),
            "pickle" => {
                let stream = chunks(&item["frames"]).concat();
                let mut rest = &stream[..];
                // A frame that is refused ends nothing; one that is too long ends the connection.
                while let Ok(Some(frame)) = split_frame(rest, FRAME_BYTES_MAX) {
                    self.rejects += usize::from(decoder.decode(frame.payload, now_s, self).is_err());
                    rest = frame.rest;
                }
            }
            other => panic!("via {other}"),
        }
    }

    fn run_aggregator(&mut self, seconds: i64) {
        for now_s in self.now_s..self.now_s + seconds {
            let stored = &mut self.stored;
            if let Some(aggregator) = &mut self.aggregator {
                aggregator.tick(now_s, &mut |point| store(stored, point));
            }
        }
    }

    /// The step and the points of a window, as the rules say.
    fn read(&self, path: &str, from_s: i64, until_s: i64) -> (u32, BTreeMap<i64, f64>) {
        let archives = &self.schemas.find(path).archives;
        let reach_s = (self.now_s - from_s) as u64;
        let archive = archives.iter().find(|a| a.retention_s() >= reach_s).expect("a retention reaches that far");
        let mut level = self.stored.get(path).cloned().unwrap_or_default();
        level = level.into_iter().map(|(t, v)| (t - t % i64::from(archives[0].step_s), v)).collect();
        for pair in archives.windows(2).take_while(|pair| pair[0].step_s < archive.step_s) {
            level = roll_up(&level, self.aggregation.find(path), pair[0].step_s, pair[1].step_s);
        }
        level.retain(|t, _| (from_s + 1..=until_s).contains(t));
        (archive.step_s, level)
    }
}

impl Sink for Server {
    fn point(&mut self, point: Point<'_>) {
        if self.filter.check(point.path) != Verdict::Accepted {
            return;
        }
        let (stored, now_s) = (&mut self.stored, self.now_s);
        match &mut self.aggregator {
            Some(aggregator) => aggregator.input(point, now_s, &mut |point| store(stored, point)),
            None => store(stored, point),
        }
    }
    fn reject(&mut self, _: Reject<'_>) {
        self.rejects += 1;
    }
}

fn store(stored: &mut Stored, point: Point<'_>) {
    stored.entry(point.path.to_owned()).or_default().insert(point.ts_s, point.value);
}

fn roll_up(fine: &BTreeMap<i64, f64>, rule: Aggregation, step_s: u32, to_s: u32) -> BTreeMap<i64, f64> {
    let slots = f64::from(to_s / step_s);
    let mut windows: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for (t, v) in fine {
        windows.entry(t - t % i64::from(to_s)).or_default().push(*v);
    }
    windows.retain(|_, known| known.len() as f64 / slots >= f64::from(rule.x_files_factor));
    let fold =
        |known: &[f64], keep: fn(f64, f64) -> bool| known.iter().copied().reduce(|a, b| if keep(a, b) { a } else { b });
    let value = |known: &[f64]| match rule.method {
        AggregationMethod::Average => Some(known.iter().sum::<f64>() / known.len() as f64),
        AggregationMethod::Sum => Some(known.iter().sum()),
        AggregationMethod::Min => fold(known, |a, b| a <= b),
        AggregationMethod::Max => fold(known, |a, b| a >= b),
        AggregationMethod::Last => known.last().copied(),
        AggregationMethod::AbsMax => fold(known, |a, b| a.abs() >= b.abs()),
        other => panic!("no case has {other}"),
    };
    windows.into_iter().map(|(t, known)| (t, value(&known).unwrap())).collect()
}

/// The texts sent, each literal, hexadecimal behind `hex:`, or one repeated letter.
fn chunks(list: &Value) -> Vec<Vec<u8>> {
    let chunk = |v: &Value| match v.as_str() {
        Some(text) => match text.strip_prefix("hex:") {
            Some(hex) => (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect(),
            None => text.as_bytes().to_vec(),
        },
        None => (v["repeat"].as_str().unwrap().repeat(v["times"].as_u64().unwrap() as usize)
            + v["then"].as_str().unwrap())
        .into_bytes(),
    };
    list.as_array().unwrap().iter().map(chunk).collect()
}

fn points(list: &Value) -> BTreeMap<i64, f64> {
    list.as_object().unwrap().iter().map(|(t, v)| (t.parse().unwrap(), v.as_f64().unwrap())).collect()
}

#[test]
fn inputs_give_what_carbon_was_measured_to_store() {
    let kit: Value = serde_json::from_str(include_str!("data/kit.json")).unwrap();
    let base_s = kit["base"].as_i64().unwrap();
    let cases = kit["cases"].as_array().unwrap();
    for case in cases {
        let id = case["id"].as_str().unwrap();
        // Base times lie ten to twenty minutes back.
        let mut server = Server::new(&kit["setups"][case["setup"].as_str().unwrap()], base_s + 700);
        for item in case["send"].as_array().unwrap() {
            server.receive(item);
        }
        server.run_aggregator(14);
        let expect = case["expect"].as_object().unwrap();
        for (path, want) in expect {
            if let Some(value) = want.get("near_now") {
                let got: Vec<_> = server.stored[path].iter().map(|(t, v)| (*t, *v)).collect();
                assert_eq!(got, [(server.now_s, value[0].as_f64().unwrap())], "{id} {path}");
            } else if let Some(windows) = want.as_array() {
                for window in windows {
                    let [from_s, until_s] = ["from", "until"].map(|k| base_s + window[k].as_i64().unwrap());
                    let (step_s, got) = server.read(path, from_s, until_s);
                    let got: BTreeMap<_, _> = got.into_iter().map(|(t, v)| (t - base_s, v)).collect();
                    assert_eq!(
                        (Some(step_s.into()), got),
                        (window["step"].as_u64(), points(&window["points"])),
                        "{id} {path}"
                    );
                }
            } else {
                let got: BTreeMap<_, _> = server.stored[path].iter().map(|(t, v)| (t - base_s, *v)).collect();
                let want = points(want);
                let same = got.len() == want.len()
                    && got.iter().zip(&want).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() <= 1e-9 * b.1.abs());
                assert!(same, "{id} {path}: {got:?}, expected {want:?}");
            }
        }
        let unexpected: Vec<_> = server.stored.keys().filter(|path| !expect.contains_key(*path)).collect();
        assert!(unexpected.is_empty(), "{id}: {unexpected:?}");
    }
    assert_eq!(cases.len(), 57);
}
