//! Parquet's DELTA_BINARY_PACKED for 64-bit integers, with widths chosen for the compressor behind it.
//!
//! Source: the Parquet format's `Encodings.md`, "Delta Encoding". The format leaves block sizes, the bits of each
//! miniblock and the least delta to the writer, as long as every delta fits. An encoder that is not followed by an
//! entropy coder takes the fewest bits. Behind zstd fewer bits are more bytes: with 3 bits a value no byte means the
//! same twice, and the coder finds nothing. So [`Widths::Aligned`] rounds up to widths that divide a byte or are
//! divided by one, and moves the least delta to a round number, so that equal deltas are equal bits all over a page: a
//! walk of small steps (the usual gauge) then takes its entropy, 0.28 bytes a value instead of 0.37.

/// Values whose deltas share a least delta.
const BLOCK: usize = 512;
/// Parts of a block with a width of their own.
const MINIBLOCKS: usize = 4;
const MINIBLOCK: usize = BLOCK / MINIBLOCKS;

/// How many bits a delta gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Widths {
    /// As few as hold the miniblock: for a compressor that only finds repetitions, or none.
    Tight,
    /// Of whole bytes or whole parts of one: for a compressor that counts symbols.
    Aligned,
}

impl Widths {
    /// The width for deltas of which the largest, above the least, is `largest`.
    fn of(self, largest: u64) -> u32 {
        let tight = u64::BITS - largest.leading_zeros();
        match (self, tight) {
            (Widths::Tight, _) | (Widths::Aligned, 0..=2) => tight,
            (Widths::Aligned, 3 | 4) => 4,
            (Widths::Aligned, _) => tight.next_multiple_of(8),
        }
    }

    /// The least delta of a block whose deltas lie in `min..=max`.
    fn base(self, min: i64, max: i64) -> i64 {
        if self == Widths::Tight || min == max {
            return min;
        }
        let width = self.of(max.wrapping_sub(min) as u64);
        // Half of what the width holds, then a quarter: the coarser, the fewer blocks differ.
        for step in [1, 2].map(|part| 1_i64.checked_shl(width.saturating_sub(part)).unwrap_or(0)) {
            let base = if step > 0 { min.div_euclid(step).checked_mul(step) } else { None };
            if let Some(base) = base
                && max.checked_sub(base).is_some_and(|largest| self.of(largest as u64) == width)
            {
                return base;
            }
        }
        min
    }
}

/// Appends the encoding of `values` to `out`.
pub(super) fn encode(values: &[i64], widths: Widths, out: &mut Vec<u8>) {
    varint(BLOCK as u64, out);
    varint(MINIBLOCKS as u64, out);
    varint(values.len() as u64, out);
    let first = values.first().copied().unwrap_or_default();
    varint(zigzag(first), out);
    let mut last = first;
    let mut deltas = [0_i64; BLOCK];
    for block in values.get(1..).unwrap_or_default().chunks(BLOCK) {
        let deltas = &mut deltas[..block.len()];
        for (delta, &value) in deltas.iter_mut().zip(block) {
            *delta = value.wrapping_sub(last);
            last = value;
        }
        let (min, max) = deltas.iter().fold((i64::MAX, i64::MIN), |(min, max), &d| (min.min(d), max.max(d)));
        let base = widths.base(min, max);
        varint(zigzag(base), out);
        let head = out.len();
        out.extend_from_slice(&[0; MINIBLOCKS]);
        for (number, part) in deltas.chunks(MINIBLOCK).enumerate() {
            let mut offsets = [0_u64; MINIBLOCK];
            offsets.iter_mut().zip(part).for_each(|(offset, delta)| *offset = delta.wrapping_sub(base) as u64);
            let width = widths.of(offsets.iter().fold(0, |all, offset| all | offset));
            out[head + number] = width as u8;
            pack(&offsets, width, out);
        }
    }
}

