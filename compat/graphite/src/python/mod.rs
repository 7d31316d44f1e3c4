//! Text and numbers the way Python writes them.
//!
//! Names of derived series are part of the interface (`scale(a,0.25)`, `log(a, 10)`), and they
//! come from Python's `%g`, `%d`, `str` and `round`. Regular expressions and their replacements
//! are Python's `re` as well: see [`regex`].

mod json;
pub mod regex;

pub use json::text_of_json;
use rhythmite_model::{Error, Result};

/// Most decimals a template may ask for.
const PRECISION_MAX: usize = 100;

/// `str(x)` of a float: the shortest digits that read back, `1e-05`, `1e+16`, `inf`, `nan`.
#[must_use]
pub fn repr(x: f64) -> String {
    if x.is_nan() {
        return "nan".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if x == 0.0 {
        return if x.is_sign_negative() { "-0.0" } else { "0.0" }.to_owned();
    }
    let exponential = format!("{x:e}");
    let (mantissa, exponent) = split_exponent(&exponential);
    if (-4..16).contains(&exponent) {
        let plain = format!("{x}");
        if plain.contains('.') { plain } else { plain + ".0" }
    } else {
        format!("{mantissa}{}", exponent_text(exponent))
    }
}

/// `"%g" % x`: six significant digits, no trailing zeros.
#[must_use]
pub fn general(x: f64) -> String {
    if !x.is_finite() {
        return repr(x);
    }
    if x == 0.0 {
        return if x.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let exponential = format!("{x:.5e}");
    let (mantissa, exponent) = split_exponent(&exponential);
    if (-4..6).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        trim_zeros(&format!("{x:.decimals$}")).to_owned()
    } else {
        format!("{}{}", trim_zeros(mantissa), exponent_text(exponent))
    }
}

/// `"%d" % x`: the whole part.
#[must_use]
pub fn whole(x: f64) -> String {
    if x.is_finite() {
        let t = x.trunc();
        // A negative zero has no sign as an int.
        format!("{:.0}", if t == 0.0 { 0.0 } else { t })
    } else {
        repr(x)
    }
}

/// `round(x, digits)`: half to even on the exact decimal value.
#[must_use]
pub fn round(x: f64, digits: i64) -> f64 {
    if !x.is_finite() || digits > 308 {
        return x;
    }
    if digits < -308 {
        return 0.0 * x;
    }
    if digits <= 0 {
        if digits == 0 {
            return x.round_ties_even();
        }
        let unit = 10f64.powi(i32::try_from(-digits).unwrap_or(0));
        return (x / unit).round_ties_even() * unit;
    }
    let scale = 10f64.powi(i32::try_from(digits).unwrap_or(0));
    let scaled = x * scale;
    // PERF: far from a tie and small enough, the nearest multiple is certain and division gives
    // the float nearest to it; only the rest pays for exact decimal text.
    if scaled.abs() < 1e15 && digits <= 22 {
        let nearest = scaled.round_ties_even();
        if ((scaled - nearest).abs() - 0.5).abs() > scaled.abs() * 1e-15 + 1e-9 {
            return nearest / scale;
        }
    }
    format!("{x:.*}", usize::try_from(digits).unwrap_or(0)).parse().unwrap_or(x)
}

/// `text.replace(from, to)`.
///
/// # Errors
/// `Invalid` when the result would have more than `bytes_max` bytes, before any of them is written.
pub fn replace_within(text: &str, from: &str, to: &str, bytes_max: usize) -> Result<String> {
    let grown = text.matches(from).count().saturating_mul(to.len()).saturating_add(text.len());
    if grown > bytes_max {
        return Err(Error::invalid(format!("a text would grow beyond {bytes_max} bytes")));
    }
    Ok(text.replace(from, to))
}

/// `template % x`, for a template with one conversion: `%d`, `%g`, `%f`, `%e`, `%s` with an
/// optional precision, and `%%`.
///
/// # Errors
/// `Invalid` when the template has no conversion, more than one, or one that is not known.
pub fn format_one(template: &str, x: f64) -> Result<String> {
    let bad = || Error::invalid(format!("{template:?} must have one of %d %g %f %e %s"));
    let mut out = String::with_capacity(template.len() + 8);
    let mut used = false;
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        if std::mem::replace(&mut used, true) {
            return Err(bad());
        }
        let mut precision = 6;
        if let Some(after) = rest.strip_prefix('.') {
            let len = after.bytes().take_while(u8::is_ascii_digit).count();
            precision = after[..len].parse().ok().filter(|p| *p <= PRECISION_MAX).ok_or_else(bad)?;
            rest = &after[len..];
        }
        let kind = rest.chars().next().ok_or_else(bad)?;
        rest = &rest[kind.len_utf8()..];
        out.push_str(&match kind {
            'd' | 'i' => whole(x),
            'g' => general(x),
            'f' => format!("{x:.precision$}"),
            'e' => {
                let text = format!("{x:.precision$e}");
                let (mantissa, exponent) = split_exponent(&text);
                format!("{mantissa}{}", exponent_text(exponent))
            }
            's' => repr(x),
            _ => return Err(bad()),
        });
    }
    if used { Ok(out + rest) } else { Err(bad()) }
}

