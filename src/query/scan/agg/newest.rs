//! The newest row of each group: `SELECT DISTINCT ON (host) * .. ORDER BY host, time DESC`.
//!
//! Where every row counts, the newest row of each series is asked of the indexes. Where rows have conditions to meet, the
//! newest points are read first: a group that has a row is done, and only the series of the others are looked for further
//! back. Among rows of one time and group any may be chosen.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use rhythmite_engine::{End, EndOf, SeriesFilter, SeriesPoints, Stream};
use rhythmite_model::{Column, FieldId, SeriesId};

use super::exec::Job;
use super::output;
use super::query::{Key, RowsOf};
use super::state::State;
use crate::query::scan::align::Aligned;
use crate::query::scan::backwards::Backwards;
use crate::query::scan::exec::{Piece, external, key_of};
use crate::query::scan::predicate;
use crate::query::scan::rows::RowBuilder;
use crate::query::scan::schema::ColumnKind;
use crate::query::scan::time;

/// How far back from the newest point the first step looks.
const FIRST_NS: i64 = 3_600_000_000_000;
/// Series after which others may run.
const SERIES_AT_A_TIME: usize = 256;
/// Series whose newest rows are asked for together.
const SERIES_ASKED: usize = 1024;
/// Bytes that a row takes beside its values.
const ROW_BYTES: usize = 160;

/// The newest row of a group so far.
pub(super) struct Row {
    time_ns: i64,
    series_key: String,
    /// Of each field of the query its value.
    values: Vec<Option<Column>>,
}

/// The newest row of each group of a partition.
pub(super) async fn read(job: Arc<Job>, partition: usize, reservation: MemoryReservation) -> Result<Vec<Row>> {
    let plan = &job.plan;
    let mut groups = State::new(job.spec.clone());
    let mut rows: Vec<Option<Row>> = Vec::new();
    // Of every piece the series that are still looked for.
    let mut wanted: Vec<SeriesFilter> = plan.partitions[partition].iter().map(|p| p.series.clone()).collect();
    if !matches!(job.spec.rows, RowsOf::With(_)) {
        for piece in newest_first(&plan.partitions[partition]) {
            ask(&job, piece, &mut groups, &mut rows).await?;
            reservation.try_resize(groups.heap_bytes() + rows.len() * ROW_BYTES)?;
        }
        return Ok(rows.into_iter().flatten().collect());
    }
    let mut steps = Backwards::new(plan, FIRST_NS);
    while let Some(step_ns) = steps.step(|time_ns| time_ns) {
        for (piece, series) in plan.partitions[partition].iter().zip(&mut wanted) {
            let times_ns = time::intersect(&piece.window.times_ns, &step_ns);
            look(&job, piece, series, times_ns, &mut groups, &mut rows).await?;
            reservation.try_resize(groups.heap_bytes() + rows.len() * ROW_BYTES)?;
        }
        for (piece, series) in plan.partitions[partition].iter().zip(&mut wanted) {
            *series = SeriesFilter::List(missing(&job, piece, series, &mut groups, &rows));
        }
        if wanted.iter().all(|w| matches!(w, SeriesFilter::List(list) if list.is_empty())) {
            break;
        }
    }
    Ok(rows.into_iter().flatten().collect())
}

/// The pieces that reach furthest first: what they have need not be looked for in others.
fn newest_first(pieces: &[Piece]) -> Vec<&Piece> {
    let mut pieces: Vec<&Piece> = pieces.iter().collect();
    pieces.sort_by_key(|piece| std::cmp::Reverse(*piece.window.times_ns.end()));
    pieces
}

