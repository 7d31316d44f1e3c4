//! The catalogue: databases, retention policies, continuous queries, users, tokens, the list of live files, and what
//! graphite-web keeps beside series (events, dashboards, short links), in SQLite.
//!
//! One thread owns the one connection (`journal_mode=WAL, synchronous=FULL`); every change is one transaction. What
//! queries and ingest need is kept in memory as [`Databases`] and [`Accounts`], replaced as a whole after each change. The
//! same thread tells who asked for it (the engine) of each new or changed policy, then shows the change to everybody,
//! then answers the caller: nobody finds a policy that the engine does not know, also when the caller went away in between. Series
//! are not rows here: they are in the engine's registry.
//!
//! A copy of all rows is kept beside the data (`copy.rs`), from which a lost file is made again (`rescue.rs`).
//!
//! The number of databases is bounded ([`Catalog::limit_databases`]); a refusal is an error and is counted.

mod accounts;
mod continuous;
mod copy;
pub mod dashboards;
mod databases;
pub mod events;
mod files;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod graphite_tests;
pub mod links;
mod migrations;
mod rescue;
mod store;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use rhythmite_env::{Env, Fs};
use rhythmite_model::{Aggregates, Error, Level, Policy, PolicyId, Result};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

pub use accounts::{Accounts, Digest, KeepAdmin, NewToken, NewUser, PasswordHash, Rights, Token, User};
pub use continuous::ContinuousQuery;
pub use dashboards::Dashboards;
pub use databases::{Database, Databases, NewPolicy, PolicyChange, RetentionPolicy};
pub use events::Events;
pub use files::SqliteManifest;
pub use links::Links;
pub use rescue::{Inspection, Rescued, inspect, is_lost, rebuild};
use store::Store;

/// Database of everything that comes by Graphite, StatsD or collectd names.
pub const GRAPHITE: &str = "graphite";

/// Databases that one server keeps unless told otherwise.
pub const DATABASES_MAX: usize = 1_000;

/// Hears of a policy that is new or changed.
type Told = Box<dyn Fn(&Policy) + Send + Sync>;

/// Shortest `max_idle`: senders pause.
const MAX_IDLE_MIN_NS: i64 = 3_600_000_000_000;

/// Handle on the catalogue; cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    store: Arc<Store>,
    shared: Arc<Shared>,
}

/// What the handles and the thread share.
struct Shared {
    databases: ArcSwap<Databases>,
    accounts: ArcSwap<Accounts>,
    told: OnceLock<Told>,
    databases_max: AtomicUsize,
    databases_refused: AtomicU64,
    copy_failures: Arc<AtomicU64>,
}

impl Shared {
    /// Tells of the policies that `fresh` has and the last state had not, then shows it.
    fn publish(&self, fresh: Databases, accounts: Accounts) {
        let before = self.databases.load();
        if let Some(told) = self.told.get() {
            let changed = fresh.policies().filter(|p| before.policy(p.policy.id).is_none_or(|b| b.policy != p.policy));
            changed.for_each(|p| told(&p.policy));
        }
        self.databases.store(Arc::new(fresh));
        self.accounts.store(Arc::new(accounts));
    }
}

