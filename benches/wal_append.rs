//! The log: batches to bytes, bytes to batches, and a whole log replayed from disk. Throughput is in field values.
//!
//! `cargo bench -p rhythmite-engine --bench wal_append`

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rhythmite_engine::wal::{Applier, Durability, Options, Wal, codec};
use rhythmite_env::Env;
use rhythmite_model::{Batch, Column, FieldId, Rows, SeriesId, TableId, Tier};

const ROWS: usize = 2_000;

/// A small generator: the bench needs no better one.
struct Noise(u64);

impl Noise {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// Rows of 100 hosts in turn, 10 seconds apart; a column for every field.
fn batch(fields: usize, mut column: impl FnMut(&mut Noise) -> Column) -> Batch {
    let mut noise = Noise(7);
    let table = TableId(1);
    let rows = Rows {
        table,
        tier: Tier::RAW,
        series: (0..ROWS as u32).map(|row| SeriesId::new(table, 0, row % 100)).collect(),
        times_ns: (0..ROWS as i64).map(|row| (1_700_000_000 + row / 100 * 10) * 1_000_000_000).collect(),
        fields: (0..fields).map(|id| (FieldId(id as u16), column(&mut noise))).collect(),
    };
    Batch { rows: vec![rows], ..Batch::default() }
}

fn integers(noise: &mut Noise) -> Column {
    Column::Integer((0..ROWS).map(|_| noise.next(100) as i64).collect())
}

fn two_decimals(noise: &mut Noise) -> Column {
    Column::Float((0..ROWS).map(|_| noise.next(10_000) as f64 / 100.0).collect())
}

/// Counts, two-decimal values, and one in sixteen that uses all its bits.
fn graphite(noise: &mut Noise) -> Column {
    let value = |row: usize| match row % 16 {
        0 => (noise.next(1 << 30) as f64).sqrt(),
        row if row % 2 == 0 => noise.next(1_000) as f64,
        _ => noise.next(100_000) as f64 / 100.0,
    };
    Column::Float((0..ROWS).map(value).collect())
}

fn full_bits(noise: &mut Noise) -> Column {
    Column::Float((0..ROWS).map(|_| (noise.next(1 << 30) as f64).sqrt()).collect())
}

fn cases() -> Vec<(&'static str, Batch)> {
    vec![
        ("10_integers", batch(10, integers)),
        ("10_two_decimals", batch(10, two_decimals)),
        ("10_full_bits", batch(10, full_bits)),
        ("graphite_integers", batch(1, integers)),
        ("graphite_two_decimals", batch(1, two_decimals)),
        ("graphite_mix", batch(1, graphite)),
    ]
}

fn codec_speed(c: &mut Criterion) {
    for (name, batch) in cases() {
        let mut bytes = Vec::new();
        codec::encode(&batch, &mut bytes).expect("the columns are equally long");
        println!("{name}: {:.2} bytes a value", bytes.len() as f64 / batch.values() as f64);
        let mut group = c.benchmark_group("encode");
        group.throughput(Throughput::Elements(batch.values() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            let mut out = Vec::new();
            b.iter(|| {
                out.clear();
                codec::encode(black_box(&batch), &mut out)
            });
        });
        group.finish();
        let mut group = c.benchmark_group("decode");
        group.throughput(Throughput::Elements(batch.values() as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(|| codec::decode(black_box(&bytes))));
        group.finish();
    }
}

struct Ignore;

impl Applier for Ignore {
    fn apply(&self, _: u64, _: Arc<Batch>) {}
}

/// A log of 200 batches on the machine's disk (or what stands for it).
fn whole_log(c: &mut Criterion) {
    const BATCHES: u64 = 200;
    for (name, batch) in cases().into_iter().take(2) {
        let (values, batch) = (batch.values() as u64, Arc::new(batch));
        let mut group = c.benchmark_group("log");
        group.sample_size(10);
        group.throughput(Throughput::Elements(BATCHES * values));
        let open = |dir: &std::path::Path| {
            let mut replayed = 0;
            let mut sink = |_, batch: Batch| {
                replayed += batch.values() as u64;
                Ok(())
            };
            let wal = Wal::open(Env::real(), Options::new(dir), 0, 0, &mut sink, Arc::new(Ignore));
            (wal.expect("the log is whole").0, replayed)
        };
        let fill = |wal: &Wal| {
            for _ in 0..BATCHES {
                let appended = wal.append(&batch, Durability::Interval);
                appended.expect("the queue is long enough").1.wait().expect("the disk works");
            }
            wal.drain().expect("the disk works")
        };
        group.bench_function(BenchmarkId::new("append_and_drain", name), |b| {
            let dir = tempfile::tempdir().expect("a directory");
            let (wal, _) = open(dir.path());
            b.iter(|| {
                let last_seq = fill(&wal);
                wal.release(last_seq)
            });
        });
        group.bench_function(BenchmarkId::new("replay", name), |b| {
            let dir = tempfile::tempdir().expect("a directory");
            fill(&open(dir.path()).0);
            b.iter(|| assert_eq!(open(dir.path()).1, BATCHES * values));
        });
        group.finish();
    }
}

criterion_group!(benches, codec_speed, whole_log);
criterion_main!(benches);
