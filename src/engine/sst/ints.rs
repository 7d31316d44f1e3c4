//! Reads columns of integers: the pages that [`super::chunk`] writes, without the Parquet crate's readers.
//!
//! Those readers build a decompressor for each column of each file, set up levels for every row and write every value
//! twice; most of a query's time went there. Here a thread keeps one decompressor, levels are runs, and values are unpacked
//! into the caller's vector. What does not look like our own page (another encoding, levels packed as bits, damage) is left
//! to the Parquet crate, which reads it or says what is wrong: this module never decides that a file is damaged.
//!
//! Limits: a page of more than [`PAGE_BYTES_MAX`] or [`PAGE_ROWS_MAX`] is left to the Parquet crate, too.

use std::cell::RefCell;
use std::ops::Range;

use parquet::basic::Compression;
use rhythmite_model::Result;

use super::delta::Unpacker;
use super::page_header::{DataPage, ENCODING_DELTA_BINARY_PACKED};
use super::read_error;
use super::reader::PointsFile;

/// Longest page, unpacked or not: ours have at most 131,072 rows of 8 bytes, their levels and heads.
const PAGE_BYTES_MAX: usize = 1_200 * 1024;
/// Rows of the longest page: ours have 8192, sixteen times as many where times repeat.
const PAGE_ROWS_MAX: u64 = 1 << 17;

/// Rows for which room is made at once.
const ROWS_RESERVED: u64 = 1 << 15;

/// Where a thread unpacks pages.
#[derive(Default)]
struct Desk {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    raw: Vec<u8>,
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::default();
}

/// Reads one column; wherever it stands, it may go anywhere.
pub(super) struct IntReader {
    column: usize,
    /// What values are multiplied by.
    unit: i64,
    open: Option<OpenPage>,
    /// The page's, and then the next one's.
    bytes: Vec<u8>,
}

/// The page that was read last.
struct OpenPage {
    /// Its rows, counted from the start of the file.
    rows: Range<u64>,
    /// Of the page's rows those with a value, in runs; empty if all have one.
    present: Vec<Range<u64>>,
    unpacker: Unpacker,
    /// Values that are behind.
    taken: u64,
}

/// Where rows are.
struct Place {
    offset: u64,
    length: usize,
    rows: Range<u64>,
    group: usize,
}

impl IntReader {
    /// Of a column that counts in `unit`.
    pub(super) fn new(column: usize, unit: i64) -> Self {
        Self { column, unit, open: None, bytes: Vec::new() }
    }

    /// Appends the values of `rows`, each of which has one, times the unit. False, with `out` as it was, for pages that are not of the usual
    /// form.
    ///
    /// # Errors
    /// `Unavailable`: disk. `Corrupt`: a page's checksum fails.
    pub(super) fn read(&mut self, sst: &PointsFile, rows: Range<u64>, out: &mut Vec<i64>) -> Result<bool> {
        let before = out.len();
        // No more than a few pages: how many rows there are is only what an index says.
        out.reserve((rows.end - rows.start).min(ROWS_RESERVED) as usize);
        let mut row = rows.start;
        while row < rows.end {
            let is_open = self.open.as_ref().is_some_and(|page| page.rows.contains(&row) && !page.is_behind(row));
            if !is_open && !self.open_page(sst, row)? {
                out.truncate(before);
                return Ok(false);
            }
            let Some(page) = &mut self.open else { return Ok(false) };
            let end = rows.end.min(page.rows.end);
            if !page.take(&self.bytes, row..end, out) {
                self.open = None;
                out.truncate(before);
                return Ok(false);
            }
            row = end;
        }
        Ok(true)
    }

    /// Opens the page with this row; false if it is not of the usual form.
    fn open_page(&mut self, sst: &PointsFile, row: u64) -> Result<bool> {
        self.open = None;
        let Some(place) = place_of(sst, self.column, row) else { return Ok(false) };
        let chunk = sst.metadata.row_group(place.group).column(self.column);
        let levels = chunk.column_descr().max_def_level() > 0;
        let opened = DESK.with_borrow_mut(|desk| -> Result<Option<OpenPage>> {
            sst.source.read_page(place.offset, place.length, &mut desk.raw).map_err(read_error)?;
            Ok(unpack(desk, &place, chunk.compression(), levels, self.unit, &mut self.bytes))
        })?;
        self.open = opened;
        Ok(self.open.is_some())
    }
}

fn place_of(sst: &PointsFile, column: usize, row: u64) -> Option<Place> {
    let group = sst.group_start.partition_point(|start| *start <= row).checked_sub(1)?;
    let (start, end) = (*sst.group_start.get(group)?, *sst.group_start.get(group + 1)?);
    let pages = sst.metadata.offset_index()?.get(group)?.get(column)?.page_locations();
    let first_row = |page: usize| pages.get(page).map(|page| start.saturating_add_signed(page.first_row_index));
    let page = pages.partition_point(|page| start.saturating_add_signed(page.first_row_index) <= row).checked_sub(1)?;
    let rows = first_row(page)?..first_row(page + 1).unwrap_or(end).min(end);
    let length = usize::try_from(pages[page].compressed_page_size).ok().filter(|length| *length <= PAGE_BYTES_MAX)?;
    let offset = u64::try_from(pages[page].offset).ok()?;
    rows.contains(&row).then_some(Place { offset, length, rows, group })
}

