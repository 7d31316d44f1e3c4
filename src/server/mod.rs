//! The wiring: what starts in which order, and how it ends. Nothing imports this room but `cli`.
//!
//! Start: lock on the data directory; every port is bound, so that a taken one is told before anything is opened;
//! HTTP, which answers 503 with the reason; catalogue; rules; engine (replays the log); its background threads; adapters;
//! HTTP's routes; `/ready` says yes.
//!
//! End (SIGTERM, SIGINT): `/ready` says no; ports close; connections are read empty, for a few seconds at most; the
//! aggregators emit what they hold; HTTP requests are finished; the memtable is flushed; the log is closed. A second
//! signal ends the process at once, which loses nothing that was acknowledged as durable.

mod busy_poll;
mod collectd;
mod continuous;
mod descriptors;
mod http;
mod influx;
mod listen;
mod lock;
mod reload;
mod rules;
mod start;

use std::sync::Arc;
use std::time::Duration;

use rhythmite_engine::{Background, Engine};
use rhythmite_env::{CpuPool, Env};
use rhythmite_model::{Error, Result};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::adapter::carbon::{self, Aggregation, Carbon, Destination, NameFilter, Settings};
use crate::adapter::statsd::{Folding, Statsd};
use crate::adapter::{DRAIN_MAX, Port, Shared, UdpPort};
use crate::api::body::Bodies;
use crate::api::graphite::Graphite;
use crate::api::guard::Guard;
use crate::api::hosts::Hosts;
use crate::api::influx::{InfluxApi, Limits as InfluxLimits, Parts};
use crate::api::origin::Origins;
use crate::api::{self, Own, Rooms};
use crate::auth::{Auth, Checks, JwtKey, Passwords};
use crate::catalog::Catalog;
use crate::config::{Allow, Config, RelayTransport, Shares};
use crate::counters::{Counters, Sample};
use crate::ingest::{PathIngest, PathRules, events};
use crate::query::sql::Sql;
use crate::query::{graphite, influxql};
use crate::relay::{self, Relay};
use crate::schema;
use crate::selfstat::{self, Figures, Source, UdpSockets};

pub(crate) use collectd::check as check_collectd;
pub use lock::Lock;
pub use rules::Rules;
pub(crate) use rules::read_text;

/// How long HTTP requests may take to end when the server stops.
const HTTP_DRAIN_MAX: Duration = Duration::from_secs(5);
/// How long destinations of the relay may take to end: a write may be on its way.
const RELAY_DRAIN_MAX: Duration = Duration::from_secs(12);
/// How long a step of applying storage schemas may take to end.
const SCHEMA_DRAIN_MAX: Duration = Duration::from_secs(10);
/// Threads of the CPU pool on a machine with one core: a long query must not hold up a short one.
const CPU_THREADS_MIN: usize = 2;
/// Requests that wait for the CPU pool; further ones are refused.
const CPU_QUEUE: usize = 1_024;

/// What is no setting: decided at the command line for this run.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Listeners that answer queries may be reached beyond loopback.
    pub insecure_no_auth: bool,
    /// A damaged log is cut instead of refusing to start.
    pub wal_salvage: bool,
    /// Storage schemas instead of those of the configuration: name and text.
    pub schemas: Option<(&'static str, &'static str)>,
}

