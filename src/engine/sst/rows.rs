//! One row group in memory, and how it becomes Parquet columns.
//!
//! Rows come as sealed runs: one stream, at most a run's length, all values in one column (floats in `m` and `e`, or
//! in `f`). So series, field, exponent and null masks are kept once a run and expanded page by page when written.

use std::io::Write;
use std::ops::Range;

use parquet::column::writer::{ColumnWriter, ColumnWriterImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use rhythmite_model::{Column, FieldId, FieldType, SeriesId};

use super::chunk::{ChunkWriter, Compressor};
use super::decimal;
use super::layout::{PageCompression, TimeUnit, column};

/// How the values of one run are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// `m / 10^e`.
    Decimal(u8),
    /// In the column of the type (floats in `f`).
    Plain(FieldType),
}

impl RunKind {
    /// Position of the value column.
    fn column(self) -> usize {
        match self {
            RunKind::Decimal(_) => column::M,
            RunKind::Plain(FieldType::Float) => column::F,
            RunKind::Plain(FieldType::Integer) => column::I,
            RunKind::Plain(FieldType::Unsigned) => column::U,
            RunKind::Plain(FieldType::Boolean) => column::B,
            RunKind::Plain(FieldType::String) => column::S,
        }
    }
}

struct Run {
    series: SeriesId,
    field: FieldId,
    rows: usize,
    kind: RunKind,
}

/// The rows of one row group, until they are written.
pub struct RowGroup {
    runs: Vec<Run>,
    times_ns: Vec<i64>,
    m: Vec<i64>,
    f: Vec<f64>,
    i: Vec<i64>,
    u: Vec<i64>,
    s: Vec<ByteArray>,
    s_bytes: usize,
    b: Vec<bool>,
}

