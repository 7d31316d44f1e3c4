//! Reading and laying over one another.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rhythmite_model::{Error, Result};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::rooms::{
    Aggregator, Auth, Carbon, Collectd, Graphite, Http, Influx, Limits, OwnSeries, Postgres, Query, Relay, Statsd, Wal,
};
use super::{Config, Memory};

/// A configuration file is small; more than this is some other file.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// Before the names of environment variables.
const PREFIX: &str = "RHYTHMITE_";

/// Where settings come from, the stronger further down.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// The file's name and text.
    pub file: Option<(PathBuf, String)>,
    /// Environment variables: `RHYTHMITE_HTTP__LISTEN` is `[http] listen`, `RHYTHMITE_DATA_DIR` is `data_dir`.
    pub environment: Vec<(String, String)>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
}

impl Layers {
    /// What holds in the end.
    ///
    /// # Errors
    /// `Invalid`, with file and line or the variable's name.
    pub fn resolve(&self) -> Result<Config> {
        let (path, text): (&Path, &str) = match &self.file {
            Some((path, text)) => (path, text),
            None => (Path::new(""), ""),
        };
        let in_file = |at: Option<Range<usize>>, message: &dyn fmt::Display| {
            let line = at.map(|at| text[..at.start.min(text.len())].matches('\n').count() + 1);
            let line = line.map(|line| format!(":{line}")).unwrap_or_default();
            Error::invalid(format!("{}{line}: {message}", path.display()))
        };
        let mut root = DeTable::parse(text).map_err(|e| in_file(e.span(), &e.message()))?;
        check_keys(root.get_ref()).map_err(|unknown| in_file(Some(unknown.at.clone()), &unknown))?;
        let mut config = parse(root.clone()).map_err(|e| in_file(e.span(), &e.message()))?;
        let names_listeners = names_listeners(root.get_ref());
        if self.file.is_some() {
            config.check_values().map_err(|e| in_file(None, &e))?;
        }

        for (name, value) in &self.environment {
            if let Some(path) = variable_path(name) {
                config = lay_over(&mut root, &path, value).map_err(|e| Error::invalid(format!("{name}: {e}")))?;
                config.check_values().map_err(|e| e.at(name))?;
            }
        }
        if let Some(dir) = &self.data_dir {
            config.data_dir.clone_from(dir);
        }
        config.settle_listeners(names_listeners);
        Ok(config)
    }
}

/// `RHYTHMITE_STATSD__FLUSH_INTERVAL` -> `statsd`, `flush_interval`. Other variables of ours are flags' (`RHYTHMITE_LOG`).
fn variable_path(name: &str) -> Option<Vec<String>> {
    let path = name.strip_prefix(PREFIX)?.to_lowercase();
    (path == "data_dir" || path.contains("__")).then(|| path.split("__").map(str::to_owned).collect())
}

/// Puts one value into the tree and reads all of it again, so that the fault can be told from the variable's name.
fn lay_over<'t>(root: &mut Spanned<DeTable<'t>>, path: &[String], value: &'t str) -> Result<Config, String> {
    // `10`, `true` and `["a", "b"]` are what they look like; what is no TOML value is a text.
    let as_toml = DeValue::parse(value).ok().map(Spanned::into_inner);
    let as_text = DeValue::String(value.into());
    let mut fault = String::new();
    for candidate in as_toml.into_iter().chain([as_text]) {
        let mut tree = root.clone();
        insert(tree.get_mut(), path, candidate)?;
        let read = check_keys(tree.get_ref())
            .map_err(|unknown| unknown.to_string())
            .and_then(|()| parse(tree.clone()).map_err(|e| e.message().to_owned()));
        match read {
            Ok(config) => {
                *root = tree;
                return Ok(config);
            }
            Err(e) => fault = e,
        }
    }
    Err(fault)
}

fn insert<'t>(table: &mut DeTable<'t>, path: &[String], value: DeValue<'t>) -> Result<(), String> {
    let spanned = |value| Spanned::new(0..0, value);
    let [section @ .., key] = path else { return Err("no key".to_owned()) };
    let mut table = table;
    for name in section {
        let entry = table.entry(Spanned::new(0..0, name.clone().into()));
        let next = entry.or_insert_with(|| spanned(DeValue::Table(DeTable::default())));
        table = match next.get_mut() {
            DeValue::Table(next) => next,
            _ => return Err(format!("`{name}` is not a section")),
        };
    }
    table.insert(Spanned::new(0..0, key.clone().into()), spanned(value));
    Ok(())
}

