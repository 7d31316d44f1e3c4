//! Lines whose series, table or field has to be made first.

use std::ops::Range;

use hashbrown::HashMap;
use rhythmite_engine::registry::{Creator, Registry, Scope};
use rhythmite_influx::line_protocol::{Field, SeriesKey};
use rhythmite_model::{KeyKind, PolicyId, Result, SeriesId, TableId};

use super::groups::type_of;
use super::{Series, TIME, invalid_tag, is_time, limit_text};

/// Lines that wait at most; then they are written, and reading goes on. Bounds the time that the registry is locked.
const LINES_MAX: usize = 16 * 1024;
/// The same for their fields, 4 MiB.
const FIELDS_MAX: usize = 64 * 1024;

/// A line that waits; its fields are kept beside it.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) series: Series,
    pub(super) time_ns: i64,
    pub(super) ordinal: u32,
    pub(super) line: &'a [u8],
}

/// A key to be made: its place in the list.
#[derive(Clone, Copy)]
pub(super) struct KeyNumber(u32);

/// By key: the series, or why there is none; `None` where that is still open.
pub(super) type Decided = Vec<Option<Result<SeriesId, String>>>;

struct NewKey<'a> {
    key: SeriesKey<'a>,
    canonical: String,
}

#[derive(Default)]
pub(super) struct Pending<'a> {
    lines: Vec<(Wanted<'a>, Range<usize>)>,
    fields: Vec<Field<'a>>,
    keys: Vec<NewKey<'a>>,
    /// By the bytes sent: lines of one series share a key.
    numbers: HashMap<&'a [u8], u32>,
}

impl<'a> Pending<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= LINES_MAX || self.fields.len() >= FIELDS_MAX
    }

    pub(super) fn find_key(&self, sent: &[u8]) -> Option<KeyNumber> {
        self.numbers.get(sent).copied().map(KeyNumber)
    }

    pub(super) fn add_key(&mut self, sent: &'a [u8], key: SeriesKey<'a>, canonical: String) -> KeyNumber {
        let number = u32::try_from(self.keys.len()).expect("a body has fewer than 2^32 lines");
        self.keys.push(NewKey { key, canonical });
        self.numbers.insert(sent, number);
        KeyNumber(number)
    }

    pub(super) fn push(&mut self, wanted: Wanted<'a>, fields: &[Field<'a>]) {
        let start = self.fields.len();
        self.fields.extend_from_slice(fields);
        self.lines.push((wanted, start..self.fields.len()));
    }

    /// The lines in order, with their fields.
    pub(super) fn lines(&self) -> impl Iterator<Item = (Wanted<'a>, &[Field<'a>])> {
        self.lines.iter().map(|(wanted, fields)| (*wanted, &self.fields[fields.clone()]))
    }

    /// Why keys cannot be made, for those of which that can be told beforehand.
    pub(super) fn refusals(&self, registry: &Registry, scope: Scope) -> Decided {
        let names = registry.read();
        let refusal = |new: &NewKey<'_>| {
            // Somebody may have made it since it was looked for.
            if names.find_series(scope, new.canonical.as_bytes()).is_some() {
                return None;
            }
            registry.refuse_series(&names, scope, &new.canonical).map(|e| Err(e.message().to_owned()))
        };
        self.keys.iter().map(refusal).collect()
    }

    /// The series of each line, if all are decided already.
    pub(super) fn all_decided(&self, decided: &Decided) -> Option<Vec<Result<SeriesId, String>>> {
        let series = |(wanted, _): (Wanted<'a>, _)| match wanted.series {
            Series::Known(_) => None,
            Series::New(KeyNumber(number)) => decided[number as usize].clone(),
        };
        self.lines().map(series).collect()
    }

    /// Makes what the lines need; gives the series of each, or why it is refused. `made` has a place for each key.
    ///
    /// # Errors
    /// What no line is to blame for.
    pub(super) fn make(
        &self,
        names: &mut Creator<'_>,
        policy: PolicyId,
        mut made: Decided,
    ) -> Result<Vec<Result<SeriesId, String>>> {
        self.lines()
            .map(|(wanted, fields)| {
                let series = match wanted.series {
                    Series::Known(id) => Ok(id),
                    Series::New(KeyNumber(number)) => match &made[number as usize] {
                        Some(series) => series.clone(),
                        None => {
                            let series = make_series(names, policy, &self.keys[number as usize])?;
                            made[number as usize].insert(series).clone()
                        }
                    },
                };
                match series {
                    Ok(id) => Ok(make_fields(names, id.table(), fields)?.map(|()| id)),
                    refused => Ok(refused),
                }
            })
            .collect()
    }
}

fn make_series(names: &mut Creator<'_>, policy: PolicyId, new: &NewKey<'_>) -> Result<Result<SeriesId, String>> {
    let measurement = new.key.measurement.as_ref();
    if new.key.tags.iter().any(|(tag, _)| tag == TIME) {
        return Ok(Err(invalid_tag(measurement)));
    }
    let made = names
        .create_table(policy, measurement, KeyKind::Tagged)
        .and_then(|table| names.create_series(table, &new.canonical, None));
    Ok(match made {
        Ok(id) => Ok(id),
        Err(error) => Err(limit_text(error)?),
    })
}

/// Makes the fields of a line that are missing, unless another field of it has the wrong type: that line is refused
/// when its row is built, and leaves no field behind.
fn make_fields(names: &mut Creator<'_>, table: TableId, fields: &[Field<'_>]) -> Result<Result<(), String>> {
    let conflicts = |names: &Creator<'_>, field: &Field<'_>| {
        let known = names.find_field(table, &field.name.text());
        known.is_some_and(|(_, stored)| stored != type_of(&field.value))
    };
    if fields.iter().any(|field| conflicts(names, field)) {
        return Ok(Ok(()));
    }
    for field in fields.iter().filter(|field| !is_time(field)) {
        // The line itself may name a field twice, with two types.
        if conflicts(names, field) {
            return Ok(Ok(()));
        }
        if let Err(error) = names.create_field(table, &field.name.text(), type_of(&field.value)) {
            return Ok(Err(limit_text(error)?));
        }
    }
    Ok(Ok(()))
}
