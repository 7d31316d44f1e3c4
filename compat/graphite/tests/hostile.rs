//! Whatever a request says, the answer is series or an error: no panic, no endless work.

mod odd;

use odd::{NOW, Odd, render};
use proptest::prelude::*;
use rhythmite_graphite::answer::Params;
use rhythmite_graphite::answer::find::FindOptions;
use rhythmite_graphite::{Request, functions, glob, run, tags, target, time};

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
    assert!(run(&request, &mut Odd, &|| Ok(())).is_err());
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