/// Runs the server until it is told to stop.
///
/// `started` is called with the start block when everything is open. A signal ends it, or `quit` does.
///
/// # Errors
/// What stops it from starting: a taken port names its key, a locked or damaged data directory says so.
pub async fn run(
    config: Config,
    options: RunOptions,
    quit: CancellationToken,
    started: impl FnOnce(&str),
) -> Result<()> {
    config.check_exposure(options.insecure_no_auth)?;
    let env = Env::real();
    let config = Arc::new(config);
    let lock = Lock::take(&config.data_dir)?;
    let mut sockets = listen::Sockets::bind(&config)?;
    let mut rules = Rules::read(&config)?;
    if let Some((name, text)) = options.schemas {
        rules.storage.schemas = Some((text.to_owned(), name.to_owned()));
    }
    let counters = Arc::new(Counters::default());
    let http_stop = CancellationToken::new();
    let http_sockets = std::mem::take(&mut sockets.http);
    let http = http::Server::start(api::starting(), &config.http, &counters, &env.clock, http_sockets, &http_stop);
    let storage = Storage::open(&env, &config, &rules, options.wal_salvage).await?;

    let stop = CancellationToken::new();
    let (events, event_writer) = events::queue(storage.catalog.events(), env.clock.clone(), counters.clone());
    let no_more_events = CancellationToken::new();
    let keeping_events = tokio::spawn(event_writer.run(no_more_events.clone()));
    let shared = Shared {
        clock: env.clock.clone(),
        paths: storage.paths.clone(),
        events: events.clone(),
        counters: counters.clone(),
        tasks: TaskTracker::new(),
        stop: stop.clone(),
        cut: CancellationToken::new(),
        connections_max: config.limits.connections,
        idle: config.limits.idle_timeout.limit(),
    };
    let udp = UdpSockets {
        carbon: addresses(&sockets.carbon_udp),
        statsd: addresses(&sockets.statsd_udp),
        collectd: sockets.collectd_udp.iter().flat_map(|s| addresses(s)).collect(),
        influx: addresses(&sockets.influx_udp),
    };
    let relay = start_relay(&env, &config, &rules, &counters)?;
    let carbon = start_carbon(&config, &rules, &shared, relay.clone(), &mut sockets)?;
    let reload = reload::Reload {
        config: config.clone(),
        rules,
        catalog: storage.catalog.clone(),
        paths: storage.paths.clone(),
        filter: carbon.filter,
        aggregation: carbon.aggregation,
        relay: relay.clone(),
        fixed_schemas: options.schemas.is_some(),
    };
    let reloading = tokio::spawn(reload.run(stop.clone()));
    let folding = start_statsd(&config, &shared, &mut sockets)?;

    let listeners = collectd::listeners(&config, &storage, &env, &events, &counters).await?;
    let collectd = listeners.first().map(|l| l.ingest.clone());
    collectd::start(listeners, &shared, std::mem::take(&mut sockets.collectd_udp));

    influx::start(&config, &storage, &shared, std::mem::take(&mut sockets.influx_udp)).await?;

    let threads = std::thread::available_parallelism().map_or(CPU_THREADS_MIN, |n| n.get().max(CPU_THREADS_MIN));
    let cpu = Arc::new(CpuPool::start(threads, CPU_QUEUE)?);
    // Half of the threads are for others, however many log in.
    let passwords = Arc::new(Passwords::new(cpu.clone(), env.random.clone(), counters.clone(), threads / 2));
    let guard = storage.guard(&env, &config, &counters, &passwords)?;
    let queries = storage.influxql(&env, &config, &counters, passwords, cpu.clone(), tokio::runtime::Handle::current());
    let influx = storage.influx(&env, &config, &counters, queries.clone());
    let graphite = storage.graphite(&env, &config, &counters, influx.bodies().clone(), cpu);
    let sql = Sql::new(&env, storage.engine.clone(), storage.catalog.clone(), config.sql())?;
    let schema = schema::Job::new(&storage.engine, &storage.paths, &env, &config.data_dir);
    let figures = Figures {
        counters: counters.clone(),
        engine: storage.engine.clone(),
        paths: storage.paths.clone(),
        more: vec![
            figures_of_queries(graphite.cpu.clone(), sql.clone()),
            figures_of_memory(config.shares()),
            figures_of_catalog(storage.catalog.clone()),
            figures_of_relay(relay.clone()),
            figures_of_schema(schema.clone()),
        ],
    };
    let collectd = Arc::new(api::collectd::Collectd {
        ingest: collectd.ok_or_else(|| Error::internal("the section [collectd] is always there"))?,
        bodies: influx.bodies().clone(),
        body_bytes_max: config.http.body_max.bytes(),
        durability: config.collectd.durability.into(),
        clock: env.clock.clone(),
        counters: counters.clone(),
    });
    let own = Arc::new(Own::new(figures.clone()));
    let engine = storage.engine.clone();
    http.route(api::router(Rooms {
        own: own.clone(),
        influx,
        graphite,
        collectd,
        relay: relay.clone(),
        sql,
        engine,
        catalog: storage.catalog.clone(),
        schema: schema.clone(),
        guard,
    }));
    if schema.was_interrupted()? {
        tracing::info!("storage schemas are applied to existing series, which the last end of the server interrupted");
        schema.begin()?;
    }
    let continuous = continuous::start(queries, &config.continuous_queries, &stop);
    let reporting = config.own.interval.limit().map(|interval| {
        tokio::spawn(selfstat::run(
            figures,
            relay.clone(),
            udp,
            env.clock.clone(),
            interval,
            config.own.carbon_metric_prefix.clone(),
            stop.clone(),
        ))
    });

    own.set_ready(true);
    started(&start::block(&config, options, storage.catalog.accounts().has_admin()));
    tokio::select! {
        () = quit.cancelled() => {}
        signal = wait_for_signal() => signal?,
    }

    tracing::info!("stopping: ports are closed, what has arrived is stored");
    tokio::spawn(exit_at_second_signal());
    own.set_ready(false);
    schema.halt();
    stop.cancel();
    shared.tasks.close();
    if tokio::time::timeout(DRAIN_MAX, shared.tasks.wait()).await.is_err() {
        tracing::warn!("some senders did not pause: {} connections are cut", shared.tasks.len());
        shared.cut.cancel();
    }
    if let Some(relay) = &relay {
        let relay = relay.clone();
        // Its threads send what they can and put the rest on disk.
        let stopped = tokio::task::spawn_blocking(move || relay.stop());
        if tokio::time::timeout(RELAY_DRAIN_MAX, stopped).await.is_err() {
            tracing::warn!("a destination of the relay did not end in time");
        }
    }
    for task in carbon.emitting.into_iter().chain(reporting).chain(continuous).chain([reloading]) {
        finish(task).await;
    }
    if let Some(folding) = folding
        && tokio::time::timeout(DRAIN_MAX, folding.finished()).await.is_err()
    {
        tracing::warn!("the last StatsD flush did not end in time");
    }
    // Whatever still waits for the engine gives up: it is about to close.
    shared.cut.cancel();
    http_stop.cancel();
    http.finish(HTTP_DRAIN_MAX).await;
    no_more_events.cancel();
    finish(keeping_events).await;
    let halted = tokio::task::spawn_blocking(move || schema.finish(SCHEMA_DRAIN_MAX)).await;
    if !halted.unwrap_or(false) {
        tracing::warn!("a step of applying storage schemas did not end in time; the next start does it again");
    }
    drop(own);
    drop(shared);
    let closed = storage.close().await;
    drop(lock);
    tracing::info!("stopped");
    closed.map_err(|e| e.at("the last flush failed, the log keeps the points"))
}

