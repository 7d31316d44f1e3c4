//! JSON as Go's encoder writes it: `<`, `>` and `&` escaped, and 4 spaces when indented.

use super::number::write_float;
use super::shape::{Cell, SeriesHead, StatementEnd};
use super::time::{Epoch, write_rfc3339};

/// The parts of an answer's document, in order. Arrays open with their first element.
#[derive(Debug)]
pub(super) struct JsonEncoder {
    json: Json,
    epoch: Option<Epoch>,
    has_results: bool,
    has_series: bool,
    has_rows: bool,
}

impl JsonEncoder {
    pub(super) fn new(pretty: bool, epoch: Option<Epoch>) -> Self {
        Self { json: Json::new(pretty), epoch, has_results: false, has_series: false, has_rows: false }
    }

    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.json.out
    }

    pub(super) fn begin_document(&mut self) {
        self.json.open(b'{');
        self.has_results = false;
    }

    pub(super) fn begin_result(&mut self, statement_id: u32) {
        if !self.has_results {
            self.json.key("results");
            self.json.open(b'[');
            self.has_results = true;
        }
        self.json.element();
        self.json.open(b'{');
        self.json.key("statement_id");
        self.json.integer(statement_id);
        self.has_series = false;
    }

    pub(super) fn begin_series(&mut self, head: &SeriesHead<'_>) {
        let json = &mut self.json;
        if !self.has_series {
            json.key("series");
            json.open(b'[');
            self.has_series = true;
        }
        json.element();
        json.open(b'{');
        if !head.name.is_empty() {
            json.key("name");
            json.string(&head.name);
        }
        if !head.tags.is_empty() {
            json.key("tags");
            json.open(b'{');
            for (key, value) in head.sorted_tags() {
                json.key(key);
                json.string(value);
            }
            json.close(b'}');
        }
        if !head.columns.is_empty() {
            json.key("columns");
            json.open(b'[');
            for column in &head.columns {
                json.element();
                json.string(column);
            }
            json.close(b']');
        }
        self.has_rows = false;
    }

    pub(super) fn row(&mut self, cells: &[Cell<'_>]) {
        let json = &mut self.json;
        if !self.has_rows {
            json.key("values");
            json.open(b'[');
            self.has_rows = true;
        }
        json.element();
        json.open(b'[');
        for cell in cells {
            json.element();
            match cell {
                Cell::Null => json.literal("null"),
                Cell::Bool(true) => json.literal("true"),
                Cell::Bool(false) => json.literal("false"),
                Cell::Int(value) => json.integer(*value),
                Cell::UInt(value) => json.integer(*value),
                Cell::Float(value) if value.is_finite() => write_float(&mut json.out, *value),
                Cell::Float(_) => json.literal("null"),
                Cell::String(text) => json.string(text),
                Cell::Time(time_ns) => match self.epoch {
                    Some(epoch) => json.integer(epoch.of(*time_ns)),
                    None => {
                        json.out.push(b'"');
                        write_rfc3339(&mut json.out, *time_ns);
                        json.out.push(b'"');
                    }
                },
            }
        }
        json.close(b']');
    }

    pub(super) fn end_series(&mut self, partial: bool) {
        if self.has_rows {
            self.json.close(b']');
        }
        self.json.flag("partial", partial);
        self.json.close(b'}');
    }

    pub(super) fn end_result(&mut self, end: &StatementEnd) {
        let json = &mut self.json;
        if self.has_series {
            json.close(b']');
        }
        if !end.messages.is_empty() {
            json.key("messages");
            json.open(b'[');
            for message in &end.messages {
                json.element();
                json.open(b'{');
                json.key("level");
                json.string(&message.level);
                json.key("text");
                json.string(&message.text);
                json.close(b'}');
            }
            json.close(b']');
        }
        json.flag("partial", end.partial);
        if let Some(error) = &end.error {
            json.key("error");
            json.string(error);
        }
        json.close(b'}');
    }

    pub(super) fn end_document(&mut self) {
        if self.has_results {
            self.json.close(b']');
        }
        self.json.close(b'}');
        self.json.out.push(b'\n');
    }

    /// A document that is an error as a whole.
    pub(super) fn error(&mut self, text: &str) {
        self.json.open(b'{');
        self.json.key("error");
        self.json.string(text);
        self.json.close(b'}');
        self.json.out.push(b'\n');
    }
}

/// Bytes that a text has escaped, or that begin a character which has.
const MAY_BE_ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    let mut others: &[u8] = b"\"\\<>&\xe2";
    while let [first, rest @ ..] = others {
        table[*first as usize] = true;
        others = rest;
    }
    table
};

/// Punctuation: what a container needs before each element and around all.
#[derive(Debug)]
struct Json {
    out: Vec<u8>,
    pretty: bool,
    depth: usize,
    /// Whether the innermost container has an element.
    filled: bool,
}

impl Json {
    fn new(pretty: bool) -> Self {
        Self { out: Vec::new(), pretty, depth: 0, filled: false }
    }

    fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.depth += 1;
        self.filled = false;
    }

    fn close(&mut self, bracket: u8) {
        self.depth -= 1;
        if self.filled {
            self.new_line();
        }
        self.out.push(bracket);
        // What was closed is an element of what is around it.
        self.filled = true;
    }

    fn element(&mut self) {
        if self.filled {
            self.out.push(b',');
        }
        self.filled = true;
        self.new_line();
    }

    fn key(&mut self, key: &str) {
        self.element();
        self.string(key);
        self.out.extend_from_slice(if self.pretty { b": " } else { b":" });
    }

    fn flag(&mut self, key: &str, set: bool) {
        if set {
            self.key(key);
            self.literal("true");
        }
    }

    fn new_line(&mut self) {
        if self.pretty {
            self.out.push(b'\n');
            self.out.resize(self.out.len() + 4 * self.depth, b' ');
        }
    }

    fn literal(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn integer(&mut self, value: impl itoa::Integer) {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    fn string(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let bytes = text.as_bytes();
        // PERF: names need no escape but for a few. Proof: `SHOW TAG VALUES` of a million values.
        if !bytes.iter().any(|&byte| MAY_BE_ESCAPED[usize::from(byte)]) {
            self.out.reserve(bytes.len() + 2);
            self.out.push(b'"');
            self.out.extend_from_slice(bytes);
            self.out.push(b'"');
            return;
        }
        self.out.push(b'"');
        let mut copied = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            let short = match byte {
                b'"' => b'"',
                b'\\' => b'\\',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                b'<' | b'>' | b'&' | 0..=0x1f => 0,
                // U+2028 and U+2029, which end a line in JavaScript.
                0xe2 if matches!(bytes.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9])) => 1,
                _ => continue,
            };
            self.out.extend_from_slice(&bytes[copied..at]);
            copied = at + 1;
            match short {
                0 => {
                    let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                    self.out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                }
                1 => {
                    self.out.extend_from_slice(if bytes[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                    copied = at + 3;
                }
                letter => self.out.extend_from_slice(&[b'\\', letter]),
            }
        }
        self.out.extend_from_slice(&bytes[copied..]);
        self.out.push(b'"');
    }
}
