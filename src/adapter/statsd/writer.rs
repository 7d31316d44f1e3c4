//! Stores flushes, one after the other.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rhythmite_carbon::name;
use rhythmite_engine::Durability;
use rhythmite_statsd::{Flush, FlushReport};
use tokio::sync::mpsc;

use crate::adapter::Shared;
use crate::adapter::store::{Loss, Store};
use crate::counters::Counters;
use crate::ingest::PathPoints;

/// Flushes that wait for the one that is being stored.
pub(super) const FLUSHES_MAX: usize = 2;
/// Intervals after which a flush that could not be stored is given up.
const INTERVALS_MAX: u32 = 2;
/// Points of one write: the log takes a write whole or not at all.
const POINTS_MAX: usize = 8 << 10;

/// A flush under canonical names, in writes of bounded size.
pub(super) struct Points {
    writes: Vec<PathPoints>,
    bytes: usize,
}

impl Points {
    pub(super) fn new(flush: &Flush, counters: &Counters) -> Self {
        let mut points = Self { writes: Vec::new(), bytes: 0 };
        let mut scratch = String::new();
        let (ts_s, stamped) = (flush.ts_s(), flush.stamped().iter());
        let all = flush.iter().zip(flush.senders()).map(|((name, value), sender)| (name, ts_s, value, sender));
        let stamped = stamped.map(|s| (&*s.name, s.ts_s, s.value, s.sender));
        for (name, ts_s, value, sender) in all.chain(stamped) {
            match name::canonical(name, &mut scratch) {
                Ok(path) => points.push(path, ts_s, value, sender),
                Err(_) => counters.statsd_failed.one(),
            }
        }
        points
    }

    fn push(&mut self, path: &str, ts_s: i64, value: f64, sender: Option<IpAddr>) {
        if self.writes.last().is_none_or(|points| points.len() >= POINTS_MAX) {
            self.writes.push(PathPoints::of("statsd"));
        }
        if let Some(points) = self.writes.last_mut() {
            points.begin(sender);
            points.push(path, ts_s, value);
            self.bytes += path.len();
        }
    }

    fn len(&self) -> u64 {
        self.writes.iter().map(|points| points.len() as u64).sum()
    }
}

/// The aggregator's end of the writer.
pub(super) struct Flushes {
    queue: mpsc::Sender<Points>,
    report: Arc<Mutex<FlushReport>>,
}

impl Flushes {
    /// Queues a flush; if the writer is that far behind, it is lost and counted.
    pub(super) fn hand_over(&self, points: Points, counters: &Counters) {
        if let Err(e) = self.queue.try_send(points) {
            counters.statsd_failed.add(e.into_inner().len());
        }
    }

    /// How storing went last.
    pub(super) fn report(&self) -> FlushReport {
        *self.report.lock()
    }
}

pub(super) struct Writer {
    shared: Shared,
    store: Store,
    flushes: mpsc::Receiver<Points>,
    report: Arc<Mutex<FlushReport>>,
    patience: Duration,
}

impl Writer {
    /// A writer whose flushes may take two of `interval`.
    pub(super) fn new(shared: &Shared, durability: Durability, interval: Duration) -> (Self, Flushes) {
        let (sender, flushes) = mpsc::channel(FLUSHES_MAX);
        let report = Arc::new(Mutex::new(FlushReport::default()));
        let store =
            Store::new(shared.clone(), durability, |c| &c.statsd_waits, Loss(|c| &c.statsd_failed, "statsd.failed"));
        let patience = interval.saturating_mul(INTERVALS_MAX);
        let writer = Self { shared: shared.clone(), store, flushes, report: report.clone(), patience };
        (writer, Flushes { queue: sender, report })
    }

    /// Stores until the owner of the aggregator has ended.
    pub(super) async fn run(mut self) {
        while let Some(points) = self.flushes.recv().await {
            let begun = self.shared.clock.monotonic();
            let lost = self.write(&points).await;
            let took = self.shared.clock.monotonic().saturating_sub(begun);
            self.shared.counters.statsd_flushes.one();
            self.shared.counters.statsd_flushed_points.add(points.len() - lost);
            let mut report = self.report.lock();
            report.flush_ms = whole_ms(took);
            report.flush_bytes = points.bytes as f64;
            if lost > 0 {
                report.last_exception_s = self.shared.clock.now_s();
            }
        }
    }

    /// Stores a flush; says how many of its points are lost.
    async fn write(&mut self, points: &Points) -> u64 {
        let deadline = tokio::time::Instant::now() + self.patience;
        let mut lost = 0;
        for write in &points.writes {
            let stored = tokio::time::timeout_at(deadline, self.store.write(write)).await;
            lost += match stored {
                Ok(true) => 0,
                // Counted by the store.
                Ok(false) => write.len() as u64,
                Err(_) => {
                    self.shared.counters.statsd_failed.add(write.len() as u64);
                    write.len() as u64
                }
            };
        }
        // With `sync` the last writes may still be on their way; what fails then is counted by the store.
        let _ = tokio::time::timeout_at(deadline, self.store.finish()).await;
        if lost > 0 {
            tracing::error!("StatsD: {lost} of {} points of a flush are lost: storage is behind", points.len());
        }
        lost
    }
}

/// Milliseconds without decimals, as the reference measures.
pub(super) fn whole_ms(took: Duration) -> f64 {
    (took.as_secs_f64() * 1000.0).round()
}
