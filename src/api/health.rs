//! `/health`, `/ready`, and what is said before the engine is open. (`/ping` is InfluxDB's, see [`super::influx`].)

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Own;
use super::routes::{Routes, Rule};

pub(super) fn router(own: Arc<Own>) -> Routes {
    Routes::new().route("/health", Rule::Open, get(health)).route("/ready", Rule::Open, get(ready)).with_state(own)
}

/// Why nothing is answered yet.
const STARTING: &str = "the server is starting: it opens its files and replays the write-ahead log";

/// `/health` before there is anything to ask.
pub(super) async fn starting() -> Response {
    let body = serde_json::json!({
        "name": "rhythmite",
        "message": STARTING,
        "status": "fail",
        "checks": [],
        "version": env!("CARGO_PKG_VERSION"),
    });
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], axum::Json(body)).into_response()
}

/// Everything else, `/ready` too.
pub(super) async fn not_yet() -> Response {
    super::guard::refuse(StatusCode::SERVICE_UNAVAILABLE, STARTING, false)
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
        axum::Json(serde_json::json!({ "status": "ready" })).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "not ready\n").into_response()
    }
}
