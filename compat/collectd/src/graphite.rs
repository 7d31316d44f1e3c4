//! The names and values `write_graphite` gives to value lists.
//!
//! `prefix host postfix . plugin-instance . type-instance [. source]`, or with `use_tags`
//! `prefix plugin.type[.source] postfix ;host=..;plugin=..` in that order. What would break a
//! name becomes the escape character: [`FORBIDDEN`] everywhere, control characters in what the sender gives, dots there
//! unless `preserve_separator` or tags.
//!
//! Source: collectd 5.12; measured, but for `/`, which its socket takes in no part.

use serde::{Deserialize, Deserializer};

use crate::rates::Rates;
use crate::types_db::Source;
use crate::value::{Identifier, Time, ValueList};

/// What becomes the escape character in every part of a name, prefix and postfix too.
const FORBIDDEN: &str = " \t\"\\:!,/()\n\r";

/// `write_graphite`'s options, in snake_case, with its defaults.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Before the host; its dot is its own.
    pub prefix: String,
    /// Behind the host.
    pub postfix: String,
    /// Replaces what must not stand in a name; one ASCII character.
    #[serde(deserialize_with = "one_ascii")]
    pub escape_character: char,
    /// Rates of counters, derives and absolutes instead of their raw numbers.
    pub store_rates: bool,
    /// Instances behind a dot instead of `-`.
    pub separate_instances: bool,
    /// The source's name also where a type has only one.
    pub always_append_ds: bool,
    /// Leaves out the type where it is the plugin's name.
    pub drop_duplicate_fields: bool,
    /// Keeps dots within parts.
    pub preserve_separator: bool,
    /// Graphite's tags instead of a path.
    pub use_tags: bool,
    /// The host's parts in reverse order.
    pub reverse_host: bool,
    /// Ours: series whose last values are kept for rates.
    pub max_series: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            prefix: String::new(),
            postfix: String::new(),
            escape_character: '_',
            store_rates: true,
            separate_instances: false,
            always_append_ds: false,
            drop_duplicate_fields: false,
            preserve_separator: false,
            use_tags: false,
            reverse_host: false,
            max_series: 1_000_000,
        }
    }
}

/// Turns value lists into points.
#[derive(Debug)]
pub struct Graphite {
    options: Options,
    rates: Rates,
    name: String,
}

/// Values of a list without a point: unknown ones, first ones of a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    /// Points given to the caller.
    pub points: usize,
    /// Values that are no number.
    pub unknown: usize,
}

impl Graphite {
    /// Nothing seen yet.
    pub fn new(options: Options) -> Self {
        let rates = Rates::new(options.max_series);
        Graphite { options, rates, name: String::new() }
    }

    /// Gives name and value of every number in `list` to `point`; their time is `list.time`,
    /// which `write_graphite` writes as [`Time::secs_rounded`]. `now` is the receiver's time.
    pub fn map(
        &mut self,
        list: &ValueList<'_>,
        sources: &[Source],
        now: Time,
        mut point: impl FnMut(&str, f64),
    ) -> Mapped {
        let Graphite { options, rates, name } = self;
        let with_source = options.always_append_ds || sources.len() > 1;
        let mut mapped = Mapped::default();
        let mut give = |source: &Source, value: f64| {
            if value.is_nan() {
                mapped.unknown += 1;
                return;
            }
            name.clear();
            write_name(options, &list.id, with_source.then_some(&*source.name), name);
            mapped.points += 1;
            point(name, value);
        };
        let mut sources = sources.iter();
        if options.store_rates {
            let all = sources.as_slice();
            rates.update(list, all, now, |rate| sources.next().into_iter().for_each(|source| give(source, rate)));
        } else {
            sources.zip(&list.values).for_each(|(source, value)| give(source, value.to_f64()));
        }
        mapped
    }

    /// What is remembered for rates; [`Rates::expire`] is to be called now and then.
    pub fn rates_mut(&mut self) -> &mut Rates {
        &mut self.rates
    }
}

/// Appends the name of one source's series to `out`.
pub fn write_name(options: &Options, id: &Identifier<'_>, source: Option<&str>, out: &mut String) {
    if options.use_tags {
        return write_tagged(options, id, source, out);
    }
    let separator = if options.separate_instances { '.' } else { '-' };
    escape_fixed(options, &options.prefix, out);
    write_host(options, &id.host, options.preserve_separator, out);
    escape_fixed(options, &options.postfix, out);
    out.push('.');
    let plugin = out.len();
    escape(options, &id.plugin, options.preserve_separator, out);
    if !id.plugin_instance.is_empty() {
        out.push(separator);
        escape(options, &id.plugin_instance, options.preserve_separator, out);
    }
    out.push('.');
    let type_at = out.len();
    let is_duplicate = options.drop_duplicate_fields && id.plugin == id.type_name;
    if !is_duplicate || id.type_instance.is_empty() {
        escape(options, &id.type_name, options.preserve_separator, out);
    }
    if !id.type_instance.is_empty() {
        if !is_duplicate {
            out.push(separator);
        }
        escape(options, &id.type_instance, options.preserve_separator, out);
    }
    if let Some(source) = source {
        // Without a source the reference keeps both.
        if options.drop_duplicate_fields && out[plugin..type_at - 1] == out[type_at..] {
            out.truncate(type_at - 1);
        }
        out.push('.');
        escape_fixed(options, source, out);
    }
}

