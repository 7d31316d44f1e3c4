//! Runs `tests/sql/*.slt`: each file on points in memory, flushed, compacted, and partly flushed.
//!
//! A file is a list of sections separated by blank lines. `write <database>` is followed by line protocol (times in
//! seconds), `paths` by Graphite plaintext; `query [sorted]` by SQL, `----` and the rows expected, cells separated by
//! `|`; `error` by SQL, `----` and a part of the message expected. `#` begins a comment line.

use std::path::Path;
use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt;
use rhythmite_engine::{Durability, Options};
use rhythmite_env::{Env, ManualClock};

use super::*;
use crate::catalog::NewPolicy;
use crate::ingest::influx::{InfluxWriter, LineWrite, TimeUnit};
use crate::ingest::{PathIngest, PathPoints, PathRules, RulesText};

pub(crate) const NOW_S: i64 = 1_700_000_000;

/// How far the points have come when the queries run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Memory,
    /// A flush after each write section.
    Flushed,
    /// The same, then everything is merged.
    Compacted,
    /// A flush after the first write section only.
    Mixed,
}

/// A server without sockets.
pub(crate) struct World {
    pub sql: Sql,
    pub engine: Engine,
    pub catalog: Catalog,
    paths: PathIngest,
    pub clock: Arc<ManualClock>,
    _dir: tempfile::TempDir,
}

impl World {
    pub async fn new(options: impl FnOnce(&mut SqlOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("catalog.sqlite")).unwrap();
        catalog.create_database("d", NewPolicy::autogen()).await.unwrap();
        catalog.create_database("other", NewPolicy::autogen()).await.unwrap();
        let week = NewPolicy::raw("week", 7 * 86_400_000_000_000);
        catalog.create_policy("d", week).await.unwrap();
        let (rules, _) = PathRules::load(&RulesText { schemas: None, aggregation: None }, &catalog).await.unwrap();
        let clock = Arc::new(ManualClock::new(NOW_S * 1_000_000_000));
        let env = Env { clock: clock.clone(), ..Env::real() };
        let policies = catalog.databases().policies().map(|p| p.policy.clone()).collect();
        let manifest = Arc::new(catalog.manifest());
        let (engine, _) = Engine::open(env.clone(), Options::new(dir.path()), manifest, policies).unwrap();
        let mut sql_options = SqlOptions { threads: 2, ..SqlOptions::new(dir.path()) };
        options(&mut sql_options);
        let sql = Sql::new(&env, engine.clone(), catalog.clone(), sql_options).unwrap();
        Self { sql, paths: PathIngest::new(engine.clone(), clock.clone(), rules), clock, engine, catalog, _dir: dir }
    }

    /// Writes line protocol, times in seconds, to `database` or `database.policy`.
    pub fn write(&self, target: &str, body: &str) {
        let (database, policy) = target.split_once('.').unwrap_or((target, ""));
        let databases = self.catalog.databases();
        let policy = databases.get(database).unwrap().policy(policy).unwrap().policy.clone();
        let write = LineWrite {
            body: body.as_bytes(),
            policy: &policy,
            unit: TimeUnit::Fixed(rhythmite_influx::line_protocol::Precision::Second),
            now_ns: NOW_S * 1_000_000_000,
            accept_partial: false,
            durability: Durability::Sync,
            senders: None,
        };
        let outcome = InfluxWriter::new(self.engine.clone()).write(&write).unwrap();
        assert_eq!(outcome.refusals.error_text(), None);
        outcome.commit.wait().unwrap();
    }

    /// Writes Graphite plaintext.
    pub fn write_paths(&self, body: &str) {
        let mut points = PathPoints::default();
        for line in body.lines() {
            let [path, value, time] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            points.push(path, time.parse().unwrap(), value.parse().unwrap());
        }
        self.paths.write_paths(&points, Durability::Sync).unwrap().wait().unwrap();
    }

    pub async fn ask(&self, sql: &str) -> Result<Vec<RecordBatch>, SqlError> {
        let request = SqlRequest { database: "d".to_owned(), sql: sql.to_owned(), ..SqlRequest::default() };
        self.run(request).await
    }

    pub async fn run(&self, request: SqlRequest) -> Result<Vec<RecordBatch>, SqlError> {
        let mut answer = self.sql.query(request, |_| Ok(Batches)).await?;
        let mut batches = Vec::new();
        while let Some(batch) = answer.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }

