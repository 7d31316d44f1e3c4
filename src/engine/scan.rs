//! Reading: the sources of a table (blocks in memory, files) walked together, series by series.

use std::cell::Cell;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use rhythmite_model::{Column, FieldId, Result, SeriesId};

use crate::decoded::Decoded;
use crate::deletes::{Delete, Deletes, is_gone};
use crate::file_run::{FileRun, Keep, Wanted};
use crate::files::LiveFile;
use crate::memtable::{Block, Part};
use crate::merge::{Piece, join, set_apart};
use crate::overlap::{self, Span};
use crate::sums::{Summing, WindowSum};

/// Which series a scan returns.
#[derive(Clone, Debug)]
pub enum SeriesFilter {
    /// Those of a range of ids (a table's ids are one range).
    Range(RangeInclusive<SeriesId>),
    /// These; ascending, each once.
    List(Arc<[SeriesId]>),
}

/// One field's points of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// The field.
    pub field: FieldId,
    /// Ascending, each once.
    pub times_ns: Vec<i64>,
    /// As many values.
    pub values: Column,
}

/// One series' points.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesPoints {
    /// The series.
    pub series: SeriesId,
    /// By field, ascending; none of them empty.
    pub streams: Vec<Stream>,
}

/// One series' points where they are, for whoever folds them: nothing is copied unless sources overlap in time.
pub struct SeriesPieces {
    series: SeriesId,
    /// By field, ascending; the pieces of each are apart and ascend in time, none of them empty.
    pieces: Vec<(FieldId, Piece)>,
    /// By field and window, ascending; of points that are in no piece.
    sums: Vec<(FieldId, WindowSum)>,
}

/// Some of a stream's points.
#[derive(Clone, Debug)]
pub struct Stretch<'a> {
    /// Ascending.
    pub times_ns: &'a [i64],
    /// As many values.
    pub values: &'a Column,
    /// Those of both that are meant.
    pub rows: Range<usize>,
}

impl SeriesPieces {
    /// Of no series yet: room for [`Scan::next_into`].
    pub fn room() -> Self {
        Self { series: SeriesId(0), pieces: Vec::new(), sums: Vec::new() }
    }

    /// Puts the pieces in order, and makes those that overlap in time one.
    fn settle(&mut self) {
        self.sums.sort_by_key(|(field, sum)| (*field, sum.window_ns));
        self.pieces.sort_by_key(|(field, piece)| (*field, piece.times_ns()[0]));
        let apart = |w: &[(FieldId, Piece)]| w[0].0 != w[1].0 || w[0].1.times_ns().last() < w[1].1.times_ns().first();
        if self.pieces.windows(2).all(apart) {
            return;
        }
        let mut rest = std::mem::take(&mut self.pieces).into_iter().peekable();
        while let Some((field, first)) = rest.next() {
            let mut same = vec![first];
            same.extend(std::iter::from_fn(|| rest.next_if(|next| next.0 == field)).map(|next| next.1));
            set_apart(&mut same);
            self.pieces.extend(same.into_iter().map(|piece| (field, piece)));
        }
    }

    /// The series.
    pub fn series(&self) -> SeriesId {
        self.series
    }

    /// Each field, ascending, with its points in stretches that ascend in time.
    pub fn streams(&self) -> impl Iterator<Item = (FieldId, impl Iterator<Item = Stretch<'_>>)> {
        let streams = self.pieces.chunk_by(|a, b| a.0 == b.0);
        streams.map(|stream| (stream[0].0, stream.iter().map(|(_, piece)| piece.stretch())))
    }

    /// What [`Scan::summing`] gives instead of points: of each field, ascending, its sums, which ascend in time. One window may
    /// have several.
    pub fn sums(&self) -> impl Iterator<Item = (FieldId, &[(FieldId, WindowSum)])> {
        self.sums.chunk_by(|a, b| a.0 == b.0).map(|sums| (sums[0].0, sums))
    }

