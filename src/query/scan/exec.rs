use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::expressions::Column;
use datafusion::physical_plan::metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};
use rhythmite_engine::{Scan, SeriesFilter, SeriesPoints};
use rhythmite_model::{FieldId, FieldType, KeyKind, PolicyId, SeriesId, TableId, Tier};

use super::QueryScope;
use super::align::Aligned;
use super::leaf::leaf_methods;
use super::predicate::{self, FieldTest};
use super::rows::RowBuilder;
use super::schema::{ColumnKind, TIME};
use super::scope::{Window, has_values};
use crate::ingest::paths::FIELD;
use crate::query::graphite::levels::{LevelScan, LevelsOf};

/// One table's series at one level.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub policy: PolicyId,
    pub table: TableId,
    pub window: Window,
    pub series: SeriesFilter,
    /// Ascending; `None` for all.
    pub fields: Option<Arc<[FieldId]>>,
}

/// What is read.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub scope: QueryScope,
    pub name: String,
    pub kind: KeyKind,
    /// Of the output.
    pub columns: Vec<ColumnKind>,
    /// Series that may have points.
    pub series: u64,
    pub times_ns: RangeInclusive<i64>,
    pub partitions: Vec<Vec<Piece>>,
    /// Rows that are enough, in every partition.
    pub limit: Option<usize>,
    /// Conditions on values that all rows meet, with the field's name and type.
    pub tests: Vec<(String, FieldType, FieldTest)>,
}

impl Plan {
    /// Live files that may hold points of the scan.
    fn files(&self) -> usize {
        let pieces: Vec<&Piece> = self.partitions.iter().flatten().collect();
        let touches = |piece: &&Piece, file: &rhythmite_engine::manifest::FileRecord| {
            let times = &piece.window.times_ns;
            let (first, last) = match &piece.series {
                SeriesFilter::Range(range) => (*range.start(), *range.end()),
                SeriesFilter::List(list) => match (list.first(), list.last()) {
                    (Some(first), Some(last)) => (*first, *last),
                    _ => return false,
                },
            };
            (piece.policy, piece.window.tier) == (file.policy, file.tier)
                && (file.max_time_ns >= *times.start() && file.min_time_ns <= *times.end())
                && (file.max_series >= first && file.min_series <= last)
        };
        let files = self.scope.engine.files();
        files.iter().filter(|file| pieces.iter().any(|piece| touches(piece, file))).count()
    }

    /// The levels that are read, finest first.
    fn levels(&self) -> String {
        let mut levels: Vec<(Tier, i64)> =
            self.partitions.iter().flatten().map(|p| (p.window.tier, p.window.step_ns)).collect();
        levels.sort_unstable();
        levels.dedup();
        let level = |&(tier, step_ns): &(Tier, i64)| match tier {
            Tier::RAW => "raw".to_owned(),
            _ => format!("{}s", step_ns / 1_000_000_000),
        };
        levels.iter().map(level).collect::<Vec<_>>().join("+")
    }

    /// What is read, for people.
    pub fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (levels, files, times) = (self.levels(), self.files(), TimeRange(&self.times_ns));
        write!(f, "table={}, tier={levels}, files={files}, series={}, time={times}", self.name, self.series)
    }

    /// The fields that are shown, and what decides which rows there are.
    pub fn describe_columns(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.columns.iter().filter_map(|column| match column {
            ColumnKind::Field(name, _) => Some(name.as_str()),
            _ => None,
        });
        let fields: Vec<&str> = fields.collect();
        write!(f, ", fields=[{}]", fields.join(", "))?;
        if !self.tests.is_empty() {
            let tests: Vec<String> = self.tests.iter().map(|(name, _, test)| format!("{name} {test}")).collect();
            return write!(f, ", where=[{}]", tests.join(", "));
        }
        if self.partitions.iter().flatten().any(|p| p.fields.is_none()) && !fields.is_empty() {
            // Rows of the other fields are part of the table.
            write!(f, ", rows=of any field")?;
        }
        Ok(())
    }

    /// The newest time of the files that may be read.
    pub fn newest_in_files(&self) -> Option<i64> {
        let pieces = self.partitions.iter().flatten();
        // Values of a coarser level come of raw points, too.
        let pieces =
            pieces.map(|p| if p.window.tier == Tier::RAW { (p.policy, Some(Tier::RAW)) } else { (p.policy, None) });
        let pieces: Vec<_> = pieces.collect();
        let files = self.scope.engine.files();
        let is_read = |policy, tier| pieces.iter().any(|p| p.0 == policy && p.1.is_none_or(|of| of == tier));
        files.iter().filter(|f| is_read(f.policy, f.tier)).map(|f| f.max_time_ns).max()
    }
}

