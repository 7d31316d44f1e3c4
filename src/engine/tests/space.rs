//! A disk that is nearly full: who is turned away, who goes on, and that it ends by itself.

use std::time::Duration;

use rhythmite_model::{ErrorKind, KeyKind};

use super::world::{D, Map, POLICY, World, p, put, take};
use crate::Durability;

const MARK: u64 = 1 << 20;

fn world() -> World {
    let mut world = World::closed(1);
    world.options.free_bytes_min = MARK;
    world.open().unwrap();
    world
}

/// Sets what is free, and lets the answer that is known grow old.
fn free(world: &World, bytes: u64) {
    world.fs.set_space(Some(bytes));
    world.clock.advance(Duration::from_millis(250));
}

#[test]
fn below_the_mark_writes_are_refused_and_all_else_goes_on() {
    let world = world();
    let mut map = Map::new();
    for n in 0..4 {
        let points = [p("cpu", 0, "a", n, n as f64), p("cpu", 1, "a", n, 1.0)];
        world.write(&points, Durability::Sync).unwrap();
        put(&mut map, &points);
        world.engine().flush().unwrap();
    }
    let points = [p("cpu", 0, "a", 50, 1.0)];
    world.write(&points, Durability::Sync).unwrap();
    put(&mut map, &points);
    let (rows, _) = world.rows(&points).unwrap();

    free(&world, MARK - 1);
    for durability in [Durability::Sync, Durability::Interval, Durability::None] {
        let refused = world.engine().write(rows.clone(), durability).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::NoSpace, "{refused}");
    }
    let name = world.engine().create(Durability::Sync, |names| names.create_table(POLICY, "new", KeyKind::Tagged));
    assert_eq!(name.err().unwrap().kind(), ErrorKind::NoSpace);
    let stats = world.engine().stats();
    assert_eq!((stats.no_space, stats.disk_low, stats.disk_free_bytes), (4, true, MARK - 1));
    assert!(!world.engine().is_read_only());

    // Deletions, flushes and merges.
    assert_eq!(world.read(), map);
    let delete = D { table: "cpu", keys: vec!["cpu,host=1".to_owned()], field: None, times_s: None };
    world.delete(&delete, Durability::Sync).unwrap();
    take(&mut map, &delete);
    world.engine().flush().unwrap();
    assert!(world.engine().compact_once().unwrap());
    world.engine().compact_all().unwrap();
    assert_eq!((world.read(), world.engine().files().len()), (map, 1));

    // The answer holds for a while, then it is asked again; a little more than the mark is too little.
    for (bytes, taken) in [(MARK, false), (MARK + MARK / 8, true), (MARK, true), (MARK - 1, false)] {
        world.clock.advance(Duration::from_secs(1));
        free(&world, bytes);
        assert_eq!(world.write(&points, Durability::Sync).is_ok(), taken, "{bytes} bytes are free");
        world.clock.advance(Duration::from_secs(1));
        free(&world, bytes);
    }
}

#[test]
fn a_merge_that_would_fill_the_disk_waits_for_space() {
    let world = world();
    let mut map = Map::new();
    for n in 0..6 {
        let points: Vec<_> = (0..50).map(|i| p("cpu", i as u8, "a", n * 50 + i, n as f64)).collect();
        world.write(&points, Durability::Sync).unwrap();
        put(&mut map, &points);
        world.engine().flush().unwrap();
    }
    let bytes: u64 = world.engine().files().iter().map(|f| f.bytes).sum();
    // Room for half of them and nothing above the mark: not even the oldest that are due.
    free(&world, bytes / 2);
    assert!(!world.engine().compact_once().unwrap());
    assert_eq!(world.engine().compact_all().unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(world.engine().files().len(), 6);
    free(&world, MARK + bytes * 2);
    world.engine().compact_all().unwrap();
    assert!(world.engine().files().iter().all(|f| f.level == 1));
    assert_eq!(world.read(), map);
}

#[test]
fn what_files_and_log_may_take_is_a_disk_of_that_size() {
    let mut world = World::closed(1);
    world.options.data_bytes_max = 300_000;
    world.options.free_bytes_min = 100_000;
    world.open().unwrap();
    let points: Vec<_> = (0..100).map(|i| p("cpu", (i % 50) as u8, "a", i, f64::from(i as i32) / 7.0)).collect();
    let mut written = 0;
    let refused = loop {
        world.clock.advance(Duration::from_secs(1));
        match world.write(&points, Durability::Sync) {
            Ok(()) => written += 1,
            Err(e) => break e,
        }
        assert!(written < 10_000, "never full");
    };
    assert_eq!(refused.kind(), ErrorKind::NoSpace, "{refused}");
    assert!(world.engine().stats().disk_free_bytes < 100_000);
    // The log was what took the space: a round of flushing makes files of it.
    world.clock.advance(Duration::from_secs(1));
    assert!(crate::background::flush(world.engine()).unwrap());
    world.clock.advance(Duration::from_secs(1));
    world.write(&points, Durability::Sync).unwrap();
}