/// Finds the newest rows of a piece by the ends of its streams.
async fn ask(job: &Job, piece: &Piece, groups: &mut State, rows: &mut Vec<Option<Row>>) -> Result<()> {
    let plan = &job.plan;
    let scope = &plan.scope;
    let times_ns = time::intersect(&piece.window.times_ns, &plan.times_ns);
    let Some(fields) = job.fields(piece.table).filter(|_| !times_ns.is_empty()) else { return Ok(()) };
    let ids = ids_of(job, piece, &piece.series);
    for ids in ids.chunks(SERIES_ASKED) {
        let is_open = |id: &SeriesId| {
            let Some(key) = key_of(scope, *id) else { return false };
            let group = groups.group(plan.kind, &key) as usize;
            rows.get(group).and_then(Option::as_ref).is_none_or(|row| row.time_ns < *times_ns.end())
        };
        let open: Vec<SeriesId> = ids.iter().copied().filter(is_open).collect();
        if let Some(scan) = piece.level(scope, &SeriesFilter::List(open.clone().into()), &times_ns)? {
            for points in scan {
                take(job, fields.named(), points.map_err(external)?, groups, rows);
            }
            tokio::task::yield_now().await;
            continue;
        }
        let question = (End::Last, EndOf::Rows);
        let only = piece.fields.as_deref();
        let found = scope.snapshot.ends(question, piece.table, piece.window.tier, &open, only, &times_ns);
        for points in found.map_err(external)? {
            take(job, fields.named(), points, groups, rows);
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// The series of a filter, ascending.
fn ids_of(job: &Job, piece: &Piece, series: &SeriesFilter) -> Vec<SeriesId> {
    match series {
        SeriesFilter::List(list) => list.to_vec(),
        SeriesFilter::Range(range) => {
            let names = job.plan.scope.engine.registry().read();
            let mut ids = names.ids(&names.series(piece.table));
            ids.retain(|id| range.contains(id));
            ids.sort_unstable();
            ids
        }
    }
}

/// The series whose groups have no row yet.
fn missing(
    job: &Job,
    piece: &Piece,
    series: &SeriesFilter,
    groups: &mut State,
    rows: &[Option<Row>],
) -> Arc<[SeriesId]> {
    let ids = ids_of(job, piece, series);
    let names = job.plan.scope.engine.registry().read();
    let is_missing = |id: &SeriesId| {
        let Some(slot) = names.slot(*id) else { return false };
        let group = groups.group(job.plan.kind, names.key(slot));
        rows.get(group as usize).is_none_or(Option::is_none)
    };
    ids.into_iter().filter(is_missing).collect()
}

/// Looks for newer rows of some series.
async fn look(
    job: &Job,
    piece: &Piece,
    series: &SeriesFilter,
    times_ns: RangeInclusive<i64>,
    groups: &mut State,
    rows: &mut Vec<Option<Row>>,
) -> Result<()> {
    let Some(fields) = job.fields(piece.table).filter(|_| !times_ns.is_empty()) else { return Ok(()) };
    let scope = &job.plan.scope;
    let (tier, only) = (piece.window.tier, piece.fields.clone());
    let scan: Box<dyn Iterator<Item = rhythmite_model::Result<SeriesPoints>> + Send> =
        match piece.level(scope, series, &times_ns)? {
            Some(scan) => Box::new(scan),
            None => {
                let scan = scope.snapshot.scan(piece.table, tier, series.clone(), only, times_ns);
                Box::new(scan.map_err(external)?)
            }
        };
    for (at, points) in scan.enumerate() {
        take(job, fields.named(), points.map_err(external)?, groups, rows);
        if at % SERIES_AT_A_TIME == SERIES_AT_A_TIME - 1 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Keeps the newest row of a series if its group has none or an older one.
fn take(job: &Job, named: &[Option<FieldId>], points: SeriesPoints, groups: &mut State, rows: &mut Vec<Option<Row>>) {
    let Some(key) = key_of(&job.plan.scope, points.series) else { return };
    let group = groups.group(job.plan.kind, &key) as usize;
    if rows.len() <= group {
        rows.resize_with(group + 1, || None);
    }
    let newest = rows[group].as_ref().map(|row| row.time_ns);
    if let Some(row) = newest_of(job, named, points, key, newest) {
        rows[group] = Some(row);
    }
}

/// The newest row of a series, if it is newer than `than`.
fn newest_of(
    job: &Job,
    fields: &[Option<FieldId>],
    points: SeriesPoints,
    series_key: String,
    than: Option<i64>,
) -> Option<Row> {
    let named: Vec<Option<&Stream>> =
        fields.iter().map(|id| id.and_then(|id| points.streams.iter().find(|s| s.field == id))).collect();
    let time_ns = match &job.spec.rows {
        RowsOf::With(required) => {
            let tests = required.iter().map(|(at, test)| Some((named[*at]?, test)));
            *predicate::times_ns(&tests.collect::<Option<Vec<_>>>()?).last()?
        }
        _ => points.streams.iter().filter_map(|s| s.times_ns.last().copied()).max()?,
    };
    if than.is_some_and(|than| than >= time_ns) {
        return None;
    }
    let value = |stream: &Stream| {
        let place = stream.times_ns.binary_search(&time_ns).ok()?;
        Some(stream.values.gather(&[place as u32]))
    };
    let values = named.into_iter().map(|stream| stream.and_then(value)).collect();
    Some(Row { time_ns, series_key, values })
}

/// The rows of all partitions as the answer.
///
/// # Errors
/// None but bugs.
pub(super) fn batch(job: &Job, picked: &[ColumnKind], parts: Vec<Vec<Row>>) -> Result<RecordBatch> {
    let (spec, kind) = (&job.spec, job.plan.kind);
    let mut groups = State::new(spec.clone());
    let mut rows: Vec<Row> = Vec::new();
    let mut known = HashSet::new();
    for row in parts.into_iter().flatten() {
        let group = groups.group(kind, &row.series_key);
        if known.insert(group) {
            // Slots are numbered as groups are.
            groups.touch(group, &[0]);
            rows.push(row);
        } else if rows[group as usize].time_ns < row.time_ns {
            rows[group as usize] = row;
        }
    }
    let column = |&at: &usize| match spec.keys.get(at) {
        Some(Key::Tag(tag)) => spec.tags[*tag].clone(),
        Some(Key::Window) => ColumnKind::Time,
        None => picked[at - spec.keys.len()].clone(),
    };
    let columns: Vec<ColumnKind> = spec.output.iter().map(column).collect();
    // Of each column the field that it shows.
    let field_of: Vec<Option<usize>> = columns
        .iter()
        .map(|column| match column {
            ColumnKind::Field(name, of) => spec.fields.iter().position(|(n, t)| (n, t) == (name, of)),
            _ => None,
        })
        .collect();
    let mut builder = RowBuilder::new(spec.schema.clone(), columns.into_iter());
    for slot in output::sorted(spec, &groups) {
        let row = &mut rows[slot as usize];
        let mut place_of = vec![None; row.values.len()];
        let mut streams = Vec::new();
        for (field, value) in row.values.iter_mut().enumerate() {
            if let Some(values) = value.take() {
                place_of[field] = Some(streams.len());
                streams.push(Stream { field: FieldId(0), times_ns: vec![row.time_ns], values });
            }
        }
        if streams.is_empty() {
            let values = Column::Boolean(vec![false]);
            streams.push(Stream { field: FieldId(0), times_ns: vec![row.time_ns], values });
        }
        let points = Aligned::new(SeriesPoints { series: SeriesId(0), streams });
        let stream_of: Vec<Option<usize>> = field_of.iter().map(|f| f.and_then(|field| place_of[field])).collect();
        builder.set_series(kind, &row.series_key);
        builder.append(&points, 0..1, &stream_of);
    }
    Ok(builder.finish()?)
}
