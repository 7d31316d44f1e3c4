//! The files of a tree, in the order of their paths.
//!
//! Directories are listed one at a time; what is held is one listing for each level of depth. Links are followed, but
//! never into a directory that the walk is in already.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rhythmite_model::{Error, Result};

/// Levels of directories below the root; a name has at most as many parts.
const DEPTH_MAX: usize = 127;

/// A file of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Below the root, separated by `/`.
    pub(super) relative: String,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) modified_ns: i64,
}

/// Walks a tree; a place that cannot be read is an item of its own, with the path and the reason, and the walk goes on.
pub(super) struct Walk {
    root: PathBuf,
    extension: &'static str,
    /// Of each open directory: which it is, and what is left of its listing, backwards.
    open: Vec<((u64, u64), Vec<PathBuf>)>,
}

impl Walk {
    /// The files below `root` whose names end in `extension`.
    ///
    /// # Errors
    /// `NotFound` or `Unavailable` if `root` cannot be listed.
    pub(super) fn new(root: &Path, extension: &'static str) -> Result<Self> {
        let mut walk = Self { root: root.to_owned(), extension, open: Vec::new() };
        let kind = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
        let failed = |e: io::Error| {
            let message = format!("{}: {e}", root.display());
            if kind(&e) { Error::not_found(message) } else { Error::unavailable(message) }
        };
        let metadata = fs::metadata(root).map_err(failed)?;
        walk.enter(root, (metadata.dev(), metadata.ino())).map_err(failed)?;
        Ok(walk)
    }

    fn enter(&mut self, dir: &Path, identity: (u64, u64)) -> io::Result<()> {
        if self.open.len() > DEPTH_MAX {
            return Err(io::Error::other(format!("deeper than {DEPTH_MAX} levels")));
        }
        if self.open.iter().any(|(open, _)| *open == identity) {
            return Err(io::Error::other("a link into a directory above it"));
        }
        let mut list = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        list.sort_unstable_by(|a, b| b.cmp(a));
        self.open.push((identity, list));
        Ok(())
    }

    fn visit(&mut self, path: &Path) -> io::Result<Option<Found>> {
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() {
            self.enter(path, (metadata.dev(), metadata.ino()))?;
            return Ok(None);
        }
        if !metadata.is_file() || !path.as_os_str().as_encoded_bytes().ends_with(self.extension.as_bytes()) {
            return Ok(None);
        }
        let below = path.strip_prefix(&self.root).unwrap_or(path);
        let relative = below.to_str().ok_or_else(|| io::Error::other("its name is not UTF-8"))?.to_owned();
        let modified_ns = metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec());
        Ok(Some(Found { relative, path: path.to_owned(), bytes: metadata.len(), modified_ns }))
    }
}

impl Iterator for Walk {
    type Item = Result<Found, (PathBuf, String)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (_, list) = self.open.last_mut()?;
            let Some(path) = list.pop() else {
                self.open.pop();
                continue;
            };
            match self.visit(&path) {
                Ok(Some(found)) => return Some(Ok(found)),
                Ok(None) => {}
                Err(e) => return Some(Err((path, e.to_string()))),
            }
        }
    }
}
