//! Whether a caller may have a query carried out: each of its statements says what it needs, in 1.x's words.

use rhythmite_influx::influxql::{Privilege, Query, Required, Statement};

use crate::api::guard::NO_ADMIN;
use crate::auth::Caller;
use crate::catalog::Rights;

/// Checks all statements before the first is carried out. `database` is that of statements that name none.
///
/// # Errors
/// Why not, without passwords: a statement is written with `[REDACTED]` in their place.
pub(super) fn authorize(caller: &Caller, query: &Query, database: &str) -> Result<(), String> {
    if caller.is_admin() {
        return Ok(());
    }
    if *caller == Caller::Nobody {
        // Only this statement, whatever else the query has: the rest is for who it makes.
        return match query.statements.as_slice() {
            [Statement::CreateUser { admin: true, .. }] => Ok(()),
            _ => Err(NO_ADMIN.to_owned()),
        };
    }
    let denied = |statement: &Statement, needs: String| {
        Err(format!("{} not authorized to execute statement '{statement}', requires {needs}", caller.name()))
    };
    for statement in &query.statements {
        for required in statement.required_privileges() {
            match required {
                Required::Admin => return denied(statement, "admin privilege".to_owned()),
                Required::On(named, privilege) => {
                    let database = named.unwrap_or(database);
                    let (asked, word) = match privilege {
                        Privilege::Read => (Rights::READ, "READ"),
                        Privilege::Write => (Rights::WRITE, "WRITE"),
                        Privilege::All => (Rights::ALL, "ALL PRIVILEGES"),
                    };
                    if !caller.may(asked, database) {
                        return denied(statement, format!("{word} on {database}"));
                    }
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rhythmite_influx::influxql::{Params, parse_query};

    use super::*;
    use crate::catalog::{PasswordHash, User};

    fn user(is_admin: bool, grants: &[(&str, Rights)]) -> Caller {
        Caller::User(Arc::new(User {
            id: 1,
            name: "ada".to_owned(),
            password: PasswordHash(String::new()),
            is_admin,
            grants: grants.iter().map(|(name, rights)| ((*name).to_owned(), *rights)).collect(),
        }))
    }

    #[test]
    fn every_statement_is_asked_for() {
        let reader = user(false, &[("d", Rights::READ), ("e", Rights::WRITE)]);
        let admin = user(true, &[]);
        let none = user(false, &[]);
        let no = |statement: &str, needs: &str| {
            Some(format!("ada not authorized to execute statement '{statement}', requires {needs}"))
        };
        for (caller, database, query, expected) in [
            (&admin, "", "DROP DATABASE d; CREATE USER u WITH PASSWORD 'p'", None),
            (&Caller::Anybody, "", "DROP DATABASE d", None),
            (&reader, "d", "SELECT v FROM m", None),
            (&reader, "e", "SELECT v FROM d..m", None),
            (&reader, "e", "SELECT v FROM m", no("SELECT v FROM m", "READ on e")),
            (&reader, "", "SELECT v FROM m", no("SELECT v FROM m", "READ on ")),
            (&reader, "d", "SELECT v FROM m; SELECT v FROM x..m", no("SELECT v FROM x..m", "READ on x")),
            (&reader, "d", "SELECT v FROM (SELECT v FROM x..m)", no("SELECT v FROM (SELECT v FROM x..m)", "READ on x")),
            (&reader, "d", "SELECT v INTO e..t FROM m", None),
            (&reader, "d", "SELECT v INTO t FROM m", no("SELECT v INTO t FROM m", "WRITE on d")),
            (&reader, "d", "DELETE FROM m", no("DELETE FROM m", "WRITE on d")),
            (&reader, "e", "DELETE FROM m", None),
            (&reader, "d", "SHOW DATABASES", None),
            (&none, "d", "SHOW DATABASES", None),
            (&none, "d", "SHOW MEASUREMENTS", no("SHOW MEASUREMENTS", "READ on d")),
            (&reader, "d", "SHOW MEASUREMENTS ON e", no("SHOW MEASUREMENTS ON e", "READ on e")),
            (&reader, "d", "SHOW USERS", no("SHOW USERS", "admin privilege")),
            (&reader, "d", "CREATE DATABASE x", no("CREATE DATABASE x", "admin privilege")),
            (
                &reader,
                "d",
                "SET PASSWORD FOR ada = 'secret'",
                no("SET PASSWORD FOR ada = [REDACTED]", "admin privilege"),
            ),
            (&Caller::Nobody, "", "CREATE USER a WITH PASSWORD 'p' WITH ALL PRIVILEGES", None),
            (&Caller::Nobody, "", "CREATE USER a WITH PASSWORD 'p'", Some(NO_ADMIN.to_owned())),
            (
                &Caller::Nobody,
                "",
                "CREATE USER a WITH PASSWORD 'p' WITH ALL PRIVILEGES; DROP DATABASE d",
                Some(NO_ADMIN.to_owned()),
            ),
            (&Caller::Nobody, "", "SHOW DATABASES", Some(NO_ADMIN.to_owned())),
        ] {
            let parsed = parse_query(query, &Params::default()).unwrap();
            assert_eq!(authorize(caller, &parsed, database).err(), expected, "{query} on {database:?}");
        }
    }
}
