//! SHOW statements.

use super::super::select::Source;
use super::super::statement::{Counted, KeyMatch, Show, ShowCardinality, ShowClauses, Statement};
use super::super::token::{BinaryOp, Keyword as K, Token};
use super::{ParseError, Parser, Result};

impl Parser<'_> {
    /// What follows `SHOW`.
    pub(super) fn show(&mut self) -> Result<Statement> {
        let next = self.next();
        let Token::Keyword(keyword) = next.token else { return Err(ParseError::found(&next, &SHOWN)) };
        let show = match keyword {
            K::Continuous => {
                self.expect_keyword(K::Queries)?;
                Show::ContinuousQueries
            }
            K::Databases => Show::Databases,
            K::Diagnostics => Show::Diagnostics(self.module()?),
            K::Field => self.show_field()?,
            K::Grants => {
                self.expect_keyword(K::For)?;
                Show::Grants(self.ident()?)
            }
            K::Measurement => {
                let next = self.next();
                let exact = match next.token {
                    Token::Keyword(K::Exact) => {
                        self.expect_keyword(K::Cardinality)?;
                        true
                    }
                    Token::Keyword(K::Cardinality) => false,
                    _ => return Err(ParseError::found(&next, &["EXACT", "CARDINALITY"])),
                };
                self.cardinality(Counted::Measurements, exact)?
            }
            K::Measurements => self.show_measurements()?,
            K::Queries => Show::Queries,
            K::Retention => {
                self.expect_keyword(K::Policies)?;
                Show::RetentionPolicies(self.on()?)
            }
            K::Series => self.show_series()?,
            K::Shard => {
                self.expect_keyword(K::Groups)?;
                Show::ShardGroups
            }
            K::Shards => Show::Shards,
            K::Stats => Show::Stats(self.module()?),
            K::Subscriptions => Show::Subscriptions,
            K::Tag => self.show_tag()?,
            K::Users => Show::Users,
            _ => return Err(ParseError::found(&next, &SHOWN)),
        };
        Ok(Statement::Show(show))
    }

    fn show_field(&mut self) -> Result<Show> {
        let next = self.next();
        match next.token {
            Token::Keyword(K::Key) => {
                let exact = self.exact_cardinality()?;
                self.cardinality(Counted::FieldKeys, exact)
            }
            Token::Keyword(K::Keys) => {
                let mut clauses = self.on_from()?;
                clauses.order = self.order()?;
                self.limits(&mut clauses)?;
                Ok(Show::FieldKeys(clauses))
            }
            _ => Err(ParseError::found(&next, &["KEY", "KEYS"])),
        }
    }

    fn show_tag(&mut self) -> Result<Show> {
        let next = self.next();
        match next.token {
            Token::Keyword(K::Key) => {
                let exact = self.exact_cardinality()?;
                self.cardinality(Counted::TagKeys, exact)
            }
            Token::Keyword(K::Keys) => {
                let mut clauses = self.on_from()?;
                self.where_order_limits(&mut clauses)?;
                clauses.slimit = self.count(K::Slimit)?;
                clauses.soffset = self.count(K::Soffset)?;
                Ok(Show::TagKeys(clauses))
            }
            Token::Keyword(K::Values) => self.show_tag_values(),
            _ => Err(ParseError::found(&next, &["KEY", "KEYS", "VALUES"])),
        }
    }

    fn show_tag_values(&mut self) -> Result<Show> {
        let exact = self.take_keyword(K::Exact);
        if exact {
            self.expect_keyword(K::Cardinality)?;
        }
        let counted = exact || self.take_keyword(K::Cardinality);
        let mut clauses = self.on_from()?;
        let keys = self.key_match()?;
        if counted {
            return self.cardinality_of(Counted::TagValues(keys), exact, clauses);
        }
        self.where_order_limits(&mut clauses)?;
        Ok(Show::TagValues(keys, clauses))
    }

    fn show_series(&mut self) -> Result<Show> {
        let exact = self.take_keyword(K::Exact);
        if self.take_keyword(K::Cardinality) {
            return self.cardinality(Counted::Series, exact);
        }
        let mut clauses = self.on_from()?;
        self.where_order_limits(&mut clauses)?;
        Ok(Show::Series(clauses))
    }

    fn show_measurements(&mut self) -> Result<Show> {
        let mut clauses = ShowClauses { database: self.on()?, ..ShowClauses::default() };
        if self.take_keyword(K::With) {
            self.expect_keyword(K::Measurement)?;
            let next = self.next();
            if !matches!(next.token, Token::Op(BinaryOp::Eq | BinaryOp::EqRegex)) {
                return Err(ParseError::found(&next, &["=", "=~"]));
            }
            clauses.sources.push(self.source(false)?);
        }
        self.where_order_limits(&mut clauses)?;
        Ok(Show::Measurements(clauses))
    }

    /// `[EXACT] CARDINALITY`
    fn exact_cardinality(&mut self) -> Result<bool> {
        let exact = self.take_keyword(K::Exact);
        let next = self.next();
        match next.token {
            Token::Keyword(K::Cardinality) => Ok(exact),
            _ if exact => Err(ParseError::found(&next, &["CARDINALITY"])),
            _ => Err(ParseError::found(&next, &["EXACT", "CARDINALITY"])),
        }
    }

    fn cardinality(&mut self, of: Counted, exact: bool) -> Result<Show> {
        let clauses = self.on_from()?;
        self.cardinality_of(of, exact, clauses)
    }

    fn cardinality_of(&mut self, of: Counted, exact: bool, mut clauses: ShowClauses) -> Result<Show> {
        clauses.condition = self.condition()?;
        let dimensions = self.dimensions()?;
        self.limits(&mut clauses)?;
        Ok(Show::Cardinality(ShowCardinality { of, exact, clauses, dimensions }))
    }

    fn on_from(&mut self) -> Result<ShowClauses> {
        let database = self.on()?;
        let sources: Vec<Source> = if self.take_keyword(K::From) { self.sources()? } else { Vec::new() };
        Ok(ShowClauses { database, sources, ..ShowClauses::default() })
    }

    fn where_order_limits(&mut self, clauses: &mut ShowClauses) -> Result<()> {
        clauses.condition = self.condition()?;
        clauses.order = self.order()?;
        self.limits(clauses)
    }

    fn limits(&mut self, clauses: &mut ShowClauses) -> Result<()> {
        clauses.limit = self.count(K::Limit)?;
        clauses.offset = self.count(K::Offset)?;
        Ok(())
    }

    /// `[ON database]`
    fn on(&mut self) -> Result<Option<String>> {
        if self.take_keyword(K::On) {
            self.ident().map(|name| Some(name).filter(|name| !name.is_empty()))
        } else {
            Ok(None)
        }
    }

    /// `[FOR 'module']`
    fn module(&mut self) -> Result<Option<String>> {
        if self.take_keyword(K::For) { self.string().map(Some) } else { Ok(None) }
    }

    /// `WITH KEY ...`
    fn key_match(&mut self) -> Result<KeyMatch> {
        self.expect_keyword(K::With)?;
        self.expect_keyword(K::Key)?;
        let next = self.next();
        match next.token {
            Token::Keyword(K::In) => {
                self.expect(Token::LeftParen, "(")?;
                let keys = self.idents()?;
                self.expect(Token::RightParen, ")")?;
                Ok(KeyMatch::In(keys))
            }
            Token::Op(BinaryOp::Eq) => self.ident().map(KeyMatch::Equal),
            Token::Op(BinaryOp::NotEq) => self.ident().map(KeyMatch::NotEqual),
            Token::Op(BinaryOp::EqRegex) => self.required_regex().map(KeyMatch::Match),
            Token::Op(BinaryOp::NotEqRegex) => self.required_regex().map(KeyMatch::NotMatch),
            _ => Err(ParseError::found(&next, &["IN", "=", "=~"])),
        }
    }
}

/// What may follow `SHOW`, in the order messages list it.
const SHOWN: [&str; 16] = [
    "CONTINUOUS",
    "DATABASES",
    "DIAGNOSTICS",
    "FIELD",
    "GRANTS",
    "MEASUREMENT",
    "MEASUREMENTS",
    "QUERIES",
    "RETENTION",
    "SERIES",
    "SHARD",
    "SHARDS",
    "STATS",
    "SUBSCRIPTIONS",
    "TAG",
    "USERS",
];
