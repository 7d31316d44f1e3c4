//! At which size a memtable is flushed: with many series it grows, since a file with a point or two of each series costs as
//! much for each as one with twenty.
//!
//! The flushing thread fits the limit to the number of series at every round; the rounds before the first have the usual
//! one. Writes are refused at twice the limit.

use std::sync::atomic::Ordering;

use crate::engine::Engine;
use crate::options::Options;

/// What a memtable holds of each series before it is flushed, where its limit allows: some sixteen rows of one field.
const SERIES_BYTES: usize = 400;

impl Options {
    /// Size at which a memtable is flushed while there are so many series: [`SERIES_BYTES`] of each, at least
    /// [`Options::memtable_bytes`], at most the larger of that and [`Options::memtable_bytes_many`].
    fn memtable_limit(&self, series: u64) -> usize {
        let most = self.memtable_bytes_many.max(self.memtable_bytes);
        let wanted = usize::try_from(series).unwrap_or(usize::MAX).saturating_mul(SERIES_BYTES);
        wanted.clamp(self.memtable_bytes, most)
    }
}

impl Engine {
    /// Size at which the memtable is flushed at present, in bytes.
    pub(crate) fn memtable_limit(&self) -> usize {
        self.inner.memtable_limit.load(Ordering::Relaxed)
    }

    /// Fits the memtable's limit to the number of series.
    pub(crate) fn fit_memtable(&self) {
        let names = self.inner.registry.read();
        let series = names.all_tables().map(|table| table.series_count()).sum();
        drop(names);
        self.inner.memtable_limit.store(self.inner.options.memtable_limit(series), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn the_limit_grows_with_the_series_between_its_bounds() {
        for (usual, many, series, expected) in [
            (64 * MIB, 0, 0, 64 * MIB),
            // Without room to grow it stays.
            (64 * MIB, 0, 10_000_000, 64 * MIB),
            (64 * MIB, 32 * MIB, 10_000_000, 64 * MIB),
            // 400 bytes of each.
            (64 * MIB, 1_000 * MIB, 167_772, 64 * MIB),
            (64 * MIB, 1_000 * MIB, 167_773, 67_109_200),
            (64 * MIB, 1_000 * MIB, 1_000_000, 400_000_000),
            (64 * MIB, 1_000 * MIB, 10_000_000, 1_000 * MIB),
            (0, 8 * MIB, 1, SERIES_BYTES),
            (0, 0, 1, 0),
            (usize::MAX, 0, u64::MAX, usize::MAX),
            (1, usize::MAX, u64::MAX, usize::MAX),
        ] {
            let options = Options { memtable_bytes: usual, memtable_bytes_many: many, ..Options::new("/db") };
            assert_eq!(options.memtable_limit(series), expected, "{usual} {many} {series}");
        }
    }
}
