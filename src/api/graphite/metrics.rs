//! `/metrics/*`: the tree of names.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use rhythmite_engine::registry::{Scope, Slot, Want};
use rhythmite_graphite::answer::Answer;
use rhythmite_graphite::answer::find::{self as answers, Expansion, FindOptions, Node};
use rhythmite_graphite::series::RollupMethod;
use rhythmite_model::{Error, Result};
use serde_json::json;

use super::Graphite;
use super::params::Form;
use super::reply::{self, reply};
use crate::query::graphite::Patience;
use crate::query::graphite::find::find as find_paths;
use crate::query::graphite::window::longest_s;

/// Queries of one `/metrics/expand`.
const QUERIES_MAX: usize = 1_000;

/// `/metrics/find`, and `/metrics` with a `query` parameter.
pub async fn find(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    answer(state, request, |state, form, _| {
        let now_s = state.clock.now_s();
        let options = FindOptions::parse(form.params(), now_s, &state.zone)?;
        let mut found = nodes(state, &options.pattern, options.leaves_only, state.limits.nodes_max)?;
        // A series may have points from its longest retention up to now.
        let from_s = options.from_s.unwrap_or(i64::MIN);
        let until_s = options.until_s.unwrap_or(i64::MAX);
        found.retain(|n| n.interval_s.is_none_or(|(start_s, end_s)| start_s <= until_s && end_s >= from_s));
        options.write(found)
    })
    .await
}

pub(super) async fn expand(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    answer(state, request, |state, form, patience| {
        let mut expansion = Expansion::new(form.params())?;
        let mut left = state.limits.nodes_max;
        for (i, query) in form.params().all("query").enumerate() {
            if i == QUERIES_MAX {
                return Err(Error::invalid(format!("more than {QUERIES_MAX} queries")));
            }
            patience.check()?;
            let found = nodes(state, query, false, left)?;
            left -= found.len().min(left);
            expansion.add(query, found);
        }
        expansion.write()
    })
    .await
}

/// All untagged names: the whole list by design, so no limit but the number of series holds.
pub(super) async fn index(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    answer(state, request, |state, form, _| {
        // Copied, so that nobody who makes a series waits until the answer is written.
        let all: Vec<String> = {
            let names = state.engine.registry().read();
            let found = find_paths(&names, "**", Want::Leaves, usize::MAX)?;
            found.leaves.into_iter().map(|slot| names.key(slot).to_owned()).collect()
        };
        answers::index(form.params(), all.iter().map(String::as_str).collect())
    })
    .await
}

/// `metric` (several) and `key`, of which there is one: `aggregationMethod`.
pub(super) async fn get_metadata(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    answer(state, request, |state, form, _| {
        let key = form.get("key").ok_or_else(|| Error::invalid("Missing required parameter 'key'"))?;
        let names = state.engine.registry().read();
        let method = |metric: &str| {
            let slot = names.find_series(Scope::Paths, metric.as_bytes())?;
            RollupMethod::from_code(names.rollup(slot)?.method)
        };
        let value = |metric: &str| match method(metric) {
            _ if key != "aggregationMethod" => json!({ "error": format!("Unsupported metadata key \"{key}\"") }),
            Some(method) => json!({ "value": method.name() }),
            None => json!({ "error": format!("no series {metric:?}") }),
        };
        let results: BTreeMap<&str, _> = form.all("metric").into_iter().map(|m| (m, value(m))).collect();
        reply::json(form, &results)
    })
    .await
}

async fn answer(
    state: Arc<Graphite>,
    request: Request,
    work: impl FnOnce(&Graphite, &Form, &Patience) -> Result<Answer> + Send + 'static,
) -> Response<Body> {
    match Form::read(&state.bodies, request).await {
        Ok(form) => reply(state.on_cpu(move |state, patience| work(state, &form, &patience)).await),
        Err(e) => reply::unread(&e),
    }
}

fn nodes(state: &Graphite, pattern: &str, leaves_only: bool, limit: usize) -> Result<Vec<Node>> {
    let names = state.engine.registry().read();
    let want = if leaves_only { Want::Leaves } else { Want::Both };
    let found = find_paths(&names, pattern, want, limit)?;
    let now_s = state.clock.now_s();
    let interval = |slot: Slot| {
        let table = names.table(names.series_id(slot).table())?;
        let policy = state.engine.policy(table.policy())?;
        Some((now_s.saturating_sub(longest_s(&policy.levels)), now_s))
    };
    let leaf = |slot| Node { path: names.key(slot).to_owned(), is_leaf: true, interval_s: interval(slot) };
    let branch = |path| Node { path, is_leaf: false, interval_s: None };
    Ok(found.leaves.into_iter().map(leaf).chain(found.branches.into_iter().map(branch)).collect())
}
