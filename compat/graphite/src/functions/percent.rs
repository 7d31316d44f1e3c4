//! `asPercent`: each series as a share of a total.

use super::Param as P;
use super::ParamType as T;
use super::support::{combine, divide, group_by, node_key, path_expressions, zip_longest};
use super::{Function, Group, Invocation, Node};
use crate::eval::Value;
use crate::series::{AggFunc, Series, normalize};
use rhythmite_model::{Error, Result};

pub(super) const ALL: &[Function] = &[AS_PERCENT];

const AS_PERCENT: Function = Function {
    names: &["asPercent", "pct"],
    group: Group::Combine,
    about: "Each series in percent of a total: of the sum of all (`total` none), of a number, of one series, or of \
            as many series as there are, paired by name. With nodes, of the total that shares those nodes.",
    params: &[P::SERIES, P::optional("total", T::Any), P::optional("nodes", T::NodeOrTag).many()],
    aggregator: true,
    run: |c| {
        let nodes = c.nodes()?;
        let series = c.series("seriesList")?;
        let total = c.given("total").cloned().unwrap_or(Value::None);
        if series.is_empty() {
            return Ok(series.into());
        }
        let results = if nodes.is_empty() { of_total(c, series, total)? } else { by_nodes(c, series, total, &nodes)? };
        Ok(results.into())
    },
};

fn percent(part: f64, total: f64) -> f64 {
    divide(part, total) * 100.0
}

fn pair(c: &Invocation<'_, '_, '_>, part: &Series, total: &Series) -> Result<Series> {
    let name = format!("asPercent({},{})", part.name, total.name);
    combine(name, part, total, c.scope.x_files_factor, percent)
}

fn of_total(c: &Invocation<'_, '_, '_>, mut series: Vec<Series>, total: Value) -> Result<Vec<Series>> {
    let (column, text, total) = match total {
        Value::Series(mut totals) if totals.len() == series.len() => {
            series.sort_by(|a, b| a.name.cmp(&b.name));
            totals.sort_by(|a, b| a.name.cmp(&b.name));
            return series.iter().zip(&totals).map(|(s, t)| pair(c, s, t)).collect();
        }
        Value::Series(totals) if totals.len() == 1 => (None, totals[0].name.clone(), totals.into_iter().next()),
        Value::None => (None, format!("sumSeries({})", path_expressions(&series)), None),
        Value::Int(_) | Value::Float(_) => {
            let number = if let Value::Int(i) = total {
                i as f64
            } else if let Value::Float(x) = total {
                x
            } else {
                0.0
            };
            (Some(vec![number; series[0].values.len()]), total.text(), None)
        }
        _ => {
            return Err(Error::invalid(
                "asPercent second argument must be missing, a single digit, reference exactly 1 series or reference \
                 the same number of series as the first argument",
            ));
        }
    };
    // With different steps the reference merges values but leaves the series their steps.
    let Some(all) = normalize(series.iter().chain(&total))? else { return Ok(Vec::new()) };
    let column = match (column, &total) {
        (Some(column), _) => column,
        (None, Some(_)) => all.columns[series.len()].to_vec(),
        (None, None) => all.aggregate(AggFunc::Sum, 0.0),
    };
    let shares = series.iter().zip(&all.columns).map(|(s, values)| {
        let name = format!("asPercent({},{text})", s.name);
        let values = zip_longest(values, &column, percent);
        Series { x_files_factor: c.scope.x_files_factor, ..Series::new(name, s.start_s, s.end_s, s.step_s, values) }
    });
    Ok(shares.collect())
}

fn by_nodes(c: &Invocation<'_, '_, '_>, series: Vec<Series>, total: Value, nodes: &[Node]) -> Result<Vec<Series>> {
    let parts = group_by(series, |s| node_key(s, nodes))?;
    let totals = match total {
        Value::None => {
            parts.iter().map(|(key, group)| Ok((key.clone(), sum(c, group)?))).collect::<Result<Vec<_>>>()?
        }
        Value::Series(list) => group_by(list, |s| node_key(s, nodes))?
            .into_iter()
            .map(|(key, group)| Ok((key, sum(c, &group)?)))
            .collect::<Result<Vec<_>>>()?,
        _ => return Err(Error::invalid("total must be None or a seriesList")),
    };
    // As in the reference, what has no partner is framed like whatever was computed last.
    let mut sums = totals.iter().filter(|(_, t)| t.path_expression == t.name && t.name.starts_with("sumSeries("));
    let mut frame = sums.next_back().map(|(_, t)| Frame::of(t));
    let mut results = Vec::new();
    for (key, group) in &parts {
        let total = totals.iter().find(|(k, _)| k == key).map(|(_, t)| t);
        for part in group {
            results.push(match total {
                Some(total) => {
                    let share = pair(c, part, total)?;
                    frame = Some(Frame::of(&share));
                    share
                }
                None => unknown(c, format!("asPercent({},MISSING)", part.name), part, frame),
            });
        }
    }
    for (key, total) in &totals {
        if parts.iter().all(|(k, _)| k != key) {
            results.push(unknown(c, format!("asPercent(MISSING,{})", total.name), total, frame));
        }
    }
    Ok(results)
}

/// A single series is its own sum, name included.
fn sum(c: &Invocation<'_, '_, '_>, group: &[Series]) -> Result<Series> {
    if let [single] = group {
        return Ok(single.clone());
    }
    let Some(all) = normalize(group)? else { return Err(Error::internal("empty group")) };
    let name = format!("sumSeries({})", path_expressions(group));
    let values = all.aggregate(AggFunc::Sum, 0.0);
    let series = Series::new(name, all.start_s, all.end_s, all.step_s, values);
    Ok(Series { x_files_factor: c.scope.x_files_factor, ..series })
}

/// Where a series begins and ends, and its step.
#[derive(Clone, Copy)]
struct Frame(i64, i64, i64);

impl Frame {
    fn of(series: &Series) -> Self {
        Self(series.start_s, series.end_s, series.step_s)
    }
}

/// As many unknown values as `like` has, in another frame if there is one.
fn unknown(c: &Invocation<'_, '_, '_>, name: String, like: &Series, frame: Option<Frame>) -> Series {
    let values = vec![f64::NAN; like.values.len()];
    let Frame(start_s, end_s, step_s) = frame.unwrap_or(Frame::of(like));
    let series = Series::new(name, start_s, end_s, step_s, values);
    Series { x_files_factor: c.scope.x_files_factor, ..series }
}
