//! Answers and errors as HTTP responses.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Response, StatusCode};
use rhythmite_graphite::answer::{Answer, wrap};
use rhythmite_model::{Error, ErrorKind, Result};
use serde::Serialize;

use super::params::{Form, Unread};
use crate::api::body::BodyError;

/// Seconds after which a request that was turned away may be tried again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// A response, or the error as JSON: `{"error": "..."}`.
pub(super) fn reply(answer: Result<Answer>) -> Response<Body> {
    match answer {
        Ok(answer) => {
            let mut response = Response::new(Body::from(answer.body));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        }
        Err(e) => error(&e),
    }
}

/// A body that is made while it is read.
pub(super) fn streamed(content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Parameters that could not be read.
pub(super) fn unread(e: &Unread) -> Response<Body> {
    match e {
        Unread::Body(e) => body(e),
        Unread::Params(e) => error(e),
    }
}

/// A body that could not be read.
pub(super) fn body(e: &BodyError) -> Response<Body> {
    refused(e.status, &e.text)
}

/// A status and nothing else.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Sets how long the answer may be kept; nothing for `None`.
pub(super) fn cached(mut response: Response<Body>, seconds: Option<u64>) -> Response<Body> {
    let value = match seconds {
        None => return response,
        Some(0) => HeaderValue::from_static("no-cache, no-store, must-revalidate, max-age=0"),
        Some(s) => HeaderValue::try_from(format!("max-age={s}")).expect("digits are a header's value"),
    };
    response.headers_mut().insert(CACHE_CONTROL, value);
    response
}

/// Values as JSON; `pretty` and `jsonp` are the request's.
///
/// # Errors
/// `Invalid` for a bad JSONP callback.
pub(super) fn json(form: &Form, value: &impl Serialize) -> Result<Answer> {
    let bytes = if form.get("pretty").is_some() { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    wrap(bytes.map_err(|e| Error::internal(e.to_string()))?, form.get("jsonp"))
}

fn error(e: &Error) -> Response<Body> {
    let status = match e.kind() {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Overloaded | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!("a Graphite request failed: {e}");
    }
    refused(status, e.message())
}

fn refused(status: StatusCode, text: &str) -> Response<Body> {
    let body = serde_json::json!({ "error": text }).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, RETRY_AFTER_S);
    }
    response
}
