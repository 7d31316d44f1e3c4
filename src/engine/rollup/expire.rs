//! When raw points go: not before every coarser level has them.

use std::sync::Arc;

use rhythmite_model::{Policy, Tier};

use crate::compaction::Job;
use crate::engine::Engine;
use crate::files::LiveFile;
use crate::manifest::FileRecord;
use crate::view::View;

const SECOND_NS: i64 = 1_000_000_000;

impl Engine {
    /// Whether the retention of a file's points has passed, by what the policy says now.
    pub(crate) fn is_past(&self, policy: &Policy, record: &FileRecord) -> bool {
        let Some(level) = policy.levels.get(record.tier.level()) else {
            // A level that the policy no longer has.
            return record.tier.is_rolled();
        };
        let retention_s = level.retention_ns.div_euclid(SECOND_NS).saturating_add(1);
        let grace_s =
            if policy.has_tiers() && record.tier == Tier::RAW { self.inner.options.rollup_grace.as_secs() } else { 0 };
        let now_s = self.inner.env.clock.now_s();
        level.retention_ns > 0
            && record.kept_from_s.saturating_add(retention_s).saturating_add_unsigned(grace_s) <= now_s
    }

    /// Raw files of a policy with coarser levels that may go, and the floor that follows.
    pub(crate) fn raw_past(&self, view: &View, policy: &Policy) -> Option<(Vec<Arc<LiveFile>>, i64)> {
        let mut gone = Vec::new();
        let mut floor_ns = view.floor(policy.id);
        let before = floor_ns;
        for (start_ns, files) in view.raw_partitions(policy.id) {
            let end_ns = start_ns.saturating_add(policy.partition_ns.max(1));
            let seq = files.iter().map(|file| file.record.seq).max().unwrap_or(0);
            // Oldest first: the floor is one moment.
            let may = files.iter().all(|file| self.is_past(policy, &file.record) && !self.is_half_done(file))
                && self.is_rolled(view, policy, start_ns, seq)
                && !view.is_touched(policy.id, start_ns)
                && !self.waits_above(view, policy, end_ns);
            if end_ns > before && !may {
                break;
            }
            gone.extend(files);
            floor_ns = floor_ns.max(end_ns);
        }
        (!gone.is_empty()).then_some((gone, floor_ns))
    }

    /// Flushed files that hold up raw points which are to go, or hold such themselves.
    pub(crate) fn overdue_flushed(&self, view: &View) -> Option<Job> {
        view.files.iter().filter(|(key, _)| key.1 == Tier::RAW).find_map(|(key, files)| {
            let policy = self.policy(key.0).filter(|policy| policy.has_tiers())?;
            let oldest_ns = files.iter().filter(|f| f.record.level == 0).map(|f| f.record.min_time_ns).min()?;
            let holds_up = |file: &Arc<LiveFile>| {
                let end_ns = file.record.partition_ns.map(|start| start.saturating_add(policy.partition_ns.max(1)));
                end_ns.is_none_or(|end| oldest_ns < end) && self.is_past(&policy, &file.record)
            };
            files.iter().any(holds_up).then(|| self.oldest_flushed(*key, files, 1)).flatten()
        })
    }

    /// Whether points before `end_ns` are not merged into their partition yet.
    fn waits_above(&self, view: &View, policy: &Policy, end_ns: i64) -> bool {
        let mut flushed = view.files.get(&(policy.id, Tier::RAW)).into_iter().flatten();
        if flushed.any(|file| file.record.level == 0 && file.record.min_time_ns < end_ns) {
            return true;
        }
        let tables: Vec<_> = self.inner.registry.read().tables(policy.id).map(|table| table.id()).collect();
        let generations = || view.frozen.iter().map(|f| &f.active).chain([&view.active]);
        generations().any(|active| {
            let of_policy =
                active.generation.tables().into_iter().filter(|(t, tier)| *tier == Tier::RAW && tables.contains(t));
            of_policy
                .flat_map(|(table, tier)| active.generation.parts(table, tier))
                .any(|part| part.block.times_ns().iter().any(|t| *t < end_ns))
        })
    }
}
