//! Duration literals: `1h30m`, `10u`, `2w`.

use std::fmt;

/// Nanoseconds of each unit, longest first; the spelling is the one written back.
const UNITS: [(&str, i64); 8] = [
    ("w", 7 * 24 * 3_600_000_000_000),
    ("d", 24 * 3_600_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("u", 1_000),
    ("ns", 1),
];

/// Reads a duration literal to nanoseconds.
///
/// A sequence of digits and units `ns u µ ms s m h d w`, optionally negative.
///
/// # Errors
/// The message of 1.x: a malformed literal, or one that does not fit 64 bits.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || "invalid duration".to_owned();
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let (unit, unit_ns) = ["ns", "ms", "u", "µ", "m", "s", "h", "d", "w"]
            .into_iter()
            .find(|unit| rest.starts_with(unit))
            .map(|unit| (unit, unit_ns(unit)))
            .ok_or_else(invalid)?;
        rest = &rest[unit.len()..];
        total += i128::from(number) * i128::from(unit_ns);
        if total > i128::from(i64::MAX) {
            return Err(format!("overflowed duration {number}{unit}: choose a smaller duration or INF"));
        }
    }
    // The sum fits, and so does its negative.
    Ok(if negative { -(total as i64) } else { total as i64 })
}

fn unit_ns(unit: &str) -> i64 {
    let unit = if unit == "µ" { "u" } else { unit };
    UNITS.iter().find(|(name, _)| *name == unit).map_or(1, |(_, ns)| *ns)
}

/// Writes nanoseconds as a duration literal in the longest unit that divides them.
#[derive(Clone, Copy, Debug)]
pub struct DurationLiteral(pub i64);

impl fmt::Display for DurationLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let (unit, ns) = UNITS.iter().find(|(_, ns)| self.0 % ns == 0).unwrap_or(&UNITS[7]);
        write!(f, "{}{unit}", self.0 / ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_read_and_write_back() {
        for (text, ns, written) in [
            ("10s", 10_000_000_000, "10s"),
            ("1h30m", 5_400_000_000_000, "90m"),
            ("7d", 604_800_000_000_000, "1w"),
            ("5µ", 5_000, "5u"),
            ("5u3ns", 5_003, "5003ns"),
            ("0m", 0, "0s"),
            ("-2h", -7_200_000_000_000, "-2h"),
            ("24h0m0s", 86_400_000_000_000, "1d"),
        ] {
            assert_eq!(parse_duration(text), Ok(ns), "{text}");
            assert_eq!(DurationLiteral(ns).to_string(), written, "{text}");
        }
    }

    #[test]
    fn malformed_and_overflowing_literals_are_refused() {
        for text in ["", "-", "5", "s", "5x", "5n", "1h5", "5us", "0xdb0", "99999999999999999999s"] {
            assert_eq!(parse_duration(text), Err("invalid duration".to_owned()), "{text}");
        }
        assert_eq!(
            parse_duration("15251w"),
            Err("overflowed duration 15251w: choose a smaller duration or INF".to_owned())
        );
    }
}
