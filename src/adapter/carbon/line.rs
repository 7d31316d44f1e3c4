//! One connection of lines.

use rhythmite_carbon::framer::LineFramer;
use rhythmite_carbon::plaintext::Parser;

use super::sink::Intake;
use super::{Carbon, Destination};
use crate::adapter::tcp::{Connection, End};
use crate::ingest::PathPoints;

pub(super) async fn serve(connection: Connection, carbon: Carbon, destination: Destination) {
    let settings = &carbon.settings;
    let mut framer = LineFramer::new(settings.line_bytes_max);
    let mut parser = Parser::default();
    parser.line_bytes_max = settings.line_bytes_max;
    let mut store = carbon.store();
    let end = loop {
        if let Err(end) = connection.ready().await {
            break end;
        }
        // Memory from here to the end of the turn: a quiet connection has none.
        let _room = carbon.room().await;
        let mut points = PathPoints::of(connection.peer);
        let read = connection.read_now(|bytes| {
            carbon.shared.counters.carbon_bytes.add(bytes.len() as u64);
            let mut intake = Intake::new(&carbon, &destination, &mut points);
            let now_s = intake.now_s;
            framer.feed(bytes, |lines| parser.parse_lines(lines, now_s, &mut intake));
        });
        if let Err(end) = read {
            break end;
        }
        if !destination.take(&points, &mut store).await {
            // What comes cannot be stored either; a closed connection is the only way to say so.
            break End::Storage;
        }
    };
    if framer.pending_bytes() > 0 {
        carbon.shared.counters.carbon_rejected_unfinished.one();
    }
    store.finish().await;
    tracing::debug!(peer = %connection.peer, "carbon lines: connection ended: {end}");
}
