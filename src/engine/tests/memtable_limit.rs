//! The memtable's limit as the flushing thread fits it.

use rhythmite_model::KeyKind;

use super::world::{POLICY, World};
use crate::{Durability, background};

#[test]
fn the_limit_follows_the_series_there_are() {
    let mut world = World::closed(1);
    (world.options.memtable_bytes, world.options.memtable_bytes_many) = (1 << 20, 2 << 20);
    world.open().unwrap();
    let engine = world.engine();
    // Series that are made, 400 bytes of each, and the limit after the next round.
    for (table, series, expected) in [("few", 10, 1 << 20), ("more", 3_990, 1_600_000), ("many", 6_000, 2 << 20)] {
        let made = engine.change(Durability::Sync, |names| {
            let table = names.create_table(POLICY, table, KeyKind::Tagged)?;
            (0..series).try_for_each(|i| names.create_series(table, &format!("t,i={i}"), None).map(drop))
        });
        made.unwrap().1.wait().unwrap();
        background::flush(engine).unwrap();
        assert_eq!(engine.stats().memtable_limit_bytes, expected, "{table}");
    }
    for (table, expected) in [("many", 1_600_000), ("more", 1 << 20)] {
        let id = world.table(table).unwrap();
        let dropped = engine.change(Durability::Sync, |names| {
            names.drop_table(id);
            Ok(())
        });
        dropped.unwrap().1.wait().unwrap();
        background::flush(engine).unwrap();
        assert_eq!(engine.stats().memtable_limit_bytes, expected, "without {table}");
    }
}
