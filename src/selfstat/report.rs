//! The loop that writes the figures as series.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rhythmite_engine::Durability;
use rhythmite_env::Clock;
use tokio_util::sync::CancellationToken;

use super::{Figures, kernel_drops, machine, relays};
use crate::ingest::PathPoints;
use crate::relay::Relay;

/// UDP sockets whose drops the kernel counts.
#[derive(Clone, Debug, Default)]
pub struct UdpSockets {
    /// Carbon's.
    pub carbon: Vec<SocketAddr>,
    /// StatsD's.
    pub statsd: Vec<SocketAddr>,
    /// collectd's.
    pub collectd: Vec<SocketAddr>,
    /// InfluxDB's.
    pub influx: Vec<SocketAddr>,
}

/// Writes the figures every `interval`, at multiples of it, until `stop`. May be dropped at any await.
pub async fn run(
    figures: Figures,
    relay: Option<Arc<Relay>>,
    sockets: UdpSockets,
    clock: Arc<dyn Clock>,
    interval: Duration,
    prefix: String,
    stop: CancellationToken,
) {
    let mut reporter = Reporter::new(figures, relay, sockets, machine::host(), prefix);
    reporter.remember();
    loop {
        let now_ns = u128::try_from(clock.now_ns()).unwrap_or(0);
        let left_ns = interval.as_nanos() - now_ns % interval.as_nanos();
        let left = Duration::from_nanos(u64::try_from(left_ns).unwrap_or(u64::MAX));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(left) => {}
        }
        reporter.write(clock.now_s(), interval);
    }
}

struct Reporter {
    figures: Figures,
    relay: Option<Arc<Relay>>,
    sockets: UdpSockets,
    host: String,
    /// Before `agents` and `relays`, in the classic names.
    prefix: String,
    /// Counts at the last report, by series.
    last: HashMap<String, f64>,
    points: PathPoints,
    /// Those of them that go to the relay's destinations too.
    relayed: PathPoints,
}

impl Reporter {
    fn new(figures: Figures, relay: Option<Arc<Relay>>, sockets: UdpSockets, host: String, prefix: String) -> Self {
        let (points, relayed) = (PathPoints::of("self"), PathPoints::of("self"));
        Self { figures, relay, sockets, host, prefix, last: HashMap::new(), points, relayed }
    }

    /// Takes the counts without a report, so that the first one tells of one interval.
    fn remember(&mut self) {
        self.gather(0, 1.0);
        self.points.clear();
    }

    fn write(&mut self, now_s: i64, interval: Duration) {
        self.points.clear();
        self.gather(now_s, interval.as_secs_f64());
        let written = self.figures.paths.write_paths(&self.points, Durability::Interval);
        if let Err(e) = written {
            self.figures.counters.self_failed.add(self.points.len() as u64);
            tracing::debug!("own series not stored: {e}");
        }
        if let Some(relay) = &self.relay {
            relay.send_own(&self.relayed);
        }
    }

    fn gather(&mut self, now_s: i64, interval_s: f64) {
        let counters = &self.figures.counters;
        for (sockets, count) in [
            (&self.sockets.carbon, &counters.carbon_kernel_drops),
            (&self.sockets.statsd, &counters.statsd_kernel_drops),
            (&self.sockets.collectd, &counters.collectd_kernel_drops),
            (&self.sockets.influx, &counters.influx_udp_kernel_drops),
        ] {
            if let Some(drops) = kernel_drops(sockets).filter(|_| !sockets.is_empty()) {
                count.set(drops);
            }
        }
        let samples = self.figures.samples();
        let mut grown = HashMap::new();
        for sample in &samples {
            let path = format!("rhythmite.{}.{}", self.host, sample.path);
            let value = sample.value as f64;
            if sample.is_count() {
                let growth = growth(&mut self.last, &path, value);
                grown.insert(sample.path, growth);
                self.points.push(&path, now_s, growth / interval_s);
            } else {
                self.points.push(&path, now_s, value);
            }
        }
        self.classic(&samples, &grown, now_s, interval_s);
        for (name, value) in machine::machine() {
            let (name, growing) = name.strip_suffix("_total").map_or((name.as_str(), false), |name| (name, true));
            let path = format!("rhythmite.{}.machine.{name}", self.host);
            let value = if growing { growth(&mut self.last, &path, value) / interval_s } else { value };
            self.points.push(&path, now_s, value);
        }
    }

    /// What carbon calls it, for dashboards that exist.
    fn classic(
        &mut self,
        samples: &[crate::counters::Sample],
        grown: &HashMap<&str, f64>,
        now_s: i64,
        interval_s: f64,
    ) {
        let level = |path: &str| samples.iter().find(|s| s.path == path).map_or(0.0, |s| s.value as f64);
        let growth = |path: &str| grown.get(path).copied().unwrap_or(0.0);
        let committed = growth("paths.points");
        let updates = growth("wal.groups");
        let lists = growth("carbon.rejected.blacklist");
        let refused = ["shape", "utf8", "value", "time", "name", "length"];
        let refused = refused.map(|reason| growth(&format!("carbon.rejected.{reason}")));
        let errors = refused.iter().sum::<f64>() + growth("carbon.pickles_refused") + growth("carbon.failed");
        let common = [
            ("blacklistMatches", lists),
            ("whitelistRejects", growth("carbon.rejected.whitelist")),
            ("activeConnections", level("connections.open")),
            ("cpuUsage", growth("process.cpu_ms") / (interval_s * 10.0)),
            ("memUsage", level("process.resident_bytes")),
        ];
        let cache = [
            ("metricsReceived", growth("carbon.points")),
            ("committedPoints", committed),
            ("updateOperations", updates),
            ("pointsPerUpdate", if updates > 0.0 { committed / updates } else { 0.0 }),
            ("creates", growth("paths.created")),
            ("droppedCreates", growth("paths.refused")),
            ("errors", errors),
            ("cache.size", level("engine.memtable_bytes")),
            ("cache.overflow", growth("engine.overloaded")),
        ];
        for (name, value) in cache.into_iter().chain(common) {
            self.points.push(&format!("{}.agents.{}.{name}", self.prefix, self.host), now_s, value);
        }
        let Some(relay) = &self.relay else { return };
        self.relayed.clear();
        let below = format!("{}.relays.{}", self.prefix, self.host);
        for (name, figure) in relays::destinations(&relay.status(), &relay.take_longest()) {
            let path = format!("{below}.{name}");
            let value = match figure {
                relays::Figure::Count(count) => self::growth(&mut self.last, &path, count as f64),
                relays::Figure::Level(level) => level as f64,
            };
            self.relayed.push(&path, now_s, value);
        }
        for (name, value) in [("metricsReceived", growth("relay.points"))].into_iter().chain(common) {
            self.relayed.push(&format!("{below}.{name}"), now_s, value);
        }
        self.relayed.iter().for_each(|(path, ts_s, value)| self.points.push(path, ts_s, value));
    }
}

/// How much a count has grown since the last report; nothing the first time.
fn growth(last: &mut HashMap<String, f64>, path: &str, value: f64) -> f64 {
    match last.get_mut(path) {
        Some(before) => (value - std::mem::replace(before, value)).max(0.0),
        None => {
            last.insert(path.to_owned(), value);
            0.0
        }
    }
}
