//! What the server counts, by name: every limit has its counter, and every counter is in `/metrics` and a series.
//!
//! A counter only grows and costs one relaxed addition. Levels (memory, queues) are not here: whoever is asked reads
//! them at their source.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::offenders::Offenders;

/// One count.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; a level takes back what is added as its two's complement.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn one(&self) {
        self.add(1);
    }

    /// Sets a level, or a count that is kept elsewhere.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Takes one back: for counts of what is open now.
    pub fn back(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A counter and how it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// In `/metrics`, without `rhythmite_`, with labels if there are any.
    pub metric: &'static str,
    /// As series, below `rhythmite.<host>.`.
    pub path: &'static str,
    /// What is counted.
    pub help: &'static str,
    /// How many.
    pub value: u64,
}

impl Sample {
    /// The metric's name without its labels.
    pub fn family(&self) -> &'static str {
        self.metric.split_once('{').map_or(self.metric, |(family, _)| family)
    }

    /// Whether it only grows (else it is a level).
    pub fn is_count(&self) -> bool {
        self.family().ends_with("_total")
    }
}

macro_rules! counters {
    ($($field:ident, $metric:literal, $path:literal, $help:literal;)*) => {
        /// All counters of the adapters and APIs.
        #[derive(Debug, Default)]
        pub struct Counters {
            $(#[doc = $help] pub $field: Counter,)*
            /// Samples of what was refused, dropped or lost.
            pub offenders: Offenders,
        }

        impl Counters {
            /// All of them, in a fixed order.
            pub fn samples(&self) -> Vec<Sample> {
                vec![$(Sample { metric: $metric, path: $path, help: $help, value: self.$field.get() }),*]
            }
        }
    };
}

counters! {
    carbon_points, "carbon_points_total", "carbon.points", "Points that carbon listeners received.";
    carbon_bytes, "carbon_bytes_total", "carbon.bytes", "Bytes that carbon and aggregator listeners received.";
    carbon_datagrams, "carbon_datagrams_total", "carbon.datagrams", "Datagrams that carbon listeners received.";
    carbon_rejected_shape, "carbon_rejected_total{reason=\"shape\"}", "carbon.rejected.shape",
        "Lines and pickled items that are not name, value and time.";
    carbon_rejected_utf8, "carbon_rejected_total{reason=\"utf8\"}", "carbon.rejected.utf8",
        "Lines and names that are not UTF-8.";
    carbon_rejected_value, "carbon_rejected_total{reason=\"value\"}", "carbon.rejected.value",
        "Points whose value is no number.";
    carbon_rejected_time, "carbon_rejected_total{reason=\"time\"}", "carbon.rejected.time",
        "Points whose time is no number of seconds since 1970.";
    carbon_rejected_name, "carbon_rejected_total{reason=\"name\"}", "carbon.rejected.name",
        "Points with a malformed name.";
    carbon_rejected_length, "carbon_rejected_total{reason=\"length\"}", "carbon.rejected.length",
        "Lines longer than `[carbon] line_length`.";
    carbon_rejected_nan, "carbon_rejected_total{reason=\"nan\"}", "carbon.rejected.nan",
        "Points whose value is NaN.";
    carbon_rejected_unfinished, "carbon_rejected_total{reason=\"unfinished\"}", "carbon.rejected.unfinished",
        "Lines and pickles that were not complete when their connection ended.";
    carbon_rejected_blacklist, "carbon_rejected_total{reason=\"blacklist\"}", "carbon.rejected.blacklist",
        "Points that the blacklist holds.";
    carbon_rejected_whitelist, "carbon_rejected_total{reason=\"whitelist\"}", "carbon.rejected.whitelist",
        "Points that the whitelist does not hold.";
    carbon_pickles_refused, "carbon_pickles_refused_total", "carbon.pickles_refused",
        "Pickles that were refused whole; the connection went on.";
    carbon_pickles_too_long, "carbon_pickles_too_long_total", "carbon.pickles_too_long",
        "Pickles longer than `[carbon] frame_length`; they end the connection.";
    carbon_pickles_no_room, "carbon_pickles_no_room_total", "carbon.pickles_no_room",
        "Unfinished pickles for which there was no memory left; they end the connection.";
    carbon_pickles_slow, "carbon_pickles_slow_total", "carbon.pickles_slow",
        "Pickles whose sender took too long over them; they end the connection.";
    carbon_dropped, "carbon_dropped_total", "carbon.dropped",
        "Points received by UDP that were dropped because the engine was behind.";
    carbon_kernel_drops, "carbon_kernel_drops_total", "carbon.kernel_drops",
        "Carbon datagrams that the kernel dropped because the socket's buffer was full (Linux).";
    carbon_queries, "carbon_queries_total", "carbon.queries", "Questions that `[carbon] query_listen` answered.";
    carbon_failed, "carbon_failed_total", "carbon.failed", "Points that could not be stored.";
    carbon_waits, "carbon_waits_total", "carbon.waits",
        "Times a connection was not read because the engine was behind.";
    aggregator_points, "aggregator_points_total", "aggregator.points", "Points the aggregator received.";
    aggregator_emitted, "aggregator_emitted_total", "aggregator.emitted", "Aggregates the aggregator emitted.";
    aggregator_forwarded, "aggregator_forwarded_total", "aggregator.forwarded", "Points the aggregator passed on.";
    aggregator_unmatched, "aggregator_unmatched_total", "aggregator.unmatched",
        "Points for which there is no aggregation rule.";
    aggregator_rejected_name, "aggregator_rejected_total{reason=\"name\"}", "aggregator.rejected.name",
        "Names that the rules made malformed.";
    aggregator_refused, "aggregator_refused_total", "aggregator.refused",
        "Contributions to an aggregate lost to the limits on intervals and values.";
    aggregator_intervals, "aggregator_intervals", "aggregator.intervals", "Intervals the aggregator holds.";
    aggregator_failed, "aggregator_failed_total", "aggregator.failed",
        "Points of the aggregator that could not be stored.";
    relay_points, "relay_points_total", "relay.points", "Points the relay received.";
    relay_sent, "relay_sent_total", "relay.sent", "Points sent to destinations, each counted for itself.";
    relay_dropped, "relay_dropped_total", "relay.dropped",
        "Points dropped because the queue of a destination was full (`[relay] queue`).";
    relay_unrouted, "relay_unrouted_total", "relay.unrouted", "Points that have no destination.";
    relay_unsendable, "relay_unsendable_total", "relay.unsendable", "Points whose name holds a blank, which a line cannot.";
    relay_failures, "relay_failures_total", "relay.failures", "Connections and writes to destinations that failed.";
    relay_damaged, "relay_damaged_total", "relay.damaged", "Files of queues that could not be read to their end.";
    statsd_packets, "statsd_packets_total", "statsd.packets", "StatsD datagrams and pieces of streams received.";
    statsd_bytes, "statsd_bytes_total", "statsd.bytes", "Bytes of StatsD datagrams and streams received.";
    statsd_waits, "statsd_waits_total", "statsd.waits", "Writes of StatsD flushes that waited for the engine.";
    events_lost, "events_lost_total", "events.lost",
        "Events of collectd and DogStatsD lost because too many waited or the catalogue did not take them.";
    statsd_notices, "statsd_notices_total", "statsd.notices",
        "DogStatsD events and service checks; the former go to `/events`, the latter are points.";
    statsd_repeated, "statsd_repeated_total", "statsd.repeated", "StatsD packets sent on to `[statsd] repeater`.";
    statsd_repeat_failed, "statsd_repeat_failed_total", "statsd.repeat_failed",
        "StatsD packets that a destination of `[statsd] repeater` did not take.";
    statsd_dropped, "statsd_dropped_total", "statsd.dropped",
        "StatsD datagrams dropped because `[statsd] queue` was full.";
    statsd_lines_unfinished, "statsd_lines_unfinished_total", "statsd.lines_unfinished",
        "Lines of StatsD streams lost because the connection ended before they did.";
    statsd_bad_lines, "statsd_bad_lines_total", "statsd.bad_lines", "StatsD lines that the grammar refused, and those longer than max_line_bytes.";
    statsd_keys, "statsd_keys", "statsd.keys", "Keys that the StatsD aggregator knows.";
    statsd_limited, "statsd_limited_total", "statsd.limited",
        "Values, samples, members and events left out because of `[statsd] max_keys`, max_samples and the like.";
    statsd_kernel_drops, "statsd_kernel_drops_total", "statsd.kernel_drops",
        "StatsD datagrams that the kernel dropped because the socket's buffer was full (Linux).";
    statsd_flushes, "statsd_flushes_total", "statsd.flushes", "StatsD flushes stored.";
    statsd_flushed_points, "statsd_flushed_points_total", "statsd.flushed_points", "Points of StatsD flushes stored.";
    statsd_failed, "statsd_failed_total", "statsd.failed", "Points of StatsD flushes that could not be stored.";
    collectd_datagrams, "collectd_datagrams_total", "collectd.datagrams", "Datagrams that collectd listeners received.";
    collectd_bytes, "collectd_bytes_total", "collectd.bytes", "Bytes that collectd listeners received.";
    collectd_lists, "collectd_lists_total", "collectd.lists", "Value lists of collectd that were understood.";
    collectd_points, "collectd_points_total", "collectd.points", "Points that value lists of collectd gave.";
    collectd_unknown, "collectd_unknown_total", "collectd.unknown",
        "Values of collectd without a point: unknown ones, and first ones of a counter.";
    collectd_notifications, "collectd_notifications_total", "collectd.notifications",
        "Notifications of collectd; they go to `/events`.";
    collectd_unknown_parts, "collectd_unknown_parts_total", "collectd.unknown_parts",
        "Parts of collectd's datagrams that were skipped because nobody knows their type.";
    collectd_rejected_malformed, "collectd_rejected_total{reason=\"malformed\"}", "collectd.rejected.malformed",
        "Datagrams of which a part cannot be read, and bodies that are none of write_http.";
    collectd_rejected_incomplete, "collectd_rejected_total{reason=\"incomplete\"}", "collectd.rejected.incomplete",
        "Value lists and notifications that lack a name, a time or a message.";
    collectd_rejected_insecure, "collectd_rejected_total{reason=\"insecure\"}", "collectd.rejected.insecure",
        "Parts of datagrams that `[collectd] security_level` wants signed or encrypted.";
    collectd_rejected_credentials, "collectd_rejected_total{reason=\"credentials\"}",
        "collectd.rejected.credentials", "Signatures and encryptions that fit no user of `[collectd] auth_file`.";
    collectd_rejected_type, "collectd_rejected_total{reason=\"type\"}", "collectd.rejected.type",
        "Value lists of a type that no types.db has.";
    collectd_rejected_count, "collectd_rejected_total{reason=\"count\"}", "collectd.rejected.count",
        "Value lists with another number of values than their type.";
    collectd_rejected_name, "collectd_rejected_total{reason=\"name\"}", "collectd.rejected.name",
        "Values of collectd with a malformed name.";
    collectd_rejected_rule, "collectd_rejected_total{reason=\"rule\"}", "collectd.rejected.rule",
        "Points of collectd refused for a type, a limit of `[limits]`, or a time out of range.";
    collectd_dropped, "collectd_dropped_total", "collectd.dropped",
        "Points of collectd received by UDP that were dropped because the engine was behind.";
    collectd_kernel_drops, "collectd_kernel_drops_total", "collectd.kernel_drops",
        "collectd datagrams that the kernel dropped because the socket's buffer was full (Linux).";
    collectd_failed, "collectd_failed_total", "collectd.failed", "Points of collectd that could not be stored.";
    collectd_waits, "collectd_waits_total", "collectd.waits",
        "Writes of collectd's values that waited for the engine.";
    collectd_series, "collectd_series", "collectd.series", "Series whose last values are kept for rates.";
    collectd_rates_refused, "collectd_rates_refused_total", "collectd.rates_refused",
        "Value lists without rates because of `[collectd.graphite] max_series`.";
    connections_accepted, "connections_accepted_total", "connections.accepted",
        "Connections of carbon, aggregator and StatsD listeners.";
    connections_open, "connections_open", "connections.open",
        "Connections of carbon, aggregator and StatsD listeners that are open now.";
    connections_refused, "connections_refused_total{reason=\"limit\"}", "connections.refused",
        "Connections closed because `[limits] connections` were open.";
    connections_not_allowed, "connections_refused_total{reason=\"allow\"}", "connections.not_allowed",
        "Connections closed, and datagrams dropped, because `allow` does not hold the peer.";
    connections_idle, "connections_idle_total", "connections.idle",
        "Connections closed because they said nothing for `[limits] idle_timeout`.";
    accept_errors, "accept_errors_total", "connections.accept_errors",
        "Connections that could not be accepted (mostly: too many open files).";
    influx_points, "influx_points_total", "influx.points", "Points of line protocol that were stored.";
    influx_values, "influx_values_total", "influx.values", "Field values of line protocol that were stored.";
    influx_refused_syntax, "influx_refused_total{reason=\"syntax\"}", "influx.refused.syntax",
        "Lines of line protocol that are not well formed.";
    influx_refused_rule, "influx_refused_total{reason=\"rule\"}", "influx.refused.rule",
        "Points of line protocol refused for a type, a name, a limit of `[limits]`, or the bad lines beside them.";
    influx_refused_old, "influx_refused_total{reason=\"old\"}", "influx.refused.old",
        "Points of line protocol older than their retention policy keeps.";
    influx_busy_queries, "influx_busy_queries_total", "influx.busy.queries",
        "Requests with InfluxQL refused because too many were running.";
    influx_queries, "influx_queries_total", "influx.queries", "Requests with InfluxQL that were executed.";
    query_refused_memory, "query_refused_memory_total", "query.refused_memory",
        "InfluxQL statements refused because they would hold more than `[query] max_select_values`.";
    into_points, "into_points_total", "into.points", "Points that SELECT INTO and continuous queries wrote.";
    into_refused, "into_refused_total", "into.refused",
        "Points of SELECT INTO and of continuous queries refused for a type, a name, a limit of `[limits]` or their age.";
    continuous_runs, "continuous_runs_total", "continuous.runs", "Runs of continuous queries that ended well.";
    continuous_failed, "continuous_failed_total", "continuous.failed", "Runs of continuous queries that failed.";
    influx_cut_documents, "influx_cut_documents_total", "influx.cut_documents",
        "MessagePack answers cut because they were too long for one document.";
    influx_stalled, "influx_stalled_total", "influx.stalled",
        "Answers to InfluxQL cut because their client did not take them.";
    graphite_events, "graphite_events_total", "graphite.events", "Events that were posted.";
    graphite_events_dropped, "graphite_events_dropped_total", "graphite.events_dropped",
        "Old events that went because there were too many.";
    graphite_stalled, "graphite_stalled_total", "graphite.stalled",
        "Answers that were dropped because their client did not read them.";
    graphite_refused, "graphite_refused_total", "graphite.refused",
        "Graphite requests refused because they were malformed or beyond a limit.";
    http_requests, "http_requests_total", "http.requests", "HTTP requests answered.";
    http_client_errors, "http_errors_total{class=\"4xx\"}", "http.client_errors",
        "HTTP requests answered with a status from 400 to 499.";
    http_server_errors, "http_errors_total{class=\"5xx\"}", "http.server_errors",
        "HTTP requests answered with a status from 500.";
    http_too_large, "http_too_large_total", "http.too_large", "HTTP requests with a body above `[http] body_max`.";
    http_panics, "http_panics_total", "http.panics", "HTTP requests that ended in a panic: a bug.";
    http_connections, "http_connections", "http.connections", "HTTP connections that are open now.";
    http_connections_waited, "http_connections_waited_total", "http.connections_waited",
        "Times a new HTTP connection had to wait because `[http] connections` were open.";
    http_timeouts, "http_header_timeouts_total", "http.header_timeouts",
        "HTTP connections cut off by `[http] header_timeout`.";
    http_busy_poll_hits, "http_busy_poll_hits_total", "http.busy_poll.hits",
        "Times the next request of a client came while it was looked for (`[http] busy_poll`).";
    http_busy_poll_misses, "http_busy_poll_misses_total", "http.busy_poll.misses",
        "Times the next request of a client was looked for and did not come.";
    http_busy_bodies, "http_busy_bodies_total", "http.busy_bodies",
        "HTTP requests refused because too many bytes of bodies were held.";
    http_body_timeouts, "http_body_timeouts_total", "http.body_timeouts",
        "HTTP requests given up because their body paused.";
    http_foreign_origins, "http_foreign_origins_total", "http.foreign_origins",
        "HTTP requests refused because they may change something and came from a page of a foreign origin.";
    http_foreign_hosts, "http_foreign_hosts_total", "http.foreign_hosts",
        "HTTP requests refused because they called this server by a name that is not its own.";
    auth_failed, "auth_failed_total", "auth.failed", "Requests without credentials, or with wrong ones.";
    auth_forbidden, "auth_forbidden_total", "auth.forbidden", "Requests whose credentials do not allow them.";
    auth_compared, "auth_compared_total", "auth.compared",
        "Passwords compared with their hash; those that are remembered are not.";
    auth_busy, "auth_busy_total", "auth.busy", "Log-ins refused because too many passwords were being checked.";
    influx_udp_datagrams, "influx_udp_datagrams_total", "influx.udp.datagrams",
        "Datagrams with line protocol received.";
    influx_udp_bytes, "influx_udp_bytes_total", "influx.udp.bytes", "Bytes of datagrams with line protocol received.";
    influx_udp_dropped, "influx_udp_dropped_total", "influx.udp.dropped",
        "Datagrams with line protocol dropped because the engine was behind.";
    influx_udp_failed, "influx_udp_failed_total", "influx.udp.failed",
        "Datagrams with line protocol that could not be stored.";
    influx_udp_kernel_drops, "influx_udp_kernel_drops_total", "influx.udp.kernel_drops",
        "Datagrams with line protocol that the kernel dropped because the socket's buffer was full (Linux).";
    self_failed, "self_failed_total", "self.failed", "Points of the server's own series that could not be stored.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_fit_where_they_go() {
        let counters = Counters::default();
        counters.carbon_points.add(2);
        let samples = counters.samples();
        assert_eq!(samples[0].value, 2);
        for names in [samples.iter().map(|s| s.metric).collect::<Vec<_>>(), samples.iter().map(|s| s.path).collect()] {
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        }
        for sample in samples {
            let fits = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_');
            assert!(sample.path.bytes().all(fits), "{}", sample.path);
        }
    }
}
