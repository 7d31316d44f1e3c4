//! Raw points that have gone while coarser levels still tell of them: an answer made of the points that are left would look
//! whole.

use std::ops::RangeInclusive;
use std::sync::Arc;

use rhythmite_engine::{Engine, Snapshot};
use rhythmite_model::{Policy, PolicyId};

use super::scan::scope::has_values;

const SECOND_NS: i64 = 1_000_000_000;

/// A policy whose raw points have gone from a part of a range.
pub(super) struct Gone {
    pub(super) policy: Arc<Policy>,
    /// Raw points begin here.
    floor_ns: i64,
}

impl Gone {
    /// `None` while all points of the range are there, where no level kept anything of those that are not, and of Graphite's
    /// policies, whose levels continue the points.
    pub(super) fn of(
        engine: &Engine,
        snapshot: &Snapshot,
        policy: PolicyId,
        now_ns: i64,
        times_ns: &RangeInclusive<i64>,
    ) -> Option<Self> {
        let policy = engine.policy(policy).filter(|policy| policy.has_tiers() && !has_values(policy))?;
        let floor_ns = snapshot.raw_floor(policy.id);
        let kept_from = |at: usize| match policy.levels[at].retention_ns {
            0 => snapshot.rolled_since(&policy, at),
            retention_ns => snapshot.rolled_since(&policy, at).max(now_ns.saturating_sub(retention_ns)),
        };
        let since_ns = (1..policy.levels.len()).map(kept_from).min().unwrap_or(floor_ns).max(*times_ns.start());
        (since_ns < floor_ns.min(*times_ns.end())).then_some(Self { policy, floor_ns })
    }

    /// Since when there are raw points, as a time in UTC.
    pub(super) fn floor(&self) -> String {
        time_text(self.floor_ns)
    }

    /// The steps of the levels: `60s or 3600s`.
    pub(super) fn steps(&self) -> String {
        let steps = self.policy.levels[1..].iter().map(|level| format!("{}s", level.step_ns / SECOND_NS));
        steps.collect::<Vec<_>>().join(" or ")
    }
}

/// A time in UTC.
pub(super) fn time_text(time_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time_ns)).map_or_else(|_| time_ns.to_string(), |time| time.to_string())
}
