//! Conditions on `time` as a range.

use std::ops::RangeInclusive;

use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;

use super::schema::TIME;

/// All times.
pub(super) const ALWAYS: RangeInclusive<i64> = i64::MIN..=i64::MAX;
/// No time.
const NEVER: RangeInclusive<i64> = RangeInclusive::new(1, 0);
/// Nesting beyond which a condition is left to DataFusion.
const DEPTH_MAX: usize = 200;

/// Times outside which a condition cannot hold, and whether it always holds inside.
pub(super) type Bounds = (RangeInclusive<i64>, bool);

/// The bounds of `expr`; `None` if nothing is known.
pub(super) fn bounds(expr: &Expr) -> Option<Bounds> {
    within(expr, 0)
}

fn within(expr: &Expr, depth: usize) -> Option<Bounds> {
    if depth > DEPTH_MAX {
        return None;
    }
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            match (within(left, depth + 1), within(right, depth + 1)) {
                (Some((a, a_exact)), Some((b, b_exact))) => Some((intersect(&a, &b), a_exact && b_exact)),
                (Some((one, _)), None) | (None, Some((one, _))) => Some((one, false)),
                (None, None) => None,
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let ((a, _), (b, _)) = (within(left, depth + 1)?, within(right, depth + 1)?);
            Some((hull(&a, &b), false))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            if is_time(left) {
                comparison(*op, literal_ns(right)?)
            } else if is_time(right) {
                comparison(op.swap()?, literal_ns(left)?)
            } else {
                None
            }
        }
        Expr::Between(Between { expr, negated: false, low, high }) if is_time(expr) => {
            Some((literal_ns(low)?..=literal_ns(high)?, true))
        }
        _ => None,
    }
}

fn is_time(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(column) if column.name == TIME)
}

fn literal_ns(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(ScalarValue::TimestampNanosecond(Some(ns), _), _) => Some(*ns),
        _ => None,
    }
}

fn comparison(op: Operator, ns: i64) -> Option<Bounds> {
    let range = match op {
        Operator::Eq => ns..=ns,
        Operator::Lt => ns.checked_sub(1).map_or(NEVER, |end| i64::MIN..=end),
        Operator::LtEq => i64::MIN..=ns,
        Operator::Gt => ns.checked_add(1).map_or(NEVER, |start| start..=i64::MAX),
        Operator::GtEq => ns..=i64::MAX,
        _ => return None,
    };
    Some((range, true))
}

/// Times in both.
pub(super) fn intersect(a: &RangeInclusive<i64>, b: &RangeInclusive<i64>) -> RangeInclusive<i64> {
    *a.start().max(b.start())..=*a.end().min(b.end())
}

fn hull(a: &RangeInclusive<i64>, b: &RangeInclusive<i64>) -> RangeInclusive<i64> {
    match (a.is_empty(), b.is_empty()) {
        (true, _) => b.clone(),
        (_, true) => a.clone(),
        _ => *a.start().min(b.start())..=*a.end().max(b.end()),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    fn ns(n: i64) -> Expr {
        lit(ScalarValue::TimestampNanosecond(Some(n), None))
    }

    #[test]
    fn conditions_become_ranges() {
        let t = || col(TIME);
        let cases: Vec<(Expr, Option<Bounds>)> = vec![
            (t().gt_eq(ns(5)), Some((5..=i64::MAX, true))),
            (t().gt(ns(5)).and(t().lt(ns(9))), Some((6..=8, true))),
            (ns(5).lt(t()), Some((6..=i64::MAX, true))),
            (t().eq(ns(7)), Some((7..=7, true))),
            (t().not_eq(ns(7)), None),
            (t().between(ns(1), ns(3)), Some((1..=3, true))),
            (t().not_between(ns(1), ns(3)), None),
            (t().lt(ns(i64::MIN)), Some((NEVER, true))),
            (t().gt(ns(i64::MAX)), Some((NEVER, true))),
            (t().lt(ns(3)).or(t().eq(ns(9))), Some((i64::MIN..=9, false))),
            (t().eq(ns(3)).or(t().lt(ns(5)).and(t().gt(ns(7)))), Some((3..=3, false))),
            (t().eq(ns(3)).or(col("host").eq(lit("a"))), None),
            (t().gt(ns(3)).and(col("host").eq(lit("a"))), Some((4..=i64::MAX, false))),
            (t().gt(lit(ScalarValue::TimestampNanosecond(None, None))), None),
            (col("other").gt(ns(3)), None),
        ];
        for (expr, expected) in cases {
            assert_eq!(bounds(&expr), expected, "{expr}");
        }
    }
}
