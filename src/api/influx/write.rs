//! `/write`, `/api/v2/write`, `/api/v3/write_lp`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use rhythmite_engine::Durability;
use rhythmite_influx::line_protocol::{Precision, texts};
use rhythmite_model::{Error, Policy};
use serde_json::json;

use super::InfluxApi;
use super::reply::{Refused, no_content};
use crate::api::body::{BodyMax, Received, receive};
use crate::api::query_string::Params;
use crate::auth::Caller;
use crate::catalog::{NewPolicy, Rights};
use crate::ingest::influx::{LineWrite, Outcome, Refusal, Refusals, TimeUnit};

/// Where and how the lines of a request are to be written.
struct Plan {
    policy: Policy,
    unit: TimeUnit,
    accept_partial: bool,
    durability: Durability,
}

/// `POST /write`.
pub(super) async fn v1(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let params = Params::from_query(query.as_deref());
    answer(write_v1(&api, &caller, &params, &headers, body).await)
}

async fn write_v1(
    api: &Arc<InfluxApi>,
    caller: &Caller,
    params: &Params,
    headers: &HeaderMap,
    body: Body,
) -> Result<Refusals, Refused> {
    let policy = find_policy(api, caller, params.get("db"), params.get("rp"))?;
    let precision = params.get("precision");
    let precision =
        Precision::from_param(precision).ok_or_else(|| Refused::bad(texts::invalid_precision(precision)))?;
    if !matches!(params.get("consistency").to_ascii_lowercase().as_str(), "" | "any" | "one" | "quorum" | "all") {
        return Err(Refused::bad("invalid consistency level"));
    }
    let unit = TimeUnit::Fixed(precision);
    let plan = Plan { policy, unit, accept_partial: true, durability: api.durability };
    run(api, plan, receive(&api.bodies, headers, body, body_max(api)).await?).await
}

/// `POST /api/v2/write`. A refusal has the members that clients of 1.x and of 2.x look for.
pub(super) async fn v2(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let params = Params::from_query(query.as_deref());
    let outcome = write_v2(&api, &caller, &params, &headers, body).await;
    let refused = match outcome.map(|refusals| refusals.error_text()) {
        Ok(None) => return no_content(),
        Ok(Some(text)) => Refused::bad(text),
        Err(refused) => refused,
    };
    refused.of_v2()
}

async fn write_v2(
    api: &Arc<InfluxApi>,
    caller: &Caller,
    params: &Params,
    headers: &HeaderMap,
    body: Body,
) -> Result<Refusals, Refused> {
    let precision = match params.get("precision") {
        "" | "n" | "ns" => Precision::Nanosecond,
        "u" | "us" => Precision::Microsecond,
        "ms" => Precision::Millisecond,
        "s" => Precision::Second,
        other => return Err(Refused::bad(format!("invalid precision {other:?} (use ns, us, ms or s)"))),
    };
    let (database, policy) = bucket_names(params.get("bucket"))?;
    let policy = find_policy(api, caller, database, policy)?;
    let unit = TimeUnit::Fixed(precision);
    let plan = Plan { policy, unit, accept_partial: true, durability: api.durability };
    run(api, plan, receive(&api.bodies, headers, body, body_max(api)).await?).await
}

/// Database and policy of a bucket; the policy is empty for the default one.
pub(super) fn bucket_names(bucket: &str) -> Result<(&str, &str), Refused> {
    let (database, policy) = bucket.split_once('/').unwrap_or((bucket, ""));
    if !database.is_empty() {
        return Ok((database, policy));
    }
    let text = match bucket {
        "" => "bucket name \"\" is missing a slash; not in \"database/retention-policy\" format".to_owned(),
        _ => format!("bucket name {bucket:?} is in db/rp form but has an empty database"),
    };
    Err(Refused::new(StatusCode::NOT_FOUND, text))
}

/// `POST /api/v3/write_lp`. Refused lines are listed one by one.
pub(super) async fn v3(
    State(api): State<Arc<InfluxApi>>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let params = Params::from_query(query.as_deref());
    let accept_partial = params.get("accept_partial") != "false";
    let refusals = match write_v3(&api, &caller, &params, accept_partial, &headers, body).await {
        Ok(refusals) if refusals.is_empty() => return no_content(),
        Ok(refusals) => refusals,
        Err(refused) => return refused.into_response(),
    };
    let text = match accept_partial {
        true => "partial write of line protocol occurred",
        false => "parsing failed for write_lp endpoint",
    };
    let line = |line: &&Refusal| json!({ "original_line": line.line, "line_number": line.line_number, "error_message": line.reason });
    let lines: Vec<_> = refusals.lines().iter().map(line).collect();
    // A batch that is refused as a whole names the first line.
    let data = if accept_partial { json!(lines) } else { json!(lines.first()) };
    let body = json!({ "error": text, "data": data });
    Refused::bad(text).with_body("application/json", body.to_string().into_bytes())
}

