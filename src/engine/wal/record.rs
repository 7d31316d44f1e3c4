//! The frames on disk: the head of a segment, and the record that holds one commit group.
//!
//! A record is 48 bytes of header, a snappy block, and zeros up to a multiple of 512 bytes, so that no two records share
//! a sector. The checksum covers everything behind itself up to the end of the block. The epoch, random and different
//! for every use of a file, tells a record from what the file held before, and from a record that somebody put into a
//! text value.

use rhythmite_model::{Batch, Error, Result};

use super::codec;

/// Alignment of records, and size of a segment's header.
pub(super) const SECTOR_BYTES: usize = 512;

/// Bytes of a group before compression, at most; a longer batch is refused.
pub const GROUP_BYTES_MAX: usize = 64 << 20;

const RECORD_MAGIC: [u8; 4] = *b"RhyR";
const RECORD_HEADER_BYTES: usize = 48;
const SEGMENT_MAGIC: [u8; 8] = *b"RhythWAL";
const SEGMENT_HEADER_BYTES: usize = 40;
const VERSION: u32 = 1;

/// The only type so far: batches, each with the next sequence number.
const WRITE: u8 = 1;

/// Snappy shortens 64 bytes to 3 at most; a block that promises more is a lie.
const EXPANSION_MAX: usize = 22;

/// What a segment's first sector says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u64,
    pub(super) epoch: u64,
    /// The first sequence number that the segment may hold. All smaller ones were durable, or given up, before.
    pub(super) first_seq: u64,
}

/// The first sector of a file in the log's directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Segment(SegmentHeader),
    /// Written by a version that we do not know.
    Version(u32),
    /// Never written.
    Blank,
    Damaged,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SECTOR_BYTES] {
        let mut sector = [0; SECTOR_BYTES];
        sector[..8].copy_from_slice(&SEGMENT_MAGIC);
        sector[8..12].copy_from_slice(&VERSION.to_le_bytes());
        sector[16..24].copy_from_slice(&self.number.to_le_bytes());
        sector[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        sector[32..40].copy_from_slice(&self.first_seq.to_le_bytes());
        let crc = crc32c::crc32c(&sector[16..SEGMENT_HEADER_BYTES]);
        sector[12..16].copy_from_slice(&crc.to_le_bytes());
        sector
    }
}

impl Head {
    pub(super) fn decode(file: &[u8]) -> Head {
        let Some(sector) = file.first_chunk::<SECTOR_BYTES>() else {
            return if file.iter().all(|b| *b == 0) { Head::Blank } else { Head::Damaged };
        };
        if sector.iter().all(|b| *b == 0) {
            return Head::Blank;
        }
        if sector[..8] != SEGMENT_MAGIC || u32_at(sector, 12) != crc32c::crc32c(&sector[16..SEGMENT_HEADER_BYTES]) {
            return Head::Damaged;
        }
        match u32_at(sector, 8) {
            VERSION => Head::Segment(SegmentHeader {
                number: u64_at(sector, 16),
                epoch: u64_at(sector, 24),
                first_seq: u64_at(sector, 32),
            }),
            other => Head::Version(other),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |b| u64::from_le_bytes(*b))
}

/// A record whose checksum is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) epoch: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    /// The last sequence number known to be synced when the record was written.
    pub(super) durable_seq: u64,
    /// Where in the file the record starts, where its block lies, and where the next record starts.
    pub(super) start: usize,
    pub(super) block: std::ops::Range<usize>,
    pub(super) end: usize,
    kind: u8,
}

/// A record being built; its buffer is used again and again.
#[derive(Default)]
pub(super) struct RecordBuffer {
    bytes: Vec<u8>,
    raw: Vec<u8>,
}

