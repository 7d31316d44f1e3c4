//! Live files: what is in memory of each, and how the rest is loaded and let go again.
//!
//! Resident is the record of the manifest: ranges of times and series, counts. The head of the index and the Parquet footer
//! are loaded when a scan first meets a series of the file, pieces of the index (about 85 bytes a stream) when one among
//! theirs is asked for; both are kept in caches for all files that are bounded by bytes, and open files by their number. A scan holds a file's footer, and of its index a
//! few entries at a time (`file_run.rs`).

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use rhythmite_env::Env;
use rhythmite_model::{Aggregate, Error, ErrorKind, FieldId, Result};

use crate::lru::Lru;
use crate::manifest::{FileRecord, TombstoneId};
use crate::sst::{self, Handles, PageCache, PageCacheStats, Pieces, SstPaths, SstReader, StreamEntry};

/// The part of the cache that heads and footers may take; the rest is for pieces.
const HEADS_PART: usize = 4;

/// What all live files share.
pub(crate) struct FileCache {
    env: Env,
    handles: Arc<Handles>,
    pieces: Arc<Pieces>,
    pages: Arc<PageCache>,
    loaded: Mutex<Lru<u64, Arc<SstReader>>>,
    bytes_max: usize,
    next_key: AtomicU64,
    loads: AtomicU64,
    evictions: AtomicU64,
}

/// Counts of a [`FileCache`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CacheStats {
    /// Files whose index is in the cache, at least its head.
    pub(crate) indexes: u64,
    /// Bytes of indexes, footers included.
    pub(crate) bytes: u64,
    /// Indexes, and pieces of large ones, loaded since the start.
    pub(crate) loads: u64,
    /// The same given up since the start.
    pub(crate) evictions: u64,
    /// Points files open now.
    pub(crate) open_files: u64,
    /// Points files opened since the start.
    pub(crate) opened_files: u64,
    /// Of the pages.
    pub(crate) pages: PageCacheStats,
}

impl FileCache {
    /// A cache of at most `bytes_max` bytes of indexes (one larger index is kept alone), `pages_bytes_max` of pages and
    /// `files_max` open files.
    pub(crate) fn new(env: &Env, bytes_max: usize, pages_bytes_max: usize, files_max: usize) -> Arc<Self> {
        let handles = Handles::new(env.fs.clone(), files_max);
        let heads_max = bytes_max / HEADS_PART;
        let pieces = Pieces::new(bytes_max - heads_max);
        let pages = PageCache::new(pages_bytes_max);
        let (loaded, next_key, loads, evictions) = Default::default();
        let env = env.clone();
        Arc::new(Self { env, handles, pieces, pages, loaded, bytes_max: heads_max, next_key, loads, evictions })
    }

    pub(crate) fn stats(&self) -> CacheStats {
        let (indexes, bytes) = {
            let loaded = self.loaded.lock();
            (loaded.len() as u64, loaded.weight() as u64)
        };
        CacheStats {
            indexes,
            bytes: bytes + self.pieces.bytes() as u64,
            loads: self.loads.load(Ordering::Relaxed) + self.pieces.loads(),
            evictions: self.evictions.load(Ordering::Relaxed) + self.pieces.evictions(),
            open_files: self.handles.open_files() as u64,
            opened_files: self.handles.opened(),
            pages: self.pages.stats(),
        }
    }

    fn keep(&self, key: u64, reader: &Arc<SstReader>) {
        let gone = {
            let mut loaded = self.loaded.lock();
            let twin = loaded.insert(key, reader.clone(), reader.heap_bytes());
            (twin, loaded.shrink(self.bytes_max))
        };
        self.evictions.fetch_add(gone.1.len() as u64, Ordering::Relaxed);
    }
}

/// A live SST.
pub(crate) struct LiveFile {
    pub(crate) record: FileRecord,
    dir: PathBuf,
    cache: Arc<FileCache>,
    key: u64,
    reach_ns: i64,
    /// What was loaded last, if anybody still holds it; locked while one loads, so that others wait instead.
    reader: Mutex<Weak<SstReader>>,
    /// Set when the file no longer lives: the last holder removes it.
    doomed: AtomicBool,
    /// See [`LiveFile::leave`].
    leaving: AtomicBool,
    /// Rows that deletions take away, as far as it was asked.
    pub(crate) dead: Mutex<HashMap<TombstoneId, u64>>,
}

impl LiveFile {
    /// A file that is in place. Reads nothing.
    /// `reach_ns` is how far beyond its time a row of it speaks: a window of a coarser level.
    pub(crate) fn new(cache: &Arc<FileCache>, dir: PathBuf, record: FileRecord, reach_ns: i64) -> Arc<Self> {
        let key = cache.next_key.fetch_add(1, Ordering::Relaxed);
        let (reader, doomed, leaving, dead) = Default::default();
        Arc::new(Self { record, dir, cache: cache.clone(), key, reach_ns, reader, doomed, leaving, dead })
    }

