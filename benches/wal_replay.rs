//! A start after a crash with a full log: how long an engine takes to read it, in seconds and in seconds of the processor.
//!
//! `cargo bench -p rhythmite-engine --bench wal_replay` writes a log of `RHYTHMITE_REPLAY_MIB` (1024) to a directory of its
//! own and opens it again. Not a bench of criterion's: one start is one measurement. Needs memory for all values.

#[path = "support/process.rs"]
mod process;
#[path = "support/engine.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use process::processor_s;
use rhythmite_engine::{Durability, Engine, Options};
use rhythmite_env::Env;
use rhythmite_model::{Column, FieldType, KeyKind, Result, Rows, Tier};
use support::{Memory, POLICY, number, policy};

const HOSTS: usize = 1_000;
const FIELDS: usize = 10;
const ROWS: usize = 2_000;

fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

#[allow(clippy::disallowed_methods, reason = "the time it takes is what is measured")]
fn main() {
    // `cargo test --benches` runs this, too.
    let measures = std::env::args().any(|a| a == "--bench");
    let mib = if measures { number("RHYTHMITE_REPLAY_MIB", 1024) as u64 } else { 1 };
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = Options::new(dir.path());
    options.memtable_bytes = usize::MAX / 4;
    options.wal.wal_bytes_max = 64 << 30;
    options.wal.segment_bytes_max = 64 << 20;
    let open = || Engine::open(Env::real(), options.clone(), Arc::new(Memory::default()), vec![policy()]);
    for (name, digits) in [("floats of two decimals", true), ("floats of all bits", false)] {
        let mut values = 0;
        {
            let (engine, _) = open().expect("an empty directory");
            let ((table, series, fields), _) = engine
                .create(Durability::Interval, |names| {
                    let table = names.create_table(POLICY, name, KeyKind::Tagged)?;
                    let series =
                        (0..HOSTS).map(|host| names.create_series(table, &format!("{name},host={host}"), None));
                    let series = series.collect::<Result<Vec<_>>>()?;
                    let fields = (0..FIELDS).map(|n| names.create_field(table, &format!("f{n}"), FieldType::Float));
                    Ok((table, series, fields.collect::<Result<Vec<_>>>()?))
                })
                .expect("names");
            let mut noise = 7_u64;
            let mut next = || {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                noise >> 33
            };
            let mut time_s = 1_700_000_000;
            while engine.wal_stats().written_bytes < mib << 20 {
                let value = |n: u64| if digits { (n % 10_000) as f64 / 100.0 } else { (n as f64).sqrt() };
                let columns = fields.iter().map(|&id| (id, Column::Float((0..ROWS).map(|_| value(next())).collect())));
                let rows = Rows {
                    table,
                    tier: Tier::RAW,
                    series: (0..ROWS).map(|row| series[row % HOSTS]).collect(),
                    times_ns: (0..ROWS).map(|row| (time_s + (row / HOSTS) as i64 * 10) * 1_000_000_000).collect(),
                    fields: columns.collect(),
                };
                time_s += 20;
                values += (ROWS * FIELDS) as u64;
                while engine.write(vec![rows.clone()], Durability::None).is_err() {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            engine.drain().expect("the disk works");
        }
        let (started, processor) = (Instant::now(), processor_s());
        let (engine, report) = open().expect("the log is whole");
        let (took, processor) = (started.elapsed().as_secs_f64(), processor_s() - processor);
        println!(
            "{name}: {mib} MiB, {values} values ({} rows) in {took:.2} s, {processor:.2} s of the processor, {:.1} M values/s, \
             {} MiB resident",
            report.replayed_rows,
            values as f64 / took / 1e6,
            memory_mib(),
        );
        drop(engine);
        for part in ["wal", "data", "names"] {
            std::fs::remove_dir_all(dir.path().join(part)).expect("ours");
        }
    }
}
