//! The grammar of DogStatsD's messages, read without copying.
//!
//! A message is one line: `name:v1:v2|type|field|field`, an event `_e{5,4}:title|text|field` or a
//! service check `_sc|name|status|field`. Fields that are not known are skipped, as newer clients
//! send them to older agents. The whole message is good or bad.
//!
//! Where it differs from npm statsd ([`crate::packet`]): types are `c g ms h d s` and no others;
//! a signed gauge is a value, not a change; values are finite numbers; a timer's value is not
//! negative, that of a distribution (`h`, `d`) may be.
//!
//! Source: the published description of protocol versions 1.0 to 1.6.

use memchr::{memchr, memchr_iter};

use crate::number;
use crate::packet::{Bad, Kind, may_be_special};

/// One line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Message<'a> {
    /// Values to fold.
    Metric(Metric<'a>),
    /// Something that happened.
    Event(Event<'a>),
    /// The state of a service.
    ServiceCheck(ServiceCheck<'a>),
}

/// Values of one key and type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric<'a> {
    /// The key as it was sent, not empty.
    pub name: &'a [u8],
    /// What the values are added to; distributions are timers.
    pub kind: Kind,
    /// Above 0.
    pub rate: f64,
    /// The text behind `#`, empty without tags.
    pub tags: &'a [u8],
    /// Seconds since 1970 (`|T`): the value is complete and is not to be aggregated. Counters and gauges only.
    pub timestamp_s: Option<i64>,
    /// `|c:`, the sender's container.
    pub container: &'a [u8],
    /// `|e:`, external data about the sender.
    pub external: &'a [u8],
    /// `|card:`, which tags about the sender are asked for.
    pub cardinality: &'a [u8],
    values: &'a [u8],
}

/// An event; its texts still hold `\n` as two characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// What happened.
    pub title: &'a [u8],
    /// The long form.
    pub text: &'a [u8],
    /// Seconds since 1970, if the sender says when.
    pub timestamp_s: Option<i64>,
    /// `h:`.
    pub host: &'a [u8],
    /// `k:`, events with the same key belong together.
    pub aggregation_key: &'a [u8],
    /// `p:`, `normal` or `low`.
    pub priority: &'a [u8],
    /// `s:`.
    pub source_type: &'a [u8],
    /// `t:`, `error`, `warning`, `info` or `success`.
    pub alert_type: &'a [u8],
    /// The text behind `#`.
    pub tags: &'a [u8],
}

/// The state of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceCheck<'a> {
    /// Which service.
    pub name: &'a [u8],
    /// 0 ok, 1 warning, 2 critical, 3 unknown.
    pub status: u8,
    /// Seconds since 1970, if the sender says when.
    pub timestamp_s: Option<i64>,
    /// `h:`.
    pub host: &'a [u8],
    /// `m:`.
    pub message: &'a [u8],
    /// The text behind `#`.
    pub tags: &'a [u8],
}

/// Reads one line, without its line feed.
///
/// # Errors
/// [`Bad`] for anything that is no message of the protocol.
pub fn parse(line: &[u8]) -> Result<Message<'_>, Bad> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if may_be_special(line) {
        if let Some(event) = line.strip_prefix(b"_e{") {
            return parse_event(event).ok_or(Bad).map(Message::Event);
        }
        if let Some(check) = line.strip_prefix(b"_sc|") {
            return parse_check(check).ok_or(Bad).map(Message::ServiceCheck);
        }
    }
    parse_metric(line).ok_or(Bad).map(Message::Metric)
}

impl<'a> Metric<'a> {
    /// The values: their text, and as numbers (0 for a set's). At least one.
    pub fn values(&self) -> impl Iterator<Item = (&'a [u8], f64)> {
        let (kind, mut rest) = (self.kind, Some(self.values));
        std::iter::from_fn(move || {
            let text = rest.take()?;
            if kind == Kind::Set {
                return Some((text, 0.0));
            }
            let end = memchr(b':', text).unwrap_or(text.len());
            rest = text.get(end + 1..);
            // Every value was read once when the line was checked.
            Some((&text[..end], number::parse(&text[..end]).unwrap_or(0.0)))
        })
    }
}

