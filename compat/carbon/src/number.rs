use crate::plaintext::is_space;

/// Digits of a mantissa that a u64 holds and an f64 holds exactly.
const EXACT_DIGITS: usize = 15;
/// Powers of ten that are exact in an f64, up to that of [`EXACT_DIGITS`].
const EXACT_POWERS: [f64; EXACT_DIGITS + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Takes a plain decimal (`-12.5`, no exponent, 15 digits at most) from the end of `text`: what stands before it, and the
/// number, which is the nearest. `None` if there is none, or one that only [`parse_float`] reads.
#[inline]
pub(crate) fn take_decimal(text: &[u8]) -> Option<(&[u8], f64)> {
    let (mut mantissa, mut weight) = (0u64, 1u64);
    let (mut digits, mut fraction) = (0, None);
    let mut at = text.len();
    while let Some(b) = at.checked_sub(1).map(|before| text[before]) {
        match b {
            b'0'..=b'9' if digits < EXACT_DIGITS => {
                mantissa += u64::from(b - b'0') * weight;
                weight *= 10;
                digits += 1;
            }
            b'.' if fraction.is_none() => fraction = Some(digits),
            _ => break,
        }
        at -= 1;
    }
    if digits == 0 {
        return None;
    }
    // Both are exact, so that the division rounds once.
    let value = match fraction {
        None => mantissa as f64,
        Some(digits) => mantissa as f64 / EXACT_POWERS[digits],
    };
    Some(match &text[..at] {
        [before @ .., b'-'] => (before, -value),
        before => (before, value),
    })
}

/// The zeros of scripts with digits of their own, of which nine more follow each.
///
/// Source: the decimal digits of Unicode 14.0.0, which Python 3.11 reads.
#[rustfmt::skip]
const ZEROS: [char; 65] = [
    '\u{660}', '\u{6f0}', '\u{7c0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{b66}', '\u{be6}', '\u{c66}',
    '\u{ce6}', '\u{d66}', '\u{de6}', '\u{e50}', '\u{ed0}', '\u{f20}', '\u{1040}', '\u{1090}', '\u{17e0}',
    '\u{1810}', '\u{1946}', '\u{19d0}', '\u{1a80}', '\u{1a90}', '\u{1b50}', '\u{1bb0}', '\u{1c40}', '\u{1c50}',
    '\u{a620}', '\u{a8d0}', '\u{a900}', '\u{a9d0}', '\u{a9f0}', '\u{aa50}', '\u{abf0}', '\u{ff10}', '\u{104a0}',
    '\u{10d30}', '\u{11066}', '\u{110f0}', '\u{11136}', '\u{111d0}', '\u{112f0}', '\u{11450}', '\u{114d0}',
    '\u{11650}', '\u{116c0}', '\u{11730}', '\u{118e0}', '\u{11950}', '\u{11c50}', '\u{11d50}', '\u{11da0}',
    '\u{16a60}', '\u{16ac0}', '\u{16b50}', '\u{1d7ce}', '\u{1d7d8}', '\u{1d7e2}', '\u{1d7ec}', '\u{1d7f6}',
    '\u{1e140}', '\u{1e2f0}', '\u{1e950}', '\u{1fbf0}',
];

/// Reads a number as Python's `float()` does: blanks around it, a sign, underscores between digits,
/// `inf`, `infinity` and `nan` in any case; no hexadecimal. Digits may be those of any script.
pub fn parse_float(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    // The grammar of the fast parser is Python's but for blanks and underscores.
    if let Ok(n) = fast_float2::parse::<f64, _>(bytes) {
        return Some(n);
    }
    let text = text.trim_matches(is_space);
    if !text.is_ascii() {
        let ascii: Option<String> = text.chars().map(ascii_digit).collect();
        return ascii.and_then(|ascii| parse_float(&ascii));
    }
    if !text.contains('_') {
        return if text.len() == bytes.len() { None } else { fast_float2::parse(text).ok() };
    }
    let bytes = text.as_bytes();
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    let between_digits = |i: usize| i > 0 && digit(i - 1) && digit(i + 1);
    let ok = bytes.iter().enumerate().all(|(i, b)| *b != b'_' || between_digits(i));
    ok.then(|| fast_float2::parse(text.replace('_', "")).ok()).flatten()
}

/// A digit of any script as that of ASCII; other ASCII as it is.
fn ascii_digit(c: char) -> Option<char> {
    if c.is_ascii() {
        return Some(c);
    }
    let zero = ZEROS[..ZEROS.partition_point(|zero| *zero <= c)].last()?;
    char::from_digit(u32::from(c) - u32::from(*zero), 10)
}

#[cfg(test)]
mod tests {
    use super::{parse_float, take_decimal};

    #[test]
    fn numbers_are_what_python_takes() {
        for (text, number) in [
            ("0", 0.0),
            ("007", 7.0),
            ("1.5", 1.5),
            ("-2", -2.0),
            ("+7", 7.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("-.5", -0.5),
            ("+5.e1", 50.0),
            ("1e3", 1e3),
            ("1E+2", 100.0),
            ("-1.5e-2", -0.015),
            ("1e400", f64::INFINITY),
            ("-1e400", f64::NEG_INFINITY),
            ("1e-400", 0.0),
            ("inf", f64::INFINITY),
            ("+Inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
            ("1_000", 1000.0),
            ("1_0.0_1e1_0", 10.01e10),
            (" 4 ", 4.0),
            ("\t\u{a0}4_2\n", 42.0),
            ("123456789012345678901234567890", 123456789012345678901234567890.0),
            ("0.1", 0.1),
            ("\u{664}\u{662}.\u{ff15}", 42.5),
            ("-\u{1d7d8}7e\u{967}", -70.0),
            ("\u{a0}\u{b67}_\u{e59}", 19.0),
            ("\u{1fbf9}", 9.0),
        ] {
            assert_eq!(parse_float(text), Some(number), "{text:?}");
        }
        for text in ["nan", "NaN", "-nan", "+NAN"] {
            assert!(parse_float(text).is_some_and(f64::is_nan), "{text:?}");
        }
    }

    #[test]
    fn a_decimal_at_the_end_is_what_python_reads() {
        for (text, before) in [
            ("a 12.5", "a "),
            ("-0.1", ""),
            ("-0", ""),
            ("x-.5", "x"),
            ("x 5.", "x "),
            ("1.2.3", "1."),
            ("1e5", "1e"),
            ("+7", "+"),
            ("a 999999999999999", "a "),
            ("0.123456789012345", "0"),
            ("1999999999999999", "1"),
            ("a 000000000.000003", "a "),
        ] {
            let (rest, value) = take_decimal(text.as_bytes()).unwrap();
            let number = parse_float(&text[before.len()..]).unwrap();
            assert_eq!((rest, value.to_bits()), (before.as_bytes(), number.to_bits()), "{text}");
        }
        for n in 0..20_000u64 {
            let digits = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 10u64.pow(1 + n as u32 % 15);
            let mut text = digits.to_string();
            text.insert(n as usize % (text.len() + 1), '.');
            let (rest, value) = take_decimal(text.as_bytes()).unwrap();
            assert_eq!((rest, value.to_bits()), (&b""[..], parse_float(&text).unwrap().to_bits()), "{text}");
        }
        for text in ["", ".", "-", "a", "1 ", "-.", "1e"] {
            assert_eq!(take_decimal(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_number() {
        for text in [
            "",
            " ",
            "-",
            "+",
            ".",
            "e1",
            "1e",
            "1e+",
            "1.2.3",
            "0x10",
            "1,5",
            "abc",
            "true",
            "N",
            "now",
            "--1",
            "+-1",
            "- 1",
            "1 2",
            "_1",
            "1_",
            "1__0",
            "1_.0",
            "1._0",
            "1_e1",
            "1e_1",
            "infinit",
            "in",
            "nan1",
            "inff",
            "1f",
            "1d",
            "nan(1)",
            "0b1",
            "½",
            "²",
            "五",
            "①",
            "\u{1fbfa}",
            "\u{65f}",
            "\u{66a}",
            "1\u{66b}5",
            "1\u{2003}2",
            "ⅷ",
            "−1",
        ] {
            assert_eq!(parse_float(text), None, "{text:?}");
        }
    }
}
