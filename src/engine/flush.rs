//! Memtable to disk: a frozen generation becomes one file per policy and level.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use rhythmite_model::{Error, PolicyId, Result, TableId, Tier};

use crate::Snapshot;
use crate::commit::Change;
use crate::compaction::{Unlisted, record};
use crate::engine::Engine;
use crate::files::LiveFile;
use crate::manifest::TombstoneRecord;
use crate::output::Output;
use crate::scan::Scan;
use crate::view::Frozen;

impl Engine {
    /// Writes everything accepted so far to files, and lets go of the log behind it.
    ///
    /// # Errors
    /// `Unavailable` for disk and catalogue: nothing is lost, the memtable and the log keep it; call again.
    pub fn flush(&self) -> Result<()> {
        let inner = &*self.inner;
        let _one = inner.flushing.lock();
        self.settle()?;
        for frozen in self.freeze()? {
            self.flush_generation(&frozen)?;
        }
        Ok(())
    }

    pub(crate) fn flush_generation(&self, frozen: &Arc<Frozen>) -> Result<()> {
        let inner = &*self.inner;
        // Names first: they were made before the rows, so the segment has all that the files refer to.
        let id = inner.segments.lock().last().map_or(0, |s| s.id) + 1;
        let segment = inner.registry.write_segment(&inner.env, &self.segment_dir(), id, frozen.mark)?;
        let segment = segment.as_ref().map(record);
        let mut by_level: HashMap<(PolicyId, Tier), Vec<TableId>> = HashMap::new();
        for (table, tier) in frozen.active.generation.tables() {
            // The rows of a dropped table end here.
            if let Some(policy) = inner.registry.read().table(table).map(|t| t.policy()) {
                by_level.entry((policy, tier)).or_default().push(table);
            }
        }
        let mut live = Unlisted::default();
        for ((policy, tier), tables) in by_level {
            live.files.extend(self.flush_level(frozen, policy, tier, &tables)?);
        }
        self.make_drops_durable()?;
        let view = inner.shared.view.read().clone();
        let deletes = view.deletes.all().into_iter().filter(|delete| {
            // The file made here has seen them; others may not have.
            delete.id.seq > frozen.active.base_seq && delete.id.seq <= frozen.seq && view.files_need(delete)
        });
        let deletes = deletes.map(|d| TombstoneRecord { id: d.id, tombstone: d.tombstone.clone() }).collect();
        self.commit(Change::flush(frozen, live.keep(), segment, deletes))?;
        inner.counters.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The file of one level; `None` when no row is left to write.
    fn flush_level(
        &self,
        frozen: &Frozen,
        policy: PolicyId,
        tier: Tier,
        tables: &[TableId],
    ) -> Result<Option<Arc<LiveFile>>> {
        // A dropped policy has no table left; its rows must not be thrown away because the engine was not told of it.
        let policy = self.policy(policy).ok_or_else(|| {
            Error::internal(format!("policy {} of a live table is not known; a restart loads it", policy.0))
        })?;
        let mut output = Output::new(self, policy, tier, None, 0, frozen.seq, frozen.seq);
        let deletes = self.inner.shared.view.read().deletes.clone();
        for &table in tables {
            let scan = Scan::new(Snapshot::all_series(table), None, i64::MIN..=i64::MAX);
            let mut scan = scan.without(deletes.clone(), frozen.seq);
            for part in frozen.active.generation.parts(table, tier) {
                scan.add_part(0, frozen.active.base_seq, part);
            }
            for points in scan {
                output.push(points?)?;
            }
        }
        output.finish()
    }

    /// Files are written without the rows of series that the registry does not have any more. Once this returns, so are
    /// they after a crash: whatever dropped a series that is gone now is in the log.
    ///
    /// # Errors
    /// `Unavailable` when the log has failed: nothing may be listed then.
    pub(crate) fn make_drops_durable(&self) -> Result<()> {
        self.inner.wal.drain().map(drop)
    }

    pub(crate) fn segment_dir(&self) -> std::path::PathBuf {
        self.inner.options.data_dir.join("names")
    }
}
