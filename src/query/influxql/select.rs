//! SELECT: series to groups, groups to calls, calls to rows.
//!
//! In order, for each name of a measurement: the index gives the series that the condition on tags leaves; they fall
//! into groups by the tags of GROUP BY; the points of as many groups as make a batch are read with one scan; each call
//! makes points of each group; the points of all calls of a group are put side by side, and the fields are computed
//! from them column by column.
//!
//! Functions that fold ([`super::aggregate::fold`]) take a series' points as they come and keep nothing of them. For others the points
//! of a group are kept until the group is complete.
//!
//! A subquery runs first; its rows are series like others, one per combination of tags.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use rhythmite_engine::Snapshot;
use rhythmite_engine::registry::{Slot, TagExpr, TagTest, key};
use rhythmite_influx::influxql::{Compiled, Mistakes, Source, TIME_MAX_NS};
use rhythmite_model::{KeyKind, TableId};

use super::brief;
use super::column::Col;
use super::condition::{Residual, split};
use super::context::{Context, Request};
use super::failure::{Failure, Result};
use super::frame::{Series, Stream};
use super::group::Reader;
use super::plan::{Around, GroupPage, Plan, visible_columns};
use super::points::limited;
use super::read::{Member, Members};
use super::source::{PATH_TAG, reads_tag, tables};
use super::tier::by_sketches;
use super::transform::Transform;
use super::types;
use super::value::Value;

/// Series whose points are read together, unless one group has more,
const BATCH_SERIES: usize = 512;
/// or, where nothing is kept of a point that was folded, as many as have so many results, some 100 bytes each.
const BATCH_RESULTS: u64 = 128 * 1024;

/// The rows of one series of an answer, or of a subquery.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) name: Arc<str>,
    /// Keys and values of the tags grouped by, in order of the keys.
    pub(super) tags: Tags,
    /// In the order of the answer.
    pub(super) times_ns: Vec<i64>,
    /// One per field, then one per tag of `top` and `bottom`.
    pub(super) columns: Vec<Col>,
    /// The next rows given out are of the same series.
    pub(super) more: bool,
}

/// Keys and values of a series' tags.
pub(super) type Tags = Arc<[(String, String)]>;

/// Takes rows as they are ready.
pub(super) type Emit<'e> = dyn FnMut(Rows) -> Result<()> + 'e;

/// One SELECT, with what belongs to the request.
pub(super) struct Select<'a> {
    pub(super) context: &'a Context,
    pub(super) request: &'a Request,
    pub(super) snapshot: Snapshot,
    /// Series read so far, all subqueries together.
    pub(super) series_read: RefCell<u64>,
    /// Values held now, all subqueries together.
    pub(super) held: Cell<u64>,
}

/// One name's series, ready to be read.
enum Input {
    Table(TableId),
    /// Of a subquery, with the names of the columns; `true` if calls made them.
    Rows(Vec<Rows>, Vec<String>, bool),
}

impl<'a> Select<'a> {
    /// A SELECT over the points there are now.
    pub(super) fn new(context: &'a Context, request: &'a Request) -> Self {
        let snapshot = context.engine.snapshot();
        let snapshot = if request.briefly { snapshot.at_hand() } else { snapshot };
        Self { context, request, snapshot, series_read: RefCell::new(0), held: Cell::new(0) }
    }

    /// Fails when the query has to stop.
    pub(super) fn check(&self) -> Result<()> {
        match self.request.interrupt.reason(&*self.context.clock) {
            Some(reason) => Err(Failure::new(reason)),
            None => Ok(()),
        }
    }

    /// Takes `values` from what the statement may hold, before they are made.
    pub(super) fn hold(&self, values: u64) -> Result<()> {
        let limit = self.context.limits.values_max;
        let held = self.held.get().saturating_add(values);
        if self.request.briefly && held > brief::VALUES_MAX {
            return Err(brief::too_long());
        }
        if limit > 0 && held > limit {
            self.context.counters.query_refused_memory.one();
            return Err(Failure::new(format!(
                "the query would hold more than {limit} values ([query] max_select_values): ask for less time, fewer \
                 series or longer windows"
            )));
        }
        self.held.set(held);
        Ok(())
    }

