//! Series move to other archives: what was shown before is shown after, as far as the new archives reach.

use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use rhythmite_engine::registry::Scope;
use rhythmite_engine::{SeriesFilter, Snapshot};
use rhythmite_model::{SeriesId, Tier};

use super::{Job, Phase};
use crate::ingest::{PathIngest, PathPoints, PathRules, RulesText};
use crate::query::graphite::tests::world::{NOW_S, World, show};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

fn world() -> World {
    World::with(|options| {
        options.rollup_grace = Duration::ZERO;
        options.rollup_delay = Duration::ZERO;
    })
}

/// A job by which every path is kept as `retentions` say.
fn job(world: &World, retentions: &str, aggregation: &str) -> (Job, Arc<PathIngest>) {
    let schemas = Some((format!("[all]\npattern = .*\nretentions = {retentions}\n"), "schemas".to_owned()));
    let aggregation = Some((aggregation.to_owned(), "aggregation".to_owned()));
    let (rules, warnings) = block_on(PathRules::load(&RulesText { schemas, aggregation }, &world.catalog)).unwrap();
    assert!(warnings.is_empty());
    let paths = Arc::new(PathIngest::new(world.engine.clone(), world.env.clock.clone(), rules));
    (Job::alone(&world.engine, &paths, &world.env, world.dir.path()), paths)
}

const AVERAGE: &str = "[all]\npattern = .*\nxFilesFactor = 0.5\naggregationMethod = average\n";

fn shown(world: &World, path: &str, range: (i64, i64)) -> String {
    world.fetch(path, range).unwrap().iter().map(show).collect::<Vec<_>>().join(" | ")
}

/// Points at one level of every series of a path.
fn stored(world: &World, path: &str, tier: Tier) -> usize {
    let slots: Vec<SeriesId> = {
        let names = world.engine.registry().read();
        let Some(head) = names.find_series(Scope::Paths, path.as_bytes()) else { return 0 };
        let all = std::iter::once(head).chain(names.older_series(head));
        all.map(|slot| names.series_id(slot)).collect()
    };
    let snapshot: Snapshot = world.engine.snapshot();
    let points = |id: &SeriesId| {
        let scan = snapshot.scan(id.table(), tier, SeriesFilter::List([*id].into()), None, i64::MIN..=i64::MAX);
        scan.unwrap().map(|points| points.unwrap().streams[0].times_ns.len()).sum::<usize>()
    };
    slots.iter().map(points).sum()
}

fn has_one_series(world: &World, path: &str) -> bool {
    let names = world.engine.registry().read();
    names.find_series(Scope::Paths, path.as_bytes()).is_some_and(|head| names.older_series(head).next().is_none())
}

/// Points every `step` seconds of the last `span`, written as senders do.
fn points(span: i64, step: i64) -> Vec<(i64, f64)> {
    // With a gap of a quarter of an hour now and then.
    let known = |n: &i64| (n * step) % 10_000 >= 900;
    (1..=span / step).rev().filter(known).map(|n| (NOW_S - n * step, (n % 97) as f64)).collect()
}

struct Case<'a> {
    old: &'a [(i64, i64)],
    new: &'a str,
    /// Span and step of the points.
    points: (i64, i64),
    /// What is asked for: shown the same before and after.
    same: &'a [(i64, i64)],
    boundary: bool,
}

fn check(case: &Case<'_>) {
    let world = world();
    let id = world.series("a.b", case.old, (1, 0.5, 0));
    let (job, paths) = job(&world, case.new, AVERAGE);
    for chunk in points(case.points.0, case.points.1).chunks(50_000) {
        world.write(id, 0, chunk);
    }
    world.engine.compact_all().unwrap();
    world.engine.compact_all().unwrap();
    let before: Vec<_> = case.same.iter().map(|range| shown(&world, "a.b", *range)).collect();
    assert!(before.iter().all(|text| text.bytes().filter(|b| *b == b' ').count() > 3), "{}: {before:?}", case.new);
    let plan = job.plan().unwrap();
    let [schema] = plan.schemas.as_slice() else { panic!("one schema: {plan:?}") };
    assert_eq!((schema.series, schema.series_moved), (1, 1), "{}", case.new);
    let status = job.run().unwrap();
    assert_eq!((status.phase, status.series_moved, status.waiting_series), (Phase::Done, 1, 0), "{}", case.new);
    let after = |when: &str| {
        for (range, before) in case.same.iter().zip(&before) {
            assert_eq!(&shown(&world, "a.b", *range), before, "{} {range:?} {when}", case.new);
        }
        assert!(has_one_series(&world, "a.b"), "{}", case.new);
    };
    after("moved");
    assert!(status.points_written > 0 && !job.was_interrupted().unwrap());
    assert_eq!(job.run().unwrap().series, 0, "nothing is left to do");
    world.engine.compact_all().unwrap();
    world.engine.compact_all().unwrap();
    after("and merged");
    let boundary = {
        let names = world.engine.registry().read();
        let head = names.find_series(Scope::Paths, b"a.b").unwrap();
        names.rollup(head).unwrap().imported_until_s
    };
    assert_eq!(boundary > 0, case.boundary, "{}: {boundary}", case.new);
    // Live points go on.
    let mut next = PathPoints::default();
    next.push("a.b", NOW_S, 5.0);
    drop(paths.write_paths(&next, rhythmite_engine::Durability::Interval).unwrap());
    assert!(has_one_series(&world, "a.b"));
}

