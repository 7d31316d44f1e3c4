//! Bytes to definitions. Nothing is believed before its checksum, and little after it.

use std::path::Path;
use std::sync::Arc;

use rhythmite_env::{Env, File};
use rhythmite_model::{
    Definition, Error, FieldId, FieldType, KeyKind, PolicyId, Result, RollupRule, SeriesId, TableId,
};

use super::{HEADER_BYTES, Kind, MAGIC, SECTION_HEAD_BYTES, Series, VERSION};

/// The largest payload a reader takes: a section of many tables or rules is not cut.
const SECTION_BYTES_MAX: u64 = 1 << 30;

/// An open segment whose section heads have been checked.
pub(super) struct Reader {
    file: Arc<dyn File>,
    pub(super) next_sequence: u64,
    pub(super) next_table: u32,
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
    pub(super) fn open(env: &Env, path: &Path) -> Result<Self> {
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

    pub(super) fn count(&self, kind: Kind) -> u64 {
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
    pub(super) fn each(&self, kind: Kind, mut take: impl FnMut(&mut &[u8]) -> Result<()>) -> Result<()> {
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

    pub(super) fn rollups(&self) -> Result<Vec<Definition>> {
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

    pub(super) fn drops(&self) -> Result<Vec<Definition>> {
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
pub(super) struct Cursor {
    reader: Reader,
    rules: Vec<RollupRule>,
    section: usize,
    payload: Vec<u8>,
    at: usize,
    left: u32,
    pub(super) key: String,
    pub(super) current: Option<Series>,
}

impl Cursor {
    pub(super) fn new(reader: Reader) -> Result<Self> {
        let rules = reader.rules()?;
        let mut cursor =
            Self { reader, rules, section: 0, payload: Vec::new(), at: 0, left: 0, key: String::new(), current: None };
        cursor.advance()?;
        Ok(cursor)
    }

    /// Goes to the next series; `current` is `None` behind the last.
    pub(super) fn advance(&mut self) -> Result<()> {
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

pub(super) fn read_table(bytes: &mut &[u8]) -> Result<Definition> {
    let id = TableId(narrow(get(bytes)?)?);
    let policy = PolicyId(narrow(get(bytes)?)?);
    let kind = match take(bytes, 1)?[0] {
        0 => KeyKind::Tagged,
        1 => KeyKind::Path,
        code => return Err(Error::corrupt(format!("no kind of keys has the code {code}"))),
    };
    Ok(Definition::Table { id, policy, name: text(bytes)?, kind })
}

pub(super) fn read_field(bytes: &mut &[u8]) -> Result<Definition> {
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
