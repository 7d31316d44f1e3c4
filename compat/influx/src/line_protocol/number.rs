//! Numbers of field values and timestamps, eight digits at a time.

use super::error::Reason;
use super::parser::Value;

/// The longest run that [`digits`] reads; any such number fits 64 bits unsigned.
pub(super) const DIGITS_MAX: usize = 19;
/// Integers with as many digits fit 64 bits signed.
const INTEGER_DIGITS_MAX: usize = 18;
/// Integers up to this one are floats exactly.
const EXACT_FLOAT_MAX: u64 = 1 << 53;
/// Powers of ten that floats hold exactly; one division by them rounds correctly.
const POWERS_OF_TEN: [f64; 19] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];
const INTEGER_POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The digits at the start of `bytes` as a number, and how many they are. More than [`DIGITS_MAX`]
/// are neither read nor counted to their end.
// PERF: no branch depends on the number of digits up to seven; a loop over bytes mispredicts its end.
// Proof: `cargo bench --bench line_protocol`.
#[inline]
pub(super) fn digits(bytes: &[u8]) -> (u64, usize) {
    let (mut number, mut count) = (0_u64, 0);
    while let Some(chunk) = bytes.get(count..).and_then(|rest| rest.first_chunk::<8>()) {
        // Digits become 0..=9; any other byte gets its top bit set by the addition or has it already.
        let word = u64::from_le_bytes(*chunk) ^ 0x3030_3030_3030_3030;
        let others = (word.wrapping_add(0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080;
        let run = (others.trailing_zeros() / 8) as usize;
        if run == 8 {
            if count == 16 {
                break;
            }
            number = number * 100_000_000 + eight_digits(word);
            count += 8;
            continue;
        }
        // Shift the digits behind zeros, so that eight are read whatever the run. A run of zero
        // would shift by the whole word.
        let aligned = if run == 0 { 0 } else { word << (64 - 8 * run) };
        let tail = eight_digits(aligned);
        if count + run > DIGITS_MAX {
            return (0, count + run);
        }
        return (number * INTEGER_POWERS_OF_TEN[run] + tail, count + run);
    }
    while let Some(digit @ b'0'..=b'9') = bytes.get(count).copied() {
        if count == DIGITS_MAX {
            return (0, count + 1);
        }
        number = number * 10 + u64::from(digit - b'0');
        count += 1;
    }
    (number, count)
}

/// The first digit is in the lowest byte.
#[inline]
fn eight_digits(word: u64) -> u64 {
    let pairs = word.wrapping_mul(10).wrapping_add(word >> 8);
    let low = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let high = (pairs >> 16 & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    low.wrapping_add(high) >> 32
}

/// A number without exponent and with few digits, and its length; the caller checks what follows.
/// `None` says nothing but that [`number_slow`] must decide.
#[inline]
pub(super) fn number_fast<'a>(bytes: &[u8]) -> Option<(Value<'a>, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let sign = usize::from(negative);
    let (whole, count) = digits(bytes.get(sign..)?);
    if count == 0 || count > INTEGER_DIGITS_MAX {
        return None;
    }
    let at = sign + count;
    match bytes.get(at) {
        Some(b'i') => {
            let value = whole as i64; // Eighteen digits fit.
            Some((Value::Integer(if negative { -value } else { value }), at + 1))
        }
        Some(b'u') if !negative => Some((Value::Unsigned(whole), at + 1)),
        Some(b'.') => {
            let (fraction, places) = digits(&bytes[at + 1..]);
            if count + places > INTEGER_DIGITS_MAX || places > 8 {
                return None;
            }
            let scaled = whole * INTEGER_POWERS_OF_TEN[places] + fraction;
            Some((float(negative, scaled, places)?, at + 1 + places))
        }
        _ => Some((float(negative, whole, 0)?, at)),
    }
}

#[inline]
fn float<'a>(negative: bool, scaled: u64, places: usize) -> Option<Value<'a>> {
    if scaled > EXACT_FLOAT_MAX {
        return None;
    }
    // Both operands are exact, so that the quotient is the nearest float.
    let value = scaled as f64 / POWERS_OF_TEN[places];
    Some(Value::Float(if negative { -value } else { value }))
}

/// Any number, or why `token` is none. `token` holds everything up to the next comma, space or end
/// of line and starts with a digit, `-`, `.`, `N` or `n`.
///
/// A number is an optional `-`, digits with at most one point among them, an optional exponent; or
/// digits and `i` or `u`.
#[cold]
pub(super) fn number_slow(token: &[u8]) -> Result<Value<'_>, Reason<'_>> {
    let (negative, body) = match token.strip_prefix(b"-") {
        Some(body) => (true, body),
        None => (false, token),
    };
    if let [number @ .., suffix @ (b'i' | b'u')] = body {
        let text = std::str::from_utf8(&token[..token.len() - 1]).map_err(|_| Reason::InvalidNumber)?;
        if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
            return Err(Reason::InvalidNumber);
        }
        // Nothing but digits is left, so that a failure is one of range.
        return match suffix {
            b'i' => text.parse().map(Value::Integer).map_err(|_| Reason::IntegerRange(text)),
            _ if negative => Err(Reason::InvalidNumber),
            _ => text.parse().map(Value::Unsigned).map_err(|_| Reason::UnsignedRange(text)),
        };
    }
    let exponent = body.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let mantissa = &body[..exponent.unwrap_or(body.len())];
    let points = mantissa.iter().filter(|byte| **byte == b'.').count();
    let digits = mantissa.iter().filter(|byte| byte.is_ascii_digit()).count();
    if points > 1 || digits + points != mantissa.len() {
        return Err(Reason::InvalidNumber);
    }
    if let Some(at) = exponent {
        let rest = &body[at + 1..];
        // What can stand in a number but not here makes a bad float, anything else no number.
        if !rest.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
            return Err(Reason::InvalidNumber);
        }
        let power = rest.strip_prefix(b"+").or(rest.strip_prefix(b"-")).unwrap_or(rest);
        if digits == 0 || power.is_empty() || !power.iter().all(u8::is_ascii_digit) {
            return Err(Reason::InvalidFloat);
        }
    } else if digits == 0 {
        return Err(Reason::InvalidNumber);
    }
    match fast_float2::parse::<f64, _>(token) {
        Ok(value) if value.is_finite() => Ok(Value::Float(value)),
        _ => Err(Reason::InvalidFloat),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_any_length_before_anything() {
        for text in ["0", "7", "12", "1234567", "12345678", "123456789", "1234567890123456", "9999999999999999999"] {
            for tail in ["", "i", " ", ",x=1", "/", ":", "\u{ff}", "\0", "aaaaaaaaaaaaaaaa", ".......", "i,abcdefgh=1"]
            {
                let input = format!("{text}{tail}");
                assert_eq!(digits(input.as_bytes()), (text.parse().unwrap(), text.len()), "{input:?}");
            }
        }
        assert_eq!(digits(b""), (0, 0));
        assert_eq!(digits(b"x2345678"), (0, 0));
    }

    #[test]
    fn too_many_digits_are_counted_not_read() {
        for count in 20..40 {
            for tail in ["", "xxxxxxxxxxxxxxxx"] {
                let input = "9".repeat(count) + tail;
                assert!(digits(input.as_bytes()).1 > DIGITS_MAX, "{input}");
            }
        }
    }

    #[test]
    fn fast_floats_are_the_nearest() {
        for text in
            ["0.1", "12.34", "-0.5", "99999.99", "1.", "123456789.12345", "9007199254740992", "0.00000001", "-0"]
        {
            let padded = format!("{text} 1000000000000000000");
            let (value, len) = number_fast(padded.as_bytes()).expect(text);
            let Value::Float(value) = value else { panic!("{text}") };
            assert_eq!((value.to_bits(), len), (text.parse::<f64>().unwrap().to_bits(), text.len()), "{text}");
        }
    }

    #[test]
    fn floats_with_more_digits_than_a_float_are_left_to_the_slow_path() {
        // Dividing 73785690282684228, which no float holds, would round twice.
        assert_eq!(number_fast(b"737856902.82684228 1000000000000000000"), None);
        assert_eq!(number_slow(b"737856902.82684228"), Ok(Value::Float(737_856_902.826_842_3)));
    }
}
