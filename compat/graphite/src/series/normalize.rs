//! Series of different steps side by side.

use super::{AggFunc, Series};
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
        let n = self.len();
        // A product is unknown as soon as one column has ended.
        let ragged = self.columns.iter().any(|c| c.len() != n);
        if matches!(func, AggFunc::Median | AggFunc::Stddev) || (func == AggFunc::Multiply && ragged) {
            let enough = |row: &[f64]| known_enough(count_known(row), row.len(), x_files_factor);
            return self.map_rows(|row| if enough(row) { func.apply(row) } else { f64::NAN });
        }
        if matches!(func, AggFunc::Sum | AggFunc::Average | AggFunc::AvgZero) {
            return self.sums(func, x_files_factor);
        }
        // PERF: column by column streams through memory; row by row jumps between a thousand
        // vectors for each point.
        let mut out = vec![f64::NAN; n];
        let mut high = if func == AggFunc::Range { vec![f64::NAN; n] } else { Vec::new() };
        let mut known = vec![0u32; n];
        for column in &self.columns {
            for (k, v) in known.iter_mut().zip(&**column) {
                *k += u32::from(!v.is_nan());
            }
            match func {
                AggFunc::Min => fold(&mut out, column, f64::min),
                AggFunc::Max => fold(&mut out, column, f64::max),
                AggFunc::Diff => fold(&mut out, column, |a, v| a - v),
                AggFunc::Last => fold(&mut out, column, |_, v| v),
                AggFunc::Range => {
                    fold(&mut out, column, f64::min);
                    fold(&mut high, column, f64::max);
                }
                AggFunc::Multiply => fold(&mut out, column, |a, v| a * v),
                _ => {}
            }
        }
        let columns = self.columns.len();
        for (i, (v, k)) in out.iter_mut().zip(known).enumerate() {
            let k = k as usize;
            if !known_enough(k, columns, x_files_factor) {
                *v = f64::NAN;
                continue;
            }
            match func {
                AggFunc::Count => *v = k as f64,
                AggFunc::Range => *v = high[i] - *v,
                AggFunc::Multiply if k < columns => *v = f64::NAN,
                _ => {}
            }
        }
        out
    }

    /// Sums and means.
    // PERF: some hundred rows at a time stay in the first cache while the columns stream by, and without a branch on
    // gaps the compiler adds several rows at once: a third of the time of adding column by column.
    // Proof: `cargo bench -p rhythmite-graphite --bench graphite_eval -- sum_1000`.
    fn sums(&self, func: AggFunc, x_files_factor: f64) -> Vec<f64> {
        const ROWS: usize = 512;
        let (n, columns) = (self.len(), self.columns.len());
        let mut out = Vec::with_capacity(n);
        for start in (0..n).step_by(ROWS) {
            let rows = ROWS.min(n - start);
            // Minus zero changes nothing it is added to, not even minus zero.
            let (mut sums, mut known) = ([-0.0_f64; ROWS], [0_u32; ROWS]);
            for column in &self.columns {
                let part = column.get(start..).unwrap_or_default();
                for ((sum, known), v) in sums.iter_mut().zip(&mut known).zip(part).take(rows) {
                    *sum += if v.is_nan() { -0.0 } else { *v };
                    *known += u32::from(!v.is_nan());
                }
            }
            out.extend(sums.iter().zip(known).take(rows).map(|(&sum, known)| {
                let known = known as usize;
                match func {
                    _ if !known_enough(known, columns, x_files_factor) => f64::NAN,
                    AggFunc::Average => sum / known as f64,
                    AggFunc::AvgZero => sum / columns as f64,
                    _ => sum,
                }
            }));
        }
        out
    }
}

fn fold(out: &mut [f64], column: &[f64], f: impl Fn(f64, f64) -> f64) {
    for (a, v) in out.iter_mut().zip(column) {
        if !v.is_nan() {
            *a = if a.is_nan() { *v } else { f(*a, *v) };
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
