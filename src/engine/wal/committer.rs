//! The queue, and the thread that empties it: take what waits, write one record, sync once, apply, answer.
//!
//! There is no timer for synchronous writes: while one group is synced the next one gathers. A failed write or sync
//! seals the log for good, since after a failed sync nobody knows what the disk holds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rhythmite_env::Clock;
use rhythmite_model::{Batch, Error, Result};

use super::commit::Promise;
use super::record::RecordBuffer;
use super::segment::{Gauges, Segments};
use super::{Applier, Durability};

/// A group is closed when it has this many bytes before compression, or one batch that has more.
const GROUP_BYTES: usize = 2 << 20;

/// Memory that the committer keeps between groups, per buffer.
const BUFFER_BYTES_MAX: usize = 2 * GROUP_BYTES;

/// A batch that waits for the disk.
pub(super) struct Entry {
    pub(super) raw: Vec<u8>,
    pub(super) durability: Durability,
    /// For synchronous writes.
    pub(super) answer: Option<(Arc<Batch>, Promise)>,
    /// What it counts against the queue's limit.
    pub(super) cost: usize,
}

#[derive(Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// Sequence number of the last batch that was queued.
    pub(super) last_seq: u64,
    /// Up to here everything is written, synced and applied.
    done_seq: u64,
    /// A caller waits until `done_seq` is here.
    drain_seq: u64,
    /// Costs of what is queued or in the committer's hands.
    pub(super) cost: usize,
    pub(super) raw_bytes: u64,
    /// Synchronous entries in the queue.
    urgent: usize,
    /// When the queue's first entry came, on the monotonic clock.
    since: Duration,
    stop: bool,
    /// The log is sealed; why.
    pub(super) failure: Option<Error>,
}

/// What appenders and the committer share.
pub(super) struct Shared {
    pub(super) queue: Mutex<Queue>,
    work: Condvar,
    progress: Condvar,
    pub(super) segments: Mutex<Segments>,
    pub(super) failed: AtomicBool,
    pub(super) gauges: Arc<Gauges>,
    pub(super) groups: AtomicU64,
    clock: Arc<dyn Clock>,
    interval: Duration,
}

impl Shared {
    pub(super) fn new(
        segments: Segments,
        gauges: Arc<Gauges>,
        clock: Arc<dyn Clock>,
        interval: Duration,
        last_seq: u64,
    ) -> Self {
        Self {
            queue: Mutex::new(Queue { last_seq, done_seq: last_seq, ..Queue::default() }),
            work: Condvar::new(),
            progress: Condvar::new(),
            segments: Mutex::new(segments),
            failed: AtomicBool::new(false),
            gauges,
            groups: AtomicU64::new(0),
            clock,
            interval,
        }
    }

    /// Queues an entry under the lock that `queue` holds; returns its sequence number.
    pub(super) fn push(&self, queue: &mut Queue, entry: Entry) -> u64 {
        queue.last_seq += 1;
        queue.cost += entry.cost;
        queue.raw_bytes += entry.raw.len() as u64;
        if queue.entries.is_empty() {
            queue.since = self.clock.monotonic();
        }
        let urgent = entry.durability == Durability::Sync;
        // The committer sleeps without a deadline only on an empty queue, and with one until something is urgent.
        if queue.entries.is_empty() || (urgent && queue.urgent == 0) || queue.raw_bytes > GROUP_BYTES as u64 {
            self.work.notify_one();
        }
        queue.urgent += usize::from(urgent);
        queue.entries.push_back(entry);
        queue.last_seq
    }

    /// Asks for everything queued so far to be written, synced and applied; returns the last number of it.
    pub(super) fn ask_drain(&self) -> u64 {
        let mut queue = self.queue.lock();
        let target = queue.last_seq;
        queue.drain_seq = queue.drain_seq.max(target);
        self.work.notify_one();
        target
    }

    /// Blocks until everything up to `target` is written, synced and applied.
    pub(super) fn wait_done(&self, target: u64) -> Result<u64> {
        let mut queue = self.queue.lock();
        loop {
            // What is done stays done, even if the log failed later.
            if queue.done_seq >= target {
                return Ok(target);
            }
            if let Some(failure) = &queue.failure {
                return Err(failure.clone());
            }
            self.progress.wait(&mut queue);
        }
    }

    /// Lets the committer end once the queue is empty.
    pub(super) fn stop(&self) {
        self.queue.lock().stop = true;
        self.work.notify_one();
    }

    fn seal(&self, failure: Error) {
        let mut queue = self.queue.lock();
        self.failed.store(true, Ordering::SeqCst);
        queue.failure.get_or_insert(failure);
        // Their promises break outside of the lock: a waker may call us.
        let refused = std::mem::take(&mut queue.entries);
        queue.cost = 0;
        queue.raw_bytes = 0;
        queue.urgent = 0;
        drop(queue);
        for entry in refused {
            if let Some((_, promise)) = entry.answer {
                promise.keep(Err(self.failure()));
            }
        }
        self.progress.notify_all();
    }

    /// Why the log is sealed.
    pub(super) fn failure(&self) -> Error {
        let failure = self.queue.lock().failure.clone();
        failure.unwrap_or_else(|| Error::internal("the log is sealed without a reason"))
    }
}

