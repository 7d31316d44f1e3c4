//! Carbon's files, read again when they change.
//!
//! Every [`PERIOD`] their texts are compared with those that hold. What changed is taken: schemas and aggregation for each
//! series from its next point on, lists and the aggregator's rules within a second. A file that cannot be read or is gone
//! is told once, and the rules that hold go on. Everything in the TOML file needs a restart.

use std::sync::Arc;
use std::time::Duration;

use rhythmite_model::{Error, Result};
use tokio_util::sync::CancellationToken;

use super::rules::Rules;
use crate::adapter::carbon::{Aggregation, NameFilter};
use crate::catalog::Catalog;
use crate::config::Config;
use crate::ingest::{PathIngest, PathRules};
use crate::relay::Relay;

/// As often as carbon looks for the aggregator's rules.
const PERIOD: Duration = Duration::from_secs(10);

/// Everything that rules go to.
pub(super) struct Reload {
    pub(super) config: Arc<Config>,
    pub(super) rules: Rules,
    pub(super) catalog: Catalog,
    pub(super) paths: Arc<PathIngest>,
    pub(super) filter: Arc<NameFilter>,
    pub(super) aggregation: Option<Arc<Aggregation>>,
    pub(super) relay: Option<Arc<Relay>>,
    /// Schemas that are no file's stay.
    pub(super) fixed_schemas: bool,
}

impl Reload {
    /// Looks until the server stops.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut told = String::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = stop.cancelled() => return,
            }
            match self.look().await {
                Ok(()) => told.clear(),
                Err(e) if told == e.message() => {}
                Err(e) => {
                    tracing::warn!("rules are not read again: {e}");
                    e.message().clone_into(&mut told);
                }
            }
        }
    }

    /// Takes what has changed.
    async fn look(&mut self) -> Result<()> {
        let config = self.config.clone();
        let read = tokio::task::spawn_blocking(move || Rules::read(&config)).await;
        let fresh = read.map_err(|e| Error::internal(format!("reading rules: {e}")))??;
        let changed = fresh.changes(&self.rules);
        if changed.storage && !self.fixed_schemas {
            let (rules, warnings) = PathRules::load(&fresh.storage, &self.catalog).await?;
            warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            self.paths.replace_rules(rules);
            tracing::info!("storage schemas and aggregation were read again");
        }
        if changed.lists {
            self.filter.replace(fresh.lists().unwrap_or_default());
            tracing::info!("whitelist and blacklist were read again");
        }
        if let Some(aggregation) = self.aggregation.as_ref().filter(|_| changed.aggregator) {
            let (rules, rewrites) = fresh.aggregator();
            aggregation.reload(rules, rewrites);
            tracing::info!("the aggregator's rules were read again");
        }
        let by_aggregates = self.config.relay.relay_method.looks_at_aggregates();
        let moves = changed.relay || (changed.aggregator && by_aggregates);
        if let Some(relay) = self.relay.as_ref().filter(|_| moves)
            && let Some(router) = fresh.router(&self.config)?
            && relay.replace_router(router)
        {
            tracing::info!("the relay's rules were read again");
        }
        self.rules = fresh;
        Ok(())
    }
}
