//! How each format writes series one behind the other, so that an answer can be made in pieces.
//!
//! The order of events: [`Encode::open`] writes what stands before the points of a series, [`Encode::points`] the points
//! until a piece is full, [`Encode::close`] what stands behind them, [`Encode::end`] what stands behind all series. What
//! cannot be written is refused by the constructors, before the first byte.

use super::json::{JAVASCRIPT, JSON, Writer, checked};
use super::pickle::Pickle;
use super::render::PIECE_BYTES;
use crate::python;
use crate::series::{Series, UNNAMED};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rhythmite_model::{Error, Result};
use std::io::Write as _;

/// One format.
pub(super) trait Encode: Send {
    /// What has been written and not yet taken.
    fn out(&mut self) -> &mut Vec<u8>;

    /// The beginning of a series.
    fn open(&mut self, series: &Series);

    /// The point at `at` and those behind it until the piece is full; gives the next one, `None` behind the last. The
    /// point of an empty piece is always written.
    fn points(&mut self, series: &Series, at: usize) -> Option<usize>;

    /// The end of a series.
    fn close(&mut self) {}

    /// The end of the answer.
    fn end(&mut self) {}
}

/// Calls `put` with positions from `at` on until `out` is full; gives the next one, `None` behind the last.
fn until_full<T>(
    to: &mut T,
    range: std::ops::Range<usize>,
    len: impl Fn(&T) -> usize,
    mut put: impl FnMut(&mut T, usize),
) -> Option<usize> {
    for i in range {
        if len(to) >= PIECE_BYTES {
            return Some(i);
        }
        put(to, i);
    }
    None
}

/// `[{"target": ..., "tags": {...}, "datapoints": [[value, time], ...]}, ...]`
pub(super) struct Json {
    /// JSON, or a script that calls the JSONP callback.
    pub(super) content_type: &'static str,
    no_null_points: bool,
    out: Writer,
    tail: &'static str,
}

impl Json {
    /// # Errors
    /// `Invalid` for a bad JSONP callback.
    pub(super) fn new(pretty: bool, no_null_points: bool, callback: Option<&str>, meta: Option<&str>) -> Result<Self> {
        let (mut out, content_type) = begin(pretty, callback)?;
        if let Some(meta) = meta {
            out.raw("{\"version\": \"v0.1\", \"meta\": ");
            out.raw(meta);
            out.raw(", \"series\": ");
        }
        out.open(b'[');
        let tail = match (meta.is_some(), content_type == JAVASCRIPT) {
            (false, false) => "",
            (false, true) => ")",
            (true, false) => "}",
            (true, true) => "})",
        };
        Ok(Self { content_type, no_null_points, out, tail })
    }
}

impl Encode for Json {
    fn out(&mut self) -> &mut Vec<u8> {
        self.out.bytes()
    }

    fn open(&mut self, s: &Series) {
        let out = &mut self.out;
        out.member();
        out.open(b'{');
        out.key("target");
        let unnamed = s.look.unnamed && s.name == UNNAMED;
        if unnamed {
            out.raw("null");
        } else {
            out.text(&s.name);
        }
        out.key("tags");
        out.open(b'{');
        for (key, value) in s.tags.iter() {
            out.key(key);
            out.text(value);
        }
        out.close(b'}');
        out.key("datapoints");
        out.open(b'[');
    }

    fn points(&mut self, s: &Series, at: usize) -> Option<usize> {
        let known_only = self.no_null_points;
        until_full(&mut self.out, at..s.point_count(), Writer::len, |out, i| {
            let value = s.values[i];
            if !(known_only && value.is_nan()) {
                out.point(value, s.start_s + i as i64 * s.step_s);
            }
        })
    }

    fn close(&mut self) {
        self.out.close(b']');
        self.out.close(b'}');
    }

    fn end(&mut self) {
        self.out.close(b']');
        self.out.raw(self.tail);
    }
}

/// `[{"target": ..., "datapoints": [{"x": time, "y": value}, ...]}, ...]`
pub(super) struct Rickshaw {
    /// JSON, or a script that calls the JSONP callback.
    pub(super) content_type: &'static str,
    out: Writer,
}

