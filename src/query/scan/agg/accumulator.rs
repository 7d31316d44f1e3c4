//! One aggregate of all groups: what a run of values comes to, and how two results are one.

use std::ops::Range;

use rhythmite_model::{Column, FieldType};

use super::sketches::{self, Sketches, Stored};

/// Runs from which sums and extremes are computed in lanes.
const LANES_FROM: usize = 32;
const LANES: usize = 4;

/// What is computed of a field. NULL is left out, as SQL has it, but for `First` and `Last` of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Rows, whether or not the field has a value.
    Rows,
    /// Values.
    Count,
    /// Of integers modulo 2^64.
    Sum,
    /// Of the values as floats.
    FloatSum,
    Mean,
    Min,
    Max,
    /// The value of the earliest row; with `nulls` a row without a value counts.
    First {
        nulls: bool,
    },
    /// The value of the latest row.
    Last {
        nulls: bool,
    },
    /// How many values lie in which buckets, for quantiles.
    Sketch,
}

impl What {
    /// Whether the sum of the values and their number are enough.
    pub fn sums(self) -> bool {
        matches!(self, What::Count | What::Sum | What::FloatSum | What::Mean)
    }

    /// The type of the result for values of a type; `None` if that is left to DataFusion.
    pub fn result(self, of: FieldType) -> Option<FieldType> {
        let number = matches!(of, FieldType::Float | FieldType::Integer | FieldType::Unsigned);
        match self {
            What::Rows | What::Count => Some(FieldType::Integer),
            What::Mean | What::FloatSum | What::Sketch => number.then_some(FieldType::Float),
            _ => number.then_some(of),
        }
    }
}

/// Rows of one series in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub slot: u32,
    pub start: u32,
    pub end: u32,
}

