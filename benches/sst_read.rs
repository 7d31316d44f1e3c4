//! Reading sorted files: a long stream out of many, short pieces of several, everything; and writing, opening.
//!
//! `cargo bench -p rhythmite-engine --bench sst_read`: 4,000 series of 12 h at 10 s, 17.28 M rows, float data of five
//! shapes. `-- fetch` picks a group.

use std::hint::black_box;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rhythmite_engine::sst::{
    FieldRow, Handles, PageCache, Pieces, SeriesRow, SstMeta, SstReader, SstWriter, TimeUnit, WriteOptions,
};
use rhythmite_env::Env;
use rhythmite_model::{Column, FieldId, FieldType, SeriesId, TableId};

const SERIES: u32 = 4000;
const ROWS: usize = 4320;
const START_NS: i64 = 1_700_000_000_000_000_000;
const STEP_NS: i64 = 10_000_000_000;

/// A small generator, so that every run writes the same file.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A quarter constant, a fifth sparse counts, walks, counters, two decimals, 6% noise.
fn values(n: u32, rows: usize) -> Vec<f64> {
    let mut noise = Noise(u64::from(n) * 0x9e37_79b9_7f4a_7c15 + 1);
    let shape = n % 100;
    let mut level = 50.0;
    (0..rows)
        .map(|_| match shape {
            0..25 => 4.0,
            25..45 => {
                if noise.next().is_multiple_of(20) {
                    (noise.next() % 9) as f64
                } else {
                    0.0
                }
            }
            45..60 => {
                level += (noise.next() % 11) as f64 - 5.0;
                level
            }
            60..75 => {
                level += (noise.next() % 4000) as f64;
                level
            }
            75..94 => {
                level += noise.unit() - 0.5;
                (level * 100.0).round() / 100.0
            }
            _ => noise.unit(),
        })
        .collect()
}

fn series(n: u32) -> SeriesId {
    SeriesId::new(TableId(1), 0, n)
}

fn write(env: &Env, dir: &Path, id: &str, count: u32, rows: usize) -> SstMeta {
    let options = WriteOptions { time_unit: Some(TimeUnit::Millisecond), ..WriteOptions::new(2, 1) };
    let mut writer = SstWriter::create(env, dir, id, options).expect("the directory is there");
    let times = (0..rows as i64).map(|i| START_NS + i * STEP_NS).collect::<Vec<_>>();
    for n in 0..count {
        let column = Column::Float(values(n, rows));
        let (database, policy, table, path) = ("graphite", "default", "metrics", "servers.a.cpu.idle");
        let row = SeriesRow { series: series(n), database, policy, table, path };
        writer.name(&row, std::iter::empty()).expect("series ascend");
        writer.push(series(n), FieldId(0), &times, &column).expect("streams ascend");
    }
    let field = FieldRow {
        table: TableId(1),
        table_name: "metrics",
        id: FieldId(0),
        name: "value",
        field_type: FieldType::Float,
    };
    writer.finish([field]).expect("the disk takes it")
}

/// Rows of some series in a time range, by a new cursor.
fn fetch(sst: &Arc<SstReader>, ids: &[u32], range_ns: RangeInclusive<i64>) -> usize {
    let mut cursor = sst.cursor();
    let (mut times, mut out) = (Vec::new(), Column::new(FieldType::Float));
    for n in ids {
        let entry = sst.stream(series(*n), FieldId(0)).expect("the file is whole").expect("the series was written");
        cursor.read(&entry, range_ns.clone(), &mut times, &mut out).expect("the file is whole");
    }
    times.len()
}

fn reads(c: &mut Criterion) {
    let env = Env::real();
    let dir = tempfile::tempdir().expect("a directory for the file");
    let meta = write(&env, dir.path(), "bench", SERIES, ROWS);
    let sst = SstReader::open(&env, dir.path(), "bench").expect("the file is whole");
    println!("{} rows, {} bytes, {:.3} B/row", meta.rows, meta.bytes, meta.bytes as f64 / meta.rows as f64);

    let all = i64::MIN..=i64::MAX;
    let hour = START_NS + 6 * 3600 * 1_000_000_000..=START_NS + 7 * 3600 * 1_000_000_000 - 1;
    let eight = (0..8).map(|i| 100 + i * 481).collect::<Vec<_>>();
    let mut group = c.benchmark_group("fetch");
    group.bench_function("4320 rows of one series", |b| {
        let mut n = 0;
        b.iter(|| {
            n = (n + 997) % SERIES;
            assert_eq!(black_box(fetch(&sst, &[n], all.clone())), ROWS);
        });
    });
    group.bench_function("360 rows of one series", |b| {
        let mut n = 0;
        b.iter(|| {
            n = (n + 997) % SERIES;
            assert_eq!(black_box(fetch(&sst, &[n], hour.clone())), 360);
        });
    });
    group.bench_function("360 rows of each of 8 series", |b| {
        b.iter(|| assert_eq!(black_box(fetch(&sst, &eight, hour.clone())), 8 * 360));
    });
    group.finish();

    let mut group = c.benchmark_group("scan");
    group.sample_size(10).throughput(Throughput::Elements(meta.rows));
    group.bench_function("all rows", |b| {
        b.iter(|| {
            let mut cursor = sst.cursor();
            let (mut times, mut out) = (Vec::new(), Vec::new());
            let mut rows = 0;
            for entry in sst.entries() {
                let entry = entry.expect("the file is whole");
                times.clear();
                out.clear();
                let mut column = Column::Float(out);
                cursor.read_all(&entry, &mut times, &mut column).expect("the file is whole");
                rows += column.len();
                out = match column {
                    Column::Float(v) => v,
                    _ => unreachable!("only floats were written"),
                };
            }
            assert_eq!(rows as u64, meta.rows);
        });
    });
    let (handles, pieces) = (Handles::new(env.fs.clone(), 1), Pieces::new(16 << 20));
    for (name, bytes) in [("all rows, times told", 0), ("all rows, pages kept", 64 << 20)] {
        let pages = PageCache::new(bytes);
        let sst = SstReader::open_shared(&env, &handles, &pieces, &pages, dir.path(), "bench");
        let sst = sst.expect("the file is whole");
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut cursor = sst.cursor();
                cursor.keep_pages(true);
                let (mut times, mut out, mut even) = (Vec::new(), Column::new(FieldType::Float), 0);
                for entry in sst.entries() {
                    let entry = entry.expect("the file is whole");
                    let rows = entry.row_start..entry.row_start + u64::from(entry.rows);
                    out = Column::new(FieldType::Float);
                    even +=
                        usize::from(cursor.read_even(&entry, rows, &mut times, &mut out).is_ok_and(|e| e.is_some()));
                }
                assert_eq!((even, times.len()), (SERIES as usize, 0));
                black_box(out);
            });
        });
        let stats = pages.stats();
        println!("{name}: {} hits, {} misses, {} bytes", stats.hits, stats.misses, stats.bytes);
    }
    group.bench_function("one hour of every series", |b| {
        b.iter(|| {
            let mut cursor = sst.cursor();
            let (mut times, mut out) = (Vec::new(), Column::new(FieldType::Float));
            for entry in sst.entries() {
                let entry = entry.expect("the file is whole");
                cursor.read(&entry, hour.clone(), &mut times, &mut out).expect("the file is whole");
            }
            assert_eq!(times.len(), SERIES as usize * 360);
        });
    });
    group.finish();
    c.bench_function("open 4,000 streams", |b| b.iter(|| SstReader::open(&env, dir.path(), "bench").map(drop)));
}

