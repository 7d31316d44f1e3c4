//! Series that move: points that were made of some series' points come instead of them, in one step.
//!
//! In the order of events: the open generation is frozen and flushed, and the next write has a number of its own, the
//! mark; everything up to it is in files. These are read, what the caller makes of them is written to files of the mark's number,
//! and one commit lists the files and a deletion with that number of everything the series had. A reader sees the points
//! before or those after, never both. What was written to the series since the mark is newer than the deletion and stays
//! where it is: whoever moves series makes sure that writers use the new ones, and moves the rest with the next step.
//! Emptied series are dropped at last.
//!
//! A crash leaves all or nothing of a step, except that emptied series may stay listed: the next step with them drops them.
//! No merge runs meanwhile; flushes do. Memory: the points of one step, by the caller's measure.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use rhythmite_model::{Error, Result, SeriesId, SeriesSet, TableId, Tier, Tombstone};

use crate::commit::Change;
use crate::compaction::Unlisted;
use crate::deletes::{DELETES_MAX, Delete, RUNS_MAX};
use crate::engine::Engine;
use crate::manifest::TombstoneId;
use crate::memtable::Generation;
use crate::output::Output;
use crate::scan::{SeriesPoints, Stream};
use crate::snapshot::Snapshot;
use crate::view::{Active, View};

/// Points to be stored.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The table of all series.
    pub table: TableId,
    /// The level: raw, or one with rows of its own. Raw points do not lie below the floor of the policy.
    pub tier: Tier,
    /// Ascending by series; nothing in it is stored for the same series at the same time.
    pub points: Vec<SeriesPoints>,
}

/// What comes instead of some series.
#[derive(Clone, Debug, Default)]
pub struct Remade {
    /// The points that come.
    pub moved: Vec<Moved>,
    /// The series whose points go, ascending; others stay as they are.
    pub series: Vec<SeriesId>,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Points stored.
    pub points: u64,
    /// Bytes of the files with them.
    pub bytes: u64,
    /// Series that were dropped.
    pub dropped: u64,
}

impl Engine {
    /// Stores what `remake` makes of some series instead of these, see the module. What it is given holds files only, and no
    /// write that is newer than the mark.
    ///
    /// # Errors
    /// Those of `remake`; `Overloaded` while too many deletions wait to be worked into files, `NoSpace` on a full disk,
    /// `Unavailable` for disk, log and catalogue. After an error of the catalogue the step may still happen.
    pub fn transfer(&self, remake: impl FnOnce(&Snapshot) -> Result<Remade>) -> Result<Transfer> {
        let inner = &*self.inner;
        self.has_space()?;
        let _one = inner.merging.lock();
        self.settle()?;
        let mark = self.flush_to_mark()?;
        let view = inner.shared.view.read().clone();
        let snapshot = Snapshot { view: view.of_files_before(mark), ..self.snapshot() };
        let Remade { moved, series } = remake(&snapshot)?;
        let mut tables: BTreeMap<TableId, Vec<SeriesId>> = BTreeMap::new();
        series.iter().for_each(|id| tables.entry(id.table()).or_default().push(*id));
        let deletes = inner.shared.view.read().deletes.clone();
        if deletes.len() + tables.len() > DELETES_MAX || deletes.runs() + series.len() > RUNS_MAX {
            return Err(Error::overloaded(format!("{} deletions wait to be worked into the files", deletes.len())));
        }
        let mut outputs = Unlisted::default();
        let mut done = Transfer::default();
        for moved in moved {
            self.write_moved(moved, mark, &mut outputs)?;
        }
        self.make_drops_durable()?;
        let since = inner.env.clock.monotonic();
        let deletes = (0..).zip(&tables).map(|(ordinal, (table, series))| {
            let (series, times_ns) = (SeriesSet::list(series.iter().copied()), Tombstone::ALL_TIMES);
            let tombstone = Tombstone { table: *table, series, fields: None, times_ns };
            Arc::new(Delete { id: TombstoneId { seq: mark, ordinal }, tombstone, since })
        });
        let deletes = deletes.collect();
        for file in &outputs.files {
            done.points += file.record.rows;
            done.bytes += file.record.bytes;
        }
        {
            let _flush = inner.flushing.lock();
            self.settle()?;
            let view = inner.shared.view.read().clone();
            // A flush that has come in between stands for the mark as well; one that failed is done now.
            for frozen in &view.frozen {
                self.flush_generation(frozen)?;
            }
            let last = (view.active.base_seq < mark).then_some(mark);
            self.commit(Change::replace(&[], outputs.keep()).with_deletes(deletes).flushed_to(last))?;
        }
        for (table, series) in tables {
            done.dropped += self.drop_without_points(table, series, Tombstone::ALL_TIMES, &HashSet::new())?;
        }
        Ok(done)
    }

    /// Flushes what was written before some number that no row has, and returns it. It is durable: no later write will
    /// ever have it.
    fn flush_to_mark(&self) -> Result<u64> {
        let inner = &*self.inner;
        let _flush = inner.flushing.lock();
        self.settle()?;
        let (frozen, mark, commit) = self.freeze_at_mark()?;
        commit.wait()?;
        for frozen in frozen {
            self.flush_generation(&frozen)?;
        }
        Ok(mark)
    }

    fn write_moved(&self, moved: Moved, mark: u64, outputs: &mut Unlisted) -> Result<()> {
        let policy = self.inner.registry.read().table(moved.table).map(|table| table.policy());
        let policy = policy.and_then(|policy| self.policy(policy));
        let policy = policy.ok_or_else(|| Error::not_found(format!("table {} is gone", moved.table.0)))?;
        let length = policy.partition_length_of(moved.tier);
        let numbers: BTreeSet<i64> = moved
            .points
            .iter()
            .flat_map(|points| &points.streams)
            .flat_map(|stream| stream.times_ns.iter().map(|time| time.div_euclid(length)))
            .collect();
        for number in numbers {
            let start_ns = number.saturating_mul(length);
            let mut output = Output::new(self, policy.clone(), moved.tier, Some(start_ns), 1, mark, mark);
            for points in &moved.points {
                let part = |stream: &Stream| {
                    let from = stream.times_ns.partition_point(|time| time.div_euclid(length) < number);
                    let to = stream.times_ns.partition_point(|time| time.div_euclid(length) <= number);
                    (from < to).then(|| {
                        let rows: Vec<u32> = (from as u32..to as u32).collect();
                        let times_ns = stream.times_ns[from..to].to_vec();
                        Stream { field: stream.field, times_ns, values: stream.values.gather(&rows) }
                    })
                };
                let streams: Vec<Stream> = points.streams.iter().filter_map(part).collect();
                if !streams.is_empty() {
                    // One that was dropped a moment ago has no points any more.
                    output.push(&SeriesPoints { series: points.series, streams }.into())?;
                }
            }
            outputs.files.extend(output.finish()?);
        }
        Ok(())
    }
}

impl View {
    /// The files with older writes only, and nothing that is in memory.
    fn of_files_before(&self, seq: u64) -> Self {
        let files = self
            .files
            .iter()
            .map(|(key, files)| (*key, files.iter().filter(|file| file.record.seq < seq).cloned().collect::<Vec<_>>()));
        let empty = Active { generation: Generation::default(), base_seq: seq, since: self.active.since };
        Self { files: Arc::new(files.collect()), frozen: Vec::new(), active: Arc::new(empty), ..self.clone() }
    }
}
