//! The file as its users see it: what goes in comes out, damage is found, nothing half written is seen.

mod crash;
mod damage;
mod foreign;

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use rhythmite_env::Env;
use rhythmite_env::sim::SimFs;
use rhythmite_model::{Column, ErrorKind, FieldId, FieldType, FieldValue, SeriesId, Strings, TableId};

use super::*;

/// One stream to write.
#[derive(Clone, Debug)]
struct Stream {
    series: SeriesId,
    field: FieldId,
    times_ns: Vec<i64>,
    values: Column,
}

fn series(n: u32) -> SeriesId {
    SeriesId::new(TableId(7), 0, n)
}

fn floats(n: u32, field: u16, values: &[f64]) -> Stream {
    stream(n, field, Column::Float(values.to_vec()))
}

/// A stream with a value every ten seconds.
fn stream(n: u32, field: u16, values: Column) -> Stream {
    let times_ns = (0..values.len() as i64).map(|i| 1_700_000_000_000_000_000 + i * 10_000_000_000).collect();
    Stream { series: series(n), field: FieldId(field), times_ns, values }
}

fn texts(values: &[&str]) -> Column {
    let mut strings = Strings::default();
    values.iter().for_each(|s| strings.push(s));
    Column::String(strings)
}

/// Groups of 64 rows, pages of 16, runs of 8: every boundary is met by small data.
fn small() -> WriteOptions {
    WriteOptions { row_group_rows: 64, page_rows: 16, run_rows: 8, ..WriteOptions::new(1, 42) }
}

fn slice(column: &Column, rows: std::ops::Range<usize>) -> Column {
    let mut out = Column::new(column.field_type());
    out.extend_from(column, rows);
    out
}

/// Writes streams, each in pieces of at most `piece` rows.
fn write(dir: &Path, id: &str, options: WriteOptions, streams: &[Stream], piece: usize) -> Result<SstMeta> {
    write_in(&Env::real(), dir, id, options, streams, piece)
}

fn write_in(
    env: &Env,
    dir: &Path,
    id: &str,
    options: WriteOptions,
    streams: &[Stream],
    piece: usize,
) -> Result<SstMeta> {
    let mut writer = SstWriter::create(env, dir, id, options)?;
    let mut named = None;
    for s in streams.iter().filter(|s| !s.times_ns.is_empty()) {
        if named.replace(s.series) != Some(s.series) {
            name(&mut writer, s.series)?;
        }
        for from in (0..s.times_ns.len()).step_by(piece) {
            let to = from.saturating_add(piece).min(s.times_ns.len());
            writer.push(s.series, s.field, &s.times_ns[from..to], &slice(&s.values, from..to))?;
        }
    }
    writer.finish(fields(streams))
}

/// Names the series whose points come next.
fn name(writer: &mut SstWriter, series: SeriesId) -> Result<()> {
    let row = SeriesRow { series, database: "telemetry", policy: "autogen", table: "cpu", path: "cpu,host=a" };
    writer.name(&row, [("host".into(), "a".into())].into_iter())
}

/// An environment whose disk is in memory: no test waits for a real sync unless the disk is its subject.
fn sim_env(fs: &SimFs) -> Env {
    Env { fs: Arc::new(fs.clone()), ..Env::real() }
}

/// An empty directory in memory.
fn memory() -> Env {
    let env = sim_env(&SimFs::new(0));
    env.fs.create_dir_all(Path::new(MEMORY)).unwrap();
    env
}

const MEMORY: &str = "/data";

fn fields(streams: &[Stream]) -> Vec<FieldRow<'static>> {
    let mut fields = streams.iter().map(|s| (s.series.table(), s.field, s.values.field_type())).collect::<Vec<_>>();
    fields.sort();
    fields.dedup();
    let field = |(table, id, field_type)| FieldRow { table, table_name: "cpu", id, name: "usage", field_type };
    fields.into_iter().map(field).collect()
}

/// Equality by bits: NaN equals itself, 0.0 is not -0.0.
fn assert_same(a: &Column, b: &Column, what: &str) {
    match (a, b) {
        (Column::Float(a), Column::Float(b)) => {
            let bits = |v: &[f64]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(a), bits(b), "{what}");
        }
        _ => assert_eq!(a, b, "{what}"),
    }
}

