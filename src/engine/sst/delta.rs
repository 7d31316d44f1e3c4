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
/// Values of a block that share a width.
const MINIBLOCK: usize = 128;
/// The same of [`Widths::Narrow`].
const NARROW_BLOCK: usize = 256;
const NARROW_MINIBLOCK: usize = 32;

/// How many bits a delta gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Widths {
    /// As few as hold the miniblock: for a compressor that only finds repetitions, or none.
    Tight,
    /// Of whole bytes or whole parts of one: for a compressor that counts symbols.
    Aligned,
    /// As few as hold a miniblock, which has a quarter of the values: for deltas of many bits, few of which are alike. The low byte of two is noise
    /// then, and a compressor that counts both in one table finds less than the high bits that are not there.
    Narrow,
}

impl Widths {
    /// The width for deltas of which the largest, above the least, is `largest`.
    fn of(self, largest: u64) -> u32 {
        let tight = u64::BITS - largest.leading_zeros();
        match (self, tight) {
            (Widths::Tight | Widths::Narrow, _) | (Widths::Aligned, 0..=2) => tight,
            (Widths::Aligned, 3 | 4) => 4,
            (Widths::Aligned, _) => tight.next_multiple_of(8),
        }
    }

    /// The least delta of a block whose deltas lie in `min..=max`.
    fn base(self, min: i64, max: i64) -> i64 {
        if self != Widths::Aligned || min == max {
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
    match widths {
        Widths::Narrow => encode_blocks::<NARROW_BLOCK, NARROW_MINIBLOCK>(values, widths, out),
        Widths::Tight | Widths::Aligned => encode_blocks::<BLOCK, MINIBLOCK>(values, widths, out),
    }
}

fn encode_blocks<const BLOCK: usize, const MINIBLOCK: usize>(values: &[i64], widths: Widths, out: &mut Vec<u8>) {
    varint(BLOCK as u64, out);
    varint((BLOCK / MINIBLOCK) as u64, out);
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
        out.resize(head + BLOCK / MINIBLOCK, 0);
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
fn pack(values: &[u64], width: u32, out: &mut Vec<u8>) {
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

/// Takes a number as [`varint`] writes it off the front; `None` if it is cut or beyond 64 bits.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        if shift > 63 || (shift == 63 && byte > 1) {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
        shift += 7;
    }
}

/// Values of a miniblock that are unpacked together; miniblocks are multiples of it.
const STEP: usize = 32;
/// Miniblocks of a block and values of a block that are taken from a page; ours have 4 or 8 and 512 or 256.
const MINIBLOCKS_MAX: u64 = 64;
const BLOCK_MAX: u64 = 1 << 16;

/// Values that are even steps, up to the row at which the next run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Even {
    /// Of the page.
    pub(super) row: usize,
    /// The value there.
    pub(super) first: i64,
    /// From one value to the next; 0 of a single one.
    pub(super) step: i64,
}

/// Unpacks a page, as many values at a time as are asked for; it does not hold the bytes.
pub(super) struct Unpacker {
    /// What each value is multiplied by.
    unit: i64,
    /// Position in the bytes.
    at: usize,
    block: usize,
    miniblocks: usize,
    /// Values not yet given.
    left: usize,
    last: i64,
    /// The first value is not given yet.
    is_first: bool,
    base: i64,
    /// Where the widths of the open block are, and the miniblock that comes next.
    widths: usize,
    miniblock: usize,
    /// Values of the miniblock before that are not given yet, at the end of the array.
    ready: [i64; STEP],
    ready_from: usize,
    /// Values of the open miniblock that are still packed.
    packed: usize,
}

impl Unpacker {
    /// The encoding that begins at `from`, of values that count in `unit`; `None` unless it is one of `count` values.
    pub(super) fn new(bytes: &[u8], from: usize, count: usize, unit: i64) -> Option<Self> {
        let mut rest = bytes.get(from..)?;
        let (block, miniblocks) = (take_varint(&mut rest)?, take_varint(&mut rest)?);
        let values = take_varint(&mut rest)?;
        let first = unzigzag(take_varint(&mut rest)?).wrapping_mul(unit);
        let sound = values == count as u64
            && (1..=MINIBLOCKS_MAX).contains(&miniblocks)
            && (1..=BLOCK_MAX).contains(&block)
            && block.is_multiple_of(miniblocks * STEP as u64);
        sound.then_some(Self {
            unit,
            at: bytes.len() - rest.len(),
            block: block as usize,
            miniblocks: miniblocks as usize,
            left: count,
            last: first,
            is_first: true,
            base: 0,
            widths: 0,
            miniblock: miniblocks as usize,
            ready: [0; STEP],
            ready_from: STEP,
            packed: 0,
        })
    }

