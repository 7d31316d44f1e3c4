use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}

fn options(format: Format) -> AnswerOptions {
    AnswerOptions { format, ..AnswerOptions::default() }
}

fn head<'a>(name: &'a str, tags: &[(&'a str, &'a str)], columns: &[&'a str]) -> SeriesHead<'a> {
    SeriesHead {
        name: name.into(),
        tags: tags.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        columns: columns.iter().map(|column| (*column).into()).collect(),
    }
}

fn series<'a>(head: SeriesHead<'a>, values: Vec<Vec<Cell<'a>>>) -> Series<'a> {
    Series { head, values, partial: false }
}

fn response(statements: Vec<Vec<Series<'_>>>) -> Response<'_> {
    let result = |(id, series)| StatementResult { statement_id: id, series, end: StatementEnd::default() };
    Response { results: (0..).zip(statements).map(result).collect() }
}

const T: i64 = 1_577_836_800_000_000_000;
const S: i64 = 1_000_000_000;

/// `SELECT * FROM cpu` of the measured cases.
fn cpu() -> Response<'static> {
    use Cell::{Bool, Float, Int, Null, Time};
    response(vec![vec![series(
        head("cpu", &[], &["time", "b", "host", "i", "s", "v"]),
        vec![
            vec![Time(T), Bool(true), "a".into(), Int(1), "x,\"y\"".into(), Float(1.0)],
            vec![Time(T + 10 * S + 1), Null, "b".into(), Int(-2), Null, Float(2.5)],
            vec![Time(T + 20 * S), Null, "a".into(), Null, Null, Float(3.0)],
        ],
    )]])
}

/// `SELECT v FROM cpu GROUP BY host`.
fn by_host() -> Response<'static> {
    use Cell::{Float, Time};
    response(vec![vec![
        series(
            head("cpu", &[("host", "a")], &["time", "v"]),
            vec![vec![Time(T), Float(1.0)], vec![Time(T + 20 * S), Float(3.0)]],
        ),
        series(head("cpu", &[("host", "b")], &["time", "v"]), vec![vec![Time(T + 10 * S + 1), Float(2.5)]]),
    ]])
}

/// `SELECT v FROM cpu; SELECT free FROM mem`.
fn two_statements() -> Response<'static> {
    use Cell::{Float, Time};
    response(vec![
        vec![series(head("cpu", &[], &["time", "v"]), vec![vec![Time(T), Float(1.0)]])],
        vec![series(head("mem", &[], &["time", "free"]), vec![vec![Time(T), Float(7.0)]])],
    ])
}

/// Each JSON answer measured on InfluxDB 1.6.7: taken apart, joined if it came in chunks, and written
/// again it must be the same documents.
#[test]
fn json_as_measured_on_influxdb() {
    let cases: Vec<Json> = serde_json::from_str(include_str!("../../tests/data/answers.json")).unwrap();
    assert!(cases.len() > 60);
    for case in &cases {
        let param = |name: &str| case[name].as_str().unwrap_or("");
        let options = AnswerOptions {
            epoch: Epoch::from_param(param("epoch")),
            chunk_rows: AnswerOptions::chunk_rows_from_params(param("chunked"), param("chunk_size")),
            ..AnswerOptions::default()
        };
        let expected = case["documents"].as_array().unwrap();
        for pretty in [false, true] {
            let options = AnswerOptions { pretty, ..options };
            let written = match expected[0]["error"].as_str() {
                Some(error) => write_error(error, &options),
                None => rewrite(expected, &options, case["whole"] == json!(true)),
            };
            let documents = serde_json::Deserializer::from_slice(&written).into_iter::<Json>();
            let documents: Vec<Json> = documents.collect::<Result<_, _>>().unwrap();
            assert_eq!(&documents, expected, "{}", param("name"));
        }
    }
}

