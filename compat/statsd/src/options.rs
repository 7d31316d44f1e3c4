//! StatsD's options, under its own names in snake_case, times in milliseconds.
//!
//! [`Options`] alone refuses unknown keys. A section that also holds a server's own keys
//! (listen addresses) flattens it, and there serde ignores `deny_unknown_fields`; such a section
//! catches what is left over in a second flattened map and refuses that:
//!
//! ```ignore
//! #[derive(Deserialize)]
//! struct Section {
//!     udp_listen: Option<String>,
//!     #[serde(flatten)]
//!     options: rhythmite_statsd::Options,
//!     #[serde(flatten)]
//!     unknown: BTreeMap<String, toml::Value>, // must be empty; Options::KEYS helps to say did-you-mean
//! }
//! ```

use rhythmite_model::{Error, Result};
use serde::{Deserialize, Deserializer};

use crate::number;

/// The longest flush interval that is believed: a week, in ms.
pub const FLUSH_INTERVAL_MAX: u64 = 7 * 24 * 3600 * 1000;

/// The wire format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// npm statsd: every type it does not know is a counter.
    #[default]
    Statsd,
    /// DogStatsD: distributions, packed values, events, service checks; tags sorted.
    Dogstatsd,
}

/// A way to write tags into the name of a line, beside `|#`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TagStyle {
    /// `name,tag=value,tag=value`
    Influx,
    /// `name#tag=value,tag=value`
    Librato,
    /// `name[tag=value,tag=value]`, also within the name.
    Signalfx,
}

/// The admin interface's `health` at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// `health: up`.
    #[default]
    Up,
    /// `health: down`.
    Down,
}

/// How packets are folded and what a flush holds. The defaults are the reference's; `dialect` and
/// the options whose names begin with `max_` are ours, the latter bound memory.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The wire format.
    pub dialect: Dialect,
    /// Ours: further ways to write tags, all looked for in this order.
    pub tag_styles: Vec<TagStyle>,
    /// Ours: the tag that holds the sender's container (DogStatsD `|c:`); none if empty.
    pub container_tag: String,
    /// Milliseconds between two flushes; 0 means the default, 10 000.
    pub flush_interval: u64,
    /// Percentiles of timers, a number or a list; a negative one is of the top values.
    #[serde(deserialize_with = "one_or_many")]
    pub percent_threshold: Vec<f64>,
    /// Histograms of timers; the first entry whose `metric` is part of the key holds.
    pub histogram: Vec<Histogram>,
    /// The timer values to send, all if empty; `upper_percent` stands for `upper_90` and the like.
    pub calculated_timer_metrics: Vec<String>,
    /// Ours: timers whose key holds one of these also send their buckets ([`rhythmite_model::sketch`]); `""` is part of
    /// every key.
    pub timer_sketches: Vec<String>,
    /// Sends nothing for idle series; the four options below override it for one kind.
    pub delete_idle_stats: bool,
    /// Forgets counters at the flush instead of sending 0 while they are idle.
    pub delete_counters: Option<bool>,
    /// Forgets timers at the flush instead of sending a count of 0 while they are idle.
    pub delete_timers: Option<bool>,
    /// Forgets sets at the flush instead of sending 0 while they are idle.
    pub delete_sets: Option<bool>,
    /// Forgets gauges after `gauges_max_ttl` flushes instead of repeating them.
    pub delete_gauges: Option<bool>,
    /// Flushes a gauge outlives its last value, with `delete_gauges`; at least 1.
    pub gauges_max_ttl: u32,
    /// Sends counters' counts beside their rates.
    pub flush_counts: bool,
    /// Cleans keys when they come in; if not, they are cleaned when they go out.
    pub key_name_sanitize: bool,
    /// The daemon's own name in its own series.
    pub prefix_stats: String,
    /// What the admin interface's `health` says at first.
    pub health_status: Health,
    /// Names of the series.
    pub graphite: Graphite,
    /// Keys known at a time; values of further ones are dropped and counted.
    pub max_keys: usize,
    /// Samples a timer keeps until the flush; further ones count but have no value.
    pub max_timer_samples: usize,
    /// Members a set keeps until the flush; further ones are dropped and counted.
    pub max_set_members: usize,
    /// Samples and members that all keys together keep until the flush.
    pub max_samples: usize,
    /// Bytes of a line; a longer one is a bad line.
    pub max_line_bytes: usize,
    /// Tags of a line; one with more is a bad line.
    pub max_tags: usize,
    /// Events, and points with their own timestamp (DogStatsD), kept until the flush.
    pub max_events: usize,
}

/// Names of the series a flush holds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Graphite {
    /// Counters as `stats.KEY` and `stats_counts.KEY`; the prefixes below hold only if this is false.
    pub legacy_namespace: bool,
    /// Before all names.
    pub global_prefix: String,
    /// Before counters.
    pub prefix_counter: String,
    /// Before timers.
    pub prefix_timer: String,
    /// Before gauges.
    pub prefix_gauge: String,
    /// Before sets.
    pub prefix_set: String,
    /// Ours: before service checks (DogStatsD).
    pub prefix_check: String,
    /// Behind all names, before the tags; empty for none.
    pub global_suffix: String,
}