    /// Values not yet given.
    #[cfg(test)]
    fn left(&self) -> usize {
        self.left
    }

    /// Appends the next `count` values; false if there are not so many, or if the bytes end early.
    // PERF: values are unpacked and added up where they stay. Proof: `cargo bench --bench sst_read`.
    pub(super) fn take(&mut self, bytes: &[u8], count: usize, out: &mut Vec<i64>) -> bool {
        if count > self.left {
            return false;
        }
        self.left -= count;
        let begin = out.len();
        out.resize(begin + count, 0);
        let first = usize::from(self.is_first && count > 0);
        if first > 0 {
            self.is_first = false;
            out[begin] = self.last;
        }
        let rest = &mut out[begin + first..];
        let ready = rest.len().min(STEP - self.ready_from);
        let (head, rest) = rest.split_at_mut(ready);
        head.copy_from_slice(&self.ready[self.ready_from..self.ready_from + ready]);
        self.ready_from += ready;
        let (steps, tail) = rest.as_chunks_mut::<STEP>();
        for values in steps {
            if self.step(bytes, values).is_none() {
                return false;
            }
        }
        if !tail.is_empty() {
            let mut values = [0; STEP];
            if self.step(bytes, &mut values).is_none() {
                return false;
            }
            tail.copy_from_slice(&values[..tail.len()]);
            (self.ready, self.ready_from) = (values, tail.len());
        }
        true
    }

    /// The sum of the next `count` values, which wraps; `None` as [`Unpacker::take`] gives false.
    // PERF: of packed steps each delta counts as often as there are values from it on; none is added to the one before.
    // Proof: `cargo bench --bench influxql_select -- means_of_integers`.
    pub(super) fn sum(&mut self, bytes: &[u8], count: usize) -> Option<i64> {
        if count > self.left {
            return None;
        }
        self.left -= count;
        let mut sum = 0_i64;
        let first = usize::from(self.is_first && count > 0);
        if first > 0 {
            self.is_first = false;
            sum = self.last;
        }
        let add = |sum: i64, values: &[i64]| values.iter().fold(sum, |sum, value| sum.wrapping_add(*value));
        let ready = (count - first).min(STEP - self.ready_from);
        sum = add(sum, &self.ready[self.ready_from..self.ready_from + ready]);
        self.ready_from += ready;
        let mut count = count - first - ready;
        let mut values = [0; STEP];
        while count >= STEP {
            let (packed, width) = self.packed_step(bytes)?;
            let (plain, weighted) = match (width, packed.first_chunk::<16>(), packed.first_chunk::<STEP>()) {
                (4, Some(packed), _) => weigh_halves(packed),
                (8, _, Some(packed)) => weigh_bytes(packed),
                _ => {
                    unpack(packed, width, &mut values);
                    values.iter().zip(1..).fold((0, 0_i64), |(plain, weighted): (i64, i64), (value, at)| {
                        let weight = STEP as i64 + 1 - at;
                        (plain.wrapping_add(*value), weighted.wrapping_add(value.wrapping_mul(weight)))
                    })
                }
            };
            let (base, unit, steps) = (self.base, self.unit, STEP as i64);
            sum = sum.wrapping_add(self.last.wrapping_mul(steps));
            sum = sum.wrapping_add(weighted.wrapping_mul(unit));
            sum = sum.wrapping_add(base.wrapping_mul(steps * (steps + 1) / 2));
            self.last = self.last.wrapping_add(plain.wrapping_mul(unit)).wrapping_add(base.wrapping_mul(steps));
            count -= STEP;
        }
        if count > 0 {
            self.step(bytes, &mut values)?;
            sum = add(sum, &values[..count]);
            (self.ready, self.ready_from) = (values, count);
        }
        Some(sum)
    }

