use super::Unit;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use rhythmite_model::{Error, Result};

/// The start of the year, month, week, day, hour, minute or second that `ts_s` lies in.
///
/// Weeks start on `first_weekday` (1 is Monday, 7 is Sunday). As in the reference the zone's
/// offset is that of `ts_s`, also when the unit started on the other side of a clock change.
///
/// # Errors
/// `Invalid` when the time is out of range.
pub fn floor_to_unit(ts_s: i64, unit: Unit, first_weekday: i8, zone: &TimeZone) -> Result<i64> {
    let bad = |e: jiff::Error| Error::invalid(e.to_string());
    let ts = Timestamp::from_second(ts_s).map_err(bad)?;
    let offset_s = i64::from(zone.to_offset(ts).seconds());
    let local_s = ts_s + offset_s;
    let date = || -> Result<Date> { Ok(Timestamp::from_second(local_s).map_err(bad)?.to_zoned(TimeZone::UTC).date()) };
    let floored_s = match unit {
        Unit::Second => local_s,
        Unit::Minute | Unit::Hour | Unit::Day => local_s - local_s.rem_euclid(unit.seconds()),
        Unit::Week => {
            let date = date()?;
            let days = (date.weekday().to_monday_one_offset() - first_weekday).rem_euclid(7);
            midnight_s(date.checked_sub(Span::new().days(i64::from(days))).map_err(bad)?)?
        }
        Unit::Month => midnight_s(date()?.first_of_month())?,
        Unit::Year => midnight_s(date()?.first_of_year())?,
    };
    Ok(floored_s - offset_s)
}

fn midnight_s(date: Date) -> Result<i64> {
    let zoned = date.to_zoned(TimeZone::UTC).map_err(|e| Error::invalid(e.to_string()))?;
    Ok(zoned.timestamp().as_second())
}
