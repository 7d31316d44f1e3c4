//! SELECT INTO: the rows of an answer become points of another measurement.

use std::collections::HashMap;

use rhythmite_engine::registry::{Creator, Scope};
use rhythmite_engine::{Commit, Durability};
use rhythmite_influx::influxql::{Measurement, MeasurementName};
use rhythmite_influx::line_protocol::SeriesKey;
use rhythmite_model::{Column, FieldId, FieldType, KeyKind, PolicyId, Rows as Batch, SeriesId, TableId, Tier};

use super::context::{Context, Request};
use super::failure::{Failure, Result};
use super::select::Rows;
use super::source;

/// Where the rows of a statement go.
pub(super) struct Into<'a> {
    context: &'a Context,
    policy: PolicyId,
    /// `None`: each row goes to the measurement it came from.
    name: Option<String>,
    columns: Vec<String>,
    written: u64,
    pending: Vec<Commit>,
}

impl<'a> Into<'a> {
    /// `columns` are those of the answer, time first.
    pub(super) fn new(
        context: &'a Context,
        request: &Request,
        target: &Measurement,
        columns: &[String],
    ) -> Result<Self> {
        let all = context.catalog.databases();
        let database = source::database(&all, target.database.as_deref(), request)?;
        let named = target.policy.as_deref().unwrap_or("");
        let policy =
            database.policy(named).ok_or_else(|| Failure::new(format!("retention policy not found: {named}")))?;
        let name = match &target.name {
            MeasurementName::Name(name) => Some(name.clone()),
            MeasurementName::Source => None,
            MeasurementName::Regex(_) => return Err(Failure::new("a target is one measurement")),
        };
        let columns = columns.iter().skip(1).cloned().collect();
        Ok(Self { context, policy: policy.policy.id, name, columns, written: 0, pending: Vec::new() })
    }

    /// Writes the rows of a series. A row of nothing but nulls is no point; a field whose stored type is another is
    /// refused as in a write.
    pub(super) fn take(&mut self, rows: Rows) -> Result<()> {
        let name = self.name.as_deref().unwrap_or(&rows.name).to_owned();
        let key = canonical(&name, &rows.tags);
        // Rows with the same fields go together.
        let mut by_fields: HashMap<Vec<usize>, Vec<u32>> = HashMap::new();
        for row in 0..rows.times_ns.len() {
            let valid = |at: &usize| match rows.columns[*at].get(row) {
                Some(rhythmite_model::FieldValue::Float(value)) => value.is_finite(),
                value => value.is_some(),
            };
            let present: Vec<usize> = (0..self.columns.len().min(rows.columns.len())).filter(valid).collect();
            if !present.is_empty() {
                by_fields.entry(present).or_default().push(row as u32);
            }
        }
        for (present, picked) in by_fields {
            let wanted: Vec<(&str, FieldType)> =
                present.iter().map(|at| (self.columns[*at].as_str(), rows.columns[*at].field_type())).collect();
            let (table, series, ids) = self.names(&name, &key, &wanted)?;
            let mut fields: Vec<(FieldId, Column)> = Vec::new();
            for (at, id) in present.iter().zip(ids) {
                // Of two columns with one name the later one is kept.
                let column = rows.columns[*at].gather(&picked).values().clone();
                match fields.iter_mut().find(|(known, _)| *known == id) {
                    Some((_, known)) => *known = column,
                    None => fields.push((id, column)),
                }
            }
            fields.sort_by_key(|(id, _)| *id);
            let times_ns: Vec<i64> = picked.iter().map(|row| rows.times_ns[*row as usize]).collect();
            self.written += times_ns.len() as u64;
            let batch = Batch { table, tier: Tier::RAW, series: vec![series; times_ns.len()], times_ns, fields };
            self.pending.push(self.context.engine.write(vec![batch], Durability::Sync)?);
        }
        Ok(())
    }

    /// Waits until everything is on disk; the number of points written.
    pub(super) fn finish(self) -> Result<u64> {
        self.pending.into_iter().try_for_each(Commit::wait)?;
        Ok(self.written)
    }

    fn names(&self, name: &str, key: &str, fields: &[(&str, FieldType)]) -> Result<(TableId, SeriesId, Vec<FieldId>)> {
        let policy = self.policy;
        let make = |names: &mut Creator<'_>| {
            let table = names.create_table(policy, name, KeyKind::Tagged)?;
            let ids = fields.iter().map(|(field, field_type)| names.create_field(table, field, *field_type));
            let ids = ids.collect::<rhythmite_model::Result<Vec<_>>>()?;
            Ok((table, names.create_series(table, key, None)?, ids))
        };
        if let Some(found) = self.known(name, key, fields) {
            return Ok(found);
        }
        let (made, _) = self.context.engine.create(Durability::Sync, make)?;
        Ok(made)
    }

    /// The names if all of them exist.
    fn known(&self, name: &str, key: &str, fields: &[(&str, FieldType)]) -> Option<(TableId, SeriesId, Vec<FieldId>)> {
        let directory = self.context.engine.registry().read();
        let table = directory.find_table(self.policy, name)?.id();
        let series = directory.series_id(directory.find_series(Scope::Policy(self.policy), key.as_bytes())?);
        let ids = fields.iter().map(|(field, field_type)| {
            directory.find_field(table, field).filter(|(_, known)| known == field_type).map(|(id, _)| id)
        });
        Some((table, series, ids.collect::<Option<Vec<_>>>()?))
    }
}

fn canonical(name: &str, tags: &[(String, String)]) -> String {
    // Sorted already; an empty value is no tag.
    let tags = tags.iter().filter(|(_, value)| !value.is_empty());
    let tags = tags.map(|(tag, value)| (tag.as_str().into(), value.as_str().into())).collect();
    SeriesKey { measurement: name.into(), tags }.canonical()
}
