use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rhythmite_engine::registry::Scope;
use rhythmite_env::{Clock, ManualClock};
use rhythmite_model::{Error, ErrorKind, Level, RollupRule};
use rhythmite_whisper::{AggregationMethod, Ring, Whisper, write};

use super::journal::Journal;
use super::load::{Loader, Prepared, Wait};
use super::walk::Walk;
use super::whisper::{dry_run, import};
use super::{Progress, Summary};
use crate::query::graphite::tests::world::{NOW_S, World};

const LEVELS: [(u32, u32); 3] = [(10, 60), (60, 60), (300, 48)];

/// A file whose archives hold different things, as whisper's do: the coarse ones reach back further, and are no exact
/// image of the fine ones.
fn file(seed: u32) -> Vec<u8> {
    let now = NOW_S as u32;
    let points: Vec<Vec<_>> = LEVELS
        .iter()
        .map(|&(step, points)| {
            let last = now - now % step;
            let times = (0..points).map(|i| last - i * step).filter(|t| t / step % (seed + 2) != 0);
            times.map(|t| (t, f64::from(t % 1_000 + seed + step))).collect()
        })
        .collect();
    let rings = LEVELS.iter().zip(&points).map(|(&(step_s, points), data)| Ring { step_s, points, data });
    write(AggregationMethod::Max, 0.25, &rings.collect::<Vec<_>>()).unwrap()
}

struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, bytes)| tree.put(path, bytes));
        tree
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

impl World {
    fn import(&self, tree: &Tree) -> Summary {
        let dir = self.dir.path();
        import(&self.env, dir, &self.engine, &self.catalog, tree.path(), &mut Progress::silent()).unwrap()
    }

    fn rollup(&self, path: &str) -> RollupRule {
        let names = self.engine.registry().read();
        let slot = names.find_series(Scope::Paths, path.as_bytes()).unwrap();
        names.rollup(slot).unwrap()
    }

    /// (ok, skipped, damaged)
    fn files(&self, tree: &Tree) -> (u64, u64, u64) {
        let summary = self.import(tree);
        (summary.files_ok, summary.files_skipped, summary.files_damaged)
    }
}

/// Every range that whisper answers from the file is answered the same.
fn same_answers(world: &World, target: &str, bytes: &[u8]) {
    let whisper = Whisper::parse(bytes).unwrap();
    for from in [-14_500, -14_400, -7_000, -3_601, -3_600, -1_200, -601, -600, -300, -10, -1] {
        for until in [0, -5, -60, -299, -4_000, -14_000].into_iter().filter(|until| *until > from) {
            let want = whisper.fetch(NOW_S + from, NOW_S + until, NOW_S as u32).unwrap();
            let got = world.fetch(target, (from, until)).unwrap();
            let Some(want) = want else {
                assert!(got.is_empty(), "{target} {from} {until}");
                continue;
            };
            let series = &got[0];
            assert_eq!(
                (series.start_s, series.end_s, series.step_s),
                (want.start_s, want.end_s, i64::from(want.step_s)),
                "{target} {from} {until}"
            );
            let values: Vec<_> = series.values.iter().map(|v| (!v.is_nan()).then_some(*v)).collect();
            assert_eq!(values, want.values, "{target} {from} {until}");
        }
    }
}

#[test]
fn what_the_files_hold_is_what_queries_answer() {
    let (one, two, empty) =
        (file(0), file(1), write(AggregationMethod::Last, 0.0, &[Ring { step_s: 60, points: 60, data: &[] }]));
    let empty = empty.unwrap();
    let tagged = "_tagged/abc/def/disk_DOT_used;dc=1;host=a_DOT_b.wsp";
    let tree =
        Tree::new(&[("a/b.wsp", &one), ("a/b/c.wsp", &two), ("e.wsp", &empty), (tagged, &two), ("a/notes.txt", b"x")]);
    let world = World::new();
    let summary = world.import(&tree);
    assert_eq!((summary.files_ok, summary.series, summary.exit_code(), summary.problems.len()), (4, 4, 0, 0));
    let points: usize = [&one, &two, &two]
        .iter()
        .map(|f| (0..3).map(|i| Whisper::parse(f).unwrap().points(i).unwrap().len()).sum::<usize>())
        .sum();
    assert_eq!(summary.points, points as u64);
    for (target, bytes) in
        [("a.b", &one), ("a.b.c", &two), ("seriesByTag('name=disk.used', 'host=a.b')", &two), ("e", &empty)]
    {
        same_answers(&world, target, bytes);
    }
    // The same once everything is in files.
    world.engine.drain().unwrap();
    world.engine.flush().unwrap();
    same_answers(&world, "a.b", &one);
    let rollup = world.rollup("a.b");
    assert_eq!((rollup.method, rollup.x_files_factor, rollup.imported_until_s), (4, 0.25, NOW_S));
}

