//! Unpacked pages of integers, kept for whoever reads them next.
//!
//! A page in memory is as small as the encoding makes it: values of small steps take half a byte, and a page of even times a few
//! numbers, where decoded points take sixteen bytes each. So many times the points of the cache of decoded runs fit here, and a
//! scan over all of them need not decompress. Where it is full, one page of [`TURN`] takes the place of those that were not
//! used for longest: a scan over more than fits finds a part of it the next time, and pushes little out.
//!
//! A page belongs to an open file, and goes with it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::delta::Even;
use crate::lru::Lru;

/// Pages that come to a full cache for one that is kept.
const TURN: usize = 16;
/// What a page weighs besides what is in it: the entry, the allocations.
const PAGE_OVERHEAD_BYTES: usize = 256;
const SHARDS: usize = 16;

/// A page's name: the number of its file and where it begins there.
pub(super) type Key = (u64, u64);

/// A page of integers, unpacked.
pub(super) struct Page {
    /// Its rows, counted from the start of the file.
    pub(super) rows: Range<u64>,
    /// Of the page's rows those with a value, in runs; empty if all have one.
    pub(super) present: Vec<Range<u64>>,
    /// The encoded values; none if they are even.
    pub(super) bytes: Box<[u8]>,
    /// How many there are.
    pub(super) values: usize,
    /// The same as runs of even steps.
    pub(super) evens: Vec<Even>,
}

impl Page {
    fn heap_bytes(&self) -> usize {
        let lists = self.present.capacity() * size_of::<Range<u64>>() + self.evens.capacity() * size_of::<Even>();
        PAGE_OVERHEAD_BYTES + self.bytes.len() + lists
    }
}

/// The cache, shared by the readers of any number of SSTs. Its lock is split: readers of different pages seldom meet.
pub struct PageCache {
    shards: [Mutex<Lru<Key, Arc<Page>>>; SHARDS],
    bytes_max: usize,
    next_file: AtomicU64,
    turn: AtomicUsize,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

/// Counts of a [`PageCache`].
#[derive(Clone, Copy, Debug, Default)]
pub struct PageCacheStats {
    /// Memory of the pages.
    pub bytes: u64,
    /// Pages that were found.
    pub hits: u64,
    /// Pages that had to be read and decompressed.
    pub misses: u64,
    /// Pages given up for others.
    pub evictions: u64,
}

impl PageCache {
    /// A cache of at most `bytes_max` bytes; of none with 0.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        let (shards, next_file, turn, hits, misses, evictions) = Default::default();
        Arc::new(Self { shards, bytes_max, next_file, turn, hits, misses, evictions })
    }

    /// A number for a file, never used twice.
    pub(super) fn number(&self) -> u64 {
        self.next_file.fetch_add(1, Ordering::Relaxed)
    }

    fn shard(&self, key: Key) -> &Mutex<Lru<Key, Arc<Page>>> {
        let mixed = (key.0 ^ key.1.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.shards[(mixed >> 60) as usize % SHARDS]
    }

    /// The page of this name.
    pub(super) fn get(&self, key: Key) -> Option<Arc<Page>> {
        let found = self.shard(key).lock().get(key);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Keeps the page that `make` gives if there is room for `bytes` and what a page takes besides, or if it is its turn.
    pub(super) fn put(&self, key: Key, bytes: usize, make: impl FnOnce() -> Arc<Page>) {
        let shard_max = self.bytes_max / SHARDS;
        let bytes = bytes + PAGE_OVERHEAD_BYTES;
        if bytes > shard_max {
            return;
        }
        let shard = self.shard(key);
        let has_room = shard.lock().weight() + bytes <= shard_max;
        if !has_room && !self.turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(TURN) {
            return;
        }
        let page = make();
        let weight = page.heap_bytes();
        let gone = {
            let mut shard = shard.lock();
            let twin = shard.insert(key, page, weight);
            (twin, shard.shrink(shard_max))
        };
        self.evictions.fetch_add(gone.1.len() as u64, Ordering::Relaxed);
    }

    /// Lets go of the pages of a file that is closed.
    pub(super) fn forget(&self, file: u64, offsets: &[u64]) {
        for &offset in offsets {
            let gone = self.shard((file, offset)).lock().remove((file, offset));
            drop(gone);
        }
    }

    /// Counts so far.
    pub fn stats(&self) -> PageCacheStats {
        PageCacheStats {
            bytes: self.shards.iter().map(|shard| shard.lock().weight() as u64).sum(),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(bytes: usize) -> Arc<Page> {
        let (present, evens) = Default::default();
        Arc::new(Page { rows: 0..1, present, bytes: vec![0; bytes].into(), values: 1, evens })
    }

    fn read(cache: &PageCache, keys: Range<u64>) -> u64 {
        let before = cache.stats().hits;
        for offset in keys {
            if cache.get((1, offset)).is_none() {
                cache.put((1, offset), 1000, || page(1000));
            }
        }
        cache.stats().hits - before
    }

    #[test]
    fn what_fits_stays_and_more_than_fits_is_found_in_part() {
        let cache = PageCache::new(400 * page(1000).heap_bytes());
        assert_eq!(read(&cache, 0..200), 0);
        assert!(read(&cache, 0..200) >= 190, "shards are not full to the same point");
        for _ in 0..20 {
            read(&cache, 1000..2000);
        }
        let again = read(&cache, 1000..2000);
        assert!((200..=400).contains(&again), "{again} of 1000 though there is room for 400");
        let stats = cache.stats();
        assert!(stats.bytes <= 400 * page(1000).heap_bytes() as u64, "{stats:?}");
        assert!(stats.evictions > 0, "{stats:?}");
    }

    #[test]
    fn a_closed_file_leaves_nothing() {
        let cache = PageCache::new(1 << 20);
        read(&cache, 0..100);
        assert!(cache.stats().bytes > 0);
        cache.forget(1, &(0..100).collect::<Vec<_>>());
        assert_eq!(cache.stats().bytes, 0);
    }

    #[test]
    fn a_cache_of_no_bytes_keeps_nothing() {
        let cache = PageCache::new(0);
        cache.put((1, 0), 0, || page(0));
        assert!(cache.get((1, 0)).is_none());
    }
}
