//! The index as bytes, read; [`super::index_writer`] writes them. `docs/formats/sst.md` has the table.
//!
//! A checksummed header names the sections: four of the file as a whole, then those of each piece of the index, which can
//! be read without the other pieces. Each section is one column, checksummed, and either as it is or made of small
//! numbers first, its bytes transposed and compressed. Reading never trusts a count: every section's length must
//! follow from the number of streams, and that is bounded by what the bytes at hand can hold.

use std::borrow::Cow;
use std::ops::Range;

use rhythmite_model::{Error, Result};

use super::index::{FileCheck, FileFacts, Index, Pages, Piece, StreamKind, Streams};
use super::layout::TimeUnit;

pub(super) const MAGIC: [u8; 8] = *b"RHYTHIDX";
/// Version of these bytes, which changes apart from that of the points.
pub(super) const VERSION: u32 = 2;
/// magic, version, sections, header checksum.
pub(super) const PREFIX_BYTES: usize = 8 + 4 + 4 + 4;
/// offset, stored bytes, plain bytes, checksum, encoding.
pub(super) const SECTION_BYTES: usize = 8 + 8 + 8 + 4 + 1;
pub(super) const FACTS_BYTES: usize = 8 * 4 + 2 + (8 + 4) * 3 + 8 + 4 + 3 * 8;
/// first, last, series, streams, row.
pub(super) const PIECE_BYTES: usize = 8 + 8 + 4 + 4 + 8;

/// Sections of the file: facts, pieces, offsets of pages, checksums of pages.
const HEAD_SECTIONS: usize = 4;
/// Sections of a piece, in file order.
pub(super) const PIECE_SECTIONS: usize = 14;

/// Streams of a piece; one more series may go beyond it. Large enough that its sections compress well, and small enough
/// that who asks for one series waits a tenth of a millisecond. Few in tests, which then meet every boundary.
pub(super) const PIECE_STREAMS: usize = if cfg!(test) { 32 } else { 4096 };

pub(super) const RAW: u8 = 0;
/// Bytes transposed (all first bytes, all second bytes, ...), then snap.
pub(super) const PACKED: u8 = 1;

/// Plain bytes compressed at a time.
pub(super) const BLOCK_BYTES: usize = 1 << 20;

/// Numbers put together at a time: they stay in the first cache.
const TRANSPOSE_NUMBERS: usize = 2048;

/// No snap block expands more than this (a copy of 64 bytes takes at least 3).
const EXPANSION_MAX: u64 = 24;

/// Bytes of an index that lies somewhere.
pub trait Source {
    /// Length of the file.
    fn len(&self) -> u64;

    /// Bytes of it, which are known to be there.
    ///
    /// # Errors
    /// Those of the disk.
    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>>;
}

impl Source for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>> {
        let bytes = self.get(range.start as usize..range.end as usize);
        bytes.map(Cow::Borrowed).ok_or_else(|| corrupt("shorter than it says"))
    }
}

/// All of an index but its streams.
pub struct Head {
    /// The file.
    pub facts: FileFacts,
    /// Ascending by series.
    pub pieces: Vec<Piece>,
    /// Number of streams.
    pub streams: u64,
    /// Its pages.
    pub pages: Pages,
    /// CRC-32C of the header.
    pub checksum: u32,
    /// Sections of the pieces.
    sections: Vec<Place>,
}

/// Where a section is.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    stored: u64,
    plain: u64,
    crc: u32,
    encoding: u8,
}

impl Head {
    /// Reads the header and what it says of the file as a whole, and tests that the rest is where it says.
    ///
    /// # Errors
    /// `Corrupt`: a checksum or a count does not fit, or the version is not ours. Those of the disk.
    pub fn read(source: &impl Source) -> Result<Self> {
        let (mut places, checksum) = places(source)?;
        let pieces = (places.len() - HEAD_SECTIONS) / PIECE_SECTIONS;
        let sections = places.split_off(HEAD_SECTIONS);
        let end = places.last().map_or(0, |last| last.offset + last.stored);
        let bytes = source.read(places[0].offset..end)?;
        let head = open_sections(&bytes, &places)?;

        let mut facts = Bytes { bytes: &head[0].plain };
        let (rows, min_time_ns, max_time_ns, seq) =
            (facts.u64()?, facts.u64()? as i64, facts.u64()? as i64, facts.u64()?);
        let (level, unit) = (facts.u8()?, facts.u8()?);
        let time_unit = TimeUnit::from_code(unit).ok_or_else(|| corrupt("a time unit of no meaning"))?;
        let mut file = || Ok::<_, Error>(FileCheck { len: facts.u64()?, crc: facts.u32()? });
        let (points, series, fields) = (file()?, file()?, file()?);
        let (footer_start, footer_crc) = (facts.u64()?, facts.u32()?);
        let (streams, piece_count, page_count) = (facts.u64()?, facts.count()?, facts.count()?);
        if !facts.bytes.is_empty() || piece_count != pieces {
            return Err(corrupt("facts of another length"));
        }
        let facts = FileFacts {
            rows,
            min_time_ns,
            max_time_ns,
            seq,
            level,
            time_unit,
            points,
            footer_start,
            footer_crc,
            series,
            fields,
        };
        let pages = Pages {
            offset: sums(0, head[2].column::<8>(page_count)?)?[1..].to_vec(),
            crc: head[3].column::<4>(page_count)?.into_iter().map(|x| x as u32).collect(),
        };
        if !ascends(&pages.offset) {
            return Err(corrupt("pages do not ascend"));
        }
        let pieces = directory(&head[1].plain, pieces)?;
        let known = pieces.iter().map(|piece| u64::from(piece.streams)).sum::<u64>();
        if known != streams || known > u64::from(u32::MAX) {
            return Err(corrupt("streams without a piece"));
        }
        Ok(Self { facts, pieces, streams, pages, checksum, sections })
    }

