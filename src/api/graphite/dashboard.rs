//! `/dashboard`: graphite-web's dashboards as its own page and scripts keep them.
//!
//! The page itself is not here. As with graphite-web an unknown name is an answer with `error`, not a status.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::Response;
use rhythmite_graphite::answer::Answer;
use rhythmite_graphite::dashboard::{template_of, with_value};
use rhythmite_model::{Error, Result};
use serde_json::json;
use serde_json::value::RawValue;

use super::Graphite;
use super::params::Form;
use super::reply::{self, reply};
use crate::catalog::dashboards::Kind;

pub(super) async fn save(
    State(state): State<Arc<Graphite>>,
    Path(name): Path<String>,
    request: Request,
) -> Response<Body> {
    with_form(&state, request, async |form| {
        put(&state, Kind::Dashboard, &name, dashboard(form)?.to_owned()).await?;
        success()
    })
    .await
}

pub(super) async fn save_template(
    State(state): State<Arc<Graphite>>,
    Path((name, key)): Path<(String, String)>,
    request: Request,
) -> Response<Body> {
    with_form(&state, request, async |form| {
        put(&state, Kind::Template, &name, template_of(dashboard(form)?, &key)?).await?;
        success()
    })
    .await
}

pub(super) async fn save_temporary(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    with_form(&state, request, async |form| {
        let kept = dashboard(form)?.to_owned();
        let name = state.catalog.dashboards().save_temporary(kept, state.clock.now_s()).await?;
        json_answer(&json!({ "name": name }))
    })
    .await
}

pub(super) async fn load(State(state): State<Arc<Graphite>>, Path(name): Path<String>) -> Response<Body> {
    let found = state.catalog.dashboards().load(Kind::Dashboard, &name).await;
    reply(found.and_then(|found| match found {
        Some(text) => whole(&text),
        None => unknown(Kind::Dashboard, &name),
    }))
}

/// A template with a value in its places.
pub(super) async fn load_template(
    State(state): State<Arc<Graphite>>,
    Path((name, value)): Path<(String, String)>,
) -> Response<Body> {
    let found = state.catalog.dashboards().load(Kind::Template, &name).await;
    reply(found.and_then(|found| match found {
        Some(text) => whole(&with_value(&text, &name, &value)?),
        None => unknown(Kind::Template, &name),
    }))
}

pub(super) async fn delete(State(state): State<Arc<Graphite>>, Path(name): Path<String>) -> Response<Body> {
    forget(&state, Kind::Dashboard, &name).await
}

pub(super) async fn delete_template(State(state): State<Arc<Graphite>>, Path(name): Path<String>) -> Response<Body> {
    forget(&state, Kind::Template, &name).await
}

pub(super) async fn find(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    search(&state, request, Kind::Dashboard, "dashboards").await
}

pub(super) async fn find_template(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    search(&state, request, Kind::Template, "templates").await
}

async fn with_form(
    state: &Graphite,
    request: Request,
    work: impl AsyncFnOnce(&Form) -> Result<Answer>,
) -> Response<Body> {
    match Form::read(&state.bodies, request).await {
        Ok(form) => reply(work(&form).await),
        Err(e) => reply::unread(&e),
    }
}

/// Names that hold every word of `query`, whatever the case.
async fn search(state: &Graphite, request: Request, kind: Kind, key: &str) -> Response<Body> {
    with_form(state, request, async |form| {
        let query = form.params().get("query").ok_or_else(|| Error::invalid("Missing required parameter 'query'"))?;
        let query = query.to_lowercase();
        let words: Vec<&str> = query.split_whitespace().collect();
        let mut names = state.catalog.dashboards().names(kind).await?;
        names.retain(|name| {
            let name = name.to_lowercase();
            words.iter().all(|word| name.contains(word))
        });
        let names: Vec<_> = names.into_iter().map(|name| json!({ "name": name })).collect();
        json_answer(&json!({ key: names }))
    })
    .await
}

async fn forget(state: &Graphite, kind: Kind, name: &str) -> Response<Body> {
    let deleted = state.catalog.dashboards().delete(kind, name).await;
    reply(deleted.and_then(|deleted| if deleted { success() } else { unknown(kind, name) }))
}

async fn put(state: &Graphite, kind: Kind, name: &str, kept: String) -> Result<()> {
    state.catalog.dashboards().save(kind, name, kept, state.clock.now_s()).await
}

/// The dashboard in a form; it must be JSON, and is kept as it came.
fn dashboard(form: &Form) -> Result<&str> {
    let text = form.params().get("state").ok_or_else(|| Error::invalid("Missing required parameter 'state'"))?;
    serde_json::from_str::<&RawValue>(text).map_err(|e| Error::invalid(format!("state is not JSON: {e}")))?;
    Ok(text)
}

fn whole(text: &str) -> Result<Answer> {
    let body = ["{\"state\": ", text, "}"].concat().into_bytes();
    Ok(Answer { content_type: "application/json", body })
}

fn success() -> Result<Answer> {
    json_answer(&json!({ "success": true }))
}

fn unknown(kind: Kind, name: &str) -> Result<Answer> {
    let what = if kind == Kind::Template { "Template" } else { "Dashboard" };
    json_answer(&json!({ "error": format!("{what} '{name}' does not exist. ") }))
}

fn json_answer(value: &serde_json::Value) -> Result<Answer> {
    Ok(Answer { content_type: "application/json", body: value.to_string().into_bytes() })
}
