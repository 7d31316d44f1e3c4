//! What a statement reads: databases, policies and measurements to tables, and their columns.

use std::collections::BTreeMap;

use rhythmite_engine::registry::{Directory, Table};
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
    let mut found: BTreeMap<String, Vec<TableId>> = BTreeMap::new();
    each_table(measurement, context, request, &mut |_, table| {
        found.entry(table.name().to_owned()).or_default().push(table.id());
    })?;
    Ok(found)
}

/// Calls `f` with the names and each table a measurement stands for. The names are locked meanwhile.
fn each_table(
    measurement: &Measurement,
    context: &Context,
    request: &Request,
    f: &mut dyn FnMut(&Directory, &Table),
) -> Result<()> {
    let policies = policies(&context.catalog.databases(), measurement, request)?;
    let directory = context.engine.registry().read();
    for policy in policies {
        match &measurement.name {
            MeasurementName::Name(name) => {
                directory.find_table(policy, name).into_iter().for_each(|table| f(&directory, table));
            }
            MeasurementName::Regex(regex) => {
                let matching = directory.tables(policy).filter(|table| regex.is_match(table.name()));
                matching.for_each(|table| f(&directory, table));
            }
            MeasurementName::Source => {}
        }
    }
    Ok(())
}

/// The columns of tables, from the registry.
pub(super) struct Registered<'a> {
    pub(super) context: &'a Context,
    pub(super) request: &'a Request,
}

impl Schema for Registered<'_> {
    fn columns(&self, source: &Measurement) -> Columns {
        let mut columns = Columns::default();
        // A measurement of a database that is not there has none; `check` has said so.
        let _ = each_table(source, self.context, self.request, &mut |directory, table| {
            add_columns(&mut columns, directory, table);
        });
        columns
    }

    fn data_type(&self, source: &Measurement, name: &str) -> Option<DataType> {
        let mut found: Option<DataType> = None;
        let _ = each_table(source, self.context, self.request, &mut |directory, table| {
            // The smaller type is the more telling one, and a tag is the least.
            found = found.into_iter().chain(type_in(directory, table, name)).min();
        });
        found
    }
}

fn add_columns(columns: &mut Columns, directory: &Directory, table: &Table) {
    if table.series_count() == 0 {
        return;
    }
    for (_, name, field_type) in directory.fields(table.id()) {
        columns.add_field(name, data_type(field_type));
    }
    columns.tags.extend(directory.tag_keys(&[table.id()], None).into_iter().map(|(key, _)| key.to_owned()));
    if table.kind() == KeyKind::Path {
        columns.tags.insert(PATH_TAG.to_owned());
    }
}

/// The type of a name among the columns of a table.
fn type_in(directory: &Directory, table: &Table, name: &str) -> Option<DataType> {
    if table.series_count() == 0 {
        return None;
    }
    if let Some((_, field_type)) = directory.find_field(table.id(), name) {
        return Some(data_type(field_type));
    }
    let is_tag = (table.kind() == KeyKind::Path && name == PATH_TAG) || directory.has_tag(table.id(), name);
    is_tag.then_some(DataType::Tag)
}

/// Whether a name of this type is a tag of a series.
pub(super) fn reads_tag(data_type: Option<DataType>) -> bool {
    matches!(data_type, None | Some(DataType::Tag))
}
