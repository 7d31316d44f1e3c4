//! What a WHERE clause says of time, and the rest of it.

use super::compile::CompileError;
use super::expr::{Binary, Expr, Literal};
use super::reduce::{Known, reduce, reduce_binary, reduce_inner, reduce_paren};
use super::time::{Rfc3339, is_time_literal, parse_time};
use super::token::BinaryOp;

/// The earliest time a point can have, in nanoseconds since the epoch.
pub const TIME_MIN_NS: i64 = i64::MIN + 2;

/// The latest time a point can have, in nanoseconds since the epoch.
pub const TIME_MAX_NS: i64 = i64::MAX - 1;

/// Bounds of time, inclusive, in nanoseconds since the epoch; `None` is unbounded.
///
/// The lower bound may be above the upper one: then nothing is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The earliest time.
    pub min_ns: Option<i64>,
    /// The latest time.
    pub max_ns: Option<i64>,
}

impl TimeRange {
    /// What both ranges allow.
    pub fn intersect(self, other: Self) -> Self {
        let both = |a: Option<i64>, b: Option<i64>, pick: fn(i64, i64) -> i64| match (a, b) {
            (Some(a), Some(b)) => Some(pick(a, b)),
            (a, b) => a.or(b),
        };
        Self { min_ns: both(self.min_ns, other.min_ns, i64::max), max_ns: both(self.max_ns, other.max_ns, i64::min) }
    }
}

/// Takes the bounds of time out of a condition, and folds what is left.
///
/// Every comparison with `time` narrows the range, wherever it stands: 1.x has no `OR` of times.
/// `known` gives `now()` and the time zone.
///
/// # Errors
/// A comparison with `time` that cannot be one, or a condition that is none.
pub fn time_range(condition: Option<&Expr>, known: &Known<'_>) -> Result<(Option<Expr>, TimeRange), CompileError> {
    let Some(condition) = condition else { return Ok((None, TimeRange::default())) };
    let (rest, range) = split(condition, known)?;
    let rest = match rest {
        Some(Expr::Paren(inner)) => Some(*inner),
        other => other,
    };
    Ok((rest.filter(|rest| *rest != Expr::Literal(Literal::Boolean(true))), range))
}

fn split(condition: &Expr, known: &Known<'_>) -> Result<(Option<Expr>, TimeRange), CompileError> {
    match condition {
        Expr::Binary(binary) if binary.op.is_logical() => {
            let (lhs, lhs_range) = split(&binary.lhs, known)?;
            let (rhs, rhs_range) = split(&binary.rhs, known)?;
            let rest = match (lhs, rhs) {
                (Some(lhs), Some(rhs)) => Some(reduce_binary(binary.op, lhs, rhs, None)),
                (lhs, rhs) => lhs.or(rhs),
            };
            Ok((rest, lhs_range.intersect(rhs_range)))
        }
        Expr::Binary(binary) => match &**binary {
            Binary { op, lhs, rhs } if lhs.is_time() => Ok((None, bound(*op, rhs, known)?)),
            Binary { op, lhs, rhs } if rhs.is_time() => Ok((None, bound(op.mirrored(), lhs, known)?)),
            _ => Ok((Some(reduce_inner(condition.clone(), known)), TimeRange::default())),
        },
        Expr::Paren(inner) => {
            let (rest, range) = split(inner, known)?;
            Ok((rest.map(reduce_paren), range))
        }
        Expr::Literal(Literal::Boolean(_)) => Ok((Some(condition.clone()), TimeRange::default())),
        other => Err(CompileError::new(format!("invalid condition expression: {other}"))),
    }
}

