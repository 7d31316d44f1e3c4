//! Continuous queries: statements that make them, and the scheduler that runs them.
//!
//! The catalogue keeps the text of each with databases and policies filled in, and how far it has run. [`rhythm`] says
//! when a run is due and what it covers; [`Scheduler`] runs it as `SELECT ... INTO` and records it when the points are
//! durable. A run that a crash cut short is made again: it writes the same points.

mod rhythm;
mod scheduler;
#[cfg(test)]
mod tests;

use rhythmite_influx::influxql::{CreateContinuousQuery, Measurement, SelectStatement, Source};

use super::context::Context;
use super::failure::{Failure, Result};
use crate::catalog::Databases;

pub use scheduler::{Scheduler, Ticked};

/// `CREATE CONTINUOUS QUERY`: the same one again is no error.
pub(super) fn create(context: &Context, create: &CreateContinuousQuery) -> Result<()> {
    let mut create = create.clone();
    let all = context.catalog.databases();
    let database = create.database.clone();
    each_measurement(&mut create.select, &mut |measurement| fill_in(measurement, &all, &database))?;
    each_measurement(&mut create.select, &mut |measurement| check_policy(measurement, &all))?;
    if scheduler::never_runs(&create) {
        tracing::warn!("continuous query {} on {database} has no GROUP BY time(...) and will never run", create.name);
    }
    let text = create.to_string();
    Ok(context.runtime.block_on(context.catalog.create_continuous(&create.database, &create.name, &text))?)
}

/// `DROP CONTINUOUS QUERY`: a missing one, or a missing database, is no error.
pub(super) fn drop(context: &Context, database: &str, name: &str) -> Result<()> {
    Ok(context.runtime.block_on(context.catalog.drop_continuous(database, name))?)
}

fn each_measurement(select: &mut SelectStatement, f: &mut dyn FnMut(&mut Measurement) -> Result<()>) -> Result<()> {
    if let Some(target) = &mut select.target {
        f(target)?;
    }
    for source in &mut select.sources {
        match source {
            Source::Measurement(measurement) => f(measurement)?,
            Source::Subquery(inner) => each_measurement(inner, f)?,
        }
    }
    Ok(())
}

/// Names the database and the policy that a measurement means today.
fn fill_in(measurement: &mut Measurement, all: &Databases, database: &str) -> Result<()> {
    let name = measurement.database.get_or_insert_with(|| database.to_owned());
    let found = all.get(name).ok_or_else(|| Failure::new(format!("database not found: {name}")))?;
    if measurement.policy.is_none() {
        let policy = found.default_policy();
        let policy = policy.ok_or_else(|| Failure::new(format!("default retention policy not set for: {name}")))?;
        measurement.policy = Some(policy.policy.name.clone());
    }
    Ok(())
}

fn check_policy(measurement: &mut Measurement, all: &Databases) -> Result<()> {
    let (database, policy) =
        (measurement.database.as_deref().unwrap_or_default(), measurement.policy.as_deref().unwrap_or_default());
    match all.get(database).and_then(|found| found.policy(policy)) {
        Some(_) => Ok(()),
        None => Err(Failure::new(format!("retention policy not found: {database}.{policy}"))),
    }
}
