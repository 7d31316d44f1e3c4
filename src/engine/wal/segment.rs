//! The log's files: one that is written, those that still hold something unflushed, and spare ones to write over.
//!
//! A file is `<number, 20 digits>.wal`; numbers only grow. A segment's header is durable, name and all, before the first
//! record goes into it, and the segment before it is synced by then. So an unreadable header is damage, and the
//! header's `first_seq` says what the segments before must hold. A spare keeps its old name and content until it is
//! used again; until then it looks like the flushed segment that it is.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rhythmite_env::{Env, File};
use rhythmite_model::{Error, Result};

use super::record::{RecordBuffer, SECTOR_BYTES, SegmentHeader};

/// A file grows by this many bytes at a time, so that most syncs need not store a new length.
const GROWTH_BYTES: u64 = 4 << 20;

/// Disk beyond what it holds that the segment being written may keep when nobody writes. Little in tests, so that their
/// crashes meet segments that were cut.
const SLACK_MAX: u64 = if cfg!(test) { SECTOR_BYTES as u64 } else { 64 << 10 };

/// Spare files kept while the server is busy.
const SPARE_MAX: usize = 2;

/// The file of segment `number`.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.wal"))
}

/// The number in a file's name; `None` for a file that is not ours.
pub(super) fn number_of(path: &Path) -> Option<u64> {
    let digits = path.file_name()?.to_str()?.strip_suffix(".wal")?;
    if digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// A segment that is complete.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) path: PathBuf,
    pub(super) last_seq: u64,
    /// Bytes up to the end of the last record.
    pub(super) bytes: u64,
    /// Length of the file.
    pub(super) file_bytes: u64,
}

struct Active {
    file: Arc<dyn File>,
    path: PathBuf,
    epoch: u64,
    last_seq: u64,
    bytes: u64,
    file_bytes: u64,
    /// It was a spare: the disk holds all of its length, not only what was written since.
    was_spare: bool,
}

impl Active {
    /// Disk that an earlier use of the file left behind what was written since, in bytes.
    fn slack(&self) -> u64 {
        if self.was_spare { self.file_bytes.saturating_sub(self.bytes) } else { 0 }
    }

    fn close(self) -> Closed {
        Closed { path: self.path, last_seq: self.last_seq, bytes: self.bytes, file_bytes: self.file_bytes }
    }
}

/// Figures that are read without the lock.
#[derive(Default)]
pub(super) struct Gauges {
    /// Bytes in segments that hold something unreleased.
    pub(super) live_bytes: AtomicU64,
    pub(super) segments: AtomicU64,
    pub(super) spares: AtomicU64,
    /// Disk that the segment being written takes beyond what it holds.
    pub(super) slack_bytes: AtomicU64,
    /// Everything up to here is on disk.
    pub(super) durable_seq: AtomicU64,
    pub(super) written_bytes: AtomicU64,
    pub(super) syncs: AtomicU64,
}

/// The files.
pub(super) struct Segments {
    env: Env,
    dir: PathBuf,
    segment_bytes_max: u64,
    next_number: u64,
    active: Option<Active>,
    closed: VecDeque<Closed>,
    spares: VecDeque<Closed>,
    /// The last sequence number that was written.
    written_seq: u64,
    durable_seq: u64,
    released_seq: u64,
    /// The segment being written is long and mostly released: the next record begins another.
    roll_next: bool,
    gauges: Arc<Gauges>,
}

fn failed(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |e| Error::unavailable(format!("cannot {what} {}: {e}", path.display()))
}