#[test]
fn archives_are_told_apart_by_their_steps_whatever_their_order() {
    let bytes = file(0);
    let mut swapped = bytes.clone();
    swapped[16..28].copy_from_slice(&bytes[28..40]);
    swapped[28..40].copy_from_slice(&bytes[16..28]);
    let tree = Tree::new(&[("a.wsp", &swapped)]);
    let world = World::new();
    assert_eq!(world.files(&tree), (1, 0, 0));
    same_answers(&world, "a", &bytes);
}

#[test]
fn a_walk_is_in_the_order_of_the_paths() {
    let names = ["b/a.wsp", "a/c.wsp", "a/b/z.wsp", "a/b.wsp", "c.wsp", "A.wsp"];
    let tree = Tree::new(&names.map(|name| (name, &b""[..])));
    let found: Vec<_> = Walk::new(tree.path(), ".wsp").unwrap().map(|f| f.unwrap().relative).collect();
    assert_eq!(found, ["A.wsp", "a/b/z.wsp", "a/b.wsp", "a/c.wsp", "b/a.wsp", "c.wsp"]);
}

#[test]
fn series_are_numbered_in_the_order_of_the_walk_however_long_each_file_takes() {
    let points: Vec<_> = (0..20_000).map(|i| (NOW_S as u32 - 60 * (i + 1), f64::from(i))).collect();
    let long = write(AggregationMethod::Sum, 0.5, &[Ring { step_s: 60, points: 20_000, data: &points }]).unwrap();
    let short = write(AggregationMethod::Sum, 0.5, &[Ring { step_s: 60, points: 20_000, data: &points[..1] }]).unwrap();
    let names: Vec<String> = (0..120).map(|i| format!("s{i:03}.wsp")).collect();
    let bytes = |i: usize| if i.is_multiple_of(17) { long.as_slice() } else { short.as_slice() };
    let files: Vec<_> = names.iter().enumerate().map(|(i, name)| (name.as_str(), bytes(i))).collect();
    let (tree, world) = (Tree::new(&files), World::new());
    assert_eq!(world.files(&tree), (120, 0, 0));
    let registry = world.engine.registry().read();
    let ids = names.iter().map(|name| {
        let slot = registry.find_series(Scope::Paths, name.trim_end_matches(".wsp").as_bytes()).unwrap();
        registry.series_id(slot)
    });
    assert!(ids.is_sorted());
}

