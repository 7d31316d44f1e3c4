//! What the engine asks of the catalogue: the list of live files, changed atomically and durably.

use rhythmite_model::{PolicyId, Result, SeriesId, Tier, Tombstone};

/// One live SST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// Unique; the stem of its files.
    pub id: String,
    /// The policy its rows belong to.
    pub policy: PolicyId,
    /// The level of resolution.
    pub tier: Tier,
    /// Start of the one partition it lies in; `None` for a flushed file that spans partitions.
    pub partition_ns: Option<i64>,
    /// 0: as flushed; 1: merged, inside one partition.
    pub level: u8,
    /// The newest write in it: of two files with the same point the one with the larger number wins.
    pub seq: u64,
    /// Deletions up to this number were applied when a merge wrote it; those up to `seq` always were.
    pub deletes_seq: u64,
    /// Values stored.
    pub rows: u64,
    /// Bytes on disk, with everything that lies beside it.
    pub bytes: u64,
    /// Oldest point.
    pub min_time_ns: i64,
    /// Newest point.
    pub max_time_ns: i64,
    /// Smallest series id.
    pub min_series: SeriesId,
    /// Largest series id.
    pub max_series: SeriesId,
    /// Second that the retention counts from: the end of the partition, or the newest point where there is none; for
    /// imported points the import. The policy, as it is at that time, says how long the file is kept from then on.
    pub kept_from_s: i64,
    /// CRC32C of the index's header, which covers the checksums of everything else.
    pub checksum: u32,
}

impl FileRecord {
    /// Deletions up to this number have nothing to take away here any more.
    pub fn seen_seq(&self) -> u64 {
        self.seq.max(self.deletes_seq)
    }
}

/// Which deletion: the write that carried it, and its place among those of that write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TombstoneId {
    /// Number of the write. It takes away points of older writes.
    pub seq: u64,
    /// Counted from 0.
    pub ordinal: u32,
}

/// A deletion that the log need not hold any more and some file has not seen yet.
#[derive(Clone, Debug, PartialEq)]
pub struct TombstoneRecord {
    /// Which one.
    pub id: TombstoneId,
    /// What it deletes.
    pub tombstone: Tombstone,
}

/// One live registry segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRecord {
    /// Its number; segments are loaded in ascending order of numbers.
    pub id: u64,
    /// Definitions in it.
    pub definitions: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// What lives, as found at start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Live files.
    pub files: Vec<FileRecord>,
    /// Live registry segments.
    pub segments: Vec<SegmentRecord>,
    /// Deletions at work, up to `flushed_seq`.
    pub tombstones: Vec<TombstoneRecord>,
    /// Of policies with coarser levels: the moment below which there are roll-ups only.
    pub raw_floors: Vec<(PolicyId, i64)>,
    /// Every write up to this number is in files; the log is replayed from the next.
    pub flushed_seq: u64,
}

/// A change of the state: all of it or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edit {
    /// New files.
    pub add_files: Vec<FileRecord>,
    /// Files that no longer live, by id.
    pub remove_files: Vec<String>,
    /// New registry segments.
    pub add_segments: Vec<SegmentRecord>,
    /// Segments that no longer live, by number.
    pub remove_segments: Vec<u64>,
    /// Deletions that the log lets go of.
    pub add_tombstones: Vec<TombstoneRecord>,
    /// Deletions that every file has seen.
    pub remove_tombstones: Vec<TombstoneId>,
    /// New [`State::raw_floors`]; they never sink.
    pub raw_floors: Vec<(PolicyId, i64)>,
    /// The new [`State::flushed_seq`], when it changes.
    pub flushed_seq: Option<u64>,
}

impl Edit {
    /// Whether the edit changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The catalogue's part in the engine. Called from the engine's own threads; may block.
pub trait Manifest: Send + Sync {
    /// The state after the last committed edit.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt`.
    fn load(&self) -> Result<State>;

    /// Applies `edit` in one durable step. When this returns an error the edit may or may not have happened; the caller
    /// repeats it, and a repeated edit must succeed.
    ///
    /// # Errors
    /// `Unavailable`.
    fn commit(&self, edit: &Edit) -> Result<()>;
}
