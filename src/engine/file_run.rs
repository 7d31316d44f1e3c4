//! One file as a source of a scan: what of its index the scan needs, a piece at a time.
//!
//! A scan over thousands of files must not hold their indexes: they may be many times what the cache may keep. So each
//! file's entries that the scan asks for (its series, fields and times) are copied out of the index, some series at a
//! time, and the index goes back to the cache until the next are needed. What stays with the scan is the file's footer.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use rhythmite_model::{Column, FieldId, FieldType, Result, SeriesId};

use crate::decoded::{self, Decoded};
use crate::deletes::{Delete, Gone};
use crate::files::{LiveFile, not_at_hand};
use crate::merge::Piece;
use crate::overlap::{self, Span};
use crate::scan::SeriesFilter;
use crate::sst::{SstCursor, SstReader, StreamEntry};
use crate::sums::{Summing, WindowSum};

/// Entries that one scan holds of all of its files together, some 50 MiB. Few in tests, which then meet every boundary.
const ENTRIES: usize = if cfg!(test) { 8 } else { 1 << 19 };
/// But of each file at least so many: looking an index up again costs more than these.
const ENTRIES_MIN: usize = if cfg!(test) { 2 } else { 64 };
/// Files of one scan whose columns stay open from one series to the next: an open column holds a page, some 64 KiB. The
/// files beyond open their columns for each series again, so that a scan over thousands of partitions fits in memory.
const OPEN_FILES: usize = 256;
/// Even times of a file that are at hand for the next run that has the same.
const EVENS: usize = 8;
/// Files of one scan whose memory of runs is used again from one series to the next: of each [`EVENS`] times, and
/// [`RUNS_TAKEN_BACK`] runs' values, none of more than [`REUSED_ROWS`].
const REUSING_FILES: usize = 16;
const REUSED_ROWS: usize = 2 * decoded::RUN_ROWS_MAX as usize;
/// Runs of one series in one file whose memory is used for those of the next.
const RUNS_TAKEN_BACK: usize = 4;
/// Rows that are not kept are decoded in runs of about so many, at most.
const LOOSE_ROWS: u64 = 1 << 16;

/// What a scan asks of each file.
pub(crate) struct Wanted<'a> {
    pub(crate) filter: &'a SeriesFilter,
    /// Ascending; `None` for all.
    pub(crate) fields: Option<&'a [FieldId]>,
    /// Of the fields those whose values are wanted, ascending; `None` for all.
    pub(crate) values_of: Option<&'a [FieldId]>,
    pub(crate) times_ns: &'a RangeInclusive<i64>,
    /// The part of `times_ns` that is wanted of the series being read.
    pub(crate) within_ns: &'a RangeInclusive<i64>,
    /// Files of the scan.
    pub(crate) files: usize,
    /// Runs that others have decoded, and those that the scan may add.
    pub(crate) decoded: Option<(&'a Decoded, &'a Keep)>,
    /// What is not in memory as it is needed is an error.
    pub(crate) at_hand: bool,
    /// Sums instead of points, where they can be had.
    pub(crate) summing: Option<&'a Summing>,
    /// Where other sources, too, have points of the series being read: there sums cannot be had. Ascending, apart.
    pub(crate) contested: &'a [Span],
}

/// Which of the runs that it decodes a scan may keep.
#[derive(Clone, Debug)]
pub(crate) enum Keep {
    /// So many bytes of them.
    Bytes(Cell<usize>),
    /// Those for which there is room that nobody uses.
    Aside,
}

impl Wanted<'_> {
    /// Whether only the times of a field are wanted.
    pub(crate) fn times_only(&self, field: FieldId) -> bool {
        self.values_of.is_some_and(|fields| fields.binary_search(&field).is_err())
    }

    fn has(&self, entry: &StreamEntry) -> bool {
        entry.overlaps(self.times_ns) && self.fields.is_none_or(|f| f.binary_search(&entry.field).is_ok())
    }
}

