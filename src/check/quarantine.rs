//! `quarantine/<time>/`: what repair has taken out of the way, at the place it had, and why.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rhythmite_env::{Env, File};
use rhythmite_model::{Error, Result};
use serde_json::json;

/// The list of what was moved: one JSON object a line.
const LIST: &str = "moved.jsonl";

/// Made with the first file that goes there.
pub(super) struct Quarantine<'a> {
    env: &'a Env,
    data_dir: &'a Path,
    open: Option<Open>,
}

struct Open {
    dir: PathBuf,
    list: Arc<dyn File>,
    len: u64,
}

impl<'a> Quarantine<'a> {
    pub(super) fn new(env: &'a Env, data_dir: &'a Path) -> Self {
        Self { env, data_dir, open: None }
    }

    /// The directory, if anything went there.
    pub(super) fn dir(&self) -> Option<&Path> {
        self.open.as_ref().map(|open| open.dir.as_path())
    }

    /// Moves a file that lies below the data directory; one that is not there is no error. The list has it before it is
    /// moved.
    ///
    /// # Errors
    /// `Unavailable` for the disk.
    pub(super) fn take(&mut self, path: &Path, why: &str) -> Result<()> {
        let fs = &self.env.fs;
        let bytes = match fs.file_len(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::from(e).at(path.display())),
        };
        let from = path.strip_prefix(self.data_dir).unwrap_or(path);
        let data_dir = self.data_dir;
        if self.open.is_none() {
            self.open = Some(self.make()?);
        }
        let Some(open) = &mut self.open else { return Err(Error::internal("the quarantine was just made")) };
        let mut to = open.dir.join(from);
        let mut copies = 1;
        while fs.file_len(&to).is_ok() {
            // The same place twice, by a repair of a repair.
            copies += 1;
            let name = from.file_name().unwrap_or_default().to_string_lossy();
            to = open.dir.join(from).with_file_name(format!("{name}.{copies}"));
        }
        let at = to.strip_prefix(data_dir).unwrap_or(&to);
        let line = json!({"from": from, "to": at, "bytes": bytes, "why": why});
        let line = format!("{line}\n");
        let moved = || -> io::Result<u64> {
            open.list.write_all_at(line.as_bytes(), open.len)?;
            open.list.sync_data()?;
            if let Some(dir) = to.parent() {
                fs.create_dir_durably(data_dir, dir)?;
            }
            fs.rename(path, &to)?;
            for dir in [to.parent(), path.parent()].into_iter().flatten() {
                fs.sync_dir(dir)?;
            }
            Ok(open.len + line.len() as u64)
        };
        open.len = moved().map_err(|e| Error::from(e).at(path.display()))?;
        tracing::info!(file = %path.display(), to = %to.display(), why, "moved to quarantine");
        Ok(())
    }

    fn make(&self) -> Result<Open> {
        let now = Timestamp::from_second(self.env.clock.now_s()).map_err(|e| Error::internal(e.to_string()))?;
        let name = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let root = self.data_dir.join("quarantine");
        let mut dir = root.join(&name);
        let mut count = 1;
        // Two repairs within a second.
        while self.env.fs.list(&dir).is_ok() {
            count += 1;
            dir = root.join(format!("{name}-{count}"));
        }
        let failed = |e: io::Error| Error::from(e).at(dir.display());
        self.env.fs.create_dir_durably(self.data_dir, &dir).map_err(failed)?;
        let list = self.env.fs.create(&dir.join(LIST)).map_err(failed)?;
        self.env.fs.sync_dir(&dir).map_err(failed)?;
        Ok(Open { dir, list, len: 0 })
    }
}
