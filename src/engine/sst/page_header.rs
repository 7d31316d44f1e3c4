//! The head of a data page as this crate's writers make it: Thrift's compact protocol, five fields.
//!
//! Source: the Parquet format's `parquet.thrift`, `PageHeader`. Anything unusual is `None`, for the Parquet crate to read.

use super::delta::take_varint;

/// Parquet's number of DELTA_BINARY_PACKED.
pub(super) const ENCODING_DELTA_BINARY_PACKED: i64 = 5;
/// Parquet's number of a data page of version 1.
const DATA_PAGE: i64 = 0;

/// Types of the compact protocol.
const I32: u8 = 5;
const STRUCT: u8 = 12;

/// What the head of a data page (version 1, without statistics) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DataPage {
    /// Length in bytes when unpacked.
    pub uncompressed: usize,
    /// Length in bytes.
    pub compressed: usize,
    /// Rows, with those that have no value.
    pub values: usize,
    /// Parquet's number of the values' encoding.
    pub encoding: i64,
}

impl DataPage {
    /// Reads the head; gives what lies behind it, too.
    pub(super) fn parse(mut bytes: &[u8]) -> Option<(Self, &[u8])> {
        let [kind, uncompressed, compressed] = numbers(&mut bytes)?;
        // Field 5, which may follow field 3 or a checksum in field 4.
        let (&head, rest) = bytes.split_first()?;
        bytes = rest;
        if head != 2 << 4 | STRUCT || kind != DATA_PAGE {
            return None;
        }
        let [values, encoding, _, _] = numbers(&mut bytes)?;
        // The ends of both structures.
        let rest = bytes.strip_prefix(&[0, 0])?;
        let size = |n: i64| usize::try_from(n).ok();
        let page =
            Self { uncompressed: size(uncompressed)?, compressed: size(compressed)?, values: size(values)?, encoding };
        Some((page, rest))
    }
}

/// Fields 1 to `N`, all of them 32-bit numbers.
fn numbers<const N: usize>(bytes: &mut &[u8]) -> Option<[i64; N]> {
    let mut found = [0; N];
    for number in &mut found {
        let (&head, rest) = bytes.split_first()?;
        if head != 1 << 4 | I32 {
            return None;
        }
        *bytes = rest;
        let raw = take_varint(bytes)?;
        *number = (raw >> 1) as i64 ^ -((raw & 1) as i64);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_the_usual_form_are_read() {
        let usual =
            [0x15, 0, 0x15, 0x80, 0x80, 0x08, 0x15, 200, 1, 0x2c, 0x15, 20, 0x15, 10, 0x15, 6, 0x15, 6, 0, 0, 7];
        let page = DataPage { uncompressed: 65_536, compressed: 100, values: 10, encoding: 5 };
        assert_eq!(DataPage::parse(&usual), Some((page, &[7][..])));
        for len in 0..usual.len() - 1 {
            assert_eq!(DataPage::parse(&usual[..len]), None, "{len}");
        }
        for (at, byte) in [(1, 4), (0, 0x25), (9, 0x1c), (9, 0x25), (18, 0x1c), (19, 0x15), (2, 0x16)] {
            let mut other = usual;
            other[at] = byte;
            assert_eq!(DataPage::parse(&other), None, "{at}");
        }
        let mut negative = usual;
        negative[7] = 201;
        assert_eq!(DataPage::parse(&negative), None);
    }
}