pub(crate) struct FileRun {
    rank: u64,
    /// Held, so that the file is not removed under the cursor.
    file: Arc<LiveFile>,
    cursor: Option<SstCursor>,
    /// Entries of the next series that are wanted.
    entries: Vec<StreamEntry>,
    /// Position among them.
    at: usize,
    /// Where the entries behind these begin: no wanted series between is in the file. `None`: there are none.
    behind: Option<SeriesId>,
    /// Whether the columns stay open from one series to the next.
    stays_open: bool,
    /// Whether the memory of runs is used again from one series to the next.
    reuses: bool,
    room: Room,
    /// Those of one stream.
    sums: Vec<WindowSum>,
    /// Deletions are not applied.
    with_deleted: bool,
}

/// Memory of runs that is used again.
#[derive(Default)]
struct Room {
    times: Times,
    /// Runs of the series before that nobody keeps.
    given: Vec<Arc<decoded::Run>>,
    /// What they held.
    values: Vec<Vec<f64>>,
}

impl Room {
    /// Whoever read the series before is done with it.
    // PERF: memory that is given back comes back page by page, each as dear as decoding hundreds of points into it.
    // Proof: `cargo bench -p rhythmite --bench graphite_fetch -- sum_1000_1d`.
    fn take_back(&mut self) {
        self.values.extend(self.given.drain(..).filter_map(|run| match Arc::into_inner(run)?.values {
            Column::Float(values) => Some(values),
            _ => None,
        }));
        self.values.truncate(RUNS_TAKEN_BACK);
    }

    /// Room for values.
    fn values(&mut self, of: FieldType, rows: usize) -> Column {
        let room = if of == FieldType::Float { self.values.pop() } else { None };
        let Some(mut values) = room else { return Column::with_capacity(of, rows) };
        values.clear();
        values.reserve(rows);
        Column::Float(values)
    }

    /// A run that its reader alone keeps.
    fn give(&mut self, run: &Arc<decoded::Run>) {
        if self.given.len() < RUNS_TAKEN_BACK && run.values.len() <= REUSED_ROWS {
            self.given.push(run.clone());
        }
    }
}

/// Times of runs: those of the next field of a series, and of the next series, are mostly among those of the ones before.
#[derive(Default)]
struct Times {
    before: Arc<Vec<i64>>,
    /// Where they are decoded.
    scratch: Vec<i64>,
    /// Even ones, those used last in front.
    evens: VecDeque<EvenTimes>,
}

/// Times that are even steps, with the first, the step and how many they are.
type EvenTimes = ((i64, i64, usize), Arc<Vec<i64>>);

impl Times {
    /// The times just decoded.
    fn shared(&mut self) -> Arc<Vec<i64>> {
        if *self.before != self.scratch {
            let times = Arc::new(std::mem::take(&mut self.scratch));
            let before = std::mem::replace(&mut self.before, times);
            // Nobody else may have it any more.
            self.scratch = Arc::into_inner(before).filter(|times| times.len() <= REUSED_ROWS).unwrap_or_default();
        }
        self.before.clone()
    }

    /// `count` times from `first_ns` on, a step apart.
    fn even(&mut self, (first_ns, step_ns): (i64, i64), count: usize) -> Arc<Vec<i64>> {
        let wanted = (first_ns, step_ns, count);
        let known = self.evens.iter().position(|(known, _)| *known == wanted);
        let (_, times) = known.and_then(|at| self.evens.remove(at)).unwrap_or_else(|| {
            let times = (0..count as i64).map(|at| first_ns.wrapping_add(step_ns.wrapping_mul(at))).collect();
            (wanted, Arc::new(times))
        });
        if count <= REUSED_ROWS {
            self.evens.truncate(EVENS - 1);
            self.evens.push_front((wanted, times.clone()));
        }
        times
    }
}

/// One file's decoded runs.
struct Runs<'a> {
    at_hand: bool,
    decoded: &'a Decoded,
    keep: &'a Keep,
    rank: u64,
    file: u64,
}