/// Fields of a series whose points come at times that are no steps: they share pages of times.
const FIELDS: u16 = 16;

/// A few rows of one field, by a new cursor: a page of the times of all sixteen fields is unpacked for them.
fn shared_times(c: &mut Criterion) {
    let env = Env::real();
    let dir = tempfile::tempdir().expect("a directory for the file");
    let options = WriteOptions { time_unit: Some(TimeUnit::Millisecond), ..WriteOptions::new(2, 1) };
    let mut writer = SstWriter::create(&env, dir.path(), "fields", options).expect("the directory is there");
    let of_series = |n: u32| -> Vec<i64> {
        let mut noise = Noise(u64::from(n) + 1);
        (0..ROWS as i64).map(|i| START_NS + i * STEP_NS + (noise.next() % 3_000) as i64 * 1_000_000).collect()
    };
    let (database, policy, table, path) = ("telegraf", "default", "cpu", "cpu,host=a");
    for n in 0..32 {
        let times = of_series(n);
        let row = SeriesRow { series: series(n), database, policy, table, path };
        writer.name(&row, std::iter::empty()).expect("series ascend");
        for field in 0..FIELDS {
            let column = Column::Float(values(n * u32::from(FIELDS) + u32::from(field), ROWS));
            writer.push(series(n), FieldId(field), &times, &column).expect("streams ascend");
        }
    }
    let names: Vec<_> = (0..FIELDS).map(|field| format!("f{field}")).collect();
    let fields = names.iter().enumerate().map(|(id, name)| FieldRow {
        table: TableId(1),
        table_name: table,
        id: FieldId(id as u16),
        name,
        field_type: FieldType::Float,
    });
    writer.finish(fields).expect("the disk takes it");
    let sst = SstReader::open(&env, dir.path(), "fields").expect("the file is whole");
    let from = START_NS + 2_000 * STEP_NS;
    let minute = from..=from + 6 * STEP_NS - 1;
    let mut group = c.benchmark_group("fetch");
    for field in [0, FIELDS - 1] {
        group.bench_function(format!("6 rows of field {field} of one series, shared pages of times"), |b| {
            let mut n = 0;
            b.iter(|| {
                n = (n + 5) % 32;
                let mut cursor = sst.cursor();
                let (mut times, mut out) = (Vec::new(), Column::new(FieldType::Float));
                let entry = sst.stream(series(n), FieldId(field)).expect("the file is whole").expect("it was written");
                cursor.read(&entry, minute.clone(), &mut times, &mut out).expect("the file is whole");
                assert_eq!(black_box(times.len()), 6);
            });
        });
    }
    group.finish();
}

fn writes(c: &mut Criterion) {
    let env = Env::real();
    let dir = tempfile::tempdir().expect("a directory for the file");
    let mut group = c.benchmark_group("write");
    group.sample_size(10).throughput(Throughput::Elements(500 * ROWS as u64));
    let mut n = 0;
    group.bench_function("500 series of 4320 rows, values made and synced", |b| {
        b.iter(|| {
            n += 1;
            write(&env, dir.path(), &format!("w{n}"), 500, ROWS)
        });
    });
    group.finish();

    let meta = write(&env, dir.path(), "many", 1_000_000, 3);
    println!("1M streams of 3 rows: {} bytes", meta.bytes);
    for file in std::fs::read_dir(dir.path()).expect("the directory is there").flatten() {
        if file.file_name().to_string_lossy().contains("many") {
            println!("  {:?} {}", file.file_name(), file.metadata().map_or(0, |m| m.len()));
        }
    }
    let mut group = c.benchmark_group("open");
    group.sample_size(10);
    group.bench_function("1M streams", |b| b.iter(|| SstReader::open(&env, dir.path(), "many").map(drop)));
    group.finish();
}

criterion_group!(benches, reads, shared_times, writes);
criterion_main!(benches);
