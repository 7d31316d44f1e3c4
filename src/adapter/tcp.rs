//! Accepting within limits, and reading without a buffer of one's own.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::{LAST_WAIT, Port, Shared};
use crate::seldom::Seldom;

/// Bytes read at a time; the buffer belongs to the thread and is used between two awaits.
const READ_BYTES: usize = 64 << 10;
/// Pause after a failed accept: most often there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Accepts connections until the server stops, and runs `serve` for each that the limits allow.
pub(super) async fn accept<F, S>(port: Port, shared: Shared, serve: F)
where
    F: Fn(Connection) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    static FULL: Seldom = Seldom::new();
    static FAILED: Seldom = Seldom::new();
    let slots = Arc::new(Semaphore::new(shared.connections_max));
    let counters = shared.counters.clone();
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = port.socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                counters.accept_errors.one();
                if FAILED.now(&*shared.clock) {
                    tracing::warn!("{}: cannot accept a connection: {e}", port.key);
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if !port.allow.accepts(peer.ip()) {
            shared.refuse_peer(peer.ip());
            continue;
        }
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            counters.connections_refused.one();
            counters.offenders.note("connections.refused", peer.to_string().as_bytes(), shared.clock.now_s());
            if FULL.now(&*shared.clock) {
                tracing::warn!("{}: {} connections are open, more are refused", port.key, shared.connections_max);
            }
            continue;
        };
        counters.connections_accepted.one();
        counters.connections_open.add(1);
        let open = Open { shared: shared.clone(), _slot: slot };
        let serving = serve(Connection { stream, peer, shared: shared.clone() });
        shared.tasks.spawn(async move {
            let _open = open;
            serving.await;
        });
    }
}

/// Counts a connection as open while it lives, however it ends.
struct Open {
    shared: Shared,
    _slot: tokio::sync::OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.counters.connections_open.back();
    }
}

/// One accepted connection.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    shared: Shared,
}

/// Why there is no more to read.
#[derive(Debug)]
pub(super) enum End {
    /// The peer has closed it.
    Closed,
    /// It said nothing for too long.
    Idle,
    /// The server stops, and what had arrived is read.
    Stopping,
    /// The peer is at fault.
    Refused,
    /// What it sends cannot be stored.
    Storage,
    /// The network failed.
    Failed(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed by the peer"),
            Self::Idle => f.write_str("idle for too long"),
            Self::Stopping => f.write_str("the server stops"),
            Self::Refused => f.write_str("what follows cannot be read"),
            Self::Storage => f.write_str("storage has failed"),
            Self::Failed(e) => e.fmt(f),
        }
    }
}

impl Connection {
    /// Waits for bytes and hands what has arrived to `take`, at most [`READ_BYTES`].
    ///
    /// Cancelled early, nothing is lost.
    pub(super) async fn read(&self, take: impl FnOnce(&[u8])) -> Result<(), End> {
        self.ready().await?;
        self.read_now(take)
    }

    /// Waits until there may be bytes, or there is nothing to wait for.
    pub(super) async fn ready(&self) -> Result<(), End> {
        let idle = self.shared.idle.unwrap_or(Duration::MAX);
        let waited = tokio::select! {
            biased;
            () = self.shared.cut.cancelled() => return Err(End::Stopping),
            () = self.shared.stop.cancelled() => None,
            ready = tokio::time::timeout(idle, self.stream.readable()) => Some(ready),
        };
        match waited {
            Some(Ok(ready)) => ready.map_err(End::Failed),
            Some(Err(_)) => {
                self.shared.counters.connections_idle.one();
                Err(End::Idle)
            }
            None => match tokio::time::timeout(LAST_WAIT, self.stream.readable()).await {
                Ok(ready) => ready.map_err(End::Failed),
                Err(_) => Err(End::Stopping),
            },
        }
    }

    /// Sends an answer; `false` if the peer does not take it in time.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        let idle = self.shared.idle.unwrap_or(Duration::MAX);
        tokio::select! {
            () = self.shared.cut.cancelled() => false,
            sent = tokio::time::timeout(idle, self.stream.write_all(bytes)) => matches!(sent, Ok(Ok(()))),
        }
    }

    /// Hands what has arrived to `take`, at most [`READ_BYTES`]; nothing if nothing has.
    pub(super) fn read_now(&self, take: impl FnOnce(&[u8])) -> Result<(), End> {
        SCRATCH.with_borrow_mut(|buffer| match self.stream.try_read(buffer) {
            Ok(0) => Err(End::Closed),
            Ok(n) => {
                take(&buffer[..n]);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(e) => Err(End::Failed(e)),
        })
    }
}
