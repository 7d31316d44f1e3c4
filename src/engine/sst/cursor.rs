//! Reads rows of streams, in file order, with decoders that stay open from one stream to the next.
//!
//! Opening a column costs more than decoding a page of it (a decompressor is built), so a cursor keeps one decoder per
//! column and skips forward. Going back is allowed and costs a new decoder.

use std::ops::{Range, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parquet::column::reader::{ColumnReaderImpl, get_column_reader};
use parquet::data_type::{BoolType, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::file::serialized_reader::SerializedPageReader;
use rhythmite_model::{Column, Error, FieldType, Result};

use super::index::{StreamEntry, StreamKind};
use super::ints::IntReader;
use super::layout::column;
use super::reader::PointsFile;
use super::{decimal, read_error};
use crate::sums::{Cut, WindowSum, rows_before};

/// A reading position in one SST; for one thread.
pub struct SstCursor {
    sst: Arc<PointsFile>,
    time: Ints,
    m: Ints,
    e: Decoder<Int32Type>,
    f: Decoder<DoubleType>,
    i: Ints,
    u: Ints,
    s: Decoder<ByteArrayType>,
    b: Decoder<BoolType>,
    scratch: Scratch,
}

/// Memory used again from one read to the next.
#[derive(Default)]
struct Scratch {
    levels: Vec<i16>,
    ints: Vec<i64>,
    exponents: Vec<i32>,
    floats: Vec<f64>,
}

impl SstCursor {
    pub(super) fn new(sst: Arc<PointsFile>) -> Self {
        Self {
            time: Ints::new(column::TIME, sst.time_unit.ns()),
            sst,
            m: Ints::new(column::M, 1),
            e: Decoder::new(column::E),
            f: Decoder::new(column::F),
            i: Ints::new(column::I, 1),
            u: Ints::new(column::U, 1),
            s: Decoder::new(column::S),
            b: Decoder::new(column::B),
            scratch: Scratch::default(),
        }
    }

    /// Appends the rows of `entry` (one of this file's) that lie in `range_ns`, both ends included. Entries ascending:
    /// cheap; going back reopens columns.
    ///
    /// # Errors
    /// `Invalid`: `out` is of another type than the stream, or its texts would pass 4 GiB. `Corrupt`: damage; the
    /// message names the file. `Unavailable`: disk. After an error the outputs hold an unspecified number of rows, and
    /// the cursor may be used again.
    pub fn read(
        &mut self,
        entry: &StreamEntry,
        range_ns: RangeInclusive<i64>,
        times_ns: &mut Vec<i64>,
        out: &mut Column,
    ) -> Result<()> {
        if out.field_type() != entry.field_type() {
            return Err(Error::invalid(format!("a {} stream read as {}", entry.field_type(), out.field_type())));
        }
        if range_ns.is_empty() || !entry.overlaps(&range_ns) {
            return Ok(());
        }
        let sst = self.sst.clone();
        self.read_rows(&sst, entry, &range_ns, times_ns, out).map_err(|e| match e.kind() {
            rhythmite_model::ErrorKind::Invalid => e,
            _ => e.at(sst.path.display()),
        })
    }

    /// The rows of `entry` among which those in `range_ns` are, by the page index.
    pub fn rows_in(&self, entry: &StreamEntry, range_ns: &RangeInclusive<i64>) -> Range<u64> {
        let rows = entry.row_start..entry.row_start.saturating_add(u64::from(entry.rows));
        if range_ns.is_empty() || !entry.overlaps(range_ns) {
            return rows.start..rows.start;
        }
        let whole = entry.min_time_ns >= *range_ns.start() && entry.max_time_ns <= *range_ns.end();
        if whole { rows } else { self.sst.narrow(rows, *range_ns.start(), *range_ns.end()) }
    }

    /// Whether pages that are read go into the cache of pages.
    pub fn keep_pages(&mut self, keeps: bool) {
        for column in [&mut self.time, &mut self.m, &mut self.i, &mut self.u] {
            column.own.keeps = keeps;
        }
    }

    /// Appends these rows of `entry`, counted from the start of the file.
    ///
    /// # Errors
    /// See [`SstCursor::read`]; `Invalid` too for rows of another stream.
    pub fn read_exactly(
        &mut self,
        entry: &StreamEntry,
        rows: Range<u64>,
        times_ns: &mut Vec<i64>,
        out: &mut Column,
    ) -> Result<()> {
        let count = rows.end.saturating_sub(rows.start) as i64;
        if let Some((first, step)) = self.read_even(entry, rows, times_ns, out)? {
            times_ns.extend((0..count).map(|at| first.wrapping_add(step.wrapping_mul(at))));
        }
        Ok(())
    }

    /// The same, but times that are even steps are not appended: the first is returned, and the step.
    ///
    /// # Errors
    /// See [`SstCursor::read_exactly`].
    pub fn read_even(
        &mut self,
        entry: &StreamEntry,
        rows: Range<u64>,
        times_ns: &mut Vec<i64>,
        out: &mut Column,
    ) -> Result<Option<(i64, i64)>> {
        let end = entry.row_start.checked_add(u64::from(entry.rows)).filter(|end| *end <= self.sst.rows());
        if out.field_type() != entry.field_type()
            || rows.start < entry.row_start
            || end.is_none_or(|end| rows.end > end)
        {
            return Err(Error::invalid("rows of another stream"));
        }
        let sst = self.sst.clone();
        let mut read = || {
            let even = self.time.own.even(&sst, rows.clone())?;
            if even.is_none() {
                self.read_times(&sst, rows.clone(), times_ns)?;
            }
            self.read_values(&sst, entry.kind, rows.clone(), out)?;
            Ok(even)
        };
        read().map_err(|e: Error| match e.kind() {
            rhythmite_model::ErrorKind::Invalid => e,
            _ => e.at(sst.path.display()),
        })
    }

    /// Gives the sums of the integers of `entry` in a range by windows, ascending. False, with nothing given, if they are no
    /// integers, if their times are not known as runs of even steps, or if pages are not of the usual form.
    ///
    /// # Errors
    /// See [`SstCursor::read_exactly`].
    pub(crate) fn sums(
        &mut self,
        entry: &StreamEntry,
        range_ns: &RangeInclusive<i64>,
        cut: &Cut,
        out: &mut Vec<WindowSum>,
    ) -> Result<bool> {
        let rows = self.rows_in(entry, range_ns);
        if entry.kind != StreamKind::Plain(FieldType::Integer) || rows.end > self.sst.rows() {
            return Ok(false);
        }
        let (sst, before) = (self.sst.clone(), out.len());
        let mut sum_up = || {
            let mut from = rows.start;
            while from < rows.end {
                let Some((first_ns, step_ns, count)) = self.time.own.even_run(&sst, from..rows.end)? else {
                    return Ok(false);
                };
                let even = (first_ns, step_ns);
                let mut row = rows_before(*range_ns.start(), even, 0, count);
                let to = range_ns.end().checked_add(1).map_or(count, |end_ns| rows_before(end_ns, even, row, count));
                while row < to {
                    let (window_ns, end_ns) = cut(even.0.wrapping_add(even.1.wrapping_mul(row as i64)));
                    let next = rows_before(end_ns, even, row + 1, to);
                    let Some(sum) = self.i.own.sum(&sst, from + row..from + next)? else { return Ok(false) };
                    let goes_on = out.len() > before;
                    match out.last_mut() {
                        Some(last) if goes_on && last.window_ns == window_ns => {
                            last.count += next - row;
                            last.sum = last.sum.wrapping_add(sum);
                        }
                        _ => out.push(WindowSum { window_ns, count: next - row, sum }),
                    }
                    row = next;
                }
                from += count;
            }
            Ok(true)
        };
        let done = sum_up().map_err(|e: Error| e.at(sst.path.display()))?;
        if !done {
            out.truncate(before);
        }
        Ok(done)
    }

    /// Appends the times of the rows of `entry` that lie in `range_ns`, without reading a value.
    ///
    /// # Errors
    /// See [`SstCursor::read`].
    pub fn read_times_in(
        &mut self,
        entry: &StreamEntry,
        range_ns: RangeInclusive<i64>,
        times_ns: &mut Vec<i64>,
    ) -> Result<()> {
        if range_ns.is_empty() || !entry.overlaps(&range_ns) {
            return Ok(());
        }
        let sst = self.sst.clone();
        let read = self.read_rows_in(&sst, entry, &range_ns, times_ns);
        read.map(drop).map_err(|e| match e.kind() {
            rhythmite_model::ErrorKind::Invalid => e,
            _ => e.at(sst.path.display()),
        })
    }

    /// Closes all columns: what they hold (a page each) is freed, the next read opens them again.
    pub fn rest(&mut self) {
        let keeps = self.time.own.keeps;
        *self = Self::new(self.sst.clone());
        self.keep_pages(keeps);
    }

    /// All rows of `entry`.
    ///
    /// # Errors
    /// See [`SstCursor::read`].
    pub fn read_all(&mut self, entry: &StreamEntry, times_ns: &mut Vec<i64>, out: &mut Column) -> Result<()> {
        self.read(entry, i64::MIN..=i64::MAX, times_ns, out)
    }

    fn read_rows(
        &mut self,
        sst: &PointsFile,
        entry: &StreamEntry,
        range_ns: &RangeInclusive<i64>,
        times_ns: &mut Vec<i64>,
        out: &mut Column,
    ) -> Result<()> {
        let rows = self.read_rows_in(sst, entry, range_ns, times_ns)?;
        if rows.is_empty() { Ok(()) } else { self.read_values(sst, entry.kind, rows, out) }
    }

    /// Appends the times of the rows in `range_ns`; says which rows those are.
    fn read_rows_in(
        &mut self,
        sst: &PointsFile,
        entry: &StreamEntry,
        range_ns: &RangeInclusive<i64>,
        times_ns: &mut Vec<i64>,
    ) -> Result<Range<u64>> {
        let end = entry.row_start.checked_add(u64::from(entry.rows)).filter(|end| *end <= sst.rows());
        let end = end.ok_or_else(|| Error::invalid("a stream of another file"))?;
        let mut rows = entry.row_start..end;
        let before = times_ns.len();
        let (start_ns, end_ns) = (*range_ns.start(), *range_ns.end());
        let whole = entry.min_time_ns >= start_ns && entry.max_time_ns <= end_ns;
        if !whole {
            rows = sst.narrow(rows, start_ns, end_ns);
        }
        self.read_times(sst, rows.clone(), times_ns)?;
        if !whole {
            let fresh = &times_ns[before..];
            let from = fresh.partition_point(|t| *t < start_ns);
            let to = fresh.partition_point(|t| *t <= end_ns);
            rows = rows.start + from as u64..rows.start + to as u64;
            times_ns.truncate(before + to);
            times_ns.drain(before..before + from);
        }
        Ok(rows)
    }

    fn read_times(&mut self, sst: &PointsFile, rows: Range<u64>, times_ns: &mut Vec<i64>) -> Result<()> {
        let before = times_ns.len();
        if !self.time.own.read(sst, rows.clone(), times_ns)? {
            self.time.foreign.read(sst, rows, None, times_ns)?;
            let unit_ns = sst.time_unit.ns();
            times_ns[before..].iter_mut().for_each(|t| *t = t.wrapping_mul(unit_ns));
        }
        Ok(())
    }

    fn read_values(&mut self, sst: &PointsFile, kind: StreamKind, rows: Range<u64>, out: &mut Column) -> Result<()> {
        let scratch = &mut self.scratch;
        match (kind, out) {
            (StreamKind::Decimal(e), Column::Float(out)) => {
                scratch.ints.clear();
                self.m.read_present(sst, rows, &mut scratch.levels, &mut scratch.ints)?;
                if decimal::decode(&scratch.ints, e, out) { Ok(()) } else { Err(Error::corrupt("an unknown exponent")) }
            }
            (StreamKind::Mixed, Column::Float(out)) => self.read_mixed(sst, rows, out),
            (StreamKind::Plain(FieldType::Float), Column::Float(out)) => {
                self.f.read_present(sst, rows, &mut scratch.levels, out)
            }
            (StreamKind::Plain(FieldType::Integer), Column::Integer(out)) => {
                self.i.read_present(sst, rows, &mut scratch.levels, out)
            }
            (StreamKind::Plain(FieldType::Unsigned), Column::Unsigned(out)) => {
                scratch.ints.clear();
                self.u.read_present(sst, rows, &mut scratch.levels, &mut scratch.ints)?;
                out.extend(scratch.ints.iter().map(|x| *x as u64));
                Ok(())
            }
            (StreamKind::Plain(FieldType::Boolean), Column::Boolean(out)) => {
                self.b.read_present(sst, rows, &mut scratch.levels, out)
            }
            (StreamKind::Plain(FieldType::String), Column::String(out)) => {
                let mut texts = Vec::with_capacity((rows.end - rows.start) as usize);
                self.s.read_present(sst, rows, &mut scratch.levels, &mut texts)?;
                for text in &texts {
                    let text = text.as_utf8().map_err(read_error)?;
                    if !out.has_room(text.len()) {
                        return Err(Error::invalid(
                            "more than 4 GiB of text in one read: ask for a shorter time range",
                        ));
                    }
                    out.push(text);
                }
                Ok(())
            }
            _ => Err(Error::internal("the output's type was tested against the stream's")),
        }
    }

    /// Rows of runs of different kinds: where a row has an exponent its value is decimal, elsewhere it is in `f`.
    fn read_mixed(&mut self, sst: &PointsFile, rows: Range<u64>, out: &mut Vec<f64>) -> Result<()> {
        let scratch = &mut self.scratch;
        scratch.ints.clear();
        scratch.exponents.clear();
        scratch.floats.clear();
        scratch.levels.clear();
        self.m.foreign.read(sst, rows.clone(), Some(&mut scratch.levels), &mut scratch.ints)?;
        scratch.levels.clear();
        self.f.read(sst, rows.clone(), Some(&mut scratch.levels), &mut scratch.floats)?;
        scratch.levels.clear();
        self.e.read(sst, rows, Some(&mut scratch.levels), &mut scratch.exponents)?;
        let present = scratch.exponents.len();
        if scratch.ints.len() != present || scratch.floats.len() + present != scratch.levels.len() {
            return Err(Error::corrupt("a row has both or neither of m and f"));
        }
        let mut decimals = scratch.ints.iter().zip(&scratch.exponents);
        let mut floats = scratch.floats.iter();
        out.reserve(scratch.levels.len());
        for level in &scratch.levels {
            let value = if *level == 0 {
                floats.next().copied()
            } else {
                decimals.next().and_then(|(m, e)| decimal::decode_one(*m, u8::try_from(*e).ok()?))
            };
            out.push(value.ok_or_else(|| Error::corrupt("an unknown exponent"))?);
        }
        Ok(())
    }
}

/// A column of integers: pages of our own are read by ourselves, all others as any column.
struct Ints {
    own: IntReader,
    foreign: Decoder<Int64Type>,
}

impl Ints {
    /// Of a column of which our own pages count in `unit`.
    fn new(column: usize, unit: i64) -> Self {
        Self { own: IntReader::new(column, unit), foreign: Decoder::new(column) }
    }

    /// Appends the values of `rows`, none of which may be null.
    fn read_present(
        &mut self,
        sst: &PointsFile,
        rows: Range<u64>,
        levels: &mut Vec<i16>,
        out: &mut Vec<i64>,
    ) -> Result<()> {
        if self.own.read(sst, rows.clone(), out)? {
            return Ok(());
        }
        self.foreign.read_present(sst, rows, levels, out)
    }
}

/// What a decoder of Parquet gives; of damaged pages that no checksum kept from it, it is known to panic.
fn decoded<T>(read: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T> {
    let read = catch_unwind(AssertUnwindSafe(read)).map_err(|_| Error::corrupt("cannot be decoded"))?;
    read.map_err(read_error)
}

/// The decoder of one column, wherever it stands.
pub(super) struct Decoder<T: DataType> {
    column: usize,
    open: Option<Open<T>>,
}

struct Open<T: DataType> {
    group: usize,
    /// Rows of the group that are behind.
    row: u64,
    reader: ColumnReaderImpl<T>,
}

impl<T: DataType> Decoder<T> {
    pub(super) fn new(column: usize) -> Self {
        Self { column, open: None }
    }

    /// Appends the values of `rows`, none of which may be null.
    fn read_present(
        &mut self,
        sst: &PointsFile,
        rows: Range<u64>,
        levels: &mut Vec<i16>,
        out: &mut Vec<T::T>,
    ) -> Result<()> {
        let expected = out.len() as u64 + (rows.end - rows.start);
        levels.clear();
        self.read(sst, rows, Some(levels), out)?;
        if out.len() as u64 == expected { Ok(()) } else { Err(Error::corrupt("a value is missing")) }
    }

    /// Appends what is not null of `rows` to `out`, and a level per row to `levels` if the column is optional.
    pub(super) fn read(
        &mut self,
        sst: &PointsFile,
        rows: Range<u64>,
        mut levels: Option<&mut Vec<i16>>,
        out: &mut Vec<T::T>,
    ) -> Result<()> {
        let mut row = rows.start;
        while row < rows.end {
            let group = sst.group_start.partition_point(|start| *start <= row) - 1;
            let (group_start, group_end) = (sst.group_start[group], sst.group_start[group + 1]);
            let count = (rows.end.min(group_end) - row) as usize;
            // An error leaves the decoder somewhere: a later read opens another.
            let mut open = match self.open.take() {
                Some(open) if open.group == group && open.row <= row - group_start => open,
                _ => Open { group, row: 0, reader: open_column(sst, group, self.column)? },
            };
            let skip = (row - group_start - open.row) as usize;
            if skip > 0 && decoded(|| open.reader.skip_records(skip))? != skip {
                return Err(Error::corrupt("a column chunk ends early"));
            }
            let read = decoded(|| open.reader.read_records(count, levels.as_deref_mut(), None, out))?;
            if read.0 != count {
                return Err(Error::corrupt("a column chunk ends early"));
            }
            row += count as u64;
            open.row = row - group_start;
            self.open = Some(open);
        }
        Ok(())
    }
}

fn open_column<T: DataType>(sst: &PointsFile, group: usize, column: usize) -> Result<ColumnReaderImpl<T>> {
    let metadata = sst.metadata.row_group(group);
    let rows = (sst.group_start[group + 1] - sst.group_start[group]) as usize;
    let offsets = sst.metadata.offset_index().ok_or_else(|| Error::internal("open requires the offset index"))?;
    let locations = offsets[group][column].page_locations().clone();
    let chunk = metadata.column(column);
    let pages = SerializedPageReader::new(sst.source.clone(), chunk, rows, Some(locations)).map_err(read_error)?;
    let reader = get_column_reader(chunk.column_descr_ptr(), Box::new(pages));
    T::get_column_reader(reader).ok_or_else(|| Error::corrupt("a column of another type"))
}
