//! Waiting for datagrams.

use std::io;

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::LAST_WAIT;

/// Waits until there may be datagrams; `false` when the server stops and what had arrived has been read.
///
/// # Errors
/// The socket's.
pub(super) async fn ready(socket: &UdpSocket, stop: &CancellationToken) -> io::Result<bool> {
    tokio::select! {
        biased;
        ready = socket.readable() => return ready.map(|()| true),
        () = stop.cancelled() => {}
    }
    tokio::time::timeout(LAST_WAIT, socket.readable()).await.map_or(Ok(false), |ready| ready.map(|()| true))
}
