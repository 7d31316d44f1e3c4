//! Which files have been imported: a text file in the data directory, one line a file.
//!
//! ```text
//! rhythmite import journal 1
//! <bytes> <modified_ns> <path below the root>
//! ```
//!
//! A line is written once the file's points are durable. A torn last line (the import was interrupted) is cut off, and
//! its file imported again, which changes nothing: points with the same series and time replace each other. A file
//! that has changed since (size or time) is imported again too.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rhythmite_env::{Env, File};
use rhythmite_model::{Error, Result};

use super::walk::Found;

const HEADER: &str = "rhythmite import journal 1\n";
/// Bytes of a journal: about a hundred a file.
const BYTES_MAX: u64 = 16 << 30;

pub(super) struct Journal {
    file: Arc<dyn File>,
    end: u64,
    done: Done,
}

/// What was in the journal when it was opened.
#[derive(Clone, Default)]
pub(super) struct Done(Arc<HashMap<String, (u64, i64)>>);

impl Done {
    /// Whether this very file was imported.
    pub(super) fn has(&self, file: &Found) -> bool {
        self.0.get(&file.relative) == Some(&(file.bytes, file.modified_ns))
    }
}

impl Journal {
    /// The journal of the tree at `root`, in `dir` (made if need be).
    ///
    /// # Errors
    /// `Corrupt` if the file is something else; `Unavailable` for the disk.
    pub(super) fn open(env: &Env, data_dir: &Path, root: &Path) -> Result<Self> {
        let dir = data_dir.join("import");
        env.fs.create_dir_durably(data_dir, &dir)?;
        let path = Self::path(&dir, root);
        let place = |e: std::io::Error| Error::unavailable(format!("{}: {e}", path.display()));
        let text = match env.fs.read(&path, BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(place(e)),
        };
        if text.len() < HEADER.len() && HEADER.as_bytes().starts_with(&text) {
            env.fs.write_durably(&path, HEADER.as_bytes()).map_err(place)?;
            let file = env.fs.open_write(&path).map_err(place)?;
            return Ok(Self { file, end: HEADER.len() as u64, done: Done::default() });
        }
        let bad = |why: &str| Error::corrupt(format!("{}: {why}", path.display()));
        let whole = memchr::memrchr(b'\n', &text).map_or(0, |at| at + 1);
        let lines = std::str::from_utf8(&text[..whole]).map_err(|_| bad("not text"))?;
        let lines = lines.strip_prefix(HEADER).ok_or_else(|| bad("not an import journal of this version"))?;
        let mut done = HashMap::new();
        for line in lines.lines() {
            let (relative, state) = parse(line).ok_or_else(|| bad("a malformed line"))?;
            done.insert(relative.to_owned(), state);
        }
        let file = env.fs.open_write(&path).map_err(place)?;
        file.set_len(whole as u64).map_err(place)?;
        Ok(Self { file, end: whole as u64, done: Done(Arc::new(done)) })
    }

    /// Where the journal of a tree lies: trees are told apart by their whole path.
    fn path(dir: &Path, root: &Path) -> PathBuf {
        let hash = root.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        dir.join(format!("whisper-{hash:016x}.journal"))
    }

    /// What was imported before.
    pub(super) fn done(&self) -> Done {
        self.done.clone()
    }

    /// Notes files whose points are durable. A name with a line break is not noted, and so imported again next time.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) fn add<'a>(&mut self, files: impl Iterator<Item = &'a Found>) -> Result<()> {
        let mut lines = String::new();
        for file in files.filter(|f| !f.relative.contains(['\n', '\r'])) {
            writeln!(lines, "{} {} {}", file.bytes, file.modified_ns, file.relative).expect("text takes every line");
        }
        self.file.write_all_at(lines.as_bytes(), self.end)?;
        self.file.sync_data()?;
        self.end += lines.len() as u64;
        Ok(())
    }
}

fn parse(line: &str) -> Option<(&str, (u64, i64))> {
    let (bytes, rest) = line.split_once(' ')?;
    let (modified_ns, relative) = rest.split_once(' ')?;
    Some((relative, (bytes.parse().ok()?, modified_ns.parse().ok()?)))
}
