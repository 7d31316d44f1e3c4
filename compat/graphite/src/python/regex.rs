//! Python's `re` by way of `fancy-regex`: look-around, back-references, named groups.
//!
//! Limits: [`STEPS_MAX`] for back-tracking, [`PATTERN_BYTES_MAX`], [`PROGRAM_BYTES_MAX`], [`RESULT_BYTES_MAX`]. A
//! pattern that needs more is an error, never a wait; nor may many matches each take nearly as many steps: beyond
//! [`QUICK_STEPS`] there are [`HARD_MATCHES_MAX`] for a compiled pattern.

use rhythmite_model::{Error, Result};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Back-tracking steps of one match.
pub const STEPS_MAX: usize = 100_000;

/// Back-tracking steps that every match may take. Names of series are short: hardly any match takes more.
pub const QUICK_STEPS: usize = 2_000;

/// How many matches by one compiled pattern may take more than [`QUICK_STEPS`].
pub const HARD_MATCHES_MAX: usize = 100;

/// Longest pattern.
pub const PATTERN_BYTES_MAX: usize = 16 << 10;

/// Largest compiled program.
pub const PROGRAM_BYTES_MAX: usize = 4 << 20;

/// Longest text that a replacement may make.
pub const RESULT_BYTES_MAX: usize = 1 << 20;

/// A compiled pattern.
#[derive(Debug)]
pub struct Regex {
    /// In our spelling.
    pattern: String,
    quick: fancy_regex::Regex,
    /// The same with more steps, once it is needed.
    patient: OnceLock<fancy_regex::Regex>,
    hard_matches: AtomicUsize,
}

impl Regex {
    /// Compiles a Python pattern.
    ///
    /// # Errors
    /// `Invalid` when the pattern is malformed or too large.
    pub fn new(pattern: &str) -> Result<Self> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(Error::invalid(format!("regular expression is longer than {PATTERN_BYTES_MAX} bytes")));
        }
        let translated = translate(pattern);
        let quick = compile(&translated, QUICK_STEPS)
            .map_err(|e| Error::invalid(format!("bad regular expression {pattern:?}: {e}")))?;
        Ok(Self { pattern: translated, quick, patient: OnceLock::new(), hard_matches: AtomicUsize::new(0) })
    }

    /// `re.search`: does the pattern match anywhere?
    ///
    /// # Errors
    /// `Invalid` when the match takes more than [`STEPS_MAX`] steps.
    pub fn is_match(&self, text: &str) -> Result<bool> {
        self.matched(|regex| regex.is_match(text))
    }

    /// What `search` finds, in few steps or, if there are not too many such matches, in more.
    fn matched<T>(&self, search: impl Fn(&fancy_regex::Regex) -> fancy_regex::Result<T>) -> Result<T> {
        use fancy_regex::{Error::RuntimeError, RuntimeError::BacktrackLimitExceeded};
        let found = search(&self.quick);
        if !matches!(&found, Err(RuntimeError(BacktrackLimitExceeded)))
            || self.hard_matches.fetch_add(1, Ordering::Relaxed) >= HARD_MATCHES_MAX
        {
            return found.map_err(too_hard);
        }
        let patient = match self.patient.get() {
            Some(patient) => patient,
            None => {
                let compiled = compile(&self.pattern, STEPS_MAX).map_err(too_hard)?;
                self.patient.get_or_init(|| compiled)
            }
        };
        search(patient).map_err(too_hard)
    }

    /// `re.sub`: replaces every match. `go_on` is asked before each.
    ///
    /// # Errors
    /// `Invalid` when the match takes too many steps or the replacement names a group that does
    /// not exist, or the result is longer than [`RESULT_BYTES_MAX`]; those of `go_on`.
    pub fn replace_all(
        &self,
        text: &str,
        replacement: &Replacement,
        mut go_on: impl FnMut() -> Result<()>,
    ) -> Result<String> {
        // Python reads the replacement before it searches: a wrong one is an error even where nothing is found.
        self.check(replacement)?;
        let mut out = String::with_capacity(text.len());
        // An empty match counts right behind another match too, but not twice in one place.
        let (mut last, mut at, mut taken) = (0, 0, None);
        loop {
            go_on()?;
            let Some(captures) = self.matched(|regex| regex.captures_from_pos(text, at))? else { break };
            let Some(whole) = captures.get(0) else { break };
            if whole.start() == whole.end() && taken == Some(whole.end()) {
                let Some(next) = text[whole.end()..].chars().next() else { break };
                (at, taken) = (whole.end() + next.len_utf8(), None);
                continue;
            }
            out.push_str(&text[last..whole.start()]);
            if out.len() > RESULT_BYTES_MAX {
                return Err(Error::invalid(format!("a replacement makes more than {RESULT_BYTES_MAX} bytes")));
            }
            for part in &replacement.0 {
                match part {
                    Part::Text(t) => out.push_str(t),
                    Part::Group(n) => out.push_str(captures.get(*n).map_or("", |group| group.as_str())),
                    Part::Name(name) => out.push_str(captures.name(name).map_or("", |group| group.as_str())),
                }
            }
            (last, at) = (whole.end(), whole.end());
            taken = (whole.start() == whole.end()).then_some(whole.end());
        }
        out.push_str(&text[last..]);
        Ok(out)
    }
}

