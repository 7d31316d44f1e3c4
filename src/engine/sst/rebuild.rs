//! An index made anew from its points file, and names files from the registry.
//!
//! Nothing vouches for a points file whose index is lost but the checksum that the catalogue keeps: it is that of the
//! index's header, on which the checksums of all four files hang. The index of undamaged files comes out byte for byte
//! as it was, so the caller compares, and whatever differs is damage somewhere. The rows are decoded by another way than
//! queries take: by arrow, without an index.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    Float64Type, Int8Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    UInt16Type, UInt64Type,
};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use rhythmite_env::{Env, File};
use rhythmite_model::{Column, Error, FieldId, FieldType, Result, SeriesId, TableId};

use super::index::{FileCheck, FileFacts, Index, StreamEntry, StreamKind};
use super::layout::{self, FORMAT_VERSION, TimeUnit, column};
use super::names::{self, FieldRow};
use super::names_read::Whole;
use super::output::{publish, temporary};
use super::reader::INDEX_BYTES_MAX;
use super::series_file::SeriesFile;
use super::stats::{Fold, RawStats};
use super::verify::checksum;
use super::writer::pages;
use super::{SstPaths, decimal, places, read_error};
use super::{index_codec, index_writer};

/// Rows decoded at a time.
const BATCH_ROWS: usize = 8192;

/// Longest page that is read.
const PAGE_BYTES_MAX: u64 = 1 << 30;

/// An index that lacks only what it says of the names files.
pub(crate) struct Rebuilt {
    index: Index,
}

impl Rebuilt {
    /// Reads the whole points file.
    ///
    /// # Errors
    /// `Corrupt`: it cannot be read, or is no points file. `Unavailable`: disk.
    pub(crate) fn read(env: &Env, paths: &SstPaths) -> Result<Self> {
        let whole = Whole::open(env, &paths.points).map_err(|e| e.at(paths.points.display()))?;
        // Decoders of damaged pages, which no checksum kept from them, are known to panic.
        let read = catch_unwind(AssertUnwindSafe(|| read(whole)));
        let read = read.unwrap_or_else(|_| Err(Error::corrupt("cannot be decoded")));
        read.map(|index| Self { index }).map_err(|e| e.at(paths.points.display()))
    }

    /// The index that is there.
    ///
    /// # Errors
    /// `Corrupt`: it is missing or damaged. `Unavailable`: disk.
    pub(crate) fn from_index(env: &Env, paths: &SstPaths) -> Result<(Self, u32)> {
        let path = &paths.index;
        let bytes = env.fs.read(path, INDEX_BYTES_MAX).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::corrupt("is missing").at(path.display()),
            _ => Error::from(e).at(path.display()),
        })?;
        let (index, checksum) = index_codec::decode(&bytes).map_err(|e| e.at(path.display()))?;
        Ok((Self { index }, checksum))
    }

    /// The bytes of the index beside names files of these lengths and checksums, and its checksum.
    pub(crate) fn encode(&mut self, series: FileCheck, fields: FileCheck) -> (Vec<u8>, u32) {
        (self.index.facts.series, self.index.facts.fields) = (series, fields);
        let encoded = index_writer::encode(&self.index);
        (encoded.bytes, encoded.checksum)
    }

    /// Distinct series, ascending.
    pub(crate) fn series(&self) -> &[u64] {
        &self.index.streams.series
    }

    /// Every field of every table that has points, ascending.
    pub(crate) fn fields(&self) -> Vec<(TableId, FieldId, FieldType)> {
        let mut fields: Vec<_> =
            self.index.streams.entries().map(|entry| (entry.series.table(), entry.field, entry.field_type())).collect();
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    /// What the file says of itself.
    pub(crate) fn facts(&self) -> &FileFacts {
        &self.index.facts
    }
}

/// A names file on disk or under its temporary name.
pub(crate) struct NamesFile {
    /// Its length and checksum.
    pub(crate) check: FileCheck,
}

