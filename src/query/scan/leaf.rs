//! What plans of ours that read have in common for DataFusion: nothing lies below them, nothing in them is rewritten.

/// The methods of `ExecutionPlan` of a plan without children and without expressions. DataFusion has no type for leaves,
/// and a trait of ours cannot implement its trait for all of them.
macro_rules! leaf_methods {
    () => {
        fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
            Vec::new()
        }

        fn apply_expressions(
            &self,
            _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
        ) -> Result<TreeNodeRecursion> {
            Ok(TreeNodeRecursion::Continue)
        }

        #[allow(deprecated)]
        fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
            Ok(self)
        }
    };
}

pub(super) use leaf_methods;
