//! Lines by UDP: what the engine cannot take now is dropped and counted.

use rhythmite_carbon::plaintext::Parser;

use super::sink::Intake;
use super::{Carbon, Destination};
use crate::adapter::UdpPort;
use crate::adapter::store::Loss;
use crate::adapter::udp::{self, BatchMax, Datagrams, Inbox};
use crate::ingest::PathPoints;

/// What is read together; then it is handed over even if more waits.
const BATCH: BatchMax = BatchMax { datagrams: 1_024, bytes: 64 << 10 };
/// Batches still taken from the socket when the server stops, if senders do not pause.
const LAST_BATCHES: usize = 64;

pub(super) async fn serve(port: UdpPort, carbon: Carbon) {
    let shared = carbon.shared.clone();
    let work = move |inbox| receive(inbox, carbon);
    udp::receive("carbon-udp", "[carbon] udp_listen", port, shared, LAST_BATCHES, work).await;
}

async fn receive(mut inbox: Inbox<impl Datagrams>, carbon: Carbon) {
    let counters = &carbon.shared.counters;
    let mut parser = Parser::default();
    parser.line_bytes_max = carbon.settings.line_bytes_max;
    let mut points = PathPoints::of("carbon udp");
    let mut store = carbon.store();
    while inbox.ready().await {
        let mut intake = Intake::new(&carbon, &Destination::Store, &mut points);
        let now_s = intake.now_s;
        let read = inbox.read(BATCH, |datagram, peer| {
            intake.begin(peer);
            parser.parse_lines(datagram, now_s, &mut intake);
        });
        drop(intake);
        counters.carbon_datagrams.add(read.datagrams);
        counters.carbon_bytes.add(read.bytes);
        store.write_or_drop(&points, Loss(|c| &c.carbon_dropped, "carbon.dropped")).await;
        points.clear();
    }
    store.finish().await;
}