impl NamesFile {
    /// The file as it is on disk; `None` if it cannot be read.
    pub(crate) fn on_disk(env: &Env, path: &Path) -> Option<Self> {
        let file = env.fs.open(path).ok()?;
        let len = file.len().ok()?;
        Some(Self { check: FileCheck { len, crc: checksum(&file, len).ok()? } })
    }

    /// Makes a series file durable under its temporary name.
    ///
    /// # Errors
    /// `Unavailable` for the disk.
    pub(crate) fn series(mut file: SeriesFile) -> Result<Self> {
        Ok(Self { check: file.close()?.into() })
    }

    /// Writes a fields file under its temporary name.
    ///
    /// # Errors
    /// `Unavailable` for the disk.
    pub(crate) fn fields(env: &Env, path: &Path, rows: &[FieldRow<'_>]) -> Result<Self> {
        Ok(Self { check: names::write_fields(env, path, rows)?.into() })
    }

    /// Gives the written file its name; the caller syncs the directory.
    ///
    /// # Errors
    /// `Unavailable` for the disk.
    pub(crate) fn publish(env: &Env, path: &Path) -> Result<()> {
        publish(env, path)
    }

    /// Removes what was written and is not wanted.
    pub(crate) fn discard(env: &Env, path: &Path) {
        // What stays is an orphan.
        let _ = env.fs.remove(&temporary(path));
    }
}

fn read(whole: Whole) -> Result<Index> {
    let (file, len) = (whole.file.clone(), whole.len);
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let loaded = ArrowReaderMetadata::load(&whole, options).map_err(read_error)?;
    let metadata = loaded.metadata().clone();
    places::check(&metadata, len)?;
    let facts = facts(&metadata, FileCheck { len, crc: checksum(&file, len)? })?;
    let mut rows = Rows { index: Index::new(facts), open: None };
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(whole, loaded).with_batch_size(BATCH_ROWS);
    for batch in reader.build().map_err(read_error)? {
        rows.push(&Batch::new(&batch.map_err(|e| Error::corrupt(e.to_string()))?, facts.time_unit)?)?;
    }
    let mut index = rows.finish()?;
    add_pages(&mut index, &metadata, &*file)?;
    Ok(index)
}

fn facts(metadata: &ParquetMetaData, points: FileCheck) -> Result<FileFacts> {
    let schema = metadata.file_metadata().schema();
    let units = [TimeUnit::Nanosecond, TimeUnit::Microsecond, TimeUnit::Millisecond];
    let unit = units.into_iter().find(|unit| layout::schema(*unit).is_ok_and(|known| *known == *schema));
    let time_unit = unit.ok_or_else(|| Error::corrupt("its columns are not those of the points layout"))?;
    let pairs = metadata.file_metadata().key_value_metadata();
    let value = |key: &str| pairs.into_iter().flatten().find(|pair| pair.key == key)?.value.as_deref();
    let number = |key: &str| value(key).and_then(|text| text.parse::<u64>().ok());
    let missing = |key: &str| Error::corrupt(format!("its metadata have no {key}"));
    if number("rhythmite.version") != Some(u64::from(FORMAT_VERSION)) {
        return Err(Error::corrupt("not of a version that this program reads"));
    }
    let level = number("rhythmite.level").and_then(|n| u8::try_from(n).ok()).ok_or_else(|| missing("level"))?;
    let seq = number("rhythmite.seq").ok_or_else(|| missing("seq"))?;
    let (series, fields) = Default::default();
    Ok(FileFacts {
        rows: 0,
        min_time_ns: i64::MAX,
        max_time_ns: i64::MIN,
        seq,
        level,
        time_unit,
        points,
        footer_start: 0,
        footer_crc: 0,
        series,
        fields,
    })
}

/// Pages and footer: where they are, and their checksums.
fn add_pages(index: &mut Index, metadata: &ParquetMetaData, file: &dyn File) -> Result<()> {
    let len = index.facts.points.len;
    let mut buffer = Vec::new();
    let mut crc = |from: u64, bytes: u64| -> Result<u32> {
        if bytes > PAGE_BYTES_MAX || from.checked_add(bytes).is_none_or(|end| end > len) {
            return Err(Error::corrupt(format!("{bytes} bytes at offset {from} reach behind the file")));
        }
        buffer.resize(bytes as usize, 0);
        file.read_exact_at(&mut buffer, from)?;
        Ok(crc32c::crc32c(&buffer))
    };
    let mut end = 0;
    for (offset, bytes) in pages(metadata)? {
        if offset < end {
            return Err(Error::corrupt("pages overlap"));
        }
        index.pages.offset.push(offset);
        index.pages.crc.push(crc(offset, bytes)?);
        end = offset + bytes;
    }
    index.facts.footer_start = end;
    index.facts.footer_crc = crc(end, len.saturating_sub(end))?;
    Ok(())
}

/// One batch's columns.
struct Batch {
    series: Vec<u64>,
    field: Vec<u16>,
    times_ns: Vec<i64>,
    columns: Vec<ArrayRef>,
}

impl Batch {
    fn new(batch: &RecordBatch, unit: TimeUnit) -> Result<Self> {
        let columns = batch.columns().to_vec();
        let wrong = || Error::corrupt("a column of another type");
        let times = &columns[column::TIME];
        let times = match unit {
            TimeUnit::Nanosecond => times.as_primitive_opt::<TimestampNanosecondType>().map(|t| t.values().to_vec()),
            TimeUnit::Microsecond => times.as_primitive_opt::<TimestampMicrosecondType>().map(|t| t.values().to_vec()),
            TimeUnit::Millisecond => times.as_primitive_opt::<TimestampMillisecondType>().map(|t| t.values().to_vec()),
        };
        let series = columns[column::SERIES].as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?.values().to_vec();
        let field = columns[column::FIELD].as_primitive_opt::<UInt16Type>().ok_or_else(wrong)?.values().to_vec();
        let times_ns = times.ok_or_else(wrong)?.into_iter().map(|t| t.wrapping_mul(unit.ns())).collect();
        Ok(Self { series, field, times_ns, columns })
    }

