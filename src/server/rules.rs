//! The classic files that keys of the configuration name.

use std::path::{Path, PathBuf};

use rhythmite_carbon::aggregator::{AggregationRules, RewriteRules};
use rhythmite_carbon::relay::{Destination, HashType, Hashing, Router};
use rhythmite_carbon::rules::{Filter, NameList, RelayRules, StorageAggregation, StorageSchemas, Warning};
use rhythmite_model::{Error, Result};

use crate::config::{Config, FILE_BYTES_MAX, RelayMethod};
use crate::ingest::RulesText;

/// The files' texts.
pub struct Rules {
    /// storage-schemas and storage-aggregation.
    pub storage: RulesText,
    whitelist: Option<(String, String)>,
    blacklist: Option<(String, String)>,
    use_lists: bool,
    aggregation: Option<(String, String)>,
    rewrite: Option<(String, String)>,
    relay: Option<(String, String)>,
}

impl Rules {
    /// Reads every file that the configuration names.
    ///
    /// # Errors
    /// `Invalid`, naming key and file, when one cannot be read. Lists that are not used need not exist.
    pub fn read(config: &Config) -> Result<Self> {
        let lists = config.carbon.use_whitelist;
        Ok(Self {
            storage: RulesText {
                schemas: read("[graphite] storage_schemas", config.graphite.storage_schemas.as_ref())?,
                aggregation: read("[graphite] storage_aggregation", config.graphite.storage_aggregation.as_ref())?,
            },
            whitelist: read("[carbon] whitelist", config.carbon.whitelist.as_ref().filter(|_| lists))?,
            blacklist: read("[carbon] blacklist", config.carbon.blacklist.as_ref().filter(|_| lists))?,
            use_lists: lists,
            aggregation: read("[aggregator] rules", config.aggregator.rules.as_ref())?,
            rewrite: read("[aggregator] rewrite_rules", config.aggregator.rewrite_rules.as_ref())?,
            relay: read("[relay] relay_rules", config.relay.relay_rules.as_ref())?,
        })
    }

    /// What differs from `other`.
    pub(super) fn changes(&self, other: &Self) -> Changes {
        Changes {
            storage: self.storage != other.storage,
            lists: (&self.whitelist, &self.blacklist) != (&other.whitelist, &other.blacklist),
            aggregator: (&self.aggregation, &self.rewrite) != (&other.aggregation, &other.rewrite),
            relay: self.relay != other.relay,
        }
    }

    /// Reads all of it, so that what is skipped is logged.
    pub fn check(&self) {
        let RulesText { schemas, aggregation } = &self.storage;
        let _ = schemas.as_ref().map(parse(StorageSchemas::parse));
        let _ = aggregation.as_ref().map(parse(StorageAggregation::parse));
        let _ = self.lists();
        let _ = self.aggregator();
    }

    /// White- and blacklist, if they are used. Lines that are skipped are logged.
    pub fn lists(&self) -> Option<Filter> {
        if !self.use_lists {
            return None;
        }
        let list =
            |text: &Option<(String, String)>| text.as_ref().map_or_else(Default::default, parse(NameList::parse));
        Some(Filter { whitelist: list(&self.whitelist), blacklist: list(&self.blacklist) })
    }

    /// The relay's router; `None` without destinations.
    ///
    /// # Errors
    /// `Invalid`, for what carbon's relay would not start with.
    pub fn router(&self, config: &Config) -> Result<Option<Router>> {
        let room = &config.relay;
        if room.destinations.is_empty() {
            return Ok(None);
        }
        let invalid = |e: String| Error::invalid(format!("[relay] {e}"));
        let destinations: Result<Vec<Destination>, String> = room.destinations.iter().map(|d| d.parse()).collect();
        let destinations = destinations.map_err(invalid)?;
        let router = match room.relay_method {
            RelayMethod::ConsistentHashing
            | RelayMethod::AggregatedConsistentHashing
            | RelayMethod::FastHashing
            | RelayMethod::FastAggregatedHashing => {
                let fast = matches!(room.relay_method, RelayMethod::FastHashing | RelayMethod::FastAggregatedHashing);
                let hashing = Hashing {
                    // As carbon: the fast methods have another default.
                    hash: room.router_hash_type.unwrap_or(if fast { HashType::Mmh3 } else { HashType::Carbon }),
                    fast,
                    replication_factor: room.replication_factor,
                    diverse_replicas: room.diverse_replicas,
                    aggregation: room.relay_method.looks_at_aggregates().then(|| self.aggregator().0),
                };
                Router::hashing(destinations, hashing)
            }
            RelayMethod::Rules => {
                let (text, file) = self
                    .relay
                    .as_ref()
                    .ok_or_else(|| invalid("relay_method = \"rules\" needs relay_rules".to_owned()))?;
                let (rules, warnings) = RelayRules::parse(text, file).map_err(invalid)?;
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                for rule in rules.destinations().filter(|d| !destinations.contains(d)) {
                    tracing::warn!("{file}: {rule} is not among [relay] destinations: nothing is sent there");
                }
                Router::rules(destinations, rules)
            }
        };
        router.map(Some).map_err(invalid)
    }

    /// The aggregator's rules; empty without files.
    pub fn aggregator(&self) -> (AggregationRules, RewriteRules) {
        let rules = self.aggregation.as_ref().map_or_else(Default::default, parse(AggregationRules::parse));
        let rewrites = self.rewrite.as_ref().map_or_else(Default::default, parse(RewriteRules::parse));
        (rules, rewrites)
    }
}

/// Which files have another text.
pub(super) struct Changes {
    pub(super) storage: bool,
    pub(super) lists: bool,
    pub(super) aggregator: bool,
    pub(super) relay: bool,
}

/// Reads a text by `parser` and logs what it skipped.
fn parse<T>(parser: fn(&str, &str) -> (T, Vec<Warning>)) -> impl Fn(&(String, String)) -> T {
    move |(text, file)| {
        let (value, warnings) = parser(text, file);
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        value
    }
}

/// Text and name of a file.
fn read(key: &str, path: Option<&PathBuf>) -> Result<Option<(String, String)>> {
    path.map(|path| read_text(path).map(|text| (text, path.display().to_string())).map_err(|e| e.at(key))).transpose()
}

/// A small text file.
///
/// # Errors
/// `Invalid`, naming the file.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let failed = |e: &dyn std::fmt::Display| Error::invalid(format!("{}: {e}", path.display()));
    let bytes = std::fs::metadata(path).map_err(|e| failed(&e))?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(failed(&format_args!("{bytes} bytes, more than the {FILE_BYTES_MAX} expected")));
    }
    std::fs::read_to_string(path).map_err(|e| failed(&e))
}
