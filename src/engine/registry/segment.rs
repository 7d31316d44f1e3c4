//! Registry segments: definitions in files. The bytes are described in `docs/formats/registry.md`.
//!
//! A segment holds what was new at one flush, or what several such segments held together. It never changes. Series
//! are sorted by key, which makes the file small and loading quick: a key shares most of its text, and of its way in
//! the trie, with the one before.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rhythmite_env::{Env, File};
use rhythmite_model::{
    Definition, Error, FieldId, FieldType, KeyKind, PolicyId, Result, RollupRule, SeriesId, TableId,
};

use super::directory::{Directory, Slot};
use super::journal::{Change, Mark};

const MAGIC: [u8; 8] = *b"RHYNAMES";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 40;
const SECTION_HEAD_BYTES: usize = 24;
/// Bytes of a section's payload from which on the next series begins a new one.
const SECTION_BYTES: usize = 1 << 20;
/// The largest payload a reader takes: a section of many tables or rules is not cut.
const SECTION_BYTES_MAX: u64 = 1 << 30;
/// Keys copied under one read lock.
const COLLECT_STEP: usize = 4096;
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

/// Merges neighbouring segments, oldest first, into the new segment `id`. `oldest` says that no older one remains:
/// drops have then done their work and are left out. Keeps one section of each input in memory.
///
/// # Errors
/// `Corrupt` with the name of the damaged file; `Unavailable` if the disk fails.
pub fn merge_segments(env: &Env, dir: &Path, inputs: &[u64], id: u64, oldest: bool) -> Result<SegmentMeta> {
    let mut merge = Merge::default();
    let mut cursors = Vec::new();
    for (age, &input) in inputs.iter().enumerate() {
        let path = segment_path(dir, input);
        let mut open = || {
            let reader = Reader::open(env, &path)?;
            merge.read(age, &reader)?;
            Ok((Cursor::new(reader)?, path.clone()))
        };
        cursors.push(open().map_err(|e: Error| e.at(path.display()))?);
    }
    merge.write(env, dir, id, cursors, oldest)
}

/// Reads one segment into the directory.
pub(super) fn load(directory: &mut Directory, env: &Env, path: &Path) -> Result<()> {
    let reader = Reader::open(env, path);
    reader.and_then(|reader| load_from(directory, reader)).map_err(|e| e.at(path.display()))
}

/// Errors do not name the file.
fn load_from(directory: &mut Directory, reader: Reader) -> Result<()> {
    let tables_end = reader.next_table;
    // Numbers that were given out and whose tables are gone leave holes.
    if directory.tables.len() < tables_end as usize {
        directory.tables.resize_with(tables_end as usize, || None);
    }
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

/// What a flush writes, copied out of the directory piece by piece.
#[derive(Default)]
pub(super) struct News {
    next_sequence: u64,
    next_table: u32,
    small: Small,
    text: String,
    series: Vec<(Range<usize>, Series)>,
}

impl News {
    /// Copies the next changes before `mark`; `None` when there are no more.
    ///
    /// Names that are gone by now are left out, even if their drop comes behind the mark: the log has it.
    pub(super) fn collect(&mut self, directory: &Directory, mark: Mark, skip: usize) -> Option<usize> {
        self.next_sequence = directory.next_sequence;
        self.next_table = directory.tables.len() as u32;
        let mut taken = 0;
        for change in directory.journal.before(mark, skip).take(COLLECT_STEP) {
            taken += 1;
            match change {
                Change::Table(id) => self.small.tables.extend(directory.table(id).map(|t| Definition::Table {
                    id,
                    policy: t.policy,
                    name: t.name.clone(),
                    kind: t.kind,
                })),
                Change::Field(table, id) => {
                    self.small.fields.extend(directory.field(table, id).map(|(name, field_type)| Definition::Field {
                        table,
                        id,
                        name: name.into(),
                        field_type,
                    }));
                }
                Change::Series(slot) => {
                    let slot = Slot(slot);
                    let id = directory.series_id(slot);
                    if directory.slot(id) == Some(slot) {
                        let start = self.text.len();
                        self.text.push_str(directory.key(slot));
                        let series = Series { id, rollup: directory.rollup(slot) };
                        self.series.push((start..self.text.len(), series));
                    }
                }
                Change::Rollup(slot) => {
                    let slot = Slot(slot);
                    let id = directory.series_id(slot);
                    if let (true, Some(rollup)) = (directory.slot(id) == Some(slot), directory.rollup(slot)) {
                        self.small.changes.push(Definition::Rollup { id, rollup });
                    }
                }
                Change::DropTable(id) => self.small.changes.push(Definition::DropTable { id }),
                Change::DropSeries(_, id) => self.small.changes.push(Definition::DropSeries { id }),
                Change::Dead(_) => {}
            }
        }
        (taken > 0).then_some(taken)
    }

    pub(super) fn write(mut self, env: &Env, dir: &Path, id: u64) -> Result<Option<SegmentMeta>> {
        if self.small.is_empty() && self.series.is_empty() {
            return Ok(None);
        }
        let text = &self.text;
        self.series.sort_unstable_by(|(a, x), (b, y)| text[a.clone()].cmp(&text[b.clone()]).then(x.id.cmp(&y.id)));
        let mut writer = Writer::create(env, dir, id)?;
        writer.small(&self.small)?;
        for (key, series) in &self.series {
            writer.series(&self.text[key.clone()], *series)?;
        }
        writer.finish(self.next_sequence, self.next_table).map(Some)
    }
}

/// All of a segment but its series.
#[derive(Default)]
struct Small {
    tables: Vec<Definition>,
    fields: Vec<Definition>,
    /// Rules and drops, in order.
    changes: Vec<Definition>,
}

impl Small {
    fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.fields.is_empty() && self.changes.is_empty()
    }
}

