//! Reading from one end of time: what is further away than the answer is not read.
//!
//! Three kinds of statements need so little: those of one row of each group (`ORDER BY time DESC LIMIT 1`) and those of
//! `first` or `last` of everything take single points, mostly without reading a page; those of some windows (`GROUP BY
//! time(..) LIMIT n`) read piece after piece until every group has as many.

use rhythmite_engine::{End, EndOf, SeriesFilter, SeriesPoints, Weight};
use rhythmite_influx::influxql::{Fill, TIME_MIN_NS};
use rhythmite_model::{FieldType, SeriesId, Tier};

use super::aggregate::fold::{Fold, Folded};
use super::failure::Result;
use super::group::{Group, Reader};
use super::plan::Plan;
use super::read::{Batch, FIRST_PIECE_VALUES};
use super::source::reads_tag;
use super::tier;
use super::value::field_type;
use crate::query::slices::Slices;

/// Values of the first piece of a statement of some windows, at least.
const WINDOWS_VALUES_MIN: u64 = 2048;
/// Windows that clock changes of a time zone may add or take away.
const ZONE_WINDOWS: u64 = 2;

/// If the points of one end of the range are all that is needed: whether that is its beginning.
pub(super) fn picks_an_end(plan: &Plan<'_>) -> Option<bool> {
    if plan.calls.is_empty() || !plan.windows.is_one() || plan.calls.iter().any(|call| call.leaf.range != plan.range) {
        return None;
    }
    let all = |fold| plan.calls.iter().all(|call| call.leaf.fold == Some(fold));
    if all(Fold::Last) { Some(false) } else { all(Fold::First).then_some(true) }
}

/// How many windows of each group are shown at most, if it is enough to read those.
fn first_windows(plan: &Plan<'_>) -> Option<u64> {
    let direct = |call: &super::plan::PlannedCall<'_>| {
        call.leaf.fold.is_some() && call.leaf.range == plan.range && std::ptr::eq(call.leaf.call, call.call)
    };
    let enough = plan.limit > 0
        && !plan.calls.is_empty()
        && !plan.windows.is_one()
        && plan.calls.iter().all(direct)
        && plan.compiled.fill != Fill::Linear;
    enough.then(|| plan.limit.saturating_add(plan.offset))
}

