//! `/health`, `/ready`. (`/ping` is InfluxDB's, see [`super::influx`].)

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Own;

pub(super) fn router(own: Arc<Own>) -> Router {
    Router::new().route("/health", get(health)).route("/ready", get(ready)).with_state(own)
}

/// The process lives, in InfluxDB's shape; it fails when the log has failed and writes are refused.
async fn health(State(own): State<Arc<Own>>) -> Response {
    let (status, word, message) = if own.figures.engine.is_read_only() {
        (StatusCode::SERVICE_UNAVAILABLE, "fail", "the write-ahead log has failed: read-only until a restart")
    } else {
        (StatusCode::OK, "pass", "ready for queries and writes")
    };
    let body = serde_json::json!({
        "name": "rhythmite",
        "message": message,
        "status": word,
        "checks": [],
        "version": env!("CARGO_PKG_VERSION"),
    });
    (status, axum::Json(body)).into_response()
}

/// Whether the server takes requests: 503 until every listener is open and as soon as it is about to stop.
async fn ready(State(own): State<Arc<Own>>) -> Response {
    if own.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "not ready\n").into_response()
    }
}
