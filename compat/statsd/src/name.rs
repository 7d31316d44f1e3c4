//! Keys as StatsD keeps them and names as Graphite gets them.
//!
//! A key is the sent key with its tags behind it (`key;k=v`), cleaned. The name of a series is
//! `prefix.KEY.suffix.global_suffix;tags`, its tags in Graphite's order.

use std::borrow::Cow;

use crate::number::is_space;
use crate::options::{Graphite, TagStyle};

/// Cleans as StatsD does: white space becomes `_`, `/` becomes `-`, of the rest only
/// `A-Z a-z 0-9 _ - . ; =` stay. Appends to `out`.
pub fn sanitise(text: &str, out: &mut String) {
    let mut in_space = false;
    for c in text.chars() {
        let space = is_space(c);
        match c {
            _ if space && in_space => {}
            _ if space => out.push('_'),
            '/' => out.push('-'),
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' | ';' | '=' => out.push(c),
            _ => {}
        }
        in_space = space;
    }
}

/// The key npm statsd makes of a sent key and the text behind `|#`: tags in the order they came.
/// Writes it to `out`, which is cleared first.
pub fn statsd_key(key: &[u8], tags: &[u8], clean: bool, out: &mut String) {
    out.clear();
    let mut whole = String::from_utf8_lossy(key);
    if !tags.is_empty() {
        let joined = whole.to_mut();
        for tag in String::from_utf8_lossy(tags).split(',') {
            joined.push(';');
            joined.push_str(&tag.replacen(';', "_", 1).replacen(':', "=", 1));
        }
    }
    if clean { sanitise(&whole, out) } else { out.push_str(&whole) }
}

/// The key of a DogStatsD metric: tags sorted by name, so that their order does not matter. A
/// tag without a value gets the value `true`, because Graphite knows no empty ones; of two tags
/// with one name the last stays. Writes it to `out`, which is cleared first.
pub fn dogstatsd_key(key: &[u8], tags: &[u8], clean: bool, out: &mut String) {
    statsd_key(key, &[], clean, out);
    for tag in String::from_utf8_lossy(tags).split(',') {
        let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
        if name.is_empty() {
            continue;
        }
        let value = if value.is_empty() { "true" } else { value };
        let piece = format!(";{}={}", name.replace([';', '='], "_"), value.replace(';', "_"));
        if clean { sanitise(&piece, out) } else { out.push_str(&piece) }
    }
    if let Cow::Owned(sorted) = sort_tags(out) {
        *out = sorted;
    }
}

/// Takes the tags out of a key that holds them in one of `styles`: the name, and the tags as they would stand behind
/// `|#`. `None` if it holds none.
pub fn split_styled(key: &[u8], styles: &[TagStyle]) -> Option<(Vec<u8>, Vec<u8>)> {
    styles.iter().find_map(|style| {
        let (name, tags, rest) = match style {
            TagStyle::Influx => split_at_byte(key, b',')?,
            TagStyle::Librato => split_at_byte(key, b'#')?,
            TagStyle::Signalfx => {
                let (name, tags, _) = split_at_byte(key, b'[')?;
                let close = memchr::memchr(b']', tags)?;
                (name, &tags[..close], &tags[close + 1..])
            }
        };
        let mut as_sent = Vec::with_capacity(tags.len());
        for tag in tags.split(|b| *b == b',').filter(|tag| !tag.is_empty()) {
            if !as_sent.is_empty() {
                as_sent.push(b',');
            }
            let equals = memchr::memchr(b'=', tag);
            let start = as_sent.len();
            as_sent.extend_from_slice(tag);
            if let Some(at) = equals {
                as_sent[start + at] = b':';
            }
        }
        (!name.is_empty() || !rest.is_empty()).then(|| ([name, rest].concat(), as_sent))
    })
}

/// What stands before and behind the first `byte`, and nothing.
fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8], &[u8])> {
    let at = memchr::memchr(byte, text)?;
    Some((&text[..at], &text[at + 1..], &[]))
}

/// `name;tags` with the tags in Graphite's order: by name, the last of equal names, none empty.
pub fn sort_tags(key: &str) -> Cow<'_, str> {
    let Some((base, tags)) = key.split_once(';') else { return Cow::Borrowed(key) };
    let name = |tag: &str| tag.split_once('=').map_or(tag, |t| t.0).to_owned();
    let pieces: std::collections::BTreeMap<String, &str> =
        tags.split(';').filter(|t| !t.is_empty()).map(|t| (name(t), t)).collect();
    let mut out = base.to_owned();
    for tag in pieces.values() {
        out.push(';');
        out.push_str(tag);
    }
    if out == key { Cow::Borrowed(key) } else { Cow::Owned(out) }
}

