use std::fmt;

use super::precision::{MAX_TIME_NS, MIN_TIME_NS};

/// Why a line was refused. Its text is InfluxDB's wherever InfluxDB has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason<'a> {
    /// The line starts with a comma.
    MissingMeasurement,
    /// `,=value` or a comma without a tag.
    MissingTagKey,
    /// `,tag` or `,tag=`.
    MissingTagValue,
    /// A tag value with an `=` that is not escaped.
    InvalidTagFormat,
    /// A tag key occurs twice.
    DuplicateTags,
    /// Nothing follows the key.
    MissingFields,
    /// `=value`.
    MissingFieldKey,
    /// `field=`.
    MissingFieldValue,
    /// A field without `=`, a stray comma, or text behind a closing quote.
    InvalidFieldFormat,
    /// Starts like a number and is none.
    InvalidNumber,
    /// Looks like a float and is none, or is too large for one.
    InvalidFloat,
    /// Neither number nor string nor one of the ten spellings of a boolean.
    InvalidBoolean,
    /// `digits` do not fit 64 bits, signed.
    IntegerRange(&'a str),
    /// `digits` do not fit 64 bits, unsigned.
    UnsignedRange(&'a str),
    /// A string without an end.
    UnbalancedQuotes,
    /// The timestamp is no integer.
    BadTimestamp,
    /// The timestamp does not fit 64 bits.
    TimestampRange(&'a str),
    /// The timestamp is beyond what can be stored, after scaling by the precision.
    TimeOutsideRange,
    /// Text follows the timestamp.
    PointInvalid,
    /// The key (with the field's name, as InfluxDB 1.x stores it) is `len` bytes, more than `max`.
    KeyTooLong {
        /// Bytes found.
        len: usize,
        /// [`super::ParseOptions::key_bytes_max`].
        max: usize,
    },
    /// More bytes than [`super::ParseOptions::line_bytes_max`], the value given.
    LineTooLong(usize),
    /// More fields than [`super::ParseOptions::fields_max`], the value given.
    TooManyFields(usize),
    /// More tags than [`super::ParseOptions::tags_max`], the value given.
    TooManyTags(usize),
    /// Bytes that are not UTF-8.
    InvalidUtf8,
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MissingMeasurement => "missing measurement",
            Self::MissingTagKey => "missing tag key",
            Self::MissingTagValue => "missing tag value",
            Self::InvalidTagFormat => "invalid tag format",
            Self::DuplicateTags => "duplicate tags",
            Self::MissingFields => "missing fields",
            Self::MissingFieldKey => "missing field key",
            Self::MissingFieldValue => "missing field value",
            Self::InvalidFieldFormat => "invalid field format",
            Self::InvalidNumber => "invalid number",
            Self::InvalidFloat => "invalid float",
            Self::InvalidBoolean => "invalid boolean",
            Self::UnbalancedQuotes => "unbalanced quotes",
            Self::BadTimestamp => "bad timestamp",
            Self::PointInvalid => "point is invalid",
            Self::InvalidUtf8 => "invalid UTF-8",
            Self::IntegerRange(digits) => {
                return write!(
                    f,
                    "unable to parse integer {digits}: strconv.ParseInt: parsing \"{digits}\": value out of range"
                );
            }
            Self::UnsignedRange(digits) => {
                return write!(
                    f,
                    "unable to parse unsigned {digits}: strconv.ParseUint: parsing \"{digits}\": value out of range"
                );
            }
            Self::TimestampRange(digits) => {
                return write!(f, "strconv.ParseInt: parsing \"{digits}\": value out of range");
            }
            Self::TimeOutsideRange => return write!(f, "time outside range {MIN_TIME_NS} - {MAX_TIME_NS}"),
            Self::KeyTooLong { len, max } => return write!(f, "max key length exceeded: {len} > {max}"),
            Self::LineTooLong(max) => return write!(f, "max line length exceeded: more than {max} bytes"),
            Self::TooManyFields(max) => return write!(f, "max fields per line exceeded: more than {max}"),
            Self::TooManyTags(max) => return write!(f, "max tags per line exceeded: more than {max}"),
        })
    }
}

/// One refused line. Displays as InfluxDB's `unable to parse 'LINE': REASON`, the line in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineError<'a> {
    /// The line without leading blanks and without its end; may hold newlines inside quotes.
    pub line: &'a [u8],
    /// Where it starts in the body, counted from 1.
    pub line_number: usize,
    /// Why.
    pub reason: Reason<'a>,
}

impl fmt::Display for LineError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unable to parse '{}': {}", String::from_utf8_lossy(self.line), self.reason)
    }
}

impl std::error::Error for LineError<'_> {}