/// Appends the low `width` bits of each value, the first value in the lowest bits.
fn pack(values: &[u64; MINIBLOCK], width: u32, out: &mut Vec<u8>) {
    match width {
        0 => {}
        4 => out.extend(values.chunks_exact(2).map(|pair| (pair[0] | pair[1] << 4) as u8)),
        8 => out.extend(values.iter().map(|&value| value as u8)),
        16 | 24 | 32 | 40 | 48 | 56 | 64 => {
            values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()[..width as usize / 8]));
        }
        _ => {
            let (mut bits, mut held) = (0_u128, 0);
            for &value in values {
                bits |= u128::from(value) << held;
                held += width;
                while held >= 8 {
                    out.push(bits as u8);
                    bits >>= 8;
                    held -= 8;
                }
            }
            debug_assert_eq!(held, 0, "a miniblock is whole bytes at every width");
        }
    }
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// Appends a number, 7 bits a byte, the lowest first.
pub(super) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By the letter of the specification, one bit at a time.
    fn decode(bytes: &[u8]) -> Vec<i64> {
        let mut at = 0;
        let varint = |at: &mut usize| {
            let (mut value, mut shift) = (0_u64, 0);
            loop {
                let byte = bytes[*at];
                *at += 1;
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        };
        let unzigzag = |value: u64| (value >> 1) as i64 ^ -((value & 1) as i64);
        let (block, minis, count) = (varint(&mut at) as usize, varint(&mut at) as usize, varint(&mut at) as usize);
        assert_eq!((block % 128, block / minis % 32), (0, 0));
        let first = unzigzag(varint(&mut at));
        let mut values = if count == 0 { vec![] } else { vec![first] };
        while values.len() < count {
            let base = unzigzag(varint(&mut at));
            let widths = bytes[at..at + minis].to_vec();
            at += minis;
            for width in widths.into_iter().map(usize::from) {
                if values.len() >= count {
                    assert_eq!(width, 0, "miniblocks that are not needed have no bits");
                    continue;
                }
                for i in 0..block / minis {
                    let bit = |b: usize| u64::from(bytes[at + (i * width + b) / 8] >> ((i * width + b) % 8) & 1) << b;
                    let offset = (0..width).map(bit).sum::<u64>();
                    if values.len() < count {
                        let last = values[values.len() - 1];
                        values.push(last.wrapping_add(base).wrapping_add(offset as i64));
                    }
                }
                at += block / minis * width / 8;
            }
        }
        assert_eq!(at, bytes.len());
        values
    }

    fn check(values: &[i64]) {
        for widths in [Widths::Tight, Widths::Aligned] {
            let mut bytes = vec![7];
            encode(values, widths, &mut bytes);
            assert_eq!(decode(&bytes[1..]), values, "{widths:?}");
        }
    }

    proptest! {
        #[test]
        fn any_values_come_back(values in prop::collection::vec(any::<i64>(), 0..1200)) {
            check(&values);
        }

        #[test]
        fn walks_come_back(start in any::<i64>(), bits in 0_u32..63, steps in prop::collection::vec(any::<i64>(), 0..1200)) {
            let walk = steps.iter().scan(start, |at, step| {
                *at = at.wrapping_add(step >> (63 - bits));
                Some(*at)
            });
            check(&walk.collect::<Vec<_>>());
        }
    }

    #[test]
    fn borders() {
        for values in [
            &[][..],
            &[0],
            &[i64::MIN],
            &[i64::MIN, i64::MAX],
            &[i64::MAX, i64::MIN, 0, -1],
            &[5; BLOCK + 1],
            &[0, 1, 3],
        ] {
            check(values);
        }
    }

    #[test]
    fn widths_and_bases_for_a_symbol_coder() {
        let aligned = Widths::Aligned;
        for (largest, width) in
            [(0, 0), (1, 1), (3, 2), (7, 4), (15, 4), (16, 8), (256, 16), (1 << 16, 24), (u64::MAX, 64)]
        {
            assert_eq!(aligned.of(largest), width, "{largest}");
        }
        for (min, max, base) in [
            (-3, 3, -8),
            (-2, 4, -8),
            (0, 9, 0),
            (1, 12, 0),
            (-5, 9, -5),
            (-5, 2, -8),
            (-1, 14, -1),
            (1000, 1000, 1000),
            (950, 1050, 896),
            (i64::MIN, i64::MAX, i64::MIN),
            (i64::MAX - 1, i64::MAX, i64::MAX - 1),
        ] {
            assert_eq!(aligned.base(min, max), base, "{min}..={max}");
        }
        assert_eq!(Widths::Tight.base(-3, 3), -3);
    }
}
