//! Short links: a path for a number.
//!
//! Limit: [`STORED_MAX`] links, of which the oldest go when more come. The HTTP layer bounds a path.

use std::sync::Arc;

use rhythmite_model::Result;
use sqlx::Row;

use super::store::Store;

/// Links that are kept.
pub const STORED_MAX: i64 = 100_000;

/// Handle on the links; cheap to clone.
#[derive(Clone)]
pub struct Links {
    store: Arc<Store>,
}

impl Links {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// The number of a path, a new one if it has none.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn shorten(&self, url: String) -> Result<u64> {
        self.store
            .transact(move |connection| {
                Box::pin(async move {
                    let known = sqlx::query("SELECT id FROM short_link WHERE url = ?").bind(&url);
                    if let Some(row) = known.fetch_optional(&mut *connection).await? {
                        return row.try_get::<i64, _>(0).map(i64::unsigned_abs);
                    }
                    let new = sqlx::query("INSERT INTO short_link (url) VALUES (?)").bind(&url);
                    let id = new.execute(&mut *connection).await?.last_insert_rowid();
                    let old = sqlx::query("DELETE FROM short_link WHERE id <= ?").bind(id - STORED_MAX);
                    old.execute(connection).await?;
                    Ok(id.unsigned_abs())
                })
            })
            .await
    }

    /// The path of a number.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn follow(&self, id: u64) -> Result<Option<String>> {
        let Ok(id) = i64::try_from(id) else { return Ok(None) };
        self.store
            .run(move |connection| {
                Box::pin(async move {
                    let row = sqlx::query("SELECT url FROM short_link WHERE id = ?").bind(id);
                    row.fetch_optional(connection).await?.map(|row| row.try_get(0)).transpose()
                })
            })
            .await
    }
}
