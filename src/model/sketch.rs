//! Quantiles that can be added up: counts of values by buckets whose bounds never depend on anything.
//!
//! A bucket holds the values between two neighbouring powers of [`RATIO`], so the middle of a bucket is at most
//! [`RELATIVE_ERROR`] of a value away from it. Counts of the same bucket may be added over time, over machines and by a
//! storage that sums: the quantile of the sums is that of all values together, which no sum or mean of quantiles is.
//!
//! A bucket has a name that can be part of a path: `37` and `-12` for powers, `n37` for the same of values below 0, `zero`.
//!
//! Source: the idea of DDSketch (Masson, Rim, Lee: VLDB 2019), with a fixed ratio so that all sketches agree.

use std::fmt;
use std::str::FromStr;

/// Powers of [`RATIO`] in one doubling.
const PER_DOUBLING: i16 = 16;
/// From one bound to the next: the 16th root of 2.
pub const RATIO: f64 = 1.044_273_782_427_413_8;
/// How far a value of a bucket is from its middle, at most, as a share of the value.
pub const RELATIVE_ERROR: f64 = (RATIO - 1.0) / (RATIO + 1.0);
/// Buckets of one sketch, ten doublings; of more the lowest are made one ([`Counts`]).
pub const BUCKETS_MAX: usize = 160;
/// Values are at least 2^-30 from 0, or count as 0; above 2^60 they count as if they were that.
const POWER_MIN: i16 = -30 * PER_DOUBLING;
const POWER_MAX: i16 = 60 * PER_DOUBLING;

/// A bucket; they are ordered as their values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(i16);

impl Bucket {
    /// The bucket of 0.
    pub const ZERO: Self = Self(0);

    /// The bucket of a value; `None` for NaN.
    pub fn of(value: f64) -> Option<Self> {
        if value.is_nan() {
            return None;
        }
        let power = (value.abs().log2() * f64::from(PER_DOUBLING)).ceil();
        if power < f64::from(POWER_MIN) {
            return Some(Self::ZERO);
        }
        let power = power.min(f64::from(POWER_MAX)) as i16;
        Some(Self::at(power, value < 0.0))
    }

    /// `None` for a power that no bucket has.
    fn checked(power: i16, negative: bool) -> Option<Self> {
        (POWER_MIN..=POWER_MAX).contains(&power).then(|| Self::at(power, negative))
    }

    fn at(power: i16, negative: bool) -> Self {
        let above_zero = power - POWER_MIN + 1;
        Self(if negative { -above_zero } else { above_zero })
    }

    fn power(self) -> i16 {
        self.0.abs() - 1 + POWER_MIN
    }

    /// Its middle: what stands for all its values.
    pub fn value(self) -> f64 {
        if self == Self::ZERO {
            return 0.0;
        }
        let bound = (f64::from(self.power()) / f64::from(PER_DOUBLING)).exp2();
        (2.0 * bound / (RATIO + 1.0)).copysign(f64::from(self.0))
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("zero"),
            1.. => write!(f, "{}", self.power()),
            _ => write!(f, "n{}", self.power()),
        }
    }
}

impl FromStr for Bucket {
    type Err = NoBucket;

    fn from_str(text: &str) -> Result<Self, NoBucket> {
        if text == "zero" {
            return Ok(Self::ZERO);
        }
        let (power, negative) = text.strip_prefix('n').map_or((text, false), |power| (power, true));
        let found = power.parse().ok().and_then(|power| Self::checked(power, negative)).ok_or(NoBucket)?;
        // One name each: no `+1`, no `01`.
        if found.to_string() == text { Ok(found) } else { Err(NoBucket) }
    }
}

/// A text that names no bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBucket;

/// Counts by bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts(Vec<(Bucket, f64)>);

impl Counts {
    /// Counts the values of an ascending list, each as `weight`. NaN is left out. If there are more than
    /// [`BUCKETS_MAX`] buckets the lowest are made one, so that high quantiles stay right.
    pub fn of_ascending(values: &[f64], weight: f64) -> Self {
        let mut counts: Vec<(Bucket, f64)> = Vec::new();
        for bucket in values.iter().filter_map(|value| Bucket::of(*value)) {
            match counts.last_mut().filter(|(last, _)| *last == bucket) {
                Some((_, count)) => *count += weight,
                None => counts.push((bucket, weight)),
            }
        }
        if let Some(spare) = counts.len().checked_sub(BUCKETS_MAX) {
            let lost: f64 = counts.drain(..spare).map(|(_, count)| count).sum();
            counts[0].1 += lost;
        }
        Self(counts)
    }

