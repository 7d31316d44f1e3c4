use super::find::{Expansion, FindOptions, Node, index};
use super::{Answer, Params, RenderOptions, functions, render};
use crate::series::Series;
use jiff::tz::TimeZone;
use rhythmite_model::{Error, ErrorKind};

const NOW: i64 = 1_717_243_200;

fn pairs(query: &str) -> Vec<(String, String)> {
    let pair = |p: &str| p.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
    query.split('&').filter_map(pair).collect()
}

fn shown(answer: Result<Answer, Error>) -> String {
    match answer {
        Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
        Err(e) => format!("error: {e}"),
    }
}

fn series() -> Vec<Series> {
    let values = vec![1.5, f64::NAN, f64::INFINITY, -2.0, 1e-7];
    vec![Series::new("a,\"b\"", NOW, NOW + 50, 10, values), Series::new("n", NOW, NOW + 20, 10, vec![f64::NAN; 2])]
}

fn check(query: &str, want: &str) {
    let options = RenderOptions::parse(Params(&pairs(query)), NOW, &TimeZone::UTC).expect(query);
    let answer = render::write(series(), &options);
    assert_eq!(shown(answer), want, "{query}");
}

#[test]
fn formats() {
    check(
        "format=json",
        r#"[{"target": "a,\"b\"", "tags": {"name": "a,\"b\""}, "datapoints": [[1.5, 1717243200], [null, 1717243210], [1e9999, 1717243220], [-2.0, 1717243230], [1e-7, 1717243240]]}, {"target": "n", "tags": {"name": "n"}, "datapoints": [[null, 1717243200], [null, 1717243210]]}]"#,
    );
    check(
        "format=json&noNullPoints=1&jsonp=cb",
        r#"cb([{"target": "a,\"b\"", "tags": {"name": "a,\"b\""}, "datapoints": [[1.5, 1717243200], [1e9999, 1717243220], [-2.0, 1717243230], [1e-7, 1717243240]]}])"#,
    );
    check("format=json&jsonp=alert(1)//", "error: jsonp must be an identifier");
    check(
        "rawData=1",
        "a,\"b\",1717243200,1717243250,10|1.5,None,inf,-2.0,1e-07\nn,1717243200,1717243220,10|None,None\n",
    );
    check(
        "format=csv&tz=Asia/Kolkata",
        "\"a,\"\"b\"\"\",2024-06-01 17:30:00,1.5\r\n\"a,\"\"b\"\"\",2024-06-01 17:30:10,\r\n\"a,\"\"b\"\"\",2024-06-01 17:30:20,inf\r\n\"a,\"\"b\"\"\",2024-06-01 17:30:30,-2.0\r\n\"a,\"\"b\"\"\",2024-06-01 17:30:40,1e-07\r\nn,2024-06-01 17:30:00,\r\nn,2024-06-01 17:30:10,\r\n",
    );
    check(
        "format=dygraph",
        r#"{"labels": ["Time", "a,\"b\"", "n"], "data": [[1717243200000, 1.5, null], [1717243210000, null, null], [1717243220000, Infinity, null], [1717243230000, -2.0, null], [1717243240000, 1e-7, null]]}"#,
    );
}

#[test]
fn fewer_points() {
    let wave = |max: &str| {
        let query = pairs(&format!("format=json&maxDataPoints={max}"));
        let options = RenderOptions::parse(Params(&query), NOW, &TimeZone::UTC).expect(max);
        let all = vec![Series::new("a", 110, 210, 10, (1..=10).map(f64::from).collect())];
        let text = shown(render::write(all, &options));
        text.split_once("\"datapoints\": ").map_or(text.clone(), |(_, points)| points.to_owned())
    };
    // Groups begin at a multiple of thirty seconds, and one value fewer is dropped than lies before it.
    assert_eq!(wave("4"), "[[2.0, 120], [5.0, 150], [8.0, 180], [10.0, 210]]}]");
    assert_eq!(wave("1"), "[[5.5, 110]]}]");
    assert_eq!(wave("10").matches('[').count(), 11);
    assert_eq!(wave("x").matches('[').count(), 11);
    assert_eq!(wave("0"), "error: maxDataPoints must be at least 1");
}

