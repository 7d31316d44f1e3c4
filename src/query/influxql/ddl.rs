//! Statements that change databases and retention policies.
//!
//! A drop is one transaction of the catalogue, which forgets policies and their files; then the engine drops names and
//! points. After a crash in between the next start does: so there is always all of a policy, or nothing.

use rhythmite_influx::influxql::{AlterRetentionPolicy, CreateDatabase, CreateRetentionPolicy, DatabasePolicy};

use super::context::Context;
use super::failure::{Failure, Result};
use super::show::source;
use crate::catalog::{Database, GRAPHITE, NewPolicy, PolicyChange, RetentionPolicy};

const HOUR_NS: i64 = 3_600_000_000_000;
/// Shortest retention, and shortest shard duration.
const RETENTION_MIN_NS: i64 = HOUR_NS;

const CONFLICT: &str = "retention policy conflicts with an existing policy";
const INCOMPATIBLE: &str = "retention policy duration must be greater than the shard duration";

/// `CREATE DATABASE`: one that exists is no error, unless its default policy is another than the one asked for.
pub(super) fn create_database(context: &Context, create: &CreateDatabase) -> Result<()> {
    check_name(&create.name)?;
    let wanted = match &create.policy {
        None => NewPolicy { default: true, ..NewPolicy::autogen() },
        Some(spec) => first_policy(spec)?,
    };
    if let Some(database) = context.catalog.databases().get(&create.name) {
        let Some(spec) = &create.policy else { return Ok(()) };
        return match database.policy(&wanted.name) {
            Some(existing) if matches(spec, existing) && database.default == Some(existing.policy.id) => Ok(()),
            None if database.policies.is_empty() => put(context, &create.name, wanted),
            _ => Err(Failure::new(CONFLICT)),
        };
    }
    context.runtime.block_on(context.catalog.create_database(&create.name, wanted))?;
    Ok(())
}

/// The policy of `CREATE DATABASE ... WITH`.
fn first_policy(spec: &DatabasePolicy) -> Result<NewPolicy> {
    let name = spec.name.as_deref().unwrap_or("autogen");
    check_name(name)?;
    let (duration_ns, replication) = (spec.duration_ns.unwrap_or(0), spec.replication.unwrap_or(1));
    new_policy(name, duration_ns, replication, spec.shard_duration_ns, true)
}

/// Whether a policy is what `WITH` asks for; what it does not say may be anything.
fn matches(spec: &DatabasePolicy, existing: &RetentionPolicy) -> bool {
    let retention_ns = retention_ns(existing);
    spec.duration_ns.is_none_or(|wanted| wanted == retention_ns)
        && spec.replication.is_none_or(|wanted| i64::from(wanted) == existing.replica_n)
        && shard_ns(spec.shard_duration_ns, retention_ns) == existing.shard_ns
}

/// `CREATE RETENTION POLICY`: the same one again is no error.
pub(super) fn create_policy(context: &Context, create: &CreateRetentionPolicy) -> Result<()> {
    check_name(&create.name)?;
    let wanted =
        new_policy(&create.name, create.duration_ns, create.replication, create.shard_duration_ns, create.default)?;
    let databases = context.catalog.databases();
    let database = source::database(&databases, &create.database)?;
    if let Some(existing) = database.policies.iter().find(|p| p.policy.name == create.name) {
        let same = wanted.levels == existing.policy.levels
            && wanted.shard_ns == existing.shard_ns
            && wanted.replica_n == existing.replica_n;
        return match same {
            false => Err(Failure::new("retention policy already exists")),
            true if create.default && database.default != Some(existing.policy.id) => Err(Failure::new(CONFLICT)),
            true => Ok(()),
        };
    }
    put(context, &create.database, wanted)
}

