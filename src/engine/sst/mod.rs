//! Sorted immutable files: Parquet with an exact index beside it.
//!
//! One SST is four files with one stem: `points-<id>.parquet` (the values), `points-<id>.idx` (where each stream is),
//! `series-<id>.parquet` and `fields-<id>.parquet` (names, for readers other than this one). The
//! order of events: [`SstWriter::name`] a series and [`SstWriter::push`] its streams, in file order; [`SstWriter::finish`]
//! writes fields and index, makes every file durable and renames the index last; [`SstReader::open`] believes a file only if all checksums agree, and
//! [`SstCursor::read`] fetches rows of one stream. `docs/formats/sst.md` describes the bytes.
//!
//! Limits: a stream has fewer than 2^32 rows in one file, a file fewer than 2^32 streams and 32,767 row groups. The
//! writer holds one row group and the packed index (some 20 bytes a stream) in memory, the reader the index of a file of up to
//! 4,096 streams; of larger ones pieces of so many are kept in a cache that all readers share.
//!
//! An SST never changes, and nothing here decides which ones live: the catalogue does.

mod chunk;
mod cursor;
mod decimal;
mod delta;
mod handles;
mod index;
mod index_codec;
mod index_writer;
mod input;
mod ints;
mod layout;
mod names;
mod names_read;
mod output;
mod page_cache;
mod page_header;
mod pieces;
mod places;
mod reader;
mod rebuild;
mod rows;
mod series_file;
mod stats;
mod verify;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use parquet::errors::ParquetError;
use rhythmite_model::{Error, Result, SeriesId};

pub use cursor::SstCursor;
pub use handles::Handles;
pub use index::{StreamEntry, StreamKind};
pub use layout::{FORMAT_VERSION, PageCompression, TimeUnit};
pub use names::{FieldRow, SeriesRow, Tag};
pub(crate) use names_read::{read_fields, read_series};
pub use page_cache::{PageCache, PageCacheStats};
pub use pieces::Pieces;
pub use reader::SstReader;
pub(crate) use rebuild::{NamesFile, Rebuilt};
pub(crate) use series_file::SeriesFile;
pub use stats::Aggregates;
pub use walk::{Entries, Walk};
pub use writer::{SstWriter, WriteOptions};

/// What the catalogue keeps of one SST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SstMeta {
    /// The stem's unique part.
    pub id: String,
    /// Number of rows.
    pub rows: u64,
    /// Number of streams.
    pub streams: u64,
    /// Length of the four files together.
    pub bytes: u64,
    /// Earliest time.
    pub min_time_ns: i64,
    /// Latest time.
    pub max_time_ns: i64,
    /// Smallest series.
    pub min_series: SeriesId,
    /// Greatest series.
    pub max_series: SeriesId,
    /// Order among files: the higher wins.
    pub seq: u64,
    /// Compaction level.
    pub level: u8,
    /// Unit of the time column: a merge may write the finest of its inputs'.
    pub time_unit: TimeUnit,
    /// CRC-32C of the index's header, which covers the checksums of everything else.
    pub checksum: u32,
}

/// Longest id, in bytes.
pub const ID_BYTES_MAX: usize = 100;

/// The four files of one SST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SstPaths {
    /// The values.
    pub points: PathBuf,
    /// The index.
    pub index: PathBuf,
    /// Names of series.
    pub series: PathBuf,
    /// Names of fields.
    pub fields: PathBuf,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SstPart {
    /// The values.
    Points,
    /// The index.
    Index,
    /// Names of series.
    Series,
    /// Names of fields.
    Fields,
}

impl SstPaths {
    /// The files of SST `id` in `dir`.
    ///
    /// # Errors
    /// `Invalid`: the id is empty, longer than [`ID_BYTES_MAX`] or has other characters than `A-Z a-z 0-9 _ -`.
    pub fn new(dir: &Path, id: &str) -> Result<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(plain) {
            return Err(Error::invalid(format!(
                "{id:?} cannot name a file: use up to {ID_BYTES_MAX} of A-Z a-z 0-9 _ -"
            )));
        }
        Ok(Self {
            points: dir.join(format!("points-{id}.parquet")),
            index: dir.join(format!("points-{id}.idx")),
            series: dir.join(format!("series-{id}.parquet")),
            fields: dir.join(format!("fields-{id}.parquet")),
        })
    }

    /// One of the four.
    pub fn part(&self, part: SstPart) -> &Path {
        match part {
            SstPart::Points => &self.points,
            SstPart::Index => &self.index,
            SstPart::Series => &self.series,
            SstPart::Fields => &self.fields,
        }
    }

    /// All four; the index, which makes the others a whole, last.
    pub fn all(&self) -> [&Path; 4] {
        [&self.series, &self.fields, &self.points, &self.index]
    }
}

/// Removes the files of an SST, the index first, so that what a crash leaves is not taken for whole. Files that are
/// missing are no error; the caller syncs the directory.
pub fn remove(env: &rhythmite_env::Env, dir: &Path, id: &str) -> Result<()> {
    for path in SstPaths::new(dir, id)?.all().into_iter().rev() {
        match env.fs.remove(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::from(e).at(path.display())),
            _ => {}
        }
    }
    Ok(())
}

/// An error of the Parquet writer: disk trouble passes through, all else is ours.
fn write_error(error: ParquetError) -> Error {
    match as_io(&error) {
        Some(e) => Error::unavailable(e.to_string()),
        None => Error::internal(error.to_string()),
    }
}

/// An error of the Parquet reader: disk trouble passes through, all else is damage.
fn read_error(error: ParquetError) -> Error {
    match as_io(&error) {
        Some(e) if e.kind() != io::ErrorKind::UnexpectedEof => Error::unavailable(e.to_string()),
        _ => Error::corrupt(error.to_string()),
    }
}

fn as_io(error: &ParquetError) -> Option<&io::Error> {
    match error {
        ParquetError::External(e) => e.downcast_ref(),
        _ => None,
    }
}
