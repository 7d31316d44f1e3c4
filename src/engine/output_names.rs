//! Names of the series and fields of one output, copied out of the registry: it is not locked while a file is written.

use std::ops::Range;

use rhythmite_model::{Aggregate, FieldId, FieldType, KeyKind, SeriesId, TableId};

use crate::registry::{Directory, key};
use crate::sst::{FieldRow, SeriesRow};

/// Texts lie in one arena: a flush of a million new series copies tens of megabytes, not millions of strings.
#[derive(Default)]
pub(crate) struct OutputNames {
    text: String,
    series: Vec<Series>,
    /// Key and value of each tag.
    tags: Vec<[Range<usize>; 2]>,
    tables: Vec<Table>,
}

struct Series {
    id: SeriesId,
    table: usize,
    key: Range<usize>,
    tags: Range<usize>,
}

struct Table {
    id: TableId,
    name: String,
    kind: KeyKind,
    fields: Vec<(FieldId, String, FieldType)>,
}

impl OutputNames {
    /// Adds a series; ids ascend. False when its table is gone.
    pub(crate) fn push(&mut self, names: &Directory, id: SeriesId, series_key: &str) -> bool {
        if self.tables.last().is_none_or(|t| t.id != id.table()) {
            let Some(table) = names.table(id.table()) else { return false };
            let fields = names.fields(table.id()).map(|(id, name, t)| (id, name.to_owned(), t)).collect();
            self.tables.push(Table { id: table.id(), name: table.name().to_owned(), kind: table.kind(), fields });
        }
        let table = self.tables.len() - 1;
        let series_key_range = self.copy(series_key);
        let first = self.tags.len();
        for (name, value) in key::tags(self.tables[table].kind, series_key) {
            let tag = [self.copy(&name), self.copy(&value)];
            self.tags.push(tag);
        }
        self.series.push(Series { id, table, key: series_key_range, tags: first..self.tags.len() });
        true
    }

    /// Adds a series that was dropped since its points were written; its name is forgotten. Ids ascend.
    pub(crate) fn push_forgotten(&mut self, names: &Directory, id: SeriesId) {
        if self.push(names, id, "") {
            return;
        }
        if self.tables.last().is_none_or(|t| t.id != id.table()) {
            let (name, fields) = Default::default();
            self.tables.push(Table { id: id.table(), name, kind: KeyKind::Tagged, fields });
        }
        let (key, tags) = (self.text.len()..self.text.len(), self.tags.len()..self.tags.len());
        self.series.push(Series { id, table: self.tables.len() - 1, key, tags });
    }

    /// Replaces each field by its aggregates, as roll-ups number them: `usage:sum`.
    pub(crate) fn roll_up(&mut self) {
        for table in &mut self.tables {
            let aggregates = |(field, name, of): &(FieldId, String, FieldType)| {
                let (field, name, of) = (*field, name.clone(), *of);
                let row = move |aggregate: Aggregate| {
                    let field_type = aggregate.field_type(of)?;
                    Some((aggregate.of(field)?, format!("{name}:{}", aggregate.name()), field_type))
                };
                Aggregate::ALL.into_iter().filter_map(row)
            };
            table.fields = table.fields.iter().flat_map(aggregates).collect();
        }
    }

    fn copy(&mut self, text: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.push_str(text);
        start..self.text.len()
    }

    /// Rows of the series file.
    pub(crate) fn series<'a>(&'a self, database: &'a str, policy: &'a str) -> impl Iterator<Item = SeriesRow<'a>> {
        let text = |range: &Range<usize>| &self.text[range.clone()];
        self.series.iter().map(move |s| SeriesRow {
            series: s.id,
            database,
            policy,
            table: &self.tables[s.table].name,
            path: text(&s.key),
            tags: self.tags[s.tags.clone()].iter().map(|[k, v]| (text(k), text(v))).collect(),
        })
    }

    /// Rows of the fields file.
    pub(crate) fn fields(&self) -> impl Iterator<Item = FieldRow<'_>> {
        self.tables.iter().flat_map(|table| {
            table.fields.iter().map(|(id, name, field_type)| FieldRow {
                table: table.id,
                table_name: &table.name,
                id: *id,
                name,
                field_type: *field_type,
            })
        })
    }
}