#[derive(Clone, Copy)]
struct Series {
    id: SeriesId,
    rollup: Option<RollupRule>,
}

/// Neighbouring segments becoming one. The age of an input says which of two statements is the later one.
#[derive(Default)]
struct Merge {
    next_sequence: u64,
    next_table: u32,
    small: Small,
    dropped_tables: HashMap<TableId, usize>,
    dropped_series: HashMap<SeriesId, usize>,
    rules: HashMap<SeriesId, (usize, RollupRule)>,
}

impl Merge {
    fn read(&mut self, age: usize, reader: &Reader) -> Result<()> {
        self.next_sequence = self.next_sequence.max(reader.next_sequence);
        self.next_table = self.next_table.max(reader.next_table);
        let small = &mut self.small;
        reader.each(Kind::Tables, |bytes| read_table(bytes).map(|d| small.tables.push(d)))?;
        reader.each(Kind::Fields, |bytes| read_field(bytes).map(|d| small.fields.push(d)))?;
        for change in reader.rollups()?.into_iter().chain(reader.drops()?) {
            match change {
                Definition::DropTable { id } => drop(self.dropped_tables.insert(id, age)),
                Definition::DropSeries { id } => drop(self.dropped_series.insert(id, age)),
                Definition::Rollup { id, rollup } => drop(self.rules.insert(id, (age, rollup))),
                _ => {}
            }
        }
        Ok(())
    }

    fn write(
        mut self,
        env: &Env,
        dir: &Path,
        id: u64,
        mut cursors: Vec<(Cursor, PathBuf)>,
        oldest: bool,
    ) -> Result<SegmentMeta> {
        let gone = |table: &TableId| self.dropped_tables.contains_key(table);
        self.small.tables.retain(|d| !matches!(d, Definition::Table { id, .. } if gone(id)));
        self.small.fields.retain(|d| !matches!(d, Definition::Field { table, .. } if gone(table)));
        // The rules of series that are in older segments only, and the drops, go on as they are.
        let mut foreign: HashSet<SeriesId> = self.rules.keys().copied().collect();
        let mut writer = Writer::create(env, dir, id)?;
        loop {
            let heads = cursors.iter().enumerate();
            let heads = heads.filter_map(|(at, (cursor, _))| cursor.current.map(|s| (&cursor.key, s.id, at)));
            let Some((_, id, at)) = heads.min() else { break };
            foreign.remove(&id);
            let dropped = self.dropped_series.contains_key(&id) || self.dropped_tables.contains_key(&id.table());
            if let (false, Some(series)) = (dropped, cursors[at].0.current) {
                let rollup = match self.rules.get(&id) {
                    Some(&(age, rule)) if age >= at => Some(rule),
                    _ => series.rollup,
                };
                writer.series(&cursors[at].0.key, Series { id, rollup })?;
            }
            for (cursor, path) in &mut cursors {
                if cursor.current.is_some_and(|s| s.id == id) {
                    cursor.advance().map_err(|e| e.at(path.display()))?;
                }
            }
        }
        let mut rules: Vec<_> = foreign.into_iter().collect();
        rules.sort_unstable();
        for id in rules {
            if let Some(&(_, rollup)) = self.rules.get(&id)
                && !self.dropped_series.contains_key(&id)
                && !oldest
            {
                self.small.changes.push(Definition::Rollup { id, rollup });
            }
        }
        if !oldest {
            let mut tables: Vec<_> = self.dropped_tables.keys().copied().collect();
            let mut series: Vec<_> = self.dropped_series.keys().copied().collect();
            tables.sort_unstable();
            series.sort_unstable();
            self.small.changes.extend(tables.into_iter().map(|id| Definition::DropTable { id }));
            self.small.changes.extend(series.into_iter().map(|id| Definition::DropSeries { id }));
        }
        writer.small(&self.small)?;
        writer.finish(self.next_sequence, self.next_table)
    }
}

