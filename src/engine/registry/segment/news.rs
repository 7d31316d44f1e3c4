//! What a flush writes.

use std::path::Path;

use rhythmite_env::Env;
use rhythmite_model::{Definition, Result};

use super::super::directory::{Directory, Slot};
use super::super::journal::{Change, Mark};
use super::write::Writer;
use super::{SegmentMeta, Series, Small};
use crate::text_order::order;

/// Keys copied under one read lock.
const COLLECT_STEP: usize = 4096;

/// What a flush writes, copied out of the directory piece by piece.
#[derive(Default)]
pub(in super::super) struct News {
    next_sequence: u64,
    next_table: u32,
    /// Whether anything was new, though it may be gone by now.
    any: bool,
    small: Small,
    text: String,
    /// With where the key begins in the text; it ends where the next begins.
    series: Vec<(usize, Series)>,
}

impl News {
    /// Copies the next changes before `mark`; `None` when there are no more.
    ///
    /// Names that are gone by now are left out, even if their drop comes behind the mark: the log has it.
    pub(in super::super) fn collect(&mut self, directory: &Directory, mark: Mark, skip: usize) -> Option<usize> {
        self.next_sequence = directory.next_sequence;
        self.next_table = directory.tables.len() as u32;
        let mut taken = 0;
        // Most changes are series, and their keys much of a length: room is made once, after the first step.
        let waiting = directory.journal.before(mark, skip).size_hint().0;
        if skip == COLLECT_STEP && self.series.len() == skip {
            self.series.reserve_exact(waiting);
            self.text.reserve_exact((self.text.len() / skip + 1) * waiting);
        }
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
                        self.series.push((self.text.len(), Series { id, rollup: directory.rollup(slot) }));
                        self.text.push_str(directory.key(slot));
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
        self.any |= taken > 0;
        (taken > 0).then_some(taken)
    }

    /// Writes a segment even if all that was new is gone: it says which numbers were given out. The log behind the mark
    /// may speak of them (a drop, a field of a table that was dropped later), and what was before the mark is no longer in
    /// the log, so without the segment a start would refuse it or give a number out twice.
    pub(in super::super) fn write(self, env: &Env, dir: &Path, id: u64) -> Result<Option<SegmentMeta>> {
        if !self.any {
            return Ok(None);
        }
        let key = |at: usize| {
            let end = self.series.get(at + 1).map_or(self.text.len(), |next| next.0);
            &self.text[self.series[at].0..end]
        };
        let mut order = order(self.series.len(), |at| key(at).as_bytes());
        // Equal keys, of which there are few, are series of different tables.
        for same in order.chunk_by_mut(|a, b| key(*a as usize) == key(*b as usize)) {
            same.sort_unstable_by_key(|at| self.series[*at as usize].1.id);
        }
        let mut writer = Writer::create(env, dir, id)?;
        writer.small(&self.small)?;
        for at in order.into_iter().map(|at| at as usize) {
            writer.series(key(at), self.series[at].1)?;
        }
        writer.finish(self.next_sequence, self.next_table).map(Some)
    }
}
