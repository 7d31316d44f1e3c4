//! Conditions on one field that the scan tests by itself, before it reads any other field.

use std::cmp::Ordering;
use std::fmt;

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;
use rhythmite_engine::Stream;
use rhythmite_model::Column;

use super::schema::{ColumnKind, TableSchema};

/// What a field is compared with. The type is the field's.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    String(String),
}

/// A condition that a value meets or not. Floats are in total order (NaN above all, -0.0 below 0.0), as in Arrow.
#[derive(Clone, Debug, PartialEq)]
enum Test {
    /// Any value.
    Present,
    Compare(Operator, Value),
}

/// A condition on one field. No row without a value of the field meets it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FieldTest {
    /// Number of the column in the table.
    pub column: usize,
    test: Test,
}

impl FieldTest {
    /// The test that `expr` is; `None` if it is none of these.
    pub fn new(schema: &TableSchema, expr: &Expr) -> Option<Self> {
        let field = |expr: &Expr| match expr {
            Expr::Column(column) => {
                let at = schema.arrow.index_of(&column.name).ok()?;
                matches!(schema.columns[at], ColumnKind::Field(..)).then_some(at)
            }
            _ => None,
        };
        let (column, test) = match expr {
            Expr::IsNotNull(inner) => (field(inner)?, Test::Present),
            Expr::Column(_) => (field(expr)?, Test::Compare(Operator::Eq, Value::Boolean(true))),
            Expr::Not(inner) => (field(inner)?, Test::Compare(Operator::Eq, Value::Boolean(false))),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match field(left) {
                Some(column) => (column, Test::Compare(comparison(*op)?, value(right)?)),
                None => (field(right)?, Test::Compare(comparison(op.swap()?)?, value(left)?)),
            },
            _ => return None,
        };
        let ColumnKind::Field(_, field_type) = &schema.columns[column] else { return None };
        let of_type = |value: &Value| {
            use rhythmite_model::FieldType;
            matches!(
                (field_type, value),
                (FieldType::Float, Value::Float(_))
                    | (FieldType::Integer, Value::Integer(_))
                    | (FieldType::Unsigned, Value::Unsigned(_))
                    | (FieldType::Boolean, Value::Boolean(_))
                    | (FieldType::String, Value::String(_))
            )
        };
        let fits = match &test {
            Test::Present => true,
            Test::Compare(_, value) => of_type(value),
        };
        fits.then_some(Self { column, test })
    }

    /// Whether any value will do.
    pub fn is_presence(&self) -> bool {
        self.test == Test::Present
    }

    /// The rows of a stream whose values meet the condition.
    pub fn rows(&self, values: &Column) -> Vec<u32> {
        match &self.test {
            Test::Present => (0..values.len() as u32).collect(),
            Test::Compare(op, value) => compare(values, value, holds(*op)),
        }
    }

    /// The times of a stream whose values meet the condition.
    pub fn times_ns(&self, stream: &Stream) -> Vec<i64> {
        if self.is_presence() {
            return stream.times_ns.to_vec();
        }
        self.rows(&stream.values).into_iter().map(|row| stream.times_ns[row as usize]).collect()
    }
}

/// The times at which the values of all streams meet their conditions.
pub(super) fn times_ns(tests: &[(&Stream, &FieldTest)]) -> Vec<i64> {
    let Some(((stream, test), rest)) = tests.split_first() else { return Vec::new() };
    let mut times_ns = test.times_ns(stream);
    for (other, test) in rest {
        if times_ns.is_empty() {
            break;
        }
        if !test.is_presence() || other.times_ns != stream.times_ns {
            times_ns = common(&times_ns, &test.times_ns(other));
        }
    }
    times_ns
}

/// What is in both; both ascend.
fn common<T: Copy + Ord>(a: &[T], b: &[T]) -> Vec<T> {
    let mut b = b.iter().peekable();
    let mut found = Vec::new();
    for item in a {
        while b.next_if(|other| *other < item).is_some() {}
        if b.peek() == Some(&item) {
            found.push(*item);
        }
    }
    found
}

fn comparison(op: Operator) -> Option<Operator> {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq).then_some(op)
}

fn holds(op: Operator) -> fn(Ordering) -> bool {
    match op {
        Operator::Eq => Ordering::is_eq,
        Operator::NotEq => Ordering::is_ne,
        Operator::Lt => Ordering::is_lt,
        Operator::LtEq => Ordering::is_le,
        Operator::Gt => Ordering::is_gt,
        _ => Ordering::is_ge,
    }
}

