use crate::PolicyId;

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
}

const HOUR_NS: i64 = 3_600_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;

impl Policy {
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
