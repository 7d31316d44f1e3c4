//! Aggregates of every window of some length, without starting over for each.

use crate::series::{AggFunc, known_enough};

/// Aggregates `values[i - len..i]` for each `i` in `len + 1..=values.len()`: the window that ends
/// with the first value is left out, as in the reference. Only known values count; a window is
/// known when known/`len` >= `x_files_factor`.
///
/// Linear in the number of values, except for the median (sorted insertion) and the rarely used
/// diff and stddev, which look at each window anew.
pub(super) fn windows(values: &[f64], len: usize, func: AggFunc, x_files_factor: f64) -> Vec<f64> {
    let count = values.len().saturating_sub(len);
    if len == 0 {
        return vec![f64::NAN; count];
    }
    let values = &values[values.len().min(1)..];
    let mut results = match func {
        AggFunc::Sum | AggFunc::Average | AggFunc::AvgZero => blocks(values, len, |a, b| a + b),
        AggFunc::Min => blocks(values, len, f64::min),
        AggFunc::Max => blocks(values, len, f64::max),
        AggFunc::Multiply => blocks(values, len, |a, b| a * b),
        AggFunc::Last => blocks(values, len, |_, b| b),
        AggFunc::Range => {
            let low = blocks(values, len, f64::min);
            blocks(values, len, f64::max).into_iter().zip(low).map(|(high, low)| high - low).collect()
        }
        AggFunc::Count => vec![0.0; count],
        AggFunc::Median => medians(values, len),
        AggFunc::Diff | AggFunc::Stddev => values.windows(len).map(|w| func.apply(w)).collect(),
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
///
/// The values are cut into blocks as long as a window, so that a window is the end of one block
/// and the beginning of the next, both folded beforehand.
// PERF: two folds per value whatever the window, and unlike a running sum nothing is subtracted,
// so large values leave no error behind when they have left the window.
fn blocks(values: &[f64], len: usize, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let join = |a: f64, b: f64| {
        if a.is_nan() {
            b
        } else if b.is_nan() {
            a
        } else {
            f(a, b)
        }
    };
    let mut ends = values.to_vec();
    let mut beginnings = values.to_vec();
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
    let count = (values.len() + 1).saturating_sub(len);
    let one = |i: usize| if i.is_multiple_of(len) { ends[i] } else { join(ends[i], beginnings[i + len - 1]) };
    (0..count).map(one).collect()
}

/// Medians of the known values of every window, kept in order while it moves.
fn medians(values: &[f64], len: usize) -> Vec<f64> {
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
            let mid = sorted.len() / 2;
            results.push(match sorted.len() {
                0 => f64::NAN,
                n if n % 2 == 1 => sorted[mid],
                _ => (sorted[mid - 1] + sorted[mid]) / 2.0,
            });
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::windows;
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
        for n in [0, 1, 2, 5, 17, 60] {
            let values: Vec<f64> =
                (0..n).map(|_| if random() < 0.3 { f64::NAN } else { (random() * 20.0).floor() - 5.0 }).collect();
            for len in [1, 2, 3, 5, 16, 17, 61] {
                for (name, func) in AggFunc::NAMES {
                    for xff in [0.0, 0.5] {
                        let (got, want) = (windows(&values, len, func, xff), naive(&values, len, func, xff));
                        let same = |(a, b): (&f64, &f64)| {
                            a.is_nan() == b.is_nan() && (a.is_nan() || (a - b).abs() <= 1e-9 * b.abs().max(1.0))
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
    fn large_values_leave_no_error_behind() {
        let values = [0.0, 1e300, 0.1, 0.2, 0.3];
        assert_eq!(windows(&values, 2, AggFunc::Sum, 0.0), [1e300, 0.1 + 0.2, 0.2 + 0.3]);
        assert_eq!(windows(&[1.0, 2.0], 0, AggFunc::Sum, 0.0).len(), 2);
    }
}
