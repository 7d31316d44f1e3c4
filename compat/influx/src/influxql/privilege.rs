//! What a user must be allowed to do for a statement.

use super::select::{SelectStatement, Source};
use super::statement::{Privilege, Show, ShowCardinality, Statement};
use std::borrow::Cow;
use std::sync::LazyLock;

/// One thing a user must be allowed to do. A statement may need several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required<'a> {
    /// Be an administrator.
    Admin,
    /// Have the privilege on the database; `None` is that of the request.
    On(Option<&'a str>, Privilege),
}

impl Statement {
    /// What a user must be allowed to do; nothing for `SHOW DATABASES`, which shows each user his
    /// own.
    pub fn required_privileges(&self) -> Vec<Required<'_>> {
        match self {
            Self::Select(statement) | Self::Explain { statement, .. } => {
                let mut required = Vec::new();
                select(statement, None, &mut required);
                required
            }
            Self::Delete { .. } | Self::DropSeries { .. } => vec![Required::On(None, Privilege::Write)],
            Self::DropRetentionPolicy { database, .. } | Self::DropContinuousQuery { database, .. } => {
                vec![Required::On(Some(database), Privilege::Write)]
            }
            // Stricter than 1.x, which lets a reader write through a continuous query.
            Self::CreateContinuousQuery(create) => {
                let mut required = Vec::new();
                select(&create.select, Some(&create.database), &mut required);
                required
            }
            Self::Show(show) => show.required_privileges(),
            Self::DropMeasurement(_)
            | Self::DropShard(_)
            | Self::CreateDatabase(_)
            | Self::DropDatabase(_)
            | Self::CreateRetentionPolicy(_)
            | Self::AlterRetentionPolicy(_)
            | Self::CreateSubscription(_)
            | Self::DropSubscription { .. }
            | Self::CreateUser { .. }
            | Self::DropUser(_)
            | Self::SetPassword { .. }
            | Self::Grant { .. }
            | Self::GrantAdmin(_)
            | Self::Revoke { .. }
            | Self::RevokeAdmin(_)
            | Self::KillQuery { .. } => vec![Required::Admin],
        }
    }

    /// True if the statement only reads, so that a GET request may carry it.
    pub fn is_read_only(&self) -> bool {
        match self {
            Self::Select(statement) => statement.target.is_none(),
            Self::Explain { statement, analyze } => !analyze || statement.target.is_none(),
            Self::Show(_) => true,
            _ => false,
        }
    }
}

impl Show {
    fn required_privileges(&self) -> Vec<Required<'_>> {
        let read = |database| vec![Required::On(database, Privilege::Read)];
        let clauses = match self {
            Self::Databases => return Vec::new(),
            Self::ContinuousQueries | Self::Queries => return read(None),
            Self::RetentionPolicies(database) => return read(database.as_deref()),
            Self::FieldKeys(clauses)
            | Self::Measurements(clauses)
            | Self::Series(clauses)
            | Self::TagKeys(clauses)
            | Self::TagValues(_, clauses)
            | Self::Cardinality(ShowCardinality { clauses, .. }) => clauses,
            Self::Diagnostics(_)
            | Self::Grants(_)
            | Self::ShardGroups
            | Self::Shards
            | Self::Stats(_)
            | Self::Subscriptions
            | Self::Users => return vec![Required::Admin],
        };
        // 1.x asks for `ON` only and so shows what is in other databases; here each source counts.
        let mut required = Vec::new();
        sources(&clauses.sources, clauses.database.as_deref(), &mut required);
        if required.is_empty() { read(clauses.database.as_deref()) } else { required }
    }
}

fn select<'a>(statement: &'a SelectStatement, default: Option<&'a str>, required: &mut Vec<Required<'a>>) {
    sources(&statement.sources, default, required);
    if let Some(target) = &statement.target {
        required.push(Required::On(target.database.as_deref().or(default), Privilege::Write));
    }
}

fn sources<'a>(sources: &'a [Source], default: Option<&'a str>, required: &mut Vec<Required<'a>>) {
    for source in sources {
        match source {
            Source::Measurement(measurement) => {
                required.push(Required::On(measurement.database.as_deref().or(default), Privilege::Read));
            }
            Source::Subquery(statement) => select(statement, default, required),
        }
    }
}

