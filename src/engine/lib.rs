//! The storage engine: points go to the log and the memtable, from there to sorted immutable files that compaction merges.
//!
//! In the order in which a point meets them: [`registry`] gives its series a number, [`wal`] makes it durable,
//! [`memtable`] makes it visible, [`sst`] keeps it; [`manifest`] says which files live. The engine knows no protocol and
//! no SQL; it calls nobody and returns values. `wal`, `memtable`, `sst` and `registry` are siblings that do not know each
//! other.

pub mod manifest;
pub mod memtable;
pub mod registry;
pub mod sst;
pub mod wal;
