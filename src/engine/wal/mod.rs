//! The write-ahead log: what was acknowledged is here before it is anywhere else.
//!
//! One log for the whole server, one thread that writes it. In the order of events: [`Wal::open`] replays what was not
//! flushed; [`Wal::append`] encodes a batch in the caller's thread, gives it the next sequence number and queues it; the
//! committer writes everything that waits as one record, syncs once, applies the batches in sequence and answers;
//! [`Wal::release`] gives back the files whose batches are flushed. `docs/formats/wal.md` has the bytes.
//!
//! The log knows batches and nothing of what they mean. It never drops a batch that it has accepted, never retries a
//! failed sync, and never decides by itself that damage does not matter.
//!
//! Limits are in [`Options`]; one that is hit refuses the batch with `Overloaded` and is counted in [`WalStats`].

pub mod codec;
mod commit;
mod committer;
mod decimal;
mod record;
mod replay;
mod segment;
#[cfg(test)]
mod tests;
mod varint;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rhythmite_env::Env;
use rhythmite_model::{Batch, Error, ErrorKind, Result};

pub use commit::Commit;
pub use record::GROUP_BYTES_MAX;
pub use replay::{Damage, ReplayReport};

use committer::{Committer, Entry, Shared};
use replay::Known;
use segment::{Gauges, Segments};

/// How the log works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the files are; made if it is missing.
    pub dir: PathBuf,
    /// Size at which the next segment is begun. Cut to a quarter of `wal_bytes_max`, or nothing could be released.
    pub segment_bytes_max: u64,
    /// Bytes in unreleased segments, at most; beyond, appends are refused until a flush releases some.
    pub wal_bytes_max: u64,
    /// Memory of queued batches, at most. A larger batch is accepted when the queue is empty.
    pub queue_bytes_max: usize,
    /// How long a batch that is not synchronous may wait for the disk.
    pub interval: Duration,
    /// Give up what is damaged instead of refusing to start.
    pub salvage: bool,
    /// Whether a thread of the log's own writes it. Otherwise callers do: synchronous batches at once, the others when
    /// [`Wal::turn`] finds them due. For simulations, in which threads would make each run another one.
    pub own_thread: bool,
}

impl Options {
    /// The defaults for a log in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes_max: 64 << 20,
            wal_bytes_max: 1 << 30,
            queue_bytes_max: 64 << 20,
            interval: Duration::from_millis(100),
            salvage: false,
            own_thread: true,
        }
    }
}

/// When a write counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// When it is on disk. The committer applies it.
    Sync,
    /// When it is queued; on disk after the interval at the latest. The caller applies it.
    Interval,
    /// When it is queued; the operating system has it after the interval, the disk some time later. The caller applies
    /// it. It outlives the process, not a power cut.
    None,
}

/// Where synchronous batches go once they are on disk.
pub trait Applier: Send + Sync {
    /// Makes a batch visible. Called by the committer's thread in sequence; a slow one holds up all writers. A panic
    /// seals the log.
    fn apply(&self, seq: u64, batch: Arc<Batch>);
}

/// Figures since the start, and levels now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalStats {
    /// Batches accepted.
    pub appends: u64,
    /// Records written.
    pub groups: u64,
    /// Syncs of data.
    pub syncs: u64,
    /// Bytes written, padding included.
    pub written_bytes: u64,
    /// Batches refused because the queue was full.
    pub refused_queue_full: u64,
    /// Batches refused because the log was full.
    pub refused_wal_full: u64,
    /// Memory of queued batches.
    pub queue_bytes: u64,
    /// Bytes in segments that are not released.
    pub live_bytes: u64,
    /// Files that hold them.
    pub segments: u64,
    /// Files kept to be written over.
    pub spares: u64,
    /// Disk that the segment being written takes beyond what it holds, as it was a spare: given back when nobody writes.
    pub slack_bytes: u64,
    /// The last sequence number given out.
    pub last_seq: u64,
    /// Everything up to here is on disk.
    pub durable_seq: u64,
}

/// Reads the log in `dir` as a start would, and changes nothing. Batches behind `flushed_seq` go to `sink`; what cannot be
/// read of them is in the report's `damages`. A directory that is not there is an empty log.
///
/// # Errors
/// Those of `sink`; `Unavailable` for the disk; `Corrupt` for a log of a later version.
pub fn inspect(
    env: &Env,
    dir: &Path,
    flushed_seq: u64,
    sink: &mut dyn FnMut(u64, Batch) -> Result<()>,
) -> Result<ReplayReport> {
    if env.fs.list(dir).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Ok(ReplayReport { last_seq: flushed_seq, ..ReplayReport::default() });
    }
    let known = |salvage| Known { dir, flushed_seq, synced_seq: flushed_seq, salvage };
    // A start tells the first damage and stops there; with salvage it goes on, and does not mind a lost header.
    let refusal = match replay::replay(env, &known(false), &mut |_, _| Ok(())) {
        Ok(_) => None,
        Err(e) if e.kind() == ErrorKind::Corrupt => Some(e),
        Err(e) => return Err(e),
    };
    let mut report = replay::replay(env, &known(true), sink)?.report;
    if let (Some(refusal), true) = (refusal, report.damages.is_empty()) {
        let what = refusal.message().to_owned();
        report.damages.push(Damage { path: dir.to_owned(), offset: 0, first_seq: 0, last_seq: 0, what });
    }
    Ok(report)
}

