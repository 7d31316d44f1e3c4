//! What a call gives: points in the order of the answer, and what is done with them whatever the call.

use rhythmite_influx::influxql::{Fill, TIME_MIN_NS};
use rhythmite_model::FieldType;

use super::column::Col;
use super::value::Value;
use super::window::{Windows, shown, zone_offset_ns};

/// Points of one series of the answer.
#[derive(Clone, Debug)]
pub(super) struct Points {
    pub(super) times_ns: Vec<i64>,
    pub(super) value: Col,
    /// Fields and tags of the chosen points.
    pub(super) aux: Vec<Col>,
}

impl Points {
    pub(super) fn empty(value: FieldType, aux: &[FieldType]) -> Self {
        Self { times_ns: Vec::new(), value: Col::new(value), aux: aux.iter().map(|t| Col::new(*t)).collect() }
    }

    pub(super) fn len(&self) -> usize {
        self.times_ns.len()
    }

    pub(super) fn push(&mut self, time_ns: i64, value: &Value) {
        self.times_ns.push(time_ns);
        self.value.push(value.as_field());
        self.aux.iter_mut().for_each(Col::push_null);
    }

    /// The points at `rows`.
    pub(super) fn gather(&self, rows: &[u32]) -> Points {
        Points {
            times_ns: rows.iter().map(|row| self.times_ns[*row as usize]).collect(),
            value: self.value.gather(rows),
            aux: self.aux.iter().map(|col| col.gather(rows)).collect(),
        }
    }

    /// Gives every point the time of its window.
    pub(super) fn at_windows(&mut self, windows: &Windows, range: (i64, i64)) {
        let mut window = None;
        for time in &mut self.times_ns {
            let (start, end) =
                window.map_or_else(|| windows.bounds(*time, range), |window| windows.after(window, *time, range));
            window = Some((start, end));
            *time = shown(start);
        }
    }

    /// LIMIT and OFFSET; 0 is no limit.
    pub(super) fn limited(self, limit: u64, offset: u64) -> Points {
        if limit == 0 && offset == 0 {
            return self;
        }
        let rows = limited(self.len(), limit, offset);
        self.gather(&(rows.start as u32..rows.end as u32).collect::<Vec<_>>())
    }
}

/// The rows that LIMIT and OFFSET leave.
pub(super) fn limited(rows: usize, limit: u64, offset: u64) -> std::ops::Range<usize> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(rows);
    let count = if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
    start..start.saturating_add(count).min(rows)
}

/// Windows that filling makes of one series at most, whatever `[query]` says: they come from nothing.
pub(super) const WINDOWS_MAX: u64 = 100_000_000;

/// What LIMIT and OFFSET leave of rows that come piece by piece.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    /// Rows to skip.
    offset: usize,
    /// Rows to show; `None` for all.
    limit: Option<usize>,
}

impl Page {
    /// 0 is no limit.
    pub(super) fn new(limit: u64, offset: u64) -> Self {
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Self { offset: size(offset), limit: (limit > 0).then(|| size(limit)) }
    }

    /// Which of the next rows are shown.
    pub(super) fn advance(&mut self, rows: usize) -> std::ops::Range<usize> {
        let start = self.offset.min(rows);
        self.offset -= start;
        let count = self.limit.map_or(rows - start, |limit| limit.min(rows - start));
        self.limit = self.limit.map(|limit| limit - count);
        start..start + count
    }

    /// Whether no further row is shown.
    pub(super) fn is_done(&self) -> bool {
        self.limit == Some(0)
    }
}

/// How windows without points are filled.
#[derive(Clone, Debug)]
pub(super) struct Filling<'a> {
    pub(super) fill: Fill,
    pub(super) windows: &'a Windows,
    pub(super) range: (i64, i64),
    pub(super) ascending: bool,
}