/// Writes the documents' content anew. Series that go on in the next document are joined.
fn rewrite(documents: &[Json], options: &AnswerOptions, whole: bool) -> Vec<u8> {
    let none = Vec::new();
    let mut writer = AnswerWriter::new(options);
    let mut out = Vec::new();
    let (mut open_statement, mut open_series) = (false, false);
    let results = documents.iter().flat_map(|document| document["results"].as_array().unwrap_or(&none));
    for result in results {
        if !open_statement {
            writer.begin_statement(result["statement_id"].as_u64().unwrap() as u32, whole);
        }
        for one in result["series"].as_array().unwrap_or(&none) {
            let columns: Vec<&str> =
                one["columns"].as_array().unwrap().iter().map(|column| column.as_str().unwrap()).collect();
            if !open_series {
                let tags = one["tags"].as_object().into_iter().flatten();
                let tags: Vec<(&str, &str)> =
                    tags.map(|(key, value)| (key.as_str(), value.as_str().unwrap())).collect();
                writer.begin_series(&head(one["name"].as_str().unwrap_or(""), &tags, &columns));
            }
            for row in one["values"].as_array().unwrap_or(&none) {
                let cells: Vec<Cell<'_>> = columns
                    .iter()
                    .zip(row.as_array().unwrap())
                    .map(|(column, cell)| cell_of(column, cell, options.epoch))
                    .collect();
                writer.row(&cells);
            }
            open_series = one["partial"] == json!(true);
            if !open_series {
                writer.end_series(false);
            }
        }
        open_statement = result["partial"] == json!(true);
        if !open_statement {
            let messages = result["messages"].as_array().unwrap_or(&none).iter().map(|message| Message {
                level: message["level"].as_str().unwrap().to_owned(),
                text: message["text"].as_str().unwrap().to_owned(),
            });
            let error = result["error"].as_str().map(str::to_owned);
            writer.end_statement(&StatementEnd { messages: messages.collect(), partial: false, error });
        }
        out.extend(writer.take());
    }
    out.extend(writer.finish());
    out
}

fn cell_of<'a>(column: &str, cell: &'a Json, epoch: Option<Epoch>) -> Cell<'a> {
    match (cell, epoch) {
        (Json::String(time), None) if column == "time" => {
            let time: jiff::Timestamp = time.parse().unwrap();
            Cell::Time(time.as_nanosecond() as i64)
        }
        (Json::Number(time), Some(epoch)) if column == "time" => {
            let unit = (1..).map(|power| 10_i64.pow(power)).find(|unit| epoch.of(*unit) == 1).unwrap_or(1);
            Cell::Time(time.as_i64().unwrap() * if epoch == Epoch::Nanosecond { 1 } else { unit })
        }
        (Json::Null, _) => Cell::Null,
        (Json::Bool(value), _) => Cell::Bool(*value),
        (Json::Number(number), _) => match number.as_i64() {
            Some(value) => Cell::Int(value),
            None => Cell::Float(number.as_f64().unwrap()),
        },
        (Json::String(value), _) => value.as_str().into(),
        _ => panic!("{cell}"),
    }
}

#[test]
fn json_bytes_are_in_gos_order_and_form() {
    assert_eq!(
        text(write_response(&cpu(), &options(Format::Json))),
        concat!(
            r#"{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","b","host","i","s","v"],"values":["#,
            r#"["2020-01-01T00:00:00Z",true,"a",1,"x,\"y\"",1],"#,
            r#"["2020-01-01T00:00:10.000000001Z",null,"b",-2,null,2.5],"#,
            r#"["2020-01-01T00:00:20Z",null,"a",null,null,3]]}]}]}"#,
            "\n"
        )
    );
    assert_eq!(text(write_response(&Response::default(), &options(Format::Json))), "{}\n");
    assert_eq!(
        text(write_error("a <b> & \"c\"", &options(Format::Json))),
        "{\"error\":\"a \\u003cb\\u003e \\u0026 \\\"c\\\"\"}\n"
    );
    let mut odd = response(vec![vec![series(
        head("m", &[("b", ""), ("a", "\u{2028}")], &["v"]),
        vec![
            vec![Cell::Float(f64::NAN)],
            vec![Cell::Float(f64::NEG_INFINITY)],
            vec![Cell::Float(1e308)],
            vec![Cell::UInt(u64::MAX)],
            vec!["\u{1}\t\u{7f}é\\".into()],
        ],
    )]]);
    odd.results[0].series[0].partial = true;
    odd.results[0].end = StatementEnd {
        messages: vec![Message { level: "warning".into(), text: "x".into() }],
        partial: true,
        error: Some("e".into()),
    };
    assert_eq!(
        text(write_response(&odd, &options(Format::Json))),
        concat!(
            r#"{"results":[{"statement_id":0,"series":[{"name":"m","tags":{"a":"\u2028","b":""},"columns":["v"],"#,
            r#""values":[[null],[null],[1e+308],[18446744073709551615],["\u0001\t"#,
            "\u{7f}é",
            r#"\\"]],"partial":true}],"messages":[{"level":"warning","text":"x"}],"partial":true,"error":"e"}]}"#,
            "\n"
        )
    );
}

