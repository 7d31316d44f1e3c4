//! What several groups of functions share.

use super::invocation::Node;
use crate::fetch::Folded;
use crate::python;
use crate::series::{AggFunc, Series, Tags, normalize};
use crate::target;
use rhythmite_model::{Error, Result};
use std::ops::Range;

/// What a search by a regular expression may take, in points to work on.
pub(super) const MATCH_POINTS: usize = 2_000;

/// How much longer it takes to sort a point than to look at it, roughly.
pub(super) const SORT_POINTS: usize = 8;

/// The distinct path expressions of some series, in order, joined by commas.
pub(super) fn path_expressions(series: &[Series]) -> String {
    let mut seen = std::collections::HashSet::new();
    let distinct: Vec<&str> = series.iter().map(|s| s.path_expression.as_str()).filter(|p| seen.insert(*p)).collect();
    distinct.join(",")
}

/// Aggregates series into one named `funcSeries(paths)`; `None` when there is none to aggregate.
/// The function may be spelled the old way, with `Series` at its end.
pub(super) fn aggregate(series: &[Series], func: &str, x_files_factor: f64) -> Result<Option<Series>> {
    let short = func.strip_suffix("Series").unwrap_or(func);
    let agg = AggFunc::parse(short).map_err(|_| Error::invalid(format!("Unsupported aggregation function: {func}")))?;
    let (Some(first), Some(all)) = (series.first(), normalize(series)?) else { return Ok(None) };
    let mut tags = first.tags.clone();
    for s in series {
        tags.keep_common(&s.tags);
    }
    let values = all.aggregate(agg, x_files_factor);
    let result =
        Series::new(aggregate_name(short, &path_expressions(series)), all.start_s, all.end_s, all.step_s, values);
    Ok(Some(as_aggregate(result, short, tags, x_files_factor)))
}

/// What [`aggregate`] makes of the series that one pattern found, if the store has aggregated them.
pub(super) fn aggregate_folded(folded: &Folded, short: &str, path: &str, x_files_factor: f64) -> Option<Series> {
    let mut tags = Tags::of_name(folded.names.first()?);
    for name in &folded.names[1..] {
        tags.keep_common(&Tags::of_name(name));
    }
    let values = folded.fold.finish(x_files_factor);
    let result = Series::new(aggregate_name(short, path), folded.start_s, folded.end_s, folded.step_s, values);
    Some(as_aggregate(result, short, tags, x_files_factor))
}

fn aggregate_name(short: &str, paths: &str) -> String {
    format!("{short}Series({paths})")
}

/// Gives an aggregate the tags that its series have in common.
fn as_aggregate(aggregate: Series, short: &str, mut tags: Tags, x_files_factor: f64) -> Series {
    if tags.get("name").is_none() {
        tags.set("name", &aggregate.name);
    }
    tags.set("aggregatedBy", short);
    Series { tags, x_files_factor, ..aggregate }
}

/// The nodes of a series joined by dots: parts of the dotted name, or tags' values; empty where there is no such thing. For a series named after a call the nodes are those of
/// the first path in it.
///
/// # Errors
/// `Invalid` when such a name cannot be taken apart.
pub(super) fn node_key(series: &Series, nodes: &[Node]) -> Result<String> {
    let expr = if series.name.ends_with(')') { Some(target::parse_prefix(&series.name)?) } else { None };
    let path = expr.as_ref().and_then(|e| e.first_path()).unwrap_or(&series.name);
    let parts: Vec<&str> = path.split(';').next().unwrap_or_default().split('.').collect();
    let mut key = String::new();
    for (i, node) in nodes.iter().enumerate() {
        if i > 0 {
            key.push('.');
        }
        match node {
            Node::Tag(name) => key.push_str(series.tags.get(name).unwrap_or_default()),
            Node::At(i) => key.push_str(match index(parts.len(), *i) {
                Some(i) => parts[i],
                None => series.tags.get(&i.to_string()).unwrap_or_default(),
            }),
        }
    }
    Ok(key)
}

/// Groups in the order in which their keys first appear.
pub(super) fn group_by<T>(items: Vec<T>, mut key: impl FnMut(&T) -> Result<String>) -> Result<Vec<(String, Vec<T>)>> {
    let mut at = std::collections::HashMap::new();
    let mut groups: Vec<(String, Vec<T>)> = Vec::new();
    for item in items {
        let key = key(&item)?;
        let i = *at.entry(key.clone()).or_insert(groups.len());
        if i == groups.len() {
            groups.push((key, Vec::new()));
        }
        groups[i].1.push(item);
    }
    Ok(groups)
}

/// A Python index: negative ones count from the end.
pub(super) fn index(len: usize, i: i64) -> Option<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let i = if i < 0 { i + len } else { i };
    usize::try_from(i).ok().filter(|_| i < len)
}

/// A Python slice `[start:stop]`.
pub(super) fn slice(len: usize, start: i64, stop: Option<i64>) -> Range<usize> {
    let clamp = |i: i64| {
        let len = i64::try_from(len).unwrap_or(i64::MAX);
        usize::try_from(if i < 0 { (i + len).max(0) } else { i.min(len) }).unwrap_or(0)
    };
    let (start, stop) = (clamp(start), stop.map_or(len, clamp));
    start..stop.max(start)
}

/// Division where a zero or unknown divisor gives an unknown result.
pub(super) fn divide(a: f64, b: f64) -> f64 {
    if b == 0.0 { f64::NAN } else { a / b }
}

/// Power; unknown where it is not a real number or too large.
pub(super) fn power(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() {
        return f64::NAN;
    }
    let result = a.powf(b);
    if a.is_finite() && b.is_finite() && !result.is_finite() { f64::NAN } else { result }
}

/// Two columns of different lengths into one.
pub(super) fn zip_longest(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let at = |c: &[f64], i: usize| c.get(i).copied().unwrap_or(f64::NAN);
    (0..a.len().max(b.len())).map(|i| f(at(a, i), at(b, i))).collect()
}

/// Two series brought to one step and combined value by value, as a new series.
pub(super) fn combine(
    name: String,
    a: &Series,
    b: &Series,
    factor: f64,
    f: impl Fn(f64, f64) -> f64,
) -> Result<Series> {
    let Some(both) = normalize([a, b])? else { return Err(Error::internal("two series are not none")) };
    let values = zip_longest(&both.columns[0], &both.columns[1], f);
    Ok(Series { x_files_factor: factor, ..Series::new(name, both.start_s, both.end_s, both.step_s, values) })
}

/// An optional value as Python prints it.
pub(super) fn text_or_none(x: f64) -> String {
    if x.is_nan() { "None".to_owned() } else { python::repr(x) }
}
