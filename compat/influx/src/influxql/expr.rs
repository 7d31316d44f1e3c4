//! Expressions: what stands in fields, conditions and dimensions.

use super::duration::DurationLiteral;
use super::regex::Regex;
use super::time::Rfc3339;
use super::token::{BinaryOp, Ident, Quoted};
use std::fmt;

/// An expression.
///
/// Its depth is bounded by the parser ([`super::DEPTH_MAX`]), so that walking it may recurse.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A field, a tag or `time`.
    VarRef(VarRef),
    /// A function call.
    Call(Call),
    /// `DISTINCT name`, which means `distinct(name)`.
    Distinct(String),
    /// Two expressions and an operator.
    Binary(Box<Binary>),
    /// An expression in parentheses.
    Paren(Box<Expr>),
    /// `*`
    Wildcard(Wildcard),
    /// A value.
    Literal(Literal),
}

/// A name with the type it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VarRef {
    /// The name; segments are joined with dots.
    pub name: String,
    /// The type after `::`, or `None`.
    pub data_type: Option<DataType>,
}

/// A type that may follow `::`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataType {
    /// 64-bit floats.
    Float,
    /// 64-bit signed integers.
    Integer,
    /// 64-bit unsigned integers.
    Unsigned,
    /// Text.
    String,
    /// true or false.
    Boolean,
    /// Any field, never a tag.
    AnyField,
    /// A tag, never a field.
    Tag,
}

impl DataType {
    /// The type as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Unsigned => "unsigned",
            Self::String => "string",
            Self::Boolean => "boolean",
            Self::AnyField => "field",
            Self::Tag => "tag",
        }
    }
}

/// A call; the name is in lower case.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Function name.
    pub name: String,
    /// Arguments.
    pub args: Vec<Expr>,
}

/// Two expressions and an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left side.
    pub lhs: Expr,
    /// Right side.
    pub rhs: Expr,
}

/// What `*` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wildcard {
    /// `*`: fields and tags.
    All,
    /// `*::field`
    Fields,
    /// `*::tag`
    Tags,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// No value; only constant folding makes it.
    Nil,
    /// `true`, `false`
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A whole number above [`i64::MAX`].
    Unsigned(u64),
    /// A number with a point.
    Number(f64),
    /// `'text'`
    String(String),
    /// `10s`, in nanoseconds.
    Duration(i64),
    /// An instant in nanoseconds since the epoch; only constant folding makes it. Wider than 64
    /// bits so that arithmetic can leave the storable range and be refused there.
    Time(i128),
    /// `/pattern/`
    Regex(Regex),
}

impl Expr {
    /// A reference by name, of any type.
    pub fn var(name: impl Into<String>) -> Self {
        Self::VarRef(VarRef { name: name.into(), data_type: None })
    }

    /// Joins two expressions.
    pub fn binary(op: BinaryOp, lhs: Self, rhs: Self) -> Self {
        Self::Binary(Box::new(Binary { op, lhs, rhs }))
    }

    /// `DISTINCT name` as a call, other expressions not at all.
    pub fn distinct_call(&self) -> Option<Call> {
        match self {
            Self::Distinct(name) => Some(Call { name: "distinct".to_owned(), args: vec![Self::var(name.clone())] }),
            _ => None,
        }
    }

