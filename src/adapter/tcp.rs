//! Accepting within limits, and reading without a buffer of one's own.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::log::Seldom;
use super::{Port, Shared};

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
            counters.connections_not_allowed.one();
            continue;
        }
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            counters.connections_refused.one();
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
    /// The network failed.
    Failed(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed by the peer"),
            Self::Idle => f.write_str("idle for too long"),
            Self::Stopping => f.write_str("the server stops"),
            Self::Failed(e) => e.fmt(f),
        }
    }
}

impl Connection {
    /// Waits for bytes and hands what has arrived to `take`, at most [`READ_BYTES`].
    ///
    /// Cancelled early, nothing is lost.
    pub(super) async fn read<T>(&self, take: impl FnOnce(&[u8]) -> T) -> Result<T, End> {
        let idle = self.shared.idle.unwrap_or(Duration::MAX);
        let mut take = Some(take);
        loop {
            let stopping = tokio::select! {
                ready = tokio::time::timeout(idle, self.stream.readable()) => match ready {
                    Ok(Ok(())) => self.shared.stop.is_cancelled(),
                    Ok(Err(e)) => return Err(End::Failed(e)),
                    Err(_) => {
                        self.shared.counters.connections_idle.one();
                        return Err(End::Idle);
                    }
                },
                () = self.shared.stop.cancelled() => true,
            };
            let read = SCRATCH.with_borrow_mut(|buffer| match self.stream.try_read(buffer) {
                Ok(0) => Err(End::Closed),
                Ok(n) => Ok(take.take().map(|take| take(&buffer[..n]))),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && stopping => Err(End::Stopping),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
                Err(e) => Err(End::Failed(e)),
            })?;
            if let Some(taken) = read {
                return Ok(taken);
            }
        }
    }
}
