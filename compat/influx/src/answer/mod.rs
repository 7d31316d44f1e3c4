//! The answers of `/query`: JSON, CSV and MessagePack, whole or in chunks.
//!
//! Owns the shapes and the bytes; [`AnswerWriter`] takes a result piece by piece and needs no more
//! memory than what was not yet taken from it, [`write_response`] takes a [`Response`] that is there.
//!
//! Order of events: [`AnswerWriter::begin_statement`], then for each series
//! [`AnswerWriter::begin_series`], [`AnswerWriter::row`]s and [`AnswerWriter::end_series`], then
//! [`AnswerWriter::end_statement`]; [`AnswerWriter::finish`] at the end. [`AnswerWriter::take`] gives
//! the bytes that may be sent, at any time.
//!
//! What InfluxDB does and is easily done wrongly:
//!
//! - Empty parts are left out: a result without series has none, an answer without statement is `{}`.
//! - Floats print as in Go's JSON ([`write_float`]); NaN and infinities are `null`.
//! - Times are RFC 3339 in JSON and extension 5 in MessagePack unless an [`Epoch`] is asked for; CSV
//!   has integers always.
//! - A chunk is a document of its own with at most so many rows of one series. `partial` on the
//!   series says that the series goes on, on the result that the statement does.
//! - CSV repeats the header when statement or columns change, and shows neither errors of statements
//!   nor messages.
//!
//! Never does: choose a status code or a header.

mod accept;
mod csv;
mod json;
mod msgpack;
mod number;
mod shape;
mod time;
mod writer;

pub use accept::Format;
pub use number::write_float;
pub use shape::{Cell, Message, Response, Series, SeriesHead, StatementEnd, StatementResult};
pub use time::{Epoch, write_rfc3339};
pub use writer::{AnswerOptions, AnswerWriter, write_error, write_response};

#[cfg(test)]
mod tests;
