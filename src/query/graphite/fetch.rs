//! Answers fetches: patterns to series, series to slots.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rhythmite_engine::registry::{Directory, Slot, Want};
use rhythmite_engine::{Engine, RollupsOf, SeriesFilter, SeriesPieces, Snapshot};
use rhythmite_env::CpuPool;
use rhythmite_graphite::series::{AggFunc, Fold, roll_up};
use rhythmite_graphite::{Fetch, FetchRequest, Folded, Query, RawSeries};
use rhythmite_model::{Aggregates, Column, Error, FieldId, Policy, Result, SeriesId, TableId, Tier};
use serde::Serialize;

use super::find::{find, find_tagged};
use super::rollup::{Rule, raw_from_s};
use super::slots::{fill, place};
use super::window::{Window, window};
use super::{Limits, Patience};
use crate::catalog::Events;
use crate::ingest::paths::FIELD;

const SECOND_NS: i64 = 1_000_000_000;

/// Reads for one render request: all rounds see the same points.
pub struct Fetcher {
    engine: Engine,
    pub(super) snapshot: Snapshot,
    limits: Limits,
    pub(super) patience: Patience,
    /// Values read so far that the request holds, gaps included.
    pub(super) held: usize,
    /// Values read so far that it does not hold.
    pub(super) read: usize,
    /// Series found so far, by all patterns.
    pub(super) series: usize,
    cpu: Option<Arc<CpuPool>>,
    events: Option<Events>,
    notes: Vec<Note>,
}

/// Slots that one thread fills at a time: a few milliseconds of work. Few in tests, which then have many parts.
const PART_SLOTS: usize = if cfg!(test) { 10_000 } else { 256 * 1024 };

/// Fetches of one request that are noted.
const NOTES_MAX: usize = 100;

/// How a fetch was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The pattern, or the tag expressions.
    pub query: String,
    /// The range asked for.
    pub from: i64,
    /// See `from`.
    pub until: i64,
    /// The levels that answered, finest 0, and their steps in seconds.
    pub tiers: Vec<(u8, i64)>,
    /// Series found.
    pub series: usize,
    /// Values read, gaps included.
    pub points: usize,
}

impl Fetcher {
    /// A reader of what is in `engine` now.
    pub fn new(engine: &Engine, limits: Limits, patience: Patience) -> Self {
        let (engine, snapshot) = (engine.clone(), engine.snapshot());
        let (held, read, series) = (0, 0, 0);
        Self { engine, snapshot, limits, patience, held, read, series, cpu: None, events: None, notes: Vec::new() }
    }

    /// How the first fetches were answered.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// Values read so far, gaps included.
    pub fn points(&self) -> usize {
        self.held + self.read
    }

    /// The same, with threads that help where there is much to read. The caller is on one of them.
    pub fn with_cpu(self, cpu: Arc<CpuPool>) -> Self {
        Self { cpu: Some(cpu), ..self }
    }

    /// The same, with events for `events()`; without them there are none.
    pub fn with_events(self, events: Events) -> Self {
        Self { events: Some(events), ..self }
    }
}

/// One path that a request found: its current series, then the older ones of other policies.
pub(super) struct Leaf {
    pub(super) name: Arc<str>,
    pub(super) series: Vec<SeriesId>,
}

/// A series' slots.
pub(super) struct Answer {
    pub(super) window: Window,
    pub(super) rule: Rule,
    pub(super) values: Vec<f64>,
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
            self.read(&mut reads, range.2)?;
            let done = reads.finish();
            for (i, leaves) in members.into_iter().zip(found) {
                let windows = leaves.iter().flat_map(|leaf| &leaf.series).filter_map(|id| done.0.get(id));
                self.note(&requests[i], leaves.len(), windows.map(|(window, ..)| window));
                answers[i] = match &requests[i].query {
                    Query::Events(tags) => self.events(tags, range)?,
                    _ => leaves.iter().filter_map(|leaf| done.join(leaf)).collect(),
                };
            }
        }
        Ok(answers)
    }

    fn fold(&mut self, request: &FetchRequest, func: AggFunc) -> Result<Option<Folded>> {
        self.folded(request, func)
    }
}

impl Fetcher {
    /// The paths that a query means; their series are noted in `reads`.
    pub(super) fn find(&mut self, query: &Query, range: Range, reads: &mut Reads) -> Result<Vec<Leaf>> {
        let limit = self.limits.series_max.min(self.limits.nodes_max.saturating_sub(self.series));
        let names = self.engine.registry().read();
        let (slots, pattern) = match query {
            Query::Path(pattern) => (find(&names, pattern, Want::Leaves, limit)?.leaves, pattern.clone()),
            Query::Tags(expressions) => (find_tagged(&names, expressions, limit)?, expressions.join(", ")),
            Query::Events(_) => return Ok(Vec::new()),
        };
        self.series += slots.len();
        let mut leaves = Vec::with_capacity(slots.len());
        for slot in slots {
            let all = std::iter::once(slot).chain(names.older_series(slot));
            let series = all.filter_map(|slot| {
                let (id, slots) = reads.add(&self.engine, &names, slot, range)?;
                self.held += slots;
                Some(id)
            });
            leaves.push(Leaf { series: series.collect(), name: names.key(slot).into() });
            if self.held > self.limits.points_max {
                let max = self.limits.points_max;
                return Err(Error::invalid(format!("{pattern}: the request reads more than {max} points")));
            }
        }
        Ok(leaves)
    }

