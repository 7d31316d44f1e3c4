//! Whisper files read and parsed by several threads, while one takes what they have read.
//!
//! One thread walks the tree, several read and parse, the caller's takes, one at a time and in the order of the walk: series
//! whose names are neighbours then lie side by side in files, and whoever reads many of them reads each page once. Memory:
//! the points of files of [`ROOM_BYTES`] together, or of one that is larger, and of each file that is being read one archive.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rhythmite_env::Env;
use rhythmite_model::{Error, Level, Result, RollupRule};
use rhythmite_whisper::{Damage, HEAD_BYTES, Header, metric_name};

use super::load::Prepared;
use super::walk::{Found, Walk};

const SECOND_NS: i64 = 1_000_000_000;
/// What whisper files are called.
pub(super) const EXTENSION: &str = ".wsp";
/// A whisper file beyond this is not read: its points would take as much memory.
pub const FILE_BYTES_MAX: u64 = 1 << 30;
/// Bytes of the files that are read at a time, or wait to be taken.
pub const ROOM_BYTES: u64 = if cfg!(test) { 64 << 10 } else { 256 << 20 };
/// What a small file costs while it waits.
const FILE_COST: u64 = 4 << 10;
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

/// Reads every file below `root` that `skip` does not hold, and hands each to `take` in the order of the walk; what need not
/// or cannot be read comes as it is met.
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
    let room = &Room::new();
    std::thread::scope(|scope| {
        let (to_readers, work) = sync_channel::<(u64, Found)>(threads);
        let (to_taker, done) = sync_channel::<(Read, Option<(u64, Held<'_>)>)>(threads);
        let work = Arc::new(Mutex::new(work));
        for _ in 0..threads {
            let (work, to_taker) = (work.clone(), to_taker.clone());
            scope.spawn(move || {
                while let Some((number, found, held)) = next(&work, room) {
                    // Nobody takes any more: an error has ended it.
                    if to_taker.send((read(env, found, now_s), Some((number, held)))).is_err() {
                        return;
                    }
                }
            });
        }
        scope.spawn(move || {
            let mut number = 0;
            for found in walk {
                let sent = match found {
                    Ok(found) if skip(&found) => to_taker.send((Read::Skipped(found), None)).is_ok(),
                    Ok(found) => {
                        number += 1;
                        to_readers.send((number, found)).is_ok()
                    }
                    Err((path, why)) => to_taker.send((Read::Failed(below(root, &path), why, 0), None)).is_ok(),
                };
                if !sent {
                    return;
                }
            }
        });
        // Those read before their turn.
        let (mut early, mut taken) = (BTreeMap::new(), 0);
        let mut result = Ok(());
        for (read, number) in &done {
            match number {
                Some((number, held)) => drop(early.insert(number, (read, held))),
                None => result = take(read),
            }
            while let Some((read, held)) = early.remove(&(taken + 1)).filter(|_| result.is_ok()) {
                taken += 1;
                result = take(read);
                drop(held);
            }
            if result.is_err() {
                break;
            }
        }
        // Lets go of the room that readers wait for, and of what those who wait to send wait for.
        drop((early, done));
        result
    })
}

/// The next file, and room for it: given in the order of the files, so that the one whose turn it is never waits for room that
/// those behind it have.
fn next<'r>(work: &Mutex<Receiver<(u64, Found)>>, room: &'r Room) -> Option<(u64, Found, Held<'r>)> {
    let work = work.lock().unwrap_or_else(PoisonError::into_inner);
    let (number, found) = work.recv().ok()?;
    let held = room.take(found.bytes.max(FILE_COST));
    Some((number, found, held))
}

