//! Files that a crash left behind: on disk, but in no manifest.

use std::collections::HashSet;
use std::path::Path;

use rhythmite_env::Env;
use rhythmite_model::Result;

use crate::engine::Files;
use crate::manifest::{Edit, FileRecord, Manifest, SegmentRecord};

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
    let live: HashSet<&str> = files.values().flatten().map(|f| f.record.id.as_str()).collect();
    let mut removed = sweep(env, &data_dir.join("data"), 0, &live)?;
    let names: Vec<_> = segments.iter().map(|s| format!("{:010}", s.id)).collect();
    let live = names.iter().map(String::as_str).collect();
    removed += sweep(env, &data_dir.join("names"), 4, &live)?;
    Ok(removed)
}

/// Depth of the files below `data/`: database, policy, level, partition.
const DEPTH: usize = 4;

fn sweep(env: &Env, dir: &Path, depth: usize, live: &HashSet<&str>) -> Result<u64> {
    let mut removed = 0;
    for path in env.fs.list(dir)? {
        if depth < DEPTH {
            if env.fs.list(&path).is_ok() {
                removed += sweep(env, &path, depth + 1, live)?;
            }
            continue;
        }
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        // `points-<id>.parquet`, `names-<id>.reg`: ours only if it has this form.
        let Some((kind, rest)) = name.split_once('-') else { continue };
        let id = rest.split('.').next().unwrap_or_default();
        if matches!(kind, "points" | "series" | "fields" | "names") && !live.contains(id) {
            tracing::info!(file = %path.display(), "removing a file that no manifest names");
            env.fs.remove(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}
