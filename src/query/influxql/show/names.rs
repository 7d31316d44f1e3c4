//! SHOW MEASUREMENTS, SERIES, TAG KEYS, TAG VALUES and FIELD KEYS.

use std::borrow::Cow;
use std::collections::BTreeSet;

use rhythmite_engine::registry::{Directory, key};
use rhythmite_influx::answer::Cell;
use rhythmite_influx::influxql::{KeyMatch, ShowClauses};
use rhythmite_model::{KeyKind, TableId};
use roaring::RoaringBitmap;

use super::condition::{Condition, OnField, PATH_TAG, has_time};
use super::output::{Output, Page};
use super::source;
use super::values::Values;
use crate::query::influxql::context::{Context, Request};
use crate::query::influxql::failure::{Failure, Result};

/// `SHOW MEASUREMENTS`: those of an unknown database are none.
pub(super) fn measurements(
    context: &Context,
    request: &Request,
    clauses: &ShowClauses,
    out: &mut Output<'_>,
) -> Result<()> {
    if has_time(clauses.condition.as_ref()) {
        return Err(Failure::new("SHOW MEASUREMENTS doesn't support time in WHERE clause"));
    }
    let names = find_measurements(context, request, clauses)?;
    let mut names = Page::of_rows(clauses).cut(names.into_iter()).peekable();
    if names.peek().is_none() {
        return Ok(());
    }
    out.series("measurements", &["name"], names.map(|name| vec![text(name)]))
}

/// The measurements that SHOW MEASUREMENTS shows, without LIMIT and OFFSET.
pub(super) fn find_measurements(context: &Context, request: &Request, clauses: &ShowClauses) -> Result<Vec<String>> {
    let named = source::database_name(clauses.database.as_deref(), request)?;
    if context.catalog.databases().get(named).is_none() {
        return Ok(Vec::new());
    }
    let condition = Condition::new(context, clauses.condition.as_ref(), OnField::Holds)?;
    let found = source::find(context, request, clauses.database.as_deref(), &clauses.sources, None)?;
    let directory = context.engine.registry().read();
    let mut names = Vec::new();
    for (name, tables) in found {
        if condition.holds_for_measurement(&directory, &name, &tables)? {
            names.push(name);
        }
    }
    Ok(names)
}

/// `SHOW SERIES`: one series with the keys of all measurements.
pub(super) fn series(context: &Context, request: &Request, clauses: &ShowClauses, out: &mut Output<'_>) -> Result<()> {
    let on = clauses.database.as_deref();
    let found = source::find(context, request, on, &clauses.sources, request.policy.as_deref())?;
    let condition = Condition::new(context, clauses.condition.as_ref(), OnField::Holds)?;
    let mut page = Page::of_rows(clauses);
    let mut begun = false;
    let mut whole = Ok(true);
    for (name, tables) in found {
        out.check()?;
        let keys = {
            let directory = context.engine.registry().read();
            series_keys(&directory, &name, &tables, &condition, &mut page)?
        };
        if !keys.is_empty() && !begun {
            out.begin("", &[], &["key"]);
            begun = true;
        }
        for key in keys {
            whole = out.row(&[text(key)]);
            if !matches!(whole, Ok(true)) {
                break;
            }
        }
        if page.is_done() || !matches!(whole, Ok(true)) {
            break;
        }
    }
    if begun {
        out.end(*whole.as_ref().unwrap_or(&true));
    }
    whole.map(|_| ())
}

/// The keys on the page of one measurement's series, sorted.
fn series_keys(
    directory: &Directory,
    name: &str,
    tables: &[TableId],
    condition: &Condition,
    page: &mut Page,
) -> Result<Vec<String>> {
    if let &[table] = tables
        && directory.table(table).is_some_and(|t| t.kind() == KeyKind::Tagged)
    {
        let selected = if condition.is_empty() { None } else { Some(condition.select(directory, table, None)?) };
        let slots = directory.series_by_key(table, selected.as_ref());
        let wanted = page.advance(slots.len());
        return Ok(slots[wanted].iter().map(|&slot| directory.key(slot).to_owned()).collect());
    }
    let mut keys = Vec::new();
    for &table in tables {
        let Some(kind) = directory.table(table).map(|t| t.kind()) else { continue };
        let selected = condition.select(directory, table, None)?;
        keys.extend(directory.series_by_key(table, Some(&selected)).into_iter().map(|slot| match kind {
            KeyKind::Tagged => directory.key(slot).to_owned(),
            KeyKind::Path => path_key(name, directory.key(slot)),
        }));
    }
    keys.sort_unstable();
    keys.dedup();
    let wanted = page.advance(keys.len());
    Ok(keys.drain(wanted).collect())
}

