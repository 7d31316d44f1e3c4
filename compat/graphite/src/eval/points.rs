use super::Value;
use crate::fetch::Fetched;
use rhythmite_model::{Error, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// Most points that a function may make up for one series.
const SERIES_POINTS_MAX: i64 = 10_000_000;

/// Bytes that a series takes beside its points and names: its tags, looks and vectors.
const SERIES_BYTES: usize = 400;

/// Least bytes for series and names; with many points allowed it is as many as they take.
const ROOM_MIN: usize = 64 << 20;

/// What one round holds: points that were fetched, what functions have made and not yet dropped, and the room that
/// series and their names take, of which a target may make many more than points.
#[derive(Debug)]
pub(crate) struct Points {
    held: Held,
    max: Held,
    /// Where fetched values are: series that share them hold nothing of their own.
    fetched: HashSet<*const Vec<f64>>,
}

/// Points, and bytes of series and names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    points: usize,
    room: usize,
}

impl Points {
    pub(super) fn new(max: usize, fetched: &Fetched) -> Self {
        let all = || fetched.all().map(|raw| &raw.values);
        let points = all().map(|values| values.len()).sum();
        let max = Held { points: max, room: max.saturating_mul(size_of::<f64>()).max(ROOM_MIN) };
        Self { held: Held { points, room: 0 }, max, fetched: all().map(Arc::as_ptr).collect() }
    }

    /// A number of points to make up, before there is room for them.
    ///
    /// # Errors
    /// `Invalid` when a series or the request has no room for so many.
    pub(crate) fn make(&mut self, count: i64) -> Result<usize> {
        if count > SERIES_POINTS_MAX {
            return Err(Error::invalid(format!("{count} points are more than the {SERIES_POINTS_MAX} of a series")));
        }
        let points = usize::try_from(count).unwrap_or(0);
        self.hold(Held { points, room: 0 })?;
        Ok(points)
    }

    /// Whether there would be room for so many points as well, before the first of them is made.
    ///
    /// # Errors
    /// `Invalid` when there would not.
    pub(crate) fn expect(&self, points: usize) -> Result<()> {
        if self.held.points.saturating_add(points) > self.max.points {
            return Err(Error::invalid(format!("the request would hold more than {} points at once", self.max.points)));
        }
        Ok(())
    }

    /// Room for `series` series with names of `bytes` each, before they are made.
    ///
    /// # Errors
    /// `Invalid` when the request has no room for so many.
    pub(crate) fn series(&mut self, series: usize, bytes: usize) -> Result<()> {
        self.hold(Held { points: 0, room: series.saturating_mul(SERIES_BYTES.saturating_add(bytes)) })
    }

    /// Room for names that a function may make: each result's may hold the longest name or text it is given, once for
    /// each argument that is no series.
    ///
    /// # Errors
    /// `Invalid` when the request has no room for them.
    pub(super) fn names_of<'a>(&mut self, args: impl Iterator<Item = &'a Value>) -> Result<()> {
        let (mut count, mut longest, mut others) = (0_usize, 0, 0_usize);
        for value in args {
            if let Value::Str(text) = value {
                longest = longest.max(text.len());
            }
            others += usize::from(!value.is_series());
            for s in value.all_series() {
                count += 1;
                longest = longest.max(s.name.len());
            }
        }
        self.hold(Held { points: 0, room: count.saturating_mul(longest).saturating_mul(others.max(1)) })
    }

    pub(super) fn held(&self) -> Held {
        self.held
    }

    /// The end of a call that began at `before`: of what it made only the result is left.
    pub(super) fn settle(&mut self, before: Held, result: Option<&Value>) -> Result<()> {
        self.held = before;
        self.hold(result.map_or(Held::default(), |value| self.own(value)))
    }

    fn hold(&mut self, more: Held) -> Result<()> {
        self.held.points = self.held.points.saturating_add(more.points);
        self.held.room = self.held.room.saturating_add(more.room);
        if self.held.points > self.max.points {
            return Err(Error::invalid(format!("the request holds more than {} points at once", self.max.points)));
        }
        if self.held.room > self.max.room {
            let max = self.max.room;
            return Err(Error::invalid(format!("the request holds more than {max} bytes of series and names at once")));
        }
        Ok(())
    }

    /// Series with their names, and their points that are not fetched ones; of shared points each has a part.
    fn own(&self, value: &Value) -> Held {
        let mut own = Held::default();
        for s in value.all_series() {
            own.room += SERIES_BYTES + s.name.len() + s.path_expression.len();
            own.points += match Arc::strong_count(&s.values) {
                1 => s.values.len(),
                _ if self.fetched.contains(&Arc::as_ptr(&s.values)) => 0,
                n => s.values.len().div_ceil(n),
            };
        }
        own
    }
}
