//! `carbonapi_v3_pb`: the protocol buffers in which carbonapi asks its back ends, so that it can stand in front.
//!
//! A request to `/render` is a list of [`Fetch`]es, one to `/metrics/find` a [`Find`]; both come as the body of a POST.
//! [`series`] and [`matches()`] write the answers, and the former also serves a plain `/render?format=carbonapi_v3_pb`.
//!
//! Limits: [`REQUESTS_MAX`] fetches or patterns a message; the server bounds the body. Unknown fields are skipped.
//! What carbonapi only suggests (points wanted, functions to apply here) is not done: it does these things itself.
//!
//! Source: the numbers of fields are those of `carbonapi_v3_pb.proto` in go-graphite's `protocol` repository.

mod wire;

use crate::answer::Answer;
use crate::answer::find::Node;
use crate::series::Series;
use rhythmite_model::{Error, Result};
use wire::{Field, Fields, Message, text};

/// Most fetches or patterns in one message.
pub const REQUESTS_MAX: usize = 10_000;

/// Type of requests and answers.
pub const CONTENT_TYPE: &str = "application/x-carbonapi-v3-pb";

/// Whether a value of `format` means this protocol.
#[must_use]
pub fn is_format(format: &str) -> bool {
    matches!(format, "carbonapi_v3_pb" | "proto_v3_pb" | "v3_pb")
}

/// One pattern to fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetch {
    /// The pattern, or a call of `seriesByTag()`.
    pub name: String,
    /// The expression that the answer must repeat; the pattern itself if it is empty.
    pub path_expression: String,
    /// Start of the range, excluded.
    pub start_s: i64,
    /// End of the range, included.
    pub stop_s: i64,
}

/// Patterns to look up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Find {
    /// The patterns.
    pub patterns: Vec<String>,
}

/// Reads a `MultiFetchRequest`.
///
/// # Errors
/// `Invalid` for malformed bytes or too many fetches.
pub fn read_fetches(body: &[u8]) -> Result<Vec<Fetch>> {
    let mut fetches = Vec::new();
    let mut fields = Fields::new(body);
    while let Some(field) = fields.next()? {
        if let Field::Bytes(1, message) = field {
            within_limit(fetches.len())?;
            fetches.push(fetch(message)?);
        }
    }
    Ok(fetches)
}

fn fetch(message: &[u8]) -> Result<Fetch> {
    let mut fetch = Fetch::default();
    let mut fields = Fields::new(message);
    while let Some(field) = fields.next()? {
        match field {
            Field::Bytes(1, name) => fetch.name = text(name)?,
            Field::Bytes(5, expression) => fetch.path_expression = text(expression)?,
            Field::Varint(2, start) => fetch.start_s = start.cast_signed(),
            Field::Varint(3, stop) => fetch.stop_s = stop.cast_signed(),
            _ => {}
        }
    }
    Ok(fetch)
}

/// Reads a `MultiGlobRequest`.
///
/// # Errors
/// `Invalid` for malformed bytes or too many patterns.
pub fn read_find(body: &[u8]) -> Result<Find> {
    let mut find = Find::default();
    let mut fields = Fields::new(body);
    while let Some(field) = fields.next()? {
        if let Field::Bytes(1, pattern) = field {
            within_limit(find.patterns.len())?;
            find.patterns.push(text(pattern)?);
        }
    }
    Ok(find)
}

fn within_limit(count: usize) -> Result<()> {
    if count < REQUESTS_MAX { Ok(()) } else { Err(Error::invalid(format!("more than {REQUESTS_MAX} requests in one"))) }
}

/// Writes a `MultiFetchResponse`: each series with the range it was asked for. An unknown value is NaN.
#[must_use]
pub fn series<'a>(all: impl IntoIterator<Item = (&'a Series, (i64, i64))>) -> Answer {
    let mut answer = Message::default();
    for (series, (from_s, until_s)) in all {
        let mut one = Message(Vec::with_capacity(series.values.len() * 8 + series.name.len() + 128));
        one.text(1, &series.name);
        one.text(2, &series.path_expression);
        one.text(3, series.consolidation.name());
        one.int(4, series.start_s);
        one.int(5, series.end_s);
        one.int(6, series.step_s);
        one.float(7, series.x_files_factor as f32);
        one.doubles(9, &series.values);
        one.int(11, from_s);
        one.int(12, until_s);
        answer.message(1, &one);
    }
    Answer { content_type: CONTENT_TYPE, body: answer.0 }
}

