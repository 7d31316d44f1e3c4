//! The groups of a query and their results so far.
//!
//! A slot is one group in one window of time. The tags of a series are looked at once; its rows then fall into windows by
//! comparison of ascending times, and the slots of the windows of one series mostly follow each other: a hash is computed
//! for the first window of a series, not for rows.

use std::sync::Arc;

use hashbrown::HashMap;
use rhythmite_engine::registry::key;
use rhythmite_engine::{Stream, Stretch, WindowSum};
use rhythmite_model::{Aggregate, Column, FieldId, KeyKind};

use super::accumulator::{Accumulator, Run, What};
use super::query::{RowsOf, Spec};
use super::sketches::{Sketches, Stored};
use crate::query::scan::predicate;
use crate::query::scan::schema::ColumnKind;

type Hasher = foldhash::fast::RandomState;

/// Bytes a slot takes beside the results.
const SLOT_BYTES: usize = 48;
/// Bytes a group takes beside its texts.
const GROUP_BYTES: usize = 64;

/// Results of some series.
pub(super) struct State {
    spec: Arc<Spec>,
    numbers: HashMap<Box<[u8]>, u32, Hasher>,
    /// Values of the tags that groups are made by, group after group.
    texts: Vec<Option<Arc<str>>>,
    groups: usize,
    slots: HashMap<(u32, i64), u32, Hasher>,
    group_of: Vec<u32>,
    window_of: Vec<i64>,
    results: Vec<Accumulator>,
    text_bytes: usize,
    /// Used again from series to series.
    runs: Vec<Run>,
    key: Vec<u8>,
}

impl State {
    pub fn new(spec: Arc<Spec>) -> Self {
        let results = spec.aggregates.iter().map(|a| Accumulator::new(a.what, a.field_type)).collect();
        Self {
            spec,
            numbers: HashMap::default(),
            texts: Vec::new(),
            groups: 0,
            slots: HashMap::default(),
            group_of: Vec::new(),
            window_of: Vec::new(),
            results,
            text_bytes: 0,
            runs: Vec::new(),
            key: Vec::new(),
        }
    }

    /// Slots that there are.
    pub fn slots(&self) -> usize {
        self.group_of.len()
    }

    /// Memory held, in bytes, about.
    pub fn heap_bytes(&self) -> usize {
        let slot = SLOT_BYTES + self.results.iter().map(Accumulator::slot_bytes).sum::<usize>();
        let buckets = self.results.iter().filter_map(Accumulator::sketches).map(Sketches::bucket_bytes);
        self.slots() * slot + self.groups * GROUP_BYTES + self.text_bytes + buckets.sum::<usize>()
    }

    /// Buckets of all sketches.
    pub fn buckets(&self) -> usize {
        self.results.iter().filter_map(Accumulator::sketches).map(Sketches::buckets).sum()
    }

    /// Group of a slot and start of its window.
    pub fn slot(&self, slot: usize) -> (u32, i64) {
        (self.group_of[slot], self.window_of[slot])
    }

    /// Value of tag `tag` of a group.
    pub fn text(&self, group: u32, tag: usize) -> Option<&Arc<str>> {
        self.texts[group as usize * self.spec.tags.len() + tag].as_ref()
    }

    /// The results, an aggregate each.
    pub fn results(&self) -> &[Accumulator] {
        &self.results
    }

    /// Start and number of the windows of each group that has any, ascending by group, then by window.
    pub fn windows(&self) -> Vec<(u32, i64)> {
        let mut windows: Vec<(u32, i64)> = self.group_of.iter().copied().zip(self.window_of.iter().copied()).collect();
        windows.sort_unstable();
        windows
    }

    /// The group of a series.
    pub fn group(&mut self, kind: KeyKind, series_key: &str) -> u32 {
        if self.spec.tags.is_empty() {
            return self.only_group();
        }
        let spec = self.spec.clone();
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        let tags: Vec<_> = key::tags(kind, series_key).collect();
        let text = |column: &ColumnKind| match column {
            ColumnKind::Path => Some(series_key),
            ColumnKind::Tag(wanted) => {
                tags.iter().find(|(k, _)| k == wanted).map(|(_, v)| v.as_ref()).filter(|v: &&str| !v.is_empty())
            }
            _ => None,
        };
        for column in &spec.tags {
            // A length that no text has stands for NULL.
            let text = text(column);
            let length = text.map_or(u64::MAX, |t| t.len() as u64);
            key.extend_from_slice(&length.to_le_bytes());
            key.extend_from_slice(text.unwrap_or_default().as_bytes());
        }
        let group = match self.numbers.get(key.as_slice()) {
            Some(group) => *group,
            None => {
                let texts: Vec<Option<Arc<str>>> = spec.tags.iter().map(|c| text(c).map(Arc::from)).collect();
                self.new_group(key.as_slice(), texts)
            }
        };
        self.key = key;
        group
    }

    /// The group of everything.
    pub fn only_group(&mut self) -> u32 {
        self.groups = 1;
        0
    }

