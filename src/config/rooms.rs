//! One struct for each section.

use std::net::SocketAddr;
use std::path::PathBuf;

use rhythmite_carbon::framer::FRAME_BYTES_MAX;
use rhythmite_carbon::plaintext::LINE_BYTES_MAX;
use rhythmite_carbon::relay::HashType;
use rhythmite_collectd::{MultiValue, SecurityLevel};
use rhythmite_engine::registry;
use serde::Deserialize;

use super::value::{Ack, Allow, Listen, Paths, Secret, Size, Span, UnixPath};
use crate::relay::Protocol;

/// `[http]`: the port of every HTTP API.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Addresses.
    pub listen: Listen,
    /// A longer request body is refused with status 413.
    pub body_max: Size,
    /// Connections at a time; further ones wait to be accepted.
    pub connections: usize,
    /// A client that has not sent its request's head by then is cut off.
    pub header_timeout: Span,
    /// Looks for the next request of a client that asks one after the other before sleeping.
    pub busy_poll: bool,
    /// Origins of pages that may use this server from a browser: `https://grafana.example`, `*` for all.
    pub allowed_origins: Vec<String>,
    /// Names by which this server may be called beside addresses and `localhost`, where it asks nobody for credentials
    /// and listens on loopback only; `*` for all.
    pub allowed_hosts: Vec<String>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: Listen::default(),
            body_max: Size(25_000_000),
            connections: 10_000,
            header_timeout: Span::secs(30),
            busy_poll: true,
            allowed_origins: Vec::new(),
            allowed_hosts: Vec::new(),
        }
    }
}

/// `[graphite]`: how Graphite series are kept.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Graphite {
    /// A storage-schemas.conf; without one the built-in rules hold.
    pub storage_schemas: Option<PathBuf>,
    /// A storage-aggregation.conf; without one the built-in rules hold.
    pub storage_aggregation: Option<PathBuf>,
}

/// `[carbon]`: lines and pickles.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Carbon {
    /// Lines by TCP.
    pub line_listen: Listen,
    /// Lines by UDP.
    pub udp_listen: Listen,
    /// Pickles by TCP.
    pub pickle_listen: Listen,
    /// carbon's protobuf frames by TCP; not open unless it is named.
    pub protobuf_listen: Listen,
    /// Questions to the cache, as graphite-web asks them; not open unless it is named.
    pub query_listen: Listen,
    /// Peers that may send; all if empty.
    pub allow: Allow,
    /// When a line counts as stored: below `sync` the sender is slowed by the log's queue only.
    pub durability: Ack,
    /// Whether the two lists below hold.
    pub use_whitelist: bool,
    /// A whitelist.conf.
    pub whitelist: Option<PathBuf>,
    /// A blacklist.conf.
    pub blacklist: Option<PathBuf>,
    /// A longer line is rejected and counted.
    pub line_length: Size,
    /// A longer pickle ends its connection.
    pub frame_length: Size,
}

impl Default for Carbon {
    fn default() -> Self {
        Self {
            line_listen: Listen::default(),
            udp_listen: Listen::default(),
            pickle_listen: Listen::default(),
            protobuf_listen: Listen::default(),
            query_listen: Listen::default(),
            allow: Allow::default(),
            durability: Ack::Interval,
            use_whitelist: false,
            whitelist: None,
            blacklist: None,
            line_length: Size(LINE_BYTES_MAX as u64),
            frame_length: Size(FRAME_BYTES_MAX as u64),
        }
    }
}

/// `[aggregator]`: carbon-aggregator's ports and rules. Lengths and durability are those of `[carbon]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Aggregator {
    /// Lines by TCP.
    pub line_listen: Listen,
    /// Pickles by TCP.
    pub pickle_listen: Listen,
    /// Peers that may send; all if empty.
    pub allow: Allow,
    /// An aggregation-rules.conf.
    pub rules: Option<PathBuf>,
    /// A rewrite-rules.conf.
    pub rewrite_rules: Option<PathBuf>,
    /// Store what comes in too, not only the aggregates.
    pub forward_all: bool,
    /// Intervals that late points can still join.
    pub max_aggregation_intervals: u32,
}

impl Default for Aggregator {
    fn default() -> Self {
        let options = rhythmite_carbon::aggregator::Options::default();
        Self {
            line_listen: Listen::default(),
            pickle_listen: Listen::default(),
            allow: Allow::default(),
            rules: None,
            rewrite_rules: None,
            forward_all: options.forward_all,
            max_aggregation_intervals: options.max_aggregation_intervals,
        }
    }
}

