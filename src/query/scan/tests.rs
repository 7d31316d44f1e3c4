//! What is not read: conditions that become series lists, time ranges and fields.

use std::fmt::Write as _;
use std::time::Duration;

use crate::query::sql::tests::{NOW_S, World};

/// The scan's line in the plan of a query.
async fn scan(world: &World, sql: &str) -> String {
    let plan = world.rows(&format!("EXPLAIN {sql}")).await.unwrap().join("\n");
    let line = plan.lines().find(|l| l.contains("TsScanExec")).unwrap_or_else(|| panic!("{plan}"));
    line.trim().to_owned()
}

async fn check(world: &World, sql: &str, wanted: &[&str], unwanted: &[&str]) {
    let plan = world.rows(&format!("EXPLAIN {sql}")).await.unwrap().join("\n");
    wanted.iter().for_each(|text| assert!(plan.contains(text), "{sql}: no {text:?} in\n{plan}"));
    unwanted.iter().for_each(|text| assert!(!plan.contains(text), "{sql}: {text:?} in\n{plan}"));
}

async fn world() -> World {
    let world = World::new(|_| {}).await;
    let hosts: Vec<String> =
        (0..100).map(|i| format!("cpu,host=h{i:02},dc=dc{} usage={i},idle={i}i 1600000000", i % 2)).collect();
    world.write("d", &hosts.join("\n"));
    world.engine.flush().unwrap();
    world.write("d", "cpu,host=h00,dc=dc0 usage=1 1650000000\ncpu,host=new usage=2 1650000000");
    world.engine.flush().unwrap();
    world.write("d", "cpu,host=h00,dc=dc0 usage=1 1690000000");
    world
}

#[tokio::test]
async fn conditions_on_tags_become_lists_of_series() {
    let world = world().await;
    let cases = [
        ("TRUE", "series=101"),
        ("host = 'h07'", "series=1,"),
        ("host IN ('h07', 'h08', 'nobody')", "series=2,"),
        ("host LIKE 'h0%'", "series=10,"),
        ("host ~ '^h[12]3$'", "series=2,"),
        ("dc = 'dc1' AND host > 'h90'", "series=5,"),
        ("dc = 'dc1' OR host = 'h00'", "series=51,"),
        ("dc IS NULL", "series=1,"),
        ("dc != 'dc1'", "series=50,"),
        ("host || dc = 'h01dc1'", "series=1,"),
        ("host = 'nobody'", "series=0,"),
        ("host = 'h07' AND random() > 2", "series=1,"),
    ];
    for (condition, series) in cases {
        let sql = format!("SELECT usage FROM cpu WHERE {condition}");
        let unwanted: &[&str] = if condition.contains("random") { &[] } else { &["FilterExec"] };
        check(&world, &sql, &[series], unwanted).await;
    }
}

