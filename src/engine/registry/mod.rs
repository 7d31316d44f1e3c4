//! Names: tables, fields, series, and the indexes that find them.
//!
//! The registry holds every name of the process in memory and answers each question about names without touching a
//! point. What is asked for every row that comes in is a look-up under [`Registry::read`]; a whole batch shares one
//! guard. What is new is made under [`Registry::write`] by a [`Creator`], which gives the definitions for the log.
//!
//! ```text
//! key ──hash──► slot ──► record: number, text, rule, next     Directory (directory.rs), changed by change.rs
//!                 ▲
//!                 ├── tags.rs    postings per table, tag key and value      SHOW TAG ..., WHERE host = 'a'
//!                 └── paths.rs   trie of path segments                      find servers.*.cpu
//! ```
//!
//! Durability: a definition is in the log before a row that uses it. At a flush the engine takes a [`Mark`] together
//! with the log's barrier, writes what is new before it to a segment ([`Registry::write_segment`]), lists the segment
//! in the manifest, and says so ([`Registry::flushed`]). Definitions made meanwhile wait for the next flush. Start:
//! [`Registry::load`] the segments, then [`Registry::apply`] the log's definitions.
//!
//! Limits are [`Limits`]; each hit is an error and a count. Series numbers, table numbers and field numbers are never
//! used again; slots are. Memory of dropped keys is taken back by the flush after the drop; interned texts stay until
//! a restart.
//!
//! It never reads a point, knows no time but the hour of the limit on new series, and knows no policy but its number.

mod change;
mod create;
mod directory;
mod journal;
pub mod key;
mod limits;
mod paths;
mod postings;
mod replay;
mod segment;
mod sequences;
mod stats;
mod tags;
#[cfg(test)]
mod tests;
mod text;
mod values;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockReadGuard};
use rhythmite_env::{Clock, Env};
use rhythmite_model::{Definition, Error, Result, Rows, Tombstone};

pub use create::Creator;
pub use directory::{Directory, Found, Scope, Slot, Table};
pub use journal::Mark;
pub use limits::Limits;
pub use paths::{GlobStep, PATH_DEPTH_MAX, SegmentMatcher, Want};
pub use segment::{SegmentMeta, merge_segments, plan_merge, segment_path};
pub use stats::{HeapBytes, Refused, Stats};
pub use tags::{TAG_EXPR_DEPTH_MAX, TagExpr, TagTest};
pub use values::{SortedTexts, TagValues, TagValuesNews, Texts};

use journal::Change;

/// Keys of dropped series that are kept at least before the arena is copied.
const COMPACT_FLOOR_BYTES: usize = 16 << 20;

/// Seconds in what [`Limits::new_series_per_hour`] is about.
const HOUR_S: i64 = 3_600;

/// All names of the process; shared by threads.
pub struct Registry {
    directory: RwLock<Directory>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    /// Series and tables dropped since the start.
    drops: AtomicU64,
}

/// Look-ups under one read lock.
pub struct Names<'a>(RwLockReadGuard<'a, Directory>);

impl std::ops::Deref for Names<'_> {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        &self.0
    }
}

