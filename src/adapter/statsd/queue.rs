//! What waits for the owner, bounded by bytes.

use std::ops::Range;
use std::sync::Arc;

use rhythmite_statsd::Reply;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Messages that may wait, however small; a bound for the channel itself.
const MESSAGES_MAX: usize = 16 << 10;
/// What a packet costs beside its bytes.
const PACKET_COST: usize = 32;

/// Packets that were read together, in the order of arrival.
#[derive(Default)]
pub(super) struct Packets {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Packets {
    /// With room for so many bytes.
    pub(super) fn with_room(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::new() }
    }

    pub(super) fn push(&mut self, packet: &[u8]) {
        self.bytes.extend_from_slice(packet);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let start_of = |i: usize| i.checked_sub(1).map_or(0, |before| self.ends[before]);
        (0..self.ends.len()).map(move |i| &self.bytes[Range { start: start_of(i), end: self.ends[i] }])
    }

    fn cost(&self) -> usize {
        self.bytes.capacity() + self.ends.len() * PACKET_COST
    }
}

/// Something for the owner to do.
pub(super) enum Message {
    /// Fold them. The permit is the room they take.
    Packets(Packets, OwnedSemaphorePermit),
    /// Answer an admin command.
    Command(String, oneshot::Sender<Reply>),
}

/// The senders' end.
#[derive(Clone)]
pub(super) struct Queue {
    messages: mpsc::Sender<Message>,
    room: Arc<Semaphore>,
    room_max: usize,
}

/// A queue that holds `bytes`, and the owner's end.
pub(super) fn new(bytes: usize) -> (Queue, mpsc::Receiver<Message>) {
    let (messages, incoming) = mpsc::channel(MESSAGES_MAX);
    let room_max = bytes.min(u32::MAX as usize).min(Semaphore::MAX_PERMITS);
    (Queue { messages, room: Arc::new(Semaphore::new(room_max)), room_max }, incoming)
}

impl Queue {
    /// Queues packets if there is room.
    pub(super) fn try_send(&self, packets: Packets) -> Result<(), Full> {
        let room = self.room.clone().try_acquire_many_owned(self.cost(&packets)).map_err(|_| Full)?;
        self.messages.try_send(Message::Packets(packets, room)).map_err(|_| Full)
    }

    /// Queues packets as soon as there is room. Cancelled, they are not queued.
    pub(super) async fn send(&self, packets: Packets) -> Result<(), Full> {
        let room = self.room.clone().acquire_many_owned(self.cost(&packets)).await.map_err(|_| Full)?;
        self.messages.send(Message::Packets(packets, room)).await.map_err(|_| Full)
    }

    /// The owner's answer to an admin command; `None` when it has ended.
    pub(super) async fn ask(&self, line: String) -> Option<Reply> {
        let (answer, reply) = oneshot::channel();
        self.messages.send(Message::Command(line, answer)).await.ok()?;
        reply.await.ok()
    }

    fn cost(&self, packets: &Packets) -> u32 {
        // What is larger than the whole queue takes all of it.
        packets.cost().min(self.room_max) as u32
    }
}

/// There was no room, or nobody listens any more.
#[derive(Debug)]
pub(super) struct Full;

#[cfg(test)]
mod tests {
    use super::*;

    fn packets(sizes: &[usize]) -> Packets {
        let mut packets = Packets::default();
        sizes.iter().for_each(|size| packets.push(&vec![b'x'; *size]));
        packets
    }

    #[test]
    fn packets_come_out_as_they_went_in() {
        assert_eq!(packets(&[3, 0, 2]).iter().map(<[u8]>::len).collect::<Vec<_>>(), [3, 0, 2]);
        assert_eq!(packets(&[]).iter().count(), 0);
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_room_comes_back() {
        let (queue, mut incoming) = new(2_000);
        queue.try_send(packets(&[1_500])).unwrap();
        queue.try_send(packets(&[1_500])).unwrap_err();
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.send(packets(&[1_500])).await }
        });
        assert!(matches!(incoming.recv().await, Some(Message::Packets(p, _)) if p.len() == 1));
        assert!(matches!(incoming.recv().await, Some(Message::Packets(..))));
        waiting.await.unwrap().unwrap();
        queue.try_send(packets(&[9_000])).unwrap();
    }
}
