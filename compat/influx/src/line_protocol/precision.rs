/// The earliest time InfluxDB stores: the two values below it are sentinels there.
pub const MIN_TIME_NS: i64 = i64::MIN + 2;
/// The latest time InfluxDB stores.
pub const MAX_TIME_NS: i64 = i64::MAX - 1;

/// The unit of a body's timestamps (`precision=` of a write).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// `n`, `ns`.
    #[default]
    Nanosecond,
    /// `u`, `us`.
    Microsecond,
    /// `ms`.
    Millisecond,
    /// `s`.
    Second,
    /// `m`.
    Minute,
    /// `h`.
    Hour,
}

impl Precision {
    /// The precision a client names; `None` for an unknown one. Case matters, empty is nanoseconds.
    pub fn from_param(param: &str) -> Option<Self> {
        Some(match param {
            "" | "n" | "ns" => Self::Nanosecond,
            "u" | "us" => Self::Microsecond,
            "ms" => Self::Millisecond,
            "s" => Self::Second,
            "m" => Self::Minute,
            "h" => Self::Hour,
            _ => return None,
        })
    }

    /// Nanoseconds in one unit.
    pub const fn unit_ns(self) -> i64 {
        match self {
            Self::Nanosecond => 1,
            Self::Microsecond => 1_000,
            Self::Millisecond => 1_000_000,
            Self::Second => 1_000_000_000,
            Self::Minute => 60_000_000_000,
            Self::Hour => 3_600_000_000_000,
        }
    }

    /// `time` units as nanoseconds; `None` outside [`MIN_TIME_NS`]..=[`MAX_TIME_NS`].
    pub fn to_ns(self, time: i64) -> Option<i64> {
        time.checked_mul(self.unit_ns()).filter(|ns| (MIN_TIME_NS..=MAX_TIME_NS).contains(ns))
    }

    /// The start of the unit that holds `time_ns`; what a line without a timestamp gets.
    pub fn truncate(self, time_ns: i64) -> i64 {
        time_ns.saturating_sub(time_ns.rem_euclid(self.unit_ns()))
    }
}
