//! Differences and sums along a series.

use crate::eval::{Stop, Value};
use crate::functions::Param as P;
use crate::functions::ParamType as T;
use crate::functions::{Function, Group, Invocation};
use crate::python;
use crate::series::Series;
use rhythmite_model::Result;

pub(crate) const ALL: &[Function] =
    &[DELAY, DERIVATIVE, INTEGRAL, INTEGRAL_BY_INTERVAL, NON_NEGATIVE_DERIVATIVE, PER_SECOND];

const DELAY: Function = Function {
    names: &["delay"],
    group: Group::Transform,
    about: "Moves the values by a number of steps, to the right if positive; times stay.",
    params: &[P::SERIES, P::required("steps", T::Integer)],
    aggregator: false,
    run: |c| {
        let steps = c.int("steps")?;
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.tags.set("delay", steps);
            let len = s.values.len();
            let by = usize::try_from(steps.unsigned_abs()).unwrap_or(usize::MAX).min(len);
            let gap = std::iter::repeat_n(f64::NAN, by);
            let values: Vec<f64> = match steps {
                // As in the reference: no step, no values.
                0 => Vec::new(),
                1.. => gap.chain(s.values[..len - by].iter().copied()).collect(),
                _ => s.values[by..].iter().copied().chain(gap).collect(),
            };
            *s = s.derived(format!("delay({},{steps})", s.name), values);
        }
        Ok(series.into())
    },
};

const DERIVATIVE: Function = Function {
    names: &["derivative"],
    group: Group::Transform,
    about: "The difference to the value before; unknown where either is.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| {
        each(c, "derivative", |s| {
            let mut previous = f64::NAN;
            let step = |v: &f64| *v - std::mem::replace(&mut previous, *v);
            s.values.iter().map(step).collect()
        })
    },
};

const INTEGRAL: Function = Function {
    names: &["integral"],
    group: Group::Transform,
    about: "The sum of all values so far; unknown where the value is.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| {
        each(c, "integral", |s| {
            let mut total = 0.0;
            let add = |v: &f64| {
                if v.is_nan() {
                    return f64::NAN;
                }
                total += v;
                total
            };
            s.values.iter().map(add).collect()
        })
    },
};

const INTEGRAL_BY_INTERVAL: Function = Function {
    names: &["integralByInterval"],
    group: Group::Transform,
    about: "The sum of the values so far, from zero again every interval, counted from the start of the range.",
    params: &[P::SERIES, P::required("intervalUnit", T::String)],
    aggregator: false,
    run: |c| {
        let (interval_s, text) = c.interval("intervalUnit")?;
        let interval_s = interval_s.abs();
        if interval_s == 0 {
            return Err(rhythmite_model::Error::invalid("argument intervalUnit must be longer than nothing").into());
        }
        let from_s = c.scope.from_s;
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.tags.set("integralByInterval", &text);
            let mut total = 0.0;
            let window = |ts: i64| (ts - from_s).div_euclid(interval_s);
            let add = |(i, v): (usize, &f64)| {
                let ts = s.start_s + i as i64 * s.step_s;
                if window(ts) != window(ts - s.step_s) {
                    total = 0.0;
                }
                if !v.is_nan() {
                    total += v;
                }
                total
            };
            let values = s.values.iter().enumerate().map(add).collect();
            *s = s.derived(format!("integralByInterval({},'{text}')", s.name), values);
        }
        Ok(series.into())
    },
};

const COUNTER: &[P] = &[P::SERIES, P::optional("maxValue", T::Float), P::optional("minValue", T::Float)];

const NON_NEGATIVE_DERIVATIVE: Function = Function {
    names: &["nonNegativeDerivative"],
    group: Group::Transform,
    about: "The increase of a counter since the value before. Where it decreases the result is unknown, unless \
            `maxValue` says where the counter wraps, to `minValue` or 0.",
    params: COUNTER,
    aggregator: false,
    run: |c| {
        let bounds = bounds(c)?;
        each(c, "nonNegativeDerivative", |s| increases(s, bounds).collect())
    },
};

const PER_SECOND: Function = Function {
    names: &["perSecond"],
    group: Group::Transform,
    about: "The increase of a counter per second, rounded to six decimals; see `nonNegativeDerivative`.",
    params: COUNTER,
    aggregator: false,
    run: |c| {
        let bounds = bounds(c)?;
        each(c, "perSecond", |s| {
            let step_s = s.step_s as f64;
            increases(s, bounds).map(|delta| python::round(delta / step_s, 6)).collect()
        })
    },
};

/// Largest and smallest value of a counter.
type Bounds = (Option<f64>, Option<f64>);

fn bounds(c: &Invocation<'_, '_, '_>) -> Result<Bounds> {
    Ok((c.opt_float("maxValue")?, c.opt_float("minValue")?))
}

/// The increase from one value of a counter to the next; unknown where it cannot be told.
fn increases(series: &Series, (max, min): Bounds) -> impl Iterator<Item = f64> + '_ {
    let mut previous = f64::NAN;
    series.values.iter().map(move |&v| {
        if max.is_some_and(|max| v > max) || min.is_some_and(|min| v < min) {
            previous = f64::NAN;
            return f64::NAN;
        }
        let before = std::mem::replace(&mut previous, v);
        match (max, min) {
            _ if v.is_nan() || before.is_nan() => f64::NAN,
            _ if v >= before => v - before,
            (Some(max), _) => max + 1.0 + v - before - min.unwrap_or(0.0),
            (None, Some(min)) => v - min,
            (None, None) => f64::NAN,
        }
    })
}

fn each(c: &mut Invocation<'_, '_, '_>, function: &str, values: impl Fn(&Series) -> Vec<f64>) -> Result<Value, Stop> {
    let mut series = c.series("seriesList")?;
    for s in &mut series {
        s.tags.set(function, 1);
        *s = s.derived(format!("{function}({})", s.name), values(s));
    }
    Ok(series.into())
}
