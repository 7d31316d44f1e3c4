//! The JSON `write_http` posts: an array of value lists that bring the names and kinds of their
//! values along, so that no types.db is needed.

use std::borrow::Cow;

use serde::Deserialize;

use crate::network::{INTERVAL_DEFAULT, NAME_MAX};
use crate::types_db::{Source, TypesDb};
use crate::value::{Identifier, Kind, Time, Value, ValueList, Values};

/// Values a list may have.
const VALUES_MAX: usize = 1000;

/// Why a body or one of its lists is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No array of value lists.
    #[error("not a body of write_http: {0}")]
    Json(#[from] serde_json::Error),
    /// The list at this place (from 0) cannot be meant so.
    #[error("list {index}: {message}")]
    List {
        /// From 0.
        index: usize,
        /// What is wrong.
        message: &'static str,
    },
}

#[derive(Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    host: Cow<'a, str>,
    #[serde(borrow)]
    plugin: Cow<'a, str>,
    #[serde(borrow, default)]
    plugin_instance: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    type_name: Cow<'a, str>,
    #[serde(borrow, default)]
    type_instance: Cow<'a, str>,
    time: f64,
    #[serde(default)]
    interval: f64,
    values: Vec<Option<serde_json::Number>>,
    #[serde(borrow)]
    dstypes: Vec<Cow<'a, str>>,
    #[serde(borrow)]
    dsnames: Vec<Cow<'a, str>>,
}

