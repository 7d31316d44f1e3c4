//! Which parts of a logical plan are aggregates that need no hash table of rows, and what they ask for.
//!
//! Recognised is, from the bottom up: one of our tables with conditions that it takes upon itself, an aggregate by windows of time, tags and paths, and whatever of projections of columns, sorting
//! by the groups and a limit stands above it. Anything else of a plan is DataFusion's.

use arrow::datatypes::{DataType, IntervalDayTimeType, IntervalMonthDayNanoType, SchemaRef};
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, NullTreatment, ScalarFunction, Sort as SortExpr,
};
use datafusion::logical_expr::{Aggregate, Expr, FetchType, LogicalPlan, SkipType, TableScan};
use datafusion::scalar::ScalarValue;
use rhythmite_model::FieldType;

use super::accumulator::What;
use super::windows::Windows;
use crate::query::scan::predicate::FieldTest;
use crate::query::scan::schema::{ColumnKind, TIME, TableSchema};

/// Nesting of the nodes that are looked through.
const DEPTH_MAX: usize = 16;
const SECOND_NS: i64 = 1_000_000_000;
const DAY_NS: i64 = 86_400 * SECOND_NS;
/// 1970-01-05 was a Monday.
const MONDAY_NS: i64 = 4 * DAY_NS;

/// What a group is made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Window,
    /// Number among [`Spec::tags`].
    Tag(usize),
}

/// What is gathered of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub what: What,
    /// Number among [`Spec::fields`]; beyond all of them if no field is meant.
    pub field: usize,
    pub field_type: FieldType,
}

/// One result column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shown {
    /// Number among [`Spec::aggregates`].
    pub aggregate: usize,
    /// Of a sketch the share of its values that do not exceed the result.
    pub share: Option<f64>,
}

/// Which rows there are.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum RowsOf {
    /// Those of any field; none has to be looked at but to know which groups there are.
    Any,
    /// Those of any field, and they count.
    All,
    /// Those in which all of these fields have a value that meets the condition.
    With(Vec<(usize, FieldTest)>),
}

/// By what the answer is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Number among [`Spec::keys`].
    pub key: usize,
    pub descending: bool,
    pub nulls_first: bool,
}

/// An aggregate of a table.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::query::scan) struct Spec {
    pub(super) keys: Vec<Key>,
    pub(super) windows: Option<Windows>,
    /// Paths and tags that groups are made by.
    pub(super) tags: Vec<ColumnKind>,
    /// Columns of the table that are read, and what is said of them.
    pub(super) columns: Vec<usize>,
    pub(super) fields: Vec<(String, FieldType)>,
    pub(super) aggregates: Vec<Asked>,
    pub(super) shown: Vec<Shown>,
    /// Instead of aggregates: these columns of the newest row of each group.
    pub(super) picked: Option<Vec<ColumnKind>>,
    pub(super) rows: RowsOf,
    /// Of each column of the answer its number among keys and aggregates (or picked columns).
    pub(super) output: Vec<usize>,
    pub(super) order: Vec<Order>,
    pub(super) fetch: Option<usize>,
    pub(super) schema: SchemaRef,
}

impl Chain<'_> {
    /// What is asked of a table with these columns under these conditions.
    pub fn spec(&self, table: &TableSchema, filters: &[Expr], schema: SchemaRef) -> Option<Spec> {
        let mut builder = Builder { schema: table, spec: Spec::empty(schema) };
        builder.tests(filters);
        for key in &self.aggregate.group_expr {
            builder.key(key)?;
        }
        let before = builder.spec.clone();
        if builder.pick(&self.aggregate.aggr_expr).is_none() {
            builder.spec = before;
            for aggregate in &self.aggregate.aggr_expr {
                builder.aggregate(aggregate)?;
            }
        }
        let mut spec = builder.finish();
        (spec.output, spec.order, spec.fetch) = (self.output.clone(), self.order.clone(), self.fetch);
        spec.order.iter().all(|order| order.key < spec.keys.len()).then_some(spec)
    }
}

