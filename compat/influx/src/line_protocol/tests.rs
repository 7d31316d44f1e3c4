use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rhythmite_model::FieldValue;
use serde_json::{Value as Json, json};

use super::*;

const NOW_NS: i64 = 1_577_836_812_345_678_901;

fn options(precision: &str) -> ParseOptions {
    ParseOptions::new(Precision::from_param(precision).expect("a precision that exists"), NOW_NS)
}

/// Points as lines of `series field=value... time`, refused lines as their error.
fn read(body: &[u8], options: &ParseOptions) -> Vec<String> {
    let mut out = Vec::new();
    for_each_point(body, options, |point| {
        out.push(match point {
            Err(error) => format!("{}: {error}", error.line_number),
            Ok(point) => {
                let fields: Vec<String> = point
                    .fields
                    .iter()
                    .map(|field| format!("{}={:?}", field.name.text(), field.value.resolve(&mut String::new())))
                    .collect();
                let sent = if point.row.has_timestamp { "" } else { " (now)" };
                format!("{} {} {}{sent}", point.key.canonical(), fields.join(","), point.row.timestamp_ns)
            }
        });
    });
    out
}

fn check(body: &str, expected: &[&str]) {
    assert_eq!(read(body.as_bytes(), &options("")), expected, "{body:?}");
}

/// What InfluxDB 1.6.7 did with the same bodies: every error, series and stored row.
#[test]
fn as_measured_on_influxdb() {
    let cases: Vec<Json> = serde_json::from_str(include_str!("../../tests/data/line_protocol.json")).unwrap();
    assert!(cases.len() > 250);
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        let mut stored = Stored::default();
        for write in case["writes"].as_array().unwrap() {
            let body = body_of(write);
            let options = options(write["precision"].as_str().unwrap_or(""));
            let mut errors = Vec::new();
            for_each_point(body.as_bytes(), &options, |point| match point {
                Ok(point) => stored.add(&point),
                Err(error) => errors.push(error.to_string()),
            });
            let expected = write["error"].as_str().unwrap_or("");
            assert_eq!(errors.join("\n"), expected, "{name}");
        }
        if let Some(series) = case["series"].as_array() {
            let expected: BTreeSet<&str> = series.iter().map(|key| key.as_str().unwrap()).collect();
            assert_eq!(stored.points.keys().map(|(key, _)| key.as_str()).collect::<BTreeSet<_>>(), expected, "{name}");
        }
        if let Some(tables) = case["rows"].as_array() {
            let mut expected: Vec<String> = tables.iter().flat_map(rows_of).collect();
            expected.sort();
            assert_eq!(stored.rows(), expected, "{name}");
        }
    }
}

fn body_of(write: &Json) -> String {
    let repeat = &write["body_repeat"];
    if let Some(body) = write["body"].as_str() {
        return body.to_owned();
    }
    let text = |key: &str| repeat[key].as_str().unwrap_or("");
    let units: String =
        (0..repeat["n"].as_u64().unwrap()).map(|i| text("unit").replace("{i}", &i.to_string())).collect();
    format!("{}{units}{}", text("head"), text("tail"))
}

/// A table of an answer as one text per row: measurement, then the cells that are not null.
fn rows_of(table: &Json) -> Vec<String> {
    let columns = table["columns"].as_array().unwrap();
    let rows = table["values"].as_array().unwrap();
    rows.iter()
        .map(|row| {
            let cells = columns.iter().zip(row.as_array().unwrap());
            let cells: BTreeMap<&str, String> = cells
                .filter(|(_, cell)| !cell.is_null())
                .map(|(column, cell)| (column.as_str().unwrap(), as_number(cell)))
                .collect();
            format!("{}{cells:?}", table["name"])
        })
        .collect()
}

/// Numbers print alike whether they came as integer or float.
fn as_number(cell: &Json) -> String {
    match cell.as_f64() {
        Some(0.0) => "0e0".to_owned(), // The answers measured were decoded: -0 has lost its sign.
        Some(number) if !cell.is_i64() => format!("{number:e}"),
        Some(number) if (number as i64).unsigned_abs() < 1 << 53 => format!("{number:e}"),
        _ => cell.to_string(),
    }
}

