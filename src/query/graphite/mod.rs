//! Graphite: names, tags and points for `rhythmite_graphite`, which evaluates the targets.
//!
//! A render request asks in rounds. Each round's patterns become series ([`find`]), each series' policy chooses the
//! archive by `now - from` alone ([`window`]), and one scan per table and level fills the values ([`Fetcher`]).
//! [`tags`] answers what the tag database of graphite-web answers, [`archive`] gives all that is kept, [`levels`]
//! the values of a coarser level one series after the other, for SQL and InfluxQL.
//!
//! Limits are [`Limits`]; a hit names the pattern. Everything here is synchronous and CPU-bound: run it on the CPU
//! pool. It never reads a clock other than for its deadline: what a query may see is decided by the query's own `now`.

pub mod archive;
pub mod delete;
mod fetch;
pub mod find;
mod fold;
pub mod levels;
mod rollup;
mod slots;
pub mod tags;
#[cfg(test)]
pub(crate) mod tests;
pub mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rhythmite_env::Clock;
use rhythmite_model::{Error, Result};

pub use fetch::{Fetcher, Note};

/// What one request may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Series that one pattern may match.
    pub series_max: usize,
    /// Values that one request may hold at once, gaps included: read ones, and what functions make of them.
    pub points_max: usize,
    /// Nodes that one request may find, all its patterns together.
    pub nodes_max: usize,
    /// How long one request may take.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { series_max: 100_000, points_max: 50_000_000, nodes_max: 1_000_000, timeout: Duration::from_secs(60) }
    }
}

/// When to give up: at a deadline, or when nobody waits for the answer any more.
#[derive(Clone)]
pub struct Patience {
    clock: Arc<dyn Clock>,
    deadline: Duration,
    timeout: Duration,
    gone: Arc<AtomicBool>,
}

impl Patience {
    /// Gives up `timeout` from now, or when `gone` becomes true.
    pub fn new(clock: Arc<dyn Clock>, timeout: Duration, gone: Arc<AtomicBool>) -> Self {
        let deadline = clock.monotonic().saturating_add(timeout);
        Self { clock, deadline, timeout, gone }
    }

    /// # Errors
    /// `Unavailable` once it is time to give up.
    pub fn check(&self) -> Result<()> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(Error::unavailable("the client has gone"));
        }
        if self.clock.monotonic() >= self.deadline {
            return Err(Error::unavailable(format!("the request took longer than {:?}", self.timeout)));
        }
        Ok(())
    }
}
