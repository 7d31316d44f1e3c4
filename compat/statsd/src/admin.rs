//! The admin interface (port 8126): a line in, a reply out.
//!
//! Replies are the reference's to the byte, but for two things: arrays of many numbers are not
//! lined up in columns as Node prints them (only blanks differ), and `config` names options as
//! they are here. Each line is a command of its own, also when several arrive at once.

use std::fmt::Write;

use crate::aggregator::Aggregator;
use crate::number;
use crate::options::Health;
use crate::packet::Kind;

/// Numbers of an array that are printed; of the rest the reply says how many.
const ARRAY_ITEMS_MAX: usize = 100;
/// Columns a printed object may take on one line.
const LINE_WIDTH: usize = 80;

/// What to send back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The whole reply.
    pub text: String,
    /// Close the connection then.
    pub close: bool,
}

/// What the admin interface remembers, for all its connections.
#[derive(Clone, Copy, Debug)]
pub struct Admin {
    health: Health,
}

impl Admin {
    /// `health`: what it says at first.
    pub fn new(health: Health) -> Self {
        Admin { health }
    }

    /// Answers one line. Names of keys are matched as they are kept, that is cleaned.
    pub fn reply(&mut self, line: &str, aggregator: &mut Aggregator, now_s: i64) -> Reply {
        let mut words = line.trim_matches(number::is_space).split(' ');
        let command = words.next().unwrap_or_default();
        let words: Vec<&str> = words.collect();
        let text = match command {
            "help" => {
                "Commands: stats, counters, timers, gauges, delcounters, deltimers, delgauges, health, config, quit\n\n"
                    .to_owned()
            }
            "health" => self.health(words.first().copied()),
            "stats" => stats(aggregator, now_s),
            "counters" => numbers(aggregator.counters()),
            "gauges" => numbers(aggregator.gauges()),
            "timers" => {
                let timers = aggregator.timers(ARRAY_ITEMS_MAX).into_iter();
                inspect(timers.map(|(key, first, count)| property(key, &array(&first, count))))
            }
            "delcounters" => delete(aggregator, Kind::Counter, &words),
            "deltimers" => delete(aggregator, Kind::Timer, &words),
            "delgauges" => delete(aggregator, Kind::Gauge, &words),
            "config" => config(aggregator),
            "quit" => return Reply { text: String::new(), close: true },
            _ => "ERROR\n".to_owned(),
        };
        Reply { text, close: false }
    }

    fn health(&mut self, word: Option<&str>) -> String {
        match word.map(str::to_lowercase).as_deref() {
            Some("up") => self.health = Health::Up,
            Some("down") => self.health = Health::Down,
            _ => {}
        }
        format!("health: {}\n", if self.health == Health::Up { "up" } else { "down" })
    }
}

/// Names that begin with `last_` are told as seconds ago.
fn stats(aggregator: &Aggregator, now_s: i64) -> String {
    let report = aggregator.last_report();
    format!(
        "uptime: {}\nmessages.last_msg_seen: {}\nmessages.bad_lines_seen: {}\n\
         graphite.last_flush: {}\ngraphite.last_exception: {}\ngraphite.flush_time: {}\ngraphite.flush_length: {}\nEND\n\n",
        now_s - aggregator.start_s(),
        now_s - aggregator.last_message_s(),
        aggregator.bad_lines(),
        now_s - aggregator.last_flush_s(),
        now_s - report.last_exception_s,
        number::format(report.flush_ms),
        number::format(report.flush_bytes),
    )
}

fn delete(aggregator: &mut Aggregator, kind: Kind, patterns: &[&str]) -> String {
    let mut out = String::new();
    for pattern in patterns {
        let deleted = aggregator.delete(kind, pattern);
        if deleted.is_empty() {
            out += &format!("metric {pattern} not found\n");
        }
        for key in deleted {
            out += &format!("deleted: {key}\n");
        }
    }
    out + "END\n\n"
}

