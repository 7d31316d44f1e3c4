//! Random writes, overwrites, late points, drops, flushes, merges and restarts against a map.

use proptest::prelude::*;
use rhythmite_env::sim::Unsynced;
use rhythmite_model::{SeriesSet, Tombstone};

use super::world::{D, Map, P, World, p, put, take};
use crate::Durability;
use crate::manifest::Manifest;

#[derive(Clone, Debug)]
enum Op {
    Write(Vec<P>, bool),
    Flush,
    Compact,
    CompactAll,
    MergeMemtable,
    Delete(D, bool),
    DropTable(&'static str),
    Restart,
}

fn point() -> impl Strategy<Value = P> {
    let table = prop_oneof![Just("cpu"), Just("mem")];
    let field = prop_oneof![Just("a"), Just("b")];
    (table, 0_u8..4, field, 0_i64..500, any::<i16>())
        .prop_map(|(table, host, field, time, value)| p(table, host, field, time, f64::from(value) / 8.0))
}

/// `cpu,host=0` and `cpu,host=1`, ...
fn keys(table: &str, hosts: &[u8]) -> Vec<String> {
    hosts.iter().map(|host| format!("{table},host={host}")).collect()
}

fn delete() -> impl Strategy<Value = D> {
    let table = prop_oneof![Just("cpu"), Just("mem")];
    let field = prop_oneof![4 => Just(None), 1 => Just(Some("a")), 1 => Just(Some("b"))];
    let times =
        prop_oneof![1 => Just(None), 3 => (0_i64..500, 0_i64..400).prop_map(|(from, n)| Some((from, from + n)))];
    (table, prop::sample::subsequence(vec![0, 1, 2, 3], 1..=4), field, times)
        .prop_map(|(table, hosts, field, times_s)| D { table, keys: keys(table, &hosts), field, times_s })
}

fn op() -> impl Strategy<Value = Op> {
    let table = || prop_oneof![Just("cpu"), Just("mem")];
    prop_oneof![
        12 => (prop::collection::vec(point(), 1..12), any::<bool>()).prop_map(|(p, sync)| Op::Write(p, sync)),
        4 => Just(Op::Flush),
        3 => Just(Op::Compact),
        1 => Just(Op::CompactAll),
        1 => Just(Op::MergeMemtable),
        4 => (delete(), any::<bool>()).prop_map(|(d, sync)| Op::Delete(d, sync)),
        1 => table().prop_map(Op::DropTable),
        2 => Just(Op::Restart),
    ]
}

fn run(ops: &[Op]) {
    for straight in [false, true] {
        run_in(straight, ops);
    }
}

/// `straight`: flushes go straight into partitions, where they may.
fn run_in(straight: bool, ops: &[Op]) {
    let mut world = World::closed(1);
    if straight {
        world.options.idle_flush = std::time::Duration::ZERO;
    }
    world.open().unwrap();
    let mut model = Map::new();
    for op in ops {
        match op {
            Op::Write(points, sync) => {
                let durability = if *sync { Durability::Sync } else { Durability::Interval };
                world.write(points, durability).unwrap();
                put(&mut model, points);
            }
            Op::Flush => world.engine().flush().unwrap(),
            Op::Compact => drop(world.engine().compact_once().unwrap()),
            Op::CompactAll => {
                world.engine().compact_all().unwrap();
                let files = world.engine().files();
                let mut partitions: Vec<_> = files.iter().map(|f| f.partition_ns.expect("merged")).collect();
                partitions.sort_unstable();
                partitions.dedup();
                assert_eq!(partitions.len(), files.len(), "one file a partition");
                assert_eq!(world.files_on_disk(), files.len(), "dead files are gone");
                let rows: u64 = files.iter().map(|f| f.rows).sum();
                assert_eq!(
                    rows as usize,
                    model.values().map(|points| points.len()).sum::<usize>(),
                    "nothing dead is kept"
                );
                assert_eq!(world.engine().stats().deletes_waiting, 0);
                assert!(world.manifest.load().unwrap().tombstones.is_empty());
            }
            Op::MergeMemtable => drop(world.engine().merge_memtable()),
            Op::Delete(delete, sync) => {
                let durability = if *sync { Durability::Sync } else { Durability::Interval };
                world.delete(delete, durability).unwrap();
                take(&mut model, delete);
            }
            Op::DropTable(table) => {
                if let Some(table) = world.table(table) {
                    let (series, times_ns) = (SeriesSet::table(table), Tombstone::ALL_TIMES);
                    let tombstone = Tombstone { table, series, fields: None, times_ns };
                    world.engine().delete(vec![tombstone], Durability::Sync).unwrap();
                }
                model.retain(|k, _| k.0 != *table);
            }
            Op::Restart => {
                // What was not synced may be lost: make it certain that nothing was.
                world.engine().drain().unwrap();
                world.crash(Unsynced::Lost).unwrap();
            }
        }
        assert_eq!(world.read(), model, "after {op:?}");
        super::ends::check(&world);
        assert_eq!(world.names(), model.keys().map(|k| k.1.clone()).collect(), "names after {op:?}");
    }
}

/// Random histories: `PROPTEST_CASES` says how many, otherwise there are more where `CI` is set than at a desk.
fn cases() -> u32 {
    match (std::env::var_os("PROPTEST_CASES"), std::env::var_os("CI")) {
        (Some(_), _) => ProptestConfig::default().cases,
        (None, Some(_)) => 2_000,
        (None, None) => 200,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_engine_is_a_map(straight: bool, ops in prop::collection::vec(op(), 1..30)) {
        run_in(straight, &ops);
    }
}

#[test]
fn a_point_written_again_after_a_flush_wins_over_the_file() {
    run(&[
        Op::Write(vec![p("cpu", 0, "a", 10, 1.0)], true),
        Op::Flush,
        Op::Write(vec![p("cpu", 0, "a", 10, 2.0)], true),
        Op::Flush,
        Op::Write(vec![p("cpu", 0, "a", 10, 3.0)], true),
        Op::CompactAll,
    ]);
}

#[test]
fn points_of_a_dropped_series_do_not_come_back_with_its_name() {
    run(&[
        Op::Write(vec![p("cpu", 0, "a", 10, 1.0)], true),
        Op::Flush,
        Op::Delete(D { table: "cpu", keys: keys("cpu", &[0]), field: None, times_s: None }, true),
        Op::Write(vec![p("cpu", 0, "a", 20, 2.0)], true),
        Op::Restart,
        Op::CompactAll,
        Op::Restart,
    ]);
}

#[test]
fn a_year_of_history_in_any_order_stays_few_files() {
    let world = World::new(1);
    let mut model = Map::new();
    for day in 0..60_i64 {
        let shuffled = (day * 37) % 60;
        let points: Vec<_> = (0..20).map(|i| p("cpu", 0, "a", shuffled * 100 + i * 5, f64::from(i as i32))).collect();
        world.write(&points, Durability::Sync).unwrap();
        put(&mut model, &points);
        world.engine().flush().unwrap();
        while world.engine().compact_once().unwrap() {}
    }
    assert!(world.engine().files().len() <= 60 + 8, "{} files for 60 partitions", world.engine().files().len());
    assert_eq!(world.read(), model);
}

#[test]
fn expired_partitions_go_whole_and_only_when_due() {
    let mut world = World::new(1);
    world.retention_s = 1_000;
    world.engine = None;
    world.open().unwrap();
    let now = world.now_s();
    let partition = now / 100 * 100;
    world.write(&[p("cpu", 0, "a", partition - 100, 1.0), p("cpu", 0, "a", partition, 2.0)], Durability::Sync).unwrap();
    world.engine().compact_all().unwrap();
    assert_eq!(world.engine().files().len(), 2);
    world.clock.advance(std::time::Duration::from_secs((partition - now + 1_000) as u64 + 10));
    while world.engine().compact_once().unwrap() {}
    let left = world.engine().files();
    assert_eq!(left.len(), 1, "the older partition ended more than 1,000 s ago");
    assert_eq!(left[0].partition_ns, Some(partition * super::world::SECOND));
    assert_eq!(world.files_on_disk(), 1);
    assert_eq!(world.engine().stats().expired_files, 1);
}

#[test]
fn the_space_of_a_dropped_table_comes_back_without_other_writes() {
    for (flushed, restart) in [(false, false), (false, true), (true, false)] {
        let mut world = World::new(1);
        let mut model = Map::new();
        for partition in 0..5 {
            let time_s = partition * 100;
            let kept = [p("cpu", 0, "a", time_s, 1.0), p("disk", 0, "a", time_s, 1.0)];
            // One row of 40 is too little to write a file anew for.
            let many: Vec<P> = (0..38).map(|n| p("mem", 0, "a", time_s + n, 2.0)).collect();
            world.write(&kept, Durability::Sync).unwrap();
            world.write(&many, Durability::Sync).unwrap();
            put(&mut model, &kept);
        }
        if flushed {
            world.engine().flush().unwrap()
        } else {
            world.engine().compact_all().unwrap()
        }
        let rows = |world: &World| world.engine().files().iter().map(|f| f.rows).sum::<u64>();
        let drop_table = |world: &World, name| {
            let table = world.table(name).unwrap();
            let (series, times_ns) = (SeriesSet::table(table), Tombstone::ALL_TIMES);
            let tombstone = Tombstone { table, series, fields: None, times_ns };
            world.engine().delete(vec![tombstone], Durability::Sync).unwrap();
            // Deletions are worked into files once they are flushed.
            world.engine().flush().unwrap();
        };
        assert_eq!(rows(&world), 5 * 40);
        drop_table(&world, "disk");
        model.retain(|key, _| key.0 != "disk");
        assert!(!world.engine().compact_once().unwrap());
        drop_table(&world, "mem");
        if restart {
            world.crash(Unsynced::Lost).unwrap();
        }
        while world.engine().compact_once().unwrap() {}
        assert_eq!(rows(&world), 5, "flushed: {flushed}, restart: {restart}");
        assert_eq!(world.files_on_disk(), 5);
        assert_eq!(world.read(), model);
        drop_table(&world, "cpu");
        world.engine().compact_all().unwrap();
        assert_eq!(world.files_on_disk(), 0, "a file without rows is no file");
    }
}

#[test]
fn another_retention_holds_for_files_that_exist() {
    for (from_s, to_s, left) in [(0, 1_000, 1), (100_000, 1_000, 1), (1_000, 100_000, 2), (1_000, 0, 2)] {
        let mut world = World::new(1);
        world.retention_s = from_s;
        world.engine = None;
        world.open().unwrap();
        let now = world.now_s();
        let start = now / 100 * 100;
        world.write(&[p("cpu", 0, "a", start - 100, 1.0), p("cpu", 0, "a", start, 2.0)], Durability::Sync).unwrap();
        world.engine().compact_all().unwrap();
        world.retention_s = to_s;
        world.engine().put_policy(world.policy());
        world.clock.advance(std::time::Duration::from_secs((start - now + 1_000) as u64 + 10));
        while world.engine().compact_once().unwrap() {}
        assert_eq!(world.engine().files().len(), left, "retention {from_s} s became {to_s} s");
    }
}
