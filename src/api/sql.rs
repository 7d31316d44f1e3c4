//! `GET`, `POST /api/v3/query_sql`: SQL over HTTP, as InfluxDB 3 has it.
//!
//! Parameters `db q format params` come in the query string, and with POST in a JSON object or a form, which count more.
//! `format` is `json` (default), `jsonl`, `csv`, `pretty` or `parquet`; without it the `Accept` header decides. `params`
//! is a JSON object with the values of `$name`.
//!
//! The answer is streamed: its first piece is awaited, so that an error before it has its status; one behind it closes
//! the connection, for a cut answer must not look whole. A client that goes stops its query.
//!
//! Status: 400 for the request or the statement, 404 for an unknown database, 408 at the deadline or for a body that
//! pauses, 413 for a long body, 503 when too many queries run, too many bodies are held or memory has run out. Errors are `{"error": "..."}`.

mod format;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::routing::get;
use futures::{StreamExt, stream};
use rhythmite_model::{Error, ErrorKind};

use crate::api::body::{Bodies, BodyError};
use crate::api::routes::{Routes, Rule};
use crate::auth::{Caller, Readable};
use crate::query::sql::{Answer, Sql, SqlError, SqlRequest, Visible};
pub(in crate::api) use format::{Encoder, Format};
pub(in crate::api) use request::{Asked, Unread};

/// Seconds after which a query that was turned away may be tried again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// Why there is no answer.
enum Failure {
    /// The body is longer than [`request::BODY_BYTES_MAX`], or did not come.
    Body(BodyError),
    /// Anything else.
    Query(SqlError),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Failure::Query(e.into())
    }
}

impl From<SqlError> for Failure {
    fn from(e: SqlError) -> Self {
        Failure::Query(e)
    }
}

/// The route. A query sees the databases that its caller may read. Bodies draw on `bodies`.
pub fn router(sql: Sql, bodies: Arc<Bodies>) -> Routes {
    Routes::new().route("/api/v3/query_sql", Rule::Known, get(query).post(query)).with_state((sql, bodies))
}

async fn query(State((sql, bodies)): State<(Sql, Arc<Bodies>)>, caller: Caller, request: Request) -> Response<Body> {
    let visible = match caller.readable() {
        Readable::All => Visible::All,
        Readable::Only(names) => Visible::Only(Arc::new(names)),
    };
    match run(&sql, &bodies, visible, request).await {
        Ok(response) => response,
        Err(e) => error(&e),
    }
}

async fn run(sql: &Sql, bodies: &Arc<Bodies>, visible: Visible, request: Request) -> Result<Response<Body>, Failure> {
    let Asked { database, sql: text, params, format } = Asked::read(bodies, request).await?;
    let request = SqlRequest { database, sql: text, params, visible };
    let mut answer: Answer<Bytes> = sql.query(request, move |schema| Encoder::new(format, schema)).await?;
    let first = match answer.next().await {
        Some(piece) => piece?,
        None => Bytes::new(),
    };
    let body = stream::once(async { Ok(first) }).chain(answer.inspect(|piece| {
        if let Err(e) = piece {
            tracing::warn!("an answer to SQL was cut: {e}");
        }
    }));
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    Ok(response)
}

fn error(e: &Failure) -> Response<Body> {
    let (status, e) = match e {
        Failure::Body(e) => (e.status, e.text.clone()),
        Failure::Query(e) => (status(e), e.to_string()),
    };
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!("an SQL query failed: {e}");
    }
    let mut response = Response::new(Body::from(serde_json::json!({ "error": e }).to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, RETRY_AFTER_S);
    }
    response
}

fn status(e: &SqlError) -> StatusCode {
    match e {
        SqlError::Timeout(_) => StatusCode::REQUEST_TIMEOUT,
        SqlError::Failed(e) => match e.kind() {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Overloaded | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

/// A request that cannot be understood.
fn invalid(message: impl Into<String>) -> Error {
    Error::invalid(message.into())
}