/// A stopped server's data, for commands that work on it.
pub struct Offline {
    /// Databases and policies.
    pub catalog: Catalog,
    /// Points; its background threads run.
    pub engine: Engine,
    storage: Storage,
    _lock: Lock,
}

impl Offline {
    /// Takes the data directory and opens it as the server would.
    ///
    /// # Errors
    /// `Unavailable` when a server has it; otherwise as [`run`].
    pub async fn open(env: &Env, config: &Config) -> Result<Self> {
        let lock = Lock::take(&config.data_dir)?;
        let storage = Storage::open(env, config, &Rules::read(config)?, false).await?;
        Ok(Self { catalog: storage.catalog.clone(), engine: storage.engine.clone(), storage, _lock: lock })
    }

    /// The job that applies storage schemas; to be dropped before [`Offline::close`].
    pub fn schema(&self, env: &Env, config: &Config) -> schema::Job {
        schema::Job::alone(&self.engine, &self.storage.paths, env, &config.data_dir)
    }

    /// What InfluxQL's statements work on; to be dropped before [`Offline::close`].
    ///
    /// # Errors
    /// `Unavailable` when a thread cannot be started.
    pub fn influxql(&self, env: &Env, config: &Config, runtime: &tokio::runtime::Handle) -> Result<influxql::Context> {
        let counters = Arc::default();
        let cpu = Arc::new(CpuPool::start(1, 1)?);
        let passwords = Arc::new(Passwords::new(cpu.clone(), env.random.clone(), Arc::clone(&counters), 1));
        Ok(self.storage.influxql(env, config, &counters, passwords, cpu, runtime.clone()))
    }