    /// Waits for what happens soon after the end of a query.
    async fn until(&self, reached: impl Fn(SqlStats) -> bool) {
        let wait = async {
            while !reached(self.sql.stats()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(5), wait).await;
        in_time.unwrap_or_else(|_| panic!("{:?}", self.sql.stats()));
    }

    /// The rows of an answer, cells separated by `|`.
    pub async fn rows(&self, sql: &str) -> Result<Vec<String>, SqlError> {
        Ok(texts(&self.ask(sql).await?))
    }
}

pub(crate) fn texts(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    rows
}

struct Section<'a> {
    line: usize,
    head: &'a str,
    body: Vec<&'a str>,
}

fn sections(text: &str) -> Vec<Section<'_>> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    let mut inside = false;
    for (at, line) in text.lines().enumerate().filter(|(_, l)| !l.starts_with('#')) {
        match (line.trim().is_empty(), inside) {
            (true, _) => inside = false,
            (false, true) => sections.last_mut().unwrap().body.push(line),
            (false, false) => {
                sections.push(Section { line: at + 1, head: line, body: Vec::new() });
                inside = true;
            }
        }
    }
    sections
}

async fn run_file(path: &Path, stage: Stage) {
    let text = std::fs::read_to_string(path).unwrap();
    let world = World::new(|_| {}).await;
    let mut writes = 0;
    let mut asked = 0;
    for section in sections(&text) {
        let place = format!("{}:{} ({stage:?})", path.display(), section.line);
        let (kind, argument) = section.head.split_once(' ').unwrap_or((section.head, ""));
        match kind {
            "write" | "paths" => {
                assert_eq!(asked, 0, "{place}: writes come before queries");
                let body = section.body.join("\n");
                if kind == "write" {
                    world.write(argument, &body)
                } else {
                    world.write_paths(&body)
                }
                writes += 1;
                if matches!(stage, Stage::Flushed | Stage::Compacted) || (stage == Stage::Mixed && writes == 1) {
                    world.engine.flush().unwrap();
                }
            }
            "query" | "error" => {
                if asked == 0 && stage == Stage::Compacted {
                    world.engine.compact_all().unwrap();
                }
                asked += 1;
                let end = section.body.iter().position(|l| *l == "----").unwrap_or_else(|| panic!("{place}: ----"));
                let sql = section.body[..end].join("\n");
                let expected = &section.body[end + 1..];
                let answer = world.rows(&sql).await;
                if kind == "error" {
                    let error = answer.expect_err(&place).to_string();
                    assert!(error.contains(&expected.join("\n")), "{place}: {error}");
                } else {
                    let mut rows = answer.unwrap_or_else(|e| panic!("{place}: {e}"));
                    if argument == "sorted" {
                        rows.sort();
                    }
                    assert_eq!(rows, expected, "{place}\n{sql}");
                }
            }
            other => panic!("{place}: what is {other:?}?"),
        }
    }
    assert!(asked > 0, "{} asks nothing", path.display());
}

async fn run_all(stage: Stage) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql");
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "slt")) {
        run_file(file, stage).await;
    }
}

#[tokio::test]
async fn files_hold_in_memory() {
    run_all(Stage::Memory).await;
}

#[tokio::test]
async fn files_hold_after_flushes() {
    run_all(Stage::Flushed).await;
}

#[tokio::test]
async fn files_hold_after_compaction() {
    run_all(Stage::Compacted).await;
}

#[tokio::test]
async fn files_hold_across_memory_and_files() {
    run_all(Stage::Mixed).await;
}

#[tokio::test]
async fn parameters_stand_for_values() {
    let world = World::new(|_| {}).await;
    world.write("d", "cpu,host=a n=1i 1\ncpu,host=b n=2i 1");
    let request = SqlRequest {
        database: "d".to_owned(),
        sql: "SELECT n FROM cpu WHERE host = $host AND n > $least".to_owned(),
        params: [("host".to_owned(), Param::Text("b".to_owned())), ("least".to_owned(), Param::Integer(1))].into(),
        ..SqlRequest::default()
    };
    assert_eq!(texts(&world.run(request.clone()).await.unwrap()), ["2"]);
    let missing = SqlRequest { params: BTreeMap::new(), ..request };
    assert!(world.run(missing).await.is_err(), "a parameter without a value");
}

