//! Every render function against answers of graphite-web 1.1.10, in `carbonapi.txt` against carbonapi's.
//!
//! A case in `data/*.txt` is a target, its range, what the store answers to each fetch, and the
//! series wanted: `name | start end step | values | tags`, a dash for an unknown value. The instant
//! that counts as now is the end of the range. A fetch that is not in the file fails the case. `error` in the place
//! of `want` is a target that the reference refuses or fails at: here it must be refused.
//!
//! `RHYTHMITE_VECTORS` may name a further file, to try vectors that are not in the tree.

use rhythmite_graphite::{Error, Fetch, FetchRequest, Query, RawSeries, Request, Result, Series, functions, run};
use std::collections::BTreeSet;
use std::sync::Arc;

const FILES: [(&str, &str); 12] = [
    ("alias", include_str!("data/alias.txt")),
    ("arguments", include_str!("data/arguments.txt")),
    ("calculate", include_str!("data/calculate.txt")),
    ("carbonapi", include_str!("data/carbonapi.txt")),
    ("combine", include_str!("data/combine.txt")),
    ("filter_data", include_str!("data/filter_data.txt")),
    ("filter_series", include_str!("data/filter_series.txt")),
    ("graph", include_str!("data/graph.txt")),
    ("own", include_str!("data/own.txt")),
    ("sorting", include_str!("data/sorting.txt")),
    ("special", include_str!("data/special.txt")),
    ("transform", include_str!("data/transform.txt")),
];

/// Relative to the value, and as a share of the series' largest value for those near zero.
const TOLERANCE: (f64, f64) = (1e-9, 1e-12);

/// Functions without a fixed answer.
const UNTESTED: [&str; 3] = ["events", "randomWalk", "randomWalkFunction"];

#[derive(Default)]
struct Case {
    target: String,
    range: (i64, i64),
    fetches: Vec<(String, Vec<RawSeries>)>,
    want: Vec<(RawSeries, String)>,
    error: bool,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut in_want = false;
    for line in text.lines() {
        let case: Option<&mut Case> = cases.last_mut();
        if let Some(target) = line.strip_prefix("target ") {
            cases.push(Case { target: target.to_owned(), ..Case::default() });
            in_want = false;
        } else if let (Some(case), Some(range)) = (case, line.strip_prefix("range ")) {
            case.range =
                range.split_once(' ').map(|(a, b)| (a.parse().expect(line), b.parse().expect(line))).expect(line);
        }
        let Some(case) = cases.last_mut() else { continue };
        if let Some(fetch) = line.strip_prefix("fetch ") {
            case.fetches.push((fetch.to_owned(), Vec::new()));
        } else if line == "want" {
            in_want = true;
        } else if line == "error" || line.starts_with("error ") {
            case.error = true;
        } else if let Some(row) = line.strip_prefix("  ") {
            let (series, tags) = series(row);
            match case.fetches.last_mut() {
                Some((_, answer)) if !in_want => answer.push(series),
                _ => case.want.push((series, tags)),
            }
        }
    }
    cases
}

fn series(row: &str) -> (RawSeries, String) {
    let fields: Vec<&str> = row.split(" | ").collect();
    let numbers: Vec<i64> = fields[1].split(' ').map(|n| n.parse().expect(row)).collect();
    let value = |text: &str| if text == "-" { f64::NAN } else { text.parse().expect(row) };
    let values = Arc::new(fields.get(2).map_or(Vec::new(), |v| v.split_whitespace().map(value).collect()));
    let (start_s, end_s, step_s) = (numbers[0], numbers[1], numbers[2]);
    let tags = fields.get(3).copied().unwrap_or_default().to_owned();
    (RawSeries { name: fields[0].to_owned(), tags: None, start_s, end_s, step_s, values }, tags)
}