/// Looks through what stands above an aggregate, down to the table.
pub(in crate::query::scan) fn chain(plan: &LogicalPlan) -> Option<(&TableScan, Chain<'_>)> {
    let chain = walk(plan, 0)?;
    Some((source(&chain.aggregate.input, 0)?, chain))
}

/// What stands above an aggregate.
pub(in crate::query::scan) struct Chain<'a> {
    aggregate: &'a Aggregate,
    /// Of each column of the node its number among the aggregate's.
    output: Vec<usize>,
    order: Vec<Order>,
    fetch: Option<usize>,
}

fn walk(plan: &LogicalPlan, depth: usize) -> Option<Chain<'_>> {
    if depth > DEPTH_MAX {
        return None;
    }
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            let output = (0..aggregate.schema.fields().len()).collect();
            Some(Chain { aggregate, output, order: Vec::new(), fetch: None })
        }
        LogicalPlan::SubqueryAlias(alias) => walk(&alias.input, depth + 1),
        LogicalPlan::Projection(projection) => {
            let mut below = walk(&projection.input, depth + 1)?;
            let input = projection.input.schema();
            let place = |expr: &Expr| match bare(expr) {
                Expr::Column(column) => below.output.get(input.index_of_column(column).ok()?).copied(),
                _ => None,
            };
            let output = projection.expr.iter().map(place).collect::<Option<Vec<_>>>()?;
            if output.is_empty() {
                return None;
            }
            below.output = output;
            Some(below)
        }
        LogicalPlan::Sort(sort) => {
            let mut below = walk(&sort.input, depth + 1)?;
            if below.fetch.is_some() {
                return None;
            }
            let input = sort.input.schema();
            let order = |by: &SortExpr| match bare(&by.expr) {
                Expr::Column(column) => {
                    let key = *below.output.get(input.index_of_column(column).ok()?)?;
                    Some(Order { key, descending: !by.asc, nulls_first: by.nulls_first })
                }
                _ => None,
            };
            below.order = sort.expr.iter().map(order).collect::<Option<_>>()?;
            below.fetch = sort.fetch;
            Some(below)
        }
        LogicalPlan::Limit(limit) => {
            let mut below = walk(&limit.input, depth + 1)?;
            let (Ok(SkipType::Literal(0)), Ok(FetchType::Literal(fetch))) =
                (limit.get_skip_type(), limit.get_fetch_type())
            else {
                return None;
            };
            below.fetch = below.fetch.into_iter().chain(fetch).min();
            Some(below)
        }
        _ => None,
    }
}

/// The table below an aggregate, which takes all conditions upon itself.
fn source(plan: &LogicalPlan, depth: usize) -> Option<&TableScan> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.fetch.is_none() => Some(scan),
        LogicalPlan::SubqueryAlias(alias) if depth < DEPTH_MAX => source(&alias.input, depth + 1),
        // Columns keep their names.
        LogicalPlan::Projection(projection)
            if depth < DEPTH_MAX && projection.expr.iter().all(|e| matches!(e, Expr::Column(_))) =>
        {
            source(&projection.input, depth + 1)
        }
        _ => None,
    }
}

/// An expression without the names it is given.
pub(in crate::query::scan) fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        _ => expr,
    }
}

impl Spec {
    fn empty(schema: SchemaRef) -> Self {
        Self {
            keys: Vec::new(),
            windows: None,
            tags: Vec::new(),
            columns: Vec::new(),
            fields: Vec::new(),
            aggregates: Vec::new(),
            shown: Vec::new(),
            picked: None,
            rows: RowsOf::Any,
            output: Vec::new(),
            order: Vec::new(),
            fetch: None,
            schema,
        }
    }

    /// Whether quantiles are asked for, which only levels answer here.
    pub(super) fn has_sketches(&self) -> bool {
        self.aggregates.iter().any(|asked| asked.what == What::Sketch)
    }

