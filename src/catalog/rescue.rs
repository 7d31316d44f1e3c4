//! A catalogue that nobody has open: whether it is whole, and one made again from the copy of its rows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rhythmite_engine::manifest::State;
use rhythmite_env::Env;
use rhythmite_model::{Error, ErrorKind, Result};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnection, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::copy::{self, Copied};
use super::databases::{self, Databases};
use super::store::{failed, options};
use super::{copy_in, files, migrations, path_in};

/// Faults of SQLite's integrity check that are told.
const FAULTS_MAX: u32 = 20;

/// What was found of a catalogue.
#[derive(Debug)]
pub struct Inspection {
    /// What is wrong with it.
    pub faults: Vec<String>,
    /// What is in it, if it can be read.
    pub contents: Option<(Databases, State)>,
    /// What is wrong with the copy of its rows.
    pub copy_fault: Option<String>,
}

/// A catalogue made again.
#[derive(Debug)]
pub struct Rescued {
    /// It lies here, whole and synced, until it is renamed.
    pub path: PathBuf,
    /// What is in it.
    pub contents: (Databases, State),
}

/// Whether a data directory has data but no catalogue.
///
/// # Errors
/// `Unavailable` for the disk.
pub fn is_lost(env: &Env, data_dir: &Path) -> Result<bool> {
    match env.fs.file_len(&path_in(data_dir)) {
        // SQLite takes a file without a byte for a new one.
        Ok(0) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Ok(_) => return Ok(false),
        Err(e) => return Err(Error::from(e).at(path_in(data_dir).display())),
    }
    let any = |dir: &str| match env.fs.list(&data_dir.join(dir)) {
        Ok(paths) => Ok(!paths.is_empty()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::from(e).at(data_dir.join(dir).display())),
    };
    Ok(any("data")? || any("names")?)
}

/// Looks at the catalogue of a stopped server and at the copy of its rows; changes nothing.
///
/// # Errors
/// `Unavailable` for the disk; `Corrupt` when it was written by another version.
pub async fn inspect(env: &Env, data_dir: &Path) -> Result<Inspection> {
    let copy_fault = match copy::read(&*env.fs, &copy_in(data_dir)) {
        Ok(_) => None,
        Err(e) if e.kind() == ErrorKind::Unavailable => return Err(e),
        Err(e) => Some(e.message().to_owned()),
    };
    let mut found = Inspection { faults: Vec::new(), contents: None, copy_fault };
    if is_lost(env, data_dir)? {
        found.faults.push("is missing".to_owned());
        return Ok(found);
    }
    // Whatever is wrong from here on, the file is what is wrong.
    let mut connection = match options(&path_in(data_dir))?.create_if_missing(false).connect().await {
        Ok(connection) => connection,
        Err(e) => {
            found.faults.push(e.to_string());
            return Ok(found);
        }
    };
    match faults(&mut connection).await {
        Ok(faults) => found.faults = faults,
        Err(e) => found.faults.push(e.to_string()),
    }
    if found.faults.is_empty() {
        match applied(&mut connection).await {
            Ok(count) if count != migrations::COUNT => {
                return Err(Error::corrupt(format!(
                    "{} is of another version ({count} migrations, this program has {}): start the server once",
                    path_in(data_dir).display(),
                    migrations::COUNT
                )));
            }
            Ok(_) => match contents(&mut connection).await {
                Ok(contents) => found.contents = Some(contents),
                Err(e) => found.faults.push(e.to_string()),
            },
            Err(e) => found.faults.push(e.to_string()),
        }
    }
    drop(connection.close().await);
    Ok(found)
}