impl Runs<'_> {
    /// Adds the rows of a stream in `times_ns`, from the cache or through it; past it when the scan has had its part.
    fn read(
        &self,
        cursor: &mut SstCursor,
        entry: &StreamEntry,
        times_ns: &RangeInclusive<i64>,
        room: &mut Room,
        out: &mut Vec<(FieldId, Piece)>,
    ) -> Result<()> {
        let stream = entry.row_start..entry.row_start + u64::from(entry.rows);
        let mut rows = cursor.rows_in(entry, times_ns);
        while !rows.is_empty() {
            let chunk = decoded::chunk(stream.clone(), rows.start);
            let key = (self.file, chunk.start);
            let mut end = chunk.end;
            let run = match self.decoded.get(key) {
                Some(run) => run,
                None if self.at_hand => return Err(not_at_hand()),
                None => {
                    // What is not kept is not decoded beyond what was asked for, and not in pieces.
                    let keep = match self.keep {
                        Keep::Bytes(left) => left.get() > 0,
                        Keep::Aside => self.decoded.has_room(key),
                    };
                    while !keep && end < rows.end && end - rows.start < LOOSE_ROWS {
                        let next = decoded::chunk(stream.clone(), end);
                        if self.decoded.has((self.file, next.start)) {
                            break;
                        }
                        end = next.end;
                    }
                    let asked = if keep { chunk } else { rows.start..rows.end.min(end) };
                    let count = (asked.end - asked.start) as usize;
                    let mut values = match keep {
                        true => Column::with_capacity(entry.field_type(), count),
                        false => room.values(entry.field_type(), count),
                    };
                    let times = &mut room.times;
                    times.scratch.clear();
                    let times_ns = match cursor.read_even(entry, asked, &mut times.scratch, &mut values)? {
                        Some(even) => times.even(even, count),
                        None => times.shared(),
                    };
                    let run = Arc::new(decoded::Run { times_ns, values });
                    match self.keep {
                        Keep::Bytes(left) if keep => left.set(self.decoded.put(key, &run, left.get())),
                        Keep::Aside if keep && self.decoded.put_aside(key, &run) => {}
                        _ => room.give(&run),
                    }
                    run
                }
            };
            let within = rows_within(&run.times_ns, times_ns);
            if !within.is_empty() {
                out.push((entry.field, Piece::Cached { rank: self.rank, run, rows: within }));
            }
            rows.start = end.min(rows.end);
        }
        Ok(())
    }
}

/// One stream of the file.
struct Stream<'a> {
    entry: &'a StreamEntry,
    gone: Gone,
    rank: u64,
    file: u64,
}

