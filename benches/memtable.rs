//! The memtable: appending, appending with the seal of full chunks, merging, by CPU time.
//!
//! Rows come as senders send them: every series in turn, time going forward.

#[path = "support/cpu_time.rs"]
mod cpu_time;

use std::hint::black_box;

use cpu_time::CpuTime;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rhythmite_engine::memtable::Generation;
use rhythmite_model::{Batch, Column, FieldId, Rows, SeriesId, TableId, Tier};

const TABLE: TableId = TableId(1);
const SERIES: u32 = 10_000;
/// So many that ten chunks have one row of each, as blocks that are merged again have of ten million.
const MANY_SERIES: u32 = 10 * CHUNK_ROWS;
const MOST_SERIES: u32 = 10_000_000;
const BATCH_ROWS: u32 = 5_000;
/// Rows of a chunk: fewer are only appended, as many are sealed too.
const CHUNK_ROWS: u32 = 64 * 1024;

/// `rows` rows of `fields` float fields in batches, `series` series in turn: row by row the one that `pick` gives.
fn batches_of(rows: u32, fields: u16, series: u32, pick: fn(u32) -> u32) -> Vec<Batch> {
    let mut out = Vec::new();
    let mut row = 0;
    while row < rows {
        let end = (row + BATCH_ROWS).min(rows);
        let batch = Rows {
            table: TABLE,
            tier: Tier::RAW,
            series: (row..end).map(|r| SeriesId::new(TABLE, 0, pick(r % series))).collect(),
            times_ns: (row..end).map(|r| i64::from(r / series) * 10_000_000_000).collect(),
            fields: (0..fields)
                .map(|f| (FieldId(f), Column::Float((row..end).map(|r| f64::from(r % 977)).collect())))
                .collect(),
        };
        out.push(Batch { rows: vec![batch], ..Batch::default() });
        row = end;
    }
    out
}

fn batches(rows: u32, fields: u16) -> Vec<Batch> {
    batches_of(rows, fields, SERIES, |row| row)
}

fn filled(batches: &[Batch]) -> Generation {
    let generation = Generation::default();
    batches.iter().enumerate().for_each(|(i, batch)| generation.append(batch, i as u32));
    generation
}

fn append(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("memtable");
    for fields in [1, 10] {
        // Just below a chunk: nothing is sealed.
        for (name, rows) in [("append", CHUNK_ROWS - 1), ("append and seal", 16 * CHUNK_ROWS)] {
            let batches = batches(rows, fields);
            group.throughput(cpu_time::rows(rows as usize));
            group.bench_function(format!("{name}, {fields} fields"), |b| {
                b.iter_batched(
                    Generation::default,
                    |generation| {
                        batches.iter().enumerate().for_each(|(i, batch)| generation.append(batch, i as u32));
                        black_box(generation)
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.throughput(cpu_time::rows(16 * CHUNK_ROWS as usize));
    // 7,919 has no divisor in common with the number of series: each of them once, far apart.
    let far_apart = |row: u32| (u64::from(row) * 7_919 % u64::from(MANY_SERIES)) as u32;
    for (name, batches) in [
        ("1 field", batches(16 * CHUNK_ROWS, 1)),
        ("10 fields", batches(16 * CHUNK_ROWS, 10)),
        ("a new series each row", batches_of(16 * CHUNK_ROWS, 1, 16 * CHUNK_ROWS, |row| row)),
        ("many series in their order", batches_of(16 * CHUNK_ROWS, 1, MANY_SERIES, |row| row)),
        ("many series far apart", batches_of(16 * CHUNK_ROWS, 1, MANY_SERIES, far_apart)),
    ] {
        group.bench_function(format!("merge of 16 blocks, {name}"), |b| {
            b.iter_batched(
                || filled(&batches),
                |generation| {
                    assert!(generation.merge_once());
                    generation
                },
                BatchSize::PerIteration,
            );
        });
    }
    // Merged twice: 1.6 rounds of ten million series.
    for (name, pick) in [
        ("in their order", (|row| row) as fn(u32) -> u32),
        ("far apart", |row| (u64::from(row) * 7_919 % u64::from(MOST_SERIES)) as u32),
    ] {
        let batches = batches_of(256 * CHUNK_ROWS, 1, MOST_SERIES, pick);
        group.sample_size(10).throughput(cpu_time::rows(256 * CHUNK_ROWS as usize));
        group.bench_function(format!("merges of 256 blocks, most series {name}"), |b| {
            b.iter_batched(
                || filled(&batches),
                |generation| {
                    while generation.merge_once() {}
                    generation
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime).sample_size(20);
    targets = append
}
criterion_main!(benches);
