//! InfluxDB's line protocol by UDP.
//!
//! Order of events: datagrams are read until there are no more or a batch is full; their lines are one write into the
//! listener's database. A batch that the engine cannot take now is dropped and counted; a line that is refused costs only
//! itself, and is counted as one that came by HTTP. The protocol has no answers: the log and the samples name
//! the sender.
//!
//! Limits: datagrams and bytes of a batch. A line that was cut by the length of its datagram is refused, or is another.

use std::sync::Arc;

use rhythmite_engine::{Commit, Durability};
use rhythmite_model::{Error, Result};

use super::store::{Batch, Loss, Store};
use super::udp::{self, BatchMax, Datagrams, Inbox};
use super::{Shared, UdpPort};
use crate::catalog::Catalog;
use crate::ingest::influx::{InfluxWriter, LineWrite, TimeUnit};
use crate::senders::{Sender, Senders};

/// Datagrams of one batch; then it is handed over even if more wait.
const BATCH_DATAGRAMS: usize = 4_096;
/// Batches still taken from the sockets when the server stops, if senders do not pause.
const LAST_BATCHES: usize = 64;

/// Where lines go, and how they are read.
pub struct InfluxUdp {
    /// What every adapter is given.
    pub shared: Shared,
    /// Knows the policy.
    pub catalog: Catalog,
    /// The way in.
    pub writer: InfluxWriter,
    /// The database.
    pub database: String,
    /// Its policy; the default one if empty.
    pub policy: String,
    /// The unit of timestamps.
    pub unit: TimeUnit,
    /// Bytes of a batch.
    pub batch_bytes: usize,
}

/// Datagrams of one write.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    datagrams: usize,
    /// By places in the text.
    senders: Senders,
}

impl InfluxUdp {
    /// Receives datagrams until the server stops.
    pub async fn datagrams(self: Arc<Self>, port: UdpPort) {
        let shared = self.shared.clone();
        let work = move |inbox| self.receive(inbox);
        udp::receive("influx-udp", "[influx] udp_listen", port, shared, LAST_BATCHES, work).await;
    }

    async fn receive(self: Arc<Self>, mut inbox: Inbox<impl Datagrams>) {
        let (shared, counters) = (&self.shared, &self.shared.counters);
        let failed = Loss(|c| &c.influx_udp_failed, "influx.udp.failed");
        let mut store = Store::new(shared.clone(), Durability::Interval, |c| &c.influx_udp_dropped, failed);
        let mut lines = Lines::default();
        let max = BatchMax { datagrams: BATCH_DATAGRAMS, bytes: self.batch_bytes };
        while inbox.ready().await {
            let read = inbox.read(max, |datagram, peer| {
                lines.senders.begin(lines.text.len(), peer);
                lines.text.extend_from_slice(datagram);
                // The next datagram begins a line, even if this one did not end its last.
                lines.text.push(b'\n');
                lines.datagrams += 1;
            });
            counters.influx_udp_datagrams.add(read.datagrams);
            counters.influx_udp_bytes.add(read.bytes);
            store.write_or_drop(&(&*self, &lines), Loss(|c| &c.influx_udp_dropped, "influx.udp.dropped")).await;
            lines.text.clear();
            lines.datagrams = 0;
            lines.senders.clear();
        }
        store.finish().await;
    }
}

/// Counted in datagrams: of what is dropped unread, the lines are not known.
impl Batch for (&InfluxUdp, &Lines) {
    fn points(&self) -> usize {
        self.1.datagrams
    }

    fn sample(&self) -> &str {
        let first = self.1.text.split(|b| *b == b'\n').next().unwrap_or_default();
        std::str::from_utf8(first).unwrap_or_default()
    }

    fn sender(&self) -> Sender<'_> {
        self.1.senders.at(0)
    }

    fn write(&self, shared: &Shared, durability: Durability) -> Result<Commit> {
        let (udp, lines) = self;
        let databases = udp.catalog.databases();
        let found = databases.get(&udp.database).and_then(|database| database.policy(&udp.policy));
        let policy = &found.filter(|policy| !policy.internal).ok_or_else(|| udp.not_found())?.policy;
        let outcome = udp.writer.write(&LineWrite {
            body: &lines.text,
            policy,
            unit: udp.unit,
            now_ns: shared.clock.now_ns(),
            accept_partial: true,
            durability,
            senders: Some(&lines.senders),
        })?;
        Ok(outcome.commit)
    }
}

impl InfluxUdp {
    fn not_found(&self) -> Error {
        let of = if self.policy.is_empty() { String::new() } else { format!(" with policy {:?}", self.policy) };
        Error::not_found(format!("[influx] udp_listen: there is no database {:?}{of} any more", self.database))
    }
}
