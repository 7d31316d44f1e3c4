//! The pickle protocol: a frame is a pickled list of `(name, (time, value))`.
//!
//! A machine of our own reads protocols 0 to 5. It knows data opcodes only: whatever would look up, build or
//! call an object (GLOBAL, REDUCE, INST, OBJ, BUILD, EXT, PERSID, ...) refuses the frame, so that
//! nothing a sender writes is ever run. Names may be text or Python 2 byte strings; values and times may be
//! numbers or strings holding a number.
//!
//! Order of events: the whole frame is read into a flat arena, then the items are looked at one by one. A
//! frame that is no pickle gives no points; an item of the wrong shape is one reject and the others count.
//!
//! Limits: [`Limits`]; memory is linear in the frame's length whatever its bytes say. Nothing recurses,
//! neither reading nor dropping.

mod machine;
mod text;

use std::fmt;

use crate::number::parse_float;
use crate::point::{Reason, Sink, deliver, reject};
use machine::{Machine, Value};

/// What a frame may ask for. The frame's own length is limited by [`crate::framer::split_frame`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Values that wait on the machine's stack.
    pub stack_max: usize,
    /// Containers inside each other.
    pub depth_max: u8,
    /// Bytes of one string.
    pub string_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { stack_max: 1 << 17, depth_max: 32, string_bytes_max: 64 << 10 }
    }
}

/// Why a frame was refused whole.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PickleError {
    /// The frame ends inside an opcode or without STOP.
    Truncated,
    /// No such opcode, or one of a protocol that does not exist.
    Opcode(u8),
    /// An opcode that would look up, build or call an object.
    Forbidden(u8),
    /// An opcode found something else on the stack or in the memo than it needs.
    Malformed(u8),
    /// More values on the stack than [`Limits::stack_max`].
    Stack,
    /// Containers deeper than [`Limits::depth_max`].
    Depth,
    /// A string longer than [`Limits::string_bytes_max`].
    String,
    /// The pickle is sound but no list of points.
    NotAList,
    /// The pickle is sound but no question to a cache.
    NotAQuery,
}

/// A question to a carbon-cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheQuery {
    /// The points of one metric.
    Points(String),
    /// The points of several.
    PointsOfMany(Vec<String>),
    /// A setting of a metric's file.
    GetMetadata {
        /// Which metric.
        metric: String,
        /// Which setting.
        key: String,
    },
    /// To change one.
    SetMetadata,
    /// Something else.
    Unknown(String),
}

impl fmt::Display for PickleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the pickle ends early"),
            Self::Opcode(op) => write!(f, "{op:#04x} is no opcode"),
            Self::Forbidden(op) => write!(f, "opcode {op:#04x} would build or call an object"),
            Self::Malformed(op) => write!(f, "opcode {op:#04x} does not find what it needs"),
            Self::Stack => f.write_str("too many values on the stack"),
            Self::Depth => f.write_str("containers nested too deep"),
            Self::String => f.write_str("a string is too long"),
            Self::NotAList => f.write_str("not a list of points"),
            Self::NotAQuery => f.write_str("not a question to a cache"),
        }
    }
}

impl std::error::Error for PickleError {}

/// Reads frames; keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub struct Decoder {
    /// What a frame may ask for.
    pub limits: Limits,
    machine: Machine,
    scratch: String,
}

impl Decoder {
    /// Hands every item of one frame (without its length) to `sink`, in order.
    ///
    /// `now_s` is what a time of -1 stands for.
    ///
    /// # Errors
    /// The frame is refused whole; the sink has seen nothing of it. The connection can go on.
    pub fn decode(&mut self, frame: &[u8], now_s: i64, sink: &mut impl Sink) -> Result<(), PickleError> {
        let root = self.machine.run(frame, &self.limits)?;
        let items = self.machine.sequence(root).ok_or(PickleError::NotAList)?;
        for &item in items {
            let pair = self.pair(item).and_then(|(name, point)| Some((name, self.pair(point)?)));
            let name = pair.map_or(&[][..], |(name, _)| self.machine.bytes(frame, name).unwrap_or_default());
            match (pair, std::str::from_utf8(name)) {
                (None, _) => reject(sink, Reason::Shape, name),
                (_, Err(_)) => reject(sink, Reason::NotUtf8, name),
                (Some((_, (ts_s, value))), Ok(path)) => {
                    let (ts_s, value) = (self.number(frame, ts_s), self.number(frame, value));
                    deliver(sink, &mut self.scratch, (path, value, ts_s), now_s, name);
                }
            }
        }
        self.machine.clear();
        Ok(())
    }

    /// Reads a question to a carbon-cache (without its length).
    ///
    /// # Errors
    /// The frame is no pickle, or no dictionary with texts where there must be texts.
    pub fn decode_query(&mut self, frame: &[u8]) -> Result<CacheQuery, PickleError> {
        let root = self.machine.run(frame, &self.limits)?;
        let text = |value: Option<Value>| {
            let bytes = value.and_then(|value| self.machine.bytes(frame, value)).ok_or(PickleError::NotAQuery)?;
            Ok(String::from_utf8_lossy(bytes).into_owned())
        };
        let member = |key: &str| self.machine.member(frame, root, key);
        let query = match text(member("type"))?.as_str() {
            "cache-query" => CacheQuery::Points(text(member("metric"))?),
            "cache-query-bulk" => {
                let metrics = member("metrics").and_then(|list| self.machine.sequence(list));
                let metrics = metrics.ok_or(PickleError::NotAQuery)?.iter().map(|metric| text(Some(*metric)));
                CacheQuery::PointsOfMany(metrics.collect::<Result<_, _>>()?)
            }
            "get-metadata" => CacheQuery::GetMetadata { metric: text(member("metric"))?, key: text(member("key"))? },
            "set-metadata" => CacheQuery::SetMetadata,
            other => CacheQuery::Unknown(other.to_owned()),
        };
        self.machine.clear();
        Ok(query)
    }

    fn pair(&self, value: Value) -> Option<(Value, Value)> {
        match self.machine.sequence(value)? {
            [a, b] => Some((*a, *b)),
            _ => None,
        }
    }

    fn number(&self, frame: &[u8], value: Value) -> Option<f64> {
        match value {
            Value::Number(n) => Some(n),
            _ => parse_float(std::str::from_utf8(self.machine.bytes(frame, value)?).ok()?),
        }
    }
}

#[cfg(test)]
mod tests;
