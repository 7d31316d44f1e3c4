//! What collectd sends: lists of values under an identifier, and notifications.

use std::borrow::Cow;
use std::fmt;

use smallvec::SmallVec;

/// Nanoseconds in a second.
const NANOS: i128 = 1_000_000_000;

/// A point in time or a duration in collectd's unit, 2^-30 seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// From whole seconds; `None` above 2^34.
    pub fn from_secs(secs: u64) -> Option<Self> {
        (secs < 1 << 34).then_some(Time(secs << 30))
    }

    /// From nanoseconds; `None` if negative or above 2^34 seconds.
    pub fn from_nanos(nanos: i64) -> Option<Self> {
        let units = ((i128::from(nanos) << 30) + NANOS / 2) / NANOS;
        u64::try_from(units).ok().map(Time)
    }

    /// From seconds with a fraction; `None` if negative, not finite or above 2^34.
    pub fn from_secs_f64(secs: f64) -> Option<Self> {
        (0.0..17_179_869_184.0).contains(&secs).then(|| Time((secs * 1_073_741_824.0).round() as u64))
    }

    /// Whole seconds, half ones up: the timestamp `write_graphite` writes.
    pub fn secs_rounded(self) -> i64 {
        ((u128::from(self.0) + (1 << 29)) >> 30) as i64
    }

    /// Nanoseconds; `None` from the year 2262 on.
    pub fn nanos(self) -> Option<i64> {
        i64::try_from((i128::from(self.0) * NANOS + (1 << 29)) >> 30).ok()
    }

    /// Seconds with their fraction.
    pub fn secs_f64(self) -> f64 {
        self.0 as f64 / 1_073_741_824.0
    }
}

/// How the numbers of a data source are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Counts up and wraps around at 2^32 or 2^64.
    Counter,
    /// Is what it is.
    Gauge,
    /// Counts up or down.
    Derive,
    /// Starts at 0 again each time it is read.
    Absolute,
}

impl Kind {
    /// The name in types.db, of any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Kind::Counter, Kind::Gauge, Kind::Derive, Kind::Absolute]
            .into_iter()
            .find(|kind| name.eq_ignore_ascii_case(&format!("{kind}")))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Derive => "derive",
            Kind::Absolute => "absolute",
        })
    }
}

/// One number; a gauge may be NaN, which says "unknown".
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// See [`Kind::Counter`].
    Counter(u64),
    /// See [`Kind::Gauge`].
    Gauge(f64),
    /// See [`Kind::Derive`].
    Derive(i64),
    /// See [`Kind::Absolute`].
    Absolute(u64),
}

impl Value {
    /// The kind of this value.
    pub fn kind(self) -> Kind {
        match self {
            Value::Counter(_) => Kind::Counter,
            Value::Gauge(_) => Kind::Gauge,
            Value::Derive(_) => Kind::Derive,
            Value::Absolute(_) => Kind::Absolute,
        }
    }

    /// The number as it is.
    pub fn to_f64(self) -> f64 {
        match self {
            Value::Counter(v) | Value::Absolute(v) => v as f64,
            Value::Gauge(v) => v,
            Value::Derive(v) => v as f64,
        }
    }
}

/// Values of one list; few types have more than four.
pub type Values = SmallVec<[Value; 4]>;

/// What names a series: `host/plugin-plugin_instance/type-type_instance`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identifier<'a> {
    /// Not empty.
    pub host: Cow<'a, str>,
    /// Not empty.
    pub plugin: Cow<'a, str>,
    /// May be empty.
    pub plugin_instance: Cow<'a, str>,
    /// Not empty; says what the values are ([`crate::TypesDb`]).
    pub type_name: Cow<'a, str>,
    /// May be empty.
    pub type_instance: Cow<'a, str>,
}

/// Values of one type, read together.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueList<'a> {
    /// Of what.
    pub id: Identifier<'a>,
    /// When.
    pub time: Time,
    /// How often.
    pub interval: Time,
    /// In the order of the type's data sources.
    pub values: Values,
}

/// Severity of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// 1 on the wire.
    Failure,
    /// 2 on the wire.
    Warning,
    /// 4 on the wire.
    Okay,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification<'a> {
    /// To what; every part may be empty.
    pub id: Identifier<'a>,
    /// When.
    pub time: Time,
    /// How bad.
    pub severity: Severity,
    /// What.
    pub message: Cow<'a, str>,
}

/// Why a value list is not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// types.db does not know the type.
    #[error("Type `{0}' isn't defined.")]
    UnknownType(String),
    /// The list has another number of values than the type.
    #[error("type `{name}' has {want} values, not {got}")]
    ValueCount {
        /// Name of the type.
        name: String,
        /// Data sources of the type.
        want: usize,
        /// Values in the list.
        got: usize,
    },
}
