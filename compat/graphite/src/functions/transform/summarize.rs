//! Longer steps: many values of a window into one.

use crate::eval::{Points, Stop, Value};
use crate::functions::Param as P;
use crate::functions::ParamType as T;
use crate::functions::{Default, Function, Group, Invocation};
use crate::series::{AggFunc, Series, known_enough_of};
use crate::time::{self, Unit};
use rhythmite_model::{Error, Result};

pub(crate) const ALL: &[Function] = &[HITCOUNT, SMART_SUMMARIZE, SUMMARIZE];

const INTERVAL: P = P::required("intervalString", T::Interval).such_as(&["10min", "1h", "1d"]);
const FUNC: P = P::optional("func", T::AggFunc).or(Default::Text("sum"));

const HITCOUNT: Function = Function {
    names: &["hitcount"],
    group: Group::Transform,
    about: "Values are hits per second: how many hits there are in each interval. Intervals end with the range, or \
            start with a day, hour or minute if `alignToInterval`.",
    params: &[P::SERIES, INTERVAL, P::optional("alignToInterval", T::Boolean).or(Default::Flag(false))],
    aggregator: false,
    run: |c| {
        let (interval_s, text) = c.positive_interval("intervalString")?;
        let align = c.flag("alignToInterval")?;
        let mut series = c.series("seriesList")?;
        if align {
            let unit = [Unit::Day, Unit::Hour, Unit::Minute].into_iter().find(|u| interval_s >= u.seconds());
            let from_s = time::floor_to_unit(c.scope.from_s, unit.unwrap_or(Unit::Second), 1, &c.eval.request.zone)?;
            series = c.first_in_range(from_s, c.scope.until_s)?;
            for s in &mut series {
                s.end_s = s.start_s + (s.end_s - s.start_s).div_euclid(interval_s) * interval_s + interval_s;
            }
        }
        let suffix = if align { ", true" } else { "" };
        for s in &mut series {
            s.tags.set("hitcount", &text);
            let (start_s, values) = hits(s, interval_s, &mut c.eval.points)?;
            let counted = s.derived(format!("hitcount({}, \"{text}\"{suffix})", s.name), values);
            *s = Series { start_s, step_s: interval_s, ..counted };
        }
        Ok(series.into())
    },
};

const SMART_SUMMARIZE: Function = Function {
    names: &["smartSummarize"],
    group: Group::Transform,
    about: "One value per interval; intervals start with the first value, or with a calendar unit if `alignTo` names \
            one (`weeks3`: with Wednesdays).",
    params: &[
        P::SERIES,
        INTERVAL,
        FUNC,
        P::optional("alignTo", T::String).one_of(&["seconds", "minutes", "hours", "days", "weeks", "months", "years"]),
    ],
    aggregator: false,
    run: |c| {
        let (interval_s, text) = c.positive_interval("intervalString")?;
        let (func, func_name) = c.agg_func("func")?;
        let mut series = c.series("seriesList")?;
        // Once this parameter was a boolean; such a value means nothing any more.
        if !matches!(c.given("alignTo"), Some(Value::Bool(_)))
            && let Some(align_to) = c.opt_text("alignTo")?
        {
            series = aligned(c, &align_to)?;
        }
        for s in &mut series {
            let window = Window { start_s: s.start_s, end_s: s.end_s, interval_s };
            let (values, end_s) = windows(s, func, window, &mut c.eval.points)?;
            s.tags.set("smartSummarize", &text);
            s.tags.set("smartSummarizeFunction", &func_name);
            let summary = s.derived(format!("smartSummarize({}, \"{text}\", \"{func_name}\")", s.name), values);
            *s = Series { end_s, step_s: interval_s, ..summary };
        }
        Ok(series.into())
    },
};

const SUMMARIZE: Function = Function {
    names: &["summarize"],
    group: Group::Transform,
    about: "One value per interval; intervals start at multiples of it since 1970, or with the first value if \
            `alignToFrom`.",
    params: &[P::SERIES, INTERVAL, FUNC, P::optional("alignToFrom", T::Boolean).or(Default::Flag(false))],
    aggregator: false,
    run: |c| {
        let (interval_s, text) = c.positive_interval("intervalString")?;
        let (func, func_name) = c.agg_func("func")?;
        let from_first = c.flag("alignToFrom")?;
        let suffix = if from_first { ", true" } else { "" };
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            let (start_s, end_s) = if from_first {
                (s.start_s, s.end_s)
            } else {
                let down = |t: i64| t - t.rem_euclid(interval_s);
                (down(s.start_s), down(s.end_s) + interval_s)
            };
            let (values, aligned_end_s) = windows(s, func, Window { start_s, end_s, interval_s }, &mut c.eval.points)?;
            let end_s = if from_first { aligned_end_s } else { end_s };
            s.tags.set("summarize", &text);
            s.tags.set("summarizeFunction", &func_name);
            let summary = s.derived(format!("summarize({}, \"{text}\", \"{func_name}\"{suffix})", s.name), values);
            *s = Series { start_s, end_s, step_s: interval_s, ..summary };
        }
        Ok(series.into())
    },
};

