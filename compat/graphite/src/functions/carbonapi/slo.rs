//! Service level objectives: the share of values that are good.

use crate::eval::{Stop, Value};
use crate::functions::Param as P;
use crate::functions::ParamType as T;
use crate::functions::{Function, Group, Invocation};
use crate::series::Series;
use rhythmite_model::{Error, Result};
use std::collections::HashMap;

pub(super) const ALL: &[Function] = &[SLO, SLO_ERROR_BUDGET];

const METHODS: &[&str] = &["above", "aboveOrEqual", "below", "belowOrEqual"];

const SLO: Function = Function {
    names: &["slo"],
    group: Group::Carbonapi,
    about: "The share of the known values of each interval that lie above or below a value; unknown where none is \
            known. An interval longer than the range looks further back.",
    params: &[
        P::SERIES,
        P::required("interval", T::Interval),
        P::required("method", T::String).one_of(METHODS),
        P::required("value", T::Float),
    ],
    aggregator: false,
    run: |c| shares(c, None),
};

const SLO_ERROR_BUDGET: Function = Function {
    names: &["sloErrorBudget"],
    group: Group::Carbonapi,
    about: "The seconds of each interval by which `slo()` is better than the objective; negative when the budget is \
            spent.",
    params: &[
        P::SERIES,
        P::required("interval", T::Interval),
        P::required("method", T::String).one_of(METHODS),
        P::required("value", T::Float),
        P::required("objective", T::Float),
    ],
    aggregator: false,
    run: |c| {
        let objective = c.finite("objective")?;
        shares(c, Some(objective))
    },
};

fn shares(c: &mut Invocation<'_, '_, '_>, objective: Option<f64>) -> Result<Value, Stop> {
    let (bucket_s, interval) = c.positive_interval("interval")?;
    let (method, value) = (c.text("method")?, c.float("value")?);
    let good: fn(f64, f64) -> bool = match method.as_str() {
        "above" => |v, limit| v > limit,
        "aboveOrEqual" => |v, limit| v >= limit,
        "below" => |v, limit| v < limit,
        "belowOrEqual" => |v, limit| v <= limit,
        other => return Err(Error::invalid(format!("unknown method {other:?}")).into()),
    };
    let as_written = |name: &str| c.given(name).map(Value::text).unwrap_or_default();
    let mut suffix = format!(", {interval}, {method}, {}", as_written("value"));
    if objective.is_some() {
        suffix = format!("{suffix}, {}", as_written("objective"));
    }
    let name = if objective.is_some() { "sloErrorBudget" } else { "slo" };
    let series = c.series("seriesList")?;
    let more_s = bucket_s - (c.scope.until_s - c.scope.from_s);
    let longer = match (series.is_empty(), more_s > 0) {
        (false, true) => Some(c.first_in_range(c.scope.from_s.saturating_sub(more_s), c.scope.until_s)?),
        _ => None,
    };
    // Of several with one name the first counts.
    let longer: Option<HashMap<&str, &Series>> =
        longer.as_ref().map(|longer| longer.iter().rev().map(|l| (l.name.as_str(), l)).collect());
    let mut results = Vec::with_capacity(series.len());
    for s in series {
        let data = match &longer {
            None => &s,
            Some(longer) => longer
                .get(s.name.as_str())
                .ok_or_else(|| Error::invalid(format!("{} has no values over {interval}", s.name)))?,
        };
        let buckets = (s.end_s - s.start_s + bucket_s - 1).div_euclid(bucket_s);
        let values = if s.step_s > bucket_s {
            vec![f64::NAN; c.eval.points.make(buckets)?]
        } else {
            by_bucket(data, bucket_s, |v| good(v, value), objective)
        };
        let result = s.derived(format!("{name}({}{suffix})", s.name), values);
        results.push(Series { end_s: s.start_s + buckets * bucket_s, step_s: bucket_s, ..result });
    }
    Ok(results.into())
}

/// One value for each bucket of `bucket_s` from the series' start on; the last one may be shorter.
fn by_bucket(series: &Series, bucket_s: i64, good: impl Fn(f64) -> bool, objective: Option<f64>) -> Vec<f64> {
    let mut results = Vec::new();
    let (mut known, mut matched) = (0_u64, 0_u64);
    let mut first_s = series.start_s;
    let close = |known: u64, matched: u64, seconds: i64| match objective {
        _ if known == 0 => f64::NAN,
        None => matched as f64 / known as f64,
        Some(objective) => (matched as f64 / known as f64 - objective) * seconds as f64,
    };
    let mut end_s = series.start_s + bucket_s;
    let mut open = false;
    for (i, v) in series.values.iter().enumerate() {
        known += u64::from(!v.is_nan());
        matched += u64::from(!v.is_nan() && good(*v));
        open = true;
        let next_s = series.start_s + (i as i64 + 1) * series.step_s;
        if next_s >= end_s {
            results.push(close(known, matched, bucket_s));
            (known, matched, first_s, open) = (0, 0, next_s, false);
            end_s += bucket_s;
        }
    }
    if open {
        let last_s = series.start_s + series.values.len() as i64 * series.step_s;
        results.push(close(known, matched, last_s - first_s));
    }
    results
}
