//! What reads from one end of time answers as if everything was read: the rows of the same statement without LIMIT, cut.

use rhythmite_influx::line_protocol::Precision;
use serde_json::{Value, json};

use super::world::{World, two_policies};
use crate::ingest::influx::TimeUnit;

const S: TimeUnit = TimeUnit::Fixed(Precision::Second);
/// 2024-06-01 00:00:00 UTC.
const START_S: i64 = 1_717_200_000;

/// Three hosts in several files and in memory, with points that are late, written again and deleted. `c` stopped early,
/// `d` has nothing but texts, `b` seldom has `y`.
fn world(piece_values: u64) -> World {
    let mut world = two_policies();
    world.context.limits.piece_values = piece_values;
    let write = |from: i64, to: i64, step: usize, value: i64| {
        let lines = (from..to).step_by(step).flat_map(|t| {
            let at = START_S + t * 10;
            let mut lines = vec![format!("cpu,host=a x={}i,y={} {at}", value + t % 37, t % 11)];
            lines.push(format!("cpu,host=b x={}i {at}", value - t % 23));
            if t % 13 == 0 {
                lines.push(format!("cpu,host=b y={value} {at}"));
            }
            if t < 100 {
                lines.push(format!("cpu,host=c x=1i,y=2 {at}"));
            }
            if t % 17 == 0 {
                lines.push(format!("cpu,host=d text=\"t{t}\" {at}"));
            }
            lines
        });
        world.write("d", "", S, &lines.collect::<Vec<_>>().join("\n"));
    };
    let flush = || world.context.engine.flush().unwrap();
    write(0, 300, 1, 100);
    flush();
    write(500, 800, 1, 200);
    flush();
    write(250, 550, 3, 300);
    flush();
    write(790, 820, 2, 400);
    write(100, 110, 1, 500);
    for delete in [(805, 815), (700, 720), (0, 3), (515, 530)] {
        let (from, to) = (START_S + delete.0 * 10, START_S + delete.1 * 10);
        world.check(&[(&format!("DELETE FROM cpu WHERE host = 'a' AND time >= {from}s AND time <= {to}s"), "")]);
    }
    world
}

fn series(world: &World, query: &str) -> Vec<Value> {
    let answer = world.ask("d", query, None);
    assert!(answer[0]["results"][0]["error"].is_null(), "{query}: {answer:?}");
    answer[0]["results"][0]["series"].as_array().cloned().unwrap_or_default()
}

/// The rows that LIMIT and OFFSET leave of each series.
fn cut(all: Vec<Value>, limit: usize, offset: usize) -> Vec<Value> {
    let cut = |mut series: Value| {
        let rows = series["values"].as_array()?.iter().skip(offset).take(limit).cloned().collect::<Vec<_>>();
        series["values"] = json!(rows);
        (!rows.is_empty()).then_some(series)
    };
    all.into_iter().filter_map(cut).collect()
}

fn times() -> Vec<String> {
    let at = |t: i64| START_S + t * 10;
    vec![
        String::new(),
        format!("WHERE time < {}s", at(815)),
        format!("WHERE time < {}s", at(700)),
        format!("WHERE time >= {}s AND time < {}s", at(95), at(713)),
        format!("WHERE time >= {}s AND time < {}s", at(501), at(560)),
        format!("WHERE time > {}s", at(812)),
        format!("WHERE host != 'b' AND time < {}s", at(300)),
    ]
}

#[test]
fn the_first_row_of_each_group() {
    for world in [world(0), world(100).restart()] {
        for times in times() {
            for fields in ["*", "x", "x, y", "y, host", "text", "text, x", "x + y"] {
                for by in ["GROUP BY host", "GROUP BY *", ""] {
                    for order in ["", "ORDER BY time DESC"] {
                        let query = format!("SELECT {fields} FROM cpu {times} {by} {order}");
                        let found = series(&world, &format!("{query} LIMIT 1"));
                        assert_eq!(found, cut(series(&world, &query), 1, 0), "{query}");
                    }
                }
            }
        }
    }
}

#[test]
fn first_and_last_are_the_ends_of_each_group() {
    let world = world(0);
    for times in times() {
        for field in ["x", "y", "text"] {
            let all = series(&world, &format!("SELECT {field} AS v FROM cpu {times} GROUP BY host"));
            for (function, reversed) in [("first", ""), ("last", "ORDER BY time DESC")] {
                let query = format!("SELECT {function}({field}) AS v FROM cpu {times} GROUP BY host");
                let ends = cut(
                    series(&world, &format!("SELECT {field} AS v FROM cpu {times} GROUP BY host {reversed}")),
                    1,
                    0,
                );
                let mut expected = ends;
                if !reversed.is_empty() {
                    expected.reverse();
                }
                assert_eq!(series(&world, &query), expected, "{query}");
                assert_eq!(expected.len(), all.len());
            }
        }
    }
}

#[test]
fn the_first_windows_of_each_group() {
    for piece_values in [0, 300] {
        let world = world(piece_values);
        for times in times() {
            for call in ["max(x)", "count(y)", "first(x), last(y)", "last(text)"] {
                for by in ["time(1m)", "time(100s), host", "time(7s), host fill(9)", "time(1h, 13m) fill(9)"] {
                    let (by, fills) = match by.split_once(" fill") {
                        Some((by, fill)) => (by, vec![format!("fill{fill}")]),
                        None => {
                            let fills = ["", "fill(none)", "fill(linear)"];
                            (by, fills.map(str::to_owned).to_vec())
                        }
                    };
                    for fill in fills {
                        // Each call is cut for itself, so that rows of several may differ where none is filled.
                        if fill == "fill(none)" && call.contains(',') {
                            continue;
                        }
                        for (order, limit, offset) in
                            [("", 3, 2), ("ORDER BY time DESC", 1, 0), ("ORDER BY time DESC", 5, 3)]
                        {
                            let query = format!("SELECT {call} FROM cpu {times} GROUP BY {by} {fill} {order}");
                            let found = series(&world, &format!("{query} LIMIT {limit} OFFSET {offset}"));
                            let expected = cut(series(&world, &query), limit, offset);
                            assert_eq!(found, expected, "{query} LIMIT {limit} OFFSET {offset}, {piece_values}");
                        }
                    }
                }
            }
        }
    }
}
