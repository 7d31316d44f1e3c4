//! One aggregate of all series of a pattern, made while they are read.
//!
//! The window is cut where files of other partitions begin, into stretches that have an aggregate each, and the series
//! are cut into parts in the order of their names. A thread takes the next part of a stretch that no other thread is at
//! and adds its points to the aggregate as they come, without making columns of them. Who finds every stretch taken reads
//! a part ahead into columns, which are added when their turn comes, by whichever thread is at the stretch then. So floats
//! are added in the order in which a fetch would add them, and a thousand series take the room of a few parts; at worst
//! as much is held as a fetch holds.
//!
//! What does not fit is left to a fetch: series of several policies, paths that have older series under other policies,
//! and short ranges of series that were not created in the order of their names, which would read pages many times.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use rhythmite_engine::{SeriesFilter, Snapshot};
use rhythmite_graphite::series::{AggFunc, Fold};
use rhythmite_graphite::{FetchRequest, Folded, Query};
use rhythmite_model::{Error, Result, SeriesId, TableId, Tier};

use super::Patience;
use super::fetch::{Answer, Fetcher, Leaf, Part, Reading, Reads, unless_gone};
use super::window::Window;

/// Slots of a part of columns for each file that its series are in: about what fits in the second cache of a core, so that
/// columns are there still when they are added. At both ends a part reads a page that its neighbour reads, too: of a
/// sixteenth of its slots each. Few in tests, which then have many parts.
const PART_SLOTS: usize = if cfg!(test) { 10_000 } else { 128 * 1024 };

/// But for so many files at most, so that there is work for several threads.
const PART_FILES_MAX: usize = 16;

/// Parts that may become no columns are so many times as long: fewer of their pages are read twice.
const DIRECT_PARTS: usize = 4;

/// Slots of a series in a file from which on a part may begin at any series: a page then holds few of them, and is not read
/// by many parts.
const LONG_SLOTS: usize = 2_048;

/// Slots of the shortest stretch: below, what each part costs by itself would count. Few in tests, as above.
const STRETCH_SLOTS: usize = if cfg!(test) { 100 } else { 1_024 };

/// Stretches of a window at most.
const STRETCHES_MAX: usize = 16;

impl Fetcher {
    /// The aggregate of what a request finds; `None` where a fetch has to be made.
    pub(super) fn folded(&mut self, request: &FetchRequest, func: AggFunc) -> Result<Option<Folded>> {
        if matches!(request.query, Query::Events(_)) {
            return Ok(None);
        }
        let range = (request.from_s, request.until_s, request.now_s);
        let mut reads = Reads::default();
        let before = (self.held, self.series);
        let mut leaves = self.find(&request.query, range, &mut reads)?;
        // Those without a series have nothing in the range.
        leaves.retain(|leaf| !leaf.series.is_empty());
        leaves.sort_by(|a, b| a.name.cmp(&b.name));
        let Some(stretches) = self.stretches(&mut reads, &leaves, range.2, func)? else {
            (self.held, self.series) = before;
            return Ok(None);
        };
        // They are read, but not held.
        self.read += self.held - before.0;
        self.held = before.0;
        let parts = || stretches.iter().flat_map(|stretch| &stretch.unread);
        let reading = Reading { scans: parts().count(), slots: parts().map(|part| part.part.slots()).sum() };
        let work = Arc::new(Work(Mutex::new(State { stretches, spare: Vec::new() })));
        let (snapshot, patience, shared) = (self.snapshot.clone(), self.patience.clone(), work.clone());
        self.share(vec![(); reading.scans], move |()| shared.do_a_part(&snapshot, &patience, reading))?;
        let window = reads.tables.values().next().map(|group| group.window);
        self.note(request, leaves.len(), leaves.iter().filter_map(|_| window.as_ref()));
        let (start_s, end_s, step_s) = window.map_or((range.0, range.1, 1), |w| (w.start_s, w.end_s, w.step_s));
        let names = leaves.iter().map(|leaf| leaf.name.to_string()).collect();
        Ok(Some(Folded { names, start_s, end_s, step_s, fold: work.fold()? }))
    }

