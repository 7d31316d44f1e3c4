use std::ops::RangeInclusive;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{ScanArgs, ScanResult, Session, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use rhythmite_engine::{SeriesFilter, Snapshot};
use rhythmite_model::{FieldId, PolicyId, SeriesId, TableId};

use super::exec::{Piece, Plan, TsScanExec};
use super::predicate::FieldTest;
use super::schema::ColumnKind;
use super::{QueryScope, TableSchema, select, time};
use crate::query::gone::Gone;

/// Series sampled to cut a table into equal ranges of numbers.
const SAMPLE: u64 = 4096;

/// What a scan is asked for.
pub(super) struct Reading<'a> {
    /// All hold; those on fields are for others to evaluate.
    pub filters: &'a [Expr],
    /// Columns of the table.
    pub projection: &'a [usize],
    /// Whether rows without a value of a projected field are of no interest.
    pub named_only: bool,
    /// Rows that are enough, in every partition.
    pub limit: Option<usize>,
    /// So few series of a table are one partition.
    pub whole: u64,
}

/// A table of a policy (or the union of those of several) as one query sees it.
#[derive(Debug)]
pub struct TsTable {
    scope: QueryScope,
    /// `database.policy.table`, for plans.
    name: String,
    schema: Arc<TableSchema>,
}

impl TsTable {
    /// The table called `name` in plans.
    pub fn new(scope: QueryScope, name: String, schema: TableSchema) -> Self {
        Self { scope, name, schema: Arc::new(schema) }
    }

    /// The columns.
    pub(super) fn columns(&self) -> &TableSchema {
        &self.schema
    }

    /// The times that conditions leave.
    fn times_ns(filters: &[Expr]) -> RangeInclusive<i64> {
        filters.iter().filter_map(time::bounds).fold(time::ALWAYS, |a, (b, _)| time::intersect(&a, &b))
    }

    /// Whether raw points of the table have gone from the times that conditions leave.
    pub(super) fn gone(&self, filters: &[Expr]) -> Option<Gone> {
        let (scope, times_ns) = (&self.scope, Self::times_ns(filters));
        let policies: Vec<PolicyId> = {
            let names = scope.engine.registry().read();
            self.schema.tables.iter().filter_map(|table| names.table(*table)).map(|table| table.policy()).collect()
        };
        policies.into_iter().find_map(|policy| scope.gone(policy, &times_ns))
    }

    /// The fields of `table` among the columns `projection`, ascending.
    fn named_fields(&self, table: TableId, projection: &[usize]) -> Arc<[FieldId]> {
        let names = self.scope.engine.registry().read();
        let columns = projection.iter().map(|&at| &self.schema.columns[at]);
        let mut fields: Vec<FieldId> = columns
            .filter_map(|column| match column {
                ColumnKind::Field(name, _) => names.find_field(table, name).map(|(id, _)| id),
                _ => None,
            })
            .collect();
        fields.sort_unstable();
        fields.dedup();
        fields.into()
    }

    /// Cuts the series of a table into at most `parts` parts of about the same number.
    fn parts(&self, table: TableId, series: Option<Vec<SeriesId>>, parts: usize) -> Vec<SeriesFilter> {
        let parts = parts.max(1);
        if let Some(ids) = series {
            let size = ids.len().div_ceil(parts).max(1);
            return ids.chunks(size).map(|chunk| SeriesFilter::List(chunk.into())).collect();
        }
        let SeriesFilter::Range(all) = Snapshot::all_series(table) else { return Vec::new() };
        let mut sample = {
            let names = self.scope.engine.registry().read();
            let set = names.series(table);
            let step = (set.len() / SAMPLE).max(1) as usize;
            let sampled = set.iter().step_by(step).collect();
            names.ids(&sampled)
        };
        sample.sort_unstable();
        let size = sample.len().div_ceil(parts).max(1);
        let mut starts: Vec<SeriesId> = sample.chunks(size).map(|chunk| chunk[0]).collect();
        match starts.first_mut() {
            Some(first) => *first = *all.start(),
            None => return Vec::new(),
        }
        let ends = starts.iter().skip(1).map(|next| SeriesId(next.0 - 1)).chain([*all.end()]);
        starts.iter().zip(ends).map(|(&start, end)| SeriesFilter::Range(start..=end)).collect()
    }

