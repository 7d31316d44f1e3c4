//! Joins that can be stopped.
//!
//! An operator that never waits never notices that its query was aborted. Scans give way by themselves; joins may turn
//! two batches into millions of rows in between. So every join is wrapped in a cooperative operator. A nested-loop join
//! compares all pairs of two batches before it gives a row: the number of pairs is capped.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, resources_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PhysicalExpr,
    PlanProperties, ReplaceChildrenOptions,
};
use futures::TryStreamExt;

/// Pairs of rows that a nested-loop join may compare.
pub(super) const PAIRS_MAX: u64 = 1_000_000_000;

/// Wraps joins in [`CooperativeExec`] and counts the pairs of nested-loop joins.
#[derive(Debug)]
pub(super) struct StoppableJoins {
    pub pairs_max: u64,
}

impl PhysicalOptimizerRule for StoppableJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let nested = plan.downcast_ref::<NestedLoopJoinExec>().is_some();
            let join = nested
                || plan.downcast_ref::<HashJoinExec>().is_some()
                || plan.downcast_ref::<SortMergeJoinExec>().is_some()
                || plan.downcast_ref::<CrossJoinExec>().is_some();
            if !join {
                return Ok(Transformed::no(plan));
            }
            let mut join = plan;
            if nested {
                let pairs = Arc::new(Pairs { left: AtomicU64::new(0), right: AtomicU64::new(0), max: self.pairs_max });
                let inputs = join.children().into_iter().enumerate();
                let inputs = inputs
                    .map(|(side, input)| Arc::new(PairCount::new(input.clone(), pairs.clone(), side == 0)) as _)
                    .collect();
                let recompute = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
                join = join.replace_children(inputs, recompute)?;
            }
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(join)) as Arc<dyn ExecutionPlan>))
        })
        .map(|transformed| transformed.data)
    }

    fn name(&self) -> &str {
        "StoppableJoins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Rows that have entered a join on either side.
#[derive(Debug)]
struct Pairs {
    left: AtomicU64,
    right: AtomicU64,
    max: u64,
}

impl Pairs {
    fn add(&self, left: bool, rows: u64) -> Result<()> {
        let side = if left { &self.left } else { &self.right };
        side.fetch_add(rows, Ordering::Relaxed);
        let (left, right) = (self.left.load(Ordering::Relaxed), self.right.load(Ordering::Relaxed));
        if left.saturating_mul(right) > self.max {
            return resources_err!(
                "a join without an equality would compare {left} with {right} rows; at most {} pairs are allowed: \
                 join on equal columns (ON a.host = b.host), or narrow either side",
                self.max
            );
        }
        Ok(())
    }
}

/// Passes batches through and counts their rows.
#[derive(Debug)]
struct PairCount {
    input: Arc<dyn ExecutionPlan>,
    pairs: Arc<Pairs>,
    left: bool,
    properties: Arc<PlanProperties>,
}

impl PairCount {
    fn new(input: Arc<dyn ExecutionPlan>, pairs: Arc<Pairs>, left: bool) -> Self {
        let properties = input.properties().clone();
        Self { input, pairs, left, properties }
    }
}

impl DisplayAs for PairCount {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PairCount: max={}", self.pairs.max)
    }
}

impl ExecutionPlan for PairCount {
    fn name(&self) -> &'static str {
        "PairCount"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    #[allow(deprecated)]
    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children.swap_remove(0), self.pairs.clone(), self.left)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        debug_assert!(partition < self.input.output_partitioning().partition_count());
        let (pairs, left) = (self.pairs.clone(), self.left);
        let counted = self
            .input
            .execute(partition, context)?
            .and_then(move |batch| std::future::ready(pairs.add(left, batch.num_rows() as u64).map(|()| batch)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), counted)))
    }
}
