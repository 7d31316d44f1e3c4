//! What expires takes its names along; what is not durable takes nothing along.

use std::time::Duration;

use rhythmite_env::sim::Unsynced;
use rhythmite_model::{SeriesSet, Tombstone};

use super::world::{Map, P, START_S, World, p, put};
use crate::Durability;

fn world(retention_s: i64) -> World {
    let mut world = World::closed(1);
    world.retention_s = retention_s;
    world.options.merge_partitions = 2;
    world.open().unwrap();
    world
}

fn merge(world: &World) {
    while world.engine().compact_once().unwrap() {}
}

#[test]
fn a_series_goes_with_its_last_file_and_stays_with_any_other() {
    // Old points of hosts 0 to 3; a newer one of host 1 in a file, of host 2 in memory, deleted again of host 3.
    let world = world(1_000);
    let start = START_S / 100 * 100;
    let old: Vec<P> = (0..4).map(|host| p("cpu", host, "a", start - 500, 1.0)).collect();
    world.write(&old, Durability::Sync).unwrap();
    world.write(&[p("cpu", 1, "a", start, 2.0), p("cpu", 3, "a", start, 2.0)], Durability::Sync).unwrap();
    world.engine().compact_all().unwrap();
    world.write(&[p("cpu", 2, "a", start, 2.0)], Durability::Sync).unwrap();
    let keys = vec!["cpu,host=3".to_owned()];
    let newer = super::world::D { table: "cpu", keys, field: None, times_s: Some((start, start)) };
    world.delete(&newer, Durability::Sync).unwrap();
    assert_eq!(world.names().len(), 4);
    world.clock.advance(Duration::from_secs(650));
    merge(&world);
    assert_eq!(world.names().into_iter().collect::<Vec<_>>(), ["cpu,host=1", "cpu,host=2"]);
    let stats = world.engine().stats();
    assert_eq!((stats.expired_files, stats.expired_series), (1, 2));
    world.clock.advance(Duration::from_secs(5_000));
    world.engine().flush().unwrap();
    world.engine().compact_all().unwrap();
    merge(&world);
    assert!(world.names().is_empty() && world.table("cpu").is_none());
}

#[test]
fn names_do_not_outlive_points_that_expire_between_two_steps_of_a_merge() {
    let world = world(1_000);
    let start = START_S / 100 * 100;
    let mut map = Map::new();
    // Each of three flushed files has a point of each partition: a merge has four steps.
    for n in 0..3 {
        let points: Vec<P> = (0..8).map(|i| p("cpu", i as u8, "a", start - i * 100 + n, 1.0)).collect();
        world.write(&points, Durability::Sync).unwrap();
        put(&mut map, &points);
        world.engine().flush().unwrap();
    }
    assert!(world.engine().compact_once().unwrap(), "the two oldest partitions are written, the inputs live");
    assert_eq!(world.engine().files().len(), 3 + 2);
    world.clock.advance(Duration::from_secs(1_000 - 550));
    merge(&world);
    let left = world.read();
    assert!(left.len() < map.len(), "the oldest are gone");
    assert_eq!(world.names(), left.keys().map(|k| k.1.clone()).collect());
}

#[test]
fn a_deletion_that_never_reached_the_disk_takes_nothing_along() {
    for flushed in [false, true] {
        let mut world = world(0);
        let points = [p("cpu", 0, "a", 10, 1.0), p("cpu", 1, "a", 150, 1.0), p("mem", 0, "a", 10, 1.0)];
        world.write(&points, Durability::Sync).unwrap();
        let mut map = Map::new();
        put(&mut map, &points);
        if flushed {
            world.engine().compact_all().unwrap();
        }
        world.fs.fail_syncs(true);
        let table = world.table("cpu").unwrap();
        let series = SeriesSet::table(table);
        let tombstone = Tombstone { table, series, fields: None, times_ns: Tombstone::ALL_TIMES };
        world.engine().delete(vec![tombstone], Durability::Sync).unwrap_err();
        world.fs.fail_syncs(false);
        world.engine().flush().unwrap_err();
        for _ in 0..5 {
            let _ = world.engine().compact_once();
        }
        let _ = world.engine().compact_all();
        world.crash(Unsynced::Lost).unwrap();
        assert_eq!(world.read(), map, "flushed before: {flushed}");
    }
}

#[test]
fn a_series_that_is_emptied_while_its_file_expires_is_not_listed() {
    for happens in [false, true] {
        let world = world(1_000);
        let start = START_S / 100 * 100;
        let old: Vec<P> = (0..2).map(|host| p("cpu", host, "a", start - 500, 1.0)).collect();
        world.write(&old, Durability::Sync).unwrap();
        world.engine().compact_all().unwrap();
        world.clock.advance(Duration::from_secs(700));
        // A point in memory keeps the name of host 1 when the file of its other points expires.
        world.write(&[p("cpu", 1, "b", start + 600, 2.0)], Durability::Sync).unwrap();
        let commits = world.manifest.commits.load(std::sync::atomic::Ordering::Relaxed);
        world.manifest.faults.lock().insert(commits + 1, happens);
        world.engine().compact_once().unwrap_err();
        assert_eq!(world.names().into_iter().collect::<Vec<_>>(), ["cpu,host=1"]);
        assert_eq!(world.engine().files().len(), 1, "nobody knows whether the file has gone");
        let keys = vec!["cpu,host=1".to_owned()];
        let newest = super::world::D { table: "cpu", keys, field: Some("b"), times_s: None };
        assert_eq!(world.delete(&newest, Durability::Sync).unwrap(), 1);
        merge(&world);
        assert!(world.read().is_empty() && world.names().is_empty(), "{happens}: {:?}", world.names());
    }
}
