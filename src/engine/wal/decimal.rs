//! Floats as whole numbers and a power of ten, where that is exact.
//!
//! What people measure is mostly decimal: 12.25 is 1225 / 10^2. Values are taken in runs of [`RUN_VALUES`]; a run has
//! one exponent `e` of 0..=14 and stores each value as the mantissa `m` with `m / 10^e` the same 64 bits and
//! `|m| < 2^51`. Values for which there is none (NaN, infinities, -0.0, noise) are exceptions, kept as raw bits; a run
//! with so many that plain bits are shorter is stored plain. Nothing is ever rounded.

use super::varint::{self, Input, Malformed};
use crate::decimal::{EXPONENT_MAX, POWERS, scale};

/// Values that share an exponent.
const RUN_VALUES: usize = 256;

/// In place of the exponent: the run is 8 bytes a value.
const PLAIN: u8 = 0xff;

/// Values looked at to choose an exponent.
const SAMPLE_VALUES: usize = 24;

/// The exponent under which a sample of the run is expected to be shortest, if any beats plain bits.
fn choose_exponent(run: &[f64]) -> Option<u8> {
    let mut first_exact = [0u32; EXPONENT_MAX as usize + 1];
    let (mut magnitude_bits, mut count, mut exact) = (0u32, 0u32, 0u32);
    for value in run.iter().step_by(run.len().div_ceil(SAMPLE_VALUES).max(1)) {
        count += 1;
        if let Some(e) = POWERS.iter().position(|power| scale(*value, *power).1) {
            first_exact[e] += 1;
            exact += 1;
            magnitude_bits += ((value.to_bits() >> 52 & 0x7ff) as u32).saturating_sub(1023);
        }
    }
    let magnitude_bits = magnitude_bits / exact.max(1);
    let mut covered = 0;
    let mut best = (8 * count, None);
    for e in 0..=EXPONENT_MAX {
        covered += first_exact[usize::from(e)];
        // A power of ten is 3.32 bits; two more for the sign and the highest bit; an exception takes 10 bytes.
        let mantissa_bytes = (magnitude_bits + u32::from(e) * 332 / 100 + 2).div_ceil(7);
        let bytes = covered * mantissa_bytes + (count - covered) * 10;
        if covered > 0 && bytes < best.0 {
            best = (bytes, Some(e));
        }
    }
    best.1
}

/// Appends `values`.
pub(super) fn put_floats(out: &mut Vec<u8>, values: &[f64]) {
    let mut exponent = None;
    let mut mantissas = [0i64; RUN_VALUES];
    let mut exact = [false; RUN_VALUES];
    for run in values.chunks(RUN_VALUES) {
        let mut scale_all = |e: u8| {
            let power = POWERS[usize::from(e)];
            for ((value, m), ok) in run.iter().zip(&mut mantissas).zip(&mut exact) {
                (*m, *ok) = scale(*value, power);
            }
            exact[..run.len()].iter().filter(|ok| !**ok).count()
        };
        // The exponent of the run before fits most often; look again when it does not.
        let mut exceptions = exponent.map_or(run.len(), &mut scale_all);
        if exceptions > run.len() / 8 {
            exponent = choose_exponent(run);
            exceptions = exponent.map_or(run.len(), &mut scale_all);
        }
        let Some(e) = exponent else {
            put_plain(out, run);
            continue;
        };
        let start = out.len();
        out.push(e);
        varint::put_len(out, exceptions);
        if exceptions > 0 {
            let mut before = 0;
            for i in 0..run.len() {
                if exact[i] {
                    before = mantissas[i];
                } else {
                    mantissas[i] = before;
                    out.push(i as u8);
                    out.extend_from_slice(&run[i].to_bits().to_le_bytes());
                }
            }
        }
        varint::put_deltas(out, 0, mantissas[..run.len()].iter().copied());
        if out.len() - start > 8 * run.len() + 1 {
            out.truncate(start);
            put_plain(out, run);
        }
    }
}

fn put_plain(out: &mut Vec<u8>, run: &[f64]) {
    out.push(PLAIN);
    run.iter().for_each(|value| out.extend_from_slice(&value.to_bits().to_le_bytes()));
}

