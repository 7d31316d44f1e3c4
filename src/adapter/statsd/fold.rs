//! The task that owns the aggregator.

use std::time::Duration;

use rhythmite_engine::Durability;
use rhythmite_model::ErrorKind;
use rhythmite_statsd::{Admin, Aggregator, Flush, FlushReport, Options};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Message;
use crate::adapter::Shared;
use crate::ingest::PathPoints;

/// Pause before a refused flush is tried again.
const RETRY: Duration = Duration::from_millis(50);
/// How long the last flush is tried for when the server stops.
const LAST_FLUSH_MAX: Duration = Duration::from_secs(2);

pub(super) struct Folder {
    shared: Shared,
    durability: Durability,
    interval: Duration,
    aggregator: Aggregator,
    admin: Admin,
    flush: Flush,
    /// The last flush, until it is stored.
    points: PathPoints,
    report: FlushReport,
}

impl Folder {
    pub(super) fn new(shared: Shared, options: Options, durability: Durability) -> Self {
        let interval = Duration::from_millis(options.flush_interval_ms());
        let admin = Admin::new(options.health_status);
        let aggregator = Aggregator::new(options, shared.clock.now_s());
        Self {
            shared,
            durability,
            interval,
            aggregator,
            admin,
            flush: Flush::new(),
            points: PathPoints::default(),
            report: FlushReport::default(),
        }
    }

    /// Folds and flushes until all senders are gone; then flushes what is there, which the reference loses.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut due = Instant::now() + self.until_next_flush();
        let mut retry = None;
        loop {
            // A flush goes before packets, or a flood would put it off.
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(due) => {
                    self.drop_unsaved();
                    self.emit();
                    retry = self.try_store().await;
                    due = Instant::now() + self.until_next_flush();
                }
                () = async { tokio::time::sleep_until(retry.unwrap_or(due)).await }, if retry.is_some() => {
                    retry = self.try_store().await;
                }
                message = queue.recv() => match message {
                    Some(message) => self.take(message),
                    None => break,
                },
            }
        }
        self.drop_unsaved();
        self.emit();
        let end = Instant::now() + LAST_FLUSH_MAX;
        while self.try_store().await.is_some() && Instant::now() < end {
            tokio::time::sleep(RETRY).await;
        }
        self.drop_unsaved();
    }

    fn take(&mut self, message: Message) {
        let now_s = self.shared.clock.now_s();
        match message {
            Message::Packets(bundle) => bundle.packets().for_each(|packet| self.aggregator.ingest(packet, now_s)),
            Message::Admin { line, reply } => {
                // Who asked may have gone.
                let _ = reply.send(self.admin.reply(&line, &mut self.aggregator, now_s));
            }
        }
    }

    /// To the next multiple of the interval by the wall clock.
    fn until_next_flush(&self) -> Duration {
        let interval_ns = i64::try_from(self.interval.as_nanos()).unwrap_or(i64::MAX);
        let past_ns = self.shared.clock.now_ns().rem_euclid(interval_ns);
        Duration::from_nanos((interval_ns - past_ns).unsigned_abs())
    }

    fn emit(&mut self) {
        let begun = self.shared.clock.monotonic();
        self.aggregator.emit(self.shared.clock.now_s(), &mut self.flush);
        let ts_s = self.flush.ts_s();
        let stamped = self.flush.stamped().iter().map(|point| (&*point.name, point.ts_s, point.value));
        let mut unnamed = 0;
        for (name, ts_s, value) in self.flush.iter().map(|(name, value)| (name, ts_s, value)).chain(stamped) {
            unnamed += u64::from(!push(&mut self.points, name, ts_s, value));
        }
        self.shared.counters.statsd_failed.add(unnamed);
        // Events have no place to go yet; without this they would pile up to their limit.
        drop(self.aggregator.take_notices());
        self.report.processing_ms = (self.shared.clock.monotonic() - begun).as_secs_f64() * 1000.0;
        self.count();
    }

    /// Stores the flush; when to try again if the engine is behind.
    async fn try_store(&mut self) -> Option<Instant> {
        if self.points.is_empty() {
            return None;
        }
        let counters = &self.shared.counters;
        let begun = self.shared.clock.monotonic();
        let stored = match self.shared.paths.write_paths(&self.points, self.durability) {
            Ok(commit) => commit.await,
            Err(e) if e.kind() == ErrorKind::Overloaded => return Some(Instant::now() + RETRY),
            Err(e) => Err(e),
        };
        match stored {
            Ok(()) => {
                counters.statsd_flushes.one();
                counters.statsd_flushed_points.add(self.points.len() as u64);
            }
            Err(e) => {
                counters.statsd_failed.add(self.points.len() as u64);
                self.report.last_exception_s = self.shared.clock.now_s();
                tracing::error!("StatsD: a flush of {} points cannot be stored: {e}", self.points.len());
            }
        }
        self.report.flush_ms = (self.shared.clock.monotonic() - begun).as_secs_f64() * 1000.0;
        self.report.flush_bytes = self.points.text_bytes() as f64;
        self.aggregator.report(self.report);
        self.points.clear();
        None
    }

    /// Gives up a flush that could not be stored in its time.
    fn drop_unsaved(&mut self) {
        if !self.points.is_empty() {
            self.shared.counters.statsd_failed.add(self.points.len() as u64);
            self.report.last_exception_s = self.shared.clock.now_s();
            self.aggregator.report(self.report);
            tracing::error!("StatsD: a flush of {} points is lost: storage is behind", self.points.len());
            self.points.clear();
        }
    }

    fn count(&self) {
        let (counters, drops) = (&self.shared.counters, self.aggregator.drops());
        counters.statsd_bad_lines.set(self.aggregator.bad_lines());
        counters.statsd_keys.set(self.aggregator.key_count() as u64);
        counters.statsd_limited.set(drops.keys + drops.samples + drops.members + drops.events + drops.tagged_lines);
    }
}

/// Adds a point under the canonical form of its name; says whether there is one.
fn push(points: &mut PathPoints, name: &str, ts_s: i64, value: f64) -> bool {
    let mut scratch = String::new();
    let canonical = rhythmite_carbon::name::canonical(name, &mut scratch);
    canonical.map(|path| points.push(path, ts_s, value)).is_ok()
}
