//! Statements that delete points: `DROP MEASUREMENT`, `DROP SERIES`, `DELETE`.
//!
//! All become one deletion of the engine, on disk when the statement returns: all of it or none. Series without a point
//! left are gone from every SHOW with it, and so are measurements without series, with their fields.

use std::ops::RangeInclusive;

use rhythmite_engine::Durability;
use rhythmite_influx::influxql::{Expr, Known, Source, TimeRange, time_range};
use rhythmite_model::{SeriesSet, TableId, Tombstone};

use super::context::{Context, Request};
use super::failure::{Failure, Result};
use super::show::condition::{Condition, OnField, has_time};
use super::show::source;

/// `DROP MEASUREMENT` from all policies of the database; a missing one is no error.
pub(super) fn drop_measurement(context: &Context, request: &Request, name: &str) -> Result<()> {
    let databases = context.catalog.databases();
    let database = source::database(&databases, source::database_name(None, request)?)?;
    let tables: Vec<TableId> = {
        let names = context.engine.registry().read();
        let tables = database.policies.iter().filter_map(|p| names.find_table(p.policy.id, name));
        tables.map(|table| table.id()).collect()
    };
    let whole =
        |table| Tombstone { table, series: SeriesSet::table(table), fields: None, times_ns: Tombstone::ALL_TIMES };
    context.engine.delete(tables.into_iter().map(whole).collect(), Durability::Sync)?;
    Ok(())
}

/// `DROP SERIES [FROM] [WHERE tags]`
pub(super) fn drop_series(
    context: &Context,
    request: &Request,
    sources: &[Source],
    condition: Option<&Expr>,
) -> Result<()> {
    if has_time(condition) {
        return Err(Failure::new("DROP SERIES doesn't support time in WHERE clause"));
    }
    delete(context, request, sources, condition)
}

/// `DELETE [FROM] [WHERE]`: by tags and time, in all policies unless the request means one.
pub(super) fn delete(context: &Context, request: &Request, sources: &[Source], condition: Option<&Expr>) -> Result<()> {
    let databases = context.catalog.databases();
    let database = source::database(&databases, source::database_name(None, request)?)?;
    let known = Known { now_ns: Some(context.clock.now_ns()), ..Known::default() };
    let (_, times) = time_range(condition, &known)?;
    let condition = Condition::new(context, condition, OnField::Refuse)?;
    let policy = request.only_policy.as_deref();
    let found = source::find(context, request, Some(&database.name), sources, policy)?;
    delete_selected(context, found.into_values().flatten(), &condition, range(times))
}

fn delete_selected(
    context: &Context,
    tables: impl Iterator<Item = TableId>,
    condition: &Condition,
    times_ns: RangeInclusive<i64>,
) -> Result<()> {
    let mut tombstones = Vec::new();
    {
        let names = context.engine.registry().read();
        for table in tables {
            let series = names.set(table, Some(&condition.select(&names, table, None)?));
            tombstones.push(Tombstone { table, series, fields: None, times_ns: times_ns.clone() });
        }
    }
    context.engine.delete(tombstones, Durability::Sync)?;
    Ok(())
}

fn range(times: TimeRange) -> RangeInclusive<i64> {
    times.min_ns.unwrap_or(i64::MIN)..=times.max_ns.unwrap_or(i64::MAX)
}
