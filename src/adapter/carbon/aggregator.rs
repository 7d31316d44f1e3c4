//! The aggregator between its ports and storage: one state machine, one clock.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use rhythmite_carbon::Point;
use rhythmite_carbon::aggregator::{AggregationRules, Aggregator, Options, RewriteRules};
use rhythmite_carbon::rules::Verdict;

use super::sink::count_refused;
use super::{Carbon, Destination};
use crate::adapter::DRAIN_MAX;
use crate::adapter::store::{Loss, Store};
use crate::ingest::PathPoints;

/// How often the machine looks for what is due.
const TICK: Duration = Duration::from_secs(1);
/// Points of one write: the log takes a write whole or not at all.
const POINTS_MAX: usize = 8 << 10;

/// The state machine, shared by its connections. The lock is held while one read is parsed, never across an await.
pub struct Aggregation {
    machine: Mutex<Aggregator>,
    /// Rules that hold from the next look at what is due.
    next: Mutex<Option<(AggregationRules, RewriteRules)>>,
}

impl Aggregation {
    /// A machine with these rules.
    pub fn new(rules: AggregationRules, rewrites: RewriteRules, options: Options) -> Arc<Self> {
        Arc::new(Self { machine: Mutex::new(Aggregator::new(rules, rewrites, options)), next: Mutex::default() })
    }

    /// Takes other rules within a second; what the old ones hold is emitted then.
    pub fn reload(&self, rules: AggregationRules, rewrites: RewriteRules) {
        *self.next.lock() = Some((rules, rewrites));
    }

    /// Emits until the server stops, and once more when the connections have ended, which add to it until then.
    pub(super) async fn run(self: Arc<Self>, carbon: Carbon) {
        let shared = carbon.shared.clone();
        let durability = carbon.settings.durability;
        let mut store = Store::new(
            shared.clone(),
            durability,
            |c| &c.carbon_waits,
            Loss(|c| &c.aggregator_failed, "aggregator.failed"),
        );
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = shared.stop.cancelled() => break,
            }
            self.emit(&carbon, &mut store, |machine, now_s, mut out| machine.tick(now_s, &mut out)).await;
        }
        // At the limit what connections still add is lost; they are cut.
        let _ = tokio::time::timeout(DRAIN_MAX, shared.tasks.wait()).await;
        self.emit(&carbon, &mut store, |machine, _, mut out| machine.drain(&mut out)).await;
        store.finish().await;
    }

    async fn emit(self: &Arc<Self>, carbon: &Carbon, store: &mut Store, ask: Ask) {
        let (this, carbon) = (self.clone(), carbon.clone());
        // A million aggregates hold a core for too long to do it on the io runtime.
        let asked = tokio::task::spawn_blocking(move || this.ask(&carbon, ask));
        // An error is a panic of the machine, which is in the log.
        for points in asked.await.unwrap_or_default() {
            store.write(&points).await;
        }
    }

    /// What the machine gives and the lists accept, in writes of bounded size.
    fn ask(&self, carbon: &Carbon, ask: Ask) -> Vec<PathPoints> {
        let (counters, now_s) = (&carbon.shared.counters, carbon.shared.clock.now_s());
        let mut machine = self.machine.lock();
        let mut judge = carbon.settings.filter.judge();
        let (mut blacklisted, mut not_whitelisted) = (0, 0);
        let mut writes = Vec::new();
        let mut points = PathPoints::of("aggregator");
        let mut keep = |point: Point<'_>| match judge.verdict(point.path) {
            Verdict::Accepted => {
                points.push(point.path, point.ts_s, point.value);
                if points.len() >= POINTS_MAX {
                    writes.push(std::mem::take(&mut points));
                }
            }
            Verdict::Blacklisted => blacklisted += 1,
            Verdict::NotWhitelisted => not_whitelisted += 1,
        };
        if let Some((rules, rewrites)) = self.next.lock().take() {
            machine.reload(rules, rewrites, &mut keep);
        }
        ask(&mut machine, now_s, &mut keep);
        writes.push(points);
        count_refused(counters, blacklisted, not_whitelisted);
        let seen = machine.counters();
        counters.aggregator_emitted.set(seen.emitted);
        counters.aggregator_forwarded.set(seen.forwarded);
        counters.aggregator_unmatched.set(seen.unmatched);
        counters.aggregator_rejected_name.set(seen.names_rejected);
        counters.aggregator_refused.set(seen.intervals_refused + seen.values_refused);
        counters.aggregator_intervals.set(machine.intervals_held() as u64);
        writes
    }
}

/// What is asked of the machine, at a time.
type Ask = fn(&mut Aggregator, i64, &mut dyn FnMut(Point<'_>));

impl Destination {
    /// The aggregator, locked, if points go there.
    pub(super) fn aggregator(&self) -> Option<MutexGuard<'_, Aggregator>> {
        match self {
            Self::Store | Self::Relay(..) => None,
            Self::Aggregate(aggregation) => Some(aggregation.machine.lock()),
        }
    }
}