fn value(expr: &Expr) -> Option<Value> {
    let Expr::Literal(value, _) = expr else { return None };
    match value {
        ScalarValue::Float64(value) => value.map(Value::Float),
        ScalarValue::Int64(value) => value.map(Value::Integer),
        ScalarValue::UInt64(value) => value.map(Value::Unsigned),
        ScalarValue::Boolean(value) => value.map(Value::Boolean),
        ScalarValue::Utf8(value) => value.clone().map(Value::String),
        _ => None,
    }
}

fn compare(values: &Column, with: &Value, holds: fn(Ordering) -> bool) -> Vec<u32> {
    fn pick<T>(values: impl Iterator<Item = T>, holds: impl Fn(T) -> bool) -> Vec<u32> {
        values.enumerate().filter_map(|(row, value)| holds(value).then_some(row as u32)).collect()
    }
    match (values, with) {
        (Column::Float(v), Value::Float(with)) => pick(v.iter(), |x| holds(x.total_cmp(with))),
        (Column::Integer(v), Value::Integer(with)) => pick(v.iter(), |x| holds(x.cmp(with))),
        (Column::Unsigned(v), Value::Unsigned(with)) => pick(v.iter(), |x| holds(x.cmp(with))),
        (Column::Boolean(v), Value::Boolean(with)) => pick(v.iter(), |x| holds(x.cmp(with))),
        (Column::String(v), Value::String(with)) => pick(v.iter(), |x| holds(x.cmp(with.as_str()))),
        // Checked when the test was made.
        _ => Vec::new(),
    }
}

impl fmt::Display for FieldTest {
    /// What follows the name of the field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.test {
            Test::Present => f.write_str("is not null"),
            Test::Compare(op, value) => write!(f, "{op} {value}"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Float(value) => value.fmt(f),
            Value::Integer(value) => value.fmt(f),
            Value::Unsigned(value) => value.fmt(f),
            Value::Boolean(value) => value.fmt(f),
            Value::String(value) => write!(f, "'{value}'"),
        }
    }
}

#[cfg(test)]
mod tests {
    use rhythmite_model::FieldId;

    use super::*;

    fn check(values: Column, op: Operator, with: Value, rows: &[u32]) {
        let test = FieldTest { column: 0, test: Test::Compare(op, with) };
        assert_eq!(test.rows(&values), rows, "{values:?} {test}");
    }

    #[test]
    fn values_are_compared_as_arrow_does() {
        use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
        let floats = || Column::Float(vec![1.0, f64::NAN, -0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY]);
        check(floats(), Gt, Value::Float(0.5), &[0, 1, 4]);
        check(floats(), Lt, Value::Float(0.0), &[2, 5]);
        check(floats(), Eq, Value::Float(0.0), &[3]);
        check(floats(), NotEq, Value::Float(f64::NAN), &[0, 2, 3, 4, 5]);
        check(Column::Integer(vec![i64::MIN, -1, 0, i64::MAX]), GtEq, Value::Integer(-1), &[1, 2, 3]);
        check(Column::Unsigned(vec![0, u64::MAX]), Gt, Value::Unsigned(i64::MAX as u64), &[1]);
        check(Column::Boolean(vec![true, false, true]), Eq, Value::Boolean(true), &[0, 2]);
        let mut texts = rhythmite_model::Strings::default();
        ["", "b", "a", "ab"].into_iter().for_each(|text| texts.push(text));
        check(Column::String(texts), LtEq, Value::String("ab".to_owned()), &[0, 2, 3]);
    }

    #[test]
    fn rows_meet_all_conditions() {
        let stream = |times: &[i64], values: &[i64]| Stream {
            field: FieldId(0),
            times_ns: times.to_vec(),
            values: Column::Integer(values.to_vec()),
        };
        let above = |n| FieldTest { column: 0, test: Test::Compare(Operator::Gt, Value::Integer(n)) };
        let present = FieldTest { column: 0, test: Test::Present };
        let (a, b) = (stream(&[1, 2, 3, 5], &[10, 20, 30, 50]), stream(&[2, 3, 4, 5], &[7, 0, 7, 7]));
        let check = |tests: &[(&Stream, &FieldTest)], expected: &[i64]| {
            assert_eq!(times_ns(tests), expected, "{tests:?}");
        };
        check(&[(&a, &present)], &[1, 2, 3, 5]);
        check(&[(&a, &present), (&b, &present)], &[2, 3, 5]);
        check(&[(&a, &above(15))], &[2, 3, 5]);
        check(&[(&a, &above(15)), (&b, &above(5))], &[2, 5]);
        check(&[(&a, &above(10)), (&a, &above(20)), (&b, &present)], &[3, 5]);
        check(&[(&a, &above(99)), (&b, &present)], &[]);
    }
}