/// A store of the simplest kind: series and time to fields.
#[derive(Default)]
struct Stored {
    points: BTreeMap<(String, i64), (String, BTreeMap<String, Json>)>,
}

impl Stored {
    fn add(&mut self, point: &Point<'_, '_>) {
        let id = (point.key.canonical(), point.row.timestamp_ns);
        let (_, cells) = self.points.entry(id).or_insert_with(|| (point.key.measurement.to_string(), BTreeMap::new()));
        for field in point.fields {
            let value = match field.value.resolve(&mut String::new()) {
                FieldValue::Float(value) => json!(value),
                FieldValue::Integer(value) => json!(value),
                FieldValue::Unsigned(value) => json!(value),
                FieldValue::Boolean(value) => json!(value),
                FieldValue::String(value) => json!(value),
            };
            // InfluxDB leaves out a field of this name; that is the ingest's part.
            if field.name.text() != "time" {
                cells.insert(field.name.text().into_owned(), value);
            }
        }
        for (tag, value) in &point.key.tags {
            let clash = point.fields.iter().any(|field| field.name.text() == *tag);
            cells.insert(format!("{tag}{}", if clash { "_1" } else { "" }), json!(value));
        }
        cells.insert("time".to_owned(), json!(point.row.timestamp_ns));
    }

    fn rows(&self) -> Vec<String> {
        let row = |(measurement, cells): &(String, BTreeMap<String, Json>)| {
            let cells: BTreeMap<&str, String> =
                cells.iter().map(|(column, cell)| (column.as_str(), as_number(cell))).collect();
            format!("{}{cells:?}", json!(measurement))
        };
        let mut rows: Vec<String> = self.points.values().map(row).collect();
        rows.sort();
        rows
    }
}

#[test]
fn where_we_differ_from_influxdb() {
    check("m f=42u 1", &["m f=Unsigned(42) 1"]);
    check("m f=18446744073709551615u 1", &["m f=Unsigned(18446744073709551615) 1"]);
    check(
        "m f=18446744073709551616u 1",
        &[
            "1: unable to parse 'm f=18446744073709551616u 1': unable to parse unsigned 18446744073709551616: strconv.ParseUint: parsing \"18446744073709551616\": value out of range",
        ],
    );
    check("m f=-1u 1", &["1: unable to parse 'm f=-1u 1': invalid number"]);
    check("m f=1U 1", &["1: unable to parse 'm f=1U 1': invalid number"]);
    check("m f=\"abc\"def 1", &["1: unable to parse 'm f=\"abc\"def 1': invalid field format"]);
    check("m f=1 -", &["1: unable to parse 'm f=1 -': bad timestamp"]);
    check(
        "m f=1 1\r\n\r\nm f=2i\r\nm f=t \r\nm f=\"x\"\r\nbad\r\n",
        &[
            "m f=Float(1.0) 1",
            "m f=Integer(2) 1577836812345678901 (now)",
            "m f=Boolean(true) 1577836812345678901 (now)",
            "m f=String(\"x\") 1577836812345678901 (now)",
            "6: unable to parse 'bad': missing fields",
        ],
    );
    check("m f=1 1\r", &["m f=Float(1.0) 1"]);
    check("m f=1 1\rm f=2 2", &["1: unable to parse 'm f=1 1\rm f=2 2': bad timestamp"]);
    check("\u{feff}m f=1 1", &["m f=Float(1.0) 1"]);
}

#[test]
fn bytes_that_are_not_utf8_cost_their_line_only() {
    for bad in
        [&b"m s=\"a\xff\xfeb\" 1"[..], b"m,a=x\xffy f=1 1", b"m\xff f=1 1", b"m f\xff=1 1", b"m,a=\xe2\x82 f=1 1"]
    {
        let body = [b"m f=1 1\n", bad, b"\nm f=2 2"].concat();
        let line = String::from_utf8_lossy(bad);
        assert_eq!(
            read(&body, &options("")),
            ["m f=Float(1.0) 1", &format!("2: unable to parse '{line}': invalid UTF-8"), "m f=Float(2.0) 2"]
        );
    }
}