impl Catalog {
    /// Opens (or creates) the catalogue file and brings its tables up to date.
    ///
    /// # Errors
    /// `Unavailable` for the disk, `Corrupt` when the file is not ours or was written by a later version.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, None)
    }

    /// Opens (or creates) the catalogue of a data directory, and keeps a copy of its rows beside the data.
    ///
    /// # Errors
    /// As [`Catalog::open`]. `Corrupt`, too, when there is data but no catalogue: an empty one would make leftovers of
    /// all files.
    pub fn open_in(env: &Env, data_dir: &Path) -> Result<Self> {
        if rescue::is_lost(env, data_dir)? {
            return Err(Error::corrupt(format!(
                "{} is missing, the data are not: `rhythmite check --repair` makes it again from the copy beside them",
                path_in(data_dir).display()
            )));
        }
        let copy = copy_in(data_dir);
        if let Some(dir) = copy.parent() {
            env.fs.create_dir_all(data_dir)?;
            env.fs.create_dir_durably(data_dir, dir)?;
        }
        Self::open_with(&path_in(data_dir), Some((env.fs.clone(), copy)))
    }

    fn open_with(path: &Path, copy: Option<(Arc<dyn Fs>, PathBuf)>) -> Result<Self> {
        let copy_failures: Arc<AtomicU64> = Arc::default();
        let copy = copy.map(|(fs, path)| store::CopyTo { fs, path, failures: copy_failures.clone() });
        let store = Arc::new(Store::open(path, copy)?);
        let databases = store.call(|connection| Box::pin(databases::load(connection)))?;
        let accounts = store.call(|connection| Box::pin(accounts::load(connection)))?;
        let shared = Shared {
            databases: ArcSwap::from_pointee(databases),
            accounts: ArcSwap::from_pointee(accounts),
            told: OnceLock::new(),
            databases_max: AtomicUsize::new(DATABASES_MAX),
            databases_refused: AtomicU64::new(0),
            copy_failures,
        };
        Ok(Self { store, shared: Arc::new(shared) })
    }

    /// From now on `told` hears of each policy that is made or changed, on the catalogue's thread and before the change
    /// can be seen. It must be quick and must not call the catalogue. The first call holds.
    pub fn tell(&self, told: impl Fn(&Policy) + Send + Sync + 'static) {
        // One engine stands behind a catalogue; a second listener would mean two of them.
        let first = self.shared.told.set(Box::new(told)).is_ok();
        debug_assert!(first, "the catalogue tells one engine");
    }

    /// Sets how many databases there may be; existing ones stay.
    pub fn limit_databases(&self, max: usize) {
        self.shared.databases_max.store(max, Ordering::Relaxed);
    }

    /// Databases that were refused because there are too many.
    pub fn databases_refused(&self) -> u64 {
        self.shared.databases_refused.load(Ordering::Relaxed)
    }

    /// How often the copy of the rows could not be written.
    pub fn copy_failures(&self) -> u64 {
        self.shared.copy_failures.load(Ordering::Relaxed)
    }

    /// Databases and their policies as of now.
    pub fn databases(&self) -> Arc<Databases> {
        self.shared.databases.load_full()
    }

    /// The engine's door to the list of live files.
    pub fn manifest(&self) -> SqliteManifest {
        SqliteManifest::new(self.store.clone())
    }

    /// Events.
    pub fn events(&self) -> Events {
        Events::new(self.store.clone())
    }

    /// Dashboards and their templates.
    pub fn dashboards(&self) -> Dashboards {
        Dashboards::new(self.store.clone())
    }

    /// Short links.
    pub fn links(&self) -> Links {
        Links::new(self.store.clone())
    }

    /// Creates a database with its first policy, which becomes the default and which the engine is told of. Returns it,
    /// or `None` when the database exists.
    ///
    /// # Errors
    /// `Invalid` for a bad name or policy and when there are too many databases, `Unavailable` for the disk.
    pub async fn create_database(&self, name: &str, first: NewPolicy) -> Result<Option<Policy>> {
        databases::check_name(name, "database")?;
        let databases = self.databases();
        if databases.get(name).is_some() {
            return Ok(None);
        }
        let max = self.shared.databases_max.load(Ordering::Relaxed);
        if databases.iter().count() >= max && name != GRAPHITE {
            self.shared.databases_refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::invalid(format!(
                "database {name} was not created: there are {max} already, which is [limits] databases"
            )));
        }
        let database = name.to_owned();
        let made = self
            .change(move |connection| {
                Box::pin(async move {
                    let Some(id) = databases::insert_database(connection, &database).await? else { return Ok(None) };
                    databases::insert_policy(connection, id, &NewPolicy { default: true, ..first }).await
                })
            })
            .await?;
        Ok(made.and_then(|id| self.databases().policy(id).map(|p| p.policy.clone())))
    }

    /// Forgets a database with its files. Returns the policies that the engine must drop; empty when there was none of
    /// that name. After a crash in between the engine's next start drops them.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn drop_database(&self, name: &str) -> Result<Vec<PolicyId>> {
        let Some(database) = self.databases().get(name).cloned() else { return Ok(Vec::new()) };
        let name = name.to_owned();
        self.change(move |connection| {
            Box::pin(async move {
                let files = "DELETE FROM file WHERE policy_id IN
                    (SELECT policy.id FROM policy JOIN database ON database.id = database_id WHERE database.name = ?)";
                sqlx::query(files).bind(&name).execute(&mut *connection).await?;
                sqlx::query("DELETE FROM database WHERE name = ?").bind(&name).execute(connection).await?;
                Ok(())
            })
        })
        .await?;
        Ok(database.policies.iter().map(|p| p.policy.id).collect())
    }

    /// Sets how long a series of a database may go without a point before it is removed, in nanoseconds; 0 for ever.
    ///
    /// # Errors
    /// `NotFound` without the database, `Invalid` below an hour.
    pub async fn set_max_idle(&self, database: &str, max_idle_ns: i64) -> Result<()> {
        if max_idle_ns != 0 && max_idle_ns < MAX_IDLE_MIN_NS {
            return Err(Error::invalid("max_idle is at least an hour, or 0 for none"));
        }
        let id = self.databases().get(database).ok_or_else(|| not_found(database))?.id;
        self.change(move |connection| {
            Box::pin(async move {
                let update = sqlx::query("UPDATE database SET max_idle_ns = ? WHERE id = ?");
                update.bind(max_idle_ns).bind(id).execute(connection).await?;
                Ok(())
            })
        })
        .await
    }

    /// Adds a policy to a database and tells the engine; an identical one is no error. Returns the policy.
    ///
    /// # Errors
    /// `NotFound` without the database, `Invalid` when a policy of that name differs.
    pub async fn create_policy(&self, database: &str, new: NewPolicy) -> Result<Policy> {
        databases::check_name(&new.name, "retention policy")?;
        let all = self.databases();
        let found = all.get(database).ok_or_else(|| not_found(database))?;
        if let Some(existing) = found.same_policy(&new)? {
            return Ok(existing.clone());
        }
        let (database_id, wanted) = (found.id, new.clone());
        self.change(move |connection| {
            Box::pin(async move { databases::insert_policy(connection, database_id, &wanted).await })
        })
        .await?;
        // Ours, or that of somebody who came first: then it must be the same.
        let all = self.databases();
        let made = all.get(database).ok_or_else(|| not_found(database))?.same_policy(&new)?;
        made.cloned().ok_or_else(|| Error::internal("a policy that was just created is missing"))
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

    /// Sets the coarser levels of a policy, and what they keep besides the usual aggregates; none for raw points only. What
    /// is there is rolled up in the background; a level that goes takes its roll-ups along.
    ///
    /// # Errors
    /// `NotFound` for either name (an empty one is the default policy); `Invalid` for levels that cannot be, or of a Graphite
    /// storage schema; `Unavailable` while the roll-ups of a level that was removed are still there.
    pub async fn set_tiers(
        &self,
        database: &str,
        policy: &str,
        tiers: Vec<Level>,
        aggregates: Aggregates,
    ) -> Result<Policy> {
        let all = self.databases();
        let found = all.get(database).ok_or_else(|| not_found(database))?;
        let existing =
            found.policy(policy).ok_or_else(|| Error::not_found(format!("retention policy not found: {policy}")))?;
        if existing.internal {
            return Err(Error::invalid("the levels of a Graphite storage schema are those of its archives"));
        }
        databases::check_tiers(&existing.policy.levels, &tiers)?;
        let (id, known) = (existing.policy.id, existing.policy.levels.len());
        let done = self.change(move |connection| {
            Box::pin(async move { databases::update_tiers(connection, id, known, &tiers, aggregates).await })
        });
        if done.await?.is_none() {
            return Err(Error::unavailable("what a removed tier has left is still there: try again in a moment"));
        }
        let policy = self.databases().policy(id).map(|p| p.policy.clone());
        policy.ok_or_else(|| Error::internal("a policy that was just changed is missing"))
    }

    /// Forgets a policy with its files; returns it for the engine to drop, or `None` when there was none of that name.
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
                let id = i64::from(id.0);
                sqlx::query("DELETE FROM file WHERE policy_id = ?").bind(id).execute(&mut *connection).await?;
                sqlx::query("DELETE FROM policy WHERE id = ?").bind(id).execute(connection).await?;
                Ok(())
            })
        })
        .await?;
        Ok(Some(id))
    }

    /// Runs one change in a transaction and publishes what is kept in memory, all on the catalogue's thread: a caller
    /// that goes away leaves neither half of it undone.
    async fn change<T: Send + 'static>(
        &self,
        f: impl for<'c> FnOnce(&'c mut SqliteConnection) -> store::Answer<'c, T> + Send + 'static,
    ) -> Result<T> {
        let shared = self.shared.clone();
        self.store
            .run(move |connection| {
                Box::pin(async move {
                    let mut transaction = connection.begin().await?;
                    let value = f(&mut transaction).await?;
                    let fresh = databases::load(&mut transaction).await?;
                    let accounts = accounts::load(&mut transaction).await?;
                    transaction.commit().await?;
                    shared.publish(fresh, accounts);
                    Ok(value)
                })
            })
            .await
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

/// The catalogue's file in a data directory.
pub fn path_in(data_dir: &Path) -> PathBuf {
    data_dir.join("catalog.sqlite")
}

/// The copy of its rows.
pub fn copy_in(data_dir: &Path) -> PathBuf {
    data_dir.join("data").join("catalog.copy")
}

fn not_found(database: &str) -> Error {
    Error::not_found(format!("database not found: {database}"))
}