fn parse_metric(line: &[u8]) -> Option<Metric<'_>> {
    let colon = memchr(b':', line)?;
    let (name, rest) = (&line[..colon], &line[colon + 1..]);
    let bar = memchr(b'|', rest)?;
    let (values, rest) = (&rest[..bar], &rest[bar + 1..]);
    let end = memchr(b'|', rest).unwrap_or(rest.len());
    let (letters, rest) = (&rest[..end], rest.get(end + 1..));
    let (kind, positive) = match letters {
        b"c" => (Kind::Counter, false),
        b"g" => (Kind::Gauge, false),
        b"ms" => (Kind::Timer, true),
        b"h" | b"d" => (Kind::Timer, false),
        b"s" => (Kind::Set, false),
        _ => return None,
    };
    if name.is_empty() || name.contains(&b'|') || values.is_empty() {
        return None;
    }
    if kind != Kind::Set {
        let mut from = 0;
        for end in memchr_iter(b':', values).chain([values.len()]) {
            parse_value(&values[from..end]).filter(|v| !positive || *v >= 0.0)?;
            from = end + 1;
        }
    }
    let mut metric = Metric {
        name,
        kind,
        rate: 1.0,
        tags: b"",
        timestamp_s: None,
        container: b"",
        external: b"",
        cardinality: b"",
        values,
    };
    for field in fields(rest) {
        match field {
            [b'@', rate @ ..] => metric.rate = parse_value(rate).filter(|r| *r > 0.0)?,
            [b'#', tags @ ..] => metric.tags = tags,
            [b'T', time @ ..] if matches!(kind, Kind::Counter | Kind::Gauge) => {
                metric.timestamp_s = Some(parse_time(time).filter(|t| *t > 0)?);
            }
            [b'c', b':', id @ ..] => metric.container = id,
            [b'e', b':', data @ ..] => metric.external = data,
            [b'c', b'a', b'r', b'd', b':', level @ ..] => metric.cardinality = level,
            _ => {}
        }
    }
    Some(metric)
}

/// What follows `_e{`: `5,4}:title|text|field`; the lengths are in bytes.
fn parse_event(text: &[u8]) -> Option<Event<'_>> {
    let brace = memchr(b'}', text)?;
    let comma = memchr(b',', &text[..brace])?;
    let (title_len, text_len) = (parse_len(&text[..comma])?, parse_len(&text[comma + 1..brace])?);
    let body = text[brace + 1..].strip_prefix(b":")?;
    let (title, body) = body.split_at_checked(title_len)?;
    let (text, rest) = body.strip_prefix(b"|")?.split_at_checked(text_len)?;
    if title.is_empty() {
        return None;
    }
    let rest = match rest {
        [] => None,
        [b'|', rest @ ..] => Some(rest),
        _ => return None,
    };
    let mut event = Event { title, text, ..Event::default() };
    for field in fields(rest) {
        match field {
            [b'd', b':', time @ ..] => event.timestamp_s = Some(parse_time(time)?),
            [b'h', b':', host @ ..] => event.host = host,
            [b'k', b':', key @ ..] => event.aggregation_key = key,
            [b'p', b':', priority @ ..] => event.priority = priority,
            [b's', b':', source @ ..] => event.source_type = source,
            [b't', b':', alert @ ..] => event.alert_type = alert,
            [b'#', tags @ ..] => event.tags = tags,
            _ => {}
        }
    }
    Some(event)
}

/// What follows `_sc|`: `name|status|field`; the message (`m:`) is the last field.
fn parse_check(text: &[u8]) -> Option<ServiceCheck<'_>> {
    let bar = memchr(b'|', text)?;
    let (name, rest) = (&text[..bar], &text[bar + 1..]);
    let (status, rest) = match rest {
        [status @ b'0'..=b'3'] => (status, None),
        [status @ b'0'..=b'3', b'|', rest @ ..] => (status, Some(rest)),
        _ => return None,
    };
    if name.is_empty() {
        return None;
    }
    let mut check = ServiceCheck { name, status: status - b'0', ..ServiceCheck::default() };
    for field in fields(rest) {
        match field {
            [b'd', b':', time @ ..] => check.timestamp_s = Some(parse_time(time)?),
            [b'h', b':', host @ ..] => check.host = host,
            [b'm', b':', message @ ..] => check.message = message,
            [b'#', tags @ ..] => check.tags = tags,
            _ => {}
        }
    }
    Some(check)
}

fn fields(rest: Option<&[u8]>) -> impl Iterator<Item = &[u8]> {
    rest.into_iter().flat_map(|r| r.split(|b| *b == b'|'))
}

/// A finite number without blanks around it.
fn parse_value(text: &[u8]) -> Option<f64> {
    if text.is_empty() || number::trim(text).len() != text.len() {
        return None;
    }
    number::parse(text).filter(|v| v.is_finite())
}

