//! Floats as Go prints them: the shortest digits that read back, laid out by Go's rules.

/// Appends a finite `value` as Go's JSON encoder does: without exponent from 1e-6 up to 1e21,
/// otherwise as `1e+21` or `1e-7`; never a trailing `.0`; `-0` for the negative zero.
pub fn write_float(out: &mut Vec<u8>, value: f64) {
    let size = value.abs();
    let exponent_form = size != 0.0 && !(1e-6..1e21).contains(&size);
    write(out, value, exponent_form);
}

/// Appends a finite `value` without exponent, whatever its size: the form of CSV.
pub(super) fn write_float_plain(out: &mut Vec<u8>, value: f64) {
    write(out, value, false);
}

fn write(out: &mut Vec<u8>, value: f64, exponent_form: bool) {
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(value).as_bytes();
    let shortest = match shortest {
        [b'-', positive @ ..] => {
            out.push(b'-');
            positive
        }
        positive => positive,
    };
    let (digits, count, point) = digits_of(shortest);
    let digits = &digits[..count];
    if exponent_form {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let exponent = point - 1;
        out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
        out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
        return;
    }
    match usize::try_from(point) {
        Ok(0) | Err(_) => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + point.unsigned_abs() as usize, b'0');
            out.extend_from_slice(digits);
        }
        Ok(point) if point >= count => {
            out.extend_from_slice(digits);
            out.resize(out.len() + point - count, b'0');
        }
        Ok(point) => {
            out.extend_from_slice(&digits[..point]);
            out.push(b'.');
            out.extend_from_slice(&digits[point..]);
        }
    }
}

/// The significant digits of a positive decimal number, how many they are, and how many of them (or
/// of zeros behind them) stand before the point; zero is one digit.
fn digits_of(text: &[u8]) -> ([u8; 24], usize, i32) {
    let (mut digits, mut count, mut point) = ([0; 24], 0, None);
    let (mut before_point, mut leading_zeros) = (0, 0);
    let mut exponent = 0;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'e' => {
                let text = std::str::from_utf8(&text[at + 1..]).unwrap_or_default();
                exponent = text.parse().unwrap_or_default();
                break;
            }
            b'.' => point = Some(before_point),
            b'0' if count == 0 => {
                leading_zeros += 1;
                before_point += 1;
            }
            digit => {
                // Seventeen digits tell all floats apart; zeros may follow in a plain form.
                if count < digits.len() {
                    digits[count] = *digit;
                    count += 1;
                }
                before_point += 1;
            }
        }
    }
    let point = point.unwrap_or(before_point) + exponent - leading_zeros;
    while count > 0 && digits[count - 1] == b'0' {
        count -= 1;
    }
    if count == 0 {
        digits[0] = b'0';
        return (digits, 1, 1);
    }
    (digits, count, point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(value: f64) -> String {
        let mut out = Vec::new();
        write_float(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    fn plain(value: f64) -> String {
        let mut out = Vec::new();
        write_float_plain(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_print_as_in_go() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.25, "-1.25"),
            (0.5, "0.5"),
            (100_000.0, "100000"),
            (1e-5, "0.00001"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (9.99e-7, "9.99e-7"),
            (1e-7, "1e-7"),
            (1e-10, "1e-10"),
            (5e-324, "5e-324"),
            (0.123_456_789_012_345_66, "0.12345678901234566"),
            (12_345_678_901_234_567_890.0, "12345678901234567000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.1111111111111112e59, "1.1111111111111112e+59"),
            (f64::MAX, "1.7976931348623157e+308"),
        ];
        for (value, text) in cases {
            assert_eq!(json(value), text);
        }
        assert_eq!(plain(1e22), "10000000000000000000000");
        assert_eq!(plain(-1e-7), "-0.0000001");
        assert_eq!(plain(f64::MAX).len(), 309);
    }

    proptest! {
        #[test]
        fn every_float_reads_back(bits in any::<u64>(), cents in any::<i32>()) {
            for value in [f64::from_bits(bits), f64::from(cents) / 100.0, f64::from(cents)] {
                if value.is_finite() {
                    prop_assert_eq!(json(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
                    prop_assert_eq!(plain(value).parse::<f64>().unwrap().to_bits(), value.to_bits());
                    prop_assert!(!plain(value).contains('e'));
                }
            }
        }
    }
}
