//! Display lists, option by option: what each changes in the same small picture, as `- line` and `+ line` of its text, or
//! the whole new list as `= line` where little stays.
//!
//! The expected differences lie in `tests/data/draw.txt`. When a change of the lay-out is meant, run the tests with
//! `DRAW_BLESS=1`, which writes the file anew, and read what `git diff` shows.

use super::*;
use crate::answer::{Params, RenderOptions};
use crate::series::Look;
use jiff::tz::TimeZone;

/// Saturday, 2024-06-01 12:00:00 UTC.
const NOW_S: i64 = 1_717_243_200;
const NAN: f64 = f64::NAN;

fn parse(query: &str) -> Result<(RenderOptions, DrawOptions)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (name.to_owned(), value.replace("\\n", "\n"))
    };
    let pairs: Vec<_> = query.split('&').filter(|p| !p.is_empty()).map(pair).collect();
    let render = RenderOptions::parse(Params(&pairs), NOW_S, &TimeZone::UTC)?;
    let options = DrawOptions::parse(Params(&pairs), &render)?;
    Ok((render, options))
}

/// A series of the last minutes, a value a minute.
fn series(name: &str, values: &[f64]) -> Series {
    let start_s = NOW_S - values.len() as i64 * 60;
    Series::new(name, start_s, NOW_S, 60, values.to_vec())
}

/// The series that options are tried on: one with a gap and a lonely point, and one that is whole.
fn two() -> Vec<Series> {
    vec![series("a.b", &[1.0, 2.0, NAN, 4.0, NAN, 3.0, 2.0]), series("c", &[5.0, 4.0, 4.0, 6.0, 5.0, 5.0, 4.5])]
}

/// The same with looks for both.
fn looks(first: Look, second: Look) -> Vec<Series> {
    two().into_iter().zip([first, second]).map(|(s, look)| Series { look, ..s }).collect()
}

fn list(series: Vec<Series>, query: &str) -> String {
    let (_, options) = parse(query).unwrap();
    lay_out(series, &options, &|| Ok(())).unwrap().to_string()
}

/// Lines that only one of two texts has, in order: a longest common subsequence stays.
fn diff(before: &str, after: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let mut common = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, String::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || i < a.len() && common[i + 1][j] >= common[i][j + 1] {
            out.push_str(&format!("- {}\n", a[i]));
            i += 1;
        } else {
            out.push_str(&format!("+ {}\n", b[j]));
            j += 1;
        }
    }
    out
}

type Case = (&'static str, Vec<Series>, &'static str);

const SMALL: &str = "width=200&height=120&hideLegend=true&hideXAxis=true";

/// What is drawn, and how.
fn cases() -> Vec<Case> {
    let color = |c: &str| Look { color: Some(c.to_owned()), ..Look::default() };
    let plain = Look::default;
    let second = || Look { second_y_axis: true, ..Look::default() };
    let stacked = || Look { stacked: true, ..Look::default() };
    let on_query = |query: &'static str| ("", two(), query);
    let mut cases: Vec<Case> = [
        "lineMode=staircase",
        "lineMode=connected",
        "lineMode=connected&connectedLimit=0",
        "lineWidth=3",
        "lineWidth=-1",
        "areaMode=first",
        "areaMode=all",
        "areaMode=stacked",
        "areaMode=all&areaAlpha=0.5",
        "areaAlpha=0.5",
        "drawNullAsZero=true",
        "hideAxes=true",
        "hideYAxis=true",
        "hideGrid=true",
        "graphOnly=true",
        "yAxisSide=right",
        "yMin=0&yMax=10",
        "yStep=1",
        "yDivisors=2",
        "logBase=2",
        "minorY=0",
        "minorY=3",
        "margin=0",
        "bgcolor=black&fgcolor=white",
        "bgcolor=transparent",
        "majorGridLineColor=red&minorGridLineColor=blue",
        "colorList=red,00ff0080",
        "template=noc",
        "fontSize=14&fontBold=true&fontItalic=true&fontName=Courier",
        "title=Two\\nlines",
        "vtitle=side",
        "vtitleRight=is for two axes",
        "minXStep=60",
        "leftColor=red&leftWidth=5&leftDashed=true",
        "graphType=pie",
        "graphType=pie&pieMode=maximum&valueLabels=number",
        "graphType=pie&pieMode=minimum&pieLabels=rotated&valueLabelsColor=white",
        "graphType=pie&valueLabels=none",
        "graphType=pie&valueLabelsMin=50",
    ]
    .map(on_query)
    .into();
    cases.extend([
        ("color", looks(color("red"), color("#123456")), ""),
        ("a colour is taken from the list only when it is needed", looks(color("red"), plain()), ""),
        ("alpha", looks(Look { alpha: Some(0.5), ..plain() }, plain()), "areaMode=first"),
        (
            "lineWidth, dashed",
            looks(Look { line_width: Some(3.0), ..plain() }, Look { dashed: Some(2.0), ..plain() }),
            "",
        ),
        ("stacked", looks(plain(), stacked()), ""),
        ("areaBetween", looks(Look { invisible: true, ..stacked() }, stacked()), ""),
        ("drawAsInfinite", looks(plain(), Look { draw_as_infinite: true, ..plain() }), ""),
        ("secondYAxis", looks(plain(), second()), "vtitle=left&vtitleRight=right"),
        (
            "secondYAxis",
            looks(plain(), second()),
            "leftColor=red&rightColor=blue&leftWidth=2&rightWidth=3&rightDashed=true",
        ),
        ("secondYAxis", looks(plain(), second()), "yMin=3&yMinLeft=0&yMaxLeft=10&yMaxRight=8&yStepRight=1"),
        ("no series", Vec::new(), ""),
        ("no series", Vec::new(), "title=Nothing&graphType=pie"),
        ("no known point", vec![series("a", &[NAN, NAN, NAN])], ""),
        ("one point", vec![series("a", &[5.0])], ""),
        ("infinite and huge values", vec![series("a", &[1.0, f64::INFINITY, 1e308, f64::NEG_INFINITY, 2.0])], "yMax=3"),
    ]);
    cases
}

