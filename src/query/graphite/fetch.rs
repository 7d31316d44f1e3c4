//! Answers fetches: patterns to series, series to slots.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rhythmite_engine::registry::{Directory, Slot, Want};
use rhythmite_engine::{Engine, SeriesFilter, Snapshot};
use rhythmite_graphite::series::{RollupMethod, roll_up};
use rhythmite_graphite::{Fetch, FetchRequest, Query, RawSeries};
use rhythmite_model::{Column, Error, FieldId, Policy, Result, RollupRule, SeriesId, TableId, Tier};

use super::find::{find, find_tagged};
use super::rollup::{Rule, fill};
use super::window::{self, Window, window};
use super::{Limits, Patience};
use crate::ingest::paths::FIELD;

const SECOND_NS: i64 = 1_000_000_000;

/// Reads for one render request: all rounds see the same points.
pub struct Fetcher {
    engine: Engine,
    snapshot: Snapshot,
    limits: Limits,
    patience: Patience,
    /// Values read so far, gaps included.
    points: usize,
    /// Series found so far, by all patterns.
    series: usize,
    scratch: Vec<f64>,
}

impl Fetcher {
    /// A reader of what is in `engine` now.
    pub fn new(engine: &Engine, limits: Limits, patience: Patience) -> Self {
        let (engine, snapshot) = (engine.clone(), engine.snapshot());
        Self { engine, snapshot, limits, patience, points: 0, series: 0, scratch: Vec::new() }
    }
}

/// One path that a request found: its current series, then the older ones of other policies.
struct Leaf {
    name: Arc<str>,
    series: Vec<SeriesId>,
}

/// A series' slots.
struct Answer {
    window: Window,
    rule: Rule,
    values: Vec<f64>,
}

/// The range of a request: requests with the same one share their scans.
type Range = (i64, i64, i64);

impl Fetch for Fetcher {
    fn fetch(&mut self, requests: &[FetchRequest]) -> Result<Vec<Vec<RawSeries>>> {
        let mut ranges: BTreeMap<Range, Vec<usize>> = BTreeMap::new();
        for (i, request) in requests.iter().enumerate() {
            ranges.entry((request.from_s, request.until_s, request.now_s)).or_default().push(i);
        }
        let mut answers = vec![Vec::new(); requests.len()];
        for (range, members) in ranges {
            let mut reads = Reads::default();
            let mut found = Vec::with_capacity(members.len());
            for &i in &members {
                self.patience.check()?;
                found.push(self.find(&requests[i].query, range, &mut reads)?);
            }
            self.read(&mut reads)?;
            let done = reads.finish();
            for (i, leaves) in members.into_iter().zip(found) {
                answers[i] = leaves.iter().filter_map(|leaf| done.join(leaf)).collect();
            }
        }
        Ok(answers)
    }
}

impl Fetcher {
    /// The paths that a query means; their series are noted in `reads`.
    fn find(&mut self, query: &Query, range: Range, reads: &mut Reads) -> Result<Vec<Leaf>> {
        let limit = self.limits.series_max.min(self.limits.nodes_max.saturating_sub(self.series));
        let names = self.engine.registry().read();
        let (slots, pattern) = match query {
            Query::Path(pattern) => (find(&names, pattern, Want::Leaves, limit)?.leaves, pattern.clone()),
            Query::Tags(expressions) => (find_tagged(&names, expressions, limit)?, expressions.join(", ")),
            // Without a store of events there are none.
            Query::Events(_) => return Ok(Vec::new()),
        };
        self.series += slots.len();
        let mut leaves = Vec::with_capacity(slots.len());
        for slot in slots {
            let all = std::iter::once(slot).chain(names.older_series(slot));
            let series = all.filter_map(|slot| {
                let (id, slots) = reads.add(&self.engine, &names, slot, range)?;
                self.points += slots;
                Some(id)
            });
            leaves.push(Leaf { series: series.collect(), name: names.key(slot).into() });
            if self.points > self.limits.points_max {
                let max = self.limits.points_max;
                return Err(Error::invalid(format!("{pattern}: the request reads more than {max} points")));
            }
        }
        Ok(leaves)
    }

