pub(crate) mod world;

use proptest::prelude::*;
use rhythmite_engine::Stream;
use rhythmite_graphite::series::RollupMethod;
use rhythmite_model::{Aggregate, Column, FieldId, Level, Tier};

use super::rollup::Rule;
use super::slots::fill;
use super::tags;
use super::window::{Window, window};
use world::{SECOND_NS, World};

const N: f64 = f64::NAN;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

fn levels(archives: &[(i64, i64)]) -> Vec<Level> {
    let level = |&(step, kept)| Level { step_ns: step * SECOND_NS, retention_ns: kept * SECOND_NS };
    archives.iter().map(level).collect()
}

#[test]
fn the_archive_is_chosen_by_the_distance_from_now_alone() {
    let now = 1_717_243_200;
    let levels = levels(&[(10, 6 * HOUR), (60, 7 * DAY), (600, 365 * DAY)]);
    let check = |from: i64, until: i64, want: Option<(u8, i64, i64, i64)>| {
        let got = window(&levels, now + from, now + until, now);
        let want = want.map(|(tier, start, end, step_s)| Window {
            tier: Tier(tier),
            start_s: now + start,
            end_s: now + end,
            step_s,
        });
        assert_eq!(got, want, "from {from} until {until}");
    };
    // The point at `from` is excluded, the one at `until` included.
    check(-60, 0, Some((0, -50, 10, 10)));
    check(-61, -1, Some((0, -60, 0, 10)));
    check(-6 * HOUR, 0, Some((0, -6 * HOUR + 10, 10, 10)));
    check(-6 * HOUR - 1, 0, Some((1, -6 * HOUR, 60, 60)));
    check(-7 * DAY - 1, 0, Some((2, -7 * DAY, 600, 600)));
    // An old range of a few minutes still comes from the archive that reaches back to it.
    check(-DAY, -DAY + 120, Some((1, -DAY + 60, -DAY + 180, 60)));
    // Both ends in one slot: one slot is answered.
    check(-5, -1, Some((0, 0, 10, 10)));
    check(0, 0, Some((0, 10, 20, 10)));
    // Cut to what is kept, and to now.
    check(-400 * DAY, 0, Some((2, -365 * DAY + 600, 600, 600)));
    check(-60, HOUR, Some((0, -50, 10, 10)));
    check(1, 60, None);
    check(-400 * DAY, -366 * DAY, None);
    check(0, -60, None);
}

#[test]
fn a_level_for_ever_reaches_everything() {
    let forever = [Level { step_ns: 60 * SECOND_NS, retention_ns: 0 }];
    let got = window(&forever, 0, 120, 1_717_243_200).map(|w| (w.start_s, w.end_s));
    assert_eq!(got, Some((60, 180)));
    assert_eq!(window(&[], 0, 1, 2), None);
}

fn ns(times: &[i64]) -> Vec<i64> {
    times.iter().map(|t| t * SECOND_NS).collect()
}

fn same(got: &[f64], want: &[f64], what: &str) {
    let bits =
        |values: &[f64]| values.iter().map(|v| if v.is_nan() { u64::MAX } else { v.to_bits() }).collect::<Vec<_>>();
    assert_eq!(bits(got), bits(want), "{what}: {got:?}, expected {want:?}");
}

#[test]
fn points_fall_into_their_slots() {
    let window = Window { tier: Tier::RAW, start_s: 100, end_s: 150, step_s: 10 };
    for (times, want) in [
        (&[100, 110, 120, 130, 140][..], [0., 1., 2., 3., 4.]),
        (&[], [N, N, N, N, N]),
        (&[90, 99, 100], [2., N, N, N, N]),
        (&[100, 140, 150, 9_999], [0., N, N, N, 1.]),
        // Off the step: the slot it lies in; the later one stays.
        (&[101, 109, 131], [1., N, N, 2., N]),
        (&[-50, 149], [N, N, N, N, 1.]),
    ] {
        let values: Vec<f64> = (0..times.len()).map(|i| i as f64).collect();
        let mut slots = vec![N; 5];
        fill(&window, &ns(times), &values, &mut slots);
        same(&slots, &want, &format!("{times:?}"));
    }
}

