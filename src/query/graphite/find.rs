//! From patterns and tag expressions to series.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rhythmite_carbon::name;
use rhythmite_engine::registry::{Directory, GlobStep, Scope, SegmentMatcher, Slot, TagExpr, TagTest, Want};
use rhythmite_graphite::glob::{SegmentPattern, split_pattern};
use rhythmite_graphite::tags::{self, Test};
use rhythmite_model::{Error, KeyKind, Result, TableId};
use roaring::RoaringBitmap;

struct Matcher(SegmentPattern);

impl SegmentMatcher for Matcher {
    fn literal(&self) -> Option<&str> {
        self.0.literal()
    }

    fn literal_prefix(&self) -> &str {
        self.0.prefix()
    }

    fn matches(&self, segment: &str) -> bool {
        self.0.matches(segment)
    }
}

/// What a pattern matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// The current series of each path, in the order of the paths' segments.
    pub leaves: Vec<Slot>,
    /// Paths that have paths below them.
    pub branches: Vec<String>,
}

/// The paths that match `pattern`. One with a `;` is the name of a tagged series; a backslash is ignored.
///
/// # Errors
/// `Invalid`, naming the pattern: more than `limit` paths match, or the pattern is beyond the limits of
/// [`rhythmite_graphite::glob`].
pub fn find(names: &Directory, pattern: &str, want: Want, limit: usize) -> Result<Matches> {
    let plain = pattern.replace('\\', "");
    if plain.contains(';') {
        let mut scratch = String::new();
        let key = name::canonical(&plain, &mut scratch).ok().filter(|_| want != Want::Branches);
        let slot = key.and_then(|key| names.find_series(Scope::Paths, key.as_bytes()));
        return Ok(Matches { leaves: slot.into_iter().collect(), branches: Vec::new() });
    }
    let segments: Vec<Matcher> = split_pattern(&plain)?.into_iter().map(Matcher).collect();
    let step = |m| if Matcher::is_any_depth(m) { GlobStep::AnyDepth } else { GlobStep::One(m) };
    let steps: Vec<GlobStep<'_>> = segments.iter().map(step).collect();
    let found = names.find_paths(&steps, want, limit).map_err(|e| e.at(pattern))?;
    Ok(Matches { leaves: found.leaves, branches: found.branches })
}

impl Matcher {
    fn is_any_depth(&self) -> bool {
        self.0.is_globstar()
    }
}

/// The tables that hold paths: one for each policy.
pub fn path_tables(names: &Directory) -> Vec<TableId> {
    names.all_tables().filter(|t| t.kind() == KeyKind::Path).map(|t| t.id()).collect()
}

/// The tagged series for which every expression holds, sorted by name: the current series of each.
///
/// # Errors
/// `Invalid` for a malformed expression, if none needs its tag to be present, if a regular expression takes too many
/// steps, or if there are more than `limit` series.
pub fn find_tagged(names: &Directory, expressions: &[impl AsRef<str>], limit: usize) -> Result<Vec<Slot>> {
    let mut found = Vec::new();
    for (_, set) in select(names, expressions)? {
        if found.len() as u64 + set.len() > limit as u64 {
            let shown: Vec<_> = expressions.iter().map(AsRef::as_ref).collect();
            return Err(Error::invalid(format!("{}: more than {limit} series match", shown.join(", "))));
        }
        found.extend(set.into_iter().filter_map(|slot| current(names, Slot(slot))));
    }
    // A series whose policy has changed is in two tables.
    found.sort_unstable_by_key(|&slot| names.key(slot));
    found.dedup();
    Ok(found)
}

/// The series of each table for which every expression holds.
pub(super) fn select(names: &Directory, expressions: &[impl AsRef<str>]) -> Result<Vec<(TableId, RoaringBitmap)>> {
    let too_hard = Arc::new(AtomicBool::new(false));
    let parsed = tags::parse_query(expressions)?;
    let condition = TagExpr::And(parsed.into_iter().map(|e| condition(e, &too_hard)).collect());
    let sets = path_tables(names).into_iter().map(|table| Ok((table, names.select(table, &condition)?)));
    let sets = sets.collect::<Result<Vec<_>>>()?;
    if too_hard.load(Ordering::Relaxed) {
        return Err(Error::invalid("a regular expression takes too many steps"));
    }
    Ok(sets)
}

fn condition(expr: tags::TagExpr, too_hard: &Arc<AtomicBool>) -> TagExpr {
    let negated = matches!(expr.test, Test::NotEqual(_) | Test::NotMatch(_));
    let tag = expr.tag.clone();
    let positive = match expr.test {
        Test::Equal(value) | Test::NotEqual(value) => TagExpr::is(tag, value),
        Test::Match(regex) | Test::NotMatch(regex) => {
            let too_hard = too_hard.clone();
            let test = move |value: &str| {
                !too_hard.load(Ordering::Relaxed)
                    && regex.is_match(value).unwrap_or_else(|_| {
                        too_hard.store(true, Ordering::Relaxed);
                        false
                    })
            };
            TagExpr::Tag(tag, TagTest::Like(Arc::new(test)))
        }
    };
    if negated { positive.negate() } else { positive }
}

/// The current series of the same path.
fn current(names: &Directory, slot: Slot) -> Option<Slot> {
    names.find_series(Scope::Paths, names.key(slot).as_bytes())
}
