//! What a deletion takes away and what it leaves: by order of writes, across flushes, restarts and merges.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rhythmite_env::sim::{Fault, Unsynced};
use rhythmite_model::{ErrorKind, SeriesSet, Tombstone};

use super::world::{D, Map, POLICY, World, p, put, take};
use crate::Durability;
use crate::manifest::Manifest;

fn cpu(hosts: &[u8], times_s: Option<(i64, i64)>) -> D {
    let keys = hosts.iter().map(|host| format!("cpu,host={host}")).collect();
    D { table: "cpu", keys, field: None, times_s }
}

/// A world and the map beside it.
struct Both {
    world: World,
    map: Map,
}

impl Both {
    fn new() -> Self {
        Self { world: World::new(1), map: Map::new() }
    }

    fn write(&mut self, host: u8, times: impl IntoIterator<Item = i64>, value: f64) {
        let points: Vec<_> = times.into_iter().map(|time| p("cpu", host, "a", time, value)).collect();
        self.world.write(&points, Durability::Sync).unwrap();
        put(&mut self.map, &points);
        self.check();
    }

    fn delete(&mut self, hosts: &[u8], times_s: Option<(i64, i64)>) {
        let delete = cpu(hosts, times_s);
        self.world.delete(&delete, Durability::Sync).unwrap();
        take(&mut self.map, &delete);
        self.check();
    }

    fn flush(&mut self) {
        self.world.engine().flush().unwrap();
        self.check();
    }

    fn merge(&mut self) {
        while self.world.engine().compact_once().unwrap() {}
        self.check();
    }

    fn restart(&mut self) {
        self.world.crash(Unsynced::Lost).unwrap();
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.world.read(), self.map);
        assert_eq!(self.world.names(), self.map.keys().map(|k| k.1.clone()).collect());
    }

    fn waiting(&self) -> u64 {
        self.world.engine().stats().deletes_waiting
    }
}

#[test]
fn late_data_after_a_deletion_stays_wherever_either_of_them_is() {
    // Bit by bit, where a flush, a restart or a merge comes between the steps.
    for places in 0..1 << 9 {
        let mut both = Both::new();
        let between = |both: &mut Both, step: u32| {
            match places >> (step * 3) & 7 {
                1 => both.flush(),
                2 => both.restart(),
                3 => {
                    both.flush();
                    both.restart();
                }
                4 => both.world.engine().compact_all().unwrap(),
                5 => {
                    both.flush();
                    both.merge();
                }
                _ => {}
            }
            both.check();
        };
        if (0..3).any(|step| places >> (step * 3) & 7 > 5) {
            continue;
        }
        both.write(0, 0..20, 1.0);
        between(&mut both, 0);
        both.delete(&[0], Some((5, 30)));
        between(&mut both, 1);
        both.write(0, [7, 25], 2.0);
        between(&mut both, 2);
        both.restart();
        both.world.engine().compact_all().unwrap();
        both.check();
        assert_eq!(both.waiting(), 0, "{places:o}");
    }
}

#[test]
fn space_is_given_back_and_the_deletion_forgotten() {
    let mut both = Both::new();
    for host in 0..4 {
        both.write(host, 0..90, 1.0);
    }
    both.flush();
    both.merge();
    both.world.engine().compact_all().unwrap();
    let before = both.world.engine().stats().file_bytes;
    both.delete(&[0, 1, 2], None);
    assert_eq!(both.waiting(), 1);
    both.flush();
    assert_eq!(both.world.manifest.load().unwrap().tombstones.len(), 1, "the log has let go of it");
    both.merge();
    let after = both.world.engine().stats().file_bytes;
    assert!(after < before, "{after} bytes of {before}");
    assert_eq!((both.waiting(), both.world.manifest.load().unwrap().tombstones.len()), (0, 0));
    assert_eq!(both.world.engine().files().iter().map(|f| f.rows).sum::<u64>(), 90);
}

#[test]
fn a_deletion_of_little_waits_and_shares_the_work() {
    let mut both = Both::new();
    both.write(0, 0..99, 1.0);
    both.world.engine().compact_all().unwrap();
    for time in 10..13 {
        both.delete(&[0], Some((time, time)));
        both.flush();
        both.merge();
    }
    assert_eq!((both.waiting(), both.world.engine().stats().compactions), (3, 1));
    both.world.clock.advance(Duration::from_secs(601));
    both.merge();
    assert_eq!((both.waiting(), both.world.engine().stats().compactions), (0, 2));
    assert_eq!(both.world.engine().files()[0].rows, 96);
}

