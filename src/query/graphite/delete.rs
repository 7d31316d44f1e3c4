//! What is to be deleted of paths: of the series of today, and of those that were kept by another policy before.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use rhythmite_engine::registry::{Directory, Slot, Want};
use rhythmite_model::{Result, TableId, Tombstone};
use roaring::RoaringBitmap;

use super::find::{find, find_tagged};

/// Tombstones for the points of `series` (the current one of each path) within `times_ns`, one for each table.
pub fn tombstones(
    names: &Directory,
    series: impl IntoIterator<Item = Slot>,
    times_ns: RangeInclusive<i64>,
) -> Vec<Tombstone> {
    let mut tables: BTreeMap<TableId, RoaringBitmap> = BTreeMap::new();
    for current in series {
        for slot in std::iter::once(current).chain(names.older_series(current)) {
            tables.entry(names.series_id(slot).table()).or_default().insert(slot.0);
        }
    }
    let tombstone = |(table, slots): (TableId, RoaringBitmap)| {
        let times_ns = times_ns.clone();
        Tombstone { table, series: names.set(table, Some(&slots)), fields: None, times_ns }
    };
    tables.into_iter().map(tombstone).collect()
}

/// The series that any of `patterns` matches, as `find` does, and those for which all of `expressions` hold.
///
/// # Errors
/// `Invalid` for a malformed pattern or expression, or when there are more than `limit` series.
pub fn select(
    names: &Directory,
    patterns: &[impl AsRef<str>],
    expressions: &[impl AsRef<str>],
    limit: usize,
) -> Result<Vec<Slot>> {
    let mut found = Vec::new();
    for pattern in patterns {
        found.extend(find(names, pattern.as_ref(), Want::Leaves, limit)?.leaves);
    }
    if !expressions.is_empty() {
        found.extend(find_tagged(names, expressions, limit)?);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}