    fn has(&self, column: usize, row: usize) -> bool {
        self.columns[column].is_valid(row)
    }

    /// Where the value of a row is; exactly one column has it.
    fn kind(&self, row: usize) -> Result<StreamKind> {
        let plain = [
            (column::F, FieldType::Float),
            (column::I, FieldType::Integer),
            (column::U, FieldType::Unsigned),
            (column::S, FieldType::String),
            (column::B, FieldType::Boolean),
        ];
        let mut kinds = plain.iter().filter(|(c, _)| self.has(*c, row)).map(|(_, kind)| StreamKind::Plain(*kind));
        let (first, second) = (kinds.next(), kinds.next());
        match (first, second, self.has(column::M, row), self.has(column::E, row)) {
            (Some(kind), None, false, false) => Ok(kind),
            (None, None, true, true) => {
                let e = self.columns[column::E].as_primitive_opt::<Int8Type>().map(|e| e.value(row));
                let kind = e.and_then(|e| u8::try_from(e).ok()).and_then(StreamKind::from_code);
                kind.filter(|kind| matches!(kind, StreamKind::Decimal(_)))
                    .ok_or_else(|| Error::corrupt("an unknown exponent"))
            }
            _ => Err(Error::corrupt("a row without a value, or with two")),
        }
    }