/// Reads rows of every stream through a cache of pages, twice; says which of the times were told as even steps.
fn check_exactly(dir: &Path, pages: &Arc<PageCache>, streams: &[Stream]) -> Vec<bool> {
    let env = Env::real();
    let (handles, pieces) = (Handles::new(env.fs.clone(), 4), Pieces::new(1 << 20));
    let sst = SstReader::open_shared(&env, &handles, &pieces, pages, dir, "e").unwrap();
    let read = || {
        let mut cursor = sst.cursor();
        cursor.keep_pages(true);
        let mut told = Vec::new();
        for s in streams {
            let entry = sst.stream(s.series, s.field).unwrap().unwrap();
            let count = s.times_ns.len();
            for (number, rows) in [0..count, 1..count, 0..count - 1, count / 2..count].into_iter().enumerate() {
                let (mut times, mut values) = (Vec::new(), Column::new(entry.field_type()));
                let of_file = entry.row_start + rows.start as u64..entry.row_start + rows.end as u64;
                let even = cursor.read_even(&entry, of_file, &mut times, &mut values).unwrap();
                if number == 0 {
                    told.push(even.is_some());
                }
                if let Some((first, step)) = even {
                    assert!(times.is_empty());
                    times.extend((0..rows.len() as i64).map(|at| first + at * step));
                }
                assert_eq!(times, s.times_ns[rows.clone()], "series {} {rows:?}", s.series.0);
                assert_same(&values, &slice(&s.values, rows), "values");
            }
        }
        told
    };
    let told = read();
    assert_eq!(read(), told, "pages that are kept say the same");
    told
}

#[test]
fn even_times_are_told_across_pages_and_odd_ones_are_read() {
    let odd = |n, at: usize| {
        let mut odd = floats(n, 0, &(0..40).map(|i| f64::from(i) / 4.0).collect::<Vec<_>>());
        odd.times_ns[at..].iter_mut().for_each(|time| *time += 1_000_000_000);
        odd
    };
    let short = |n, rows| stream(n, 1, Column::Integer((0..rows).collect()));
    let nan = floats(9, 0, &[1.0, f64::NAN, -0.0, f64::INFINITY, 0.5]);
    let truths = stream(10, 2, Column::Boolean(vec![true, false, true]));
    let streams = [short(1, 40), short(2, 7), short(3, 1), odd(4, 17), odd(5, 39), odd(6, 1), short(7, 300)];
    let streams: Vec<_> = streams.into_iter().chain([short(8, 16), nan, truths]).collect();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "e", small(), &streams, 100).unwrap();
    for bytes in [0, 8 << 10, 1 << 20] {
        let pages = PageCache::new(bytes);
        let told = check_exactly(dir.path(), &pages, &streams);
        assert_eq!(told, [true, true, true, false, false, false, true, true, true, true], "{bytes}");
        let stats = pages.stats();
        assert_eq!((stats.hits > 0, stats.bytes), (bytes > 0, 0), "{bytes}: {stats:?}");
    }
}

fn check_contents(sst: &Arc<SstReader>, streams: &[Stream]) {
    let streams = streams.iter().filter(|s| !s.times_ns.is_empty()).collect::<Vec<_>>();
    let mut cursor = sst.cursor();
    let entries = sst.entries().collect::<Result<Vec<_>>>().unwrap();
    assert_eq!(entries.len(), streams.len());
    for (entry, s) in entries.iter().zip(&streams) {
        let what = format!("series {} field {}", s.series.0, s.field.0);
        assert_eq!((entry.series, entry.field), (s.series, s.field));
        assert_eq!(sst.stream(s.series, s.field).unwrap().as_ref(), Some(entry));
        let (mut times, mut values) = (Vec::new(), Column::new(entry.field_type()));
        cursor.read_all(entry, &mut times, &mut values).expect(&what);
        assert_eq!(times, s.times_ns, "{what}");
        assert_same(&values, &s.values, &what);
    }
    let mut distinct = streams.iter().map(|s| s.series).collect::<Vec<_>>();
    distinct.dedup();
    let mut walk = sst.walk();
    let found = std::iter::from_fn(|| {
        let series = walk.series().unwrap();
        walk.advance();
        series
    });
    assert_eq!(found.take(streams.len() + 1).collect::<Vec<_>>(), distinct);
}

