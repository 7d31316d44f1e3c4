//! What would move: series are counted, points and bytes estimated from the indexes of the files.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rhythmite_engine::registry::{Directory, Slot};
use rhythmite_engine::{Engine, SeriesFilter, Snapshot, Weight};
use rhythmite_model::{Aggregates, KeyKind, Level, Policy, PolicyId, Result, SeriesId, SeriesSet, TableId, Tier};
use serde::Serialize;

use crate::ingest::{PathIngest, PathRule, PathRules};

const SECOND_NS: i64 = 1_000_000_000;
/// Series whose names are looked at while the registry waits.
const NAMES: usize = 1_000;
/// Series that are weighed together.
const WEIGHED: usize = 65_536;

/// What a series needs so that it is kept by its rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// Its method or its xFilesFactor is another.
    Rule,
    /// It lies in another policy.
    Move,
}

/// A series, and the rule of its path.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) id: SeriesId,
    pub(super) path: String,
    pub(super) rule: PathRule,
    pub(super) need: Need,
}

/// What applying the rules would do, by schema.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// By name.
    pub schemas: Vec<SchemaPlan>,
}

/// What it would do to the series of one schema.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SchemaPlan {
    /// Name of the section.
    pub schema: String,
    /// As the file says it, in seconds: `10s:86400s,60s:2592000s`.
    pub retentions: String,
    /// Series that the schema holds for.
    pub series: u64,
    /// Those that lie in another policy.
    pub series_moved: u64,
    /// Those of which only the method or the xFilesFactor is another.
    pub series_with_other_rule: u64,
    /// What the moved series have: points of every level, and values kept of rolled up windows.
    pub points_before: u64,
    /// What they will have, about, when everything is rolled up.
    pub points_after: u64,
    /// What that takes on disk, about.
    pub bytes_before: u64,
    /// What it will take, about.
    pub bytes_after: u64,
    /// Points, each of the finest level that has it, that are older than the longest retention: they go.
    pub points_dropped: u64,
    /// Finest points that are older than the finest level reaches: coarser levels keep what is rolled up of them.
    pub points_rolled_up: u64,
}

/// Points of one step, as a source of others.
#[derive(Clone, Copy, Debug)]
struct Stock {
    step_ns: i64,
    points: f64,
    first_ns: i64,
    last_ns: i64,
}

/// Calls `each` with the series of all paths, some at a time.
pub(super) fn each_series(
    engine: &Engine,
    rules: &PathRules,
    each: &mut dyn FnMut(Vec<Found>) -> Result<()>,
) -> Result<()> {
    let tables: Vec<TableId> = {
        let names = engine.registry().read();
        names.all_tables().filter(|table| table.kind() == KeyKind::Path).map(|table| table.id()).collect()
    };
    for table in tables {
        let ids = engine.registry().read().series_of(table, &SeriesSet::table(table));
        for chunk in ids.chunks(NAMES) {
            let known: Vec<_> = {
                let names = engine.registry().read();
                let named = |id: &SeriesId| names.slot(*id).map(|slot| (*id, names.key(slot).to_owned()));
                chunk.iter().filter_map(named).collect()
            };
            // Regular expressions run without the lock.
            let ruled = known.into_iter().map(|(id, path)| rules.find(&path).map(|rule| (id, path, rule)));
            let ruled = ruled.collect::<Result<Vec<_>>>()?;
            let names = engine.registry().read();
            let found = ruled.into_iter().filter_map(|(id, path, rule)| {
                let need = need(&names, names.slot(id)?, &rule)?;
                Some(Found { id, path, rule, need })
            });
            let found = found.collect();
            drop(names);
            each(found)?;
        }
    }
    Ok(())
}

/// `None` for a series whose table is gone.
fn need(names: &Directory, slot: Slot, rule: &PathRule) -> Option<Need> {
    let policy = names.table(names.series_id(slot).table())?.policy();
    if policy != rule.policy {
        return Some(Need::Move);
    }
    let same = names.rollup(slot).is_some_and(|rollup| {
        (rollup.method, rollup.x_files_factor) == (rule.rollup.method, rule.rollup.x_files_factor)
    });
    Some(if same { Need::Nothing } else { Need::Rule })
}

