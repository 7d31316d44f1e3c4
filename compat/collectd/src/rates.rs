//! Rates of counters, derives and absolutes, from what was last seen of each series.
//!
//! As collectd's value cache: a counter that goes back has wrapped, at 2^32 if it was below, at
//! 2^64 otherwise; a rate outside the type's range is unknown; the first value of a series has
//! no rate but for an absolute, whose interval is known. A list that is not newer than the last
//! one has no rates.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::types_db::Source;
use crate::value::{Identifier, Time, Value, ValueList, Values};

/// Intervals without a value after which a series is forgotten.
const TIMEOUT_INTERVALS: u64 = 2;

/// What is remembered of all series.
#[derive(Debug)]
pub struct Rates {
    seen: HashMap<Box<str>, Seen, RandomState>,
    series_max: usize,
    refused: u64,
    key: String,
}

#[derive(Debug)]
struct Seen {
    time: Time,
    values: Values,
    /// By the receiver's clock.
    forget_at: Time,
}

impl Rates {
    /// Remembers at most `series_max` series; the values of further ones have no rates.
    pub fn new(series_max: usize) -> Self {
        Rates { seen: HashMap::default(), series_max, refused: 0, key: String::new() }
    }

    /// Gives the rate of every value of `list` to `rate`, in order: NaN if unknown, a gauge as it is. `now` is the
    /// receiver's time. `sources` are as many as the list has values.
    pub fn update(&mut self, list: &ValueList<'_>, sources: &[Source], now: Time, mut rate: impl FnMut(f64)) {
        write_key(&list.id, &mut self.key);
        let forget_at = Time(now.0.saturating_add(list.interval.0.saturating_mul(TIMEOUT_INTERVALS)));
        let Some(seen) = self.seen.get_mut(self.key.as_str()) else {
            list.values.iter().zip(sources).for_each(|(value, source)| rate(first_rate(*value, list.interval, source)));
            // Gauges need no value before them.
            if list.values.iter().all(|value| matches!(value, Value::Gauge(_))) {
                return;
            }
            if self.seen.len() < self.series_max {
                let seen = Seen { time: list.time, values: list.values.clone(), forget_at };
                self.seen.insert(self.key.as_str().into(), seen);
            } else {
                self.refused += 1;
            }
            return;
        };
        if seen.values.len() != list.values.len() {
            list.values.iter().zip(sources).for_each(|(value, source)| rate(first_rate(*value, list.interval, source)));
        } else if list.time <= seen.time {
            list.values.iter().for_each(|value| rate(if let Value::Gauge(v) = value { *v } else { f64::NAN }));
            return;
        } else {
            let elapsed = Time(list.time.0 - seen.time.0).secs_f64();
            for ((old, new), source) in seen.values.iter().zip(&list.values).zip(sources) {
                rate(next_rate(*old, *new, elapsed, source));
            }
        }
        *seen = Seen { time: list.time, values: list.values.clone(), forget_at };
    }

    /// Forgets series that have been silent for two of their intervals, so that the next value
    /// is a first one. To be called now and then; it visits all series.
    pub fn expire(&mut self, now: Time) {
        self.seen.retain(|_, seen| seen.forget_at >= now);
    }

