//! What coarser levels cost: a day of points merged with and without rolling them up, in seconds of the processor, how
//! large the files of roll-ups are, and what a sketch takes to be read from its text and added to another.
//!
//! `cargo bench -p rhythmite-engine --bench rollup` writes a point each ten seconds of `RHYTHMITE_ROLLUP_SERIES` (300)
//! series, flushes four times, and merges; `RHYTHMITE_ROLLUP_ROUNDS` (3) times each policy in turn, of which the best
//! counts. Not a bench of criterion's: one merge is one measurement.

#[path = "support/engine.rs"]
mod support;
#[path = "support/threads.rs"]
mod threads;

use std::sync::Arc;

use rhythmite_engine::{Durability, Engine, Options};
use rhythmite_env::Env;
use rhythmite_model::sketch::Counts;
use rhythmite_model::{Aggregate, Aggregates, Column, FieldType, KeyKind, Level, Policy, Result, Rows, Tier};
use support::{Memory, POLICY, number, policy};
use threads::threads_s;

const SECOND_NS: i64 = 1_000_000_000;
const STEP_S: i64 = 10;
/// A midnight.
const START_S: i64 = 1_700_006_400;
/// Points of each series in one write.
const ROUNDS_A_WRITE: usize = 60;

/// What the merge of one policy took and left.
struct Measured {
    merge_s: f64,
    raw_bytes: u64,
    /// Of each coarser level.
    rolled_bytes: Vec<u64>,
}

fn main() {
    // `cargo test --benches` runs this, too.
    let measures = std::env::args().any(|a| a == "--bench");
    let series = if measures { number("RHYTHMITE_ROLLUP_SERIES", 300) } else { 2 };
    let rounds = if measures { number("RHYTHMITE_ROLLUP_ROUNDS", 3) } else { 1 };
    let day = if measures { 86_400 } else { 7_200 };
    let usual = Aggregates::USUAL;
    read_sketches(if measures { 200_000 } else { 2 });
    let policies: [(&str, &[i64], Aggregates); 6] = [
        ("no tiers", &[], usual),
        ("1m", &[60], usual),
        ("1m 1h", &[60, 3_600], usual),
        ("1m 10m 1h", &[60, 600, 3_600], usual),
        ("1m 1h, sketch", &[60, 3_600], usual.with(Aggregate::Sketch)),
        ("1h, sketch", &[3_600], usual.with(Aggregate::Sketch)),
    ];
    for (values, name) in [(hundredths as fn(u64, f64) -> f64, "two decimals that wander"), (noise, "all bits")] {
        let mut best: Vec<Option<Measured>> = policies.iter().map(|_| None).collect();
        for _ in 0..rounds {
            for ((_, steps_s, kept), best) in policies.iter().zip(&mut best) {
                let found = run(series, day, tiered(steps_s, *kept), values);
                if best.as_ref().is_none_or(|best| found.merge_s < best.merge_s) {
                    *best = Some(found);
                }
            }
        }
        let points = series as f64 * (day / STEP_S) as f64;
        let plain_s = best[0].as_ref().map_or(f64::NAN, |plain| plain.merge_s);
        for ((tiers, steps_s, _), measured) in policies.iter().zip(best.into_iter().flatten()) {
            let each = |(step_s, bytes): (&i64, &u64)| {
                let windows = series as f64 * (day as f64 / *step_s as f64);
                format!(", {step_s}s {:.2} bytes a window", *bytes as f64 / windows)
            };
            println!(
                "{name}, {tiers}: merge {:.3} CPU-s/M points, {:.2} times that without tiers; raw {:.2} bytes a point{}",
                measured.merge_s / points * 1e6,
                measured.merge_s / plain_s,
                measured.raw_bytes as f64 / points,
                steps_s.iter().zip(&measured.rolled_bytes).map(each).collect::<String>(),
            );
        }
    }
}