/// Takes passwords out of query text that may not be well formed, for logs.
///
/// What follows `PASSWORD FOR user =` or `WITH PASSWORD` is replaced by `[REDACTED]`.
pub fn redact(query: &str) -> Cow<'_, str> {
    static PASSWORD: LazyLock<Option<regex::Regex>> = LazyLock::new(|| {
        let secret = r#"('(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?|\S+)"#;
        regex::Regex::new(&format!(r"(?is)(password\s+for[^=]*=\s*|with\s+password\s+){secret}")).ok()
    });
    match &*PASSWORD {
        Some(password) => password.replace_all(query, "${1}[REDACTED]"),
        None => Cow::Borrowed("[REDACTED]"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_statement;
    use super::*;

    #[test]
    fn statements_need_privileges() {
        use Privilege::{Read, Write};
        let on = Required::On;
        for (text, expected) in [
            ("SELECT v FROM m", vec![on(None, Read)]),
            ("SELECT v FROM a..m, (SELECT v FROM b..m)", vec![on(Some("a"), Read), on(Some("b"), Read)]),
            ("SELECT v INTO b..t FROM a..m", vec![on(Some("a"), Read), on(Some("b"), Write)]),
            ("SELECT v FROM (SELECT v INTO b..t FROM m)", vec![on(None, Read), on(Some("b"), Write)]),
            ("DELETE FROM m", vec![on(None, Write)]),
            ("DROP MEASUREMENT m", vec![Required::Admin]),
            ("SHOW DATABASES", vec![]),
            ("SHOW SERIES ON d", vec![on(Some("d"), Read)]),
            ("SHOW SERIES EXACT CARDINALITY ON d FROM a..m, n", vec![on(Some("a"), Read), on(Some("d"), Read)]),
            ("SHOW SERIES EXACT CARDINALITY", vec![on(None, Read)]),
            ("SHOW SERIES FROM a..m", vec![on(Some("a"), Read)]),
            (
                "CREATE CONTINUOUS QUERY q ON d BEGIN SELECT v INTO t FROM a..m END",
                vec![on(Some("a"), Read), on(Some("d"), Write)],
            ),
            ("SHOW USERS", vec![Required::Admin]),
            ("DROP RETENTION POLICY p ON d", vec![on(Some("d"), Write)]),
        ] {
            assert_eq!(parse_statement(text).unwrap().required_privileges(), expected, "{text}");
        }
    }

    #[test]
    fn only_reading_statements_may_come_by_get() {
        for (text, expected) in [
            ("SELECT v FROM m", true),
            ("SELECT v INTO t FROM m", false),
            ("SHOW USERS", true),
            ("EXPLAIN SELECT v FROM m", true),
            ("DELETE FROM m", false),
            ("CREATE DATABASE d", false),
        ] {
            assert_eq!(parse_statement(text).unwrap().is_read_only(), expected, "{text}");
        }
    }

    #[test]
    fn passwords_do_not_reach_logs() {
        for (query, expected) in [
            ("create user u with password 'a b'", "create user u with password [REDACTED]"),
            (
                r"CREATE USER u WITH PASSWORD 'a\'b' WITH ALL PRIVILEGES",
                "CREATE USER u WITH PASSWORD [REDACTED] WITH ALL PRIVILEGES",
            ),
            ("set password for u = 'x'; SELECT v FROM m", "set password for u = [REDACTED]; SELECT v FROM m"),
            ("SET PASSWORD FOR u='x'", "SET PASSWORD FOR u=[REDACTED]"),
            ("CREATE USER u WITH PASSWORD \"x y", "CREATE USER u WITH PASSWORD [REDACTED]"),
            ("CREATE USER u WITH PASSWORD bare", "CREATE USER u WITH PASSWORD [REDACTED]"),
            ("SELECT v FROM m", "SELECT v FROM m"),
        ] {
            assert_eq!(redact(query), expected, "{query}");
        }
    }
}
