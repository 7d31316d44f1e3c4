//! SELECT: series to groups, groups to calls, calls to rows.
//!
//! In order, for each name of a measurement: the index gives the series that the condition on tags leaves; they fall
//! into groups by the tags of GROUP BY; the points of as many groups as make a batch are read with one scan; each call
//! makes points of each group; the points of all calls of a group are put side by side, and the fields are computed
//! from them column by column.
//!
//! Functions that fold ([`Folded`]) take a series' points as they come and keep nothing of them. For others the points
//! of a group are kept until the group is complete.
//!
//! A subquery runs first; its rows are series like others, one per combination of tags.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rhythmite_engine::registry::{Slot, TagExpr, TagTest, key};
use rhythmite_engine::{SeriesFilter, Snapshot};
use rhythmite_influx::influxql::{Call, Compiled, Expr, Fill, Source, TIME_MIN_NS, VarRef};
use rhythmite_model::{FieldId, FieldType, KeyKind, SeriesId, TableId, Tier};

use super::aggregate::fold::{Fold, Folded};
use super::aggregate::integral::integral;
use super::aggregate::top::Top;
use super::aggregate::whole::{Whole, count, iterator_name};
use super::column::Col;
use super::condition::{Residual, is_tag, slot, split};
use super::context::{Context, Request};
use super::eval::{Dividing, Node};
use super::failure::{Failure, Result};
use super::frame::{Frame, FramePlan, Series, Stream};
use super::order::merge;
use super::points::{Filling, Points, limited};
use super::source::{PATH_TAG, reads_tag, tables};
use super::transform::Transform;
use super::value::{Value, field_type};
use super::window::Windows;

/// Series whose points are read together, unless one group has more.
const BATCH_SERIES: usize = 512;

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
}

/// Keys and values of a series' tags.
type Tags = Arc<[(String, String)]>;

/// Takes rows as they are ready.
pub(super) type Emit<'e> = dyn FnMut(Rows) -> Result<()> + 'e;

/// One SELECT, with what belongs to the request.
pub(super) struct Select<'a> {
    pub(super) context: &'a Context,
    pub(super) request: &'a Request,
    pub(super) snapshot: Snapshot,
    /// Series read so far, all subqueries together.
    pub(super) series_read: RefCell<u64>,
}

/// What a statement asks of each group.
struct Plan<'c> {
    compiled: &'c Compiled,
    /// The keys grouped by, sorted: those of the statement and those of the statements around it.
    dimensions: Vec<String>,
    windows: Windows,
    range: (i64, i64),
    calls: Vec<PlannedCall<'c>>,
    aux: Vec<VarRef>,
    fields: Vec<Node>,
    field_types: Vec<FieldType>,
    /// The rows take the times of the points that the only call selects.
    selector: bool,
    limit: u64,
    offset: u64,
    /// Columns that become tags of what is written: those that `top` and `bottom` keep apart, after the fields.
    tag_columns: Vec<(usize, String)>,
}

struct PlannedCall<'c> {
    call: &'c Call,
    leaf: Leaf<'c>,
}

/// Where a call begins: the field it reads and the function that reads it.
struct Leaf<'c> {
    driver: &'c VarRef,
    /// The innermost call.
    call: &'c Call,
    fold: Option<Fold>,
    range: (i64, i64),
}

/// What is known of one group.
struct Group {
    tags: Tags,
    folded: Vec<Option<Folded>>,
    series: Vec<Series>,
}

/// One name's series, ready to be read.
enum Input {
    Table(TableId),
    /// Of a subquery, with the names of the columns; `true` if calls made them.
    Rows(Vec<Rows>, Vec<String>, bool),
}

