//! Groups that exist although none of the fields that were read has a value in them.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use datafusion::common::Result;
use rhythmite_engine::SeriesFilter;
use rhythmite_model::{SeriesId, TableId};

use super::exec::Job;
use super::query::RowsOf;
use super::state::State;
use super::windows::Windows;
use crate::query::scan::exec::{external, key_of};
use crate::query::scan::time;

/// Series after which others may run.
const SERIES_AT_A_TIME: usize = 32;

/// Makes the groups that rows of other fields within `times_ns` belong to. `seen` are the series that had a value, with
/// their groups.
///
/// # Errors
/// Those of reading.
pub(super) async fn fill(
    job: &Job,
    state: &mut State,
    seen: Vec<(SeriesId, u32)>,
    times_ns: &RangeInclusive<i64>,
) -> Result<()> {
    let spec = &job.spec;
    if spec.rows != RowsOf::Any || spec.keys.is_empty() {
        return Ok(());
    }
    let found = state.windows();
    if spec.tags.is_empty() {
        let Some(windows) = spec.windows else { return Ok(()) };
        let starts: Vec<i64> = found.iter().map(|(_, start)| *start).collect();
        for gap in between(windows, &starts, times_ns) {
            touch(job, state, None, None, &gap).await?;
        }
        return Ok(());
    }
    // Series that had none of the fields: all their rows are unknown.
    let groups: HashMap<SeriesId, u32> = seen.into_iter().collect();
    let mut unseen: HashMap<TableId, Vec<SeriesId>> = HashMap::new();
    for piece in job.plan.partitions.iter().flatten() {
        if unseen.contains_key(&piece.table) && !matches!(piece.series, SeriesFilter::List(_)) {
            continue;
        }
        let of_table = unseen.entry(piece.table).or_default();
        match &piece.series {
            SeriesFilter::List(list) => of_table.extend(list.iter().filter(|id| !groups.contains_key(id))),
            SeriesFilter::Range(_) => {
                let names = job.plan.scope.engine.registry().read();
                let ids = names.ids(&names.series(piece.table));
                of_table.extend(ids.into_iter().filter(|id| !groups.contains_key(id)));
            }
        }
    }
    for (table, mut ids) in unseen {
        ids.sort_unstable();
        ids.dedup();
        if !ids.is_empty() {
            touch(job, state, Some((table, ids.into())), None, times_ns).await?;
        }
    }
    let Some(windows) = spec.windows else { return Ok(()) };
    let mut series: HashMap<u32, Vec<SeriesId>> = HashMap::new();
    groups.into_iter().for_each(|(id, group)| series.entry(group).or_default().push(id));
    for of_group in found.chunk_by(|a, b| a.0 == b.0) {
        let group = of_group[0].0;
        let starts: Vec<i64> = of_group.iter().map(|(_, start)| *start).collect();
        let gaps = between(windows, &starts, times_ns);
        if gaps.is_empty() {
            continue;
        }
        let mut ids = series.remove(&group).unwrap_or_default();
        ids.sort_unstable();
        for of_table in ids.chunk_by(|a, b| a.table() == b.table()) {
            for gap in &gaps {
                touch(job, state, Some((of_table[0].table(), of_table.into())), Some(group), gap).await?;
            }
        }
    }
    Ok(())
}

/// The ranges of `times_ns` in which there are windows beside the ascending `starts`: before the first, behind the last,
/// and one that holds those in between.
fn between(windows: Windows, starts: &[i64], times_ns: &RangeInclusive<i64>) -> Vec<RangeInclusive<i64>> {
    let (Some(&first), Some(&last)) = (starts.first(), starts.last()) else { return vec![times_ns.clone()] };
    let (start, end) = (*times_ns.start(), *times_ns.end());
    let mut gaps = Vec::new();
    if first > start {
        gaps.push(start..=first - 1);
    }
    let behind = |start: i64| windows.last(start).saturating_add(1);
    let mut missing = starts.windows(2).filter(|pair| behind(pair[0]) < pair[1]);
    if let Some(from) = missing.next() {
        let to = missing.next_back().unwrap_or(from);
        gaps.push(behind(from[0])..=to[1] - 1);
    }
    if windows.last(last) < end {
        gaps.push(behind(last)..=end);
    }
    gaps
}

/// Makes the groups of the rows that the other fields have.
async fn touch(
    job: &Job,
    state: &mut State,
    of: Option<(TableId, Arc<[SeriesId]>)>,
    group: Option<u32>,
    times_ns: &RangeInclusive<i64>,
) -> Result<()> {
    let plan = &job.plan;
    let mut done = Vec::new();
    for piece in plan.partitions.iter().flatten() {
        let times_ns = time::intersect(&piece.window.times_ns, times_ns);
        if times_ns.is_empty() {
            continue;
        }
        let series = match &of {
            // The partitions of a table have the same windows.
            Some((table, _)) if *table != piece.table || done.contains(&piece.window) => continue,
            Some((_, ids)) => {
                done.push(piece.window.clone());
                SeriesFilter::List(ids.clone())
            }
            None => piece.series.clone(),
        };
        let Some(fields) = job.fields(piece.table).filter(|f| !f.others().is_empty()) else { continue };
        let others = fields.others().clone();
        let scan = plan.scope.snapshot.scan(piece.table, piece.window.tier, series, Some(others), times_ns);
        for (at, points) in scan.map_err(external)?.values_of([].into()).enumerate() {
            let points = points.map_err(external)?;
            if at % SERIES_AT_A_TIME == SERIES_AT_A_TIME - 1 {
                tokio::task::yield_now().await;
            }
            let group = match group {
                Some(group) => group,
                None => match key_of(&plan.scope, points.series) {
                    Some(key) => state.group(plan.kind, &key),
                    None => continue,
                },
            };
            // Fields are mostly written together.
            for (at, stream) in points.streams.iter().enumerate() {
                if at == 0 || stream.times_ns != points.streams[at - 1].times_ns {
                    state.touch(group, &stream.times_ns);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_no_window_covers() {
        fn check(starts: &[i64], range: RangeInclusive<i64>, gaps: &[RangeInclusive<i64>]) {
            let windows = Windows { stride_ns: 10, origin_ns: 0 };
            assert_eq!(between(windows, starts, &range), gaps, "{starts:?} {range:?}");
        }
        let (min, max) = (i64::MIN, i64::MAX);
        check(&[], 0..=99, &[0..=99]);
        check(&[0, 10, 20], 0..=29, &[]);
        check(&[0, 10, 20], 5..=25, &[]);
        check(&[10, 20], 5..=45, &[5..=9, 30..=45]);
        check(&[0, 20], 0..=29, &[10..=19]);
        check(&[0, 20, 30, 60, 90], 0..=99, &[10..=89]);
        check(&[0], min..=max, &[min..=-1, 10..=max]);
        check(&[min, max - 7], min..=max, &[min + 10..=max - 8]);
    }
}