    /// One series that counts events, with a step of a second; none without a store of them.
    fn events(&mut self, tags: &[String], (from_s, until_s, _): Range) -> Result<Vec<RawSeries>> {
        let Some(events) = &self.events else { return Ok(Vec::new()) };
        let slots = usize::try_from(until_s - from_s).unwrap_or(0);
        self.held += slots;
        if self.held > self.limits.points_max {
            return Err(Error::invalid(format!(
                "events: the request reads more than {} points",
                self.limits.points_max
            )));
        }
        let tags = Some(tags.to_vec()).filter(|tags| !tags.is_empty());
        let mut values = vec![f64::NAN; slots];
        for (second, count) in events.count_by_second(tags, from_s, until_s)? {
            if let Some(value) = usize::try_from(second - from_s).ok().and_then(|at| values.get_mut(at)) {
                *value = count as f64;
            }
        }
        let (name, values) = ("events".to_owned(), Arc::new(values));
        Ok(vec![RawSeries { name, tags: None, start_s: from_s, end_s: until_s, step_s: 1, values }])
    }

    /// Notes how a request was answered, if it is one of the first.
    pub(super) fn note<'a>(
        &mut self,
        request: &FetchRequest,
        series: usize,
        windows: impl Iterator<Item = &'a Window> + Clone,
    ) {
        if self.notes.len() >= NOTES_MAX {
            return;
        }
        let query = match &request.query {
            Query::Path(pattern) => pattern.clone(),
            Query::Tags(expressions) => expressions.join(", "),
            Query::Events(tags) => format!("events {}", tags.join(", ")),
        };
        let tiers: BTreeSet<(u8, i64)> = windows.clone().map(|w| (w.tier.0, w.step_s)).collect();
        let (tiers, points) = (tiers.into_iter().collect(), windows.map(Window::slots).sum());
        self.notes.push(Note { query, from: request.from_s, until: request.until_s, tiers, series, points });
    }

    /// Works on parts, on as many threads as are free.
    ///
    /// # Errors
    /// The first part's that has one.
    pub(super) fn share<P: Send + 'static, T: Send + 'static>(
        &self,
        parts: Vec<P>,
        work: impl Fn(P) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        match &self.cpu {
            Some(cpu) => cpu.share(parts, work).into_iter().map(|part| part?).collect(),
            None => parts.into_iter().map(work).collect(),
        }
    }

    /// Fills the slots of all series, on as many threads as are free.
    fn read(&self, reads: &mut Reads, now_s: i64) -> Result<()> {
        let mut parts = Vec::new();
        for (&table, group) in &mut reads.tables {
            let (window, field, policy) = (group.window, group.field, group.policy.clone());
            let mut series = std::mem::take(&mut group.series).into_iter().peekable();
            let per_part = (PART_SLOTS / window.slots().max(1)).max(1);
            while series.peek().is_some() {
                let series = series.by_ref().take(per_part).collect();
                parts.push(Part { table, window, policy: policy.clone(), now_s, field, series });
            }
        }
        let reading = Reading { scans: parts.len(), slots: parts.iter().map(Part::slots).sum() };
        let (snapshot, patience) = (self.snapshot.clone(), self.patience.clone());
        for part in self.share(parts, move |part: Part| part.read(&snapshot, &patience, reading))? {
            if let Some(group) = reads.tables.get_mut(&part.table) {
                group.series.extend(part.series);
            }
        }
        Ok(())
    }
}

/// Some series of one table.
pub(super) struct Part {
    pub(super) table: TableId,
    pub(super) window: Window,
    pub(super) policy: Arc<Policy>,
    /// Whose `now` it is.
    pub(super) now_s: i64,
    pub(super) field: FieldId,
    /// Ascending.
    pub(super) series: Vec<(SeriesId, Answer)>,
}

/// All that is read for one request at a time.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// Parts, each of which is scanned by itself.
    pub(super) scans: usize,
    /// Of all series together.
    pub(super) slots: usize,
}

impl Reading {
    /// Of the points of full slots.
    fn bytes(self) -> usize {
        self.slots.saturating_mul(size_of::<(i64, f64)>())
    }
}

impl Part {
    /// Of all its series together.
    pub(super) fn slots(&self) -> usize {
        self.series.len() * self.window.slots()
    }

