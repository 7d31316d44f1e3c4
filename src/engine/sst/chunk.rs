//! Column chunks that we encode ourselves: integers, and columns without a value.
//!
//! The Parquet crate's writer takes the fewest bits for deltas and cuts every column into equal pages, also those that
//! hold nothing. What is made here is ordinary Parquet (data pages of version 1) that compresses better; see
//! [`super::delta`]. `docs/formats/sst.md` has the layout.

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, Type};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::delta::{self, Widths};
use super::layout::{self, PageCompression};

/// Compresses pages; keeps its context from one page to the next.
pub(super) struct Compressor {
    codec: Compression,
    context: Context,
}

enum Context {
    Snappy(Box<snap::raw::Encoder>),
    Zstd {
        usual: zstd::bulk::Compressor<'static>,
        /// For symbols of several bytes.
        wide: zstd::bulk::Compressor<'static>,
        /// For what hardly gets smaller: only repetitions are looked for, the rest stays as it is.
        light: zstd::bulk::Compressor<'static>,
    },
}

/// The part of a page that compression must save for symbols to be counted. Values that are noise (two decimals at random
/// in sixteen bits) lose a twentieth, and take fifteen times as long to be read.
// Proof: `cargo bench -p rhythmite --bench graphite_fetch -- files/sum_1000_1d`.
const SAVED_MIN: usize = 10;
const LIGHT_LEVEL: i32 = -1;
/// Symbols of two bytes (steps of whole seconds in a file of milliseconds, gaps in them) take a tenth to a third less time to be
/// read than at [`layout::ZSTD_LEVEL`], and not more bytes; symbols of one byte would take twice as much.
const WIDE_LEVEL: i32 = 3;

impl Compressor {
    /// # Errors
    /// When zstd has no memory.
    pub(super) fn new(kind: PageCompression) -> Result<Self> {
        let context = match kind {
            PageCompression::Snappy => Context::Snappy(Box::new(snap::raw::Encoder::new())),
            PageCompression::Zstd1 => {
                let level = |level| zstd::bulk::Compressor::new(level).map_err(external);
                Context::Zstd {
                    usual: level(layout::ZSTD_LEVEL)?,
                    wide: level(WIDE_LEVEL)?,
                    light: level(LIGHT_LEVEL)?,
                }
            }
        };
        Ok(Self { codec: layout::codec(kind)?, context })
    }

    /// A page of so many rows.
    fn compress(&mut self, page: &[u8], rows: usize) -> Result<Vec<u8>> {
        match &mut self.context {
            Context::Snappy(encoder) => encoder.compress_vec(page).map_err(external),
            Context::Zstd { usual, wide, light } => {
                let is_wide = page.len() / 3 > rows / 2;
                let small = if is_wide { wide } else { usual }.compress(page).map_err(external)?;
                if small.len() + page.len() / SAVED_MIN <= page.len() {
                    Ok(small)
                } else {
                    light.compress(page).map_err(external)
                }
            }
        }
    }

    fn widths(&self) -> Widths {
        match self.context {
            Context::Snappy(_) => Widths::Tight,
            Context::Zstd { .. } => Widths::Aligned,
        }
    }
}

fn external(e: impl std::error::Error + Send + Sync + 'static) -> ParquetError {
    ParquetError::External(e.into())
}

/// One column chunk in memory, page by page.
pub(super) struct ChunkWriter<'c> {
    column: ColumnDescPtr,
    compressor: &'c mut Compressor,
    file: TrackedWrite<Vec<u8>>,
    pages: OffsetIndexBuilder,
    /// Least and greatest of each page, where they are wanted.
    ranges: Option<(ColumnIndexBuilder, i64, i64)>,
    encodings: Vec<Encoding>,
    rows: u64,
    uncompressed: u64,
    scratch: Vec<u8>,
}

impl<'c> ChunkWriter<'c> {
    /// A chunk of `column`; `ranges` says whether each page's least and greatest value are kept.
    pub(super) fn new(column: ColumnDescPtr, compressor: &'c mut Compressor, ranges: bool) -> Self {
        Self {
            column,
            compressor,
            file: TrackedWrite::new(Vec::new()),
            pages: OffsetIndexBuilder::new(),
            ranges: ranges.then(|| (ColumnIndexBuilder::new(Type::INT64), i64::MAX, i64::MIN)),
            encodings: vec![Encoding::RLE],
            rows: 0,
            uncompressed: 0,
            scratch: Vec::new(),
        }
    }

