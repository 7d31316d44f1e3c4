//! What carbon's relay tells of its destinations, by carbon's names.
//!
//! Carbon leaves out what did not happen in an interval; here it is 0. `queuedUntilReady` is not told: a destination that
//! takes nothing keeps its thread waiting, not its queue.
//!
//! Source: carbon 1.1.10.

use rhythmite_carbon::relay::Destination;

use crate::relay::Status;

/// A number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    /// Counted since the start.
    Count(u64),
    /// As it is now.
    Level(u64),
}

/// Names below `<prefix>.relays.<host>.`, and their figures. `longest` are the queues at their longest.
pub(super) fn destinations(of: &[Status], longest: &[u64]) -> Vec<(String, Figure)> {
    let mut out = Vec::new();
    for (status, longest) in of.iter().zip(longest) {
        let name = part(&status.destination);
        for (what, figure) in [
            ("attemptedRelays", Figure::Count(status.routed)),
            ("sent", Figure::Count(status.health.sent)),
            ("batchesSent", Figure::Count(status.health.messages)),
            ("fullQueueDrops", Figure::Count(status.dropped)),
            ("queuedUntilConnected", Figure::Count(status.routed_away)),
            ("relayMaxQueueLength", Figure::Level(*longest)),
            // A slow destination is not disconnected here.
            ("slowConnectionReset", Figure::Level(0)),
        ] {
            out.push((format!("destinations.{name}.{what}"), figure));
        }
    }
    out
}

/// Carbon's `host:port:instance` as one part of a path; `None` is what Python calls no instance.
fn part(destination: &Destination) -> String {
    let Destination { host, port, instance } = destination;
    format!("{host}:{port}:{}", instance.as_deref().unwrap_or("None")).replace('.', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Health;

    #[test]
    fn destinations_are_called_as_carbon_calls_them() {
        let status = |destination: &str, sent| Status {
            destination: destination.parse().unwrap(),
            health: Health { sent, messages: 2, ..Health::default() },
            queued_points: 4,
            queued_bytes: 100,
            dropped: 5,
            routed: 20,
            routed_away: 6,
        };
        let of = [status("10.0.0.1:2004:a", 11), status("old.example.org:2003", 12)];
        let got = destinations(&of, &[7, 8]);
        assert_eq!(
            got[..7],
            [
                ("destinations.10_0_0_1:2004:a.attemptedRelays".to_owned(), Figure::Count(20)),
                ("destinations.10_0_0_1:2004:a.sent".to_owned(), Figure::Count(11)),
                ("destinations.10_0_0_1:2004:a.batchesSent".to_owned(), Figure::Count(2)),
                ("destinations.10_0_0_1:2004:a.fullQueueDrops".to_owned(), Figure::Count(5)),
                ("destinations.10_0_0_1:2004:a.queuedUntilConnected".to_owned(), Figure::Count(6)),
                ("destinations.10_0_0_1:2004:a.relayMaxQueueLength".to_owned(), Figure::Level(7)),
                ("destinations.10_0_0_1:2004:a.slowConnectionReset".to_owned(), Figure::Level(0)),
            ]
        );
        assert_eq!(got[8], ("destinations.old_example_org:2003:None.sent".to_owned(), Figure::Count(12)));
    }
}