    /// All values as runs of even steps, from the start of the page; `None` if there are more than `runs_max`, or if the bytes
    /// end early.
    // PERF: what is even is not added up, only compared. Proof: `cargo bench --bench sst_read -- kept`.
    pub(super) fn evens(mut self, bytes: &[u8], runs_max: usize) -> Option<Vec<Even>> {
        let mut evens = Vec::new();
        let mut open = Even { row: 0, first: self.last, step: 0 };
        let (mut row, mut last) = (1, self.last);
        while row < self.left {
            let (packed, width) = self.packed_step(bytes)?;
            let count = STEP.min(self.left - row);
            let mut offsets = [0; STEP];
            unpack(packed, width, &mut offsets);
            let (base, unit) = (self.base, self.unit);
            let deltas = offsets.map(|offset| offset.wrapping_mul(unit).wrapping_add(base));
            let goes_on = row - open.row > 1 && deltas[..count].iter().all(|delta| *delta == open.step);
            if goes_on {
                last = last.wrapping_add(open.step.wrapping_mul(count as i64));
                row += count;
                continue;
            }
            for &delta in &deltas[..count] {
                last = last.wrapping_add(delta);
                if row - open.row == 1 {
                    open.step = delta;
                } else if delta != open.step {
                    if evens.len() + 1 >= runs_max {
                        return None;
                    }
                    evens.push(std::mem::replace(&mut open, Even { row, first: last, step: 0 }));
                }
                row += 1;
            }
        }
        evens.push(open);
        Some(evens)
    }

    /// Passes over the next `count` values; false as of [`Unpacker::take`].
    pub(super) fn skip(&mut self, bytes: &[u8], count: usize) -> bool {
        if count > self.left {
            return false;
        }
        self.left -= count;
        let first = usize::from(self.is_first && count > 0);
        self.is_first &= first == 0;
        let ready = (count - first).min(STEP - self.ready_from);
        self.ready_from += ready;
        let mut count = count - first - ready;
        let mut values = [0; STEP];
        while count > 0 {
            if count >= STEP {
                let Some((packed, width)) = self.packed_step(bytes) else { return false };
                // PERF: only the sum counts, which needs no order.
                let sum = match width {
                    4 => packed.iter().fold(0, |sum, byte| sum + i64::from(byte & 15) + i64::from(byte >> 4)),
                    8 => packed.iter().fold(0, |sum, byte| sum + i64::from(*byte)),
                    _ => {
                        unpack(packed, width, &mut values);
                        values.iter().fold(0_i64, |sum, value| sum.wrapping_add(*value))
                    }
                };
                let sum = sum.wrapping_mul(self.unit).wrapping_add(self.base.wrapping_mul(STEP as i64));
                self.last = self.last.wrapping_add(sum);
                count -= STEP;
            } else {
                if self.step(bytes, &mut values).is_none() {
                    return false;
                }
                (self.ready, self.ready_from) = (values, count);
                count = 0;
            }
        }
        true
    }

    /// The bytes of the next values and how many bits each has; `None` if the bytes end before.
    #[inline]
    fn packed_step<'b>(&mut self, bytes: &'b [u8]) -> Option<(&'b [u8], usize)> {
        if self.packed == 0 {
            self.next_miniblock(bytes)?;
        }
        let width = usize::from(bytes[self.widths + self.miniblock - 1]);
        let step = bytes.get(self.at..self.at + STEP / 8 * width)?;
        self.at += step.len();
        self.packed -= STEP;
        Some((step, width))
    }

