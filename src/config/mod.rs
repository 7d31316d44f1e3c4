//! What the server is told: a TOML file, below the environment, below the command line.
//!
//! One struct for each room. Every key has a default; an unknown key or a value that cannot be meant is an error that
//! names the file and the line, or the variable. A file that has any `*listen` key opens only the listeners it names;
//! otherwise those that this version has open on loopback.
//!
//! Nothing here opens a socket or reads the files a key names; `server` does.

pub mod convert;
mod load;
mod memory;
mod rooms;
#[cfg(test)]
mod tests;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rhythmite_collectd::SecurityLevel;
use rhythmite_engine::{registry, wal};
use rhythmite_influx::line_protocol::Precision;
use rhythmite_model::{Error, Result};
use serde::Deserialize;

use crate::auth::JwtKey;
use crate::query::sql::SqlOptions;

pub use load::{FILE_BYTES_MAX, Layers};
pub use memory::{Memory, Shares};
pub use rooms::{
    Aggregator, Auth, Carbon, Collectd, CollectdListener, CollectdNames, ContinuousQueries, Graphite, Http, Influx,
    Limits, OwnSeries, Postgres, Query, Relay, RelayMethod, RelayTransport, Statsd, Wal,
};
pub use value::{Ack, Allow, Cidr, Listen, Paths, Secret, Size, Span, UnixPath};

/// Where the data is when nobody says so.
const DATA_DIR: &str = "rhythmite-data";

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Everything the server writes lies below.
    pub data_dir: PathBuf,
    /// `[http]`
    pub http: Http,
    /// `[graphite]`
    pub graphite: Graphite,
    /// `[carbon]`
    pub carbon: Carbon,
    /// `[aggregator]`
    pub aggregator: Aggregator,
    /// `[relay]`
    pub relay: Relay,
    /// `[statsd]`
    pub statsd: Statsd,
    /// `[collectd]`
    pub collectd: Collectd,
    /// `[influx]`
    pub influx: Influx,
    /// `[postgres]`
    pub postgres: Postgres,
    /// `[auth]`
    pub auth: Auth,
    /// `[query]`
    pub query: Query,
    /// `[continuous_queries]`
    pub continuous_queries: ContinuousQueries,
    /// `[memory]`
    pub memory: Memory,
    /// `[wal]`
    pub wal: Wal,
    /// `[limits]`
    pub limits: Limits,
    /// `[self]`
    #[serde(rename = "self")]
    pub own: OwnSeries,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from(DATA_DIR),
            http: Http::default(),
            graphite: Graphite::default(),
            carbon: Carbon::default(),
            aggregator: Aggregator::default(),
            relay: Relay::default(),
            statsd: Statsd::default(),
            collectd: Collectd::default(),
            influx: Influx::default(),
            postgres: Postgres::default(),
            auth: Auth::default(),
            query: Query::default(),
            continuous_queries: ContinuousQueries::default(),
            memory: Memory::default(),
            wal: Wal::default(),
            limits: Limits::default(),
            own: OwnSeries::default(),
        }
    }
}

/// What a listener lets its peers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only add points.
    Ingest,
    /// Ask questions or change state, with credentials when they are asked for.
    Query,
    /// Ask questions or change state; the protocol has no credentials.
    Unguarded,
}

/// One address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The key that names it: `[carbon] line_listen`.
    pub key: &'static str,
    /// The protocol, for people.
    pub what: &'static str,
    /// What its peers may do.
    pub access: Access,
    /// Where.
    pub at: SocketAddr,
}

impl Config {
    /// Every address that will be opened, in the order of the sections.
    pub fn addresses(&self) -> Vec<Address> {
        use Access::{Ingest, Query, Unguarded};
        let listeners = [
            ("[http] listen", "HTTP", Query, &self.http.listen),
            ("[carbon] line_listen", "carbon lines TCP", Ingest, &self.carbon.line_listen),
            ("[carbon] udp_listen", "carbon lines UDP", Ingest, &self.carbon.udp_listen),
            ("[carbon] pickle_listen", "carbon pickle TCP", Ingest, &self.carbon.pickle_listen),
            ("[carbon] protobuf_listen", "carbon protobuf TCP", Ingest, &self.carbon.protobuf_listen),
            ("[carbon] query_listen", "carbon queries TCP", Unguarded, &self.carbon.query_listen),
            ("[aggregator] line_listen", "aggregator lines TCP", Ingest, &self.aggregator.line_listen),
            ("[aggregator] pickle_listen", "aggregator pickle TCP", Ingest, &self.aggregator.pickle_listen),
            ("[relay] line_listen", "relay lines TCP", Ingest, &self.relay.line_listen),
            ("[relay] pickle_listen", "relay pickle TCP", Ingest, &self.relay.pickle_listen),
            ("[statsd] udp_listen", "StatsD UDP", Ingest, &self.statsd.udp_listen),
            ("[statsd] tcp_listen", "StatsD TCP", Ingest, &self.statsd.tcp_listen),
            ("[statsd] admin_listen", "StatsD admin TCP", Unguarded, &self.statsd.admin_listen),
            ("[collectd] udp_listen", "collectd UDP", Ingest, &self.collectd.udp_listen),
            ("[influx] udp_listen", "InfluxDB UDP", Ingest, &self.influx.udp_listen),
        ];
        let more = self.collectd.listener.iter();
        let more = more.map(|l| ("[[collectd.listener]] udp_listen", "collectd UDP", Ingest, &l.udp_listen));
        let each = |(key, what, access, listen): (_, _, _, &Listen)| {
            listen.addresses().iter().map(|at| Address { key, what, access, at: *at }).collect::<Vec<_>>()
        };
        listeners.into_iter().chain(more).flat_map(each).collect()
    }

