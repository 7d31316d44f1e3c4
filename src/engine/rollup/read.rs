//! Reading windows of a coarser level: from roll-ups where they are up to date, from raw points elsewhere.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::sync::Arc;

use rhythmite_model::{Aggregate, Aggregates, FieldId, Policy, Result, SeriesId, TableId, Tier};

use super::kernel::{Cut, roll_up};
use crate::deletes::Deletes;
use crate::files::LiveFile;
use crate::merge::{Piece, join, set_apart};
use crate::scan::{Scan, SeriesFilter, SeriesPoints, Stream};
use crate::snapshot::Snapshot;

/// A partition that is rolled up.
#[derive(Clone, Copy, Debug)]
struct Cover {
    first_ns: i64,
    last_ns: i64,
    /// The newest write in it.
    seq: u64,
    /// The newest deletion it has seen.
    seen_seq: u64,
}

/// Moments, both ends included.
type Span = (i64, i64);

/// Which windows are asked for.
#[derive(Clone, Debug)]
pub struct RollupsOf<'a> {
    /// The table's policy.
    pub policy: &'a Policy,
    /// Of which table.
    pub table: TableId,
    /// Of which level.
    pub level: Tier,
    /// Of which series.
    pub series: &'a SeriesFilter,
    /// Of which fields, ascending; `None` for all.
    pub fields: Option<Arc<[FieldId]>>,
    /// Which aggregates, beside counts.
    pub aggregates: Aggregates,
    /// When pieces begin. Begin and end with windows of the level: one that is cut is computed from the part within.
    pub times_ns: RangeInclusive<i64>,
}

/// Walks series in ascending order; of each gives pieces of windows, as they would be computed from its points now.
///
/// The streams' fields are numbered by [`Aggregate::of`], times are those of the pieces. Counts are always among them.
pub struct RollupScan {
    stored: Peekable<Scan>,
    /// Raw points of partitions that are not rolled up, perhaps with others.
    raw: Peekable<Scan>,
    /// Raw points that may be newer than the roll-up of their partition, perhaps with others.
    newer: Peekable<Scan>,
    /// All raw points.
    whole: Scan,
    /// Ascending, apart.
    covers: Vec<Cover>,
    /// Ascending, apart: what neither roll-ups nor the floor cover.
    open: Vec<Span>,
    deletes: Arc<Deletes>,
    cut: Cut,
    wanted: Aggregates,
}

impl Snapshot {
    /// The moment before which a policy has roll-ups only: raw points there have gone.
    pub fn raw_floor(&self, policy: rhythmite_model::PolicyId) -> i64 {
        self.view.floors.get(&policy).copied().unwrap_or(i64::MIN)
    }

    /// Whether coarser levels of a policy have rows of their own: imported, moved, or too late for finer ones.
    pub fn has_own_rows(&self, policy: rhythmite_model::PolicyId) -> bool {
        let is_own = |tier: Tier| tier != Tier::RAW && !tier.is_rolled();
        let mut files = self.view.files.iter().filter(|(key, _)| key.0 == policy && is_own(key.1));
        if files.any(|(_, files)| !files.is_empty()) {
            return true;
        }
        let generations = self.view.frozen.iter().map(|frozen| &frozen.active).chain([&self.view.active]);
        let mut own = generations.flat_map(|active| active.generation.tables()).filter(|(_, tier)| is_own(*tier));
        own.any(|(table, _)| self.registry.read().table(table).is_some_and(|table| table.policy() == policy))
    }

    /// The oldest time that a level has roll-ups of whose raw points have gone; the floor if it has none.
    pub fn rolled_since(&self, policy: &Policy, level: usize) -> i64 {
        let floor_ns = self.raw_floor(policy.id);
        let tier = Tier(u8::try_from(level).unwrap_or(u8::MAX)).rolled();
        let files = self.view.files.get(&(policy.id, tier)).into_iter().flatten();
        files.map(|file| file.record.min_time_ns).min().map_or(floor_ns, |oldest| oldest.min(floor_ns))
    }

