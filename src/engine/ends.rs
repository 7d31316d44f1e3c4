//! The newest or the oldest point of each stream. An index knows both ends of every stream of its file, with their values,
//! so that pages are read only where a deletion or the bounds of the question hide what it knows, and of texts.
//!
//! Memory is asked first, then the files, those that reach furthest first: one that ends before what is already found of
//! every series is not opened. Of points with one time the newest write wins, as in [`crate::Scan`].

use std::ops::RangeInclusive;
use std::sync::Arc;

use hashbrown::HashMap;
use rhythmite_model::{Column, Error, FieldId, FieldType, FieldValue, Result, SeriesId, TableId, Tier};

use crate::deletes::{Delete, Gone, is_gone};
use crate::files::LiveFile;
use crate::memtable::{Block, Part};
use crate::scan::{SeriesPoints, Stream};
use crate::snapshot::Snapshot;
use crate::sst::{SstCursor, SstReader, StreamEntry};

/// Rows read at a time where an index does not know. Few in tests, which then meet the borders.
const PART_ROWS: u64 = if cfg!(test) { 3 } else { 4096 };

/// One end of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The oldest points.
    First,
    /// The newest points.
    Last,
}

/// Which points are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOf {
    /// That of each field by itself.
    Streams,
    /// Those of one time for all fields: the first or last at which any has a value.
    Rows,
}

impl End {
    /// Whether `time_ns` is nearer to this end than `other_ns`.
    fn is_nearer(self, time_ns: i64, other_ns: i64) -> bool {
        match self {
            End::First => time_ns < other_ns,
            End::Last => time_ns > other_ns,
        }
    }

    /// The nearest time of a range.
    fn of(self, times_ns: &RangeInclusive<i64>) -> i64 {
        match self {
            End::First => *times_ns.start(),
            End::Last => *times_ns.end(),
        }
    }

    /// The part of a range that is not further away than `time_ns`.
    fn up_to(self, time_ns: i64, times_ns: &RangeInclusive<i64>) -> RangeInclusive<i64> {
        match self {
            End::First => *times_ns.start()..=time_ns.min(*times_ns.end()),
            End::Last => time_ns.max(*times_ns.start())..=*times_ns.end(),
        }
    }
}

/// The best point of a stream so far.
struct Best {
    field: FieldId,
    time_ns: i64,
    /// Of the source, and within it: of points with one time the larger wins.
    rank: (u64, u32),
    value: Found,
}

/// Where its value is.
enum Found {
    Known(FieldValue<'static>),
    /// The only one of the column.
    Read(Column),
    Memory {
        block: Arc<Block>,
        column: usize,
        row: usize,
    },
    /// The row at the end of a file's stream.
    File {
        number: usize,
        entry: StreamEntry,
    },
}

/// A file with its place among the sources.
struct Source {
    rank: u64,
    file: Arc<LiveFile>,
}

struct Finder<'a> {
    end: End,
    of: EndOf,
    series: &'a [SeriesId],
    /// Ascending.
    fields: &'a [FieldId],
    within_ns: &'a RangeInclusive<i64>,
    /// Of each series.
    deletes: Vec<Vec<&'a Delete>>,
    /// Of each series, ascending by field.
    best: Vec<Vec<Best>>,
}

impl Snapshot {
    /// The points of `series` (ascending, each once) at one end of `times_ns`: streams of one point each. Series without
    /// any are left out. `fields` ascend; `None` for all. Holds an entry for each stream: ask for some thousand series at a
    /// time.
    ///
    /// # Errors
    /// `NotFound` when the table is gone; as of reading, for an index or a page that cannot be loaded.
    pub fn ends(
        &self,
        (end, of): (End, EndOf),
        table: TableId,
        tier: Tier,
        series: &[SeriesId],
        fields: Option<&[FieldId]>,
        times_ns: &RangeInclusive<i64>,
    ) -> Result<Vec<SeriesPoints>> {
        let (policy, all_fields) = {
            let names = self.registry.read();
            let table = names.table(table).ok_or_else(|| Error::not_found(format!("table {} is gone", table.0)))?;
            let mut all: Vec<FieldId> = names.fields(table.id()).map(|(id, ..)| id).collect();
            all.sort_unstable();
            (table.policy(), all)
        };
        if times_ns.is_empty() || series.is_empty() {
            return Ok(Vec::new());
        }
        let mut finder = Finder {
            end,
            of,
            series,
            fields: fields.unwrap_or(&all_fields),
            within_ns: times_ns,
            deletes: series.iter().map(|&id| self.view.deletes.of(id, u64::MAX)).collect(),
            best: series.iter().map(|_| Vec::new()).collect(),
        };
        let files = self.view.files.get(&(policy, tier)).into_iter().flatten();
        let mut files: Vec<_> = (1..).zip(files).map(|(rank, file)| Source { rank, file: file.clone() }).collect();
        let actives = self.view.frozen.iter().map(|f| &f.active).chain([&self.view.active]);
        for (rank, active) in (files.len() as u64 + 1..).zip(actives) {
            for part in active.generation.parts(table, tier) {
                finder.look_in_memory(rank, active.base_seq, &part);
            }
        }
        match end {
            End::First => files.sort_by_key(|source| source.file.record.min_time_ns),
            End::Last => files.sort_by_key(|source| std::cmp::Reverse(source.file.record.max_time_ns)),
        }
        for (number, source) in files.iter().enumerate() {
            finder.look_in_file(number, source)?;
        }
        finder.finish(&files)
    }
}

