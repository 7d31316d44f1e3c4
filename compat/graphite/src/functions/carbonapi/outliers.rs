//! What is unusual among series, or against earlier weeks.

use crate::eval::{Stop, Value};
use crate::functions::Param as P;
use crate::functions::ParamType as T;
use crate::functions::support::SORT_POINTS;
use crate::functions::{Default, Function, Group, Invocation};
use crate::series::{AggFunc, Series};
use crate::time;
use rhythmite_model::{Error, Result};
use std::collections::HashMap;
use std::ops::Range;

pub(super) const ALL: &[Function] = &[BASELINE, BASELINE_ABERRATION, TUKEY_ABOVE, TUKEY_BELOW];

/// Most shifts of one baseline.
const SHIFTS_MAX: i64 = 10_000;

const BASELINE_PARAMS: &[P] = &[
    P::SERIES,
    P::required("timeShiftUnit", T::Interval).such_as(&["1d", "7d"]),
    P::required("timeShiftStart", T::Integer),
    P::required("timeShiftEnd", T::Integer),
    P::optional("maxAbsentPercent", T::Float),
    P::optional("minAvg", T::Float),
];

const BASELINE: Function = Function {
    names: &["baseline"],
    group: Group::Carbonapi,
    about: "The median of the series as they were `timeShiftStart`, ... up to but not including `timeShiftEnd` times \
            the unit ago; left out with more unknown values than `maxAbsentPercent`, or a mean below `minAvg`.",
    params: BASELINE_PARAMS,
    aggregator: false,
    run: |c| baseline(c, false),
};

const BASELINE_ABERRATION: Function = Function {
    names: &["baselineAberration"],
    group: Group::Carbonapi,
    about: "Each value divided by its `baseline()`: 1.1 is ten per cent more than usual.",
    params: BASELINE_PARAMS,
    aggregator: false,
    run: |c| baseline(c, true),
};

const TUKEY_PARAMS: &[P] = &[
    P::SERIES,
    P::required("basis", T::Float),
    P::required("n", T::Integer),
    P::optional("interval", T::IntOrInterval).or(Default::Int(0)),
];

const TUKEY_ABOVE: Function = Function {
    names: &["tukeyAbove"],
    group: Group::Carbonapi,
    about: "Keeps the `n` series with the most outliers by Tukey's range test: values at or above the third quartile \
            of all values plus `basis` times the distance of the quartiles. A positive `interval` looks at the last \
            values only, a negative one at those before them.",
    params: TUKEY_PARAMS,
    aggregator: false,
    run: |c| tukey(c, true),
};

const TUKEY_BELOW: Function = Function {
    names: &["tukeyBelow"],
    group: Group::Carbonapi,
    about: "The same as `tukeyAbove()` for values at or below the first quartile less `basis` times the distance.",
    params: TUKEY_PARAMS,
    aggregator: false,
    run: |c| tukey(c, false),
};

