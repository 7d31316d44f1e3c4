//! MessagePack. Lengths stand before what they count, so a place is kept for them and filled later;
//! the bytes of a document can be sent when it has ended.

use rmp::encode as rmp;

use super::shape::{Cell, SeriesHead, StatementEnd};
use super::time::Epoch;

/// The extension type of times: 8 bytes of seconds, 4 of nanoseconds, big-endian.
const TIME_EXTENSION: i8 = 5;
const SECOND_NS: i64 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct MsgPackEncoder {
    out: Vec<u8>,
    epoch: Option<Epoch>,
    /// So many bytes are complete documents.
    complete: usize,
    results: Count,
    result: Count,
    series: Count,
    one_series: Count,
    rows: Count,
    statement_id: u32,
}

/// Where a length is to be written, and the length so far.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    at: usize,
    count: u32,
}

impl MsgPackEncoder {
    pub(super) fn new(epoch: Option<Epoch>) -> Self {
        let none = Count::default();
        Self {
            out: Vec::new(),
            epoch,
            complete: 0,
            results: none,
            result: none,
            series: none,
            one_series: none,
            rows: none,
            statement_id: 0,
        }
    }

    /// Takes the complete documents.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let open = self.out.split_off(self.complete);
        for place in [&mut self.results, &mut self.result, &mut self.series, &mut self.one_series, &mut self.rows] {
            place.at = place.at.saturating_sub(self.complete);
        }
        self.complete = 0;
        std::mem::replace(&mut self.out, open)
    }

    pub(super) fn begin_document(&mut self) {
        self.map_of(1);
        self.string("results");
        self.results = self.array_place();
    }

    pub(super) fn begin_result(&mut self, statement_id: u32) {
        self.results.count += 1;
        self.result = self.map_place();
        self.series = Count::default();
        self.statement_id = statement_id;
    }

    pub(super) fn begin_series(&mut self, head: &SeriesHead<'_>) {
        if self.series.count == 0 {
            self.begin_series_array();
        }
        self.series.count += 1;
        self.one_series = self.map_place();
        if !head.name.is_empty() {
            self.one_series.count += 1;
            self.string("name");
            self.string(&head.name);
        }
        if !head.tags.is_empty() {
            self.one_series.count += 1;
            self.string("tags");
            self.map_of(head.tags.len());
            for (key, value) in head.sorted_tags() {
                self.string(key);
                self.string(value);
            }
        }
        self.one_series.count += 2;
        self.string("columns");
        self.array_of(head.columns.len());
        for column in &head.columns {
            self.string(column);
        }
        self.string("values");
        self.rows = self.array_place();
    }

    pub(super) fn row(&mut self, cells: &[Cell<'_>]) {
        self.rows.count += 1;
        self.array_of(cells.len());
        for cell in cells {
            match cell {
                Cell::Null => to_memory(rmp::write_nil(&mut self.out)),
                Cell::Bool(value) => to_memory(rmp::write_bool(&mut self.out, *value)),
                Cell::Int(value) => self.integer(*value),
                Cell::UInt(value) => {
                    to_memory(rmp::write_uint(&mut self.out, *value));
                }
                Cell::Float(value) if value.is_finite() => to_memory(rmp::write_f64(&mut self.out, *value)),
                Cell::Float(_) => to_memory(rmp::write_nil(&mut self.out)),
                Cell::String(text) => self.string(text),
                Cell::Time(time_ns) => match self.epoch {
                    Some(epoch) => self.integer(epoch.of(*time_ns)),
                    None => {
                        to_memory(rmp::write_ext_meta(&mut self.out, 12, TIME_EXTENSION));
                        self.out.extend_from_slice(&time_ns.div_euclid(SECOND_NS).to_be_bytes());
                        // Below a thousand million: fits 32 bits.
                        self.out.extend_from_slice(&(time_ns.rem_euclid(SECOND_NS) as u32).to_be_bytes());
                    }
                },
            }
        }
    }

    pub(super) fn end_series(&mut self, partial: bool) {
        self.fill_array(self.rows);
        if partial {
            self.one_series.count += 1;
            self.string("partial");
            to_memory(rmp::write_bool(&mut self.out, true));
        }
        self.fill_map(self.one_series);
    }

    pub(super) fn end_result(&mut self, end: &StatementEnd) {
        if self.series.count == 0 && end.error.is_none() {
            self.begin_series_array();
        }
        // A statement that failed before its first series is an error and nothing else.
        if self.series.at > 0 {
            self.fill_array(self.series);
        }
        if !end.messages.is_empty() {
            self.result.count += 1;
            self.string("messages");
            self.array_of(end.messages.len());
            for message in &end.messages {
                self.map_of(2);
                self.string("level");
                self.string(&message.level);
                self.string("text");
                self.string(&message.text);
            }
        }
        if end.partial {
            self.result.count += 1;
            self.string("partial");
            to_memory(rmp::write_bool(&mut self.out, true));
        }
        if let Some(error) = &end.error {
            self.result.count += 1;
            self.string("error");
            self.string(error);
        }
        self.fill_map(self.result);
    }

    pub(super) fn end_document(&mut self) {
        self.fill_array(self.results);
        self.complete = self.out.len();
    }

    /// A document that is an error as a whole.
    pub(super) fn error(&mut self, text: &str) {
        self.map_of(1);
        self.string("error");
        self.string(text);
        self.complete = self.out.len();
    }

    fn begin_series_array(&mut self) {
        self.result.count += 2;
        self.string("statement_id");
        self.integer(i64::from(self.statement_id));
        self.string("series");
        self.series = self.array_place();
    }

    /// Keeps the place of an array's head, in its widest form.
    fn array_place(&mut self) -> Count {
        let at = self.out.len();
        self.out.extend_from_slice(&[0xdd, 0, 0, 0, 0]);
        Count { at, count: 0 }
    }

    fn fill_array(&mut self, place: Count) {
        self.out[place.at + 1..place.at + 5].copy_from_slice(&place.count.to_be_bytes());
    }

    /// Keeps the place of the head of a map with less than 16 entries.
    fn map_place(&mut self) -> Count {
        let at = self.out.len();
        self.out.push(0x80);
        Count { at, count: 0 }
    }

    fn fill_map(&mut self, place: Count) {
        debug_assert!(place.count < 16, "results and series have six entries at most");
        self.out[place.at] = 0x80 | place.count as u8;
    }

    fn map_of(&mut self, len: usize) {
        to_memory(rmp::write_map_len(&mut self.out, len as u32));
    }

    fn array_of(&mut self, len: usize) {
        to_memory(rmp::write_array_len(&mut self.out, len as u32));
    }

    fn string(&mut self, text: &str) {
        to_memory(rmp::write_str(&mut self.out, text));
    }

    fn integer(&mut self, value: i64) {
        to_memory(rmp::write_sint(&mut self.out, value));
    }
}

/// Takes the result of a write that has nowhere to fail.
fn to_memory<T, E: std::fmt::Debug>(written: Result<T, E>) -> T {
    written.expect("writing to memory does not fail")
}