impl RecordBuffer {
    /// Starts anew with the bytes of a group's batches.
    pub(super) fn compress<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) -> Result<()> {
        self.raw.clear();
        parts.for_each(|part| self.raw.extend_from_slice(part));
        self.bytes.clear();
        self.bytes.resize(RECORD_HEADER_BYTES + snap::raw::max_compress_len(self.raw.len()), 0);
        let block = snap::raw::Encoder::new()
            .compress(&self.raw, &mut self.bytes[RECORD_HEADER_BYTES..])
            .map_err(|e| Error::internal(format!("a log record of {} bytes: {e}", self.raw.len())))?;
        self.bytes.truncate(RECORD_HEADER_BYTES + block);
        self.bytes[8..12].copy_from_slice(&(block as u32).to_le_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(SECTOR_BYTES), 0);
        Ok(())
    }

    /// Length of the finished record, a multiple of the sector.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Fills in the header; returns what is to be written.
    pub(super) fn finish(&mut self, epoch: u64, first_seq: u64, count: u32, durable_seq: u64) -> &[u8] {
        let end = RECORD_HEADER_BYTES + u32_at(&self.bytes, 8) as usize;
        let header = &mut self.bytes[..RECORD_HEADER_BYTES];
        header[..4].copy_from_slice(&RECORD_MAGIC);
        header[12..16].copy_from_slice(&count.to_le_bytes());
        header[16..24].copy_from_slice(&epoch.to_le_bytes());
        header[24..32].copy_from_slice(&first_seq.to_le_bytes());
        header[32..40].copy_from_slice(&durable_seq.to_le_bytes());
        header[40] = WRITE;
        let crc = crc32c::crc32c(&self.bytes[8..end]);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }

    /// Gives memory beyond `bytes_max` back.
    pub(super) fn shrink(&mut self, bytes_max: usize) {
        for buffer in [&mut self.raw, &mut self.bytes] {
            if buffer.capacity() > bytes_max {
                *buffer = Vec::new();
            }
        }
    }
}

impl Record {
    /// The record at `start`, a multiple of the sector, if one of this epoch (or of any) with a right checksum is there.
    pub(super) fn at(file: &[u8], start: usize, epoch: Option<u64>) -> Option<Record> {
        let bytes = file.get(start..)?;
        if bytes.len() < RECORD_HEADER_BYTES || bytes[..4] != RECORD_MAGIC {
            return None;
        }
        // Before the sum: text values can imitate a header, and summing a segment for each would take for ever.
        if epoch.is_some_and(|epoch| epoch != u64_at(bytes, 16)) {
            return None;
        }
        let block = RECORD_HEADER_BYTES..RECORD_HEADER_BYTES.checked_add(u32_at(bytes, 8) as usize)?;
        if u32_at(bytes, 4) != crc32c::crc32c(bytes.get(8..block.end)?) {
            return None;
        }
        let first_seq = u64_at(bytes, 24);
        let more = u32_at(bytes, 12).checked_sub(1)?;
        Some(Record {
            epoch: u64_at(bytes, 16),
            first_seq,
            // One below the largest number, so that there is a next one.
            last_seq: first_seq.checked_add(u64::from(more)).filter(|last| *last < u64::MAX)?,
            durable_seq: u64_at(bytes, 32),
            start,
            end: start + block.end.next_multiple_of(SECTOR_BYTES),
            block: start + block.start..start + block.end,
            kind: bytes[40],
        })
    }

    /// Whether a record of this epoch was begun at `start`, whole or not.
    pub(super) fn begins(file: &[u8], start: usize, epoch: u64) -> bool {
        file.get(start..start + RECORD_HEADER_BYTES).is_some_and(|b| b[..4] == RECORD_MAGIC && u64_at(b, 16) == epoch)
    }

