//! Deleting points, and the names that are left without any.
//!
//! A deletion is a write: it has a number, is in the log at the caller's durability, and takes away what was written
//! before it. In the order of events: [`Engine::delete`] logs [`Tombstone`]s (one batch, so all of them or none) and puts
//! them into the view, from where every scan applies them; then series that have no point left are dropped. A flush
//! lists in the manifest what some file has not seen, compaction works it into the files ([`rewrite`](crate::rewrite)),
//! and with the last file that had not seen it a tombstone is forgotten.
//!
//! A deletion of all times and fields drops its series in the same batch; a series of the same key that comes back has
//! a new id. For the others it is asked, from the indexes of the files and the memtable, what is left. Between the
//! answer and the drop nobody writes: the gate is held for both, and a writer that found the series before is told so
//! by [`Engine::write`].

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rhythmite_model::{Batch, Column, Error, KeyKind, PolicyId, Result, SeriesId, SeriesSet, TableId, Tombstone};

use crate::commit::Change;
use crate::deletes::{DELETES_MAX, Deletes, Gone, RUNS_MAX};
use crate::engine::Engine;
use crate::files::LiveFile;
use crate::scan::{Scan, SeriesFilter};
use crate::sst::{SstReader, StreamEntry};
use crate::view::View;
use crate::wal::{Commit, Durability};

/// Series that are dropped while writers wait.
const EMPTY_CHUNK: usize = 20_000;

/// What a deletion takes from one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The table.
    pub table: TableId,
    /// Series that lose points.
    pub series: u64,
    /// Values that go. One that was written twice and is not merged yet counts twice.
    pub points: u64,
    /// About what they take on disk; nothing for those in memory.
    pub bytes: u64,
}

impl Engine {
    /// Deletes what the tombstones name, of what was written before; all of it or, when it fails, nothing. Series that
    /// have no point left are dropped, and tagged tables that have no series left. Blocks until all of that is
    /// visible, at [`Durability::Sync`] also durable. Returns how many series were dropped.
    ///
    /// # Errors
    /// `Overloaded` when too many deletions wait to be worked into the files, `Invalid` when one batch of the log does
    /// not hold them: nothing was deleted. `Unavailable` when the log has failed.
    pub fn delete(&self, mut tombstones: Vec<Tombstone>, durability: Durability) -> Result<u64> {
        let inner = &*self.inner;
        tombstones.retain(|tombstone| !tombstone.is_empty());
        if tombstones.is_empty() {
            return Ok(0);
        }
        self.check_room(&tombstones)?;
        let partial: Vec<_> = tombstones.iter().filter(|t| !t.is_whole()).cloned().collect();
        let (mut dropped, commit) = {
            let _switch = inner.gate.write();
            self.log_deletion(tombstones, durability)?
        };
        commit.wait()?;
        for tombstone in &partial {
            dropped += self.drop_emptied(tombstone)?;
        }
        Ok(dropped)
    }

    /// What [`Engine::delete`] would take away now. Reads the points of streams that lie in the ranges with a part only.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt` for files that must be read.
    pub fn weigh(&self, tombstones: &[Tombstone]) -> Result<Vec<Loss>> {
        let view = self.inner.shared.view.read().clone();
        tombstones.iter().filter(|t| !t.is_empty()).map(|tombstone| view.weigh(tombstone)).collect()
    }

