//! The series file: names of the series of a points file, as any reader of Parquet can join them to its numbers.
//!
//! A file of many series with few points each is mostly names, so their columns are encoded here: each text says how much
//! of the one before it begins with (DELTA_BYTE_ARRAY), which leaves little of a path to compress, and nothing of a
//! database. Tags, which most Graphite series do not have, are left to the Parquet crate; a group without any has empty
//! lists, which cost nothing.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, MapBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use rhythmite_env::Env;
use rhythmite_model::{Error, Result, SeriesId};

use super::chunk::{ChunkWriter, Compressor};
use super::delta;
use super::layout::{self, FORMAT_VERSION, PageCompression};
use super::names::{SeriesRow, Tag};
use super::output::{Output, Written};
use super::rows::append;
use super::write_error;
use super::writer::SMALL_FILE_ROWS;
use crate::text_order::shared;

/// Rows of a page. Few in tests, which then meet every boundary.
const PAGE_ROWS: usize = if cfg!(test) { 64 } else { 8192 };

/// Rows in a row group: few enough that a reader who looks for some series need not read all.
const GROUP_ROWS: usize = 16 * PAGE_ROWS;

/// Position of the first column of tags; numbers and four texts stand in front.
const TAGS: usize = 5;

/// A series file under construction, under its temporary name. Its bytes follow from its rows alone.
pub struct SeriesFile {
    file: SerializedFileWriter<Output>,
    schema: SchemaRef,
    /// Made for the first group: what it is depends on the size of the file.
    compressor: Option<Compressor>,
    last: Option<SeriesId>,
    series: Vec<i64>,
    texts: [Texts; TAGS - 1],
    /// Made with the first series of the group that has tags.
    tags: Option<TagBuilder>,
}

type TagBuilder = MapBuilder<StringBuilder, StringBuilder>;

