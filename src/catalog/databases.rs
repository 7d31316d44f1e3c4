//! Databases and retention policies, in memory and as rows.

use std::collections::BTreeMap;

use rhythmite_model::{Aggregates, Error, Level, Policy, PolicyId, Result};
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::GRAPHITE;
use super::continuous::{self, ContinuousQuery};

/// Longest name of a database or policy, in bytes.
const NAME_BYTES_MAX: usize = 255;
const HOUR_NS: i64 = 3_600_000_000_000;

/// A retention policy as InfluxDB shows it, over the engine's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// What the engine knows.
    pub policy: Policy,
    /// Shard group duration: stored and shown, nothing else.
    pub shard_ns: i64,
    /// Replication factor: stored and shown, nothing else.
    pub replica_n: i64,
    /// A Graphite storage schema: not shown by SHOW RETENTION POLICIES.
    pub internal: bool,
}

/// One database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Row id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// In the order in which they were made.
    pub policies: Vec<RetentionPolicy>,
    /// The policy that writes and queries without one use.
    pub default: Option<PolicyId>,
    /// In the order in which they were made.
    pub continuous: Vec<ContinuousQuery>,
    /// A series whose newest point is older than this goes, in nanoseconds; 0: however old it is.
    pub max_idle_ns: i64,
}

impl Database {
    /// The policy of this name; the default one for an empty name.
    pub fn policy(&self, name: &str) -> Option<&RetentionPolicy> {
        if name.is_empty() { self.default_policy() } else { self.policies.iter().find(|p| p.policy.name == name) }
    }

    /// The policy of the name of `new`, if there is one.
    ///
    /// # Errors
    /// `Invalid` when it is another than `new` asks for.
    pub(super) fn same_policy(&self, new: &NewPolicy) -> Result<Option<&Policy>> {
        let Some(existing) = self.policies.iter().find(|p| p.policy.name == new.name) else { return Ok(None) };
        let same = same_levels(&existing.policy.levels, new)
            && existing.shard_ns == new.shard_ns
            && existing.replica_n == new.replica_n
            && (!new.default || self.default == Some(existing.policy.id));
        match same {
            true => Ok(Some(&existing.policy)),
            false => Err(Error::invalid("retention policy conflicts with an existing policy")),
        }
    }

    /// The policy that writes and queries without one use.
    pub fn default_policy(&self) -> Option<&RetentionPolicy> {
        self.policies.iter().find(|p| Some(p.policy.id) == self.default)
    }
}

/// All databases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Databases {
    by_name: BTreeMap<String, Database>,
}

impl Databases {
    /// The database of this name.
    pub fn get(&self, name: &str) -> Option<&Database> {
        self.by_name.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Database> {
        self.by_name.values()
    }

    /// Every policy of every database.
    pub fn policies(&self) -> impl Iterator<Item = &RetentionPolicy> {
        self.by_name.values().flat_map(|d| &d.policies)
    }

    /// The policy with this id.
    pub fn policy(&self, id: PolicyId) -> Option<&RetentionPolicy> {
        self.policies().find(|p| p.policy.id == id)
    }

    /// The Graphite policy with exactly these levels.
    pub fn graphite_policy(&self, levels: &[Level]) -> Option<Policy> {
        let graphite = self.get(GRAPHITE)?;
        graphite.policies.iter().find(|p| p.internal && p.policy.levels == levels).map(|p| p.policy.clone())
    }
}

/// A policy to be made.
#[derive(Clone, Debug)]
pub struct NewPolicy {
    /// Its name.
    pub name: String,
    /// Finest first.
    pub levels: Vec<Level>,
    /// Shown by SHOW RETENTION POLICIES.
    pub shard_ns: i64,
    /// Shown by SHOW RETENTION POLICIES.
    pub replica_n: i64,
    /// Writes and queries without a policy use it.
    pub default: bool,
    /// A Graphite storage schema.
    pub internal: bool,
}

impl NewPolicy {
    /// A policy of raw points kept for `retention_ns` (0: for ever), with InfluxDB's default shard duration.
    pub fn raw(name: impl Into<String>, retention_ns: i64) -> Self {
        let levels = vec![Level { step_ns: 0, retention_ns }];
        let shard_ns = shard_duration(retention_ns);
        Self { name: name.into(), levels, shard_ns, replica_n: 1, default: false, internal: false }
    }

    /// The policy every new InfluxDB database has.
    pub fn autogen() -> Self {
        Self::raw("autogen", 0)
    }

