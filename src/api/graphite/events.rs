//! `/events`: what happened when.
//!
//! graphite-web shows pages under `/events` and `/events/ID`; here both are JSON. An event can also be deleted.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{Method, Response, StatusCode};
use rhythmite_graphite::answer::{Answer, events as answers};
use rhythmite_graphite::events::{EventQuery, NewEvent, TEXT_BYTES_MAX};
use rhythmite_model::{Error, Result};

use super::Graphite;
use super::params::Form;
use super::reply::{self, reply};
use crate::api::body::BodyMax;
use crate::api::guard;
use crate::api::routes::Rule;
use crate::auth::Caller;
use crate::catalog::GRAPHITE;

/// Bytes of a posted event: every character of its texts may be an escape of six.
const BODY_BYTES_MAX: usize = 6 * TEXT_BYTES_MAX + 4096;

const SECOND_US: i64 = 1_000_000;

/// `/events`: a list for who may read, a new event by who may write.
pub(super) async fn root(state: State<Arc<Graphite>>, caller: Caller, request: Request) -> Response<Body> {
    let adds = request.method() == Method::POST;
    let rule = if adds { Rule::Writes(GRAPHITE) } else { Rule::Reads(GRAPHITE) };
    if let Some(refused) = guard::refuse_by(rule, &caller) {
        return refused;
    }
    if adds { add(state, request).await } else { list(state, request).await }
}

/// `/events/ID`: shown to who may read, deleted by who may write.
pub(super) async fn one(
    state: State<Arc<Graphite>>,
    caller: Caller,
    id: Path<String>,
    request: Request,
) -> Response<Body> {
    let removes = request.method() == Method::DELETE;
    let rule = if removes { Rule::Writes(GRAPHITE) } else { Rule::Reads(GRAPHITE) };
    if let Some(refused) = guard::refuse_by(rule, &caller) {
        return refused;
    }
    if removes { remove(state, id).await } else { details(state, id, request).await }
}

/// `GET /events/get_data`, and what else lists events.
pub(super) async fn list(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    match Form::read(&state.bodies, request).await {
        Ok(form) => reply(find(&state, &form).await),
        Err(e) => reply::unread(&e),
    }
}

async fn find(state: &Graphite, form: &Form) -> Result<Answer> {
    let query = EventQuery::parse(form.params(), state.clock.now_s() * SECOND_US, &state.zone)?;
    answers::list(&state.catalog.events().find(query).await?, form.params())
}

async fn add(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    match state.bodies.read(&head.headers, body, BodyMax::both(BODY_BYTES_MAX)).await {
        Ok(body) => reply(keep(&state, &body).await),
        Err(e) => reply::body(&e),
    }
}

async fn keep(state: &Graphite, body: &[u8]) -> Result<Answer> {
    let event = NewEvent::parse(body)?;
    let added = state.catalog.events().add(event, state.clock.now_s() * SECOND_US).await?;
    state.counters.graphite_events.one();
    state.counters.graphite_events_dropped.add(added.dropped);
    Ok(Answer { content_type: "text/html", body: Vec::new() })
}

async fn details(State(state): State<Arc<Graphite>>, Path(id): Path<String>, request: Request) -> Response<Body> {
    let form = match Form::read(&state.bodies, request).await {
        Ok(form) => form,
        Err(e) => return reply::unread(&e),
    };
    let found = match id.parse() {
        Ok(id) => state.catalog.events().get(id).await,
        Err(_) => Ok(None),
    };
    reply(found.and_then(|event| answers::details(&event.ok_or_else(unknown)?, form.params())))
}

async fn remove(State(state): State<Arc<Graphite>>, Path(id): Path<String>) -> Response<Body> {
    let removed = match id.parse() {
        Ok(id) => state.catalog.events().remove(id).await,
        Err(_) => Ok(false),
    };
    match removed {
        Ok(true) => reply::empty(StatusCode::NO_CONTENT),
        Ok(false) => reply(Err(unknown())),
        Err(e) => reply(Err(e)),
    }
}

fn unknown() -> Error {
    Error::not_found("Event matching query does not exist")
}
