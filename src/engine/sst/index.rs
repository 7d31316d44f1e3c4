//! The exact index of one file, in memory: a row range, a time range and aggregates for every stream.
//!
//! Columns, not objects: a million streams are about a dozen vectors. Streams are in file order, (series, field), so
//! the streams of a series are a range, found by binary search among the distinct series.

use std::ops::{Range, RangeInclusive};

use rhythmite_model::{FieldId, FieldType, SeriesId};

use super::layout::TimeUnit;
use super::rows::RunKind;
use super::stats::{Aggregates, RawStats};

/// Which value columns a stream uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Floats, every run `m / 10^e` with this `e`.
    Decimal(u8),
    /// Floats; runs differ, `m`, `e` and `f` must be looked at.
    Mixed,
    /// All values in the column of the type (floats in `f`).
    Plain(FieldType),
}

impl StreamKind {
    /// The type of the values.
    pub fn field_type(self) -> FieldType {
        match self {
            StreamKind::Decimal(_) | StreamKind::Mixed => FieldType::Float,
            StreamKind::Plain(field_type) => field_type,
        }
    }

    /// The kind of a stream that so far was `self` and goes on with a run of kind `run`.
    pub fn join(self, run: StreamKind) -> StreamKind {
        if self == run { self } else { StreamKind::Mixed }
    }

    /// As one byte: below 32 an exponent, 32 mixed, from 64 on a type.
    pub fn code(self) -> u8 {
        match self {
            StreamKind::Decimal(e) => e,
            StreamKind::Mixed => 32,
            StreamKind::Plain(field_type) => 64 + field_type as u8,
        }
    }

    /// The kind of this byte.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0..=crate::decimal::EXPONENT_MAX => Some(StreamKind::Decimal(code)),
            32 => Some(StreamKind::Mixed),
            64.. => FieldType::from_code(code - 64).map(StreamKind::Plain),
            _ => None,
        }
    }
}

impl From<RunKind> for StreamKind {
    fn from(run: RunKind) -> Self {
        match run {
            RunKind::Decimal(e) => StreamKind::Decimal(e),
            RunKind::Plain(field_type) => StreamKind::Plain(field_type),
        }
    }
}

/// One stream of one file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamEntry {
    /// The series.
    pub series: SeriesId,
    /// The field.
    pub field: FieldId,
    /// First row in the points file.
    pub row_start: u64,
    /// Number of rows, at least 1.
    pub rows: u32,
    /// Time of the first row.
    pub min_time_ns: i64,
    /// Time of the last row.
    pub max_time_ns: i64,
    /// Where the values are.
    pub kind: StreamKind,
    pub(super) stats: RawStats,
}

impl StreamEntry {
    /// The type of the values.
    pub fn field_type(&self) -> FieldType {
        self.kind.field_type()
    }

    /// Aggregates over all rows; `None` for texts.
    pub fn aggregates(&self) -> Option<Aggregates> {
        self.stats.typed(self.field_type(), self.rows)
    }

    /// Whether any row may lie in `range_ns`.
    pub fn overlaps(&self, range_ns: &RangeInclusive<i64>) -> bool {
        self.min_time_ns <= *range_ns.end() && self.max_time_ns >= *range_ns.start()
    }
}

/// A file that the index vouches for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCheck {
    /// Length in bytes.
    pub len: u64,
    /// CRC-32C of the whole file.
    pub crc: u32,
}

/// What holds for the file as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Number of rows.
    pub rows: u64,
    /// Earliest time.
    pub min_time_ns: i64,
    /// Latest time.
    pub max_time_ns: i64,
    /// Order among files: of two points with the same series, field and time that of the higher `seq` wins.
    pub seq: u64,
    /// Compaction level.
    pub level: u8,
    /// Unit of the time column.
    pub time_unit: TimeUnit,
    /// The points file.
    pub points: FileCheck,
    /// Where its footer (page index and metadata) starts.
    pub footer_start: u64,
    /// CRC-32C from there to the end.
    pub footer_crc: u32,
    /// The series file.
    pub series: FileCheck,
    /// The fields file.
    pub fields: FileCheck,
}

