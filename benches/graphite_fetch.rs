//! A render over the engine: a thousand series of a day in steps of ten seconds, names to values, from the memtable and
//! from files. The coarse cases read three days, which the finest level does not reach back to, so that every value is
//! rolled up at read.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rhythmite::catalog::Catalog;
use rhythmite::query::graphite::{Fetcher, Limits, Patience};
use rhythmite_engine::{Background, Durability, Engine, Options};
use rhythmite_env::Env;
use rhythmite_graphite::eval::Request;
use rhythmite_graphite::run;
use rhythmite_model::{
    Column, ErrorKind, FieldId, FieldType, KeyKind, Level, Result, RollupRule, Rows, SeriesId, Tier,
};

const SECOND_NS: i64 = 1_000_000_000;
const DAY_S: i64 = 86_400;
const STEP_S: i64 = 10;
const SERIES: usize = 1_000;

struct World {
    env: Env,
    engine: Engine,
    /// The newest point; of this day, since compaction removes what is past its retention.
    now_s: i64,
    _background: Background,
    _dir: tempfile::TempDir,
}

/// Two days of points, written as a sender would: every series at one time, then the next time.
fn world() -> World {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let env = Env::real();
    let catalog = Catalog::open(&dir.path().join("catalog.sqlite")).expect("a new catalogue");
    let mut options = Options::new(dir.path());
    (options.memtable_bytes, options.idle_flush) = (1 << 30, Duration::from_secs(3_600));
    let manifest = Arc::new(catalog.manifest());
    let (engine, _) = Engine::open(env.clone(), options, manifest, Vec::new()).expect("a new engine");
    let background = Background::start(&engine).expect("threads");
    let level = |step_s, days: i64| Level { step_ns: step_s * SECOND_NS, retention_ns: days * DAY_S * SECOND_NS };
    let levels = vec![level(STEP_S, 2), level(60, 30)];
    let policy = futures::executor::block_on(catalog.intern_graphite_policy(levels)).expect("a policy");
    engine.put_policy(policy.clone());
    let rule = RollupRule { method: 1, x_files_factor: 0.5, imported_until_s: 0 };
    let made = engine.create(Durability::Interval, |names| {
        let table = names.create_table(policy.id, "metrics", KeyKind::Path)?;
        names.create_field(table, "value", FieldType::Float)?;
        let make = |i| names.create_series(table, &format!("bench.s{i:03}"), Some(rule));
        (0..SERIES).map(make).collect::<Result<Vec<_>>>()
    });
    let ids = made.expect("series").0;
    let now_s = env.clock.now_s() / 3_600 * 3_600;
    for time_s in (now_s - 2 * DAY_S + STEP_S..=now_s).step_by(STEP_S as usize) {
        write(&engine, &ids, time_s);
    }
    // Until the memtable's blocks are merged.
    std::thread::sleep(Duration::from_secs(5));
    World { env, engine, now_s, _background: background, _dir: dir }
}

fn write(engine: &Engine, ids: &[SeriesId], time_s: i64) {
    let value = |i: i64| (time_s / STEP_S * (i + 1) % 100) as f64;
    let rows = Rows {
        table: ids[0].table(),
        tier: Tier::RAW,
        series: ids.to_vec(),
        times_ns: vec![time_s * SECOND_NS; ids.len()],
        fields: vec![(FieldId(0), Column::Float((0..ids.len() as i64).map(value).collect()))],
    };
    loop {
        match engine.write(vec![rows.clone()], Durability::Interval) {
            Ok(_) => return,
            Err(e) if e.kind() == ErrorKind::Overloaded => std::thread::sleep(Duration::from_millis(5)),
            Err(e) => panic!("{e}"),
        }
    }
}

fn render(world: &World, target: &str, range_s: i64) -> usize {
    let request = Request::new(&[target], world.now_s - range_s, world.now_s, world.now_s).expect("a target");
    let gone = Arc::new(AtomicBool::new(false));
    let patience = Patience::new(world.env.clock.clone(), Duration::from_secs(600), gone);
    let mut fetcher = Fetcher::new(&world.engine, Limits::default(), patience);
    let series = run(&request, &mut fetcher, &|| Ok(())).expect("an answer");
    series.iter().map(|s| s.values.len()).sum()
}

fn fetch(c: &mut Criterion) {
    let world = world();
    for place in ["memtable", "files"] {
        if place == "files" {
            world.engine.flush().expect("a flush");
        }
        let mut group = c.benchmark_group(format!("graphite_fetch/{place}"));
        group.sample_size(10);
        for (name, target, range_s, series) in [
            ("one_series_1d", "bench.s001", DAY_S, 1),
            ("sum_100_1d", "sumSeries(bench.s1??)", DAY_S, 100),
            ("sum_1000_1h", "sumSeries(bench.*)", 3_600, SERIES as i64),
            ("sum_1000_1d", "sumSeries(bench.*)", DAY_S, SERIES as i64),
            ("sum_100_3d_rolled_up", "sumSeries(bench.s1??)", 3 * DAY_S, 100),
        ] {
            group.throughput(Throughput::Elements((series * range_s.min(2 * DAY_S) / STEP_S) as u64));
            group.bench_function(name, |b| b.iter(|| black_box(render(&world, target, range_s))));
        }
        group.finish();
    }
}

criterion_group!(benches, fetch);
criterion_main!(benches);