impl Fetch for &Case {
    fn fetch(&mut self, requests: &[FetchRequest]) -> Result<Vec<Vec<RawSeries>>> {
        let answer = |r: &FetchRequest| {
            let query = match &r.query {
                Query::Path(path) => format!("path {path}"),
                Query::Tags(tags) => format!("tags {}", tags.join(" ")),
                Query::Events(_) => "events".to_owned(),
            };
            let asked = format!("{} {} {query}", r.from_s, r.until_s);
            let found = self.fetches.iter().find(|(fetch, _)| *fetch == asked);
            found.map(|(_, answer)| answer.clone()).ok_or_else(|| Error::internal(format!("unexpected fetch {asked}")))
        };
        requests.iter().map(answer).collect()
    }
}

/// What is wrong with a series, if anything.
fn difference(got: &Series, want: &RawSeries, tags: &str) -> Option<String> {
    let frame = |start: i64, end: i64, step: i64, n: usize| format!("{start} {end} {step}, {n} values");
    let (a, b) = (
        frame(got.start_s, got.end_s, got.step_s, got.values.len()),
        frame(want.start_s, want.end_s, want.step_s, want.values.len()),
    );
    if got.name != want.name || a != b {
        return Some(format!("{} {a}, expected {} {b}", got.name, want.name));
    }
    let top = want.values.iter().filter(|v| v.is_finite()).fold(0.0, |top: f64, v| top.max(v.abs()));
    for (i, (x, y)) in got.values.iter().zip(want.values.iter()).enumerate() {
        let room = (TOLERANCE.0 * x.abs().max(y.abs())).max(TOLERANCE.1 * top);
        if x.is_nan() != y.is_nan() || (x != y && (x - y).abs() > room) {
            return Some(format!("{}: value {i} is {x}, expected {y}", got.name));
        }
    }
    let shown: Vec<String> = got.tags.iter().filter(|(k, _)| *k != "name").map(|(k, v)| format!("{k}={v}")).collect();
    (shown.join(" ") != tags).then(|| format!("{}: tags {}, expected {tags}", got.name, shown.join(" ")))
}

fn check(mut case: &Case) -> std::result::Result<(), String> {
    let (from_s, until_s) = case.range;
    let got = Request::new(&[&case.target], from_s, until_s, until_s)
        .and_then(|request| run(&request, &mut case, &|| Ok(())));
    if case.error {
        return got.err().map(drop).ok_or_else(|| "an answer, expected an error".to_owned());
    }
    let got = got.map_err(|e| e.to_string())?;
    if got.len() != case.want.len() {
        let names: Vec<&str> = got.iter().map(|s| s.name.as_str()).collect();
        return Err(format!("{} series, expected {}: {}", got.len(), case.want.len(), names.join(", ")));
    }
    let differences = got.iter().zip(&case.want).filter_map(|(got, (want, tags))| difference(got, want, tags));
    let differences: Vec<String> = differences.collect();
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n    ")) }
}

#[test]
fn functions_answer_as_the_reference() {
    let mut failures = Vec::new();
    for (file, text) in FILES {
        let cases = cases(text);
        assert!(!cases.is_empty(), "{file} has cases");
        for case in cases {
            if let Err(e) = check(&case) {
                failures.push(format!("{file}: {}\n    {e}", case.target));
            }
        }
    }
    assert!(failures.is_empty(), "{} cases failed\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn vectors_from_elsewhere() {
    let Ok(path) = std::env::var("RHYTHMITE_VECTORS") else { return };
    let text = std::fs::read_to_string(&path).expect(&path);
    let cases = cases(&text);
    let failed = |case: &Case| check(case).err().map(|e| format!("{}\n    {e}", case.target));
    let failures: Vec<String> = cases.iter().filter_map(failed).collect();
    assert!(failures.is_empty(), "{} of {} failed\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn every_function_has_a_case() {
    let targets: String = FILES.iter().flat_map(|(_, text)| cases(text)).map(|c| c.target + "\n").collect();
    let called = |name: &str| targets.contains(&format!("{name}("));
    let untested: BTreeSet<&str> = functions::all().flat_map(|f| f.names).copied().filter(|n| !called(n)).collect();
    assert_eq!(untested, BTreeSet::from(UNTESTED));
}
