//! Prometheus' remote write (1 and 2) and remote read, as InfluxDB 1.x has them: `/api/v1/prom/{write,read}`.
//!
//! Parameters `db` and `rp`. A metric is a measurement with the field `value`; its labels are tags, `__name__` too. A
//! sample is one line of line protocol, so that types, limits and rights are those of all writes. What has no place is left
//! out and told: NaN (a stale marker, mostly) and infinities, native histograms, and labels that line protocol cannot hold
//! (with a line break, or a backslash at their end).
//!
//! Reading is a SELECT by `GROUP BY *`, of which the answer is collected: 64 MB at most. Answers are samples, not chunks.
//!
//! Bodies are snappy blocks; the length one declares is checked before it is unpacked.

mod wire;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use rhythmite_influx::answer::Cell;
use rhythmite_influx::influxql;
use rhythmite_influx::line_protocol::Precision;

use super::body::BodyMax;
use super::guard;
use super::influx::{InfluxApi, Refused, Series, carry_out, ident, may_write, store_lines, string};
use super::query_string::Params;
use super::routes::{Routes, Rule};
use crate::auth::Caller;
use crate::catalog::Rights;
use wire::{Kind, Matcher, Query, Sample, TimeSeries};

/// The measurement of series without a name, as in 1.x.
const NO_NAME: &str = "prom_metric_not_specified";
const NAME: &str = "__name__";
const FIELD: &str = "value";
/// Bytes of an unpacked message.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
const MS_NS: i64 = 1_000_000;
const SAMPLES_WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");

/// The routes.
pub(super) fn router(api: Arc<InfluxApi>) -> Routes {
    Routes::new()
        .route("/api/v1/prom/write", Rule::Asks, post(write))
        .route("/api/v1/prom/read", Rule::Asks, post(read))
        .with_state(api)
}

async fn write(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let params = Params::from_query(query.as_deref());
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let is_2 = kind.contains("proto=io.prometheus.write.v2.request");
    let outcome = async {
        may_write(&api, &caller, params.get("db"))?;
        let message = message(&api, body).await?;
        let lines = blocking(move || lines(&message, is_2)).await?;
        let (text, left_out) = (lines.text, lines.left_out);
        store_lines(&api, &caller, params.get("db"), params.get("rp"), Precision::Millisecond, text).await?;
        if left_out > 0 {
            tracing::debug!("remote write: {left_out} samples, histograms and series have no place and are left out");
        }
        Ok((StatusCode::NO_CONTENT, [(SAMPLES_WRITTEN, HeaderValue::from(lines.samples))]).into_response())
    };
    outcome.await.unwrap_or_else(|refused: Refused| refused.into_response())
}

/// The unpacked body.
async fn message(api: &Arc<InfluxApi>, body: Body) -> Result<Vec<u8>, Refused> {
    // `Content-Encoding: snappy` is the protocol's own, so the usual look at that header is left out.
    let max = BodyMax::both(api.limits.body_bytes_max);
    let packed = api.bodies().read(&HeaderMap::new(), body, max).await?;
    let length = snap::raw::decompress_len(&packed).map_err(|e| Refused::bad(format!("snappy: {e}")))?;
    if length > MESSAGE_BYTES_MAX {
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large"));
    }
    blocking(move || {
        snap::raw::Decoder::new().decompress_vec(&packed).map_err(|e| Refused::bad(format!("snappy: {e}")))
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refused> + Send + 'static) -> Result<T, Refused> {
    let panicked = || Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "the request has panicked");
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(panicked()))
}

/// Line protocol of a message.
#[derive(Debug, Default)]
struct Lines {
    text: Vec<u8>,
    samples: u64,
    left_out: usize,
}

fn lines(message: &[u8], is_2: bool) -> Result<Lines, Refused> {
    let mut lines = Lines::default();
    let take = |series: TimeSeries<'_>| lines.series(&series);
    let read = if is_2 { wire::write_request_2(message, take) } else { wire::write_request(message, take) };
    read.map_err(|e| Refused::bad(format!("protobuf: {}", e.0)))?;
    Ok(lines)
}

