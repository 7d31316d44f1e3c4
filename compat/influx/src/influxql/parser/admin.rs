//! Statements that change databases, policies, queries, users.

use super::super::duration::DurationLiteral;
use super::super::select::SelectStatement;
use super::super::statement::{
    AlterRetentionPolicy, CreateContinuousQuery, CreateDatabase, CreateRetentionPolicy, CreateSubscription,
    DatabasePolicy, Privilege, Statement,
};
use super::super::token::{Keyword as K, Token};
use super::super::{Expr, Literal};
use super::select::Into;
use super::{ParseError, Parser, Result, parse_duration};

impl Parser<'_> {
    /// What follows `CREATE`.
    pub(super) fn create(&mut self) -> Result<Statement> {
        let next = self.next();
        match next.token {
            Token::Keyword(K::Continuous) => {
                self.expect_keyword(K::Query)?;
                self.create_continuous_query()
            }
            Token::Keyword(K::Database) => self.create_database(),
            Token::Keyword(K::User) => self.create_user(),
            Token::Keyword(K::Retention) => {
                self.expect_keyword(K::Policy)?;
                self.create_retention_policy()
            }
            Token::Keyword(K::Subscription) => self.create_subscription(),
            _ => Err(ParseError::found(&next, &["CONTINUOUS", "DATABASE", "USER", "RETENTION", "SUBSCRIPTION"])),
        }
    }

    /// What follows `DROP`.
    pub(super) fn drop(&mut self) -> Result<Statement> {
        let next = self.next();
        match next.token {
            Token::Keyword(K::Continuous) => {
                self.expect_keyword(K::Query)?;
                let (name, database) = self.name_on()?;
                Ok(Statement::DropContinuousQuery { name, database })
            }
            Token::Keyword(K::Database) => self.ident().map(Statement::DropDatabase),
            Token::Keyword(K::Measurement) => self.ident().map(Statement::DropMeasurement),
            Token::Keyword(K::Retention) => {
                self.expect_keyword(K::Policy)?;
                let (name, database) = self.name_on()?;
                Ok(Statement::DropRetentionPolicy { name, database })
            }
            Token::Keyword(K::Series) => {
                let (sources, condition) = self.points()?;
                Ok(Statement::DropSeries { sources, condition })
            }
            Token::Keyword(K::Shard) => self.unsigned().map(Statement::DropShard),
            Token::Keyword(K::Subscription) => {
                let (name, database) = self.name_on()?;
                let policy = self.dot_ident()?;
                Ok(Statement::DropSubscription { name, database, policy })
            }
            Token::Keyword(K::User) => self.ident().map(Statement::DropUser),
            _ => Err(ParseError::found(
                &next,
                &["CONTINUOUS", "DATABASE", "MEASUREMENT", "RETENTION", "SERIES", "SHARD", "SUBSCRIPTION", "USER"],
            )),
        }
    }

    /// `name ON database`
    fn name_on(&mut self) -> Result<(String, String)> {
        let name = self.ident()?;
        self.expect_keyword(K::On)?;
        Ok((name, self.ident()?))
    }

    /// `.policy`, without a blank before the dot.
    fn dot_ident(&mut self) -> Result<String> {
        let next = self.next_raw();
        if next.token == Token::Dot { self.ident() } else { Err(ParseError::found(&next, &["."])) }
    }

    fn create_database(&mut self) -> Result<Statement> {
        let name = self.ident()?;
        if !self.take_keyword(K::With) {
            return Ok(Statement::CreateDatabase(CreateDatabase { name, policy: None }));
        }
        let next = self.next();
        self.back();
        if !matches!(next.token, Token::Keyword(K::Duration | K::Name | K::Replication | K::Shard)) {
            return Err(ParseError::found(&next, &["DURATION", "NAME", "REPLICATION", "SHARD"]));
        }
        let mut policy = DatabasePolicy::default();
        if self.take_keyword(K::Duration) {
            policy.duration_ns = Some(self.duration()?);
        }
        if self.take_keyword(K::Replication) {
            policy.replication = Some(self.small_integer()?);
        }
        if self.take_keyword(K::Shard) {
            self.expect_keyword(K::Duration)?;
            policy.shard_duration_ns = Some(self.duration()?).filter(|ns| *ns > 0);
        }
        if self.take_keyword(K::Name) {
            policy.name = Some(self.ident()?).filter(|name| !name.is_empty());
        }
        Ok(Statement::CreateDatabase(CreateDatabase { name, policy: Some(policy) }))
    }

    fn create_retention_policy(&mut self) -> Result<Statement> {
        let (name, database) = self.name_on()?;
        self.expect_keyword(K::Duration)?;
        let duration_ns = self.duration()?;
        self.expect_keyword(K::Replication)?;
        let replication = self.small_integer()?;
        let shard_duration_ns =
            if self.take_keyword(K::Shard) { Some(self.shard_duration()?).filter(|ns| *ns > 0) } else { None };
        let default = self.take_keyword(K::Default);
        Ok(Statement::CreateRetentionPolicy(CreateRetentionPolicy {
            name,
            database,
            duration_ns,
            replication,
            shard_duration_ns,
            default,
        }))
    }

    /// What follows `ALTER RETENTION POLICY`.
    pub(super) fn alter_retention_policy(&mut self) -> Result<Statement> {
        let next = self.next();
        let name = match next.token {
            Token::Keyword(K::Default) => "default".to_owned(),
            Token::Ident => next.text.into_owned(),
            _ => return Err(ParseError::found(&next, &["identifier"])),
        };
        self.expect_keyword(K::On)?;
        let mut alter = AlterRetentionPolicy {
            name,
            database: self.ident()?,
            duration_ns: None,
            replication: None,
            shard_duration_ns: None,
            default: false,
        };
        let mut given = Vec::new();
        loop {
            let next = self.next();
            if given.contains(&next.token) {
                let message = format!("found duplicate {} option", next.token.name());
                return Err(ParseError::at(next.pos, message));
            }
            match next.token {
                Token::Keyword(K::Duration) => alter.duration_ns = Some(self.duration()?),
                Token::Keyword(K::Replication) => alter.replication = Some(self.small_integer()?),
                Token::Keyword(K::Shard) => alter.shard_duration_ns = Some(self.shard_duration()?),
                Token::Keyword(K::Default) => alter.default = true,
                _ if given.is_empty() => {
                    return Err(ParseError::found(&next, &["DURATION", "REPLICATION", "SHARD", "DEFAULT"]));
                }
                _ => {
                    self.back();
                    return Ok(Statement::AlterRetentionPolicy(alter));
                }
            }
            given.push(next.token);
        }
    }

    /// `DURATION d`, which must end.
    fn shard_duration(&mut self) -> Result<i64> {
        self.expect_keyword(K::Duration)?;
        let next = self.next();
        if next.token == Token::Keyword(K::Inf) {
            return Err(ParseError::at(next.pos, "invalid duration INF for shard duration"));
        }
        self.back();
        self.duration()
    }

    fn create_continuous_query(&mut self) -> Result<Statement> {
        let (name, database) = self.name_on()?;
        let (every_ns, for_ns) = if self.take_keyword(K::Resample) { self.resample()? } else { (None, None) };
        self.expect_keyword(K::Begin)?;
        self.expect_keyword(K::Select)?;
        let select = self.select(Into::Required)?;
        let interval_ns = group_interval(&select);
        if !select.is_raw() && interval_ns.as_ref().map_or(true, |ns| *ns == 0) {
            // The message names what stands before the END that was looked at.
            self.back();
            self.back();
            let next = self.next();
            let mut expected = vec!["GROUP BY time(...)"];
            expected.extend(interval_ns.err());
            return Err(ParseError::found(&next, &expected));
        }
        self.expect_keyword(K::End)?;
        if let Some(for_ns) = for_ns {
            let least_ns = every_ns.unwrap_or(0).max(interval_ns.map_err(ParseError::new)?);
            if least_ns > for_ns {
                return Err(ParseError::new(format!(
                    "FOR duration must be >= GROUP BY time duration: must be a minimum of {}, got {}",
                    DurationLiteral(least_ns),
                    DurationLiteral(for_ns)
                )));
            }
        }
        let create = CreateContinuousQuery { name, database, every_ns, for_ns, select };
        Ok(Statement::CreateContinuousQuery(Box::new(create)))
    }

    /// `[EVERY d] [FOR d]`, of which one must be there and longer than nothing.
    fn resample(&mut self) -> Result<(Option<i64>, Option<i64>)> {
        let every_ns = if self.take_keyword(K::Every) { self.resample_duration()? } else { None };
        let for_ns = if self.take_keyword(K::For) { self.resample_duration()? } else { None };
        if every_ns.is_none() && for_ns.is_none() {
            return Err(ParseError::found(&self.next(), &["EVERY", "FOR"]));
        }
        Ok((every_ns, for_ns))
    }

    fn resample_duration(&mut self) -> Result<Option<i64>> {
        let next = self.next();
        if next.token != Token::Duration {
            return Err(ParseError::found(&next, &["duration"]));
        }
        match parse_duration(&next.text) {
            Ok(ns) => Ok(Some(ns).filter(|ns| *ns != 0)),
            Err(message) => Err(ParseError::at(next.pos, message)),
        }
    }

    fn create_subscription(&mut self) -> Result<Statement> {
        let (name, database) = self.name_on()?;
        let policy = self.dot_ident()?;
        self.expect_keyword(K::Destinations)?;
        let next = self.next();
        let all = match next.token {
            Token::Keyword(K::All) => true,
            Token::Keyword(K::Any) => false,
            _ => return Err(ParseError::found(&next, &["ALL", "ANY"])),
        };
        let destinations = self.strings()?;
        Ok(Statement::CreateSubscription(CreateSubscription { name, database, policy, all, destinations }))
    }

    fn create_user(&mut self) -> Result<Statement> {
        let name = self.ident()?;
        self.expect_keyword(K::With)?;
        self.expect_keyword(K::Password)?;
        let password = self.string()?;
        let admin = self.take_keyword(K::With);
        if admin {
            self.expect_keyword(K::All)?;
            self.expect_keyword(K::Privileges)?;
        }
        Ok(Statement::CreateUser { name, password, admin })
    }

    /// What follows `SET PASSWORD FOR`.
    pub(super) fn set_password(&mut self) -> Result<Statement> {
        let user = self.ident()?;
        self.expect(Token::Op(super::BinaryOp::Eq), "=")?;
        let password = self.string()?;
        Ok(Statement::SetPassword { user, password })
    }

    /// What follows `KILL QUERY`.
    pub(super) fn kill_query(&mut self) -> Result<Statement> {
        let id = self.unsigned()?;
        let host = if self.take_keyword(K::On) { Some(self.ident()?) } else { None };
        Ok(Statement::KillQuery { id, host: host.filter(|host| !host.is_empty()) })
    }

    /// What follows `GRANT`.
    pub(super) fn grant(&mut self) -> Result<Statement> {
        match self.privilege(K::To)? {
            (privilege, Some(database)) => {
                self.expect_keyword(K::To)?;
                Ok(Statement::Grant { privilege, database, user: self.ident()? })
            }
            (_, None) => self.ident().map(Statement::GrantAdmin),
        }
    }

    /// What follows `REVOKE`.
    pub(super) fn revoke(&mut self) -> Result<Statement> {
        match self.privilege(K::From)? {
            (privilege, Some(database)) => {
                self.expect_keyword(K::From)?;
                Ok(Statement::Revoke { privilege, database, user: self.ident()? })
            }
            (_, None) => self.ident().map(Statement::RevokeAdmin),
        }
    }

    /// `privilege ON database`; or `ALL [PRIVILEGES]` and the word before the user.
    fn privilege(&mut self, before_user: K) -> Result<(Privilege, Option<String>)> {
        let next = self.next();
        let privilege = match next.token {
            Token::Keyword(K::Read) => Privilege::Read,
            Token::Keyword(K::Write) => Privilege::Write,
            Token::Keyword(K::All) => {
                self.take_keyword(K::Privileges);
                Privilege::All
            }
            _ => return Err(ParseError::found(&next, &["READ", "WRITE", "ALL [PRIVILEGES]"])),
        };
        let next = self.next();
        let all = privilege == Privilege::All;
        match next.token {
            Token::Keyword(K::On) => Ok((privilege, Some(self.ident()?))),
            Token::Keyword(keyword) if keyword == before_user && all => Ok((privilege, None)),
            _ if all => Err(ParseError::found(&next, &["ON", before_user.text()])),
            _ => Err(ParseError::found(&next, &["ON"])),
        }
    }
}

/// The interval of `GROUP BY time(...)`, 0 without one.
fn group_interval(select: &SelectStatement) -> std::result::Result<i64, &'static str> {
    for dimension in &select.dimensions {
        let Expr::Call(call) = dimension else { continue };
        if call.name != "time" {
            continue;
        }
        return match call.args.as_slice() {
            [] | [_, _, _, ..] => Err("time dimension expected 1 or 2 arguments"),
            [Expr::Literal(Literal::Duration(ns)), ..] => Ok(*ns),
            _ => Err("time dimension must have duration argument"),
        };
    }
    Ok(0)
}
