//! A store that answers everything with odd series, and a request through all of its stages.

use rhythmite_graphite::answer::{Params, RenderOptions, render as formats};
use rhythmite_graphite::{Fetch, FetchRequest, RawSeries, Request, Result, run};
use std::sync::Arc;

pub const NOW: i64 = 1_717_243_200;

/// Series of different steps, lengths and oddities, whatever is asked.
pub struct Odd;

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

/// Parses, evaluates and writes; what comes of it does not matter.
pub fn render(target: &str) {
    let Ok(request) = Request::new(&[target], NOW - 600, NOW, NOW) else { return };
    let Ok(series) = run(&request, &mut Odd, &|| Ok(())) else { return };
    for (format, max) in [("json", "3"), ("json", "1"), ("dygraph", "")] {
        let params = [("format", format), ("maxDataPoints", max)].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let options =
            RenderOptions::parse(Params(&params), NOW, &jiff::tz::TimeZone::UTC).expect("harmless parameters");
        let _ = formats::write(series.clone(), &options);
    }
}