    /// Gives back what [`hold`](Self::hold) took.
    pub(super) fn release(&self, values: u64) {
        self.held.set(self.held.get().saturating_sub(values));
    }

    pub(super) fn stopped(&self) -> bool {
        self.request.interrupt.reason(&*self.context.clock).is_some()
    }

    /// Runs a statement. The rows of a series may come in parts, see [`Rows::more`].
    pub(super) fn run(&self, compiled: &Compiled, emit: &mut Emit<'_>) -> Result<()> {
        self.run_within(compiled, None, (compiled.min_ns, compiled.max_ns), emit)
    }

    /// Runs a statement, perhaps within others; `range` are the times they read.
    fn run_within(
        &self,
        compiled: &Compiled,
        around: Option<&Around>,
        range: (i64, i64),
        emit: &mut Emit<'_>,
    ) -> Result<()> {
        let mut plan = Plan::new(compiled, around, range);
        plan.in_parts = around.is_none();
        if plan.reads_nothing() {
            return Ok(());
        }
        let mut inputs: BTreeMap<String, Vec<Input>> = BTreeMap::new();
        let mut subqueries = compiled.subqueries.iter();
        for source in &compiled.statement.sources {
            match source {
                Source::Measurement(measurement) => {
                    for (name, found) in tables(measurement, self.context, self.request)? {
                        inputs.entry(name).or_default().extend(found.into_iter().map(Input::Table));
                    }
                }
                Source::Subquery(_) => {
                    let Some(subquery) = subqueries.next() else { continue };
                    self.subquery(&plan, subquery, &mut inputs)?;
                }
            }
        }
        let stored = inputs.values().flatten().filter_map(|input| match input {
            Input::Table(table) => Some(*table),
            Input::Rows(..) => None,
        });
        let stored: Vec<TableId> = stored.collect();
        let count: usize = inputs.values().map(Vec::len).sum();
        if !stored.is_empty() && stored.len() == count {
            by_sketches(self, &mut plan, &stored);
        }
        let inputs: Vec<_> =
            if compiled.ascending { inputs.into_iter().collect() } else { inputs.into_iter().rev().collect() };
        for (name, inputs) in inputs {
            self.measurement(&plan, &name.into(), inputs, emit)?;
        }
        Ok(())
    }

    fn subquery(&self, plan: &Plan<'_>, subquery: &Compiled, inputs: &mut BTreeMap<String, Vec<Input>>) -> Result<()> {
        // What the outer statement reads beyond its bounds, a subquery without bounds of its own gives.
        let widest = plan.widest();
        let own = subquery.own_range;
        let min = own.min_ns.map_or(widest.0, |min| min.max(widest.0));
        let max = match own.max_ns.map_or(widest.1, |max| max.min(widest.1)) {
            TIME_MAX_NS if subquery.window.is_some() && !subquery.window_inherited => subquery.max_ns,
            max => max,
        };
        let mut found: BTreeMap<String, Vec<Rows>> = BTreeMap::new();
        let around = Around { dimensions: plan.dimensions.clone(), pages: plan.pages.clone(), bounds: plan.bounds };
        self.run_within(subquery, Some(&around), (min, max), &mut |rows| {
            self.hold((rows.times_ns.len() * (1 + rows.columns.len())) as u64)?;
            found.entry(rows.name.to_string()).or_default().push(rows);
            Ok(())
        })?;
        let columns = visible_columns(subquery);
        for (name, mut rows) in found {
            // In the order of series, whatever the order of the answer.
            rows.sort_by(|a, b| a.tags.cmp(&b.tags));
            inputs.entry(name).or_default().push(Input::Rows(rows, columns.clone(), makes_rows(subquery)));
        }
        Ok(())
    }

