//! types.db: which values a type has, of what kind and in what range.
//!
//! One type a line: `name  source:KIND:min:max, source:KIND:min:max`; `U` is no limit, `#` begins a comment.
//! A later definition replaces an earlier one.

use std::collections::HashMap;

use crate::value::{Kind, Reject, ValueList};

/// The types that collectd 5.12 comes with: `sources = types that have them`, a line for each set of sources.
const BUILT_IN: &str = include_str!("types.txt");

/// Data sources a type may have.
const SOURCES_MAX: usize = 1000;

/// One value of a type.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// `value` where a type has only one.
    pub name: String,
    /// How its numbers are meant.
    pub kind: Kind,
    /// Least rate that is believed; minus infinity for no limit.
    pub min: f64,
    /// Greatest rate that is believed; infinity for no limit.
    pub max: f64,
}

/// The types of one or more files.
#[derive(Clone, Debug, Default)]
pub struct TypesDb {
    types: HashMap<String, Vec<Source>>,
}

/// A line that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl TypesDb {
    /// No types at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// The types that collectd comes with; files of one's own are added to them.
    pub fn built_in() -> Self {
        let mut db = Self::new();
        for (sources, names) in BUILT_IN.lines().filter_map(|line| line.split_once(" = ")) {
            for name in names.split(' ') {
                let sources = parse_sources(name, sources).expect("the table is tested");
                db.types.insert(name.to_owned(), sources);
            }
        }
        db
    }

    /// Adds the types of a file; gives the lines that are no types, which collectd skips too.
    pub fn add(&mut self, text: &str) -> Vec<BadLine> {
        let mut bad = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            match parse_line(line) {
                Ok((name, sources)) => {
                    self.types.insert(name.to_owned(), sources);
                }
                Err(message) => bad.push(BadLine { line: i + 1, message }),
            }
        }
        bad
    }

    /// The values of a type.
    pub fn get(&self, type_name: &str) -> Option<&[Source]> {
        self.types.get(type_name).map(Vec::as_slice)
    }

    /// The data sources of a list's values.
    ///
    /// # Errors
    /// [`Reject`] if the type is unknown or has another number of values.
    pub fn sources_of(&self, list: &ValueList<'_>) -> Result<&[Source], Reject> {
        let sources = self.get(&list.id.type_name).ok_or_else(|| Reject::UnknownType(list.id.type_name.to_string()))?;
        if sources.len() != list.values.len() {
            let name = list.id.type_name.to_string();
            return Err(Reject::ValueCount { name, want: sources.len(), got: list.values.len() });
        }
        Ok(sources)
    }

    /// Number of types.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there are no types.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }
}

fn parse_line(line: &str) -> Result<(&str, Vec<Source>), String> {
    let (name, rest) = line.split_once(char::is_whitespace).ok_or("a type without values")?;
    Ok((name, parse_sources(name, rest)?))
}

fn parse_sources(name: &str, text: &str) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for spec in text.split([',', ' ', '\t']).filter(|s| !s.is_empty()) {
        let parts: Vec<&str> = spec.split(':').collect();
        let [source, kind, min, max] = parts[..] else {
            return Err(format!("{spec}: a value is name:KIND:min:max"));
        };
        if sources.len() == SOURCES_MAX {
            return Err(format!("{name}: more than {SOURCES_MAX} values"));
        }
        sources.push(Source {
            name: source.to_owned(),
            kind: Kind::from_name(kind)
                .ok_or_else(|| format!("{kind}: the kind is COUNTER, GAUGE, DERIVE or ABSOLUTE"))?,
            min: parse_limit(min, f64::NEG_INFINITY)?,
            max: parse_limit(max, f64::INFINITY)?,
        });
    }
    if sources.is_empty() { Err(format!("{name}: a type without values")) } else { Ok(sources) }
}

fn parse_limit(text: &str, none: f64) -> Result<f64, String> {
    if text == "U" {
        return Ok(none);
    }
    fast_float2::parse(text)
        .ok()
        .filter(|v: &f64| !v.is_nan())
        .ok_or_else(|| format!("{text}: a limit is a number or U"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_and_bad_lines_told() {
        let mut db = TypesDb::new();
        let bad = db.add(
            "# comment\n\nload  short:GAUGE:0:5000, long:gauge:U:1e3 # end\ncpu\tvalue:DERIVE:0:U\nif rx:DERIVE:0:U,tx:DERIVE:0:U\n\
             none\nodd value:GAUGE:0\nkind value:TEXT:0:1\nlimit value:GAUGE:x:1\ncpu value:COUNTER:U:U\n",
        );
        let told: Vec<String> = bad.iter().map(|b| format!("{} {}", b.line, b.message)).collect();
        assert_eq!(
            told,
            [
                "6 a type without values",
                "7 value:GAUGE:0: a value is name:KIND:min:max",
                "8 TEXT: the kind is COUNTER, GAUGE, DERIVE or ABSOLUTE",
                "9 x: a limit is a number or U",
            ]
        );
        assert_eq!(db.len(), 3);
        let source = |name: &str, kind, min, max| Source { name: name.to_owned(), kind, min, max };
        let (low, high) = (f64::NEG_INFINITY, f64::INFINITY);
        let load = [source("short", Kind::Gauge, 0.0, 5000.0), source("long", Kind::Gauge, low, 1000.0)];
        assert_eq!(db.get("load"), Some(&load[..]));
        assert_eq!(db.get("cpu"), Some(&[source("value", Kind::Counter, low, high)][..]));
        assert_eq!((db.get("if").map(<[_]>::len), db.get("none")), (Some(2), None));
    }

    #[test]
    fn the_built_in_types_are_there_and_can_be_replaced() {
        let mut db = TypesDb::built_in();
        assert!(db.len() > 300, "{}", db.len());
        let names = |db: &TypesDb, of: &str| {
            let sources = db.get(of).unwrap_or_default();
            sources.iter().map(|s| format!("{} {}", s.name, s.kind)).collect::<Vec<_>>()
        };
        assert_eq!(names(&db, "load"), ["shortterm gauge", "midterm gauge", "longterm gauge"]);
        assert_eq!(names(&db, "if_octets"), ["rx derive", "tx derive"]);
        db.add("load only:ABSOLUTE:0:U");
        assert_eq!(names(&db, "load"), ["only absolute"]);
    }
}
