//! One step: some series of one policy move to another.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rhythmite_engine::{Engine, Moved, Remade, SeriesFilter, SeriesPoints, Snapshot, Stream};
use rhythmite_graphite::series::RollupMethod;
use rhythmite_model::{Column, FieldId, Level, Policy, Result, RollupRule, SeriesId, TableId, Tier};

use super::remake::{Method, Points, fill_gaps, to_step, within, without};
use crate::ingest::paths::FIELD;
use crate::query::graphite::levels::{LevelScan, LevelsOf};

const SECOND_NS: i64 = 1_000_000_000;

/// A series that moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub(super) from: SeriesId,
    pub(super) to: SeriesId,
    pub(super) rule: RollupRule,
}

/// Series of one table that move to one other.
pub(super) struct Step {
    pub(super) engine: Engine,
    pub(super) from: Side,
    pub(super) to: Side,
    /// By [`Move::from`], ascending.
    pub(super) moves: Vec<Move>,
    pub(super) now_ns: i64,
}

/// A table of paths.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) table: TableId,
    pub(super) policy: Arc<Policy>,
    pub(super) field: FieldId,
}

impl Side {
    /// `None` for a table that is gone, or has no values.
    pub(super) fn of(engine: &Engine, table: TableId) -> Option<Self> {
        let names = engine.registry().read();
        let policy = engine.policy(names.table(table)?.policy())?;
        let (field, _) = names.find_field(table, FIELD)?;
        Some(Self { table, policy, field })
    }

    fn step_ns(&self, level: usize) -> i64 {
        self.policy.levels.get(level).map_or(1, |level| level.step_ns.max(1))
    }

    /// The oldest time that a level is to show.
    fn oldest_ns(&self, level: usize, now_ns: i64) -> i64 {
        match self.policy.levels.get(level).map_or(0, |level: &Level| level.retention_ns) {
            0 => i64::MIN,
            retention_ns => now_ns.saturating_sub(retention_ns),
        }
    }
}

/// What became of a step's series.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) remade: Remade,
    /// Windows of the new series that end before this second are stored, not computed: those above 0 only.
    pub(super) boundaries: Vec<(SeriesId, i64)>,
    /// Until this second some series wait.
    pub(super) waits_until_s: Option<i64>,
}

/// The points of a series, level by level.
type Levels = HashMap<SeriesId, Vec<Points>>;

