//! Lines, tags, names and other odds and ends.

use super::Function;
use super::support::slice;
use crate::eval::Scope;
use crate::series::Series;

pub(super) const ALL: &[Function] = &[];

/// A horizontal line of three points over the range.
pub(super) fn constant_line(scope: &Scope, value: f64, name: &str) -> Series {
    let step_s = (scope.until_s - scope.from_s) / 2;
    let series = Series::new(name, scope.from_s, scope.until_s, step_s, vec![value; 3]);
    Series { path_expression: format!("constantLine({name})"), x_files_factor: scope.x_files_factor, ..series }
}

/// Nodes `start..stop` of what stands in the innermost parentheses of a name, up to a comma. A
/// `stop` of zero means the end.
pub(super) fn substring(name: &str, start: i64, stop: i64) -> String {
    let left = name.rfind('(').map_or(0, |at| at + 1);
    let right = name.find(')').unwrap_or(name.len());
    let inner = name.get(left..right).unwrap_or_default();
    let nodes: Vec<&str> = inner.split('.').collect();
    let kept = nodes[slice(nodes.len(), start, (stop != 0).then_some(stop))].join(".");
    kept.split(',').next().unwrap_or_default().to_owned()
}
