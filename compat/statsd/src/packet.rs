//! The grammar of npm statsd's lines, read without copying.
//!
//! A packet is lines between `\n`; empty ones are nothing. A line is `key:value`, where a value
//! is `number|type[|@rate]` and more values may follow after further colons. Everything behind
//! `|#` is tags. The order in which the reference takes a line apart shows in odd lines and is
//! kept: first at `|#`, then at `:`, then at `|`.
//!
//! Numbers are those of ECMAScript ([`crate::number`]). A type that is not `ms`, `g` or `s` is a
//! counter. Never allocates, never panics; the DogStatsD dialect is [`crate::dogstatsd`].

use memchr::{memchr, memchr2};

use crate::number;

/// What a value is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Summed over the interval.
    Counter,
    /// The last value stays.
    Gauge,
    /// Every value is kept until the flush.
    Timer,
    /// Distinct values are counted.
    Set,
}

/// One value of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value<'a> {
    /// What it is added to.
    pub kind: Kind,
    /// The text of the value, which is what a set counts; `0` where a set's is empty.
    pub text: &'a [u8],
    /// The text as a number; 0 for a set.
    pub number: f64,
    /// The sample rate, 1 without one. May be 0 or above 1, as the reference allows.
    pub rate: f64,
}

impl Value<'_> {
    /// Whether a gauge takes this as a change of its value rather than a value.
    pub fn is_delta(&self) -> bool {
        matches!(self.text.first(), Some(b'-' | b'+'))
    }
}

/// A value that is counted as a bad line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bad;

/// A line taken apart at `|#` and at the first colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The key as it was sent.
    pub key: &'a [u8],
    /// The text between the first `|#` and the second; empty without tags.
    pub tags: &'a [u8],
    /// Everything behind the key's colon and before the tags; `None` without a colon.
    body: Option<&'a [u8]>,
}

/// The lines of a packet that are not empty.
pub fn lines(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = packet;
    std::iter::from_fn(move || take_line(&mut rest))
}

/// Takes the next line that is not empty from the beginning of `rest`.
pub(crate) fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    loop {
        if rest.is_empty() {
            return None;
        }
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        *rest = rest.get(end + 1..).unwrap_or_default();
        if !line.is_empty() {
            return Some(line);
        }
    }
}

impl<'a> Line<'a> {
    /// Takes `line` apart. Cannot fail: a line without a value has one bad value.
    pub fn new(line: &'a [u8]) -> Self {
        let (head, tail) = split_at_tags(line);
        let tags = tail.map_or(&[][..], |t| split_at_tags(t).0);
        match memchr(b':', head) {
            Some(colon) => Line { key: &head[..colon], tags, body: Some(&head[colon + 1..]) },
            None => Line { key: head, tags, body: None },
        }
    }

    /// The line's values, at least one; a bad one does not spoil its neighbours.
    pub fn values(&self) -> impl Iterator<Item = Result<Value<'a>, Bad>> {
        let mut rest = Some(self.body);
        std::iter::from_fn(move || {
            let Some(body) = rest.take()? else {
                return Some(Err(Bad));
            };
            match memchr(b':', body) {
                Some(colon) => {
                    rest = Some(Some(&body[colon + 1..]));
                    Some(parse_value(&body[..colon]))
                }
                None => Some(parse_value(body)),
            }
        })
    }
}

/// What stands before the first `|#` and, if there is one, what stands behind it.
fn split_at_tags(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut from = 0;
    while let Some(i) = memchr(b'#', &text[from..]) {
        let hash = from + i;
        // A `#` that an earlier `|#` has used cannot be met here: the first match returns.
        if hash > 0 && text[hash - 1] == b'|' {
            return (&text[..hash - 1], Some(&text[hash + 1..]));
        }
        from = hash + 1;
    }
    (text, None)
}

/// `number|type[|@rate[|anything]]`.
fn parse_value(text: &[u8]) -> Result<Value<'_>, Bad> {
    let first = memchr(b'|', text).ok_or(Bad)?;
    let (value, rest) = (&text[..first], &text[first + 1..]);
    let (kind, rate) = match memchr(b'|', rest) {
        None => (rest, 1.0),
        Some(second) => {
            let rate = &rest[second + 1..];
            let end = memchr(b'|', rate).unwrap_or(rate.len());
            (&rest[..second], parse_rate(&rate[..end])?)
        }
    };
    // The reference checks the value by the type as it was sent and stores it by the trimmed
    // one, so that `ms` followed by a carriage return may be negative.
    let number = match kind {
        b"s" => 0.0,
        b"ms" => parse_number(value).filter(|v| *v >= 0.0).ok_or(Bad)?,
        _ => parse_number(value).ok_or(Bad)?,
    };
    let kind = match kind {
        b"c" => Kind::Counter,
        b"g" => Kind::Gauge,
        b"ms" => Kind::Timer,
        b"s" => Kind::Set,
        other => match number::trim(other) {
            b"g" => Kind::Gauge,
            b"ms" => Kind::Timer,
            b"s" => Kind::Set,
            _ => Kind::Counter,
        },
    };
    let text = if kind == Kind::Set && value.is_empty() { b"0" } else { value };
    Ok(Value { kind, text, number, rate })
}

