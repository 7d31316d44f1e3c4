use std::ops::RangeInclusive;
use std::sync::Arc;

use rhythmite_engine::{Engine, Snapshot};
use rhythmite_model::{PolicyId, Tier};

/// What one query sees: the same points and the same `now` in every table that it reads.
#[derive(Clone)]
pub struct QueryScope {
    /// For names and policies.
    pub engine: Engine,
    /// For points.
    pub snapshot: Arc<Snapshot>,
    /// Nanoseconds since the epoch: what is older than a level's retention is not seen.
    pub now_ns: i64,
    /// Keys of the `tag('key')` calls of the query: each is a column of every table.
    pub tags: Arc<[String]>,
}

impl std::fmt::Debug for QueryScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryScope").field("now_ns", &self.now_ns).field("tags", &self.tags).finish_non_exhaustive()
    }
}

/// Values of one series that a scan aims to hold at a time.
const SLICE_VALUES: u64 = 2_000_000;
/// Slices of a range of time; each walks all series again.
const SLICES_MAX: u64 = 256;

/// A level of a policy and the times that are read from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub tier: Tier,
    /// Nanoseconds between points; 0 for raw points at any time.
    pub step_ns: i64,
    pub times_ns: RangeInclusive<i64>,
}

impl QueryScope {
    /// A scope as of now.
    pub fn new(engine: &Engine, now_ns: i64, tags: Arc<[String]>) -> Self {
        Self { snapshot: Arc::new(engine.snapshot()), engine: engine.clone(), now_ns, tags }
    }

    /// The levels of a policy that answer for `times_ns`, oldest window first; they do not overlap.
    pub(super) fn windows(&self, policy: PolicyId, times_ns: &RangeInclusive<i64>) -> Vec<Window> {
        let Some(policy) = self.engine.policy(policy) else { return Vec::new() };
        let mut windows = Vec::new();
        let mut end = *times_ns.end();
        for (ordinal, level) in policy.levels.iter().enumerate() {
            let oldest = match level.retention_ns {
                0 => i64::MIN,
                retention => self.now_ns.saturating_sub(retention),
            };
            let start = oldest.max(*times_ns.start());
            if start <= end {
                let tier = Tier(u8::try_from(ordinal).unwrap_or(u8::MAX));
                windows.push(Window { tier, step_ns: level.step_ns, times_ns: start..=end });
            }
            if oldest == i64::MIN {
                break;
            }
            end = end.min(oldest - 1);
        }
        windows.reverse();
        windows
    }

    /// Cuts a window into slices of time, ascending, so that one series of average length fits in memory in each.
    pub(super) fn slices(&self, policy: PolicyId, window: Window) -> Vec<Window> {
        let series: u64 = {
            let names = self.engine.registry().read();
            names.tables(policy).map(|t| t.series_count()).sum()
        };
        let (mut values, mut times) = (0, (i64::MAX, i64::MIN));
        for file in self.engine.files() {
            let overlaps = file.max_time_ns >= *window.times_ns.start() && file.min_time_ns <= *window.times_ns.end();
            if (file.policy, file.tier) == (policy, window.tier) && overlaps {
                values += file.rows;
                times = (times.0.min(file.min_time_ns), times.1.max(file.max_time_ns));
            }
        }
        cut(window, times.0..=times.1, values / series.max(1))
    }
}

/// Cuts a window whose points lie within `points_ns` (as far as is known) and of which a series has `values`.
fn cut(window: Window, points_ns: RangeInclusive<i64>, values: u64) -> Vec<Window> {
    let (start, end) = (*window.times_ns.start(), *window.times_ns.end());
    let (first, last) = (start.max(*points_ns.start()), end.min(*points_ns.end()));
    let slices = values.div_ceil(SLICE_VALUES).min(SLICES_MAX);
    if slices < 2 || last <= first {
        return vec![window];
    }
    let length = i128::from(last) - i128::from(first) + 1;
    let cut_at = |n: u64| i64::try_from(i128::from(first) + length * i128::from(n) / i128::from(slices)).ok();
    let mut cuts = vec![start];
    cuts.extend((1..slices).filter_map(cut_at));
    cuts.dedup();
    let ends = cuts.iter().skip(1).map(|next| next - 1).chain([end]);
    let slice = |(&start, end)| Window { times_ns: start..=end, ..window.clone() };
    cuts.iter().zip(ends).map(slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(times_ns: RangeInclusive<i64>, points_ns: RangeInclusive<i64>, values: u64, slices: usize) {
        let window = Window { tier: Tier::RAW, step_ns: 0, times_ns: times_ns.clone() };
        let cut = cut(window, points_ns, values);
        assert_eq!(cut.len(), slices, "{times_ns:?} {values}");
        assert_eq!((cut[0].times_ns.start(), cut[slices - 1].times_ns.end()), (times_ns.start(), times_ns.end()));
        for pair in cut.windows(2) {
            assert_eq!(pair[0].times_ns.end() + 1, *pair[1].times_ns.start(), "no gap, no overlap");
        }
    }

    #[test]
    fn long_series_are_read_in_slices_of_time() {
        let always = i64::MIN..=i64::MAX;
        check(always.clone(), 0..=1_000, 10, 1);
        check(always.clone(), 0..=1_000, SLICE_VALUES, 1);
        check(always.clone(), 0..=1_000, SLICE_VALUES + 1, 2);
        check(always.clone(), 0..=1_000, SLICE_VALUES * 10, 10);
        check(always.clone(), 0..=1_000_000, u64::MAX, SLICES_MAX as usize);
        check(always.clone(), always.clone(), SLICE_VALUES * 4, 4);
        check(500..=700, 0..=1_000, SLICE_VALUES * 4, 4);
        check(500..=500, 0..=1_000, SLICE_VALUES * 4, 1);
        check(500..=501, 0..=1_000, SLICE_VALUES * 4, 2);
        check(5..=7, RangeInclusive::new(i64::MAX, i64::MIN), SLICE_VALUES * 4, 1);
    }
}