/// Writes a `MultiGlobResponse`: for each pattern the nodes found.
#[must_use]
pub fn matches<'a>(found: impl IntoIterator<Item = (&'a str, &'a [Node])>) -> Answer {
    let mut answer = Message::default();
    for (pattern, nodes) in found {
        let mut one = Message::default();
        one.text(1, pattern);
        for node in nodes {
            let mut hit = Message::default();
            hit.text(1, &node.path);
            hit.flag(2, node.is_leaf);
            one.message(2, &hit);
        }
        answer.message(1, &one);
    }
    Answer { content_type: CONTENT_TYPE, body: answer.0 }
}

/// Writes a `CapabilityResponse`: that this protocol is spoken, and nothing is applied here.
#[must_use]
pub fn capabilities(name: &str) -> Answer {
    let mut answer = Message::default();
    ["carbonapi_v3_pb", "pickle", "msgpack"].into_iter().for_each(|protocol| answer.text(1, protocol));
    answer.text(2, name);
    Answer { content_type: CONTENT_TYPE, body: answer.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `{name: "a.*", startTime: 5, stopTime: -1, pathExpression: "x", maxDataPoints: 300, filterFunctions: [{}]}`
    const FETCH: &[u8] =
        b"\x0a\x1a\x0a\x03a.*\x10\x05\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x2a\x01x\x32\x00\x38\xac\x02";

    #[test]
    fn requests_are_read() {
        let fetch = Fetch { name: "a.*".into(), path_expression: "x".into(), start_s: 5, stop_s: -1 };
        assert_eq!(read_fetches(FETCH), Ok(vec![fetch.clone()]));
        assert_eq!(read_fetches(&FETCH.repeat(2)), Ok(vec![fetch; 2]));
        assert_eq!(read_fetches(b""), Ok(Vec::new()));
        let find = Find { patterns: vec!["*".into(), "b".into()] };
        assert_eq!(read_find(b"\x0a\x01*\x10\x03\x0a\x01b\x7d\0\0\0\0\x79\0\0\0\0\0\0\0\0"), Ok(find));
        for bad in [
            &FETCH[..FETCH.len() - 1],
            b"\x0a\x01\xff",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\x0b",
            b"\x0d\0",
        ] {
            assert!(read_find(bad).is_err() || read_fetches(bad).is_err(), "{bad:?}");
        }
        assert!(read_find(&b"\x0a\x01*".repeat(REQUESTS_MAX + 1)).is_err());
        assert!(read_fetches(&b"\x0a\x00".repeat(REQUESTS_MAX + 1)).is_err());
    }

    #[test]
    fn answers_are_written() {
        let mut one = Series::new("a", 60, 180, 60, vec![0.5, f64::NAN]);
        one.path_expression = "p".to_owned();
        one.x_files_factor = 0.5;
        let answer = series([(&one, (0, 300))]);
        let mut want =
            b"\x0a\x32\x0a\x01a\x12\x01p\x1a\x07average\x20\x3c\x28\xb4\x01\x30\x3c\x3d\0\0\0\x3f\x4a\x10".to_vec();
        want.extend(0.5f64.to_le_bytes());
        want.extend(f64::NAN.to_le_bytes());
        want.extend(b"\x60\xac\x02");
        want[1] = u8::try_from(want.len() - 2).expect("short");
        assert_eq!(answer.body, want);
        let nodes = [("a.b", true), ("a.c", false)].map(|(path, is_leaf)| Node {
            path: path.into(),
            is_leaf,
            interval_s: None,
        });
        assert_eq!(
            matches([("a.*", &nodes[..]), ("x", &[])]).body,
            b"\x0a\x15\x0a\x03a.*\x12\x07\x0a\x03a.b\x10\x01\x12\x05\x0a\x03a.c\x0a\x03\x0a\x01x"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (read_fetches(&bytes), read_find(&bytes));
        }
    }
}
