//! Floats as decimals: `value = m / 10^e`, bit for bit.
//!
//! Measurements are mostly short decimals. As an integer `m` under one exponent a run of them packs several times
//! smaller than its IEEE bits, and any Parquet reader gets the value back with one division. A run that does not fit
//! exactly is left alone: nothing is ever rounded.

/// The largest exponent tried. Longer fractions are noise, whose `m` would not pack anyway.
pub const EXPONENT_MAX: u8 = 14;

/// Every `|m|` is below this, which makes both `m` and its rounding by [`SHIFT`] exact.
const MANTISSA_LIMIT: f64 = (1u64 << 51) as f64;

/// Adding and subtracting 1.5 * 2^52 rounds to the nearest integer, and leaves that integer in the low bits of the sum.
const SHIFT: f64 = 6_755_399_441_055_744.0;

const POWERS: [f64; EXPONENT_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

/// Appends to `m` the mantissas of `values` under the smallest common exponent, and returns that exponent; or appends
/// nothing and returns `None` when no exponent makes every value exact.
///
/// NaN, infinities and -0.0 are never exact. One pass over noise ends at its first value.
pub fn encode(values: &[f64], m: &mut Vec<i64>) -> Option<u8> {
    let e = exponent(values)?;
    let start = m.len();
    let power = POWERS[usize::from(e)];
    m.extend(values.iter().map(|v| mantissa(*v, power)));
    // A value's own exponent was tested, not the larger one a later value asked for.
    let exact = values.iter().zip(&m[start..]).fold(true, |ok, (v, m)| ok & is_exact(*v, *m, power));
    if !exact {
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
        while !is_exact(v, mantissa(v, POWERS[usize::from(e)]), POWERS[usize::from(e)]) {
            if e == EXPONENT_MAX {
                return None;
            }
            e += 1;
        }
    }
    Some(e)
}

#[inline]
fn mantissa(v: f64, power: f64) -> i64 {
    // Outside the limit the bits are meaningless; `is_exact` tests the limit.
    (v * power + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i64
}

#[inline]
fn is_exact(v: f64, m: i64, power: f64) -> bool {
    // NaN and infinity survive scaling and unscaling with the same bits, but not the range test.
    (v * power).abs() < MANTISSA_LIMIT && (m as f64 / power).to_bits() == v.to_bits()
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