    /// Flushes and lets go.
    ///
    /// # Errors
    /// `Unavailable` for the disk.
    pub async fn close(self) -> Result<()> {
        let Self { catalog, engine, storage, _lock } = self;
        drop((catalog, engine));
        storage.close().await
    }
}

/// Where points are kept.
struct Storage {
    catalog: Catalog,
    engine: Engine,
    paths: Arc<PathIngest>,
    /// The queries in InfluxQL that run now.
    running: Arc<influxql::Running>,
    background: Background,
}

impl Storage {
    async fn open(env: &Env, config: &Config, rules: &Rules, wal_salvage: bool) -> Result<Self> {
        let catalog = Catalog::open_in(env, &config.data_dir)?;
        catalog.limit_databases(config.limits.databases);
        let (path_rules, warnings) = PathRules::load(&rules.storage, &catalog).await?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let policies = catalog.databases().policies().map(|p| p.policy.clone()).collect();
        let mut options = config.engine(wal_salvage);
        options.open_files_max = descriptors::points_files(descriptors::raise());
        let (env_of_engine, manifest) = (env.clone(), Arc::new(catalog.manifest()));
        // Replaying the log holds a core and the disk.
        let opened =
            tokio::task::spawn_blocking(move || Engine::open(env_of_engine, options, manifest, policies)).await;
        let (engine, report) = opened.map_err(|e| Error::internal(format!("opening the engine: {e}")))??;
        tracing::info!(
            replayed_rows = report.replayed_rows,
            orphans_removed = report.orphans,
            "data directory {} is open",
            config.data_dir.display()
        );
        let policies_of = engine.clone();
        catalog.tell(move |policy| policies_of.put_policy(policy.clone()));
        let background = Background::start(&engine)?;
        let paths = Arc::new(PathIngest::new(engine.clone(), env.clock.clone(), path_rules));
        Ok(Self { catalog, engine, paths, running: Arc::default(), background })
    }

    /// Who may ask HTTP.
    ///
    /// # Errors
    /// `Invalid` for a short secret.
    fn guard(
        &self,
        env: &Env,
        config: &Config,
        counters: &Arc<Counters>,
        passwords: &Arc<Passwords>,
    ) -> Result<Arc<Guard>> {
        let auth = if config.auth.enabled {
            let jwt = config.auth.shared_secret.as_ref().map(|secret| JwtKey::new(&secret.0)).transpose()?;
            Auth::on(Checks {
                catalog: self.catalog.clone(),
                passwords: passwords.clone(),
                jwt,
                clock: env.clock.clone(),
                counters: counters.clone(),
            })
        } else {
            Auth::off()
        };
        let origins = Origins::new(config.http.allowed_origins.clone());
        // Beyond loopback, or with credentials, whoever calls by whatever name is asked or trusted as it is.
        let at_home = config.http.listen.addresses().iter().all(|address| address.ip().to_canonical().is_loopback());
        let hosts = match config.auth.enabled || !at_home {
            true => Hosts::any(),
            false => Hosts::only(config.http.allowed_hosts.clone()),
        };
        Ok(Arc::new(Guard { auth: Arc::new(auth), hosts, origins, counters: counters.clone() }))
    }

