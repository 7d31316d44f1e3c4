//! Values of one tag: copied from the index in one go, sorted as far as they are shown.

use std::cmp::Ordering;

use rhythmite_engine::registry::Directory;
use rhythmite_model::TableId;
use roaring::RoaringBitmap;

use super::condition::PATH_TAG;
use super::names::paths;
use super::output::Page;

/// Texts one behind the other.
// PERF: a million values are one text and one list, not a million texts: the registry's lock is held for the copy alone.
pub(super) struct Values {
    text: String,
    places: Vec<Place>,
    /// Bytes that all of them begin with.
    common: usize,
    /// Sorted, each once.
    in_order: bool,
}

/// Where a text lies.
#[derive(Clone, Copy)]
struct Place {
    /// Its first eight bytes behind the common ones, most significant first; set before sorting.
    // PERF: hosts share their first letters; with these eight few comparisons go to the text, which is not in the cache.
    head: u64,
    at: usize,
    len: u32,
}

impl Values {
    /// The wanted values of a tag; of a Graphite series the path is one.
    pub(super) fn of(
        directory: &Directory,
        tables: &[TableId],
        key: &str,
        within: Option<&RoaringBitmap>,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Self {
        let mut values = Self { text: String::new(), places: Vec::new(), common: usize::MAX, in_order: false };
        directory.each_tag_value(tables, key, within, &mut |value| values.push(value, wanted));
        if key == PATH_TAG {
            paths(directory, tables, within).for_each(|path| values.push(path, wanted));
        }
        if tables.len() > 1 || key == PATH_TAG {
            // The same value may be there several times.
            values.set_heads();
            let Self { text, places, .. } = &mut values;
            places.sort_unstable_by(|a, b| order(text, a, b));
            places.dedup_by(|a, b| order(text, a, b).is_eq());
            values.in_order = true;
        }
        values
    }

    fn push(&mut self, value: &str, wanted: &dyn Fn(&str) -> bool) {
        if wanted(value) {
            let first = self.places.first().map_or(value, |place| place.text(&self.text));
            let same = first.bytes().zip(value.bytes()).take(self.common).take_while(|(a, b)| a == b).count();
            self.common = same;
            let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
            self.places.push(Place { head: 0, at: self.text.len(), len });
            self.text.push_str(value);
        }
    }

    fn set_heads(&mut self) {
        let common = self.common;
        for place in &mut self.places {
            let rest = place.text(&self.text).as_bytes().get(common..).unwrap_or_default();
            let mut head = [0; 8];
            let len = rest.len().min(head.len());
            head[..len].copy_from_slice(&rest[..len]);
            place.head = u64::from_be_bytes(head);
        }
    }

    /// The values on a page, in order.
    pub(super) fn page(&mut self, page: &mut Page) -> impl Iterator<Item = &str> {
        let shown = page.advance(self.places.len());
        if !self.in_order && !shown.is_empty() {
            self.set_heads();
            let Self { text, places, .. } = self;
            if shown.end < places.len() {
                places.select_nth_unstable_by(shown.end, |a, b| order(text, a, b));
            }
            places[..shown.end].sort_unstable_by(|a, b| order(text, a, b));
        }
        self.places[shown].iter().map(|place| place.text(&self.text))
    }
}

impl Place {
    fn text(self, text: &str) -> &str {
        &text[self.at..self.at + self.len as usize]
    }
}

/// A text that ends within its head sorts before those that go on with zeros: then the texts decide.
fn order(text: &str, a: &Place, b: &Place) -> Ordering {
    a.head.cmp(&b.head).then_with(|| a.text(text).cmp(b.text(text)))
}
