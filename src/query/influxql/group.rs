//! A group of series whose points are read: the points of each call, then the rows.

use std::sync::Arc;

use rhythmite_influx::influxql::{Call, Expr, Fill, VarRef};
use rhythmite_model::FieldType;

use super::aggregate::fold::{Fold, Folded};
use super::aggregate::integral::integral;
use super::aggregate::top::Top;
use super::aggregate::whole::{Whole, count, iterator_name};
use super::column::Col;
use super::condition::{Residual, is_tag};
use super::eval::{Dividing, Node};
use super::failure::{Failure, Result};
use super::frame::{Frame, FramePlan, Series};
use super::holt_winters::{self, HoltWinters};
use super::order::merge;
use super::plan::{Plan, tags_of};
use super::points::{Filling, Page, Points, WINDOWS_MAX};
use super::select::{Rows, Select, Tags};
use super::transform::Transform;
use super::value::{Value, field_type};

/// What is known of one group.
pub(super) struct Group {
    pub(super) tags: Tags,
    pub(super) folded: Vec<Option<Folded>>,
    pub(super) series: Vec<Series>,
}

/// Makes the rows of groups of one name.
pub(super) struct Reader<'r, 'a, 'c> {
    pub(super) select: &'r Select<'a>,
    pub(super) plan: &'r Plan<'c>,
    pub(super) name: &'r Arc<str>,
    pub(super) residual: Option<&'r Residual>,
    pub(super) whole: Option<&'r Residual>,
}

