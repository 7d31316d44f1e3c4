//! Numbers of variable length: seven bits a byte, low bits first, top bit set on all but the last (LEB128), and
//! zigzag for signed ones. [`Input`] reads bytes that nobody vouches for.

/// The longest a number gets.
pub(super) const VARINT_BYTES_MAX: usize = 10;

/// Numbers collected on the stack before they go to the vector.
const SCRATCH_NUMBERS: usize = 64;

/// Bytes that are not what they should be; the text says where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub &'static str);

/// Appends `value`.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a length or count.
pub(super) fn put_len(out: &mut Vec<u8>, len: usize) {
    put(out, len as u64);
}

/// Small numbers of either sign become small numbers.
pub(super) fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// The inverse of [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends the differences of consecutive `values`, the first to `start`, zigzag; differences wrap around.
pub(super) fn put_deltas(out: &mut Vec<u8>, start: i64, values: impl ExactSizeIterator<Item = i64>) {
    // PERF: a push checks the vector's room for every byte; a block on the stack makes that one check in 64 numbers.
    // Proof: `cargo bench --bench wal_append -- encode`. If the gap is gone, use put.
    let mut block = [0u8; SCRATCH_NUMBERS * VARINT_BYTES_MAX];
    let mut at = 0;
    let mut before = start;
    for value in values {
        let mut rest = zigzag(value.wrapping_sub(before));
        before = value;
        while rest >= 0x80 {
            block[at] = rest as u8 | 0x80;
            at += 1;
            rest >>= 7;
        }
        block[at] = rest as u8;
        at += 1;
        if at > block.len() - VARINT_BYTES_MAX {
            out.extend_from_slice(&block[..at]);
            at = 0;
        }
    }
    out.extend_from_slice(&block[..at]);
}

/// Reads forward through bytes.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Bytes not read yet.
    pub(super) fn left(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.bytes.split_at_checked(n).ok_or(Malformed("cut short"))?;
        self.bytes = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.bytes.split_first_chunk().ok_or(Malformed("cut short"))?;
        self.bytes = rest;
        Ok(*head)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Malformed> {
        match self.bytes {
            [low, rest @ ..] if *low < 0x80 => {
                self.bytes = rest;
                Ok(u64::from(*low))
            }
            [low, high, rest @ ..] if *high < 0x80 => {
                self.bytes = rest;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (i, byte) in self.bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
            if i == VARINT_BYTES_MAX - 1 && *byte > 1 {
                return Err(Malformed("number beyond 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                self.bytes = &self.bytes[i + 1..];
                return Ok(value);
            }
        }
        Err(Malformed(if self.bytes.len() < VARINT_BYTES_MAX { "cut short" } else { "number beyond 64 bits" }))
    }

    #[inline]
    pub(super) fn signed(&mut self) -> Result<i64, Malformed> {
        self.varint().map(unzigzag)
    }

    /// A number that must fit a smaller type.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.varint()?).map_err(|_| Malformed("number too large for its place"))
    }

    /// A count of things that take at least `bytes_each` bytes of what is left, so that it may size an allocation.
    pub(super) fn count(&mut self, bytes_each: usize) -> Result<usize, Malformed> {
        let count: usize = self.small()?;
        if count > self.left() / bytes_each {
            return Err(Malformed("count beyond the bytes there are"));
        }
        Ok(count)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let len = self.count(1)?;
        std::str::from_utf8(self.take(len)?).map_err(|_| Malformed("text is not UTF-8"))
    }

    /// `count` numbers written by [`put_deltas`].
    pub(super) fn deltas<T>(
        &mut self,
        start: i64,
        count: usize,
        convert: impl Fn(i64) -> T,
    ) -> Result<Vec<T>, Malformed> {
        if count > self.left() {
            return Err(Malformed("count beyond the bytes there are"));
        }
        let mut values = Vec::with_capacity(count);
        let mut value = start;
        for _ in 0..count {
            value = value.wrapping_add(self.signed()?);
            values.push(convert(value));
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            assert!(bytes.len() <= VARINT_BYTES_MAX);
            assert_eq!(Input::new(&bytes).varint(), Ok(value));
            for cut in 0..bytes.len() {
                assert_eq!(Input::new(&bytes[..cut]).varint(), Err(Malformed("cut short")));
            }
            assert_eq!(unzigzag(zigzag(value as i64)), value as i64);
        }
    }

    #[test]
    fn a_number_beyond_64_bits_is_refused() {
        for last in [2, 0x80, 0xff] {
            let mut bytes = vec![0xff; 9];
            bytes.push(last);
            bytes.push(0);
            assert_eq!(Input::new(&bytes).varint(), Err(Malformed("number beyond 64 bits")));
        }
    }

    #[test]
    fn differences_wrap() {
        let values = [i64::MIN, i64::MAX, 0, -1, i64::MAX, i64::MIN];
        let mut bytes = Vec::new();
        put_deltas(&mut bytes, 5, values.iter().copied());
        assert_eq!(Input::new(&bytes).deltas(5, values.len(), |v| v).unwrap(), values);
    }
}
