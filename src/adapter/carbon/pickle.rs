//! One connection of pickles.

use rhythmite_carbon::framer::{FrameTooLong, split_frame};
use rhythmite_carbon::pickle::Decoder;

use super::sink::Intake;
use super::{Carbon, Destination};
use crate::adapter::log::Seldom;
use crate::adapter::tcp::{Connection, End};
use crate::ingest::PathPoints;

pub(super) async fn serve(connection: Connection, carbon: Carbon, destination: Destination) {
    let counters = &carbon.shared.counters;
    // What has arrived of a frame, at most one frame and one read; grows with what arrives, not with what is announced.
    let mut pending: Vec<u8> = Vec::new();
    let mut store = carbon.store();
    let end = loop {
        if let Err(end) = connection.ready().await {
            break end;
        }
        let _room = carbon.room().await;
        let mut points = PathPoints::default();
        let read = connection.read_now(|bytes| {
            counters.carbon_bytes.add(bytes.len() as u64);
            pending.extend_from_slice(bytes);
        });
        if let Err(end) = read {
            break end;
        }
        let (taken, too_long) = decode(&pending, &carbon, &destination, &mut points);
        pending.drain(..taken);
        if pending.is_empty() {
            // A quiet connection holds no buffer.
            pending = Vec::new();
        }
        if !store.write(&points).await {
            break End::Storage;
        }
        if let Some(e) = too_long {
            counters.carbon_pickles_too_long.one();
            tracing::warn!(peer = %connection.peer, "carbon pickles: {e}; connection closed");
            pending.clear();
            break End::Refused;
        }
    };
    if !pending.is_empty() {
        counters.carbon_rejected_unfinished.one();
    }
    store.finish().await;
    tracing::debug!(peer = %connection.peer, "carbon pickles: connection ended: {end}");
}

/// Decodes the whole frames of `pending`; says how many bytes they are, and why the rest cannot be read.
fn decode(
    pending: &[u8],
    carbon: &Carbon,
    destination: &Destination,
    points: &mut PathPoints,
) -> (usize, Option<FrameTooLong>) {
    let mut rest = pending;
    // Its memory is a multiple of the frame's: not kept from one read to the next.
    let mut decoder = Decoder::default();
    loop {
        let frame = match split_frame(rest, carbon.settings.frame_bytes_max) {
            Ok(Some(frame)) => frame,
            Ok(None) => return (pending.len() - rest.len(), None),
            Err(e) => return (pending.len() - rest.len(), Some(e)),
        };
        let mut intake = Intake::new(carbon, destination, points);
        let now_s = intake.now_s;
        if let Err(e) = decoder.decode(frame.payload, now_s, &mut intake) {
            static REFUSED: Seldom = Seldom::new();
            carbon.shared.counters.carbon_pickles_refused.one();
            if REFUSED.now(&*carbon.shared.clock) {
                tracing::warn!("carbon pickles: refused: {e}");
            }
        }
        rest = frame.rest;
    }
}
