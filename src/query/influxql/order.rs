//! Rows of several series put in one order of time.
//!
//! Of rows with the same time 1.x shows the one that its heap happens to hold on top, so the heap here is Go's: same
//! steps, same order. Texts beside the value decide first.

use std::ops::Range;
use std::sync::Arc;

use rhythmite_model::Column;

use super::column::Col;
use super::frame::Frame;

/// Merges frames, given in the order of their series, into one; descending if not `ascending`. `stable`: rows with the
/// same time stay in the order of their series. `texts`: the texts beside the value decide, as of stored points.
pub(super) fn merge(mut frames: Vec<Frame>, ascending: bool, stable: bool, texts: bool) -> Option<Frame> {
    if frames.len() == 1 {
        let frame = frames.pop()?;
        if ascending {
            return Some(frame);
        }
        return Some(Frame {
            times_ns: Arc::new(frame.times_ns.iter().rev().copied().collect()),
            value: frame.value.map(|value| Arc::new(value.reversed())),
            aux: frame.aux.iter().map(Col::reversed).collect(),
        });
    }
    let first = frames.first()?;
    let mut times = Vec::new();
    let mut value = first.value.as_ref().map(|value| Col::new(value.field_type()));
    let mut aux: Vec<Col> = first.aux.iter().map(|col| Col::new(col.field_type())).collect();
    let mut series = Vec::with_capacity(frames.len());
    for frame in &frames {
        let start = times.len() as u32;
        times.extend_from_slice(&frame.times_ns);
        series.push(start..times.len() as u32);
        if let (Some(all), Some(more)) = (&mut value, &frame.value) {
            all.extend(&Col::clone(more).cast(all.field_type()));
        }
        aux.iter_mut().zip(&frame.aux).for_each(|(all, more)| all.extend(&more.clone().cast(all.field_type())));
    }
    let rows = if stable {
        let mut rows: Vec<u32> = (0..times.len() as u32).collect();
        match ascending {
            true => rows.sort_by_key(|row| times[*row as usize]),
            false => rows.sort_by_key(|row| std::cmp::Reverse(times[*row as usize])),
        }
        rows
    } else {
        merged(&times, &series, ascending, if texts { Ties::Texts(&aux) } else { Ties::Texts(&[]) })
    };
    Some(Frame {
        times_ns: Arc::new(rows.iter().map(|row| times[*row as usize]).collect()),
        value: value.map(|value| Arc::new(value.gather(&rows))),
        aux: aux.iter().map(|col| col.gather(&rows)).collect(),
    })
}

/// What decides between rows with the same time.
#[derive(Clone, Copy)]
pub(super) enum Ties<'a> {
    /// The texts of these columns, up to the first column of something else or without a value.
    Texts(&'a [Col]),
    /// A number of each series.
    Ranks(&'a [u32]),
}

/// The order of rows of several series, of which each has a range of ascending times.
pub(super) fn merged(times_ns: &[i64], series: &[Range<u32>], ascending: bool, ties: Ties<'_>) -> Vec<u32> {
    if let Ties::Ranks(ranks) = ties
        && is_each_once(ranks)
    {
        // PERF: no two rows are equal, so that any way of sorting comes to what the heap comes to.
        // Proof: `cargo bench --bench influxql_select -- condition`.
        let of_series = series.iter().zip(ranks);
        let mut rows: Vec<(i64, u32, u32)> =
            of_series.flat_map(|(rows, rank)| rows.clone().map(|row| (times_ns[row as usize], *rank, row))).collect();
        rows.sort_unstable();
        let rows = rows.into_iter().map(|(_, _, row)| row);
        return if ascending { rows.collect() } else { rows.rev().collect() };
    }
    let cursor = |(number, rows): (usize, &Range<u32>)| {
        let next = if ascending { rows.start } else { rows.end.checked_sub(1)? };
        let time_ns = *times_ns.get(next as usize)?;
        Some(Cursor { time_ns, next, left: rows.end - rows.start, series: number as u32 })
    };
    let mut items: Vec<Cursor> =
        series.iter().enumerate().filter(|(_, rows)| !rows.is_empty()).filter_map(cursor).collect();
    if !ascending {
        items.reverse();
    }
    Heap { times_ns, ties, ascending, items }.drain()
}

fn is_each_once(ranks: &[u32]) -> bool {
    let mut seen = vec![false; ranks.len()];
    ranks.iter().all(|rank| seen.get_mut(*rank as usize).is_some_and(|seen| !std::mem::replace(seen, true)))
}

/// The next row of one series.
#[derive(Clone, Copy)]
struct Cursor {
    time_ns: i64,
    next: u32,
    /// Rows with this one.
    left: u32,
    series: u32,
}

struct Heap<'a> {
    times_ns: &'a [i64],
    ties: Ties<'a>,
    ascending: bool,
    items: Vec<Cursor>,
}

impl Heap<'_> {
    fn drain(mut self) -> Vec<u32> {
        let mut rows = Vec::with_capacity(self.items.iter().map(|item| item.left as usize).sum());
        for at in (0..self.items.len() / 2).rev() {
            self.down(at, self.items.len());
        }
        while !self.items.is_empty() {
            let last = self.items.len() - 1;
            self.items.swap(0, last);
            self.down(0, last);
            let Some(mut item) = self.items.pop() else { break };
            rows.push(item.next);
            item.left -= 1;
            if item.left > 0 {
                item.next = if self.ascending { item.next + 1 } else { item.next - 1 };
                item.time_ns = self.times_ns[item.next as usize];
                self.items.push(item);
                self.up(self.items.len() - 1);
            }
        }
        rows
    }

    fn less(&self, i: usize, j: usize) -> bool {
        let (x, y) = (&self.items[i], &self.items[j]);
        if x.time_ns != y.time_ns {
            return (x.time_ns < y.time_ns) == self.ascending;
        }
        let texts = match self.ties {
            Ties::Ranks(ranks) => {
                let (x, y) = (ranks[x.series as usize], ranks[y.series as usize]);
                return x != y && (x < y) == self.ascending;
            }
            Ties::Texts(texts) => texts,
        };
        let (x, y) = (x.next as usize, y.next as usize);
        for col in texts {
            let Column::String(texts) = col.values() else { return false };
            if !col.is_valid(x) || !col.is_valid(y) {
                return false;
            }
            match texts.get(x).cmp(texts.get(y)) {
                std::cmp::Ordering::Equal => {}
                order => return order.is_lt() == self.ascending,
            }
        }
        false
    }

    fn up(&mut self, mut at: usize) {
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.less(at, parent) {
                break;
            }
            self.items.swap(parent, at);
            at = parent;
        }
    }

    fn down(&mut self, mut at: usize, len: usize) {
        loop {
            let left = 2 * at + 1;
            if left >= len {
                break;
            }
            let right = left + 1;
            let child = if right < len && self.less(right, left) { right } else { left };
            if !self.less(child, at) {
                break;
            }
            self.items.swap(at, child);
            at = child;
        }
    }
}