/// Writes sections one after the other, and the header last.
struct Writer {
    env: Env,
    path: PathBuf,
    temp: PathBuf,
    file: Arc<dyn File>,
    id: u64,
    offset: u64,
    sections: u32,
    definitions: u64,
    rules: HashMap<(u8, u32, i64), u64>,
    rule_bytes: Vec<u8>,
    previous: String,
    buffer: Vec<u8>,
    buffered: u32,
}

impl Writer {
    fn create(env: &Env, dir: &Path, id: u64) -> Result<Self> {
        let path = segment_path(dir, id);
        let temp = path.with_extension("tmp");
        let file = env.fs.create(&temp).map_err(|e| Error::from(e).at(temp.display()))?;
        Ok(Self {
            env: env.clone(),
            path,
            temp,
            file,
            id,
            offset: HEADER_BYTES as u64,
            sections: 0,
            definitions: 0,
            rules: HashMap::new(),
            rule_bytes: Vec::new(),
            previous: String::new(),
            buffer: Vec::new(),
            buffered: 0,
        })
    }

    fn section(&mut self, kind: Kind, count: u32, payload: &[u8]) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let mut head = [0; SECTION_HEAD_BYTES];
        head[0..4].copy_from_slice(&(kind as u32).to_le_bytes());
        head[4..8].copy_from_slice(&count.to_le_bytes());
        head[8..16].copy_from_slice(&(payload.len() as u64).to_le_bytes());
        head[16..20].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        let crc = crc32c::crc32c(&head[..20]);
        head[20..24].copy_from_slice(&crc.to_le_bytes());
        let at = |e| Error::from(e).at(self.temp.display());
        self.file.write_all_at(&head, self.offset).map_err(at)?;
        self.file.write_all_at(payload, self.offset + SECTION_HEAD_BYTES as u64).map_err(at)?;
        self.offset += (SECTION_HEAD_BYTES + payload.len()) as u64;
        self.sections += 1;
        Ok(())
    }

    /// Sorted by key, each once.
    fn series(&mut self, key: &str, series: Series) -> Result<()> {
        if self.buffer.len() >= SECTION_BYTES {
            self.end_series()?;
        }
        let mut shared = key.bytes().zip(self.previous.bytes()).take_while(|(a, b)| a == b).count();
        while !key.is_char_boundary(shared) {
            shared -= 1;
        }
        let rule = self.rule(series.rollup);
        put(&mut self.buffer, shared as u64);
        put(&mut self.buffer, (key.len() - shared) as u64);
        self.buffer.extend_from_slice(&key.as_bytes()[shared..]);
        self.buffer.extend_from_slice(&series.id.0.to_le_bytes());
        put(&mut self.buffer, rule);
        self.previous.clear();
        self.previous.push_str(key);
        self.buffered += 1;
        self.definitions += 1;
        Ok(())
    }

    fn end_series(&mut self) -> Result<()> {
        let payload = std::mem::take(&mut self.buffer);
        let count = std::mem::take(&mut self.buffered);
        self.previous.clear();
        self.section(Kind::Series, count, &payload)
    }

    fn rule(&mut self, rollup: Option<RollupRule>) -> u64 {
        let Some(rule) = rollup else { return 0 };
        let next = self.rules.len() as u64 + 1;
        let bits = rule.x_files_factor.to_bits();
        *self.rules.entry((rule.method, bits, rule.imported_until_s)).or_insert_with(|| {
            self.rule_bytes.push(rule.method);
            self.rule_bytes.extend_from_slice(&bits.to_le_bytes());
            self.rule_bytes.extend_from_slice(&rule.imported_until_s.to_le_bytes());
            next
        })
    }

    fn small(&mut self, small: &Small) -> Result<()> {
        let mut tables = Vec::new();
        let mut fields = Vec::new();
        let mut rollups = (0, Vec::new());
        let mut drops = (0, Vec::new());
        for definition in small.tables.iter().chain(&small.fields).chain(&small.changes) {
            self.definitions += 1;
            match definition {
                Definition::Table { id, policy, name, kind } => {
                    put(&mut tables, u64::from(id.0));
                    put(&mut tables, u64::from(policy.0));
                    tables.push(*kind as u8);
                    put_text(&mut tables, name);
                }
                Definition::Field { table, id, name, field_type } => {
                    put(&mut fields, u64::from(table.0));
                    put(&mut fields, u64::from(id.0));
                    fields.push(*field_type as u8);
                    put_text(&mut fields, name);
                }
                Definition::Rollup { id, rollup } => {
                    let rule = self.rule(Some(*rollup));
                    rollups.0 += 1;
                    rollups.1.extend_from_slice(&id.0.to_le_bytes());
                    put(&mut rollups.1, rule);
                }
                Definition::DropTable { id } => {
                    drops.0 += 1;
                    drops.1.push(0);
                    drops.1.extend_from_slice(&u64::from(id.0).to_le_bytes());
                }
                Definition::DropSeries { id } => {
                    drops.0 += 1;
                    drops.1.push(1);
                    drops.1.extend_from_slice(&id.0.to_le_bytes());
                }
                Definition::Series { .. } => return Err(Error::internal("a series among the small definitions")),
            }
        }
        self.section(Kind::Tables, small.tables.len() as u32, &tables)?;
        self.section(Kind::Fields, small.fields.len() as u32, &fields)?;
        self.section(Kind::Rollups, rollups.0, &rollups.1)?;
        self.section(Kind::Drops, drops.0, &drops.1)
    }

    fn finish(mut self, next_sequence: u64, next_table: u32) -> Result<SegmentMeta> {
        self.end_series()?;
        let rules = std::mem::take(&mut self.rule_bytes);
        self.section(Kind::Rules, self.rules.len() as u32, &rules)?;
        let mut header = [0; HEADER_BYTES];
        header[0..8].copy_from_slice(&MAGIC);
        header[8..10].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&self.sections.to_le_bytes());
        header[16..24].copy_from_slice(&next_sequence.to_le_bytes());
        header[24..28].copy_from_slice(&next_table.to_le_bytes());
        header[28..36].copy_from_slice(&self.offset.to_le_bytes());
        let crc = crc32c::crc32c(&header[..36]);
        header[36..40].copy_from_slice(&crc.to_le_bytes());
        let done = || {
            self.file.write_all_at(&header, 0)?;
            self.file.sync_data()?;
            self.env.fs.rename(&self.temp, &self.path)?;
            self.path.parent().map_or(Ok(()), |dir| self.env.fs.sync_dir(dir))
        };
        done().map_err(|e| Error::from(e).at(self.path.display()))?;
        Ok(SegmentMeta { id: self.id, definitions: self.definitions, bytes: self.offset })
    }
}