/// An index that is made again from its points is the one that was written with them, byte for byte.
fn check_rebuilt(env: &Env, dir: &Path, id: &str) {
    let paths = SstPaths::new(dir, id).unwrap();
    let names = [&paths.series, &paths.fields].map(|path| NamesFile::on_disk(env, path).unwrap().check);
    let (bytes, _) = Rebuilt::read(env, &paths).unwrap().encode(names[0], names[1]);
    assert!(bytes == env.fs.read(&paths.index, u64::MAX).unwrap(), "another index");
}

fn check(options: WriteOptions, streams: &[Stream]) -> Arc<SstReader> {
    let (env, dir) = (memory(), Path::new(MEMORY));
    let mut checksums = Vec::new();
    for piece in [1, 3, 7, 16, usize::MAX] {
        let id = format!("p{piece}");
        let meta = write_in(&env, dir, &id, options.clone(), streams, piece).unwrap();
        let sst = SstReader::open(&env, dir, &id).unwrap();
        assert_eq!(sst.meta(), meta);
        check_contents(&sst, streams);
        sst.verify().unwrap();
        check_rebuilt(&env, dir, &id);
        checksums.push(meta.checksum);
    }
    checksums.dedup();
    assert_eq!(checksums.len(), 1, "the file depends on the rows, not on the pieces they came in");
    SstReader::open(&env, dir, "p1").unwrap()
}

#[test]
fn every_type_comes_back() {
    check(
        small(),
        &[
            floats(1, 0, &[1.5, 2.5, -3.25]),
            stream(1, 1, Column::Integer(vec![i64::MIN, -1, 0, 1, i64::MAX])),
            stream(1, 2, Column::Unsigned(vec![0, 1, u64::MAX])),
            stream(1, 3, Column::Boolean(vec![true, false, false, true])),
            stream(1, 4, texts(&["", "a", "grüße", "a", &"long ".repeat(5000)])),
            floats(2, 0, &[7.0]),
            stream(9, 4, texts(&["z"])),
        ],
    );
}

#[test]
fn every_class_of_float_comes_back_bit_for_bit() {
    let odd = [
        f64::NAN,
        -f64::NAN,
        f64::from_bits(0x7ff0_0000_0000_0001),
        f64::from_bits(0xfff8_dead_beef_0001),
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        5e-324,
        f64::MIN_POSITIVE / 2.0,
        f64::MAX,
        0.1 + 0.2,
        2f64.powi(51),
        2f64.powi(53) + 2.0,
    ];
    let mut streams = odd.iter().enumerate().map(|(i, x)| floats(i as u32, 0, &[*x])).collect::<Vec<_>>();
    // Among decimals, at each place of a run and of the next.
    for (i, x) in odd.iter().enumerate() {
        let mut values = (0..40).map(|k| f64::from(k) / 8.0).collect::<Vec<_>>();
        values[i * 3] = *x;
        streams.push(floats(100 + i as u32, 0, &values));
    }
    check(small(), &streams);
}

#[test]
fn the_kind_says_which_columns_a_stream_uses() {
    let cases: [(&[f64], StreamKind); 5] = [
        (&[1.0; 20], StreamKind::Decimal(0)),
        (&[0.25; 20], StreamKind::Decimal(2)),
        (&[f64::NAN; 20], StreamKind::Plain(FieldType::Float)),
        // Two runs of different exponents.
        (&[1., 2., 3., 4., 5., 6., 7., 8., 0.5], StreamKind::Mixed),
        (&[1., 2., 3., 4., 5., 6., 7., 8., f64::NAN], StreamKind::Mixed),
    ];
    let streams = cases.iter().enumerate().map(|(i, (v, _))| floats(i as u32, 0, v)).collect::<Vec<_>>();
    let sst = check(small(), &streams);
    for (entry, (_, kind)) in sst.entries().zip(cases) {
        assert_eq!(entry.unwrap().kind, kind);
    }
}

