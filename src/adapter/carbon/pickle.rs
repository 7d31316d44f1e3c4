//! One connection of pickles.

use rhythmite_carbon::framer::split_frame;
use rhythmite_carbon::pickle::Decoder;

use super::sink::Intake;
use super::{Carbon, Destination};
use crate::adapter::log::Seldom;
use crate::adapter::tcp::Connection;
use crate::ingest::PathPoints;

pub(super) async fn serve(connection: Connection, carbon: Carbon, destination: Destination) {
    let (settings, shared) = (&carbon.settings, &carbon.shared);
    let mut decoder = Decoder::default();
    // What has arrived of a frame: at most one frame and one read.
    let mut pending: Vec<u8> = Vec::new();
    let mut points = PathPoints::default();
    let mut store = carbon.store();
    'connection: loop {
        match connection.read(|bytes| pending.extend_from_slice(bytes)).await {
            Ok(()) => {}
            Err(end) => {
                tracing::debug!(peer = %connection.peer, "carbon pickles: connection ended: {end}");
                break;
            }
        }
        let mut taken = 0;
        loop {
            let frame = match split_frame(&pending[taken..], settings.frame_bytes_max) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(e) => {
                    shared.counters.carbon_pickles_too_long.one();
                    tracing::warn!(peer = %connection.peer, "carbon pickles: {e}; connection closed");
                    pending.clear();
                    break 'connection;
                }
            };
            let now_s = shared.clock.now_s();
            let decoded = destination.with_aggregator(now_s, |aggregator| {
                let mut intake = Intake {
                    points: &mut points,
                    filter: &settings.filter,
                    counters: &shared.counters,
                    clock: &*shared.clock,
                    aggregator,
                };
                decoder.decode(frame.payload, now_s, &mut intake)
            });
            if let Err(e) = decoded {
                static REFUSED: Seldom = Seldom::new();
                shared.counters.carbon_pickles_refused.one();
                if REFUSED.now(&*shared.clock) {
                    tracing::warn!(peer = %connection.peer, "carbon pickles: refused: {e}");
                }
            }
            taken = pending.len() - frame.rest.len();
            store.write(&mut points).await;
        }
        pending.drain(..taken);
        if pending.is_empty() {
            // A quiet connection holds no buffer.
            pending = Vec::new();
        }
    }
    if !pending.is_empty() {
        shared.counters.carbon_rejected_unfinished.one();
    }
    store.write(&mut points).await;
    store.finish().await;
}