    /// Whether what repeats in a page costs nothing.
    pub(super) fn finds_repetitions(&self) -> bool {
        self.compressor.widths() == Widths::Aligned
    }

    /// A page of integers. `levels` has a 1 for each row with a value and a 0 for each without; `None` in a column
    /// that always has one. A 32-bit column takes 32-bit values only.
    pub(super) fn integers(&mut self, values: &[i64], levels: Option<&[i16]>) -> Result<()> {
        let mut page = std::mem::take(&mut self.scratch);
        page.clear();
        if let Some(levels) = levels {
            put_levels(levels.chunk_by(|a, b| a == b).map(|run| (run.len(), run[0] != 0)), &mut page);
        }
        let levels_end = page.len();
        delta::encode(values, self.compressor.widths(), &mut page);
        let rows = levels.map_or(values.len(), <[i16]>::len);
        let mut small = self.compressor.compress(&page, rows)?;
        // More than a byte a value.
        if self.compressor.widths() == Widths::Aligned && page.len() - levels_end > values.len() {
            let mut narrow = page[..levels_end].to_vec();
            delta::encode(values, Widths::Narrow, &mut narrow);
            // Noise over the whole width would save less than this, and stays in whole bytes.
            if narrow.len() + small.len() / SAVED_MIN <= small.len() {
                small = self.compressor.compress(&narrow, rows)?;
                page = narrow;
            }
        }
        if let Some((index, least, greatest)) = &mut self.ranges {
            let (min, max) = values.iter().fold((i64::MAX, i64::MIN), |(min, max), &v| (min.min(v), max.max(v)));
            index.append(false, min.to_le_bytes().to_vec(), max.to_le_bytes().to_vec(), 0);
            (*least, *greatest) = (min.min(*least), max.max(*greatest));
        }
        let written = self.compressed(small, page.len(), rows, Encoding::DELTA_BINARY_PACKED);
        self.scratch = page;
        written
    }

    /// One page of `rows` rows with an empty list each, in a column of a list.
    pub(super) fn empty_lists(&mut self, rows: usize) -> Result<()> {
        let mut page = Vec::new();
        // Repetition and definition: each row begins a list, which is where its definition ends.
        put_levels(std::iter::once((rows, false)), &mut page);
        put_levels(std::iter::once((rows, false)), &mut page);
        self.page(&page, rows, Encoding::PLAIN)
    }

    /// One page of `rows` rows without a value.
    pub(super) fn nulls(&mut self, rows: usize) -> Result<()> {
        let mut page = Vec::new();
        put_levels(std::iter::once((rows, false)), &mut page);
        self.page(&page, rows, Encoding::PLAIN)
    }

    /// One page of these bytes, levels included.
    pub(super) fn page(&mut self, bytes: &[u8], rows: usize, encoding: Encoding) -> Result<()> {
        let small = self.compressor.compress(bytes, rows)?;
        self.compressed(small, bytes.len(), rows, encoding)
    }

    /// A page that had `len` bytes before it was compressed.
    fn compressed(&mut self, small: Vec<u8>, len: usize, rows: usize, encoding: Encoding) -> Result<()> {
        if !self.encodings.contains(&encoding) {
            self.encodings.push(encoding);
        }
        let page = Page::DataPage {
            buf: Bytes::from(small),
            num_values: u32::try_from(rows).map_err(|_| ParquetError::General(format!("a page of {rows} rows")))?,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let spec = SerializedPageWriter::new(&mut self.file).write_page(CompressedPage::new(page, len))?;
        self.pages.append_row_count(rows as i64);
        self.pages.append_offset_and_size(spec.offset as i64, spec.compressed_size as i32);
        self.uncompressed += spec.uncompressed_size as u64;
        self.rows += rows as u64;
        Ok(())
    }

    /// The bytes, and what the file's footer says of them; offsets count from the start of the bytes.
    pub(super) fn close(self) -> Result<(Bytes, ColumnCloseResult)> {
        let bytes = self.file.into_inner()?;
        let mut metadata = ColumnChunkMetaData::builder(self.column)
            .set_compression(self.compressor.codec)
            .set_encodings(self.encodings)
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_num_values(self.rows as i64)
            .set_data_page_offset(0);
        let mut column_index = None;
        if let Some((index, least, greatest)) = self.ranges {
            metadata = metadata.set_statistics(Statistics::int64(Some(least), Some(greatest), None, Some(0), false));
            column_index = Some(index.build()?);
        }
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: self.rows,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index,
            offset_index: Some(self.pages.build()),
        };
        Ok((bytes.into(), close))
    }
}

