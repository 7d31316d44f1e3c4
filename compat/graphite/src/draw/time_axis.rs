//! The axis of times: which instants have labels and grid lines, and what the labels say.
//!
//! Labels stand at round times of the picture's zone: minutes, hours, midnights, Mondays, first days of months. Of the
//! distances that leave room for the labels the shortest is taken; their format follows the distance and the range.
//!
//! Limits: at most [`LINES_MAX`] instants of a kind; years from 1 to 9999.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::font::Font;

/// Instants of a kind.
const LINES_MAX: usize = 2_000;
/// Letters of a label that has a format of its own.
const LABEL_CHARS_MAX: usize = 80;

/// Labels and grid lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TimeAxis {
    /// Instants with labels, ascending.
    pub labels: Vec<(i64, String)>,
    /// Instants with minor grid lines, ascending.
    pub minors: Vec<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    Second(i64),
    Day(i64),
    Week(i64),
    Month(i64),
    Year(i64),
}

use Unit::{Day, Month, Second, Week, Year};

/// Distances of labels, and of the minor lines between them.
const LADDER: [(Unit, Unit); 40] = [
    (Second(1), Second(1)),
    (Second(2), Second(1)),
    (Second(5), Second(1)),
    (Second(10), Second(5)),
    (Second(15), Second(5)),
    (Second(30), Second(10)),
    (Second(60), Second(30)),
    (Second(120), Second(60)),
    (Second(300), Second(60)),
    (Second(600), Second(300)),
    (Second(900), Second(300)),
    (Second(1_200), Second(600)),
    (Second(1_800), Second(600)),
    (Second(3_600), Second(1_800)),
    (Second(7_200), Second(3_600)),
    (Second(10_800), Second(3_600)),
    (Second(14_400), Second(7_200)),
    (Second(21_600), Second(10_800)),
    (Second(43_200), Second(21_600)),
    (Day(1), Second(43_200)),
    (Day(2), Day(1)),
    (Week(1), Day(1)),
    (Week(2), Week(1)),
    (Month(1), Week(1)),
    (Month(2), Month(1)),
    (Month(3), Month(1)),
    (Month(6), Month(3)),
    (Year(1), Month(6)),
    (Year(2), Year(1)),
    (Year(5), Year(1)),
    (Year(10), Year(5)),
    (Year(20), Year(10)),
    (Year(50), Year(10)),
    (Year(100), Year(50)),
    (Year(200), Year(100)),
    (Year(500), Year(100)),
    (Year(1_000), Year(500)),
    (Year(2_000), Year(1_000)),
    (Year(5_000), Year(1_000)),
    (Year(10_000), Year(5_000)),
];

const DAY_S: i64 = 86_400;
/// Ranges from which on hours say their day: a whole day, though its first points may be missing.
const NAMED_DAY_S: i64 = 20 * 3_600;

impl TimeAxis {
    /// Lays the axis out for `[start_s, end_s]` on `width` px with labels in `font`; `format` is the request's own.
    #[must_use]
    pub fn new(start_s: i64, end_s: i64, width: f64, zone: &TimeZone, font: &Font, format: Option<&str>) -> Self {
        let range_s = end_s.saturating_sub(start_s);
        if range_s <= 0 || width < 1.0 {
            return Self::default();
        }
        let px_per_s = width / range_s as f64;
        // The widest usual label of a format stands for all.
        let sample = Timestamp::from_second(start_s).map(|t| zone.to_datetime(t)).unwrap_or_default();
        let fits = |(unit, _): &&(Unit, Unit)| {
            let label = write(sample, format.unwrap_or_else(|| format_of(*unit, range_s)));
            let room = unit.seconds() * px_per_s;
            let need = font.width(&label);
            room >= (need * 1.35).max(need + font.size) && range_s as f64 / unit.seconds() <= LINES_MAX as f64
        };
        let Some((major, minor)) = LADDER.iter().find(fits) else { return Self::default() };
        let text = format.unwrap_or_else(|| format_of(*major, range_s));
        let times = major.instants(start_s, end_s, zone);
        let labels = times.iter().map(|t| {
            let at = Timestamp::from_second(*t).map(|t| zone.to_datetime(t)).unwrap_or_default();
            (*t, write(at, text))
        });
        let labels: Vec<_> = labels.collect();
        // Lines closer than this are a grey mist.
        const MINOR_PX_MIN: f64 = 4.0;
        let wanted = minor != major && minor.seconds() * px_per_s >= MINOR_PX_MIN;
        let all = if wanted { minor.instants(start_s, end_s, zone) } else { Vec::new() };
        let minors = all.into_iter().filter(|t| times.binary_search(t).is_err()).collect();
        Self { labels, minors }
    }
}

