//! What the routes below `/api/v1` that are set by a small JSON object have in common: its size, how it is read, and how
//! an error is told.

use axum::Json;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rhythmite_model::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::config::Span;

/// Bytes of a request.
const BODY_BYTES_MAX: usize = 4096;

/// The layer that refuses larger bodies: 413.
pub(super) fn body_limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(BODY_BYTES_MAX)
}

/// The object that a request is.
///
/// # Errors
/// `Invalid`, with the place where it stops being understood.
pub(super) fn wanted<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| Error::invalid(format!("the request is not understood: {e}")))
}

/// A duration such as `"30d"` in nanoseconds; one that is too long for them is the longest there is.
///
/// # Errors
/// `Invalid`, naming `what`.
pub(super) fn nanoseconds(what: &str, text: &str) -> Result<i64> {
    let Span(span) = text.parse().map_err(|e| Error::invalid(format!("{what}: {e}")))?;
    Ok(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
}

/// `{"error": ".."}` with 400, 404 or 503.
pub(super) fn refusal(e: &Error) -> Response {
    let status = match e.kind() {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(json!({ "error": e.message() }))).into_response()
}
