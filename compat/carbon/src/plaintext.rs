//! The line protocol: `name value time`, one point a line.
//!
//! Fields are separated by any blanks, also at the ends and before the line feed. The value is a Python
//! number; a time of -1 (or anything that truncates to it) is now. Empty lines mean nothing. Every other
//! line gives the sink one point or one reject, in order.
//!
//! Limits: [`Parser::line_bytes_max`]. No allocation per line, but for the first tagged names.

use crate::number::{parse_float, take_decimal};
use crate::point::{Reason, Sink, deliver, reject};

/// Bytes of a line that carbon accepts, without its end.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// Reads lines; holds the limit and a buffer for names that are rewritten.
#[derive(Debug)]
pub struct Parser {
    /// Longer lines are rejected, not read.
    pub line_bytes_max: usize,
    scratch: String,
}

impl Default for Parser {
    fn default() -> Self {
        Self { line_bytes_max: LINE_BYTES_MAX, scratch: String::new() }
    }
}

impl Parser {
    /// Reads every line of `buf`. A last line without its line feed counts, as it does in a datagram.
    ///
    /// `now_s` is what a time of -1 stands for.
    pub fn parse_lines(&mut self, buf: &[u8], now_s: i64, sink: &mut impl Sink) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', buf) {
            self.parse_line(&buf[start..end], now_s, sink);
            start = end + 1;
        }
        self.parse_line(&buf[start..], now_s, sink);
    }

    fn parse_line(&mut self, line: &[u8], now_s: i64, sink: &mut impl Sink) {
        if line.len() > self.line_bytes_max {
            return reject(sink, Reason::TooLong, line);
        }
        if let Some((name, value, ts_s)) = plain(line) {
            return deliver(sink, &mut self.scratch, (name, Some(value), Some(ts_s)), now_s, line);
        }
        let Ok(text) = std::str::from_utf8(line) else {
            return reject(sink, Reason::NotUtf8, line);
        };
        let fields = if text.is_ascii() { ascii_fields(text) } else { fields(text.split(is_space)) };
        match fields {
            Fields::None => {}
            Fields::Wrong => reject(sink, Reason::Shape, line),
            Fields::Three(name, value, ts_s) => {
                deliver(sink, &mut self.scratch, (name, parse_float(value), parse_float(ts_s)), now_s, line);
            }
        }
    }
}

/// Blanks as Python's `str.split()` knows them.
pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

enum Fields<'a> {
    None,
    Three(&'a str, &'a str, &'a str),
    Wrong,
}

fn fields<'a>(parts: impl Iterator<Item = &'a str>) -> Fields<'a> {
    let mut parts = parts.filter(|part| !part.is_empty());
    let Some(name) = parts.next() else { return Fields::None };
    match (parts.next(), parts.next(), parts.next()) {
        (Some(value), Some(ts_s), None) => Fields::Three(name, value, ts_s),
        _ => Fields::Wrong,
    }
}

/// The usual line: visible ASCII, one space, a decimal, one space, a whole number. `None` for any other line, good or bad.
// PERF: read from its end, so that one pass without an early exit is left for the name;
// `cargo bench --bench carbon_parse -- plaintext`.
#[inline]
fn plain(line: &[u8]) -> Option<(&str, f64, f64)> {
    let (line, ts_s) = take_decimal(line)?;
    let (name, value) = take_decimal(line.strip_suffix(b" ")?)?;
    let name = name.strip_suffix(b" ")?;
    let visible = name.iter().fold(true, |all, b| all & (*b > b' ') & (*b < 0x7f));
    if !visible || name.is_empty() {
        return None;
    }
    std::str::from_utf8(name).ok().map(|name| (name, value, ts_s))
}

// PERF: cutting by bytes instead of characters; `cargo bench --bench carbon_parse -- plaintext`.
fn ascii_fields(text: &str) -> Fields<'_> {
    let bytes = text.as_bytes();
    let (mut at, mut found, mut cuts) = (0, 0, [(0, 0); 3]);
    loop {
        while at < bytes.len() && is_ascii_space(bytes[at]) {
            at += 1;
        }
        if at == bytes.len() {
            break;
        }
        let start = at;
        while at < bytes.len() && !is_ascii_space(bytes[at]) {
            at += 1;
        }
        match cuts.get_mut(found) {
            Some(cut) => *cut = (start, at),
            None => return Fields::Wrong,
        }
        found += 1;
    }
    let [name, value, ts_s] = cuts.map(|(start, end)| &text[start..end]);
    match found {
        0 => Fields::None,
        3 => Fields::Three(name, value, ts_s),
        _ => Fields::Wrong,
    }
}