/// Unpacks the page in `desk` into `bytes`; `None` if it is not of the usual form.
fn unpack(
    desk: &mut Desk,
    place: &Place,
    compression: Compression,
    levels: bool,
    unit: i64,
    bytes: &mut Vec<u8>,
) -> Option<OpenPage> {
    let (header, page) = DataPage::parse(&desk.raw)?;
    let rows = place.rows.end - place.rows.start;
    let usual = header.encoding == ENCODING_DELTA_BINARY_PACKED
        && header.values as u64 == rows
        && rows <= PAGE_ROWS_MAX
        && header.compressed == page.len()
        && header.uncompressed <= PAGE_BYTES_MAX;
    if !usual {
        return None;
    }
    bytes.clear();
    bytes.resize(header.uncompressed, 0);
    let length = match compression {
        Compression::UNCOMPRESSED if page.len() == bytes.len() => {
            bytes.copy_from_slice(page);
            page.len()
        }
        Compression::SNAPPY => snap::raw::Decoder::new().decompress(page, bytes).ok()?,
        Compression::ZSTD(_) => {
            let zstd = match &mut desk.zstd {
                Some(zstd) => zstd,
                none => none.insert(zstd::bulk::Decompressor::new().ok()?),
            };
            zstd.decompress_to_buffer(page, bytes.as_mut_slice()).ok()?
        }
        _ => return None,
    };
    if length != bytes.len() {
        return None;
    }
    let (mut present, mut from) = (Vec::new(), 0);
    if levels {
        let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
        from = length.checked_add(4)?;
        present = runs(bytes.get(4..from)?, rows)?;
    }
    let values = match present.as_slice() {
        [] if levels => 0,
        [] => rows,
        [all] if *all == (0..rows) => {
            present.clear();
            rows
        }
        runs => runs.iter().map(|run| run.end - run.start).sum(),
    };
    // A page without a value has no row that is asked for.
    let unpacker = Unpacker::new(bytes, from, usize::try_from(values).ok().filter(|values| *values > 0)?, unit)?;
    Some(OpenPage { rows: place.rows.clone(), present, unpacker, taken: 0 })
}

/// The rows with a value, by levels in runs; `None` for any other form.
fn runs(mut levels: &[u8], rows: u64) -> Option<Vec<Range<u64>>> {
    let (mut present, mut row) = (Vec::<Range<u64>>::new(), 0_u64);
    while row < rows {
        let head = super::delta::take_varint(&mut levels)?;
        let (&level, rest) = levels.split_first()?;
        levels = rest;
        if head & 1 != 0 || level > 1 {
            return None;
        }
        let end = row.checked_add(head >> 1).filter(|end| *end > row && *end <= rows)?;
        match present.last_mut() {
            _ if level == 0 => {}
            Some(before) if before.end == row => before.end = end,
            _ => present.push(row..end),
        }
        row = end;
    }
    Some(present)
}

impl OpenPage {
    /// How many values of the page come before a row of the file, and whether it has one.
    fn before(&self, row: u64) -> (u64, bool) {
        let row = row - self.rows.start;
        if self.present.is_empty() {
            return (row, true);
        }
        let run = self.present.partition_point(|run| run.end <= row);
        let before = self.present[..run].iter().map(|run| run.end - run.start).sum::<u64>();
        match self.present.get(run) {
            Some(run) if run.start <= row => (before + (row - run.start), true),
            _ => (before, false),
        }
    }

    /// Whether the value of a row has been passed over.
    fn is_behind(&self, row: u64) -> bool {
        self.before(row).0 < self.taken
    }

    /// Appends the values of rows of the page, which are not behind; false if one of them has none, or if the page ends
    /// early.
    fn take(&mut self, bytes: &[u8], rows: Range<u64>, out: &mut Vec<i64>) -> bool {
        let ((first, has_first), (last, has_last)) = (self.before(rows.start), self.before(rows.end - 1));
        let count = rows.end - rows.start;
        let Some(skip) = first.checked_sub(self.taken) else { return false };
        if !has_first || !has_last || last - first + 1 != count {
            return false;
        }
        self.taken = last + 1;
        self.unpacker.skip(bytes, skip as usize) && self.unpacker.take(bytes, count as usize, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_runs() {
        for (levels, rows, expected) in [
            (&[20, 1][..], 10, Some(vec![(0, 10)])),
            (&[20, 0], 10, Some(vec![])),
            (&[4, 1, 6, 0, 10, 1], 10, Some(vec![(0, 2), (5, 10)])),
            (&[4, 1, 6, 1, 10, 0], 10, Some(vec![(0, 5)])),
            (&[4, 1], 10, None),
            (&[22, 1], 10, None),
            (&[20, 2], 10, None),
            (&[3, 0xff], 8, None),
            (&[0, 1, 20, 1], 10, None),
            (&[20], 10, None),
        ] {
            let found = runs(levels, rows).map(|runs| runs.into_iter().map(|run| (run.start, run.end)).collect());
            assert_eq!(found, expected, "{levels:?}");
        }
    }
}
