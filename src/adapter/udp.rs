//! Receiving datagrams, by UDP or by a socket in the file system: what all such listeners share.
//!
//! Order of events: a thread of its own ([`on_a_thread`]) has the socket, so that nothing else keeps the kernel's buffer
//! from being emptied. It waits until something has come ([`Inbox::ready`]), then takes datagrams until its batch is full
//! or there are no more ([`Inbox::read`]). Those of refused peers are part of the batch: a flood of them keeps neither
//! what was accepted nor the end of the server.
//!
//! While the kernel's buffer has room for it, some milliseconds pass between waking up and reading: what comes within them
//! costs one awakening, not one for each datagram. Of 300,000 StatsD lines in 10,000 datagrams a second, the awakenings
//! cost more than folding.
//!
//! A listener that keeps what it reads has it put where it keeps it ([`Inbox::read_into`]): nothing is copied.
//!
//! Limits: the listener's [`BatchMax`]. A datagram of 64 KiB is read whole.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use bytes::BufMut;
use socket2::SockRef;
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::sync::oneshot;

use super::{LAST_WAIT, Shared, UdpPort};
use crate::config::Allow;

/// The longest datagram there is.
pub(super) const DATAGRAM_BYTES_MAX: usize = 65_536;
/// How long datagrams gather between waking up and reading, at most; the timer may take a millisecond more.
pub(super) const GATHER_MAX: Duration = Duration::from_millis(10);
/// What a datagram costs in the kernel's buffer, with room to spare: the kernel counts pages, not bytes.
const KERNEL_BYTES: f64 = 4_096.0;

/// What ends a batch, even if more datagrams wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchMax {
    pub(super) datagrams: usize,
    pub(super) bytes: usize,
}

/// What a batch held, with what came from refused peers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
}

/// A socket of datagrams.
pub(super) trait Datagrams: AsFd {
    /// Waits until there may be datagrams.
    async fn readable(&self) -> io::Result<()>;

    /// Appends one datagram, if there is one, to a buffer with room for the longest: its length and, by UDP, its sender.
    fn try_receive(&self, buffer: &mut Vec<u8>) -> io::Result<(usize, Option<IpAddr>)>;
}

impl Datagrams for UdpSocket {
    async fn readable(&self) -> io::Result<()> {
        UdpSocket::readable(self).await
    }

    fn try_receive(&self, buffer: &mut Vec<u8>) -> io::Result<(usize, Option<IpAddr>)> {
        self.try_recv_buf_from(buffer).map(|(n, peer)| (n, Some(peer.ip())))
    }
}

impl Datagrams for UnixDatagram {
    async fn readable(&self) -> io::Result<()> {
        UnixDatagram::readable(self).await
    }

    fn try_receive(&self, buffer: &mut Vec<u8>) -> io::Result<(usize, Option<IpAddr>)> {
        // Here a datagram may be longer: where it is cut must not depend on what came before it.
        self.try_recv_buf(&mut buffer.limit(DATAGRAM_BYTES_MAX)).map(|n| (n, None))
    }
}

/// A socket that is read in batches.
pub(super) struct Inbox<S> {
    socket: S,
    allow: Allow,
    /// Names the socket in messages.
    key: &'static str,
    shared: Shared,
    /// For datagrams that are not kept; empty between two batches.
    buffer: Vec<u8>,
    pace: Pace,
    /// Whether the last batch ended because there were no more; if not, there is no time to lose.
    drained: bool,
    /// Batches still taken when the server stops, if senders do not pause.
    left: usize,
}

impl<S: Datagrams> Inbox<S> {
    /// When the server stops, up to `last` batches are still taken.
    pub(super) fn new(socket: S, allow: Allow, key: &'static str, shared: Shared, last: usize) -> Self {
        let kernel_buffer_bytes = SockRef::from(&socket).recv_buffer_size().unwrap_or(0);
        let pace = Pace::new(kernel_buffer_bytes, shared.clock.monotonic());
        Self { socket, allow, key, shared, buffer: Vec::new(), pace, drained: true, left: last }
    }

