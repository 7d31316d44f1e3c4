//! Many values into one.

use rhythmite_model::{Error, Result};

/// An aggregation function as render functions name them. Unknown values (NaN) do not count,
/// except where said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggFunc {
    /// Arithmetic mean.
    Average,
    /// Mean with unknown values as zero.
    AvgZero,
    /// Middle value, mean of the middle two.
    Median,
    /// Sum.
    Sum,
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// First minus all others.
    Diff,
    /// Standard deviation of the population.
    Stddev,
    /// How many are known; zero when none is.
    Count,
    /// Largest minus smallest.
    Range,
    /// Product; unknown as soon as one value is.
    Multiply,
    /// Last known.
    Last,
}

impl AggFunc {
    /// Names with their functions: first the proper ones, then the aliases.
    pub const NAMES: [(&'static str, Self); 16] = [
        ("average", Self::Average),
        ("avg_zero", Self::AvgZero),
        ("median", Self::Median),
        ("sum", Self::Sum),
        ("min", Self::Min),
        ("max", Self::Max),
        ("diff", Self::Diff),
        ("stddev", Self::Stddev),
        ("count", Self::Count),
        ("range", Self::Range),
        ("multiply", Self::Multiply),
        ("last", Self::Last),
        ("rangeOf", Self::Range),
        ("avg", Self::Average),
        ("total", Self::Sum),
        ("current", Self::Last),
    ];

    /// The function of that name.
    ///
    /// # Errors
    /// `Invalid` for an unknown name.
    pub fn parse(name: &str) -> Result<Self> {
        Self::NAMES
            .iter()
            .find_map(|(n, f)| (*n == name).then_some(*f))
            .ok_or_else(|| Error::invalid(format!("Unsupported aggregation function: {name}")))
    }

    /// One value out of many; NaN when there is none. One pass, except for median and stddev.
    #[must_use]
    pub fn apply(self, values: &[f64]) -> f64 {
        let known = || values.iter().copied().filter(|v| !v.is_nan());
        match self {
            Self::Average => sum_and_count(values).map_or(f64::NAN, |(sum, n)| sum / n as f64),
            Self::AvgZero if values.is_empty() => f64::NAN,
            Self::AvgZero => sum_and_count(values).map_or(0.0, |(sum, _)| sum) / values.len() as f64,
            Self::Median => median(&mut known().collect::<Vec<_>>()),
            Self::Sum => sum_and_count(values).map_or(f64::NAN, |(sum, _)| sum),
            Self::Min => known().reduce(f64::min).unwrap_or(f64::NAN),
            Self::Max => known().reduce(f64::max).unwrap_or(f64::NAN),
            Self::Diff => known().reduce(|a, b| a - b).unwrap_or(f64::NAN),
            Self::Stddev => stddev(values),
            Self::Count => known().count() as f64,
            Self::Range => {
                let (min, max) = known().fold((f64::NAN, f64::NAN), |(lo, hi), v| (v.min(lo), v.max(hi)));
                max - min
            }
            Self::Multiply if values.is_empty() => f64::NAN,
            Self::Multiply => values.iter().product(),
            Self::Last => values.iter().rev().copied().find(|v| !v.is_nan()).unwrap_or(f64::NAN),
        }
    }
}

/// `None` when nothing is known.
fn sum_and_count(values: &[f64]) -> Option<(f64, usize)> {
    let (mut sum, mut count) = (0.0, 0);
    for v in values {
        if !v.is_nan() {
            sum += v;
            count += 1;
        }
    }
    (count > 0).then_some((sum, count))
}

/// Reorders its input.
fn median(known: &mut [f64]) -> f64 {
    if known.is_empty() {
        return f64::NAN;
    }
    let odd = known.len() % 2 == 1;
    let (below, upper, _) = known.select_nth_unstable_by(known.len() / 2, f64::total_cmp);
    if odd { *upper } else { (below.iter().copied().fold(f64::NEG_INFINITY, f64::max) + *upper) / 2.0 }
}

fn stddev(values: &[f64]) -> f64 {
    let Some((sum, count)) = sum_and_count(values) else { return f64::NAN };
    let mean = sum / count as f64;
    let squares: f64 = values.iter().filter(|v| !v.is_nan()).map(|v| (v - mean) * (v - mean)).sum();
    (squares / count as f64).sqrt()
}

/// The value below which `n` percent of the values lie: rank `n/100 * (count + 1)` rounded up, or
/// interpolated between its neighbours. Sorts its input, which must not hold NaN. NaN when empty;
/// `None` for a rank beyond the values, which takes an `n` above 100. A negative rank counts from
/// the end, as Python's indices do.
#[must_use]
pub fn percentile(values: &mut [f64], n: f64, interpolate: bool) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let (Some(first), Some(last)) = (values.first(), values.last()) else { return Some(f64::NAN) };
    let fractional = n / 100.0 * (values.len() as f64 + 1.0);
    let (whole, fraction) = (fractional.trunc(), fractional.fract());
    let rank = if interpolate { whole } else { whole + fraction.ceil() };
    // Ranks count from one.
    let len = values.len() as f64;
    let at = |rank: f64| match rank {
        0.0 => Some(*first),
        r if r == len + 1.0 => Some(*last),
        r if r > 0.0 => values.get(r as usize - 1).copied(),
        r => Some(len + r - 1.0).filter(|at| *at >= 0.0).and_then(|at| values.get(at as usize).copied()),
    };
    let value = at(rank)?;
    if !interpolate || rank >= len {
        return Some(value);
    }
    Some(value + fraction * (at(rank + 1.0)? - value))
}