    fn new_group(&mut self, key: &[u8], texts: Vec<Option<Arc<str>>>) -> u32 {
        let group = self.groups as u32;
        self.groups += 1;
        self.text_bytes += 2 * key.len();
        self.texts.extend(texts);
        self.numbers.insert(key.into(), group);
        group
    }

    fn slot_of(&mut self, group: u32, window_ns: i64, before: Option<u32>) -> u32 {
        if let Some(next) = before.map(|slot| slot as usize + 1)
            && self.window_of.get(next) == Some(&window_ns)
            && self.group_of[next] == group
        {
            return next as u32;
        }
        let fresh = self.window_of.len() as u32;
        let slot = *self.slots.entry((group, window_ns)).or_insert(fresh);
        if slot == fresh {
            self.group_of.push(group);
            self.window_of.push(window_ns);
        }
        slot
    }

    /// Makes a slot for a group and a window, without a value.
    pub fn touch(&mut self, group: u32, times_ns: &[i64]) {
        self.cut(group, times_ns);
        self.grow();
    }

    /// Sets `runs` to the windows of `times_ns`.
    fn cut(&mut self, group: u32, times_ns: &[i64]) {
        let mut runs = std::mem::take(&mut self.runs);
        runs.clear();
        match self.spec.windows {
            Some(windows) => {
                let mut before = None;
                windows.for_each(times_ns, |start_ns, rows| {
                    let slot = self.slot_of(group, start_ns, before);
                    before = Some(slot);
                    runs.push(Run { slot, start: rows.start as u32, end: rows.end as u32 });
                });
            }
            None if times_ns.is_empty() => {}
            None => {
                let slot = self.slot_of(group, 0, None);
                runs.push(Run { slot, start: 0, end: times_ns.len() as u32 });
            }
        }
        self.runs = runs;
    }

    fn grow(&mut self) {
        let slots = self.slots();
        self.results.iter_mut().for_each(|r| r.grow(slots));
    }

    /// Adds the rows of a series. `streams` are those of the fields of the query, `None` where the series has none;
    /// `all` are all that were read.
    pub fn add(&mut self, group: u32, streams: &[Option<&Stream>], all: &[Stream]) {
        let spec = self.spec.clone();
        let rows = match &spec.rows {
            RowsOf::Any => None,
            RowsOf::All => Some(union(all)),
            RowsOf::With(required) => {
                let tests = required.iter().map(|(at, test)| Some((streams[*at]?, test)));
                match tests.collect::<Option<Vec<_>>>() {
                    Some(tests) => Some(predicate::times_ns(&tests)),
                    None => return,
                }
            }
        };
        let only_required = matches!(spec.rows, RowsOf::With(_));
        // The times that `runs` are of.
        let mut cut_ns = rows.as_deref();
        if let Some(rows_ns) = cut_ns {
            self.cut(group, rows_ns);
            self.grow();
            for (aggregate, result) in spec.aggregates.iter().zip(&mut self.results) {
                result.add_rows(&self.runs);
                let stream = streams.get(aggregate.field).copied().flatten();
                result.add_rows_with_nulls(rows_ns, &self.runs, stream.map(|s| (s.times_ns.as_slice(), &s.values)));
            }
        }
        for (field, stream) in streams.iter().enumerate() {
            let Some(stream) = stream else { continue };
            let times_ns = stream.times_ns.as_slice();
            match rows.as_deref() {
                Some(rows_ns) if only_required && rows_ns != times_ns => {
                    let (times_ns, values) = keep(stream, rows_ns);
                    self.cut(group, &times_ns);
                    cut_ns = None;
                    self.add_values(field, &times_ns, &values);
                }
                _ => {
                    if cut_ns != Some(times_ns) {
                        self.cut(group, times_ns);
                        cut_ns = Some(times_ns);
                    }
                    self.add_values(field, times_ns, &stream.values);
                }
            }
        }
    }

    /// Adds some values of field number `field` of a query in which no row has to be looked at as a whole.
    pub fn add_stretch(&mut self, group: u32, field: usize, stretch: &Stretch<'_>) {
        self.cut(group, &stretch.times_ns[stretch.rows.clone()]);
        let from = stretch.rows.start as u32;
        for run in &mut self.runs {
            (run.start, run.end) = (run.start + from, run.end + from);
        }
        self.add_values(field, stretch.times_ns, stretch.values);
    }

    /// Adds sums of integers of field number `field`, which ascend by window.
    pub fn add_sums(&mut self, group: u32, field: usize, sums: &[(FieldId, WindowSum)]) {
        let mut before = None;
        for (_, WindowSum { window_ns, count, sum }) in sums {
            let window_ns = if self.spec.windows.is_some() { *window_ns } else { 0 };
            let slot = before
                .filter(|slot| self.window_of[*slot as usize] == window_ns)
                .unwrap_or_else(|| self.slot_of(group, window_ns, before));
            before = Some(slot);
            self.grow();
            for (aggregate, result) in self.spec.aggregates.iter().zip(&mut self.results) {
                if aggregate.field == field {
                    result.add_sum(slot, *count, *sum);
                }
            }
        }
    }

