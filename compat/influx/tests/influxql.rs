//! InfluxQL against measured facts: what 1.x refuses and in which words, what it accepts.
//!
//! `tests/data/influxql` holds statements with the error texts of a real server: of its parser, of
//! its compiler, and statements that both accept.

#![allow(clippy::unwrap_used, reason = "a panic is how tests fail, in their helpers too")]

use proptest::prelude::*;
use rhythmite_influx::influxql::{
    DEPTH_MAX, Literal, NESTING_MAX, Params, Show, Statement, check, parse_expr, parse_query, parse_statement,
};

struct Case {
    query: String,
    params: Option<String>,
    error: Option<String>,
}

fn cases(json: &str) -> Vec<Case> {
    let rows: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(json).unwrap();
    let text = |row: &serde_json::Map<_, serde_json::Value>, key: &str| {
        row.get(key).map(|value| value.as_str().unwrap().to_owned())
    };
    rows.iter()
        .map(|row| Case { query: text(row, "q").unwrap(), params: text(row, "params"), error: text(row, "error") })
        .collect()
}

/// What a server answers before it looks at data: nothing, or the error of the parser or compiler.
fn refusal(case: &Case) -> Option<String> {
    let params = match case.params.as_deref().map_or(Ok(Params::new()), Params::from_json) {
        Ok(params) => params,
        Err(error) => return Some(format!("error parsing query parameters: {error}")),
    };
    let query = match parse_query(&case.query, &params) {
        Ok(query) => query,
        Err(error) => return Some(format!("error parsing query: {error}")),
    };
    query.statements.iter().find_map(|statement| match statement {
        Statement::Select(select) => check(select).err().map(|error| error.to_string()),
        _ => None,
    })
}

