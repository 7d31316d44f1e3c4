//! `top` and `bottom`: the points with the greatest or least values.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use rhythmite_model::FieldType;

use super::super::column::Col;
use super::super::frame::Frame;
use super::super::points::{Points, types};
use super::super::value::Value;
use super::super::window::{Windows, for_each_run};
use super::pdqsort;

/// Which points are chosen.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Top {
    /// At most so many of each window.
    pub(in super::super) count: usize,
    /// The least instead of the greatest.
    pub(in super::super) bottom: bool,
}

impl Top {
    /// The chosen points of a frame, each with its own time, those of a window in order of time. `tags` are the columns,
    /// in order of their names, of which each combination of values may be chosen once.
    pub(in super::super) fn apply(self, frame: &Frame, tags: &[Col], windows: &Windows, range: (i64, i64)) -> Points {
        let Some(value) = &frame.value else { return Points::empty(FieldType::Float, &types(&frame.aux)) };
        let order = Ranks { value, times_ns: &frame.times_ns, bottom: self.bottom };
        let mut chosen = Vec::new();
        for_each_run(windows, range, &frame.times_ns, |_, rows| {
            let mut rows: Vec<u32> = rows.map(|row| row as u32).collect();
            if !tags.is_empty() {
                rows = order.best_of_each(rows, tags);
            }
            let mut kept = order.kept(rows, self.count);
            pdqsort::sort(&mut kept, &|a, b| order.ranks_below(b, a));
            kept.sort_by_key(|row| frame.times_ns[*row as usize]);
            chosen.append(&mut kept);
        });
        Points {
            times_ns: chosen.iter().map(|row| frame.times_ns[*row as usize]).collect(),
            value: value.gather(&chosen),
            aux: frame.aux.iter().map(|col| col.gather(&chosen)).collect(),
        }
    }
}

/// Rows by their values, of equal ones the earliest first.
struct Ranks<'a> {
    value: &'a Col,
    times_ns: &'a [i64],
    bottom: bool,
}

impl Ranks<'_> {
    fn values(&self, a: u32, b: u32) -> Option<Ordering> {
        let order = self.value.value(a as usize).order(&self.value.value(b as usize));
        if self.bottom { order.map(Ordering::reverse) } else { order }
    }

    fn time(&self, row: u32) -> i64 {
        self.times_ns[row as usize]
    }

    fn ranks_below(&self, a: u32, b: u32) -> bool {
        match self.values(a, b) {
            Some(Ordering::Equal) => self.time(a) > self.time(b),
            order => order == Some(Ordering::Less),
        }
    }

    /// The best row of each combination of tags, in order of the tags.
    fn best_of_each(&self, rows: Vec<u32>, tags: &[Col]) -> Vec<u32> {
        let mut best: BTreeMap<Vec<String>, u32> = BTreeMap::new();
        for row in rows {
            let text = |col: &Col| match col.value(row as usize) {
                Value::String(text) => text.to_string(),
                _ => String::new(),
            };
            best.entry(tags.iter().map(text).collect())
                .and_modify(|known| {
                    if self.ranks_below(*known, row) {
                        *known = row;
                    }
                })
                .or_insert(row);
        }
        best.into_values().collect()
    }

    /// The best rows, in the order in which Go's heap holds them: of equal ones that decides which are shown.
    fn kept(&self, rows: Vec<u32>, count: usize) -> Vec<u32> {
        let mut heap: Vec<u32> = Vec::with_capacity(count.min(rows.len()));
        for row in rows {
            if heap.len() < count {
                heap.push(row);
                self.up(&mut heap);
            } else if let Some(&least) = heap.first()
                && self.ranks_below(least, row)
            {
                heap[0] = row;
                self.down(&mut heap);
            }
        }
        heap
    }

    fn up(&self, heap: &mut [u32]) {
        let mut at = heap.len() - 1;
        while at > 0 && self.ranks_below(heap[at], heap[(at - 1) / 2]) {
            heap.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    fn down(&self, heap: &mut [u32]) {
        let mut at = 0;
        while 2 * at + 1 < heap.len() {
            let mut child = 2 * at + 1;
            if child + 1 < heap.len() && self.ranks_below(heap[child + 1], heap[child]) {
                child += 1;
            }
            if !self.ranks_below(heap[child], heap[at]) {
                break;
            }
            heap.swap(at, child);
            at = child;
        }
    }
}
