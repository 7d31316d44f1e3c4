//! What is kept of the windows of a coarser level, and the slots that a series' method and xFilesFactor make of it.

use rhythmite_engine::Stream;
use rhythmite_graphite::series::RollupMethod;
use rhythmite_model::{Aggregate, Aggregates, Column, FieldId, Level, RollupRule};

use super::window::{self, Window};

const SECOND_NS: i64 = 1_000_000_000;

/// The first second that the finest level still reaches, as seen at `now_s`.
pub(super) fn raw_from_s(levels: &[Level], now_s: i64) -> i64 {
    match levels.first().map_or(0, |level| level.retention_ns) {
        0 => i64::MIN,
        retention_ns => now_s.saturating_sub(retention_ns / SECOND_NS),
    }
}

/// How a series' coarser levels come from its finest one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) method: RollupMethod,
    pub(super) x_files_factor: f32,
    /// Seconds between the finest points; divides the window's step.
    pub(super) fine_step_s: i64,
    /// Slots that end at or before this are not computed: they were imported.
    pub(super) imported_until_s: i64,
}

impl Rule {
    /// Without a rule (no adapter makes such a series) whisper's default holds.
    pub(super) fn of(levels: &[Level], rollup: Option<RollupRule>) -> Self {
        let rollup = rollup.unwrap_or(RollupRule { method: 1, x_files_factor: 0.5, imported_until_s: 0 });
        Self {
            method: RollupMethod::from_code(rollup.method).unwrap_or(RollupMethod::Average),
            x_files_factor: rollup.x_files_factor,
            fine_step_s: levels.first().map_or(1, window::step_s),
            imported_until_s: rollup.imported_until_s,
        }
    }

    /// The first slot of `window` that is computed; `None` when all of them were imported.
    pub(super) fn live_from_s(&self, window: &Window) -> Option<i64> {
        if self.imported_until_s >= window.end_s {
            return None;
        }
        let imported_s = self.imported_until_s - self.imported_until_s.rem_euclid(window.step_s);
        Some(imported_s.max(window.start_s))
    }

    /// What the method needs to be known of a window.
    pub(super) fn aggregates(&self) -> Aggregates {
        Aggregates::NONE.with(match self.method {
            RollupMethod::Average | RollupMethod::Sum | RollupMethod::AvgZero => Aggregate::Sum,
            RollupMethod::Last => Aggregate::Last,
            RollupMethod::Max => Aggregate::Max,
            RollupMethod::Min => Aggregate::Min,
            RollupMethod::AbsMax => Aggregate::AbsMax,
            RollupMethod::AbsMin => Aggregate::AbsMin,
            RollupMethod::Median => Aggregate::Median,
        })
    }

    /// Puts what was rolled up of one field into the slots of `window` that are live. Of slots before `raw_from_s`, where the
    /// finest level does not reach, those that hold a value of their own keep it: it came too late for finer levels.
    ///
    /// A slot without a point keeps its stored value; one with too few of them is empty.
    pub(super) fn apply(
        &self,
        window: &Window,
        raw_from_s: i64,
        (field, streams): (FieldId, &[Stream]),
        slots: &mut [f64],
    ) {
        let Some(live_s) = self.live_from_s(window) else { return };
        self.each_window(window.step_s, live_s.saturating_mul(SECOND_NS), (field, streams), |start_s, value| {
            let slot = (start_s - window.start_s).div_euclid(window.step_s);
            let Some(place) = usize::try_from(slot).ok().and_then(|at| slots.get_mut(at)) else { return };
            let came_late = start_s >= self.imported_until_s && start_s < raw_from_s && !place.is_nan();
            if !came_late {
                *place = value.unwrap_or(f64::NAN);
            }
        });
    }