/// An open segment whose section heads have been checked.
struct Reader {
    file: Arc<dyn File>,
    next_sequence: u64,
    next_table: u32,
    sections: Vec<Section>,
}

#[derive(Clone, Copy)]
struct Section {
    kind: Kind,
    count: u32,
    offset: u64,
    len: u64,
    crc: u32,
}

impl Reader {
    /// Errors here and below do not name the file.
    fn open(env: &Env, path: &Path) -> Result<Self> {
        let file = env.fs.open(path)?;
        let len = file.len()?;
        let mut header = [0; HEADER_BYTES];
        if len < HEADER_BYTES as u64 {
            return Err(Error::corrupt(format!("{len} bytes are too few for a registry segment")));
        }
        file.read_exact_at(&mut header, 0)?;
        if header[..8] != MAGIC {
            return Err(Error::corrupt("not a registry segment"));
        }
        if crc32c::crc32c(&header[..36]) != le32(&header[36..]) {
            return Err(Error::corrupt("the header fails its checksum"));
        }
        let version = u16::from_le_bytes([header[8], header[9]]);
        if version != VERSION {
            return Err(Error::corrupt(format!("format version {version} is not known, only {VERSION}")));
        }
        let mut reader =
            Self { file, next_sequence: le64(&header[16..]), next_table: le32(&header[24..]), sections: Vec::new() };
        if le64(&header[28..]) != len {
            return Err(Error::corrupt(format!("{len} bytes instead of {}", le64(&header[28..]))));
        }
        if reader.next_sequence > 1 << 32 || reader.next_table > TableId::MAX.0 + 1 {
            return Err(Error::corrupt("numbers out of range"));
        }
        let mut offset = HEADER_BYTES as u64;
        for _ in 0..le32(&header[12..]) {
            let mut head = [0; SECTION_HEAD_BYTES];
            if offset + SECTION_HEAD_BYTES as u64 > len {
                return Err(Error::corrupt("sections end too early"));
            }
            reader.file.read_exact_at(&mut head, offset)?;
            if crc32c::crc32c(&head[..20]) != le32(&head[20..]) {
                return Err(Error::corrupt(format!("the section at {offset} fails its checksum")));
            }
            let kind = Kind::ALL.into_iter().find(|&k| k as u32 == le32(&head));
            let kind = kind.ok_or_else(|| Error::corrupt(format!("the section at {offset} is of no known kind")))?;
            let size = le64(&head[8..]);
            offset += SECTION_HEAD_BYTES as u64;
            if size > SECTION_BYTES_MAX || size > len - offset {
                return Err(Error::corrupt(format!("the section at {offset} is longer than the file")));
            }
            let section = Section { kind, count: le32(&head[4..]), offset, len: size, crc: le32(&head[16..]) };
            reader.sections.push(section);
            offset += size;
        }
        if offset != len {
            return Err(Error::corrupt("bytes behind the last section"));
        }
        Ok(reader)
    }

