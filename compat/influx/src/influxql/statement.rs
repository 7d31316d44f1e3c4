//! All statements but SELECT, and what they are made of.

mod display;

use super::expr::Expr;
use super::regex::Regex;
use super::select::{SelectStatement, SortField, Source};

/// Statements separated by `;`, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// May be empty.
    pub statements: Vec<Statement>,
}

/// A statement. Names are unescaped, durations are nanoseconds and 0 is for ever.
///
/// Written with `Display` a statement reads back as itself, except that passwords are redacted.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `SELECT`
    Select(Box<SelectStatement>),
    /// `EXPLAIN [ANALYZE] SELECT`
    Explain {
        /// What is explained.
        statement: Box<SelectStatement>,
        /// Run it and tell the times.
        analyze: bool,
    },
    /// `DELETE [FROM] [WHERE]`: points of the measurements, by tags and time.
    Delete {
        /// Measurements; empty is all.
        sources: Vec<Source>,
        /// Tags and time.
        condition: Option<Expr>,
    },
    /// `DROP SERIES [FROM] [WHERE]`: whole series, by tags.
    DropSeries {
        /// Measurements; empty is all.
        sources: Vec<Source>,
        /// Tags.
        condition: Option<Expr>,
    },
    /// `DROP MEASUREMENT`
    DropMeasurement(String),
    /// `DROP SHARD`
    DropShard(u64),
    /// `CREATE DATABASE`
    CreateDatabase(CreateDatabase),
    /// `DROP DATABASE`
    DropDatabase(String),
    /// `CREATE RETENTION POLICY`
    CreateRetentionPolicy(CreateRetentionPolicy),
    /// `ALTER RETENTION POLICY`
    AlterRetentionPolicy(AlterRetentionPolicy),
    /// `DROP RETENTION POLICY name ON database`
    DropRetentionPolicy {
        /// The policy.
        name: String,
        /// Its database.
        database: String,
    },
    /// `CREATE CONTINUOUS QUERY`
    CreateContinuousQuery(Box<CreateContinuousQuery>),
    /// `DROP CONTINUOUS QUERY name ON database`
    DropContinuousQuery {
        /// The query.
        name: String,
        /// Its database.
        database: String,
    },
    /// `CREATE SUBSCRIPTION`
    CreateSubscription(CreateSubscription),
    /// `DROP SUBSCRIPTION name ON database.policy`
    DropSubscription {
        /// The subscription.
        name: String,
        /// Its database.
        database: String,
        /// Its retention policy.
        policy: String,
    },
    /// `CREATE USER`
    CreateUser {
        /// The user.
        name: String,
        /// In clear text.
        password: String,
        /// `WITH ALL PRIVILEGES`
        admin: bool,
    },
    /// `DROP USER`
    DropUser(String),
    /// `SET PASSWORD FOR`
    SetPassword {
        /// The user.
        user: String,
        /// In clear text.
        password: String,
    },
    /// `GRANT privilege ON database TO user`
    Grant {
        /// What is granted.
        privilege: Privilege,
        /// On which database.
        database: String,
        /// To whom.
        user: String,
    },
    /// `GRANT ALL PRIVILEGES TO user`: makes an administrator.
    GrantAdmin(String),
    /// `REVOKE privilege ON database FROM user`
    Revoke {
        /// What is revoked.
        privilege: Privilege,
        /// On which database.
        database: String,
        /// From whom.
        user: String,
    },
    /// `REVOKE ALL PRIVILEGES FROM user`
    RevokeAdmin(String),
    /// `KILL QUERY id [ON host]`
    KillQuery {
        /// As `SHOW QUERIES` numbers it.
        id: u64,
        /// The server, or `None` for this one.
        host: Option<String>,
    },
    /// `SHOW ...`
    Show(Show),
}

/// What a user may do with a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Query.
    Read,
    /// Write points.
    Write,
    /// Both.
    All,
}

/// `CREATE DATABASE name [WITH ...]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateDatabase {
    /// The database.
    pub name: String,
    /// The first policy if `WITH` was given; otherwise `autogen` that keeps for ever.
    pub policy: Option<DatabasePolicy>,
}

/// The policy created with a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabasePolicy {
    /// `NAME`
    pub name: Option<String>,
    /// `DURATION`
    pub duration_ns: Option<i64>,
    /// `REPLICATION`
    pub replication: Option<u32>,
    /// `SHARD DURATION`
    pub shard_duration_ns: Option<i64>,
}

/// `CREATE RETENTION POLICY`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRetentionPolicy {
    /// The policy.
    pub name: String,
    /// Its database.
    pub database: String,
    /// How long points live.
    pub duration_ns: i64,
    /// Copies; kept, not used.
    pub replication: u32,
    /// `SHARD DURATION`, or `None` for the one that suits the duration.
    pub shard_duration_ns: Option<i64>,
    /// Becomes the default policy.
    pub default: bool,
}