/// The index. Columns of one group are equally long.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    /// The file.
    pub facts: FileFacts,
    /// Distinct series, ascending.
    pub series: Vec<u64>,
    /// First stream of each series, and the number of streams at the end.
    pub first_stream: Vec<u32>,
    /// Per stream.
    pub field: Vec<u16>,
    /// First row of each stream, and the number of rows at the end.
    pub row_start: Vec<u64>,
    /// Per stream.
    pub min_time_ns: Vec<i64>,
    /// Per stream.
    pub max_time_ns: Vec<i64>,
    /// Per stream, see [`StreamKind::code`].
    pub kind: Vec<u8>,
    /// Per stream.
    pub overflow: Vec<u8>,
    /// Per stream.
    pub nans: Vec<u32>,
    /// Per stream.
    pub sum: Vec<u64>,
    /// Per stream.
    pub min: Vec<u64>,
    /// Per stream.
    pub max: Vec<u64>,
    /// Per stream.
    pub first: Vec<u64>,
    /// Per stream.
    pub last: Vec<u64>,
    /// Offset of every page (dictionaries too) of the points file, ascending.
    pub page_offset: Vec<u64>,
    /// CRC-32C of each page, header included.
    pub page_crc: Vec<u32>,
}

impl Index {
    /// An index without streams.
    pub fn new(facts: FileFacts) -> Self {
        Self {
            facts,
            series: Vec::new(),
            first_stream: vec![0],
            field: Vec::new(),
            row_start: vec![0],
            min_time_ns: Vec::new(),
            max_time_ns: Vec::new(),
            kind: Vec::new(),
            overflow: Vec::new(),
            nans: Vec::new(),
            sum: Vec::new(),
            min: Vec::new(),
            max: Vec::new(),
            first: Vec::new(),
            last: Vec::new(),
            page_offset: Vec::new(),
            page_crc: Vec::new(),
        }
    }

    /// Number of streams.
    pub fn streams(&self) -> usize {
        self.field.len()
    }

    /// Appends a stream behind the last one; its `row_start` must be the number of rows so far.
    pub fn push(&mut self, entry: &StreamEntry) {
        debug_assert_eq!(self.row_start.last(), Some(&entry.row_start));
        if self.series.last() != Some(&entry.series.0) {
            self.series.push(entry.series.0);
            self.first_stream.push(self.field.len() as u32);
        }
        self.field.push(entry.field.0);
        *self.first_stream.last_mut().expect("an index always has the end of its last series") =
            self.field.len() as u32;
        self.row_start.push(entry.row_start + u64::from(entry.rows));
        self.min_time_ns.push(entry.min_time_ns);
        self.max_time_ns.push(entry.max_time_ns);
        self.kind.push(entry.kind.code());
        self.overflow.push(u8::from(entry.stats.overflow));
        self.nans.push(entry.stats.nans);
        self.sum.push(entry.stats.sum);
        self.min.push(entry.stats.min);
        self.max.push(entry.stats.max);
        self.first.push(entry.stats.first);
        self.last.push(entry.stats.last);
    }

    /// Positions of the streams of a series.
    pub fn range_of(&self, series: SeriesId) -> Range<usize> {
        match self.series.binary_search(&series.0) {
            Ok(i) => self.first_stream[i] as usize..self.first_stream[i + 1] as usize,
            Err(_) => 0..0,
        }
    }

    /// Position of one stream.
    pub fn find(&self, series: SeriesId, field: FieldId) -> Option<usize> {
        let range = self.range_of(series);
        self.field[range.clone()].binary_search(&field.0).ok().map(|i| range.start + i)
    }

    /// Stream `i`, which belongs to `series`.
    pub fn entry(&self, series: SeriesId, i: usize) -> StreamEntry {
        StreamEntry {
            series,
            field: FieldId(self.field[i]),
            row_start: self.row_start[i],
            rows: (self.row_start[i + 1] - self.row_start[i]) as u32,
            min_time_ns: self.min_time_ns[i],
            max_time_ns: self.max_time_ns[i],
            kind: StreamKind::from_code(self.kind[i]).expect("kinds are tested when an index is read"),
            stats: RawStats {
                nans: self.nans[i],
                overflow: self.overflow[i] != 0,
                sum: self.sum[i],
                min: self.min[i],
                max: self.max[i],
                first: self.first[i],
                last: self.last[i],
            },
        }
    }

    /// Every stream, in file order.
    pub fn entries(&self) -> impl Iterator<Item = StreamEntry> + '_ {
        self.entries_from(0)
    }

    /// Every stream of the series at position `from` (among the distinct ones) and behind it, in file order.
    pub fn entries_from(&self, from: usize) -> impl Iterator<Item = StreamEntry> + '_ {
        (from..self.series.len()).flat_map(move |s| {
            let streams = self.first_stream[s] as usize..self.first_stream[s + 1] as usize;
            streams.map(move |i| self.entry(SeriesId(self.series[s]), i))
        })
    }

    /// Memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.series.capacity() * 8
            + self.first_stream.capacity() * 4
            + self.field.capacity() * (2 + 8 + 8 + 8 + 1 + 1 + 4 + 5 * 8)
            + self.page_offset.capacity() * 12
    }
}