#[test]
fn what_nothing_older_holds_never_reaches_the_manifest() {
    let mut both = Both::new();
    both.write(0, 0..20, 1.0);
    both.delete(&[0], Some((5, 9)));
    both.flush();
    assert!(both.world.manifest.load().unwrap().tombstones.is_empty());
    both.merge();
    assert_eq!(both.waiting(), 0);
}

#[test]
fn a_series_lives_as_long_as_one_point_of_it() {
    let mut both = Both::new();
    both.write(0, [0, 10, 20, 150], 1.0);
    both.flush();
    both.write(0, [30], 1.0);
    both.write(1, [5], 1.0);
    // Two deletions that leave the middle of a stream, which the index does not show.
    both.delete(&[0], Some((0, 5)));
    both.delete(&[0], Some((20, 200)));
    assert_eq!(both.world.names().len(), 2);
    both.delete(&[0], Some((6, 12)));
    assert_eq!(both.world.names().len(), 1, "gone with its last point");
    assert_eq!(both.world.engine().stats().emptied_series, 1);
    both.restart();
    both.delete(&[1], Some((0, 9)));
    assert_eq!(both.world.table("cpu"), None, "gone with its last series");
    both.write(0, [10], 3.0);
    both.restart();
    both.world.engine().compact_all().unwrap();
    both.check();
}

#[test]
fn a_field_can_be_deleted_alone() {
    let mut both = Both::new();
    let points = [p("cpu", 0, "a", 1, 1.0), p("cpu", 0, "b", 1, 2.0), p("cpu", 1, "b", 1, 3.0)];
    both.world.write(&points, Durability::Sync).unwrap();
    put(&mut both.map, &points);
    both.flush();
    let delete = D { field: Some("b"), ..cpu(&[0, 1], None) };
    both.world.delete(&delete, Durability::Interval).unwrap();
    take(&mut both.map, &delete);
    both.check();
    assert_eq!(both.world.names().len(), 1);
}

#[test]
fn a_weight_is_what_is_deleted_then() {
    let mut both = Both::new();
    both.write(0, 0..50, 1.0);
    both.write(1, 0..50, 1.0);
    both.flush();
    both.write(0, 50..60, 1.0);
    let table = both.world.table("cpu").unwrap();
    let (series, times_ns) = (SeriesSet::table(table), 45_000_000_000..=54_000_000_000);
    let tombstone = Tombstone { table, series, fields: None, times_ns };
    let loss = both.world.engine().weigh(std::slice::from_ref(&tombstone)).unwrap()[0];
    assert_eq!((loss.series, loss.points, loss.bytes > 0), (2, 15, true));
    both.world.engine().delete(vec![tombstone.clone()], Durability::Sync).unwrap();
    let loss = both.world.engine().weigh(&[tombstone]).unwrap()[0];
    assert_eq!((loss.series, loss.points, loss.bytes), (0, 0, 0));
}

#[test]
fn too_many_deletions_are_refused_and_counted() {
    let mut both = Both::new();
    both.write(0, 0..20, 1.0);
    both.flush();
    let table = both.world.table("cpu").unwrap();
    let tombstones: Vec<_> = (0..10_001)
        .map(|n| Tombstone { table, series: SeriesSet::table(table), fields: None, times_ns: n..=n })
        .collect();
    let error = both.world.engine().delete(tombstones, Durability::Sync).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
    assert_eq!(both.world.engine().stats().deletes_refused, 1);
    both.check();
}

#[test]
fn who_found_a_series_before_it_was_deleted_is_told() {
    let mut both = Both::new();
    both.write(0, [1], 1.0);
    let (rows, _) = both.world.rows(&[p("cpu", 0, "a", 2, 1.0)]).unwrap();
    both.delete(&[0], Some((1, 1)));
    let error = both.world.engine().write(rows, Durability::Sync).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    both.write(0, [2], 1.0);
}

#[test]
fn nothing_acknowledged_is_lost_when_series_vanish_under_their_writers() {
    let mut both = Both::new();
    both.write(1, [0], 1.0);
    let world = Arc::new(std::mem::replace(&mut both.world, World::new(2)));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (world, stop) = (world.clone(), stop.clone());
        std::thread::spawn(move || {
            // Points from 1,000 on, which nobody deletes, beside points that are deleted at once.
            let mut acknowledged = Vec::new();
            for n in 0.. {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                for (time, keep) in [(n % 100, false), (1_000 + n, n % 7 == 0)] {
                    let point = [p("cpu", (n % 5) as u8 + 10, "a", time, 1.0)];
                    if (!keep && time >= 1_000) || world.write(&point, Durability::Sync).is_err() {
                        continue;
                    }
                    if keep {
                        acknowledged.push((point[0].key.clone(), time));
                    }
                }
            }
            acknowledged
        })
    };
    for _ in 0..150 {
        world.delete(&cpu(&[10, 11, 12, 13, 14], Some((0, 999))), Durability::Sync).unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let acknowledged = writer.join().unwrap();
    let found = world.read();
    for (key, time) in acknowledged {
        let points = found.get(&("cpu".to_owned(), key.clone(), "a".to_owned()));
        assert!(points.is_some_and(|points| points.contains_key(&time)), "{key} at {time} is lost");
    }
}