proptest! {
    #[test]
    fn slots_are_found_as_by_division(
        (start_s, step_s) in (-1_000_000_000_i64..4_000_000_000, prop_oneof![Just(1), Just(10), Just(60), 1..100_000_i64]),
        gaps_ns in prop::collection::vec(prop_oneof![Just(0), Just(1), Just(10 * SECOND_NS), 0..200_000 * SECOND_NS], 0..60),
        early_ns in -100_000 * SECOND_NS..100_000 * SECOND_NS,
    ) {
        let window = Window { tier: Tier::RAW, start_s, end_s: start_s + 40 * step_s, step_s };
        let times = gaps_ns.iter().scan(start_s * SECOND_NS + early_ns, |at, gap| {
            *at += gap;
            Some(*at)
        });
        let times: Vec<i64> = times.collect();
        let values: Vec<f64> = (0..times.len()).map(|i| i as f64).collect();
        let (mut got, mut want) = (vec![N; 40], vec![N; 40]);
        fill(&window, &times, &values, &mut got);
        for (t, v) in times.iter().zip(&values) {
            let at = (t - start_s * SECOND_NS).div_euclid(step_s * SECOND_NS);
            if let Some(slot) = usize::try_from(at).ok().and_then(|at| want.get_mut(at)) {
                *slot = *v;
            }
        }
        same(&got, &want, &format!("{times:?}"));
    }
}

/// What is kept of points, as the engine gives it.
fn rolled(times: &[i64], values: &[f64], step_s: i64) -> Vec<Stream> {
    let mut windows: std::collections::BTreeMap<i64, Vec<f64>> = std::collections::BTreeMap::new();
    times.iter().zip(values).for_each(|(t, v)| windows.entry(t - t.rem_euclid(step_s)).or_default().push(*v));
    let starts = ns(&windows.keys().copied().collect::<Vec<_>>());
    let stream = |aggregate: Aggregate, values: Column| Stream {
        field: aggregate.of(FieldId(0)).unwrap(),
        times_ns: starts.clone(),
        values,
    };
    let each = |f: &dyn Fn(&[f64]) -> f64| Column::Float(windows.values().map(|v| f(v)).collect());
    vec![
        stream(Aggregate::Count, Column::Integer(windows.values().map(|v| v.len() as i64).collect())),
        stream(Aggregate::Sum, each(&|v| v.iter().sum())),
        stream(Aggregate::Last, each(&|v| v[v.len() - 1])),
        stream(Aggregate::Median, each(&|v| (v[(v.len() - 1) / 2] + v[v.len() / 2]) / 2.0)),
    ]
}

#[test]
fn live_slots_are_computed_and_imported_ones_are_not() {
    let window = Window { tier: Tier(1), start_s: 60, end_s: 300, step_s: 60 };
    let times: Vec<i64> = (6..30).map(|i| i * 10).collect();
    let values: Vec<f64> = times.iter().map(|t| *t as f64).collect();
    let check = |imported_until_s, method, x_files_factor, points: usize, stored: [f64; 4], want: [f64; 4]| {
        let rule = Rule { method, x_files_factor, fine_step_s: 10, imported_until_s };
        let mut slots = stored.to_vec();
        let streams = rolled(&times[..points], &values[..points], 60);
        // The finest level reaches back to the middle of the range.
        rule.apply(&window, 180, (FieldId(0), &streams), &mut slots);
        same(&slots, &want, &format!("{imported_until_s} {method:?} {x_files_factor} {points}"));
    };
    use RollupMethod::{Average, Last, Median, Sum};
    let all = times.len();
    check(0, Average, 0.5, all, [N; 4], [85., 145., 205., 265.]);
    check(300, Sum, 0.0, all, [1.; 4], [1.; 4]);
    check(0, Sum, 0.0, all, [N; 4], [510., 870., 1230., 1590.]);
    // What came too late for the points stands.
    check(0, Sum, 0.0, all, [N, 1., 1., N], [510., 1., 1230., 1590.]);
    check(0, Median, 0.0, all, [N; 4], [85., 145., 205., 265.]);
    // Two of six points of the last window: too few for a half, enough for a third.
    check(0, Last, 0.5, 20, [N; 4], [110., 170., 230., N]);
    check(0, Last, 0.3, 20, [N; 4], [110., 170., 230., 250.]);
    // Too few points make a slot of the import empty, too.
    check(250, Last, 0.5, 20, [1.; 4], [1., 1., 1., N]);
    check(0, Last, 0.5, 18, [N, N, 1., 1.], [110., 170., 230., 1.]);
    // A window that ends at the import was imported; the one across it was not.
    check(120, Last, 0.0, all, [1., N, N, N], [1., 170., 230., 290.]);
    check(121, Last, 0.0, all, [N; 4], [N, 170., 230., 290.]);
    check(179, Last, 0.0, all, [N; 4], [N, 170., 230., 290.]);
    check(180, Last, 0.0, all, [N; 4], [N, N, 230., 290.]);
    check(300, Last, 0.0, all, [N; 4], [N; 4]);
}