fn below(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

fn read(env: &Env, found: Found, now_s: i64) -> Read {
    // The files behind this one wait for it.
    let read = catch_unwind(AssertUnwindSafe(|| prepare(env, found.clone(), now_s)));
    match read.unwrap_or_else(|_| Err(Error::internal("a panic; the log says where"))) {
        Ok((file, damage)) => Read::File(Box::new(file), damage),
        Err(e) => Read::Failed(found.relative, e.to_string(), found.bytes),
    }
}

/// A file's series and points, archive by archive, and what is wrong with a part of it.
fn prepare(env: &Env, found: Found, now_s: i64) -> Result<(Prepared, Option<String>)> {
    let failed = |e: std::io::Error| Error::unavailable(e.to_string());
    let name = canonical(&metric_name(&found.relative)?)?;
    let file = env.fs.open(&found.path).map_err(failed)?;
    let len = file.len().map_err(failed)?;
    if len > FILE_BYTES_MAX {
        let path = found.path.display();
        return Err(Error::invalid(format!("{path}: {len} bytes, more than the {FILE_BYTES_MAX} expected")));
    }
    if len > found.bytes {
        let (path, before) = (found.path.display(), found.bytes);
        return Err(Error::invalid(format!(
            "{path}: has grown from {before} to {len} bytes meanwhile: import it again"
        )));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(HEAD_BYTES)];
    file.read_exact_at(&mut bytes, 0).map_err(failed)?;
    let header = Header::parse(&bytes, len)?;
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
        // One archive at a time, in the room of the one before.
        let at = archive.bytes_present();
        bytes.resize(usize::try_from(at.end - at.start).unwrap_or(usize::MAX), 0);
        file.read_exact_at(&mut bytes, at.start).map_err(failed)?;
        let salvage = archive.salvage(&bytes, until_s);
        damaged.extend(salvage.damage.map(|damage| format!("archive {index}: {damage}")));
        let retention_s = i64::try_from(archive.retention_s()).unwrap_or(i64::MAX);
        levels.push(Level {
            step_ns: i64::from(archive.step_s) * SECOND_NS,
            retention_ns: retention_s.saturating_mul(SECOND_NS),
        });
        // NaN is how queries see a gap. Unused slots give their room back.
        let mut known = salvage.points;
        known.retain(|p| !p.1.is_nan());
        known.shrink_to_fit();
        points.push(known);
    }
    let rollup =
        RollupRule { method: header.method as u8, x_files_factor: header.x_files_factor, imported_until_s: now_s };
    let damage = (!damaged.is_empty()).then(|| damaged.join("; "));
    Ok((Prepared { found, name, levels, rollup, points, whole: damage.is_none() }, damage))
}

/// What the files that are read, or on their way to who takes them, may take together.
struct Room {
    free: Mutex<u64>,
    given_back: Condvar,
}

/// Room for one file, given back when dropped.
struct Held<'a>(&'a Room, u64);

impl Room {
    fn new() -> Self {
        Self { free: Mutex::new(ROOM_BYTES), given_back: Condvar::new() }
    }

    /// Waits for room for a file of `bytes`; one that is larger than all of the room has it for itself.
    fn take(&self, bytes: u64) -> Held<'_> {
        let bytes = bytes.min(ROOM_BYTES);
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = self.given_back.wait_while(free, |free| *free < bytes);
        *enough.unwrap_or_else(PoisonError::into_inner) -= bytes;
        Held(self, bytes)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += self.1;
        self.0.given_back.notify_all();
    }
}

/// The name under which live points of the same series come in.
fn canonical(name: &str) -> Result<String> {
    let mut scratch = String::new();
    let canonical = rhythmite_carbon::name::canonical(name, &mut scratch);
    canonical.map(str::to_owned).map_err(|e| Error::invalid(format!("{name}: {e}")))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn an_error_ends_the_reading_though_readers_wait_for_room() {
        let tree = tempfile::tempdir().unwrap();
        // Each has all of the room, so that readers wait for those before them.
        for i in 0..40 {
            std::fs::write(tree.path().join(format!("{i:02}{EXTENSION}")), vec![0; ROOM_BYTES as usize]).unwrap();
        }
        let (told, ended) = sync_channel(1);
        let root = tree.path().to_owned();
        std::thread::spawn(move || {
            let mut taken = 0;
            let result = read_all(&Env::real(), &root, &|_| false, |_| {
                taken += 1;
                if taken == 3 { Err(Error::unavailable("no room on the disk")) } else { Ok(()) }
            });
            told.send((result.is_err(), taken))
        });
        assert_eq!(ended.recv_timeout(std::time::Duration::from_secs(60)), Ok((true, 3)));
    }

    #[test]
    fn a_large_file_waits_until_it_has_the_room_for_itself() {
        let (room, held, most) = (Room::new(), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for i in 0..8_u64 {
                let (room, held, most) = (&room, &held, &most);
                scope.spawn(move || {
                    for bytes in [ROOM_BYTES / 3, 5 * ROOM_BYTES, i, ROOM_BYTES / 2] {
                        let taken = room.take(bytes);
                        let now = held.fetch_add(taken.1, Ordering::SeqCst) + taken.1;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        held.fetch_sub(taken.1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), ROOM_BYTES);
        assert_eq!(*room.free.lock().unwrap(), ROOM_BYTES);
    }
}
