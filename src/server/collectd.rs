//! collectd's listeners and naming, from the configuration and the files it names.

use std::sync::Arc;

use rhythmite_collectd::{Security, TypesDb};
use rhythmite_env::Env;
use rhythmite_model::Result;

use super::Storage;
use super::rules::read_text;
use crate::adapter::collectd::Collectd;
use crate::adapter::{Shared, UdpPort};
use crate::catalog::NewPolicy;
use crate::config::{self, CollectdNames, Config};
use crate::counters::Counters;
use crate::ingest::EventQueue;
use crate::ingest::collectd::{CollectdIngest, Measurements, Naming};
use crate::ingest::influx::InfluxWriter;

/// One listener, its files read.
pub(super) struct Listener {
    room: config::Collectd,
    security: Security,
    pub(super) ingest: Arc<CollectdIngest>,
}

/// `[collectd]` and its further listeners, in that order: the first is also that of `POST /collectd`.
///
/// # Errors
/// `Invalid`, naming key and file, when one cannot be read; `Unavailable` when a database cannot be made.
pub(super) async fn listeners(
    config: &Config,
    storage: &Storage,
    env: &Env,
    events: &EventQueue,
    counters: &Arc<Counters>,
) -> Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for room in [config.collectd.clone()].into_iter().chain(config.collectd.listeners()) {
        let naming = match room.names {
            CollectdNames::Graphite => Naming::Paths(storage.paths.clone(), room.graphite.clone()),
            CollectdNames::Measurements => Naming::Measurements(measurements(&room, storage).await?),
        };
        let ingest = CollectdIngest::new(types(&room)?, naming, events.clone(), env.clock.clone(), counters.clone());
        listeners.push(Listener { security: security(&room)?, ingest: Arc::new(ingest), room });
    }
    Ok(listeners)
}

/// Starts to receive on the sockets, which are those of [`listeners`].
pub(super) fn start(listeners: Vec<Listener>, shared: &Shared, sockets: Vec<Vec<tokio::net::UdpSocket>>) {
    for (listener, sockets) in listeners.into_iter().zip(sockets) {
        let Listener { room, security, ingest } = listener;
        let adapter =
            Arc::new(Collectd { shared: shared.clone(), security, ingest, durability: room.durability.into() });
        for socket in sockets {
            shared.tasks.spawn(adapter.clone().datagrams(UdpPort { socket, allow: room.allow.clone() }));
        }
    }
}

/// Reads the files of all listeners, so that what is skipped is logged.
///
/// # Errors
/// As [`listeners`].
pub(crate) fn check(config: &Config) -> Result<()> {
    for room in [config.collectd.clone()].into_iter().chain(config.collectd.listeners()) {
        types(&room)?;
        security(&room)?;
    }
    Ok(())
}

fn types(room: &config::Collectd) -> Result<TypesDb> {
    let mut types = TypesDb::built_in();
    for path in &room.types_db.0 {
        let text = read_text(path).map_err(|e| e.at("[collectd] types_db"))?;
        for bad in types.add(&text) {
            tracing::warn!("{}:{}: {}; skipped", path.display(), bad.line, bad.message);
        }
    }
    Ok(types)
}

fn security(room: &config::Collectd) -> Result<Security> {
    let mut security = Security::new(room.security_level);
    if let Some(path) = &room.auth_file {
        let text = read_text(path).map_err(|e| e.at("[collectd] auth_file"))?;
        for line in security.add_users(&text) {
            // Not the line: it may hold a password.
            tracing::warn!("{}:{line}: not `user: password`; skipped", path.display());
        }
    }
    Ok(security)
}

async fn measurements(room: &config::Collectd, storage: &Storage) -> Result<Measurements> {
    // As InfluxDB's input does.
    if let Some(policy) = storage.catalog.create_database(&room.database, NewPolicy::autogen()).await? {
        storage.engine.put_policy(policy);
    }
    Ok(Measurements {
        catalog: storage.catalog.clone(),
        // Its own counts are those of line protocol.
        writer: InfluxWriter::new(storage.engine.clone()),
        database: room.database.clone(),
        retention_policy: room.retention_policy.clone(),
        multi_value: room.parse_multivalue_plugin,
    })
}
