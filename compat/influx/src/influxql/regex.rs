//! Regular expressions in the RE2 dialect of Go, which InfluxQL uses.
//!
//! The dialects of Go and of the `regex` crate differ in small print: Perl classes and word
//! boundaries are ASCII in Go, a `{` that begins no repetition and a `[` inside a class stand for
//! themselves, `&&`, `--` and `~~` have no meaning in a class, and any punctuation may be escaped.
//! The pattern is rewritten before it is compiled and shown as it was written.

use std::fmt;

/// Bytes a compiled expression may take; a larger one is refused.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// A compiled regular expression that remembers its source. Two are equal if their sources are.
#[derive(Clone, Debug)]
pub struct Regex {
    source: String,
    compiled: regex::Regex,
}

impl Regex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// A message that begins as Go's does: `error parsing regexp: ...`.
    pub fn new(source: &str) -> Result<Self, String> {
        let compiled = regex::RegexBuilder::new(&translate(source))
            .size_limit(COMPILED_BYTES_MAX)
            .dfa_size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| format!("error parsing regexp: {}", reason(&error, source)))?;
        Ok(Self { source: source.to_owned(), compiled })
    }

    /// The pattern as it was written, without slashes.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// True if the pattern is found anywhere in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// The compiled form.
    pub fn compiled(&self) -> &regex::Regex {
        &self.compiled
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl fmt::Display for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line end cannot stand in the literal; its escape means the same.
        write!(f, "/{}/", self.source.replace('/', "\\/").replace('\n', "\\n"))
    }
}

/// The last line of the crate's report says what is wrong; the lines above draw the place.
fn reason(error: &regex::Error, source: &str) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    let what = last.strip_prefix("error: ").unwrap_or(last);
    let what = match what {
        "unclosed character class" => "missing closing ]",
        "unclosed group" => "missing closing )",
        "unopened group" => "unexpected )",
        "repetition operator missing expression" => "missing argument to repetition operator",
        "incomplete escape sequence, reached end of pattern prematurely" => "trailing backslash at end of expression",
        other => other,
    };
    format!("{what}: `{source}`")
}

fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 8);
    let mut chars = source.chars().peekable();
    let mut class = Class::Outside;
    while let Some(ch) = chars.next() {
        let inside = class != Class::Outside;
        match ch {
            '\\' => match chars.next() {
                Some('d') => out.push_str(if inside { "0-9" } else { "[0-9]" }),
                Some('w') => out.push_str(if inside { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some('s') => out.push_str(if inside { r"\t\n\f\r " } else { r"[\t\n\f\r ]" }),
                Some('D') => out.push_str("[^0-9]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('S') => out.push_str(r"[^\t\n\f\r ]"),
                Some(boundary @ ('b' | 'B')) if !inside => {
                    out.push_str("(?-u:\\");
                    out.push(boundary);
                    out.push(')');
                }
                // Everything up to \E stands for itself.
                Some('Q') if !inside => {
                    let rest: String = chars.by_ref().collect();
                    let (literal, after) = rest.split_once("\\E").unwrap_or((&rest, ""));
                    out.push_str(&regex::escape(literal));
                    out.push_str(&translate(after));
                }
                Some(letter) if letter.is_ascii_alphanumeric() => {
                    out.push('\\');
                    out.push(letter);
                    // The name of a class, or a code point, is no repetition.
                    if matches!(letter, 'p' | 'P' | 'x') && chars.peek() == Some(&'{') {
                        for ch in chars.by_ref() {
                            out.push(ch);
                            if ch == '}' {
                                break;
                            }
                        }
                    }
                }
                Some(other) => push_literal(&mut out, other),
                None => out.push('\\'),
            },
            '[' if !inside => {
                out.push('[');
                class = Class::First;
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                continue;
            }
            '[' if chars.peek() == Some(&':') => out.push('['),
            // The end of a POSIX class like [:alpha:] is not the end of the class around it.
            ':' if inside && chars.peek() == Some(&']') && in_posix(&out) => {
                out.push_str(":]");
                chars.next();
            }
            '[' | '&' | '~' if inside => push_literal(&mut out, ch),
            ']' if class == Class::First => out.push_str(r"\]"),
            ']' if inside => {
                out.push(']');
                class = Class::Outside;
                continue;
            }
            '-' if inside && chars.peek() == Some(&'-') => out.push_str(r"\-"),
            '{' if !inside && !is_repetition(chars.clone()) => out.push_str(r"\{"),
            '}' if !inside && !closes_repetition(&out) => out.push_str(r"\}"),
            _ => out.push(ch),
        }
        if inside {
            class = Class::Inside;
        }
    }
    out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Outside,
    /// Just after the opening, where `]` stands for itself.
    First,
    Inside,
}

fn push_literal(out: &mut String, ch: char) {
    let mut buffer = [0; 4];
    let text = ch.encode_utf8(&mut buffer);
    if ch.is_ascii_punctuation() && !matches!(ch, '<' | '>') {
        out.push('\\');
    }
    out.push_str(text);
}

fn in_posix(out: &str) -> bool {
    out.rfind("[:").is_some_and(|at| out[at + 2..].bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'^'))
}

/// True if what follows a `{` is `n}`, `n,}` or `n,m}`.
fn is_repetition(chars: impl Iterator<Item = char>) -> bool {
    let mut digits = 0;
    let mut commas = 0;
    for ch in chars {
        match ch {
            '0'..='9' => digits += 1,
            ',' if digits > 0 && commas == 0 => commas += 1,
            '}' => return digits > 0,
            _ => return false,
        }
    }
    false
}

/// True if the text so far ends in an open repetition.
fn closes_repetition(out: &str) -> bool {
    out.rfind('{').is_some_and(|at| !out[..at].ends_with('\\') && !out[at..].contains('}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text, expected) in [
            ("^(a|b)$", "b", true),
            ("(?i)CPU", "cpu0", true),
            (r"^\d+$", "12", true),
            (r"^\d+$", "١٢", false),
            (r"^\w+$", "é", false),
            (r"^[\w.]+$", "a.b", true),
            (r"\bcpu\b", "a cpu b", true),
            ("^{host}$", "{host}", true),
            ("^a{2}$", "aa", true),
            ("^[[]$", "[", true),
            ("^[]a]+$", "]a", true),
            ("^[a&&b]+$", "&", true),
            ("^[[:alpha:]_]+$", "ab_", true),
            ("^[[:alpha:]_]+$", "a1", false),
            (r"^a\/b\-c\_d\ e$", "a/b-c_d e", true),
            (r"^\Qa.b\E.$", "a.bc", true),
            (r"^\Qa.b\E.$", "axbc", false),
            (r"^\p{Greek}$", "α", true),
            (r"^\x{3B1}[\p{Greek}]$", "αβ", true),
            (r"^\{a\}}$", "{a}}", true),
            ("^$", "", true),
            ("a.c", "a\nc", false),
        ] {
            let regex = Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(regex.is_match(text), expected, "/{pattern}/ on {text:?}");
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        for (pattern, message) in [
            ("[", "error parsing regexp: missing closing ]: `[`"),
            ("a(b", "error parsing regexp: missing closing ): `a(b`"),
            ("*", "error parsing regexp: missing argument to repetition operator: `*`"),
        ] {
            assert_eq!(Regex::new(pattern).unwrap_err(), message);
        }
        assert!(Regex::new("((a{1000}){1000}){1000}").is_err());
    }

    #[test]
    fn display_is_a_literal_again() {
        assert_eq!(Regex::new("a/b").unwrap().to_string(), r"/a\/b/");
    }
}