    /// The points of each field in one piece.
    pub fn into_points(self) -> SeriesPoints {
        let mut pieces = self.pieces.into_iter().peekable();
        let mut streams = Vec::new();
        while let Some((field, piece)) = pieces.next() {
            let (times_ns, values) = match pieces.peek() {
                Some(next) if next.0 == field => {
                    let mut same = vec![piece];
                    same.extend(std::iter::from_fn(|| pieces.next_if(|next| next.0 == field)).map(|next| next.1));
                    join(same)
                }
                _ => piece.into_points(),
            };
            streams.push(Stream { field, times_ns, values });
        }
        SeriesPoints { series: self.series, streams }
    }
}

impl From<SeriesPoints> for SeriesPieces {
    fn from(points: SeriesPoints) -> Self {
        let piece = |stream: Stream| {
            let Stream { field, times_ns, values } = stream;
            (field, Piece::Owned { rank: 0, times_ns, values })
        };
        let pieces = points.streams.into_iter().map(piece).collect();
        Self { series: points.series, pieces, sums: Vec::new() }
    }
}

/// Stretches of one series in which several sources have points, beyond which all from the first to the last are taken for one:
/// between two of them little is left to sum up.
const CONTESTED_MAX: usize = 8;

/// At most [`CONTESTED_MAX`] of them, or one that covers them all.
fn few(mut contested: Vec<Span>) -> Vec<Span> {
    if let (true, Some(last)) = (contested.len() > CONTESTED_MAX, contested.last().copied()) {
        contested.truncate(1);
        contested[0].1 = last.1;
    }
    contested
}

/// One sorted source.
enum Run {
    Memory(MemoryRun),
    File(Box<FileRun>),
}

struct MemoryRun {
    rank: u64,
    /// What a row's arrival counts from.
    base_seq: u64,
    head: u64,
    block: Arc<Block>,
    row: usize,
}

impl Run {
    /// A series that is not below `series` and not above the first such of the source. Calls ascend.
    fn seek(&mut self, series: SeriesId, wanted: &Wanted<'_>) -> Result<Option<SeriesId>> {
        match self {
            Run::Memory(run) => {
                let head = series.0 >> 32 << 32;
                if head > run.head {
                    return Ok(None);
                }
                let low = if head < run.head { 0 } else { series.0 as u32 };
                run.row = run.block.seek(run.row, low);
                let sequence = run.block.series().get(run.row);
                Ok(sequence.map(|&sequence| SeriesId(run.head | u64::from(sequence))))
            }
            Run::File(run) => run.seek(series, wanted),
        }
    }

    /// The first and the last time of `series`, which `seek` has just found, among what is asked for.
    fn span_of(&mut self, series: SeriesId, wanted: &Wanted<'_>) -> Result<Option<Span>> {
        match self {
            Run::Memory(run) => {
                let times = &run.block.times_ns()[run.block.series_rows(run.row)];
                Ok(times.first().copied().zip(times.last().copied()))
            }
            Run::File(run) => run.span_of(series, wanted),
        }
    }