fn write_tagged(options: &Options, id: &Identifier<'_>, source: Option<&str>, out: &mut String) {
    escape_fixed(options, &options.prefix, out);
    escape(options, &id.plugin, true, out);
    if !(options.drop_duplicate_fields && id.plugin == id.type_name) {
        out.push('.');
        escape(options, &id.type_name, true, out);
    }
    if let Some(source) = source {
        out.push('.');
        escape_fixed(options, source, out);
    }
    escape_fixed(options, &options.postfix, out);
    out.push_str(";host=");
    write_host(options, &id.host, true, out);
    let mut tag = |name: &str, value: &str| {
        if !value.is_empty() {
            out.push(';');
            out.push_str(name);
            out.push('=');
            escape(options, value, true, out);
        }
    };
    tag("plugin", &id.plugin);
    tag("plugin_instance", &id.plugin_instance);
    tag("type", &id.type_name);
    tag("type_instance", &id.type_instance);
    tag("ds_name", source.unwrap_or_default());
}

fn write_host(options: &Options, host: &str, keep_dots: bool, out: &mut String) {
    if options.reverse_host {
        let parts: Vec<&str> = host.rsplit('.').collect();
        escape(options, &parts.join("."), keep_dots, out);
    } else {
        escape(options, host, keep_dots, out);
    }
}

/// Beyond collectd's own, a semicolon is escaped where it would begin a tag of its own.
fn escape(options: &Options, text: &str, keep_dots: bool, out: &mut String) {
    out.extend(text.chars().map(|c| match c {
        '.' if !keep_dots => options.escape_character,
        ';' => options.escape_character,
        c if c.is_ascii_control() || FORBIDDEN.contains(c) => options.escape_character,
        c => c,
    }));
}

/// What the configuration gives, where dots and semicolons are meant.
fn escape_fixed(options: &Options, text: &str, out: &mut String) {
    out.extend(text.chars().map(|c| if FORBIDDEN.contains(c) { options.escape_character } else { c }));
}

fn one_ascii<'de, D: Deserializer<'de>>(from: D) -> Result<char, D::Error> {
    let c = char::deserialize(from)?;
    if c.is_ascii_graphic() && !matches!(c, '.' | ';' | '=') {
        return Ok(c);
    }
    Err(serde::de::Error::custom("escape_character: one visible ASCII character, not . ; or ="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: Options, path: [&'static str; 5], source: Option<&str>, want: &str) {
        let [host, plugin, plugin_instance, type_name, type_instance] = path.map(Into::into);
        let mut out = String::new();
        write_name(&options, &Identifier { host, plugin, plugin_instance, type_name, type_instance }, source, &mut out);
        assert_eq!(out, want);
    }

    #[test]
    fn names_beyond_the_measured_ones() {
        let d = Options::default;
        let cpu = ["a.b.c", "cpu", "0", "cpu", "idle"];
        let load = ["a.b", "load", "", "load", ""];
        check(d(), cpu, None, "a_b_c.cpu-0.cpu-idle");
        check(Options { reverse_host: true, ..d() }, cpu, None, "c_b_a.cpu-0.cpu-idle");
        check(Options { reverse_host: true, preserve_separator: true, ..d() }, cpu, None, "c.b.a.cpu-0.cpu-idle");
        check(Options { postfix: ".x".into(), escape_character: '%', ..d() }, cpu, None, "a%b%c.x.cpu-0.cpu-idle");
        check(Options { drop_duplicate_fields: true, ..d() }, cpu, None, "a_b_c.cpu-0.idle");
        check(Options { drop_duplicate_fields: true, ..d() }, load, Some("short"), "a_b.load.short");
        check(Options { drop_duplicate_fields: true, ..d() }, load, None, "a_b.load.load");
        let odd = ["h", "p(1)", "a,b:c!", "t\"\\", "d/e{f}[g]#%&'*+<>?@^`|~$="];
        check(d(), odd, Some("v"), "h.p_1_-a_b_c_.t__-d_e{f}[g]#%&'*+<>?@^`|~$=.v");
        let fixed = |use_tags| Options { prefix: "a b.".into(), postfix: ".(c)".into(), use_tags, ..d() };
        check(fixed(false), load, None, "a_b.a_b._c_.load.load");
        check(fixed(true), load, None, "a_b.load.load._c_;host=a.b;plugin=load;type=load");
        let tags = || Options { use_tags: true, prefix: "c.".into(), ..d() };
        check(tags(), load, Some("short"), "c.load.load.short;host=a.b;plugin=load;type=load;ds_name=short");
        check(Options { drop_duplicate_fields: true, ..tags() }, load, None, "c.load;host=a.b;plugin=load;type=load");
        check(
            tags(),
            ["h;x=1", "p", "a\tb\u{7f}", "t", "\n"],
            None,
            "c.p.t;host=h_x=1;plugin=p;plugin_instance=a_b_;type=t;type_instance=_",
        );
    }

    #[test]
    fn options_have_write_graphites_names_and_defaults() {
        let options: Options =
            toml::from_str("prefix = \"collectd.\"\nstore_rates = false\nescape_character = \"-\"").unwrap();
        let want =
            Options { prefix: "collectd.".into(), store_rates: false, escape_character: '-', ..Options::default() };
        assert_eq!(options, want);
        assert!(Options::default().store_rates);
        for text in
            ["prefixx = \"\"", "escape_character = \"ab\"", "escape_character = \".\"", "escape_character = \"é\""]
        {
            assert!(toml::from_str::<Options>(text).is_err(), "{text}");
        }
    }
}
