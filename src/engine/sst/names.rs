//! Series and fields by name, as Parquet beside the points, so that any reader can join names to numbers.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, MapBuilder, RecordBatch, StringBuilder, UInt16Builder, UInt32Builder, UInt64Builder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use rhythmite_env::Env;
use rhythmite_model::{Error, FieldId, FieldType, Result, SeriesId, TableId};

use super::layout::FORMAT_VERSION;
use super::output::{Output, Written};

/// Rows turned into Parquet at a time.
const BATCH_ROWS: usize = 8192;

/// Rows in a row group: few enough that a reader who looks for some series need not read all.
const GROUP_ROWS: usize = 128 * 1024;

/// One series by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesRow<'a> {
    /// The series.
    pub series: SeriesId,
    /// Database.
    pub database: &'a str,
    /// Retention policy.
    pub policy: &'a str,
    /// Measurement.
    pub table: &'a str,
    /// The series' whole key, see `KeyKind`.
    pub path: &'a str,
}

/// Key and value of a tag.
pub type Tag<'a> = (Cow<'a, str>, Cow<'a, str>);

/// One field by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRow<'a> {
    /// The table.
    pub table: TableId,
    /// The table's name.
    pub table_name: &'a str,
    /// The field's number in the table.
    pub id: FieldId,
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub field_type: FieldType,
}

/// The series file under construction, under its temporary name. Its bytes follow from its rows alone.
pub struct SeriesFile {
    table: SeriesTable,
    file: NamesFile,
    last: Option<SeriesId>,
}

impl SeriesFile {
    /// Creates the file.
    ///
    /// # Errors
    /// `Unavailable`: disk.
    pub fn create(env: &Env, path: &Path) -> Result<Self> {
        let table = SeriesTable::new();
        let file = NamesFile::create(env, path, table.schema())?;
        Ok(Self { table, file, last: None })
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
        self.table.push(row, tags);
        Ok(())
    }

    /// Turns the rows into Parquet if there are enough.
    ///
    /// # Errors
    /// `Unavailable`: disk.
    pub fn write_full(&mut self) -> Result<()> {
        if self.table.rows < BATCH_ROWS { Ok(()) } else { self.file.write(&self.table.take()?) }
    }

    /// Writes the rest and makes the file durable; it takes no more.
    ///
    /// # Errors
    /// `Unavailable`: disk.
    pub fn close(&mut self) -> Result<Written> {
        if self.table.rows > 0 {
            self.file.write(&self.table.take()?)?;
        }
        self.file.finish()
    }
}

/// Writes the fields file under its temporary name and makes it durable.
pub fn write_fields(env: &Env, path: &Path, rows: &[FieldRow<'_>]) -> Result<Written> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("table", DataType::UInt32, false),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("id", DataType::UInt16, false),
        Field::new("name", DataType::Utf8, false),
        Field::new("type", DataType::Utf8, false),
    ]));
    let (mut table, mut table_name, mut id, mut name, mut field_type) =
        (UInt32Builder::new(), StringBuilder::new(), UInt16Builder::new(), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        table.append_value(row.table.0);
        table_name.append_value(row.table_name);
        id.append_value(row.id.0);
        name.append_value(row.name);
        field_type.append_value(row.field_type.name());
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(table.finish()),
        Arc::new(table_name.finish()),
        Arc::new(id.finish()),
        Arc::new(name.finish()),
        Arc::new(field_type.finish()),
    ];
    let mut file = NamesFile::create(env, path, schema.clone())?;
    file.write(&RecordBatch::try_new(schema, columns).map_err(bug)?)?;
    file.finish()
}

struct SeriesTable {
    schema: SchemaRef,
    rows: usize,
    series: UInt64Builder,
    texts: [StringBuilder; 4],
    tags: MapBuilder<StringBuilder, StringBuilder>,
}

impl SeriesTable {
    fn new() -> Self {
        let mut tags = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        let empty = tags.finish();
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let schema = Schema::new(vec![
            Field::new("series", DataType::UInt64, false),
            text("database"),
            text("policy"),
            text("table"),
            text("path"),
            Field::new("tags", arrow::array::Array::data_type(&empty).clone(), false),
        ]);
        Self {
            schema: Arc::new(schema),
            rows: 0,
            series: UInt64Builder::new(),
            texts: std::array::from_fn(|_| StringBuilder::new()),
            tags,
        }
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn push<'a>(&mut self, row: &SeriesRow<'_>, tags: impl Iterator<Item = Tag<'a>>) {
        self.rows += 1;
        self.series.append_value(row.series.0);
        for (column, text) in self.texts.iter_mut().zip([row.database, row.policy, row.table, row.path]) {
            column.append_value(text);
        }
        for (key, value) in tags {
            self.tags.keys().append_value(key);
            self.tags.values().append_value(value);
        }
        self.tags.append(true).expect("as many keys as values were appended");
    }

    fn take(&mut self) -> Result<RecordBatch> {
        self.rows = 0;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.series.finish())];
        columns.extend(self.texts.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        columns.push(Arc::new(self.tags.finish()));
        RecordBatch::try_new(self.schema.clone(), columns).map_err(bug)
    }
}

struct NamesFile {
    writer: ArrowWriter<Output>,
}

impl NamesFile {
    fn create(env: &Env, at: &Path, schema: SchemaRef) -> Result<Self> {
        let level = ZstdLevel::try_new(1).map_err(bug)?;
        let series = ColumnPath::from("series");
        let path = ColumnPath::from("path");
        let version =
            parquet::file::metadata::KeyValue::new("rhythmite.version".to_owned(), FORMAT_VERSION.to_string());
        let properties = WriterProperties::builder()
            .set_created_by(concat!("rhythmite ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(level))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_column_dictionary_enabled(series.clone(), false)
            .set_column_encoding(series, Encoding::DELTA_BINARY_PACKED)
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BYTE_ARRAY)
            .set_key_value_metadata(Some(vec![version]))
            .build();
        let writer = ArrowWriter::try_new(Output::create(env, at)?, schema, Some(properties)).map_err(bug)?;
        Ok(Self { writer })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(super::write_error)
    }

    fn finish(&mut self) -> Result<Written> {
        self.writer.finish().map_err(super::write_error)?;
        self.writer.inner_mut().sync().map_err(Error::from)
    }
}

fn bug(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("names table: {error}"))
}