    /// Memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        let pages = self.pages.offset.capacity() * 8 + self.pages.crc.capacity() * 4;
        self.pieces.capacity() * size_of::<Piece>() + self.sections.capacity() * size_of::<Place>() + pages
    }

    /// Where a piece lies in the file.
    fn place(&self, piece: usize) -> &[Place] {
        &self.sections[piece * PIECE_SECTIONS..][..PIECE_SECTIONS]
    }

    /// Decodes the streams of a piece and tests everything that later code relies on.
    ///
    /// # Errors
    /// `Corrupt`: a checksum or a count does not fit. Those of the disk.
    pub fn piece(&self, source: &impl Source, number: usize) -> Result<Streams> {
        let (places, piece) = (self.place(number), self.pieces[number]);
        let last = places[PIECE_SECTIONS - 1];
        let bytes = source.read(places[0].offset..last.offset + last.stored)?;
        let sections = open_sections(&bytes, places)?;
        let streams = decode_piece(&sections, &piece, self.facts.min_time_ns)?;
        let row_end = self.pieces.get(number + 1).map_or(self.facts.rows, |next| next.row_start);
        validate(&streams, &piece, &self.facts, row_end)?;
        Ok(streams)
    }
}

/// Decodes a whole index. Returns it with the header's checksum.
///
/// # Errors
/// See [`Head::read`] and [`Head::piece`].
pub fn decode(bytes: &[u8]) -> Result<(Index, u32)> {
    let head = Head::read(&bytes)?;
    let mut streams = Streams::new(0);
    for piece in 0..head.pieces.len() {
        head.piece(&bytes, piece)?.entries().for_each(|entry| streams.push(&entry));
    }
    Ok((Index { facts: head.facts, streams, pages: head.pages }, head.checksum))
}

fn directory(bytes: &[u8], count: usize) -> Result<Vec<Piece>> {
    let mut bytes = Bytes { bytes };
    let mut pieces: Vec<Piece> = Vec::with_capacity(count);
    for _ in 0..count {
        let (first, last) = (bytes.u64()?, bytes.u64()?);
        let (series, streams, row_start) = (bytes.u32()?, bytes.u32()?, bytes.u64()?);
        let piece = Piece { first, last, series, streams, row_start };
        let follows = match pieces.last() {
            Some(before) => before.last < first && before.row_start < row_start,
            None => row_start == 0,
        };
        if !follows || first > last || series == 0 || streams < series {
            return Err(corrupt("pieces do not ascend"));
        }
        pieces.push(piece);
    }
    if bytes.bytes.is_empty() { Ok(pieces) } else { Err(corrupt("pieces of another number")) }
}

