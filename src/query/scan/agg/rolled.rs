//! Which coarser level of a retention policy answers an aggregate, and which times are read from where.

use std::ops::RangeInclusive;
use std::sync::Arc;

use datafusion::common::DataFusionError;
use rhythmite_model::{Aggregate, Aggregates, Policy, PolicyId, TableId, Tier};

use super::accumulator::What;
use super::query::{RowsOf, Spec};
use super::windows::Windows;
use crate::query::scan::scope::has_values;
use crate::query::scan::{QueryScope, refuse, time};

/// The coarsest level whose steps nest in the windows of a query and that keeps what is asked for.
pub(super) struct Rolled {
    pub policy: Arc<Policy>,
    pub tier: Tier,
    pub step_ns: i64,
    pub aggregates: Aggregates,
    /// What is older is not seen.
    kept_from_ns: i64,
    /// Raw points begin here.
    floor_ns: i64,
}

/// A range of times, and whether it is read from roll-ups.
pub(super) type Span = (RangeInclusive<i64>, bool);

impl Rolled {
    /// `None` if points are needed, or the policy has nothing but points. Where Graphite's levels have rows of their own, imported
    /// or moved, those are values by some method and no aggregates of points: they are left to the scan.
    pub fn of(scope: &QueryScope, spec: &Spec, policy: PolicyId, table: TableId) -> Option<Self> {
        if spec.rows != RowsOf::Any || spec.picked.is_some() || spec.aggregates.is_empty() {
            return None;
        }
        let mut aggregates = Aggregates::NONE.with(Aggregate::Count);
        for asked in &spec.aggregates {
            aggregates = match asked.what {
                What::Count => aggregates,
                What::Sum | What::FloatSum | What::Mean => aggregates.with(Aggregate::Sum),
                What::Min => aggregates.with(Aggregate::Min),
                What::Max => aggregates.with(Aggregate::Max),
                What::Sketch => aggregates.with(Aggregate::Sketch).with(Aggregate::Min).with(Aggregate::Max),
                What::Rows | What::First { .. } | What::Last { .. } => return None,
            };
        }
        let policy = scope.engine.policy(policy)?;
        if aggregates.has(Aggregate::Sketch) && !policy.aggregates.has(Aggregate::Sketch) {
            return None;
        }
        // Of a whole range Graphite's rows are put together, which are those of several levels.
        if spec.windows.is_none() && has_values(&policy) {
            return None;
        }
        if !spec.fields.iter().all(|(name, _)| Self::keeps(scope, table, name)) {
            return None;
        }
        if !policy.has_tiers() || (has_values(&policy) && scope.snapshot.has_own_rows(policy.id)) {
            return None;
        }
        let nests = |at: &usize| {
            let step_ns = policy.levels[*at].step_ns;
            // Without windows the range is one, whose ends are cut like those of any.
            let whole = |w: Windows| w.stride_ns % step_ns == 0 && w.origin_ns % step_ns == 0;
            step_ns > 0 && spec.windows.is_none_or(whole)
        };
        let at = (1..policy.levels.len()).rev().filter(nests).find(|at| {
            // One that came later than finer ones does not reach as far back.
            let since_ns = scope.snapshot.rolled_since(&policy, *at);
            let finer = (1..*at).map(|finer| scope.snapshot.rolled_since(&policy, finer)).min();
            finer.is_none_or(|finer| since_ns <= finer.saturating_add(policy.levels[*at].step_ns))
        })?;
        let level = policy.levels[at];
        let kept_from_ns = match level.retention_ns {
            0 => i64::MIN,
            retention_ns => scope.now_ns.saturating_sub(retention_ns),
        };
        let floor_ns = scope.snapshot.raw_floor(policy.id);
        let tier = Tier(u8::try_from(at).ok()?);
        Some(Self { policy, tier, step_ns: level.step_ns, aggregates, kept_from_ns, floor_ns })
    }

    /// Whether a field of a table has aggregates, if there is one.
    fn keeps(scope: &QueryScope, table: TableId, field: &str) -> bool {
        let found = scope.engine.registry().read().find_field(table, field);
        found.is_none_or(|(id, _)| id.0 < Aggregate::FIELDS_MAX)
    }

    /// What is said where windows lack what is asked for, and their points have gone.
    pub fn lacking(&self) -> DataFusionError {
        refuse::lacking(&self.policy, self.step_ns, self.floor_ns)
    }

    /// Cuts a range into whole windows of the level, and what is left of it at both ends.
    ///
    /// Where raw points have gone windows are read whole.
    pub fn spans(&self, times_ns: &RangeInclusive<i64>) -> Vec<Span> {
        let times_ns = time::intersect(times_ns, &(self.kept_from_ns..=i64::MAX));
        if times_ns.is_empty() {
            return Vec::new();
        }
        let (start, end) = (*times_ns.start(), *times_ns.end());
        let into = |time_ns: i64| time_ns.rem_euclid(self.step_ns);
        let first = match into(start) {
            0 => start,
            by if start > self.floor_ns => start.saturating_add(self.step_ns - by),
            by => start.saturating_sub(by),
        };
        let behind = end.saturating_add(1);
        let last = match into(behind) {
            0 => end,
            by if behind > self.floor_ns => behind.saturating_sub(by).saturating_sub(1),
            by => behind.saturating_add(self.step_ns - by).saturating_sub(1),
        };
        if first > last {
            return vec![(times_ns, false)];
        }
        let mut spans = Vec::new();
        if start < first {
            spans.push((start..=first - 1, false));
        }
        spans.push((first..=last, true));
        if last < end {
            spans.push((last + 1..=end, false));
        }
        spans
    }
}