    /// What is to be read of the series of `leaves`, which ascend by name; takes them out of `reads`. `None` if they cannot
    /// be folded.
    fn stretches(&self, reads: &mut Reads, leaves: &[Leaf], now_s: i64, func: AggFunc) -> Result<Option<Vec<Stretch>>> {
        if reads.tables.len() > 1 || leaves.iter().any(|leaf| leaf.series.len() != 1) {
            return Ok(None);
        }
        let Some((&table, group)) = reads.tables.iter_mut().next() else {
            return Ok(Fold::new(func, 0).map(|fold| vec![Stretch::new(fold)]));
        };
        let ids: Vec<SeriesId> = leaves.iter().flat_map(|leaf| leaf.series.iter().copied()).collect();
        let series = std::mem::take(&mut group.series);
        // Slots of coarser levels are rolled up from columns.
        let direct = group.window.tier == Tier::RAW;
        let windows =
            cut(&group.window, &self.snapshot.partition_starts_ns(table, group.window.tier, &group.window.times_ns()));
        let files = files_of(&self.snapshot, table, &group.window, ids.get(ids.len() / 2).copied())?;
        if group.window.slots() / files.max(1) < LONG_SLOTS && !ids.is_sorted() {
            return Ok(None);
        }
        let files = (files / windows.len()).clamp(1, PART_FILES_MAX);
        let mut stretches = Vec::with_capacity(windows.len());
        for window in windows {
            let Some(fold) = Fold::new(func, window.slots()) else { return Ok(None) };
            let mut stretch = Stretch::new(fold);
            let per_part = (PART_SLOTS * files / window.slots().max(1)).max(1);
            let in_order = |ids: &[SeriesId]| direct && ids.is_sorted();
            let parts = ids.chunks(per_part * DIRECT_PARTS).flat_map(|ids| match in_order(ids) {
                true => ids.chunks(per_part * DIRECT_PARTS),
                false => ids.chunks(per_part),
            });
            for ids in parts {
                let mut by_id: Vec<(SeriesId, usize)> =
                    ids.iter().enumerate().map(|(place, id)| (*id, place)).collect();
                by_id.sort_unstable();
                let answer = |id| Some((id, Answer { window, rule: series.get(&id)?.rule, values: Vec::new() }));
                let series = by_id.iter().filter_map(|(id, _)| answer(*id)).collect();
                let (policy, field) = (group.policy.clone(), group.field);
                let places = by_id.into_iter().map(|(_, place)| place).collect();
                let part = Part { table, window, policy, now_s, field, series };
                stretch.unread.push_back(NamedPart { part, places, direct: in_order(ids) });
            }
            stretches.push(stretch);
        }
        Ok(Some(stretches))
    }
}

/// A window in pieces that begin at some of these times, where a slot begins, too.
fn cut(window: &Window, times_ns: &[i64]) -> Vec<Window> {
    const SECOND_NS: i64 = 1_000_000_000;
    let least_s = window.step_s.saturating_mul((window.slots() / STRETCHES_MAX).max(STRETCH_SLOTS) as i64);
    let (mut windows, mut rest) = (Vec::new(), *window);
    for time_ns in times_ns {
        let (time_s, past_ns) = (time_ns.div_euclid(SECOND_NS), time_ns.rem_euclid(SECOND_NS));
        let begins_slot = past_ns == 0 && (time_s - window.start_s) % window.step_s == 0;
        if begins_slot && time_s - rest.start_s >= least_s && rest.end_s - time_s >= least_s {
            windows.push(Window { end_s: time_s, ..rest });
            rest.start_s = time_s;
        }
    }
    windows.push(rest);
    windows
}

/// How many files a series' points in a window are in.
fn files_of(snapshot: &Snapshot, table: TableId, window: &Window, series: Option<SeriesId>) -> Result<usize> {
    let series = SeriesFilter::List(series.into_iter().collect());
    let scan = snapshot.scan(table, window.tier, series, None, window.times_ns());
    Ok(unless_gone(scan)?.map_or(0, |scan| scan.files()))
}

/// A part of the series, and where each is among those of the part by name.
struct NamedPart {
    part: Part,
    /// By position in the part.
    places: Vec<usize>,
    /// Its points may be added as they come: the series are in the order of their names.
    direct: bool,
}

impl NamedPart {
    /// The columns in the order of their names, in the room of others if there is some.
    fn read(mut self, room: Vec<Vec<f64>>, read: impl FnOnce(Part) -> Result<Part>) -> Result<Vec<Vec<f64>>> {
        self.part.series.iter_mut().zip(room).for_each(|((_, answer), room)| answer.values = room);
        let part = read(self.part)?;
        let mut columns = vec![Vec::new(); part.series.len()];
        for (place, (_, answer)) in self.places.into_iter().zip(part.series) {
            columns[place] = answer.values;
        }
        Ok(columns)
    }
}

/// What is left to do, for whoever has time.
struct Work(Mutex<State>);

struct State {
    stretches: Vec<Stretch>,
    /// Columns that are added: their room is warm.
    spare: Vec<Vec<Vec<f64>>>,
}

/// A part of the window.
struct Stretch {
    /// Parts that nobody has taken.
    unread: VecDeque<NamedPart>,
    /// How many parts somebody has taken.
    taken: usize,
    /// How many parts are added: the next one's turn it is.
    added: usize,
    /// Columns of parts that came early, by part.
    waiting: BTreeMap<usize, Vec<Vec<f64>>>,
    /// What the parts are added to; with the thread that adds one.
    fold: Option<Fold>,
}