#[test]
fn what_is_shown_stays() {
    let (short, long) = ((-HOUR, 0), (-5 * DAY, 0));
    let usual: &[(i64, i64)] = &[(10, 6 * HOUR), (60, 7 * DAY), (600, 365 * DAY)];
    for case in [
        // All raw points are there: everything is computed anew.
        Case {
            old: &[(10, DAY), (60, 7 * DAY)],
            new: "10s:1d,1m:30d",
            points: (20 * HOUR, 10),
            same: &[short, (-DAY, 0), long],
            boundary: false,
        },
        // Raw points have gone, windows of a minute stay: they are stored.
        Case {
            old: usual,
            new: "10s:6h,1m:14d,10m:2y",
            points: (6 * DAY, 10),
            same: &[short, (-5 * HOUR, 0), long, (-6 * DAY, -4 * DAY)],
            boundary: true,
        },
        Case { old: usual, new: "10s:6h,1m:7d", points: (6 * DAY, 10), same: &[short, long], boundary: true },
        // Fewer raw points: coarser windows are computed from those that the new archive hides.
        Case {
            old: &[(10, DAY), (60, 7 * DAY)],
            new: "10s:1h,1m:7d",
            points: (20 * HOUR, 10),
            same: &[(-HOUR + 60, 0), long],
            boundary: false,
        },
        // Another step.
        Case {
            old: &[(10, 2 * DAY), (60, 7 * DAY)],
            new: "1m:7d,10m:30d",
            points: (DAY, 10),
            same: &[(-3 * DAY, 0)],
            boundary: false,
        },
        // One archive becomes two, and two become one.
        Case {
            old: &[(60, 7 * DAY)],
            new: "1m:7d,10m:30d",
            points: (3 * DAY, 60),
            same: &[short, long],
            boundary: false,
        },
        Case {
            old: &[(60, 7 * DAY), (600, 30 * DAY)],
            new: "1m:7d",
            points: (3 * DAY, 60),
            same: &[short, long],
            boundary: false,
        },
    ] {
        check(&case);
    }
}

#[test]
fn finer_archives_keep_what_coarser_ones_had() {
    let world = world();
    let id = world.series("a.b", &[(60, DAY), (600, 30 * DAY)], (1, 0.5, 0));
    world.write(id, 0, &points(12 * HOUR, 60));
    let (job, _) = job(&world, "10s:6h,1m:1d,10m:30d", AVERAGE);
    let before = shown(&world, "a.b", (-10 * HOUR, 0));
    assert_eq!(job.run().unwrap().series_moved, 1);
    assert_eq!(shown(&world, "a.b", (-10 * HOUR, 0)), before);
    // One of six slots has a value.
    let fine = world.fetch("a.b", (-HOUR, 0)).unwrap().remove(0);
    assert_eq!((fine.step_s, fine.values.iter().filter(|v| !v.is_nan()).count()), (10, 45));
}

#[test]
fn old_and_new_points_are_joined_as_one_series() {
    let world = world();
    let id = world.series("a.b", &[(10, DAY), (60, 7 * DAY)], (1, 0.0, 0));
    let all = points(2 * HOUR, 10);
    let (early, late) = all.split_at(all.len() / 2);
    world.write(id, 0, early);
    // The rule has changed, and points come.
    let (job, paths) = job(&world, "10s:2d,1m:30d", "[all]\npattern = .*\nxFilesFactor = 0\naggregationMethod = max\n");
    let mut next = PathPoints::default();
    // The first of these overwrites what was written under the old rule.
    next.push("a.b", early[early.len() - 1].0, 1_000.0);
    late.iter().for_each(|(time, value)| next.push("a.b", *time, *value));
    drop(paths.write_paths(&next, rhythmite_engine::Durability::Interval).unwrap());
    assert_eq!(stored(&world, "a.b", Tier::RAW), all.len() + 1);
    assert_eq!(job.run().unwrap().series_moved, 1);
    assert_eq!(stored(&world, "a.b", Tier::RAW), all.len(), "no point is lost, none is there twice");
    assert!(has_one_series(&world, "a.b"));
    let found = world.fetch("a.b", (-2 * HOUR - 1, 0)).unwrap().remove(0);
    assert_eq!(found.values.iter().copied().fold(0.0, f64::max), 1_000.0);
}

