use crate::plaintext::is_space;

/// Reads a number as Python's `float()` does: blanks around it, a sign, underscores between digits,
/// `inf`, `infinity` and `nan` in any case; no hexadecimal. Digits of other scripts are not read.
pub fn parse_float(text: &str) -> Option<f64> {
    let bytes = text.as_bytes();
    // The grammar of the fast parser is Python's but for blanks and underscores.
    if let Ok(n) = fast_float2::parse::<f64, _>(bytes) {
        return Some(n);
    }
    let text = text.trim_matches(is_space);
    if !text.contains('_') {
        return if text.len() == bytes.len() { None } else { fast_float2::parse(text).ok() };
    }
    let bytes = text.as_bytes();
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    let between_digits = |i: usize| i > 0 && digit(i - 1) && digit(i + 1);
    let ok = bytes.iter().enumerate().all(|(i, b)| *b != b'_' || between_digits(i));
    ok.then(|| fast_float2::parse(text.replace('_', "")).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::parse_float;

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
        ] {
            assert_eq!(parse_float(text), Some(number), "{text:?}");
        }
        for text in ["nan", "NaN", "-nan", "+NAN"] {
            assert!(parse_float(text).is_some_and(f64::is_nan), "{text:?}");
        }
    }

    #[test]
    fn anything_else_is_no_number() {
        for text in [
            "", " ", "-", "+", ".", "e1", "1e", "1e+", "1.2.3", "0x10", "1,5", "abc", "true", "N", "now", "--1", "+-1",
            "- 1", "1 2", "_1", "1_", "1__0", "1_.0", "1._0", "1_e1", "1e_1", "infinit", "in", "nan1", "inff", "1f",
            "1d", "nan(1)", "0b1", "½",
        ] {
            assert_eq!(parse_float(text), None, "{text:?}");
        }
    }
}
