//! Functions that fold, of points where they are: nothing is copied, nothing is kept of a point that was folded.
//!
//! The series that a batch reads are cut into parts, which this thread and those of the CPU pool that are free work off side
//! by side. Groups stay whole, so that floats are added in the order of series and times, as 1.x adds them; only
//! where no float is added one group may be in several parts. A part is some [`PART_VALUES`] values, and after
//! [`ROUND_PARTS`] parts others may have the pool's threads.
//!
//! Sums, means and counts of integers need no points: where nothing hides any, files give their sums by windows
//! ([`rhythmite_engine::Summing`]).
//!
//! Limits: of each thread one series is in memory at a time.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use rhythmite_engine::registry::Directory;
use rhythmite_engine::{SeriesFilter, SeriesPieces, Snapshot, Stretch, Summing};
use rhythmite_env::Clock;
use rhythmite_model::{FieldId, FieldType, SeriesId, TableId, Tier};

use super::aggregate::fold::Folded;
use super::column::Col;
use super::context::Interrupt;
use super::failure::{Failure, Result};
use super::frame::{Cast, cast_to, within};
use super::group::{Reader, check_type};
use super::plan::Plan;
use super::read::{Batch, Target};
use super::select::Select;
use super::source::reads_tag;
use super::window::{Windows, for_each_run};

/// Values of a part, about: some hundred microseconds, against which handing it over does not count.
pub(super) const PART_VALUES: u64 = 64 * 1024;
/// Parts that are shared out at a time.
pub(super) const ROUND_PARTS: usize = 32;

/// Parts of one field whose runs, 64 MiB, do not all stay decoded.
const DECODED_PARTS: usize = 128;

/// What is done with the points of a table's series; owns all it needs.
pub(super) struct Sweep {
    snapshot: Snapshot,
    table: TableId,
    /// Ascending.
    fields: Arc<[FieldId]>,
    /// Of each field the calls that read it.
    calls: Vec<Vec<Swept>>,
    windows: Windows,
    /// A sum depends on the order of its series.
    adds_floats: bool,
    interrupt: Interrupt,
    clock: Arc<dyn Clock>,
}

/// A call that reads a field.
struct Swept {
    /// Its number in the statement.
    at: usize,
    cast: Cast,
    /// It asks no more of integers than their sums and how many they are, and the field has nothing else.
    sums: bool,
    range: (i64, i64),
    /// Why it does not take the field's values.
    refused: Option<Failure>,
}

/// The results of a group so far, with its number.
type State = (usize, Vec<Option<Folded>>);

/// Series, ascending, and the groups they belong to.
#[derive(Default)]
struct Part {
    series: Vec<SeriesId>,
    /// By series, ascending: the position of its group in `states`. A measurement named twice has its series twice.
    places: Vec<(SeriesId, usize)>,
    states: Vec<State>,
}

/// The windows of the times that were cut last: those of the next field of a series are mostly the same.
#[derive(Default)]
struct Cuts {
    of: Option<(*const i64, Range<usize>, (i64, i64))>,
    runs: Vec<(i64, Range<usize>)>,
}

impl Cuts {
    /// The runs of rows of one window each. The times are those of one series, which is in memory until
    /// [`forget`](Self::forget).
    fn of(
        &mut self,
        times_ns: &[i64],
        rows: &Range<usize>,
        windows: &Windows,
        range: (i64, i64),
    ) -> &[(i64, Range<usize>)] {
        let wanted = (times_ns.as_ptr(), rows.clone(), range);
        if self.of.as_ref() != Some(&wanted) {
            self.runs.clear();
            let inside = within(&times_ns[rows.clone()], range);
            let from = rows.start + inside.start;
            for_each_run(windows, range, &times_ns[from..rows.start + inside.end], |window_ns, run| {
                self.runs.push((window_ns, run.start + from..run.end + from));
            });
            self.of = Some(wanted);
        }
        &self.runs
    }

    fn forget(&mut self) {
        self.of = None;
    }
}

