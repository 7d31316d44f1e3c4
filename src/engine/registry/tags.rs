//! The tag index of one table: which series have which tag values.
//!
//! A predicate is tried on every distinct value of its key, never on every series.

use std::sync::Arc;

use hashbrown::HashTable;
use regex::Regex;
use rhythmite_model::{Error, Result};
use roaring::RoaringBitmap;

use super::postings::Posting;
use super::text::{Symbol, Symbols, spread};
use super::values::{TagValues, TagValuesNews};

/// How deeply tag expressions may nest.
pub const TAG_EXPR_DEPTH_MAX: usize = 1_000;

/// What the value of a tag must be. A series without the tag has the empty string there.
#[derive(Clone)]
pub enum TagTest {
    /// This text.
    Is(String),
    /// Any text for which the function holds.
    Like(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

impl std::fmt::Debug for TagTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TagTest::Is(text) => write!(f, "Is({text:?})"),
            TagTest::Like(_) => f.write_str("Like(..)"),
        }
    }
}

impl TagTest {
    /// Text in which `regex` finds a match.
    pub fn regex(regex: Regex) -> Self {
        TagTest::Like(Arc::new(move |value| regex.is_match(value)))
    }

    fn holds(&self, value: &str) -> bool {
        match self {
            TagTest::Is(text) => text == value,
            TagTest::Like(test) => test(value),
        }
    }
}

/// A condition on tags. `!=` and `!~` are [`TagExpr::Not`] of the positive test.
#[derive(Clone, Debug)]
pub enum TagExpr {
    /// Every series.
    All,
    /// The tag passes the test.
    Tag(String, TagTest),
    /// It does not hold.
    Not(Box<TagExpr>),
    /// All hold; every series if empty.
    And(Vec<TagExpr>),
    /// One holds; no series if empty.
    Or(Vec<TagExpr>),
}

impl TagExpr {
    /// `key = value`.
    pub fn is(key: impl Into<String>, value: impl Into<String>) -> Self {
        TagExpr::Tag(key.into(), TagTest::Is(value.into()))
    }

    /// `key =~ regex`.
    pub fn matches(key: impl Into<String>, regex: Regex) -> Self {
        TagExpr::Tag(key.into(), TagTest::regex(regex))
    }

    /// `NOT self`.
    #[must_use]
    pub fn negate(self) -> Self {
        TagExpr::Not(Box::new(self))
    }
}

struct Value {
    text: Symbol,
    series: Posting,
}

struct TagKey {
    name: Symbol,
    values: HashTable<Value>,
    /// Series that have the tag at all.
    series: Posting,
    /// Another one whenever a value comes or goes.
    version: u64,
}

/// Postings by tag key and value.
#[derive(Default)]
pub(super) struct TagIndex {
    /// In the order in which the keys were first seen, which is mostly the order of the series' tags.
    keys: Vec<TagKey>,
    /// The largest version of a key so far: one that is made again does not have an old one.
    version: u64,
}

impl TagIndex {
    /// Adds the `ordinal`-th tag of a series.
    pub(super) fn insert(&mut self, symbols: &mut Symbols, ordinal: usize, tag: (&str, &str), slot: u32) -> Result<()> {
        let at = match self.position(symbols, ordinal, tag.0) {
            Some(at) => at,
            None => {
                let name = symbols.intern(tag.0)?;
                self.keys.push(TagKey { name, values: HashTable::new(), series: Posting::default(), version: 0 });
                self.keys.len() - 1
            }
        };
        let text = symbols.intern(tag.1)?;
        let Self { keys, version } = self;
        let key = &mut keys[at];
        key.series.insert(slot);
        key.values
            .entry(spread(text), |v| v.text == text, |v| spread(v.text))
            .or_insert_with(|| {
                *version += 1;
                key.version = *version;
                Value { text, series: Posting::default() }
            })
            .get_mut()
            .series
            .insert(slot);
        Ok(())
    }

    pub(super) fn remove(&mut self, symbols: &Symbols, ordinal: usize, tag: (&str, &str), slot: u32) {
        let Some(at) = self.position(symbols, ordinal, tag.0) else { return };
        let Self { keys, version } = self;
        let key = &mut keys[at];
        key.series.remove(slot);
        if let Some(text) = symbols.find(tag.1)
            && let Ok(mut entry) = key.values.find_entry(spread(text), |v| v.text == text)
        {
            entry.get_mut().series.remove(slot);
            if entry.get().series.is_empty() {
                entry.remove();
                *version += 1;
                key.version = *version;
            }
        }
        if key.series.is_empty() {
            self.keys.remove(at);
        }
    }

    fn position(&self, symbols: &Symbols, ordinal: usize, name: &str) -> Option<usize> {
        if self.keys.get(ordinal).is_some_and(|k| symbols.text(k.name) == name) {
            return Some(ordinal);
        }
        let name = symbols.find(name)?;
        self.keys.iter().position(|k| k.name == name)
    }

    fn key(&self, symbols: &Symbols, name: &str) -> Option<&TagKey> {
        self.position(symbols, usize::MAX, name).map(|at| &self.keys[at])
    }

    pub(super) fn has_key(&self, symbols: &Symbols, name: &str) -> bool {
        self.key(symbols, name).is_some()
    }

