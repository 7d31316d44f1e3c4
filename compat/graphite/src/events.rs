//! Events: what happened when, with tags, as `/events` takes and gives them.
//!
//! An event keeps its tags as they were written; [`words`] takes the text apart into what queries
//! look for. The two differ for `a, b c`: shown as `a,` `b` `c`, found as `a` and `b c`.
//!
//! Limits: [`TEXT_BYTES_MAX`] for an event's texts together, [`WORDS_MAX`] for its tags and those
//! of a query.

use crate::answer::Params;
use crate::python;
use crate::time;
use jiff::tz::TimeZone;
use rhythmite_model::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Most bytes of an event's title, tags and data together.
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// Most tags of an event or a query.
pub const WORDS_MAX: usize = 100;

const SECOND_US: i64 = 1_000_000;

/// Seconds of the years 1 to 9999: times that can be shown.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// An event that somebody reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its title.
    pub what: String,
    /// Its tags as written.
    pub tags: String,
    /// Further text.
    pub data: String,
    /// Microseconds since 1970; `None` is now.
    pub time_us: Option<i64>,
}

impl NewEvent {
    /// Reads the JSON object `{"what", "tags", "when", "data"}`: tags are a list of texts or one text with blanks
    /// between them, `when` is in seconds since 1970. Title and data may be any JSON value and become text.
    ///
    /// # Errors
    /// `Invalid` for anything else, without a title, and for texts beyond the limits.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let object: Map<String, Value> =
            serde_json::from_slice(body).map_err(|e| Error::invalid(format!("an event is a JSON object: {e}")))?;
        let what = match object.get("what") {
            None | Some(Value::Null) => return Err(Error::invalid("\"what\" is missing")),
            Some(value) => python::text_of_json(value),
        };
        let tags = match object.get("tags") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(list)) => {
                let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                texts.ok_or_else(|| Error::invalid("\"tags\" must be an array of strings"))?.join(" ")
            }
            Some(_) => return Err(Error::invalid("\"tags\" must be an array or space-separated string")),
        };
        let data = match object.get("data") {
            None => String::new(),
            Some(Value::Null) => return Err(Error::invalid("\"data\" must not be null")),
            Some(value) => python::text_of_json(value),
        };
        let time_us = object.get("when").map(when_us).transpose()?;
        let bytes = what.len() + tags.len() + data.len();
        if bytes > TEXT_BYTES_MAX {
            return Err(Error::invalid(format!("an event of {bytes} bytes; {TEXT_BYTES_MAX} are the limit")));
        }
        if words(&tags).len() > WORDS_MAX {
            return Err(Error::invalid(format!("an event has more than {WORDS_MAX} tags")));
        }
        Ok(Self { what, tags, data, time_us })
    }

    /// An event that a program reported by a protocol without answers, cut to the limits: a quarter of
    /// [`TEXT_BYTES_MAX`] is for the title, a quarter for the tags, the rest for the data. Each of `tags` is one tag:
    /// blanks, commas and quotes in it become `_`. A time that cannot be shown becomes the nearest that can.
    #[must_use]
    pub fn fitting<'a>(what: &str, tags: impl IntoIterator<Item = &'a str>, data: &str, time_s: i64) -> Self {
        let what = cut(what, TEXT_BYTES_MAX / 4);
        let mut words = String::new();
        for tag in tags.into_iter().filter(|tag| !tag.is_empty()).take(WORDS_MAX) {
            if words.len() + tag.len() + 1 > TEXT_BYTES_MAX / 4 {
                break;
            }
            if !words.is_empty() {
                words.push(' ');
            }
            words.extend(tag.chars().map(|c| if c.is_whitespace() || c == ',' || c == '"' { '_' } else { c }));
        }
        let data = cut(data, TEXT_BYTES_MAX / 2);
        let time_us = time_s.clamp(*SECONDS.start(), *SECONDS.end()) * SECOND_US;
        Self { what: what.to_owned(), tags: words, data: data.to_owned(), time_us: Some(time_us) }
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn when_us(value: &Value) -> Result<i64> {
    let bad = || Error::invalid("\"when\" must be a number of seconds since 1970");
    let us = match value.as_i64() {
        Some(s) => Some(s).filter(|s| SECONDS.contains(s)).map(|s| s * SECOND_US),
        None => {
            let s = value.as_f64().ok_or_else(bad)?;
            (*SECONDS.start() as f64..=*SECONDS.end() as f64)
                .contains(&s)
                .then(|| (s * SECOND_US as f64).round() as i64)
        }
    };
    us.ok_or_else(bad)
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number.
    pub id: i64,
    /// Microseconds since 1970.
    pub time_us: i64,
    /// Its title.
    pub what: String,
    /// Its tags as written.
    pub tags: String,
    /// Further text.
    pub data: String,
}

impl Event {
    /// Whole seconds since 1970.
    #[must_use]
    pub fn time_s(&self) -> i64 {
        self.time_us.div_euclid(SECOND_US)
    }

    /// The tags as they are shown: what stands between blanks.
    pub fn shown_tags(&self) -> impl Iterator<Item = &str> {
        self.tags.split_whitespace()
    }
}

/// The tags that a text means: separated by commas if it has one outside of double quotes, else by blanks. What is
/// quoted is one tag.
#[must_use]
pub fn words(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut loose: Vec<&str> = Vec::new();
    let mut comma = false;
    let mut rest = text;
    while let Some(open) = rest.find('"') {
        let (before, behind) = (&rest[..open], &rest[open + 1..]);
        comma |= before.contains(',');
        loose.push(before);
        let Some(close) = behind.find('"') else {
            // A quote that nobody closes is none.
            comma |= behind.contains(',');
            loose.push(behind);
            rest = "";
            break;
        };
        found.insert(behind[..close].trim().to_owned());
        rest = &behind[close + 1..];
    }
    comma |= rest.contains(',');
    loose.push(rest);
    let separator = if comma { ',' } else { ' ' };
    found.extend(loose.iter().flat_map(|text| text.split(separator)).map(|word| word.trim().to_owned()));
    found.remove("");
    found
}

/// How the tags of a query must agree with those of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagSet {
    /// The event has every tag that any event has; tags nobody has ever used are ignored.
    AllKnown,
    /// The event has every tag.
    Intersection,
    /// The event has one of the tags.
    Union,
}

