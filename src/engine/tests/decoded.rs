//! What is kept decoded changes no answer.

use rhythmite_model::FieldId;

use super::world::{D, Map, P, START_S, World, p, put, take};
use crate::wal::Durability;

const HOSTS: u8 = 4;
const TIMES: i64 = 500;

fn world(cache_bytes: usize) -> World {
    let mut world = World::new(5);
    world.options.decoded_cache_bytes = cache_bytes;
    world.engine = None;
    world.open().unwrap();
    world
}

fn write(world: &World, model: &mut Map, value: f64) {
    let points: Vec<P> = (0..HOSTS)
        .flat_map(|host| (0..TIMES).map(move |t| p("cpu", host, "f", START_S + t, value + t as f64)))
        .collect();
    world.write(&points, Durability::Sync).unwrap();
    put(model, &points);
    world.engine().flush().unwrap();
}

#[test]
fn a_second_reader_decodes_nothing_and_sees_what_was_written_and_deleted_since() {
    let world = world(64 << 20);
    let mut model = Map::new();
    write(&world, &mut model, 1.0);
    assert_eq!(world.read(), model);
    let first = world.engine().stats();
    assert_eq!((first.decoded_hits, first.decoded_misses), (0, u64::from(HOSTS)));
    assert!(first.decoded_bytes >= u64::from(HOSTS) * TIMES as u64 * 8, "{first:?}");
    assert_eq!(world.read(), model);
    let second = world.engine().stats();
    assert_eq!((second.decoded_hits, second.decoded_misses), (u64::from(HOSTS), u64::from(HOSTS)));

    write(&world, &mut model, 2.0);
    assert_eq!(world.read(), model, "a newer file wins over what is decoded of the older");
    let host = p("cpu", 1, "f", START_S, 0.0).key;
    let gone = D { table: "cpu", keys: vec![host], field: None, times_s: Some((START_S + 10, START_S + 20)) };
    world.delete(&gone, Durability::Sync).unwrap();
    take(&mut model, &gone);
    assert_eq!(world.read(), model);
    world.engine().compact_all().unwrap();
    assert_eq!(world.read(), model);
}

#[test]
fn a_reader_fills_its_part_and_reads_the_rest_past_the_cache() {
    let world = world(60_000);
    let mut model = Map::new();
    write(&world, &mut model, 1.0);
    (0..2).for_each(|_| assert_eq!(world.read(), model));
    let stats = world.engine().stats();
    assert!(stats.decoded_bytes <= 60_000, "{stats:?}");
    assert!(stats.decoded_hits < stats.decoded_misses, "{stats:?}");
    let narrow = START_S * 1_000_000_000..=(START_S + 9) * 1_000_000_000;
    let table = world.table("cpu").unwrap();
    let snapshot = world.engine().snapshot();
    let all = crate::Snapshot::all_series(table);
    let found = snapshot.scan(table, rhythmite_model::Tier::RAW, all, Some([FieldId(0)].into()), narrow).unwrap();
    let lengths: Vec<_> = found.map(|points| points.unwrap().streams[0].times_ns.len()).collect();
    assert_eq!(lengths, [10; HOSTS as usize]);
}

#[test]
fn pages_that_are_kept_change_no_answer() {
    let bytes_before = [0, 20_000, 1 << 20].map(|page_cache_bytes| {
        let mut world = World::new(6);
        world.options.decoded_cache_bytes = 0;
        world.options.page_cache_bytes = page_cache_bytes;
        world.engine = None;
        world.open().unwrap();
        let mut model = Map::new();
        write(&world, &mut model, 1.0);
        (0..3).for_each(|_| assert_eq!(world.read(), model));
        let odd: Vec<P> =
            (0..TIMES / 3).map(|t| p("cpu", 2, "f", START_S + t * 3 + t % 2, -(t as f64) / 8.0)).collect();
        world.write(&odd, Durability::Sync).unwrap();
        put(&mut model, &odd);
        world.engine().flush().unwrap();
        (0..2).for_each(|_| assert_eq!(world.read(), model));
        let host = p("cpu", 1, "f", START_S, 0.0).key;
        let gone = D { table: "cpu", keys: vec![host], field: None, times_s: Some((START_S + 10, START_S + 20)) };
        world.delete(&gone, Durability::Sync).unwrap();
        take(&mut model, &gone);
        assert_eq!(world.read(), model);
        let stats = world.engine().stats();
        assert!(stats.page_cache_bytes <= page_cache_bytes as u64, "{stats:?}");
        assert_eq!(stats.page_cache_hits > 0, page_cache_bytes > 0, "{stats:?}");
        world.engine().compact_all().unwrap();
        (0..2).for_each(|_| assert_eq!(world.read(), model));
        stats.page_cache_bytes
    });
    assert!(bytes_before[2] > 0, "{bytes_before:?}");
}
