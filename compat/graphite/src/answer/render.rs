//! The formats of `/render` that are not images.

use super::json::{JAVASCRIPT, JSON, Writer, checked, wrap};
use super::pickle::Pickle;
use super::{Answer, Format, RenderOptions};
use crate::carbonapi;
use crate::python;
use crate::series::Series;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rhythmite_model::{Error, Result};
use std::io::Write as _;

/// Writes series in the format asked for.
///
/// # Errors
/// `Invalid` for a bad JSONP callback, when a series asks for an unknown consolidation, or for more than [`POINTS_MAX`]
/// points in a format other than JSON; `Internal` when the format is that of a picture, see [`crate::draw`].
pub fn write(series: Vec<Series>, options: &RenderOptions) -> Result<Answer> {
    let points: usize = series.iter().map(|s| s.values.len()).sum();
    if points > POINTS_MAX && options.format != Format::Json {
        return Err(Error::invalid(format!("{points} points, more than {POINTS_MAX}, are given as JSON only")));
    }
    let (content_type, body) = match options.format {
        Format::Json => {
            let pieces = pieces(series, options, None)?;
            return Ok(Answer { content_type: pieces.content_type, body: pieces.flatten().collect() });
        }
        Format::Dygraph => return wrap(dygraph(&series), options.jsonp.as_deref()),
        Format::Rickshaw => return wrap(rickshaw(&series, options.pretty), options.jsonp.as_deref()),
        Format::Csv => ("text/csv", csv(&series, &options.zone)?),
        Format::Raw => ("text/plain", raw(&series)),
        Format::Pickle => ("application/pickle", pickle(&series)),
        Format::Msgpack => ("application/x-msgpack", msgpack(&series)?),
        Format::CarbonapiV3 => {
            let range = (options.from_s, options.until_s);
            return Ok(carbonapi::series(series.iter().map(|s| (s, range))));
        }
        Format::Png | Format::Svg | Format::Pdf => return Err(Error::internal("pictures are drawn, not written")),
    };
    Ok(Answer { content_type, body })
}

/// Most points in formats whose answer is made as a whole.
pub const POINTS_MAX: usize = 10_000_000;

/// Bytes a point takes in JSON, roughly.
const POINT_BYTES: usize = 32;

/// A JSON answer in pieces of about [`PIECE_BYTES`], each made when it is asked for: however long the answer is, only
/// the series and one piece are held.
pub struct Pieces {
    /// Of the whole answer.
    pub content_type: &'static str,
    series: std::vec::IntoIter<Series>,
    /// The series being written and its next point.
    open: Option<(Series, usize)>,
    no_null_points: bool,
    out: Writer,
    /// What stands behind the list of series; `None` once it is written.
    tail: Option<&'static str>,
}

/// Bytes of a piece.
pub const PIECE_BYTES: usize = 64 << 10;

/// The answer in JSON, `meta` (a JSON object, if asked for) before the series.
///
/// # Errors
/// As [`write()`].
pub fn pieces(mut series: Vec<Series>, options: &RenderOptions, meta: Option<&str>) -> Result<Pieces> {
    if series.iter().all(|s| s.values.is_empty()) {
        series.clear();
    }
    if let Some(max) = options.max_data_points {
        limit_points(&mut series, max)?;
    }
    if options.no_null_points {
        series.retain(|s| s.points().any(|(_, v)| !v.is_nan()));
    }
    let callback = checked(options.jsonp.as_deref())?;
    let points: usize = series.iter().map(Series::point_count).sum();
    let expected = points.saturating_mul(POINT_BYTES) + series.len() * 256 + 16;
    let mut out = Writer::new(options.pretty, expected.min(PIECE_BYTES + PIECE_BYTES / 8));
    if let Some(callback) = callback {
        out.raw(callback);
        out.raw("(");
    }
    if let Some(meta) = meta {
        out.raw("{\"version\": \"v0.1\", \"meta\": ");
        out.raw(meta);
        out.raw(", \"series\": ");
    }
    out.open(b'[');
    let tail = match (meta.is_some(), callback.is_some()) {
        (false, false) => "",
        (false, true) => ")",
        (true, false) => "}",
        (true, true) => "})",
    };
    let content_type = if callback.is_some() { JAVASCRIPT } else { JSON };
    let (series, no_null_points) = (series.into_iter(), options.no_null_points);
    Ok(Pieces { content_type, series, open: None, no_null_points, out, tail: Some(tail) })
}

