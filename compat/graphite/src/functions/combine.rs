//! Functions that make one series out of several.

use super::Param as P;
use super::ParamType as T;
use super::support::{
    SORT_POINTS, aggregate, aggregate_folded, combine, divide, group_by, node_key, path_expressions, power, zip_longest,
};
use super::{Default, Function, Group, Invocation, Node};
use crate::eval::{Stop, Value};
use crate::fetch::Folded;
use crate::python;
use crate::series::{Series, normalize, percentile};
use rhythmite_model::{Error, Result};

pub(super) const ALL: &[Function] = &[
    of_all(&["averageSeries", "avg"], "Mean of all series at each instant.", fold),
    of_all(&["diffSeries"], "The first series minus all others.", fold),
    of_all(&["maxSeries"], "Largest of all series at each instant.", fold),
    of_all(&["minSeries"], "Smallest of all series at each instant.", fold),
    of_all(&["multiplySeries"], "Product of all series; a single series stays as it is.", multiply),
    of_all(&["rangeOfSeries"], "Largest minus smallest of all series at each instant.", fold),
    of_all(&["stddevSeries"], "Standard deviation of all series at each instant.", fold),
    of_all(&["sumSeries", "sum"], "Sum of all series at each instant.", fold),
    pairs(&["diffSeriesLists"], "Subtracts the second list from the first, pair by pair.", |c| fold_pairs(c, "diff")),
    pairs(&["multiplySeriesLists"], "Multiplies two lists pair by pair.", |c| fold_pairs(c, "multiply")),
    pairs(&["sumSeriesLists"], "Adds two lists pair by pair.", |c| fold_pairs(c, "sum")),
    wildcards(&["averageSeriesWithWildcards"], "Mean of the series that differ only in the given nodes.", |c| {
        fold_wildcards(c, "average")
    }),
    wildcards(&["multiplySeriesWithWildcards"], "Product of the series that differ only in the given nodes.", |c| {
        fold_wildcards(c, "multiply")
    }),
    wildcards(&["sumSeriesWithWildcards"], "Sum of the series that differ only in the given nodes.", |c| {
        fold_wildcards(c, "sum")
    }),
    AGGREGATE,
    AGGREGATE_SERIES_LISTS,
    AGGREGATE_WITH_WILDCARDS,
    COUNT_SERIES,
    DIVIDE_SERIES,
    DIVIDE_SERIES_LISTS,
    GROUP,
    PERCENTILE_OF_SERIES,
    POW_SERIES,
    WEIGHTED_AVERAGE,
];

/// Functions that make one series of all series they are given, by an aggregation function.
const FOLDS: [(&str, &str); 7] = [
    ("averageSeries", "average"),
    ("diffSeries", "diff"),
    ("maxSeries", "max"),
    ("minSeries", "min"),
    ("rangeOfSeries", "rangeOf"),
    ("stddevSeries", "stddev"),
    ("sumSeries", "sum"),
];

/// The aggregation function by which a function makes one series of all that it is given; `None` for others.
pub(super) fn folds_by(function: &Function) -> Option<&'static str> {
    FOLDS.iter().find_map(|(name, func)| (*name == function.names[0]).then_some(*func))
}

/// What such a function makes of the series of one pattern that the store has aggregated.
pub(crate) fn of_folded(func: &str, folded: &Folded, path: &str, x_files_factor: f64) -> Value {
    Vec::from_iter(aggregate_folded(folded, func, path, x_files_factor)).into()
}

type Run = fn(&mut Invocation<'_, '_, '_>) -> Result<Value, Stop>;

const FIRST: P = P::required("seriesListFirstPos", T::SeriesList);
const SECOND: P = P::required("seriesListSecondPos", T::SeriesList);

const fn of_all(names: &'static [&'static str], about: &'static str, run: Run) -> Function {
    const PARAMS: &[P] = &[P::required("seriesLists", T::SeriesList).many()];
    Function { names, group: Group::Combine, about, params: PARAMS, aggregator: true, run }
}

const fn pairs(names: &'static [&'static str], about: &'static str, run: Run) -> Function {
    const PARAMS: &[P] = &[FIRST, SECOND];
    Function { names, group: Group::Combine, about, params: PARAMS, aggregator: true, run }
}