    /// The batches, one a sequence number.
    ///
    /// # Errors
    /// `Corrupt` if the block is not what a writer makes, although its checksum is right.
    pub(super) fn batches(&self, file: &[u8]) -> Result<Vec<Batch>> {
        if self.kind != WRITE {
            return Err(Error::corrupt(format!("record of unknown type {}, written by a newer version?", self.kind)));
        }
        let block = &file[self.block.clone()];
        let unreadable = |e: snap::Error| Error::corrupt(format!("unreadable block: {e}"));
        let raw_bytes = snap::raw::decompress_len(block).map_err(unreadable)?;
        if raw_bytes > GROUP_BYTES_MAX || raw_bytes / EXPANSION_MAX > block.len() {
            return Err(Error::corrupt(format!("a block of {} bytes cannot hold {raw_bytes}", block.len())));
        }
        let raw = snap::raw::Decoder::new().decompress_vec(block).map_err(unreadable)?;
        let (mut batches, mut rest) = (Vec::new(), &raw[..]);
        for _ in self.first_seq..=self.last_seq {
            let (batch, used) = codec::decode(rest)?;
            batches.push(batch);
            rest = &rest[used..];
        }
        if rest.is_empty() { Ok(batches) } else { Err(Error::corrupt("bytes behind the last batch of a record")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_segment_header_comes_back_and_any_damage_is_seen() {
        let header = SegmentHeader { number: 7, epoch: u64::MAX, first_seq: 1 << 40 };
        let sector = header.encode();
        assert_eq!(Head::decode(&sector), Head::Segment(header));
        assert_eq!(Head::decode(&[0; SECTOR_BYTES]), Head::Blank);
        assert_eq!(Head::decode(&[]), Head::Blank);
        for bit in 0..SEGMENT_HEADER_BYTES * 8 {
            let mut damaged = sector;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(Head::decode(&damaged), Head::Damaged | Head::Version(_)), "bit {bit}");
        }
    }

    fn record(parts: &[&[u8]]) -> Vec<u8> {
        let mut buffer = RecordBuffer::default();
        buffer.compress(parts.iter().copied()).unwrap();
        buffer.finish(9, 5, parts.len() as u32, 3).to_vec()
    }

    #[test]
    fn any_flipped_bit_of_a_record_is_seen() {
        let mut batch = Vec::new();
        codec::encode(&Batch::default(), &mut batch).unwrap();
        let bytes = record(&[&batch, &batch]);
        let whole = Record::at(&bytes, 0, None).unwrap();
        assert_eq!((whole.first_seq, whole.last_seq, whole.durable_seq, whole.epoch), (5, 6, 3, 9));
        assert_eq!(whole.end, bytes.len());
        assert_eq!(whole.batches(&bytes).unwrap(), [Batch::default(), Batch::default()]);
        for bit in 0..whole.block.end * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::at(&damaged, 0, None), None, "bit {bit}");
        }
    }

    #[test]
    fn a_block_that_promises_too_much_is_refused_before_memory_is_taken() {
        let mut buffer = RecordBuffer::default();
        buffer.compress([&b"x"[..]].into_iter()).unwrap();
        let start = RECORD_HEADER_BYTES;
        buffer.bytes[start..start + 4].copy_from_slice(&[0xff, 0xff, 0xff, 0x0f]);
        buffer.bytes[8..12].copy_from_slice(&4u32.to_le_bytes());
        let bytes = buffer.finish(1, 1, 1, 0).to_vec();
        let error = Record::at(&bytes, 0, None).unwrap().batches(&bytes).unwrap_err();
        assert!(error.message().contains("cannot hold"), "{error}");
    }

    proptest! {
        /// The checksum is made right, so that what lies behind it meets any bytes.
        #[test]
        fn arbitrary_blocks_never_panic(raw in prop::collection::vec(any::<u8>(), 0..300), count in 0u32..5, plain in any::<bool>()) {
            let mut buffer = RecordBuffer::default();
            buffer.compress([&raw[..]].into_iter()).unwrap();
            if plain {
                buffer.bytes.truncate(RECORD_HEADER_BYTES);
                buffer.bytes.extend_from_slice(&raw);
                buffer.bytes[8..12].copy_from_slice(&(raw.len() as u32).to_le_bytes());
            }
            let bytes = buffer.finish(1, u64::MAX - 2, count, 0).to_vec();
            if let Some(record) = Record::at(&bytes, 0, None) {
                let _ = record.batches(&bytes);
            }
        }
    }
}
