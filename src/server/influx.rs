//! InfluxDB's UDP listener, from the configuration.

use std::sync::Arc;

use rhythmite_influx::line_protocol::Precision;
use rhythmite_model::Result;
use tokio::net::UdpSocket;

use super::Storage;
use crate::adapter::influx::InfluxUdp;
use crate::adapter::{Shared, UdpPort};
use crate::catalog::NewPolicy;
use crate::config::Config;
use crate::ingest::influx::{InfluxWriter, TimeUnit};

/// Starts to receive on the sockets; makes the database, as 1.x does.
///
/// # Errors
/// `Unavailable` when the database cannot be made, `Invalid` for its name.
pub(super) async fn start(config: &Config, storage: &Storage, shared: &Shared, sockets: Vec<UdpSocket>) -> Result<()> {
    if sockets.is_empty() {
        return Ok(());
    }
    let room = &config.influx;
    storage.catalog.create_database(&room.udp_database, NewPolicy::autogen()).await?;
    let adapter = Arc::new(InfluxUdp {
        shared: shared.clone(),
        catalog: storage.catalog.clone(),
        writer: InfluxWriter::counted(storage.engine.clone(), shared.counters.clone()),
        database: room.udp_database.clone(),
        policy: room.udp_retention_policy.clone(),
        unit: TimeUnit::Fixed(Precision::from_param(&room.udp_precision).unwrap_or_default()),
        batch_bytes: room.udp_batch.bytes(),
    });
    for socket in sockets {
        shared.tasks.spawn(adapter.clone().datagrams(UdpPort { socket, allow: room.allow.clone() }));
    }
    Ok(())
}
