//! Memtable to disk: a frozen generation becomes one file per policy and level.
//!
//! While writes come the file spans partitions and is merged into them later, with others. When nobody writes, it would
//! be merged at once, alone: then the points go straight into files of their partitions, what the merge would have made
//! of it (decision 0019).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use rhythmite_model::{Error, Policy, PolicyId, Result, TableId, Tier};

use crate::Snapshot;
use crate::commit::Change;
use crate::compaction::{Unlisted, record};
use crate::engine::Engine;
use crate::files::LiveFile;
use crate::manifest::TombstoneRecord;
use crate::output::Output;
use crate::scan::{Scan, SeriesPieces};
use crate::view::{Frozen, View};

/// Rows of a level from which on its points may go straight into partitions: fewer wait for others, see
/// [`Engine::merges_idle`].
const STRAIGHT_ROWS: usize = if cfg!(test) { 3 } else { 1 << 16 };
/// Partitions that a flush goes straight into; each takes a walk over all series. More are left to a merge in steps.
const STRAIGHT_PARTITIONS: usize = 8;

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
        // With the lock of merges, until the files are listed, a flush into partitions is a flush and its merge in one.
        let alone = if self.merges_idle() { inner.merging.try_lock() } else { None };
        let view = inner.shared.view.read().clone();
        let mut live = Unlisted::default();
        for ((policy, tier), tables) in by_level {
            // A dropped policy has no table left; its rows must not be thrown away because the engine was not told of it.
            let policy = self.policy(policy).ok_or_else(|| {
                Error::internal(format!("policy {} of a live table is not known; a restart loads it", policy.0))
            })?;
            let starts = alone.as_ref().and_then(|_| straight_into(&view, frozen, &policy, tier, &tables));
            match starts {
                None => live.files.extend(self.flush_level(frozen, &policy, tier, &tables, None)?),
                Some(starts) => {
                    for start_ns in starts {
                        live.files.extend(self.flush_level(frozen, &policy, tier, &tables, Some(start_ns))?);
                    }
                }
            }
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

    /// The file of one level, of all its points or of those in the partition that starts at `partition_ns`; `None` when
    /// no row is left to write.
    fn flush_level(
        &self,
        frozen: &Frozen,
        policy: &Arc<Policy>,
        tier: Tier,
        tables: &[TableId],
        partition_ns: Option<i64>,
    ) -> Result<Option<Arc<LiveFile>>> {
        let length = policy.partition_length_of(tier);
        let (level, times_ns) = match partition_ns {
            None => (0, i64::MIN..=i64::MAX),
            Some(start_ns) => (1, start_ns..=start_ns.saturating_add(length - 1)),
        };
        let mut output = Output::new(self, policy.clone(), tier, partition_ns, level, frozen.seq, frozen.seq);
        let parts: Vec<_> = tables.iter().map(|&table| frozen.active.generation.parts(table, tier)).collect();
        output.expect(parts.iter().flatten().map(|part| part.block.len()).sum());
        let deletes = self.inner.shared.view.read().deletes.clone();
        let mut points = SeriesPieces::room();
        for (&table, parts) in tables.iter().zip(parts) {
            let scan = Scan::new(Snapshot::all_series(table), None, times_ns.clone());
            let mut scan = scan.without(deletes.clone(), frozen.seq);
            for part in parts {
                scan.add_part(0, frozen.active.base_seq, part);
            }
            while scan.next_into(&mut points)? {
                output.push(&points)?;
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

/// Starts of the partitions that hold all points of a level, if they may be written straight into files of these: none
/// of the level's points wait to be merged, whose order would be lost, and it is worth a file in each. The caller keeps
/// merges away.
fn straight_into(
    view: &View,
    frozen: &Frozen,
    policy: &Policy,
    tier: Tier,
    tables: &[TableId],
) -> Option<BTreeSet<i64>> {
    let mut files = view.files.get(&(policy.id, tier)).into_iter().flatten();
    if files.any(|file| file.record.level == 0) {
        return None;
    }
    let length = policy.partition_length_of(tier);
    let mut starts = BTreeSet::new();
    let mut rows = 0;
    for part in tables.iter().flat_map(|&table| frozen.active.generation.parts(table, tier)) {
        rows += part.block.len();
        let mut known = 0..0;
        for &time in part.block.times_ns() {
            if known.contains(&time) {
                continue;
            }
            let start_ns = time.div_euclid(length).checked_mul(length)?;
            known = start_ns..start_ns.checked_add(length)?;
            starts.insert(start_ns);
            if starts.len() > STRAIGHT_PARTITIONS {
                return None;
            }
        }
    }
    // A merge leaves points out that come too late for their partition.
    let floor_ns = if tier == Tier::RAW && policy.has_tiers() { view.floor(policy.id) } else { i64::MIN };
    (rows >= STRAIGHT_ROWS && starts.first().is_some_and(|start| *start >= floor_ns)).then_some(starts)
}