impl Reader<'_, '_, '_> {
    /// Reads a batch if single points of each series are all that is needed; says whether they are.
    pub(super) fn read_ends(&self, batch: &mut Batch, range: (i64, i64)) -> Result<bool> {
        let Some(question) = self.one_point(batch) else { return Ok(false) };
        if batch.targets.iter().any(|target| tier::has_timeline(self.select, target.table, range)) {
            return self.read_last(batch, question, range);
        }
        for at in 0..batch.targets.len() {
            let target = &batch.targets[at];
            let (series, fields, times_ns) = (target.series.clone(), target.fields.clone(), range.0..=range.1);
            self.select.check()?;
            let found =
                self.select.snapshot.ends(question, target.table, Tier::RAW, &series, Some(&fields), &times_ns)?;
            for points in found {
                self.take(batch, at, points)?;
            }
        }
        Ok(true)
    }

    /// The same of tables with Graphite's coarser levels, where the last point is asked for: mostly raw ones have it, and
    /// the others are asked of the series that have none there only.
    fn read_last(&self, batch: &mut Batch, question: (End, EndOf), range: (i64, i64)) -> Result<bool> {
        if question.0 != End::Last {
            return Ok(false);
        }
        for at in 0..batch.targets.len() {
            let target = &batch.targets[at];
            let (table, fields) = (target.table, target.fields.clone());
            let mut left = target.series.to_vec();
            for window in tier::windows_of(self.select, table, range).into_iter().rev() {
                self.select.check()?;
                let list = SeriesFilter::List(left.clone().into());
                let found: Vec<SeriesPoints> = if window.tier == Tier::RAW {
                    self.select.snapshot.ends(question, table, Tier::RAW, &left, Some(&fields), &window.times_ns)?
                } else {
                    let within = (*window.times_ns.start(), *window.times_ns.end());
                    match tier::timeline(self.select, table, list, within)? {
                        Some(timeline) => timeline.map(|points| points.map(last_of)).collect::<Result<_, _>>()?,
                        None => Vec::new(),
                    }
                };
                left.retain(|id| found.binary_search_by_key(id, |points| points.series).is_err());
                for points in found {
                    self.take(batch, at, points)?;
                }
            }
        }
        Ok(true)
    }

    /// Which points, if they are single ones, and if whether they count can be told without others.
    fn one_point(&self, batch: &Batch) -> Option<(End, EndOf)> {
        let plan = self.plan;
        if self.residual.is_some() {
            return None;
        }
        if !plan.calls.is_empty() {
            let first = picks_an_end(plan)?;
            // Other fields are shown as they are at the same time.
            let end = if first { End::First } else { End::Last };
            return plan.aux.iter().all(|var| reads_tag(var.data_type)).then_some((end, EndOf::Streams));
        }
        if (plan.limit, plan.offset) != (1, 0) {
            return None;
        }
        // A value of another type than asked for makes no row.
        let directory = self.select.context.engine.registry().read();
        let is_number = |of: FieldType| matches!(of, FieldType::Float | FieldType::Integer | FieldType::Unsigned);
        for var in plan.aux.iter().filter(|var| !reads_tag(var.data_type)) {
            let Some(wanted) = var.data_type.and_then(field_type) else { continue };
            for target in &batch.targets {
                if let Some((_, stored)) = directory.find_field(target.table, &var.name)
                    && stored != wanted
                    && !(is_number(stored) && is_number(wanted))
                {
                    return None;
                }
            }
        }
        let end = if plan.compiled.ascending { End::First } else { End::Last };
        Some((end, EndOf::Rows))
    }

    /// Reads a batch if it is enough to read from one end; says whether it is.
    pub(super) fn read_from_end(&self, batch: &mut Batch, weights: &[Weight], range: (i64, i64)) -> Result<bool> {
        let plan = self.plan;
        if let Some(ascending) = picks_an_end(plan) {
            let values = FIRST_PIECE_VALUES.min(self.piece_values());
            self.read_until(batch, weights, range, (ascending, values), |folded, _| folded.has_any())?;
            return Ok(true);
        }
        let Some(windows) = first_windows(plan) else { return Ok(false) };
        let ascending = plan.compiled.ascending;
        let values = self.values_of(windows, weights).max(WINDOWS_VALUES_MIN).min(self.piece_values());
        self.read_until(batch, weights, range, (ascending, values), |folded, read| {
            self.has_windows(folded, windows, read)
        })?;
        Ok(true)
    }

    /// Whether the least that is to be known before reading from an end pays.
    pub(super) fn reads_from_end(&self) -> bool {
        picks_an_end(self.plan).is_some() || first_windows(self.plan).is_some()
    }

    /// Reads from one end of time until `is_done` says so of each group, or all is read.
    fn read_until(
        &self,
        batch: &mut Batch,
        weights: &[Weight],
        range: (i64, i64),
        (ascending, mut values): (bool, u64),
        is_done: impl Fn(&Folded, (i64, i64)) -> bool,
    ) -> Result<()> {
        let mut slices = Slices::new(weights, range, ascending);
        let mut read = range;
        let mut is_first = true;
        while let Some(slice) = slices.next(values) {
            self.read(batch, slice, values)?;
            // What has been read is one range.
            read = match (is_first, ascending) {
                (true, _) => slice,
                (false, true) => (read.0, slice.1),
                (false, false) => (slice.0, read.1),
            };
            is_first = false;
            let Batch { groups, targets, places, .. } = &mut *batch;
            let open = |group: &Group| !group.folded.iter().flatten().all(|folded| is_done(folded, read));
            places.retain(|place| open(&groups[place.group]));
            if places.is_empty() {
                break;
            }
            for target in targets {
                let left = |series: &SeriesId| places.binary_search_by_key(series, |place| place.series).is_ok();
                if !target.series.iter().all(left) {
                    target.series = target.series.iter().copied().filter(left).collect();
                }
            }
            values = values.saturating_mul(4).min(self.piece_values());
        }
        Ok(())
    }

    /// How many values so many windows hold, about.
    fn values_of(&self, windows: u64, weights: &[Weight]) -> u64 {
        let first = weights.iter().map(|weight| weight.min_time_ns).min().unwrap_or(0);
        let last = weights.iter().map(|weight| weight.max_time_ns).max().unwrap_or(0);
        let values: f64 = weights.iter().map(|weight| weight.values as f64).sum();
        // One more, which the end of the range may cut.
        let asked = windows.saturating_add(1) as f64 * self.plan.windows.every_ns() as f64;
        (values * asked / (last as f64 - first as f64).max(1.0)) as u64
    }

    /// Whether the first `windows` windows of a group, in the order of the answer, cannot change by what lies beyond the
    /// times that were read.
    fn has_windows(&self, folded: &Folded, windows: u64, read: (i64, i64)) -> bool {
        let plan = self.plan;
        let (every, ascending) = (plan.windows.every_ns(), plan.compiled.ascending);
        let is_whole = |start_ns: i64| match ascending {
            true => plan.windows.bounds(start_ns, plan.range).1.saturating_sub(1) <= read.1,
            false => start_ns >= read.0,
        };
        let whole = |start_ns: &i64| is_whole(*start_ns);
        let found = folded.windows();
        let filled = match plan.compiled.fill {
            Fill::None => false,
            Fill::Null => plan.compiled.statement.target.is_none(),
            _ => true,
        };
        if !filled {
            return found.filter(whole).count() as u64 >= windows;
        }
        // Windows are shown from one end on, with or without points, as far as there are points or the range goes.
        let windows = if plan.windows.zone().is_some() { windows.saturating_add(ZONE_WINDOWS) } else { windows };
        let length = every.saturating_mul(i64::try_from(windows).unwrap_or(i64::MAX));
        let (Some(oldest), Some(newest)) = (found.clone().next(), found.clone().next_back()) else { return false };
        if ascending {
            let from = match plan.windows.start(plan.range.0, plan.range) {
                TIME_MIN_NS => oldest,
                from => from,
            };
            let behind = from.saturating_add(length);
            read.1 >= behind || newest >= behind && is_whole(newest)
        } else {
            let behind = plan.windows.start(plan.range.1, plan.range).saturating_sub(length);
            let bounded = plan.windows.start(plan.range.0, plan.range) != TIME_MIN_NS;
            (bounded && read.0 <= behind) || found.filter(whole).any(|start_ns| start_ns <= behind)
        }
    }
}

/// The last point of each stream.
fn last_of(mut points: SeriesPoints) -> SeriesPoints {
    for stream in &mut points.streams {
        if let Some(last) = stream.times_ns.len().checked_sub(1).and_then(|at| u32::try_from(at).ok()) {
            stream.times_ns = stream.times_ns.split_off(last as usize);
            stream.values = stream.values.gather(&[last]);
        }
    }
    points
}
