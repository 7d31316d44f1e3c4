//! Time of day and time that only goes forward.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Nanoseconds since the Unix epoch, by the wall clock; may jump.
    fn now_ns(&self) -> i64;

    /// Time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;

    /// Seconds since the Unix epoch.
    fn now_s(&self) -> i64 {
        self.now_ns().div_euclid(1_000_000_000)
    }
}

/// The machine's clock.
pub struct SystemClock {
    start: std::time::Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn new() -> Self {
        Self { start: std::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn now_ns(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that a test sets.
pub struct ManualClock {
    now_ns: AtomicI64,
}

impl ManualClock {
    /// A clock that stands at `now_ns`.
    pub fn new(now_ns: i64) -> Self {
        Self { now_ns: AtomicI64::new(now_ns) }
    }

    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.now_ns.fetch_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ns(&self) -> i64 {
        self.now_ns.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.now_ns()).unwrap_or(0))
    }
}
