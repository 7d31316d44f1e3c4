//! A connection whose next request is looked for before its task sleeps.
//!
//! A client that asks one short question after the other lets both processors halt between them, and waking one takes longer
//! than the answer (decision 0024). Owns the habit of each connection and the look; never looks for more than one connection at
//! a time, and never for one whose client takes its time.

use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rhythmite_env::Clock;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::counters::Counters;

/// How long the look takes at most: what waking a halted processor costs.
const WINDOW: Duration = Duration::from_micros(50);
/// A request that comes later than this after the last answer ends a streak.
const AT_ONCE: Duration = Duration::from_micros(200);
/// Requests in a row, each at once and none of another connection between them, before the look begins.
const STREAK: u32 = 8;
/// Bytes of a request that one look takes; the rest is read as ever.
const LOOK_BYTES: usize = 4 << 10;
/// Pauses of the processor between two looks: about a microsecond, so that the system call is not all it does.
const PAUSES: u32 = 32;

/// Which connection was heard last, for all connections of the server.
pub(super) struct Attention {
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    /// Number of the last connection that sent a request.
    heard: AtomicU64,
    connections: AtomicU64,
    /// False where there is one processor: looking would take it from the client.
    on: bool,
}

impl Attention {
    pub(super) fn new(clock: Arc<dyn Clock>, counters: Arc<Counters>, on: bool) -> Arc<Self> {
        let several = std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
        Arc::new(Self { clock, counters, heard: AtomicU64::new(0), connections: AtomicU64::new(0), on: on && several })
    }

    pub(super) fn watch(self: &Arc<Self>, stream: TcpStream) -> BusyPolled {
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        BusyPolled { stream, attention: self.clone(), number, habit: Habit::default() }
    }
}

/// How a client asks: one request at once after each answer, or in its own time.
#[derive(Default)]
struct Habit {
    /// Requests that came at once, in a row.
    streak: u32,
    /// When the last bytes of an answer were written, until the next bytes come.
    answered: Option<Duration>,
    /// One look an answer.
    looked: bool,
}

impl Habit {
    fn wrote(&mut self, now: Duration) {
        self.answered = Some(now);
    }

    /// Bytes came. The first ones after an answer lengthen the streak if they came at once and no other connection was
    /// heard meanwhile (`alone`), and end it otherwise; further bytes of the same request say nothing.
    fn heard(&mut self, now: Duration, alone: bool) {
        let Some(answered) = self.answered.take() else { return };
        self.looked = false;
        let at_once = now.saturating_sub(answered) <= AT_ONCE;
        self.streak = if at_once && alone { self.streak.saturating_add(1) } else { 0 };
    }

    /// Until when the next request is worth looking for, if it is.
    fn look(&mut self) -> Option<Duration> {
        let answered = self.answered?;
        if self.looked || self.streak < STREAK {
            return None;
        }
        self.looked = true;
        Some(answered + WINDOW)
    }

    fn missed(&mut self) {
        self.streak = 0;
    }
}

/// A stream with the habit of its client.
pub(super) struct BusyPolled {
    stream: TcpStream,
    attention: Arc<Attention>,
    number: u64,
    habit: Habit,
}

impl BusyPolled {
    fn heard(&mut self) {
        if self.habit.answered.is_some() {
            let alone = self.attention.heard.swap(self.number, Ordering::Relaxed) == self.number;
            self.habit.heard(self.attention.clock.monotonic(), alone);
        }
    }

    fn wrote(&mut self) {
        if self.attention.on {
            self.habit.wrote(self.attention.clock.monotonic());
        }
    }

    /// Looks for bytes until they come, another connection is heard or the window ends.
    ///
    /// Reads from the socket itself: the runtime knows of new bytes only when its driver has run. The runtime was asked
    /// before and wakes this task for what comes after the look.
    fn look(&mut self, buf: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        let until = self.habit.look()?;
        let socket = SockRef::from(&self.stream);
        let room = buf.remaining().min(LOOK_BYTES);
        let room = buf.initialize_unfilled_to(room);
        while self.attention.heard.load(Ordering::Relaxed) == self.number {
            match (&*socket).read(room) {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(e) => return Some(Err(e)),
                Ok(n) => {
                    self.attention.counters.http_busy_poll_hits.one();
                    buf.advance(n);
                    return Some(Ok(()));
                }
            }
            if self.attention.clock.monotonic() > until {
                break;
            }
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
        }
        self.attention.counters.http_busy_poll_misses.one();
        self.habit.missed();
        None
    }
}

impl AsyncRead for BusyPolled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if read.is_pending()
            && let Some(found) = this.look(buf)
        {
            read = Poll::Ready(found);
        }
        if read.is_ready() {
            this.heard();
        }
        read
    }
}

