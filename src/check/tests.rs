//! Damage of every kind, done to a small data directory: what check says, and what repair leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rhythmite_engine::{Durability, Engine, Options, Snapshot};
use rhythmite_influx::line_protocol::Precision;
use rhythmite_model::Tier;

use super::*;
use crate::catalog::dashboards::Kind;
use crate::catalog::{NewPolicy, NewToken, NewUser, PasswordHash, Rights};
use crate::ingest::influx::{InfluxWriter, LineWrite, TimeUnit};

const START_S: i64 = 1_700_000_000;
const SECOND_NS: i64 = 1_000_000_000;

/// (policy, table, key, field) and all points as text.
type Answers = BTreeMap<(u32, String, String, String), String>;

/// A data directory that no server has.
struct Data {
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Data {
    /// Two policies, five types, files flushed and merged, a dropped series, users, and writes that only the log has.
    fn new() -> Self {
        let data = Self::filled();
        data.assert_closed();
        data
    }

    /// With the last handle the catalogue has closed its file, which takes the log of SQLite along.
    fn assert_closed(&self) {
        assert_eq!(self.files("catalog.sqlite").len(), 1, "{:?}", self.files("catalog.sqlite"));
    }

    fn filled() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let data = Self { dir: tempfile::tempdir().unwrap(), runtime };
        let catalog = Catalog::open_in(&Env::real(), data.path()).unwrap();
        let (days, week) = data.runtime.block_on(async {
            let days = catalog.create_database("d.1", NewPolicy::autogen()).await.unwrap().unwrap();
            let week = catalog.create_policy("d.1", NewPolicy::raw("week", 7 * 86_400 * SECOND_NS)).await.unwrap();
            catalog.create_database("gone", NewPolicy::autogen()).await.unwrap();
            catalog.drop_database("gone").await.unwrap();
            let password = PasswordHash("$argon2id$...".to_owned());
            let user = NewUser { name: "ann".to_owned(), password, is_admin: true, only_first: false };
            catalog.create_user(user).await.unwrap();
            catalog.set_rights("ann", "d.1", Rights { read: true, write: false }).await.unwrap();
            let token = NewToken {
                name: "t".to_owned(),
                digest: [0xa5; 32],
                is_admin: false,
                everywhere: Rights::default(),
                grants: BTreeMap::from([("d.1".to_owned(), Rights { read: true, write: true })]),
                created_at_s: 5,
                expires_at_s: None,
                only_first: false,
            };
            catalog.create_token(token).await.unwrap();
            // A table without rowid: made, changed, and one taken away.
            let boards = catalog.dashboards();
            for (name, state) in [("a'b", "{}"), ("two", "{}"), ("a'b", "[1]")] {
                boards.save(Kind::Dashboard, name, state.to_owned(), 5).await.unwrap();
            }
            boards.delete(Kind::Dashboard, "two").await.unwrap();
            (days, week)
        });
        let engine = data.engine(&catalog);
        let writer = InfluxWriter::new(engine.clone());
        let write = |policy: &Policy, hosts: i64, from: i64| {
            let mut body = String::new();
            for host in 0..hosts {
                for at in 0..40 {
                    let time = START_S + from + at * 10;
                    body += &format!(
                        "cpu,host=h{host} load={},n={}i,up={},note=\"{}\" {time}\n",
                        f64::from(at as i32) / 8.0,
                        at * host,
                        at % 3 == 0,
                        ["idle", "busy"][at as usize % 2]
                    );
                }
                body += &format!("odd,host=h{host} x={} {}\n", 0.1_f64 + 0.2_f64, START_S + from);
            }
            let (unit, now_ns) = (TimeUnit::Fixed(Precision::Second), START_S * SECOND_NS);
            let durability = Durability::Sync;
            let write = LineWrite {
                body: body.as_bytes(),
                policy,
                unit,
                now_ns,
                accept_partial: false,
                durability,
                senders: None,
            };
            writer.write(&write).unwrap().commit.wait().unwrap();
        };
        for from in [0, 86_400 * 8, 400] {
            write(&days, 5, from);
            engine.flush().unwrap();
        }
        engine.compact_all().unwrap();
        write(&days, 3, 800);
        write(&week, 2, 0);
        engine.flush().unwrap();
        for at in [1_200, 1_600, 2_000] {
            write(&days, 2, at);
        }
        data
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The same once more, so that every damage is done to an undamaged one.
    fn copy(&self) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for file in self.files("") {
            let to = copy.path().join(&file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(self.path().join(&file), to).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { dir: copy, runtime }
    }

    fn engine(&self, catalog: &Catalog) -> Engine {
        let policies = catalog.databases().policies().map(|p| p.policy.clone()).collect();
        let options = Options::new(self.path());
        Engine::open(Env::real(), options, Arc::new(catalog.manifest()), policies).unwrap().0
    }

    /// Paths of all files whose path has `part`, below the directory, sorted.
    fn files(&self, part: &str) -> Vec<PathBuf> {
        fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        walk(self.path(), &mut found);
        let below = |path: PathBuf| path.strip_prefix(self.path()).unwrap().to_owned();
        let mut found: Vec<_> = found.into_iter().map(below).collect();
        found.retain(|path| path.to_str().unwrap().contains(part));
        found.sort();
        found
    }

    fn bytes(&self, file: &Path) -> Vec<u8> {
        fs::read(self.path().join(file)).unwrap()
    }

    fn check(&self, repair: bool) -> Report {
        run(&Env::real(), self.path(), repair, &self.runtime, &mut Progress::silent()).unwrap()
    }

    /// Everything that a started server would answer from.
    fn answers(&self) -> Answers {
        let catalog = Catalog::open_in(&Env::real(), self.path()).unwrap();
        let engine = self.engine(&catalog);
        let mut answers = Answers::new();
        let tables: Vec<_> = {
            let names = engine.registry().read();
            names.all_tables().map(|t| (t.id(), t.policy().0, t.name().to_owned())).collect()
        };
        for (table, policy, name) in tables {
            let all = Snapshot::all_series(table);
            for points in engine.snapshot().scan(table, Tier::RAW, all, None, i64::MIN..=i64::MAX).unwrap() {
                let points = points.unwrap();
                let names = engine.registry().read();
                let key = names.key(names.slot(points.series).unwrap()).to_owned();
                for stream in points.streams {
                    let field = names.field(table, stream.field).unwrap().0.to_owned();
                    let text = format!("{:?} {:?}", stream.times_ns, stream.values);
                    answers.insert((policy, name.clone(), key.clone(), field), text);
                }
            }
        }
        answers
    }

    /// Databases, policies, users and tokens, as text.
    fn rooms(&self) -> String {
        let catalog = Catalog::open_in(&Env::real(), self.path()).unwrap();
        let boards = catalog.dashboards();
        let names = self.runtime.block_on(boards.names(Kind::Dashboard)).unwrap();
        let board = self.runtime.block_on(boards.load(Kind::Dashboard, "a'b")).unwrap();
        assert_eq!((names, board.as_deref()), (vec!["a'b".to_owned()], Some("[1]")));
        format!("{:?} {:?}", catalog.databases(), catalog.accounts())
    }
}

/// What repair leaves.
#[derive(Clone, Copy, PartialEq)]
enum Left {
    /// The same answers, the same bytes.
    Same,
    /// What was in the damaged file is gone from the answers, and in quarantine.
    Less,
    /// All as it was: a person decides.
    Untouched,
}

fn flip(data: &Data, file: &Path, at: usize) {
    let mut bytes = data.bytes(file);
    bytes[at] ^= 0x10;
    fs::write(data.path().join(file), bytes).unwrap();
}

fn cut(data: &Data, file: &Path, len: usize) {
    fs::write(data.path().join(file), &data.bytes(file)[..len]).unwrap();
}

fn remove(data: &Data, file: &Path) {
    fs::remove_file(data.path().join(file)).unwrap();
}

/// Does the damage to a copy of `whole`, checks, repairs and checks again. Each problem must be of a file whose path has
/// `blames`.
fn spec(whole: &Data, what: &str, damage: impl FnOnce(&Data), blames: &str, left: Left) {
    let data = whole.copy();
    damage(&data);
    let damaged: BTreeMap<_, _> = data.files("").into_iter().map(|f| (f.clone(), data.bytes(&f))).collect();

    let found = data.check(false);
    assert_eq!(found.status, Status::Problems, "{what}: {found}");
    assert!(found.problems.iter().all(|p| p.path.contains(blames)), "{what}: {found}");
    for (file, bytes) in damaged.iter().filter(|(file, _)| !file.starts_with("catalog.sqlite-shm")) {
        if !file.ends_with("rhythmite.lock") && !file.to_str().unwrap().starts_with("catalog.sqlite") {
            assert!(data.bytes(file) == *bytes, "{what}: a check changed {}", file.display());
        }
    }

    let repaired = data.check(true);
    let again = data.check(false);
    if left == Left::Untouched {
        assert_eq!((repaired.status, again.status), (Status::Problems, Status::Problems), "{what}: {repaired}");
        assert_eq!(repaired.quarantine, None, "{what}: {repaired}");
        return;
    }
    assert_eq!(repaired.status, Status::Repaired, "{what}: {repaired}");
    assert_eq!(again.status, Status::Clean, "{what}: {again}");
    assert_eq!(again.problems, [], "{what}");
    // Nothing that was there is nowhere.
    let kept: BTreeSet<Vec<u8>> = data.files("").iter().map(|file| data.bytes(file)).collect();
    for (file, bytes) in damaged.iter().filter(|(file, _)| file.starts_with("data") && !file.ends_with("catalog.copy"))
    {
        assert!(kept.contains(bytes), "{what}: {} is gone", file.display());
    }
    let (before, after) = (whole.copy().answers(), data.answers());
    match left {
        Left::Same => {
            assert_eq!(after, before, "{what}");
            assert_eq!(repaired.lost_rows, 0);
            for file in whole.files("points-").into_iter().chain(whole.files("series-")).chain(whole.files("fields-")) {
                assert!(data.bytes(&file) == whole.bytes(&file), "{what}: {} differs", file.display());
            }
        }
        _ => {
            let fewer = after.values().map(String::len).sum::<usize>() < before.values().map(String::len).sum();
            assert!(fewer && repaired.lost_rows > 0, "{what}: {repaired}");
            // Of a file that is wholly gone nothing is left to be moved.
            let Some(quarantine) = repaired.quarantine else { return };
            let list = fs::read_to_string(Path::new(&quarantine).join("moved.jsonl")).unwrap();
            assert!(list.lines().all(|line| line.contains("\"why\"") && line.contains("\"from\"")), "{what}: {list}");
        }
    }
    assert_eq!(data.rooms(), whole.copy().rooms(), "{what}");
}

/// Places of a file that are looked at: its ends and some between.
fn places(len: usize) -> impl Iterator<Item = usize> {
    let mut places: Vec<_> = (0..5).map(|k| k * (len - 1) / 4).chain([4, len - 5]).collect();
    places.sort_unstable();
    places.dedup();
    places.into_iter()
}

#[test]
fn what_is_whole_is_clean() {
    let data = Data::new();
    let report = data.check(false);
    assert_eq!((report.status, report.exit_code()), (Status::Clean, 0), "{report}");
    assert!(report.files >= 4 && report.segments > 0 && report.log.writes > 0, "{report}");
    let repaired = data.check(true);
    assert_eq!((repaired.status, repaired.quarantine), (Status::Clean, None));
    let json: serde_json::Value = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    assert_eq!(json["status"], "clean");
    assert_eq!(json["files"], report.files);
}

#[test]
fn flipped_bits_are_found_in_every_part() {
    let whole = Data::new();
    for (part, kind, left) in [
        ("points-", "idx", Left::Same),
        ("points-", "parquet", Left::Less),
        ("series-", "parquet", Left::Same),
        ("fields-", "parquet", Left::Same),
    ] {
        let mut files = whole.files(part);
        files.retain(|file| file.extension().is_some_and(|e| e == kind));
        // A merged one and a flushed one.
        for file in [&files[0], files.last().unwrap()] {
            let name = file.file_name().unwrap().to_str().unwrap();
            for at in places(whole.bytes(file).len()) {
                spec(&whole, &format!("{} byte {at}", file.display()), |data| flip(data, file, at), name, left);
            }
        }
    }
}

/// What the coarser levels of every policy answer.
fn windows(data: &Data) -> Vec<String> {
    let catalog = Catalog::open_in(&Env::real(), data.path()).unwrap();
    let engine = data.engine(&catalog);
    let snapshot = engine.snapshot();
    let mut found = Vec::new();
    let tables: Vec<_> = engine.registry().read().all_tables().map(|t| (t.id(), t.policy())).collect();
    for (table, policy) in tables {
        let policy = engine.policy(policy).unwrap();
        for level in 1..policy.levels.len() {
            let scan = snapshot.rollups(rhythmite_engine::RollupsOf {
                policy: &policy,
                table,
                level: Tier(level as u8),
                series: &Snapshot::all_series(table),
                fields: None,
                aggregates: rhythmite_model::Aggregates::USUAL,
                times_ns: i64::MIN..=i64::MAX,
            });
            found.extend(scan.unwrap().map(|points| format!("{level} {:?}", points.unwrap())));
        }
    }
    found
}

/// A directory with roll-ups, whose raw points have gone if `alone`.
fn rolled_up(alone: bool) -> Data {
    let data = Data::filled();
    {
        let catalog = Catalog::open_in(&Env::real(), data.path()).unwrap();
        data.runtime.block_on(async {
            if alone {
                let retention_ns = Some(3_600 * SECOND_NS);
                let change = crate::catalog::PolicyChange { retention_ns, ..Default::default() };
                catalog.alter_policy("d.1", "autogen", change).await.unwrap();
            }
            let level = |step_s: i64| rhythmite_model::Level { step_ns: step_s * SECOND_NS, retention_ns: 0 };
            let usual = rhythmite_model::Aggregates::USUAL;
            catalog.set_tiers("d.1", "autogen", vec![level(60), level(600)], usual).await.unwrap();
        });
        let engine = data.engine(&catalog);
        engine.compact_all().unwrap();
        while engine.compact_once().unwrap() {}
        let raw = engine.files().iter().filter(|file| file.tier == Tier::RAW && file.policy.0 == 1).count();
        assert!(engine.files().iter().any(|file| file.tier.is_rolled()) && (raw == 0) == alone, "{raw} raw files");
    }
    data.assert_closed();
    data
}

#[test]
fn damaged_roll_ups_are_made_again_or_missed() {
    for alone in [false, true] {
        let whole = rolled_up(alone);
        assert_eq!(whole.check(false).status, Status::Clean);
        let before = windows(&whole.copy());
        assert!(!before.is_empty());
        let files: Vec<_> =
            whole.files("points-").into_iter().filter(|f| f.to_str().unwrap().contains("/60s/")).collect();
        for kind in ["parquet", "idx"] {
            let file = files.iter().find(|file| file.extension().is_some_and(|e| e == kind)).unwrap();
            let data = whole.copy();
            flip(&data, file, whole.bytes(file).len() / 2);
            let found = data.check(false);
            assert_eq!(found.status, Status::Problems, "{kind}: {found}");
            let name = file.file_stem().unwrap().to_str().unwrap();
            assert!(found.problems.iter().all(|p| p.path.contains(name)), "{kind}: {found}");
            let repaired = data.check(true);
            assert_eq!((repaired.status, data.check(false).status), (Status::Repaired, Status::Clean), "{kind}");
            let after = windows(&data);
            if kind == "idx" || !alone {
                // The index is made again from the file, the file from the points that are there.
                assert_eq!(after, before, "{kind} alone {alone}");
            } else {
                let length = |windows: &[String]| windows.iter().map(String::len).sum::<usize>();
                assert!(length(&after) < length(&before) && repaired.lost_rows > 0, "{kind}: {repaired}");
            }
        }
    }
}

#[test]
fn lost_cut_and_foreign_parts_are_found() {
    let whole = Data::new();
    let points: Vec<_> = whole.files("points-").into_iter().filter(|f| f.extension().unwrap() == "parquet").collect();
    let (one, other) = (SstFiles::new(&points[0]), SstFiles::new(points.last().unwrap()));
    for (what, file, foreign, left) in [
        ("index", &one.index, &other.index, Left::Same),
        ("points", &one.points, &other.points, Left::Less),
        ("series", &one.series, &other.series, Left::Same),
        ("fields", &one.fields, &other.fields, Left::Same),
    ] {
        let name = file.file_name().unwrap().to_str().unwrap();
        let len = whole.bytes(file).len();
        spec(&whole, &format!("no {what}"), |data| remove(data, file), name, left);
        spec(&whole, &format!("empty {what}"), |data| cut(data, file, 0), name, left);
        spec(&whole, &format!("half {what}"), |data| cut(data, file, len / 2), name, left);
        if whole.bytes(foreign) != whole.bytes(file) {
            let put = |data: &Data| fs::write(data.path().join(file), data.bytes(foreign)).unwrap();
            spec(&whole, &format!("foreign {what}"), put, name, left);
        }
    }
    let both = |data: &Data, files: &[&PathBuf]| files.iter().for_each(|file| remove(data, file));
    spec(&whole, "names", |data| both(data, &[&one.series, &one.fields]), &one.stem, Left::Same);
    spec(&whole, "index, names", |data| both(data, &[&one.index, &one.series, &one.fields]), &one.stem, Left::Same);
    spec(&whole, "index, series", |data| both(data, &[&one.index, &one.series]), &one.stem, Left::Same);
    let unproven = |data: &Data| {
        remove(data, &one.index);
        flip(data, &one.points, 20);
    };
    spec(&whole, "index, and the points flipped", unproven, &one.stem, Left::Less);
    spec(&whole, "all", |data| both(data, &[&one.index, &one.points, &one.series, &one.fields]), &one.stem, Left::Less);
}

/// The four files of one SST.
struct SstFiles {
    stem: String,
    points: PathBuf,
    index: PathBuf,
    series: PathBuf,
    fields: PathBuf,
}

impl SstFiles {
    fn new(points: &Path) -> Self {
        let name = points.file_name().unwrap().to_str().unwrap();
        let stem = name.strip_prefix("points-").unwrap().strip_suffix(".parquet").unwrap().to_owned();
        let beside = |name: String| points.with_file_name(name);
        Self {
            points: points.to_owned(),
            index: beside(format!("points-{stem}.idx")),
            series: beside(format!("series-{stem}.parquet")),
            fields: beside(format!("fields-{stem}.parquet")),
            stem,
        }
    }
}

#[test]
fn a_lost_catalogue_is_made_again() {
    let whole = Data::new();
    let catalog = Path::new("catalog.sqlite");
    let gone = |data: &Data| {
        for file in data.files("catalog.sqlite") {
            remove(data, &file);
        }
    };
    // An empty catalogue would make leftovers of all files: nothing opens it.
    for damage in [&gone as &dyn Fn(&Data), &|data| {
        gone(data);
        fs::write(data.path().join(catalog), "").unwrap();
    }] {
        let data = whole.copy();
        damage(&data);
        let refused = Catalog::open_in(&Env::real(), data.path()).err().unwrap();
        assert!(refused.message().contains("check --repair"), "{refused}");
        spec(&whole, "no catalogue", damage, "catalog.sqlite", Left::Same);
    }
    let folded = |data: &Data| {
        // As a clean stop leaves it: one file.
        let catalog = Catalog::open_in(&Env::real(), data.path()).unwrap();
        data.runtime.block_on(catalog.checkpoint()).unwrap();
        drop(catalog);
        data.assert_closed();
    };
    for (what, damage) in [
        ("no SQLite", &(|bytes: &mut Vec<u8>| bytes[..64].fill(7)) as &dyn Fn(&mut Vec<u8>)),
        ("half", &|bytes| bytes.truncate(bytes.len() / 2)),
        ("a page of it", &|bytes| bytes[8192..12288].fill(0)),
    ] {
        let damage = |data: &Data| {
            folded(data);
            let mut bytes = data.bytes(catalog);
            damage(&mut bytes);
            gone(data);
            fs::write(data.path().join(catalog), bytes).unwrap();
        };
        spec(&whole, what, damage, "catalog.sqlite", Left::Same);
    }
}

#[test]
fn numbers_of_policies_are_not_used_twice_by_a_rescued_catalogue() {
    let data = Data::new();
    for file in data.files("catalog.sqlite") {
        remove(&data, &file);
    }
    assert_eq!(data.check(true).exit_code(), 3);
    let catalog = Catalog::open_in(&Env::real(), data.path()).unwrap();
    let made = data.runtime.block_on(catalog.create_database("new", NewPolicy::autogen())).unwrap().unwrap();
    // 1 and 2 live, 3 was dropped with its database.
    assert_eq!(made.id.0, 4);
}

#[test]
fn the_copy_of_the_catalogue_is_checked_too() {
    let whole = Data::new();
    let copy = Path::new("data/catalog.copy");
    spec(&whole, "no copy", |data| remove(data, copy), "catalog.copy", Left::Same);
    spec(&whole, "flipped copy", |data| flip(data, copy, 40), "catalog.copy", Left::Same);
    let both = |data: &Data| {
        remove(data, copy);
        data.files("catalog.sqlite").iter().for_each(|file| remove(data, file));
    };
    spec(&whole, "neither", both, "catalog", Left::Untouched);
}

#[test]
fn damage_of_log_and_names_is_told_and_left() {
    let whole = Data::new();
    let names = &whole.files("names/")[0];
    let name = names.file_name().unwrap().to_str().unwrap();
    for at in places(whole.bytes(names).len()) {
        spec(&whole, &format!("names byte {at}"), |data| flip(data, names, at), name, Left::Untouched);
    }
    spec(&whole, "no names", |data| remove(data, names), "", Left::Untouched);

    let log = whole.files("wal/").pop().unwrap();
    let bytes = whole.bytes(&log);
    let records: Vec<_> = (512..bytes.len()).step_by(512).filter(|at| bytes[*at..].starts_with(b"RhyR")).collect();
    let acknowledged = records[records.len() - 2];
    spec(&whole, "log", |data| flip(data, &log, acknowledged + 70), "wal", Left::Untouched);
    // The last group may have been torn: nobody can tell it from damage, and what is before it holds.
    let torn = whole.copy();
    flip(&torn, &log, records[records.len() - 1] + 70);
    let report = torn.check(false);
    assert_eq!((report.status, report.log.cut), (Status::Clean, true), "{report}");
}

#[test]
fn leftovers_are_listed_and_moved() {
    let data = Data::new();
    let dir = data.files("points-")[0].parent().unwrap().to_owned();
    for name in ["points-0000009999.parquet", "points-0000009999.idx.tmp", "series-0000009999.parquet"] {
        fs::write(data.path().join(&dir).join(name), "x").unwrap();
    }
    fs::write(data.path().join("names/names-0000000777.reg"), "x").unwrap();
    let found = data.check(false);
    assert_eq!((found.exit_code(), found.leftovers.len(), found.problems.len()), (0, 4, 0), "{found}");
    let repaired = data.check(true);
    assert_eq!(repaired.exit_code(), 3, "{repaired}");
    let moved = data.files("quarantine/");
    assert_eq!(moved.len(), 5, "four files and the list: {moved:?}");
    assert_eq!(data.check(false).leftovers, Vec::<String>::new());
}

#[test]
fn a_check_needs_a_stopped_server_and_a_directory() {
    let data = Data::new();
    let lock = Lock::take(data.path()).unwrap();
    let refused = run(&Env::real(), data.path(), false, &data.runtime, &mut Progress::silent()).unwrap_err();
    assert!(refused.message().contains("in use"), "{refused}");
    drop(lock);
    let nowhere = data.path().join("nowhere");
    let refused = run(&Env::real(), &nowhere, false, &data.runtime, &mut Progress::silent()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
    assert!(!nowhere.exists());
}