#[test]
fn long_gaps_and_long_ranges_are_rolled_up() {
    let steps = 200_000;
    let window = Window { tier: Tier(1), start_s: 0, end_s: steps * 60, step_s: 60 };
    let times: Vec<i64> = (0..steps).filter(|i| i % 9 == 0 || *i > steps - 40).map(|i| i * 60 + 30).collect();
    let values: Vec<f64> = times.iter().map(|t| *t as f64).collect();
    let rule = Rule { method: RollupMethod::Sum, x_files_factor: 0.0, fine_step_s: 10, imported_until_s: 0 };
    let mut slots = vec![N; window.slots()];
    rule.apply(&window, 0, (FieldId(0), &rolled(&times, &values, 60)), &mut slots);
    let mut want = vec![N; window.slots()];
    times.iter().for_each(|t| want[(t / 60) as usize] = *t as f64);
    same(&slots, &want, "one point a window");
}

/// `10s:10m,60s:1h` average 0.5, as a live series and as an imported one.
#[test]
fn coarse_slots_come_from_the_store_before_the_import_and_from_raw_after_it() {
    let world = World::new();
    let archives = [(10, 600), (60, 3_600)];
    let now = world::NOW_S;
    for (path, imported) in [("live", 0), ("imported", now - 120)] {
        let id = world.series(path, &archives, (1, 0.5, imported));
        let raw: Vec<_> = (now - 600..now).step_by(10).map(|t| (t, 1.0)).collect();
        world.write(id, 0, &raw);
        let coarse: Vec<_> = (now - 1_200..now).step_by(60).map(|t| (t, 7.0)).collect();
        world.write(id, 1, &coarse);
    }
    // Raw first where it is; the store where nothing else is, and where the import says so.
    world.check("live", (-1_260, 0), "60: 10*7 10*1 -");
    world.check("imported", (-1_260, 0), "60: 18*7 2*1 -");
    world.check("live", (-30, 0), "10: 2*1 -");
    world.check("{live,imported}", (-180, -120), "10: 6*1 | 10: 6*1");
}

