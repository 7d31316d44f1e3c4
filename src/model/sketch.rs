//! Quantiles that can be added up: counts of values by buckets whose bounds never depend on anything.
//!
//! A bucket holds the values between two neighbouring powers of [`RATIO`], so the middle of a bucket is at most
//! [`RELATIVE_ERROR`] of a value away from it. Counts of the same bucket may be added over time, over machines and by a
//! storage that sums: the quantile of the sums is that of all values together, which no sum or mean of quantiles is.
//!
//! A bucket has a name that can be part of a path: `37` and `-12` for powers, `n37` for the same of values below 0, `zero`.
//! [`Counts`] have a text of such names: `n16:2 zero:1 37:12`, ascending, is what coarser levels store of a window.
//!
//! Limits: values nearer to 0 than 2^-30 count as 0, those beyond 2^60 (infinities among them) as 2^60, NaN not at all. A
//! sketch has at most [`BUCKETS_MAX`] (a timer's flush) or [`STORED_BUCKETS_MAX`] buckets (a stored window's): of more the
//! lowest are made one. That rule, too, leaves the sum of sketches the sketch of all values: a bucket among the highest of
//! all is among the highest wherever it is.
//!
//! Source: the idea of DDSketch (Masson, Rim, Lee: VLDB 2019), with a fixed ratio so that all sketches agree.

use std::fmt;
use std::str::FromStr;

/// Powers of [`RATIO`] in one doubling.
const PER_DOUBLING: i16 = 16;
/// The bounds in one doubling: 2^(n/16).
const BOUNDS: [f64; 16] = [
    1.0,
    1.044_273_782_427_413_8,
    1.090_507_732_665_257_7,
    1.138_788_634_756_691_6,
    1.189_207_115_002_721,
    1.241_857_812_073_484,
    1.296_839_554_651_009_6,
    1.354_255_546_936_892_7,
    std::f64::consts::SQRT_2,
    1.476_826_145_939_499_3,
    1.542_210_825_407_940_7,
    1.610_490_331_949_254_3,
    1.681_792_830_507_429,
    1.756_252_160_373_299_5,
    1.834_008_086_409_342_4,
    1.915_206_561_397_147_4,
];
/// From one bound to the next: the 16th root of 2.
pub const RATIO: f64 = 1.044_273_782_427_413_8;
/// How far a value of a bucket is from its middle, at most, as a share of the value.
pub const RELATIVE_ERROR: f64 = (RATIO - 1.0) / (RATIO + 1.0);
/// Buckets of one sketch, ten doublings; of more the lowest are made one ([`Counts`]).
pub const BUCKETS_MAX: usize = 160;
/// Buckets of one stored sketch, 64 doublings of one sign; of more the lowest are made one ([`Counts::cap`]).
pub const STORED_BUCKETS_MAX: usize = 1024;
/// Counts up to here are exact.
const COUNT_MAX: u64 = 1 << 53;
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
        // PERF: a fifth of what a logarithm takes, and the same on every machine.
        // Proof: `cargo bench -p rhythmite-engine --bench rollup`, policies with sketches.
        let bits = value.abs().to_bits();
        let doubling = (bits >> 52) as i16 - 1023;
        let part = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
        let above = BOUNDS.iter().map(|bound| i16::from(part > *bound)).sum::<i16>();
        let power = doubling * PER_DOUBLING + above;
        if power < POWER_MIN {
            return Some(Self::ZERO);
        }
        Some(Self::at(power.min(POWER_MAX), value < 0.0))
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
        let (digits, below_one) = power.strip_prefix('-').map_or((power, false), |digits| (digits, true));
        let power = i16::try_from(whole(digits)?).map_err(|_| NoBucket)?;
        // One name each: no `-0`.
        if below_one && power == 0 {
            return Err(NoBucket);
        }
        Self::checked(if below_one { -power } else { power }, negative).ok_or(NoBucket)
    }
}

/// A number as [`push_digits`] writes it: no sign, no zeros in front; at most sixteen digits.
fn whole(text: &str) -> Result<u64, NoBucket> {
    // PERF: a year of hours of a hundred hosts are some fifty million of these.
    // Proof: `cargo bench -p rhythmite-engine --bench rollup`, the lines of sketches.
    let digits = text.as_bytes();
    if digits.is_empty() || digits.len() > 16 || (digits.len() > 1 && digits[0] == b'0') {
        return Err(NoBucket);
    }
    digits.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'9' => Ok(number * 10 + u64::from(digit - b'0')),
        _ => Err(NoBucket),
    })
}

/// A text that names no bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBucket;

