//! Coarser levels: what they answer is what the points say, whatever came late, was overwritten, deleted or has gone.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use rhythmite_env::sim::{Fault, Unsynced};
use rhythmite_model::sketch::Bucket;
use rhythmite_model::{Aggregate, Aggregates, FieldValue, Tier};

use super::world::{D, P, POLICY, SECOND, START_S, World, p};
use crate::{Durability, RollupsOf, Snapshot};

const PARTITION_S: i64 = 100;
/// Divides the partition; divides it not; longer than it.
const STEPS_S: [i64; 3] = [10, 30, 250];

/// (table, key, field) -> time -> value.
type Raw = BTreeMap<(String, String, String), BTreeMap<i64, f64>>;
/// (table, key, field) -> start of the piece -> count, sum, min, max, first, last; how many values of which bucket.
type Pieces = BTreeMap<(String, String, String), BTreeMap<i64, ([f64; 6], String)>>;

const KEPT: [Aggregate; 6] =
    [Aggregate::Count, Aggregate::Sum, Aggregate::Min, Aggregate::Max, Aggregate::First, Aggregate::Last];

/// What the engine must agree with.
#[derive(Clone, Default)]
struct Model {
    raw: Raw,
    floor_s: i64,
    /// Of each level what lies below the floor.
    gone: Vec<Pieces>,
}

fn piece_start(time_s: i64, step_s: i64) -> i64 {
    (time_s.div_euclid(step_s) * step_s).max(time_s.div_euclid(PARTITION_S) * PARTITION_S)
}

fn pieces(raw: &Raw, step_s: i64, before_s: i64) -> Pieces {
    let mut all = Pieces::new();
    for (key, points) in raw {
        let mut windows: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        points.range(..before_s).for_each(|(t, v)| windows.entry(piece_start(*t, step_s)).or_default().push(*v));
        for (start, values) in windows {
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let greatest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sums = [values.len() as f64, values.iter().sum(), least, greatest, values[0], values[values.len() - 1]];
            let mut buckets: BTreeMap<Bucket, usize> = BTreeMap::new();
            values.iter().for_each(|v| *buckets.entry(Bucket::of(*v).unwrap()).or_default() += 1);
            let sketch: Vec<String> = buckets.iter().map(|(bucket, count)| format!("{bucket}:{count}")).collect();
            all.entry(key.clone()).or_default().insert(start, (sums, sketch.join(" ")));
        }
    }
    all
}

impl Model {
    fn new() -> Self {
        Self { raw: Raw::new(), floor_s: i64::MIN, gone: vec![Pieces::new(); STEPS_S.len()] }
    }

    fn put(&mut self, points: &[P]) {
        for p in points {
            let key = (p.table.to_owned(), p.key.clone(), p.field.to_owned());
            self.raw.entry(key).or_default().insert(p.time_s, p.value);
        }
    }

    fn take(&mut self, d: &D) {
        let meant = |key: &(String, String, String)| {
            key.0 == d.table && d.keys.contains(&key.1) && d.field.is_none_or(|field| field == key.2)
        };
        let stays = |time: &i64| d.times_s.is_some_and(|(from, to)| *time < from || *time > to);
        self.raw.iter_mut().filter(|(key, _)| meant(key)).for_each(|(_, points)| points.retain(|t, _| stays(t)));
        for level in &mut self.gone {
            level.iter_mut().filter(|(key, _)| meant(key)).for_each(|(_, pieces)| pieces.retain(|t, _| stays(t)));
        }
        self.tidy();
    }

    /// Raw points below the floor have gone.
    fn rise(&mut self, floor_s: i64) {
        assert!(floor_s >= self.floor_s, "the floor never sinks");
        for (level, step_s) in self.gone.iter_mut().zip(STEPS_S) {
            for (key, pieces) in pieces(&self.raw, step_s, floor_s) {
                level.entry(key).or_default().extend(pieces);
            }
        }
        self.raw.values_mut().for_each(|points| points.retain(|t, _| *t >= floor_s));
        self.floor_s = floor_s;
        self.tidy();
    }

    fn tidy(&mut self) {
        self.raw.retain(|_, points| !points.is_empty());
        self.gone.iter_mut().for_each(|level| level.retain(|_, pieces| !pieces.is_empty()));
    }