    /// Waits until there may be datagrams; `false` when the server stops and what had arrived has been read.
    pub(super) async fn ready(&mut self) -> bool {
        // What waits below does not yield while there is something to read.
        tokio::task::yield_now().await;
        let stopping = self.shared.stop.is_cancelled();
        self.left -= usize::from(stopping);
        if self.left == 0 {
            return false;
        }
        match self.wait().await {
            Ok(true) => {
                let pause = self.pace.pause();
                if self.drained && !stopping && !pause.is_zero() {
                    // Not the runtime's sleep: the runtime would wake up for every datagram meanwhile, and nothing else
                    // runs on this thread.
                    std::thread::sleep(pause);
                }
                true
            }
            Ok(false) => false,
            Err(e) => {
                tracing::error!("{}: {e}", self.key);
                false
            }
        }
    }

    async fn wait(&self) -> io::Result<bool> {
        tokio::select! {
            biased;
            ready = self.socket.readable() => return ready.map(|()| true),
            () = self.shared.stop.cancelled() => {}
        }
        tokio::time::timeout(LAST_WAIT, self.socket.readable()).await.map_or(Ok(false), |ready| ready.map(|()| true))
    }

    /// Gives datagrams of accepted peers, and who they are by UDP, to `take`, in the order of arrival, until the batch is full or there are no more.
    pub(super) fn read(&mut self, max: BatchMax, mut take: impl FnMut(&[u8], Option<IpAddr>)) -> Read {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self.read_into(max, &mut buffer, |buffer, peer| {
            take(buffer, peer);
            buffer.clear();
        });
        self.buffer = buffer;
        read
    }

    /// The same, but puts each behind what `buffer` holds before `taken` is given it.
    pub(super) fn read_into(
        &mut self,
        max: BatchMax,
        buffer: &mut Vec<u8>,
        mut taken: impl FnMut(&mut Vec<u8>, Option<IpAddr>),
    ) -> Read {
        let mut read = Read::default();
        self.drained = false;
        while (read.datagrams as usize) < max.datagrams && (read.bytes as usize) < max.bytes {
            let held = buffer.len();
            buffer.reserve(DATAGRAM_BYTES_MAX);
            // There are no more, or an error that is not of a datagram for us: nothing to end the listener for.
            let Ok((bytes, peer)) = self.socket.try_receive(buffer) else {
                self.drained = true;
                break;
            };
            read.datagrams += 1;
            read.bytes += bytes as u64;
            match peer {
                Some(peer) if !self.allow.accepts(peer) => {
                    buffer.truncate(held);
                    self.shared.refuse_peer(peer);
                }
                _ => taken(buffer, peer),
            }
        }
        self.pace.read(read.datagrams);
        if self.drained {
            self.pace.drained(self.shared.clock.monotonic());
        }
        read
    }
}

/// How fast datagrams come, and what the kernel's buffer has room for.
struct Pace {
    /// Datagrams that may come while we sleep.
    room: f64,
    /// When the socket was last empty, and what was read since.
    last: Duration,
    datagrams: u64,
    /// Datagrams a millisecond, of late.
    per_ms: f64,
}

impl Pace {
    /// `now` is monotonic time, here and below.
    fn new(kernel_buffer_bytes: usize, now: Duration) -> Self {
        // A quarter: bursts come faster than what was before them.
        Self { room: kernel_buffer_bytes as f64 / KERNEL_BYTES / 4.0, last: now, datagrams: 0, per_ms: 0.0 }
    }

    fn read(&mut self, datagrams: u64) {
        self.datagrams += datagrams;
    }

    /// The socket is empty. Only now what was read has a rate: a batch that was cut off by its size says how fast we read,
    /// not how fast they come.
    fn drained(&mut self, now: Duration) {
        let ms = now.saturating_sub(self.last).as_secs_f64() * 1000.0;
        self.last = now;
        // Half of it is new: a pause between two bursts says little of the next.
        self.per_ms = (self.per_ms + std::mem::take(&mut self.datagrams) as f64 / ms.max(0.01)) / 2.0;
    }