/// The key of a Graphite series as if its path were a tag.
fn path_key(measurement: &str, path: &str) -> String {
    let mut tags: Vec<_> = key::tags(KeyKind::Path, path).filter(|(key, _)| key != PATH_TAG).collect();
    tags.push((Cow::Borrowed(PATH_TAG), Cow::Borrowed(path)));
    tags.sort_unstable();
    let mut text = String::with_capacity(measurement.len() + path.len() * 2);
    escape(measurement, ", ", &mut text);
    for (key, value) in tags {
        text.push(',');
        escape(&key, ",= ", &mut text);
        text.push('=');
        escape(&value, ",= ", &mut text);
    }
    text
}

fn escape(text: &str, special: &str, out: &mut String) {
    for c in text.chars() {
        if special.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
}

/// `SHOW TAG KEYS`
pub(super) fn tag_keys(
    context: &Context,
    request: &Request,
    clauses: &ShowClauses,
    out: &mut Output<'_>,
) -> Result<()> {
    source::exists(context, request, clauses.database.as_deref())?;
    by_measurement(context, request, clauses, None, &["tagKey"], out, |directory, tables, condition| {
        Ok(keys_of_tags(directory, tables, condition)?.into_iter().map(|key| vec![key]).collect())
    })
}

/// `SHOW TAG VALUES`
pub(super) fn tag_values(
    context: &Context,
    request: &Request,
    keys: &KeyMatch,
    clauses: &ShowClauses,
    out: &mut Output<'_>,
) -> Result<()> {
    source::exists(context, request, clauses.database.as_deref())?;
    let condition = Condition::new(context, clauses.condition.as_ref(), OnField::Holds)?;
    let (condition, value) = condition.split_value();
    let on = clauses.database.as_deref();
    let found = source::find(context, request, on, &clauses.sources, None)?;
    let found = Page::of_series(clauses).cut(found.into_iter());
    for (name, tables) in found {
        out.check()?;
        let mut page = Page::of_rows(clauses);
        let (mut begun, mut whole) = (false, true);
        for (key, within) in keys_with_series(&context.engine.registry().read(), &tables, keys, &condition)? {
            let holds = value.as_ref().map(|value| |text: &str| value.holds(text));
            let wanted = holds.as_ref().map(|holds| holds as &dyn Fn(&str) -> bool);
            let values = Values::of(&context.engine, &tables, &key, within.as_ref(), wanted);
            whole = values.each(&mut page, &mut |value| {
                if !begun {
                    out.begin(&name, &[], &["key", "value"]);
                    begun = true;
                }
                out.row(&[Cell::from(key.as_str()), Cell::from(value)])
            })?;
            if !whole || page.is_done() {
                break;
            }
        }
        if begun {
            out.end(whole);
        }
        if !whole {
            break;
        }
    }
    Ok(())
}

/// `SHOW FIELD KEYS`
pub(super) fn field_keys(
    context: &Context,
    request: &Request,
    clauses: &ShowClauses,
    out: &mut Output<'_>,
) -> Result<()> {
    let columns = ["fieldKey", "fieldType"];
    by_measurement(context, request, clauses, request.policy.as_deref(), &columns, out, |directory, tables, _| {
        let fields: BTreeSet<_> =
            tables.iter().flat_map(|&table| directory.fields(table)).map(|f| (f.1, f.2.name())).collect();
        Ok(fields.into_iter().map(|(name, kind)| vec![name.to_owned(), kind.to_owned()]).collect())
    })
}

/// One series of texts per measurement.
fn by_measurement(
    context: &Context,
    request: &Request,
    clauses: &ShowClauses,
    policy: Option<&str>,
    columns: &[&str],
    out: &mut Output<'_>,
    rows: impl Fn(&Directory, &[TableId], &Condition) -> Result<Vec<Vec<String>>>,
) -> Result<()> {
    let condition = Condition::new(context, clauses.condition.as_ref(), OnField::Holds)?;
    let found = source::find(context, request, clauses.database.as_deref(), &clauses.sources, policy)?;
    let mut page = Page::of_series(clauses);
    for (name, tables) in found {
        out.check()?;
        let rows = rows(&context.engine.registry().read(), &tables, &condition)?;
        if rows.is_empty() || page.advance(1).is_empty() {
            continue;
        }
        emit(&name, columns, rows, clauses, out)?;
    }
    Ok(())
}

/// Writes the rows on the page; nothing if there are none.
fn emit(
    name: &str,
    columns: &[&str],
    rows: Vec<Vec<String>>,
    clauses: &ShowClauses,
    out: &mut Output<'_>,
) -> Result<()> {
    let mut rows = Page::of_rows(clauses).cut(rows.into_iter()).peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    out.series(name, columns, rows.map(|row| row.into_iter().map(text).collect()))
}

/// The tag keys of the series that a condition leaves, sorted.
pub(super) fn keys_of_tags(directory: &Directory, tables: &[TableId], condition: &Condition) -> Result<Vec<String>> {
    if condition.is_empty() {
        return Ok(all_keys(directory, tables, None));
    }
    if !condition.names_tag_key() {
        let within = select(directory, tables, condition, None)?;
        return Ok(if within.is_empty() { Vec::new() } else { all_keys(directory, tables, Some(&within)) });
    }
    let mut keys = Vec::new();
    for key in all_keys(directory, tables, None) {
        let within = select(directory, tables, condition, Some(&key))?;
        if all_keys(directory, tables, Some(&within)).contains(&key) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// The matching keys, sorted, each with the series that a condition leaves; `None` for all.
fn keys_with_series(
    directory: &Directory,
    tables: &[TableId],
    keys: &KeyMatch,
    condition: &Condition,
) -> Result<Vec<(String, Option<RoaringBitmap>)>> {
    let mut found = Vec::new();
    let mut within = None;
    for key in all_keys(directory, tables, None).into_iter().filter(|key| matches(keys, key)) {
        if !condition.is_empty() && (within.is_none() || condition.names_tag_key()) {
            within = Some(select(directory, tables, condition, Some(&key))?);
        }
        found.push((key, within.clone()));
    }
    Ok(found)
}

/// Distinct values of the matching keys of the series that a condition leaves.
pub(super) fn count_values(
    directory: &Directory,
    tables: &[TableId],
    keys: &KeyMatch,
    condition: &Condition,
) -> Result<usize> {
    let mut distinct = BTreeSet::new();
    for (key, within) in keys_with_series(directory, tables, keys, condition)? {
        directory.each_tag_value(tables, &key, within.as_ref(), &mut |value| {
            if !distinct.contains(value) {
                distinct.insert(value.to_owned());
            }
        });
        if key == PATH_TAG {
            distinct.extend(paths(directory, tables, within.as_ref()).map(str::to_owned));
        }
    }
    Ok(distinct.len())
}

fn matches(keys: &KeyMatch, key: &str) -> bool {
    match keys {
        KeyMatch::Equal(wanted) => wanted == key,
        KeyMatch::NotEqual(unwanted) => unwanted != key,
        KeyMatch::Match(regex) => regex.is_match(key),
        KeyMatch::NotMatch(regex) => !regex.is_match(key),
        KeyMatch::In(wanted) => wanted.iter().any(|wanted| wanted == key),
    }
}

/// Series of several tables; slots are unique over all of them.
pub(super) fn select(
    directory: &Directory,
    tables: &[TableId],
    condition: &Condition,
    tag_key: Option<&str>,
) -> Result<RoaringBitmap> {
    let mut all = RoaringBitmap::new();
    for &table in tables {
        all |= condition.select(directory, table, tag_key)?;
    }
    Ok(all)
}

fn all_keys(directory: &Directory, tables: &[TableId], within: Option<&RoaringBitmap>) -> Vec<String> {
    let mut keys: Vec<_> = directory.tag_keys(tables, within).into_iter().map(|(key, _)| key.to_owned()).collect();
    if paths(directory, tables, within).next().is_some()
        && let Err(at) = keys.binary_search_by(|key| key.as_str().cmp(PATH_TAG))
    {
        keys.insert(at, PATH_TAG.to_owned());
    }
    keys
}

/// The paths of Graphite series.
pub(super) fn paths<'a>(
    directory: &'a Directory,
    tables: &'a [TableId],
    within: Option<&'a RoaringBitmap>,
) -> impl Iterator<Item = &'a str> {
    let tables = tables.iter().copied();
    tables
        .filter(|&table| directory.table(table).is_some_and(|t| t.kind() == KeyKind::Path))
        .flat_map(move |table| directory.series_by_key(table, within))
        .map(|slot| directory.key(slot))
}

fn text(text: String) -> Cell<'static> {
    Cell::String(Cow::Owned(text))
}
