//! `rhythmite import whisper --verify`: files and store read again and compared, point by point and bit by bit.
//!
//! A file is equal when its series is there with the file's levels and rule, and each of its points is at its level
//! with the same 64 bits. What the store has beside them (points that came live, or from an older file of that name) is
//! counted and is no difference.

use std::collections::HashMap;
use std::path::Path;

use rhythmite_engine::registry::Scope;
use rhythmite_engine::{Engine, Snapshot};
use rhythmite_env::Env;
use rhythmite_model::{Result, SeriesId, Tier};
use serde::Serialize;

use super::load::Prepared;
use super::read::{Read, read_all};
use super::whisper::PROBLEMS_MAX;
use crate::query::graphite::archive::{Place, Points, stored};

const SECOND_NS: i64 = 1_000_000_000;
/// Points of the files that are compared together.
const BATCH_POINTS: usize = 1 << 20;
/// Files that are compared together.
const BATCH_FILES: usize = 1_024;

/// What the comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verified {
    /// Files whose every point is in the store.
    pub files_equal: u64,
    /// Files with at least one difference.
    pub files_differing: u64,
    /// Points with the same bits on both sides.
    pub points_equal: u64,
    /// Points of files that the store does not have.
    pub points_missing: u64,
    /// Points that the store has with another value.
    pub points_different: u64,
    /// Points of these series that only the store has.
    pub points_only_stored: u64,
    /// The first differences: the file below the root, and what differs.
    pub differences: Vec<(String, String)>,
}

impl Verified {
    /// Whether nothing differs.
    pub fn is_equal(&self) -> bool {
        self.files_differing == 0
    }
}

/// One line of figures.
impl std::fmt::Display for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} files equal, {} differ; {} points equal, {} missing, {} different, {} only in the store",
            self.files_equal,
            self.files_differing,
            self.points_equal,
            self.points_missing,
            self.points_different,
            self.points_only_stored
        )
    }
}

/// Compares the tree at `root` with what `engine` holds.
///
/// # Errors
/// `NotFound` or `Unavailable` if the root cannot be listed; those of reading the store.
pub fn verify(env: &Env, engine: &Engine, root: &Path) -> Result<Verified> {
    let mut verifier = Verifier { engine, snapshot: engine.snapshot(), result: Verified::default() };
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let (mut batch, mut points) = (Vec::new(), 0);
    read_all(env, &root, &|_| false, |read| {
        match read {
            // What cannot be read was told by the import.
            Read::Failed(..) | Read::Skipped(_) => {}
            Read::File(file, _) => {
                points += file.rows();
                batch.push(*file);
            }
        }
        if points >= BATCH_POINTS || batch.len() >= BATCH_FILES {
            verifier.compare(&std::mem::take(&mut batch))?;
            points = 0;
        }
        Ok(())
    })?;
    verifier.compare(&batch)?;
    verifier.result.differences.sort();
    Ok(verifier.result)
}

struct Verifier<'a> {
    engine: &'a Engine,
    snapshot: Snapshot,
    result: Verified,
}

impl Verifier<'_> {
    fn compare(&mut self, files: &[Prepared]) -> Result<()> {
        let places: Vec<Option<Place>> = {
            let names = self.engine.registry().read();
            let place = |file: &Prepared| {
                let slot = names.find_series(Scope::Paths, file.name.as_bytes())?;
                Place::of(self.engine, &names, slot)
            };
            files.iter().map(place).collect()
        };
        let known: Vec<Place> = places.iter().flatten().cloned().collect();
        let deepest = known.iter().map(|p| p.policy.levels.len()).max().unwrap_or(0);
        let levels = (0..deepest).map(|i| stored(&self.snapshot, &known, Tier(i as u8)));
        let levels = levels.collect::<Result<Vec<_>>>()?;
        for (file, place) in files.iter().zip(&places) {
            let difference = match place {
                None => {
                    self.result.points_missing += file.rows() as u64;
                    Some("the series is not there".to_owned())
                }
                Some(place) => self.compare_one(file, place, &levels),
            };
            match difference {
                None => self.result.files_equal += 1,
                Some(difference) => {
                    self.result.files_differing += 1;
                    if self.result.differences.len() < PROBLEMS_MAX {
                        self.result.differences.push((file.found.relative.clone(), difference));
                    }
                }
            }
        }
        Ok(())
    }

    fn compare_one(&mut self, file: &Prepared, place: &Place, levels: &[HashMap<SeriesId, Points>]) -> Option<String> {
        let rule = place.rollup.map(|r| (r.method, r.x_files_factor.to_bits()));
        if place.policy.levels != file.levels
            || rule != Some((file.rollup.method, file.rollup.x_files_factor.to_bits()))
        {
            self.result.points_missing += file.rows() as u64;
            return Some("its archives, method or xFilesFactor differ".to_owned());
        }
        let empty = Points::default();
        let (mut missing, mut different) = (0, 0);
        for (points, stored) in file.points.iter().zip(levels) {
            let (times_ns, values) = stored.get(&place.id).unwrap_or(&empty);
            let mut equal = 0;
            for (time_s, value) in points {
                match times_ns.binary_search(&(i64::from(*time_s) * SECOND_NS)) {
                    Ok(at) if values.get(at).is_some_and(|v| v.to_bits() == value.to_bits()) => equal += 1,
                    Ok(_) => different += 1,
                    Err(_) => missing += 1,
                }
            }
            self.result.points_equal += equal;
            self.result.points_only_stored += (times_ns.len() as u64).saturating_sub(points.len() as u64);
        }
        self.result.points_missing += missing;
        self.result.points_different += different;
        (missing + different > 0).then(|| format!("{missing} points missing, {different} different"))
    }
}