impl Reader<'_, '_, '_> {
    fn frame_plan<'p>(&'p self, driver: Option<&'p VarRef>, range: (i64, i64), made: bool) -> FramePlan<'p> {
        let residual = if made { self.whole } else { self.residual };
        let window = self.plan.windows.is_one().then_some((range, self.plan.compiled.ascending));
        let window = window.filter(|_| made && driver.is_some_and(|driver| self.plan.reduces(driver)));
        FramePlan { driver, aux: &self.plan.aux, residual, range: self.plan.bounded(range), window }
    }

    /// All points of a field in one order of time.
    fn merged(&self, group: &Group, driver: Option<&VarRef>, range: (i64, i64)) -> Option<Frame> {
        let frames = group
            .series
            .iter()
            .filter_map(|series| series.frame(&self.frame_plan(driver, range, series.rows_ns.is_some())));
        // The rows that calls made are in the order of their tags where they have the same time.
        let stable = group.series.iter().any(|series| series.made);
        let texts = group.series.iter().all(|series| series.rows_ns.is_none());
        merge(frames.collect(), self.plan.compiled.ascending, stable, texts)
    }

    /// The rows of a group; of raw points those that `page` leaves.
    pub(super) fn rows(&self, mut group: Group, page: &mut Page) -> Result<Option<Rows>> {
        let plan = self.plan;
        let (times_ns, slots) = if plan.calls.is_empty() {
            let Some(frame) = self.merged(&group, None, plan.range) else { return Ok(None) };
            let kept = page.advance(frame.times_ns.len());
            if kept.len() < frame.times_ns.len() {
                let rows: Vec<u32> = (kept.start as u32..kept.end as u32).collect();
                (frame.times_ns[kept].to_vec(), frame.aux.iter().map(|col| col.gather(&rows)).collect())
            } else {
                (Arc::unwrap_or_clone(frame.times_ns), frame.aux)
            }
        } else {
            let mut results = Vec::with_capacity(plan.calls.len());
            for at in 0..plan.calls.len() {
                let folded = group.folded[at].take();
                results.push(
                    self.call(plan.calls[at].call, at, folded, &group, plan.range)?.limited(plan.limit, plan.offset),
                );
            }
            join(results, plan)
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
        Ok(Some(self.shown(group.tags, times_ns, slots)))
    }

    /// Rows with the fields computed from the values of calls, and of fields and tags beside them.
    pub(super) fn shown(&self, tags: Tags, times_ns: Vec<i64>, mut slots: Vec<Col>) -> Rows {
        let plan = self.plan;
        let rows = times_ns.len();
        let plain: Option<Vec<usize>> = plan.fields.iter().map(Node::slot).collect();
        let plain = plain.filter(|plain| (1..plain.len()).all(|at| !plain[..at].contains(&plain[at])));
        let columns = match plain {
            // PERF: what is shown as it is, is not copied.
            Some(plain) => {
                plain.iter().map(|at| std::mem::replace(&mut slots[*at], Col::new(FieldType::Float))).collect()
            }
            None => {
                let fields = plan.fields.iter().zip(&plan.field_types);
                let column = |(node, field_type): (&Node, &FieldType)| {
                    node.eval(&slots, rows, Dividing::Float).into_col(rows, *field_type)
                };
                fields.map(column).collect()
            }
        };
        Rows { name: self.name.clone(), tags, times_ns, columns, more: false }
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
        if let Some(forecast) = HoltWinters::of(call, windows.every_ns()) {
            let input = self.argument(call, at, folded, group, range)?;
            if input.len() > 0 {
                check_type(call, is_number(input.value.field_type()), input.value.field_type())?;
            }
            let Some(values) = forecast.values(&input) else {
                let most = holt_winters::POINTS_MAX;
                return Err(Failure::new(format!("{}() of more than {most} points", call.name)));
            };
            self.select.hold(values)?;
            return Ok(forecast.apply(&input, &|| self.select.stopped()));
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
        if let (Some(sketches), Some(whole)) = (folded, Whole::of(call)) {
            let mut points = sketches.quantiles(whole, ascending);
            // No sketch knows when the chosen point was.
            points.at_windows(windows, range);
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
                let mut tags: Vec<&VarRef> = tags_of(call).filter(|var| is_tag(var)).collect();
                tags.sort_by_key(|var| &var.name);
                let column =
                    |var: &&VarRef| plan.aux.iter().position(|known| known == *var).map(|at| frame.aux[at].clone());
                let tags: Vec<Col> = tags.iter().filter_map(column).collect();
                let wanted = call.args.last().and_then(|arg| match arg {
                    Expr::Literal(rhythmite_influx::influxql::Literal::Integer(n)) => usize::try_from(*n).ok(),
                    _ => None,
                });
                let top = Top { count: wanted.unwrap_or(0), bottom: call.name == "bottom" };
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
        let windows = filling.windows_of(&points);
        self.select.hold(windows)?;
        if windows > WINDOWS_MAX {
            return Err(Failure::new(format!(
                "the query would fill {windows} windows of one series, at most {WINDOWS_MAX} are possible: ask for less \
                 time, longer windows or fill(none)"
            )));
        }
        Ok(filling.apply(points, &mut || self.select.stopped()))
    }
}

/// Puts the points of all calls side by side: a row for each time that one of them has.
fn join(mut results: Vec<Points>, plan: &Plan<'_>) -> (Vec<i64>, Vec<Col>) {
    let nulls = |var: &VarRef, rows| Col::nulls(var.data_type.and_then(field_type).unwrap_or(FieldType::Float), rows);
    if let [only] = results.as_mut_slice() {
        let Points { times_ns, value, aux } = std::mem::replace(only, Points::empty(FieldType::Float, &[]));
        let mut columns = vec![value];
        // A call without aux columns of its own shows none.
        let missing = plan.aux.iter().skip(aux.len()).map(|var| nulls(var, times_ns.len())).collect::<Vec<_>>();
        columns.extend(aux.into_iter().chain(missing));
        return (times_ns, columns);
    }
    // PERF: fields of one series mostly have the same windows; nothing is copied then.
    if results.windows(2).all(|pair| pair[0].times_ns == pair[1].times_ns) {
        let times_ns = results.first_mut().map(|points| std::mem::take(&mut points.times_ns)).unwrap_or_default();
        let mut columns: Vec<Col> = results.into_iter().map(|points| points.value).collect();
        columns.extend(plan.aux.iter().map(|var| nulls(var, times_ns.len())));
        return (times_ns, columns);
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
    columns.extend(plan.aux.iter().map(|var| nulls(var, times_ns.len())));
    (times_ns, columns)
}

fn fill_nulls(columns: &mut [Col], with: &Value) {
    columns.iter_mut().for_each(|col| col.fill(&with.cast(col.field_type())));
}

pub(super) fn frame_type(frame: &Frame) -> FieldType {
    frame.value.as_ref().map_or(FieldType::Float, |value| value.field_type())
}

pub(super) fn is_number(field_type: FieldType) -> bool {
    !matches!(field_type, FieldType::String | FieldType::Boolean)
}

pub(super) fn check_type(call: &Call, takes: bool, field_type: FieldType) -> Result<()> {
    if takes {
        return Ok(());
    }
    let name = match call.name.as_str() {
        "cumulative_sum" => "cumulative sum",
        name => name.strip_prefix("non_negative_").unwrap_or(name),
    };
    Err(Failure::new(format!("unsupported {name} iterator type: {}", iterator_name(field_type))))
}

/// xorshift64*: only for which points a sample shows.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D)
}
