//! Whatever a request says, the answer is series or an error: no panic, no endless work.

use proptest::prelude::*;
use rhythmite_graphite::answer::find::FindOptions;
use rhythmite_graphite::answer::{Params, RenderOptions, render};
use rhythmite_graphite::{Fetch, FetchRequest, RawSeries, Request, Result, functions, glob, run, tags, target, time};
use std::sync::Arc;

const NOW: i64 = 1_717_243_200;

/// Series of different steps, lengths and oddities, whatever is asked.
struct Odd;

impl Fetch for Odd {
    fn fetch(&mut self, requests: &[FetchRequest]) -> Result<Vec<Vec<RawSeries>>> {
        let series = |name: &str, step_s: i64, values: Vec<f64>, from_s: i64| RawSeries {
            name: name.to_owned(),
            tags: None,
            start_s: from_s + step_s,
            end_s: from_s + step_s * (values.len() as i64 + 1),
            step_s,
            values: Arc::new(values),
        };
        let answer = |r: &FetchRequest| {
            vec![
                series("a.b.c", 10, vec![1.0, f64::NAN, -3.5, 0.0, f64::INFINITY, 1e300], r.from_s),
                series("a;k=v", 60, vec![f64::NAN], r.from_s),
                series("é(", 7, Vec::new(), r.from_s),
            ]
        };
        Ok(requests.iter().map(answer).collect())
    }
}

fn render(target: &str) {
    let Ok(request) = Request::new(&[target], NOW - 600, NOW, NOW) else { return };
    let Ok(series) = run(&request, &mut Odd) else { return };
    for (format, max) in [("json", "3"), ("json", "1"), ("dygraph", "")] {
        let params = [("format", format), ("maxDataPoints", max)].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let options =
            RenderOptions::parse(Params(&params), NOW, &jiff::tz::TimeZone::UTC).expect("harmless parameters");
        let _ = render::write(series.clone(), &options);
    }
}

#[test]
fn functions_take_any_arguments() {
    const ARGS: [&str; 22] = [
        "x.*",
        "group()",
        "map(x.*,0)",
        "0",
        "1",
        "-1",
        "3",
        "9223372036854775807",
        "-9223372036854775807",
        "1e308",
        "-0.5",
        "inf",
        "true",
        "none",
        "\"\"",
        "\"sum\"",
        "\"1min\"",
        "\"-1h\"",
        "\"999999999d\"",
        "\"é%s%d(\"",
        "\"(.*)\"",
        "\"19700101\"",
    ];
    for name in functions::all().map(|f| f.names[0]) {
        render(&format!("{name}()"));
        for a in ARGS {
            render(&format!("{name}({a})"));
            for b in ARGS {
                render(&format!("{name}({a},{b})"));
                render(&format!("{name}(x.*,{a},{b})"));
            }
        }
    }
}

#[test]
fn nested_time_shifts_end() {
    let nested = (0..60).fold("x.*".to_owned(), |inner, _| format!("movingAverage({inner},\"1min\")"));
    let request = Request::new(&[nested], NOW - 600, NOW, NOW).expect("well-formed");
    assert!(run(&request, &mut Odd).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn texts_are_read_or_refused(text in "\\PC{0,40}", near in "[a-z*?{}\\[\\]()|.,'\"\\\\=$;%0-9 \\-+:/~!é]{0,40}") {
        for text in [text, near] {
            let _ = target::parse(&text);
            let _ = target::parse_prefix(&text);
            let _ = time::parse_time(&text, &jiff::tz::TimeZone::UTC, NOW);
            let _ = time::parse_interval(&text);
            let _ = tags::TagExpr::parse(&text);
            if let Ok(pattern) = glob::split_pattern(&text) {
                let _ = glob::matches_path(&pattern, &text);
            }
            render(&text);
            let query = ["query", "format", "from", "position"].map(|k| (k.to_owned(), text.clone()));
            let _ = FindOptions::parse(Params(&query), NOW, &jiff::tz::TimeZone::UTC);
        }
    }

    #[test]
    fn a_literal_pattern_matches_itself(path in "[a-z0-9_:+-]{1,8}(\\.[a-z0-9_:+-]{1,8}){0,4}") {
        prop_assert!(glob::matches_path(&glob::split_pattern(&path).expect("literal"), &path));
    }
}
