use super::{ELSEWHERE_MAX, Request, run};
use crate::fetch::{Fetch, FetchRequest, Folded, Query, RawSeries};
use crate::glob;
use crate::series::{AggFunc, Fold};
use crate::tags::parse_query;
use crate::{Result, Series};
use std::sync::Arc;

/// A store of `name -> values` with a step of ten seconds, all starting at 0. It keeps count.
struct Shelf {
    series: Vec<(&'static str, Vec<f64>)>,
    asked: Vec<Vec<FetchRequest>>,
}

impl Shelf {
    fn new() -> Self {
        let series =
            vec![("a.x", vec![1.0, 2.0, 3.0]), ("a.y", vec![10.0, 20.0, 30.0]), ("d;k=v", vec![5.0, 5.0, 5.0])];
        Self { series, asked: Vec::new() }
    }
}

impl Fetch for Shelf {
    fn fetch(&mut self, requests: &[FetchRequest]) -> Result<Vec<Vec<RawSeries>>> {
        self.asked.push(requests.to_vec());
        let holds = |query: &Query, name: &str| -> Result<bool> {
            match query {
                Query::Path(p) => Ok(glob::matches_path(&glob::split_pattern(p)?, name)),
                Query::Tags(t) => {
                    let tags = crate::series::Tags::of_name(name);
                    let mut all = true;
                    for expr in parse_query(t)? {
                        all &= expr.holds(tags.get(&expr.tag).unwrap_or_default())?;
                    }
                    Ok(all)
                }
                Query::Events(_) => Ok(false),
            }
        };
        let mut answers = Vec::new();
        for request in requests {
            let mut found = Vec::new();
            for (name, values) in self.series.iter().rev() {
                if holds(&request.query, name)? {
                    let values = Arc::new(values.clone());
                    found.push(RawSeries {
                        name: (*name).into(),
                        tags: None,
                        start_s: 0,
                        end_s: 30,
                        step_s: 10,
                        values,
                    });
                }
            }
            answers.push(found);
        }
        Ok(answers)
    }
}

fn request(targets: &[&str]) -> Request {
    Request::new(targets, 0, 30, 30).expect("targets parse")
}

fn show(series: &[Series]) -> String {
    series.iter().map(|s| format!("{}={:?}", s.name, s.values)).collect::<Vec<_>>().join(" ")
}

fn check(target: &str, want: &str) {
    let got = run(&request(&[target]), &mut Shelf::new(), &|| Ok(())).map(|s| show(&s)).map_err(|e| e.to_string());
    match got {
        Ok(got) => assert_eq!(got, want, "{target}"),
        Err(got) => assert_eq!(format!("error: {got}"), format!("{want}; target: {target}"), "{target}"),
    }
}

#[test]
fn expressions_become_series() {
    check("a.*", "a.x=[1.0, 2.0, 3.0] a.y=[10.0, 20.0, 30.0]");
    check("nothing", "");
    check("sumSeries(a.*)|alias(\"s\")", "s=[11.0, 22.0, 33.0]");
    check("seriesByTag('k=v')", "d;k=v=[5.0, 5.0, 5.0]");
    check("sumSeries(seriesByTag('k=v'))", "sumSeries(seriesByTag('k=v'))=[5.0, 5.0, 5.0]");
    check("template(sumSeries(a.$n),n=\"x\")", "sumSeries(a.x)=[1.0, 2.0, 3.0]");
    check("template(limit(a.*,$1),1)", "a.x=[1.0, 2.0, 3.0]");
    check("template(limit(a.*,$n),n=\"1\")", "error: limit(): argument n must be a whole number, not 1.0");
}

#[test]
fn errors_name_function_and_target() {
    check("nosuch(a.x)", "error: Received request for unknown function: nosuch");
    check("alias(a.x)", "error: alias(): missing argument newName");
    check("alias(a.x,\"a\",\"b\")", "error: alias(): too many arguments, at most 2 are taken");
    check("alias(a.x,name=\"a\")", "error: alias(): unexpected argument name");
    check("alias(a.x,\"b\",newName=\"a\")", "error: alias(): argument newName is given twice");
    check("alias(5,\"x\")", "error: alias(): argument seriesList must be a list of series, not 5");
    check("sumSeries(alias(a.x,1))", "error: alias(): argument newName must be a quoted text, not 1");
    check("map(a.*,1)", "error: a list of lists of series is not a list of series");
    check("seriesByTag('k!=v')", "error: At least one tagspec must require a non-empty value");
}

#[test]
fn template_parameters_of_the_request_win() {
    let mut request = request(&["template(a.$n,n=\"x\")"]);
    request.template = vec![("n".into(), "y".into())];
    assert_eq!(show(&run(&request, &mut Shelf::new(), &|| Ok(())).expect("ok")), "a.y=[10.0, 20.0, 30.0]");
}

#[test]
fn each_distinct_fetch_is_asked_once_and_together() {
    let mut shelf = Shelf::new();
    let targets = ["sumSeries(a.x,a.y)", "a.x", "divideSeries(a.x,a.y)"];
    run(&request(&targets), &mut shelf, &|| Ok(())).expect("ok");
    assert_eq!(shelf.asked.iter().map(Vec::len).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_round_asks_for_all_that_is_missing() {
    let mut shelf = Shelf::new();
    run(&request(&["a.x", "sumSeries(b.*)"]), &mut shelf, &|| Ok(())).expect("ok");
    let queries: Vec<_> = shelf.asked.concat().into_iter().map(|r| r.query).collect();
    assert_eq!(queries, [Query::Path("a.x".into()), Query::Path("b.*".into())]);
}

/// A store that folds, and keeps count of that.
struct Folding(Shelf, usize);

impl Fetch for Folding {
    fn fetch(&mut self, requests: &[FetchRequest]) -> Result<Vec<Vec<RawSeries>>> {
        self.0.fetch(requests)
    }

    fn fold(&mut self, request: &FetchRequest, func: AggFunc) -> Result<Option<Folded>> {
        self.1 += 1;
        let mut found = self.0.fetch(std::slice::from_ref(request))?.remove(0);
        self.0.asked.pop();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let mut fold = Fold::new(func, 3).expect("what cannot be folded is not asked for");
        found.iter().for_each(|s| fold.add(&[s.values.as_slice()]));
        let names = found.into_iter().map(|s| s.name).collect();
        Ok(Some(Folded { names, start_s: 0, end_s: 30, step_s: 10, fold }))
    }
}

#[test]
fn the_store_folds_what_only_an_aggregate_is_wanted_of() {
    for (targets, folds, fetches) in [
        (&["sumSeries(a.*)"][..], 1, 0),
        (&["sumSeries(a.*)", "scale(sum(a.*),2)"], 1, 0),
        (&["sumSeries(a.*)", "sumSeries(d*)"], 2, 0),
        (&["a.*|averageSeries()|alias('b')"], 1, 0),
        (&["maxSeries(seriesByTag('name=~[ad].*'))"], 1, 0),
        (&["minSeries(a.*)", "minSeries(nothing)"], 2, 0),
        (&["template(rangeOfSeries($n.*),n='a')", "diffSeries(a.*)"], 0, 1),
        (&["movingSum(sumSeries(a.*),2)"], 2, 0),
        (&["setXFilesFactor(sumSeries(a.*),1)"], 1, 0),
        // More than one thing is wanted of the series.
        (&["sumSeries(a.*)", "a.*"], 0, 1),
        (&["a.*", "sumSeries(a.*)"], 0, 1),
        (&["sumSeries(a.*)", "averageSeries(a.*)", "sumSeries(a.*)"], 0, 1),
        (&["timeShift(sumSeries(a.*),'1d')", "sumSeries(a.*)"], 2, 0),
        // They do not go column by column, or over one pattern.
        (&["stddevSeries(a.*)"], 0, 1),
        (&["sumSeries(a.*,d*)"], 0, 2),
        (&["sumSeries(scale(a.*,2))"], 0, 1),
        (&["multiplySeries(a.x)"], 0, 1),
        (&["countSeries(a.*)"], 0, 1),
    ] {
        let series = |store: &mut dyn Fetch| run(&request(targets), store, &|| Ok(())).expect("an answer");
        let mut folding = Folding(Shelf::new(), 0);
        let got = series(&mut folding);
        assert_eq!(format!("{got:?}"), format!("{:?}", series(&mut Shelf::new())), "{targets:?}");
        assert_eq!((folding.1, folding.0.asked.concat().len()), (folds, fetches), "{targets:?}");
    }
}

#[test]
fn blank_targets_and_empty_ranges() {
    assert_eq!(show(&run(&request(&["", "  "]), &mut Shelf::new(), &|| Ok(())).expect("ok")), "");
    assert!(Request::new(&["a"], 5, 5, 5).is_err());
    assert!(Request::new(&["a("], 0, 5, 5).is_err());
}

#[test]
fn points_are_counted_over_the_whole_request() {
    let check = |targets: &[&str], points_max: usize, fits: bool| {
        let request = Request { points_max, ..Request::new(targets, 0, 60, 60).expect("well-formed") };
        match run(&request, &mut Shelf::new(), &|| Ok(())) {
            Ok(_) => assert!(fits, "{targets:?} fit in {points_max}"),
            Err(e) => {
                let limit = format!("more than {points_max} points");
                assert!(!fits && e.message().contains(&limit), "{targets:?} {points_max}: {e}");
                assert!(targets.iter().any(|t| e.message().ends_with(&format!("; target: {t}"))), "{e}");
            }
        }
    };
    for (targets, points) in [
        // Made up: what stays is what counts, until the end of the request.
        (&["time('a',1)"][..], 60),
        (&["time('a',1)", "sin('b',1,1)", "randomWalk('c',1)"], 180),
        (&["limit(group(time('a',1),time('b',1)),0)"], 120),
        (&["limit(time('a',1),0)", "limit(time('b',1),0)"], 60),
        (&["events('*')"], 60),
        (&["summarize(time('a',20),'1s')"], 3 + 61),
        // Fetched, once however often it is used; copies count beside it.
        (&["alias(a.x,'b')", "alias(a.x,'c')"], 3),
        (&["scale(a.x,2)"], 6),
        (&["constantLine(1)"], 3),
    ] {
        check(targets, points, true);
        check(targets, points - 1, false);
    }
}

#[test]
fn series_and_names_take_room() {
    let (long, part) = ("n".repeat(100_000), "x".repeat(1_000));
    let many = |n: usize, f: &dyn Fn(usize) -> String| (0..n).map(f).collect::<Vec<_>>().join(",");
    for (target, fits) in [
        // As often as it likes within sixty-four megabytes of four hundred bytes each.
        (format!("group({})", many(40_000, &|_| "a.x".to_owned())), true),
        // A long name for each of many.
        (format!("alias(group({}),'{part}')", many(10_000, &|_| "a.x".to_owned())), true),
        (format!("alias(group({}),'{long}')", many(1_000, &|_| "a.x".to_owned())), false),
        (format!("divideSeries(group({}),alias(a.x,'{long}'))", many(1_000, &|_| "a.x".to_owned())), false),
        (format!("applyByNode(alias(a.x,'{long}'),0,'{}')", "%".repeat(1_000)), false),
        (format!("aliasSub(alias(a.x,'{long}'),'n','{part}')"), false),
        (format!("template({}.x,a='{long}')", "$a".repeat(1_000)), false),
    ] {
        let request = Request { points_max: 1_000, ..Request::new(&[&target], 0, 60, 60).expect("well-formed") };
        let got = run(&request, &mut Shelf::new(), &|| Ok(()));
        let shown = &target[..target.len().min(60)];
        assert_eq!(got.is_ok(), fits, "{shown}: {:?}", got.err());
    }
}

#[test]
fn a_request_that_is_given_up_runs_no_further_function() {
    let calls = std::cell::Cell::new(0);
    let go_on = || {
        calls.set(calls.get() + 1);
        if calls.get() < 3 { Ok(()) } else { Err(crate::Error::unavailable("nobody waits")) }
    };
    let targets = ["scale(time('a'),2)", "time('b')", "time('c')"];
    let e = run(&request(&targets), &mut Shelf::new(), &go_on).expect_err("given up");
    assert_eq!((e.kind(), calls.get()), (crate::ErrorKind::Unavailable, 3), "{e}");
}

#[test]
fn work_is_refused_before_it_is_done() {
    let nested = |levels: usize, step: usize| {
        (0..levels).fold("a.x".to_owned(), |inner, i| format!("movingAverage({inner},\"{}s\")", 10 + i * step))
    };
    let many = |n: usize, arg: &str| vec![arg; n].join(",");
    for (target, want) in [
        (nested(ELSEWHERE_MAX, 0), None),
        (nested(ELSEWHERE_MAX, 10), None),
        (nested(ELSEWHERE_MAX + 1, 0), Some("more than 10 functions that look at another range are nested")),
        (nested(60, 10), Some("more than 10 functions")),
        // Each level of shifts asks for all levels within.
        ("timeStack(timeStack(time('x'),'1min',0,400),'1min',0,400)".to_owned(), Some("more than 100000 calls")),
        ("timeStack(time('x',1),'1d',0,10000)".to_owned(), Some("would hold more than 500000 points")),
        (
            format!("aliasByNode(group({}),{})", many(2_000, "a.x"), many(40_000, "0")),
            Some("bytes of series and names"),
        ),
        (format!("sumSeriesWithWildcards(group({}),{})", many(9_000, "a.x"), many(40_000, "1")), Some("names at once")),
    ] {
        let request = Request { points_max: 500_000, ..Request::new(&[&target], 0, 60, 60).expect("well-formed") };
        let got = run(&request, &mut Shelf::new(), &|| Ok(())).err();
        let shown = &target[..target.len().min(60)];
        match want {
            None => assert!(got.is_none(), "{shown}: {got:?}"),
            Some(want) => assert!(got.as_ref().is_some_and(|e| e.message().contains(want)), "{shown}: {got:?}"),
        }
    }
}

#[test]
fn points_that_are_worked_on_again_and_again_are_too_many() {
    let target = format!("time('x',1){}", "|absolute()".repeat(100));
    let run = |points_max: usize, seconds: i64| {
        let request = Request { points_max, ..Request::new(&[&target], 0, seconds, seconds).expect("well-formed") };
        run(&request, &mut Shelf::new(), &|| Ok(()))
    };
    assert!(run(1_000, 1_000).is_ok());
    let e = run(1_000_000, 200_000).expect_err("two hundred passes over two hundred thousand points");
    assert!(e.message().contains("works on more than 20000000 points"), "{e}");
}
