//! Metric names: the canonical text of a path with or without tags.
//!
//! Untagged: leading `~` and `.` dropped, empty parts folded away (`.a..b` is `a.b`). Tagged, sent as
//! `name;b=2;a=1` or `name{b="2",a="1"}`: `name;a=1;b=2`, the pairs sorted as the texts `tag=value`, the
//! last of a repeated tag kept, a tag called `name` dropped since the name itself takes its place.
//!
//! Source: carbon 1.1.10 and the tag rules of its documentation; measured.

use std::fmt;

use smallvec::SmallVec;

/// Bytes of a name.
pub const NAME_BYTES_MAX: usize = 16 << 10;
/// Pairs that are sorted without allocating.
const TAGS_INLINE: usize = 16;

/// Why a name is malformed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NameError {
    /// Nothing is left once dots and tildes are folded.
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    TooLong,
    /// Not `tag=value`, or a bad quote.
    Segment,
    /// A tag is empty or holds one of `;!^=`.
    Tag,
    /// A tag's value is empty, begins with `~` or holds a `;`.
    TagValue,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty",
            Self::TooLong => "too long",
            Self::Segment => "a segment is not tag=value",
            Self::Tag => "a tag is empty or holds one of ;!^=",
            Self::TagValue => "a tag's value is empty, begins with ~ or holds a ;",
        })
    }
}

impl std::error::Error for NameError {}

/// The canonical text of `raw`, borrowed from `raw` where that is canonical already, else built in `scratch`.
///
/// One pass and no allocation for a plain path; with tags, a sort of the pairs.
///
/// # Errors
/// See [`NameError`].
pub fn canonical<'a>(raw: &'a str, scratch: &'a mut String) -> Result<&'a str, NameError> {
    if raw.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    let canonical = match open_metrics_parts(raw) {
        Some((name, tags)) => open_metrics(name, tags, scratch),
        None => match memchr::memchr(b';', raw.as_bytes()) {
            Some(at) => tagged(raw, at, scratch),
            None => untagged(raw, scratch),
        },
    }?;
    // What was folded away at the end may have hidden this form; read again, the text would be another name.
    if open_metrics_parts(canonical).is_some() { Err(NameError::Segment) } else { Ok(canonical) }
}

/// The name of a canonical text, and its tags in order.
pub fn split(canonical: &str) -> (&str, impl Iterator<Item = (&str, &str)>) {
    let (name, tags) = canonical.split_once(';').unwrap_or((canonical, ""));
    (name, tags.split(';').filter_map(|pair| pair.split_once('=')))
}

fn untagged<'a>(raw: &'a str, scratch: &'a mut String) -> Result<&'a str, NameError> {
    let bytes = raw.as_bytes();
    let plain = match bytes {
        [] => return Err(NameError::Empty),
        [b'~' | b'.', ..] | [.., b'.'] => false,
        // PERF: without an early exit the compiler compares 16 bytes at a time; names are short and mostly good.
        _ => !bytes[1..].iter().zip(bytes).fold(false, |twice, (a, b)| twice | ((*a == b'.') & (*b == b'.'))),
    };
    if plain {
        return Ok(raw);
    }
    scratch.clear();
    for part in raw.trim_start_matches(['~', '.']).split('.').filter(|part| !part.is_empty()) {
        if !scratch.is_empty() {
            scratch.push('.');
        }
        scratch.push_str(part);
    }
    if scratch.is_empty() { Err(NameError::Empty) } else { Ok(scratch) }
}

fn tagged<'a>(raw: &'a str, name_len: usize, scratch: &'a mut String) -> Result<&'a str, NameError> {
    let (name, tags) = (&raw[..name_len], &raw[name_len + 1..]);
    let mut pairs = SmallVec::<[&str; TAGS_INLINE]>::new();
    let mut ordered = !name.starts_with('~');
    for pair in tags.split(';') {
        let (tag, value) = pair.split_once('=').ok_or(NameError::Segment)?;
        check_pair(tag, value)?;
        // Equal tags are neighbours only in most orders; strictly ascending tags are never equal.
        ordered &= tag != "name" && pairs.last().is_none_or(|last| *last < pair && tag_of(last) < tag);
        pairs.push(pair);
    }
    if ordered && !name.is_empty() {
        return Ok(raw);
    }
    join(name, &mut pairs, scratch)
}

