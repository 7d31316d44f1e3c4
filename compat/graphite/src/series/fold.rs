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
            let (several, rest) = if Self::sums(self.func) { columns.as_chunks() } else { (&[][..], columns) };
            for columns in several {
                let parts = columns.each_ref().map(|column| column.as_ref().get(rows.clone()));
                match parts {
                    [Some(a), Some(b), Some(c), Some(d)] => self.sum_rows(rows.clone(), [a, b, c, d]),
                    _ => columns.iter().for_each(|column| self.add_column(rows.clone(), column.as_ref())),
                }
            }
            rest.iter().for_each(|column| self.add_column(rows.clone(), column.as_ref()));
        }
    }

    /// Whether a function needs no more than sums.
    fn sums(func: AggFunc) -> bool {
        matches!(func, AggFunc::Sum | AggFunc::Average | AggFunc::AvgZero)
    }

    /// Adds these rows of a column, as far as it goes.
    fn add_column(&mut self, rows: Range<usize>, column: &[f64]) {
        self.add_rows(rows.clone(), column.get(rows.start..).unwrap_or_default());
    }

    /// Adds as many rows of several columns, one column after the other.
    // PERF: what was added so far is loaded and stored once for all of them.
    fn sum_rows<const N: usize>(&mut self, rows: Range<usize>, columns: [&[f64]; N]) {
        let (out, known) = (&mut self.out[rows.clone()], &mut self.known[rows.clone()]);
        let columns = columns.map(|column| &column[..rows.len()]);
        for (row, (sum, known)) in out.iter_mut().zip(known).enumerate() {
            for column in columns {
                let v = column[row];
                *sum += if v.is_nan() { -0.0 } else { v };
                *known += u64::from(!v.is_nan());
            }
        }
    }

    /// Adds a part of a column, no longer than these rows.
    fn add_rows(&mut self, rows: Range<usize>, column: &[f64]) {
        let (out, known) = (&mut self.out[rows.clone()], &mut self.known[rows.clone()]);
        if Self::sums(self.func) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns of several lengths with gaps, infinities and zeros of both signs.
    fn column(number: usize, rows: usize) -> Vec<f64> {
        let value = |row: usize| match (row * 7 + number * 13) % 11 {
            0 | 1 => f64::NAN,
            2 => -0.0,
            3 if row.is_multiple_of(50) => f64::INFINITY,
            n => (n as f64 - 6.5) / 3.0 + (row % 100) as f64 * 1e-9,
        };
        (0..rows).map(value).collect()
    }

    #[test]
    fn columns_are_added_in_their_order_however_many_come_together() {
        const ROWS: usize = 1_030;
        for count in 1..=9 {
            let lengths = [ROWS, ROWS, 700, ROWS + 5, ROWS, ROWS, ROWS, ROWS, 0];
            let columns: Vec<Vec<f64>> = (0..count).map(|n| column(n, lengths[n])).collect();
            let mut expected = vec![-0.0; ROWS];
            for column in &columns {
                expected.iter_mut().zip(column).filter(|(_, v)| !v.is_nan()).for_each(|(sum, v)| *sum += v);
            }
            let is_known = |row: usize| columns.iter().any(|c| c.get(row).is_some_and(|v| !v.is_nan()));
            (0..ROWS).filter(|row| !is_known(*row)).for_each(|row| expected[row] = f64::NAN);
            for together in [1, 3, count] {
                let mut fold = Fold::new(AggFunc::Sum, ROWS).unwrap();
                columns.chunks(together).for_each(|columns| fold.add(columns));
                let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&fold.finish(0.0)), bits(&expected), "{count} columns, {together} together");
            }
        }
    }
}