    /// Adds the pieces of `series`, which `seek` has just found, to `out`, without what `deletes` (those of the series)
    /// take away.
    fn read(
        &mut self,
        series: SeriesId,
        wanted: &Wanted<'_>,
        deletes: &[&Delete],
        out: &mut Vec<(FieldId, Piece)>,
        sums: &mut Vec<(FieldId, WindowSum)>,
    ) -> Result<()> {
        match self {
            Run::Memory(run) => {
                let rows = run.block.series_rows(run.row);
                let times = &run.block.times_ns()[rows.clone()];
                let start = rows.start + times.partition_point(|t| t < wanted.within_ns.start());
                let end = rows.start + times.partition_point(|t| t <= wanted.within_ns.end());
                run.row = rows.end;
                if start >= end {
                    return Ok(());
                }
                let asked = |field: FieldId| wanted.fields.is_none_or(|f| f.binary_search(&field).is_ok());
                for (column, &(field, _)) in run.block.fields().iter().enumerate().filter(|(_, f)| asked(f.0)) {
                    let mut push = |rows: Range<usize>| {
                        let (rank, block) = (run.rank, run.block.clone());
                        out.push(match wanted.times_only(field) {
                            false => (field, Piece::Shared { rank, block, rows, column }),
                            true => {
                                let values = Column::Boolean(vec![true; rows.len()]);
                                (field, Piece::Owned { rank, times_ns: block.times_ns()[rows].to_vec(), values })
                            }
                        });
                    };
                    if deletes.is_empty() {
                        push(start..end);
                        continue;
                    }
                    let stays = |&row: &usize| {
                        let seq = run.base_seq + u64::from(run.block.arrivals()[row]);
                        !is_gone(deletes, seq, field, run.block.times_ns()[row])
                    };
                    let mut rows = (start..end).filter(stays).peekable();
                    while let Some(first) = rows.next() {
                        let mut last = first;
                        while let Some(next) = rows.next_if_eq(&(last + 1)) {
                            last = next;
                        }
                        push(first..last + 1);
                    }
                }
            }
            Run::File(run) => run.read(series, wanted, deletes, out, sums)?,
        }
        Ok(())
    }
}

/// A source, and where it is.
struct Source {
    run: Run,
    /// What its last seek gave.
    head: Option<SeriesId>,
    /// Whether there was one.
    sought: bool,
}

impl Source {
    fn new(run: Run) -> Self {
        Self { run, head: None, sought: false }
    }

    /// As [`Run::seek`]. Most sources are asked for most series in vain: one that is further on is not looked into.
    fn seek(&mut self, series: SeriesId, wanted: &Wanted<'_>) -> Result<Option<SeriesId>> {
        if !self.sought || self.head.is_some_and(|head| head < series) {
            (self.head, self.sought) = (self.run.seek(series, wanted)?, true);
        }
        Ok(self.head)
    }
}

/// Walks the series of all sources in ascending order; of each series gives the merged points of every field.
///
/// Synchronous and CPU-bound: run it on the CPU pool. Holds its blocks and files until dropped.
pub struct Scan {
    sources: Vec<Source>,
    /// How many of them are files.
    files: usize,
    deletes: Arc<Deletes>,
    /// Newer deletions are not applied.
    deletes_up_to: u64,
    /// Runs that other scans have decoded, and which of its own it may add.
    decoded: Option<Arc<Decoded>>,
    keep: Keep,
    /// What is not in memory as it is needed is an error.
    at_hand: bool,
    filter: SeriesFilter,
    fields: Option<Arc<[FieldId]>>,
    /// Of these only the times are not enough.
    values_of: Option<Arc<[FieldId]>>,
    summing: Option<Summing>,
    times_ns: RangeInclusive<i64>,
    /// Series below this are done; `None` when all are.
    next: Option<SeriesId>,
    /// Position in a [`SeriesFilter::List`].
    position: usize,
}

impl Scan {
    /// A scan of `filter` over the sources added next. `fields` ascend; `None` for all of them.
    pub(crate) fn new(filter: SeriesFilter, fields: Option<Arc<[FieldId]>>, times_ns: RangeInclusive<i64>) -> Self {
        let next = match &filter {
            SeriesFilter::Range(range) => Some(*range.start()),
            SeriesFilter::List(list) => list.first().copied(),
        };
        Self {
            sources: Vec::new(),
            files: 0,
            deletes: Arc::default(),
            deletes_up_to: 0,
            decoded: None,
            keep: Keep::Bytes(Cell::new(0)),
            at_hand: false,
            filter,
            fields,
            values_of: None,
            summing: None,
            times_ns,
            next,
            position: 0,
        }
    }

    /// Reads the values of these fields (ascending) only. Streams of others have their times, with `true` for every value: they
    /// say which rows there are.
    #[must_use]
    pub fn values_of(mut self, fields: Arc<[FieldId]>) -> Self {
        self.values_of = Some(fields);
        self
    }

