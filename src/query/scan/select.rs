//! Which series a query means: conditions on tags and paths, answered by the registry without touching a point.
//!
//! A condition on one tag is tried once on every distinct value of the tag (as DataFusion would evaluate it, so that any
//! function is exact), `=` and `IN` are look-ups, `graphite_glob(path, ...)` walks the path index. `AND` and `OR` of such
//! conditions are set operations. Anything else that names only tags and the path is evaluated once per series that is
//! still in question.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema};
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError, Result};
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown};
use datafusion::physical_expr::PhysicalExpr;
use rhythmite_engine::registry::{Directory, GlobStep, Scope, SegmentMatcher, Slot, TagExpr, TagTest, Want};
use rhythmite_graphite::glob::{SegmentPattern, split_pattern};
use rhythmite_model::{SeriesId, TableId};
use roaring::RoaringBitmap;

use super::predicate::FieldTest;
use super::rows::RowBuilder;
use super::schema::{ColumnKind, TableSchema, text_type};
use super::{QueryScope, time};
use crate::query::sql::GRAPHITE_GLOB;

/// Nesting of AND and OR that is answered by sets; deeper conditions are evaluated series by series.
const DEPTH_MAX: usize = 100;
/// Series evaluated at a time.
const CHUNK: usize = 8192;

/// How much of a condition the scan takes upon itself.
pub(super) fn pushdown(schema: &TableSchema, expr: &Expr) -> TableProviderFilterPushDown {
    if expr.exists(|e| Ok(matches!(e, Expr::Placeholder(_)))).unwrap_or(true) {
        return match compares_with_parameters(schema, expr) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
        };
    }
    if !is_plain(expr) {
        return TableProviderFilterPushDown::Unsupported;
    }
    if is_on_series(schema, expr) || FieldTest::new(schema, expr).is_some() {
        return TableProviderFilterPushDown::Exact;
    }
    match time::bounds(expr) {
        Some((_, true)) => TableProviderFilterPushDown::Exact,
        Some((_, false)) => TableProviderFilterPushDown::Inexact,
        None if needs_field(schema, expr) => TableProviderFilterPushDown::Inexact,
        None => TableProviderFilterPushDown::Unsupported,
    }
}

/// Whether a condition with parameters is one of time, or that tags equal something: those are the same condition for any
/// values.
fn compares_with_parameters(schema: &TableSchema, expr: &Expr) -> bool {
    let stand_in = |e: Expr| {
        let value = match &e {
            Expr::Placeholder(p) => p.field.as_ref().and_then(|f| {
                let text = if f.data_type().is_temporal() { "1970-01-01T00:00:00" } else { "x" };
                super::query::value(f.data_type(), text)
            }),
            _ => None,
        };
        Ok(match value {
            Some(value) => Transformed::yes(Expr::Literal(value, None)),
            None => Transformed::no(e),
        })
    };
    let Ok(expr) = expr.clone().transform(stand_in) else { return false };
    let expr = expr.data;
    is_plain(&expr)
        && match is_on_series(schema, &expr) {
            true => texts(&expr).is_some(),
            false => matches!(time::bounds(&expr), Some((_, true))),
        }
}

/// Whether the condition means the same wherever it is evaluated.
fn is_plain(expr: &Expr) -> bool {
    let foreign = |e: &Expr| {
        let is = matches!(
            e,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
                | Expr::ScalarVariable(..)
                | Expr::AggregateFunction(_)
                | Expr::WindowFunction(_)
                | Expr::Unnest(_)
        );
        Ok(is)
    };
    !expr.is_volatile() && !expr.exists(foreign).unwrap_or(true)
}

fn kind_of<'a>(schema: &'a TableSchema, column: &Column) -> Option<&'a ColumnKind> {
    schema.arrow.index_of(&column.name).ok().map(|at| &schema.columns[at])
}

/// Whether only tags and the path are named, and one of them is.
pub(super) fn is_on_series(schema: &TableSchema, expr: &Expr) -> bool {
    let columns = expr.column_refs();
    let on_series = |c: &&Column| matches!(kind_of(schema, c), Some(ColumnKind::Path | ColumnKind::Tag(_)));
    !columns.is_empty() && columns.iter().all(on_series)
}

/// Whether the condition cannot hold in a row without a value of some field, so that rows of no named field are not
/// asked for: `usage > 5`, `usage IS NOT NULL`, and AND of those with anything.
pub(super) fn needs_field(schema: &TableSchema, expr: &Expr) -> bool {
    let is_field = |e: &Expr| match e {
        Expr::Column(c) => matches!(kind_of(schema, c), Some(ColumnKind::Field(..))),
        _ => false,
    };
    let is_value = |e: &Expr| matches!(e, Expr::Literal(value, _) if !value.is_null());
    match expr {
        Expr::IsNotNull(inner) => is_field(inner),
        Expr::Between(between) => is_field(&between.expr) && is_value(&between.low) && is_value(&between.high),
        Expr::InList(list) => is_field(&list.expr) && list.list.iter().all(is_value),
        Expr::Like(like) => is_field(&like.expr),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And => needs_field(schema, left) || needs_field(schema, right),
            Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
                (is_field(left) && is_value(right)) || (is_value(left) && is_field(right))
            }
            _ => false,
        },
        _ => false,
    }
}

