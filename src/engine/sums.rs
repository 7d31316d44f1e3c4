//! Sums of integers by windows, without the integers: what means and sums over many series are made of.
//!
//! Where times are even steps, the rows of a window are known from the first time, and the sum of packed deltas takes no value
//! apart. [`Summing`] says what is asked; a scan answers a stream of a file so if nothing else may hide a point of the series,
//! and gives its points as ever if not.

use std::ops::RangeInclusive;
use std::sync::Arc;

use rhythmite_model::FieldId;

/// Tells of a time the window `[start, end)` that it is in.
pub type Cut = Arc<dyn Fn(i64) -> (i64, i64) + Send + Sync>;

/// What is asked of a scan that may give sums.
#[derive(Clone)]
pub struct Summing {
    /// Fields of which the sums of their integers are enough, ascending.
    pub fields: Arc<[FieldId]>,
    /// Points outside are left out; a part of the range of the scan.
    pub range_ns: RangeInclusive<i64>,
    /// The windows.
    pub cut: Cut,
    /// Streams are given as points of which, by the index, values could come to more than this together; `None`: sums wrap.
    pub sum_max: Option<u64>,
}

/// Integers of a stream in one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSum {
    /// Where the window begins.
    pub window_ns: i64,
    /// How many there are, at least one.
    pub count: u64,
    /// Together; beyond 64 bits it wraps.
    pub sum: i64,
}

/// Of even times, the first at `first_ns`, the first row whose time is not before `end_ns`; at least `from`, at most `to`.
pub(crate) fn rows_before(end_ns: i64, (first_ns, step_ns): (i64, i64), from: u64, to: u64) -> u64 {
    let step = i128::from(step_ns.max(1));
    let rows = (i128::from(end_ns) - i128::from(first_ns) + step - 1).div_euclid(step);
    u64::try_from(rows.max(0)).unwrap_or(u64::MAX).clamp(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_before_an_end() {
        for (end, first, step, from, to, rows) in [
            (100, 0, 10, 0, 50, 10),
            (101, 0, 10, 0, 50, 11),
            (100, 0, 10, 0, 5, 5),
            (100, 0, 10, 20, 50, 20),
            (-5, 0, 10, 0, 50, 0),
            (i64::MAX, i64::MIN, 1, 0, 7, 7),
            (5, 5, 0, 0, 1, 0),
            (6, 5, 0, 0, 1, 1),
        ] {
            assert_eq!(rows_before(end, (first, step), from, to), rows, "{end} {first} {step}");
        }
    }
}
