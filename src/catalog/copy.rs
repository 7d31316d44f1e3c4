//! A second copy of the catalogue's rows, as text beside the data: from it a lost `catalog.sqlite` is made again.
//!
//! ```text
//! 9ae0daaf {"rhythmite":"catalogue copy","version":1,"migrations":6}
//! 1c7f03b2 {"put":{"file":{"columns":["id",...],"rows":[["[1]",["0000000001",...]],...]}},"drop":{"file":["[7]"]}}
//! ```
//!
//! Each line has the CRC-32C of its text in front. The first lines are the whole catalogue, a thousand rows each; each
//! later one is one change, whole. In the order of events: triggers of the connection note which rows a change touched;
//! when it is committed, and before who asked for it hears so, its line is appended and synced. The file is written anew
//! at each start and when the changes outgrow the rows.
//!
//! A row goes by its rowid or, in a table without, by its primary key (never bytes), as a JSON array.
//!
//! It knows tables, rows and nothing of what they mean. A copy that cannot be written stops nobody: it is logged and
//! counted, and the next change writes it anew. It is never read while the server runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::TryStreamExt;
use rhythmite_env::{File, Fs};
use rhythmite_model::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Column, Row, TypeInfo, ValueRef};

use super::migrations;

/// Version of the format.
const VERSION: u64 = 1;
/// What the first line says the file is.
const KIND: &str = "catalogue copy";
/// Rows of a line when everything is written.
const LINE_ROWS: usize = 1_000;
/// Changes beyond this, and beyond the length of the rows themselves, are folded into them.
const CHANGES_BYTES: u64 = 4 << 20;
/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// One line behind the first.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Change {
    /// Rows that are new or changed, by table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    put: BTreeMap<String, Rows>,
    /// Keys of rows that are gone, by table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    drop: BTreeMap<String, Vec<String>>,
    /// The largest number that each table with AUTOINCREMENT has given out, if any has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequences: Option<BTreeMap<String, i64>>,
}

/// Rows of one table.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Rows {
    columns: Vec<String>,
    /// Key and values of each.
    rows: Vec<(String, Vec<Value>)>,
}

/// Columns of the primary key of a table, or its rowid.
type Key = Vec<String>;

/// The writer; belongs to the catalogue's thread.
pub(super) struct Copy {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    /// `None` after a failure.
    file: Option<Arc<dyn File>>,
    /// Bytes that are whole, and how many of them were there before the first change.
    len: u64,
    rows_len: u64,
    /// With their keys.
    tables: BTreeMap<String, Key>,
    sequences: BTreeMap<String, i64>,
    failures: Arc<AtomicU64>,
}

impl Copy {
    /// Writes the copy and follows the connection's changes from now on.
    ///
    /// # Errors
    /// `Corrupt` when the catalogue cannot be read. A copy that cannot be written is none.
    pub(super) async fn start(
        connection: &mut SqliteConnection,
        fs: Arc<dyn Fs>,
        path: &Path,
        failures: Arc<AtomicU64>,
    ) -> Result<Self> {
        let unreadable = |e: sqlx::Error| Error::corrupt(format!("the catalogue cannot be read: {e}"));
        let tables = watch(connection).await.map_err(unreadable)?;
        let (file, sequences) = (None, BTreeMap::new());
        let mut copy = Self { fs, path: path.to_owned(), file, len: 0, rows_len: 0, tables, sequences, failures };
        for table in copy.tables.keys() {
            // Damage of the catalogue must not replace a good copy of it.
            let all = format!("SELECT * FROM \"{table}\"");
            let mut rows = sqlx::query(AssertSqlSafe(all)).fetch(&mut *connection);
            while rows.try_next().await.map_err(unreadable)?.is_some() {}
        }
        copy.follow(connection).await;
        Ok(copy)
    }

    /// Takes over what was changed since the last call.
    pub(super) async fn follow(&mut self, connection: &mut SqliteConnection) {
        if let Err(e) = self.try_follow(connection).await {
            self.file = None;
            self.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!("the copy of the catalogue {} was not written: {e}", self.path.display());
        }
    }

