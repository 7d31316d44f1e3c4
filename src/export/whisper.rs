//! `rhythmite export whisper DIR`: each Graphite path as a whisper file that carbon and graphite-web read.
//!
//! The file's archives are the levels of the series' policy; each holds one lap that ends with the newest point. Levels
//! that were imported come out as they went in, others are rolled up from finer points by the series' rule, as queries
//! do it.
//!
//! Order of events: match names, sorted; read a batch; build each file in memory, write it beside its place, rename it.
//! Nothing is synced: call `sync` before the machine loses power. A series that whisper has no file for (no step, kept
//! for ever, a name that is no file name) costs itself, and is listed in the [`Summary`].
//!
//! Limits: [`FILE_SLOTS_MAX`] slots a file, [`BATCH_SLOTS`] read together. Points that came under an earlier storage
//! schema of the same path are not in the file.

use std::fs;
use std::io;
use std::path::Path;

use rhythmite_engine::Engine;
use rhythmite_engine::registry::{Scope, Slot, Want};
use rhythmite_model::{Error, Result, RollupRule};
use rhythmite_whisper::{AggregationMethod, Point, Ring, relative_path, write};
use serde::Serialize;

use crate::query::graphite::archive::{Place, Points, laps, slots};
use crate::query::graphite::find::{find, path_tables};

/// Slots of one file: a gigabyte.
pub const FILE_SLOTS_MAX: u64 = (1 << 30) / 12;
/// Slots that are read together.
const BATCH_SLOTS: u64 = 1 << 22;
/// Series that are read together.
const BATCH_SERIES: usize = 1_024;
/// Problems that are kept word for word; more are only counted.
const PROBLEMS_MAX: usize = 10_000;
/// What whisper takes a file for that says nothing else.
const RULE: RollupRule = RollupRule { method: 1, x_files_factor: 0.5, imported_until_s: 0 };

/// What to export.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which paths, as in `/metrics/find`; tagged series come with `**`.
    pub pattern: String,
    /// Replace files that are there.
    pub overwrite: bool,
    /// Read and count, write nothing.
    pub dry_run: bool,
}

/// What became of the series.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Files written.
    pub files: u64,
    /// Series whose file is there already.
    pub skipped: u64,
    /// Series without a file.
    pub refused: u64,
    /// Points written.
    pub points: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Series without a file and the reason, the first [`PROBLEMS_MAX`].
    pub problems: Vec<(String, String)>,
}

/// One line of figures.
impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { files, skipped, refused, points, bytes, .. } = self;
        write!(f, "{files} files, {points} points, {bytes} bytes; {skipped} skipped (there already), {refused} refused")
    }
}

impl Summary {
    /// 0, or 2 when a series has no file.
    pub fn exit_code(&self) -> u8 {
        if self.refused == 0 { 0 } else { 2 }
    }

    fn refuse(&mut self, name: &str, why: impl std::fmt::Display) {
        self.refused += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push((name.to_owned(), why.to_string()));
        }
    }
}

/// Writes the files below `root`, which is made if need be.
///
/// # Errors
/// `Invalid` for a malformed pattern, `Unavailable` for the disk, those of reading the store. What was written before
/// the error stays.
pub fn export(engine: &Engine, root: &Path, options: &Options) -> Result<Summary> {
    let mut summary = Summary::default();
    let snapshot = engine.snapshot();
    let mut places = places(engine, &options.pattern)?.into_iter().peekable();
    while places.peek().is_some() {
        let (mut batch, mut room) = (Vec::new(), BATCH_SLOTS);
        while batch.len() < BATCH_SERIES
            && let Some(place) = places.next_if(|p| batch.is_empty() || slots_of(p) <= room)
        {
            room = room.saturating_sub(slots_of(&place));
            batch.push(place);
        }
        let found = laps(&snapshot, &batch, FILE_SLOTS_MAX)?;
        for (place, laps) in batch.iter().zip(found) {
            match laps.and_then(|laps| file(place, &laps)) {
                Ok((bytes, points)) => put(root, place, &bytes, points, options, &mut summary)?,
                Err(e) => summary.refuse(&place.name, e.message()),
            }
        }
    }
    Ok(summary)
}

fn slots_of(place: &Place) -> u64 {
    place.policy.levels.iter().map(|level| slots(level).unwrap_or(0)).sum()
}

/// The series that a pattern means, sorted by name.
fn places(engine: &Engine, pattern: &str) -> Result<Vec<Place>> {
    let names = engine.registry().read();
    let mut found: Vec<Slot> = find(&names, pattern, Want::Leaves, usize::MAX)?.leaves;
    if pattern == "**" {
        let all = path_tables(&names).into_iter().flat_map(|table| names.series(table)).map(Slot);
        let is_current = |slot: &Slot| names.find_series(Scope::Paths, names.key(*slot).as_bytes()) == Some(*slot);
        found.extend(all.filter(|slot| names.key(*slot).contains(';') && is_current(slot)));
    }
    let mut places: Vec<Place> = found.into_iter().filter_map(|slot| Place::of(engine, &names, slot)).collect();
    places.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(places)
}

/// The bytes of a series' file, and how many points are in it.
fn file(place: &Place, laps: &[Points]) -> Result<(Vec<u8>, u64)> {
    let rule = place.rollup.unwrap_or(RULE);
    let method = AggregationMethod::from_code(rule.method.into());
    let method = method.ok_or_else(|| Error::invalid("whisper does not know its aggregation method"))?;
    let point = |(time_s, value): (&i64, &f64)| u32::try_from(*time_s).ok().map(|t| (t, *value));
    let data: Vec<Vec<Point>> =
        laps.iter().map(|(times, values)| times.iter().zip(values).filter_map(point).collect()).collect();
    let rings = place.policy.levels.iter().zip(&data).map(|(level, data)| {
        let fits = |n: u64| u32::try_from(n).map_err(|_| Error::invalid("a level is too long"));
        Ok(Ring { step_s: fits((level.step_ns / 1_000_000_000).unsigned_abs())?, points: fits(slots(level)?)?, data })
    });
    let bytes = write(method, rule.x_files_factor, &rings.collect::<Result<Vec<_>>>()?)?;
    Ok((bytes, data.iter().map(|d| d.len() as u64).sum()))
}

fn put(root: &Path, place: &Place, bytes: &[u8], points: u64, options: &Options, summary: &mut Summary) -> Result<()> {
    let relative = match relative_path(&place.name) {
        Ok(relative) => relative,
        Err(e) => {
            summary.refuse(&place.name, e.message());
            return Ok(());
        }
    };
    let path = root.join(relative);
    if !options.overwrite && path.exists() {
        summary.skipped += 1;
        return Ok(());
    }
    if !options.dry_run {
        match write_file(&path, bytes) {
            Ok(()) => {}
            // A name that this file system does not take is the series' own problem.
            Err(e) if matches!(e.kind(), io::ErrorKind::InvalidFilename | io::ErrorKind::NotADirectory) => {
                summary.refuse(&place.name, e);
                return Ok(());
            }
            Err(e) => return Err(Error::unavailable(format!("{}: {e}", path.display()))),
        }
    }
    summary.files += 1;
    summary.points += points;
    summary.bytes += bytes.len() as u64;
    Ok(())
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    // A reader sees the old file or the new one, never half of it.
    let beside = path.with_extension("wsp.part");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}
