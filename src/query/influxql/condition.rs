//! A condition, split: what the index of tags answers, and what is asked of every point.

use rhythmite_engine::registry::TagExpr;
use rhythmite_influx::influxql::{BinaryOp, DataType, Expr, Literal, Mistakes, VarRef, is_math};

use super::eval::Node;

/// What is left of a condition for the points.
#[derive(Clone, Debug)]
pub(super) struct Residual {
    pub(super) node: Node,
    /// The columns of the node's slots.
    pub(super) columns: Vec<VarRef>,
}

impl Residual {
    /// A condition over the rows of a subquery: 1.x knows no mathematical functions there, what they give is null.
    pub(super) fn of_rows(condition: &Expr, mistakes: Mistakes) -> Self {
        let mut known = condition.clone();
        if mistakes == Mistakes::Kept {
            known.walk_mut(&mut |expr| {
                if matches!(expr, Expr::Call(call) if is_math(&call.name)) {
                    *expr = Expr::Literal(Literal::Nil);
                }
            });
        }
        Self::of(&known, mistakes)
    }

    pub(super) fn of(condition: &Expr, mistakes: Mistakes) -> Self {
        let mut columns: Vec<VarRef> = Vec::new();
        let node = Node::build(condition, mistakes, &mut |leaf| match leaf {
            Expr::VarRef(var) => Node::Slot(slot(&mut columns, var)),
            _ => Node::Value(super::value::Value::Null),
        });
        Self { node, columns }
    }
}

/// The number of a column in a list, added if it is new.
pub(super) fn slot(columns: &mut Vec<VarRef>, var: &VarRef) -> usize {
    columns.iter().position(|known| known == var).unwrap_or_else(|| {
        columns.push(var.clone());
        columns.len() - 1
    })
}

/// Whether a name stands for a tag; one that exists nowhere is a tag that no series has.
pub(super) fn is_tag(var: &VarRef) -> bool {
    matches!(var.data_type, None | Some(DataType::Tag))
}

/// Splits a condition whose names have their types.
pub(super) fn split(condition: Option<&Expr>, mistakes: Mistakes) -> (TagExpr, Option<Residual>) {
    let Some(condition) = condition else { return (TagExpr::All, None) };
    let mut parts = Vec::new();
    conjuncts(condition, &mut parts);
    let (mut tags, mut rest) = (Vec::new(), None);
    for part in parts {
        match of_tags(part) {
            Some(expr) => tags.push(expr),
            None => {
                rest = Some(match rest {
                    Some(before) => Expr::binary(BinaryOp::And, before, part.clone()),
                    None => part.clone(),
                });
            }
        }
    }
    (TagExpr::And(tags), rest.as_ref().map(|rest| Residual::of(rest, mistakes)))
}

fn conjuncts<'a>(condition: &'a Expr, parts: &mut Vec<&'a Expr>) {
    match condition {
        Expr::Paren(inner) => conjuncts(inner, parts),
        Expr::Binary(binary) if binary.op == BinaryOp::And => {
            conjuncts(&binary.lhs, parts);
            conjuncts(&binary.rhs, parts);
        }
        other => parts.push(other),
    }
}

/// The condition as one on tags alone, if it is.
pub(super) fn of_tags(condition: &Expr) -> Option<TagExpr> {
    match condition {
        Expr::Paren(inner) => of_tags(inner),
        Expr::Literal(Literal::Boolean(true)) => Some(TagExpr::All),
        Expr::Literal(Literal::Boolean(false)) => Some(TagExpr::Or(Vec::new())),
        Expr::Binary(binary) => match (binary.op, &binary.lhs, &binary.rhs) {
            (BinaryOp::And, lhs, rhs) => Some(TagExpr::And(vec![of_tags(lhs)?, of_tags(rhs)?])),
            (BinaryOp::Or, lhs, rhs) => Some(TagExpr::Or(vec![of_tags(lhs)?, of_tags(rhs)?])),
            (op, Expr::VarRef(var), Expr::Literal(literal)) | (op, Expr::Literal(literal), Expr::VarRef(var))
                if is_tag(var) =>
            {
                compare(op, &var.name, literal)
            }
            _ => None,
        },
        _ => None,
    }
}

fn compare(op: BinaryOp, key: &str, literal: &Literal) -> Option<TagExpr> {
    match (op, literal) {
        (BinaryOp::Eq, Literal::String(value)) => Some(TagExpr::is(key, value.clone())),
        // 1.x knows no order of tags: whatever is not `=` is `!=`.
        (BinaryOp::NotEq | BinaryOp::Lt | BinaryOp::LtEq | BinaryOp::Gt | BinaryOp::GtEq, Literal::String(value)) => {
            Some(TagExpr::is(key, value.clone()).negate())
        }
        (BinaryOp::EqRegex, Literal::Regex(regex)) => Some(TagExpr::matches(key, regex.compiled().clone())),
        (BinaryOp::NotEqRegex, Literal::Regex(regex)) => Some(TagExpr::matches(key, regex.compiled().clone()).negate()),
        _ => None,
    }
}
