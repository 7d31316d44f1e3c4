//! Draws the pictures of `docs/reference/graphite-gallery.md`: each block of text that begins with `/render?` is a
//! request, written without escapes, and the picture named next is its answer. The data are made up here, the same
//! each time.
//!
//! ```sh
//! cargo run -p rhythmite-graphite --example gallery
//! ```
//!
//! Another page can be named as an argument; pictures go to where its links lead.

use jiff::tz::TimeZone;
use rhythmite_graphite::answer::{Params, RenderOptions};
use rhythmite_graphite::draw::{self, DrawOptions};
use rhythmite_graphite::glob::{matches_path, split_pattern};
use rhythmite_graphite::{Error, Fetch, FetchRequest, Query, RawSeries, Result, run};
use std::path::Path;
use std::sync::Arc;

/// Saturday, 2024-06-01 12:00:00 UTC.
const NOW_S: i64 = 1_717_243_200;
const STEP_S: i64 = 60;
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/graphite-gallery.md");

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let page = std::env::args().nth(1).unwrap_or_else(|| PAGE.to_owned());
    let text = std::fs::read_to_string(&page)?;
    let folder = Path::new(&page).parent().unwrap_or(Path::new("."));
    for (request, file) in requests(&text) {
        let body = answer(&request).map_err(|e| format!("{request}: {e}"))?;
        println!("{:>7} {file}", body.len());
        std::fs::write(folder.join(file), body)?;
    }
    Ok(())
}

/// The requests of a page and the files of their answers.
fn requests(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut request: Option<String> = None;
    for line in page.lines().map(str::trim) {
        match &mut request {
            None if line.starts_with("/render?") => request = Some(line.to_owned()),
            None => {}
            Some(_) if line.starts_with("![") => {
                let file = line.split_once("](").and_then(|(_, link)| link.split_once(')')).map(|(file, _)| file);
                found.extend(request.take().zip(file.map(str::to_owned)));
            }
            Some(text) if line.starts_with('&') => text.push_str(line),
            Some(_) => {}
        }
    }
    found
}

fn answer(request: &str) -> Result<Vec<u8>> {
    let query = request.trim_start_matches("/render?");
    let pair = |part: &str| part.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let pairs: Vec<(String, String)> = query.split('&').filter_map(pair).collect();
    let render = RenderOptions::parse(Params(&pairs), NOW_S, &TimeZone::UTC)?;
    let options = DrawOptions::parse(Params(&pairs), &render)?;
    let series = run(&render.request()?, &mut Shelf, &|| Ok(()))?;
    Ok(draw::draw(series, &options, render.format, None, &|| Ok(()))?.body)
}

/// Made-up series, a point a minute.
struct Shelf;

/// A path, its mean, how it goes up and down in a day, and its noise.
const SERIES: [(&str, f64, f64, f64); 14] = [
    ("servers.web01.cpu", 45.0, 22.0, 6.0),
    ("servers.web02.cpu", 40.0, 18.0, 8.0),
    ("servers.web03.cpu", 30.0, 15.0, 5.0),
    ("servers.web04.cpu", 22.0, 12.0, 4.0),
    ("servers.web01.requests", 3_800.0, 1_900.0, 300.0),
    ("servers.web02.requests", 3_100.0, 1_500.0, 280.0),
    ("servers.web03.requests", 2_300.0, 1_100.0, 250.0),
    ("servers.web04.requests", 1_400.0, 700.0, 200.0),
    ("disk.sda.read_bytes", 3.0e8, 2.4e8, 5.0e7),
    ("disk.sda.latency_ms", 6.0, 3.0, 60.0),
    ("disk.sdb.latency_ms", 40.0, 30.0, 900.0),
    ("jobs.backup.seconds", 4_500.0, 1_200.0, 300.0),
    ("sensors.cellar.celsius", 11.5, 1.5, 0.4),
    ("deploys.shop", 0.0, 0.0, 0.0),
];

impl Fetch for Shelf {
    fn fetch(&mut self, requests: &[FetchRequest]) -> Result<Vec<Vec<RawSeries>>> {
        let one = |request: &FetchRequest| {
            let Query::Path(pattern) = &request.query else { return Err(Error::invalid("only paths here")) };
            let pattern = split_pattern(pattern)?;
            let found = (0u64..).zip(&SERIES).filter(|(_, (path, ..))| matches_path(&pattern, path));
            Ok(found.map(|(seed, series)| points(seed, series, request)).collect())
        };
        requests.iter().map(one).collect()
    }
}

fn points(seed: u64, series: &(&str, f64, f64, f64), request: &FetchRequest) -> RawSeries {
    let (path, mean, swing, noise) = *series;
    let start_s = (request.from_s.div_euclid(STEP_S) + 1) * STEP_S;
    let end_s = (request.until_s.div_euclid(STEP_S) + 1) * STEP_S;
    let value = |at_s: i64| {
        let minute = at_s.div_euclid(STEP_S) as u64;
        let chance = chance(seed, minute);
        if path.starts_with("sensors") && (minute % 97 < 25 || chance > 0.93) {
            return f64::NAN;
        }
        if path.starts_with("deploys") {
            return if minute % 331 == 7 { 1.0 } else { 0.0 };
        }
        let day = (at_s as f64 / 86_400.0 - 0.3 + seed as f64 * 0.02) * std::f64::consts::TAU;
        // Delays have rare, large outliers; other noise is even.
        let noise = if path.ends_with("latency_ms") { chance.powi(9) * noise } else { (chance - 0.5) * noise };
        mean + swing * day.sin() + noise
    };
    let values = (start_s..end_s).step_by(STEP_S as usize).map(value).collect();
    RawSeries { name: path.to_owned(), tags: None, start_s, end_s, step_s: STEP_S, values: Arc::new(values) }
}

/// A number from 0 to 1 that only depends on the arguments: SplitMix64.
fn chance(seed: u64, n: u64) -> f64 {
    let mut z = (n ^ seed << 40).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z >> 11) as f64 / (1u64 << 53) as f64
}
