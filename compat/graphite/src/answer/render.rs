//! The formats of `/render` that are not images.
//!
//! An answer is made in [`Pieces`], each when it is asked for: of a long one only the series and one piece are held.
//! Two formats are made as a whole, which [`POINTS_MAX`] bounds: the rows of `dygraph` run across all series, and
//! carbonapi's messages carry their length in front.

use super::encode::{Csv, Encode, Json, Msgpack, Pickled, Raw, Rickshaw};
use super::json::{Writer, wrap};
use super::{Answer, Format, RenderOptions};
use crate::carbonapi;
use crate::series::Series;
use rhythmite_model::{Error, Result};

/// Most points in formats whose answer is made as a whole.
pub const POINTS_MAX: usize = 10_000_000;

/// Bytes of a piece; one with a name or a point that is longer takes that much more.
pub const PIECE_BYTES: usize = 64 << 10;

/// Writes series in the format asked for, as a whole.
///
/// # Errors
/// As [`pieces`].
pub fn write(series: Vec<Series>, options: &RenderOptions) -> Result<Answer> {
    let pieces = pieces(series, options, None)?;
    Ok(Answer { content_type: pieces.content_type, body: pieces.flatten().collect() })
}

/// An answer in pieces of about [`PIECE_BYTES`], each made when it is asked for.
pub struct Pieces {
    /// Of the whole answer.
    pub content_type: &'static str,
    body: Body,
}

enum Body {
    /// `None` once it is taken.
    Whole(Option<Vec<u8>>),
    Series(Box<Rest>),
}

/// What is left to be written.
struct Rest {
    encoder: Box<dyn Encode>,
    series: std::vec::IntoIter<Series>,
    /// The series being written and its next point.
    open: Option<(Series, usize)>,
    ended: bool,
}

/// The series in the format asked for; `meta` (a JSON object, if asked for) stands before them in JSON.
///
/// # Errors
/// `Invalid` for a bad JSONP callback, when a series asks for an unknown consolidation, for times or lengths that the
/// format has no room for, or for more than [`POINTS_MAX`] points in a format that is made as a whole; `Internal` when
/// the format is that of a picture, see [`crate::draw`].
pub fn pieces(mut series: Vec<Series>, options: &RenderOptions, meta: Option<&str>) -> Result<Pieces> {
    let callback = options.jsonp.as_deref();
    let whole = |answer: Answer| Pieces { content_type: answer.content_type, body: Body::Whole(Some(answer.body)) };
    let (content_type, encoder): (_, Box<dyn Encode>) = match options.format {
        Format::Json => {
            for_json(&mut series, options)?;
            let json = Json::new(options.pretty, options.no_null_points, callback, meta)?;
            (json.content_type, Box::new(json))
        }
        Format::Rickshaw => {
            let rickshaw = Rickshaw::new(options.pretty, callback)?;
            (rickshaw.content_type, Box::new(rickshaw))
        }
        Format::Csv => ("text/csv", Box::new(Csv::new(&series, &options.zone)?)),
        Format::Raw => ("text/plain", Box::new(Raw::default())),
        Format::Pickle => ("application/pickle", Box::new(Pickled::new())),
        Format::Msgpack => ("application/x-msgpack", Box::new(Msgpack::new(&series)?)),
        Format::Dygraph => {
            few_enough(&series)?;
            return Ok(whole(wrap(dygraph(&series), callback)?));
        }
        Format::CarbonapiV3 => {
            few_enough(&series)?;
            let range = (options.from_s, options.until_s);
            return Ok(whole(carbonapi::series(series.iter().map(|s| (s, range)))));
        }
        Format::Png | Format::Svg | Format::Pdf => return Err(Error::internal("pictures are drawn, not written")),
    };
    let rest = Rest { encoder, series: series.into_iter(), open: None, ended: false };
    Ok(Pieces { content_type, body: Body::Series(Box::new(rest)) })
}

impl Iterator for Pieces {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        match &mut self.body {
            Body::Whole(body) => body.take(),
            Body::Series(rest) => rest.next(),
        }
    }
}

impl Rest {
    fn next(&mut self) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        while self.encoder.out().len() < PIECE_BYTES {
            // A series is opened once, however long its name: what follows begins at its first point.
            let (s, at) = match self.open.take() {
                Some(open) => open,
                None => match self.series.next() {
                    Some(s) => {
                        self.encoder.open(&s);
                        (s, 0)
                    }
                    None => {
                        self.encoder.end();
                        self.ended = true;
                        break;
                    }
                },
            };
            match self.encoder.points(&s, at) {
                Some(next) => self.open = Some((s, next)),
                None => self.encoder.close(),
            }
        }
        let next = Vec::with_capacity(if self.ended { 0 } else { PIECE_BYTES + PIECE_BYTES / 8 });
        Some(std::mem::replace(self.encoder.out(), next))
    }
}

fn few_enough(series: &[Series]) -> Result<()> {
    let points: usize = series.iter().map(|s| s.values.len()).sum();
    if points > POINTS_MAX {
        return Err(Error::invalid(format!("{points} points are more than the {POINTS_MAX} of this format")));
    }
    Ok(())
}

/// What only JSON does with series before it writes them.
fn for_json(series: &mut Vec<Series>, options: &RenderOptions) -> Result<()> {
    if series.iter().all(|s| s.values.is_empty()) {
        series.clear();
    }
    if let Some(max) = options.max_data_points {
        limit_points(series, max)?;
    }
    if options.no_null_points {
        series.retain(|s| s.points().any(|(_, v)| !v.is_nan()));
    }
    Ok(())
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
