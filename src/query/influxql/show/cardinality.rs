//! `SHOW ... [EXACT] CARDINALITY`.
//!
//! Counting the names is cheap, so nothing is estimated. What 1.x would estimate is one number for the database; what
//! it would count is one per measurement.

use std::collections::BTreeSet;

use rhythmite_engine::registry::Directory;
use rhythmite_influx::answer::Cell;
use rhythmite_influx::influxql::{Counted, ShowCardinality};
use rhythmite_model::{KeyKind, TableId};

use super::condition::{Condition, OnField, has_time};
use super::names::{count_values, find_measurements, keys_of_tags, select};
use super::output::{Output, Page};
use super::source;
use crate::query::influxql::context::{Context, Request};
use crate::query::influxql::failure::{Failure, Result};

const COUNT: &str = "count";
/// What 1.x calls the numbers that it would estimate: of all series, of all measurements.
const ESTIMATE: &str = "cardinality estimation";

/// Counts names.
pub(super) fn run(context: &Context, request: &Request, show: &ShowCardinality, out: &mut Output<'_>) -> Result<()> {
    let ShowCardinality { of, exact, clauses, dimensions } = show;
    let name = match of {
        Counted::Series => "SERIES",
        Counted::Measurements => "MEASUREMENT",
        Counted::TagKeys => "TAG KEY",
        Counted::TagValues(_) => "TAG VALUES",
        Counted::FieldKeys => "FIELD KEY",
    };
    if has_time(clauses.condition.as_ref()) {
        return Err(Failure::new(format!("SHOW {name} EXACT CARDINALITY doesn't support time in WHERE clause")));
    }
    if !dimensions.is_empty() {
        return Err(Failure::new(format!("SHOW {name} CARDINALITY with GROUP BY is not supported in this version")));
    }
    let plain = clauses.sources.is_empty() && clauses.condition.is_none() && clauses.limit == 0 && clauses.offset == 0;
    let one_number = !exact && plain;
    let on = clauses.database.as_deref();
    if matches!(of, Counted::Measurements) && one_number {
        let count = find_measurements(context, request, clauses)?.len();
        return emit("", ESTIMATE, count, Page::of_rows(clauses), out);
    }
    if matches!(of, Counted::Series) && one_number {
        let databases = context.catalog.databases();
        let Some(database) = databases.get(source::database_name(on, request)?) else {
            return emit("", ESTIMATE, 0, Page::of_rows(clauses), out);
        };
        let found = source::all(context, database);
        let directory = context.engine.registry().read();
        let tables = found.values().flatten().filter_map(|&table| directory.table(table));
        let count: u64 = tables.map(|table| table.series_count()).sum();
        drop(directory);
        return emit("", ESTIMATE, usize::try_from(count).unwrap_or(usize::MAX), Page::of_rows(clauses), out);
    }
    if matches!(of, Counted::TagValues(_)) {
        source::exists(context, request, on)?;
    }
    let found = source::find(context, request, on, &clauses.sources, request.policy.as_deref())?;
    // 1.x counts what a SELECT of names gives, and no name is greater than a number: nothing.
    let Ok(mut condition) = Condition::new(context, clauses.condition.as_ref(), OnField::Holds) else { return Ok(()) };
    if matches!(of, Counted::TagValues(_)) {
        condition = condition.missing_never_differs();
    }
    let mut measurements = 0;
    for (name, tables) in found {
        out.check()?;
        let count = count(&context.engine.registry().read(), &tables, of, &condition)?;
        if count == 0 {
            continue;
        }
        match of {
            Counted::Measurements => measurements += 1,
            _ => emit(&name, COUNT, count, Page::of_rows(clauses), out)?,
        }
    }
    if measurements > 0 { emit("", COUNT, measurements, Page::of_rows(clauses), out) } else { Ok(()) }
}

fn emit(name: &str, column: &str, count: usize, page: Page, out: &mut Output<'_>) -> Result<()> {
    let count = Cell::Int(i64::try_from(count).unwrap_or(i64::MAX));
    let rows: Vec<_> = page.cut(std::iter::once(vec![count])).collect();
    if rows.is_empty() { Ok(()) } else { out.series(name, &[column], rows) }
}

/// How many there are in one measurement.
fn count(directory: &Directory, tables: &[TableId], of: &Counted, condition: &Condition) -> Result<usize> {
    Ok(match of {
        // A measurement counts if one of its series does.
        Counted::Series | Counted::Measurements => series(directory, tables, condition)?,
        Counted::TagKeys => keys_of_tags(directory, tables, condition)?.len(),
        Counted::TagValues(keys) => count_values(directory, tables, keys, condition)?,
        Counted::FieldKeys => {
            let fields = tables.iter().filter(|&&table| {
                condition.is_empty() || condition.select(directory, table, None).is_ok_and(|series| !series.is_empty())
            });
            fields.flat_map(|&table| directory.fields(table)).map(|field| field.1).collect::<BTreeSet<_>>().len()
        }
    })
}

/// Distinct keys: a series that is in several policies is one.
fn series(directory: &Directory, tables: &[TableId], condition: &Condition) -> Result<usize> {
    let selected = select(directory, tables, condition, None)?;
    if tables.len() == 1 {
        return Ok(usize::try_from(selected.len()).unwrap_or(usize::MAX));
    }
    let keys = tables.iter().flat_map(|&table| {
        let kind = directory.table(table).map_or(KeyKind::Tagged, |t| t.kind());
        let slots = directory.series_by_key(table, Some(&selected));
        slots.into_iter().map(move |slot| (kind as u8, directory.key(slot)))
    });
    Ok(keys.collect::<BTreeSet<_>>().len())
}