    /// Series remembered now.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Lists that were not remembered because there were too many series.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

fn first_rate(value: Value, interval: Time, source: &Source) -> f64 {
    match value {
        Value::Gauge(v) => v,
        Value::Absolute(v) if interval > Time(0) => in_range(v as f64 / interval.secs_f64(), source),
        _ => f64::NAN,
    }
}

fn next_rate(old: Value, new: Value, elapsed: f64, source: &Source) -> f64 {
    let difference = match (old, new) {
        (_, Value::Gauge(v)) => return v,
        (Value::Counter(old), Value::Counter(new)) => counter_difference(old, new) as f64,
        (Value::Derive(old), Value::Derive(new)) => new.wrapping_sub(old) as f64,
        (_, Value::Absolute(v)) => v as f64,
        // The sender has changed the type.
        _ => return f64::NAN,
    };
    in_range(difference / elapsed, source)
}

fn counter_difference(old: u64, new: u64) -> u64 {
    if old > new && old <= u64::from(u32::MAX) {
        return (u64::from(u32::MAX) - old) + new + 1;
    }
    new.wrapping_sub(old)
}

/// Values of a range's ends are inside.
fn in_range(rate: f64, source: &Source) -> f64 {
    if rate < source.min || rate > source.max { f64::NAN } else { rate }
}

/// The parts of an identifier between NULs, which they cannot contain.
fn write_key(id: &Identifier<'_>, key: &mut String) {
    key.clear();
    for part in [&id.host, &id.plugin, &id.plugin_instance, &id.type_name, &id.type_instance] {
        key.push_str(part);
        key.push('\0');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Kind;

    const START: u64 = 1_700_000_000;

    /// Steps `seconds value` of one series; the rates they give, `-` for unknown.
    fn check(min: f64, steps: &[(u64, Value)], want: &str) {
        let mut rates = Rates::new(10);
        let got: Vec<String> = steps.iter().map(|(at, value)| feed(&mut rates, "h", *at, *value, min)).collect();
        assert_eq!(got.join(" "), want, "{steps:?}");
    }

    fn feed(rates: &mut Rates, host: &'static str, at: u64, value: Value, min: f64) -> String {
        let source = Source { name: "value".into(), kind: Kind::Gauge, min, max: 1e12 };
        let id = Identifier { host: host.into(), plugin: "p".into(), type_name: "t".into(), ..Identifier::default() };
        let time = Time::from_secs(START + at).unwrap();
        let list =
            ValueList { id, time, interval: Time::from_secs(10).unwrap(), values: [value].into_iter().collect() };
        let mut out = String::new();
        rates.update(&list, &[source], time, |r| out = if r.is_nan() { "-".into() } else { r.to_string() });
        out
    }

    #[test]
    fn counters_wrap() {
        use Value::Counter;
        check(0.0, &[(0, Counter(5)), (10, Counter(25)), (20, Counter(25))], "- 2 0");
        check(0.0, &[(0, Counter(4_294_967_290)), (10, Counter(10))], "- 1.6");
        check(0.0, &[(0, Counter(u64::MAX - 9)), (10, Counter(10))], "- 2");
    }

    #[test]
    fn derives_go_down_where_the_type_allows() {
        use Value::Derive;
        check(0.0, &[(0, Derive(100)), (10, Derive(50)), (20, Derive(150))], "- - 10");
        check(-100.0, &[(0, Derive(100)), (10, Derive(50))], "- -5");
        check(0.0, &[(0, Derive(0)), (1, Derive(i64::MAX)), (2, Derive(i64::MIN))], "- - 1");
    }

    #[test]
    fn absolutes_have_a_rate_at_once_and_gauges_are_no_rates() {
        check(0.0, &[(0, Value::Absolute(40)), (20, Value::Absolute(80))], "4 4");
        check(0.0, &[(0, Value::Gauge(-7.0)), (10, Value::Gauge(f64::NAN)), (20, Value::Gauge(1.0))], "-7 - 1");
    }

    #[test]
    fn lists_that_are_not_newer_and_changed_kinds_have_no_rate() {
        use Value::{Counter, Derive};
        check(0.0, &[(10, Counter(5)), (10, Counter(9)), (5, Counter(9)), (20, Counter(25))], "- - - 2");
        check(0.0, &[(0, Counter(5)), (10, Derive(9)), (20, Derive(29))], "- - 2");
    }

    #[test]
    fn silent_series_are_forgotten_and_the_number_is_bounded() {
        let mut rates = Rates::new(1);
        feed(&mut rates, "a", 0, Value::Counter(1), 0.0);
        assert_eq!(feed(&mut rates, "b", 0, Value::Counter(1), 0.0), "-");
        assert_eq!((rates.len(), rates.refused()), (1, 1));
        rates.expire(Time::from_secs(START + 20).unwrap());
        assert_eq!(rates.len(), 1);
        rates.expire(Time::from_secs(START + 21).unwrap());
        assert!(rates.is_empty());
        assert_eq!(feed(&mut rates, "a", 30, Value::Counter(11), 0.0), "-");
    }
}
