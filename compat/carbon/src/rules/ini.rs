use super::Warnings;

/// One `[section]` with its options, as Python's configparser reads it.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) line: usize,
    options: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    key: String,
    value: String,
    line: usize,
}

impl Section {
    /// The value of `key` (lower case) and the line it begins on; of a repeated key the last one.
    pub(super) fn get(&self, key: &str) -> Option<(&str, usize)> {
        self.options.iter().rev().find(|o| o.key == key).map(|o| (o.value.as_str(), o.line))
    }
}

impl Section {
    /// Key, value and line of every option.
    pub(super) fn into_options(self) -> Vec<super::IniOption> {
        self.options.into_iter().map(|o| (o.key, o.value, o.line)).collect()
    }
}

/// Reads `[section]`, `key = value` or `key: value`, comments with `#` or `;` at the start of a line, and values
/// continued on lines that are indented deeper than their key. `%%` is a per cent sign.
pub(super) fn parse(text: &str, warnings: &mut Warnings<'_>) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    // The indentation of the key whose value may go on; none after a header.
    let mut key_indent = None;
    for (i, raw) in text.lines().enumerate() {
        let line = i + 1;
        let trimmed = raw.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let indent = raw.len() - raw.trim_start().len();
        if let (Some(key_indent), Some(section)) = (key_indent, sections.last_mut())
            && indent > key_indent
            && let Some(option) = section.options.last_mut()
        {
            option.value.push('\n');
            option.value.push_str(&unescape(trimmed));
            continue;
        }
        key_indent = None;
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.rsplit_once(']')).map(|(name, _)| name) {
            if sections.iter().any(|s| s.name == name) {
                warnings.add(line, Some(name), "the section is there twice; both count, in order");
            }
            sections.push(Section { name: name.to_owned(), line, options: Vec::new() });
            continue;
        }
        let Some(section) = sections.last_mut() else {
            warnings.add(line, None, "ignored: it stands before the first [section]");
            continue;
        };
        let Some((key, value)) = trimmed.split_once(['=', ':']) else {
            warnings.add(line, Some(&section.name), format_args!("ignored: '{trimmed}' is not key = value"));
            continue;
        };
        let key = key.trim().to_lowercase();
        if section.get(&key).is_some() {
            warnings.add(line, Some(&section.name), format_args!("{key} is there twice; this one counts"));
        }
        section.options.push(Entry { key, value: unescape(value.trim()), line });
        key_indent = Some(indent);
    }
    sections
}

fn unescape(value: &str) -> String {
    value.replace("%%", "%")
}
