//! `/api/v2/buckets`, `/api/v2/orgs`: databases and retention policies as clients of InfluxDB 2 see them.
//!
//! A bucket is a retention policy. The default one of a database is called as the database, others `database/policy`; both
//! forms are taken for all. Ids are made of the policy's number. There is one organization, whatever it is called.
//! Changes are statements of InfluxQL ([`carry_out`]), with their rights.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use rhythmite_influx::influxql;
use serde::Deserialize;
use serde_json::{Value, json};

use super::InfluxApi;
use super::carry_out::{carry_out, ident};
use super::reply::{Refused, no_content};
use super::write::bucket_names;
use crate::api::body::{BodyMax, receive};
use crate::api::query_string::Params;
use crate::auth::Caller;
use crate::catalog::{Database, RetentionPolicy};

/// Bytes of a body.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Buckets of one page, as in 2.x.
const PAGE: usize = 20;
const PAGE_MAX: usize = 100;
const SECOND_NS: i64 = 1_000_000_000;
/// The organization that every client is in.
const ORG_ID: &str = "0000000000000001";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Asked {
    name: Option<String>,
    rp: Option<String>,
    #[serde(rename = "retentionRules")]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    #[serde(rename = "everySeconds", default)]
    every_s: i64,
    #[serde(rename = "shardGroupDurationSeconds", default)]
    shard_s: i64,
}

impl Asked {
    async fn read(api: &Arc<InfluxApi>, headers: &HeaderMap, body: Body) -> Result<Self, Refused> {
        let body = receive(&api.bodies, headers, body, BodyMax::both(BODY_BYTES_MAX)).await?.unpack()?;
        serde_json::from_slice(&body).map_err(|e| Refused::bad(format!("error decoding json body: {e}")))
    }

    /// `DURATION x [...] [SHARD DURATION y]`, for ever without a rule; `None` if there are none.
    fn durations(&self, between: &str) -> Result<Option<String>, Refused> {
        let Some(rule) = self.rules.first() else { return Ok(None) };
        if rule.every_s < 0 || rule.shard_s < 0 || self.rules.len() > 1 {
            return Err(Refused::bad("retentionRules: one rule with everySeconds of 0 or more"));
        }
        let duration = if rule.every_s == 0 { "INF".to_owned() } else { format!("{}s", rule.every_s) };
        let shard = if rule.shard_s == 0 { String::new() } else { format!(" SHARD DURATION {}s", rule.shard_s) };
        Ok(Some(format!("DURATION {duration}{between}{shard}")))
    }
}

/// What a bucket is.
struct Bucket {
    database: String,
    policy: String,
    json: Value,
}

fn bucket(database: &Database, policy: &RetentionPolicy) -> Bucket {
    let is_default = database.default == Some(policy.policy.id);
    let name = if is_default { database.name.clone() } else { format!("{}/{}", database.name, policy.policy.name) };
    let retention_ns = policy.policy.levels.first().map_or(0, |level| level.retention_ns);
    let id = format!("{:016x}", policy.policy.id.0);
    let json = json!({
        "id": id,
        "orgID": ORG_ID,
        "type": "user",
        "name": name,
        "rp": policy.policy.name,
        "retentionRules": [{
            "type": "expire",
            "everySeconds": retention_ns / SECOND_NS,
            "shardGroupDurationSeconds": policy.shard_ns / SECOND_NS,
        }],
        "labels": [],
        "links": { "self": format!("/api/v2/buckets/{id}"), "write": format!("/api/v2/write?bucket={id}") },
    });
    Bucket { database: database.name.clone(), policy: policy.policy.name.clone(), json }
}

/// The buckets that the caller sees.
fn all(api: &InfluxApi, caller: &Caller) -> Vec<Bucket> {
    let databases = api.catalog.databases();
    let seen = databases.iter().filter(|database| caller.sees(&database.name));
    seen.flat_map(|d| d.policies.iter().filter(|p| !p.internal).map(|p| bucket(d, p)).collect::<Vec<_>>()).collect()
}

fn known(caller: &Caller) -> Result<(), Refused> {
    match caller {
        Caller::Nobody => Err(Refused::new(StatusCode::FORBIDDEN, crate::api::guard::NO_ADMIN)),
        _ => Ok(()),
    }
}

/// The one with this id, or of this name.
fn find(api: &InfluxApi, caller: &Caller, id: &str) -> Result<Bucket, Refused> {
    known(caller)?;
    let found = all(api, caller).into_iter().find(|bucket| bucket.json["id"] == id);
    found.ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "bucket not found"))
}

fn by_name<'a>(buckets: &'a [Bucket], name: &str) -> Option<&'a Bucket> {
    let is = |bucket: &&Bucket| bucket.json["name"] == name || format!("{}/{}", bucket.database, bucket.policy) == name;
    buckets.iter().find(is)
}

fn answer(outcome: Result<Response, Refused>) -> Response {
    outcome.unwrap_or_else(Refused::of_v2)
}

/// `GET /api/v2/buckets`: `name id offset limit after`.
pub(super) async fn list(State(api): State<Arc<InfluxApi>>, caller: Caller, RawQuery(query): RawQuery) -> Response {
    let params = Params::from_query(query.as_deref());
    answer(known(&caller).and_then(|()| {
        let buckets = all(&api, &caller);
        let (name, id) = (params.get("name"), params.get("id"));
        let shown: Vec<&Value> = if !name.is_empty() {
            by_name(&buckets, name).map(|bucket| &bucket.json).into_iter().collect()
        } else {
            let number = |key: &str, default: usize| match params.get(key) {
                "" => Ok(default),
                text => text.parse().map_err(|_| Refused::bad(format!("{key} is no number"))),
            };
            let (offset, limit) = (number("offset", 0)?, number("limit", PAGE)?.clamp(1, PAGE_MAX));
            let after = params.get("after");
            let from = buckets.iter().position(|b| b.json["id"] == after).map_or(0, |at| at + 1);
            let wanted = buckets[from..].iter().map(|b| &b.json).filter(|json| id.is_empty() || json["id"] == id);
            wanted.skip(offset).take(limit).collect()
        };
        let links = json!({ "self": "/api/v2/buckets" });
        Ok(Json(json!({ "links": links, "buckets": shown })).into_response())
    }))
}