#[tokio::test]
async fn other_databases_are_seen_only_if_allowed() {
    let world = World::new(|_| {}).await;
    world.write("other", "cpu n=7i 1");
    assert_eq!(world.rows("SELECT n FROM other.autogen.cpu").await.unwrap(), ["7"]);
    let only = Visible::Only(Arc::new(["d".to_owned()].into()));
    for sql in ["SELECT n FROM other.autogen.cpu", "SELECT n FROM other.iox.cpu"] {
        let request = SqlRequest {
            database: "d".to_owned(),
            sql: sql.to_owned(),
            visible: only.clone(),
            ..SqlRequest::default()
        };
        let error = world.run(request).await.unwrap_err().to_string();
        assert!(error.contains("not found"), "{error}");
    }
    let request = SqlRequest {
        database: "other".to_owned(),
        sql: "SELECT 1".to_owned(),
        visible: only.clone(),
        ..SqlRequest::default()
    };
    assert_eq!(world.run(request).await.unwrap_err().to_string(), "database not found: other");
    let request = SqlRequest {
        database: "d".to_owned(),
        sql: "SELECT DISTINCT table_catalog FROM information_schema.tables ORDER BY 1".to_owned(),
        visible: only,
        ..SqlRequest::default()
    };
    assert_eq!(texts(&world.run(request).await.unwrap()), ["d"]);
}

#[tokio::test]
async fn what_is_older_than_its_retention_is_not_seen() {
    let world = World::new(|_| {}).await;
    world.write("d.week", &format!("cpu n=1i {}\ncpu n=2i {}", NOW_S - 86_400, NOW_S));
    assert_eq!(world.rows("SELECT sum(n) FROM week.cpu").await.unwrap(), ["3"]);
    world.clock.advance(Duration::from_secs(6 * 86_400 + 1));
    assert_eq!(world.rows("SELECT sum(n) FROM week.cpu").await.unwrap(), ["2"]);
    world.clock.advance(Duration::from_secs(86_400));
    assert_eq!(world.rows("SELECT count(n) FROM week.cpu").await.unwrap(), ["0"]);
}

#[tokio::test]
async fn memory_that_runs_out_is_named() {
    let world = World::new(|o| (o.query_memory, o.spill_bytes_max) = (256 << 10, 0)).await;
    let body: Vec<String> = (0..20_000).map(|i| format!("m,k=k{} v={i}i {i}", i % 50)).collect();
    world.write("d", &body.join("\n"));
    let error = world.ask("SELECT v, count(*) FROM m GROUP BY v ORDER BY v").await.unwrap_err();
    let SqlError::Failed(inner) = &error else { panic!("{error}") };
    assert_eq!(inner.kind(), ErrorKind::Overloaded, "{error}");
    assert!(error.to_string().contains("[query] memory"), "{error}");
    assert_eq!(world.sql.stats().out_of_memory, 1);
    assert_eq!(world.rows("SELECT count(*) FROM m WHERE k = 'k1'").await.unwrap(), ["400"], "others go on");
    world.until(|stats| stats.memory == 0).await;
}