    fn influxql(
        &self,
        env: &Env,
        config: &Config,
        counters: &Arc<Counters>,
        passwords: Arc<Passwords>,
        cpu: Arc<CpuPool>,
        runtime: tokio::runtime::Handle,
    ) -> influxql::Context {
        influxql::Context {
            engine: self.engine.clone(),
            catalog: self.catalog.clone(),
            clock: env.clock.clone(),
            runtime,
            cpu,
            limits: influxql::Limits {
                select_series_max: config.query.max_select_series,
                select_buckets_max: config.query.max_select_buckets,
                rows_max: config.query.max_row_limit,
                values_max: config.query.max_select_values,
                ..influxql::Limits::default()
            },
            mistakes: match config.query.influxql_corrected {
                true => rhythmite_influx::influxql::Mistakes::Corrected,
                false => rhythmite_influx::influxql::Mistakes::Kept,
            },
            counters: counters.clone(),
            users: influxql::Users { passwords, guarded: config.auth.enabled },
            running: self.running.clone(),
        }
    }

    fn influx(
        &self,
        env: &Env,
        config: &Config,
        counters: &Arc<Counters>,
        context: influxql::Context,
    ) -> Arc<InfluxApi> {
        let limits = InfluxLimits {
            body_bytes_max: config.http.body_max.bytes(),
            query_timeout: config.query.timeout.limit(),
            ..InfluxLimits::default()
        };
        Arc::new(InfluxApi::new(Parts {
            engine: self.engine.clone(),
            catalog: self.catalog.clone(),
            executor: Arc::new(context),
            clock: env.clock.clone(),
            random: env.random.clone(),
            counters: counters.clone(),
            limits,
            durability: config.influx.durability.into(),
        }))
    }

    fn graphite(
        &self,
        env: &Env,
        config: &Config,
        counters: &Arc<Counters>,
        bodies: Arc<Bodies>,
        cpu: Arc<CpuPool>,
    ) -> Arc<Graphite> {
        let timeout = config.query.timeout.limit().unwrap_or(Duration::MAX);
        Arc::new(Graphite {
            engine: self.engine.clone(),
            ingest: self.paths.clone(),
            catalog: self.catalog.clone(),
            counters: counters.clone(),
            cpu,
            clock: env.clock.clone(),
            zone: jiff::tz::TimeZone::UTC,
            limits: graphite::Limits { timeout, ..graphite::Limits::default() },
            bodies,
        })
    }

    /// Flushes, which is not needed for safety (the log has everything) but makes the next start short.
    async fn close(self) -> Result<()> {
        let Self { catalog, engine, paths, running: _, background } = self;
        let closed = tokio::task::spawn_blocking(move || {
            drop(background);
            drop(paths);
            engine.flush()
        });
        let flushed = closed.await.map_err(|e| Error::internal(format!("the last flush: {e}")))?;
        let checkpoint = catalog.checkpoint().await;
        flushed.and(checkpoint)
    }
}

/// What the catalogue refuses.
fn figures_of_catalog(catalog: Catalog) -> Source {
    Arc::new(move |samples| {
        samples.push(Sample {
            metric: "databases_refused_total",
            path: "databases.refused",
            help: "Databases that [limits] databases refused.",
            value: catalog.databases_refused(),
        });
        samples.push(Sample {
            metric: "catalog_copy_failures_total",
            path: "catalog.copyFailures",
            help: "Changes of the catalogue that did not reach the copy beside the data; the next change writes it anew.",
            value: catalog.copy_failures(),
        });
    })
}

