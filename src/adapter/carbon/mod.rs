//! Carbon's listeners: lines by TCP and UDP, pickles by TCP, and the same two into the aggregator and the relay.
//!
//! Order of events for a connection: bytes arrive, a framer cuts them, the parser hands every point to a [`sink::Intake`]
//! which asks the lists and fills a batch, the batch goes to `ingest`. A refused batch is tried again after a pause in
//! which the connection is not read, so that the sender feels it. With `durability = "sync"` a few batches may be on
//! their way to the disk; no more is read before the oldest is there.
//!
//! Limits: bytes of a line and of a frame, connections, idle time; [`TURNS_MAX`] batches in memory, of each connection
//! one unfinished line or pickle, and [`FRAMES_PENDING_BYTES`] of unfinished pickles together, each for [`FRAME_TIME`]. The aggregator's are in its options.

mod aggregator;
mod filter;
mod line;
mod pickle;
mod query;
mod sink;
mod udp;

use std::sync::Arc;
use std::time::Duration;

use rhythmite_engine::Durability;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::pickle::Payload;
use super::store::{Loss, Store};
use super::{Port, Shared, UdpPort, tcp};
use crate::ingest::PathPoints;
use crate::relay::Relay;

pub use aggregator::Aggregation;
pub use filter::NameFilter;

/// Connections whose bytes are being parsed or stored: each holds what one read gave. When the engine is behind, this
/// is what bounds the memory of its senders.
const TURNS_MAX: usize = 256;

/// Bytes that the unfinished pickles of all connections take together, unless told otherwise: the longest frames of a
/// few hundred senders. Thousands that start one and wait cannot take more.
pub const FRAMES_PENDING_BYTES: usize = 256 << 20;
/// How long a sender may take over a pickle that it has started, unless told otherwise.
pub const FRAME_TIME: Duration = Duration::from_secs(60);

/// Lengths and rules that hold for all of carbon's listeners.
#[derive(Clone)]
pub struct Settings {
    /// When a batch counts as stored.
    pub durability: Durability,
    /// The lists.
    pub filter: Arc<NameFilter>,
    /// Bytes of a line.
    pub line_bytes_max: usize,
    /// Bytes of a pickle.
    pub frame_bytes_max: usize,
    /// Bytes of the unfinished pickles of all connections; beyond it a connection that needs more is closed.
    pub frames_pending_bytes: usize,
    /// From the start of a pickle to its end; beyond it the connection is closed.
    pub frame_time: Duration,
}

/// Carbon's adapter: call a method for each port.
#[derive(Clone)]
pub struct Carbon {
    shared: Shared,
    settings: Settings,
    turns: Arc<Semaphore>,
    /// Bytes that unfinished pickles may still take.
    frames: Arc<Semaphore>,
}

/// Where points of a listener go.
#[derive(Clone)]
pub enum Destination {
    /// Into storage.
    Store,
    /// Into the aggregator, and what comes out of it into storage.
    Aggregate(Arc<Aggregation>),
    /// To other carbons, and into storage too if so.
    Relay(Arc<Relay>, bool),
}

impl Destination {
    /// Takes what one read gave; `false` if it cannot be stored.
    async fn take(&self, points: &PathPoints, store: &mut Store) -> bool {
        if let Self::Relay(relay, stored) = self {
            relay.send(points);
            if !stored {
                // Others' turn: a sender that never pauses would keep this thread.
                tokio::task::yield_now().await;
                return true;
            }
        }
        store.write(points).await
    }
}

impl Carbon {
    /// An adapter without ports.
    pub fn new(shared: Shared, settings: Settings) -> Self {
        let frames = Arc::new(Semaphore::new(settings.frames_pending_bytes.min(Semaphore::MAX_PERMITS)));
        Self { shared, settings, turns: Arc::new(Semaphore::new(TURNS_MAX)), frames }
    }

    /// Serves a port of lines until the server stops.
    pub async fn lines(self, port: Port, destination: Destination) {
        let shared = self.shared.clone();
        tcp::accept(port, shared, move |connection| line::serve(connection, self.clone(), destination.clone())).await;
    }

    /// Serves a port of pickles until the server stops.
    pub async fn pickles(self, port: Port, destination: Destination) {
        let shared = self.shared.clone();
        self.frames_of(port, shared, destination, Payload::Pickle).await;
    }

    /// Serves a port of carbon's protobuf frames until the server stops. They are counted as pickles are.
    pub async fn protobuf(self, port: Port, destination: Destination) {
        let shared = self.shared.clone();
        self.frames_of(port, shared, destination, Payload::Protobuf).await;
    }

    async fn frames_of(self, port: Port, shared: Shared, destination: Destination, payload: Payload) {
        let serve = move |connection| pickle::serve(connection, self.clone(), destination.clone(), payload);
        tcp::accept(port, shared, serve).await;
    }

    /// Serves a port of questions until the server stops.
    pub async fn queries(self, port: Port) {
        let shared = self.shared.clone();
        tcp::accept(port, shared, move |connection| query::serve(connection, self.clone())).await;
    }

    /// Serves a UDP port of lines until the server stops.
    pub async fn datagrams(self, port: UdpPort) {
        udp::serve(port, self).await;
    }

    /// Emits aggregates every second until the server stops, then what is left once the connections have ended.
    pub async fn emit(self, aggregation: Arc<Aggregation>) {
        aggregation.run(self).await;
    }

    fn store(&self) -> Store {
        Store::new(
            self.shared.clone(),
            self.settings.durability,
            |c| &c.carbon_waits,
            Loss(|c| &c.carbon_failed, "carbon.failed"),
        )
    }

    /// Waits for a turn.
    async fn room(&self) -> Option<SemaphorePermit<'_>> {
        // An error only if it were closed, which it never is.
        self.turns.acquire().await.ok()
    }
}