/// Makes the catalogue again from the copy of its rows, under another name; the caller moves what is left of the old one
/// away and then renames the new.
///
/// # Errors
/// `NotFound` without a copy, `Corrupt` for a damaged one, `Unavailable` for the disk.
pub async fn rebuild(env: &Env, data_dir: &Path) -> Result<Rescued> {
    let copied = copy::read(&*env.fs, &copy_in(data_dir))?;
    if copied.migrations > migrations::COUNT {
        return Err(Error::corrupt("the copy of the catalogue was written by a later version"));
    }
    let path = data_dir.join("catalog.rescued");
    for left in ["", "-journal", "-wal", "-shm"] {
        match env.fs.remove(&data_dir.join(format!("catalog.rescued{left}"))) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::from(e).at(path.display())),
            _ => {}
        }
    }
    let options = options(&path)?.create_if_missing(true).foreign_keys(false).synchronous(SqliteSynchronous::Full);
    let mut connection = options.connect().await.map_err(failed)?;
    migrations::run_first(&mut connection, copied.migrations).await?;
    let mut transaction = connection.begin().await.map_err(failed)?;
    fill(&mut transaction, copied).await?;
    transaction.commit().await.map_err(failed)?;
    migrations::run(&mut connection).await?;
    let faults = faults(&mut connection).await.map_err(failed)?;
    if let Some(fault) = faults.first() {
        return Err(Error::corrupt(format!("the copy of the catalogue contradicts itself: {fault}")));
    }
    let contents = contents(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(Rescued { path, contents })
}

/// Puts the copy's rows in place of those that the migrations made.
async fn fill(connection: &mut SqliteConnection, copied: Copied) -> Result<()> {
    let unknown = |what: &str| Error::corrupt(format!("the copy of the catalogue has {what}, this program does not"));
    let named = "SELECT name FROM sqlite_master WHERE type = 'table'";
    let known: Vec<String> = sqlx::query_scalar(named).fetch_all(&mut *connection).await.map_err(failed)?;
    for (table, (columns, rows)) in copied.tables {
        // Names are put into statements: they must be the tables' own.
        if !known.contains(&table) {
            return Err(unknown(&format!("table {table:?}")));
        }
        let there = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)").bind(&table);
        let there: Vec<String> = there.fetch_all(&mut *connection).await.map_err(failed)?;
        if let Some(column) = columns.iter().find(|column| !there.contains(column)) {
            return Err(unknown(&format!("column {column:?} of table {table}")));
        }
        let delete = format!("DELETE FROM \"{table}\"");
        sqlx::query(AssertSqlSafe(delete)).execute(&mut *connection).await.map_err(failed)?;
        let names = columns.iter().map(|c| format!("\"{c}\"")).collect::<Vec<_>>().join(", ");
        let marks = vec!["?"; columns.len()].join(", ");
        let insert = format!("INSERT INTO \"{table}\" ({names}) VALUES ({marks})");
        for values in rows.into_values() {
            let mut query = sqlx::query(AssertSqlSafe(insert.clone()));
            for value in values {
                query = match value {
                    Value::Null => query.bind(None::<i64>),
                    Value::Number(n) => query.bind(n.as_i64().ok_or_else(|| unknown("a number of 65 bits"))?),
                    Value::String(text) => query.bind(text),
                    other => query.bind(bytes(&other).ok_or_else(|| unknown("a value of another kind"))?),
                };
            }
            query.execute(&mut *connection).await.map_err(failed)?;
        }
    }
    sqlx::query("DELETE FROM sqlite_sequence").execute(&mut *connection).await.map_err(failed)?;
    for (table, number) in copied.sequences {
        let insert = sqlx::query("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)").bind(table).bind(number);
        insert.execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    let hex = value.get("hex")?.as_str()?;
    if !hex.is_ascii() || hex.len() % 2 != 0 {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
}

/// What SQLite finds wrong.
async fn faults(connection: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    let check = format!("PRAGMA integrity_check({FAULTS_MAX})");
    let told: Vec<String> = sqlx::query_scalar(AssertSqlSafe(check)).fetch_all(&mut *connection).await?;
    let mut faults: Vec<String> = told.into_iter().filter(|fault| fault != "ok").collect();
    let mut orphans: BTreeMap<(String, String), u64> = BTreeMap::new();
    for row in sqlx::query("PRAGMA foreign_key_check").fetch_all(connection).await? {
        *orphans.entry((row.try_get(0)?, row.try_get(2)?)).or_default() += 1;
    }
    faults.extend(orphans.iter().map(|((from, to), n)| format!("{n} rows of {from} refer to no row of {to}")));
    Ok(faults)
}

/// Migrations that were applied.
async fn applied(connection: &mut SqliteConnection) -> Result<usize, sqlx::Error> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations").fetch_one(connection).await?;
    Ok(usize::try_from(count).unwrap_or_default())
}

async fn contents(connection: &mut SqliteConnection) -> Result<(Databases, State), sqlx::Error> {
    Ok((databases::load(connection).await?, files::load(connection).await?))
}
