//! Sockets that points come in by: carbon's lines and pickles, carbon's aggregator, StatsD,
//! collectd's datagrams.
//!
//! An adapter reads, lets a package of `compat` parse, hands the points to `ingest` and says what happened to the
//! sender in the only way its protocol knows: TCP is not read while storage is behind, UDP is dropped and counted. A
//! connection costs no buffer while it is quiet. Nobody else's connection is ever made to wait for one.

pub mod carbon;
pub mod collectd;
pub mod influx;
pub mod statsd;
mod store;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rhythmite_env::Clock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Allow;
use crate::counters::Counters;
use crate::ingest::{EventQueue, PathIngest};

/// How long senders that do not pause are still read when the server stops.
pub const DRAIN_MAX: Duration = Duration::from_secs(3);

/// When the server stops: how long a socket must be silent to count as read empty. What the kernel holds takes the
/// runtime a moment to see.
const LAST_WAIT: Duration = Duration::from_millis(50);

/// What every adapter is given.
#[derive(Clone)]
pub struct Shared {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The way in.
    pub paths: Arc<PathIngest>,
    /// Where what happened goes.
    pub events: EventQueue,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Connections and receivers: all ended when the listeners are drained.
    pub tasks: TaskTracker,
    /// When it is cancelled listeners close; connections read what has arrived, then end.
    pub stop: CancellationToken,
    /// When it is cancelled connections end, whatever they wait for: the time to drain is over.
    pub cut: CancellationToken,
    /// Connections of one listener, at most.
    pub connections_max: usize,
    /// A connection that says nothing for so long is closed.
    pub idle: Option<Duration>,
}

impl Shared {
    /// Counts a peer that `allow` does not hold.
    fn refuse_peer(&self, peer: IpAddr) {
        self.counters.connections_not_allowed.one();
        let now_s = self.clock.now_s();
        self.counters.offenders.note("connections.not_allowed", peer.to_string().as_bytes(), now_s);
    }
}

/// A bound TCP socket and who may connect.
pub struct Port {
    /// The socket.
    pub socket: tokio::net::TcpListener,
    /// Peers that may send.
    pub allow: Allow,
    /// The key in the configuration, for messages.
    pub key: &'static str,
}

/// A bound socket of the kind `unixgram`; who may send is a matter of the file's permissions.
pub struct UnixPort {
    /// The socket.
    pub socket: tokio::net::UnixDatagram,
    /// Its file, removed at the end.
    pub path: std::path::PathBuf,
}

/// A bound UDP socket and who may send.
pub struct UdpPort {
    /// The socket.
    pub socket: tokio::net::UdpSocket,
    /// Peers that may send.
    pub allow: Allow,
}