impl Lines {
    fn series(&mut self, series: &TimeSeries<'_>) {
        self.left_out += series.histograms;
        let fits = |text: &str| !text.contains(['\n', '\r']) && !text.ends_with('\\');
        if !series.labels.iter().all(|(name, value)| fits(name) && fits(value)) {
            self.left_out += series.samples.len();
            return;
        }
        let name = series.labels.iter().find(|(name, _)| *name == NAME).map_or(NO_NAME, |(_, value)| value);
        let mut key = String::new();
        escape(&mut key, name, &[',', ' ']);
        // A label without a value is one that is not there.
        for (name, value) in series.labels.iter().filter(|(name, value)| !name.is_empty() && !value.is_empty()) {
            key.push(',');
            escape(&mut key, name, &[',', '=', ' ']);
            key.push('=');
            escape(&mut key, value, &[',', '=', ' ']);
        }
        for sample in &series.samples {
            if !sample.value.is_finite() {
                self.left_out += 1;
                continue;
            }
            let mut digits = zmij::Buffer::new();
            self.text.extend_from_slice(key.as_bytes());
            self.text.extend_from_slice(b" value=");
            self.text.extend_from_slice(digits.format_finite(sample.value).as_bytes());
            self.text.push(b' ');
            self.text.extend_from_slice(itoa::Buffer::new().format(sample.time_ms).as_bytes());
            self.text.push(b'\n');
            self.samples += 1;
        }
    }
}

fn escape(out: &mut String, text: &str, special: &[char]) {
    for c in text.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
}

async fn read(State(api): State<Arc<InfluxApi>>, caller: Caller, RawQuery(query): RawQuery, body: Body) -> Response {
    let params = Params::from_query(query.as_deref());
    if let Some(refused) = guard::refuse_unless(&caller, Rights::READ, params.get("db")) {
        return refused;
    }
    let outcome = async {
        let message = message(&api, body).await?;
        let queries = wire::read_request(&message).map_err(|e| Refused::bad(format!("protobuf: {}", e.0)))?;
        let mut answer = wire::Writer::default();
        for query in &queries {
            let statement = statement(query, params.get("rp"))?;
            let none = influxql::Params::default();
            let found = carry_out(&api, &caller, params.get("db"), &statement, &none).await?;
            answer.bytes(1, &result(found));
            if answer.0.len() > MESSAGE_BYTES_MAX {
                return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "the answer is too long: ask for less time"));
            }
        }
        let packed = blocking(move || {
            snap::raw::Encoder::new().compress_vec(&answer.0).map_err(|e| Refused::bad(format!("snappy: {e}")))
        });
        let kinds = [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
        Ok((kinds, packed.await?).into_response())
    };
    outcome.await.unwrap_or_else(|refused: Refused| refused.into_response())
}

/// A question as a SELECT.
fn statement(query: &Query<'_>, policy: &str) -> Result<String, Refused> {
    let mut from = None;
    let mut terms = String::new();
    for Matcher { kind, name, value } in &query.matchers {
        match (*name, kind) {
            (NAME, Kind::Equal) if from.is_none() => from = Some(ident(value)),
            (NAME, Kind::Regex) if from.is_none() => from = Some(regex(value)),
            (name, kind) => {
                let (operator, value) = match kind {
                    Kind::Equal => ("=", string(value)),
                    Kind::NotEqual => ("!=", string(value)),
                    Kind::Regex => ("=~", regex(value)),
                    Kind::NotRegex => ("!~", regex(value)),
                };
                let _ = write!(terms, "{}::tag {operator} {value} AND ", ident(name));
            }
        }
    }
    let from = from.unwrap_or_else(|| "/.*/".to_owned());
    let policy = if policy.is_empty() { String::new() } else { format!("{}.", ident(policy)) };
    let time = |ms: i64| ms.saturating_mul(MS_NS).clamp(influxql::TIME_MIN_NS, influxql::TIME_MAX_NS);
    let (start, end) = (time(query.start_ms), time(query.end_ms));
    Ok(format!("SELECT {FIELD}::field FROM {policy}{from} WHERE {terms}time >= {start} AND time <= {end} GROUP BY *"))
}

