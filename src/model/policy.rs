use crate::{Aggregates, PolicyId, Tier};

/// One resolution level of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Level {
    /// Nanoseconds between points; 0 for points at any time.
    pub step_ns: i64,
    /// How long points are kept, in nanoseconds; 0 for ever.
    pub retention_ns: i64,
}

/// A list of levels, finest first: an Influx retention policy is one, each distinct Graphite storage schema is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its number.
    pub id: PolicyId,
    /// The database it belongs to.
    pub database: String,
    /// Its name within the database.
    pub name: String,
    /// Finest first, never empty.
    pub levels: Vec<Level>,
    /// Length of a partition of the raw level in nanoseconds; fixed when the policy is made.
    pub partition_ns: i64,
    /// A series whose newest point is older than this goes, in nanoseconds; 0: however old it is.
    pub max_idle_ns: i64,
    /// What the coarser levels keep of each window.
    pub aggregates: Aggregates,
}

const HOUR_NS: i64 = 3_600_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;

impl Policy {
    /// Whether there is anything to roll up.
    pub fn has_tiers(&self) -> bool {
        self.levels.len() > 1
    }

    /// How long a time the rows of a level stand for: a step of roll-ups; the others are points, 0.
    pub fn reach_of(&self, tier: Tier) -> i64 {
        self.levels.get(tier.level()).filter(|_| tier.is_rolled()).map_or(0, |level| level.step_ns)
    }

    /// Number of the raw partition that a time lies in.
    pub fn partition_of(&self, time_ns: i64) -> i64 {
        time_ns.div_euclid(self.partition_ns.max(1))
    }

    /// Length of a partition of one level in nanoseconds. Roll-ups are first kept in partitions of the raw level, then,
    /// when the raw points have gone, in ones that are a multiple of these.
    pub fn partition_length_of(&self, tier: Tier) -> i64 {
        let raw = self.partition_ns.max(1);
        let own = |level: &Level| Self::partition_length(level.step_ns, level.retention_ns);
        match self.levels.get(tier.level()) {
            Some(level) if tier.is_rolled() => (own(level) / raw).max(1).saturating_mul(raw),
            Some(level) if tier != Tier::RAW => own(level),
            _ => raw,
        }
    }

    /// The partition length of the raw level of a new policy: as for coarser ones, but of the lengths below a week the least
    /// that holds a thousand steps, since raw points go by partitions.
    pub fn raw_partition_length(step_ns: i64, retention_ns: i64) -> i64 {
        let longest = Self::partition_length(step_ns, retention_ns);
        let by_retention = Self::partition_length(0, retention_ns);
        let lengths = [2 * HOUR_NS, DAY_NS, 7 * DAY_NS];
        let fits = |length: &&i64| **length >= by_retention && **length >= step_ns.saturating_mul(1_000);
        lengths.iter().find(fits).copied().unwrap_or(longest)
    }

    /// The partition length for a level kept for `retention_ns` (0: for ever): 2 hours up to two days, 1 day up to 180
    /// days, else 7 days. A coarse level gets no partition of fewer than about a thousand steps.
    pub fn partition_length(step_ns: i64, retention_ns: i64) -> i64 {
        let by_retention = match retention_ns {
            n if n > 0 && n <= 2 * DAY_NS => 2 * HOUR_NS,
            n if n > 0 && n <= 180 * DAY_NS => DAY_NS,
            _ => 7 * DAY_NS,
        };
        let floor = step_ns.saturating_mul(1_000);
        if by_retention >= floor {
            by_retention
        } else {
            floor.div_euclid(7 * DAY_NS).saturating_add(1).saturating_mul(7 * DAY_NS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_hold_a_thousand_steps_and_are_not_longer_than_they_must() {
        let second = 1_000_000_000;
        for (step_s, retention_s, hours) in [
            (0, 0, 168),
            (0, 86_400, 2),
            (1, 3_600, 2),
            (10, 21_600, 24),
            (60, 604_800, 24),
            (60, 0, 168),
            (600, 86_400, 168),
            (3_600, 86_400, 1_008),
        ] {
            let length = Policy::raw_partition_length(step_s * second, retention_s * second);
            assert_eq!(length / HOUR_NS, hours, "{step_s}s:{retention_s}s");
        }
    }
}
