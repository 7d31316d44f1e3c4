//! The whole truth about one SST: every byte against its checksum, every row against the index.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{Int32Type, Int64Type};
use rhythmite_env::File;
use rhythmite_model::{Column, Error, Result};

use super::SstPart;
use super::cursor::{Decoder, SstCursor};
use super::index::{FileCheck, StreamEntry};
use super::layout::column;
use super::reader::{PointsFile, SstReader};
use super::stats::Fold;
use super::writer::clear;

/// Bytes read at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// Rows decoded at a time: a stream may be as long as its file.
const CHUNK_ROWS: u32 = 1 << 16;

impl SstReader {
    /// Reads everything and compares: checksums of the Parquet files, and for every stream its rows' series and field,
    /// the order and range of its times, and its aggregates.
    ///
    /// # Errors
    /// `Corrupt`: something does not fit; the message names file and place. `Unavailable`: disk.
    pub fn verify(&self) -> Result<()> {
        [SstPart::Points, SstPart::Series, SstPart::Fields].into_iter().try_for_each(|part| self.verify_part(part))?;
        self.verify_rows()
    }

    /// Reads one of the files whole and compares its length and checksum with what the index says. The index itself was
    /// tested when it was opened.
    ///
    /// # Errors
    /// As [`SstReader::verify`].
    pub fn verify_part(&self, part: SstPart) -> Result<()> {
        let facts = &self.head.facts;
        let expected = match part {
            SstPart::Index => return Ok(()),
            SstPart::Points => facts.points,
            SstPart::Series => facts.series,
            SstPart::Fields => facts.fields,
        };
        let path = self.paths.part(part);
        self.verify_bytes(path, expected).map_err(|e| e.at(path.display()))
    }

    /// Decodes every row and compares with the index, a bounded number of rows at a time.
    ///
    /// # Errors
    /// As [`SstReader::verify`].
    pub fn verify_rows(&self) -> Result<()> {
        self.compare_rows().map_err(|e| e.at(self.path().display()))
    }

    fn verify_bytes(&self, path: &Path, expected: FileCheck) -> Result<()> {
        let file = self.env.fs.open(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::corrupt("is missing"),
            _ => e.into(),
        })?;
        let len = file.len()?;
        if len != expected.len {
            return Err(Error::corrupt(format!("{len} bytes long, its index says {}", expected.len)));
        }
        if checksum(&file, len)? != expected.crc {
            return Err(Error::corrupt("fails its checksum"));
        }
        Ok(())
    }

    fn compare_rows(&self) -> Result<()> {
        let mut cursor = self.cursor();
        let mut ids = Ids { series: Decoder::new(column::SERIES), field: Decoder::new(column::FIELD) };
        let (mut min_ns, mut max_ns) = (i64::MAX, i64::MIN);
        for entry in self.entries() {
            let entry = entry?;
            (min_ns, max_ns) = (min_ns.min(entry.min_time_ns), max_ns.max(entry.max_time_ns));
            let place = || format!("series {} field {}", entry.series.0, entry.field.0);
            self.verify_stream(&entry, &mut cursor, &mut ids).map_err(|e| e.at(place()))?;
        }
        if (min_ns..=max_ns) != self.time_range_ns() {
            return Err(Error::corrupt("the file's time range is not its streams'"));
        }
        Ok(())
    }

    fn verify_stream(&self, entry: &StreamEntry, cursor: &mut SstCursor, ids: &mut Ids) -> Result<()> {
        let mut fold = Fold::Empty;
        let (mut times_ns, mut values) = (Vec::new(), Column::new(entry.field_type()));
        let mut last_ns = None;
        for from in (0..entry.rows).step_by(CHUNK_ROWS as usize) {
            let rows = (entry.rows - from).min(CHUNK_ROWS);
            let chunk = StreamEntry { row_start: entry.row_start + u64::from(from), rows, ..*entry };
            ids.verify(&self.points, &chunk)?;
            times_ns.clear();
            clear(&mut values);
            cursor.read_all(&chunk, &mut times_ns, &mut values)?;
            if times_ns.len() != rows as usize || values.len() != times_ns.len() {
                return Err(Error::corrupt("another number of rows"));
            }
            if last_ns >= times_ns.first().copied() || !times_ns.windows(2).all(|w| w[0] < w[1]) {
                return Err(Error::corrupt("times do not ascend"));
            }
            if from == 0 && times_ns[0] != entry.min_time_ns {
                return Err(Error::corrupt("another time range"));
            }
            last_ns = times_ns.last().copied();
            fold.push(&values, 0..values.len());
        }
        if last_ns != Some(entry.max_time_ns) {
            return Err(Error::corrupt("another time range"));
        }
        if fold.finish() != entry.stats {
            return Err(Error::corrupt("other aggregates"));
        }
        Ok(())
    }
}

struct Ids {
    series: Decoder<Int64Type>,
    field: Decoder<Int32Type>,
}

impl Ids {
    fn verify(&mut self, sst: &PointsFile, entry: &StreamEntry) -> Result<()> {
        let rows = entry.row_start..entry.row_start + u64::from(entry.rows);
        let (mut series, mut fields) = (Vec::new(), Vec::new());
        self.series.read(sst, rows.clone(), None, &mut series)?;
        self.field.read(sst, rows, None, &mut fields)?;
        let same = series.iter().all(|id| *id as u64 == entry.series.0)
            && fields.iter().all(|id| *id == i32::from(entry.field.0));
        if same { Ok(()) } else { Err(Error::corrupt("rows of another stream")) }
    }
}

/// CRC-32C of the first `len` bytes.
pub(super) fn checksum(file: &Arc<dyn File>, len: u64) -> Result<u32> {
    let mut crc = 0;
    let mut block = vec![0; BLOCK_BYTES];
    let mut offset = 0;
    while offset < len {
        let part = &mut block[..(len - offset).min(BLOCK_BYTES as u64) as usize];
        file.read_exact_at(part, offset)?;
        crc = crc32c::crc32c_append(crc, part);
        offset += part.len() as u64;
    }
    Ok(crc)
}
