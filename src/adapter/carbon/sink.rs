//! What parsed points fall into.

use rhythmite_carbon::aggregator::Aggregator;
use rhythmite_carbon::rules::Verdict;
use rhythmite_carbon::{Point, Reason, Reject, Sink};
use rhythmite_env::Clock;

use super::filter::NameFilter;
use crate::adapter::log::Seldom;
use crate::counters::Counters;
use crate::ingest::PathPoints;

/// Fills a batch with the points that the lists accept; counts the rest.
pub(super) struct Intake<'a> {
    pub(super) points: &'a mut PathPoints,
    pub(super) filter: &'a NameFilter,
    pub(super) counters: &'a Counters,
    pub(super) clock: &'a dyn Clock,
    /// The aggregator, if points go there first.
    pub(super) aggregator: Option<(&'a mut Aggregator, i64)>,
}

impl Sink for Intake<'_> {
    fn point(&mut self, point: Point<'_>) {
        let (points, filter, counters) = (&mut *self.points, self.filter, self.counters);
        match &mut self.aggregator {
            None => {
                counters.carbon_points.one();
                accept(points, filter, counters, point);
            }
            Some((aggregator, now_s)) => {
                counters.aggregator_points.one();
                aggregator.input(point, *now_s, &mut |point| accept(points, filter, counters, point));
            }
        }
    }

    fn reject(&mut self, reject: Reject<'_>) {
        static SAMPLE: Seldom = Seldom::new();
        match reject.reason {
            Reason::TooLong => self.counters.carbon_rejected_length.one(),
            Reason::Nan => self.counters.carbon_rejected_nan.one(),
            _ => self.counters.carbon_rejected_line.one(),
        }
        if SAMPLE.now(self.clock) {
            tracing::warn!(reason = %reject.reason, sample = %reject.sample.escape_ascii(), "carbon: a line gave no point");
        }
    }
}

/// Adds a point if the lists let it pass.
pub(super) fn accept(points: &mut PathPoints, filter: &NameFilter, counters: &Counters, point: Point<'_>) {
    match filter.check(point.path) {
        Verdict::Accepted => points.push(point.path, point.ts_s, point.value),
        Verdict::Blacklisted => counters.carbon_rejected_blacklist.one(),
        Verdict::NotWhitelisted => counters.carbon_rejected_whitelist.one(),
    }
}
