//! Numbers as ECMAScript's `Number()` reads them and `String()` writes them.
//!
//! StatsD runs on Node, so `0x10`, `.5`, `5.`, `+7`, `1e3`, ` 5 ` and `Infinity` are numbers and
//! `1_000`, `nan` and `5x` are not. Plain decimals, nearly all there are, take a path without
//! any library call.

use std::borrow::Cow;

/// 2^53: mantissas up to here are exact in an f64.
const MANTISSA_MAX: u64 = 1 << 53;

/// Powers of ten that are exact in an f64.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// The value of `Number(text)`; `None` where that is NaN. Blank text is 0.
pub fn parse(text: &[u8]) -> Option<f64> {
    parse_plain(text).or_else(|| parse_full(text))
}

fn parse_plain(text: &[u8]) -> Option<f64> {
    take_plain(text).filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

/// Takes a sign, if there is one, and digits with at most one point between or after them from the beginning: the number,
/// exact by one division, and what follows. `None` if there is no such number, or only a longer one.
#[inline]
pub(crate) fn take_plain(text: &[u8]) -> Option<(f64, &[u8])> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let (mut mantissa, mut seen, mut point) = (0u64, 0usize, None);
    let mut rest = digits;
    while let [b, after @ ..] = rest {
        match b {
            // 18 digits cannot overflow the mantissa.
            b'0'..=b'9' if seen < 18 => {
                mantissa = mantissa * 10 + u64::from(b - b'0');
                seen += 1;
            }
            b'0'..=b'9' => return None,
            b'.' if point.is_none() => point = Some(seen),
            _ => break,
        }
        rest = after;
    }
    if seen == 0 || mantissa > MANTISSA_MAX {
        return None;
    }
    let value = match point {
        None => mantissa as f64,
        Some(point) => mantissa as f64 / EXACT_POWERS[seen - point],
    };
    Some((if negative { -value } else { value }, rest))
}

/// The whole grammar of StringNumericLiteral.
fn parse_full(text: &[u8]) -> Option<f64> {
    let text = trim(text);
    if text.is_empty() {
        return Some(0.0);
    }
    if let [b'0', radix, digits @ ..] = text {
        match radix | 0x20 {
            b'x' => return parse_radix(digits, 4),
            b'o' => return parse_radix(digits, 3),
            b'b' => return parse_radix(digits, 1),
            _ => {}
        }
    }
    let (negative, unsigned) = match text[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let value = if unsigned == b"Infinity" {
        f64::INFINITY
    } else if is_decimal(unsigned) {
        fast_float2::parse::<f64, _>(unsigned).ok()?
    } else {
        return None;
    };
    Some(if negative { -value } else { value })
}

/// `12`, `12.`, `.5`, `1.5`, each with an optional exponent.
fn is_decimal(text: &[u8]) -> bool {
    let digits = |t: &[u8]| t.iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(text);
    let mut rest = &text[whole..];
    let mut fraction = 0;
    if let [b'.', tail @ ..] = rest {
        fraction = digits(tail);
        rest = &tail[fraction..];
    }
    if whole + fraction == 0 {
        return false;
    }
    if let [b'e' | b'E', tail @ ..] = rest {
        let tail = match tail {
            [b'+' | b'-', t @ ..] => t,
            t => t,
        };
        return !tail.is_empty() && digits(tail) == tail.len();
    }
    rest.is_empty()
}

/// Digits of a radix that is a power of two, rounded to nearest even.
fn parse_radix(digits: &[u8], bits: u32) -> Option<f64> {
    if digits.is_empty() {
        return None;
    }
    // The top 64 bits, a sticky bit for everything below them, and the bits dropped: more than
    // the 53 + 2 bits that rounding looks at.
    let (mut top, mut dropped, mut sticky) = (0u64, 0u32, 0u64);
    for &b in digits {
        let digit = char::from(b).to_digit(1 << bits)?;
        for shift in (0..bits).rev() {
            let bit = u64::from(digit >> shift & 1);
            if top >> 63 == 1 {
                dropped = dropped.saturating_add(1);
                sticky |= bit;
            } else {
                top = top << 1 | bit;
            }
        }
    }
    let value = (top | sticky) as f64;
    Some(if dropped > 1100 { f64::INFINITY } else { value * 2f64.powi(dropped as i32) })
}

/// White space of ECMAScript (`\s`, `trim`).
pub fn is_space(c: char) -> bool {
    (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}'
}

/// `String.prototype.trim` over UTF-8; bytes that are no UTF-8 are no white space.
pub fn trim(text: &[u8]) -> &[u8] {
    if text.is_ascii() {
        let space = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r');
        let start = text.iter().position(|b| !space(b)).unwrap_or(text.len());
        let end = text.iter().rposition(|b| !space(b)).map_or(start, |i| i + 1);
        return &text[start..end];
    }
    std::str::from_utf8(text).map_or(text, |t| t.trim_matches(is_space).as_bytes())
}

/// The text of `String(value)`: the shortest that reads back the same, `1e+21` and `1e-7` from there on.
pub fn format(value: f64) -> Cow<'static, str> {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.into();
    }
    if value == 0.0 {
        return "0".into();
    }
    let mut buffer = zmij::Buffer::new();
    let (digits, point) = decimal_digits(buffer.format_finite(value.abs()));
    let count = digits.len() as i32;
    let mut out = String::with_capacity(26);
    if value < 0.0 {
        out.push('-');
    }
    if !(-5..=21).contains(&point) {
        out.push_str(&digits[..1]);
        if count > 1 {
            out.push('.');
            out.push_str(&digits[1..]);
        }
        out.push_str(if point > 0 { "e+" } else { "e-" });
        out.push_str(&(point - 1).unsigned_abs().to_string());
    } else if point <= 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', point.unsigned_abs() as usize));
        out.push_str(&digits);
    } else if point >= count {
        out.push_str(&digits);
        out.extend(std::iter::repeat_n('0', (point - count) as usize));
    } else {
        out.push_str(&digits[..point as usize]);
        out.push('.');
        out.push_str(&digits[point as usize..]);
    }
    out.into()
}