const fn wildcards(names: &'static [&'static str], about: &'static str, run: Run) -> Function {
    const PARAMS: &[P] = &[P::SERIES, P::optional("position", T::Node).many()];
    Function { names, group: Group::Combine, about, params: PARAMS, aggregator: true, run }
}

const AGGREGATE: Function = Function {
    names: &["aggregate"],
    group: Group::Combine,
    about: "One value for all series at each instant, by the aggregation function `func`.",
    params: &[P::SERIES, P::required("func", T::AggFunc), P::optional("xFilesFactor", T::Float)],
    aggregator: false,
    run: |c| {
        let func = c.text("func")?;
        let factor = c.opt_float("xFilesFactor")?.unwrap_or(c.scope.x_files_factor);
        let series = c.series("seriesList")?;
        Ok(Vec::from_iter(aggregate(&series, &func, factor)?).into())
    },
};

const AGGREGATE_SERIES_LISTS: Function = Function {
    names: &["aggregateSeriesLists"],
    group: Group::Combine,
    about: "Aggregates two lists of equal length pair by pair.",
    params: &[FIRST, SECOND, P::required("func", T::AggFunc), P::optional("xFilesFactor", T::Float)],
    aggregator: false,
    run: |c| {
        let func = c.text("func")?;
        fold_pairs(c, &func)
    },
};

const AGGREGATE_WITH_WILDCARDS: Function = Function {
    names: &["aggregateWithWildcards"],
    group: Group::Combine,
    about: "Aggregates the series that differ only in the nodes at the given positions.",
    params: &[P::SERIES, P::required("func", T::AggFunc), P::optional("position", T::Node).many()],
    aggregator: false,
    run: |c| {
        let func = c.text("func")?;
        fold_wildcards(c, &func)
    },
};

const COUNT_SERIES: Function = Function {
    names: &["countSeries"],
    group: Group::Combine,
    about: "How many series there are, as a series.",
    params: &[P::optional("seriesLists", T::SeriesList).many()],
    aggregator: true,
    run: |c| {
        if c.rest_len() == 0 {
            let mut line = super::special::constant_line(c.scope, 0.0, "0");
            line.path_expression = "countSeries()".to_owned();
            return Ok(vec![line].into());
        }
        let series = c.all_series()?;
        let Some(all) = normalize(&series)? else { return Ok(Vec::new().into()) };
        let name = format!("countSeries({})", path_expressions(&series));
        let values = vec![series.len() as f64; all.len()];
        Ok(vec![from_request(c, Series::new(name, all.start_s, all.end_s, all.step_s, values))].into())
    },
};

const DIVIDE_SERIES: Function = Function {
    names: &["divideSeries"],
    group: Group::Combine,
    about: "Divides each series by one series; dividing by zero gives no value.",
    params: &[P::required("dividendSeriesList", T::SeriesList), P::required("divisorSeries", T::SeriesList)],
    aggregator: false,
    run: |c| {
        let (mut dividends, divisors) = (c.series("dividendSeriesList")?, c.series("divisorSeries")?);
        let divisor = match divisors.as_slice() {
            [divisor] => divisor,
            [] => {
                for s in &mut dividends {
                    s.rename(format!("divideSeries({},MISSING)", s.name));
                    s.values_mut().fill(f64::NAN);
                }
                return Ok(dividends.into());
            }
            many => {
                let n = many.len();
                return Err(Error::invalid(format!(
                    "divideSeries second argument must reference exactly 1 series (got {n})"
                ))
                .into());
            }
        };
        let quotients = dividends.iter().map(|dividend| quotient(c, dividend, divisor)).collect::<Result<Vec<_>>>()?;
        Ok(quotients.into())
    },
};

const DIVIDE_SERIES_LISTS: Function = Function {
    names: &["divideSeriesLists"],
    group: Group::Combine,
    about: "Divides the first list by the second, pair by pair.",
    params: &[P::required("dividendSeriesList", T::SeriesList), P::required("divisorSeriesList", T::SeriesList)],
    aggregator: false,
    run: |c| {
        let (dividends, divisors) = (c.series("dividendSeriesList")?, c.series("divisorSeriesList")?);
        equal_length(&dividends, &divisors)?;
        let pairs = dividends.iter().zip(&divisors);
        Ok(pairs.map(|(a, b)| quotient(c, a, b)).collect::<Result<Vec<_>>>()?.into())
    },
};