    /// The buckets that have a count, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (Bucket, f64)> + Clone {
        self.0.iter().copied()
    }
}

/// The smallest value that the share `q` (from 0 to 1) of all does not exceed; `None` without a value. `counts` ascend.
pub fn quantile(counts: impl Iterator<Item = (Bucket, f64)> + Clone, q: f64) -> Option<f64> {
    let counts = counts.filter(|(_, count)| *count > 0.0);
    let total: f64 = counts.clone().map(|(_, count)| count).sum();
    // Weights are seldom whole; what they lose by being added must not lead to the next bucket.
    let wanted = q * total * (1.0 - 1e-12);
    let mut so_far = 0.0;
    let mut last = None;
    for (bucket, count) in counts {
        so_far += count;
        last = Some(bucket.value());
        if so_far >= wanted {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_near_its_values_and_has_one_name() {
        for value in [1e-9, 0.004, 0.5, 1.0, 1.0000001, 2.0, 37.5, 1000.0, 86_400_000.0, 1e18] {
            for value in [value, -value] {
                let bucket = Bucket::of(value).unwrap();
                let off = (bucket.value() - value).abs() / value.abs();
                assert!(off <= RELATIVE_ERROR * (1.0 + 1e-9), "{value}: {off}");
                assert_eq!(bucket.to_string().parse(), Ok(bucket));
            }
        }
        for (value, name) in [(0.0, "zero"), (1e-10, "zero"), (1.0, "0"), (2.0, "16"), (-2.0, "n16"), (0.5, "-16")] {
            assert_eq!(Bucket::of(value).unwrap().to_string(), name);
        }
        assert_eq!(Bucket::of(f64::INFINITY), Bucket::of(1e300));
        assert_eq!(Bucket::of(f64::NAN), None);
        for text in ["", "n", "+1", "01", "-0", "961", "-481", "zeros", "n+1", "1.5"] {
            assert_eq!(text.parse::<Bucket>(), Err(NoBucket), "{text}");
        }
    }

    #[test]
    fn buckets_are_ordered_as_values() {
        let values = [-1e9, -2.0, -0.1, 0.0, 0.1, 1.0, 3.0, 1e9];
        let buckets: Vec<Bucket> = values.iter().map(|v| Bucket::of(*v).unwrap()).collect();
        assert!(buckets.is_sorted());
        assert!(buckets.iter().map(|b| b.value()).is_sorted());
    }

    /// The quantile of the values themselves, by nearest rank.
    fn exact(values: &[f64], q: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1]
    }

    #[test]
    fn quantiles_of_added_counts_are_those_of_all_values() {
        // An hour of minutes: busy ones are slow, so that no mean of percentiles would do.
        let mut all = Vec::new();
        let mut added: Vec<(Bucket, f64)> = Vec::new();
        for minute in 0..60_u32 {
            let n = if minute % 10 == 0 { 5_000 } else { 50 };
            let mut values: Vec<f64> =
                (0..n).map(|i| f64::from(i * 7919 % n + 1) * if minute % 10 == 0 { 3.7 } else { 0.2 }).collect();
            values.sort_by(f64::total_cmp);
            added.extend(Counts::of_ascending(&values, 1.0).iter());
            all.extend(values);
        }
        added.sort_by_key(|(bucket, _)| *bucket);
        for q in [0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let (got, want) = (quantile(added.iter().copied(), q).unwrap(), exact(&all, q));
            assert!((got - want).abs() <= want * RELATIVE_ERROR * 1.001, "{q}: {got} for {want}");
        }
        assert_eq!(quantile([].into_iter(), 0.5), None);
    }

    #[test]
    fn too_many_buckets_lose_the_lowest() {
        let values: Vec<f64> = (0..400).map(|i| RATIO.powi(i)).collect();
        let counts = Counts::of_ascending(&values, 0.1);
        assert_eq!(counts.iter().count(), BUCKETS_MAX);
        let total: f64 = counts.iter().map(|(_, count)| count).sum();
        assert!((total - 40.0).abs() < 1e-9);
        let (got, want) = (quantile(counts.iter(), 0.9).unwrap(), exact(&values, 0.9));
        assert!((got - want).abs() <= want * RELATIVE_ERROR * 1.001);
    }
}
