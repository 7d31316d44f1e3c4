//! Time literals: strings that stand for an instant.

use jiff::civil::{Date, DateTime};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use std::fmt;

const SECOND_NS: i128 = 1_000_000_000;

/// A time zone by the name the query gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// Looks a zone up in the IANA data that is built in; the machine's own data is not asked.
    pub fn named(name: &str) -> Option<Self> {
        let zone = match name {
            "" | "UTC" => TimeZone::UTC,
            // Names differ by case, as they do among the files of a Unix system.
            name => TimeZoneDatabase::bundled().get(name).ok().filter(|zone| zone.iana_name() == Some(name))?,
        };
        Some(Self { name: if name.is_empty() { "UTC" } else { name }.to_owned(), zone })
    }

    /// The name as it was written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rules of the zone.
    pub fn time_zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Seconds to add to UTC for local time at an instant.
    fn offset_s(&self, utc_s: i64) -> i64 {
        jiff::Timestamp::from_second(utc_s).map_or(0, |at| i64::from(self.zone.to_offset(at).seconds()))
    }

    /// The instant of a local time, in seconds since the epoch.
    ///
    /// A local time that a clock change repeats or skips is read as 1.x reads it: with the offset
    /// that holds at the guess made with the offset around it.
    fn utc_s(&self, local_s: i64) -> i64 {
        local_s - self.offset_s(local_s - self.offset_s(local_s))
    }
}

/// True if the string begins like a date, so that a comparison with `time` reads it as one.
pub fn is_time_literal(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 10
        && bytes[..10].iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
        && !bytes[10..].contains(&b'\n')
}

/// Reads `2006-01-02`, `2006-01-02 15:04:05[.fraction]` (local to `zone`, else UTC) or RFC 3339.
///
/// Nanoseconds since the epoch; years 0000 to 9999, so the result may not fit 64 bits.
pub fn parse_time(text: &str, zone: Option<&Zone>) -> Option<i128> {
    if !is_time_literal(text) {
        return None;
    }
    let number = |range: std::ops::Range<usize>| text[range].parse::<i16>().ok();
    let date = Date::new(number(0..4)?, number(5..7)? as i8, number(8..10)? as i8).ok()?;
    let Some(separator) = text.chars().nth(10) else {
        return Some(local(date.to_datetime(jiff::civil::Time::midnight()), zone));
    };
    let (time, fraction_ns, rest) = parse_clock(&text[10 + separator.len_utf8()..])?;
    let civil = date.to_datetime(time);
    match (separator, rest) {
        (' ', "") => Some(local(civil, zone) + fraction_ns),
        ('T', "Z") => Some(local(civil, None) + fraction_ns),
        ('T', offset) => Some(local(civil, None) + fraction_ns - i128::from(parse_offset(offset)?) * SECOND_NS),
        _ => None,
    }
}

fn local(civil: DateTime, zone: Option<&Zone>) -> i128 {
    let days = i64::from(days_from_civil(civil.date()));
    let seconds =
        days * 86_400 + i64::from(civil.hour()) * 3_600 + i64::from(civil.minute()) * 60 + i64::from(civil.second());
    i128::from(zone.map_or(seconds, |zone| zone.utc_s(seconds))) * SECOND_NS
}

fn days_from_civil(date: Date) -> i32 {
    const EPOCH: Date = Date::constant(1970, 1, 1);
    (date - EPOCH).get_days()
}

/// `15:04:05` (the hour may be one digit) and a fraction of any length, cut at nanoseconds.
fn parse_clock(text: &str) -> Option<(jiff::civil::Time, i128, &str)> {
    let (hour, rest) = text.split_once(':')?;
    let hour = two_digits(hour).or_else(|| (hour.len() == 1).then(|| hour.parse().ok())?)?;
    let minute = two_digits(rest.get(..2)?)?;
    let second = two_digits(rest.get(2..)?.strip_prefix(':')?.get(..2)?)?;
    let time = jiff::civil::Time::new(hour, minute, second, 0).ok()?;
    let mut rest = &rest[5..];
    let mut fraction_ns = 0;
    if let Some(after) = rest.strip_prefix('.') {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        let mut unit = SECOND_NS;
        for digit in after.bytes().take(digits.min(9)) {
            unit /= 10;
            fraction_ns += i128::from(digit - b'0') * unit;
        }
        rest = &after[digits..];
    }
    Some((time, fraction_ns, rest))
}