impl Pieces {
    fn head(&mut self, s: &Series) {
        let out = &mut self.out;
        out.member();
        out.open(b'{');
        out.key("target");
        out.text(&s.name);
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

    /// Writes points from `at` on until the piece is long enough; gives the next one, `None` at the end.
    fn points(&mut self, s: &Series, at: usize) -> Option<usize> {
        for (i, v) in s.values.iter().enumerate().take(s.point_count()).skip(at) {
            if self.out.len() >= PIECE_BYTES {
                return Some(i);
            }
            if !(self.no_null_points && v.is_nan()) {
                self.out.point(*v, s.start_s + i as i64 * s.step_s);
            }
        }
        None
    }
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.tail?;
        while self.out.len() < PIECE_BYTES {
            let (series, at) = match self.open.take().or_else(|| self.series.next().map(|s| (s, 0))) {
                Some(open) => open,
                None => {
                    self.out.close(b']');
                    self.out.raw(self.tail.take().unwrap_or_default());
                    break;
                }
            };
            if at == 0 {
                self.head(&series);
            }
            match self.points(&series, at) {
                Some(next) => self.open = Some((series, next)),
                None => {
                    self.out.close(b']');
                    self.out.close(b'}');
                }
            }
        }
        Some(self.out.take())
    }
}

/// Merges values until no series has more than `max` over the whole range of all series. Groups
/// begin at multiples of the new step so that a graph does not flicker as it moves; the values
/// before the first multiple are dropped.
fn limit_points(series: &mut [Series], max: u64) -> Result<()> {
    let start_s = series.iter().map(|s| s.start_s).min().unwrap_or(0);
    let end_s = series.iter().map(|s| s.end_s).max().unwrap_or(0);
    let range_s = end_s.saturating_sub(start_s) as f64;
    for s in series {
        if max == 1 {
            s.consolidate(s.values.len())?;
            continue;
        }
        if max == 0 {
            return Err(Error::invalid("maxDataPoints must be at least 1"));
        }
        if s.step_s <= 0 {
            continue;
        }
        let points = range_s / s.step_s as f64;
        if max as f64 >= points {
            continue;
        }
        let per_point = (points / max as f64).ceil();
        let point_s = (per_point * s.step_s as f64) as i64;
        let nudge_s = point_s + s.start_s.rem_euclid(s.step_s) - s.start_s.rem_euclid(point_s);
        // The reference drops one value fewer than lie before the first group; so do we.
        let dropped = usize::try_from(nudge_s / s.step_s - 1).unwrap_or(0).min(s.values.len());
        s.start_s += nudge_s;
        s.values_mut().drain(..dropped);
        s.consolidate(per_point as usize)?;
    }
    Ok(())
}

fn dygraph(series: &[Series]) -> Vec<u8> {
    let Some(first) = series.first() else { return b"{}".to_vec() };
    let mut out = Writer::new(false, series.len() * first.values.len() * 20 + 64);
    out.open(b'{');
    out.key("labels");
    out.open(b'[');
    out.member();
    out.text("Time");
    for s in series {
        out.member();
        out.text(&s.name);
    }
    out.close(b']');
    out.key("data");
    out.open(b'[');
    let rows = if first.step_s > 0 { (first.end_s - first.start_s + first.step_s - 1) / first.step_s } else { 0 };
    for row in 0..usize::try_from(rows).unwrap_or(0) {
        out.member();
        out.open(b'[');
        out.member();
        out.int((first.start_s + row as i64 * first.step_s) * 1000);
        for s in series {
            out.member();
            match s.values.get(row) {
                // These readers know the word.
                Some(v) if v.is_infinite() => out.raw(if *v > 0.0 { "Infinity" } else { "-Infinity" }),
                v => out.float(v.copied().unwrap_or(f64::NAN)),
            }
        }
        out.close(b']');
    }
    out.close(b']');
    out.close(b'}');
    out.finish()
}

