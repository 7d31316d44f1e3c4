//! `PUTVAL` lines, which `write_http` (format Command), exec plugins and the unixsock speak.
//!
//! `PUTVAL host/plugin-instance/type-instance interval=10 1700000000:1:2 N:3:4`. The type says how to read the numbers; too
//! few are filled up with 0, as collectd does. `U` is an unknown gauge, `N` is now.

use std::borrow::Cow;

use crate::network::{INTERVAL_DEFAULT, NAME_MAX};
use crate::types_db::{Source, TypesDb};
use crate::value::{Identifier, Kind, Reject, Time, Value, ValueList, Values};

/// Why a line is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another command, or none.
    #[error("Unknown command: {0}")]
    Command(String),
    /// The identifier lacks a part, or one is too long.
    #[error("Cannot parse identifier `{0}'.")]
    Identifier(String),
    /// An option or a list of values that cannot be read.
    #[error("Cannot parse `{0}'.")]
    Field(String),
    /// No values at all.
    #[error("No values to be dispatched.")]
    Empty,
    /// The type.
    #[error(transparent)]
    Reject(#[from] Reject),
}

/// Reads one line, without its line ending, and gives its lists to `sink`; nothing of a bad line
/// is given. Gives their number.
///
/// # Errors
/// [`Error`], with collectd's message for an unknown type.
pub fn parse(
    line: &str,
    types: &TypesDb,
    now: Time,
    mut sink: impl FnMut(&ValueList<'_>, &[Source]),
) -> Result<usize, Error> {
    let mut rest = line;
    let command = next_word(&mut rest)?.unwrap_or_default();
    if !command.eq_ignore_ascii_case("PUTVAL") {
        return Err(Error::Command(command.into_owned()));
    }
    let path = next_word(&mut rest)?.unwrap_or_default();
    let id = parse_identifier(&path).ok_or_else(|| Error::Identifier(path.to_string()))?;
    let sources = types.get(&id.type_name).ok_or_else(|| Reject::UnknownType(id.type_name.to_string()))?;
    let mut lists: Vec<(Time, Time, Values)> = Vec::new();
    let mut interval = INTERVAL_DEFAULT;
    while let Some(word) = next_word(&mut rest)? {
        let bad = || Error::Field(word.to_string());
        if let Some((name, value)) = word.split_once('=') {
            // Other options, as meta data, are accepted and have no effect.
            if name.eq_ignore_ascii_case("interval") {
                interval = parse_float(value).and_then(Time::from_secs_f64).filter(|t| *t > Time(0)).ok_or_else(bad)?;
            }
            continue;
        }
        let (time, values) = parse_values(&word, &id, sources, now).ok_or_else(bad)??;
        lists.push((time, interval, values));
    }
    if lists.is_empty() {
        return Err(Error::Empty);
    }
    let count = lists.len();
    for (time, interval, values) in lists {
        sink(&ValueList { id: id.clone(), time, interval, values }, sources);
    }
    Ok(count)
}

/// The next word; between quotes it may contain blanks, and `\` before any character.
fn next_word<'a>(rest: &mut &'a str) -> Result<Option<Cow<'a, str>>, Error> {
    let text = rest.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        *rest = &text[end..];
        return Ok((end > 0).then(|| text[..end].into()));
    };
    let mut word = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                *rest = &quoted[at + 1..];
                return Ok(Some(word.into()));
            }
            '\\' => word.extend(chars.next().map(|(_, c)| c)),
            c => word.push(c),
        }
    }
    Err(Error::Field(text.to_owned()))
}

/// `host/plugin[-instance]/type[-instance]`; a type's instance may contain slashes.
fn parse_identifier(path: &str) -> Option<Identifier<'_>> {
    let mut parts = path.splitn(3, '/');
    let (host, plugin, type_name) = (parts.next()?, parts.next()?, parts.next()?);
    let (plugin, plugin_instance) = plugin.split_once('-').unwrap_or((plugin, ""));
    let (type_name, type_instance) = type_name.split_once('-').unwrap_or((type_name, ""));
    let id = [host, plugin, plugin_instance, type_name, type_instance];
    if id.iter().any(|part| part.len() >= NAME_MAX) || host.is_empty() || plugin.is_empty() || type_name.is_empty() {
        return None;
    }
    let [host, plugin, plugin_instance, type_name, type_instance] = id.map(Cow::from);
    Some(Identifier { host, plugin, plugin_instance, type_name, type_instance })
}

