//! `rhythmite import whisper DIR`: a tree of whisper files, archive by archive.
//!
//! Each file is one series, named by its path (tagged ones by the name below `_tagged`). Each archive's points go to
//! the level of their own: what the file holds is what queries answer, nothing is rolled up again. The archive list
//! becomes the series' policy, method and xFilesFactor its rule; windows that end before the import are never
//! computed from finer ones.
//!
//! Order of events: walk the tree; several threads read and parse files; collect a batch; create its series, write its
//! rows, wait until the log has them; note the files in the journal. An import that was interrupted goes on behind
//! what the journal has, and a repeated one reads only what has changed.
//!
//! Limits: a file of at most [`FILE_BYTES_MAX`](super::read::FILE_BYTES_MAX); memory is the points of files of
//! [`ROOM_BYTES`](super::read::ROOM_BYTES) together (or of one larger file), an archive for each thread, and one batch. A file that cannot be read (or a
//! damaged part of one) costs that file, and is listed in the [`Summary`].

use std::path::Path;
use std::time::Duration;

use rhythmite_engine::Engine;
use rhythmite_env::Env;
use rhythmite_model::Result;
use serde::Serialize;

use super::Progress;
use super::journal::Journal;
use super::load::{Loader, Wait};
use super::read::{EXTENSION, Read, read_all};
use super::walk::Walk;
use crate::catalog::Catalog;

/// Problems that are kept word for word; more are only counted.
pub const PROBLEMS_MAX: usize = 10_000;

/// What became of the files.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Imported whole.
    pub files_ok: u64,
    /// Imported before, and not changed since.
    pub files_skipped: u64,
    /// Not imported, or only in part.
    pub files_damaged: u64,
    /// Series made or added to.
    pub series: u64,
    /// Points written.
    pub points: u64,
    /// Bytes of the files read.
    pub bytes: u64,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
    /// Files that were damaged (below the root), with the reason, in the order of their paths; the first
    /// [`PROBLEMS_MAX`].
    pub problems: Vec<(String, String)>,
}

impl Summary {
    /// 0, or 2 when a file was damaged.
    pub fn exit_code(&self) -> u8 {
        if self.files_damaged == 0 { 0 } else { 2 }
    }

    pub(super) fn problem(&mut self, path: impl Into<String>, why: impl Into<String>) {
        self.files_damaged += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push((path.into(), why.into()));
        }
    }
}

/// One line of figures.
impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} files imported, {} skipped (imported before), {} damaged; {} series, {} points, {} bytes in {:.1} s",
            self.files_ok,
            self.files_skipped,
            self.files_damaged,
            self.series,
            self.points,
            self.bytes,
            self.took.as_secs_f64()
        )
    }
}

/// Reads the tree without writing anything.
///
/// # Errors
/// `NotFound` or `Unavailable` if the root cannot be listed.
pub fn dry_run(env: &Env, root: &Path, progress: &mut Progress) -> Result<Summary> {
    let mut summary = Summary::default();
    let started = env.clock.monotonic();
    count(root, progress)?;
    read_all(env, root, &|_| false, |read| {
        match read {
            Read::Skipped(_) => {}
            Read::Failed(path, why, bytes) => {
                progress.file(&*env.clock, bytes);
                summary.bytes += bytes;
                summary.problem(path, why);
            }
            Read::File(file, damage) => {
                progress.file(&*env.clock, file.found.bytes);
                summary.bytes += file.found.bytes;
                summary.files_ok += u64::from(file.whole);
                summary.series += 1;
                summary.points += file.rows() as u64;
                if let Some(damage) = damage {
                    summary.problem(file.found.relative, damage);
                }
            }
        }
        Ok(())
    })?;
    summary.problems.sort();
    progress.finish();
    summary.took = env.clock.monotonic().saturating_sub(started);
    Ok(summary)
}

/// Imports the tree at `root` into `engine`, whose background threads run and which the caller flushes and closes.
///
/// Blocks: call it outside of any runtime.
///
/// # Errors
/// `NotFound` or `Unavailable` if the root cannot be listed; `Unavailable` for the disk or the log, which may be behind
/// for minutes before that is an error; `Corrupt` if the
/// journal is something else. What was imported before the error stays, and is skipped next time.
pub fn import(
    env: &Env,
    data_dir: &Path,
    engine: &Engine,
    catalog: &Catalog,
    root: &Path,
    progress: &mut Progress,
) -> Result<Summary> {
    let mut summary = Summary::default();
    let started = env.clock.monotonic();
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let journal = Journal::open(env, data_dir, &root)?;
    count(&root, progress)?;
    let wait = Wait { clock: &*env.clock, pause: &std::thread::sleep };
    let mut loader = Loader::new(engine, catalog, journal, wait);
    let done = loader.done();
    read_all(env, &root, &|found| done.has(found), |read| {
        match read {
            Read::Skipped(found) => {
                progress.file(&*env.clock, found.bytes);
                summary.files_skipped += 1;
            }
            Read::Failed(path, why, bytes) => {
                progress.file(&*env.clock, bytes);
                summary.bytes += bytes;
                summary.problem(path, why);
            }
            Read::File(file, damage) => {
                progress.file(&*env.clock, file.found.bytes);
                summary.bytes += file.found.bytes;
                if let Some(damage) = damage {
                    summary.problem(file.found.relative.clone(), damage);
                }
                loader.push(*file)?;
            }
        }
        Ok(())
    })?;
    loader.flush()?;
    progress.finish();
    summary.series = loader.series;
    summary.points = loader.points;
    summary.files_ok = loader.files;
    for (path, why) in std::mem::take(&mut loader.refused) {
        summary.problem(path, why);
    }
    summary.problems.sort();
    summary.took = env.clock.monotonic().saturating_sub(started);
    Ok(summary)
}

/// Walks the tree once for the length of the bar: a look at each file, nothing of its bytes.
fn count(root: &Path, progress: &mut Progress) -> Result<()> {
    let (mut files, mut bytes) = (0, 0);
    for found in Walk::new(root, EXTENSION)?.flatten() {
        files += 1;
        bytes += found.bytes;
    }
    progress.start(files, bytes);
    Ok(())
}

fn seconds<S: serde::Serializer>(took: &Duration, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_f64(took.as_secs_f64())
}
