use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::super::tests::world::{NOW_NS, World, two_policies};
use super::{Scheduler, Ticked};
use crate::ingest::influx::TimeUnit;
use rhythmite_influx::line_protocol::Precision;

const S: TimeUnit = TimeUnit::Fixed(Precision::Second);
/// [`NOW_NS`] is on a full hour.
const NOW_S: i64 = NOW_NS / 1_000_000_000;

fn scheduler(world: &World) -> Scheduler {
    Scheduler::new(world.context.clone(), Arc::new(AtomicBool::new(false))).unwrap()
}

/// A point of `m` with the value 1 at each of the seconds, counted from [`NOW_S`].
fn points(world: &World, at_s: &[i64]) {
    let lines: Vec<_> = at_s.iter().map(|s| format!("m v=1 {}", NOW_S + s)).collect();
    world.write("d", "", S, &lines.join("\n"));
}

/// What the query has stored: `second,value` counted from [`NOW_S`].
fn stored(world: &World, measurement: &str) -> String {
    let answer = world.ask("d", &format!("SELECT * FROM {measurement}"), None);
    let rows = answer[0]["results"][0]["series"][0]["values"].as_array().cloned().unwrap_or_default();
    let second = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_second() - NOW_S;
    let rows = rows.iter().map(|row| format!("{},{}", second(row[0].as_str().unwrap()), row[1]));
    rows.collect::<Vec<_>>().join(" ")
}

fn world(query: &str) -> World {
    let world = two_policies();
    assert_eq!(world.text("d", query).replace(" ; ", ""), "");
    world
}

const PER_MINUTE: &str =
    "CREATE CONTINUOUS QUERY c ON d BEGIN SELECT count(v) AS n INTO t FROM m GROUP BY time(1m) END";

#[test]
fn each_window_is_stored_when_it_is_over() {
    let world = world(PER_MINUTE);
    points(&world, &[-61, -1, 0, 30, 59, 60, 61, 120]);
    let mut scheduler = scheduler(&world);
    assert_eq!(scheduler.tick(), Ticked { runs: 1, failed: 0, points: 1 }, "the window that ends just now");
    world.advance_s(59);
    assert_eq!(scheduler.tick(), Ticked::default());
    world.advance_s(1);
    assert_eq!(scheduler.tick(), Ticked { runs: 1, failed: 0, points: 1 });
    assert_eq!(scheduler.tick(), Ticked::default(), "once");
    assert_eq!(stored(&world, "t"), "-60,1 0,3");
    world.advance_s(61);
    scheduler.tick();
    assert_eq!(stored(&world, "t"), "-60,1 0,3 60,2");
}

#[test]
fn late_points_count_where_the_query_reaches_back() {
    let resampled = PER_MINUTE.replace("ON d", "ON d RESAMPLE FOR 3m").replace("INTO t", "INTO far");
    let world = world(&format!("{PER_MINUTE}; {}", resampled.replace("QUERY c", "QUERY far")));
    let mut scheduler = scheduler(&world);
    scheduler.tick();
    points(&world, &[10, 70]);
    world.advance_s(120);
    scheduler.tick();
    assert_eq!((stored(&world, "t"), stored(&world, "far")), ("0,1 60,1".to_owned(), "0,1 60,1".to_owned()));
    points(&world, &[11, 71]);
    world.advance_s(60);
    scheduler.tick();
    assert_eq!((stored(&world, "t"), stored(&world, "far")), ("0,1 60,1".to_owned(), "0,2 60,2".to_owned()));
}

#[test]
fn a_restart_leaves_no_gap_and_doubles_nothing() {
    let mut world = world(PER_MINUTE);
    points(&world, &[5, 65, 66, 125, 185, 3_000]);
    let mut before = scheduler(&world);
    before.tick();
    world.advance_s(60);
    before.tick();
    assert_eq!(stored(&world, "t"), "0,1");
    drop(before);
    world = world.restart();
    // It was down for three minutes.
    world.advance_s(180);
    let mut after = scheduler(&world);
    assert_eq!(after.tick(), Ticked { runs: 1, failed: 0, points: 3 });
    assert_eq!(stored(&world, "t"), "0,1 60,2 120,1 180,1");
    assert_eq!(scheduler(&world).tick(), Ticked::default(), "how far it has run is kept");
}

