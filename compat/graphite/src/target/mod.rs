//! The target language: what stands in `target=` of a render request.
//!
//! [`parse`] accepts exactly one expression and nothing after it; the position in an error is a
//! byte offset. [`parse_prefix`] reads the longest expression at the start of a text, which is
//! how names of derived series are taken apart again (`aliasByNode(scale(a.b,2),1)`).
//!
//! Limits: [`TARGET_BYTES_MAX`], [`DEPTH_MAX`], [`ARGUMENTS_MAX`]. A pipe `a|f(x)` is parsed as `f(a,x)`.

mod parser;
#[cfg(test)]
mod tests;

pub use parser::{parse, parse_prefix};

/// Longest target that is parsed, in bytes.
pub const TARGET_BYTES_MAX: usize = 1 << 20;

/// Most arguments in one target, those of all its calls together.
pub const ARGUMENTS_MAX: usize = 50_000;

/// Deepest nesting of calls, pipes and braces.
pub const DEPTH_MAX: usize = 128;

/// One expression of the target language.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A pattern of series names, escapes resolved: `servers.*.cpu`.
    Path(String),
    /// A function call.
    Call(Call),
    /// `template(body, name="value")`.
    Template {
        /// The expression with `$name` in it.
        body: Box<Expr>,
        /// Named parameters, and positional ones under `1`, `2`, ...
        params: Vec<(String, Literal)>,
    },
    /// A number, a string, a boolean or none.
    Literal(Literal),
}

/// A function call with its arguments in the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function's name as written.
    pub name: String,
    /// Positional arguments; a piped expression is the first.
    pub args: Vec<Expr>,
    /// Named arguments.
    pub kwargs: Vec<(String, Expr)>,
    /// The call's own text, without what was piped into it.
    pub raw: String,
}

/// A value written in the target itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A whole number.
    Int(i64),
    /// A decimal number, or `inf`.
    Float(f64),
    /// A quoted string, without its quotes and with its backslashes.
    Str(String),
    /// `true` or `false`.
    Bool(bool),
    /// `none`.
    None,
}

impl Expr {
    /// The first series pattern in the expression, searching first arguments only.
    #[must_use]
    pub fn first_path(&self) -> Option<&str> {
        let mut expr = self;
        loop {
            match expr {
                Expr::Path(path) => return Some(path),
                Expr::Call(call) => expr = call.args.first()?,
                Expr::Template { body, .. } => expr = body,
                Expr::Literal(_) => return None,
            }
        }
    }
}
