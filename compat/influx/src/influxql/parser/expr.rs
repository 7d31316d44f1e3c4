//! Expressions.

use super::super::expr::{Call, DataType, Expr, Literal, VarRef, Wildcard};
use super::super::lexer::Lexed;
use super::super::params::Param;
use super::super::regex::Regex;
use super::super::token::{BinaryOp, Keyword as K, Token};
use super::{DEPTH_MAX, ParseError, Parser, REMEMBERED, Result, parse_duration};

/// An expression and how deep it is.
struct Sized {
    expr: Expr,
    depth: usize,
}

impl Sized {
    fn leaf(expr: Expr) -> Self {
        Self { expr, depth: 1 }
    }
}

impl Parser<'_> {
    /// An expression with operators.
    pub(super) fn expr(&mut self) -> Result<Expr> {
        self.sized_expr().map(|sized| sized.expr)
    }

    fn sized_expr(&mut self) -> Result<Sized> {
        self.enter()?;
        let mut operands = vec![self.operand()?];
        let mut waiting: Vec<BinaryOp> = Vec::new();
        while let Some(op) = self.operator() {
            let rhs = if op.is_regex() {
                Sized::leaf(Expr::Literal(Literal::Regex(self.required_regex()?)))
            } else {
                self.operand()?
            };
            // What binds at least as tightly is joined first. A row of the same AND or OR waits, to
            // be joined into a balanced tree: it means the same and stays shallow.
            while let Some(&last) = waiting.last()
                && last.precedence() >= op.precedence()
                && !(op.is_logical() && last == op)
            {
                self.join(&mut operands, &mut waiting)?;
            }
            waiting.push(op);
            operands.push(rhs);
        }
        while !waiting.is_empty() {
            self.join(&mut operands, &mut waiting)?;
        }
        self.leave();
        operands.pop().ok_or_else(|| ParseError::new("empty expression"))
    }

    /// Joins the last two operands, or all of a row of `AND` or `OR`.
    fn join(&self, operands: &mut Vec<Sized>, waiting: &mut Vec<BinaryOp>) -> Result<()> {
        let Some(op) = waiting.pop() else { return Ok(()) };
        let mut first = operands.len().saturating_sub(2);
        while op.is_logical() && waiting.last() == Some(&op) {
            waiting.pop();
            first = first.saturating_sub(1);
        }
        let mut row = operands.split_off(first);
        while row.len() > 1 {
            let mut pairs = Vec::with_capacity(row.len().div_ceil(2));
            let mut rest = row.into_iter();
            while let Some(lhs) = rest.next() {
                pairs.push(match rest.next() {
                    Some(rhs) => Sized {
                        depth: self.deeper(lhs.depth.max(rhs.depth))?,
                        expr: Expr::binary(op, lhs.expr, rhs.expr),
                    },
                    None => lhs,
                });
            }
            row = pairs;
        }
        operands.append(&mut row);
        Ok(())
    }

    fn deeper(&self, depth: usize) -> Result<usize> {
        if depth < DEPTH_MAX {
            return Ok(depth + 1);
        }
        let pos = self.taken[REMEMBERED - 1].pos;
        Err(ParseError::at(pos, format!("expression is deeper than {DEPTH_MAX} levels")))
    }

    /// An expression without operators around it.
    fn operand(&mut self) -> Result<Sized> {
        let next = self.next();
        let literal = |literal| Ok(Sized::leaf(Expr::Literal(literal)));
        match next.token {
            Token::LeftParen => {
                let inner = self.sized_expr()?;
                self.expect(Token::RightParen, ")")?;
                Ok(Sized { depth: self.deeper(inner.depth)?, expr: Expr::Paren(Box::new(inner.expr)) })
            }
            Token::Ident => {
                if self.next_raw().token == Token::LeftParen {
                    return self.call(&next.text);
                }
                self.back();
                self.back();
                Ok(Sized::leaf(Expr::VarRef(self.var_ref()?)))
            }
            Token::Keyword(K::Distinct) => self.distinct(),
            Token::String => literal(Literal::String(next.text.into_owned())),
            Token::Number => match next.text.parse::<f64>() {
                Ok(value) if value.is_finite() => literal(Literal::Number(value)),
                _ => Err(ParseError::at(next.pos, "unable to parse number")),
            },
            Token::Integer => match (next.text.parse(), next.text.parse()) {
                (Ok(value), _) => literal(Literal::Integer(value)),
                (Err(_), Ok(value)) => literal(Literal::Unsigned(value)),
                _ => Err(ParseError::at(next.pos, "unable to parse integer")),
            },
            Token::Keyword(K::True) => literal(Literal::Boolean(true)),
            Token::Keyword(K::False) => literal(Literal::Boolean(false)),
            Token::Duration => literal(Literal::Duration(parse_duration(&next.text).map_err(ParseError::new)?)),
            Token::Op(BinaryOp::Mul) => self.wildcard().map(|wildcard| Sized::leaf(Expr::Wildcard(wildcard))),
            Token::Regex => match Regex::new(&next.text) {
                Ok(regex) => literal(Literal::Regex(regex)),
                Err(message) => Err(ParseError::at(next.pos, message)),
            },
            Token::BoundParam => Err(self.unbound(&next)),
            Token::Op(BinaryOp::Add) => self.signed(false),
            Token::Op(BinaryOp::Sub) => self.signed(true),
            _ => Err(ParseError::found(&next, &["identifier", "string", "number", "bool"])),
        }
    }

    /// Why a bound parameter was not replaced by its value.
    fn unbound(&self, next: &Lexed<'_>) -> ParseError {
        let name = next.text.strip_prefix('$').unwrap_or(&next.text);
        match self.params.get(name) {
            _ if name.is_empty() => ParseError::new("empty bound parameter"),
            Some(Param::Unusable(message)) => ParseError::new(message.clone()),
            _ => ParseError::new(format!("missing parameter: {name}")),
        }
    }

    /// What follows a sign. The sign of a name, call or parenthesis is a factor.
    fn signed(&mut self, negative: bool) -> Result<Sized> {
        let next = self.next();
        if !matches!(next.token, Token::Number | Token::Integer | Token::Duration | Token::LeftParen | Token::Ident) {
            return Err(ParseError::found(&next, &["identifier", "number", "duration", "("]));
        }
        self.back();
        let Sized { expr, depth } = self.operand()?;
        let expr = match expr {
            Expr::Literal(literal) => Expr::Literal(match literal {
                literal if !negative => literal,
                Literal::Number(value) => Literal::Number(-value),
                Literal::Integer(value) => Literal::Integer(value.wrapping_neg()),
                Literal::Duration(value) => Literal::Duration(value.wrapping_neg()),
                Literal::Unsigned(value) if value == i64::MIN.unsigned_abs() => Literal::Integer(i64::MIN),
                Literal::Unsigned(value) => {
                    return Err(ParseError::new(format!("constant -{value} underflows int64")));
                }
                other => other,
            }),
            other => {
                let factor = Expr::Literal(Literal::Integer(if negative { -1 } else { 1 }));
                return Ok(Sized { depth: self.deeper(depth)?, expr: Expr::binary(BinaryOp::Mul, factor, other) });
            }
        };
        Ok(Sized { expr, depth })
    }

    /// What follows `DISTINCT`.
    fn distinct(&mut self) -> Result<Sized> {
        let next = self.next_raw();
        match next.token {
            Token::LeftParen => self.call("distinct"),
            Token::Whitespace => self.ident().map(|name| Sized::leaf(Expr::Distinct(name))),
            _ => Err(ParseError::found(&next, &["(", "identifier"])),
        }
    }

    /// What follows `*`.
    fn wildcard(&mut self) -> Result<Wildcard> {
        if self.next_raw().token != Token::DoubleColon {
            self.back();
            return Ok(Wildcard::All);
        }
        let next = self.next_raw();
        match next.token {
            Token::Keyword(K::Field) => Ok(Wildcard::Fields),
            Token::Keyword(K::Tag) => Ok(Wildcard::Tags),
            _ => Err(ParseError::found(&next, &["field", "tag"])),
        }
    }

    fn var_ref(&mut self) -> Result<VarRef> {
        let mut segments = self.segments()?;
        let name = match segments.as_mut_slice() {
            [only] => std::mem::take(only),
            all => all.join("."),
        };
        if self.next_raw().token != Token::DoubleColon {
            self.back();
            return Ok(VarRef { name, data_type: None });
        }
        let next = self.next_raw();
        let data_type = match next.token {
            Token::Keyword(K::Field) => DataType::AnyField,
            Token::Keyword(K::Tag) => DataType::Tag,
            Token::Ident => match next.text.to_ascii_lowercase().as_str() {
                "float" => DataType::Float,
                "integer" => DataType::Integer,
                "unsigned" => DataType::Unsigned,
                "string" => DataType::String,
                "boolean" => DataType::Boolean,
                _ => {
                    let expected = ["float", "integer", "unsigned", "string", "boolean", "field", "tag"];
                    return Err(ParseError::found(&next, &expected));
                }
            },
            _ => return Err(ParseError::found(&next, &["float", "integer", "string", "boolean", "field", "tag"])),
        };
        Ok(VarRef { name, data_type: Some(data_type) })
    }

    /// The arguments of a call; the parenthesis is open.
    fn call(&mut self, name: &str) -> Result<Sized> {
        let name = name.to_lowercase();
        let mut depth = 0;
        let mut args = Vec::new();
        loop {
            match self.regex()? {
                Some(regex) => args.push(Expr::Literal(Literal::Regex(regex))),
                None => {
                    if args.is_empty() {
                        if self.next_raw().token == Token::RightParen {
                            return Ok(Sized::leaf(Expr::Call(Call { name, args })));
                        }
                        self.back();
                    }
                    let arg = self.sized_expr()?;
                    depth = arg.depth.max(depth);
                    args.push(arg.expr);
                }
            }
            if !self.take_if(Token::Comma) {
                break;
            }
        }
        let next = self.next_raw();
        if next.token != Token::RightParen {
            return Err(ParseError::found(&next, &[")"]));
        }
        Ok(Sized { depth: self.deeper(depth)?, expr: Expr::Call(Call { name, args }) })
    }
}
