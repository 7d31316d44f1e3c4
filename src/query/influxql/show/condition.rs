//! WHERE of statements about names: which series of a table it leaves.
//!
//! `=`, `!=`, `=~` and `!~` of a tag and a constant, joined by AND and OR. A series without the tag has the empty text
//! there. `_name` is the measurement; `_tagKey` the tag key of the row, in statements that have one. Times are taken
//! out first and have no effect. Nothing here reads a point, so fields decide nothing: see [`OnField`].

use std::sync::Arc;

use rhythmite_engine::registry::{Directory, Scope, Table, TagExpr, TagTest};
use rhythmite_influx::influxql::{Binary, BinaryOp, DataType, Expr, Known, Literal, VarRef, time_range};
use rhythmite_model::{KeyKind, TableId};
use roaring::RoaringBitmap;

use crate::query::influxql::context::Context;
use crate::query::influxql::failure::{Failure, Result};

/// The tag that holds the whole name of a Graphite series.
pub(super) const PATH_TAG: &str = "path";
/// The measurement.
const NAME: &str = "_name";
/// The tag key of the row.
const TAG_KEY: &str = "_tagKey";
/// The tag value of the row, in SHOW TAG VALUES.
const VALUE: &str = "value";

/// What a comparison with a field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::query::influxql) enum OnField {
    /// It holds for every series of a measurement that has the field, as in 1.x.
    Holds,
    /// It is refused: what is dropped must be what was meant.
    Refuse,
}

/// A condition without times.
pub(in crate::query::influxql) struct Condition {
    expr: Option<Expr>,
    on_field: OnField,
    /// `!=` and `!~` hold without the tag, too.
    missing_differs: bool,
}

impl Condition {
    /// Checks a condition and takes the times out.
    ///
    /// # Errors
    /// A bad time, or an operator that does not compare tags.
    pub(in crate::query::influxql) fn new(
        context: &Context,
        condition: Option<&Expr>,
        on_field: OnField,
    ) -> Result<Self> {
        let known = Known { now_ns: Some(context.clock.now_ns()), ..Known::default() };
        let (expr, _) = time_range(condition, &known)?;
        if let Some(expr) = &expr {
            check_operators(expr)?;
        }
        Ok(Self { expr, on_field, missing_differs: true })
    }

    /// The same, but `!=` and `!~` are false without the tag: how 1.x counts tag values.
    pub(super) fn missing_never_differs(self) -> Self {
        Self { missing_differs: false, ..self }
    }

    /// Whether every series is left.
    pub(in crate::query::influxql) fn is_empty(&self) -> bool {
        self.expr.is_none()
    }

    /// Whether the answer depends on the tag key of the row.
    pub(super) fn names_tag_key(&self) -> bool {
        self.expr.as_ref().is_some_and(|expr| names(expr, TAG_KEY))
    }

    /// Takes the comparisons with `value` out, as conditions on the value of a row; what is left is joined as if they
    /// had not been there.
    pub(super) fn split_value(self) -> (Self, Option<ValueTest>) {
        let Some(expr) = self.expr else { return (self, None) };
        if !names(&expr, VALUE) {
            return (Self { expr: Some(expr), ..self }, None);
        }
        let rest = project(&expr, &|binary| !is_about(binary, VALUE));
        let value = project(&expr, &|binary| is_about(binary, VALUE));
        (Self { expr: rest, ..self }, value.map(ValueTest))
    }

    /// The series of a table that are left. `tag_key` is that of the row.
    ///
    /// # Errors
    /// A comparison that cannot be decided here.
    pub(in crate::query::influxql) fn select(
        &self,
        directory: &Directory,
        table: TableId,
        tag_key: Option<&str>,
    ) -> Result<RoaringBitmap> {
        let Some(found) = directory.table(table) else { return Ok(RoaringBitmap::new()) };
        match &self.expr {
            None => Ok(directory.series(table)),
            Some(expr) => Selection { directory, table: found, tag_key, condition: self }.eval(expr),
        }
    }

    /// Whether a measurement is left: a comparison holds if any series has a value that does (`=`, `=~`), or none has
    /// (`!=`, `!~`); without the tag key it never does.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    pub(super) fn holds_for_measurement(&self, directory: &Directory, name: &str, tables: &[TableId]) -> Result<bool> {
        match &self.expr {
            None => Ok(true),
            Some(expr) => measurement_holds(directory, name, tables, expr),
        }
    }
}

/// Conditions on the `value` of a row.
pub(super) struct ValueTest(Expr);

impl ValueTest {
    pub(super) fn holds(&self, value: &str) -> bool {
        fn eval(expr: &Expr, value: &str) -> bool {
            match expr {
                Expr::Paren(inner) => eval(inner, value),
                Expr::Binary(binary) => match binary.op {
                    BinaryOp::And => eval(&binary.lhs, value) && eval(&binary.rhs, value),
                    BinaryOp::Or => eval(&binary.lhs, value) || eval(&binary.rhs, value),
                    op => comparison(binary)
                        .and_then(|(_, literal)| test(literal))
                        .is_some_and(|test| holds(&test, value) != is_negative(op)),
                },
                _ => true,
            }
        }
        eval(&self.0, value)
    }
}

