//! Texts in order: the values of a tag as `SHOW TAG VALUES` and its like want them, made once and changed as values come and go.
//!
//! The index has values in no order, for creating series must not pay for one. Who wants an order copies the texts under the
//! registry's lock and sorts them behind it; [`TagValues`] is what it may keep for the next time: then only values that
//! are new since are copied and sorted, and merged into the others. The texts lie one behind the other, so that a million
//! of them are read as they lie in memory.

use std::cmp::Ordering;
use std::ops::Range;

use roaring::RoaringBitmap;

use super::text::Symbol;

/// Texts in any order, one behind the other.
#[derive(Default)]
pub struct Texts {
    text: String,
    places: Vec<Place>,
    /// Bytes that all of them begin with.
    common: usize,
}

/// Where a text lies.
#[derive(Clone, Copy)]
struct Place {
    /// Its first eight bytes behind the common ones, most significant first; set before sorting.
    // PERF: names share their first letters; with these few comparisons go to the text, which is not in the cache.
    head: u64,
    at: usize,
    len: u32,
    symbol: Symbol,
}

/// Of texts that are no values of a tag.
const NO_SYMBOL: Symbol = Symbol::MAX;

impl Texts {
    /// Adds a text.
    pub fn push(&mut self, text: &str) {
        self.push_value(text, NO_SYMBOL);
    }

    pub(super) fn push_value(&mut self, text: &str, symbol: Symbol) {
        self.common = match self.places.first() {
            None => text.len(),
            Some(first) => {
                let same = first.of(&self.text).bytes().zip(text.bytes());
                same.take(self.common).take_while(|(a, b)| a == b).count()
            }
        };
        let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.places.push(Place { head: 0, at: self.text.len(), len, symbol });
        self.text.push_str(text);
    }

    fn sort(&mut self) {
        let Self { text, places, common } = self;
        for place in places.iter_mut() {
            let rest = place.of(text).as_bytes().get(*common..).unwrap_or_default();
            let mut head = [0; 8];
            let len = rest.len().min(head.len());
            head[..len].copy_from_slice(&rest[..len]);
            place.head = u64::from_be_bytes(head);
        }
        // A text that ends within its head sorts before those that go on with zeros: then the texts decide.
        places.sort_unstable_by(|a, b| a.head.cmp(&b.head).then_with(|| a.of(text).cmp(b.of(text))));
    }

    /// The texts in order, each once.
    pub fn sorted(mut self) -> SortedTexts {
        self.sort();
        let mut sorted = SortedTexts::with_capacity(self.places.len(), self.text.len());
        for place in &self.places {
            let text = place.of(&self.text);
            if sorted.last() != Some(text) {
                sorted.push(text);
            }
        }
        sorted
    }
}

impl Place {
    fn of(self, text: &str) -> &str {
        &text[self.at..self.at + self.len as usize]
    }
}

/// Texts in the order of their bytes, each once.
#[derive(Debug, Default)]
pub struct SortedTexts {
    text: String,
    ends: Vec<usize>,
}

impl SortedTexts {
    fn with_capacity(texts: usize, bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes), ends: Vec::with_capacity(texts) }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Text number `at`, which is there.
    pub fn get(&self, at: usize) -> &str {
        &self.text[self.start(at)..self.ends[at]]
    }

    /// The texts of a range of numbers, which are there.
    pub fn range(&self, range: Range<usize>) -> impl Iterator<Item = &str> {
        let mut start = self.start(range.start);
        self.ends[range].iter().map(move |&end| &self.text[std::mem::replace(&mut start, end)..end])
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.range(0..self.len())
    }

    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    fn last(&self) -> Option<&str> {
        self.len().checked_sub(1).map(|at| self.get(at))
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    fn extend(&mut self, other: &SortedTexts, range: Range<usize>) {
        let Some(last) = range.clone().next_back() else { return };
        let (start, here) = (other.start(range.start), self.text.len());
        self.text.push_str(&other.text[start..other.ends[last]]);
        self.ends.extend(other.ends[range].iter().map(|end| end - start + here));
    }
}

