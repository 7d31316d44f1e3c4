//! How long nothing must be written before the memtable is flushed for it.
//!
//! Who loads history and stops gets sorted files some seconds later, and the log's disk back. Programs that send every ten
//! seconds or every minute stop just as long each time: a flush in each of their pauses would write a file with a point or
//! two of every series, which costs many times what one flush of twenty points costs. So it is looked at what follows
//! such a flush. If as much as half of what was flushed comes again, its writers only paused, and from then on a pause must
//! be twice as long as that one; if it does not, the wait is the usual one again. A trickle beside (what the server
//! stores of itself) is neither: a memtable below [`Options::IDLE_FLUSH_BYTES`] is left alone, unless it is what remained of a
//! load: a flush for its size went before, or a log that was replayed. Such a rest, a few points of every series, keeps a segment
//! of the log and has readers look for each series in one more place; it is flushed once.

use std::time::Duration;

use crate::options::Options;

/// What is known of the pauses.
#[derive(Debug)]
pub(crate) struct Lull {
    usual: Duration,
    max: Duration,
    wait: Duration,
    flushed: Option<Flushed>,
    /// Whether the memtable holds the rest of a load.
    rest: bool,
}

/// A flush that was made because nothing was written. Times are monotonic, here and below.
#[derive(Debug)]
struct Flushed {
    /// When it was last written before.
    last_write: Duration,
    bytes: usize,
}

impl Lull {
    /// Waits for `usual` at first, and never longer than `max`.
    pub(crate) fn new(usual: Duration, max: Duration) -> Self {
        Self { usual, max: max.max(usual), wait: usual, flushed: None, rest: false }
    }

    /// How long nothing must have been written now. `bytes` is what the memtable holds.
    pub(crate) fn wait(&mut self, now: Duration, bytes: usize) -> Duration {
        if let Some(flushed) = &self.flushed {
            let pause = now.saturating_sub(flushed.last_write);
            if bytes >= flushed.bytes / 2 {
                self.wait = self.wait.max(pause.saturating_mul(2)).min(self.max);
                self.flushed = None;
            } else if pause > self.max {
                self.wait = self.usual;
                self.flushed = None;
            }
        }
        self.wait
    }

    /// How much the memtable must hold to be flushed because nothing is written, in bytes.
    pub(crate) fn least_bytes(&self) -> usize {
        if self.rest { Options::REST_FLUSH_BYTES } else { Options::IDLE_FLUSH_BYTES }
    }

    /// The memtable was flushed because nothing was written since `last_write`; it held `bytes`.
    pub(crate) fn flushed(&mut self, last_write: Duration, bytes: usize) {
        self.rest = false;
        // A rest says nothing of who comes back.
        if bytes >= Options::IDLE_FLUSH_BYTES {
            self.flushed = Some(Flushed { last_write, bytes });
        }
    }

    /// The memtable was flushed since it was full, or filled from the log at the start.
    pub(crate) fn filled(&mut self) {
        self.rest = true;
    }

    /// As of the last look.
    pub(crate) fn last_wait(&self) -> Duration {
        self.wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every second while writers bring `bytes` every `every_s` seconds, with a byte a second beside; the flushes that
    /// pauses cause, and the wait at the end.
    fn pauses(lull: &mut Lull, from_s: u64, seconds: u64, every_s: u64, bytes: usize) -> (usize, u64) {
        let (mut held, mut last_s, mut flushes) = (0, from_s, 0);
        for now_s in from_s..from_s + seconds {
            if (now_s - from_s).is_multiple_of(every_s) {
                (held, last_s) = (held + bytes, now_s);
            }
            held += 1;
            let wait = lull.wait(Duration::from_secs(now_s), held);
            if held >= lull.least_bytes() && now_s - last_s >= wait.as_secs() {
                lull.flushed(Duration::from_secs(last_s), held);
                (held, flushes) = (0, flushes + 1);
            }
        }
        (flushes, lull.last_wait().as_secs())
    }

    const BURST: usize = 10 * Options::IDLE_FLUSH_BYTES;

    fn new() -> Lull {
        Lull::new(Duration::from_secs(5), Duration::from_secs(600))
    }

    #[test]
    fn who_comes_back_is_waited_for() {
        for (every_s, wait_s) in [(6, 12), (10, 20), (60, 120), (250, 500), (400, 600)] {
            assert_eq!(pauses(&mut new(), 0, 6_000, every_s, BURST), (1, wait_s), "every {every_s} s");
        }
        // As often as the wait, nobody pauses.
        assert_eq!(pauses(&mut new(), 0, 6_000, 5, BURST), (0, 5));
        // Too seldom: each time is one of its own.
        assert_eq!(pauses(&mut new(), 0, 6_000, 1_000, BURST), (6, 5));
    }

    #[test]
    fn who_loads_once_is_not() {
        let mut lull = new();
        assert_eq!(pauses(&mut lull, 0, 300, 1_000, BURST), (1, 5));
        assert_eq!(pauses(&mut lull, 300, 300, 1_000, BURST / 10), (1, 5), "much less than what was flushed");
    }

    #[test]
    fn a_rest_is_flushed_once_whatever_it_is() {
        let (rest, usual) = (Options::REST_FLUSH_BYTES, Options::IDLE_FLUSH_BYTES);
        let mut lull = new();
        assert_eq!(lull.least_bytes(), usual);
        lull.filled();
        assert_eq!(lull.least_bytes(), rest);
        lull.flushed(Duration::from_secs(10), rest);
        assert_eq!(lull.least_bytes(), usual);
        assert_eq!(lull.wait(Duration::from_secs(20), rest), Duration::from_secs(5), "nobody came back");
    }

    #[test]
    fn a_wait_that_nobody_needs_any_more_ends() {
        let mut lull = new();
        assert_eq!(pauses(&mut lull, 0, 600, 60, BURST), (1, 120));
        // One more flush, 120 s after the last of them, and nothing that follows it.
        assert_eq!(pauses(&mut lull, 600, 1_000, 10_000, BURST), (1, 5));
        assert_eq!(pauses(&mut lull, 2_000, 100, 10_000, BURST), (1, 5));
    }
}
