//! Constant folding: `now() - 1h` to an instant, `1 + 2` to `3`, `x AND true` to `x`.
//!
//! Whole numbers wrap on overflow and divide to numbers, as in 1.x. What cannot be folded is left
//! as it is; it is no error here.

use super::expr::{Binary, Call, Expr, Literal};
use super::time::{Zone, is_time_literal, parse_time};
use super::token::BinaryOp;

/// What is known while folding. By default nothing is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The value of `now()`, in nanoseconds since the epoch.
    pub now_ns: Option<i64>,
    /// Where times without an offset are local; UTC if `None`.
    pub zone: Option<&'a Zone>,
    /// Fold mathematical functions too.
    pub math: bool,
}

/// Folds an expression; parentheses around the whole are taken off.
pub fn reduce(expr: Expr, known: &Known<'_>) -> Expr {
    match reduce_inner(expr, known) {
        Expr::Paren(inner) => *inner,
        other => other,
    }
}

/// Folds an expression, but leaves parentheses around an operation.
pub(super) fn reduce_inner(expr: Expr, known: &Known<'_>) -> Expr {
    match expr {
        Expr::Binary(binary) => {
            let Binary { op, lhs, rhs } = *binary;
            reduce_binary(op, reduce_inner(lhs, known), reduce_inner(rhs, known), known.zone)
        }
        Expr::Paren(inner) => reduce_paren(reduce_inner(*inner, known)),
        Expr::Call(Call { name, args }) => {
            let args: Vec<_> = args.into_iter().map(|arg| reduce_inner(arg, known)).collect();
            let folded = match known.now_ns {
                Some(now_ns) if name == "now" && args.is_empty() => Some(Literal::Time(now_ns.into())),
                _ if known.math => math(&name, &args),
                _ => None,
            };
            folded.map_or(Expr::Call(Call { name, args }), Expr::Literal)
        }
        other => other,
    }
}

/// Puts parentheses around a folded expression if it is still an operation.
pub(super) fn reduce_paren(inner: Expr) -> Expr {
    if matches!(inner, Expr::Binary(_)) { Expr::Paren(Box::new(inner)) } else { inner }
}

/// Joins two folded expressions.
pub(super) fn reduce_binary(op: BinaryOp, lhs: Expr, rhs: Expr, zone: Option<&Zone>) -> Expr {
    let boolean = |expr: &Expr| match expr {
        Expr::Literal(Literal::Boolean(value)) => Some(*value),
        _ => None,
    };
    match (op, boolean(&lhs), boolean(&rhs)) {
        (BinaryOp::And, Some(false), _) | (BinaryOp::And, _, Some(false)) => {
            return Expr::Literal(Literal::Boolean(false));
        }
        (BinaryOp::Or, Some(true), _) | (BinaryOp::Or, _, Some(true)) => {
            return Expr::Literal(Literal::Boolean(true));
        }
        (BinaryOp::And | BinaryOp::Or, Some(_), _) => return rhs,
        (BinaryOp::And | BinaryOp::Or, _, Some(_)) => return lhs,
        _ => {}
    }
    let folded = match (&lhs, &rhs) {
        (Expr::Literal(Literal::Nil), _) if matches!(op, BinaryOp::Eq | BinaryOp::NotEq) => {
            Some(Literal::Boolean(false))
        }
        (Expr::Literal(lhs), Expr::Literal(rhs)) => fold(op, lhs, rhs, zone),
        _ => None,
    };
    folded.map_or_else(|| Expr::binary(op, lhs, rhs), Expr::Literal)
}

