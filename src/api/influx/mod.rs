//! InfluxDB's HTTP interface: writes of all three versions, and `/query` of the first.
//!
//! | route | |
//! | --- | --- |
//! | `GET`, `HEAD /ping` | 204 and the version in a header; 200 and JSON with `verbose` |
//! | `POST /write` | 1.x: `db rp precision consistency`; good lines are written beside bad ones |
//! | `POST /api/v2/write` | 1.8 and 2.x: `bucket` is `database` or `database/policy` |
//! | `POST /api/v3/write_lp` | 3.x: `db precision accept_partial no_sync`; makes the database, names each bad line |
//! | `GET`, `POST /query` | 1.x: InfluxQL, answers as JSON, CSV or MessagePack, whole or in chunks |
//! | `GET`, `POST /api/v3/query_influxql` | 3.x: InfluxQL, rows in five formats |
//! | `/api/v2/buckets`, `/api/v2/orgs`, `/api/v2/delete` | 2.x: databases and policies as buckets |
//! | `/api/v3/configure/...` | 3.x: databases, retention, tokens |
//!
//! Order of events for a write: parameters and target are checked before the body is read; the body is read within the
//! [limits](Limits), unpacked and turned into rows on a thread that may be busy; the answer waits for the commit. For a
//! query: parameters, then on such a thread the parser and the [`Executor`], whose answer is sent while it is made.
//!
//! Limits are [`Limits`]; a hit is an answer (413, 503 with `Retry-After`), and nothing was written then. An answer
//! takes a few buffers of memory, but for MessagePack, whose documents are whole.
//!
//! Who asks is checked before: a write needs the right to write its database, a query what each of its statements does
//! ([`authorize`]). A statement that changes something is refused when it comes by GET.

mod authorize;
mod buckets;
mod carry_out;
mod configure;
mod delete;
mod query;
mod reply;
mod rows;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;
use std::time::Duration;

use axum::middleware;
use axum::routing::{MethodRouter, get, post};
use rhythmite_engine::{Durability, Engine};
use rhythmite_env::{Clock, Random, SeededRandom};
use rhythmite_influx::answer::{Cell, Message, SeriesHead};
use rhythmite_influx::influxql::Query;
use tokio::sync::Semaphore;

use crate::api::body::Bodies;
use crate::api::routes::{Routes, Rule};
use crate::catalog::Catalog;
use crate::counters::Counters;
use crate::ingest::influx::InfluxWriter;
use crate::query::influxql::{Context, Request, ResultSink, execute, is_brief};

pub(super) use carry_out::{Series, carry_out, ident, string};
pub(super) use reply::Refused;
pub use reply::{INFLUXDB_VERSION, not_found};
pub(super) use write::{may_write, store_lines};

/// Who carries out statements.
pub trait Executor: Send + Sync {
    /// Executes statements one after the other on a thread that may block, see [`execute`].
    fn execute(&self, request: &Request, query: &Query, out: &mut dyn ResultSink);

    /// Executes a query on the io runtime if it is short; false if it is not, when nothing counts that `out` was given.
    fn execute_briefly(&self, _: &Request, _: &Query, _: &mut dyn ResultSink) -> bool {
        false
    }
}

impl Executor for Context {
    fn execute(&self, request: &Request, query: &Query, out: &mut dyn ResultSink) {
        execute(self, request, query, out);
    }

    fn execute_briefly(&self, request: &Request, query: &Query, out: &mut dyn ResultSink) -> bool {
        if !is_brief(query) {
            return false;
        }
        let mut out = Briefly { out, failed: false };
        execute(self, &Request { briefly: true, ..request.clone() }, query, &mut out);
        !out.failed
    }
}

/// Passes on what is given, and whether all of it was.
struct Briefly<'o> {
    out: &'o mut dyn ResultSink,
    failed: bool,
}

impl ResultSink for Briefly<'_> {
    fn begin_statement(&mut self, statement_id: u32, whole: bool) {
        self.out.begin_statement(statement_id, whole);
    }

    fn begin_series(&mut self, head: &SeriesHead<'_>) {
        self.out.begin_series(head);
    }

    fn row(&mut self, cells: &[Cell<'_>]) {
        self.out.row(cells);
    }

    fn end_series(&mut self, partial: bool) {
        self.out.end_series(partial);
    }

    fn message(&mut self, message: Message) {
        self.out.message(message);
    }

    fn error(&mut self, _: &str) {
        // Whatever it is, the next who executes the query will say it.
        self.failed = true;
    }

    fn end_statement(&mut self) {
        self.out.end_statement();
    }
}

