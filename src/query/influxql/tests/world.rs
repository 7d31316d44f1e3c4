//! A small engine in a temporary directory, at a fixed time.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use rhythmite_engine::{Durability, Engine, Options};
use rhythmite_env::{CpuPool, Env, ManualClock};
use rhythmite_influx::answer::{AnswerOptions, AnswerWriter, Cell, Message, SeriesHead, StatementEnd};
use rhythmite_influx::influxql::{Mistakes, Params, parse_query};
use rhythmite_model::{Aggregate, Aggregates, FieldType, KeyKind, Level};
use serde_json::Value;

use crate::auth::Passwords;
use crate::catalog::{Catalog, NewPolicy, PolicyChange};
use crate::ingest::influx::{InfluxWriter, LineWrite, TimeUnit};
use crate::query::influxql::{Context, Limits, Request, ResultSink, Users, execute};

/// 2024-06-01 12:00:00 UTC.
pub(crate) const NOW_NS: i64 = 1_717_243_200_000_000_000;

pub(crate) struct World {
    pub(crate) context: Context,
    pub(crate) request: Request,
    pub(crate) dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    env: Env,
    clock: Arc<ManualClock>,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(NOW_NS));
        let env = Env { clock: clock.clone(), ..Env::real() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let context = open(&dir, &env, runtime.handle().clone());
        Self { context, request: Request::default(), dir, runtime, env, clock }
    }

    /// Drops the engine and opens it again, from what is on disk.
    pub(crate) fn restart(self) -> Self {
        let Self { context, request, dir, runtime, env, clock } = self;
        context.engine.drain().unwrap();
        drop(context);
        let context = open(&dir, &env, runtime.handle().clone());
        Self { context, request, dir, runtime, env, clock }
    }

    pub(crate) fn advance_s(&self, by_s: u64) {
        self.clock.advance(Duration::from_secs(by_s));
    }

    pub(crate) fn write(&self, database: &str, policy: &str, unit: TimeUnit, lines: &str) {
        let databases = self.context.catalog.databases();
        let policy = &databases.get(database).unwrap().policy(policy).unwrap().policy;
        let write = LineWrite {
            body: lines.as_bytes(),
            policy,
            unit,
            now_ns: NOW_NS,
            accept_partial: true,
            durability: Durability::Interval,
            senders: None,
        };
        drop(InfluxWriter::new(self.context.engine.clone()).write(&write).unwrap());
    }

    /// Gives the default policy of `d` other retention and tiers (steps and retentions in seconds), `first` among what is kept.
    pub(crate) fn tiers(&self, retention_s: i64, tiers: &[(i64, i64)]) {
        self.tiers_keeping(retention_s, tiers, Aggregates::USUAL.with(Aggregate::First));
    }

    /// The same with what is kept.
    pub(crate) fn tiers_keeping(&self, retention_s: i64, tiers: &[(i64, i64)], kept: Aggregates) {
        const SECOND_NS: i64 = 1_000_000_000;
        let change = PolicyChange { retention_ns: Some(retention_s * SECOND_NS), ..PolicyChange::default() };
        self.runtime.block_on(self.context.catalog.alter_policy("d", "autogen", change)).unwrap();
        let level = |&(step, kept): &(i64, i64)| Level { step_ns: step * SECOND_NS, retention_ns: kept * SECOND_NS };
        let set = self.context.catalog.set_tiers("d", "", tiers.iter().map(level).collect(), kept);
        self.runtime.block_on(set).unwrap();
    }

    /// Makes Graphite series, kept by a storage schema of their own.
    pub(crate) fn paths(&self, step_s: i64, paths: &[&str]) {
        let level = Level { step_ns: step_s * 1_000_000_000, retention_ns: 86_400_000_000_000 };
        let policy = self.runtime.block_on(self.context.catalog.intern_graphite_policy(vec![level])).unwrap();
        let made = self.context.engine.create(Durability::Interval, |names| {
            let table = names.create_table(policy.id, "metrics", KeyKind::Path)?;
            names.create_field(table, "value", FieldType::Float)?;
            paths.iter().try_for_each(|path| names.create_series(table, path, None).map(|_| ()))
        });
        drop(made.unwrap());
    }

    /// A Graphite series kept as `archives` (step and retention in seconds) say, with a point each ten seconds before
    /// `end_s`: the second of the minute.
    pub(crate) fn archives(&self, archives: &[(i64, i64)], path: &str, end_s: i64, length_s: i64) {
        let nano = 1_000_000_000;
        let level = |(step, kept): &(i64, i64)| Level { step_ns: step * nano, retention_ns: kept * nano };
        let levels = archives.iter().map(level).collect();
        let policy = self.runtime.block_on(self.context.catalog.intern_graphite_policy(levels)).unwrap();
        let engine = &self.context.engine;
        engine.put_policy(policy.clone());
        let rollup = rhythmite_model::RollupRule { method: 1, x_files_factor: 0.5, imported_until_s: 0 };
        let made = engine.create(Durability::Interval, |names| {
            let table = names.create_table(policy.id, "metrics", KeyKind::Path)?;
            let field = names.create_field(table, "value", FieldType::Float)?;
            Ok((names.create_series(table, path, Some(rollup))?, field))
        });
        let (id, field) = made.unwrap().0;
        let times: Vec<i64> = (end_s - length_s..end_s).step_by(10).collect();
        let values = times.iter().map(|time| time.rem_euclid(60) as f64).collect();
        let rows = rhythmite_model::Rows {
            table: id.table(),
            tier: rhythmite_model::Tier::RAW,
            series: vec![id; times.len()],
            times_ns: times.iter().map(|time| time * nano).collect(),
            fields: vec![(field, rhythmite_model::Column::Float(values))],
        };
        drop(engine.write(vec![rows], Durability::Interval).unwrap());
    }

    /// The answer as the JSON documents of `/query`.
    pub(crate) fn ask(&self, database: &str, query: &str, chunk_rows: Option<NonZeroUsize>) -> Vec<Value> {
        let query = parse_query(query, &Params::default()).expect(query);
        let request = Request { database: Some(database.to_owned()), ..self.request.clone() };
        let options = AnswerOptions { chunk_rows, ..AnswerOptions::default() };
        let mut sink = Json { writer: AnswerWriter::new(&options), end: StatementEnd::default() };
        execute(&self.context, &request, &query, &mut sink);
        let bytes = sink.writer.finish();
        serde_json::Deserializer::from_slice(&bytes).into_iter().map(Result::unwrap).collect()
    }

    /// The answer as short text: series as `name[columns] row row`, rows as `a,b`; statements separated by ` ; `.
    pub(crate) fn text(&self, database: &str, query: &str) -> String {
        let answer = &self.ask(database, query, None)[0];
        let results = answer["results"].as_array().cloned().unwrap_or_default();
        results.iter().map(statement_text).collect::<Vec<_>>().join(" ; ")
    }

    pub(crate) fn check(&self, cases: &[(&str, &str)]) {
        for (query, expected) in cases {
            assert_eq!(self.text("d", query), *expected, "{query}");
        }
    }
}

