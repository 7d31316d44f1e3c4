//! SELECT against what InfluxDB 1.x answered, and what the vectors do not have.

use rhythmite_influx::influxql::Mistakes;
use serde_json::{Value, json};

use super::world::{World, two_policies};
use super::{NS, play_step};
use crate::query::influxql::Limits;

/// See `tests/data/influxql/README.md` for the form.
const VECTORS: &str = include_str!("../../../../tests/data/influxql/select.json");

#[test]
fn answers_are_those_of_influxdb() {
    let cases: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    let mut failures = Vec::new();
    let mut checks = 0;
    for case in &cases {
        let mut world = World::new();
        world.request.times_as_text = true;
        for step in case["steps"].as_array().unwrap() {
            let Some(query) = step["q"].as_str() else {
                assert_eq!(play_step(&world, step), None);
                continue;
            };
            checks += 1;
            world.request.policy = step["rp"].as_str().map(str::to_owned);
            let found = &world.ask(step["db"].as_str().unwrap_or(""), query, None)[0];
            if !same(&step["answer"], found) {
                failures.push(format!("{}: {query}\n  expected {}\n  found    {found}", case["name"], step["answer"]));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {checks} checks failed:\n{}", failures.len(), failures.join("\n"));
    assert!(checks > 500, "only {checks} checks");
}

/// Equal, floats to nine digits.
fn same(expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a == b,
            _ => {
                let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
                (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
            }
        },
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// `d` with two hosts, of which one has a gap, and a host that only the other policy has.
fn hosts() -> World {
    let world = two_policies();
    world.write(
        "d",
        "",
        NS,
        "cpu,host=a v=1,n=1i,s=\"x\" 10\ncpu,host=a v=2,n=2i 20\ncpu,host=a v=4,n=4i 40\n\
         cpu,host=b v=10,n=10i,ok=true 10\ncpu,host=b v=30,n=30i 30",
    );
    world.write("d", "rp2", NS, "cpu,host=c v=100 10");
    world
}

#[test]
fn points_of_several_series_are_in_one_order() {
    hosts().check(&[
        ("SELECT v FROM cpu", &rows("cpu", "time,v", &["10,1", "10,10", "20,2", "30,30", "40,4"])),
        ("SELECT v FROM cpu ORDER BY time DESC LIMIT 2 OFFSET 1", &rows("cpu", "time,v", &["30,30", "20,2"])),
        ("SELECT v, host FROM cpu WHERE v > 3 AND host = 'a'", &rows("cpu", "time,v,host", &["40,4,a"])),
        ("SELECT v FROM cpu WHERE host = 'b' OR n = 4", &rows("cpu", "time,v", &["10,10", "30,30", "40,4"])),
        ("SELECT s, ok FROM cpu", &rows("cpu", "time,s,ok", &["10,x,null", "10,null,true"])),
        ("SELECT v FROM rp2.cpu", &rows("cpu", "time,v", &["10,100"])),
        (
            "SELECT n / 2, n % 4, v * n FROM cpu WHERE host = 'a'",
            &rows("cpu", "time,n,n_1,v_n", &["10,0.5,1,1", "20,1,2,4", "40,2,0,16"]),
        ),
        ("SELECT nothing FROM cpu", ""),
        ("SELECT host FROM cpu", ""),
    ]);
}

#[test]
fn windows_are_filled_between_the_bounds() {
    let bounds = "WHERE time >= 10 AND time < 50 AND host = 'a' GROUP BY time(10ns)";
    let world = hosts();
    for (fill, third) in [
        ("", Some("null")),
        ("fill(none)", None),
        ("fill(0)", Some("0")),
        ("fill(previous)", Some("2")),
        ("fill(linear)", Some("3")),
    ] {
        let mut expected = vec!["10,1", "20,2"];
        let third = third.map(|value| format!("30,{value}"));
        expected.extend(third.as_deref());
        expected.push("40,4");
        let query = format!("SELECT max(v) FROM cpu {bounds} {fill}");
        world.check(&[(&query, &rows("cpu", "time,max", &expected))]);
    }
    world.check(&[(
        &format!("SELECT count(v) FROM cpu {bounds}"),
        &rows("cpu", "time,count", &["10,1", "20,1", "30,0", "40,1"]),
    )]);
}

#[test]
fn selectors_keep_the_time_of_their_point() {
    hosts().check(&[
        ("SELECT max(v), host FROM cpu", &rows("cpu", "time,max,host", &["30,30,b"])),
        ("SELECT max(v), min(v) FROM cpu WHERE time > 5", &rows("cpu", "time,max,min", &["6,30,1"])),
        ("SELECT top(v, host, 2) FROM cpu", &rows("cpu", "time,top,host", &["30,30,b", "40,4,a"])),
        (
            "SELECT difference(last(v)) FROM cpu WHERE time >= 20 AND time < 50 AND host = 'a' GROUP BY time(10ns)",
            &rows("cpu", "time,difference", &["20,1", "40,2"]),
        ),
    ]);
}

#[test]
fn a_subquery_is_a_source_like_others() {
    hosts().check(&[
        ("SELECT sum(m) FROM (SELECT max(v) AS m FROM cpu GROUP BY host)", &rows("cpu", "time,sum", &["0,34"])),
        (
            "SELECT m, host FROM (SELECT max(v) AS m FROM cpu GROUP BY host) WHERE m > 5",
            &rows("cpu", "time,m,host", &["30,30,b"]),
        ),
        (
            "SELECT sum(x) FROM (SELECT v * 2 AS x FROM cpu), (SELECT v AS x FROM rp2.cpu)",
            &rows("cpu", "time,sum", &["0,194"]),
        ),
    ]);
}

#[test]
fn what_is_written_by_into_can_be_read() {
    let world = hosts();
    world.check(&[
        ("SELECT v, s INTO copy FROM cpu GROUP BY *", &rows("result", "time,written", &["0,5"])),
        ("SELECT v, s FROM copy WHERE host = 'a'", &rows("copy", "time,v,s", &["10,1,x", "20,2,null", "40,4,null"])),
        ("SELECT max(n) INTO rp2.:MEASUREMENT FROM cpu", &rows("result", "time,written", &["0,1"])),
        ("SELECT max FROM rp2.cpu", &rows("cpu", "time,max", &["30,30"])),
        (
            "SELECT s AS v INTO copy FROM cpu",
            "ERROR partial write: field type conflict: input field \"v\" on measurement \"copy\" is type string, already exists as type float dropped=1",
        ),
    ]);
}

#[test]
fn limits_stop_a_query_in_the_words_of_1_x() {
    let mut world = hosts();
    world.context.limits.select_series_max = 1;
    world.context.limits.select_buckets_max = 2;
    world.check(&[
        ("SELECT v FROM cpu", "ERROR max-select-series limit exceeded: (2/1)"),
        ("SELECT v FROM rp2.cpu", &rows("cpu", "time,v", &["10,100"])),
        (
            "SELECT max(v) FROM rp2.cpu WHERE time >= 0 AND time < 30 GROUP BY time(10ns)",
            "ERROR max-select-buckets limit exceeded: (3/2)",
        ),
        ("SELECT v FROM none.cpu", "ERROR retention policy not found: none"),
        ("SELECT v FROM x..cpu", "ERROR database not found: x"),
        ("SELECT sum(s) FROM rp2.cpu", ""),
    ]);
    world.context.limits.select_series_max = 0;
    world.check(&[("SELECT sum(s) FROM cpu", "ERROR unsupported sum iterator type: *query.stringInterruptIterator")]);
    world.context.limits.rows_max = 3;
    world.check(&[("SELECT v FROM cpu", &format!("{} ...", rows("cpu", "time,v", &["10,1", "10,10", "20,2"])))]);
    world.request.interrupt.cancelled.store(true, std::sync::atomic::Ordering::Relaxed);
    world.check(&[("SELECT v FROM cpu", "ERROR query interrupted")]);
}

#[test]
fn graphite_series_are_read_by_their_path() {
    let world = two_policies();
    world.paths(10, &["a.b.c", "a.b.d", "x;dc=1"]);
    let query = "SELECT count(value) FROM metrics WHERE path =~ /^a/ GROUP BY path";
    // No point is there; that the names are found shows in the columns.
    assert_eq!(world.ask("graphite", query, None)[0], json!({"results": [{"statement_id": 0}]}));
    assert_eq!(world.text("graphite", "SHOW TAG KEYS"), "metrics[tagKey] dc name path");
}

/// The short text of one series. Times are nanoseconds since the epoch.
fn rows(name: &str, columns: &str, rows: &[&str]) -> String {
    let mut text = format!("{name}[{columns}]");
    for row in rows {
        let (time, rest) = row.split_once(',').unwrap();
        let nanos = if time == "0" { String::new() } else { format!(".{:0>9}", time).trim_end_matches('0').to_owned() };
        text.push_str(&format!(" 1970-01-01T00:00:00{nanos}Z,{rest}"));
    }
    text
}

/// Answers do not depend on how much is read at a time; what is held does.
#[test]
fn what_is_heavy_is_read_in_pieces() {
    let mut world = two_policies();
    let lines: Vec<_> = (0..300).map(|i| format!("m,h={} v={i},n={}i {}", i % 3, i % 7, i * 1_000)).collect();
    world.write("d", "", NS, &lines.join("\n"));
    world.write("d", "", NS, "m,h=0 v=0.5 500\nm,h=1 n=1i 299500");
    let queries = [
        "SELECT * FROM m",
        "SELECT v, n FROM m ORDER BY time DESC",
        "SELECT v FROM m WHERE n = 3 GROUP BY h",
        "SELECT v FROM m LIMIT 7 OFFSET 90",
        "SELECT v FROM m ORDER BY time DESC LIMIT 4 OFFSET 3",
        "SELECT v FROM m WHERE time >= 20000 AND time < 30000",
        "SELECT v FROM m GROUP BY h LIMIT 2",
        "SELECT v FROM m OFFSET 1000",
        "SELECT mean(v), max(v), count(n), last(v), first(n) FROM m WHERE time < 300000 GROUP BY time(40u)",
        "SELECT max(v), n FROM m",
        "SELECT last(*) FROM m GROUP BY h",
        "SELECT last(v), last(n) FROM m",
        "SELECT last(v), h, n FROM m WHERE n > 2",
        "SELECT first(v) FROM m WHERE time > 5000 GROUP BY *",
        "SELECT first(n), first(v) FROM m GROUP BY h ORDER BY time DESC",
        "SELECT last(v), first(v) FROM m",
        "SELECT median(v), spread(n) FROM m GROUP BY h",
        "SELECT sum(x) FROM (SELECT v * 2 AS x FROM m) GROUP BY h",
        "SELECT v FROM m fill(previous) LIMIT 3",
    ];
    let whole: Vec<_> = queries.iter().map(|query| world.text("d", query)).collect();
    assert!(whole.iter().all(|text| !text.contains("ERROR")), "{whole:?}");
    for restarted in [false, true] {
        if restarted {
            world = world.restart();
        }
        for piece_values in [1, 10, 77, 250] {
            world.context.limits.piece_values = piece_values;
            for (query, whole) in queries.iter().zip(&whole) {
                assert_eq!(world.text("d", query), *whole, "{query} by {piece_values}");
            }
        }
    }
    // Raw points and folds go where all at once would not.
    world.context.limits = Limits { piece_values: 50, values_max: 400, ..Limits::default() };
    let refused = |query: &str| world.text("d", query).contains("max_select_values");
    assert!(!refused("SELECT * FROM m") && !refused("SELECT mean(v) FROM m GROUP BY time(100u) fill(none)"));
    assert!(refused("SELECT median(v), median(n) FROM m"));
}

const SUM: &str = "unsupported sum iterator type: *query.stringInterruptIterator";
const CUMULATIVE: &str = "unsupported cumulative sum iterator type: *query.stringInterruptIterator";

/// Each statement's answer as InfluxDB 1.6.7 gave it, and as it is meant.
#[test]
fn mistakes_of_influxdb_are_made_unless_they_are_corrected() {
    let mut world = hosts();
    let lines = "n,k=a v=-3i,f=1.5,s=\"t\" 1\nn,k=a v=4i,f=2.5 2\nn,k=b v=5i,f=0.5 2\nn,k=b v=6i,f=0.5 3\nn v=7i 4";
    world.write("d", "", NS, lines);
    for (query, kept, corrected) in [
        ("SELECT abs(v) FROM n WHERE k = 'a'", "1 -3|2 4", "1 3|2 4"),
        ("SELECT x FROM (SELECT v / 2 AS x FROM n WHERE k = 'b')", "2 2|3 3", "2 2.5|3 3"),
        ("SELECT x FROM (SELECT sqrt(v) AS x FROM n WHERE v = 6)", "3 2", "3 2.449489742783178"),
        ("SELECT x FROM (SELECT ln(v) AS x FROM n WHERE v = -3)", "1 null", "1 null"),
        ("SELECT sum(x) FROM (SELECT ln(v) AS x FROM n WHERE v = -3)", "0 -9223372036854775808", "0 null"),
        ("SELECT v FROM n OFFSET 2", "2 4", "2 4|3 6|4 7"),
        ("SELECT max(v) FROM n GROUP BY k SOFFSET 2", "", "k=b 3 6"),
        ("SELECT max(v) FROM n GROUP BY k SLIMIT 1 SOFFSET 1", "k=a 2 4", "k=a 2 4"),
        ("SELECT integral(f, 1ns) FROM n GROUP BY k", "k=b 0 0.5; k=a 0 2", "k=a 0 2; k=b 0 0.5"),
        ("SELECT tan(s) FROM n", "1 null", "invalid argument type for the first argument in tan(): string"),
        ("SELECT stddev(v) FROM n WHERE k = 'a' AND time < 2 fill(0)", "0 null", "0 null"),
        ("SELECT sum(s) FROM n WHERE s = 'nothing'", SUM, SUM),
        ("SELECT x FROM (SELECT f AS x FROM n) WHERE abs(x) > 2", "", "2 2.5"),
        ("SELECT median(x) FROM (SELECT ln(f - 1) AS x FROM n)", "0 null", "0 null"),
        ("SELECT cumulative_sum(s) FROM n", CUMULATIVE, CUMULATIVE),
    ] {
        for (mistakes, expected) in [(Mistakes::Kept, kept), (Mistakes::Corrected, corrected)] {
            world.context.mistakes = mistakes;
            assert_eq!(short(&world.ask("d", query, None)[0]["results"][0]), expected, "{query}, {mistakes:?}");
        }
    }
}

/// `tags nanosecond value|nanosecond value; tags ...`, or the error.
fn short(answer: &Value) -> String {
    if let Some(error) = answer["error"].as_str() {
        return error.to_owned();
    }
    let series = answer["series"].as_array().map(Vec::as_slice).unwrap_or_default().iter().map(|series| {
        let tags = series["tags"].as_object().into_iter().flatten();
        let tags: String = tags.map(|(key, value)| format!("{key}={} ", value.as_str().unwrap())).collect();
        let nanosecond = |text: &Value| text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_nanosecond();
        let row = |row: &Value| format!("{} {}", nanosecond(&row[0]), row[1]);
        tags + &series["values"].as_array().unwrap().iter().map(row).collect::<Vec<_>>().join("|")
    });
    series.collect::<Vec<_>>().join("; ")
}

/// Rust's sort panics where an order is none, and many points are needed for that.
#[test]
fn what_is_no_number_can_be_sorted() {
    let world = hosts();
    let lines: Vec<_> = (0..500).map(|i| format!("o,k={} v={} {}", i % 7, (i * 7919) % 50 - 25, i / 7)).collect();
    world.write("d", "", NS, &lines.join("\n"));
    for call in ["median(x)", "percentile(x, 50)", "mode(x)", "distinct(x)", "top(x, 20)", "bottom(x, 20)", "stddev(x)"]
    {
        let query = format!("SELECT {call} FROM (SELECT ln(v) AS x FROM o GROUP BY k)");
        let answer = &world.ask("d", &query, None)[0]["results"][0];
        assert!(answer["series"].is_array(), "{query}: {answer}");
    }
}
