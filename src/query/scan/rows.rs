//! Series become rows, rows become record batches.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, DictionaryArray, Int32Array, Int32Builder, PrimitiveBuilder, RecordBatch,
    RecordBatchOptions, StringBuilder, TimestampNanosecondArray,
};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, SchemaRef, UInt64Type};
use arrow::error::ArrowError;
use rhythmite_engine::registry::key;
use rhythmite_model::{Column, FieldType, KeyKind};

use super::align::{ABSENT, Aligned};
use super::schema::ColumnKind;

/// One column under construction.
enum Builder {
    Time(Vec<i64>),
    Text(TextBuilder),
    Float(PrimitiveBuilder<Float64Type>),
    Integer(PrimitiveBuilder<Int64Type>),
    Unsigned(PrimitiveBuilder<UInt64Type>),
    Boolean(BooleanBuilder),
    String(StringBuilder),
}

/// A dictionary of the texts of one batch.
#[derive(Default)]
struct TextBuilder {
    keys: Int32Builder,
    numbers: HashMap<String, i32>,
    values: StringBuilder,
    /// Key of the series being added.
    current: Option<i32>,
}

impl TextBuilder {
    fn set(&mut self, text: &str) {
        self.current = Some(match self.numbers.get(text) {
            Some(&number) => number,
            None => {
                let number = self.numbers.len() as i32;
                self.values.append_value(text);
                self.numbers.insert(text.to_owned(), number);
                number
            }
        });
    }

    fn append(&mut self, rows: usize) {
        match self.current {
            Some(key) => self.keys.append_value_n(key, rows),
            None => self.keys.append_nulls(rows),
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        self.numbers.clear();
        let keys: Int32Array = self.keys.finish();
        let values = Arc::new(self.values.finish());
        Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values)?))
    }
}

/// Collects rows of one shape until a batch is full.
pub(super) struct RowBuilder {
    schema: SchemaRef,
    columns: Vec<(ColumnKind, Builder)>,
    rows: usize,
}

impl RowBuilder {
    /// Rows of these columns.
    pub fn new(schema: SchemaRef, columns: impl Iterator<Item = ColumnKind>) -> Self {
        let column = |kind: ColumnKind| {
            let builder = match &kind {
                ColumnKind::Time => Builder::Time(Vec::new()),
                ColumnKind::Path | ColumnKind::Tag(_) => Builder::Text(TextBuilder::default()),
                ColumnKind::Field(_, FieldType::Float) => Builder::Float(PrimitiveBuilder::new()),
                ColumnKind::Field(_, FieldType::Integer) => Builder::Integer(PrimitiveBuilder::new()),
                ColumnKind::Field(_, FieldType::Unsigned) => Builder::Unsigned(PrimitiveBuilder::new()),
                ColumnKind::Field(_, FieldType::Boolean) => Builder::Boolean(BooleanBuilder::new()),
                ColumnKind::Field(_, FieldType::String) => Builder::String(StringBuilder::new()),
            };
            (kind, builder)
        };
        Self { schema, columns: columns.map(column).collect(), rows: 0 }
    }

    /// Rows waiting.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Sets what paths and tags of the rows to come are.
    pub fn set_series(&mut self, kind: KeyKind, series_key: &str) {
        let tags: Vec<_> = key::tags(kind, series_key).collect();
        for (column, builder) in &mut self.columns {
            let Builder::Text(text) = builder else { continue };
            match column {
                ColumnKind::Path => text.set(series_key),
                ColumnKind::Tag(wanted) => match tags.iter().find(|(k, _)| k == wanted) {
                    Some((_, value)) if !value.is_empty() => text.set(value),
                    _ => text.current = None,
                },
                _ => {}
            }
        }
    }

    /// Adds rows `rows` of a series. `fields` gives the stream of each column, if the series has one.
    pub fn append(&mut self, series: &Aligned, rows: Range<usize>, stream_of: &[Option<usize>]) {
        for (at, (_, builder)) in self.columns.iter_mut().enumerate() {
            match builder {
                Builder::Time(times) => times.extend_from_slice(&series.times_ns()[rows.clone()]),
                Builder::Text(text) => text.append(rows.len()),
                field => match stream_of[at] {
                    Some(stream) => {
                        let places = series.places(stream).map(|p| &p[rows.clone()]);
                        field.append(&series.streams[stream].values, rows.clone(), places);
                    }
                    None => field.append_nulls(rows.len()),
                },
            }
        }
        self.rows += rows.len();
    }

    /// Adds one row of a series without points: for conditions on paths and tags.
    pub fn append_series(&mut self) {
        for (_, builder) in &mut self.columns {
            match builder {
                Builder::Time(times) => times.push(0),
                Builder::Text(text) => text.append(1),
                field => field.append_nulls(1),
            }
        }
        self.rows += 1;
    }

    /// The rows that wait, as a batch. The texts of the series set last have to be set again.
    ///
    /// # Errors
    /// None but bugs.
    pub fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let arrays = self.columns.iter_mut().map(|(_, b)| b.finish()).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
    }
}

impl Builder {
    fn append(&mut self, values: &Column, rows: Range<usize>, places: Option<&[u32]>) {
        match (self, values) {
            (Builder::Float(b), Column::Float(v)) => append_numbers(b, v, rows, places),
            (Builder::Integer(b), Column::Integer(v)) => append_numbers(b, v, rows, places),
            (Builder::Unsigned(b), Column::Unsigned(v)) => append_numbers(b, v, rows, places),
            (Builder::Boolean(b), Column::Boolean(v)) => match places {
                None => b.append_slice(&v[rows]),
                Some(places) => places.iter().for_each(|&p| b.append_option(v.get(p as usize).copied())),
            },
            (Builder::String(b), Column::String(v)) => match places {
                None => rows.for_each(|row| b.append_value(v.get(row))),
                Some(places) => places.iter().for_each(|&p| b.append_option((p != ABSENT).then(|| v.get(p as usize)))),
            },
            // A field's type is fixed: another one would be another column.
            (field, _) => field.append_nulls(places.map_or(rows.len(), <[u32]>::len)),
        }
    }

    fn append_nulls(&mut self, rows: usize) {
        match self {
            Builder::Time(_) | Builder::Text(_) => unreachable!("only fields are null by row"),
            Builder::Float(b) => b.append_nulls(rows),
            Builder::Integer(b) => b.append_nulls(rows),
            Builder::Unsigned(b) => b.append_nulls(rows),
            Builder::Boolean(b) => b.append_nulls(rows),
            Builder::String(b) => (0..rows).for_each(|_| b.append_null()),
        }
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Builder::Time(times) => Arc::new(TimestampNanosecondArray::from(std::mem::take(times))),
            Builder::Text(text) => text.finish()?,
            Builder::Float(b) => Arc::new(b.finish()),
            Builder::Integer(b) => Arc::new(b.finish()),
            Builder::Unsigned(b) => Arc::new(b.finish()),
            Builder::Boolean(b) => Arc::new(b.finish()),
            Builder::String(b) => Arc::new(b.finish()),
        })
    }
}

fn append_numbers<T: ArrowPrimitiveType>(
    builder: &mut PrimitiveBuilder<T>,
    values: &[T::Native],
    rows: Range<usize>,
    places: Option<&[u32]>,
) {
    match places {
        None => builder.append_slice(&values[rows]),
        // ABSENT is beyond every vector.
        Some(places) => places.iter().for_each(|&p| builder.append_option(values.get(p as usize).copied())),
    }
}
