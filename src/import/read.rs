//! Whisper files read and parsed by several threads, while one takes what they have read.
//!
//! One thread walks the tree, several read and parse, the caller's takes: in any order, but one at a time. Memory: a
//! file for each reading thread and as many again on their way.

use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

use rhythmite_env::Env;
use rhythmite_model::{Error, Level, Result, RollupRule};
use rhythmite_whisper::{Damage, Whisper, metric_name};

use super::load::Prepared;
use super::walk::{Found, Walk};

const SECOND_NS: i64 = 1_000_000_000;
/// What whisper files are called.
pub(super) const EXTENSION: &str = ".wsp";
/// A whisper file beyond this is not read: it would take as much memory.
pub const FILE_BYTES_MAX: u64 = 1 << 30;
/// Points later than this after the import come from a wrong clock, and are left out.
const FUTURE_S: i64 = 3_600;
/// Threads that read, at most; a disk has no use for more.
const THREADS_MAX: usize = 16;

/// What became of one file.
pub(super) enum Read {
    /// It need not be read.
    Skipped(Found),
    /// Its series and points, and what is wrong with a part of it.
    File(Box<Prepared>, Option<String>),
    /// Nothing of it could be read; its path below the root, and why.
    Failed(String, String, u64),
}

/// How many threads read.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS_MAX)
}

/// Reads every file below `root` that `skip` does not hold, and hands each to `take`.
///
/// # Errors
/// `NotFound` or `Unavailable` if the root cannot be listed; those of `take`, which end the reading.
pub(super) fn read_all(
    env: &Env,
    root: &Path,
    skip: &(dyn Fn(&Found) -> bool + Sync),
    mut take: impl FnMut(Read) -> Result<()>,
) -> Result<()> {
    let walk = Walk::new(root, EXTENSION)?;
    let now_s = env.clock.now_s();
    let threads = threads();
    std::thread::scope(|scope| {
        let (to_readers, work) = sync_channel::<Found>(threads);
        let (to_taker, done) = sync_channel::<Read>(threads);
        let work = Mutex::new(work);
        let work = &std::sync::Arc::new(work);
        for _ in 0..threads {
            let (work, to_taker) = (work.clone(), to_taker.clone());
            scope.spawn(move || {
                while let Some(found) = next(&work) {
                    // Nobody takes any more: an error has ended it.
                    if to_taker.send(read(env, found, now_s)).is_err() {
                        return;
                    }
                }
            });
        }
        scope.spawn(move || {
            for found in walk {
                let sent = match found {
                    Ok(found) if skip(&found) => to_taker.send(Read::Skipped(found)).is_ok(),
                    Ok(found) => to_readers.send(found).is_ok(),
                    Err((path, why)) => to_taker.send(Read::Failed(below(root, &path), why, 0)).is_ok(),
                };
                if !sent {
                    return;
                }
            }
        });
        let mut result = Ok(());
        for read in &done {
            result = take(read);
            if result.is_err() {
                break;
            }
        }
        // Lets go of both ends, so that those who wait to send give up.
        drop(done);
        drop(work.lock().unwrap_or_else(PoisonError::into_inner));
        result
    })
}

fn next(work: &Mutex<Receiver<Found>>) -> Option<Found> {
    work.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

fn below(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

fn read(env: &Env, found: Found, now_s: i64) -> Read {
    let bytes = match env.fs.read(&found.path, FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(e) => return Read::Failed(found.relative, e.to_string(), 0),
    };
    match parse(found.clone(), &bytes, now_s) {
        Ok((file, damage)) => Read::File(Box::new(file), damage),
        Err(e) => Read::Failed(found.relative, e.to_string(), bytes.len() as u64),
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
        return Err(Error::corrupt(format!("{} archives", order.len())));
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
    canonical.map(str::to_owned).map_err(|e| Error::invalid(format!("{name}: {e}")))
}
