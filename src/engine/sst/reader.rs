//! An open SST: the head of its index and Parquet metadata, shared by any number of cursors. The streams of a large file are
//! loaded in pieces, when a series among them is asked for.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use rhythmite_env::{Env, File};
use rhythmite_model::{Error, FieldId, Result, SeriesId};

use super::cursor::SstCursor;
use super::handles::{Handle, Handles};
use super::index::{FileFacts, Piece, StreamEntry, Streams};
use super::index_codec::{Head, Source};
use super::input::{Footer, PageSource};
use super::layout::{self, TimeUnit, column};
use super::page_cache::PageCache;
use super::pieces::Pieces;
use super::walk::{Entries, Walk};
use super::{SstMeta, SstPaths, places, read_error};

/// Longest index that is read, in bytes: about 10^8 streams.
pub(super) const INDEX_BYTES_MAX: u64 = 8 << 30;

/// One page of the time column.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimePage {
    /// First row, counted from the start of the file.
    pub first_row: u64,
    /// Least time.
    pub min_ns: i64,
}

/// First bytes of an index, read at once: mostly all of it.
const INDEX_START_BYTES: u64 = 64 << 10;

/// Bytes of indexes of large files that a reader of its own keeps.
const OWN_PIECES_BYTES: usize = 16 << 20;

/// An open SST. Cheap to share; every thread reads by a cursor of its own.
pub struct SstReader {
    pub(super) env: Env,
    pub(super) id: String,
    pub(super) paths: SstPaths,
    pub(super) head: Head,
    pub(super) points: Arc<PointsFile>,
    streams: Loaded,
    index_bytes: u64,
}

/// Where the streams are.
enum Loaded {
    /// Of a file of one piece: here.
    Whole(Arc<Streams>),
    /// In the cache of pieces, or in the file.
    Pieces { pieces: Arc<Pieces>, number: u64, index: Handle },
}

/// The file of an index, of which the first bytes were read.
struct IndexFile<'a> {
    start: &'a [u8],
    file: &'a dyn File,
    len: u64,
}

impl Source for IndexFile<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>> {
        if let Some(bytes) = self.start.get(range.start as usize..range.end as usize) {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.file.read_exact_at(&mut bytes, range.start).map_err(reading)?;
        Ok(Cow::Owned(bytes))
    }
}

/// What reading rows takes; cursors hold it, not the index, which is large.
pub(super) struct PointsFile {
    pub(super) path: PathBuf,
    pub(super) time_unit: TimeUnit,
    pub(super) source: Arc<PageSource>,
    pub(super) metadata: ParquetMetaData,
    /// First row of each row group, and the number of rows at the end.
    pub(super) group_start: Vec<u64>,
    pub(super) time_pages: Vec<TimePage>,
    /// Where its pages may be, under which number.
    pub(super) pages: Arc<PageCache>,
    pub(super) number: u64,
}

impl Drop for PointsFile {
    fn drop(&mut self) {
        self.pages.forget(self.number, &self.source.page_offset);
    }
}

impl SstReader {
    /// Opens SST `id` in `dir`: reads and tests the index and the Parquet footer, not the values.
    ///
    /// # Errors
    /// `NotFound`: no such SST. `Corrupt`: a file is damaged or not the one the index was written with; the message
    /// names it. `Unavailable`: disk.
    pub fn open(env: &Env, dir: &Path, id: &str) -> Result<Arc<Self>> {
        let (handles, pieces) = (Handles::new(env.fs.clone(), 1), Pieces::new(OWN_PIECES_BYTES));
        Self::open_shared(env, &handles, &pieces, &PageCache::new(0), dir, id)
    }

