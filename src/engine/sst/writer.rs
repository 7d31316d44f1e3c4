//! Writes one SST: series in file order, each with its name and its streams, then the fields' names and the index; complete
//! and durable or not there at all.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use hashbrown::HashMap;
use parquet::file::metadata::{KeyValue, ParquetMetaData};
use parquet::file::writer::SerializedFileWriter;
use rhythmite_env::Env;
use rhythmite_model::{Column, Error, FieldId, FieldType, Result, SeriesId, TableId};

use super::index::{FileCheck, FileFacts, Pages, StreamEntry, StreamKind};
use super::index_writer::IndexWriter;
use super::layout::{self, FORMAT_VERSION, PageCompression, TimeUnit};
use super::names::{self, FieldRow, SeriesRow, Tag};
use super::output::{Output, Written, publish, temporary};
use super::rows::RowGroup;
use super::series_file::SeriesFile;
use super::stats::Fold;
use super::{SstMeta, SstPaths, write_error};

/// Rows of a row group.
pub const ROW_GROUP_ROWS: usize = 1 << 20;
/// The same of a flushed file, which is soon merged, and which is written while memory is short: a group is held in it.
pub const FLUSHED_GROUP_ROWS: usize = 1 << 18;
/// Rows of a page.
pub const PAGE_ROWS: usize = 8192;
/// Rows that share one decimal exponent.
pub const RUN_ROWS: usize = 8192;
/// A file of fewer rows is compressed fast, whatever its level: there is little to gain, and each of its columns would
/// take a compressor of the better kind. Making one asks the processor for its features, which a virtual machine answers
/// slowly: that was a fifth of the time of a merge into 3,000 small files, and of reading them.
pub const SMALL_FILE_ROWS: usize = 1024;
/// Text of a row group, in bytes: a group ends early rather than hold more (by more than one run).
pub const ROW_GROUP_TEXT_BYTES: usize = 64 << 20;

/// How to write one SST. The limits are options so that tests can make small files.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Compaction level, as the catalogue counts it.
    pub level: u8,
    /// Order among files: the higher wins.
    pub seq: u64,
    /// How pages are compressed.
    pub compression: PageCompression,
    /// A unit that every time is known to be a multiple of. `None`: a file of at most one row group finds the coarsest
    /// by itself, a larger one uses nanoseconds (the unit is in the schema, which is fixed by the first row group).
    pub time_unit: Option<TimeUnit>,
    /// See [`ROW_GROUP_ROWS`].
    pub row_group_rows: usize,
    /// See [`PAGE_ROWS`].
    pub page_rows: usize,
    /// See [`RUN_ROWS`].
    pub run_rows: usize,
    /// See [`ROW_GROUP_TEXT_BYTES`].
    pub row_group_text_bytes: usize,
    /// Rows that will come, or more, if the caller knows: room is made for them at once.
    pub rows: usize,
}

impl WriteOptions {
    /// Options for a file of this level and order: level 0 is compressed fast, the others small.
    pub fn new(level: u8, seq: u64) -> Self {
        Self {
            level,
            seq,
            compression: if level == 0 { PageCompression::Snappy } else { PageCompression::Zstd1 },
            time_unit: None,
            row_group_rows: if level == 0 { FLUSHED_GROUP_ROWS } else { ROW_GROUP_ROWS },
            page_rows: PAGE_ROWS,
            run_rows: RUN_ROWS,
            row_group_text_bytes: ROW_GROUP_TEXT_BYTES,
            rows: 0,
        }
    }
}

/// Writes one SST. Dropped before [`SstWriter::finish`] has succeeded it removes what it wrote.
pub struct SstWriter {
    env: Env,
    id: String,
    paths: SstPaths,
    dir: std::path::PathBuf,
    options: WriteOptions,
    points: Points,
    group: RowGroup,
    names: SeriesFile,
    /// The series named last; the next points are of it.
    named: Option<SeriesId>,
    facts: FileFacts,
    index: IndexWriter,
    pages: Pages,
    stream: Option<OpenStream>,
    /// Rows of the open stream that do not fill a run yet.
    pending_times_ns: Vec<i64>,
    pending: Column,
    /// Types of the fields seen, and the one seen last.
    fields: HashMap<(TableId, FieldId), FieldType>,
    field: Option<((TableId, FieldId), FieldType)>,
    /// An earlier write failed: what the file holds is unknown.
    failed: bool,
    published: bool,
}

/// The points file; its schema waits for the first row group.
enum Points {
    Waiting(Output),
    Open(Box<SerializedFileWriter<Output>>, TimeUnit),
    Closed,
}