/// How the relay shares out names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelayMethod {
    /// By a relay-rules.conf.
    Rules,
    /// By carbon's hash.
    #[default]
    ConsistentHashing,
    /// The same, by the names of the aggregates that a name feeds (`[aggregator] rules`).
    AggregatedConsistentHashing,
    /// By carbon's quick hash.
    FastHashing,
    /// The same, by the names of aggregates.
    FastAggregatedHashing,
}

impl RelayMethod {
    /// Whether it goes by the rules of the aggregator.
    pub fn looks_at_aggregates(self) -> bool {
        matches!(self, Self::AggregatedConsistentHashing | Self::FastAggregatedHashing)
    }
}

/// How the relay's destinations are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayTransport {
    /// TCP as it is.
    #[default]
    None,
    /// TLS over TCP, under carbon's name for it.
    Ssl,
}

/// `[relay]`: carbon-relay's ports and destinations. Lengths are those of `[carbon]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Relay {
    /// Lines by TCP; not open unless it is named.
    pub line_listen: Listen,
    /// Pickles by TCP; not open unless it is named.
    pub pickle_listen: Listen,
    /// Peers that may send; all if empty.
    pub allow: Allow,
    /// `host:port` or `host:port:instance`.
    pub destinations: Vec<String>,
    /// How names are shared out.
    pub relay_method: RelayMethod,
    /// A relay-rules.conf.
    pub relay_rules: Option<PathBuf>,
    /// Destinations of each name.
    pub replication_factor: usize,
    /// Whether they must be on different hosts.
    pub diverse_replicas: bool,
    /// The hash; carbon's default of the method if it is not said.
    pub router_hash_type: Option<HashType>,
    /// What destinations read.
    pub destination_protocol: Protocol,
    /// How they are reached.
    pub destination_transport: RelayTransport,
    /// Certificates (PEM) of the authorities that theirs must be signed by.
    pub destination_ca: Option<PathBuf>,
    /// Points of one message.
    pub max_datapoints_per_message: usize,
    /// Memory of what waits, of each destination.
    pub memory: Size,
    /// Disk space of what waits, of each destination; beyond it points are dropped and counted.
    pub queue: Size,
    /// Store what comes in too.
    pub store: bool,
}

impl Default for Relay {
    fn default() -> Self {
        let options = crate::relay::Options::default();
        Self {
            line_listen: Listen::default(),
            pickle_listen: Listen::default(),
            allow: Allow::default(),
            destinations: Vec::new(),
            relay_method: RelayMethod::default(),
            relay_rules: None,
            replication_factor: 1,
            diverse_replicas: true,
            router_hash_type: None,
            destination_protocol: options.protocol,
            destination_transport: RelayTransport::default(),
            destination_ca: None,
            max_datapoints_per_message: options.points_max,
            memory: Size(options.memory_bytes as u64),
            queue: Size(options.disk_bytes),
            store: false,
        }
    }
}

/// `[statsd]`: the server's own keys; beside them stand StatsD's, in [`Self::options`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Statsd {
    /// Datagrams.
    pub udp_listen: Listen,
    /// Lines by TCP.
    pub tcp_listen: Listen,
    /// The file of a datagram socket for this machine's programs; none if empty or `"off"`.
    pub unixgram_listen: UnixPath,
    /// Permissions of that file.
    pub unixgram_mode: u32,
    /// Other StatsDs that get every packet, by UDP.
    pub repeater: Vec<SocketAddr>,
    /// The admin interface; it can delete state, so beyond loopback it is guarded like a query.
    pub admin_listen: Listen,
    /// Peers that may send; all if empty.
    pub allow: Allow,
    /// When a flush counts as stored.
    pub durability: Ack,
    /// What is asked of the kernel as buffer of each UDP socket; the kernel's own limit (`net.core.rmem_max`) holds.
    pub receive_buffer: Size,
    /// Memory of packets that wait to be folded; beyond it datagrams are dropped and counted, streams wait.
    pub queue: Size,
    /// StatsD's own options, written beside the keys above.
    #[serde(skip)]
    pub options: rhythmite_statsd::Options,
}

impl Default for Statsd {
    fn default() -> Self {
        Self {
            udp_listen: Listen::default(),
            tcp_listen: Listen::default(),
            unixgram_listen: UnixPath::default(),
            unixgram_mode: 0o722,
            repeater: Vec::new(),
            admin_listen: Listen::default(),
            allow: Allow::default(),
            durability: Ack::Interval,
            receive_buffer: Size::mib(25),
            queue: Size::mib(32),
            options: rhythmite_statsd::Options::default(),
        }
    }
}