    /// Gives sums by windows instead of points, see [`SeriesPieces::sums`], where that is less work and the same: of integers with
    /// even times in files, of a series of which nothing is deleted, where no other source has points of it. Everything else
    /// is given as points. Only what [`next_pieces`](Self::next_pieces) gives has sums.
    #[must_use]
    pub fn summing(mut self, summing: Summing) -> Self {
        self.summing = Some(summing);
        self
    }

    /// Leaves out what these deletions, up to number `up_to`, take away.
    pub(crate) fn without(mut self, deletes: Arc<Deletes>, up_to: u64) -> Self {
        (self.deletes, self.deletes_up_to) = (deletes, up_to);
        self
    }

    /// Uses what is decoded already, and keeps what it decodes.
    pub(crate) fn through(mut self, decoded: Arc<Decoded>) -> Self {
        self.keep = Keep::Bytes(Cell::new(decoded.scan_budget()));
        self.decoded = Some(decoded);
        self
    }

    /// Gives what is in memory as it is needed; anything else is `Unavailable`.
    pub(crate) fn at_hand(self, at_hand: bool) -> Self {
        Self { at_hand, ..self }
    }

    /// This is one of `scans` that read side by side for the same: each keeps as much less of what it decodes.
    #[must_use]
    pub fn one_of(self, scans: usize) -> Self {
        if let Keep::Bytes(left) = &self.keep {
            left.set(left.get() / scans.max(1));
        }
        self
    }

    /// It and those beside it read about so many bytes of decoded points. Of what the cache could not hold together, it keeps
    /// what there is room for and drives nothing out: it would be driven out itself before it is read again.
    #[must_use]
    pub fn of_bytes(self, bytes: usize) -> Self {
        let fits = self.decoded.as_ref().is_some_and(|decoded| bytes <= decoded.bytes_max());
        Self { keep: if fits { self.keep } else { Keep::Aside }, ..self }
    }

    /// Files that it reads.
    pub fn files(&self) -> usize {
        self.files
    }

    /// Adds rows in memory, of the generation that begins behind write `base_seq`. Ranks: a newer source has a larger
    /// one.
    pub(crate) fn add_part(&mut self, rank: u64, base_seq: u64, part: Part) {
        let run = MemoryRun { rank, base_seq, head: part.series_head, block: part.block, row: 0 };
        self.sources.push(Source::new(Run::Memory(run)));
    }

    /// Adds a file.
    pub(crate) fn add_file(&mut self, rank: u64, file: Arc<LiveFile>) {
        self.sources.push(Source::new(Run::File(Box::new(FileRun::new(rank, file, self.files, false)))));
        self.files += 1;
    }

    /// Adds a file from which deletions take nothing away.
    pub(crate) fn add_file_with_deleted(&mut self, rank: u64, file: Arc<LiveFile>) {
        self.sources.push(Source::new(Run::File(Box::new(FileRun::new(rank, file, self.files, true)))));
        self.files += 1;
    }

    /// The points of one series of the filter within `within_ns`, a part of the range of the scan. Calls ascend by series,
    /// and are not mixed with iteration.
    ///
    /// # Errors
    /// As iteration.
    pub fn points_of(&mut self, series: SeriesId, within_ns: &RangeInclusive<i64>) -> Result<SeriesPoints> {
        Ok(self.pieces_of(series, within_ns)?.into_points())
    }

    /// The same without putting the points together. None at all if the series has none there.
    ///
    /// # Errors
    /// As iteration.
    pub fn pieces_of(&mut self, series: SeriesId, within_ns: &RangeInclusive<i64>) -> Result<SeriesPieces> {
        let mut pieces = SeriesPieces::room();
        self.read(series, Some(within_ns), &mut pieces)?;
        Ok(pieces)
    }

