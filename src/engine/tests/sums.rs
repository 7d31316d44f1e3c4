//! Sums by windows are those of the points, whatever hides some of these.

use std::collections::BTreeMap;
use std::sync::Arc;

use rhythmite_model::{Column, FieldId, FieldType, KeyKind, Rows, SeriesId, Tier, Tombstone};

use super::world::{POLICY, SECOND, World};
use crate::wal::Durability;
use crate::{Scan, SeriesPieces, Snapshot, Summing};

const HOSTS: usize = 5;

struct Written {
    world: World,
    series: Vec<SeriesId>,
    /// Of integers, integers, floats.
    fields: [FieldId; 3],
}

impl Written {
    fn new() -> Self {
        let world = World::new(9);
        let made = world.engine().create(Durability::Sync, |names| {
            let table = names.create_table(POLICY, "cpu", KeyKind::Tagged)?;
            let user = names.create_field(table, "user", FieldType::Integer)?;
            let system = names.create_field(table, "system", FieldType::Integer)?;
            let load = names.create_field(table, "load", FieldType::Float)?;
            let hosts = (0..HOSTS).map(|host| names.create_series(table, &format!("cpu,host=h{host}"), None));
            Ok((hosts.collect::<rhythmite_model::Result<Vec<_>>>()?, [user, system, load]))
        });
        let ((series, fields), _) = made.unwrap();
        Self { world, series, fields }
    }

    /// One value of each field of these hosts at these times.
    fn write(&self, hosts: std::ops::Range<usize>, times_s: impl Iterator<Item = i64> + Clone, salt: i64) {
        let rows: Vec<(usize, i64)> = hosts.flat_map(|host| times_s.clone().map(move |at| (host, at))).collect();
        let value = |&(host, at): &(usize, i64)| (host as i64 * 31 + at * 17 + salt).rem_euclid(97) - 40;
        let mut large: Vec<i64> = rows.iter().map(value).collect();
        large.iter_mut().step_by(50).for_each(|value| *value = i64::MAX - 3);
        let [user, system, load] = self.fields;
        let batch = Rows {
            table: self.series[0].table(),
            tier: Tier::RAW,
            series: rows.iter().map(|row| self.series[row.0]).collect(),
            times_ns: rows.iter().map(|row| row.1 * SECOND).collect(),
            fields: vec![
                (user, Column::Integer(rows.iter().map(value).collect())),
                (system, Column::Integer(large)),
                (load, Column::Float(rows.iter().map(|row| value(row) as f64 / 8.0).collect())),
            ],
        };
        self.world.engine().write(vec![batch], Durability::Sync).unwrap().wait().unwrap();
    }

    fn scan(&self, range_s: (i64, i64)) -> Scan {
        let table = self.series[0].table();
        let times_ns = range_s.0 * SECOND..=range_s.1 * SECOND;
        let snapshot = self.world.engine().snapshot();
        snapshot.scan(table, Tier::RAW, Snapshot::all_series(table), None, times_ns).unwrap()
    }

    /// Compares sums with those of points; returns how many values were summed up without being read.
    fn check(&self) -> u64 {
        let mut summed = 0;
        for (range_s, asked_s, every_s) in [
            ((0, 10_000), (0, 10_000), 70),
            ((0, 10_000), (0, 10_000), 1_000),
            ((0, 10_000), (0, 10_000), 7),
            ((95, 333), (95, 333), 60),
            ((0, 10_000), (131, 277), 60),
            ((150, 150), (150, 150), 60),
        ] {
            let window = move |at_ns: i64| at_ns.div_euclid(every_s * SECOND) * every_s * SECOND;
            let summing = Summing {
                fields: [self.fields[0], self.fields[1], self.fields[2]].into(),
                range_ns: asked_s.0 * SECOND..=asked_s.1 * SECOND,
                cut: Arc::new(move |at_ns| (window(at_ns), window(at_ns) + every_s * SECOND)),
                sum_max: None,
            };
            let within = |at_ns: i64| at_ns >= asked_s.0 * SECOND && at_ns <= asked_s.1 * SECOND;
            let mut expected = Sums::new();
            let mut scan = self.scan(range_s);
            while let Some(pieces) = scan.next_pieces().unwrap() {
                add_points(&mut expected, &pieces, &window, &within);
            }
            let (mut found, mut by_sums) = (Sums::new(), 0);
            let mut scan = self.scan(range_s).summing(summing);
            while let Some(pieces) = scan.next_pieces().unwrap() {
                let stretches = pieces.streams().flat_map(|(_, stretches)| stretches);
                let mut times_ns = stretches.flat_map(|stretch| stretch.times_ns[stretch.rows].iter());
                assert!(times_ns.all(|t| (range_s.0 * SECOND..=range_s.1 * SECOND).contains(t)), "{range_s:?}");
                add_points(&mut found, &pieces, &window, &within);
                for (field, sums) in pieces.sums() {
                    assert_ne!(field, self.fields[2], "floats are added one by one");
                    assert!(sums.windows(2).all(|w| w[0].1.window_ns <= w[1].1.window_ns));
                    for (_, sum) in sums {
                        by_sums += sum.count;
                        let all = found.entry((pieces.series(), field, sum.window_ns)).or_default();
                        *all = (all.0 + sum.count, all.1.wrapping_add(sum.sum));
                    }
                }
            }
            assert_eq!(found, expected, "{range_s:?} {asked_s:?} {every_s}");
            summed += by_sums;
        }
        summed
    }
}