    /// A Graphite storage schema, named after its levels: `10s_21600s-60s_604800s`.
    ///
    /// # Errors
    /// `Invalid` without a level.
    pub fn internal(levels: Vec<Level>) -> Result<Self> {
        let Some(first) = levels.first() else { return Err(Error::invalid("a storage schema needs an archive")) };
        let second = 1_000_000_000;
        let name: Vec<_> =
            levels.iter().map(|l| format!("{}s_{}s", l.step_ns / second, l.retention_ns / second)).collect();
        let shard_ns = shard_duration(first.retention_ns);
        Ok(Self { name: name.join("-"), levels, shard_ns, replica_n: 1, default: false, internal: true })
    }
}

/// InfluxDB's shard group duration for a retention: 1 h below two days, 1 d below 180 days, else 7 d.
pub fn shard_duration(retention_ns: i64) -> i64 {
    match retention_ns {
        0 => 7 * 24 * HOUR_NS,
        n if n < 48 * HOUR_NS => HOUR_NS,
        n if n < 180 * 24 * HOUR_NS => 24 * HOUR_NS,
        _ => 7 * 24 * HOUR_NS,
    }
}

/// What ALTER RETENTION POLICY changes; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct PolicyChange {
    /// Retention of the raw level; 0 for ever.
    pub retention_ns: Option<i64>,
    /// Shard group duration.
    pub shard_ns: Option<i64>,
    /// Replication factor.
    pub replica_n: Option<i64>,
    /// Make it the default.
    pub default: bool,
}

/// Coarser levels of one policy.
const TIERS_MAX: usize = 8;
const SECOND_NS: i64 = 1_000_000_000;

/// What coarser levels a policy may have, which has `levels` now.
pub(super) fn check_tiers(levels: &[Level], tiers: &[Level]) -> Result<()> {
    if tiers.len() > TIERS_MAX {
        return Err(Error::invalid(format!("a policy has at most {TIERS_MAX} tiers")));
    }
    let mut finer = levels.first().copied().unwrap_or(Level { step_ns: 0, retention_ns: 0 });
    for (at, tier) in (1..).zip(tiers) {
        let step_s = tier.step_ns / SECOND_NS;
        if tier.step_ns < SECOND_NS || tier.step_ns % SECOND_NS != 0 || tier.step_ns <= finer.step_ns {
            return Err(Error::invalid(format!("tier {at}: steps are whole seconds, each longer than the one before")));
        }
        if tier.retention_ns != 0 && (finer.retention_ns == 0 || tier.retention_ns < finer.retention_ns) {
            return Err(Error::invalid(format!("tier {at} ({step_s}s) is kept for less time than what is finer")));
        }
        if let Some(known) = levels.get(at).filter(|known| known.step_ns != tier.step_ns) {
            let known_s = known.step_ns / SECOND_NS;
            return Err(Error::invalid(format!(
                "tier {at} is there with a step of {known_s}s: tiers are added behind the others and removed from the end"
            )));
        }
        finer = *tier;
    }
    Ok(())
}

pub(super) fn check_name(name: &str, what: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "invalid {what} name: 1 to {NAME_BYTES_MAX} bytes without control characters are needed"
        )));
    }
    Ok(())
}

pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Databases, sqlx::Error> {
    let mut levels: BTreeMap<i64, Vec<Level>> = BTreeMap::new();
    let rows = sqlx::query("SELECT policy_id, step_ns, retention_ns FROM level ORDER BY policy_id, ordinal");
    for row in rows.fetch_all(&mut *connection).await? {
        let level = Level { step_ns: row.try_get(1)?, retention_ns: row.try_get(2)? };
        levels.entry(row.try_get(0)?).or_default().push(level);
    }
    let mut by_id: BTreeMap<i64, Database> = BTreeMap::new();
    for row in sqlx::query("SELECT id, name, max_idle_ns FROM database").fetch_all(&mut *connection).await? {
        let (id, name, max_idle_ns) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let (policies, continuous) = (Vec::new(), Vec::new());
        by_id.insert(id, Database { id, name, policies, default: None, continuous, max_idle_ns });
    }
    for (database, queries) in continuous::load(&mut *connection).await? {
        if let Some(database) = by_id.get_mut(&database) {
            database.continuous = queries;
        }
    }
    let rows = sqlx::query(
        "SELECT id, database_id, name, partition_ns, shard_ns, replica_n, is_default, internal, aggregates
         FROM policy ORDER BY id",
    );
    for row in rows.fetch_all(&mut *connection).await? {
        let (id, database): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let Some(database) = by_id.get_mut(&database) else { continue };
        let policy_id = PolicyId(u32::try_from(id).map_err(|e| sqlx::Error::Decode(Box::new(e)))?);
        database.policies.push(RetentionPolicy {
            policy: Policy {
                id: policy_id,
                database: database.name.clone(),
                name: row.try_get(2)?,
                levels: levels.remove(&id).unwrap_or_default(),
                partition_ns: row.try_get(3)?,
                max_idle_ns: database.max_idle_ns,
                aggregates: aggregates(row.try_get(8)?),
            },
            shard_ns: row.try_get(4)?,
            replica_n: row.try_get(5)?,
            internal: row.try_get(7)?,
        });
        if row.try_get(6)? {
            database.default = Some(policy_id);
        }
    }
    Ok(Databases { by_name: by_id.into_values().map(|d| (d.name.clone(), d)).collect() })
}

