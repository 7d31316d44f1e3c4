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
const BATCH_ROWS: u32 = 5_000;
/// Rows of a chunk: fewer are only appended, as many are sealed too.
const CHUNK_ROWS: u32 = 64 * 1024;

/// `rows` rows of `fields` float fields in batches, series in turn.
fn batches(rows: u32, fields: u16) -> Vec<Batch> {
    let mut out = Vec::new();
    let mut row = 0;
    while row < rows {
        let end = (row + BATCH_ROWS).min(rows);
        let batch = Rows {
            table: TABLE,
            tier: Tier::RAW,
            series: (row..end).map(|r| SeriesId::new(TABLE, 0, r % SERIES)).collect(),
            times_ns: (row..end).map(|r| i64::from(r / SERIES) * 10_000_000_000).collect(),
            fields: (0..fields)
                .map(|f| (FieldId(f), Column::Float((row..end).map(|r| f64::from(r % 977)).collect())))
                .collect(),
        };
        out.push(Batch { rows: vec![batch], ..Batch::default() });
        row = end;
    }
    out
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
    let batches = batches(16 * CHUNK_ROWS, 1);
    group.throughput(cpu_time::rows(16 * CHUNK_ROWS as usize));
    group.bench_function("merge of 16 blocks, 1 field", |b| {
        b.iter_batched(
            || {
                let generation = Generation::default();
                batches.iter().enumerate().for_each(|(i, batch)| generation.append(batch, i as u32));
                generation
            },
            |generation| {
                assert!(generation.merge_once());
                generation
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime).sample_size(20);
    targets = append
}
criterion_main!(benches);