    fn expected(&self, level: usize) -> Pieces {
        let mut all = self.gone[level].clone();
        for (key, pieces) in pieces(&self.raw, STEPS_S[level], i64::MAX) {
            all.entry(key).or_default().extend(pieces);
        }
        all
    }
}

/// What a level answers of everything that begins within a range of windows.
fn read(world: &World, level: usize, times_ns: std::ops::RangeInclusive<i64>) -> Pieces {
    let engine = world.engine();
    let (snapshot, policy) = (engine.snapshot(), engine.policy(POLICY).unwrap());
    let wanted = KEPT.into_iter().fold(Aggregates::NONE.with(Aggregate::Sketch), Aggregates::with);
    let tables: Vec<_> = engine.registry().read().all_tables().map(|t| (t.id(), t.name().to_owned())).collect();
    let mut found = Pieces::new();
    for (table, name) in tables {
        let (series, tier) = (Snapshot::all_series(table), Tier(level as u8 + 1));
        let asked = RollupsOf {
            policy: &policy,
            table,
            level: tier,
            series: &series,
            fields: None,
            aggregates: wanted,
            times_ns: times_ns.clone(),
        };
        for points in snapshot.rollups(asked).unwrap() {
            let points = points.unwrap();
            let names = engine.registry().read();
            let Some(slot) = names.slot(points.series) else { panic!("deleted with its points") };
            for stream in points.streams {
                let (field, aggregate) = Aggregate::split(stream.field);
                let at = KEPT.iter().position(|kept| Some(*kept) == aggregate);
                assert!(at.is_some() || aggregate == Some(Aggregate::Sketch), "only what is kept");
                let field = names.field(table, field).unwrap().0.to_owned();
                let pieces = found.entry((name.clone(), names.key(slot).to_owned(), field)).or_default();
                for (i, time) in stream.times_ns.iter().enumerate() {
                    let piece = pieces.entry(time / SECOND).or_insert(([f64::NAN; 6], String::new()));
                    match (stream.values.get(i), at) {
                        (FieldValue::Float(v), Some(at)) => piece.0[at] = v,
                        (FieldValue::Integer(v), Some(at)) => piece.0[at] = v as f64,
                        (FieldValue::String(v), None) => v.clone_into(&mut piece.1),
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
    }
    found
}

fn check(world: &World, model: &Model, after: &str) {
    for (level, step_s) in STEPS_S.into_iter().enumerate() {
        let found = read(world, level, i64::MIN..=i64::MAX);
        assert_eq!(found, model.expected(level), "level {level} after {after}");
        let step_ns = step_s * SECOND;
        let some = -step_ns * 2..=step_ns * 3 - 1;
        let mut expected = model.expected(level);
        expected.values_mut().for_each(|pieces| pieces.retain(|t, _| some.contains(&(t * SECOND))));
        expected.retain(|_, pieces| !pieces.is_empty());
        assert_eq!(read(world, level, some), expected, "part of level {level} after {after}");
    }
    let raw: BTreeMap<_, BTreeMap<i64, String>> = model
        .raw
        .iter()
        .map(|(key, points)| {
            (key.clone(), points.iter().map(|(t, v)| (*t, format!("{:?}", FieldValue::Float(*v)))).collect())
        })
        .collect();
    assert_eq!(world.read(), raw, "raw after {after}");
}

/// A world whose raw points go bit by bit when its clock goes on.
fn tiered() -> World {
    let mut world = World::new(1);
    world.tiers_s = STEPS_S.iter().map(|step| (*step, 0)).collect();
    world.aggregates = Aggregates::USUAL.with(Aggregate::First).with(Aggregate::Sketch);
    world.retention_s = START_S;
    world.engine = None;
    world.open().unwrap();
    world
}

/// What the hall does: it takes no point beyond the retention.
fn in_time(world: &World, points: &[P]) -> Vec<P> {
    points.iter().filter(|p| p.time_s >= world.now_s() - world.retention_s).cloned().collect()
}

fn floor_s(world: &World) -> i64 {
    let floor = world.engine().snapshot().raw_floor(POLICY);
    if floor == i64::MIN { floor } else { floor / SECOND }
}

#[derive(Clone, Debug)]
enum Op {
    Write(Vec<P>),
    Flush,
    Compact,
    Settle,
    CompactAll,
    Delete(D),
    Advance(i64),
    Restart,
}

fn apply(world: &mut World, model: &mut Model, op: &Op) {
    match op {
        Op::Write(points) => {
            let points = in_time(world, points);
            world.write(&points, Durability::Sync).unwrap();
            model.put(&points);
        }
        Op::Flush => world.engine().flush().unwrap(),
        Op::Compact => drop(world.engine().compact_once().unwrap()),
        Op::Settle => while world.engine().compact_once().unwrap() {},
        Op::CompactAll => {
            world.engine().compact_all().unwrap();
            assert!(world.manifest.state.lock().tombstones.is_empty());
        }
        Op::Delete(delete) => {
            world.delete(delete, Durability::Sync).unwrap();
            model.take(delete);
        }
        Op::Advance(seconds) => world.clock.advance(Duration::from_secs(*seconds as u64)),
        Op::Restart => {
            world.crash(Unsynced::Lost).unwrap();
        }
    }
    let floor_s = floor_s(world);
    if floor_s > model.floor_s {
        model.rise(floor_s);
    }
    check(world, model, &format!("{op:?}"));
}

fn point() -> impl Strategy<Value = P> {
    let table = prop_oneof![Just("cpu"), Just("mem")];
    let field = prop_oneof![Just("a"), Just("b")];
    (table, 0_u8..3, field, 0_i64..600, any::<i16>())
        .prop_map(|(table, host, field, time, value)| p(table, host, field, time, f64::from(value) / 8.0))
}

fn delete() -> impl Strategy<Value = D> {
    let table = prop_oneof![Just("cpu"), Just("mem")];
    let field = prop_oneof![4 => Just(None), 1 => Just(Some("a")), 1 => Just(Some("b"))];
    let times =
        prop_oneof![1 => Just(None), 4 => (0_i64..600, 0_i64..300).prop_map(|(from, n)| Some((from, from + n)))];
    (table, prop::sample::subsequence(vec![0, 1, 2], 1..=3), field, times).prop_map(|(table, hosts, field, times_s)| {
        let keys = hosts.iter().map(|host| format!("{table},host={host}")).collect();
        D { table, keys, field, times_s }
    })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => prop::collection::vec(point(), 1..12).prop_map(Op::Write),
        4 => Just(Op::Flush),
        5 => Just(Op::Compact),
        3 => Just(Op::Settle),
        1 => Just(Op::CompactAll),
        3 => delete().prop_map(Op::Delete),
        3 => (1_i64..120).prop_map(Op::Advance),
        2 => Just(Op::Restart),
    ]
}

fn cases() -> u32 {
    match (std::env::var_os("PROPTEST_CASES"), std::env::var_os("CI")) {
        (Some(_), _) => ProptestConfig::default().cases,
        (None, Some(_)) => 300,
        (None, None) => 25,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn levels_agree_with_a_map(straight: bool, ops in prop::collection::vec(op(), 1..40)) {
        let (mut world, mut model) = (tiered(), Model::new());
        if straight {
            // Flushes go straight into partitions, where they may.
            world.options.idle_flush = Duration::ZERO;
            world.crash(Unsynced::Lost).unwrap();
        }
        ops.iter().for_each(|op| apply(&mut world, &mut model, op));
    }
}

/// Points of one host, one every five seconds.
fn line(host: u8, seconds: std::ops::Range<i64>, value: f64) -> Vec<P> {
    seconds.step_by(5).map(|t| p("cpu", host, "a", t, value + (t % 7) as f64)).collect()
}

#[test]
fn a_year_passes() {
    let (mut world, mut model) = (tiered(), Model::new());
    let steps = [
        Op::Write(line(0, 0..600, 1.0)),
        Op::Write(line(1, 50..250, 7.0)),
        Op::Flush,
        Op::Settle,
        // Overwritten and late.
        Op::Write(line(0, 120..180, 50.0)),
        Op::Flush,
        Op::Write(line(0, 110..130, 60.0)),
        Op::CompactAll,
        Op::Write(line(1, 0..100, -4.0)),
        Op::Restart,
        Op::Advance(210),
        Op::Flush,
        Op::Settle,
        Op::Advance(400),
        Op::Settle,
        Op::Restart,
        Op::CompactAll,
    ];
    steps.iter().for_each(|op| apply(&mut world, &mut model, op));
    assert_eq!(model.floor_s, 600);
    assert!(world.engine().files().iter().all(|file| file.tier.is_rolled()), "raw points have gone");
    assert_eq!(world.read().len(), 0);
    assert!(!model.expected(0).is_empty());
}

#[test]
fn a_deletion_of_the_beginning_of_a_window_leaves_its_end() {
    let (mut world, mut model) = (tiered(), Model::new());
    apply(&mut world, &mut model, &Op::Write(vec![p("cpu", 2, "a", 403, 1.0)]));
    apply(&mut world, &mut model, &Op::CompactAll);
    let times_s = Some((198, 402));
    let delete = D { table: "cpu", keys: vec!["cpu,host=2".to_owned()], field: None, times_s };
    apply(&mut world, &mut model, &Op::Delete(delete));
    assert_eq!(model.expected(2).len(), 1);
}

#[test]
fn clean_windows_are_read_from_roll_ups_alone() {
    let (mut world, mut model) = (tiered(), Model::new());
    apply(&mut world, &mut model, &Op::Write(line(0, 0..300, 1.0)));
    apply(&mut world, &mut model, &Op::CompactAll);
    let files = world.engine().files();
    assert_eq!(files.iter().filter(|f| f.tier.is_rolled()).count(), 3 * STEPS_S.len(), "a file for each level of each");
    world.engine = None;
    // Raw files that are damaged are not touched.
    for file in files.iter().filter(|f| !f.tier.is_rolled()) {
        use rhythmite_env::Fs;
        let dir = format!("/db/data/d/p/raw/{}", file.partition_ns.unwrap() / SECOND);
        let path = std::path::Path::new(&dir).join(format!("points-{}.parquet", file.id));
        let mut bytes = world.fs.read(&path, 1 << 20).unwrap();
        bytes.iter_mut().take(200).for_each(|b| *b ^= 0x55);
        world.fs.write_durably(&path, &bytes).unwrap();
    }
    world.open().unwrap();
    assert_eq!(read(&world, 0, i64::MIN..=i64::MAX), model.expected(0));
}

#[test]
fn raw_points_wait_for_their_roll_up() {
    let (mut world, mut model) = (tiered(), Model::new());
    apply(&mut world, &mut model, &Op::Write(line(0, 0..100, 1.0)));
    apply(&mut world, &mut model, &Op::CompactAll);
    // A late point is in memory when the retention passes: the raw points stay for it.
    apply(&mut world, &mut model, &Op::Write(vec![p("cpu", 0, "a", 52, 1000.0)]));
    apply(&mut world, &mut model, &Op::Advance(150));
    apply(&mut world, &mut model, &Op::Settle);
    assert_eq!(model.floor_s, i64::MIN);
    apply(&mut world, &mut model, &Op::Flush);
    apply(&mut world, &mut model, &Op::Settle);
    assert_eq!(model.floor_s, 100);
    assert!(model.expected(0).values().any(|pieces| pieces[&50].0[3] == 1000.0));
}

#[test]
fn below_the_floor_nothing_is_raw_again() {
    let (mut world, mut model) = (tiered(), Model::new());
    apply(&mut world, &mut model, &Op::Write(line(0, 0..200, 1.0)));
    apply(&mut world, &mut model, &Op::Advance(150));
    apply(&mut world, &mut model, &Op::CompactAll);
    apply(&mut world, &mut model, &Op::Settle);
    assert_eq!(model.floor_s, 100);
    // The retention becomes longer, and a point comes that is too late all the same.
    world.retention_s = 0;
    world.engine().put_policy(world.policy());
    world.write(&[p("cpu", 0, "a", 50, 5.0)], Durability::Sync).unwrap();
    assert_eq!(read(&world, 0, i64::MIN..=i64::MAX), model.expected(0));
    world.engine().compact_all().unwrap();
    check(&world, &model, "a point below the floor");
}

#[test]
fn a_level_that_comes_later_is_computed_from_what_is_there() {
    let mut world = tiered();
    let mut model = Model::new();
    world.tiers_s.truncate(1);
    world.engine().put_policy(world.policy());
    world.write(&line(0, 0..300, 1.0), Durability::Sync).unwrap();
    model.put(&line(0, 0..300, 1.0));
    world.engine().compact_all().unwrap();
    assert_eq!(world.engine().files().iter().filter(|f| f.tier.is_rolled()).count(), 3);
    world.tiers_s = STEPS_S.iter().map(|step| (*step, 0)).collect();
    world.engine().put_policy(world.policy());
    while world.engine().compact_once().unwrap() {}
    assert_eq!(world.engine().files().iter().filter(|f| f.tier.is_rolled()).count(), 9);
    check(&world, &model, "more levels");
    // One that goes takes its files along.
    world.tiers_s.truncate(2);
    world.engine().put_policy(world.policy());
    while world.engine().compact_once().unwrap() {}
    assert_eq!(world.engine().files().iter().filter(|f| f.tier.is_rolled()).count(), 6);
}

/// Writes, merges and lets raw points go until something fails.
fn script(world: &World, model: &mut Model) -> Option<Vec<P>> {
    for n in 0..10_i64 {
        let mut points = line((n % 2) as u8, n * 37..n * 37 + 60, n as f64);
        points.push(p("cpu", 0, "b", 3 + n, n as f64));
        let points = in_time(world, &points);
        if world.write(&points, Durability::Sync).is_err() {
            return Some(points);
        }
        model.put(&points);
        if n % 2 == 1 {
            let _ = world.engine().flush();
        }
        if n % 3 == 2 {
            for _ in 0..8 {
                let _ = world.engine().compact_once();
                world.clock.advance(Duration::from_secs(9));
            }
        }
    }
    None
}

fn check_crashes(seed: u64, fault: Fault, unsynced: Unsynced) {
    let stride = std::env::var("RHYTHMITE_FAULT_STRIDE").map_or(29, |n| n.parse().expect("a number above 0"));
    let operations = {
        let world = tiered();
        let before = world.fs.counts().ops;
        script(&world, &mut Model::new());
        assert!(world.engine().stats().rolled_partitions > 2 && floor_s(&world) > 0, "the script does real work");
        before..world.fs.counts().ops
    };
    for operation in operations.skip(seed as usize % stride).step_by(stride) {
        let (mut world, mut model) = (tiered(), Model::new());
        world.fs.fail_at(operation, fault);
        let under_way = script(&world, &mut model);
        world.crash(unsynced).unwrap_or_else(|e| panic!("operation {operation}: cannot open again: {e}"));
        let mut with = model.clone();
        with.put(under_way.as_deref().unwrap_or_default());
        let floor = floor_s(&world);
        for model in [&mut model, &mut with] {
            if floor > model.floor_s {
                model.rise(floor);
            }
        }
        let is = |model: &Model| {
            (0..STEPS_S.len()).all(|level| read(&world, level, i64::MIN..=i64::MAX) == model.expected(level))
        };
        assert!(is(&model) || is(&with), "operation {operation} failed by {fault:?}");
        let mut model = if is(&model) { model } else { with };
        apply(&mut world, &mut model, &Op::CompactAll);
        apply(&mut world, &mut model, &Op::Advance(300));
        apply(&mut world, &mut model, &Op::Settle);
        apply(&mut world, &mut model, &Op::CompactAll);
    }
}

#[test]
fn power_fails_at_every_operation() {
    check_crashes(1, Fault::PowerOff, Unsynced::Lost);
    check_crashes(2, Fault::PowerOff, Unsynced::Torn(9));
}

#[test]
fn one_operation_fails() {
    check_crashes(3, Fault::Error, Unsynced::Lost);
}

#[test]
fn a_sketch_asked_for_later_is_computed_while_raw_points_are_there() {
    let mut world = tiered();
    let mut model = Model::new();
    world.aggregates = Aggregates::USUAL.with(Aggregate::First);
    world.engine().put_policy(world.policy());
    apply(&mut world, &mut model, &Op::Write(line(0, 0..300, -1.0)));
    // Roll-ups without sketches.
    apply(&mut world, &mut model, &Op::CompactAll);
    world.aggregates = world.aggregates.with(Aggregate::Sketch);
    world.engine().put_policy(world.policy());
    check(&world, &model, "a sketch is kept from now on");
    apply(&mut world, &mut model, &Op::Write(vec![p("cpu", 0, "a", 150, -7.5)]));
    apply(&mut world, &mut model, &Op::CompactAll);
    apply(&mut world, &mut model, &Op::Restart);
}