/// Bins for the timers whose key contains `metric`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    /// Part of the key; the empty text is part of every key.
    pub metric: String,
    /// Upper limits, ascending, themselves outside; `"inf"` for no limit. None: no histogram.
    pub bins: Vec<Bin>,
}

/// The upper limit of a histogram's bin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin(pub f64);

/// What is forgotten at a flush, all overrides resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletes {
    /// See [`Options::delete_counters`].
    pub counters: bool,
    /// See [`Options::delete_timers`].
    pub timers: bool,
    /// See [`Options::delete_sets`].
    pub sets: bool,
    /// See [`Options::delete_gauges`].
    pub gauges: bool,
}

impl Options {
    /// Every key of the section, for messages about unknown ones.
    pub const KEYS: [&'static str; 26] = [
        "dialect",
        "tag_styles",
        "container_tag",
        "flush_interval",
        "percent_threshold",
        "histogram",
        "calculated_timer_metrics",
        "timer_sketches",
        "delete_idle_stats",
        "delete_counters",
        "delete_timers",
        "delete_sets",
        "delete_gauges",
        "gauges_max_ttl",
        "flush_counts",
        "key_name_sanitize",
        "prefix_stats",
        "health_status",
        "graphite",
        "max_keys",
        "max_timer_samples",
        "max_set_members",
        "max_samples",
        "max_line_bytes",
        "max_tags",
        "max_events",
    ];

    /// What is forgotten at a flush.
    pub fn deletes(&self) -> Deletes {
        let or_idle = |own: Option<bool>| own.unwrap_or(self.delete_idle_stats);
        Deletes {
            counters: or_idle(self.delete_counters),
            timers: or_idle(self.delete_timers),
            sets: or_idle(self.delete_sets),
            gauges: or_idle(self.delete_gauges),
        }
    }

    /// The flush interval in milliseconds, the reference's 10 000 for 0.
    pub fn flush_interval_ms(&self) -> u64 {
        if self.flush_interval == 0 { 10_000 } else { self.flush_interval }
    }

    /// Says which option cannot be meant so.
    ///
    /// # Errors
    /// `Invalid`, naming the option: a flush interval above a week, a percentile that is no
    /// number, more bins or percentiles than 1000.
    pub fn validate(&self) -> Result<()> {
        if self.flush_interval > FLUSH_INTERVAL_MAX {
            return Err(Error::invalid(format!("flush_interval: at most {FLUSH_INTERVAL_MAX} ms (a week)")));
        }
        if self.percent_threshold.iter().any(|p| !p.is_finite()) {
            return Err(Error::invalid("percent_threshold: every percentile must be a number"));
        }
        if self.percent_threshold.len() > 1000 || self.histogram.iter().any(|h| h.bins.len() > 1000) {
            return Err(Error::invalid("percent_threshold, histogram: at most 1000 values"));
        }
        if self.max_keys > u32::MAX as usize / 4 {
            return Err(Error::invalid("max_keys: at most 1073741823"));
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            dialect: Dialect::Statsd,
            tag_styles: Vec::new(),
            container_tag: String::new(),
            flush_interval: 10_000,
            percent_threshold: vec![90.0],
            histogram: Vec::new(),
            calculated_timer_metrics: Vec::new(),
            timer_sketches: Vec::new(),
            delete_idle_stats: false,
            delete_counters: None,
            delete_timers: None,
            delete_sets: None,
            delete_gauges: None,
            gauges_max_ttl: 1,
            flush_counts: true,
            key_name_sanitize: true,
            prefix_stats: "statsd".into(),
            health_status: Health::Up,
            graphite: Graphite::default(),
            max_keys: 1_000_000,
            max_timer_samples: 1_000_000,
            max_set_members: 1_000_000,
            max_samples: 20_000_000,
            max_line_bytes: 65_535,
            max_tags: 100,
            max_events: 10_000,
        }
    }
}

impl Default for Graphite {
    fn default() -> Self {
        Graphite {
            legacy_namespace: true,
            global_prefix: "stats".into(),
            prefix_counter: "counters".into(),
            prefix_timer: "timers".into(),
            prefix_gauge: "gauges".into(),
            prefix_set: "sets".into(),
            prefix_check: "checks".into(),
            global_suffix: String::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Bin {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(from)? {
            NumberOrText::Number(limit) if !limit.is_nan() => Ok(Bin(limit)),
            NumberOrText::Text(text) if text == "inf" => Ok(Bin(f64::INFINITY)),
            NumberOrText::Text(text) if !text.is_empty() => number::parse(text.as_bytes())
                .map(Bin)
                .ok_or_else(|| serde::de::Error::custom(format!("a bin is a number or \"inf\", not {text:?}"))),
            _ => Err(serde::de::Error::custom("a bin is a number or \"inf\"")),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(f64),
    Many(Vec<f64>),
}

fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    Ok(match OneOrMany::deserialize(from)? {
        // The reference takes 0 for unset.
        OneOrMany::One(0.0) => vec![90.0],
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}