/// The Graphite form of a key: its base cleaned even where keys are kept raw, its tags sorted.
pub fn graphite_key(key: &str, clean: bool) -> Cow<'_, str> {
    if clean {
        return sort_tags(key);
    }
    let base_len = key.find(';').unwrap_or(key.len());
    let mut out = String::with_capacity(key.len());
    sanitise(&key[..base_len], &mut out);
    out.push_str(&key[base_len..]);
    if out == key { sort_tags(key) } else { Cow::Owned(sort_tags(&out).into_owned()) }
}

/// What stands before a key of each kind (with its dot, or empty) and behind every name.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Before a counter's rate.
    pub counter: String,
    /// Behind a counter's key in the name of its rate.
    pub rate: &'static str,
    /// Before a counter's count.
    pub count_prefix: String,
    /// Behind a counter's key in the name of its count.
    pub count: &'static str,
    /// Before a timer.
    pub timer: String,
    /// Before a gauge.
    pub gauge: String,
    /// Before a set.
    pub set: String,
    /// Before a service check.
    pub check: String,
    /// Before the daemon's own values, with its name: `stats.statsd.`.
    pub own: String,
    /// The whole name of the number of series, which stands outside `own` in the old namespace.
    pub num_stats: String,
    /// Behind every name, with its dot, or empty.
    pub suffix: String,
}

impl Namespace {
    /// The names `options` ask for; `prefix_stats` is the daemon's own name.
    pub fn new(options: &Graphite, prefix_stats: &str) -> Self {
        let join = |parts: &[&str]| parts.iter().filter(|p| !p.is_empty()).fold(String::new(), |out, p| out + p + ".");
        let suffix =
            if options.global_suffix.is_empty() { String::new() } else { format!(".{}", options.global_suffix) };
        if options.legacy_namespace {
            return Namespace {
                counter: "stats.".into(),
                rate: "",
                count_prefix: "stats_counts.".into(),
                count: "",
                timer: "stats.timers.".into(),
                gauge: "stats.gauges.".into(),
                set: "stats.sets.".into(),
                check: join(&["stats", &options.prefix_check]),
                own: format!("stats.{prefix_stats}."),
                num_stats: format!("{prefix_stats}.numStats{suffix}"),
                suffix,
            };
        }
        let global = options.global_prefix.as_str();
        let counter = join(&[global, &options.prefix_counter]);
        let own = join(&[global]) + prefix_stats + ".";
        Namespace {
            count_prefix: counter.clone(),
            counter,
            rate: ".rate",
            count: ".count",
            timer: join(&[global, &options.prefix_timer]),
            gauge: join(&[global, &options.prefix_gauge]),
            set: join(&[global, &options.prefix_set]),
            check: join(&[global, &options.prefix_check]),
            num_stats: format!("{own}numStats{suffix}"),
            own,
            suffix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_reference() {
        for (key, tags, want) in [
            ("a b", "", "a_b"),
            ("a \t\u{a0}b", "", "a_b"),
            ("a/b$c", "", "a-bc"),
            ("a", "env:prod,dc:ams", "a;env=prod;dc=ams"),
            ("a", "u:http://x", "a;u=http--x"),
            ("a", "x;y;z", "a;x_y;z"),
            ("a", "solo,,b:2\r", "a;solo;;b=2_"),
        ] {
            let mut out = String::from("left over");
            statsd_key(key.as_bytes(), tags.as_bytes(), true, &mut out);
            assert_eq!(out, want);
        }
    }

    #[test]
    fn keys_of_dogstatsd() {
        for (key, tags, want) in [
            ("a", "b:2,a:1", "a;a=1;b=2"),
            ("a", "solo,a:", "a;a=true;solo=true"),
            ("a", ",a:1,,a:2,:x", "a;a=2"),
            ("a;z=1", "b:x;y", "a;b=x_y;z=1"),
            ("a", "u:http://x:80/p", "a;u=http--x80-p"),
        ] {
            let mut out = String::new();
            dogstatsd_key(key.as_bytes(), tags.as_bytes(), true, &mut out);
            assert_eq!(out, want);
        }
    }

    #[test]
    fn graphite_gets_clean_bases_and_sorted_tags() {
        assert_eq!(graphite_key("a;c=1;b=2;c=3", true), "a;b=2;c=3");
        assert_eq!(graphite_key("a;", true), "a");
        assert_eq!(graphite_key("a b/c;y=1 2;x=3", false), "a_b-c;x=3;y=1 2");
        assert!(matches!(graphite_key("plain.key", true), Cow::Borrowed(_)));
    }
}