/// One table's series under a condition.
struct Selection<'a> {
    directory: &'a Directory,
    table: &'a Table,
    tag_key: Option<&'a str>,
    condition: &'a Condition,
}

impl Selection<'_> {
    // The parser bounds the depth.
    fn eval(&self, expr: &Expr) -> Result<RoaringBitmap> {
        match expr {
            Expr::Paren(inner) => self.eval(inner),
            Expr::Literal(Literal::Boolean(holds)) => Ok(self.all_if(*holds)),
            Expr::Binary(binary) => match binary.op {
                BinaryOp::And => {
                    let lhs = self.eval(&binary.lhs)?;
                    // Also when nothing is left: what is wrong with the other side must be said.
                    Ok(lhs & self.eval(&binary.rhs)?)
                }
                BinaryOp::Or => Ok(self.eval(&binary.lhs)? | self.eval(&binary.rhs)?),
                _ => self.compare(binary),
            },
            other => Err(invalid(other)),
        }
    }

    fn all_if(&self, holds: bool) -> RoaringBitmap {
        if holds { self.directory.series(self.table.id()) } else { RoaringBitmap::new() }
    }

    fn compare(&self, binary: &Binary) -> Result<RoaringBitmap> {
        let Some((var, literal)) = comparison(binary) else {
            return Err(invalid(&Expr::Binary(binary.clone().into())));
        };
        let negative = is_negative(binary.op);
        let constant = |text: &str| self.all_if(test(literal).is_some_and(|test| holds(&test, text) != negative));
        match (var.name.as_str(), self.tag_key) {
            (NAME, _) => return Ok(constant(self.table.name())),
            (TAG_KEY, Some(key)) => return Ok(constant(key)),
            (name, _) if is_system(name) => return Ok(self.all_if(true)),
            _ => {}
        }
        if self.is_field(var) {
            return match self.condition.on_field {
                OnField::Holds => Ok(self.all_if(true)),
                OnField::Refuse => Err(Failure::new("fields not supported in WHERE clause during deletion")),
            };
        }
        // A tag is text: nothing else is equal to it.
        let Some(test) = test(literal) else { return Ok(self.all_if(negative)) };
        let found = self.matching(&var.name, &test)?;
        if !negative {
            return Ok(found);
        }
        let among = if self.condition.missing_differs { self.all_if(true) } else { self.having(&var.name)? };
        Ok(among - found)
    }

    /// Whether a name means a field; one that is both means the tag.
    fn is_field(&self, var: &VarRef) -> bool {
        match var.data_type {
            Some(DataType::Tag) => false,
            Some(_) => true,
            None => {
                self.directory.find_field(self.table.id(), &var.name).is_some()
                    && !is_path(self.table, &var.name)
                    && !self.having(&var.name).is_ok_and(|series| !series.is_empty())
            }
        }
    }

    fn having(&self, key: &str) -> Result<RoaringBitmap> {
        having(self.directory, self.table, key)
    }

    fn matching(&self, key: &str, test: &TagTest) -> Result<RoaringBitmap> {
        matching(self.directory, self.table, key, test)
    }
}

fn is_path(table: &Table, key: &str) -> bool {
    table.kind() == KeyKind::Path && key == PATH_TAG
}

/// The series of a table that have a tag.
fn having(directory: &Directory, table: &Table, key: &str) -> Result<RoaringBitmap> {
    let all = directory.series(table.id());
    if is_path(table, key) {
        return Ok(all);
    }
    Ok(all - directory.select(table.id(), &TagExpr::is(key, ""))?)
}

/// The series of a table whose tag passes a test. The paths of Graphite are no tags to the registry: one is looked up,
/// a pattern is tried on every series.
fn matching(directory: &Directory, table: &Table, key: &str, test: &TagTest) -> Result<RoaringBitmap> {
    if !is_path(table, key) {
        return Ok(directory.select(table.id(), &TagExpr::Tag(key.to_owned(), test.clone()))?);
    }
    let slots: Vec<_> = match test {
        TagTest::Is(path) => {
            let head = directory.find_series(Scope::Paths, path.as_bytes());
            let chain = head.into_iter().chain(head.into_iter().flat_map(|head| directory.older_series(head)));
            chain.filter(|&slot| directory.series_id(slot).table() == table.id()).collect()
        }
        like => {
            let all = directory.series_by_key(table.id(), None);
            all.into_iter().filter(|&slot| holds(like, directory.key(slot))).collect()
        }
    };
    Ok(slots.into_iter().map(|slot| slot.0).collect())
}