fn decode_piece(sections: &[Stored<'_>], piece: &Piece, base_ns: i64) -> Result<Streams> {
    let (series, streams) = (piece.series as usize, piece.streams as usize);
    let first_stream = sums(0, sections[1].column::<4>(series)?)?;
    let first_stream = first_stream.into_iter().map(u32::try_from).collect::<Result<Vec<_>, _>>();
    let min_time_ns = sections[4].column::<8>(streams)?.into_iter().map(|t| base_ns.wrapping_add(t as i64));
    let min_time_ns = min_time_ns.collect::<Vec<_>>();
    let max_time_ns = sections[5].column::<8>(streams)?.into_iter().zip(&min_time_ns);
    let max_time_ns = max_time_ns.map(|(t, min)| min.wrapping_add(t as i64)).collect();
    let first = sections[9].column::<8>(streams)?;
    let per_stream = |section: &Stored<'_>| -> Result<Vec<u64>> {
        let mut bits = section.column::<8>(streams)?;
        bits.iter_mut().zip(&first).for_each(|(x, first)| *x ^= first);
        Ok(bits)
    };
    let (last, sum, min, max) = (
        per_stream(&sections[10])?,
        per_stream(&sections[11])?,
        per_stream(&sections[12])?,
        per_stream(&sections[13])?,
    );
    Ok(Streams {
        series: sums(0, sections[0].column::<8>(series)?)?[1..].to_vec(),
        first_stream: first_stream.map_err(|_| corrupt("more streams than a file may have"))?,
        field: sections[2].column::<2>(streams)?.into_iter().map(|x| x as u16).collect(),
        row_start: sums(piece.row_start, sections[3].column::<4>(streams)?)?,
        min_time_ns,
        max_time_ns,
        kind: sections[6].column::<1>(streams)?.into_iter().map(|x| x as u8).collect(),
        overflow: sections[7].column::<1>(streams)?.into_iter().map(|x| x as u8).collect(),
        nans: sections[8].column::<4>(streams)?.into_iter().map(|x| x as u32).collect(),
        first,
        last,
        sum,
        min,
        max,
    })
}

/// A section's bytes, unpacked but still transposed.
struct Stored<'a> {
    plain: Cow<'a, [u8]>,
}

impl Stored<'_> {
    /// `count` numbers of `N` bytes.
    fn column<const N: usize>(&self, count: usize) -> Result<Vec<u64>> {
        if count.checked_mul(N) != Some(self.plain.len()) {
            return Err(corrupt("a column of another length"));
        }
        let mut numbers = vec![0; count];
        for (b, block) in numbers.chunks_mut(TRANSPOSE_NUMBERS).enumerate() {
            for k in 0..N {
                let from = k * count + b * TRANSPOSE_NUMBERS;
                let bytes = &self.plain[from..from + block.len()];
                // PERF: most high bytes are zero.
                if bytes.iter().any(|byte| *byte != 0) {
                    block.iter_mut().zip(bytes).for_each(|(number, byte)| *number |= u64::from(*byte) << (8 * k));
                }
            }
        }
        Ok(numbers)
    }
}

/// Reads and tests the header: the places of all sections, which follow each other to the end of the file.
fn places(source: &impl Source) -> Result<(Vec<Place>, u32)> {
    let len = source.len();
    if len < PREFIX_BYTES as u64 {
        return Err(corrupt("shorter than a header"));
    }
    let start = source.read(0..PREFIX_BYTES as u64)?;
    let mut prefix = Bytes { bytes: &start };
    if prefix.take(8)? != MAGIC {
        return Err(corrupt("not an index"));
    }
    let version = prefix.u32()?;
    if version != VERSION {
        return Err(corrupt(format!("index version {version}; this program reads {VERSION}")));
    }
    let sections = prefix.u32()? as usize;
    if sections < HEAD_SECTIONS || !(sections - HEAD_SECTIONS).is_multiple_of(PIECE_SECTIONS) {
        return Err(corrupt("another number of sections"));
    }
    let checksum = prefix.u32()?;
    let end = (PREFIX_BYTES + sections * SECTION_BYTES) as u64;
    if end > len {
        return Err(corrupt("shorter than its header"));
    }
    let table = source.read(PREFIX_BYTES as u64..end)?;
    if crc32c::crc32c_append(crc32c::crc32c(&start[..16]), &table) != checksum {
        return Err(corrupt("the header fails its checksum"));
    }
    let mut table = Bytes { bytes: &table };
    let mut next = end;
    let mut places = Vec::with_capacity(sections);
    for i in 0..sections {
        let (offset, stored, plain) = (table.u64()?, table.u64()?, table.u64()?);
        let (crc, encoding) = (table.u32()?, table.u8()?);
        if offset != next {
            return Err(corrupt(format!("section {i} is not where the one before ends")));
        }
        next = offset.checked_add(stored).filter(|end| *end <= len).ok_or_else(|| corrupt("shorter than it says"))?;
        places.push(Place { offset, stored, plain, crc, encoding });
    }
    if next != len {
        return Err(corrupt("bytes behind the last section"));
    }
    Ok((places, checksum))
}

