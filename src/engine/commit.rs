//! Changes of the manifest, one after the other, and what follows from each in memory.
//!
//! When the catalogue answers an error, a change may have happened or not (the answer may have been lost). So it is kept
//! with what it was to bring about, and repeated as it was before anything else is committed: a change is never given
//! up, never made anew from other files, and nothing that it names is removed meanwhile.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rhythmite_model::{PolicyId, Result, Tier};

use crate::compaction::PartMerged;
use crate::deletes::Delete;
use crate::engine::Engine;
use crate::files::LiveFile;
use crate::manifest::{Edit, SegmentRecord, TombstoneId, TombstoneRecord};
use crate::registry::segment_path;
use crate::view::{Files, Frozen, most_flushed};

/// A change of the manifest, and what readers see once it is made.
#[derive(Default)]
pub(crate) struct Change {
    edit: Edit,
    add: Vec<Arc<LiveFile>>,
    remove: Vec<Arc<LiveFile>>,
    /// The generation that the new files stand for.
    flushed: Option<Arc<Frozen>>,
    /// How far the merge of flushed files of a level has come; `None` for to the end.
    progress: Option<((PolicyId, Tier), Option<PartMerged>)>,
    /// Deletions that readers see with the new files.
    deletes: Vec<Arc<Delete>>,
}

impl Change {
    /// Files that come instead of others; either may be none.
    pub(crate) fn replace(remove: &[Arc<LiveFile>], add: Vec<Arc<LiveFile>>) -> Self {
        let edit = Edit {
            add_files: add.iter().map(|f| f.record.clone()).collect(),
            remove_files: remove.iter().map(|f| f.record.id.clone()).collect(),
            ..Edit::default()
        };
        Self { edit, add, remove: remove.to_vec(), ..Self::default() }
    }

    /// Moves policies' floors up to these moments.
    pub(crate) fn with_floors(mut self, floors: Vec<(PolicyId, i64)>) -> Self {
        self.edit.raw_floors = floors;
        self
    }

    /// Takes away what these deletions say; no write has carried them.
    pub(crate) fn with_deletes(mut self, deletes: Vec<Arc<Delete>>) -> Self {
        let record = |delete: &Arc<Delete>| TombstoneRecord { id: delete.id, tombstone: delete.tombstone.clone() };
        self.edit.add_tombstones = deletes.iter().map(record).collect();
        self.deletes = deletes;
        self
    }

    /// Every write up to this number is in files; it is larger than any before.
    pub(crate) fn flushed_to(mut self, seq: Option<u64>) -> Self {
        self.edit.flushed_seq = seq;
        self
    }

    /// Notes how far a merge has come with this.
    pub(crate) fn with_progress(self, level: (PolicyId, Tier), left: Option<PartMerged>) -> Self {
        Self { progress: Some((level, left)), ..self }
    }

    /// The files and the segment of a generation, and its deletions that other files have not seen.
    pub(crate) fn flush(
        frozen: &Arc<Frozen>,
        add: Vec<Arc<LiveFile>>,
        segment: Option<SegmentRecord>,
        deletes: Vec<TombstoneRecord>,
    ) -> Self {
        let mut change = Self::replace(&[], add);
        change.edit.add_tombstones = deletes;
        change.edit.add_segments = segment.into_iter().collect();
        change.edit.flushed_seq = Some(frozen.seq);
        change.flushed = Some(frozen.clone());
        change
    }

    /// Deletions that nobody needs any more.
    pub(crate) fn forget(deletes: &HashSet<TombstoneId>) -> Self {
        let edit = Edit { remove_tombstones: deletes.iter().copied().collect(), ..Edit::default() };
        Self { edit, ..Self::default() }
    }

    /// A segment that comes instead of others.
    pub(crate) fn segments(remove: Vec<u64>, add: SegmentRecord) -> Self {
        let edit = Edit { add_segments: vec![add], remove_segments: remove, ..Edit::default() };
        Self { edit, ..Self::default() }
    }
}

