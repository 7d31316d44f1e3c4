//! Points that come as columns and not as text: what SELECT INTO writes.
//!
//! The rules are those of line protocol: a tag or lone field `time`, a field of another type, a time beyond the
//! retention of the policy and a limit of the registry refuse a point and not the others.

use std::collections::BTreeMap;

use rhythmite_engine::registry::{Creator, Scope};
use rhythmite_engine::{Commit, Durability};
use rhythmite_influx::line_protocol::{SeriesKey, texts};
use rhythmite_model::{Column, FieldId, KeyKind, Policy, Result, Rows, SeriesId, Tier};

use super::{InfluxWriter, TIME, invalid_tag, limit_text, oldest_ns};

/// Columns looked at together: a row's fields are one bit each.
const COLUMNS_AT_ONCE: usize = 64;

/// Points of one series.
#[derive(Clone, Debug)]
pub struct SeriesWrite<'a> {
    /// The policy that keeps the points.
    pub policy: &'a Policy,
    /// Its measurement.
    pub measurement: &'a str,
    /// Its tags, sorted by key; an empty value is none.
    pub tags: &'a [(String, String)],
    /// One per row; each once.
    pub times_ns: &'a [i64],
    /// One per field, each as long as the times; no two of one name.
    pub columns: &'a [FieldColumn<'a>],
    /// Nanoseconds: what retention counts from.
    pub now_ns: i64,
    /// When the commit resolves.
    pub durability: Durability,
}

/// The values of a field.
#[derive(Clone, Debug)]
pub struct FieldColumn<'a> {
    /// The field.
    pub name: &'a str,
    /// Its values.
    pub values: &'a Column,
    /// The rows that have one; `None` for all.
    pub valid: Option<&'a [bool]>,
}

/// What became of the points of a series.
#[must_use = "the points are acknowledged only when the commit resolves"]
pub struct SeriesOutcome {
    /// Resolves when the points are stored.
    pub commit: Commit,
    /// Points written.
    pub points: u64,
    /// Points not written.
    pub refused: u64,
    /// Why the first of them was not.
    pub reason: Option<String>,
}

/// Rows with the same fields.
struct Group {
    /// Places in the list of columns.
    columns: Vec<usize>,
    rows: Vec<u32>,
}

impl InfluxWriter {
    /// Writes points of one series. A row without any value is no point. A float that is not finite is no value.
    ///
    /// # Errors
    /// `Overloaded`: nothing was written, try again later. `Unavailable`: the log has failed.
    pub fn write_series(&self, write: &SeriesWrite<'_>) -> Result<SeriesOutcome> {
        let mut refused = Refused::default();
        let oldest_ns = oldest_ns(write.policy, write.now_ns).max(self.engine.raw_floor(write.policy.id));
        let young: Vec<u32> =
            (0..write.times_ns.len() as u32).filter(|row| write.times_ns[*row as usize] >= oldest_ns).collect();
        refused.add((write.times_ns.len() - young.len()) as u64, || texts::BEYOND_RETENTION.to_owned());
        let mut stored = vec![false; write.times_ns.len()];
        let mut batch = Vec::new();
        for first in (0..write.columns.len()).step_by(COLUMNS_AT_ONCE) {
            for group in groups(write, first, &young) {
                if let Some(rows) = self.prepare_group(write, &group, &mut refused)? {
                    group.rows.iter().for_each(|row| stored[*row as usize] = true);
                    batch.push(rows);
                }
            }
        }
        let points = stored.iter().filter(|stored| **stored).count() as u64;
        let commit = self.engine.write(batch, write.durability)?;
        self.counters.into_points.add(points);
        self.counters.into_refused.add(refused.points);
        Ok(SeriesOutcome { commit, points, refused: refused.points, reason: refused.reason })
    }

    /// Rows of the engine for rows with the same fields, `None` if they are refused.
    fn prepare_group(&self, write: &SeriesWrite<'_>, group: &Group, refused: &mut Refused) -> Result<Option<Rows>> {
        let count = group.rows.len() as u64;
        let fields: Vec<usize> = group.columns.iter().copied().filter(|at| write.columns[*at].name != TIME).collect();
        if fields.is_empty() {
            refused.add(count, || texts::invalid_field_name(TIME, write.measurement));
            return Ok(None);
        }
        let (series, ids) = match self.names(write, &fields)? {
            Ok(found) => found,
            Err(reason) => {
                refused.add(count, || reason);
                return Ok(None);
            }
        };
        let column = |at: usize| write.columns[at].values.gather(&group.rows);
        let fields: BTreeMap<FieldId, Column> = ids.into_iter().zip(fields).map(|(id, at)| (id, column(at))).collect();
        Ok(Some(Rows {
            table: series.table(),
            tier: Tier::RAW,
            series: vec![series; group.rows.len()],
            times_ns: group.rows.iter().map(|row| write.times_ns[*row as usize]).collect(),
            fields: fields.into_iter().collect(),
        }))
    }

