//! Line protocol into rows, as the hall makes them: keys looked up, fields put into columns, nothing logged. Throughput
//! is values per second.
//!
//! Rows like those of TSBS's cpu table: 10 tags, 10 integer fields. `known` sends hosts in the same order each time,
//! `shuffled` does not, so that every key is searched and hashed; `new` makes every series.

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rhythmite::catalog::{Catalog, NewPolicy};
use rhythmite::ingest::influx::{InfluxWriter, LineWrite, TimeUnit};
use rhythmite_engine::{Durability, Engine, Options};
use rhythmite_env::Env;
use rhythmite_influx::line_protocol::Precision;
use rhythmite_model::Policy;

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

struct Hall {
    writer: InfluxWriter,
    policy: Policy,
    _dir: tempfile::TempDir,
}

impl Hall {
    fn open() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let catalog = Catalog::open(&dir.path().join("catalog.sqlite")).expect("a new catalogue");
        let policy = runtime.block_on(catalog.create_database("d", NewPolicy::autogen())).expect("a new database");
        let policy = policy.expect("a new database has a policy");
        let options = Options::new(dir.path());
        let manifest = Arc::new(catalog.manifest());
        let (engine, _) = Engine::open(Env::real(), options, manifest, vec![policy.clone()]).expect("a new engine");
        Self { writer: InfluxWriter::new(engine), policy, _dir: dir }
    }

    fn prepare(&self, body: &[u8]) -> usize {
        let write = LineWrite {
            body,
            policy: &self.policy,
            unit: TimeUnit::Fixed(Precision::Nanosecond),
            now_ns: 0,
            accept_partial: true,
            durability: Durability::Interval,
            senders: None,
        };
        let prepared = self.writer.prepare(&write).expect("the engine takes names");
        assert!(prepared.refusals.is_empty());
        black_box(prepared.rows).iter().map(|rows| rows.values()).sum()
    }
}

fn line_ingest(criterion: &mut Criterion) {
    let known = tsbs(|row| row % HOSTS);
    // A step that is prime to the number of hosts and changes from round to round.
    let shuffled = tsbs(|row| (row * (2 * (row / HOSTS) + 1) * 7) % HOSTS);
    let mut group = criterion.benchmark_group("line_ingest");
    group.throughput(Throughput::Elements((ROWS * FIELDS.len()) as u64));
    for (name, body) in [("known", &known), ("shuffled", &shuffled)] {
        let hall = Hall::open();
        assert_eq!(hall.prepare(body), ROWS * FIELDS.len());
        group.bench_function(name, |bencher| bencher.iter(|| hall.prepare(black_box(body))));
    }
    group.sample_size(10);
    let new = tsbs(|row| row);
    group.bench_function("new", |bencher| {
        bencher.iter_batched(Hall::open, |hall| (hall.prepare(black_box(&new)), hall), BatchSize::PerIteration);
    });
    group.finish();
}

fn tsbs(host: impl Fn(usize) -> usize) -> Vec<u8> {
    let mut random = 1_u32;
    let mut body = String::new();
    for row in 0..ROWS {
        let host = host(row);
        write!(
            body,
            "cpu,arch=x86,datacenter=eu-central-1a,hostname=host_{host},os=Ubuntu15.10,rack={},region=eu-central-1,\
             service={},service_environment=test,service_version=1,team=SF",
            host % 97,
            host % 19
        )
        .expect("writing to memory");
        for (index, field) in FIELDS.iter().enumerate() {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let separator = if index == 0 { ' ' } else { ',' };
            write!(body, "{separator}{field}={}i", (random >> 8) % 100).expect("writing to memory");
        }
        let time = 1_451_606_400_000_000_000_u64 + (row / HOSTS) as u64 * 10_000_000_000;
        writeln!(body, " {time}").expect("writing to memory");
    }
    body.into_bytes()
}

criterion_group!(benches, line_ingest);
criterion_main!(benches);