#[test]
fn an_unterminated_string_costs_one_line() {
    check(
        "m f=1 1\nm s=\"abc 2\nm f=3 3\nm s=\"def\" 4",
        &[
            "m f=Float(1.0) 1",
            "2: unable to parse 'm s=\"abc 2': invalid field format",
            "m f=Float(3.0) 3",
            "m s=String(\"def\") 4",
        ],
    );
    check("m s=\"abc 2\nm f=3 3", &["1: unable to parse 'm s=\"abc 2': unbalanced quotes", "m f=Float(3.0) 3"]);
}

#[test]
fn text_inside_a_refused_lines_string_is_never_a_line() {
    check(
        "m f=NaN,s=\"x\nm f=1 5\n\" 1\nm f=2 2",
        &["1: unable to parse 'm f=NaN,s=\"x\nm f=1 5\n\" 1': invalid number", "m f=Float(2.0) 2"],
    );
    // Also when the key is refused, and when the caller does not read the fields.
    check(
        "m,a=1,a=2 s=\"x\nm f=1 5\n\" 1\nm f=2 2",
        &["1: unable to parse 'm,a=1,a=2 s=\"x\nm f=1 5\n\" 1': duplicate tags", "m f=Float(2.0) 2"],
    );
    let options = options("");
    let mut lines = LineParser::new(b"m s=\"x\nm f=1 5\n\" 1\nn f=2 2", &options);
    assert_eq!(lines.next_key(b"").unwrap().unwrap().bytes(), b"m");
    assert_eq!(lines.next_key(b"").unwrap().unwrap().bytes(), b"n");
}

#[test]
fn line_numbers_count_newlines_inside_strings() {
    check(
        "m s=\"a\nb\nc\" 1\n\n# x\nbad\nm f=1 1\nworse",
        &[
            "m s=String(\"a\\nb\\nc\") 1",
            "6: unable to parse 'bad': missing fields",
            "m f=Float(1.0) 1",
            "8: unable to parse 'worse': missing fields",
        ],
    );
}

#[test]
fn quotes_cannot_make_a_body_cost_more_than_its_length() {
    // Each line's string is open up to the end of the body, seen from that line.
    let mut body = "m \"x=\"\n".repeat(200_000);
    body.push_str("m f=1 1");
    let lines = read(body.as_bytes(), &options(""));
    assert!(lines.iter().all(|line| line.contains("unable to parse")), "what cannot be told apart is refused");
}

#[test]
fn limits_refuse_the_line_and_name_themselves() {
    let mut options = options("");
    (options.line_bytes_max, options.key_bytes_max, options.tags_max, options.fields_max) = (30, 20, 2, 3);
    let cases: &[(&str, &str)] = &[
        ("m,a=1,b=2 f=1,g=2,h=3 1", ""),
        ("m,a=1,b=2,c=3 f=1 1", "max tags per line exceeded: more than 2"),
        ("m f=1,g=2,h=3,i=4 1", "max fields per line exceeded: more than 3"),
        ("m,a=1,b=2 f=111,g=2222222222222", "max line length exceeded: more than 30 bytes"),
        ("m s=\"123456789012345678901234567890\"", "max line length exceeded: more than 30 bytes"),
        ("m,a=56789012345678901 f=1 1", "max key length exceeded: 21 > 20"),
        ("m,a=5678901234567 fi=1 1", "max key length exceeded: 23 > 20"),
        ("m,a=567890123456 f=1 1", "max key length exceeded: 21 > 20"),
        ("m,a=56789012345 f=1 1", ""),
    ];
    for (line, reason) in cases {
        let body = format!("{line}\nm f=1 2");
        let got = read(body.as_bytes(), &options);
        assert_eq!(got.len(), 2, "{got:?}");
        let expected = if reason.is_empty() { String::new() } else { format!("1: unable to parse '{line}': {reason}") };
        assert_eq!(if got[0].starts_with("1:") { &got[0] } else { "" }, expected);
        assert_eq!(got[1], "m f=Float(1.0) 2");
    }
    let long = format!("m,a={} f=1 1000", "x".repeat(65_600));
    let got = read(long.as_bytes(), &self::options(""));
    assert!(got[0].ends_with(": max key length exceeded: 65604 > 65535"));
}

