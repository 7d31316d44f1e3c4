//! Aggregates of every window of some length, without starting over for each.

use crate::series::{AggFunc, known_enough};

/// Windows up to this long keep their values sorted; longer ones count them in a tree.
const SORTED_MAX: usize = 256;

/// Aggregates `values[i - len..i]` for each `i` in `len + 1..=values.len()`: the window that ends
/// with the first value is left out, as in the reference. Only known values count; a window is
/// known when known/`len` >= `x_files_factor`.
///
/// Linear in the number of values whatever the window; the median takes their logarithm as well.
pub(super) fn windows(values: &[f64], len: usize, func: AggFunc, x_files_factor: f64) -> Vec<f64> {
    let count = values.len().saturating_sub(len);
    if len == 0 {
        return vec![f64::NAN; count];
    }
    let values = &values[values.len().min(1)..];
    let mut results = match func {
        AggFunc::Sum | AggFunc::Average | AggFunc::AvgZero => known_blocks(values, len, |a, b| a + b),
        AggFunc::Min => known_blocks(values, len, f64::min),
        AggFunc::Max => known_blocks(values, len, f64::max),
        AggFunc::Multiply => known_blocks(values, len, |a, b| a * b),
        AggFunc::Last => known_blocks(values, len, |_, b| b),
        AggFunc::Range => {
            let low = known_blocks(values, len, f64::min);
            known_blocks(values, len, f64::max).into_iter().zip(low).map(|(high, low)| high - low).collect()
        }
        AggFunc::Count => vec![0.0; count],
        AggFunc::Median if len <= SORTED_MAX => medians_sorted(values, len),
        AggFunc::Median => medians_counted(values, len),
        AggFunc::Diff => differences(values, len),
        AggFunc::Stddev => deviations(values, len),
    };
    results.truncate(count);
    let mut known = values.iter().take(len).filter(|v| !v.is_nan()).count();
    for (i, result) in results.iter_mut().enumerate() {
        if i > 0 {
            known += usize::from(values.get(i + len - 1).is_some_and(|v| !v.is_nan()));
            known -= usize::from(!values[i - 1].is_nan());
        }
        *result = match func {
            _ if !known_enough(known, len, x_files_factor) => f64::NAN,
            AggFunc::Average | AggFunc::AvgZero => *result / known as f64,
            AggFunc::Count => known as f64,
            _ => *result,
        };
    }
    results
}

/// Folds every window of known values.
fn known_blocks(values: &[f64], len: usize, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let join = |a: f64, b: f64| {
        if a.is_nan() {
            b
        } else if b.is_nan() {
            a
        } else {
            f(a, b)
        }
    };
    blocks(values.to_vec(), len, join, |v| v)
}

/// The first value of each window less all others.
fn differences(values: &[f64], len: usize) -> Vec<f64> {
    // The first known value and the sum of those behind it.
    let one = values.iter().map(|v| (*v, 0.0)).collect();
    let join = |(a, rest): (f64, f64), (b, more): (f64, f64)| {
        if a.is_nan() {
            (b, more)
        } else if b.is_nan() {
            (a, rest)
        } else {
            (a, rest + b + more)
        }
    };
    blocks(one, len, join, |(first, rest)| first - rest)
}

/// The standard deviation of each window.
fn deviations(values: &[f64], len: usize) -> Vec<f64> {
    // Count, mean and squared distances from it: what two parts need to be joined without loss.
    let one = values.iter().map(|v| if v.is_nan() { (0.0, 0.0, 0.0) } else { (1.0, *v, 0.0) }).collect();
    let join = |(n, a, square): (f64, f64, f64), (m, b, more): (f64, f64, f64)| {
        if n == 0.0 {
            (m, b, more)
        } else if m == 0.0 {
            (n, a, square)
        } else {
            let apart = b - a;
            (n + m, a + apart * m / (n + m), square + more + apart * apart * n * m / (n + m))
        }
    };
    blocks(one, len, join, |(n, _, square)| (square / n).sqrt())
}

/// Folds every window.
///
/// The values are cut into blocks as long as a window, so that a window is the end of one block
/// and the beginning of the next, both folded beforehand.
// PERF: two folds per value whatever the window, and unlike a running sum nothing is subtracted,
// so large values leave no error behind when they have left the window.
// Proof: `cargo bench -p rhythmite-graphite --bench graphite_eval -- moving`.
fn blocks<T: Copy>(values: Vec<T>, len: usize, join: impl Fn(T, T) -> T, result: impl Fn(T) -> f64) -> Vec<f64> {
    let count = (values.len() + 1).saturating_sub(len);
    let mut beginnings = values.clone();
    let mut ends = values;
    for block in ends.chunks_mut(len) {
        for i in (0..block.len() - 1).rev() {
            block[i] = join(block[i], block[i + 1]);
        }
    }
    for block in beginnings.chunks_mut(len) {
        for i in 1..block.len() {
            block[i] = join(block[i - 1], block[i]);
        }
    }
    let one = |i: usize| if i.is_multiple_of(len) { ends[i] } else { join(ends[i], beginnings[i + len - 1]) };
    (0..count).map(|i| result(one(i))).collect()
}