impl Select<'_> {
    /// Fails when the query has to stop.
    pub(super) fn check(&self) -> Result<()> {
        match self.request.interrupt.reason(&*self.context.clock) {
            Some(reason) => Err(Failure::new(reason)),
            None => Ok(()),
        }
    }

    fn stopped(&self) -> bool {
        self.request.interrupt.reason(&*self.context.clock).is_some()
    }

    /// Runs a statement. `around` are the dimensions of the statements around it, `range` the times they read.
    pub(super) fn run(
        &self,
        compiled: &Compiled,
        around: &[String],
        range: (i64, i64),
        emit: &mut Emit<'_>,
    ) -> Result<()> {
        let plan = Plan::new(compiled, around, range);
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
        let inputs: Vec<_> =
            if compiled.ascending { inputs.into_iter().collect() } else { inputs.into_iter().rev().collect() };
        for (name, inputs) in inputs {
            self.measurement(&plan, &name.into(), inputs, emit)?;
        }
        Ok(())
    }

    fn subquery(&self, plan: &Plan<'_>, subquery: &Compiled, inputs: &mut BTreeMap<String, Vec<Input>>) -> Result<()> {
        // What the outer statement reads beyond its bounds, a subquery with the same bounds gives.
        let widest = plan.widest();
        let min = if subquery.min_ns == plan.compiled.min_ns { widest.0 } else { subquery.min_ns };
        let max = if subquery.max_ns == plan.compiled.max_ns { widest.1 } else { subquery.max_ns };
        let mut found: BTreeMap<String, Vec<Rows>> = BTreeMap::new();
        self.run(subquery, &plan.dimensions, (min, max), &mut |rows| {
            found.entry(rows.name.to_string()).or_default().push(rows);
            Ok(())
        })?;
        let columns = visible_columns(subquery);
        for (name, mut rows) in found {
            // In the order of series, whatever the order of the answer.
            rows.sort_by(|a, b| a.tags.cmp(&b.tags));
            inputs.entry(name).or_default().push(Input::Rows(rows, columns.clone(), !subquery.calls.is_empty()));
        }
        Ok(())
    }

    fn measurement(&self, plan: &Plan<'_>, name: &Arc<str>, inputs: Vec<Input>, emit: &mut Emit<'_>) -> Result<()> {
        let (condition, residual) = split(plan.compiled.statement.condition.as_ref());
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
                    for at in directory_slots(&directory, table, &set, plan.keeps_series()) {
                        let text = directory.key(at);
                        let own = series_tags(kind, text);
                        if kind == KeyKind::Path && !passes(&condition, &own) {
                            continue;
                        }
                        let key = plan.dimensions.iter().map(|dim| tag_of(&own, dim).to_owned()).collect();
                        groups.entry(key).or_default().push(Member::Stored(table, directory.series_id(at), own.into()));
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
        let kept = limited(groups.len(), statement.slimit, statement.soffset);
        let mut groups: Vec<_> = groups.into_iter().skip(kept.start).take(kept.len()).collect();
        self.count_series(&groups)?;
        if !plan.compiled.ascending {
            groups.reverse();
        }
        // A condition over rows of a subquery is asked of each; the index has answered for stored series.
        let whole = statement.condition.as_ref().map(Residual::of);
        let mut batch: Vec<(Vec<String>, Vec<Member>)> = Vec::new();
        let mut size = 0;
        let mut groups = groups.into_iter().peekable();
        while let Some(group) = groups.next() {
            size += group.1.len();
            batch.push(group);
            if size >= BATCH_SERIES || groups.peek().is_none() {
                let reader = Reader { select: self, plan, name, residual: residual.as_ref(), whole: whole.as_ref() };
                reader.batch(std::mem::take(&mut batch), &rows_of, emit)?;
                size = 0;
            }
        }
        Ok(())
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

/// A series of a group.
enum Member {
    Stored(TableId, SeriesId, Tags),
    /// Of the rows of a subquery.
    Made(usize, usize),
}

/// Group of a stored series, its place within the group, its tags.
type Place = (usize, usize, Tags);

/// Reads batches of groups of one name.
struct Reader<'r, 'a, 'c> {
    select: &'r Select<'a>,
    plan: &'r Plan<'c>,
    name: &'r Arc<str>,
    residual: Option<&'r Residual>,
    whole: Option<&'r Residual>,
}

impl Reader<'_, '_, '_> {
    fn batch(
        &self,
        groups: Vec<(Vec<String>, Vec<Member>)>,
        rows_of: &[Vec<Series>],
        emit: &mut Emit<'_>,
    ) -> Result<()> {
        let plan = self.plan;
        let mut by_table: BTreeMap<TableId, Vec<SeriesId>> = BTreeMap::new();
        let mut made: Vec<Group> = Vec::new();
        let mut places: HashMap<SeriesId, Vec<Place>> = HashMap::new();
        let mut orders: Vec<Vec<(usize, Series)>> = Vec::new();
        for (number, (key, members)) in groups.into_iter().enumerate() {
            let tags: Vec<_> = plan.dimensions.iter().cloned().zip(key).collect();
            let folded = plan.calls.iter().map(|call| call.leaf.fold.map(Folded::new)).collect();
            let mut group = Group { tags: tags.into(), folded, series: Vec::new() };
            let mut kept = Vec::new();
            for (place, member) in members.into_iter().enumerate() {
                match member {
                    Member::Stored(table, id, tags) => {
                        by_table.entry(table).or_default().push(id);
                        places.entry(id).or_default().push((number, place, tags));
                    }
                    Member::Made(list, at) => {
                        let series = &rows_of[list][at];
                        self.fold(&mut group, series, self.whole)?;
                        if plan.keeps_series() {
                            kept.push((place, series.clone()));
                        }
                    }
                }
            }
            made.push(group);
            orders.push(kept);
        }
        for (table, mut ids) in by_table {
            // A measurement named twice is read once and counts twice.
            ids.sort_unstable();
            ids.dedup();
            let names = self.fields(table);
            let wanted: Arc<[FieldId]> = names.iter().map(|(id, _)| *id).collect();
            if wanted.is_empty() {
                continue;
            }
            let (min, max) = plan.widest();
            let scan =
                self.select.snapshot.scan(table, Tier::RAW, SeriesFilter::List(ids.into()), Some(wanted), min..=max)?;
            for points in scan {
                self.select.check()?;
                let points = points?;
                let Some(found) = places.get(&points.series) else { continue };
                let streams = points.streams.into_iter().filter_map(|stream| {
                    let name = names.iter().find(|(id, _)| *id == stream.field)?.1.clone();
                    Some(Stream {
                        name,
                        times_ns: Arc::new(stream.times_ns),
                        values: Arc::new(Col::full(stream.values)),
                    })
                });
                let mut series =
                    Series { tags: Arc::default(), streams: streams.collect(), rows_ns: None, made: false };
                for (at, (number, place, tags)) in found.iter().enumerate() {
                    series.tags = tags.clone();
                    self.fold(&mut made[*number], &series, self.residual)?;
                    if plan.keeps_series() {
                        let last = at + 1 == found.len();
                        let series = if last { std::mem::take(&mut series) } else { series.clone() };
                        orders[*number].push((*place, series));
                    }
                }
            }
        }
        for (mut group, mut kept) in made.into_iter().zip(orders) {
            self.select.check()?;
            kept.sort_by_key(|(place, _)| *place);
            group.series = kept.into_iter().map(|(_, series)| series).collect();
            if let Some(rows) = self.rows(group)? {
                for rows in rows.split(plan.tag_columns.clone()) {
                    emit(rows)?;
                }
            }
        }
        Ok(())
    }

    /// The fields of a table that the statement reads, ascending by number.
    fn fields(&self, table: TableId) -> Vec<(FieldId, Arc<str>)> {
        let directory = self.select.context.engine.registry().read();
        let drivers = self.plan.calls.iter().map(|call| call.leaf.driver);
        let conditions = self.residual.iter().flat_map(|residual| &residual.columns);
        let mut found: Vec<(FieldId, Arc<str>)> = Vec::new();
        for var in drivers.chain(&self.plan.aux).chain(conditions).filter(|var| !reads_tag(var.data_type)) {
            if let Some((id, _)) = directory.find_field(table, &var.name)
                && !found.iter().any(|(known, _)| *known == id)
            {
                found.push((id, var.name.as_str().into()));
            }
        }
        found.sort_by_key(|(id, _)| *id);
        found
    }

    fn frame_plan<'p>(&'p self, driver: Option<&'p VarRef>, range: (i64, i64), made: bool) -> FramePlan<'p> {
        let residual = if made { self.whole } else { self.residual };
        FramePlan { driver, aux: &self.plan.aux, residual, range }
    }

    fn fold(&self, group: &mut Group, series: &Series, residual: Option<&Residual>) -> Result<()> {
        for (call, folded) in self.plan.calls.iter().zip(&mut group.folded) {
            let (Some(folded), Some(fold)) = (folded, call.leaf.fold) else { continue };
            let plan =
                FramePlan { driver: Some(call.leaf.driver), aux: &self.plan.aux, residual, range: call.leaf.range };
            let Some(frame) = series.frame(&plan) else { continue };
            check_type(call.leaf.call, fold.takes(frame_type(&frame)), frame_type(&frame))?;
            folded.add(&frame, &self.plan.windows, call.leaf.range);
        }
        Ok(())
    }

    /// All points of a field in one order of time.
    fn merged(&self, group: &Group, driver: Option<&VarRef>, range: (i64, i64)) -> Option<Frame> {
        let frames = group
            .series
            .iter()
            .filter_map(|series| series.frame(&self.frame_plan(driver, range, series.rows_ns.is_some())));
        // The rows that calls made are in the order of their tags where they have the same time.
        let stable = group.series.iter().any(|series| series.made);
        merge(frames.collect(), self.plan.compiled.ascending, stable)
    }

    fn rows(&self, mut group: Group) -> Result<Option<Rows>> {
        let plan = self.plan;
        let (times_ns, slots) = if plan.calls.is_empty() {
            let Some(frame) = self.merged(&group, None, plan.range) else { return Ok(None) };
            let mut times_ns = frame.times_ns.to_vec();
            let mut columns = frame.aux;
            let kept = limited(times_ns.len(), plan.limit, plan.offset);
            if kept.len() < times_ns.len() {
                let rows: Vec<u32> = (kept.start as u32..kept.end as u32).collect();
                times_ns = times_ns[kept].to_vec();
                columns.iter_mut().for_each(|col| *col = col.gather(&rows));
            }
            (times_ns, columns)
        } else {
            let mut results = Vec::with_capacity(plan.calls.len());
            for at in 0..plan.calls.len() {
                let folded = group.folded[at].take();
                results.push(
                    self.call(plan.calls[at].call, at, folded, &group, plan.range)?.limited(plan.limit, plan.offset),
                );
            }
            join(&results, plan)
        };
        if times_ns.is_empty() {
            return Ok(None);
        }
        let mut slots = slots;
        match plan.compiled.fill {
            Fill::Integer(value) => fill_nulls(&mut slots, &Value::Integer(value)),
            Fill::Number(value) => fill_nulls(&mut slots, &Value::Float(value)),
            Fill::Previous => slots.iter_mut().for_each(Col::carry),
            Fill::Null | Fill::None | Fill::Linear => {}
        }
        let rows = times_ns.len();
        let columns = plan
            .fields
            .iter()
            .zip(&plan.field_types)
            .map(|(node, field_type)| node.eval(&slots, rows, Dividing::Float).into_col(rows, *field_type));
        let columns = columns.collect();
        Ok(Some(Rows { name: self.name.clone(), tags: group.tags, times_ns, columns }))
    }

    /// The points of a call; `folded` is what its innermost call has made, if it folds.
    fn call(&self, call: &Call, at: usize, folded: Option<Folded>, group: &Group, range: (i64, i64)) -> Result<Points> {
        let plan = self.plan;
        let (windows, ascending) = (&plan.windows, plan.compiled.ascending);
        let empty = || Points::empty(FieldType::Float, &[]);
        if let Some(transform) = Transform::of(call, windows.every_ns()) {
            let range = if transform.looks_back() { plan.back(range, 1) } else { range };
            let input = self.argument(call, at, folded, group, range)?;
            if input.len() > 0 {
                check_type(call, transform.takes(input.value.field_type()), input.value.field_type())?;
            }
            return Ok(transform.apply(&input, ascending));
        }
        if let Some(fold) = Fold::named(&call.name) {
            if let (Fold::Count, Some(Expr::Call(inner))) = (fold, call.args.first()) {
                let input = self.call(inner, at, None, group, range)?;
                let points = count(&input, windows, range);
                return Ok(self.at_windows(points, call, range));
            }
            let points = folded.unwrap_or_else(|| Folded::new(fold)).finish(ascending);
            return Ok(self.at_windows(points, call, range));
        }
        let Some(Expr::VarRef(driver)) = call.args.first() else { return Ok(empty()) };
        let Some(frame) = self.merged(group, Some(driver), range) else { return Ok(empty()) };
        if let Some(whole) = Whole::of(call) {
            check_type(call, whole.takes(frame_type(&frame)), frame_type(&frame))?;
            let clock = self.select.context.clock.clone();
            let mut state = clock.now_ns() as u64 | 1;
            let mut random = move |below: u64| next_random(&mut state) % below.max(1);
            let mut points = whole.apply(&frame, windows, range, &mut random);
            return Ok(match whole {
                Whole::Sample(_) => points,
                Whole::Distinct => {
                    points.at_windows(windows, range);
                    points
                }
                _ => self.at_windows(points, call, range),
            });
        }
        match call.name.as_str() {
            "integral" => {
                check_type(call, is_number(frame_type(&frame)), frame_type(&frame))?;
                let unit_ns = match call.args.get(1) {
                    Some(Expr::Literal(rhythmite_influx::influxql::Literal::Duration(ns))) => *ns,
                    _ => 1_000_000_000,
                };
                Ok(integral(&frame, unit_ns, windows, range, ascending))
            }
            "top" | "bottom" => {
                check_type(call, is_number(frame_type(&frame)), frame_type(&frame))?;
                let tags = call.args.iter().skip(1).filter_map(|arg| match arg {
                    Expr::VarRef(var) => {
                        let at = plan.aux.iter().position(|known| known == var)?;
                        is_tag(var).then(|| frame.aux[at].clone())
                    }
                    _ => None,
                });
                let tags: Vec<Col> = tags.collect();
                let wanted = call.args.last().and_then(|arg| match arg {
                    Expr::Literal(rhythmite_influx::influxql::Literal::Integer(n)) => usize::try_from(*n).ok(),
                    _ => None,
                });
                let top = Top { count: wanted.unwrap_or(0), bottom: call.name == "bottom", ascending };
                Ok(top.apply(&frame, &tags, windows, range))
            }
            name => Err(Failure::new(format!("{name}() is not available in this version"))),
        }
    }

    /// The points a transformation reads: those of the call inside it, or of the field.
    fn argument(
        &self,
        call: &Call,
        at: usize,
        folded: Option<Folded>,
        group: &Group,
        range: (i64, i64),
    ) -> Result<Points> {
        match call.args.first() {
            Some(Expr::Call(inner)) => self.call(inner, at, folded, group, range),
            Some(Expr::VarRef(driver)) => {
                let frame = self.merged(group, Some(driver), range);
                let points = frame.and_then(|frame| {
                    Some(Points {
                        times_ns: frame.times_ns.to_vec(),
                        value: Arc::unwrap_or_clone(frame.value?),
                        aux: Vec::new(),
                    })
                });
                Ok(points.unwrap_or_else(|| Points::empty(FieldType::Float, &[])))
            }
            _ => Ok(Points::empty(FieldType::Float, &[])),
        }
    }

    /// Gives points the times of their windows and fills, unless they were selected and keep their own.
    fn at_windows(&self, mut points: Points, call: &Call, range: (i64, i64)) -> Points {
        let plan = self.plan;
        if plan.selector && plan.windows.is_one() {
            return points;
        }
        points.at_windows(&plan.windows, range);
        let fill = match plan.compiled.fill {
            Fill::None => return points,
            Fill::Null if plan.compiled.statement.target.is_some() => return points,
            Fill::Null if call.name == "count" => Fill::Integer(0),
            fill => fill,
        };
        let filling = Filling { fill, windows: &plan.windows, range, ascending: plan.compiled.ascending };
        filling.apply(points, &mut || self.select.stopped())
    }
}