/// Tests the checksums of sections that lie one behind the other in `bytes`, and unpacks them.
fn open_sections<'a>(bytes: &'a [u8], places: &[Place]) -> Result<Vec<Stored<'a>>> {
    let mut data = Bytes { bytes };
    let mut sections = Vec::with_capacity(places.len());
    for (i, place) in places.iter().enumerate() {
        let stored = usize::try_from(place.stored).map_err(|_| corrupt("a section beyond the address space"))?;
        let stored = data.take(stored)?;
        if crc32c::crc32c(stored) != place.crc {
            return Err(corrupt(format!("section {i} of {} fails its checksum", places.len())));
        }
        let plain = match place.encoding {
            RAW if place.plain == place.stored => Cow::Borrowed(stored),
            PACKED => Cow::Owned(unpack(stored, place.plain)?),
            _ => return Err(corrupt(format!("section {i} of {} has an encoding of no meaning", places.len()))),
        };
        sections.push(Stored { plain });
    }
    Ok(sections)
}

fn unpack(stored: &[u8], plain_bytes: u64) -> Result<Vec<u8>> {
    // Tested before memory is asked for: a count alone allocates nothing.
    if plain_bytes > (stored.len() as u64).saturating_mul(EXPANSION_MAX) {
        return Err(corrupt("a section longer than its bytes can hold"));
    }
    let mut plain = Vec::with_capacity(plain_bytes as usize);
    let mut stored = Bytes { bytes: stored };
    while !stored.bytes.is_empty() {
        let len = stored.u32()? as usize;
        let block = stored.take(len)?;
        let grown = snap::raw::decompress_len(block).map_err(|e| corrupt(e.to_string()))?;
        if grown > BLOCK_BYTES || (plain.len() + grown) as u64 > plain_bytes {
            return Err(corrupt("a block of another length"));
        }
        let start = plain.len();
        plain.resize(start + grown, 0);
        snap::raw::Decoder::new().decompress(block, &mut plain[start..]).map_err(|e| corrupt(e.to_string()))?;
    }
    if plain.len() as u64 != plain_bytes {
        return Err(corrupt("a section of another length"));
    }
    Ok(plain)
}

/// `start`, and the sums of it and one, two, ... of the numbers.
fn sums(start: u64, numbers: Vec<u64>) -> Result<Vec<u64>> {
    let mut sum = start;
    let mut out = Vec::with_capacity(numbers.len() + 1);
    out.push(sum);
    for number in numbers {
        sum = sum.checked_add(number).ok_or_else(|| corrupt("a sum beyond 64 bits"))?;
        out.push(sum);
    }
    Ok(out)
}

fn ascends(numbers: &[u64]) -> bool {
    numbers.windows(2).all(|w| w[0] < w[1])
}

/// Everything that [`Streams`] promises, and that they are those of their piece, which ends in front of row `row_end`.
fn validate(streams: &Streams, piece: &Piece, facts: &FileFacts, row_end: u64) -> Result<()> {
    let test = |ok: bool, what: &'static str| if ok { Ok(()) } else { Err(corrupt(what)) };
    test(ascends(&streams.series), "series do not ascend")?;
    let ends = (streams.series.first().copied(), streams.series.last().copied());
    test(ends == (Some(piece.first), Some(piece.last)), "series of another piece")?;
    test(streams.first_stream.windows(2).all(|w| w[0] < w[1]), "a series without a stream")?;
    test(streams.first_stream.last() == Some(&piece.streams), "streams without a series")?;
    test(ascends(&streams.row_start), "a stream without rows")?;
    test(streams.row_start.last() == Some(&row_end), "another number of rows")?;
    test(
        streams.first_stream.windows(2).all(|w| {
            let fields = &streams.field[w[0] as usize..w[1] as usize];
            fields.windows(2).all(|f| f[0] < f[1])
        }),
        "fields of a series do not ascend",
    )?;
    let (min, max) = (&streams.min_time_ns, &streams.max_time_ns);
    let within = |t: &i64| (facts.min_time_ns..=facts.max_time_ns).contains(t);
    test(min.iter().all(within) && max.iter().all(within), "times outside the file's")?;
    test(min.iter().zip(max).all(|(a, b)| a <= b), "a stream that ends before it starts")?;
    test(streams.kind.iter().all(|k| StreamKind::from_code(*k).is_some()), "a kind of no meaning")?;
    test(streams.overflow.iter().all(|o| *o <= 1), "a flag of no meaning")?;
    let rows = streams.row_start.windows(2).map(|w| w[1] - w[0]);
    test(streams.nans.iter().zip(rows).all(|(n, rows)| u64::from(*n) <= rows), "more NaN than rows")
}

struct Bytes<'a> {
    bytes: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(n).ok_or_else(|| corrupt("shorter than it says"))?;
        self.bytes = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("take returns what was asked for"))
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn count(&mut self) -> Result<usize> {
        usize::try_from(self.u64()?).map_err(|_| corrupt("a count beyond the address space"))
    }
}

fn corrupt(what: impl Into<Cow<'static, str>>) -> Error {
    Error::corrupt(what)
}
