//! What readers see of an engine: live files, generations of the memtable and deletions, replaced as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use parking_lot::RwLock;
use rhythmite_env::Clock;
use rhythmite_model::{Batch, PolicyId, Tier, Tombstone};

use crate::deletes::{Delete, Deletes};
use crate::files::LiveFile;
use crate::manifest::TombstoneId;
use crate::memtable::Generation;
use crate::registry::Mark;
use crate::wal;

/// The files of one level of one policy, oldest write first.
pub(crate) type Files = BTreeMap<(PolicyId, Tier), Vec<Arc<LiveFile>>>;

/// Flushed files of the level that has most of them.
pub(crate) fn most_flushed(files: &Files) -> usize {
    let flushed = |files: &Vec<Arc<LiveFile>>| files.iter().filter(|f| f.record.level == 0).count();
    files.values().map(flushed).max().unwrap_or(0)
}

/// What a reader sees: replaced as a whole.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) files: Arc<Files>,
    /// Flushed files of the level that has most of them.
    pub(crate) flushed_files: usize,
    /// Being flushed, oldest first.
    pub(crate) frozen: Vec<Arc<Frozen>>,
    pub(crate) active: Arc<Active>,
    /// Deletions that some file or generation has not seen yet.
    pub(crate) deletes: Arc<Deletes>,
    /// The moments below which policies have roll-ups only.
    pub(crate) floors: Arc<BTreeMap<PolicyId, i64>>,
}

/// The generation that takes writes.
pub(crate) struct Active {
    pub(crate) generation: Generation,
    /// Writes up to this number went to older generations.
    pub(crate) base_seq: u64,
    pub(crate) since: Duration,
}

/// A generation that takes no writes any more.
pub(crate) struct Frozen {
    pub(crate) active: Arc<Active>,
    /// The newest write in it.
    pub(crate) seq: u64,
    /// The newest name that its rows can refer to.
    pub(crate) mark: Mark,
}

/// What the committer thread and the handle share.
pub(crate) struct Shared {
    pub(crate) view: RwLock<View>,
    pub(crate) last_write_ns: AtomicI64,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Shared {
    /// Makes deletions visible; `seq` is the number of the write that carried them.
    pub(crate) fn delete(&self, seq: u64, tombstones: &[Tombstone]) {
        if tombstones.is_empty() {
            return;
        }
        let since = self.clock.monotonic();
        let new = (0..).zip(tombstones).map(|(ordinal, tombstone)| {
            Arc::new(Delete { id: TombstoneId { seq, ordinal }, tombstone: tombstone.clone(), since })
        });
        let mut view = self.view.write();
        view.deletes = Arc::new(view.deletes.with(new));
    }
}

impl wal::Applier for Shared {
    fn apply(&self, seq: u64, batch: Arc<Batch>) {
        self.delete(seq, &batch.tombstones);
        let active = self.view.read().active.clone();
        active.append(seq, &batch);
    }
}

impl Active {
    pub(crate) fn append(&self, seq: u64, batch: &Batch) {
        let arrival = u32::try_from(seq - self.base_seq).expect("a generation is flushed long before 2^32 writes");
        self.generation.append(batch, arrival);
    }
}