/// A condition as operations on sets of series.
enum Node {
    Tag(TagExpr),
    Paths(Vec<String>),
    Glob(Vec<Step>),
    And(Vec<Node>),
    Or(Vec<Node>),
}

/// The series of every table for which all `filters` hold; `None` for all series of the table. Filters that name more
/// than tags and paths are passed over.
///
/// # Errors
/// Those of evaluating a condition (a bad regular expression, a bad glob).
pub(super) fn select(
    scope: &QueryScope,
    schema: &TableSchema,
    filters: &[Expr],
    session: &dyn Session,
) -> Result<Vec<(TableId, Option<Vec<SeriesId>>)>> {
    let mut nodes = Vec::new();
    let mut rest = Vec::new();
    for filter in filters.iter().filter(|f| is_plain(f) && is_on_series(schema, f)) {
        match compile(scope, schema, filter, session, 0)? {
            Some(node) => nodes.push(node),
            None => rest.push(filter.clone()),
        }
    }
    if nodes.is_empty() && rest.is_empty() {
        return Ok(schema.tables.iter().map(|&t| (t, None)).collect());
    }
    let condition = Node::And(nodes);
    let mut found = Vec::new();
    for &table in &schema.tables {
        let names = scope.engine.registry().read();
        let ids = names.ids(&slots(&condition, &names, table)?);
        drop(names);
        found.push((table, Some(ids)));
    }
    if let Some(rest) = datafusion::logical_expr::utils::conjunction(rest) {
        for (_, ids) in &mut found {
            let candidates = ids.take().unwrap_or_default();
            *ids = Some(evaluate(scope, schema, &rest, &candidates, session)?);
        }
    }
    Ok(found)
}

fn compile(
    scope: &QueryScope,
    schema: &TableSchema,
    expr: &Expr,
    session: &dyn Session,
    depth: usize,
) -> Result<Option<Node>> {
    if depth > DEPTH_MAX {
        return Ok(None);
    }
    let columns = expr.column_refs();
    let mut columns = columns.into_iter();
    let column = match (columns.next(), columns.next()) {
        (Some(one), None) => kind_of(schema, one).map(|kind| (one, kind)),
        _ => None,
    };
    match (column, texts(expr)) {
        (Some((_, ColumnKind::Path)), Some(texts)) => return Ok(Some(Node::Paths(texts))),
        (Some((_, ColumnKind::Tag(key))), Some(texts)) if !texts.iter().any(String::is_empty) => {
            let any = texts.into_iter().map(|text| TagExpr::is(key, text)).collect();
            return Ok(Some(Node::Tag(TagExpr::Or(any))));
        }
        (Some((_, ColumnKind::Path)), None) => {
            if let Some(pattern) = glob(expr) {
                return Ok(Some(Node::Glob(steps(pattern)?)));
            }
        }
        (Some((column, ColumnKind::Tag(key))), _) => {
            return try_values(scope, schema, expr, column, key, session).map(Some);
        }
        _ => {}
    }
    let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) = expr else {
        return Ok(None);
    };
    let Some(left) = compile(scope, schema, left, session, depth + 1)? else { return Ok(None) };
    let Some(right) = compile(scope, schema, right, session, depth + 1)? else { return Ok(None) };
    let both = vec![left, right];
    Ok(Some(if *op == Operator::And { Node::And(both) } else { Node::Or(both) }))
}

/// The texts that the column must be one of, for `column = 'a'`, `column IN ('a', 'b')`, and those of one column joined by
/// OR.
fn texts(expr: &Expr) -> Option<Vec<String>> {
    if let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) = expr {
        let (mut any, other) = (texts(left)?, texts(right)?);
        any.extend(other);
        return (expr.column_refs().len() == 1).then_some(any);
    }
    one_of(expr)
}

fn one_of(expr: &Expr) -> Option<Vec<String>> {
    let text = |e: &Expr| match e {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (&**left, &**right) {
            (Expr::Column(_), value) | (value, Expr::Column(_)) => Some(vec![text(value)?]),
            _ => None,
        },
        Expr::InList(InList { expr, list, negated: false }) if matches!(**expr, Expr::Column(_)) => {
            list.iter().map(text).collect()
        }
        _ => None,
    }
}

/// The pattern of `graphite_glob(path, 'pattern')`.
fn glob(expr: &Expr) -> Option<&str> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    match args.as_slice() {
        [Expr::Column(_), Expr::Literal(pattern, _)] if func.name() == GRAPHITE_GLOB => pattern.try_as_str().flatten(),
        _ => None,
    }
}

/// One segment of a glob.
struct Step(SegmentPattern);

impl SegmentMatcher for Step {
    fn literal(&self) -> Option<&str> {
        self.0.literal()
    }

    fn literal_prefix(&self) -> &str {
        self.0.prefix()
    }

    fn matches(&self, segment: &str) -> bool {
        self.0.matches(segment)
    }
}

