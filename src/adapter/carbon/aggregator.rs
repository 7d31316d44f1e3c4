//! The aggregator between its ports and storage: one state machine, one clock.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rhythmite_carbon::aggregator::{AggregationRules, Aggregator, Options, RewriteRules};

use super::sink::accept;
use super::{Carbon, Destination};
use crate::adapter::DRAIN_MAX;
use crate::counters::Counters;
use crate::ingest::PathPoints;

/// How often the machine looks for what is due.
const TICK: Duration = Duration::from_secs(1);

/// The state machine, shared by its connections. The lock is held while one read is parsed, never across an await.
pub struct Aggregation {
    machine: Mutex<Aggregator>,
}

impl Aggregation {
    /// A machine with these rules.
    pub fn new(rules: AggregationRules, rewrites: RewriteRules, options: Options) -> Arc<Self> {
        Arc::new(Self { machine: Mutex::new(Aggregator::new(rules, rewrites, options)) })
    }

    pub(super) async fn run(&self, carbon: &Carbon) {
        let (shared, settings) = (&carbon.shared, &carbon.settings);
        let mut points = PathPoints::default();
        let mut store = carbon.store();
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = shared.stop.cancelled() => break,
            }
            let now_s = shared.clock.now_s();
            {
                let mut machine = self.machine.lock();
                machine.tick(now_s, &mut |point| accept(&mut points, &settings.filter, &shared.counters, point));
                self.count(&machine, &shared.counters);
            }
            store.write(&mut points).await;
        }
        // Connections add to it until they have ended.
        let _ = tokio::time::timeout(DRAIN_MAX, shared.tasks.wait()).await;
        {
            let mut machine = self.machine.lock();
            machine.drain(&mut |point| accept(&mut points, &settings.filter, &shared.counters, point));
            self.count(&machine, &shared.counters);
        }
        store.write(&mut points).await;
        store.finish().await;
    }

    fn count(&self, machine: &Aggregator, counters: &Counters) {
        let seen = machine.counters();
        counters.aggregator_emitted.set(seen.emitted);
        counters.aggregator_refused.set(seen.intervals_refused + seen.values_refused);
        counters.aggregator_intervals.set(machine.intervals_held() as u64);
    }
}

impl Destination {
    /// Runs `parse` with the aggregator if points go there.
    pub(super) fn with_aggregator<T>(&self, now_s: i64, parse: impl FnOnce(Option<(&mut Aggregator, i64)>) -> T) -> T {
        match self {
            Self::Store => parse(None),
            Self::Aggregate(aggregation) => parse(Some((&mut aggregation.machine.lock(), now_s))),
        }
    }
}
