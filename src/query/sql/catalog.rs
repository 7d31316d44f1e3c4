//! Databases, policies and measurements as DataFusion's catalogs, schemas and tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result};
use rhythmite_engine::registry::Directory;
use rhythmite_model::{KeyKind, PolicyId, TableId};

use super::Visible;
use crate::catalog::{Database, Databases};
use crate::query::scan::{QueryScope, TableSchema, TsTable};

/// What the default policy is also called: the schema that clients of InfluxDB 3 expect.
pub(super) const IOX: &str = "iox";

/// The databases that one query sees.
#[derive(Clone, Debug)]
pub(super) struct Catalogs {
    pub scope: QueryScope,
    pub databases: Arc<Databases>,
    pub visible: Visible,
}

impl CatalogProviderList for Catalogs {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        self.databases.iter().map(|d| d.name.clone()).filter(|name| self.visible.contains(name)).collect()
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        let database = self.databases.get(name).filter(|d| self.visible.contains(&d.name))?;
        Some(Arc::new(DatabaseCatalog { scope: self.scope.clone(), database: Arc::new(database.clone()) }))
    }
}

#[derive(Debug)]
struct DatabaseCatalog {
    scope: QueryScope,
    database: Arc<Database>,
}

impl CatalogProvider for DatabaseCatalog {
    fn schema_names(&self) -> Vec<String> {
        let shown = self.database.policies.iter().filter(|p| !p.internal);
        let mut names: BTreeSet<String> = shown.map(|p| p.policy.name.clone()).collect();
        if self.database.default.is_some() {
            names.insert(IOX.to_owned());
        }
        names.into_iter().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let named = self.database.policies.iter().find(|p| !p.internal && p.policy.name == name);
        let policy = match named {
            Some(policy) => policy,
            None if name == IOX => self.database.default_policy()?,
            None => return None,
        };
        Some(Arc::new(PolicySchema {
            scope: self.scope.clone(),
            prefix: format!("{}.{}", self.database.name, policy.policy.name),
            policy: policy.policy.id,
            default: self.database.default == Some(policy.policy.id),
            database: self.database.clone(),
        }))
    }
}

/// The tables of one policy. Those of the internal policies (Graphite's storage schemas) belong to the default one,
/// where tables of one name are one.
#[derive(Debug)]
struct PolicySchema {
    scope: QueryScope,
    prefix: String,
    policy: PolicyId,
    default: bool,
    database: Arc<Database>,
}

impl PolicySchema {
    fn tables(&self, names: &Directory) -> BTreeMap<String, (KeyKind, Vec<TableId>)> {
        let mut policies = vec![self.policy];
        if self.default {
            policies.extend(self.database.policies.iter().filter(|p| p.internal).map(|p| p.policy.id));
        }
        let mut tables: BTreeMap<String, (KeyKind, Vec<TableId>)> = BTreeMap::new();
        // Paths first: a measurement of the same name steps aside.
        for wanted in [KeyKind::Path, KeyKind::Tagged] {
            for table in policies.iter().flat_map(|&p| names.tables(p)).filter(|t| t.kind() == wanted) {
                let mut name = table.name().to_owned();
                while tables.get(&name).is_some_and(|(kind, _)| *kind != wanted) {
                    name.push_str("_tagged");
                }
                tables.entry(name).or_insert_with(|| (wanted, Vec::new())).1.push(table.id());
            }
        }
        tables
    }
}

#[async_trait]
impl SchemaProvider for PolicySchema {
    fn table_names(&self) -> Vec<String> {
        self.tables(&self.scope.engine.registry().read()).into_keys().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let names = self.scope.engine.registry().read();
        let Some((kind, tables)) = self.tables(&names).remove(name) else { return Ok(None) };
        let schema = TableSchema::new(&names, kind, tables, &self.scope.tags);
        let full_name = format!("{}.{name}", self.prefix);
        Ok(Some(Arc::new(TsTable::new(self.scope.clone(), full_name, schema))))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables(&self.scope.engine.registry().read()).contains_key(name)
    }
}
