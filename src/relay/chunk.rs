//! Points on their way: `[length of the path u16][path][time i64][value f64]`, little-endian, one after the other.

use rhythmite_carbon::Point;
use rhythmite_carbon::name::NAME_BYTES_MAX;

/// Bytes of a point beside its path.
const POINT_BYTES: usize = 2 + 8 + 8;

// Every path has a length of two bytes.
const _: () = assert!(NAME_BYTES_MAX <= u16::MAX as usize);

/// Some points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    pub(super) points: u32,
}

impl Chunk {
    pub(super) fn push(&mut self, path: &str, ts_s: i64, value: f64) {
        debug_assert!(path.len() <= NAME_BYTES_MAX, "paths are canonical");
        self.bytes.reserve(POINT_BYTES + path.len());
        self.bytes.extend_from_slice(&(path.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.extend_from_slice(&ts_s.to_le_bytes());
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self.points += 1;
    }

    pub(super) fn append(&mut self, other: &Chunk) {
        self.bytes.extend_from_slice(&other.bytes);
        self.points += other.points;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.points == 0
    }

    /// The points; ends early where bytes are no point, which a checksum should have told.
    pub(super) fn iter(&self) -> impl Iterator<Item = Point<'_>> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (len, tail) = rest.split_first_chunk::<2>()?;
            let (path, tail) = tail.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
            let (ts_s, tail) = tail.split_first_chunk::<8>()?;
            let (value, tail) = tail.split_first_chunk::<8>()?;
            rest = tail;
            let path = std::str::from_utf8(path).ok()?;
            Some(Point { path, ts_s: i64::from_le_bytes(*ts_s), value: f64::from_le_bytes(*value) })
        })
    }
}