    /// What is to be read, and whether every partition is one series in the order of time.
    ///
    /// # Errors
    /// Those of evaluating a condition on tags.
    pub(super) fn plan(&self, session: &dyn Session, reading: &Reading<'_>) -> Result<(Plan, bool)> {
        let times_ns = Self::times_ns(reading.filters);
        let target = session.config().target_partitions();
        let filters = reading.filters;
        let tests = filters.iter().filter_map(|filter| FieldTest::new(&self.schema, filter));
        let named = |test: FieldTest| match &self.schema.columns[test.column] {
            ColumnKind::Field(name, field_type) => Some((name.clone(), *field_type, test)),
            _ => None,
        };
        let tests: Vec<_> = tests.filter_map(named).collect();
        let mut partitions: Vec<Vec<Piece>> = Vec::new();
        let mut series_count = 0;
        let selected = match times_ns.is_empty() {
            true => Vec::new(),
            false => select::select(&self.scope, &self.schema, filters, session)?,
        };
        let mut widest = 0;
        for (table, series) in selected {
            let (policy, count) = {
                let names = self.scope.engine.registry().read();
                let Some(found) = names.table(table) else { continue };
                (found.policy(), series.as_ref().map_or(found.series_count(), |ids| ids.len() as u64))
            };
            series_count += count;
            let parts = if count <= reading.whole { 1 } else { target };
            let fields = reading.named_only.then(|| self.named_fields(table, reading.projection));
            let windows = self.scope.windows(policy, &times_ns).into_iter();
            let windows: Vec<_> = windows.flat_map(|window| self.scope.slices(policy, window)).collect();
            for (at, part) in self.parts(table, series, parts).into_iter().enumerate() {
                if partitions.len() <= at {
                    partitions.push(Vec::new());
                }
                widest = widest.max(match &part {
                    SeriesFilter::List(list) => list.len(),
                    SeriesFilter::Range(_) => usize::MAX,
                });
                for window in &windows {
                    partitions[at].push(Piece {
                        policy,
                        table,
                        window: window.clone(),
                        series: part.clone(),
                        fields: fields.clone(),
                    });
                }
            }
        }
        if partitions.is_empty() {
            partitions.push(Vec::new());
        }
        // Of one series the windows follow each other in time.
        let one_series = widest <= 1 && partitions.iter().flatten().all(|p| p.table == partitions[0][0].table);
        let plan = Plan {
            scope: self.scope.clone(),
            name: self.name.clone(),
            kind: self.schema.kind,
            columns: reading.projection.iter().map(|&at| self.schema.columns[at].clone()).collect(),
            series: series_count,
            times_ns,
            partitions,
            limit: reading.limit,
            tests,
        };
        Ok((plan, one_series))
    }
}

#[async_trait]
impl TableProvider for TsTable {
    fn schema(&self) -> SchemaRef {
        self.schema.arrow.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|f| select::pushdown(&self.schema, f)).collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let args = ScanArgs::default()
            .with_projection(projection.map(Vec::as_slice))
            .with_filters(Some(filters))
            .with_limit(limit);
        Ok(self.scan_with_args(session, args).await?.into_inner())
    }

    async fn scan_with_args<'a>(&self, session: &dyn Session, args: ScanArgs<'a>) -> Result<ScanResult> {
        let filters = args.filters().unwrap_or_default();
        let projection: Vec<usize> = match args.projection() {
            Some(columns) => columns.to_vec(),
            None => (0..self.schema.columns.len()).collect(),
        };
        // A condition on a field that is evaluated above brings its column into the projection; rows that the scan tests by
        // itself have a value of the field.
        let named_only = filters.iter().any(|f| select::needs_field(&self.schema, f));
        let reading = Reading { filters, projection: &projection, named_only, limit: args.limit(), whole: 1 };
        let (plan, one_series) = self.plan(session, &reading)?;
        let schema = Arc::new(
            self.schema.arrow.project(&projection).map_err(|e| DataFusionError::ArrowError(Box::new(e), None))?,
        );
        Ok(ScanResult::new(Arc::new(TsScanExec::new(plan, schema, one_series))))
    }
}