impl Stream<'_> {
    /// Its sums where no other source has points of the series, of which nothing is deleted; false, with nothing given, if they
    /// cannot be had.
    fn sum_up(
        &self,
        cursor: &mut SstCursor,
        Summing { fields, range_ns, cut, sum_max }: &Summing,
        wanted: &Wanted<'_>,
        sums: &mut Vec<WindowSum>,
    ) -> Result<bool> {
        let entry = self.entry;
        let all = (entry.min_time_ns, entry.max_time_ns);
        if fields.binary_search(&entry.field).is_err()
            || sum_max.is_some_and(|max| entry.sum_bound().is_none_or(|bound| bound > u128::from(max)))
        {
            return Ok(false);
        }
        let Some(asked) = overlap::within(all, (*range_ns.start(), *range_ns.end())) else { return Ok(true) };
        for (first, last) in overlap::beside(asked, wanted.contested) {
            if !cursor.sums(entry, &(first..=last), cut, sums)? {
                sums.clear();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds its points in a range, a part of what is wanted.
    fn read(
        &self,
        cursor: &mut SstCursor,
        within_ns: &RangeInclusive<i64>,
        wanted: &Wanted<'_>,
        room: &mut Room,
        out: &mut Vec<(FieldId, Piece)>,
    ) -> Result<()> {
        let Self { entry, gone, rank, file } = self;
        let (entry, rank) = (*entry, *rank);
        let first = entry.min_time_ns.max(*within_ns.start());
        let last = entry.max_time_ns.min(*within_ns.end());
        if first > last || gone.covers(first, last) {
            return Ok(());
        }
        let mut push = |mut times_ns, mut values| {
            if gone.touches(first, last) {
                gone.take_from(&mut times_ns, &mut values);
            }
            if !times_ns.is_empty() {
                out.push((entry.field, Piece::Owned { rank, times_ns, values }));
            }
        };
        if wanted.times_only(entry.field) {
            if wanted.at_hand {
                return Err(not_at_hand());
            }
            let mut times = Vec::new();
            cursor.read_times_in(entry, within_ns.clone(), &mut times)?;
            let values = Column::Boolean(vec![true; times.len()]);
            push(times, values);
            return Ok(());
        }
        if let Some((decoded, keep)) = wanted.decoded
            && !gone.touches(first, last)
        {
            let runs = Runs { at_hand: wanted.at_hand, decoded, keep, rank, file: *file };
            return runs.read(cursor, entry, within_ns, room, out);
        }
        if wanted.at_hand {
            return Err(not_at_hand());
        }
        let (mut times, mut values) = (Vec::new(), Column::new(entry.field_type()));
        cursor.read(entry, within_ns.clone(), &mut times, &mut values)?;
        push(times, values);
        Ok(())
    }
}

/// Which of these ascending times are in a range.
fn rows_within(times_ns: &[i64], range_ns: &RangeInclusive<i64>) -> Range<usize> {
    // PERF: mostly all of them, and a search waits for each of its looks.
    if let (Some(first), Some(last)) = (times_ns.first(), times_ns.last())
        && first >= range_ns.start()
        && last <= range_ns.end()
    {
        return 0..times_ns.len();
    }
    let from = times_ns.partition_point(|t| t < range_ns.start());
    from..times_ns.partition_point(|t| t <= range_ns.end()).max(from)
}

impl FileRun {
    /// The source number `number` of its kind.
    pub(crate) fn new(rank: u64, file: Arc<LiveFile>, number: usize, with_deleted: bool) -> Self {
        let behind = Some(file.record.min_series);
        let stays_open = number < OPEN_FILES;
        let reuses = number < REUSING_FILES;
        let (room, sums) = Default::default();
        Self {
            rank,
            file,
            cursor: None,
            entries: Vec::new(),
            at: 0,
            behind,
            stays_open,
            reuses,
            room,
            sums,
            with_deleted,
        }
    }

    /// A series that is not below `series` and not above the first such that the file has points of. Calls ascend.
    ///
    /// # Errors
    /// As [`LiveFile::reader`].
    pub(crate) fn seek(&mut self, series: SeriesId, wanted: &Wanted<'_>) -> Result<Option<SeriesId>> {
        self.at += self.entries[self.at..].iter().take_while(|e| e.series < series).count();
        if let Some(entry) = self.entries.get(self.at) {
            return Ok(Some(entry.series));
        }
        match self.behind {
            // Not looked up before its turn has come.
            Some(behind) if series <= behind => Ok(Some(behind)),
            Some(_) if series <= self.file.record.max_series => {
                self.load(series, wanted)?;
                Ok(self.entries.first().map(|e| e.series).or(self.behind))
            }
            _ => {
                (self.cursor, self.behind) = (None, None);
                Ok(None)
            }
        }
    }

    /// The first and the last time of `series`, which `seek` has just given, among the streams that are wanted.
    ///
    /// # Errors
    /// As [`LiveFile::reader`].
    pub(crate) fn span_of(&mut self, series: SeriesId, wanted: &Wanted<'_>) -> Result<Option<Span>> {
        if self.at == self.entries.len() {
            self.load(series, wanted)?;
        }
        let streams = self.entries[self.at..].iter().take_while(|entry| entry.series == series);
        let spans = streams.map(|entry| (entry.min_time_ns, entry.max_time_ns));
        Ok(spans.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1))))
    }

    /// Adds the pieces of `series`, which `seek` has just given, to `out`, without what `deletes` (those of the series)
    /// take away; sums instead to `sums`.
    ///
    /// # Errors
    /// As [`SstCursor::read`].
    pub(crate) fn read(
        &mut self,
        series: SeriesId,
        wanted: &Wanted<'_>,
        deletes: &[&Delete],
        out: &mut Vec<(FieldId, Piece)>,
        sums: &mut Vec<(FieldId, WindowSum)>,
    ) -> Result<()> {
        let seen_seq = if self.with_deleted { u64::MAX } else { self.file.record.seen_seq() };
        if self.at == self.entries.len() {
            self.load(series, wanted)?;
        }
        self.room.take_back();
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        cursor.keep_pages(wanted.decoded.is_some());
        while let Some(entry) = self.entries.get(self.at).filter(|e| e.series == series) {
            self.at += 1;
            let stream = Stream {
                entry,
                gone: Gone::new(deletes, seen_seq, self.file.field_of(entry)),
                rank: self.rank,
                file: self.file.key(),
            };
            if let Some(summing) = wanted.summing
                && stream.sum_up(cursor, summing, wanted, &mut self.sums)?
            {
                sums.extend(self.sums.drain(..).map(|sum| (entry.field, sum)));
                let within = (*wanted.within_ns.start(), *wanted.within_ns.end());
                for (first, last) in wanted.contested.iter().filter_map(|hole| overlap::within(*hole, within)) {
                    stream.read(cursor, &(first..=last), wanted, &mut self.room, out)?;
                }
                continue;
            }
            stream.read(cursor, wanted.within_ns, wanted, &mut self.room, out)?;
        }
        if !self.stays_open {
            cursor.rest();
        }
        if !self.reuses {
            self.room = Room::default();
        }
        Ok(())
    }

    /// Copies the next entries, those of `from` on.
    fn load(&mut self, from: SeriesId, wanted: &Wanted<'_>) -> Result<()> {
        let reader = if wanted.at_hand { self.file.reader_at_hand()? } else { self.file.reader()? };
        self.cursor.get_or_insert_with(|| reader.cursor());
        self.entries.clear();
        (self.at, self.behind) = (0, None);
        let enough = (ENTRIES / wanted.files.max(1)).max(ENTRIES_MIN);
        match wanted.filter {
            SeriesFilter::Range(range) => self.load_range(&reader, from, *range.end(), wanted, enough)?,
            SeriesFilter::List(list) => {
                let list = &list[list.partition_point(|&s| s < from)..];
                self.load_list(&reader, list, wanted, enough)?;
            }
        }
        Ok(())
    }

    fn load_range(
        &mut self,
        reader: &SstReader,
        from: SeriesId,
        last: SeriesId,
        wanted: &Wanted<'_>,
        enough: usize,
    ) -> Result<()> {
        let mut walk = if wanted.at_hand { reader.walk_at_hand() } else { reader.walk() };
        let mut next = walk.seek(from)?;
        while let Some(series) = next.filter(|&s| s <= last) {
            if self.entries.len() >= enough {
                self.behind = Some(series);
                break;
            }
            self.entries.extend(walk.streams()?.filter(|entry| wanted.has(entry)));
            walk.advance();
            next = walk.series()?;
        }
        Ok(())
    }

    fn load_list(&mut self, reader: &SstReader, list: &[SeriesId], wanted: &Wanted<'_>, enough: usize) -> Result<()> {
        let mut walk = if wanted.at_hand { reader.walk_at_hand() } else { reader.walk() };
        for &series in list {
            if self.entries.len() >= enough {
                self.behind = Some(series);
                break;
            }
            match walk.seek(series)? {
                Some(found) if found == series => {
                    self.entries.extend(walk.streams()?.filter(|entry| wanted.has(entry)));
                }
                Some(_) => {}
                None => break,
            }
        }
        Ok(())
    }
}
