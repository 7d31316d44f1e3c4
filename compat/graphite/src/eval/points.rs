use super::Value;
use crate::fetch::Fetched;
use rhythmite_model::{Error, Result};
use std::collections::HashSet;
use std::sync::Arc;

/// Most points that a function may make up for one series.
const SERIES_POINTS_MAX: i64 = 10_000_000;

/// The points that one round holds: what was fetched, and what functions have made and not yet dropped.
#[derive(Debug)]
pub(crate) struct Points {
    held: usize,
    max: usize,
    /// Where fetched values are: series that share them hold nothing of their own.
    fetched: HashSet<*const Vec<f64>>,
}

impl Points {
    pub(super) fn new(max: usize, fetched: &Fetched) -> Self {
        let all = || fetched.all().map(|raw| &raw.values);
        let held = all().map(|values| values.len()).sum();
        Self { held, max, fetched: all().map(Arc::as_ptr).collect() }
    }

    /// A number of points to make up, before there is room for them.
    ///
    /// # Errors
    /// `Invalid` when a series or the request has no room for so many.
    pub(crate) fn make(&mut self, count: i64) -> Result<usize> {
        if count > SERIES_POINTS_MAX {
            return Err(Error::invalid(format!("{count} points are more than the {SERIES_POINTS_MAX} of a series")));
        }
        let count = usize::try_from(count).unwrap_or(0);
        self.hold(count)?;
        Ok(count)
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// The end of a call that began at `before`: of what it made only the result is left.
    pub(super) fn settle(&mut self, before: usize, result: Option<&Value>) -> Result<()> {
        self.held = before;
        self.hold(result.map_or(0, |value| self.own(value)))
    }

    fn hold(&mut self, count: usize) -> Result<()> {
        self.held = self.held.saturating_add(count);
        if self.held <= self.max {
            return Ok(());
        }
        Err(Error::invalid(format!("the request holds more than {} points at once", self.max)))
    }

    /// Points of a value that are not fetched ones; series that share theirs have a part each.
    fn own(&self, value: &Value) -> usize {
        let (one, many) = match value {
            Value::Series(series) => (series.as_slice(), [].as_slice()),
            Value::Lists(lists) => ([].as_slice(), lists.as_slice()),
            _ => return 0,
        };
        let series = one.iter().chain(many.iter().flatten());
        series
            .map(|s| match Arc::strong_count(&s.values) {
                1 => s.values.len(),
                _ if self.fetched.contains(&Arc::as_ptr(&s.values)) => 0,
                n => s.values.len().div_ceil(n),
            })
            .sum()
    }
}
