//! Columns into one, a column at a time.

use super::AggFunc;
use super::normalize::known_enough;
use std::ops::Range;

/// An aggregate of columns that come one after the other: what is held is one column, however many there are.
///
/// The order of the columns counts: floats are added in it, and `diff` and `last` mean it.
#[derive(Clone, Debug)]
pub struct Fold {
    func: AggFunc,
    columns: usize,
    /// Sums, or what the function has made of each row so far.
    out: Vec<f64>,
    /// Largest of each row; only for the range.
    high: Vec<f64>,
    /// Known values of each row; as wide as values are, so that the compiler counts several rows at once.
    known: Vec<u64>,
}

impl Fold {
    /// Whether a function goes column by column, or needs all values of a row at once.
    #[must_use]
    pub fn folds(func: AggFunc) -> bool {
        !matches!(func, AggFunc::Median | AggFunc::Stddev)
    }

    /// No column yet, of `rows` rows. `None` for functions that need all values of a row at once.
    #[must_use]
    pub fn new(func: AggFunc, rows: usize) -> Option<Self> {
        if !Self::folds(func) {
            return None;
        }
        let start = match func {
            // Minus zero changes nothing it is added to, not even minus zero.
            AggFunc::Sum | AggFunc::Average | AggFunc::AvgZero => -0.0,
            _ => f64::NAN,
        };
        let high = if func == AggFunc::Range { vec![f64::NAN; rows] } else { Vec::new() };
        Some(Self { func, columns: 0, out: vec![start; rows], high, known: vec![0; rows] })
    }

    /// The next columns. Rows behind the end of one are unknown in it; values behind the last row are left out.
    // PERF: some hundred rows at a time stay in the first cache while the columns stream by: a third of the time of
    // adding column by column.
    // Proof: `cargo bench -p rhythmite-graphite --bench graphite_eval -- sum_1000`.
    pub fn add<C: AsRef<[f64]>>(&mut self, columns: &[C]) {
        const ROWS: usize = 512;
        self.columns += columns.len();
        for start in (0..self.out.len()).step_by(ROWS) {
            let rows = start..self.out.len().min(start + ROWS);
            for column in columns {
                self.add_rows(rows.clone(), column.as_ref().get(start..).unwrap_or_default());
            }
        }
    }

    /// Adds a part of a column, no longer than these rows.
    fn add_rows(&mut self, rows: Range<usize>, column: &[f64]) {
        let (out, known) = (&mut self.out[rows.clone()], &mut self.known[rows.clone()]);
        if matches!(self.func, AggFunc::Sum | AggFunc::Average | AggFunc::AvgZero) {
            // PERF: without a branch on gaps the compiler adds several rows at once.
            for ((sum, known), v) in out.iter_mut().zip(known).zip(column) {
                *sum += if v.is_nan() { -0.0 } else { *v };
                *known += u64::from(!v.is_nan());
            }
            return;
        }
        for (known, v) in known.iter_mut().zip(column) {
            *known += u64::from(!v.is_nan());
        }
        match self.func {
            AggFunc::Min => fold(out, column, f64::min),
            AggFunc::Max => fold(out, column, f64::max),
            AggFunc::Diff => fold(out, column, |a, v| a - v),
            AggFunc::Last => fold(out, column, |_, v| v),
            AggFunc::Range => {
                fold(out, column, f64::min);
                fold(&mut self.high[rows], column, f64::max);
            }
            AggFunc::Multiply => fold(out, column, |a, v| a * v),
            _ => {}
        }
    }

    /// Columns so far.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows of the result.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.out.len()
    }

    /// The aggregate of each row. A row is known when at least one value is and known/columns >= `x_files_factor`.
    #[must_use]
    pub fn finish(&self, x_files_factor: f64) -> Vec<f64> {
        let row = |(i, (&value, &known)): (usize, (&f64, &u64))| {
            let known = known as usize;
            match self.func {
                _ if !known_enough(known, self.columns, x_files_factor) => f64::NAN,
                AggFunc::Average => value / known as f64,
                AggFunc::AvgZero => value / self.columns as f64,
                AggFunc::Count => known as f64,
                AggFunc::Range => self.high[i] - value,
                // A product is unknown as soon as one value is.
                AggFunc::Multiply if known < self.columns => f64::NAN,
                _ => value,
            }
        };
        self.out.iter().zip(&self.known).enumerate().map(row).collect()
    }
}

fn fold(out: &mut [f64], column: &[f64], f: impl Fn(f64, f64) -> f64) {
    for (a, v) in out.iter_mut().zip(column) {
        if !v.is_nan() {
            *a = if a.is_nan() { *v } else { f(*a, *v) };
        }
    }
}
