//! Durations as Go prints them: `168h0m0s`, `1.5s`, `10µs`. InfluxDB shows retention policies,
//! queries and uptimes so; the literals of InfluxQL (`1w`, `90m`) are another grammar.

use std::fmt;

/// Displays nanoseconds in Go's form.
///
/// From one second on hours, minutes and seconds, none left out below the largest; below one second
/// the largest of `ms`, `µs`, `ns` that leaves a digit before the point; zero is `0s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub i64);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let ns = self.0.unsigned_abs();
        match ns {
            0 => f.write_str("0s"),
            1..=999 => write!(f, "{ns}ns"),
            1_000..=999_999 => write!(f, "{}µs", Fraction(ns, 3)),
            1_000_000..=999_999_999 => write!(f, "{}ms", Fraction(ns, 6)),
            _ => {
                let minutes = ns / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                write!(f, "{}s", Fraction(ns % 60_000_000_000, 9))
            }
        }
    }
}

/// A number of 10^-places, without trailing zeros.
struct Fraction(u64, u32);

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fraction(number, mut places) = *self;
        let unit = 10_u64.pow(places);
        let mut rest = number % unit;
        if rest == 0 {
            return write!(f, "{}", number / unit);
        }
        while rest % 10 == 0 {
            rest /= 10;
            places -= 1;
        }
        write!(f, "{}.{rest:0width$}", number / unit, width = places as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        let cases = [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (11_000, "11µs"),
            (2_200_000, "2.2ms"),
            (1_000_000_000, "1s"),
            (3_300_000_000, "3.3s"),
            (59_000_000_001, "59.000000001s"),
            (60_000_000_000, "1m0s"),
            (245_000_000_000, "4m5s"),
            (3_600_000_000_000, "1h0m0s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (604_800_000_000_000, "168h0m0s"),
            (-1_500_000_000, "-1.5s"),
            (i64::MAX, "2562047h47m16.854775807s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ];
        for (ns, text) in cases {
            assert_eq!(GoDuration(ns).to_string(), text);
        }
    }
}