    pub(super) fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// Tag keys that a series (within `within`) has, unsorted, with the number of such series.
    pub(super) fn keys<'a>(
        &'a self,
        symbols: &'a Symbols,
        within: Option<&RoaringBitmap>,
    ) -> impl Iterator<Item = (&'a str, u64)> {
        self.keys.iter().filter_map(move |k| {
            let count = within.map_or_else(|| k.series.len(), |set| k.series.len_within(set));
            (count > 0).then(|| (symbols.text(k.name), count))
        })
    }

    /// Whether a series has this key.
    pub(super) fn has(&self, symbols: &Symbols, name: &str) -> bool {
        self.key(symbols, name).is_some_and(|key| !key.series.is_empty())
    }

    /// Values of one key, unsorted, with the number of series (within `within`) that have each.
    pub(super) fn values<'a>(
        &'a self,
        symbols: &'a Symbols,
        name: &str,
        within: Option<&RoaringBitmap>,
    ) -> impl Iterator<Item = (&'a str, u64)> {
        self.key(symbols, name).into_iter().flat_map(|k| &k.values).filter_map(move |v| {
            let count = within.map_or_else(|| v.series.len(), |set| v.series.len_within(set));
            (count > 0).then(|| (symbols.text(v.text), count))
        })
    }

    /// The symbol of a key that a series has, and the version of its values.
    pub(super) fn version(&self, symbols: &Symbols, name: &str) -> Option<(Symbol, u64)> {
        self.key(symbols, name).map(|key| (key.name, key.version))
    }

    /// What has changed of a key's values.
    pub(super) fn news(&self, symbols: &Symbols, name: &str, known: &TagValues) -> TagValuesNews {
        let key = self.key(symbols, name);
        let version = key.map_or(0, |key| key.version);
        let now = key.into_iter().flat_map(|key| &key.values).map(|value| value.text);
        TagValuesNews::since(known, version, now, |symbol| symbols.text(symbol))
    }

    /// The numbers of those of `known` that a series of `within` has, ascending.
    pub(super) fn values_within(
        &self,
        symbols: &Symbols,
        name: &str,
        known: &TagValues,
        within: &RoaringBitmap,
    ) -> Vec<u32> {
        // A flag for each symbol, as the values come in no order.
        let mut found = vec![false; symbols.len()];
        for value in self.key(symbols, name).into_iter().flat_map(|key| &key.values) {
            found[value.text as usize] = value.series.len_within(within) > 0;
        }
        let known = known.symbols().iter().enumerate();
        known.filter(|&(_, &symbol)| found[symbol as usize]).map(|(at, _)| at as u32).collect()
    }

    /// The series of `all` for which the expression holds.
    ///
    /// # Errors
    /// `Invalid` if it nests deeper than [`TAG_EXPR_DEPTH_MAX`].
    pub(super) fn select(&self, symbols: &Symbols, all: &Posting, expr: &TagExpr) -> Result<RoaringBitmap> {
        self.eval(symbols, all, expr, 0)
    }

    fn eval(&self, symbols: &Symbols, all: &Posting, expr: &TagExpr, depth: usize) -> Result<RoaringBitmap> {
        if depth > TAG_EXPR_DEPTH_MAX {
            return Err(Error::invalid(format!("the condition on tags nests deeper than {TAG_EXPR_DEPTH_MAX}")));
        }
        let inner = |e: &TagExpr| self.eval(symbols, all, e, depth + 1);
        Ok(match expr {
            TagExpr::All => all.to_bitmap(),
            TagExpr::Tag(name, test) => self.test(symbols, all, name, test),
            TagExpr::Not(e) => all.to_bitmap() - inner(e)?,
            TagExpr::Or(list) => {
                let mut any = RoaringBitmap::new();
                for e in list {
                    any |= inner(e)?;
                }
                any
            }
            TagExpr::And(list) => {
                // Negations last: they are then subtracted without making the set of all others first.
                let mut rest: Option<RoaringBitmap> = None;
                for e in list.iter().filter(|e| !matches!(e, TagExpr::Not(_) | TagExpr::All)) {
                    let this = inner(e)?;
                    let both = match rest {
                        Some(rest) => rest & this,
                        None => this,
                    };
                    if both.is_empty() {
                        return Ok(both);
                    }
                    rest = Some(both);
                }
                let mut rest = rest.unwrap_or_else(|| all.to_bitmap());
                for e in list {
                    if let TagExpr::Not(e) = e
                        && !rest.is_empty()
                    {
                        rest -= inner(e)?;
                    }
                }
                rest
            }
        })
    }

    fn test(&self, symbols: &Symbols, all: &Posting, name: &str, test: &TagTest) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        let key = self.key(symbols, name);
        if test.holds("") {
            found = all.to_bitmap();
            if let Some(key) = key {
                found -= key.series.to_bitmap();
            }
        }
        let Some(key) = key else { return found };
        match test {
            TagTest::Is(text) => {
                if let Some(text) = symbols.find(text)
                    && let Some(value) = key.values.find(spread(text), |v| v.text == text)
                {
                    value.series.add_to(&mut found);
                }
            }
            TagTest::Like(test) => {
                // In the order of the symbols, so that a million texts are read as they lie in memory; and small sets
                // gathered, as one by one in no order each would cost a search.
                let mut values: Vec<_> = key.values.iter().map(|v| (v.text, v)).collect();
                values.sort_unstable_by_key(|&(text, _)| text);
                let mut singles = Vec::new();
                for (_, value) in values.into_iter().filter(|&(text, _)| test(symbols.text(text))) {
                    match &value.series {
                        Posting::Many(set) => found |= &**set,
                        small => singles.extend_from_slice(small.small()),
                    }
                }
                singles.sort_unstable();
                found |= singles.into_iter().collect::<RoaringBitmap>();
            }
        }
        found
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let keys = self.keys.iter().map(|k| {
            let values = k.values.iter().map(|v| v.series.heap_bytes()).sum::<usize>();
            size_of::<TagKey>() + k.series.heap_bytes() + k.values.allocation_size() + values
        });
        keys.sum()
    }
}
