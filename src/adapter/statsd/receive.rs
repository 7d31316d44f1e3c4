//! Packets into the queue.

use rhythmite_statsd::LineBuffer;
use tokio::sync::mpsc::error::TrySendError;

use super::{BUNDLE_BYTES, Bundle, Message, Statsd};
use crate::adapter::UdpPort;
use crate::adapter::log::Seldom;
use crate::adapter::tcp::Connection;

/// The longest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Bundles still taken from the socket when the server stops, if senders do not pause.
const LAST_BUNDLES: usize = 64;

pub(super) async fn datagrams(port: UdpPort, statsd: Statsd) {
    static FULL: Seldom = Seldom::new();
    let shared = &statsd.shared;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut left = LAST_BUNDLES;
    loop {
        let stopping = tokio::select! {
            ready = port.socket.readable() => {
                if let Err(e) = ready {
                    tracing::error!("[statsd] udp_listen: {e}");
                    return;
                }
                shared.stop.is_cancelled()
            }
            () = shared.stop.cancelled() => true,
        };
        left -= usize::from(stopping);
        let mut bundle = Bundle::default();
        while bundle.bytes.len() < BUNDLE_BYTES {
            // An error here is about one datagram (or there is none): nothing to end the listener for.
            let Ok((n, peer)) = port.socket.try_recv_from(&mut buffer) else { break };
            if port.allow.accepts(peer.ip()) {
                bundle.push(&buffer[..n]);
            } else {
                shared.counters.connections_not_allowed.one();
            }
        }
        let packets = bundle.ends.len() as u64;
        if packets > 0 {
            shared.counters.statsd_packets.add(packets);
            if let Err(TrySendError::Full(_) | TrySendError::Closed(_)) =
                statsd.queue.try_send(Message::Packets(bundle))
            {
                shared.counters.statsd_dropped.add(packets);
                if FULL.now(&*shared.clock) {
                    tracing::warn!("StatsD: packets come faster than they are folded; {packets} dropped");
                }
            }
        }
        if stopping && (packets == 0 || left == 0) {
            return;
        }
    }
}

/// One connection; what is not a whole line when it ends is lost, as in the reference.
pub(super) async fn stream(connection: Connection, statsd: Statsd) {
    let counters = &statsd.shared.counters;
    let mut lines = LineBuffer::new(statsd.line_bytes_max);
    let mut skipped = 0;
    let end = loop {
        let mut bundle = Bundle::default();
        let read = connection.read(|bytes| lines.feed(bytes, |packet| bundle.push(packet))).await;
        counters.statsd_lines_skipped.add(lines.skipped() - skipped);
        skipped = lines.skipped();
        if let Err(end) = read {
            break end;
        }
        if !bundle.ends.is_empty() {
            counters.statsd_packets.one();
            // Waits while the queue is full: the sender's connection fills up.
            if statsd.queue.send(Message::Packets(bundle)).await.is_err() {
                return;
            }
        }
    };
    tracing::debug!(peer = %connection.peer, "StatsD: connection ended: {end}");
}
