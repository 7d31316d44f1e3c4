//! Statements answered from coarser levels: as from points, and after these have gone.

use std::fmt::Write as _;

use rhythmite_influx::line_protocol::Precision;
use rhythmite_model::sketch::RELATIVE_ERROR;
use rhythmite_model::{Aggregate, Aggregates};

use super::world::{NOW_NS, World, two_policies};
use crate::ingest::influx::TimeUnit;

const S: TimeUnit = TimeUnit::Fixed(Precision::Second);
const NOW_S: i64 = NOW_NS / 1_000_000_000;
const DAY_S: i64 = 86_400;
/// Two midnights ago.
const START_S: i64 = NOW_S - 12 * 3_600 - DAY_S;

/// Two hosts, a point each ten seconds of an hour.
fn filled() -> World {
    let world = two_policies();
    let mut lines = String::new();
    for at in 0..360 {
        for (host, by) in [("a", 1), ("b", 3)] {
            let time = START_S + at * 10;
            let _ = writeln!(lines, "cpu,host={host} usage={},n={}i,up=true {time}", at * by % 50, at * by);
        }
    }
    world.write("d", "", S, &lines);
    world
}

/// Statements, and the level that answers them.
fn statements() -> Vec<(String, &'static str)> {
    let all = |what: &str, rest: &str| {
        format!("SELECT {what} FROM cpu WHERE time >= {START_S}s AND time < {START_S}s + 1h {rest}")
    };
    vec![
        (all("mean(usage)", "GROUP BY time(10m)"), "600s"),
        (all("mean(usage)", "GROUP BY time(20m), host"), "600s"),
        (all("count(usage), sum(n), min(usage), max(usage), spread(usage)", "GROUP BY time(5m), host"), "60s"),
        (all("first(n), last(n)", "GROUP BY time(10m), host"), "600s (where groups are single series, else raw)"),
        (
            all("first(n), last(n)", "AND host = 'a' GROUP BY time(10m)"),
            "600s (where groups are single series, else raw)",
        ),
        (all("sum(n)", "GROUP BY time(10m, 1m)"), "60s"),
        (all("max(usage)", "GROUP BY time(1h) fill(none)"), "600s"),
        (all("derivative(mean(usage), 1m)", "GROUP BY time(10m)"), "600s"),
        (all("count(up)", "GROUP BY time(10m)"), "600s"),
        (all("mean(usage) / 2 + max(n)", "GROUP BY time(10m) ORDER BY time DESC LIMIT 3"), "600s"),
        (
            format!(
                "SELECT max(m) FROM (SELECT mean(usage) AS m FROM cpu WHERE time >= {START_S}s AND time < {START_S}s + 1h GROUP BY time(10m))"
            ),
            "",
        ),
        (
            format!(
                "SELECT mean(usage) FROM cpu WHERE time >= {START_S}s + 90s AND time < {START_S}s + 41m GROUP BY time(10m)"
            ),
            "600s",
        ),
    ]
}

/// Statements that only points answer.
fn of_points() -> Vec<String> {
    let all = |what: &str, rest: &str| {
        format!("SELECT {what} FROM cpu WHERE time >= {START_S}s AND time < {START_S}s + 1h {rest}")
    };
    vec![
        all("mean(usage)", "GROUP BY time(7s) LIMIT 5"),
        all("mean(usage)", "GROUP BY time(10m) tz('Asia/Kolkata')"),
        all("median(usage)", "GROUP BY time(10m)"),
        all("mean(usage)", "AND usage > 5 GROUP BY time(10m)"),
        all("max(usage)", ""),
        all("usage", "LIMIT 3"),
        all("first(n)", "GROUP BY time(10m)"),
    ]
}

fn explain(world: &World, statement: &str) -> String {
    world.text("d", &format!("EXPLAIN {statement}"))
}