#[test]
fn a_stream_longer_than_pages_and_row_groups_comes_back() {
    let long = (0..1000).map(|i| f64::from(i % 97) * if i < 500 { 0.01 } else { 1.0 / 3.0 }).collect::<Vec<_>>();
    let sst = check(
        small(),
        &[
            floats(1, 0, &long[..70]),
            floats(2, 0, &long),
            stream(2, 1, Column::Integer((0..200).collect())),
            floats(3, 0, &long[..64]),
            floats(4, 0, &long[..1]),
        ],
    );
    assert!(sst.points.group_start.len() > 10);
}

#[test]
fn texts_end_a_row_group_early() {
    let mut options = small();
    options.row_group_text_bytes = 1000;
    let long = "x".repeat(300);
    let values = texts(&vec![long.as_str(); 50]);
    let sst = check(options, &[stream(1, 0, values.clone()), stream(2, 0, values)]);
    assert!(sst.points.group_start.windows(2).all(|w| w[1] - w[0] <= 10), "eight rows behind a rest of two");
}

#[test]
fn sub_ranges_of_time_are_exact() {
    let step = 10;
    let many = |n: i64| Stream {
        times_ns: (0..n).map(|i| i * step).collect(),
        ..floats(0, 0, &(0..n).map(|i| i as f64 / 4.0).collect::<Vec<_>>())
    };
    let mut streams = Vec::new();
    for (k, n) in [1, 15, 16, 17, 100, 300, 3].into_iter().enumerate() {
        streams.push(Stream { series: series(k as u32), ..many(n) });
    }
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "r", small(), &streams, 1000).unwrap();
    let sst = SstReader::open(&Env::real(), dir.path(), "r").unwrap();
    let mut cursor = sst.cursor();
    for s in &streams {
        let entry = sst.stream(s.series, s.field).unwrap().unwrap();
        let last = s.times_ns[s.times_ns.len() - 1];
        for start in (-25..last + 25).step_by(5) {
            for len in [0, 5, 10, 95, 170, 640, 100_000] {
                let range = start..=start + len;
                // Appends: what was there stays.
                let (mut times, mut values) = (vec![-7], Column::Float(vec![-7.0]));
                cursor.read(&entry, range.clone(), &mut times, &mut values).unwrap();
                let inside = |i: &usize| range.contains(&s.times_ns[*i]);
                let rows = (0..s.times_ns.len()).filter(inside).collect::<Vec<_>>();
                let expected = rows.iter().map(|i| s.times_ns[*i]).collect::<Vec<_>>();
                assert_eq!(times[1..], expected, "series {} range {range:?}", s.series.0);
                let Column::Float(values) = values else { unreachable!() };
                assert_eq!(values[1..], expected.iter().map(|t| (t / step) as f64 / 4.0).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn a_long_stream_is_narrowed_to_pages() {
    let values = (0..1000).map(f64::from).collect::<Vec<_>>();
    let s = [floats(1, 0, &values[..7]), floats(2, 0, &values), floats(3, 0, &values[..7])];
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "n", small(), &s, 1000).unwrap();
    let sst = SstReader::open(&Env::real(), dir.path(), "n").unwrap();
    let time = |i: usize| s[1].times_ns[i];
    // At most the page of each end is read besides the rows asked for.
    let rows = sst.points.narrow(7..1007, time(500), time(510));
    assert!(rows.start <= 507 && rows.end >= 518, "{rows:?}");
    assert!(rows.end - rows.start <= 48, "{rows:?}");
    assert_eq!(sst.points.narrow(7..1007, i64::MIN, i64::MAX), 7..1007);
}

#[test]
fn many_short_streams_come_back() {
    let values = |n: u32| if n.is_multiple_of(7) { vec![f64::from(n), 0.5] } else { vec![f64::from(n) / 3.0] };
    let streams = (0..5000).map(|n| floats(n * 3, (n % 2) as u16, &values(n))).collect::<Vec<_>>();
    let (env, dir) = (memory(), Path::new(MEMORY));
    let options = WriteOptions { page_rows: 512, row_group_rows: 4096, ..small() };
    let meta = write_in(&env, dir, "s", options, &streams, 10).unwrap();
    assert_eq!((meta.streams, meta.min_series, meta.max_series), (5000, series(0), series(4999 * 3)));
    let sst = SstReader::open(&env, dir, "s").unwrap();
    check_contents(&sst, &streams);
    assert_eq!(sst.streams(series(1)).unwrap(), []);
    assert_eq!(sst.streams(series(3)).unwrap().len(), 1);
    // Forward in steps of all lengths, over the borders of pieces and beyond the end.
    for step in [1, 2, 3, 31, 32, 33, 95, 97, 1_000, 5_000, 20_000] {
        let mut walk = sst.walk();
        for id in (0..16_000).step_by(step) {
            let expected = (id as u32).next_multiple_of(3);
            let expected = (expected < 15_000).then_some(series(expected));
            assert_eq!(walk.seek(series(id as u32)).unwrap(), expected, "{id} by {step}");
            if id % 2 == 0 {
                let found: Vec<_> = walk.streams().unwrap().map(|entry| entry.series).collect();
                assert_eq!(found, Vec::from_iter(expected), "{id} by {step}");
            }
        }
    }
}

#[test]
fn streams_with_the_same_odd_times_share_pages() {
    let (env, dir) = (memory(), Path::new(MEMORY));
    let mut noise = 1_u64;
    let mut odd_ns = |rows: usize| -> Vec<i64> {
        let next = |i: usize| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (1_700_000_000_000_000 + i as i64 * 10_000_000 + (noise >> 44) as i64) * 1_000
        };
        (0..rows).map(next).collect()
    };
    // Ten fields of one series, of another, and of a third that is too short for it; between them one with steps.
    let families = [(0, odd_ns(300)), (2, odd_ns(170)), (3, odd_ns(5))];
    let one = |(n, times_ns): &(u32, Vec<i64>), field| {
        let values: Vec<f64> = (0..times_ns.len()).map(|i| (i % 7) as f64).collect();
        Stream { times_ns: times_ns.clone(), ..floats(*n, field, &values) }
    };
    let streams_of = |own_times: bool| -> Vec<Stream> {
        let mut streams: Vec<Stream> = families.iter().flat_map(|f| (0..10).map(|k| one(f, k))).collect();
        if own_times {
            let shifted = |s: &mut Stream| s.times_ns.iter_mut().for_each(|t| *t += i64::from(s.field.0) * 1_000);
            streams.iter_mut().for_each(shifted);
        }
        let steps: Vec<f64> = (0..400).map(f64::from).collect();
        streams.extend((0..4).map(|field| floats(1, field, &steps)));
        streams.sort_by_key(|s| (s.series, s.field));
        streams
    };
    let options = WriteOptions { page_rows: 100, row_group_rows: 1 << 20, run_rows: 64, ..small() };
    let mut sizes = Vec::new();
    for (id, own_times, pages) in [
        // Pages of 1,600 rows at most hold the ten streams of each, 16 those with steps, one the short ones.
        ("shared", false, 2 + 16 + 2 + 1),
        ("own", true, 30 + 16 + 17 + 1),
    ] {
        let streams = streams_of(own_times);
        write_in(&env, dir, id, options.clone(), &streams, 1_000).unwrap();
        let sst = SstReader::open(&env, dir, id).unwrap();
        check_contents(&sst, &streams);
        sst.verify().unwrap();
        let mut cursor = sst.cursor();
        for s in streams.iter().rev() {
            let entry = sst.stream(s.series, s.field).unwrap().unwrap();
            let (mut times, mut values) = (Vec::new(), Column::new(FieldType::Float));
            let rows = s.times_ns.len() / 3..s.times_ns.len() / 2;
            cursor.read(&entry, s.times_ns[rows.start]..=s.times_ns[rows.end], &mut times, &mut values).unwrap();
            assert_eq!(times, s.times_ns[rows.start..=rows.end]);
            assert_same(&values, &slice(&s.values, rows.start..rows.end + 1), "a part");
        }
        let first_rows: Vec<u64> = sst.points.time_pages.iter().map(|page| page.first_row).collect();
        assert_eq!(first_rows.len(), pages, "{id}: {first_rows:?}");
        let groups = sst.points.metadata.row_groups().iter();
        sizes.push(groups.map(|group| group.column(super::layout::column::TIME).compressed_size()).sum::<i64>());
    }
    // Pages of 100 rows hold little else than heads.
    assert!(sizes[0] * 2 < sizes[1], "{sizes:?}");
}

#[test]
fn going_back_is_allowed() {
    let values = (0..300).map(f64::from).collect::<Vec<_>>();
    let streams = (0..5).map(|n| floats(n, 0, &values)).collect::<Vec<_>>();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "b", small(), &streams, 1000).unwrap();
    let sst = SstReader::open(&Env::real(), dir.path(), "b").unwrap();
    let mut cursor = sst.cursor();
    for n in [4, 0, 2, 2, 1, 3] {
        let entry = sst.stream(series(n), FieldId(0)).unwrap().unwrap();
        let (mut times, mut out) = (Vec::new(), Column::new(FieldType::Float));
        cursor.read_all(&entry, &mut times, &mut out).unwrap();
        assert_eq!(out, Column::Float(values.clone()));
    }
    let entry = sst.stream(series(0), FieldId(0)).unwrap().unwrap();
    let wrong = cursor.read_all(&entry, &mut Vec::new(), &mut Column::new(FieldType::Integer));
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn many_threads_read_one_file() {
    let streams = (0..40).map(|n| floats(n, 0, &vec![f64::from(n); 100])).collect::<Vec<_>>();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "t", small(), &streams, 1000).unwrap();
    let sst = SstReader::open(&Env::real(), dir.path(), "t").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| check_contents(&sst, &streams));
        }
    });
}

