//! What a flush tells of a timer: count, sum, mean, percentiles, histogram.
//!
//! Only the count knows sample rates; everything else is of the values received. A percentile
//! is of the lowest `round(p / 100 * n)` values (a negative one of the highest), so it has a
//! mean and a sum of its own; one that rounds to no value is left out. Ours: the buckets of a sketch, of which quantiles over
//! longer times can be made.
//!
//! Source: npm statsd 0.9.0, measured; vectors under `tests/data`.

use std::fmt::Write;

use rhythmite_model::sketch::Counts;

use crate::number;
use crate::options::{Histogram, Options};

/// The names that do not depend on options, in the order they are sent.
const PLAIN: [&str; 9] = ["std", "upper", "lower", "count", "count_ps", "sum", "sum_squares", "mean", "median"];

/// Which values are sent and under which names, worked out once.
#[derive(Clone, Debug)]
pub struct TimerPlan {
    percentiles: Vec<Percentile>,
    plain: [bool; PLAIN.len()],
    histograms: Vec<Bins>,
    sketches: Vec<String>,
    interval_s: f64,
}

#[derive(Clone, Debug)]
struct Percentile {
    value: f64,
    /// Count, mean, boundary, sum, sum of squares; `None` is not sent.
    names: [Option<String>; 5],
}

#[derive(Clone, Debug)]
struct Bins {
    metric: String,
    /// Upper limit and name.
    bins: Vec<(f64, String)>,
}

impl TimerPlan {
    /// The plan `options` ask for.
    pub fn new(options: &Options) -> Self {
        let wanted = &options.calculated_timer_metrics;
        let allowed = |name: &str| wanted.is_empty() || wanted.contains(&general_name(name));
        let mut percentiles: Vec<Percentile> = Vec::new();
        for &value in &options.percent_threshold {
            let clean = number::format(value).replacen('.', "_", 1).replacen('-', "top", 1);
            let bound = if value > 0.0 { "upper" } else { "lower" };
            let names = ["count", "mean", bound, "sum", "sum_squares"]
                .map(|what| Some(format!("{what}_{clean}")).filter(|name| allowed(name)));
            if percentiles.iter().all(|p| p.value != value) {
                percentiles.push(Percentile { value, names });
            }
        }
        let histograms =
            if allowed("histogram") { options.histogram.iter().map(Bins::new).collect() } else { Vec::new() };
        TimerPlan {
            percentiles,
            plain: PLAIN.map(allowed),
            histograms,
            sketches: options.timer_sketches.clone(),
            interval_s: options.flush_interval_ms() as f64 / 1000.0,
        }
    }

    /// Gives every value of the timer `key` to `send`, with the name behind the key.
    ///
    /// `samples` are sorted in place; `count` is the number of values, scaled by their sample
    /// rates. Without samples only the counts are sent, as 0.
    pub fn emit(&self, key: &str, samples: &mut [f64], count: f64, mut send: impl FnMut(&str, f64)) {
        if samples.is_empty() {
            for i in [3, 4] {
                if self.plain[i] {
                    send(PLAIN[i], 0.0);
                }
            }
            return;
        }
        samples.sort_unstable_by(f64::total_cmp);
        let all = Part::of(samples);
        for percentile in &self.percentiles {
            percentile.emit(samples, &all, &mut send);
        }
        let n = samples.len();
        let mean = all.sum / n as f64;
        let squared_distance: f64 = samples.iter().map(|v| (v - mean) * (v - mean)).sum();
        let mid = n / 2;
        let median = if n % 2 == 1 { samples[mid] } else { (samples[mid - 1] + samples[mid]) / 2.0 };
        let values = [
            (squared_distance / n as f64).sqrt(),
            samples[n - 1],
            samples[0],
            count,
            count / self.interval_s,
            all.sum,
            all.squares,
            mean,
            median,
        ];
        for ((name, value), wanted) in PLAIN.iter().zip(values).zip(self.plain) {
            if wanted {
                send(name, value);
            }
        }
        if let Some(bins) = self.histograms.iter().find(|h| key.contains(&h.metric)) {
            bins.emit(samples, &mut send);
        }
        if self.sketches.iter().any(|part| key.contains(part)) {
            // Each sample stands for as many as the sample rates say, on the average of the interval.
            let mut name = String::new();
            for (bucket, count) in Counts::of_ascending(samples, count / n as f64).iter() {
                name.clear();
                // Writing to a text cannot fail.
                let _ = write!(name, "sketch.{bucket}");
                send(&name, count);
            }
        }
    }
}

/// Sums of some values.
struct Part {
    sum: f64,
    squares: f64,
}

impl Part {
    fn of(values: &[f64]) -> Self {
        let (mut sum, mut squares) = (0.0, 0.0);
        for v in values {
            sum += v;
            squares += v * v;
        }
        Part { sum, squares }
    }
}

impl Percentile {
    /// `samples` ascend and are not empty; `all` are their sums.
    fn emit(&self, samples: &[f64], all: &Part, send: &mut impl FnMut(&str, f64)) {
        let n = samples.len();
        let mut inside = n as f64;
        if n > 1 {
            inside = round(self.value.abs() / 100.0 * n as f64);
            if inside == 0.0 {
                return;
            }
        }
        if inside > n as f64 {
            // Above 100 percent only the count has a meaning.
            if let Some(name) = &self.names[0] {
                send(name, inside);
            }
            return;
        }
        let inside_n = inside as usize;
        let (part, bound) = if n == 1 {
            (Part { sum: all.sum, squares: all.squares }, samples[0])
        } else if self.value > 0.0 {
            (Part::of(&samples[..inside_n]), samples[inside_n - 1])
        } else {
            (Part::of(&samples[n - inside_n..]), samples[n - inside_n])
        };
        for (name, value) in self.names.iter().zip([inside, part.sum / inside, bound, part.sum, part.squares]) {
            if let Some(name) = name {
                send(name, value);
            }
        }
    }
}

