//! One connection of lines.

use rhythmite_carbon::framer::LineFramer;
use rhythmite_carbon::plaintext::Parser;

use super::sink::Intake;
use super::{Carbon, Destination};
use crate::adapter::tcp::Connection;
use crate::ingest::PathPoints;

pub(super) async fn serve(connection: Connection, carbon: Carbon, destination: Destination) {
    let (settings, shared) = (&carbon.settings, &carbon.shared);
    let mut framer = LineFramer::new(settings.line_bytes_max);
    let mut parser = Parser::default();
    parser.line_bytes_max = settings.line_bytes_max;
    let mut points = PathPoints::default();
    let mut store = carbon.store();
    let end = loop {
        let read = connection.read(|bytes| {
            let now_s = shared.clock.now_s();
            destination.with_aggregator(now_s, |aggregator| {
                let mut intake = Intake {
                    points: &mut points,
                    filter: &settings.filter,
                    counters: &shared.counters,
                    clock: &*shared.clock,
                    aggregator,
                };
                framer.feed(bytes, |lines| parser.parse_lines(lines, now_s, &mut intake));
            });
        });
        match read.await {
            Ok(()) => store.write(&mut points).await,
            Err(end) => break end,
        }
    };
    if framer.pending_bytes() > 0 {
        shared.counters.carbon_rejected_unfinished.one();
    }
    store.finish().await;
    tracing::debug!(peer = %connection.peer, "carbon lines: connection ended: {end}");
}
