//! Which definitions no segment holds yet.

use std::collections::VecDeque;

use rhythmite_model::{FieldId, SeriesId, TableId};

/// A place in the order of definitions: everything before it belongs to the flush that took the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub(super) u64);

/// One change since the last flush; the names themselves are in the directory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change {
    Table(TableId),
    Field(TableId, FieldId),
    Series(u32),
    Rollup(u32),
    DropTable(TableId),
    /// With the slot, which becomes free once the drop is flushed.
    DropSeries(u32, SeriesId),
    /// A slot that becomes free with the `DropTable` in front of it.
    Dead(u32),
}

/// Changes in order; 16 bytes each.
#[derive(Default)]
pub(super) struct Journal {
    /// Number of the first change in the queue.
    first: u64,
    changes: VecDeque<Change>,
}

impl Journal {
    pub(super) fn push(&mut self, change: Change) {
        self.changes.push_back(change);
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(self.first + self.changes.len() as u64)
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Changes before `mark`, from the `skip`-th on.
    pub(super) fn before(&self, mark: Mark, skip: usize) -> impl Iterator<Item = Change> {
        let end = (mark.0.saturating_sub(self.first) as usize).min(self.changes.len());
        self.changes.range(skip.min(end)..end).copied()
    }

    /// Forgets the changes before `mark`.
    pub(super) fn forget(&mut self, mark: Mark) -> Vec<Change> {
        let end = (mark.0.saturating_sub(self.first) as usize).min(self.changes.len());
        self.first += end as u64;
        let gone = self.changes.drain(..end).collect();
        if self.changes.is_empty() {
            self.changes = VecDeque::new();
        }
        gone
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.changes.capacity() * size_of::<Change>()
    }
}
