//! How carbon behaves: points in by line or pickle, the rules of its configuration files, its aggregator.
//!
//! Order of events for a listener: a [`framer`] cuts the byte stream into lines or frames,
//! [`plaintext`] or [`pickle`] reads them, and both hand each [`Point`] with its canonical [`name`], or
//! the [`Reject`] with a countable reason, to the caller's [`Sink`]. [`rules`] then decides what is
//! accepted and how it is kept; [`aggregator`] is carbon-aggregator as a state machine, [`relay`] says where carbon-relay
//! sends a name.
//!
//! Pure: no socket, no file, no clock; configuration arrives as text and `now` as a parameter. One bad
//! line or item costs that line or item alone. Every limit is a constant or an option, and reaching it
//! is a reported [`Reason`], an error or a counter, never silence.
//!
//! Where this differs from carbon 1.1.10 on purpose: a line that is not UTF-8 or too long is lost alone
//! (carbon closes the connection); a name whose tags are malformed is rejected (carbon stores the text as
//! it is); trailing dots of untagged names are folded like leading ones; times outside 0..2^32 are
//! rejected; lists and rules see the canonical name, not the text as sent.

pub mod aggregator;
pub mod conf;
pub mod framer;
pub mod name;
mod number;
pub mod pickle;
pub mod plaintext;
mod point;
pub mod protobuf;
pub mod query;
pub mod relay;
pub mod rules;

pub use number::parse_float;
pub use point::{Point, Reason, Reject, Sink};
