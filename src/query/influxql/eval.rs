//! Expressions over columns: each operator runs once over all rows, not once per row over all operators.
//!
//! Types and nulls are those of 1.x: an operation on a null is null, a comparison with one is false, whole numbers
//! divide to floats in fields and to whole numbers in conditions, dividing by zero gives zero.

use std::borrow::Cow;

use rhythmite_influx::influxql::{Binary, BinaryOp, Expr, Literal, Mistakes, Regex};
use rhythmite_model::{Column, FieldType};

use super::column::Col;
use super::math::Function;
use super::value::Value;

/// An expression whose names are resolved to columns.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Value(Value),
    Regex(Regex),
    /// The column of this number.
    Slot(usize),
    Binary(BinaryOp, Box<Node>, Box<Node>),
    Math(Function, Vec<Node>),
}

impl Node {
    /// Translates an expression; `leaf` gives the node of what is a name or a call of its own.
    pub(super) fn build(expr: &Expr, mistakes: Mistakes, leaf: &mut dyn FnMut(&Expr) -> Node) -> Node {
        match expr {
            Expr::Literal(Literal::Regex(regex)) => Node::Regex(regex.clone()),
            Expr::Literal(literal) => Node::Value(Value::of_literal(literal).unwrap_or_default()),
            Expr::Paren(inner) => Node::build(inner, mistakes, leaf),
            Expr::Binary(binary) => {
                let Binary { op, lhs, rhs } = &**binary;
                let (lhs, rhs) = (Node::build(lhs, mistakes, leaf), Node::build(rhs, mistakes, leaf));
                Node::Binary(*op, Box::new(lhs), Box::new(rhs))
            }
            Expr::Call(call) => match Function::named(&call.name, mistakes) {
                Some(function) => {
                    Node::Math(function, call.args.iter().map(|arg| Node::build(arg, mistakes, leaf)).collect())
                }
                None => leaf(expr),
            },
            Expr::VarRef(_) | Expr::Distinct(_) | Expr::Wildcard(_) => leaf(expr),
        }
    }

    /// The column, if it is one and nothing else.
    pub(super) fn slot(&self) -> Option<usize> {
        match self {
            Node::Slot(slot) => Some(*slot),
            _ => None,
        }
    }

    /// Evaluates over `rows` rows.
    pub(super) fn eval<'a>(&self, slots: &'a [Col], rows: usize, dividing: Dividing) -> Operand<'a> {
        match self {
            Node::Value(value) => Operand::One(value.clone()),
            Node::Regex(_) => Operand::One(Value::Null),
            Node::Slot(slot) => Operand::Rows(Cow::Borrowed(&slots[*slot])),
            Node::Math(function, args) => {
                let args: Vec<_> = args.iter().map(|arg| arg.eval(slots, rows, dividing)).collect();
                function.call(&args, rows)
            }
            Node::Binary(op, lhs, rhs) => {
                if let (BinaryOp::EqRegex | BinaryOp::NotEqRegex, Node::Regex(regex)) = (op, &**rhs) {
                    return matches(&lhs.eval(slots, rows, dividing), regex, *op == BinaryOp::EqRegex, rows);
                }
                let (lhs, rhs) = (lhs.eval(slots, rows, dividing), rhs.eval(slots, rows, dividing));
                binary(*op, &lhs, &rhs, rows, dividing)
            }
        }
    }

    /// Evaluates a condition: the rows for which it is true.
    pub(super) fn mask(&self, slots: &[Col], rows: usize) -> Vec<bool> {
        match self.eval(slots, rows, Dividing::Whole) {
            Operand::One(value) => vec![value == Value::Boolean(true); rows],
            Operand::Rows(col) => match (col.values(), col.valid()) {
                (Column::Boolean(values), None) => values.clone(),
                (Column::Boolean(values), Some(valid)) => values.iter().zip(valid).map(|(a, b)| *a && *b).collect(),
                _ => vec![false; rows],
            },
        }
    }
}

/// What dividing whole numbers gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dividing {
    /// A whole number, in conditions.
    Whole,
    /// A float, in fields.
    Float,
}

/// One value for all rows, or one for each.
#[derive(Clone, Debug)]
pub(super) enum Operand<'a> {
    One(Value),
    Rows(Cow<'a, Col>),
}