impl Filling<'_> {
    /// How many points filling gives, about.
    pub(super) fn windows_of(&self, points: &Points) -> u64 {
        if points.len() == 0 || self.windows.is_one() {
            return 0;
        }
        let first = match self.windows.start(self.range.0, self.range) {
            TIME_MIN_NS => points.times_ns.iter().copied().min().unwrap_or(0),
            first => first,
        };
        let last = self.windows.start(self.range.1, self.range);
        let windows = (i128::from(last) - i128::from(first)) / i128::from(self.windows.every_ns().max(1)) + 1;
        u64::try_from(windows.max(0)).unwrap_or(u64::MAX)
    }

    /// Adds the windows that are missing between the bounds of the range. Without any point there is nothing to fill.
    ///
    /// `stop` is asked now and then: a small window over a long time makes many points.
    pub(super) fn apply(&self, points: Points, stop: &mut dyn FnMut() -> bool) -> Points {
        if points.len() == 0 || self.windows.is_one() || self.has_all(&points) {
            return points;
        }
        let (from, to) = if self.ascending { self.range } else { (self.range.1, self.range.0) };
        let mut window = self.windows.start(from, self.range);
        let end = self.windows.start(to, self.range);
        if window == TIME_MIN_NS {
            window = points.times_ns[0];
        }
        let every = if self.ascending { self.windows.every_ns() } else { -self.windows.every_ns() };
        let mut zone = self.windows.zone().map_or(0, |zone| zone_offset_ns(zone, window));
        let mut out = Points::empty(points.value.field_type(), &types(&points.aux));
        let mut row = 0;
        let mut previous: Option<(i64, Value)> = None;
        let mut made: u32 = 0;
        loop {
            let next = points.times_ns.get(row).copied();
            let inside = if self.ascending { window <= end } else { window >= end && end != TIME_MIN_NS };
            if next.is_none() && !inside {
                break;
            }
            made = made.wrapping_add(1);
            if made.is_multiple_of(4096) && stop() {
                break;
            }
            match next {
                Some(time) if (self.ascending && time <= window) || (!self.ascending && time >= window) => {
                    let value = points.value.value(row);
                    out.times_ns.push(time);
                    out.value.push(value.as_field());
                    out.aux.iter_mut().zip(&points.aux).for_each(|(all, col)| all.push(col.get(row)));
                    previous = (!value.is_null()).then_some((time, value));
                    row += 1;
                }
                _ => {
                    let after = next.map(|time| (time, points.value.value(row)));
                    let value = self.value(window, previous.as_ref(), after.as_ref(), points.value.field_type());
                    out.push(window, &value);
                }
            }
            window = window.saturating_add(every);
            if let Some(tz) = self.windows.zone() {
                let now = zone_offset_ns(tz, window - 1);
                if now != zone {
                    let by = zone - now;
                    if by.abs() < self.windows.every_ns() {
                        window += by;
                    }
                    zone = now;
                }
            }
        }
        out
    }

    /// Whether no window is missing.
    // PERF: mostly none is, and then nothing is copied.
    fn has_all(&self, points: &Points) -> bool {
        let (from, to) = if self.ascending { self.range } else { (self.range.1, self.range.0) };
        let (first, last) = (self.windows.start(from, self.range), self.windows.start(to, self.range));
        let every = if self.ascending { self.windows.every_ns() } else { -self.windows.every_ns() };
        let next = |pair: &[i64]| pair[0].checked_add(every) == Some(pair[1]);
        let (Some(begin), Some(end)) = (points.times_ns.first(), points.times_ns.last()) else { return false };
        self.windows.zone().is_none()
            && first.min(last) != TIME_MIN_NS
            && (*begin, *end) == (first, last)
            && points.times_ns.windows(2).all(next)
    }

    fn value(
        &self,
        at: i64,
        previous: Option<&(i64, Value)>,
        next: Option<&(i64, Value)>,
        field_type: FieldType,
    ) -> Value {
        match self.fill {
            Fill::Null | Fill::None => Value::Null,
            // What is no number is filled with nothing of its kind.
            Fill::Integer(_) | Fill::Number(_) if field_type == FieldType::Boolean => Value::Boolean(false),
            Fill::Integer(_) | Fill::Number(_) if field_type == FieldType::String => Value::String("".into()),
            Fill::Integer(value) => Value::Integer(value).cast(field_type),
            Fill::Number(value) => Value::Float(value).cast(field_type),
            Fill::Previous => previous.map_or(Value::Null, |(_, value)| value.clone()),
            Fill::Linear => match (previous, next) {
                (Some((from, a)), Some((to, b))) => {
                    let every = self.windows.every_ns();
                    let (at, from, to) = (at / every, from / every, to / every);
                    match (a.as_f64(), b.as_f64()) {
                        (Some(a), Some(b)) => Value::Float(linear(at, from, to, a, b)).cast(field_type),
                        _ => Value::Null,
                    }
                }
                _ => Value::Null,
            },
        }
    }
}

/// The value at `at` on the line through two points.
pub(super) fn linear(at: i64, from: i64, to: i64, a: f64, b: f64) -> f64 {
    let slope = (b - a) / (to - from) as f64;
    slope * (at - from) as f64 + a
}

pub(super) fn types(columns: &[Col]) -> Vec<FieldType> {
    columns.iter().map(Col::field_type).collect()
}
