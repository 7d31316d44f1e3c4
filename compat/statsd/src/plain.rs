//! The usual line, read in one pass: `key:number|type`, with `|@rate` and `|#tags` if it has them.
//!
//! Only what both dialects read alike, and only plain decimals: any other line, good or bad, is left to
//! [`crate::packet`] and [`crate::dogstatsd`].

use memchr::{memchr2, memchr3};

use crate::number::take_plain;
use crate::packet::{Kind, Value};

/// A line that holds one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Plain<'a> {
    /// The key as it was sent, not empty.
    pub key: &'a [u8],
    /// The text behind `|#`; empty without tags.
    pub tags: &'a [u8],
    /// Its value; the rate is above 0.
    pub value: Value<'a>,
}

/// Reads a line; `None` if it is not a usual one.
// PERF: one search for the end of the key and one over the tags, instead of one for each sign that may stand in a line.
// Proof: `cargo bench -p rhythmite-statsd -- statsd_parse`.
#[inline]
pub(crate) fn read(line: &[u8]) -> Option<Plain<'_>> {
    let colon = memchr3(b':', b'#', b'|', line)?;
    let (key, body) = (&line[..colon], line[colon..].strip_prefix(b":")?);
    // Events and service checks of DogStatsD begin so.
    if key.first().is_none_or(|first| *first == b'_') {
        return None;
    }
    let (value, rest) = take_value(body)?;
    let tags = match rest {
        [] => rest,
        [b'|', b'#', tags @ .., last] if *last != b'\r' && memchr2(b'|', b'#', tags).is_none() => &rest[2..],
        _ => return None,
    };
    (!tags.ends_with(b"|") && !tags.ends_with(b"#")).then_some(Plain { key, tags, value })
}

/// Takes a usual line that was sent as `key` and `tags`, which another line of this dialect had, from the beginning of
/// `text`: its value, and what follows its line feed, if it has one. `None` if it was not sent so, or is not a usual one.
// PERF: what was found in the other line need not be looked for in this one, its end neither.
#[inline]
pub(crate) fn take_as<'a>(text: &'a [u8], key: &[u8], tags: &[u8]) -> Option<(Value<'a>, &'a [u8])> {
    let (value, mut rest) = take_value(text.strip_prefix(key)?.strip_prefix(b":")?)?;
    if !tags.is_empty() {
        rest = rest.strip_prefix(b"|#")?.strip_prefix(tags)?;
    }
    match rest {
        [] => Some((value, rest)),
        [b'\n', after @ ..] => Some((value, after)),
        _ => None,
    }
}

/// `number|type`, with `|@rate` if it has one, and what follows.
#[inline]
fn take_value(body: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (number, rest) = take_plain(body)?;
    let text = &body[..body.len() - rest.len()];
    let (kind, rest) = match rest {
        [b'|', b'c', rest @ ..] => (Kind::Counter, rest),
        [b'|', b'g', rest @ ..] => (Kind::Gauge, rest),
        [b'|', b'm', b's', rest @ ..] if text[0] != b'-' => (Kind::Timer, rest),
        _ => return None,
    };
    let (rate, rest) = match rest {
        [b'|', b'@', rate @ ..] if rate.first().is_some_and(|b| b.is_ascii_digit() || *b == b'.') => take_plain(rate)?,
        _ => (1.0, rest),
    };
    (rate > 0.0).then_some((Value { kind, text, number, rate }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dogstatsd::{self, Message};
    use crate::packet::Line;

    /// Whether it is a usual line; if it is, both dialects read it so.
    fn check(line: &str) -> bool {
        let Some(plain) = read(line.as_bytes()) else { return false };
        let statsd = Line::new(line.as_bytes());
        let values: Vec<_> = statsd.values().collect();
        assert_eq!((statsd.key, statsd.tags, &values[..]), (plain.key, plain.tags, &[Ok(plain.value)][..]), "{line:?}");
        let Ok(Message::Metric(dog)) = dogstatsd::parse(line.as_bytes()) else { panic!("{line:?}") };
        let (name, tags, kind, rate) = (plain.key, plain.tags, plain.value.kind, plain.value.rate);
        assert_eq!((dog.name, dog.tags, dog.kind, dog.rate), (name, tags, kind, rate), "{line:?}");
        assert_eq!(dog.values().collect::<Vec<_>>(), [(plain.value.text, plain.value.number)], "{line:?}");
        assert_eq!((dog.timestamp_s, dog.container), (None, &b""[..]), "{line:?}");
        for (behind, rest) in [("", ""), ("\n", ""), ("\n\nb:1|c", "\nb:1|c"), ("\na", "a")] {
            let text = format!("{line}{behind}");
            let taken = take_as(text.as_bytes(), plain.key, plain.tags);
            assert_eq!(taken, Some((plain.value, rest.as_bytes())), "{text:?}");
        }
        for (key, tags) in [(&b"b"[..], plain.tags), (plain.key, b"other"), (&plain.key[1..], plain.tags)] {
            assert_eq!(take_as(line.as_bytes(), key, tags), None, "{line:?}");
        }
        // As long a line behind the same beginning is another one.
        for more in ["x", "\r", "|", ",x:1", " \n"] {
            assert_eq!(take_as(format!("{line}{more}").as_bytes(), plain.key, plain.tags), None, "{line:?}");
        }
        if let Some(shorter) = plain.tags.split_last().map(|(_, tags)| tags) {
            assert_eq!(take_as(line.as_bytes(), plain.key, shorter), None, "{line:?}");
        }
        true
    }

    #[test]
    fn usual_lines() {
        for line in [
            "a:1|c",
            "a.b-c d/e:-12.5|g",
            "a:+3|g",
            "a:320|ms",
            "a:0.5|ms|@0.1",
            "a:1|c|@0.25|#x:y",
            "a:1|c|#x:y,z,,=1;2",
            "a:1|g|#x",
            "ä:5.|c",
        ] {
            assert!(check(line), "{line:?}");
        }
    }

    #[test]
    fn what_the_dialects_read_is_read_alike_or_left_to_them() {
        let pieces = [
            ["a", "", "_e{2,1}", "_sc", "a#b", "a|b", "a\r"],
            [":", "::", "", ":x", "|", "#", ""],
            ["1", "-1", "+.5", "1e3", "0x10", "", "1234567890123456789"],
            ["|c", "|g", "|ms", "|s", "|h", "|c ", "c"],
            ["", "|@0.5", "|@0", "|@-1", "|@1e-1", "|@+1", "|@.5|"],
            ["", "|#x:1", "|#x:1|#y", "|#", "|#x#y", "|#x:1\r", "|#x:1|c:id"],
            ["", "\r", "|", "#", ":2|c", "|T1", " "],
        ];
        let mut usual = 0;
        for n in 0..7usize.pow(pieces.len() as u32) {
            let line: String =
                pieces.iter().enumerate().map(|(i, piece)| piece[n / 7usize.pow(i as u32) % 7]).collect();
            usual += usize::from(check(&line));
        }
        assert!(usual > 100, "{usual}");
    }
}
