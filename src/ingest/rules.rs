//! Which policy and which roll-up a Graphite path gets.

use std::collections::HashMap;

use rhythmite_carbon::rules::{AggregationMethod, Archive, StorageAggregation, StorageSchemas, Warning};
use rhythmite_model::{Error, Level, Policy, PolicyId, Result, RollupRule};

use crate::catalog::Catalog;

const SECOND_NS: i64 = 1_000_000_000;

/// The texts of the classic files, with their names for messages; `None` where none is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulesText {
    /// storage-schemas.conf.
    pub schemas: Option<(String, String)>,
    /// storage-aggregation.conf.
    pub aggregation: Option<(String, String)>,
}

/// What the rules say of one path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathRule {
    /// The policy that holds its points.
    pub policy: PolicyId,
    /// How coarser levels come from finer ones.
    pub rollup: RollupRule,
}

impl PathRule {
    /// How coarser levels come from finer ones, as storage-aggregation.conf calls it.
    pub fn method_name(&self) -> &'static str {
        match self.rollup.method {
            2 => "sum",
            3 => "last",
            4 => "max",
            5 => "min",
            6 => "avg_zero",
            7 => "absmax",
            8 => "absmin",
            9 => "median",
            _ => "average",
        }
    }
}

/// storage-schemas and storage-aggregation, with the policy of each schema made.
pub struct PathRules {
    schemas: StorageSchemas,
    aggregation: StorageAggregation,
    policies: HashMap<Vec<Archive>, Policy>,
}

impl PathRules {
    /// Reads the rules and makes the policies they need. Without schemas the built-in rules hold, which also choose
    /// the aggregation by the path's suffix; with a schemas file and no aggregation file, carbon's defaults do.
    ///
    /// # Errors
    /// `Unavailable` when the catalogue cannot keep a policy.
    pub async fn load(text: &RulesText, catalog: &Catalog) -> Result<(Self, Vec<Warning>)> {
        let (schemas, mut warnings) = match &text.schemas {
            Some((text, file)) => StorageSchemas::parse(text, file),
            None => (StorageSchemas::built_in(), Vec::new()),
        };
        let aggregation = match (&text.aggregation, &text.schemas) {
            (Some((text, file)), _) => {
                let (aggregation, more) = StorageAggregation::parse(text, file);
                warnings.extend(more);
                aggregation
            }
            (None, None) => StorageAggregation::built_in(),
            (None, Some(_)) => StorageAggregation::parse("", "").0,
        };
        let mut policies = HashMap::new();
        for schema in schemas.schemas() {
            if !policies.contains_key(&schema.archives) {
                let policy = catalog.intern_graphite_policy(levels(&schema.archives)).await?;
                policies.insert(schema.archives.clone(), policy);
            }
        }
        Ok((Self { schemas, aggregation, policies }, warnings))
    }

    /// The policies of all schemas, for the engine.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.values()
    }

    /// The name of the schema that holds for `path`; as dear as [`PathRules::find`].
    pub fn schema(&self, path: &str) -> &str {
        &self.schemas.find(path).name
    }

    /// What holds for `path`. Costs a regular expression or more: ask once per series.
    ///
    /// # Errors
    /// `Internal` if a schema has no policy.
    pub fn find(&self, path: &str) -> Result<PathRule> {
        let schema = self.schemas.find(path);
        let policy = self.policies.get(&schema.archives);
        let policy = policy.ok_or_else(|| Error::internal(format!("schema {} has no policy", schema.name)))?.id;
        let aggregation = self.aggregation.find(path);
        let rollup = RollupRule {
            method: method_code(aggregation.method),
            x_files_factor: aggregation.x_files_factor,
            imported_until_s: 0,
        };
        Ok(PathRule { policy, rollup })
    }
}

/// The levels of a list of archives.
fn levels(archives: &[Archive]) -> Vec<Level> {
    let retention = |a: &Archive| i64::try_from(a.retention_s()).unwrap_or(i64::MAX).saturating_mul(SECOND_NS);
    archives.iter().map(|a| Level { step_ns: i64::from(a.step_s) * SECOND_NS, retention_ns: retention(a) }).collect()
}

/// The code of a method in [`RollupRule`].
fn method_code(method: AggregationMethod) -> u8 {
    match method {
        AggregationMethod::Average => 1,
        AggregationMethod::Sum => 2,
        AggregationMethod::Last => 3,
        AggregationMethod::Max => 4,
        AggregationMethod::Min => 5,
        AggregationMethod::AvgZero => 6,
        AggregationMethod::AbsMax => 7,
        AggregationMethod::AbsMin => 8,
        AggregationMethod::Median => 9,
    }
}
