//! Raw rows of many series that are read in pieces by several threads, are those that one thread reads at once.

use rhythmite_influx::line_protocol::Precision;

use super::world::{World, found, two_policies};
use crate::ingest::influx::TimeUnit;

const S: TimeUnit = TimeUnit::Fixed(Precision::Second);
const HOSTS: usize = 12;
const POINTS: usize = 90;

/// Points every ten seconds, in three files and in memory. Not every host has every tag, not every point every field.
fn world() -> World {
    let world = two_policies();
    for (from, to) in [(0, 33), (33, 41), (41, 80), (80, POINTS)] {
        let line = |point: usize, host: usize| {
            let rack = if host % 4 == 3 { String::new() } else { format!(",rack=r{}", host % 3) };
            let x = (host * 31 + point * 17) % 97;
            let mut fields = format!("x={x},n={}i", (host * 13 + point * 7) % 101);
            if (host + point).is_multiple_of(5) {
                fields.push_str(&format!(",s=\"{}\"", ["a", "b", "c"][(host + point / 5) % 3]));
            }
            if (host + point).is_multiple_of(7) {
                fields = format!("y={}.5", host * point);
            }
            format!("cpu,dc=d{},host=h{:02}{rack} {fields} {}", host % 2, HOSTS - host, point * 10 + host % 3)
        };
        let lines: Vec<_> = (from..to).flat_map(|point| (0..HOSTS).map(move |host| line(point, host))).collect();
        world.write("d", "", S, &lines.join("\n"));
        if to < POINTS {
            world.context.engine.flush().unwrap();
        }
    }
    world
}

/// What the rows are that a statement gives, whatever is read at a time; `pieces` are cut by time.
fn check(world: &mut World, query: &str, pieces: &[u64]) {
    world.context.limits.piece_values = 0;
    let expected = found(world, query);
    assert!(expected.len() > 20, "{query}: {expected}");
    for piece in pieces {
        world.context.limits.piece_values = *piece;
        assert_eq!(found(world, query), expected, "{query} by {piece}");
    }
}

#[test]
fn rows_are_the_same_by_pieces_and_threads() {
    let mut world = world();
    // Hosts are all different, so that the time and the host decide where a row is.
    for select in ["SELECT *", "SELECT host, x, y", "SELECT dc, host, s, n", "SELECT x + n, host"] {
        for condition in [
            "",
            "x > 80",
            "x > 80 AND n < 50",
            "x > 1000 OR y > 40",
            "x > 60 AND host <> 'h03'",
            "(x > 60 OR host = 'h03')",
            "s = 'a'",
            "s =~ /a|b/ AND time >= 205s AND time < 700s",
            "y * 2 > n",
            "n = 7 AND rack = 'r1'",
        ] {
            for order in
                ["", "ORDER BY time DESC", "LIMIT 7", "LIMIT 9 OFFSET 11", "ORDER BY time DESC LIMIT 5 OFFSET 2"]
            {
                let condition = if condition.is_empty() { String::new() } else { format!("WHERE {condition}") };
                let query = format!("{select} FROM cpu {condition} {order}");
                // A field of another row than that of the condition is no row.
                if found(&world, &query).len() > 20 {
                    check(&mut world, &query, &[900, 100, 7]);
                }
            }
        }
    }
}

#[test]
fn rows_of_one_time_are_as_the_heap_has_them() {
    let mut world = world();
    // All of the time is one piece: what is not decided by texts depends on how the heap was filled.
    for query in [
        "SELECT x FROM cpu WHERE x > 20",
        "SELECT n, x FROM cpu WHERE x > 20 ORDER BY time DESC",
        "SELECT dc, x FROM cpu WHERE x > 20",
        "SELECT dc, x FROM cpu WHERE x > 20 ORDER BY time DESC",
        "SELECT rack, x FROM cpu WHERE x > 20",
        "SELECT rack, x FROM cpu WHERE x > 20 ORDER BY time DESC",
        "SELECT dc, s, x FROM cpu WHERE x > 20",
        "SELECT none, x FROM cpu WHERE x > 20",
    ] {
        check(&mut world, query, &[2_000]);
    }
}

#[test]
fn more_rows_than_are_kept_are_read_again_in_smaller_pieces() {
    let mut world = world();
    check(&mut world, "SELECT * FROM cpu WHERE x >= 0", &[500, 60]);
    check(&mut world, "SELECT * FROM cpu WHERE x >= 0 ORDER BY time DESC", &[500, 60]);
}
