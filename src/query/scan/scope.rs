use std::ops::RangeInclusive;
use std::sync::Arc;

use rhythmite_engine::{Engine, Snapshot};
use rhythmite_model::{Policy, PolicyId, Tier};

use crate::query::gone::Gone;

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
pub(in crate::query) struct Window {
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

    /// Whether raw points of a policy have gone from a range of time.
    pub(super) fn gone(&self, policy: PolicyId, times_ns: &RangeInclusive<i64>) -> Option<Gone> {
        Gone::of(&self.engine, &self.snapshot, policy, self.now_ns, times_ns)
    }

    /// The levels of a policy that answer for `times_ns`, oldest window first; they do not overlap.
    pub(super) fn windows(&self, policy: PolicyId, times_ns: &RangeInclusive<i64>) -> Vec<Window> {
        let Some(policy) = self.engine.policy(policy) else { return Vec::new() };
        windows(&policy, self.now_ns, times_ns)
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

/// The levels of a policy that answer for `times_ns` as seen at `now_ns`, oldest window first; they do not overlap.
///
/// Where the levels have steps, the rows of each stand for the time until the next: a finer level begins where the last
/// row of the coarser one ends.
pub(in crate::query) fn windows(policy: &Policy, now_ns: i64, times_ns: &RangeInclusive<i64>) -> Vec<Window> {
    let begins = |ordinal: usize| {
        let oldest = match policy.levels[ordinal].retention_ns {
            0 => return i64::MIN,
            retention => now_ns.saturating_sub(retention),
        };
        match policy.levels.get(ordinal + 1).filter(|_| has_values(policy)) {
            Some(coarser) => {
                let step_ns = coarser.step_ns.max(1);
                oldest.saturating_add(step_ns - 1).div_euclid(step_ns).saturating_mul(step_ns)
            }
            None => oldest,
        }
    };
    let mut starts: Vec<i64> = (0..policy.levels.len()).map(begins).collect();
    if has_values(policy) {
        // A long row may end behind the one before it.
        for at in (1..starts.len().saturating_sub(1)).rev() {
            starts[at - 1] = starts[at - 1].max(starts[at]);
        }
    }
    let mut windows = Vec::new();
    let mut end = *times_ns.end();
    for ((ordinal, level), oldest) in policy.levels.iter().enumerate().zip(starts) {
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

/// Whether coarser levels of a policy have values by their series' methods: Graphite's, whose points have a step, do.
pub(in crate::query) fn has_values(policy: &Policy) -> bool {
    policy.has_tiers() && policy.levels.first().is_some_and(|level| level.step_ns > 0)
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
    fn each_moment_is_of_one_level() {
        let second = 1_000_000_000;
        let policy = |levels: &[(i64, i64)]| Policy {
            id: PolicyId(1),
            database: "d".to_owned(),
            name: "p".to_owned(),
            levels: levels
                .iter()
                .map(|(step, kept)| rhythmite_model::Level { step_ns: step * second, retention_ns: kept * second })
                .collect(),
            partition_ns: 1,
            max_idle_ns: 0,
            aggregates: rhythmite_model::Aggregates::USUAL,
        };
        let always = i64::MIN..=i64::MAX;
        for (levels, times, expected) in [
            (&[(10, 100), (60, 600)][..], always.clone(), "1:400..899 0:900.."),
            (&[(10, 95), (60, 0)], always.clone(), "1:..959 0:960.."),
            (&[(10, 100), (60, 600)], 0..=500 * second, "1:400..500"),
            (&[(10, 100), (60, 600)], 950 * second..=i64::MAX, "0:950.."),
            (&[(10, 20), (60, 120), (600, 6_000)], always.clone(), "2:-5000..1199 0:1200.."),
            (&[(10, 60), (60, 600), (300, 6_000)], always.clone(), "2:-5000..599 1:600..959 0:960.."),
            // Rows at any time: the coarser level is no continuation.
            (&[(0, 95), (60, 600)], always.clone(), "1:400..904 0:905.."),
            (&[(0, 0)], always, "0:.."),
        ] {
            let found = windows(&policy(levels), 1_000 * second, &times);
            let text = |ns: i64| {
                if ns == i64::MIN || ns == i64::MAX { String::new() } else { (ns.div_euclid(second)).to_string() }
            };
            let found: Vec<_> = found
                .iter()
                .map(|w| format!("{}:{}..{}", w.tier.0, text(*w.times_ns.start()), text(*w.times_ns.end())))
                .collect();
            assert_eq!(found.join(" "), expected, "{levels:?}");
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
