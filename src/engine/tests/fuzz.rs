//! Damaged logs, indexes and points files whose checksums agree all the same. The answer is data or an error: no panic,
//! and none takes long.
//!
//! `RHYTHMITE_FUZZ_KIND` picks one (`wal`, `idx`, `parquet`), `RHYTHMITE_FUZZ_ROUNDS` says how many rounds,
//! `RHYTHMITE_FUZZ_SEED` where to begin; `.ci/fuzz` goes on until it is stopped. What fails is printed as hexadecimal for a
//! file `data/fuzz/<kind>-<what>.hex`, of which all are tried first.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rhythmite_env::sim::SimFs;
use rhythmite_env::{Env, Fs, Random, SeededRandom};
use rhythmite_model::{Column, FieldType, KeyKind, Rows, Strings, Tier};

use super::world::{POLICY, SECOND, START_S, World};
use crate::sst::{Rebuilt, SstPaths, SstReader};
use crate::{Durability, wal};

const ROUNDS: u64 = 1_500;
/// Longest time of the processor for one file: a second, and what a debug build takes longer.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 1 });

const SECTOR: usize = 512;
/// `docs/formats/sst.md`: where the index's table of sections begins, and what a row of it takes.
const TABLE: usize = 20;
/// Sections of the file and of the one piece of a small one.
const SECTIONS: usize = 4 + 14;
const ROW: usize = 29;
/// Where the facts have where the footer begins, and its checksum, behind four numbers, two codes and three files.
const FOOTER: usize = 4 * 8 + 2 + 3 * 12;

/// Good files of each kind.
struct Samples {
    wal: Vec<u8>,
    /// The parts of one SST, and the index once more without compression.
    parts: Vec<(PathBuf, Vec<u8>)>,
    index: Vec<u8>,
    points: Vec<u8>,
}

const DIR: &str = "/db/data/d/p/raw/1700000000";

fn samples() -> Samples {
    let world = World::new(1);
    let engine = world.engine();
    let types = [FieldType::Float, FieldType::Integer, FieldType::Unsigned, FieldType::Boolean, FieldType::String];
    let ((table, series, fields), commit) = engine
        .create(Durability::Sync, |names| {
            let table = names.create_table(POLICY, "cpu", KeyKind::Tagged)?;
            let series: Vec<_> = (0..5)
                .map(|host| names.create_series(table, &format!("cpu,host={host}"), None))
                .collect::<Result<_, _>>()?;
            let fields = types.iter().map(|t| names.create_field(table, &format!("{t:?}"), *t));
            Ok((table, series, fields.collect::<Result<Vec<_>, _>>()?))
        })
        .unwrap();
    commit.wait().unwrap();
    for series in series {
        let n = 60;
        let times_ns: Vec<i64> = (0..n).map(|i| (START_S / 100 * 100 + i) * SECOND).collect();
        let mut texts = Strings::default();
        (0..n).for_each(|i| texts.push(if i % 3 == 0 { "on" } else { "off and on" }));
        let columns = [
            Column::Float((0..n).map(|i| if i % 7 == 0 { f64::NAN } else { i as f64 / 3.0 }).collect()),
            Column::Integer((0..n).map(|i| i * i - 50).collect()),
            Column::Unsigned((0..n as u64).map(|i| u64::MAX - i * 1_000).collect()),
            Column::Boolean((0..n).map(|i| i % 2 == 0).collect()),
            Column::String(texts),
        ];
        let fields = fields.iter().copied().zip(columns).collect();
        let rows = Rows { table, tier: Tier::RAW, series: vec![series; n as usize], times_ns, fields };
        engine.write(vec![rows], Durability::Sync).unwrap().wait().unwrap();
    }
    let read = |path: &Path| world.fs.read(path, 1 << 30).unwrap();
    let mut wal = read(&world.fs.list(Path::new("/db/wal")).unwrap()[0]);
    let used = wal.iter().rposition(|b| *b != 0).unwrap() + 1;
    wal.truncate(used.next_multiple_of(SECTOR));
    engine.compact_all().unwrap();
    let file = &engine.files()[0];
    let paths = SstPaths::new(Path::new(DIR), &file.id).unwrap();
    let parts: Vec<_> = paths.all().iter().map(|path| (path.to_path_buf(), read(path))).collect();
    let index = plain(&read(&paths.index));
    Samples { wal, parts, index, points: read(&paths.points) }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).map_or(0, |b| u64::from_le_bytes(b.try_into().unwrap()))
}

/// The index with every section as it is: what is damaged then is numbers, not compressed bytes.
fn plain(index: &[u8]) -> Vec<u8> {
    let mut out = index[..TABLE + SECTIONS * ROW].to_vec();
    for section in 0..SECTIONS {
        let row = TABLE + section * ROW;
        let (from, stored) = (u64_at(index, row) as usize, u64_at(index, row + 8) as usize);
        let mut bytes = Vec::new();
        if index[row + 28] == 0 {
            bytes.extend_from_slice(&index[from..from + stored]);
        } else {
            let mut rest = &index[from..from + stored];
            while let Some((len, tail)) = rest.split_first_chunk::<4>() {
                let (block, tail) = tail.split_at(u32::from_le_bytes(*len) as usize);
                bytes.extend(snap::raw::Decoder::new().decompress_vec(block).unwrap());
                rest = tail;
            }
        }
        let at = out.len() as u64;
        out[row..row + 8].copy_from_slice(&at.to_le_bytes());
        out[row + 8..row + 16].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        out[row + 28] = 0;
        out.extend(bytes);
    }
    seal_index(&mut out);
    out
}

