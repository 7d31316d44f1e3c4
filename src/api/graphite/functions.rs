//! `/functions`: what targets may call.

use axum::body::Body;
use axum::extract::{Path, Request};
use axum::http::Response;
use rhythmite_graphite::answer::functions;

use super::params::Form;
use super::reply::reply;

pub(super) async fn list(request: Request) -> Response<Body> {
    reply(Form::read(request).await.and_then(|form| functions::list(form.params())))
}

pub(super) async fn details(Path(name): Path<String>, request: Request) -> Response<Body> {
    reply(Form::read(request).await.and_then(|form| functions::details(form.params(), &name)))
}
