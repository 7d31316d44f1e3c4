//! Messages that a sender could cause as often as it likes are said at most every ten seconds; counters tell the rest.

use std::sync::atomic::{AtomicI64, Ordering};

use rhythmite_env::Clock;

const PAUSE_NS: i64 = 10_000_000_000;

/// Remembers when it last spoke.
#[derive(Debug)]
pub(crate) struct Seldom(AtomicI64);

impl Seldom {
    pub(crate) const fn new() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }

    /// Whether to say it now.
    pub(crate) fn now(&self, clock: &dyn Clock) -> bool {
        self.at(clock.now_ns())
    }

    /// The same for who has been told the time, in nanoseconds since 1970.
    pub(crate) fn at(&self, now_ns: i64) -> bool {
        let last_ns = self.0.load(Ordering::Relaxed);
        let due = last_ns == i64::MIN || now_ns < last_ns || now_ns - last_ns >= PAUSE_NS;
        due && self.0.compare_exchange(last_ns, now_ns, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rhythmite_env::ManualClock;

    use super::*;

    #[test]
    fn once_in_ten_seconds() {
        let clock = ManualClock::new(5);
        let seldom = Seldom::new();
        assert_eq!([seldom.now(&clock), seldom.now(&clock)], [true, false]);
        clock.advance(Duration::from_secs(9));
        assert!(!seldom.now(&clock));
        clock.advance(Duration::from_secs(1));
        assert!(seldom.now(&clock));
    }
}
