//! The index as bytes. `docs/formats/sst.md` has the table.
//!
//! A checksummed header names the sections; each section is one column, checksummed, and either as it is or made of
//! small numbers first, its bytes transposed and compressed. Reading never trusts a count: every section's length must
//! follow from the number of streams, and that is bounded by what the bytes at hand can hold.

use std::borrow::Cow;

use rhythmite_model::{Error, Result};

use super::index::{FileCheck, FileFacts, Index, StreamKind};
use super::layout::{FORMAT_VERSION, TimeUnit};

const MAGIC: [u8; 8] = *b"RHYTHIDX";
/// magic, version, sections, header checksum.
const PREFIX_BYTES: usize = 8 + 4 + 4 + 4;
/// offset, stored bytes, plain bytes, checksum, encoding.
const SECTION_BYTES: usize = 8 + 8 + 8 + 4 + 1;
const FACTS_BYTES: usize = 8 * 4 + 2 + (8 + 4) * 3 + 8 + 4 + 3 * 8;

/// Sections in file order.
const SECTIONS: usize = 17;

const RAW: u8 = 0;
/// Bytes transposed (all first bytes, all second bytes, ...), then snap.
const PACKED: u8 = 1;

/// Plain bytes compressed at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// Numbers put together at a time: they stay in the first cache.
const TRANSPOSE_NUMBERS: usize = 2048;

/// No snap block expands more than this (a copy of 64 bytes takes at least 3).
const EXPANSION_MAX: u64 = 24;

/// An encoded index, and the checksum of its header, which covers the checksums of everything else.
pub struct Encoded {
    /// The file.
    pub bytes: Vec<u8>,
    /// CRC-32C of the header.
    pub checksum: u32,
}

/// Encodes an index.
pub fn encode(index: &Index) -> Encoded {
    let f = &index.facts;
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
    for count in [index.series.len(), index.streams(), index.page_offset.len()] {
        facts.extend_from_slice(&(count as u64).to_le_bytes());
    }

    let per_stream = |v: &[u64]| pack(v.iter().zip(&index.first).map(|(x, first)| (x ^ first).to_le_bytes()));
    let sections: [Section; SECTIONS] = [
        Section { encoding: RAW, plain: facts.len() as u64, bytes: facts },
        pack(steps(std::iter::once(&0).chain(&index.series)).map(u64::to_le_bytes)),
        pack(index.first_stream.windows(2).map(|w| (w[1] - w[0]).to_le_bytes())),
        pack(index.field.iter().map(|x| x.to_le_bytes())),
        pack(index.row_start.windows(2).map(|w| ((w[1] - w[0]) as u32).to_le_bytes())),
        pack(index.min_time_ns.iter().map(|t| t.wrapping_sub(f.min_time_ns).to_le_bytes())),
        pack(index.max_time_ns.iter().zip(&index.min_time_ns).map(|(t, min)| t.wrapping_sub(*min).to_le_bytes())),
        pack(index.kind.iter().map(|x| [*x])),
        pack(index.overflow.iter().map(|x| [*x])),
        pack(index.nans.iter().map(|x| x.to_le_bytes())),
        pack(index.first.iter().map(|x| x.to_le_bytes())),
        per_stream(&index.last),
        per_stream(&index.sum),
        per_stream(&index.min),
        per_stream(&index.max),
        pack(steps(std::iter::once(&0).chain(&index.page_offset)).map(u64::to_le_bytes)),
        pack(index.page_crc.iter().map(|x| x.to_le_bytes())),
    ];

    let mut offset = (PREFIX_BYTES + SECTIONS * SECTION_BYTES) as u64;
    let mut table = Vec::with_capacity(SECTIONS * SECTION_BYTES);
    for section in &sections {
        table.extend_from_slice(&offset.to_le_bytes());
        table.extend_from_slice(&(section.bytes.len() as u64).to_le_bytes());
        table.extend_from_slice(&section.plain.to_le_bytes());
        table.extend_from_slice(&crc32c::crc32c(&section.bytes).to_le_bytes());
        table.push(section.encoding);
        offset += section.bytes.len() as u64;
    }
    let mut bytes = Vec::with_capacity(offset as usize);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&(SECTIONS as u32).to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&bytes), &table);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(&table);
    for section in &sections {
        bytes.extend_from_slice(&section.bytes);
    }
    Encoded { bytes, checksum }
}

