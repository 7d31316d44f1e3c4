use std::collections::BTreeMap;
use std::fmt;

/// Tags of a series, sorted by key. Values are text; a function's numbers are written as Python
/// writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(BTreeMap<String, String>);

/// Text for a tag: strings as they are, floats as Python's `str`.
pub trait TagValue {
    /// The text.
    fn tag_text(self) -> String;
}

impl TagValue for &str {
    fn tag_text(self) -> String {
        self.to_owned()
    }
}

impl TagValue for String {
    fn tag_text(self) -> String {
        self
    }
}

impl TagValue for &String {
    fn tag_text(self) -> String {
        self.clone()
    }
}

impl TagValue for i64 {
    fn tag_text(self) -> String {
        self.to_string()
    }
}

impl TagValue for f64 {
    fn tag_text(self) -> String {
        crate::python::repr(self)
    }
}

impl Tags {
    /// Tags given by the store.
    pub fn new(tags: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(tags.into_iter().collect())
    }

    /// Reads `name;tag=value;...`. A name that looks like a function call, or whose tags are
    /// malformed, has only the tag `name`.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self(
            if is_call(name) { None } else { parse(name) }
                .unwrap_or_else(|| BTreeMap::from([("name".into(), name.into())])),
        )
    }

    /// A tag's value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Sets a tag.
    pub fn set(&mut self, key: &str, value: impl TagValue) {
        self.0.insert(key.to_owned(), value.tag_text());
    }

    /// Drops a tag.
    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Keeps the tags that `other` has with the same value.
    pub fn keep_common(&mut self, other: &Self) {
        self.0.retain(|k, v| other.0.get(k) == Some(v));
    }

    /// All tags in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
}

/// `name;tag=value`, sorted.
impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get("name").unwrap_or_default())?;
        for (k, v) in self.iter().filter(|(k, _)| *k != "name") {
            write!(f, ";{k}={v}")?;
        }
        Ok(())
    }
}

/// Letters, then something in parentheses.
fn is_call(name: &str) -> bool {
    let letters = name.bytes().take_while(u8::is_ascii_alphabetic).count();
    letters > 0 && name.as_bytes().get(letters) == Some(&b'(') && name.len() > letters + 2 && name.ends_with(')')
}

fn parse(name: &str) -> Option<BTreeMap<String, String>> {
    let mut parts = name.split(';');
    let metric = parts.next().filter(|m| !m.is_empty())?;
    let mut tags = BTreeMap::new();
    for part in parts {
        let (key, value) = part.split_once('=').filter(|(k, _)| !k.is_empty())?;
        tags.insert(key.to_owned(), value.to_owned());
    }
    tags.insert("name".to_owned(), metric.to_owned());
    Some(tags)
}
