//! `/debug/vars`: the figures of `/metrics` as Go's expvar has them, for collectors of InfluxDB 1.x; `/status`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::{Map, Value, json};

use super::Own;
use super::influx::InfluxApi;
use super::routes::{Routes, Rule};
use crate::auth::Caller;

type Both = (Arc<Own>, Arc<InfluxApi>);

pub(super) fn router(own: Arc<Own>, influx: Arc<InfluxApi>) -> Routes {
    Routes::new()
        .route("/debug/vars", Rule::Known, axum::routing::get(vars))
        .with_state((own, influx))
        .merge(Routes::new().route("/status", Rule::Open, any(|| async { StatusCode::NO_CONTENT })))
}

/// Each module is `{"name", "tags", "values"}`; databases are those that the caller sees.
async fn vars(State((own, influx)): State<Both>, caller: Caller) -> Response {
    let mut modules: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for sample in own.figures.samples() {
        let (module, value) = sample.path.split_once('.').unwrap_or(("server", sample.path));
        modules.entry(module.to_owned()).or_default().insert(value.to_owned(), sample.value.into());
    }
    let mut all = Map::new();
    all.insert("system".to_owned(), json!({ "currentTime": own_time(&influx), "version": env!("CARGO_PKG_VERSION") }));
    for (name, values) in modules {
        let module = json!({ "name": name, "tags": {}, "values": values });
        all.insert(name, module);
    }
    let names = influx.engine.registry().read();
    let databases = influx.catalog.databases();
    for database in databases.iter().filter(|database| caller.sees(&database.name)) {
        let tables = names.all_tables().filter(|table| database.policies.iter().any(|p| p.policy.id == table.policy()));
        let (measurements, series) = tables.fold((0, 0), |(n, series), table| (n + 1, series + table.series_count()));
        let values = json!({ "numMeasurements": measurements, "numSeries": series });
        let module = json!({ "name": "database", "tags": { "database": database.name }, "values": values });
        all.insert(format!("database:{}", database.name), module);
    }
    drop(names);
    Json(Value::Object(all)).into_response()
}

fn own_time(influx: &InfluxApi) -> String {
    jiff::Timestamp::from_nanosecond(influx.clock.now_ns().into()).map_or_else(|_| String::new(), |at| at.to_string())
}