/// Counts by bucket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts(Vec<(Bucket, f64)>);

impl Counts {
    /// No counts.
    pub const EMPTY: Self = Self(Vec::new());

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
        let mut counts = Self(counts);
        counts.cap(BUCKETS_MAX);
        counts
    }

    /// Counts values in any order, each as one. NaN is left out. As many buckets as there are.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut buckets: Vec<Bucket> = values.filter_map(Bucket::of).collect();
        buckets.sort_unstable();
        Self(buckets.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as f64)).collect())
    }

    /// Makes the lowest buckets one where there are more than `most`; whether there were.
    pub fn cap(&mut self, most: usize) -> bool {
        let spare = self.0.len().saturating_sub(most.max(1));
        let lost: f64 = self.0.drain(..spare).map(|(_, count)| count).sum();
        if let Some((_, lowest)) = self.0.first_mut().filter(|_| spare > 0) {
            *lowest += lost;
        }
        spare > 0
    }

    /// Adds the counts of another sketch.
    pub fn add(&mut self, other: &Self) {
        if self.0.last().is_none_or(|last| other.0.first().is_some_and(|first| last.0 < first.0)) {
            self.0.extend_from_slice(&other.0);
            return;
        }
        let mine = std::mem::take(&mut self.0);
        self.0.reserve(mine.len().max(other.0.len()));
        let (mut mine, mut theirs) = (mine.into_iter().peekable(), other.0.iter().copied().peekable());
        loop {
            let (a, b) = (mine.peek().map(|a| a.0), theirs.peek().map(|b| b.0));
            let next = match (a, b) {
                (Some(a), Some(b)) if a == b => mine.next().zip(theirs.next()).map(|(a, b)| (a.0, a.1 + b.1)),
                (Some(a), b) if b.is_none_or(|b| a < b) => mine.next(),
                _ => theirs.next(),
            };
            let Some(next) = next else { return };
            self.0.push(next);
        }
    }

    /// How many buckets have a count.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many values there are.
    pub fn total(&self) -> f64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// The value that stands for the one which `below` others come before, counted from 0; `None` if there are no more
    /// than those.
    pub fn nth(&self, below: f64) -> Option<f64> {
        let mut so_far = 0.0;
        let holds = |(_, count): &&(Bucket, f64)| {
            so_far += count;
            so_far > below
        };
        self.0.iter().find(holds).map(|(bucket, _)| bucket.value())
    }

    /// The same where the least and the greatest value are known: these as they are, others between them.
    pub fn nth_within(&self, below: f64, least: f64, greatest: f64) -> Option<f64> {
        match below {
            _ if self.is_empty() => None,
            0.0 => Some(least),
            _ if below == self.total() - 1.0 => Some(greatest),
            _ => self.nth(below).map(|value| value.max(least).min(greatest)),
        }
    }

    /// What the share `q` (from 0 to 1) of all values does not exceed, in between two of them as far as `q` lies between their
    /// shares (SQL's `percentile_cont`; the median at 0.5): as near as buckets are to the two values. `None` without a value.
    pub fn continuous(&self, q: f64, least: f64, greatest: f64) -> Option<f64> {
        let rank = q * (self.total() - 1.0);
        let (low, high) = (rank.floor(), rank.ceil());
        let below = self.nth_within(low, least, greatest)?;
        if low == high {
            return Some(below);
        }
        let above = self.nth_within(high, least, greatest)?;
        // One of them may be infinite, so their difference is not asked for.
        Some(below * (high - rank) + above * (rank - low)).map(|between| between.max(below).min(above))
    }

    /// The buckets that have a count, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (Bucket, f64)> + Clone {
        self.0.iter().copied()
    }
}

impl Counts {
    /// Appends the text; what a count has behind the point is left out.
    pub fn write(&self, out: &mut String) {
        for (at, (bucket, count)) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(' ');
            }
            if *bucket == Bucket::ZERO {
                out.push_str("zero");
            } else {
                if bucket.0 < 0 {
                    out.push('n');
                }
                if bucket.power() < 0 {
                    out.push('-');
                }
                push_digits(out, u64::from(bucket.power().unsigned_abs()));
            }
            out.push(':');
            push_digits(out, *count as u64);
        }
    }
}

fn push_digits(out: &mut String, number: u64) {
    if number >= 10 {
        push_digits(out, number / 10);
    }
    out.push(char::from(b'0' + (number % 10) as u8));
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(&text)
    }
}

impl FromStr for Counts {
    type Err = NoBucket;

