//! Packets into the queue.

use rhythmite_statsd::LineBuffer;

use super::Statsd;
use super::queue::Packets;
use crate::adapter::tcp::Connection;
use crate::adapter::udp::{BatchMax, Datagrams, Inbox};
use crate::offenders::SAMPLE_BYTES_MAX;
use crate::seldom::Seldom;

/// Datagrams that are read together, at most; then they are handed over even if more waits.
const DATAGRAMS_MAX: usize = 8_192;
/// Times datagrams are still handed over when the server stops, if senders do not pause.
pub(super) const LAST_TIMES: usize = 1_024;

/// Receives until the server stops.
pub(super) async fn datagrams(mut inbox: Inbox<impl Datagrams>, statsd: Statsd) {
    static FULL: Seldom = Seldom::new();
    let shared = &statsd.shared;
    let spares = statsd.queue.spares();
    let max = BatchMax { datagrams: DATAGRAMS_MAX, bytes: spares.batch_bytes() };
    let mut reading = spares.take();
    while inbox.ready().await {
        let (bytes, mut appended) = reading.parts();
        inbox.read_into(max, bytes, |bytes, peer| appended(bytes, peer));
        drop(appended);
        if reading.is_empty() {
            continue;
        }
        let packets = reading.take(|| spares.take());
        let received = packets.len() as u64;
        let first_bytes = packets.iter().next().map_or(0, |p| p.len().min(SAMPLE_BYTES_MAX));
        let mut first = [0; SAMPLE_BYTES_MAX];
        let sender = packets.senders().peers().next().flatten();
        packets.iter().take(1).for_each(|p| first[..first_bytes].copy_from_slice(&p[..first_bytes]));
        shared.counters.statsd_packets.add(received);
        shared.counters.statsd_bytes.add(packets.bytes() as u64);
        if statsd.queue.try_send(packets).is_err() {
            shared.counters.statsd_dropped.add(received);
            shared.counters.offenders.note_from(
                "statsd.dropped",
                &first[..first_bytes],
                sender.into(),
                shared.clock.now_s(),
            );
            if FULL.now(&*shared.clock) {
                tracing::warn!("StatsD: packets come faster than they are folded; {received} dropped");
            }
        }
    }
}

/// One connection; what is not a whole line when it ends is lost, as in the reference.
pub(super) async fn stream(connection: Connection, statsd: Statsd) {
    let counters = &statsd.shared.counters;
    let mut lines = LineBuffer::new(statsd.line_bytes_max);
    let end = loop {
        let mut packets = Packets::default();
        let read = connection.read(|bytes| {
            counters.statsd_bytes.add(bytes.len() as u64);
            lines.feed(bytes, |packet| packets.push(packet, Some(connection.peer.ip())));
        });
        let read = read.await;
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
    if lines.is_unfinished() {
        counters.statsd_lines_unfinished.one();
    }
    tracing::debug!(peer = %connection.peer, "StatsD: connection ended: {end}");
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::net::UdpSocket;

    use super::*;
    use crate::adapter::UdpPort;
    use crate::adapter::statsd::queue::{self, Message};
    use crate::adapter::tests::bare;
    use crate::config::Allow;

    /// Sends datagrams of this length to `to`.
    async fn flood(to: SocketAddr, count: u64, bytes: usize) {
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for _ in 0..count {
            sender.send_to(&vec![b'x'; bytes], to).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_the_queue_does_not_take_is_dropped_and_counted() {
        let (shared, _dir) = bare().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        // Nobody folds: the first batch fills the queue.
        let (queue, mut incoming) = queue::new(1_000);
        let statsd = Statsd { shared: shared.clone(), queue, line_bytes_max: 100 };
        let port = UdpPort { socket, allow: Allow::default() };
        let receiving = tokio::spawn(statsd.datagrams(port));
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
        assert_eq!(shared.counters.offenders.last("statsd.dropped")[0].text, "xxxxxxxxxx from 127.0.0.1");
        // Room again.
        assert!(matches!(incoming.recv().await, Some(Message::Packets(p, _)) if p.len() == 1));
        flood(at, 1, 10).await;
        counts(5).await;
        assert_eq!(shared.counters.statsd_dropped.get(), 3);
        shared.stop.cancel();
        receiving.await.unwrap();
    }
}