impl SeriesFile {
    /// Creates the file.
    ///
    /// # Errors
    /// `Unavailable`: disk.
    pub fn create(env: &Env, path: &Path) -> Result<Self> {
        let empty = tag_builder().finish();
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let schema = Arc::new(Schema::new(vec![
            Field::new("series", DataType::UInt64, false),
            text("database"),
            text("policy"),
            text("table"),
            text("path"),
            Field::new("tags", arrow::array::Array::data_type(&empty).clone(), false),
        ]));
        let root = ArrowSchemaConverter::new().convert(&schema).map_err(bug)?.root_schema_ptr();
        let version = KeyValue::new("rhythmite.version".to_owned(), FORMAT_VERSION.to_string());
        let properties = WriterProperties::builder()
            .set_created_by(concat!("rhythmite ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(layout::codec(PageCompression::Zstd1).map_err(bug)?)
            .set_statistics_enabled(EnabledStatistics::None)
            .set_max_row_group_row_count(None)
            .set_key_value_metadata(Some(vec![version]))
            .build();
        let output = Output::create(env, path)?;
        let file = SerializedFileWriter::new(output, root, Arc::new(properties)).map_err(bug)?;
        let (texts, tags) = (std::array::from_fn(|_| Texts::default()), None);
        Ok(Self { file, schema, compressor: None, last: None, series: Vec::new(), texts, tags })
    }

    /// Adds a row and its tags, sorted by key, in memory: a call of [`SeriesFile::write_full`] must follow.
    ///
    /// # Errors
    /// `Invalid`: rows do not ascend by series; the row is not taken then.
    pub fn push<'a>(&mut self, row: &SeriesRow<'_>, tags: impl Iterator<Item = Tag<'a>>) -> Result<()> {
        if self.last.is_some_and(|last| last >= row.series) {
            return Err(Error::invalid(format!("series {} of the names is out of order", row.series.0)));
        }
        self.last = Some(row.series);
        for (column, text) in self.texts.iter_mut().zip([row.database, row.policy, row.table, row.path]) {
            column.push(text);
        }
        for (key, value) in tags {
            let builder = self.tags.get_or_insert_with(|| {
                let mut builder = tag_builder();
                (0..self.series.len()).for_each(|_| end_tags(&mut builder));
                builder
            });
            builder.keys().append_value(key);
            builder.values().append_value(value);
        }
        self.tags.iter_mut().for_each(end_tags);
        self.series.push(row.series.0 as i64);
        Ok(())
    }

    /// Encodes the rows if there are enough.
    ///
    /// # Errors
    /// `Unavailable`: disk.
    pub fn write_full(&mut self) -> Result<()> {
        if self.series.is_empty() || !self.series.len().is_multiple_of(PAGE_ROWS) {
            return Ok(());
        }
        self.texts.iter_mut().for_each(Texts::end_page);
        if self.series.len() < GROUP_ROWS { Ok(()) } else { self.write_group() }
    }

    /// Writes the rest and makes the file durable; it takes no more.
    ///
    /// # Errors
    /// `Unavailable`: disk.
    pub fn close(&mut self) -> Result<Written> {
        if !self.series.is_empty() {
            self.texts.iter_mut().for_each(Texts::end_page);
            self.write_group()?;
        }
        self.file.finish().map_err(write_error)?;
        self.file.inner_mut().sync().map_err(Error::from)
    }

    fn write_group(&mut self) -> Result<()> {
        self.encode_group().map_err(write_error)
    }

    fn encode_group(&mut self) -> Result<(), ParquetError> {
        let rows = self.series.len();
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            // As the points of a small file.
            none if rows < SMALL_FILE_ROWS => none.insert(Compressor::new(PageCompression::Snappy)?),
            none => none.insert(Compressor::new(PageCompression::Zstd1)?),
        };
        let columns = self.file.schema_descr().columns().to_vec();
        let tags = match self.tags.take() {
            Some(mut tags) => tag_chunks(&self.file, &self.schema, Arc::new(tags.finish()))?,
            None => Vec::new(),
        };
        let mut group = self.file.next_row_group()?;
        for (column, at) in columns[..TAGS].iter().zip(0..) {
            let mut chunk = ChunkWriter::new(column.clone(), compressor, at == 0);
            if at == 0 {
                self.series.chunks(PAGE_ROWS).try_for_each(|page| chunk.integers(page, None))?;
            } else {
                let texts = &mut self.texts[at - 1];
                texts.pages().try_for_each(|(bytes, rows)| chunk.page(bytes, rows, Encoding::DELTA_BYTE_ARRAY))?;
                texts.clear();
            }
            append(&mut group, chunk)?;
        }
        if tags.is_empty() {
            for column in &columns[TAGS..] {
                let mut chunk = ChunkWriter::new(column.clone(), compressor, false);
                chunk.empty_lists(rows)?;
                append(&mut group, chunk)?;
            }
        }
        tags.into_iter().try_for_each(|chunk| chunk.append_to_row_group(&mut group))?;
        group.close()?;
        self.series.clear();
        Ok(())
    }
}

/// The columns of tags, as the Parquet crate encodes them.
fn tag_chunks(
    file: &SerializedFileWriter<Output>,
    schema: &SchemaRef,
    tags: ArrayRef,
) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
    let writers = ArrowRowGroupWriterFactory::new(file, schema.clone());
    let writers = writers.create_column_writers(file.flushed_row_groups().len())?;
    let leaves = compute_leaves(schema.field(TAGS), &tags)?;
    let chunk = |(mut writer, leaf): (parquet::arrow::arrow_writer::ArrowColumnWriter, _)| {
        writer.write(&leaf)?;
        writer.close()
    };
    writers.into_iter().skip(TAGS).zip(leaves).map(chunk).collect()
}

fn tag_builder() -> TagBuilder {
    MapBuilder::new(None, StringBuilder::new(), StringBuilder::new())
}

fn end_tags(builder: &mut TagBuilder) {
    builder.append(true).expect("as many keys as values were appended");
}

