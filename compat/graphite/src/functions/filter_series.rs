//! Functions that keep some series and drop others.

use super::Param as P;
use super::ParamType as T;
use super::sorting::sort_by;
use super::support::{MATCH_POINTS, SORT_POINTS};
use super::{Default, Function, Group, Invocation};
use crate::eval::{Stop, Value};
use crate::python::regex::{Regex, Replacement};
use crate::series::{AggFunc, Series, known_enough, percentile};
use rhythmite_model::{Error, Result};

pub(super) const ALL: &[Function] = &[
    above_or_below(&["averageAbove"], "Keeps series whose mean is above `n`.", |c| compare(c, AggFunc::Average, ">")),
    above_or_below(&["averageBelow"], "Keeps series whose mean is not above `n`.", |c| {
        compare(c, AggFunc::Average, "<=")
    }),
    above_or_below(&["currentAbove"], "Keeps series whose last value is above `n`.", |c| {
        compare(c, AggFunc::Last, ">")
    }),
    above_or_below(&["currentBelow"], "Keeps series whose last value is not above `n`.", |c| {
        compare(c, AggFunc::Last, "<=")
    }),
    above_or_below(&["maximumAbove"], "Keeps series whose largest value is above `n`.", |c| {
        compare(c, AggFunc::Max, ">")
    }),
    above_or_below(&["maximumBelow"], "Keeps series whose largest value is not above `n`.", |c| {
        compare(c, AggFunc::Max, "<=")
    }),
    above_or_below(&["minimumAbove"], "Keeps series whose smallest value is above `n`.", |c| {
        compare(c, AggFunc::Min, ">")
    }),
    above_or_below(&["minimumBelow"], "Keeps series whose smallest value is not above `n`.", |c| {
        compare(c, AggFunc::Min, "<=")
    }),
    first_n(&["highestAverage"], "Keeps the `n` series with the largest mean.", |c| extreme(c, AggFunc::Average, true)),
    first_n(&["highestCurrent"], "Keeps the `n` series with the largest last value.", |c| {
        extreme(c, AggFunc::Last, true)
    }),
    first_n(&["highestMax"], "Keeps the `n` series with the largest maximum.", |c| extreme(c, AggFunc::Max, true)),
    first_n(&["lowestAverage"], "Keeps the `n` series with the smallest mean.", |c| {
        extreme(c, AggFunc::Average, false)
    }),
    first_n(&["lowestCurrent"], "Keeps the `n` series with the smallest last value.", |c| {
        extreme(c, AggFunc::Last, false)
    }),
    AVERAGE_OUTSIDE_PERCENTILE,
    EXCLUDE,
    FILTER_SERIES,
    GREP,
    HIGHEST,
    LIMIT,
    LOWEST,
    MOST_DEVIANT,
    REMOVE_BETWEEN_PERCENTILE,
    REMOVE_EMPTY_SERIES,
    UNIQUE,
    USE_SERIES_ABOVE,
];

pub(super) type Run = fn(&mut Invocation<'_, '_, '_>) -> Result<Value, Stop>;

const fn above_or_below(names: &'static [&'static str], about: &'static str, run: Run) -> Function {
    const PARAMS: &[P] = &[P::SERIES, P::required("n", T::Float)];
    Function { names, group: Group::FilterSeries, about, params: PARAMS, aggregator: false, run }
}

const fn first_n(names: &'static [&'static str], about: &'static str, run: Run) -> Function {
    first_n_of(Group::FilterSeries, names, about, run)
}

pub(super) const fn first_n_of(
    group: Group,
    names: &'static [&'static str],
    about: &'static str,
    run: Run,
) -> Function {
    const PARAMS: &[P] = &[P::SERIES, P::required("n", T::Integer)];
    Function { names, group, about, params: PARAMS, aggregator: false, run }
}

const RANKED: &[P] =
    &[P::SERIES, P::required("n", T::Integer), P::optional("func", T::AggFunc).or(Default::Text("average"))];

const AVERAGE_OUTSIDE_PERCENTILE: Function = Function {
    names: &["averageOutsidePercentile"],
    group: Group::FilterSeries,
    about: "Drops the series whose mean lies between the percentiles `n` and 100 - `n` of all means.",
    params: &[P::SERIES, P::required("n", T::Float)],
    aggregator: false,
    run: |c| {
        let n = upper_percent(c)?;
        let mut series = c.series("seriesList")?;
        let means: Vec<f64> = series.iter().map(|s| AggFunc::Average.apply(&s.values)).collect();
        let (low, high) = percentiles(&means, n);
        let mut means = means.iter();
        series.retain(|_| means.next().is_some_and(|mean| !(low < *mean && *mean < high)));
        Ok(series.into())
    },
};