/// The parts of `name{tags}`, where `raw` has that form.
fn open_metrics_parts(raw: &str) -> Option<(&str, &str)> {
    raw.strip_suffix('}').filter(|rest| rest.ends_with('"'))?.split_once('{')
}

fn open_metrics<'a>(name: &'a str, mut tags: &str, scratch: &'a mut String) -> Result<&'a str, NameError> {
    // Unquoted values differ from the text sent, so the pairs are laid out in one buffer first.
    let mut text = String::with_capacity(tags.len());
    let mut ends = SmallVec::<[usize; TAGS_INLINE]>::new();
    if name.contains(['}', ';']) || tags.contains('{') {
        return Err(NameError::Segment);
    }
    while !tags.is_empty() {
        let (tag, rest) = tags.split_once("=\"").ok_or(NameError::Segment)?;
        let start = text.len();
        text.push_str(tag);
        text.push('=');
        let value_start = text.len();
        let after = unquote(rest, &mut text).ok_or(NameError::Segment)?;
        check_pair(&text[start..value_start - 1], &text[value_start..])?;
        ends.push(text.len());
        tags = match after.strip_prefix(":,").or_else(|| after.strip_prefix(',')) {
            Some(more) => more,
            None if after.is_empty() => after,
            None => return Err(NameError::Segment),
        };
    }
    let mut start = 0;
    let mut pairs: SmallVec<[&str; TAGS_INLINE]> =
        ends.iter().map(|end| &text[std::mem::replace(&mut start, *end)..*end]).collect();
    join(name, &mut pairs, scratch)
}

/// Copies a quoted value up to its closing quote; what follows the quote, or `None` if there is none.
fn unquote<'a>(quoted: &'a str, out: &mut String) -> Option<&'a str> {
    let mut rest = quoted;
    loop {
        let at = rest.find(['"', '\\'])?;
        out.push_str(&rest[..at]);
        let (mark, after) = rest[at..].split_at(1);
        if mark == "\"" {
            return Some(after);
        }
        let escaped = after.chars().next().filter(|c| matches!(c, '"' | '\\'))?;
        out.push(escaped);
        rest = &after[1..];
    }
}

fn check_pair(tag: &str, value: &str) -> Result<(), NameError> {
    if tag.is_empty() || tag.contains([';', '!', '^', '=']) {
        return Err(NameError::Tag);
    }
    if value.is_empty() || value.starts_with('~') || value.contains(';') {
        return Err(NameError::TagValue);
    }
    Ok(())
}

fn join<'a>(
    name: &'a str,
    pairs: &mut SmallVec<[&str; TAGS_INLINE]>,
    scratch: &'a mut String,
) -> Result<&'a str, NameError> {
    let name = name.trim_start_matches('~');
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    // Stable, so that of equal tags the last sent is the last of its run.
    pairs.sort_by_key(|pair| tag_of(pair));
    let mut kept = SmallVec::<[&str; TAGS_INLINE]>::new();
    for (i, pair) in pairs.iter().enumerate() {
        let tag = tag_of(pair);
        if tag != "name" && pairs.get(i + 1).is_none_or(|next| tag_of(next) != tag) {
            kept.push(pair);
        }
    }
    if kept.is_empty() {
        return untagged(name, scratch);
    }
    // Not the order by tag: `a-b=1` comes before `a=1`, since the texts are compared with their `=`.
    kept.sort_unstable();
    scratch.clear();
    scratch.push_str(name);
    for pair in kept {
        scratch.push(';');
        scratch.push_str(pair);
    }
    Ok(scratch)
}

