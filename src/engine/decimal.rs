//! A float as a decimal, `m / 10^e`, where that is the same 64 bits: shared by the log and the files.
//!
//! NaN, infinities and -0.0 have no mantissa, nor has anything whose mantissa would reach 2^51. Nothing is rounded.

/// The largest exponent tried. Longer fractions are noise, whose mantissa would not pack anyway.
pub(crate) const EXPONENT_MAX: u8 = 14;

/// Ten to the power of each exponent.
pub(crate) const POWERS: [f64; EXPONENT_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

/// Mantissas stay below, which makes both them and their rounding by [`ROUNDER`] exact.
pub(crate) const MANTISSA_LIMIT: f64 = (1u64 << 51) as f64;

/// 1.5 * 2^52: a sum with it has no bits left for a fraction, so that adding and subtracting it rounds to the nearest
/// whole number; below [`MANTISSA_LIMIT`] the low bits of the sum are that number.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// The mantissa of `value` for the power of ten, and whether it is exact; if not, the mantissa means nothing.
#[inline]
pub(crate) fn scale(value: f64, power: f64) -> (i64, bool) {
    let sum = value * power + ROUNDER;
    let rounded = sum - ROUNDER;
    // NaN and infinities pass a comparison of bits after scaling, rounding and unscaling; the bound stops them.
    let exact = rounded.abs() < MANTISSA_LIMIT && (rounded / power).to_bits() == value.to_bits();
    (sum.to_bits().wrapping_sub(ROUNDER.to_bits()) as i64, exact)
}
