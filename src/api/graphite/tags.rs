//! `/tags`: graphite-web's tag database.
//!
//! A tag or value has no number here, as with graphite-web's Redis store. Deleting a series deletes its points: there
//! is one index for names and data.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::Response;
use rhythmite_carbon::name;
use rhythmite_engine::Durability;
use rhythmite_engine::registry::Scope;
use rhythmite_graphite::answer::Answer;
use rhythmite_model::{Error, Result, Tombstone};
use serde_json::json;

use super::Graphite;
use super::params::Form;
use super::reply::{self, reply};
use crate::query::graphite::{delete, tags};

pub(super) async fn list(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    answer(state, request, |state, form| {
        let mut all = tags::list(&state.engine.registry().read());
        keep(form, &mut all, |tag| tag)?;
        let all: Vec<_> = all.into_iter().map(|tag| json!({ "tag": tag })).collect();
        reply::json(form, &all)
    })
    .await
}

pub(super) async fn values(
    State(state): State<Arc<Graphite>>,
    Path(tag): Path<String>,
    request: Request,
) -> Response<Body> {
    answer(state, request, move |state, form| {
        let mut all = tags::values(&state.engine.registry().read(), &tag);
        if all.is_empty() {
            return reply::json(form, &json!(null));
        }
        keep(form, &mut all, |(value, _)| value)?;
        let all: Vec<_> = all.into_iter().map(|(value, count)| json!({ "count": count, "value": value })).collect();
        reply::json(form, &json!({ "tag": tag, "values": all }))
    })
    .await
}

pub(super) async fn find_series(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    answer(state, request, |state, form| {
        let expressions = form.all("expr");
        if expressions.is_empty() {
            return Err(Error::invalid("no tag expressions specified"));
        }
        let limit = state.limits.nodes_max;
        reply::json(form, &tags::find_series(&state.engine.registry().read(), &expressions, limit)?)
    })
    .await
}

pub(super) async fn tag_series(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    answer(state, request, |state, form| {
        let path = form.get("path").ok_or_else(|| Error::invalid("no path specified"))?;
        reply::json(form, &make(state, path)?)
    })
    .await
}

pub(super) async fn tag_multi_series(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    answer(state, request, |state, form| {
        let made = paths(form)?.into_iter().map(|path| make(state, path)).collect::<Result<Vec<_>>>()?;
        reply::json(form, &made)
    })
    .await
}

pub(super) async fn delete_series(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    answer(state, request, |state, form| {
        let paths = paths(form)?.into_iter().map(canonical).collect::<Result<Vec<_>>>()?;
        // A path without tags is in no tag database: there it stays.
        let tagged: Vec<_> = paths.into_iter().filter(|path| path.contains(';')).collect();
        let tombstones = {
            let names = state.engine.registry().read();
            let slots = tagged.iter().filter_map(|path| names.find_series(Scope::Paths, path.as_bytes()));
            delete::tombstones(&names, slots, Tombstone::ALL_TIMES)
        };
        state.engine.delete(tombstones, Durability::Sync)?;
        reply::json(form, &true)
    })
    .await
}

pub(super) async fn complete_tags(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    answer(state, request, |state, form| {
        let prefix = form.get("tagPrefix").unwrap_or_default();
        let limit = form.limit(tags::COMPLETIONS)?;
        reply::json(form, &tags::complete_tags(&state.engine.registry().read(), &form.all("expr"), prefix, limit)?)
    })
    .await
}

pub(super) async fn complete_values(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    answer(state, request, |state, form| {
        let tag = form.get("tag").ok_or_else(|| Error::invalid("no tag specified"))?;
        let (prefix, limit) = (form.get("valuePrefix").unwrap_or_default(), form.limit(tags::COMPLETIONS)?);
        let names = state.engine.registry().read();
        reply::json(form, &tags::complete_values(&names, &form.all("expr"), tag, prefix, limit)?)
    })
    .await
}

async fn answer(
    state: Arc<Graphite>,
    request: Request,
    work: impl FnOnce(&Graphite, &Form) -> Result<Answer> + Send + 'static,
) -> Response<Body> {
    match Form::read(&state.bodies, request).await {
        Ok(form) => reply(state.on_cpu(move |state, _| work(state, &form)).await),
        Err(e) => reply::unread(&e),
    }
}

/// Applies `filter` and `limit`.
fn keep<T>(form: &Form, all: &mut Vec<T>, text: impl Fn(&T) -> &str) -> Result<()> {
    if let Some(pattern) = form.get("filter") {
        let filter = tags::filter(pattern)?;
        let mut failed = None;
        all.retain(|item| {
            filter.is_match(text(item)).unwrap_or_else(|e| {
                failed = Some(e);
                false
            })
        });
        if let Some(e) = failed {
            return Err(e);
        }
    }
    all.truncate(form.limit(usize::MAX)?);
    Ok(())
}

fn paths(form: &Form) -> Result<Vec<&str>> {
    let paths = form.all("path");
    if paths.is_empty() { Err(Error::invalid("no path specified")) } else { Ok(paths) }
}

fn canonical(path: &str) -> Result<String> {
    let mut scratch = String::new();
    let path = name::canonical(path, &mut scratch).map_err(|e| Error::invalid(format!("{path}: {e}")))?;
    Ok(path.to_owned())
}

/// Makes the series of a path; gives its canonical name.
fn make(state: &Graphite, path: &str) -> Result<String> {
    let path = canonical(path)?;
    state.ingest.ensure_path(&path)?;
    Ok(path)
}