    /// Pieces of windows of a coarser level, as they are computed from the points there are now.
    ///
    /// # Errors
    /// `NotFound` when the table is gone.
    pub fn rollups(&self, asked: RollupsOf<'_>) -> Result<RollupScan> {
        let RollupsOf { policy, table, level, series, fields, aggregates, times_ns } = asked;
        let wanted = aggregates.with(Aggregate::Count);
        let step_ns = policy.levels.get(level.level()).map_or(1, |level| level.step_ns).max(1);
        let cut = Cut { step_ns, partition_ns: policy.partition_ns.max(1) };
        let (first_ns, last_ns) = (*times_ns.start(), *times_ns.end());
        let floor_ns = self.raw_floor(policy.id);
        let covers = self.covers(policy, level, floor_ns, (first_ns, last_ns));
        let open = gaps(&covers, (first_ns.max(floor_ns), last_ns));

        let stored_fields = fields.as_ref().map(|fields| {
            let stored = fields.iter().flat_map(|field| wanted.iter().filter_map(|aggregate| aggregate.of(*field)));
            stored.collect::<Arc<[FieldId]>>()
        });
        let stored = self.scan(table, level.rolled(), series.clone(), stored_fields, times_ns.clone())?;
        let raw = |span: Option<Span>, take: &dyn Fn(&LiveFile) -> bool| {
            // An empty range of times reads nothing.
            let (first_ns, last_ns) = span.unwrap_or((1, 0));
            self.scan_where(table, Tier::RAW, series.clone(), fields.clone(), first_ns..=last_ns, take)
        };
        let hull = |spans: &[Span]| Some((spans.first()?.0, spans.last()?.1));
        let meets =
            |file: &LiveFile, span: Span| file.record.max_time_ns >= span.0 && file.record.min_time_ns <= span.1;
        let in_open = |file: &LiveFile| open.iter().any(|span| meets(file, *span));
        let is_newer = |file: &LiveFile| {
            covers.iter().any(|cover| file.record.seq > cover.seq && meets(file, (cover.first_ns, cover.last_ns)))
        };
        let covered: Vec<Span> = covers.iter().map(|cover| (cover.first_ns, cover.last_ns)).collect();
        let open_scan = raw(hull(&open), &in_open)?;
        let newer_scan = raw(hull(&covered), &is_newer)?;
        let whole = raw(hull(&covered), &|_| true)?;
        let deletes = self.view.deletes.clone();
        Ok(RollupScan {
            stored: stored.peekable(),
            raw: open_scan.peekable(),
            newer: newer_scan.peekable(),
            whole,
            covers,
            open,
            deletes,
            cut,
            wanted,
        })
    }

    /// The partitions above the floor that are rolled up, within a range.
    fn covers(&self, policy: &Policy, level: Tier, floor_ns: i64, (first_ns, last_ns): Span) -> Vec<Cover> {
        let mut covers = Vec::new();
        for file in self.view.files.get(&(policy.id, level.rolled())).into_iter().flatten() {
            let Some(start_ns) = file.record.partition_ns.filter(|start| *start >= floor_ns) else { continue };
            let cover = Cover {
                first_ns: start_ns.max(first_ns),
                last_ns: start_ns.saturating_add(policy.partition_ns.max(1) - 1).min(last_ns),
                seq: file.record.seq,
                seen_seq: file.record.seen_seq(),
            };
            if cover.first_ns <= cover.last_ns {
                covers.push(cover);
            }
        }
        covers.sort_by_key(|cover| cover.first_ns);
        covers
    }
}

/// What covers leave of a range.
fn gaps(covers: &[Cover], (first_ns, last_ns): Span) -> Vec<Span> {
    let mut gaps = Vec::new();
    let mut next = Some(first_ns);
    for cover in covers {
        if let Some(from) = next.filter(|from| *from < cover.first_ns) {
            gaps.push((from, cover.first_ns - 1));
        }
        next = cover.last_ns.checked_add(1).filter(|_| next.is_some());
    }
    gaps.extend(next.filter(|from| *from <= last_ns).map(|from| (from, last_ns)));
    gaps
}