impl Segments {
    /// The log after `closed`, with everything up to `last_seq` on disk and up to `flushed_seq` not needed any more.
    pub(super) fn new(
        env: Env,
        dir: PathBuf,
        segment_bytes_max: u64,
        next_number: u64,
        closed: Vec<Closed>,
        last_seq: u64,
        gauges: Arc<Gauges>,
    ) -> Self {
        let mut segments = Self {
            env,
            dir,
            segment_bytes_max,
            next_number,
            active: None,
            closed: closed.into(),
            spares: VecDeque::new(),
            written_seq: last_seq,
            durable_seq: last_seq,
            released_seq: 0,
            roll_next: false,
            gauges,
        };
        segments.measure();
        segments
    }

    /// Writes the record of a group. It is durable after [`Segments::sync`].
    pub(super) fn write(&mut self, record: &mut RecordBuffer, first_seq: u64, count: u32) -> Result<()> {
        let len = record.len() as u64;
        let full = |a: &Active| a.bytes > SECTOR_BYTES as u64 && a.bytes + len > self.segment_bytes_max;
        if self.roll_next || self.active.as_ref().is_none_or(full) {
            self.roll(first_seq)?;
        }
        let active = self.active.as_mut().expect("a segment was opened above");
        if active.bytes + len > active.file_bytes {
            let step = GROWTH_BYTES.min(self.segment_bytes_max).max(1);
            let file_bytes = (active.bytes + len).next_multiple_of(step);
            active.file.set_len(file_bytes).map_err(failed("grow", &active.path))?;
            active.file_bytes = file_bytes;
        }
        let bytes = record.finish(active.epoch, first_seq, count, self.durable_seq);
        active.file.write_all_at(bytes, active.bytes).map_err(failed("write", &active.path))?;
        active.bytes += len;
        active.last_seq = first_seq + u64::from(count) - 1;
        self.written_seq = active.last_seq;
        self.gauges.written_bytes.fetch_add(len, Ordering::Relaxed);
        self.measure();
        Ok(())
    }