fn fold(op: BinaryOp, lhs: &Literal, rhs: &Literal, zone: Option<&Zone>) -> Option<Literal> {
    use BinaryOp as Op;
    use Literal as L;
    let time = |text: &str| parse_time(text, zone).map(L::Time);
    match (lhs, rhs) {
        (L::Boolean(a), L::Boolean(b)) => match op {
            Op::Eq => Some(L::Boolean(a == b)),
            Op::NotEq | Op::BitXor => Some(L::Boolean(a != b)),
            Op::And | Op::BitAnd => Some(L::Boolean(*a && *b)),
            Op::Or | Op::BitOr => Some(L::Boolean(*a || *b)),
            _ => None,
        },
        (L::Boolean(_) | L::Duration(_) | L::Integer(_) | L::Number(_) | L::Time(_), L::Nil) => Some(L::Boolean(false)),
        (L::String(_), L::Nil) => matches!(op, Op::Eq | Op::NotEq).then_some(L::Boolean(false)),

        (L::Duration(a), L::Duration(b)) => match op {
            Op::Add => Some(L::Duration(a.wrapping_add(*b))),
            Op::Sub => Some(L::Duration(a.wrapping_sub(*b))),
            _ => compare(op, a, b),
        },
        (L::Duration(a), L::Number(b)) => scale(op, *a, *b as i64),
        (L::Duration(a), L::Integer(b)) => scale(op, *a, *b),
        (L::Duration(a), L::Time(b)) => (op == Op::Add).then(|| L::Time(b + i128::from(*a))),
        (L::Duration(_), L::String(b)) => fold(op, lhs, &time(b)?, zone),

        (L::Integer(a), L::Integer(b)) => integers(op, *a, *b),
        (L::Integer(a), L::Number(b)) => numbers(op, *a as f64, *b),
        (L::Integer(a), L::Unsigned(b)) => match op {
            Op::Lt | Op::LtEq if *a < 0 => Some(L::Boolean(true)),
            Op::Gt | Op::GtEq if *a < 0 => Some(L::Boolean(false)),
            _ => unsigneds(op, *a as u64, *b),
        },
        (L::Integer(a), L::Duration(b)) => match op {
            Op::Add => Some(L::Time(i128::from(*a) + i128::from(*b))),
            Op::Sub => Some(L::Time(i128::from(*a) - i128::from(*b))),
            _ => None,
        },
        (L::Integer(a), L::Time(_)) => fold(op, &L::Duration(*a), rhs, zone),
        (L::Integer(a), L::String(b)) => fold(op, &L::Duration(*a), &time(b)?, zone),

        (L::Unsigned(a), L::Number(b)) => numbers(op, *a as f64, *b),
        (L::Unsigned(a), L::Integer(b)) => match op {
            Op::Lt | Op::LtEq if *b < 0 => Some(L::Boolean(false)),
            Op::Gt | Op::GtEq if *b < 0 => Some(L::Boolean(true)),
            _ => unsigneds(op, *a, *b as u64),
        },
        (L::Unsigned(a), L::Unsigned(b)) => unsigneds(op, *a, *b),

        (L::Number(a), L::Number(b)) => numbers(op, *a, *b),
        (L::Number(a), L::Integer(b)) => numbers(op, *a, *b as f64),
        (L::Number(a), L::Unsigned(b)) => numbers(op, *a, *b as f64),

        (L::String(a), L::String(b)) => match op {
            Op::Add => Some(L::String(format!("{a}{b}"))),
            Op::Eq | Op::NotEq => {
                // The same instant may be written in two ways.
                let times = (is_time_literal(a) && is_time_literal(b)).then(|| (time(a), time(b)));
                match times {
                    Some((Some(a), Some(b))) => fold(op, &a, &b, zone),
                    _ => compare(op, a, b),
                }
            }
            _ => fold(op, &time(a)?, rhs, zone),
        },
        (L::String(a), L::Duration(_) | L::Time(_) | L::Integer(_)) => fold(op, &time(a)?, rhs, zone),

        (L::Time(a), L::Duration(b) | L::Integer(b)) => match op {
            Op::Add => Some(L::Time(a + i128::from(*b))),
            Op::Sub => Some(L::Time(a - i128::from(*b))),
            _ => None,
        },
        (L::Time(a), L::Time(b)) => match op {
            Op::Sub => Some(L::Duration((a - b).clamp(i64::MIN.into(), i64::MAX.into()) as i64)),
            _ => compare(op, a, b),
        },
        (L::Time(_), L::String(b)) => fold(op, lhs, &time(b)?, zone),
        _ => None,
    }
}

fn compare<T: PartialOrd>(op: BinaryOp, a: &T, b: &T) -> Option<Literal> {
    Some(Literal::Boolean(match op {
        BinaryOp::Eq => a == b,
        BinaryOp::NotEq => a != b,
        BinaryOp::Lt => a < b,
        BinaryOp::LtEq => a <= b,
        BinaryOp::Gt => a > b,
        BinaryOp::GtEq => a >= b,
        _ => return None,
    }))
}

/// A duration times or through a factor; through nothing is nothing.
fn scale(op: BinaryOp, duration: i64, factor: i64) -> Option<Literal> {
    match op {
        BinaryOp::Mul => Some(Literal::Duration(duration.wrapping_mul(factor))),
        BinaryOp::Div if factor == 0 => Some(Literal::Duration(0)),
        BinaryOp::Div => Some(Literal::Duration(duration.wrapping_div(factor))),
        _ => None,
    }
}

fn integers(op: BinaryOp, a: i64, b: i64) -> Option<Literal> {
    Some(match op {
        BinaryOp::Add => Literal::Integer(a.wrapping_add(b)),
        BinaryOp::Sub => Literal::Integer(a.wrapping_sub(b)),
        BinaryOp::Mul => Literal::Integer(a.wrapping_mul(b)),
        BinaryOp::Div if b == 0 => Literal::Number(0.0),
        BinaryOp::Div => Literal::Number(a as f64 / b as f64),
        BinaryOp::Mod if b == 0 => Literal::Integer(0),
        BinaryOp::Mod => Literal::Integer(a.wrapping_rem(b)),
        BinaryOp::BitAnd => Literal::Integer(a & b),
        BinaryOp::BitOr => Literal::Integer(a | b),
        BinaryOp::BitXor => Literal::Integer(a ^ b),
        _ => return compare(op, &a, &b),
    })
}