    fn count(&self, kind: Kind) -> u64 {
        // A definition takes more than a byte: the length bounds what a damaged count could ask for.
        self.sections.iter().filter(|s| s.kind == kind).map(|s| u64::from(s.count).min(s.len)).sum()
    }

    fn payload(&self, section: Section) -> Result<Vec<u8>> {
        let mut bytes = vec![0; section.len as usize];
        self.file.read_exact_at(&mut bytes, section.offset)?;
        if crc32c::crc32c(&bytes) != section.crc {
            return Err(Error::corrupt(format!("the section at {} fails its checksum", section.offset)));
        }
        Ok(bytes)
    }

    /// Gives `take` the bytes of each definition in turn.
    fn each(&self, kind: Kind, mut take: impl FnMut(&mut &[u8]) -> Result<()>) -> Result<()> {
        for &section in self.sections.iter().filter(|s| s.kind == kind) {
            let payload = self.payload(section)?;
            let mut bytes = payload.as_slice();
            for _ in 0..section.count {
                take(&mut bytes)?;
            }
            if !bytes.is_empty() {
                return Err(Error::corrupt(format!("bytes left over in the section at {}", section.offset)));
            }
        }
        Ok(())
    }

    fn rules(&self) -> Result<Vec<RollupRule>> {
        let mut rules = Vec::new();
        self.each(Kind::Rules, |bytes| {
            rules.push(RollupRule {
                method: take(bytes, 1)?[0],
                x_files_factor: f32::from_bits(le32(take(bytes, 4)?)),
                imported_until_s: le64(take(bytes, 8)?) as i64,
            });
            Ok(())
        })?;
        Ok(rules)
    }

    fn rollups(&self) -> Result<Vec<Definition>> {
        let rules = self.rules()?;
        let mut changes = Vec::new();
        self.each(Kind::Rollups, |bytes| {
            let id = SeriesId(le64(take(bytes, 8)?));
            let rollup = rule(&rules, get(bytes)?)?.ok_or_else(|| Error::corrupt("a change to no rule"))?;
            changes.push(Definition::Rollup { id, rollup });
            Ok(())
        })?;
        Ok(changes)
    }

    fn drops(&self) -> Result<Vec<Definition>> {
        let mut changes = Vec::new();
        self.each(Kind::Drops, |bytes| {
            let kind = take(bytes, 1)?[0];
            let id = le64(take(bytes, 8)?);
            changes.push(match kind {
                0 => Definition::DropTable { id: TableId(narrow(id)?) },
                1 => Definition::DropSeries { id: SeriesId(id) },
                _ => return Err(Error::corrupt(format!("a drop of no known kind {kind}"))),
            });
            Ok(())
        })?;
        Ok(changes)
    }
}

