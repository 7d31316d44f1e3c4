//! Names of the tables and fields of one output, copied out of the registry.

use rhythmite_model::{Aggregate, FieldId, FieldType, KeyKind, TableId};

use crate::registry::Directory;
use crate::sst::FieldRow;

#[derive(Default)]
pub(crate) struct OutputNames {
    tables: Vec<Table>,
}

pub(crate) struct Table {
    id: TableId,
    pub(crate) name: String,
    pub(crate) kind: KeyKind,
    fields: Vec<(FieldId, String, FieldType)>,
}

impl OutputNames {
    /// A table; calls ascend. `None` when it is gone.
    pub(crate) fn table(&mut self, names: &Directory, id: TableId) -> Option<&Table> {
        if self.tables.last().is_none_or(|t| t.id != id) {
            let table = names.table(id)?;
            let fields = names.fields(id).map(|(id, name, t)| (id, name.to_owned(), t)).collect();
            self.tables.push(Table { id, name: table.name().to_owned(), kind: table.kind(), fields });
        }
        self.tables.last()
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