/// Reads a body and gives its lists to `sink` with the sources of their values; `types` adds the ranges where it
/// knows the type. Nothing is given if any list is bad. Gives the number of lists.
///
/// A counter, derive or absolute whose number is not whole is a rate already (`StoreRates`), so
/// it is taken for a gauge. The cost is that of the body, whose size the caller bounds.
///
/// # Errors
/// [`Error`], naming the list.
pub fn parse(body: &[u8], types: &TypesDb, mut sink: impl FnMut(&ValueList<'_>, &[Source])) -> Result<usize, Error> {
    let lists: Vec<List<'_>> = serde_json::from_slice(body)?;
    let lists: Result<Vec<_>, Error> = lists
        .into_iter()
        .enumerate()
        .map(|(index, list)| list.build(types).map_err(|message| Error::List { index, message }))
        .collect();
    let lists = lists?;
    for (list, sources) in &lists {
        sink(list, sources);
    }
    Ok(lists.len())
}

impl<'a> List<'a> {
    fn build(self, types: &TypesDb) -> Result<(ValueList<'a>, Vec<Source>), &'static str> {
        let count = self.values.len();
        if count == 0 || count > VALUES_MAX || self.dstypes.len() != count || self.dsnames.len() != count {
            return Err("values, dstypes and dsnames must be equally many, 1 to 1000");
        }
        let id = Identifier {
            host: self.host,
            plugin: self.plugin,
            plugin_instance: self.plugin_instance,
            type_name: self.type_name,
            type_instance: self.type_instance,
        };
        let parts = [&id.host, &id.plugin, &id.plugin_instance, &id.type_name, &id.type_instance];
        if parts.iter().any(|part| part.len() >= NAME_MAX || part.contains('\0')) {
            return Err("host, plugin, type and instances must be shorter than 128 bytes and free of NUL");
        }
        if id.host.is_empty() || id.plugin.is_empty() || id.type_name.is_empty() {
            return Err("host, plugin and type must not be empty");
        }
        let known = types.get(&id.type_name).filter(|sources| sources.len() == count);
        let (mut values, mut sources) = (Values::new(), Vec::with_capacity(count));
        for (i, ((number, kind), name)) in self.values.iter().zip(&self.dstypes).zip(&self.dsnames).enumerate() {
            let kind = Kind::from_name(kind).ok_or("a dstype is counter, gauge, derive or absolute")?;
            values.push(parse_value(number.as_ref(), kind).ok_or("a value does not fit its dstype")?);
            let (min, max) =
                known.map_or((f64::NEG_INFINITY, f64::INFINITY), |sources| (sources[i].min, sources[i].max));
            sources.push(Source { name: name.to_string(), kind, min, max });
        }
        let time = Time::from_secs_f64(self.time).ok_or("the time must be seconds since 1970")?;
        let interval = Time::from_secs_f64(self.interval).ok_or("the interval must be seconds")?;
        let interval = if interval == Time(0) { INTERVAL_DEFAULT } else { interval };
        Ok((ValueList { id, time, interval, values }, sources))
    }
}

fn parse_value(number: Option<&serde_json::Number>, kind: Kind) -> Option<Value> {
    let Some(number) = number else { return Some(Value::Gauge(f64::NAN)) };
    let whole = match kind {
        Kind::Gauge => None,
        Kind::Counter => number.as_u64().map(Value::Counter),
        Kind::Absolute => number.as_u64().map(Value::Absolute),
        Kind::Derive => number.as_i64().map(Value::Derive),
    };
    whole.or_else(|| number.as_f64().map(Value::Gauge))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(change: &str) -> String {
        let base = r#"{"values":[1,2.5],"dstypes":["derive","derive"],"dsnames":["rx","tx"],"time":5.5,"interval":0,
            "host":"h","plugin":"p","plugin_instance":"","type":"t","type_instance":"\u00e9"}"#;
        match change.split_once(" => ") {
            Some((from, to)) => {
                assert!(base.contains(from));
                base.replacen(from, to, 1)
            }
            None => base.to_owned(),
        }
    }

    fn check(body: &str, want: &[&str]) {
        let mut types = TypesDb::new();
        types.add("t a:DERIVE:0:U, b:DERIVE:0:7");
        let mut got = Vec::new();
        let result = parse(body.as_bytes(), &types, |list, sources| {
            let values: Vec<String> =
                sources.iter().zip(&list.values).map(|(s, v)| format!("{}<={}:{v:?}", s.name, s.max)).collect();
            got.push(format!("{} {} {}", list.id.type_instance, list.time.secs_f64(), values.join(" ")));
        });
        match result {
            Ok(count) => assert_eq!(count, got.len()),
            Err(error) => {
                assert_eq!(got.len(), 0);
                got.push(error.to_string());
            }
        }
        assert_eq!(got, want, "{body}");
    }

    #[test]
    fn bodies() {
        let good = "é 5.5 rx<=inf:Derive(1) tx<=7:Gauge(2.5)";
        check("[]", &[]);
        check(&format!("[{},{}]", list(""), list("")), &[good, good]);
        check(&format!("[{}]", list("[1,2.5] => [null,-3]")), &["é 5.5 rx<=inf:Gauge(NaN) tx<=7:Derive(-3)"]);
    }

    #[test]
    fn bad_bodies() {
        let counts = "list 1: values, dstypes and dsnames must be equally many, 1 to 1000";
        for (change, want) in [
            ("[1,2.5] => [1]", counts),
            ("[\"rx\",\"tx\"] => []", counts),
            ("\"derive\" => \"text\"", "list 1: a dstype is counter, gauge, derive or absolute"),
            ("\"h\" => \"\"", "list 1: host, plugin and type must not be empty"),
            ("5.5 => -1", "list 1: the time must be seconds since 1970"),
            ("5.5 => 1e300", "list 1: the time must be seconds since 1970"),
            (
                "\"p\" => \"\\u0000\"",
                "list 1: host, plugin, type and instances must be shorter than 128 bytes and free of NUL",
            ),
        ] {
            check(&format!("[{},{}]", list(""), list(change)), &[want]);
        }
        for body in ["", "{}", "[1]", "[", "[[[[[[[["] {
            assert!(parse(body.as_bytes(), &TypesDb::new(), |_, _| ()).is_err(), "{body}");
        }
    }
}
