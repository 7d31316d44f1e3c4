//! Files that a crash left behind: on disk, but in no manifest.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rhythmite_env::Env;
use rhythmite_model::{Error, Result};

use crate::manifest::{Edit, FileRecord, Manifest, SegmentRecord};
use crate::registry::segment_path;
use crate::view::Files;

/// Takes files out of the manifest whose policy the catalogue no longer has: it has dropped the policy, and a crash came
/// before the engine did. Policies' numbers are never used again, so nothing can come to need them. [`remove`] then
/// takes them from the disk.
///
/// # Errors
/// `Unavailable` for the catalogue.
pub(crate) fn forget(manifest: &dyn Manifest, leftovers: &[FileRecord]) -> Result<()> {
    if leftovers.is_empty() {
        return Ok(());
    }
    for file in leftovers {
        let (policy, rows) = (file.policy.0, file.rows);
        tracing::warn!(file = file.id, policy, rows, "removing a file whose policy the catalogue does not have");
    }
    let remove_files = leftovers.iter().map(|f| f.id.clone()).collect();
    manifest.commit(&Edit { remove_files, ..Edit::default() })
}

/// Removes every file below `data/` and `names/` that is not part of a live one. Called at start, when nothing is being
/// written: an unknown file can only be the output of a flush or merge that did not commit.
///
/// # Errors
/// `Unavailable` when a directory cannot be read or a file not removed.
pub(crate) fn remove(env: &Env, data_dir: &Path, files: &Files, segments: &[SegmentRecord]) -> Result<u64> {
    let mut live = HashSet::new();
    for file in files.values().flatten() {
        live.extend(file.paths()?.all().map(Path::to_path_buf));
    }
    let orphans = find(env, data_dir, &live, segments)?;
    for path in &orphans {
        tracing::info!(file = %path.display(), "removing a file that no manifest names");
        env.fs.remove(path)?;
    }
    Ok(orphans.len() as u64)
}

/// The files below `data/` and `names/` that are not part of a live one. `live` has the paths of all parts: an id says too
/// little, since one that never came to live is given out again, perhaps for another partition.
///
/// # Errors
/// `Unavailable` when a directory cannot be read.
pub(crate) fn find(
    env: &Env,
    data_dir: &Path,
    live: &HashSet<PathBuf>,
    segments: &[SegmentRecord],
) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    sweep(env, &data_dir.join("data"), 0, live, &mut found)?;
    let dir = data_dir.join("names");
    let live = segments.iter().map(|s| segment_path(&dir, s.id)).collect();
    sweep(env, &dir, DEPTH, &live, &mut found)?;
    Ok(found)
}

/// Depth of the files below `data/`: database, policy, level, partition.
const DEPTH: usize = 4;

fn sweep(env: &Env, dir: &Path, depth: usize, live: &HashSet<PathBuf>, found: &mut Vec<PathBuf>) -> Result<()> {
    let paths = match env.fs.list(dir) {
        // A data directory that no engine has opened yet.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(|e| Error::from(e).at(dir.display()))?,
    };
    for path in paths {
        if depth < DEPTH {
            if env.fs.list(&path).is_ok() {
                sweep(env, &path, depth + 1, live, found)?;
            }
            continue;
        }
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        // `points-<id>.parquet`, `names-<id>.reg`: ours only if it has this form.
        let Some((kind, _)) = name.split_once('-') else { continue };
        if matches!(kind, "points" | "series" | "fields" | "names") && !live.contains(&path) {
            found.push(path);
        }
    }
    Ok(())
}
