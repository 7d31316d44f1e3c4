//! `top` and `bottom`: the points with the greatest or least values.

use rhythmite_model::FieldType;

use super::super::column::Col;
use super::super::frame::Frame;
use super::super::points::{Points, types};
use super::super::window::{Windows, for_each_run};

/// Which points are chosen.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Top {
    /// At most so many of each window.
    pub(in super::super) count: usize,
    /// The least instead of the greatest.
    pub(in super::super) bottom: bool,
    pub(in super::super) ascending: bool,
}

impl Top {
    /// The chosen points of a frame, each with its own time. `tags` are the columns of which each combination of
    /// values may be chosen once.
    pub(in super::super) fn apply(self, frame: &Frame, tags: &[Col], windows: &Windows, range: (i64, i64)) -> Points {
        let Some(value) = &frame.value else { return Points::empty(FieldType::Float, &types(&frame.aux)) };
        let mut chosen = Vec::new();
        for_each_run(windows, range, &frame.times_ns, |_, rows| {
            let mut rows: Vec<u32> = rows.map(|row| row as u32).collect();
            // Greatest first (least for bottom), of equal ones the earliest.
            rows.sort_by(|a, b| {
                let (a, b) = (*a as usize, *b as usize);
                let values = value.value(a).order(&value.value(b)).unwrap_or(std::cmp::Ordering::Equal);
                let values = if self.bottom { values } else { values.reverse() };
                values.then(frame.times_ns[a].cmp(&frame.times_ns[b]))
            });
            if !tags.is_empty() {
                let mut seen: Vec<Vec<super::super::value::Value>> = Vec::new();
                rows.retain(|row| {
                    let key: Vec<_> = tags.iter().map(|col| col.value(*row as usize)).collect();
                    let new = !seen.contains(&key);
                    if new {
                        seen.push(key);
                    }
                    new
                });
            }
            rows.truncate(self.count);
            rows.sort_by(|a, b| {
                let times = frame.times_ns[*a as usize].cmp(&frame.times_ns[*b as usize]);
                if self.ascending { times } else { times.reverse() }
            });
            chosen.append(&mut rows);
        });
        Points {
            times_ns: chosen.iter().map(|row| frame.times_ns[*row as usize]).collect(),
            value: value.gather(&chosen),
            aux: frame.aux.iter().map(|col| col.gather(&chosen)).collect(),
        }
    }
}
