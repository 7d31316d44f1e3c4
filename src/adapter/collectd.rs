//! collectd's network protocol by UDP.
//!
//! Order of events: datagrams are read until there are no more or a batch is full; each is checked, decrypted and decoded
//! as the listener's [`Security`] wants it; what came of them is one write. A write that the engine cannot take now is
//! dropped and counted. A datagram that is refused, in part or whole, costs only itself.
//!
//! Limits: [`BATCH_DATAGRAMS`] and [`BATCH_BYTES`]. A datagram of 64 KiB is read whole, whatever collectd's own
//! `MaxPacketSize` says.

use std::sync::Arc;

use rhythmite_collectd::network::DATAGRAM_MAX;
use rhythmite_collectd::{Decoded, Security, decode};
use rhythmite_engine::Durability;

use super::store::{Loss, Store};
use super::{Shared, UdpPort, udp};
use crate::ingest::collectd::{CollectdIngest, Values};

/// Datagrams of one batch, and their bytes; then it is handed over even if more wait.
const BATCH_DATAGRAMS: usize = 1_024;
const BATCH_BYTES: usize = 64 << 10;
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
        let shared = &self.shared;
        let mut buffer = vec![0; DATAGRAM_MAX];
        let mut values = Values::default();
        let mut store = Store::new(
            shared.clone(),
            self.durability,
            |c| &c.collectd_waits,
            Loss(|c| &c.collectd_failed, "collectd.failed"),
        );
        let mut left = LAST_BATCHES;
        loop {
            match udp::ready(&port.socket, &shared.stop).await {
                Ok(true) if left > 0 => {}
                Ok(_) => break,
                Err(e) => {
                    tracing::error!("[collectd] udp_listen: {e}");
                    break;
                }
            }
            left -= usize::from(shared.stop.is_cancelled());
            self.receive(&port, &mut buffer, &mut values);
            store.write_or_drop(&(&*self.ingest, &values), Loss(|c| &c.collectd_dropped, "collectd.dropped")).await;
            values.clear();
        }
        store.finish().await;
    }

    /// Decodes datagrams until the batch is full or there are no more.
    fn receive(&self, port: &UdpPort, buffer: &mut [u8], values: &mut Values) {
        let counters = &self.shared.counters;
        let (mut datagrams, mut bytes) = (0, 0);
        let mut intake = self.ingest.intake(values);
        let now = intake.now();
        while datagrams < BATCH_DATAGRAMS && bytes < BATCH_BYTES {
            match port.socket.try_recv_from(buffer) {
                Ok((n, peer)) => {
                    (datagrams, bytes) = (datagrams + 1, bytes + n);
                    if !port.allow.accepts(peer.ip()) {
                        self.shared.refuse_peer(peer.ip());
                        continue;
                    }
                    let datagram = &buffer[..n];
                    let decoded = decode(datagram, &self.security, now, |item| intake.item(&item));
                    self.count(decoded, datagram);
                }
                // There are no more, or an error that is not of a datagram for us: nothing to end the listener for.
                Err(_) => break,
            }
        }
        drop(intake);
        counters.collectd_datagrams.add(datagrams as u64);
        counters.collectd_bytes.add(bytes as u64);
    }

    fn count(&self, decoded: Decoded, datagram: &[u8]) {
        let c = &self.shared.counters;
        for (n, counter, reason) in [
            (decoded.incomplete, &c.collectd_rejected_incomplete, "collectd.rejected.incomplete"),
            (decoded.insecure_parts, &c.collectd_rejected_insecure, "collectd.rejected.insecure"),
            (decoded.bad_credentials, &c.collectd_rejected_credentials, "collectd.rejected.credentials"),
            (u64::from(decoded.malformed), &c.collectd_rejected_malformed, "collectd.rejected.malformed"),
        ] {
            if n > 0 {
                counter.add(n);
                c.offenders.note(reason, datagram, self.shared.clock.now_s());
            }
        }
        c.collectd_unknown_parts.add(decoded.unknown_parts);
    }
}