fn open(dir: &tempfile::TempDir, env: &Env, runtime: tokio::runtime::Handle) -> Context {
    let catalog = Catalog::open(&dir.path().join("catalog.sqlite")).unwrap();
    let policies = catalog.databases().policies().map(|p| p.policy.clone()).collect();
    let manifest = Arc::new(catalog.manifest());
    let (engine, _) = Engine::open(env.clone(), Options::new(dir.path()), manifest, policies).unwrap();
    let told = engine.clone();
    catalog.tell(move |policy| told.put_policy(policy.clone()));
    let cpu = Arc::new(CpuPool::start(2, 8).unwrap());
    let passwords = Arc::new(Passwords::new(cpu.clone(), env.random.clone(), Arc::default(), 1));
    let users = Users { passwords, guarded: false };
    let (limits, counters) = (Limits::default(), Arc::default());
    Context {
        engine,
        catalog,
        clock: env.clock.clone(),
        runtime,
        cpu,
        limits,
        mistakes: Mistakes::Kept,
        counters,
        users,
        running: Arc::default(),
    }
}

/// A database `d` with its first policy and a second one, `rp2`.
pub(crate) fn two_policies() -> World {
    let world = World::new();
    let catalog = &world.context.catalog;
    world.runtime.block_on(catalog.create_database("d", NewPolicy::autogen())).unwrap();
    world.runtime.block_on(catalog.create_policy("d", NewPolicy::raw("rp2", 0))).unwrap();
    world
}

