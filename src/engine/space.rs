//! How much of the disk is left, and when writes are turned away for it.
//!
//! Below [`Options::free_bytes_min`](crate::Options::free_bytes_min) nothing is written that grows the data: rows and new
//! names are refused with `NoSpace`. Reads, deletions, flushes (which let the log go) and expiry go on, and so do merges whose
//! inputs fit into half of what is left. Writes are taken again once an eighth more than the mark is free, so that the answer
//! does not change with every file. A merge is never begun when it would go below the mark.
//!
//! The disk is asked by those who write, not more often than every [`ASK_EVERY`]. A disk that does not answer counts as empty:
//! a write finds out by itself.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rhythmite_env::Env;
use rhythmite_model::{Error, Result};

use crate::engine::Engine;
use crate::options::Options;

/// How long an answer of the disk holds.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// What is known of the disk.
#[derive(Default)]
pub(crate) struct Space {
    /// When to ask again, in nanoseconds of the monotonic clock.
    ask_at: AtomicU64,
    free_bytes: AtomicU64,
    is_low: AtomicBool,
    refused: AtomicU64,
}

impl Space {
    /// Writes refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Engine {
    /// Bytes that may still be written, as of a moment ago; `u64::MAX` if the disk does not say.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.look_at_disk();
        self.inner.space.free_bytes.load(Ordering::Relaxed)
    }

    /// Whether writes are turned away for want of space.
    pub fn is_disk_low(&self) -> bool {
        self.look_at_disk();
        self.inner.space.is_low.load(Ordering::Relaxed)
    }

    /// # Errors
    /// `NoSpace` when the disk is nearly full; counted.
    pub(crate) fn has_space(&self) -> Result<()> {
        if !self.is_disk_low() {
            return Ok(());
        }
        self.inner.space.refused.fetch_add(1, Ordering::Relaxed);
        let (free, mark) = (self.inner.space.free_bytes.load(Ordering::Relaxed), self.options().free_bytes_min);
        Err(Error::no_space(format!(
            "the disk is nearly full: {free} bytes are free, writes are taken while {mark} are ([limits] disk_free); delete \
             data or make room"
        )))
    }

    /// Whether there is space for a merge that writes up to `bytes` before it removes what it read.
    pub(crate) fn has_space_to_merge(&self, bytes: u64) -> bool {
        let (free, mark) = (self.free_bytes(), self.options().free_bytes_min);
        bytes <= free.saturating_sub(mark).max(free / 2)
    }

    fn look_at_disk(&self) {
        let inner = &*self.inner;
        let now = u64::try_from(inner.env.clock.monotonic().as_nanos()).unwrap_or(u64::MAX);
        let ask_at = inner.space.ask_at.load(Ordering::Relaxed);
        // The first of those who find it out asks; ask_at is 0 before anybody did.
        let next = now.saturating_add(ASK_EVERY.as_nanos() as u64).max(1);
        if now < ask_at
            || inner.space.ask_at.compare_exchange(ask_at, next, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let free = free_bytes(&inner.env, &inner.options, || self.used_bytes());
        inner.space.free_bytes.store(free, Ordering::Relaxed);
        let mark = inner.options.free_bytes_min;
        let was_low = inner.space.is_low.load(Ordering::Relaxed);
        let is_low = free < if was_low { mark.saturating_add(mark / 8) } else { mark };
        if is_low != was_low {
            inner.space.is_low.store(is_low, Ordering::Relaxed);
            if is_low {
                tracing::error!(free, mark, "the disk is nearly full: writes are refused until there is space");
            } else {
                tracing::info!(free, mark, "there is space again: writes are taken");
            }
        }
    }

    /// Bytes of live files and of the log.
    fn used_bytes(&self) -> u64 {
        let files = self.inner.shared.view.read().files.clone();
        let names: u64 = self.inner.segments.lock().iter().map(|segment| segment.bytes).sum();
        let files: u64 = files.values().flatten().map(|file| file.record.bytes).sum();
        files + names + self.inner.wal.stats().live_bytes
    }
}

fn free_bytes(env: &Env, options: &Options, used: impl FnOnce() -> u64) -> u64 {
    let disk = env.fs.free_bytes(&options.data_dir).unwrap_or(u64::MAX);
    match options.data_bytes_max {
        0 => disk,
        max => disk.min(max.saturating_sub(used())),
    }
}
