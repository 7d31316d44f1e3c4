//! Retention: files whose points are all past it go whole, and with them the names of series that have nothing else.
//!
//! The names go first. A crash in between leaves files that the next round removes; the other way round it would leave
//! names of which nobody knows any more that they are without a point.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rhythmite_model::{ErrorKind, Result, SeriesId, Tier, Tombstone};

use crate::commit::Change;
use crate::engine::Engine;
use crate::files::LiveFile;

/// Series of a file that are looked at together: 8 bytes each.
const SERIES_CHUNK: usize = 1 << 18;

impl Engine {
    /// Removes files whose last point is past its retention, and the series that are then without a point. No data page
    /// is read, unless deletions leave it open whether a series has a point elsewhere.
    ///
    /// # Errors
    /// `Unavailable` or `Overloaded` for the log, `Unavailable` for disk and catalogue; what was not done is done by the
    /// next call.
    pub(crate) fn expire(&self) -> Result<bool> {
        let view = self.inner.shared.view.read().clone();
        let mut dead: Vec<Arc<LiveFile>> = Vec::new();
        let (mut rolled_up, mut floors) = (Vec::new(), Vec::new());
        for ((policy, tier), files) in &*view.files {
            let Some(policy) = self.policy(*policy) else { continue };
            if *tier == Tier::RAW && policy.has_tiers() {
                if let Some((gone, floor_ns)) = self.raw_past(&view, &policy) {
                    rolled_up.extend(gone);
                    floors.push((policy.id, floor_ns));
                }
                continue;
            }
            // A roll-up that its raw points would bring back does not go before them.
            let may = |file: &&Arc<LiveFile>| {
                (tier.level() >= policy.levels.len() || !view.is_live(file))
                    && self.is_past(&policy, &file.record)
                    && !self.is_half_done(file)
            };
            dead.extend(files.iter().filter(may).cloned());
        }
        if dead.is_empty() && rolled_up.is_empty() {
            return Ok(false);
        }
        dead.iter().for_each(|file| file.leave(true));
        let series = self.drop_names_of(&dead).inspect_err(|_| dead.iter().for_each(|file| file.leave(false)))?;
        // Series keep their names with the roll-ups of these.
        dead.extend(rolled_up);
        self.commit(Change::replace(&dead, Vec::new()).with_floors(floors))?;
        let counters = &self.inner.counters;
        counters.expired_files.fetch_add(dead.len() as u64, Ordering::Relaxed);
        counters.expired_series.fetch_add(series, Ordering::Relaxed);
        tracing::info!(files = dead.len(), series, "expired files removed");
        Ok(true)
    }

    /// Drops the series that have no point but in these files; returns how many.
    fn drop_names_of(&self, dead: &[Arc<LiveFile>]) -> Result<u64> {
        let gone = dead.iter().map(|f| f.record.id.clone()).collect();
        let mut series = 0;
        for file in dead {
            match self.drop_names(file, &gone) {
                Ok(n) => series += n,
                // The space is given back all the same.
                Err(e) if e.kind() == ErrorKind::Corrupt => {
                    tracing::warn!(file = file.record.id, "series of an expired file may stay listed: {e}");
                }
                Err(e) => return Err(e),
            }
        }
        // A series may have lost its name to an attempt whose deletion never reached the disk.
        self.make_drops_durable()?;
        Ok(series)
    }

    /// Whether a file comes of a merge in steps that has not ended: its points are still in the inputs, too. Whoever took
    /// it away now would keep its series because of them, and nobody looked at those when the inputs go.
    pub(crate) fn is_half_done(&self, file: &LiveFile) -> bool {
        let record = &file.record;
        let begun = self.inner.part_merged.lock().get(&(record.policy, record.tier)).map(|part| part.seq);
        record.level > 0 && begun == Some(record.seq)
    }

    /// Drops the series of a file that have a point neither in memory nor in any file that is not among `gone`.
    fn drop_names(&self, file: &Arc<LiveFile>, gone: &HashSet<String>) -> Result<u64> {
        let reader = file.reader()?;
        let mut series: Vec<SeriesId> = Vec::new();
        let mut dropped = 0;
        let drop = |series: &mut Vec<SeriesId>| {
            let Some(table) = series.first().map(|id| id.table()) else { return Ok(0) };
            {
                let names = self.inner.registry.read();
                series.retain(|&id| names.slot(id).is_some());
            }
            self.drop_without_points(table, std::mem::take(series), Tombstone::ALL_TIMES, gone)
        };
        for entry in reader.entries() {
            let entry = entry?;
            let last = series.last();
            if last == Some(&entry.series) {
                continue;
            }
            if last.is_some_and(|last| last.table() != entry.series.table()) || series.len() >= SERIES_CHUNK {
                dropped += drop(&mut series)?;
            }
            series.push(entry.series);
        }
        Ok(dropped + drop(&mut series)?)
    }
}
