//! Plans that only choose rows and columns of a table: planned in one step, and the newest rows read first where only those
//! are wanted.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::compute::{SortColumn, SortOptions, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, FetchType, LogicalPlan, SkipType, TableScan};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties, execute_stream,
};
use futures::TryStreamExt;

use super::agg::bare;
use super::backwards::Backwards;
use super::exec::{Plan, TsScanExec};
use super::leaf::leaf_methods;
use super::provider::Reading;
use super::schema::{ColumnKind, TableSchema};
use super::{TsTable, select, time};

/// Nesting of the nodes that are looked through.
const DEPTH_MAX: usize = 16;
/// Rows of a `LIMIT` up to which the newest are looked for step by step.
const NEWEST_MAX: usize = 100_000;
/// How far back from the newest point the first step looks.
const FIRST_NS: i64 = 60_000_000_000;

/// The rows and columns that are wanted.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    /// Columns of the table, in the order of the answer.
    columns: Vec<usize>,
    schema: SchemaRef,
    /// The order of time, if any; true for descending.
    descending: Option<bool>,
    fetch: Option<usize>,
}

/// What stands above a table.
pub(super) struct Chain<'a> {
    scan: &'a TableScan,
    /// Of each column of the node its number among those of the scan.
    output: Vec<usize>,
    /// By which column of the scan the rows are sorted, and whether descending.
    order: Option<(usize, bool)>,
    fetch: Option<usize>,
}

/// Looks through projections of columns, a sort and a limit.
pub(super) fn chain(plan: &LogicalPlan) -> Option<(&TableScan, Chain<'_>)> {
    let chain = walk(plan, 0)?;
    Some((chain.scan, chain))
}

fn walk(plan: &LogicalPlan, depth: usize) -> Option<Chain<'_>> {
    if depth > DEPTH_MAX {
        return None;
    }
    match plan {
        LogicalPlan::TableScan(scan) => {
            let output = (0..scan.projected_schema.fields().len()).collect();
            Some(Chain { scan, output, order: None, fetch: scan.fetch })
        }
        LogicalPlan::SubqueryAlias(alias) => walk(&alias.input, depth + 1),
        LogicalPlan::Projection(projection) => {
            let mut below = walk(&projection.input, depth + 1)?;
            let input = projection.input.schema();
            let place = |expr: &Expr| match bare(expr) {
                Expr::Column(column) => below.output.get(input.index_of_column(column).ok()?).copied(),
                _ => None,
            };
            below.output = projection.expr.iter().map(place).collect::<Option<_>>()?;
            Some(below)
        }
        LogicalPlan::Sort(sort) => {
            let mut below = walk(&sort.input, depth + 1)?;
            let [by] = sort.expr.as_slice() else { return None };
            let Expr::Column(column) = bare(&by.expr) else { return None };
            if below.fetch.is_some() || below.order.is_some() {
                return None;
            }
            let at = sort.input.schema().index_of_column(column).ok()?;
            below.order = Some((*below.output.get(at)?, !by.asc));
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

impl Chain<'_> {
    /// What is asked of a table with these columns.
    pub fn spec(&self, table: &TableSchema, schema: &SchemaRef) -> Option<Spec> {
        let of_table = |at: usize| match &self.scan.projection {
            Some(projection) => projection.get(at).copied(),
            None => Some(at),
        };
        let columns = self.output.iter().map(|&at| of_table(at)).collect::<Option<Vec<_>>>()?;
        let descending = match self.order {
            Some((at, descending)) if table.columns[of_table(at)?] == ColumnKind::Time => Some(descending),
            Some(_) => return None,
            None => None,
        };
        Some(Spec { columns, schema: schema.clone(), descending, fetch: self.fetch })
    }
}

/// The operator that chooses the rows; `None` if DataFusion should sort them.
///
/// # Errors
/// Those of evaluating a condition on tags.
pub(super) fn exec(
    table: &TsTable,
    filters: &[Expr],
    spec: &Spec,
    session: &dyn Session,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let named_only = filters.iter().any(|f| select::needs_field(table.columns(), f));
    let mut projection = spec.columns.clone();
    let newest = spec.descending == Some(true);
    if newest {
        // Time is the first column of every table.
        projection.push(0);
    }
    let reading =
        Reading { filters, projection: &projection, named_only, limit: spec.fetch.filter(|_| !newest), whole: 1 };
    let (plan, one_series) = table.plan(session, &reading)?;
    match (spec.descending, spec.fetch) {
        (Some(true), Some(fetch)) if fetch <= NEWEST_MAX => {
            let fields = spec.schema.fields().iter().cloned();
            let time = Arc::new(table.columns().arrow.field(0).clone().with_name("time of the row"));
            let read = Arc::new(arrow::datatypes::Schema::new(fields.chain([time]).collect::<Vec<_>>()));
            return Ok(Some(Arc::new(NewestRowsExec::new(plan, read, spec.schema.clone(), fetch))));
        }
        (Some(false), _) if one_series && plan.partitions.len() == 1 => {}
        (Some(_), _) => return Ok(None),
        (None, _) => {}
    }
    let parts = plan.partitions.len();
    let scan = TsScanExec::new(plan, spec.schema.clone(), one_series && spec.descending.is_some());
    let scan: Arc<dyn ExecutionPlan> = Arc::new(CooperativeExec::new(Arc::new(scan)));
    Ok(Some(match spec.fetch {
        Some(fetch) if parts > 1 => {
            Arc::new(GlobalLimitExec::new(Arc::new(CoalescePartitionsExec::new(scan)), 0, Some(fetch)))
        }
        _ => scan,
    }))
}

/// The newest rows of a table. One partition.
#[derive(Debug)]
struct NewestRowsExec {
    plan: Arc<Plan>,
    /// The columns, and the time behind them.
    read: SchemaRef,
    fetch: usize,
    properties: Arc<PlanProperties>,
}

impl NewestRowsExec {
    fn new(plan: Plan, read: SchemaRef, schema: SchemaRef, fetch: usize) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Self { plan: Arc::new(plan), read, fetch, properties: Arc::new(properties) }
    }
}

