//! Values for gaps.

use crate::eval::Points;
use crate::functions::Param as P;
use crate::functions::ParamType as T;
use crate::functions::support::zip_longest;
use crate::functions::transform::summarize::{Window, windows};
use crate::functions::{Default, Function, Group};
use crate::python;
use crate::series::{AggFunc, Series};
use rhythmite_model::Result;

pub(crate) const ALL: &[Function] = &[COMPRESS_PERIODIC_GAPS, INTERPOLATE, KEEP_LAST_VALUE, TRANSFORM_NULL];

const LIMIT: P = P::optional("limit", T::IntOrInf).or(Default::Float(f64::INFINITY));

const COMPRESS_PERIODIC_GAPS: Function = Function {
    names: &["compressPeriodicGaps"],
    group: Group::Transform,
    about: "Where the first values come at regular distances with gaps between, as if stored with too fine a step, \
            the distance becomes the step.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| {
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.rename(format!("compressPeriodicGaps({})", s.name));
            if let Some((first, distance)) = period(&s.values) {
                *s = compress(s, first, distance, &mut c.eval.points)?;
            }
        }
        Ok(series.into())
    },
};

const INTERPOLATE: Function = Function {
    names: &["interpolate"],
    group: Group::Transform,
    about: "Fills gaps of at most `limit` values with a straight line.",
    params: &[P::SERIES, LIMIT],
    aggregator: false,
    run: |c| {
        let limit = c.int_or_inf("limit")?;
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.rename(format!("interpolate({})", s.name));
            for (before, after) in gaps(&s.values) {
                let (Some(before), Some(after)) = (before, after) else { continue };
                let missing = after - before - 1;
                if missing > limit {
                    continue;
                }
                let values = s.values_mut();
                let (left, right) = (values[before], values[after]);
                for (i, v) in values[before + 1..after].iter_mut().enumerate() {
                    *v = left + (i + 1) as f64 * (right - left) / (missing + 1) as f64;
                }
            }
        }
        Ok(series.into())
    },
};

const KEEP_LAST_VALUE: Function = Function {
    names: &["keepLastValue"],
    group: Group::Transform,
    about: "Fills gaps of at most `limit` values with the value before them.",
    params: &[P::SERIES, LIMIT],
    aggregator: false,
    run: |c| {
        let limit = c.int_or_inf("limit")?;
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.rename(format!("keepLastValue({})", s.name));
            let len = s.values.len();
            for (before, after) in gaps(&s.values) {
                let (Some(before), after) = (before, after.unwrap_or(len)) else { continue };
                if after - before - 1 <= limit {
                    let values = s.values_mut();
                    let last = values[before];
                    values[before + 1..after].fill(last);
                }
            }
        }
        Ok(series.into())
    },
};

const TRANSFORM_NULL: Function = Function {
    names: &["transformNull"],
    group: Group::Transform,
    about: "`default` for unknown values; with reference series, only where one of those has a value.",
    params: &[
        P::SERIES,
        P::optional("default", T::Float).or(Default::Int(0)),
        P::optional("referenceSeries", T::SeriesList),
    ],
    aggregator: false,
    run: |c| {
        let default = c.float("default")?;
        let given = c.opt_float("default")?;
        let tag = given.map_or("0".to_owned(), python::repr);
        let reference = c.opt_series("referenceSeries")?.filter(|r| !r.is_empty());
        let known = reference.map(|reference| defaults(&reference, default));
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.tags.set("transformNull", &tag);
            let shown = python::general(default);
            if let Some(known) = &known {
                s.tags.set("referenceSeries", 1);
                s.rename(format!("transformNull({},{shown},referenceSeries)", s.name));
                let mut values = zip_longest(&s.values, known, |v, d| if v.is_nan() { d } else { v });
                // A longer reference pushes the first values out.
                values.drain(..values.len() - s.values.len());
                *s.values_mut() = values;
            } else {
                s.rename(format!("transformNull({},{shown})", s.name));
                s.values_mut().iter_mut().filter(|v| v.is_nan()).for_each(|v| *v = default);
            }
        }
        Ok(series.into())
    },
};

/// Gaps as the positions of the values before and behind them; `None` where the series starts or ends.
fn gaps(values: &[f64]) -> Vec<(Option<usize>, Option<usize>)> {
    let mut gaps = Vec::new();
    let mut before = None;
    let mut open = false;
    for (i, v) in values.iter().enumerate() {
        if v.is_nan() {
            open = true;
            continue;
        }
        if std::mem::take(&mut open) {
            gaps.push((before, Some(i)));
        }
        before = Some(i);
    }
    if open {
        gaps.push((before, None));
    }
    gaps
}

/// `default` wherever one of the series has a value.
fn defaults(reference: &[Series], default: f64) -> Vec<f64> {
    let len = reference.iter().map(|s| s.values.len()).max().unwrap_or(0);
    let known = |i: usize| reference.iter().any(|s| s.values.get(i).is_some_and(|v| !v.is_nan()));
    (0..len).map(|i| if known(i) { default } else { f64::NAN }).collect()
}

/// The position of the first value and the distance to the second, if the third comes at the same
/// distance with gaps around it. As in the reference a zero counts as no value here, and a value
/// in first place is passed over.
fn period(values: &[f64]) -> Option<(usize, usize)> {
    let counts = |i: usize| values.get(i).is_some_and(|v| !v.is_nan() && *v != 0.0);
    let gap = |i: usize| values.get(i).is_some_and(|v| v.is_nan());
    let mut found = (1..values.len()).filter(|i| counts(*i));
    let first = found.next()?;
    let second = found.next()?;
    let distance = second - first;
    let third = second + distance;
    let regular = distance > 1 && third + 2 <= values.len() && counts(third) && gap(third - 1) && gap(third + 1);
    regular.then_some((first, distance))
}

fn compress(series: &Series, first: usize, distance: usize, points: &mut Points) -> Result<Series> {
    let step_s = distance as i64 * series.step_s;
    let start_s = series.start_s + first as i64 * series.step_s;
    let window = Window { start_s, end_s: series.end_s, interval_s: step_s };
    let (values, _) = windows(series, AggFunc::Last, window, points)?;
    let end_s = start_s + step_s * (values.len() as i64 - 1);
    let mut compressed = series.derived(series.name.clone(), values);
    compressed.path_expression.clone_from(&series.path_expression);
    Ok(Series { start_s, end_s, step_s, ..compressed })
}