impl Registry {
    /// An empty registry; `clock` gives the hour of the limit on new series.
    pub fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self { directory: RwLock::default(), limits, clock, drops: AtomicU64::new(0) }
    }

    /// Locks for look-ups. Keep the guard for a batch, not for longer.
    pub fn read(&self) -> Names<'_> {
        Names(self.directory.read())
    }

    /// Locks for making and dropping names.
    pub fn write(&self) -> Creator<'_> {
        let now_s = self.clock.now_s();
        Creator::new(self, self.directory.write(), now_s)
    }

    /// Why a series that is not there cannot be made now: its scope is at a limit. Asked under a read lock, so that a
    /// sender of new series does not hold up everybody else once there is no room. Each refusal is counted.
    pub fn refuse_series(&self, names: &Directory, scope: Scope, key: &str) -> Option<Error> {
        let census = names.census.get(&scope).copied().unwrap_or_default();
        let refused = self.limits.check_series(census, self.clock.now_s().div_euclid(HOUR_S), key).err()?;
        names.refused_series.count(&refused);
        Some(refused)
    }

    /// How many series can be made in a scope now before a limit refuses one: asked once for a batch.
    pub fn room_for_series(&self, names: &Directory, scope: Scope) -> u64 {
        let census = names.census.get(&scope).copied().unwrap_or_default();
        self.limits.room(census, self.clock.now_s().div_euclid(HOUR_S))
    }

    /// Applies definitions from the log, in the order of the log. What is known already changes nothing, so a log
    /// that overlaps the segments may be replayed as a whole, as long as nothing in it was dropped in a segment.
    ///
    /// # Errors
    /// `Corrupt` if a definition contradicts what is known.
    pub fn apply(&self, definitions: &[Definition]) -> Result<()> {
        let mut directory = self.directory.write();
        definitions.iter().try_for_each(|definition| directory.apply(definition, true))
    }

    /// Drops the series of which tombstones from the log leave nothing.
    pub fn delete(&self, tombstones: &[Tombstone]) {
        if tombstones.iter().any(Tombstone::is_whole) {
            let mut directory = self.directory.write();
            for tombstone in tombstones.iter().filter(|t| t.is_whole()) {
                for id in directory.series_of(tombstone.table, &tombstone.series) {
                    directory.forget_series(id, true);
                }
            }
        }
    }

    /// Whether every series that rows name is there. Costs nothing until something was dropped.
    ///
    /// # Errors
    /// `NotFound` if not.
    pub fn check_exist(&self, rows: &[Rows]) -> Result<()> {
        if self.drops.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let directory = self.directory.read();
        let mut last = None;
        for &id in rows.iter().flat_map(|rows| &rows.series) {
            if last != Some(id) && directory.slot(id).is_none() {
                return Err(Error::not_found("a series was deleted while a point of it was written; find it again"));
            }
            last = Some(id);
        }
        Ok(())
    }

    /// Loads segments, oldest first, as the manifest lists them; before anything else is done with the registry.
    ///
    /// # Errors
    /// `Corrupt`, with the name of the file, if one fails its check; `Unavailable` if it cannot be read.
    pub fn load(&self, env: &Env, dir: &Path, ids: &[u64]) -> Result<()> {
        let mut directory = self.directory.write();
        ids.iter().try_for_each(|&id| segment::load(&mut directory, env, &segment_path(dir, id)))
    }

    /// The place in the order of definitions that a flush reaches up to. Take it at the log's barrier.
    pub fn mark(&self) -> Mark {
        self.directory.read().journal.mark()
    }

    /// Writes what is new before `mark` to a durable file; `None` if nothing is. Flushes come one after the other.
    /// Look-ups go on meanwhile, and so does making names, but for pauses of a few thousand copied keys.
    ///
    /// # Errors
    /// `Unavailable` if the disk fails; the definitions then wait for the next try.
    pub fn write_segment(&self, env: &Env, dir: &Path, id: u64, mark: Mark) -> Result<Option<SegmentMeta>> {
        let mut news = segment::News::default();
        let mut taken = 0;
        while let Some(more) = news.collect(&self.directory.read(), mark, taken) {
            taken += more;
        }
        news.write(env, dir, id)
    }

    /// The segment of `mark` is in the manifest: its definitions are no longer news.
    ///
    /// # Errors
    /// `Overloaded` if the arena is full while it is copied; everything goes on working then.
    pub fn flushed(&self, mark: Mark) -> Result<()> {
        let mut directory = self.directory.write();
        for change in directory.journal.forget(mark) {
            if let Change::DropSeries(slot, _) | Change::Dead(slot) = change {
                directory.release(slot);
            }
        }
        directory.compact_keys(COMPACT_FLOOR_BYTES)
    }
}
