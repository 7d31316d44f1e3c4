use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use rhythmite_engine::registry::{Directory, key::NAME_TAG};
use rhythmite_model::{FieldType, KeyKind, TableId};

/// Tag keys that are columns; the rest is reached by `tag('key')`.
pub const TAG_COLUMNS_MAX: usize = 1_000;

/// Column of the nanoseconds.
pub(super) const TIME: &str = "time";
/// Column of a Graphite series' whole name.
pub(super) const PATH: &str = "path";

/// What a column shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// Time of the row.
    Time,
    /// Whole name of a Graphite series.
    Path,
    /// Value of the tag with this key.
    Tag(String),
    /// Value of the field with this name.
    Field(String, FieldType),
}

/// The columns of a table as SQL sees it.
#[derive(Debug)]
pub struct TableSchema {
    /// How the series are named.
    pub kind: KeyKind,
    /// The engine's tables it is the union of.
    pub tables: Vec<TableId>,
    /// One a column of `arrow`.
    pub columns: Vec<ColumnKind>,
    /// `time`, `path`, tags, fields.
    pub arrow: SchemaRef,
}

/// Name of the column that stands for `tag('key')`.
pub fn tag_column_name(key: &str) -> String {
    format!("tag('{key}')")
}

impl TableSchema {
    /// The columns of the union of `tables`, whose series are all named in one way. `tags` are the keys that the query
    /// asks for with `tag('key')`.
    pub fn new(names: &Directory, kind: KeyKind, tables: Vec<TableId>, tags: &[String]) -> Self {
        let mut builder = Builder::default();
        builder.add(TIME.to_owned(), ColumnKind::Time);
        if kind == KeyKind::Path {
            builder.add(PATH.to_owned(), ColumnKind::Path);
        }
        for (key, _) in names.tag_keys(&tables, None).into_iter().take(TAG_COLUMNS_MAX) {
            let taken = match kind {
                // `name` is the column of the bare name itself.
                KeyKind::Path => key != NAME_TAG && matches!(key, TIME | PATH | "value"),
                KeyKind::Tagged => key == TIME,
            };
            let name = if taken { format!("tag_{key}") } else { key.to_owned() };
            builder.add(name, ColumnKind::Tag(key.to_owned()));
        }
        let mut fields: Vec<(&str, FieldType)> =
            tables.iter().flat_map(|&t| names.fields(t)).map(|(_, name, field_type)| (name, field_type)).collect();
        fields.sort_unstable();
        fields.dedup();
        for (name, field_type) in fields {
            builder.add(name.to_owned(), ColumnKind::Field(name.to_owned(), field_type));
        }
        for key in tags {
            builder.add(tag_column_name(key), ColumnKind::Tag(key.clone()));
        }
        Self { kind, tables, columns: builder.columns, arrow: Arc::new(Schema::new(builder.fields)) }
    }
}

#[derive(Default)]
struct Builder {
    columns: Vec<ColumnKind>,
    fields: Vec<Field>,
    names: HashSet<String>,
}

impl Builder {
    /// Adds a column; one whose name is taken gets `_1`, `_2`, ... as in InfluxQL.
    fn add(&mut self, name: String, kind: ColumnKind) {
        let mut unique = name.clone();
        let mut n = 0;
        while !self.names.insert(unique.clone()) {
            n += 1;
            unique = format!("{name}_{n}");
        }
        let (data_type, nullable) = match &kind {
            ColumnKind::Time => (DataType::Timestamp(TimeUnit::Nanosecond, None), false),
            ColumnKind::Path => (text_type(), false),
            ColumnKind::Tag(_) => (text_type(), true),
            ColumnKind::Field(_, field_type) => (field_data_type(*field_type), true),
        };
        self.fields.push(Field::new(unique, data_type, nullable));
        self.columns.push(kind);
    }
}

/// The type of paths and tags: a series repeats its own in every row.
pub(super) fn text_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn field_data_type(field_type: FieldType) -> DataType {
    match field_type {
        FieldType::Float => DataType::Float64,
        FieldType::Integer => DataType::Int64,
        FieldType::Unsigned => DataType::UInt64,
        FieldType::Boolean => DataType::Boolean,
        FieldType::String => DataType::Utf8,
    }
}
