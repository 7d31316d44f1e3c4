use std::collections::BTreeMap;

use proptest::prelude::*;
use rhythmite_model::{Column, FieldId, SeriesId};

use super::*;

const TABLE: TableId = TableId(7);

fn rows(points: &[(u32, i64, f64)]) -> Rows {
    Rows {
        table: TABLE,
        tier: Tier::RAW,
        series: points.iter().map(|p| SeriesId::new(TABLE, 0, p.0)).collect(),
        times_ns: points.iter().map(|p| p.1).collect(),
        fields: vec![(FieldId(0), Column::Float(points.iter().map(|p| p.2).collect()))],
    }
}

fn batch(points: &[(u32, i64, f64)]) -> Batch {
    Batch { rows: vec![rows(points)], ..Batch::default() }
}

/// All points of a generation; where blocks overlap the larger arrival wins, as for every reader.
fn points(generation: &Generation) -> BTreeMap<(u32, i64), f64> {
    let mut best: BTreeMap<(u32, i64), (u32, f64)> = BTreeMap::new();
    for part in generation.parts(TABLE, Tier::RAW) {
        let block = &part.block;
        assert!(
            (1..block.len()).all(|i| {
                (block.series()[i - 1], block.times_ns()[i - 1]) < (block.series()[i], block.times_ns()[i])
            }),
            "a block is sorted and has each point once"
        );
        let Column::Float(values) = block.column(0) else { panic!("a float column went in") };
        for (i, &value) in values.iter().enumerate() {
            let new = (block.arrivals()[i], value);
            let entry = best.entry((block.series()[i], block.times_ns()[i])).or_insert(new);
            if new.0 >= entry.0 {
                *entry = new;
            }
        }
    }
    best.into_iter().map(|(k, v)| (k, v.1)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_generation_is_a_map_from_series_and_time_to_the_last_value(
        batches in prop::collection::vec(
            (prop::collection::vec((0_u32..5, 0_i64..20), 1..40), any::<bool>(), any::<bool>()), 1..40)
    ) {
        let generation = Generation::default();
        let mut model = BTreeMap::new();
        for (arrival, (keys, read, merge)) in batches.iter().enumerate() {
            let written: Vec<_> =
                keys.iter().enumerate().map(|(i, &(s, t))| (s, t, (arrival * 1_000 + i) as f64)).collect();
            model.extend(written.iter().map(|&(s, t, v)| ((s, t), v)));
            generation.append(&batch(&written), arrival as u32);
            if *read {
                prop_assert_eq!(&points(&generation), &model);
            }
            if *merge {
                while generation.merge_once() {}
            }
        }
        prop_assert_eq!(points(&generation), model);
    }
}

/// Values by (series, time, field), as a reader merges them.
fn values(generation: &Generation) -> BTreeMap<(u32, i64, u16), f64> {
    let mut best: BTreeMap<(u32, i64, u16), (u32, f64)> = BTreeMap::new();
    for part in generation.parts(TABLE, Tier::RAW) {
        for (at, (field, _)) in part.block.fields().iter().enumerate() {
            let Column::Float(values) = part.block.column(at) else { panic!("a float column went in") };
            for (i, &value) in values.iter().enumerate() {
                let (new, key) =
                    ((part.block.arrivals()[i], value), (part.block.series()[i], part.block.times_ns()[i], field.0));
                let entry = best.entry(key).or_insert(new);
                *entry = if new.0 >= entry.0 { new } else { *entry };
            }
        }
    }
    best.into_iter().map(|(k, v)| (k, v.1)).collect()
}

#[test]
fn many_sets_of_fields_stay_few_buffers_and_are_counted() {
    let generation = Generation::default();
    let mut model = BTreeMap::new();
    // Every set of twelve fields, one row each.
    for set in 1_u32..1 << 12 {
        let (series, time_ns) = (set % 7, i64::from(set % 100));
        let fields: Vec<u16> = (0..12).filter(|f| set >> f & 1 == 1).collect();
        let row = Rows {
            table: TABLE,
            tier: Tier::RAW,
            series: vec![SeriesId::new(TABLE, 0, series)],
            times_ns: vec![time_ns],
            fields: fields.iter().map(|&f| (FieldId(f), Column::Float(vec![f64::from(set)]))).collect(),
        };
        generation.append(&Batch { rows: vec![row], ..Batch::default() }, set);
        model.extend(fields.into_iter().map(|f| ((series, time_ns, f), f64::from(set))));
    }
    let parts = generation.parts(TABLE, Tier::RAW).len();
    assert!(parts <= FIELD_SETS_MAX + 12, "{parts} buffers for 4,095 sets of fields");
    assert_eq!(generation.rows(), 4_095);
    assert_eq!(values(&generation), model);
}

#[test]
fn what_a_buffer_costs_is_counted_and_a_readers_copy_as_long_as_it_is_held() {
    let generation = Generation::default();
    generation.append(&batch(&[(1, 10, 1.0)]), 0);
    let one = generation.bytes();
    assert!(one >= size_of::<Buffer>() + 24, "{one}");
    generation.parts(TABLE, Tier::RAW);
    let read = generation.bytes();
    assert!(read >= one + 24, "{read}");
    generation.parts(TABLE, Tier::RAW);
    assert_eq!(generation.bytes(), read, "the copy is used again");
    let more: Vec<_> = (0..CHUNK_ROWS as i64).map(|t| (2, t, 1.0)).collect();
    generation.append(&batch(&more), 1);
    generation.parts(TABLE, Tier::RAW);
    // Capacity of vectors at most doubles.
    assert!(generation.bytes() <= one + 2 * 24 * CHUNK_ROWS + read, "{}", generation.bytes());
}

#[test]
fn many_chunks_stay_few_blocks() {
    let generation = Generation::default();
    for round in 0..40_i64 {
        let points: Vec<_> =
            (0..CHUNK_ROWS as u32).map(|i| (i % 1_000, round * 100 + i64::from(i / 1_000), 1.0)).collect();
        generation.append(&batch(&points), round as u32);
        while generation.merge_once() {}
    }
    let parts = generation.parts(TABLE, Tier::RAW);
    assert!(parts.len() <= 24, "{} blocks for 40 chunks", parts.len());
    assert_eq!(parts.iter().map(|p| p.block.len()).sum::<usize>(), 40 * CHUNK_ROWS);
    assert!(generation.bytes() >= 40 * CHUNK_ROWS * 24);
}

#[test]
fn an_earlier_write_that_is_applied_later_does_not_win() {
    let generation = Generation::default();
    generation.append(&batch(&[(1, 10, 2.0)]), 2);
    generation.append(&batch(&[(1, 10, 1.0)]), 1);
    assert_eq!(points(&generation), BTreeMap::from([((1, 10), 2.0)]));
}

#[test]
fn a_view_of_the_open_chunk_does_not_change_under_its_reader() {
    let generation = Generation::default();
    generation.append(&batch(&[(1, 10, 1.0)]), 0);
    let before = generation.parts(TABLE, Tier::RAW);
    generation.append(&batch(&[(1, 20, 2.0)]), 1);
    assert_eq!(before.iter().map(|p| p.block.len()).sum::<usize>(), 1);
    assert_eq!(points(&generation).len(), 2);
}

#[test]
fn levels_and_tables_are_apart() {
    let generation = Generation::default();
    let mut coarse = rows(&[(1, 10, 5.0)]);
    coarse.tier = Tier(1);
    generation.append(&Batch { rows: vec![rows(&[(1, 10, 1.0)]), coarse], ..Batch::default() }, 0);
    assert_eq!(generation.tables(), [(TABLE, Tier(0)), (TABLE, Tier(1))]);
    assert_eq!(generation.parts(TABLE, Tier(1)).len(), 1);
    assert_eq!(points(&generation), BTreeMap::from([((1, 10), 1.0)]));
    assert!(generation.parts(TableId(8), Tier::RAW).is_empty());
}

#[test]
fn of_two_rows_of_one_write_the_later_wins_wherever_a_chunk_ends() {
    for before in [0, 1, CHUNK_ROWS - 2, CHUNK_ROWS - 1] {
        let generation = Generation::default();
        let filler: Vec<_> = (0..before as i64).map(|t| (9, t, 0.0)).collect();
        if before > 0 {
            generation.append(&batch(&filler), 0);
        }
        generation.append(&batch(&[(1, 100, 1.0), (1, 90, 5.0), (1, 100, 2.0)]), 1);
        let found: Vec<_> = points(&generation).into_iter().filter(|(k, _)| k.0 == 1).collect();
        assert_eq!(found, [((1, 90), 5.0), ((1, 100), 2.0)], "behind {before} rows");
        let blocks = generation.parts(TABLE, Tier::RAW).into_iter().filter(|p| p.block.series().contains(&1)).count();
        assert_eq!(blocks, 1, "one write lies in one block");
    }
}
