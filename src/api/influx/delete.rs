//! `POST /api/v2/delete`: points between two times that a predicate selects.
//!
//! The body is `{"start": RFC 3339, "stop": RFC 3339, "predicate": "..."}`; a predicate is `key="value"` joined by `AND`,
//! the key `_measurement` meaning the measurement. It becomes a DELETE of InfluxQL, which has the same meaning but for
//! the `stop`, which is not deleted.

use std::fmt::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use rhythmite_influx::influxql;
use serde::Deserialize;

use super::InfluxApi;
use super::carry_out::{carry_out_within, ident, string};
use super::reply::{Refused, no_content};
use super::write::bucket_names;
use crate::api::body::{BodyMax, receive};
use crate::api::query_string::Params;
use crate::auth::Caller;

/// Bytes of a body.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Conditions of a predicate.
const CONDITIONS_MAX: usize = 100;

#[derive(Deserialize)]
struct Asked {
    start: String,
    stop: String,
    #[serde(default)]
    predicate: String,
}

pub(super) async fn delete(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let params = Params::from_query(query.as_deref());
    match run(&api, &caller, &params, &headers, body).await {
        Ok(()) => no_content(),
        Err(refused) => refused.of_v2(),
    }
}

async fn run(
    api: &Arc<InfluxApi>,
    caller: &Caller,
    params: &Params,
    headers: &HeaderMap,
    body: Body,
) -> Result<(), Refused> {
    let (database, policy) = bucket_names(params.get("bucket"))?;
    let body = receive(&api.bodies, headers, body, BodyMax::both(BODY_BYTES_MAX)).await?.unpack()?;
    let asked: Asked =
        serde_json::from_slice(&body).map_err(|e| Refused::bad(format!("error decoding json body: {e}")))?;
    let statement = statement(&asked).map_err(Refused::bad)?;
    // A bucket is one policy, the default one if it names none. An unknown database is told by the statement.
    let databases = api.catalog.databases();
    let only_policy = match databases.get(database) {
        None => None,
        Some(found) => Some(found.policy(policy).map(|found| found.policy.name.clone()).ok_or_else(|| {
            Refused::new(StatusCode::NOT_FOUND, format!("bucket {:?} not found", params.get("bucket")))
        })?),
    };
    drop(databases);
    carry_out_within(api, caller, database, only_policy, &statement, &influxql::Params::default()).await.map(|_| ())
}

/// # Errors
/// What is malformed.
fn statement(asked: &Asked) -> Result<String, String> {
    let time = |name: &str, text: &str| {
        let stamp = text.parse::<jiff::Timestamp>();
        stamp.map_err(|_| format!("invalid {name} time {text:?}: RFC 3339 is needed, as 2020-01-01T00:00:00Z"))
    };
    let (start, stop) = (time("start", &asked.start)?, time("stop", &asked.stop)?);
    if stop < start {
        return Err("stop is before start".to_owned());
    }
    let conditions = conditions(&asked.predicate)?;
    let mut from = String::new();
    let mut terms = String::new();
    for (key, value) in &conditions {
        match key.as_str() {
            "_measurement" if from.is_empty() => from = format!(" FROM {}", ident(value)),
            "_measurement" => return Err("a predicate names one _measurement at most".to_owned()),
            "_field" => return Err("deleting by _field is not supported: points are deleted whole".to_owned()),
            key => {
                let _ = write!(terms, "{} = {} AND ", ident(key), string(value));
            }
        }
    }
    // The clients' way to say "from the beginning" and "to the end".
    let (start, stop) = (start.as_nanosecond(), stop.as_nanosecond());
    let clamped = |ns: i128| ns.clamp(influxql::TIME_MIN_NS.into(), influxql::TIME_MAX_NS.into());
    Ok(format!("DELETE{from} WHERE {terms}time >= {} AND time < {}", clamped(start), clamped(stop)))
}