#[test]
fn levels_answer_as_points_do() {
    let raw = filled();
    let tiered = filled();
    assert!(!explain(&raw, &statements()[0].0).contains("TIER"), "a policy without tiers says nothing of them");
    tiered.tiers(0, &[(60, 0), (600, 0)]);
    for state in ["in memory", "rolled up", "with late points"] {
        match state {
            "rolled up" => {
                // The week of the points is over.
                tiered.advance_s(10 * DAY_S as u64);
                tiered.context.engine.compact_all().unwrap();
            }
            "with late points" => {
                for world in [&raw, &tiered] {
                    let lines =
                        format!("cpu,host=a usage=1000,n=7i {}\ncpu,host=c usage=-3 {}", START_S + 700, START_S + 65);
                    world.write("d", "", S, &lines);
                    world.ask("d", &format!("DELETE FROM cpu WHERE host = 'b' AND time > {START_S}s + 50m"), None);
                }
            }
            _ => {}
        }
        for (statement, tier) in statements() {
            assert_eq!(tiered.text("d", &statement), raw.text("d", &statement), "{state}: {statement}");
            if !tier.is_empty() {
                let plan = explain(&tiered, &statement);
                assert!(plan.ends_with(&format!("TIER: cpu: {tier}")), "{statement}: {plan}");
            }
        }
        for statement in of_points() {
            assert_eq!(tiered.text("d", &statement), raw.text("d", &statement), "{state}: {statement}");
        }
    }
    assert!(tiered.context.engine.stats().rolled_partitions > 0);
}

#[test]
fn levels_answer_when_points_have_gone() {
    let (raw, tiered) = (filled(), filled());
    tiered.tiers(3_600, &[(60, 0), (600, 0)]);
    tiered.context.engine.compact_all().unwrap();
    // The week of the points, and their retention, are over.
    tiered.advance_s(10 * DAY_S as u64);
    while tiered.context.engine.compact_once().unwrap() {}
    assert!(tiered.context.engine.files().iter().all(|file| file.tier.is_rolled()), "raw points have gone");
    let mut whole = statements();
    let cut = whole.split_off(whole.len() - 1);
    for (statement, _) in whole {
        assert_eq!(tiered.text("d", &statement), raw.text("d", &statement), "{statement}");
    }
    // Windows that the range cuts are answered whole.
    for (statement, _) in cut {
        let wider = statement.replace("s + 90s", "s").replace("+ 41m", "+ 50m");
        assert_eq!(tiered.text("d", &statement), raw.text("d", &wider), "{statement}");
    }
    // What no level answers is refused, not answered from the points that are left.
    for (statement, answers) in [
        ("SELECT count(usage), mean(usage), sum(n), spread(usage) FROM cpu".to_owned(), true),
        ("SELECT count(*) FROM cpu GROUP BY host".to_owned(), true),
        (
            format!("SELECT count(*) FROM cpu WHERE time >= {START_S}s AND time < {START_S}s + 1h GROUP BY time(10m)"),
            true,
        ),
        ("SELECT max(usage), min(n) FROM cpu GROUP BY host".to_owned(), true),
        ("SELECT first(usage), max(usage) FROM cpu".to_owned(), false),
        ("SELECT max(usage), host FROM cpu".to_owned(), false),
        ("SELECT median(usage) FROM cpu WHERE time > 0".to_owned(), false),
        (
            format!(
                "SELECT mean(usage) FROM cpu WHERE time >= {START_S}s AND time < {START_S}s + 1h GROUP BY time(90s)"
            ),
            false,
        ),
        (format!("SELECT mean(usage) FROM cpu WHERE time >= {START_S}s AND usage > 3"), false),
    ] {
        let found = tiered.text("d", &statement);
        match answers {
            true => assert_eq!(found, raw.text("d", &statement), "{statement}"),
            false => assert!(
                found.contains("have gone, and no tier of retention policy")
                    && found.contains("multiples of 60s or 600s"),
                "{statement}: {found}"
            ),
        }
    }
    // The least and the greatest of all stand where the step begins in which they were.
    let extreme = |world: &World, statement: &str| {
        let text = world.text("d", statement);
        let (time, value) = text.rsplit_once(' ').and_then(|(_, row)| row.split_once(',')).unwrap();
        (time.parse::<jiff::Timestamp>().unwrap().as_second(), value.to_owned())
    };
    for statement in [
        "SELECT max(n) FROM cpu".to_owned(),
        "SELECT min(usage) FROM cpu WHERE host = 'b'".to_owned(),
        format!("SELECT max(usage) FROM cpu WHERE time >= {START_S}s + 20m AND time < {START_S}s + 40m"),
        format!("SELECT min(n) FROM cpu WHERE time >= {START_S}s + 10m"),
    ] {
        let ((found_s, found), (exact_s, exact)) = (extreme(&tiered, &statement), extreme(&raw, &statement));
        assert_eq!((found_s, found), (exact_s - exact_s.rem_euclid(600), exact), "{statement}");
        assert!(explain(&tiered, &statement).ends_with("TIER: cpu: 600s"), "{statement}");
    }
    let since = NOW_S + 9 * DAY_S;
    assert_eq!(tiered.text("d", &format!("SELECT max(usage) FROM cpu WHERE time > {since}s")), "");
    assert_eq!(tiered.text("d", "SELECT last(usage) FROM cpu"), "");
    assert_eq!(tiered.text("d", "SELECT usage FROM cpu"), "", "rows are raw points");
    assert!(tiered.text("d", "SHOW SERIES").contains("host=a"));
    // And after a restart.
    let tiered = tiered.restart();
    let (statement, _) = &statements()[0];
    assert_eq!(tiered.text("d", statement), raw.text("d", statement));
}

