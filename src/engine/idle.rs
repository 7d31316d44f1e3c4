//! Series that nobody writes any more: removed with their points once their policy's `max_idle` has passed.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rhythmite_model::{Result, SeriesSet};

use crate::engine::Engine;

/// How often it is looked for such series.
const CHECK: Duration = Duration::from_secs(600);
/// A start waits as long as `max_idle`, but not longer than this: writers must be able to come back first.
const GRACE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// When to look again, on the monotonic clock.
#[derive(Default)]
pub(crate) struct IdleCheck {
    /// When this process first looked.
    started: Option<Duration>,
    next: Duration,
}

impl Engine {
    /// Drops the series of each policy whose newest point is older than its `max_idle`, with all their points; those
    /// without a point, too. Returns whether there were any.
    ///
    /// # Errors
    /// As [`Engine::delete`]; what was not done is done by the next call but for ten minutes.
    pub(crate) fn drop_idle(&self) -> Result<bool> {
        let inner = &*self.inner;
        let now = inner.env.clock.monotonic();
        let started = {
            let mut check = inner.idle_check.lock();
            let started = *check.started.get_or_insert(now);
            if now < check.next {
                return Ok(false);
            }
            check.next = now + CHECK;
            started
        };
        let policies: Vec<_> = inner.policies.read().values().filter(|p| p.max_idle_ns > 0).cloned().collect();
        let mut dropped = 0;
        for policy in policies {
            let max_idle = Duration::from_nanos(policy.max_idle_ns.unsigned_abs());
            if now.saturating_sub(started) < max_idle.min(GRACE_MAX) {
                continue;
            }
            let since_ns = inner.env.clock.now_ns().saturating_sub(policy.max_idle_ns);
            let tables: Vec<_> = inner.registry.read().tables(policy.id).map(|t| t.id()).collect();
            for table in tables {
                let all = inner.registry.read().series_of(table, &SeriesSet::table(table));
                dropped += self.drop_without_points(table, all, since_ns..=i64::MAX, &HashSet::new())?;
            }
        }
        if dropped > 0 {
            inner.counters.idle_series.fetch_add(dropped, Ordering::Relaxed);
            tracing::info!(series = dropped, "series that nobody writes any more are removed (max_idle)");
        }
        Ok(dropped > 0)
    }
}
