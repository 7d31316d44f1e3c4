use std::borrow::Cow;

use super::error::Reason;
use super::parser::ParseOptions;
use super::unescape::{NAME_SPECIALS, unescape_name};

/// Measurement and tags exactly as sent, up to the space before the fields. Not checked.
///
/// Equal bytes are the same series, so a look-up by these bytes needs no parsing; different bytes
/// may be the same series as well (tags in another order, needless escapes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RawKey<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) expected: bool,
}

impl<'a> RawKey<'a> {
    /// A key that comes from elsewhere, such as an index.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, expected: false }
    }

    /// The bytes as sent.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether these are the bytes the caller expected.
    pub fn was_expected(self) -> bool {
        self.expected
    }

    /// Checks the key, takes it apart and sorts its tags. Allocates: meant for keys seen the first time.
    ///
    /// # Errors
    /// The [`Reason`] for which the whole line must be refused.
    pub fn parse(self, options: &ParseOptions) -> Result<SeriesKey<'a>, Reason<'a>> {
        let (measurement, mut rest) = split_measurement(self.bytes)?;
        let mut tags = Vec::new();
        while let Some(tag) = rest {
            if tags.len() == options.tags_max {
                return Err(Reason::TooManyTags(options.tags_max));
            }
            let RawTag { key, value, next } = split_tag(tag)?;
            tags.push((utf8(key)?, utf8(value)?));
            rest = next;
        }
        if self.bytes.len() > options.key_bytes_max {
            return Err(Reason::KeyTooLong { len: self.bytes.len(), max: options.key_bytes_max });
        }
        let key = SeriesKey::new(utf8(measurement)?, tags);
        if key.tags.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(Reason::DuplicateTags);
        }
        Ok(key)
    }

    /// Whether the bytes are what [`SeriesKey::canonical`] would write: tags sorted and distinct,
    /// nothing escaped needlessly. `false` for a key that [`RawKey::parse`] refuses.
    ///
    /// One pass, no allocation, except for keys with escapes.
    pub fn is_canonical(self, options: &ParseOptions) -> bool {
        if memchr::memchr(b'\\', self.bytes).is_some() {
            return self.parse(options).is_ok_and(|key| key.canonical().as_bytes() == self.bytes);
        }
        let Ok((measurement, mut rest)) = split_measurement(self.bytes) else { return false };
        let (mut last, mut count): (&[u8], usize) = (b"", 0);
        while let Some(tag) = rest {
            let Ok(RawTag { key, value, next }) = split_tag(tag) else { return false };
            // A value may start with a bare `=`; the canonical form escapes it.
            if key <= last || value.contains(&b'=') || count == options.tags_max {
                return false;
            }
            (last, rest, count) = (key, next, count + 1);
        }
        !measurement.contains(&b' ')
            && self.bytes.len() <= options.key_bytes_max
            && std::str::from_utf8(self.bytes).is_ok()
    }
}

/// A series: measurement and tags, unescaped, tags sorted by key and distinct.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SeriesKey<'a> {
    /// The measurement.
    pub measurement: Cow<'a, str>,
    /// Key and value; neither is empty.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> SeriesKey<'a> {
    fn new(measurement: Cow<'a, str>, mut tags: Vec<(Cow<'a, str>, Cow<'a, str>)>) -> Self {
        if !tags.is_sorted_by(|a, b| a.0 <= b.0) {
            tags.sort_by(|a, b| a.0.cmp(&b.0));
        }
        Self { measurement, tags }
    }

    /// The canonical text, as `SHOW SERIES` prints it: `measurement,tag=value,...`, `,` and space
    /// escaped in the measurement (`=` behind a backslash, too), `,`, `=` and space in tags. Equal
    /// texts are equal series.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write_canonical(&mut out);
        out
    }

    /// Appends [`SeriesKey::canonical`].
    pub fn write_canonical(&self, out: &mut String) {
        // A bare `=` needs no escape here, but `\=` would read back as `=`.
        for (index, part) in self.measurement.split("\\=").enumerate() {
            if index > 0 {
                out.push_str("\\\\=");
            }
            escape_into(part, b", ", out);
        }
        for (key, value) in &self.tags {
            out.push(',');
            escape_into(key, NAME_SPECIALS, out);
            out.push('=');
            escape_into(value, NAME_SPECIALS, out);
        }
    }
}

/// Appends `text` with a backslash before each of `specials` (ASCII).
pub(super) fn escape_into(text: &str, specials: &[u8], out: &mut String) {
    let mut copied = 0;
    for (at, _) in text.bytes().enumerate().filter(|(_, byte)| specials.contains(byte)) {
        out.push_str(&text[copied..at]);
        out.push('\\');
        copied = at;
    }
    out.push_str(&text[copied..]);
}

/// The measurement, and what follows its comma if tags do.
fn split_measurement(key: &[u8]) -> Result<(&[u8], Option<&[u8]>), Reason<'static>> {
    let end = unescaped(key, 0, |byte| byte == b',');
    match (end, key.is_empty()) {
        (Some(0), _) | (_, true) => Err(Reason::MissingMeasurement),
        (Some(at), _) => Ok((&key[..at], Some(&key[at + 1..]))),
        (None, _) => Ok((key, None)),
    }
}

/// One tag, escaped as sent.
struct RawTag<'k> {
    key: &'k [u8],
    value: &'k [u8],
    /// What follows the comma, if more tags do.
    next: Option<&'k [u8]>,
}

fn split_tag(tag: &[u8]) -> Result<RawTag<'_>, Reason<'static>> {
    if matches!(tag.first(), None | Some(b',' | b'=')) {
        return Err(Reason::MissingTagKey);
    }
    let Some(equals) = unescaped(tag, 0, |byte| byte == b'=' || byte == b',').filter(|at| tag[*at] == b'=') else {
        return Err(Reason::MissingTagValue);
    };
    let (key, value) = (&tag[..equals], &tag[equals + 1..]);
    if matches!(value.first(), None | Some(b',')) {
        return Err(Reason::MissingTagValue);
    }
    // As in InfluxDB the first byte of a value is never a separator: `a==` is the value `=`.
    match unescaped(value, 1, |byte| byte == b'=' || byte == b',') {
        Some(at) if value[at] == b'=' => Err(Reason::InvalidTagFormat),
        Some(at) => Ok(RawTag { key, value: &value[..at], next: Some(&value[at + 1..]) }),
        None => Ok(RawTag { key, value, next: None }),
    }
}

/// Where the first byte at or behind `from` stands that `is_special` and has no backslash before it.
fn unescaped(bytes: &[u8], from: usize, is_special: impl Fn(u8) -> bool) -> Option<usize> {
    (from..bytes.len()).find(|&at| is_special(bytes[at]) && (at == 0 || bytes[at - 1] != b'\\'))
}

fn utf8(raw: &[u8]) -> Result<Cow<'_, str>, Reason<'static>> {
    let text = std::str::from_utf8(raw).map_err(|_| Reason::InvalidUtf8)?;
    Ok(unescape_name(text))
}
