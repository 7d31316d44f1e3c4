//! CSV as Go's writer makes it: fields are quoted only if they must be, lines end with LF.

use super::number::write_float_plain;
use super::shape::{Cell, SeriesHead};
use super::time::Epoch;

/// `name,tags,COLUMNS` and a line per row.
#[derive(Debug)]
pub(super) struct CsvEncoder {
    pub(super) out: Vec<u8>,
    epoch: Epoch,
    statement_id: u32,
    /// Statement and columns of the header written last.
    header: Option<(u32, Vec<String>)>,
    /// The first two fields of each row, with their commas.
    prefix: Vec<u8>,
}

impl CsvEncoder {
    pub(super) fn new(epoch: Option<Epoch>) -> Self {
        let epoch = epoch.unwrap_or(Epoch::Nanosecond);
        Self { out: Vec::new(), epoch, statement_id: 0, header: None, prefix: Vec::new() }
    }

    pub(super) fn begin_result(&mut self, statement_id: u32) {
        self.statement_id = statement_id;
    }

    pub(super) fn begin_series(&mut self, head: &SeriesHead<'_>) {
        let known = self
            .header
            .as_ref()
            .is_some_and(|(id, columns)| *id == self.statement_id && columns.iter().eq(head.columns.iter()));
        if !known {
            if self.header.is_some() {
                self.out.push(b'\n');
            }
            self.out.extend_from_slice(b"name,tags");
            for column in &head.columns {
                self.out.push(b',');
                write_text(&mut self.out, column);
            }
            self.out.push(b'\n');
            let columns = head.columns.iter().map(|column| column.clone().into_owned()).collect();
            self.header = Some((self.statement_id, columns));
        }
        self.prefix.clear();
        write_text(&mut self.prefix, &head.name);
        self.prefix.push(b',');
        write_text(&mut self.prefix, &tags_text(head));
    }

    pub(super) fn row(&mut self, cells: &[Cell<'_>]) {
        let out = &mut self.out;
        out.extend_from_slice(&self.prefix);
        for cell in cells {
            out.push(b',');
            match cell {
                Cell::Null => {}
                Cell::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
                Cell::Int(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
                Cell::UInt(value) => out.extend_from_slice(itoa::Buffer::new().format(*value).as_bytes()),
                Cell::Float(value) if value.is_finite() => write_float_plain(out, *value),
                Cell::Float(_) => {}
                Cell::String(text) => write_text(out, text),
                Cell::Time(time_ns) => {
                    let time = self.epoch.of(*time_ns);
                    out.extend_from_slice(itoa::Buffer::new().format(time).as_bytes());
                }
            }
        }
        out.push(b'\n');
    }

    /// A document that is an error as a whole.
    pub(super) fn error(&mut self, text: &str) {
        self.out.extend_from_slice(b"error\n");
        write_text(&mut self.out, text);
        self.out.push(b'\n');
    }
}

/// `key=value,...`, escaped as in line protocol; tags without a value are left out.
fn tags_text(head: &SeriesHead<'_>) -> String {
    let mut text = String::new();
    for (key, value) in head.sorted_tags() {
        if value.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push(',');
        }
        crate::line_protocol::escape_name(key, &mut text);
        text.push('=');
        crate::line_protocol::escape_name(value, &mut text);
    }
    text
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    let quoted = text == r"\." || text.contains(['"', ',', '\n', '\r']) || text.starts_with(char::is_whitespace);
    if !quoted {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}
