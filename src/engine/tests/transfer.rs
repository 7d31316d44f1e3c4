//! Moving series: the points are there once, before and after, whatever fails and whoever writes meanwhile.

use std::collections::BTreeMap;

use rhythmite_env::sim::{Fault, Unsynced};
use rhythmite_model::{ErrorKind, FieldType, FieldValue, Result, SeriesId, Tier};

use super::crash::stride;
use super::world::{KEPT, POLICY, World, kind_of, p};
use crate::{Durability, Moved, Remade, Snapshot, Transfer};

/// key -> time -> value, of both tables; a point that is in both fails.
fn both(world: &World) -> BTreeMap<String, BTreeMap<i64, String>> {
    let mut found: BTreeMap<String, BTreeMap<i64, String>> = BTreeMap::new();
    for ((_, key, _), points) in world.read() {
        let tags = key.split_once(',').unwrap().1.to_owned();
        for (time, value) in points {
            let twice = found.entry(tags.clone()).or_default().insert(time, value);
            assert_eq!(twice, None, "{key} at {time} is there twice");
        }
    }
    found
}

fn series(world: &World, table: &str) -> Vec<SeriesId> {
    let Some(id) = world.table(table) else { return Vec::new() };
    let names = world.engine().registry().read();
    let mut ids: Vec<SeriesId> = names.series_by_key(id, None).into_iter().map(|slot| names.series_id(slot)).collect();
    ids.sort_unstable();
    ids
}

/// Moves all series of `cpu`, which have the field `a`, to `kept`, in steps of two.
fn move_all(world: &World) -> Result<Transfer> {
    let engine = world.engine();
    let mut all = Transfer::default();
    for from in series(world, "cpu").chunks(2) {
        let (to, commit) = engine.create(Durability::Sync, |names| {
            let table = names.create_table(KEPT, "kept", kind_of("kept"))?;
            names.create_field(table, "a", FieldType::Float)?;
            let keys: Vec<_> = from
                .iter()
                .filter_map(|id| names.slot(*id))
                .map(|slot| names.key(slot).replace("cpu", "kept"))
                .collect();
            keys.iter().map(|key| names.create_series(table, key, None)).collect::<Result<Vec<_>>>()
        })?;
        commit.wait()?;
        let step = engine.transfer(|snapshot| {
            let (table, old) = (to[0].table(), from[0].table());
            let field = engine.registry().read().find_field(table, "a").unwrap().0;
            let mut points = Vec::new();
            for found in snapshot.scan(old, Tier::RAW, Snapshot::all_series(old), None, i64::MIN..=i64::MAX)? {
                let mut found = found?;
                let Some(at) = from.iter().position(|id| *id == found.series) else { continue };
                found.series = to[at];
                found.streams.iter_mut().for_each(|stream| stream.field = field);
                points.push(found);
            }
            points.sort_by_key(|points| points.series);
            Ok(Remade { moved: vec![Moved { table, tier: Tier::RAW, points }], series: from.to_vec() })
        })?;
        all.points += step.points;
        all.dropped += step.dropped;
    }
    Ok(all)
}

fn fill(world: &World) -> Result<()> {
    for n in 0..6_i64 {
        let points: Vec<_> = (0..3).map(|host| p("cpu", host, "a", n * 70, n as f64)).collect();
        world.write(&points, Durability::Sync)?;
        if n == 2 {
            world.engine().flush()?;
            world.engine().compact_once()?;
        }
    }
    Ok(())
}

#[test]
fn points_move_once_and_their_series_go() {
    let world = World::new(1);
    fill(&world).unwrap();
    let before = both(&world);
    let reader = world.engine().snapshot();
    let done = move_all(&world).unwrap();
    assert_eq!((done.points, done.dropped), (18, 3));
    assert_eq!(both(&world), before);
    assert!(series(&world, "cpu").is_empty());
    // Who began before sees what there was.
    let cpu = reader.scan(
        world.table("kept").unwrap(),
        Tier::RAW,
        Snapshot::all_series(world.table("kept").unwrap()),
        None,
        0..=i64::MAX,
    );
    assert_eq!(cpu.unwrap().count(), 0);
    // Nothing is left to move; the space is given back.
    assert_eq!(move_all(&world).unwrap(), Transfer::default());
    world.engine().compact_all().unwrap();
    assert!(world.engine().files().iter().all(|file| file.policy == KEPT));
    assert_eq!(both(&world), before);
}

#[test]
fn what_is_written_meanwhile_stays() {
    let world = World::new(2);
    fill(&world).unwrap();
    let from = series(&world, "cpu");
    let late = [p("cpu", 0, "a", 70, 99.0), p("cpu", 0, "a", 1_000, 5.0)];
    let done = world.engine().transfer(|_| {
        world.write(&late, Durability::Sync).unwrap();
        Ok(Remade { moved: Vec::new(), series: from })
    });
    // Two of three have nothing left.
    assert_eq!(done.unwrap().dropped, 2);
    let left: Vec<_> = both(&world).remove("host=0").unwrap().into_iter().collect();
    let value = |v| format!("{:?}", FieldValue::Float(v));
    assert_eq!(left, [(70, value(99.0)), (1_000, value(5.0))]);
    let mut world = world;
    world.crash(Unsynced::Lost).unwrap();
    let again: Vec<_> = both(&world).remove("host=0").unwrap().into_iter().collect();
    assert_eq!(again, left);
    // What fails changes nothing.
    let refused = world.engine().transfer(|_| Err(rhythmite_model::Error::invalid("no")));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(both(&world).len(), 1);
    assert!(world.engine().policy(POLICY).is_some());
}

fn check(seed: u64, fault: Fault, unsynced: Unsynced) {
    let (operations, expected) = {
        let world = World::new(seed);
        fill(&world).unwrap();
        let (expected, before) = (both(&world), world.fs.counts().ops);
        move_all(&world).unwrap();
        world.engine().compact_all().unwrap();
        (before..world.fs.counts().ops, expected)
    };
    assert!(operations.end - operations.start > 30, "the script does real work");
    for operation in operations.skip(seed as usize % stride()).step_by(stride()) {
        let mut world = World::new(seed);
        fill(&world).unwrap();
        world.fs.fail_at(operation, fault);
        let _ = move_all(&world).map(|_| world.engine().compact_all());
        world.crash(unsynced).unwrap_or_else(|e| panic!("operation {operation}: cannot open again: {e}"));
        assert_eq!(both(&world), expected, "operation {operation}");
        move_all(&world).unwrap();
        assert_eq!(both(&world), expected, "operation {operation}, again");
        assert!(series(&world, "cpu").is_empty(), "operation {operation}");
        world.engine().compact_all().unwrap();
        assert_eq!(both(&world), expected, "operation {operation}, merged");
    }
}

#[test]
fn a_move_that_fails_anywhere_moves_all_or_nothing() {
    check(3, Fault::PowerOff, Unsynced::Lost);
    check(4, Fault::PowerOff, Unsynced::Torn(9));
    check(5, Fault::Error, Unsynced::Lost);
}
