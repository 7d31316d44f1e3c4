use std::fmt;
use std::ops::Range;

use rhythmite_model::{Error, Result};

use crate::{ARCHIVE_INFO_BYTES, META_BYTES, SLOT_BYTES};

/// How an archive's points were rolled up into the next one.
///
/// The codes in the file are 1 to 8 in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum AggregationMethod {
    /// Mean of the known points.
    Average = 1,
    /// Sum of the known points.
    Sum = 2,
    /// The latest known point.
    Last = 3,
    /// The largest known point.
    Max = 4,
    /// The smallest known point.
    Min = 5,
    /// Sum of the known points over the number of all slots.
    AvgZero = 6,
    /// The point farthest from zero.
    AbsMax = 7,
    /// The point nearest to zero.
    AbsMin = 8,
}

impl AggregationMethod {
    /// Every method, in the order of its code.
    pub const ALL: [Self; 8] =
        [Self::Average, Self::Sum, Self::Last, Self::Max, Self::Min, Self::AvgZero, Self::AbsMax, Self::AbsMin];

    /// The name that configuration files use: `average sum last max min avg_zero absmax absmin`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Average => "average",
            Self::Sum => "sum",
            Self::Last => "last",
            Self::Max => "max",
            Self::Min => "min",
            Self::AvgZero => "avg_zero",
            Self::AbsMax => "absmax",
            Self::AbsMin => "absmin",
        }
    }

    /// The method of this name, exactly as [`name`](Self::name) writes it.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }

    /// The method of this code in a file.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|m| *m as u32 == code)
    }
}

impl fmt::Display for AggregationMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why an archive cannot be read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Seconds per point is zero.
    ZeroStep,
    /// The archive has no slots.
    NoSlots,
    /// The slots would begin inside the header.
    InsideHeader,
    /// The slots end behind the end of the file; `slots_present` whole slots are there.
    CutOff {
        /// Whole slots before the end of the file.
        slots_present: u32,
    },
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroStep => f.write_str("zero seconds per point"),
            Self::NoSlots => f.write_str("no slots"),
            Self::InsideHeader => f.write_str("its slots begin inside the header"),
            Self::CutOff { slots_present } => {
                write!(f, "the file ends before its last slot, {slots_present} slots are present")
            }
        }
    }
}

/// One entry of the archive table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Where the slots begin, in bytes from the start of the file.
    pub offset: u32,
    /// Seconds per point.
    pub step_s: u32,
    /// Number of slots, as the header claims it.
    pub points: u32,
    /// Set when the archive cannot be read whole.
    pub damage: Option<Damage>,
}

impl Archive {
    /// The span the archive covers, in seconds.
    pub fn retention_s(&self) -> u64 {
        u64::from(self.step_s) * u64::from(self.points)
    }

    /// Where in the file the slots are that are really there.
    pub fn bytes_present(&self) -> Range<u64> {
        let len = (present_slots(self) * SLOT_BYTES) as u64;
        // Nothing needs no place.
        let start = if len == 0 { 0 } else { u64::from(self.offset) };
        start..start + len
    }
}

/// A whisper file's header.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// How points are rolled up.
    pub method: AggregationMethod,
    /// The longest retention as the header claims it, in seconds.
    pub max_retention_s: u32,
    /// The share of known points a roll-up needs, 0 to 1.
    pub x_files_factor: f32,
    /// The archives in the file's order: finest first in every file the library wrote.
    pub archives: Vec<Archive>,
}

/// A whisper file whose header has been read.
#[derive(Clone, Debug)]
pub struct Whisper<'a> {
    pub(crate) bytes: &'a [u8],
    header: Header,
}

impl<'a> Whisper<'a> {
    /// Reads the header of a whole file.
    ///
    /// Archives that do not fit the file are kept with their [`Damage`]. Allocates by the archive table
    /// actually present, never by the count alone.
    ///
    /// # Errors
    /// `Corrupt`, naming the field: a header or archive table cut short, an unknown method, an
    /// xFilesFactor outside 0..=1, no archives or more than there is room for
    /// before the first one's data, or no archive that can be read even in part.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        Ok(Self { bytes, header: Header::parse(bytes, bytes.len() as u64)? })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The archives in the file's order.
    pub fn archives(&self) -> &[Archive] {
        &self.header.archives
    }