#[test]
fn a_long_answer_comes_in_pieces() {
    let parse = |query: &str| RenderOptions::parse(Params(&pairs(query)), NOW, &TimeZone::UTC).expect("ok");
    let series = || {
        let values = (0..20_000).map(|i| if i % 3 == 0 { f64::NAN } else { f64::from(i) / 7.0 }).collect();
        vec![Series::new("a", 0, 20_000, 1, vec![1.0]), Series::new("b", 0, 20_000, 1, values)]
    };
    for query in [
        "format=json",
        "format=json&noNullPoints=1&jsonp=cb",
        "format=json&pretty=1",
        "format=csv",
        "format=raw",
        "format=pickle",
        "format=msgpack",
        "format=rickshaw",
    ] {
        let options = parse(query);
        let pieces: Vec<Vec<u8>> = render::pieces(series(), &options, None).expect("ok").collect();
        let fits = |p: &Vec<u8>| p.len() < render::PIECE_BYTES + 200 && p.capacity() <= 2 * render::PIECE_BYTES;
        assert!(pieces.len() >= 2 && pieces.iter().all(fits), "{query}: {}", pieces.len());
        let whole = render::write(series(), &options).expect("ok").body;
        assert_eq!(pieces.concat(), whole, "{query}");
        if !query.contains("json") {
            continue;
        }
        let text = String::from_utf8(whole).expect("UTF-8");
        let json = text.strip_prefix("cb(").and_then(|t| t.strip_suffix(')')).unwrap_or(&text);
        let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
        let known = if query.contains("noNull") { 13_333 } else { 20_000 };
        assert_eq!(json[1]["datapoints"].as_array().map(Vec::len), Some(known));
    }
    let with_meta = render::pieces(Vec::new(), &parse("format=json&jsonp=cb"), Some("{}")).expect("ok");
    assert_eq!(with_meta.content_type, "text/javascript");
    assert_eq!(with_meta.collect::<Vec<_>>().concat(), b"cb({\"version\": \"v0.1\", \"meta\": {}, \"series\": []})");
}

#[test]
fn a_name_longer_than_a_piece_is_written_once() {
    for format in ["json", "csv", "raw", "pickle", "msgpack", "rickshaw"] {
        let options =
            RenderOptions::parse(Params(&pairs(&format!("format={format}"))), NOW, &TimeZone::UTC).expect("ok");
        let name = "n".repeat(3 * render::PIECE_BYTES);
        let series = vec![Series::new(name.clone(), 0, 10, 10, vec![1.0]), Series::new("b", 0, 10, 10, vec![2.0])];
        let written: Vec<u8> = render::pieces(series, &options, None).expect("ok").take(10).flatten().collect();
        // As name, tag or path expression, and nothing behind that is missing.
        let names = String::from_utf8_lossy(&written).matches(&name).count();
        assert!((1..=2).contains(&names), "{format}: {names}");
        assert!(written.len() < 7 * render::PIECE_BYTES, "{format}: {}", written.len());
    }
}

#[test]
fn pretty_json_is_the_same_json() {
    let options = RenderOptions::parse(Params(&pairs("format=json&pretty=1")), NOW, &TimeZone::UTC).expect("ok");
    let text = shown(render::write(vec![Series::new("a", 0, 10, 10, vec![1.0])], &options));
    let lines = ["[", "  {", "    \"target\": \"a\",", "    \"tags\": {", "      \"name\": \"a\"", "    },"];
    assert!(text.starts_with(&lines.join("\n")), "{text}");
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
}

#[test]
fn pickles_and_msgpack_are_bytes_others_read() {
    let bytes = |format: &str| {
        let options = RenderOptions::parse(Params(&pairs(&format!("format={format}"))), NOW, &TimeZone::UTC);
        let series = vec![Series::new("é", 0, 10, 10, vec![0.5, f64::NAN])];
        render::write(series, &options.expect(format)).expect(format).body
    };
    let pickle = bytes("pickle");
    assert!(pickle.starts_with(b"\x80\x02](}(X\x04\x00\x00\x00nameX\x02\x00\x00\x00\xc3\xa9"), "{pickle:?}");
    assert!(pickle.ends_with(b"X\x06\x00\x00\x00values](G\x3f\xe0\x00\x00\x00\x00\x00\x00Neue."), "{pickle:?}");
    let msgpack = bytes("msgpack");
    assert!(msgpack.starts_with(b"\x91\x89\xa4name\xa2\xc3\xa9"), "{msgpack:?}");
    assert!(msgpack.ends_with(b"\xa6values\x92\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00\xc0"), "{msgpack:?}");
}