/// Legends and times, which the other cases leave out.
fn below() -> Vec<Case> {
    let names = |n: usize| (0..n).map(|i| series(&format!("series.{i}"), &[i as f64, 1.0])).collect::<Vec<_>>();
    let second = |mut all: Vec<Series>| {
        all.iter_mut().skip(1).for_each(|s| s.look.second_y_axis = true);
        all
    };
    vec![
        ("", two(), "hideLegend=true"),
        ("", two(), "hideXAxis=true"),
        ("", two(), "xFormat=at %H"),
        ("", two(), "tz=Asia/Kolkata"),
        ("columns", names(5), ""),
        ("more than ten", names(11), ""),
        ("more than there is room for", names(30), "hideLegend=false"),
        ("one name", vec![series("a", &[1.0]), series("a", &[2.0])], "uniqueLegend=true"),
        ("a long name", vec![series(&"long.".repeat(20), &[1.0])], ""),
        ("unknown", vec![series("known", &[1.0]), series("unknown", &[NAN])], "hideNullFromLegend=true"),
        (
            "unknown",
            vec![series("known", &[1.0]), series("unknown", &[NAN])],
            "drawNullAsZero=true&hideNullFromLegend=true",
        ),
        ("two axes", second(names(4)), ""),
        ("a pie", names(3), "graphType=pie"),
    ]
}

#[test]
fn every_option_changes_the_picture_as_it_should() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/draw.txt");
    let mut got = String::new();
    for (base, cases) in [(SMALL, cases()), ("width=300&height=150", below())] {
        let before = list(two(), base);
        got.push_str(&format!("== {base}\n{before}\n"));
        for (what, series, query) in cases {
            let after = list(series, &format!("{base}&{query}"));
            let changes = diff(&before, &after);
            // Whichever is shorter to read.
            let all = || after.lines().map(|line| format!("= {line}\n")).collect::<String>();
            let shown = if changes.lines().count() > after.lines().count() { all() } else { changes };
            let name = [what, query].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
            got.push_str(&format!("== {name}\n{shown}\n"));
        }
    }
    if std::env::var_os("DRAW_BLESS").is_some() {
        std::fs::write(file, &got).unwrap();
    }
    let want = std::fs::read_to_string(file).unwrap();
    let changed = diff(&want, &got);
    assert!(changed.is_empty(), "{changed}");
}