#[test]
fn a_missing_time_is_now_cut_to_the_precision() {
    for (precision, expected) in [
        ("", 1_577_836_812_345_678_901_i64),
        ("us", 1_577_836_812_345_678_000),
        ("ms", 1_577_836_812_345_000_000),
        ("s", 1_577_836_812_000_000_000),
        ("m", 1_577_836_800_000_000_000),
        ("h", 1_577_836_800_000_000_000),
    ] {
        assert_eq!(read(b"m f=1i", &options(precision)), [format!("m f=Integer(1) {expected} (now)")]);
    }
    assert_eq!(Precision::Second.truncate(-1), -1_000_000_000);
    assert_eq!(Precision::Hour.truncate(i64::MIN), i64::MIN, "no overflow");
    for unknown in ["d", "S", "NS", "µ", "nanoseconds"] {
        assert_eq!(Precision::from_param(unknown), None);
    }
}

#[test]
fn keys_are_canonical_or_made_so() {
    let cases: &[(&str, &str)] = &[
        ("m", "m"),
        ("m,a=1,b=2", "m,a=1,b=2"),
        ("m,b=2,a=1", "m,a=1,b=2"),
        ("m,ab=1,a=2,a-b=3", "m,a=2,a-b=3,ab=1"),
        (r"my\=m,a\,b=c\ d", r"my=m,a\,b=c\ d"),
        (r"my\ m,a=x\=y", r"my\ m,a=x\=y"),
        (r"a\b,c\\d=e\f", r"a\b,c\\d=e\f"),
        ("m,a==", r"m,a=\="),
        (r"m,a=\,b", r"m,a=\,b"),
        // `\=` means `=` in a measurement, though `=` needs no escape there.
        (r"a\\=b", r"a\\=b"),
        // Sorted by what the keys mean, not by how they are spelt.
        (r"m,a\ b=1,a!=2", r"m,a\ b=1,a!=2"),
    ];
    for (raw, canonical) in cases {
        let options = options("");
        let key = RawKey::new(raw.as_bytes());
        assert_eq!(key.parse(&options).unwrap().canonical(), *canonical);
        assert_eq!(key.is_canonical(&options), raw == canonical, "{raw}");
    }
    for bad in ["", ",a=1", "m,", "m,a", "m,a=", "m,=1", "m,a=1,a=1", "m,a=1,b=2,a=3", "m,a=b=c"] {
        assert!(!RawKey::new(bad.as_bytes()).is_canonical(&options("")), "{bad}");
    }
}

#[test]
fn the_expected_key_is_taken_only_if_the_line_has_it() {
    let body = b"m,a=1 f=1 1\nm,a=1 f=2 2\nm,a=10 f=3 3\n m,a=1 f=4 4\nm,a=1\\ f=1 5\nm,a=1";
    let options = options("");
    let mut lines = LineParser::new(body, &options);
    let (mut fields, mut seen) = (Fields::new(), Vec::new());
    while let Some(key) = lines.next_key(b"m,a=1") {
        match key {
            Ok(key) => {
                let row = lines.read_fields(&Shape::EMPTY, &mut fields);
                let key_text = std::str::from_utf8(key.bytes()).unwrap();
                seen.push(format!("{key_text} {} {}", key.was_expected(), row.is_ok()));
            }
            Err(error) => seen.push(error.to_string()),
        }
    }
    assert_eq!(
        seen,
        [
            "m,a=1 true true",
            "m,a=1 true true",
            "m,a=10 false true",
            "m,a=1 false true",
            "m,a=1\\ f=1 false false",
            "unable to parse 'm,a=1': missing fields",
        ]
    );
}

