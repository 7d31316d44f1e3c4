//! What waits for the owner, bounded by bytes.
//!
//! A socket's datagrams are received into the memory in which they wait. Once they are folded it goes back to the sockets
//! ([`Spares`]): memory that has just been used is in a cache and is no page fault.

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;
use rhythmite_statsd::Reply;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::adapter::udp::DATAGRAM_BYTES_MAX;
use crate::senders::Senders;

/// Messages that may wait, however small; a bound for the channel itself.
const MESSAGES_MAX: usize = 16 << 10;
/// What a packet costs beside its bytes: where it ends, and its sender.
const PACKET_COST: usize = 40;
/// Bytes of datagrams that are read together: a part of the queue, within these.
// PERF: what comes while datagrams gather is one message, for which the owner wakes up once.
const BATCH_BYTES_MIN: usize = 64 << 10;
const BATCH_BYTES_MAX: usize = 512 << 10;
const BATCHES_MIN: usize = 16;
/// Memory that may lie ready for sockets: one to be filled, while one is folded and one waits.
const SPARES_MAX: usize = 3;
/// Packets that take less than this share of their memory do not keep it.
const SHARE_MIN: usize = 2;

/// Packets that were read together, in the order of arrival.
#[derive(Clone, Default)]
pub(super) struct Packets {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Of the packets, by their places.
    senders: Senders,
}

impl Packets {
    fn with_room(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    pub(super) fn push(&mut self, packet: &[u8], sender: Option<IpAddr>) {
        self.senders.begin(self.ends.len(), sender);
        self.bytes.extend_from_slice(packet);
        self.ends.push(self.bytes.len());
    }

    /// The bytes, to which a packet is to be appended, and what then says that it is there and whose.
    pub(super) fn parts(&mut self) -> (&mut Vec<u8>, impl FnMut(&[u8], Option<IpAddr>)) {
        let (ends, senders) = (&mut self.ends, &mut self.senders);
        let appended = |bytes: &[u8], sender| {
            senders.begin(ends.len(), sender);
            ends.push(bytes.len());
        };
        (&mut self.bytes, appended)
    }

    /// Who sent each packet.
    pub(super) fn senders(&self) -> &Senders {
        &self.senders
    }

    /// Takes the packets: with their memory, in place of which `spare` is left, or copied if they are few.
    pub(super) fn take(&mut self, spare: impl FnOnce() -> Self) -> Self {
        if self.bytes.len() >= self.bytes.capacity() / SHARE_MIN {
            return std::mem::replace(self, spare());
        }
        let few = self.clone();
        self.clear();
        few
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.senders.clear();
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

/// Memory for packets of sockets, a batch in each.
#[derive(Clone)]
pub(super) struct Spares {
    empty: Arc<Mutex<Vec<Packets>>>,
    batch_bytes: usize,
}

impl Spares {
    fn new(batch_bytes: usize) -> Self {
        Self { empty: Arc::default(), batch_bytes }
    }

    /// What is read together: when a batch has so many bytes there is room for one more datagram, and then it is full.
    pub(super) fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    /// No packets yet.
    pub(super) fn take(&self) -> Packets {
        self.empty.lock().pop().unwrap_or_else(|| Packets::with_room(self.room()))
    }

    /// Keeps the memory of packets that are done, if it is of this kind and not enough lies ready.
    pub(super) fn give(&self, mut packets: Packets) {
        let room = self.room();
        if !(room..=2 * room).contains(&packets.bytes.capacity()) {
            return;
        }
        packets.clear();
        let mut empty = self.empty.lock();
        if empty.len() < SPARES_MAX {
            empty.push(packets);
        }
    }

    fn room(&self) -> usize {
        self.batch_bytes + DATAGRAM_BYTES_MAX
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
    spares: Spares,
}

/// A queue that holds `bytes`, and the owner's end.
pub(super) fn new(bytes: usize) -> (Queue, mpsc::Receiver<Message>) {
    let (messages, incoming) = mpsc::channel(MESSAGES_MAX);
    let room_max = bytes.min(u32::MAX as usize).min(Semaphore::MAX_PERMITS);
    let spares = Spares::new((room_max / BATCHES_MIN).clamp(BATCH_BYTES_MIN, BATCH_BYTES_MAX));
    (Queue { messages, room: Arc::new(Semaphore::new(room_max)), room_max, spares }, incoming)
}

impl Queue {
    /// Queues packets if there is room; if not, their memory goes back to the sockets.
    pub(super) fn try_send(&self, packets: Packets) -> Result<(), Full> {
        let Ok(room) = self.room.clone().try_acquire_many_owned(self.cost(&packets)) else {
            self.spares.give(packets);
            return Err(Full);
        };
        self.messages.try_send(Message::Packets(packets, room)).map_err(|refused| {
            if let Message::Packets(packets, _) = refused.into_inner() {
                self.spares.give(packets);
            }
            Full
        })
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

    /// Memory in which sockets receive.
    pub(super) fn spares(&self) -> &Spares {
        &self.spares
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
        sizes.iter().for_each(|size| packets.push(&vec![b'x'; *size], None));
        packets
    }

    #[test]
    fn packets_come_out_as_they_went_in() {
        assert_eq!(packets(&[3, 0, 2]).iter().map(<[u8]>::len).collect::<Vec<_>>(), [3, 0, 2]);
        assert_eq!(packets(&[]).iter().count(), 0);
    }

    #[test]
    fn many_packets_are_not_copied_and_their_memory_comes_back() {
        let (queue, _incoming) = new(32 << 20);
        let spares = queue.spares();
        let full = vec![b'x'; spares.batch_bytes()];
        let mut reading = spares.take();
        let memory = reading.bytes.as_ptr();
        for (bytes, copied) in [(0, true), (10, true), (full.len() / SHARE_MIN, true), (full.len() * 3 / 4, false)] {
            reading.push(b"first", None);
            reading.push(&full[..bytes], None);
            let packets = reading.take(|| spares.take());
            assert_eq!(packets.iter().map(<[u8]>::len).collect::<Vec<_>>(), [5, bytes]);
            assert!(reading.is_empty() && reading.bytes() == 0);
            assert_eq!(packets.bytes.as_ptr() != memory, copied, "{bytes}");
            assert_eq!(packets.bytes.capacity() == 5 + bytes, copied, "what waits takes what it needs: {bytes}");
            spares.give(packets);
        }
        // A batch may have all but one byte before the longest datagram comes.
        let mut again = spares.take();
        assert_eq!((again.bytes.as_ptr(), again.len(), again.bytes()), (memory, 0, 0));
        again.push(&full[1..], None);
        again.push(&[b'x'; DATAGRAM_BYTES_MAX], None);
        assert_eq!(again.bytes.as_ptr(), memory);
        (0..2 * SPARES_MAX).for_each(|_| spares.give(Packets::with_room(spares.room())));
        assert_eq!(spares.empty.lock().len(), SPARES_MAX);
    }

    #[test]
    fn a_small_queue_has_small_batches() {
        for (queue_kib, batch_kib) in [(1, 64), (2 << 10, 128), (32 << 10, 512), (1 << 20, 512)] {
            assert_eq!(new(queue_kib << 10).0.spares().batch_bytes(), batch_kib << 10, "{queue_kib}");
        }
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