impl Run {
    pub fn rows(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

#[derive(Clone, Debug)]
enum Values {
    None,
    Float(Vec<f64>),
    Integer(Vec<i64>),
    Unsigned(Vec<u64>),
    Sketches(Sketches),
}

/// The results of one aggregate so far, one a slot.
#[derive(Clone, Debug)]
pub(super) struct Accumulator {
    what: What,
    /// Values (or rows) that have come in; of `First` and `Last` whether the chosen row has a value.
    counts: Vec<u64>,
    values: Values,
    /// Of `First` and `Last`: time of the chosen row.
    times_ns: Vec<i64>,
}

impl Accumulator {
    pub fn new(what: What, of: FieldType) -> Self {
        let values = match (what, of) {
            (What::Rows | What::Count, _) => Values::None,
            (What::Sketch, _) => Values::Sketches(Sketches::default()),
            (What::Mean | What::FloatSum, _) | (_, FieldType::Float) => Values::Float(Vec::new()),
            (_, FieldType::Unsigned) => Values::Unsigned(Vec::new()),
            _ => Values::Integer(Vec::new()),
        };
        Self { what, counts: Vec::new(), values, times_ns: Vec::new() }
    }

    /// Makes room for slots below `slots`.
    pub fn grow(&mut self, slots: usize) {
        self.counts.resize(slots, 0);
        match &mut self.values {
            Values::None => {}
            Values::Float(v) => v.resize(slots, 0.0),
            Values::Integer(v) => v.resize(slots, 0),
            Values::Unsigned(v) => v.resize(slots, 0),
            Values::Sketches(sketches) => sketches.grow(slots),
        }
        match self.what {
            What::First { .. } => self.times_ns.resize(slots, i64::MAX),
            What::Last { .. } => self.times_ns.resize(slots, i64::MIN),
            _ => {}
        }
    }

    /// Bytes a slot takes.
    pub fn slot_bytes(&self) -> usize {
        match self.values {
            Values::Sketches(_) => sketches::SLOT_BYTES + 8,
            _ => 24,
        }
    }

    /// What is held beside slots, of sketches.
    pub fn sketches(&self) -> Option<&Sketches> {
        match &self.values {
            Values::Sketches(sketches) => Some(sketches),
            _ => None,
        }
    }

    /// Counts rows, if that is what is wanted.
    pub fn add_rows(&mut self, runs: &[Run]) {
        if self.what == What::Rows {
            runs.iter().for_each(|run| self.counts[run.slot as usize] += run.rows().len() as u64);
        }
    }

    /// Adds values, a run of none of which is empty.
    pub fn add(&mut self, times_ns: &[i64], values: &Column, runs: &[Run]) {
        let counts = &mut self.counts;
        match self.what {
            What::Rows => {}
            What::Sketch => {
                if let Values::Sketches(sketches) = &mut self.values {
                    sketches.add(values, runs);
                }
            }
            What::Count => runs.iter().for_each(|run| counts[run.slot as usize] += run.rows().len() as u64),
            What::First { nulls: false } => {
                runs.iter().for_each(|run| self.choose(run.slot, times_ns, values, Some(run.start), run.start));
            }
            What::Last { nulls: false } => {
                runs.iter().for_each(|run| self.choose(run.slot, times_ns, values, Some(run.end - 1), run.end - 1));
            }
            // See `add_row`.
            What::First { nulls: true } | What::Last { nulls: true } => {}
            What::Mean | What::FloatSum => {
                let Values::Float(sums) = &mut self.values else { return };
                match values {
                    Column::Float(v) => fold(sums, counts, v, runs, sum, |a, b| a + b),
                    Column::Integer(v) => fold(sums, counts, v, runs, |v| sum_as(v, |x| x as f64), |a, b| a + b),
                    Column::Unsigned(v) => fold(sums, counts, v, runs, |v| sum_as(v, |x| x as f64), |a, b| a + b),
                    _ => {}
                }
            }
            What::Sum => match (&mut self.values, values) {
                (Values::Float(s), Column::Float(v)) => fold(s, counts, v, runs, sum, |a, b| a + b),
                (Values::Integer(s), Column::Integer(v)) => {
                    fold(s, counts, v, runs, |v| v.iter().fold(0, |a, b| a.wrapping_add(*b)), i64::wrapping_add);
                }
                (Values::Unsigned(s), Column::Unsigned(v)) => {
                    fold(s, counts, v, runs, |v| v.iter().fold(0, |a, b| a.wrapping_add(*b)), u64::wrapping_add);
                }
                _ => {}
            },
            What::Min => match (&mut self.values, values) {
                (Values::Float(s), Column::Float(v)) => fold(s, counts, v, runs, |v| lanes(v, lesser), lesser),
                (Values::Integer(s), Column::Integer(v)) => fold(s, counts, v, runs, |v| lanes(v, i64::min), i64::min),
                (Values::Unsigned(s), Column::Unsigned(v)) => {
                    fold(s, counts, v, runs, |v| lanes(v, u64::min), u64::min);
                }
                _ => {}
            },
            What::Max => match (&mut self.values, values) {
                (Values::Float(s), Column::Float(v)) => fold(s, counts, v, runs, |v| lanes(v, greater), greater),
                (Values::Integer(s), Column::Integer(v)) => fold(s, counts, v, runs, |v| lanes(v, i64::max), i64::max),
                (Values::Unsigned(s), Column::Unsigned(v)) => {
                    fold(s, counts, v, runs, |v| lanes(v, u64::max), u64::max);
                }
                _ => {}
            },
        }
    }

    /// Adds so many integers, of which only the sum is known; for those `What` of which [`What::sums`] is true.
    pub fn add_sum(&mut self, slot: u32, count: u64, sum: i64) {
        let slot = slot as usize;
        let counted = self.counts[slot];
        self.counts[slot] += count;
        match &mut self.values {
            Values::Float(sums) => sums[slot] = if counted == 0 { sum as f64 } else { sums[slot] + sum as f64 },
            Values::Integer(sums) => sums[slot] = if counted == 0 { sum } else { sums[slot].wrapping_add(sum) },
            Values::Unsigned(_) | Values::None | Values::Sketches(_) => {}
        }
    }

    /// Adds results of others: the number of values of each, and what was made of them (but of `Count`).
    pub fn add_rolled(&mut self, times_ns: &[i64], counts: &[i64], values: Option<&Column>, runs: &[Run]) {
        if self.what != What::Count {
            let Some(values) = values else { return };
            self.add(times_ns, values, runs);
        }
        // Each counts for more than one.
        for run in runs {
            let more: u64 = counts[run.rows()].iter().map(|count| count.unsigned_abs()).sum();
            let counted = if self.what == What::Count { 0 } else { run.rows().len() as u64 };
            self.counts[run.slot as usize] += more.saturating_sub(counted);
        }
    }

    /// Adds sketches that a coarser level keeps, if that is what is wanted.
    ///
    /// # Errors
    /// `Corrupt` for a text that is no sketch.
    pub fn add_stored(&mut self, stored: &Stored<'_>, runs: &[Run]) -> rhythmite_model::Result<()> {
        match &mut self.values {
            Values::Sketches(sketches) => sketches.add_stored(stored, runs),
            _ => Ok(()),
        }
    }

    /// Of `First` and `Last` with nulls: the rows are those of `rows_ns`, some of which have a value.
    pub fn add_rows_with_nulls(&mut self, rows_ns: &[i64], runs: &[Run], stream: Option<(&[i64], &Column)>) {
        let last = match self.what {
            What::First { nulls: true } => false,
            What::Last { nulls: true } => true,
            _ => return,
        };
        let none = Column::new(FieldType::Boolean);
        for run in runs {
            let row = if last { run.end - 1 } else { run.start };
            let time_ns = rows_ns[row as usize];
            let place = stream.and_then(|(times, _)| times.binary_search(&time_ns).ok());
            let values = stream.map_or(&none, |(_, values)| values);
            self.choose(run.slot, rows_ns, values, place.map(|p| p as u32), row);
        }
    }

    /// Takes the value at `place` if the row is earlier (or later) than the one chosen so far.
    fn choose(&mut self, slot: u32, rows_ns: &[i64], values: &Column, place: Option<u32>, row: u32) {
        let slot = slot as usize;
        let time_ns = rows_ns[row as usize];
        let better = match self.what {
            What::First { .. } => time_ns < self.times_ns[slot],
            _ => time_ns > self.times_ns[slot],
        };
        // The first row of all may be at the end of time.
        if !better && (self.counts[slot] > 0 || time_ns != self.times_ns[slot]) {
            return;
        }
        self.times_ns[slot] = time_ns;
        self.counts[slot] = u64::from(place.is_some());
        let Some(place) = place else { return };
        match (&mut self.values, values) {
            (Values::Float(s), Column::Float(v)) => s[slot] = v[place as usize],
            (Values::Integer(s), Column::Integer(v)) => s[slot] = v[place as usize],
            (Values::Unsigned(s), Column::Unsigned(v)) => s[slot] = v[place as usize],
            _ => {}
        }
    }

    /// Adds the results of `other`, whose slot `i` is `to[i]` here.
    pub fn merge(&mut self, other: &Accumulator, to: &[u32]) {
        if let (Values::Sketches(ours), Values::Sketches(theirs)) = (&mut self.values, &other.values) {
            ours.merge(theirs, to);
            return;
        }
        for (from, &slot) in to.iter().enumerate() {
            let slot = slot as usize;
            let (count, theirs) = (self.counts[slot], other.counts[from]);
            match self.what {
                What::Rows | What::Count => {}
                What::First { .. } | What::Last { .. } => {
                    let (ours_ns, time_ns) = (self.times_ns[slot], other.times_ns[from]);
                    let better = match self.what {
                        What::First { .. } => time_ns < ours_ns,
                        _ => time_ns > ours_ns,
                    };
                    if !better && (time_ns != ours_ns || count > 0 || theirs == 0) {
                        continue;
                    }
                    self.times_ns[slot] = time_ns;
                    self.counts[slot] = theirs;
                    self.values.take(slot, &other.values, from);
                    continue;
                }
                _ if theirs == 0 => continue,
                _ if count == 0 => self.values.take(slot, &other.values, from),
                what => self.values.join(what, slot, &other.values, from),
            }
            self.counts[slot] = count + theirs;
        }
    }

    /// The result of a slot; of a sketch the value that the share `q` does not exceed.
    pub fn result(&self, slot: usize, q: Option<f64>) -> Option<Answer> {
        if let Values::Sketches(sketches) = &self.values {
            return sketches.quantile(slot, q?).map(Answer::Float);
        }
        let count = self.counts[slot];
        if matches!(self.what, What::Rows | What::Count) {
            return Some(Answer::Integer(count as i64));
        }
        if count == 0 {
            return None;
        }
        Some(match &self.values {
            Values::Float(v) if self.what == What::Mean => Answer::Float(v[slot] / count as f64),
            Values::Float(v) => Answer::Float(v[slot]),
            Values::Integer(v) => Answer::Integer(v[slot]),
            Values::Unsigned(v) => Answer::Unsigned(v[slot]),
            Values::None | Values::Sketches(_) => return None,
        })
    }
}

/// One result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Answer {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
}

impl Values {
    fn take(&mut self, slot: usize, other: &Values, from: usize) {
        match (self, other) {
            (Values::Float(a), Values::Float(b)) => a[slot] = b[from],
            (Values::Integer(a), Values::Integer(b)) => a[slot] = b[from],
            (Values::Unsigned(a), Values::Unsigned(b)) => a[slot] = b[from],
            _ => {}
        }
    }

