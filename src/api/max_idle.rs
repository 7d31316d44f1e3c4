//! `/api/v1/max_idle`: after how long without a point a series of a database is removed.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, extract::DefaultBodyLimit};
use rhythmite_model::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::json;

use super::routes::{Routes, Rule};
use crate::catalog::Catalog;
use crate::config::Span;

/// Bytes of a request.
const BODY_BYTES_MAX: usize = 4096;

/// The routes.
pub fn router(catalog: Catalog) -> Routes {
    let methods = get(show).post(set).layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    Routes::new().route("/api/v1/max_idle", Rule::Admin, methods).with_state(catalog)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    database: String,
    /// `"30d"`; `"0"` for no limit.
    max_idle: String,
}

/// Each database that has one, in seconds.
async fn show(State(catalog): State<Catalog>) -> Response {
    let databases = catalog.databases();
    let idle: BTreeMap<_, _> = databases
        .iter()
        .filter(|database| database.max_idle_ns > 0)
        .map(|database| (&database.name, database.max_idle_ns / 1_000_000_000))
        .collect();
    Json(json!({ "max_idle_s": idle })).into_response()
}

async fn set(State(catalog): State<Catalog>, body: Bytes) -> Response {
    match put(&catalog, &body).await {
        Ok(()) => show(State(catalog)).await,
        Err(e) => {
            let status = match e.kind() {
                ErrorKind::Invalid => StatusCode::BAD_REQUEST,
                ErrorKind::NotFound => StatusCode::NOT_FOUND,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, Json(json!({ "error": e.message() }))).into_response()
        }
    }
}

async fn put(catalog: &Catalog, body: &[u8]) -> Result<()> {
    let wanted: Wanted =
        serde_json::from_slice(body).map_err(|e| Error::invalid(format!("the request is not understood: {e}")))?;
    let Span(span) = wanted.max_idle.parse().map_err(|e| Error::invalid(format!("max_idle: {e}")))?;
    catalog.set_max_idle(&wanted.database, nanoseconds(span)).await
}

fn nanoseconds(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::api::guard::Guard;
    use crate::catalog::NewPolicy;

    #[tokio::test]
    async fn a_database_has_one_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("c")).unwrap();
        catalog.create_database("d", NewPolicy::autogen()).await.unwrap();
        let guard: Arc<Guard> = Guard::open();
        for (body, status, expected) in [
            (r#"{"database":"d","max_idle":"30d"}"#, 200, r#"{"max_idle_s":{"d":2592000}}"#),
            (r#"{"database":"d","max_idle":"1m"}"#, 400, r#"{"error":"max_idle is at least an hour, or 0 for none"}"#),
            (r#"{"database":"x","max_idle":"1d"}"#, 404, r#"{"error":"database not found: x"}"#),
            (r#"{"database":"d","idle":"1d"}"#, 400, "unknown field"),
            (r#"{"database":"d","max_idle":"long"}"#, 400, "is no duration"),
            (r#"{"database":"d","max_idle":"0"}"#, 200, r#"{"max_idle_s":{}}"#),
        ] {
            let request = Request::post("/api/v1/max_idle").body(Body::from(body)).unwrap();
            let response = router(catalog.clone()).guarded(&guard).oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{body}");
            let text = to_bytes(response.into_body(), 10_000).await.unwrap();
            let text = String::from_utf8_lossy(&text);
            assert!(text.contains(expected), "{body}: {text}");
        }
    }
}