impl Step {
    /// The points of the new series, and which of the old ones may go.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn remake(&self, snapshot: &Snapshot) -> Result<Outcome> {
        let mut old = self.read(snapshot, &self.from, self.moves.iter().map(|m| m.from).collect())?;
        let mut new = self.read(snapshot, &self.to, self.moves.iter().map(|m| m.to).collect())?;
        let new_floor_ns = snapshot.raw_floor(self.to.policy.id);
        let mut outcome = Outcome::default();
        let mut by_level: BTreeMap<usize, Vec<SeriesPoints>> = BTreeMap::new();
        for moving in &self.moves {
            let levels = |all: &mut Levels, id, side: &Side| {
                all.remove(&id).unwrap_or_else(|| vec![Points::default(); side.policy.levels.len()])
            };
            let mut old = levels(&mut old, moving.from, &self.from);
            let mut new = levels(&mut new, moving.to, &self.to);
            old.resize_with(self.from.policy.levels.len(), Points::default);
            new.resize_with(self.to.policy.levels.len(), Points::default);
            let boundary_ns = self.boundary(&old, new_floor_ns);
            let existing_ns = moving.rule.imported_until_s.saturating_mul(SECOND_NS);
            let boundary_ns = boundary_ns.map(|ns| ns.max(existing_ns)).or((existing_ns > 0).then_some(existing_ns));
            if let Some(boundary_ns) = boundary_ns.filter(|ns| *ns > self.now_ns) {
                let until_s = boundary_ns / SECOND_NS;
                outcome.waits_until_s = Some(outcome.waits_until_s.map_or(until_s, |s| s.max(until_s)));
                continue;
            }
            for (level, points) in self.levels(&old, &new, moving.rule, boundary_ns, new_floor_ns) {
                if !points.0.is_empty() {
                    let values = Column::Float(points.1);
                    let streams = vec![Stream { field: self.to.field, times_ns: points.0, values }];
                    by_level.entry(level).or_default().push(SeriesPoints { series: moving.to, streams });
                }
            }
            outcome.remade.series.push(moving.from);
            if let Some(boundary_ns) = boundary_ns {
                outcome.boundaries.push((moving.to, boundary_ns / SECOND_NS));
            }
        }
        for (level, mut points) in by_level {
            points.sort_by_key(|points| points.series);
            let tier = Tier(u8::try_from(level).unwrap_or(u8::MAX));
            outcome.remade.moved.push(Moved { table: self.to.table, tier, points });
        }
        Ok(outcome)
    }

    /// What each level of a side shows.
    fn read(&self, snapshot: &Snapshot, side: &Side, mut ids: Vec<SeriesId>) -> Result<Levels> {
        ids.sort_unstable();
        let (count, ids) = (side.policy.levels.len(), Arc::<[SeriesId]>::from(ids));
        let mut found = Levels::new();
        let mut put = |level: usize, points: SeriesPoints| {
            for stream in points.streams {
                let Column::Float(values) = stream.values else { continue };
                let levels = found.entry(points.series).or_insert_with(|| vec![Points::default(); count]);
                // A value that is no number is no point to Graphite.
                let known = stream.times_ns.into_iter().zip(values).filter(|(_, value)| !value.is_nan());
                levels[level] = known.unzip();
            }
        };
        let (filter, fields) = (SeriesFilter::List(ids), Some([side.field].into()));
        let times_ns = side.oldest_ns(0, self.now_ns)..=i64::MAX;
        // Raw points that the retention hides are still what coarser levels are computed from.
        let raw_ns = if count > 1 { i64::MIN..=i64::MAX } else { times_ns };
        for points in snapshot.scan(side.table, Tier::RAW, filter.clone(), fields, raw_ns)? {
            put(0, points?);
        }
        for level in 1..count {
            let asked = LevelsOf {
                policy: side.policy.clone(),
                table: side.table,
                field: side.field,
                tier: Tier(u8::try_from(level).unwrap_or(u8::MAX)),
                series: filter.clone(),
                times_ns: side.oldest_ns(level, self.now_ns)..=i64::MAX,
                now_s: self.now_ns / SECOND_NS,
            };
            for points in LevelScan::new(&self.engine, snapshot, asked)? {
                put(level, points?);
            }
        }
        Ok(found)
    }

    /// Windows of coarser levels that end before this moment have to be stored, since raw points do not tell them; `None` if
    /// raw points tell everything. It is where a window of every level begins.
    fn boundary(&self, old: &[Points], new_floor_ns: i64) -> Option<i64> {
        let first_raw = old[0].0.first().copied();
        let (from_step, to_step) = (self.from.step_ns(0), self.to.step_ns(0));
        let ends = |level: usize| old[level].0.last().map(|t| t.saturating_add(self.from.step_ns(level)));
        let newest_end = (0..old.len()).filter_map(ends).max()?;
        let only_coarse = (1..old.len()).any(|level| {
            let first = old[level].0.first();
            first.is_some_and(|t| first_raw.is_none_or(|raw| t.saturating_add(self.from.step_ns(level)) <= raw))
        });
        let below_floor = first_raw.is_some_and(|raw| raw < new_floor_ns);
        // Too few of the finer points that a window expects.
        let finer = to_step < from_step && self.to.policy.has_tiers();
        let at_ns = match first_raw {
            _ if finer => newest_end,
            None => newest_end,
            Some(raw) if only_coarse || below_floor => raw.max(new_floor_ns),
            Some(_) => return None,
        };
        if !self.to.policy.has_tiers() {
            return None;
        }
        let coarsest = (0..self.to.policy.levels.len()).map(|level| self.to.step_ns(level)).max().unwrap_or(1);
        Some(at_ns.saturating_add(coarsest - 1).div_euclid(coarsest).saturating_mul(coarsest))
    }

    /// The points of the new series at each level.
    fn levels(
        &self,
        old: &[Points],
        new: &[Points],
        rule: RollupRule,
        boundary_ns: Option<i64>,
        new_floor_ns: i64,
    ) -> Vec<(usize, Points)> {
        let method = Method {
            method: RollupMethod::from_code(rule.method).unwrap_or(RollupMethod::Average),
            x_files_factor: rule.x_files_factor,
        };
        let fine = self.to.step_ns(0);
        let longest = (0..self.to.policy.levels.len()).map(|level| self.to.oldest_ns(level, self.now_ns)).min();
        let longest = longest.unwrap_or(i64::MIN);
        let old_raw = to_step(&old[0], self.from.step_ns(0), fine, method);
        let mut raw = old_raw.clone();
        let mut raw_from_ns = new_floor_ns.max(longest);
        if let Some(boundary_ns) = boundary_ns {
            raw_from_ns = raw_from_ns.max(self.to.oldest_ns(0, self.now_ns).min(boundary_ns));
        }
        if boundary_ns.is_some() || !self.to.policy.has_tiers() {
            // Where the old series has coarser points only, they are better than nothing.
            for at in 1..old.len() {
                let (_, coarse) = self.of_old(old, at, fine, method);
                raw = fill_gaps(raw, &within(coarse, self.to.oldest_ns(0, self.now_ns), i64::MAX, fine));
            }
        }
        let raw = without(within(raw, raw_from_ns, i64::MAX, 0), &new[0].0);
        let mut levels = vec![(0, raw)];
        let Some(boundary_ns) = boundary_ns else { return levels };
        let all_raw = fill_gaps(new[0].clone(), &old_raw);
        let (first_raw, first_new) = (all_raw.0.first().copied(), new[0].0.first().copied());
        for (level, existing) in new.iter().enumerate().skip(1) {
            let step = self.to.step_ns(level);
            let (cut, whole) =
                split(to_step(&all_raw, fine, step, method), |start| first_raw.is_some_and(|raw| start >= raw));
            let (partial, own) =
                split(existing.clone(), |start| first_new.is_none_or(|raw| start.saturating_add(step) <= raw));
            // Windows that raw points tell whole, or that were stored as they are; what the series had; and pieces.
            let mut points = fill_gaps(whole, &own);
            let mut pieces = vec![partial, cut];
            for at in 0..old.len() {
                let (cut, whole) = self.of_old(old, at, step, method);
                points = fill_gaps(points, &whole);
                pieces.push(cut);
            }
            for pieces in &pieces {
                points = fill_gaps(points, pieces);
            }
            levels.push((level, within(points, self.to.oldest_ns(level, self.now_ns), boundary_ns, step)));
        }
        levels
    }
}

impl Step {
    /// What a level of the old series tells of windows of another step, where no finer one reaches: windows that are cut by
    /// the beginning of the level, and the others.
    fn of_old(&self, old: &[Points], at: usize, step_ns: i64, method: Method) -> (Points, Points) {
        let own_ns = self.from.step_ns(at);
        let finer_ns = old[..at].iter().filter_map(|points| points.0.first().copied()).min().unwrap_or(i64::MAX);
        // A window that a finer level tells in part is taken whole, but not put among the finer points.
        let reach_ns = if step_ns < own_ns { own_ns - 1 } else { 0 };
        let (_, alone) = split(old[at].clone(), |start| start.saturating_add(reach_ns) < finer_ns);
        let first_ns = alone.0.first().copied().unwrap_or(i64::MIN);
        split(to_step(&alone, own_ns, step_ns, method), |start| start >= first_ns)
    }
}

/// Those whose start is not meant, and those whose start is.
fn split(points: Points, meant: impl Fn(i64) -> bool) -> (Points, Points) {
    let (yes, no): (Vec<_>, Vec<_>) = points.0.into_iter().zip(points.1).partition(|(start, _)| meant(*start));
    (no.into_iter().unzip(), yes.into_iter().unzip())
}