    /// Appends the value of a row to a column of its type.
    fn value(&self, row: usize, kind: StreamKind, out: &mut Column) -> Result<()> {
        let wrong = || Error::corrupt("a column of another type");
        let ints = |c: usize| self.columns[c].as_primitive_opt::<Int64Type>().map(|v| v.value(row)).ok_or_else(wrong);
        match (kind, out) {
            (StreamKind::Decimal(e), Column::Float(out)) => {
                out.push(decimal::decode_one(ints(column::M)?, e).ok_or_else(wrong)?);
            }
            (_, Column::Float(out)) => {
                out.push(self.columns[column::F].as_primitive_opt::<Float64Type>().ok_or_else(wrong)?.value(row));
            }
            (_, Column::Integer(out)) => out.push(ints(column::I)?),
            (_, Column::Unsigned(out)) => {
                out.push(self.columns[column::U].as_primitive_opt::<UInt64Type>().ok_or_else(wrong)?.value(row));
            }
            (_, Column::Boolean(out)) => {
                out.push(self.columns[column::B].as_boolean_opt().ok_or_else(wrong)?.value(row));
            }
            // Of texts nothing is kept in the index.
            (_, Column::String(out)) => out.push(""),
        }
        Ok(())
    }
}

/// Rows become streams.
struct Rows {
    index: Index,
    open: Option<(StreamEntry, Fold)>,
}

impl Rows {
    fn push(&mut self, batch: &Batch) -> Result<()> {
        let mut row = 0;
        while row < batch.series.len() {
            let stream = (SeriesId(batch.series[row]), FieldId(batch.field[row]));
            let same = |at: &usize| (batch.series[*at], batch.field[*at]) == (stream.0.0, stream.1.0);
            let rows = row..(row..batch.series.len()).find(|at| !same(at)).unwrap_or(batch.series.len());
            row = rows.end;
            self.part(stream, batch, rows)?;
        }
        Ok(())
    }

    /// Rows of one stream, new or open.
    fn part(
        &mut self,
        (series, field): (SeriesId, FieldId),
        batch: &Batch,
        rows: std::ops::Range<usize>,
    ) -> Result<()> {
        let at = |what: &str| Error::corrupt(what.to_owned()).at(format!("series {} field {}", series.0, field.0));
        let first_kind = batch.kind(rows.start)?;
        let mut goes_on = false;
        if let Some((open, _)) = &self.open {
            match (open.series, open.field).cmp(&(series, field)) {
                std::cmp::Ordering::Less => self.close(),
                std::cmp::Ordering::Equal => goes_on = true,
                std::cmp::Ordering::Greater => return Err(at("comes after a later one")),
            }
        }
        let first_ns = batch.times_ns[rows.start];
        if !goes_on {
            let row_start = self.index.facts.rows;
            let entry = StreamEntry {
                series,
                field,
                row_start,
                rows: 0,
                min_time_ns: first_ns,
                max_time_ns: first_ns,
                kind: first_kind,
                stats: RawStats::default(),
            };
            self.open = Some((entry, Fold::Empty));
        }
        let Some((open, fold)) = &mut self.open else { return Err(Error::internal("a stream is open")) };
        if goes_on && first_ns <= open.max_time_ns || !batch.times_ns[rows.clone()].windows(2).all(|w| w[0] < w[1]) {
            return Err(at("times do not ascend"));
        }
        let mut values = Column::with_capacity(open.field_type(), rows.len());
        for row in rows.clone() {
            let kind = batch.kind(row)?;
            if kind.field_type() != open.field_type() {
                return Err(at("values of two types"));
            }
            open.kind = open.kind.join(kind);
            batch.value(row, kind, &mut values)?;
        }
        fold.push(&values, 0..values.len());
        open.max_time_ns = batch.times_ns[rows.end - 1];
        open.rows =
            u32::try_from(rows.len()).ok().and_then(|n| open.rows.checked_add(n)).ok_or_else(|| at("too long"))?;
        Ok(())
    }

    fn close(&mut self) {
        let Some((mut entry, fold)) = self.open.take() else { return };
        entry.stats = fold.finish();
        self.index.streams.push(&entry);
        let facts = &mut self.index.facts;
        facts.rows += u64::from(entry.rows);
        facts.min_time_ns = facts.min_time_ns.min(entry.min_time_ns);
        facts.max_time_ns = facts.max_time_ns.max(entry.max_time_ns);
    }

    fn finish(mut self) -> Result<Index> {
        self.close();
        if self.index.facts.rows == 0 { Err(Error::corrupt("has no row")) } else { Ok(self.index) }
    }
}