/// The plan within a range of time.
fn within(plan: &Plan, times_ns: &RangeInclusive<i64>) -> Plan {
    let mut plan = plan.clone();
    for piece in plan.partitions.iter_mut().flatten() {
        piece.window.times_ns = time::intersect(&piece.window.times_ns, times_ns);
    }
    plan.partitions.iter_mut().for_each(|pieces| pieces.retain(|piece| !piece.window.times_ns.is_empty()));
    plan
}

/// The newest rows of a batch whose last column is time, the newest first.
fn newest(rows: &RecordBatch, fetch: usize) -> Result<RecordBatch> {
    let values = rows.column(rows.num_columns() - 1).clone();
    let options = Some(SortOptions { descending: true, nulls_first: true });
    let order = lexsort_to_indices(&[SortColumn { values, options }], Some(fetch))?;
    debug_assert!(order.null_count() == 0);
    Ok(take_record_batch(rows, &order)?)
}

async fn read(plan: Arc<Plan>, schema: SchemaRef, fetch: usize, context: Arc<TaskContext>) -> Result<RecordBatch> {
    let reservation = MemoryConsumer::new("NewestRows").register(context.memory_pool());
    let mut found = RecordBatch::new_empty(schema.clone());
    let mut steps = Backwards::new(&plan, FIRST_NS);
    // Rows of a step are older than all of the steps before.
    while found.num_rows() < fetch
        && let Some(times_ns) = steps.step(|time_ns| time_ns)
    {
        let step: Arc<dyn ExecutionPlan> = Arc::new(TsScanExec::new(within(&plan, &times_ns), schema.clone(), false));
        let mut rows = execute_stream(Arc::new(CooperativeExec::new(step)), context.clone())?;
        let missing = fetch - found.num_rows();
        let (mut batches, mut count, mut bytes) = (Vec::new(), 0, 0);
        while let Some(batch) = rows.try_next().await? {
            (count, bytes) = (count + batch.num_rows(), bytes + batch.get_array_memory_size());
            batches.push(batch);
            if count > 2 * missing + context.session_config().batch_size() {
                let kept = newest(&concat_batches(&schema, &batches)?, missing)?;
                (count, bytes) = (kept.num_rows(), kept.get_array_memory_size());
                batches = vec![kept];
            }
            reservation.try_resize(2 * (bytes + found.get_array_memory_size()))?;
        }
        let step = newest(&concat_batches(&schema, &batches)?, missing)?;
        found = concat_batches(&schema, [&found, &step])?;
    }
    Ok(found)
}

impl DisplayAs for NewestRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewestRowsExec: ")?;
        self.plan.describe(f)?;
        self.plan.describe_columns(f)?;
        write!(f, ", limit={}, newest first", self.fetch)
    }
}

