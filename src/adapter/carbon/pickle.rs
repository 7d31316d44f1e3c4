//! One connection of frames: pickles, or carbon's protobuf.

use std::future::Future;
use std::time::Duration;

use rhythmite_carbon::framer::{FrameTooLong, split_frame};
use rhythmite_carbon::pickle::Decoder;
use rhythmite_carbon::protobuf;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use tokio::time::error::Elapsed;

use super::sink::Intake;
use super::{Carbon, Destination};
use crate::adapter::tcp::{Connection, End};
use crate::ingest::PathPoints;
use crate::seldom::Seldom;

/// What is in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// A pickle.
    Pickle,
    /// carbon's protobuf message.
    Protobuf,
}

pub(super) async fn serve(connection: Connection, carbon: Carbon, destination: Destination, payload: Payload) {
    static NO_ROOM: Seldom = Seldom::new();
    static SLOW: Seldom = Seldom::new();
    let (shared, counters) = (&carbon.shared, &carbon.shared.counters);
    let mut pending = Pending::new(&carbon);
    let mut store = carbon.store();
    let end = loop {
        match pending.in_time(connection.ready()).await {
            Ok(Ok(())) => {}
            Ok(Err(end)) => break end,
            Err(_) => {
                counters.carbon_pickles_slow.one();
                if SLOW.now(&*shared.clock) {
                    tracing::warn!(peer = %connection.peer, "carbon pickles: one took too long; connection closed");
                }
                break End::Refused;
            }
        }
        let _room = carbon.room().await;
        let mut points = PathPoints::of(connection.peer);
        let read = connection.read_now(|bytes| {
            counters.carbon_bytes.add(bytes.len() as u64);
            pending.bytes.extend_from_slice(bytes);
        });
        if let Err(end) = read {
            break end;
        }
        let (taken, too_long) = decode(&pending.bytes, payload, &carbon, &destination, &mut points);
        pending.take(taken);
        if !destination.take(&points, &mut store).await {
            break End::Storage;
        }
        if let Some(e) = too_long {
            counters.carbon_pickles_too_long.one();
            tracing::warn!(peer = %connection.peer, "carbon pickles: {e}; connection closed");
            pending.bytes.clear();
            break End::Refused;
        }
        if !pending.hold() {
            counters.carbon_pickles_no_room.one();
            if NO_ROOM.now(&*shared.clock) {
                tracing::warn!(peer = %connection.peer, "carbon pickles: too many unfinished ones; connection closed");
            }
            break End::Refused;
        }
    };
    if !pending.bytes.is_empty() {
        counters.carbon_rejected_unfinished.one();
    }
    // Others have the room while the disk is waited for.
    drop(pending);
    store.finish().await;
    tracing::debug!(peer = %connection.peer, "carbon pickles: connection ended: {end}");
}

/// What has arrived of a frame, at most one frame and one read; grows with what arrives, not with what is announced.
///
/// Between two reads its memory is part of the budget of all connections; a quiet connection has none.
struct Pending<'a> {
    bytes: Vec<u8>,
    budget: &'a Semaphore,
    room: Option<SemaphorePermit<'a>>,
    /// From the start of a frame to its end.
    time: Duration,
    /// When the frame must be complete, if there is one.
    deadline: Option<Instant>,
}

impl<'a> Pending<'a> {
    fn new(carbon: &'a Carbon) -> Self {
        Self { bytes: Vec::new(), budget: &carbon.frames, room: None, time: carbon.settings.frame_time, deadline: None }
    }

    /// What `waited` gives, unless the frame's time is over before. What has arrived is never too late: the time that
    /// the server takes is not the sender's.
    async fn in_time<T>(&self, waited: impl Future<Output = T>) -> Result<T, Elapsed> {
        match self.deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, waited).await,
            None => Ok(waited.await),
        }
    }

    /// Forgets whole frames of `n` bytes, and their memory.
    fn take(&mut self, n: usize) {
        if n > 0 {
            self.bytes.drain(..n);
            self.bytes.shrink_to_fit();
            self.deadline = None;
        }
    }

    /// Accounts for what is kept until the next read; `false` if there is no room for it.
    fn hold(&mut self) -> bool {
        if self.bytes.is_empty() {
            (self.room, self.deadline) = (None, None);
            return true;
        }
        self.deadline.get_or_insert_with(|| Instant::now() + self.time);
        let held = self.room.as_ref().map_or(0, SemaphorePermit::num_permits);
        let wanted = self.bytes.capacity();
        if wanted < held {
            drop(self.room.as_mut().and_then(|room| room.split(held - wanted)));
            return true;
        }
        let more = u32::try_from(wanted - held).ok().and_then(|more| self.budget.try_acquire_many(more).ok());
        match (more, &mut self.room) {
            (None, _) => return false,
            (Some(more), Some(room)) => room.merge(more),
            (more, room) => *room = more,
        }
        true
    }
}

/// Decodes the whole frames of `pending`; says how many bytes they are, and why the rest cannot be read.
fn decode(
    pending: &[u8],
    payload: Payload,
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
        let decoded = match payload {
            Payload::Pickle => decoder.decode(frame.payload, now_s, &mut intake).map_err(|e| e.to_string()),
            Payload::Protobuf => {
                protobuf::decode(frame.payload, now_s, &mut intake).map_err(|e| format!("a protobuf frame: {e}"))
            }
        };
        if let Err(e) = decoded {
            static REFUSED: Seldom = Seldom::new();
            carbon.shared.counters.carbon_pickles_refused.one();
            if REFUSED.now(&*carbon.shared.clock) {
                tracing::warn!("carbon pickles: refused: {e}");
            }
        }
        rest = frame.rest;
    }
}