impl Operand<'_> {
    pub(super) fn null() -> Self {
        Operand::One(Value::Null)
    }

    pub(super) fn field_type(&self) -> Option<FieldType> {
        match self {
            Operand::One(value) => value.as_field().map(|v| v.field_type()),
            Operand::Rows(col) => Some(col.field_type()),
        }
    }

    /// As a column of `rows` rows; `otherwise` is the type of a column of nothing but nulls.
    pub(super) fn into_col(self, rows: usize, otherwise: FieldType) -> Col {
        match self {
            Operand::One(value) => match value.as_field() {
                Some(value) => Col::repeat(value, rows),
                None => Col::nulls(otherwise, rows),
            },
            Operand::Rows(col) => col.into_owned(),
        }
    }

    fn is_valid(&self, row: usize) -> bool {
        match self {
            Operand::One(value) => !value.is_null(),
            Operand::Rows(col) => col.is_valid(row),
        }
    }

    fn all_valid(&self) -> bool {
        match self {
            Operand::One(value) => !value.is_null(),
            Operand::Rows(col) => col.all_valid(),
        }
    }

    pub(super) fn floats(&self) -> Option<Lane<'_, f64>> {
        Some(match self {
            Operand::One(value) => Lane::One(value.as_f64()?),
            Operand::Rows(col) => match col.values() {
                Column::Float(v) => Lane::Rows(Cow::Borrowed(v)),
                Column::Integer(v) => Lane::Rows(v.iter().map(|x| *x as f64).collect()),
                Column::Unsigned(v) => Lane::Rows(v.iter().map(|x| *x as f64).collect()),
                _ => return None,
            },
        })
    }

    pub(super) fn integers(&self) -> Option<Lane<'_, i64>> {
        Some(match self {
            Operand::One(Value::Integer(value)) => Lane::One(*value),
            Operand::One(Value::Unsigned(value)) => Lane::One(*value as i64),
            Operand::Rows(col) => match col.values() {
                Column::Integer(v) => Lane::Rows(Cow::Borrowed(v)),
                Column::Unsigned(v) => Lane::Rows(v.iter().map(|x| *x as i64).collect()),
                _ => return None,
            },
            Operand::One(_) => return None,
        })
    }

    fn booleans(&self) -> Option<Lane<'_, bool>> {
        match self {
            Operand::One(Value::Boolean(value)) => Some(Lane::One(*value)),
            Operand::Rows(col) => match col.values() {
                Column::Boolean(v) => Some(Lane::Rows(Cow::Borrowed(v))),
                _ => None,
            },
            Operand::One(_) => None,
        }
    }

    fn text(&self, row: usize) -> Option<&str> {
        match self {
            Operand::One(Value::String(text)) => Some(text),
            Operand::Rows(col) => match col.values() {
                Column::String(texts) => Some(texts.get(row)),
                _ => None,
            },
            Operand::One(_) => None,
        }
    }

    /// The rows in which all operands have a value; `None` for all rows.
    pub(super) fn valid(operands: &[&Operand<'_>], rows: usize) -> Option<Vec<bool>> {
        if operands.iter().all(|operand| operand.all_valid()) {
            return None;
        }
        Some((0..rows).map(|row| operands.iter().all(|operand| operand.is_valid(row))).collect())
    }

    /// A column with the given nulls.
    pub(super) fn rows(values: Column, valid: Option<Vec<bool>>) -> Operand<'static> {
        Operand::Rows(Cow::Owned(match valid {
            Some(valid) => Col::with_valid(values, valid),
            None => Col::full(values),
        }))
    }
}

/// Plain values, one or one per row.
pub(super) enum Lane<'a, T: Copy> {
    One(T),
    Rows(Cow<'a, [T]>),
}

impl<T: Copy> Lane<'_, T> {
    fn at(&self, row: usize) -> T {
        match self {
            Lane::One(value) => *value,
            Lane::Rows(values) => values[row],
        }
    }

    pub(super) fn map<R>(&self, rows: usize, f: impl Fn(T) -> R) -> Vec<R> {
        match self {
            Lane::One(value) => (0..rows).map(|_| f(*value)).collect(),
            Lane::Rows(values) => values.iter().map(|v| f(*v)).collect(),
        }
    }

    /// Both sides, row by row; each shape has a loop of its own.
    pub(super) fn zip<U: Copy, R>(&self, other: &Lane<'_, U>, rows: usize, f: impl Fn(T, U) -> R) -> Vec<R> {
        match (self, other) {
            (Lane::Rows(a), Lane::Rows(b)) => a.iter().zip(b.iter()).map(|(a, b)| f(*a, *b)).collect(),
            (Lane::Rows(a), Lane::One(b)) => a.iter().map(|a| f(*a, *b)).collect(),
            (Lane::One(a), Lane::Rows(b)) => b.iter().map(|b| f(*a, *b)).collect(),
            (Lane::One(_), Lane::One(_)) => (0..rows).map(|row| f(self.at(row), other.at(row))).collect(),
        }
    }
}

