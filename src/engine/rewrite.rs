//! Working deletions into files: which files wait for it, and which deletions nobody needs any more.
//!
//! A file is written anew when an eighth of its rows is dead, or when a deletion has waited for
//! [`Options::delete_delay`](crate::Options::delete_delay): a row deleted here and there does not cost a file each time.
//! Every other merge applies deletions, too. A deletion is forgotten when every file and every generation with older
//! writes has seen it; the log has let go of it before, since it is released by generations.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rhythmite_model::{Result, SeriesId, Tombstone};

use crate::commit::Change;
use crate::compaction::Job;
use crate::deletes::{Delete, Deletes};
use crate::engine::Engine;
use crate::files::LiveFile;
use crate::manifest::TombstoneId;
use crate::sst::{SstReader, StreamEntry};
use crate::view::{Files, View};

/// A file is written anew at once when this part of its rows is dead.
const DEAD_SHARE: u64 = 8;

/// What is to be done, as of some view.
#[derive(Default)]
pub(crate) struct Rewrites {
    /// Neither keeps a file alive.
    files: Weak<Files>,
    deletes: Arc<Deletes>,
    base_seq: u64,
    frozen: usize,
    waiting: Vec<Waiting>,
    /// Deletions that everything has seen.
    done: HashSet<TombstoneId>,
}

/// A file with dead rows.
struct Waiting {
    file: String,
    dead_rows: u64,
    /// The oldest deletion it has not seen.
    since: Duration,
}

impl Rewrites {
    /// Brings the list up to date.
    fn update(&mut self, view: &View) {
        let same = std::ptr::eq(self.files.as_ptr(), Arc::as_ptr(&view.files))
            && Arc::ptr_eq(&self.deletes, &view.deletes)
            && (self.base_seq, self.frozen) == (view.active.base_seq, view.frozen.len());
        if same {
            return;
        }
        *self = Self {
            files: Arc::downgrade(&view.files),
            deletes: view.deletes.clone(),
            base_seq: view.active.base_seq,
            frozen: view.frozen.len(),
            ..Self::default()
        };
        // Newer deletions may not be durable yet.
        let deletes: Vec<_> =
            self.deletes.all().into_iter().filter(|delete| delete.id.seq <= view.active.base_seq).collect();
        self.done = deletes.iter().filter(|delete| !view.needs(delete)).map(|delete| delete.id).collect();
        for file in view.files.values().flatten() {
            let (mut dead_rows, mut since) = (0, Duration::MAX);
            for delete in &deletes {
                // A file that cannot be read is not written anew, nor is its deletion forgotten.
                let rows = file.rows_gone(delete).unwrap_or(0);
                if rows > 0 {
                    (dead_rows, since) = (dead_rows + rows, since.min(delete.since));
                }
            }
            if dead_rows > 0 {
                self.waiting.push(Waiting { file: file.record.id.clone(), dead_rows, since });
            }
        }
    }
}

impl View {
    /// Whether some file has rows that a deletion takes away, or cannot be asked.
    pub(crate) fn files_need(&self, delete: &Delete) -> bool {
        self.files.values().flatten().any(|file| file.rows_gone(delete).map_or(true, |rows| rows > 0))
    }

    /// Whether anything holds writes that are older than a deletion and may be among what it takes away.
    fn needs(&self, delete: &Delete) -> bool {
        let generations = self.frozen.iter().map(|f| &f.active).chain([&self.active]);
        generations.into_iter().any(|g| g.base_seq < delete.id.seq) || self.files_need(delete)
    }
}

impl LiveFile {
    /// Calls `f` with the streams that have rows among those a tombstone takes away, perhaps.
    ///
    /// # Errors
    /// As [`LiveFile::reader`]; those of `f`.
    pub(crate) fn each_entry_of(
        &self,
        reader: &SstReader,
        tombstone: &Tombstone,
        mut f: impl FnMut(StreamEntry) -> Result<()>,
    ) -> Result<()> {
        let times_ns = self.rows_of(&tombstone.times_ns);
        let runs = tombstone.series.runs();
        let from = runs.partition_point(|run| run.1 < self.record.min_series.0);
        let runs = runs[from..].iter().take_while(|run| run.0 <= self.record.max_series.0);
        let mut walk = reader.walk();
        for &(first, last) in runs {
            let mut next = walk.seek(SeriesId(first))?;
            while next.is_some_and(|series| series.0 <= last) {
                for entry in walk.streams()? {
                    if tombstone.has_field(self.field_of(&entry)) && entry.overlaps(&times_ns) {
                        f(entry)?;
                    }
                }
                walk.advance();
                next = walk.series()?;
            }
        }
        Ok(())
    }

