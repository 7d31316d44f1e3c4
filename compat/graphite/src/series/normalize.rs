//! Series of different steps side by side.

use super::{AggFunc, Fold, Series};
use rhythmite_model::{Error, Result};
use std::borrow::Cow;

/// Columns of one common step. They are lined up by position, as the reference does it: a series
/// that starts later is not moved, a shorter one is unknown at its end.
#[derive(Debug)]
pub struct Normalized<'a> {
    /// Earliest start.
    pub start_s: i64,
    /// Latest end, cut to a whole number of steps.
    pub end_s: i64,
    /// Least common multiple of the steps.
    pub step_s: i64,
    /// Values of each series in that step, of different lengths.
    pub columns: Vec<Cow<'a, [f64]>>,
}

/// Brings series to one step. `None` when there is no series.
///
/// # Errors
/// `Invalid` when a step is not positive, the common step is out of range, or a series asks for
/// an unknown consolidation.
pub fn normalize<'a>(series: impl IntoIterator<Item = &'a Series> + Clone) -> Result<Option<Normalized<'a>>> {
    let mut step_s = 0;
    for s in series.clone() {
        step_s = if step_s == 0 { lcm(s.step_s, s.step_s)? } else { lcm(step_s, s.step_s)? };
    }
    let start_s = series.clone().into_iter().map(|s| s.start_s).min();
    let end_s = series.clone().into_iter().map(|s| s.end_s).max();
    let (Some(start_s), Some(end_s)) = (start_s, end_s) else { return Ok(None) };
    let columns = series.into_iter().map(|s| column(s, step_s)).collect::<Result<_>>()?;
    Ok(Some(Normalized { start_s, end_s: end_s - (end_s - start_s).rem_euclid(step_s), step_s, columns }))
}

fn column(series: &Series, step_s: i64) -> Result<Cow<'_, [f64]>> {
    let per_point = usize::try_from(step_s / series.step_s).unwrap_or(usize::MAX);
    if per_point <= 1 {
        return Ok(Cow::Borrowed(&series.values[..]));
    }
    series.consolidation.apply(&series.values, per_point, series.x_files_factor).map(Cow::Owned)
}

/// Least common multiple of two steps.
///
/// # Errors
/// `Invalid` when a step is not positive or the result is out of range.
pub fn lcm(a: i64, b: i64) -> Result<i64> {
    if a <= 0 || b <= 0 {
        return Err(Error::invalid("a series without a step cannot be combined with others"));
    }
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    (a / x).checked_mul(b).ok_or_else(|| Error::invalid("the series have no common step"))
}

impl Normalized<'_> {
    /// Length of the longest column.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.iter().map(|c| c.len()).max().unwrap_or(0)
    }

    /// Has no column any value?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `f` with each row; NaN where a column has ended.
    pub fn map_rows(&self, mut f: impl FnMut(&mut [f64]) -> f64) -> Vec<f64> {
        let mut row = vec![f64::NAN; self.columns.len()];
        let mut out = Vec::with_capacity(self.len());
        for i in 0..self.len() {
            for (cell, column) in row.iter_mut().zip(&self.columns) {
                *cell = column.get(i).copied().unwrap_or(f64::NAN);
            }
            out.push(f(&mut row));
        }
        out
    }

    /// Aggregates each row. A row is known when at least one value is and known/columns >=
    /// `x_files_factor`.
    #[must_use]
    pub fn aggregate(&self, func: AggFunc, x_files_factor: f64) -> Vec<f64> {
        match Fold::new(func, self.len()) {
            Some(mut fold) => {
                fold.add(&self.columns);
                fold.finish(x_files_factor)
            }
            None => {
                let enough = |row: &[f64]| known_enough(count_known(row), row.len(), x_files_factor);
                self.map_rows(|row| if enough(row) { func.apply(row) } else { f64::NAN })
            }
        }
    }
}

fn count_known(values: &[f64]) -> usize {
    values.iter().filter(|v| !v.is_nan()).count()
}

/// Is the share of known values large enough?
#[must_use]
pub(crate) fn known_enough(known: usize, total: usize, x_files_factor: f64) -> bool {
    total > 0 && known_enough_of(known, total as f64, x_files_factor)
}

/// The same where the room is not a whole number of values.
#[must_use]
pub(crate) fn known_enough_of(known: usize, room: f64, x_files_factor: f64) -> bool {
    known > 0 && known as f64 / room >= x_files_factor
}
