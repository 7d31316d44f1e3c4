//! The hall between protocols and engine: names become series, points become rows, limits are counted.
//!
//! An adapter hands over what it parsed and gets a commit back; the hall never waits for the disk and never keeps a
//! point. When the engine is behind it says so ([`ErrorKind::Overloaded`](rhythmite_model::ErrorKind)) and nothing of
//! the batch was written: what to do then (wait, refuse, drop) is the adapter's choice.

pub mod collectd;
pub mod events;
pub mod influx;
pub mod paths;
mod rules;
#[cfg(test)]
mod tests;

/// How often a write is begun again because a series was deleted between finding it and writing to it.
const WRITE_TRIES: usize = 5;

pub use events::EventQueue;
pub use paths::{PathCounters, PathIngest, PathPoints};
pub use rules::{PathRule, PathRules, RulesText};