    /// The archive and the slots of it that the file really holds.
    pub(crate) fn slots(&self, index: usize) -> Result<(Archive, &'a [u8])> {
        let archive =
            *self.header.archives.get(index).ok_or_else(|| {
                Error::invalid(format!("archive {index}: the file has {}", self.header.archives.len()))
            })?;
        let Range { start, end } = archive.bytes_present();
        // `archive` has checked this range when the header was read.
        Ok((archive, &self.bytes[start as usize..end as usize]))
    }
}

impl Header {
    /// Reads the header of a file of `file_bytes` from its beginning: [`HEAD_BYTES`](crate::HEAD_BYTES) of it, or all of a shorter one.
    ///
    /// # Errors
    /// As [`Whisper::parse`].
    pub fn parse(head: &[u8], file_bytes: u64) -> Result<Self> {
        let Some((meta, table)) = head.split_at_checked(META_BYTES) else {
            return Err(Error::corrupt(format!("header: {} bytes, {META_BYTES} are needed", head.len())));
        };
        let file_bytes = usize::try_from(file_bytes).unwrap_or(usize::MAX);
        let code = be_u32(meta, 0);
        let method = AggregationMethod::from_code(code)
            .ok_or_else(|| Error::corrupt(format!("header: aggregation method {code} is unknown")))?;
        let x_files_factor = f32::from_bits(be_u32(meta, 8));
        if !(0.0..=1.0).contains(&x_files_factor) {
            return Err(Error::corrupt(format!("header: xFilesFactor {x_files_factor} is not between 0 and 1")));
        }
        let count = be_u32(meta, 12) as usize;
        if count == 0 {
            return Err(Error::corrupt("header: no archives"));
        }
        let table = count.checked_mul(ARCHIVE_INFO_BYTES).and_then(|n| table.get(..n)).ok_or_else(|| {
            Error::corrupt(format!("header: {count} archives claimed, the table ends after {}", table.len() / 12))
        })?;
        let header_bytes = META_BYTES + table.len();
        let archives: Vec<_> =
            table.chunks_exact(ARCHIVE_INFO_BYTES).map(|info| archive(info, header_bytes, file_bytes)).collect();
        // The first archive begins right behind the table in every file; if it begins inside, the count is wrong.
        if archives[0].damage == Some(Damage::InsideHeader) {
            let offset = archives[0].offset;
            return Err(Error::corrupt(format!("header: {count} archives claimed, but data begins at byte {offset}")));
        }
        if let Some(first) = archives.iter().all(|a| present_slots(a) == 0).then(|| archives[0].damage).flatten() {
            return Err(Error::corrupt(format!("no archive can be read; archive 0: {first}")));
        }
        Ok(Self { method, max_retention_s: be_u32(meta, 4), x_files_factor, archives })
    }
}

fn archive(info: &[u8], header_bytes: usize, file_bytes: usize) -> Archive {
    let (offset, step_s, points) = (be_u32(info, 0), be_u32(info, 4), be_u32(info, 8));
    let room = file_bytes.saturating_sub(offset as usize) / SLOT_BYTES;
    let damage = if step_s == 0 {
        Some(Damage::ZeroStep)
    } else if points == 0 {
        Some(Damage::NoSlots)
    } else if (offset as usize) < header_bytes {
        Some(Damage::InsideHeader)
    } else if room < points as usize {
        Some(Damage::CutOff { slots_present: room as u32 })
    } else {
        None
    };
    Archive { offset, step_s, points, damage }
}

fn present_slots(archive: &Archive) -> usize {
    match archive.damage {
        None => archive.points as usize,
        Some(Damage::CutOff { slots_present }) => slots_present as usize,
        Some(Damage::ZeroStep | Damage::NoSlots | Damage::InsideHeader) => 0,
    }
}

/// The big-endian word at `at`; the callers pass slices whose length they have checked.
pub(crate) fn be_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
