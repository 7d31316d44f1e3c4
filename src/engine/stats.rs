//! What an engine counts, and how large its parts are.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::Engine;

/// Counters since start, and sizes now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Rows accepted.
    pub rows_written: u64,
    /// Field values accepted.
    pub values_written: u64,
    /// Writes turned away because the memtable, the log or compaction was behind.
    pub overloaded: u64,
    /// Writes turned away because the disk was nearly full.
    pub no_space: u64,
    /// Bytes free on the disk, as of a moment ago; `u64::MAX` if it does not say.
    pub disk_free_bytes: u64,
    /// Whether writes are turned away for that now.
    pub disk_low: bool,
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// Size at which the memtable is flushed at present: it grows with the number of series.
    pub memtable_limit_bytes: u64,
    /// Flushes done.
    pub flushes: u64,
    /// Merges done.
    pub compactions: u64,
    /// Flushes or merges that failed and are tried again.
    pub background_errors: u64,
    /// Files removed by expiry.
    pub expired_files: u64,
    /// Series removed because their last points expired.
    pub expired_series: u64,
    /// Deletions carried out.
    pub deletes: u64,
    /// Deletions refused because too many wait to be worked into the files.
    pub deletes_refused: u64,
    /// Deletions that some file or memtable has not seen yet.
    pub deletes_waiting: u64,
    /// Series removed because a deletion left them without a point.
    pub emptied_series: u64,
    /// Series removed because nothing was written to them for their policy's `max_idle`.
    pub idle_series: u64,
    /// Partitions rolled up into coarser levels.
    pub rolled_partitions: u64,
    /// Sketches of windows that had more buckets than are kept: their lowest are one.
    pub capped_sketches: u64,
    /// Files written anew without deleted points.
    pub rewritten_files: u64,
    /// Live files.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Points files open now.
    pub open_files: u64,
    /// Points files opened, first or again.
    pub opened_files: u64,
    /// Indexes of files that are in memory.
    pub indexes: u64,
    /// Their bytes, with the files' footers.
    pub index_bytes: u64,
    /// Indexes loaded.
    pub index_loads: u64,
    /// Indexes given up for others.
    pub index_evictions: u64,
    /// Milliseconds without a write after which the memtable is flushed.
    pub idle_wait_ms: u64,
    /// Memory of points that are kept decoded.
    pub decoded_bytes: u64,
    /// Runs of points that readers found decoded.
    pub decoded_hits: u64,
    /// Runs of points that readers decoded.
    pub decoded_misses: u64,
    /// Decoded runs given up for others.
    pub decoded_evictions: u64,
    /// Memory of unpacked pages of files that are kept.
    pub page_cache_bytes: u64,
    /// Pages of files that readers found unpacked.
    pub page_cache_hits: u64,
    /// Pages of files that readers unpacked.
    pub page_cache_misses: u64,
    /// Unpacked pages given up for others.
    pub page_cache_evictions: u64,
    /// Memory of names that are kept sorted.
    pub sorted_names_bytes: u64,
    /// Lists of sorted names given up for others.
    pub sorted_names_evictions: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) rows_written: AtomicU64,
    pub(crate) values_written: AtomicU64,
    pub(crate) overloaded: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) background_errors: AtomicU64,
    pub(crate) expired_files: AtomicU64,
    pub(crate) expired_series: AtomicU64,
    pub(crate) deletes: AtomicU64,
    pub(crate) deletes_refused: AtomicU64,
    pub(crate) emptied_series: AtomicU64,
    pub(crate) idle_series: AtomicU64,
    pub(crate) rewritten_files: AtomicU64,
    pub(crate) rolled_partitions: AtomicU64,
    pub(crate) capped_sketches: AtomicU64,
}

impl Engine {
    /// Counters and sizes.
    pub fn stats(&self) -> Stats {
        let view = self.inner.shared.view.read().clone();
        let counters = &self.inner.counters;
        let frozen: usize = view.frozen.iter().map(|f| f.active.generation.bytes()).sum();
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let cache = self.inner.cache.stats();
        let decoded = self.inner.decoded.stats();
        let (sorted_names_bytes, sorted_names_evictions) = self.inner.sorted_names.stats();
        Stats {
            rows_written: get(&counters.rows_written),
            values_written: get(&counters.values_written),
            overloaded: get(&counters.overloaded),
            no_space: self.inner.space.refused(),
            disk_free_bytes: self.free_bytes(),
            disk_low: self.is_disk_low(),
            memtable_bytes: (frozen + view.active.generation.bytes()) as u64,
            memtable_limit_bytes: self.memtable_limit() as u64,
            flushes: get(&counters.flushes),
            compactions: get(&counters.compactions),
            background_errors: get(&counters.background_errors),
            expired_files: get(&counters.expired_files),
            expired_series: get(&counters.expired_series),
            deletes: get(&counters.deletes),
            deletes_refused: get(&counters.deletes_refused),
            deletes_waiting: view.deletes.len() as u64,
            emptied_series: get(&counters.emptied_series),
            idle_series: get(&counters.idle_series),
            rewritten_files: get(&counters.rewritten_files),
            rolled_partitions: get(&counters.rolled_partitions),
            capped_sketches: get(&counters.capped_sketches),
            files: view.files.values().map(|f| f.len() as u64).sum(),
            file_bytes: view.files.values().flatten().map(|f| f.record.bytes).sum(),
            open_files: cache.open_files,
            opened_files: cache.opened_files,
            indexes: cache.indexes,
            index_bytes: cache.bytes,
            index_loads: cache.loads,
            index_evictions: cache.evictions,
            idle_wait_ms: self.inner.lull.lock().last_wait().as_millis() as u64,
            decoded_bytes: decoded.bytes,
            decoded_hits: decoded.hits,
            decoded_misses: decoded.misses,
            decoded_evictions: decoded.evictions,
            page_cache_bytes: cache.pages.bytes,
            page_cache_hits: cache.pages.hits,
            page_cache_misses: cache.pages.misses,
            page_cache_evictions: cache.pages.evictions,
            sorted_names_bytes,
            sorted_names_evictions,
        }
    }
}
