//! Aggregates from coarser levels: as from points, and after these have gone.

use std::collections::BTreeMap;

use rhythmite_engine::Durability;
use rhythmite_model::sketch::RELATIVE_ERROR;
use rhythmite_model::{Aggregate, Aggregates, Level, SeriesSet, Tombstone};

use super::*;
use crate::catalog::PolicyChange;
use crate::query::sql::tests::NOW_S;

const SECOND_NS: i64 = 1_000_000_000;
const HOUR_NS: i64 = 3_600 * SECOND_NS;

/// Gives the default policy of `d` a raw retention, tiers of 10 s and 60 s, and what these keep.
async fn keep(world: &World, retention_ns: i64, kept: Aggregates) {
    let change = PolicyChange { retention_ns: Some(retention_ns), ..PolicyChange::default() };
    world.catalog.alter_policy("d", "autogen", change).await.unwrap();
    let tier = |step_s: i64| Level { step_ns: step_s * SECOND_NS, retention_ns: 0 };
    let policy = world.catalog.set_tiers("d", "", vec![tier(10), tier(60)], kept).await.unwrap();
    world.engine.put_policy(world.catalog.databases().policy(policy.id).unwrap().policy.clone());
}

/// Has raw points beyond their retention go.
fn let_go(world: &World) {
    while world.engine.compact_once().unwrap() {}
    assert!(world.engine.files().iter().all(|file| file.tier.is_rolled()), "raw points have gone");
}

