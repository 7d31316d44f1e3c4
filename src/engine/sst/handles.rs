//! Open files, a bounded number of them: the system gives a process only so many.
//!
//! A [`Handle`] stands for a file that is read again and again; the file itself is opened at the first read and may be
//! closed at any moment between two reads. Who reads holds the file open beyond the bound for as long as the read
//! takes, so there are at most [`Handles`]' maximum plus the number of reading threads.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rhythmite_env::{File, Fs};

use crate::lru::Lru;

/// The open files of any number of SSTs.
pub struct Handles {
    fs: Arc<dyn Fs>,
    open: Mutex<Lru<u64, Arc<dyn File>>>,
    max: usize,
    next: AtomicU64,
    opened: AtomicU64,
}

impl Handles {
    /// At most `max` (at least one) are kept open.
    pub fn new(fs: Arc<dyn Fs>, max: usize) -> Arc<Self> {
        let (next, opened) = Default::default();
        Arc::new(Self { fs, open: Mutex::default(), max: max.max(1), next, opened })
    }

    /// A handle on the file at `path`, which stays there as long as the handle lives. Opens nothing.
    pub(super) fn handle(self: &Arc<Self>, path: PathBuf) -> Handle {
        Handle { handles: self.clone(), number: self.next.fetch_add(1, Ordering::Relaxed), path }
    }

    /// Files open now.
    pub fn open_files(&self) -> usize {
        self.open.lock().len()
    }

    /// How often a file was opened, first or again.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}

/// One file, open or not.
pub(super) struct Handle {
    handles: Arc<Handles>,
    number: u64,
    path: PathBuf,
}

impl Handle {
    /// The open file. Give it back (drop it) after the read.
    pub(super) fn file(&self) -> io::Result<Arc<dyn File>> {
        let handles = &*self.handles;
        if let Some(file) = handles.open.lock().get(self.number) {
            return Ok(file);
        }
        // Opened without the lock: a slow disk holds up nobody else. Two readers of one file may both open it.
        let file = handles.fs.open(&self.path)?;
        handles.opened.fetch_add(1, Ordering::Relaxed);
        let closed = {
            let mut open = handles.open.lock();
            let twin = open.insert(self.number, file.clone(), 1);
            (twin, open.shrink(handles.max))
        };
        drop(closed);
        Ok(file)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let file = self.handles.open.lock().remove(self.number);
        drop(file);
    }
}