fn measurement_holds(directory: &Directory, name: &str, tables: &[TableId], expr: &Expr) -> Result<bool> {
    let both = |binary: &Binary| -> Result<(bool, bool)> {
        Ok((
            measurement_holds(directory, name, tables, &binary.lhs)?,
            measurement_holds(directory, name, tables, &binary.rhs)?,
        ))
    };
    let binary = match expr {
        Expr::Paren(inner) => return measurement_holds(directory, name, tables, inner),
        Expr::Literal(Literal::Boolean(holds)) => return Ok(*holds),
        Expr::Binary(binary) => binary,
        other => return Err(invalid(other)),
    };
    match binary.op {
        BinaryOp::And => return both(binary).map(|(lhs, rhs)| lhs && rhs),
        BinaryOp::Or => return both(binary).map(|(lhs, rhs)| lhs || rhs),
        _ => {}
    }
    let op = binary.op;
    let Expr::VarRef(var) = &binary.lhs else {
        return Err(Failure::new(format!("left side of '{op}' must be a tag key")));
    };
    let test = match &binary.rhs {
        Expr::Literal(literal) => test(literal),
        _ => None,
    };
    let Some(test) = test else {
        let what = match op {
            BinaryOp::EqRegex | BinaryOp::NotEqRegex => "a regular expression",
            _ => "a tag value string",
        };
        return Err(Failure::new(format!("right side of '{op}' must be {what}")));
    };
    if var.name == NAME {
        return Ok(holds(&test, name) != is_negative(op));
    }
    if is_system(&var.name) {
        return Ok(false);
    }
    let (mut has_key, mut has_value) = (false, false);
    for table in tables.iter().filter_map(|&table| directory.table(table)) {
        let having = having(directory, table, &var.name)?;
        has_key |= !having.is_empty();
        has_value |= !having.is_disjoint(&matching(directory, table, &var.name, &test)?);
    }
    Ok(has_key && has_value != is_negative(op))
}

/// The comparison of a name with a constant, whichever stands first.
fn comparison(binary: &Binary) -> Option<(&VarRef, &Literal)> {
    match (&binary.lhs, &binary.rhs) {
        (Expr::VarRef(var), Expr::Literal(literal)) | (Expr::Literal(literal), Expr::VarRef(var)) => {
            Some((var, literal))
        }
        _ => None,
    }
}

fn test(literal: &Literal) -> Option<TagTest> {
    match literal {
        Literal::String(text) => Some(TagTest::Is(text.clone())),
        Literal::Regex(regex) => {
            let regex = regex.clone();
            Some(TagTest::Like(Arc::new(move |text| regex.is_match(text))))
        }
        _ => None,
    }
}

fn holds(test: &TagTest, text: &str) -> bool {
    match test {
        TagTest::Is(wanted) => wanted == text,
        TagTest::Like(like) => like(text),
    }
}

fn is_negative(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::NotEq | BinaryOp::NotEqRegex)
}

/// Names that 1.x keeps for itself.
fn is_system(name: &str) -> bool {
    matches!(name, "_fieldKeys" | "_measurements" | NAME | "_series" | TAG_KEY | "_tagKeys" | "_tags")
}

fn is_about(binary: &Binary, name: &str) -> bool {
    comparison(binary).is_some_and(|(var, _)| var.name == name)
}

fn names(expr: &Expr, name: &str) -> bool {
    let mut found = false;
    expr.walk(&mut |inner| found |= matches!(inner, Expr::VarRef(var) if var.name == name));
    found
}

/// The comparisons that `keep` keeps, joined as they were.
fn project(expr: &Expr, keep: &dyn Fn(&Binary) -> bool) -> Option<Expr> {
    match expr {
        Expr::Paren(inner) => project(inner, keep).map(|inner| Expr::Paren(Box::new(inner))),
        Expr::Binary(binary) if matches!(binary.op, BinaryOp::And | BinaryOp::Or) => {
            match (project(&binary.lhs, keep), project(&binary.rhs, keep)) {
                (Some(lhs), Some(rhs)) => Some(Expr::binary(binary.op, lhs, rhs)),
                (lhs, rhs) => lhs.or(rhs),
            }
        }
        Expr::Binary(binary) => keep(binary).then(|| expr.clone()),
        other => Some(other.clone()),
    }
}

fn check_operators(expr: &Expr) -> Result<()> {
    use BinaryOp::{And, Eq, EqRegex, NotEq, NotEqRegex, Or};
    let mut valid = true;
    expr.walk(&mut |inner| {
        if let Expr::Binary(binary) = inner {
            valid &= matches!(binary.op, And | Or | Eq | NotEq | EqRegex | NotEqRegex);
        }
    });
    if valid { Ok(()) } else { Err(Failure::new("invalid tag comparison operator")) }
}

/// Whether a condition names `time`.
pub(in crate::query::influxql) fn has_time(condition: Option<&Expr>) -> bool {
    let mut found = false;
    if let Some(condition) = condition {
        condition.walk(&mut |inner| found |= inner.is_time());
    }
    found
}

fn invalid(expr: &Expr) -> Failure {
    Failure::new(format!("invalid condition expression: {expr}"))
}
