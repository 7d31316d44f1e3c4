//! Carbon's configuration files: how long and how coarse a name is kept, and which names are accepted.
//!
//! Every file is read from its text with the reference's tolerance: what is wrong in a section or line costs
//! that section or line, and becomes a [`Warning`] that names file, line and section. Patterns are Python
//! `re` searches, tried in the order of the file; the first that matches decides.
//!
//! A pattern that would backtrack beyond [`BACKTRACK_STEPS_MAX`] counts as no match, and
//! `patterns_exhausted` of its file's rules counts it.

mod aggregation;
mod ini;
mod lists;
mod pattern;
mod relay;
mod retention;
mod schemas;
#[cfg(test)]
mod tests;

use std::fmt;

pub use aggregation::{Aggregation, AggregationMethod, StorageAggregation};
pub use lists::{Filter, NameList, Verdict};
pub use pattern::BACKTRACK_STEPS_MAX;
pub(crate) use pattern::Pattern;
pub use relay::RelayRules;
pub use retention::{Archive, parse_retentions};
pub use schemas::{Schema, StorageSchemas};

/// Something in a configuration file that was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The section, where there is one.
    pub section: Option<String>,
    /// What is wrong and what it means.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if let Some(section) = &self.section {
            write!(f, "[{section}] ")?;
        }
        f.write_str(&self.message)
    }
}

/// Key, value and line of an option.
pub(crate) type IniOption = (String, String, usize);

/// The sections of any of carbon's files: name, and key, value and line of each option.
pub(crate) fn ini_sections(text: &str) -> Vec<(String, Vec<IniOption>)> {
    let sections = ini::parse(text, &mut Warnings::new("")).into_iter();
    sections.map(|section| (section.name.clone(), section.into_options())).collect()
}

/// Collects the warnings of one file.
pub(crate) struct Warnings<'a> {
    file: &'a str,
    pub(crate) list: Vec<Warning>,
}

impl<'a> Warnings<'a> {
    pub(crate) fn new(file: &'a str) -> Self {
        Self { file, list: Vec::new() }
    }

    pub(crate) fn add(&mut self, line: usize, section: Option<&str>, message: impl fmt::Display) {
        let section = section.map(str::to_owned);
        self.list.push(Warning { file: self.file.to_owned(), line, section, message: message.to_string() });
    }
}