    /// The same without gaps: values at the starts of their windows, ascending, in nanoseconds. `own` has what is stored
    /// of the level itself.
    pub(super) fn points(
        &self,
        step_s: i64,
        raw_from_s: i64,
        own: (&[i64], &[f64]),
        rolled: (FieldId, &[Stream]),
    ) -> (Vec<i64>, Vec<f64>) {
        let step_s = step_s.max(1);
        let live_ns = match self.imported_until_s {
            until_s if until_s > 0 => (until_s - until_s.rem_euclid(step_s)).saturating_mul(SECOND_NS),
            _ => i64::MIN,
        };
        let (mut times_ns, mut values) = (Vec::with_capacity(own.0.len()), Vec::with_capacity(own.0.len()));
        let mut own = own.0.iter().copied().zip(own.1.iter().copied()).peekable();
        self.each_window(step_s, live_ns, rolled, |start_s, value| {
            let start_ns = start_s.saturating_mul(SECOND_NS);
            let end_ns = start_ns.saturating_add(step_s.saturating_mul(SECOND_NS));
            while let Some((time, value)) = own.next_if(|(time, _)| *time < start_ns) {
                times_ns.push(time);
                values.push(value);
            }
            let mut stored = None;
            while let Some((_, value)) = own.next_if(|(time, _)| *time < end_ns) {
                stored = Some(value);
            }
            let came_late = start_s >= self.imported_until_s && start_s < raw_from_s;
            if let Some(value) = stored.filter(|_| came_late).or(value) {
                times_ns.push(start_ns);
                values.push(value);
            }
        });
        for (time, value) in own {
            times_ns.push(time);
            values.push(value);
        }
        (times_ns, values)
    }

    /// Gives the start of each window with a point of those that begin at `live_ns` or later, and its value, `None` if too
    /// few points are known.
    fn each_window(
        &self,
        step_s: i64,
        live_ns: i64,
        (field, streams): (FieldId, &[Stream]),
        mut each: impl FnMut(i64, Option<f64>),
    ) {
        let stream = |aggregate: Aggregate| streams.iter().find(|s| Some(s.field) == aggregate.of(field));
        let Some(Stream { times_ns, values: Column::Integer(counts), .. }) = stream(Aggregate::Count) else { return };
        let values = self.aggregates().iter().next().and_then(stream);
        let values = values.and_then(|s| match &s.values {
            Column::Float(values) => Some((s.times_ns.as_slice(), values.as_slice())),
            _ => None,
        });
        let expected = (step_s / self.fine_step_s).max(1) as f64;
        let number_of = |time_ns: i64| time_ns.div_euclid(SECOND_NS).div_euclid(step_s);
        let mut next = times_ns.partition_point(|&t| t < live_ns);
        let mut at = values.map_or(0, |(times, _)| times.partition_point(|&t| t < live_ns));
        while let Some(&time_ns) = times_ns.get(next) {
            // A window may be in several pieces.
            let number = number_of(time_ns);
            let pieces = times_ns[next..].iter().take_while(|t| number_of(**t) == number).count();
            let count: i64 = counts[next..next + pieces].iter().sum();
            next += pieces;
            let found = match values {
                Some((times, values)) => {
                    at += times[at..].iter().take_while(|t| number_of(**t) < number).count();
                    let pieces = times[at..].iter().take_while(|t| number_of(**t) == number).count();
                    at += pieces;
                    self.join(&values[at - pieces..at], count, expected)
                }
                None => None,
            };
            if count > 0 {
                let enough = count as f64 / expected >= f64::from(self.x_files_factor);
                each(number * step_s, found.filter(|_| enough));
            }
        }
    }

    /// The value of a window from those of its pieces.
    fn join(&self, pieces: &[f64], count: i64, expected: f64) -> Option<f64> {
        let sum = || pieces.iter().sum::<f64>();
        let best =
            |better: fn(f64, f64) -> bool| pieces.iter().copied().reduce(|a, v| if better(v, a) { v } else { a });
        if pieces.is_empty() {
            return None;
        }
        match self.method {
            RollupMethod::Average => Some(sum() / count as f64),
            RollupMethod::AvgZero => Some(sum() / expected),
            RollupMethod::Sum => Some(sum()),
            RollupMethod::Last => pieces.last().copied(),
            RollupMethod::Max => best(|a, b| a > b),
            RollupMethod::Min => best(|a, b| a < b),
            RollupMethod::AbsMax => best(|a, b| a.abs() > b.abs()),
            RollupMethod::AbsMin => best(|a, b| a.abs() < b.abs()),
            // Of a window in several pieces this is the median of their medians.
            RollupMethod::Median => {
                let mut sorted = pieces.to_vec();
                sorted.sort_unstable_by(f64::total_cmp);
                Some((sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0)
            }
        }
    }
}
