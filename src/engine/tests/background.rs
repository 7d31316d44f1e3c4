//! When the flushing thread flushes, on a driven clock.

use std::time::Duration;

use super::world::{World, p};
use crate::background::flush;
use crate::{Durability, Options};

/// Rows of a burst, enough for a flush when nothing is written: [`Options::IDLE_FLUSH_BYTES`].
const ROWS: i64 = 60_000;

fn burst(world: &World, time_s: i64) {
    let points: Vec<_> = (0..ROWS).map(|n| p("cpu", (n % 250) as u8, "a", time_s * ROWS + n, n as f64)).collect();
    world.write(&points, Durability::None).unwrap();
    world.engine().drain().unwrap();
    assert!(world.engine().stats().memtable_bytes as usize >= Options::IDLE_FLUSH_BYTES);
}

/// Flushes in so many seconds, looked for twice a second.
fn flushes(world: &World, seconds: u64) -> u64 {
    let before = world.engine().stats().flushes;
    for _ in 0..2 * seconds {
        world.clock.advance(Duration::from_millis(500));
        flush(world.engine()).unwrap();
    }
    world.engine().stats().flushes - before
}

#[test]
fn a_pause_of_senders_that_come_back_is_no_reason_to_flush() {
    let world = World::new(1);
    assert_eq!(world.engine().stats().idle_wait_ms, 5_000);
    let mut seen = Vec::new();
    for time_s in [0, 10, 20] {
        burst(&world, time_s);
        seen.push(flushes(&world, 10));
    }
    assert_eq!((seen, world.engine().stats().idle_wait_ms), (vec![1, 0, 0], 21_000));
    // They have gone.
    assert_eq!(flushes(&world, 20), 1);
    assert_eq!(world.engine().stats().memtable_bytes, 0);
}

#[test]
fn a_flush_is_part_of_the_pause_in_which_it_was_made() {
    let world = World::new(1);
    *world.manifest.takes.lock() = Some((world.clock.clone(), Duration::from_secs(3)));
    for time_s in [0, 10] {
        burst(&world, time_s);
        flushes(&world, 10);
    }
    // 13 seconds from burst to burst, seen half a second later.
    assert_eq!(world.engine().stats().idle_wait_ms, 27_000);
}

/// A few points, less than [`Options::IDLE_FLUSH_BYTES`], more than [`Options::REST_FLUSH_BYTES`].
fn rest(world: &World, time_s: i64) {
    let points: Vec<_> = (0..4_000).map(|n| p("cpu", (n % 250) as u8, "a", time_s + n, n as f64)).collect();
    world.write(&points, Durability::None).unwrap();
    world.engine().drain().unwrap();
    let bytes = world.engine().stats().memtable_bytes as usize;
    assert!((Options::REST_FLUSH_BYTES..Options::IDLE_FLUSH_BYTES).contains(&bytes), "{bytes}");
}

#[test]
fn what_a_load_leaves_behind_is_flushed_and_a_trickle_is_not() {
    let mut world = World::new(1);
    rest(&world, 0);
    assert_eq!(flushes(&world, 60), 0, "a trickle");
    // As after a flush because the memtable was full.
    world.engine().flush().unwrap();
    world.engine().note_full_flush();
    rest(&world, 10);
    assert_eq!(flushes(&world, 4), 0, "not yet quiet");
    assert_eq!(flushes(&world, 2), 1);
    rest(&world, 20);
    assert_eq!(flushes(&world, 60), 0, "a trickle after the load");
    // What a start finds in the log is such a rest.
    world.crash(rhythmite_env::sim::Unsynced::Kept).unwrap();
    assert!(world.engine().stats().memtable_bytes > 0);
    assert_eq!(flushes(&world, 10), 1);
    assert_eq!(world.engine().stats().memtable_bytes, 0);
}

#[test]
fn small_partitions_become_one_file_while_nobody_writes() {
    let world = World::new(1);
    let write = |time_s: i64| {
        let points: Vec<_> = (0..4).map(|host| p("cpu", host, "a", time_s, 1.0)).collect();
        world.write(&points, Durability::Sync).unwrap();
    };
    let levels = || world.engine().files().into_iter().map(|file| file.level).collect::<Vec<_>>();
    for time_s in [0, 10] {
        write(time_s);
        world.clock.advance(Duration::from_secs(6));
        world.engine().flush().unwrap();
    }
    write(20);
    assert!(!world.engine().compact_once().unwrap());
    assert_eq!(levels(), [1, 1], "somebody writes");
    world.clock.advance(Duration::from_secs(6));
    assert!(world.engine().compact_once().unwrap());
    assert_eq!(levels(), [1]);
    assert!(!world.engine().compact_once().unwrap());
}