fn unsigneds(op: BinaryOp, a: u64, b: u64) -> Option<Literal> {
    Some(Literal::Unsigned(match op {
        BinaryOp::Add => a.wrapping_add(b),
        BinaryOp::Sub => a.wrapping_sub(b),
        BinaryOp::Mul => a.wrapping_mul(b),
        BinaryOp::Div => a.checked_div(b).unwrap_or(0),
        BinaryOp::Mod => a.checked_rem(b).unwrap_or(0),
        _ => return compare(op, &a, &b),
    }))
}

fn numbers(op: BinaryOp, a: f64, b: f64) -> Option<Literal> {
    Some(Literal::Number(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div if b == 0.0 => 0.0,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        _ => return compare(op, &a, &b),
    }))
}

/// A mathematical function of values; of what is no number it is nil. `None` for other functions.
fn math(name: &str, args: &[Expr]) -> Option<Literal> {
    let literals: Option<Vec<&Literal>> = args
        .iter()
        .map(|arg| match arg {
            Expr::Literal(literal) => Some(literal),
            _ => None,
        })
        .collect();
    let number = |literal: &Literal| match literal {
        Literal::Number(value) => Some(*value),
        Literal::Integer(value) => Some(*value as f64),
        Literal::Unsigned(value) => Some(*value as f64),
        _ => None,
    };
    let folded = match literals?.as_slice() {
        [Literal::Integer(value)] if name == "abs" => Some(Literal::Integer(value.wrapping_abs())),
        [whole @ (Literal::Integer(_) | Literal::Unsigned(_))]
            if matches!(name, "abs" | "floor" | "ceil" | "round") =>
        {
            Some((*whole).clone())
        }
        [arg] => {
            let function: fn(f64) -> f64 = match name {
                "abs" => f64::abs,
                "sin" => f64::sin,
                "cos" => f64::cos,
                "tan" => f64::tan,
                "asin" => f64::asin,
                "acos" => f64::acos,
                "atan" => f64::atan,
                "exp" => f64::exp,
                "ln" => f64::ln,
                "log2" => f64::log2,
                "log10" => f64::log10,
                "sqrt" => f64::sqrt,
                "floor" => f64::floor,
                "ceil" => f64::ceil,
                "round" => f64::round,
                _ => return None,
            };
            number(arg).map(|value| Literal::Number(function(value)))
        }
        [a, b] => {
            let function: fn(f64, f64) -> f64 = match name {
                "atan2" => f64::atan2,
                "pow" => f64::powf,
                "log" => |value, base| value.ln() / base.ln(),
                _ => return None,
            };
            number(a).zip(number(b)).map(|(a, b)| Literal::Number(function(a, b)))
        }
        _ => return None,
    };
    Some(folded.unwrap_or(Literal::Nil))
}

#[cfg(test)]
mod tests {
    use super::super::parse_expr;
    use super::*;

    #[test]
    fn constants_fold() {
        let zone = Zone::named("America/Los_Angeles").unwrap();
        let known = Known { now_ns: Some(60_000_000_000), zone: Some(&zone), math: true };
        for (text, expected) in [
            ("1 + 2 * 3", "7"),
            ("(1 + 2) * 3", "9"),
            ("1 / 2", "0.500"),
            ("1 / 0", "0.000"),
            ("7 % 0", "0"),
            ("7 & 3 | 8", "11"),
            ("5.5 % 2", "1.500"),
            ("9223372036854775807 + 1", "-9223372036854775808"),
            ("9223372036854775808 + 1", "9223372036854775809"),
            ("-1 < 9223372036854775808", "true"),
            ("1h + 30m", "90m"),
            ("1h / 0", "0s"),
            ("1h * 2", "2h"),
            ("now()", "'1970-01-01T00:01:00Z'"),
            ("now() - 1m", "'1970-01-01T00:00:00Z'"),
            ("now() - '1970-01-01T00:00:00Z'", "1m"),
            ("'1970-01-01' + 1h", "'1970-01-01T09:00:00Z'"),
            ("'1970-01-01' = '1970-01-01T08:00:00Z'", "true"),
            ("'a' + 'b'", "'ab'"),
            ("'a' = 'b'", "false"),
            ("10 + 1s", "'1970-01-01T00:00:01.00000001Z'"),
            ("x AND true", "x"),
            ("x OR true", "true"),
            ("x AND 1 = 2", "false"),
            ("(x + (1 + 2))", "x + 3"),
            ("(x + 1) * 2", "(x + 1) * 2"),
            ("sqrt(16) + abs(-2)", "6.000"),
            ("pow(2, 3)", "8.000"),
            ("round(2.5)", "3.000"),
            ("sin('a') = 1", "false"),
            ("sin(x)", "sin(x)"),
            ("x - 1 - 2", "x - 1 - 2"),
        ] {
            assert_eq!(reduce(parse_expr(text).unwrap(), &known).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn nothing_is_known_by_default() {
        for text in ["now() - 1m", "sqrt(4)"] {
            assert_eq!(reduce(parse_expr(text).unwrap(), &Known::default()).to_string(), text);
        }
    }
}