    /// About how many rows a deletion takes away that the file has not seen; 0 only if it is none.
    ///
    /// # Errors
    /// As [`LiveFile::reader`].
    pub(crate) fn rows_gone(&self, delete: &Delete) -> Result<u64> {
        let (record, tombstone) = (&self.record, &delete.tombstone);
        let times_ns = self.rows_of(&tombstone.times_ns);
        let (from, to) = (*times_ns.start(), *times_ns.end());
        if delete.id.seq <= record.seen_seq() || record.max_time_ns < from || record.min_time_ns > to {
            return Ok(0);
        }
        if !tombstone.series.overlaps(record.min_series, record.max_series) {
            return Ok(0);
        }
        // Neither of the two ever changes.
        if let Some(&rows) = self.dead.lock().get(&delete.id) {
            return Ok(rows);
        }
        let reader = self.reader()?;
        let mut rows = 0;
        self.each_entry_of(&reader, tombstone, |entry| {
            rows += share(&entry, from, to);
            Ok(())
        })?;
        self.dead.lock().insert(delete.id, rows);
        Ok(rows)
    }
}

/// Rows of a stream between two times, as if they were evenly spread; at least one.
fn share(entry: &StreamEntry, from: i64, to: i64) -> u64 {
    let rows = u64::from(entry.rows);
    let whole = i128::from(entry.max_time_ns) - i128::from(entry.min_time_ns);
    let part = i128::from(entry.max_time_ns.min(to)) - i128::from(entry.min_time_ns.max(from));
    if part >= whole { rows } else { ((i128::from(rows) * part / whole) as u64).max(1) }
}

impl Engine {
    /// A merge that works deletions into a file: one that is due or, if `all`, any.
    pub(crate) fn rewrite(&self, view: &View, all: bool) -> Option<Job> {
        if view.deletes.is_empty() {
            return None;
        }
        let mut rewrites = self.inner.rewrites.lock();
        rewrites.update(view);
        let now = self.inner.env.clock.monotonic();
        rewrites.waiting.iter().find_map(|waiting| {
            let (key, file) = view
                .files
                .iter()
                .find_map(|(key, files)| Some((*key, files.iter().find(|f| f.record.id == waiting.file)?)))?;
            let due = all
                || waiting.dead_rows.saturating_mul(DEAD_SHARE) >= file.record.rows
                || now.saturating_sub(waiting.since) >= self.inner.options.delete_delay;
            let job = || match file.record.partition_ns {
                // It is rolled up again instead.
                Some(_) if view.is_live(file) => None,
                Some(_) => Some(Job::new(key.0, key.1, vec![file.clone()])),
                // Flushed files are merged oldest first.
                None => self.oldest_flushed(key, &view.files[&key], 1),
            };
            due.then(job).flatten().filter(|job| !self.waits(job) && self.fits(job))
        })
    }

    /// Forgets the deletions that every file and generation has seen. Returns whether there were any.
    pub(crate) fn forget_deletes(&self) -> Result<bool> {
        let inner = &*self.inner;
        let done = || {
            let view = inner.shared.view.read().clone();
            if view.deletes.is_empty() {
                return HashSet::new();
            }
            let mut rewrites = inner.rewrites.lock();
            rewrites.update(&view);
            rewrites.done.clone()
        };
        if done().is_empty() {
            return Ok(false);
        }
        // A flush must not list one again that is about to be forgotten.
        let _flush = inner.flushing.lock();
        self.settle()?;
        let done = done();
        self.commit(Change::forget(&done))?;
        Ok(true)
    }
}
