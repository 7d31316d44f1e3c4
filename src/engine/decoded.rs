//! Decoded runs of files, kept for whoever reads them next.
//!
//! Decoding is what a small query pays most for: a page is unpacked and its deltas are added up for each column, to use
//! a few hundred rows of it. So what was decoded stays, up to a number of bytes, the least recently used given up first.
//! A run is a stretch of one stream of one file ([`chunk`]); files never change, so nothing here is ever stale. One scan
//! fills no more than a part of the cache, and one that reads more than the cache could hold takes only room that nobody
//! uses: a long export reads past it, and dashboards keep what is theirs.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rhythmite_model::Column;

use crate::lru::Lru;

/// Rows of the longest run. What a query does not ask for of a run is decoded all the same: half a day of points every ten
/// seconds (4,320 rows) should not cost three.
pub(crate) const RUN_ROWS_MAX: u64 = 4 * 1024;
/// What a run weighs besides its points: the entry, the allocations.
const RUN_OVERHEAD_BYTES: usize = 192;
/// The most that a run of numbers weighs.
const RUN_BYTES_MAX: usize = RUN_OVERHEAD_BYTES + RUN_ROWS_MAX as usize * size_of::<(i64, f64)>();
/// The part of the cache that one scan may fill. What does not fit is decoded again by the next, which is cheaper than giving
/// up for it what small queries come back for.
const SCAN_PART: usize = 16;
const SHARDS: usize = 16;

/// Consecutive points of one stream.
#[derive(Debug)]
pub(crate) struct Run {
    /// Ascending, each once. Shared with other fields of the series that have points at the same times.
    pub(crate) times_ns: Arc<Vec<i64>>,
    /// As many values.
    pub(crate) values: Column,
}

impl Run {
    /// Memory that giving the run up would free, at most.
    fn bytes(&self) -> usize {
        // Times that are shared are counted once for each that shares them less the first, near enough.
        let times = self.times_ns.capacity() * size_of::<i64>() / Arc::strong_count(&self.times_ns).max(1);
        RUN_OVERHEAD_BYTES + times + self.values.heap_bytes()
    }
}

/// A run's name: the file's number in this process and the run's first row in it.
pub(crate) type Key = (u64, u64);

/// Counts of a [`Decoded`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    /// Memory of the runs.
    pub(crate) bytes: u64,
    /// Runs that were found.
    pub(crate) hits: u64,
    /// Runs that had to be decoded.
    pub(crate) misses: u64,
    /// Runs given up for others.
    pub(crate) evictions: u64,
}

/// The cache. Its lock is split: readers of different runs seldom meet.
pub(crate) struct Decoded {
    shards: [Mutex<Lru<Key, Arc<Run>>>; SHARDS],
    bytes_max: usize,
    /// What others use of the memory.
    lent: AtomicUsize,
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
}

