//! InfluxQL from the statement to the rows: a thousand series of six hours in steps of ten seconds, two fields; and a
//! hundred thousand values of a tag. From the memtable and from files.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rhythmite::auth::Passwords;
use rhythmite::catalog::{Catalog, NewPolicy};
use rhythmite::ingest::influx::{InfluxWriter, LineWrite, TimeUnit};
use rhythmite::query::influxql::{Context, Limits, Request, ResultSink, Users, execute};
use rhythmite_engine::{Durability, Engine, Options};
use rhythmite_env::{CpuPool, Env};
use rhythmite_influx::answer::{Cell, Message, SeriesHead};
use rhythmite_influx::influxql::{Mistakes, Params, Query, parse_query};
use rhythmite_influx::line_protocol::Precision;

const SERIES: usize = 1_000;
const POINTS: usize = 2_160;
const TAG_VALUES: usize = 100_000;

struct World {
    context: Context,
    _runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

/// Counts rows, as a client that reads as fast as it can.
#[derive(Default)]
struct Rows(u64);

impl ResultSink for Rows {
    fn begin_statement(&mut self, _: u32, _: bool) {}
    fn begin_series(&mut self, _: &SeriesHead<'_>) {}
    fn row(&mut self, cells: &[Cell<'_>]) {
        self.0 += 1;
        black_box(cells);
    }
    fn end_series(&mut self, _: bool) {}
    fn message(&mut self, _: Message) {}
    fn error(&mut self, text: &str) {
        panic!("{text}");
    }
    fn end_statement(&mut self) {}
}

fn world() -> World {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let env = Env::real();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let catalog = Catalog::open(&dir.path().join("catalog.sqlite")).expect("a new catalogue");
    let mut options = Options::new(dir.path());
    (options.memtable_bytes, options.idle_flush) = (1 << 30, Duration::from_secs(3_600));
    let manifest = Arc::new(catalog.manifest());
    let (engine, _) = Engine::open(env.clone(), options, manifest, Vec::new()).expect("a new engine");
    let told = engine.clone();
    catalog.tell(move |policy| told.put_policy(policy.clone()));
    runtime.block_on(catalog.create_database("d", NewPolicy::autogen())).expect("a database");
    let policy = catalog.databases().get("d").and_then(|d| d.policy("")).expect("it was made").policy.clone();
    let writer = InfluxWriter::new(engine.clone());
    let write = |body: &str| {
        let write = LineWrite {
            body: body.as_bytes(),
            policy: &policy,
            unit: TimeUnit::Fixed(Precision::Second),
            now_ns: 0,
            accept_partial: false,
            durability: Durability::Interval,
            senders: None,
        };
        writer.write(&write).expect("room for all points").commit.wait().expect("a log");
    };
    for point in 0..POINTS {
        let line = |i: usize| {
            let value = (i * 7 + point) % 1_000;
            format!("cpu,host=h{i:03},dc=d{} usage={value}.25,n={point}i {}\n", i % 10, 1_700_000_000 + point * 10)
        };
        write(&(0..SERIES).map(line).collect::<String>());
    }
    write(&(0..TAG_VALUES).map(|i| format!("users,id=u{i:06} v=1 1700000000\n")).collect::<String>());
    let cpu = Arc::new(CpuPool::start(1, 1).expect("a thread"));
    let passwords = Arc::new(Passwords::new(cpu.clone(), env.random.clone(), Arc::default(), 1));
    let context = Context {
        engine,
        catalog,
        clock: env.clock.clone(),
        runtime: runtime.handle().clone(),
        cpu,
        limits: Limits::default(),
        counters: Arc::default(),
        users: Users { passwords, guarded: false },
        running: Arc::default(),
        mistakes: Mistakes::Kept,
    };
    World { context, _runtime: runtime, _dir: dir }
}

fn ask(world: &World, query: &Query) -> u64 {
    let request = Request { database: Some("d".to_owned()), ..Request::default() };
    let mut rows = Rows::default();
    execute(&world.context, &request, query, &mut rows);
    rows.0
}

fn select(c: &mut Criterion) {
    let world = world();
    for source in ["memtable", "files"] {
        if source == "files" {
            world.context.engine.flush().expect("a flush");
        }
        let mut group = c.benchmark_group(format!("influxql_select/{source}"));
        group.sample_size(10);
        let values = (SERIES * POINTS) as u64;
        let between = "time >= 1700000000s AND time < 1700021600s";
        for (name, read, query) in [
            ("mean_by_minute", values, format!("SELECT mean(usage) FROM cpu WHERE {between} GROUP BY time(1m)")),
            (
                "means",
                2 * values,
                format!("SELECT mean(usage), mean(n) FROM cpu WHERE {between} GROUP BY time(1h), host"),
            ),
            ("means_of_integers", values, format!("SELECT mean(n) FROM cpu WHERE {between} GROUP BY time(1h), host")),
            ("max_by_minute_and_tag", values, format!("SELECT max(n) FROM cpu WHERE {between} GROUP BY time(1m), dc")),
            ("percentile", values, format!("SELECT percentile(usage, 95) FROM cpu WHERE {between} GROUP BY host")),
            ("last_of_each", SERIES as u64, "SELECT last(usage) FROM cpu GROUP BY host".to_owned()),
            (
                "last_row_of_each",
                SERIES as u64,
                "SELECT * FROM cpu GROUP BY host ORDER BY time DESC LIMIT 1".to_owned(),
            ),
            (
                "newest_windows",
                5,
                "SELECT max(usage) FROM cpu WHERE time < 1700020000s GROUP BY time(1m) ORDER BY time DESC LIMIT 5"
                    .to_owned(),
            ),
            ("condition", values, format!("SELECT * FROM cpu WHERE usage > 990 AND {between}")),
            ("raw", 2 * values, format!("SELECT usage, n FROM cpu WHERE {between}")),
            ("raw_limit", 10, "SELECT usage FROM cpu ORDER BY time DESC LIMIT 10".to_owned()),
            ("tag_values", TAG_VALUES as u64, "SHOW TAG VALUES FROM users WITH KEY = id".to_owned()),
            ("tag_values_limit", 10, "SHOW TAG VALUES FROM users WITH KEY = id LIMIT 10".to_owned()),
        ] {
            let query = parse_query(&query, &Params::default()).expect("InfluxQL");
            assert!(ask(&world, &query) > 0);
            group.throughput(Throughput::Elements(read));
            group.bench_function(name, |b| b.iter(|| ask(&world, &query)));
        }
        group.finish();
    }
}

criterion_group!(benches, select);
criterion_main!(benches);
