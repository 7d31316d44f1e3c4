//! Aggregates of fields that only raw points answer, where these have gone: refused, with the place and what may be asked.
//!
//! Rows are raw points, and what counts or lists rows (`count(*)`, `DISTINCT`, `max(time)`) is of the rows that there are.

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr_rewriter::unnormalize_cols;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, TableScan};
use rhythmite_model::{Error, Policy};

use super::TsTable;
use super::agg::bare;
use super::exec::external;
use super::schema::ColumnKind;
use crate::query::gone::{Gone, time_text};

/// What `Gone` means for an aggregate that no tier answers.
pub(super) fn only_points(gone: &Gone) -> DataFusionError {
    let (floor, policy) = (gone.floor(), &gone.policy);
    let sketches = match policy.aggregates.has(rhythmite_model::Aggregate::Sketch) {
        true => ", approx_median, approx_percentile_cont",
        false => "",
    };
    external(Error::invalid(format!(
        "raw points before {floor} have gone, and no tier of retention policy {:?} answers this: ask for time >= '{floor}', \
         or for count, sum, avg, min, max{sketches} of fields, by tags and windows that are multiples of {}, without conditions \
         on fields",
        policy.name,
        gone.steps()
    )))
}

/// Where a level has windows of which it does not keep what is asked for.
pub(super) fn lacking(policy: &Policy, step_ns: i64, floor_ns: i64) -> DataFusionError {
    let floor = time_text(floor_ns);
    external(Error::invalid(format!(
        "raw points before {floor} have gone, and retention policy {:?} did not keep what this needs when some of its windows \
         of {}s were rolled up: ask for time >= '{floor}', or for count, sum, avg, min, max",
        policy.name,
        step_ns / 1_000_000_000
    )))
}

/// Refuses a plan in which DataFusion would make an aggregate of fields of which raw points have gone.
///
/// # Errors
/// `Invalid`, as above.
pub fn refuse_gone(plan: &LogicalPlan) -> Result<()> {
    let check = |node: &LogicalPlan| {
        if let LogicalPlan::Aggregate(aggregate) = node
            && !picks(aggregate)
        {
            aggregate.input.apply_with_subqueries(|below| {
                if let LogicalPlan::TableScan(scan) = below {
                    check_table(scan)?;
                }
                Ok(TreeNodeRecursion::Continue)
            })?;
        }
        Ok(TreeNodeRecursion::Continue)
    };
    plan.apply_with_subqueries(check).map(drop)
}

/// Whether rows are chosen, not put together.
fn picks(aggregate: &Aggregate) -> bool {
    let picks = |expr: &Expr| match bare(expr) {
        Expr::AggregateFunction(function) => matches!(function.func.name(), "first_value" | "last_value"),
        _ => false,
    };
    aggregate.aggr_expr.iter().all(picks)
}

fn check_table(scan: &TableScan) -> Result<()> {
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = provider.downcast_ref::<TsTable>() else { return Ok(()) };
    let columns = table.columns();
    let is_field = |name: &String| match columns.arrow.index_of(name) {
        Ok(at) => matches!(columns.columns[at], ColumnKind::Field(..)),
        Err(_) => false,
    };
    // The optimiser has left the columns that are needed.
    if !scan.projected_schema.fields().iter().any(|field| is_field(field.name())) {
        return Ok(());
    }
    let filters = unnormalize_cols(scan.filters.iter().cloned());
    match table.gone(&filters) {
        Some(gone) => Err(only_points(&gone)),
        None => Ok(()),
    }
}
