//! Continuous queries: their texts with the databases, and how far each has run.

use std::collections::BTreeMap;

use rhythmite_model::{Error, Result};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::{Catalog, not_found};

/// A continuous query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContinuousQuery {
    /// Row id; never used twice.
    pub id: i64,
    /// Unique within the database.
    pub name: String,
    /// `CREATE CONTINUOUS QUERY ...`, with databases and policies filled in.
    pub query: String,
}

impl Catalog {
    /// Adds a continuous query; the same text again is no error.
    ///
    /// # Errors
    /// `NotFound` without the database, `Invalid` when a query of that name has another text.
    pub async fn create_continuous(&self, database: &str, name: &str, query: &str) -> Result<()> {
        let all = self.databases();
        let found = all.get(database).ok_or_else(|| not_found(database))?;
        if let Some(existing) = found.continuous.iter().find(|known| known.name == name) {
            // As 1.x compares them.
            if existing.query.to_lowercase() == query.to_lowercase() {
                return Ok(());
            }
            return Err(Error::invalid("continuous query already exists"));
        }
        let (id, name, query) = (found.id, name.to_owned(), query.to_owned());
        self.change(move |connection| {
            Box::pin(async move {
                sqlx::query("INSERT INTO continuous_query (database_id, name, query) VALUES (?, ?, ?)")
                    .bind(id)
                    .bind(name)
                    .bind(query)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Forgets a continuous query; a missing one, or a missing database, is no error.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn drop_continuous(&self, database: &str, name: &str) -> Result<()> {
        let all = self.databases();
        let existing = all.get(database).and_then(|d| d.continuous.iter().find(|known| known.name == name));
        let Some(id) = existing.map(|known| known.id) else { return Ok(()) };
        self.change(move |connection| {
            Box::pin(async move {
                sqlx::query("DELETE FROM continuous_query WHERE id = ?").bind(id).execute(connection).await?;
                Ok(())
            })
        })
        .await
    }

    /// How far each continuous query that has run has come, by its id: nanoseconds since the epoch.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn continuous_runs(&self) -> Result<BTreeMap<i64, i64>> {
        let runs = self.store.run(|connection| {
            Box::pin(async move {
                let rows = sqlx::query("SELECT id, run_ns FROM continuous_query WHERE run_ns IS NOT NULL");
                let rows = rows.fetch_all(connection).await?;
                rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
            })
        });
        runs.await
    }

    /// Records how far a continuous query has come; one that is gone by now is no error.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn set_continuous_run(&self, id: i64, run_ns: i64) -> Result<()> {
        let done = self.store.run(move |connection| {
            Box::pin(async move {
                sqlx::query("UPDATE continuous_query SET run_ns = ? WHERE id = ?")
                    .bind(run_ns)
                    .bind(id)
                    .execute(connection)
                    .await?;
                Ok(())
            })
        });
        done.await
    }
}

pub(super) async fn load(
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<i64, Vec<ContinuousQuery>>, sqlx::Error> {
    let mut of_database: BTreeMap<i64, Vec<ContinuousQuery>> = BTreeMap::new();
    let rows = sqlx::query("SELECT database_id, id, name, query FROM continuous_query ORDER BY id");
    for row in rows.fetch_all(connection).await? {
        let query = ContinuousQuery { id: row.try_get(1)?, name: row.try_get(2)?, query: row.try_get(3)? };
        of_database.entry(row.try_get(0)?).or_default().push(query);
    }
    Ok(of_database)
}
