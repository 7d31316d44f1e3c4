//! `/functions`: what targets may call.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::Response;
use rhythmite_graphite::answer::functions;

use super::Graphite;
use super::params::Form;
use super::reply::{reply, unread};

pub(super) async fn list(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    match Form::read(&state.bodies, request).await {
        Ok(form) => reply(functions::list(form.params())),
        Err(e) => unread(&e),
    }
}

pub(super) async fn details(
    State(state): State<Arc<Graphite>>,
    Path(name): Path<String>,
    request: Request,
) -> Response<Body> {
    match Form::read(&state.bodies, request).await {
        Ok(form) => reply(functions::details(form.params(), &name)),
        Err(e) => unread(&e),
    }
}