    fn measurement(&self, plan: &Plan<'_>, name: &Arc<str>, inputs: Vec<Input>, emit: &mut Emit<'_>) -> Result<()> {
        let (condition, residual) = split(plan.compiled.statement.condition.as_ref(), plan.compiled.mistakes);
        // Groups by the values of the dimensions; each series by where it is.
        let mut groups: BTreeMap<Vec<String>, Vec<Member>> = BTreeMap::new();
        let mut rows_of: Vec<Vec<Series>> = Vec::new();
        for input in inputs {
            match input {
                Input::Table(table) => {
                    let directory = self.context.engine.registry().read();
                    let Some(kind) = directory.table(table).map(|t| t.kind()) else { continue };
                    // Paths have no postings under the tag that names them: their conditions are tried one by one.
                    let set = match kind {
                        KeyKind::Tagged => directory.select(table, &condition)?,
                        KeyKind::Path => directory.series(table),
                    };
                    if self.request.briefly && set.len() > brief::SERIES_MAX {
                        return Err(brief::too_long());
                    }
                    // PERF: a million series are grouped without a text of their own where nothing asks for their tags.
                    let untested = kind == KeyKind::Tagged || matches!(condition, TagExpr::All);
                    let bare = untested && !reads_tags(plan, residual.as_ref());
                    let none: Tags = Arc::default();
                    let mut key: Vec<String> = Vec::new();
                    for at in directory_slots(&directory, table, &set, plan.keeps_series()) {
                        let text = directory.key(at);
                        let mut tags = none.clone();
                        if bare {
                            dimension_values(kind, text, &plan.dimensions, &mut key);
                        } else {
                            let own = series_tags(kind, text);
                            if kind == KeyKind::Path && !passes(&condition, &own) {
                                continue;
                            }
                            key.clear();
                            key.extend(plan.dimensions.iter().map(|dim| tag_of(&own, dim).to_owned()));
                            tags = own.into();
                        }
                        let member = Member::Stored(table, directory.series_id(at), tags);
                        match groups.get_mut(&key) {
                            Some(members) => members.push(member),
                            None => drop(groups.insert(key.clone(), vec![member])),
                        }
                    }
                }
                Input::Rows(rows, columns, made) => {
                    let mut series = Vec::new();
                    for rows in rows {
                        let key = plan.dimensions.iter().map(|dim| tag_of(&rows.tags, dim).to_owned()).collect();
                        groups.entry(key).or_default().push(Member::Made(rows_of.len(), series.len()));
                        series.push(as_series(rows, &columns, plan.compiled.ascending, made));
                    }
                    rows_of.push(series);
                }
            }
        }
        let statement = &plan.compiled.statement;
        self.page(plan, &mut groups);
        let mut groups: Vec<_> = groups.into_iter().collect();
        self.count_series(&groups)?;
        types::check(self, plan, &groups)?;
        // The areas of all of time are known last, and come out in the opposite order.
        let integral = plan.windows.is_one()
            && matches!(plan.calls.as_slice(), [only] if only.call.name == "integral")
            && plan.compiled.mistakes == Mistakes::Kept;
        if plan.compiled.ascending == integral {
            groups.reverse();
        }
        // A condition over rows of a subquery is asked of each; the index has answered for stored series.
        let whole = statement.condition.as_ref().map(|condition| Residual::of_rows(condition, plan.compiled.mistakes));
        let reader = Reader { select: self, plan, name, residual: residual.as_ref(), whole: whole.as_ref() };
        // PERF: groups are in the order of their texts, series in files in that of their making: the more are read together, the
        // fewer pages are read twice.
        let together = match plan.windows.count(plan.range) {
            Some(windows) if reader.folds_bare() && plan.limit == 0 => {
                let results = windows.saturating_mul(plan.calls.len() as u64).max(1);
                usize::try_from(BATCH_RESULTS / results).unwrap_or(usize::MAX).max(BATCH_SERIES)
            }
            _ => BATCH_SERIES,
        };
        let mut batch: Vec<Members> = Vec::new();
        let mut size = 0;
        let mut groups = groups.into_iter().peekable();
        while let Some(group) = groups.next() {
            size += group.1.len();
            batch.push(group);
            if size >= together || groups.peek().is_none() {
                reader.batch(std::mem::take(&mut batch), &rows_of, emit)?;
                size = 0;
            }
        }
        Ok(())
    }

