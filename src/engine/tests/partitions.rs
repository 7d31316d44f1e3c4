//! Points spread over thousands of partitions: few files open, bounded memory, steps that a failure or a restart may end.

use rhythmite_env::sim::{Fault, Unsynced};
use rhythmite_model::{Column, ErrorKind, FieldType, KeyKind, Rows, Tier};

use super::world::{Map, P, POLICY, SECOND, World, p, put};
use crate::{Durability, SeriesFilter};

const PARTITION_S: i64 = 100;

/// One point in each of `partitions`, written as one batch.
fn spread(world: &World, map: &mut Map, partitions: std::ops::Range<i64>, offset_s: i64, value: f64) {
    let points: Vec<P> = partitions.map(|n| p("cpu", 0, "a", n * PARTITION_S + offset_s, value + n as f64)).collect();
    let ((series, field), _) = world
        .engine()
        .create(Durability::Interval, |names| {
            let table = names.create_table(POLICY, "cpu", KeyKind::Tagged)?;
            let field = names.create_field(table, "a", FieldType::Float)?;
            Ok((names.create_series(table, &points[0].key, None)?, field))
        })
        .unwrap();
    let rows = Rows {
        table: series.table(),
        tier: Tier::RAW,
        series: vec![series; points.len()],
        times_ns: points.iter().map(|p| p.time_s * SECOND).collect(),
        fields: vec![(field, Column::Float(points.iter().map(|p| p.value).collect()))],
    };
    world.engine().write(vec![rows], Durability::Sync).unwrap().wait().unwrap();
    put(map, &points);
    world.engine().flush().unwrap();
}

/// A world with room for few open files and little of the indexes.
fn narrow() -> World {
    let mut world = World::new(3);
    world.options.open_files_max = 16;
    world.options.index_cache_bytes = 64 << 10;
    world.options.merge_partitions = 200;
    world.engine = None;
    world.open().unwrap();
    world.fs.limit_open_files(40);
    world
}

#[test]
fn points_in_three_thousand_partitions_need_few_open_files_and_little_memory() {
    let mut world = narrow();
    let mut model = Map::new();
    spread(&world, &mut model, 0..3_000, 5, 1.0);
    spread(&world, &mut model, 0..3_000, 7, 2.0);
    spread(&world, &mut model, 0..3_000, 5, 3.0);
    while world.engine().compact_once().unwrap() {}
    assert_eq!(world.engine().files().len(), 3_000, "one file a partition");
    assert!(world.engine().stats().compactions >= 15, "a merge of 3,000 partitions is no single step");
    assert_eq!(world.read(), model);
    let stats = world.engine().stats();
    assert!(stats.open_files <= 16 && world.fs.open_files() <= 40, "{stats:?}");
    assert!(stats.index_bytes <= 64 << 10 && stats.index_evictions > 2_000, "{stats:?}");
    world.crash(Unsynced::Lost).unwrap();
    assert_eq!(world.engine().stats().index_loads, 0, "a start loads no index");
    assert_eq!(world.read(), model);
}

#[test]
fn a_merge_in_steps_may_be_read_and_written_meanwhile_and_ended_by_a_crash() {
    let mut world = narrow();
    world.options.merge_partitions = 7;
    world.engine = None;
    world.open().unwrap();
    let mut model = Map::new();
    (0..3).for_each(|n| spread(&world, &mut model, 0..30, n, n as f64));
    for step in 0..3 {
        assert!(world.engine().compact_once().unwrap());
        assert_eq!(world.read(), model, "step {step}");
        assert_eq!(world.engine().files().iter().filter(|f| f.level == 0).count(), 3 + step, "inputs stay to the last");
        // Newer points of the partitions that are done, and of those that are not.
        spread(&world, &mut model, 0..30, step as i64, 10.0 + step as f64);
    }
    world.crash(Unsynced::Lost).unwrap();
    assert_eq!(world.read(), model);
    while world.engine().compact_once().unwrap() {}
    assert_eq!(world.read(), model);
    world.engine().compact_all().unwrap();
    assert_eq!(world.engine().files().len(), 30);
    assert_eq!(world.files_on_disk(), 30);
    assert_eq!(world.read(), model);
}

#[test]
fn a_step_that_fails_is_done_again_alone() {
    let mut world = narrow();
    world.options.merge_partitions = 10;
    world.engine = None;
    world.open().unwrap();
    let mut model = Map::new();
    (0..3).for_each(|n| spread(&world, &mut model, 0..30, n, n as f64));
    assert!(world.engine().compact_once().unwrap());
    world.fs.fail_at(world.fs.counts().ops + 20, Fault::Error);
    world.engine().compact_once().unwrap_err();
    assert_eq!(world.files_on_disk(), 3 + 10, "what the failed step wrote is gone");
    assert_eq!(world.read(), model);
    world.clock.advance(std::time::Duration::from_secs(61));
    assert!(world.engine().compact_once().unwrap());
    assert_eq!(world.files_on_disk(), 3 + 20);
    assert!(world.engine().compact_once().unwrap());
    assert_eq!(world.files_on_disk(), 30);
    assert_eq!(world.read(), model);
}