    /// Whether values of all of the range are put together: not if rows are counted, or the newest are chosen.
    pub(super) fn is_of_all_points(&self) -> bool {
        let is = |asked: &Asked| match asked.what {
            What::Rows => false,
            What::Last { .. } => self.windows.is_some(),
            _ => true,
        };
        self.picked.is_none() && self.aggregates.iter().any(is)
    }

    /// Whether the answer is of the newest windows, so that older ones need not be read.
    pub(super) fn newest_first(&self) -> Option<(Windows, usize)> {
        if self.picked.is_some() {
            return None;
        }
        let first = self.order.first()?;
        let by_time = self.keys[first.key] == Key::Window && first.descending;
        by_time.then_some((self.windows?, self.fetch?))
    }
}

struct Builder<'a> {
    schema: &'a TableSchema,
    spec: Spec,
}

impl Builder<'_> {
    fn column(&self, expr: &Expr) -> Option<(usize, &ColumnKind)> {
        let Expr::Column(column) = expr else { return None };
        let at = self.schema.arrow.index_of(&column.name).ok()?;
        Some((at, &self.schema.columns[at]))
    }

    /// The number of a field among those read.
    fn field(&mut self, expr: &Expr) -> Option<(usize, FieldType)> {
        let (at, kind) = self.column(expr)?;
        let ColumnKind::Field(name, field_type) = kind else { return None };
        let (name, field_type) = (name.clone(), *field_type);
        Some((self.read(at, name, field_type), field_type))
    }

    fn read(&mut self, column: usize, name: String, field_type: FieldType) -> usize {
        self.spec.columns.iter().position(|c| *c == column).unwrap_or_else(|| {
            self.spec.columns.push(column);
            self.spec.fields.push((name, field_type));
            self.spec.columns.len() - 1
        })
    }

    /// The conditions on values, of those that the table takes upon itself.
    fn tests(&mut self, filters: &[Expr]) {
        let mut tests = Vec::new();
        for test in filters.iter().filter_map(|filter| FieldTest::new(self.schema, filter)) {
            if let ColumnKind::Field(name, field_type) = &self.schema.columns[test.column] {
                let field = self.read(test.column, name.clone(), *field_type);
                if !tests.contains(&(field, test.clone())) {
                    tests.push((field, test));
                }
            }
        }
        if !tests.is_empty() {
            self.spec.rows = RowsOf::With(tests);
        }
    }

    fn key(&mut self, expr: &Expr) -> Option<()> {
        let expr = bare(expr);
        let key = match self.column(expr) {
            Some((_, kind @ (ColumnKind::Path | ColumnKind::Tag(_)))) => {
                let kind = kind.clone();
                self.spec.tags.push(kind);
                Key::Tag(self.spec.tags.len() - 1)
            }
            Some((_, ColumnKind::Field(..))) => return None,
            _ => {
                let windows = windows(expr)?;
                if self.spec.windows.is_some_and(|other| other != windows) {
                    return None;
                }
                self.spec.windows = Some(windows);
                Key::Window
            }
        };
        self.spec.keys.push(key);
        Some(())
    }

    /// All aggregates as columns of the newest row of each group.
    fn pick(&mut self, aggregates: &[Expr]) -> Option<()> {
        if aggregates.is_empty() || self.spec.windows.is_some() {
            return None;
        }
        let mut picked = Vec::new();
        for aggregate in aggregates {
            let Expr::AggregateFunction(AggregateFunction { func, params }) = bare(aggregate) else { return None };
            let ignores_nulls = params.null_treatment == Some(NullTreatment::IgnoreNulls);
            if params.distinct || params.filter.is_some() || ignores_nulls {
                return None;
            }
            let [argument] = params.args.as_slice() else { return None };
            let (by, keys) = params.order_by.split_last()?;
            let is_key = |by: &SortExpr| self.column(&by.expr).is_some_and(|(_, kind)| self.spec.tags.contains(kind));
            let newest = match func.name() {
                "first_value" => !by.asc,
                "last_value" => by.asc,
                _ => false,
            };
            if !newest || !is_time(&by.expr) || !keys.iter().all(is_key) {
                return None;
            }
            let (_, kind) = self.column(argument)?;
            let kind = kind.clone();
            if matches!(kind, ColumnKind::Field(..)) {
                self.field(argument)?;
            }
            picked.push(kind);
        }
        self.spec.picked = Some(picked);
        Some(())
    }

    fn aggregate(&mut self, expr: &Expr) -> Option<()> {
        let Expr::AggregateFunction(AggregateFunction { func, params }) = bare(expr) else { return None };
        if params.distinct || params.filter.is_some() {
            return None;
        }
        if let Some((argument, share)) = quantile(func.name(), params) {
            let (field, field_type) = self.field(argument)?;
            What::Sketch.result(field_type)?;
            self.show(Asked { what: What::Sketch, field, field_type }, Some(share));
            return Some(());
        }
        let [argument] = params.args.as_slice() else { return None };
        let argument = bare(argument);
        let of_rows = match argument {
            Expr::Literal(value, _) => !value.is_null(),
            Expr::Column(column) => column.name == TIME,
            _ => false,
        };
        if func.name() == "count" && of_rows {
            let (what, field, field_type) = (What::Rows, usize::MAX, FieldType::Integer);
            self.show(Asked { what, field, field_type }, None);
            return Some(());
        }
        let (argument, as_float) = match argument {
            Expr::Cast(cast) if *cast.field.data_type() == DataType::Float64 => (bare(&cast.expr), true),
            other => (other, false),
        };
        let nulls = params.null_treatment != Some(NullTreatment::IgnoreNulls);
        let chosen = |first: bool| match params.order_by.as_slice() {
            [by] if is_time(&by.expr) => {
                Some(if first == by.asc { What::First { nulls } } else { What::Last { nulls } })
            }
            _ => None,
        };
        let what = match (func.name(), as_float) {
            ("count", false) => What::Count,
            ("sum", false) => What::Sum,
            ("sum", true) => What::FloatSum,
            ("avg", _) => What::Mean,
            ("min", false) => What::Min,
            ("max", false) => What::Max,
            ("first_value", false) => chosen(true)?,
            ("last_value", false) => chosen(false)?,
            _ => return None,
        };
        let (field, field_type) = self.field(argument)?;
        what.result(field_type)?;
        self.show(Asked { what, field, field_type }, None);
        Some(())
    }

    /// Makes a result column; several of one sketch have it made once.
    fn show(&mut self, asked: Asked, share: Option<f64>) {
        let aggregates = &mut self.spec.aggregates;
        let aggregate = aggregates.iter().position(|known| *known == asked).unwrap_or_else(|| {
            aggregates.push(asked);
            aggregates.len() - 1
        });
        self.spec.shown.push(Shown { aggregate, share });
    }

    fn finish(mut self) -> Spec {
        let spec = &mut self.spec;
        if let RowsOf::With(required) = &spec.rows {
            // Where the field has a value in every row there are no nulls.
            for asked in &mut spec.aggregates {
                if required.iter().any(|(field, _)| *field == asked.field) {
                    match &mut asked.what {
                        What::First { nulls } | What::Last { nulls } => *nulls = false,
                        _ => {}
                    }
                }
            }
            return self.spec;
        }
        let counts =
            |asked: &Asked| matches!(asked.what, What::Rows | What::First { nulls: true } | What::Last { nulls: true });
        if spec.picked.is_some() || spec.aggregates.iter().any(counts) {
            spec.rows = RowsOf::All;
        } else if spec.columns.is_empty() {
            // Only the groups are wanted: one field knows most of them.
            let first = self.schema.columns.iter().enumerate().find_map(|(at, kind)| match kind {
                ColumnKind::Field(name, field_type) => Some((at, name.clone(), *field_type)),
                _ => None,
            });
            if let Some((at, name, field_type)) = first {
                self.read(at, name, field_type);
            }
        }
        self.spec
    }
}

