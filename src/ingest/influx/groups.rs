//! Rows of a body, by table and set of fields.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use rhythmite_engine::registry::Directory;
use rhythmite_influx::line_protocol::{Field, Shape, Value, texts};
use rhythmite_model::{Column, FieldId, FieldType, Rows, SeriesId, TableId, Tier};

use super::{TIME, is_time};

/// Orders of fields that are remembered for one table; senders that leave fields out have a few.
const PLANS_MAX: usize = 8;
/// A line of ten fields: the guess by which the first group's columns are sized.
const LINE_BYTES_GUESS: usize = 256;

/// A table's number within the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableNumber(usize);

/// What became of a line.
pub(super) enum Placed {
    /// Its row is there.
    Done,
    /// It is refused, for this reason.
    Refused(String),
    /// A field is to be made first.
    UnknownField,
}

/// The type that a field of this value has.
#[inline]
pub(super) fn type_of(value: &Value<'_>) -> FieldType {
    match value {
        Value::Float(_) => FieldType::Float,
        Value::Integer(_) => FieldType::Integer,
        Value::Unsigned(_) => FieldType::Unsigned,
        Value::Boolean(_) => FieldType::Boolean,
        Value::String(_) => FieldType::String,
    }
}

/// Rows with the same fields.
struct Group {
    table: TableId,
    /// Ascending.
    fields: Vec<FieldId>,
    series: Vec<SeriesId>,
    times_ns: Vec<i64>,
    columns: Vec<Column>,
    /// The line that each row came from. Not quite ascending: lines that waited for a name come later.
    ordinals: Vec<u32>,
}

/// An order of fields as sent, and the columns that they go to.
struct Plan {
    shape: Shape,
    group: usize,
    /// For each field of the shape: its column and type.
    columns: Vec<(u32, FieldType)>,
}

/// What is known of a table.
struct Table<'a> {
    id: TableId,
    plans: Vec<Plan>,
    /// The plan that matched last.
    current: usize,
    /// The plan that is given up for the next new one.
    oldest: usize,
    /// By the bytes sent.
    fields: HashMap<&'a [u8], (FieldId, FieldType)>,
    groups: BTreeMap<Vec<FieldId>, usize>,
}

/// Rows of one body.
pub(super) struct Groups<'a> {
    groups: Vec<Group>,
    tables: Vec<Table<'a>>,
    numbers: HashMap<TableId, usize>,
    last: usize,
    /// Rows that the first group is sized for.
    first_rows: usize,
    /// Escaped text in plain.
    scratch: String,
    /// Fields of a line: number, place in the line.
    order: Vec<(FieldId, u32)>,
}

impl<'a> Groups<'a> {
    pub(super) fn new(body_bytes: usize) -> Self {
        Self {
            groups: Vec::new(),
            tables: Vec::new(),
            numbers: HashMap::new(),
            last: 0,
            first_rows: body_bytes / LINE_BYTES_GUESS,
            scratch: String::new(),
            order: Vec::new(),
        }
    }

    /// The number of a table.
    #[inline]
    pub(super) fn table(&mut self, id: TableId) -> TableNumber {
        if self.tables.get(self.last).is_none_or(|table| table.id != id) {
            self.last = *self.numbers.entry(id).or_insert_with(|| {
                self.tables.push(Table {
                    id,
                    plans: Vec::new(),
                    current: 0,
                    oldest: 0,
                    fields: HashMap::new(),
                    groups: BTreeMap::new(),
                });
                self.tables.len() - 1
            });
        }
        TableNumber(self.last)
    }

    /// The fields that the next line of the table (if its series has one) will probably have.
    #[inline]
    pub(super) fn shape(&self, table: Option<TableNumber>) -> &Shape {
        static NONE: Shape = Shape::EMPTY;
        let table = table.map(|TableNumber(at)| &self.tables[at]);
        table.and_then(|table| table.plans.get(table.current)).map_or(&NONE, |plan| &plan.shape)
    }