struct OpenStream {
    series: SeriesId,
    field: FieldId,
    field_type: FieldType,
    row_start: u64,
    rows: u64,
    min_time_ns: i64,
    max_time_ns: i64,
    kind: Option<StreamKind>,
    fold: Fold,
}

impl SstWriter {
    /// Starts SST `id` in the existing directory `dir`.
    ///
    /// # Errors
    /// `Invalid`: the id names no file, an SST of that id exists, or a limit of the options is zero. `Unavailable`:
    /// disk.
    pub fn create(env: &Env, dir: &Path, id: &str, options: WriteOptions) -> Result<Self> {
        let paths = SstPaths::new(dir, id)?;
        if options.row_group_rows == 0 || options.page_rows == 0 || options.run_rows == 0 {
            return Err(Error::invalid("a row group, a page and a run have at least one row"));
        }
        if env.fs.open(&paths.index).is_ok() {
            return Err(Error::invalid("this SST exists, and an SST never changes").at(paths.index.display()));
        }
        let points = Points::Waiting(Output::create(env, &paths.points)?);
        let names = SeriesFile::create(env, &paths.series).inspect_err(|_| {
            let _ = env.fs.remove(&temporary(&paths.points));
        })?;
        let facts = FileFacts {
            rows: 0,
            min_time_ns: i64::MAX,
            max_time_ns: i64::MIN,
            seq: options.seq,
            level: options.level,
            time_unit: TimeUnit::Nanosecond,
            points: FileCheck::default(),
            footer_start: 0,
            footer_crc: 0,
            series: FileCheck::default(),
            fields: FileCheck::default(),
        };
        let group = RowGroup::for_rows(options.rows.min(options.row_group_rows));
        Ok(Self {
            env: env.clone(),
            id: id.to_owned(),
            paths,
            dir: dir.to_owned(),
            options,
            points,
            group,
            names,
            named: None,
            facts,
            index: IndexWriter::new(),
            pages: Pages::default(),
            stream: None,
            pending_times_ns: Vec::new(),
            pending: Column::new(FieldType::Float),
            fields: HashMap::new(),
            field: None,
            failed: false,
            published: false,
        })
    }