    /// True for values; a wildcard is none.
    pub fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }

    /// True for a reference to `time`, in any case.
    pub fn is_time(&self) -> bool {
        matches!(self, Self::VarRef(var) if var.name.eq_ignore_ascii_case("time"))
    }

    /// Calls `visit` on this expression and on all inside it, outer ones first.
    pub fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Self)) {
        visit(self);
        match self {
            Self::Call(call) => call.args.iter().for_each(|arg| arg.walk(visit)),
            Self::Binary(binary) => {
                binary.lhs.walk(visit);
                binary.rhs.walk(visit);
            }
            Self::Paren(inner) => inner.walk(visit),
            Self::VarRef(_) | Self::Distinct(_) | Self::Wildcard(_) | Self::Literal(_) => {}
        }
    }

    /// Calls `visit` on this expression and on all inside it, outer ones first, to change them.
    pub fn walk_mut(&mut self, visit: &mut impl FnMut(&mut Self)) {
        visit(self);
        match self {
            Self::Call(call) => call.args.iter_mut().for_each(|arg| arg.walk_mut(visit)),
            Self::Binary(binary) => {
                binary.lhs.walk_mut(visit);
                binary.rhs.walk_mut(visit);
            }
            Self::Paren(inner) => inner.walk_mut(visit),
            Self::VarRef(_) | Self::Distinct(_) | Self::Wildcard(_) | Self::Literal(_) => {}
        }
    }

    /// What 1.x's messages call the kind of an expression.
    pub(super) fn kind_name(&self) -> &'static str {
        match self {
            Self::VarRef(_) => "*influxql.VarRef",
            Self::Call(_) => "*influxql.Call",
            Self::Distinct(_) => "*influxql.Distinct",
            Self::Binary(_) => "*influxql.BinaryExpr",
            Self::Paren(_) => "*influxql.ParenExpr",
            Self::Wildcard(_) => "*influxql.Wildcard",
            Self::Literal(literal) => match literal {
                Literal::Nil => "*influxql.NilLiteral",
                Literal::Boolean(_) => "*influxql.BooleanLiteral",
                Literal::Integer(_) => "*influxql.IntegerLiteral",
                Literal::Unsigned(_) => "*influxql.UnsignedLiteral",
                Literal::Number(_) => "*influxql.NumberLiteral",
                Literal::String(_) => "*influxql.StringLiteral",
                Literal::Duration(_) => "*influxql.DurationLiteral",
                Literal::Time(_) => "*influxql.TimeLiteral",
                Literal::Regex(_) => "*influxql.RegexLiteral",
            },
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VarRef(var) => write!(f, "{var}"),
            Self::Call(call) => write!(f, "{call}"),
            Self::Distinct(name) => write!(f, "DISTINCT {}", Ident(name)),
            Self::Binary(binary) => write!(f, "{binary}"),
            Self::Paren(inner) => write!(f, "({inner})"),
            Self::Wildcard(Wildcard::All) => f.write_str("*"),
            Self::Wildcard(Wildcard::Fields) => f.write_str("*::field"),
            Self::Wildcard(Wildcard::Tags) => f.write_str("*::tag"),
            Self::Literal(literal) => write!(f, "{literal}"),
        }
    }
}

impl fmt::Display for VarRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Ident(&self.name))?;
        match self.data_type {
            Some(data_type) => write!(f, "::{}", data_type.name()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            // A reserved word, but one that may be called.
            "distinct" => f.write_str("distinct")?,
            name => write!(f, "{}", Ident(name))?,
        }
        write!(f, "({})", List(&self.args))
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Parentheses that were written are kept as such. Those written here hold together what the
        // parser or constant folding joined without any: `a / -b` is a / (-1 * b).
        let side = |f: &mut fmt::Formatter<'_>, side: &Expr, loose: bool| {
            if loose { write!(f, "({side})") } else { write!(f, "{side}") }
        };
        let own = self.op.precedence();
        let left = matches!(&self.lhs, Expr::Binary(lhs) if lhs.op.precedence() < own);
        let right = matches!(&self.rhs, Expr::Binary(rhs)
            if rhs.op.precedence() <= own && !(self.op.is_logical() && rhs.op == self.op));
        side(f, &self.lhs, left)?;
        write!(f, " {} ", self.op)?;
        side(f, &self.rhs, right)
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Unsigned(value) => write!(f, "{value}"),
            // Three decimals as 1.x has it, but never fewer than the value needs.
            Self::Number(value) => {
                let short = format!("{value:.3}");
                if short.parse() == Ok(*value) { f.write_str(&short) } else { write!(f, "{value}") }
            }
            Self::String(value) => write!(f, "{}", Quoted(value)),
            Self::Duration(ns) => write!(f, "{}", DurationLiteral(*ns)),
            Self::Time(ns) => write!(f, "'{}'", Rfc3339 { ns: *ns, fraction: true }),
            Self::Regex(regex) => write!(f, "{regex}"),
        }
    }
}

/// Writes items with `, ` between them.
pub(super) struct List<'a, T>(pub(super) &'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, item) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{item}")?;
        }
        Ok(())
    }
}