#[test]
fn bad_options_are_refused() {
    for (query, want) in [
        ("width=0", "width must be 1 to 20000"),
        ("width=-5", "width must be 1 to 20000"),
        ("height=20001", "height must be 1 to 20000"),
        ("width=5000&height=5000", "width times height is more than 10000000 pixels"),
        ("width=abc", "width: 'abc' is not a number"),
        ("width=inf", "width: 'inf' is not a number"),
        ("margin=nan", "margin: 'nan' is not a number"),
        ("bgcolor=blurple", "bgcolor: Invalid color 'blurple'"),
        ("colorList=red,nope", "colorList: Invalid color 'nope'"),
        ("fontSize=0", "fontSize must be 1 to 200"),
        ("fontSize=1e9", "fontSize must be 1 to 200"),
        ("lineMode=curved", "lineMode: 'curved' is none of slope, staircase, connected"),
        ("areaMode=x", "areaMode: 'x' is none of none, first, all, stacked"),
        ("valueLabels=x", "valueLabels: 'x' is none of none, number, numbers, percent"),
        ("yStep=0", "yStep must be more than 0"),
        ("yMin=low", "yMin: 'low' is not a number"),
        ("logBase=1", "logBase must be at least 1.1"),
        ("logBase=x", "logBase: 'x' is not a number"),
        ("yDivisors=4,0", "yDivisors: '0' is not a number from 1 to 1000"),
        ("lineWidth=1001", "lineWidth must be at most 1000"),
        ("margin=125", "a margin of 125 leaves no room"),
        ("colorList=,red", "colorList: Invalid color ''"),
        ("yMin=2&yMax=2", "yMin must be less than yMax"),
        ("tz=Mars", "tz: 'Mars' is no zone"),
        ("minorY=x", "minorY: 'x' is not a number"),
        ("pieMode=median", "Function \"median\" not found"),
        ("graphType=bar", "Invalid graphType 'bar', must be one of line, pie"),
    ] {
        let got = parse(query).map(|_| ()).unwrap_err();
        assert_eq!(got.message(), want, "{query}");
    }
    // These fall back to the default, as nothing and `default` do.
    for query in [
        "template=x",
        "yUnitSystem=x",
        "fontName=x",
        "width=&height=default&bgcolor=",
        "title=",
        "pieLabels=x&pieMode=",
        "yAxisSide=x",
        "areaAlpha=x",
        "logBase=0.5",
        "yMinLeft=x&leftColor=x&rightWidth=x&yStepRight=-1",
        "connectedLimit=-1&thickness=3&min=0&max=9",
    ] {
        assert_eq!(list(two(), query), list(two(), ""), "{query}");
    }
}

#[test]
fn options_of_two_axes_are_checked_when_there_are_two() {
    let mut all = two();
    all[1].look.second_y_axis = true;
    for (query, want) in [
        ("leftColor=zz", "leftColor: Invalid color 'zz'"),
        ("yMinRight=low", "yMinRight: 'low' is not a number"),
        ("yMinLeft=3&yMaxLeft=2", "yMinLeft must be less than yMaxLeft"),
        ("yStepRight=0", "yStepRight must be more than 0"),
    ] {
        let (_, options) = parse(query).unwrap();
        assert_eq!(lay_out(all.clone(), &options, &|| Ok(())).unwrap_err().message(), want, "{query}");
    }
}

/// A store that says when it is asked.
struct Nothing;

impl crate::Fetch for Nothing {
    fn fetch(&mut self, _: &[crate::FetchRequest]) -> crate::Result<Vec<Vec<crate::RawSeries>>> {
        Err(crate::Error::not_found("fetched"))
    }
}

#[test]
fn a_pie_takes_numbers_for_targets() {
    let slices = |target: &str| {
        let (render, options) = parse(&format!("graphType=pie&target={target}"))?;
        let series = crate::run(&render.request()?, &mut Nothing, &|| Ok(()))?;
        lay_out(series, &options, &|| Ok(())).map(|list| list.to_string())
    };
    let pie = slices("a b:5&target=c:1.5e1").unwrap();
    assert!(pie.contains("text \"a b\"") && pie.contains("text \"25.00%\""), "{pie}");
    for fetched in ["a.b", "alias(a,'x:5')"] {
        assert_eq!(slices(fetched).unwrap_err().message(), "fetched");
    }
    assert_eq!(slices("a:b").unwrap_err().message(), "Invalid target 'a:b': expected name:number");
    let (render, _) = parse("target=a:5").unwrap();
    let e = crate::run(&render.request().unwrap(), &mut Nothing, &|| Ok(())).unwrap_err();
    assert_eq!(e.message(), "fetched");
}

#[test]
fn functions_colours_are_checked() {
    let mut one = two();
    one[0].look.color = Some("nope".to_owned());
    for query in ["", "graphType=pie"] {
        let (_, options) = parse(query).unwrap();
        let e = lay_out(one.clone(), &options, &|| Ok(())).unwrap_err();
        assert_eq!(e.message(), "Invalid color 'nope'");
    }
}

