use std::fmt;

use crate::name::{self, NameError};

/// The latest time accepted, seconds since 1970: what a whisper file can hold.
pub(crate) const TIMESTAMP_S_MAX: f64 = u32::MAX as f64;
/// Bytes of a bad line or name that a [`Reject`] shows.
const SAMPLE_BYTES_MAX: usize = 400;

/// One point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point<'a> {
    /// The canonical name, see [`crate::name::canonical`].
    pub path: &'a str,
    /// Seconds since 1970, 0..2^32.
    pub ts_s: i64,
    /// Finite or infinite, never NaN.
    pub value: f64,
}

/// Why a line or item gave no point.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The line is longer than the limit.
    TooLong,
    /// The line or name is not UTF-8.
    NotUtf8,
    /// Not the three fields name, value, time.
    Shape,
    /// The value is no number.
    Value,
    /// The value is NaN, which carbon drops.
    Nan,
    /// The time is no number, or outside 0..2^32.
    Timestamp,
    /// The name is malformed.
    Name(NameError),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("too long"),
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::Shape => f.write_str("not three fields: name, value, time"),
            Self::Value => f.write_str("the value is not a number"),
            Self::Nan => f.write_str("the value is NaN"),
            Self::Timestamp => f.write_str("the time is not a number of seconds since 1970"),
            Self::Name(e) => write!(f, "name: {e}"),
        }
    }
}

/// What gave no point, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reject<'a> {
    /// Why.
    pub reason: Reason,
    /// The head of the line, or of the pickled item's name; may be empty, may be any bytes.
    pub sample: &'a [u8],
}

/// Receives what a parser finds, in the order of the input.
pub trait Sink {
    /// One good point.
    fn point(&mut self, point: Point<'_>);
    /// One line or item without a point.
    fn reject(&mut self, reject: Reject<'_>);
}

/// Checks the parts of a point and hands it, or the reason against it, to `sink`.
///
/// `value` and `ts_s` are `None` where they were no numbers.
pub(crate) fn deliver(
    sink: &mut impl Sink,
    scratch: &mut String,
    (path, value, ts_s): (&str, Option<f64>, Option<f64>),
    now_s: i64,
    sample: &[u8],
) {
    match check(scratch, path, value, ts_s, now_s) {
        Ok(point) => sink.point(point),
        Err(reason) => reject(sink, reason, sample),
    }
}

pub(crate) fn reject(sink: &mut impl Sink, reason: Reason, sample: &[u8]) {
    sink.reject(Reject { reason, sample: &sample[..sample.len().min(SAMPLE_BYTES_MAX)] });
}

fn check<'a>(
    scratch: &'a mut String,
    path: &'a str,
    value: Option<f64>,
    ts_s: Option<f64>,
    now_s: i64,
) -> Result<Point<'a>, Reason> {
    let value = value.ok_or(Reason::Value)?;
    // Truncated towards 0: from above -2 to -1 is -1, which is now, and from above -1 to below 1 is 0.
    let ts_s = match ts_s.ok_or(Reason::Timestamp)? {
        ts_s if ts_s > -1.0 && ts_s < TIMESTAMP_S_MAX + 1.0 => ts_s as i64,
        ts_s if ts_s > -2.0 && ts_s <= -1.0 => now_s,
        _ => return Err(Reason::Timestamp),
    };
    if value.is_nan() {
        return Err(Reason::Nan);
    }
    let path = name::canonical(path, scratch).map_err(Reason::Name)?;
    Ok(Point { path, ts_s, value })
}
