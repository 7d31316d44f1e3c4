//! Statements written back, as 1.x writes them.

use super::super::duration::DurationLiteral;
use super::super::expr::{Expr, List};
use super::super::select::{Measurement, MeasurementName, Source};
use super::super::token::{Ident, Quoted};
use super::{
    AlterRetentionPolicy, Counted, CreateContinuousQuery, CreateDatabase, CreateRetentionPolicy, CreateSubscription,
    KeyMatch, Privilege, Query, Show, ShowCardinality, ShowClauses, Statement,
};
use std::fmt;

/// What stands in place of a password.
const REDACTED: &str = "[REDACTED]";

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, statement) in self.statements.iter().enumerate() {
            write!(f, "{}{statement}", if at > 0 { ";\n" } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Select(statement) => write!(f, "{statement}"),
            Self::Explain { statement, analyze } => {
                write!(f, "EXPLAIN {}{statement}", if *analyze { "ANALYZE " } else { "" })
            }
            Self::Delete { sources, condition } => write_from_where(f, "DELETE", sources, condition.as_ref()),
            Self::DropSeries { sources, condition } => write_from_where(f, "DROP SERIES", sources, condition.as_ref()),
            Self::DropMeasurement(name) => write!(f, "DROP MEASUREMENT {}", Ident(name)),
            Self::DropShard(id) => write!(f, "DROP SHARD {id}"),
            Self::CreateDatabase(create) => write!(f, "{create}"),
            Self::DropDatabase(name) => write!(f, "DROP DATABASE {}", Ident(name)),
            Self::CreateRetentionPolicy(create) => write!(f, "{create}"),
            Self::AlterRetentionPolicy(alter) => write!(f, "{alter}"),
            Self::DropRetentionPolicy { name, database } => {
                write!(f, "DROP RETENTION POLICY {} ON {}", Ident(name), Ident(database))
            }
            Self::CreateContinuousQuery(create) => write!(f, "{create}"),
            Self::DropContinuousQuery { name, database } => {
                write!(f, "DROP CONTINUOUS QUERY {} ON {}", Ident(name), Ident(database))
            }
            Self::CreateSubscription(create) => write!(f, "{create}"),
            Self::DropSubscription { name, database, policy } => {
                write!(f, "DROP SUBSCRIPTION {} ON {}.{}", Ident(name), Ident(database), Ident(policy))
            }
            Self::CreateUser { name, admin, .. } => {
                let rights = if *admin { " WITH ALL PRIVILEGES" } else { "" };
                write!(f, "CREATE USER {} WITH PASSWORD {REDACTED}{rights}", Ident(name))
            }
            Self::DropUser(name) => write!(f, "DROP USER {}", Ident(name)),
            Self::SetPassword { user, .. } => write!(f, "SET PASSWORD FOR {} = {REDACTED}", Ident(user)),
            Self::Grant { privilege, database, user } => {
                write!(f, "GRANT {privilege} ON {} TO {}", Ident(database), Ident(user))
            }
            Self::GrantAdmin(user) => write!(f, "GRANT ALL PRIVILEGES TO {}", Ident(user)),
            Self::Revoke { privilege, database, user } => {
                write!(f, "REVOKE {privilege} ON {} FROM {}", Ident(database), Ident(user))
            }
            Self::RevokeAdmin(user) => write!(f, "REVOKE ALL PRIVILEGES FROM {}", Ident(user)),
            Self::KillQuery { id, host } => {
                write!(f, "KILL QUERY {id}")?;
                write_ident(f, " ON ", host.as_deref())
            }
            Self::Show(show) => write!(f, "SHOW {show}"),
        }
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::All => "ALL PRIVILEGES",
        })
    }
}

impl fmt::Display for CreateDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CREATE DATABASE {}", Ident(&self.name))?;
        let Some(policy) = &self.policy else { return Ok(()) };
        f.write_str(" WITH")?;
        write_policy(f, policy.duration_ns, policy.replication, policy.shard_duration_ns)?;
        write_ident(f, " NAME ", policy.name.as_deref())
    }
}

impl fmt::Display for CreateRetentionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CREATE RETENTION POLICY {} ON {}", Ident(&self.name), Ident(&self.database))?;
        write_policy(f, Some(self.duration_ns), Some(self.replication), self.shard_duration_ns)?;
        f.write_str(if self.default { " DEFAULT" } else { "" })
    }
}

impl fmt::Display for AlterRetentionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ALTER RETENTION POLICY {} ON {}", Ident(&self.name), Ident(&self.database))?;
        write_policy(f, self.duration_ns, self.replication, self.shard_duration_ns)?;
        f.write_str(if self.default { " DEFAULT" } else { "" })
    }
}

impl fmt::Display for CreateContinuousQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CREATE CONTINUOUS QUERY {} ON {} ", Ident(&self.name), Ident(&self.database))?;
        if self.every_ns.is_some() || self.for_ns.is_some() {
            f.write_str("RESAMPLE ")?;
        }
        if let Some(every_ns) = self.every_ns {
            write!(f, "EVERY {} ", DurationLiteral(every_ns))?;
        }
        if let Some(for_ns) = self.for_ns {
            write!(f, "FOR {} ", DurationLiteral(for_ns))?;
        }
        write!(f, "BEGIN {} END", self.select)
    }
}

impl fmt::Display for CreateSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, database, policy) = (Ident(&self.name), Ident(&self.database), Ident(&self.policy));
        let mode = if self.all { "ALL" } else { "ANY" };
        let destinations: Vec<_> = self.destinations.iter().map(|url| Quoted(url)).collect();
        write!(f, "CREATE SUBSCRIPTION {name} ON {database}.{policy} DESTINATIONS {mode} {}", List(&destinations))
    }
}