fn parse_len(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > 9 {
        return None;
    }
    text.iter().try_fold(0usize, |n, b| b.is_ascii_digit().then(|| n * 10 + usize::from(b - b'0')))
}

/// Whole seconds; 11 digits reach the year 5138.
fn parse_time(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 11 {
        return None;
    }
    text.iter().try_fold(0i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    fn check(line: &str, want: &str) {
        let got = match parse(line.as_bytes()) {
            Err(Bad) => "bad".to_owned(),
            Ok(Message::Metric(m)) => {
                let values: Vec<String> = m.values().map(|(t, n)| format!("{}={n}", text(t))).collect();
                format!(
                    "{} {:?} {} @{} #{} T{:?} c:{} e:{} card:{}",
                    text(m.name),
                    m.kind,
                    values.join(","),
                    m.rate,
                    text(m.tags),
                    m.timestamp_s,
                    text(m.container),
                    text(m.external),
                    text(m.cardinality)
                )
            }
            Ok(Message::Event(e)) => format!(
                "event {}|{} {:?} h:{} k:{} p:{} s:{} t:{} #{}",
                text(e.title),
                text(e.text),
                e.timestamp_s,
                text(e.host),
                text(e.aggregation_key),
                text(e.priority),
                text(e.source_type),
                text(e.alert_type),
                text(e.tags)
            ),
            Ok(Message::ServiceCheck(s)) => format!(
                "check {}={} {:?} h:{} m:{} #{}",
                text(s.name),
                s.status,
                s.timestamp_s,
                text(s.host),
                text(s.message),
                text(s.tags)
            ),
        };
        assert_eq!(got, want, "{line:?}");
    }

    #[test]
    fn metrics() {
        check("a:1|c", "a Counter 1=1 @1 # TNone c: e: card:");
        check("a:1|c\r", "a Counter 1=1 @1 # TNone c: e: card:");
        check("a:1:2.5:-3|h|@0.5|#x:1,y", "a Timer 1=1,2.5=2.5,-3=-3 @0.5 #x:1,y TNone c: e: card:");
        check("a:-5|g", "a Gauge -5=-5 @1 # TNone c: e: card:");
        check("a:x:y|s", "a Set x:y=0 @1 # TNone c: e: card:");
        check(
            "a:2|c|#a:1|c:in-55|e:it-false|card:low|new:1",
            "a Counter 2=2 @1 #a:1 TNone c:in-55 e:it-false card:low",
        );
        check("a:2|g|T1656581400", "a Gauge 2=2 @1 # TSome(1656581400) c: e: card:");
        check("a:2|h|T1656581400", "a Timer 2=2 @1 # TNone c: e: card:");
    }

    #[test]
    fn events_and_checks() {
        check("_e{5,4}:title|text", "event title|text None h: k: p: s: t: #");
        check(
            "_e{2,5}:a||b|c\\n|d:12|h:web|k:agg|p:low|s:nagios|t:error|#a:b,c",
            "event a||b|c\\n Some(12) h:web k:agg p:low s:nagios t:error #a:b,c",
        );
        check("_sc|db|2", "check db=2 None h: m: #");
        check("_sc|db.up|0|d:12|h:web|#a:b|m:all fine", "check db.up=0 Some(12) h:web m:all fine #a:b");
        check("_under:1|c", "_under Counter 1=1 @1 # TNone c: e: card:");
    }

    #[test]
    fn bad_messages() {
        for line in [
            "",
            "a",
            "a:1",
            ":1|c",
            "a:|c",
            "a:1|x",
            "a:1|C",
            "a:1|",
            "a:1:|c",
            "a:1:x|h",
            "a: 1|c",
            "a:Infinity|g",
            "a:-1|ms",
            "a:1|c|@0",
            "a:1|c|@x",
            "a:1|c|@-1",
            "a:1|c|T-5",
            "a:1|c|T0",
            "a:1|c|T123456789012",
            "a|b:1|c",
            "_e{5,4}:title|tex",
            "_e{5,4}title|text",
            "_e{5}:title|text",
            "_e{,}:|",
            "_e{0,4}:|text",
            "_e{5,4}:title|text#a",
            "_e{99999999999999999999,4}:title|text",
            "_sc|db",
            "_sc|db|4",
            "_sc|db|0x",
            "_sc||0",
            "_e{5,4}:title|text|d:x",
        ] {
            check(line, "bad");
        }
    }
}