    async fn try_follow(&mut self, connection: &mut SqliteConnection) -> Result<()> {
        let noted = sqlx::query("SELECT name, key FROM temp.copy_changed").fetch_all(&mut *connection).await;
        let mut changed: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in noted.map_err(failed)? {
            changed.entry(row.get(0)).or_default().push(row.get(1));
        }
        let too_long = self.len - self.rows_len > CHANGES_BYTES.max(self.rows_len);
        match &self.file {
            Some(_) if changed.is_empty() => return Ok(()),
            Some(file) if !too_long => {
                let file = file.clone();
                self.append(connection, &*file, changed).await?;
            }
            _ => self.write_all(connection).await?,
        }
        sqlx::query("DELETE FROM temp.copy_changed").execute(connection).await.map_err(failed)?;
        Ok(())
    }

    async fn append(
        &mut self,
        connection: &mut SqliteConnection,
        file: &dyn File,
        changed: BTreeMap<String, Vec<String>>,
    ) -> Result<()> {
        let mut change = Change::default();
        for (table, keys) in changed {
            let Some(key) = self.tables.get(&table) else { continue };
            let mut rows = Rows::default();
            let mut gone = Vec::new();
            let parts = (0..key.len()).map(|at| format!("json_extract(?1, '$[{at}]')")).collect::<Vec<_>>().join(", ");
            let (columns, array) = (key.join(", "), as_array(key, ""));
            let one = format!("SELECT {array}, * FROM \"{table}\" WHERE ({columns}) = ({parts})");
            for key in keys {
                let row = sqlx::query(AssertSqlSafe(one.clone())).bind(&key).fetch_optional(&mut *connection).await;
                match row.map_err(failed)? {
                    Some(row) => rows.push(&row)?,
                    None => gone.push(key),
                }
            }
            if !rows.rows.is_empty() {
                change.put.insert(table.clone(), rows);
            }
            if !gone.is_empty() {
                change.drop.insert(table, gone);
            }
        }
        let sequences = sequences(connection).await?;
        if sequences != self.sequences {
            change.sequences = Some(sequences.clone());
        }
        let line = line(&change)?;
        file.write_all_at(line.as_bytes(), self.len)?;
        file.sync_data()?;
        self.len += line.len() as u64;
        self.sequences = sequences;
        Ok(())
    }

    async fn write_all(&mut self, connection: &mut SqliteConnection) -> Result<()> {
        let temp = self.path.with_extension("tmp");
        let file = self.fs.create(&temp)?;
        let mut len = 0;
        let mut write = |line: &str| -> Result<()> {
            file.write_all_at(line.as_bytes(), len)?;
            len += line.len() as u64;
            Ok(())
        };
        write(&line(&json!({"rhythmite": KIND, "version": VERSION, "migrations": migrations::COUNT}))?)?;
        for (table, key) in &self.tables {
            let all = format!("SELECT {}, * FROM \"{table}\"", as_array(key, ""));
            let mut stream = sqlx::query(AssertSqlSafe(all)).fetch(&mut *connection);
            let mut rows = Rows::default();
            loop {
                let row = stream.try_next().await.map_err(failed)?;
                let ended = row.is_none();
                if let Some(row) = row {
                    rows.push(&row)?;
                }
                if rows.rows.len() == LINE_ROWS || ended && !rows.rows.is_empty() {
                    let put = BTreeMap::from([(table.clone(), std::mem::take(&mut rows))]);
                    write(&line(&Change { put, ..Change::default() })?)?;
                }
                if ended {
                    break;
                }
            }
        }
        let sequences = sequences(connection).await?;
        write(&line(&Change { sequences: Some(sequences.clone()), ..Change::default() })?)?;
        file.sync_data()?;
        self.fs.rename(&temp, &self.path)?;
        if let Some(dir) = self.path.parent() {
            self.fs.sync_dir(dir)?;
        }
        (self.file, self.len, self.rows_len, self.sequences) = (Some(file), len, len, sequences);
        Ok(())
    }
}