#[test]
fn shapes_match_from_the_first_field_on() {
    let body = "m usage_user=1i,b\\,c=2,usage_system=3\nm usage_user=4,b\\,c=5,usage_system=6\nm usage_user=7,x=8,usage_system=9\nm usage_use=1\nm usage_user=1,b\\,c=2,usage_system=3,more=4";
    let options = options("");
    let (mut shape, mut fields) = (Shape::EMPTY, Fields::new());
    let mut lines = LineParser::new(body.as_bytes(), &options);
    let mut matched = Vec::new();
    while let Some(key) = lines.next_key(b"") {
        key.unwrap();
        let row = lines.read_fields(&shape, &mut fields).unwrap();
        matched.push(format!("{} of {}", row.matched, fields.len()));
        if shape.is_empty() {
            shape.learn(&fields);
        }
        assert!(fields.iter().all(|field| !field.name.text().contains('\\')));
    }
    assert_eq!(matched, ["0 of 3", "3 of 3", "1 of 3", "0 of 1", "3 of 4"]);
    assert_eq!(shape.raw_name(1), Some(&b"b\\,c"[..]));
    assert_eq!((shape.len(), shape.raw_name(3)), (3, None));
}

#[test]
fn what_cannot_be_written_is_refused_and_leaves_no_trace() {
    let key = |measurement: &'static str, tag: &'static str, value: &'static str| SeriesKey {
        measurement: measurement.into(),
        tags: vec![(tag.into(), value.into())],
    };
    let one = FieldValue::Float(1.0);
    let cases = [
        (key("", "a", "b"), "f", one, Unwritable::EmptyName),
        (key("m", "a", ""), "f", one, Unwritable::EmptyName),
        (key("m", "a", "b\\"), "f", one, Unwritable::Name),
        (key("m", "a\n", "b"), "f", one, Unwritable::Name),
        (key("#m", "a", "b"), "f", one, Unwritable::MeasurementStart),
        (key("m", "a", "b"), "f\\", one, Unwritable::Name),
        (key("m", "a", "b"), "f", FieldValue::Float(f64::NAN), Unwritable::NotFinite),
    ];
    for (key, name, value, expected) in cases {
        let mut out = "before".to_owned();
        assert_eq!(write_line(&mut out, &key, [(name, value)], None), Err(expected));
        assert_eq!(out, "before");
    }
    assert_eq!(write_line(&mut String::new(), &key("m", "a", "b"), [], None), Err(Unwritable::NoFields));
}

fn any_name() -> impl Strategy<Value = String> {
    "[a-z,= \\\\\"\r\t#é]{0,6}[a-zé\"=, ]".prop_filter("cannot be written", |name| !name.starts_with(['#', '\t', '\r']))
}

fn any_value() -> impl Strategy<Value = OwnedValue> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(OwnedValue::Float),
        (-100_000_i64..100_000).prop_map(|cents| OwnedValue::Float(cents as f64 / 100.0)),
        any::<i64>().prop_map(OwnedValue::Integer),
        any::<u64>().prop_map(OwnedValue::Unsigned),
        any::<bool>().prop_map(OwnedValue::Boolean),
        "[a-z\\\\\"\n\r ,=é]{0,12}".prop_map(OwnedValue::String),
    ]
}

#[derive(Clone, Debug)]
enum OwnedValue {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    String(String),
}

impl OwnedValue {
    fn borrow(&self) -> FieldValue<'_> {
        match self {
            Self::Float(value) => FieldValue::Float(*value),
            Self::Integer(value) => FieldValue::Integer(*value),
            Self::Unsigned(value) => FieldValue::Unsigned(*value),
            Self::Boolean(value) => FieldValue::Boolean(*value),
            Self::String(value) => FieldValue::String(value),
        }
    }
}