/// Reads the texts of sketches and adds them up, as a query of many windows does.
fn read_sketches(count: u64) {
    let texts: Vec<(usize, String)> = [6, 60, 360, 3_600]
        .into_iter()
        .map(|points| {
            let values = (0..points).map(|k| 20.0 + (k * 7_919 % 9_973) as f64 / 100.0);
            (points, Counts::of(values).to_string())
        })
        .collect();
    for (points, text) in texts {
        let mut all = Counts::EMPTY;
        let before_s = threads_s();
        for _ in 0..count {
            let counts: Counts = std::hint::black_box(&text).parse().expect("a sketch");
            all.add(&counts);
        }
        let each_ns = (threads_s() - before_s) / count as f64 * 1e9;
        println!("a sketch of {points} points in {} buckets: read and added in {each_ns:.0} ns", all.len());
    }
}

fn tiered(steps_s: &[i64], aggregates: Aggregates) -> Policy {
    let mut policy = policy();
    policy.levels.extend(steps_s.iter().map(|step_s| Level { step_ns: step_s * SECOND_NS, retention_ns: 0 }));
    Policy { aggregates, ..policy }
}

/// The last value and something new.
fn hundredths(chance: u64, last: f64) -> f64 {
    let step = (chance % 401) as f64 - 200.0;
    (((last * 100.0).round() + step).clamp(0.0, 10_000.0)) / 100.0
}

fn noise(chance: u64, _: f64) -> f64 {
    (chance as f64).sqrt()
}

fn run(series: usize, day_s: i64, policy: Policy, value: fn(u64, f64) -> f64) -> Measured {
    let dir = tempfile::tempdir().expect("a directory");
    let opened = Engine::open(Env::real(), Options::new(dir.path()), Arc::new(Memory::default()), vec![policy.clone()]);
    let (engine, _) = opened.expect("an empty directory");
    let ((field, series), _) = engine
        .create(Durability::None, |names| {
            let table = names.create_table(POLICY, "cpu", KeyKind::Tagged)?;
            let field = names.create_field(table, "usage", FieldType::Float)?;
            let made = (0..series).map(|host| names.create_series(table, &format!("cpu,host={host}"), None));
            Ok((field, made.collect::<Result<Vec<_>>>()?))
        })
        .expect("names");
    let mut state = 7_u64;
    let mut chance = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut last = vec![50.0; series.len()];
    let rounds: Vec<i64> = (0..day_s / STEP_S).collect();
    for (at, part) in rounds.chunks(rounds.len().div_ceil(4)).enumerate() {
        for part in part.chunks(ROUNDS_A_WRITE) {
            let mut rows = Rows {
                table: series[0].table(),
                tier: Tier::RAW,
                series: Vec::new(),
                times_ns: Vec::new(),
                fields: Vec::new(),
            };
            let mut values = Vec::new();
            for round in part {
                rows.series.extend(&series);
                rows.times_ns.resize(rows.series.len(), (START_S + round * STEP_S) * SECOND_NS);
                last.iter_mut().for_each(|last| *last = value(chance(), *last));
                values.extend(&last);
            }
            rows.fields = vec![(field, Column::Float(values))];
            engine.write(vec![rows], Durability::None).expect("room").wait().expect("the disk works");
        }
        engine.flush().expect("the disk works");
        assert!(engine.files().len() <= at + 1, "nothing is merged yet");
    }
    let before = threads_s();
    engine.compact_all().expect("the disk works");
    let merge_s = threads_s() - before;
    let files = engine.files();
    let bytes = |tier: Tier| files.iter().filter(|file| file.tier == tier).map(|file| file.bytes).sum::<u64>();
    let rolled_bytes: Vec<u64> = (1..policy.levels.len()).map(|level| bytes(Tier(level as u8).rolled())).collect();
    assert!(rolled_bytes.iter().all(|bytes| *bytes > 0), "every level is there");
    Measured { merge_s, raw_bytes: bytes(Tier::RAW), rolled_bytes }
}
