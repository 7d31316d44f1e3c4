use std::fs;

use rhythmite_whisper::{AggregationMethod, Ring, Whisper, write};

use super::whisper::{Options, export};
use crate::import::Progress;
use crate::import::verify::verify;
use crate::import::whisper::import;
use crate::query::graphite::tests::world::{NOW_S, World};

const ALL: &str = "**";

fn options(pattern: &str) -> Options {
    Options { pattern: pattern.to_owned(), overwrite: false, dry_run: false }
}

/// A file whose coarse archive reaches back further and holds something else than the fine one's mean.
fn file(seed: u32, age_s: u32) -> Vec<u8> {
    let rings = [(10, 60), (60, 90)].map(|(step, points)| {
        let last = NOW_S as u32 - age_s;
        let last = last - last % step;
        // A coarse slot that is not over when the file is imported follows the fine points from then on.
        let times = (u32::from(step > 10)..points).map(|i| last - i * step).filter(|t| t / step % 7 != 0);
        (step, points, times.map(|t| (t, f64::from(t % 997 + seed) / 3.0)).collect::<Vec<_>>())
    });
    let rings: Vec<Ring<'_>> =
        rings.iter().map(|(step_s, points, data)| Ring { step_s: *step_s, points: *points, data }).collect();
    write(AggregationMethod::Sum, 0.25, &rings).unwrap()
}

/// Header and points of every archive.
fn content(bytes: &[u8]) -> (String, Vec<Vec<(u32, u64)>>) {
    let whisper = Whisper::parse(bytes).unwrap();
    let header = whisper.header();
    let archives: Vec<_> = header.archives.iter().map(|a| (a.step_s, a.points)).collect();
    let bits = |i| whisper.points(i).unwrap().into_iter().map(|(t, v)| (t, v.to_bits())).collect();
    let points = (0..archives.len()).map(bits).collect();
    (format!("{:?} {} {archives:?}", header.method, header.x_files_factor), points)
}

#[test]
fn imported_files_come_out_as_they_went_in() {
    let world = World::new();
    let tagged = "_tagged/d9c/8c1/disk_DOT_used;host=a_DOT_b.wsp";
    let tree = tempfile::tempdir().unwrap();
    // Old points too: a ring is not emptied by time.
    let files = [("a/b.wsp", file(0, 0)), ("a/old.wsp", file(1, 400_000_000)), (tagged, file(2, 60))];
    for (path, bytes) in &files {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let dir = world.dir.path();
    let mut progress = Progress::silent();
    import(&world.env, dir, &world.engine, &world.catalog, tree.path(), &mut progress).unwrap();
    let verified = verify(&world.env, &world.engine, tree.path()).unwrap();
    assert!(verified.is_equal() && verified.files_equal == 3 && verified.points_only_stored == 0, "{verified}");
    for flushed in [false, true] {
        if flushed {
            world.engine.flush().unwrap();
        }
        let out = tempfile::tempdir().unwrap();
        let summary = export(&world.engine, out.path(), &options(ALL)).unwrap();
        assert_eq!((summary.files, summary.refused, summary.exit_code()), (3, 0, 0), "{summary}");
        let written: Vec<_> = walkdir(out.path());
        for (path, bytes) in &files {
            let name = path.rsplit('/').next().unwrap();
            let found = written.iter().find(|p| p.ends_with(name)).unwrap();
            assert_eq!(content(&fs::read(found).unwrap()), content(bytes), "{path}");
        }
        assert_eq!(export(&world.engine, out.path(), &options(ALL)).unwrap().skipped, 3);
    }
}

#[test]
fn a_point_changed_since_is_found_by_verifying() {
    let world = World::new();
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("a.wsp"), file(0, 0)).unwrap();
    fs::write(tree.path().join("later.wsp"), b"").unwrap();
    let dir = world.dir.path();
    import(&world.env, dir, &world.engine, &world.catalog, tree.path(), &mut Progress::silent()).unwrap();
    fs::write(tree.path().join("a.wsp"), file(1, 0)).unwrap();
    fs::write(tree.path().join("later.wsp"), file(1, 0)).unwrap();
    let verified = verify(&world.env, &world.engine, tree.path()).unwrap();
    assert_eq!((verified.files_equal, verified.files_differing), (0, 2), "{verified}");
    assert!(verified.points_different > 100 && verified.points_missing > 100, "{verified}");
    assert_eq!(verified.differences[1], ("later.wsp".to_owned(), "the series is not there".to_owned()));
}

#[test]
fn live_points_are_rolled_up_by_the_series_rule() {
    let world = World::new();
    let id = world.series("live.x", &[(10, 60), (60, 3_600)], (2, 0.5, 0));
    let now = world.env.clock.now_s() - world.env.clock.now_s() % 60;
    world.write(id, 0, &[(now - 60, 1.0), (now - 50, 2.0), (now - 40, 3.0), (now - 5, 4.0)]);
    world.series("forever", &[(10, 0)], (1, 0.5, 0));
    let out = tempfile::tempdir().unwrap();
    let summary = export(&world.engine, out.path(), &options(ALL)).unwrap();
    assert_eq!((summary.files, summary.refused), (1, 1));
    assert_eq!(summary.problems, [("forever".to_owned(), "its points are kept for ever".to_owned())]);
    let (header, points) = content(&fs::read(out.path().join("live/x.wsp")).unwrap());
    assert_eq!(header, "Sum 0.5 [(10, 6), (60, 60)]");
    let t = now as u32;
    let bits = |points: &[(u32, f64)]| points.iter().map(|(t, v)| (*t, v.to_bits())).collect::<Vec<_>>();
    assert_eq!(points[0], bits(&[(t - 60, 1.0), (t - 50, 2.0), (t - 40, 3.0), (t - 10, 4.0)]));
    assert_eq!(points[1], bits(&[(t - 60, 10.0)]));
    assert_eq!(export(&world.engine, out.path(), &options("nothing.*")).unwrap().files, 0);
    let dry = Options { dry_run: true, overwrite: true, ..options("live.*") };
    fs::remove_file(out.path().join("live/x.wsp")).unwrap();
    assert_eq!(export(&world.engine, out.path(), &dry).unwrap().files, 1);
    assert!(!out.path().join("live/x.wsp").exists());
}

fn walkdir(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries.flat_map(|p| if p.is_dir() { walkdir(&p) } else { vec![p] }).collect()
}
