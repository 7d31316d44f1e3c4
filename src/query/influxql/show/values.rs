//! Values of one tag: copied from the index in one go, sorted as far as they are shown.

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
    /// Where each lies.
    places: Vec<(usize, u32)>,
    /// Sorted, each once.
    in_order: bool,
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
        let mut values = Self { text: String::new(), places: Vec::new(), in_order: false };
        directory.each_tag_value(tables, key, within, &mut |value| values.push(value, wanted));
        if key == PATH_TAG {
            paths(directory, tables, within).for_each(|path| values.push(path, wanted));
        }
        if tables.len() > 1 || key == PATH_TAG {
            // The same value may be there several times.
            let Self { text, places, .. } = &mut values;
            let get = |place: &(usize, u32)| &text[place.0..place.0 + place.1 as usize];
            places.sort_unstable_by(|a, b| get(a).cmp(get(b)));
            places.dedup_by(|a, b| get(a) == get(b));
            values.in_order = true;
        }
        values
    }

    fn push(&mut self, value: &str, wanted: &dyn Fn(&str) -> bool) {
        if wanted(value) {
            self.places.push((self.text.len(), u32::try_from(value.len()).unwrap_or(u32::MAX)));
            self.text.push_str(value);
        }
    }

    /// The values on a page, in order.
    pub(super) fn page(&mut self, page: &mut Page) -> impl Iterator<Item = &str> {
        let shown = page.advance(self.places.len());
        let Self { text, places, in_order } = self;
        let get = |place: &(usize, u32)| &text[place.0..place.0 + place.1 as usize];
        if !*in_order && !shown.is_empty() {
            if shown.end < places.len() {
                places.select_nth_unstable_by(shown.end, |a, b| get(a).cmp(get(b)));
            }
            places[..shown.end].sort_unstable_by(|a, b| get(a).cmp(get(b)));
        }
        self.places[shown].iter().map(|place| &self.text[place.0..place.0 + place.1 as usize])
    }
}
