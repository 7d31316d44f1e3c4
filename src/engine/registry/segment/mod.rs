//! Registry segments: definitions in files. The bytes are described in `docs/formats/registry.md`.
//!
//! A segment holds what was new at one flush (`news.rs`), or what several such segments held together (`merge.rs`). It
//! never changes. Series are sorted by key, which makes the file small and loading quick: a key shares most of its
//! text, and of its way in the trie, with the one before.

mod merge;
mod news;
mod read;
mod write;

use std::ops::Range;
use std::path::{Path, PathBuf};

use rhythmite_env::Env;
use rhythmite_model::{Definition, Error, Result, RollupRule, SeriesId};

use super::directory::Directory;

pub use merge::merge_segments;
pub(super) use news::News;
use read::{Cursor, Reader, read_field, read_table};

const MAGIC: [u8; 8] = *b"RHYNAMES";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 40;
const SECTION_HEAD_BYTES: usize = 24;
/// Segments that are not merged yet although they are of similar size.
const MERGE_MIN: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Kind {
    Tables = 1,
    Fields = 2,
    Rules = 3,
    Series = 4,
    Rollups = 5,
    Drops = 6,
}

impl Kind {
    const ALL: [Kind; 6] = [Kind::Tables, Kind::Fields, Kind::Rules, Kind::Series, Kind::Rollups, Kind::Drops];
}

/// What the manifest keeps of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    /// The number in its name.
    pub id: u64,
    /// Definitions in it.
    pub definitions: u64,
    /// Length of the file.
    pub bytes: u64,
}

/// Where the segment with this number is.
pub fn segment_path(dir: &Path, id: u64) -> PathBuf {
    dir.join(format!("names-{id:010}.reg"))
}

/// Which segments (oldest first) to merge now, if any: with the merges that this asks for, there are never more than
/// about log3 of the number of definitions, plus three.
pub fn plan_merge(segments: &[SegmentMeta]) -> Option<Range<usize>> {
    let mut behind = 0;
    let mut start = None;
    for (at, segment) in segments.iter().enumerate().rev() {
        if segments.len() - at >= MERGE_MIN && segment.bytes <= 2 * behind {
            start = Some(at);
        }
        behind += segment.bytes;
    }
    start.map(|start| start..segments.len())
}

/// Reads one segment into the directory.
pub(super) fn load(directory: &mut Directory, env: &Env, path: &Path) -> Result<()> {
    let reader = Reader::open(env, path);
    reader.and_then(|reader| load_from(directory, reader)).map_err(|e| e.at(path.display()))
}

/// Errors do not name the file.
fn load_from(directory: &mut Directory, reader: Reader) -> Result<()> {
    directory.reserve_tables(reader.next_table);
    directory.next_sequence = directory.next_sequence.max(reader.next_sequence);
    // A drop is about older segments: a name that was dropped and made again since must be gone first.
    reader.drops()?.iter().try_for_each(|drop| directory.apply(drop, false))?;
    reader.each(Kind::Tables, |bytes| directory.apply(&read_table(bytes)?, false))?;
    reader.each(Kind::Fields, |bytes| directory.apply(&read_field(bytes)?, false))?;
    let rollups = reader.rollups()?;
    directory.reserve(reader.count(Kind::Series) as usize);
    let mut cursor = Cursor::new(reader)?;
    while let Some(series) = &cursor.current {
        match directory.slot(series.id) {
            Some(slot) if directory.key(slot) == cursor.key => {}
            Some(_) => return Err(Error::corrupt(format!("series {:#x} has two keys", series.id.0))),
            None => drop(directory.restore_series(series.id, &cursor.key, series.rollup)?),
        }
        cursor.advance()?;
    }
    rollups.iter().try_for_each(|change| directory.apply(change, false))
}

/// All of a segment but its series.
#[derive(Default)]
struct Small {
    tables: Vec<Definition>,
    fields: Vec<Definition>,
    /// Rules and drops, in order.
    changes: Vec<Definition>,
}

#[derive(Clone, Copy)]
struct Series {
    id: SeriesId,
    rollup: Option<RollupRule>,
}
