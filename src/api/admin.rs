//! What an operator asks of the store: `POST /api/v1/compact`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use rhythmite_engine::Engine;
use rhythmite_model::Error;
use serde_json::json;

/// The routes. They change how points are kept, never which: still, let nobody reach them who may not write.
pub fn router(engine: Engine) -> Router {
    Router::new().route("/api/v1/compact", post(compact)).with_state(engine)
}

/// Flushes, then merges until each partition is one file. Answers when that is done, with the number of files and their
/// bytes before and after. Goes on to its end when the client leaves.
async fn compact(State(engine): State<Engine>) -> Response {
    let done = tokio::task::spawn_blocking(move || {
        let before = engine.stats();
        engine.compact_all()?;
        let after = engine.stats();
        Ok::<_, Error>(json!({
            "files_before": before.files, "bytes_before": before.file_bytes,
            "files_after": after.files, "bytes_after": after.file_bytes,
        }))
    });
    match done.await.unwrap_or_else(|e| Err(Error::internal(format!("compaction ended: {e}")))) {
        Ok(report) => Json(report).into_response(),
        Err(e) => {
            tracing::error!("compaction asked for by HTTP failed: {e}");
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": e.message() }))).into_response()
        }
    }
}