async fn explain(world: &World, sql: &str) -> String {
    world.rows(&format!("EXPLAIN {sql}")).await.unwrap().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn coarser_levels_answer_as_points_do() {
    let mut dice = Dice(77);
    let world = World::new(|_| {}).await;
    let (plain, _dir) = unaided(&world);
    keep(&world, 0, Aggregates::USUAL).await;
    let mut rolled = 0;
    for round in 0..3 {
        world.write("d", &lines(&mut dice, 200));
        if round != 1 {
            world.engine.compact_all().unwrap();
        }
        for _ in 0..40 {
            let (sql, ordered) = question(&mut dice);
            compare(&world, &plain, &sql, ordered, &format!("round {round}")).await;
            let plan = world.rows(&format!("EXPLAIN {sql}")).await.unwrap().join("\n");
            rolled += usize::from(plan.contains("windows of tier="));
        }
    }
    assert!(world.engine.stats().rolled_partitions > 0 && rolled > 10, "{rolled} of 120 from roll-ups");
}

#[tokio::test(flavor = "multi_thread")]
async fn coarser_levels_answer_when_points_have_gone() {
    let mut dice = Dice(78);
    let (world, raw) = (World::new(|_| {}).await, World::new(|_| {}).await);
    let lines = lines(&mut dice, 300);
    [&world, &raw].iter().for_each(|world| world.write("d", &lines));
    keep(&world, HOUR_NS, Aggregates::USUAL).await;
    world.engine.compact_all().unwrap();
    let_go(&world);
    for (sql, results, tier) in [
        (
            "SELECT date_bin(INTERVAL '1 minute', time) AS t, a, max(f), avg(i), sum(u), count(s) FROM m GROUP BY t, a ORDER BY t, a",
            4,
            "60s",
        ),
        (
            "SELECT date_bin(INTERVAL '30 seconds', time) AS t, min(f), sum(i) FROM m GROUP BY t ORDER BY t DESC",
            2,
            "10s",
        ),
        ("SELECT date_trunc('hour', time) AS t, avg(f) FROM m WHERE a = 'a1' GROUP BY t ORDER BY t", 1, "60s"),
        ("SELECT a, count(f), max(i), min(u), avg(g) FROM m GROUP BY a ORDER BY a", 4, "60s"),
        ("SELECT sum(f), count(i) FROM m WHERE a IN ('a1', 'a2') AND time >= '1970-01-01T00:01:00'", 2, "60s"),
    ] {
        let plan = world.rows(&format!("EXPLAIN {sql}")).await.unwrap().join("\n");
        assert!(plan.contains(&format!("windows of tier={tier}")), "{sql}: {plan}");
        let known = |rows: Vec<String>| -> Vec<String> {
            // A row of other fields only is a row no more.
            let empty = |row: &String| row.rsplit('|').take(results).all(|cell| matches!(cell, "" | "NULL" | "0"));
            rows.into_iter().filter(|row| !empty(row)).collect()
        };
        assert_eq!(known(world.rows(sql).await.unwrap()), known(raw.rows(sql).await.unwrap()), "{sql}");
    }
}

/// Fields `f` and `i` of a host at a time.
#[derive(Clone, Copy, Debug)]
struct Point {
    time_s: i64,
    host: &'static str,
    f: f64,
    i: i64,
}

/// An hour of two hosts with a gap of ten minutes: one's values span decades, those of the other lie about zero.
fn points() -> Vec<Point> {
    let times = (0..3_600).step_by(6).filter(|time_s| !(1_200..1_800).contains(time_s));
    let of = |time_s: i64| {
        let k = time_s / 6;
        let i = k * 7_919 % 1_000 - 200;
        let wide = ((k * 7_919 % 97) as f64 / 8.0).exp2();
        let about_zero = (k * 31 % 41 - 20) as f64 * 3.7;
        [Point { time_s, host: "a", f: wide, i }, Point { time_s, host: "b", f: about_zero, i: -i }]
    };
    times.flat_map(of).collect()
}

fn lines_of(points: &[Point]) -> String {
    let line = |p: &Point| format!("m,host={} f={},i={}i,x=true {}", p.host, p.f, p.i, p.time_s);
    points.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What a quantile of some of the points is, and how far from it one of sketches may be.
fn exact(mut values: Vec<f64>, share: f64) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let rank = share * (values.len() - 1) as f64;
    let (low, high) = (values[rank.floor() as usize], values[rank.ceil() as usize]);
    let may_be_off = low.abs().max(high.abs()) * RELATIVE_ERROR * 1.001;
    (low + (high - low) * (rank - rank.floor()), may_be_off)
}

/// A question for quantiles of one field: the expression, its share, the windows in seconds, by host or not.
struct Question {
    call: &'static str,
    share: f64,
    of: fn(&Point) -> f64,
    windows_s: Option<i64>,
    by_host: bool,
    rest: &'static str,
    tier: &'static str,
}

impl Question {
    fn sql(&self) -> String {
        let window = self.windows_s.map(|s| format!("date_bin(INTERVAL '{s} seconds', time)"));
        let host = self.by_host.then(|| "host".to_owned());
        let keys: Vec<String> = window.into_iter().chain(host).collect();
        let numbers: Vec<String> = (1..=keys.len()).map(|n| n.to_string()).collect();
        let selected: Vec<&str> = keys.iter().map(String::as_str).chain([self.call]).collect();
        let group = if numbers.is_empty() { String::new() } else { format!("GROUP BY {}", numbers.join(", ")) };
        format!("SELECT {} FROM m {} {group}", selected.join(", "), self.rest)
    }

    async fn check(&self, world: &World, points: &[Point], stage: &str) {
        let mut groups: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for point in points {
            let start = |s: i64| jiff::Timestamp::from_second(point.time_s - point.time_s % s).unwrap();
            let window = self.windows_s.map(|s| start(s).to_string().trim_end_matches('Z').to_owned());
            let host = self.by_host.then(|| point.host.to_owned());
            let key = window.into_iter().chain(host).collect::<Vec<_>>().join("|");
            groups.entry(key).or_default().push((self.of)(point));
        }
        let sql = self.sql();
        let rows = world.rows(&sql).await.unwrap();
        let found: BTreeMap<&str, f64> = rows
            .iter()
            .map(|row| row.rsplit_once('|').unwrap_or(("", row)))
            .filter(|(_, value)| *value != "NULL")
            .map(|(key, value)| (key, value.parse().unwrap()))
            .collect();
        assert_eq!(found.len(), groups.len(), "{stage}: {sql}: {rows:?}");
        for (key, values) in groups {
            let (exact, off) = exact(values, self.share);
            let found = found.get(key.as_str()).unwrap_or_else(|| panic!("{stage}: {sql}: no {key}: {rows:?}"));
            assert!((found - exact).abs() <= off, "{stage}: {sql}: {key}: {found} for {exact}");
        }
        let plan = explain(world, &sql).await;
        let tier = format!("windows of tier={}, quantiles of sketches (within 2.2 % of a value)", self.tier);
        assert!(plan.contains(&tier), "{stage}: {sql}: {plan}");
    }
}

fn questions() -> Vec<Question> {
    let of_f: fn(&Point) -> f64 = |p| p.f;
    let of_i: fn(&Point) -> f64 = |p| p.i as f64;
    let base = Question {
        call: "approx_percentile_cont(f, 0.95)",
        share: 0.95,
        of: of_f,
        windows_s: Some(600),
        by_host: true,
        rest: "",
        tier: "60s",
    };
    vec![
        Question { windows_s: Some(60), ..base },
        Question { by_host: false, ..base },
        Question { windows_s: None, ..base },
        Question { windows_s: None, by_host: false, ..base },
        Question { windows_s: Some(30), tier: "10s", ..base },
        Question { call: "approx_percentile_cont(0.95) WITHIN GROUP (ORDER BY f)", ..base },
        Question { call: "approx_percentile_cont(0.05) WITHIN GROUP (ORDER BY f DESC)", ..base },
        Question { call: "approx_percentile_cont(f, 0.95, 200)", ..base },
        Question { call: "approx_percentile_cont(f, 0)", share: 0.0, ..base },
        Question { call: "approx_percentile_cont(f, 1)", share: 1.0, by_host: false, ..base },
        Question { call: "approx_median(f)", share: 0.5, ..base },
        Question { call: "approx_median(i)", share: 0.5, of: of_i, ..base },
        Question { call: "approx_percentile_cont(i, 0.01)", share: 0.01, of: of_i, by_host: false, ..base },
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn quantiles_are_made_of_sketches() {
    let world = World::new(|_| {}).await;
    let kept = Aggregates::USUAL.with(Aggregate::Sketch);
    keep(&world, 0, kept).await;
    let mut points = points();
    world.write("d", &lines_of(&points));
    // Rows without a value of the fields: a window of only these has no quantile.
    world.write("d", "m,host=a x=true 1250\nm,host=c x=true 30");
    let delete = |points: &mut Vec<Point>, host: &str, from_s: i64, to_s: i64| {
        let tombstone = {
            let names = world.engine.registry().read();
            let policy = world.catalog.databases().get("d").unwrap().policy("").unwrap().policy.id;
            let table = names.find_table(policy, "m").unwrap().id();
            let all = names.ids(&names.series(table));
            let key = format!("host={host}");
            let is = |id: &rhythmite_model::SeriesId| names.key(names.slot(*id).unwrap()).contains(&key);
            let series = SeriesSet::list(all.into_iter().filter(is));
            let times_ns = from_s * SECOND_NS..=to_s * SECOND_NS - 1;
            Tombstone { table, series, fields: None, times_ns }
        };
        world.engine.delete(vec![tombstone], Durability::Sync).unwrap();
        points.retain(|p| p.host != host || !(from_s..to_s).contains(&p.time_s));
    };
    for stage in ["in memory", "rolled up", "with late points", "points have gone", "deleted after that", "again"] {
        match stage {
            "rolled up" => {
                world.engine.compact_all().unwrap();
                assert!(world.engine.stats().rolled_partitions > 0);
            }
            "with late points" => {
                delete(&mut points, "b", 2_000, 2_700);
                let late = Point { time_s: 606, host: "a", f: -1e9, i: 77_777 };
                *points.iter_mut().find(|p| (p.time_s, p.host) == (606, "a")).unwrap() = late;
                world.write("d", &lines_of(&[late]));
            }
            "points have gone" => {
                world.engine.compact_all().unwrap();
                keep(&world, HOUR_NS, kept).await;
                let_go(&world);
            }
            "deleted after that" => delete(&mut points, "a", 0, 900),
            "again" => world.engine.compact_all().unwrap(),
            _ => {}
        }
        for question in questions() {
            question.check(&world, &points, stage).await;
        }
    }
    // Several of one field, beside others, in an order; the plan of its shape is kept.
    let sql = |host: &str| {
        format!(
            "SELECT date_trunc('hour', time) AS t, avg(f), approx_percentile_cont(f, 0.5) AS p50, max(f), \
             approx_percentile_cont(f, 0.99) AS p99, approx_median(f) FROM m WHERE host = '{host}' AND \
             time < TIMESTAMP '1970-01-01T01:00:00' GROUP BY t ORDER BY t DESC LIMIT 1"
        )
    };
    let before = world.sql.stats().plans_reused;
    for host in ["a", "b", "b"] {
        let rows = world.rows(&sql(host)).await.unwrap();
        let cells: Vec<f64> = rows[0].split('|').skip(1).map(|cell| cell.parse().unwrap()).collect();
        let values: Vec<f64> = points.iter().filter(|p| p.host == host).map(|p| p.f).collect();
        for (at, share) in [(1, 0.5), (3, 0.99), (4, 0.5), (2, 1.0)] {
            let (exact, off) = exact(values.clone(), share);
            assert!((cells[at] - exact).abs() <= off, "{host} {share}: {rows:?} for {exact}");
        }
    }
    assert_eq!(world.sql.stats().plans_reused - before, 2);
    let empty = world.rows("SELECT approx_median(f) FROM m WHERE host = 'none'").await.unwrap();
    assert_eq!(empty, ["NULL"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn quantiles_of_points_are_datafusions_where_no_sketch_answers() {
    let world = World::new(|_| {}).await;
    let (plain, _dir) = unaided(&world);
    world.write("d", &lines_of(&points()));
    let window = "SELECT date_bin(INTERVAL '10 minutes', time) AS t, approx_median(f) FROM m";
    for (kept, sql) in [
        (None, format!("{window} GROUP BY t ORDER BY t")),
        (Some(Aggregates::USUAL), format!("{window} GROUP BY t ORDER BY t")),
        (Some(Aggregates::USUAL.with(Aggregate::Sketch)), format!("{window} WHERE f > 3 GROUP BY t ORDER BY t")),
        (
            None,
            "SELECT date_bin(INTERVAL '95 seconds', time) AS t, approx_median(f) FROM m GROUP BY t ORDER BY t".into(),
        ),
        (None, format!("{} GROUP BY t ORDER BY t", window.replace("approx_median(f)", "median(f)"))),
        (None, "SELECT host, approx_percentile_cont(f * 2, 0.3) FROM m GROUP BY host ORDER BY host".into()),
    ] {
        if let Some(kept) = kept {
            keep(&world, 0, kept).await;
        }
        for _ in 0..3 {
            compare(&world, &plain, &sql, true, &format!("{kept:?}")).await;
        }
        let plan = explain(&world, &sql).await;
        assert!(!plan.contains("TsAggExec"), "{sql}: {plan}");
    }
    let error = world.rows("SELECT approx_percentile_cont(f, 1.5) FROM m").await.unwrap_err().to_string();
    assert!(error.contains("between 0.0 and 1.0"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_points_answer_is_refused_when_they_have_gone() {
    let world = World::new(|_| {}).await;
    world.write("d", &lines_of(&points()));
    keep(&world, HOUR_NS, Aggregates::USUAL).await;
    world.engine.compact_all().unwrap();
    let_go(&world);
    world.write("d", &format!("m,host=a f=1,i=1i {}\nm,host=a f=2,i=5i {NOW_S}", NOW_S - 1));
    let by = |what: &str| format!("SELECT date_bin(INTERVAL '10 minutes', time) AS t, {what} FROM m GROUP BY t");
    for sketches in [false, true] {
        if sketches {
            keep(&world, HOUR_NS, Aggregates::USUAL.with(Aggregate::Sketch)).await;
        }
        for sql in [
            by("percentile_cont(f, 0.5)"),
            by("median(f)"),
            by("percentile_cont(0.9) WITHIN GROUP (ORDER BY i)"),
            by("stddev(f)"),
            by("count(DISTINCT f)"),
            by("first_value(f ORDER BY time)"),
            by("avg(f), median(f)"),
            by("approx_median(f + 1)"),
            "SELECT median(f) FROM m".to_owned(),
            "SELECT host, quantile_cont(f, 0.5) FROM m GROUP BY host".to_owned(),
            "SELECT max(x) FROM (SELECT median(f) AS x FROM m GROUP BY host)".to_owned(),
            "SELECT median(x) FROM (SELECT f * 2 AS x FROM m ORDER BY time LIMIT 100)".to_owned(),
            "SELECT f, (SELECT median(f) FROM m) FROM m".to_owned(),
            "SELECT date_bin(INTERVAL '95 seconds', time) AS t, avg(f) FROM m GROUP BY t".to_owned(),
            "SELECT date_bin(INTERVAL '95 seconds', time) AS t, approx_median(f) FROM m GROUP BY t".to_owned(),
            "SELECT avg(f) FROM m WHERE f > 3".to_owned(),
            "SELECT approx_median(f) FROM m WHERE i > 3".to_owned(),
        ] {
            let error = world.rows(&sql).await.expect_err(&sql).to_string();
            let floor = "raw points before 1970-01-08T00:00:00Z have gone, and no tier of retention policy \"autogen\"";
            let remedy = match sketches {
                true => {
                    "max, approx_median, approx_percentile_cont of fields, by tags and windows that are multiples of 10s or 60s"
                }
                false => "max of fields, by tags and windows that are multiples of 10s or 60s",
            };
            assert!(error.contains(floor) && error.contains(remedy), "{sql}: {error}");
        }
        // What was rolled up had no sketches.
        for sql in [by("approx_median(f)"), "SELECT approx_percentile_cont(f, 0.9) FROM m".to_owned()] {
            let error = world.rows(&sql).await.expect_err(&sql).to_string();
            let expected =
                if sketches { "did not keep what this needs when some of its windows of 60s" } else { "no tier of" };
            assert!(error.contains(expected), "{sql}: {error}");
        }
        // Rows are those that there are, and points of which none have gone answer everything.
        for (sql, rows) in [
            ("SELECT count(*) FROM m", "2"),
            ("SELECT max(time) FROM m", "2023-11-14T22:13:20"),
            ("SELECT f FROM m ORDER BY time DESC LIMIT 1", "2.0"),
            ("SELECT DISTINCT host FROM m", "a"),
            ("SELECT DISTINCT ON (host) f FROM m ORDER BY host, time DESC", "2.0"),
            ("SELECT last_value(f ORDER BY time) FROM m", "2.0"),
            ("SELECT median(f), percentile_cont(i, 0.5) FROM m WHERE time >= '1970-01-08T00:00:00Z'", "1.5|3.0"),
            ("SELECT stddev(f) FROM m WHERE time > '2023-01-01' AND f > 0", "0.7071067811865476"),
            ("SELECT count(f) FROM m", "1002"),
        ] {
            assert_eq!(world.rows(sql).await.unwrap(), [rows], "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_which_levels_keep_nothing_are_read_as_points() {
    let world = World::new(|_| {}).await;
    let most = Aggregate::FIELDS_MAX;
    let fields: Vec<String> = (0..=most).map(|n| format!("f{n}={n}")).collect();
    world.write("d", &format!("m {} 30", fields.join(",")));
    keep(&world, 0, Aggregates::USUAL).await;
    world.engine.compact_all().unwrap();
    for gone in [false, true] {
        if gone {
            keep(&world, HOUR_NS, Aggregates::USUAL).await;
            let_go(&world);
        }
        for (n, is_kept) in [(0, true), (most - 1, true), (most, false)] {
            for (sql, row) in [
                (format!("SELECT max(f{n}) FROM m"), format!("{n}.0")),
                (
                    format!("SELECT date_trunc('minute', time) AS t, count(f0), sum(f{n}) FROM m GROUP BY t"),
                    format!("1970-01-01T00:00:00|1|{n}.0"),
                ),
            ] {
                match is_kept || !gone {
                    true => {
                        assert_eq!(world.rows(&sql).await.unwrap(), [row], "{sql}");
                        let plan = explain(&world, &sql).await;
                        assert_eq!(plan.contains("windows of tier=60s"), is_kept, "{sql}: {plan}");
                    }
                    false => {
                        let error = world.rows(&sql).await.expect_err(&sql).to_string();
                        assert!(error.contains("no tier of retention policy"), "{sql}: {error}");
                    }
                }
            }
        }
    }
}
