//! carbon.conf, read for what it says: sections with settings, each with its line.
//!
//! As carbon reads it: keys in any case, `%%` is a per cent sign, an instance's section (`[cache:b]`) stands beside the
//! general one. Nothing is interpreted here.

use crate::rules::ini_sections;

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// In capitals, as carbon writes it.
    pub key: String,
    /// Without the blanks around it.
    pub value: String,
    /// From 1.
    pub line: usize,
}

/// A daemon's section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// `cache`, `relay`, `aggregator`, or what else stands there.
    pub daemon: String,
    /// Behind the colon; empty for the general section.
    pub instance: String,
    /// In the order of the file; of a repeated key the last holds.
    pub settings: Vec<Setting>,
}

impl Section {
    /// The setting of this name.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().rev().find(|setting| setting.key == key)
    }
}

/// Reads the text of a carbon.conf. Lines that are none of its are left out.
pub fn parse(text: &str) -> Vec<Section> {
    let sections = ini_sections(text).into_iter().map(|(name, options)| {
        let (daemon, instance) = name.split_once(':').unwrap_or((&name, ""));
        let settings = options.into_iter().map(|(key, value, line)| {
            // configparser keeps a comment behind a value; people mean a comment.
            let value = value.split_once(" #").map_or(value.as_str(), |(value, _)| value).trim().to_owned();
            Setting { key: key.to_uppercase(), value, line }
        });
        Section {
            daemon: daemon.trim().to_lowercase(),
            instance: instance.trim().to_owned(),
            settings: settings.collect(),
        }
    });
    sections.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_settings_and_lines_are_read() {
        let sections =
            parse("[cache]\nUSER =\nline_receiver_port = 2003 # here\n\n[cache:b]\nLINE_RECEIVER_PORT = 2103\n");
        assert_eq!(sections.len(), 2);
        let port = sections[0].get("LINE_RECEIVER_PORT").unwrap();
        assert_eq!((port.value.as_str(), port.line), ("2003", 3));
        assert_eq!(sections[0].get("USER").unwrap().value, "");
        assert_eq!((sections[1].daemon.as_str(), sections[1].instance.as_str()), ("cache", "b"));
        assert!(sections[1].get("USER").is_none());
    }
}
