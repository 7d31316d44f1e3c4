//! The index as bytes, written; [`super::index_codec`] reads them.
//!
//! Streams come in file order and are packed as soon as a piece is full: a file of millions of streams needs some twenty
//! bytes of memory for each of them until it is done, not a hundred.

use super::index::{FileFacts, Index, Pages, Piece, StreamEntry, Streams};
use super::index_codec::{
    BLOCK_BYTES, FACTS_BYTES, MAGIC, PACKED, PIECE_BYTES, PIECE_SECTIONS, PIECE_STREAMS, PREFIX_BYTES, RAW,
    SECTION_BYTES, VERSION,
};

/// An encoded index, and the checksum of its header, which covers the checksums of everything else.
pub struct Encoded {
    /// The file.
    pub bytes: Vec<u8>,
    /// CRC-32C of the header.
    pub checksum: u32,
}

/// Position of the times of first rows among the sections of a piece: they count from the file's earliest time, which
/// only the end of the file tells.
const MIN_TIME: usize = 4;

/// An index under construction.
pub struct IndexWriter {
    /// Streams of the piece that is not full yet.
    open: Streams,
    pieces: Vec<(Piece, Packed)>,
    /// Number of streams.
    streams: u64,
    /// Least series.
    first: Option<u64>,
    packer: Packer,
}

struct Packed {
    min_time_ns: Vec<i64>,
    /// All but those of the times of first rows.
    sections: Vec<Section>,
}

impl IndexWriter {
    /// Without a stream.
    pub fn new() -> Self {
        Self { open: Streams::new(0), pieces: Vec::new(), streams: 0, first: None, packer: Packer::new() }
    }

    /// Number of streams.
    pub fn streams(&self) -> u64 {
        self.streams
    }

    /// Least and greatest series.
    pub fn series(&self) -> Option<(u64, u64)> {
        self.first.zip(self.open.series.last().copied())
    }

    /// Appends a stream behind the last one, in file order; its `row_start` must be where that one ends.
    pub fn push(&mut self, entry: &StreamEntry) {
        self.first.get_or_insert(entry.series.0);
        self.streams += 1;
        self.open.push(entry);
        // A series is not cut, so the one that does not fit opens the next piece; one of more streams is a piece alone.
        if self.open.len() > PIECE_STREAMS && self.open.series.len() > 1 {
            self.close(self.open.series.len() - 1);
        }
    }

    /// Packs the first `series` series of the open piece.
    fn close(&mut self, series: usize) {
        let open = &mut self.open;
        let streams = open.first_stream[series];
        let piece = Piece {
            first: open.series[0],
            last: open.series[series - 1],
            series: series as u32,
            streams,
            row_start: open.row_start[0],
        };
        self.pieces.push((piece, self.packer.piece(open, series)));
        open.forget(series);
    }

    /// The bytes.
    pub fn finish(mut self, f: &FileFacts, pages: &Pages) -> Encoded {
        if !self.open.series.is_empty() {
            self.close(self.open.series.len());
        }
        let mut facts = Vec::with_capacity(FACTS_BYTES);
        for number in [f.rows, f.min_time_ns as u64, f.max_time_ns as u64, f.seq] {
            facts.extend_from_slice(&number.to_le_bytes());
        }
        facts.extend_from_slice(&[f.level, f.time_unit as u8]);
        for file in [f.points, f.series, f.fields] {
            facts.extend_from_slice(&file.len.to_le_bytes());
            facts.extend_from_slice(&file.crc.to_le_bytes());
        }
        facts.extend_from_slice(&f.footer_start.to_le_bytes());
        facts.extend_from_slice(&f.footer_crc.to_le_bytes());
        for count in [self.streams, self.pieces.len() as u64, pages.offset.len() as u64] {
            facts.extend_from_slice(&count.to_le_bytes());
        }

        let mut directory = Vec::with_capacity(self.pieces.len() * PIECE_BYTES);
        for (piece, _) in &self.pieces {
            directory.extend_from_slice(&piece.first.to_le_bytes());
            directory.extend_from_slice(&piece.last.to_le_bytes());
            directory.extend_from_slice(&piece.series.to_le_bytes());
            directory.extend_from_slice(&piece.streams.to_le_bytes());
            directory.extend_from_slice(&piece.row_start.to_le_bytes());
        }
        let packer = &mut self.packer;
        let mut sections = vec![
            Section::raw(facts),
            Section::raw(directory),
            packer.pack(steps(0, &pages.offset).map(u64::to_le_bytes)),
            packer.pack(pages.crc.iter().map(|x| x.to_le_bytes())),
        ];
        for (_, packed) in self.pieces {
            let times = packer.pack(packed.min_time_ns.iter().map(|t| t.wrapping_sub(f.min_time_ns).to_le_bytes()));
            let at = sections.len() + MIN_TIME;
            sections.extend(packed.sections);
            sections.insert(at, times);
        }
        assemble(&sections)
    }
}