/// The column and the share of `approx_percentile_cont` and `approx_median`. How many centroids are asked for does not matter.
fn quantile<'e>(name: &str, params: &'e AggregateFunctionParams) -> Option<(&'e Expr, f64)> {
    let (value, share) = match (name, params.args.as_slice()) {
        ("approx_median", [value]) => (value, 0.5),
        ("approx_percentile_cont", [value, share, rest @ ..]) => {
            let Expr::Literal(ScalarValue::Float64(Some(share)), _) = bare(share) else { return None };
            // What is wrong with others DataFusion says.
            let is_count = |rest: &Expr| matches!(rest, Expr::Literal(ScalarValue::Int64(Some(1..)), _));
            if !(0.0..=1.0).contains(share) || !rest.iter().all(is_count) {
                return None;
            }
            (value, *share)
        }
        _ => return None,
    };
    let column = as_float(value);
    match params.order_by.as_slice() {
        [] => Some((column, share)),
        [by] if as_float(&by.expr) == column => Some((column, if by.asc { share } else { 1.0 - share })),
        _ => None,
    }
}

/// An expression without a cast to float.
fn as_float(expr: &Expr) -> &Expr {
    match bare(expr) {
        Expr::Cast(cast) if *cast.field.data_type() == DataType::Float64 => bare(&cast.expr),
        expr => expr,
    }
}