#[test]
fn pretty_json_is_indented_by_four() {
    let pretty = AnswerOptions { pretty: true, ..options(Format::Json) };
    let expected = r#"{
    "results": [
        {
            "statement_id": 0,
            "series": [
                {
                    "name": "m",
                    "tags": {
                        "a": "x"
                    },
                    "columns": [
                        "time",
                        "v"
                    ],
                    "values": [
                        [
                            "1970-01-01T00:00:00Z",
                            1
                        ],
                        [
                            "1970-01-01T00:00:01Z",
                            null
                        ]
                    ]
                }
            ]
        },
        {
            "statement_id": 1
        }
    ]
}
"#;
    let rows = vec![vec![Cell::Time(0), Cell::Int(1)], vec![Cell::Time(S), Cell::Null]];
    let response = response(vec![vec![series(head("m", &[("a", "x")], &["time", "v"]), rows)], vec![]]);
    assert_eq!(text(write_response(&response, &pretty)), expected);
    assert_eq!(text(write_response(&Response::default(), &pretty)), "{}\n");
}

#[test]
fn csv_as_measured_on_influxdb() {
    let csv = options(Format::Csv);
    let check = |response: &Response<'_>, options: &AnswerOptions, expected: &str| {
        assert_eq!(text(write_response(response, options)), expected);
        let chunked = AnswerOptions { chunk_rows: AnswerOptions::chunk_rows_from_params("true", "1"), ..*options };
        assert_eq!(text(write_response(response, &chunked)), expected, "chunks make no difference");
    };
    check(
        &cpu(),
        &csv,
        "name,tags,time,b,host,i,s,v\ncpu,,1577836800000000000,true,a,1,\"x,\"\"y\"\"\",1\ncpu,,1577836810000000001,,b,-2,,2.5\ncpu,,1577836820000000000,,a,,,3\n",
    );
    check(
        &cpu(),
        &AnswerOptions { epoch: Some(Epoch::Second), ..csv },
        "name,tags,time,b,host,i,s,v\ncpu,,1577836800,true,a,1,\"x,\"\"y\"\"\",1\ncpu,,1577836810,,b,-2,,2.5\ncpu,,1577836820,,a,,,3\n",
    );
    check(
        &by_host(),
        &csv,
        "name,tags,time,v\ncpu,host=a,1577836800000000000,1\ncpu,host=a,1577836820000000000,3\ncpu,host=b,1577836810000000001,2.5\n",
    );
    check(
        &two_statements(),
        &csv,
        "name,tags,time,v\ncpu,,1577836800000000000,1\n\nname,tags,time,free\nmem,,1577836800000000000,7\n",
    );
    let same = || series(head("m", &[], &["v"]), vec![vec![Cell::Int(1)]]);
    check(&response(vec![vec![same(), same()], vec![same()]]), &csv, "name,tags,v\nm,,1\nm,,1\n\nname,tags,v\nm,,1\n");
    let shows = head("measurements", &[], &["name"]);
    let names = vec![vec!["cpu".into()], vec!["mem".into()]];
    check(&response(vec![vec![series(shows, names)]]), &csv, "name,tags,name\nmeasurements,,cpu\nmeasurements,,mem\n");
    check(&response(vec![vec![]]), &csv, "");
    let mut failed = response(vec![vec![]]);
    failed.results[0].end.error = Some("invalid number of arguments".into());
    check(&failed, &csv, "");
    assert_eq!(
        text(write_error("error parsing query: found NOT, expected SELECT", &csv)),
        "error\n\"error parsing query: found NOT, expected SELECT\"\n"
    );
}