/// Decodes an index and tests everything that later code relies on. Returns it with the header's checksum.
///
/// # Errors
/// `Corrupt`: a checksum or a count does not fit, or the version is not ours.
pub fn decode(bytes: &[u8]) -> Result<(Index, u32)> {
    let (sections, checksum) = split(bytes)?;
    let mut facts = Bytes { bytes: &sections[0].plain };
    let (rows, min_time_ns, max_time_ns, seq) = (facts.u64()?, facts.u64()? as i64, facts.u64()? as i64, facts.u64()?);
    let (level, unit) = (facts.u8()?, facts.u8()?);
    let time_unit = TimeUnit::from_code(unit).ok_or_else(|| corrupt("a time unit of no meaning"))?;
    let mut file = || Ok::<_, Error>(FileCheck { len: facts.u64()?, crc: facts.u32()? });
    let (points, series_file, fields_file) = (file()?, file()?, file()?);
    let (footer_start, footer_crc) = (facts.u64()?, facts.u32()?);
    let (series_count, streams, pages) = (facts.count()?, facts.count()?, facts.count()?);
    if !facts.bytes.is_empty() {
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
        series: series_file,
        fields: fields_file,
    };

    let series = sums(sections[1].column::<8>(series_count)?)?;
    let first_stream = sums(sections[2].column::<4>(series_count)?)?;
    let first_stream = first_stream.into_iter().map(u32::try_from).collect::<Result<Vec<_>, _>>();
    let row_start = sums(sections[4].column::<4>(streams)?)?;
    let add = |base: &i64, step: u64| base.wrapping_add(step as i64);
    let min_time_ns = sections[5].column::<8>(streams)?.into_iter().map(|t| add(&facts.min_time_ns, t));
    let min_time_ns = min_time_ns.collect::<Vec<_>>();
    let max_time_ns = sections[6].column::<8>(streams)?.into_iter().zip(&min_time_ns).map(|(t, min)| add(min, t));
    let max_time_ns = max_time_ns.collect();
    let first = sections[10].column::<8>(streams)?;
    let per_stream = |section: &Stored<'_>| -> Result<Vec<u64>> {
        let mut bits = section.column::<8>(streams)?;
        bits.iter_mut().zip(&first).for_each(|(x, first)| *x ^= first);
        Ok(bits)
    };
    let (last, sum, min, max) = (
        per_stream(&sections[11])?,
        per_stream(&sections[12])?,
        per_stream(&sections[13])?,
        per_stream(&sections[14])?,
    );
    let index = Index {
        facts,
        series: series[1..].to_vec(),
        first_stream: first_stream.map_err(|_| corrupt("more streams than a file may have"))?,
        field: sections[3].column::<2>(streams)?.into_iter().map(|x| x as u16).collect(),
        row_start,
        min_time_ns,
        max_time_ns,
        kind: sections[7].column::<1>(streams)?.into_iter().map(|x| x as u8).collect(),
        overflow: sections[8].column::<1>(streams)?.into_iter().map(|x| x as u8).collect(),
        nans: sections[9].column::<4>(streams)?.into_iter().map(|x| x as u32).collect(),
        first,
        last,
        sum,
        min,
        max,
        page_offset: sums(sections[15].column::<8>(pages)?)?[1..].to_vec(),
        page_crc: sections[16].column::<4>(pages)?.into_iter().map(|x| x as u32).collect(),
    };
    validate(&index)?;
    Ok((index, checksum))
}

struct Section {
    encoding: u8,
    plain: u64,
    bytes: Vec<u8>,
}

/// Differences of neighbours.
fn steps<'a>(numbers: impl Iterator<Item = &'a u64> + Clone) -> impl Iterator<Item = u64> + Clone {
    numbers.clone().zip(numbers.skip(1)).map(|(a, b)| b.wrapping_sub(*a))
}

/// Transposes the numbers' bytes, so that the high ones, mostly zero, lie together; then snap.
fn pack<const N: usize>(numbers: impl Iterator<Item = [u8; N]> + Clone) -> Section {
    let mut plain = Vec::new();
    for k in 0..N {
        plain.extend(numbers.clone().map(|b| b[k]));
    }
    let mut bytes = Vec::with_capacity(plain.len() / 8);
    // A length in front of each: a snap block holds at most 4 GiB.
    for block in plain.chunks(BLOCK_BYTES) {
        let packed = snap::raw::Encoder::new().compress_vec(block).expect("a block is below snap's limit");
        bytes.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&packed);
    }
    Section { encoding: PACKED, plain: plain.len() as u64, bytes }
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

