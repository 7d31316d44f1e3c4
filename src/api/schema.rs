//! `/api/v1/schema/apply`: storage schemas that have changed, for the series that are there.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rhythmite_model::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::routes::{Routes, Rule};
use super::settings::{body_limit, refusal, wanted};
use crate::schema::{Begun, Job};

/// The routes.
pub fn router(job: Job) -> Routes {
    let methods = get(status).post(apply).delete(cancel).layer(body_limit());
    Routes::new().route("/api/v1/schema/apply", Rule::Admin, methods).with_state(job)
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    dry_run: bool,
}

/// How far the job is, or how the last one ended.
async fn status(State(job): State<Job>) -> Response {
    Json(job.status()).into_response()
}

/// Says what would move (`{"dry_run": true}`), or begins to move it: 202, and 409 while that runs.
async fn apply(State(job): State<Job>, body: Bytes) -> Response {
    match carry_out(job, &body).await {
        Ok(response) => response,
        Err(e) => refusal(&e),
    }
}

async fn carry_out(job: Job, body: &[u8]) -> Result<Response> {
    let wanted: Wanted = match body.trim_ascii() {
        [] => Wanted::default(),
        body => wanted(body)?,
    };
    if wanted.dry_run {
        return Ok(answer(blocking(move || job.plan()).await?));
    }
    let begins = job.clone();
    match blocking(move || begins.begin()).await? {
        Begun::Yes => Ok((StatusCode::ACCEPTED, Json(job.status())).into_response()),
        Begun::RunsAlready => Ok((StatusCode::CONFLICT, Json(json!({ "error": "it runs already" }))).into_response()),
    }
}

/// Stops the job behind its present step; what has moved stays moved.
async fn cancel(State(job): State<Job>) -> Response {
    job.cancel();
    Json(job.status()).into_response()
}

fn answer(body: impl Serialize) -> Response {
    Json(body).into_response()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(format!("it ended: {e}")))?
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::api::guard::Guard;
    use crate::query::graphite::tests::world::World;

    async fn ask(job: &Job, method: &str, body: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri("/api/v1/schema/apply");
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = router(job.clone()).guarded(&Guard::open()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, String::from_utf8_lossy(&to_bytes(response.into_body(), 10_000).await.unwrap()).into_owned())
    }

    #[test]
    fn it_is_planned_begun_watched_and_cancelled() {
        let world = World::new();
        world.series("a.b", &[(60, 86_400)], (1, 0.5, 0));
        let job = Job::new(&world.engine, &world.ingest(), &world.env, world.dir.path());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (method, body, status, expected) in [
            ("GET", "", 200, r#""phase":"idle""#),
            ("POST", r#"{"dry_run":true}"#, 200, r#""series":1,"series_moved":1"#),
            ("POST", r#"{"dry":true}"#, 400, "unknown field"),
            ("DELETE", "", 200, r#""phase":"idle""#),
            ("POST", "", 202, r#""phase":""#),
        ] {
            let (found, text) = runtime.block_on(ask(&job, method, body));
            assert!(found == status && text.contains(expected), "{method} {body}: {found} {text}");
        }
        assert!(job.clone().finish(Duration::from_secs(60)));
        let (_, text) = runtime.block_on(ask(&job, "GET", ""));
        assert!(text.contains(r#""phase":"done","series":1,"series_moved":1"#), "{text}");
        assert!(!job.was_interrupted().unwrap());
    }
}
