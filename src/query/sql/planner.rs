//! From an optimised logical plan to a physical one: what [`TsQuery`] recognises is planned here, the rest by DataFusion.
//!
//! A physical rule would come too late: building DataFusion's aggregate and its equivalences is most of the cost of
//! planning. A plan that is recognised whole never meets the physical optimiser; of another one the recognised parts
//! are leaves to DataFusion. EXPLAIN takes the second way, so that it shows what would run.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result, internal_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use crate::query::scan::{TsQuery, refuse_gone};

/// See the module.
#[derive(Debug)]
pub(super) struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(query) = TsQuery::new(plan)
            && let Some(exec) = query.exec(session)?
        {
            return Ok(exec);
        }
        // What EXPLAIN explains is a whole plan too.
        let mut whole = true;
        let plan = plan.clone().transform_down(|node| {
            let query = if whole { TsQuery::new(&node) } else { TsQuery::results(&node) };
            whole &= matches!(node, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
            if query.is_none() {
                return Ok(Transformed::no(node));
            }
            let node = LogicalPlan::Extension(Extension { node: Arc::new(Recognised { plan: node }) });
            Ok(Transformed::new(node, true, TreeNodeRecursion::Jump))
        })?;
        refuse_gone(&plan.data)?;
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Extensions)]);
        planner.create_physical_plan(&plan.data, session).await
    }
}

/// DataFusion's planner, without help.
#[derive(Debug)]
pub(super) struct Unaided;

#[async_trait]
impl QueryPlanner for Unaided {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        DefaultPhysicalPlanner::default().create_physical_plan(plan, session).await
    }
}

/// A recognised part within a plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Hash)]
struct Recognised {
    plan: LogicalPlan,
}

impl UserDefinedLogicalNodeCore for Recognised {
    fn name(&self) -> &str {
        "Recognised"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        self.plan.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recognised")?;
        let plan = self.plan.display_indent().to_string();
        plan.lines().try_for_each(|line| write!(f, "\n  {line}"))
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, _: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }
}

/// Plans [`Recognised`] parts.
struct Extensions;

#[async_trait]
impl ExtensionPlanner for Extensions {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        _: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(part) = node.as_any().downcast_ref::<Recognised>() else { return Ok(None) };
        let Some(query) = TsQuery::new(&part.plan) else { return internal_err!("a part is no longer recognised") };
        if let Some(exec) = query.exec(session)? {
            return Ok(Some(exec));
        }
        refuse_gone(&part.plan)?;
        DefaultPhysicalPlanner::default().create_physical_plan(&part.plan, session).await.map(Some)
    }
}
