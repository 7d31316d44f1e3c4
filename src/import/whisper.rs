//! `rhythmite import whisper DIR`: a tree of whisper files, archive by archive.
//!
//! Each file is one series, named by its path (tagged ones by the name below `_tagged`). Each archive's points go to
//! the level of their own: what the file holds is what queries answer, nothing is rolled up again. The archive list
//! becomes the series' policy, method and xFilesFactor its rule; windows that end before the import are never
//! computed from finer ones.
//!
//! Order of events: walk the tree, sorted; parse a file; collect a batch; create its series, write its rows, wait until
//! the log has them; note the files in the journal. An import that was interrupted goes on where the journal ends, and
//! a repeated one reads only what has changed.
//!
//! Limits: a file of at most [`FILE_BYTES_MAX`]; memory is one file and one batch. A file that cannot be read (or a
//! damaged part of one) costs that file, and is listed in the [`Summary`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use rhythmite_engine::Engine;
use rhythmite_env::Env;
use rhythmite_model::{Level, Result, RollupRule};
use rhythmite_whisper::{Damage, Whisper, metric_name};

use super::Progress;
use super::journal::Journal;
use super::load::{Loader, Prepared, Wait};
use super::walk::{Found, Walk};
use crate::catalog::Catalog;

const SECOND_NS: i64 = 1_000_000_000;
const EXTENSION: &str = ".wsp";
/// A whisper file beyond this is not read: it would take as much memory.
pub const FILE_BYTES_MAX: u64 = 1 << 30;
/// Points later than this after the import come from a wrong clock, and are left out.
const FUTURE_S: i64 = 3_600;
/// Problems that are kept word for word; more are only counted.
pub const PROBLEMS_MAX: usize = 10_000;

/// What became of the files.
#[derive(Clone, Debug, Default, PartialEq)]
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

    fn problem(&mut self, path: impl Into<String>, why: impl Into<String>) {
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
    let now_s = env.clock.now_s();
    count(root, progress)?;
    for found in Walk::new(root, EXTENSION)? {
        let Some(found) = noted(found, root, &mut summary) else { continue };
        progress.file(&*env.clock, found.bytes);
        if let Some(file) = read(env, found, now_s, &mut summary) {
            summary.files_ok += u64::from(file.whole);
            summary.series += 1;
            summary.points += file.rows() as u64;
        }
    }
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
    let now_s = env.clock.now_s();
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let journal = Journal::open(env, data_dir, &root)?;
    count(&root, progress)?;
    let wait = Wait { clock: &*env.clock, pause: &std::thread::sleep };
    let mut loader = Loader::new(engine, catalog, journal, wait);
    for found in Walk::new(&root, EXTENSION)? {
        let Some(found) = noted(found, &root, &mut summary) else { continue };
        progress.file(&*env.clock, found.bytes);
        if loader.has(&found) {
            summary.files_skipped += 1;
        } else if let Some(file) = read(env, found, now_s, &mut summary) {
            loader.push(file)?;
        }
    }
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

fn noted(found: Result<Found, (PathBuf, String)>, root: &Path, summary: &mut Summary) -> Option<Found> {
    found.map_err(|(path, why)| summary.problem(path.strip_prefix(root).unwrap_or(&path).to_string_lossy(), why)).ok()
}

/// Reads and parses one file; what is wrong with it goes to the summary.
fn read(env: &Env, found: Found, now_s: i64, summary: &mut Summary) -> Option<Prepared> {
    let bytes = match env.fs.read(&found.path, FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(e) => {
            summary.problem(found.relative, e.to_string());
            return None;
        }
    };
    summary.bytes += bytes.len() as u64;
    match parse(found.clone(), &bytes, now_s) {
        Ok((file, None)) => Some(file),
        Ok((file, Some(damage))) => {
            summary.problem(file.found.relative.clone(), damage);
            Some(file)
        }
        Err(e) => {
            summary.problem(found.relative, e.to_string());
            None
        }
    }
}

/// A file's series and points, and what is wrong with a part of it.
fn parse(found: Found, bytes: &[u8], now_s: i64) -> Result<(Prepared, Option<String>)> {
    let name = canonical(&metric_name(&found.relative)?)?;
    let whisper = Whisper::parse(bytes)?;
    let header = whisper.header();
    let mut order: Vec<usize> = (0..header.archives.len()).collect();
    order.sort_by_key(|&i| header.archives[i].step_s);
    if order.len() > usize::from(u8::MAX) {
        return Err(rhythmite_model::Error::corrupt(format!("{} archives", order.len())));
    }
    let until_s = u32::try_from(now_s.saturating_add(FUTURE_S)).unwrap_or(u32::MAX);
    let mut damaged = Vec::new();
    let (mut levels, mut points) = (Vec::new(), Vec::new());
    for index in order {
        let archive = &header.archives[index];
        // Without a step or a length there is no level, only a hole in the list.
        if !matches!(archive.damage, None | Some(Damage::CutOff { .. } | Damage::InsideHeader)) {
            damaged.extend(archive.damage.map(|damage| format!("archive {index}: {damage}")));
            continue;
        }
        let salvage = whisper.salvage(index, until_s)?;
        damaged.extend(salvage.damage.map(|damage| format!("archive {index}: {damage}")));
        let retention_s = i64::try_from(archive.retention_s()).unwrap_or(i64::MAX);
        levels.push(Level {
            step_ns: i64::from(archive.step_s) * SECOND_NS,
            retention_ns: retention_s.saturating_mul(SECOND_NS),
        });
        // NaN is how queries see a gap.
        points.push(salvage.points.into_iter().filter(|p| !p.1.is_nan()).collect());
    }
    let rollup =
        RollupRule { method: header.method as u8, x_files_factor: header.x_files_factor, imported_until_s: now_s };
    let damage = (!damaged.is_empty()).then(|| damaged.join("; "));
    Ok((Prepared { found, name, levels, rollup, points, whole: damage.is_none() }, damage))
}

/// The name under which live points of the same series come in.
fn canonical(name: &str) -> Result<String> {
    let mut scratch = String::new();
    let canonical = rhythmite_carbon::name::canonical(name, &mut scratch);
    canonical.map(str::to_owned).map_err(|e| rhythmite_model::Error::invalid(format!("{name}: {e}")))
}
