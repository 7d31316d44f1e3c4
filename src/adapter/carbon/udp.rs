//! Lines by UDP: what the engine cannot take now is dropped and counted.

use rhythmite_carbon::plaintext::Parser;

use super::Carbon;
use super::sink::Intake;
use crate::adapter::UdpPort;
use crate::ingest::PathPoints;

/// The longest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Points of one batch; then it is handed over even if more datagrams wait.
const BATCH_POINTS: usize = 5_000;
/// Batches still taken from the socket when the server stops, if senders do not pause.
const LAST_BATCHES: usize = 64;

pub(super) async fn serve(port: UdpPort, carbon: Carbon) {
    let (settings, shared) = (&carbon.settings, &carbon.shared);
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let mut parser = Parser::default();
    parser.line_bytes_max = settings.line_bytes_max;
    let mut points = PathPoints::default();
    let mut store = carbon.store();
    let mut left = LAST_BATCHES;
    loop {
        let stopping = tokio::select! {
            ready = port.socket.readable() => {
                if let Err(e) = ready {
                    tracing::error!("[carbon] udp_listen: {e}");
                    return;
                }
                shared.stop.is_cancelled()
            }
            () = shared.stop.cancelled() => true,
        };
        left -= usize::from(stopping);
        let now_s = shared.clock.now_s();
        let mut intake = Intake {
            points: &mut points,
            filter: &settings.filter,
            counters: &shared.counters,
            clock: &*shared.clock,
            aggregator: None,
        };
        while intake.points.len() < BATCH_POINTS {
            // An error here is about one datagram (or there is none): nothing to end the listener for.
            let Ok((n, peer)) = port.socket.try_recv_from(&mut buffer) else { break };
            if port.allow.accepts(peer.ip()) {
                parser.parse_lines(&buffer[..n], now_s, &mut intake);
            } else {
                shared.counters.connections_not_allowed.one();
            }
        }
        let empty = points.is_empty();
        if !empty {
            store.write_or_drop(&mut points).await;
        }
        if stopping && (empty || left == 0) {
            store.finish().await;
            return;
        }
    }
}
