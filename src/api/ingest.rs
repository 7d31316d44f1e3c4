//! `GET /api/v1/ingest`: what each receiver took, what it lost for which reason, and what the last losses looked like; and
//! how the destinations of the relay are.
//!
//! Every reason is a counter, in `/metrics` and a series too; [`RECEIVERS`] says which they are. Samples are what
//! [`Offenders`](crate::offenders::Offenders) kept: the beginning of what was sent, escaped.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use serde_json::{Value, json};

use super::Own;
use super::routes::{Routes, Rule};
use crate::counters::Sample;
use crate::offenders::Offender;
use crate::relay::{Relay, Status};

/// A receiver, the beginning of its counters' paths, and those that tell of losses (the others tell of what it did).
const RECEIVERS: [(&str, &str, &[&str]); 9] = [
    (
        "carbon",
        "carbon.",
        &[
            "carbon.rejected.shape",
            "carbon.rejected.utf8",
            "carbon.rejected.value",
            "carbon.rejected.time",
            "carbon.rejected.name",
            "carbon.rejected.length",
            "carbon.rejected.nan",
            "carbon.rejected.unfinished",
            "carbon.rejected.blacklist",
            "carbon.rejected.whitelist",
            "carbon.pickles_refused",
            "carbon.pickles_too_long",
            "carbon.pickles_no_room",
            "carbon.pickles_slow",
            "carbon.dropped",
            "carbon.kernel_drops",
            "carbon.failed",
        ],
    ),
    ("aggregator", "aggregator.", &["aggregator.rejected.name", "aggregator.refused", "aggregator.failed"]),
    (
        "statsd",
        "statsd.",
        &[
            "statsd.bad_lines",
            "statsd.lines_unfinished",
            "statsd.limited",
            "statsd.dropped",
            "statsd.kernel_drops",
            "statsd.repeat_failed",
            "statsd.failed",
        ],
    ),
    (
        "collectd",
        "collectd.",
        &[
            "collectd.rejected.malformed",
            "collectd.rejected.incomplete",
            "collectd.rejected.insecure",
            "collectd.rejected.credentials",
            "collectd.rejected.type",
            "collectd.rejected.count",
            "collectd.rejected.name",
            "collectd.rejected.rule",
            "collectd.rates_refused",
            "collectd.dropped",
            "collectd.kernel_drops",
            "collectd.failed",
        ],
    ),
    ("relay", "relay.", &["relay.dropped", "relay.unrouted", "relay.unsendable", "relay.failures", "relay.damaged"]),
    (
        "influx",
        "influx.",
        &[
            "influx.refused.syntax",
            "influx.refused.rule",
            "influx.refused.old",
            "influx.udp.dropped",
            "influx.udp.kernel_drops",
            "influx.udp.failed",
        ],
    ),
    (
        "connections",
        "connections.",
        &["connections.refused", "connections.not_allowed", "connections.idle", "connections.accept_errors"],
    ),
    ("paths", "paths.", &["paths.too_old", "paths.refused"]),
    (
        "names",
        "names.",
        &[
            "names.refused.series",
            "names.refused.rate",
            "names.refused.measurements",
            "names.refused.fields",
            "names.refused.field_types",
            "names.refused.tag_keys",
            "names.refused.keys",
        ],
    ),
];

/// The route. Samples are what anybody sent: only administrators see them.
pub(super) fn router(own: Arc<Own>, relay: Option<Arc<Relay>>) -> Routes {
    Routes::new().route("/api/v1/ingest", Rule::Admin, get(ingest)).with_state(Shown { own, relay })
}

#[derive(Clone)]
struct Shown {
    own: Arc<Own>,
    relay: Option<Arc<Relay>>,
}

/// All reasons; with `?lost` only those that cost anything.
async fn ingest(State(Shown { own, relay }): State<Shown>, RawQuery(query): RawQuery) -> Json<Value> {
    let only_lost = query.is_some_and(|q| q == "lost" || q.starts_with("lost=") || q.starts_with("lost&"));
    let samples = own.figures.samples();
    let receivers: Vec<Value> =
        RECEIVERS.iter().map(|receiver| describe(&own, &samples, receiver, only_lost)).collect();
    let destinations: Vec<Value> =
        relay.iter().flat_map(|relay| relay.status()).map(|status| destination(&status)).collect();
    Json(json!({ "receivers": receivers, "destinations": destinations }))
}

fn describe(own: &Own, samples: &[Sample], receiver: &(&str, &str, &[&str]), only_lost: bool) -> Value {
    let (name, prefix, losses) = receiver;
    let (mut did, mut lost) = (serde_json::Map::new(), Vec::new());
    for sample in samples.iter().filter(|s| s.path.starts_with(prefix)) {
        if !losses.contains(&sample.path) {
            did.insert(sample.path[prefix.len()..].to_owned(), sample.value.into());
        } else if sample.value > 0 || !only_lost {
            let figures = &own.figures;
            let mut last = figures.counters.offenders.last(sample.path);
            last.extend(figures.paths.offenders().last(sample.path));
            lost.push(json!({
                "reason": &sample.path[prefix.len()..],
                "count": sample.value,
                "help": sample.help,
                "metric": format!("rhythmite_{}", sample.metric),
                "last": last.iter().map(show).collect::<Vec<_>>(),
            }));
        }
    }
    json!({ "name": name, "counts": did, "lost": lost })
}

/// One destination of the relay.
fn destination(status: &Status) -> Value {
    json!({
        "destination": status.destination.to_string(),
        "connected": status.health.connected,
        "sent": status.health.sent,
        "failures": status.health.failures,
        "last_error": status.health.last_error,
        "queued_points": status.queued_points,
        "queued_bytes": status.queued_bytes,
        "dropped": status.dropped,
    })
}

fn show(offender: &Offender) -> Value {
    json!({ "time": offender.at_s, "sample": offender.text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;

    #[test]
    fn every_counter_of_a_loss_is_a_reason() {
        let samples = Counters::default().samples();
        let words = ["rejected", "refused", "dropped", "drops", "failed", "limited", "skipped", "bad_lines", "too_"];
        for sample in &samples {
            let receiver = RECEIVERS.iter().find(|(_, prefix, _)| sample.path.starts_with(prefix));
            let Some((_, _, losses)) = receiver else { continue };
            let sounds_lost = words.iter().any(|word| sample.path.contains(word));
            assert!(!sounds_lost || losses.contains(&sample.path), "{} is no reason", sample.path);
        }
        let known = |path: &&&str| samples.iter().any(|s| s.path == **path);
        let of_counters = RECEIVERS.iter().filter(|(name, ..)| !["paths", "names"].contains(name));
        let missing: Vec<_> = of_counters.flat_map(|(_, _, losses)| losses.iter()).filter(|p| !known(p)).collect();
        assert_eq!(missing, [] as [&&str; 0]);
    }
}
