//! InfluxDB's line protocol: `measurement[,tag=value...] field=value[,...] [timestamp]`.
//!
//! Owns the grammar, both ways: [`LineParser`] reads a body, [`write_line`] writes a point, [`texts`]
//! holds the sentences client software looks for in a refused write.
//!
//! Order of events for one line, made for an ingest that knows most series already:
//!
//! 1. [`LineParser::next_key`] gives the key's bytes exactly as sent. The caller may name the key it
//!    expects (senders repeat their order); then one comparison replaces the scan.
//! 2. The caller looks the bytes up. Only a key it has never seen is parsed: [`RawKey::parse`]
//!    checks and unescapes it, sorts the tags and refuses duplicates.
//! 3. [`LineParser::read_fields`] reads fields and time. Field names are first compared with the
//!    [`Shape`] of an earlier row, in order, so that a known shape costs a few word comparisons.
//! 4. A line that is refused becomes one [`LineError`], with InfluxDB's words; the next line goes on.
//!
//! [`for_each_point`] does all four for callers that are in no hurry.
//!
//! Nothing is copied or allocated per line; text stays escaped until somebody asks. Every limit is a
//! field of [`ParseOptions`]. Time is linear in the body, whatever it holds.
//!
//! Where we differ from InfluxDB 1.x on purpose: CRLF ends a line, a byte order mark is skipped,
//! `1u` is an unsigned integer, bytes that are not UTF-8 and text behind a closing quote are refused,
//! a newline ends a comment, a tag or a name whatever stands before it, and an unterminated string
//! costs one line instead of the rest of the body.

mod error;
mod key;
mod number;
mod parser;
mod precision;
mod shape;
pub mod texts;
mod unescape;
mod write;

pub use error::{LineError, Reason};
pub use key::{RawKey, SeriesKey};
pub use parser::{Field, Fields, LineParser, ParseOptions, Point, Row, Value, for_each_point, line_end};
pub use precision::{MAX_TIME_NS, MIN_TIME_NS, Precision};
pub use shape::Shape;
pub use unescape::{Name, Text};
pub use write::{Unwritable, write_keyed_line, write_line};

/// Appends a tag's key or value with InfluxDB's escapes.
pub(crate) fn escape_name(name: &str, out: &mut String) {
    key::escape_into(name, unescape::NAME_SPECIALS, out);
}

#[cfg(test)]
mod tests;