#[test]
fn what_is_rolled_up_answers_when_raw_points_have_gone() {
    let archives = [(10, 600), (60, 7 * DAY), (600, 0)];
    for (method, coarse, coarser) in [
        (1, "60: 2.5 8.5 14.5", "600: - 29.5 89.5"),
        (2, "60: 15 51 87", "600: - 1770 5370"),
        (3, "60: 5 11 17", "600: - 59 119"),
        (7, "60: 5 11 17", "600: - 59 119"),
        (9, "60: 2.5 8.5 14.5", "600: - 29.5 89.5"),
    ] {
        let world = World::with(|options| options.rollup_delay = std::time::Duration::ZERO);
        let now = world::NOW_S;
        let id = world.series("p", &archives, (method, 0.5, 0));
        // Midnight.
        let start = now - 216_000;
        let raw: Vec<_> = (0..120).map(|i| (start + i * 10, i as f64)).collect();
        world.write(id, 0, &raw);
        let check = |what: &str| {
            let shown = |range| {
                let found = world.fetch("p", range).unwrap();
                found.iter().map(world::show).collect::<String>()
            };
            assert_eq!(shown((-216_001, -215_850)), coarse, "{what}, method {method}");
            // As it will be answered when the second level does not reach back any more.
            let found = world.fetch_at("p", (start - 601, start + 1_199), now + 7 * DAY).unwrap();
            assert_eq!(found.iter().map(world::show).collect::<String>(), coarser, "{what}, method {method}");
        };
        check("in memory");
        world.engine.drain().unwrap();
        world.engine.compact_all().unwrap();
        while world.engine.compact_once().unwrap() {}
        assert!(world.engine.files().iter().all(|file| file.tier.is_rolled()), "raw points have gone");
        check("rolled up");
        // A late point takes its slot.
        world.write(id, 1, &[(start + 60, 1000.0)]);
        let late = coarse.split(' ').enumerate().map(|(i, v)| if i == 2 { "1000" } else { v }).collect::<Vec<_>>();
        world.check("p", (-216_001, -215_850), &late.join(" "));
    }
}

#[test]
fn levels_whose_steps_do_not_nest_are_not_computed() {
    let world = World::new();
    let now = world::NOW_S;
    let id = world.series("odd", &[(40, 600), (60, 3_600)], (1, 0.0, 0));
    world.write(id, 0, &[(now - 120, 1.0)]);
    world.write(id, 1, &[(now - 60, 5.0)]);
    world.check("odd", (-1_200, 0), "60: 18*- 5 -");
}

#[test]
fn a_series_whose_policy_has_changed_is_one_line() {
    let world = World::new();
    let now = world::NOW_S;
    let old = world.series("p", &[(60, 7_200)], (2, 0.0, 0));
    world.write(old, 0, &[(now - 300, 1.0), (now - 240, 2.0), (now - 60, 3.0)]);
    let new = world.series("p", &[(30, 7_200)], (2, 0.0, 0));
    world.write(new, 0, &[(now - 60, 9.0), (now, 10.0)]);
    // The finer steps of the new policy; the old points fill what it lacks.
    world.check("p", (-330, 0), "30: 1 - 2 5*- 9 - 10");
    // And back to a coarser one: the finer points are summed.
    world.series("p", &[(60, 7_200)], (2, 0.0, 0));
    world.check("p", (-330, 0), "60: 1 2 2*- 3 10");
}

#[test]
fn patterns_and_tags_find_series_of_every_policy() {
    let world = World::new();
    let now = world::NOW_S;
    for (i, (path, step)) in
        [("a.x.c", 10), ("a.y.c", 60), ("a.y", 10), ("b.x;dc=1;h=a", 10), ("b.x;dc=2;h=b", 60)].into_iter().enumerate()
    {
        let id = world.series(path, &[(step, 7_200)], (1, 0.0, 0));
        world.write(id, 0, &[(now, i as f64)]);
    }
    world.check("a.*.c", (-60, 0), "10: 5*- 0 | 60: 1");
    world.check("a.**", (-10, 0), "10: 0 | 10: 2 | 60: 1");
    world.check("a.[!x]*", (-10, 0), "10: 2");
    world.check("a.{y,z}", (-10, 0), "10: 2");
    world.check("b.x", (-10, 0), "");
    world.check(r"b\.x;h=a;dc=1", (-10, 0), "10: 3");
    world.check("seriesByTag('name=b.x')", (-60, 0), "10: 5*- 3 | 60: 4");
    world.check("seriesByTag('name=b.x', 'dc!=1')", (-60, 0), "60: 4");
    world.check("seriesByTag('dc=~[12]', 'h!=~b|c')", (-60, 0), "10: 5*- 3");
    world.check("seriesByTag('name=b.x', 'none=')", (-10, 0), "10: 3 | 60: 4");
    // A tagged series in two tables is one series.
    world.series("b.x;dc=1;h=a", &[(30, 7_200)], (1, 0.0, 0));
    world.check("seriesByTag('dc=1')", (-30, 0), "30: 3");
    // In the future, before everything kept.
    world.check("a.*.c", (10, 20), "");
    world.check("a.*.c", (-9_000, -8_000), "");
}