/// Who writes what is queued.
enum Driver {
    /// A thread, until it is joined.
    Thread(Option<JoinHandle<()>>),
    /// Whoever queues something or waits for it.
    Callers(Mutex<Committer>),
}

/// The log, open for writing. Dropping it writes what is queued, as [`Wal::close`] does.
pub struct Wal {
    shared: Arc<Shared>,
    driver: Driver,
    queue_bytes_max: usize,
    wal_bytes_max: u64,
    appends: AtomicU64,
    refused_queue_full: AtomicU64,
    refused_wal_full: AtomicU64,
}

impl Wal {
    /// Replays every batch after `flushed_seq` through `replay`, in sequence, then opens the log for appending.
    ///
    /// `synced_seq` is the last sequence number that the catalogue knows to have been synced (0 if it knows none). The
    /// batches come in the caller's thread; an error from `replay` ends it.
    ///
    /// # Errors
    /// `Corrupt` if acknowledged batches cannot be read: the message names the segment and the way out. `Unavailable`
    /// if the disk fails.
    pub fn open(
        env: Env,
        options: Options,
        flushed_seq: u64,
        synced_seq: u64,
        replay: &mut dyn FnMut(u64, Batch) -> Result<()>,
        applier: Arc<dyn Applier>,
    ) -> Result<(Wal, ReplayReport)> {
        let dir = &options.dir;
        let failed = |e| Error::unavailable(format!("cannot make the log's directory {}: {e}", dir.display()));
        env.fs.create_dir_all(dir).map_err(failed)?;
        if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            env.fs.sync_dir(parent).map_err(failed)?;
        }
        let known = Known { dir, flushed_seq, synced_seq, salvage: options.salvage };
        let found = replay::replay(&env, &known, replay)?;