/// Which events are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// First instant, microseconds since 1970.
    pub from_us: i64,
    /// Last instant.
    pub until_us: i64,
    /// Tags, all events without them.
    pub tags: Option<Vec<String>>,
    /// What the tags mean.
    pub set: TagSet,
}

impl EventQuery {
    /// Reads `from` (default 1970), `until` (default now), `tags` (blanks between them), `set` = `union` or
    /// `intersection`. `clock_us` is the time of day.
    ///
    /// # Errors
    /// `Invalid` for a malformed time or too many tags.
    pub fn parse(params: Params<'_>, clock_us: i64, zone: &TimeZone) -> Result<Self> {
        let at = |name: &str| {
            let now_s = clock_us.div_euclid(SECOND_US);
            let time_s = params.get(name).map(|text| time::parse_time(text, zone, now_s)).transpose()?;
            Ok::<_, Error>(time_s.map(|s| s.saturating_mul(SECOND_US)))
        };
        let tags: Option<Vec<String>> = params.get("tags").map(|text| text.split(' ').map(str::to_owned).collect());
        if tags.as_ref().is_some_and(|tags| tags.len() > WORDS_MAX) {
            return Err(Error::invalid(format!("more than {WORDS_MAX} tags")));
        }
        let set = match params.get("set") {
            Some("union") => TagSet::Union,
            Some("intersection") => TagSet::Intersection,
            _ => TagSet::AllKnown,
        };
        Ok(Self { from_us: at("from")?.unwrap_or(0), until_us: at("until")?.unwrap_or(clock_us), tags, set })
    }

