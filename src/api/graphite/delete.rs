//! `POST /api/v1/delete`: points of paths and tagged series, by pattern and time.
//!
//! What is not understood is refused, not left out: a misspelled limit must not delete everything.

use std::ops::RangeInclusive;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use rhythmite_engine::{Durability, Loss};
use rhythmite_graphite::answer::Answer;
use rhythmite_graphite::time::parse_time;
use rhythmite_model::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Graphite;
use super::params::Unread;
use super::reply::{self, reply};
use crate::api::body::BodyMax;
use crate::query::graphite::delete::{select, tombstones};

/// Bytes of a request.
const BODY_BYTES_MAX: usize = 8 << 20;
/// Patterns of a request.
const PATTERNS_MAX: usize = 10_000;
const SECOND_NS: i64 = 1_000_000_000;

/// What is to be deleted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// Patterns of paths, as in a target; a name with `;` is one tagged series.
    #[serde(default)]
    paths: Vec<String>,
    /// Tag expressions as in `seriesByTag`, all of which must hold.
    #[serde(default)]
    tags: Vec<String>,
    /// The first second, as in `/render`; without it from the beginning.
    from: Option<Value>,
    /// The last second; without it to the end.
    until: Option<Value>,
    /// Answers what would go, and deletes nothing.
    #[serde(default)]
    dry_run: bool,
}

impl Wanted {
    /// # Errors
    /// `Invalid`, with the place.
    fn parse(query: &str, body: &[u8]) -> Result<Self> {
        let mut wanted: Self =
            serde_json::from_slice(body).map_err(|e| Error::invalid(format!("the request is not understood: {e}")))?;
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part {
                "dry_run=true" | "dry_run=1" | "dry_run" => wanted.dry_run = true,
                "dry_run=false" | "dry_run=0" => {}
                _ => return Err(Error::invalid(format!("unknown parameter {part:?}; there is dry_run=true"))),
            }
        }
        if wanted.paths.is_empty() && wanted.tags.is_empty() {
            return Err(Error::invalid("neither paths nor tags say what to delete"));
        }
        if wanted.paths.len() > PATTERNS_MAX {
            return Err(Error::invalid(format!("more than {PATTERNS_MAX} patterns")));
        }
        Ok(wanted)
    }

    fn times_ns(&self, state: &Graphite) -> Result<RangeInclusive<i64>> {
        let second = |value: &Option<Value>, name: &str| {
            let time = match value {
                None => return Ok(None),
                Some(Value::String(text)) => parse_time(text, &state.zone, state.clock.now_s()),
                Some(number) => number.as_i64().ok_or_else(|| Error::invalid("neither seconds nor a time")),
            };
            time.map(Some).map_err(|e| e.at(name))
        };
        let (from_s, until_s) = (second(&self.from, "from")?, second(&self.until, "until")?);
        if let (Some(from_s), Some(until_s)) = (from_s, until_s)
            && from_s > until_s
        {
            return Err(Error::invalid("from is later than until"));
        }
        let from_ns = from_s.map_or(i64::MIN, |s| s.saturating_mul(SECOND_NS));
        let until_ns = until_s.map_or(i64::MAX, |s| s.saturating_mul(SECOND_NS).saturating_add(SECOND_NS - 1));
        Ok(from_ns..=until_ns)
    }
}

pub(super) async fn delete(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = match state.bodies.read(&head.headers, body, BodyMax::both(BODY_BYTES_MAX)).await {
        Ok(body) => body,
        Err(e) => return reply::unread(&Unread::Body(e)),
    };
    let wanted = match Wanted::parse(head.uri.query().unwrap_or_default(), &body) {
        Ok(wanted) => wanted,
        Err(e) => return reply(Err(e)),
    };
    let done = state.clone().cpu.run(move || run(&state, &wanted)).await;
    reply(done.unwrap_or_else(Err))
}

fn run(state: &Graphite, wanted: &Wanted) -> Result<Answer> {
    let times_ns = wanted.times_ns(state)?;
    let (paths, tombstones) = {
        let names = state.engine.registry().read();
        let found = select(&names, &wanted.paths, &wanted.tags, state.limits.nodes_max)?;
        (found.len(), tombstones(&names, found, times_ns))
    };
    let mut answer = json!({ "dry_run": wanted.dry_run, "matched": paths });
    if wanted.dry_run {
        let losses = state.engine.weigh(&tombstones)?;
        let sum = |of: fn(&Loss) -> u64| losses.iter().map(of).sum::<u64>();
        answer["series"] = sum(|loss| loss.series).into();
        answer["points"] = sum(|loss| loss.points).into();
        answer["bytes"] = sum(|loss| loss.bytes).into();
        answer["tables"] = losses.iter().filter_map(|loss| table(state, loss)).collect();
    } else {
        answer["series_removed"] = state.engine.delete(tombstones, Durability::Sync)?.into();
    }
    let body = serde_json::to_vec(&answer).map_err(|e| Error::internal(e.to_string()))?;
    Ok(Answer { content_type: "application/json", body })
}

fn table(state: &Graphite, loss: &Loss) -> Option<Value> {
    let (policy, name) = {
        let names = state.engine.registry().read();
        let table = names.table(loss.table)?;
        (table.policy(), table.name().to_owned())
    };
    let policy = state.engine.policy(policy)?;
    let Loss { series, points, bytes, .. } = loss;
    Some(json!({
        "database": policy.database, "policy": policy.name, "table": name,
        "series": series, "points": points, "bytes": bytes,
    }))
}