/// What requests may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body as sent; more is 413.
    pub body_bytes_max: usize,
    /// Bytes of a compressed body of lines when it is unpacked; more is 413.
    pub unpacked_bytes_max: usize,
    /// Bytes of a body of `/query`, unpacked or not; more is 413.
    pub query_bytes_max: usize,
    /// Bytes of all bodies that are held at a time, of other interfaces too; beyond it a request gets 503.
    pub bodies_bytes_max: usize,
    /// How long a body may pause before the request is given up with 408.
    pub body_pause: Duration,
    /// Queries that run at a time.
    pub queries_max: usize,
    /// How long a query waits for its turn before it gets 503.
    pub query_wait: Duration,
    /// How long a query runs.
    pub query_timeout: Option<Duration>,
    /// How long a client may take nothing of an answer that waits for it, before its query is stopped and the
    /// connection cut.
    pub answer_pause: Duration,
    /// Bytes of a MessagePack document.
    pub document_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 25_000_000,
            unpacked_bytes_max: 100_000_000,
            query_bytes_max: 4 << 20,
            bodies_bytes_max: 512 << 20,
            body_pause: Duration::from_secs(30),
            queries_max: 64,
            query_wait: Duration::from_secs(10),
            query_timeout: None,
            answer_pause: Duration::from_secs(60),
            document_bytes_max: 64 << 20,
        }
    }
}

/// What the interface is made of.
pub struct Parts {
    /// Points and names.
    pub engine: Engine,
    /// Databases and policies.
    pub catalog: Catalog,
    /// Who carries out statements.
    pub executor: Arc<dyn Executor>,
    /// The time of points that have none.
    pub clock: Arc<dyn Clock>,
    /// For tokens, and for where numbers of requests begin.
    pub random: Arc<dyn Random>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// What requests may cost.
    pub limits: Limits,
    /// When a write is answered that does not ask for less.
    pub durability: Durability,
}

/// What the handlers work on.
pub struct InfluxApi {
    parts: Parts,
    writer: InfluxWriter,
    bodies: Arc<Bodies>,
    queries: Arc<Semaphore>,
    /// Numbers of requests: they are to differ, not to be secret, and are had without a call of the system.
    request_ids: SeededRandom,
}

impl InfluxApi {
    /// The interface over `parts`.
    pub fn new(parts: Parts) -> Self {
        Self {
            writer: InfluxWriter::counted(parts.engine.clone(), parts.counters.clone()),
            bodies: Arc::new(Bodies::new(
                parts.limits.bodies_bytes_max,
                parts.limits.body_pause,
                parts.counters.clone(),
            )),
            queries: Arc::new(Semaphore::new(parts.limits.queries_max.clamp(1, Semaphore::MAX_PERMITS))),
            request_ids: SeededRandom::new(parts.random.next_u64()),
            parts,
        }
    }

    /// The budget of bodies, for all interfaces.
    pub fn bodies(&self) -> &Arc<Bodies> {
        &self.bodies
    }
}

impl std::ops::Deref for InfluxApi {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

/// The routes. The server's fallback should be [`not_found`].
pub fn router(api: Arc<InfluxApi>) -> Routes {
    let only = |routes: MethodRouter<Arc<InfluxApi>>| routes.fallback(reply::method_not_allowed);
    let state = api.clone();
    Routes::new()
        .route("/ping", Rule::Open, only(get(reply::ping)))
        .route("/write", Rule::Asks, only(post(write::v1)))
        .route("/api/v2/write", Rule::Asks, only(post(write::v2)))
        .route("/api/v3/write_lp", Rule::Asks, only(post(write::v3)))
        .route("/query", Rule::Asks, only(get(query::by_get).post(query::by_post).head(reply::method_not_allowed)))
        .route("/api/v2/delete", Rule::Asks, only(post(delete::delete)))
        .route("/api/v2/query", Rule::Known, only(post(buckets::flux)))
        .route("/api/v2/orgs", Rule::Known, only(get(buckets::orgs)))
        .route("/api/v2/buckets", Rule::Asks, only(get(buckets::list).post(buckets::create)))
        .route(
            "/api/v2/buckets/{id}",
            Rule::Asks,
            only(get(buckets::get).patch(buckets::change).delete(buckets::remove)),
        )
        .route("/api/v3/query_influxql", Rule::Asks, only(get(rows::query).post(rows::query)))
        .route(
            "/api/v3/configure/database",
            Rule::Asks,
            only(
                get(configure::databases)
                    .post(configure::create_database)
                    .put(configure::change_database)
                    .delete(configure::drop_database),
            ),
        )
        .route(
            "/api/v3/configure/database/retention_period",
            Rule::Asks,
            only(axum::routing::delete(configure::keep_for_ever)),
        )
        .route(
            "/api/v3/configure/token",
            Rule::Admin,
            only(get(configure::list_tokens).post(configure::create_token).delete(configure::revoke_token)),
        )
        .route("/api/v3/configure/token/admin", Rule::Asks, only(post(configure::create_first_token)))
        .route("/api/v3/configure/token/named_admin", Rule::Admin, only(post(configure::create_admin_token)))
        .with_state(state)
        .outside(move |methods| methods.layer(middleware::from_fn_with_state(api.clone(), reply::headers)))
}