/// Reads `count` values written by [`put_floats`].
pub(super) fn floats(input: &mut Input<'_>, count: usize) -> Result<Vec<f64>, Malformed> {
    if count > input.left() {
        return Err(Malformed("count beyond the bytes there are"));
    }
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let n = RUN_VALUES.min(count - values.len());
        match input.byte()? {
            PLAIN => {
                let (bits, _) = input.take(8 * n)?.as_chunks::<8>();
                values.extend(bits.iter().map(|b| f64::from_bits(u64::from_le_bytes(*b))));
            }
            e @ 0..=EXPONENT_MAX => {
                let exceptions: usize = input.small()?;
                if exceptions > n {
                    return Err(Malformed("more exceptions than values"));
                }
                let (exceptions, _) = input.take(9 * exceptions)?.as_chunks::<9>();
                let start = values.len();
                let power = POWERS[usize::from(e)];
                let mut m = 0i64;
                for _ in 0..n {
                    m = m.wrapping_add(input.signed()?);
                    values.push(m as f64 / power);
                }
                for [position, bits @ ..] in exceptions {
                    let place = values.get_mut(start + usize::from(*position));
                    *place.ok_or(Malformed("exception outside of its run"))? =
                        f64::from_bits(u64::from_le_bytes(*bits));
                }
            }
            _ => return Err(Malformed("unknown kind of float run")),
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decimal::MANTISSA_LIMIT;

    /// Encodes, decodes, compares bits; returns bytes a value.
    fn check(values: &[f64]) -> f64 {
        let mut bytes = Vec::new();
        put_floats(&mut bytes, values);
        let mut input = Input::new(&bytes);
        let back = floats(&mut input, values.len()).unwrap();
        assert_eq!(input.left(), 0);
        let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(values));
        bytes.len() as f64 / values.len() as f64
    }

    const ODD: [f64; 16] = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        0.0,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        f64::MIN,
        MANTISSA_LIMIT,
        -MANTISSA_LIMIT,
        MANTISSA_LIMIT - 1.0,
        1.0 - MANTISSA_LIMIT,
        MANTISSA_LIMIT + 2.0,
        0.1 + 0.2,
        1e-14,
    ];

    #[test]
    fn odd_values_keep_their_bits() {
        for odd in ODD {
            check(&[odd]);
            check(&[1.25, odd, 2.5]);
            check(&[&[odd][..], &[0.01; 300], &[-odd]].concat());
        }
        check(&ODD);
        // A signalling NaN and one with a payload.
        check(&[f64::from_bits(0x7ff0_0000_0000_0001), f64::from_bits(0xfff8_1234_5678_9abc)]);
    }

    #[test]
    fn odd_values_are_never_exact() {
        for e in 0..=EXPONENT_MAX {
            for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, f64::MAX, MANTISSA_LIMIT, 5e-324] {
                assert!(!scale(odd, POWERS[usize::from(e)]).1, "{odd} at {e}");
            }
        }
        assert_eq!(scale(MANTISSA_LIMIT - 1.0, 1.0), ((1 << 51) - 1, true));
        assert_eq!(scale(-12.25, 100.0), (-1225, true));
    }

    #[test]
    fn decimal_values_are_short() {
        let walk = |i: i64, e: f64| (5_000 + i * 37 % 113) as f64 / e;
        let decimals: Vec<f64> = (0..10_000).map(|i| walk(i, 100.0)).collect();
        assert!(check(&decimals) < 2.1);
        let mut noisy = decimals.clone();
        noisy.iter_mut().step_by(16).for_each(|v| *v = v.sqrt());
        assert!(check(&noisy) < 3.0, "one noisy value does not spoil its run");
        let noise: Vec<f64> = (0..10_000).map(|i| (i as f64).sin()).collect();
        assert!(check(&noise) < 8.01, "noise costs no more than its bits");
    }

    proptest! {
        #[test]
        fn any_bits_come_back(bits in prop::collection::vec(any::<u64>(), 1..600)) {
            check(&bits.iter().map(|b| f64::from_bits(*b)).collect::<Vec<_>>());
        }

        #[test]
        fn any_mix_comes_back(mix in prop::collection::vec((0u8..4, any::<i32>(), 0u8..18, 0usize..ODD.len()), 1..700)) {
            let values: Vec<f64> = mix.iter().map(|(kind, m, e, odd)| match kind {
                0 => ODD[*odd],
                1 => f64::from(*m).sqrt(),
                _ => f64::from(*m) / 10f64.powi(i32::from(*e)),
            }).collect();
            check(&values);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), count in 0usize..2_000) {
            let _ = floats(&mut Input::new(&bytes), count);
        }
    }
}