const EXCLUDE: Function = Function {
    names: &["exclude"],
    group: Group::FilterSeries,
    about: "Drops the series whose name matches a regular expression anywhere.",
    params: &[P::SERIES, P::required("pattern", T::String)],
    aggregator: false,
    run: |c| by_name(c, false),
};

const FILTER_SERIES: Function = Function {
    names: &["filterSeries"],
    group: Group::FilterSeries,
    about: "Keeps series by comparing an aggregated value: operators `= != > >= < <=`.",
    params: &[
        P::SERIES,
        P::required("func", T::AggFunc),
        P::required("operator", T::String).one_of(&["!=", "<", "<=", "=", ">", ">="]),
        P::required("threshold", T::Float),
    ],
    aggregator: false,
    run: |c| {
        let (func, _) = c.agg_func("func")?;
        let (operator, threshold) = (c.text("operator")?, c.float("threshold")?);
        let series = c.series("seriesList")?;
        keep(series, func, &operator, threshold)
    },
};

const GREP: Function = Function {
    names: &["grep"],
    group: Group::FilterSeries,
    about: "Keeps the series whose name matches a regular expression anywhere.",
    params: &[P::SERIES, P::required("pattern", T::String)],
    aggregator: false,
    run: |c| by_name(c, true),
};

const HIGHEST: Function = Function {
    names: &["highest"],
    group: Group::FilterSeries,
    about: "Keeps the `n` series (one by default) with the largest aggregated value.",
    params: RANKED,
    aggregator: false,
    run: |c| {
        let (func, _) = c.agg_func("func")?;
        extreme_or_one(c, func, true)
    },
};

const LIMIT: Function = Function {
    names: &["limit"],
    group: Group::FilterSeries,
    about: "Keeps the first `n` series.",
    params: &[P::SERIES, P::required("n", T::Integer)],
    aggregator: false,
    run: |c| {
        let n = slice_end(c)?;
        let series = c.series("seriesList")?;
        Ok(take(series, n).into())
    },
};

const LOWEST: Function = Function {
    names: &["lowest"],
    group: Group::FilterSeries,
    about: "Keeps the `n` series (one by default) with the smallest aggregated value.",
    params: RANKED,
    aggregator: false,
    run: |c| {
        let (func, _) = c.agg_func("func")?;
        extreme_or_one(c, func, false)
    },
};

const MOST_DEVIANT: Function = Function {
    names: &["mostDeviant"],
    group: Group::FilterSeries,
    about: "Keeps the `n` series with the largest variance.",
    params: &[P::SERIES, P::required("n", T::Integer)],
    aggregator: false,
    run: |c| {
        let n = slice_end(c)?;
        let mut series = c.series("seriesList")?;
        series.retain(|s| s.values.iter().any(|v| !v.is_nan()));
        let mut keyed: Vec<(f64, Series)> = series.into_iter().map(|s| (variance(&s.values), s)).collect();
        keyed.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        Ok(take(keyed.into_iter().map(|(_, s)| s).collect(), n).into())
    },
};

const REMOVE_BETWEEN_PERCENTILE: Function = Function {
    names: &["removeBetweenPercentile"],
    group: Group::FilterSeries,
    about: "Drops the series that at every instant lie between the percentiles `n` and 100 - `n` of all series.",
    params: &[P::SERIES, P::required("n", T::Float)],
    aggregator: false,
    run: |c| {
        let n = upper_percent(c)?;
        let mut series = c.series("seriesList")?;
        let len = series.iter().map(|s| s.values.len()).min().unwrap_or(0);
        c.charge(len.saturating_mul(series.len()).saturating_mul(SORT_POINTS))?;
        let bounds: Vec<(f64, f64)> =
            (0..len).map(|i| percentiles(&series.iter().map(|s| s.values[i]).collect::<Vec<_>>(), n)).collect();
        series.retain(|s| s.values.iter().zip(&bounds).any(|(v, (low, high))| !(low < v && v < high)));
        Ok(series.into())
    },
};

const REMOVE_EMPTY_SERIES: Function = Function {
    names: &["removeEmptySeries"],
    group: Group::FilterSeries,
    about: "Drops the series without a value, or with a share of known values below `xFilesFactor`.",
    params: &[P::SERIES, P::optional("xFilesFactor", T::Float)],
    aggregator: false,
    run: |c| {
        let factor = c.opt_float("xFilesFactor")?.unwrap_or(0.0);
        let mut series = c.series("seriesList")?;
        let known = |s: &Series| s.values.iter().filter(|v| !v.is_nan()).count();
        series.retain(|s| known_enough(known(s), s.values.len(), factor));
        Ok(series.into())
    },
};