#[test]
fn nothing_can_be_written_to_a_policy_once_it_was_dropped() {
    let mut both = Both::new();
    both.write(0, 0..20, 1.0);
    both.flush();
    both.write(1, 0..20, 1.0);
    both.world.engine().drop_policies(&[POLICY]).unwrap();
    both.map.clear();
    both.check();
    assert_eq!((both.world.engine().files().len(), both.world.files_on_disk()), (0, 0));
    let error = both.world.write(&[p("cpu", 0, "a", 1, 1.0)], Durability::Sync).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    both.flush();
}

#[test]
fn series_that_nobody_writes_go_when_writers_had_time_to_come_back() {
    let mut both = Both::new();
    both.world.max_idle_s = 1_000;
    both.world.engine = None;
    both.world.open().unwrap();
    let start = both.world.now_s();
    both.write(0, [start - 5_000, start], 1.0);
    both.write(1, [start - 5_000], 1.0);
    both.flush();
    both.write(2, [start - 5_000], 1.0);
    both.merge();
    assert_eq!(both.world.names().len(), 3, "the server has just started");
    both.world.clock.advance(Duration::from_secs(700));
    both.merge();
    assert_eq!(both.world.names().len(), 3);
    both.write(2, [start + 700], 1.0);
    both.world.clock.advance(Duration::from_secs(601));
    while both.world.engine().compact_once().unwrap() {}
    take(&mut both.map, &cpu(&[0, 1], None));
    both.check();
    assert_eq!(both.world.engine().stats().idle_series, 2);
    both.restart();
    both.write(1, [start], 1.0);
    both.world.clock.advance(Duration::from_secs(100_000));
    both.world.max_idle_s = 0;
    both.restart();
    both.merge();
    assert_eq!(both.world.names().len(), 2, "off by default");
}

/// Writes, deletes, flushes and merges until something fails; the map before and after what was under way.
fn script(world: &World) -> (Map, Map) {
    let mut map = Map::new();
    for n in 0..8_i64 {
        let points = [p("cpu", (n % 3) as u8, "a", n * 40, n as f64), p("cpu", 0, "a", 7 + n, n as f64)];
        let mut next = map.clone();
        put(&mut next, &points);
        if world.write(&points, Durability::Sync).is_err() {
            return (map, next);
        }
        map = next;
        if n % 2 == 1 {
            let _ = world.engine().flush();
        }
        let delete = cpu(&[0, (n % 3) as u8], if n == 5 { None } else { Some((n, n + 41)) });
        let mut next = map.clone();
        take(&mut next, &delete);
        if world.delete(&delete, Durability::Sync).is_err() {
            return (map, next);
        }
        map = next;
        if n % 4 == 3 {
            let _ = world.engine().flush();
            let _ = world.engine().compact_all();
        }
    }
    (map.clone(), map)
}

#[test]
fn a_crash_at_any_operation_leaves_all_or_nothing_of_a_deletion() {
    let operations = {
        let world = World::new(1);
        let before = world.fs.counts().ops;
        script(&world);
        before..world.fs.counts().ops
    };
    assert!(operations.end - operations.start > 100, "the script does real work");
    for operation in operations.step_by(super::crash::stride().min(5)) {
        for (fault, unsynced) in [(Fault::PowerOff, Unsynced::Lost), (Fault::Error, Unsynced::Torn(9))] {
            let mut world = World::new(1);
            world.fs.fail_at(operation, fault);
            let (before, after) = script(&world);
            world.crash(unsynced).unwrap_or_else(|e| panic!("operation {operation}: cannot open again: {e}"));
            let found = world.read();
            assert!(found == before || found == after, "operation {operation}: {found:?}, not {before:?} or {after:?}");
            while world.engine().compact_once().unwrap() {}
            world.engine().compact_all().unwrap();
            assert_eq!(world.read(), found, "operation {operation}");
            assert_eq!(world.names(), found.keys().map(|k| k.1.clone()).collect(), "operation {operation}");
            assert_eq!(world.engine().stats().deletes_waiting, 0);
        }
    }
}
