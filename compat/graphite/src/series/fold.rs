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

    /// The next column, by points.
    pub fn column(&mut self) -> FoldColumn<'_> {
        self.columns += 1;
        FoldColumn { fold: self, last: NONE }
    }

    /// So many columns without a value.
    pub fn add_unknown(&mut self, columns: usize) {
        self.columns += columns;
    }

    /// Aggregates of the same columns, each of the rows behind those of the one before, as one. `None` for none.
    #[must_use]
    pub fn joined(parts: impl IntoIterator<Item = Fold>) -> Option<Fold> {
        parts.into_iter().reduce(|mut all, part| {
            all.out.extend(part.out);
            all.high.extend(part.high);
            all.known.extend(part.known);
            all
        })
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

/// A column that is added point by point, and never made: it is neither filled with gaps nor read again, and takes no memory.
/// Points ascend by row; of several in one row the last one counts. Those behind the last row are left out.
pub struct FoldColumn<'f> {
    fold: &'f mut Fold,
    /// The last point, which one of the same row may follow.
    last: (usize, f64),
}

/// No point.
const NONE: (usize, f64) = (usize::MAX, f64::NAN);

impl FoldColumn<'_> {
    /// Adds the next points, rows and values.
    // PERF: the compiler must see a loop over slices and one function: with the match inside it takes twice as long.
    // Proof: `cargo bench -p rhythmite --bench graphite_fetch -- sum_1000_1d`.
    #[inline]
    pub fn add(&mut self, points: impl Iterator<Item = (usize, f64)>) {
        let Fold { func, out, high, known, .. } = &mut *self.fold;
        // The compiler then knows that a row of one is a row of the other.
        let known = &mut known[..out.len()];
        if Fold::sums(*func) {
            return each_last(&mut self.last, points, |row, v| {
                if let Some(sum) = out.get_mut(row) {
                    *sum += v;
                    known[row] += 1;
                }
            });
        }
        let f: fn(f64, f64) -> f64 = match func {
            AggFunc::Min | AggFunc::Range => f64::min,
            AggFunc::Max => f64::max,
            AggFunc::Diff => |a, v| a - v,
            AggFunc::Last => |_, v| v,
            AggFunc::Multiply => |a, v| a * v,
            _ => |a, _| a,
        };
        each_last(&mut self.last, points, |row, v| {
            if let Some(a) = out.get_mut(row) {
                known[row] += 1;
                *a = if a.is_nan() { v } else { f(*a, v) };
                if let Some(high) = high.get_mut(row) {
                    *high = high.max(v);
                }
            }
        });
    }
}

impl Drop for FoldColumn<'_> {
    /// Adds the last point.
    fn drop(&mut self) {
        self.add(std::iter::once(NONE));
    }
}

/// Gives those points that another row follows and that are known.
#[inline]
fn each_last(last: &mut (usize, f64), points: impl Iterator<Item = (usize, f64)>, mut each: impl FnMut(usize, f64)) {
    let mut before = *last;
    points.for_each(|point| {
        if point.0 != before.0 && !before.1.is_nan() {
            each(before.0, before.1);
        }
        before = point;
    });
    *last = before;
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

    const FUNCS: [AggFunc; 10] = [
        AggFunc::Sum,
        AggFunc::Average,
        AggFunc::AvgZero,
        AggFunc::Min,
        AggFunc::Max,
        AggFunc::Diff,
        AggFunc::Last,
        AggFunc::Range,
        AggFunc::Multiply,
        AggFunc::Count,
    ];

    #[test]
    fn points_and_parts_of_rows_give_what_columns_give() {
        const ROWS: usize = 40;
        const CUT: usize = 17;
        let columns: Vec<Vec<f64>> = (0..5).map(|number| column(number, ROWS)).collect();
        let bits = |fold: &Fold| fold.finish(0.5).iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        for func in FUNCS {
            let mut by_column = Fold::new(func, ROWS).unwrap();
            by_column.add(&columns);
            let part = |rows: Range<usize>| {
                let mut fold = Fold::new(func, rows.len()).unwrap();
                for column in &columns {
                    // Gaps that are told and gaps that are not, what is told again, and what lies behind the last row.
                    let told = rows.clone().filter(|row| row % 2 == 0 || !column[*row].is_nan());
                    let again = |row: usize| (0..row % 3).rev().map(move |n| (row, n as f64 * 100.0 + column[row]));
                    let last = |row: usize| again(row).chain([(row, column[row])]);
                    let points = told.flat_map(last).map(|(row, v)| (row - rows.start, v));
                    let points: Vec<_> = points.chain([(rows.len(), 1.0), (usize::MAX - 1, 2.0)]).collect();
                    let mut column = fold.column();
                    points.chunks(7).for_each(|points| column.add(points.iter().copied()));
                }
                fold
            };
            let joined = Fold::joined([part(0..CUT), part(CUT..ROWS)]).unwrap();
            assert_eq!(bits(&joined), bits(&by_column), "{func:?}");
            assert_eq!((joined.columns(), joined.rows()), (5, ROWS));
        }
    }

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
