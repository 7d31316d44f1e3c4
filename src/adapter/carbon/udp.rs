//! Lines by UDP: what the engine cannot take now is dropped and counted.

use rhythmite_carbon::plaintext::Parser;

use super::sink::Intake;
use super::{Carbon, Destination};
use crate::adapter::store::Loss;
use crate::adapter::{UdpPort, udp};
use crate::ingest::PathPoints;

/// The longest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Datagrams of one batch, and their bytes; then it is handed over even if more wait.
const BATCH_DATAGRAMS: usize = 1_024;
const BATCH_BYTES: usize = 64 << 10;
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
        match udp::ready(&port.socket, &shared.stop).await {
            Ok(true) if left > 0 => {}
            Ok(_) => break,
            Err(e) => {
                tracing::error!("[carbon] udp_listen: {e}");
                break;
            }
        }
        left -= usize::from(shared.stop.is_cancelled());
        receive(&port, &carbon, &mut parser, &mut buffer, &mut points);
        store.write_or_drop(&points, Loss(|c| &c.carbon_dropped, "carbon.dropped")).await;
        points.clear();
    }
    store.finish().await;
}

/// Parses datagrams until the batch is full or there are no more.
fn receive(port: &UdpPort, carbon: &Carbon, parser: &mut Parser, buffer: &mut [u8], points: &mut PathPoints) {
    let (mut datagrams, mut bytes) = (0, 0);
    let mut intake = Intake::new(carbon, &Destination::Store, points);
    let now_s = intake.now_s;
    while datagrams < BATCH_DATAGRAMS && bytes < BATCH_BYTES {
        match port.socket.try_recv_from(buffer) {
            Ok((n, peer)) => {
                (datagrams, bytes) = (datagrams + 1, bytes + n);
                if port.allow.accepts(peer.ip()) {
                    parser.parse_lines(&buffer[..n], now_s, &mut intake);
                } else {
                    carbon.shared.refuse_peer(peer.ip());
                }
            }
            // There are no more, or an error that is not of a datagram for us: nothing to end the listener for.
            Err(_) => break,
        }
    }
    drop(intake);
    carbon.shared.counters.carbon_datagrams.add(datagrams as u64);
    carbon.shared.counters.carbon_bytes.add(bytes as u64);
}
