use rhythmite_model::{Error, Result};

/// Longest interval, in seconds: what fits Python's `timedelta`.
const INTERVAL_MAX_S: i64 = 999_999_999 * 86_400;

/// A unit of time as an interval names it; months have 30 days, years 365.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// `s...`
    Second,
    /// `min...`
    Minute,
    /// `h...`
    Hour,
    /// `d...`
    Day,
    /// `w...`
    Week,
    /// `mon...`
    Month,
    /// `y...`
    Year,
}

impl Unit {
    /// The unit that `text` starts with: any spelling that begins right.
    ///
    /// # Errors
    /// `Invalid` for anything else; a bare `m` is neither minutes nor months.
    pub fn parse(text: &str) -> Result<Self> {
        let prefixes = [
            ("s", Self::Second),
            ("min", Self::Minute),
            ("h", Self::Hour),
            ("d", Self::Day),
            ("w", Self::Week),
            ("mon", Self::Month),
            ("y", Self::Year),
        ];
        prefixes
            .into_iter()
            .find_map(|(prefix, unit)| text.starts_with(prefix).then_some(unit))
            .ok_or_else(|| Error::invalid(format!("invalid unit {text:?}")))
    }

    /// Its length in seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
            Self::Month => 30 * 86_400,
            Self::Year => 365 * 86_400,
        }
    }
}

/// Reads an interval such as `5min`, `-1h30min` or `+1d`. Returns seconds with their sign.
///
/// # Errors
/// `Invalid` when the text is empty, is no interval or is longer than [`INTERVAL_MAX_S`].
pub fn parse_interval(text: &str) -> Result<i64> {
    let fail = || Error::invalid(format!("invalid interval {text:?}"));
    let (sign, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        Some(b) if b.is_ascii_digit() => (1, text),
        _ => return Err(fail()),
    };
    let mut total = 0i64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().map_err(|_| fail())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let unit = Unit::parse(&rest[..letters]).map_err(|_| fail())?;
        rest = &rest[letters..];
        let seconds = number.checked_mul(unit.seconds()).ok_or_else(fail)?;
        total = total.checked_add(seconds).filter(|t| *t <= INTERVAL_MAX_S).ok_or_else(fail)?;
    }
    Ok(sign * total)
}