fn check_all(json: &str, least: usize) {
    let cases = cases(json);
    assert!(cases.len() >= least, "{} cases", cases.len());
    let wrong: Vec<_> = cases
        .iter()
        .filter_map(|case| {
            let found = refusal(case);
            (found != case.error)
                .then(|| format!("{}\n  expected {:?}\n  found    {:?}", case.query, case.error, found))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn what_the_parser_refuses() {
    check_all(include_str!("data/influxql/parse_errors.json"), 100);
}

#[test]
fn what_the_compiler_refuses() {
    check_all(include_str!("data/influxql/compile_errors.json"), 150);
}

#[test]
fn what_is_accepted() {
    check_all(include_str!("data/influxql/statements.json"), 1000);
}

#[test]
fn statements_read_back_as_they_are_written() {
    let mut seen = 0;
    for case in cases(include_str!("data/influxql/statements.json")) {
        let params = Params::from_json(case.params.as_deref().unwrap_or("{}")).unwrap();
        let query = parse_query(&case.query, &params).unwrap();
        for statement in query.statements {
            if matches!(statement, Statement::CreateUser { .. } | Statement::SetPassword { .. }) {
                continue;
            }
            let written = statement.to_string();
            let again = parse_statement(&written).unwrap_or_else(|error| panic!("{written}: {error}"));
            assert_eq!(again.to_string(), written, "{}", case.query);
            assert_eq!(again, statement, "{}", case.query);
            seen += 1;
        }
    }
    assert!(seen > 1000);
}

#[test]
fn statements_are_written_as_1_x_writes_them() {
    for (text, written) in [
        ("select  Mean( value ),max(value) as \"Max\" from CPU", "SELECT mean(value), max(value) AS Max FROM CPU"),
        (
            "SELECT count(value) INTO \"rp1\".:MEASUREMENT FROM /[cg]pu/ GROUP BY time(5s), *",
            "SELECT count(value) INTO rp1.:MEASUREMENT FROM /[cg]pu/ GROUP BY time(5s), *",
        ),
        (
            "select v*2.5,-v from db0..\"m 1\",(select * from x) where t='it\\'s' or t=~/a\\/b/ and not_x<>3",
            "SELECT v * 2.500, -1 * v FROM db0..\"m 1\", (SELECT * FROM x) WHERE t = 'it\\'s' OR t =~ /a\\/b/ AND not_x != 3",
        ),
        ("SELECT a / -b FROM m", "SELECT a / (-1 * b) FROM m"),
        ("SELECT a - (b - c) FROM m", "SELECT a - (b - c) FROM m"),
        ("SELECT \"select\"::field, x::TAG, *::tag FROM m", "SELECT \"select\"::field, x::tag, *::tag FROM m"),
        (
            "SELECT mean(v) FROM m WHERE time > now() - 90m GROUP BY time(1h,-30m) FILL(null) ORDER BY time DESC LIMIT 1 OFFSET 2 SLIMIT 3 SOFFSET 4 tz('Europe/Berlin')",
            "SELECT mean(v) FROM m WHERE time > now() - 90m GROUP BY time(1h, -30m) ORDER BY time DESC LIMIT 1 OFFSET 2 SLIMIT 3 SOFFSET 4 TZ('Europe/Berlin')",
        ),
        ("SELECT mean(v) FROM m GROUP BY time(60s) fill(-1.5)", "SELECT mean(v) FROM m GROUP BY time(1m) fill(-1.5)"),
        ("SELECT DISTINCT v FROM m", "SELECT DISTINCT v FROM m"),
        ("explain analyze select v from m", "EXPLAIN ANALYZE SELECT v FROM m"),
        (
            "CREATE USER u WITH PASSWORD 'p' WITH ALL PRIVILEGES",
            "CREATE USER u WITH PASSWORD [REDACTED] WITH ALL PRIVILEGES",
        ),
        ("SET PASSWORD FOR u = 'p'", "SET PASSWORD FOR u = [REDACTED]"),
        (
            "CREATE CONTINUOUS QUERY cq ON db RESAMPLE EVERY 1m FOR 10m BEGIN SELECT max(x) INTO a.b.c FROM m GROUP BY time(5m) END",
            "CREATE CONTINUOUS QUERY cq ON db RESAMPLE EVERY 1m FOR 10m BEGIN SELECT max(x) INTO a.b.c FROM m GROUP BY time(5m) END",
        ),
        (
            "CREATE RETENTION POLICY p ON d DURATION INF REPLICATION 1 SHARD DURATION 24h DEFAULT",
            "CREATE RETENTION POLICY p ON d DURATION 0s REPLICATION 1 SHARD DURATION 1d DEFAULT",
        ),
        (
            "SHOW TAG VALUES FROM m WITH KEY IN (a, \"b c\") WHERE x = 'y' LIMIT 3",
            "SHOW TAG VALUES FROM m WITH KEY IN (a, \"b c\") WHERE x = 'y' LIMIT 3",
        ),
        (
            "show series exact cardinality on d from m group by x",
            "SHOW SERIES EXACT CARDINALITY ON d FROM m GROUP BY x",
        ),
        ("GRANT ALL ON db TO \"u\"", "GRANT ALL PRIVILEGES ON db TO u"),
        ("KILL QUERY 36 ON \"host:8088\"", "KILL QUERY 36 ON \"host:8088\""),
    ] {
        let statement = parse_statement(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(statement.to_string(), written);
    }
}

#[test]
fn a_comment_or_a_line_end_moves_positions_only() {
    let text = "SELECT /* all\r\n of it */ v -- and so on\nFROM m WHERE x =";
    let error = parse_statement(text).unwrap_err();
    assert_eq!(error.to_string(), "found EOF, expected identifier, string, number, bool at line 3, char 17");
}

#[test]
fn parameters_take_the_place_of_values() {
    let params =
        r#"{"t":"a","n":5,"d":{"duration":"10s"},"r":{"regex":"^c"},"i":{"identifier":"the field"},"x":{"a":1,"b":2}}"#;
    let params = Params::from_json(params).unwrap();
    for (text, expected) in [
        (
            "SELECT mean($i) FROM $r WHERE host = $t AND v > $n GROUP BY time($d)",
            "SELECT mean(\"the field\") FROM /^c/ WHERE host = 'a' AND v > 5 GROUP BY time(10s)",
        ),
        ("SELECT v FROM m WHERE host =~ $r LIMIT $n", "SELECT v FROM m WHERE host =~ /^c/ LIMIT 5"),
        ("SELECT v FROM m WHERE x = $nope", "missing parameter: nope"),
        ("SELECT v FROM m WHERE x = $", "empty bound parameter"),
        ("SELECT v FROM m WHERE x = $x", "bound object parameter value must have exactly one entry"),
    ] {
        let found = match parse_query(text, &params) {
            Ok(query) => query.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn depth_is_bounded_and_rows_of_or_are_not_deep() {
    let nested = |levels: usize| format!("{}x{}", "(".repeat(levels), ")".repeat(levels));
    assert!(parse_expr(&nested(NESTING_MAX - 1)).is_ok());
    let error = parse_expr(&nested(NESTING_MAX + 1)).unwrap_err().to_string();
    assert!(error.starts_with("query is nested deeper than 100 levels"), "{error}");
    for deep in ["(".repeat(1 << 20), "f(".repeat(1 << 20), "SELECT x FROM (".repeat(1 << 18)] {
        assert!(parse_expr(&deep).is_err());
        assert!(parse_statement(&deep).is_err());
    }
    assert!(parse_expr(&["x"; DEPTH_MAX].join(" + ")).is_ok());
    assert!(parse_expr(&["x"; DEPTH_MAX + 1].join(" + ")).is_err());

    let hosts: Vec<_> = (0..50_000).map(|host| format!("host = 'h{host}'")).collect();
    let condition = hosts.join(" OR ");
    let expr = parse_expr(&condition).unwrap();
    assert_eq!(expr.to_string(), condition);
}

#[test]
fn the_deepest_statement_is_compiled_and_written() {
    let sources = NESTING_MAX / 2 - 1;
    let text = format!(
        "{}SELECT max({}) FROM m WHERE x > {}{}",
        "SELECT max FROM (".repeat(sources),
        "v",
        ["1"; DEPTH_MAX - 4].join(" + "),
        ")".repeat(sources)
    );
    let statement = parse_statement(&text).unwrap();
    let Statement::Select(select) = &statement else { panic!("{statement}") };
    check(select).unwrap();
    assert_eq!(parse_statement(&statement.to_string()).unwrap(), statement);
}

#[test]
fn limits_are_numbers_or_errors() {
    let Statement::Show(Show::Series(clauses)) =
        parse_statement("SHOW SERIES LIMIT 99999999999999999999 OFFSET 3").unwrap()
    else {
        panic!("not SHOW SERIES")
    };
    assert_eq!((clauses.limit, clauses.offset), (i64::MAX as u64, 3));
    assert_eq!(
        parse_expr("-9223372036854775808").unwrap(),
        rhythmite_influx::influxql::Expr::Literal(Literal::Integer(i64::MIN))
    );
    assert_eq!(
        parse_expr("-9223372036854775809").unwrap_err().to_string(),
        "constant -9223372036854775809 underflows int64"
    );
}

/// Pieces of statements, so that random text gets past the first word.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "SELECT ",
        "FROM ",
        "WHERE ",
        "GROUP BY ",
        "time(",
        "fill(",
        "tz('",
        "INTO ",
        "SHOW ",
        "TAG ",
        "VALUES ",
        "WITH KEY ",
        "CREATE ",
        "CONTINUOUS QUERY ",
        "BEGIN ",
        "END",
        "ON ",
        "(",
        ")",
        ",",
        ".",
        "::",
        ":",
        ";",
        "*",
        "+",
        "-",
        "/",
        "%",
        "=~ ",
        "!~ ",
        "=",
        "<>",
        "<=",
        "AND ",
        "OR ",
        "'",
        "\"",
        "\\",
        "$p",
        "$r",
        "$",
        "1",
        "1.5",
        "10s",
        "5µ",
        ".5",
        "/a/",
        "/[/",
        "--",
        "/*",
        "*/",
        "\n",
        "\r\n",
        "\t",
        "é",
        "\0",
        "x ",
        "mean(",
        "distinct",
        "LIMIT ",
        "ORDER BY time ",
        "DESC ",
        "true ",
        "now() ",
        "9223372036854775808",
    ]);
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// Expressions of every kind, written out.
fn expr_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-z]{1,3}".prop_map(|name| format!("x{name}")),
        any::<i64>().prop_map(|value| value.to_string()),
        (-1e6..1e6f64).prop_map(|value| format!("{value:.4}")),
        "[ -~]{0,5}".prop_map(|text| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))),
        "[ -~é]{1,4}".prop_map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))),
        (1..1000u32).prop_map(|value| format!("{value}m")),
        Just("true".to_owned()),
        Just("now()".to_owned()),
    ];
    let op = prop::sample::select(vec!["+", "-", "*", "/", "%", "&", "|", "^", "=", "!=", "<", ">=", "AND", "OR"]);
    leaf.prop_recursive(5, 40, 3, move |inner| {
        prop_oneof![
            (inner.clone(), op.clone(), inner.clone()).prop_map(|(lhs, op, rhs)| format!("{lhs} {op} {rhs}")),
            inner.clone().prop_map(|inner| format!("({inner})")),
            inner.clone().prop_map(|inner| format!("-({inner})")),
            prop::collection::vec(inner, 0..3).prop_map(|args| format!("f({})", args.join(", "))),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), soup in soup()) {
        let params = Params::from_json(r#"{"p":"v","r":{"regex":"["}}"#).unwrap();
        for text in [String::from_utf8_lossy(&bytes).into_owned(), soup.clone(), format!("SELECT {soup}"),
                     format!("SELECT v FROM m WHERE {soup}"), format!("SELECT v FROM m GROUP BY {soup}")] {
            let _ = parse_expr(&text);
            let Ok(query) = parse_query(&text, &params) else { continue };
            for statement in &query.statements {
                let written = statement.to_string();
                if !written.contains("[REDACTED]") {
                    let again = parse_statement(&written);
                    prop_assert!(again.is_ok(), "{text:?} -> {written:?}: {}", again.unwrap_err());
                    prop_assert_eq!(again.unwrap().to_string(), written);
                }
                if let Statement::Select(select) = statement {
                    let _ = check(select);
                }
            }
        }
    }

    #[test]
    fn expressions_read_back_as_they_are_written(text in expr_text()) {
        let expr = parse_expr(&text).unwrap();
        let written = expr.to_string();
        let again = parse_expr(&written).unwrap();
        prop_assert_eq!(again.to_string(), written);
    }
}