fn is_ascii_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t'..=b'\r' | 0x1c..=0x1f)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::{Point, Reject};

    /// Writes each point as `path value time` and each reject as `! reason`.
    #[derive(Default)]
    struct Transcript(Vec<String>);

    impl Sink for Transcript {
        fn point(&mut self, p: Point<'_>) {
            self.0.push(format!("{} {} {}", p.path, p.value, p.ts_s));
        }
        fn reject(&mut self, r: Reject<'_>) {
            self.0.push(format!("! {}", r.reason));
        }
    }

    fn check(buf: &[u8], want: &[&str]) {
        let mut sink = Transcript::default();
        Parser { line_bytes_max: 40, ..Parser::default() }.parse_lines(buf, 999, &mut sink);
        assert_eq!(sink.0, want, "{}", buf.escape_ascii());
    }

    #[test]
    fn fields_stand_between_any_blanks() {
        check(b"a 1 2\nb 3 4", &["a 1 2", "b 3 4"]);
        check(b"a 1 2\r\n", &["a 1 2"]);
        check(b"  a\t1   2 \x0b\x0c\x1c\n\n \r\n", &["a 1 2"]);
        check("ü\u{a0}1\u{2003}2\u{85}\n".as_bytes(), &["ü 1 2"]);
        check(b"", &[]);
    }

    #[test]
    fn times_are_truncated_and_minus_one_is_now() {
        check(b"a 1 2.9\n", &["a 1 2"]);
        check(b"a 1 -1\na 2 -1.5\na 3 -1e0", &["a 1 999", "a 2 999", "a 3 999"]);
        check(
            b"a 1 0\na 1 -0.5\na 1 4294967295.5\na 1 4294967296",
            &["a 1 0", "a 1 0", "a 1 4294967295", "! the time is not a number of seconds since 1970"],
        );
        check(b"a 1 4294967295", &["a 1 4294967295"]);
        for ts in ["N", "now", "-2", "nan", "inf", "4294967296", "1717243200000"] {
            check(format!("a 1 {ts}\n").as_bytes(), &["! the time is not a number of seconds since 1970"]);
        }
    }

    #[test]
    fn one_bad_line_costs_only_itself() {
        let shape = "! not three fields: name, value, time";
        check(b"a\nb 1\nc 1 2 3\nd 1 2\n", &[shape, shape, shape, "d 1 2"]);
        check(
            b"a x 2\na 0x1 2\na nan 2\na -NaN 2\na inf 2",
            &[
                "! the value is not a number",
                "! the value is not a number",
                "! the value is NaN",
                "! the value is NaN",
                "a inf 2",
            ],
        );
        check(b"\xff\xfe 1 2\na 1 2\n", &["! not UTF-8", "a 1 2"]);
        check(b"a;b 1 2\n. 1 2\n.a..b 1 2\n", &["! name: a segment is not tag=value", "! name: empty", "a.b 1 2"]);
    }

    #[test]
    fn the_usual_line_is_read_as_any_other() {
        let (names, gaps) = (["a", "a.b;c=d", "a b", "", "ä", "-1", "a\t"], [" ", "  ", "\t", ""]);
        let numbers =
            ["1", "-1.5", ".5", "5.", "+1", "1e3", "nan", ".", "-", "1700000000", "12345678901234567890", "1_0"];
        let mut usual = 0;
        for name in names {
            for (value, ts_s) in numbers.iter().flat_map(|value| numbers.iter().map(move |ts_s| (value, ts_s))) {
                for (gap, end) in gaps.iter().flat_map(|gap| ["", " ", "\r"].iter().map(move |end| (gap, end))) {
                    let line = format!("{name}{gap}{value} {ts_s}{end}");
                    let Some((name, value, ts_s)) = plain(line.as_bytes()) else { continue };
                    let Fields::Three(same, value_text, ts_text) = fields(line.split(is_space)) else {
                        panic!("{line:?}")
                    };
                    let read = |text| parse_float(text).map(f64::to_bits);
                    assert_eq!((name, Some(value.to_bits())), (same, read(value_text)), "{line:?}");
                    assert_eq!(Some(ts_s.to_bits()), read(ts_text), "{line:?}");
                    usual += 1;
                }
            }
        }
        assert!(usual >= 75, "{usual}");
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit() {
        let name = "x".repeat(36);
        check(format!("{name} 1 2\n").as_bytes(), &[&format!("{name} 1 2")]);
        check(format!("{name}x 1 2\na 1 2").as_bytes(), &["! too long", "a 1 2"]);
    }
}