const UNIQUE: Function = Function {
    names: &["unique"],
    group: Group::FilterSeries,
    about: "Keeps the first series of each name.",
    params: &[P::required("seriesLists", T::SeriesList).many()],
    aggregator: false,
    run: |c| {
        let mut series = c.all_series()?;
        let mut seen = std::collections::HashSet::new();
        series.retain(|s| seen.insert(s.name.clone()));
        Ok(series.into())
    },
};

const USE_SERIES_ABOVE: Function = Function {
    names: &["useSeriesAbove"],
    group: Group::FilterSeries,
    about: "For each series with a value above `value`, the series whose name a regular expression makes of its name.",
    params: &[
        P::SERIES,
        P::required("value", T::Float),
        P::required("search", T::String),
        P::required("replace", T::String),
    ],
    aggregator: false,
    run: |c| {
        let value = c.float("value")?;
        let (search, replace) = (Regex::new(&c.text("search")?)?, Replacement::new(&c.text("replace")?)?);
        let mut names = Vec::new();
        for s in c.series("seriesList")? {
            let name = search.replace_all(&s.name, &replace, || c.charge(MATCH_POINTS))?;
            if AggFunc::Max.apply(&s.values) > value {
                names.push(name);
            }
        }
        if names.is_empty() {
            return Ok(Vec::new().into());
        }
        let mut scope = c.scope.clone();
        let mut found = c.eval.text(&format!("group({})", names.join(",")), &mut scope)?;
        found.retain(|s| !s.values.is_empty());
        Ok(found.into())
    },
};

fn compare(c: &mut Invocation<'_, '_, '_>, func: AggFunc, operator: &str) -> Result<Value, Stop> {
    let n = c.float("n")?;
    let series = c.series("seriesList")?;
    keep(series, func, operator, n)
}

/// An unknown value is below everything and different from everything.
fn keep(mut series: Vec<Series>, func: AggFunc, operator: &str, threshold: f64) -> Result<Value, Stop> {
    let holds: fn(f64, f64) -> bool = match operator {
        "=" => |v, t| v == t,
        "!=" => |v, t| v != t,
        ">" => |v, t| v > t,
        ">=" => |v, t| v >= t,
        "<" => |v, t| v.is_nan() || v < t,
        "<=" => |v, t| v.is_nan() || v <= t,
        _ => return Err(Error::invalid(format!("Unsupported operator: {operator}")).into()),
    };
    series.retain(|s| holds(func.apply(&s.values), threshold));
    Ok(series.into())
}

/// All are sorted, then the first taken, so ties keep their order.
pub(super) fn extreme(c: &mut Invocation<'_, '_, '_>, func: AggFunc, highest: bool) -> Result<Value, Stop> {
    let n = c.whole("n")?;
    ranked(c, n, func, highest)
}

/// The same; one series without `n`.
fn extreme_or_one(c: &mut Invocation<'_, '_, '_>, func: AggFunc, highest: bool) -> Result<Value, Stop> {
    let n = if c.given("n").is_some() { c.whole("n")? } else { 1 };
    ranked(c, n, func, highest)
}

fn ranked(c: &mut Invocation<'_, '_, '_>, n: i64, func: AggFunc, highest: bool) -> Result<Value, Stop> {
    let mut series = c.series("seriesList")?;
    sort_by(&mut series, func, highest);
    Ok(take(series, n).into())
}

/// The end of a slice: none means all.
fn slice_end(c: &Invocation<'_, '_, '_>) -> Result<i64> {
    if matches!(c.given("n"), Some(Value::None)) { Ok(i64::MAX) } else { c.int("n") }
}

/// `series[:n]`; a negative number leaves that many out at the end.
fn take(mut series: Vec<Series>, n: i64) -> Vec<Series> {
    series.truncate(super::support::slice(series.len(), 0, Some(n)).end);
    series
}

fn by_name(c: &mut Invocation<'_, '_, '_>, keep: bool) -> Result<Value, Stop> {
    let regex = Regex::new(&c.text("pattern")?)?;
    let mut kept = Vec::new();
    for s in c.series("seriesList")? {
        c.charge(MATCH_POINTS)?;
        if regex.is_match(&s.name)? == keep {
            kept.push(s);
        }
    }
    Ok(kept.into())
}

fn upper_percent(c: &Invocation<'_, '_, '_>) -> Result<f64> {
    let n = c.finite("n")?;
    Ok(if n < 50.0 { 100.0 - n } else { n })
}

/// The percentiles 100 - `n` and `n`.
fn percentiles(values: &[f64], n: f64) -> (f64, f64) {
    let mut known: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    let mut at = |n| percentile(&mut known, n, false).unwrap_or(f64::NAN);
    (at(100.0 - n), at(n))
}

fn variance(values: &[f64]) -> f64 {
    let mean = AggFunc::Average.apply(values);
    let known = || values.iter().filter(|v| !v.is_nan());
    known().map(|v| (v - mean).powi(2)).sum::<f64>() / known().count() as f64
}
