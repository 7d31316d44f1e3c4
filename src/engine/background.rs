//! The engine's own threads: one flushes and merges the memtable, one merges files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rhythmite_model::{Error, Result};

use crate::engine::Engine;
use crate::options::Options;

/// How often the threads look for work.
const TICK: Duration = Duration::from_millis(200);
/// Pause after a failed flush or merge.
const RETRY: Duration = Duration::from_secs(2);
/// The log is given back to the disk after this long without a write.
const QUIET: Duration = Duration::from_secs(5);
/// While the disk is nearly full, a log of this size is turned into files.
const LOW_FLUSH_BYTES: u64 = 64 << 10;

/// Runs flushes and merges until dropped.
pub struct Background {
    stop: Arc<Stop>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    asked: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Stop {
    /// Sleeps; returns whether to go on.
    fn pause(&self, how_long: Duration) -> bool {
        let mut guard = self.lock.lock();
        if !self.asked.load(Ordering::Acquire) {
            self.wake.wait_for(&mut guard, how_long);
        }
        !self.asked.load(Ordering::Acquire)
    }
}

impl Background {
    /// Starts the threads.
    ///
    /// # Errors
    /// `Unavailable` when a thread cannot be started.
    pub fn start(engine: &Engine) -> Result<Self> {
        let stop = Arc::new(Stop::default());
        let mut threads = Vec::new();
        for (name, work) in [("flush", flush as fn(&Engine) -> Result<bool>), ("compaction", Engine::compact_once)] {
            let (engine, stop) = (engine.clone(), stop.clone());
            let run = move || {
                let mut pause = Duration::ZERO;
                while stop.pause(pause) {
                    // A panic is our bug, but the other work must go on, and be seen to have trouble.
                    let round = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&engine)));
                    pause = match round.unwrap_or_else(|_| Err(Error::internal("it panicked"))) {
                        Ok(true) => Duration::ZERO,
                        Ok(false) => TICK,
                        Err(e) => {
                            engine.count_background_error();
                            tracing::error!("{name} failed and will be tried again: {e}");
                            RETRY
                        }
                    };
                }
            };
            threads.push(std::thread::Builder::new().name(format!("rhythmite-{name}")).spawn(run)?);
        }
        Ok(Self { stop, threads })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.asked.store(true, Ordering::Release);
        {
            let _guard = self.stop.lock.lock();
            self.stop.wake.notify_all();
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a background thread of the engine panicked");
            }
        }
    }
}

/// One round of the flushing thread: whether it did anything.
pub(crate) fn flush(engine: &Engine) -> Result<bool> {
    let merged = engine.merge_memtable();
    engine.fit_memtable();
    let options = engine.options();
    let stats = engine.stats();
    let wal = engine.wal_stats();
    // Before the pause is measured, and before the flush, which may take seconds that are part of the pause.
    let last_write = engine.last_write();
    let (quiet, age) = engine.quiet_and_age();
    let bytes = stats.memtable_bytes as usize;
    let idle = engine.flushes_idle(quiet, bytes);
    let full = bytes >= engine.memtable_limit() || wal.live_bytes > options.wal.wal_bytes_max / 2;
    let due = idle
        || full
        || (engine.has_unflushed() && age >= options.flush_age)
        // Files take less than the log, and nobody writes meanwhile.
        || (stats.disk_low && wal.live_bytes >= LOW_FLUSH_BYTES)
        || engine.oldest_unflushed_delete().is_some_and(|age| age >= Options::DELETE_FLUSH);
    if due && engine.has_unflushed() {
        engine.flush()?;
        if idle {
            engine.note_idle_flush(last_write, bytes);
        } else if full {
            engine.note_full_flush();
        }
        return Ok(true);
    }
    if quiet >= QUIET && (wal.spares > 0 || wal.slack_bytes > 0) {
        engine.release_idle_log()?;
    }
    Ok(merged)
}
