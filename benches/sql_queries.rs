//! SQL from text to batches: the query classes of TSBS "cpu-only" over 100 hosts, ten fields, a day in steps of ten seconds,
//! from files and from the memtable; each with plans of our own and with DataFusion alone. Every round of a class has other
//! hosts and times, so what is kept are plans, not answers.
//!
//! Measured is the processor time of all threads of the process, since a query runs on threads of its own.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, criterion_group, criterion_main};
use futures::StreamExt;
use rhythmite::catalog::{Catalog, NewPolicy};
use rhythmite::query::sql::{Batches, Sql, SqlOptions, SqlRequest};
use rhythmite_engine::{Background, Durability, Engine, Options};
use rhythmite_env::Env;
use rhythmite_model::{Column, ErrorKind, FieldId, FieldType, KeyKind, Result, Rows, SeriesId, Tier};

const SECOND_NS: i64 = 1_000_000_000;
const START_S: i64 = 1_600_041_600;
const DAY_S: i64 = 86_400;
const STEP_S: i64 = 10;
const HOSTS: i64 = 100;
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

/// Nanoseconds on a processor of all threads that live.
struct ProcessCpu;

fn now_ns() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has tasks");
    let of_task = |entry: std::io::Result<std::fs::DirEntry>| {
        // A thread may end between the two look-ups.
        let text = std::fs::read_to_string(entry.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    tasks.filter_map(of_task).sum()
}

impl Measurement for ProcessCpu {
    type Intermediate = u64;
    type Value = Duration;

    fn start(&self) -> u64 {
        now_ns()
    }

    fn end(&self, start: u64) -> Duration {
        Duration::from_nanos(now_ns().saturating_sub(start))
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

struct World {
    engine: Engine,
    /// With plans of our own, and without.
    sql: [Sql; 2],
    runtime: tokio::runtime::Runtime,
    _background: Background,
    _dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let env = Env::real();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let catalog = Catalog::open(&dir.path().join("catalog.sqlite")).expect("a new catalogue");
    runtime.block_on(catalog.create_database("bench", NewPolicy::autogen())).expect("a database");
    let mut options = Options::new(dir.path());
    (options.memtable_bytes, options.idle_flush) = (1 << 30, Duration::from_secs(3_600));
    let policies: Vec<_> = catalog.databases().policies().map(|p| p.policy.clone()).collect();
    let policy =
        catalog.databases().get("bench").and_then(|d| d.default_policy().map(|p| p.policy.id)).expect("a policy");
    let manifest = Arc::new(catalog.manifest());
    let (engine, _) = Engine::open(env.clone(), options, manifest, policies).expect("a new engine");
    let background = Background::start(&engine).expect("threads");
    let made = engine.create(Durability::Interval, |names| {
        let table = names.create_table(policy, "cpu", KeyKind::Tagged)?;
        for field in FIELDS {
            names.create_field(table, field, FieldType::Integer)?;
        }
        let key = |i| format!("cpu,datacenter=dc{},hostname=host_{i},region=r{}", i % 9, i % 4);
        (0..HOSTS).map(|i| names.create_series(table, &key(i), None)).collect::<Result<Vec<_>>>()
    });
    let ids = made.expect("series").0;
    for time_s in (START_S..START_S + DAY_S).step_by(STEP_S as usize) {
        write(&engine, &ids, time_s);
    }
    // Until the memtable's blocks are merged.
    std::thread::sleep(Duration::from_secs(5));
    let sql = [true, false].map(|own_plans| {
        let options = SqlOptions { threads: 1, own_plans, ..SqlOptions::new(dir.path().join(own_plans.to_string())) };
        Sql::new(&env, engine.clone(), catalog.clone(), options).expect("query threads")
    });
    World { engine, sql, runtime, _background: background, _dir: dir }
}

fn write(engine: &Engine, ids: &[SeriesId], time_s: i64) {
    let value = |host: i64, field: i64| (time_s / STEP_S * (host + 1) * (field + 3) % 101).abs();
    let column = |field: i64| Column::Integer((0..HOSTS).map(|host| value(host, field)).collect());
    let rows = Rows {
        table: ids[0].table(),
        tier: Tier::RAW,
        series: ids.to_vec(),
        times_ns: vec![time_s * SECOND_NS; ids.len()],
        fields: (0..FIELDS.len()).map(|field| (FieldId(field as u16), column(field as i64))).collect(),
    };
    loop {
        match engine.write(vec![rows.clone()], Durability::Interval) {
            Ok(_) => return,
            Err(e) if e.kind() == ErrorKind::Overloaded => std::thread::sleep(Duration::from_millis(5)),
            Err(e) => panic!("{e}"),
        }
    }
}

/// A class of queries: aggregate, fields, hosts (0: all), hours, unit of the windows.
type Class = (&'static str, &'static str, usize, i64, i64, &'static str);

const CLASSES: [Class; 12] = [
    ("single-groupby-1-1-1", "max", 1, 1, 1, "minute"),
    ("single-groupby-1-1-12", "max", 1, 1, 12, "minute"),
    ("single-groupby-1-8-1", "max", 1, 8, 1, "minute"),
    ("single-groupby-5-8-1", "max", 5, 8, 1, "minute"),
    ("cpu-max-all-1", "max", 10, 1, 8, "hour"),
    ("cpu-max-all-8", "max", 10, 8, 8, "hour"),
    ("double-groupby-1", "avg", 1, 0, 12, "hour"),
    ("double-groupby-all", "avg", 10, 0, 12, "hour"),
    ("high-cpu-1", "high", 10, 1, 12, ""),
    ("high-cpu-all", "high", 10, 0, 12, ""),
    ("lastpoint", "last", 10, 0, 0, ""),
    ("groupby-orderby-limit", "limit", 1, 0, 1, "minute"),
];

/// The text of round `n` of a class.
fn text((_, kind, fields, hosts, hours, unit): Class, n: i64) -> String {
    let from = START_S + n * 60 % (DAY_S - hours * 3_600).max(60);
    let mut condition =
        format!("time >= TIMESTAMP '{}' AND time < TIMESTAMP '{}'", time_text(from), time_text(from + hours * 3_600));
    if hosts > 0 {
        let names: Vec<String> = (0..hosts).map(|h| format!("'host_{}'", (n * 7 + h * 11) % HOSTS)).collect();
        condition += &format!(" AND hostname IN ({})", names.join(", "));
    }
    let results =
        |f: &str| FIELDS[..fields].iter().map(|name| format!("{f}({name}) AS {name}")).collect::<Vec<_>>().join(", ");
    match kind {
        "high" => format!("SELECT * FROM cpu WHERE usage_user > 90 AND {condition}"),
        "last" => "SELECT DISTINCT ON (hostname) * FROM cpu ORDER BY hostname, time DESC".to_owned(),
        "limit" => format!(
            "SELECT date_trunc('minute', time) AS t, max(usage_user) FROM cpu WHERE time < TIMESTAMP '{}' GROUP BY 1 ORDER BY 1 DESC LIMIT 5",
            time_text(from + DAY_S / 2)
        ),
        f if hosts == 0 => format!(
            "SELECT date_trunc('{unit}', time) AS t, hostname, {} FROM cpu WHERE {condition} GROUP BY 1, 2 ORDER BY 1, 2",
            results(f)
        ),
        f => format!(
            "SELECT date_trunc('{unit}', time) AS t, {} FROM cpu WHERE {condition} GROUP BY 1 ORDER BY 1",
            results(f)
        ),
    }
}

fn time_text(second: i64) -> String {
    let of_day = (second - START_S) % DAY_S;
    let day = 14 + (second - START_S) / DAY_S;
    format!("2020-09-{day:02} {:02}:{:02}:{:02}", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

fn ask(world: &World, sql: &Sql, text: String) -> usize {
    world.runtime.block_on(async {
        let request = SqlRequest { database: "bench".to_owned(), sql: text, ..SqlRequest::default() };
        let mut answer = sql.query(request, |_| Ok(Batches)).await.expect("a plan");
        let mut rows = 0;
        while let Some(batch) = answer.next().await {
            rows += batch.expect("rows").num_rows();
        }
        rows
    })
}

fn queries(c: &mut Criterion<ProcessCpu>) {
    let world = world();
    for place in ["memtable", "files"] {
        if place == "files" {
            world.engine.flush().expect("a flush");
            world.engine.compact_all().expect("a merge");
        }
        for class in CLASSES {
            let mut group = c.benchmark_group(format!("sql/{place}/{}", class.0));
            group.sample_size(10);
            for (name, sql) in ["own", "datafusion"].into_iter().zip(&world.sql) {
                let mut n = 0;
                // Before anything is measured the plan is kept.
                assert!((0..3).all(|n| ask(&world, sql, text(class, n)) > 0), "{}", text(class, 0));
                group.bench_function(name, |b| {
                    b.iter(|| {
                        n += 1;
                        black_box(ask(&world, sql, text(class, n)))
                    });
                });
            }
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessCpu);
    targets = queries
}
criterion_main!(benches);
