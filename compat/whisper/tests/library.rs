//! The answers of the whisper 1.1.10 library for 40 files, 14 of them damaged, 13 ranges each.

// A test's helpers fail by panicking too.
#![allow(clippy::unwrap_used)]

use std::io::Read;

use base64::Engine as _;
use rhythmite_whisper::{AggregationMethod, Fetched, Ring, Whisper, write};
use serde_json::Value;

struct Case {
    name: String,
    bytes: Vec<u8>,
    expect: Value,
}

fn cases() -> Vec<Case> {
    let mut json = String::new();
    flate2::read::GzDecoder::new(&include_bytes!("data/library.json.gz")[..]).read_to_string(&mut json).unwrap();
    let Value::Object(mut doc) = serde_json::from_str(&json).unwrap() else { panic!("not an object") };
    let Value::Array(files) = doc.remove("files").unwrap() else { panic!("not a list") };
    files
        .into_iter()
        .map(|expect| {
            let packed = base64::engine::general_purpose::STANDARD.decode(expect["bytes"].as_str().unwrap()).unwrap();
            let mut bytes = Vec::new();
            flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
            Case { name: expect["name"].as_str().unwrap().to_owned(), bytes, expect }
        })
        .collect()
}

fn number(v: &Value) -> Option<u64> {
    match v {
        Value::Null => None,
        Value::String(s) => Some(s.parse::<f64>().unwrap().to_bits()),
        v => Some(v.as_f64().unwrap().to_bits()),
    }
}

fn fetch(file: &Whisper<'_>, range: &Value) -> Result<Option<Fetched>, String> {
    let [from, until, now] = ["from", "until", "now"].map(|k| range[k].as_i64().unwrap());
    file.fetch(from, until, now as u32).map_err(|e| e.to_string())
}

/// `got` is exactly the library's answer, to the bit.
fn assert_same(name: &str, range: &Value, got: Option<Fetched>) {
    let want = &range["result"];
    let Some(got) = got else {
        assert!(want.is_null(), "{name} {range}: no series");
        return;
    };
    let header =
        ["start", "end", "step"].map(|k| want[k].as_i64().unwrap_or_else(|| panic!("{name} {range}: {got:?}")));
    assert_eq!([got.start_s, got.end_s, got.step_s.into()], header, "{name} {range}");
    let values: Vec<_> = got.values.iter().map(|v| v.map(f64::to_bits)).collect();
    let expected: Vec<_> = want["values"].as_array().unwrap().iter().map(number).collect();
    assert_eq!(values, expected, "{name} {range}");
}

#[test]
fn valid_files_answer_as_the_library_does() {
    let mut fetches = 0;
    for case in cases().iter().filter(|c| !c.name.starts_with("bad_")) {
        let file = Whisper::parse(&case.bytes).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let header = file.header();
        assert_eq!(header.method.name(), case.expect["aggregationMethod"].as_str().unwrap());
        assert_eq!(header.x_files_factor, case.expect["xFilesFactor"].as_f64().unwrap() as f32);
        let archives: Vec<_> = header.archives.iter().map(|a| serde_json::json!([a.step_s, a.points])).collect();
        assert_eq!(Value::from(archives), case.expect["archives"], "{}", case.name);
        for range in case.expect["fetch"].as_array().unwrap() {
            match (fetch(&file, range), range.get("error")) {
                (Ok(got), None) => assert_same(&case.name, range, got),
                (Err(e), Some(_)) => assert!(e.contains("is after until"), "{e}"),
                (got, _) => panic!("{} {range}: {got:?}", case.name),
            }
            fetches += 1;
        }
    }
    assert_eq!(fetches, 26 * 13);
}