#[tokio::test]
async fn conditions_on_time_become_ranges_and_leave_files_out() {
    let world = world().await;
    let cases = [
        ("TRUE", "files=2", "time=..=,", true),
        ("time >= '2022-01-01'", "files=1", "time=2022-01-01T00:00:00Z..=,", true),
        ("time >= '2022-01-01' AND time < '2022-02-01'", "files=0", "..=2022-01-31T23:59:59.999999999Z,", true),
        ("time < '2021-01-01'", "files=1", "time=..=2020-12-31T23:59:59.999999999Z,", true),
        ("time BETWEEN '2020-01-01' AND '2023-01-01'", "files=2", "time=2020", true),
        ("time > '2022-01-01' OR time = '2021-06-01'", "files=1", "time=2021-06-01T00:00:00Z..=,", false),
        ("time > now()", "files=0", "time=20", true),
        ("date_trunc('day', time) = '2020-09-13'", "files=2", "time=..=,", false),
    ];
    for (condition, files, range, exact) in cases {
        let sql = format!("SELECT usage FROM cpu WHERE {condition}");
        check(&world, &sql, &[files, range], if exact { &["FilterExec"] } else { &[] }).await;
        let plan = world.rows(&format!("EXPLAIN {sql}")).await.unwrap().join("\n");
        assert_eq!(plan.contains("FilterExec"), !exact, "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn only_the_fields_that_matter_are_read() {
    let world = world().await;
    check(&world, "SELECT usage FROM cpu", &["fields=[usage], rows=of any field"], &["idle"]).await;
    check(&world, "SELECT usage FROM cpu WHERE usage IS NOT NULL", &["fields=[usage]"], &["rows=of any"]).await;
    check(&world, "SELECT avg(usage) FROM cpu WHERE usage > 3", &["where=[usage > 3]"], &["rows=of any"]).await;
    check(&world, "SELECT idle FROM cpu WHERE usage > 3", &["fields=[idle], where=[usage > 3]"], &["rows=of any"])
        .await;
    let unknown = "SELECT idle FROM cpu WHERE usage > 3 AND usage IN (4, 5, 6, 7, 8)";
    check(&world, unknown, &["fields=[idle, usage], where=[usage > 3]", "FilterExec"], &["rows=of any"]).await;
    let rows = world.rows("SELECT idle FROM cpu WHERE usage > 97").await.unwrap();
    assert_eq!(rows.len(), 2);
    let all = world.rows("SELECT count(*) FROM cpu").await.unwrap();
    assert_eq!(all, ["103"]);
}

#[tokio::test]
async fn limits_reach_the_scan_unless_a_filter_stands_above() {
    let world = world().await;
    check(&world, "SELECT usage FROM cpu WHERE host LIKE 'h%' LIMIT 7", &["limit=7"], &[]).await;
    check(&world, "SELECT usage FROM cpu WHERE usage > 1 LIMIT 7", &["where=[usage > 1], limit=7"], &["FilterExec"])
        .await;
    check(&world, "SELECT usage FROM cpu WHERE usage * 2 > 1 LIMIT 7", &["FilterExec"], &["limit=7"]).await;
    assert_eq!(world.rows("SELECT host FROM cpu WHERE usage > 50 LIMIT 7").await.unwrap().len(), 7);
    assert_eq!(world.rows("SELECT usage FROM cpu LIMIT 7").await.unwrap().len(), 7);
}

#[tokio::test]
async fn one_series_needs_no_sort() {
    let world = world().await;
    check(&world, "SELECT time, usage FROM cpu WHERE host = 'h00' ORDER BY time", &["TsScanExec"], &["SortExec"]).await;
    check(&world, "SELECT time, usage FROM cpu ORDER BY time", &["SortExec"], &[]).await;
    let rows = world.rows("SELECT time FROM cpu WHERE host = 'h00' ORDER BY time").await.unwrap();
    assert_eq!(rows, ["2020-09-13T12:26:40", "2022-04-15T05:20:00", "2023-07-22T04:26:40"]);
}

#[tokio::test]
async fn globs_walk_the_path_index() {
    let world = World::new(|_| {}).await;
    let body: Vec<String> =
        (0..50).flat_map(|i| ["cpu", "mem"].map(|m| format!("servers.web{i}.{m} {i} {}", NOW_S - 60))).collect();
    world.write_paths(&body.join("\n"));
    let from = "SELECT value FROM graphite.iox.metrics WHERE";
    for (condition, series) in [
        ("graphite_glob(path, 'servers.*.cpu')", "series=50,"),
        ("graphite_glob(path, 'servers.web1?.*')", "series=20,"),
        ("graphite_glob(path, 'servers.web1.cpu') OR path = 'servers.web2.mem'", "series=2,"),
        ("graphite_glob(path, '*')", "series=0,"),
        ("path LIKE 'servers.web4%.mem'", "series=11,"),
        ("graphite_node(path, 1) = 'web7'", "series=2,"),
    ] {
        check(&world, &format!("{from} {condition}"), &[series], &["FilterExec"]).await;
    }
    assert!(scan(&world, &format!("{from} path = 'none'")).await.contains("series=0"));
}

/// Thousands of rows per series and thousands of series, so that batches break in the middle of both.
#[tokio::test]
async fn batches_break_anywhere() {
    let world = World::new(|_| {}).await;
    let mut body: Vec<String> = (0..20_000).map(|i| format!("m,k=long a={i}i {i}")).collect();
    body.extend((0..20_000).step_by(2).map(|i| format!("m,k=long b={i}i {i}")));
    body.extend((0..9_000).map(|i| format!("m,k=s{i} a=1i,c=\"x{i}\" 7")));
    world.write("d", &body.join("\n"));
    for flushed in [false, true] {
        if flushed {
            world.engine.flush().unwrap();
        }
        let sql = "SELECT count(*), sum(a), sum(b), count(b), count(DISTINCT k), count(DISTINCT c) FROM m";
        let b: i64 = (0..20_000).step_by(2).sum();
        let expected = format!("29000|{}|{b}|10000|9001|9000", (0..20_000i64).sum::<i64>() + 9_000);
        assert_eq!(world.rows(sql).await.unwrap(), [expected]);
        let wrong = "SELECT count(*) FROM m WHERE (k = 'long' AND a != CAST(time AS BIGINT) / 1000000000)
                     OR (k != 'long' AND c != 'x' || substr(k, 2)) OR b != a";
        assert_eq!(world.rows(wrong).await.unwrap(), ["0"]);
    }
}

/// Conditions that the scan tests by itself choose the same rows as conditions that it does not know.
#[tokio::test]
async fn tested_values_choose_the_rows() {
    let world = World::new(|_| {}).await;
    for part in 0..3 {
        let mut lines = Vec::new();
        for i in 0..400_i64 {
            let n = (i * 7919 + part * 31) % 100;
            let field = match n % 7 {
                0 => format!("f={}", n as f64 / 4.0),
                1 => format!("i={n}i,f={n}"),
                2 => format!("u={n}u,s=\"{n}\""),
                3 => format!("b={},f=-{n}", n % 2 == 0),
                4 => format!("i=-{n}i,u={n}u,f=0"),
                5 => format!("s=\"x{n}\",b=true,i={n}i"),
                _ => format!("f={n},i={n}i,u={n}u,s=\"\",b=false"),
            };
            lines.push(format!("m,k=k{} {field} {}", i % 9, (i + part * 37) / 3));
        }
        world.write("d", &lines.join("\n"));
        if part < 2 {
            world.engine.flush().unwrap();
        }
    }
    for condition in [
        "f > 20",
        "f >= 20.5 AND f < 60",
        "30 > f",
        "f = 0",
        "f != 0 AND i IS NOT NULL",
        "i BETWEEN -20 AND 35",
        "i <= 5 AND u > 3",
        "u = 60",
        "s = 'x5'",
        "s > '5'",
        "s != ''",
        "b",
        "b = false",
        "NOT b",
        "f > 1000",
        "f IS NOT NULL AND u IS NOT NULL AND s IS NOT NULL",
        "f > 3 OR i < 2",
        "i > 20.5",
        "f > 10 AND k = 'k3' AND time >= '1970-01-01T00:00:40'",
    ] {
        for columns in ["*", "time, k", "f", "s, b, u", "i, f, time"] {
            let own = format!("SELECT {columns} FROM m WHERE {condition}");
            // The scan does not look into functions.
            let other = format!("SELECT {columns} FROM m WHERE nullif({condition}, false)");
            let (mut own, mut other) = (world.rows(&own).await.unwrap(), world.rows(&other).await.unwrap());
            own.sort();
            other.sort();
            assert_eq!(own, other, "{columns} {condition}");
        }
        let results = "k, count(*), count(f), max(i), sum(u), min(f)";
        let own = format!("SELECT {results} FROM m WHERE {condition} GROUP BY k ORDER BY k");
        let other = format!("SELECT {results} FROM m WHERE nullif({condition}, false) GROUP BY k ORDER BY k");
        assert_eq!(world.rows(&own).await.unwrap(), world.rows(&other).await.unwrap(), "{condition}");
    }
    check(
        &world,
        "SELECT f FROM m WHERE i BETWEEN 2 AND 3 AND 5.5 <= f",
        &["where=[i >= 2, i <= 3, f >= 5.5]"],
        &["FilterExec"],
    )
    .await;
}

/// When the points of [`graphite`] end.
const END_S: i64 = NOW_S + 2 * 86_400;

/// Points each ten seconds of two days, of which the newest six hours are kept as points.
async fn graphite() -> World {
    let world = World::new(|_| {}).await;
    for hour in 0..48 {
        let mut text = String::new();
        for at in (NOW_S + hour * 3_600..NOW_S + (hour + 1) * 3_600).step_by(10) {
            let _ = writeln!(text, "a.mean {} {at}\na.upper {} {at}", at % 60, at % 60);
        }
        world.clock.advance(Duration::from_secs(3_600));
        world.write_paths(text.trim_end());
    }
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn rolled_up_archives_continue_the_points() {
    let world = graphite().await;
    for state in ["in memory", "merged", "with a late row"] {
        match state {
            "merged" => world.engine.compact_all().unwrap(),
            // Too late for the finest archive: the level has a row of its own now.
            "with a late row" => world.write_paths(&format!("a.late 7 {}", END_S - 86_400)),
            _ => {}
        }
        let ask = |sql: String| {
            let world = &world;
            async move { world.rows(&sql).await.unwrap() }
        };
        let of = |path: &str, from: i64, to: i64| {
            format!(
                "FROM graphite.iox.metrics WHERE path = '{path}' AND time >= to_timestamp_seconds({}) AND time < to_timestamp_seconds({})",
                END_S + from,
                END_S + to
            )
        };
        // A value of the level a minute, by the method.
        let (from, to) = (-86_400, -80_000 - 40);
        let minutes = (to - from) / 60;
        assert_eq!(
            ask(format!("SELECT count(value), min(value), max(value) {}", of("a.mean", from, to))).await,
            [format!("{minutes}|25.0|25.0")],
            "{state}"
        );
        assert_eq!(ask(format!("SELECT min(value) {}", of("a.upper", from, to))).await, ["50.0"], "{state}");
        assert_eq!(
            ask(format!("SELECT value {} ORDER BY time DESC LIMIT 2", of("a.upper", from, to))).await,
            ["50.0", "50.0"],
            "{state}"
        );
        assert_eq!(ask(format!("SELECT value {} LIMIT 1", of("a.mean", from, to))).await, ["25.0"], "{state}");
        assert_eq!(ask(format!("SELECT count(*) {} AND value > 30", of("a.mean", from, to))).await, ["0"], "{state}");
        // No moment is in two rows: of the points of two days each is in one row.
        let raw_s = 6 * 3_600 - (END_S - 6 * 3_600).rem_euclid(60).min(1) * (60 - (END_S - 6 * 3_600).rem_euclid(60));
        let rows = raw_s / 10 + (2 * 86_400 - raw_s) / 60;
        let all = ask(format!("SELECT count(value), count(DISTINCT time) {}", of("a.mean", -2 * 86_400, 1))).await;
        assert_eq!(all, [format!("{rows}|{rows}")], "{state}");
        let plan = ask(format!("EXPLAIN SELECT value {}", of("a.mean", -86_400, 1))).await.join("\n");
        assert!(plan.contains("tier=raw+60s"), "{plan}");
        let last = "SELECT DISTINCT ON (path) path, value FROM graphite.iox.metrics ORDER BY path, time DESC";
        let newest = ask(last.to_owned()).await;
        assert_eq!(newest[newest.len() - 2..], ["a.mean|10.0".to_owned(), "a.upper|10.0".to_owned()], "{state}");
        let bins = format!(
            "SELECT date_bin(INTERVAL '1 hour', time) AS t, avg(value) AS v {} GROUP BY t ORDER BY t",
            of("a.mean", -86_400 + 40, -72_000 + 40)
        );
        assert!(ask(bins).await.iter().all(|row| row.ends_with("|25.0")), "{state}");
    }
}