impl Rows {
    /// A row of `SELECT key, *`.
    fn push(&mut self, row: &SqliteRow) -> Result<()> {
        if self.columns.is_empty() {
            self.columns = row.columns()[1..].iter().map(|c| c.name().to_owned()).collect();
        }
        let values = (1..row.len()).map(|at| value(row, at)).collect::<Result<_, sqlx::Error>>().map_err(failed)?;
        self.rows.push((row.try_get(0).map_err(failed)?, values));
        Ok(())
    }
}

/// Values of rows.
type ByKey = BTreeMap<String, Vec<Value>>;

/// What a copy holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Copied {
    /// Migrations that its tables are of.
    pub(super) migrations: usize,
    /// Columns and rows of each table.
    pub(super) tables: BTreeMap<String, (Vec<String>, ByKey)>,
    /// See [`Change::sequences`].
    pub(super) sequences: BTreeMap<String, i64>,
}

/// Reads a copy. A last line that is not whole was being written when the machine stopped: the change was not
/// acknowledged.
///
/// # Errors
/// `NotFound` without the file, `Corrupt` when another line is damaged or the version is unknown, `Unavailable` for the
/// disk.
pub(super) fn read(fs: &dyn Fs, path: &Path) -> Result<Copied> {
    let bytes = fs.read(path, FILE_BYTES_MAX).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found("no such file").at(path.display()),
        _ => Error::from(e).at(path.display()),
    })?;
    parse(&bytes).map_err(|e| e.at(path.display()))
}

fn parse(bytes: &[u8]) -> Result<Copied> {
    let mut copied = Copied::default();
    let mut lines = bytes.split_inclusive(|b| *b == b'\n').enumerate().peekable();
    while let Some((at, text)) = lines.next() {
        let damaged = |e: &str| Error::corrupt(format!("line {}: {e}", at + 1));
        let json = match checked(text) {
            Some(json) => json,
            None if lines.peek().is_none() && at > 0 => break,
            None => return Err(damaged("fails its checksum")),
        };
        if at == 0 {
            let head: Value = serde_json::from_slice(json).map_err(|e| damaged(&e.to_string()))?;
            if head["rhythmite"] != KIND || head["version"] != VERSION {
                return Err(damaged("not a copy of a catalogue that this program reads"));
            }
            let migrations = head["migrations"].as_u64().and_then(|n| usize::try_from(n).ok());
            copied.migrations = migrations.ok_or_else(|| damaged("no number of migrations"))?;
            continue;
        }
        let change: Change = serde_json::from_slice(json).map_err(|e| damaged(&e.to_string()))?;
        for (table, rows) in change.put {
            if rows.rows.iter().any(|(_, values)| values.len() != rows.columns.len()) {
                return Err(damaged("a row of another length"));
            }
            let known = copied.tables.entry(table).or_default();
            known.0 = rows.columns;
            known.1.extend(rows.rows);
        }
        for (table, keys) in change.drop {
            let known = copied.tables.entry(table).or_default();
            keys.iter().for_each(|key| drop(known.1.remove(key)));
        }
        copied.sequences = change.sequences.unwrap_or(copied.sequences);
    }
    if copied.migrations == 0 { Err(Error::corrupt("empty")) } else { Ok(copied) }
}

/// The JSON of a line whose checksum agrees.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, json) = line.split_at_checked(9)?;
    let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
    (u32::from_str_radix(sum, 16).ok()? == crc32c::crc32c(json)).then_some(json)
}

fn line(json: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string(json).map_err(|e| Error::internal(format!("a row as JSON: {e}")))?;
    Ok(format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())))
}