#[test]
fn a_scan_holds_no_index_and_finds_what_it_asks_for() {
    let mut world = narrow();
    world.options.index_cache_bytes = 1;
    world.engine = None;
    world.open().unwrap();
    let mut model = Map::new();
    let made = world.engine().create(Durability::Sync, |names| {
        let table = names.create_table(POLICY, "cpu", KeyKind::Tagged)?;
        (0..9).map(|host| names.create_series(table, &format!("cpu,host={host}"), None)).collect()
    });
    let ids: Vec<_> = made.unwrap().0;
    for time_s in (0..20).map(|n| n * PARTITION_S) {
        // Series 0 to 8, of which each partition has some.
        let points: Vec<P> = (0..9)
            .filter(|h| (time_s / PARTITION_S + h) % 3 > 0)
            .map(|h| p("cpu", h as u8, "a", time_s, h as f64))
            .collect();
        world.write(&points, Durability::Sync).unwrap();
        put(&mut model, &points);
    }
    world.engine().compact_all().unwrap();
    assert_eq!(world.engine().files().len(), 20);
    let table = world.table("cpu").unwrap();
    let snapshot = world.engine().snapshot();
    let loaded = || {
        let view = world.engine().inner.shared.view.read();
        view.files.values().flatten().filter(|f| f.is_loaded()).count()
    };
    let list = |hosts: &[usize]| SeriesFilter::List(hosts.iter().map(|&h| ids[h]).collect());
    let cases = [
        (SeriesFilter::Range(ids[0]..=ids[8]), (0..9).collect::<Vec<_>>()),
        (SeriesFilter::Range(ids[3]..=ids[5]), vec![3, 4, 5]),
        (list(&[0, 4, 8]), vec![0, 4, 8]),
        (list(&[7]), vec![7]),
        (list(&[]), vec![]),
    ];
    for (filter, hosts) in cases {
        for (first, last) in [(0, 19), (5, 5), (10, 11), (30, 40)] {
            let times_ns = first * PARTITION_S * SECOND..=last * PARTITION_S * SECOND;
            let mut found = Vec::new();
            for points in snapshot.scan(table, Tier::RAW, filter.clone(), None, times_ns).unwrap() {
                let points = points.unwrap();
                assert!(loaded() <= 1, "{} indexes in memory", loaded());
                found.push((points.series, points.streams[0].times_ns.len()));
            }
            let expected = hosts.iter().map(|&h| {
                let has = |n: &i64| (n + h as i64) % 3 > 0;
                (ids[h], (first..=last.min(19)).filter(has).count())
            });
            assert_eq!(found, expected.filter(|e| e.1 > 0).collect::<Vec<_>>(), "{hosts:?} {first}..={last}");
        }
    }
    assert_eq!(world.read(), model);
}

#[test]
fn no_name_is_made_for_rows_that_compaction_has_no_room_for() {
    let mut world = World::new(3);
    world.options.flushed_files_max = 2;
    world.engine = None;
    world.open().unwrap();
    let mut model = Map::new();
    (0..3).for_each(|n| spread(&world, &mut model, 0..2, n, n as f64));
    // Also by what a start finds.
    for start in [false, true] {
        if start {
            world.crash(Unsynced::Lost).unwrap();
        }
        let (engine, before) = (world.engine(), world.engine().stats().overloaded);
        let made = engine.create(Durability::Sync, |names| names.create_table(POLICY, "new", KeyKind::Tagged));
        assert_eq!(made.err().unwrap().kind(), ErrorKind::Overloaded);
        assert_eq!(engine.write(Vec::new(), Durability::Sync).err().unwrap().kind(), ErrorKind::Overloaded);
        assert_eq!(engine.stats().overloaded, before + 2);
        assert_eq!(world.table("new"), None);
        // What makes room is let through.
        engine.change(Durability::Sync, |_| Ok(())).unwrap().1.wait().unwrap();
    }
    assert!(world.engine().compact_once().unwrap());
    let made = world.engine().create(Durability::Sync, |names| names.create_table(POLICY, "new", KeyKind::Tagged));
    made.unwrap().1.wait().unwrap();
    assert_eq!(world.read(), model);
}

#[test]
fn a_start_finds_files_that_are_missing_or_cut() {
    let mut world = narrow();
    let mut model = Map::new();
    spread(&world, &mut model, 0..2, 0, 1.0);
    world.engine().compact_all().unwrap();
    let id = world.engine().files()[1].id.clone();
    let dir = std::path::Path::new("/db/data/d/p/raw/100");
    for name in ["points", "series", "fields"] {
        use rhythmite_env::Fs;
        let path = dir.join(format!("{name}-{id}.parquet"));
        let bytes = world.fs.read(&path, 1 << 20).unwrap();
        world.engine = None;
        world.fs.write_durably(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(world.open().unwrap_err().kind(), ErrorKind::Corrupt, "{name} is cut");
        world.fs.remove(&path).unwrap();
        let error = world.open().unwrap_err();
        assert!(error.message().contains(name) && error.message().contains("missing"), "{error}");
        world.fs.write_durably(&path, &bytes).unwrap();
        world.open().unwrap();
    }
    assert_eq!(world.read(), model);
}
