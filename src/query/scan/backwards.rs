//! The newest points first: ranges of time that go back in growing steps.

use std::ops::RangeInclusive;

use super::exec::Plan;

/// How many times as long each step is as the one before.
const FACTOR: i64 = 8;

/// Ranges that together are those of a plan, the newest first.
pub(super) struct Backwards {
    start: i64,
    /// The last time not yet given.
    end: i64,
    /// What the next step is counted from.
    from: i64,
    first_ns: i64,
    next_ns: i64,
    /// The newest time in files; what is newer is in memory, if anywhere.
    in_files: Option<i64>,
    done: bool,
}

impl Backwards {
    /// The first step is `first_ns` long, at least 1, counted from the newest point that is likely.
    pub fn new(plan: &Plan, first_ns: i64) -> Self {
        let (start, end) = (*plan.times_ns.start(), *plan.times_ns.end());
        let in_files = plan.newest_in_files();
        let from = plan.scope.now_ns.max(in_files.unwrap_or(i64::MIN)).min(end);
        Self { start, end, from, first_ns, next_ns: first_ns, in_files, done: start > end }
    }

    /// The next range; its start is moved down by `align`.
    pub fn step(&mut self, align: impl Fn(i64) -> i64) -> Option<RangeInclusive<i64>> {
        if self.done {
            return None;
        }
        let mut from = self.from.saturating_sub(self.next_ns);
        self.next_ns = self.next_ns.saturating_mul(FACTOR);
        // A step that has grown long where nothing is does not begin at the newest points of files.
        if let Some(newest) = self.in_files
            && self.from > newest.saturating_add(1)
            && from <= newest
        {
            (from, self.next_ns) = (newest + 1, self.first_ns);
        }
        from = align(from).max(self.start);
        let range = from..=self.end;
        self.done = from <= self.start;
        if !self.done {
            (self.from, self.end) = (from, from - 1);
        }
        Some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(times: RangeInclusive<i64>, from: i64, in_files: Option<i64>, expected: &[RangeInclusive<i64>]) {
        let (start, end) = times.into_inner();
        let mut steps = Backwards { start, end, from, first_ns: 10, next_ns: 10, in_files, done: start > end };
        let found: Vec<_> = std::iter::from_fn(|| steps.step(|t| t)).collect();
        assert_eq!(found, expected, "{start} {end} {from} {in_files:?}");
    }

    #[test]
    fn steps_grow_and_leave_nothing_out() {
        check(0..=99, 99, None, &[89..=99, 9..=88, 0..=8]);
        check(0..=1_000, 99, None, &[89..=1_000, 9..=88, 0..=8]);
        check(95..=99, 99, None, &[95..=99]);
        check(RangeInclusive::new(1, 0), 0, None, &[]);
        check(0..=1_000, 1_000, Some(300), &[990..=1_000, 910..=989, 301..=909, 291..=300, 211..=290, 0..=210]);
        check(0..=300, 300, Some(300), &[290..=300, 210..=289, 0..=209]);
        let all = i64::MIN..=i64::MAX;
        let mut steps = Backwards {
            start: i64::MIN,
            end: i64::MAX,
            from: 0,
            first_ns: 1_000_000_000,
            next_ns: 1_000_000_000,
            in_files: None,
            done: false,
        };
        let found: Vec<_> = std::iter::from_fn(|| steps.step(|t| t)).collect();
        assert!(found.len() < 16, "{}", found.len());
        assert_eq!((found[0].end(), found[found.len() - 1].start()), (all.end(), all.start()));
        assert!(found.windows(2).all(|pair| pair[1].end() + 1 == *pair[0].start()));
    }
}