    /// Unpacks the next values and adds them up; `None` if the bytes end before.
    #[inline]
    fn step(&mut self, bytes: &[u8], values: &mut [i64; STEP]) -> Option<()> {
        let (packed, width) = self.packed_step(bytes)?;
        let (mut last, base, unit) = (self.last, self.base, self.unit);
        if width == 0 {
            // Equal steps, which no value has to wait for.
            for (at, value) in values.iter_mut().enumerate() {
                *value = last.wrapping_add(base.wrapping_mul(at as i64 + 1));
            }
            self.last = last.wrapping_add(base.wrapping_mul(STEP as i64));
            return Some(());
        }
        let mut next = |offset: i64| {
            last = last.wrapping_add(offset.wrapping_mul(unit).wrapping_add(base));
            last
        };
        match width {
            // PERF: what walks of small steps and times of scrapers are made of, in one go.
            4 => {
                for (pair, byte) in values.as_chunks_mut::<2>().0.iter_mut().zip(packed) {
                    *pair = [next(i64::from(byte & 15)), next(i64::from(byte >> 4))];
                }
            }
            8 => values.iter_mut().zip(packed).for_each(|(value, byte)| *value = next(i64::from(*byte))),
            16 => {
                for (value, bytes) in values.iter_mut().zip(packed.as_chunks().0) {
                    *value = next(i64::from(u16::from_le_bytes(*bytes)));
                }
            }
            _ => {
                unpack(packed, width, values);
                values.iter_mut().for_each(|value| *value = next(*value));
            }
        }
        self.last = last;
        Some(())
    }

    /// Goes on to the next miniblock, if need be of the next block; `None` if the bytes end before.
    fn next_miniblock(&mut self, bytes: &[u8]) -> Option<()> {
        if self.miniblock == self.miniblocks {
            let mut rest = bytes.get(self.at..)?;
            self.base = unzigzag(take_varint(&mut rest)?).wrapping_mul(self.unit);
            self.widths = bytes.len() - rest.len();
            self.at = self.widths.checked_add(self.miniblocks).filter(|at| *at <= bytes.len())?;
            self.miniblock = 0;
        }
        if bytes[self.widths + self.miniblock] > 64 {
            return None;
        }
        self.miniblock += 1;
        self.packed = self.block / self.miniblocks;
        Some(())
    }
}

/// Unpacks a step of values of `width` bits, the first in the lowest bits; `packed` is exactly as long.
fn unpack(packed: &[u8], width: usize, out: &mut [i64; STEP]) {
    /// Several values a byte.
    fn parts<const BITS: usize>(packed: &[u8], out: &mut [i64; STEP]) {
        for (values, byte) in out.chunks_exact_mut(8 / BITS).zip(packed) {
            for (at, value) in values.iter_mut().enumerate() {
                *value = i64::from(byte >> (at * BITS) & ((1 << BITS) - 1));
            }
        }
    }
    /// Several bytes a value.
    fn whole<const BYTES: usize>(packed: &[u8], out: &mut [i64; STEP]) {
        for (value, bytes) in out.iter_mut().zip(packed.chunks_exact(BYTES)) {
            let mut wide = [0; 8];
            wide[..BYTES].copy_from_slice(bytes);
            *value = i64::from_le_bytes(wide);
        }
    }
    match width {
        0 => out.fill(0),
        1 => parts::<1>(packed, out),
        2 => parts::<2>(packed, out),
        4 => parts::<4>(packed, out),
        8 => out.iter_mut().zip(packed).for_each(|(value, byte)| *value = i64::from(*byte)),
        16 => whole::<2>(packed, out),
        24 => whole::<3>(packed, out),
        32 => whole::<4>(packed, out),
        40 => whole::<5>(packed, out),
        48 => whole::<6>(packed, out),
        56 => whole::<7>(packed, out),
        64 => whole::<8>(packed, out),
        _ => {
            // Any value lies within 16 bytes from the one it begins in.
            let mut padded = [0_u8; STEP / 8 * 64 + 16];
            padded[..packed.len()].copy_from_slice(packed);
            let mask = u64::MAX >> (64 - width);
            for (at, value) in out.iter_mut().enumerate() {
                let bit = at * width;
                let mut wide = [0; 16];
                wide.copy_from_slice(&padded[bit / 8..bit / 8 + 16]);
                *value = ((u128::from_le_bytes(wide) >> (bit % 8)) as u64 & mask) as i64;
            }
        }
    }
}

