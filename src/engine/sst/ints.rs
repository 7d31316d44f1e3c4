//! Reads columns of integers: the pages that [`super::chunk`] writes, without the Parquet crate's readers.
//!
//! Those readers build a decompressor for each column of each file, set up levels for every row and write every value
//! twice; most of a query's time went there. Here a thread keeps one decompressor, levels are runs, and values are unpacked
//! into the caller's vector. Pages of times that are even steps are not unpacked at all, they are a few runs; and what was
//! decompressed once may be in the cache of pages. What does not look like our own page (another encoding, levels packed as bits, damage) is left
//! to the Parquet crate, which reads it or says what is wrong: this module never decides that a file is damaged.
//!
//! Limits: a page of more than [`PAGE_BYTES_MAX`] or [`PAGE_ROWS_MAX`] is left to the Parquet crate, too.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use parquet::basic::Compression;
use rhythmite_model::Result;

use super::delta::{Even, Unpacker};
use super::layout::column;
use super::page_cache::Page;
use super::page_header::{DataPage, ENCODING_DELTA_BINARY_PACKED};
use super::read_error;
use super::reader::PointsFile;

/// Longest page, unpacked or not: ours have at most 131,072 rows of 8 bytes, their levels and heads.
const PAGE_BYTES_MAX: usize = 1_200 * 1024;
/// Rows of the longest page: ours have 8192, sixteen times as many where times repeat.
const PAGE_ROWS_MAX: u64 = 1 << 17;

/// Runs of even steps that a page of times is taken for: so many, or one for each so many rows, which is smaller than their
/// encoding. A page with more is unpacked.
const EVENS_MAX: usize = 128;
const ROWS_PER_EVEN: usize = 64;

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
    /// The page's if it is not kept, and then the next one's.
    bytes: Vec<u8>,
    /// Whether pages go into the cache.
    pub(super) keeps: bool,
}

/// The page that was read last.
struct OpenPage {
    /// Its rows, counted from the start of the file.
    rows: Range<u64>,
    /// Of the page's rows those with a value, in runs; empty if all have one.
    present: Vec<Range<u64>>,
    /// None if the values are even.
    unpacker: Option<Unpacker>,
    /// Where the values are if not in the reader's bytes.
    page: Option<Arc<Page>>,
    /// Values that are behind.
    taken: u64,
}

