//! Functions that fold, of many series on several threads, come to the sums that adding by hand comes to, to the last bit.

use std::collections::BTreeMap;

use rhythmite_influx::line_protocol::Precision;

use super::world::{World, found, two_policies};
use crate::ingest::influx::TimeUnit;

const S: TimeUnit = TimeUnit::Fixed(Precision::Second);
const HOSTS: usize = 12;
const POINTS: usize = 90;
const WINDOW_S: usize = 70;

/// No sum of these is without an error.
fn x(host: usize, point: usize) -> f64 {
    ((host * 31 + point * 17) % 97) as f64 * 0.1 + point as f64 * 1e-3
}

fn n(host: usize, point: usize) -> i64 {
    ((host * 13 + point * 7) % 101) as i64 - 50
}

/// Points every ten seconds, in three files and in memory.
fn world() -> World {
    let world = two_policies();
    for (from, to) in [(0, 33), (33, 41), (41, 80), (80, POINTS)] {
        let line = |point: usize, host: usize| {
            let (x, n) = (x(host, point), n(host, point));
            format!("cpu,host=h{host:02},dc=d{} x={x},n={n}i {}", host % 3, point * 10)
        };
        let lines: Vec<_> = (from..to).flat_map(|point| (0..HOSTS).map(move |host| line(point, host))).collect();
        world.write("d", "", S, &lines.join("\n"));
        if to < POINTS {
            world.context.engine.flush().unwrap();
        }
    }
    world
}

/// Sum of `x`, number of points and greatest `n`: of each series by itself, and then of one series after the other.
fn expected(group: fn(usize) -> usize, window_s: usize) -> String {
    let mut rows: BTreeMap<(usize, usize), (f64, f64, i64)> = BTreeMap::new();
    for host in 0..HOSTS {
        let mut own: BTreeMap<usize, (f64, f64, i64)> = BTreeMap::new();
        for point in 0..POINTS {
            let (sum, count, most) = own.entry(point * 10 / window_s * window_s).or_insert((-0.0, 0.0, i64::MIN));
            (*sum, *count, *most) = (*sum + x(host, point), *count + 1.0, n(host, point).max(*most));
        }
        for (window, (sum, count, most)) in own {
            let all = rows.entry((group(host), window)).or_insert((-0.0, 0.0, i64::MIN));
            *all = (all.0 + sum, all.1 + count, all.2.max(most));
        }
    }
    let row = |(&(_, window), (sum, count, most)): (&(usize, usize), &(f64, f64, i64))| {
        format!("{},{sum},{},{count},{most}", window * 1_000_000_000, sum / count)
    };
    rows.iter().map(row).collect::<Vec<_>>().join(" ")
}

/// The same of integers, by sums of files and by points.
fn expected_of_integers(group: fn(usize) -> usize, window_s: usize) -> String {
    let mut rows: BTreeMap<(usize, usize), (i64, i64)> = BTreeMap::new();
    for (host, point) in (0..HOSTS).flat_map(|host| (0..POINTS).map(move |point| (host, point))) {
        let all = rows.entry((group(host), point * 10 / window_s * window_s)).or_default();
        *all = (all.0 + n(host, point), all.1 + 1);
    }
    let row = |(&(_, window), (sum, count)): (&(usize, usize), &(i64, i64))| {
        let mean = *sum as f64 / *count as f64;
        format!("{},{sum},{mean},{count},{count}", window * 1_000_000_000)
    };
    rows.iter().map(row).collect::<Vec<_>>().join(" ")
}

#[test]
fn sums_of_files_are_those_of_their_points() {
    let mut world = world();
    let select = "SELECT sum(n), mean(n), count(n), count(x) FROM cpu WHERE time >= 0 AND time < 900s GROUP BY";
    for merged in [false, true] {
        if merged {
            world.context.engine.flush().unwrap();
            world.context.engine.compact_all().unwrap();
        }
        for parts_of in [0, 400, 181] {
            world.context.limits.piece_values = parts_of;
            for (by, group) in [("host", (|host| host) as fn(usize) -> usize), ("dc", |host| host % 3), ("", |_| 0)] {
                let by = if by.is_empty() { String::new() } else { format!(", {by}") };
                for (window, window_s) in [("70s", WINDOW_S), ("1h", 3600), ("10s", 10)] {
                    let query = format!("{select} time({window}){by}");
                    let expected = expected_of_integers(group, window_s);
                    assert_eq!(found(&world, &query), expected, "{query} by {parts_of}, merged: {merged}");
                }
            }
            // Beside a function that needs the points, and cut by the times.
            let query = "SELECT sum(n), max(n) FROM cpu WHERE time >= 105s AND time < 212s AND host = 'h03'";
            let points = || (11..=21).map(|point| n(3, point));
            let both = format!("105000000000,{},{}", points().sum::<i64>(), points().max().unwrap());
            assert_eq!(found(&world, query), both, "{parts_of}");
            let query = "SELECT count(n) FROM cpu WHERE time >= 105s AND time < 212s";
            assert_eq!(found(&world, query), format!("105000000000,{}", HOSTS * 11), "{parts_of}");
        }
    }
    // A late value in place of another is not counted twice.
    world.write("d", "", S, "cpu,host=h03,dc=d0 n=1000i 200");
    let sum = (0..HOSTS).flat_map(|host| (0..POINTS).map(move |point| n(host, point))).sum::<i64>() - n(3, 20) + 1000;
    let query = "SELECT sum(n), count(n) FROM cpu WHERE time >= 0 AND time < 900s";
    assert_eq!(found(&world, query), format!("0,{sum},{}", HOSTS * POINTS));
}

#[test]
fn threads_add_in_the_order_of_series_and_times() {
    let mut world = world();
    let select = "SELECT sum(x), mean(x), count(x), max(n) FROM cpu WHERE time >= 0 AND time < 900s GROUP BY";
    for parts_of in [0, 400, 181] {
        world.context.limits.piece_values = parts_of;
        for (by, group) in [("host", (|host| host) as fn(usize) -> usize), ("dc", |host| host % 3), ("", |_| 0)] {
            let by = if by.is_empty() { String::new() } else { format!(", {by}") };
            let query = format!("{select} time({WINDOW_S}s){by}");
            assert_eq!(found(&world, &query), expected(group, WINDOW_S), "{query} by {parts_of}");
            let query = format!("{select} time(1h){by}");
            assert_eq!(found(&world, &query), expected(group, 3600), "{query} by {parts_of}");
        }
        // Nothing here depends on an order, so that the only group is in several parts.
        let query = "SELECT sum(n), spread(x), last(n) FROM cpu WHERE time >= 0 AND time < 900s";
        let all = || (0..HOSTS).flat_map(|host| (0..POINTS).map(move |point| (host, point)));
        let (least, most) = all().map(|(h, p)| x(h, p)).fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
        let last = (0..HOSTS).map(|host| n(host, POINTS - 1)).max().unwrap();
        let sum = all().map(|(host, point)| n(host, point)).sum::<i64>();
        assert_eq!(found(&world, query), format!("0,{sum},{},{last}", most - least), "{query} by {parts_of}");
    }
}
