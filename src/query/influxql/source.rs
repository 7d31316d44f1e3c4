//! What a statement reads: databases, policies and measurements to tables, and their columns.

use std::collections::BTreeMap;

use rhythmite_engine::registry::Directory;
use rhythmite_influx::influxql::{Columns, DataType, Measurement, MeasurementName, Schema, SelectStatement, Source};
use rhythmite_model::{KeyKind, PolicyId, TableId};

use super::context::{Context, Request};
use super::failure::{Failure, Result};
use super::value::data_type;
use crate::catalog::{Database, Databases, GRAPHITE};

/// The tag that holds the whole name of a Graphite series.
pub(super) const PATH_TAG: &str = "path";

/// The database a statement means.
///
/// # Errors
/// None is named, or there is none of that name.
pub(super) fn database<'a>(all: &'a Databases, named: Option<&str>, request: &Request) -> Result<&'a Database> {
    let name = named.filter(|name| !name.is_empty()).or(request.database.as_deref()).unwrap_or("");
    if name.is_empty() {
        return Err(Failure::new("database name required"));
    }
    all.get(name).ok_or_else(|| Failure::new(format!("database not found: {name}")))
}

/// The policies a measurement without or with a named policy is in. Graphite's storage schemas are seen as one with
/// the default policy.
fn policies(all: &Databases, measurement: &Measurement, request: &Request) -> Result<Vec<PolicyId>> {
    let database = database(all, measurement.database.as_deref(), request)?;
    // The request's policy is that of the request's database.
    let own = measurement.database.is_none() || measurement.database == request.database;
    let of_request = request.policy.as_deref().filter(|_| own);
    let named = measurement.policy.as_deref().or(of_request).unwrap_or("");
    let policy = database.policy(named).ok_or_else(|| {
        let name = if named.is_empty() { "<default>" } else { named };
        Failure::new(format!("retention policy not found: {name}"))
    })?;
    let mut ids = vec![policy.policy.id];
    if database.name == GRAPHITE && Some(policy.policy.id) == database.default {
        ids.extend(database.policies.iter().filter(|p| p.internal).map(|p| p.policy.id));
    }
    Ok(ids)
}

/// Checks that every database and policy a statement names exists.
pub(super) fn check(statement: &SelectStatement, context: &Context, request: &Request) -> Result<()> {
    let all = context.catalog.databases();
    let target = statement.target.iter();
    for measurement in target {
        policies(&all, measurement, request)?;
    }
    for source in &statement.sources {
        match source {
            Source::Measurement(measurement) => drop(policies(&all, measurement, request)?),
            Source::Subquery(inner) => check(inner, context, request)?,
        }
    }
    Ok(())
}

/// The tables a measurement stands for, by name.
pub(super) fn tables(
    measurement: &Measurement,
    context: &Context,
    request: &Request,
) -> Result<BTreeMap<String, Vec<TableId>>> {
    let policies = policies(&context.catalog.databases(), measurement, request)?;
    let directory = context.engine.registry().read();
    let mut found: BTreeMap<String, Vec<TableId>> = BTreeMap::new();
    for policy in policies {
        match &measurement.name {
            MeasurementName::Name(name) => {
                if let Some(table) = directory.find_table(policy, name) {
                    found.entry(name.clone()).or_default().push(table.id());
                }
            }
            MeasurementName::Regex(regex) => {
                for table in directory.tables(policy).filter(|table| regex.is_match(table.name())) {
                    found.entry(table.name().to_owned()).or_default().push(table.id());
                }
            }
            MeasurementName::Source => {}
        }
    }
    Ok(found)
}

/// The columns of tables, from the registry.
pub(super) struct Registered<'a> {
    pub(super) context: &'a Context,
    pub(super) request: &'a Request,
}

impl Schema for Registered<'_> {
    fn columns(&self, source: &Measurement) -> Columns {
        let mut columns = Columns::default();
        let Ok(tables) = tables(source, self.context, self.request) else { return columns };
        let directory = self.context.engine.registry().read();
        for table in tables.into_values().flatten() {
            add_columns(&mut columns, &directory, table);
        }
        columns
    }
}

fn add_columns(columns: &mut Columns, directory: &Directory, table: TableId) {
    let Some(found) = directory.table(table).filter(|found| found.series_count() > 0) else { return };
    for (_, name, field_type) in directory.fields(table) {
        columns.add_field(name, data_type(field_type));
    }
    columns.tags.extend(directory.tag_keys(&[table], None).into_iter().map(|(key, _)| key.to_owned()));
    if found.kind() == KeyKind::Path {
        columns.tags.insert(PATH_TAG.to_owned());
    }
}

/// Whether a name of this type is a tag of a series.
pub(super) fn reads_tag(data_type: Option<DataType>) -> bool {
    matches!(data_type, None | Some(DataType::Tag))
}