/// Reads the tree; in `[statsd]` StatsD's keys stand beside ours.
fn parse(mut root: Spanned<DeTable<'_>>) -> Result<Config, toml::de::Error> {
    let mut options = DeTable::default();
    if let Some(statsd) = root.get_mut().get_mut("statsd")
        && let DeValue::Table(statsd) = statsd.get_mut()
    {
        let keys = statsd.keys().cloned().collect::<Vec<_>>();
        for key in keys {
            if rhythmite_statsd::Options::KEYS.contains(&key.get_ref().as_ref())
                && let Some(value) = statsd.remove(&key)
            {
                options.insert(key, value);
            }
        }
    }
    let mut config = Config::deserialize(toml::Deserializer::from(root))?;
    config.statsd.options =
        rhythmite_statsd::Options::deserialize(toml::Deserializer::from(Spanned::new(0..0, options)))?;
    Ok(config)
}

/// Whether any key of any section says where to listen.
fn names_listeners(root: &DeTable<'_>) -> bool {
    let tables = root.values().filter_map(|section| section.get_ref().as_table());
    // `[[collectd.listener]]` is one, too.
    tables.flat_map(|table| table.keys()).any(|key| key.get_ref().ends_with("listen") || key.get_ref() == "listener")
}

/// A key that means nothing.
struct Unknown {
    at: Range<usize>,
    section: Option<&'static str>,
    key: String,
    meant: Option<String>,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.section {
            Some(section) => write!(f, "unknown key `{}` in [{section}]", self.key)?,
            None => write!(f, "unknown section or key `{}`", self.key)?,
        }
        match &self.meant {
            Some(meant) => write!(f, "; did you mean `{meant}`?"),
            None => Ok(()),
        }
    }
}

fn check_keys(root: &DeTable<'_>) -> Result<(), Unknown> {
    let sections: [(&'static str, &[&str]); 15] = [
        ("http", keys_of::<Http>()),
        ("graphite", keys_of::<Graphite>()),
        ("carbon", keys_of::<Carbon>()),
        ("aggregator", keys_of::<Aggregator>()),
        ("relay", keys_of::<Relay>()),
        ("statsd", keys_of::<Statsd>()),
        ("collectd", keys_of::<Collectd>()),
        ("influx", keys_of::<Influx>()),
        ("postgres", keys_of::<Postgres>()),
        ("auth", keys_of::<Auth>()),
        ("query", keys_of::<Query>()),
        ("memory", keys_of::<Memory>()),
        ("wal", keys_of::<Wal>()),
        ("limits", keys_of::<Limits>()),
        ("self", keys_of::<OwnSeries>()),
    ];
    check_table(root, None, keys_of::<Config>())?;
    for (name, keys) in sections {
        let Some(table) = root.get(name).and_then(|section| section.get_ref().as_table()) else { continue };
        let more: &[&str] = if name == "statsd" { &rhythmite_statsd::Options::KEYS } else { &[] };
        check_table(table, Some(name), &[keys, more].concat())?;
    }
    Ok(())
}

fn check_table(table: &DeTable<'_>, section: Option<&'static str>, keys: &[&str]) -> Result<(), Unknown> {
    match table.keys().find(|key| !keys.contains(&key.get_ref().as_ref())) {
        None => Ok(()),
        Some(key) => {
            let meant = closest(key.get_ref(), keys);
            Err(Unknown { at: key.span(), section, key: key.get_ref().to_string(), meant })
        }
    }
}

/// The key that a slip of the hand turns into `typed`, if one is near enough.
fn closest(typed: &str, keys: &[&str]) -> Option<String> {
    let near = |key: &&&str| (distance(typed, key), key.len());
    let best = keys.iter().min_by_key(near)?;
    (distance(typed, best) <= 1 + typed.len() / 4).then(|| (*best).to_owned())
}

/// Levenshtein's distance; keys are short.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (&a.as_bytes()[..a.len().min(64)], b.as_bytes());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The names of a struct's fields, as serde knows them.
fn keys_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    struct Ask<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("only asked for the names"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut keys: &'static [&'static str] = &[];
    // It always fails, after it has named its fields.
    let _ = T::deserialize(Ask(&mut keys));
    keys
}