#[test]
fn an_aggregate_made_while_reading_is_the_one_of_what_is_fetched() {
    const SERIES: i64 = 40;
    let world = World::new();
    let now = world::NOW_S;
    let archives = [(10, 10 * HOUR), (60, 7 * DAY)];
    // Not created in the order of their names; some in memory and in a file, some in one of both.
    let ids: Vec<_> = (0..SERIES)
        .map(|i| (i, world.series(&format!("s.{:02}", i * 7 % SERIES), &archives, ((i % 3) as u8 + 1, 0.5, 0))))
        .collect();
    for (i, id) in &ids {
        let all = (1..3_600).filter(|t| (t * (i + 3)) % 11 != 0);
        let points: Vec<_> = all.map(|t| (now - 10 * t, (t * (i + 1) % 1_009) as f64 / 100.0)).rev().collect();
        let (early, late) = points.split_at(points.len() / 40 * (*i as usize + 1));
        world.write(*id, 0, early);
        if *i == SERIES / 2 {
            world.engine.flush().unwrap();
        }
        world.write(*id, 0, late);
    }
    let cpu = std::sync::Arc::new(rhythmite_env::CpuPool::start(3, 8).unwrap());
    for function in ["sumSeries", "averageSeries", "minSeries", "maxSeries", "diffSeries", "rangeOfSeries"] {
        for range in [(-9 * HOUR, 0), (-DAY, 0), (-600, 0), (HOUR, 2 * HOUR)] {
            for pattern in ["s.*", "s.1?", "s.07", "none.*", "s.{01,39,02}"] {
                let folded = world.fetch_on(&cpu, &format!("{function}({pattern})"), range);
                let fetched = world.fetch_on(&cpu, &format!("{function}(group({pattern}))"), range);
                assert_eq!(format!("{folded:?}"), format!("{fetched:?}"), "{function}({pattern}) {range:?}");
            }
        }
    }
    // A path with two policies is not folded.
    let again = world.series("s.01", &[(30, DAY)], (1, 0.0, 0));
    world.write(again, 0, &[(now - 600, 7.25)]);
    let folded = world.fetch_on(&cpu, "sumSeries(s.0*)", (-DAY, 0));
    let fetched = world.fetch_on(&cpu, "sumSeries(group(s.0*))", (-DAY, 0));
    assert_eq!(format!("{folded:?}"), format!("{fetched:?}"));
}