    /// The series and the fields, made if need be; or why they cannot be.
    fn names(
        &self,
        write: &SeriesWrite<'_>,
        fields: &[usize],
    ) -> Result<std::result::Result<(SeriesId, Vec<FieldId>), String>> {
        if write.tags.iter().any(|(tag, _)| tag == TIME) {
            return Ok(Err(invalid_tag(write.measurement)));
        }
        let tags = write.tags.iter().filter(|(_, value)| !value.is_empty());
        let tags = tags.map(|(tag, value)| (tag.as_str().into(), value.as_str().into())).collect();
        let key = SeriesKey { measurement: write.measurement.into(), tags }.canonical();
        let wanted: Vec<_> =
            fields.iter().map(|at| (write.columns[*at].name, write.columns[*at].values.field_type())).collect();
        {
            let names = self.engine.registry().read();
            let found = names.find_series(Scope::Policy(write.policy.id), key.as_bytes());
            if let Some(series) = found.map(|slot| names.series_id(slot)) {
                let mut ids = Vec::with_capacity(wanted.len());
                for (name, field_type) in &wanted {
                    match names.find_field(series.table(), name) {
                        Some((id, stored)) if stored == *field_type => ids.push(id),
                        Some((_, stored)) => {
                            let (sent, stored) = (field_type.name(), stored.name());
                            return Ok(Err(texts::field_type_conflict(name, write.measurement, sent, stored)));
                        }
                        None => break,
                    }
                }
                if ids.len() == wanted.len() {
                    return Ok(Ok((series, ids)));
                }
            }
        }
        let mut refused = None;
        let make = |names: &mut Creator<'_>| {
            let table = names.create_table(write.policy.id, write.measurement, KeyKind::Tagged)?;
            // A type that does not fit leaves nothing behind.
            for (name, field_type) in &wanted {
                if let Some((_, stored)) = names.find_field(table, name).filter(|(_, stored)| stored != field_type) {
                    let (sent, stored) = (field_type.name(), stored.name());
                    refused = Some(texts::field_type_conflict(name, write.measurement, sent, stored));
                    return Ok(None);
                }
            }
            let series = names.create_series(table, &key, None)?;
            let ids = wanted.iter().map(|(name, field_type)| names.create_field(table, name, *field_type));
            Ok(Some((series, ids.collect::<Result<Vec<_>>>()?)))
        };
        // The rows come behind the names in the log, so that their commit covers both.
        match self.engine.create(Durability::Interval, make) {
            Ok((Some(made), _)) => Ok(Ok(made)),
            Ok((None, _)) => Ok(Err(refused.unwrap_or_default())),
            Err(error) => Ok(Err(limit_text(error)?)),
        }
    }
}

#[derive(Default)]
struct Refused {
    points: u64,
    reason: Option<String>,
}

impl Refused {
    fn add(&mut self, points: u64, reason: impl FnOnce() -> String) {
        self.points += points;
        if points > 0 && self.reason.is_none() {
            self.reason = Some(reason());
        }
    }
}

/// Rows by the fields they have among the columns from `first` on.
fn groups(write: &SeriesWrite<'_>, first: usize, rows: &[u32]) -> Vec<Group> {
    let last = (first + COLUMNS_AT_ONCE).min(write.columns.len());
    let columns = &write.columns[first..last];
    let has = |column: &FieldColumn<'_>, row: u32| {
        let row = row as usize;
        column.valid.is_none_or(|valid| valid[row])
            && !matches!(column.values, Column::Float(values) if !values[row].is_finite())
    };
    let mut found: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    // Rows mostly have the fields of the row before.
    let mut current: (u64, Vec<u32>) = (0, Vec::new());
    for &row in rows {
        let fields = columns.iter().enumerate().fold(0, |bits, (at, column)| bits | u64::from(has(column, row)) << at);
        if fields != current.0 {
            let (bits, rows) = std::mem::replace(&mut current, (fields, Vec::new()));
            found.entry(bits).or_default().extend(rows);
        }
        current.1.push(row);
    }
    found.entry(current.0).or_default().extend(current.1);
    let group = |(bits, rows): (u64, Vec<u32>)| Group {
        columns: (first..last).filter(|at| bits >> (at - first) & 1 == 1).collect(),
        rows,
    };
    found.into_iter().filter(|(bits, rows)| *bits != 0 && !rows.is_empty()).map(group).collect()
}