impl Regex {
    fn check(&self, replacement: &Replacement) -> Result<()> {
        let missing =
            |group: &dyn std::fmt::Display| Err(Error::invalid(format!("replacement refers to missing group {group}")));
        for part in &replacement.0 {
            match part {
                Part::Group(n) if *n >= self.quick.captures_len() => return missing(n),
                Part::Name(name) if !self.quick.capture_names().any(|n| n == Some(name)) => return missing(name),
                _ => {}
            }
        }
        Ok(())
    }
}

fn compile(pattern: &str, steps: usize) -> fancy_regex::Result<fancy_regex::Regex> {
    fancy_regex::RegexBuilder::new(pattern).backtrack_limit(steps).delegate_size_limit(PROGRAM_BYTES_MAX).build()
}

fn too_hard(e: fancy_regex::Error) -> Error {
    Error::invalid(format!("regular expression takes too many steps: {e}"))
}

/// Spells a Python pattern as `fancy-regex` wants it. The differences: the very end is `\Z`, brackets within brackets
/// and doubled signs there mean themselves, a brace that is no repetition is a brace, and an escaped sign is the sign.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    // Within brackets: how many characters of the class have been read.
    let mut class: Option<usize> = None;
    while let Some(c) = rest.chars().next() {
        let behind = &rest[c.len_utf8()..];
        rest = behind;
        match (c, class) {
            ('\\', _) => {
                let Some(escaped) = behind.chars().next() else {
                    out.push(c);
                    break;
                };
                rest = &behind[escaped.len_utf8()..];
                match escaped {
                    'Z' => out.push_str("\\z"),
                    e if e.is_ascii_alphanumeric() => out.extend(['\\', e]),
                    e => literal(e, &mut out),
                }
                class = class.map(|n| n + 1);
            }
            ('[', None) => {
                out.push('[');
                if let Some(negated) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = negated;
                }
                class = Some(0);
            }
            // In first place a closing bracket is one of the characters.
            (']', Some(n)) if n > 0 => {
                out.push(']');
                class = None;
            }
            ('[' | ']' | '&' | '~', Some(n)) => {
                literal(c, &mut out);
                class = Some(n + 1);
            }
            ('-', Some(n)) => {
                // Two of them would take away.
                if out.ends_with('-') {
                    out.push_str("\\-")
                } else {
                    out.push('-')
                }
                class = Some(n + 1);
            }
            ('{', None) if !is_repetition(behind) => out.push_str("\\{"),
            (c, _) => {
                out.push(c);
                class = class.map(|n| n + 1);
            }
        }
    }
    out
}

/// A character that means itself.
fn literal(c: char, out: &mut String) {
    if "\\.+*?()|[]{}^$#&-~".contains(c) {
        out.push('\\');
    }
    out.push(c);
}

/// Whether `1}`, `1,}`, `,2}` or `1,2}` follows an opening brace.
fn is_repetition(text: &str) -> bool {
    let Some((inner, _)) = text.split_once('}') else { return false };
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    digits(least) && digits(most) && !inner.is_empty()
}

/// The replacement of `re.sub`, parsed: `\1`, `\g<1>`, `\g<name>`, `\n`.
#[derive(Debug, PartialEq)]
pub struct Replacement(Vec<Part>);

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    Group(usize),
    Name(String),
}

