//! What an operator asks of the store: `POST /api/v1/compact`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use rhythmite_engine::Engine;
use rhythmite_model::Error;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::routes::{Routes, Rule};

/// The routes.
pub fn router(engine: Engine) -> Routes {
    routes(Admin { engine, turn: Arc::new(Semaphore::new(1)) })
}

fn routes(admin: Admin) -> Routes {
    Routes::new().route("/api/v1/compact", Rule::Admin, post(compact)).with_state(admin)
}

#[derive(Clone)]
struct Admin {
    engine: Engine,
    /// Its one permit is held while a compaction runs: a second would wait on a thread, and find nothing to do.
    turn: Arc<Semaphore>,
}

impl Admin {
    /// Runs `work` on a thread that may be busy, to its end even when nobody waits for it; `None` while such work runs.
    fn begin<T: Send + 'static>(&self, work: impl FnOnce(&Engine) -> T + Send + 'static) -> Option<JoinHandle<T>> {
        let permit = self.turn.clone().try_acquire_owned().ok()?;
        let engine = self.engine.clone();
        Some(tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&engine)
        }))
    }
}

/// Flushes, then merges until each partition is one file. Answers when that is done, with the number of files and their
/// bytes before and after. Goes on to its end when the client leaves. One at a time: 409 while one runs.
async fn compact(State(admin): State<Admin>) -> Response {
    let begun = admin.begin(|engine| {
        let before = engine.stats();
        engine.compact_all()?;
        let after = engine.stats();
        Ok::<_, Error>(json!({
            "files_before": before.files, "bytes_before": before.file_bytes,
            "files_after": after.files, "bytes_after": after.file_bytes,
        }))
    });
    let Some(done) = begun else {
        let text = "a compaction is running already, try again when it has ended";
        return (StatusCode::CONFLICT, Json(json!({ "error": text }))).into_response();
    };
    match done.await.unwrap_or_else(|e| Err(Error::internal(format!("compaction ended: {e}")))) {
        Ok(report) => Json(report).into_response(),
        Err(e) => {
            tracing::error!("compaction asked for by HTTP failed: {e}");
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": e.message() }))).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::api::guard::Guard;
    use crate::query::sql::tests::World;

    async fn ask(admin: &Admin) -> (u16, String) {
        let request = Request::post("/api/v1/compact").body(Body::empty()).unwrap();
        let response = routes(admin.clone()).guarded(&Guard::open()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn one_compaction_runs_at_a_time() {
        let world = World::new(|_| {}).await;
        let admin = Admin { engine: world.engine.clone(), turn: Arc::new(Semaphore::new(1)) };
        let (end, wait) = mpsc::sync_channel::<()>(1);
        let running = admin.begin(move |_| wait.recv()).unwrap();
        let (status, text) = ask(&admin).await;
        assert!(status == 409 && text.contains("a compaction is running already"), "{status} {text}");
        end.send(()).unwrap();
        running.await.unwrap().unwrap();
        assert_eq!(ask(&admin).await.0, 200);
        assert_eq!(ask(&admin).await.0, 200);
        // Its client has left: it runs, and so nobody else may.
        let (end, wait) = mpsc::sync_channel::<()>(1);
        drop(admin.begin(move |_| wait.recv()));
        assert_eq!(ask(&admin).await.0, 409);
        drop(end);
        // One that panics gives its turn back.
        while admin.turn.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(admin.begin(|_| panic!("as asked for")).unwrap().await.is_err());
        assert_eq!(ask(&admin).await.0, 200);
    }
}
