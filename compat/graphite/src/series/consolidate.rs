//! Fewer points out of many: what happens when an answer has more than wanted, or when series of
//! different steps meet.

use super::Series;
use rhythmite_model::{Error, Result};
use std::borrow::Cow;
use std::sync::Arc;

/// How a series wants its values merged. Kept by name, because the name is part of some answers
/// and an unknown one is an error only when it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consolidation(Cow<'static, str>);

impl Default for Consolidation {
    fn default() -> Self {
        Self(Cow::Borrowed("average"))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Merge {
    Sum,
    Average,
    AvgZero,
    Max,
    Min,
    First,
    Last,
}

impl Consolidation {
    /// Names that mean something.
    pub const NAMES: [&'static str; 8] = ["sum", "average", "avg", "avg_zero", "min", "max", "first", "last"];

    /// A way of merging by name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(Cow::Owned(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Merges every `per_point` values into one; the last group may be shorter. A group is known
    /// when known/`per_point` >= `x_files_factor` and at least one value is. One pass.
    ///
    /// # Errors
    /// `Invalid` for an unknown name.
    pub fn apply(&self, values: &[f64], per_point: usize, x_files_factor: f64) -> Result<Vec<f64>> {
        let merge = match self.name() {
            "sum" => Merge::Sum,
            "average" | "avg" => Merge::Average,
            "avg_zero" => Merge::AvgZero,
            "max" => Merge::Max,
            "min" => Merge::Min,
            "first" => Merge::First,
            "last" => Merge::Last,
            other => return Err(Error::invalid(format!("Invalid consolidation function: '{other}'"))),
        };
        let per_point = per_point.max(1);
        Ok(values.chunks(per_point).map(|group| merge.one(group, per_point, x_files_factor)).collect())
    }
}

impl Merge {
    fn one(self, group: &[f64], per_point: usize, x_files_factor: f64) -> f64 {
        let known = group.iter().filter(|v| !v.is_nan()).count();
        if known == 0 || (known as f64 / per_point as f64) < x_files_factor {
            return f64::NAN;
        }
        let mut values = group.iter().copied().filter(|v| !v.is_nan());
        match self {
            Self::Sum => values.sum(),
            Self::Average => values.sum::<f64>() / known as f64,
            Self::AvgZero => values.sum::<f64>() / group.len() as f64,
            Self::Max => values.fold(f64::NEG_INFINITY, f64::max),
            Self::Min => values.fold(f64::INFINITY, f64::min),
            Self::First => values.next().unwrap_or(f64::NAN),
            Self::Last => values.next_back().unwrap_or(f64::NAN),
        }
    }
}

impl Series {
    /// The values with `per_point` of them merged into one; the step becomes as much longer.
    ///
    /// # Errors
    /// `Invalid` when the series asks for an unknown consolidation.
    pub fn consolidate(&mut self, per_point: usize) -> Result<()> {
        if per_point > 1 {
            self.values = Arc::new(self.consolidation.apply(&self.values, per_point, self.x_files_factor)?);
            self.step_s = self.step_s.saturating_mul(i64::try_from(per_point).unwrap_or(i64::MAX));
        }
        Ok(())
    }
}
