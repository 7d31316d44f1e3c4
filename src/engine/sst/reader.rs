//! An open SST: its index and Parquet metadata, shared by any number of cursors.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use rhythmite_env::{Env, File};
use rhythmite_model::{Error, FieldId, Result, SeriesId};

use super::cursor::SstCursor;
use super::handles::Handles;
use super::index::{FileFacts, Index, StreamEntry};
use super::input::{Footer, PageSource};
use super::layout::{self, TimeUnit, column};
use super::{SstMeta, SstPaths, index_codec, places, read_error};

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

/// An open SST. Cheap to share; every thread reads by a cursor of its own.
pub struct SstReader {
    pub(super) env: Env,
    pub(super) id: String,
    pub(super) paths: SstPaths,
    pub(super) index: Index,
    pub(super) points: Arc<PointsFile>,
    checksum: u32,
    index_bytes: u64,
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
}

impl SstReader {
    /// Opens SST `id` in `dir`: reads and tests the index and the Parquet footer, not the values.
    ///
    /// # Errors
    /// `NotFound`: no such SST. `Corrupt`: a file is damaged or not the one the index was written with; the message
    /// names it. `Unavailable`: disk.
    pub fn open(env: &Env, dir: &Path, id: &str) -> Result<Arc<Self>> {
        Self::open_shared(env, &Handles::new(env.fs.clone(), 1), dir, id)
    }

    /// As [`SstReader::open`], for one of many: its points file counts among `handles`.
    ///
    /// # Errors
    /// See [`SstReader::open`].
    pub fn open_shared(env: &Env, handles: &Arc<Handles>, dir: &Path, id: &str) -> Result<Arc<Self>> {
        let paths = SstPaths::new(dir, id)?;
        let bytes = env.fs.read(&paths.index, INDEX_BYTES_MAX).map_err(|e| opening(e, &paths.index))?;
        let (mut index, checksum) = index_codec::decode(&bytes).map_err(|e| e.at(paths.index.display()))?;
        let handle = handles.handle(paths.points.clone());
        let file = handle.file().map_err(|e| match e.kind() {
            // The index is renamed last: the points were there.
            io::ErrorKind::NotFound => Error::corrupt("is missing, its index is not").at(paths.points.display()),
            _ => opening(e, &paths.points),
        })?;
        let opened = open_points(&*file, &index.facts).map_err(|e| e.at(paths.points.display()))?;
        let (metadata, group_start, time_pages) = opened;
        let len = index.facts.points.len;
        let page_offset = std::mem::take(&mut index.page_offset);
        let source =
            Arc::new(PageSource { file: handle, len, page_offset, page_crc: std::mem::take(&mut index.page_crc) });
        let (path, time_unit) = (paths.points.clone(), index.facts.time_unit);
        let points = Arc::new(PointsFile { path, time_unit, source, metadata, group_start, time_pages });
        let (env, id, index_bytes) = (env.clone(), id.to_owned(), bytes.len() as u64);
        Ok(Arc::new(Self { env, id, paths, index, points, checksum, index_bytes }))
    }

    /// What the catalogue keeps of this file.
    pub fn meta(&self) -> SstMeta {
        let facts = &self.index.facts;
        SstMeta {
            id: self.id.clone(),
            rows: facts.rows,
            streams: self.index.streams() as u64,
            bytes: facts.points.len + facts.series.len + facts.fields.len + self.index_bytes,
            min_time_ns: facts.min_time_ns,
            max_time_ns: facts.max_time_ns,
            min_series: SeriesId(self.index.series.first().copied().unwrap_or_default()),
            max_series: SeriesId(self.index.series.last().copied().unwrap_or_default()),
            seq: facts.seq,
            level: facts.level,
            time_unit: facts.time_unit,
            checksum: self.checksum,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.index.facts.rows
    }

    /// Order among files: of two points with the same series, field and time that of the higher wins.
    pub fn seq(&self) -> u64 {
        self.index.facts.seq
    }

    /// Unit of the time column.
    pub fn time_unit(&self) -> TimeUnit {
        self.index.facts.time_unit
    }

    /// Earliest and latest time.
    pub fn time_range_ns(&self) -> std::ops::RangeInclusive<i64> {
        self.index.facts.min_time_ns..=self.index.facts.max_time_ns
    }

    /// The points file, for messages.
    pub fn path(&self) -> &PathBuf {
        &self.paths.points
    }

    /// Distinct series, ascending.
    pub fn series(&self) -> impl ExactSizeIterator<Item = SeriesId> + DoubleEndedIterator + '_ {
        self.index.series.iter().map(|id| SeriesId(*id))
    }

    /// Whether the series has a stream here.
    pub fn contains(&self, series: SeriesId) -> bool {
        self.index.series.binary_search(&series.0).is_ok()
    }

    /// Streams of one series, ascending by field. A binary search.
    pub fn streams(&self, series: SeriesId) -> impl ExactSizeIterator<Item = StreamEntry> + '_ {
        self.index.range_of(series).map(move |i| self.index.entry(series, i))
    }

    /// One stream. Two binary searches.
    pub fn stream(&self, series: SeriesId, field: FieldId) -> Option<StreamEntry> {
        self.index.find(series, field).map(|i| self.index.entry(series, i))
    }

    /// Position among the distinct series of the first that is not below `series`, looking from position `from` on.
    pub fn seek(&self, from: usize, series: SeriesId) -> usize {
        let ids = &self.index.series;
        // Gallop: a scan visits series in order, so the answer is mostly near.
        let (mut low, mut step) = (from, 1);
        while low + step < ids.len() && ids[low + step] < series.0 {
            low += step;
            step *= 2;
        }
        let high = (low + step + 1).min(ids.len());
        low + ids[low.min(high)..high].partition_point(|id| *id < series.0)
    }

    /// The series at a position among the distinct ones.
    pub fn series_at(&self, position: usize) -> Option<SeriesId> {
        self.index.series.get(position).map(|id| SeriesId(*id))
    }

    /// Streams of the series at a position among the distinct ones. Panics beyond the last.
    pub fn streams_at(&self, position: usize) -> impl ExactSizeIterator<Item = StreamEntry> + '_ {
        let series = SeriesId(self.index.series[position]);
        let streams = self.index.first_stream[position] as usize..self.index.first_stream[position + 1] as usize;
        streams.map(move |i| self.index.entry(series, i))
    }

    /// All streams, in file order.
    pub fn entries(&self) -> impl Iterator<Item = StreamEntry> + '_ {
        self.index.entries()
    }

    /// All streams of series `from` and later, in file order.
    pub fn entries_from(&self, from: SeriesId) -> impl Iterator<Item = StreamEntry> + '_ {
        self.index.entries_from(self.index.series.partition_point(|id| *id < from.0))
    }

    /// A cursor at the file's start.
    pub fn cursor(&self) -> SstCursor {
        SstCursor::new(self.points.clone())
    }

    /// Memory held by the index and the metadata, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.index.heap_bytes() + self.points.heap_bytes()
    }
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
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Error::corrupt(error.to_string()),
        _ => Error::from(error),
    };
    error.at(path.display())
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