/// How points of collectd are called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CollectdNames {
    /// As `write_graphite` calls them.
    #[default]
    Graphite,
    /// As InfluxDB's collectd input does.
    Measurements,
}

/// `[collectd]`: the network protocol by UDP, and `POST /collectd`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Collectd {
    /// Datagrams.
    pub udp_listen: Listen,
    /// Peers that may send; all if empty.
    pub allow: Allow,
    /// When a batch counts as stored, and when a post is answered.
    pub durability: Ack,
    /// Files beside the built-in types; the last definition of a type holds.
    pub types_db: Paths,
    /// What a datagram must be for its values to count.
    pub security_level: SecurityLevel,
    /// Lines `user: password`.
    pub auth_file: Option<PathBuf>,
    /// How points are called.
    pub names: CollectdNames,
    /// Where measurements go; made if missing.
    pub database: String,
    /// Its policy; the default one if empty.
    pub retention_policy: String,
    /// What becomes of lists with several values, as measurements.
    pub parse_multivalue_plugin: MultiValue,
    /// `write_graphite`'s options.
    pub graphite: rhythmite_collectd::graphite::Options,
    /// Further listeners.
    pub listener: Vec<CollectdListener>,
}

impl Default for Collectd {
    fn default() -> Self {
        Self {
            udp_listen: Listen::default(),
            allow: Allow::default(),
            durability: Ack::Interval,
            types_db: Paths::default(),
            security_level: SecurityLevel::None,
            auth_file: None,
            names: CollectdNames::Graphite,
            database: "collectd".to_owned(),
            retention_policy: String::new(),
            parse_multivalue_plugin: MultiValue::Join,
            graphite: rhythmite_collectd::graphite::Options::default(),
            listener: Vec::new(),
        }
    }
}

/// `[[collectd.listener]]`: a further one; what it does not say is as `[collectd]` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectdListener {
    /// As in [`Collectd`].
    pub udp_listen: Listen,
    allow: Option<Allow>,
    types_db: Option<Paths>,
    security_level: Option<SecurityLevel>,
    auth_file: Option<PathBuf>,
    names: Option<CollectdNames>,
    database: Option<String>,
    retention_policy: Option<String>,
    parse_multivalue_plugin: Option<MultiValue>,
    graphite: Option<rhythmite_collectd::graphite::Options>,
}

impl Collectd {
    /// The section as each of the further listeners sees it.
    pub fn listeners(&self) -> Vec<Self> {
        let or = |own: &CollectdListener| {
            let own = own.clone();
            Self {
                udp_listen: own.udp_listen,
                allow: own.allow.unwrap_or_else(|| self.allow.clone()),
                durability: self.durability,
                types_db: own.types_db.unwrap_or_else(|| self.types_db.clone()),
                security_level: own.security_level.unwrap_or(self.security_level),
                auth_file: own.auth_file.or_else(|| self.auth_file.clone()),
                names: own.names.unwrap_or(self.names),
                database: own.database.unwrap_or_else(|| self.database.clone()),
                retention_policy: own.retention_policy.unwrap_or_else(|| self.retention_policy.clone()),
                parse_multivalue_plugin: own.parse_multivalue_plugin.unwrap_or(self.parse_multivalue_plugin),
                graphite: own.graphite.unwrap_or_else(|| self.graphite.clone()),
                listener: Vec::new(),
            }
        };
        self.listener.iter().map(or).collect()
    }
}

/// `[influx]`: line protocol by HTTP.
/// `[influx]`: line protocol by HTTP and UDP.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Influx {
    /// When a write is answered.
    pub durability: Ack,
    /// Lines by UDP; closed unless it is named.
    pub udp_listen: Listen,
    /// Where they are stored; made if it is not there.
    pub udp_database: String,
    /// The policy; the database's default if empty.
    pub udp_retention_policy: String,
    /// The unit of their timestamps.
    pub udp_precision: String,
    /// Bytes of datagrams that are stored at once, if so many wait.
    pub udp_batch: Size,
    /// Peers that may send by UDP; all if empty.
    pub allow: Allow,
}

impl Default for Influx {
    fn default() -> Self {
        Self {
            durability: Ack::Sync,
            udp_listen: Listen::default(),
            udp_database: "udp".to_owned(),
            udp_retention_policy: String::new(),
            udp_precision: "n".to_owned(),
            udp_batch: Size(256 << 10),
            allow: Allow::default(),
        }
    }
}