    /// Adds what a coarser level keeps of the fields of the query, `None` where the table has none. False if the level has
    /// windows of which it does not keep sketches, though these are asked for.
    ///
    /// # Errors
    /// `Corrupt` for a sketch that is none.
    pub fn add_rolled(
        &mut self,
        group: u32,
        fields: &[Option<FieldId>],
        streams: &[Stream],
    ) -> rhythmite_model::Result<bool> {
        let spec = self.spec.clone();
        for (at, field) in fields.iter().enumerate() {
            let Some(field) = *field else { continue };
            let stream = |aggregate: Aggregate| streams.iter().find(|s| Some(s.field) == aggregate.of(field));
            let Some(Stream { times_ns, values: Column::Integer(counts), .. }) = stream(Aggregate::Count) else {
                continue;
            };
            self.cut(group, times_ns);
            self.grow();
            // These are kept of every window that has a count.
            let kept = |aggregate: Aggregate| {
                stream(aggregate).filter(|stream| stream.times_ns == *times_ns).map(|stream| &stream.values)
            };
            for (aggregate, result) in spec.aggregates.iter().zip(&mut self.results).filter(|(a, _)| a.field == at) {
                let values = match aggregate.what {
                    What::Sketch => {
                        let (sketches, least) = (kept(Aggregate::Sketch), kept(Aggregate::Min));
                        // A sketch only if it was chosen before the window was rolled up.
                        let (Some(sketches), Some(least), Some(greatest)) = (sketches, least, kept(Aggregate::Max))
                        else {
                            return Ok(false);
                        };
                        result.add_stored(&Stored { sketches, least, greatest }, &self.runs)?;
                        continue;
                    }
                    What::Min => kept(Aggregate::Min),
                    What::Max => kept(Aggregate::Max),
                    _ => kept(Aggregate::Sum),
                };
                result.add_rolled(times_ns, counts, values, &self.runs);
            }
        }
        Ok(true)
    }

    /// Adds values in the windows that `runs` say.
    fn add_values(&mut self, field: usize, times_ns: &[i64], values: &Column) {
        self.grow();
        for (aggregate, result) in self.spec.aggregates.iter().zip(&mut self.results) {
            if aggregate.field == field {
                result.add(times_ns, values, &self.runs);
            }
        }
    }

    /// Adds the results of other series, or of other times. Returns which groups theirs are here.
    pub fn merge(&mut self, other: State) -> Vec<u32> {
        if self.slots() == 0 && self.groups == 0 {
            *self = other;
            return (0..self.groups as u32).collect();
        }
        let tags = self.spec.tags.len();
        let mut groups = vec![0; other.groups];
        for (key, &theirs) in &other.numbers {
            groups[theirs as usize] = match self.numbers.get(key) {
                Some(ours) => *ours,
                None => {
                    let from = theirs as usize * tags;
                    self.new_group(key, other.texts[from..from + tags].to_vec())
                }
            };
        }
        if tags == 0 && other.groups > 0 {
            self.only_group();
        }
        let mut before = None;
        let mut to = Vec::with_capacity(other.slots());
        for (group, window_ns) in other.group_of.iter().zip(&other.window_of) {
            let slot = self.slot_of(groups[*group as usize], *window_ns, before);
            before = Some(slot);
            to.push(slot);
        }
        self.grow();
        for (ours, theirs) in self.results.iter_mut().zip(&other.results) {
            ours.merge(theirs, &to);
        }
        groups
    }

    /// Makes the one slot of a query without groups, which has an answer even if there is no row.
    pub fn finish(&mut self) {
        if self.spec.keys.is_empty() {
            let group = self.only_group();
            self.slot_of(group, 0, None);
            self.grow();
        }
    }
}

/// The times at which any stream has a value.
fn union(streams: &[Stream]) -> Vec<i64> {
    let Some((first, rest)) = streams.split_first() else { return Vec::new() };
    let mut times_ns = first.times_ns.to_vec();
    let mut added = false;
    for stream in rest.iter().filter(|s| s.times_ns != first.times_ns) {
        times_ns.extend_from_slice(&stream.times_ns);
        added = true;
    }
    if added {
        times_ns.sort_unstable();
        times_ns.dedup();
    }
    times_ns
}

/// The values of a stream at some of the ascending `times_ns`.
fn keep(stream: &Stream, times_ns: &[i64]) -> (Vec<i64>, Column) {
    let mut wanted = times_ns.iter().peekable();
    let mut rows = Vec::new();
    for (row, time_ns) in stream.times_ns.iter().enumerate() {
        while wanted.next_if(|w| *w < time_ns).is_some() {}
        if wanted.peek() == Some(&time_ns) {
            rows.push(row as u32);
        }
    }
    (rows.iter().map(|&row| stream.times_ns[row as usize]).collect(), stream.values.gather(&rows))
}
