//! Line protocol, as an ingest reads it: keys by bytes, fields, times. Throughput is lines per second.
//!
//! Rows like those of TSBS's cpu table: 10 tags, 10 fields, 350 bytes, from many hosts in turn.
//! `plain` finds each key's end, `hint` is told the key that followed last time; both know the shape.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rhythmite_influx::line_protocol::{Fields, LineParser, ParseOptions, Precision, RawKey, Shape, Value};

const HOSTS: usize = 1_000;
const ROWS: usize = 10_000;
const FIELDS: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];

fn line_protocol(criterion: &mut Criterion) {
    let bodies = [
        ("integers", tsbs(|random| format!("{}i", random % 100))),
        ("two_decimals", tsbs(|random| format!("{}.{:02}", random % 100, random / 128 % 100))),
        ("short", short()),
    ];
    let mut group = criterion.benchmark_group("line_protocol");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, body) in &bodies {
        let keys = keys(body);
        group.bench_function(BenchmarkId::new(*name, "plain"), |bencher| bencher.iter(|| read(black_box(body), &[])));
        group.bench_function(BenchmarkId::new(*name, "hint"), |bencher| bencher.iter(|| read(black_box(body), &keys)));
    }
    let body = &bodies[0].1;
    let keys = keys(body);
    let options = ParseOptions::new(Precision::Nanosecond, 0);
    group.throughput(Throughput::Elements(keys.len() as u64));
    group.bench_function("key/parse", |bencher| {
        bencher.iter(|| {
            for key in &keys {
                black_box(RawKey::new(key).parse(&options)).expect("well formed");
            }
        });
    });
    group.bench_function("key/is_canonical", |bencher| {
        bencher.iter(|| keys.iter().filter(|key| RawKey::new(key).is_canonical(&options)).count());
    });
    group.finish();
}

/// Reads the body; `keys` are the hosts' keys in order, or nothing to do without prediction.
fn read(body: &[u8], keys: &[Vec<u8>]) -> f64 {
    let options = ParseOptions::new(Precision::Nanosecond, 0);
    let mut lines = LineParser::new(body, &options);
    let (mut shape, mut fields) = (Shape::EMPTY, Fields::new());
    let (mut sum, mut row, mut next) = (0.0, 0, 0);
    while let Some(key) = lines.next_key(keys.get(next).map_or(b"", Vec::as_slice)) {
        next = if next + 1 >= keys.len() { 0 } else { next + 1 };
        let key = key.expect("well formed");
        assert_eq!(key.was_expected(), !keys.is_empty());
        let read = lines.read_fields(&shape, &mut fields).expect("well formed");
        if read.matched < fields.len() {
            shape.learn(&fields);
        }
        for field in fields.iter() {
            match field.value {
                Value::Float(value) => sum += value,
                Value::Integer(value) => sum += value as f64,
                _ => unreachable!("only numbers were written"),
            }
        }
        sum += read.timestamp_ns as f64;
        row += 1;
    }
    assert_eq!(row, ROWS);
    sum
}

fn keys(body: &[u8]) -> Vec<Vec<u8>> {
    let lines = body.split(|byte| *byte == b'\n').take(HOSTS);
    lines.map(|line| line.split(|byte| *byte == b' ').next().expect("a line has a key").to_vec()).collect()
}

fn tsbs(mut value: impl FnMut(u32) -> String) -> Vec<u8> {
    let mut random = 1_u32;
    let mut body = String::new();
    for row in 0..ROWS {
        let host = row % HOSTS;
        write!(
            body,
            "cpu,hostname=host_{host},region=eu-central-1,datacenter=eu-central-1a,rack={},os=Ubuntu15.10,arch=x86,\
             team=SF,service={},service_version=1,service_environment=test",
            host % 97,
            host % 19
        )
        .expect("writing to memory");
        for (index, field) in FIELDS.iter().enumerate() {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let separator = if index == 0 { ' ' } else { ',' };
            write!(body, "{separator}{field}={}", value(random >> 8)).expect("writing to memory");
        }
        let time = 1_451_606_400_000_000_000_u64 + (row / HOSTS) as u64 * 10_000_000_000;
        writeln!(body, " {time}").expect("writing to memory");
    }
    body.into_bytes()
}

fn short() -> Vec<u8> {
    let mut body = String::new();
    for row in 0..ROWS {
        writeln!(body, "m,h=h{:03} v={} {}", row % HOSTS, row % 1_000, 1_451_606_400_000_000_000_u64 + row as u64)
            .expect("writing to memory");
    }
    body.into_bytes()
}

criterion_group!(benches, line_protocol);
criterion_main!(benches);
