//! graphite-web's HTTP interface: `/render`, `/metrics/*`, `/tags/*`, `/functions`, `/events`, `/dashboard`, short links,
//! `/version`.
//!
//! A handler reads the parameters ([`params`]), works on the CPU pool ([`Graphite::on_cpu`]), and answers in the format
//! asked for; `rhythmite_graphite` knows the parameters and the formats. Every route is there with and
//! without a slash at its end.
//!
//! Bare `/metrics` is not one of these routes: with a `query` parameter it is Graphite's find ([`find`]), without one
//! something else's.
//!
//! Status: 400 for a malformed request, which names the place; 404 for an unknown function; 405; 408 for a form that
//! pauses, 413 for a long one; 503 when the request took too long, the store is behind or too many bodies are held.

mod carbonapi;
mod dashboard;
mod delete;
mod events;
mod functions;
mod links;
mod metrics;
mod params;
mod pieces;
mod render;
mod reply;
mod tags;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::routing::{MethodRouter, any, get, post};
use jiff::tz::TimeZone;
use rhythmite_engine::Engine;
use rhythmite_env::{Clock, CpuPool};
use rhythmite_model::{ErrorKind, Result};

use crate::api::body::Bodies;
use crate::api::routes::{Routes, Rule};
use crate::catalog::{Catalog, GRAPHITE};
use crate::counters::Counters;
use crate::ingest::PathIngest;
use crate::query::graphite::{Limits, Patience};

pub use metrics::find;

/// Bytes of a request's form.
const FORM_BYTES_MAX: usize = 8 << 20;
/// What `/version` says: clients choose their features by it.
const VERSION: &str = "1.1.10\n";

/// What the handlers need.
pub struct Graphite {
    /// Names and points.
    pub engine: Engine,
    /// Makes series for `/tags/tagSeries`.
    pub ingest: Arc<PathIngest>,
    /// Events, dashboards, short links.
    pub catalog: Catalog,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Where requests are worked on.
    pub cpu: Arc<CpuPool>,
    /// What counts as now without a `now` parameter, and for deadlines.
    pub clock: Arc<dyn Clock>,
    /// The zone of times without a `tz` parameter.
    pub zone: TimeZone,
    /// What one request may take.
    pub limits: Limits,
    /// What all forms draw on.
    pub bodies: Arc<Bodies>,
}

impl Graphite {
    /// Runs `work` on the CPU pool. When the future is dropped (the client has gone), `work` is not begun, or told so at
    /// its next look at its [`Patience`]. Time spent waiting for a thread counts.
    async fn on_cpu<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Graphite, Patience) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let gone = Arc::new(AtomicBool::new(false));
        let _tell = TellOnDrop(gone.clone());
        let patience = Patience::new(self.clock.clone(), self.limits.timeout, gone);
        let state = self.clone();
        let done = self.cpu.run(move || work(&state, patience)).await?;
        if done.as_ref().is_err_and(|e| e.kind() == ErrorKind::Invalid) {
            self.counters.graphite_refused.one();
        }
        done
    }
}

struct TellOnDrop(Arc<AtomicBool>);

impl Drop for TellOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// All routes but bare `/metrics`.
pub fn router(state: Arc<Graphite>) -> Routes {
    use Rule::{Asks, Known, Open, Reads, Writes};
    type Methods = MethodRouter<Arc<Graphite>>;
    let (reads, writes) = (Reads(GRAPHITE), Writes(GRAPHITE));
    let routes: [(&str, Rule, Methods); 35] = [
        ("/render", reads, get(render::render).post(render::render)),
        ("/metrics/find", reads, get(metrics::find).post(metrics::find)),
        ("/metrics/expand", reads, get(metrics::expand).post(metrics::expand)),
        ("/metrics/index.json", reads, get(metrics::index).post(metrics::index)),
        ("/metrics/get-metadata", reads, get(metrics::get_metadata)),
        ("/metrics/set-metadata", writes, get(metrics::set_metadata).post(metrics::set_metadata)),
        ("/tags", reads, get(tags::list)),
        ("/tags/{tag}", reads, get(tags::values)),
        ("/tags/findSeries", reads, get(tags::find_series).post(tags::find_series)),
        ("/tags/tagSeries", writes, post(tags::tag_series)),
        ("/tags/tagMultiSeries", writes, post(tags::tag_multi_series)),
        ("/tags/delSeries", writes, post(tags::delete_series)),
        ("/tags/autoComplete/tags", reads, get(tags::complete_tags).post(tags::complete_tags)),
        ("/tags/autoComplete/values", reads, get(tags::complete_values).post(tags::complete_values)),
        ("/api/v1/delete", writes, post(delete::delete)),
        ("/functions", Known, get(functions::list)),
        ("/functions/{name}", Known, get(functions::details)),
        ("/events", Asks, get(events::root).post(events::root)),
        ("/events/get_data", reads, get(events::list).post(events::list)),
        ("/events/{id}", Asks, get(events::one).delete(events::one)),
        ("/dashboard/find", reads, get(dashboard::find).post(dashboard::find)),
        ("/dashboard/find_template", reads, get(dashboard::find_template).post(dashboard::find_template)),
        ("/dashboard/save/{name}", writes, post(dashboard::save)),
        ("/dashboard/save_template/{name}/{key}", writes, post(dashboard::save_template)),
        ("/dashboard/create-temporary", writes, post(dashboard::save_temporary)),
        ("/dashboard/load/{name}", reads, get(dashboard::load).post(dashboard::load)),
        ("/dashboard/load/{name}/{value}", reads, get(dashboard::load_template).post(dashboard::load_template)),
        (
            "/dashboard/load_template/{name}/{value}",
            reads,
            get(dashboard::load_template).post(dashboard::load_template),
        ),
        ("/dashboard/delete/{name}", writes, any(dashboard::delete)),
        ("/dashboard/delete_template/{name}", writes, any(dashboard::delete_template)),
        ("/s", reads, get(links::shorten)),
        ("/s/{*path}", reads, get(links::shorten)),
        ("/S/{link}", Known, get(links::follow)),
        ("/_internal/capabilities", Known, get(carbonapi::capabilities).post(carbonapi::capabilities)),
        ("/version", Open, any(|| async { VERSION })),
    ];
    let both = |all: Routes<_>, (path, rule, methods): (&str, Rule, Methods)| {
        let all = all.route(path, rule, methods.clone());
        // What takes the rest of a path takes a slash at its end as well.
        if path.ends_with("*path}") { all } else { all.route(format!("{path}/"), rule, methods) }
    };
    routes.into_iter().fold(Routes::new(), both).with_state(state)
}