#[test]
fn another_method_is_taken_and_a_repeated_run_finds_nothing() {
    let world = world();
    let id = world.series("a.b", &[(10, HOUR), (60, 7 * DAY)], (1, 0.5, 0));
    world.write(id, 0, &[(NOW_S - 120, 1.0), (NOW_S - 110, 5.0)]);
    let (job, _) = job(&world, "10s:1h,1m:7d", "[all]\npattern = .*\nxFilesFactor = 0\naggregationMethod = max\n");
    let plan = job.plan().unwrap();
    assert_eq!((plan.schemas[0].series_moved, plan.schemas[0].series_with_other_rule), (0, 1));
    let status = job.run().unwrap();
    assert_eq!((status.series, status.rules_changed), (0, 1));
    assert_eq!(shown(&world, "a.b", (-2 * HOUR, -HOUR - 1)), "60: 59*-");
    let coarse = world.fetch_at("a.b", (NOW_S - 180, NOW_S), NOW_S + 2 * HOUR).unwrap().remove(0);
    assert!(coarse.values.contains(&5.0), "{:?}", coarse.values);
    assert_eq!(job.run().unwrap().rules_changed, 0);
}

#[test]
fn a_plan_says_what_goes_and_what_is_rolled_up() {
    let world = world();
    let id = world.series("a.b", &[(60, 30 * DAY)], (1, 0.5, 0));
    world.write(id, 0, &points(20 * DAY, 60));
    world.series("c.d", &[(60, DAY), (600, 10 * DAY)], (1, 0.5, 0));
    world.engine.compact_all().unwrap();
    let (job, _) = job(&world, "1m:1d,10m:10d", AVERAGE);
    let schema = job.plan().unwrap().schemas.remove(0);
    assert_eq!((schema.schema.as_str(), schema.retentions.as_str()), ("all", "60s:86400s,600s:864000s"));
    let near = |found: u64, expected: u64| assert!(found.abs_diff(expected) <= expected / 50 + 2, "{found} {expected}");
    let (count, day) = (stored(&world, "a.b", Tier::RAW), stored(&world, "a.b", Tier::RAW) / 20);
    assert_eq!((schema.series, schema.series_moved, schema.points_before), (2, 1, count as u64));
    near(schema.points_dropped, 10 * day as u64);
    near(schema.points_rolled_up, 9 * day as u64);
    // A day of points, and ten days of windows with five values each.
    near(schema.points_after, (day + 10 * (day / 10) * 5) as u64);
    assert!(schema.bytes_before > schema.bytes_after && schema.bytes_after > 0, "{schema:?}");
    // Nothing has moved.
    assert_eq!(stored(&world, "a.b", Tier::RAW), count);
    job.run().unwrap();
    near(stored(&world, "a.b", Tier::RAW) as u64, 10 * day as u64);
}

#[test]
fn an_interrupted_job_goes_on() {
    let world = world();
    let id = world.series("a.b", &[(60, DAY)], (1, 0.5, 0));
    world.write(id, 0, &points(2 * HOUR, 60));
    let (job, _) = job(&world, "1m:2d,10m:30d", AVERAGE);
    assert!(!job.was_interrupted().unwrap());
    // A step was committed, the server ended before the boundary was written.
    let until_s = NOW_S - NOW_S % 600 - 3_600;
    let file = world.dir.path().join("schema-apply.json");
    let text = format!(r#"{{"boundaries":[[{},{until_s}],[77,5]]}}"#, id.0);
    std::fs::write(&file, text).unwrap();
    assert!(job.was_interrupted().unwrap());
    assert_eq!(job.begin().unwrap(), super::Begun::Yes);
    assert!(job.clone().finish(Duration::from_secs(60)));
    assert_eq!((job.status().phase, job.status().series_moved), (Phase::Done, 1));
    assert!(!file.exists() && has_one_series(&world, "a.b"));
    // One that is halted for a restart stays begun, a cancelled one does not.
    for cancelled in [false, true] {
        std::fs::write(&file, r#"{"boundaries":[]}"#).unwrap();
        if cancelled {
            assert!(!job.cancel());
        } else {
            job.halt();
        }
        assert_eq!(job.run().unwrap().phase, Phase::Done, "what was asked before it began is not meant");
    }
    std::fs::write(&file, "nonsense").unwrap();
    assert!(job.run().is_err());
    assert_eq!(job.status().phase, Phase::Failed);
}