    /// Fills the slots.
    pub(super) fn read(mut self, snapshot: &Snapshot, patience: &Patience, reading: Reading) -> Result<Self> {
        let window = self.window;
        self.series.iter_mut().for_each(|(_, a)| a.values.clear());
        self.series.iter_mut().for_each(|(_, a)| a.values.resize(window.slots(), f64::NAN));
        let ids = self.series.iter().map(|(id, _)| *id).collect();
        self.scan(snapshot, patience, ids, reading)?;
        if window.tier == Tier::RAW {
            return Ok(self);
        }
        // Live slots of a coarser level are rolled up from the finest one.
        let live = |a: &Answer| a.rule.live_from_s(&window).filter(|_| window.step_s % a.rule.fine_step_s == 0);
        let ids: Vec<SeriesId> = self.series.iter().filter(|(_, a)| live(a).is_some()).map(|(id, _)| *id).collect();
        let Some(from_s) = self.series.iter().filter_map(|(_, a)| live(a)).min() else { return Ok(self) };
        let raw_from_s = raw_from_s(&self.policy.levels, self.now_s);
        let scan = snapshot.rollups(RollupsOf {
            policy: &self.policy,
            table: self.table,
            level: window.tier,
            series: &SeriesFilter::List(ids.into()),
            fields: Some([self.field].into()),
            aggregates: self.series.iter().fold(Aggregates::NONE, |all, (_, a)| all.and(a.rule.aggregates())),
            times_ns: from_s.saturating_mul(SECOND_NS)..=window.end_s.saturating_mul(SECOND_NS).saturating_sub(1),
        });
        let mut series = self.series.iter_mut().peekable();
        for points in unless_gone(scan)?.into_iter().flatten() {
            let points = points?;
            patience.check()?;
            // Both ascend.
            while series.next_if(|(id, _)| *id < points.series).is_some() {}
            let Some((_, Answer { rule, values, .. })) = series.next_if(|(id, _)| *id == points.series) else {
                continue;
            };
            rule.apply(&window, raw_from_s, (self.field, &points.streams), values);
        }
        Ok(self)
    }

    /// Adds the points of the window's level to an aggregate, in the order of the series' ids.
    pub(super) fn fold(
        self,
        snapshot: &Snapshot,
        patience: &Patience,
        reading: Reading,
        fold: &mut Fold,
    ) -> Result<()> {
        let (ids, fields) = (self.series.iter().map(|(id, _)| *id).collect(), Some([self.field].into()));
        let scan = snapshot.scan(self.table, self.window.tier, SeriesFilter::List(ids), fields, self.window.times_ns());
        let Some(scan) = unless_gone(scan)? else {
            fold.add_unknown(self.series.len());
            return Ok(());
        };
        let (mut scan, mut points, mut seen) =
            (scan.one_of(reading.scans).of_bytes(reading.bytes()), SeriesPieces::room(), 0);
        while scan.next_into(&mut points)? {
            patience.check()?;
            let mut column = fold.column();
            seen += 1;
            for stretch in points.streams().flat_map(|(_, stretches)| stretches) {
                let Column::Float(values) = stretch.values else { continue };
                let rows = stretch.rows;
                column.add(place(&self.window, &stretch.times_ns[rows.clone()], &values[rows]));
            }
        }
        fold.add_unknown(self.series.len().saturating_sub(seen));
        Ok(())
    }

    /// Fills the slots with the points of the window's level.
    fn scan(&mut self, snapshot: &Snapshot, patience: &Patience, ids: Arc<[SeriesId]>, reading: Reading) -> Result<()> {
        let window = self.window;
        let fields = Some([self.field].into());
        let scan = snapshot.scan(self.table, window.tier, SeriesFilter::List(ids), fields, window.times_ns());
        let Some(scan) = unless_gone(scan)? else { return Ok(()) };
        let mut scan = scan.one_of(reading.scans).of_bytes(reading.bytes());
        let mut series = self.series.iter_mut().peekable();
        while let Some(points) = scan.next_pieces()? {
            patience.check()?;
            // Both ascend.
            while series.next_if(|(id, _)| *id < points.series()).is_some() {}
            let Some((_, answer)) = series.next_if(|(id, _)| *id == points.series()) else { continue };
            for stretch in points.streams().flat_map(|(_, stretches)| stretches) {
                let Column::Float(values) = stretch.values else { continue };
                let rows = stretch.rows;
                fill(&window, &stretch.times_ns[rows.clone()], &values[rows], &mut answer.values);
            }
        }
        Ok(())
    }
}

/// A table that was dropped meanwhile has no points.
pub(super) fn unless_gone<T>(scan: Result<T>) -> Result<Option<T>> {
    match scan {
        Err(e) if e.kind() == rhythmite_model::ErrorKind::NotFound => Ok(None),
        scan => scan.map(Some),
    }
}

/// Series of one table, all with the same window since they share a policy.
pub(super) struct Group {
    pub(super) window: Window,
    pub(super) policy: Arc<Policy>,
    pub(super) field: FieldId,
    pub(super) series: BTreeMap<SeriesId, Answer>,
}

/// What one range needs of the store.
#[derive(Default)]
pub(super) struct Reads {
    pub(super) tables: BTreeMap<TableId, Group>,
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
                place.insert(Group { window, policy: policy.clone(), field, series: BTreeMap::new() })
            }
        };
        let window = group.window;
        let mut new = 0;
        group.series.entry(id).or_insert_with(|| {
            new = window.slots();
            Answer { window, rule: Rule::of(&policy.levels, names.rollup(slot)), values: Vec::new() }
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
