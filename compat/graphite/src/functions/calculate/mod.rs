//! Functions that compute something from a whole series.

mod holt_winters;
mod moving;
mod window;

use super::Param as P;
use super::ParamType as T;
use super::special::{constant_line, generate};
use super::{Default, Function, Group};
use crate::python;
use crate::series::{AggFunc, Series, percentile};
use rhythmite_model::{Error, Result};

pub(super) const FILES: [&[Function]; 3] = [ALL, holt_winters::ALL, moving::ALL];

const ALL: &[Function] = &[AGGREGATE_LINE, IDENTITY, LINEAR_REGRESSION, N_PERCENTILE, STDEV];

const AGGREGATE_LINE: Function = Function {
    names: &["aggregateLine"],
    group: Group::Calculate,
    about: "A horizontal line at the aggregated value of each series: three points, or as many as the series has if \
            `keepStep`.",
    params: &[
        P::SERIES,
        P::optional("func", T::AggFunc).or(Default::Text("average")),
        P::optional("keepStep", T::Boolean).or(Default::Flag(false)),
    ],
    aggregator: false,
    run: |c| {
        let (func, _) = c.agg_func("func")?;
        let keep_step = c.flag("keepStep")?;
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            let value = func.apply(&s.values);
            let shown = if value.is_nan() { "None".to_owned() } else { python::general(value) };
            let name = format!("aggregateLine({}, {shown})", s.name);
            *s = if keep_step {
                s.derived(name, vec![value; s.values.len()])
            } else {
                let text =
                    if func == AggFunc::Count { format!("{value:.0}") } else { super::support::text_or_none(value) };
                let mut line = constant_line(c.scope, value, &text);
                line.rename(name);
                line
            };
        }
        Ok(series.into())
    },
};

const IDENTITY: Function = Function {
    names: &["identity"],
    group: Group::Calculate,
    about: "A made-up series: the time itself, every minute.",
    params: &[P::required("name", T::String)],
    aggregator: false,
    run: |c| {
        let name = c.text("name")?;
        let path_expression = format!("identity(\"{name}\")");
        let series = generate(c, name, 60, |ts| ts as f64)?;
        Ok(vec![Series { path_expression, ..series }].into())
    },
};

const LINEAR_REGRESSION: Function = Function {
    names: &["linearRegression"],
    group: Group::Calculate,
    about: "The straight line that fits each series best, by the values between two instants.",
    params: &[P::SERIES, P::optional("startSourceAt", T::Date), P::optional("endSourceAt", T::Date)],
    aggregator: false,
    run: |c| {
        let from_s = c.opt_time("startSourceAt")?.unwrap_or(c.scope.from_s);
        let until_s = c.opt_time("endSourceAt")?.unwrap_or(c.scope.until_s);
        let sources = c.first_in_range(from_s, until_s)?;
        let series = c.series("seriesList")?;
        let mut lines = Vec::with_capacity(series.len());
        for (source, mut s) in sources.iter().zip(series) {
            s.tags.set("linearRegressions", format!("{from_s}, {until_s}"));
            let Some((slope, offset)) = straight_line(source) else { continue };
            let at = |i: usize| offset + (s.start_s + i as i64 * s.step_s) as f64 * slope;
            let values = (0..s.values.len()).map(at).collect();
            lines.push(s.derived(format!("linearRegression({}, {from_s}, {until_s})", s.name), values));
        }
        Ok(lines.into())
    },
};