        let gauges = Arc::new(Gauges::default());
        let last_seq = found.report.last_seq;
        let segment_bytes_max = options.segment_bytes_max.min(options.wal_bytes_max / 4);
        let mut segments = Segments::new(
            env.clone(),
            options.dir,
            segment_bytes_max,
            found.next_number,
            found.closed,
            last_seq,
            gauges.clone(),
        );
        segments.release(flushed_seq)?;
        let shared = Arc::new(Shared::new(segments, gauges, env.clock, options.interval, last_seq));
        let committer = Committer::new(shared.clone(), applier);
        let driver = if options.own_thread {
            let thread = std::thread::Builder::new().name("wal".into()).spawn(move || committer.run());
            Driver::Thread(Some(thread.map_err(|e| Error::unavailable(format!("cannot start the log's thread: {e}")))?))
        } else {
            Driver::Callers(Mutex::new(committer))
        };
        let wal = Wal {
            shared,
            driver,
            queue_bytes_max: options.queue_bytes_max,
            wal_bytes_max: options.wal_bytes_max,
            appends: AtomicU64::new(0),
            refused_queue_full: AtomicU64::new(0),
            refused_wal_full: AtomicU64::new(0),
        };
        Ok((wal, found.report))
    }

    /// Queues a batch; it gets the next sequence number. Never blocks on the disk.
    ///
    /// # Errors
    /// `Overloaded` if the queue or the log is full, `Unavailable` if the log has failed, `Invalid` if the batch is
    /// longer than [`GROUP_BYTES_MAX`]; nothing was queued then, and no sequence number was used.
    pub fn append(&self, batch: &Arc<Batch>, durability: Durability) -> Result<(u64, Commit)> {
        if self.is_failed() {
            return Err(self.shared.failure());
        }
        let heap_bytes = codec::heap_bytes(batch);
        let too_long = || Error::invalid(format!("a batch of more than {GROUP_BYTES_MAX} bytes; send smaller ones"));
        if heap_bytes > GROUP_BYTES_MAX {
            return Err(too_long());
        }
        // Before the work of encoding, and again under the lock.
        self.check_room(self.shared.queue.lock().cost, 0, heap_bytes / 8)?;
        let mut raw = Vec::with_capacity(64 + heap_bytes / 4);
        codec::encode(batch, &mut raw)?;
        if raw.len() > GROUP_BYTES_MAX {
            return Err(too_long());
        }
        let (answer, commit) = match durability {
            Durability::Sync => {
                let (promise, commit) = commit::pair();
                (Some((batch.clone(), promise)), commit)
            }
            Durability::Interval | Durability::None => (None, Commit::done()),
        };
        let cost = raw.capacity() + if answer.is_some() { heap_bytes } else { 0 };

        let mut queue = self.shared.queue.lock();
        if let Some(failure) = &queue.failure {
            return Err(failure.clone());
        }
        self.check_room(queue.cost, queue.raw_bytes + raw.len() as u64, cost)?;
        let seq = self.shared.push(&mut queue, Entry { raw, durability, answer, cost });
        drop(queue);
        self.appends.fetch_add(1, Ordering::Relaxed);
        self.turn();
        Ok((seq, commit))
    }

    /// Writes what is due, if callers write the log ([`Options::own_thread`]).
    pub fn turn(&self) {
        if let Driver::Callers(committer) = &self.driver {
            committer.lock().run_due();
        }
    }

    fn check_room(&self, queued: usize, raw_bytes: u64, cost: usize) -> Result<()> {
        if queued > 0 && queued.saturating_add(cost) > self.queue_bytes_max {
            self.refused_queue_full.fetch_add(1, Ordering::Relaxed);
            return Err(Error::overloaded("the log's queue is full: the disk is slower than the senders"));
        }
        if self.shared.gauges.live_bytes.load(Ordering::Relaxed) + raw_bytes > self.wal_bytes_max {
            self.refused_wal_full.fetch_add(1, Ordering::Relaxed);
            return Err(Error::overloaded("the log is full: flushing is slower than the senders"));
        }
        Ok(())
    }

    /// Blocks until everything queued so far is written, synced and applied; returns the last sequence number of it.
    ///
    /// # Errors
    /// `Unavailable` if the log fails first.
    pub fn drain(&self) -> Result<u64> {
        let target = self.shared.ask_drain();
        self.turn();
        self.shared.wait_done(target)
    }

    /// Batches up to `up_to_seq` are not needed any more: segments that hold nothing else are recycled or unlinked.
    /// May wait for a sync in progress.
    ///
    /// # Errors
    /// `Unavailable` if a file cannot be removed; it is tried again next time, and nothing else is affected.
    pub fn release(&self, up_to_seq: u64) -> Result<()> {
        self.shared.segments.lock().release(up_to_seq)
    }

    /// The server is quiet: unlinks spare files, and the last segment too when all of it is released.
    ///
    /// # Errors
    /// As [`Wal::release`].
    pub fn idle(&self) -> Result<()> {
        self.shared.segments.lock().idle()
    }

    /// Whether the log is sealed: nothing can be appended until the server is restarted.
    pub fn is_failed(&self) -> bool {
        self.shared.failed.load(Ordering::SeqCst)
    }

    /// Figures for monitoring, and for deciding to flush.
    pub fn stats(&self) -> WalStats {
        let gauges = &self.shared.gauges;
        let (queue_bytes, last_seq) = {
            let queue = self.shared.queue.lock();
            (queue.cost as u64, queue.last_seq)
        };
        WalStats {
            appends: self.appends.load(Ordering::Relaxed),
            groups: self.shared.groups.load(Ordering::Relaxed),
            syncs: gauges.syncs.load(Ordering::Relaxed),
            written_bytes: gauges.written_bytes.load(Ordering::Relaxed),
            refused_queue_full: self.refused_queue_full.load(Ordering::Relaxed),
            refused_wal_full: self.refused_wal_full.load(Ordering::Relaxed),
            queue_bytes,
            live_bytes: gauges.live_bytes.load(Ordering::Relaxed),
            segments: gauges.segments.load(Ordering::Relaxed),
            spares: gauges.spares.load(Ordering::Relaxed),
            slack_bytes: gauges.slack_bytes.load(Ordering::Relaxed),
            last_seq,
            durable_seq: gauges.durable_seq.load(Ordering::Relaxed),
        }
    }

    /// Writes, syncs and applies what is queued, then ends the committer.
    ///
    /// # Errors
    /// `Unavailable` if the log has failed.
    pub fn close(mut self) -> Result<()> {
        let drained = self.drain();
        self.join();
        drained.map(|_| ())
    }

    fn join(&mut self) {
        self.shared.stop();
        match &mut self.driver {
            Driver::Thread(thread) => {
                if let Some(thread) = thread.take() {
                    // Its panic has sealed the log already, which is what a caller sees.
                    let _ = thread.join();
                }
            }
            Driver::Callers(committer) => committer.get_mut().run_due(),
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.join();
    }
}