impl Replacement {
    /// Parses a replacement.
    ///
    /// # Errors
    /// `Invalid` for an escape that Python refuses.
    pub fn new(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("bad escape in replacement {text:?}"));
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '\\' {
                plain.push(c);
                continue;
            }
            let part = match chars.next().ok_or_else(bad)? {
                'g' => {
                    if chars.next() != Some('<') {
                        return Err(bad());
                    }
                    let name: String = chars.by_ref().take_while(|c| *c != '>').collect();
                    if name.is_empty() {
                        return Err(bad());
                    }
                    name.parse().map_or_else(|_| Part::Name(name.clone()), Part::Group)
                }
                d @ '1'..='9' => {
                    let mut n = d as usize - '0' as usize;
                    if let Some(next) = chars.peek().and_then(|c| c.to_digit(10)) {
                        chars.next();
                        n = n * 10 + next as usize;
                    }
                    Part::Group(n)
                }
                escaped => {
                    let meant = match escaped {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        'f' => '\x0c',
                        'v' => '\x0b',
                        'a' => '\x07',
                        'b' => '\x08',
                        '0' => '\0',
                        c if c.is_ascii_alphabetic() => return Err(bad()),
                        c => {
                            // An escape that means nothing stays as it is, except the backslash.
                            if c != '\\' {
                                plain.push('\\');
                            }
                            c
                        }
                    };
                    plain.push(meant);
                    continue;
                }
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(part);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }
}

#[cfg(test)]
mod tests {
    use super::{HARD_MATCHES_MAX, Regex, Replacement};

    fn sub(pattern: &str, replacement: &str, text: &str) -> Result<String, String> {
        let run = || Regex::new(pattern)?.replace_all(text, &Replacement::new(replacement)?, || Ok(()));
        run().map_err(|e: rhythmite_model::Error| e.to_string())
    }

    #[test]
    fn substitution() {
        for (pattern, replacement, text, want) in [
            ("web", "www", "a.web01.web", "a.www01.www"),
            (r"^.*web(\d+).*$", r"\1", "servers.web01.cpu", "01"),
            (r"(?P<h>web\d+)", r"<\g<h>>", "a.web01.b", "a.<web01>.b"),
            (r"(a)(b)?", r"[\2\g<1>]", "ac", "[a]c"),
            (r"x(?=y)", "z", "xyxx", "zyxx"),
            (r"(\w)\1", "-", "aabc", "-bc"),
            ("^", "p90 ", "login", "p90 login"),
            (r"\.", "-", "a.b", "a-b"),
            (r"\\.", "-", "a.b", "a.b"),
            ("b", r"\\\.", "abc", r"a\\.c"),
            ("c\\Z", "!", "cc", "c!"),
            (".*", "z", "ab", "zz"),
            ("x*", "-", "abxd", "-a-b--d-"),
            ("$", "!", "aé", "aé!"),
            ("", "-", "é", "-é-"),
            ("(a)|", "<\\1>", "ba", "<>b<a><>"),
            ("[[]b[]]", "-", "a[b]c", "a-c"),
            ("[a&&b~~]", "-", "a&~c", "---c"),
            ("[+--]", "", "a+-,b", "ab"),
            ("[^]a]", "-", "]ab", "]a-"),
            ("{a}", "-", "x{a}", "x-"),
            ("a{2}", "-", "aaa", "-a"),
            ("a{1,}", "-", "aab", "-b"),
            (r"a\<b\ c\é", "-", "a<b cé", "-"),
            (r"(?P<q>a).(?P=q)", r"\g<q>\g<0>", "aba", "aaba"),
            (r"(?<=a\.)b(?!c)", "-", "a.b a.bc", "a.- a.bc"),
            ("(?i)WEB", "w", "web", "w"),
        ] {
            assert_eq!(sub(pattern, replacement, text), Ok(want.to_owned()), "{pattern}");
        }
    }

    #[test]
    fn bad_patterns_are_errors() {
        for (pattern, replacement) in
            [("(", ""), ("a", r"\q"), ("a", r"\1"), ("a", r"\g<x>"), ("z", r"\1"), ("a", "\\")]
        {
            assert!(sub(pattern, replacement, "a").is_err(), "{pattern} {replacement}");
        }
    }

    #[test]
    fn exponential_matching_stops() {
        assert!(sub(r"(?=(a|a)*b)(a|a)*\1c", "", &"a".repeat(64)).is_err());
    }

    #[test]
    fn few_matches_may_be_hard() {
        // Some ten thousand steps.
        let (regex, hard) = (Regex::new(r"^(?=(a|a)*b)\1c").expect("well-formed"), "a".repeat(10));
        for i in 0..HARD_MATCHES_MAX {
            assert_eq!(regex.is_match(&hard).ok(), Some(false), "{i}");
        }
        assert!(regex.is_match(&hard).is_err());
        assert_eq!(regex.is_match("b").ok(), Some(false));
    }
}