/// The values of a tag of one table, in order, as of some moment.
#[derive(Debug, Default)]
pub struct TagValues {
    texts: SortedTexts,
    symbols: Vec<Symbol>,
    /// See [`Directory::tag_version`](super::Directory::tag_version).
    version: u64,
}

/// What has changed since a [`TagValues`] was made.
pub struct TagValuesNews {
    fresh: Texts,
    /// Symbols of values that are gone.
    gone: RoaringBitmap,
    version: u64,
}

impl TagValues {
    /// The values.
    pub fn texts(&self) -> &SortedTexts {
        &self.texts
    }

    /// The version of the tag's values that these are.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let Self { texts, symbols, .. } = self;
        texts.text.capacity() + texts.ends.capacity() * size_of::<usize>() + symbols.capacity() * size_of::<Symbol>()
    }

    pub(super) fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    /// These with the changes since. Sorts what is new; the rest is copied.
    #[must_use]
    pub fn with(&self, news: TagValuesNews) -> TagValues {
        let TagValuesNews { mut fresh, gone, version } = news;
        fresh.sort();
        let count = self.symbols.len() + fresh.places.len() - gone.len() as usize;
        let mut made = TagValues {
            texts: SortedTexts::with_capacity(count, self.texts.text.len() + fresh.text.len()),
            symbols: Vec::with_capacity(count),
            version,
        };
        let mut at = 0;
        for place in &fresh.places {
            let text = place.of(&fresh.text);
            let to = at + self.gallop(at, text);
            made.take(self, at..to, &gone);
            made.texts.push(text);
            made.symbols.push(place.symbol);
            at = to;
        }
        made.take(self, at..self.symbols.len(), &gone);
        made
    }

    /// How many values from number `at` on are below `text`.
    fn gallop(&self, at: usize, text: &str) -> usize {
        let below = |at: usize| self.texts.get(at).cmp(text) == Ordering::Less;
        let left = self.symbols.len() - at;
        let mut bound = 1;
        while bound <= left && below(at + bound - 1) {
            bound *= 2;
        }
        let (mut from, mut to) = (bound / 2, (bound - 1).min(left));
        while from < to {
            let middle = from.midpoint(to);
            if below(at + middle) { from = middle + 1 } else { to = middle }
        }
        from
    }

    fn take(&mut self, from: &TagValues, range: Range<usize>, gone: &RoaringBitmap) {
        if gone.is_empty() {
            self.texts.extend(&from.texts, range.clone());
            self.symbols.extend_from_slice(&from.symbols[range]);
            return;
        }
        for at in range.filter(|&at| !gone.contains(from.symbols[at])) {
            self.texts.push(from.texts.get(at));
            self.symbols.push(from.symbols[at]);
        }
    }
}

impl From<SortedTexts> for TagValues {
    /// Texts that nobody will bring up to date.
    fn from(texts: SortedTexts) -> Self {
        Self { texts, symbols: Vec::new(), version: 0 }
    }
}

impl TagValuesNews {
    /// `now` are the symbols and texts of all values there are, in no order.
    pub(super) fn since<'a>(
        known: &TagValues,
        version: u64,
        now: impl Iterator<Item = Symbol>,
        text: impl Fn(Symbol) -> &'a str,
    ) -> Self {
        let mut gone: RoaringBitmap = known.symbols.iter().copied().collect();
        let mut fresh: Vec<Symbol> = now.filter(|&symbol| !gone.remove(symbol)).collect();
        // In the order of the symbols: as the texts lie in memory.
        fresh.sort_unstable();
        let mut texts = Texts::default();
        texts.places.reserve(fresh.len());
        fresh.into_iter().for_each(|symbol| texts.push_value(text(symbol), symbol));
        Self { fresh: texts, gone, version }
    }
}