/// By series, field and window: how many, and their sum.
type Sums = BTreeMap<(SeriesId, FieldId, i64), (u64, i64)>;

fn add_points(all: &mut Sums, pieces: &SeriesPieces, window: &dyn Fn(i64) -> i64, within: &dyn Fn(i64) -> bool) {
    for (field, stretches) in pieces.streams() {
        for stretch in stretches {
            for row in stretch.rows.filter(|row| within(stretch.times_ns[*row])) {
                let value = match stretch.values {
                    Column::Integer(values) => values[row],
                    Column::Float(values) => (values[row] * 8.0) as i64,
                    _ => unreachable!("there are integers and floats"),
                };
                let sum = all.entry((pieces.series(), field, window(stretch.times_ns[row]))).or_default();
                *sum = (sum.0 + 1, sum.1.wrapping_add(value));
            }
        }
    }
}

#[test]
fn sums_are_those_of_the_points_whatever_hides_some() {
    let written = Written::new();
    let engine = written.world.engine();
    written.write(0..HOSTS, (0..95).map(|at| at * 2), 0);
    assert_eq!(written.check(), 0, "in memory");
    engine.flush().unwrap();
    engine.compact_all().unwrap();
    let alone = written.check();
    assert!(alone > 0, "even times in files of partitions");
    // One host's times are odd.
    written.write(3..4, (200..390).map(|at| at + at % 3), 1);
    written.write(0..3, (200..390).map(|at| at / 5 * 5), 1);
    engine.flush().unwrap();
    let odd = written.check();
    assert!(odd > alone, "files are apart in the times of each series");
    engine.compact_all().unwrap();
    let merged = written.check();
    assert!(merged >= odd);
    // Late and newer points in memory, and then in a file over the others.
    written.write(1..2, (10..80).step_by(3), 5);
    let late = written.check();
    assert!(late < merged, "where points are in memory, too, those of files are given as points");
    written.write(0..1, 500..600, 5);
    assert_eq!(written.check(), late, "beside them they are not");
    engine.flush().unwrap();
    written.check();
    let gone = |host: usize, times_s: (i64, i64)| {
        let slot = engine.registry().read().slot(written.series[host]).unwrap();
        let set = engine.registry().read().set(written.series[0].table(), Some(&[slot.0].into_iter().collect()));
        let times_ns = times_s.0 * SECOND..=times_s.1 * SECOND;
        let tombstone = Tombstone { table: written.series[0].table(), series: set, fields: None, times_ns };
        engine.delete(vec![tombstone], Durability::Sync).unwrap();
    };
    gone(2, (30, 61));
    gone(4, (0, 1_000));
    written.check();
    engine.flush().unwrap();
    engine.compact_all().unwrap();
    assert!(written.check() > 0);
}

/// How many integers of the first series a scan sums up without reading them.
fn summed(written: &Written) -> u64 {
    summed_of(written, written.fields[0], None)
}

fn summed_of(written: &Written, field: FieldId, sum_max: Option<u64>) -> u64 {
    let mut scan = written.scan((0, 10_000)).summing(Summing {
        fields: [field].into(),
        range_ns: 0..=10_000 * SECOND,
        cut: Arc::new(|at_ns| (at_ns.div_euclid(SECOND) * SECOND, i64::MAX)),
        sum_max,
    });
    let mut summed = 0;
    while let Some(pieces) = scan.next_pieces().unwrap() {
        if pieces.series() == written.series[0] {
            summed += pieces.sums().flat_map(|(_, sums)| sums).map(|(_, sum)| sum.count).sum::<u64>();
        }
    }
    summed
}

#[test]
fn only_where_sources_overlap_are_points_read() {
    let written = Written::new();
    let engine = written.world.engine();
    written.write(0..1, (0..90).chain(95..99), 0);
    engine.flush().unwrap();
    assert_eq!(summed(&written), 94, "two runs of even steps");
    written.write(0..1, 80..97, 1);
    assert_eq!(summed(&written), 80 + 2, "in memory");
    written.check();
    engine.flush().unwrap();
    assert_eq!(summed(&written), 80 + 2, "in a file");
    written.check();
    // More places than are told apart: from the first to the last of them all is read, and that of files between.
    for at in 0..12 {
        written.write(0..1, at * 5..at * 5 + 1, 2);
        engine.flush().unwrap();
    }
    assert_eq!(summed(&written), 2, "the ends");
    written.check();
    engine.compact_all().unwrap();
    assert_eq!(summed(&written), 99);
    written.check();
}

#[test]
fn sums_that_may_be_too_large_are_left_to_who_asks() {
    let written = Written::new();
    written.write(0..1, 0..90, 0);
    written.world.engine().flush().unwrap();
    let [user, system, load] = written.fields;
    // Values are -40 to 56; a few of the other field are near the largest.
    for (field, sum_max, summed) in [
        (user, None, 90),
        (user, Some(56 * 90), 90),
        (user, Some(40 * 90), 0),
        (system, None, 90),
        (system, Some(1 << 53), 0),
        (load, None, 0),
        (load, Some(1 << 53), 0),
    ] {
        assert_eq!(summed_of(&written, field, sum_max), summed, "{field:?} {sum_max:?}");
    }
}
