/// The unit of times in an answer (`epoch=` of a query).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Epoch {
    /// `ns`, `n`, and any name that is none of the others.
    Nanosecond,
    /// `u`.
    Microsecond,
    /// `ms`.
    Millisecond,
    /// `s`.
    Second,
    /// `m`.
    Minute,
    /// `h`.
    Hour,
}

impl Epoch {
    /// The unit a client names; `None` if it names none, then times are text. As measured on 1.6.7
    /// every other name, `µ` and `us` among them, means nanoseconds.
    pub fn from_param(param: &str) -> Option<Self> {
        Some(match param {
            "" => return None,
            "u" => Self::Microsecond,
            "ms" => Self::Millisecond,
            "s" => Self::Second,
            "m" => Self::Minute,
            "h" => Self::Hour,
            _ => Self::Nanosecond,
        })
    }

    /// Whole units since 1970, cut towards it.
    pub fn of(self, time_ns: i64) -> i64 {
        time_ns
            / match self {
                Self::Nanosecond => 1,
                Self::Microsecond => 1_000,
                Self::Millisecond => 1_000_000,
                Self::Second => 1_000_000_000,
                Self::Minute => 60_000_000_000,
                Self::Hour => 3_600_000_000_000,
            }
    }
}

const SECOND_NS: i64 = 1_000_000_000;

/// Appends `time_ns` in UTC as `2020-01-01T00:00:10.000000001Z`; zeros at the end of the fraction are
/// left out, and the point with them.
pub fn write_rfc3339(out: &mut Vec<u8>, time_ns: i64) {
    let (seconds, fraction) = (time_ns.div_euclid(SECOND_NS), time_ns.rem_euclid(SECOND_NS));
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date_of(day);
    // An i64 of nanoseconds stays within four digits of years.
    let mut text = *b"0000-00-00T00:00:00";
    for (at, width, number) in [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, second / 3_600),
        (14, 2, second / 60 % 60),
        (17, 2, second % 60),
    ] {
        write_digits(&mut text[at..at + width], number);
    }
    out.extend_from_slice(&text);
    if fraction != 0 {
        let mut text = *b".000000000";
        write_digits(&mut text[1..], fraction);
        let end = text.iter().rposition(|byte| *byte != b'0').unwrap_or(0);
        out.extend_from_slice(&text[..=end]);
    }
    out.push(b'Z');
}

fn write_digits(out: &mut [u8], mut number: i64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month and day of the day so many days after 1970-01-01, in the Gregorian calendar.
fn date_of(days: i64) -> (i64, i64, i64) {
    // Years start in March here, so that the leap day is the last one; 400 years are one era.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(time_ns: i64) -> String {
        let mut out = Vec::new();
        write_rfc3339(&mut out, time_ns);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_print_as_in_go() {
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(1_000), "1970-01-01T00:00:00.000001Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(text(1_577_836_810_000_000_001), "2020-01-01T00:00:10.000000001Z");
        assert_eq!(text(951_782_400_000_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(text(i64::MAX), "2262-04-11T23:47:16.854775807Z");
        assert_eq!(text(i64::MIN), "1677-09-21T00:12:43.145224192Z");
    }

    #[test]
    fn epochs_cut_towards_1970() {
        assert_eq!(Epoch::from_param("s").map(|epoch| epoch.of(-1_500_000_000)), Some(-1));
        assert_eq!(Epoch::from_param("h").map(|epoch| epoch.of(1_577_836_800_123_456_789)), Some(438_288));
        assert_eq!(Epoch::from_param("us"), Some(Epoch::Nanosecond));
        assert_eq!(Epoch::from_param(""), None);
    }

    proptest! {
        #[test]
        fn times_agree_with_another_calendar(time_ns in any::<i64>()) {
            let other = jiff::Timestamp::from_nanosecond(time_ns.into()).unwrap();
            prop_assert_eq!(text(time_ns), other.to_string());
        }
    }
}