fn config(aggregator: &Aggregator) -> String {
    let (o, g, d) = (aggregator.options(), &aggregator.options().graphite, aggregator.options().deletes());
    let mut out = String::from("\n");
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name}: {value}");
    };
    line("dialect", &format!("{:?}", o.dialect).to_lowercase());
    line("flush_interval", &o.flush_interval_ms());
    for (i, percent) in o.percent_threshold.iter().enumerate() {
        line(&format!("percent_threshold > {i}"), &number::format(*percent));
    }
    for (i, histogram) in o.histogram.iter().enumerate() {
        let bins: Vec<_> = histogram.bins.iter().map(|b| number::format(b.0)).collect();
        line(&format!("histogram > {i}"), &format_args!("{} [{}]", histogram.metric, bins.join(", ")));
    }
    for (i, name) in o.calculated_timer_metrics.iter().enumerate() {
        line(&format!("calculated_timer_metrics > {i}"), name);
    }
    for (i, part) in o.timer_sketches.iter().enumerate() {
        line(&format!("timer_sketches > {i}"), part);
    }
    line("delete_idle_stats", &o.delete_idle_stats);
    line("delete_counters", &d.counters);
    line("delete_timers", &d.timers);
    line("delete_sets", &d.sets);
    line("delete_gauges", &d.gauges);
    line("gauges_max_ttl", &o.gauges_max_ttl.max(1));
    line("flush_counts", &o.flush_counts);
    line("key_name_sanitize", &o.key_name_sanitize);
    line("prefix_stats", &o.prefix_stats);
    line("graphite > legacy_namespace", &g.legacy_namespace);
    line("graphite > global_prefix", &g.global_prefix);
    line("graphite > prefix_counter", &g.prefix_counter);
    line("graphite > prefix_timer", &g.prefix_timer);
    line("graphite > prefix_gauge", &g.prefix_gauge);
    line("graphite > prefix_set", &g.prefix_set);
    line("graphite > global_suffix", &g.global_suffix);
    line("max_keys", &o.max_keys);
    line("max_timer_samples", &o.max_timer_samples);
    line("max_set_members", &o.max_set_members);
    line("max_samples", &o.max_samples);
    line("max_line_bytes", &o.max_line_bytes);
    line("max_tags", &o.max_tags);
    line("max_events", &o.max_events);
    out
}

fn numbers<'a>(values: impl Iterator<Item = (&'a str, f64)>) -> String {
    inspect(values.map(|(key, value)| property(key, &inspect_number(value))))
}

/// An object as Node's `util.inspect` prints it, and the end of the reply.
fn inspect(properties: impl Iterator<Item = String>) -> String {
    let properties: Vec<String> = properties.collect();
    if properties.is_empty() {
        return "{}\nEND\n\n".to_owned();
    }
    // Node's rule: the entries, their separators, the brace, and 10 columns to spare.
    let width: usize = properties.iter().map(|p| p.chars().count()).sum::<usize>() + 2 * properties.len() + 11;
    if width <= LINE_WIDTH && !properties.iter().any(|p| p.contains('\n')) {
        return format!("{{ {} }}\nEND\n\n", properties.join(", "));
    }
    format!("{{\n  {}\n}}\nEND\n\n", properties.join(",\n  "))
}

/// An array of `count` samples, of which the first are given.
fn array(first: &[f64], count: usize) -> String {
    if first.is_empty() {
        return "[]".to_owned();
    }
    let mut items: Vec<String> = first.iter().map(|v| inspect_number(*v)).collect();
    match count.saturating_sub(first.len()) {
        0 => {}
        1 => items.push("... 1 more item".to_owned()),
        more => items.push(format!("... {more} more items")),
    }
    let width: usize = items.iter().map(String::len).sum::<usize>() + 2 * items.len() + 13;
    // Node lines more than six up in columns.
    if width <= LINE_WIDTH && items.len() <= 6 {
        return format!("[ {} ]", items.join(", "));
    }
    format!("[\n    {}\n  ]", items.join(",\n    "))
}

fn inspect_number(value: f64) -> String {
    if value == 0.0 && value.is_sign_negative() { "-0".to_owned() } else { number::format(value).into_owned() }
}

fn property(key: &str, value: &str) -> String {
    let identifier = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !key.as_bytes().first().is_none_or(u8::is_ascii_digit);
    if identifier { format!("{key}: {value}") } else { format!("{}: {value}", quote(key)) }
}

/// A key between quotes that it does not contain, as Node chooses them.
fn quote(key: &str) -> String {
    let quote = if !key.contains('\'') {
        '\''
    } else if !key.contains('"') {
        '"'
    } else if !key.contains('`') && !key.contains("${") {
        '`'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for c in key.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if u32::from(c) < 0x20 || (0x7f..=0x9f).contains(&u32::from(c)) => {
                out += &format!("\\x{:02X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}
