//! Packets into the queue.

use rhythmite_statsd::LineBuffer;

use super::Statsd;
use super::queue::Packets;
use crate::adapter::tcp::Connection;
use crate::adapter::{UdpPort, udp};
use crate::counters::Counters;
use crate::seldom::Seldom;

/// The longest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Datagrams that are read together, and their bytes; then what was accepted is handed over even if more wait.
const BATCH_DATAGRAMS: usize = 256;
const BATCH_BYTES: usize = 64 << 10;
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
        let packets = receive(&port, &shared.counters, &mut buffer);
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

/// Reads datagrams until the batch is full or there are no more. Those of refused peers are part of the batch: a flood
/// of them keeps neither what was accepted nor the end of the server.
fn receive(port: &UdpPort, counters: &Counters, buffer: &mut [u8]) -> Packets {
    let (mut datagrams, mut bytes) = (0, 0);
    let mut packets = Packets::default();
    while datagrams < BATCH_DATAGRAMS && bytes < BATCH_BYTES {
        match port.socket.try_recv_from(buffer) {
            Ok((n, peer)) => {
                (datagrams, bytes) = (datagrams + 1, bytes + n);
                if port.allow.accepts(peer.ip()) {
                    packets.push(&buffer[..n]);
                } else {
                    counters.connections_not_allowed.one();
                }
            }
            // There are no more, or an error that is not of a datagram for us: nothing to end the listener for.
            Err(_) => break,
        }
    }
    packets
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

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;
    use crate::config::Allow;

    #[tokio::test]
    async fn datagrams_of_refused_peers_fill_a_batch_too() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // Few and long ones: as many as fill a batch, and two more, must find room in the kernel's buffer.
        let bytes = 12_000;
        let batch = BATCH_BYTES.div_ceil(bytes) as u64;
        for _ in 0..batch + 2 {
            sender.send_to(&vec![b'x'; bytes], socket.local_addr().unwrap()).await.unwrap();
        }
        let port = UdpPort { socket, allow: Allow(vec!["10.0.0.0/8".parse().unwrap()]) };
        let (counters, mut buffer) = (Counters::default(), vec![0; DATAGRAM_BYTES_MAX]);
        for refused in [batch, batch + 2] {
            port.socket.readable().await.unwrap();
            assert!(receive(&port, &counters, &mut buffer).is_empty());
            assert_eq!(counters.connections_not_allowed.get(), refused);
        }
    }
}
