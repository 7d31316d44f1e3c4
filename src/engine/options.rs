//! What an engine is told at its start.

use std::path::PathBuf;
use std::time::Duration;

use crate::registry::Limits;
use crate::wal;

/// How the engine is set up. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything the engine writes lies below this directory.
    pub data_dir: PathBuf,
    /// A memtable of this size is flushed. Twice as much (one filling, one being flushed) turns writes away.
    pub memtable_bytes: usize,
    /// With many series a memtable may grow up to this instead, if it is more: a file with a point or two of each series
    /// costs as much for each as one with twenty.
    pub memtable_bytes_many: usize,
    /// A memtable of at least [`Options::IDLE_FLUSH_BYTES`] is flushed when nothing was written for this long. Where writers
    /// come back after such pauses it becomes longer, up to [`Options::flush_age`].
    pub idle_flush: Duration,
    /// A memtable is flushed at this age.
    pub flush_age: Duration,
    /// The log.
    pub wal: wal::Options,
    /// Limits on names.
    pub limits: Limits,
    /// Flushed files of one level that wait before they are merged into partitions.
    pub merge_flushed_files: usize,
    /// Flushed files of one level at which writes are turned away until merging has caught up.
    pub flushed_files_max: usize,
    /// Files of one partition that are merged into one.
    pub merge_partition_files: usize,
    /// How long after its end a partition is rolled up into coarser levels, and how much longer than their retention raw
    /// points of such a policy are kept.
    pub rollup_grace: Duration,
    /// How long nothing must have been merged into a partition before it is rolled up, unless its points are to go.
    pub rollup_delay: Duration,
    /// Partitions that one step of a merge writes before it commits them.
    pub merge_partitions: usize,
    /// Points files that are kept open.
    pub open_files_max: usize,
    /// Memory of the indexes and footers of files that are kept loaded.
    pub index_cache_bytes: usize,
    /// Memory of decoded points of files, and of sorted names, that are kept for the next reader.
    pub decoded_cache_bytes: usize,
    /// Memory of unpacked pages of files that are kept for the next reader.
    pub page_cache_bytes: usize,
    /// Writes are refused while less than this is free on the disk; 0: until it is full.
    pub free_bytes_min: u64,
    /// What files and log may take together: beyond, the disk counts as full. 0: no limit but the disk's.
    pub data_bytes_max: u64,
    /// How long a deletion of few points waits before files are written anew without them.
    pub delete_delay: Duration,
}

impl Options {
    /// A deletion is flushed at this age, so that compaction may work it into files.
    pub const DELETE_FLUSH: Duration = Duration::from_secs(60);
    /// A memtable below this mostly stays in memory however quiet it is, until [`Options::flush_age`].
    pub const IDLE_FLUSH_BYTES: usize = 1 << 20;
    /// The same of what a load left behind, or a start found in the log.
    pub const REST_FLUSH_BYTES: usize = 64 << 10;

    /// The defaults, below `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            memtable_bytes: 64 << 20,
            memtable_bytes_many: 0,
            idle_flush: Duration::from_secs(5),
            flush_age: Duration::from_secs(600),
            wal: wal::Options::new(data_dir.join("wal")),
            limits: Limits::default(),
            merge_flushed_files: 8,
            flushed_files_max: 64,
            merge_partition_files: 4,
            rollup_grace: Duration::from_secs(300),
            rollup_delay: Duration::from_secs(60),
            merge_partitions: 256,
            open_files_max: 512,
            index_cache_bytes: 256 << 20,
            decoded_cache_bytes: 64 << 20,
            page_cache_bytes: 32 << 20,
            free_bytes_min: 256 << 20,
            data_bytes_max: 0,
            delete_delay: Duration::from_secs(600),
            data_dir,
        }
    }
}
