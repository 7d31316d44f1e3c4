use std::collections::BTreeMap;
use std::sync::Arc;

use super::fold::Fold;

/// One aggregate and the values that it waits with.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) name: Arc<str>,
    /// The rule that brought the first point, and so decides frequency and method.
    pub(super) rule: u32,
    /// The latest interval, beside the others: nearly every point is for it. `None` only if there are no others either.
    newest: Option<Interval>,
    /// By the interval's first second.
    older: BTreeMap<i64, Interval>,
}

/// The values of one interval.
#[derive(Debug)]
pub(super) struct Interval {
    /// Its first second.
    pub(super) start_s: i64,
    pub(super) fold: Fold,
    /// Has a value that was not emitted yet.
    pub(super) active: bool,
}

impl Output {
    pub(super) fn new(name: Arc<str>, rule: u32) -> Self {
        Self { name, rule, newest: None, older: BTreeMap::new() }
    }

    /// Whether it holds no interval.
    pub(super) fn is_idle(&self) -> bool {
        self.newest.is_none()
    }

    /// The interval of `frequency_s` seconds that `ts_s` is in, if it is held.
    #[inline]
    pub(super) fn interval(&mut self, ts_s: i64, frequency_s: i64) -> Option<&mut Interval> {
        let newest = self.newest.as_mut()?;
        if ts_s >= newest.start_s && ts_s - newest.start_s < frequency_s {
            return Some(newest);
        }
        self.older.get_mut(&start_s(ts_s, frequency_s))
    }

    /// Adds the interval of `ts_s`, which is not held, with its first value.
    pub(super) fn insert(&mut self, ts_s: i64, frequency_s: i64, fold: Fold) {
        let interval = Interval { start_s: start_s(ts_s, frequency_s), fold, active: true };
        let older = match &mut self.newest {
            Some(newest) if interval.start_s < newest.start_s => Some(interval),
            newest => newest.replace(interval),
        };
        self.older.extend(older.map(|older| (older.start_s, older)));
    }

    /// All intervals in order of time.
    pub(super) fn intervals(&mut self) -> impl Iterator<Item = &mut Interval> {
        self.older.values_mut().chain(&mut self.newest)
    }

    /// Takes out the intervals that begin before `oldest_s`.
    pub(super) fn expire(&mut self, oldest_s: i64) -> impl Iterator<Item = Interval> {
        let kept = self.older.split_off(&oldest_s);
        let newest = self.newest.take_if(|newest| newest.start_s < oldest_s);
        std::mem::replace(&mut self.older, kept).into_values().chain(newest)
    }
}

fn start_s(ts_s: i64, frequency_s: i64) -> i64 {
    ts_s - ts_s.rem_euclid(frequency_s)
}