proptest! {
    #[test]
    fn written_points_read_back(
        measurement in any_name(),
        tags in prop::collection::btree_map(any_name(), any_name(), 0..5),
        fields in prop::collection::vec((any_name(), any_value()), 1..6),
        time in prop::option::of(MIN_TIME_NS..=MAX_TIME_NS),
        known_shape in any::<bool>(),
    ) {
        let key = SeriesKey {
            measurement: measurement.as_str().into(),
            tags: tags.iter().map(|(tag, value)| (tag.as_str().into(), value.as_str().into())).collect(),
        };
        let mut body = String::new();
        for _ in 0..2 {
            let borrowed = fields.iter().map(|(name, value)| (name.as_str(), value.borrow()));
            write_line(&mut body, &key, borrowed, time).unwrap();
        }
        let options = options("");
        let mut lines = LineParser::new(body.as_bytes(), &options);
        let (mut shape, mut read) = (Shape::EMPTY, Fields::new());
        for _ in 0..2 {
            let raw = lines.next_key(key.canonical().as_bytes()).unwrap().unwrap();
            prop_assert!(raw.was_expected());
            prop_assert!(raw.is_canonical(&options));
            prop_assert_eq!(raw.parse(&options).unwrap(), key.clone());
            let row = lines.read_fields(&shape, &mut read).unwrap();
            prop_assert_eq!(row.timestamp_ns, time.unwrap_or(NOW_NS));
            prop_assert_eq!(row.matched, shape.len());
            prop_assert_eq!(read.len(), fields.len());
            for (field, (name, value)) in read.iter().zip(&fields) {
                prop_assert_eq!(&field.name.text(), name);
                let mut scratch = String::new();
                prop_assert_eq!(field.value.resolve(&mut scratch), value.borrow());
            }
            if known_shape {
                shape.learn(&read);
            }
        }
        prop_assert!(lines.next_key(b"").is_none());
    }

    #[test]
    fn any_bytes_are_read_to_their_end(body in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&body, &options(""));
    }

    /// Bytes that matter, so that most lines get beyond their key. Lines read with any expectation
    /// and any shape are the lines read without.
    #[test]
    fn predictions_change_nothing(body in "[ma,= f1i.\"\\\\\n\r\t#e-]{0,120}", expected in "[ma,=1]{0,5}") {
        let options = options("");
        let plain = read(body.as_bytes(), &options);
        let mut lines = LineParser::new(body.as_bytes(), &options);
        let (mut shape, mut fields, mut count) = (Shape::EMPTY, Fields::new(), 0);
        while let Some(key) = lines.next_key(expected.as_bytes()) {
            count += 1;
            let Ok(key) = key else { continue };
            match key.parse(&options) {
                Err(reason) => {
                    let error = lines.refuse(reason);
                    prop_assert_eq!(&plain[count - 1], &format!("{}: {error}", error.line_number));
                }
                Ok(_) => {
                    let row = lines.read_fields(&shape, &mut fields);
                    prop_assert_eq!(row.is_err(), plain[count - 1].contains("unable to parse"));
                    if row.is_ok() {
                        shape.learn(&fields);
                    }
                }
            }
        }
        prop_assert_eq!(count, plain.len());
    }

    #[test]
    fn every_number_is_read_as_the_slow_path_reads_it(token in "-?[0-9]{0,22}(\\.[0-9]{0,12})?(e-?[0-9]{1,2})?[iu]?") {
        let line = format!("m f={token} 1");
        let slow = if token.starts_with(|first: char| first.is_ascii_digit() || "-.".contains(first)) {
            super::number::number_slow(token.as_bytes()).map(|value| format!("{value:?}"))
        } else {
            return Ok(());
        };
        let mut fast = None;
        for_each_point(line.as_bytes(), &options(""), |point| {
            fast = Some(point.map(|point| format!("{:?}", point.fields[0].value)).map_err(|error| error.reason.to_string()));
        });
        prop_assert_eq!(fast, Some(slow.map_err(|reason| reason.to_string())));
    }
}

#[test]
fn lines_end_outside_of_strings() {
    for (text, expected) in [
        ("", None),
        ("m v=1", None),
        ("m v=1\nm", Some(5)),
        ("m s=\"a\nb\" 1\nm", Some(11)),
        ("m s=\"a\nb", None),
        ("m s=\"a\\\"\nb\" 1\nm", Some(13)),
        ("a\"b v=1\nc\"d v=2\n", Some(7)),
        ("\n", Some(0)),
    ] {
        assert_eq!(line_end(text.as_bytes()), expected, "{text:?}");
    }
}
