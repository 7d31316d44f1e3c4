//! Reading points as carbon's listeners receive them; the unit is points per second of one core.
//!
//! `cargo bench -p rhythmite-carbon --bench carbon_parse`

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rhythmite_carbon::pickle::Decoder;
use rhythmite_carbon::plaintext::Parser;
use rhythmite_carbon::{Point, Reject, Sink};

const POINTS: usize = 10_000;
const NOW_S: i64 = 1_700_000_000;

/// Looks at everything, keeps nothing.
#[derive(Default)]
struct Sum {
    points: usize,
    value: f64,
    bytes: usize,
}

impl Sink for Sum {
    fn point(&mut self, point: Point<'_>) {
        self.points += 1;
        self.value += point.value;
        self.bytes += point.path.len() + point.ts_s as usize % 2;
    }
    fn reject(&mut self, reject: Reject<'_>) {
        panic!("{}", reject.reason);
    }
}

fn name(i: usize) -> String {
    format!("servers.web-{:03}.cpu{}.percent.user{}", i % 250, i % 16, i % 10)
}

fn lines(point: impl Fn(usize) -> (String, String)) -> String {
    let mut text = String::new();
    for i in 0..POINTS {
        let (path, value) = point(i);
        let _ = writeln!(text, "{path} {value} {}", NOW_S + (i / 100) as i64);
    }
    text
}

/// Protocol 2 as Python writes it, without a memo: name, then time and value as BININT and BINFLOAT.
fn frame() -> Vec<u8> {
    let mut frame = b"\x80\x02](".to_vec();
    for i in 0..POINTS {
        let name = name(i);
        frame.push(b'X');
        frame.extend((name.len() as u32).to_le_bytes());
        frame.extend(name.as_bytes());
        frame.push(b'J');
        frame.extend((NOW_S as i32 + i as i32 / 100).to_le_bytes());
        frame.push(b'G');
        frame.extend((i as f64 * 0.37).to_be_bytes());
        frame.extend(b"\x86\x86");
    }
    frame.extend(b"e.");
    frame
}

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("plaintext");
    group.throughput(Throughput::Elements(POINTS as u64));
    let floats = |i: usize| format!("{:.2}", i as f64 * 0.37);
    let inputs = [
        ("plain, integers", lines(|i| (name(i), (i * 37).to_string()))),
        ("plain, two decimals", lines(|i| (name(i), floats(i)))),
        ("plain, full precision", lines(|i| (name(i), (i as f64 * 0.377_777).sqrt().to_string()))),
        ("tags in order", lines(|i| (format!("cpu.user;core={};dc=ams;host=web-{}", i % 16, i % 250), floats(i)))),
        ("tags out of order", lines(|i| (format!("cpu.user;host=web-{};dc=ams;core={}", i % 250, i % 16), floats(i)))),
    ];
    for (label, text) in &inputs {
        group.bench_function(*label, |b| {
            let mut parser = Parser::default();
            b.iter(|| {
                let mut sum = Sum::default();
                parser.parse_lines(black_box(text.as_bytes()), NOW_S, &mut sum);
                assert_eq!(sum.points, POINTS);
                (sum.value, sum.bytes)
            });
        });
    }
    group.finish();

    let mut group = c.benchmark_group("pickle");
    group.throughput(Throughput::Elements(POINTS as u64));
    let frame = frame();
    group.bench_function("protocol 2", |b| {
        let mut decoder = Decoder::default();
        b.iter(|| {
            let mut sum = Sum::default();
            decoder.decode(black_box(&frame), NOW_S, &mut sum).expect("the frame is sound");
            assert_eq!(sum.points, POINTS);
            (sum.value, sum.bytes)
        });
    });
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