#[test]
fn damaged_files_name_what_is_wrong_and_never_invent_points() {
    let whole = |name: &str, why: &str| (name.to_owned(), why.to_owned());
    let expected_errors = [
        whole("bad_empty_file", "header: 0 bytes"),
        whole("bad_short_meta", "header: 10 bytes"),
        whole("bad_short_archives", "3 archives claimed, the table ends after 1"),
        whole("bad_no_data", "archive 0: the file ends before its last slot"),
        whole("bad_method", "aggregation method 99"),
        whole("bad_xff", "xFilesFactor 2 "),
        whole("bad_xff_nan", "xFilesFactor NaN"),
        whole("bad_count", "99 archives claimed, but data begins at byte 52"),
        whole("bad_zero_archives", "no archives"),
        whole("bad_garbage", "aggregation method"),
    ];
    let mut readable = Vec::new();
    for case in cases().iter().filter(|c| c.name.starts_with("bad_")) {
        let file = match Whisper::parse(&case.bytes) {
            Ok(file) => file,
            Err(e) => {
                let why = expected_errors.iter().find(|(name, _)| *name == case.name);
                let (_, why) = why.unwrap_or_else(|| panic!("{} is refused: {e}", case.name));
                assert!(e.to_string().contains(why), "{}: {e}", case.name);
                continue;
            }
        };
        for (i, archive) in file.archives().iter().enumerate() {
            match (archive.damage, file.points(i)) {
                (None, points) => assert!(!points.unwrap().is_empty(), "{}", case.name),
                (Some(damage), points) => {
                    let message = points.unwrap_err().to_string();
                    assert_eq!(message, format!("archive {i}: {damage}"));
                    readable.push(format!("{} {message}", case.name));
                }
            }
        }
        for range in case.expect["fetch"].as_array().unwrap() {
            // An error is always fine; an answer has to be the library's.
            if let Ok(got) = fetch(&file, range) {
                assert!(range.get("error").is_none(), "{} {range}: {got:?}", case.name);
                assert_same(&case.name, range, got);
            }
        }
    }
    assert_eq!(
        readable,
        [
            "bad_data_cut archive 0: the file ends before its last slot, 37 slots are present",
            "bad_data_cut archive 1: the file ends before its last slot, 0 slots are present",
            "bad_data_cut archive 2: the file ends before its last slot, 0 slots are present",
            "bad_tail_cut archive 2: the file ends before its last slot, 9 slots are present",
            "bad_offset archive 0: the file ends before its last slot, 0 slots are present",
            "bad_step_zero archive 0: zero seconds per point",
        ]
    );
}

#[test]
fn points_are_what_fetching_every_second_of_the_lap_finds() {
    let mut total = 0;
    for case in cases().iter().filter(|c| !c.name.starts_with("bad_")) {
        let file = Whisper::parse(&case.bytes).unwrap();
        for (i, archive) in file.archives().iter().enumerate() {
            let points = file.points(i).unwrap();
            assert!(points.is_sorted_by(|a, b| a.0 < b.0), "{}", case.name);
            let Some(&(newest, _)) = points.last() else { continue };
            // A clock at the newest point and a range of exactly this archive's retention select it.
            let from = i64::from(newest) - archive.retention_s() as i64;
            let got = file.fetch(from, newest.into(), newest).unwrap().unwrap();
            assert_eq!(got.step_s, archive.step_s, "{}", case.name);
            let found: Vec<_> = (got.start_s..).step_by(archive.step_s as usize).zip(&got.values).collect();
            let found = found.iter().filter_map(|(t, v)| v.map(|v| (*t as u32, v.to_bits()))).collect::<Vec<_>>();
            assert_eq!(points.iter().map(|p| (p.0, p.1.to_bits())).collect::<Vec<_>>(), found, "{} {i}", case.name);
            total += points.len();
        }
    }
    assert!(total > 1000, "{total}");
}

#[test]
fn leftovers_of_an_earlier_lap_are_no_points() {
    let case = cases().into_iter().find(|c| c.name == "wrap_gap").unwrap();
    let file = Whisper::parse(&case.bytes).unwrap();
    let (archive, points) = (file.archives()[0], file.points(0).unwrap());
    let start = archive.offset as usize;
    let slots = case.bytes[start..start + archive.points as usize * 12].chunks_exact(12);
    let written = slots.filter(|s| s[..4] != [0; 4]).count();
    assert!(points.len() < written, "{} of {written}", points.len());
    assert!(points.iter().all(|p| u64::from(points.last().unwrap().0 - p.0) < archive.retention_s()));
}

