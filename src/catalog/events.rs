//! Events, by time and by tag.
//!
//! Limits: [`STORED_MAX`] events, of which the oldest go when more come; [`ANSWER_MAX`] events and [`ANSWER_BYTES_MAX`]
//! bytes of them in one answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::TryStreamExt;
use rhythmite_graphite::events::{Event, EventQuery, NewEvent, TagSet, words};
use rhythmite_model::{Error, Result};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::store::Store;

/// Events that are kept.
pub const STORED_MAX: i64 = 200_000;
/// Events of one answer.
pub const ANSWER_MAX: usize = 10_000;
/// Bytes of the texts of one answer.
pub const ANSWER_BYTES_MAX: usize = 16 << 20;

const SECOND_US: i64 = 1_000_000;

/// Handle on the events; cheap to clone.
#[derive(Clone)]
pub struct Events {
    store: Arc<Store>,
}

/// What came of adding an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its number.
    pub id: i64,
    /// Old events that had to go for it.
    pub dropped: u64,
}

impl Events {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// To fill the table without as many calls.
    #[cfg(test)]
    pub(super) fn store_for_tests(&self) -> &Store {
        &self.store
    }

    /// As if so many events had been added and removed again.
    #[cfg(test)]
    pub(crate) async fn skip_numbers(&self, last: i64) {
        let update = sqlx::query("UPDATE sqlite_sequence SET seq = ? WHERE name = 'event'").bind(last);
        let skipped = self.store.run(move |connection| Box::pin(async move { update.execute(connection).await }));
        assert_eq!(skipped.await.unwrap().rows_affected(), 1, "an event was added before");
    }

    /// Keeps an event, one without a time as of `now_us`.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn add(&self, event: NewEvent, now_us: i64) -> Result<Added> {
        self.add_within(event, now_us, STORED_MAX).await
    }

    /// Keeps events, all of them or none, those without a time as of `now_us`; says how many old ones had to go.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn add_all(&self, events: Vec<NewEvent>, now_us: i64) -> Result<u64> {
        self.store
            .transact(move |connection| {
                Box::pin(async move {
                    let mut dropped = 0;
                    for event in &events {
                        dropped += insert(connection, event, now_us, STORED_MAX).await?.dropped;
                    }
                    Ok(dropped)
                })
            })
            .await
    }

    pub(super) async fn add_within(&self, event: NewEvent, now_us: i64, stored_max: i64) -> Result<Added> {
        self.store
            .transact(move |connection| Box::pin(async move { insert(connection, &event, now_us, stored_max).await }))
            .await
    }

    /// The event of that number.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn get(&self, id: i64) -> Result<Option<Event>> {
        self.store
            .run(move |connection| {
                Box::pin(async move {
                    let row =
                        sqlx::query("SELECT * FROM event WHERE id = ?").bind(id).fetch_optional(connection).await?;
                    row.as_ref().map(event).transpose()
                })
            })
            .await
    }

    /// Forgets an event; says whether there was one.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove(&self, id: i64) -> Result<bool> {
        self.store
            .run(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query("DELETE FROM event WHERE id = ?").bind(id).execute(connection).await?;
                    Ok(done.rows_affected() > 0)
                })
            })
            .await
    }

    /// The events that a query asks for, by time.
    ///
    /// # Errors
    /// `Invalid` for more than an answer may hold, `Unavailable`.
    pub async fn find(&self, query: EventQuery) -> Result<Vec<Event>> {
        let found = self.store.run(move |connection| Box::pin(find(connection, query))).await?;
        found.ok_or_else(|| {
            Error::invalid(format!(
                "more than {ANSWER_MAX} events or {ANSWER_BYTES_MAX} bytes of them; narrow from, until or tags"
            ))
        })
    }

    /// How many events there are in each second of `from_s..until_s` that has any, ascending; with all of `tags` that
    /// are known, or all events. For a thread that may block.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn count_by_second(&self, tags: Option<Vec<String>>, from_s: i64, until_s: i64) -> Result<Vec<(i64, u64)>> {
        let from_us = from_s.saturating_mul(SECOND_US);
        let until_us = until_s.saturating_mul(SECOND_US).saturating_sub(1);
        self.store.call(move |connection| {
            Box::pin(async move {
                let Some(condition) = condition(connection, tags, TagSet::AllKnown).await? else {
                    return Ok(Vec::new());
                };
                // Floored also before 1970, where SQLite's division rounds up.
                let sql = format!(
                    "SELECT (time_us - ((time_us % {SECOND_US}) + {SECOND_US}) % {SECOND_US}) / {SECOND_US}, count(*) \
                     FROM event WHERE time_us BETWEEN ? AND ? {} GROUP BY 1 ORDER BY 1",
                    condition.sql
                );
                let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(from_us).bind(until_us).bind(condition.tags);
                let rows = rows.fetch_all(connection).await?;
                rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get::<i64, _>(1)?.unsigned_abs()))).collect()
            })
        })
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    event: &NewEvent,
    now_us: i64,
    stored_max: i64,
) -> Result<Added, sqlx::Error> {
    let id = sqlx::query("INSERT INTO event (time_us, what, tags, data) VALUES (?, ?, ?, ?)")
        .bind(event.time_us.unwrap_or(now_us))
        .bind(&event.what)
        .bind(&event.tags)
        .bind(&event.data)
        .execute(&mut *connection)
        .await?
        .last_insert_rowid();
    sqlx::query("INSERT INTO event_tag (tag, event_id) SELECT value, ? FROM json_each(?)")
        .bind(id)
        .bind(json(&words(&event.tags)))
        .execute(&mut *connection)
        .await?;
    // Numbers ascend and few are missing, so this keeps at most that many.
    let old = sqlx::query("DELETE FROM event WHERE id <= ?").bind(id - stored_max);
    let dropped = old.execute(connection).await?.rows_affected();
    Ok(Added { id, dropped })
}