impl Rickshaw {
    /// # Errors
    /// `Invalid` for a bad JSONP callback.
    pub(super) fn new(pretty: bool, callback: Option<&str>) -> Result<Self> {
        let (mut out, content_type) = begin(pretty, callback)?;
        out.open(b'[');
        Ok(Self { content_type, out })
    }
}

impl Encode for Rickshaw {
    fn out(&mut self) -> &mut Vec<u8> {
        self.out.bytes()
    }

    fn open(&mut self, s: &Series) {
        self.out.member();
        self.out.open(b'{');
        self.out.key("target");
        self.out.text(&s.name);
        self.out.key("datapoints");
        self.out.open(b'[');
    }

    fn points(&mut self, s: &Series, at: usize) -> Option<usize> {
        let time_s = |i: usize| s.start_s + i as i64 * s.step_s;
        let in_range = (0..s.point_count()).rposition(|i| time_s(i) < s.end_s).map_or(0, |last| last + 1);
        until_full(&mut self.out, at..in_range, Writer::len, |out, i| {
            out.member();
            out.open(b'{');
            out.key("x");
            out.int(time_s(i));
            out.key("y");
            out.float(s.values[i]);
            out.close(b'}');
        })
    }

    fn close(&mut self) {
        self.out.close(b']');
        self.out.close(b'}');
    }

    fn end(&mut self) {
        self.out.close(b']');
        if self.content_type == JAVASCRIPT {
            self.out.raw(")");
        }
    }
}

/// A writer behind the head of a JSONP callback, if there is one, and the type of the answer.
fn begin(pretty: bool, callback: Option<&str>) -> Result<(Writer, &'static str)> {
    let mut out = Writer::new(pretty, 0);
    let Some(callback) = checked(callback)? else { return Ok((out, JSON)) };
    out.raw(callback);
    out.raw("(");
    Ok((out, JAVASCRIPT))
}

/// A line for each point: name, local time, value.
pub(super) struct Csv {
    out: Vec<u8>,
    zone: TimeZone,
    /// Of the open series, in quotes where it needs them.
    name: String,
}

impl Csv {
    /// # Errors
    /// `Invalid` for a time beyond the calendar.
    pub(super) fn new(series: &[Series], zone: &TimeZone) -> Result<Self> {
        for s in series.iter().filter(|s| !s.values.is_empty()) {
            let last_s = s.step_s.saturating_mul(s.values.len() as i64 - 1).saturating_add(s.start_s);
            for time_s in [s.start_s, last_s] {
                Timestamp::from_second(time_s)
                    .map_err(|e| Error::invalid(format!("the time {time_s} of {} cannot be written: {e}", s.name)))?;
            }
        }
        Ok(Self { out: Vec::new(), zone: zone.clone(), name: String::new() })
    }
}

impl Encode for Csv {
    fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    fn open(&mut self, s: &Series) {
        self.name = csv_field(&s.name);
    }