const GROUP: Function = Function {
    names: &["group"],
    group: Group::Combine,
    about: "All series of all lists as one list.",
    params: &[P::optional("seriesLists", T::SeriesList).many()],
    aggregator: false,
    run: |c| Ok(c.all_series()?.into()),
};

const PERCENTILE_OF_SERIES: Function = Function {
    names: &["percentileOfSeries"],
    group: Group::Combine,
    about: "The `n`-th percentile of all series at each instant, interpolated between neighbours if asked for.",
    params: &[P::SERIES, P::required("n", T::Float), P::optional("interpolate", T::Boolean).or(Default::Flag(false))],
    aggregator: false,
    run: |c| {
        let (n, interpolate) = (c.finite("n")?, c.flag("interpolate")?);
        if n <= 0.0 {
            return Err(Error::invalid("The requested percent is required to be greater than 0").into());
        }
        let series = c.series("seriesList")?;
        let (Some(first), Some(all)) = (series.first(), normalize(&series)?) else { return Ok(Vec::new().into()) };
        let name = format!("percentileOfSeries({},{})", first.path_expression, python::general(n));
        c.charge(all.len().saturating_mul(series.len()).saturating_mul(SORT_POINTS))?;
        let mut known = Vec::with_capacity(series.len());
        let mut beyond = false;
        let values = all.map_rows(|row| {
            known.clear();
            known.extend(row.iter().filter(|v| !v.is_nan()));
            percentile(&mut known, n, interpolate).unwrap_or_else(|| {
                beyond = true;
                f64::NAN
            })
        });
        if beyond {
            return Err(Error::invalid(format!("there is no percentile {n}")).into());
        }
        Ok(vec![from_request(c, Series::new(name, all.start_s, all.end_s, all.step_s, values))].into())
    },
};

const POW_SERIES: Function = Function {
    names: &["powSeries"],
    group: Group::Combine,
    about: "The first series to the power of the second, to the power of the third, and so on.",
    params: &[P::required("seriesList", T::SeriesList).many()],
    aggregator: true,
    run: |c| {
        let series = c.all_series()?;
        let Some(all) = normalize(&series)? else { return Ok(Vec::new().into()) };
        let names: Vec<&str> = series.iter().map(|s| s.name.as_str()).collect();
        let name = format!("powSeries({})", names.join(","));
        let values = all.map_rows(|row| row.iter().copied().reduce(power).unwrap_or(f64::NAN));
        Ok(vec![from_request(c, Series::new(name, all.start_s, all.end_s, all.step_s, values))].into())
    },
};

const WEIGHTED_AVERAGE: Function = Function {
    names: &["weightedAverage"],
    group: Group::Combine,
    about: "Mean of the first list weighted by the second; the given nodes say which belong together.",
    params: &[
        P::required("seriesListAvg", T::SeriesList),
        P::required("seriesListWeight", T::SeriesList),
        P::optional("nodes", T::NodeOrTag).many(),
    ],
    aggregator: false,
    run: weighted_average,
};

/// A result that is made anew takes its factor from the request.
fn from_request(c: &Invocation<'_, '_, '_>, series: Series) -> Series {
    Series { x_files_factor: c.scope.x_files_factor, ..series }
}

fn fold(c: &mut Invocation<'_, '_, '_>) -> Result<Value, Stop> {
    let func = folds_by(c.function).ok_or_else(|| Error::internal("a function that folds is in the list of them"))?;
    let series = c.all_series()?;
    Ok(Vec::from_iter(aggregate(&series, func, c.scope.x_files_factor)?).into())
}

fn multiply(c: &mut Invocation<'_, '_, '_>) -> Result<Value, Stop> {
    let lists = c.rest_len();
    let series = c.all_series()?;
    if lists == 1 && series.len() == 1 {
        return Ok(series.into());
    }
    Ok(Vec::from_iter(aggregate(&series, "multiply", c.scope.x_files_factor)?).into())
}