    /// Names the series whose points come next; series ascend, and each has points. Nothing is written: it may be called
    /// under a lock. Tags are sorted by key.
    ///
    /// # Errors
    /// `Invalid`: out of order, or the series named before has no points. Nothing is taken then.
    pub fn name<'t>(&mut self, row: &SeriesRow<'_>, tags: impl Iterator<Item = Tag<'t>>) -> Result<()> {
        if self.named.is_some_and(|named| self.stream.as_ref().is_none_or(|open| open.series != named)) {
            return Err(Error::invalid(format!("no points came before the name of series {}", row.series.0)));
        }
        self.names.push(row, tags)?;
        self.named = Some(row.series);
        Ok(())
    }

    /// Appends rows of one stream of the series named last. Streams come ascending by (series, field), and may come in
    /// pieces; times ascend strictly within a stream.
    ///
    /// # Errors
    /// `Invalid`: another series than the one named, out of order, lengths or types differ, a time is no multiple of the
    /// unit asked for, or a limit of the file is reached; nothing of the piece is taken then. `Unavailable`: disk; give
    /// the file up.
    pub fn push(&mut self, series: SeriesId, field: FieldId, times_ns: &[i64], values: &Column) -> Result<()> {
        if times_ns.len() != values.len() {
            return Err(Error::invalid(format!("{} times for {} values", times_ns.len(), values.len())));
        }
        self.push_rows(series, field, times_ns, values, 0..times_ns.len())
    }

    /// The same of some rows of times and values.
    ///
    /// # Errors
    /// As [`SstWriter::push`].
    pub fn push_rows(
        &mut self,
        series: SeriesId,
        field: FieldId,
        times_ns: &[i64],
        values: &Column,
        rows: Range<usize>,
    ) -> Result<()> {
        if self.failed {
            return Err(Error::unavailable("an earlier write failed").at(self.paths.points.display()));
        }
        let all_times_ns = times_ns;
        let times_ns = &all_times_ns[rows.clone()];
        let (Some(&first), Some(&last)) = (times_ns.first(), times_ns.last()) else { return Ok(()) };
        if !times_ns.windows(2).all(|w| w[0] < w[1]) {
            return Err(Error::invalid(format!("times of series {} field {} do not ascend", series.0, field.0)));
        }
        if self.options.time_unit.is_some_and(|unit| !unit.divides(times_ns)) {
            return Err(Error::invalid(format!("a time of series {} is no multiple of the file's unit", series.0)));
        }
        let result = self.enter(series, field, values.field_type(), first).and_then(|()| {
            let stream = self.stream.as_mut().expect("enter opens a stream");
            if stream.rows + times_ns.len() as u64 > u64::from(u32::MAX) {
                return Err(Error::invalid(format!(
                    "series {} field {} has too many rows for a file",
                    series.0, field.0
                )));
            }
            stream.max_time_ns = last;
            stream.rows += times_ns.len() as u64;
            stream.fold.push(values, rows.clone());
            self.append(series, field, all_times_ns, values, rows)
        });
        self.failed = result.as_ref().is_err_and(|e| e.kind() != rhythmite_model::ErrorKind::Invalid);
        result
    }

    /// Writes fields and index, and makes the SST durable and visible. `fields` must describe every field that has points;
    /// others are left out.
    ///
    /// # Errors
    /// `Invalid`: nothing was pushed, the series named last has no points, or a field is missing. `Unavailable`: disk.
    /// Either way no file is left.
    pub fn finish<'a>(mut self, fields: impl IntoIterator<Item = FieldRow<'a>>) -> Result<SstMeta> {
        if self.failed {
            return Err(Error::unavailable("an earlier write failed").at(self.paths.points.display()));
        }
        self.leave()?;
        let Some((least, greatest)) = self.index.series() else {
            return Err(Error::invalid("an SST without a row").at(self.paths.points.display()));
        };
        if self.named != Some(SeriesId(greatest)) {
            return Err(Error::invalid("the series named last has no points").at(self.paths.points.display()));
        }
        self.close_points()?;
        let series_bytes = self.names.close().map_err(|e| e.at(self.paths.series.display()))?;
        let fields = self.checked_fields(fields)?;
        let written = names::write_fields(&self.env, &self.paths.fields, &fields);
        let fields_bytes = written.map_err(|e| e.at(self.paths.fields.display()))?;
        self.facts.series = series_bytes.into();
        self.facts.fields = fields_bytes.into();

        let streams = self.index.streams();
        let encoded = std::mem::replace(&mut self.index, IndexWriter::new()).finish(&self.facts, &self.pages);
        let mut output = Output::create(&self.env, &self.paths.index)?;
        let written = output.write_all(&encoded.bytes).and_then(|()| output.sync());
        let index_bytes = written.map_err(|e| Error::from(e).at(self.paths.index.display()))?;

        let published = self.paths.all().into_iter().try_for_each(|path| publish(&self.env, path));
        let synced =
            published.and_then(|()| self.env.fs.sync_dir(&self.dir).map_err(|e| Error::from(e).at(self.dir.display())));
        if let Err(e) = synced {
            // Some names may be there already. None of them is in the catalogue: take them back.
            let _ = super::remove(&self.env, &self.dir, &self.id);
            return Err(e);
        }
        self.published = true;

        let facts = &self.facts;
        Ok(SstMeta {
            id: self.id.clone(),
            rows: facts.rows,
            streams,
            bytes: facts.points.len + facts.series.len + facts.fields.len + index_bytes.len,
            min_time_ns: facts.min_time_ns,
            max_time_ns: facts.max_time_ns,
            min_series: SeriesId(least),
            max_series: SeriesId(greatest),
            seq: facts.seq,
            level: facts.level,
            time_unit: facts.time_unit,
            checksum: encoded.checksum,
        })
    }

    /// Gives the SST up and removes what was written.
    pub fn abort(self) {
        drop(self);
    }

    /// Rows pushed so far.
    pub fn rows(&self) -> u64 {
        self.facts.rows + self.stream.as_ref().map_or(0, |stream| stream.rows)
    }

    /// Bytes of the points file written so far; grows by row groups.
    pub fn bytes(&self) -> u64 {
        match &self.points {
            Points::Open(file, _) => file.bytes_written() as u64,
            Points::Waiting(_) | Points::Closed => 0,
        }
    }

    /// Makes (series, field) the open stream.
    fn enter(&mut self, series: SeriesId, field: FieldId, field_type: FieldType, first_ns: i64) -> Result<()> {
        if let Some(open) = &self.stream {
            let order = (open.series, open.field).cmp(&(series, field));
            if order.is_gt() {
                return Err(Error::invalid(format!(
                    "series {} field {} comes after series {} field {}",
                    series.0, field.0, open.series.0, open.field.0
                )));
            }
            if order.is_eq() && first_ns <= open.max_time_ns {
                return Err(Error::invalid(format!("times of series {} field {} do not ascend", series.0, field.0)));
            }
        }
        if self.named != Some(series) {
            return Err(Error::invalid(format!("series {} has points but no name", series.0)));
        }
        let key = (series.table(), field);
        let known = match self.field {
            Some((last, known)) if last == key => known,
            _ => *self.fields.entry(key).or_insert(field_type),
        };
        self.field = Some((key, known));
        if known != field_type {
            return Err(Error::invalid(format!(
                "field {} of table {} is {known}, not {field_type}",
                field.0,
                series.table().0
            )));
        }
        if self.stream.as_ref().is_some_and(|open| (open.series, open.field) == (series, field)) {
            return Ok(());
        }
        self.leave()?;
        self.names.write_full().map_err(|e| e.at(self.paths.series.display()))?;
        if self.index.streams() >= u64::from(u32::MAX) {
            return Err(Error::invalid("too many streams for a file"));
        }
        self.stream = Some(OpenStream {
            series,
            field,
            field_type,
            row_start: self.facts.rows,
            rows: 0,
            min_time_ns: first_ns,
            max_time_ns: first_ns,
            kind: None,
            fold: Fold::Empty,
        });
        if self.pending.field_type() != field_type {
            self.pending = Column::new(field_type);
        }
        Ok(())
    }

    /// Closes the open stream: its last run is sealed and its entry written.
    fn leave(&mut self) -> Result<()> {
        if self.stream.is_none() {
            return Ok(());
        }
        self.seal_pending()?;
        let Some(open) = self.stream.take() else { return Ok(()) };
        self.index.push(&StreamEntry {
            series: open.series,
            field: open.field,
            row_start: open.row_start,
            rows: open.rows as u32,
            min_time_ns: open.min_time_ns,
            max_time_ns: open.max_time_ns,
            kind: open.kind.unwrap_or(StreamKind::Plain(open.field_type)),
            stats: open.fold.finish(),
        });
        let facts = &mut self.facts;
        facts.rows += open.rows;
        facts.min_time_ns = facts.min_time_ns.min(open.min_time_ns);
        facts.max_time_ns = facts.max_time_ns.max(open.max_time_ns);
        Ok(())
    }

    /// Cuts rows into runs. A run's end depends on the stream and the row group alone, never on the pieces.
    fn append(
        &mut self,
        series: SeriesId,
        field: FieldId,
        times_ns: &[i64],
        values: &Column,
        all: Range<usize>,
    ) -> Result<()> {
        let mut from = all.start;
        while from < all.end {
            let room = self.options.run_rows.min(self.options.row_group_rows - self.group.rows());
            let take = (room - self.pending_times_ns.len()).min(all.end - from);
            let rows = from..from + take;
            if take == room {
                let kind = self.group.push(series, field, times_ns, values, rows);
                self.sealed(kind.into())?;
            } else {
                self.pending_times_ns.extend_from_slice(&times_ns[rows.clone()]);
                self.pending.extend_from(values, rows);
                if self.pending_times_ns.len() == room {
                    self.seal_pending()?;
                }
            }
            from += take;
        }
        Ok(())
    }

    fn seal_pending(&mut self) -> Result<()> {
        let (Some(stream), rows @ 1..) = (&self.stream, self.pending_times_ns.len()) else { return Ok(()) };
        let kind = self.group.push(stream.series, stream.field, &self.pending_times_ns, &self.pending, 0..rows);
        self.pending_times_ns.clear();
        clear(&mut self.pending);
        self.sealed(kind.into())
    }

    fn sealed(&mut self, run: StreamKind) -> Result<()> {
        let stream = self.stream.as_mut().expect("runs are sealed inside a stream");
        stream.kind = Some(stream.kind.map_or(run, |kind| kind.join(run)));
        if self.group.rows() >= self.options.row_group_rows
            || self.group.text_bytes() >= self.options.row_group_text_bytes
        {
            let unit = self.options.time_unit.unwrap_or(TimeUnit::Nanosecond);
            self.write_group(unit)?;
        }
        Ok(())
    }

    fn write_group(&mut self, unit: TimeUnit) -> Result<()> {
        let file = match std::mem::replace(&mut self.points, Points::Closed) {
            Points::Waiting(output) => {
                let properties = layout::properties(self.options.compression, self.options.page_rows)?;
                let file = SerializedFileWriter::new(output, layout::schema(unit)?, properties);
                Ok((Box::new(file.map_err(write_error)?), unit))
            }
            Points::Open(file, unit) => Ok((file, unit)),
            Points::Closed => Err(Error::internal("the points file is closed")),
        };
        let (mut file, unit) = file?;
        let written = self.group.write(&mut file, unit, self.options.compression, self.options.page_rows);
        self.points = Points::Open(file, unit);
        written.map_err(|e| write_error(e).at(self.paths.points.display()))
    }

    fn close_points(&mut self) -> Result<()> {
        if self.group.rows() > 0 {
            let unit = self.options.time_unit.unwrap_or_else(|| self.group.time_unit());
            if matches!(self.points, Points::Waiting(_)) && self.group.rows() < SMALL_FILE_ROWS {
                self.options.compression = PageCompression::Snappy;
            }
            self.write_group(unit)?;
        }
        let Points::Open(mut file, unit) = std::mem::replace(&mut self.points, Points::Closed) else {
            return Err(Error::internal("a file with rows was never opened"));
        };
        let result = self.write_footer(&mut file, unit);
        result.map_err(|e| e.at(self.paths.points.display()))
    }

    fn write_footer(&mut self, file: &mut SerializedFileWriter<Output>, unit: TimeUnit) -> Result<()> {
        let facts = &mut self.facts;
        facts.time_unit = unit;
        let pairs = [
            ("rhythmite.version", FORMAT_VERSION.to_string()),
            ("rhythmite.level", facts.level.to_string()),
            ("rhythmite.seq", facts.seq.to_string()),
            ("rhythmite.min_time_ns", facts.min_time_ns.to_string()),
            ("rhythmite.max_time_ns", facts.max_time_ns.to_string()),
        ];
        for (key, value) in pairs {
            file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        facts.footer_start = file.bytes_written() as u64;
        let metadata = file.finish().map_err(write_error)?;
        let written = file.inner_mut().sync()?;
        facts.points = written.into();
        let on_disk = file.inner_mut().file().clone();
        let mut buffer = Vec::new();
        let mut crc = |from: u64, len: u64| -> Result<u32> {
            buffer.resize(len as usize, 0);
            on_disk.read_exact_at(&mut buffer, from)?;
            Ok(crc32c::crc32c(&buffer))
        };
        facts.footer_crc = crc(facts.footer_start, written.len - facts.footer_start)?;
        for (offset, len) in pages(&metadata)? {
            self.pages.offset.push(offset);
            self.pages.crc.push(crc(offset, len)?);
        }
        Ok(())
    }

    fn checked_fields<'a>(&self, rows: impl IntoIterator<Item = FieldRow<'a>>) -> Result<Vec<FieldRow<'a>>> {
        let mut missing = self.fields.clone();
        let mut kept = Vec::new();
        for row in rows {
            match missing.remove(&(row.table, row.id)) {
                Some(field_type) if field_type == row.field_type => kept.push(row),
                Some(field_type) => {
                    return Err(Error::invalid(format!(
                        "field {} is {}, its points are {field_type}",
                        row.name, row.field_type
                    )));
                }
                None => {}
            }
        }
        match missing.keys().next() {
            Some((table, field)) => {
                Err(Error::invalid(format!("field {} of table {} has points but no name", field.0, table.0)))
            }
            None => Ok(kept),
        }
    }
}