    /// The next series, as iteration gives it, without putting its points together.
    ///
    /// # Errors
    /// As iteration; nothing follows an error.
    pub fn next_pieces(&mut self) -> Result<Option<SeriesPieces>> {
        let mut pieces = SeriesPieces::room();
        Ok(self.next_into(&mut pieces)?.then_some(pieces))
    }

    /// The same into room that is used again; false: there are no more.
    ///
    /// # Errors
    /// As iteration; nothing follows an error.
    pub fn next_into(&mut self, out: &mut SeriesPieces) -> Result<bool> {
        let found = self.advance(out);
        if found.is_err() {
            self.next = None;
        }
        found
    }

    fn advance(&mut self, out: &mut SeriesPieces) -> Result<bool> {
        while let Some(at_least) = self.next {
            let mut found = None;
            let Self { sources, files, filter, fields, times_ns, at_hand, .. } = self;
            let (within_ns, decoded, values_of) = (&*times_ns, None, None);
            let fields = fields.as_deref();
            let (files, at_hand) = (*files, *at_hand);
            let summing = None;
            let contested = &[];
            let wanted =
                Wanted { filter, fields, values_of, times_ns, within_ns, files, decoded, at_hand, summing, contested };
            for source in sources {
                let head = source.seek(at_least, &wanted)?;
                found = found.into_iter().chain(head).min();
            }
            let Some(found) = found else {
                self.next = None;
                break;
            };
            let series = match &self.filter {
                SeriesFilter::Range(range) => {
                    if found > *range.end() {
                        self.next = None;
                        break;
                    }
                    self.next = found.0.checked_add(1).map(SeriesId);
                    found
                }
                SeriesFilter::List(list) => {
                    // Skip the asked-for series that no source has.
                    self.position += list[self.position..].partition_point(|&s| s < found);
                    self.next = list.get(self.position).copied();
                    if self.next != Some(found) {
                        continue;
                    }
                    self.position += 1;
                    self.next = list.get(self.position).copied();
                    found
                }
            };
            self.read(series, None, out)?;
            if !out.pieces.is_empty() || !out.sums.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read(
        &mut self,
        series: SeriesId,
        within_ns: Option<&RangeInclusive<i64>>,
        out: &mut SeriesPieces,
    ) -> Result<()> {
        out.series = series;
        out.pieces.clear();
        out.sums.clear();
        let Self {
            sources,
            files,
            filter,
            fields,
            values_of,
            times_ns,
            deletes,
            deletes_up_to,
            decoded,
            keep,
            at_hand,
            summing,
            ..
        } = self;
        let (files, at_hand) = (*files, *at_hand);
        let decoded = decoded.as_deref().map(|decoded| (decoded, &*keep));
        let summing = summing.as_ref().filter(|_| within_ns.is_none() && !at_hand);
        let within_ns = within_ns.unwrap_or(times_ns);
        let (fields, values_of) = (fields.as_deref(), values_of.as_deref());
        let deletes = deletes.of(series, *deletes_up_to);
        let summing = summing.filter(|_| deletes.is_empty());
        let mut wanted = Wanted {
            filter,
            fields,
            values_of,
            times_ns,
            within_ns,
            files,
            decoded,
            at_hand,
            summing: None,
            contested: &[],
        };
        let contested;
        if let Some(summing) = summing {
            let mut spans = Vec::new();
            for source in sources.iter_mut() {
                if source.seek(series, &wanted)? == Some(series) {
                    spans.extend(source.run.span_of(series, &wanted)?);
                }
            }
            contested = few(overlap::contested(&mut spans));
            (wanted.summing, wanted.contested) = (Some(summing), &contested);
        }
        for source in sources {
            if source.seek(series, &wanted)? == Some(series) {
                source.run.read(series, &wanted, &deletes, &mut out.pieces, &mut out.sums)?;
            }
        }
        out.settle();
        Ok(())
    }
}

impl Iterator for Scan {
    type Item = Result<SeriesPoints>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_pieces().map(|found| found.map(SeriesPieces::into_points)).transpose()
    }
}
