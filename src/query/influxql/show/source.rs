//! What a statement is about: `ON` and `FROM` to measurements and their tables.

use std::collections::BTreeMap;

use rhythmite_engine::registry::Directory;
use rhythmite_influx::influxql::{Measurement, MeasurementName, Source};
use rhythmite_model::{PolicyId, TableId};

use crate::catalog::{Database, Databases, GRAPHITE};
use crate::query::influxql::context::{Context, Request};
use crate::query::influxql::failure::{Failure, Result};

/// Measurements by name, each with its tables: one per policy it is in. Those without series are not there.
pub(in crate::query::influxql) type Measurements = BTreeMap<String, Vec<TableId>>;

/// The name of the database a statement means; `named` is what it says itself.
///
/// # Errors
/// None is named.
pub(in crate::query::influxql) fn database_name<'a>(named: Option<&'a str>, request: &'a Request) -> Result<&'a str> {
    named
        .filter(|name| !name.is_empty())
        .or(request.database.as_deref())
        .filter(|name| !name.is_empty())
        .ok_or_else(|| Failure::new("database name required"))
}

/// The database of this name.
///
/// # Errors
/// There is none.
pub(in crate::query::influxql) fn database<'a>(all: &'a Databases, name: &str) -> Result<&'a Database> {
    all.get(name).ok_or_else(|| Failure::new(format!("database not found: {name}")))
}

/// Whether the database of `ON` is there: 1.x asks for it even where `FROM` names others.
///
/// # Errors
/// It is not, or there is no name.
pub(in crate::query::influxql) fn exists(context: &Context, request: &Request, on: Option<&str>) -> Result<()> {
    let databases = context.catalog.databases();
    database(&databases, database_name(on, request)?).map(drop)
}

/// All measurements of a database.
pub(in crate::query::influxql) fn all(context: &Context, database: &Database) -> Measurements {
    let mut found = Measurements::new();
    let directory = context.engine.registry().read();
    for policy in &database.policies {
        add(&directory, policy.policy.id, None, &mut found);
    }
    found
}

/// The measurements of `FROM` in the database of `ON`. Without `FROM` all of the database are meant; without a policy
/// those of all policies, or of `policy`.
///
/// # Errors
/// A database or policy is missing.
pub(in crate::query::influxql) fn find(
    context: &Context,
    request: &Request,
    on: Option<&str>,
    sources: &[Source],
    policy: Option<&str>,
) -> Result<Measurements> {
    let databases = context.catalog.databases();
    let mut found = Measurements::new();
    for source in measurements(sources)? {
        let named = source.and_then(|source| source.database.as_deref()).or(on);
        let database = database(&databases, database_name(named, request)?)?;
        let policies = policies(database, source.and_then(|source| source.policy.as_deref()).or(policy))?;
        let directory = context.engine.registry().read();
        for policy in policies {
            add(&directory, policy, source.map(|source| &source.name), &mut found);
        }
    }
    for tables in found.values_mut() {
        tables.sort_unstable();
        tables.dedup();
    }
    Ok(found)
}

/// The measurements of `FROM`; `None` stands for all.
fn measurements<'a>(sources: &'a [Source]) -> Result<Vec<Option<&'a Measurement>>> {
    if sources.is_empty() {
        return Ok(vec![None]);
    }
    let measurement = |source: &'a Source| match source {
        Source::Measurement(measurement) => Ok(Some(measurement)),
        Source::Subquery(_) => Err(Failure::new("a subquery cannot be shown")),
    };
    sources.iter().map(measurement).collect()
}

/// The policies meant. Graphite's storage schemas are seen as one with the default policy.
fn policies(database: &Database, named: Option<&str>) -> Result<Vec<PolicyId>> {
    let Some(name) = named.filter(|name| !name.is_empty()) else {
        return Ok(database.policies.iter().map(|p| p.policy.id).collect());
    };
    let id = match database.policy(name) {
        Some(found) => found.policy.id,
        None => return Err(Failure::new(format!("retention policy not found: {name}"))),
    };
    let mut ids = vec![id];
    if database.name == GRAPHITE && Some(id) == database.default {
        ids.extend(database.policies.iter().filter(|p| p.internal).map(|p| p.policy.id));
    }
    Ok(ids)
}

fn add(directory: &Directory, policy: PolicyId, wanted: Option<&MeasurementName>, found: &mut Measurements) {
    if let Some(MeasurementName::Name(name)) = wanted {
        if let Some(table) = directory.find_table(policy, name).filter(|t| t.series_count() > 0) {
            found.entry(name.clone()).or_default().push(table.id());
        }
        return;
    }
    for table in directory.tables(policy).filter(|t| t.series_count() > 0) {
        let meant = match wanted {
            None => true,
            Some(MeasurementName::Regex(regex)) => regex.is_match(table.name()),
            Some(_) => false,
        };
        if meant {
            found.entry(table.name().to_owned()).or_default().push(table.id());
        }
    }
}