/// The range of `time op value`.
fn bound(op: BinaryOp, value: &Expr, known: &Known<'_>) -> Result<TimeRange, CompileError> {
    let value = match value {
        Expr::Literal(Literal::String(text)) if is_time_literal(text) => {
            let time = parse_time(text, known.zone).ok_or_else(|| CompileError::new("invalid timestamp string"))?;
            Expr::Literal(Literal::Time(time))
        }
        other => reduce(other.clone(), known),
    };
    let at_ns = match value {
        Expr::Literal(Literal::Time(ns)) => {
            let shown = Rfc3339 { ns, fraction: false };
            if ns > i128::from(TIME_MAX_NS) {
                return Err(CompileError::new(format!("time {shown} overflows time literal")));
            }
            // The least time itself is not to be written: 1.x means "unbounded" by it.
            if ns <= i128::from(TIME_MIN_NS) {
                return Err(CompileError::new(format!("time {shown} underflows time literal")));
            }
            ns as i64
        }
        Expr::Literal(Literal::Duration(ns) | Literal::Integer(ns)) => ns,
        Expr::Literal(Literal::Number(ns)) => ns as i64,
        other => {
            let kind = other.kind_name();
            return Err(CompileError::new(format!("invalid operation: time and {kind} are not compatible")));
        }
    };
    let (min_ns, max_ns) = match op {
        BinaryOp::Gt => (Some(at_ns.saturating_add(1)), None),
        BinaryOp::GtEq => (Some(at_ns), None),
        BinaryOp::Lt => (None, Some(at_ns.saturating_sub(1))),
        BinaryOp::LtEq => (None, Some(at_ns)),
        BinaryOp::Eq => (Some(at_ns), Some(at_ns)),
        other => return Err(CompileError::new(format!("invalid time comparison operator: {other}"))),
    };
    Ok(TimeRange { min_ns, max_ns })
}

#[cfg(test)]
mod tests {
    use super::super::{Zone, parse_expr};
    use super::*;

    const NOW_NS: i64 = 1_000_000_000_000;

    fn check(text: &str, zone: Option<&str>, min_ns: Option<i64>, max_ns: Option<i64>, rest: &str) {
        let zone = zone.map(|name| Zone::named(name).unwrap());
        let known = Known { now_ns: Some(NOW_NS), zone: zone.as_ref(), math: false };
        let (found, range) = time_range(Some(&parse_expr(text).unwrap()), &known).unwrap();
        assert_eq!(range, TimeRange { min_ns, max_ns }, "{text}");
        assert_eq!(found.map(|rest| rest.to_string()).unwrap_or_default(), rest, "{text}");
    }

    #[test]
    fn bounds_are_taken_out() {
        check("time > 10", None, Some(11), None, "");
        check("time >= 10 AND time < 20", None, Some(10), Some(19), "");
        check("TIME = 10", None, Some(10), Some(10), "");
        check("10 < time AND host = 'a'", None, Some(11), None, "host = 'a'");
        check("time > now() - 1s", None, Some(NOW_NS - 999_999_999), None, "");
        check("time <= '1970-01-01T00:00:01Z'", None, None, Some(1_000_000_000), "");
        check("time >= '1970-01-01'", Some("America/Los_Angeles"), Some(28_800_000_000_000), None, "");
        check("time > 1h", None, Some(3_600_000_000_001), None, "");
        check("time > 1.5", None, Some(2), None, "");
        check("time > 10 AND time > 20", None, Some(21), None, "");
        check("time > 20 AND time < 10", None, Some(21), Some(9), "");
    }

    #[test]
    fn the_rest_is_folded() {
        check("(host = 'a' OR host = 'b') AND (time > 10)", None, Some(11), None, "host = 'a' OR host = 'b'");
        check("host = 'a' OR time > 10", None, Some(11), None, "host = 'a'");
        check("true", None, None, None, "");
        check("x > 1 + 2 AND true", None, None, None, "x > 3");
        check("x = 1 AND (y = 2 OR z = 3) AND time > 0", None, Some(1), None, "x = 1 AND (y = 2 OR z = 3)");
        check("false OR 1 = 2", None, None, None, "false");
    }

    #[test]
    fn what_is_no_bound_is_refused() {
        for (text, message) in [
            ("time > '1970-01-01T99'", "invalid timestamp string"),
            ("time > 'yesterday'", "invalid operation: time and *influxql.StringLiteral are not compatible"),
            ("time = host", "invalid operation: time and *influxql.VarRef are not compatible"),
            ("time != 10", "invalid time comparison operator: !="),
            ("time > '2262-04-12T00:00:00Z'", "time 2262-04-12T00:00:00Z overflows time literal"),
            ("time > '1677-09-21T00:00:00Z'", "time 1677-09-21T00:00:00Z underflows time literal"),
            ("host", "invalid condition expression: host"),
            ("host = 'a' AND sin(x)", "invalid condition expression: sin(x)"),
        ] {
            let known = Known { now_ns: Some(NOW_NS), ..Known::default() };
            let error = time_range(Some(&parse_expr(text).unwrap()), &known).unwrap_err();
            assert_eq!(error.to_string(), message, "{text}");
        }
    }
}
