//! The exact index of one file, in memory: a row range, a time range and aggregates for every stream.
//!
//! Columns, not objects: a million streams are about a dozen vectors. Streams are in file order, (series, field), so
//! the streams of a series are a range, found by binary search among the distinct series. A file of many streams is
//! read in pieces, whole series each; a [`Piece`] says which.

use std::ops::{Range, RangeInclusive};

use rhythmite_model::{FieldId, FieldType, FieldValue, SeriesId};

use super::layout::TimeUnit;
use super::rows::RunKind;
use super::stats::{Aggregates, RawStats};

/// What one stream takes in memory, but for its series.
const STREAM_BYTES: usize = 2 + 8 + 8 + 8 + 1 + 1 + 4 + 5 * 8;

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

    /// What no sum of some of its integers is farther from zero than; `None` for other types.
    pub(crate) fn sum_bound(&self) -> Option<u128> {
        match self.aggregates()? {
            Aggregates { min: FieldValue::Integer(min), max: FieldValue::Integer(max), .. } => {
                Some(u128::from(min.unsigned_abs().max(max.unsigned_abs())) * u128::from(self.rows))
            }
            _ => None,
        }
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

/// Where one piece of the index is and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Least series.
    pub first: u64,
    /// Greatest series.
    pub last: u64,
    /// Number of distinct series, at least 1.
    pub series: u32,
    /// Number of streams.
    pub streams: u32,
    /// First row of the first stream.
    pub row_start: u64,
}

/// The index of a file that is being written or made again: all of its streams at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    /// The file.
    pub facts: FileFacts,
    /// Its streams.
    pub streams: Streams,
    /// Its pages.
    pub pages: Pages,
}

impl Index {
    /// An index without streams.
    pub fn new(facts: FileFacts) -> Self {
        Self { facts, streams: Streams::new(0), pages: Pages::default() }
    }
}

/// Pages of the points file, dictionaries too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pages {
    /// Offset of each, ascending.
    pub offset: Vec<u64>,
    /// CRC-32C of each, header included.
    pub crc: Vec<u32>,
}

/// Streams that follow each other in a file, of whole series. Columns of one group are equally long.
#[derive(Clone, Debug, PartialEq)]
pub struct Streams {
    /// Distinct series, ascending.
    pub series: Vec<u64>,
    /// First stream of each series, and the number of streams at the end.
    pub first_stream: Vec<u32>,
    /// Per stream.
    pub field: Vec<u16>,
    /// First row of each stream, and the row behind the last one at the end.
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
}

impl Streams {
    /// None yet; the first will begin at this row.
    pub fn new(row_start: u64) -> Self {
        Self {
            series: Vec::new(),
            first_stream: vec![0],
            field: Vec::new(),
            row_start: vec![row_start],
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
        }
    }

    /// Number of streams.
    pub fn len(&self) -> usize {
        self.field.len()
    }

    /// Appends a stream behind the last one; its `row_start` must be where that one ends.
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

    /// Takes the first `series` series away.
    pub(super) fn forget(&mut self, series: usize) {
        let streams = self.first_stream[series] as usize;
        self.series.drain(..series);
        self.first_stream.drain(..series);
        self.first_stream.iter_mut().for_each(|stream| *stream -= streams as u32);
        self.field.drain(..streams);
        self.row_start.drain(..streams);
        for times in [&mut self.min_time_ns, &mut self.max_time_ns] {
            times.drain(..streams);
        }
        for bytes in [&mut self.kind, &mut self.overflow] {
            bytes.drain(..streams);
        }
        self.nans.drain(..streams);
        for bits in [&mut self.sum, &mut self.min, &mut self.max, &mut self.first, &mut self.last] {
            bits.drain(..streams);
        }
    }

    /// Position of the first series that is not below `series`, looking from position `from` on.
    pub fn seek(&self, from: usize, series: SeriesId) -> usize {
        let ids = &self.series;
        // Gallop: a scan visits series in order, so the answer is mostly near.
        let (mut low, mut step) = (from, 1);
        while low + step < ids.len() && ids[low + step] < series.0 {
            low += step;
            step *= 2;
        }
        let high = (low + step + 1).min(ids.len());
        low + ids[low.min(high)..high].partition_point(|id| *id < series.0)
    }

    /// Positions of the streams of the series at a position among the distinct ones.
    pub fn range_at(&self, position: usize) -> Range<usize> {
        self.first_stream[position] as usize..self.first_stream[position + 1] as usize
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
        (0..self.series.len()).flat_map(move |at| {
            let series = SeriesId(self.series[at]);
            self.range_at(at).map(move |i| self.entry(series, i))
        })
    }

    /// Memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.series.capacity() * 8 + self.first_stream.capacity() * 4 + self.field.capacity() * STREAM_BYTES
    }
}