/// Prometheus' expressions match the whole value.
fn regex(expression: &str) -> String {
    format!("/^(?:{})$/", expression.replace('/', "\\/"))
}

/// A `QueryResult`: series with labels by name, samples by time.
fn result(found: Vec<Series>) -> Vec<u8> {
    let mut answer = wire::Writer::default();
    for series in found {
        let at = |name: &str| series.columns.iter().position(|column| column == name);
        let (Some(time), Some(value)) = (at("time"), at(FIELD)) else { continue };
        let mut labels: BTreeMap<&str, &str> =
            series.tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).filter(|(_, v)| !v.is_empty()).collect();
        labels.entry(NAME).or_insert(&series.name);
        let mut message = wire::Writer::default();
        labels.iter().for_each(|(name, value)| message.label(1, name, value));
        for row in &series.rows {
            let value = match row.get(value) {
                Some(Cell::Float(value)) => *value,
                Some(Cell::Int(value)) => *value as f64,
                Some(Cell::UInt(value)) => *value as f64,
                _ => continue,
            };
            if let Some(Cell::Time(time_ns)) = row.get(time) {
                message.sample(2, Sample { value, time_ms: time_ns.div_euclid(MS_NS) });
            }
        }
        answer.bytes(1, &message.0);
    }
    answer.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_lines() {
        let series = |labels: &[(&'static str, &'static str)], values: &[f64]| TimeSeries {
            labels: labels.to_vec(),
            samples: values.iter().map(|value| Sample { value: *value, time_ms: 1_000 }).collect(),
            histograms: 0,
        };
        for (series, expected, left_out) in [
            (
                series(&[("__name__", "up"), ("job", "a b,c=d")], &[1.0]),
                "up,__name__=up,job=a\\ b\\,c\\=d value=1.0 1000\n",
                0,
            ),
            (series(&[("job", "x"), ("empty", "")], &[0.5]), "prom_metric_not_specified,job=x value=0.5 1000\n", 0),
            (
                series(&[("__name__", "a b")], &[f64::NAN, f64::INFINITY, 2.0]),
                "a\\ b,__name__=a\\ b value=2.0 1000\n",
                2,
            ),
            // These would be another line, or another tag.
            (series(&[("__name__", "m"), ("k", "x\nevil v=1")], &[1.0]), "", 1),
            (series(&[("__name__", "m"), ("k", "x\\")], &[1.0]), "", 1),
            (series(&[("__name__", "m"), ("k", "x\\y\\,z")], &[1.0]), "m,__name__=m,k=x\\y\\\\,z value=1.0 1000\n", 0),
        ] {
            let mut lines = Lines::default();
            lines.series(&series);
            assert_eq!((String::from_utf8(lines.text).unwrap().as_str(), lines.left_out), (expected, left_out));
        }
    }

    #[test]
    fn questions_are_selects() {
        let matcher = |kind, name, value| Matcher { kind, name, value };
        let query = Query {
            start_ms: 1,
            end_ms: i64::MAX,
            matchers: vec![
                matcher(Kind::Equal, "__name__", "up"),
                matcher(Kind::NotRegex, "path", "/a|b"),
                matcher(Kind::NotEqual, "job", "it's"),
            ],
        };
        let expected = "SELECT value::field FROM \"up\" WHERE \"path\"::tag !~ /^(?:\\/a|b)$/ AND \"job\"::tag != 'it\\'s' \
                        AND time >= 1000000 AND time <= 9223372036854775806 GROUP BY *";
        let found = statement(&query, "").unwrap();
        assert_eq!(found, expected);
        assert!(influxql::parse_statement(&found).is_ok());
    }
}