#[test]
fn limits_and_giving_up() {
    let (_, options) = parse("minXStep=0").unwrap();
    let many = vec![Series::new("a", 0, 1_000_000, 1, vec![1.0; 1_000_000]); 6];
    let e = lay_out(many.clone(), &options, &|| Ok(())).unwrap_err();
    assert_eq!(e.message(), "a picture has at most 5000000 points; ask for fewer series");
    let (_, options) = parse("").unwrap();
    assert!(lay_out(many, &options, &|| Ok(())).is_ok());

    let (_, options) = parse("areaMode=all&areaAlpha=0.5").unwrap();
    let e = lay_out(vec![series("a", &[1.0, 2.0]); 201], &options, &|| Ok(())).unwrap_err();
    assert_eq!(e.message(), "a picture has at most 200 areas that show through");

    let (_, options) = parse("areaMode=stacked").unwrap();
    let apart = vec![Series::new("a", 0, 10, 1, vec![1.0]), Series::new("b", 1 << 40, (1 << 40) + 10, 1, vec![1.0])];
    assert!(lay_out(apart, &options, &|| Ok(())).is_err());

    let gone = || Err(Error::invalid("gone"));
    let (render, options) = parse("format=png").unwrap();
    assert_eq!(draw(two(), &options, render.format, None, &gone).unwrap_err().message(), "gone");
}

#[test]
fn points_closer_than_a_pixel_are_merged_in_the_series_own_way() {
    let values: Vec<f64> = (0..1_000).map(|i| if i % 10 == 0 { 100.0 } else { 0.0 }).collect();
    let top = |consolidation: &str| {
        let mut s = series("a", &values);
        s.consolidation = crate::series::Consolidation::named(consolidation);
        list(vec![s], "width=150&hideLegend=true&yUnitSystem=none")
            .lines()
            .filter_map(|l| l.strip_prefix("text \"")?.split('"').next()?.parse::<f64>().ok())
            .fold(0.0, f64::max)
    };
    assert_eq!((top("max"), top("min"), top("average")), (100.0, 1.0, 15.0));
    let mut bad = series("a", &values);
    bad.consolidation = crate::series::Consolidation::named("nope");
    let (_, options) = parse("width=150").unwrap();
    assert!(lay_out(vec![bad], &options, &|| Ok(())).is_err());
}

#[test]
fn stacks_of_different_steps_stand_on_each_other_in_time() {
    let fine = Series::new("fine", 0, 240, 60, vec![1.0, 3.0, 1.0, 3.0]);
    let coarse = Series::new("coarse", 0, 240, 120, vec![10.0, 20.0]);
    let late = Series::new("late", 120, 240, 120, vec![100.0]);
    let list = list(vec![fine, coarse, late], "areaMode=stacked&graphOnly=true&width=100&height=100&yMin=0&yMax=130");
    // Every two minutes: 2 and 2; 12 and 22; nothing, and 122. The topmost is painted first.
    let fills: Vec<&str> =
        list.lines().filter_map(|l| l.strip_prefix("fill #")?.split_once(' ')).map(|f| f.1).collect();
    let want = [
        "M65.7,6.2 L67.7,6.2 L67.7,100 L65.7,100Z",
        "M0,90.8 L66.7,83.1 L66.7,100 L0,100Z",
        "M0,98.5 L66.7,98.5 L66.7,100 L0,100Z",
    ];
    assert_eq!(fills[1..], want);
}

#[test]
fn labels_that_are_not_shown_need_no_room() {
    // With room for labels the axis goes from 38 to 66 in four steps of ten; in this height for two labels only.
    let wave = || vec![series("a", &[38.0, 50.0, 66.0, 60.0])];
    for query in
        ["graphOnly=true&width=100&height=40", "hideYAxis=true&hideXAxis=true&hideLegend=true&margin=1&height=42"]
    {
        let list = list(wave(), query);
        let stroke = list.lines().find(|l| l.contains(" L") && l.starts_with("stroke #6464ff")).expect("the line");
        let ys = stroke
            .split(['M', 'L'])
            .skip(1)
            .filter_map(|p| p.trim().split_once(',')?.1.split(' ').next()?.parse().ok());
        let ys: Vec<f64> = ys.collect();
        assert!((ys[0] - ys[2] - 28.0).abs() < 0.5, "{query}: {ys:?} in {stroke}");
    }
}

#[test]
fn a_series_that_ends_before_it_begins_does_not_widen_the_graph() {
    let forecast = Series::new("f", NOW_S + 4 * 86_400, NOW_S, 60, vec![NAN]);
    let with = |more: Vec<Series>| list(two().into_iter().chain(more).collect(), "hideLegend=true");
    assert_eq!(with(vec![forecast]), with(Vec::new()));
}