#[tokio::test]
async fn what_does_not_fit_is_spilled() {
    let world = World::new(|o| (o.query_memory, o.threads) = (16 << 20, 1)).await;
    for part in 0..4 {
        let rows = part * 20_000..(part + 1) * 20_000;
        let body: Vec<String> =
            rows.map(|i| format!("m,k=k{} s=\"{:0>150}\" {i}", i % 20, i * 7919 % 80_000)).collect();
        world.write("d", &body.join("\n"));
    }
    let rows = world.rows("SELECT s FROM m ORDER BY s").await.unwrap();
    assert_eq!(rows.len(), 80_000);
    assert!(rows.is_sorted());
    let plan = world.rows("EXPLAIN ANALYZE SELECT s FROM m ORDER BY s").await.unwrap().join("\n");
    assert!(plan.contains("spill_count=") && !plan.contains("spill_count=0"), "{plan}");
    world.until(|stats| stats.spilled == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_and_closed_doors_stop_a_query() {
    let world = World::new(|o| (o.timeout, o.running_max, o.waiting_max) = (Duration::from_millis(300), 1, 0)).await;
    let slow =
        "SELECT sum(a.value + b.value) FROM generate_series(1, 100000) a CROSS JOIN generate_series(1, 100000) b";
    let first = world.ask(slow);
    let second = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        world.ask("SELECT 1").await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.unwrap_err(), SqlError::Timeout(Duration::from_millis(300)));
    assert!(second.unwrap_err().to_string().contains("1 queries are running"));
    assert_eq!((world.sql.stats().timeouts, world.sql.stats().refused), (1, 1));
    // The query gives way and its place becomes free.
    world.until(|stats| stats.running == 0).await;
    assert_eq!(world.rows("SELECT 1").await.unwrap(), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_stops_its_query() {
    let world = World::new(|_| {}).await;
    let sql = "SELECT a.value FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b".to_owned();
    let request = SqlRequest { database: "d".to_owned(), sql, ..SqlRequest::default() };
    let mut answer = world.sql.query(request, |_| Ok(Batches)).await.unwrap();
    assert!(answer.next().await.unwrap().is_ok());
    assert_eq!(world.sql.stats().running, 1);
    drop(answer);
    world.until(|stats| stats.running == 0).await;
}

#[tokio::test]
async fn a_join_without_an_equality_is_capped() {
    let world = World::new(|_| {}).await;
    let sql = "SELECT count(*) FROM generate_series(1, 40000) a JOIN generate_series(1, 40000) b ON a.value < b.value";
    let error = world.rows(sql).await.unwrap_err().to_string();
    assert!(error.contains("a join without an equality would compare"), "{error}");
    let sql = "SELECT count(*) FROM generate_series(1, 100) a JOIN generate_series(1, 100) b ON a.value < b.value";
    assert_eq!(world.rows(sql).await.unwrap(), ["4950"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_loses_its_place_at_the_deadline() {
    let world = World::new(|o| (o.timeout, o.running_max) = (Duration::from_millis(400), 1)).await;
    let sql = "SELECT a.value FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b".to_owned();
    let request = SqlRequest { database: "d".to_owned(), sql, ..SqlRequest::default() };
    let mut answer = world.sql.query(request, |_| Ok(Batches)).await.unwrap();
    assert_eq!(world.sql.stats().running, 1);
    world.until(|stats| stats.running == 0 && stats.memory == 0).await;
    assert_eq!(world.sql.stats().timeouts, 1);
    assert_eq!(world.rows("SELECT 1").await.unwrap(), ["1"], "the place is free");
    // The one that reads after all is told that rows are missing.
    let mut last = None;
    while let Some(piece) = answer.next().await {
        last = Some(piece);
    }
    assert_eq!(last.unwrap().unwrap_err(), SqlError::Timeout(Duration::from_millis(400)));
    assert_eq!(world.sql.stats().timeouts, 1, "counted once");
}

/// The error of a statement, which must be one of the request.
async fn refusal(world: &World, sql: &str) -> String {
    let error = world.ask(sql).await.unwrap_err();
    let SqlError::Failed(inner) = &error else { panic!("{error}") };
    assert_eq!(inner.kind(), ErrorKind::Invalid, "{error}");
    error.to_string()
}

#[tokio::test]
async fn trees_as_deep_as_the_text_is_long_are_refused() {
    let world = World::new(|_| {}).await;
    let long = format!("CREATE TABLE t AS SELECT 1{}", "+1".repeat(400_000));
    assert!(refusal(&world, &long).await.contains("longer than 262144 bytes"));
    let chains = [
        format!("CREATE TABLE t AS SELECT 1{}", "+1".repeat(130_000)),
        format!("SELECT E'\\''{}", "||''".repeat(60_000)),
        format!("SELECT 1{}", " UNION SELECT 1".repeat(15_000)),
        format!("SELECT true{}", " IS NOT NULL".repeat(20_000)),
        format!("SELECT 1{}", "::int".repeat(50_000)),
    ];
    for sql in &chains {
        let error = refusal(&world, sql).await;
        assert!(error.contains("operators and key words, the limit is 2000"), "{}: {error}", &sql[..40]);
    }
    let tables: Vec<String> = (0..20_000).map(|i| format!("cpu t{i}")).collect();
    let error = refusal(&world, &format!("SELECT 1 FROM {}", tables.join(", "))).await;
    assert!(error.contains("more than 500 tables"), "{error}");
    // What the limits let through fits the stack, and lists are no chains.
    let sum = format!("SELECT 1{} AS n", "+1".repeat(nesting::OPERATORS_MAX - 10));
    assert_eq!(world.rows(&sum).await.unwrap(), [(nesting::OPERATORS_MAX - 9).to_string()]);
    assert!(refusal(&world, &format!("CREATE TABLE t AS {sum}")).await.contains("CREATE TABLE"));
    let list = (0..10_000).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(world.rows(&format!("SELECT 9999 IN ({list})")).await.unwrap(), ["true"]);
}