#[test]
fn graphites_archives_are_one_timeline() {
    let world = two_policies();
    world.archives(&[(10, 6 * 3_600), (60, 7 * DAY_S)], "a.b", NOW_S, 2 * DAY_S);
    let ask = |what: &str, from: i64, to: i64| {
        let range = format!("time >= {}s AND time < {}s", NOW_S + from, NOW_S + to);
        world.text("graphite", &format!("SELECT {what} FROM metrics WHERE path = 'a.b' AND {range}"))
    };
    for state in ["in memory", "merged"] {
        if state == "merged" {
            world.context.engine.compact_all().unwrap();
        }
        // Points each ten seconds, 0 10 .. 50; minutes before.
        assert!(ask("count(value), max(value)", -7_200, -3_600).ends_with(",360,50"), "{state}");
        let minutes = ask("median(value), count(value)", -DAY_S, -DAY_S + 3_600);
        assert!(minutes.ends_with(",25,60"), "{state}: {minutes}");
        let rows = ask("value", -DAY_S, -DAY_S + 180);
        assert_eq!(rows.matches(",25").count(), 3, "{state}: {rows}");
        let last = world.text("graphite", "SELECT last(value) FROM metrics");
        assert!(last.ends_with(",50"), "{state}: {last}");
        let first = world.text("graphite", "SELECT first(value) FROM metrics");
        assert!(first.ends_with(",25"), "{state}: {first}");
        // The level knows how many points there were; of other calls no moment counts twice.
        let all = ask("count(value)", -2 * DAY_S, 1);
        assert!(all.ends_with(&format!(",{}", 2 * DAY_S / 10)), "{state}: {all}");
        let rows = 6 * 360 + (2 * DAY_S - 6 * 3_600) / 60;
        let all = ask("median(value), count(value)", -2 * DAY_S, 1);
        assert!(all.ends_with(&format!(",25,{rows}")), "{state}: {all} of {rows}");
        let plan = world
            .text("graphite", &format!("EXPLAIN SELECT median(value) FROM metrics WHERE time > {}s", NOW_S - DAY_S));
        assert!(plan.ends_with("TIER: metrics: raw+60s"), "{plan}");
    }
}

/// A row's time and values.
type Row<'a> = (&'a str, Vec<f64>);

fn rows(text: &str) -> Vec<Row<'_>> {
    let words = text.split([' ', '\n']).filter_map(|word| word.split_once(','));
    let numbers = |values: &str| values.split(',').map(|value| value.parse().ok()).collect::<Option<Vec<f64>>>();
    words.filter_map(|(time, values)| Some((time, numbers(values)?))).collect()
}

fn same_within(error: f64, found: &str, expected: &str, what: &str) {
    let (found, expected) = (rows(found), rows(expected));
    let is_near = |(found, exact): (&f64, &f64)| (found - exact).abs() <= exact.abs() * error + 1e-9;
    let same = |(found, exact): (&Row<'_>, &Row<'_>)| {
        found.0 == exact.0 && found.1.len() == exact.1.len() && found.1.iter().zip(&exact.1).all(is_near)
    };
    let all = found.iter().zip(&expected).all(same);
    assert!(!expected.is_empty() && found.len() == expected.len() && all, "{what}: {found:?} for {expected:?}");
}

