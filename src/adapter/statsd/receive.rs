//! Packets into the queue.

use rhythmite_statsd::LineBuffer;

use super::Statsd;
use super::queue::Packets;
use crate::adapter::log::Seldom;
use crate::adapter::tcp::Connection;
use crate::adapter::{UdpPort, udp};

/// The longest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Datagrams that are handed over together, and their bytes.
const DATAGRAMS_MAX: usize = 256;
const PACKETS_BYTES: usize = 64 << 10;
/// Times datagrams are still handed over when the server stops, if senders do not pause.
const LAST_TIMES: usize = 1_024;

pub(super) async fn datagrams(port: UdpPort, statsd: Statsd) {
    static FULL: Seldom = Seldom::new();
    let shared = &statsd.shared;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut left = LAST_TIMES;
    loop {
        match udp::ready(&port.socket, &shared.stop).await {
            Ok(true) if left > 0 => {}
            Ok(_) => break,
            Err(e) => {
                tracing::error!("[statsd] udp_listen: {e}");
                break;
            }
        }
        left -= usize::from(shared.stop.is_cancelled());
        let mut packets = Packets::default();
        while packets.len() < DATAGRAMS_MAX && packets.bytes() < PACKETS_BYTES {
            match port.socket.try_recv_from(&mut buffer) {
                Ok((n, peer)) if port.allow.accepts(peer.ip()) => packets.push(&buffer[..n]),
                Ok(_) => shared.counters.connections_not_allowed.one(),
                // There are no more, or an error that is not of a datagram for us: nothing to end the listener for.
                Err(_) => break,
            }
        }
        if !packets.is_empty() {
            let received = packets.len() as u64;
            shared.counters.statsd_packets.add(received);
            shared.counters.statsd_bytes.add(packets.bytes() as u64);
            if statsd.queue.try_send(packets).is_err() {
                shared.counters.statsd_dropped.add(received);
                if FULL.now(&*shared.clock) {
                    tracing::warn!("StatsD: packets come faster than they are folded; {received} dropped");
                }
            }
        }
        // What waits above does not yield while there is something to read.
        tokio::task::yield_now().await;
    }
}

/// One connection; what is not a whole line when it ends is lost, as in the reference.
pub(super) async fn stream(connection: Connection, statsd: Statsd) {
    let counters = &statsd.shared.counters;
    let mut lines = LineBuffer::new(statsd.line_bytes_max);
    let mut skipped = 0;
    let end = loop {
        let mut packets = Packets::default();
        let read = connection.read(|bytes| {
            counters.statsd_bytes.add(bytes.len() as u64);
            lines.feed(bytes, |packet| packets.push(packet));
        });
        let read = read.await;
        counters.statsd_lines_skipped.add(lines.skipped() - skipped);
        skipped = lines.skipped();
        if let Err(end) = read {
            break end;
        }
        if !packets.is_empty() {
            counters.statsd_packets.one();
            // Waits while the queue is full: the sender's connection fills up.
            if statsd.queue.send(packets).await.is_err() {
                return;
            }
        }
    };
    tracing::debug!(peer = %connection.peer, "StatsD: connection ended: {end}");
}
