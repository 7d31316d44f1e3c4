//! A recognised query without the values it compares with, to be used again.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::scalar::ScalarValue;
use rhythmite_model::KeyKind;

use super::query::{AggQuery, Spec};
use crate::query::scan::TsTable;
use crate::query::scan::schema::ColumnKind;

/// An [`AggQuery`] with parameters in its conditions, and without its table.
#[derive(Debug)]
pub struct AggShape {
    table: TableReference,
    kind: KeyKind,
    columns: Vec<ColumnKind>,
    filters: Vec<Expr>,
    spec: Spec,
}

impl AggQuery {
    /// The shape of the query, if all of `values` parameters are in its conditions. `number` says which parameter an
    /// identifier means.
    pub fn into_shape(self, values: usize, number: impl Fn(&str) -> Option<usize>) -> Option<AggShape> {
        let mut found = vec![false; values];
        for filter in &self.filters {
            filter
                .apply(|e| {
                    if let Expr::Placeholder(placeholder) = e
                        && let Some(found) = number(&placeholder.id).and_then(|n| found.get_mut(n))
                    {
                        *found = true;
                    }
                    Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
                })
                .ok()?;
        }
        let columns = self.table().columns();
        let (kind, columns) = (columns.kind, columns.columns.clone());
        let shape = AggShape { table: self.table_name, kind, columns, filters: self.filters, spec: self.spec };
        found.into_iter().all(|f| f).then_some(shape)
    }
}

impl AggShape {
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
    ) -> Option<AggQuery> {
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
                None => datafusion::common::plan_err!("no value for {}", placeholder.id),
            },
            _ => Ok(Transformed::no(expr)),
        };
        let filters: Option<Vec<Expr>> =
            self.filters.iter().map(|f| f.clone().transform(fill).ok().map(|f| f.data)).collect();
        Some(AggQuery { table_name: self.table.clone(), provider, filters: filters?, spec: self.spec.clone() })
    }
}

/// What a text is where a value of `data_type` is meant; `None` if it is none, or of a type that no parameter has.
pub(in crate::query::scan) fn value(data_type: &DataType, text: &str) -> Option<ScalarValue> {
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