    fn join(&mut self, what: What, slot: usize, other: &Values, from: usize) {
        match (self, other) {
            (Values::Float(a), Values::Float(b)) => {
                a[slot] = match what {
                    What::Min => lesser(a[slot], b[from]),
                    What::Max => greater(a[slot], b[from]),
                    _ => a[slot] + b[from],
                }
            }
            (Values::Integer(a), Values::Integer(b)) => {
                a[slot] = match what {
                    What::Min => a[slot].min(b[from]),
                    What::Max => a[slot].max(b[from]),
                    _ => a[slot].wrapping_add(b[from]),
                }
            }
            (Values::Unsigned(a), Values::Unsigned(b)) => {
                a[slot] = match what {
                    What::Min => a[slot].min(b[from]),
                    What::Max => a[slot].max(b[from]),
                    _ => a[slot].wrapping_add(b[from]),
                }
            }
            _ => {}
        }
    }
}

fn fold<T: Copy, V: Copy>(
    results: &mut [T],
    counts: &mut [u64],
    values: &[V],
    runs: &[Run],
    reduce: impl Fn(&[V]) -> T,
    merge: impl Fn(T, T) -> T,
) {
    for run in runs {
        let slot = run.slot as usize;
        let value = reduce(&values[run.rows()]);
        results[slot] = if counts[slot] == 0 { value } else { merge(results[slot], value) };
        counts[slot] += run.rows().len() as u64;
    }
}

/// The greater; NaN is above everything, as where DataFusion compares two values.
fn greater(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

/// The lesser.
fn lesser(a: f64, b: f64) -> f64 {
    if b < a || a.is_nan() { b } else { a }
}

/// Folds values that are not none; long ones in lanes, so that one step need not wait for the one before.
fn lanes<T: Copy>(values: &[T], step: impl Fn(T, T) -> T) -> T {
    let (first, rest) = values.split_first().expect("runs are not empty");
    if rest.len() < LANES_FROM {
        return rest.iter().fold(*first, |a, b| step(a, *b));
    }
    let mut best = [*first; LANES];
    let chunks = rest.chunks_exact(LANES);
    let tail = chunks.remainder();
    for chunk in chunks {
        for (best, value) in best.iter_mut().zip(chunk) {
            *best = step(*best, *value);
        }
    }
    best.into_iter().chain(tail.iter().copied()).fold(*first, step)
}

fn sum(values: &[f64]) -> f64 {
    sum_as(values, |x| x)
}

fn sum_as<T: Copy>(values: &[T], float: impl Fn(T) -> f64) -> f64 {
    if values.len() < LANES_FROM {
        return values.iter().map(|v| float(*v)).sum();
    }
    let mut sums = [0.0; LANES];
    let chunks = values.chunks_exact(LANES);
    let tail: f64 = chunks.remainder().iter().map(|v| float(*v)).sum();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += float(*value);
        }
    }
    sums.into_iter().sum::<f64>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(what: What, values: &Column, expected: &[Option<Answer>]) {
        let times: Vec<i64> = (0..values.len() as i64).collect();
        let half = values.len() as u32 / 2;
        let runs = [Run { slot: 0, start: 0, end: half }, Run { slot: 2, start: half, end: values.len() as u32 }];
        let mut whole = Accumulator::new(what, values.field_type());
        whole.grow(3);
        whole.add(&times, values, &runs);
        whole.add_rows(&runs);
        // The same from two parts, the slots of the other in another order.
        let (mut one, mut other) =
            (Accumulator::new(what, values.field_type()), Accumulator::new(what, values.field_type()));
        one.grow(3);
        other.grow(2);
        one.add(&times, values, &runs[..1]);
        one.add_rows(&runs[..1]);
        let second = [Run { slot: 1, ..runs[1] }];
        other.add(&times, values, &second);
        other.add_rows(&second);
        one.merge(&other, &[1, 2]);
        for acc in [&whole, &one] {
            let results: Vec<_> = (0..3).map(|slot| acc.result(slot, None)).collect();
            assert_eq!(format!("{results:?}"), format!("{expected:?}"), "{what:?} {values:?}");
        }
    }