impl Finder<'_> {
    /// The time of the row of a series so far.
    fn row_ns(&self, at: usize) -> Option<i64> {
        let times = self.best[at].iter().map(|best| best.time_ns);
        match self.end {
            End::First => times.min(),
            End::Last => times.max(),
        }
    }

    /// Whether a point of this time and source may be one that is looked for.
    fn may_improve(&self, at: usize, field: FieldId, time_ns: i64, rank: (u64, u32)) -> bool {
        if self.of == EndOf::Rows && self.row_ns(at).is_some_and(|row_ns| self.end.is_nearer(row_ns, time_ns)) {
            return false;
        }
        match self.best[at].binary_search_by_key(&field, |best| best.field) {
            Ok(known) => {
                let known = &self.best[at][known];
                self.end.is_nearer(time_ns, known.time_ns) || (time_ns == known.time_ns && rank > known.rank)
            }
            Err(_) => true,
        }
    }

    fn offer(&mut self, at: usize, new: Best) {
        if !self.may_improve(at, new.field, new.time_ns, new.rank) {
            return;
        }
        match self.best[at].binary_search_by_key(&new.field, |best| best.field) {
            Ok(known) => self.best[at][known] = new,
            Err(place) => self.best[at].insert(place, new),
        }
    }

    /// Whether no point of a series at `time_ns` or further away is one that is looked for.
    fn is_settled(&self, at: usize, time_ns: i64) -> bool {
        match self.of {
            EndOf::Rows => self.row_ns(at).is_some_and(|row_ns| self.end.is_nearer(row_ns, time_ns)),
            EndOf::Streams => {
                let best = &self.best[at];
                best.len() == self.fields.len() && best.iter().all(|b| self.end.is_nearer(b.time_ns, time_ns))
            }
        }
    }

    fn look_in_memory(&mut self, rank: u64, base_seq: u64, part: &Part) {
        let block = &part.block;
        let asked = |field: FieldId| self.fields.binary_search(&field).is_ok();
        let fields = (0..).zip(block.fields().iter()).filter(|(_, (field, _))| asked(*field));
        let columns: Vec<(usize, FieldId)> = fields.map(|(column, (field, _))| (column, *field)).collect();
        let first = self.series.partition_point(|id| id.0 < part.series_head);
        let mut from = 0;
        for at in first..self.series.len() {
            let id = self.series[at];
            if id.0 >> 32 != part.series_head >> 32 || columns.is_empty() {
                break;
            }
            from = block.seek(from, id.0 as u32);
            match block.series().get(from) {
                Some(&sequence) if sequence == id.0 as u32 => {}
                Some(_) => continue,
                None => break,
            }
            let rows = block.series_rows(from);
            let times = &block.times_ns()[rows.clone()];
            let start = rows.start + times.partition_point(|t| t < self.within_ns.start());
            let stop = rows.start + times.partition_point(|t| t <= self.within_ns.end());
            let (mut left, end) = (columns.clone(), self.end);
            let mut look = |row: usize| {
                let (time_ns, arrival) = (block.times_ns()[row], block.arrivals()[row]);
                left.retain(|&(column, field)| {
                    if is_gone(&self.deletes[at], base_seq + u64::from(arrival), field, time_ns) {
                        return true;
                    }
                    let value = Found::Memory { block: block.clone(), column, row };
                    self.offer(at, Best { field, time_ns, rank: (rank, arrival), value });
                    false
                });
                left.is_empty()
            };
            match end {
                End::First => (start..stop).any(&mut look),
                End::Last => (start..stop).rev().any(&mut look),
            };
        }
    }

    fn look_in_file(&mut self, number: usize, source: &Source) -> Result<()> {
        let record = &source.file.record;
        let nearest = self.end.of(&(record.min_time_ns..=record.max_time_ns));
        if record.max_time_ns < *self.within_ns.start() || record.min_time_ns > *self.within_ns.end() {
            return Ok(());
        }
        let first = self.series.partition_point(|id| *id < record.min_series);
        let behind = self.series.partition_point(|id| *id <= record.max_series);
        let open: Vec<usize> = (first..behind).filter(|&at| !self.is_settled(at, nearest)).collect();
        if open.is_empty() {
            return Ok(());
        }
        let reader = source.file.reader()?;
        let (mut walk, mut cursor) = (reader.walk(), None);
        for at in open {
            match walk.seek(self.series[at])? {
                Some(found) if found == self.series[at] => {}
                Some(_) => continue,
                None => break,
            }
            for entry in walk.streams()? {
                if entry.overlaps(self.within_ns) && self.fields.binary_search(&entry.field).is_ok() {
                    self.look_at(at, number, source, &entry, &reader, &mut cursor)?;
                }
            }
        }
        Ok(())
    }

    fn look_at(
        &mut self,
        at: usize,
        number: usize,
        source: &Source,
        entry: &StreamEntry,
        reader: &SstReader,
        cursor: &mut Option<SstCursor>,
    ) -> Result<()> {
        let (field, rank) = (entry.field, (source.rank, 0));
        let known_ns = self.end.of(&(entry.min_time_ns..=entry.max_time_ns));
        let within = entry.min_time_ns.max(*self.within_ns.start())..=entry.max_time_ns.min(*self.within_ns.end());
        let nearest = self.end.of(&within);
        if !self.may_improve(at, field, nearest, rank) {
            return Ok(());
        }
        let gone = Gone::new(&self.deletes[at], source.file.record.seen_seq(), field);
        if nearest == known_ns && !gone.has(known_ns) {
            let value = match (entry.aggregates(), self.end) {
                (Some(known), End::First) => Found::Known(known.first),
                (Some(known), End::Last) => Found::Known(known.last),
                (None, _) => Found::File { number, entry: *entry },
            };
            self.offer(at, Best { field, time_ns: known_ns, rank, value });
            return Ok(());
        }
        // What is further away than what was found need not be read.
        let found_ns = match self.best[at].binary_search_by_key(&field, |best| best.field) {
            Ok(known) => Some(self.best[at][known].time_ns),
            Err(_) => self.row_ns(at).filter(|_| self.of == EndOf::Rows),
        };
        let within = found_ns.map_or_else(|| within.clone(), |found_ns| self.end.up_to(found_ns, &within));
        let cursor = cursor.get_or_insert_with(|| reader.cursor());
        if let Some((time_ns, value)) = read_end(cursor, entry, self.end, &within, &gone)? {
            self.offer(at, Best { field, time_ns, rank, value: Found::Read(value) });
        }
        Ok(())
    }

    fn finish(self, files: &[Source]) -> Result<Vec<SeriesPoints>> {
        let mut cursors: HashMap<usize, SstCursor> = HashMap::new();
        let mut found = Vec::new();
        for at in 0..self.series.len() {
            let row_ns = self.row_ns(at);
            let mut streams = Vec::new();
            for best in &self.best[at] {
                if self.of == EndOf::Rows && Some(best.time_ns) != row_ns {
                    continue;
                }
                let values = match &best.value {
                    Found::Known(value) => {
                        let mut values = Column::with_capacity(value.field_type(), 1);
                        if !values.push(*value) {
                            return Err(Error::internal("a column of a value's type takes it"));
                        }
                        values
                    }
                    Found::Read(values) => values.clone(),
                    Found::Memory { block, column, row } => block.column(*column).gather(&[*row as u32]),
                    Found::File { number, entry } => {
                        let cursor = match cursors.entry(*number) {
                            hashbrown::hash_map::Entry::Occupied(cursor) => cursor.into_mut(),
                            hashbrown::hash_map::Entry::Vacant(place) => {
                                place.insert(files[*number].file.reader()?.cursor())
                            }
                        };
                        let row = match self.end {
                            End::First => entry.row_start,
                            End::Last => entry.row_start + u64::from(entry.rows) - 1,
                        };
                        let (mut times, mut values) = (Vec::new(), Column::new(FieldType::String));
                        cursor.read_exactly(entry, row..row + 1, &mut times, &mut values)?;
                        values
                    }
                };
                streams.push(Stream { field: best.field, times_ns: vec![best.time_ns], values });
            }
            if !streams.is_empty() {
                found.push(SeriesPoints { series: self.series[at], streams });
            }
        }
        Ok(found)
    }
}

