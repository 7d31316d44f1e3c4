//! StatsD lines parsed and folded: 1000 known keys, half counters, a quarter timers, a quarter
//! gauges, 20 lines a packet. `cargo bench -p rhythmite-statsd -- statsd_parse`
//!
//! `plain` is the target: more than 2 million lines per CPU-second. `load_plain` and `load_tagged` are the lines of
//! tests/load/receivers.py, which seldom flushes: what four tags cost a line.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rhythmite_statsd::{Aggregator, Dialect, Flush, Options};

const KEYS: usize = 1000;
const LINES: usize = 10_000;
const LINES_PER_PACKET: usize = 20;
/// Of the lines of the load test: each of 10,000 keys once, in datagrams that hold four tags.
const LOAD_LINES_PER_PACKET: usize = 15;
/// Times these are folded before a flush.
const LOAD_ROUNDS: usize = 50;

/// Packets of `LINES` lines, made by `line` from a running number.
fn packets(line: impl Fn(usize) -> String) -> Vec<Vec<u8>> {
    // A stride coprime to the number of keys, so that neighbours are not in the cache for free.
    let lines: Vec<String> = (0..LINES).map(|i| line(i * 617 % KEYS + i / KEYS * KEYS)).collect();
    in_packets(&lines, LINES_PER_PACKET)
}

fn in_packets(lines: &[String], lines_per_packet: usize) -> Vec<Vec<u8>> {
    lines.chunks(lines_per_packet).map(|chunk| chunk.join("\n").into_bytes()).collect()
}

fn plain(i: usize) -> String {
    let key = format!("web.frontend.host{:04}.request", i % KEYS);
    match i % 4 {
        0 | 1 => format!("{key}.count:{}|c", i % 7 + 1),
        2 => format!("{key}.time:{}.{}|ms", i % 997, i % 10),
        _ => format!("{key}.load:{}|g", i % 100),
    }
}

/// Six counters, two gauges and two timers of ten, in an order that is always the same.
fn load(i: usize) -> String {
    let key = i * 7919 % LINES;
    match key % 10 {
        0..6 => format!("load.c.service{key}.requests:1|c"),
        6..8 => format!("load.g.service{key}.size:{}|g", i % 1000),
        _ => format!("load.t.service{key}.took:{}|ms", i % 500),
    }
}

fn load_tagged(i: usize) -> String {
    let key = i * 7919 % LINES;
    format!("{}|#env:production,region:eu-west-{},host:web-{key},version:1.2.3", load(i), key % 3)
}

fn fold(c: &mut Criterion, name: &str, dialect: Dialect, line: impl Fn(usize) -> String) {
    fold_packets(c, name, dialect, &packets(line), 1);
}

fn fold_load(c: &mut Criterion, name: &str, line: impl Fn(usize) -> String) {
    let lines: Vec<String> = (0..LINES).map(line).collect();
    fold_packets(c, name, Dialect::Dogstatsd, &in_packets(&lines, LOAD_LINES_PER_PACKET), LOAD_ROUNDS);
}

fn fold_packets(c: &mut Criterion, name: &str, dialect: Dialect, packets: &[Vec<u8>], rounds: usize) {
    let mut group = c.benchmark_group("statsd_parse");
    group.throughput(Throughput::Elements((LINES * rounds) as u64));
    let mut aggregator = Aggregator::new(Options { dialect, ..Options::default() }, 0);
    let mut flush = Flush::new();
    group.bench_function(name, |b| {
        b.iter(|| {
            for packet in std::iter::repeat_n(packets, rounds).flatten() {
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
    fold_load(c, "load_plain", load);
    fold_load(c, "load_tagged", load_tagged);
}

criterion_group!(statsd_parse, benches);
criterion_main!(statsd_parse);