    #[test]
    fn runs_come_to_results() {
        use Answer::{Float, Integer, Unsigned};
        let floats = || Column::Float(vec![1.5, -2.0, 4.0, f64::NAN, 3.0, 5.0]);
        let nan = Some(Float(f64::NAN));
        check(What::Max, &floats(), &[Some(Float(4.0)), None, nan]);
        check(What::Min, &floats(), &[Some(Float(-2.0)), None, Some(Float(3.0))]);
        check(What::Sum, &floats(), &[Some(Float(3.5)), None, nan]);
        check(What::Count, &floats(), &[Some(Integer(3)), Some(Integer(0)), Some(Integer(3))]);
        check(What::Rows, &floats(), &[Some(Integer(3)), Some(Integer(0)), Some(Integer(3))]);
        check(What::First { nulls: false }, &floats(), &[Some(Float(1.5)), None, nan]);
        check(What::Last { nulls: false }, &floats(), &[Some(Float(4.0)), None, Some(Float(5.0))]);
        let integers = || Column::Integer(vec![i64::MAX, 1, -5, 7]);
        check(What::Sum, &integers(), &[Some(Integer(i64::MIN)), None, Some(Integer(2))]);
        check(What::Mean, &integers(), &[Some(Float(i64::MAX as f64 / 2.0)), None, Some(Float(1.0))]);
        check(What::FloatSum, &integers(), &[Some(Float(i64::MAX as f64)), None, Some(Float(2.0))]);
        let unsigned = || Column::Unsigned(vec![u64::MAX, 2, 3, 1]);
        check(What::Sum, &unsigned(), &[Some(Unsigned(1)), None, Some(Unsigned(4))]);
        check(What::Max, &unsigned(), &[Some(Unsigned(u64::MAX)), None, Some(Unsigned(3))]);
    }