/// Definition levels of a column that is not nested: the length in 4 bytes, then runs of (rows, has a value).
fn put_levels(runs: impl Iterator<Item = (usize, bool)>, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    for (rows, present) in runs {
        delta::varint((rows as u64) << 1, out);
        out.push(u8::from(present));
    }
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hardly_gets_smaller_is_left_as_it_is() {
        let mut compressor = Compressor::new(PageCompression::Zstd1).unwrap();
        let mut random = 1_u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            random >> 33
        };
        // Deltas of noise: the high bytes have few values.
        let noise: Vec<u8> = (0..8_192).flat_map(|_| (0x5800 + (next() % 0x5000) as u16).to_le_bytes()).collect();
        // Three bits in each byte.
        let walk: Vec<u8> = (0..16_384).map(|_| (next() >> 28) as u8).collect();
        // Steps of ten seconds, one in eight twice as long.
        let gaps = (0..8_192).flat_map(|_| (10_000 * u16::from(next() % 8 == 0)).to_le_bytes()).collect();
        for (page, rows, sizes) in [
            (noise, 8_192, 16_384..16_420),
            (walk, 16_384, 5_000..8_192),
            (gaps, 8_192, 1_000..2_000),
            (Vec::new(), 0, 1..20),
        ] {
            let small = compressor.compress(&page, rows).unwrap();
            assert!(sizes.contains(&small.len()), "{} of {}", small.len(), page.len());
            assert_eq!(zstd::bulk::decompress(&small, page.len()).unwrap(), page);
        }
    }

    /// Bytes of a page of so many values, compressed.
    fn page_bytes(values: &[i64]) -> usize {
        let column = layout::schema(layout::TimeUnit::Nanosecond).unwrap();
        let column = parquet::schema::types::SchemaDescriptor::new(column).columns()[layout::column::M].clone();
        let mut compressor = Compressor::new(PageCompression::Zstd1).unwrap();
        let mut chunk = ChunkWriter::new(column, &mut compressor, false);
        chunk.integers(values, None).unwrap();
        chunk.close().unwrap().0.len()
    }

    #[test]
    fn wide_deltas_take_what_they_need() {
        let mut random = 7_u64;
        let mut next = move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as f64 / (1_u64 << 31) as f64
        };
        // About a normal deviate.
        let mut normal = move || (0..12).map(|_| next()).sum::<f64>() - 6.0;
        let mut walk = |sigma: f64| {
            let mut at = 5_000_f64;
            let step = |_| {
                at = (at + normal() * sigma).clamp(0.0, 10_000.0);
                at as i64
            };
            (0..8_192).map(step).collect::<Vec<i64>>()
        };
        // Hundredths of a value that walks by one a step, 1.09 bytes of entropy; a tenth and ten times of that.
        for (sigma, bytes_a_value) in [(100.0, 1.09..1.25), (10.0, 0.66..0.75), (1_000.0, 1.4..1.75)] {
            let bytes = page_bytes(&walk(sigma)) as f64 / 8_192.0;
            assert!(bytes_a_value.contains(&bytes), "steps of {sigma}: {bytes} bytes a value");
        }
        // What repeats stays aligned: gaps of ten seconds in milliseconds, one in eight twice as long.
        let mut time = 0;
        let gaps: Vec<i64> = (0..8_192_u64)
            .map(|row| {
                time += if row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61 == 0 { 20_000 } else { 10_000 };
                time
            })
            .collect();
        assert!(page_bytes(&gaps) < 8_192 / 4, "{}", page_bytes(&gaps));
    }
}