/// The row of a file's stream within `within_ns` that is nearest to an end and not gone: its time and its value.
fn read_end(
    cursor: &mut SstCursor,
    entry: &StreamEntry,
    end: End,
    within_ns: &RangeInclusive<i64>,
    gone: &Gone,
) -> Result<Option<(i64, Column)>> {
    if within_ns.is_empty() || gone.covers(*within_ns.start(), *within_ns.end()) {
        return Ok(None);
    }
    let mut rows = cursor.rows_in(entry, within_ns);
    while !rows.is_empty() {
        let part = match end {
            End::First => rows.start..rows.end.min(rows.start + PART_ROWS),
            End::Last => rows.start.max(rows.end.saturating_sub(PART_ROWS))..rows.end,
        };
        let mut times = Vec::with_capacity((part.end - part.start) as usize);
        let mut values = Column::with_capacity(entry.field_type(), times.capacity());
        cursor.read_exactly(entry, part.clone(), &mut times, &mut values)?;
        let stays = |time_ns: &i64| within_ns.contains(time_ns) && !gone.has(*time_ns);
        let row = match end {
            End::First => times.iter().position(stays),
            End::Last => times.iter().rposition(stays),
        };
        if let Some(row) = row {
            return Ok(Some((times[row], values.gather(&[row as u32]))));
        }
        match end {
            End::First => rows.start = part.end,
            End::Last => rows.end = part.start,
        }
    }
    Ok(None)
}