    /// Refuses to let anybody from anywhere in.
    ///
    /// # Errors
    /// `Invalid`: a listener that answers queries or changes state would be reachable beyond loopback without
    /// credentials, and `insecure_no_auth` was not given.
    pub fn check_exposure(&self, insecure_no_auth: bool) -> Result<()> {
        if insecure_no_auth {
            return Ok(());
        }
        for address in self.addresses().iter().filter(|address| !address.at.ip().to_canonical().is_loopback()) {
            let remedy = match address.access {
                Access::Ingest => continue,
                Access::Query if self.auth.enabled => continue,
                Access::Query => {
                    "nobody would be asked for a password. Set [auth] enabled = true, use a loopback address, or start \
                     with --insecure-no-auth"
                }
                Access::Unguarded => {
                    "its protocol has no passwords, with [auth] or without. Use a loopback address, or start with \
                     --insecure-no-auth"
                }
            };
            return Err(Error::invalid(format!(
                "{} = {}: beyond loopback anybody could read and change everything: {remedy}",
                address.key, address.at
            )));
        }
        Ok(())
    }

    /// The engine's options.
    pub fn engine(&self, wal_salvage: bool) -> rhythmite_engine::Options {
        let mut options = rhythmite_engine::Options::new(&self.data_dir);
        let shares = self.shares();
        options.memtable_bytes = Size(shares.memtable).bytes();
        options.memtable_bytes_many = Size(shares.memtable_many).bytes();
        options.index_cache_bytes = Size(shares.index_cache).bytes();
        options.decoded_cache_bytes = Size(shares.decoded_cache).bytes();
        options.page_cache_bytes = Size(shares.page_cache).bytes();
        options.wal = wal::Options {
            segment_bytes_max: self.wal.segment.0,
            wal_bytes_max: self.wal.size_max.0,
            queue_bytes_max: self.wal.queue.bytes(),
            interval: self.wal.interval.0,
            salvage: wal_salvage,
            ..options.wal
        };
        options.free_bytes_min = self.limits.disk_free.0;
        options.data_bytes_max = self.limits.disk_max.0;
        options.limits = registry::Limits {
            series_per_scope: self.limits.series,
            new_series_per_hour: self.limits.new_series_per_hour,
            tables_per_policy: self.limits.measurements,
            fields_per_table: self.limits.fields,
            tag_keys_per_table: self.limits.tag_keys,
            key_len: self.limits.key_length,
        };
        options
    }

    /// What each part may take of the memory of this machine.
    pub fn shares(&self) -> Shares {
        let shares = self.memory.shares(memory::of_machine(), self.query.memory);
        shares.expect("tested when the file was read")
    }

    /// SQL's options.
    pub fn sql(&self) -> SqlOptions {
        /// As good as none.
        const YEAR: Duration = Duration::from_secs(366 * 86_400);
        let memory = match Size(self.shares().queries).bytes() {
            0 => usize::MAX,
            bytes => bytes,
        };
        let spill = match self.query.spill.0 {
            0 => u64::MAX,
            bytes => bytes,
        };
        SqlOptions {
            timeout: self.query.timeout.limit().unwrap_or(YEAR),
            memory,
            query_memory: memory / 2,
            spill_bytes_max: spill,
            ..SqlOptions::new(&self.data_dir)
        }
    }

