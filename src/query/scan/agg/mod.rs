//! Aggregates by windows of time and tags, straight from streams: no rows are built and none is hashed.
//!
//! In the order of events: the part of a logical plan that can be answered so is recognised (`query.rs`);
//! [`TsAggExec`] reads each part of the series on a thread of its own (`exec.rs`): the tags of a series name its group once,
//! its ascending times are cut into windows (`windows.rs`), and each run of values goes into the results of its window
//! (`state.rs`, `accumulator.rs`). The parts are merged, sorted as the query wants it and handed out (`output.rs`).
//!
//! A row stands for a time at which any field has a value, so a group may exist without a value of the fields that were
//! read. Which those are is found out afterwards, and only for windows in which nothing was found (`gaps.rs`). Queries that
//! count rows read all fields.
//!
//! Of a retention policy with coarser levels windows are put together from what these keep (`rolled.rs`). Approximate quantiles are
//! answered here only by levels that keep sketches (`sketches.rs`); of raw points DataFusion makes them.
//!
//! Where the newest windows are wanted (`ORDER BY` time descending, `LIMIT`) the newest points are read first, and older
//! ones only until there are enough windows.
//!
//! The newest row of each group (`SELECT DISTINCT ON`) is found in the same way, without any aggregate (`newest.rs`).
//!
//! Limits: results are held in memory, charged to the query, never spilled; a query that may have more than
//! [`SLOTS_MAX`] groups is left to DataFusion, which can spill.

mod accumulator;
mod exec;
mod gaps;
mod newest;
mod output;
mod query;
mod rolled;
mod sketches;
mod state;
#[cfg(test)]
pub(super) mod tests;
mod windows;

pub use exec::TsAggExec;
pub(super) use query::{Spec, bare, chain};

/// Groups, times windows, times results of each, that a query may have for being answered here.
const SLOTS_MAX: u64 = 4_000_000;
