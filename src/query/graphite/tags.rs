//! What graphite-web's tag database answers: tags, values, and the completion of both.
//!
//! Only series with tags of their own are in it; their name is the tag `name`. Counts are of series.

use std::collections::BTreeSet;

use rhythmite_engine::registry::{Directory, Slot};
use rhythmite_graphite::python::regex::Regex;
use rhythmite_graphite::tags::TagExpr;
use rhythmite_model::{Error, Result, TableId};
use roaring::RoaringBitmap;

use super::find::{find_tagged, path_tables, select};

/// Tags or values that a completion returns without a `limit`.
pub const COMPLETIONS: usize = 100;

/// All tags, sorted.
pub fn list(names: &Directory) -> Vec<String> {
    names.tag_keys(&path_tables(names), None).into_iter().map(|(tag, _)| tag.to_owned()).collect()
}

/// The values of a tag, sorted, with the number of series that have each.
pub fn values(names: &Directory, tag: &str) -> Vec<(String, u64)> {
    names.tag_values(&path_tables(names), tag, None).into_iter().map(|(v, n)| (v.to_owned(), n)).collect()
}

/// A pattern that a tag or value must match from its beginning on.
///
/// # Errors
/// `Invalid` when it is no regular expression.
pub fn filter(pattern: &str) -> Result<Regex> {
    if pattern.starts_with('^') { Regex::new(pattern) } else { Regex::new(&format!("^(?:{pattern})")) }
}

/// Names of the series for which every expression holds, sorted.
///
/// # Errors
/// As [`find_tagged`].
pub fn find_series(names: &Directory, expressions: &[impl AsRef<str>], limit: usize) -> Result<Vec<String>> {
    let slots: Vec<Slot> = find_tagged(names, expressions, limit)?;
    Ok(slots.into_iter().map(|slot| names.key(slot).to_owned()).collect())
}

/// Tags that begin with `prefix`, of the series for which the expressions hold (of all, without one), except those
/// that the expressions name.
///
/// # Errors
/// As [`find_tagged`], but for the limit.
pub fn complete_tags(
    names: &Directory,
    expressions: &[impl AsRef<str>],
    prefix: &str,
    limit: usize,
) -> Result<Vec<String>> {
    let named = expressions.iter().map(|e| Ok(TagExpr::parse(e.as_ref())?.tag)).collect::<Result<BTreeSet<_>>>()?;
    let found = matching(names, expressions, |tables, within| names.tag_keys(tables, within))?;
    Ok(found
        .into_iter()
        .filter(|tag| tag.starts_with(prefix) && !named.contains(*tag))
        .take(limit)
        .map(str::to_owned)
        .collect())
}

/// Values of `tag` that begin with `prefix`, of the series for which the expressions hold (of all, without one).
///
/// # Errors
/// As [`find_tagged`], but for the limit.
pub fn complete_values(
    names: &Directory,
    expressions: &[impl AsRef<str>],
    tag: &str,
    prefix: &str,
    limit: usize,
) -> Result<Vec<String>> {
    if tag.is_empty() {
        return Err(Error::invalid("no tag specified"));
    }
    // The tag must be there, which is also what one expression has to ask.
    let mut expressions: Vec<String> = expressions.iter().map(|e| e.as_ref().to_owned()).collect();
    if !expressions.is_empty() {
        expressions.push(format!("{tag}!="));
    }
    let found = matching(names, &expressions, |tables, within| names.tag_values(tables, tag, within))?;
    Ok(found.into_iter().filter(|value| value.starts_with(prefix)).take(limit).map(str::to_owned).collect())
}

/// Texts that `look` finds among the series for which the expressions hold.
fn matching<'a>(
    names: &'a Directory,
    expressions: &[impl AsRef<str>],
    look: impl Fn(&[TableId], Option<&RoaringBitmap>) -> Vec<(&'a str, u64)>,
) -> Result<BTreeSet<&'a str>> {
    if expressions.is_empty() {
        return Ok(look(&path_tables(names), None).into_iter().map(|(text, _)| text).collect());
    }
    let mut found = BTreeSet::new();
    for (table, set) in select(names, expressions)? {
        found.extend(look(&[table], Some(&set)).into_iter().map(|(text, _)| text));
    }
    Ok(found)
}