    fn points(&mut self, s: &Series, at: usize) -> Option<usize> {
        let (zone, name) = (&self.zone, self.name.as_str());
        until_full(&mut self.out, at..s.values.len(), Vec::len, |out, i| {
            let ts = Timestamp::from_second(s.start_s + i as i64 * s.step_s).expect("both ends are in the calendar");
            let at = zone.to_datetime(ts);
            out.extend_from_slice(name.as_bytes());
            let (date, time) = ((at.year(), at.month(), at.day()), (at.hour(), at.minute(), at.second()));
            write!(out, ",{:04}-{:02}-{:02} {:02}:{:02}:{:02},", date.0, date.1, date.2, time.0, time.1, time.2)
                .expect("a vector takes every byte");
            if !s.values[i].is_nan() {
                out.extend_from_slice(python::repr(s.values[i]).as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        })
    }
}

fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// A line for each series: `name,start,end,step|value,value,...`.
#[derive(Default)]
pub(super) struct Raw(Vec<u8>);

impl Encode for Raw {
    fn out(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn open(&mut self, s: &Series) {
        self.0.extend_from_slice(format!("{},{},{},{}|", s.name, s.start_s, s.end_s, s.step_s).as_bytes());
    }

    fn points(&mut self, s: &Series, at: usize) -> Option<usize> {
        until_full(&mut self.0, at..s.values.len(), Vec::len, |out, i| {
            if i > 0 {
                out.push(b',');
            }
            match s.values[i] {
                v if v.is_nan() => out.extend_from_slice(b"None"),
                v => out.extend_from_slice(python::repr(v).as_bytes()),
            }
        })
    }

    fn close(&mut self) {
        self.0.push(b'\n');
    }
}

/// What both binary formats say of a series before its values.
fn texts(s: &Series) -> [(&'static str, &str); 3] {
    [("name", &s.name), ("pathExpression", &s.path_expression), ("consolidationFunc", s.consolidation.name())]
}

/// See [`texts`].
fn numbers(s: &Series) -> [(&'static str, i64); 4] {
    [("start", s.start_s), ("end", s.end_s), ("step", s.step_s), ("valuesPerPoint", 1)]
}

/// A list of dictionaries as a Python pickle.
pub(super) struct Pickled(Pickle);

impl Pickled {
    pub(super) fn new() -> Self {
        let mut out = Pickle::new();
        out.open_list();
        Self(out)
    }
}

impl Encode for Pickled {
    fn out(&mut self) -> &mut Vec<u8> {
        self.0.bytes()
    }

    fn open(&mut self, s: &Series) {
        let out = &mut self.0;
        out.open_dict();
        for (key, text) in texts(s) {
            out.text(key);
            out.text(text);
        }
        for (key, i) in numbers(s) {
            out.text(key);
            out.int(i);
        }
        out.text("xFilesFactor");
        out.float(s.x_files_factor);
        out.text("values");
        out.open_list();
    }

    fn points(&mut self, s: &Series, at: usize) -> Option<usize> {
        until_full(&mut self.0, at..s.values.len(), Pickle::len, |out, i| out.float(s.values[i]))
    }

    fn close(&mut self) {
        self.0.close_list();
        self.0.close_dict();
    }

    fn end(&mut self) {
        self.0.close_list();
        self.0.end();
    }
}

/// The same as MessagePack.
pub(super) struct Msgpack(Vec<u8>);

/// Keys of a series.
const KEYS: u32 = 9;

impl Msgpack {
    /// # Errors
    /// `Invalid` for lengths that the format has no room for.
    pub(super) fn new(series: &[Series]) -> Result<Self> {
        let most = series.iter().map(|s| s.values.len().max(s.name.len()).max(s.path_expression.len())).max();
        if most.unwrap_or(0).max(series.len()) > u32::MAX as usize {
            return Err(Error::invalid("the answer is too large for msgpack"));
        }
        let mut out = Vec::new();
        rmp::encode::write_array_len(&mut out, series.len() as u32).expect(TAKES_ALL);
        Ok(Self(out))
    }

    fn text(&mut self, text: &str) {
        rmp::encode::write_str(&mut self.0, text).expect(TAKES_ALL);
    }
}

const TAKES_ALL: &str = "a vector takes every byte";

impl Encode for Msgpack {
    fn out(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn open(&mut self, s: &Series) {
        rmp::encode::write_map_len(&mut self.0, KEYS).expect(TAKES_ALL);
        for (key, text) in texts(s) {
            self.text(key);
            self.text(text);
        }
        for (key, i) in numbers(s) {
            self.text(key);
            rmp::encode::write_sint(&mut self.0, i).expect(TAKES_ALL);
        }
        self.text("xFilesFactor");
        rmp::encode::write_f64(&mut self.0, s.x_files_factor).expect(TAKES_ALL);
        self.text("values");
        rmp::encode::write_array_len(&mut self.0, s.values.len() as u32).expect(TAKES_ALL);
    }

    fn points(&mut self, s: &Series, at: usize) -> Option<usize> {
        until_full(&mut self.0, at..s.values.len(), Vec::len, |out, i| {
            if s.values[i].is_nan() {
                rmp::encode::write_nil(out).expect(TAKES_ALL);
            } else {
                rmp::encode::write_f64(out, s.values[i]).expect(TAKES_ALL);
            }
        })
    }
}