    fn read(&mut self, reads: &mut Reads) -> Result<()> {
        for (&table, group) in &mut reads.tables {
            let window = group.window;
            group.series.values_mut().for_each(|a| a.values = vec![f64::NAN; window.slots()]);
            let slots_ns =
                window.start_s.saturating_mul(SECOND_NS)..=window.end_s.saturating_mul(SECOND_NS).saturating_sub(1);
            let ids: Arc<[SeriesId]> = group.series.keys().copied().collect();
            let fields: Arc<[FieldId]> = [group.field].into();
            let scan = self.snapshot.scan(table, window.tier, SeriesFilter::List(ids), Some(fields.clone()), slots_ns);
            for points in or_empty(scan)? {
                let points = points?;
                self.patience.check()?;
                let Some(answer) = group.series.get_mut(&points.series) else { continue };
                for stream in &points.streams {
                    let Column::Float(values) = &stream.values else { continue };
                    fill(&window, &stream.times_ns, values, &mut answer.values);
                }
            }
            if window.tier == Tier::RAW {
                continue;
            }
            // Live slots of a coarser level come from the finest one.
            let live = |a: &Answer| a.rule.live_from_s(&window).filter(|_| window.step_s % a.rule.fine_step_s == 0);
            let ids: Arc<[SeriesId]> =
                group.series.iter().filter(|(_, a)| live(a).is_some()).map(|(id, _)| *id).collect();
            let Some(from_s) = group.series.values().filter_map(live).min() else { continue };
            let raw_ns = from_s.saturating_mul(SECOND_NS)..=window.end_s.saturating_mul(SECOND_NS).saturating_sub(1);
            let scan = self.snapshot.scan(table, Tier::RAW, SeriesFilter::List(ids), Some(fields), raw_ns);
            for points in or_empty(scan)? {
                let points = points?;
                self.patience.check()?;
                let Some(Answer { rule, values: slots, .. }) = group.series.get_mut(&points.series) else { continue };
                for stream in &points.streams {
                    let Column::Float(values) = &stream.values else { continue };
                    rule.apply(&window, &stream.times_ns, values, slots, &mut self.scratch);
                }
            }
        }
        Ok(())
    }
}

/// A table that was dropped meanwhile has no points.
fn or_empty(
    scan: Result<rhythmite_engine::Scan>,
) -> Result<impl Iterator<Item = Result<rhythmite_engine::SeriesPoints>>> {
    match scan {
        Ok(scan) => Ok(Some(scan).into_iter().flatten()),
        Err(e) if e.kind() == rhythmite_model::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(e) => Err(e),
    }
}

/// Series of one table, all with the same window since they share a policy.
struct Group {
    window: Window,
    field: FieldId,
    series: BTreeMap<SeriesId, Answer>,
}

/// What one range needs of the store.
#[derive(Default)]
struct Reads {
    tables: BTreeMap<TableId, Group>,
}

impl Reads {
    /// Notes a series; gives its number and how many slots are new. `None` when it has nothing in the range.
    fn add(&mut self, engine: &Engine, names: &Directory, slot: Slot, range: Range) -> Option<(SeriesId, usize)> {
        let id = names.series_id(slot);
        let table = names.table(id.table())?;
        let policy = engine.policy(table.policy())?;
        let group = match self.tables.entry(table.id()) {
            std::collections::btree_map::Entry::Occupied(group) => group.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let (from_s, until_s, now_s) = range;
                let window = window(&policy.levels, from_s, until_s, now_s)?;
                let (field, _) = names.find_field(table.id(), FIELD)?;
                place.insert(Group { window, field, series: BTreeMap::new() })
            }
        };
        let window = group.window;
        let mut new = 0;
        group.series.entry(id).or_insert_with(|| {
            new = window.slots();
            Answer { window, rule: rule(&policy, names.rollup(slot)), values: Vec::new() }
        });
        Some((id, new))
    }

    fn finish(self) -> Done {
        let mut done = HashMap::new();
        for group in self.tables.into_values() {
            done.extend(group.series.into_iter().map(|(id, a)| (id, (a.window, a.rule, Arc::new(a.values)))));
        }
        Done(done)
    }
}

/// Without a rule (no adapter makes such a series) whisper's default holds.
fn rule(policy: &Policy, rollup: Option<RollupRule>) -> Rule {
    let rollup = rollup.unwrap_or(RollupRule { method: 1, x_files_factor: 0.5, imported_until_s: 0 });
    Rule {
        method: RollupMethod::from_code(rollup.method).unwrap_or(RollupMethod::Average),
        x_files_factor: rollup.x_files_factor,
        fine_step_s: policy.levels.first().map_or(1, window::step_s),
        imported_until_s: rollup.imported_until_s,
    }
}

struct Done(HashMap<SeriesId, (Window, Rule, Arc<Vec<f64>>)>);

impl Done {
    /// The answer for a path: the slots of its current series, gaps filled from the older ones.
    fn join(&self, leaf: &Leaf) -> Option<RawSeries> {
        let mut all = leaf.series.iter().filter_map(|id| self.0.get(id));
        let (window, rule, values) = all.next()?;
        let mut values = values.clone();
        for (older, _, more) in all {
            let slots = Arc::make_mut(&mut values);
            let (start_s, step_s, more) = if older.step_s < window.step_s && window.step_s % older.step_s == 0 {
                let (factor, method) = (rule.x_files_factor, rule.method);
                let (start_s, coarse) = roll_up(older.start_s, older.step_s, more, window.step_s, method, factor);
                (start_s, window.step_s, Arc::new(coarse))
            } else {
                (older.start_s, older.step_s, more.clone())
            };
            for (i, &value) in more.iter().enumerate().filter(|(_, v)| !v.is_nan()) {
                let at = (start_s + i as i64 * step_s - window.start_s).div_euclid(window.step_s);
                if let Some(slot) = usize::try_from(at).ok().and_then(|at| slots.get_mut(at))
                    && slot.is_nan()
                {
                    *slot = value;
                }
            }
        }
        let &Window { start_s, end_s, step_s, .. } = window;
        Some(RawSeries { name: leaf.name.to_string(), tags: None, start_s, end_s, step_s, values })
    }
}
