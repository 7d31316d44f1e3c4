//! Short queries that are answered at once, from memory alone, are answered as others are; what is not short is left.

use rhythmite_influx::influxql::{Params, parse_query};
use rhythmite_influx::line_protocol::Precision;

use super::world::{Plain, World, two_policies};
use crate::ingest::influx::TimeUnit;
use crate::query::influxql::brief::{SERIES_MAX, VALUES_MAX};
use crate::query::influxql::{Request, execute, is_brief};

const S: TimeUnit = TimeUnit::Fixed(Precision::Second);

#[test]
fn a_statement_tells_whether_it_may_be_short() {
    for (query, expected) in [
        ("SELECT mean(x) FROM cpu", true),
        ("SELECT max(x) AS m, count(n) FROM cpu WHERE host = 'a' AND time > now() - 1h GROUP BY time(1m), host", true),
        ("SELECT first(x) FROM a, b.c.d WHERE host = 'a' OR host = 'b' GROUP BY time(1m) fill(0)", true),
        ("SELECT x FROM cpu", false),
        ("SELECT mean(*) FROM cpu", false),
        ("SELECT mean(x) + 1 FROM cpu", false),
        ("SELECT percentile(x, 9) FROM cpu", false),
        ("SELECT derivative(mean(x)) FROM cpu GROUP BY time(1m)", false),
        ("SELECT mean(x) FROM /c/", false),
        ("SELECT mean(x) FROM cpu WHERE host =~ /a/", false),
        ("SELECT mean(x) FROM cpu GROUP BY *", false),
        ("SELECT mean(x) INTO m FROM cpu", false),
        ("SELECT mean(x) FROM (SELECT x FROM cpu)", false),
        ("SELECT mean(x) FROM a, b, c", false),
        ("SELECT mean(x) FROM cpu; SELECT mean(x) FROM cpu", false),
        ("SHOW DATABASES", false),
    ] {
        assert_eq!(is_brief(&parse_query(query, &Params::default()).expect(query)), expected, "{query}");
    }
}

fn found(world: &World, query: &str, briefly: bool) -> String {
    let query = parse_query(query, &Params::default()).expect(query);
    let request = Request { database: Some("d".to_owned()), briefly, ..Request::default() };
    let mut rows = Plain::default();
    execute(&world.context, &request, &query, &mut rows);
    rows.0
}

const NOT_BRIEF: &str = "the query is not brief";

/// What is read again is short, and says the same.
fn check(world: &World, queries: &[&str]) {
    for query in queries {
        let expected = found(world, query, false);
        assert!(!expected.is_empty(), "{query}");
        assert_eq!(found(world, query, true), expected, "{query}");
    }
}

#[test]
fn short_queries_are_answered_from_memory() {
    let world = two_policies();
    let write = |from: usize, to: usize| {
        let line = |point: usize, host: usize| {
            format!("cpu,host=h{host},dc=d{} x={}.5,n={host}i {}", host % 2, point * host, point * 10)
        };
        let lines: Vec<_> = (from..to).flat_map(|point| (0..20).map(move |host| line(point, host))).collect();
        world.write("d", "", S, &lines.join("\n"));
    };
    let queries = [
        "SELECT max(x) FROM cpu WHERE time >= 0 AND time < 900s AND host = 'h7' GROUP BY time(1m)",
        "SELECT mean(x), count(n), last(n) FROM cpu WHERE time >= 95s AND time < 700s AND (host = 'h7' OR dc = 'd0') GROUP BY time(70s), host",
        "SELECT spread(x) FROM cpu WHERE time >= 0 AND time < 900s GROUP BY dc",
        "SELECT sum(n) FROM cpu WHERE time >= 0 AND time < 9000s GROUP BY time(1m) fill(previous)",
    ];
    write(0, 40);
    check(&world, &queries);
    world.context.engine.flush().unwrap();
    // Not decoded yet.
    assert_ne!(found(&world, queries[0], true), found(&world, queries[0], false));
    check(&world, &queries);
    write(40, 90);
    check(&world, &queries);
    // Rows that were not sorted by another reader.
    write(90, 130);
    let newest = "SELECT sum(x) FROM cpu WHERE time >= 0 AND time < 2000s";
    let sorted = found(&world, newest, true);
    assert!(!sorted.contains(','), "{sorted}");
    check(&world, &[newest]);
    // After a restart nothing is in memory but what comes from the log.
    let world = world.restart();
    assert_ne!(found(&world, queries[0], true), found(&world, queries[0], false));
    check(&world, &queries);
}

#[test]
fn what_is_not_short_is_left_to_others() {
    let world = two_policies();
    let hosts: Vec<_> = (0..=SERIES_MAX).map(|host| format!("many,host=h{host} x=1 10")).collect();
    world.write("d", "", S, &hosts.join("\n"));
    let points: Vec<_> = (0..=VALUES_MAX).map(|point| format!("long x={point} {point}")).collect();
    world.write("d", "", S, &points.join("\n"));
    let fields: Vec<_> = (0..300).map(|field| format!("f{field}={field}")).collect();
    world.write("d", "", S, &format!("broad {} 10", fields.join(",")));
    for query in [
        "SELECT sum(x) FROM many",
        "SELECT sum(x) FROM long",
        "SELECT sum(x) FROM long WHERE time >= 0 AND time < 100s GROUP BY time(1ms) fill(0)",
        "SELECT sum(x) FROM long WHERE time < 100s AND x > 7",
        "SELECT last(x) FROM long",
    ] {
        let expected = found(&world, query, false);
        assert!(expected.contains(','), "{query}");
        assert_eq!(found(&world, query, true), NOT_BRIEF, "{query}");
    }
    check(
        &world,
        &[
            "SELECT sum(x) FROM many WHERE host = 'h3' OR host = 'h4'",
            "SELECT sum(x) FROM long WHERE time < 100s",
            // How many columns there are does not matter: none is looked at that the statement does not name.
            "SELECT sum(f7) FROM broad",
        ],
    );
}
