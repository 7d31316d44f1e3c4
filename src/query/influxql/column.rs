use rhythmite_influx::answer::Cell;
use rhythmite_model::{Column, FieldType, FieldValue};

use super::value::{self, Value};

/// A column with gaps: a value that is not valid is null, whatever stands in its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Col {
    values: Column,
    /// `None`: all are valid.
    valid: Option<Vec<bool>>,
}

/// In the rows given to [`Col::gather`]: no row, null.
pub(super) const NO_ROW: u32 = u32::MAX;

impl Col {
    pub(super) fn full(values: Column) -> Self {
        Self { values, valid: None }
    }

    pub(super) fn with_valid(values: Column, valid: Vec<bool>) -> Self {
        let valid = if valid.iter().all(|v| *v) { None } else { Some(valid) };
        Self { values, valid }
    }

    pub(super) fn new(field_type: FieldType) -> Self {
        Self::full(Column::new(field_type))
    }

    pub(super) fn nulls(field_type: FieldType, rows: usize) -> Self {
        let mut col = Self::new(field_type);
        (0..rows).for_each(|_| col.push_null());
        col
    }

    /// The same value in all rows.
    pub(super) fn repeat(value: FieldValue<'_>, rows: usize) -> Self {
        let values = match value {
            FieldValue::Float(v) => Column::Float(vec![v; rows]),
            FieldValue::Integer(v) => Column::Integer(vec![v; rows]),
            FieldValue::Unsigned(v) => Column::Unsigned(vec![v; rows]),
            FieldValue::Boolean(v) => Column::Boolean(vec![v; rows]),
            FieldValue::String(_) => {
                let mut column = Column::with_capacity(FieldType::String, rows);
                (0..rows).for_each(|_| push(&mut column, value));
                column
            }
        };
        Self::full(values)
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn field_type(&self) -> FieldType {
        self.values.field_type()
    }

    /// The values; those in the place of nulls mean nothing.
    pub(super) fn values(&self) -> &Column {
        &self.values
    }

    #[inline]
    pub(super) fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid[row])
    }

    pub(super) fn valid(&self) -> Option<&[bool]> {
        self.valid.as_deref()
    }

    pub(super) fn all_valid(&self) -> bool {
        self.valid.is_none()
    }

    #[inline]
    pub(super) fn get(&self, row: usize) -> Option<FieldValue<'_>> {
        self.is_valid(row).then(|| self.values.get(row))
    }

    pub(super) fn value(&self, row: usize) -> Value {
        self.get(row).map_or(Value::Null, Value::from)
    }

    #[inline]
    pub(super) fn cell(&self, row: usize) -> Cell<'_> {
        self.get(row).map_or(Cell::Null, value::cell)
    }

    /// Appends a value; one of another type is a null.
    pub(super) fn push(&mut self, value: Option<FieldValue<'_>>) {
        match value {
            Some(value) if self.values.push(value) => {
                if let Some(valid) = &mut self.valid {
                    valid.push(true);
                }
            }
            _ => self.push_null(),
        }
    }

    pub(super) fn push_null(&mut self) {
        let rows = self.len();
        self.valid.get_or_insert_with(|| vec![true; rows]).push(false);
        let nothing = match self.field_type() {
            FieldType::Float => FieldValue::Float(0.0),
            FieldType::Integer => FieldValue::Integer(0),
            FieldType::Unsigned => FieldValue::Unsigned(0),
            FieldType::Boolean => FieldValue::Boolean(false),
            FieldType::String => FieldValue::String(""),
        };
        push(&mut self.values, nothing);
    }

    /// Appends all of a column of the same type.
    pub(super) fn extend(&mut self, other: &Col) {
        let rows = self.len();
        if self.valid.is_some() || other.valid.is_some() {
            let valid = self.valid.get_or_insert_with(|| vec![true; rows]);
            match &other.valid {
                Some(more) => valid.extend_from_slice(more),
                None => valid.resize(rows + other.len(), true),
            }
        }
        self.values.extend_from(&other.values, 0..other.len());
    }

    /// The values at `rows`; [`NO_ROW`] gives null.
    pub(super) fn gather(&self, rows: &[u32]) -> Col {
        if rows.contains(&NO_ROW) {
            let mut out = Col::new(self.field_type());
            rows.iter().for_each(|&row| if row == NO_ROW { out.push_null() } else { out.push(self.get(row as usize)) });
            return out;
        }
        let valid = self.valid.as_ref().map(|valid| rows.iter().map(|&row| valid[row as usize]).collect());
        Col { values: self.values.gather(rows), valid }
    }

    /// The values as another type of number; what is none becomes null.
    pub(super) fn cast(self, to: FieldType) -> Col {
        if self.field_type() == to {
            return self;
        }
        let values = match (&self.values, to) {
            (Column::Float(v), FieldType::Integer) => Column::Integer(v.iter().map(|x| value::whole(*x)).collect()),
            (Column::Float(v), FieldType::Unsigned) => Column::Unsigned(v.iter().map(|x| *x as u64).collect()),
            (Column::Integer(v), FieldType::Float) => Column::Float(v.iter().map(|x| *x as f64).collect()),
            (Column::Integer(v), FieldType::Unsigned) => Column::Unsigned(v.iter().map(|x| *x as u64).collect()),
            (Column::Unsigned(v), FieldType::Float) => Column::Float(v.iter().map(|x| *x as f64).collect()),
            (Column::Unsigned(v), FieldType::Integer) => Column::Integer(v.iter().map(|x| *x as i64).collect()),
            _ => return Col::nulls(to, self.len()),
        };
        Col { values, valid: self.valid }
    }

    /// Turns the order of the rows round.
    pub(super) fn reversed(&self) -> Col {
        let rows: Vec<u32> = (0..self.len() as u32).rev().collect();
        self.gather(&rows)
    }

    /// Makes the rows null for which `gone` is true.
    pub(super) fn without(self, gone: impl Fn(usize) -> bool) -> Col {
        let valid = (0..self.len()).map(|row| self.is_valid(row) && !gone(row)).collect();
        Col::with_valid(self.values, valid)
    }

    /// Puts a value in place of every null.
    pub(super) fn fill(&mut self, with: &Value) {
        let (Some(valid), Some(with)) = (&self.valid, with.as_field()) else { return };
        let mut out = Col::new(self.field_type());
        for (row, valid) in valid.iter().enumerate() {
            out.push(Some(if *valid { self.values.get(row) } else { with }));
        }
        *self = out;
    }

    /// Puts the value of the row before in place of every null.
    pub(super) fn carry(&mut self) {
        let Some(valid) = &self.valid else { return };
        let mut last = NO_ROW;
        let rows: Vec<u32> = (0..self.len() as u32)
            .map(|row| {
                if valid[row as usize] {
                    last = row;
                }
                last
            })
            .collect();
        *self = self.gather(&rows);
    }
}

fn push(column: &mut Column, value: FieldValue<'_>) {
    let same = column.push(value);
    debug_assert!(same, "the value was chosen by the column's type");
}