impl Engine {
    /// Repeats the change that failed last, if one did. Whoever is about to make a change from what lives does this
    /// first: what lives may be another thing afterwards.
    ///
    /// # Errors
    /// `Unavailable`: it failed again.
    pub(crate) fn settle(&self) -> Result<()> {
        self.settle_locked(&mut self.inner.unsure.lock())
    }

    fn settle_locked(&self, unsure: &mut Option<Change>) -> Result<()> {
        if let Some(change) = &*unsure {
            self.inner.manifest.commit(&change.edit)?;
            tracing::info!("a change of the catalogue that had failed is made");
        }
        if let Some(change) = unsure.take() {
            self.apply(change);
        }
        Ok(())
    }

    /// Makes a change, in the manifest and then in memory.
    ///
    /// # Errors
    /// `Unavailable`: it is not made yet (or an earlier one is not) and will be repeated by the next call of
    /// [`Engine::settle`] or of this.
    pub(crate) fn commit(&self, change: Change) -> Result<()> {
        let mut unsure = self.inner.unsure.lock();
        self.settle_locked(&mut unsure)?;
        if let Err(e) = self.inner.manifest.commit(&change.edit) {
            *unsure = Some(change);
            return Err(e);
        }
        self.apply(change);
        Ok(())
    }

    /// The change is durable: nothing here may fail.
    fn apply(&self, change: Change) {
        let inner = &*self.inner;
        let Change { edit, add, remove, flushed, progress, deletes } = change;
        {
            let mut segments = inner.segments.lock();
            segments.retain(|s| !edit.remove_segments.contains(&s.id));
            segments.extend(&edit.add_segments);
        }
        let gone: HashSet<&str> = edit.remove_files.iter().map(String::as_str).collect();
        {
            let mut view = inner.shared.view.write();
            let mut files = Files::clone(&view.files);
            if !gone.is_empty() {
                files.values_mut().for_each(|list| list.retain(|f| !gone.contains(f.record.id.as_str())));
            }
            for file in add {
                files.entry((file.record.policy, file.record.tier)).or_default().push(file);
            }
            files.retain(|_, list| !list.is_empty());
            files.values_mut().for_each(|list| list.sort_by_key(|f| f.record.seq));
            view.flushed_files = most_flushed(&files);
            view.files = Arc::new(files);
            if !edit.raw_floors.is_empty() {
                let mut floors = BTreeMap::clone(&view.floors);
                floors.extend(edit.raw_floors.iter().copied());
                view.floors = Arc::new(floors);
            }
            if !deletes.is_empty() {
                view.deletes = Arc::new(view.deletes.with(deletes));
            }
            if !edit.remove_tombstones.is_empty() {
                let gone = edit.remove_tombstones.iter().copied().collect();
                view.deletes = Arc::new(view.deletes.without(&gone));
            }
            if let Some(frozen) = &flushed {
                view.frozen.retain(|f| !Arc::ptr_eq(f, frozen));
            }
        }
        remove.iter().for_each(|f| f.doom());
        match progress {
            Some((level, Some(left))) => drop(inner.part_merged.lock().insert(level, left)),
            Some((level, None)) => drop(inner.part_merged.lock().remove(&level)),
            None => {}
        }
        for &id in &edit.remove_segments {
            // One that stays behind is an orphan, which the next start removes.
            let path = segment_path(&self.segment_dir(), id);
            if let Err(e) = inner.env.fs.remove(&path) {
                tracing::warn!("cannot remove {}: {e}", path.display());
            }
        }
        if let Some(frozen) = flushed {
            if let Err(e) = inner.registry.flushed(frozen.mark) {
                tracing::warn!("keys of dropped series stay in memory: {e}");
            }
            // What stays is released by the next flush.
            if let Err(e) = inner.wal.release(frozen.seq) {
                tracing::warn!("the log stays longer than it must: {e}");
            }
        }
    }
}