impl Sweep {
    /// What a plan asks of the series of a table.
    pub(super) fn new(
        plan: &Plan<'_>,
        target: &Target,
        directory: &Directory,
        snapshot: Snapshot,
        interrupt: Interrupt,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut calls: Vec<Vec<Swept>> = target.fields.iter().map(|_| Vec::new()).collect();
        let mut adds_floats = false;
        for (at, call) in plan.calls.iter().enumerate() {
            let leaf = &call.leaf;
            let Some(fold) = leaf.fold.filter(|_| !reads_tag(leaf.driver.data_type)) else { continue };
            let Some((id, stored)) = directory.find_field(target.table, &leaf.driver.name) else { continue };
            let Ok(field) = target.fields.binary_search(&id) else { continue };
            let cast = cast_to(stored, leaf.driver.data_type);
            let read = match cast {
                Cast::None => stored,
                Cast::To(wanted) => wanted,
                Cast::Never => continue,
            };
            let refused = check_type(leaf.call, fold.takes(read), read).err();
            adds_floats |= fold.adds() && read == FieldType::Float;
            let sums = fold.sums() && cast == Cast::None && stored == FieldType::Integer && refused.is_none();
            calls[field].push(Swept { at, cast, sums, range: leaf.range, refused });
        }
        let (table, fields, windows) = (target.table, target.fields.clone(), plan.windows.clone());
        Self { snapshot, table, fields, calls, windows, adds_floats, interrupt, clock }
    }

    /// The fields of which sums by windows are enough, if there are any.
    fn summing(&self, (min_ns, max_ns): (i64, i64)) -> Option<Summing> {
        let ranges = || self.calls.iter().flatten().map(|call| call.range);
        let range = ranges().next().filter(|first| ranges().all(|other| other == *first))?;
        let fields = self.fields.iter().zip(&self.calls).filter(|(_, calls)| calls.iter().all(|call| call.sums));
        let fields: Arc<[FieldId]> = fields.map(|(field, _)| *field).collect();
        let windows = self.windows.clone();
        (!fields.is_empty()).then(|| Summing {
            fields,
            range_ns: range.0.max(min_ns)..=range.1.min(max_ns),
            cut: Arc::new(move |at_ns| windows.bounds(at_ns, range)),
            sum_max: None,
        })
    }

    /// Works off one of `count` parts.
    fn run(&self, part: Part, count: usize, (min_ns, max_ns): (i64, i64)) -> Result<Vec<State>> {
        let Part { series, places, mut states } = part;
        let series = SeriesFilter::List(series.into());
        let scan = self.snapshot.scan(self.table, Tier::RAW, series, Some(self.fields.clone()), min_ns..=max_ns)?;
        let mut scan = scan.one_of(count);
        // What is decoded already is at hand: few values; those of a single field, too, of which sums pass over all others.
        if (count > DECODED_PARTS || (count > 1 && self.fields.len() > 1))
            && let Some(summing) = self.summing((min_ns, max_ns))
        {
            scan = scan.summing(summing);
        }
        let mut cuts = Cuts::default();
        while let Some(pieces) = scan.next_pieces()? {
            if let Some(reason) = self.interrupt.reason(&*self.clock) {
                return Err(Failure::new(reason));
            }
            let start = places.partition_point(|place| place.0 < pieces.series());
            let found = places[start..].iter().take_while(|place| place.0 == pieces.series());
            for &(_, state) in found {
                self.fold(&pieces, &mut states[state].1, &mut cuts)?;
            }
            cuts.forget();
        }
        Ok(states)
    }

    /// Folds a series into the results of its group.
    fn fold(&self, pieces: &SeriesPieces, state: &mut [Option<Folded>], cuts: &mut Cuts) -> Result<()> {
        for (field, stretches) in pieces.streams() {
            let Ok(field) = self.fields.binary_search(&field) else { continue };
            let calls = &self.calls[field];
            for stretch in stretches {
                for call in calls {
                    if let Some(refused) = &call.refused {
                        return Err(refused.clone());
                    }
                    let Some(Some(folded)) = state.get_mut(call.at) else { continue };
                    let runs = cuts.of(stretch.times_ns, &stretch.rows, &self.windows, call.range);
                    match call.cast {
                        Cast::To(wanted) => {
                            let from = stretch.rows.start;
                            let rows: Vec<u32> = (from as u32..stretch.rows.end as u32).collect();
                            let values = Col::full(stretch.values.gather(&rows)).cast(wanted);
                            let (times_ns, values) = (&stretch.times_ns[stretch.rows.clone()], values.values());
                            let runs: Vec<_> =
                                runs.iter().map(|(window, run)| (*window, run.start - from..run.end - from)).collect();
                            folded.add_stretch(&Stretch { times_ns, values, rows: 0..rows.len() }, &runs);
                        }
                        _ => folded.add_stretch(&stretch, runs),
                    }
                }
            }
            for call in calls {
                if let Some(Some(folded)) = state.get_mut(call.at) {
                    folded.end_series();
                }
            }
        }
        for (field, sums) in pieces.sums() {
            let Ok(field) = self.fields.binary_search(&field) else { continue };
            for call in &self.calls[field] {
                if let Some(Some(folded)) = state.get_mut(call.at) {
                    sums.iter().for_each(|(_, sum)| folded.add_sum(sum));
                    folded.end_series();
                }
            }
        }
        Ok(())
    }
}

