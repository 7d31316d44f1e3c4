//! The catalogue: databases, retention policies and the list of live files, in SQLite.
//!
//! One thread owns the one connection (`journal_mode=WAL, synchronous=FULL`); every change is one transaction. What
//! queries and ingest need is kept in memory as [`Databases`], replaced as a whole after each change. Series are not
//! rows here: they are in the engine's registry.

mod databases;
mod files;
mod migrations;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rhythmite_model::{Error, Level, Policy, PolicyId, Result};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

pub use databases::{Database, Databases, NewPolicy, PolicyChange, RetentionPolicy};
pub use files::SqliteManifest;
use store::Store;

/// Database of everything that comes by Graphite, StatsD or collectd names.
pub const GRAPHITE: &str = "graphite";

/// Handle on the catalogue; cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    store: Arc<Store>,
    databases: Arc<ArcSwap<Databases>>,
}

impl Catalog {
    /// Opens (or creates) the catalogue file and brings its tables up to date.
    ///
    /// # Errors
    /// `Unavailable` for the disk, `Corrupt` when the file is not ours or was written by a later version.
    pub fn open(path: &Path) -> Result<Self> {
        let store = Arc::new(Store::open(path)?);
        let databases = store.call(|connection| Box::pin(databases::load(connection)))?;
        Ok(Self { store, databases: Arc::new(ArcSwap::from_pointee(databases)) })
    }

    /// Databases and their policies as of now.
    pub fn databases(&self) -> Arc<Databases> {
        self.databases.load_full()
    }

    /// The engine's door to the list of live files.
    pub fn manifest(&self) -> SqliteManifest {
        SqliteManifest::new(self.store.clone())
    }

    /// Creates a database with its first policy, which becomes the default. Returns the policy to hand to the engine,
    /// or `None` when the database exists.
    ///
    /// # Errors
    /// `Invalid` for a bad name or policy, `Unavailable` for the disk.
    pub async fn create_database(&self, name: &str, first: NewPolicy) -> Result<Option<Policy>> {
        databases::check_name(name, "database")?;
        if self.databases().get(name).is_some() {
            return Ok(None);
        }
        let database = name.to_owned();
        let id = self
            .change(move |connection| {
                Box::pin(async move {
                    let id = databases::insert_database(connection, &database).await?;
                    databases::insert_policy(connection, id, &NewPolicy { default: true, ..first }).await
                })
            })
            .await?;
        Ok(self.databases().policy(id).map(|p| p.policy.clone()))
    }

    /// Forgets a database. Returns the policies that the engine must drop; empty when there was none of that name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn drop_database(&self, name: &str) -> Result<Vec<PolicyId>> {
        let Some(database) = self.databases().get(name).cloned() else { return Ok(Vec::new()) };
        let name = name.to_owned();
        self.change(move |connection| {
            Box::pin(async move {
                sqlx::query("DELETE FROM database WHERE name = ?").bind(name).execute(connection).await?;
                Ok(())
            })
        })
        .await?;
        Ok(database.policies.iter().map(|p| p.policy.id).collect())
    }

    /// Adds a policy to a database; an identical one is no error. Returns the policy to hand to the engine.
    ///
    /// # Errors
    /// `NotFound` without the database, `Invalid` when a policy of that name differs.
    pub async fn create_policy(&self, database: &str, new: NewPolicy) -> Result<Policy> {
        databases::check_name(&new.name, "retention policy")?;
        let all = self.databases();
        let found = all.get(database).ok_or_else(|| not_found(database))?;
        if let Some(existing) = found.policies.iter().find(|p| p.policy.name == new.name) {
            let same = existing.policy.levels == new.levels
                && existing.shard_ns == new.shard_ns
                && existing.replica_n == new.replica_n
                && (!new.default || found.default_policy().is_some_and(|d| d.policy.id == existing.policy.id));
            if !same {
                return Err(Error::invalid("retention policy conflicts with an existing policy"));
            }
            return Ok(existing.policy.clone());
        }
        let database_id = found.id;
        let id = self
            .change(move |connection| {
                Box::pin(async move { databases::insert_policy(connection, database_id, &new).await })
            })
            .await?;
        let policy = self.databases().policy(id).map(|p| p.policy.clone());
        policy.ok_or_else(|| Error::internal("a policy that was just created is missing"))
    }

    /// The internal policy of database `graphite` with these levels, made when there is none yet.
    ///
    /// # Errors
    /// `Unavailable`; `Invalid` for an empty list.
    pub async fn intern_graphite_policy(&self, levels: Vec<Level>) -> Result<Policy> {
        if let Some(policy) = self.databases().graphite_policy(&levels) {
            return Ok(policy);
        }
        if self.databases().get(GRAPHITE).is_none() {
            // The default policy of `graphite` holds what is written there by line protocol.
            self.create_database(GRAPHITE, NewPolicy::autogen()).await?;
        }
        self.create_policy(GRAPHITE, NewPolicy::internal(levels)?).await
    }

    /// Changes a policy. Files keep their partition length; retention and default take effect at once.
    ///
    /// # Errors
    /// `NotFound` for either name.
    pub async fn alter_policy(&self, database: &str, policy: &str, change: PolicyChange) -> Result<Policy> {
        let all = self.databases();
        let found = all.get(database).ok_or_else(|| not_found(database))?;
        let existing = found
            .policies
            .iter()
            .find(|p| p.policy.name == policy)
            .ok_or_else(|| Error::not_found(format!("retention policy not found: {policy}")))?;
        let (database_id, id) = (found.id, existing.policy.id);
        self.change(move |connection| {
            Box::pin(async move { databases::update_policy(connection, database_id, id, &change).await })
        })
        .await?;
        let policy = self.databases().policy(id).map(|p| p.policy.clone());
        policy.ok_or_else(|| Error::internal("a policy that was just changed is missing"))
    }

    /// Forgets a policy; returns it for the engine to drop, or `None` when there was none of that name.
    ///
    /// # Errors
    /// `NotFound` without the database.
    pub async fn drop_policy(&self, database: &str, policy: &str) -> Result<Option<PolicyId>> {
        let all = self.databases();
        let found = all.get(database).ok_or_else(|| not_found(database))?;
        let Some(existing) = found.policies.iter().find(|p| p.policy.name == policy) else { return Ok(None) };
        let id = existing.policy.id;
        self.change(move |connection| {
            Box::pin(async move {
                sqlx::query("DELETE FROM policy WHERE id = ?").bind(i64::from(id.0)).execute(connection).await?;
                Ok(())
            })
        })
        .await?;
        Ok(Some(id))
    }

    /// Runs one change and reloads what is kept in memory.
    async fn change<T: Send + 'static>(
        &self,
        f: impl for<'c> FnOnce(&'c mut SqliteConnection) -> store::Answer<'c, T> + Send + 'static,
    ) -> Result<T> {
        let databases = self.databases.clone();
        self.store
            .transact(move |connection| {
                Box::pin(async move {
                    let value = f(connection).await?;
                    let fresh = databases::load(connection).await?;
                    Ok((value, fresh))
                })
            })
            .await
            .map(|(value, fresh)| {
                databases.store(Arc::new(fresh));
                value
            })
    }

    /// Gives the disk space of the catalogue's own log back.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn checkpoint(&self) -> Result<()> {
        let store = self.store.clone();
        store
            .run(|connection| {
                Box::pin(async move {
                    let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await?;
                    let _busy: i64 = row.get(0);
                    Ok(())
                })
            })
            .await
    }
}

fn not_found(database: &str) -> Error {
    Error::not_found(format!("database not found: {database}"))
}
