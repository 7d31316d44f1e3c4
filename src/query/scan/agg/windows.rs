//! Time cut into windows of one length.

use std::ops::{Range, RangeInclusive};

/// Windows `[origin + n * stride, origin + (n + 1) * stride)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Windows {
    /// At least 1.
    pub stride_ns: i64,
    pub origin_ns: i64,
}

impl Windows {
    /// Start of the window of a time; the earliest time there is for one that begins before it.
    pub fn start(&self, time_ns: i64) -> i64 {
        let distance = i128::from(time_ns) - i128::from(self.origin_ns);
        let start = time_ns as i128 - distance.rem_euclid(i128::from(self.stride_ns));
        i64::try_from(start).unwrap_or(i64::MIN)
    }

    /// The last time of the window that starts at `start_ns`.
    pub fn last(&self, start_ns: i64) -> i64 {
        start_ns.saturating_add(self.stride_ns - 1)
    }

    /// Where the window of a time begins, and where the next one does, if that is a time.
    pub fn bounds(&self, time_ns: i64) -> (i64, i64) {
        let start_ns = self.start(time_ns);
        (start_ns, self.last(start_ns).saturating_add(1))
    }

    /// Windows that have a time in the range.
    pub fn count(&self, range_ns: &RangeInclusive<i64>) -> u64 {
        if range_ns.is_empty() {
            return 0;
        }
        let length = i128::from(self.start(*range_ns.end())) - i128::from(self.start(*range_ns.start()));
        u64::try_from(length / i128::from(self.stride_ns) + 1).unwrap_or(u64::MAX)
    }

    /// Gives the start and the rows of each window in `times_ns`, which ascend.
    pub fn for_each(&self, times_ns: &[i64], mut give: impl FnMut(i64, Range<usize>)) {
        let (mut at, mut length) = (0, 1);
        let mut start_ns = times_ns.first().map_or(0, |t| self.start(*t));
        while at < times_ns.len() {
            let last_ns = self.last(start_ns);
            // Regular points: as many as in the window before.
            let guess = at + length;
            let fits = guess <= times_ns.len()
                && times_ns[guess - 1] <= last_ns
                && times_ns.get(guess).is_none_or(|next| *next > last_ns);
            let end = if fits { guess } else { at + gallop(&times_ns[at..], last_ns) };
            give(start_ns, at..end);
            length = end - at;
            at = end;
            if let Some(next) = times_ns.get(at) {
                let follows = last_ns.checked_add(1).filter(|n| next <= &self.last(*n));
                start_ns = follows.unwrap_or_else(|| self.start(*next));
            }
        }
    }
}

/// How many of the ascending `times_ns`, the first of which is one of them, are not above `last_ns`.
fn gallop(times_ns: &[i64], last_ns: i64) -> usize {
    let mut bound = 1;
    while bound < times_ns.len() && times_ns[bound] <= last_ns {
        bound *= 2;
    }
    let (from, to) = (bound / 2, bound.min(times_ns.len()));
    (from + times_ns[from..to].partition_point(|t| *t <= last_ns)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stride_ns: i64, origin_ns: i64, times_ns: &[i64], expected: &[(i64, Range<usize>)]) {
        let windows = Windows { stride_ns, origin_ns };
        let mut found = Vec::new();
        windows.for_each(times_ns, |start, rows| found.push((start, rows)));
        assert_eq!(found, expected, "{stride_ns} {origin_ns} {times_ns:?}");
    }

    #[test]
    fn times_fall_into_windows() {
        check(10, 0, &[], &[]);
        check(10, 0, &[0, 5, 9, 10, 29, 30], &[(0, 0..3), (10, 3..4), (20, 4..5), (30, 5..6)]);
        check(10, 3, &[-8, 2, 3, 12, 13], &[(-17, 0..1), (-7, 1..2), (3, 2..4), (13, 4..5)]);
        check(1, 0, &[7, 8, 100], &[(7, 0..1), (8, 1..2), (100, 2..3)]);
        let (min, max) = (i64::MIN, i64::MAX);
        check(10, 0, &[min, max], &[(min, 0..1), (max - 7, 1..2)]);
        check(max, 0, &[-1, 0, max - 1, max], &[(-max, 0..1), (0, 1..3), (max, 3..4)]);
        let even: Vec<i64> = (0..100).collect();
        let expected: Vec<_> = (0..15).map(|i| (i * 7, i as usize * 7..(i as usize * 7 + 7).min(100))).collect();
        check(7, 0, &even, &expected);
    }

    #[test]
    fn windows_of_a_range_are_counted() {
        let windows = Windows { stride_ns: 10, origin_ns: 0 };
        for (range, count) in [(0..=0, 1), (0..=9, 1), (9..=10, 2), (-1..=25, 4)] {
            assert_eq!(windows.count(&range), count, "{range:?}");
        }
        assert_eq!(Windows { stride_ns: 1, origin_ns: 0 }.count(&(i64::MIN..=i64::MAX)), u64::MAX);
        assert_eq!(windows.count(&RangeInclusive::new(5, 4)), 0);
    }
}
