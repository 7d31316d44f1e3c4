//! Escapes. In names (measurement, tag, field) a backslash hides `,`, `=` and space; in strings `"`
//! and `\`. Any other backslash is a character like others, and two before a comma hide the comma.

use std::borrow::Cow;

/// A field's name as sent; valid UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name<'a> {
    pub(super) raw: &'a [u8],
    pub(super) escaped: bool,
}

impl<'a> Name<'a> {
    /// The bytes as sent, escapes and all. Two spellings may mean one name.
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// Whether [`Name::text`] differs from the bytes sent.
    pub fn is_escaped(self) -> bool {
        self.escaped
    }

    /// The name meant. Borrowed unless it is escaped.
    pub fn text(self) -> Cow<'a, str> {
        let raw = std::str::from_utf8(self.raw).expect("the parser and the shape admit UTF-8 only");
        if self.escaped { unescape_name(raw) } else { Cow::Borrowed(raw) }
    }
}

/// A string value as sent, without its quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Text<'a> {
    pub(super) raw: &'a str,
    pub(super) escaped: bool,
}

impl<'a> Text<'a> {
    /// The text meant if it needs no work.
    pub fn as_plain(self) -> Option<&'a str> {
        (!self.escaped).then_some(self.raw)
    }

    /// The text meant. Borrowed unless it is escaped.
    pub fn text(self) -> Cow<'a, str> {
        match self.as_plain() {
            Some(plain) => Cow::Borrowed(plain),
            None => {
                let mut out = String::with_capacity(self.raw.len());
                self.append_to(&mut out);
                Cow::Owned(out)
            }
        }
    }

    /// Appends the text meant; lets a caller collect strings without an allocation for each.
    pub fn append_to(self, out: &mut String) {
        if self.escaped { unescape_into(self.raw, b"\"\\", out) } else { out.push_str(self.raw) }
    }
}

/// `raw` with the backslash taken from each `\,`, `\=` and `\ `.
pub(super) fn unescape_name(raw: &str) -> Cow<'_, str> {
    if !has_escape(raw.as_bytes(), NAME_SPECIALS) {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    unescape_into(raw, NAME_SPECIALS, &mut out);
    Cow::Owned(out)
}

pub(super) const NAME_SPECIALS: &[u8] = b",= ";

/// Whether a backslash stands before one of `specials` anywhere in `raw`.
pub(super) fn has_escape(raw: &[u8], specials: &[u8]) -> bool {
    memchr::memchr_iter(b'\\', raw).any(|at| raw.get(at + 1).is_some_and(|next| specials.contains(next)))
}

/// `specials` are ASCII, so that the cuts fall between characters.
fn unescape_into(raw: &str, specials: &[u8], out: &mut String) {
    let bytes = raw.as_bytes();
    let (mut copied, mut from) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', &bytes[from..]) {
        let at = from + found;
        if bytes.get(at + 1).is_some_and(|next| specials.contains(next)) {
            out.push_str(&raw[copied..at]);
            copied = at + 1;
            from = at + 2;
        } else {
            from = at + 1;
        }
    }
    out.push_str(&raw[copied..]);
}