/// Levels of the relay's queues.
fn figures_of_relay(relay: Option<Arc<Relay>>) -> Source {
    Arc::new(move |samples| {
        let status = relay.as_ref().map(|relay| relay.status()).unwrap_or_default();
        let down = status.iter().filter(|s| !s.health.connected).count() as u64;
        for (metric, path, help, value) in [
            (
                "relay_queued_points",
                "relay.queued_points",
                "Points that wait for destinations.",
                status.iter().map(|s| s.queued_points).sum(),
            ),
            (
                "relay_queued_bytes",
                "relay.queued_bytes",
                "Bytes of these in memory and on disk.",
                status.iter().map(|s| s.queued_bytes).sum(),
            ),
            ("relay_disconnected", "relay.disconnected", "Destinations without a connection.", down),
        ] {
            samples.push(Sample { metric, path, help, value });
        }
    })
}

/// Series that moved because of changed storage schemas.
fn figures_of_schema(job: schema::Job) -> Source {
    Arc::new(move |samples| {
        let (status, (moved, points)) = (job.status(), job.totals());
        let running = u64::from(status.phase == schema::Phase::Running);
        let left = if running == 1 { status.series.saturating_sub(status.series_moved) } else { 0 };
        for (metric, path, help, value) in [
            (
                "schema_apply_running",
                "schema.running",
                "Whether storage schemas are being applied to existing series.",
                running,
            ),
            ("schema_apply_series_left", "schema.seriesLeft", "Series that this has still to move.", left),
            ("schema_apply_series_moved_total", "schema.seriesMoved", "Series that this has moved.", moved),
            ("schema_apply_points_total", "schema.points", "Points that this has written.", points),
        ] {
            samples.push(Sample { metric, path, help, value });
        }
    })
}

/// What queries ask for and get.
fn figures_of_queries(cpu: Arc<CpuPool>, sql: Sql) -> Source {
    Arc::new(move |samples| {
        let seen = sql.stats();
        for (metric, path, help, value) in [
            (
                "cpu_waiting",
                "cpu.waiting",
                "Graphite requests and passwords that wait for a processor.",
                cpu.waiting() as u64,
            ),
            (
                "cpu_refused_total",
                "cpu.refused",
                "Graphite requests and passwords refused because too many waited.",
                cpu.refused(),
            ),
            ("sql_queries_total", "sql.queries", "SQL queries accepted.", seen.queries),
            ("sql_failed_total", "sql.failed", "SQL queries that ended with an error.", seen.failed),
            ("sql_refused_total", "sql.refused", "SQL queries refused because too many waited.", seen.refused),
            ("sql_timeouts_total", "sql.timeouts", "SQL queries stopped by [query] timeout.", seen.timeouts),
            ("sql_out_of_memory_total", "sql.out_of_memory", "SQL queries above [query] memory.", seen.out_of_memory),
            ("sql_plans_reused_total", "sql.plans_reused", "SQL queries run by a kept plan.", seen.plans_reused),
            ("sql_plans", "sql.plans", "Plans kept for SQL queries to come.", seen.plans),
            ("sql_running", "sql.running", "SQL queries that run now.", seen.running),
            ("sql_memory_bytes", "sql.memory_bytes", "Memory of SQL queries.", seen.memory),
            ("sql_spilled_bytes", "sql.spilled_bytes", "Bytes that SQL queries have on disk.", seen.spilled),
        ] {
            samples.push(Sample { metric, path, help, value });
        }
    })
}

/// What the parts of the server may take of its memory; what they do take stands beside.
fn figures_of_memory(shares: Shares) -> Source {
    Arc::new(move |samples| {
        for (metric, path, help, value) in [
            ("memory_budget_bytes", "memory.budget", "[memory] budget.", shares.budget),
            (
                "memory_memtable_max_bytes",
                "memory.memtableMax",
                "Limit of memtable_limit_bytes.",
                shares.memtable_many.max(shares.memtable),
            ),
            ("memory_index_cache_max_bytes", "memory.indexCacheMax", "Limit of index_bytes.", shares.index_cache),
            (
                "memory_decoded_cache_max_bytes",
                "memory.decodedCacheMax",
                "Limit of decoded_bytes and sorted_names_bytes together.",
                shares.decoded_cache,
            ),
            ("memory_page_cache_max_bytes", "memory.pageCacheMax", "Limit of page_cache_bytes.", shares.page_cache),
            ("memory_queries_max_bytes", "memory.queriesMax", "Limit of sql_memory_bytes; 0 is none.", shares.queries),
        ] {
            samples.push(Sample { metric, path, help, value });
        }
    })
}

