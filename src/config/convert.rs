//! Carbon's and StatsD's configuration as one of ours.
//!
//! Every key that comes out has a comment with file, line and text of what it comes from; at the end stands what has no
//! effect here, and why. Rule files are not converted: ours names them where they are.

mod carbon;
mod statsd;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::path::PathBuf;

use rhythmite_model::Result;

/// Rule files that are looked for beside carbon.conf.
pub const RULE_FILES: [&str; 7] = [
    "storage-schemas.conf",
    "storage-aggregation.conf",
    "aggregation-rules.conf",
    "rewrite-rules.conf",
    "relay-rules.conf",
    "whitelist.conf",
    "blacklist.conf",
];

/// What there is to be converted.
#[derive(Clone, Debug, Default)]
pub struct Classic {
    /// Where carbon's files are.
    pub dir: PathBuf,
    /// The text of carbon.conf.
    pub carbon: Option<String>,
    /// Those of [`RULE_FILES`] that are there.
    pub rules: Vec<&'static str>,
    /// Name and text of StatsD's configuration.
    pub statsd: Option<(String, String)>,
}

impl Classic {
    /// The configuration file's text.
    ///
    /// # Errors
    /// `Invalid` when StatsD's file holds what would have to be computed, with its line.
    pub fn convert(&self) -> Result<String> {
        let mut out = Out::default();
        let note = "the port of render, find, InfluxDB's interface and SQL; point dashboards here";
        out.add("http", "listen", quote("127.0.0.1:8086"), note.to_owned());
        carbon::convert(self, &mut out);
        if let Some((name, text)) = &self.statsd {
            statsd::convert(name, text, &mut out)?;
        }
        Ok(out.text())
    }

    /// The path of a rule file, as a value, if it is there.
    fn rule(&self, name: &str) -> Option<String> {
        self.rules.contains(&name).then(|| quote(&self.dir.join(name).display().to_string()))
    }
}

/// Sections in the order in which they are written.
const SECTIONS: [&str; 9] =
    ["http", "graphite", "carbon", "aggregator", "relay", "statsd", "statsd.graphite", "limits", "self"];

/// What comes out.
#[derive(Default)]
struct Out {
    keys: Vec<Key>,
    silent: Vec<String>,
}

struct Key {
    section: &'static str,
    key: &'static str,
    values: Vec<String>,
    from: Vec<String>,
    /// Whether more values make it a list.
    list: bool,
}

impl Out {
    /// A key with its value (TOML) and what it comes from; a later one replaces an earlier one.
    fn add(&mut self, section: &'static str, key: &'static str, value: String, from: String) {
        self.keys.retain(|k| (k.section, k.key) != (section, key));
        self.keys.push(Key { section, key, values: vec![value], from: vec![from], list: false });
    }

    /// One more value of a key that may have several.
    fn append(&mut self, section: &'static str, key: &'static str, value: String, from: String) {
        match self.keys.iter_mut().find(|k| (k.section, k.key) == (section, key)) {
            Some(key) if key.values.contains(&value) => key.from.push(from),
            Some(key) => {
                key.values.push(value);
                key.from.push(from);
            }
            None => self.keys.push(Key { section, key, values: vec![value], from: vec![from], list: true }),
        }
    }

    /// Something that has no effect.
    fn silent(&mut self, from: &str, why: &str) {
        self.silent.push(format!("{from}: {why}"));
    }

    fn text(&self) -> String {
        let mut text =
            "# Made by `rhythmite config convert`. Read it, then `rhythmite config check --config` it.\n".to_owned();
        text += "data_dir = \"/var/lib/rhythmite\"\n";
        for section in SECTIONS {
            let keys: Vec<&Key> = self.keys.iter().filter(|k| k.section == section).collect();
            if keys.is_empty() {
                continue;
            }
            let _ = writeln!(text, "\n[{section}]");
            for key in keys {
                key.from.iter().for_each(|from| text += &format!("# {}\n", one_line(from)));
                let value = match &key.values[..] {
                    [one] if !key.list || key.key.ends_with("listen") => one.clone(),
                    many => format!("[{}]", many.join(", ")),
                };
                let _ = writeln!(text, "{} = {value}", key.key);
            }
        }
        if !self.silent.is_empty() {
            text += "\n# No effect here:\n";
            self.silent.iter().for_each(|line| text += &format!("# {}\n", one_line(line)));
        }
        text
    }
}

/// A text as TOML.
fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// What may stand in a comment.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