/// What would be done.
///
/// # Errors
/// `Unavailable` or `Corrupt` for an index that cannot be read.
pub fn plan(engine: &Engine, paths: &PathIngest, now_ns: i64) -> Result<Plan> {
    let rules = paths.rules();
    let mut schemas: BTreeMap<String, SchemaPlan> = BTreeMap::new();
    let mut moves: HashMap<(String, TableId, PolicyId), Vec<SeriesId>> = HashMap::new();
    let weights = Weights { engine, snapshot: engine.snapshot(), bytes: bytes_per_value(engine), now_ns };
    each_series(engine, &rules, &mut |found| {
        for Found { id, path, rule, need } in found {
            let name = rules.schema(&path);
            let schema = schemas.entry(name.to_owned()).or_insert_with(|| SchemaPlan {
                schema: name.to_owned(),
                retentions: engine.policy(rule.policy).map_or_else(String::new, |policy| retentions(&policy.levels)),
                ..SchemaPlan::default()
            });
            schema.series += 1;
            schema.series_with_other_rule += u64::from(need == Need::Rule);
            if need != Need::Move {
                continue;
            }
            schema.series_moved += 1;
            let list = moves.entry((name.to_owned(), id.table(), rule.policy)).or_default();
            list.push(id);
            if list.len() >= WEIGHED {
                weights.add(id.table(), rule.policy, std::mem::take(list), schema)?;
            }
        }
        Ok(())
    })?;
    for ((name, table, policy), list) in moves {
        if let Some(schema) = schemas.get_mut(&name) {
            weights.add(table, policy, list, schema)?;
        }
    }
    Ok(Plan { schemas: schemas.into_values().collect() })
}

fn retentions(levels: &[Level]) -> String {
    let level = |level: &Level| format!("{}s:{}s", level.step_ns / SECOND_NS, level.retention_ns / SECOND_NS);
    levels.iter().map(level).collect::<Vec<_>>().join(",")
}

/// Bytes on disk for each value of the files of a level.
fn bytes_per_value(engine: &Engine) -> HashMap<(PolicyId, Tier), f64> {
    let mut sums: HashMap<(PolicyId, Tier), (u64, u64)> = HashMap::new();
    for file in engine.files() {
        let sum = sums.entry((file.policy, file.tier)).or_default();
        (sum.0, sum.1) = (sum.0 + file.bytes, sum.1 + file.rows);
    }
    sums.into_iter().map(|(key, (bytes, rows))| (key, bytes as f64 / rows.max(1) as f64)).collect()
}

struct Weights<'a> {
    engine: &'a Engine,
    snapshot: Snapshot,
    bytes: HashMap<(PolicyId, Tier), f64>,
    now_ns: i64,
}