/// Tests the header and every section's checksum, and unpacks the sections.
fn split(bytes: &[u8]) -> Result<(Vec<Stored<'_>>, u32)> {
    let mut prefix = Bytes { bytes };
    if prefix.take(8)? != MAGIC {
        return Err(corrupt("not an index"));
    }
    let version = prefix.u32()?;
    if version != FORMAT_VERSION {
        return Err(corrupt(format!("index version {version}; this program reads {FORMAT_VERSION}")));
    }
    if prefix.u32()? as usize != SECTIONS {
        return Err(corrupt("another number of sections"));
    }
    let checksum = prefix.u32()?;
    let mut table = Bytes { bytes: prefix.take(SECTIONS * SECTION_BYTES)? };
    if crc32c::crc32c_append(crc32c::crc32c(&bytes[..16]), table.bytes) != checksum {
        return Err(corrupt("the header fails its checksum"));
    }
    let mut data = prefix;
    let mut next = (PREFIX_BYTES + SECTIONS * SECTION_BYTES) as u64;
    let mut sections = Vec::with_capacity(SECTIONS);
    for i in 0..SECTIONS {
        let (offset, stored, plain) = (table.u64()?, table.u64()?, table.u64()?);
        let (crc, encoding) = (table.u32()?, table.u8()?);
        if offset != next {
            return Err(corrupt(format!("section {i} is not where the one before ends")));
        }
        let stored = data.take(usize::try_from(stored).map_err(|_| corrupt("a section beyond the address space"))?)?;
        next += stored.len() as u64;
        if crc32c::crc32c(stored) != crc {
            return Err(corrupt(format!("section {i} fails its checksum")));
        }
        let plain = match encoding {
            RAW if plain == stored.len() as u64 => Cow::Borrowed(stored),
            PACKED => Cow::Owned(unpack(stored, plain)?),
            _ => return Err(corrupt(format!("section {i} has an encoding of no meaning"))),
        };
        sections.push(Stored { plain });
    }
    if !data.bytes.is_empty() {
        return Err(corrupt("bytes behind the last section"));
    }
    Ok((sections, checksum))
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

/// 0, and the sums of one, two, ... of the numbers.
fn sums(numbers: Vec<u64>) -> Result<Vec<u64>> {
    let mut sum = 0u64;
    let mut out = Vec::with_capacity(numbers.len() + 1);
    out.push(0);
    for number in numbers {
        sum = sum.checked_add(number).ok_or_else(|| corrupt("a sum beyond 64 bits"))?;
        out.push(sum);
    }
    Ok(out)
}

/// Everything that [`Index`] promises.
fn validate(index: &Index) -> Result<()> {
    let facts = &index.facts;
    let ascends = |v: &[u64]| v.windows(2).all(|w| w[0] < w[1]);
    let test = |ok: bool, what: &'static str| if ok { Ok(()) } else { Err(corrupt(what)) };
    test(ascends(&index.series), "series do not ascend")?;
    test(index.first_stream.windows(2).all(|w| w[0] < w[1]), "a series without a stream")?;
    test(index.first_stream.last().copied() == u32::try_from(index.streams()).ok(), "streams without a series")?;
    test(ascends(&index.row_start), "a stream without rows")?;
    test(index.row_start.last() == Some(&facts.rows), "another number of rows")?;
    test(
        index.first_stream.windows(2).all(|w| {
            let fields = &index.field[w[0] as usize..w[1] as usize];
            fields.windows(2).all(|f| f[0] < f[1])
        }),
        "fields of a series do not ascend",
    )?;
    let within = |t: &i64| (facts.min_time_ns..=facts.max_time_ns).contains(t);
    test(index.min_time_ns.iter().all(within) && index.max_time_ns.iter().all(within), "times outside the file's")?;
    test(index.min_time_ns.iter().zip(&index.max_time_ns).all(|(a, b)| a <= b), "a stream that ends before it starts")?;
    test(index.kind.iter().all(|k| StreamKind::from_code(*k).is_some()), "a kind of no meaning")?;
    test(index.overflow.iter().all(|o| *o <= 1), "a flag of no meaning")?;
    let rows = index.row_start.windows(2).map(|w| w[1] - w[0]);
    test(index.nans.iter().zip(rows).all(|(n, rows)| u64::from(*n) <= rows), "more NaN than rows")?;
    test(ascends(&index.page_offset), "pages do not ascend")
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