struct Group {
    entries: Vec<Entry>,
    first_seq: u64,
    last_seq: u64,
    sync: bool,
    cost: usize,
    raw_bytes: u64,
}

/// What empties the queue.
pub(super) struct Committer {
    shared: Arc<Shared>,
    applier: Arc<dyn Applier>,
    buffer: RecordBuffer,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, applier: Arc<dyn Applier>) -> Self {
        Self { shared, applier, buffer: RecordBuffer::default() }
    }

    /// Runs until [`Shared::stop`] or a failure.
    pub(super) fn run(mut self) {
        self.work(|shared| next_group(shared, true));
    }

    /// Does what can be done without waiting.
    pub(super) fn run_due(&mut self) {
        if self.shared.failed.load(Ordering::SeqCst) {
            return;
        }
        self.work(|shared| next_group(shared, false));
    }

    fn work(&mut self, next: impl Fn(&Shared) -> Option<Group>) {
        let shared = self.shared.clone();
        let mut guard = SealOnPanic { shared: &shared, armed: true };
        while let Some(group) = next(&shared) {
            if commit(&shared, &*self.applier, group, &mut self.buffer).is_err() {
                break;
            }
            self.buffer.shrink(BUFFER_BYTES_MAX);
        }
        guard.armed = false;
    }
}

/// Takes what is to be written or synced; `None` to end or, without `wait`, when nothing is due.
fn next_group(shared: &Shared, wait: bool) -> Option<Group> {
    let mut queue = shared.queue.lock();
    loop {
        let pressed = queue.urgent > 0 || queue.drain_seq > queue.done_seq || queue.stop;
        if queue.entries.is_empty() {
            if queue.drain_seq > queue.done_seq || (queue.stop && queue.done_seq < queue.last_seq) {
                break;
            }
            if queue.stop || !wait {
                return None;
            }
            shared.work.wait(&mut queue);
            continue;
        }
        let waited = shared.clock.monotonic().saturating_sub(queue.since);
        if pressed || queue.raw_bytes > GROUP_BYTES as u64 || waited >= shared.interval {
            break;
        }
        if !wait {
            return None;
        }
        shared.work.wait_for(&mut queue, shared.interval - waited);
    }
    let first_seq = queue.last_seq - queue.entries.len() as u64 + 1;
    let mut group =
        Group { entries: Vec::new(), first_seq, last_seq: first_seq - 1, sync: false, cost: 0, raw_bytes: 0 };
    while let Some(next) = queue.entries.front() {
        let raw_bytes = next.raw.len() as u64;
        if !group.entries.is_empty() && group.raw_bytes + raw_bytes > GROUP_BYTES as u64 {
            break;
        }
        let Some(entry) = queue.entries.pop_front() else { break };
        group.raw_bytes += raw_bytes;
        group.cost += entry.cost;
        group.last_seq += 1;
        group.sync |= entry.durability != Durability::None;
        queue.urgent -= usize::from(entry.durability == Durability::Sync);
        group.entries.push(entry);
    }
    group.sync |= queue.drain_seq > queue.done_seq || queue.stop;
    Some(group)
}

/// An error has sealed the log.
fn commit(shared: &Shared, applier: &dyn Applier, group: Group, buffer: &mut RecordBuffer) -> Result<()> {
    let written = write(shared, &group, buffer);
    if let Err(e) = &written {
        // Before anybody hears of it: who is refused must not get through with the next write.
        shared.seal(e.clone());
    }
    for (seq, entry) in (group.first_seq..).zip(group.entries) {
        if let Some((batch, promise)) = entry.answer {
            match &written {
                Ok(_) => {
                    applier.apply(seq, batch);
                    promise.keep(Ok(()));
                }
                Err(e) => promise.keep(Err(e.clone())),
            }
        }
    }
    let is_durable = written?;
    let mut queue = shared.queue.lock();
    queue.cost -= group.cost;
    queue.raw_bytes -= group.raw_bytes;
    if is_durable {
        queue.done_seq = group.last_seq;
    }
    drop(queue);
    shared.progress.notify_all();
    Ok(())
}

/// Returns whether everything written so far is durable.
fn write(shared: &Shared, group: &Group, buffer: &mut RecordBuffer) -> Result<bool> {
    let mut act = || {
        if !group.entries.is_empty() {
            buffer.compress(group.entries.iter().map(|e| &e.raw[..]))?;
        }
        let mut segments = shared.segments.lock();
        if !group.entries.is_empty() {
            segments.write(buffer, group.first_seq, group.entries.len() as u32)?;
            shared.groups.fetch_add(1, Ordering::Relaxed);
        }
        if group.sync {
            segments.sync()?;
        }
        Ok(!segments.is_dirty())
    };
    act().map_err(|e: Error| {
        let what = format!("the write-ahead log failed: {e}; the server is read-only and must be restarted");
        Error::unavailable(what)
    })
}

/// A panic of the committer (the applier's, most likely) must not leave callers waiting for ever.
struct SealOnPanic<'a> {
    shared: &'a Shared,
    armed: bool,
}

impl Drop for SealOnPanic<'_> {
    fn drop(&mut self) {
        if self.armed {
            let what = "the write-ahead log's thread panicked; the server is read-only and must be restarted";
            self.shared.seal(Error::unavailable(what));
        }
    }
}
