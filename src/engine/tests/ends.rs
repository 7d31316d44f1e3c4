//! Both ends of every series, against what a scan of everything says.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use rhythmite_model::{Column, FieldType, KeyKind, Rows, SeriesId, TableId, Tier};

use super::world::{D, POLICY, SECOND, World, p};
use crate::wal::Durability;
use crate::{End, EndOf, SeriesPoints, Snapshot};

/// Ranges in seconds that meet all, some and none of the points of random histories.
const RANGES_S: [(i64, i64); 3] = [(-10, 10_000), (120, 399), (333, 333)];

/// Compares both ends of everything with what a scan finds.
pub(super) fn check(world: &World) {
    let tables: Vec<TableId> = world.engine().registry().read().all_tables().map(|t| t.id()).collect();
    let snapshot = world.engine().snapshot();
    for table in tables {
        let series: Vec<SeriesId> = {
            let names = world.engine().registry().read();
            let mut ids = names.ids(&names.series(table));
            ids.sort_unstable();
            ids
        };
        let fields: Vec<_> = world.engine().registry().read().fields(table).map(|(id, ..)| id).collect();
        check_times(&snapshot, table);
        for (first, last) in RANGES_S {
            let times_ns = first * SECOND..=last * SECOND;
            let asked = [None, fields.get(..1)];
            for only in &asked[..if first == 120 { 2 } else { 1 }] {
                for end in [End::First, End::Last] {
                    for of in [EndOf::Streams, EndOf::Rows] {
                        let found = snapshot.ends((end, of), table, Tier::RAW, &series, *only, &times_ns).unwrap();
                        let expected = scanned(&snapshot, table, only.map(Into::into), &times_ns, end, of);
                        assert_eq!(texts(&found), texts(&expected), "{end:?} {of:?} {times_ns:?} {only:?}");
                    }
                }
            }
        }
    }
}

/// Streams without their values have the same times.
fn check_times(snapshot: &Snapshot, table: TableId) {
    let scan = || {
        let times_ns = 90 * SECOND..=400 * SECOND;
        snapshot.scan(table, Tier::RAW, Snapshot::all_series(table), None, times_ns).unwrap()
    };
    let bare = |mut points: SeriesPoints| {
        points.streams.iter_mut().for_each(|s| s.values = Column::Boolean(vec![true; s.times_ns.len()]));
        points
    };
    let expected: Vec<_> = scan().map(|points| bare(points.unwrap())).collect();
    let found: Vec<_> = scan().values_of([].into()).map(Result::unwrap).collect();
    assert_eq!(found, expected);
}

/// NaN is no more than itself when written down.
fn texts(points: &[SeriesPoints]) -> Vec<String> {
    points.iter().map(|points| format!("{points:?}")).collect()
}

fn scanned(
    snapshot: &Snapshot,
    table: TableId,
    fields: Option<std::sync::Arc<[rhythmite_model::FieldId]>>,
    times_ns: &RangeInclusive<i64>,
    end: End,
    of: EndOf,
) -> Vec<SeriesPoints> {
    let scan = snapshot.scan(table, Tier::RAW, Snapshot::all_series(table), fields, times_ns.clone()).unwrap();
    let cut = |points: SeriesPoints| {
        let time_of = |times: &[i64]| match end {
            End::First => times[0],
            End::Last => times[times.len() - 1],
        };
        let times = points.streams.iter().map(|stream| time_of(&stream.times_ns));
        let row_ns = match end {
            End::First => times.min(),
            End::Last => times.max(),
        };
        let mut points = points;
        points.streams.retain(|stream| of == EndOf::Streams || Some(time_of(&stream.times_ns)) == row_ns);
        for stream in &mut points.streams {
            let row = if end == End::First { 0 } else { stream.times_ns.len() - 1 };
            stream.values = stream.values.gather(&[row as u32]);
            stream.times_ns = vec![stream.times_ns[row]];
        }
        points
    };
    scan.map(|points| cut(points.unwrap())).collect()
}

/// Writes `cpu,host=0 a=value` at these seconds and flushes.
fn flush(world: &World, times_s: RangeInclusive<i64>, value: f64) {
    let points: Vec<_> = times_s.map(|t| p("cpu", 0, "a", t, value + t as f64)).collect();
    world.write(&points, Durability::Sync).unwrap();
    world.engine().flush().unwrap();
}