/// A page in the reader's bytes: where the encoding begins, and of how many values.
struct Unpacked {
    present: Vec<Range<u64>>,
    from: usize,
    values: usize,
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
        Self { column, unit, open: None, bytes: Vec::new(), keeps: false }
    }

    /// The first value of `rows` and the step from each to the next, if all pages of them are known as runs of even steps and
    /// these rows are of one such run.
    ///
    /// # Errors
    /// See [`IntReader::read`].
    pub(super) fn even(&mut self, sst: &PointsFile, rows: Range<u64>) -> Result<Option<(i64, i64)>> {
        let mut all = None;
        let mut row = rows.start;
        while row < rows.end {
            let Some((first, step, count)) = self.even_run(sst, row..rows.end)? else { return Ok(None) };
            let so_far = row - rows.start;
            all = match all {
                None => Some((first, step)),
                Some((all_first, all_step)) => {
                    let all_step = if so_far == 1 { first.wrapping_sub(all_first) } else { all_step };
                    let goes_on = first == all_first.wrapping_add(all_step.wrapping_mul(so_far as i64))
                        && (count == 1 || step == all_step);
                    if !goes_on {
                        return Ok(None);
                    }
                    Some((all_first, all_step))
                }
            };
            row += count;
        }
        Ok(all)
    }

    /// The first rows of `rows`, as many as are known as one run of even steps: the first value, the step and how many they are.
    /// `None` if no run is known there.
    ///
    /// # Errors
    /// See [`IntReader::read`].
    pub(super) fn even_run(&mut self, sst: &PointsFile, rows: Range<u64>) -> Result<Option<(i64, i64, u64)>> {
        if rows.is_empty() || !self.open_at(sst, rows.start)? {
            return Ok(None);
        }
        let Some((page, evens)) = self.open.as_ref().and_then(OpenPage::evens) else { return Ok(None) };
        let end = rows.end.min(page.end);
        let run = runs_of(evens, (rows.start - page.start) as usize..(end - page.start) as usize).next();
        Ok(run.map(|(run, count)| (run.first, run.step, count as u64)))
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
            if !self.open_at(sst, row)? {
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

    /// The sum of the values of `rows`, each of which has one, which wraps. `None` for pages that are not of the usual form; what comes
    /// next may then be read all the same.
    ///
    /// # Errors
    /// See [`IntReader::read`].
    pub(super) fn sum(&mut self, sst: &PointsFile, rows: Range<u64>) -> Result<Option<i64>> {
        let (mut sum, mut row) = (0_i64, rows.start);
        while row < rows.end {
            if !self.open_at(sst, row)? {
                return Ok(None);
            }
            let Some(page) = &mut self.open else { return Ok(None) };
            let end = rows.end.min(page.rows.end);
            let Some(part) = page.sum(&self.bytes, row..end) else {
                self.open = None;
                return Ok(None);
            };
            sum = sum.wrapping_add(part);
            row = end;
        }
        Ok(Some(sum))
    }

    /// Opens the page with this row if it is not; false if it is not of the usual form.
    #[inline]
    fn open_at(&mut self, sst: &PointsFile, row: u64) -> Result<bool> {
        let is_open = self.open.as_ref().is_some_and(|page| page.rows.contains(&row) && !page.is_behind(row));
        Ok(is_open || self.open_page(sst, row)?)
    }

    fn open_page(&mut self, sst: &PointsFile, row: u64) -> Result<bool> {
        self.open = None;
        let Some(place) = place_of(sst, self.column, row) else { return Ok(false) };
        let key = (sst.number, place.offset);
        if let Some(page) = sst.pages.get(key) {
            let unpacker = match page.evens.is_empty() {
                true => Unpacker::new(&page.bytes, 0, page.values, self.unit),
                false => None,
            };
            let (rows, present) = (page.rows.clone(), page.present.clone());
            self.open = Some(OpenPage { rows, present, unpacker, page: Some(page), taken: 0 });
            return Ok(true);
        }
        let chunk = sst.metadata.row_group(place.group).column(self.column);
        let levels = chunk.column_descr().max_def_level() > 0;
        let unpacked = DESK.with_borrow_mut(|desk| -> Result<Option<Unpacked>> {
            sst.source.read_page(place.offset, place.length, &mut desk.raw).map_err(read_error)?;
            Ok(unpack(desk, &place, chunk.compression(), levels, &mut self.bytes))
        })?;
        let Some(Unpacked { present, from, values }) = unpacked else { return Ok(false) };
        let Some(unpacker) = Unpacker::new(&self.bytes, from, values, self.unit) else { return Ok(false) };
        let rows = place.rows;
        let evens = match self.column == column::TIME && present.is_empty() {
            true => {
                let runs_max = EVENS_MAX.max(values / ROWS_PER_EVEN);
                Unpacker::new(&self.bytes, from, values, self.unit).and_then(|all| all.evens(&self.bytes, runs_max))
            }
            false => None,
        };
        if let Some(evens) = evens {
            let weight = evens.capacity() * size_of::<Even>();
            let (kept, bytes) = (rows.clone(), Box::default());
            let page = Arc::new(Page { rows: kept, present, bytes, values, evens });
            if self.keeps {
                sst.pages.put(key, weight, || page.clone());
            }
            self.open = Some(OpenPage { rows, present: Vec::new(), unpacker: None, page: Some(page), taken: 0 });
            return Ok(true);
        }
        if self.keeps {
            let bytes = &self.bytes[from..];
            sst.pages.put(key, bytes.len(), || {
                let (rows, present, bytes) = (rows.clone(), present.clone(), bytes.into());
                Arc::new(Page { rows, present, bytes, values, evens: Vec::new() })
            });
        }
        self.open = Some(OpenPage { rows, present, unpacker: Some(unpacker), page: None, taken: 0 });
        Ok(true)
    }
}

/// The runs that rows of a page are of, each as if it began with them, and how many rows they have of each.
fn runs_of(evens: &[Even], rows: Range<usize>) -> impl Iterator<Item = (Even, usize)> {
    let at = evens.partition_point(|run| run.row <= rows.start).saturating_sub(1);
    let ends = evens.iter().skip(at + 1).map(|next| next.row).chain([usize::MAX]);
    evens[at..].iter().zip(ends).take_while(move |(run, _)| run.row < rows.end).map(move |(run, end)| {
        let start = run.row.max(rows.start);
        let first = run.first.wrapping_add(run.step.wrapping_mul((start - run.row) as i64));
        (Even { row: start, first, step: run.step }, end.min(rows.end) - start)
    })
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

/// Decompresses the page in `desk` into `bytes`; `None` if it is not of the usual form.
fn unpack(
    desk: &mut Desk,
    place: &Place,
    compression: Compression,
    levels: bool,
    bytes: &mut Vec<u8>,
) -> Option<Unpacked> {
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
    let values = usize::try_from(values).ok().filter(|values| *values > 0)?;
    Some(Unpacked { present, from, values })
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
    /// The page's rows and the runs of even steps that its values are; `None` if they are not known as such.
    fn evens(&self) -> Option<(&Range<u64>, &[Even])> {
        let page = self.page.as_ref()?;
        (!page.evens.is_empty()).then_some((&self.rows, page.evens.as_slice()))
    }

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
        self.unpacker.is_some() && self.before(row).0 < self.taken
    }

    /// How many values are to be passed over to come to those of `rows`, which are not behind and are behind then; `None` if
    /// one of these has none.
    fn pass(&mut self, rows: &Range<u64>) -> Option<usize> {
        let ((first, has_first), (last, has_last)) = (self.before(rows.start), self.before(rows.end - 1));
        let skip = first.checked_sub(self.taken)?;
        if !has_first || !has_last || last - first + 1 != rows.end - rows.start {
            return None;
        }
        self.taken = last + 1;
        usize::try_from(skip).ok()
    }

    /// The sum of the values of rows of the page; `None` as [`OpenPage::take`] gives false, and for even values.
    fn sum(&mut self, bytes: &[u8], rows: Range<u64>) -> Option<i64> {
        let skip = self.pass(&rows)?;
        let bytes = self.page.as_ref().map_or(bytes, |page| &page.bytes);
        let unpacker = self.unpacker.as_mut()?;
        if unpacker.skip(bytes, skip) { unpacker.sum(bytes, (rows.end - rows.start) as usize) } else { None }
    }

    /// Appends the values of rows of the page, which are not behind; false if one of them has none, or if the page ends
    /// early.
    fn take(&mut self, bytes: &[u8], rows: Range<u64>, out: &mut Vec<i64>) -> bool {
        let count = rows.end - rows.start;
        if self.unpacker.is_none() {
            let Some((page, evens)) = self.evens() else { return false };
            for (run, count) in runs_of(evens, (rows.start - page.start) as usize..(rows.end - page.start) as usize) {
                out.extend((0..count as i64).map(|at| run.first.wrapping_add(run.step.wrapping_mul(at))));
            }
            return true;
        }
        let Some(skip) = self.pass(&rows) else { return false };
        let bytes = self.page.as_ref().map_or(bytes, |page| &page.bytes);
        let Some(unpacker) = &mut self.unpacker else { return false };
        unpacker.skip(bytes, skip) && unpacker.take(bytes, count as usize, out)
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
