//! Reading: which series of which groups are scanned together, and how much time at once.
//!
//! What a batch of groups weighs is asked of the indexes first. Most batches are read in one go. Functions that fold keep
//! nothing of what they have read (`sweep`); where one series is heavy they are read in pieces of time. Of a heavier one of raw points each group is
//! read for itself, and where one is heavy too its rows are given out piece by piece, in the order of the answer, until
//! LIMIT is reached. Functions that a coarser level has the aggregates for are answered from it (`tier`). Other functions need all points of a group, which [`super::select::Select::hold`] bounds.

use std::collections::BTreeMap;
use std::sync::Arc;

use rhythmite_engine::{RollupsOf, SeriesFilter, SeriesPoints, Weight};
use rhythmite_influx::influxql::Fill;
use rhythmite_model::{FieldId, SeriesId, TableId, Tier};

use super::aggregate::fold::Folded;
use super::brief;
use super::column::Col;
use super::condition::Residual;
use super::ends;
use super::failure::Result;
use super::frame::{FramePlan, Series, Stream};
use super::group::{Group, Reader, check_type, frame_type};
use super::plan::PlannedCall;
use super::points::Page;
use super::select::{Emit, Rows, Tags};
use super::source::reads_tag;
use super::sweep::PART_VALUES;
use super::tier::{self, Asked, Choice};
use crate::query::graphite::levels::Timeline;
use crate::query::slices::Slices;

/// Values read at a time, about: 32 MiB.
const PIECE_VALUES: u64 = 2 * 1024 * 1024;
/// Values of the first piece where LIMIT may end the statement, at most; each further one is twice as large.
pub(super) const FIRST_PIECE_VALUES: u64 = 16 * 1024;

/// Pieces that are read at a time where a condition leaves some of the rows,
const ASKED_PIECES: u64 = 32;
/// as long as no more is kept than of so many (without the times of each value, of which a row has one),
const KEPT_PIECES: u64 = 4;
/// else this part of it.
const ASKED_LESS: u64 = 8;

/// A series of a group.
pub(super) enum Member {
    Stored(TableId, SeriesId, Tags),
    /// Of the rows of a subquery.
    Made(usize, usize),
}

/// The values of the dimensions, and the series.
pub(super) type Members = (Vec<String>, Vec<Member>);

/// A stored series, its group, its place within the group, its tags.
pub(super) struct Place {
    pub(super) series: SeriesId,
    pub(super) group: usize,
    place: usize,
    tags: Tags,
}

/// What is scanned of a table.
pub(super) struct Target {
    pub(super) table: TableId,
    pub(super) series: Arc<[SeriesId]>,
    /// The fields that the statement reads, ascending by number.
    pub(super) fields: Arc<[FieldId]>,
    names: Vec<Arc<str>>,
}

/// Points of a table, series by series.
enum Points {
    Stored(Box<rhythmite_engine::Scan>),
    /// With those of Graphite's coarser levels.
    Timeline(Box<Timeline>),
}

impl Iterator for Points {
    type Item = rhythmite_model::Result<SeriesPoints>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Stored(scan) => scan.next(),
            Self::Timeline(timeline) => timeline.next(),
        }
    }
}

/// Groups that are read together.
pub(super) struct Batch {
    pub(super) groups: Vec<Group>,
    pub(super) targets: Vec<Target>,
    /// Ascending by series; one may be in several places.
    pub(super) places: Vec<Place>,
    /// The series kept of each group, by their places.
    kept: Vec<Vec<(usize, Series)>>,
    /// Values held for what was folded.
    held: u64,
}

impl Batch {
    /// The places of some series, with their tags.
    pub(super) fn places_of(&self, series: &[SeriesId]) -> Vec<(SeriesId, usize, Tags)> {
        let Some((first, last)) = series.first().zip(series.last()) else { return Vec::new() };
        let start = self.places.partition_point(|place| place.series < *first);
        let places = self.places[start..].iter().take_while(|place| place.series <= *last);
        places.map(|place| (place.series, place.place, place.tags.clone())).collect()
    }
}

