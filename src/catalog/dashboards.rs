//! Dashboards and their templates: JSON under a name.
//!
//! Limits: [`NAME_BYTES_MAX`] of a name, [`STATE_BYTES_MAX`] of one, [`STORED_MAX`] of each kind with [`STORED_BYTES_MAX`]
//! together. Temporary dashboards are a kind of their own: of these the oldest goes when there are too many.

use std::sync::Arc;

use rhythmite_model::{Error, Result};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::store::Store;

/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 128;
/// Bytes of a dashboard.
pub const STATE_BYTES_MAX: usize = 1 << 20;
/// Dashboards, or templates, that are kept.
pub const STORED_MAX: i64 = 10_000;
/// Temporary dashboards that are kept.
pub const TEMPORARY_MAX: i64 = 1_000;
/// Bytes of all dashboards of a kind.
pub const STORED_BYTES_MAX: i64 = 256 << 20;

/// What temporary dashboards are called, before their number.
const TEMPORARY: &str = "temporary-";

/// What is kept under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A dashboard.
    Dashboard = 0,
    /// A dashboard with places for a value.
    Template = 1,
    /// A dashboard that somebody shows somebody else.
    Temporary = 2,
}

impl Kind {
    /// Dashboards whose names say so are temporary ones.
    fn of(self, name: &str) -> Self {
        match self {
            Self::Dashboard if name.starts_with(TEMPORARY) => Self::Temporary,
            other => other,
        }
    }
}

/// Handle on the dashboards; cheap to clone.
#[derive(Clone)]
pub struct Dashboards {
    store: Arc<Store>,
}

impl Dashboards {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Keeps `state`, which is JSON, under a name; replaces what was there.
    ///
    /// # Errors
    /// `Invalid` beyond a limit, `Unavailable`.
    pub async fn save(&self, kind: Kind, name: &str, state: String, now_s: i64) -> Result<()> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Error::invalid(format!("the name of a dashboard has 1 to {NAME_BYTES_MAX} bytes")));
        }
        check_size(&state)?;
        let (kind, name) = (kind.of(name), name.to_owned());
        let saved = self.store.transact(move |connection| {
            Box::pin(async move {
                let others = sqlx::query("SELECT count(*), total(bytes) FROM dashboard WHERE kind = ? AND name <> ?");
                let others = others.bind(kind as i64).bind(&name).fetch_one(&mut *connection).await?;
                let (count, bytes): (i64, f64) = (others.try_get(0)?, others.try_get(1)?);
                if count >= STORED_MAX || bytes + state.len() as f64 > STORED_BYTES_MAX as f64 {
                    return Ok(false);
                }
                put(connection, kind, &name, &state, now_s).await?;
                Ok(true)
            })
        });
        if saved.await? {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "there is no room for more than {STORED_MAX} dashboards with {STORED_BYTES_MAX} bytes together"
        )))
    }

    /// Keeps `state` as a temporary dashboard with the lowest free number; gives its name. The oldest one goes when
    /// there are too many.
    ///
    /// # Errors
    /// `Invalid` for one that is too large, `Unavailable`.
    pub async fn save_temporary(&self, state: String, now_s: i64) -> Result<String> {
        check_size(&state)?;
        self.store
            .transact(move |connection| {
                Box::pin(async move {
                    let names = sqlx::query("SELECT name FROM dashboard WHERE kind = ? ORDER BY saved_s, name");
                    let names = names.bind(Kind::Temporary as i64).fetch_all(&mut *connection).await?;
                    let names: Vec<String> = names.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
                    let taken: std::collections::HashSet<&str> = names.iter().map(String::as_str).collect();
                    let mut numbers = (0..).map(|i: u64| format!("{TEMPORARY}{i}"));
                    let free = numbers.find(|name| !taken.contains(name.as_str()));
                    let name = if (names.len() as i64) < TEMPORARY_MAX { free } else { names.first().cloned() };
                    let name = name.unwrap_or_else(|| format!("{TEMPORARY}0"));
                    put(connection, Kind::Temporary, &name, &state, now_s).await?;
                    Ok(name)
                })
            })
            .await
    }

    /// What is kept under a name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn load(&self, kind: Kind, name: &str) -> Result<Option<String>> {
        let (kind, name) = (kind.of(name), name.to_owned());
        self.store
            .run(move |connection| {
                Box::pin(async move {
                    let row = sqlx::query("SELECT state FROM dashboard WHERE kind = ? AND name = ?");
                    let row = row.bind(kind as i64).bind(&name).fetch_optional(connection).await?;
                    row.map(|row| row.try_get(0)).transpose()
                })
            })
            .await
    }

    /// Forgets what is kept under a name; says whether there was something.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete(&self, kind: Kind, name: &str) -> Result<bool> {
        let (kind, name) = (kind.of(name), name.to_owned());
        self.store
            .run(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query("DELETE FROM dashboard WHERE kind = ? AND name = ?");
                    let done = done.bind(kind as i64).bind(&name).execute(connection).await?;
                    Ok(done.rows_affected() > 0)
                })
            })
            .await
    }

    /// All names of a kind, sorted; at most [`STORED_MAX`].
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn names(&self, kind: Kind) -> Result<Vec<String>> {
        self.store
            .run(move |connection| {
                Box::pin(async move {
                    let rows = sqlx::query("SELECT name FROM dashboard WHERE kind = ? ORDER BY name");
                    let rows = rows.bind(kind as i64).fetch_all(connection).await?;
                    rows.iter().map(|row| row.try_get(0)).collect()
                })
            })
            .await
    }
}

fn check_size(state: &str) -> Result<()> {
    if state.len() <= STATE_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!("a dashboard of {} bytes; {STATE_BYTES_MAX} are the limit", state.len())))
}

async fn put(
    connection: &mut SqliteConnection,
    kind: Kind,
    name: &str,
    state: &str,
    now_s: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT OR REPLACE INTO dashboard (kind, name, saved_s, bytes, state) VALUES (?, ?, ?, ?, ?)")
        .bind(kind as i64)
        .bind(name)
        .bind(now_s)
        .bind(state.len() as i64)
        .bind(state)
        .execute(connection)
        .await?;
    Ok(())
}
