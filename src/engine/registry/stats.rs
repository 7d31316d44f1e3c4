//! What the registry tells about itself.

use std::sync::atomic::{AtomicU64, Ordering};

use rhythmite_model::{Error, ErrorKind};

/// Heap bytes by use; estimates of what the allocator was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeapBytes {
    /// Key texts and the records of the series.
    pub keys: usize,
    /// The hash table over the keys.
    pub key_hashes: usize,
    /// Series numbers to slots.
    pub ids: usize,
    /// Interned texts.
    pub symbols: usize,
    /// Tag postings.
    pub tags: usize,
    /// The trie of the paths.
    pub paths: usize,
    /// Tables and fields.
    pub tables: usize,
    /// What is not flushed yet.
    pub journal: usize,
}

impl HeapBytes {
    /// All of it.
    pub fn total(&self) -> usize {
        let Self { keys, key_hashes, ids, symbols, tags, paths, tables, journal } = self;
        keys + key_hashes + ids + symbols + tags + paths + tables + journal
    }
}

/// How often each limit was hit since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// `series_per_scope`.
    pub series: u64,
    /// `new_series_per_hour`.
    pub series_rate: u64,
    /// `tables_per_policy`, or all table numbers used up.
    pub tables: u64,
    /// `fields_per_table`.
    pub fields: u64,
    /// A field with another type.
    pub field_types: u64,
    /// `tag_keys_per_table`.
    pub tag_keys: u64,
    /// Keys or names that are too long, or paths that are too deep.
    pub keys: u64,
    /// Finds of paths: too many results, too many segments, too many tests.
    pub finds: u64,
}

/// Series refused; counted under a read lock too.
#[derive(Default)]
pub(super) struct RefusedSeries {
    pub(super) by_number: AtomicU64,
    pub(super) by_rate: AtomicU64,
}

impl RefusedSeries {
    pub(super) fn count(&self, refusal: &Error) {
        let count = if refusal.kind() == ErrorKind::Overloaded { &self.by_rate } else { &self.by_number };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// A snapshot of counts and sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Tables.
    pub tables: usize,
    /// Series.
    pub series: usize,
    /// Distinct untagged paths.
    pub paths: usize,
    /// Interned texts: tag keys, tag values, path segments, field names.
    pub symbols: usize,
    /// Slots of series that are gone and whose end is not flushed yet.
    pub dead_slots: usize,
    /// Slots that wait for use.
    pub free_slots: usize,
    /// Bytes of keys of series that are gone, until the next compaction of the arena.
    pub dead_key_bytes: usize,
    /// Definitions that no segment holds yet.
    pub unflushed: usize,
    /// Memory.
    pub heap: HeapBytes,
    /// Limits hit.
    pub refused: Refused,
}