#[test]
fn csv_header_follows_the_columns_and_quotes_follow_go() {
    let tagged = head("m", &[("b", "x y"), ("a", ""), ("c", "1,2")], &["v"]);
    let cells = ["\\.", " lead", "trail ", "a\nb", "", "\u{a0}x"];
    let rows = cells.iter().map(|cell| vec![Cell::from(*cell)]).collect();
    let other = series(head("m", &[], &["w"]), vec![vec![Cell::Float(1e22)]]);
    assert_eq!(
        text(write_response(&response(vec![vec![series(tagged, rows), other]]), &options(Format::Csv))),
        concat!(
            "name,tags,v\n",
            "m,\"b=x\\ y,c=1\\,2\",\"\\.\"\n",
            "m,\"b=x\\ y,c=1\\,2\",\" lead\"\n",
            "m,\"b=x\\ y,c=1\\,2\",trail \n",
            "m,\"b=x\\ y,c=1\\,2\",\"a\nb\"\n",
            "m,\"b=x\\ y,c=1\\,2\",\n",
            "m,\"b=x\\ y,c=1\\,2\",\"\u{a0}x\"\n",
            "\nname,tags,w\nm,,10000000000000000000000\n"
        )
    );
}

#[test]
fn msgpack_as_measured_on_influxdb() {
    let msgpack = options(Format::MsgPack);
    let time = |bytes: &[u8]| json!({"ext": [5, bytes]});
    assert_eq!(
        unpack(&write_response(&cpu(), &msgpack)),
        [json!({"results": [{"statement_id": 0, "series": [{"name": "cpu",
        "columns": ["time", "b", "host", "i", "s", "v"], "values": [
            [time(&[0, 0, 0, 0, 0x5e, 0x0b, 0xe1, 0, 0, 0, 0, 0]), true, "a", 1, "x,\"y\"", 1.0],
            [time(&[0, 0, 0, 0, 0x5e, 0x0b, 0xe1, 0x0a, 0, 0, 0, 1]), null, "b", -2, null, 2.5],
            [time(&[0, 0, 0, 0, 0x5e, 0x0b, 0xe1, 0x14, 0, 0, 0, 0]), null, "a", null, null, 3.0],
        ]}]}]})]
    );
    assert_eq!(
        unpack(&write_response(&by_host(), &AnswerOptions { epoch: Some(Epoch::Nanosecond), ..msgpack })),
        [json!({"results": [{"statement_id": 0, "series": [
            {"name": "cpu", "tags": {"host": "a"}, "columns": ["time", "v"],
                "values": [[T, 1.0], [T + 20 * S, 3.0]]},
            {"name": "cpu", "tags": {"host": "b"}, "columns": ["time", "v"], "values": [[T + 10 * S + 1, 2.5]]},
        ]}]})]
    );
    let mut failed = response(vec![vec![]]);
    failed.results[0].end.error = Some("invalid number of arguments".into());
    assert_eq!(
        unpack(&write_response(&failed, &msgpack)),
        [json!({"results": [{"error": "invalid number of arguments"}]})]
    );
    assert_eq!(unpack(&write_error("error parsing query", &msgpack)), [json!({"error": "error parsing query"})]);
    assert_eq!(
        unpack(&write_response(&response(vec![vec![]]), &msgpack)),
        [json!({"results": [{"statement_id": 0, "series": []}]})]
    );
}

/// Chunks of MessagePack are the chunks of JSON, and can be taken while the next is being written.
#[test]
fn msgpack_chunks_are_those_of_json() {
    for response in [cpu(), by_host(), two_statements()] {
        for rows in ["1", "2", "3"] {
            let chunk_rows = AnswerOptions::chunk_rows_from_params("true", rows);
            let epoch = Some(Epoch::Nanosecond);
            let json = AnswerOptions { chunk_rows, epoch, ..options(Format::Json) };
            let json = write_response(&response, &json);
            let documents: Vec<Json> =
                serde_json::Deserializer::from_slice(&json).into_iter().collect::<Result<_, _>>().unwrap();
            let mut writer = AnswerWriter::new(&AnswerOptions { chunk_rows, epoch, ..options(Format::MsgPack) });
            let (mut out, mut parts) = (Vec::new(), 0);
            for result in &response.results {
                writer.begin_statement(result.statement_id, false);
                for series in &result.series {
                    writer.begin_series(&series.head);
                    for row in &series.values {
                        writer.row(row);
                        let part = writer.take();
                        parts += usize::from(!part.is_empty());
                        out.extend(part);
                    }
                    writer.end_series(false);
                }
                writer.end_statement(&result.end);
            }
            out.extend(writer.finish());
            let unpacked: Vec<String> = unpack(&out).iter().map(as_integers).collect();
            assert_eq!(unpacked, documents.iter().map(as_integers).collect::<Vec<_>>());
            assert!(rows != "1" || response.results.len() > 1 || parts > 0, "chunks came before the end");
        }
    }
}