/// A part that a thread does.
struct Taken {
    stretch: usize,
    number: usize,
    part: NamedPart,
    to: To,
}

/// Where the points of a part go.
enum To {
    Fold(Fold),
    /// Of columns in this room.
    Columns(Vec<Vec<f64>>),
}

impl Stretch {
    fn new(fold: Fold) -> Self {
        let (unread, waiting) = Default::default();
        Self { unread, taken: 0, added: 0, waiting, fold: Some(fold) }
    }

    /// Whether the next part may be added as it is read.
    fn is_free(&self) -> bool {
        self.fold.is_some() && self.added == self.taken && self.unread.front().is_some_and(|part| part.direct)
    }
}

/// Takes away what is left to do.
struct GiveUp<'w>(&'w Work);

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        for stretch in &mut self.0.0.lock().stretches {
            stretch.unread.clear();
            stretch.waiting.clear();
        }
    }
}

impl Work {
    /// Does one part of those that are left.
    fn do_a_part(&self, snapshot: &Snapshot, patience: &Patience, reading: Reading) -> Result<()> {
        let Some(Taken { stretch, number, part, to }) = self.take() else { return Ok(()) };
        // An error or a panic ends it for all: the aggregate is gone.
        let unless_done = GiveUp(self);
        match to {
            To::Fold(mut fold) => {
                part.part.fold(snapshot, patience, reading, &mut fold)?;
                self.0.lock().stretches[stretch].added += 1;
                self.add(stretch, fold);
            }
            To::Columns(room) => {
                let columns = part.read(room, |part| part.read(snapshot, patience, reading))?;
                let fold = {
                    let stretch = &mut self.0.lock().stretches[stretch];
                    stretch.waiting.insert(number, columns);
                    stretch.fold.take()
                };
                fold.into_iter().for_each(|fold| self.add(stretch, fold));
            }
        }
        std::mem::forget(unless_done);
        Ok(())
    }

    /// The next part of the stretch of which most is left, of those first that nobody is at.
    fn take(&self) -> Option<Taken> {
        let mut state = self.0.lock();
        let State { stretches, spare } = &mut *state;
        let left = stretches.iter_mut().enumerate().filter(|(_, stretch)| !stretch.unread.is_empty());
        let (at, stretch) = left.max_by_key(|(_, stretch)| (stretch.is_free(), stretch.unread.len()))?;
        let is_free = stretch.is_free();
        let to = match stretch.fold.take_if(|_| is_free) {
            Some(fold) => To::Fold(fold),
            None => To::Columns(spare.pop().unwrap_or_default()),
        };
        let (number, part) = (stretch.taken, stretch.unread.pop_front()?);
        stretch.taken += 1;
        Some(Taken { stretch: at, number, part, to })
    }

    /// Adds the columns whose turn it is, and gives the aggregate back to its stretch.
    fn add(&self, stretch: usize, mut fold: Fold) {
        let mut done = None;
        loop {
            let columns = {
                let state = &mut *self.0.lock();
                state.spare.extend(done.take());
                let stretch = &mut state.stretches[stretch];
                let Some(columns) = stretch.waiting.remove(&stretch.added) else {
                    stretch.fold = Some(fold);
                    return;
                };
                stretch.added += 1;
                columns
            };
            fold.add(&columns);
            done = Some(columns);
        }
    }

    /// The aggregate of all stretches.
    fn fold(&self) -> Result<Fold> {
        let stretches = std::mem::take(&mut self.0.lock().stretches);
        let folds: Option<Vec<Fold>> = stretches.into_iter().map(|stretch| stretch.fold).collect();
        folds.and_then(Fold::joined).ok_or_else(|| Error::internal("a part was not added"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_cut_where_a_slot_begins_and_both_sides_are_long() {
        let window = Window { tier: Tier::RAW, start_s: 60, end_s: 60 + 10_000 * 60, step_s: 60 };
        let at = |slot: i64| (60 + slot * 60) * 1_000_000_000;
        for (times_ns, starts) in [
            (&[][..], &[0][..]),
            (&[at(5_000)], &[0, 5_000]),
            // Beside a slot's start, by seconds and by less.
            (&[at(5_000) + 1_000_000_000], &[0]),
            (&[at(5_000) + 1], &[0]),
            // Too near to an end, or to one another: 625 slots are a sixteenth.
            (&[at(10), at(624), at(625), at(1_200), at(1_250), at(9_376)], &[0, 625, 1_250]),
        ] {
            let windows = cut(&window, times_ns);
            let found: Vec<i64> = windows.iter().map(|w| (w.start_s - 60) / 60).collect();
            assert_eq!(found, starts, "{times_ns:?}");
            assert!(windows.windows(2).all(|w| w[0].end_s == w[1].start_s));
            assert_eq!(windows.last().map(|w| w.end_s), Some(window.end_s));
        }
    }
}
