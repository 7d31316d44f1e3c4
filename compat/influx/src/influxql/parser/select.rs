//! SELECT and its clauses; DELETE and EXPLAIN, which share them.

use super::super::expr::{Expr, Literal};
use super::super::select::{Field, Fill, Measurement, MeasurementName, SelectStatement, SortField, Source};
use super::super::statement::Statement;
use super::super::time::Zone;
use super::super::token::{Keyword as K, Pos, Token};
use super::{ParseError, Parser, Result};

/// What is said of an `INTO` clause.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// It may be there.
    Allowed,
    /// It must be there.
    Required,
}

impl Parser<'_> {
    /// What follows `SELECT`.
    pub(super) fn select(&mut self, into: Into) -> Result<SelectStatement> {
        self.enter()?;
        let fields = self.fields()?;
        let target = self.target(into)?;
        self.expect_keyword(K::From)?;
        let sources = self.comma_list(|parser| parser.source(true))?;
        let condition = self.condition()?;
        let dimensions = self.dimensions()?;
        let fill = self.fill()?;
        let order = self.order()?;
        let limit = self.count(K::Limit)?;
        let offset = self.count(K::Offset)?;
        let slimit = self.count(K::Slimit)?;
        let soffset = self.count(K::Soffset)?;
        let zone = self.zone()?;
        self.leave();
        Ok(SelectStatement {
            fields,
            target,
            sources,
            condition,
            dimensions,
            fill,
            order,
            limit,
            offset,
            slimit,
            soffset,
            zone,
        })
    }

    /// What follows `EXPLAIN`.
    pub(super) fn explain(&mut self) -> Result<Statement> {
        let analyze = self.take_keyword(K::Analyze);
        self.expect_keyword(K::Select)?;
        let statement = Box::new(self.select(Into::Allowed)?);
        Ok(Statement::Explain { statement, analyze })
    }

    /// What follows `DELETE`.
    pub(super) fn delete(&mut self) -> Result<Statement> {
        let (sources, condition) = self.points()?;
        Ok(Statement::Delete { sources, condition })
    }

    /// `[FROM ...] [WHERE ...]` of which one must be there, without databases or policies.
    pub(super) fn points(&mut self) -> Result<(Vec<Source>, Option<Expr>)> {
        let next = self.next();
        let sources = if next.token == Token::Keyword(K::From) {
            let sources = self.sources()?;
            for source in &sources {
                let Source::Measurement(measurement) = source else { continue };
                let refused = match measurement {
                    Measurement { policy: Some(_), .. } => "retention policy not supported",
                    Measurement { database: Some(_), .. } => "database not supported",
                    _ => continue,
                };
                return Err(ParseError::at(Pos::default(), refused));
            }
            sources
        } else {
            self.back();
            Vec::new()
        };
        let condition = self.condition()?;
        if sources.is_empty() && condition.is_none() {
            return Err(ParseError::found(&next, &["FROM", "WHERE"]));
        }
        Ok((sources, condition))
    }

    fn fields(&mut self) -> Result<Vec<Field>> {
        let mut fields = Vec::new();
        loop {
            fields.push(self.field()?);
            if self.next_raw().token != Token::Comma {
                self.back();
                return Ok(fields);
            }
        }
    }

    fn field(&mut self) -> Result<Field> {
        let expr = match self.regex()? {
            Some(regex) => Expr::Literal(Literal::Regex(regex)),
            None => {
                let pos = self.next().pos;
                self.back();
                let expr = self.expr()?;
                let mut refused = None;
                expr.walk(&mut |inner| match inner {
                    Expr::Binary(binary) if binary.op.is_condition() => {
                        refused = refused.or(Some(binary.op));
                    }
                    _ => {}
                });
                if let Some(op) = refused {
                    return Err(ParseError::new(format!(
                        "invalid operator {op} in SELECT clause at {pos}; operator is intended for WHERE clause"
                    )));
                }
                expr
            }
        };
        let alias = if self.take_keyword(K::As) { Some(self.ident()?) } else { None };
        self.skip_blank();
        Ok(Field { expr, alias: alias.filter(|alias| !alias.is_empty()) })
    }

    fn target(&mut self, into: Into) -> Result<Option<Measurement>> {
        let next = self.next();
        if next.token != Token::Keyword(K::Into) {
            if into == Into::Required {
                return Err(ParseError::found(&next, &["INTO"]));
            }
            self.back();
            return Ok(None);
        }
        let mut segments = self.segments()?;
        let name = if segments.len() < 3 && self.lexer.peek() == Some(':') {
            self.expect(Token::Colon, ":")?;
            self.expect_keyword(K::Measurement)?;
            MeasurementName::Source
        } else {
            MeasurementName::Name(segments.pop().unwrap_or_default())
        };
        Ok(Some(measurement(segments, name)))
    }

    /// What follows `FROM`, without subqueries.
    pub(super) fn sources(&mut self) -> Result<Vec<Source>> {
        self.comma_list(|parser| parser.source(false))
    }

    /// A measurement or, where it is allowed, a subquery.
    pub(super) fn source(&mut self, subqueries: bool) -> Result<Source> {
        if let Some(regex) = self.regex()? {
            return Ok(Source::Measurement(measurement(Vec::new(), MeasurementName::Regex(regex))));
        }
        if subqueries && self.take_if(Token::LeftParen) {
            self.expect_keyword(K::Select)?;
            let statement = self.select(Into::Allowed)?;
            self.expect(Token::RightParen, ")")?;
            return Ok(Source::Subquery(Box::new(statement)));
        }
        let mut segments = self.segments()?;
        let regex = if segments.len() < 3 { self.regex()? } else { None };
        let name = match regex {
            Some(regex) => MeasurementName::Regex(regex),
            None => MeasurementName::Name(segments.pop().unwrap_or_default()),
        };
        Ok(Source::Measurement(measurement(segments, name)))
    }

    /// `[WHERE ...]`
    pub(super) fn condition(&mut self) -> Result<Option<Expr>> {
        if self.take_keyword(K::Where) { self.expr().map(Some) } else { Ok(None) }
    }

    /// `[GROUP BY ...]`
    pub(super) fn dimensions(&mut self) -> Result<Vec<Expr>> {
        let mut dimensions = Vec::new();
        if !self.take_keyword(K::Group) {
            return Ok(dimensions);
        }
        self.expect_keyword(K::By)?;
        loop {
            dimensions.push(match self.regex()? {
                Some(regex) => Expr::Literal(Literal::Regex(regex)),
                None => {
                    let expr = self.expr()?;
                    self.skip_blank();
                    expr
                }
            });
            if self.next_raw().token != Token::Comma {
                self.back();
                return Ok(dimensions);
            }
        }
    }

    /// `[fill(...)]`
    fn fill(&mut self) -> Result<Fill> {
        if !self.at_word("fill") {
            return Ok(Fill::Null);
        }
        let Expr::Call(call) = self.expr()? else {
            return Err(ParseError::new("fill must be a function call"));
        };
        let [arg] = call.args.as_slice() else {
            return Err(ParseError::new("fill requires an argument, e.g.: 0, null, none, previous, linear"));
        };
        match arg {
            Expr::VarRef(var) if var.name == "null" => Ok(Fill::Null),
            Expr::VarRef(var) if var.name == "none" => Ok(Fill::None),
            Expr::VarRef(var) if var.name == "previous" => Ok(Fill::Previous),
            Expr::VarRef(var) if var.name == "linear" => Ok(Fill::Linear),
            Expr::Literal(Literal::Integer(value)) => Ok(Fill::Integer(*value)),
            Expr::Literal(Literal::Number(value)) => Ok(Fill::Number(*value)),
            _ => Err(ParseError::new("expected number argument in fill()")),
        }
    }

    /// `[tz('...')]`
    fn zone(&mut self) -> Result<Option<Zone>> {
        if !self.at_word("tz") {
            return Ok(None);
        }
        let Expr::Call(call) = self.expr()? else {
            return Err(ParseError::new("tz must be a function call"));
        };
        let [arg] = call.args.as_slice() else {
            return Err(ParseError::new("tz requires exactly one argument"));
        };
        let Expr::Literal(Literal::String(name)) = arg else {
            return Err(ParseError::new("expected string argument in tz()"));
        };
        match Zone::named(name) {
            Some(zone) => Ok(Some(zone)),
            None => Err(ParseError::new(format!("unable to find time zone {name}"))),
        }
    }

    /// True if the next token is this name, in any case. It is not taken.
    fn at_word(&mut self, word: &str) -> bool {
        let next = self.next();
        self.back();
        next.token == Token::Ident && next.text.eq_ignore_ascii_case(word)
    }

    /// `[ORDER BY ...]`
    pub(super) fn order(&mut self) -> Result<Option<SortField>> {
        if !self.take_keyword(K::Order) {
            return Ok(None);
        }
        self.expect_keyword(K::By)?;
        let unsupported = || ParseError::new("only ORDER BY time supported at this time");
        let next = self.next();
        let field = match next.token {
            Token::Keyword(K::Asc) => SortField { name: None, ascending: true },
            Token::Keyword(K::Desc) => SortField { name: None, ascending: false },
            Token::Ident => {
                self.back();
                let field = self.sort_field()?;
                if next.text != "time" {
                    return Err(unsupported());
                }
                field
            }
            _ => return Err(ParseError::found(&next, &["identifier", "ASC", "DESC"])),
        };
        let mut more = false;
        while self.take_if(Token::Comma) {
            self.sort_field()?;
            more = true;
        }
        if more { Err(unsupported()) } else { Ok(Some(field)) }
    }

    fn sort_field(&mut self) -> Result<SortField> {
        let name = Some(self.ident()?);
        let descending = self.take_keyword(K::Desc);
        if !descending {
            self.take_keyword(K::Asc);
        }
        Ok(SortField { name, ascending: !descending })
    }
}

/// A measurement behind at most two segments. An empty segment is none.
fn measurement(mut segments: Vec<String>, name: MeasurementName) -> Measurement {
    let policy = segments.pop().filter(|policy| !policy.is_empty());
    let database = segments.pop().filter(|database| !database.is_empty());
    Measurement { database, policy, name }
}