    /// As [`SstReader::open`], for one of many: its open files count among `handles`, pieces of its index among `pieces`,
    /// pages of its points among `pages`.
    ///
    /// # Errors
    /// See [`SstReader::open`].
    pub fn open_shared(
        env: &Env,
        handles: &Arc<Handles>,
        pieces: &Arc<Pieces>,
        pages: &Arc<PageCache>,
        dir: &Path,
        id: &str,
    ) -> Result<Arc<Self>> {
        let paths = SstPaths::new(dir, id)?;
        let (mut head, streams, index_bytes) = open_index(env, handles, pieces, &paths.index)?;
        let handle = handles.handle(paths.points.clone());
        let file = handle.file().map_err(|e| match e.kind() {
            // The index is renamed last: the points were there.
            io::ErrorKind::NotFound => Error::corrupt("is missing, its index is not").at(paths.points.display()),
            _ => opening(e, &paths.points),
        })?;
        let opened = open_points(&*file, &head.facts).map_err(|e| e.at(paths.points.display()))?;
        let (metadata, group_start, time_pages) = opened;
        let (len, known) = (head.facts.points.len, std::mem::take(&mut head.pages));
        let source = Arc::new(PageSource { file: handle, len, page_offset: known.offset, page_crc: known.crc });
        let (path, time_unit) = (paths.points.clone(), head.facts.time_unit);
        let (pages, number) = (pages.clone(), pages.number());
        let points = PointsFile { path, time_unit, source, metadata, group_start, time_pages, pages, number };
        let points = Arc::new(points);
        let (env, id) = (env.clone(), id.to_owned());
        Ok(Arc::new(Self { env, id, paths, head, points, streams, index_bytes }))
    }

    /// What the catalogue keeps of this file.
    pub fn meta(&self) -> SstMeta {
        let facts = &self.head.facts;
        let ends = self.pieces().first().zip(self.pieces().last());
        SstMeta {
            id: self.id.clone(),
            rows: facts.rows,
            streams: self.head.streams,
            bytes: facts.points.len + facts.series.len + facts.fields.len + self.index_bytes,
            min_time_ns: facts.min_time_ns,
            max_time_ns: facts.max_time_ns,
            min_series: SeriesId(ends.map_or(0, |(first, _)| first.first)),
            max_series: SeriesId(ends.map_or(0, |(_, last)| last.last)),
            seq: facts.seq,
            level: facts.level,
            time_unit: facts.time_unit,
            checksum: self.head.checksum,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.head.facts.rows
    }

    /// Order among files: of two points with the same series, field and time that of the higher wins.
    pub fn seq(&self) -> u64 {
        self.head.facts.seq
    }

    /// Unit of the time column.
    pub fn time_unit(&self) -> TimeUnit {
        self.head.facts.time_unit
    }

    /// Earliest and latest time.
    pub fn time_range_ns(&self) -> std::ops::RangeInclusive<i64> {
        self.head.facts.min_time_ns..=self.head.facts.max_time_ns
    }

    /// The points file, for messages.
    pub fn path(&self) -> &PathBuf {
        &self.paths.points
    }

    /// Streams of one series, ascending by field.
    ///
    /// # Errors
    /// See [`Walk::seek`].
    pub fn streams(&self, series: SeriesId) -> Result<Vec<StreamEntry>> {
        let mut walk = self.walk();
        if walk.seek(series)? == Some(series) { Ok(walk.streams()?.collect()) } else { Ok(Vec::new()) }
    }

    /// One stream.
    ///
    /// # Errors
    /// See [`Walk::seek`].
    pub fn stream(&self, series: SeriesId, field: FieldId) -> Result<Option<StreamEntry>> {
        Ok(self.streams(series)?.into_iter().find(|entry| entry.field == field))
    }

    /// From the first series on.
    pub fn walk(&self) -> Walk<'_> {
        Walk::new(self, false)
    }

