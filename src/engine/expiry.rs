//! Retention: files whose points are all past it go whole, and with them the names of series that have nothing else.
//!
//! The names go first. A crash in between leaves files that the next round removes; the other way round it would leave
//! names of which nobody knows any more that they are without a point.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rhythmite_model::{ErrorKind, Result, SeriesId, Tombstone};

use crate::commit::Change;
use crate::engine::Engine;
use crate::files::LiveFile;
use crate::manifest::FileRecord;

const SECOND_NS: i64 = 1_000_000_000;

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
        let now_s = self.inner.env.clock.now_s();
        let view = self.inner.shared.view.read().clone();
        let may_go = |f: &&Arc<LiveFile>| self.expired(&f.record, now_s) && !self.is_half_done(f);
        let dead: Vec<_> = view.files.values().flatten().filter(may_go).cloned().collect();
        if dead.is_empty() {
            return Ok(false);
        }
        let gone = dead.iter().map(|f| f.record.id.clone()).collect();
        let mut series = 0;
        for file in &dead {
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
        self.commit(Change::replace(&dead, Vec::new()))?;
        let counters = &self.inner.counters;
        counters.expired_files.fetch_add(dead.len() as u64, Ordering::Relaxed);
        counters.expired_series.fetch_add(series, Ordering::Relaxed);
        tracing::info!(files = dead.len(), series, "expired files removed");
        Ok(true)
    }

    /// Whether a file comes of a merge in steps that has not ended: its points are still in the inputs, too. Whoever took
    /// it away now would keep its series because of them, and nobody looked at those when the inputs go.
    fn is_half_done(&self, file: &LiveFile) -> bool {
        let record = &file.record;
        let begun = self.inner.part_merged.lock().get(&(record.policy, record.tier)).map(|part| part.seq);
        record.level > 0 && begun == Some(record.seq)
    }

    /// Whether a file may go, by what the policy says now.
    fn expired(&self, record: &FileRecord, now_s: i64) -> bool {
        let policy = self.policy(record.policy);
        let level = policy.as_ref().and_then(|p| p.levels.get(usize::from(record.tier.0)));
        level.filter(|level| level.retention_ns > 0).is_some_and(|level| {
            let retention_s = level.retention_ns.div_euclid(SECOND_NS).saturating_add(1);
            record.kept_from_s.saturating_add(retention_s) <= now_s
        })
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