impl Reader<'_, '_, '_> {
    /// Folds the points of target number `at` within a time, about `values` of them, into the groups.
    pub(super) fn sweep(&self, batch: &mut Batch, at: usize, range: (i64, i64), values: u64) -> Result<()> {
        let Select { context, request, snapshot, .. } = self.select;
        let target = &batch.targets[at];
        let sweep = {
            let names = context.engine.registry().read();
            let (interrupt, clock) = (request.interrupt.clone(), context.clock.clone());
            Sweep::new(self.plan, target, &names, snapshot.clone(), interrupt, clock)
        };
        let count = usize::try_from(values / self.piece_values().min(PART_VALUES)).unwrap_or(usize::MAX);
        let mut parts = self.parts(batch, at, count, !sweep.adds_floats);
        let mut states = Vec::new();
        if parts.len() == 1 {
            for part in parts {
                states.extend(sweep.run(part, 1, range)?);
            }
        } else {
            let (sweep, count) = (Arc::new(sweep), parts.len());
            while !parts.is_empty() {
                let rest = parts.split_off(parts.len().min(ROUND_PARTS));
                let sweep = sweep.clone();
                let done =
                    context.cpu.share(std::mem::replace(&mut parts, rest), move |part| sweep.run(part, count, range));
                for part in done {
                    states.extend(part??);
                }
            }
        }
        for (number, state) in states {
            let known = &mut batch.groups[number].folded;
            if known.is_empty() {
                *known = state;
                continue;
            }
            for (known, more) in known.iter_mut().zip(state) {
                if let (Some(known), Some(more)) = (known, more) {
                    known.absorb(more);
                }
            }
        }
        Ok(())
    }

    /// Cuts the series of target number `at` into `count` parts, or fewer; with `anywhere` a group may be in several. The
    /// results of the groups so far go with them.
    fn parts(&self, batch: &mut Batch, at: usize, count: usize, anywhere: bool) -> Vec<Part> {
        let Batch { groups, targets, places, .. } = batch;
        let series = &targets[at].series;
        let count = count.clamp(1, series.len().max(1));
        let places_of = |id: SeriesId| {
            let start = places.partition_point(|place| place.series < id);
            places[start..].iter().take_while(move |place| place.series == id)
        };
        let mut size = vec![0_usize; groups.len()];
        if !anywhere {
            series.iter().filter_map(|&id| places_of(id).next()).for_each(|place| size[place.group] += 1);
        }
        // Which part a group is in: groups follow each other as their first series do, which are near each other in files.
        let mut part_of: Vec<Option<usize>> = vec![None; groups.len()];
        let mut given = 0;
        let mut parts: Vec<(Part, HashMap<usize, usize>)> = Vec::new();
        parts.resize_with(count, Default::default);
        for (number, &id) in series.iter().enumerate() {
            for place in places_of(id) {
                let part = match part_of[place.group].filter(|_| !anywhere) {
                    Some(part) => part,
                    None => {
                        let before = if anywhere { number } else { given };
                        given += size[place.group];
                        let part = before * count / series.len();
                        part_of[place.group] = Some(part);
                        part
                    }
                };
                let (part, states) = &mut parts[part];
                let state = *states.entry(place.group).or_insert_with(|| {
                    let mut state = std::mem::take(&mut groups[place.group].folded);
                    if state.is_empty() {
                        state = self.plan.calls.iter().map(|call| call.leaf.fold.map(Folded::new)).collect();
                    }
                    part.states.push((place.group, state));
                    part.states.len() - 1
                });
                if part.series.last() != Some(&id) {
                    part.series.push(id);
                }
                part.places.push((id, state));
            }
        }
        parts.into_iter().map(|(part, _)| part).filter(|part| !part.series.is_empty()).collect()
    }
}