fn format_of(unit: Unit, range_s: i64) -> &'static str {
    match unit {
        Second(s) if s < 60 => "%H:%M:%S",
        Second(_) if range_s < NAMED_DAY_S => "%H:%M",
        Second(_) if range_s < 7 * DAY_S => "%a %H:%M",
        Second(_) => "%m/%d %H:%M",
        Day(_) | Week(_) if range_s < 300 * DAY_S => "%m/%d",
        Day(_) | Week(_) => "%m/%d %Y",
        Month(_) => "%b %Y",
        Year(_) => "%Y",
    }
}

/// A time in strftime's notation; a format that means nothing is shown as it is.
fn write(at: DateTime, format: &str) -> String {
    let text = jiff::fmt::strtime::format(format, at);
    // A civil time has no zone: `%Z` and what else fails without one is left out.
    let text = text.unwrap_or_else(|_| {
        let plain = format.replace("%Z", "").replace("%z", "");
        jiff::fmt::strtime::format(plain.trim(), at).unwrap_or_else(|_| format.to_owned())
    });
    text.chars().take(LABEL_CHARS_MAX).collect()
}

impl Unit {
    /// Length, a year having 365 days.
    fn seconds(self) -> f64 {
        let (count, unit) = match self {
            Second(n) => (n, 1),
            Day(n) => (n, DAY_S),
            Week(n) => (n, 7 * DAY_S),
            Month(n) => (n, 30 * DAY_S),
            Year(n) => (n, 365 * DAY_S),
        };
        count as f64 * unit as f64
    }

    /// Its instants within the range, ascending.
    fn instants(self, start_s: i64, end_s: i64, zone: &TimeZone) -> Vec<i64> {
        let Ok(start) = Timestamp::from_second(start_s) else { return Vec::new() };
        match self {
            // Steps of time that passes: an hour that a clock shows twice has its instants twice.
            Second(step) if step <= 3_600 => {
                let offset_s = i64::from(zone.to_offset(start).seconds());
                let behind = (start_s + offset_s).rem_euclid(step);
                let first = if behind == 0 { start_s } else { start_s + step - behind };
                (0..).map(|i: i64| first + i * step).take_while(|t| *t <= end_s).take(LINES_MAX).collect()
            }
            // Steps of the clock on the wall.
            _ => self.civil_instants(zone.to_datetime(start), start_s, end_s, zone),
        }
    }