    /// Whether an event that a store found is one: an intersection also needs each tag among the shown ones.
    #[must_use]
    pub fn keeps(&self, event: &Event) -> bool {
        match &self.tags {
            Some(tags) if self.set == TagSet::Intersection => {
                let shown: BTreeSet<&str> = event.shown_tags().collect();
                let wanted: BTreeSet<&str> = tags.iter().map(String::as_str).collect();
                // A tag given twice counts twice on one side only.
                wanted.intersection(&shown).count() == tags.len()
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_json_objects() {
        let event = |what: &str, tags: &str, data: &str, time_us| NewEvent {
            what: what.to_owned(),
            tags: tags.to_owned(),
            data: data.to_owned(),
            time_us,
        };
        for (body, want) in [
            (r#"{"what":"w","tags":["b","a","b"],"when":7,"data":"d"}"#, Ok(event("w", "b a b", "d", Some(7_000_000)))),
            (r#"{"what":"w","tags":" c, d "}"#, Ok(event("w", " c, d ", "", None))),
            (r#"{"what":5,"when":6.7,"data":{"a":[1,true,null,"x'"]}}"#, {
                Ok(event("5", "", "{'a': [1, True, None, \"x'\"]}", Some(6_700_000)))
            }),
            (r#"{"what":true,"tags":null,"when":-5}"#, Ok(event("True", "", "", Some(-5_000_000)))),
            (r#"{"what":"w","tags":5}"#, Err("must be an array or space-separated string")),
            (r#"{"what":"w","tags":[1]}"#, Err("must be an array of strings")),
            (r#"{"what":null}"#, Err("\"what\" is missing")),
            (r#"{"what":"w","data":null}"#, Err("must not be null")),
            (r#"{"what":"w","when":"5"}"#, Err("must be a number")),
            (r#"{"what":"w","when":null}"#, Err("must be a number")),
            (r#"{"what":"w","when":1e300}"#, Err("must be a number")),
            (r#"{"what":"w","when":9223372036854775807}"#, Err("must be a number")),
            ("[1]", Err("a JSON object")),
            ("what=x", Err("a JSON object")),
        ] {
            let got = NewEvent::parse(body.as_bytes());
            match (&got, want) {
                (Ok(got), Ok(want)) => assert_eq!(*got, want, "{body}"),
                (Err(e), Err(part)) => assert!(e.message().contains(part), "{body}: {e}"),
                _ => panic!("{body}: {got:?}"),
            }
        }
        let long = format!(r#"{{"what":"{}"}}"#, "x".repeat(TEXT_BYTES_MAX + 1));
        assert!(NewEvent::parse(long.as_bytes()).is_err());
        let many: Vec<String> = (0..=WORDS_MAX).map(|i| format!("\"t{i}\"")).collect();
        assert!(NewEvent::parse(format!(r#"{{"what":"w","tags":[{}]}}"#, many.join(",")).as_bytes()).is_err());
    }

    #[test]
    fn a_text_means_tags() {
        for (text, want) in [
            ("", &[][..]),
            ("  b   a  b ", &["a", "b"]),
            ("c, d e", &["c", "d e"]),
            ("\"quoted, tag\" y x", &["quoted, tag", "x", "y"]),
            ("\"a b\" c d, e", &["a b", "c d", "e"]),
            ("a \"b c", &["a", "b", "c"]),
            ("a \"b, c", &["a", "b", "c"]),
            ("\"\" ,", &[]),
        ] {
            assert_eq!(words(text).iter().collect::<Vec<_>>(), want, "{text}");
        }
    }

    #[test]
    fn an_intersection_needs_every_tag_once() {
        let event = Event { id: 1, time_us: 0, what: String::new(), tags: "a b a".to_owned(), data: String::new() };
        for (tags, keeps) in
            [("a", true), ("a b", true), ("b a", true), ("a a", false), ("a  b", false), ("a c", false)]
        {
            let params = [("tags", tags), ("set", "intersection")].map(|(k, v)| (k.to_owned(), v.to_owned()));
            let query = EventQuery::parse(Params(&params), 5, &TimeZone::UTC).expect("harmless");
            assert_eq!(query.keeps(&event), keeps, "{tags}");
        }
    }

    #[test]
    fn what_a_program_reports_is_made_to_fit() {
        let event = NewEvent::fitting("disk full", ["host:web 1", "", "a,b", "q\"q"], "text", i64::MAX);
        let words: Vec<String> = super::words(&event.tags).into_iter().collect();
        assert_eq!((event.tags.as_str(), words.len()), ("host:web_1 a_b q_q", 3));
        assert_eq!(event.time_us, Some(*SECONDS.end() * SECOND_US));
        let long = "\u{e9}".repeat(TEXT_BYTES_MAX);
        let event = NewEvent::fitting(&long, [long.as_str()], &long, 0);
        assert!(event.what.len() + event.tags.len() + event.data.len() <= TEXT_BYTES_MAX);
        assert_eq!((event.what.len(), event.tags.len()), (TEXT_BYTES_MAX / 4, 0));
        let many: Vec<String> = (0..2 * WORDS_MAX).map(|i| i.to_string()).collect();
        let event = NewEvent::fitting("", many.iter().map(String::as_str), "", 0);
        assert_eq!(super::words(&event.tags).len(), WORDS_MAX);
    }
}
