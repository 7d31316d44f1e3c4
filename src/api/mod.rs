//! Every HTTP endpoint: one room for each interface, each giving a router.
//!
//! A handler parses, asks the query or ingest rooms and shapes the answer. Rooms never listen: `server` does, and adds
//! what holds for all requests (connections, compression, panics, counting).

pub mod admin;
pub mod body;
pub mod collectd;
pub mod graphite;
mod health;
pub mod influx;
mod metrics;
pub mod sql;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use rhythmite_engine::Engine;

use crate::query::sql::Sql;
use crate::selfstat::Figures;

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
    /// SQL.
    pub sql: Sql,
    /// For what operators ask of the store.
    pub engine: Engine,
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

/// All routes; what is none of them is answered as InfluxDB does.
pub fn router(rooms: Rooms) -> Router {
    let bodies = rooms.influx.bodies().clone();
    Router::new()
        .merge(health::router(rooms.own.clone()))
        .merge(metrics::router(rooms.own, rooms.graphite.clone()))
        .merge(influx::router(rooms.influx))
        .merge(graphite::router(rooms.graphite))
        .merge(collectd::router(rooms.collectd))
        .merge(sql::router(rooms.sql, bodies))
        .merge(admin::router(rooms.engine))
        .fallback(influx::not_found)
}
