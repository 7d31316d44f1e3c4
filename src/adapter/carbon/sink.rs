//! What parsed points fall into.

use std::net::IpAddr;

use parking_lot::MutexGuard;
use rhythmite_carbon::aggregator::Aggregator;
use rhythmite_carbon::rules::Verdict;
use rhythmite_carbon::{Point, Reason, Reject, Sink};

use super::filter::Judge;
use super::{Carbon, Destination};
use crate::counters::Counters;
use crate::ingest::PathPoints;
use crate::seldom::Seldom;

/// Fills a batch with the points that the lists accept; counts the rest.
///
/// Made for what one read gave: it holds the locks of the lists and of the aggregator.
pub(super) struct Intake<'a> {
    carbon: &'a Carbon,
    points: &'a mut PathPoints,
    /// The aggregator, if points go there first.
    aggregator: Option<MutexGuard<'a, Aggregator>>,
    judge: Judge<'a>,
    pub(super) now_s: i64,
    tally: Tally,
}

/// Counts of one read: one atomic addition for each instead of one for each line.
#[derive(Default)]
struct Tally {
    points: u64,
    blacklisted: u64,
    not_whitelisted: u64,
    length: u64,
    utf8: u64,
    shape: u64,
    value: u64,
    nan: u64,
    time: u64,
    name: u64,
}

impl<'a> Intake<'a> {
    pub(super) fn new(carbon: &'a Carbon, destination: &'a Destination, points: &'a mut PathPoints) -> Self {
        Self {
            carbon,
            points,
            aggregator: destination.aggregator(),
            judge: carbon.settings.filter.judge(),
            now_s: carbon.shared.clock.now_s(),
            tally: Tally::default(),
        }
    }

    /// What comes from now on is of this peer.
    pub(super) fn begin(&mut self, peer: Option<IpAddr>) {
        self.points.begin(peer);
    }
}

impl Sink for Intake<'_> {
    fn point(&mut self, point: Point<'_>) {
        self.tally.points += 1;
        let (judge, points, tally) = (&mut self.judge, &mut *self.points, &mut self.tally);
        let (offenders, now_s) = (&self.carbon.shared.counters.offenders, self.now_s);
        let mut keep = |point: Point<'_>| match judge.verdict(point.path) {
            Verdict::Accepted => points.push(point.path, point.ts_s, point.value),
            Verdict::Blacklisted => {
                tally.blacklisted += 1;
                offenders.note("carbon.rejected.blacklist", point.path.as_bytes(), now_s);
            }
            Verdict::NotWhitelisted => {
                tally.not_whitelisted += 1;
                offenders.note("carbon.rejected.whitelist", point.path.as_bytes(), now_s);
            }
        };
        match &mut self.aggregator {
            None => keep(point),
            Some(aggregator) => aggregator.input(point, self.now_s, &mut keep),
        }
    }

    fn reject(&mut self, reject: Reject<'_>) {
        static SAMPLE: Seldom = Seldom::new();
        let tally = &mut self.tally;
        let (count, reason) = match reject.reason {
            Reason::TooLong => (&mut tally.length, "carbon.rejected.length"),
            Reason::NotUtf8 => (&mut tally.utf8, "carbon.rejected.utf8"),
            Reason::Value => (&mut tally.value, "carbon.rejected.value"),
            Reason::Nan => (&mut tally.nan, "carbon.rejected.nan"),
            Reason::Timestamp => (&mut tally.time, "carbon.rejected.time"),
            Reason::Name(_) => (&mut tally.name, "carbon.rejected.name"),
            _ => (&mut tally.shape, "carbon.rejected.shape"),
        };
        *count += 1;
        self.carbon.shared.counters.offenders.note(reason, reject.sample, self.now_s);
        if SAMPLE.now(&*self.carbon.shared.clock) {
            tracing::warn!(reason = %reject.reason, sample = %reject.sample.escape_ascii(), "carbon: a line gave no point");
        }
    }
}

impl Drop for Intake<'_> {
    fn drop(&mut self) {
        let (tally, counters) = (&self.tally, &self.carbon.shared.counters);
        let points = if self.aggregator.is_some() { &counters.aggregator_points } else { &counters.carbon_points };
        let counts = [
            (tally.points, points),
            (tally.length, &counters.carbon_rejected_length),
            (tally.utf8, &counters.carbon_rejected_utf8),
            (tally.shape, &counters.carbon_rejected_shape),
            (tally.value, &counters.carbon_rejected_value),
            (tally.nan, &counters.carbon_rejected_nan),
            (tally.time, &counters.carbon_rejected_time),
            (tally.name, &counters.carbon_rejected_name),
        ];
        counts.into_iter().filter(|(n, _)| *n > 0).for_each(|(n, counter)| counter.add(n));
        count_refused(counters, tally.blacklisted, tally.not_whitelisted);
    }
}

/// What the lists refused.
pub(super) fn count_refused(counters: &Counters, blacklisted: u64, not_whitelisted: u64) {
    counters.carbon_rejected_blacklist.add(blacklisted);
    counters.carbon_rejected_whitelist.add(not_whitelisted);
}
