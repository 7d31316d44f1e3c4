//! StatsD's listeners: datagrams, lines by TCP, the admin interface.
//!
//! ```text
//! UDP, TCP -> bundles of packets -> bounded queue -> [fold] -> one batch a flush -> ingest
//! ```
//!
//! One task owns the aggregator and folds packets in the order of the queue; it has a thread of its own, so that a
//! flush of a million keys holds up no socket. Flushes are at multiples of the interval, and all series of one carry the
//! same second. When the queue is full datagrams are dropped and counted, streams are not read. A flush that the engine
//! refuses is tried again until the next one is due, then it is dropped and counted.

mod admin;
mod fold;
mod receive;

use rhythmite_engine::Durability;
use rhythmite_statsd::Options;
use tokio::sync::{mpsc, oneshot};

use super::{Port, Shared, UdpPort};

/// Bytes of packets that travel together.
const BUNDLE_BYTES: usize = 64 << 10;

/// Packets in the order in which they came.
#[derive(Default)]
struct Bundle {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Bundle {
    fn push(&mut self, packet: &[u8]) {
        self.bytes.extend_from_slice(packet);
        self.ends.push(self.bytes.len());
    }

    fn packets(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| &self.bytes[std::mem::replace(&mut start, end)..end])
    }
}

/// What the aggregator's task is sent.
enum Message {
    Packets(Bundle),
    Admin { line: String, reply: oneshot::Sender<rhythmite_statsd::Reply> },
}

/// StatsD's adapter: call a method for each port.
#[derive(Clone)]
pub struct Statsd {
    shared: Shared,
    queue: mpsc::Sender<Message>,
    line_bytes_max: usize,
}

/// The aggregator's thread; ends when every [`Statsd`] is gone and the last flush is stored.
pub struct Folding {
    thread: std::thread::JoinHandle<()>,
}

impl Statsd {
    /// Starts the aggregator.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        shared: Shared,
        options: Options,
        durability: Durability,
        queue_bytes: usize,
    ) -> std::io::Result<(Self, Folding)> {
        let (sender, receiver) = mpsc::channel((queue_bytes / BUNDLE_BYTES).max(1));
        let line_bytes_max = options.max_line_bytes;
        let folder = fold::Folder::new(shared.clone(), options, durability);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let thread =
            std::thread::Builder::new().name("statsd".into()).spawn(move || runtime.block_on(folder.run(receiver)))?;
        Ok((Self { shared, queue: sender, line_bytes_max }, Folding { thread }))
    }

    /// Receives datagrams until the server stops.
    pub async fn datagrams(self, port: UdpPort) {
        receive::datagrams(port, self).await;
    }

    /// Serves a port of lines until the server stops.
    pub async fn streams(self, port: Port) {
        let shared = self.shared.clone();
        super::tcp::accept(port, shared, move |connection| receive::stream(connection, self.clone())).await;
    }

    /// Serves an admin port until the server stops.
    pub async fn admin(self, port: Port) {
        let shared = self.shared.clone();
        super::tcp::accept(port, shared, move |connection| admin::serve(connection, self.clone())).await;
    }
}

impl Folding {
    /// Blocks until the last flush is stored.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the thread of the StatsD aggregator panicked");
        }
    }
}
