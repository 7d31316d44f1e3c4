//! Before each handler: where a request comes from, who asks, and whether its route is his.
//!
//! Order of events: a request by a foreign name of this server is refused; `OPTIONS` is answered; a request that may change something and comes from a page of a foreign origin
//! is refused; credentials are checked; the route's [`Rule`] is; the [`Caller`] goes with the request. Only the head is
//! read. A handler that takes a [`Caller`] without a guard before it answers 500.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rhythmite_model::ErrorKind;
use serde_json::json;

use super::hosts::Hosts;
use super::origin::Origins;
use super::query_string::Params;
use super::routes::Rule;
use crate::auth::{Auth, Caller, Credentials, Denied};
use crate::catalog::Rights;
use crate::counters::Counters;

/// What 1.x asks browsers and clients with.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"InfluxDB\"");
/// What a client that met a full queue waits.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");
/// What 1.x says while there is no administrator.
pub const NO_ADMIN: &str = "create admin user first or disable authentication";

/// What stands before every handler.
pub struct Guard {
    /// Who asks.
    pub auth: Arc<Auth>,
    /// Names of this server.
    pub hosts: Hosts,
    /// Pages that may.
    pub origins: Origins,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// Lets a request through to its handler, or answers it.
pub(super) async fn check(
    State((guard, rule)): State<(Arc<Guard>, Rule)>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_v2 = request.uri().path().starts_with("/api/v2/");
    if let Some(host) = guard.hosts.refused(&request) {
        guard.counters.http_foreign_hosts.one();
        let text = format!("{host:?} is no name of this server: see [http] allowed_hosts");
        return refuse(StatusCode::FORBIDDEN, &text, is_v2);
    }
    let page = guard.origins.page_of(request.headers());
    let is_options = request.method() == Method::OPTIONS;
    let mut response = if is_options {
        StatusCode::OK.into_response()
    } else if page.is_foreign() && !is_reading(request.method()) {
        guard.counters.http_foreign_origins.one();
        let text = format!("a page of {} may change nothing here: see [http] allowed_origins", page.origin());
        refuse(StatusCode::FORBIDDEN, &text, is_v2)
    } else {
        // Taken out first: a request whose body is not read cannot be shared between threads.
        let asks = rule != Rule::Open && guard.auth.is_on();
        let credentials = if asks { credentials(&request) } else { None };
        match guard.caller(rule, credentials).await {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                next.run(request).await
            }
            Err((status, text)) => refuse(status, &text, is_v2),
        }
    };
    page.tell(is_options, response.headers_mut());
    response
}

/// Whether a request by this method changes nothing, whatever it asks for.
fn is_reading(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

impl Guard {
    /// One that asks nobody anything.
    #[cfg(test)]
    pub(super) fn open() -> Arc<Self> {
        Arc::new(Self {
            auth: Arc::new(Auth::off()),
            hosts: Hosts::any(),
            origins: Origins::new(vec!["*".to_owned()]),
            counters: Arc::default(),
        })
    }

    async fn caller(&self, rule: Rule, credentials: Option<Credentials>) -> Result<Caller, (StatusCode, String)> {
        if rule == Rule::Open || !self.auth.is_on() {
            // Whoever has no business with the caller's rights is not told them.
            let caller = if self.auth.is_on() { Caller::Nobody } else { Caller::Anybody };
            return Ok(caller);
        }
        let caller = self.auth.caller(credentials).await.map_err(|denied| match denied {
            Denied::Credentials(text) => (StatusCode::UNAUTHORIZED, text),
            Denied::Unchecked(e) if e.kind() == ErrorKind::Overloaded => {
                (StatusCode::SERVICE_UNAVAILABLE, e.message().to_owned())
            }
            Denied::Unchecked(e) => {
                tracing::error!("credentials cannot be checked: {e}");
                (StatusCode::INTERNAL_SERVER_ERROR, "credentials cannot be checked".to_owned())
            }
        })?;
        match forbidden(rule, &caller) {
            None => Ok(caller),
            Some(text) => {
                self.counters.auth_forbidden.one();
                Err((StatusCode::FORBIDDEN, text))
            }
        }
    }
}

/// What the head of a request shows.
fn credentials(request: &Request) -> Option<Credentials> {
    let authorization = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let params = Params::from_query(request.uri().query());
    Credentials::of_http(authorization, params.get("u"), params.get("p"))
}

/// The answer of a handler to who may not use it.
pub(super) fn refuse_by(rule: Rule, caller: &Caller) -> Option<Response> {
    forbidden(rule, caller).map(|text| refuse(StatusCode::FORBIDDEN, &text, false))
}

/// The answer of a handler to who may not do this with a database.
pub(super) fn refuse_unless(caller: &Caller, asked: Rights, database: &str) -> Option<Response> {
    if caller.may(asked, database) {
        return None;
    }
    let text = not_authorized(caller, &to_do(asked, database));
    Some(refuse(StatusCode::FORBIDDEN, &text, false))
}

/// Why a route is not the caller's.
fn forbidden(rule: Rule, caller: &Caller) -> Option<String> {
    let (is_his, what) = match rule {
        Rule::Open | Rule::Asks => return None,
        Rule::Known => (*caller != Caller::Nobody, "use this".to_owned()),
        Rule::Reads(database) => (caller.may(Rights::READ, database), to_do(Rights::READ, database)),
        Rule::Writes(database) => (caller.may(Rights::WRITE, database), to_do(Rights::WRITE, database)),
        Rule::Admin => (caller.is_admin(), "do this: it takes an administrator".to_owned()),
    };
    (!is_his).then(|| not_authorized(caller, &what))
}

fn to_do(asked: Rights, database: &str) -> String {
    let what = if asked.write { "write to" } else { "read from" };
    format!("{what} database {database:?}")
}

pub(super) fn not_authorized(caller: &Caller, what: &str) -> String {
    match caller {
        Caller::Nobody => NO_ADMIN.to_owned(),
        _ => format!("{:?} is not authorized to {what}", caller.name()),
    }
}

/// An answer instead of the handler's, in InfluxDB's shape.
pub(super) fn refuse(status: StatusCode, text: &str, is_v2: bool) -> Response {
    let body = match is_v2 {
        true => json!({ "code": v2_code(status), "message": text, "error": text }),
        false => json!({ "error": text }),
    };
    let kind = [(header::CONTENT_TYPE, "application/json")];
    let mut response = (status, kind, Body::from(format!("{body}\n"))).into_response();
    let headers = response.headers_mut();
    match status {
        StatusCode::UNAUTHORIZED => drop(headers.insert(header::WWW_AUTHENTICATE, CHALLENGE)),
        StatusCode::SERVICE_UNAVAILABLE => drop(headers.insert(header::RETRY_AFTER, RETRY_AFTER_S)),
        _ => {}
    }
    response
}

/// The `code` of an error of InfluxDB 2.
pub(super) fn v2_code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not found",
        StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => "conflict",
        StatusCode::PAYLOAD_TOO_LARGE => "request too large",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        StatusCode::NOT_IMPLEMENTED => "not implemented",
        status if status.is_server_error() => "internal error",
        _ => "invalid",
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let missing = || {
            tracing::error!("a route has no guard: {}", parts.uri.path());
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal error", false)
        };
        parts.extensions.get::<Caller>().cloned().ok_or_else(missing)
    }
}