    /// Opens what was not mentioned: the default ports, or nothing when the file names listeners itself.
    fn settle_listeners(&mut self, file_names_listeners: bool) {
        let listeners = [
            (&mut self.http.listen, 8086),
            (&mut self.carbon.line_listen, 2003),
            (&mut self.carbon.udp_listen, 2003),
            (&mut self.carbon.pickle_listen, 2004),
            (&mut self.aggregator.line_listen, 2023),
            (&mut self.aggregator.pickle_listen, 2024),
            (&mut self.statsd.udp_listen, 8125),
            (&mut self.statsd.tcp_listen, 8125),
            (&mut self.statsd.admin_listen, 8126),
            (&mut self.collectd.udp_listen, 25826),
        ];
        for (listen, port) in listeners {
            if listen.0.is_none() {
                *listen = if file_names_listeners { Listen(Some(Vec::new())) } else { Listen::loopback(port) };
            }
        }
    }

    /// Says which value cannot be meant.
    fn check_values(&self) -> Result<()> {
        let at_least = |key: &str, value: u64, least: u64| {
            (value >= least)
                .then_some(())
                .ok_or_else(|| Error::invalid(format!("{key} = {value}: must be at least {least}")))
        };
        at_least("[http] body_max", self.http.body_max.0, 1)?;
        at_least("[http] connections", self.http.connections as u64, 1)?;
        at_least("[http] header_timeout (ms)", self.http.header_timeout.0.as_millis() as u64, 1)?;
        if let Some(secret) = &self.auth.shared_secret {
            JwtKey::new(&secret.0).map_err(|e| e.at("[auth] shared_secret"))?;
        }
        for origin in &self.http.allowed_origins {
            check_origin(origin)?;
        }
        for host in &self.http.allowed_hosts {
            if host.is_empty() || host.contains(['/', ':', ' ', '@']) {
                return Err(Error::invalid(format!(
                    "[http] allowed_hosts: {host:?} is no name; write for example \"metrics.example\", or \"*\""
                )));
            }
        }
        if Precision::from_param(&self.influx.udp_precision).is_none() {
            let all = "n ns u us ms s m h";
            return Err(Error::invalid(format!(
                "[influx] udp_precision = {:?}: one of {all}",
                self.influx.udp_precision
            )));
        }
        at_least("[influx] udp_batch", self.influx.udp_batch.0, 1)?;
        at_least("[carbon] line_length", self.carbon.line_length.0, 16)?;
        at_least("[carbon] frame_length", self.carbon.frame_length.0, 16)?;
        let relays = !self.relay.line_listen.addresses().is_empty() || !self.relay.pickle_listen.addresses().is_empty();
        if relays && self.relay.destinations.is_empty() {
            return Err(Error::invalid("[relay] line_listen, pickle_listen: there are no destinations"));
        }
        if self.relay.destination_transport == RelayTransport::Ssl && self.relay.destination_ca.is_none() {
            return Err(Error::invalid("[relay] destination_transport = \"ssl\" needs a destination_ca"));
        }
        at_least("[relay] replication_factor", self.relay.replication_factor as u64, 1)?;
        at_least("[relay] max_datapoints_per_message", self.relay.max_datapoints_per_message as u64, 1)?;
        at_least("[statsd] queue", self.statsd.queue.0, 1 << 16)?;
        for collectd in self.collectd.listeners().iter().chain([&self.collectd]) {
            if collectd.security_level != SecurityLevel::None && collectd.auth_file.is_none() {
                return Err(Error::invalid("[collectd] security_level: sign and encrypt need an auth_file"));
            }
        }
        let shares = self.memory.shares(memory::of_machine(), self.query.memory)?;
        at_least("[memory] memtable", shares.memtable, 1 << 20)?;
        at_least("[wal] segment", self.wal.segment.0, 1 << 16)?;
        at_least("[wal] size_max", self.wal.size_max.0, 4 << 20)?;
        at_least("[wal] queue", self.wal.queue.0, 1 << 16)?;
        at_least("[wal] interval (ms)", self.wal.interval.0.as_millis() as u64, 1)?;
        at_least("[limits] connections", self.limits.connections as u64, 1)?;
        if let Some(interval) = self.own.interval.limit() {
            at_least("[self] interval (ms)", interval.as_millis() as u64, 1000)?;
        }
        if self.limits.key_length > 65_535 || self.limits.fields > 65_535 {
            return Err(Error::invalid("[limits] key_length, fields: at most 65535"));
        }
        self.statsd.options.validate().map_err(|e| e.at("[statsd]"))
    }
}

/// `*`, or scheme, host and port as a browser sends them.
fn check_origin(origin: &str) -> Result<()> {
    let authority = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let is_origin = |authority: &str| !authority.is_empty() && !authority.contains(['/', '*', ' ', '?', '#']);
    if origin == "*" || authority.is_some_and(is_origin) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "[http] allowed_origins: {origin:?} is no origin; write for example \"https://grafana.example:3000\", or \"*\""
    )))
}