async fn write_v3(
    api: &Arc<InfluxApi>,
    caller: &Caller,
    params: &Params,
    accept_partial: bool,
    headers: &HeaderMap,
    body: Body,
) -> Result<Refusals, Refused> {
    let unit = match params.get("precision") {
        "" | "auto" => TimeUnit::Auto,
        "ns" | "n" | "nanosecond" => TimeUnit::Fixed(Precision::Nanosecond),
        "us" | "u" | "microsecond" => TimeUnit::Fixed(Precision::Microsecond),
        "ms" | "millisecond" => TimeUnit::Fixed(Precision::Millisecond),
        "s" | "second" => TimeUnit::Fixed(Precision::Second),
        other => return Err(Refused::bad(format!("unknown precision {other:?}"))),
    };
    let database = params.get("db");
    may_write(api, caller, database)?;
    let may_make = caller.rights_everywhere().write;
    if may_make && !database.is_empty() && api.catalog.databases().get(database).is_none() {
        // As 3.x does. Whoever comes second finds it.
        api.catalog.create_database(database, NewPolicy::autogen()).await?;
    }
    let policy = find_policy(api, caller, database, "")?;
    let durability = if params.get("no_sync") == "true" { Durability::Interval } else { api.durability };
    let plan = Plan { policy, unit, accept_partial, durability };
    run(api, plan, receive(&api.bodies, headers, body, body_max(api)).await?).await
}

/// Stores lines that were made of another protocol, and waits until they are; all the good ones.
///
/// # Errors
/// As of a write: what was refused is named, and the others are stored.
pub(in crate::api) async fn store_lines(
    api: &Arc<InfluxApi>,
    caller: &Caller,
    database: &str,
    policy: &str,
    precision: Precision,
    lines: Vec<u8>,
) -> Result<(), Refused> {
    let policy = find_policy(api, caller, database, policy)?;
    let (busy, durability) = (api.clone(), api.durability);
    let written = tokio::task::spawn_blocking(move || {
        busy.writer.write(&LineWrite {
            body: &lines,
            policy: &policy,
            unit: TimeUnit::Fixed(precision),
            now_ns: busy.clock.now_ns(),
            accept_partial: true,
            durability,
            senders: None,
        })
    });
    let outcome = written.await.map_err(|error| Error::internal(format!("a write has panicked: {error}")))??;
    outcome.commit.await?;
    outcome.refusals.error_text().map_or(Ok(()), |text| Err(Refused::bad(text)))
}

fn body_max(api: &InfluxApi) -> BodyMax {
    BodyMax { sent: api.limits.body_bytes_max, unpacked: api.limits.unpacked_bytes_max }
}

/// Refuses a caller who may not write a database, there or not: whether it is there is not his business.
pub(in crate::api) fn may_write(api: &InfluxApi, caller: &Caller, database: &str) -> Result<(), Refused> {
    if database.is_empty() {
        return Err(Refused::bad(texts::DATABASE_REQUIRED));
    }
    if caller.may(Rights::WRITE, database) {
        return Ok(());
    }
    api.counters.auth_forbidden.one();
    let text = match caller {
        Caller::Nobody => format!("user is required to write to database {database:?}"),
        _ => format!("{:?} user is not authorized to write to database {database:?}", caller.name()),
    };
    Err(Refused::new(StatusCode::FORBIDDEN, text))
}

/// The policy that a write names.
fn find_policy(api: &InfluxApi, caller: &Caller, database: &str, policy: &str) -> Result<Policy, Refused> {
    may_write(api, caller, database)?;
    let databases = api.catalog.databases();
    let not_found = |text| Refused::new(StatusCode::NOT_FOUND, text);
    let found = databases.get(database).ok_or_else(|| not_found(texts::database_not_found(database)))?;
    // Graphite's schemas are no place for measurements.
    let found = found.policy(policy).filter(|policy| !policy.internal);
    Ok(found.ok_or_else(|| not_found(texts::retention_policy_not_found(policy)))?.policy.clone())
}

/// Writes a body and waits until it is stored.
async fn run(api: &Arc<InfluxApi>, plan: Plan, received: Received) -> Result<Refusals, Refused> {
    let busy = api.clone();
    // Unpacking and parsing take milliseconds; the io runtime goes on meanwhile. A client that leaves does not stop
    // the write.
    let written = tokio::task::spawn_blocking(move || write(&busy, &plan, received)).await;
    let outcome = written.map_err(|error| Error::internal(format!("a write has panicked: {error}")))??;
    outcome.commit.await?;
    Ok(outcome.refusals)
}

fn write(api: &InfluxApi, plan: &Plan, received: Received) -> Result<Outcome, Refused> {
    let body = received.unpack()?;
    let write = LineWrite {
        body: &body,
        policy: &plan.policy,
        unit: plan.unit,
        now_ns: api.clock.now_ns(),
        accept_partial: plan.accept_partial,
        durability: plan.durability,
        senders: None,
    };
    Ok(api.writer.write(&write)?)
}

fn answer(outcome: Result<Refusals, Refused>) -> Response {
    match outcome.map(|refusals| refusals.error_text()) {
        Ok(None) => no_content(),
        Ok(Some(text)) => Refused::bad(text).into_response(),
        Err(refused) => refused.into_response(),
    }
}
