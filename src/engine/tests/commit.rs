//! A catalogue that fails, with and without having done what it was asked for.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rhythmite_env::sim::Unsynced;
use rhythmite_model::{KeyKind, PolicyId};

use super::world::{D, Map, World, p, put, take};
use crate::Durability;

/// Writes, flushes and merges, each tried again until it succeeds.
fn script(world: &mut World, restart_after: Option<u64>) -> Map {
    let mut model = Map::new();
    for n in 0..8 {
        let points = [p("cpu", (n % 2) as u8, "a", n * 40, n as f64), p("cpu", 0, "a", 7, n as f64)];
        world.write(&points, Durability::Sync).unwrap();
        put(&mut model, &points);
        let delete = D { table: "cpu", keys: vec!["cpu,host=0".to_owned()], field: None, times_s: Some((n, n + 10)) };
        world.delete(&delete, Durability::Sync).unwrap();
        take(&mut model, &delete);
        let mut failed = false;
        while world.engine().flush().is_err() {
            failed = true;
            assert_eq!(world.read(), model, "a failed flush hides nothing");
        }
        for _ in 0..3 {
            failed |= world.engine().compact_once().is_err();
            world.clock.advance(Duration::from_secs(61));
        }
        assert_eq!(world.read(), model);
        if failed && restart_after.is_some() {
            world.crash(Unsynced::Lost).unwrap();
            assert_eq!(world.read(), model, "after a restart");
        }
    }
    model
}

/// What the catalogue lists, what readers see and what lies on the disk are the same files.
fn check_agreement(world: &World) {
    let mut listed: Vec<_> = world.manifest.state.lock().files.iter().map(|f| f.id.clone()).collect();
    let mut seen: Vec<_> = world.engine().files().into_iter().map(|f| f.id).collect();
    listed.sort();
    seen.sort();
    assert_eq!(listed, seen);
    assert_eq!(world.files_on_disk(), seen.len());
}

#[test]
fn a_commit_that_failed_is_repeated_as_it_was_whether_it_happened_or_not() {
    let commits = {
        let mut world = World::new(1);
        script(&mut world, None);
        world.manifest.commits.load(Ordering::Relaxed)
    };
    assert!(commits >= 10, "{commits}");
    for number in 1..=commits {
        for happens in [false, true] {
            for restart in [None, Some(number)] {
                let mut world = World::new(1);
                world.manifest.faults.lock().insert(number, happens);
                let model = script(&mut world, restart);
                if restart.is_none() {
                    check_agreement(&world);
                }
                world.engine().compact_all().unwrap();
                check_agreement(&world);
                assert_eq!(world.read(), model);
                world.crash(Unsynced::Lost).unwrap();
                assert_eq!(world.read(), model, "commit {number}, happens: {happens}");
            }
        }
    }
}

#[test]
fn what_a_dropped_policy_left_behind_is_removed_at_start() {
    let mut world = World::new(1);
    world.write(&[p("cpu", 0, "a", 10, 1.0)], Durability::Sync).unwrap();
    world.engine().compact_all().unwrap();
    let mut state = world.manifest.state.lock().clone();
    // The catalogue knows the policy no more; the engine was killed before it was told.
    state.files[0].policy = PolicyId(77);
    *world.manifest.state.lock() = state;
    let ((), commit) = world
        .engine()
        .create(Durability::Sync, |names| names.create_table(PolicyId(77), "old", KeyKind::Tagged).map(drop))
        .unwrap();
    commit.wait().unwrap();
    world.crash(Unsynced::Lost).unwrap();
    assert!(world.manifest.state.lock().files.is_empty());
    assert_eq!(world.files_on_disk(), 0);
    assert!(world.engine().registry().read().find_table(PolicyId(77), "old").is_none());
    world.write(&[p("cpu", 0, "a", 20, 2.0)], Durability::Sync).unwrap();
    world.engine().flush().unwrap();
    world.crash(Unsynced::Lost).unwrap();
    assert_eq!(world.engine().files().len(), 1);
}

#[test]
fn what_an_interrupted_flush_left_behind_is_removed_even_when_its_number_lives_again() {
    use rhythmite_env::Fs;
    let mut world = World::new(1);
    world.write(&[p("cpu", 0, "a", 10, 1.0)], Durability::Sync).unwrap();
    world.engine().compact_all().unwrap();
    let live = world.engine().files()[0].id.clone();
    // The same number in another partition: removed at an earlier start, and back after a crash.
    let dir = std::path::Path::new("/db/data/d/p/raw/700");
    world.fs.create_dir_durably(std::path::Path::new("/"), dir).unwrap();
    for name in ["points-ID.parquet", "points-ID.idx", "series-ID.parquet", "fields-ID.parquet"] {
        world.fs.write_durably(&dir.join(name.replace("ID", &live)), b"x").unwrap();
    }
    let orphans = world.crash(Unsynced::Kept).unwrap().orphans;
    assert_eq!((orphans, world.files_on_disk()), (4, 1));
}
