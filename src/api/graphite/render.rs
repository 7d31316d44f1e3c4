//! `/render`: targets to series, series to the format asked for.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use rhythmite_graphite::Series;
use rhythmite_graphite::answer::render::{self as formats, Pieces};
use rhythmite_graphite::answer::{Answer, RenderOptions};
use rhythmite_graphite::draw::{self, DrawOptions};
use rhythmite_model::Result;
use serde_json::json;

use super::metrics::carbonapi_message;
use super::params::Form;
use super::reply::{cached, reply, streamed, unread};
use super::{Graphite, carbonapi, pieces};
use crate::query::graphite::{Fetcher, Patience};

/// Points from which on an answer is made piece by piece.
const LONG_POINTS: usize = 20_000;

/// What a request comes to.
enum Made {
    Whole(Answer),
    Long(Box<Pieces>),
}

pub(super) async fn render(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    let form = match Form::read(&state.bodies, request).await {
        Ok(form) => form,
        Err(e) => return unread(&e),
    };
    let made = state.on_cpu(move |state, patience| make(state, &form, patience)).await;
    match made {
        Ok((Made::Whole(answer), cache_s)) => cached(reply(Ok(answer)), cache_s),
        Ok((Made::Long(long), cache_s)) => {
            let content_type = long.content_type;
            let body = pieces::body(*long, state.counters.clone(), pieces::PAUSE_MAX);
            cached(streamed(content_type, body), cache_s)
        }
        Err(e) => reply(Err(e)),
    }
}

fn make(state: &Graphite, form: &Form, patience: Patience) -> Result<(Made, Option<u64>)> {
    if let Some(message) = carbonapi_message(form) {
        return Ok((Made::Whole(carbonapi::render(state, message, &patience)?), None));
    }
    let options = RenderOptions::parse(form.params(), state.clock.now_s(), &state.zone)?;
    // Before any data are read: a bad colour costs nothing.
    let looks = options.format.is_picture().then(|| DrawOptions::parse(form.params(), &options)).transpose()?;
    let (series, meta) = run(state, &options, &patience)?;
    let points: usize = series.iter().map(|s| s.values.len()).sum();
    let made = match looks {
        Some(looks) => {
            let go_on = || patience.check();
            Made::Whole(draw::draw(series, &looks, options.format, options.jsonp.as_deref(), &go_on)?)
        }
        None => {
            let pieces = formats::pieces(series, &options, meta.as_deref())?;
            if points > LONG_POINTS {
                Made::Long(Box::new(pieces))
            } else {
                Made::Whole(Answer { content_type: pieces.content_type, body: pieces.flatten().collect() })
            }
        }
    };
    Ok((made, options.cache_s))
}

/// The series, and how they came about if that is asked for.
fn run(state: &Graphite, options: &RenderOptions, patience: &Patience) -> Result<(Vec<Series>, Option<String>)> {
    let mut request = options.request()?;
    request.points_max = state.limits.points_max;
    let started = state.clock.monotonic();
    let mut fetcher = Fetcher::new(&state.engine, state.limits.clone(), patience.clone())
        .with_cpu(state.cpu.clone())
        .with_events(state.catalog.events());
    let series = rhythmite_graphite::run(&request, &mut fetcher, &|| patience.check())?;
    let meta = options.meta.then(|| {
        let took = state.clock.monotonic().saturating_sub(started);
        let stats = json!({
            "series": series.len(),
            "points": series.iter().map(|s| s.values.len()).sum::<usize>(),
            "points_read": fetcher.points(),
            "ms": took.as_secs_f64() * 1e3,
        });
        json!({ "stats": stats, "fetches": fetcher.notes() }).to_string()
    });
    Ok((series, meta))
}
