//! From a text to rows: one DataFusion session per query, made from a shared state.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::catalog::{CatalogProviderList, TableProvider};
use datafusion::common::config::Dialect;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue, TableReference};
use datafusion::execution::context::{QueryPlanner, SessionContext};
use datafusion::execution::disk_manager::{DiskManager, DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionStateDefaults, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionConfig;
use rhythmite_engine::Engine;
use rhythmite_env::{Clock, Env};
use rhythmite_model::{Error, Result};

use super::catalog::Catalogs;
use super::joins::{PAIRS_MAX, StoppableJoins};
use super::memory::{ProcessMemory, QueryMemory};
use super::planner::{Planner, Unaided};
use super::shapes::{Advice, Shapes, Statement};
use super::{SqlOptions, SqlRequest, Visible, error, functions, nesting, read_only, shapes};
use crate::catalog::{Catalog, Databases};
use crate::query::scan::{QueryScope, TsQuery, TsShape};

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
    shapes: Shapes,
    own_plans: bool,
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
        let planner: Arc<dyn QueryPlanner + Send + Sync> = match options.own_plans {
            true => Arc::new(Planner),
            false => Arc::new(Unaided),
        };
        let state = SessionStateBuilder::new_with_default_features()
            .with_config(config)
            .with_runtime_env(runtime.clone())
            .with_scalar_functions(scalar)
            // Formats and factories are for files, which no query reads.
            .with_file_formats(Vec::new())
            .with_table_factories(Default::default())
            .with_physical_optimizer_rules(rules)
            .with_query_planner(planner)
            .build();
        Ok(Self {
            engine,
            catalog,
            clock: env.clock.clone(),
            state,
            runtime,
            memory: ProcessMemory::new(options.memory),
            query_memory: options.query_memory,
            shapes: Shapes::default(),
            own_plans: options.own_plans,
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

    /// Shapes of statements whose plans are kept, and queries that used one.
    pub fn plans(&self) -> (u64, u64) {
        self.shapes.stats()
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
        let place = Place { databases, schema, database: request.database, visible: request.visible };
        let dialect = self.state.config_options().sql_parser.dialect;
        let tokens = nesting::check_text(&request.sql, dialect)?;
        if self.own_plans
            && request.params.is_empty()
            && let Some(statement) = Statement::new(&tokens)
            && let Some(rows) = self.by_shape(&place, &statement).await?
        {
            return Ok(rows);
        }
        let (state, mut plan) = self.logical(&place, &request.sql).await?;
        if !request.params.is_empty() {
            let params: HashMap<String, ScalarValue> =
                request.params.into_iter().map(|(name, value)| (name, value.into())).collect();
            plan = plan.with_param_values(ParamValues::from(params)).map_err(error::from_datafusion)?;
        }
        let context = SessionContext::new_with_state(state);
        let physical = context.state().create_physical_plan(&plan).await.map_err(error::from_datafusion)?;
        execute_stream(physical, context.task_ctx()).map_err(error::from_datafusion)
    }

    /// Starts a statement by the plan of its shape, if there is one.
    async fn by_shape(&self, place: &Place, statement: &Statement) -> Result<Option<SendableRecordBatchStream>> {
        let key = format!("{}\0{}", place.database, statement.shape);
        let plan = match self.shapes.advice(&key) {
            Advice::Plan => return Ok(None),
            Advice::Use(plan) => plan,
            Advice::Learn => {
                let plan = self.shape_of(place, statement).await.map(Arc::new);
                self.shapes.learned(&key, plan.clone());
                match plan {
                    Some(plan) => plan,
                    None => return Ok(None),
                }
            }
        };
        let scope = QueryScope::new(&self.engine, self.clock.now_ns(), Arc::default());
        let Some(table) = place.table(scope, plan.table()).await else {
            // Gone, or not for everybody's eyes: the ordinary way says what is wrong.
            return Ok(None);
        };
        let Some(query) = plan.query(table, &statement.values, shapes::number) else {
            self.shapes.forget(&key);
            return Ok(None);
        };
        let Some(exec) = query.exec(&self.state).map_err(error::from_datafusion)? else { return Ok(None) };
        let context = TaskContext::new(
            None,
            String::new(),
            self.state.config().clone(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            Arc::new(self.runtime()),
        );
        self.shapes.used();
        execute_stream(exec, Arc::new(context)).map(Some).map_err(error::from_datafusion)
    }

    /// Plans a statement with parameters for values; `None` if the plan cannot be kept.
    async fn shape_of(&self, place: &Place, statement: &Statement) -> Option<TsShape> {
        let (state, plan) = self.logical(place, &statement.shape).await.ok()?;
        let changes = plan.exists(|node| {
            let mut changes = false;
            node.apply_expressions(|expr| {
                changes |= expr.exists(|e| Ok(is_changing(e)))?;
                Ok(TreeNodeRecursion::Continue)
            })?;
            Ok(changes)
        });
        if changes.unwrap_or(true) {
            return None;
        }
        let plan = state.optimize(&plan).ok()?;
        TsQuery::new(&plan)?.into_shape(statement.values.len(), shapes::number)
    }

    /// The plan of a statement, and the session that it belongs to.
    async fn logical(&self, place: &Place, sql: &str) -> Result<(SessionState, LogicalPlan)> {
        let dialect = self.state.config_options().sql_parser.dialect;
        let mut statement = self.state.sql_to_statement(sql, &dialect).map_err(error::from_datafusion)?;
        read_only::check_statement(&statement).map_err(error::from_datafusion)?;
        nesting::check_tables(&statement)?;
        let tags: Vec<String> =
            read_only::take_tags(&mut statement).map_err(error::from_datafusion)?.into_iter().collect();
        let scope = QueryScope::new(&self.engine, self.clock.now_ns(), tags.into());
        let config = self.state.config().clone().with_default_catalog_and_schema(&place.database, &place.schema);
        let mut scalar: Vec<_> = self.state.scalar_functions().values().cloned().collect();
        scalar.push(functions::database(&place.database));
        let state = SessionStateBuilder::new_from_existing(self.state.clone())
            .with_config(config)
            .with_runtime_env(Arc::new(self.runtime()))
            .with_scalar_functions(scalar)
            .with_catalog_list(Arc::new(place.catalogs(scope)))
            .build();
        let plan = state.statement_to_plan(statement).await.map_err(error::from_datafusion)?;
        read_only::check_plan(&plan).map_err(error::from_datafusion)?;
        Ok((state, plan))
    }

    /// What one query runs in.
    fn runtime(&self) -> RuntimeEnv {
        RuntimeEnv {
            memory_pool: Arc::new(QueryMemory::new(self.query_memory, self.memory.clone())),
            disk_manager: self.runtime.disk_manager.clone(),
            cache_manager: self.runtime.cache_manager.clone(),
            object_store_registry: self.runtime.object_store_registry.clone(),
        }
    }
}

/// Where a query looks for tables.
struct Place {
    databases: Arc<Databases>,
    database: String,
    schema: String,
    visible: Visible,
}

impl Place {
    fn catalogs(&self, scope: QueryScope) -> Catalogs {
        Catalogs { scope, databases: self.databases.clone(), visible: self.visible.clone() }
    }

    async fn table(&self, scope: QueryScope, name: &TableReference) -> Option<Arc<dyn TableProvider>> {
        let name = name.clone().resolve(&self.database, &self.schema);
        let catalog = self.catalogs(scope).catalog(&name.catalog)?;
        catalog.schema(&name.schema)?.table(&name.table).await.ok()?
    }
}

/// Whether an expression may be something else in the next query.
fn is_changing(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(function) => function.func.signature().volatility != Volatility::Immutable,
        _ => false,
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
