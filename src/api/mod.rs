//! Every HTTP endpoint: one room for each interface, each giving a router.
//!
//! A handler parses, asks the query or ingest rooms and shapes the answer. Rooms give [`routes::Routes`], each with the
//! rule that says whose it is, and the [`guard`] before all of them holds to it. Rooms never listen: `server` does, and
//! adds what holds for all requests (connections, compression, panics, counting).

pub mod admin;
pub mod body;
pub mod collectd;
pub mod graphite;
pub mod guard;
mod health;
pub mod hosts;
pub mod influx;
mod ingest;
pub mod max_idle;
mod metrics;
pub mod origin;
mod prom;
mod query_string;
pub mod routes;
pub mod schema;
mod settings;
pub mod sql;
#[cfg(test)]
mod tests;
pub mod tiers;
mod vars;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use rhythmite_engine::Engine;

use crate::catalog::Catalog;
use crate::query::sql::Sql;
use crate::relay::Relay;
use crate::schema::Job;
use crate::selfstat::Figures;
use guard::Guard;
use routes::Routes;

/// The rooms, ready to answer. A further one is a field here and a line in [`router`].
pub struct Rooms {
    /// `/ready`, `/health`, `/metrics`.
    pub own: Arc<Own>,
    /// InfluxDB's.
    pub influx: Arc<influx::InfluxApi>,
    /// graphite-web's.
    pub graphite: Arc<graphite::Graphite>,
    /// collectd's `write_http`.
    pub collectd: Arc<collectd::Collectd>,
    /// The relay, if there is one.
    pub relay: Option<Arc<Relay>>,
    /// SQL.
    pub sql: Sql,
    /// For what operators ask of the store.
    pub engine: Engine,
    /// For what they set of databases.
    pub catalog: Catalog,
    /// Changed storage schemas, for the series that are there.
    pub schema: Job,
    /// What stands before them.
    pub guard: Arc<Guard>,
}

/// What the server says about itself.
pub struct Own {
    figures: Figures,
    ready: AtomicBool,
}

impl Own {
    /// Not ready yet.
    pub fn new(figures: Figures) -> Self {
        Self { figures, ready: AtomicBool::new(false) }
    }

    /// Whether `/ready` says yes: set when all listeners are open, cleared when the server is about to stop.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }
}

/// What is answered while the engine opens: 503 with the reason, whatever is asked.
pub fn starting() -> Router {
    Router::new().route("/health", axum::routing::get(health::starting)).fallback(health::not_yet)
}

/// All routes, guarded; what is none of them is answered as InfluxDB does.
pub fn router(rooms: Rooms) -> Router {
    let guard = rooms.guard.clone();
    routes(rooms).guarded(&guard).fallback(influx::not_found)
}

fn routes(rooms: Rooms) -> Routes {
    let bodies = rooms.influx.bodies().clone();
    Routes::new()
        .merge(health::router(rooms.own.clone()))
        .merge(ingest::router(rooms.own.clone(), rooms.relay))
        .merge(vars::router(rooms.own.clone(), rooms.influx.clone()))
        .merge(metrics::router(rooms.own, rooms.graphite.clone()))
        .merge(prom::router(rooms.influx.clone()))
        .merge(influx::router(rooms.influx))
        .merge(graphite::router(rooms.graphite))
        .merge(collectd::router(rooms.collectd))
        .merge(sql::router(rooms.sql, bodies))
        .merge(admin::router(rooms.engine))
        .merge(max_idle::router(rooms.catalog.clone()))
        .merge(tiers::router(rooms.catalog))
        .merge(schema::router(rooms.schema))
}
