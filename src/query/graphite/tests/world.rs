//! An engine in a temporary directory, at a fixed time, with series made by hand.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::executor::block_on;
use rhythmite_engine::{Durability, Engine, Options};
use rhythmite_env::{CpuPool, Env, ManualClock};
use rhythmite_graphite::eval::Request;
use rhythmite_graphite::{Series, run};
use rhythmite_model::{Column, FieldId, FieldType, KeyKind, Level, Result, RollupRule, Rows, SeriesId, Tier};

use crate::catalog::Catalog;
use crate::ingest::paths::{FIELD, TABLE};
use crate::ingest::{PathIngest, PathRules, RulesText};
use crate::query::graphite::{Fetcher, Limits, Patience};

pub(crate) const SECOND_NS: i64 = 1_000_000_000;
/// 2024-06-01 12:00:00 UTC.
pub(crate) const NOW_S: i64 = 1_717_243_200;

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) catalog: Catalog,
    pub(crate) env: Env,
    pub(crate) limits: Limits,
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    /// A world whose engine has other options.
    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let env = Env { clock: Arc::new(ManualClock::new(NOW_S * SECOND_NS)), ..Env::real() };
        let catalog = Catalog::open(&dir.path().join("catalog.sqlite")).unwrap();
        let manifest = Arc::new(catalog.manifest());
        let mut options = Options::new(dir.path());
        change(&mut options);
        let (engine, _) = Engine::open(env.clone(), options, manifest, Vec::new()).unwrap();
        Self { engine, catalog, env, limits: Limits::default(), dir }
    }

    pub(crate) fn ingest(&self) -> Arc<PathIngest> {
        let (rules, _) = block_on(PathRules::load(&RulesText::default(), &self.catalog)).unwrap();
        Arc::new(PathIngest::new(self.engine.clone(), self.env.clock.clone(), rules))
    }

    /// A series kept as `archives` (step and retention in seconds) say, with (method, xFilesFactor, imported until).
    pub(crate) fn series(&self, path: &str, archives: &[(i64, i64)], rule: (u8, f32, i64)) -> SeriesId {
        let level = |&(step, kept): &(i64, i64)| Level { step_ns: step * SECOND_NS, retention_ns: kept * SECOND_NS };
        let levels = archives.iter().map(level).collect();
        let policy = block_on(self.catalog.intern_graphite_policy(levels)).unwrap();
        self.engine.put_policy(policy.clone());
        let rollup = RollupRule { method: rule.0, x_files_factor: rule.1, imported_until_s: rule.2 };
        let made = self.engine.create(Durability::Interval, |names| {
            let table = names.create_table(policy.id, TABLE, KeyKind::Path)?;
            names.create_field(table, FIELD, FieldType::Float)?;
            names.create_series(table, path, Some(rollup))
        });
        made.unwrap().0
    }

    /// Writes points at one level.
    pub(crate) fn write(&self, id: SeriesId, tier: u8, points: &[(i64, f64)]) {
        let rows = Rows {
            table: id.table(),
            tier: Tier(tier),
            series: vec![id; points.len()],
            times_ns: points.iter().map(|p| p.0 * SECOND_NS).collect(),
            fields: vec![(FieldId(0), Column::Float(points.iter().map(|p| p.1).collect()))],
        };
        drop(self.engine.write(vec![rows], Durability::Interval).unwrap());
    }

    /// What a target gives from `now + range.0` until `now + range.1`.
    pub(crate) fn fetch(&self, target: &str, range: (i64, i64)) -> Result<Vec<Series>> {
        self.fetch_at(target, (NOW_S + range.0, NOW_S + range.1), NOW_S)
    }

    /// What a target gives in a range of seconds as seen at `now_s`.
    pub(crate) fn fetch_at(&self, target: &str, range: (i64, i64), now_s: i64) -> Result<Vec<Series>> {
        let request = Request::new(&[target], range.0, range.1, now_s)?;
        let gone = Arc::new(AtomicBool::new(false));
        let patience = Patience::new(self.env.clock.clone(), self.limits.timeout, gone);
        run(&request, &mut Fetcher::new(&self.engine, self.limits.clone(), patience.clone()), &|| patience.check())
    }

    /// What a target gives, read by several threads.
    pub(crate) fn fetch_on(&self, cpu: &Arc<CpuPool>, target: &str, range: (i64, i64)) -> Vec<Series> {
        let request = Request::new(&[target], NOW_S + range.0, NOW_S + range.1, NOW_S).unwrap();
        let patience = Patience::new(self.env.clock.clone(), self.limits.timeout, Arc::new(AtomicBool::new(false)));
        let fetcher = Fetcher::new(&self.engine, self.limits.clone(), patience).with_cpu(cpu.clone());
        run(&request, &mut { fetcher }, &|| Ok(())).unwrap()
    }

    /// Expects `step: values | step: values`, where `3*-` are three gaps.
    pub(crate) fn check(&self, target: &str, range: (i64, i64), want: &str) {
        let shown: Vec<_> = self.fetch(target, range).expect(target).iter().map(show).collect();
        assert_eq!(shown.join(" | "), want, "{target} {range:?}");
    }
}

pub(crate) fn show(series: &Series) -> String {
    let mut text = format!("{}:", series.step_s);
    let mut values = series.values.iter().map(|v| if v.is_nan() { "-".to_owned() } else { v.to_string() }).peekable();
    while let Some(value) = values.next() {
        let mut times = 1;
        while values.next_if_eq(&value).is_some() {
            times += 1;
        }
        let _ = if times == 1 { write!(text, " {value}") } else { write!(text, " {times}*{value}") };
    }
    text
}
