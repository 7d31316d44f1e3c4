//! `/api/v3/configure/...`: databases, retention and tokens as clients of InfluxDB 3 manage them.
//!
//! Databases are changed by statements of InfluxQL ([`carry_out`]), with their rights. Tokens are an administrator's; the
//! first one with all rights may be made by [nobody](Caller::Nobody).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use rhythmite_influx::answer::Cell;
use rhythmite_influx::influxql;
use rhythmite_model::ErrorKind;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::InfluxApi;
use super::carry_out::{Series, carry_out, ident};
use super::reply::Refused;
use super::rows;
use crate::api::body::{BodyMax, receive};
use crate::api::guard::not_authorized;
use crate::api::query_string::Params;
use crate::api::sql::Format;
use crate::auth::{Caller, tokens};
use crate::catalog::{NewToken, Rights, Token};

/// Bytes of a body.
const BODY_BYTES_MAX: usize = 64 << 10;
/// What InfluxDB 3 calls the first token.
const FIRST: &str = "_admin";

#[derive(Deserialize)]
struct AskedDatabase {
    db: String,
    #[serde(default)]
    retention_period: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AskedToken {
    #[serde(alias = "name")]
    token_name: String,
    expiry_secs: Option<i64>,
    permissions: Vec<Permission>,
}

#[derive(Deserialize)]
struct Permission {
    resource_type: String,
    #[serde(alias = "resource_names")]
    resource_identifier: Vec<String>,
    actions: Vec<String>,
}

async fn read<T: DeserializeOwned>(api: &Arc<InfluxApi>, headers: &HeaderMap, body: Body) -> Result<T, Refused> {
    let body = receive(&api.bodies, headers, body, BodyMax::both(BODY_BYTES_MAX)).await?.unpack()?;
    serde_json::from_slice(&body).map_err(|e| Refused::bad(format!("serde json error: {e}")))
}

fn answer(outcome: Result<Response, Refused>) -> Response {
    outcome.unwrap_or_else(IntoResponse::into_response)
}

async fn change(api: &Arc<InfluxApi>, caller: &Caller, statement: &str) -> Result<Response, Refused> {
    carry_out(api, caller, "", statement, &influxql::Params::default()).await?;
    Ok(StatusCode::OK.into_response())
}

/// A retention as InfluxQL writes it; for ever without one.
fn duration(text: Option<&str>) -> Result<String, Refused> {
    let text: String = text.unwrap_or("INF").split_whitespace().collect();
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let bad = || Refused::bad("invalid retention_period: write for example \"30d\" (s m h d w)");
    if text.eq_ignore_ascii_case("none") { Ok("INF".to_owned()) } else { plain.then_some(text).ok_or_else(bad) }
}

/// `GET /api/v3/configure/database`: `format`.
pub(super) async fn databases(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Response {
    let outcome = async {
        let params = Params::from_query(query.as_deref());
        let format = match params.get("format") {
            "" => Format::Json,
            name => Format::named(name)?,
        };
        let found = carry_out(&api, &caller, "", "SHOW DATABASES", &influxql::Params::default()).await?;
        let names = found.into_iter().flat_map(|series| series.rows).collect();
        // Named so by InfluxDB 3; `iox::measurement` has no meaning here.
        let table = Series { columns: vec!["iox::database".to_owned()], rows: names, ..Series::default() };
        if format == Format::Json {
            let name = |row: &Vec<Cell<'static>>| match row.first() {
                Some(Cell::String(name)) => json!({ "iox::database": name }),
                _ => json!({}),
            };
            return Ok(Json(Value::Array(table.rows.iter().map(name).collect())).into_response());
        }
        rows::table(vec![table], format).await
    };
    answer(outcome.await)
}

/// `POST /api/v3/configure/database`: `db retention_period`.
pub(super) async fn create_database(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = async {
        let asked: AskedDatabase = read(&api, &headers, body).await?;
        let duration = duration(asked.retention_period.as_deref())?;
        if caller.is_admin() && api.catalog.databases().get(&asked.db).is_some() {
            let text = format!("attempted to create a resource that already exists: {}", asked.db);
            return Err(Refused::new(StatusCode::CONFLICT, text));
        }
        change(&api, &caller, &format!("CREATE DATABASE {} WITH DURATION {duration} REPLICATION 1", ident(&asked.db)))
            .await
    };
    answer(outcome.await)
}

/// `PUT /api/v3/configure/database`: another `retention_period` for the default policy of `db`.
pub(super) async fn change_database(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = async {
        let asked: AskedDatabase = read(&api, &headers, body).await?;
        let duration = duration(asked.retention_period.as_deref())?;
        set_retention(&api, &caller, &asked.db, &duration).await
    };
    answer(outcome.await)
}

/// `DELETE /api/v3/configure/database/retention_period`: `db`.
pub(super) async fn keep_for_ever(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Response {
    let params = Params::from_query(query.as_deref());
    answer(set_retention(&api, &caller, params.get("db"), "INF").await)
}

async fn set_retention(
    api: &Arc<InfluxApi>,
    caller: &Caller,
    database: &str,
    duration: &str,
) -> Result<Response, Refused> {
    let policy = api.catalog.databases().get(database).and_then(|d| d.default_policy().map(|p| p.policy.name.clone()));
    let policy = policy.unwrap_or_else(|| "autogen".to_owned());
    let (policy, database) = (ident(&policy), ident(database));
    change(api, caller, &format!("ALTER RETENTION POLICY {policy} ON {database} DURATION {duration}")).await
}

/// `DELETE /api/v3/configure/database`: `db`.
pub(super) async fn drop_database(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Response {
    let params = Params::from_query(query.as_deref());
    let database = params.get("db");
    // DROP DATABASE is content with what is not there.
    if caller.is_admin() && api.catalog.databases().get(database).is_none() {
        return Refused::new(StatusCode::NOT_FOUND, format!("database not found: {database}")).into_response();
    }
    answer(change(&api, &caller, &format!("DROP DATABASE {}", ident(database))).await)
}

fn admin(caller: &Caller) -> Result<(), Refused> {
    let refused =
        || Refused::new(StatusCode::FORBIDDEN, not_authorized(caller, "manage tokens: it takes an administrator"));
    caller.is_admin().then_some(()).ok_or_else(refused)
}

/// `GET /api/v3/configure/token`: all of them, without the tokens themselves.
pub(super) async fn list_tokens(State(api): State<Arc<InfluxApi>>, caller: Caller) -> Response {
    let shown = |token: &Arc<Token>| {
        json!({
            "id": token.id,
            "name": token.name,
            "admin": token.is_admin,
            "permissions": permissions(token),
            "created_at": stamp(token.created_at_s),
            "expiry": token.expires_at_s.map(stamp),
        })
    };
    answer(admin(&caller).map(|()| {
        let accounts = api.catalog.accounts();
        Json(Value::Array(accounts.tokens().into_iter().map(shown).collect())).into_response()
    }))
}

/// `POST /api/v3/configure/token/admin`: the first token with all rights.
pub(super) async fn create_first_token(State(api): State<Arc<InfluxApi>>, caller: Caller) -> Response {
    let allowed = if caller == Caller::Nobody { Ok(()) } else { admin(&caller) };
    let outcome = async {
        allowed?;
        let only_first = caller == Caller::Nobody;
        create(&api, NewToken { is_admin: true, only_first, ..NewToken::named(FIRST) }, None).await
    };
    answer(outcome.await)
}

/// `POST /api/v3/configure/token/named_admin`: `token_name expiry_secs`.
pub(super) async fn create_admin_token(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = async {
        admin(&caller)?;
        let asked: AskedToken = read(&api, &headers, body).await?;
        create(&api, NewToken { is_admin: true, ..NewToken::named(&asked.token_name) }, asked.expiry_secs).await
    };
    answer(outcome.await)
}

/// `POST /api/v3/configure/token`: `token_name expiry_secs permissions`, each `resource_type` `db`,
/// `resource_identifier` names or `*`, `actions` `read` and `write`.
pub(super) async fn create_token(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = async {
        admin(&caller)?;
        let asked: AskedToken = read(&api, &headers, body).await?;
        let (everywhere, grants) = granted(&asked.permissions)?;
        create(&api, NewToken { everywhere, grants, ..NewToken::named(&asked.token_name) }, asked.expiry_secs).await
    };
    answer(outcome.await)
}

/// `DELETE /api/v3/configure/token`: `token_name`.
pub(super) async fn revoke_token(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Response {
    let params = Params::from_query(query.as_deref());
    let outcome = async {
        admin(&caller)?;
        api.catalog.revoke_token(params.get("token_name")).await?;
        Ok(StatusCode::OK.into_response())
    };
    answer(outcome.await)
}

fn granted(permissions: &[Permission]) -> Result<(Rights, BTreeMap<String, Rights>), Refused> {
    let (mut everywhere, mut grants) = (Rights::default(), BTreeMap::<String, Rights>::new());
    for permission in permissions {
        if permission.resource_type != "db" {
            return Err(Refused::bad(format!(
                "resource_type {:?} is not known: there is db",
                permission.resource_type
            )));
        }
        let mut rights = Rights::default();
        for action in &permission.actions {
            rights = rights.or(match action.as_str() {
                "read" => Rights::READ,
                "write" => Rights::WRITE,
                other => return Err(Refused::bad(format!("action {other:?} is not known: there are read and write"))),
            });
        }
        for name in &permission.resource_identifier {
            let held = if name == "*" { &mut everywhere } else { grants.entry(name.clone()).or_default() };
            *held = held.or(rights);
        }
    }
    Ok((everywhere, grants))
}

fn permissions(token: &Token) -> Vec<Value> {
    let one = |name: &str, rights: Rights| {
        let actions: Vec<_> = [("read", rights.read), ("write", rights.write)].into_iter().filter(|a| a.1).collect();
        let actions: Vec<_> = actions.into_iter().map(|a| a.0).collect();
        json!({ "resource_type": "db", "resource_identifier": [name], "actions": actions })
    };
    let everywhere = (token.everywhere != Rights::default()).then(|| one("*", token.everywhere));
    everywhere.into_iter().chain(token.grants.iter().map(|(name, rights)| one(name, *rights))).collect()
}

async fn create(api: &Arc<InfluxApi>, new: NewToken, expiry_s: Option<i64>) -> Result<Response, Refused> {
    let (secret, name) = (tokens::generate(&*api.random), new.name.clone());
    let now_s = api.clock.now_s();
    if expiry_s.is_some_and(|s| s <= 0) {
        return Err(Refused::bad("expiry_secs must be above 0"));
    }
    let expires_at_s = expiry_s.map(|s| now_s.saturating_add(s));
    let digest = tokens::digest(&secret);
    let made = api.catalog.create_token(NewToken { digest, created_at_s: now_s, expires_at_s, ..new }).await;
    made.map_err(|e| match e.kind() {
        ErrorKind::Invalid => Refused::new(StatusCode::CONFLICT, e.message()),
        _ => Refused::from(e),
    })?;
    let body = json!({
        "name": name,
        "token": secret,
        "created_at": stamp(now_s),
        "expiry": expires_at_s.map(stamp),
    });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Seconds since 1970 as RFC 3339.
fn stamp(at_s: i64) -> String {
    jiff::Timestamp::from_second(at_s).map_or_else(|_| at_s.to_string(), |stamp| stamp.to_string())
}
