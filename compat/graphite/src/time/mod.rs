//! The at-style time grammar of `from` and `until`, and intervals such as `1h30min`.
//!
//! A time is either seconds since the epoch or a reference followed by an offset:
//! `now-1h`, `midnight`, `6am_yesterday`, `12:30_05/31/2024`, `monday-2h`, `may30`. Blanks,
//! commas and underscores mean nothing; neither does case. Everything is whole seconds.
//!
//! The caller gives `now` and the zone; days without an hour start at midnight there. A wall
//! clock time that happens twice means the second one (standard time), one that never happens is
//! moved forward.

mod align;
mod offset;
#[cfg(test)]
mod tests;

pub use align::floor_to_unit;
pub use offset::{Unit, parse_interval};

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{Disambiguation, TimeZone};
use jiff::{Span, Timestamp};
use rhythmite_model::{Error, Result};

/// The last second of the year 9999: nothing later is a time.
pub const SECOND_MAX: i64 = 253_402_207_200;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [(&str, Weekday); 7] = [
    ("sun", Weekday::Sunday),
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
];

/// The zone of that name, or `None`; graphite-web then takes its own.
#[must_use]
pub fn zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" { Some(TimeZone::UTC) } else { TimeZone::get(name).ok() }
}

/// Reads a time. Returns seconds since the epoch.
///
/// # Errors
/// `Invalid` when the text is no time or the time is out of range.
pub fn parse_time(text: &str, zone: &TimeZone, now_s: i64) -> Result<i64> {
    let fail = |why: &str| Error::invalid(format!("bad time {text:?}: {why}"));
    let compact: String =
        text.trim().chars().filter(|c| !matches!(c, '_' | ',' | ' ')).flat_map(char::to_lowercase).collect();
    if !compact.is_empty() && compact.bytes().all(|b| b.is_ascii_digit()) && !looks_like_date(&compact) {
        let seconds: i64 = compact.parse().map_err(|_| fail("out of range"))?;
        return if seconds <= SECOND_MAX { Ok(seconds) } else { Err(fail("out of range")) };
    }
    let split = compact.find('+').or_else(|| compact.find('-')).unwrap_or(compact.len());
    let (reference, offset) = compact.split_at(split);
    let offset_s = if offset.is_empty() { 0 } else { parse_interval(offset).map_err(|e| fail(e.message()))? };
    let start_s = if reference.is_empty() || reference == "now" {
        now_s
    } else {
        reference_time(reference, zone, now_s).map_err(|e| fail(e.message()))?
    };
    start_s.checked_add(offset_s).filter(|s| s.abs() <= SECOND_MAX).ok_or_else(|| fail("out of range"))
}

/// `YYYYMMDD` is a date, other digits are seconds.
fn looks_like_date(digits: &str) -> bool {
    digits.len() == 8 && &digits[..4] > "1900" && &digits[4..6] < "13" && &digits[6..] < "32"
}

fn reference_time(reference: &str, zone: &TimeZone, now_s: i64) -> Result<i64> {
    let now = Timestamp::from_second(now_s).map_err(out_of_range)?.to_zoned(zone.clone());
    let (hour, minute, day) = time_of_day(reference)?;
    let date = date_of(day, now.date())?;
    let time = Time::new(small(hour)?, small(minute)?, 0, 0).map_err(out_of_range)?;
    let zoned =
        zone.to_ambiguous_zoned(date.to_datetime(time)).disambiguate(Disambiguation::Later).map_err(out_of_range)?;
    Ok(zoned.timestamp().as_second())
}

/// Takes `12:30`, `12:30pm`, `6am`, `noon`, `midnight`, `teatime` off the front.
fn time_of_day(reference: &str) -> Result<(i64, i64, &str)> {
    let (mut hour, mut minute, mut rest) = (0, 0, reference);
    if let Some(colon @ 1..=2) = rest.find(':') {
        hour = number(&rest[..colon])?;
        let digits = rest.get(colon + 1..).unwrap_or_default();
        let end = digits.len().min(2);
        minute = number(digits.get(..end).ok_or_else(|| Error::invalid("bad minute"))?)?;
        rest = &digits[end..];
        if let Some(after) = rest.strip_prefix("am") {
            rest = after;
        } else if let Some(after) = rest.strip_prefix("pm") {
            hour = (hour + 12) % 24;
            rest = after;
        }
    }
    // As in the reference, 12am stays noon and 12pm becomes midnight.
    for (suffix, shift) in [("am", 0), ("pm", 12)] {
        if let Some(at @ 1..=2) = rest.find(suffix) {
            hour = number(&rest[..at])?;
            if shift > 0 {
                hour = (hour + shift) % 24;
            }
            rest = &rest[at + 2..];
        }
    }
    for (word, at) in [("noon", 12), ("midnight", 0), ("teatime", 16)] {
        if let Some(after) = rest.strip_prefix(word) {
            (hour, minute, rest) = (at, 0, after);
            break;
        }
    }
    Ok((hour, minute, rest))
}

fn date_of(day: &str, today: Date) -> Result<Date> {
    let days = |n: i64| today.checked_add(Span::new().days(n)).map_err(out_of_range);
    match day {
        "" | "today" => return Ok(today),
        "yesterday" => return days(-1),
        "tomorrow" => return days(1),
        _ => {}
    }
    if let [month, date, year] = day.split('/').collect::<Vec<_>>()[..] {
        let mut year = number(year)?;
        // Two digits from 70 on are of the last century.
        if year < 1900 {
            year += 1900;
        }
        if year < 1970 {
            year += 100;
        }
        return civil(year, number(month)?, number(date)?);
    }
    if day.len() == 8 && day.bytes().all(|b| b.is_ascii_digit()) {
        return civil(number(&day[..4])?, number(&day[4..6])?, number(&day[6..])?);
    }
    let name = day.get(..3).unwrap_or_default();
    if let Some(month) = (1i64..).zip(MONTHS).find_map(|(n, m)| (m == name).then_some(n)) {
        let digits = day.bytes().rev().take(2).take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(Error::invalid("a month needs a day"));
        }
        return civil(i64::from(today.year()), month, number(&day[day.len() - digits..])?);
    }
    if let Some((_, weekday)) = WEEKDAYS.iter().find(|(n, _)| *n == name) {
        return days(-i64::from(today.weekday().since(*weekday)));
    }
    Err(Error::invalid(format!("unknown day {day:?}")))
}

fn civil(year: i64, month: i64, day: i64) -> Result<Date> {
    let year = i16::try_from(year).map_err(out_of_range)?;
    Date::new(year, small(month)?, small(day)?).map_err(out_of_range)
}

fn small(n: i64) -> Result<i8> {
    i8::try_from(n).map_err(out_of_range)
}

fn number(digits: &str) -> Result<i64> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten().ok_or_else(|| Error::invalid(format!("{digits:?} is not a number")))
}

fn out_of_range(e: impl std::fmt::Display) -> Error {
    Error::invalid(e.to_string())
}