/// Takes a positive decimal such as `12.50` or `1.2e-7` apart: its significant digits `d` and
/// the place of the point, so that the value is `0.d * 10^point`.
fn decimal_digits(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let leading = all.len() - all.trim_start_matches('0').len();
    let point = whole.len() as i32 - leading as i32 + exponent.parse::<i32>().unwrap_or(0);
    (all[leading..].trim_end_matches('0').to_owned(), point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_reads_what_ecmascript_reads() {
        for (text, want) in [
            ("0", 0.0),
            ("", 0.0),
            (" \t ", 0.0),
            ("12.5", 12.5),
            ("-12.5", -12.5),
            ("+7", 7.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1.5E-2", 0.015),
            ("0x10", 16.0),
            ("0XfF", 255.0),
            ("0b101", 5.0),
            ("0o17", 15.0),
            ("017", 17.0),
            (" 5\r", 5.0),
            ("\u{a0}5\u{feff}", 5.0),
            ("Infinity", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("1e999", f64::INFINITY),
            ("9007199254740993", 9007199254740992.0),
            ("0x20000000000001", 9007199254740992.0),
            ("0x20000000000003", 9007199254740996.0),
            ("0xffffffffffffffffff", 4722366482869645213695.0),
            ("123456789012345678901234567890", 123456789012345678901234567890.0),
            ("0.1", 0.1),
            ("99999999999.99999999", 99999999999.99999999),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(want), "{text:?}");
        }
        for text in [
            "x", "1_000", "nan", "NaN", "inf", "infinity", "1 2", "1,5", "-", "+", ".", "e3", "1e", "1e+", "--1",
            "-0x10", "0x", "0xg", "1.5.2", "5x", "\u{663}", "+-5", "0b2",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse(b"5\xff"), None);
    }

    #[test]
    fn numbers_are_written_as_ecmascript_writes_them() {
        for (value, want) in [
            (0.0, "0"),
            (-0.0, "0"),
            (90.0, "90"),
            (99.9, "99.9"),
            (-10.0, "-10"),
            (0.000001, "0.000001"),
            (1e-7, "1e-7"),
            (1.25e-9, "1.25e-9"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (123456.789, "123456.789"),
            (0.1 + 0.2, "0.30000000000000004"),
            (f64::INFINITY, "Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(format(value), want);
        }
    }
}