/// Reads the points of some series of a table; a partition is a part of the series.
#[derive(Debug)]
pub struct TsScanExec {
    plan: Arc<Plan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl TsScanExec {
    /// A scan whose output has `schema`. With `by_time` every partition holds one series only, in the order of time.
    pub(super) fn new(plan: Plan, schema: SchemaRef, by_time: bool) -> Self {
        let equivalences = match schema.index_of(TIME) {
            Ok(at) if by_time => {
                let order = PhysicalSortExpr::new_default(Arc::new(Column::new(TIME, at)));
                EquivalenceProperties::new_with_orderings(schema, [vec![order]])
            }
            _ => EquivalenceProperties::new(schema),
        };
        let partitioning = Partitioning::UnknownPartitioning(plan.partitions.len());
        let properties =
            PlanProperties::new(equivalences, partitioning, EmissionType::Incremental, Boundedness::Bounded);
        Self { plan: Arc::new(plan), properties: Arc::new(properties), metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl DisplayAs for TsScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = &self.plan;
        f.write_str("TsScanExec: ")?;
        plan.describe(f)?;
        plan.describe_columns(f)?;
        match plan.limit {
            Some(limit) => write!(f, ", limit={limit}"),
            None => Ok(()),
        }
    }
}

struct TimeRange<'a>(&'a RangeInclusive<i64>);

impl fmt::Display for TimeRange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let text = |ns: i64| match ns {
            i64::MIN | i64::MAX => String::new(),
            _ => jiff::Timestamp::from_nanosecond(i128::from(ns)).map_or_else(|_| ns.to_string(), |t| t.to_string()),
        };
        write!(f, "{}..={}", text(*self.0.start()), text(*self.0.end()))
    }
}

impl ExecutionPlan for TsScanExec {
    fn name(&self) -> &'static str {
        "TsScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    leaf_methods!();

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let batch_rows = context.session_config().batch_size();
        let reservation = MemoryConsumer::new(format!("TsScan[{partition}]")).register(context.memory_pool());
        let cursor = Cursor {
            builder: RowBuilder::new(schema.clone(), self.plan.columns.iter().cloned()),
            plan: self.plan.clone(),
            partition,
            piece: 0,
            scan: None,
            open: None,
            batch_rows,
            left: self.plan.limit.unwrap_or(usize::MAX),
            reservation,
            baseline: BaselineMetrics::new(&self.metrics, partition),
            series: MetricBuilder::new(&self.metrics).counter("series", partition),
        };
        let stream = futures::stream::iter(cursor);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// The output columns of a table's fields.
type FieldColumns = Arc<[(FieldId, usize)]>;

/// Where points come from.
enum Source {
    Stored(Box<Scan>),
    /// Values of a coarser level.
    Level(Box<LevelScan>),
}

impl Iterator for Source {
    type Item = rhythmite_model::Result<SeriesPoints>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Stored(scan) => scan.next(),
            Self::Level(scan) => scan.next(),
        }
    }
}

impl Piece {
    /// What is to be read within a part of its times, if these are values of a coarser level.
    ///
    /// # Errors
    /// Those of a scan.
    pub fn level(
        &self,
        scope: &QueryScope,
        series: &SeriesFilter,
        times_ns: &RangeInclusive<i64>,
    ) -> Result<Option<LevelScan>> {
        let policy = scope.engine.policy(self.policy).filter(|policy| has_values(policy));
        let Some(policy) = policy.filter(|_| self.window.tier != Tier::RAW) else { return Ok(None) };
        let field = scope.engine.registry().read().find_field(self.table, FIELD);
        let Some((field, _)) = field else { return Ok(None) };
        let asked = LevelsOf {
            policy,
            table: self.table,
            field,
            tier: self.window.tier,
            series: series.clone(),
            times_ns: times_ns.clone(),
            now_s: scope.now_ns.div_euclid(1_000_000_000),
        };
        LevelScan::new(&scope.engine, &scope.snapshot, asked).map(Some).map_err(external)
    }
}

