//! Several segments becoming one.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rhythmite_env::Env;
use rhythmite_model::{Definition, Error, Result, RollupRule, SeriesId, TableId};

use super::read::{Cursor, Reader, read_field, read_table};
use super::write::Writer;
use super::{Kind, SegmentMeta, Series, Small, segment_path};

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