/// Encodes a whole index.
pub fn encode(index: &Index) -> Encoded {
    let mut writer = IndexWriter::new();
    index.streams.entries().for_each(|entry| writer.push(&entry));
    writer.finish(&index.facts, &index.pages)
}

fn assemble(sections: &[Section]) -> Encoded {
    let mut offset = (PREFIX_BYTES + sections.len() * SECTION_BYTES) as u64;
    let mut table = Vec::with_capacity(sections.len() * SECTION_BYTES);
    for section in sections {
        table.extend_from_slice(&offset.to_le_bytes());
        table.extend_from_slice(&(section.bytes.len() as u64).to_le_bytes());
        table.extend_from_slice(&section.plain.to_le_bytes());
        table.extend_from_slice(&crc32c::crc32c(&section.bytes).to_le_bytes());
        table.push(section.encoding);
        offset += section.bytes.len() as u64;
    }
    let mut bytes = Vec::with_capacity(offset as usize);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(sections.len() as u32).to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes), &table);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(&table);
    for section in sections {
        bytes.extend_from_slice(&section.bytes);
    }
    Encoded { bytes, checksum }
}

struct Section {
    encoding: u8,
    plain: u64,
    bytes: Vec<u8>,
}

impl Section {
    fn raw(bytes: Vec<u8>) -> Self {
        Self { encoding: RAW, plain: bytes.len() as u64, bytes }
    }
}

/// Makes sections of numbers; its memory is used again.
struct Packer {
    snap: snap::raw::Encoder,
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Packer {
    fn new() -> Self {
        Self { snap: snap::raw::Encoder::new(), plain: Vec::new(), packed: Vec::new() }
    }

    /// The sections of the first `series` series.
    fn piece(&mut self, all: &Streams, series: usize) -> Packed {
        let first_stream = &all.first_stream[..=series];
        let streams = first_stream[series] as usize;
        let (min, max) = (&all.min_time_ns[..streams], &all.max_time_ns[..streams]);
        let first = &all.first[..streams];
        let mut sections = vec![
            self.pack(steps(0, &all.series[..series]).map(u64::to_le_bytes)),
            self.pack(first_stream.windows(2).map(|w| (w[1] - w[0]).to_le_bytes())),
            self.pack(all.field[..streams].iter().map(|x| x.to_le_bytes())),
            self.pack(all.row_start[..=streams].windows(2).map(|w| ((w[1] - w[0]) as u32).to_le_bytes())),
            self.pack(max.iter().zip(min).map(|(t, min)| t.wrapping_sub(*min).to_le_bytes())),
            self.pack(all.kind[..streams].iter().map(|x| [*x])),
            self.pack(all.overflow[..streams].iter().map(|x| [*x])),
            self.pack(all.nans[..streams].iter().map(|x| x.to_le_bytes())),
            self.pack(first.iter().map(|x| x.to_le_bytes())),
        ];
        for bits in [&all.last, &all.sum, &all.min, &all.max] {
            sections.push(self.pack(bits[..streams].iter().zip(first).map(|(x, first)| (x ^ first).to_le_bytes())));
        }
        debug_assert_eq!(sections.len(), PIECE_SECTIONS - 1);
        Packed { min_time_ns: min.to_vec(), sections }
    }

    /// Transposes the numbers' bytes, so that the high ones, mostly zero, lie together; then snap.
    fn pack<const N: usize>(&mut self, numbers: impl ExactSizeIterator<Item = [u8; N]>) -> Section {
        let count = numbers.len();
        self.plain.clear();
        self.plain.resize(count * N, 0);
        for (at, number) in numbers.enumerate() {
            for (k, byte) in number.into_iter().enumerate() {
                self.plain[k * count + at] = byte;
            }
        }
        let mut bytes = Vec::new();
        // A length in front of each: a snap block holds at most 4 GiB.
        for block in self.plain.chunks(BLOCK_BYTES) {
            self.packed.resize(snap::raw::max_compress_len(block.len()), 0);
            let len =
                self.snap.compress(block, &mut self.packed).expect("there is room for a block of the largest size");
            bytes.reserve_exact(4 + len);
            bytes.extend_from_slice(&(len as u32).to_le_bytes());
            bytes.extend_from_slice(&self.packed[..len]);
        }
        Section { encoding: PACKED, plain: self.plain.len() as u64, bytes }
    }
}

/// Differences to the number before, of the first to `from`.
fn steps(from: u64, numbers: &[u64]) -> impl ExactSizeIterator<Item = u64> + '_ {
    let mut before = from;
    numbers.iter().map(move |&number| number.wrapping_sub(std::mem::replace(&mut before, number)))
}
