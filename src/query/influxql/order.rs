//! Rows of several series put in one order of time.
//!
//! Of rows with the same time 1.x shows the one that its heap happens to hold on top, so the heap here is Go's: same
//! steps, same order. Texts beside the value decide first.

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
    let mut cursors = Vec::with_capacity(frames.len());
    for frame in &frames {
        let start = times.len() as u32;
        times.extend_from_slice(&frame.times_ns);
        cursors.push(Cursor::new(start, times.len() as u32, ascending));
        if let (Some(all), Some(more)) = (&mut value, &frame.value) {
            all.extend(&Col::clone(more).cast(all.field_type()));
        }
        aux.iter_mut().zip(&frame.aux).for_each(|(all, more)| all.extend(&more.clone().cast(all.field_type())));
    }
    if !ascending {
        cursors.reverse();
    }
    let rows = if stable {
        let mut rows: Vec<u32> = (0..times.len() as u32).collect();
        match ascending {
            true => rows.sort_by_key(|row| times[*row as usize]),
            false => rows.sort_by_key(|row| std::cmp::Reverse(times[*row as usize])),
        }
        rows
    } else {
        Heap { times: &times, aux: if texts { &aux } else { &[] }, ascending, items: cursors }.drain()
    };
    Some(Frame {
        times_ns: Arc::new(rows.iter().map(|row| times[*row as usize]).collect()),
        value: value.map(|value| Arc::new(value.gather(&rows))),
        aux: aux.iter().map(|col| col.gather(&rows)).collect(),
    })
}

/// Rows `next..end` of one series, or backwards.
#[derive(Clone, Copy)]
struct Cursor {
    next: u32,
    left: u32,
    ascending: bool,
}

impl Cursor {
    fn new(start: u32, end: u32, ascending: bool) -> Self {
        Self { next: if ascending || start == end { start } else { end - 1 }, left: end - start, ascending }
    }

    fn advance(&mut self) -> bool {
        self.left -= 1;
        if self.left > 0 {
            self.next = if self.ascending { self.next + 1 } else { self.next - 1 };
        }
        self.left > 0
    }
}

struct Heap<'a> {
    times: &'a [i64],
    aux: &'a [Col],
    ascending: bool,
    items: Vec<Cursor>,
}

impl Heap<'_> {
    fn drain(mut self) -> Vec<u32> {
        let mut rows = Vec::with_capacity(self.times.len());
        self.items.retain(|item| item.left > 0);
        for at in (0..self.items.len() / 2).rev() {
            self.down(at, self.items.len());
        }
        while !self.items.is_empty() {
            let last = self.items.len() - 1;
            self.items.swap(0, last);
            self.down(0, last);
            let Some(mut item) = self.items.pop() else { break };
            rows.push(item.next);
            if item.advance() {
                self.items.push(item);
                self.up(self.items.len() - 1);
            }
        }
        rows
    }

    fn less(&self, i: usize, j: usize) -> bool {
        let (x, y) = (self.items[i].next as usize, self.items[j].next as usize);
        if self.times[x] != self.times[y] {
            return (self.times[x] < self.times[y]) == self.ascending;
        }
        for col in self.aux {
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
