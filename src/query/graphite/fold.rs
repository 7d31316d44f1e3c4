//! One aggregate of all series of a pattern, made while they are read.
//!
//! Series are cut into parts in the order of their names; threads read parts, and what is read is added to the
//! aggregate part by part in that order, by whichever thread brings the next one. So floats are added in the order in
//! which a fetch would add them, and a thousand series take the room of a few parts. A part that is read before its
//! turn waits, so at worst as much is held as a fetch holds.
//!
//! What does not fit is left to a fetch: series of several policies, paths that have older series under other policies,
//! and short ranges of series that were not created in the order of their names, which would read pages many times.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rhythmite_engine::{SeriesFilter, Snapshot};
use rhythmite_graphite::series::{AggFunc, Fold};
use rhythmite_graphite::{FetchRequest, Folded, Query};
use rhythmite_model::{Result, SeriesId, TableId};

use super::fetch::{Fetcher, Leaf, Part, Reads, unless_gone};
use super::window::Window;

/// Slots of a part for each file that its series are in: about what fits in the second cache of a core, so that columns are
/// there still when they are added. At both ends a part reads a page that its neighbour reads, too: of a sixteenth of its
/// slots each. Few in tests, which then have many parts.
const PART_SLOTS: usize = if cfg!(test) { 10_000 } else { 128 * 1024 };

/// But for so many files at most, so that there is work for several threads.
const PART_FILES_MAX: usize = 16;

/// Slots of a series in a file from which on a part may begin at any series: a page then holds few of them, and is not read
/// by many parts.
const LONG_SLOTS: usize = 2_048;

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
        let Some((parts, fold)) = self.parts(&mut reads, &leaves, range.2, func)? else {
            (self.held, self.series) = before;
            return Ok(None);
        };
        // They are read, but not held.
        self.read += self.held - before.0;
        self.held = before.0;
        let columns =
            Arc::new(Columns(Mutex::new(State { next: 0, waiting: BTreeMap::new(), spare: Vec::new(), fold })));
        let (snapshot, patience, scans) = (self.snapshot.clone(), self.patience.clone(), parts.len());
        let brought = columns.clone();
        let work = move |(number, part): (usize, NamedPart)| {
            let columns = part.read(brought.room(), |part| part.read(&snapshot, &patience, scans))?;
            brought.bring(number, columns);
            Ok(())
        };
        self.share(parts.into_iter().enumerate().collect(), work)?;
        let window = reads.tables.values().next().map(|group| group.window);
        self.note(request, leaves.len(), leaves.iter().filter_map(|_| window.as_ref()));
        let (start_s, end_s, step_s) = window.map_or((range.0, range.1, 1), |w| (w.start_s, w.end_s, w.step_s));
        let names = leaves.iter().map(|leaf| leaf.name.to_string()).collect();
        let fold = columns.0.lock().fold.clone();
        Ok(Some(Folded { names, start_s, end_s, step_s, fold }))
    }

    /// The series of `leaves`, which ascend by name, in parts; takes them out of `reads`. `None` if they cannot be folded.
    fn parts(
        &self,
        reads: &mut Reads,
        leaves: &[Leaf],
        now_s: i64,
        func: AggFunc,
    ) -> Result<Option<(Vec<NamedPart>, Fold)>> {
        if reads.tables.len() > 1 || leaves.iter().any(|leaf| leaf.series.len() != 1) {
            return Ok(None);
        }
        let Some((&table, group)) = reads.tables.iter_mut().next() else {
            return Ok(Fold::new(func, 0).map(|fold| (Vec::new(), fold)));
        };
        let (window, ids) = (group.window, leaves.iter().flat_map(|leaf| leaf.series.iter().copied()));
        let ids: Vec<SeriesId> = ids.collect();
        let Some(fold) = Fold::new(func, window.slots()) else { return Ok(None) };
        let files = files_of(&self.snapshot, table, &window, ids.get(ids.len() / 2).copied())?.max(1);
        if window.slots() / files < LONG_SLOTS && !ids.is_sorted() {
            return Ok(None);
        }
        let per_part = (PART_SLOTS * files.min(PART_FILES_MAX) / window.slots().max(1)).max(1);
        let mut parts = Vec::with_capacity(ids.len().div_ceil(per_part));
        for ids in ids.chunks(per_part) {
            let mut by_id: Vec<(SeriesId, usize)> = ids.iter().enumerate().map(|(place, id)| (*id, place)).collect();
            by_id.sort_unstable();
            let (policy, field) = (group.policy.clone(), group.field);
            let series = by_id.iter().filter_map(|(id, _)| Some((*id, group.series.remove(id)?))).collect();
            let places = by_id.into_iter().map(|(_, place)| place).collect();
            parts.push(NamedPart { part: Part { table, window, policy, now_s, field, series }, places });
        }
        Ok(Some((parts, fold)))
    }
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

/// Columns that become one, in their order, whoever brings them.
struct Columns(Mutex<State>);

struct State {
    /// The part whose turn it is.
    next: usize,
    /// Parts that came early.
    waiting: BTreeMap<usize, Vec<Vec<f64>>>,
    /// Parts that are folded: their room is warm.
    spare: Vec<Vec<Vec<f64>>>,
    fold: Fold,
}

impl Columns {
    /// Room for a part.
    fn room(&self) -> Vec<Vec<f64>> {
        self.0.lock().spare.pop().unwrap_or_default()
    }

    /// Adds the columns of a part, now or when its turn comes.
    fn bring(&self, number: usize, columns: Vec<Vec<f64>>) {
        let mut state = self.0.lock();
        state.waiting.insert(number, columns);
        while let Some(columns) = {
            let next = state.next;
            state.waiting.remove(&next)
        } {
            state.fold.add(&columns);
            state.spare.push(columns);
            state.next += 1;
        }
    }
}
