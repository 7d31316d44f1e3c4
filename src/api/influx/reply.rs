//! What answers have in common: headers, refusals, and the small routes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rhythmite_env::Random;
use rhythmite_influx::answer::{AnswerOptions, write_error};
use rhythmite_model::{Error, ErrorKind};
use serde_json::json;

use super::InfluxApi;
use crate::api::body::BodyError;
use crate::api::guard::v2_code;
use crate::api::query_string::Params;

/// The version whose interface this is, which clients read from `X-Influxdb-Version` to know what they may ask for.
pub const INFLUXDB_VERSION: &str = "1.8.10";

/// Bytes of the text in `X-Influxdb-Error`, as in 1.x.
const ERROR_HEADER_BYTES_MAX: usize = 1_024;
/// What a client that met a full queue waits.
const RETRY_AFTER_S: u32 = 1;

const VERSION: HeaderName = HeaderName::from_static("x-influxdb-version");
const BUILD: HeaderName = HeaderName::from_static("x-influxdb-build");
const ERROR: HeaderName = HeaderName::from_static("x-influxdb-error");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) struct Refused {
    pub(in crate::api) status: StatusCode,
    pub(in crate::api) text: String,
}

impl Refused {
    pub(in crate::api) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub(in crate::api) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn overloaded(text: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    /// The answer with this body.
    pub(super) fn with_body(self, content_type: &'static str, body: Vec<u8>) -> Response {
        let mut response = (self.status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        let headers = response.headers_mut();
        headers.insert(ERROR, error_header(&self.text));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
        }
        response
    }

    /// The answer with the members that clients of 1.x and of 2.x look for.
    pub(super) fn of_v2(self) -> Response {
        let body = json!({ "code": v2_code(self.status), "message": self.text, "error": self.text });
        self.with_body("application/json", body.to_string().into_bytes())
    }

    /// The answer in the form that a client of `/query` asked for.
    pub(super) fn in_form(self, options: &AnswerOptions) -> Response {
        let body = write_error(&self.text, options);
        self.with_body(options.format.content_type(), body)
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        Self::new(error.status, error.text)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Overloaded | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!("a request has failed: {error}");
        }
        Self::new(status, error.message())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.in_form(&AnswerOptions::default())
    }
}

/// A text as a header's value: on one line, and not too long.
fn error_header(text: &str) -> HeaderValue {
    let end = text.floor_char_boundary(ERROR_HEADER_BYTES_MAX);
    let line: String = text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    HeaderValue::from_bytes(line.as_bytes()).unwrap_or(HeaderValue::from_static("error"))
}

/// An answer without a body.
pub(super) fn no_content() -> Response {
    (StatusCode::NO_CONTENT, [(header::CONTENT_TYPE, "application/json")]).into_response()
}

/// `GET /ping`.
pub(super) async fn ping(RawQuery(query): RawQuery) -> Response {
    match Params::from_query(query.as_deref()).get("verbose") {
        "" | "0" | "false" => no_content(),
        _ => {
            let body = format!("{{\"version\":\"{INFLUXDB_VERSION}\"}}");
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
    }
}

/// 405 as Go's server words it.
pub(super) async fn method_not_allowed() -> Response {
    plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n")
}

/// 404 as Go's server words it.
pub async fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// Puts on every answer what clients of InfluxDB look for.
pub(super) async fn headers(State(api): State<Arc<InfluxApi>>, request: Request<Body>, next: Next) -> Response {
    let sent = request.headers();
    let id = sent.get(X_REQUEST_ID).or_else(|| sent.get(REQUEST_ID)).cloned();
    let id = id.unwrap_or_else(|| request_id(&api));
    let is_head = request.method() == Method::HEAD;
    let mut response = next.run(request).await;
    if is_head {
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    headers.insert(VERSION, HeaderValue::from_static(INFLUXDB_VERSION));
    headers.insert(BUILD, HeaderValue::from_static("OSS"));
    headers.insert(REQUEST_ID, id.clone());
    headers.insert(X_REQUEST_ID, id);
    response
}

/// A random UUID.
fn request_id(api: &InfluxApi) -> HeaderValue {
    let bits = u128::from(api.request_ids.next_u64()) << 64 | u128::from(api.request_ids.next_u64());
    let id = uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
    let mut text = uuid::Uuid::encode_buffer();
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).expect("hexadecimal digits are visible")
}