impl Reader<'_, '_, '_> {
    /// Reads groups and hands their rows out.
    pub(super) fn batch(&self, groups: Vec<Members>, rows_of: &[Vec<Series>], emit: &mut Emit<'_>) -> Result<()> {
        let mut batch = self.begin(&groups, rows_of)?;
        let range = self.plan.bounded(self.plan.widest());
        if self.select.request.briefly {
            return self.batch_briefly(batch, range, emit);
        }
        self.read_tiers(&mut batch, range)?;
        if batch.targets.is_empty() && !self.plan.keeps_series() {
            return self.finish(batch, emit);
        }
        if rows_of.is_empty() && self.read_ends(&mut batch, range)? {
            return self.finish(batch, emit);
        }
        let weights = self.weigh(&batch, range)?;
        let values = weights.iter().fold(0_u64, |sum, weight| sum.saturating_add(weight.values));
        let heavy = values > self.piece_values();
        // The last point of each host is not worth reading all of them.
        let ends_early = self.plan.limit > 0 && values > self.first_piece(&batch);
        if rows_of.is_empty() && self.read_from_end(&mut batch, &weights, range)? {
            return self.finish(batch, emit);
        }
        if heavy && !self.plan.keeps_series() {
            let piece = match self.folds_bare() {
                // Of these one series at a time is in memory.
                true => {
                    let largest = weights.iter().fold(1_u64, |sum, weight| sum.saturating_add(weight.of_series));
                    (values as f64 * (self.piece_values() as f64 / largest as f64)) as u64
                }
                false => self.piece_values(),
            };
            let mut slices = Slices::new(&weights, range, self.plan.compiled.ascending);
            while let Some(slice) = slices.next(piece) {
                self.read(&mut batch, slice, values.min(piece))?;
            }
            return self.finish(batch, emit);
        }
        if (heavy || ends_early) && self.goes_in_pieces() {
            let stored = |(_, members): &Members| members.iter().all(|m| matches!(m, Member::Stored(..)));
            if groups.len() > 1 {
                drop(batch);
                return groups.into_iter().try_for_each(|group| self.batch(vec![group], rows_of, emit));
            }
            if groups.iter().all(stored) {
                return self.in_pieces(batch, &weights, range, emit);
            }
        }
        let held = self.read(&mut batch, range, values)?;
        self.finish(batch, emit)?;
        self.select.release(held);
        Ok(())
    }

    /// Reads groups that are folded, of few points that are in memory.
    fn batch_briefly(&self, mut batch: Batch, range: (i64, i64), emit: &mut Emit<'_>) -> Result<()> {
        let asked = Asked::of(self.plan, self.residual.is_some());
        let elsewhere = |target: &Target| {
            tier::has_timeline(self.select, target.table, range)
                || asked.as_ref().is_some_and(|asked| Choice::of(self.select, asked, target.table, range).is_some())
        };
        if !self.folds_bare() || ends::picks_an_end(self.plan).is_some() || batch.targets.iter().any(elsewhere) {
            return Err(brief::too_long());
        }
        batch.targets.iter().try_for_each(|target| tier::refuse_gone(self.select, self.plan, target.table, range))?;
        let values_max = brief::VALUES_MAX.min(self.piece_values());
        let mut values = 0_u64;
        for target in &batch.targets {
            let (series, fields) = (SeriesFilter::List(target.series.clone()), Some(&*target.fields));
            let times_ns = range.0..=range.1;
            let found = self.select.snapshot.weigh(target.table, Tier::RAW, &series, fields, &times_ns, values_max)?;
            values = found.iter().fold(values, |sum, weight| sum.saturating_add(weight.values));
        }
        if values > values_max {
            return Err(brief::too_long());
        }
        self.read(&mut batch, range, values)?;
        self.finish(batch, emit)
    }

    /// Values read at a time, about.
    pub(super) fn piece_values(&self) -> u64 {
        match self.select.context.limits.piece_values {
            0 => PIECE_VALUES,
            values => values,
        }
    }

    /// Values read at first where LIMIT may end the statement: some times what it asks for.
    fn first_piece(&self, batch: &Batch) -> u64 {
        let fields = batch.targets.iter().map(|target| target.fields.len()).max().unwrap_or(0).max(1);
        let rows = self.plan.limit.saturating_add(self.plan.offset);
        let values = rows.saturating_mul(fields as u64).saturating_mul(8);
        values.clamp(256, FIRST_PIECE_VALUES).min(self.piece_values())
    }

    /// Whether the rows of a group can be given out before its last point is read.
    fn goes_in_pieces(&self) -> bool {
        let plan = self.plan;
        plan.in_parts && plan.calls.is_empty() && matches!(plan.compiled.fill, Fill::Null | Fill::None)
    }

    /// Finds out what is to be scanned, and takes the rows of subqueries.
    fn begin(&self, groups: &[Members], rows_of: &[Vec<Series>]) -> Result<Batch> {
        let plan = self.plan;
        let mut by_table: BTreeMap<TableId, Vec<SeriesId>> = BTreeMap::new();
        let mut batch =
            Batch { groups: Vec::new(), targets: Vec::new(), places: Vec::new(), kept: Vec::new(), held: 0 };
        for (number, (key, members)) in groups.iter().enumerate() {
            let tags: Vec<_> = plan.dimensions.iter().cloned().zip(key.iter().cloned()).collect();
            let folded = plan.calls.iter().map(|call| call.leaf.fold.map(Folded::new)).collect();
            let mut group = Group { tags: tags.into(), folded, series: Vec::new() };
            let mut kept = Vec::new();
            for (place, member) in members.iter().enumerate() {
                match member {
                    Member::Stored(table, id, tags) => {
                        by_table.entry(*table).or_default().push(*id);
                        batch.places.push(Place { series: *id, group: number, place, tags: tags.clone() });
                    }
                    Member::Made(list, at) => {
                        let series = &rows_of[*list][*at];
                        self.fold(&mut group, series, self.whole)?;
                        if plan.keeps_series() {
                            kept.push((place, series.clone()));
                        }
                    }
                }
            }
            batch.groups.push(group);
            batch.kept.push(kept);
        }
        batch.places.sort_by_key(|place| place.series);
        for (table, mut ids) in by_table {
            // A measurement named twice is read once and counts twice.
            ids.sort_unstable();
            ids.dedup();
            let (fields, names): (Vec<FieldId>, Vec<_>) = self.fields(table).into_iter().unzip();
            if !fields.is_empty() {
                batch.targets.push(Target { table, series: ids.into(), fields: fields.into(), names });
            }
        }
        Ok(batch)
    }

    fn weigh(&self, batch: &Batch, range: (i64, i64)) -> Result<Vec<Weight>> {
        let mut weights = Vec::new();
        let small = match self.reads_from_end() {
            true => self.piece_values().min(FIRST_PIECE_VALUES),
            false if self.folds_bare() => self.piece_values().min(PART_VALUES),
            false => self.piece_values(),
        };
        let small = small / batch.targets.len().max(1) as u64;
        for target in &batch.targets {
            let series = SeriesFilter::List(target.series.clone());
            let (fields, times_ns) = (Some(&*target.fields), range.0..=range.1);
            weights.extend(self.select.snapshot.weigh(target.table, Tier::RAW, &series, fields, &times_ns, small)?);
        }
        Ok(weights)
    }

    fn scan(&self, target: &Target, (min_ns, max_ns): (i64, i64)) -> Result<Points> {
        let (series, fields) = (SeriesFilter::List(target.series.clone()), Some(target.fields.clone()));
        if let Some(timeline) = tier::timeline(self.select, target.table, series.clone(), (min_ns, max_ns))? {
            return Ok(Points::Timeline(Box::new(timeline)));
        }
        let scan = self.select.snapshot.scan(target.table, Tier::RAW, series, fields, min_ns..=max_ns)?;
        Ok(Points::Stored(Box::new(scan)))
    }

    /// Reads the points of a time, about `values` of them, into the groups; returns the number of values held.
    pub(super) fn read(&self, batch: &mut Batch, range: (i64, i64), values: u64) -> Result<u64> {
        let mut held = 0;
        for at in 0..batch.targets.len() {
            // Values of Graphite's coarser levels are made as they are read.
            if self.folds_bare() && !tier::has_timeline(self.select, batch.targets[at].table, range) {
                self.sweep(batch, at, range, values)?;
                continue;
            }
            for points in self.scan(&batch.targets[at], range)? {
                self.select.check()?;
                held += self.take(batch, at, points?)?;
            }
        }
        Ok(held)
    }

    /// Whether nothing but the values of the calls' own fields decides the rows: then they are folded where they are.
    pub(super) fn folds_bare(&self) -> bool {
        let plan = self.plan;
        !plan.keeps_series() && plan.aux.is_empty() && self.residual.is_none()
    }

    /// Takes the points of a series of target number `at` into the groups; returns the number of values held.
    pub(super) fn take(&self, batch: &mut Batch, at: usize, points: SeriesPoints) -> Result<u64> {
        let keeps = self.plan.keeps_series();
        let mut held = 0;
        let target = &batch.targets[at];
        let start = batch.places.partition_point(|place| place.series < points.series);
        let count = batch.places[start..].iter().take_while(|place| place.series == points.series).count();
        let found = &batch.places[start..start + count];
        if keeps {
            held = points.streams.iter().map(|stream| stream.times_ns.len() as u64).sum();
            self.select.hold(held)?;
        }
        let streams = points.streams.into_iter().filter_map(|stream| {
            let name = target.names[target.fields.binary_search(&stream.field).ok()?].clone();
            Some(Stream { name, times_ns: Arc::new(stream.times_ns), values: Arc::new(Col::full(stream.values)) })
        });
        let mut series = Series { tags: Arc::default(), streams: streams.collect(), rows_ns: None, made: false };
        for (at, Place { group: number, place, tags, .. }) in found.iter().enumerate() {
            series.tags = tags.clone();
            self.fold(&mut batch.groups[*number], &series, self.residual)?;
            if keeps {
                let last = at + 1 == found.len();
                let series = if last { std::mem::take(&mut series) } else { series.clone() };
                batch.kept[*number].push((*place, series));
            }
        }
        Ok(held)
    }

    /// Reads windows of coarser levels into the groups where these have all that is asked for; what they answer is not
    /// read again.
    fn read_tiers(&self, batch: &mut Batch, range: (i64, i64)) -> Result<()> {
        let asked = Asked::of(self.plan, self.residual.is_some());
        let refuse = |batch: &Batch| {
            let mut tables = batch.targets.iter().map(|target| target.table);
            tables.try_for_each(|table| tier::refuse_gone(self.select, self.plan, table, range))
        };
        let Some(asked) = asked else { return refuse(batch) };
        let mut series = vec![0_usize; batch.groups.len()];
        batch.places.iter().for_each(|place| series[place.group] += 1);
        if asked.of_one_series && series.iter().any(|count| *count > 1) {
            return refuse(batch);
        }
        for target in std::mem::take(&mut batch.targets) {
            let Some(choice) = Choice::of(self.select, &asked, target.table, range) else {
                tier::refuse_gone(self.select, self.plan, target.table, range)?;
                batch.targets.push(target);
                continue;
            };
            let others = std::mem::replace(&mut batch.targets, vec![target]);
            // Windows of the level that the range cuts.
            let (first, last) = choice.range;
            if range.0 < first && choice.begins_raw {
                self.read(batch, (range.0, first - 1), PART_VALUES)?;
            }
            self.read_rolled(batch, &asked, &choice)?;
            if last < range.1 {
                self.read(batch, (last + 1, range.1), PART_VALUES)?;
            }
            batch.targets = others;
        }
        Ok(())
    }

    fn read_rolled(&self, batch: &mut Batch, asked: &Asked, choice: &Choice) -> Result<()> {
        let Some(target) = batch.targets.first() else { return Ok(()) };
        let field = |call: &PlannedCall<'_>| {
            target.names.iter().position(|name| **name == *call.leaf.driver.name).map(|at| target.fields[at])
        };
        let fields: Vec<Option<FieldId>> = self.plan.calls.iter().map(field).collect();
        let scan = self.select.snapshot.rollups(RollupsOf {
            policy: &choice.policy,
            table: target.table,
            level: choice.tier,
            series: &SeriesFilter::List(target.series.clone()),
            fields: Some(target.fields.clone()),
            aggregates: asked.aggregates,
            times_ns: choice.range.0..=choice.range.1,
        })?;
        for points in scan {
            self.select.check()?;
            let points = points?;
            let start = batch.places.partition_point(|place| place.series < points.series);
            let found = batch.places[start..].iter().take_while(|place| place.series == points.series);
            for place in found {
                let group = &mut batch.groups[place.group];
                for (field, folded) in fields.iter().zip(&mut group.folded) {
                    if let (Some(field), Some(folded)) = (field, folded) {
                        let added = folded.add_rolled(*field, &points.streams, &self.plan.windows, self.plan.range)?;
                        if added.lacking > 0 {
                            return Err(tier::refuse_lacking(self.select, choice));
                        }
                        // Buckets are values, as far as memory goes.
                        self.select.hold(added.buckets)?;
                        batch.held += added.buckets;
                    }
                }
            }
        }
        Ok(())
    }

    /// Hands out the rows of groups that are read.
    fn finish(&self, batch: Batch, emit: &mut Emit<'_>) -> Result<()> {
        for (mut group, kept) in batch.groups.into_iter().zip(batch.kept) {
            self.select.check()?;
            group.series = in_order(kept);
            let before = self.select.held.get();
            let mut page = Page::new(self.plan.limit, self.plan.offset);
            if let Some(rows) = self.rows(group, &mut page)? {
                for rows in rows.split(self.plan.tag_columns.clone()) {
                    emit(rows)?;
                }
            }
            // What was filled is given out.
            self.select.held.set(before);
        }
        self.select.release(batch.held);
        Ok(())
    }

    /// Reads a group of raw points piece by piece and hands the rows of each out.
    fn in_pieces(&self, mut batch: Batch, weights: &[Weight], range: (i64, i64), emit: &mut Emit<'_>) -> Result<()> {
        let plan = self.plan;
        let Some(group) = batch.groups.first() else { return Ok(()) };
        let tags = group.tags.clone();
        let mut page = Page::new(plan.limit, plan.offset);
        // Values of Graphite's coarser levels are made as they are read.
        let made = batch.targets.iter().any(|target| tier::has_timeline(self.select, target.table, range));
        let kept = self.piece_values();
        let mut most = if !made && self.asks_first(&batch) { kept.saturating_mul(ASKED_PIECES) } else { kept };
        let mut values = if plan.limit > 0 { self.first_piece(&batch) } else { most };
        let mut slices = Slices::new(weights, range, plan.compiled.ascending);
        // The rows before the last ones are given out when it is known that there are others.
        let mut waiting: Option<Rows> = None;
        loop {
            let before = slices.clone();
            let Some(slice) = slices.next(values) else { break };
            let (rows, held) = if made {
                let held = self.read(&mut batch, slice, values)?;
                let kept = batch.kept.first_mut().map(std::mem::take).unwrap_or_default();
                let group = Group { tags: tags.clone(), folded: Vec::new(), series: in_order(kept) };
                (self.rows(group, &mut page)?, held)
            } else {
                let kept_max = if values > kept { kept.saturating_mul(KEPT_PIECES) } else { u64::MAX };
                let Some((hits, held)) = self.hits(&batch, slice, values, kept_max)? else {
                    // More rows than thought meet the condition.
                    (slices, most) = (before, kept.max(values / ASKED_LESS));
                    values = most;
                    continue;
                };
                (self.rows_of(&tags, hits, &mut page), held)
            };
            if let Some(rows) = rows
                && let Some(before) = waiting.replace(rows)
            {
                emit(Rows { more: true, ..before })?;
            }
            self.select.release(held);
            if page.is_done() {
                break;
            }
            values = values.saturating_mul(2).min(most);
        }
        waiting.map_or(Ok(()), emit)
    }

    /// The fields of a table that the statement reads, ascending by number.
    fn fields(&self, table: TableId) -> Vec<(FieldId, Arc<str>)> {
        let directory = self.select.context.engine.registry().read();
        let drivers = self.plan.calls.iter().map(|call| call.leaf.driver);
        let conditions = self.residual.iter().flat_map(|residual| &residual.columns);
        let mut found: Vec<(FieldId, Arc<str>)> = Vec::new();
        for var in drivers.chain(&self.plan.aux).chain(conditions).filter(|var| !reads_tag(var.data_type)) {
            if let Some((id, _)) = directory.find_field(table, &var.name)
                && !found.iter().any(|(known, _)| *known == id)
            {
                found.push((id, var.name.as_str().into()));
            }
        }
        found.sort_by_key(|(id, _)| *id);
        found
    }

    fn fold(&self, group: &mut Group, series: &Series, residual: Option<&Residual>) -> Result<()> {
        for (call, folded) in self.plan.calls.iter().zip(&mut group.folded) {
            let (Some(folded), Some(fold)) = (folded, call.leaf.fold) else { continue };
            let range = call.leaf.range;
            let one = self.plan.windows.is_one() && series.rows_ns.is_some();
            let plan = FramePlan {
                driver: Some(call.leaf.driver),
                aux: &self.plan.aux,
                residual,
                range: self.plan.bounded(range),
                window: one.then_some((range, self.plan.compiled.ascending)),
            };
            let Some(frame) = series.frame(&plan) else { continue };
            check_type(call.leaf.call, fold.takes(frame_type(&frame)), frame_type(&frame))?;
            folded.add(&frame, &self.plan.windows, call.leaf.range);
        }
        Ok(())
    }
}

fn in_order(mut kept: Vec<(usize, Series)>) -> Vec<Series> {
    kept.sort_by_key(|(place, _)| *place);
    kept.into_iter().map(|(_, series)| series).collect()
}
