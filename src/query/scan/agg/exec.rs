use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use rhythmite_engine::{Cut, RollupScan, RollupsOf, Scan, SeriesPieces, Stream, Summing};
use rhythmite_model::{FieldId, FieldType, PolicyId, SeriesId, TableId, Tier};

use super::SLOTS_MAX;
use super::accumulator::What;
use super::gaps;
use super::newest;
use super::query::{Key, RowsOf, Spec};
use super::rolled::Rolled;
use super::state::State;
use super::windows::Windows;
use crate::query::graphite::levels::LevelScan;
use crate::query::scan::backwards::Backwards;
use crate::query::scan::exec::{Piece, Plan, external, key_of};
use crate::query::scan::leaf::leaf_methods;
use crate::query::scan::provider::Reading;
use crate::query::scan::schema::{ColumnKind, TIME};
use crate::query::scan::{TsTable, refuse, time};

/// Series of a table that one thread reads alone: opening files twice would cost more than it saves.
const SERIES_WHOLE: u64 = 16;
/// Values after which others may run.
const VALUES_AT_A_TIME: usize = 1 << 17;
/// Up to here a float holds every integer.
const EXACT_MAX: u64 = 1 << 53;
/// What a value in memory takes at least.
const VALUE_BYTES_MIN: u64 = 8;
/// What has not been flushed is mostly not older.
const DAY_NS: i64 = 86_400_000_000_000;

