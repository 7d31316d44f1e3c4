//! Query text to statements, by recursive descent, with 1.x's error texts.
//!
//! Tokens are taken one after the other and may be put back; the last three are remembered. Where
//! a regular expression may stand the parser looks at the letters behind the last token taken, as
//! 1.x does.

mod admin;
mod expr;
mod select;
mod show;

use super::Expr;
use super::duration::parse_duration;
use super::lexer::{Lexed, Lexer, is_blank};
use super::params::{Param, Params};
use super::regex::Regex;
use super::statement::{Query, Statement};
use super::token::{BinaryOp, Keyword as K, Pos, Token};
use std::fmt;

/// Parentheses, calls and subqueries inside each other that are followed.
pub const NESTING_MAX: usize = 100;

/// Depth of an expression. Operators of equal rank in a row add to it, except `AND` and `OR`,
/// whose rows grow it by the logarithm of their length.
pub const DEPTH_MAX: usize = 256;

/// Tokens that can be put back.
const REMEMBERED: usize = 3;

/// Why a query was not understood. Shown after `error parsing query: `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    message: String,
    pos: Option<Pos>,
}

impl ParseError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), pos: None }
    }

    fn at(pos: Pos, message: impl Into<String>) -> Self {
        Self { message: message.into(), pos: Some(pos) }
    }

    fn found(found: &Lexed<'_>, expected: &[&str]) -> Self {
        Self::at(found.pos, format!("found {}, expected {}", found.shown(), expected.join(", ")))
    }

    /// Where, if it is known.
    pub fn pos(&self) -> Option<Pos> {
        self.pos
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.pos {
            Some(pos) => write!(f, " at {pos}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ParseError {}

type Result<T> = std::result::Result<T, ParseError>;

/// Reads statements separated by `;`.
///
/// Blanks around the text are taken off first; positions count from there.
///
/// # Errors
/// The first thing that was not understood; no statement is returned then.
pub fn parse_query(text: &str, params: &Params) -> Result<Query> {
    let mut parser = Parser::new(text.trim(), params);
    let mut statements = Vec::new();
    let mut separated = true;
    loop {
        let next = parser.next();
        match next.token {
            Token::Eof => return Ok(Query { statements }),
            Token::Semicolon => separated = true,
            _ if !separated => return Err(ParseError::found(&next, &[";"])),
            _ => {
                parser.back();
                statements.push(parser.statement()?);
                separated = false;
            }
        }
    }
}

/// Reads one statement; what follows it is an error.
///
/// # Errors
/// As [`parse_query`]; also if there is no statement or a second one.
pub fn parse_statement(text: &str) -> Result<Statement> {
    let params = Params::new();
    let mut parser = Parser::new(text.trim(), &params);
    let statement = parser.statement()?;
    parser.at_end()?;
    Ok(statement)
}

/// Reads one expression; what follows it is an error.
///
/// # Errors
/// As [`parse_query`].
pub fn parse_expr(text: &str) -> Result<Expr> {
    let params = Params::new();
    let mut parser = Parser::new(text.trim(), &params);
    let expr = parser.expr()?;
    parser.at_end()?;
    Ok(expr)
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    params: &'a Params,
    /// The last tokens taken, the latest at the end.
    taken: [Lexed<'a>; REMEMBERED],
    /// How many of them were put back.
    put_back: usize,
    nesting: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, params: &'a Params) -> Self {
        let none = || Lexed::bare(Token::Illegal, Pos::default());
        Self { lexer: Lexer::new(text), params, taken: [none(), none(), none()], put_back: 0, nesting: 0 }
    }

    /// The next token, blanks and comments included.
    fn next_raw(&mut self) -> Lexed<'a> {
        self.take(Lexer::token)
    }

    /// The next token that is neither blank nor comment.
    fn next(&mut self) -> Lexed<'a> {
        loop {
            let next = self.next_raw();
            if !matches!(next.token, Token::Whitespace | Token::Comment) {
                return next;
            }
        }
    }

    fn take(&mut self, read: impl FnOnce(&mut Lexer<'a>) -> Lexed<'a>) -> Lexed<'a> {
        if self.put_back > 0 {
            self.put_back -= 1;
        } else {
            let next = read(&mut self.lexer);
            self.taken.rotate_left(1);
            self.taken[REMEMBERED - 1] = next;
        }
        let mut next = self.taken[REMEMBERED - 1 - self.put_back].clone();
        if next.token == Token::BoundParam
            && let Some(param) = next.text.strip_prefix('$').and_then(|name| self.params.get(name))
            && !matches!(param, Param::Unusable(_))
        {
            let (token, text) = param.token();
            (next.token, next.text) = (token, text.into());
        }
        next
    }

    /// Puts the last token back. At most three can be.
    fn back(&mut self) {
        self.put_back = (self.put_back + 1).min(REMEMBERED);
    }

    /// Takes the next token if it is `token`.
    fn take_if(&mut self, token: Token) -> bool {
        let found = self.next().token == token;
        if !found {
            self.back();
        }
        found
    }

    fn take_keyword(&mut self, keyword: K) -> bool {
        self.take_if(Token::Keyword(keyword))
    }

    fn skip_blank(&mut self) {
        if self.next_raw().token != Token::Whitespace {
            self.back();
        }
    }

    fn expect(&mut self, token: Token, expected: &str) -> Result<()> {
        let next = self.next();
        if next.token == token { Ok(()) } else { Err(ParseError::found(&next, &[expected])) }
    }

    fn expect_keyword(&mut self, keyword: K) -> Result<()> {
        self.expect(Token::Keyword(keyword), keyword.text())
    }

    fn at_end(&mut self) -> Result<()> {
        self.expect(Token::Eof, "EOF")
    }

    /// Goes one level down; the caller comes back with [`Self::leave`].
    fn enter(&mut self) -> Result<()> {
        self.nesting += 1;
        if self.nesting > NESTING_MAX {
            let pos = self.taken[REMEMBERED - 1].pos;
            return Err(ParseError::at(pos, format!("query is nested deeper than {NESTING_MAX} levels")));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.nesting -= 1;
    }

    fn statement(&mut self) -> Result<Statement> {
        let next = self.next();
        match next.token {
            Token::Keyword(K::Select) => Ok(Statement::Select(Box::new(self.select(select::Into::Allowed)?))),
            Token::Keyword(K::Delete) => self.delete(),
            Token::Keyword(K::Show) => self.show(),
            Token::Keyword(K::Create) => self.create(),
            Token::Keyword(K::Drop) => self.drop(),
            Token::Keyword(K::Explain) => self.explain(),
            Token::Keyword(K::Grant) => self.grant(),
            Token::Keyword(K::Revoke) => self.revoke(),
            Token::Keyword(K::Alter) => {
                self.expect_keyword(K::Retention)?;
                self.expect_keyword(K::Policy)?;
                self.alter_retention_policy()
            }
            Token::Keyword(K::Set) => {
                self.expect_keyword(K::Password)?;
                self.expect_keyword(K::For)?;
                self.set_password()
            }
            Token::Keyword(K::Kill) => {
                self.expect_keyword(K::Query)?;
                self.kill_query()
            }
            _ => Err(ParseError::found(
                &next,
                &["SELECT", "DELETE", "SHOW", "CREATE", "DROP", "EXPLAIN", "GRANT", "REVOKE", "ALTER", "SET", "KILL"],
            )),
        }
    }

    fn ident(&mut self) -> Result<String> {
        let next = self.next();
        if next.token == Token::Ident {
            Ok(next.text.into_owned())
        } else {
            Err(ParseError::found(&next, &["identifier"]))
        }
    }

    fn idents(&mut self) -> Result<Vec<String>> {
        self.comma_list(Self::ident)
    }

    fn string(&mut self) -> Result<String> {
        let next = self.next();
        if next.token == Token::String {
            Ok(next.text.into_owned())
        } else {
            Err(ParseError::found(&next, &["string"]))
        }
    }

    fn strings(&mut self) -> Result<Vec<String>> {
        self.comma_list(Self::string)
    }

    fn comma_list<T>(&mut self, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.take_if(Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Identifiers joined by dots: `db.rp.m`, `db..m`. Stops behind a dot before `/` or `:`.
    fn segments(&mut self) -> Result<Vec<String>> {
        let mut segments = vec![self.ident()?];
        loop {
            if self.next_raw().token != Token::Dot {
                self.back();
                break;
            }
            match self.lexer.peek() {
                Some('/' | ':') => break,
                Some('.') => segments.push(String::new()),
                _ => segments.push(self.ident()?),
            }
        }
        if segments.len() > 3 {
            let shown: Vec<_> = segments
                .iter()
                .enumerate()
                .map(|(at, segment)| match (at, segment.as_str()) {
                    (0, _) => format!("\"{segment}\""),
                    (_, "") if at + 1 < segments.len() => String::new(),
                    _ if at + 1 < segments.len() => format!("\"{segment}\""),
                    _ => super::token::Ident(segment).to_string(),
                })
                .collect();
            return Err(ParseError::at(Pos::default(), format!("too many segments in {}", shown.join("."))));
        }
        Ok(segments)
    }

    /// A whole number between 1 and the largest 32-bit one.
    fn small_integer(&mut self) -> Result<u32> {
        const MAX: i64 = i32::MAX as i64;
        let next = self.integer()?;
        let value: i64 = next.text.parse().map_err(|_| out_of_range(&next, "Atoi"))?;
        match u32::try_from(value) {
            Ok(small) if (1..=MAX).contains(&value) => Ok(small),
            _ => Err(ParseError::at(next.pos, format!("invalid value {value}: must be 1 <= n <= {MAX}"))),
        }
    }

    fn unsigned(&mut self) -> Result<u64> {
        let next = self.integer()?;
        next.text.parse().map_err(|_| out_of_range(&next, "ParseUint"))
    }

    fn integer(&mut self) -> Result<Lexed<'a>> {
        let next = self.next();
        if next.token == Token::Integer { Ok(next) } else { Err(ParseError::found(&next, &["integer"])) }
    }

    /// A count after a keyword, or 0 without the keyword. Larger ones than 64 bits are cut.
    fn count(&mut self, keyword: K) -> Result<u64> {
        if !self.take_keyword(keyword) {
            return Ok(0);
        }
        let next = self.integer()?;
        if next.text.starts_with('-') {
            return Err(ParseError::at(next.pos, format!("{} must be >= 0", keyword.text())));
        }
        Ok(next.text.parse::<i64>().unwrap_or(i64::MAX).unsigned_abs())
    }

    /// A duration or `INF`, which is 0.
    fn duration(&mut self) -> Result<i64> {
        let next = self.next();
        match next.token {
            Token::Duration => parse_duration(&next.text).map_err(|message| ParseError::at(next.pos, message)),
            Token::Keyword(K::Inf) => Ok(0),
            _ => Err(ParseError::found(&next, &["duration"])),
        }
    }

    /// A regular expression if one begins here, possibly after a blank.
    fn regex(&mut self) -> Result<Option<Regex>> {
        if self.lexer.peek().is_some_and(is_blank) {
            self.skip_blank();
        }
        match self.lexer.peek() {
            Some('$') => {
                let token = self.next_raw().token;
                self.back();
                if token != Token::Regex {
                    return Ok(None);
                }
            }
            Some('/') if !self.lexer.at_comment() => {}
            _ => return Ok(None),
        }
        let next = self.take(Lexer::regex);
        match next.token {
            Token::Regex => Regex::new(&next.text).map(Some).map_err(|message| ParseError::at(next.pos, message)),
            Token::BadRegex => Err(ParseError::at(next.pos, format!("bad regex: {}", next.text))),
            _ => Err(ParseError::found(&next, &["regex"])),
        }
    }

    /// A regular expression that must be here.
    fn required_regex(&mut self) -> Result<Regex> {
        match self.regex()? {
            Some(regex) => Ok(regex),
            None => Err(ParseError::found(&self.next(), &["regex"])),
        }
    }

    /// The next token if it is an operator.
    fn operator(&mut self) -> Option<BinaryOp> {
        match self.next().token {
            Token::Op(op) => Some(op),
            _ => {
                self.back();
                None
            }
        }
    }
}

fn out_of_range(found: &Lexed<'_>, function: &str) -> ParseError {
    ParseError::at(found.pos, format!("strconv.{function}: parsing \"{}\": value out of range", found.text))
}