    /// Whole milliseconds, as the timer has them.
    fn pause(&self) -> Duration {
        let ms = (self.room / self.per_ms.max(0.01) - 1.0).floor();
        // A buffer that holds little is never left alone: a burst has no rate yet.
        let ms = ms.min(self.room / 10.0).floor();
        Duration::from_millis(ms.max(0.0) as u64).min(GATHER_MAX)
    }
}

/// Runs what `work` makes on a thread of its own until it ends.
pub(super) async fn on_a_thread<F>(name: &str, key: &str, work: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    match thread(name, work) {
        // An error is the thread's panic, which is in the log.
        Ok(ended) => drop(ended.await),
        Err(e) => tracing::error!("{key}: {e}"),
    }
}

/// Starts a thread; what is returned resolves when what it runs has ended.
pub(super) fn thread<F>(name: &str, work: impl FnOnce() -> F + Send + 'static) -> io::Result<oneshot::Receiver<()>>
where
    F: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ending, ended) = oneshot::channel();
    let run = move || {
        runtime.block_on(async { work().await });
        // Nobody may be waiting.
        let _ = ending.send(());
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
    Ok(ended)
}

/// Runs a UDP listener on a thread of its own until it ends. `last` as in [`Inbox::new`].
pub(super) async fn receive<F>(
    name: &str,
    key: &'static str,
    port: UdpPort,
    shared: Shared,
    last: usize,
    work: impl FnOnce(Inbox<UdpSocket>) -> F + Send + 'static,
) where
    F: Future<Output = ()>,
{
    let UdpPort { socket, allow } = port;
    let socket = match socket.into_std() {
        Ok(socket) => socket,
        Err(e) => return tracing::error!("{key}: {e}"),
    };
    let work = move || async move {
        match UdpSocket::from_std(socket) {
            Ok(socket) => work(Inbox::new(socket, allow, key, shared, last)).await,
            Err(e) => tracing::error!("{key}: {e}"),
        }
    };
    on_a_thread(name, key, work).await;
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::adapter::tests::bare;

    const MAX: BatchMax = BatchMax { datagrams: 100, bytes: 1_000 };

    async fn send(to: SocketAddr, datagrams: &[Vec<u8>]) {
        let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for datagram in datagrams {
            sender.send_to(datagram, to).await.unwrap();
        }
    }

    async fn inbox(allow: Allow) -> (Inbox<UdpSocket>, SocketAddr, tempfile::TempDir) {
        let (shared, dir) = bare().await;
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap();
        (Inbox::new(socket, allow, "test", shared, 10), at, dir)
    }

    /// Lengths of what the next batch gives.
    async fn batch(inbox: &mut Inbox<UdpSocket>, max: BatchMax) -> Vec<usize> {
        assert!(tokio::time::timeout(Duration::from_secs(20), inbox.ready()).await.unwrap());
        let mut lengths = Vec::new();
        let read = inbox.read(max, |datagram, peer| {
            assert_eq!(peer, Some(IpAddr::from([127, 0, 0, 1])));
            assert!(datagram.iter().all(|b| *b == datagram.len() as u8));
            lengths.push(datagram.len());
        });
        assert_eq!(read.datagrams, lengths.len() as u64);
        assert_eq!(read.bytes, lengths.iter().sum::<usize>() as u64);
        lengths
    }

    fn of(lengths: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
        lengths.into_iter().map(|n| vec![n as u8; n]).collect()
    }

    #[tokio::test]
    async fn datagrams_come_in_order_in_batches_of_bounded_size() {
        let (mut inbox, at, _dir) = inbox(Allow::default()).await;
        send(at, &of([3, 0, 600, 500, 7])).await;
        assert_eq!(batch(&mut inbox, MAX).await, [3, 0, 600, 500]);
        assert!(!inbox.drained, "the next batch is not waited for");
        assert_eq!(batch(&mut inbox, MAX).await, [7]);
        assert!(inbox.drained);
        send(at, &of(1..=20)).await;
        let max = BatchMax { datagrams: 11, bytes: usize::MAX };
        assert_eq!(batch(&mut inbox, max).await, Vec::from_iter(1..=11));
        assert_eq!(batch(&mut inbox, max).await, Vec::from_iter(12..=20));
    }

    #[tokio::test]
    async fn datagrams_are_put_behind_what_is_there() {
        let (mut inbox, at, _dir) = inbox(Allow::default()).await;
        send(at, &of([3, 0, 600, 500, 7])).await;
        let (mut buffer, mut ends) = (b"there".to_vec(), Vec::new());
        let mut batches = Vec::new();
        for _ in 0..2 {
            assert!(inbox.ready().await);
            batches.push(inbox.read_into(MAX, &mut buffer, |buffer, _| ends.push(buffer.len())).datagrams);
        }
        assert_eq!((&batches[..], &ends[..]), (&[4, 1][..], &[8, 8, 608, 1108, 1115][..]));
        assert_eq!(buffer, [&b"there"[..], &of([3, 0, 600, 500, 7]).concat()].concat());
    }

    #[tokio::test]
    async fn the_longest_datagram_is_whole() {
        let (mut inbox, at, _dir) = inbox(Allow::default()).await;
        send(at, &[vec![(65_507 & 0xff) as u8; 65_507]]).await;
        assert_eq!(batch(&mut inbox, BatchMax { datagrams: 1, bytes: 1 }).await, [65_507]);
    }

    #[tokio::test]
    async fn refused_peers_are_counted_and_fill_a_batch_too() {
        let (mut inbox, at, _dir) = inbox(Allow(vec!["10.0.0.0/8".parse().unwrap()])).await;
        send(at, &of([600, 600, 600])).await;
        for (refused, datagrams) in [(2, 2), (3, 1)] {
            assert!(inbox.ready().await);
            let mut kept = b"there".to_vec();
            let read = inbox.read_into(MAX, &mut kept, |_, _| panic!("the peer is refused"));
            assert_eq!(kept, b"there");
            assert_eq!((inbox.shared.counters.connections_not_allowed.get(), read.datagrams), (refused, datagrams));
        }
        assert_eq!(inbox.shared.counters.offenders.last("connections.not_allowed")[0].text, "127.0.0.1");
    }

    #[tokio::test]
    async fn what_has_arrived_when_the_server_stops_is_read() {
        let (mut inbox, at, _dir) = inbox(Allow::default()).await;
        send(at, &of([5])).await;
        inbox.shared.stop.cancel();
        assert_eq!(batch(&mut inbox, MAX).await, [5]);
        // The kernel may have to be asked once more.
        while inbox.ready().await {
            assert_eq!(inbox.read(MAX, |_, _| ()), Read::default());
        }
    }

    #[test]
    fn datagrams_gather_while_the_kernel_has_room() {
        let mut large = Pace::new(8 << 20, Duration::ZERO);
        for (per_ms, ms) in [(0.0, 10), (1.0, 10), (40.0, 10), (100.0, 4), (300.0, 0), (1e9, 0)] {
            large.per_ms = per_ms;
            assert_eq!(large.pause(), Duration::from_millis(ms), "{per_ms}");
        }
        // Linux' default of 208 KiB, which it doubles.
        let mut small = Pace::new(425_984, Duration::ZERO);
        for (per_ms, ms) in [(0.0, 2), (5.0, 2), (10.0, 1), (20.0, 0)] {
            small.per_ms = per_ms;
            assert_eq!(small.pause(), Duration::from_millis(ms), "{per_ms}");
        }
        assert!(Pace::new(0, Duration::ZERO).pause().is_zero());
    }

    #[test]
    fn the_rate_is_that_of_whole_times_between_two_moments_without_datagrams() {
        let at = Duration::from_millis;
        let mut pace = Pace::new(8 << 20, at(0));
        for n in 1..20 {
            // 200 in 10 ms, read in two batches.
            pace.read(150);
            pace.read(50);
            pace.drained(at(10 * n));
        }
        assert!((pace.per_ms - 20.0).abs() < 0.1, "{}", pace.per_ms);
        pace.drained(at(1_000));
        assert!((pace.per_ms - 10.0).abs() < 0.1, "a pause counts for half: {}", pace.per_ms);
    }
}