fn steps(pattern: &str) -> Result<Vec<Step>> {
    let segments = split_pattern(pattern).map_err(|e| DataFusionError::Plan(format!("{GRAPHITE_GLOB}: {e}")))?;
    Ok(segments.into_iter().map(Step).collect())
}

/// Tries a condition on one tag on every value that the tag has, and on its absence.
fn try_values(
    scope: &QueryScope,
    schema: &TableSchema,
    expr: &Expr,
    column: &Column,
    key: &str,
    session: &dyn Session,
) -> Result<Node> {
    let values: StringArray = {
        let names = scope.engine.registry().read();
        names.tag_values(&schema.tables, key, None).into_iter().map(|(value, _)| Some(value)).chain([None]).collect()
    };
    let arrow = Arc::new(Schema::new(vec![Field::new(&column.name, text_type(), true)]));
    let condition = physical(expr, &arrow, session)?;
    let column: ArrayRef = cast(&values, &text_type())?;
    let holds = truth(&condition, &RecordBatch::try_new(arrow, vec![column])?)?;
    let absent = holds.value(holds.len() - 1);
    let holding: HashSet<String> =
        (0..values.len() - 1).filter(|&i| holds.value(i)).map(|i| values.value(i).to_owned()).collect();
    let test = move |value: &str| if value.is_empty() { absent } else { holding.contains(value) };
    Ok(Node::Tag(TagExpr::Tag(key.to_owned(), TagTest::Like(Arc::new(test)))))
}

fn slots(node: &Node, names: &Directory, table: TableId) -> Result<RoaringBitmap> {
    match node {
        Node::Tag(condition) => names.select(table, condition).map_err(external),
        Node::Paths(paths) => {
            let heads = paths.iter().filter_map(|path| names.find_series(Scope::Paths, path.as_bytes()));
            Ok(of_table(names, table, heads))
        }
        Node::Glob(steps) => {
            let steps: Vec<_> = steps
                .iter()
                .map(|step| if step.0.is_globstar() { GlobStep::AnyDepth } else { GlobStep::One(step) })
                .collect();
            let found = names.find_paths(&steps, Want::Leaves, usize::MAX).map_err(external)?;
            Ok(of_table(names, table, found.leaves.into_iter()))
        }
        Node::And(nodes) => {
            let mut all = names.series(table);
            for node in nodes {
                all &= slots(node, names, table)?;
            }
            Ok(all)
        }
        Node::Or(nodes) => {
            let mut any = RoaringBitmap::new();
            for node in nodes {
                any |= slots(node, names, table)?;
            }
            Ok(any)
        }
    }
}

/// The series of these paths, earlier ones included, that are in `table`.
fn of_table(names: &Directory, table: TableId, heads: impl Iterator<Item = Slot>) -> RoaringBitmap {
    let mut set = RoaringBitmap::new();
    for head in heads {
        for slot in std::iter::once(head).chain(names.older_series(head)) {
            if names.series_id(slot).table() == table {
                set.insert(slot.0);
            }
        }
    }
    set
}

/// Evaluates a condition on every candidate.
fn evaluate(
    scope: &QueryScope,
    schema: &TableSchema,
    condition: &Expr,
    candidates: &[SeriesId],
    session: &dyn Session,
) -> Result<Vec<SeriesId>> {
    let mut columns = BTreeSet::new();
    for column in condition.column_refs() {
        columns.insert(schema.arrow.index_of(&column.name)?);
    }
    let columns: Vec<usize> = columns.into_iter().collect();
    let arrow = Arc::new(schema.arrow.project(&columns)?);
    let condition = physical(condition, &arrow, session)?;
    let mut builder = RowBuilder::new(arrow, columns.iter().map(|&at| schema.columns[at].clone()));
    let mut found = Vec::new();
    for chunk in candidates.chunks(CHUNK) {
        let mut there = Vec::with_capacity(chunk.len());
        {
            let names = scope.engine.registry().read();
            for &id in chunk {
                let Some(slot) = names.slot(id) else { continue };
                builder.set_series(schema.kind, names.key(slot));
                builder.append_series();
                there.push(id);
            }
        }
        let holds = truth(&condition, &builder.finish()?)?;
        found.extend(there.iter().zip(holds.iter()).filter(|(_, holds)| *holds == Some(true)).map(|(id, _)| *id));
    }
    Ok(found)
}

fn physical(expr: &Expr, schema: &Arc<Schema>, session: &dyn Session) -> Result<Arc<dyn PhysicalExpr>> {
    session.create_physical_expr(expr.clone(), &DFSchema::try_from(schema.clone())?)
}

/// Where the condition is true; false where it is null.
fn truth(condition: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<BooleanArray> {
    let array = condition.evaluate(batch)?.into_array(batch.num_rows())?;
    let array = datafusion::common::cast::as_boolean_array(&array)?;
    Ok(array.iter().map(|holds| Some(holds == Some(true))).collect())
}

fn external(e: rhythmite_model::Error) -> DataFusionError {
    DataFusionError::External(Box::new(e))
}