fn baseline(c: &mut Invocation<'_, '_, '_>, aberration: bool) -> Result<Value, Stop> {
    let unit_s = backwards(&c.text("timeShiftUnit")?)?;
    let (start, end) = (c.int("timeShiftStart")?, c.int("timeShiftEnd")?);
    if end.saturating_sub(start) > SHIFTS_MAX {
        return Err(Error::invalid(format!("more than {SHIFTS_MAX} shifts")).into());
    }
    let (max_absent, min_mean) = (c.opt_float("maxAbsentPercent")?, c.opt_float("minAvg")?);
    let current = c.series("seriesList")?;
    // Of several with one name the first counts.
    let now: HashMap<&str, &Series> = current.iter().rev().map(|s| (s.name.as_str(), s)).collect();
    let mut groups: Vec<(Series, Vec<Series>)> = Vec::new();
    let mut at: HashMap<String, usize> = HashMap::new();
    let mut pending = false;
    for shift in (start..end).filter(|shift| *shift != 0) {
        let by_s = unit_s.saturating_mul(shift).clamp(-time::SECOND_MAX, time::SECOND_MAX);
        let earlier = match c.first_in_range(c.scope.from_s + by_s, c.scope.until_s + by_s) {
            Err(Stop::Pending) => {
                pending = true;
                continue;
            }
            other => other?,
        };
        for s in earlier {
            if let Some(&at) = at.get(&s.name) {
                groups[at].1.push(s);
            } else if !aberration || now.contains_key(s.name.as_str()) {
                let frame = Series { start_s: s.start_s - by_s, end_s: s.end_s - by_s, ..s.clone() };
                at.insert(s.name.clone(), groups.len());
                groups.push((frame, vec![s]));
            }
        }
    }
    if pending {
        return Err(Stop::Pending);
    }
    let mut results = Vec::with_capacity(groups.len());
    for (frame, group) in groups {
        c.charge(group.iter().map(|s| s.values.len()).sum::<usize>().saturating_mul(SORT_POINTS))?;
        let mut values = c.eval.points.make(frame.values.len() as i64).map(|len| vec![f64::NAN; len])?;
        let mut row = Vec::with_capacity(group.len());
        for (i, value) in values.iter_mut().enumerate() {
            row.clear();
            row.extend(group.iter().filter_map(|s| s.values.get(i)).filter(|v| !v.is_nan()));
            *value = AggFunc::Median.apply(&row);
        }
        let known = values.iter().filter(|v| !v.is_nan()).count();
        let absent = 100.0 * (values.len() - known) as f64 / values.len() as f64;
        let mean = AggFunc::Average.apply(&values);
        if max_absent.is_some_and(|max| absent > max) || min_mean.is_some_and(|min| mean < min) {
            continue;
        }
        let name = if aberration { "baselineAberration" } else { "baseline" };
        if let Some(now) = now.get(frame.name.as_str()).filter(|_| aberration) {
            for (usual, v) in values.iter_mut().zip(now.values.iter().chain(std::iter::repeat(&f64::NAN))) {
                // Nothing is compared with zero.
                *usual = if *usual == 0.0 && !v.is_nan() { 0.0 } else { v / *usual };
            }
        }
        results.push(frame.derived(format!("{name}({})", frame.name), values));
    }
    Ok(results.into())
}

/// An interval that goes back unless it has a sign.
fn backwards(text: &str) -> Result<i64> {
    let signed = text.starts_with(|c: char| !c.is_ascii_digit());
    let seconds = time::parse_interval(text)?;
    Ok(if signed { seconds } else { -seconds })
}

fn tukey(c: &mut Invocation<'_, '_, '_>, above: bool) -> Result<Value, Stop> {
    let (basis, n) = (c.finite("basis")?, c.int("n")?);
    let n = usize::try_from(n).ok().filter(|n| *n > 0 && basis > 0.0);
    let n = n.ok_or_else(|| Error::invalid("arguments basis and n must be positive"))?;
    let interval = c.given("interval").cloned().unwrap_or(Value::None);
    let series = c.series("seriesList")?;
    let step_s = series.first().map_or(1, |s| s.step_s.max(1));
    let last = match &interval {
        Value::None => 0,
        Value::Int(i) => *i,
        Value::Str(text) => time::parse_interval(text)? / step_s,
        other => return Err(Error::invalid(format!("interval cannot be {}", other.describe())).into()),
    };
    let known = |s: &Series| -> Vec<f64> {
        s.values[part(s.values.len(), last)].iter().copied().filter(|v| !v.is_nan()).collect()
    };
    let mut all: Vec<f64> = series.iter().flat_map(&known).collect();
    all.sort_unstable_by(f64::total_cmp);
    let quartile = |share: f64| all.get((share * all.len() as f64) as usize).copied();
    let (Some(first), Some(third)) = (quartile(0.25), quartile(0.75)) else { return Ok(Vec::new().into()) };
    let reach = basis * (third - first);
    let outlier = |v: &f64| if above { *v >= third + reach } else { *v <= first - reach };
    let mut counted: Vec<(usize, Series)> =
        series.into_iter().map(|s| (known(&s).iter().filter(|v| outlier(v)).count(), s)).collect();
    counted.retain(|(count, _)| *count > 0);
    // Of those with as many the first ones stay.
    counted.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    counted.truncate(n);
    Ok(counted.into_iter().map(|(_, s)| s).collect::<Vec<_>>().into())
}

/// The last values, or with a negative number all but the last; all of them for zero or more than there are.
fn part(len: usize, last: i64) -> Range<usize> {
    match usize::try_from(last.unsigned_abs()) {
        Ok(n) if n > 0 && n < len => {
            if last > 0 {
                len - n..len
            } else {
                0..len - n
            }
        }
        _ => 0..len,
    }
}