/// `[postgres]`: accepted so that one file serves several versions; this version has no such listener and says so.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// Not opened.
    pub listen: Listen,
}

/// `[auth]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Whether HTTP asks for credentials.
    pub enabled: bool,
    /// What web tokens of InfluxDB 1.x are signed with (HS256); without one they are not taken.
    pub shared_secret: Option<Secret>,
}

/// `[query]`: what a query may take. 0 is no limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// A query that takes longer is ended.
    pub timeout: Span,
    /// Series that one InfluxQL SELECT may read.
    pub max_select_series: u64,
    /// Time windows that one InfluxQL SELECT may make.
    pub max_select_buckets: u64,
    /// Values that one InfluxQL SELECT may hold at a time, of about 16 bytes each.
    pub max_select_values: u64,
    /// Rows of one answer in InfluxQL.
    pub max_row_limit: u64,
    /// InfluxQL's answers are right where InfluxDB 1.x answers by mistake.
    pub influxql_corrected: bool,
    /// Memory of all SQL queries together, a share of `[memory] budget` if it is not given; one may take half of it. What
    /// does not fit is sorted and grouped on disk.
    pub memory: Option<Size>,
    /// Disk space for that.
    pub spill: Size,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            timeout: Span::secs(300),
            max_select_series: 0,
            max_select_buckets: 0,
            max_select_values: 50_000_000,
            max_row_limit: 0,
            influxql_corrected: false,
            memory: None,
            spill: Size::mib(10 * 1024),
        }
    }
}

/// `[continuous_queries]`: when InfluxQL's continuous queries are run.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContinuousQueries {
    /// Whether they are run at all; they can be made all the same.
    pub enabled: bool,
    /// How often it is looked whether one is due.
    pub run_interval: Span,
}

impl Default for ContinuousQueries {
    fn default() -> Self {
        Self { enabled: true, run_interval: Span::secs(1) }
    }
}

/// `[wal]`: the write-ahead log.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wal {
    /// Size of one file.
    pub segment: Size,
    /// Size of all files; at it writes are refused until a flush.
    pub size_max: Size,
    /// Memory of writes that wait for the disk; at it writes are refused.
    pub queue: Size,
    /// How long a write that is not `sync` may wait for the disk.
    pub interval: Span,
}

impl Default for Wal {
    fn default() -> Self {
        let options = rhythmite_engine::wal::Options::new("");
        Self {
            segment: Size(options.segment_bytes_max),
            size_max: Size(options.wal_bytes_max),
            queue: Size(options.queue_bytes_max as u64),
            interval: Span(options.interval),
        }
    }
}

/// `[limits]`: what names and connections may take.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Databases; `graphite` is always there.
    pub databases: usize,
    /// Series of one retention policy, or of all Graphite paths together.
    pub series: u64,
    /// The same, new within an hour.
    pub new_series_per_hour: u64,
    /// Measurements of one retention policy.
    pub measurements: usize,
    /// Fields of one measurement.
    pub fields: usize,
    /// Tag keys of one measurement.
    pub tag_keys: usize,
    /// Bytes of a series key, measurement or field.
    pub key_length: usize,
    /// Writes are refused while less than this is free on the disk of the data directory; 0: until it is full.
    pub disk_free: Size,
    /// What files and log may take together; 0: as much as there is.
    pub disk_max: Size,
    /// Connections of one carbon, aggregator or StatsD listener; further ones are closed and counted.
    pub connections: usize,
    /// A connection of those that says nothing for so long is closed.
    pub idle_timeout: Span,
}

impl Default for Limits {
    fn default() -> Self {
        let names = registry::Limits::default();
        let engine = rhythmite_engine::Options::new("");
        Self {
            databases: crate::catalog::DATABASES_MAX,
            series: names.series_per_scope,
            new_series_per_hour: names.new_series_per_hour,
            measurements: names.tables_per_policy,
            fields: names.fields_per_table,
            tag_keys: names.tag_keys_per_table,
            key_length: names.key_len,
            disk_free: Size(engine.free_bytes_min),
            disk_max: Size(engine.data_bytes_max),
            connections: 10_000,
            idle_timeout: Span::secs(2 * 3600),
        }
    }
}

/// `[self]`: the server's own series.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OwnSeries {
    /// Time between two points; 0 for none.
    pub interval: Span,
    /// Before `.agents.<host>`, in the classic names.
    pub carbon_metric_prefix: String,
}

impl Default for OwnSeries {
    fn default() -> Self {
        Self { interval: Span::secs(10), carbon_metric_prefix: "carbon".to_owned() }
    }
}