#[test]
fn what_is_read_can_be_written_and_read_again() {
    for case in cases().iter().filter(|c| !c.name.starts_with("bad_")) {
        let file = Whisper::parse(&case.bytes).unwrap();
        let data: Vec<_> = (0..file.archives().len()).map(|i| file.points(i).unwrap()).collect();
        let rings: Vec<_> = file
            .archives()
            .iter()
            .zip(&data)
            .map(|(a, data)| Ring { step_s: a.step_s, points: a.points, data })
            .collect();
        let copy = write(file.header().method, file.header().x_files_factor, &rings).unwrap();
        let again = Whisper::parse(&copy).unwrap();
        assert_eq!((copy.len(), again.header()), (case.bytes.len(), file.header()), "{}", case.name);
        for (i, data) in data.iter().enumerate() {
            let bits = |points: &[(u32, f64)]| points.iter().map(|p| (p.0, p.1.to_bits())).collect::<Vec<_>>();
            assert_eq!(bits(&again.points(i).unwrap()), bits(data), "{}", case.name);
        }
        for range in case.expect["fetch"].as_array().unwrap().iter().filter(|r| r.get("error").is_none()) {
            assert_same(&case.name, range, fetch(&again, range).unwrap());
        }
    }
}

#[test]
fn a_point_from_a_wrong_clock_does_not_hide_the_true_ones() {
    let data: Vec<_> = (1..=6).map(|i| (6000 + i * 10, f64::from(i))).collect();
    let mut bytes = write(AggregationMethod::Last, 0.0, &[Ring { step_s: 10, points: 6, data: &data }]).unwrap();
    // Slot 3 receives a time that is ten laps ahead.
    bytes[28 + 3 * 12..][..4].copy_from_slice(&(6040u32 + 600).to_be_bytes());
    let file = Whisper::parse(&bytes).unwrap();
    assert_eq!(file.points(0).unwrap(), [(6640, 4.0)]);
    assert_eq!(file.points_until(0, 6060).unwrap(), [(6010, 1.0), (6020, 2.0), (6030, 3.0), (6050, 5.0), (6060, 6.0)]);
}

#[test]
fn of_a_file_that_was_cut_off_the_slots_present_can_be_salvaged() {
    let data: Vec<_> = (1..=6).map(|i| (6000 + i * 10, f64::from(i))).collect();
    let bytes = write(AggregationMethod::Last, 0.0, &[Ring { step_s: 10, points: 6, data: &data }]).unwrap();
    let file = Whisper::parse(&bytes[..28 + 2 * 12 + 5]).unwrap();
    assert!(file.points(0).is_err());
    assert_eq!(file.salvage(0, u32::MAX).unwrap().points, data[..2]);
}

#[test]
fn a_writer_refuses_what_the_library_would() {
    let ring = |step_s, points| Ring { step_s, points, data: &[] };
    for (rings, why) in [
        (vec![], "at least one"),
        (vec![ring(0, 6)], "above zero"),
        (vec![ring(10, 0)], "above zero"),
        (vec![ring(10, 60), ring(15, 60)], "multiple"),
        (vec![ring(10, 60), ring(10, 90)], "multiple"),
        (vec![ring(10, 60), ring(60, 10)], "longer"),
        (vec![ring(10, 5), ring(60, 10)], "too few slots"),
        (vec![ring(1, 400_000_000)], "4 GiB"),
        (vec![ring(u32::MAX, 2)], "32 bits"),
        (vec![Ring { step_s: 10, points: 1, data: &[(9, 1.0)] }], "time 0"),
    ] {
        let e = write(AggregationMethod::Sum, 0.5, &rings).unwrap_err().to_string();
        assert!(e.contains(why), "{e}");
    }
    assert!(write(AggregationMethod::Sum, f32::NAN, &[ring(1, 1)]).is_err());
}

#[test]
fn a_time_between_steps_is_no_point() {
    let data = [(6010, 1.0), (6020, 2.0), (6030, 3.0)];
    let mut bytes = write(AggregationMethod::Last, 0.0, &[Ring { step_s: 10, points: 6, data: &data }]).unwrap();
    // It falls into slot 1, where it stands, but the library never writes it.
    bytes[28 + 12..][..4].copy_from_slice(&6025u32.to_be_bytes());
    assert_eq!(Whisper::parse(&bytes).unwrap().points(0).unwrap(), [(6010, 1.0), (6030, 3.0)]);
}

#[test]
fn a_writer_rounds_times_keeps_the_last_value_and_one_lap() {
    let data = [(6039, 4.0), (6001, 1.0), (5980, 0.5), (5979, 0.25), (6031, 5.0)];
    let bytes = write(AggregationMethod::Last, 0.0, &[Ring { step_s: 10, points: 6, data: &data }]).unwrap();
    assert_eq!(bytes.len(), 28 + 6 * 12);
    assert_eq!(Whisper::parse(&bytes).unwrap().points(0).unwrap(), [(5980, 0.5), (6000, 1.0), (6030, 5.0)]);
}