impl<'c> Plan<'c> {
    fn new(compiled: &'c Compiled, around: &[String], range: (i64, i64)) -> Self {
        let statement = &compiled.statement;
        let mut dimensions: Vec<String> =
            around.iter().map(String::as_str).chain(compiled.group_tags()).map(str::to_owned).collect();
        dimensions.sort();
        dimensions.dedup();
        let windows = Windows::of(compiled);
        // Equal calls are made once.
        let mut calls: Vec<&Call> = Vec::new();
        let mut aux: Vec<VarRef> = Vec::new();
        for field in &statement.fields {
            collect(&field.expr, &mut calls, &mut aux);
            if let Some(tags) = extra_columns(&field.expr, statement.target.is_some()) {
                tags.for_each(|var| {
                    slot(&mut aux, var);
                });
            }
            // Tags that top and bottom keep apart are read even where they are not shown.
            if let Expr::Call(call) = &field.expr
                && matches!(call.name.as_str(), "top" | "bottom")
            {
                call.args.iter().skip(1).for_each(|arg| {
                    if let Expr::VarRef(var) = arg {
                        slot(&mut aux, var);
                    }
                });
            }
        }
        aux.sort_by(|a, b| (&a.name, a.data_type).cmp(&(&b.name, b.data_type)));
        let mut fields = Vec::new();
        let mut field_types = Vec::new();
        for field in &statement.fields {
            let mut leaf = |expr: &Expr| match expr {
                Expr::Call(call) => Node::Slot(calls.iter().position(|known| *known == call).unwrap_or(0)),
                Expr::VarRef(var) => {
                    let at = aux.iter().position(|known| known == var).unwrap_or(0);
                    Node::Slot(calls.len() + at)
                }
                _ => Node::Value(Value::Null),
            };
            fields.push(Node::build(&field.expr, &mut leaf));
            let data_type = rhythmite_influx::influxql::type_of(&field.expr).ok().flatten();
            field_types.push(data_type.and_then(field_type).unwrap_or(FieldType::Float));
            if let Some(tags) = extra_columns(&field.expr, statement.target.is_some()) {
                for var in tags {
                    let at = aux.iter().position(|known| known == var).unwrap_or(0);
                    fields.push(Node::Slot(calls.len() + at));
                    field_types.push(var.data_type.and_then(field_type).unwrap_or(FieldType::String));
                }
            }
        }
        let mut tag_columns = Vec::new();
        if statement.target.is_some() {
            for var in calls
                .iter()
                .filter(|call| matches!(call.name.as_str(), "top" | "bottom"))
                .flat_map(|call| tags_of(call))
            {
                let at = aux.iter().position(|known| known == var).unwrap_or(0);
                tag_columns.push((fields.len(), var.name.clone()));
                fields.push(Node::Slot(calls.len() + at));
                field_types.push(FieldType::String);
            }
        }
        let selector = match calls.as_slice() {
            [only] => matches!(
                only.name.as_str(),
                "min" | "max" | "first" | "last" | "percentile" | "sample" | "top" | "bottom"
            ),
            _ => false,
        };
        let mut plan = Self {
            compiled,
            dimensions,
            windows,
            range,
            calls: Vec::new(),
            aux,
            fields,
            field_types,
            selector,
            limit: statement.limit,
            offset: statement.offset,
            tag_columns,
        };
        plan.calls =
            calls.into_iter().filter_map(|call| Some(PlannedCall { call, leaf: plan.leaf(call, range)? })).collect();
        plan
    }