    /// The same, of the pieces that are in memory: any other is `Unavailable`.
    pub fn walk_at_hand(&self) -> Walk<'_> {
        Walk::new(self, true)
    }

    /// All streams, in file order.
    pub fn entries(&self) -> Entries<'_> {
        Entries::new(self)
    }

    /// What the index is made of.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.head.pieces
    }

    /// The streams of a piece that is in memory.
    pub(super) fn piece_at_hand(&self, number: usize) -> Result<Arc<Streams>> {
        let found = match &self.streams {
            Loaded::Whole(streams) => Some(streams.clone()),
            Loaded::Pieces { pieces, number: reader, .. } => pieces.get(*reader, number),
        };
        found.ok_or_else(|| Error::unavailable("a piece of an index that is not in memory"))
    }

    /// The streams of a piece.
    pub(super) fn piece(&self, number: usize) -> Result<Arc<Streams>> {
        let (pieces, reader, index) = match &self.streams {
            Loaded::Whole(streams) => return Ok(streams.clone()),
            Loaded::Pieces { pieces, number, index } => (pieces, *number, index),
        };
        if let Some(streams) = pieces.get(reader, number) {
            return Ok(streams);
        }
        let file = index.file().map_err(|e| opening(e, &self.paths.index))?;
        let source = IndexFile { start: &[], file: &*file, len: self.index_bytes };
        let streams = self.head.piece(&source, number).map_err(|e| e.at(self.paths.index.display()))?;
        let streams = Arc::new(streams);
        pieces.put(reader, number, &streams);
        Ok(streams)
    }

    /// A cursor at the file's start.
    pub fn cursor(&self) -> SstCursor {
        SstCursor::new(self.points.clone())
    }

    /// Memory held by what is always there of the index, and by the metadata, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let streams = match &self.streams {
            Loaded::Whole(streams) => streams.heap_bytes(),
            Loaded::Pieces { .. } => 0,
        };
        streams + self.head.heap_bytes() + self.points.heap_bytes()
    }
}

impl Drop for SstReader {
    fn drop(&mut self) {
        if let Loaded::Pieces { pieces, number, .. } = &self.streams {
            pieces.forget(*number, self.head.pieces.len());
        }
    }
}

/// Reads the head of an index, and its streams if they are few. Returns its length, too.
fn open_index(env: &Env, handles: &Arc<Handles>, pieces: &Arc<Pieces>, path: &Path) -> Result<(Head, Loaded, u64)> {
    let file = env.fs.open(path).map_err(|e| opening(e, path))?;
    let len = file.len().map_err(|e| opening(e, path))?;
    if len > INDEX_BYTES_MAX {
        return Err(Error::corrupt(format!("{len} bytes long, at most {INDEX_BYTES_MAX} are read")).at(path.display()));
    }
    let mut start = vec![0; len.min(INDEX_START_BYTES) as usize];
    file.read_exact_at(&mut start, 0).map_err(|e| opening(e, path))?;
    let source = IndexFile { start: &start, file: &*file, len };
    let head = Head::read(&source).map_err(|e| e.at(path.display()))?;
    let streams = match head.pieces.len() {
        1 => Loaded::Whole(Arc::new(head.piece(&source, 0).map_err(|e| e.at(path.display()))?)),
        _ => {
            let (pieces, number) = (pieces.clone(), pieces.number());
            Loaded::Pieces { pieces, number, index: handles.handle(path.to_owned()) }
        }
    };
    Ok((head, streams, len))
}

impl PointsFile {
    /// Number of rows.
    pub(super) fn rows(&self) -> u64 {
        self.group_start.last().copied().unwrap_or(0)
    }

    fn heap_bytes(&self) -> usize {
        let pages = self.source.page_offset.capacity() * 12 + self.time_pages.capacity() * size_of::<TimePage>();
        self.metadata.memory_size() + pages + self.group_start.capacity() * 8
    }

