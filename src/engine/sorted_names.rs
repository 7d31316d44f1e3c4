//! Values of tags in order, kept for whoever asks next.
//!
//! Sorting a million texts takes some tenths of a second, writing them out a fraction of that. So what was sorted stays, up
//! to a number of bytes, the least recently used given up first; when values have come or gone since, only those are
//! sorted ([`TagValues::with`]). The memory is lent by the cache of decoded points, half of which it may use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rhythmite_model::TableId;

use crate::decoded::Decoded;
use crate::lru::Lru;
use crate::registry::{Registry, TagValues};

/// What a list weighs besides its texts.
const LIST_OVERHEAD_BYTES: usize = 256;

/// The lists kept, by table and number of the tag's key. A key's number stands for the same text until the process ends,
/// a table's for ever.
#[derive(Default)]
pub(crate) struct SortedNames {
    lists: Mutex<Lru<(TableId, u32), Arc<TagValues>>>,
    evictions: AtomicU64,
}

impl SortedNames {
    /// The values of a tag, from the list kept, or sorted now.
    pub(crate) fn get(&self, registry: &Registry, memory: &Decoded, table: TableId, key: &str) -> Arc<TagValues> {
        let (tag, known, news) = {
            let names = registry.read();
            let Some((tag, version)) = names.tag_version(table, key) else { return Arc::default() };
            let known = self.lists.lock().get((table, tag)).unwrap_or_default();
            if known.version() == version {
                return known;
            }
            let Some(news) = names.tag_values_news(table, key, &known) else { return Arc::default() };
            (tag, known, news)
        };
        let values = Arc::new(known.with(news));
        self.keep((table, tag), &values, memory);
        values
    }

    /// The values of a tag, if the list kept is as it would be now.
    pub(crate) fn peek(&self, registry: &Registry, table: TableId, key: &str) -> Option<Arc<TagValues>> {
        let names = registry.read();
        let (tag, version) = names.tag_version(table, key)?;
        self.lists.lock().get((table, tag)).filter(|known| known.version() == version)
    }

    fn keep(&self, key: (TableId, u32), values: &Arc<TagValues>, memory: &Decoded) {
        let bytes_max = memory.bytes_max() / 2;
        let bytes = LIST_OVERHEAD_BYTES + values.heap_bytes();
        let gone = {
            let mut lists = self.lists.lock();
            // One that is too large is not kept, nor is what it was made of.
            let old = match bytes <= bytes_max {
                true => lists.insert(key, values.clone(), bytes),
                false => lists.remove(key),
            };
            let gone = lists.shrink(bytes_max);
            memory.lend(lists.weight());
            (old, gone)
        };
        self.evictions.fetch_add(gone.1.len() as u64, Ordering::Relaxed);
    }

    /// Memory of the lists, and how many were given up for others.
    pub(crate) fn stats(&self) -> (u64, u64) {
        (self.lists.lock().weight() as u64, self.evictions.load(Ordering::Relaxed))
    }
}
