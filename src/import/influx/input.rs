//! A file of text, perhaps compressed: by its first bytes, not by its name.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use rhythmite_model::Result;

use super::at;

const BUFFER_BYTES: usize = 256 * 1024;

/// An open file.
pub(super) struct Input {
    path: PathBuf,
    bytes: u64,
    modified_ns: i64,
    raw: Rc<Cell<u64>>,
    text: Box<dyn Read>,
}

/// Counts what is read of the file itself.
struct Counted<R> {
    inner: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + count as u64);
        Ok(count)
    }
}

impl Input {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// `NotFound` or `Unavailable`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let raw = Rc::new(Cell::new(0));
        let counted = |inner: Box<dyn Read>| Counted { inner, bytes: raw.clone() };
        let (file, bytes, modified_ns) = if is_stdin(path) {
            (counted(Box::new(io::stdin())), 0, 0)
        } else {
            let file = File::open(path).map_err(|e| at(path, e))?;
            let facts = file.metadata().map_err(|e| at(path, e))?;
            let modified_ns = facts.mtime().saturating_mul(1_000_000_000).saturating_add(facts.mtime_nsec());
            (counted(Box::new(file)), facts.len(), modified_ns)
        };
        let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
        let start = file.fill_buf().map_err(|e| at(path, e))?;
        let text: Box<dyn Read> = match start {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(file)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                Box::new(zstd::stream::read::Decoder::with_buffer(file).map_err(|e| at(path, e))?)
            }
            _ => Box::new(file),
        };
        Ok(Self { path: path.to_owned(), bytes, modified_ns, raw, text })
    }

    /// Where it is; `None` for what cannot be read a second time.
    pub(super) fn identity(&self) -> Option<(&Path, u64, i64)> {
        (!is_stdin(&self.path)).then_some((&self.path, self.bytes, self.modified_ns))
    }

    /// Length of the file itself.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the file itself that were read so far.
    pub(super) fn raw_bytes(&self) -> u64 {
        self.raw.get()
    }

    /// Reads text; 0 is the end.
    ///
    /// # Errors
    /// `Corrupt` for damaged compression, `Unavailable` for the disk.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match self.text.read(buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(|e| at(&self.path, e)),
            }
        }
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Length of all files, as far as they can be seen.
pub(super) fn total_bytes(paths: &[PathBuf]) -> u64 {
    paths.iter().filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum()
}