    /// Where its four parts lie.
    ///
    /// # Errors
    /// `Invalid` for an id that names no file.
    pub(crate) fn paths(&self) -> Result<SstPaths> {
        SstPaths::new(&self.dir, &self.record.id)
    }

    /// Tests at start that the file is there: its four parts, as long together as the manifest says. Their bytes are
    /// tested when they are read.
    ///
    /// # Errors
    /// `Corrupt` when a part is missing or of another length; `Unavailable` for the disk.
    pub(crate) fn check(&self) -> Result<()> {
        let mut bytes = 0;
        for path in self.paths()?.all() {
            bytes += self.cache.env.fs.file_len(path).map_err(|e| missing(e, path))?;
        }
        if bytes == self.record.bytes {
            return Ok(());
        }
        let (id, expected) = (&self.record.id, self.record.bytes);
        Err(Error::corrupt(format!("file {id} has {bytes} bytes, the catalogue says {expected}"))
            .at(self.dir.display()))
    }

    /// The file's index, at least its head, and footer, from the cache or from the disk.
    ///
    /// # Errors
    /// `Corrupt` when the file is damaged or is not the one that the manifest names; `Unavailable` for the disk.
    pub(crate) fn reader(&self) -> Result<Arc<SstReader>> {
        if let Some(reader) = self.cache.loaded.lock().get(self.key) {
            return Ok(reader);
        }
        let mut known = self.reader.lock();
        let reader = match known.upgrade() {
            Some(reader) => reader,
            None => self.load()?,
        };
        *known = Arc::downgrade(&reader);
        self.cache.keep(self.key, &reader);
        Ok(reader)
    }

    /// The same from the cache alone.
    ///
    /// # Errors
    /// `Unavailable` when it is not there.
    pub(crate) fn reader_at_hand(&self) -> Result<Arc<SstReader>> {
        self.cache.loaded.lock().get(self.key).ok_or_else(not_at_hand)
    }

    fn load(&self) -> Result<Arc<SstReader>> {
        let (cache, record) = (&self.cache, &self.record);
        let shared = (&cache.handles, &cache.pieces, &cache.pages);
        let loaded = SstReader::open_shared(&cache.env, shared.0, shared.1, shared.2, &self.dir, &record.id);
        let reader = loaded.map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::corrupt(e.message().to_owned()),
            _ => e,
        })?;
        if reader.meta().checksum != record.checksum {
            return Err(Error::corrupt("not the file that the catalogue names").at(reader.path().display()));
        }
        cache.loads.fetch_add(1, Ordering::Relaxed);
        Ok(reader)
    }

    /// The times of the rows that speak of any of these times.
    pub(crate) fn rows_of(&self, times_ns: &RangeInclusive<i64>) -> RangeInclusive<i64> {
        times_ns.start().saturating_sub((self.reach_ns - 1).max(0))..=*times_ns.end()
    }

    /// The field of a stream; of a roll-up the one that it is an aggregate of.
    pub(crate) fn field_of(&self, entry: &StreamEntry) -> FieldId {
        if self.record.tier.is_rolled() { Aggregate::split(entry.field).0 } else { entry.field }
    }

    /// Whether anybody holds the index.
    #[cfg(test)]
    pub(crate) fn is_loaded(&self) -> bool {
        self.reader.lock().strong_count() > 0
    }

    /// The file's number in this process; never used twice.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Its points no longer keep a series its name: they expire, and the names that nothing else keeps are being dropped or
    /// have been. Whoever asks before the file has gone what else a series has must not count it: nobody would ask again.
    pub(crate) fn leave(&self, leaves: bool) {
        self.leaving.store(leaves, Ordering::Release);
    }

    /// See [`LiveFile::leave`].
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::Release);
    }
}

impl Drop for LiveFile {
    fn drop(&mut self) {
        let reader = self.cache.loaded.lock().remove(self.key);
        drop(reader);
        if *self.doomed.get_mut() {
            // A file that stays behind is an orphan, which the next start removes.
            if let Err(e) = sst::remove(&self.cache.env, &self.dir, &self.record.id) {
                tracing::warn!(file = %self.record.id, dir = %self.dir.display(), "cannot remove a dead file: {e}");
            }
        }
    }
}

/// What is not in memory was not asked for.
pub(crate) fn not_at_hand() -> Error {
    Error::unavailable("not in memory")
}

fn missing(e: io::Error, path: &Path) -> Error {
    let error = match e.kind() {
        io::ErrorKind::NotFound => Error::corrupt("a live file is missing"),
        _ => Error::from(e),
    };
    error.at(path.display())
}
