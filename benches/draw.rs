//! A picture of 1000 x 600 px with twenty series of a day, a point a minute: lay-out alone, and each format whole.

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use rhythmite_graphite::Series;
use rhythmite_graphite::answer::{Params, RenderOptions};
use rhythmite_graphite::draw::{self, DrawOptions};
use std::hint::black_box;

const SERIES: i64 = 20;
const POINTS: i64 = 1_440;
const STEP_S: i64 = 60;
const NOW_S: i64 = 1_717_243_200;

fn series() -> Vec<Series> {
    let start_s = NOW_S - POINTS * STEP_S;
    let one = |s: i64| {
        let noise = |i: i64| ((s * 7_919 + i * 104_729) % 1_000) as f64 / 100.0;
        let value = |i: i64| if i % 251 == 0 { f64::NAN } else { s as f64 * 10.0 + noise(i) };
        Series::new(format!("bench.host{s:04}.cpu"), start_s, NOW_S, STEP_S, (0..POINTS).map(value).collect())
    };
    (0..SERIES).map(one).collect()
}

fn benches(c: &mut Criterion) {
    let series = series();
    let mut group = c.benchmark_group("draw_20x1440");
    group.sample_size(20);
    for (name, query) in [
        ("png_lines", "format=png"),
        ("png_stacked", "format=png&areaMode=stacked"),
        ("png_stacked_alpha", "format=png&areaMode=stacked&areaAlpha=0.5"),
        ("svg_lines", "format=svg"),
        ("pdf_lines", "format=pdf"),
    ] {
        let pair = |part: &str| part.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        let all = format!("width=1000&height=600&hideLegend=false&title=Twenty&{query}");
        let params: Vec<(String, String)> = all.split('&').filter_map(pair).collect();
        let render = RenderOptions::parse(Params(&params), NOW_S, &TimeZone::UTC).expect("parameters");
        let options = DrawOptions::parse(Params(&params), &render).expect("options");
        group.bench_function(name, |b| {
            b.iter(|| {
                let answer = draw::draw(series.clone(), &options, render.format, None, &|| Ok(()));
                black_box(answer.expect("a picture").body.len())
            });
        });
        if name == "png_lines" {
            group.bench_function("lay_out", |b| {
                b.iter(|| {
                    let list = draw::lay_out(series.clone(), &options, &|| Ok(()));
                    black_box(list.expect("a list").ops().len())
                });
            });
        }
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