fn is_time(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == TIME)
}

/// The windows of `time`, `date_trunc('unit', time)` and `date_bin(interval, time[, origin])`. Those that are not all
/// equally long are left to DataFusion.
fn windows(expr: &Expr) -> Option<Windows> {
    if is_time(expr) {
        return Some(Windows { stride_ns: 1, origin_ns: 0 });
    }
    let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else { return None };
    let literal = |at: usize| match args.get(at) {
        Some(Expr::Literal(value, _)) => Some(value),
        _ => None,
    };
    if !args.get(1).is_some_and(is_time) {
        return None;
    }
    match func.name() {
        "date_trunc" if args.len() == 2 => {
            let (stride_ns, origin_ns) = match literal(0)?.try_as_str()??.to_ascii_lowercase().as_str() {
                "microsecond" => (1_000, 0),
                "millisecond" => (1_000_000, 0),
                "second" => (SECOND_NS, 0),
                "minute" => (60 * SECOND_NS, 0),
                "hour" => (3_600 * SECOND_NS, 0),
                "day" => (DAY_NS, 0),
                "week" => (7 * DAY_NS, MONDAY_NS),
                _ => return None,
            };
            Some(Windows { stride_ns, origin_ns })
        }
        "date_bin" => {
            let stride_ns = match literal(0)? {
                ScalarValue::IntervalMonthDayNano(Some(value)) => {
                    let (months, days, ns) = IntervalMonthDayNanoType::to_parts(*value);
                    if months != 0 {
                        return None;
                    }
                    i64::from(days).checked_mul(DAY_NS)?.checked_add(ns)?
                }
                ScalarValue::IntervalDayTime(Some(value)) => {
                    let (days, ms) = IntervalDayTimeType::to_parts(*value);
                    i64::from(days).checked_mul(DAY_NS)?.checked_add(i64::from(ms) * 1_000_000)?
                }
                _ => return None,
            };
            let origin_ns = match args.len() {
                2 => 0,
                3 => match literal(2)? {
                    ScalarValue::TimestampNanosecond(Some(ns), None) => *ns,
                    _ => return None,
                },
                _ => return None,
            };
            (stride_ns > 0).then_some(Windows { stride_ns, origin_ns })
        }
        _ => None,
    }
}