fn rickshaw(series: &[Series], pretty: bool) -> Vec<u8> {
    let mut out = Writer::new(pretty, series.iter().map(|s| s.values.len() * 40 + 64).sum());
    out.open(b'[');
    for s in series {
        out.member();
        out.open(b'{');
        out.key("target");
        out.text(&s.name);
        out.key("datapoints");
        out.open(b'[');
        for (ts, v) in s.points().take_while(|(ts, _)| *ts < s.end_s) {
            out.member();
            out.open(b'{');
            out.key("x");
            out.int(ts);
            out.key("y");
            out.float(v);
            out.close(b'}');
        }
        out.close(b']');
        out.close(b'}');
    }
    out.close(b']');
    out.finish()
}

fn csv(series: &[Series], zone: &TimeZone) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(series.iter().map(|s| s.values.len() * (s.name.len() + 40)).sum());
    for s in series {
        let name = csv_field(&s.name);
        for (i, v) in s.values.iter().enumerate() {
            let bad = |e: &dyn std::fmt::Display| Error::internal(format!("a point's time cannot be written: {e}"));
            let ts = Timestamp::from_second(s.start_s + i as i64 * s.step_s).map_err(|e| bad(&e))?;
            let at = zone.to_datetime(ts);
            let value = if v.is_nan() { String::new() } else { python::repr(*v) };
            write!(
                out,
                "{name},{:04}-{:02}-{:02} {:02}:{:02}:{:02},{value}\r\n",
                at.year(),
                at.month(),
                at.day(),
                at.hour(),
                at.minute(),
                at.second()
            )
            .map_err(|e| bad(&e))?;
        }
    }
    Ok(out)
}

fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn raw(series: &[Series]) -> Vec<u8> {
    let mut out = String::new();
    for s in series {
        out.push_str(&format!("{},{},{},{}|", s.name, s.start_s, s.end_s, s.step_s));
        for (i, v) in s.values.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            out.push_str(&if v.is_nan() { "None".to_owned() } else { python::repr(*v) });
        }
        out.push('\n');
    }
    out.into_bytes()
}

fn pickle(series: &[Series]) -> Vec<u8> {
    let mut out = Pickle::new();
    out.list(|out| {
        for s in series {
            out.dict(|out| {
                for (key, text) in [
                    ("name", s.name.as_str()),
                    ("pathExpression", &s.path_expression),
                    ("consolidationFunc", s.consolidation.name()),
                ] {
                    out.text(key);
                    out.text(text);
                }
                for (key, i) in [("start", s.start_s), ("end", s.end_s), ("step", s.step_s), ("valuesPerPoint", 1)] {
                    out.text(key);
                    out.int(i);
                }
                out.text("xFilesFactor");
                out.float(s.x_files_factor);
                out.text("values");
                out.list(|out| s.values.iter().for_each(|v| out.float(*v)));
            });
        }
    });
    out.finish()
}

fn msgpack(series: &[Series]) -> Result<Vec<u8>> {
    use rmp::encode as put;
    let len = |n: usize| u32::try_from(n).map_err(|_| Error::invalid("the answer is too large for msgpack"));
    let mut out = Vec::new();
    let bad = |e: put::ValueWriteError| Error::internal(e.to_string());
    put::write_array_len(&mut out, len(series.len())?).map_err(bad)?;
    for s in series {
        put::write_map_len(&mut out, 9).map_err(bad)?;
        for (key, text) in [
            ("name", s.name.as_str()),
            ("pathExpression", &s.path_expression),
            ("consolidationFunc", s.consolidation.name()),
        ] {
            put::write_str(&mut out, key).map_err(bad)?;
            put::write_str(&mut out, text).map_err(bad)?;
        }
        for (key, i) in [("start", s.start_s), ("end", s.end_s), ("step", s.step_s), ("valuesPerPoint", 1)] {
            put::write_str(&mut out, key).map_err(bad)?;
            put::write_sint(&mut out, i).map_err(bad)?;
        }
        put::write_str(&mut out, "xFilesFactor").map_err(bad)?;
        put::write_f64(&mut out, s.x_files_factor).map_err(bad)?;
        put::write_str(&mut out, "values").map_err(bad)?;
        put::write_array_len(&mut out, len(s.values.len())?).map_err(bad)?;
        for v in s.values.iter() {
            if v.is_nan() {
                put::write_nil(&mut out).map_err(|e| Error::internal(e.to_string()))?;
            } else {
                put::write_f64(&mut out, *v).map_err(bad)?;
            }
        }
    }
    Ok(out)
}