/// The points of a piece.
struct PieceScan {
    scan: Source,
    columns: FieldColumns,
    /// If rows have conditions to meet.
    tested: Option<Tested>,
}

/// `scan` reads the fields with conditions only; the others are read where rows meet them.
struct Tested {
    /// The field of each condition.
    fields: Vec<FieldId>,
    /// `None` if there are no others.
    others: Option<Scan>,
}

impl Tested {
    /// The rows of a series that meet the conditions, if there are any.
    fn rows(&mut self, plan: &Plan, mut points: SeriesPoints) -> Result<Option<Aligned>> {
        let stream = |field: &FieldId| points.streams.iter().find(|s| s.field == *field);
        let Some(streams) = self.fields.iter().map(stream).collect::<Option<Vec<_>>>() else { return Ok(None) };
        let tests: Vec<_> = streams.into_iter().zip(plan.tests.iter().map(|(_, _, test)| test)).collect();
        let times_ns = predicate::times_ns(&tests);
        let (Some(&first), Some(&last)) = (times_ns.first(), times_ns.last()) else { return Ok(None) };
        if let Some(others) = &mut self.others {
            points.streams.extend(others.points_of(points.series, &(first..=last)).map_err(external)?.streams);
        }
        Ok(Some(Aligned::at(points.streams, times_ns)))
    }
}

/// A series whose rows are being handed out.
struct OpenSeries {
    key: String,
    points: Aligned,
    /// Of each output column, its stream.
    stream_of: Vec<Option<usize>>,
    /// Rows handed out.
    done: usize,
}

/// Walks one partition.
struct Cursor {
    plan: Arc<Plan>,
    partition: usize,
    /// The piece after the one that `scan` reads.
    piece: usize,
    scan: Option<PieceScan>,
    open: Option<OpenSeries>,
    builder: RowBuilder,
    batch_rows: usize,
    /// Rows until the limit.
    left: usize,
    reservation: MemoryReservation,
    baseline: BaselineMetrics,
    series: Count,
}

impl Iterator for Cursor {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let timer = self.baseline.elapsed_compute().clone();
        let _timer = timer.timer();
        let batch = self.advance().transpose();
        match &batch {
            Some(Ok(batch)) => self.baseline.record_output(batch.num_rows()),
            // Nothing follows an error.
            _ => {
                (self.left, self.open, self.scan) = (0, None, None);
                self.reservation.free();
            }
        }
        batch
    }
}

impl Cursor {
    fn advance(&mut self) -> Result<Option<RecordBatch>> {
        while self.left > 0 {
            if self.open.is_none() && !self.open_series()? {
                break;
            }
            let Some(open) = &mut self.open else { break };
            let rows = open.points.times_ns().len();
            let take = (rows - open.done).min(self.batch_rows - self.builder.rows()).min(self.left);
            self.builder.set_series(self.plan.kind, &open.key);
            self.builder.append(&open.points, open.done..open.done + take, &open.stream_of);
            open.done += take;
            self.left -= take;
            if open.done == rows {
                self.open = None;
            }
            if self.builder.rows() >= self.batch_rows {
                return Ok(Some(self.builder.finish()?));
            }
        }
        if self.builder.rows() == 0 {
            return Ok(None);
        }
        Ok(Some(self.builder.finish()?))
    }