fn tag_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(tag, _)| tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, want: Result<&str, NameError>) {
        let (mut scratch, mut again) = (String::from("left over"), String::new());
        let got = canonical(raw, &mut scratch);
        assert_eq!(got, want, "{raw:?}");
        if let Ok(name) = got {
            assert_eq!(canonical(name, &mut again), Ok(name), "canonical text stays as it is");
        }
    }

    #[test]
    fn empty_parts_are_folded() {
        for (raw, want) in [
            ("a", "a"),
            ("a.b", "a.b"),
            ("a..b", "a.b"),
            (".a", "a"),
            ("...a...b...", "a.b"),
            ("a.b.", "a.b"),
            ("~a.b", "a.b"),
            ("a.~b", "a.~b"),
            ("~.~a", "a"),
            ("ünï.x", "ünï.x"),
            ("a+b=c#d", "a+b=c#d"),
            ("a{b}", "a{b}"),
        ] {
            check(raw, Ok(want));
        }
        for raw in ["", ".", "...", "~", "~.", ".~"] {
            check(raw, Err(NameError::Empty));
        }
    }

    #[test]
    fn tags_are_sorted_and_the_last_of_a_name_wins() {
        for (raw, want) in [
            ("m;a=1", "m;a=1"),
            ("m;b=2;a=1", "m;a=1;b=2"),
            ("m;a=1;b=2;a=3", "m;a=3;b=2"),
            ("m;a=1;a=1", "m;a=1"),
            ("m;a=x=y", "m;a=x=y"),
            ("m;name=other;a=1", "m;a=1"),
            ("m;name=other", "m"),
            (".m..x;name=other", "m.x"),
            ("m;a=1;a-b=2;a0=3", "m;a-b=2;a0=3;a=1"),
            ("m;a-b=2;a=1;a-b=4", "m;a-b=4;a=1"),
            ("~m;a=1", "m;a=1"),
            ("m..x;a=.1.", "m..x;a=.1."),
            ("m;ü=ï", "m;ü=ï"),
        ] {
            check(raw, Ok(want));
        }
    }

    #[test]
    fn open_metrics_form_is_the_same_series() {
        for (raw, want) in [
            (r#"m{b="2",a="1"}"#, "m;a=1;b=2"),
            (r#"m{b="2":,a="1"}"#, "m;a=1;b=2"),
            (r#"m{a="x=y,z"}"#, "m;a=x=y,z"),
            (r#"m{a="q\"\\"}"#, r#"m;a=q"\"#),
            (r#"m{a="1",a="2"}"#, "m;a=2"),
        ] {
            check(raw, Ok(want));
        }
        for (raw, why) in [
            (r#"{a="1"}"#, NameError::Empty),
            (r#"m{a="1"b="2"}"#, NameError::Segment),
            (r#"m{a="1"}{b="2"}"#, NameError::Segment),
            (r#"m{a="\n"}"#, NameError::Segment),
            (r#"m{a"}"#, NameError::Segment),
            (r#"m;b=1{a="1"}"#, NameError::Segment),
            (r#"m{a="1"}."#, NameError::Segment),
            (r#"m{a="1"};name=x"#, NameError::Segment),
            (r#"m{="1"}"#, NameError::Tag),
            (r#"m{a=""}"#, NameError::TagValue),
            (r#"m{a="1;2"}"#, NameError::TagValue),
        ] {
            check(raw, Err(why));
        }
    }

    #[test]
    fn malformed_tags_are_refused() {
        for (raw, why) in [
            (";a=1", NameError::Empty),
            ("m;", NameError::Segment),
            ("m;a", NameError::Segment),
            ("m;a=1;", NameError::Segment),
            ("m;=1", NameError::Tag),
            ("m;a!=1", NameError::Tag),
            ("m;a=", NameError::TagValue),
            ("m;a=~1", NameError::TagValue),
        ] {
            check(raw, Err(why));
        }
        check(&"x".repeat(NAME_BYTES_MAX + 1), Err(NameError::TooLong));
    }

    #[test]
    fn a_canonical_text_splits_into_name_and_tags() {
        let (name, tags) = split("m.x;a=1;b=y=z");
        assert_eq!((name, tags.collect::<Vec<_>>()), ("m.x", vec![("a", "1"), ("b", "y=z")]));
        assert_eq!(split("m.x").1.count(), 0);
    }
}
