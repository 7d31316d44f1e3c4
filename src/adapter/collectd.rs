//! collectd's network protocol by UDP.
//!
//! Order of events: datagrams are read until there are no more or a batch is full; each is checked, decrypted and decoded
//! as the listener's [`Security`] wants it; what came of them is one write. A write that the engine cannot take now is
//! dropped and counted. A datagram that is refused, in part or whole, costs only itself.
//!
//! Limits: [`BATCH`]. A datagram of 64 KiB is read whole, whatever collectd's own `MaxPacketSize` says.

use std::sync::Arc;

use rhythmite_collectd::{Decoded, Security, decode};
use rhythmite_engine::Durability;

use super::store::{Loss, Store};
use super::udp::{self, BatchMax, Datagrams, Inbox};
use super::{Shared, UdpPort};
use crate::ingest::collectd::{CollectdIngest, Values};
use crate::senders::Sender;

/// What is read together; then it is handed over even if more waits.
const BATCH: BatchMax = BatchMax { datagrams: 1_024, bytes: 64 << 10 };
/// Batches still taken from the socket when the server stops, if senders do not pause.
const LAST_BATCHES: usize = 64;

/// One listener's rules.
pub struct Collectd {
    /// What every adapter is given.
    pub shared: Shared,
    /// Who may send what.
    pub security: Security,
    /// Where the values go.
    pub ingest: Arc<CollectdIngest>,
    /// When a batch counts as stored.
    pub durability: Durability,
}

impl Collectd {
    /// Receives datagrams until the server stops.
    pub async fn datagrams(self: Arc<Self>, port: UdpPort) {
        let shared = self.shared.clone();
        let work = move |inbox| self.receive(inbox);
        udp::receive("collectd-udp", "[collectd] udp_listen", port, shared, LAST_BATCHES, work).await;
    }

    async fn receive(self: Arc<Self>, mut inbox: Inbox<impl Datagrams>) {
        let (shared, counters) = (&self.shared, &self.shared.counters);
        let failed = Loss(|c| &c.collectd_failed, "collectd.failed");
        let mut store = Store::new(shared.clone(), self.durability, |c| &c.collectd_waits, failed);
        let mut values = Values::default();
        while inbox.ready().await {
            let mut intake = self.ingest.intake(&mut values);
            let now = intake.now();
            let read = inbox.read(BATCH, |datagram, peer| {
                intake.begin(peer);
                let decoded = decode(datagram, &self.security, now, |item| intake.item(&item));
                self.count(decoded, datagram, peer.into());
            });
            drop(intake);
            counters.collectd_datagrams.add(read.datagrams);
            counters.collectd_bytes.add(read.bytes);
            store.write_or_drop(&(&*self.ingest, &values), Loss(|c| &c.collectd_dropped, "collectd.dropped")).await;
            values.clear();
        }
        store.finish().await;
    }

    fn count(&self, decoded: Decoded, datagram: &[u8], sender: Sender<'_>) {
        let c = &self.shared.counters;
        for (n, counter, reason) in [
            (decoded.incomplete, &c.collectd_rejected_incomplete, "collectd.rejected.incomplete"),
            (decoded.insecure_parts, &c.collectd_rejected_insecure, "collectd.rejected.insecure"),
            (decoded.bad_credentials, &c.collectd_rejected_credentials, "collectd.rejected.credentials"),
            (u64::from(decoded.malformed), &c.collectd_rejected_malformed, "collectd.rejected.malformed"),
        ] {
            if n > 0 {
                counter.add(n);
                c.offenders.note_from(reason, datagram, sender, self.shared.clock.now_s());
            }
        }
        c.collectd_unknown_parts.add(decoded.unknown_parts);
    }
}