    /// The rows among `rows` of one stream that may lie in `[start_ns, end_ns]`, by the page index.
    pub(super) fn narrow(&self, rows: Range<u64>, start_ns: i64, end_ns: i64) -> Range<u64> {
        // Pages that begin and end inside the stream: only their minima are this stream's alone, and ascend.
        let from = self.time_pages.partition_point(|page| page.first_row < rows.start);
        let to = self.time_pages.partition_point(|page| page.first_row < rows.end);
        let ends_inside = self.time_pages.get(to).map_or(self.rows(), |next| next.first_row) == rows.end;
        let to = if ends_inside { to } else { to.saturating_sub(1) };
        if from >= to {
            return rows;
        }
        let inner = &self.time_pages[from..to];
        let before = inner.partition_point(|page| page.min_ns <= start_ns);
        let start = if before == 0 { rows.start } else { inner[before - 1].first_row };
        let behind = inner.partition_point(|page| page.min_ns <= end_ns);
        let end = inner.get(behind).map_or(rows.end, |page| page.first_row);
        start..end.max(start)
    }
}

fn opening(error: io::Error, path: &Path) -> Error {
    let error = match error.kind() {
        io::ErrorKind::NotFound => Error::not_found("no such file"),
        _ => reading(error),
    };
    error.at(path.display())
}

fn reading(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Error::corrupt(error.to_string()),
        _ => Error::from(error),
    }
}

fn open_points(file: &dyn File, facts: &FileFacts) -> Result<(ParquetMetaData, Vec<u64>, Vec<TimePage>)> {
    let len = file.len()?;
    if len != facts.points.len {
        return Err(Error::corrupt(format!("{len} bytes long, its index says {}", facts.points.len)));
    }
    let footer_len = len.checked_sub(facts.footer_start).and_then(|n| usize::try_from(n).ok());
    let footer_len = footer_len.ok_or_else(|| Error::corrupt("its index puts the footer behind its end"))?;
    let mut footer = vec![0; footer_len];
    file.read_exact_at(&mut footer, facts.footer_start)?;
    if crc32c::crc32c(&footer) != facts.footer_crc {
        return Err(Error::corrupt("the footer is not the one its index was written with"));
    }
    let footer = Footer { start: facts.footer_start, bytes: footer.into() };
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    let metadata = reader.parse_and_finish(&footer).map_err(read_error)?;
    places::check(&metadata, facts.footer_start)?;

    let expected = layout::schema(facts.time_unit)?;
    if metadata.file_metadata().schema() != expected.as_ref() {
        return Err(Error::corrupt("its columns are not those of the points layout"));
    }
    let mut group_start = vec![0];
    let mut time_pages = Vec::new();
    let mut rows = 0u64;
    let missing = || Error::corrupt("a row group lacks its page index");
    let columns = metadata.column_index().ok_or_else(missing)?;
    let offsets = metadata.offset_index().ok_or_else(missing)?;
    for (g, group) in metadata.row_groups().iter().enumerate() {
        let pages = offsets.get(g).and_then(|o| o.get(column::TIME)).ok_or_else(missing)?.page_locations();
        let Some(ColumnIndexMetaData::INT64(times)) = columns.get(g).and_then(|c| c.get(column::TIME)) else {
            return Err(missing());
        };
        if times.min_values().len() != pages.len() || offsets[g].len() != column::NAMES.len() {
            return Err(missing());
        }
        for (page, min) in pages.iter().zip(times.min_values()) {
            let first_row = rows.saturating_add_signed(page.first_row_index);
            time_pages.push(TimePage { first_row, min_ns: min.saturating_mul(facts.time_unit.ns()) });
        }
        let more = u64::try_from(group.num_rows()).ok().and_then(|more| rows.checked_add(more));
        rows = more.ok_or_else(|| Error::corrupt("a row group of fewer than no rows"))?;
        group_start.push(rows);
    }
    if rows != facts.rows {
        return Err(Error::corrupt(format!("{rows} rows, its index says {}", facts.rows)));
    }
    Ok((metadata, group_start, time_pages))
}