/// The relay and its queues, if there are destinations.
fn start_relay(env: &Env, config: &Config, rules: &Rules, counters: &Arc<Counters>) -> Result<Option<Arc<Relay>>> {
    let Some(router) = rules.router(config)? else { return Ok(None) };
    let room = &config.relay;
    let tls = match (&room.destination_transport, &room.destination_ca) {
        (RelayTransport::Ssl, Some(path)) => {
            let key = "[relay] destination_ca";
            let text = rules::read_text(path).map_err(|e| e.at(key))?;
            Some(relay::Tls::new(text.as_bytes()).map_err(|e| e.at(key))?)
        }
        _ => None,
    };
    let options = relay::Options {
        tls,
        protocol: room.destination_protocol,
        points_max: room.max_datapoints_per_message,
        memory_bytes: room.memory.bytes(),
        disk_bytes: room.queue.0,
        ..relay::Options::default()
    };
    let started = Relay::start(env, &config.data_dir.join("relay"), router, &options, counters);
    started.map(Some).map_err(|e| Error::unavailable(format!("[relay] {e}")))
}

/// What runs once carbon's ports are open.
struct CarbonParts {
    /// Emits aggregates, if there is an aggregator.
    emitting: Option<JoinHandle<()>>,
    filter: Arc<NameFilter>,
    aggregation: Option<Arc<Aggregation>>,
}

/// Carbon's, the relay's and the aggregator's ports.
fn start_carbon(
    config: &Config,
    rules: &Rules,
    shared: &Shared,
    relay: Option<Arc<Relay>>,
    sockets: &mut listen::Sockets,
) -> Result<CarbonParts> {
    let filter = Arc::new(rules.lists().map_or_else(NameFilter::default, NameFilter::new));
    let settings = Settings {
        durability: config.carbon.durability.into(),
        filter: filter.clone(),
        line_bytes_max: config.carbon.line_length.bytes(),
        frame_bytes_max: config.carbon.frame_length.bytes(),
        frames_pending_bytes: carbon::FRAMES_PENDING_BYTES,
        frame_time: carbon::FRAME_TIME,
    };
    let carbon = Carbon::new(shared.clone(), settings);
    let port = |socket, allow: &Allow, key| Port { socket, allow: allow.clone(), key };
    let allow = &config.carbon.allow;
    for socket in sockets.carbon_line.drain(..) {
        let port = port(socket, allow, "[carbon] line_listen");
        shared.tasks.spawn(carbon.clone().lines(port, Destination::Store));
    }
    for socket in sockets.carbon_pickle.drain(..) {
        let port = port(socket, allow, "[carbon] pickle_listen");
        shared.tasks.spawn(carbon.clone().pickles(port, Destination::Store));
    }
    for socket in sockets.carbon_query.drain(..) {
        shared.tasks.spawn(carbon.clone().queries(port(socket, allow, "[carbon] query_listen")));
    }
    for socket in sockets.carbon_udp.drain(..) {
        shared.tasks.spawn(carbon.clone().datagrams(UdpPort { socket, allow: allow.clone() }));
    }
    for socket in sockets.carbon_protobuf.drain(..) {
        let port = port(socket, allow, "[carbon] protobuf_listen");
        shared.tasks.spawn(carbon.clone().protobuf(port, Destination::Store));
    }
    if let Some(relay) = relay {
        let (allow, to) = (&config.relay.allow, Destination::Relay(relay, config.relay.store));
        for socket in sockets.relay_line.drain(..) {
            shared.tasks.spawn(carbon.clone().lines(port(socket, allow, "[relay] line_listen"), to.clone()));
        }
        for socket in sockets.relay_pickle.drain(..) {
            shared.tasks.spawn(carbon.clone().pickles(port(socket, allow, "[relay] pickle_listen"), to.clone()));
        }
    }
    if sockets.aggregator_line.is_empty() && sockets.aggregator_pickle.is_empty() {
        return Ok(CarbonParts { emitting: None, filter, aggregation: None });
    }
    let (aggregation_rules, rewrites) = rules.aggregator();
    let options = rhythmite_carbon::aggregator::Options {
        forward_all: config.aggregator.forward_all,
        max_aggregation_intervals: config.aggregator.max_aggregation_intervals,
        ..rhythmite_carbon::aggregator::Options::default()
    };
    let aggregation = Aggregation::new(aggregation_rules, rewrites, options);
    let allow = &config.aggregator.allow;
    for socket in sockets.aggregator_line.drain(..) {
        let port = port(socket, allow, "[aggregator] line_listen");
        shared.tasks.spawn(carbon.clone().lines(port, Destination::Aggregate(aggregation.clone())));
    }
    for socket in sockets.aggregator_pickle.drain(..) {
        let port = port(socket, allow, "[aggregator] pickle_listen");
        shared.tasks.spawn(carbon.clone().pickles(port, Destination::Aggregate(aggregation.clone())));
    }
    let emitting = Some(tokio::spawn(carbon.emit(aggregation.clone())));
    Ok(CarbonParts { emitting, filter, aggregation: Some(aggregation) })
}