impl RowGroup {
    /// An empty group, with room for the times and decimals of so many rows.
    pub fn for_rows(rows: usize) -> Self {
        Self {
            runs: Vec::new(),
            times_ns: Vec::with_capacity(rows),
            m: Vec::with_capacity(rows),
            f: Vec::new(),
            i: Vec::new(),
            u: Vec::new(),
            s: Vec::new(),
            s_bytes: 0,
            b: Vec::new(),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.times_ns.len()
    }

    /// Memory that the texts hold, in bytes.
    pub fn text_bytes(&self) -> usize {
        self.s_bytes
    }

    /// The coarsest unit of all times.
    pub fn time_unit(&self) -> TimeUnit {
        TimeUnit::of(&self.times_ns)
    }

    /// Appends rows `rows` of a piece of one stream as one run, and says how its values are stored.
    pub fn push(
        &mut self,
        series: SeriesId,
        field: FieldId,
        times_ns: &[i64],
        values: &Column,
        rows: std::ops::Range<usize>,
    ) -> RunKind {
        let count = rows.len();
        self.times_ns.extend_from_slice(&times_ns[rows.clone()]);
        let kind = match values {
            Column::Float(v) => match decimal::encode(&v[rows.clone()], &mut self.m) {
                Some(e) => RunKind::Decimal(e),
                None => {
                    self.f.extend_from_slice(&v[rows]);
                    RunKind::Plain(FieldType::Float)
                }
            },
            Column::Integer(v) => {
                self.i.extend_from_slice(&v[rows]);
                RunKind::Plain(FieldType::Integer)
            }
            Column::Unsigned(v) => {
                self.u.extend(v[rows].iter().map(|x| *x as i64));
                RunKind::Plain(FieldType::Unsigned)
            }
            Column::Boolean(v) => {
                self.b.extend_from_slice(&v[rows]);
                RunKind::Plain(FieldType::Boolean)
            }
            Column::String(v) => {
                for row in rows {
                    let text = v.get(row);
                    self.s_bytes += text.len() + size_of::<ByteArray>();
                    self.s.push(ByteArray::from(text));
                }
                RunKind::Plain(FieldType::String)
            }
        };
        match self.runs.last_mut() {
            // Short runs of one kind join, so that expanding them stays cheap.
            Some(last) if last.series == series && last.field == field && last.kind == kind => last.rows += count,
            _ => self.runs.push(Run { series, field, rows: count, kind }),
        }
        kind
    }

    /// Writes the rows as one row group, pages of `page_rows`, and empties the buffer. A column without a value is one
    /// page.
    ///
    /// Every time must be a multiple of `unit`.
    pub fn write<W: Write + Send>(
        &mut self,
        file: &mut SerializedFileWriter<W>,
        unit: TimeUnit,
        compression: PageCompression,
        page_rows: usize,
    ) -> Result<(), ParquetError> {
        let columns = file.schema_descr().columns().to_vec();
        let mut compressor = Compressor::new(compression)?;
        let mut group = file.next_row_group()?;
        for (c, column) in columns.into_iter().enumerate() {
            if self.is_empty(c) {
                let mut chunk = ChunkWriter::new(column, &mut compressor, false);
                chunk.nulls(self.rows())?;
                append(&mut group, chunk)?;
            } else if matches!(c, column::F | column::S | column::B) {
                let missing = || ParquetError::General(format!("column {c} is not of the points layout"));
                let mut writer = group.next_column()?.ok_or_else(missing)?;
                match (c, writer.untyped()) {
                    (column::F, ColumnWriter::DoubleColumnWriter(w)) => self.write_values(c, page_rows, &self.f, w)?,
                    (column::S, ColumnWriter::ByteArrayColumnWriter(w)) => {
                        self.write_values(c, page_rows, &self.s, w)?
                    }
                    (column::B, ColumnWriter::BoolColumnWriter(w)) => self.write_values(c, page_rows, &self.b, w)?,
                    _ => return Err(missing()),
                }
                writer.close()?;
            } else {
                let mut chunk = ChunkWriter::new(column, &mut compressor, c == column::TIME);
                self.write_integers(c, unit, page_rows, &mut chunk)?;
                append(&mut group, chunk)?;
            }
        }
        group.close()?;
        self.clear();
        Ok(())
    }

    /// Whether no row has a value in a column.
    fn is_empty(&self, position: usize) -> bool {
        match position {
            column::M | column::E => self.m.is_empty(),
            column::F => self.f.is_empty(),
            column::I => self.i.is_empty(),
            column::U => self.u.is_empty(),
            column::S => self.s.is_empty(),
            column::B => self.b.is_empty(),
            _ => false,
        }
    }

    fn write_integers(
        &self,
        position: usize,
        unit: TimeUnit,
        page_rows: usize,
        chunk: &mut ChunkWriter<'_>,
    ) -> Result<(), ParquetError> {
        match position {
            column::SERIES => self.expand(page_rows, |run| run.series.0 as i64, |page| chunk.integers(page, None)),
            column::FIELD => self.expand(page_rows, |run| i64::from(run.field.0), |page| chunk.integers(page, None)),
            column::TIME => {
                let mut page = Vec::with_capacity(page_rows);
                let pages = if chunk.finds_repetitions() {
                    self.time_pages(page_rows)
                } else {
                    whole(page_rows, 0..self.rows())
                };
                pages.into_iter().try_for_each(|rows| {
                    page.clear();
                    unit.count(&self.times_ns[rows], &mut page);
                    chunk.integers(&page, None)
                })
            }
            column::E => self.write_exponents(page_rows, chunk),
            column::M => self.write_present(position, page_rows, &self.m, chunk),
            column::I => self.write_present(position, page_rows, &self.i, chunk),
            column::U => self.write_present(position, page_rows, &self.u, chunk),
            _ => Err(ParquetError::General(format!("column {position} does not hold integers"))),
        }
    }

    /// The rows of each page of times: `page_rows` of them, but where streams of a series repeat times that are no steps, so
    /// many streams that the compressor sees what repeats.
    fn time_pages(&self, page_rows: usize) -> Vec<Range<usize>> {
        let (mut pages, mut from) = (Vec::new(), 0);
        for family in self.families() {
            let rows = family.streams * family.rows;
            let together = page_rows * SHARED_PAGES / family.rows;
            if rows <= page_rows || together < 2 || !family.is_irregular(&self.times_ns) {
                continue;
            }
            pages.extend(whole(page_rows, from..family.start));
            from = family.start + rows;
            pages.extend(whole(together * family.rows, family.start..from));
        }
        pages.extend(whole(page_rows, from..self.rows()));
        pages
    }

    /// Streams of one series that have the same times, at least two and one behind the other, in order.
    fn families(&self) -> Vec<Family> {
        let (mut families, mut start) = (Vec::<Family>::new(), 0);
        let mut before: Option<(SeriesId, Range<usize>, bool)> = None;
        for runs in self.runs.chunk_by(|a, b| (a.series, a.field) == (b.series, b.field)) {
            let rows = start..start + runs.iter().map(|run| run.rows).sum::<usize>();
            start = rows.end;
            let series = runs[0].series;
            let repeats = before.as_ref().is_some_and(|(of, before, _)| {
                *of == series && self.times_ns[before.clone()] == self.times_ns[rows.clone()]
            });
            match (repeats, before, families.last_mut()) {
                (true, Some((_, _, true)), Some(family)) => family.streams += 1,
                (true, Some((_, before, false)), _) => {
                    families.push(Family { start: before.start, rows: rows.len(), streams: 2 });
                }
                _ => {}
            }
            before = Some((series, rows, repeats));
        }
        families
    }

    fn clear(&mut self) {
        self.runs.clear();
        self.times_ns.clear();
        self.m.clear();
        self.f.clear();
        self.i.clear();
        self.u.clear();
        self.s.clear();
        self.s_bytes = 0;
        self.b.clear();
    }

    /// Gives `write` a value for every row, one page at a time; `value` is asked once a run.
    fn expand<T: Copy>(
        &self,
        page_rows: usize,
        value: impl Fn(&Run) -> T,
        mut write: impl FnMut(&[T]) -> Result<(), ParquetError>,
    ) -> Result<(), ParquetError> {
        let mut page = Vec::with_capacity(page_rows);
        for run in &self.runs {
            let (value, mut rows) = (value(run), run.rows);
            while rows > 0 {
                let take = rows.min(page_rows - page.len());
                page.resize(page.len() + take, value);
                rows -= take;
                if page.len() == page_rows {
                    write(&page)?;
                    page.clear();
                }
            }
        }
        if page.is_empty() { Ok(()) } else { write(&page) }
    }

    fn write_exponents(&self, page_rows: usize, chunk: &mut ChunkWriter<'_>) -> Result<(), ParquetError> {
        const NONE: i64 = -1;
        let mut values = Vec::with_capacity(page_rows);
        let mut levels = Vec::with_capacity(page_rows);
        let exponent = |run: &Run| match run.kind {
            RunKind::Decimal(e) => i64::from(e),
            RunKind::Plain(_) => NONE,
        };
        self.expand(page_rows, exponent, |page| {
            values.clear();
            values.extend(page.iter().filter(|e| **e != NONE));
            levels.clear();
            levels.extend(page.iter().map(|e| i16::from(*e != NONE)));
            chunk.integers(&values, Some(&levels))
        })
    }

    /// Writes one column of integers: `values` are those of its runs, all other rows are null.
    fn write_present(
        &self,
        position: usize,
        page_rows: usize,
        values: &[i64],
        chunk: &mut ChunkWriter<'_>,
    ) -> Result<(), ParquetError> {
        self.paged(position, page_rows, |present, levels| chunk.integers(&values[present], Some(levels)))
    }

    /// Writes one other value column: `values` are those of its runs, all other rows are null.
    fn write_values<T: DataType>(
        &self,
        position: usize,
        page_rows: usize,
        values: &[T::T],
        writer: &mut ColumnWriterImpl<'_, T>,
    ) -> Result<(), ParquetError> {
        self.paged(position, page_rows, |present, levels| {
            writer.write_batch(&values[present], Some(levels), None).map(drop)
        })
    }

    /// Gives `write` the levels of each page and which of the column's values are in it.
    fn paged(
        &self,
        position: usize,
        page_rows: usize,
        mut write: impl FnMut(Range<usize>, &[i16]) -> Result<(), ParquetError>,
    ) -> Result<(), ParquetError> {
        let mut from = 0;
        self.expand(
            page_rows,
            |run| i16::from(run.kind.column() == position),
            |levels| {
                let present = levels.iter().filter(|level| **level == 1).count();
                from += present;
                write(from - present..from, levels)
            },
        )
    }
}

/// Pages of times, as long as usual, that one page with repeated times may be instead.
const SHARED_PAGES: usize = 16;

/// Streams with the same times.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Family {
    /// First row of the first.
    start: usize,
    /// Of each.
    rows: usize,
    streams: usize,
}

impl Family {
    /// Whether a good part of the times are no steps of one length: what is, takes next to nothing however often it is there.
    fn is_irregular(&self, times_ns: &[i64]) -> bool {
        let times = &times_ns[self.start..self.start + self.rows];
        let odd = times.windows(3).filter(|t| t[1].wrapping_sub(t[0]) != t[2].wrapping_sub(t[1])).count();
        odd > self.rows / 4
    }
}

/// Cuts rows into pages of `page_rows`.
fn whole(page_rows: usize, rows: Range<usize>) -> Vec<Range<usize>> {
    rows.clone().step_by(page_rows).map(|start| start..rows.end.min(start + page_rows)).collect()
}

/// Puts a chunk into the file.
pub(super) fn append<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    chunk: ChunkWriter<'_>,
) -> Result<(), ParquetError> {
    let (bytes, close) = chunk.close()?;
    group.append_column(&bytes, close)
}
