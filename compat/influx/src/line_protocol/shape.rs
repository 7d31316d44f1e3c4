use super::parser::Field;
use super::unescape::Name;

/// The field names of an earlier row, in order: what the next row of the table will probably have.
///
/// Keep one per table and [`Shape::learn`] whenever a row did not match; then a field whose index is
/// below [`super::Row::matched`] is the one the caller resolved at that index before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The names one after another, each with its `=`.
    packed: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    end: u32,
    escaped: bool,
}

impl Shape {
    /// A shape that matches nothing.
    pub const EMPTY: Shape = Shape { packed: Vec::new(), entries: Vec::new() };

    /// Replaces the shape by the names of `fields`, as they were sent.
    pub fn learn(&mut self, fields: &[Field<'_>]) {
        self.packed.clear();
        self.entries.clear();
        for field in fields {
            let Name { raw, escaped } = field.name;
            let Ok(end) = u32::try_from(self.packed.len() + raw.len() + 1) else {
                return; // What was learnt so far is a shape, too.
            };
            self.packed.extend_from_slice(raw);
            self.packed.push(b'=');
            self.entries.push(Entry { end, escaped });
        }
    }

    /// How many names.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The name at `index`, escaped as sent.
    pub fn raw_name(&self, index: usize) -> Option<&[u8]> {
        let end = self.entries.get(index)?.end as usize;
        let start = index.checked_sub(1).map_or(0, |before| self.entries[before].end as usize);
        Some(&self.packed[start..end - 1])
    }

    /// A cursor over the names, for one row.
    pub(super) fn cursor(&self) -> Cursor<'_> {
        Cursor { rest: &self.packed, start: 0, entries: self.entries.iter() }
    }
}

/// Walks a shape beside a row's fields until the first that differs.
pub(super) struct Cursor<'s> {
    rest: &'s [u8],
    start: u32,
    entries: std::slice::Iter<'s, Entry>,
}

impl Cursor<'_> {
    /// If `input` goes on with the next name and `=`, the name and what follows the `=`.
    #[inline]
    pub(super) fn strip<'a>(&mut self, input: &'a [u8]) -> Option<(Name<'a>, &'a [u8])> {
        let entry = self.entries.next()?;
        let (expected, rest) = self.rest.split_at_checked((entry.end - self.start) as usize)?;
        let (head, after) = input.split_at_checked(expected.len())?;
        if !same(head, expected) {
            return None;
        }
        self.rest = rest;
        self.start = entry.end;
        // Both sides end in `=`.
        Some((Name { raw: &head[..head.len() - 1], escaped: entry.escaped }, after))
    }
}

/// Equality of two slices of one length, in words.
// PERF: names are 5 to 20 bytes; a call of memcmp costs as much as the comparison.
// Proof: `cargo bench --bench line_protocol`.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    fn word(bytes: &[u8], at: usize) -> Option<u64> {
        bytes.get(at..at + 8)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
    }
    if a.len() < 8 || a.len() != b.len() {
        return a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x == y);
    }
    // The last word overlaps the one before it.
    let last = a.len() - 8;
    let mut at = 0;
    while at < last {
        if word(a, at) != word(b, at) {
            return false;
        }
        at += 8;
    }
    word(a, last) == word(b, last)
}
