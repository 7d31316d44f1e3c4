//! What a query may say: it reads. And what stands for `tag('key')`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Statement, Value, visit_expressions_mut,
};

use crate::query::scan::tag_column_name;

/// Different keys that the `tag('key')` calls of one query may name.
const TAGS_MAX: usize = 1_000;

/// Refuses statements that do more than read.
///
/// # Errors
/// `Plan`, with what is refused.
pub(super) fn check_statement(statement: &DfStatement) -> Result<()> {
    match statement {
        DfStatement::Statement(inner) => check_inner(inner),
        DfStatement::Explain(explain) => check_statement(&explain.statement),
        DfStatement::CreateExternalTable(_) => refuse("CREATE EXTERNAL TABLE"),
        DfStatement::CopyTo(_) => refuse("COPY"),
        DfStatement::Reset(_) => refuse("RESET"),
    }
}

fn check_inner(statement: &Statement) -> Result<()> {
    match statement {
        Statement::Query(_)
        | Statement::ShowTables { .. }
        | Statement::ShowColumns { .. }
        | Statement::ShowVariable { .. }
        | Statement::ShowFunctions { .. }
        | Statement::ExplainTable { .. } => Ok(()),
        Statement::Explain { statement, .. } => check_inner(statement),
        other => {
            // The first words say what it is: CREATE TABLE, INSERT INTO, ...
            let text = other.to_string();
            let words: Vec<&str> =
                text.split_whitespace().take_while(|w| w.chars().all(|c| c.is_ascii_uppercase())).take(3).collect();
            refuse(&words.join(" "))
        }
    }
}

fn refuse(what: &str) -> Result<()> {
    plan_err!("{what} is not allowed: SQL over HTTP only reads (SELECT, WITH, VALUES, SHOW, DESCRIBE, EXPLAIN)")
}

/// The same once more on the plan, subqueries included: nothing slips through that the statement did not show.
///
/// # Errors
/// `Plan`, with what is refused.
pub(super) fn check_plan(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Ddl(ddl) => refuse(ddl.name())?,
            LogicalPlan::Dml(dml) => refuse(dml.op.name())?,
            LogicalPlan::Copy(_) => refuse("COPY")?,
            LogicalPlan::Statement(statement) => refuse(statement.name())?,
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// Puts a column in the place of every `tag('key')` and returns the keys.
///
/// # Errors
/// `Plan` for other arguments, or more than [`TAGS_MAX`] keys.
pub(super) fn take_tags(statement: &mut DfStatement) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    take_from(statement, &mut keys)?;
    if keys.len() > TAGS_MAX {
        return plan_err!("tag(): a query may name {TAGS_MAX} keys");
    }
    Ok(keys)
}

fn take_from(statement: &mut DfStatement, keys: &mut BTreeSet<String>) -> Result<()> {
    match statement {
        DfStatement::Explain(explain) => take_from(&mut explain.statement, keys),
        DfStatement::Statement(inner) => {
            let flow = visit_expressions_mut(inner, |expr| {
                match tag_key(expr) {
                    Some(Some(key)) => {
                        *expr = Expr::Identifier(Ident::with_quote('"', tag_column_name(&key)));
                        keys.insert(key);
                    }
                    Some(None) => return ControlFlow::Break(()),
                    None => {}
                }
                ControlFlow::Continue(())
            });
            match flow {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => plan_err!("tag() takes one constant text: tag('key')"),
            }
        }
        _ => Ok(()),
    }
}

/// Of a call of `tag` its key, if it is a constant.
fn tag_key(expr: &Expr) -> Option<Option<String>> {
    let Expr::Function(function) = expr else { return None };
    if !function.name.to_string().eq_ignore_ascii_case("tag") {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else { return Some(None) };
    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] = list.args.as_slice() else {
        return Some(None);
    };
    match &value.value {
        Value::SingleQuotedString(key) => Some(Some(key.clone())),
        _ => Some(None),
    }
}