/// `ALTER RETENTION POLICY`; what is `None` stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterRetentionPolicy {
    /// The policy.
    pub name: String,
    /// Its database.
    pub database: String,
    /// How long points live.
    pub duration_ns: Option<i64>,
    /// Copies.
    pub replication: Option<u32>,
    /// `SHARD DURATION`
    pub shard_duration_ns: Option<i64>,
    /// Becomes the default policy.
    pub default: bool,
}

/// `CREATE CONTINUOUS QUERY name ON database [RESAMPLE ...] BEGIN select END`
#[derive(Clone, Debug, PartialEq)]
pub struct CreateContinuousQuery {
    /// The query.
    pub name: String,
    /// Its database.
    pub database: String,
    /// `EVERY`
    pub every_ns: Option<i64>,
    /// `FOR`
    pub for_ns: Option<i64>,
    /// Has a target; is raw or grouped by time.
    pub select: SelectStatement,
}

/// `CREATE SUBSCRIPTION name ON database.policy DESTINATIONS ALL|ANY 'url', ...`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSubscription {
    /// The subscription.
    pub name: String,
    /// Its database.
    pub database: String,
    /// Its retention policy.
    pub policy: String,
    /// To every destination (`ALL`), not to one of them (`ANY`).
    pub all: bool,
    /// URLs; at least one.
    pub destinations: Vec<String>,
}

/// `SHOW ...`
#[derive(Clone, Debug, PartialEq)]
pub enum Show {
    /// `SHOW CONTINUOUS QUERIES`
    ContinuousQueries,
    /// `SHOW DATABASES`
    Databases,
    /// `SHOW DIAGNOSTICS [FOR 'module']`
    Diagnostics(Option<String>),
    /// `SHOW FIELD KEYS`; has no condition.
    FieldKeys(ShowClauses),
    /// `SHOW GRANTS FOR user`
    Grants(String),
    /// `SHOW MEASUREMENTS`; its `sources` are the one after `WITH MEASUREMENT`.
    Measurements(ShowClauses),
    /// `SHOW QUERIES`
    Queries,
    /// `SHOW RETENTION POLICIES [ON database]`
    RetentionPolicies(Option<String>),
    /// `SHOW SERIES`
    Series(ShowClauses),
    /// `SHOW SHARD GROUPS`
    ShardGroups,
    /// `SHOW SHARDS`
    Shards,
    /// `SHOW STATS [FOR 'module']`
    Stats(Option<String>),
    /// `SHOW SUBSCRIPTIONS`
    Subscriptions,
    /// `SHOW TAG KEYS`
    TagKeys(ShowClauses),
    /// `SHOW TAG VALUES`
    TagValues(KeyMatch, ShowClauses),
    /// `SHOW USERS`
    Users,
    /// `SHOW ... [EXACT] CARDINALITY`
    Cardinality(ShowCardinality),
}

/// The clauses SHOW statements share; those a statement has not are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShowClauses {
    /// `ON`, or `None` for the database of the request.
    pub database: Option<String>,
    /// `FROM`; empty is all measurements.
    pub sources: Vec<Source>,
    /// `WHERE`
    pub condition: Option<Expr>,
    /// `ORDER BY`
    pub order: Option<SortField>,
    /// `LIMIT`; 0 is all.
    pub limit: u64,
    /// `OFFSET`
    pub offset: u64,
    /// `SLIMIT`; 0 is all.
    pub slimit: u64,
    /// `SOFFSET`
    pub soffset: u64,
}

/// `SHOW ... [EXACT] CARDINALITY`
#[derive(Clone, Debug, PartialEq)]
pub struct ShowCardinality {
    /// What is counted.
    pub of: Counted,
    /// `EXACT`: count, do not estimate.
    pub exact: bool,
    /// `ON`, `FROM`, `WHERE`, `LIMIT`, `OFFSET`
    pub clauses: ShowClauses,
    /// `GROUP BY`
    pub dimensions: Vec<Expr>,
}

/// What a cardinality is of.
#[derive(Clone, Debug, PartialEq)]
pub enum Counted {
    /// Series.
    Series,
    /// Measurements.
    Measurements,
    /// Tag keys.
    TagKeys,
    /// Values of the tag keys that match.
    TagValues(KeyMatch),
    /// Field keys.
    FieldKeys,
}

/// `WITH KEY ...`
#[derive(Clone, Debug, PartialEq)]
pub enum KeyMatch {
    /// `= key`
    Equal(String),
    /// `!= key`
    NotEqual(String),
    /// `=~ /pattern/`
    Match(Regex),
    /// `!~ /pattern/`
    NotMatch(Regex),
    /// `IN (key, ...)`
    In(Vec<String>),
}
