//! The storage engine: points go to the log and the memtable, from there to sorted immutable files that compaction merges.
//!
//! In the order in which a point meets them: [`registry`] gives its series a number, [`wal`] makes it durable,
//! [`memtable`] makes it visible, [`sst`] keeps it; [`manifest`] says which files live. The engine knows no protocol and
//! no SQL; it calls nobody and returns values. `wal`, `memtable`, `sst` and `registry` are siblings that do not know each
//! other; [`Engine`] ties them together.

mod background;
pub mod check;
mod commit;
mod compaction;
mod decimal;
mod decoded;
mod delete;
mod deletes;
mod ends;
mod engine;
mod expiry;
mod file_run;
mod files;
mod flush;
mod idle;
mod layout;
mod lru;
mod lull;
pub mod manifest;
pub mod memtable;
mod memtable_limit;
mod merge;
mod options;
mod orphan;
mod output;
mod output_names;
mod overlap;
pub mod registry;
mod rewrite;
mod rollup;
mod scan;
mod snapshot;
mod sorted_names;
mod space;
pub mod sst;
mod stats;
mod sums;
#[cfg(test)]
mod tests;
mod text_order;
mod transfer;
mod view;
pub mod wal;
mod weight;

pub use background::Background;
pub use delete::Loss;
pub use ends::{End, EndOf};
pub use engine::{Engine, OpenReport};
pub use options::Options;
pub use rollup::{RollupScan, RollupsOf};
pub use scan::{Scan, SeriesFilter, SeriesPieces, SeriesPoints, Stream, Stretch};
pub use snapshot::Snapshot;
pub use stats::Stats;
pub use sums::{Cut, Summing, WindowSum};
pub use transfer::{Moved, Remade, Transfer};
pub use wal::{Commit, Durability};
pub use weight::Weight;