impl Drop for SstWriter {
    fn drop(&mut self) {
        if !self.published {
            // Close the file first. What cannot be removed is an orphan, which the catalogue's sweep finds.
            self.points = Points::Closed;
            for path in self.paths.all() {
                let _ = self.env.fs.remove(&temporary(path));
            }
        }
    }
}

impl From<Written> for FileCheck {
    fn from(written: Written) -> Self {
        Self { len: written.len, crc: written.crc }
    }
}

/// Empties a column; its memory stays for the next rows.
pub(super) fn clear(column: &mut Column) {
    match column {
        Column::Float(v) => v.clear(),
        Column::Integer(v) => v.clear(),
        Column::Unsigned(v) => v.clear(),
        Column::Boolean(v) => v.clear(),
        Column::String(v) => *v = rhythmite_model::Strings::default(),
    }
}

/// Offset and length of every page, ascending: dictionaries, which the offset index leaves out, lie in front.
pub(super) fn pages(metadata: &ParquetMetaData) -> Result<Vec<(u64, u64)>> {
    let offsets = metadata.offset_index().ok_or_else(|| Error::internal("the writer made no offset index"))?;
    let mut pages = Vec::new();
    for (group, offsets) in metadata.row_groups().iter().zip(offsets) {
        for (chunk, offsets) in group.columns().iter().zip(offsets) {
            let (start, _) = chunk.byte_range();
            let locations = offsets.page_locations();
            if let Some(first) = locations.first().map(|page| page.offset as u64)
                && first > start
            {
                pages.push((start, first - start));
            }
            pages.extend(locations.iter().map(|page| (page.offset as u64, page.compressed_page_size as u64)));
        }
    }
    Ok(pages)
}