    /// Leaves the stored series of the groups that SLIMIT and SOFFSET name. Of subqueries they have left them already.
    fn page(&self, plan: &Plan<'_>, groups: &mut BTreeMap<Vec<String>, Vec<Member>>) {
        let GroupPage { dimensions, limit, offset } = &plan.pages;
        if *limit == 0 && *offset == 0 {
            return;
        }
        let is_stored = |member: &Member| matches!(member, Member::Stored(..));
        let order = |key: &[String]| {
            let values = plan.dimensions.iter().zip(key).filter(|(key, _)| dimensions.binary_search(key).is_ok());
            group_order(values)
        };
        let mut shown: Vec<Vec<u8>> =
            groups.iter().filter(|(_, all)| all.iter().any(is_stored)).map(|(key, _)| order(key)).collect();
        shown.sort();
        shown.dedup();
        // A SOFFSET without SLIMIT leaves nothing in 1.x.
        let kept = match plan.compiled.mistakes {
            Mistakes::Kept if *limit == 0 => 0..0,
            _ => limited(shown.len(), *limit, *offset),
        };
        let kept = &shown[kept];
        groups.retain(|key, all| {
            all.retain(|member| !is_stored(member) || kept.binary_search(&order(key)).is_ok());
            !all.is_empty()
        });
    }

    fn count_series(&self, groups: &[(Vec<String>, Vec<Member>)]) -> Result<()> {
        let limit = self.context.limits.select_series_max;
        let stored = groups.iter().flat_map(|g| &g.1).filter(|m| matches!(m, Member::Stored(..))).count() as u64;
        let mut read = self.series_read.borrow_mut();
        *read += stored;
        if limit > 0 && *read > limit {
            return Err(Failure::new(format!("max-select-series limit exceeded: ({}/{limit})", limit + 1)));
        }
        Ok(())
    }
}

impl Rows {
    /// Takes the columns given out as tags: one series for each combination of their values.
    pub(super) fn split(mut self, tag_columns: Vec<(usize, String)>) -> Vec<Rows> {
        if tag_columns.is_empty() {
            return vec![self];
        }
        let taken = self.columns.split_off(tag_columns[0].0);
        let mut by_tags: BTreeMap<Vec<(String, String)>, Vec<u32>> = BTreeMap::new();
        for row in 0..self.times_ns.len() {
            let mut tags = self.tags.to_vec();
            for ((_, key), col) in tag_columns.iter().zip(&taken) {
                if let Value::String(value) = col.value(row)
                    && !tags.iter().any(|(known, _)| known == key)
                {
                    tags.push((key.clone(), value.to_string()));
                }
            }
            tags.sort();
            by_tags.entry(tags).or_default().push(row as u32);
        }
        let part = |(tags, rows): (Vec<(String, String)>, Vec<u32>)| Rows {
            name: self.name.clone(),
            tags: tags.into(),
            times_ns: rows.iter().map(|row| self.times_ns[*row as usize]).collect(),
            columns: self.columns.iter().map(|col| col.gather(&rows)).collect(),
            more: false,
        };
        by_tags.into_iter().map(part).collect()
    }
}

/// Whether calls put several points together, so that the rows are no longer in the order of points.
fn makes_rows(subquery: &Compiled) -> bool {
    let every_ns = subquery.window.map_or(0, |window| window.every_ns);
    subquery.calls.iter().any(|call| Transform::of(call, every_ns).is_none())
}

