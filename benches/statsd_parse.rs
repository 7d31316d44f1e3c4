//! StatsD lines parsed and folded: 1000 known keys, half counters, a quarter timers, a quarter
//! gauges, 20 lines a packet. `cargo bench -p rhythmite-statsd -- statsd_parse`
//!
//! `plain` is the target: more than 2 million lines per CPU-second.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rhythmite_statsd::{Aggregator, Dialect, Flush, Options};

const KEYS: usize = 1000;
const LINES: usize = 10_000;
const LINES_PER_PACKET: usize = 20;

/// Packets of `LINES` lines, made by `line` from a running number.
fn packets(line: impl Fn(usize) -> String) -> Vec<Vec<u8>> {
    // A stride coprime to the number of keys, so that neighbours are not in the cache for free.
    let lines: Vec<String> = (0..LINES).map(|i| line(i * 617 % KEYS + i / KEYS * KEYS)).collect();
    lines.chunks(LINES_PER_PACKET).map(|chunk| chunk.join("\n").into_bytes()).collect()
}

fn plain(i: usize) -> String {
    let key = format!("web.frontend.host{:04}.request", i % KEYS);
    match i % 4 {
        0 | 1 => format!("{key}.count:{}|c", i % 7 + 1),
        2 => format!("{key}.time:{}.{}|ms", i % 997, i % 10),
        _ => format!("{key}.load:{}|g", i % 100),
    }
}

fn fold(c: &mut Criterion, name: &str, dialect: Dialect, line: impl Fn(usize) -> String) {
    let packets = packets(line);
    let mut group = c.benchmark_group("statsd_parse");
    group.throughput(Throughput::Elements(LINES as u64));
    let mut aggregator = Aggregator::new(Options { dialect, ..Options::default() }, 0);
    let mut flush = Flush::new();
    group.bench_function(name, |b| {
        b.iter(|| {
            for packet in &packets {
                aggregator.ingest(black_box(packet), 0);
            }
            // Keeps the timers from growing; 1000 keys in 10 000 lines is a fair share of flushes.
            aggregator.emit(10, &mut flush);
        });
    });
    group.finish();
}

fn benches(c: &mut Criterion) {
    fold(c, "plain", Dialect::Statsd, plain);
    fold(c, "sampled", Dialect::Statsd, |i| plain(i) + "|@0.1");
    fold(c, "tagged", Dialect::Statsd, |i| plain(i) + "|#env:prod,region:eu-west-1");
    fold(c, "four_tags", Dialect::Dogstatsd, |i| {
        let key = i * 7 % LINES;
        format!("{}{key}:1|c|#env:production,region:eu-west-{},host:web-{key},version:1.2.3", "load.service", key % 3)
    });
    fold(c, "dogstatsd_tagged", Dialect::Dogstatsd, |i| plain(i) + "|@0.1|#env:prod,region:eu-west-1|c:ci-0123456789");
}

criterion_group!(statsd_parse, benches);
criterion_main!(statsd_parse);