/// The first argument evaluated again from the start of a calendar unit.
fn aligned(c: &mut Invocation<'_, '_, '_>, align_to: &str) -> Result<Vec<Series>, Stop> {
    let unit = Unit::parse(align_to)?;
    let first_weekday = match align_to.chars().last().and_then(|d| d.to_digit(10)) {
        Some(d) => i8::try_from(d).unwrap_or(1),
        None => 1,
    };
    let from_s = time::floor_to_unit(c.scope.from_s, unit, first_weekday, &c.eval.request.zone)?;
    c.first_in_range(from_s, c.scope.until_s)
}

/// Windows of `interval_s` from `start_s` until `end_s` is reached.
pub(super) struct Window {
    pub(super) start_s: i64,
    pub(super) end_s: i64,
    pub(super) interval_s: i64,
}

/// Aggregates the values of each window; returns the end of the last one as well. A window is
/// known when its known values are enough of those it has room for. One pass.
pub(super) fn windows(series: &Series, func: AggFunc, window: Window, points: &mut Points) -> Result<(Vec<f64>, i64)> {
    let Window { start_s, end_s, interval_s } = window;
    if series.step_s <= 0 {
        return Err(Error::invalid(format!("series {} has no step", series.name)));
    }
    let count = points.make((end_s - start_s + interval_s - 1).div_euclid(interval_s))?;
    let room = interval_s as f64 / series.step_s as f64;
    let in_range = (series.end_s - series.start_s + series.step_s - 1).div_euclid(series.step_s);
    let values = &series.values[..usize::try_from(in_range).unwrap_or(0).min(series.values.len())];
    let ts = |i: usize| series.start_s + i as i64 * series.step_s;
    let mut results = Vec::with_capacity(count);
    let mut next = 0;
    for w in 0..count as i64 {
        let from_s = start_s + w * interval_s;
        let mut first = next;
        let mut known = 0;
        while next < values.len() && ts(next) < from_s + interval_s {
            // Values from before the first window are passed over.
            if ts(next) <= from_s {
                first = next;
            }
            known += usize::from(ts(next) >= from_s && !values[next].is_nan());
            next += 1;
        }
        let enough = known_enough_of(known, room, series.x_files_factor);
        results.push(if enough { func.apply(&values[first..next]) } else { f64::NAN });
    }
    Ok((results, start_s + count as i64 * interval_s))
}

/// Spreads each value over its step and sums what falls into each bucket. Buckets end with the
/// series. Returns the start of the first.
fn hits(series: &Series, interval_s: i64, points: &mut Points) -> Result<(i64, Vec<f64>)> {
    let (step_s, range_s) = (series.step_s, series.end_s - series.start_s);
    let count = points.make((range_s + interval_s - 1).div_euclid(interval_s))?;
    let first_s = series.end_s - count as i64 * interval_s;
    let mut buckets = vec![f64::NAN; count];
    let mut add = |bucket: usize, hits: f64| {
        if let Some(b) = buckets.get_mut(bucket) {
            *b = if b.is_nan() { hits } else { *b + hits };
        }
    };
    for (i, v) in series.values.iter().enumerate().filter(|(_, v)| !v.is_nan()) {
        let from = series.start_s + i as i64 * step_s - first_s;
        let mut until = from + step_s;
        // What reaches beyond the last bucket counts up to its end.
        if until.div_euclid(interval_s) >= count as i64 {
            until = count as i64 * interval_s;
        }
        let mut at = from.max(0);
        while at < until {
            let bucket = at / interval_s;
            let edge = ((bucket + 1) * interval_s).min(until);
            add(usize::try_from(bucket).unwrap_or(usize::MAX), v * (edge - at) as f64);
            at = edge;
        }
    }
    Ok((first_s, buckets))
}
