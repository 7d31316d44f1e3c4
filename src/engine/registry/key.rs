//! Series keys as text: where the measurement ends and which tags follow.
//!
//! Only canonical keys come here (see [`KeyKind`]); whoever parses a protocol makes them canonical first.

use std::borrow::Cow;

use rhythmite_model::KeyKind;

/// The tag that names a tagged Graphite series.
pub const NAME_TAG: &str = "name";

/// What stands in front of the tags, unescaped: the measurement, or the (whole or bare) Graphite path.
pub fn base(kind: KeyKind, key: &str) -> Cow<'_, str> {
    match kind {
        KeyKind::Tagged => unescape(&key[..unescaped(key, b',')]),
        KeyKind::Path => Cow::Borrowed(&key[..memchr::memchr(b';', key.as_bytes()).unwrap_or(key.len())]),
    }
}

/// Whether the key has tags of its own, which for a path means that it is found by tags and not by its nodes.
pub fn is_tagged(kind: KeyKind, key: &str) -> bool {
    kind == KeyKind::Tagged || memchr::memchr(b';', key.as_bytes()).is_some()
}

/// The tags of a key in the order of the text, unescaped. A tagged path gives `name` first; an untagged one nothing.
pub fn tags(kind: KeyKind, key: &str) -> Tags<'_> {
    match kind {
        KeyKind::Tagged => Tags { kind, name: None, rest: key.get(unescaped(key, b',') + 1..).unwrap_or("") },
        KeyKind::Path => match memchr::memchr(b';', key.as_bytes()) {
            Some(at) => Tags { kind, name: Some(&key[..at]), rest: &key[at + 1..] },
            None => Tags { kind, name: None, rest: "" },
        },
    }
}

/// The value of one tag.
pub fn tag<'a>(kind: KeyKind, key: &'a str, name: &str) -> Option<Cow<'a, str>> {
    tags(kind, key).find(|(k, _)| k == name).map(|(_, v)| v)
}

/// See [`tags`].
#[derive(Clone, Debug)]
pub struct Tags<'a> {
    kind: KeyKind,
    name: Option<&'a str>,
    rest: &'a str,
}

impl<'a> Iterator for Tags<'a> {
    type Item = (Cow<'a, str>, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(name) = self.name.take() {
            return Some((Cow::Borrowed(NAME_TAG), Cow::Borrowed(name)));
        }
        if self.rest.is_empty() {
            return None;
        }
        let end = match self.kind {
            KeyKind::Tagged => unescaped(self.rest, b','),
            KeyKind::Path => memchr::memchr(b';', self.rest.as_bytes()).unwrap_or(self.rest.len()),
        };
        let tag = &self.rest[..end];
        self.rest = self.rest.get(end + 1..).unwrap_or("");
        Some(match self.kind {
            KeyKind::Tagged => {
                let equals = unescaped(tag, b'=');
                (unescape(&tag[..equals]), unescape(tag.get(equals + 1..).unwrap_or("")))
            }
            KeyKind::Path => {
                let equals = memchr::memchr(b'=', tag.as_bytes()).unwrap_or(tag.len());
                (Cow::Borrowed(&tag[..equals]), Cow::Borrowed(tag.get(equals + 1..).unwrap_or("")))
            }
        })
    }
}

fn escapes(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b',' | b'=' | b' '))
}

/// Where the first `wanted` without a backslash in front is, or the end.
fn unescaped(text: &str, wanted: u8) -> usize {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(at) = memchr::memchr2(wanted, b'\\', &bytes[from..]).map(|at| at + from) {
        if bytes[at] == wanted {
            return at;
        }
        // A backslash before anything else is an ordinary character.
        from = at + if escapes(bytes.get(at + 1)) { 2 } else { 1 };
    }
    bytes.len()
}

fn unescape(text: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut plain = String::with_capacity(text.len());
    let mut from = 0;
    while let Some(at) = memchr::memchr(b'\\', &bytes[from..]).map(|at| at + from) {
        plain.push_str(&text[from..at]);
        if escapes(bytes.get(at + 1)) {
            plain.push(char::from(bytes[at + 1]));
            from = at + 2;
        } else {
            plain.push('\\');
            from = at + 1;
        }
    }
    plain.push_str(&text[from..]);
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fall_into_base_and_tags() {
        use KeyKind::{Path, Tagged};
        let cases: &[(KeyKind, &str, &str)] = &[
            (Tagged, "cpu", "cpu |"),
            (Tagged, "cpu,host=a,region=eu", "cpu | host=a region=eu"),
            (Tagged, r"my\ cpu\,x,a\ b=c\=d,e=f\,g", "my cpu,x | a b=c=d e=f,g"),
            (Tagged, r"cpu=1,a=b", "cpu=1 | a=b"),
            (Tagged, r"cpu,path=C:\dir", r"cpu | path=C:\dir"),
            (Tagged, r"cpu,a=x\\,b=y", r"cpu | a=x\,b=y"),
            (Tagged, r"cpu,a=x\", r"cpu | a=x\"),
            (Tagged, "größe,ort=münchen", "größe | ort=münchen"),
            (Path, "a.b.c", "a.b.c |"),
            (Path, "disk.used;dc=1;host=web=1", "disk.used | name=disk.used dc=1 host=web=1"),
            (Path, "a;b", "a | name=a b="),
            (Path, "", " |"),
        ];
        for &(kind, key, expected) in cases {
            let mut got = format!("{} |", base(kind, key));
            for (k, v) in tags(kind, key) {
                got.push_str(&format!(" {k}={v}"));
            }
            assert_eq!(got, expected, "{key}");
        }
    }

    #[test]
    fn one_tag_is_found_by_name() {
        assert_eq!(tag(KeyKind::Tagged, "cpu,host=a", "host").as_deref(), Some("a"));
        assert_eq!(tag(KeyKind::Tagged, "cpu,host=a", "hos"), None);
        assert_eq!(tag(KeyKind::Path, "x;dc=1", NAME_TAG).as_deref(), Some("x"));
    }
}