/// Series of a segment one by one.
struct Cursor {
    reader: Reader,
    rules: Vec<RollupRule>,
    section: usize,
    payload: Vec<u8>,
    at: usize,
    left: u32,
    key: String,
    current: Option<Series>,
}

impl Cursor {
    fn new(reader: Reader) -> Result<Self> {
        let rules = reader.rules()?;
        let mut cursor =
            Self { reader, rules, section: 0, payload: Vec::new(), at: 0, left: 0, key: String::new(), current: None };
        cursor.advance()?;
        Ok(cursor)
    }

    /// Goes to the next series; `current` is `None` behind the last.
    fn advance(&mut self) -> Result<()> {
        while self.left == 0 {
            if self.at != self.payload.len() {
                return Err(Error::corrupt("bytes left over in a section of series"));
            }
            let Some(&section) = self.reader.sections.get(self.section) else {
                self.current = None;
                return Ok(());
            };
            self.section += 1;
            if section.kind == Kind::Series {
                self.payload = self.reader.payload(section)?;
                (self.at, self.left) = (0, section.count);
                self.key.clear();
            }
        }
        self.left -= 1;
        let mut bytes = &self.payload[self.at..];
        let shared = get(&mut bytes)? as usize;
        let len = get(&mut bytes)?;
        let suffix = std::str::from_utf8(take(&mut bytes, len)?);
        let suffix = suffix.map_err(|_| Error::corrupt("a key is not UTF-8"))?;
        if shared > self.key.len() || !self.key.is_char_boundary(shared) {
            return Err(Error::corrupt("a key shares more than there is"));
        }
        let id = SeriesId(le64(take(&mut bytes, 8)?));
        let rollup = rule(&self.rules, get(&mut bytes)?)?;
        self.key.truncate(shared);
        self.key.push_str(suffix);
        self.at = self.payload.len() - bytes.len();
        self.current = Some(Series { id, rollup });
        Ok(())
    }
}

fn read_table(bytes: &mut &[u8]) -> Result<Definition> {
    let id = TableId(narrow(get(bytes)?)?);
    let policy = PolicyId(narrow(get(bytes)?)?);
    let kind = match take(bytes, 1)?[0] {
        0 => KeyKind::Tagged,
        1 => KeyKind::Path,
        code => return Err(Error::corrupt(format!("no kind of keys has the code {code}"))),
    };
    Ok(Definition::Table { id, policy, name: text(bytes)?, kind })
}

fn read_field(bytes: &mut &[u8]) -> Result<Definition> {
    let table = TableId(narrow(get(bytes)?)?);
    let id = u16::try_from(get(bytes)?).map_err(|_| Error::corrupt("a field number is out of range"))?;
    let code = take(bytes, 1)?[0];
    let field_type = FieldType::from_code(code);
    let field_type = field_type.ok_or_else(|| Error::corrupt(format!("no field type has the code {code}")))?;
    Ok(Definition::Field { table, id: FieldId(id), name: text(bytes)?, field_type })
}

fn rule(rules: &[RollupRule], number: u64) -> Result<Option<RollupRule>> {
    match number {
        0 => Ok(None),
        n => match rules.get(n as usize - 1) {
            Some(rule) => Ok(Some(*rule)),
            None => Err(Error::corrupt(format!("rule {n} of {}", rules.len()))),
        },
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn get(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Error::corrupt("a number of more than ten bytes"))
}

fn take<'a>(bytes: &mut &'a [u8], len: u64) -> Result<&'a [u8]> {
    let cut = usize::try_from(len).ok().and_then(|len| bytes.split_at_checked(len));
    let (head, tail) = cut.ok_or_else(|| Error::corrupt("a section ends within a definition"))?;
    *bytes = tail;
    Ok(head)
}

fn text(bytes: &mut &[u8]) -> Result<String> {
    let len = get(bytes)?;
    let text = std::str::from_utf8(take(bytes, len)?).map_err(|_| Error::corrupt("a name is not UTF-8"))?;
    Ok(text.into())
}

fn narrow(number: u64) -> Result<u32> {
    u32::try_from(number).map_err(|_| Error::corrupt("a number is out of range"))
}

/// The slice holds at least four bytes.
fn le32(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The slice holds at least eight bytes.
fn le64(bytes: &[u8]) -> u64 {
    u64::from(le32(bytes)) | u64::from(le32(&bytes[4..])) << 32
}
