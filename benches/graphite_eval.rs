//! The render functions that graphite-web was slowest at, on one day in steps of ten seconds.
//! Parsing, two rounds of evaluation, a store that answers at once, and the answer's JSON; then parsing alone.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use rhythmite_graphite::answer::{Params, RenderOptions, render};
use rhythmite_graphite::{Fetch, FetchRequest, RawSeries, Result, run, target};
use std::hint::black_box;
use std::sync::Arc;

const STEP_S: i64 = 10;
const DAY_S: i64 = 86_400;
const NOW_S: i64 = 1_717_243_200;

/// Answers every fetch with the same number of series, a tenth of their values unknown.
struct Shelf(Vec<Arc<Vec<f64>>>);

impl Shelf {
    fn new(series: usize) -> Self {
        let points = 2 * DAY_S / STEP_S;
        let value =
            |s: i64, i: i64| if (s + i) % 10 == 0 { f64::NAN } else { ((s * 7919 + i * 104_729) % 1000) as f64 / 10.0 };
        Self((0..series as i64).map(|s| Arc::new((0..points).map(|i| value(s, i)).collect())).collect())
    }
}

impl Fetch for Shelf {
    fn fetch(&mut self, requests: &[FetchRequest]) -> Result<Vec<Vec<RawSeries>>> {
        let answer = |r: &FetchRequest| {
            let points = ((r.until_s - r.from_s) / STEP_S) as usize;
            let one = |(i, values): (usize, &Arc<Vec<f64>>)| RawSeries {
                name: format!("bench.host{i:04}.cpu"),
                tags: None,
                start_s: r.from_s + STEP_S,
                end_s: r.until_s + STEP_S,
                step_s: STEP_S,
                // A whole day is shared as it would be from a cache; other lengths are cut.
                values: if points == values.len() { values.clone() } else { Arc::new(values[..points].to_vec()) },
            };
            self.0.iter().enumerate().map(one).collect()
        };
        Ok(requests.iter().map(answer).collect())
    }
}

fn render_day(shelf: &mut Shelf, target: &str, extra: &[(&str, &str)]) -> usize {
    let mut params = vec![("target", target), ("format", "json"), ("from", "-1d")];
    params.extend(extra);
    let params: Vec<(String, String)> = params.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let options = RenderOptions::parse(Params(&params), NOW_S, &TimeZone::UTC).expect("parameters");
    let series = run(&options.request().expect("targets"), shelf, &|| Ok(())).expect("series");
    render::write(series, &options).expect("answer").body.len()
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("graphite_day");
    group.sample_size(20);
    for (name, series, target, extra) in [
        ("sum_100", 100, "sumSeries(bench.*.cpu)", &[][..]),
        ("sum_1000", 1000, "sumSeries(bench.*.cpu)", &[]),
        ("sum_1000_mdp_800", 1000, "sumSeries(bench.*.cpu)", &[("maxDataPoints", "800")]),
        ("plain_100_mdp_800", 100, "bench.*.cpu", &[("maxDataPoints", "800")]),
        ("moving_average_10_1h", 10, "movingAverage(bench.*.cpu,\"1h\")", &[]),
        ("json_plain_100", 100, "bench.*.cpu", &[]),
        ("moving_deviation_10_6h", 10, "movingWindow(bench.*.cpu,\"6h\",\"stddev\")", &[]),
        ("moving_median_10_6h", 10, "movingMedian(bench.*.cpu,\"6h\")", &[]),
        ("moving_median_10_5min", 10, "movingMedian(bench.*.cpu,\"5min\")", &[]),
        ("highest_average_100_10", 100, "highestAverage(bench.*.cpu,10)", &[]),
        ("summarize_100_1h", 100, "summarize(bench.*.cpu,\"1h\",\"max\")", &[]),
        ("per_second_100", 100, "sumSeries(perSecond(bench.*.cpu))", &[]),
    ] {
        let mut shelf = Shelf::new(series);
        group.throughput(Throughput::Elements(series as u64 * (DAY_S / STEP_S) as u64));
        group.bench_function(name, |b| b.iter(|| black_box(render_day(&mut shelf, target, extra))));
    }
    group.finish();
}

/// Targets as dashboards have them, and one that a template engine has unfolded.
fn parsing(c: &mut Criterion) {
    let hosts: Vec<String> = (0..1_000).map(|i| format!("scale(servers.web{i:04}.cpu.user,0.01)")).collect();
    let mut group = c.benchmark_group("graphite_parse");
    for (name, text) in [
        ("short", "aliasByNode(sumSeries(servers.web*.cpu.{user,system}),1)".to_owned()),
        ("nested", format!("{}a.b.c{}", "movingAverage(".repeat(40), ",\"5min\")".repeat(40))),
        ("thousand_arguments", format!("sumSeries({})", hosts.join(","))),
    ] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| target::parse(black_box(&text)).expect("well-formed")));
    }
    group.finish();
}

criterion_group!(all, benches, parsing);
criterion_main!(all);