/// Spans of one series' fields that roll-ups do not tell.
#[derive(Default)]
struct Dirty {
    all: Vec<Span>,
    fields: BTreeMap<FieldId, Vec<Span>>,
}

impl Dirty {
    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.fields.values().all(Vec::is_empty)
    }

    /// From the first to the last.
    fn hull(&self) -> Option<Span> {
        let spans = || self.all.iter().chain(self.fields.values().flatten());
        Some((spans().map(|s| s.0).min()?, spans().map(|s| s.1).max()?))
    }

    /// Those of a field, ascending and apart.
    fn of(&self, field: FieldId) -> Vec<Span> {
        let mut spans: Vec<Span> =
            self.all.iter().chain(self.fields.get(&field).into_iter().flatten()).copied().collect();
        spans.sort_unstable();
        let mut joined: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match joined.last_mut() {
                Some(last) if span.0 <= last.1 => last.1 = last.1.max(span.1),
                _ => joined.push(span),
            }
        }
        joined
    }
}

/// Whether a moment lies in one of some ascending spans.
fn lies_in(spans: &[Span], time_ns: i64) -> bool {
    let behind = spans.partition_point(|span| span.0 <= time_ns);
    behind > 0 && spans[behind - 1].1 >= time_ns
}

/// The rows of a stream whose times lie in (or, not `inside`, out of) spans; `None` when there are none.
fn part(stream: Stream, spans: &[Span], inside: bool) -> Option<Stream> {
    let stays = |time: i64| lies_in(spans, time) == inside;
    if stream.times_ns.iter().all(|t| stays(*t)) {
        return Some(stream).filter(|stream| !stream.times_ns.is_empty());
    }
    let rows: Vec<u32> = (0..).zip(&stream.times_ns).filter(|(_, t)| stays(**t)).map(|(row, _)| row).collect();
    if rows.is_empty() {
        return None;
    }
    let times_ns = rows.iter().map(|row| stream.times_ns[*row as usize]).collect();
    Some(Stream { field: stream.field, times_ns, values: stream.values.gather(&rows) })
}

/// The next series of a scan, or the error that is there instead of it.
fn head(scan: &mut Peekable<Scan>) -> Result<Option<SeriesId>> {
    match scan.peek() {
        None => Ok(None),
        Some(Ok(points)) => Ok(Some(points.series)),
        Some(Err(_)) => scan.next().transpose().map(|_| None),
    }
}

fn take(scan: &mut Peekable<Scan>, series: SeriesId) -> Result<Vec<Stream>> {
    let found = scan.next_if(|points| points.as_ref().is_ok_and(|points| points.series == series));
    Ok(found.transpose()?.map_or_else(Vec::new, |points| points.streams))
}

impl RollupScan {
    fn advance(&mut self) -> Result<Option<SeriesPoints>> {
        loop {
            let heads = [head(&mut self.stored)?, head(&mut self.raw)?, head(&mut self.newer)?];
            let Some(series) = heads.into_iter().flatten().min() else { return Ok(None) };
            let stored = take(&mut self.stored, series)?;
            let raw = take(&mut self.raw, series)?;
            let newer = take(&mut self.newer, series)?;
            let streams = self.join(series, stored, raw, newer)?;
            if !streams.is_empty() {
                return Ok(Some(SeriesPoints { series, streams }));
            }
        }
    }

