//! The forms of an answer.

use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder as CsvBuilder;
use arrow::datatypes::SchemaRef;
use arrow::json::{ArrayWriter, LineDelimitedWriter};
use arrow::util::pretty::pretty_format_batches;
use axum::body::Bytes;
use parking_lot::Mutex;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rhythmite_model::{Error, Result};

use super::invalid;
use crate::query::sql::Encode;

/// Memory of the rows of a table for people, in bytes: its columns' widths are known at the end only.
const PRETTY_BYTES_MAX: usize = 16 << 20;
/// Memory of a Parquet row group under construction, in bytes.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) enum Format {
    Json,
    JsonLines,
    Csv,
    Pretty,
    Parquet,
}

impl Format {
    /// The format of a `format` parameter.
    ///
    /// # Errors
    /// `Invalid` for an unknown one.
    pub fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "json" => Format::Json,
            "jsonl" | "json_lines" => Format::JsonLines,
            "csv" => Format::Csv,
            "pretty" => Format::Pretty,
            "parquet" => Format::Parquet,
            other => {
                return Err(invalid(format!(
                    "unknown format {other:?}: there are json, jsonl, csv, pretty and parquet"
                )));
            }
        })
    }

    /// The format of an `Accept` header: the first type of the list that there is; JSON for none.
    ///
    /// # Errors
    /// `Invalid` if there is none of them.
    pub fn accepted(accept: &str) -> Result<Self> {
        let mut types = accept.split(',').map(|t| t.split(';').next().unwrap_or("").trim().to_ascii_lowercase());
        let known = types.find_map(|media_type| match media_type.as_str() {
            "" | "*/*" | "application/*" | "application/json" => Some(Format::Json),
            "application/jsonl" | "application/x-ndjson" => Some(Format::JsonLines),
            "text/csv" | "application/csv" => Some(Format::Csv),
            "text/plain" | "text/*" => Some(Format::Pretty),
            "application/vnd.apache.parquet" => Some(Format::Parquet),
            _ => None,
        });
        known.ok_or_else(|| {
            invalid(format!(
                "nothing of Accept {accept:?} can be made: there are application/json, application/jsonl, text/csv, \
                 text/plain and application/vnd.apache.parquet"
            ))
        })
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::JsonLines => "application/jsonl",
            Format::Csv => "text/csv",
            Format::Pretty => "text/plain; charset=utf-8",
            Format::Parquet => "application/vnd.apache.parquet",
        }
    }
}

/// What a writer has written and nobody has taken yet.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Option<Bytes> {
        let bytes = std::mem::take(&mut *self.0.lock());
        (!bytes.is_empty()).then(|| Bytes::from(bytes))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

enum Writer {
    Json(ArrayWriter<Buffer>),
    JsonLines(LineDelimitedWriter<Buffer>),
    Csv(Box<arrow::csv::Writer<Buffer>>),
    Pretty { schema: SchemaRef, batches: Vec<RecordBatch>, bytes: usize },
    Parquet(Box<ArrowWriter<Buffer>>),
}

/// Writes batches in a format.
pub(in crate::api) struct Encoder {
    buffer: Buffer,
    writer: Writer,
}

impl Encoder {
    /// # Errors
    /// `Invalid` for columns that the format cannot hold.
    pub fn new(format: Format, schema: &SchemaRef) -> Result<Self> {
        let buffer = Buffer::default();
        let to = buffer.clone();
        let writer = match format {
            Format::Json => Writer::Json(ArrayWriter::new(to)),
            Format::JsonLines => Writer::JsonLines(LineDelimitedWriter::new(to)),
            Format::Csv => {
                let mut writer = CsvBuilder::new().with_header(true).build(to);
                // An answer without rows has its header too.
                writer.write(&RecordBatch::new_empty(schema.clone())).map_err(unwritable)?;
                Writer::Csv(Box::new(writer))
            }
            Format::Pretty => Writer::Pretty { schema: schema.clone(), batches: Vec::new(), bytes: 0 },
            Format::Parquet => {
                let level = ZstdLevel::try_new(1).map_err(unwritable)?;
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                let writer = ArrowWriter::try_new(to, schema.clone(), Some(properties)).map_err(unwritable)?;
                Writer::Parquet(Box::new(writer))
            }
        };
        Ok(Self { buffer, writer })
    }
}

impl Encode for Encoder {
    type Item = Bytes;

    fn batch(&mut self, batch: RecordBatch) -> Result<Option<Bytes>> {
        match &mut self.writer {
            Writer::Json(writer) => writer.write(&batch).map_err(unwritable)?,
            Writer::JsonLines(writer) => writer.write(&batch).map_err(unwritable)?,
            Writer::Csv(writer) => writer.write(&batch).map_err(unwritable)?,
            Writer::Pretty { batches, bytes, .. } => {
                *bytes += batch.get_array_memory_size();
                if *bytes > PRETTY_BYTES_MAX {
                    return Err(invalid("the answer is too long for format pretty: add LIMIT, or ask for csv"));
                }
                batches.push(batch);
            }
            Writer::Parquet(writer) => {
                writer.write(&batch).map_err(unwritable)?;
                if writer.memory_size() > ROW_GROUP_BYTES {
                    writer.flush().map_err(unwritable)?;
                }
            }
        }
        Ok(self.buffer.take())
    }

    fn finish(&mut self) -> Result<Option<Bytes>> {
        match &mut self.writer {
            Writer::Json(writer) => writer.finish().map_err(unwritable)?,
            Writer::JsonLines(writer) => writer.finish().map_err(unwritable)?,
            Writer::Csv(_) => {}
            Writer::Pretty { schema, batches, .. } => {
                if batches.is_empty() {
                    batches.push(RecordBatch::new_empty(schema.clone()));
                }
                let table = pretty_format_batches(batches).map_err(unwritable)?;
                writeln!(self.buffer, "{table}").map_err(unwritable)?;
            }
            Writer::Parquet(writer) => {
                writer.finish().map_err(unwritable)?;
            }
        }
        Ok(self.buffer.take())
    }
}

/// A buffer takes everything: what fails is a type that the format cannot hold.
fn unwritable(e: impl std::fmt::Display) -> Error {
    invalid(format!("the answer cannot be written in this format: {e}"))
}