    #[test]
    fn sums_are_as_good_as_their_values() {
        for what in [What::Count, What::Sum, What::FloatSum, What::Mean] {
            let mut summed = Accumulator::new(what, FieldType::Integer);
            let mut read = summed.clone();
            summed.grow(2);
            read.grow(2);
            for values in [vec![5, -7, 1 << 40], vec![3, 4]] {
                summed.add_sum(1, values.len() as u64, values.iter().sum());
                let run = Run { slot: 1, start: 0, end: values.len() as u32 };
                read.add(&[0; 3], &Column::Integer(values), &[run]);
            }
            assert!(what.sums());
            let results = |of: &Accumulator| [of.result(0, None), of.result(1, None)];
            assert_eq!(results(&summed), results(&read), "{what:?}");
        }
    }

    #[test]
    fn lanes_leave_nothing_out() {
        for n in 1..200_usize {
            let values: Vec<i64> = (0..n as i64).map(|i| (i * 37) % 101 - 50).collect();
            let floats: Vec<f64> = values.iter().map(|v| *v as f64).collect();
            assert_eq!(Some(&lanes(&values, i64::max)), values.iter().max(), "{n}");
            assert_eq!(Some(&lanes(&values, i64::min)), values.iter().min(), "{n}");
            assert_eq!(lanes(&floats, greater), lanes(&values, i64::max) as f64, "{n}");
            assert_eq!(sum(&floats), values.iter().sum::<i64>() as f64, "{n}");
            for place in 0..n {
                let mut with_nan = floats.clone();
                with_nan[place] = f64::NAN;
                assert!(lanes(&with_nan, greater).is_nan());
                assert!(n == 1 || !lanes(&with_nan, lesser).is_nan());
            }
        }
    }
}