    /// Removes all points and names of policies that the catalogue has forgotten. What was written to them meanwhile
    /// goes, too; from now on nothing can be.
    ///
    /// # Errors
    /// `Unavailable`: call again. The next start does the same for policies that the catalogue does not have.
    pub fn drop_policies(&self, policies: &[PolicyId]) -> Result<()> {
        let inner = &*self.inner;
        let commit = {
            let _switch = inner.gate.write();
            inner.policies.write().retain(|id, _| !policies.contains(id));
            inner.dropped_policies.lock().extend(policies);
            let mut names = inner.registry.write();
            let tables: Vec<_> = policies.iter().flat_map(|&policy| names.tables(policy).map(|t| t.id())).collect();
            tables.into_iter().for_each(|table| names.drop_table(table));
            let batch = Arc::new(Batch { definitions: names.definitions().to_vec(), ..Batch::default() });
            if batch.is_empty() {
                Commit::done()
            } else {
                let (_, commit) = inner.wal.append(&batch, Durability::Sync).inspect_err(|e| self.count_refusal(e))?;
                names.commit();
                commit
            }
        };
        commit.wait()?;
        let _one = inner.merging.lock();
        let _flush = inner.flushing.lock();
        self.settle()?;
        let view = inner.shared.view.read().clone();
        let dead: Vec<_> =
            view.files.iter().filter(|(key, _)| policies.contains(&key.0)).flat_map(|(_, f)| f.clone()).collect();
        inner.part_merged.lock().retain(|key, _| !policies.contains(&key.0));
        if dead.is_empty() { Ok(()) } else { self.commit(Change::replace(&dead, Vec::new())) }
    }

    fn check_room(&self, tombstones: &[Tombstone]) -> Result<()> {
        let deletes = self.inner.shared.view.read().deletes.clone();
        let runs: usize = tombstones.iter().map(|t| t.series.runs().len()).sum();
        if deletes.len() + tombstones.len() > DELETES_MAX || deletes.runs() + runs > RUNS_MAX {
            self.inner.counters.deletes_refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::overloaded(format!(
                "{} deletions wait to be worked into the files: try again later, and delete more with each",
                deletes.len()
            )));
        }
        Ok(())
    }

    /// Logs tombstones, together with the drops that follow from them; returns the number of series dropped. The caller
    /// holds the gate.
    fn log_deletion(&self, mut tombstones: Vec<Tombstone>, durability: Durability) -> Result<(u64, Commit)> {
        let inner = &*self.inner;
        let mut names = inner.registry.write();
        let mut dropped = 0;
        for tombstone in tombstones.iter_mut().filter(|t| t.is_whole()) {
            // Nobody has a larger number yet, and who gets one is not meant.
            tombstone.series = names.made_so_far(&tombstone.series);
            let Some((kind, all)) = names.table(tombstone.table).map(|t| (t.kind(), t.series_count())) else {
                continue;
            };
            let meant = names.series_of(tombstone.table, &tombstone.series);
            dropped += meant.len() as u64;
            // Writers of paths keep their table.
            if kind == KeyKind::Tagged && meant.len() as u64 == all {
                names.drop_table(tombstone.table);
            } else {
                names.drop_deleted(&meant);
            }
        }
        tombstones.retain(|tombstone| !tombstone.is_empty());
        let batch = Batch { definitions: names.definitions().to_vec(), tombstones, rows: Vec::new() };
        let batch = Arc::new(batch);
        if batch.is_empty() {
            return Ok((0, Commit::done()));
        }
        let (seq, commit) = inner.wal.append(&batch, durability).inspect_err(|e| self.count_refusal(e))?;
        names.commit();
        if durability != Durability::Sync {
            inner.shared.delete(seq, &batch.tombstones);
        }
        inner.counters.deletes.fetch_add(batch.tombstones.len() as u64, Ordering::Relaxed);
        Ok((dropped, commit))
    }

    /// Drops the series of a tombstone that it left without a point.
    pub(crate) fn drop_emptied(&self, tombstone: &Tombstone) -> Result<u64> {
        let candidates = self.inner.registry.read().series_of(tombstone.table, &tombstone.series);
        let dropped = self.drop_without_points(tombstone.table, candidates, Tombstone::ALL_TIMES, &HashSet::new())?;
        self.inner.counters.emptied_series.fetch_add(dropped, Ordering::Relaxed);
        Ok(dropped)
    }

    /// Drops those of `series` (ascending, of one table) that have no point within `times_ns`, unless in one of the files
    /// `but`, with the points that they have elsewhere. Returns how many. Nobody merges those files meanwhile.
    pub(crate) fn drop_without_points(
        &self,
        table: TableId,
        mut series: Vec<SeriesId>,
        times_ns: RangeInclusive<i64>,
        but: &HashSet<String>,
    ) -> Result<u64> {
        let inner = &*self.inner;
        let seen: HashSet<String> = {
            let view = inner.shared.view.read().clone();
            view.retain_without(table, &mut series, &times_ns, but)?;
            view.files.values().flatten().map(|f| f.record.id.clone()).collect()
        };
        let mut dropped = 0;
        for chunk in series.chunks(EMPTY_CHUNK) {
            inner.wal.drain()?;
            let commit = {
                let _switch = inner.gate.write();
                // What waits for the disk becomes visible.
                inner.wal.drain()?;
                let mut chunk = chunk.to_vec();
                let view = inner.shared.view.read().clone();
                view.retain_without(table, &mut chunk, &times_ns, &seen)?;
                let series = SeriesSet::list(chunk);
                let times_ns = Tombstone::ALL_TIMES;
                let (n, commit) =
                    self.log_deletion(vec![Tombstone { table, series, fields: None, times_ns }], Durability::Sync)?;
                dropped += n;
                commit
            };
            commit.wait()?;
        }
        Ok(dropped)
    }

    /// Finishes what a crash interrupted: series that the deletions found in the log left without a point are dropped.
    pub(crate) fn check_replayed(&self) -> Result<bool> {
        let Some(tombstone) = self.inner.unchecked.lock().last().cloned() else { return Ok(false) };
        self.drop_emptied(&tombstone)?;
        self.inner.unchecked.lock().pop();
        Ok(true)
    }
}