/// Medians of the known values of every window, kept in order while it moves: for short windows.
fn medians_sorted(values: &[f64], len: usize) -> Vec<f64> {
    let mut sorted: Vec<f64> = Vec::with_capacity(len.min(values.len()));
    let mut results = Vec::with_capacity(values.len());
    for (i, v) in values.iter().enumerate() {
        if let Some(old) = i.checked_sub(len).map(|at| values[at]).filter(|old| !old.is_nan())
            && let Ok(at) = sorted.binary_search_by(|x| x.total_cmp(&old))
        {
            sorted.remove(at);
        }
        if !v.is_nan() {
            let at = sorted.partition_point(|x| x.total_cmp(v).is_lt());
            sorted.insert(at, *v);
        }
        if i + 1 >= len {
            results.push(middle(sorted.len(), |at| sorted[at]));
        }
    }
    results
}

/// The same by counting ranks: inserting into a long window would move half of it each time.
fn medians_counted(values: &[f64], len: usize) -> Vec<f64> {
    let mut distinct: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
    distinct.sort_unstable_by(f64::total_cmp);
    distinct.dedup_by(|a, b| a.total_cmp(b).is_eq());
    let rank = |v: f64| distinct.binary_search_by(|x| x.total_cmp(&v)).ok();
    let ranks: Vec<Option<usize>> = values.iter().map(|v| if v.is_nan() { None } else { rank(*v) }).collect();
    let mut counts = Counts::new(distinct.len());
    let mut known = 0;
    let mut results = Vec::with_capacity(values.len());
    for i in 0..ranks.len() {
        if let Some(old) = i.checked_sub(len).and_then(|at| ranks[at]) {
            counts.add(old, -1);
            known -= 1;
        }
        if let Some(new) = ranks[i] {
            counts.add(new, 1);
            known += 1;
        }
        if i + 1 >= len {
            results.push(middle(known, |at| distinct[counts.at(at)]));
        }
    }
    results
}

/// The middle one of `len` values in order, or the mean of the middle two.
fn middle(len: usize, at: impl Fn(usize) -> f64) -> f64 {
    match len {
        0 => f64::NAN,
        n if n % 2 == 1 => at(n / 2),
        n => (at(n / 2 - 1) + at(n / 2)) / 2.0,
    }
}

/// How often each rank occurs, as a tree of partial sums (Fenwick's): both questions take the logarithm.
struct Counts(Vec<i32>);

impl Counts {
    fn new(ranks: usize) -> Self {
        Self(vec![0; ranks + 1])
    }

    fn add(&mut self, rank: usize, n: i32) {
        let mut at = rank + 1;
        while let Some(sum) = self.0.get_mut(at) {
            *sum += n;
            at += at & at.wrapping_neg();
        }
    }

    /// The rank of the value that has `before` others before it.
    fn at(&self, before: usize) -> usize {
        let mut left = i32::try_from(before).unwrap_or(i32::MAX);
        let mut at = 0;
        let mut step = self.0.len().next_power_of_two();
        while step > 0 {
            if let Some(sum) = self.0.get(at + step).filter(|sum| **sum <= left) {
                left -= sum;
                at += step;
            }
            step /= 2;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::{medians_counted, medians_sorted, windows};
    use crate::series::AggFunc;

    /// The definition, window by window.
    fn naive(values: &[f64], len: usize, func: AggFunc, xff: f64) -> Vec<f64> {
        let window = |i: usize| {
            let known: Vec<f64> = values[i - len..i].iter().copied().filter(|v| !v.is_nan()).collect();
            let enough = !known.is_empty() && known.len() as f64 / len as f64 >= xff;
            if enough { func.apply(&known) } else { f64::NAN }
        };
        (len + 1..=values.len()).map(window).collect()
    }

    #[test]
    fn every_function_agrees_with_its_definition() {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(u32::MAX >> 1)
        };
        for n in [0, 1, 2, 5, 17, 60, 700] {
            let values: Vec<f64> =
                (0..n).map(|_| if random() < 0.3 { f64::NAN } else { (random() * 20.0).floor() - 5.0 }).collect();
            for len in [1, 2, 3, 5, 16, 17, 61, 300] {
                for (name, func) in AggFunc::NAMES {
                    for xff in [0.0, 0.5] {
                        let (got, want) = (windows(&values, len, func, xff), naive(&values, len, func, xff));
                        let same = |(a, b): (&f64, &f64)| {
                            a.is_nan() == b.is_nan()
                                && (a.is_nan() || a == b || (a - b).abs() <= 1e-9 * b.abs().max(1.0))
                        };
                        assert!(
                            got.len() == want.len() && got.iter().zip(&want).all(same),
                            "{name} over {len} of {values:?}: {got:?}, expected {want:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn both_medians_agree() {
        let values: Vec<f64> = (0..900).map(|i| f64::from((i * 7_919) % 97)).collect();
        for len in [1, 2, 255, 256, 257, 899] {
            assert_eq!(medians_counted(&values, len), medians_sorted(&values, len), "{len}");
        }
    }

    #[test]
    fn large_values_leave_no_error_behind() {
        let values = [0.0, 1e300, 0.1, 0.2, 0.3];
        assert_eq!(windows(&values, 2, AggFunc::Sum, 0.0), [1e300, 0.1 + 0.2, 0.2 + 0.3]);
        assert_eq!(windows(&[1.0, 2.0], 0, AggFunc::Sum, 0.0).len(), 2);
    }
}