#[test]
fn an_index_answers_without_a_page_unless_something_hides_its_end() {
    let world = World::new(1);
    flush(&world, 100..=199, 0.0);
    flush(&world, 150..=180, 1_000.0);
    let key = p("cpu", 0, "a", 0, 0.0).key;
    let table = world.table("cpu").unwrap();
    let last = |within: RangeInclusive<i64>| {
        let snapshot = world.engine().snapshot();
        let times_ns = within.start() * SECOND..=within.end() * SECOND;
        let series = [SeriesId::new(table, 0, 0)];
        let series = match snapshot.scan(table, Tier::RAW, Snapshot::all_series(table), None, times_ns.clone()) {
            Ok(mut scan) => scan.next().map_or(series, |points| [points.unwrap().series]),
            Err(_) => series,
        };
        let found = snapshot.ends((End::Last, EndOf::Rows), table, Tier::RAW, &series, None, &times_ns).unwrap();
        found.first().map(|points| {
            let Column::Float(values) = &points.streams[0].values else { panic!("floats") };
            (points.streams[0].times_ns[0] / SECOND, values[0])
        })
    };
    assert_eq!(last(0..=1_000), Some((199, 199.0)));
    assert_eq!(last(0..=180), Some((180, 1_180.0)), "the newer file wins");
    assert_eq!(last(0..=175), Some((175, 1_175.0)), "inside of both");
    let gone = |times_s| {
        let gone = D { table: "cpu", keys: vec![key.clone()], field: None, times_s: Some(times_s) };
        world.delete(&gone, Durability::Sync).unwrap();
    };
    gone((190, 300));
    assert_eq!(last(0..=1_000), Some((189, 189.0)), "the end is deleted");
    gone((110, 189));
    assert_eq!(last(0..=1_000), Some((109, 109.0)), "a whole file is deleted, and most of the other");
    world.write(&[p("cpu", 0, "a", 105, -1.0)], Durability::Sync).unwrap();
    assert_eq!(last(0..=105), Some((105, -1.0)), "late, in memory");
    assert_eq!(last(0..=1_000), Some((109, 109.0)));
    check(&world);
    gone((0, 108));
    assert_eq!(last(0..=108), None);
    check(&world);
}

#[test]
fn texts_are_read_and_fields_of_other_rows_are_left_out() {
    let world = World::new(1);
    let engine = world.engine();
    let made = engine.create(Durability::Sync, |names| {
        let table = names.create_table(POLICY, "log", KeyKind::Tagged)?;
        let text = names.create_field(table, "text", FieldType::String)?;
        let code = names.create_field(table, "code", FieldType::Integer)?;
        Ok((names.create_series(table, "log,host=a", None)?, text, code))
    });
    let ((series, text, code), _) = made.unwrap();
    let write = |time_s: i64, texts: Option<&str>, codes: Option<i64>| {
        let mut fields = BTreeMap::new();
        if let Some(value) = texts {
            let mut column = Column::new(FieldType::String);
            assert!(column.push(rhythmite_model::FieldValue::String(value)));
            fields.insert(text, column);
        }
        if let Some(value) = codes {
            fields.insert(code, Column::Integer(vec![value]));
        }
        let rows = Rows {
            table: series.table(),
            tier: Tier::RAW,
            series: vec![series],
            times_ns: vec![time_s * SECOND],
            fields: fields.into_iter().collect(),
        };
        engine.write(vec![rows], Durability::Sync).unwrap().wait().unwrap();
    };
    write(120, Some("first"), Some(1));
    write(130, Some("second"), None);
    engine.flush().unwrap();
    check(&world);
    write(130, None, Some(3));
    write(125, Some("late"), Some(2));
    check(&world);
    engine.flush().unwrap();
    check(&world);
    engine.compact_all().unwrap();
    check(&world);
    let all = i64::MIN..=i64::MAX;
    let found =
        engine.snapshot().ends((End::Last, EndOf::Rows), series.table(), Tier::RAW, &[series], None, &all).unwrap();
    assert_eq!(found[0].streams.len(), 2);
    assert!(texts(&found)[0].contains("second"), "{found:?}");
}
