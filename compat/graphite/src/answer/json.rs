//! JSON as its readers of Graphite's answers expect it: unknown is null, infinity `1e9999`.

use super::Answer;
use rhythmite_model::{Error, Result};

/// Writes JSON, on one line or indented by two blanks.
pub(super) struct Writer {
    out: Vec<u8>,
    pretty: bool,
    depth: usize,
    /// Nothing has been written since the last opening bracket.
    fresh: bool,
}

impl Writer {
    pub(super) fn new(pretty: bool, capacity: usize) -> Self {
        Self { out: Vec::with_capacity(capacity), pretty, depth: 0, fresh: true }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Bytes written and not yet taken.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// What has been written and not yet taken.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// `[value, time]` as a member.
    // PERF: most bytes of an answer are these; without indentation they are written in one go.
    // Proof: `cargo bench -p rhythmite-graphite --bench graphite_eval -- json`.
    pub(super) fn point(&mut self, value: f64, time_s: i64) {
        if self.pretty {
            self.member();
            self.open(b'[');
            self.member();
            self.float(value);
            self.member();
            self.int(time_s);
            self.close(b']');
            return;
        }
        self.out.extend_from_slice(if self.fresh { b"[" } else { b", [" });
        self.fresh = false;
        self.float(value);
        self.out.extend_from_slice(b", ");
        self.int(time_s);
        self.out.push(b']');
    }

    /// `[` or `{`.
    pub(super) fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.depth += 1;
        self.fresh = true;
    }

    /// `]` or `}`.
    pub(super) fn close(&mut self, bracket: u8) {
        self.depth -= 1;
        if !self.fresh {
            self.line();
        }
        self.out.push(bracket);
        self.fresh = false;
    }

    /// What stands before each member: a comma, unless it is the first.
    pub(super) fn member(&mut self) {
        if !self.fresh {
            self.out.extend_from_slice(if self.pretty { b"," } else { b", " });
        }
        self.fresh = false;
        self.line();
    }

    /// A member's key.
    pub(super) fn key(&mut self, key: &str) {
        self.member();
        self.text(key);
        self.out.extend_from_slice(b": ");
    }

    fn line(&mut self) {
        if self.pretty {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + 2 * self.depth, b' ');
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        serde_json::to_writer(&mut self.out, text).expect("a vector takes every byte");
    }

    pub(super) fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    pub(super) fn int(&mut self, i: i64) {
        self.raw(itoa::Buffer::new().format(i));
    }

    pub(super) fn float(&mut self, x: f64) {
        if x.is_finite() {
            self.raw(zmij::Buffer::new().format_finite(x));
        } else if x.is_nan() {
            self.raw("null");
        } else {
            self.raw(if x > 0.0 { "1e9999" } else { "-1e9999" });
        }
    }
}

/// Makes an answer of JSON text: as it is, or as the argument of a JSONP callback.
///
/// # Errors
/// `Invalid` when the callback is not a dotted identifier: anything else could be a script.
pub fn wrap(json: Vec<u8>, callback: Option<&str>) -> Result<Answer> {
    let Some(callback) = checked(callback)? else {
        return Ok(Answer { content_type: JSON, body: json });
    };
    let body = [callback.as_bytes(), b"(", &json, b")"].concat();
    Ok(Answer { content_type: JAVASCRIPT, body })
}

pub(super) const JSON: &str = "application/json";
pub(super) const JAVASCRIPT: &str = "text/javascript";

/// A JSONP callback, if one is asked for.
///
/// # Errors
/// As [`wrap`].
pub(super) fn checked(callback: Option<&str>) -> Result<Option<&str>> {
    let Some(callback) = callback.filter(|c| !c.is_empty()) else { return Ok(None) };
    if !callback.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'.')) {
        return Err(Error::invalid("jsonp must be an identifier"));
    }
    Ok(Some(callback))
}