/// JSON has lost the difference between 1 and 1.0.
fn as_integers(document: &Json) -> String {
    document.to_string().replace(".0]", "]")
}

#[test]
fn the_accept_header_chooses_the_form() {
    let cases = [
        ("", Format::Json),
        ("*/*", Format::Json),
        ("text/html", Format::Json),
        ("application/csv", Format::Csv),
        ("text/csv", Format::Csv),
        ("application/x-msgpack", Format::MsgPack),
        ("application/csv;q=0.5, application/json;q=0.9", Format::Json),
        ("application/json;q=0.1, application/csv", Format::Csv),
        ("text/csv;q=0, */*;q=0.1", Format::Json),
        ("text/csv;q=x", Format::Json),
    ];
    for (accept, format) in cases {
        assert_eq!(Format::from_accept(accept), format, "{accept}");
    }
    for size in ["", "0", "x", "-1"] {
        assert_eq!(AnswerOptions::chunk_rows_from_params("true", size).map(usize::from), Some(10_000));
    }
    assert_eq!(AnswerOptions::chunk_rows_from_params("false", "1"), None);
}

/// A reader of its own, so that writer and reader do not share an error.
fn unpack(mut bytes: &[u8]) -> Vec<Json> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        out.push(unpack_one(&mut bytes));
    }
    out
}

fn unpack_one(bytes: &mut &[u8]) -> Json {
    let number = |bytes: &mut &[u8], len: usize| {
        take(bytes, len).iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let string = |bytes: &mut &[u8], len: usize| json!(std::str::from_utf8(take(bytes, len)).unwrap());
    let array = |bytes: &mut &[u8], len: usize| (0..len).map(|_| unpack_one(bytes)).collect::<Json>();
    let map = |bytes: &mut &[u8], len: usize| {
        let entry = |_| (unpack_one(bytes).as_str().unwrap().to_owned(), unpack_one(bytes));
        Json::Object((0..len).map(entry).collect())
    };
    let head = take(bytes, 1)[0];
    let low = usize::from(head);
    match head {
        0..=0x7f => json!(head),
        0x80..=0x8f => map(bytes, low & 15),
        0x90..=0x9f => array(bytes, low & 15),
        0xa0..=0xbf => string(bytes, low & 31),
        0xc0 => Json::Null,
        0xc2 => json!(false),
        0xc3 => json!(true),
        0xc7 => {
            let len = number(bytes, 1) as usize;
            json!({"ext": [number(bytes, 1), take(bytes, len)]})
        }
        0xcb => json!(f64::from_bits(number(bytes, 8))),
        0xcc..=0xcf => json!(number(bytes, 1 << (head - 0xcc))),
        0xd0 => json!(number(bytes, 1) as i8),
        0xd1 => json!(number(bytes, 2) as i16),
        0xd2 => json!(number(bytes, 4) as i32),
        0xd3 => json!(number(bytes, 8) as i64),
        0xd9..=0xdb => {
            let len = number(bytes, 1 << (head - 0xd9)) as usize;
            string(bytes, len)
        }
        0xdd => {
            let len = number(bytes, 4) as usize;
            array(bytes, len)
        }
        0xe0..=0xff => json!(head as i8),
        _ => panic!("{head:#x}"),
    }
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(len);
    *bytes = rest;
    taken
}

proptest! {
    #[test]
    fn any_text_survives_json_and_msgpack(name in any::<String>(), cell in any::<String>(), number in any::<i64>()) {
        let rows = vec![vec![cell.as_str().into(), Cell::Int(number)]];
        let columns = [cell.as_str(), "time"];
        let answer = response(vec![vec![series(head(&name, &[(&cell, &name)], &columns), rows)]]);
        let json: Json = serde_json::from_slice(&write_response(&answer, &options(Format::Json))).unwrap();
        prop_assert_eq!(&unpack(&write_response(&answer, &options(Format::MsgPack)))[0], &json);
        let one = &json["results"][0]["series"][0];
        prop_assert_eq!(one["name"].as_str().unwrap_or(""), name.as_str());
        prop_assert_eq!(&one["tags"][&cell], &json!(name));
        prop_assert_eq!(&one["values"], &json!([[cell, number]]));
    }
}