impl Bins {
    fn new(histogram: &Histogram) -> Self {
        let name = |limit: f64| {
            if limit == f64::INFINITY {
                return "histogram.bin_inf".to_owned();
            }
            format!("histogram.bin_{}", number::format(limit).replacen('.', "_", 1))
        };
        let bins = histogram.bins.iter().map(|bin| (bin.0, name(bin.0))).collect();
        Bins { metric: histogram.metric.clone(), bins }
    }

    /// Values at or above the last limit are in no bin.
    fn emit(&self, samples: &[f64], send: &mut impl FnMut(&str, f64)) {
        let mut rest = samples;
        for (limit, name) in &self.bins {
            let inside = if *limit == f64::INFINITY { rest.len() } else { rest.partition_point(|v| v < limit) };
            send(name, inside as f64);
            rest = &rest[inside..];
        }
    }
}

/// ECMAScript's `Math.round` of a value that is not negative.
fn round(value: f64) -> f64 {
    let floor = value.floor();
    if value - floor >= 0.5 { floor + 1.0 } else { floor }
}

/// `upper_90` and `lower_top10` as the option names them: `upper_percent`, `lower_percent`. Of
/// `upper_99_9` only the last number goes, as in the reference.
fn general_name(name: &str) -> String {
    let digits = name.trim_end_matches(|c: char| c.is_ascii_digit());
    if digits.len() == name.len() {
        return name.to_owned();
    }
    match digits.strip_suffix("top").unwrap_or(digits).strip_suffix('_') {
        Some(stem) => format!("{stem}_percent"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Bin;

    fn check(options: &Options, key: &str, samples: &[f64], want: &[(&str, f64)]) {
        let mut got = Vec::new();
        let mut samples = samples.to_vec();
        let count = samples.len() as f64;
        TimerPlan::new(options).emit(key, &mut samples, count, |name, value| got.push((name.to_owned(), value)));
        let got: Vec<(&str, f64)> = got.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        assert_eq!(got, want);
    }

    fn only(names: &[&str], percent_threshold: &[f64]) -> Options {
        Options {
            calculated_timer_metrics: names.iter().map(|n| (*n).to_owned()).collect(),
            percent_threshold: percent_threshold.to_vec(),
            flush_interval: 1000,
            ..Options::default()
        }
    }

    #[test]
    fn percentiles_are_of_rounded_counts() {
        let ten: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        let counts = only(&["count_percent"], &[4.0, 5.0, 94.0, 95.0, -25.0, 150.0]);
        check(
            &counts,
            "k",
            &ten,
            &[("count_5", 1.0), ("count_94", 9.0), ("count_95", 10.0), ("count_top25", 3.0), ("count_150", 15.0)],
        );
        let sums = only(&["sum_percent", "lower_percent", "upper_percent"], &[50.0, -100.0, 150.0]);
        check(&sums, "k", &ten, &[("upper_50", 5.0), ("sum_50", 15.0), ("lower_top100", 1.0), ("sum_top100", 55.0)]);
        check(
            &sums,
            "k",
            &[7.0],
            &[
                ("upper_50", 7.0),
                ("sum_50", 7.0),
                ("lower_top100", 7.0),
                ("sum_top100", 7.0),
                ("upper_150", 7.0),
                ("sum_150", 7.0),
            ],
        );
    }

    #[test]
    fn names_are_filtered_as_the_reference_does() {
        let names = only(&["upper_99_percent", "median"], &[99.9, 90.0]);
        check(&names, "k", &[1.0, 2.0], &[("upper_99_9", 2.0), ("median", 1.5)]);
        check(&only(&["count"], &[]), "k", &[], &[("count", 0.0)]);
        check(&only(&["mean"], &[]), "k", &[], &[]);
    }

    #[test]
    fn the_first_histogram_that_matches_holds() {
        let mut options = only(&["histogram"], &[]);
        let histogram = |metric: &str, bins: &[f64]| Histogram {
            metric: metric.to_owned(),
            bins: bins.iter().map(|b| Bin(*b)).collect(),
        };
        options.histogram =
            vec![histogram("x.y", &[]), histogram("x", &[0.5, 2.0, f64::INFINITY]), histogram("", &[1.0])];
        let samples = [2.0, 0.0, 1.0, 9.0];
        check(&options, "a.x.y", &samples, &[]);
        check(
            &options,
            "a.x",
            &samples,
            &[("histogram.bin_0_5", 1.0), ("histogram.bin_2", 1.0), ("histogram.bin_inf", 2.0)],
        );
        check(&options, "b", &samples, &[("histogram.bin_1", 1.0)]);
    }

    #[test]
    fn a_sketch_counts_as_the_sample_rates_say() {
        let mut options = only(&["count"], &[]);
        options.timer_sketches = vec!["checkout".to_owned()];
        let plan = TimerPlan::new(&options);
        let sketch = |key: &str, samples: &mut [f64], count: f64| {
            let mut got = Vec::new();
            plan.emit(key, samples, count, |name, value| got.push((name.to_owned(), value)));
            got.retain(|(name, _)| name.starts_with("sketch."));
            got
        };
        let buckets = sketch("a.checkout.b", &mut [2.0, 0.0, 1.0, 2.0], 8.0);
        let want = [("sketch.zero", 2.0), ("sketch.0", 2.0), ("sketch.16", 4.0)];
        assert_eq!(buckets, want.map(|(name, count)| (name.to_owned(), count)));
        assert_eq!(sketch("a.other", &mut [1.0], 1.0), []);
        assert_eq!(sketch("checkout", &mut [], 0.0), []);
    }
}
