//! Packets into the queue.

use rhythmite_statsd::LineBuffer;

use super::Statsd;
use super::queue::Packets;
use crate::adapter::Shared;
use crate::adapter::tcp::Connection;
use crate::adapter::udp::{self, Datagrams};
use crate::config::Allow;
use crate::offenders::SAMPLE_BYTES_MAX;
use crate::seldom::Seldom;

/// The longest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Datagrams that are read together, and their bytes; then what was accepted is handed over even if more wait.
const BATCH_DATAGRAMS: usize = 256;
const BATCH_BYTES: usize = 64 << 10;
/// Times datagrams are still handed over when the server stops, if senders do not pause.
const LAST_TIMES: usize = 1_024;

/// Receives until the server stops. `key` names the socket in messages.
pub(super) async fn datagrams(socket: impl Datagrams, allow: Allow, key: &str, statsd: Statsd) {
    static FULL: Seldom = Seldom::new();
    let shared = &statsd.shared;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut left = LAST_TIMES;
    loop {
        match udp::ready(&socket, &shared.stop).await {
            Ok(true) if left > 0 => {}
            Ok(_) => break,
            Err(e) => {
                tracing::error!("{key}: {e}");
                break;
            }
        }
        left -= usize::from(shared.stop.is_cancelled());
        let packets = receive(&socket, &allow, shared, &mut buffer);
        if !packets.is_empty() {
            let received = packets.len() as u64;
            let first_bytes = packets.iter().next().map_or(0, |p| p.len().min(SAMPLE_BYTES_MAX));
            let mut first = [0; SAMPLE_BYTES_MAX];
            packets.iter().take(1).for_each(|p| first[..first_bytes].copy_from_slice(&p[..first_bytes]));
            shared.counters.statsd_packets.add(received);
            shared.counters.statsd_bytes.add(packets.bytes() as u64);
            if statsd.queue.try_send(packets).is_err() {
                shared.counters.statsd_dropped.add(received);
                shared.counters.offenders.note("statsd.dropped", &first[..first_bytes], shared.clock.now_s());
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
fn receive(socket: &impl Datagrams, allow: &Allow, shared: &Shared, buffer: &mut [u8]) -> Packets {
    let (mut datagrams, mut bytes) = (0, 0);
    let mut packets = Packets::default();
    while datagrams < BATCH_DATAGRAMS && bytes < BATCH_BYTES {
        match socket.try_receive(buffer) {
            Ok((n, peer)) => {
                (datagrams, bytes) = (datagrams + 1, bytes + n);
                match peer {
                    Some(peer) if !allow.accepts(peer) => shared.refuse_peer(peer),
                    _ => packets.push(&buffer[..n]),
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
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::net::UdpSocket;

    use super::*;
    use crate::adapter::statsd::queue::{self, Message};
    use crate::adapter::tests::bare;

    /// Sends datagrams of this length to `to`.
    async fn flood(to: SocketAddr, count: u64, bytes: usize) {
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for _ in 0..count {
            sender.send_to(&vec![b'x'; bytes], to).await.unwrap();
        }
    }

    #[tokio::test]
    async fn datagrams_of_refused_peers_fill_a_batch_too() {
        let (shared, _dir) = bare().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // Few and long ones: as many as fill a batch, and two more, must find room in the kernel's buffer.
        let bytes = 12_000;
        let batch = BATCH_BYTES.div_ceil(bytes) as u64;
        flood(socket.local_addr().unwrap(), batch + 2, bytes).await;
        let allow = Allow(vec!["10.0.0.0/8".parse().unwrap()]);
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        for refused in [batch, batch + 2] {
            socket.readable().await.unwrap();
            assert!(receive(&socket, &allow, &shared, &mut buffer).is_empty());
            assert_eq!(shared.counters.connections_not_allowed.get(), refused);
        }
        assert_eq!(shared.counters.offenders.last("connections.not_allowed")[0].text, "127.0.0.1");
    }

    #[tokio::test]
    async fn what_the_queue_does_not_take_is_dropped_and_counted() {
        let (shared, _dir) = bare().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        // Nobody folds: the first batch fills the queue.
        let (queue, mut incoming) = queue::new(1_000);
        let statsd = Statsd { shared: shared.clone(), queue, line_bytes_max: 100 };
        let receiving = tokio::spawn(datagrams(socket, Allow::default(), "test", statsd));
        let counts = |c: u64| {
            let counters = shared.counters.clone();
            async move {
                let reached = async {
                    while counters.statsd_packets.get() < c {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(20), reached).await.expect("packets are read");
            }
        };
        flood(at, 1, 2_000).await;
        counts(1).await;
        assert_eq!(shared.counters.statsd_dropped.get(), 0);
        flood(at, 3, 10).await;
        counts(4).await;
        assert_eq!(shared.counters.statsd_dropped.get(), 3);
        assert_eq!(shared.counters.offenders.last("statsd.dropped")[0].text, "x".repeat(10));
        // Room again.
        assert!(matches!(incoming.recv().await, Some(Message::Packets(p, _)) if p.len() == 1));
        flood(at, 1, 10).await;
        counts(5).await;
        assert_eq!(shared.counters.statsd_dropped.get(), 3);
        shared.stop.cancel();
        receiving.await.unwrap();
    }
}
