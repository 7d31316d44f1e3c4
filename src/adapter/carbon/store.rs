//! Batches on their way to the disk, as many as one connection may have.

use std::collections::VecDeque;
use std::time::Duration;

use rhythmite_engine::{Commit, Durability};
use rhythmite_model::{Error, ErrorKind};

use crate::adapter::Shared;
use crate::adapter::log::Seldom;
use crate::ingest::PathPoints;

/// Batches that may wait for the disk before the connection does.
const IN_FLIGHT_MAX: usize = 4;
/// The first pause when the engine is behind; it doubles up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// One sender's way to storage.
pub(super) struct Store {
    shared: Shared,
    durability: Durability,
    in_flight: VecDeque<(Commit, usize)>,
}

impl Store {
    pub(super) fn new(shared: Shared, durability: Durability) -> Self {
        Self { shared, durability, in_flight: VecDeque::new() }
    }

    /// Stores a batch, waiting as long as the engine is behind, and empties it. What cannot be stored is counted.
    pub(super) async fn write(&mut self, points: &mut PathPoints) {
        if points.is_empty() {
            return;
        }
        let mut pause = PAUSE_MIN;
        loop {
            match self.shared.paths.write_paths(points, self.durability) {
                Ok(commit) => {
                    self.in_flight.push_back((commit, points.len()));
                    break;
                }
                Err(e) if e.kind() == ErrorKind::Overloaded => {
                    self.shared.counters.carbon_waits.one();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(e) => {
                    self.lost(points.len(), &e);
                    break;
                }
            }
        }
        points.clear();
        while self.in_flight.len() > IN_FLIGHT_MAX {
            self.settle().await;
        }
    }

    /// Stores a batch if there is room now; else it is dropped and counted.
    pub(super) async fn write_or_drop(&mut self, points: &mut PathPoints) {
        match self.shared.paths.write_paths(points, self.durability) {
            Ok(commit) => self.in_flight.push_back((commit, points.len())),
            Err(e) if e.kind() == ErrorKind::Overloaded => self.shared.counters.carbon_dropped.add(points.len() as u64),
            Err(e) => self.lost(points.len(), &e),
        }
        points.clear();
        while self.in_flight.len() > IN_FLIGHT_MAX {
            self.settle().await;
        }
    }

    /// Waits until every batch is where its durability wants it.
    pub(super) async fn finish(&mut self) {
        while !self.in_flight.is_empty() {
            self.settle().await;
        }
    }

    async fn settle(&mut self) {
        if let Some((commit, points)) = self.in_flight.pop_front()
            && let Err(e) = commit.await
        {
            self.lost(points, &e);
        }
    }

    fn lost(&self, points: usize, e: &Error) {
        static LOST: Seldom = Seldom::new();
        self.shared.counters.carbon_failed.add(points as u64);
        if LOST.now(&*self.shared.clock) {
            tracing::error!("carbon: {points} points cannot be stored: {e}");
        }
    }
}