fn equal_length(a: &[Series], b: &[Series]) -> Result<()> {
    if a.len() == b.len() {
        return Ok(());
    }
    Err(Error::invalid(format!("both lists must have equal length, not {} and {}", a.len(), b.len())))
}

fn fold_pairs(c: &mut Invocation<'_, '_, '_>, func: &str) -> Result<Value, Stop> {
    let (first, second) = (c.series("seriesListFirstPos")?, c.series("seriesListSecondPos")?);
    equal_length(&first, &second)?;
    let factor = if c.declares("xFilesFactor") { c.opt_float("xFilesFactor")? } else { None };
    let factor = factor.unwrap_or(c.scope.x_files_factor);
    let short = func.strip_suffix("Series").unwrap_or(func);
    let mut results = Vec::with_capacity(first.len());
    for (a, b) in first.into_iter().zip(second) {
        let name = format!("{short}Series({},{})", a.name, b.name);
        if let Some(mut result) = aggregate(&[a, b], func, factor)? {
            result.name = name;
            results.push(result);
        }
    }
    Ok(results.into())
}

fn fold_wildcards(c: &mut Invocation<'_, '_, '_>, func: &str) -> Result<Value, Stop> {
    let positions = c.positions();
    let groups = group_by(c.series("seriesList")?, |s| {
        let kept = s.name.split('.').zip(0i64..).filter(|(_, i)| !positions.contains(i));
        Ok(kept.map(|(node, _)| node).collect::<Vec<_>>().join("."))
    })?;
    let mut results = Vec::with_capacity(groups.len());
    for (key, series) in groups {
        let mut result =
            aggregate(&series, func, c.scope.x_files_factor)?.ok_or_else(|| Error::internal("empty group"))?;
        result.name = key;
        results.push(result);
    }
    Ok(results.into())
}

fn quotient(c: &Invocation<'_, '_, '_>, dividend: &Series, divisor: &Series) -> Result<Series> {
    let name = format!("divideSeries({},{})", dividend.name, divisor.name);
    combine(name, dividend, divisor, c.scope.x_files_factor, divide)
}

fn weighted_average(c: &mut Invocation<'_, '_, '_>) -> Result<Value, Stop> {
    let nodes = c.nodes()?;
    let (averages, weights) = (c.series("seriesListAvg")?, c.series("seriesListWeight")?);
    if averages.len() != weights.len() {
        return Err(Error::invalid(format!(
            "weightedAverage must receive the same number of series for seriesListAvg and seriesListWeight but \
             received respectively {} and {}",
            averages.len(),
            weights.len()
        ))
        .into());
    }
    let pairs = averages.iter().zip(&weights).flat_map(|(a, w)| [(true, a), (false, w)]).collect();
    let groups = group_by(pairs, |(_, s): &(bool, &Series)| node_key(s, &nodes))?;
    let mut products = Vec::new();
    for (_, members) in groups {
        // The last of each kind counts.
        let last = |kind| members.iter().rev().find(|(is_average, _)| *is_average == kind).map(|(_, s)| *s);
        let (Some(average), Some(weight)) = (last(true), last(false)) else { continue };
        let name = format!("product({},{})", weight.name, average.name);
        let values = zip_longest(&average.values, &weight.values, |a, w| a * w);
        products.push(from_request(c, Series::new(name, average.start_s, average.end_s, average.step_s, values)));
    }
    let factor = c.scope.x_files_factor;
    let (Some(sum), Some(weight)) = (aggregate(&products, "sum", factor)?, aggregate(&weights, "sum", factor)?) else {
        return Ok(Vec::new().into());
    };
    let sorted = |list: &[Series]| {
        let distinct: std::collections::BTreeSet<&str> = list.iter().map(|s| s.path_expression.as_str()).collect();
        distinct.into_iter().collect::<Vec<_>>().join(",")
    };
    let nodes: Vec<String> = nodes.iter().map(Node::to_string).collect();
    let name = format!("weightedAverage({}, {}, {})", sorted(&averages), sorted(&weights), nodes.join(","));
    let values = zip_longest(&sum.values, &weight.values, divide);
    Ok(vec![from_request(c, Series::new(name, sum.start_s, sum.end_s, sum.step_s, values))].into())
}
