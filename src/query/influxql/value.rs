use std::cmp::Ordering;
use std::sync::Arc;

use rhythmite_influx::answer::Cell;
use rhythmite_influx::influxql::{DataType, Literal};
use rhythmite_model::{FieldType, FieldValue};

/// One value that outlives the column it came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Value {
    #[default]
    Null,
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    String(Arc<str>),
}

impl Value {
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The value of a literal; `None` for those that are none of data (patterns, durations, times).
    pub(super) fn of_literal(literal: &Literal) -> Option<Self> {
        Some(match literal {
            Literal::Nil => Value::Null,
            Literal::Boolean(value) => Value::Boolean(*value),
            Literal::Integer(value) => Value::Integer(*value),
            Literal::Unsigned(value) => Value::Unsigned(*value),
            Literal::Number(value) => Value::Float(*value),
            Literal::String(text) => Value::String(text.as_str().into()),
            Literal::Duration(_) | Literal::Time(_) | Literal::Regex(_) => return None,
        })
    }

    pub(super) fn as_field(&self) -> Option<FieldValue<'_>> {
        Some(match self {
            Value::Null => return None,
            Value::Float(value) => FieldValue::Float(*value),
            Value::Integer(value) => FieldValue::Integer(*value),
            Value::Unsigned(value) => FieldValue::Unsigned(*value),
            Value::Boolean(value) => FieldValue::Boolean(*value),
            Value::String(text) => FieldValue::String(text),
        })
    }

    /// The value as another type of number; null for what is no number, or another type of anything else.
    pub(super) fn cast(&self, to: FieldType) -> Value {
        match (self, to) {
            (Value::Float(value), FieldType::Integer) => Value::Integer(whole(*value)),
            (Value::Float(value), FieldType::Unsigned) => Value::Unsigned(*value as u64),
            (Value::Integer(value), FieldType::Float) => Value::Float(*value as f64),
            (Value::Integer(value), FieldType::Unsigned) => Value::Unsigned(*value as u64),
            (Value::Unsigned(value), FieldType::Float) => Value::Float(*value as f64),
            (Value::Unsigned(value), FieldType::Integer) => Value::Integer(*value as i64),
            (same, to) if same.as_field().is_some_and(|v| v.field_type() == to) => same.clone(),
            _ => Value::Null,
        }
    }

    /// The number as a float.
    pub(super) fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            Value::Integer(value) => Some(*value as f64),
            Value::Unsigned(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// Order within a type; `None` between types, and for NaN.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
            (Value::Integer(a), Value::Integer(b)) => Some(a.cmp(b)),
            (Value::Unsigned(a), Value::Unsigned(b)) => Some(a.cmp(b)),
            (Value::Boolean(a), Value::Boolean(b)) => Some(a.cmp(b)),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

impl Value {
    /// As [`order`](Self::order), and of what is no number too: for sorting.
    pub(super) fn total_order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
            (a, b) => a.order(b).unwrap_or(Ordering::Equal),
        }
    }
}

/// A float without what is behind the point; one that has no whole number is the least one, as amd64 converts it.
pub(super) fn whole(value: f64) -> i64 {
    const END: f64 = 9_223_372_036_854_775_808.0;
    if (-END..END).contains(&value) { value as i64 } else { i64::MIN }
}

impl From<FieldValue<'_>> for Value {
    fn from(value: FieldValue<'_>) -> Self {
        match value {
            FieldValue::Float(value) => Value::Float(value),
            FieldValue::Integer(value) => Value::Integer(value),
            FieldValue::Unsigned(value) => Value::Unsigned(value),
            FieldValue::Boolean(value) => Value::Boolean(value),
            FieldValue::String(text) => Value::String(text.into()),
        }
    }
}

/// A stored value as a cell of an answer.
pub(super) fn cell(value: FieldValue<'_>) -> Cell<'_> {
    match value {
        FieldValue::Float(value) => Cell::Float(value),
        FieldValue::Integer(value) => Cell::Int(value),
        FieldValue::Unsigned(value) => Cell::UInt(value),
        FieldValue::Boolean(value) => Cell::Bool(value),
        FieldValue::String(text) => Cell::from(text),
    }
}

/// The type of a column that holds values of `data_type`; tags are text. `None` for a field of no type.
pub(super) fn field_type(data_type: DataType) -> Option<FieldType> {
    Some(match data_type {
        DataType::Float => FieldType::Float,
        DataType::Integer => FieldType::Integer,
        DataType::Unsigned => FieldType::Unsigned,
        DataType::String | DataType::Tag => FieldType::String,
        DataType::Boolean => FieldType::Boolean,
        DataType::AnyField => return None,
    })
}

/// The type a query gives to a stored type.
pub(super) fn data_type(field_type: FieldType) -> DataType {
    match field_type {
        FieldType::Float => DataType::Float,
        FieldType::Integer => DataType::Integer,
        FieldType::Unsigned => DataType::Unsigned,
        FieldType::String => DataType::String,
        FieldType::Boolean => DataType::Boolean,
    }
}