    fn join(
        &mut self,
        series: SeriesId,
        stored: Vec<Stream>,
        raw: Vec<Stream>,
        newer: Vec<Stream>,
    ) -> Result<Vec<Stream>> {
        let dirty = self.dirty(series, &stored, &newer);
        let mut pieces: BTreeMap<FieldId, Vec<Piece>> = BTreeMap::new();
        let mut add = |rank: u64, stream: Stream| {
            let Stream { field, times_ns, values } = stream;
            pieces.entry(field).or_default().push(Piece::Owned { rank, times_ns, values });
        };
        for stream in stored {
            let (field, _) = Aggregate::split(stream.field);
            if let Some(clean) = part(stream, &dirty.of(field), false) {
                add(0, clean);
            }
        }
        let mut compute = |rank: u64, stream: Stream, spans: &[Span]| {
            if let Some(stream) = part(stream, spans, true) {
                let Stream { field, times_ns, values } = stream;
                let rolled = roll_up(field, &times_ns, &values, self.cut, self.wanted, &mut 0);
                rolled.into_iter().for_each(|s| add(rank, s));
            }
        };
        for stream in raw {
            compute(1, stream, &self.open);
        }
        if let Some((first_ns, last_ns)) = dirty.hull() {
            for stream in self.whole.points_of(series, &(first_ns..=last_ns))?.streams {
                let spans = dirty.of(stream.field);
                compute(2, stream, &spans);
            }
        }
        let joined = pieces.into_iter().map(|(field, mut pieces)| {
            set_apart(&mut pieces);
            let (times_ns, values) = join(pieces);
            Stream { field, times_ns, values }
        });
        Ok(joined.collect())
    }

    /// What roll-ups say of a series that is not so any more.
    fn dirty(&self, series: SeriesId, stored: &[Stream], newer: &[Stream]) -> Dirty {
        let mut dirty = Dirty::default();
        if self.covers.is_empty() {
            return dirty;
        }
        let covered: Vec<Span> = self.covers.iter().map(|cover| (cover.first_ns, cover.last_ns)).collect();
        for stream in newer {
            let spans = dirty.fields.entry(stream.field).or_default();
            for &time_ns in &stream.times_ns {
                if spans.last().is_none_or(|last| time_ns > last.1) && lies_in(&covered, time_ns) {
                    spans.push((self.cut.start(time_ns), self.cut.end(time_ns)));
                }
            }
        }
        for delete in self.deletes.of(series, u64::MAX) {
            let times_ns = &delete.tombstone.times_ns;
            for cover in self.covers.iter().filter(|cover| delete.id.seq > cover.seen_seq) {
                let (first_ns, last_ns) = (cover.first_ns.max(*times_ns.start()), cover.last_ns.min(*times_ns.end()));
                if first_ns > last_ns {
                    continue;
                }
                let span = (self.cut.start(first_ns), self.cut.end(last_ns));
                match &delete.tombstone.fields {
                    None => dirty.all.push(span),
                    Some(fields) => fields.iter().for_each(|f| dirty.fields.entry(*f).or_default().push(span)),
                }
            }
        }
        if !Aggregates::USUAL.has_all(self.wanted) {
            self.missing(stored, &covered, &mut dirty);
        }
        if dirty.is_empty() { Dirty::default() } else { dirty }
    }

    /// Pieces that lack an aggregate which not every roll-up has.
    fn missing(&self, stored: &[Stream], covered: &[Span], dirty: &mut Dirty) {
        for counts in stored {
            let (field, Some(Aggregate::Count)) = Aggregate::split(counts.field) else { continue };
            for aggregate in self.wanted.iter().filter(|a| !Aggregates::USUAL.has(*a)) {
                let found = stored.iter().find(|stream| Some(stream.field) == aggregate.of(field));
                let has = |t: &i64| found.is_some_and(|stream| stream.times_ns.binary_search(t).is_ok());
                let lacking = counts.times_ns.iter().filter(|t| lies_in(covered, **t) && !has(t));
                dirty.fields.entry(field).or_default().extend(lacking.map(|t| (self.cut.start(*t), self.cut.end(*t))));
            }
        }
    }
}

impl Iterator for RollupScan {
    type Item = Result<SeriesPoints>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}
