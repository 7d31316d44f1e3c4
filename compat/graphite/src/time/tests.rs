use super::{Unit, floor_to_unit, parse_interval, parse_time, zone};

/// 2024-06-01 12:00:00 UTC, a Saturday.
const NOW: i64 = 1_717_243_200;

/// `want` is in seconds before [`NOW`], or an error.
fn check(text: &str, tz: &str, want: Option<i64>) {
    let got = parse_time(text, &zone(tz).expect(tz), NOW).ok().map(|s| NOW - s);
    assert_eq!(got, want, "{text:?} in {tz}");
}

#[test]
fn times_in_utc() {
    const H: i64 = 3600;
    const D: i64 = 86_400;
    for (text, want) in [
        ("", Some(0)),
        ("now", Some(0)),
        ("NOW - 1 h", Some(H)),
        ("-1h30min", Some(H + 1800)),
        ("+1h", Some(-H)),
        ("-2mon", Some(60 * D)),
        ("-1y", Some(365 * D)),
        ("1717236000", Some(7200)),
        ("20240601", Some(12 * H)),
        ("19000101", Some(NOW - 19_000_101)),
        ("00:00_20240601", Some(12 * H)),
        ("midnight-1h", Some(13 * H)),
        ("noon_yesterday", Some(D)),
        ("teatime", Some(-4 * H)),
        ("8:30am", Some(12_600)),
        ("8:30pm", Some(-30_600)),
        ("6am", Some(6 * H)),
        ("6pm_today", Some(-6 * H)),
        ("12am", Some(0)),
        ("12pm", Some(12 * H)),
        ("tomorrow", Some(-12 * H)),
        ("05/31/24", Some(36 * H)),
        ("12:30_05/31/2024", Some(23 * H + 1800)),
        ("may30", Some(60 * H)),
        ("jun1", Some(12 * H)),
        ("friday", Some(36 * H)),
        ("saturday", Some(12 * H)),
        ("monday-2h", Some(5 * D + 14 * H)),
        ("11:00+30min", Some(1800)),
        ("1h", None),
        ("now-1fortnight", None),
        ("32/13/24", None),
        ("may", None),
        ("may32", None),
        ("--1h", None),
        ("13:77", None),
        ("25:00", None),
        ("-1.5h", None),
        ("-1m", None),
        ("-h", None),
        ("x", None),
        ("ü:1", None),
        ("1:ü", None),
        ("99999999999999", None),
        ("now-9999999999999999h", None),
    ] {
        check(text, "UTC", want);
    }
}

#[test]
fn times_in_other_zones() {
    const H: i64 = 3600;
    check("midnight", "America/New_York", Some(8 * H));
    check("yesterday", "Europe/London", Some(37 * H));
    check("6am", "Asia/Tokyo", Some(15 * H));
    check("00:00_20240601", "Australia/Adelaide", Some(21 * H + 1800));
    check("1717236000", "Asia/Tokyo", Some(7200));
    // 01:30 happened twice on 2023-11-05 in New York: standard time is meant.
    check("01:30_20231105", "America/New_York", Some(NOW - 1_699_165_800));
    // 02:30 did not happen on 2024-03-10: an hour later is meant.
    check("02:30_20240310", "America/New_York", Some(NOW - 1_710_055_800));
    assert!(zone("Nowhere/Bad").is_none());
}

#[test]
fn intervals() {
    for (text, want) in [
        ("5min", Some(300)),
        ("-1h", Some(-3600)),
        ("1h30minutes", Some(5400)),
        ("2weeks", Some(1_209_600)),
        ("", None),
        ("h", None),
        ("5", None),
        ("5m", None),
        ("1h-5min", None),
        ("99999999999y", None),
    ] {
        assert_eq!(parse_interval(text).ok(), want, "{text}");
    }
}

#[test]
fn units_start() {
    let (utc, kolkata) = (zone("UTC").expect("UTC"), zone("Asia/Kolkata").expect("Kolkata"));
    for (unit, first_weekday, want) in [
        (Unit::Second, 1, NOW + 3723),
        (Unit::Minute, 1, NOW + 3720),
        (Unit::Hour, 1, NOW + 3600),
        (Unit::Day, 1, NOW - 43_200),
        (Unit::Week, 1, NOW - 43_200 - 5 * 86_400),
        (Unit::Week, 6, NOW - 43_200),
        (Unit::Week, 7, NOW - 43_200 - 6 * 86_400),
        (Unit::Month, 1, NOW - 43_200),
        (Unit::Year, 1, 1_704_067_200),
    ] {
        assert_eq!(floor_to_unit(NOW + 3723, unit, first_weekday, &utc), Ok(want), "{unit:?}");
    }
    assert_eq!(floor_to_unit(NOW, Unit::Hour, 1, &kolkata), Ok(NOW - 1800));
}