impl AsyncWrite for BusyPolled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_ready() {
            self.wrote();
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        if written.is_ready() {
            self.wrote();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rhythmite_env::ManualClock;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const US: Duration = Duration::from_micros(1);

    /// A habit after `n` answers at 0, 1 ms and so on, each followed by a request `after`.
    fn after(n: u32, after: Duration, alone: bool) -> (Habit, Duration) {
        let mut habit = Habit::default();
        for i in 0..n {
            let at = Duration::from_millis(u64::from(i));
            habit.wrote(at);
            habit.heard(at + after, alone);
        }
        let last = Duration::from_millis(u64::from(n));
        habit.wrote(last);
        (habit, last)
    }

    #[test]
    fn a_look_needs_a_streak_of_requests_at_once_and_of_nobody_else() {
        for (n, pause, alone, looks) in [
            (STREAK - 1, 10 * US, true, false),
            (STREAK, 10 * US, true, true),
            (STREAK, AT_ONCE, true, true),
            (100 * STREAK, AT_ONCE + US, true, false),
            (100 * STREAK, 10 * US, false, false),
        ] {
            let (mut habit, last) = after(n, pause, alone);
            assert_eq!(habit.look(), looks.then_some(last + WINDOW), "{n} requests after {pause:?}, alone: {alone}");
        }
    }

    #[test]
    fn an_answer_is_followed_by_one_look_and_a_miss_ends_the_streak() {
        let (mut habit, last) = after(STREAK, 10 * US, true);
        assert!(habit.look().is_some());
        assert_eq!(habit.look(), None, "once");
        habit.heard(last + 20 * US, true);
        habit.wrote(last + 30 * US);
        assert!(habit.look().is_some());
        habit.missed();
        habit.heard(last + 100 * US, true);
        habit.wrote(last + 110 * US);
        assert_eq!(habit.look(), None);
    }

    #[test]
    fn bytes_without_an_answer_before_them_say_nothing() {
        let (mut habit, last) = after(STREAK, 10 * US, true);
        habit.heard(last + 10 * US, true);
        habit.heard(last + Duration::from_secs(1), false);
        habit.wrote(last + Duration::from_secs(1));
        assert!(habit.look().is_some(), "a long body does not end the streak");
    }

    /// Goes on by a microsecond whenever it is asked.
    struct Steps(AtomicU64);

    impl Clock for Steps {
        fn now_ns(&self) -> i64 {
            0
        }

        fn monotonic(&self) -> Duration {
            US * u32::try_from(self.0.fetch_add(1, Ordering::Relaxed)).unwrap()
        }
    }

    /// Both ends of a connection, the server's end with a streak behind it.
    async fn connected(clock: Arc<dyn Clock>) -> (TcpStream, BusyPolled) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let mut attention = Attention::new(clock, Arc::new(Counters::default()), true);
        Arc::get_mut(&mut attention).unwrap().on = true;
        let mut server = attention.watch(server.unwrap().0);
        server.habit.streak = STREAK;
        attention.heard.store(server.number, Ordering::Relaxed);
        (client.unwrap(), server)
    }

    #[tokio::test]
    async fn a_request_that_comes_within_the_window_is_read_by_the_look() {
        // The clock stands, so that the look lasts until the bytes come.
        let (mut client, mut server) = connected(Arc::new(ManualClock::new(0))).await;
        server.write_all(b"answer").await.unwrap();
        let asks = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            client.try_write(b"request").unwrap();
            client
        });
        let mut buf = [0; 64];
        let n = server.read(&mut buf).await.unwrap();
        assert_eq!(&buf[..n], b"request");
        let counters = server.attention.counters.clone();
        assert_eq!((counters.http_busy_poll_hits.get(), counters.http_busy_poll_misses.get()), (1, 0));
        client = asks.join().unwrap();
        client.write_all(b"more").await.unwrap();
        let n = server.read(&mut buf).await.unwrap();
        assert_eq!(&buf[..n], b"more", "no answer before it: read as ever");
        assert_eq!(counters.http_busy_poll_hits.get(), 1);
    }

    #[tokio::test]
    async fn a_request_after_the_window_is_read_as_ever() {
        let (mut client, mut server) = connected(Arc::new(Steps(AtomicU64::new(0)))).await;
        server.write_all(b"answer").await.unwrap();
        let counters = server.attention.counters.clone();
        let mut buf = [0; 64];
        let (n, ()) = tokio::join!(server.read(&mut buf), async {
            assert_eq!(counters.http_busy_poll_misses.get(), 1, "the look ended without anything");
            client.write_all(b"request").await.unwrap();
        });
        assert_eq!(&buf[..n.unwrap()], b"request");
        assert_eq!((counters.http_busy_poll_hits.get(), server.habit.streak), (0, 1), "a new streak");
    }

    #[tokio::test]
    async fn a_look_ends_when_another_connection_is_heard() {
        // The clock stands: only the other connection ends the look.
        let (mut client, mut server) = connected(Arc::new(ManualClock::new(0))).await;
        server.write_all(b"answer").await.unwrap();
        let attention = server.attention.clone();
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            attention.heard.store(u64::MAX, Ordering::Relaxed);
        });
        let mut buf = [0; 64];
        let (n, ()) = tokio::join!(server.read(&mut buf), async {
            client.write_all(b"request").await.unwrap();
        });
        other.join().unwrap();
        assert_eq!(&buf[..n.unwrap()], b"request");
        assert_eq!(server.attention.counters.http_busy_poll_misses.get(), 1);
    }

    #[tokio::test]
    async fn an_end_seen_by_the_look_is_the_end() {
        let (client, mut server) = connected(Arc::new(ManualClock::new(0))).await;
        server.write_all(b"answer").await.unwrap();
        let leaves = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(client);
        });
        // The client did not read the answer: the kernel may call that a reset.
        let read = server.read(&mut [0; 64]).await;
        assert!(
            matches!(&read, Ok(0)) || matches!(&read, Err(e) if e.kind() == io::ErrorKind::ConnectionReset),
            "{read:?}"
        );
        leaves.join().unwrap();
    }
}