    /// Makes everything written durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        if let Some(active) = &self.active
            && self.durable_seq < self.written_seq
        {
            active.file.sync_data().map_err(failed("sync", &active.path))?;
            self.gauges.syncs.fetch_add(1, Ordering::Relaxed);
        }
        self.durable_seq = self.written_seq;
        self.measure();
        Ok(())
    }

    /// Whether something written is not durable yet.
    pub(super) fn is_dirty(&self) -> bool {
        self.durable_seq < self.written_seq
    }

    /// Closes the segment being written and opens the next, which begins with `first_seq`.
    fn roll(&mut self, first_seq: u64) -> Result<()> {
        self.sync()?;
        self.roll_next = false;
        if let Some(active) = self.active.take() {
            self.closed.push_back(active.close());
        }
        // A file that cannot be removed is tried again later and shows in the gauges; it is no reason to stop writing.
        let _ = self.recycle();
        let fs = &self.env.fs;
        let path = path_of(&self.dir, self.next_number);
        // Not for secrecy: no other segment may have it, or recycled bytes would replay.
        let epoch = self.env.random.next_u64();
        let header = SegmentHeader { number: self.next_number, epoch, first_seq };
        self.next_number += 1;
        let (file, file_bytes, was_spare) = match self.spares.pop_front() {
            Some(spare) => {
                // The name first: a crash in between leaves a header of another number, which says "spare". The other
                // way round the old name could hold the new header.
                fs.rename(&spare.path, &path).map_err(failed("rename", &spare.path))?;
                fs.sync_dir(&self.dir).map_err(failed("sync", &self.dir))?;
                let file = fs.open_write(&path).map_err(failed("open", &path))?;
                file.write_all_at(&header.encode(), 0).map_err(failed("write", &path))?;
                file.sync_data().map_err(failed("sync", &path))?;
                (file, spare.file_bytes, true)
            }
            None => {
                let file = fs.create(&path).map_err(failed("create", &path))?;
                file.write_all_at(&header.encode(), 0).map_err(failed("write", &path))?;
                file.sync_data().map_err(failed("sync", &path))?;
                fs.sync_dir(&self.dir).map_err(failed("sync", &self.dir))?;
                (file, SECTOR_BYTES as u64, false)
            }
        };
        self.gauges.syncs.fetch_add(1, Ordering::Relaxed);
        let (last_seq, bytes) = (first_seq - 1, SECTOR_BYTES as u64);
        self.active = Some(Active { file, path, epoch, last_seq, bytes, file_bytes, was_spare });
        Ok(())
    }

    /// Segments that hold nothing after `up_to_seq` become spare, the one being written too; where that one holds a
    /// little more, what comes next goes to another, so that few late records do not keep it until it is full.
    pub(super) fn release(&mut self, up_to_seq: u64) -> Result<()> {
        self.released_seq = self.released_seq.max(up_to_seq);
        self.retire_released();
        self.roll_next = self.active.as_ref().is_some_and(|a| a.bytes > GROWTH_BYTES);
        self.recycle()
    }

    /// Makes the segment being written a spare if it holds nothing unreleased.
    fn retire_released(&mut self) {
        if let Some(active) = self.active.take_if(|a| a.last_seq <= self.released_seq) {
            self.spares.push_back(active.close());
            // What is in files needs no sync here.
            self.durable_seq = self.written_seq;
        }
    }

    fn recycle(&mut self) -> Result<()> {
        while self.closed.front().is_some_and(|s| s.last_seq <= self.released_seq)
            && let Some(segment) = self.closed.pop_front()
        {
            self.spares.push_back(segment);
        }
        // A file that one huge record has stretched is not worth keeping.
        let size_max = self.segment_bytes_max + GROWTH_BYTES;
        let result = self.unlink_spares(|kept, spare| kept < SPARE_MAX && spare.file_bytes <= size_max);
        self.measure();
        result
    }

    fn unlink_spares(&mut self, keep: impl Fn(usize, &Closed) -> bool) -> Result<()> {
        let mut kept = VecDeque::new();
        let mut result = Ok(());
        for spare in std::mem::take(&mut self.spares) {
            if keep(kept.len(), &spare) {
                kept.push_back(spare);
            } else if let Err(e) = self.env.fs.remove(&spare.path).map_err(failed("remove", &spare.path)) {
                // It stays in the list and is tried again.
                result = Err(e);
                kept.push_back(spare);
            }
        }
        self.spares = kept;
        result
    }

    /// Unlinks spare files, and the segment being written if it holds nothing unreleased; of one that holds something what
    /// an earlier use left behind that.
    pub(super) fn idle(&mut self) -> Result<()> {
        self.retire_released();
        let result = self.unlink_spares(|_, _| false).and_then(|()| self.cut_slack());
        self.measure();
        result
    }

    /// What is cut off belongs to another epoch, which no replay reads: it may come back after a crash.
    fn cut_slack(&mut self) -> Result<()> {
        if let Some(active) = self.active.as_mut().filter(|active| active.slack() > SLACK_MAX) {
            let file_bytes = active.bytes.next_multiple_of(SECTOR_BYTES as u64);
            active.file.set_len(file_bytes).map_err(failed("shorten", &active.path))?;
            (active.file_bytes, active.was_spare) = (file_bytes, false);
        }
        Ok(())
    }

    fn measure(&mut self) {
        let active = self.active.as_ref();
        let live = self.closed.iter().map(|s| s.bytes).sum::<u64>() + active.map_or(0, |a| a.bytes);
        self.gauges.live_bytes.store(live, Ordering::Relaxed);
        self.gauges.segments.store(self.closed.len() as u64 + u64::from(active.is_some()), Ordering::Relaxed);
        self.gauges.spares.store(self.spares.len() as u64, Ordering::Relaxed);
        let slack = active.map_or(0, Active::slack);
        self.gauges.slack_bytes.store(if slack > SLACK_MAX { slack } else { 0 }, Ordering::Relaxed);
        self.gauges.durable_seq.store(self.durable_seq, Ordering::Relaxed);
    }
}
