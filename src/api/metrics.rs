//! `/metrics`: every figure about the server as Prometheus text; with a `query` parameter, Graphite's find.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Own;
use super::graphite::{self, Graphite};
use super::guard;
use super::routes::{Routes, Rule};
use crate::auth::Caller;
use crate::catalog::GRAPHITE;
use crate::counters::Sample;

/// What the handler needs.
type Both = (Arc<Own>, Arc<Graphite>);

pub(super) fn router(own: Arc<Own>, graphite: Arc<Graphite>) -> Routes {
    let methods = get(metrics).post(metrics);
    Routes::new()
        .route("/metrics", Rule::Asks, methods.clone())
        .route("/metrics/", Rule::Asks, methods)
        .with_state((own, graphite))
}

/// Find is for who may read Graphite's series, the figures for whoever has credentials.
async fn metrics(State((own, graphite)): State<Both>, caller: Caller, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let asks_find = query.split('&').any(|pair| pair.split('=').next() == Some("query"));
    // Prometheus only asks with GET; a form is Graphite's.
    let is_find = asks_find || request.method() == Method::POST;
    let rule = if is_find { Rule::Reads(GRAPHITE) } else { Rule::Known };
    if let Some(refused) = guard::refuse_by(rule, &caller) {
        return refused;
    }
    if is_find {
        return graphite::find(State(graphite), request).await;
    }
    // The text format of version 0.0.4.
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, text(&own.figures.samples())).into_response()
}

fn text(samples: &[Sample]) -> String {
    let mut out = String::with_capacity(samples.len() * 120);
    let mut family = "";
    for sample in samples {
        // Samples that differ in labels only stand together under the help of the first.
        if sample.family() != family {
            family = sample.family();
            let kind = if sample.is_count() { "counter" } else { "gauge" };
            let _ = writeln!(out, "# HELP rhythmite_{family} {}\n# TYPE rhythmite_{family} {kind}", sample.help);
        }
        let _ = writeln!(out, "rhythmite_{} {}", sample.metric, sample.value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_one_head() {
        let sample = |metric, value| Sample { metric, path: "x", help: "Help.", value };
        assert_eq!(
            text(&[sample("a_total{r=\"x\"}", 1), sample("a_total{r=\"y\"}", 2), sample("b", 3)]),
            "# HELP rhythmite_a_total Help.\n# TYPE rhythmite_a_total counter\nrhythmite_a_total{r=\"x\"} 1\n\
             rhythmite_a_total{r=\"y\"} 2\n# HELP rhythmite_b Help.\n# TYPE rhythmite_b gauge\nrhythmite_b 3\n"
        );
    }
}
