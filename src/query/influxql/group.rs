//! Groups of series, read batch by batch: the points of each call, then the rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rhythmite_engine::SeriesFilter;
use rhythmite_influx::influxql::{Call, Expr, Fill, VarRef};
use rhythmite_model::{FieldId, FieldType, SeriesId, TableId, Tier};

use super::aggregate::fold::{Fold, Folded};
use super::aggregate::integral::integral;
use super::aggregate::top::Top;
use super::aggregate::whole::{Whole, count, iterator_name};
use super::column::Col;
use super::condition::{Residual, is_tag};
use super::eval::Dividing;
use super::failure::{Failure, Result};
use super::frame::{Frame, FramePlan, Series, Stream};
use super::order::merge;
use super::plan::Plan;
use super::points::{Filling, Points, limited};
use super::select::{Emit, Rows, Select, Tags};
use super::source::reads_tag;
use super::transform::Transform;
use super::value::{Value, field_type};

/// What is known of one group.
struct Group {
    tags: Tags,
    folded: Vec<Option<Folded>>,
    series: Vec<Series>,
}

/// A series of a group.
pub(super) enum Member {
    Stored(TableId, SeriesId, Tags),
    /// Of the rows of a subquery.
    Made(usize, usize),
}

/// Group of a stored series, its place within the group, its tags.
type Place = (usize, usize, Tags);

/// Reads batches of groups of one name.
pub(super) struct Reader<'r, 'a, 'c> {
    pub(super) select: &'r Select<'a>,
    pub(super) plan: &'r Plan<'c>,
    pub(super) name: &'r Arc<str>,
    pub(super) residual: Option<&'r Residual>,
    pub(super) whole: Option<&'r Residual>,
}

impl Reader<'_, '_, '_> {
    pub(super) fn batch(
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
        let mut kept_values = 0;
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
                if plan.keeps_series() {
                    let values: usize = points.streams.iter().map(|stream| stream.times_ns.len()).sum();
                    self.select.hold(values as u64)?;
                    kept_values += values as u64;
                }
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
            let before = self.select.held.get();
            let rows = self.rows(group)?;
            let filled = self.select.held.get() - before;
            if let Some(rows) = rows {
                for rows in rows.split(plan.tag_columns.clone()) {
                    emit(rows)?;
                }
            }
            self.select.held.set(self.select.held.get() - filled);
        }
        self.select.held.set(self.select.held.get() - kept_values);
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
                return self.at_windows(points, call, range);
            }
            let points = folded.unwrap_or_else(|| Folded::new(fold)).finish(ascending);
            return self.at_windows(points, call, range);
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
                _ => self.at_windows(points, call, range)?,
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
    fn at_windows(&self, mut points: Points, call: &Call, range: (i64, i64)) -> Result<Points> {
        let plan = self.plan;
        if plan.selector && plan.windows.is_one() {
            return Ok(points);
        }
        points.at_windows(&plan.windows, range);
        let fill = match plan.compiled.fill {
            Fill::None => return Ok(points),
            Fill::Null if plan.compiled.statement.target.is_some() => return Ok(points),
            Fill::Null if call.name == "count" => Fill::Integer(0),
            fill => fill,
        };
        let filling = Filling { fill, windows: &plan.windows, range, ascending: plan.compiled.ascending };
        self.select.hold(filling.windows_of(&points))?;
        Ok(filling.apply(points, &mut || self.select.stopped()))
    }
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

/// xorshift64*: only for which points a sample shows.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}
