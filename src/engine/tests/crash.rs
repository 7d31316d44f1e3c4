//! A scripted run that fails at each of its file operations: nothing acknowledged is lost, nothing is invented.
//!
//! Every seventh operation is tried, from another one on with each seed; `RHYTHMITE_FAULT_STRIDE=1` tries all.

use rhythmite_env::sim::{Fault, Unsynced};
use rhythmite_model::ErrorKind;

use super::world::{Map, P, World, p, put};
use crate::Durability;

/// Each check tries every so many operations; the checks' seeds begin at different ones.
pub(super) fn stride() -> usize {
    std::env::var("RHYTHMITE_FAULT_STRIDE").map_or(7, |n| n.parse().expect("a number above 0"))
}

/// The points of batch `n`: overwrites, late points, several tables.
fn batch(n: i64) -> Vec<P> {
    let value = n as f64;
    vec![p("cpu", (n % 3) as u8, "a", n * 40, value), p("cpu", 0, "a", 7, value), p("mem", 0, "b", n, value)]
}

/// Writes batches, flushes and merges until something fails. Returns the map of what was acknowledged, and the batch
/// that was under way, which may or may not be there afterwards.
fn script(world: &World) -> (Map, Option<Vec<P>>) {
    let mut acknowledged = Map::new();
    for n in 0..12 {
        let points = batch(n);
        if world.write(&points, Durability::Sync).is_err() {
            return (acknowledged, Some(points));
        }
        put(&mut acknowledged, &points);
        // A failed flush or merge loses nothing; writing goes on if the log does.
        if n % 2 == 1 {
            let _ = world.engine().flush();
        }
        if n % 4 == 3 {
            let _ = world.engine().compact_once();
        }
    }
    (acknowledged, None)
}

/// With even seeds flushes go straight into partitions, where they may.
fn world(seed: u64) -> World {
    let mut world = World::closed(seed);
    if seed.is_multiple_of(2) {
        world.options.idle_flush = std::time::Duration::ZERO;
    }
    world.open().expect("a new directory opens");
    world
}

fn check(seed: u64, fault: Fault, unsynced: Unsynced) {
    let operations = {
        let world = world(seed);
        let before = world.fs.counts().ops;
        script(&world);
        before..world.fs.counts().ops
    };
    assert!(operations.end - operations.start > 100, "the script does real work");
    for operation in operations.skip(seed as usize % stride()).step_by(stride()) {
        let mut world = world(seed);
        world.fs.fail_at(operation, fault);
        let (acknowledged, under_way) = script(&world);
        world.crash(unsynced).unwrap_or_else(|e| panic!("operation {operation}: cannot open again: {e}"));
        let found = world.read();
        let mut with = acknowledged.clone();
        put(&mut with, under_way.as_deref().unwrap_or_default());
        assert!(
            found == acknowledged || found == with,
            "operation {operation} failed by {fault:?}: acknowledged {acknowledged:?}, found {found:?}"
        );
        // And it goes on working.
        let more = [p("cpu", 0, "a", 1_000, 5.0)];
        world.write(&more, Durability::Sync).unwrap();
        world.engine().compact_all().unwrap();
        let mut after = found;
        put(&mut after, &more);
        assert_eq!(world.read(), after, "operation {operation}");
    }
}

#[test]
fn power_fails_at_every_operation() {
    check(1, Fault::PowerOff, Unsynced::Lost);
}

#[test]
fn power_fails_and_sectors_are_torn() {
    for seed in 2..5 {
        check(seed, Fault::PowerOff, Unsynced::Torn(9));
    }
}

#[test]
fn one_operation_fails_and_the_server_is_restarted() {
    check(5, Fault::Error, Unsynced::Lost);
    check(6, Fault::ShortWrite, Unsynced::Torn(9));
}

#[test]
fn a_full_disk_refuses_and_keeps() {
    let mut world = World::new(7);
    world.fs.set_space(Some(200_000));
    let mut acknowledged = Map::new();
    let mut refused = None;
    for n in 0..10_000 {
        let points = batch(n);
        match world.write(&points, Durability::Sync) {
            Ok(()) => put(&mut acknowledged, &points),
            Err(e) => {
                refused = Some((e, points));
                break;
            }
        }
        let _ = world.engine().flush();
    }
    let (error, points) = refused.expect("the disk is full at some time");
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Overloaded), "{error}");
    world.fs.set_space(None);
    world.crash(Unsynced::Lost).unwrap();
    let found = world.read();
    let mut with = acknowledged.clone();
    put(&mut with, &points);
    assert!(found == acknowledged || found == with);
}