/// A number with at least one character; blanks alone are 0.
fn parse_number(text: &[u8]) -> Option<f64> {
    if text.is_empty() { None } else { number::parse(text) }
}

/// `@` and a number without a minus. Of the number only the leading digits and points count:
/// `@1e3` is 1. The reference ends its process where there are none (`@+1`); here that is bad.
fn parse_rate(text: &[u8]) -> Result<f64, Bad> {
    let [b'@', rate @ ..] = text else { return Err(Bad) };
    let digits = rate.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    if digits == 0 || parse_number(rate).is_none() {
        return Err(Bad);
    }
    number::parse(&rate[..digits]).ok_or(Bad)
}

/// How many tags the text behind `|#` holds.
pub fn count_tags(tags: &[u8]) -> usize {
    if tags.is_empty() { 0 } else { memchr::memchr_iter(b',', tags).count() + 1 }
}

/// Whether a line may use what only a slower path understands (`_e{`, `_sc|`).
pub(crate) fn may_be_special(line: &[u8]) -> bool {
    line.first() == Some(&b'_') && memchr2(b'{', b'|', line).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `kind number rate` of every value, `bad` for a bad one.
    fn check(line: &str, want: &[&str]) {
        let got: Vec<String> = Line::new(line.as_bytes())
            .values()
            .map(|v| match v {
                Ok(v) => format!("{:?} {} {}", v.kind, v.number, v.rate),
                Err(Bad) => "bad".to_owned(),
            })
            .collect();
        assert_eq!(got, want, "{line:?}");
    }

    #[test]
    fn values() {
        check("a:1|c", &["Counter 1 1"]);
        check("a:1|c|@0.5", &["Counter 1 0.5"]);
        check("a:1|c|@0.5|#x:y", &["Counter 1 0.5"]);
        check("a:1|c|#x:y|@0.5", &["Counter 1 1"]);
        check("a:1|c|@0.5|more", &["Counter 1 0.5"]);
        check("a:1|c:2|g:3|ms:x|s", &["Counter 1 1", "Gauge 2 1", "Timer 3 1", "Set 0 1"]);
        check("a:1|", &["Counter 1 1"]);
        check("a:1||@0.1", &["Counter 1 0.1"]);
        check("a: |c", &["Counter 0 1"]);
        check("a:1|h", &["Counter 1 1"]);
        check("a:1| ms ", &["Timer 1 1"]);
        check("a:-1|ms\r", &["Timer -1 1"]);
        check("a:|s", &["Set 0 1"]);
        check(":1|c", &["Counter 1 1"]);
        check("a:1|c|@1e3", &["Counter 1 1"]);
        check("a:1|c|@0x10", &["Counter 1 0"]);
        check("a:1|c|@.5 ", &["Counter 1 0.5"]);
    }

    #[test]
    fn bad_values() {
        for line in [
            "a",
            "a:",
            "a:1",
            "a:|c",
            "a:x|c",
            "a:|g",
            "a:-1|ms",
            "a:1|c|",
            "a:1|c|0.1",
            "a:1|c|@",
            "a:1|c|@x",
            "a:1|c|@1x",
            "a:1|c|@-0.5",
            "a|#x:1",
            "\r",
            "a:x|s\r",
        ] {
            check(line, &["bad"]);
        }
        check("a:1|c:x|c:2|c", &["Counter 1 1", "bad", "Counter 2 1"]);
        check("a:1:2|c", &["bad", "Counter 2 1"]);
    }

    #[test]
    fn lines_that_end_the_reference_are_bad() {
        for rate in ["@+1", "@ 1", "@Infinity", "@\t0.5"] {
            check(&format!("a:1|c|{rate}"), &["bad"]);
        }
    }

    #[test]
    fn tags_end_at_the_second_marker() {
        let line = Line::new(b"a|b:1|c|#x:1,y:2|#z");
        assert_eq!((line.key, line.tags), (&b"a|b"[..], &b"x:1,y:2"[..]));
        assert_eq!(count_tags(line.tags), 2);
        assert_eq!(Line::new(b"a#b:1|c").key, b"a#b");
    }
}
