//! `/metrics/*`: the tree of names.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use rhythmite_engine::Durability;
use rhythmite_engine::registry::{Scope, Slot, Want};
use rhythmite_graphite::answer::Answer;
use rhythmite_graphite::answer::find::{self as answers, Expansion, FindOptions, Node};
use rhythmite_graphite::glob::SegmentPattern;
use rhythmite_graphite::series::RollupMethod;
use rhythmite_model::{Error, Result, RollupRule};
use serde_json::{Value, json};

use super::params::Form;
use super::reply::{self, reply};
use super::{Graphite, carbonapi};
use crate::query::graphite::Patience;
use crate::query::graphite::find::find as find_paths;
use crate::query::graphite::window::longest_s;

/// Queries of one `/metrics/expand`.
const QUERIES_MAX: usize = 1_000;

/// `/metrics/find`, and `/metrics` with a `query` parameter.
pub async fn find(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    answer(state, request, |state, form, patience| {
        let now_s = state.clock.now_s();
        if let Some(message) = carbonapi_message(form) {
            return carbonapi::find(state, message, patience);
        }
        let options = FindOptions::parse(form.params(), now_s, &state.zone)?;
        // As with graphite-web, where one store has a name, the range asked for hides nothing: it is in the answer.
        options.write(nodes(state, &options.pattern, options.leaves_only, state.limits.nodes_max)?)
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
        let metrics = form.all("metric");
        if metrics.is_empty() {
            return reply::json(form, &json!({}));
        }
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
        let results: BTreeMap<&str, _> = metrics.into_iter().map(|m| (m, value(m))).collect();
        reply::json(form, &results)
    })
    .await
}

/// `metric`, `key` and `value`, or a list of them as JSON in the body or in `operations`. The only key is
/// `aggregationMethod`; coarser levels that were not imported follow it at once.
pub(super) async fn set_metadata(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    answer(state, request, |state, form, _| {
        let text = form.message.as_deref().or_else(|| form.get("operations").map(str::as_bytes));
        let operations: Vec<Value> = match text {
            Some(text) => serde_json::from_slice(text).map_err(|e| Error::invalid(format!("operations: {e}")))?,
            None => {
                let given = |name: &str| {
                    form.get(name).ok_or_else(|| Error::invalid(format!("Missing required parameter '{name}'")))
                };
                vec![json!({ "metric": given("metric")?, "key": given("key")?, "value": given("value")? })]
            }
        };
        let results = set_all(state, &operations)?;
        reply::json(form, &results)
    })
    .await
}

fn set_all(state: &Graphite, operations: &[Value]) -> Result<BTreeMap<String, Value>> {
    if operations.len() > QUERIES_MAX {
        return Err(Error::invalid(format!("more than {QUERIES_MAX} operations")));
    }
    let (results, commit) = state.engine.create(Durability::Sync, |names| {
        let mut results = BTreeMap::new();
        for operation in operations {
            let text = |key: &str| operation.get(key).and_then(Value::as_str);
            let Some(metric) = text("metric") else { continue };
            let method = text("value").and_then(RollupMethod::parse);
            let slot = names.find_series(Scope::Paths, metric.as_bytes());
            let result = match (text("key"), method, slot) {
                (Some("aggregationMethod"), Some(method), Some(slot)) => {
                    let old = names.rollup(slot).unwrap_or(RollupRule {
                        method: 1,
                        x_files_factor: 0.5,
                        imported_until_s: 0,
                    });
                    let old_name = RollupMethod::from_code(old.method).map(RollupMethod::name);
                    names.set_rollup(names.series_id(slot), RollupRule { method: method.code(), ..old });
                    json!({ "old_value": old_name, "new_value": method.name() })
                }
                (Some("aggregationMethod"), None, _) => json!({ "error": "no such aggregation method" }),
                (Some("aggregationMethod"), _, None) => json!({ "error": format!("no series {metric:?}") }),
                _ => json!({ "error": "Unsupported metadata key" }),
            };
            results.insert(metric.to_owned(), result);
        }
        Ok(results)
    })?;
    commit.wait()?;
    Ok(results)
}

/// The body of a request in carbonapi's own format.
pub(super) fn carbonapi_message(form: &Form) -> Option<&[u8]> {
    form.message.as_deref().filter(|_| form.get("format").is_some_and(rhythmite_graphite::carbonapi::is_format))
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

/// The nodes that a pattern matches.
///
/// An empty segment stands, as in a path on disk, for the branch before it: at the end it stays in that branch's path.
/// A segment with an escaped wildcard is shown as it is written, whatever it has matched; a path shown once stands for
/// all of them.
pub(super) fn nodes(state: &Graphite, pattern: &str, leaves_only: bool, limit: usize) -> Result<Vec<Node>> {
    let (before, last) = pattern.rsplit_once('.').unwrap_or(("", pattern));
    let before: Vec<&str> = before.split('.').filter(|segment| !segment.is_empty()).collect();
    let mut found = Vec::new();
    if SegmentPattern::new(last)?.has_empty_variant() && !leaves_only {
        if before.is_empty() {
            found.push(Node { path: String::new(), is_leaf: false, interval_s: None });
        } else {
            found = nodes(state, &before.join("."), false, limit)?;
            found.retain(|n| !n.is_leaf);
            found.iter_mut().for_each(|n| n.path.push('.'));
        }
    }
    if !last.is_empty() {
        let pattern = [before.as_slice(), &[last]].concat().join(".");
        found.extend(matched(state, &pattern, leaves_only, limit)?);
    }
    let shown: Vec<Option<String>> =
        pattern.split('.').map(|part| is_escaped(part).then(|| part.replace('\\', ""))).collect();
    if shown.iter().any(Option::is_some) {
        for node in &mut found {
            let segments = node.path.split('.').zip(shown.iter().chain(std::iter::repeat(&None)));
            node.path = segments.map(|(had, shown)| shown.as_deref().unwrap_or(had)).collect::<Vec<_>>().join(".");
        }
        let mut seen = HashSet::new();
        found.retain(|n| seen.insert((n.path.clone(), n.is_leaf)));
    }
    Ok(found)
}

/// Has a segment a wildcard behind a backslash? Only the first of each kind is looked at.
///
/// Source: graphite-web 1.1.10, `is_escaped_pattern`.
fn is_escaped(segment: &str) -> bool {
    let behind_backslash = |symbol| segment.find(symbol).is_some_and(|at| segment[..at].ends_with('\\'));
    ['*', '?', '[', '{'].into_iter().any(behind_backslash)
}

fn matched(state: &Graphite, pattern: &str, leaves_only: bool, limit: usize) -> Result<Vec<Node>> {
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