fn two_digits(text: &str) -> Option<i8> {
    (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// `+07:00` in seconds.
fn parse_offset(text: &str) -> Option<i64> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (i64::from(two_digits(hours)?), i64::from(two_digits(minutes)?));
    (hours <= 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Writes nanoseconds since the epoch as RFC 3339 in UTC, with `fraction` only as long as needed.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339 {
    /// Nanoseconds since the epoch.
    pub ns: i128,
    /// Write what is below the second.
    pub fraction: bool,
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.fraction { self.ns } else { self.ns.div_euclid(SECOND_NS) * SECOND_NS };
        match jiff::Timestamp::from_nanosecond(whole) {
            Ok(at) => write!(f, "{at}"),
            // Beyond the year 9999 there is no such form.
            Err(_) => write!(f, "{}", self.ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_named_as_they_are_written() {
        for name in ["UTC", "", "GMT", "Etc/UTC", "US/Pacific", "Asia/Calcutta", "Asia/Kolkata", "Europe/Prague"] {
            assert!(Zone::named(name).is_some(), "{name}");
        }
        for name in ["utc", "europe/prague", "Local", "Nowhere/City", "../UTC"] {
            assert!(Zone::named(name).is_none(), "{name}");
        }
    }

    #[test]
    fn literals_are_instants() {
        for (text, zone, expected) in [
            ("1970-01-01", None, Some(0)),
            ("1970-01-02 00:00:01", None, Some(86_401 * SECOND_NS)),
            ("1970-01-01 00:00:00.5", None, Some(SECOND_NS / 2)),
            ("1970-01-01T00:00:00.000000001Z", None, Some(1)),
            ("1970-01-01T01:00:00+01:00", None, Some(0)),
            ("0001-01-01T00:00:00Z", None, Some(-62_135_596_800 * SECOND_NS)),
            ("9999-12-31", None, Some(253_402_214_400 * SECOND_NS)),
            ("2000-07-01", Some("America/Los_Angeles"), Some(962_434_800 * SECOND_NS)),
            // Skipped by the change to summer time, and repeated by the change back.
            ("2020-03-08 02:30:00", Some("America/Los_Angeles"), Some(1_583_659_800 * SECOND_NS)),
            ("2020-11-01 01:30:00", Some("America/Los_Angeles"), Some(1_604_219_400 * SECOND_NS)),
            ("2000-07-01T00:00:00Z", Some("America/Los_Angeles"), Some(962_409_600 * SECOND_NS)),
            ("1970-01-01T00:00:00", None, None),
            ("1970-01-01 00:00", None, None),
            ("1970-02-30", None, None),
            ("1970-01-01 24:00:00", None, None),
            ("1970-01-01xyz", None, None),
            ("1970-01-01é00:00:00", None, None),
            ("yesterday", None, None),
        ] {
            let zone = zone.map(|name| Zone::named(name).unwrap());
            assert_eq!(parse_time(text, zone.as_ref()), expected, "{text}");
        }
    }

    #[test]
    fn unknown_zones_are_not_found() {
        assert_eq!(Zone::named("Mars/Olympus"), None);
    }

    #[test]
    fn instants_print_as_rfc_3339() {
        assert_eq!(Rfc3339 { ns: 1_500_000_000, fraction: true }.to_string(), "1970-01-01T00:00:01.5Z");
        assert_eq!(Rfc3339 { ns: 1_500_000_000, fraction: false }.to_string(), "1970-01-01T00:00:01Z");
        assert_eq!(Rfc3339 { ns: i128::MAX, fraction: true }.to_string(), i128::MAX.to_string());
    }
}