#[test]
fn a_repeated_import_reads_only_what_has_changed() {
    let tree = Tree::new(&[("a.wsp", &file(0)), ("b.wsp", &file(1))]);
    let world = World::new();
    assert_eq!(world.files(&tree), (2, 0, 0));
    assert_eq!(world.files(&tree), (0, 2, 0));
    let changed =
        write(AggregationMethod::Sum, 0.5, &[Ring { step_s: 60, points: 5, data: &[(NOW_S as u32 - 60, 5.0)] }]);
    tree.put("b.wsp", changed.as_ref().unwrap());
    tree.put("c.wsp", &file(2));
    assert_eq!(world.files(&tree), (2, 1, 0));
    same_answers(&world, "c", &file(2));
    // The same archives, rolled up in another way from now on.
    let mut other_method = file(0);
    other_method[3] = 2;
    tree.put("a.wsp", &other_method);
    tree.put("a.wsp.tmp", b"");
    fs::File::open(tree.path().join("a.wsp")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(world.files(&tree), (1, 2, 0));
    assert_eq!(world.rollup("a").method, 2);
    // The same files under another root are another import.
    let other = Tree::new(&[("a.wsp", &file(0))]);
    assert_eq!(world.files(&other), (1, 0, 0));
}

#[test]
fn an_interrupted_import_goes_on() {
    let tree = Tree::new(&[("a.wsp", &file(0)), ("b.wsp", &file(1)), ("c.wsp", &file(2))]);
    let world = World::new();
    world.import(&tree);
    let journal = fs::read_dir(world.dir.path().join("import")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read(&journal).unwrap();
    // Cut anywhere: whole lines count, the torn one does not, and the journal is whole again afterwards.
    for len in 0..text.len() {
        fs::write(&journal, &text[..len]).unwrap();
        let (ok, skipped, damaged) = world.files(&tree);
        assert_eq!((ok + skipped, damaged), (3, 0), "cut at {len}");
        let lines = text[..len].iter().filter(|b| **b == b'\n').count() as u64;
        assert_eq!(skipped, lines.saturating_sub(1), "cut at {len}");
        assert_eq!(world.files(&tree), (0, 3, 0), "cut at {len}");
    }
    // Nothing of a torn line is left behind a shorter one.
    fs::write(&journal, [&text[..], &[b'7'; 4_000]].concat()).unwrap();
    tree.put("d.wsp", &file(0));
    assert_eq!(world.files(&tree), (1, 3, 0));
    assert_eq!(world.files(&tree), (0, 4, 0));
    fs::write(&journal, "something else\n").unwrap();
    let dir = world.dir.path();
    let e = import(&world.env, dir, &world.engine, &world.catalog, tree.path(), &mut Progress::silent()).unwrap_err();
    assert!(e.to_string().contains("journal"), "{e}");
}

#[test]
fn damaged_files_are_listed_and_the_rest_is_imported() {
    let whole = file(0);
    let mut bad_method = whole.clone();
    bad_method[3] = 77;
    let cut = &whole[..whole.len() - 12 * 20];
    let hash = "_tagged/abc/def/0123456789abcdef.wsp";
    let tree = Tree::new(&[("a.wsp", &whole), ("b.wsp", &bad_method), ("c.wsp", cut), ("d.wsp", b""), (hash, &whole)]);
    std::os::unix::fs::symlink(tree.path(), tree.path().join("loop")).unwrap();
    std::os::unix::fs::symlink("/nowhere", tree.path().join("z.wsp")).unwrap();
    let world = World::new();
    let summary = world.import(&tree);
    assert_eq!((summary.files_ok, summary.files_damaged, summary.exit_code()), (1, 6, 2));
    let places: Vec<_> = summary.problems.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(places, [hash, "b.wsp", "c.wsp", "d.wsp", "loop", "z.wsp"]);
    let reasons: Vec<_> = summary.problems.iter().map(|(_, why)| why.as_str()).collect();
    for (reason, part) in reasons.iter().zip(["hash", "method 77", "archive 2", "header", "above it", "No such file"]) {
        assert!(reason.contains(part), "{reason}");
    }
    // What could be read of the cut file is there; it is told again next time.
    assert_eq!(summary.series, 2);
    assert_eq!(world.fetch("c", (-600, 0)).unwrap()[0].step_s, 10);
    assert_eq!(world.files(&tree), (0, 1, 6));
    // One line of figures: the files are listed apart from it, so each is told once.
    assert!(summary.to_string().ends_with(" in 0.0 s"), "{summary}");
    assert!(!summary.to_string().contains("b.wsp") && !summary.to_string().contains('\n'), "{summary}");
}

#[test]
fn a_limit_refuses_some_series_and_not_the_others() {
    let tree = Tree::new(&[("a.wsp", &file(0)), ("b.wsp", &file(0))]);
    let world = World::new();
    // Names of more than 127 parts are refused by the registry.
    let deep = (0..126).map(|_| "d").collect::<Vec<_>>().join("/");
    tree.put(&format!("{deep}/e/f.wsp"), &file(0));
    let summary = world.import(&tree);
    assert_eq!((summary.files_ok, summary.files_damaged), (2, 1), "{summary}");
    same_answers(&world, "b", &file(0));
}

#[test]
fn a_limit_of_an_hour_is_not_waited_for() {
    let tree = Tree::new(&[("a.wsp", &file(0)), ("b.wsp", &file(0))]);
    let world = World::with(|options| options.limits.new_series_per_hour = 1);
    let summary = world.import(&tree);
    assert!(summary.files_damaged > 0 && summary.files_ok + summary.files_damaged == 2, "{summary}");
    assert!(summary.problems[0].1.contains("1 new ones this hour"), "{:?}", summary.problems);
}

/// (how to wait, pauses so far): each pause takes a hundred times its time.
fn waiting<T>(work: impl FnOnce(Wait<'_>, &Cell<u32>) -> T) -> T {
    let (clock, pauses) = (ManualClock::new(0), Cell::new(0));
    let pause = |by: Duration| {
        clock.advance(by * 100);
        pauses.set(pauses.get() + 1);
    };
    work(Wait { clock: &clock as &dyn Clock, pause: &pause }, &pauses)
}

#[test]
fn what_is_overloaded_is_tried_for_minutes() {
    // 200 s, shorter than the limit: it goes on.
    let attempt = |pauses: &Cell<u32>| if pauses.get() < 100 { Err(Error::overloaded("behind")) } else { Ok(7) };
    assert_eq!(waiting(|wait, pauses| wait.until_taken(|| attempt(pauses))), Ok(7));
    let e = waiting(|wait, _| wait.until_taken(|| Err::<(), _>(Error::overloaded("behind")))).unwrap_err();
    assert_eq!((e.kind(), e.message()), (ErrorKind::Unavailable, "nothing was taken for 300 s: behind"));
    let e = waiting(|wait, _| wait.until_taken(|| Err::<(), _>(Error::invalid("no")))).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Invalid);
}

#[test]
fn a_log_that_is_behind_does_not_damage_files() {
    let names: Vec<String> = (0..200).map(|i| format!("a.name.of.some.length.{i}.wsp")).collect();
    let tree = Tree::new(&names.iter().map(|name| (name.as_str(), &b""[..])).collect::<Vec<_>>());
    let world = World::with(|options| options.wal.wal_bytes_max = 4_096);
    waiting(|wait, pauses| {
        let journal = Journal::open(&world.env, world.dir.path(), tree.path()).unwrap();
        let mut loader = Loader::new(&world.engine, &world.catalog, journal, wait);
        for found in Walk::new(tree.path(), ".wsp").unwrap().map(Result::unwrap) {
            let levels = vec![Level { step_ns: 1_000_000_000, retention_ns: 60_000_000_000 }];
            let rollup = RollupRule { method: 1, x_files_factor: 0.5, imported_until_s: 0 };
            let name = found.relative.clone();
            loader.push(Prepared { found, name, levels, rollup, points: vec![Vec::new()], whole: true }).unwrap();
        }
        let e = loader.flush().unwrap_err();
        assert!(e.kind() == ErrorKind::Unavailable && e.message().contains("the log is full"), "{e}");
        assert!(pauses.get() > 100 && loader.refused.is_empty(), "{:?}", loader.refused);
    });
}

#[test]
fn a_dry_run_writes_nothing() {
    let tree = Tree::new(&[("a.wsp", &file(0)), ("b.wsp", b"no")]);
    let world = World::new();
    let summary = dry_run(&world.env, tree.path(), &mut Progress::silent()).unwrap();
    assert_eq!((summary.files_ok, summary.files_damaged, summary.series), (1, 1, 1));
    assert!(summary.points > 0);
    assert!(!world.dir.path().join("import").exists());
    assert!(world.fetch("*", (-600, 0)).unwrap().is_empty());
    assert!(dry_run(&world.env, Path::new("/nowhere"), &mut Progress::silent()).is_err());
}

#[test]
fn live_points_after_the_import_go_on_in_the_same_series() {
    let tree = Tree::new(&[("a.wsp", &file(0))]);
    let world = World::new();
    world.import(&tree);
    let ingest = world.ingest();
    let mut points = crate::ingest::PathPoints::default();
    points.push("a", NOW_S - 3, 4_711.0);
    drop(ingest.write_paths(&points, rhythmite_engine::Durability::Interval).unwrap());
    let series = world.fetch("a", (-20, 0)).unwrap();
    assert_eq!((series.len(), series[0].step_s, series[0].values[0]), (1, 10, 4_711.0));
}