    fn civil_instants(self, start: DateTime, start_s: i64, end_s: i64, zone: &TimeZone) -> Vec<i64> {
        let day = start.date();
        let first = match self {
            Second(_) => Some(day),
            Day(n) => day.checked_sub(Span::new().days((i64::from(day.day()) - 1) % n)).ok(),
            Week(_) => day.checked_sub(Span::new().days(i64::from(day.weekday().to_monday_zero_offset()))).ok(),
            Month(n) => Date::new(day.year(), ((i64::from(day.month()) - 1) / n * n + 1) as i8, 1).ok(),
            Year(n) => Date::new((i64::from(day.year()) / n * n).max(1) as i16, 1, 1).ok(),
        };
        let Some(first) = first.map(|day| day.to_datetime(Time::midnight())) else { return Vec::new() };
        let mut times = Vec::new();
        let mut last = i64::MIN;
        for i in 0..LINES_MAX as i64 * 2 {
            let at = match self {
                Second(step) => first.checked_add(Span::new().seconds(i * step)),
                Day(n) => first.checked_add(Span::new().days(i * n)),
                Week(n) => first.checked_add(Span::new().weeks(i * n)),
                Month(n) => first.checked_add(Span::new().months(i * n)),
                Year(n) => first.checked_add(Span::new().years(i * n)),
            };
            let Ok(at) = at.and_then(|at| zone.to_timestamp(at)) else { break };
            let at = at.as_second();
            if at > end_s || times.len() == LINES_MAX {
                break;
            }
            // A time that a clock skips comes out as the one after it.
            if at >= start_s && at > last {
                times.push(at);
                last = at;
            }
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::super::font::{Face, Family};
    use super::*;

    const NOON_S: i64 = 1_717_243_200;
    const HOUR_S: i64 = 3_600;

    /// Labels for `hours` until Saturday, 2024-06-01 12:00 UTC.
    fn check(hours: i64, width: f64, zone: &str, format: Option<&str>, want: &str) {
        let font = Font { face: Face { family: Family::Sans, bold: false }, italic: false, size: 10.0 };
        let zone = TimeZone::get(zone).unwrap();
        let axis = TimeAxis::new(NOON_S - hours * HOUR_S, NOON_S, width, &zone, &font, format);
        let labels: Vec<&str> = axis.labels.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(labels.join("|"), want, "{hours} h on {width} px");
        let px = |t: i64| (t - NOON_S + hours * HOUR_S) as f64 / (hours * HOUR_S) as f64 * width;
        for pair in axis.labels.windows(2) {
            let room = px(pair[1].0) - px(pair[0].0);
            assert!(room > (font.width(&pair[0].1) + font.width(&pair[1].1)) / 2.0, "{hours} h: {pair:?} overlap");
        }
    }

    #[test]
    fn labels_follow_the_zoom() {
        for (hours, width, want) in [
            (1, 340.0, "11:00|11:10|11:20|11:30|11:40|11:50|12:00"),
            (1, 120.0, "11:00|11:20|11:40|12:00"),
            (12, 340.0, "00:00|02:00|04:00|06:00|08:00|10:00|12:00"),
            (19, 340.0, "18:00|21:00|00:00|03:00|06:00|09:00|12:00"),
            (23, 340.0, "Fri 18:00|Sat 00:00|Sat 06:00|Sat 12:00"),
            (24, 340.0, "Fri 12:00|Fri 18:00|Sat 00:00|Sat 06:00|Sat 12:00"),
            (7 * 24, 340.0, "05/26|05/27|05/28|05/29|05/30|05/31|06/01"),
            (30 * 24, 340.0, "05/06|05/13|05/20|05/27"),
            (365 * 24, 340.0, "Jul 2023|Oct 2023|Jan 2024|Apr 2024"),
            (20 * 365 * 24, 340.0, "2005|2010|2015|2020"),
            (24, 30.0, ""),
        ] {
            check(hours, width, "UTC", None, want);
        }
    }

    #[test]
    fn labels_follow_the_zone() {
        check(12, 340.0, "Asia/Kolkata", None, "06:00|08:00|10:00|12:00|14:00|16:00");
        check(7 * 24, 340.0, "America/New_York", None, "05/26|05/27|05/28|05/29|05/30|05/31|06/01");
        check(1, 340.0, "UTC", Some("%H.%M Uhr"), "11.00 Uhr|11.15 Uhr|11.30 Uhr|11.45 Uhr|12.00 Uhr");
        check(1, 200.0, "UTC", Some("%"), "%|%|%|%|%|%|%");
        check(1, 340.0, "UTC", Some("%H:%M %Z"), "11:00|11:10|11:20|11:30|11:40|11:50|12:00");
    }

    #[test]
    fn clocks_that_change() {
        let font = Font { face: Face { family: Family::Sans, bold: false }, italic: false, size: 10.0 };
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        // 2024-03-31: 02:00 becomes 03:00.
        let (start, end) = (1_711_839_600 - 12 * HOUR_S, 1_711_839_600 + 24 * HOUR_S);
        let axis = TimeAxis::new(start, end, 600.0, &zone, &font, None);
        let labels: Vec<&str> = axis.labels.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            labels.join("|"),
            "Sat 12:00|Sat 16:00|Sat 20:00|Sun 00:00|Sun 04:00|Sun 08:00|Sun 12:00|Sun 16:00|Sun 20:00|Mon 00:00"
        );
    }

    #[test]
    fn hostile_ranges_end() {
        let font = Font { face: Face { family: Family::Sans, bold: false }, italic: false, size: 10.0 };
        for (start, end) in [(0, 0), (5, 1), (i64::MIN, i64::MAX), (0, i64::MAX), (-62_135_596_800, 253_402_300_799)] {
            let axis = TimeAxis::new(start, end, 500.0, &TimeZone::UTC, &font, None);
            assert!(axis.labels.len() <= LINES_MAX && axis.minors.len() <= LINES_MAX);
        }
    }
}