/// Rows of a subquery as a series, ascending.
fn as_series(rows: Rows, columns: &[String], ascending: bool, made: bool) -> Series {
    let mut times_ns = rows.times_ns;
    let mut values = rows.columns;
    if !ascending {
        times_ns.reverse();
        values.iter_mut().for_each(|col| *col = col.reversed());
    }
    let times_ns = Arc::new(times_ns);
    let streams = columns.iter().zip(values).map(|(name, values)| Stream {
        name: name.as_str().into(),
        times_ns: times_ns.clone(),
        values: Arc::new(values),
    });
    Series { tags: rows.tags, streams: streams.collect(), rows_ns: Some(times_ns), made }
}

/// The series of a set, in the order of their keys where that matters.
fn directory_slots(
    directory: &rhythmite_engine::registry::Directory,
    table: TableId,
    set: &roaring::RoaringBitmap,
    ordered: bool,
) -> Vec<Slot> {
    if ordered { directory.series_by_key(table, Some(set)) } else { set.iter().map(Slot).collect() }
}

/// Whether a value of a tag is asked for beside the dimensions.
fn reads_tags(plan: &Plan<'_>, residual: Option<&Residual>) -> bool {
    let conditions = residual.into_iter().flat_map(|residual| &residual.columns);
    plan.aux.iter().chain(conditions).any(|var| reads_tag(var.data_type))
}

/// The values that a series has of the dimensions, which are sorted; empty texts where it has none.
fn dimension_values(kind: KeyKind, text: &str, dimensions: &[String], values: &mut Vec<String>) {
    values.resize_with(dimensions.len(), String::new);
    values.iter_mut().for_each(String::clear);
    if dimensions.is_empty() {
        return;
    }
    let path = (kind == KeyKind::Path).then_some((PATH_TAG.into(), text.into()));
    for (key, value) in key::tags(kind, text).chain(path) {
        if let Ok(at) = dimensions.binary_search_by(|dimension| dimension.as_str().cmp(&key)) {
            // Of a path that has a tag of that name, the tag.
            if values[at].is_empty() {
                values[at].push_str(&value);
            }
        }
    }
}

/// The tags of a series; of a Graphite series its path too.
pub(super) fn series_tags(kind: KeyKind, text: &str) -> Vec<(String, String)> {
    let mut tags: Vec<(String, String)> =
        key::tags(kind, text).map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    if kind == KeyKind::Path {
        tags.push((PATH_TAG.to_owned(), text.to_owned()));
    }
    tags
}

/// What 1.x counts groups by: the keys that have a value, then the values.
fn group_order<'t>(values: impl Iterator<Item = (&'t String, &'t String)> + Clone) -> Vec<u8> {
    let present = values.filter(|(_, value)| !value.is_empty());
    let texts = present.clone().map(|(key, _)| key).chain(present.map(|(_, value)| value));
    let mut order = Vec::new();
    for text in texts {
        if !order.is_empty() {
            order.push(b'|');
        }
        order.extend_from_slice(text.as_bytes());
    }
    order
}

fn tag_of<'t>(tags: &'t [(String, String)], key: &str) -> &'t str {
    tags.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value)
}

/// Whether a condition on tags holds for a series, asked of the series itself.
pub(super) fn passes(condition: &TagExpr, tags: &[(String, String)]) -> bool {
    match condition {
        TagExpr::All => true,
        TagExpr::Tag(key, TagTest::Is(value)) => tag_of(tags, key) == value,
        TagExpr::Tag(key, TagTest::Like(test)) => test(tag_of(tags, key)),
        TagExpr::Not(inner) => !passes(inner, tags),
        TagExpr::And(all) => all.iter().all(|inner| passes(inner, tags)),
        TagExpr::Or(any) => any.iter().any(|inner| passes(inner, tags)),
    }
}