#[test]
fn an_aggregate_over_several_partitions_is_the_one_of_what_is_fetched() {
    const SERIES: i64 = 60;
    let world = World::new();
    let now = world::NOW_S;
    // The most are created in the order of their names, some in the reverse one.
    let name = |i: i64| format!("s.{:02}", if (20..24).contains(&i) { 43 - i } else { i });
    let ids: Vec<_> = (0..SERIES).map(|i| world.series(&name(i), &[(60, 5 * DAY)], (1, 0.5, 0))).collect();
    let minutes = 4 * DAY / 60;
    for (i, id) in (0..SERIES).zip(&ids).filter(|(i, _)| *i != 7) {
        // Of some minutes none, of some several, of some nothing that is a number.
        let points = (1..minutes).rev().flat_map(|m| {
            let value = if (m + i) % 97 == 0 { f64::NAN } else { (m * (i + 1) % 1_009) as f64 / 100.0 };
            let seconds = if (m * (i + 3)) % 13 == 0 { &[0, 7, 59][..] } else { &[0] };
            let seconds = if (m * (i + 5)) % 11 == 0 { &[] } else { seconds };
            seconds.iter().map(move |s| (now - 60 * m + s, value + *s as f64))
        });
        world.write(*id, 0, &points.collect::<Vec<_>>());
    }
    world.engine.compact_all().unwrap();
    let starts =
        world.engine.files().iter().filter_map(|file| file.partition_ns).collect::<std::collections::BTreeSet<_>>();
    assert!(starts.len() >= 4, "{starts:?}");
    // Late ones, in memory, on both sides of a midnight.
    for (i, id) in ids.iter().enumerate().step_by(3) {
        let late: Vec<_> = (0..40).map(|m| (now - 36 * HOUR - 60 * m + 1_200, i as f64 - m as f64)).collect();
        world.write(*id, 0, &late);
    }
    let cpu = std::sync::Arc::new(rhythmite_env::CpuPool::start(3, 8).unwrap());
    for function in
        ["sumSeries", "averageSeries", "minSeries", "maxSeries", "diffSeries", "rangeOfSeries", "multiplySeries"]
    {
        for range in [(-5 * DAY, 0), (-4 * DAY, -60), (-2 * DAY, -DAY), (-37 * HOUR, -35 * HOUR), (-HOUR, 0)] {
            for pattern in ["s.*", "s.0?", "s.2?", "s.07", "s.{01,07,59}"] {
                let folded = world.fetch_on(&cpu, &format!("{function}({pattern})"), range);
                let fetched = world.fetch_on(&cpu, &format!("{function}(group({pattern}))"), range);
                assert_eq!(format!("{folded:?}"), format!("{fetched:?}"), "{function}({pattern}) {range:?}");
            }
        }
    }
}

#[test]
fn an_aggregate_of_a_coarser_level_is_the_one_of_what_is_fetched() {
    let world = World::new();
    let now = world::NOW_S;
    // Until yesterday imported, since then rolled up.
    let archives = [(60, 2 * DAY), (600, 30 * DAY)];
    for i in 0..12 {
        let id = world.series(&format!("s.{i:02}"), &archives, ((i % 3) as u8 + 1, 0.0, now - DAY - HOUR));
        let coarse = (0..15 * DAY / 600).map(|n| now - DAY - HOUR - 600 * (n + 1));
        let coarse: Vec<_> =
            coarse.filter(|t| (t / 600 + i) % 7 != 0).map(|t| (t, (t / 600 * (i + 1) % 101) as f64)).collect();
        world.write(id, 1, &coarse);
        let fine: Vec<_> =
            (1..DAY / 60).filter(|m| (m + i) % 5 != 0).map(|m| (now - 60 * m, (m % 17) as f64 / 4.0)).collect();
        world.write(id, 0, &fine);
    }
    world.engine.compact_all().unwrap();
    let cpu = std::sync::Arc::new(rhythmite_env::CpuPool::start(3, 8).unwrap());
    for function in ["sumSeries", "averageSeries", "maxSeries", "diffSeries"] {
        for range in [(-15 * DAY, 0), (-10 * DAY, -2 * DAY), (-3 * DAY, -HOUR)] {
            let folded = world.fetch_on(&cpu, &format!("{function}(s.*)"), range);
            let fetched = world.fetch_on(&cpu, &format!("{function}(group(s.*))"), range);
            assert!(folded[0].values.iter().any(|v| !v.is_nan()));
            assert_eq!(format!("{folded:?}"), format!("{fetched:?}"), "{function} {range:?}");
        }
    }
}

#[test]
fn what_is_folded_is_not_held() {
    let mut world = World::new();
    for i in 0..5 {
        world.series(&format!("a.n{i}"), &[(1, DAY)], (1, 0.0, 0));
    }
    world.limits.points_max = 5 * 3_600;
    let targets = |n: usize| (0..n).map(|i| format!("sumSeries(a.{{n*,x{i}}})")).collect::<Vec<_>>().join(",");
    assert_eq!(world.fetch(&format!("group({})", targets(4)), (-3_600, 0)).map(|found| found.len()), Ok(4));
    world.limits.points_max -= 1;
    let e = world.fetch("sumSeries(a.*)", (-3_600, 0)).map(|found| found.len()).expect_err("too many").to_string();
    assert!(e.contains("a.*") && e.contains("more than 17999 points"), "{e}");
}