/// `POST /api/v2/buckets`: `name retentionRules rp`. Makes the database too if there is none.
pub(super) async fn create(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(make(&api, &caller, &headers, body).await)
}

async fn make(api: &Arc<InfluxApi>, caller: &Caller, headers: &HeaderMap, body: Body) -> Result<Response, Refused> {
    known(caller)?;
    let asked = Asked::read(api, headers, body).await?;
    let (database, policy) =
        bucket_names(asked.name.as_deref().unwrap_or_default()).map_err(|refused| Refused::bad(refused.text))?;
    let policy = if policy.is_empty() { asked.rp.as_deref().unwrap_or("") } else { policy };
    let named = if policy.is_empty() { "autogen" } else { policy };
    let databases = api.catalog.databases();
    let statement = match databases.get(database) {
        Some(found) if policy.is_empty() || found.policies.iter().any(|p| p.policy.name == policy) => {
            // Whoever may not make it is not told that it is there.
            if !caller.is_admin() {
                return Err(Refused::new(StatusCode::FORBIDDEN, "making a bucket takes an administrator"));
            }
            let text = format!("bucket with name {} already exists", asked.name.unwrap_or_default());
            return Err(Refused::new(StatusCode::UNPROCESSABLE_ENTITY, text));
        }
        Some(_) => {
            let durations = asked.durations(" REPLICATION 1")?.unwrap_or("DURATION INF REPLICATION 1".to_owned());
            format!("CREATE RETENTION POLICY {} ON {} {durations}", ident(named), ident(database))
        }
        None => {
            let durations = asked.durations(" REPLICATION 1")?.unwrap_or("DURATION INF REPLICATION 1".to_owned());
            format!("CREATE DATABASE {} WITH {durations} NAME {}", ident(database), ident(named))
        }
    };
    carry_out(api, caller, "", &statement, &influxql::Params::default()).await?;
    let made = by_name(&all(api, caller), &format!("{database}/{named}")).map(|bucket| bucket.json.clone());
    let made = made.ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "bucket not found"))?;
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// `GET /api/v2/buckets/{id}`
pub(super) async fn get(State(api): State<Arc<InfluxApi>>, caller: Caller, Path(id): Path<String>) -> Response {
    answer(find(&api, &caller, &id).map(|bucket| Json(bucket.json).into_response()))
}

/// `PATCH /api/v2/buckets/{id}`: `retentionRules`. A bucket keeps its name.
pub(super) async fn change(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = async {
        let bucket = find(&api, &caller, &id)?;
        let asked = Asked::read(&api, &headers, body).await?;
        if asked.name.as_ref().is_some_and(|name| bucket.json["name"] != name.as_str()) {
            return Err(Refused::bad("a bucket cannot be given another name"));
        }
        if let Some(durations) = asked.durations("")? {
            let (policy, database) = (ident(&bucket.policy), ident(&bucket.database));
            let statement = format!("ALTER RETENTION POLICY {policy} ON {database} {durations}");
            carry_out(&api, &caller, "", &statement, &influxql::Params::default()).await?;
        }
        find(&api, &caller, &id).map(|bucket| Json(bucket.json).into_response())
    };
    answer(outcome.await)
}

/// `DELETE /api/v2/buckets/{id}`: the policy, or the database if that is its only one.
pub(super) async fn remove(State(api): State<Arc<InfluxApi>>, caller: Caller, Path(id): Path<String>) -> Response {
    let outcome = async {
        let bucket = find(&api, &caller, &id)?;
        // Stricter than DROP RETENTION POLICY, which takes the right to write: all points go.
        if !caller.is_admin() {
            return Err(Refused::new(StatusCode::FORBIDDEN, "removing a bucket takes an administrator"));
        }
        let only = api.catalog.databases().get(&bucket.database).is_none_or(|found| found.policies.len() == 1);
        let statement = match only {
            true => format!("DROP DATABASE {}", ident(&bucket.database)),
            false => format!("DROP RETENTION POLICY {} ON {}", ident(&bucket.policy), ident(&bucket.database)),
        };
        carry_out(&api, &caller, "", &statement, &influxql::Params::default()).await.map(|_| no_content())
    };
    answer(outcome.await)
}

/// `GET /api/v2/orgs`: the one there is, by the name asked for.
pub(super) async fn orgs(RawQuery(query): RawQuery) -> Response {
    let params = Params::from_query(query.as_deref());
    let name = Some(params.get("org")).filter(|name| !name.is_empty()).unwrap_or("rhythmite");
    let org = json!({ "id": ORG_ID, "name": name, "status": "active" });
    Json(json!({ "links": { "self": "/api/v2/orgs" }, "orgs": [org] })).into_response()
}

/// `POST /api/v2/query`: Flux, in the status of 1.x with Flux turned off.
pub(super) async fn flux() -> Response {
    let text = "Flux query service disabled: Flux is not supported; ask InfluxQL by /query or SQL by /api/v3/query_sql";
    Refused::new(StatusCode::FORBIDDEN, text).of_v2()
}