impl Weights<'_> {
    /// Adds what some series of one table have, and will have.
    fn add(&self, table: TableId, to: PolicyId, mut ids: Vec<SeriesId>, schema: &mut SchemaPlan) -> Result<()> {
        let from = self.engine.registry().read().table(table).map(|table| table.policy());
        let (Some(from), Some(to)) = (from.and_then(|id| self.engine.policy(id)), self.engine.policy(to)) else {
            return Ok(());
        };
        ids.sort_unstable();
        let list = SeriesFilter::List(Arc::from(ids));
        let usual = Aggregates::USUAL.iter().count() as f64;
        let mut stocks: Vec<Stock> = Vec::new();
        for (at, level) in from.levels.iter().enumerate() {
            let tier = Tier(u8::try_from(at).unwrap_or(u8::MAX));
            for (tier, of_window) in [(tier, 1.0), (tier.rolled(), usual)] {
                if tier == Tier::RAW.rolled() {
                    continue;
                }
                let weights = self.snapshot.weigh(table, tier, &list, None, &(i64::MIN..=i64::MAX), 0)?;
                for Weight { values, min_time_ns, max_time_ns, .. } in weights {
                    schema.points_before += values;
                    schema.bytes_before += (values as f64 * self.bytes_of(&from, tier, &from)) as u64;
                    let step_ns = level.step_ns.max(1);
                    let points = values as f64 / of_window;
                    stocks.push(Stock { step_ns, points, first_ns: min_time_ns, last_ns: max_time_ns });
                }
            }
        }
        self.forecast(&from, &to, &stocks, schema);
        Ok(())
    }

    /// What the new levels will hold.
    fn forecast(&self, from: &Policy, to: &Policy, stocks: &[Stock], schema: &mut SchemaPlan) {
        let oldest_ns = |level: &Level| match level.retention_ns {
            0 => i64::MIN,
            retention_ns => self.now_ns.saturating_sub(retention_ns),
        };
        let longest = to.levels.iter().map(oldest_ns).min().unwrap_or(i64::MIN);
        let finest = to.levels.first().map_or(i64::MIN, oldest_ns);
        let (mut dropped, mut rolled_up) = (0.0, 0.0);
        each_moment(stocks, |stock, points_between| {
            dropped += points_between(i64::MIN, longest);
            if stock.step_ns <= to.levels[0].step_ns && to.has_tiers() {
                rolled_up += points_between(longest, finest);
            }
        });
        schema.points_dropped += dropped as u64;
        schema.points_rolled_up += rolled_up as u64;
        let usual = Aggregates::USUAL.iter().count() as f64;
        for (at, level) in to.levels.iter().enumerate() {
            let (step_ns, oldest) = (level.step_ns.max(1), oldest_ns(level));
            let tier = Tier(u8::try_from(at).unwrap_or(u8::MAX));
            let (mut stored, mut computed) = (0.0, 0.0);
            each_moment(stocks, |stock, points_between| {
                let share = (stock.step_ns as f64 / step_ns as f64).min(1.0);
                let points = points_between(oldest, i64::MAX) * share;
                let is_raw = stock.step_ns == from.levels.first().map_or(0, |level| level.step_ns.max(1));
                *(if is_raw && at > 0 { &mut computed } else { &mut stored }) += points;
            });
            schema.points_after += (stored + computed * usual) as u64;
            let bytes =
                stored * self.bytes_of(to, tier, from) + computed * usual * self.bytes_of(to, tier.rolled(), from);
            schema.bytes_after += bytes as u64;
        }
    }

    /// Bytes of a value at a level: as its files are, or those of the finest level of another policy.
    fn bytes_of(&self, policy: &Policy, tier: Tier, other: &Policy) -> f64 {
        let of = |policy: &Policy, tier| self.bytes.get(&(policy.id, tier)).copied();
        of(policy, tier).or_else(|| of(other, tier)).or_else(|| of(other, Tier::RAW)).unwrap_or(1.0)
    }
}

/// Gives every stock, finest first, with a function that tells how many of its points lie between two moments where no
/// finer one reaches, as if they were evenly spread.
fn each_moment(stocks: &[Stock], mut each: impl FnMut(&Stock, &dyn Fn(i64, i64) -> f64)) {
    let mut steps: Vec<i64> = stocks.iter().map(|stock| stock.step_ns).collect();
    steps.sort_unstable();
    steps.dedup();
    let mut covered_from = i64::MAX;
    for step in steps {
        let of_step = || stocks.iter().filter(move |stock| stock.step_ns == step);
        for stock in of_step() {
            let points_between = |from: i64, to: i64| {
                let wide = |t: i64| t as f64;
                let (from, to) = (from.max(stock.first_ns), to.min(covered_from).min(stock.last_ns.saturating_add(1)));
                let length = wide(stock.last_ns) - wide(stock.first_ns) + 1.0;
                if to <= from { 0.0 } else { stock.points * ((wide(to) - wide(from)) / length).min(1.0) }
            };
            each(stock, &points_between);
        }
        covered_from = of_step().map(|stock| stock.first_ns).fold(covered_from, i64::min);
    }
}
