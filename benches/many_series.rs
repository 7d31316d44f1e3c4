//! Many series with few points each: what a point costs from the write to the merged file, in seconds of the processor.
//!
//! `cargo bench -p rhythmite-engine --bench many_series` sends `RHYTHMITE_MANY_ROUNDS` (6) points of each of
//! `RHYTHMITE_MANY_SERIES` (1,000,000) series, and as many points of 10,000 series. Then a burst: three points of each of
//! `RHYTHMITE_MANY_BURST` (100,000) series, and what the flush and the merge that follow when nothing else comes cost for
//! each series; the best of `RHYTHMITE_MANY_BURSTS` (5). Not a bench of criterion's: one run is one measurement.

#[path = "support/process.rs"]
mod process;
#[path = "support/engine.rs"]
mod support;
#[path = "support/threads.rs"]
mod threads;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use process::processor_s;
use rhythmite_engine::{Background, Durability, Engine, Options};
use rhythmite_env::Env;
use rhythmite_model::{Column, ErrorKind, FieldId, FieldType, KeyKind, Result, Rows, SeriesId, TableId, Tier};
use support::{Memory, POLICY, number, policy};
use threads::threads_s;

/// Rows of a write.
const ROWS: usize = 10_000;

fn main() {
    // `cargo test --benches` runs this, too.
    let measures = std::env::args().any(|a| a == "--bench");
    let many = if measures { number("RHYTHMITE_MANY_SERIES", 1_000_000) } else { 100 };
    let points = number("RHYTHMITE_MANY_ROUNDS", 6) * many;
    if many > 0 {
        for series in [10_000.min(many), many] {
            run(series, points);
        }
    }
    let count = if measures { number("RHYTHMITE_MANY_BURST", 100_000) } else { 100 };
    let bursts = if measures { number("RHYTHMITE_MANY_BURSTS", 5) } else { 1 };
    let mut best: Vec<(&str, f64)> = Vec::new();
    for _ in 0..bursts {
        let steps = burst(count);
        if best.is_empty() {
            best = steps;
        } else {
            best.iter_mut().zip(steps).for_each(|(best, step)| best.1 = best.1.min(step.1));
        }
    }
    for (what, seconds) in best {
        println!("burst of {count} series, {what}: {:.3} CPU-us a series", seconds / count as f64 * 1e6);
    }
}

/// Three points of each of `count` new series, and what follows; CPU-seconds of each step.
fn burst(count: usize) -> Vec<(&'static str, f64)> {
    let dir = tempfile::tempdir().expect("a directory");
    let engine = open(dir.path(), |options| options.idle_flush = Duration::ZERO);
    let mut steps = Vec::new();
    let mut last = threads_s();
    let mut step = |what| {
        let now = threads_s();
        steps.push((what, now - last));
        last = now;
    };
    let path = |i: usize| {
        let (host, metric) = (i / 20, i % 20);
        format!(
            "servers.dc{}.rack{}.host{host:05}.{}.metric{}",
            host / 1000 % 4,
            host / 40 % 25,
            ["cpu", "app"][metric / 10],
            metric % 10
        )
    };
    let (table, field, series) = names(&engine, count, path);
    step("names");
    for first in (0..3 * count).step_by(ROWS) {
        let at = first..(first + ROWS).min(3 * count);
        // Two decimals that wander.
        let value = |i: usize| ((i % count * 7919 % 100_000 + i / count * 13) as f64) / 100.0;
        write(&engine, table, &series, at.clone(), 60, Column::Float(at.map(value).collect()), field);
    }
    step("written");
    engine.flush().expect("the disk works");
    step("flushed");
    engine.compact_all().expect("the disk works");
    step("merged");
    let bytes: u64 = engine.files().iter().map(|f| f.bytes).sum();
    println!("{} files of {:.1} bytes a point", engine.files().len(), bytes as f64 / (3 * count) as f64);
    steps
}

fn open(dir: &Path, set: impl FnOnce(&mut Options)) -> Engine {
    let mut options = Options::new(dir);
    set(&mut options);
    let opened = Engine::open(Env::real(), options, Arc::new(Memory::default()), vec![policy()]);
    opened.expect("an empty directory").0
}

/// A table of `count` series.
fn names(engine: &Engine, count: usize, path: impl Fn(usize) -> String) -> (TableId, FieldId, Vec<SeriesId>) {
    let (table, field) = engine
        .create(Durability::Interval, |names| {
            let table = names.create_table(POLICY, "metrics", KeyKind::Path)?;
            Ok((table, names.create_field(table, "value", FieldType::Float)?))
        })
        .expect("names")
        .0;
    let mut series = Vec::with_capacity(count);
    for first in (0..count).step_by(ROWS) {
        let made = engine.create(Durability::Interval, |names| {
            let made = (first..(first + ROWS).min(count)).map(|i| names.create_series(table, &path(i), None));
            made.collect::<Result<Vec<_>>>()
        });
        series.extend(made.expect("names").0);
    }
    (table, field, series)
}

/// Writes the points number `at` of the series in turn, a round each `step_s` seconds.
fn write(
    engine: &Engine,
    table: TableId,
    series: &[SeriesId],
    at: Range<usize>,
    step_s: i64,
    values: Column,
    field: FieldId,
) {
    let time = |i: usize| (1_700_006_400 + (i / series.len()) as i64 * step_s) * 1_000_000_000;
    let rows = Rows {
        table,
        tier: Tier::RAW,
        series: at.clone().map(|i| series[i % series.len()]).collect(),
        times_ns: at.map(time).collect(),
        fields: vec![(field, values)],
    };
    loop {
        match engine.write(vec![rows.clone()], Durability::Interval) {
            Ok(commit) => break commit.wait().expect("the disk works"),
            Err(e) if e.kind() == ErrorKind::Overloaded => std::thread::sleep(Duration::from_millis(5)),
            Err(e) => panic!("{e}"),
        }
    }
}

fn run(count: usize, points: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let memtable = number("RHYTHMITE_MANY_MEMTABLE_MIB", 768) << 20;
    let engine = open(dir.path(), |options| options.memtable_bytes_many = memtable);
    let background = Background::start(&engine).expect("threads");
    let mut last = processor_s();
    let mut step = |what: &str| {
        let now = processor_s();
        println!("{count} series, {what}: {:.3} CPU-s a million points", (now - last) / points as f64 * 1e6);
        last = now;
    };
    let path = |i: usize| format!("load.group{:02}.host{:06}.cpu.idle", i % 100, i / 100);
    let (table, field, series) = names(&engine, count, path);
    step("names");
    for first in (0..points).step_by(ROWS) {
        let at = first..(first + ROWS).min(points);
        let values = Column::Float(at.clone().map(|i| (i % 97) as f64).collect());
        write(&engine, table, &series, at, 10, values, field);
    }
    drop(background);
    engine.flush().expect("the disk works");
    step("written, flushed and merged beside");
    let files = engine.files().len();
    engine.compact_all().expect("the disk works");
    step(&format!("{files} files merged at last"));
}