/// Answers what is asked of groups. One partition.
#[derive(Debug)]
pub struct TsAggExec {
    job: Arc<Job>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// What is read and what becomes of it.
#[derive(Debug)]
pub(super) struct Job {
    pub plan: Plan,
    pub spec: Arc<Spec>,
}

/// The fields of a query in one of the engine's tables.
pub(super) struct TableFields {
    /// Of each field of the query; `None` if the table does not have it.
    named: Vec<Option<FieldId>>,
    /// Ascending.
    others: Arc<[FieldId]>,
}

impl TsAggExec {
    /// Plans what is asked of a table; `None` if it may have too many groups to be held in memory.
    ///
    /// # Errors
    /// Those of evaluating a condition on tags.
    pub(in crate::query::scan) fn new(
        table: &TsTable,
        filters: &[Expr],
        spec: &Arc<Spec>,
        session: &dyn Session,
    ) -> Result<Option<Self>> {
        let reading = Reading {
            filters,
            projection: &spec.columns,
            named_only: spec.rows != RowsOf::All,
            limit: None,
            whole: SERIES_WHOLE,
        };
        let (plan, _) = table.plan(session, &reading)?;
        if !are_answered(&plan, spec)? {
            return Ok(None);
        }
        if spec.newest_first().is_none() && results_max(&plan, spec) > SLOTS_MAX {
            return Ok(None);
        }
        let properties = PlanProperties::new(
            EquivalenceProperties::new(spec.schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        let job = Job { plan, spec: spec.clone() };
        Ok(Some(Self { job: Arc::new(job), properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }))
    }
}

/// Whether levels have what only they answer here.
///
/// # Errors
/// `Invalid` where raw points are needed that have gone.
fn are_answered(plan: &Plan, spec: &Spec) -> Result<bool> {
    for (policy, table) in tables(plan) {
        if Rolled::of(&plan.scope, spec, policy, table).is_some() {
            continue;
        }
        if spec.is_of_all_points()
            && let Some(gone) = plan.scope.gone(policy, &plan.times_ns)
        {
            return Err(refuse::only_points(&gone));
        }
        if spec.has_sketches() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The tables that are read, and their policies.
fn tables(plan: &Plan) -> Vec<(PolicyId, TableId)> {
    let mut tables: Vec<_> = plan.partitions.iter().flatten().map(|piece| (piece.policy, piece.table)).collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}

/// Results that a query may have to hold: no more than there are groups and windows, and no more than there are values.
fn results_max(plan: &Plan, spec: &Spec) -> u64 {
    let groups = if spec.tags.is_empty() { 1 } else { plan.series };
    let results = spec.picked.as_ref().map_or(spec.aggregates.len(), Vec::len).max(1) as u64;
    let windows = |times_ns| spec.windows.map_or(1, |windows| windows.count(&times_ns)).saturating_mul(groups);
    let asked = windows(plan.times_ns.clone());
    if asked.saturating_mul(results) <= SLOTS_MAX {
        return asked * results;
    }
    let engine = &plan.scope.engine;
    let pieces: Vec<_> = plan.partitions.iter().flatten().collect();
    let (mut values, mut times_ns) = (0, (i64::MAX, i64::MIN));
    for file in engine.files() {
        let of = time::intersect(&(file.min_time_ns..=file.max_time_ns), &plan.times_ns);
        // Values of a coarser level come of raw points, too.
        let is_read =
            |piece: &&Piece| piece.policy == file.policy && (piece.window.tier != Tier::RAW || file.tier == Tier::RAW);
        if !of.is_empty() && pieces.iter().any(is_read) {
            values += file.rows;
            times_ns = (times_ns.0.min(*of.start()), times_ns.1.max(*of.end()));
        }
    }
    let in_memory = (engine.stats().memtable_bytes / VALUE_BYTES_MIN).min(windows(likely_times(plan)));
    asked.min(values.min(windows(times_ns.0..=times_ns.1)).saturating_add(in_memory)).saturating_mul(results)
}

/// The times of a query that probably have points.
fn likely_times(plan: &Plan) -> RangeInclusive<i64> {
    let scope = &plan.scope;
    let policies: Vec<_> = plan.partitions.iter().flatten().map(|p| p.policy).collect();
    let files = scope.engine.files();
    let files = files.iter().filter(|file| policies.contains(&file.policy));
    let recent = (scope.now_ns.saturating_sub(DAY_NS), scope.now_ns);
    let (first, last) =
        files.fold(recent, |(first, last), file| (first.min(file.min_time_ns), last.max(file.max_time_ns)));
    // What has not been flushed yet may be of any time; a range that says so is believed.
    let (start, end) = (*plan.times_ns.start(), *plan.times_ns.end());
    let start = if start == i64::MIN { first.min(end) } else { start };
    let end = if end == i64::MAX { last.max(start) } else { end };
    start..=end
}

impl Job {
    /// The level that answers for the first table that has one.
    fn rolled(&self) -> Option<Rolled> {
        tables(&self.plan)
            .into_iter()
            .find_map(|(policy, table)| Rolled::of(&self.plan.scope, &self.spec, policy, table))
    }

    /// What to ask of a scan of raw points of a table so that it adds integers up where they lie: of many series, since those
    /// of few are mostly decoded already, and of several fields, since the sums of one pass over the values of all others.
    /// Sums that floats would not hold exactly are left out.
    fn summing(&self, fields: &TableFields) -> Option<Summing> {
        let spec = &self.spec;
        if spec.rows != RowsOf::Any || self.plan.series <= SERIES_WHOLE || spec.fields.len() < 2 {
            return None;
        }
        let of = |at: usize| spec.aggregates.iter().filter(move |asked| asked.field == at);
        let named = spec.fields.iter().zip(&fields.named).enumerate();
        let sums = named.filter(|(at, ((_, field_type), _))| {
            *field_type == FieldType::Integer && of(*at).all(|asked| asked.what.sums())
        });
        let mut fields: Vec<FieldId> = sums.filter_map(|(_, (_, id))| *id).collect();
        fields.sort_unstable();
        let windows = spec.windows;
        let cut: Cut = Arc::new(move |time_ns| windows.map_or((i64::MIN, i64::MAX), |all| all.bounds(time_ns)));
        let (fields, range_ns) = (fields.into(), i64::MIN..=i64::MAX);
        Some(Summing { fields, range_ns, cut, sum_max: Some(EXACT_MAX) })
    }

    /// The fields in a table; `None` if it has been dropped.
    pub fn fields(&self, table: TableId) -> Option<TableFields> {
        let names = self.plan.scope.engine.registry().read();
        names.table(table)?;
        let of_table: Vec<_> = names.fields(table).collect();
        let find = |(name, field_type): &(String, _)| {
            of_table.iter().find(|(_, n, t)| n == name && t == field_type).map(|(id, _, _)| *id)
        };
        let named: Vec<_> = self.spec.fields.iter().map(find).collect();
        let mut others: Vec<_> =
            of_table.iter().map(|(id, _, _)| *id).filter(|id| !named.contains(&Some(*id))).collect();
        others.sort_unstable();
        Some(TableFields { named, others: others.into() })
    }
}

impl TableFields {
    /// Of each field of the query; `None` if the table does not have it.
    pub fn named(&self) -> &[Option<FieldId>] {
        &self.named
    }

    /// Those that the query does not name.
    pub fn others(&self) -> &Arc<[FieldId]> {
        &self.others
    }
}

/// Results of a part of the series, and the series that had any.
pub(super) struct Part {
    pub state: State,
    /// In the order in which they were read; only if `spec` makes groups by tags.
    pub seen: Vec<(SeriesId, u32)>,
}

/// Where the streams of series come from.
enum Source {
    Points(Box<Scan>),
    Level(Box<LevelScan>),
    Rolled(Box<RollupScan>, Arc<Rolled>),
}

impl Source {
    /// The next series of points.
    fn next_pieces(&mut self) -> rhythmite_model::Result<Option<SeriesPieces>> {
        match self {
            Self::Points(scan) => scan.next_pieces(),
            Self::Level(scan) => scan.next().transpose().map(|points| points.map(SeriesPieces::from)),
            Self::Rolled(..) => Ok(None),
        }
    }
}

impl Source {
    fn points(
        plan: &Plan,
        piece: &Piece,
        tier: Tier,
        times_ns: RangeInclusive<i64>,
        summing: Option<Summing>,
    ) -> Result<Self> {
        if tier != Tier::RAW
            && let Some(scan) = piece.level(&plan.scope, &piece.series, &times_ns)?
        {
            return Ok(Self::Level(Box::new(scan)));
        }
        let (series, fields) = (piece.series.clone(), piece.fields.clone());
        let range_ns = times_ns.clone();
        let scan = plan.scope.snapshot.scan(piece.table, tier, series, fields, times_ns).map_err(external)?;
        Ok(Self::Points(Box::new(match summing {
            Some(summing) => scan.summing(Summing { range_ns, ..summing }),
            None => scan,
        })))
    }

    fn rolled(
        plan: &Plan,
        piece: &Piece,
        rolled: &Arc<Rolled>,
        fields: &TableFields,
        times_ns: RangeInclusive<i64>,
    ) -> Result<Self> {
        let mut named: Vec<FieldId> = fields.named.iter().flatten().copied().collect();
        named.sort_unstable();
        named.dedup();
        let scan = plan.scope.snapshot.rollups(RollupsOf {
            policy: &rolled.policy,
            table: piece.table,
            level: rolled.tier,
            series: &piece.series,
            fields: Some(named.into()),
            aggregates: rolled.aggregates,
            times_ns,
        });
        Ok(Self::Rolled(Box::new(scan.map_err(external)?), rolled.clone()))
    }
}

/// What a part is read with.
struct Reader {
    job: Arc<Job>,
    reservation: MemoryReservation,
    series: Count,
    /// Values that were added up without being read.
    summed: Count,
    baseline: BaselineMetrics,
}

impl Reader {
    /// Reads the points of a partition within `times_ns`.
    async fn read(self, partition: usize, times_ns: RangeInclusive<i64>) -> Result<Part> {
        let (plan, spec) = (&self.job.plan, &self.job.spec);
        let mut state = State::new(spec.clone());
        let mut seen = Vec::new();
        let mut values = 0;
        let mut rolled_tables: Vec<TableId> = Vec::new();
        let mut sources: Vec<(Arc<TableFields>, Source)> = Vec::new();
        for piece in &plan.partitions[partition] {
            let Some(rolled) = Rolled::of(&plan.scope, spec, piece.policy, piece.table) else {
                let times_ns = time::intersect(&piece.window.times_ns, &times_ns);
                if !times_ns.is_empty()
                    && let Some(fields) = self.job.fields(piece.table)
                {
                    let summing = self.job.summing(&fields);
                    let source = Source::points(plan, piece, piece.window.tier, times_ns, summing)?;
                    sources.push((Arc::new(fields), source));
                }
                continue;
            };
            // All pieces of a table in one partition are of the same series; one of them stands for all times.
            if rolled_tables.contains(&piece.table) {
                continue;
            }
            rolled_tables.push(piece.table);
            let rolled = Arc::new(rolled);
            let Some(fields) = self.job.fields(piece.table).map(Arc::new) else { continue };
            for (times_ns, from_rollups) in rolled.spans(&time::intersect(&plan.times_ns, &times_ns)) {
                let source = match from_rollups {
                    true => Source::rolled(plan, piece, &rolled, &fields, times_ns)?,
                    false => Source::points(plan, piece, Tier::RAW, times_ns, self.job.summing(&fields))?,
                };
                sources.push((fields.clone(), source));
            }
        }
        for (fields, source) in sources {
            let mut scan = match source {
                scan @ (Source::Points(_) | Source::Level(_)) => scan,
                Source::Rolled(mut scan, rolled) => {
                    loop {
                        let timer = self.baseline.elapsed_compute().timer();
                        let Some(points) = scan.next() else { break };
                        let points = points.map_err(external)?;
                        let Some(group) = self.group(&mut state, &mut seen, points.series) else { continue };
                        let buckets = state.buckets();
                        if !state.add_rolled(group, &fields.named, &points.streams).map_err(external)? {
                            return Err(rolled.lacking());
                        }
                        self.series.add(1);
                        // Of sketches the buckets take memory, and adding them up time.
                        values += points.streams.iter().map(|s| s.times_ns.len()).sum::<usize>();
                        values += state.buckets().saturating_sub(buckets);
                        drop(timer);
                        if values >= VALUES_AT_A_TIME {
                            values = 0;
                            self.charge(&state, &seen)?;
                            tokio::task::yield_now().await;
                        }
                    }
                    continue;
                }
            };
            loop {
                let timer = self.baseline.elapsed_compute().timer();
                let Some(pieces) = scan.next_pieces().map_err(external)? else { break };
                let Some(group) = self.group(&mut state, &mut seen, pieces.series()) else { continue };
                self.series.add(1);
                if spec.rows == RowsOf::Any {
                    for (id, stretches) in pieces.streams() {
                        let Some(field) = fields.named.iter().position(|named| *named == Some(id)) else { continue };
                        for stretch in stretches {
                            state.add_stretch(group, field, &stretch);
                            values += stretch.rows.len();
                        }
                    }
                    for (id, sums) in pieces.sums() {
                        let Some(field) = fields.named.iter().position(|named| *named == Some(id)) else { continue };
                        state.add_sums(group, field, sums);
                        let count: u64 = sums.iter().map(|(_, sum)| sum.count).sum();
                        self.summed.add(usize::try_from(count).unwrap_or(usize::MAX));
                        values += sums.len();
                    }
                } else {
                    let points = pieces.into_points();
                    let find = |id: FieldId| points.streams.iter().find(|s| s.field == id);
                    let named: Vec<Option<&Stream>> = fields.named.iter().map(|id| id.and_then(find)).collect();
                    state.add(group, &named, &points.streams);
                    values += points.streams.iter().map(|s| s.times_ns.len()).sum::<usize>();
                }
                drop(timer);
                if values >= VALUES_AT_A_TIME {
                    values = 0;
                    self.charge(&state, &seen)?;
                    tokio::task::yield_now().await;
                }
            }
        }
        self.charge(&state, &seen)?;
        Ok(Part { state, seen })
    }

    fn charge(&self, state: &State, seen: &Vec<(SeriesId, u32)>) -> Result<()> {
        self.reservation.try_resize(state.heap_bytes() + seen.capacity() * size_of::<(SeriesId, u32)>())
    }

    /// The group of a series, which is noted in `seen` where groups are made by tags; `None` if it has been dropped: it has
    /// no rows any more.
    fn group(&self, state: &mut State, seen: &mut Vec<(SeriesId, u32)>, series: SeriesId) -> Option<u32> {
        let (plan, spec) = (&self.job.plan, &self.job.spec);
        if spec.tags.is_empty() {
            let known = plan.scope.engine.registry().read().slot(series).is_some();
            return known.then(|| state.only_group());
        }
        let group = key_of(&plan.scope, series).map(|key| state.group(plan.kind, &key))?;
        seen.push((series, group));
        Some(group)
    }
}

/// One run of a query.
struct Running {
    job: Arc<Job>,
    context: Arc<TaskContext>,
    series: Count,
    summed: Count,
    baseline: BaselineMetrics,
}

impl Running {
    fn reader(&self, partition: usize) -> Reader {
        let name = format!("TsAgg[{partition}]");
        Reader {
            job: self.job.clone(),
            reservation: MemoryConsumer::new(name).register(self.context.memory_pool()),
            series: self.series.clone(),
            summed: self.summed.clone(),
            baseline: self.baseline.clone(),
        }
    }

    /// The results of all series within `times_ns`, every group that has a row among them.
    async fn range(&self, times_ns: RangeInclusive<i64>) -> Result<State> {
        let partitions = self.job.plan.partitions.len();
        let others: Vec<_> =
            (1..partitions).map(|at| SpawnedTask::spawn(self.reader(at).read(at, times_ns.clone()))).collect();
        let Part { mut state, mut seen } = self.reader(0).read(0, times_ns.clone()).await?;
        let reservation = MemoryConsumer::new("TsAgg").register(self.context.memory_pool());
        for other in others {
            let part = other.join().await.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))??;
            let groups = state.merge(part.state);
            seen.extend(part.seen.into_iter().map(|(series, group)| (series, groups[group as usize])));
            reservation.try_resize(state.heap_bytes())?;
        }
        gaps::fill(&self.job, &mut state, seen, &times_ns).await?;
        Ok(state)
    }

    async fn newest_rows(&self, picked: &[ColumnKind]) -> Result<RecordBatch> {
        let read = |at: usize| {
            let reservation = MemoryConsumer::new(format!("TsAgg[{at}]")).register(self.context.memory_pool());
            newest::read(self.job.clone(), at, reservation)
        };
        let others = (1..self.job.plan.partitions.len()).map(|at| SpawnedTask::spawn(read(at)));
        let others: Vec<_> = others.collect();
        let mut parts = vec![read(0).await?];
        for other in others {
            parts.push(other.join().await.map_err(|e| DataFusionError::ExecutionJoin(Box::new(e)))??);
        }
        newest::batch(&self.job, picked, parts)
    }

    async fn results(&self) -> Result<RecordBatch> {
        let state = self.run().await?;
        let reservation = MemoryConsumer::new("TsAgg").register(self.context.memory_pool());
        reservation.try_resize(state.heap_bytes())?;
        Ok(super::output::batch(&self.job.spec, &state)?)
    }

    async fn run(&self) -> Result<State> {
        let spec = &self.job.spec;
        let times_ns = self.job.plan.times_ns.clone();
        let rolled = self.job.rolled().is_some();
        let mut state = match spec.newest_first().filter(|_| !rolled) {
            Some((windows, fetch)) => self.newest(windows, fetch).await?,
            None => self.range(times_ns).await?,
        };
        state.finish();
        Ok(state)
    }

    /// The newest windows, at least `fetch` groups of them if there are so many.
    async fn newest(&self, windows: Windows, fetch: usize) -> Result<State> {
        let length = windows.stride_ns.saturating_mul(i64::try_from(fetch).unwrap_or(i64::MAX).max(1));
        // Steps begin where windows do, so that none is cut.
        let mut steps = Backwards::new(&self.job.plan, (length - windows.stride_ns).max(windows.stride_ns));
        let mut state = State::new(self.job.spec.clone());
        while let Some(times_ns) = steps.step(|time_ns| windows.start(time_ns)) {
            state.merge(self.range(times_ns).await?);
            if state.slots() >= fetch {
                break;
            }
        }
        Ok(state)
    }
}

impl DisplayAs for TsAggExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plan, spec) = (&self.job.plan, &self.job.spec);
        f.write_str("TsAggExec: ")?;
        plan.describe(f)?;
        let tag = |tag: &ColumnKind| match tag {
            ColumnKind::Tag(key) => key.clone(),
            _ => "path".to_owned(),
        };
        let key = |key: &Key| match (key, spec.windows) {
            (Key::Window, Some(windows)) => format!("{TIME}({}s)", windows.stride_ns as f64 / 1e9),
            (Key::Window, None) => TIME.to_owned(),
            (Key::Tag(at), _) => tag(&spec.tags[*at]),
        };
        let keys: Vec<String> = spec.keys.iter().map(key).collect();
        let asked = spec.shown.iter().map(|shown| {
            let asked = &spec.aggregates[shown.aggregate];
            let name = match asked.what {
                What::Rows => return "count(*)".to_owned(),
                What::Count => "count",
                What::Sum | What::FloatSum => "sum",
                What::Mean => "avg",
                What::Min => "min",
                What::Max => "max",
                What::First { .. } => "first",
                What::Last { .. } => "last",
                What::Sketch => {
                    let share = shown.share.unwrap_or_default();
                    return format!("approx_percentile_cont({}, {share})", spec.fields[asked.field].0);
                }
            };
            format!("{name}({})", spec.fields[asked.field].0)
        });
        let asked: Vec<String> = asked.collect();
        write!(f, ", groups=[{}], results=[{}]", keys.join(", "), asked.join(", "))?;
        match &spec.rows {
            RowsOf::Any => {}
            RowsOf::All => f.write_str(", rows=of any field")?,
            RowsOf::With(tests) => {
                let tests: Vec<String> =
                    tests.iter().map(|(field, test)| format!("{} {test}", spec.fields[*field].0)).collect();
                write!(f, ", where=[{}]", tests.join(", "))?;
            }
        }
        if !spec.order.is_empty() {
            let order = |o: &super::query::Order| format!("{}{}", keys[o.key], if o.descending { " desc" } else { "" });
            let order: Vec<String> = spec.order.iter().map(order).collect();
            write!(f, ", sorted=[{}]", order.join(", "))?;
        }
        if let Some(fetch) = spec.fetch {
            write!(f, ", limit={fetch}")?;
        }
        if spec.picked.is_some() {
            f.write_str(", newest row of each group")?;
        }
        let rolled = self.job.rolled();
        if let Some(rolled) = &rolled {
            write!(f, ", windows of tier={}s", rolled.step_ns / 1_000_000_000)?;
            if spec.has_sketches() {
                f.write_str(", quantiles of sketches (within 2.2 % of a value)")?;
            }
        }
        if (spec.newest_first().is_some() && rolled.is_none()) || spec.picked.is_some() {
            f.write_str(", newest first")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for TsAggExec {
    fn name(&self) -> &'static str {
        "TsAggExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    leaf_methods!();

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema: SchemaRef = self.job.spec.schema.clone();
        let rows_max = context.session_config().batch_size().max(1);
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let running = Running {
            job: self.job.clone(),
            context,
            series: MetricBuilder::new(&self.metrics).counter("series", partition),
            summed: MetricBuilder::new(&self.metrics).counter("summed", partition),
            baseline: baseline.clone(),
        };
        let batches = async move {
            let batch = match &running.job.spec.picked {
                Some(picked) => running.newest_rows(picked).await?,
                None => running.results().await?,
            };
            baseline.record_output(batch.num_rows());
            let parts = (0..batch.num_rows()).step_by(rows_max);
            let parts: Vec<_> =
                parts.map(|from| Ok(batch.slice(from, rows_max.min(batch.num_rows() - from)))).collect();
            Ok::<_, DataFusionError>(futures::stream::iter(parts))
        };
        let stream = futures::stream::once(batches).try_flatten().boxed();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}