impl ExecutionPlan for NewestRowsExec {
    fn name(&self) -> &'static str {
        "NewestRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    leaf_methods!();

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (plan, read_schema, fetch) = (self.plan.clone(), self.read.clone(), self.fetch);
        let schema = self.schema();
        let shown = schema.clone();
        let rows = async move {
            let rows = read(plan, read_schema, fetch, context).await?;
            let columns = rows.columns()[..shown.fields().len()].to_vec();
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
            Ok(RecordBatch::try_new_with_options(shown, columns, &options)?)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::once(rows))))
    }
}

#[cfg(test)]
mod tests {
    use crate::query::scan::agg::tests::{Dice, compare, lines, unaided};
    use crate::query::sql::tests::World;

    async fn plan(world: &World, sql: &str) -> String {
        world.rows(&format!("EXPLAIN {sql}")).await.unwrap().join("\n")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rows_are_those_of_datafusion() {
        let mut dice = Dice(5);
        let world = World::new(|_| {}).await;
        let (plain, _dir) = unaided(&world);
        for round in 0..3 {
            world.write("d", &lines(&mut dice, 150));
            for sql in [
                "SELECT * FROM m",
                "SELECT f, a, time FROM m WHERE a = 'a1' AND time >= '1970-01-01T00:01:00'",
                "SELECT i AS x, i AS y FROM m WHERE f > 100 AND b IN ('b0', 'b2')",
                "SELECT a FROM d.iox.m AS n WHERE n.time < TIMESTAMP '1970-01-01T00:02:00'",
            ] {
                // The plan of the shape is used from the second time on.
                for again in 0..3 {
                    compare(&world, &plain, sql, false, &format!("round {round}, {again}")).await;
                }
            }
            for sql in [
                "SELECT time FROM m WHERE a = 'a1' AND b = 'b1' ORDER BY time",
                "SELECT time FROM m ORDER BY time DESC LIMIT 17",
                "SELECT time AS t FROM m WHERE a = 'a2' ORDER BY t DESC LIMIT 400",
                "SELECT time FROM m WHERE f > 500 AND time < '1970-01-01T00:08:00' ORDER BY time DESC LIMIT 3",
                "SELECT DISTINCT time FROM (SELECT time FROM m ORDER BY time DESC LIMIT 5) ORDER BY time",
            ] {
                for again in 0..3 {
                    compare(&world, &plain, sql, true, &format!("round {round}, {again}")).await;
                }
            }
            if round < 2 {
                world.engine.flush().unwrap();
            }
        }
        let stats = world.sql.stats();
        assert_eq!((stats.plans, stats.plans_reused), (8, 8 * 8));
        assert_eq!(world.rows("SELECT f FROM m LIMIT 9").await.unwrap().len(), 9);
    }

    #[tokio::test]
    async fn plans_say_what_is_done() {
        let world = World::new(|_| {}).await;
        world.write("d", "cpu,host=a usage=1,idle=9i 60\ncpu,host=b usage=2,idle=8i 120\ncpu,host=c usage=3 180");
        for (sql, expected, unwanted) in [
            ("SELECT usage FROM cpu ORDER BY time DESC LIMIT 2", "NewestRowsExec: table=d.autogen.cpu", "SortExec"),
            (
                "SELECT usage FROM cpu ORDER BY time DESC LIMIT 2",
                "fields=[usage], rows=of any field, limit=2, newest first",
                "SortExec",
            ),
            ("SELECT usage FROM cpu WHERE host = 'a' ORDER BY time", "TsScanExec", "SortExec"),
            ("SELECT usage FROM cpu WHERE usage > 1 LIMIT 1", "where=[usage > 1], limit=1", "FilterExec"),
            ("SELECT usage FROM cpu ORDER BY time", "SortExec", "NewestRowsExec"),
            ("SELECT usage FROM cpu ORDER BY usage DESC LIMIT 1", "SortExec", "NewestRowsExec"),
        ] {
            let plan = plan(&world, sql).await;
            assert!(plan.contains(expected) && !plan.contains(unwanted), "{sql}: {expected}\n{plan}");
        }
        let newest = world.rows("SELECT usage, host FROM cpu ORDER BY time DESC LIMIT 2").await.unwrap();
        assert_eq!(newest, ["3.0|c", "2.0|b"]);
    }
}
