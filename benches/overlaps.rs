//! Series of which two files have points: what putting these together costs a reader and a merge, by where they overlap.
//!
//! `cargo bench -p rhythmite-engine --bench overlaps`: 1,000 series of half a day at 10 s, two fields, in one file; a second
//! file has points behind it, some of it again, or all of it. Nanoseconds of the processor for each value, the least of
//! `RHYTHMITE_OVERLAP_ROUNDS` (5). Not a bench of criterion's: a merge can be done once.

#[path = "support/engine.rs"]
mod support;
#[path = "support/threads.rs"]
mod threads;

use std::ops::Range;
use std::sync::Arc;

use rhythmite_engine::{Durability, Engine, Options, Snapshot};
use rhythmite_env::Env;
use rhythmite_model::{Column, FieldType, KeyKind, Result, Rows, Tier};
use support::{Memory, POLICY, number, policy};
use threads::threads_s;

const HOSTS: usize = 1_000;
const TICKS: i64 = 4_320;
/// A multiple of a day.
const START_S: i64 = 1_699_920_000;
const STEP_NS: i64 = 10_000_000_000;

fn main() {
    // `cargo test --benches` runs this, too.
    let measures = std::env::args().any(|a| a == "--bench");
    let (hosts, rounds) = if measures { (HOSTS, number("RHYTHMITE_OVERLAP_ROUNDS", 5)) } else { (3, 1) };
    for (name, ticks, every) in [
        ("behind it", TICKS..TICKS + 430, 1),
        ("its last hundredth again, and behind it", TICKS - 43..TICKS + 387, 1),
        ("a tenth in the middle again", 2_000..2_430, 1),
        ("every tenth again", 0..TICKS, 10),
        ("all again", 0..TICKS, 1),
    ] {
        let mut least = (f64::MAX, f64::MAX);
        for _ in 0..rounds {
            let (read_s, merged_s) = measure(hosts, ticks.clone(), every).expect("a directory of our own");
            least = (least.0.min(read_s), least.1.min(merged_s));
        }
        let values = (2 * hosts) as f64 * (TICKS as f64 + (ticks.end - ticks.start) as f64 / every as f64);
        let each_ns = |s: f64| s / values * 1e9;
        println!("{name}: read {:.2} ns a value, merged {:.2} ns a value", each_ns(least.0), each_ns(least.1));
    }
}

/// Seconds of the processor to read all points, and to merge the two files.
fn measure(hosts: usize, ticks: Range<i64>, every: usize) -> Result<(f64, f64)> {
    let dir = tempfile::tempdir()?;
    let options = Options { memtable_bytes: 1 << 30, decoded_cache_bytes: 0, ..Options::new(dir.path()) };
    let (engine, _) = Engine::open(Env::real(), options, Arc::new(Memory::default()), vec![policy()])?;
    let ((table, series, fields), _) = engine.create(Durability::None, |names| {
        let table = names.create_table(POLICY, "cpu", KeyKind::Tagged)?;
        let series = (0..hosts).map(|host| names.create_series(table, &format!("cpu,host=h{host}"), None));
        let series = series.collect::<Result<Vec<_>>>()?;
        let user = names.create_field(table, "user", FieldType::Integer)?;
        let load = names.create_field(table, "load", FieldType::Float)?;
        Ok((table, series, [user, load]))
    })?;
    let write = |ticks: Range<i64>, every: usize| -> Result<()> {
        for &one in &series {
            let times_ns: Vec<i64> =
                ticks.clone().step_by(every).map(|tick| START_S * 1_000_000_000 + tick * STEP_NS).collect();
            let values = (0..times_ns.len() as i64).map(|row| (row * 7_919 + one.0 as i64) % 101);
            let fields = vec![
                (fields[0], Column::Integer(values.clone().collect())),
                (fields[1], Column::Float(values.map(|value| value as f64 / 10.0).collect())),
            ];
            let rows = Rows { table, tier: Tier::RAW, series: vec![one; times_ns.len()], times_ns, fields };
            engine.write(vec![rows], Durability::None)?.wait()?;
        }
        engine.drain()?;
        engine.flush()
    };
    write(0..TICKS, 1)?;
    write(ticks, every)?;
    assert_eq!(engine.files().len(), 2, "two files that nothing has merged");
    let before_s = threads_s();
    let mut scan = engine.snapshot().scan(table, Tier::RAW, Snapshot::all_series(table), None, i64::MIN..=i64::MAX)?;
    let mut read = 0;
    while let Some(pieces) = scan.next_pieces()? {
        read += pieces.streams().flat_map(|(_, stretches)| stretches).map(|stretch| stretch.rows.len()).sum::<usize>();
    }
    let read_s = threads_s() - before_s;
    assert!(read >= hosts * 2 * TICKS as usize, "all points");
    drop(scan);
    let before_s = threads_s();
    engine.compact_all()?;
    Ok((read_s, threads_s() - before_s))
}
