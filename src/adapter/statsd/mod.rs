//! StatsD's listeners: datagrams by UDP and by a socket in the file system, lines by TCP, the admin interface; and its
//! repeater.
//!
//! ```text
//! UDP, unix threads --> queue ----> fold ----> writer ----> ingest
//! TCP, admin ----------'              '-----> repeater ---> other StatsDs
//! ```
//!
//! Order of events: a thread of its own reads the datagrams of a socket. One thread owns the aggregator and folds packets in the order in which they were queued. It
//! emits at the multiples of the flush interval, by the wall clock, after what was queued before; all series of a flush
//! carry that time. The writer stores flushes one after the other, so that an engine that is behind stops neither
//! folding nor the next flush.
//!
//! Limits: `[statsd] queue` bytes wait to be folded; beyond that datagrams are dropped and counted, and streams are not
//! read. Points of a flush that cannot be stored within two intervals are lost and counted, and so is a flush for which
//! there is no room among [`writer::FLUSHES_MAX`].
//!
//! At the end, when the last socket has been emptied, it emits once more (which the reference does not), under the time
//! at which it would have: the time of the last flush has its values already.

mod admin;
mod fold;
mod queue;
mod receive;
mod repeat;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rhythmite_engine::Durability;
use rhythmite_statsd::Options;
use tokio::task::JoinHandle;

use self::fold::Folder;
use self::queue::Queue;
use self::repeat::Repeater;
use self::writer::Writer;
use super::udp::{self, Inbox};
use super::{Port, Shared, UdpPort, UnixPort};
use crate::config::Allow;

/// StatsD's adapter: call a method for each port.
#[derive(Clone)]
pub struct Statsd {
    shared: Shared,
    queue: Queue,
    line_bytes_max: usize,
}

/// The aggregator; ends when every [`Statsd`] is gone and the last flush is stored.
pub struct Folding {
    writer: JoinHandle<()>,
}

impl Statsd {
    /// Starts the aggregator. To be called within a runtime.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        shared: Shared,
        options: Options,
        durability: Durability,
        queue_bytes: usize,
        repeat_to: &[SocketAddr],
    ) -> io::Result<(Self, Folding)> {
        let (queue, incoming) = queue::new(queue_bytes);
        let line_bytes_max = options.max_line_bytes;
        let interval = Duration::from_millis(options.flush_interval_ms());
        let (writer, flushes) = Writer::new(&shared, durability, interval);
        let repeater = Repeater::new(repeat_to)?;
        let folder = Folder::new(shared.clone(), options, flushes, repeater, queue.spares().clone());
        // The writer ends when the folder has; whether the folder panicked shows in the log.
        drop(udp::thread("statsd", move || folder.run(incoming))?);
        Ok((Self { shared, queue, line_bytes_max }, Folding { writer: tokio::spawn(writer.run()) }))
    }

    /// Receives datagrams until the server stops.
    pub async fn datagrams(self, port: UdpPort) {
        let shared = self.shared.clone();
        let work = move |inbox| receive::datagrams(inbox, self);
        udp::receive("statsd-udp", "[statsd] udp_listen", port, shared, receive::LAST_TIMES, work).await;
    }

    /// Receives datagrams of this machine's programs until the server stops, then removes the socket's file.
    pub async fn unix_datagrams(self, port: UnixPort) {
        let UnixPort { socket, path } = port;
        let key = "[statsd] unixgram_listen";
        match socket.into_std() {
            Ok(socket) => {
                let work = move || async move {
                    match tokio::net::UnixDatagram::from_std(socket) {
                        Ok(socket) => {
                            let shared = self.shared.clone();
                            let inbox = Inbox::new(socket, Allow::default(), key, shared, receive::LAST_TIMES);
                            receive::datagrams(inbox, self).await;
                        }
                        Err(e) => tracing::error!("{key}: {e}"),
                    }
                };
                udp::on_a_thread("statsd-unix", key, work).await;
            }
            Err(e) => tracing::error!("{key}: {e}"),
        }
        // Another server may have removed it to have its own there.
        let _ = std::fs::remove_file(path);
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
    /// Waits until the last flush is stored. Cancelled, it goes on.
    pub async fn finished(self) {
        if self.writer.await.is_err() {
            tracing::error!("the task that stores StatsD's flushes panicked");
        }
    }
}