    /// Appends a row whose first `matched` fields are those of the table's [`shape`](Self::shape). False, and nothing
    /// done, if no shape of the table fits or a type is another: see [`place`](Self::place).
    #[inline]
    pub(super) fn push_shaped(
        &mut self,
        TableNumber(at): TableNumber,
        series: SeriesId,
        time_ns: i64,
        ordinal: u32,
        fields: &[Field<'a>],
        matched: usize,
    ) -> bool {
        let table = &mut self.tables[at];
        let fits =
            table.plans.get(table.current).is_some_and(|p| matched == fields.len() && matched == p.columns.len());
        if !fits {
            let same = |plan: &Plan| {
                let raw = |(i, field): (usize, &Field<'_>)| plan.shape.raw_name(i) == Some(field.name.raw());
                plan.columns.len() == fields.len() && fields.iter().enumerate().all(raw)
            };
            let Some(found) = table.plans.iter().position(same) else { return false };
            table.current = found;
        }
        let Some(plan) = table.plans.get(table.current) else { return false };
        // Types first: a column that has got its value cannot give it back.
        if !fields.iter().zip(&plan.columns).all(|(field, (_, stored))| type_of(&field.value) == *stored) {
            return false;
        }
        let group = &mut self.groups[plan.group];
        for (field, (column, _)) in fields.iter().zip(&plan.columns) {
            push(&mut group.columns[*column as usize], field.value, &mut self.scratch);
        }
        group.series.push(series);
        group.times_ns.push(time_ns);
        group.ordinals.push(ordinal);
        true
    }

    /// Appends a row of any fields, and remembers their order.
    pub(super) fn place(
        &mut self,
        names: &Directory,
        series: SeriesId,
        time_ns: i64,
        ordinal: u32,
        fields: &[Field<'a>],
    ) -> Placed {
        let number = self.table(series.table());
        let table = &mut self.tables[number.0];
        self.order.clear();
        let (mut unknown, mut last) = (false, None);
        for (at, field) in (0_u32..).zip(fields) {
            if is_time(field) {
                last = Some(field);
                continue;
            }
            let Some((id, stored)) = table.field(names, field) else {
                unknown = true;
                continue;
            };
            let sent = type_of(&field.value);
            if sent != stored {
                let measurement = names.table(table.id).map_or("", |t| t.name());
                let name = field.name.text();
                return Placed::Refused(texts::field_type_conflict(&name, measurement, sent.name(), stored.name()));
            }
            self.order.push((id, at));
        }
        if unknown {
            return Placed::UnknownField;
        }
        if self.order.is_empty() && last.is_some() {
            let measurement = names.table(table.id).map_or("", |t| t.name());
            return Placed::Refused(texts::invalid_field_name(TIME, measurement));
        }
        // Of a field that was sent twice the last value counts.
        self.order.sort_unstable_by_key(|&(id, at)| (id, std::cmp::Reverse(at)));
        self.order.dedup_by_key(|(id, _)| *id);

        let ids: Vec<FieldId> = self.order.iter().map(|(id, _)| *id).collect();
        let types = self.order.iter().map(|&(_, at)| type_of(&fields[at as usize].value));
        let group = match table.groups.get(&ids) {
            Some(&group) => group,
            None => {
                let room = if self.groups.is_empty() { self.first_rows } else { 0 };
                self.groups.push(Group {
                    table: table.id,
                    fields: ids.clone(),
                    series: Vec::with_capacity(room),
                    times_ns: Vec::with_capacity(room),
                    columns: types.map(|t| Column::with_capacity(t, room)).collect(),
                    ordinals: Vec::with_capacity(room),
                });
                table.groups.insert(ids, self.groups.len() - 1);
                self.groups.len() - 1
            }
        };
        if self.order.len() == fields.len() {
            table.remember(group, fields, &self.order);
        }
        let group = &mut self.groups[group];
        for (&(_, at), column) in self.order.iter().zip(&mut group.columns) {
            push(column, fields[at as usize].value, &mut self.scratch);
        }
        group.series.push(series);
        group.times_ns.push(time_ns);
        group.ordinals.push(ordinal);
        Placed::Done
    }

    /// The rows, none of which contradicts another.
    pub(super) fn into_rows(mut self) -> Vec<Rows> {
        let tables = std::mem::take(&mut self.tables);
        for mut table in tables {
            if table.shares_fields() {
                self.merge_contradictions(&mut table);
            }
        }
        let rows = |group: Group| Rows {
            table: group.table,
            tier: Tier::RAW,
            series: group.series,
            times_ns: group.times_ns,
            fields: group.fields.into_iter().zip(group.columns).collect(),
        };
        self.groups.into_iter().map(rows).filter(|rows| !rows.is_empty()).collect()
    }

    /// Rows of one series and time in several groups have no order among each other once they are with the engine. Where
    /// such rows share a field they are made one, in which each field has the value that was sent last.
    fn merge_contradictions(&mut self, table: &mut Table<'_>) {
        let mut entries = Vec::new();
        for &at in table.groups.values() {
            let group = &self.groups[at];
            for row in 0..group.series.len() {
                entries.push(Entry {
                    series: group.series[row],
                    time_ns: group.times_ns[row],
                    ordinal: group.ordinals[row],
                    group: at,
                    row,
                });
            }
        }
        entries.sort_unstable();
        let mut dead: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for same in entries.chunk_by(|a, b| (a.series, a.time_ns) == (b.series, b.time_ns)) {
            let Some(merged) = self.merge(same) else { continue };
            same.iter().for_each(|entry| dead.entry(entry.group).or_default().push(entry.row));
            self.add_merged(table, same[same.len() - 1], merged);
        }
        for (at, mut rows) in dead {
            rows.sort_unstable();
            self.groups[at].remove(&rows);
        }
    }

    /// The last value of each field, if two groups hold values of one.
    fn merge(&self, same: &[Entry]) -> Option<BTreeMap<FieldId, Column>> {
        if same.iter().all(|entry| entry.group == same[0].group) {
            return None;
        }
        let mut merged: BTreeMap<FieldId, (usize, usize, usize)> = BTreeMap::new();
        let mut contradicts = false;
        for entry in same {
            for (at, &field) in self.groups[entry.group].fields.iter().enumerate() {
                let before = merged.insert(field, (entry.group, at, entry.row));
                contradicts |= before.is_some_and(|(group, ..)| group != entry.group);
            }
        }
        let value = |(group, at, row): (usize, usize, usize)| {
            let row = u32::try_from(row).expect("a body has fewer than 2^32 lines");
            self.groups[group].columns[at].gather(&[row])
        };
        contradicts.then(|| merged.into_iter().map(|(field, from)| (field, value(from))).collect())
    }

    fn add_merged(&mut self, table: &mut Table<'_>, last: Entry, merged: BTreeMap<FieldId, Column>) {
        let ids: Vec<FieldId> = merged.keys().copied().collect();
        let at = *table.groups.entry(ids.clone()).or_insert_with(|| {
            self.groups.push(Group {
                table: table.id,
                fields: ids,
                series: Vec::new(),
                times_ns: Vec::new(),
                columns: merged.values().map(|value| Column::new(value.field_type())).collect(),
                ordinals: Vec::new(),
            });
            self.groups.len() - 1
        });
        let group = &mut self.groups[at];
        group.series.push(last.series);
        group.times_ns.push(last.time_ns);
        group.ordinals.push(last.ordinal);
        for (column, value) in group.columns.iter_mut().zip(merged.values()) {
            column.extend_from(value, 0..1);
        }
    }
}

/// A row of one of several groups; sorted by series, time, and line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    series: SeriesId,
    time_ns: i64,
    ordinal: u32,
    group: usize,
    row: usize,
}

impl<'a> Table<'a> {
    fn field(&mut self, names: &Directory, field: &Field<'a>) -> Option<(FieldId, FieldType)> {
        let raw = field.name.raw();
        if let Some(&known) = self.fields.get(raw) {
            return Some(known);
        }
        let found = names.find_field(self.id, &field.name.text())?;
        self.fields.insert(raw, found);
        Some(found)
    }

    /// Remembers which columns of a group these fields go to.
    fn remember(&mut self, group: usize, fields: &[Field<'_>], order: &[(FieldId, u32)]) {
        let mut columns = vec![(0, FieldType::Float); fields.len()];
        for (column, &(_, at)) in (0_u32..).zip(order) {
            columns[at as usize] = (column, type_of(&fields[at as usize].value));
        }
        let mut shape = Shape::default();
        shape.learn(fields);
        let plan = Plan { shape, group, columns };
        if self.plans.len() < PLANS_MAX {
            self.plans.push(plan);
            self.current = self.plans.len() - 1;
        } else {
            self.plans[self.oldest] = plan;
            self.current = self.oldest;
            self.oldest = (self.oldest + 1) % PLANS_MAX;
        }
    }

    /// Whether a field is in several groups.
    fn shares_fields(&self) -> bool {
        let mut seen = std::collections::HashSet::new();
        self.groups.len() > 1 && !self.groups.keys().flatten().all(|field| seen.insert(*field))
    }
}

impl Group {
    /// Removes rows; `dead` ascends.
    fn remove(&mut self, dead: &[usize]) {
        let mut dead = dead.iter().copied().peekable();
        let alive = |row: &u32| dead.next_if_eq(&(*row as usize)).is_none();
        let keep: Vec<u32> = (0..self.series.len() as u32).filter(alive).collect();
        self.series = keep.iter().map(|&row| self.series[row as usize]).collect();
        self.times_ns = keep.iter().map(|&row| self.times_ns[row as usize]).collect();
        self.ordinals = keep.iter().map(|&row| self.ordinals[row as usize]).collect();
        self.columns.iter_mut().for_each(|column| *column = column.gather(&keep));
    }
}

/// Appends a value whose type is the column's.
#[inline]
fn push(column: &mut Column, value: Value<'_>, scratch: &mut String) {
    let fits = match (column, value) {
        (Column::Float(column), Value::Float(value)) => {
            column.push(value);
            true
        }
        (Column::Integer(column), Value::Integer(value)) => {
            column.push(value);
            true
        }
        (column, value) => column.push(value.resolve(scratch)),
    };
    assert!(fits, "the type was compared before");
}