/// A comparison with null is false; AND and OR take null for false.
fn binary(op: BinaryOp, lhs: &Operand<'_>, rhs: &Operand<'_>, rows: usize, dividing: Dividing) -> Operand<'static> {
    use FieldType as T;
    let valid = || Operand::valid(&[lhs, rhs], rows);
    let result = match (lhs.field_type(), rhs.field_type()) {
        (Some(T::Boolean), Some(T::Boolean) | None) | (None, Some(T::Boolean)) => {
            return logic(op, lhs, rhs, rows);
        }
        // Bits of a boolean and of what is none are false.
        (Some(T::Boolean), Some(_)) if matches!(op, BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor) => {
            return Operand::rows(Column::Boolean(vec![false; rows]), Operand::valid(&[lhs], rows));
        }
        (Some(T::String), Some(T::String)) => match op {
            BinaryOp::Eq | BinaryOp::NotEq => {
                let values = (0..rows).map(|row| (lhs.text(row) == rhs.text(row)) == (op == BinaryOp::Eq)).collect();
                Some(Column::Boolean(values))
            }
            _ => None,
        },
        (Some(T::Integer), Some(T::Integer)) => whole(op, lhs, rhs, rows, dividing),
        (Some(T::Unsigned | T::Integer), Some(T::Unsigned | T::Integer)) => unsigned(op, lhs, rhs, rows, dividing),
        (Some(_), Some(_)) => numbers(op, lhs, rhs, rows),
        _ => None,
    };
    match result {
        // Nulls compare as false.
        Some(Column::Boolean(mut values)) => {
            if let Some(valid) = valid() {
                values.iter_mut().zip(valid).for_each(|(value, valid)| *value &= valid);
            }
            Operand::rows(Column::Boolean(values), None)
        }
        Some(values) => Operand::rows(values, valid()),
        None if op.is_condition() => Operand::One(Value::Boolean(false)),
        None => Operand::null(),
    }
}

fn logic(op: BinaryOp, lhs: &Operand<'_>, rhs: &Operand<'_>, rows: usize) -> Operand<'static> {
    let f: fn(bool, bool) -> bool = match op {
        BinaryOp::And | BinaryOp::BitAnd => |a, b| a && b,
        BinaryOp::Or | BinaryOp::BitOr => |a, b| a || b,
        BinaryOp::BitXor | BinaryOp::NotEq => |a, b| a != b,
        BinaryOp::Eq => |a, b| a == b,
        _ => return if op.is_condition() { Operand::One(Value::Boolean(false)) } else { Operand::null() },
    };
    let side = |operand: &Operand<'_>, row: usize, lane: &Option<Lane<'_, bool>>| {
        operand.is_valid(row) && lane.as_ref().is_some_and(|lane| lane.at(row))
    };
    let (a, b) = (lhs.booleans(), rhs.booleans());
    let values: Vec<bool> = (0..rows).map(|row| f(side(lhs, row, &a), side(rhs, row, &b))).collect();
    match op {
        BinaryOp::And | BinaryOp::Or => Operand::rows(Column::Boolean(values), None),
        BinaryOp::Eq | BinaryOp::NotEq => {
            let known = |(row, value): (usize, bool)| value && lhs.is_valid(row) && rhs.is_valid(row);
            Operand::rows(Column::Boolean(values.into_iter().enumerate().map(known).collect()), None)
        }
        _ => Operand::rows(Column::Boolean(values), Operand::valid(&[lhs, rhs], rows)),
    }
}

fn whole(op: BinaryOp, lhs: &Operand<'_>, rhs: &Operand<'_>, rows: usize, dividing: Dividing) -> Option<Column> {
    let (a, b) = (lhs.integers()?, rhs.integers()?);
    Some(match op {
        BinaryOp::Add => Column::Integer(a.zip(&b, rows, i64::wrapping_add)),
        BinaryOp::Sub => Column::Integer(a.zip(&b, rows, i64::wrapping_sub)),
        BinaryOp::Mul => Column::Integer(a.zip(&b, rows, i64::wrapping_mul)),
        BinaryOp::Div if dividing == Dividing::Float => {
            Column::Float(a.zip(&b, rows, |a, b| if b == 0 { 0.0 } else { a as f64 / b as f64 }))
        }
        BinaryOp::Div => Column::Integer(a.zip(&b, rows, |a, b| if b == 0 { 0 } else { a.wrapping_div(b) })),
        BinaryOp::Mod => Column::Integer(a.zip(&b, rows, |a, b| if b == 0 { 0 } else { a.wrapping_rem(b) })),
        BinaryOp::BitAnd => Column::Integer(a.zip(&b, rows, |a, b| a & b)),
        BinaryOp::BitOr => Column::Integer(a.zip(&b, rows, |a, b| a | b)),
        BinaryOp::BitXor => Column::Integer(a.zip(&b, rows, |a, b| a ^ b)),
        _ => return compare(op, &a, &b, rows),
    })
}