/// The sum of a step's half bytes, and that of each as often as there are values from it on.
#[inline]
fn weigh_halves(packed: &[u8; STEP / 2]) -> (i64, i64) {
    let (mut plain, mut weighted) = (0_u32, 0_u32);
    for (at, byte) in packed.iter().enumerate() {
        let (low, high) = (u32::from(byte & 15), u32::from(byte >> 4));
        plain += low + high;
        weighted += low * (STEP - 2 * at) as u32 + high * (STEP - 1 - 2 * at) as u32;
    }
    (i64::from(plain), i64::from(weighted))
}

/// The same of bytes.
#[inline]
fn weigh_bytes(packed: &[u8; STEP]) -> (i64, i64) {
    let (mut plain, mut weighted) = (0_u32, 0_u32);
    for (at, byte) in packed.iter().enumerate() {
        plain += u32::from(*byte);
        weighted += u32::from(*byte) * (STEP - at) as u32;
    }
    (i64::from(plain), i64::from(weighted))
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
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
        for widths in [Widths::Tight, Widths::Aligned, Widths::Narrow] {
            let mut bytes = vec![7];
            encode(values, widths, &mut bytes);
            assert_eq!(decode(&bytes[1..]), values, "{widths:?}");
            [1, 1_000_000].into_iter().for_each(|unit| check_unpacker(values, &bytes, unit));
        }
    }

    /// Reads `values`, which begin behind the first of `bytes`, in parts of several lengths: all of them, and every other.
    fn check_unpacker(values: &[i64], bytes: &[u8], unit: i64) {
        let values: Vec<i64> = values.iter().map(|value| value.wrapping_mul(unit)).collect();
        for step in [values.len().max(1), 1, 7, 100, 512] {
            let new = || Unpacker::new(bytes, 1, values.len(), unit).unwrap();
            let (mut unpacker, mut found) = (new(), Vec::new());
            while unpacker.left() > 0 {
                assert!(unpacker.take(bytes, step.min(unpacker.left()), &mut found), "{step}");
            }
            assert_eq!(found, values, "{step}");
            let (mut unpacker, mut found, mut expected) = (new(), Vec::new(), Vec::new());
            for (turn, part) in values.chunks(step).enumerate() {
                if turn % 2 == 0 {
                    assert!(unpacker.skip(bytes, part.len()));
                } else {
                    assert!(unpacker.take(bytes, part.len(), &mut found));
                    expected.extend_from_slice(part);
                }
            }
            assert_eq!(found, expected, "{step}, every other part");
            assert!(!unpacker.take(bytes, 1, &mut found) && !unpacker.skip(bytes, 1));
        }
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_nothing_breaks(bytes in prop::collection::vec(any::<u8>(), 0..200), count in 0_usize..3000) {
            if let Some(mut unpacker) = Unpacker::new(&bytes, 0, count, 1) {
                let mut found = Vec::new();
                let whole = unpacker.take(&bytes, count, &mut found);
                prop_assert!(!whole || found.len() == count);
            }
        }

        #[test]
        fn flipped_bytes_break_nothing(values in prop::collection::vec(-100_i64..100, 2..600), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = Vec::new();
            encode(&values, Widths::Aligned, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Some(mut unpacker) = Unpacker::new(&bytes, 0, values.len(), 1) {
                let mut found = Vec::new();
                unpacker.take(&bytes, values.len(), &mut found);
                prop_assert!(found.len() <= values.len());
            }
        }
    }

    /// Sums of pieces of all lengths, with values taken and passed over between.
    fn check_sums(values: &[i64], widths: Widths, unit: i64, pieces: &[usize]) {
        let mut bytes = Vec::new();
        encode(values, widths, &mut bytes);
        let mut unpacker = Unpacker::new(&bytes, 0, values.len(), unit).unwrap();
        let mut rest = values;
        for (number, piece) in pieces.iter().cycle().enumerate().take(4 * values.len() + 4) {
            let (part, behind) = rest.split_at((*piece).min(rest.len()));
            let expected: Vec<i64> = part.iter().map(|value| value.wrapping_mul(unit)).collect();
            match number % 4 {
                3 => assert!(unpacker.skip(&bytes, part.len())),
                2 => {
                    let mut out = Vec::new();
                    assert!(unpacker.take(&bytes, part.len(), &mut out));
                    assert_eq!(out, expected);
                }
                _ => {
                    let sum = expected.iter().fold(0_i64, |sum, value| sum.wrapping_add(*value));
                    assert_eq!(unpacker.sum(&bytes, part.len()), Some(sum));
                }
            }
            rest = behind;
        }
        assert_eq!((rest.len(), unpacker.sum(&bytes, 1)), (0, None));
        if values.len() > 1 {
            let cut = &bytes[..6];
            assert_eq!(Unpacker::new(cut, 0, values.len(), unit).and_then(|mut all| all.sum(cut, values.len())), None);
        }
    }

    /// What runs of even steps stand for, of `count` values.
    fn steps_of(evens: &[Even], count: usize) -> Vec<i64> {
        let ends = evens.iter().skip(1).map(|next| next.row).chain([count]);
        let values = |(run, end): (&Even, usize)| {
            let run = *run;
            (0..(end - run.row) as i64).map(move |at| run.first.wrapping_add(run.step.wrapping_mul(at)))
        };
        evens.iter().zip(ends).flat_map(values).collect()
    }

    #[test]
    fn even_steps_are_runs() {
        let stream = |from: i64, step: i64, count: i64| (0..count).map(move |at| from + at * step);
        for (values, runs) in [
            (stream(7, 0, 1).collect::<Vec<_>>(), 1),
            (stream(7, 10, 1080).collect(), 1),
            (stream(7, 10, 1080).chain(stream(7, 10, 1080)).chain(stream(3, 60, 40)).collect(), 3),
            (stream(0, 1, 5).chain([77]).chain(stream(0, 1, 5)).collect(), 3),
            (stream(0, 5, 33).chain(stream(200, 5, 31)).chain(stream(0, 5, 600)).collect(), 3),
            (vec![i64::MAX, i64::MIN, i64::MIN + 1], 1),
        ] {
            for (widths, unit) in [(Widths::Tight, 1), (Widths::Aligned, 1), (Widths::Aligned, 1000)] {
                let mut bytes = Vec::new();
                encode(&values, widths, &mut bytes);
                let evens = |max| Unpacker::new(&bytes, 0, values.len(), unit).unwrap().evens(&bytes, max);
                let found = evens(runs).unwrap();
                assert_eq!(found.len(), runs, "{found:?}");
                let expected: Vec<i64> = values.iter().map(|value| value.wrapping_mul(unit)).collect();
                assert_eq!(steps_of(&found, values.len()), expected);
                assert!(runs == 1 || evens(runs - 1).is_none());
                if values.len() > 1 {
                    let cut = &bytes[..6];
                    assert_eq!(Unpacker::new(cut, 0, values.len(), unit).and_then(|all| all.evens(cut, runs)), None);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn sums_are_those_of_the_values(
            start in any::<i64>(),
            bits in 0_u32..64,
            steps in prop::collection::vec(any::<i64>(), 1..1200),
            pieces in prop::collection::vec(1_usize..400, 1..6),
            aligned in any::<bool>(),
            unit in prop::sample::select(&[1, 7, 1_000_000_000][..]),
        ) {
            let walk = steps.iter().scan(start, |at, step| {
                *at = at.wrapping_add(step.checked_shr(64 - bits).unwrap_or(0));
                Some(*at)
            });
            let widths = if aligned { Widths::Aligned } else { Widths::Tight };
            check_sums(&walk.collect::<Vec<_>>(), widths, unit, &pieces);
        }

        #[test]
        fn runs_of_even_steps_are_what_was_packed(
            parts in prop::collection::vec((any::<i64>(), -3_i64..3, 1_usize..100), 1..20),
            unit in prop::sample::select(&[1, 1_000_000_000][..]),
        ) {
            let values: Vec<i64> = parts
                .iter()
                .flat_map(|&(from, step, count)| (0..count as i64).map(move |at| from.wrapping_add(step.wrapping_mul(at))))
                .collect();
            let mut bytes = Vec::new();
            encode(&values, Widths::Aligned, &mut bytes);
            let evens = Unpacker::new(&bytes, 0, values.len(), unit).unwrap().evens(&bytes, usize::MAX).unwrap();
            let expected: Vec<i64> = values.iter().map(|value| value.wrapping_mul(unit)).collect();
            prop_assert_eq!(steps_of(&evens, values.len()), expected);
        }

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