#[test]
fn a_long_pause_is_made_up_for_in_pieces() {
    let world = world(PER_MINUTE);
    points(&world, &[0, 30, 60 * 1_500, 60 * 2_999, 60 * 3_000]);
    let mut scheduler = scheduler(&world);
    scheduler.tick();
    world.advance_s(60 * 3_000);
    assert_eq!(scheduler.tick(), Ticked { runs: 1, failed: 0, points: 3 });
    assert_eq!(stored(&world, "t"), "0,2 90000,1 179940,1");
}

#[test]
fn resampling_covers_the_window_that_has_begun() {
    let world = world(&PER_MINUTE.replace("ON d", "ON d RESAMPLE EVERY 20s"));
    points(&world, &[0, 15, 30]);
    let mut scheduler = scheduler(&world);
    scheduler.tick();
    world.advance_s(20);
    scheduler.tick();
    assert_eq!(stored(&world, "t"), "0,3", "the points there are");
    world.advance_s(20);
    points(&world, &[19]);
    scheduler.tick();
    assert_eq!(stored(&world, "t"), "0,4");
}

#[test]
fn a_failed_run_does_not_stop_the_later_ones() {
    let world = world(PER_MINUTE);
    world.write("d", "", S, "t n=\"text\" 1\nm v=1 1717243210");
    let mut scheduler = scheduler(&world);
    scheduler.tick();
    world.advance_s(60);
    assert_eq!(scheduler.tick(), Ticked { runs: 0, failed: 1, points: 0 });
    world.check(&[("DROP MEASUREMENT t", "")]);
    points(&world, &[70]);
    world.advance_s(60);
    assert_eq!(scheduler.tick(), Ticked { runs: 1, failed: 0, points: 1 });
    assert_eq!(stored(&world, "t"), "60,1");
}

#[test]
fn dropped_queries_run_no_more() {
    let world = world(PER_MINUTE);
    points(&world, &[0]);
    let mut scheduler = scheduler(&world);
    scheduler.tick();
    world.check(&[
        (
            "SHOW CONTINUOUS QUERIES",
            "d[name,query] c,CREATE CONTINUOUS QUERY c ON d BEGIN SELECT count(v) AS n INTO d.autogen.t FROM d.autogen.m \
             GROUP BY time(1m) END",
        ),
        ("DROP CONTINUOUS QUERY c ON d; DROP CONTINUOUS QUERY c ON d; DROP CONTINUOUS QUERY c ON none", " ;  ; "),
        ("SHOW CONTINUOUS QUERIES", "d[name,query]"),
    ]);
    world.advance_s(60);
    assert_eq!(scheduler.tick(), Ticked::default());
}

#[test]
fn statements_are_checked_as_in_influxdb() {
    let create = |text: &str| format!("CREATE CONTINUOUS QUERY {text}");
    let world = world(PER_MINUTE);
    let select = "BEGIN SELECT mean(v) INTO t FROM m GROUP BY time(1m) END";
    for (text, expected) in [
        ("c ON d BEGIN SELECT count(v) AS n INTO t FROM m GROUP BY time(1m) END", ""),
        ("c ON d BEGIN SELECT sum(v) INTO t FROM m GROUP BY time(1m) END", "ERROR continuous query already exists"),
        (&format!("e ON none {select}"), "ERROR database not found: none"),
        (
            "e ON d BEGIN SELECT mean(v) INTO d.none.t FROM m GROUP BY time(1m) END",
            "ERROR retention policy not found: d.none",
        ),
        ("raw ON d BEGIN SELECT v INTO t FROM m END", ""),
        (
            "deep ON d BEGIN SELECT max(s) INTO rp2.t FROM (SELECT sum(v) AS s FROM m GROUP BY h) GROUP BY time(1m) END",
            "",
        ),
    ] {
        assert_eq!(world.text("d", &create(text)), expected, "{text}");
    }
    let shown = world.text("d", "SHOW CONTINUOUS QUERIES");
    assert!(shown.contains("INTO d.rp2.t FROM (SELECT sum(v) AS s FROM d.autogen.m GROUP BY h)"), "{shown}");
    let mut scheduler = scheduler(&world);
    scheduler.tick();
    world.advance_s(3_600);
    assert_eq!(scheduler.tick().failed, 0, "a raw query is kept and never runs");
    world.check(&[("DROP DATABASE d; SHOW CONTINUOUS QUERIES", " ; ")]);
}