/// One column of texts, encoded page by page; of each only what the one before does not begin with.
///
/// Source: the Parquet format's `Encodings.md`, "Delta Strings".
#[derive(Default)]
struct Texts {
    /// The text before.
    last: String,
    /// Bytes that the rows of the open page share with the row before, those behind, and these themselves.
    shared: Vec<i64>,
    rest: Vec<i64>,
    bytes: Vec<u8>,
    /// Pages that are full, one behind the other, and the end and the rows of each.
    full: Vec<u8>,
    ends: Vec<(usize, usize)>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        let shared = shared(self.last.as_bytes(), text.as_bytes());
        let rest = &text.as_bytes()[shared..];
        self.shared.push(shared as i64);
        self.rest.push(rest.len() as i64);
        if !rest.is_empty() || shared < self.last.len() {
            self.bytes.extend_from_slice(rest);
            self.last.clear();
            self.last.push_str(text);
        }
    }

    fn end_page(&mut self) {
        if self.shared.is_empty() {
            return;
        }
        // These bytes are text, which zstd is to see as it is: only the numbers in front are packed.
        delta::encode(&self.shared, delta::Widths::Aligned, &mut self.full);
        delta::encode(&self.rest, delta::Widths::Aligned, &mut self.full);
        self.full.extend_from_slice(&self.bytes);
        self.ends.push((self.full.len(), self.shared.len()));
        // A page is read alone.
        self.last.clear();
        self.shared.clear();
        self.rest.clear();
        self.bytes.clear();
    }

    /// Bytes and rows of each page that is full.
    fn pages(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|end| end.0));
        starts.zip(&self.ends).map(|(start, &(end, rows))| (&self.full[start..end], rows))
    }

    fn clear(&mut self) {
        self.full.clear();
        self.ends.clear();
    }
}

fn bug(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("series file: {error}"))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::UInt64Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    /// What the file says of each row: number, texts and tags.
    fn read(path: &Path) -> Vec<(u64, String)> {
        let file = std::fs::File::open(path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(1000).build().unwrap();
        let mut rows = Vec::new();
        for batch in reader {
            let batch = batch.unwrap();
            let text =
                |row: usize, c: usize| arrow::util::display::array_value_to_string(batch.column(c), row).unwrap();
            for row in 0..batch.num_rows() {
                let columns: Vec<_> = (1..batch.num_columns()).map(|c| text(row, c)).collect();
                let id = batch.column(0).as_primitive::<UInt64Type>().value(row);
                assert!((0..batch.num_columns()).all(|c| batch.column(c).is_valid(row)));
                rows.push((id, columns.join("|")));
            }
        }
        rows
    }

    /// Table, path and tags of a row.
    type Given<'a> = (&'a str, String, Vec<(&'a str, &'a str)>);

    fn check(rows: &[Given<'_>]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("series.parquet");
        let mut file = SeriesFile::create(&Env::real(), &path).unwrap();
        let mut expected = Vec::new();
        for ((table, key, tags), id) in rows.iter().zip((5..).step_by(3)) {
            let row = SeriesRow { series: SeriesId(id), database: "d", policy: "", table, path: key };
            file.push(&row, tags.iter().map(|(k, v)| ((*k).into(), (*v).into()))).unwrap();
            file.write_full().unwrap();
            let tags: Vec<_> = tags.iter().map(|(k, v)| format!("{k}: {v}")).collect();
            expected.push((id, format!("d||{table}|{key}|{{{}}}", tags.join(", "))));
        }
        let late = SeriesRow { series: SeriesId(5), database: "d", policy: "", table: "", path: "" };
        assert!(rows.is_empty() || file.push(&late, std::iter::empty()).is_err(), "out of order");
        let written = file.close().unwrap();
        let path = super::super::output::temporary(&path);
        assert_eq!(written.len, std::fs::metadata(&path).unwrap().len());
        assert_eq!(read(&path), expected);
    }

    #[test]
    fn rows_come_back_whatever_the_pages_and_groups_they_fall_into() {
        let path = |n: usize| format!("servers.dc{}.host{:05}.größe{}", n % 3, n / 7, n % 7);
        for rows in [0, 1, PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1, GROUP_ROWS, 2 * GROUP_ROWS + 77] {
            // Paths only; tags from somewhere in a group on; tags everywhere.
            for tagged_from in [usize::MAX, GROUP_ROWS + 100, 0] {
                let tags = |n: usize| match n % 3 {
                    _ if n < tagged_from => vec![],
                    0 => vec![("host", "a"), ("region", "")],
                    1 => vec![("host", "b")],
                    _ => vec![],
                };
                let table = |n: usize| ["", "cpu", "metrics"][n * 3 / rows.max(1)];
                check(&(0..rows).map(|n| (table(n), path(n), tags(n))).collect::<Vec<_>>());
            }
        }
        let odd = ["", "a", "", "aa", "a", "\0", "a\0", "ü", "u", "üx"];
        check(&odd.map(|key| ("t", key.to_owned(), vec![])));
    }
}
