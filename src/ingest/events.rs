//! Events that come by protocols without answers: notifications of collectd, events of DogStatsD.
//!
//! Order of events: an adapter puts one on the [`EventQueue`] and goes on; a task ([`EventWriter`]) takes what waits and
//! keeps it in the catalogue, where `/events` finds it, in one transaction.
//!
//! Limits: [`QUEUED_MAX`] events wait; one that finds no room, and one that the catalogue does not take, is lost and
//! counted. Texts are cut to what an event may hold.

use std::sync::Arc;

use rhythmite_env::Clock;
use rhythmite_graphite::events::NewEvent;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::catalog::Events;
use crate::counters::Counters;
use crate::seldom::Seldom;

/// Events that may wait: of 64 KiB at most, so 64 MiB if somebody makes them as long as they can be.
pub const QUEUED_MAX: usize = 1_024;
/// Events of one transaction.
const BATCH_MAX: usize = 256;
/// Bytes of a lost event's title that are told.
const SAMPLE_BYTES_MAX: usize = 200;
const SECOND_US: i64 = 1_000_000;

/// Where adapters put events; cheap to clone.
#[derive(Clone)]
pub struct EventQueue {
    waiting: mpsc::Sender<NewEvent>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

/// Keeps what is queued.
pub struct EventWriter {
    waiting: mpsc::Receiver<NewEvent>,
    events: Events,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

/// A queue and its other end, which somebody has to run.
pub fn queue(events: Events, clock: Arc<dyn Clock>, counters: Arc<Counters>) -> (EventQueue, EventWriter) {
    let (sender, waiting) = mpsc::channel(QUEUED_MAX);
    let queue = EventQueue { waiting: sender, clock: clock.clone(), counters: counters.clone() };
    (queue, EventWriter { waiting, events, clock, counters })
}

impl EventQueue {
    /// Queues an event; without room it is lost and counted. Never waits.
    pub fn push(&self, event: NewEvent) {
        if let Err(e) = self.waiting.try_send(event) {
            lost(&self.counters, &*self.clock, &e.into_inner());
        }
    }
}

impl EventWriter {
    /// Keeps events until `end`, then what still waits.
    pub async fn run(mut self, end: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased;
                received = self.waiting.recv_many(&mut batch, BATCH_MAX) => if received == 0 { return },
                () = end.cancelled() => return,
            }
            self.keep(std::mem::take(&mut batch)).await;
        }
    }

    async fn keep(&self, events: Vec<NewEvent>) {
        static FAILED: Seldom = Seldom::new();
        let (count, now_us) = (events.len() as u64, self.clock.now_s().saturating_mul(SECOND_US));
        let first = events[0].clone();
        match self.events.add_all(events, now_us).await {
            Ok(dropped) => {
                self.counters.graphite_events.add(count);
                self.counters.graphite_events_dropped.add(dropped);
            }
            Err(e) => {
                lost(&self.counters, &*self.clock, &first);
                self.counters.events_lost.add(count - 1);
                if FAILED.now(&*self.clock) {
                    tracing::error!("{count} events cannot be kept: {e}");
                }
            }
        }
    }
}

fn lost(counters: &Counters, clock: &dyn Clock, event: &NewEvent) {
    counters.events_lost.one();
    let sample = &event.what[..event.what.floor_char_boundary(SAMPLE_BYTES_MAX)];
    counters.offenders.note("events.lost", sample.as_bytes(), clock.now_s());
}

#[cfg(test)]
mod tests {
    use rhythmite_env::SystemClock;
    use rhythmite_graphite::events::{EventQuery, TagSet};

    use super::*;
    use crate::catalog::Catalog;

    #[tokio::test]
    async fn what_finds_no_room_is_counted_and_what_waits_at_the_end_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("catalog.sqlite")).unwrap();
        let counters = Arc::new(Counters::default());
        let (queue, writer) = queue(catalog.events(), Arc::new(SystemClock::new()), counters.clone());
        for i in 0..QUEUED_MAX as i64 + 2 {
            queue.push(NewEvent::fitting(&format!("event {i}"), ["a"], "", i));
        }
        assert_eq!(counters.events_lost.get(), 2);
        assert_eq!(counters.offenders.last("events.lost")[0].text, format!("event {}", QUEUED_MAX + 1));
        let end = CancellationToken::new();
        end.cancel();
        writer.run(end).await;
        let query = EventQuery { from_us: 0, until_us: i64::MAX, tags: None, set: TagSet::Union };
        let kept = catalog.events().find(query).await.unwrap();
        assert_eq!((kept.len(), counters.graphite_events.get()), (QUEUED_MAX, QUEUED_MAX as u64));
        assert_eq!((kept[1].what.as_str(), kept[1].time_us), ("event 1", SECOND_US));
    }
}