/// Makes the checksums of an index right.
fn seal_index(index: &mut [u8]) {
    if index.len() < TABLE + SECTIONS * ROW {
        return;
    }
    for section in 0..SECTIONS {
        let row = TABLE + section * ROW;
        let (from, len) = (u64_at(index, row) as usize, u64_at(index, row + 8) as usize);
        if let Some(bytes) = from.checked_add(len).and_then(|to| index.get(from..to)) {
            let crc = crc32c::crc32c(bytes);
            index[row + 24..row + 28].copy_from_slice(&crc.to_le_bytes());
        }
    }
    let crc = crc32c::crc32c_append(crc32c::crc32c(&index[..16]), &index[TABLE..TABLE + SECTIONS * ROW]);
    index[16..20].copy_from_slice(&crc.to_le_bytes());
}

/// Makes the checksums of a log's segment right.
fn seal_wal(file: &mut [u8]) {
    if file.len() >= 40 {
        let crc = crc32c::crc32c(&file[16..40]);
        file[12..16].copy_from_slice(&crc.to_le_bytes());
    }
    for at in (SECTOR..file.len()).step_by(SECTOR) {
        let record = &mut file[at..];
        if record.len() > 48 && record[..4] == *b"RhyR" {
            let end = 48 + u32::from_le_bytes(record[8..12].try_into().unwrap()) as usize;
            if let Some(summed) = record.get(8..end) {
                let crc = crc32c::crc32c(summed);
                record[4..8].copy_from_slice(&crc.to_le_bytes());
            }
        }
    }
}

struct Chance(SeededRandom);

impl Chance {
    fn below(&self, n: usize) -> usize {
        (self.0.next_u64() % n.max(1) as u64) as usize
    }

    /// Changes some bytes of `bytes[from..]`, now and then its length.
    fn damage(&self, bytes: &mut Vec<u8>, from: usize) {
        for _ in 0..=self.below(4) {
            if bytes.len() <= from {
                return;
            }
            let at = from + self.below(bytes.len() - from);
            match self.below(8) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][self.below(6)],
                2 => {
                    let number = [0, 1, u64::MAX, 1 << 31, 1 << 32, 1 << 62, i64::MIN as u64][self.below(7)];
                    let end = (at + 8).min(bytes.len());
                    bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
                }
                3 => bytes.truncate(at),
                4 => {
                    let to = at + self.below((bytes.len() - at).min(64));
                    bytes.drain(at..to);
                }
                5 => {
                    let copied = bytes[at..(at + self.below(64)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, copied);
                }
                _ => bytes[at] = self.below(256) as u8,
            }
        }
    }
}

/// A damaged file of a kind.
fn damaged(samples: &Samples, kind: &str, chance: &Chance) -> Vec<u8> {
    match kind {
        "wal" => {
            // Half of them in what the records hold, which is compressed: then the batch, not the block, is damaged.
            let mut file = samples.wal.clone();
            if chance.below(2) == 0 {
                let records: Vec<usize> =
                    (SECTOR..file.len()).step_by(SECTOR).filter(|&at| file[at..].starts_with(b"RhyR")).collect();
                let at = records[chance.below(records.len())];
                let len = u32::from_le_bytes(file[at + 8..at + 12].try_into().unwrap()) as usize;
                let block = file[at + 48..at + 48 + len].to_vec();
                let mut raw = snap::raw::Decoder::new().decompress_vec(&block).unwrap();
                chance.damage(&mut raw, 0);
                let block = snap::raw::Encoder::new().compress_vec(&raw).unwrap();
                file.truncate(at + 48);
                file[at + 8..at + 12].copy_from_slice(&(block.len() as u32).to_le_bytes());
                file.extend(block);
                let whole = file.len().next_multiple_of(SECTOR);
                file.resize(whole, 0);
            } else {
                chance.damage(&mut file, 0);
            }
            seal_wal(&mut file);
            file
        }
        "idx" => {
            let mut index = samples.index.clone();
            chance.damage(&mut index, TABLE);
            seal_index(&mut index);
            index
        }
        _ => {
            let mut points = samples.points.clone();
            // Three of four in the footer.
            let footer = u64_at(&samples.index, TABLE + SECTIONS * ROW + FOOTER) as usize;
            let from = if chance.below(4) == 0 { 0 } else { footer };
            chance.damage(&mut points, from);
            points
        }
    }
}