fn statement_text(result: &Value) -> String {
    let mut parts = Vec::new();
    for series in result["series"].as_array().into_iter().flatten() {
        let list = |value: &Value| {
            let cell = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
            value.as_array().into_iter().flatten().map(cell).collect::<Vec<_>>().join(",")
        };
        let mut text = format!("{}[{}]", series["name"].as_str().unwrap_or(""), list(&series["columns"]));
        for row in series["values"].as_array().into_iter().flatten() {
            text.push(' ');
            text.push_str(&list(row));
        }
        if series["partial"] == true {
            text.push_str(" ...");
        }
        parts.push(text);
    }
    if let Some(error) = result["error"].as_str() {
        parts.push(format!("ERROR {error}"));
    }
    parts.join(" | ")
}

struct Json {
    writer: AnswerWriter,
    end: StatementEnd,
}

impl ResultSink for Json {
    fn begin_statement(&mut self, statement_id: u32, whole: bool) {
        self.end = StatementEnd::default();
        self.writer.begin_statement(statement_id, whole);
    }

    fn begin_series(&mut self, head: &SeriesHead<'_>) {
        self.writer.begin_series(head);
    }

    fn row(&mut self, cells: &[Cell<'_>]) {
        self.writer.row(cells);
    }

    fn end_series(&mut self, partial: bool) {
        self.writer.end_series(partial);
    }

    fn message(&mut self, message: Message) {
        self.end.messages.push(message);
    }

    fn error(&mut self, text: &str) {
        self.end.error = Some(text.to_owned());
    }

    fn end_statement(&mut self) {
        self.writer.end_statement(&self.end);
    }
}

/// Rows as `time,value ...`, times in nanoseconds.
#[derive(Default)]
pub(crate) struct Plain(pub(crate) String);

impl ResultSink for Plain {
    fn begin_statement(&mut self, _: u32, _: bool) {}
    fn begin_series(&mut self, _: &SeriesHead<'_>) {}
    fn row(&mut self, cells: &[Cell<'_>]) {
        let text = |cell: &Cell<'_>| match cell {
            Cell::Null => "null".to_owned(),
            Cell::Time(value) | Cell::Int(value) => value.to_string(),
            Cell::UInt(value) => value.to_string(),
            Cell::Float(value) => value.to_string(),
            Cell::Bool(value) => value.to_string(),
            Cell::String(text) => text.to_string(),
        };
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(&cells.iter().map(text).collect::<Vec<_>>().join(","));
    }
    fn end_series(&mut self, _: bool) {}
    fn message(&mut self, _: Message) {}
    fn error(&mut self, text: &str) {
        self.0.push_str(text);
    }
    fn end_statement(&mut self) {}
}

/// What a query of database `d` gives, in [`Plain`] rows.
pub(crate) fn found(world: &World, query: &str) -> String {
    let query = parse_query(query, &Params::default()).expect(query);
    let request = Request { database: Some("d".to_owned()), ..Request::default() };
    let mut rows = Plain::default();
    execute(&world.context, &request, &query, &mut rows);
    rows.0
}
