//! The port on which graphite-web asks a carbon-cache for what is not in whisper files yet.
//!
//! Here everything can be queried as soon as it is accepted, so an answer is what the finest archive has of the last
//! [`WINDOW_S`]: a graphite-web that reads old whisper files shows what came since. Questions are frames of pickles, which
//! [`Decoder::decode_query`] reads without running anything; a bad one ends its connection, as nothing behind it is sure.
//!
//! Limits: the length of a frame, [`METRICS_MAX`] metrics and [`POINTS_MAX`] points of one answer.

use std::sync::Arc;

use rhythmite_carbon::framer::split_frame;
use rhythmite_carbon::name;
use rhythmite_carbon::pickle::{CacheQuery, Decoder};
use rhythmite_carbon::query::{self, Datapoint};

use super::Carbon;
use crate::adapter::tcp::Connection;
use crate::ingest::PathIngest;

/// How far back answers go.
const WINDOW_S: i64 = 600;
/// Bytes of a question.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Metrics of one question.
const METRICS_MAX: usize = 10_000;
/// Points of one answer; what does not fit is left out, the oldest metrics' first.
const POINTS_MAX: usize = 1_000_000;

pub(super) async fn serve(mut connection: Connection, carbon: Carbon) {
    let counters = carbon.shared.counters.clone();
    let mut pending: Vec<u8> = Vec::new();
    let mut decoder = Decoder::default();
    let end = loop {
        if let Err(end) = connection.read(|bytes| pending.extend_from_slice(bytes)).await {
            break end.to_string();
        }
        let mut taken = 0;
        let fault = loop {
            let frame = match split_frame(&pending[taken..], FRAME_BYTES_MAX) {
                Ok(Some(frame)) => frame,
                Ok(None) => break None,
                Err(e) => break Some(e.to_string()),
            };
            let len = pending.len() - taken - frame.rest.len();
            let asked = match decoder.decode_query(frame.payload) {
                Ok(asked) => asked,
                Err(e) => break Some(e.to_string()),
            };
            taken += len;
            counters.carbon_queries.one();
            let (paths, now_s) = (carbon.shared.paths.clone(), carbon.shared.clock.now_s());
            // Reading may ask the disk.
            let answered = tokio::task::spawn_blocking(move || answer(&paths, asked, now_s)).await;
            let Ok(reply) = answered else { break Some("a question has panicked".to_owned()) };
            if !connection.send(&reply).await {
                break Some("the answer is not taken".to_owned());
            }
        };
        pending.drain(..taken);
        if let Some(fault) = fault {
            break fault;
        }
    };
    tracing::debug!(peer = %connection.peer, "carbon queries: connection ended: {end}");
}

fn answer(paths: &Arc<PathIngest>, asked: CacheQuery, now_s: i64) -> Vec<u8> {
    match asked {
        CacheQuery::Points(metric) => query::datapoints(&points(paths, &metric, now_s)),
        CacheQuery::PointsOfMany(metrics) if metrics.len() > METRICS_MAX => query::error("too many metrics"),
        CacheQuery::PointsOfMany(metrics) => {
            let mut left = POINTS_MAX;
            let found = metrics.iter().map(|metric| {
                let found = if left == 0 { Vec::new() } else { points(paths, metric, now_s) };
                left = left.saturating_sub(found.len());
                (metric.as_str(), found)
            });
            let found: Vec<(&str, Vec<Datapoint>)> = found.collect();
            query::datapoints_by_metric(found.iter().map(|(metric, points)| (*metric, points.as_slice())))
        }
        CacheQuery::GetMetadata { metric, key } if key == "aggregationMethod" => match paths.rule(&metric) {
            Ok(rule) => query::value(rule.method_name()),
            Err(e) => query::error(e.message()),
        },
        CacheQuery::GetMetadata { key, .. } => query::error(&format!("Unsupported metadata key \"{key}\"")),
        CacheQuery::SetMetadata => query::error("aggregation is decided by storage-aggregation.conf"),
        CacheQuery::Unknown(kind) => query::error(&format!("Invalid request type \"{kind}\"")),
    }
}

/// What the finest archive has of a metric; nothing for one that is not there.
fn points(paths: &PathIngest, metric: &str, now_s: i64) -> Vec<Datapoint> {
    let mut scratch = String::new();
    let Ok(path) = name::canonical(metric, &mut scratch) else { return Vec::new() };
    // A file that cannot be read is told by whoever reads it for an answer of its own.
    paths.recent(path, now_s - WINDOW_S).unwrap_or_default()
}
