//! Series and what every function does with them: align, aggregate, consolidate.
//!
//! Values are `f64` in one vector with NaN for "no value". A series covers `[start_s, end_s)` in
//! steps of `step_s`; value `i` belongs to `start_s + i * step_s`.

mod aggregate;
mod consolidate;
mod fold;
mod normalize;
mod rollup;
mod tags;
#[cfg(test)]
mod tests;

pub use aggregate::{AggFunc, percentile};
pub use consolidate::Consolidation;
pub use fold::{Fold, FoldColumn};
pub use normalize::{Normalized, lcm, normalize};
pub(crate) use normalize::{known_enough, known_enough_of};
pub use rollup::{RollupMethod, roll_up};
pub use tags::{TagValue, Tags};

use std::sync::Arc;

/// One series of an answer, or on its way to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the answer calls it.
    pub name: String,
    /// The pattern it was fetched by, or its name once a function made it.
    pub path_expression: String,
    /// Tags; `name` is always one of them.
    pub tags: Tags,
    /// Time of the first value.
    pub start_s: i64,
    /// End, exclusive; not always `start + len * step` (some functions leave it alone).
    pub end_s: i64,
    /// Seconds between values.
    pub step_s: i64,
    /// Values; NaN is "no value". Shared until changed.
    pub values: Arc<Vec<f64>>,
    /// How values are merged when there are more than wanted.
    pub consolidation: Consolidation,
    /// Smallest share of known values for which an aggregate is known.
    pub x_files_factor: f64,
    /// What drawing needs to know.
    pub look: Look,
}

/// Hints for drawing; other formats ignore them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// `color()`
    pub color: Option<String>,
    /// `alpha()`
    pub alpha: Option<f64>,
    /// `lineWidth()`
    pub line_width: Option<f64>,
    /// `dashed()`: the length of a dash.
    pub dashed: Option<f64>,
    /// `secondYAxis()`
    pub second_y_axis: bool,
    /// `drawAsInfinite()`
    pub draw_as_infinite: bool,
    /// `stacked()`, `areaBetween()`
    pub stacked: bool,
    /// `areaBetween()`: the lower edge is not drawn.
    pub invisible: bool,
    /// `verticalLine()` without a label: JSON shows no name for it, unless it is given one later.
    pub unnamed: bool,
}

/// The name of what has none.
pub const UNNAMED: &str = "None";

impl Series {
    /// A series named after what made it; tags are read from the name.
    #[must_use]
    pub fn new(name: impl Into<String>, start_s: i64, end_s: i64, step_s: i64, values: Vec<f64>) -> Self {
        let name = name.into();
        Self {
            tags: Tags::of_name(&name),
            path_expression: name.clone(),
            name,
            start_s,
            end_s,
            step_s,
            values: Arc::new(values),
            consolidation: Consolidation::default(),
            x_files_factor: 0.0,
            look: Look::default(),
        }
    }

    /// The same series under another name with other values. Drawing hints are not inherited, and
    /// the new name becomes the path expression.
    #[must_use]
    pub fn derived(&self, name: String, values: Vec<f64>) -> Self {
        Self {
            path_expression: name.clone(),
            name,
            tags: self.tags.clone(),
            start_s: self.start_s,
            end_s: self.end_s,
            step_s: self.step_s,
            values: Arc::new(values),
            consolidation: self.consolidation.clone(),
            x_files_factor: self.x_files_factor,
            look: Look::default(),
        }
    }

    /// Sets the name and the path expression.
    pub fn rename(&mut self, name: String) {
        self.path_expression.clone_from(&name);
        self.name = name;
    }

    /// Values to change in place; copied first if they are shared.
    pub fn values_mut(&mut self) -> &mut Vec<f64> {
        Arc::make_mut(&mut self.values)
    }

    /// Changes every known value.
    pub fn map_known(&mut self, f: impl Fn(f64) -> f64) {
        // PERF: shared values are read once and written once, not copied and then changed.
        let change = |v: &f64| if v.is_nan() { *v } else { f(*v) };
        match Arc::get_mut(&mut self.values) {
            Some(values) => values.iter_mut().for_each(|v| *v = change(v)),
            None => self.values = Arc::new(self.values.iter().map(change).collect()),
        }
    }

    /// Points with their times: as many as the range has room for and values exist.
    pub fn points(&self) -> impl ExactSizeIterator<Item = (i64, f64)> + DoubleEndedIterator + '_ {
        let (start, step) = (self.start_s, self.step_s);
        self.values[..self.point_count()].iter().enumerate().map(move |(i, v)| (start + i as i64 * step, *v))
    }

    /// How many points an answer shows.
    #[must_use]
    pub fn point_count(&self) -> usize {
        if self.step_s <= 0 || self.end_s < self.start_s {
            return 0;
        }
        let room = (self.end_s - self.start_s) / self.step_s + 1;
        usize::try_from(room).unwrap_or(usize::MAX).min(self.values.len())
    }
}