#[test]
fn quantiles_outlive_points_as_sketches() {
    let kept = Aggregates::USUAL.with(Aggregate::Sketch);
    let (raw, tiered) = (filled(), filled());
    tiered.tiers_keeping(3_600, &[(60, 0), (600, 0)], kept);
    tiered.context.engine.compact_all().unwrap();
    let all = |what: &str, rest: &str| {
        format!("SELECT {what} FROM cpu WHERE time >= {START_S}s AND time < {START_S}s + 1h {rest}")
    };
    // Those of integers are rounded.
    let statements = [
        (all("median(usage)", "GROUP BY time(10m)"), 600, 1.0),
        (all("percentile(usage, 95)", "GROUP BY time(20m), host"), 600, 1.0),
        (all("percentile(n, 50)", "GROUP BY time(5m), host"), 60, 1.1),
        (all("percentile(usage, 100)", "GROUP BY time(10m)"), 600, 0.0),
        (all("percentile(usage, 0.0001)", "GROUP BY time(10m) fill(none)"), 600, 0.0),
        (all("median(usage)", ""), 600, 1.0),
        (all("percentile(n, 90), mean(usage)", ""), 600, 1.1),
        (all("percentile(usage, 50), max(n)", ""), 600, 1.0),
        (all("mean(usage), median(usage), percentile(n, 99)", "GROUP BY time(1h), host"), 600, 1.0),
        (all("moving_average(median(usage), 2)", "GROUP BY time(10m)"), 600, 1.0),
        (all("median(usage)", "GROUP BY time(10m) ORDER BY time DESC LIMIT 2"), 600, 1.0),
    ];
    // As long as points are there it is they that answer.
    for (statement, ..) in &statements {
        assert_eq!(tiered.text("d", statement), raw.text("d", statement), "{statement}");
        assert!(!explain(&tiered, statement).contains("sketches"), "{statement}");
    }
    tiered.advance_s(10 * DAY_S as u64);
    while tiered.context.engine.compact_once().unwrap() {}
    assert!(tiered.context.engine.files().iter().all(|file| file.tier.is_rolled()), "raw points have gone");
    for (statement, step_s, errors) in &statements {
        let found = tiered.text("d", statement);
        if statement.contains("0.0001") {
            // No value is the least ten thousandth of a hundred.
            assert_eq!(found, raw.text("d", statement), "{statement}");
            continue;
        }
        same_within(RELATIVE_ERROR * errors * 1.001, &found, &raw.text("d", statement), statement);
        let plan = explain(&tiered, statement);
        let line = format!("TIER: cpu: {step_s}s (median and percentile of sketches, within 2.2 % of a value)");
        assert!(plan.ends_with(&line), "{statement}: {plan}");
    }
    // What no sketch answers: a point's own time, conditions on points, other windows, other functions beside.
    for statement in [
        all("median(usage)", "AND usage > 3 GROUP BY time(10m)"),
        all("median(usage)", "GROUP BY time(90s)"),
        all("median(usage), stddev(usage)", "GROUP BY time(10m)"),
        all("percentile(usage, 50), host", "GROUP BY time(10m)"),
        all("percentile(usage, 50), host", ""),
        all("percentile(usage, 50), first(n)", ""),
    ] {
        let found = tiered.text("d", &statement);
        assert!(found.contains("have gone") && found.contains(", median, percentile, or last"), "{statement}: {found}");
    }
    // One window, cut by neither end of a step, or by both: its percentile stands where the window begins.
    let value_of =
        |world: &World, statement: &str| world.text("d", statement).rsplit_once(',').map(|(_, v)| v.to_owned());
    for (what, rest, errors) in [
        ("percentile(usage, 50)", "AND host = 'a'", 1.0),
        ("percentile(n, 99)", "", 1.1),
        ("percentile(n, 100)", "ORDER BY time DESC", 0.0),
        ("percentile(usage, 1)", "AND host = 'none'", 1.0),
        ("percentile(usage, 75)", "AND host =~ /./ LIMIT 1", 1.0),
    ] {
        for range in ["", &format!("time >= {START_S}s AND time < {START_S}s + 40m")] {
            let tags = if range.is_empty() { rest.trim_start_matches("AND ") } else { rest };
            let tags =
                if range.is_empty() && tags.starts_with("host") { format!("WHERE {tags}") } else { tags.to_owned() };
            let range_text = if range.is_empty() { String::new() } else { format!("WHERE {range}") };
            let statement = format!("SELECT {what} FROM cpu {range_text} {tags}");
            let (found, exact) = (value_of(&tiered, &statement), value_of(&raw, &statement));
            let number = |text: &Option<String>| text.as_ref().map(|text| text.parse::<f64>().unwrap());
            match (number(&found), number(&exact)) {
                (Some(found), Some(exact)) => {
                    let off = exact.abs() * RELATIVE_ERROR * errors * 1.001;
                    assert!((found - exact).abs() <= off, "{statement}: {found} for {exact}");
                }
                (found, exact) => assert_eq!((found, exact), (None, None), "{statement}"),
            }
        }
    }
    let start = tiered.text("d", &all("percentile(usage, 50)", ""));
    let first_of_day = tiered.text("d", &all("mean(usage)", ""));
    let time = |text: &str| text.split([' ', ',']).nth(2).map(str::to_owned);
    assert_eq!(time(&start), time(&first_of_day), "{start} {first_of_day}");
    assert!(tiered.text("d", "SELECT percentile(usage, 50) FROM cpu").contains("1970-01-01T00:00:00Z"));
    let plan = explain(&tiered, "SELECT percentile(usage, 50) FROM cpu");
    assert!(plan.ends_with("TIER: cpu: 600s (median and percentile of sketches, within 2.2 % of a value)"), "{plan}");
    let nested = "SELECT max(p) FROM (SELECT percentile(usage, 100) AS p FROM cpu GROUP BY host)";
    assert_eq!(value_of(&tiered, nested), value_of(&raw, nested), "{nested}");
    // Windows that have been deleted since do not count, and points that came since do.
    for world in [&raw, &tiered] {
        world.ask("d", &format!("DELETE FROM cpu WHERE host = 'b' AND time < {START_S}s + 30m"), None);
        world.write("d", "", S, &format!("cpu,host=a n=1000000i {}", NOW_S + 10 * DAY_S));
    }
    for percent in [50, 99, 100] {
        let statement = format!("SELECT percentile(n, {percent}) FROM cpu");
        let number = |world: &World| value_of(world, &statement).unwrap().parse::<f64>().unwrap();
        let (found, exact) = (number(&tiered), number(&raw));
        assert!((found - exact).abs() <= exact * RELATIVE_ERROR * 1.1, "{statement}: {found} for {exact}");
    }
    let held = all("median(usage)", "GROUP BY time(1m), host");
    assert!(tiered.text("d", &held).contains("median"), "{held}");
    // And after a restart.
    let tiered = tiered.restart();
    let (statement, ..) = &statements[0];
    same_within(RELATIVE_ERROR * 1.001, &tiered.text("d", statement), &raw.text("d", statement), "a restart");
}

#[test]
fn windows_without_what_was_chosen_later_are_not_left_out() {
    let tiered = filled();
    tiered.tiers_keeping(3_600, &[(600, 0)], Aggregates::USUAL);
    tiered.context.engine.compact_all().unwrap();
    tiered.advance_s(10 * DAY_S as u64);
    while tiered.context.engine.compact_once().unwrap() {}
    tiered.tiers_keeping(3_600, &[(600, 0)], Aggregates::USUAL.with(Aggregate::Sketch).with(Aggregate::First));
    for what in ["median(usage)", "first(usage)"] {
        let rest = "GROUP BY time(10m), host";
        let statement = format!("SELECT {what} FROM cpu WHERE time >= {START_S}s AND time < {START_S}s + 1h {rest}");
        let found = tiered.text("d", &statement);
        assert!(found.contains("did not keep what this needs"), "{what}: {found}");
    }
}
