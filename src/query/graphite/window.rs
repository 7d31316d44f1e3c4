//! Which archive answers a range, and where its values lie: whisper's rules.

use std::ops::RangeInclusive;

use rhythmite_model::{Level, Tier};

const SECOND_NS: i64 = 1_000_000_000;

/// The slots that answer a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The level.
    pub tier: Tier,
    /// Time of the first slot.
    pub start_s: i64,
    /// Behind the last slot.
    pub end_s: i64,
    /// Seconds a slot.
    pub step_s: i64,
}

impl Window {
    /// The times of its points.
    pub fn times_ns(&self) -> RangeInclusive<i64> {
        let until_ns = self.end_s.saturating_mul(SECOND_NS).saturating_sub(1);
        self.start_s.saturating_mul(SECOND_NS)..=until_ns
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        usize::try_from((self.end_s - self.start_s) / self.step_s).unwrap_or(0)
    }
}

/// Seconds between the points of a level; a level without a step counts by seconds.
pub fn step_s(level: &Level) -> i64 {
    (level.step_ns / SECOND_NS).max(1)
}

fn retention_s(level: &Level) -> i64 {
    match level.retention_ns {
        0 => i64::MAX,
        ns => ns / SECOND_NS,
    }
}

/// The longest retention of a policy in seconds.
pub fn longest_s(levels: &[Level]) -> i64 {
    levels.iter().map(retention_s).max().unwrap_or(0)
}

/// The slots for `from_s < t <= until_s` as seen at `now_s`; `None` when the range lies in the future or before the
/// longest retention.
///
/// The level is the first whose retention reaches back from now to `from_s`, even where it is empty. The range is cut
/// to what is kept and rounded down to the step; when both ends then fall together, one slot is answered.
///
/// Source: whisper 1.1.10, `__archive_fetch`; vectors in the conformance kit's group `archive`.
pub fn window(levels: &[Level], from_s: i64, until_s: i64, now_s: i64) -> Option<Window> {
    let oldest_s = now_s.saturating_sub(longest_s(levels));
    if from_s > until_s || from_s > now_s || until_s < oldest_s {
        return None;
    }
    let (from_s, until_s) = (from_s.max(oldest_s), until_s.min(now_s));
    let reach_s = now_s.saturating_sub(from_s);
    let at = levels.iter().position(|l| retention_s(l) >= reach_s)?;
    let step_s = step_s(&levels[at]);
    let slot_after = |t: i64| t - t.rem_euclid(step_s) + step_s;
    let (start_s, mut end_s) = (slot_after(from_s), slot_after(until_s));
    if start_s == end_s {
        end_s += step_s;
    }
    Some(Window { tier: Tier(u8::try_from(at).ok()?), start_s, end_s, step_s })
}
