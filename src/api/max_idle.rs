//! `/api/v1/max_idle`: after how long without a point a series of a database is removed.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rhythmite_model::Result;
use serde::Deserialize;
use serde_json::json;

use super::routes::{Routes, Rule};
use super::settings::{body_limit, nanoseconds, refusal, wanted};
use crate::catalog::Catalog;

/// The routes.
pub fn router(catalog: Catalog) -> Routes {
    let methods = get(show).post(set).layer(body_limit());
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
        Err(e) => refusal(&e),
    }
}

async fn put(catalog: &Catalog, body: &[u8]) -> Result<()> {
    let wanted: Wanted = wanted(body)?;
    catalog.set_max_idle(&wanted.database, nanoseconds("max_idle", &wanted.max_idle)?).await
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
