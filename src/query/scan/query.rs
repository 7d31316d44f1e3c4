//! Plans, or parts of plans, that are answered without DataFusion's operators, and their shapes.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, TableReference, plan_err};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::expr_rewriter::unnormalize_cols;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::scalar::ScalarValue;
use rhythmite_model::KeyKind;

use super::TsTable;
use super::agg::{self, TsAggExec};
use super::choose;
use super::schema::ColumnKind;

/// What is asked of a table.
#[derive(Clone, Debug)]
enum Asked {
    /// Results of groups.
    Results(Arc<agg::Spec>),
    /// Rows.
    Rows(Arc<choose::Spec>),
}

/// A question to one of our tables.
pub struct TsQuery {
    name: TableReference,
    provider: Arc<dyn TableProvider>,
    filters: Vec<Expr>,
    asked: Asked,
}

impl TsQuery {
    /// Recognises a plan, whole down to the table.
    pub fn new(plan: &LogicalPlan) -> Option<Self> {
        Self::results(plan).or_else(|| {
            let (scan, chosen) = choose::chain(plan)?;
            Self::of(scan, |table, _| Some(Asked::Rows(Arc::new(chosen.spec(table.columns(), plan.schema().inner())?))))
        })
    }

    /// Recognises an aggregate and what stands above it.
    pub fn results(plan: &LogicalPlan) -> Option<Self> {
        let (scan, chain) = agg::chain(plan)?;
        Self::of(scan, |table, filters| {
            let spec = chain.spec(table.columns(), filters, plan.schema().inner().clone())?;
            Some(Asked::Results(Arc::new(spec)))
        })
    }

    fn of(scan: &TableScan, asked: impl FnOnce(&TsTable, &[Expr]) -> Option<Asked>) -> Option<Self> {
        let provider = source_as_provider(&scan.source).ok()?;
        let table = provider.downcast_ref::<TsTable>()?;
        // A table knows its columns without its name.
        let filters = unnormalize_cols(scan.filters.iter().cloned());
        let asked = asked(table, &filters)?;
        Some(Self { name: scan.table_name.clone(), provider, filters, asked })
    }

    fn table(&self) -> &TsTable {
        self.provider.downcast_ref::<TsTable>().expect("checked when it was recognised")
    }

    /// The operator that answers; `None` if that is better left to DataFusion.
    ///
    /// # Errors
    /// Those of evaluating a condition on tags.
    pub fn exec(&self, session: &dyn Session) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        match &self.asked {
            Asked::Results(spec) => {
                let exec = TsAggExec::new(self.table(), &self.filters, spec, session)?;
                Ok(exec.map(|exec| Arc::new(exec) as Arc<dyn ExecutionPlan>))
            }
            Asked::Rows(spec) => choose::exec(self.table(), &self.filters, spec, session),
        }
    }

    /// The shape of the query, if all of `values` parameters are in its conditions. `number` says which parameter an
    /// identifier means.
    pub fn into_shape(self, values: usize, number: impl Fn(&str) -> Option<usize>) -> Option<TsShape> {
        let mut found = vec![false; values];
        for filter in &self.filters {
            let mark = |e: &Expr| {
                if let Expr::Placeholder(placeholder) = e
                    && let Some(found) = number(&placeholder.id).and_then(|n| found.get_mut(n))
                {
                    *found = true;
                }
                Ok(TreeNodeRecursion::Continue)
            };
            filter.apply(mark).ok()?;
        }
        let (kind, columns) = (self.table().columns().kind, self.table().columns().columns.clone());
        let shape = TsShape { table: self.name, kind, columns, filters: self.filters, asked: self.asked };
        found.into_iter().all(|f| f).then_some(shape)
    }
}

/// A [`TsQuery`] with parameters in its conditions, and without its table.
#[derive(Debug)]
pub struct TsShape {
    table: TableReference,
    kind: KeyKind,
    columns: Vec<ColumnKind>,
    filters: Vec<Expr>,
    asked: Asked,
}

impl TsShape {
    /// Where the table is looked up.
    pub fn table(&self) -> &TableReference {
        &self.table
    }

    /// The query of these values; `None` if `provider` is not a table of the same columns any more, or a value is no
    /// value of its column.
    pub fn query(
        &self,
        provider: Arc<dyn TableProvider>,
        values: &[String],
        number: impl Fn(&str) -> Option<usize>,
    ) -> Option<TsQuery> {
        let columns = provider.downcast_ref::<TsTable>()?.columns();
        if columns.kind != self.kind || columns.columns != self.columns {
            return None;
        }
        let literal = |placeholder: &Placeholder| {
            let text = values.get(number(&placeholder.id)?)?;
            value(placeholder.field.as_ref()?.data_type(), text)
        };
        let fill = |expr: Expr| match &expr {
            Expr::Placeholder(placeholder) => match literal(placeholder) {
                Some(value) => Ok(Transformed::yes(Expr::Literal(value, None))),
                None => plan_err!("no value for {}", placeholder.id),
            },
            _ => Ok(Transformed::no(expr)),
        };
        let filters: Option<Vec<Expr>> =
            self.filters.iter().map(|f| f.clone().transform(fill).ok().map(|f| f.data)).collect();
        Some(TsQuery { name: self.table.clone(), provider, filters: filters?, asked: self.asked.clone() })
    }
}

/// What a text is where a value of `data_type` is meant; `None` if it is none, or of a type that no parameter has.
pub(super) fn value(data_type: &DataType, text: &str) -> Option<ScalarValue> {
    let utf8 = ScalarValue::Utf8(Some(text.to_owned()));
    match data_type {
        DataType::Utf8 => Some(utf8),
        DataType::Dictionary(key, of) if **of == DataType::Utf8 => {
            Some(ScalarValue::Dictionary(key.clone(), Box::new(utf8)))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, None) => utf8.cast_to(data_type).ok().filter(|v| !v.is_null()),
        _ => None,
    }
}