    /// Whole counts of ascending buckets; nothing of an empty text.
    fn from_str(text: &str) -> Result<Self, NoBucket> {
        let mut counts: Vec<(Bucket, f64)> = Vec::new();
        for word in text.split(' ').filter(|_| !text.is_empty()) {
            let (bucket, count) = word.split_once(':').ok_or(NoBucket)?;
            let (bucket, count) = (bucket.parse()?, whole(count)?);
            if count == 0 || count > COUNT_MAX || counts.last().is_some_and(|(last, _)| *last >= bucket) {
                return Err(NoBucket);
            }
            counts.push((bucket, count as f64));
        }
        Ok(Self(counts))
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
    fn bounds_are_those_of_the_logarithm() {
        for power in POWER_MIN..=POWER_MAX {
            let bound = (f64::from(power) / f64::from(PER_DOUBLING)).exp2();
            // Just below a bound and just above it; a bound itself may be either when it is rounded.
            for (value, expected) in [(bound * (1.0 - 1e-12), power), (bound * (1.0 + 1e-12), power + 1)] {
                let expected = expected.min(POWER_MAX);
                assert_eq!(Bucket::of(value).unwrap().to_string(), expected.to_string(), "{value:e}");
                assert_eq!(Bucket::of(-value).unwrap().to_string(), format!("n{expected}"), "{value:e}");
            }
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

    #[test]
    fn counts_have_one_text() {
        let counts = Counts::of([2.0, -2.0, 0.0, 2.0, f64::NAN, f64::INFINITY, 1e-300, -0.0].into_iter());
        assert_eq!(counts.to_string(), "n16:1 zero:3 16:2 960:1");
        assert_eq!(counts.to_string().parse(), Ok(counts.clone()));
        assert_eq!((counts.total(), "".parse()), (7.0, Ok(Counts::default())));
        for text in [
            " ",
            "16",
            "16:",
            "16:0",
            "16:-1",
            "16:1.5",
            "16:1 ",
            " 16:1",
            "16:1  17:1",
            "17:1 16:1",
            "16:1 16:1",
            "1000:1",
            "16:9007199254740993",
            "16:1:1",
            "16:1,17:1",
        ] {
            assert_eq!(text.parse::<Counts>(), Err(NoBucket), "{text:?}");
        }
    }

    #[test]
    fn the_nth_value_is_counted_from_zero() {
        let counts = Counts::of([5.0, 1.0, 1.0, 100.0].into_iter());
        let near = |below: f64, value: f64| (counts.nth(below).unwrap() / value - 1.0).abs() < RELATIVE_ERROR * 1.001;
        for (below, value) in [(0.0, 1.0), (1.0, 1.0), (1.5, 1.0), (2.0, 5.0), (3.0, 100.0)] {
            assert!(near(below, value), "{below}: {:?}", counts.nth(below));
        }
        assert_eq!((counts.nth(4.0), Counts::default().nth(0.0)), (None, None));
    }

    #[test]
    fn quantiles_lie_between_values() {
        let inf = f64::INFINITY;
        for (values, q, exact) in [
            (&[7.0][..], 0.3, Some(7.0)),
            (&[1.0, 2.0], 0.5, Some(1.5)),
            (&[1.0, 2.0], 0.0, Some(1.0)),
            (&[1.0, 2.0], 1.0, Some(2.0)),
            (&[-8.0, 1.0, 2.0, 3.0, 100.0], 0.5, Some(2.0)),
            (&[-8.0, 1.0, 2.0, 3.0, 100.0], 0.6, Some(2.4)),
            (&[-8.0, -7.0, -6.0], 0.25, Some(-7.5)),
            (&[0.0, 0.0, 0.0, 5.0], 0.5, Some(0.0)),
            (&[5.0, 5.0, 5.0], 0.4, Some(5.0)),
            // Infinities are known where they are the least or the greatest.
            (&[-inf, 4.0, inf], 0.5, Some(4.0)),
            (&[-inf, 4.0, inf], 0.25, Some(-inf)),
            (&[4.0, inf], 0.5, Some(inf)),
            (&[f64::NAN], 0.5, None),
            (&[], 0.5, None),
        ] {
            let numbers = values.iter().copied().filter(|v| !v.is_nan());
            let (least, greatest) = (numbers.clone().fold(inf, f64::min), numbers.fold(-inf, f64::max));
            let found = Counts::of(values.iter().copied()).continuous(q, least, greatest);
            let near = match (found, exact) {
                (Some(found), Some(exact)) => {
                    found == exact || (found - exact).abs() <= exact.abs() * RELATIVE_ERROR * 1.001
                }
                (found, exact) => found == exact,
            };
            assert!(near, "{values:?} {q}: {found:?} for {exact:?}");
        }
    }
}
