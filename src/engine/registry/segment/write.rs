//! Definitions to bytes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rhythmite_env::{Env, File};
use rhythmite_model::{Definition, Error, Result, RollupRule};

use super::{HEADER_BYTES, Kind, MAGIC, SECTION_HEAD_BYTES, SegmentMeta, Series, Small, VERSION, segment_path};
use crate::text_order::shared;

/// Bytes of a section's payload from which on the next series begins a new one.
const SECTION_BYTES: usize = 1 << 20;

/// Writes sections one after the other, and the header last.
pub(super) struct Writer {
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
    /// The rule of the series before, and its number.
    last_rule: Option<(RollupRule, u64)>,
    previous: String,
    buffer: Vec<u8>,
    buffered: u32,
}

impl Writer {
    pub(super) fn create(env: &Env, dir: &Path, id: u64) -> Result<Self> {
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
            last_rule: None,
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
    pub(super) fn series(&mut self, key: &str, series: Series) -> Result<()> {
        if self.buffer.len() >= SECTION_BYTES {
            self.end_series()?;
        }
        let mut shared = shared(key.as_bytes(), self.previous.as_bytes());
        while !key.is_char_boundary(shared) {
            shared -= 1;
        }
        let rule = self.rule(series.rollup);
        put(&mut self.buffer, shared as u64);
        put(&mut self.buffer, (key.len() - shared) as u64);
        self.buffer.extend_from_slice(&key.as_bytes()[shared..]);
        self.buffer.extend_from_slice(&series.id.0.to_le_bytes());
        put(&mut self.buffer, rule);
        self.previous.truncate(shared);
        self.previous.push_str(&key[shared..]);
        self.buffered += 1;
        self.definitions += 1;
        Ok(())
    }

    fn end_series(&mut self) -> Result<()> {
        let mut payload = std::mem::take(&mut self.buffer);
        let count = std::mem::take(&mut self.buffered);
        self.previous.clear();
        self.section(Kind::Series, count, &payload)?;
        payload.clear();
        self.buffer = payload;
        Ok(())
    }

    fn rule(&mut self, rollup: Option<RollupRule>) -> u64 {
        let Some(rule) = rollup else { return 0 };
        if let Some((last, number)) = self.last_rule
            && last == rule
        {
            return number;
        }
        let number = self.new_rule(rule);
        self.last_rule = Some((rule, number));
        number
    }

    fn new_rule(&mut self, rule: RollupRule) -> u64 {
        let next = self.rules.len() as u64 + 1;
        let bits = rule.x_files_factor.to_bits();
        *self.rules.entry((rule.method, bits, rule.imported_until_s)).or_insert_with(|| {
            self.rule_bytes.push(rule.method);
            self.rule_bytes.extend_from_slice(&bits.to_le_bytes());
            self.rule_bytes.extend_from_slice(&rule.imported_until_s.to_le_bytes());
            next
        })
    }

    pub(super) fn small(&mut self, small: &Small) -> Result<()> {
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

    pub(super) fn finish(mut self, next_sequence: u64, next_table: u32) -> Result<SegmentMeta> {
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