#[test]
fn times_that_the_engine_cannot_hold_have_no_points() {
    let world = World::new();
    let id = world.series("p", &[(10, 600), (60, 3_600)], (1, 0.0, 0));
    world.write(id, 0, &[(world::NOW_S, 1.0)]);
    for flushed in [false, true] {
        if flushed {
            world.engine.drain().unwrap();
            world.engine.flush().unwrap();
        }
        for now in [-250_000_000_000, -1, 250_000_000_000] {
            for from in [now - 60, now - 1_200] {
                let found = world.fetch_at("p", (from, now), now).unwrap();
                assert!(found[0].values.iter().all(|v| v.is_nan()), "{from} {now}");
            }
        }
    }
}

#[test]
fn limits_name_the_pattern() {
    let mut world = World::new();
    for i in 0..5 {
        world.series(&format!("a.n{i}"), &[(1, 86_400)], (1, 0.0, 0));
        world.series(&format!("t;n={i}"), &[(1, 86_400)], (1, 0.0, 0));
    }
    world.limits.series_max = 4;
    let fails = |world: &World, target: &str, want: &str| {
        let e = world.fetch(target, (-3_600, 0)).expect_err(target).to_string();
        assert!(e.contains(target.split('\'').nth(1).unwrap_or(target)) && e.contains(want), "{e}");
    };
    fails(&world, "a.*", "more than 4");
    fails(&world, "seriesByTag('name=t')", "more than 4 series");
    world.limits.series_max = 5;
    world.limits.points_max = 5 * 3_600;
    assert_eq!(world.fetch("a.*", (-3_600, 0)).unwrap().len(), 5);
    world.limits.points_max -= 1;
    fails(&world, "a.*", "more than 17999 points");
}

#[test]
fn patience_ends() {
    let mut world = World::new();
    world.series("a", &[(1, 86_400)], (1, 0.0, 0));
    world.limits.timeout = std::time::Duration::ZERO;
    let e = world.fetch("a", (-60, 0)).expect_err("no time");
    assert_eq!(e.kind(), rhythmite_model::ErrorKind::Unavailable);
}

#[test]
fn tags_complete() {
    let world = World::new();
    for path in ["disk;dc=1;host=a", "disk;dc=2;host=b", "net;dc=1;rack=r", "plain.path"] {
        world.series(path, &[(10, 3_600)], (1, 0.0, 0));
    }
    let names = world.engine.registry().read();
    assert_eq!(tags::list(&names), ["dc", "host", "name", "rack"]);
    assert_eq!(tags::values(&names, "dc"), [("1".to_owned(), 2), ("2".to_owned(), 1)]);
    let complete =
        |expressions: &[&str], prefix, limit| tags::complete_tags(&names, expressions, prefix, limit).unwrap();
    assert_eq!(complete(&[], "", 2), ["dc", "host"]);
    assert_eq!(complete(&[], "n", 9), ["name"]);
    assert_eq!(complete(&["name=disk"], "", 9), ["dc", "host"]);
    assert_eq!(complete(&["name=net", "dc=1"], "", 9), ["rack"]);
    let values = |expressions: &[&str], tag| tags::complete_values(&names, expressions, tag, "", 9).unwrap();
    assert_eq!(values(&["dc=1"], "name"), ["disk", "net"]);
    assert_eq!(values(&[], "host"), ["a", "b"]);
    assert_eq!(values(&["name=none"], "host"), [] as [&str; 0]);
    assert!(tags::complete_tags(&names, &["bad"], "", 9).is_err());
}

#[test]
fn a_regular_expression_that_goes_on_and_on_is_an_error() {
    let world = World::new();
    world.series(&format!("m;a={}", "a".repeat(60)), &[(10, 3_600)], (1, 0.0, 0));
    let names = world.engine.registry().read();
    let e = tags::find_series(&names, &[r"a=~(a+)+\1c"], 9).expect_err("too many steps").to_string();
    assert!(e.contains("too many steps"), "{e}");
}