    /// Reads the next series that is still known; false at the end.
    fn open_series(&mut self) -> Result<bool> {
        loop {
            let Some(PieceScan { scan, columns, tested }) = &mut self.scan else {
                if !self.open_piece()? {
                    return Ok(false);
                }
                continue;
            };
            let Some(points) = scan.next() else {
                self.scan = None;
                continue;
            };
            let points = points.map_err(external)?;
            let Some(key) = key_of(&self.plan.scope, points.series) else { continue };
            let columns = columns.clone();
            let points = match tested {
                None => Aligned::new(points),
                Some(tested) => match tested.rows(&self.plan, points)? {
                    Some(rows) => rows,
                    None => continue,
                },
            };
            self.reservation.try_resize(points.heap_bytes())?;
            let mut stream_of = vec![None; self.plan.columns.len()];
            for (at, stream) in points.streams.iter().enumerate() {
                for (_, column) in columns.iter().filter(|(field, _)| *field == stream.field) {
                    stream_of[*column] = Some(at);
                }
            }
            self.series.add(1);
            self.open = Some(OpenSeries { key, points, stream_of, done: 0 });
            return Ok(true);
        }
    }

    fn open_piece(&mut self) -> Result<bool> {
        let pieces = self.plan.partitions.get(self.partition).map_or(&[][..], Vec::as_slice);
        let Some(piece) = pieces.get(self.piece) else { return Ok(false) };
        self.piece += 1;
        let scope = &self.plan.scope;
        let (columns, tested): (Vec<(FieldId, usize)>, Option<Vec<FieldId>>) = {
            let names = scope.engine.registry().read();
            // A table that has been dropped meanwhile has no rows any more.
            if names.table(piece.table).is_none() {
                return Ok(true);
            }
            let of_table: Vec<(FieldId, &str, FieldType)> = names.fields(piece.table).collect();
            let find = |name: &str, field_type: FieldType| {
                of_table.iter().find(|(_, n, t)| *n == name && *t == field_type).map(|(id, _, _)| *id)
            };
            let fields = self.plan.columns.iter().enumerate().filter_map(|(at, column)| match column {
                ColumnKind::Field(name, field_type) => Some((find(name, *field_type)?, at)),
                _ => None,
            });
            let tested = self.plan.tests.iter().map(|(name, field_type, _)| find(name, *field_type));
            (fields.collect(), tested.collect())
        };
        // Of a field that the table does not have there is no value to meet a condition.
        let Some(tested) = tested else { return Ok(true) };
        let window = &piece.window;
        let open = |fields: Option<Arc<[FieldId]>>| {
            let (series, times_ns) = (piece.series.clone(), window.times_ns.clone());
            scope.snapshot.scan(piece.table, window.tier, series, fields, times_ns).map_err(external)
        };
        let ascending = |fields: &mut dyn Iterator<Item = FieldId>| {
            let mut fields: Vec<FieldId> = fields.collect();
            fields.sort_unstable();
            fields.dedup();
            Arc::<[FieldId]>::from(fields)
        };
        let (scan, tested) = if tested.is_empty() {
            // Of fields that are not shown only the times count: they make rows, too.
            let shown = ascending(&mut columns.iter().map(|(id, _)| *id));
            let scan = match piece.level(scope, &piece.series, &window.times_ns)? {
                Some(scan) => Source::Level(Box::new(scan)),
                None => Source::Stored(Box::new(open(piece.fields.clone())?.values_of(shown))),
            };
            (scan, None)
        } else {
            let others = ascending(&mut columns.iter().map(|(id, _)| *id).filter(|id| !tested.contains(id)));
            let first = ascending(&mut tested.iter().copied());
            let others = if others.is_empty() { None } else { Some(open(Some(others))?) };
            let scan = match piece.level(scope, &piece.series, &window.times_ns)? {
                // There is no other field.
                Some(scan) => Source::Level(Box::new(scan)),
                None => Source::Stored(Box::new(open(Some(first))?)),
            };
            (scan, Some(Tested { fields: tested, others }))
        };
        self.scan = Some(PieceScan { scan, columns: columns.into(), tested });
        Ok(true)
    }
}

/// The key of a series; `None` if it has been dropped.
pub(super) fn key_of(scope: &QueryScope, series: SeriesId) -> Option<String> {
    let names = scope.engine.registry().read();
    names.slot(series).map(|slot| names.key(slot).to_owned())
}

pub(super) fn external(e: rhythmite_model::Error) -> DataFusionError {
    DataFusionError::External(Box::new(e))
}