impl Decoded {
    /// A cache of at most `bytes_max` bytes; of none with 0.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let (shards, lent, hits, misses, evictions) = Default::default();
        Self { shards, bytes_max, lent, hits, misses, evictions }
    }

    /// Bytes that it may hold, together with what is lent.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Lends so many bytes instead of what was lent before; runs are given up for them as others come.
    pub(crate) fn lend(&self, bytes: usize) {
        self.lent.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that one scan may put in.
    pub(crate) fn scan_budget(&self) -> usize {
        self.bytes_max / SCAN_PART
    }

    fn shard(&self, key: Key) -> &Mutex<Lru<Key, Arc<Run>>> {
        // Rows of neighbouring streams are apart by few bits: the product's high bits differ for each.
        let mixed = (key.0 ^ key.1.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.shards[(mixed >> 60) as usize % SHARDS]
    }

    /// The run of this name.
    pub(crate) fn get(&self, key: Key) -> Option<Arc<Run>> {
        let found = self.shard(key).lock().get(key);
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Whether the run of this name is there.
    pub(crate) fn has(&self, key: Key) -> bool {
        self.shard(key).lock().has(key)
    }

    /// Whether there may be room for a run of this name without giving up another.
    pub(crate) fn has_room(&self, key: Key) -> bool {
        self.shard(key).lock().weight() + RUN_BYTES_MAX <= self.shard_bytes_max()
    }

    /// Bytes that each part of the cache may hold now.
    fn shard_bytes_max(&self) -> usize {
        self.bytes_max.saturating_sub(self.lent.load(Ordering::Relaxed)) / SHARDS
    }

    /// Keeps a run where there is room for it without giving up another, as the first to be given up for others; says whether
    /// it does.
    pub(crate) fn put_aside(&self, key: Key, run: &Arc<Run>) -> bool {
        let bytes = run.bytes();
        let mut shard = self.shard(key).lock();
        let fits = shard.weight() + bytes <= self.shard_bytes_max();
        let twin = if fits { shard.insert_oldest(key, run.clone(), bytes) } else { None };
        drop(shard);
        drop(twin);
        fits
    }

    /// Keeps a run and returns what is left of `budget`; a run above it is not kept, and nothing is left.
    pub(crate) fn put(&self, key: Key, run: &Arc<Run>, budget: usize) -> usize {
        let bytes = run.bytes();
        let Some(rest) = budget.checked_sub(bytes) else { return 0 };
        let gone = {
            let mut shard = self.shard(key).lock();
            let twin = shard.insert(key, run.clone(), bytes);
            (twin, shard.shrink(self.shard_bytes_max()))
        };
        self.evictions.fetch_add(gone.1.len() as u64, Ordering::Relaxed);
        rest
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            bytes: self.shards.iter().map(|shard| shard.lock().weight() as u64).sum(),
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            evictions: self.evictions.load(Ordering::Relaxed),
        }
    }
}

/// The runs that a stream of these rows is cut into: equal parts of at most [`RUN_ROWS_MAX`] rows. The one with `row`.
pub(crate) fn chunk(stream: Range<u64>, row: u64) -> Range<u64> {
    let rows = stream.end - stream.start;
    let part = rows.div_ceil(rows.div_ceil(RUN_ROWS_MAX).max(1)).max(1);
    let start = stream.start + (row - stream.start) / part * part;
    start..stream.end.min(start + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rows: usize) -> Arc<Run> {
        Arc::new(Run { times_ns: Arc::new(vec![0; rows]), values: Column::Integer(vec![0; rows]) })
    }

    #[test]
    fn what_was_used_last_stays_and_a_scan_fills_only_its_part() {
        let cache = Decoded::new(SHARDS * SCAN_PART * run(100).bytes());
        let mut budget = cache.scan_budget();
        assert_eq!(budget, SHARDS * run(100).bytes());
        for row in 0..1000 {
            budget = cache.put((1, row), &run(100), budget);
        }
        let kept = (0..1000).filter(|&row| cache.get((1, row)).is_some()).count();
        assert!(kept <= SHARDS, "{kept}");
        assert!(cache.get((1, 999)).is_none(), "the budget was spent by then");
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.misses), (kept as u64, 1001 - kept as u64));
        for row in 0..1000 {
            cache.put((2, row), &run(100), usize::MAX);
        }
        assert!(cache.stats().bytes as usize <= cache.bytes_max);
        assert!(cache.get((2, 999)).is_some());
        assert!(cache.stats().evictions >= 700);
    }

    #[test]
    fn what_is_put_aside_gives_nothing_up() {
        let cache = Decoded::new(SHARDS * 4 * run(100).bytes());
        // Half of the part of the cache that the last run comes to.
        let beside = |row: &u64| std::ptr::eq(cache.shard((1, *row)), cache.shard((3, 0)));
        let used: Vec<u64> = (0..).filter(beside).take(2).collect();
        for &row in &used {
            cache.put((1, row), &run(100), usize::MAX);
        }
        let aside: Vec<u64> = (0..1000).filter(|&row| cache.put_aside((2, row), &run(100))).collect();
        assert_eq!(used.len() + aside.len(), SHARDS * 4);
        assert_eq!((cache.stats().evictions, cache.stats().bytes as usize), (0, cache.bytes_max));
        assert!(!cache.put_aside((3, 0), &run(100)));
        // What is asked for now takes the place of what was put aside, not of what was asked for before.
        cache.put((3, 0), &run(100), usize::MAX);
        assert_eq!(cache.stats().evictions, 1);
        assert!(used.iter().all(|&row| cache.has((1, row))));
        assert_eq!(aside.iter().filter(|&&row| cache.has((2, row))).count(), aside.len() - 1);
        assert!(!Decoded::new(0).put_aside((1, 0), &run(1)));
    }

    #[test]
    fn a_cache_of_no_bytes_keeps_nothing() {
        let cache = Decoded::new(0);
        assert_eq!(cache.put((1, 0), &run(1), cache.scan_budget()), 0);
        assert!(cache.get((1, 0)).is_none());
    }

    #[test]
    fn streams_are_cut_into_equal_runs() {
        for (stream, row, expected) in [
            (10..20, 15, 10..20),
            (0..8_640, 8_639, 5_760..8_640),
            (0..4_096, 0, 0..4_096),
            (0..4_097, 2_048, 0..2_049),
            (0..4_097, 2_049, 2_049..4_097),
            (100..100_100, 99_999, 96_100..100_100),
        ] {
            assert_eq!(chunk(stream.clone(), row), expected, "{stream:?} at {row}");
        }
    }
}