/// What a query's tags ask of an event; its third parameter is the list of tags as JSON.
struct Condition {
    sql: String,
    tags: String,
}

/// `None` when no event can be meant.
async fn condition(
    connection: &mut SqliteConnection,
    tags: Option<Vec<String>>,
    set: TagSet,
) -> Result<Option<Condition>, sqlx::Error> {
    const TAGGED: &str = "SELECT event_id FROM event_tag WHERE tag IN (SELECT value FROM json_each(?))";
    let Some(tags) = tags else {
        return Ok(Some(Condition { sql: "AND ? IS NOT NULL".to_owned(), tags: String::new() }));
    };
    let mut tags: BTreeSet<String> = tags.into_iter().collect();
    if set == TagSet::AllKnown {
        let known = "SELECT DISTINCT tag FROM event_tag WHERE tag IN (SELECT value FROM json_each(?))";
        let known = sqlx::query(known).bind(json(&tags)).fetch_all(connection).await?;
        tags = known.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    }
    if tags.is_empty() {
        return Ok(None);
    }
    let sql = match set {
        TagSet::Union => format!("AND id IN ({TAGGED})"),
        _ => format!("AND id IN ({TAGGED} GROUP BY event_id HAVING count(*) = {})", tags.len()),
    };
    Ok(Some(Condition { sql, tags: json(&tags) }))
}

/// `None` for more than an answer may hold.
async fn find(connection: &mut SqliteConnection, query: EventQuery) -> Result<Option<Vec<Event>>, sqlx::Error> {
    let Some(condition) = condition(connection, query.tags.clone(), query.set).await? else {
        return Ok(Some(Vec::new()));
    };
    let sql = format!("SELECT * FROM event WHERE time_us BETWEEN ? AND ? {} ORDER BY time_us, id", condition.sql);
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(query.from_us).bind(query.until_us).bind(condition.tags);
    let mut rows = rows.fetch(connection);
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        let event = event(&row)?;
        if !query.keeps(&event) {
            continue;
        }
        bytes += event.what.len() + event.tags.len() + event.data.len();
        if found.len() == ANSWER_MAX || bytes > ANSWER_BYTES_MAX {
            return Ok(None);
        }
        found.push(event);
    }
    Ok(Some(found))
}

fn event(row: &SqliteRow) -> Result<Event, sqlx::Error> {
    Ok(Event {
        id: row.try_get("id")?,
        time_us: row.try_get("time_us")?,
        what: row.try_get("what")?,
        tags: row.try_get("tags")?,
        data: row.try_get("data")?,
    })
}

/// A list for `json_each`: SQL has no lists as parameters.
fn json(tags: &BTreeSet<String>) -> String {
    serde_json::to_string(tags).expect("texts are JSON")
}