#[test]
fn time_is_counted_in_the_coarsest_unit() {
    let at = |times_ns: &[i64]| Stream { times_ns: times_ns.to_vec(), ..floats(1, 0, &vec![1.0; times_ns.len()]) };
    let cases: [(&[i64], TimeUnit); 5] = [
        (&[-3_000_000, 0, 5_000_000], TimeUnit::Millisecond),
        (&[-3_000_000, 1_000], TimeUnit::Microsecond),
        (&[0, 1_000_001], TimeUnit::Nanosecond),
        (&[i64::MIN, i64::MAX], TimeUnit::Nanosecond),
        (&[-1, 0], TimeUnit::Nanosecond),
    ];
    for (times, unit) in cases {
        assert_eq!(check(small(), &[at(times)]).time_unit(), unit, "{times:?}");
    }
    let seconds = (0..200).map(|i| i * 1_000_000_000).collect::<Vec<_>>();
    let known = WriteOptions { time_unit: Some(TimeUnit::Millisecond), ..small() };
    assert_eq!(check(known.clone(), &[at(&seconds)]).time_unit(), TimeUnit::Millisecond);
    // Larger than a row group, and nobody promised.
    assert_eq!(check(small(), &[at(&seconds)]).time_unit(), TimeUnit::Nanosecond);
    let dir = tempfile::tempdir().unwrap();
    let broken = write(dir.path(), "x", known, &[at(&[1])], 10);
    assert_eq!(broken.unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn aggregates_are_those_of_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let streams = [
        floats(1, 0, &[0.5, f64::NAN, -2.0, 8.0, f64::NAN]),
        floats(2, 0, &[f64::NAN; 3]),
        stream(3, 1, Column::Integer(vec![5, -9, 3])),
        stream(4, 1, Column::Integer(vec![i64::MAX, 1])),
        stream(5, 2, Column::Unsigned(vec![4, 2])),
        stream(6, 3, Column::Boolean(vec![true, false, true])),
        stream(7, 4, texts(&["a"])),
    ];
    write(dir.path(), "a", small(), &streams, 2).unwrap();
    let sst = SstReader::open(&Env::real(), dir.path(), "a").unwrap();
    let found = sst.entries().map(|e| format!("{:?}", e.unwrap().aggregates())).collect::<Vec<_>>();
    use FieldValue::{Boolean, Float, Integer, Unsigned};
    let expected = [
        Some((3, Some(Float(6.5)), Float(-2.0), Float(8.0), Float(0.5), Float(f64::NAN))),
        Some((0, Some(Float(0.0)), Float(f64::NAN), Float(f64::NAN), Float(f64::NAN), Float(f64::NAN))),
        Some((3, Some(Integer(-1)), Integer(-9), Integer(5), Integer(5), Integer(3))),
        Some((2, None, Integer(1), Integer(i64::MAX), Integer(i64::MAX), Integer(1))),
        Some((2, Some(Unsigned(6)), Unsigned(2), Unsigned(4), Unsigned(4), Unsigned(2))),
        Some((3, Some(Unsigned(2)), Boolean(false), Boolean(true), Boolean(true), Boolean(true))),
        None,
    ];
    let expected = expected.map(|a| {
        format!("{:?}", a.map(|(count, sum, min, max, first, last)| Aggregates { count, sum, min, max, first, last }))
    });
    assert_eq!(found, expected);
}

#[test]
fn what_is_out_of_order_is_refused_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = SstWriter::create(&Env::real(), dir.path(), "o", small()).unwrap();
    let one = |x: f64| Column::Float(vec![x]);
    name(&mut writer, series(5)).unwrap();
    writer.push(series(5), FieldId(3), &[100], &one(1.0)).unwrap();
    let refused: [(SeriesId, u16, &[i64], Column); 8] = [
        (series(4), 3, &[200], one(1.0)),
        (series(5), 2, &[200], one(1.0)),
        (series(5), 3, &[100], one(1.0)),
        (series(5), 3, &[99], one(1.0)),
        (series(5), 3, &[200, 200], Column::Float(vec![1.0, 2.0])),
        (series(5), 3, &[200, 300], one(1.0)),
        (series(5), 3, &[200], Column::Integer(vec![1])),
        (series(6), 3, &[200], Column::Integer(vec![1])),
    ];
    for (series, field, times, values) in refused {
        let error = writer.push(series, FieldId(field), times, &values).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    writer.push(series(5), FieldId(3), &[], &Column::new(FieldType::Float)).unwrap();
    writer.push(series(5), FieldId(3), &[101], &one(2.0)).unwrap();
    let s = [Stream { times_ns: vec![100, 101], ..floats(5, 3, &[1.0, 2.0]) }];
    assert_eq!(writer.rows(), 2);
    writer.finish(fields(&s)).unwrap();
    check_contents(&SstReader::open(&Env::real(), dir.path(), "o").unwrap(), &s);
}

#[test]
fn names_must_cover_the_points() {
    let dir = tempfile::tempdir().unwrap();
    let s = [floats(1, 0, &[1.0]), floats(2, 0, &[1.0])];
    let write = |named: &[u32], edit: &dyn Fn(&mut Vec<FieldRow<'static>>)| {
        let mut writer = SstWriter::create(&Env::real(), dir.path(), "m", small())?;
        for &n in named {
            name(&mut writer, series(n))?;
            if let Some(s) = s.iter().find(|s| s.series == series(n)) {
                writer.push(s.series, s.field, &s.times_ns, &s.values)?;
            }
        }
        // Where its name did not come it is refused.
        for s in s.iter().filter(|s| named.iter().all(|n| series(*n) != s.series)) {
            writer.push(s.series, s.field, &s.times_ns, &s.values)?;
        }
        let mut fields = fields(&s);
        edit(&mut fields);
        writer.finish(fields).map(drop)
    };
    let finish = |edit: &dyn Fn(&mut Vec<FieldRow<'static>>)| write(&[1, 2], edit).map_err(|e| e.kind());
    let names = |named: &[u32]| write(named, &|_| ()).map_err(|e| e.kind());
    for named in [&[][..], &[1], &[2], &[2, 1], &[1, 1, 2], &[1, 2, 3], &[0, 1, 2]] {
        assert_eq!(names(named), Err(ErrorKind::Invalid), "{named:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
    assert_eq!(finish(&|fields| fields.clear()), Err(ErrorKind::Invalid));
    assert_eq!(finish(&|fields| fields[0].field_type = FieldType::Integer), Err(ErrorKind::Invalid));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    finish(&|_| ()).unwrap();
    let error = SstWriter::create(&Env::real(), dir.path(), "m", small()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid, "an SST is never written over");
}

#[test]
fn an_empty_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let writer = SstWriter::create(&Env::real(), dir.path(), "e", small()).unwrap();
    assert_eq!(writer.finish([]).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn an_id_is_a_plain_word() {
    for id in ["", "a/b", "..", "a.b", "ü", &"x".repeat(101)] {
        assert_eq!(SstPaths::new(Path::new("d"), id).unwrap_err().kind(), ErrorKind::Invalid, "{id}");
    }
    assert!(SstPaths::new(Path::new("d"), "01J9_x-Z").is_ok());
}

#[test]
fn an_unfinished_file_is_never_seen() {
    let dir = tempfile::tempdir().unwrap();
    let values = (0..500).map(f64::from).collect::<Vec<_>>();
    let s = floats(1, 0, &values);
    let start = || {
        let mut writer = SstWriter::create(&Env::real(), dir.path(), "u", small()).unwrap();
        name(&mut writer, s.series).unwrap();
        writer.push(s.series, s.field, &s.times_ns, &s.values).unwrap();
        writer
    };
    // A crash: nothing runs that would clean up.
    std::mem::forget(start());
    let open = SstReader::open(&Env::real(), dir.path(), "u");
    assert_eq!(open.err().unwrap().kind(), ErrorKind::NotFound);
    let mut left = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    left.sort();
    assert_eq!(left, ["points-u.parquet.tmp", "series-u.parquet.tmp"]);
    // What is left is no obstacle, and an abort leaves nothing.
    start().abort();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    drop(start());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    write(dir.path(), "u", small(), std::slice::from_ref(&s), 100).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
    remove(&Env::real(), dir.path(), "u").unwrap();
    remove(&Env::real(), dir.path(), "u").unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

fn any_float() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-1_000_000i64..1_000_000, 0..6).prop_map(|(m, e)| m as f64 / 10f64.powi(e)),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => prop_oneof![Just(f64::NAN), Just(-0.0), Just(0.0), Just(f64::INFINITY), Just(5e-324)],
        1 => (any::<i64>(), 0..16).prop_map(|(m, e)| m as f64 / 10f64.powi(e)),
    ]
}

fn any_column(field_type: FieldType, rows: usize) -> BoxedStrategy<Column> {
    fn many<S: Strategy>(value: S, rows: usize) -> impl Strategy<Value = Vec<S::Value>> {
        proptest::collection::vec(value, rows)
    }
    match field_type {
        FieldType::Float => prop_oneof![
            many(any_float(), rows),
            many((-5000i64..5000).prop_map(|m| m as f64 / 100.0), rows),
            many(any::<f64>(), rows)
        ]
        .prop_map(Column::Float)
        .boxed(),
        FieldType::Integer => {
            prop_oneof![many(any::<i64>(), rows), many(-9..9i64, rows)].prop_map(Column::Integer).boxed()
        }
        FieldType::Unsigned => many(any::<u64>(), rows).prop_map(Column::Unsigned).boxed(),
        FieldType::Boolean => many(any::<bool>(), rows).prop_map(Column::Boolean).boxed(),
        FieldType::String => {
            many("[a-zä€]{0,9}", rows).prop_map(|v| texts(&v.iter().map(String::as_str).collect::<Vec<_>>())).boxed()
        }
    }
}

fn any_stream() -> impl Strategy<Value = (u32, u16, Vec<i64>, Column)> {
    let unit = prop_oneof![Just(1i64), Just(1_000), Just(1_000_000)];
    (0u32..12, 0usize..5, 1usize..90, unit).prop_flat_map(|(series, field, rows, unit)| {
        let times = proptest::collection::btree_set(-1_000_000_000i64..1_000_000_000, rows);
        let times = times.prop_map(move |set| set.into_iter().map(|t| t * unit).collect::<Vec<_>>());
        (Just(series), Just(field as u16), times, any_column(FieldType::ALL[field], rows))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn whatever_goes_in_comes_out(
        streams in proptest::collection::vec(any_stream(), 1..12),
        piece in 1usize..40,
        snappy in any::<bool>(),
    ) {
        let mut streams = streams;
        streams.sort_by_key(|s| (s.0, s.1));
        streams.dedup_by_key(|s| (s.0, s.1));
        let streams = streams
            .into_iter()
            .map(|(n, field, times_ns, values)| Stream { series: series(n), field: FieldId(field), times_ns, values })
            .collect::<Vec<_>>();
        let compression = if snappy { PageCompression::Snappy } else { PageCompression::Zstd1 };
        let (env, dir) = (memory(), Path::new(MEMORY));
        let meta = write_in(&env, dir, "q", WriteOptions { compression, ..small() }, &streams, piece).unwrap();
        let sst = SstReader::open(&env, dir, "q").unwrap();
        prop_assert_eq!(sst.meta(), meta);
        check_contents(&sst, &streams);
        sst.verify().unwrap();
        check_rebuilt(&env, dir, "q");
    }
}