/// `ALTER RETENTION POLICY`
pub(super) fn alter_policy(context: &Context, alter: &AlterRetentionPolicy) -> Result<()> {
    let databases = context.catalog.databases();
    let database = source::database(&databases, &alter.database)?;
    let existing = visible_policy(database, &alter.name)
        .ok_or_else(|| Failure::new(format!("retention policy not found: {}", alter.name)))?;
    if let Some(duration_ns) = alter.duration_ns {
        check_retention(duration_ns)?;
    }
    let new_retention_ns = alter.duration_ns.unwrap_or(retention_ns(existing));
    let new_shard_ns = alter.shard_duration_ns.unwrap_or(existing.shard_ns);
    let changes_either = alter.duration_ns.is_some() || alter.shard_duration_ns.is_some();
    if changes_either && new_retention_ns > 0 && new_retention_ns < new_shard_ns {
        return Err(Failure::new(INCOMPATIBLE));
    }
    if alter.replication == Some(0) {
        return Err(Failure::new("replication factor must be greater than 0"));
    }
    let change = PolicyChange {
        retention_ns: alter.duration_ns,
        shard_ns: alter.shard_duration_ns.map(|wanted| shard_ns(Some(wanted), new_retention_ns)),
        replica_n: alter.replication.map(i64::from),
        default: alter.default,
    };
    context.runtime.block_on(context.catalog.alter_policy(&alter.database, &alter.name, change))?;
    Ok(())
}

/// `DROP RETENTION POLICY`: a missing one, or a missing database, is no error.
pub(super) fn drop_policy(context: &Context, database: &str, name: &str) -> Result<()> {
    let databases = context.catalog.databases();
    let Some(database) = databases.get(database) else { return Ok(()) };
    let Some(existing) = database.policies.iter().find(|p| p.policy.name == name) else { return Ok(()) };
    if existing.internal {
        return Err(Failure::new(format!("retention policy {name} is a storage schema and cannot be dropped")));
    }
    let forgotten = context.runtime.block_on(context.catalog.drop_policy(&database.name, name))?;
    Ok(context.engine.drop_policies(forgotten.as_slice())?)
}

/// `DROP DATABASE`: a missing one is no error.
pub(super) fn drop_database(context: &Context, name: &str) -> Result<()> {
    let databases = context.catalog.databases();
    if databases.get(name).is_none() {
        return Ok(());
    }
    if name == GRAPHITE {
        return Err(Failure::new("database graphite is where Graphite's paths are kept and cannot be dropped"));
    }
    let forgotten = context.runtime.block_on(context.catalog.drop_database(name))?;
    Ok(context.engine.drop_policies(&forgotten)?)
}

fn put(context: &Context, database: &str, new: NewPolicy) -> Result<()> {
    context.runtime.block_on(context.catalog.create_policy(database, new))?;
    Ok(())
}

fn visible_policy<'a>(database: &'a Database, name: &str) -> Option<&'a RetentionPolicy> {
    database.policies.iter().find(|p| p.policy.name == name && !p.internal)
}

fn retention_ns(policy: &RetentionPolicy) -> i64 {
    policy.policy.levels.first().map_or(0, |level| level.retention_ns)
}

fn new_policy(
    name: &str,
    duration_ns: i64,
    replication: u32,
    shard_duration_ns: Option<i64>,
    default: bool,
) -> Result<NewPolicy> {
    check_retention(duration_ns)?;
    if replication == 0 {
        return Err(Failure::new("replication factor must be greater than 0"));
    }
    let shard_ns = shard_ns(shard_duration_ns, duration_ns);
    if duration_ns > 0 && duration_ns < shard_ns {
        return Err(Failure::new(INCOMPATIBLE));
    }
    Ok(NewPolicy { shard_ns, replica_n: i64::from(replication), default, ..NewPolicy::raw(name, duration_ns) })
}

/// The shard duration that is kept for the one asked for; 0 asks for the one that suits the retention.
fn shard_ns(wanted: Option<i64>, retention_ns: i64) -> i64 {
    match wanted.unwrap_or(0) {
        0 => NewPolicy::raw("", retention_ns).shard_ns,
        wanted => wanted.max(RETENTION_MIN_NS),
    }
}

fn check_retention(duration_ns: i64) -> Result<()> {
    if duration_ns != 0 && duration_ns < RETENTION_MIN_NS {
        return Err(Failure::new("retention policy duration must be at least 1h0m0s"));
    }
    Ok(())
}

/// 1.x's rule for the names of databases and policies.
fn check_name(name: &str) -> Result<()> {
    let printable = |c: char| !c.is_control() && (c == ' ' || !c.is_whitespace());
    let valid =
        !name.is_empty() && name != "." && name != ".." && name.chars().all(|c| printable(c) && c != '/' && c != '\\');
    if valid { Ok(()) } else { Err(Failure::new("invalid name")) }
}