    /// A range one or more windows longer, where the order of the answer begins.
    fn back(&self, (min, max): (i64, i64), windows: i64) -> (i64, i64) {
        let by = self.windows.every_ns().saturating_mul(windows);
        if self.compiled.ascending {
            (min.saturating_sub(by).max(TIME_MIN_NS), max)
        } else {
            (min, max.saturating_add(by))
        }
    }

    fn leaf(&self, call: &'c Call, range: (i64, i64)) -> Option<Leaf<'c>> {
        let range = match Transform::of(call, self.windows.every_ns()) {
            Some(transform) if transform.looks_back() => self.back(range, 1),
            _ => range,
        };
        match call.args.first()? {
            Expr::Call(inner) => {
                let mut leaf = self.leaf(inner, range)?;
                if call.name == "count" {
                    leaf.fold = None;
                }
                Some(leaf)
            }
            Expr::VarRef(driver) => Some(Leaf { driver, call, fold: Fold::named(&call.name), range }),
            _ => None,
        }
    }

    /// The times that any call reads.
    fn widest(&self) -> (i64, i64) {
        self.calls.iter().fold(self.range, |(min, max), call| (min.min(call.leaf.range.0), max.max(call.leaf.range.1)))
    }

    /// Whether no name the rows depend on is a column of anything.
    fn reads_nothing(&self) -> bool {
        if self.calls.is_empty() {
            return self.aux.iter().all(|var| var.data_type.is_none());
        }
        self.calls.iter().all(|call| call.leaf.driver.data_type.is_none())
    }

    /// Whether points are kept until their group is complete.
    fn keeps_series(&self) -> bool {
        self.calls.is_empty() || self.calls.iter().any(|call| call.leaf.fold.is_none())
    }
}

/// The columns that a field adds behind its own: the tags of `top` and `bottom`.
fn extra_columns(expr: &Expr, into: bool) -> Option<impl Iterator<Item = &VarRef>> {
    match expr {
        Expr::Call(call) if !into && matches!(call.name.as_str(), "top" | "bottom") => Some(tags_of(call)),
        _ => None,
    }
}

/// The fields and tags that `top` and `bottom` name behind the first.
fn tags_of(call: &Call) -> impl Iterator<Item = &VarRef> {
    call.args.iter().skip(1).filter_map(|arg| match arg {
        Expr::VarRef(var) => Some(var),
        _ => None,
    })
}

impl Rows {
    /// Takes the columns given out as tags: one series for each combination of their values.
    fn split(mut self, tag_columns: Vec<(usize, String)>) -> Vec<Rows> {
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
        };
        by_tags.into_iter().map(part).collect()
    }
}

