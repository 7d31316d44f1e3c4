use std::ops::Range;

use rhythmite_model::{Column, FieldId, FieldType};

use super::{merge, sort};

/// The fields of a row, ascending.
pub type Fields = Box<[(FieldId, FieldType)]>;

/// Rows in arrival order: what a buffer appends to.
///
/// `series` is the low half of a series id (its sequence number): a buffer belongs to one table and allocator.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) series: Vec<u32>,
    pub(super) times_ns: Vec<i64>,
    pub(super) arrivals: Vec<u32>,
    pub(super) columns: Vec<Column>,
}

impl Chunk {
    pub(super) fn new(fields: &Fields) -> Self {
        Self {
            series: Vec::new(),
            times_ns: Vec::new(),
            arrivals: Vec::new(),
            columns: fields.iter().map(|&(_, t)| Column::new(t)).collect(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.times_ns.len()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let keys = self.series.capacity() * 4 + self.times_ns.capacity() * 8 + self.arrivals.capacity() * 4;
        keys + self.columns.iter().map(Column::heap_bytes).sum::<usize>()
    }

    /// Gives memory back that no row needs.
    pub(super) fn shrink_to_fit(&mut self) {
        self.series.shrink_to_fit();
        self.times_ns.shrink_to_fit();
        self.arrivals.shrink_to_fit();
        self.columns.iter_mut().for_each(Column::shrink_to_fit);
    }
}

/// Rows sorted by (series, time), each pair once: immutable, shared with readers.
#[derive(Debug)]
pub struct Block {
    fields: Fields,
    series: Vec<u32>,
    times_ns: Vec<i64>,
    arrivals: Vec<u32>,
    columns: Vec<Column>,
}

impl Block {
    /// Sorts a chunk. Of rows with the same series and time the one that arrived last stays.
    pub(super) fn seal(fields: &Fields, chunk: &Chunk) -> Self {
        let order = sort::order(&chunk.series, &chunk.times_ns, &chunk.arrivals);
        let pick = |v: &[u32]| order.iter().map(|&i| v[i as usize]).collect();
        Self {
            fields: fields.clone(),
            series: pick(&chunk.series),
            times_ns: order.iter().map(|&i| chunk.times_ns[i as usize]).collect(),
            arrivals: pick(&chunk.arrivals),
            columns: chunk.columns.iter().map(|c| c.gather(&order)).collect(),
        }
    }

    /// One block of all rows of `blocks`, which have the same fields; what sealing them together would give.
    pub(super) fn merge(fields: &Fields, blocks: &[&Block]) -> Self {
        let Chunk { series, times_ns, arrivals, columns } = merge::merge(fields, blocks);
        Self { fields: fields.clone(), series, times_ns, arrivals, columns }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let keys = self.series.capacity() * 4 + self.times_ns.capacity() * 8 + self.arrivals.capacity() * 4;
        keys + self.columns.iter().map(Column::heap_bytes).sum::<usize>()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.times_ns.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.times_ns.is_empty()
    }

    /// The fields that every row has.
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Sequence numbers of the series, one a row, ascending.
    pub fn series(&self) -> &[u32] {
        &self.series
    }

    /// Times, one a row, ascending within a series.
    pub fn times_ns(&self) -> &[i64] {
        &self.times_ns
    }

    /// Which write each row came with; of two rows with the same series, field and time the larger number wins.
    pub fn arrivals(&self) -> &[u32] {
        &self.arrivals
    }

    /// The values of field number `i` of [`Block::fields`].
    pub fn column(&self, i: usize) -> &Column {
        &self.columns[i]
    }

    /// First row at or behind `from` whose series is not below `series`.
    pub fn seek(&self, from: usize, series: u32) -> usize {
        // A scan visits series in order, so the answer is mostly near.
        gallop(&self.series, from, |s| *s < series)
    }

    /// Rows of the series that starts at row `start`.
    pub fn series_rows(&self, start: usize) -> Range<usize> {
        let end = match self.series[start].checked_add(1) {
            Some(next) => self.seek(start, next),
            None => self.len(),
        };
        start..end
    }
}

/// First place at or behind `from` whose item is not `below`; those below come first. Looks near `from` first.
pub(super) fn gallop<T>(items: &[T], from: usize, below: impl Fn(&T) -> bool) -> usize {
    let mut step = 1;
    let mut low = from;
    while low + step < items.len() && below(&items[low + step]) {
        low += step;
        step *= 2;
    }
    let high = (low + step + 1).min(items.len());
    low + items[low..high].partition_point(below)
}
