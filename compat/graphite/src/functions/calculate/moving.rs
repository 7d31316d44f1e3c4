//! Moving windows.
//!
//! The values before the range that the first windows need come from evaluating the first
//! argument again over a longer range, which may have another step.

use super::window::windows;
use crate::eval::{Stop, Value};
use crate::functions::Param as P;
use crate::functions::ParamType as T;
use crate::functions::support::SORT_POINTS;
use crate::functions::{Default, Function, Group, Invocation};
use crate::python;
use crate::series::{AggFunc, Series};
use crate::time;
use rhythmite_model::{Error, Result};

pub(crate) const ALL: &[Function] = &[
    of_one_kind(&["movingAverage"], "The mean of the window before each value.", |c| moving(c, "average")),
    of_one_kind(&["movingMax"], "The largest value of the window before each value.", |c| moving(c, "max")),
    of_one_kind(&["movingMedian"], "The median of the window before each value.", |c| moving(c, "median")),
    of_one_kind(&["movingMin"], "The smallest value of the window before each value.", |c| moving(c, "min")),
    of_one_kind(&["movingSum"], "The sum of the window before each value.", |c| moving(c, "sum")),
    EXPONENTIAL_MOVING_AVERAGE,
    MOVING_WINDOW,
];

const WINDOW: P =
    P::required("windowSize", T::IntOrInterval).such_as(&["5", "7", "10", "1min", "5min", "10min", "30min", "1hour"]);

const fn of_one_kind(
    names: &'static [&'static str],
    about: &'static str,
    run: fn(&mut Invocation<'_, '_, '_>) -> Result<Value, Stop>,
) -> Function {
    const PARAMS: &[P] = &[P::SERIES, WINDOW, P::optional("xFilesFactor", T::Float)];
    Function { names, group: Group::Calculate, about, params: PARAMS, aggregator: false, run }
}

const EXPONENTIAL_MOVING_AVERAGE: Function = Function {
    names: &["exponentialMovingAverage"],
    group: Group::Calculate,
    about: "A mean in which older values weigh exponentially less, rounded to six decimals; it starts with the plain \
            mean of the window before the range.",
    params: &[P::SERIES, WINDOW],
    aggregator: false,
    run: |c| {
        let Some((size, series)) = widened(c)? else { return Ok(Vec::new().into()) };
        let weight = match &size.points {
            Some(points) => 2.0 / (*points as f64 + 1.0),
            None => 2.0 / (size.preview_s as f64 + 1.0),
        };
        let mut results = Vec::with_capacity(series.len());
        for mut s in series {
            s.tags.set("exponentialMovingAverage", &size.tag);
            let values = exponential(&s.values, size.points_of(&s), weight);
            results.push(size.name(&s, "exponentialMovingAverage", values));
        }
        Ok(results.into())
    },
};

const MOVING_WINDOW: Function = Function {
    names: &["movingWindow"],
    group: Group::Calculate,
    about: "The aggregated value of the window before each value: of that many values, or of an interval.",
    params: &[
        P::SERIES,
        WINDOW,
        P::optional("func", T::AggFunc).or(Default::Text("average")),
        P::optional("xFilesFactor", T::Float),
    ],
    aggregator: false,
    run: |c| {
        let func = c.text("func")?;
        moving(c, &func)
    },
};

fn moving(c: &mut Invocation<'_, '_, '_>, func: &str) -> Result<Value, Stop> {
    let agg = AggFunc::parse(func)?;
    let factor = c.opt_float("xFilesFactor")?;
    let Some((size, series)) = widened(c)? else { return Ok(Vec::new().into()) };
    let mut first = func.chars();
    let function = first
        .next()
        .map_or(String::new(), |initial| format!("moving{}{}", initial.to_uppercase(), first.as_str().to_lowercase()));
    let mut results = Vec::with_capacity(series.len());
    for mut s in series {
        s.tags.set(&function, &size.tag);
        if agg == AggFunc::Median {
            c.charge(s.values.len().saturating_mul(SORT_POINTS))?;
        }
        let values = windows(&s.values, size.points_of(&s), agg, factor.unwrap_or(s.x_files_factor));
        results.push(size.name(&s, &function, values));
    }
    Ok(results.into())
}

/// The size of a window.
struct Size {
    /// Seconds of data needed before the range.
    preview_s: i64,
    /// The number of values, unless the size is an interval.
    points: Option<usize>,
    /// As the name shows it, in quotes if it is an interval.
    shown: String,
    tag: String,
}

impl Size {
    fn points_of(&self, series: &Series) -> usize {
        let by_time = || if series.step_s > 0 { self.preview_s / series.step_s } else { 0 };
        self.points.unwrap_or_else(|| usize::try_from(by_time()).unwrap_or(0))
    }

    fn name(&self, series: &Series, function: &str, values: Vec<f64>) -> Series {
        let result = series.derived(format!("{function}({},{})", series.name, self.shown), values);
        Series { start_s: series.start_s + self.preview_s, ..result }
    }
}

/// The window's size and the first argument over the range and the window before it; `None` when
/// the list is empty.
fn widened(c: &mut Invocation<'_, '_, '_>) -> Result<Option<(Size, Vec<Series>)>, Stop> {
    let series = c.series("seriesList")?;
    let given = c.given("windowSize").cloned().unwrap_or(Value::None);
    let (preview_s, points, shown) = match &given {
        Value::Str(text) => (time::parse_interval(text)?.abs(), None, format!("\"{text}\"")),
        Value::Int(_) | Value::Float(_) => {
            let points = if let Value::Int(i) = given { i } else { c.float("windowSize")? as i64 };
            let points = usize::try_from(points).map_err(|_| Error::invalid("argument windowSize is negative"))?;
            let step_s = series.iter().map(|s| s.step_s).max().unwrap_or(0);
            let preview_s = i64::try_from(points).ok().and_then(|p| p.checked_mul(step_s));
            let preview_s = preview_s.filter(|p| *p <= time::SECOND_MAX);
            (preview_s.ok_or_else(|| Error::invalid("argument windowSize is too large"))?, Some(points), given.text())
        }
        other => return Err(Error::invalid(format!("windowSize cannot be {}", other.describe())).into()),
    };
    if series.is_empty() {
        return Ok(None);
    }
    let from_s = c.scope.from_s.saturating_sub(preview_s);
    let series = c.first_in_range(from_s, c.scope.until_s)?;
    Ok(Some((Size { preview_s, points, shown, tag: given.text() }, series)))
}

fn exponential(values: &[f64], window: usize, weight: f64) -> Vec<f64> {
    let head = &values[..window.min(values.len())];
    let start = AggFunc::Average.apply(head);
    let mut mean = if start.is_nan() { 0.0 } else { start };
    let mut results = Vec::with_capacity(values.len() - head.len() + 1);
    results.push(python::round(mean, 6));
    for v in &values[head.len()..] {
        if v.is_nan() {
            results.push(f64::NAN);
        } else {
            mean = weight * v + (1.0 - weight) * mean;
            results.push(python::round(mean, 6));
        }
    }
    results
}
