//! carbonapi as a front: its protocol buffers as bodies of `/render` and `/metrics/find`, and what it asks first.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use rhythmite_graphite::answer::Answer;
use rhythmite_graphite::answer::find::Node;
use rhythmite_graphite::{Request, Series, carbonapi};
use rhythmite_model::{Error, Result};

use super::Graphite;
use super::metrics::nodes;
use crate::query::graphite::{Fetcher, Patience};

/// `/_internal/capabilities`: what carbonapi may speak with us.
pub(super) async fn capabilities() -> Response<Body> {
    let answer = carbonapi::capabilities("rhythmite");
    let mut response = Response::new(Body::from(answer.body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}

/// A `MultiFetchRequest`: patterns, each with its range. All of them share one budget.
pub(super) fn render(state: &Graphite, message: &[u8], patience: &Patience) -> Result<Answer> {
    let now_s = state.clock.now_s();
    let mut fetcher = Fetcher::new(&state.engine, state.limits.clone(), patience.clone()).with_cpu(state.cpu.clone());
    let mut found: Vec<(Series, (i64, i64))> = Vec::new();
    let mut held = 0;
    for fetch in carbonapi::read_fetches(message)? {
        patience.check()?;
        let mut request = Request::new(&[&fetch.name], fetch.start_s, fetch.stop_s, now_s)?;
        request.points_max = state.limits.points_max - held;
        for mut series in rhythmite_graphite::run(&request, &mut fetcher, &|| patience.check())? {
            held = (held + series.values.len()).min(state.limits.points_max);
            if !fetch.path_expression.is_empty() {
                series.path_expression.clone_from(&fetch.path_expression);
            }
            found.push((series, (fetch.start_s, fetch.stop_s)));
        }
    }
    Ok(carbonapi::series(found.iter().map(|(series, range)| (series, *range))))
}

/// A `MultiGlobRequest`.
pub(super) fn find(state: &Graphite, message: &[u8], patience: &Patience) -> Result<Answer> {
    let request = carbonapi::read_find(message)?;
    let mut left = state.limits.nodes_max;
    let mut found: Vec<(&str, Vec<Node>)> = Vec::with_capacity(request.patterns.len());
    for pattern in &request.patterns {
        patience.check()?;
        if pattern.is_empty() {
            return Err(Error::invalid("a pattern is empty"));
        }
        let hits = nodes(state, pattern, false, left)?;
        left -= hits.len().min(left);
        found.push((pattern, hits));
    }
    Ok(carbonapi::matches(found.iter().map(|(pattern, nodes)| (*pattern, nodes.as_slice()))))
}