/// Makes triggers that note the key of every row that is changed. They belong to the connection, not to the file.
async fn watch(connection: &mut SqliteConnection) -> Result<BTreeMap<String, Key>, sqlx::Error> {
    // Without it REPLACE takes rows away unseen.
    sqlx::query("PRAGMA recursive_triggers = ON").execute(&mut *connection).await?;
    let noted = "CREATE TEMP TABLE copy_changed (name TEXT, key TEXT, PRIMARY KEY (name, key)) STRICT";
    sqlx::query(noted).execute(&mut *connection).await?;
    let named = "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'
                 AND name NOT LIKE '~_%' ESCAPE '~' ORDER BY name";
    let names: Vec<String> = sqlx::query_scalar(named).fetch_all(&mut *connection).await?;
    let mut tables = BTreeMap::new();
    for table in names {
        let without = sqlx::query_scalar("SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?");
        let without: i64 = without.bind(&table).fetch_one(&mut *connection).await?;
        let mut key = vec!["rowid".to_owned()];
        if without != 0 {
            let columns = sqlx::query_scalar("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk");
            key = columns.bind(&table).fetch_all(&mut *connection).await?;
        }
        for (event, rows) in [("INSERT", "NEW"), ("DELETE", "OLD"), ("UPDATE", "OLD"), ("UPDATE", "NEW")] {
            let array = as_array(&key, &format!("{rows}."));
            let trigger = format!(
                "CREATE TEMP TRIGGER \"copy_{table}_{event}_{rows}\" AFTER {event} ON main.\"{table}\"
                 BEGIN INSERT OR IGNORE INTO copy_changed VALUES ('{table}', {array}); END"
            );
            sqlx::query(AssertSqlSafe(trigger)).execute(&mut *connection).await?;
        }
        tables.insert(table, key);
    }
    Ok(tables)
}

/// The expression of a key.
fn as_array(key: &Key, prefix: &str) -> String {
    let columns = key.iter().map(|column| format!("{prefix}{column}")).collect::<Vec<_>>().join(", ");
    format!("json_array({columns})")
}

async fn sequences(connection: &mut SqliteConnection) -> Result<BTreeMap<String, i64>> {
    let rows = sqlx::query("SELECT name, seq FROM sqlite_sequence").fetch_all(connection).await.map_err(failed)?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, sqlx::Error>>().map_err(failed)
}

fn value(row: &SqliteRow, at: usize) -> Result<Value, sqlx::Error> {
    let kind = row.try_get_raw(at)?;
    if kind.is_null() {
        return Ok(Value::Null);
    }
    Ok(match kind.type_info().name() {
        "INTEGER" => row.try_get::<i64, _>(at)?.into(),
        "BLOB" => {
            let mut hex = String::new();
            for byte in row.try_get::<&[u8], _>(at)? {
                let _ = write!(hex, "{byte:02x}");
            }
            Map::from_iter([("hex".to_owned(), hex.into())]).into()
        }
        _ => row.try_get::<String, _>(at)?.into(),
    })
}

fn failed(e: sqlx::Error) -> Error {
    Error::unavailable(format!("catalogue: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &[Value]) -> Vec<u8> {
        let head = json!({"rhythmite": KIND, "version": VERSION, "migrations": 3});
        std::iter::once(&head).chain(lines).map(|json| line(json).unwrap()).collect::<String>().into_bytes()
    }

    #[test]
    fn changes_follow_each_other() {
        let put = |key: &str, value: &str| json!({"put": {"t": {"columns": ["a"], "rows": [[key, [value]]]}}});
        let bytes =
            file(&[put("[1]", "x"), put("[2]", "y"), json!({"drop": {"t": ["[1]"]}}), json!({"sequences": {"t": 2}})]);
        let copied = parse(&bytes).unwrap();
        assert_eq!(copied.migrations, 3);
        assert_eq!(copied.tables["t"], (vec!["a".to_owned()], BTreeMap::from([("[2]".to_owned(), vec![json!("y")])])));
        assert_eq!(copied.sequences, BTreeMap::from([("t".to_owned(), 2)]));
        // A line that was being written is not there yet; damage before it is damage.
        let torn = parse(&bytes[..bytes.len() - 3]).unwrap();
        assert_eq!((torn.tables, torn.sequences.len()), (copied.tables, 0));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            let last = bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n').unwrap();
            assert_eq!(parse(&bad).is_err(), at < last, "byte {at}");
        }
    }

    #[test]
    fn what_is_no_copy_is_refused() {
        for bytes in [&b""[..], b"\n", b"00000000 {}\n", b"x"] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
        let later = line(&json!({"rhythmite": KIND, "version": VERSION + 1, "migrations": 3})).unwrap();
        assert!(parse(later.as_bytes()).is_err());
        let short = json!({"put": {"t": {"columns": ["a", "b"], "rows": [["[1]", ["x"]]]}}});
        assert!(parse(&file(&[short])).is_err());
    }
}
