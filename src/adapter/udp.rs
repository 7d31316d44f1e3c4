//! Waiting for datagrams, by UDP or by a socket in the file system.

use std::io;
use std::net::IpAddr;

use tokio::net::{UdpSocket, UnixDatagram};
use tokio_util::sync::CancellationToken;

use super::LAST_WAIT;

/// A socket of datagrams.
pub(super) trait Datagrams {
    /// Waits until there may be datagrams.
    async fn readable(&self) -> io::Result<()>;

    /// One datagram, if there is one: its length and, by UDP, its sender.
    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<IpAddr>)>;
}

impl Datagrams for UdpSocket {
    async fn readable(&self) -> io::Result<()> {
        UdpSocket::readable(self).await
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<IpAddr>)> {
        self.try_recv_from(buffer).map(|(n, peer)| (n, Some(peer.ip())))
    }
}

impl Datagrams for UnixDatagram {
    async fn readable(&self) -> io::Result<()> {
        UnixDatagram::readable(self).await
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<IpAddr>)> {
        self.try_recv(buffer).map(|n| (n, None))
    }
}

/// Waits until there may be datagrams; `false` when the server stops and what had arrived has been read.
///
/// # Errors
/// The socket's.
pub(super) async fn ready(socket: &impl Datagrams, stop: &CancellationToken) -> io::Result<bool> {
    tokio::select! {
        biased;
        ready = socket.readable() => return ready.map(|()| true),
        () = stop.cancelled() => {}
    }
    tokio::time::timeout(LAST_WAIT, socket.readable()).await.map_or(Ok(false), |ready| ready.map(|()| true))
}