/// Coarser levels of a retention policy are not part of what InfluxQL says of it.
fn same_levels(levels: &[Level], new: &NewPolicy) -> bool {
    if new.internal { levels == new.levels } else { levels.first() == new.levels.first() }
}

/// The usual ones are always kept.
fn aggregates(bits: i64) -> Aggregates {
    Aggregates::from_bits(u16::try_from(bits).unwrap_or(0)).and(Aggregates::USUAL)
}

/// The new row's id; `None` when another caller was first.
pub(super) async fn insert_database(connection: &mut SqliteConnection, name: &str) -> Result<Option<i64>, sqlx::Error> {
    let done = sqlx::query("INSERT OR IGNORE INTO database (name) VALUES (?)").bind(name).execute(connection).await?;
    Ok((done.rows_affected() > 0).then(|| done.last_insert_rowid()))
}

/// The new policy's id; `None` when another caller was first.
pub(super) async fn insert_policy(
    connection: &mut SqliteConnection,
    database: i64,
    new: &NewPolicy,
) -> Result<Option<PolicyId>, sqlx::Error> {
    let (step, retention) = new.levels.first().map_or((0, 0), |l| (l.step_ns, l.retention_ns));
    let done = sqlx::query(
        "INSERT INTO policy (database_id, name, partition_ns, shard_ns, replica_n, is_default, internal)
         VALUES (?, ?, ?, ?, ?, 0, ?) ON CONFLICT (database_id, name) DO NOTHING",
    )
    .bind(database)
    .bind(&new.name)
    .bind(Policy::raw_partition_length(step, retention))
    .bind(new.shard_ns)
    .bind(new.replica_n)
    .bind(new.internal)
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    let id = done.last_insert_rowid();
    if new.default {
        clear_default(&mut *connection, database).await?;
        sqlx::query("UPDATE policy SET is_default = 1 WHERE id = ?").bind(id).execute(&mut *connection).await?;
    }
    for (ordinal, level) in new.levels.iter().enumerate() {
        sqlx::query("INSERT INTO level (policy_id, ordinal, step_ns, retention_ns) VALUES (?, ?, ?, ?)")
            .bind(id)
            .bind(ordinal as i64)
            .bind(level.step_ns)
            .bind(level.retention_ns)
            .execute(&mut *connection)
            .await?;
    }
    u32::try_from(id).map(|id| Some(PolicyId(id))).map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

pub(super) async fn update_policy(
    connection: &mut SqliteConnection,
    database: i64,
    id: PolicyId,
    change: &PolicyChange,
) -> Result<(), sqlx::Error> {
    let id = i64::from(id.0);
    if let Some(retention) = change.retention_ns {
        sqlx::query("UPDATE level SET retention_ns = ? WHERE policy_id = ? AND ordinal = 0")
            .bind(retention)
            .bind(id)
            .execute(&mut *connection)
            .await?;
    }
    if change.default {
        clear_default(&mut *connection, database).await?;
    }
    sqlx::query(
        "UPDATE policy SET shard_ns = coalesce(?, shard_ns), replica_n = coalesce(?, replica_n),
         is_default = max(is_default, ?) WHERE id = ?",
    )
    .bind(change.shard_ns)
    .bind(change.replica_n)
    .bind(change.default)
    .bind(id)
    .execute(connection)
    .await?;
    Ok(())
}

/// Replaces the coarser levels of a policy. `None` when what a level that went has left is still there.
pub(super) async fn update_tiers(
    connection: &mut SqliteConnection,
    id: PolicyId,
    known: usize,
    tiers: &[Level],
    aggregates: Aggregates,
) -> Result<Option<()>, sqlx::Error> {
    let id = i64::from(id.0);
    // The numbers of levels are part of the files' names.
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM file WHERE policy_id = ? AND (tier & 127) >= ?")
        .bind(id)
        .bind(known as i64)
        .fetch_one(&mut *connection)
        .await?;
    if left > 0 && tiers.len() >= known {
        return Ok(None);
    }
    sqlx::query("DELETE FROM level WHERE policy_id = ? AND ordinal > 0").bind(id).execute(&mut *connection).await?;
    for (ordinal, level) in (1_i64..).zip(tiers) {
        sqlx::query("INSERT INTO level (policy_id, ordinal, step_ns, retention_ns) VALUES (?, ?, ?, ?)")
            .bind(id)
            .bind(ordinal)
            .bind(level.step_ns)
            .bind(level.retention_ns)
            .execute(&mut *connection)
            .await?;
    }
    let update =
        sqlx::query("UPDATE policy SET aggregates = ? WHERE id = ?").bind(i64::from(aggregates.bits())).bind(id);
    update.execute(connection).await?;
    Ok(Some(()))
}

async fn clear_default(connection: &mut SqliteConnection, database: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE policy SET is_default = 0 WHERE database_id = ?").bind(database).execute(connection).await?;
    Ok(())
}
