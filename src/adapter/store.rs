//! Batches on their way to the disk, as many as one sender may have, and what happens when the engine is behind.

use std::collections::VecDeque;
use std::time::Duration;

use rhythmite_engine::{Commit, Durability};
use rhythmite_model::{Error, Result};

use super::Shared;
use crate::counters::{Counter, Counters};
use crate::ingest::PathPoints;
use crate::ingest::collectd::{CollectdIngest, Values};
use crate::seldom::Seldom;
use crate::senders::Sender;

/// Batches that may wait for the disk before the sender does.
const IN_FLIGHT_MAX: usize = 4;
/// The first pause when the engine is behind; it doubles up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Which of the counters.
pub(super) type Which = fn(&Counters) -> &Counter;

/// Points that are lost: their counter, and its path.
#[derive(Clone, Copy)]
pub(super) struct Loss(pub(super) Which, pub(super) &'static str);

/// Points that are one write.
pub(super) trait Batch {
    /// How many.
    fn points(&self) -> usize;

    /// The name of the first, for messages.
    fn sample(&self) -> &str;

    /// Who sent the first.
    fn sender(&self) -> Sender<'_>;

    /// Hands them to the engine.
    ///
    /// # Errors
    /// `Overloaded`: nothing was written.
    fn write(&self, shared: &Shared, durability: Durability) -> Result<Commit>;
}

impl Batch for PathPoints {
    fn points(&self) -> usize {
        self.len()
    }

    fn sample(&self) -> &str {
        self.first_path()
    }

    fn sender(&self) -> Sender<'_> {
        self.sender(0)
    }

    fn write(&self, shared: &Shared, durability: Durability) -> Result<Commit> {
        shared.paths.write_paths(self, durability)
    }
}

impl Batch for (&CollectdIngest, &Values) {
    fn points(&self) -> usize {
        self.1.len()
    }

    fn sample(&self) -> &str {
        self.1.sample()
    }

    fn sender(&self) -> Sender<'_> {
        self.1.sender()
    }

    fn write(&self, _: &Shared, durability: Durability) -> Result<Commit> {
        self.0.write(self.1, durability)
    }
}

/// One sender's way to storage.
pub(super) struct Store {
    shared: Shared,
    durability: Durability,
    in_flight: VecDeque<(Commit, usize)>,
    waits: Which,
    failed: Loss,
}

impl Store {
    /// `waits` counts batches for which there was no room at once, `failed` points that are lost.
    pub(super) fn new(shared: Shared, durability: Durability, waits: Which, failed: Loss) -> Self {
        Self { shared, durability, in_flight: VecDeque::new(), waits, failed }
    }

    /// Stores a batch, waiting as long as the engine is behind; `false` if it cannot be stored, which is counted.
    ///
    /// Cancelled during a wait, the batch is not stored and not counted.
    pub(super) async fn write(&mut self, points: &PathPoints) -> bool {
        if points.is_empty() {
            return true;
        }
        let mut pause = PAUSE_MIN;
        loop {
            match self.shared.paths.write_paths(points, self.durability) {
                Ok(commit) => {
                    self.in_flight.push_back((commit, points.len()));
                    break;
                }
                Err(e) if e.kind().is_no_room() && !self.shared.cut.is_cancelled() => {
                    if pause == PAUSE_MIN {
                        (self.waits)(&self.shared.counters).one();
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.shared.cut.cancelled() => {}
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(e) => {
                    self.lost(points.len(), &e);
                    return false;
                }
            }
        }
        self.settle(IN_FLIGHT_MAX).await;
        // Others' turn: a sender that never pauses would keep this thread.
        tokio::task::yield_now().await;
        true
    }

    /// Stores a batch if there is room now; else it is dropped and counted.
    pub(super) async fn write_or_drop(&mut self, points: &impl Batch, dropped: Loss) {
        if points.points() > 0 {
            match points.write(&self.shared, self.durability) {
                Ok(commit) => self.in_flight.push_back((commit, points.points())),
                Err(e) if e.kind().is_no_room() => {
                    self.count(dropped, points.points(), points.sample(), points.sender());
                }
                Err(e) => self.lost(points.points(), &e),
            }
            self.settle(IN_FLIGHT_MAX).await;
        }
        tokio::task::yield_now().await;
    }

    /// Waits until every batch is where its durability wants it.
    pub(super) async fn finish(&mut self) {
        self.settle(0).await;
    }

    async fn settle(&mut self, left: usize) {
        while self.in_flight.len() > left {
            if let Some((commit, points)) = self.in_flight.pop_front()
                && let Err(e) = commit.await
            {
                self.lost(points, &e);
            }
        }
    }

    fn lost(&self, points: usize, e: &Error) {
        static LOST: Seldom = Seldom::new();
        self.count(self.failed, points, e.message(), Sender::Unknown);
        if LOST.now(&*self.shared.clock) {
            tracing::error!("{points} points cannot be stored: {e}");
        }
    }

    fn count(&self, Loss(counter, reason): Loss, points: usize, sample: &str, sender: Sender<'_>) {
        let counters = &self.shared.counters;
        counter(counters).add(points as u64);
        counters.offenders.note_from(reason, sample.as_bytes(), sender, self.shared.clock.now_s());
    }
}