/// Key and value of each `key = "value"`.
fn conditions(predicate: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut rest = predicate.trim();
    while !rest.is_empty() {
        if found.len() == CONDITIONS_MAX {
            return Err(format!("a predicate has {CONDITIONS_MAX} conditions at most"));
        }
        let (key, after) = word(rest)?;
        let after = after.trim_start();
        let after = after.strip_prefix('=').filter(|after| !after.starts_with(['=', '~']));
        let after =
            after.ok_or_else(|| format!("bad logical expression, at {rest:?}: only = and AND are supported"))?;
        let (value, after) = word(after.trim_start())?;
        found.push((key, value));
        rest = after.trim_start();
        if rest.is_empty() {
            break;
        }
        let joined = rest.get(..3).filter(|word| word.eq_ignore_ascii_case("and")).map(|_| &rest[3..]);
        let joined = joined.filter(|after| after.starts_with(char::is_whitespace));
        let joined =
            joined.ok_or_else(|| format!("bad logical expression, at {rest:?}: only = and AND are supported"))?;
        rest = joined.trim_start();
        if rest.is_empty() {
            return Err("a predicate ends behind AND".to_owned());
        }
    }
    Ok(found)
}

/// A bare or quoted word, and what follows it.
fn word(text: &str) -> Result<(String, &str), String> {
    let mut chars = text.char_indices();
    let Some((_, quote @ ('"' | '\''))) = chars.next() else {
        let end = text.find(|c: char| !(c.is_alphanumeric() || "_-.:/".contains(c))).unwrap_or(text.len());
        let bare = &text[..end];
        return (!bare.is_empty())
            .then(|| (bare.to_owned(), &text[end..]))
            .ok_or_else(|| format!("no word at {text:?}"));
    };
    let mut word = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => word.extend(chars.next().map(|(_, escaped)| escaped)),
            c if c == quote => return Ok((word, &text[at + c.len_utf8()..])),
            c => word.push(c),
        }
    }
    Err(format!("no closing quote at {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicates_become_conditions() {
        let times = "time >= 0 AND time < 1000000000";
        for (predicate, expected) in [
            ("", Ok(format!("DELETE WHERE {times}"))),
            ("_measurement=\"cpu\"", Ok(format!("DELETE FROM \"cpu\" WHERE {times}"))),
            (
                "_measurement='c p' and host = \"a\\\"b\" AND \"k 1\"=x.y",
                Ok(format!("DELETE FROM \"c p\" WHERE \"host\" = 'a\"b' AND \"k 1\" = 'x.y' AND {times}")),
            ),
            ("host=\"it's\"", Ok(format!("DELETE WHERE \"host\" = 'it\\'s' AND {times}"))),
            ("host=\"a\" OR host=\"b\"", Err("bad logical expression")),
            ("host!=\"a\"", Err("bad logical expression")),
            ("host=~\"a\"", Err("bad logical expression")),
            ("host", Err("bad logical expression")),
            ("host=", Err("no word")),
            ("host=\"a", Err("no closing quote")),
            ("host=\"a\" AND", Err("bad logical expression")),
            ("host=\"a\" AND ", Err("bad logical expression")),
            ("host=\"a\"host=\"b\"", Err("bad logical expression")),
            ("_field=\"v\"", Err("deleting by _field")),
            ("_measurement=a AND _measurement=b", Err("one _measurement")),
        ] {
            let (start, stop) = ("1970-01-01T00:00:00Z".to_owned(), "1970-01-01T00:00:01Z".to_owned());
            let found = statement(&Asked { start, stop, predicate: predicate.to_owned() });
            match (&found, &expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!(found, expected, "{predicate}");
                    assert!(influxql::parse_statement(found).is_ok(), "{found}");
                }
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{predicate}: {found}"),
                _ => panic!("{predicate}: {found:?}"),
            }
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        let asked = |start: &str, stop: &str| Asked {
            start: start.to_owned(),
            stop: stop.to_owned(),
            predicate: String::new(),
        };
        assert!(statement(&asked("1677-01-01T00:00:00Z", "2300-01-01T00:00:00+02:00")).is_ok());
        for (start, stop) in [("x", "2020-01-01T00:00:00Z"), ("2020-01-01T00:00:00Z", "2019-01-01T00:00:00Z")] {
            assert!(statement(&asked(start, stop)).is_err(), "{start} {stop}");
        }
    }
}
