//! `/api/v1/tiers`: the coarser levels of retention policies.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rhythmite_model::{Aggregate, Aggregates, Error, Level, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::routes::{Routes, Rule};
use super::settings::{body_limit, nanoseconds, refusal, wanted};
use crate::catalog::Catalog;

const SECOND_NS: i64 = 1_000_000_000;

/// The routes.
pub fn router(catalog: Catalog) -> Routes {
    let methods = get(show).post(set).layer(body_limit());
    Routes::new().route("/api/v1/tiers", Rule::Admin, methods).with_state(catalog)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    database: String,
    /// Empty for the default one.
    #[serde(default)]
    policy: String,
    tiers: Vec<WantedTier>,
    /// Beside count, sum, min, max and last: `first`, `sketch`.
    #[serde(default)]
    keep: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedTier {
    step: String,
    /// `"0"` for ever.
    retention: String,
}

/// The policies that have coarser levels, Graphite's storage schemas among them.
async fn show(State(catalog): State<Catalog>) -> Response {
    let databases = catalog.databases();
    let policies = databases.policies().filter(|policy| policy.policy.has_tiers()).map(|policy| {
        let policy = &policy.policy;
        let level = |level: &Level| match level.step_ns {
            0 => json!({ "retention_s": level.retention_ns / SECOND_NS }),
            step => json!({ "step_s": step / SECOND_NS, "retention_s": level.retention_ns / SECOND_NS }),
        };
        let keep: Vec<_> = policy.aggregates.iter().map(Aggregate::name).collect();
        json!({
            "database": policy.database,
            "policy": policy.name,
            "raw": policy.levels.first().map(level),
            "tiers": policy.levels.iter().skip(1).map(level).collect::<Vec<_>>(),
            "keep": keep,
        })
    });
    Json(json!({ "policies": policies.collect::<Vec<Value>>() })).into_response()
}

async fn set(State(catalog): State<Catalog>, body: Bytes) -> Response {
    match put(&catalog, &body).await {
        Ok(()) => show(State(catalog)).await,
        Err(e) => refusal(&e),
    }
}

async fn put(catalog: &Catalog, body: &[u8]) -> Result<()> {
    let wanted: Wanted = wanted(body)?;
    let mut aggregates = Aggregates::USUAL;
    for name in &wanted.keep {
        let usual = Aggregates::USUAL.iter().any(|aggregate| aggregate.name() == name);
        aggregates = match name.as_str() {
            "first" => aggregates.with(Aggregate::First),
            "sketch" => aggregates.with(Aggregate::Sketch),
            _ if usual => aggregates,
            _ => {
                let known = "count, sum, min, max, first, last, sketch";
                return Err(Error::invalid(format!("keep: {name:?} is none of {known}")));
            }
        };
    }
    let tiers = wanted.tiers.iter().map(|tier| {
        let (step_ns, retention_ns) = (nanoseconds("step", &tier.step)?, nanoseconds("retention", &tier.retention)?);
        Ok(Level { step_ns, retention_ns })
    });
    let tiers = tiers.collect::<Result<Vec<_>>>()?;
    catalog.set_tiers(&wanted.database, &wanted.policy, tiers, aggregates).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use rhythmite_model::ErrorKind;
    use tower::ServiceExt;

    use super::*;
    use crate::api::guard::Guard;
    use crate::catalog::NewPolicy;

    #[tokio::test]
    async fn a_policy_has_tiers_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("c")).unwrap();
        catalog.create_database("d", NewPolicy::raw("p", 86_400 * SECOND_NS)).await.unwrap();
        let guard: Arc<Guard> = Guard::open();
        let minute = r#"{"step":"1m","retention":"90d"}"#;
        let hour = r#"{"step":"1h","retention":"0"}"#;
        for (tiers, keep, status, expected) in [
            (
                format!("[{minute},{hour}]"),
                "",
                200,
                r#"[{"retention_s":7776000,"step_s":60},{"retention_s":0,"step_s":3600}]"#,
            ),
            (format!("[{minute}]"), r#""first""#, 200, r#""keep":["count","sum","min","max","first","last"]"#),
            (format!("[{minute}]"), r#""sketch""#, 200, r#""keep":["count","sum","min","max","last","sketch"]"#),
            (format!("[{hour}]"), "", 400, "there with a step of 60s"),
            (format!("[{minute},{minute}]"), "", 400, "each longer"),
            (r#"[{"step":"1m","retention":"1h"}]"#.to_owned(), "", 400, "less time"),
            (r#"[{"step":"long","retention":"1h"}]"#.to_owned(), "", 400, "step: "),
            (format!("[{minute}]"), r#""median""#, 400, "is none of"),
            ("[]".to_owned(), "", 200, r#"{"policies":[]}"#),
        ] {
            let body = format!(r#"{{"database":"d","tiers":{tiers},"keep":[{keep}]}}"#);
            let request = Request::post("/api/v1/tiers").body(Body::from(body)).unwrap();
            let response = router(catalog.clone()).guarded(&guard).oneshot(request).await.unwrap();
            let found = response.status().as_u16();
            let text = to_bytes(response.into_body(), 10_000).await.unwrap();
            let text = String::from_utf8_lossy(&text);
            assert!(found == status && text.contains(expected), "{tiers}: {found} {text}");
        }
        // What InfluxQL says of a policy has nothing to do with its tiers.
        let tiers = vec![Level { step_ns: 60 * SECOND_NS, retention_ns: 0 }];
        catalog.set_tiers("d", "p", tiers, Aggregates::USUAL).await.unwrap();
        catalog.create_policy("d", NewPolicy::raw("p", 86_400 * SECOND_NS)).await.unwrap();
        assert_eq!(
            catalog.set_tiers("x", "", Vec::new(), Aggregates::USUAL).await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
}