#[test]
fn parameters() {
    let parse = |query: &str| RenderOptions::parse(Params(&pairs(query)), NOW, &TimeZone::UTC);
    let o = parse("target=a&target=b&from=-1h&until=now&template[x]=y&cacheTimeout=5").expect("ok");
    assert_eq!((o.targets.len(), o.until_s - o.from_s, o.cache_s), (2, 3600, Some(5)));
    assert_eq!(o.template, [("x".to_owned(), "y".to_owned())]);
    let o = parse("target[]=a&from=now&until=-1d&tz=Nope/Nope").expect("swapped");
    assert_eq!((o.targets.len(), o.from_s, o.until_s), (1, NOW - 86_400, NOW));
    for bad in ["from=now", "from=x", "xFilesFactor=x", "cacheTimeout=x", "graphType=x", "pieMode=x", "now=x"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

fn find(query: &str) -> String {
    let node = |path: &str, is_leaf| Node { path: path.to_owned(), is_leaf, interval_s: is_leaf.then_some((5, 9)) };
    let nodes = vec![node("a.z", true), node("a.b", true), node("a.b", false), node("a.c%20d", true)];
    shown(FindOptions::parse(Params(&pairs(query)), NOW, &TimeZone::UTC).and_then(|o| o.write(nodes)))
}

#[test]
fn nodes() {
    for (query, want) in [
        (
            "query=a.*",
            r#"[{"text": "b", "id": "a.b", "allowChildren": 1, "expandable": 1, "leaf": 0}, {"text": "c d", "id": "a.c%20d", "allowChildren": 0, "expandable": 0, "leaf": 1}, {"text": "z", "id": "a.z", "allowChildren": 0, "expandable": 0, "leaf": 1}]"#,
        ),
        (
            "query=a.*&format=completer&wildcards=1&leavesOnly=1",
            r#"{"metrics": [{"path": "a.b", "name": "b", "is_leaf": "1"}, {"path": "a.c%20d", "name": "c%20d", "is_leaf": "1"}, {"path": "a.z", "name": "z", "is_leaf": "1"}, {"name": "*"}]}"#,
        ),
        (
            "query=a.*&format=json",
            r#"[{"path": "a.b", "is_leaf": false}, {"path": "a.b", "is_leaf": true, "intervals": [{"start": 5, "end": 9}]}, {"path": "a.c%20d", "is_leaf": true, "intervals": [{"start": 5, "end": 9}]}, {"path": "a.z", "is_leaf": true, "intervals": [{"start": 5, "end": 9}]}]"#,
        ),
        ("query=a.*&format=nodelist&position=0", r#"{"nodes": ["a"]}"#),
        ("query=a.*&format=nodelist&position=7", "error: a.b has no node 7"),
        ("query=a&format=x", "error: Invalid value for 'format' parameter"),
        ("query=", "error: Required parameter 'query' is empty"),
        ("x=y", "error: Missing required parameter 'query'"),
        ("query=a&leavesOnly=x", "error: Invalid int value \"x\" for param leavesOnly"),
    ] {
        assert_eq!(find(query), want, "{query}");
    }
}

#[test]
fn completers_look_further() {
    for (query, want) in [("a.b", "a.b*"), ("a..", "a*.*"), ("a,b.c&automatic_variants=1", "{a,b}.c*")] {
        let query = pairs(&format!("format=completer&query={query}"));
        assert_eq!(FindOptions::parse(Params(&query), NOW, &TimeZone::UTC).expect("ok").pattern, want);
    }
}

#[test]
fn paths() {
    let node = |path: &str, is_leaf| Node { path: path.to_owned(), is_leaf, interval_s: None };
    let found = [("a*".to_owned(), vec![node("ab", true), node("aa", false)]), ("b".to_owned(), vec![node("b", true)])];
    let all = |query: &str| {
        let pairs = pairs(query);
        let mut expansion = Expansion::new(Params(&pairs)).expect("numbers");
        found.iter().for_each(|(query, nodes)| expansion.add(query, nodes.clone()));
        shown(expansion.write())
    };
    assert_eq!(all(""), r#"{"results": ["aa", "ab", "b"]}"#);
    assert_eq!(all("leavesOnly=1&groupByExpr=1"), r#"{"results": {"a*": ["ab"], "b": ["b"]}}"#);
    assert_eq!(shown(index(Params(&[]), vec!["b", "a", "b"])), r#"["a", "b"]"#);
}

#[test]
fn functions_are_listed() {
    let details = |name: &str| functions::details(Params(&[]), name);
    let text = shown(details("sum"));
    for part in
        ["\"name\": \"sum\"", "\"function\": \"sum(*seriesLists)\"", "\"group\": \"Combine\"", "\"required\": true"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(details("nosuch").expect_err("unknown").kind(), ErrorKind::NotFound);
    let all = shown(functions::list(Params(&pairs("grouped=1"))));
    assert!(serde_json::from_str::<serde_json::Value>(&all.replace("1e9999", "0")).is_ok());
    assert!(shown(functions::list(Params(&pairs("type=pie")))).contains("\"maximum\""));
}

#[test]
fn a_line_without_a_label_has_no_name_in_json() {
    let options = RenderOptions::parse(Params(&pairs("format=json")), NOW, &TimeZone::UTC).expect("ok");
    let line = |name: &str| {
        let mut line = Series::new(name, 7, 7, 1, vec![1.0, 1.0]);
        line.look.unnamed = true;
        shown(render::write(vec![line], &options))
    };
    assert_eq!(line("None"), r#"[{"target": null, "tags": {"name": "None"}, "datapoints": [[1.0, 7]]}]"#);
    assert_eq!(line("x"), r#"[{"target": "x", "tags": {"name": "x"}, "datapoints": [[1.0, 7]]}]"#);
}