/// `1.5e-7` apart: (`1.5`, -7).
fn split_exponent(text: &str) -> (&str, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (mantissa, exponent.parse().unwrap_or(0))
}

/// Python writes a sign and at least two digits.
fn exponent_text(exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("e{sign}{:02}", exponent.abs())
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::{format_one, general, repr, round, whole};

    #[test]
    fn templates_take_one_number() {
        for (template, want) in [
            ("n=%d", Some("n=1234")),
            ("%g%%", Some("1234.5%")),
            ("%.1f ms", Some("1234.5 ms")),
            ("%f", Some("1234.500000")),
            ("%.2e", Some("1.23e+03")),
            ("%s", Some("1234.5")),
            ("none", None),
            ("%d %d", None),
            ("%", None),
            ("%x", None),
            ("%.999f", None),
        ] {
            assert_eq!(format_one(template, 1234.5).ok().as_deref(), want, "{template}");
        }
    }

    #[test]
    fn numbers_look_like_pythons() {
        for (x, str_x, percent_g, percent_d) in [
            (0.0, "0.0", "0", "0"),
            (-0.5, "-0.5", "-0.5", "0"),
            (3.0, "3.0", "3", "3"),
            (0.1, "0.1", "0.1", "0"),
            (1e-4, "0.0001", "0.0001", "0"),
            (1e-5, "1e-05", "1e-05", "0"),
            (1e-6, "1e-06", "1e-06", "0"),
            (123_456_789.0, "123456789.0", "1.23457e+08", "123456789"),
            (1e6, "1000000.0", "1e+06", "1000000"),
            (999_999.5, "999999.5", "1e+06", "999999"),
            (1e16, "1e+16", "1e+16", "10000000000000000"),
            (1e15, "1000000000000000.0", "1e+15", "1000000000000000"),
            (1.5e300, "1.5e+300", "1.5e+300", &format!("{:.0}", 1.5e300)),
            (-12.5, "-12.5", "-12.5", "-12"),
            (f64::INFINITY, "inf", "inf", "inf"),
        ] {
            assert_eq!((repr(x).as_str(), general(x).as_str(), whole(x).as_str()), (str_x, percent_g, percent_d));
        }
    }

    #[test]
    fn rounding_is_half_to_even_on_the_exact_decimal() {
        for (x, digits, want) in [
            (2.675, 2, 2.67),
            (0.125, 2, 0.12),
            (0.375, 2, 0.38),
            (2.5, 0, 2.0),
            (-3.5, 0, -4.0),
            (15.0, -1, 20.0),
            (25.0, -1, 20.0),
            (1.000_000_5, 6, 1.000_001),
            (0.000_000_5, 6, 0.0),
            (1.23e20, 6, 1.23e20),
            (0.1, 400, 0.1),
            (5.0, -400, 0.0),
        ] {
            assert_eq!(round(x, digits), want, "round({x}, {digits})");
        }
    }
}