impl View {
    /// Files of every level that may hold series of a table.
    fn files_of(&self, table: TableId) -> impl Iterator<Item = &Arc<LiveFile>> {
        let ids = SeriesId::new(table, 0, 0)..=SeriesId::new(table, u8::MAX, u32::MAX);
        let all = self.files.values().flat_map(|files| files.iter().rev());
        all.filter(move |f| f.record.max_series >= *ids.start() && f.record.min_series <= *ids.end())
    }

    /// A scan of what generations hold of some series, for each level.
    fn memory(&self, table: TableId, series: &SeriesFilter, times_ns: &RangeInclusive<i64>) -> Vec<Scan> {
        let generations = || self.frozen.iter().map(|f| &f.active).chain([&self.active]);
        let mut tiers: Vec<_> =
            generations().flat_map(|g| g.generation.tables()).filter(|t| t.0 == table).map(|t| t.1).collect();
        tiers.sort_unstable();
        tiers.dedup();
        let scan = |tier| {
            let scan = Scan::new(series.clone(), None, times_ns.clone());
            let mut scan = scan.without(self.deletes.clone(), u64::MAX);
            for (rank, active) in (0..).zip(generations()) {
                for part in active.generation.parts(table, tier) {
                    scan.add_part(rank, active.base_seq, part);
                }
            }
            scan
        };
        tiers.into_iter().map(scan).collect()
    }

    /// Takes out of `series` (ascending, of one table) those that have a point within `times_ns`, in memory or in a file
    /// whose id is not among `but`.
    fn retain_without(
        &self,
        table: TableId,
        series: &mut Vec<SeriesId>,
        times_ns: &RangeInclusive<i64>,
        but: &HashSet<String>,
    ) -> Result<()> {
        if series.is_empty() {
            return Ok(());
        }
        // What a roll-up says that its raw points do not is old.
        let files = self.files_of(table).filter(|file| !self.is_live(file) && !file.is_leaving());
        for file in files.filter(|file| !but.contains(&file.record.id)) {
            if series.is_empty() {
                break;
            }
            if file.record.max_time_ns < *times_ns.start() || file.record.min_time_ns > *times_ns.end() {
                continue;
            }
            let reader = file.reader()?;
            let mut walk = reader.walk();
            let mut left = Vec::new();
            for &id in &*series {
                let mut has = false;
                if walk.seek(id)? == Some(id) {
                    for entry in walk.streams()? {
                        has = has || has_point(file, &reader, &entry, &self.deletes, times_ns)?;
                    }
                }
                if !has {
                    left.push(id);
                }
            }
            *series = left;
        }
        if series.is_empty() {
            return Ok(());
        }
        // Last, for few are left: the newest files have most of what lives.
        let list = SeriesFilter::List(series.clone().into());
        for scan in self.memory(table, &list, times_ns) {
            let found = scan.map(|points| points.map(|points| points.series)).collect::<Result<HashSet<_>>>()?;
            series.retain(|id| !found.contains(id));
        }
        Ok(())
    }