/// Reads everything of a file as a server does; whatever is wrong with it is an error that is thrown away.
fn read(samples: &Samples, kind: &str, bytes: &[u8]) {
    let fs = SimFs::new(1);
    let env = Env { fs: std::sync::Arc::new(fs.clone()), ..Env::real() };
    let put = |path: &Path, bytes: &[u8]| {
        fs.create_dir_all(path.parent().unwrap()).unwrap();
        fs.create(path).unwrap().write_all_at(bytes, 0).unwrap();
    };
    if kind == "wal" {
        put(Path::new("/db/wal/00000000000000000001.wal"), bytes);
        let _ = wal::inspect(&env, Path::new("/db/wal"), 0, &mut |_, _| Ok(()));
        return;
    }
    let id = {
        let name = samples.parts[0].0.file_stem().unwrap().to_str().unwrap();
        name.split_once('-').unwrap().1.to_owned()
    };
    let paths = SstPaths::new(Path::new(DIR), &id).unwrap();
    samples.parts.iter().for_each(|(path, bytes)| put(path, bytes));
    if kind == "idx" {
        put(&paths.index, bytes);
    } else {
        put(&paths.points, bytes);
        // An index whose checksums agree with the footer that is there.
        let mut index = samples.index.clone();
        let facts = TABLE + SECTIONS * ROW;
        let footer = (u64_at(&index, facts + FOOTER) as usize).min(bytes.len());
        index[facts + 34..facts + 42].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        index[facts + 42..facts + 46].copy_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
        let crc = crc32c::crc32c(&bytes[footer..]);
        index[facts + FOOTER + 8..facts + FOOTER + 12].copy_from_slice(&crc.to_le_bytes());
        seal_index(&mut index);
        put(&paths.index, &index);
        let _ = Rebuilt::read(&env, &paths);
    }
    let Ok(sst) = SstReader::open(&env, Path::new(DIR), &id) else { return };
    let mut cursor = sst.cursor();
    for entry in sst.entries().take(1_000).flatten() {
        let (mut times, mut values) = (Vec::new(), Column::new(entry.field_type()));
        let _ = cursor.read_all(&entry, &mut times, &mut values);
        let _ = (sst.stream(entry.series, entry.field), entry.aggregates());
    }
    let _ = sst.verify();
}

/// How long this thread has had a processor: on a busy machine the clock says nothing. Nothing where Linux does not tell.
fn processor_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0))
}

/// What is wrong, if anything.
fn check(samples: &Samples, kind: &str, bytes: &[u8]) -> Option<String> {
    let started = processor_time();
    if catch_unwind(AssertUnwindSafe(|| read(samples, kind, bytes))).is_err() {
        return Some("panicked".to_owned());
    }
    let took = processor_time() - started;
    (took > PATIENCE).then(|| format!("took {took:?}"))
}

#[test]
fn good_files_are_read_whole() {
    let samples = samples();
    for kind in ["idx", "parquet"] {
        let bytes = if kind == "idx" { &samples.index } else { &samples.points };
        assert_eq!(check(&samples, kind, bytes), None);
    }
    // The checksums that this makes are those that the engine expects.
    let fs = SimFs::new(1);
    let env = Env { fs: std::sync::Arc::new(fs.clone()), ..Env::real() };
    fs.create_dir_all(Path::new("/db/wal")).unwrap();
    let mut file = samples.wal.clone();
    seal_wal(&mut file);
    assert_eq!(file, samples.wal);
    fs.create(Path::new("/db/wal/00000000000000000001.wal")).unwrap().write_all_at(&file, 0).unwrap();
    let mut rows = 0;
    let report = wal::inspect(&env, Path::new("/db/wal"), 0, &mut |_, batch| {
        rows += batch.len();
        Ok(())
    });
    assert_eq!((report.unwrap().damages.len(), rows), (0, 300));
}

#[test]
fn what_was_found_once_stays_fixed() {
    let samples = samples();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz");
    for file in std::fs::read_dir(dir).into_iter().flatten() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some((kind, _)) = name.strip_suffix(".hex").and_then(|name| name.split_once('-')) else { continue };
        let text: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
        let bytes: Vec<u8> =
            (0..text.len() / 2).map(|i| u8::from_str_radix(&text[i * 2..i * 2 + 2], 16).unwrap()).collect();
        assert_eq!(check(&samples, kind, &bytes), None, "{name}");
    }
}

#[test]
fn damaged_files_are_read_or_refused() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect(name));
    let (rounds, seed) = (number("RHYTHMITE_FUZZ_ROUNDS", ROUNDS), number("RHYTHMITE_FUZZ_SEED", 1));
    let only = std::env::var("RHYTHMITE_FUZZ_KIND").ok();
    let samples = samples();
    for kind in ["wal", "idx", "parquet"] {
        if only.as_ref().is_some_and(|only| only != kind) {
            continue;
        }
        let chance = Chance(SeededRandom::new(seed));
        for round in 0..rounds {
            let bytes = damaged(&samples, kind, &chance);
            if let Some(problem) = check(&samples, kind, &bytes) {
                let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                panic!("{kind}, seed {seed}, round {round}: {problem}\n{hex}");
            }
        }
    }
}
