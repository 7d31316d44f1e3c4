//! Many series with few points each: what a point costs from the write to the merged file, in seconds of the processor.
//!
//! `cargo bench -p rhythmite-engine --bench many_series` sends `RHYTHMITE_MANY_ROUNDS` (6) points of each of
//! `RHYTHMITE_MANY_SERIES` (1,000,000) series, and as many points of 10,000 series. Not a bench of criterion's: one run is
//! one measurement.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rhythmite_engine::manifest::{Edit, Manifest, State};
use rhythmite_engine::{Background, Durability, Engine, Options};
use rhythmite_env::Env;
use rhythmite_model::{Column, ErrorKind, FieldType, KeyKind, Level, Policy, PolicyId, Result, Rows, Tier};

/// Rows of a write.
const ROWS: usize = 10_000;

/// A catalogue in memory.
#[derive(Default)]
struct Memory(Mutex<State>);

impl Manifest for Memory {
    fn load(&self) -> Result<State> {
        Ok(self.0.lock().clone())
    }

    fn commit(&self, edit: &Edit) -> Result<()> {
        let mut state = self.0.lock();
        state.files.retain(|f| !edit.remove_files.contains(&f.id));
        state.files.extend(edit.add_files.clone());
        state.segments.retain(|s| !edit.remove_segments.contains(&s.id));
        state.segments.extend(edit.add_segments.clone());
        state.flushed_seq = edit.flushed_seq.unwrap_or(state.flushed_seq);
        Ok(())
    }
}

fn processor_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat
        .rsplit(')')
        .next()
        .map(|rest| rest.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()));
    ticks.map_or(0.0, |ticks| ticks.sum::<u64>() as f64 / 100.0)
}

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

fn main() {
    // `cargo test --benches` runs this, too.
    let measures = std::env::args().any(|a| a == "--bench");
    let many = if measures { number("RHYTHMITE_MANY_SERIES", 1_000_000) } else { 100 };
    let points = number("RHYTHMITE_MANY_ROUNDS", 6) * many;
    for series in [10_000.min(many), many] {
        run(series, points);
    }
}

fn run(count: usize, points: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let policy = Policy {
        id: PolicyId(1),
        database: "d".to_owned(),
        name: "p".to_owned(),
        levels: vec![Level { step_ns: 0, retention_ns: 0 }],
        partition_ns: 86_400_000_000_000,
        max_idle_ns: 0,
        aggregates: rhythmite_model::Aggregates::USUAL,
    };
    let mut options = Options::new(dir.path());
    options.memtable_bytes_many = number("RHYTHMITE_MANY_MEMTABLE_MIB", 768) << 20;
    let opened = Engine::open(Env::real(), options, Arc::new(Memory::default()), vec![policy]);
    let (engine, _) = opened.expect("an empty directory");
    let background = Background::start(&engine).expect("threads");
    let mut last = processor_s();
    let mut step = |what: &str| {
        let now = processor_s();
        println!("{count} series, {what}: {:.3} CPU-s a million points", (now - last) / points as f64 * 1e6);
        last = now;
    };
    let (table, field) = engine
        .create(Durability::Interval, |names| {
            let table = names.create_table(PolicyId(1), "metrics", KeyKind::Path)?;
            Ok((table, names.create_field(table, "value", FieldType::Float)?))
        })
        .expect("names")
        .0;
    let mut series = Vec::with_capacity(count);
    for first in (0..count).step_by(ROWS) {
        let made = engine.create(Durability::Interval, |names| {
            let path = |i: usize| format!("load.group{:02}.host{:06}.cpu.idle", i % 100, i / 100);
            let made = (first..(first + ROWS).min(count)).map(|i| names.create_series(table, &path(i), None));
            made.collect::<Result<Vec<_>>>()
        });
        series.extend(made.expect("names").0);
    }
    step("names");
    for first in (0..points).step_by(ROWS) {
        let at = first..(first + ROWS).min(points);
        let rows = Rows {
            table,
            tier: Tier::RAW,
            series: at.clone().map(|i| series[i % count]).collect(),
            times_ns: at.clone().map(|i| (1_700_000_000 + (i / count) as i64 * 10) * 1_000_000_000).collect(),
            fields: vec![(field, Column::Float(at.map(|i| (i % 97) as f64).collect()))],
        };
        loop {
            match engine.write(vec![rows.clone()], Durability::Interval) {
                Ok(commit) => break commit.wait().expect("the disk works"),
                Err(e) if e.kind() == ErrorKind::Overloaded => std::thread::sleep(Duration::from_millis(5)),
                Err(e) => panic!("{e}"),
            }
        }
    }
    drop(background);
    engine.flush().expect("the disk works");
    step("written, flushed and merged beside");
    let files = engine.files().len();
    engine.compact_all().expect("the disk works");
    step(&format!("{files} files merged at last"));
}