    fn weigh(&self, tombstone: &Tombstone) -> Result<Loss> {
        let table = tombstone.table;
        let times_ns = &tombstone.times_ns;
        let mut series = roaring::RoaringTreemap::new();
        let (mut points, mut bytes) = (0, 0);
        for &(first, last) in tombstone.series.runs() {
            let filter = SeriesFilter::Range(SeriesId(first)..=SeriesId(last));
            for scan in self.memory(table, &filter, times_ns) {
                for found in scan {
                    let found = found?;
                    let streams = found.streams.iter().filter(|stream| tombstone.has_field(stream.field));
                    let rows: u64 = streams.map(|stream| stream.times_ns.len() as u64).sum();
                    if rows > 0 {
                        series.insert(found.series.0);
                    }
                    points += rows;
                }
            }
        }
        // A roll-up whose raw points are there says nothing of its own.
        for file in self.files_of(table).filter(|file| !self.is_live(file)) {
            let reader = file.reader()?;
            let mut rows = 0;
            file.each_entry_of(&reader, tombstone, |entry| {
                let n = count_points(file, &reader, &entry, &self.deletes, times_ns)?;
                if n > 0 {
                    series.insert(entry.series.0);
                }
                rows += n;
                Ok(())
            })?;
            points += rows;
            bytes += (u128::from(file.record.bytes) * u128::from(rows) / u128::from(file.record.rows.max(1))) as u64;
        }
        Ok(Loss { table, series: series.len(), points, bytes })
    }
}

/// Whether a stream of a file has a point within `times_ns` that no deletion takes away.
fn has_point(
    file: &LiveFile,
    reader: &Arc<SstReader>,
    entry: &StreamEntry,
    deletes: &Deletes,
    times_ns: &RangeInclusive<i64>,
) -> Result<bool> {
    if !entry.overlaps(times_ns) {
        return Ok(false);
    }
    let gone = Gone::new(&deletes.of(entry.series, u64::MAX), file.record.seen_seq(), file.field_of(entry));
    // The ends of a stream are points.
    if [entry.min_time_ns, entry.max_time_ns].iter().any(|time| times_ns.contains(time) && !gone.has(*time)) {
        return Ok(true);
    }
    if gone.covers(entry.min_time_ns.max(*times_ns.start()), entry.max_time_ns.min(*times_ns.end())) {
        return Ok(false);
    }
    Ok(read_times(reader, entry, times_ns)?.into_iter().any(|time| !gone.has(time)))
}

/// Points of a stream of a file within `times_ns` that no deletion takes away.
fn count_points(
    file: &LiveFile,
    reader: &Arc<SstReader>,
    entry: &StreamEntry,
    deletes: &Deletes,
    times_ns: &RangeInclusive<i64>,
) -> Result<u64> {
    let gone = Gone::new(&deletes.of(entry.series, u64::MAX), file.record.seen_seq(), file.field_of(entry));
    let (first, last) = (entry.min_time_ns.max(*times_ns.start()), entry.max_time_ns.min(*times_ns.end()));
    if first == entry.min_time_ns && last == entry.max_time_ns && !gone.touches(first, last) {
        return Ok(u64::from(entry.rows));
    }
    Ok(read_times(reader, entry, times_ns)?.into_iter().filter(|&time| !gone.has(time)).count() as u64)
}

fn read_times(reader: &Arc<SstReader>, entry: &StreamEntry, times_ns: &RangeInclusive<i64>) -> Result<Vec<i64>> {
    let (mut times, mut values) = (Vec::new(), Column::new(entry.field_type()));
    reader.cursor().read(entry, times_ns.clone(), &mut times, &mut values)?;
    Ok(times)
}