/// StatsD's ports and aggregator, if there is a port to reach it.
fn start_statsd(config: &Config, shared: &Shared, sockets: &mut listen::Sockets) -> Result<Option<Folding>> {
    let none = sockets.statsd_udp.is_empty() && sockets.statsd_tcp.is_empty() && sockets.statsd_admin.is_empty();
    if none && sockets.statsd_unix.is_none() {
        return Ok(None);
    }
    let room = &config.statsd;
    let (options, durability) = (room.options.clone(), room.durability.into());
    let started = Statsd::start(shared.clone(), options, durability, room.queue.bytes(), &room.repeater);
    let (statsd, folding) = started.map_err(|e| Error::unavailable(format!("StatsD: {e}")))?;
    for socket in sockets.statsd_udp.drain(..) {
        shared.tasks.spawn(statsd.clone().datagrams(UdpPort { socket, allow: room.allow.clone() }));
    }
    if let Some(port) = sockets.statsd_unix.take() {
        shared.tasks.spawn(statsd.clone().unix_datagrams(port));
    }
    for socket in sockets.statsd_tcp.drain(..) {
        let port = Port { socket, allow: room.allow.clone(), key: "[statsd] tcp_listen" };
        shared.tasks.spawn(statsd.clone().streams(port));
    }
    for socket in sockets.statsd_admin.drain(..) {
        let port = Port { socket, allow: room.allow.clone(), key: "[statsd] admin_listen" };
        shared.tasks.spawn(statsd.clone().admin(port));
    }
    Ok(Some(folding))
}

fn addresses(sockets: &[tokio::net::UdpSocket]) -> Vec<std::net::SocketAddr> {
    sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
}

async fn finish(mut task: JoinHandle<()>) {
    // The aggregator itself waits for connections as long as they may take, and then stores.
    if tokio::time::timeout(DRAIN_MAX * 2, &mut task).await.is_err() {
        tracing::warn!("a task did not end in time");
        task.abort();
    }
}

async fn wait_for_signal() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let unavailable = |e| Error::unavailable(format!("cannot watch for signals: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(unavailable)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unavailable)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Someone is in a hurry.
async fn exit_at_second_signal() {
    if wait_for_signal().await.is_ok() {
        tracing::warn!("a second signal: leaving at once");
        std::process::exit(1);
    }
}