const N_PERCENTILE: Function = Function {
    names: &["nPercentile"],
    group: Group::Calculate,
    about: "A horizontal line at the `n`-th percentile of each series; series without a value are dropped.",
    params: &[P::SERIES, P::required("n", T::Float)],
    aggregator: false,
    run: |c| {
        let n = c.finite("n")?;
        let mut lines = Vec::new();
        for mut s in c.series("seriesList")? {
            let value = percentile_of(&s, n)?.ok_or_else(|| Error::invalid(format!("there is no percentile {n}")))?;
            if value.is_nan() {
                continue;
            }
            s.tags.set("nPercentile", n);
            let count = if s.step_s > 0 { c.eval.points.make((s.end_s - s.start_s) / s.step_s)? } else { 0 };
            lines.push(s.derived(format!("nPercentile({}, {})", s.name, python::general(n)), vec![value; count]));
        }
        Ok(lines.into())
    },
};

const STDEV: Function = Function {
    names: &["stdev"],
    group: Group::Calculate,
    about: "The standard deviation of the last `points` values, where at least the share `windowTolerance` of them is \
            known.",
    params: &[
        P::SERIES,
        P::required("points", T::Integer),
        P::optional("windowTolerance", T::Float).or(Default::Float(0.1)),
    ],
    aggregator: false,
    run: |c| {
        let (points, tolerance) = (c.int("points")?, c.float("windowTolerance")?);
        // No window has no values: nothing is known then.
        let window = usize::try_from(points).map_err(|_| Error::invalid("argument points must not be negative"))?;
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.tags.set("stdev", points);
            let values = running_deviation(&s.values, window, tolerance);
            *s = s.derived(format!("stdev({},{points})", s.name), values);
        }
        Ok(series.into())
    },
};

/// The `n`-th percentile of the known values; NaN when there is none, `None` beyond the last.
///
/// # Errors
/// `Invalid` when `n` is zero.
pub(super) fn percentile_of(series: &Series, n: f64) -> Result<Option<f64>> {
    if n == 0.0 {
        return Err(Error::invalid("The requested percent is required to be greater than 0"));
    }
    let mut known: Vec<f64> = series.values.iter().copied().filter(|v| !v.is_nan()).collect();
    Ok(percentile(&mut known, n, false))
}

/// Slope per second and value at 1970 of the line with the least squares; `None` for fewer than two values.
fn straight_line(series: &Series) -> Option<(f64, f64)> {
    let (mut n, mut sum_i, mut sum_v, mut sum_ii, mut sum_iv) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (i, v) in series.values.iter().enumerate().filter(|(_, v)| !v.is_nan()) {
        let i = i as f64;
        n += 1.0;
        sum_i += i;
        sum_v += v;
        sum_ii += i * i;
        sum_iv += i * v;
    }
    let denominator = n * sum_ii - sum_i * sum_i;
    if denominator == 0.0 {
        return None;
    }
    let slope = (n * sum_iv - sum_i * sum_v) / denominator / series.step_s as f64;
    let offset = (sum_ii * sum_v - sum_iv * sum_i) / denominator - slope * series.start_s as f64;
    Some((slope, offset))
}

/// As the reference squares: by the library's power, whose last bit is now and then another one. Where the sums below
/// nearly cancel, that bit is all that is left.
fn squared(x: f64) -> f64 {
    // A constant exponent would be turned into a product.
    x.powf(std::hint::black_box(2.0))
}

/// By running sums of values and squares, as the reference computes it: close to zero the result
/// is unknown where rounding makes the variance negative.
fn running_deviation(values: &[f64], window: usize, tolerance: f64) -> Vec<f64> {
    let (mut known, mut sum, mut squares) = (0.0, 0.0, 0.0);
    let mut results = Vec::with_capacity(values.len());
    for (i, v) in values.iter().enumerate() {
        let dropped = if i >= window { values[i - window] } else { f64::NAN };
        if !dropped.is_nan() {
            known -= 1.0;
            sum -= dropped;
            squares -= squared(dropped);
        }
        if !v.is_nan() {
            known += 1.0;
            sum += v;
            squares += squared(*v);
        }
        let enough = known > 0.0 && known / window as f64 >= tolerance;
        results.push(if enough { (known * squares - squared(sum)).sqrt() / known } else { f64::NAN });
    }
    results
}
