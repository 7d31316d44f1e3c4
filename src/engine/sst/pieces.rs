//! Pieces of the indexes of large files, those used last: a bounded number of bytes for any number of files.
//!
//! The index of a file of one piece is part of its reader and is not here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::index::Streams;
use crate::lru::Lru;

/// A cache of pieces, shared by the readers of any number of SSTs.
pub struct Pieces {
    known: Mutex<Lru<(u64, u32), Arc<Streams>>>,
    bytes_max: usize,
    next: AtomicU64,
    loads: AtomicU64,
    evictions: AtomicU64,
}

impl Pieces {
    /// A cache of at most `bytes_max` bytes; one larger piece is kept alone.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        let (next, loads, evictions) = Default::default();
        Arc::new(Self { known: Mutex::default(), bytes_max, next, loads, evictions })
    }

    /// A number for a reader, never used twice.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn get(&self, reader: u64, piece: usize) -> Option<Arc<Streams>> {
        self.known.lock().get((reader, piece as u32))
    }

    pub(super) fn put(&self, reader: u64, piece: usize, streams: &Arc<Streams>) {
        let gone = {
            let mut known = self.known.lock();
            let twin = known.insert((reader, piece as u32), streams.clone(), streams.heap_bytes());
            (twin, known.shrink(self.bytes_max))
        };
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.evictions.fetch_add(gone.1.len() as u64, Ordering::Relaxed);
    }

    /// Lets go of the pieces of a reader that is gone.
    pub(super) fn forget(&self, reader: u64, pieces: usize) {
        let mut known = self.known.lock();
        let gone: Vec<_> = (0..pieces).filter_map(|piece| known.remove((reader, piece as u32))).collect();
        drop(known);
        drop(gone);
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        self.known.lock().weight()
    }

    /// Pieces loaded since the start.
    pub fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// Pieces given up since the start.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }
}
