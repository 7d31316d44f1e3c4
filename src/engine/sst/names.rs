//! Series and fields by name, as Parquet beside the points, so that any reader can join names to numbers: what their rows
//! are, and the file of fields. [`super::series_file`] is that of series.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder, UInt16Builder, UInt32Builder};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use rhythmite_env::Env;
use rhythmite_model::{Error, FieldId, FieldType, Result, SeriesId, TableId};

use super::layout::FORMAT_VERSION;
use super::output::{Output, Written};
use super::write_error;

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
    let version = KeyValue::new("rhythmite.version".to_owned(), FORMAT_VERSION.to_string());
    // A few rows: a compressor would cost more than it saves.
    let properties = WriterProperties::builder()
        .set_created_by(concat!("rhythmite ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_key_value_metadata(Some(vec![version]))
        .build();
    let mut file = ArrowWriter::try_new(Output::create(env, path)?, schema.clone(), Some(properties)).map_err(bug)?;
    file.write(&RecordBatch::try_new(schema, columns).map_err(bug)?).map_err(write_error)?;
    file.finish().map_err(write_error)?;
    file.inner_mut().sync().map_err(Error::from)
}

fn bug(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("names table: {error}"))
}
