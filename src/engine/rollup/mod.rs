//! Coarser levels computed from raw points: how compaction makes them, how they are read.
//!
//! In the order of events: a partition of raw points closes; the merge that reads all of its files (or, where there is one
//! file only, a pass over it) cuts the points of each stream into windows (`kernel.rs`) and writes one file for each level,
//! committed with the merge (`job.rs`). A reader ([`RollupScan`], `read.rs`) takes windows from these files, and computes from raw
//! points those that newer writes or deletions have touched and those of partitions that are not rolled up. When the
//! retention of the raw points has passed they go (`expire.rs`), and the policy's floor rises: below it roll-ups are all
//! there is.
//!
//! The number of a roll-up is the newest write among its partition's merged files. All older writes to the partition are in
//! it, because flushed files are merged oldest first; so what is newer is known by its number alone.
//!
//! Rows of a roll-up are pieces of windows: a window that is cut by the end of a partition has one in each. Their time is
//! their first moment, their fields are numbered by [`Aggregate::of`](rhythmite_model::Aggregate::of). Limits: of fields
//! numbered [`Aggregate::FIELDS_MAX`](rhythmite_model::Aggregate::FIELDS_MAX) and above there are none.

mod expire;
mod job;
mod kernel;
mod read;

pub(crate) use job::{Rolled, Rolling};
pub use read::{RollupScan, RollupsOf};
