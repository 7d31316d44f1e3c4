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
}
