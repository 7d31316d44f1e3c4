//! From a text to rows: one DataFusion session per query, made from a shared state.

use std::sync::Arc;

use datafusion::common::config::Dialect;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::context::SessionContext;
use datafusion::execution::disk_manager::{DiskManager, DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionStateDefaults};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionConfig;
use rhythmite_engine::Engine;
use rhythmite_env::{Clock, Env};
use rhythmite_model::{Error, Result};

use super::catalog::Catalogs;
use super::joins::{PAIRS_MAX, StoppableJoins};
use super::memory::{ProcessMemory, QueryMemory};
use super::{SqlOptions, SqlRequest, error, functions, nesting, read_only};
use crate::catalog::Catalog;
use crate::query::scan::QueryScope;

/// Longest statement, in bytes.
const SQL_BYTES_MAX: usize = 256 << 10;

/// The value of a `$name`.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// NULL.
    Null,
    /// A truth value.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A whole number beyond i64.
    Unsigned(u64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(String),
}

impl From<Param> for ScalarValue {
    fn from(param: Param) -> Self {
        match param {
            Param::Null => ScalarValue::Null,
            Param::Boolean(b) => ScalarValue::Boolean(Some(b)),
            Param::Integer(i) => ScalarValue::Int64(Some(i)),
            Param::Unsigned(u) => ScalarValue::UInt64(Some(u)),
            Param::Float(f) => ScalarValue::Float64(Some(f)),
            Param::Text(text) => ScalarValue::Utf8(Some(text)),
        }
    }
}

/// Makes sessions.
pub(super) struct Sessions {
    engine: Engine,
    catalog: Catalog,
    clock: Arc<dyn Clock>,
    /// What all sessions have in common.
    state: SessionState,
    runtime: Arc<RuntimeEnv>,
    memory: Arc<ProcessMemory>,
    query_memory: usize,
}

impl Sessions {
    pub fn new(env: &Env, engine: Engine, catalog: Catalog, options: &SqlOptions) -> Result<Self> {
        prepare_spill_dir(&options.spill_dir)?;
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![options.spill_dir.clone()]))
            .with_max_temp_directory_size(options.spill_bytes_max);
        let runtime =
            RuntimeEnvBuilder::new().with_disk_manager_builder(disk).build_arc().map_err(error::from_datafusion)?;
        let mut config = SessionConfig::new()
            .with_information_schema(true)
            .with_create_default_catalog_and_schema(false)
            .with_target_partitions(options.threads.max(1));
        let settings = config.options_mut();
        // Texts are Utf8, as the readers of InfluxDB 3 answers expect.
        settings.sql_parser.map_string_types_to_utf8view = false;
        settings.sql_parser.dialect = Dialect::PostgreSQL;
        // What a sort keeps back for merging its spilled runs; the default is for pools of many hundred megabytes.
        settings.execution.sort_spill_reservation_bytes =
            (options.query_memory / 16).min(settings.execution.sort_spill_reservation_bytes);
        let mut rules = PhysicalOptimizer::new().rules;
        rules.push(Arc::new(StoppableJoins { pairs_max: PAIRS_MAX }));
        let mut scalar = SessionStateDefaults::default_scalar_functions();
        scalar.extend(functions::shared());
        let state = SessionStateBuilder::new_with_default_features()
            .with_config(config)
            .with_runtime_env(runtime.clone())
            .with_scalar_functions(scalar)
            // Formats and factories are for files, which no query reads.
            .with_file_formats(Vec::new())
            .with_table_factories(Default::default())
            .with_physical_optimizer_rules(rules)
            .build();
        Ok(Self {
            engine,
            catalog,
            clock: env.clock.clone(),
            state,
            runtime,
            memory: ProcessMemory::new(options.memory),
            query_memory: options.query_memory,
        })
    }

    /// Bytes of memory that queries hold.
    pub fn reserved(&self) -> usize {
        self.memory.reserved()
    }

    /// Bytes in spill files.
    pub fn spilled(&self) -> u64 {
        DiskManager::used_disk_space(&self.runtime.disk_manager)
    }

    /// Plans a statement and starts it.
    ///
    /// # Errors
    /// `NotFound` for the database, `Invalid` for the statement.
    pub async fn start(&self, request: SqlRequest) -> Result<SendableRecordBatchStream> {
        if request.sql.len() > SQL_BYTES_MAX {
            return Err(Error::invalid(format!("the query is longer than {SQL_BYTES_MAX} bytes")));
        }
        let databases = self.catalog.databases();
        let schema = databases
            .get(&request.database)
            .filter(|d| request.visible.contains(&d.name))
            .ok_or_else(|| Error::not_found(format!("database not found: {}", request.database)))?
            .default_policy()
            .map_or(super::catalog::IOX.to_owned(), |p| p.policy.name.clone());
        let dialect = self.state.config_options().sql_parser.dialect;
        nesting::check_text(&request.sql, dialect)?;
        let mut statement = self.state.sql_to_statement(&request.sql, &dialect).map_err(error::from_datafusion)?;
        read_only::check_statement(&statement).map_err(error::from_datafusion)?;
        nesting::check_tables(&statement)?;
        let tags: Vec<String> =
            read_only::take_tags(&mut statement).map_err(error::from_datafusion)?.into_iter().collect();

        let now_ns = self.clock.now_ns();
        let scope = QueryScope::new(&self.engine, now_ns, tags.into());
        let config = self.state.config().clone().with_default_catalog_and_schema(&request.database, schema);
        let memory = QueryMemory::new(self.query_memory, self.memory.clone());
        let runtime = RuntimeEnv {
            memory_pool: Arc::new(memory),
            disk_manager: self.runtime.disk_manager.clone(),
            cache_manager: self.runtime.cache_manager.clone(),
            object_store_registry: self.runtime.object_store_registry.clone(),
        };
        let mut scalar: Vec<_> = self.state.scalar_functions().values().cloned().collect();
        scalar.push(functions::database(&request.database));
        let state = SessionStateBuilder::new_from_existing(self.state.clone())
            .with_config(config)
            .with_runtime_env(Arc::new(runtime))
            .with_scalar_functions(scalar)
            .with_catalog_list(Arc::new(Catalogs { scope, databases, visible: request.visible }))
            .build();
        let mut plan = state.statement_to_plan(statement).await.map_err(error::from_datafusion)?;
        read_only::check_plan(&plan).map_err(error::from_datafusion)?;
        if !request.params.is_empty() {
            let params: std::collections::HashMap<String, ScalarValue> =
                request.params.into_iter().map(|(name, value)| (name, value.into())).collect();
            plan = plan.with_param_values(ParamValues::from(params)).map_err(error::from_datafusion)?;
        }
        let context = SessionContext::new_with_state(state);
        let physical = context.state().create_physical_plan(&plan).await.map_err(error::from_datafusion)?;
        execute_stream(physical, context.task_ctx()).map_err(error::from_datafusion)
    }
}

/// Makes the directory, without what a crash has left in it.
fn prepare_spill_dir(dir: &std::path::Path) -> Result<()> {
    let at = |e: std::io::Error| Error::from(e).at(dir.display());
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(at(e)),
        _ => {}
    }
    std::fs::create_dir_all(dir).map_err(at)
}