/// `time:value:value`; `None` if that cannot be read.
fn parse_values(
    word: &str,
    id: &Identifier<'_>,
    sources: &[Source],
    now: Time,
) -> Option<Result<(Time, Values), Reject>> {
    let mut fields = word.split(':');
    let time = match fields.next()? {
        "N" | "n" => now,
        time => parse_float(time).and_then(Time::from_secs_f64)?,
    };
    let fields: Vec<&str> = fields.collect();
    if fields.is_empty() {
        return None;
    }
    if fields.len() > sources.len() {
        let name = id.type_name.to_string();
        return Some(Err(Reject::ValueCount { name, want: sources.len(), got: fields.len() }));
    }
    let values: Option<Values> = sources
        .iter()
        .enumerate()
        .map(|(i, source)| parse_value(fields.get(i).copied().unwrap_or("0"), source.kind))
        .collect();
    Some(Ok((time, values?)))
}

fn parse_value(text: &str, kind: Kind) -> Option<Value> {
    Some(match kind {
        Kind::Gauge if text == "U" => Value::Gauge(f64::NAN),
        Kind::Gauge => Value::Gauge(parse_float(text)?),
        Kind::Counter => Value::Counter(text.parse().ok()?),
        Kind::Derive => Value::Derive(text.parse().ok()?),
        Kind::Absolute => Value::Absolute(text.parse().ok()?),
    })
}

fn parse_float(text: &str) -> Option<f64> {
    fast_float2::parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, want: &[&str]) {
        let mut types = TypesDb::new();
        types.add("load a:GAUGE:0:9, b:GAUGE:0:9\ncpu value:DERIVE:0:U\nn value:COUNTER:U:U\nabs value:ABSOLUTE:0:U\n");
        let mut got = Vec::new();
        let result = parse(line, &types, Time::from_secs(99).unwrap(), |list, sources| {
            let id = &list.id;
            assert_eq!(list.values.len(), sources.len());
            let values: Vec<String> = list.values.iter().map(|v| format!("{v:?}")).collect();
            got.push(format!(
                "{}|{}|{}|{}|{} {} {} {}",
                id.host,
                id.plugin,
                id.plugin_instance,
                id.type_name,
                id.type_instance,
                list.time.secs_f64(),
                list.interval.secs_f64(),
                values.join(",")
            ));
        });
        match result {
            Ok(count) => assert_eq!(count, got.len()),
            Err(error) => {
                assert_eq!(got.len(), 0);
                got.push(error.to_string());
            }
        }
        assert_eq!(got, want, "{line}");
    }

    #[test]
    fn lines() {
        check("PUTVAL h/cpu-0/cpu-user 1.5:10", &["h|cpu|0|cpu|user 1.5 10 Derive(10)"]);
        check(
            "putval h/p/load interval=2.5 N:0.5:U 7:1",
            &["h|p||load| 99 2.5 Gauge(0.5),Gauge(NaN)", "h|p||load| 7 2.5 Gauge(1.0),Gauge(0.0)"],
        );
        check(
            r#"PUTVAL "h/my p-x/n-a \"b\"/c" meta:x=1 3:18446744073709551615"#,
            &[r#"h|my p|x|n|a "b"/c 3 10 Counter(18446744073709551615)"#],
        );
        check("  PUTVAL h/p/abs 3:nan", &["Cannot parse `3:nan'."]);
        check("PUTVAL h/p/load 3:nan:-1e3\r", &["h|p||load| 3 10 Gauge(NaN),Gauge(-1000.0)"]);
    }

    #[test]
    fn bad_lines() {
        check("", &["Unknown command: "]);
        check("GETVAL h/p/cpu 1:2", &["Unknown command: GETVAL"]);
        check("PUTVAL h/p 1:2", &["Cannot parse identifier `h/p'."]);
        check("PUTVAL h//cpu 1:2", &["Cannot parse identifier `h//cpu'."]);
        check("PUTVAL h/p/nope-x 1:2", &["Type `nope' isn't defined."]);
        check("PUTVAL h/p/cpu", &["No values to be dispatched."]);
        check("PUTVAL h/p/cpu 1:2:3", &["type `cpu' has 1 values, not 2"]);
        check("PUTVAL h/p/cpu 1:2 5", &["Cannot parse `5'."]);
        check("PUTVAL h/p/cpu 1:2.5", &["Cannot parse `1:2.5'."]);
        check("PUTVAL h/p/cpu -1:2", &["Cannot parse `-1:2'."]);
        check("PUTVAL h/p/cpu interval=0 1:2", &["Cannot parse `interval=0'."]);
        check("PUTVAL \"h/p/cpu 1:2", &["Cannot parse `\"h/p/cpu 1:2'."]);
    }
}