impl fmt::Display for Show {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContinuousQueries => f.write_str("CONTINUOUS QUERIES"),
            Self::Databases => f.write_str("DATABASES"),
            Self::Diagnostics(module) => write_module(f, "DIAGNOSTICS", module.as_deref()),
            Self::FieldKeys(clauses) => write!(f, "FIELD KEYS{clauses}"),
            Self::Grants(user) => write!(f, "GRANTS FOR {}", Ident(user)),
            Self::Measurements(clauses) => {
                f.write_str("MEASUREMENTS")?;
                write_ident(f, " ON ", clauses.database.as_deref())?;
                if let Some(source) = clauses.sources.first() {
                    let regex =
                        matches!(source, Source::Measurement(Measurement { name: MeasurementName::Regex(_), .. }));
                    write!(f, " WITH MEASUREMENT {} {source}", if regex { "=~" } else { "=" })?;
                }
                clauses.write_after_from(f, &[])
            }
            Self::Queries => f.write_str("QUERIES"),
            Self::RetentionPolicies(database) => {
                f.write_str("RETENTION POLICIES")?;
                write_ident(f, " ON ", database.as_deref())
            }
            Self::Series(clauses) => write!(f, "SERIES{clauses}"),
            Self::ShardGroups => f.write_str("SHARD GROUPS"),
            Self::Shards => f.write_str("SHARDS"),
            Self::Stats(module) => write_module(f, "STATS", module.as_deref()),
            Self::Subscriptions => f.write_str("SUBSCRIPTIONS"),
            Self::TagKeys(clauses) => write!(f, "TAG KEYS{clauses}"),
            Self::TagValues(keys, clauses) => {
                f.write_str("TAG VALUES")?;
                clauses.write_on_from(f)?;
                write!(f, " WITH KEY {keys}")?;
                clauses.write_after_from(f, &[])
            }
            Self::Users => f.write_str("USERS"),
            Self::Cardinality(show) => write!(f, "{show}"),
        }
    }
}

impl fmt::Display for ShowCardinality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.of {
            Counted::Series => "SERIES",
            Counted::Measurements => "MEASUREMENT",
            Counted::TagKeys => "TAG KEY",
            Counted::TagValues(_) => "TAG VALUES",
            Counted::FieldKeys => "FIELD KEY",
        })?;
        f.write_str(if self.exact { " EXACT CARDINALITY" } else { " CARDINALITY" })?;
        self.clauses.write_on_from(f)?;
        if let Counted::TagValues(keys) = &self.of {
            write!(f, " WITH KEY {keys}")?;
        }
        self.clauses.write_after_from(f, &self.dimensions)
    }
}

impl fmt::Display for ShowClauses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_on_from(f)?;
        self.write_after_from(f, &[])
    }
}

impl ShowClauses {
    fn write_on_from(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_ident(f, " ON ", self.database.as_deref())?;
        if self.sources.is_empty() { Ok(()) } else { write!(f, " FROM {}", List(&self.sources)) }
    }

    fn write_after_from(&self, f: &mut fmt::Formatter<'_>, dimensions: &[Expr]) -> fmt::Result {
        if let Some(condition) = &self.condition {
            write!(f, " WHERE {condition}")?;
        }
        if !dimensions.is_empty() {
            write!(f, " GROUP BY {}", List(dimensions))?;
        }
        if let Some(order) = &self.order {
            write!(f, " ORDER BY {order}")?;
        }
        for (word, count) in
            [("LIMIT", self.limit), ("OFFSET", self.offset), ("SLIMIT", self.slimit), ("SOFFSET", self.soffset)]
        {
            if count > 0 {
                write!(f, " {word} {count}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for KeyMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(key) => write!(f, "= {}", Ident(key)),
            Self::NotEqual(key) => write!(f, "!= {}", Ident(key)),
            Self::Match(regex) => write!(f, "=~ {regex}"),
            Self::NotMatch(regex) => write!(f, "!~ {regex}"),
            Self::In(keys) => {
                let keys: Vec<_> = keys.iter().map(|key| Ident(key)).collect();
                write!(f, "IN ({})", List(&keys))
            }
        }
    }
}

fn write_from_where(
    f: &mut fmt::Formatter<'_>,
    verb: &str,
    sources: &[Source],
    condition: Option<&Expr>,
) -> fmt::Result {
    f.write_str(verb)?;
    if !sources.is_empty() {
        write!(f, " FROM {}", List(sources))?;
    }
    match condition {
        Some(condition) => write!(f, " WHERE {condition}"),
        None => Ok(()),
    }
}

fn write_ident(f: &mut fmt::Formatter<'_>, before: &str, name: Option<&str>) -> fmt::Result {
    match name {
        Some(name) => write!(f, "{before}{}", Ident(name)),
        None => Ok(()),
    }
}

fn write_module(f: &mut fmt::Formatter<'_>, what: &str, module: Option<&str>) -> fmt::Result {
    f.write_str(what)?;
    match module {
        Some(module) => write!(f, " FOR {}", Quoted(module)),
        None => Ok(()),
    }
}

fn write_policy(
    f: &mut fmt::Formatter<'_>,
    duration_ns: Option<i64>,
    replication: Option<u32>,
    shard_duration_ns: Option<i64>,
) -> fmt::Result {
    if let Some(duration_ns) = duration_ns {
        write!(f, " DURATION {}", DurationLiteral(duration_ns))?;
    }
    if let Some(replication) = replication {
        write!(f, " REPLICATION {replication}")?;
    }
    match shard_duration_ns {
        Some(shard_duration_ns) => write!(f, " SHARD DURATION {}", DurationLiteral(shard_duration_ns)),
        None => Ok(()),
    }
}