/// The calls and the fields and tags outside of calls.
fn collect<'e>(expr: &'e Expr, calls: &mut Vec<&'e Call>, aux: &mut Vec<VarRef>) {
    match expr {
        Expr::Call(call) if super::math::Function::named(&call.name).is_some() => {
            call.args.iter().for_each(|arg| collect(arg, calls, aux));
        }
        Expr::Call(call) if !calls.contains(&call) => calls.push(call),
        Expr::VarRef(var) => {
            slot(aux, var);
        }
        Expr::Binary(binary) => {
            collect(&binary.lhs, calls, aux);
            collect(&binary.rhs, calls, aux);
        }
        Expr::Paren(inner) => collect(inner, calls, aux),
        _ => {}
    }
}

/// The names under which the columns of a subquery are seen, as many as its columns.
fn visible_columns(subquery: &Compiled) -> Vec<String> {
    let mut names = Vec::new();
    for field in &subquery.statement.fields {
        names.push(field.name());
        if let Some(tags) = extra_columns(&field.expr, subquery.statement.target.is_some()) {
            names.extend(tags.map(|var| var.name.clone()));
        }
    }
    names
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

/// Puts the points of all calls side by side: a row for each time that one of them has.
fn join(results: &[Points], plan: &Plan<'_>) -> (Vec<i64>, Vec<Col>) {
    if let [only] = results {
        let mut columns = vec![only.value.clone()];
        columns.extend(only.aux.iter().cloned());
        // A call without aux columns of its own shows none.
        let missing = plan.aux.len().saturating_sub(only.aux.len());
        let types = plan.aux.iter().skip(only.aux.len()).take(missing);
        columns.extend(
            types.map(|var| Col::nulls(var.data_type.and_then(field_type).unwrap_or(FieldType::Float), only.len())),
        );
        return (only.times_ns.clone(), columns);
    }
    let mut at = vec![0; results.len()];
    let mut times_ns = Vec::new();
    let mut picks: Vec<Vec<u32>> = vec![Vec::new(); results.len()];
    loop {
        let heads = results.iter().zip(&at).filter_map(|(points, at)| points.times_ns.get(*at).copied());
        let next = if plan.compiled.ascending { heads.min() } else { heads.max() };
        let Some(next) = next else { break };
        times_ns.push(next);
        for ((points, at), picks) in results.iter().zip(&mut at).zip(&mut picks) {
            if points.times_ns.get(*at) == Some(&next) {
                picks.push(*at as u32);
                *at += 1;
            } else {
                picks.push(super::column::NO_ROW);
            }
        }
    }
    let mut columns: Vec<Col> = results.iter().zip(&picks).map(|(points, picks)| points.value.gather(picks)).collect();
    columns.extend(
        plan.aux
            .iter()
            .map(|var| Col::nulls(var.data_type.and_then(field_type).unwrap_or(FieldType::Float), times_ns.len())),
    );
    (times_ns, columns)
}

fn fill_nulls(columns: &mut [Col], with: &Value) {
    columns.iter_mut().for_each(|col| col.fill(&with.cast(col.field_type())));
}

fn frame_type(frame: &Frame) -> FieldType {
    frame.value.as_ref().map_or(FieldType::Float, |value| value.field_type())
}

fn is_number(field_type: FieldType) -> bool {
    !matches!(field_type, FieldType::String | FieldType::Boolean)
}

fn check_type(call: &Call, takes: bool, field_type: FieldType) -> Result<()> {
    if takes {
        return Ok(());
    }
    Err(Failure::new(format!("unsupported {} iterator type: {}", call.name, iterator_name(field_type))))
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

/// The tags of a series; of a Graphite series its path too.
pub(super) fn series_tags(kind: KeyKind, text: &str) -> Vec<(String, String)> {
    let mut tags: Vec<(String, String)> =
        key::tags(kind, text).map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
    if kind == KeyKind::Path {
        tags.push((PATH_TAG.to_owned(), text.to_owned()));
    }
    tags
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

/// xorshift64*: only for which points a sample shows.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}