/// Of an integer and an unsigned number: as unsigned, but that a negative one is below all.
fn unsigned(op: BinaryOp, lhs: &Operand<'_>, rhs: &Operand<'_>, rows: usize, dividing: Dividing) -> Option<Column> {
    let wide = |operand: &Operand<'_>| {
        let signed = operand.field_type() == Some(FieldType::Integer);
        let values = operand.integers()?.map(rows, |v| if signed { i128::from(v) } else { i128::from(v as u64) });
        Some(Lane::Rows(Cow::<[i128]>::Owned(values)))
    };
    let (a, b) = (wide(lhs)?, wide(rhs)?);
    let bits = |f: fn(u64, u64) -> u64| Column::Unsigned(a.zip(&b, rows, |a, b| f(a as u64, b as u64)));
    Some(match op {
        BinaryOp::Add => bits(u64::wrapping_add),
        BinaryOp::Sub => bits(u64::wrapping_sub),
        BinaryOp::Mul => bits(u64::wrapping_mul),
        BinaryOp::Div if dividing == Dividing::Float => {
            Column::Float(a.zip(&b, rows, |a, b| if b == 0 { 0.0 } else { a as u64 as f64 / b as u64 as f64 }))
        }
        BinaryOp::Div => bits(|a, b| a.checked_div(b).unwrap_or(0)),
        BinaryOp::Mod => bits(|a, b| a.checked_rem(b).unwrap_or(0)),
        BinaryOp::BitAnd => bits(|a, b| a & b),
        BinaryOp::BitOr => bits(|a, b| a | b),
        BinaryOp::BitXor => bits(|a, b| a ^ b),
        _ => return compare(op, &a, &b, rows),
    })
}

fn numbers(op: BinaryOp, lhs: &Operand<'_>, rhs: &Operand<'_>, rows: usize) -> Option<Column> {
    let (a, b) = (lhs.floats()?, rhs.floats()?);
    Some(Column::Float(match op {
        BinaryOp::Add => a.zip(&b, rows, |a, b| a + b),
        BinaryOp::Sub => a.zip(&b, rows, |a, b| a - b),
        BinaryOp::Mul => a.zip(&b, rows, |a, b| a * b),
        BinaryOp::Div => a.zip(&b, rows, |a, b| if b == 0.0 { 0.0 } else { a / b }),
        BinaryOp::Mod => a.zip(&b, rows, |a, b| a % b),
        _ => return compare(op, &a, &b, rows),
    }))
}

fn compare<T: Copy + PartialOrd>(op: BinaryOp, a: &Lane<'_, T>, b: &Lane<'_, T>, rows: usize) -> Option<Column> {
    Some(Column::Boolean(match op {
        BinaryOp::Eq => a.zip(b, rows, |a, b| a == b),
        BinaryOp::NotEq => a.zip(b, rows, |a, b| a != b),
        BinaryOp::Lt => a.zip(b, rows, |a, b| a < b),
        BinaryOp::LtEq => a.zip(b, rows, |a, b| a <= b),
        BinaryOp::Gt => a.zip(b, rows, |a, b| a > b),
        BinaryOp::GtEq => a.zip(b, rows, |a, b| a >= b),
        _ => return None,
    }))
}

fn matches(lhs: &Operand<'_>, regex: &Regex, wanted: bool, rows: usize) -> Operand<'static> {
    if lhs.field_type() != Some(FieldType::String) {
        return Operand::One(Value::Boolean(false));
    }
    if let Operand::One(Value::String(text)) = lhs {
        return Operand::One(Value::Boolean(regex.is_match(text) == wanted));
    }
    let row_matches = |row| lhs.is_valid(row) && lhs.text(row).is_some_and(|text| regex.is_match(text) == wanted);
    Operand::rows(Column::Boolean((0..rows).map(row_matches).collect()), None)
}
