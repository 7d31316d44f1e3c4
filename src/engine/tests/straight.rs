//! A flush while nobody writes goes straight into partitions, and only where a merge would have made the same of it.

use std::time::Duration;

use rhythmite_env::sim::Unsynced;

use super::world::{D, Map, P, World, p, put, take};
use crate::Durability::Sync;

const PARTITION_S: i64 = 100;
/// A multiple of the partition's length.
const T: i64 = 1_700_000_000;

/// Writes a point for each time of three hosts, and waits until it is quiet.
fn write(world: &World, map: &mut Map, times_s: &[i64], value: f64) {
    let points: Vec<P> = times_s.iter().flat_map(|t| (0..3).map(|h| p("cpu", h, "a", *t, value))).collect();
    world.write(&points, Sync).unwrap();
    put(map, &points);
    world.clock.advance(Duration::from_secs(6));
}

/// Levels of the files, oldest write first.
fn levels(world: &World) -> Vec<u8> {
    let mut files = world.engine().files();
    files.sort_by_key(|f| (f.seq, f.partition_ns));
    files.iter().map(|f| f.level).collect()
}

#[test]
fn what_is_flushed_while_nobody_writes_needs_no_merge() {
    let (mut world, mut map) = (World::new(1), Map::new());
    write(&world, &mut map, &[T, T + 1, T + PARTITION_S], 1.0);
    world.engine().flush().unwrap();
    assert_eq!(levels(&world), [1, 1]);
    assert!(world.engine().files().iter().all(|f| f.partition_ns.is_some_and(|p| p <= f.min_time_ns)));
    assert_eq!(world.read(), map);
    // The newest write of a point counts, in whichever order the files are merged.
    write(&world, &mut map, &[T + 1, T + 2], 2.0);
    world.engine().flush().unwrap();
    assert_eq!(levels(&world), [1, 1, 1]);
    assert_eq!(world.read(), map);
    world.crash(Unsynced::Lost).unwrap();
    assert_eq!(world.read(), map);
    world.engine().compact_all().unwrap();
    assert_eq!(levels(&world), [1, 1]);
    assert_eq!(world.read(), map);
}

#[test]
fn flushed_files_wait_as_before_where_the_order_or_the_number_of_files_asks_for_it() {
    // While somebody writes.
    let (world, mut map) = (World::new(2), Map::new());
    write(&world, &mut map, &[T], 1.0);
    world.write(&[p("cpu", 0, "a", T, 2.0)], Sync).unwrap();
    put(&mut map, &[p("cpu", 0, "a", T, 2.0)]);
    world.engine().flush().unwrap();
    assert_eq!(levels(&world), [0]);
    // While a flushed file waits: it is older, and would be merged behind the new one.
    write(&world, &mut map, &[T], 3.0);
    world.engine().flush().unwrap();
    assert_eq!(levels(&world), [0, 0]);
    world.engine().compact_all().unwrap();
    assert_eq!(levels(&world), [1]);
    // Points of many partitions.
    let times: Vec<i64> = (0..9).map(|n| T + n * PARTITION_S).collect();
    write(&world, &mut map, &times, 4.0);
    world.engine().flush().unwrap();
    assert_eq!(levels(&world), [1, 0]);
    world.engine().compact_all().unwrap();
    // Few points.
    world.write(&[p("cpu", 0, "a", T, 5.0)], Sync).unwrap();
    put(&mut map, &[p("cpu", 0, "a", T, 5.0)]);
    world.clock.advance(Duration::from_secs(6));
    world.engine().flush().unwrap();
    assert_eq!(levels(&world).last(), Some(&0));
    // While a merge is under way.
    world.engine().compact_all().unwrap();
    write(&world, &mut map, &[T], 6.0);
    let merging = world.engine().inner.merging.lock();
    world.engine().flush().unwrap();
    assert_eq!(levels(&world).last(), Some(&0));
    drop(merging);
    assert_eq!(world.read(), map);
}

#[test]
fn what_is_deleted_is_not_written() {
    let (mut world, mut map) = (World::new(3), Map::new());
    write(&world, &mut map, &[T, T + 1, T + PARTITION_S], 1.0);
    let gone = D { table: "cpu", keys: vec!["cpu,host=1".to_owned()], field: None, times_s: Some((T + 1, T + 300)) };
    world.delete(&gone, Sync).unwrap();
    take(&mut map, &gone);
    world.clock.advance(Duration::from_secs(6));
    world.engine().flush().unwrap();
    assert_eq!(levels(&world), [1, 1]);
    assert_eq!(world.engine().files().iter().map(|f| f.rows).sum::<u64>(), 7, "what is deleted is not written");
    world.crash(Unsynced::Lost).unwrap();
    assert_eq!(world.read(), map);
}
