//! Floats as decimals: `value = m / 10^e`, bit for bit.
//!
//! Measurements are mostly short decimals. As an integer `m` under one exponent a run of them packs several times
//! smaller than its IEEE bits, and any Parquet reader gets the value back with one division. A run that does not fit
//! exactly is left alone: nothing is ever rounded.

use crate::decimal::{EXPONENT_MAX, POWERS, scale};

/// Appends to `m` the mantissas of `values` under the smallest common exponent, and returns that exponent; or appends
/// nothing and returns `None` when no exponent makes every value exact.
///
/// NaN, infinities and -0.0 are never exact. One pass over noise ends at its first value.
pub fn encode(values: &[f64], m: &mut Vec<i64>) -> Option<u8> {
    let e = exponent(values)?;
    let start = m.len();
    let power = POWERS[usize::from(e)];
    // A value's own exponent was tested, not the larger one a later value asked for.
    let mut all_exact = true;
    m.extend(values.iter().map(|v| {
        let (mantissa, exact) = scale(*v, power);
        all_exact &= exact;
        mantissa
    }));
    if !all_exact {
        m.truncate(start);
        return None;
    }
    Some(e)
}

/// Appends `m / 10^e` for each mantissa. An exponent above [`EXPONENT_MAX`] is none of ours: returns false and appends
/// nothing.
#[must_use]
pub fn decode(m: &[i64], e: u8, values: &mut Vec<f64>) -> bool {
    let Some(power) = POWERS.get(usize::from(e)) else { return false };
    values.extend(m.iter().map(|m| *m as f64 / power));
    true
}

/// The value of one mantissa; `None` for an exponent that is none of ours.
pub fn decode_one(m: i64, e: u8) -> Option<f64> {
    POWERS.get(usize::from(e)).map(|power| m as f64 / power)
}

/// The largest of the values' own smallest exponents.
fn exponent(values: &[f64]) -> Option<u8> {
    let mut e = 0;
    for &v in values {
        while !scale(v, POWERS[usize::from(e)]).1 {
            if e == EXPONENT_MAX {
                return None;
            }
            e += 1;
        }
    }
    Some(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64], expected: Option<u8>) {
        let mut m = vec![7];
        assert_eq!(encode(values, &mut m), expected, "{values:?}");
        assert_eq!(m[0], 7, "what was there stays");
        match expected {
            None => assert_eq!(m.len(), 1, "nothing is appended for {values:?}"),
            Some(e) => {
                let mut back = Vec::new();
                assert!(decode(&m[1..], e, &mut back));
                let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&back), bits(values));
            }
        }
    }

    #[test]
    fn the_smallest_common_exponent_is_found() {
        check(&[], Some(0));
        check(&[0.0, 1.0, -17.0], Some(0));
        check(&[0.5], Some(1));
        check(&[0.1, 0.25, -3.0], Some(2));
        check(&[0.1 + 0.2], None);
        check(&[1e-14], Some(14));
        check(&[1e-15], None);
        check(&[12_345.678_901, 0.1], Some(6));
    }

    #[test]
    fn the_range_is_tested() {
        let limit = 2f64.powi(51);
        check(&[limit - 1.0, 1.0 - limit], Some(0));
        check(&[limit], None);
        check(&[-limit], None);
        // Each fits alone, together the exponent of one pushes the other out.
        check(&[1e12, 0.0001], None);
        check(&[f64::MAX], None);
        check(&[f64::MIN_POSITIVE], None);
        check(&[5e-324], None);
    }

    #[test]
    fn what_has_no_decimal_is_refused() {
        for v in [f64::NAN, -f64::NAN, f64::from_bits(0x7ff0_0000_0000_0001), f64::INFINITY, f64::NEG_INFINITY, -0.0] {
            check(&[v], None);
            check(&[1.0, v, 2.0], None);
        }
    }

    #[test]
    fn a_foreign_exponent_is_refused() {
        let mut out = Vec::new();
        assert!(!decode(&[1], EXPONENT_MAX + 1, &mut out));
        assert!(out.is_empty());
        assert_eq!(decode_one(1, EXPONENT_MAX + 1), None);
    }
}
