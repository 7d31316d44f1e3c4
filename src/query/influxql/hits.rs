//! Raw rows of many series in one order of time.
//!
//! In order: the series are cut into parts, which this thread and those of the CPU pool that are free read side by side.
//! Of each series the fields of the condition are read first, and the others only if a row meets it, from the first such
//! row to the last. What is kept of a series are its rows that are shown ([`Hits`]). Then the rows of all are put in order
//! ([`merged`]), LIMIT and OFFSET leave some, and the columns are made of those.
//!
//! Limits: a reading that would keep more than it is allowed to is given up ([`Reader::hits`]), and its caller asks for
//! less time. A part is some [`PART_VALUES`] values; after [`ROUND_PARTS`] parts others may have the pool's threads.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rhythmite_engine::registry::Directory;
use rhythmite_engine::{Scan, SeriesFilter, Snapshot, Stretch};
use rhythmite_env::Clock;
use rhythmite_influx::influxql::VarRef;
use rhythmite_model::{Column, FieldId, FieldType, FieldValue, SeriesId, Strings, TableId, Tier};

use super::column::{Col, NO_ROW};
use super::context::Interrupt;
use super::eval::Node;
use super::failure::{Failure, Result};
use super::frame::{Cast, cast_to, merge_times};
use super::group::Reader;
use super::order::{Ties, merged};
use super::points::Page;
use super::read::{Batch, Target};
use super::select::{Rows, Select, Tags};
use super::source::reads_tag;
use super::sweep::{PART_VALUES, ROUND_PARTS};
use super::value::field_type;

/// Cells of an answer below which its columns are made by one thread.
const SHARED_CELLS: usize = 64 * 1024;
/// Bytes of a text that weigh as much as a number.
const TEXT_BYTES: usize = 8;

/// The rows of one series that are shown, and what makes columns of them.
pub(super) struct Hits {
    /// The series' place among those of its group.
    place: usize,
    tags: Tags,
    /// Ascending.
    times_ns: Vec<i64>,
    /// Of each column of the statement its values, `None` of a tag: that is the same in all rows.
    columns: Vec<Option<Col>>,
}

impl Hits {
    /// The value of a tag; empty if the series has none.
    fn tag(&self, key: &str) -> &str {
        tag_of(&self.tags, key)
    }
}

fn tag_of<'t>(tags: &'t [(String, String)], key: &str) -> &'t str {
    tags.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value)
}

/// A name that the statement reads.
struct Name {
    var: VarRef,
    from: From,
    field_type: FieldType,
}

enum From {
    Tag,
    Field(FieldId, Cast),
    /// The table has no such field, or one whose values are never of the type asked for.
    Nowhere,
}

impl Name {
    fn of(var: &VarRef, table: TableId, directory: &Directory) -> Self {
        let wanted = var.data_type.and_then(field_type);
        if reads_tag(var.data_type) {
            return Self { var: var.clone(), from: From::Tag, field_type: FieldType::String };
        }
        let (mut from, mut known) = (From::Nowhere, FieldType::Float);
        if let Some((id, stored)) = directory.find_field(table, &var.name) {
            let cast = cast_to(stored, var.data_type);
            known = stored;
            if cast != Cast::Never {
                from = From::Field(id, cast);
            }
        }
        Self { var: var.clone(), from, field_type: wanted.unwrap_or(known) }
    }

    fn field(&self) -> Option<FieldId> {
        match self.from {
            From::Field(id, _) => Some(id),
            _ => None,
        }
    }
}

/// What is asked of each series of a table; owns all it needs.
struct Search {
    snapshot: Snapshot,
    table: TableId,
    /// The fields of the condition, ascending, if a row without a value of any of them does not meet it.
    first: Option<Arc<[FieldId]>>,
    /// The other fields, or all.
    others: Arc<[FieldId]>,
    condition: Option<(Node, Vec<Name>)>,
    columns: Vec<Name>,
    range: (i64, i64),
    interrupt: Interrupt,
    clock: Arc<dyn Clock>,
    /// Cells kept by all parts, and how many may be.
    kept: AtomicU64,
    kept_max: u64,
}

/// Series, ascending, and their places in the group.
struct Part {
    series: Arc<[SeriesId]>,
    places: Vec<(SeriesId, usize, Tags)>,
}

/// A field's points of one series.
type Stretches<'a> = Vec<Stretch<'a>>;

impl Search {
    fn new(reader: &Reader<'_, '_, '_>, target: &Target, range: (i64, i64), kept_max: u64) -> Self {
        let Select { context, request, snapshot, .. } = reader.select;
        let names = context.engine.registry().read();
        let name = |var: &VarRef| Name::of(var, target.table, &names);
        let columns: Vec<Name> = reader.plan.aux.iter().map(name).collect();
        let condition = reader.residual.map(|residual| {
            let names: Vec<Name> = residual.columns.iter().map(name).collect();
            (residual.node.clone(), names)
        });
        let ascending = |mut fields: Vec<FieldId>| {
            fields.sort_unstable();
            fields.dedup();
            Arc::<[FieldId]>::from(fields)
        };
        let all: Vec<FieldId> = columns.iter().filter_map(Name::field).collect();
        let (mut first, mut others) = (None, None);
        if let Some((node, names)) = &condition {
            let asked = ascending(names.iter().filter_map(Name::field).collect());
            let on_tags = names.iter().any(|name| matches!(name.from, From::Tag));
            let nothing: Vec<Col> = names.iter().map(|name| Col::nulls(name.field_type, 1)).collect();
            if !on_tags && !node.mask(&nothing, 1)[0] {
                others = Some(all.iter().copied().filter(|id| !asked.contains(id)).collect());
                first = Some(asked);
            } else {
                others = Some(all.iter().chain(&*asked).copied().collect());
            }
        }
        Self {
            snapshot: snapshot.clone(),
            table: target.table,
            first,
            others: ascending(others.unwrap_or(all)),
            condition,
            columns,
            range,
            interrupt: request.interrupt.clone(),
            clock: context.clock.clone(),
            kept: AtomicU64::new(0),
            kept_max,
        }
    }

    /// Works off one of `count` parts; `None` if all parts together keep too much.
    fn run(&self, part: &Part, count: usize) -> Result<Option<Vec<Hits>>> {
        let scan = |fields: &Arc<[FieldId]>| -> Result<Scan> {
            let (series, times_ns) = (SeriesFilter::List(part.series.clone()), self.range.0..=self.range.1);
            Ok(self.snapshot.scan(self.table, Tier::RAW, series, Some(fields.clone()), times_ns)?.one_of(count))
        };
        let (mut walked, mut others) = match &self.first {
            Some(first) if first.is_empty() => return Ok(Some(Vec::new())),
            Some(first) if self.others.is_empty() => (scan(first)?, None),
            Some(first) => (scan(first)?, Some(scan(&self.others)?)),
            None => (scan(&self.others)?, None),
        };
        let mut found = Vec::new();
        while let Some(pieces) = walked.next_pieces()? {
            if let Some(reason) = self.interrupt.reason(&*self.clock) {
                return Err(Failure::new(reason));
            }
            let start = part.places.partition_point(|place| place.0 < pieces.series());
            let mut places = part.places[start..].iter().take_while(|place| place.0 == pieces.series());
            let Some((series, place, tags)) = places.next() else { continue };
            let mut streams: Vec<(FieldId, Stretches<'_>)> =
                pieces.streams().map(|(field, stretches)| (field, stretches.collect())).collect();
            let more;
            let (times_ns, is_row) = if self.first.is_some() {
                let times_ns = self.passing(&streams, tags, union(streams.iter().map(|(_, stretches)| stretches)));
                let (Some(&first), Some(&last)) = (times_ns.first(), times_ns.last()) else { continue };
                if let Some(others) = &mut others {
                    more = others.pieces_of(*series, &(first..=last))?;
                    streams.extend(more.streams().map(|(field, stretches)| (field, stretches.collect())));
                }
                (times_ns, false)
            } else {
                let shown =
                    |stream: &&(FieldId, Stretches<'_>)| self.columns.iter().any(|name| name.field() == Some(stream.0));
                let times_ns = union(streams.iter().filter(shown).map(|(_, stretches)| stretches));
                (self.passing(&streams, tags, times_ns), true)
            };
            let Some(hits) = self.hits(*place, tags, times_ns.into_owned(), &streams, is_row) else { continue };
            // One that is in the group more than once is there as often.
            for (_, place, tags) in places {
                let (times_ns, columns) = (hits.times_ns.clone(), hits.columns.clone());
                found.push(Hits { place: *place, tags: tags.clone(), times_ns, columns });
                self.keep(found.last());
            }
            found.push(hits);
            if self.keep(found.last()) > self.kept_max {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    /// Counts what hits hold; returns what all do.
    fn keep(&self, hits: Option<&Hits>) -> u64 {
        let cells = |hits: &Hits| {
            let texts = self.columns.iter().filter(|name| matches!(name.from, From::Tag));
            let texts: usize = texts.map(|name| hits.tag(&name.var.name).len() / TEXT_BYTES).sum();
            (hits.times_ns.len() * (1 + self.columns.len() + texts)) as u64
        };
        let cells = hits.map_or(0, cells);
        self.kept.fetch_add(cells, Ordering::Relaxed) + cells
    }

    /// The times whose rows meet the condition.
    fn passing<'t>(
        &self,
        streams: &[(FieldId, Stretches<'_>)],
        tags: &Tags,
        times_ns: Cow<'t, [i64]>,
    ) -> Cow<'t, [i64]> {
        let Some((node, names)) = &self.condition else { return times_ns };
        let rows = times_ns.len();
        let mut places = Places::new(&times_ns);
        let slot = |name: &Name| match name.from {
            // A missing tag is the empty text in a condition.
            From::Tag => Col::repeat(FieldValue::String(tag_of(tags, &name.var.name)), rows),
            _ => places.column(name, streams).map_or_else(|| Col::nulls(name.field_type, rows), |(col, _)| col),
        };
        let slots: Vec<Col> = names.iter().map(slot).collect();
        let mask = node.mask(&slots, rows);
        if mask.iter().all(|passes| *passes) {
            return times_ns;
        }
        let passes = times_ns.iter().zip(&mask).filter(|(_, passes)| **passes);
        Cow::Owned(passes.map(|(time_ns, _)| *time_ns).collect())
    }

    /// The columns at these times; with `is_row` each is known to have a value that is shown. `None` if there is no row.
    fn hits(
        &self,
        place: usize,
        tags: &Tags,
        mut times_ns: Vec<i64>,
        streams: &[(FieldId, Stretches<'_>)],
        is_row: bool,
    ) -> Option<Hits> {
        let rows = times_ns.len();
        let mut places = Places::new(&times_ns);
        let (mut all, mut some) = (is_row, vec![false; if is_row { 0 } else { rows }]);
        let mut columns: Vec<Option<Col>> = Vec::with_capacity(self.columns.len());
        for name in &self.columns {
            if matches!(name.from, From::Tag) {
                columns.push(None);
                continue;
            }
            columns.push(Some(match places.column(name, streams) {
                Some((col, None)) => {
                    all = true;
                    col
                }
                Some((col, Some(found))) => {
                    some.iter_mut().zip(found).for_each(|(some, found)| *some |= *found);
                    col
                }
                None => Col::nulls(name.field_type, rows),
            }));
        }
        if !all && some.contains(&false) {
            // The fields of the condition are not shown, and those that are have no value.
            let kept: Vec<u32> = (0..rows as u32).filter(|row| some[*row as usize]).collect();
            times_ns = kept.iter().map(|row| times_ns[*row as usize]).collect();
            columns.iter_mut().flatten().for_each(|col| *col = col.gather(&kept));
        }
        (!times_ns.is_empty()).then(|| Hits { place, tags: tags.clone(), times_ns, columns })
    }
}

/// The times at which any of some fields has a value.
fn union<'a: 's, 's>(streams: impl Iterator<Item = &'s Stretches<'a>>) -> Cow<'a, [i64]> {
    let mut all: Option<Cow<'a, [i64]>> = None;
    for stretches in streams {
        let own = match stretches.as_slice() {
            [only] => {
                let times_ns: &'a [i64] = only.times_ns;
                Cow::Borrowed(&times_ns[only.rows.clone()])
            }
            some => Cow::Owned(some.iter().flat_map(|one| &one.times_ns[one.rows.clone()]).copied().collect()),
        };
        all = Some(match all {
            None => own,
            Some(all) if all == own => all,
            Some(all) => Cow::Owned(merge_times(&all, &own)),
        });
    }
    all.unwrap_or_default()
}

/// Where the values of fields are at some times; those of the next field are mostly at the same places.
struct Places<'t> {
    at_ns: &'t [i64],
    of: Vec<(*const i64, Range<usize>)>,
    /// Of each stretch the rows that have one of the times.
    rows: Vec<Vec<u32>>,
    /// The times that have a row; `None`: all.
    found: Option<Vec<bool>>,
}

impl<'t> Places<'t> {
    fn new(at_ns: &'t [i64]) -> Self {
        Self { at_ns, of: Vec::new(), rows: Vec::new(), found: None }
    }

    /// The values of a field as the statement reads them, and at which times there are any (`None`: at all). `None` if the
    /// series has nothing of it.
    fn column(&mut self, name: &Name, streams: &[(FieldId, Stretches<'_>)]) -> Option<(Col, Option<&[bool]>)> {
        let From::Field(id, cast) = name.from else { return None };
        let (_, stretches) = streams.iter().find(|(field, _)| *field == id)?;
        let first = stretches.first()?;
        self.find(stretches);
        let col = match (stretches.as_slice(), self.rows.as_slice()) {
            ([one], [rows]) => one.values.gather(rows),
            _ => {
                let mut values = Column::with_capacity(first.values.field_type(), self.at_ns.len());
                for (stretch, rows) in stretches.iter().zip(&self.rows) {
                    let part = stretch.values.gather(rows);
                    values.extend_from(&part, 0..part.len());
                }
                values
            }
        };
        let mut col = Col::full(col);
        if let Some(found) = &self.found {
            let mut next = 0..u32::MAX;
            let row = |found: &bool| if *found { next.next().unwrap_or(NO_ROW) } else { NO_ROW };
            col = col.gather(&found.iter().map(row).collect::<Vec<_>>());
        }
        if let Cast::To(wanted) = cast {
            col = col.cast(wanted);
        }
        Some((col, self.found.as_deref()))
    }

    fn find(&mut self, stretches: &[Stretch<'_>]) {
        let of = stretches.iter().map(|one| (one.times_ns.as_ptr(), one.rows.clone()));
        if self.of.iter().cloned().eq(of.clone()) {
            return;
        }
        self.of = of.collect();
        self.rows.clear();
        let mut found = vec![false; self.at_ns.len()];
        let mut at = 0;
        for stretch in stretches {
            let own = &stretch.times_ns[stretch.rows.clone()];
            let mut rows = Vec::with_capacity(own.len().min(self.at_ns.len() - at));
            let mut row = 0;
            while let (Some(wanted), Some(mut time)) = (self.at_ns.get(at), own.get(row)) {
                if time < wanted {
                    // Mostly the next one is meant; where few rows are, many are passed over.
                    row += 1;
                    if own.get(row).is_some_and(|time| time < wanted) {
                        row += own[row..].partition_point(|time| time < wanted);
                    }
                    let Some(next) = own.get(row) else { break };
                    time = next;
                }
                if time == wanted {
                    rows.push((stretch.rows.start + row) as u32);
                    found[at] = true;
                }
                at += 1;
            }
            self.rows.push(rows);
        }
        self.found = found.contains(&false).then_some(found);
    }
}

impl Reader<'_, '_, '_> {
    /// Whether the fields of the condition are read before the others.
    pub(super) fn asks_first(&self, batch: &Batch) -> bool {
        batch.targets.iter().all(|target| Search::new(self, target, (0, 0), 0).first.is_some())
    }

    /// Reads the rows of the only group within a time, about `values` of them; also returns the number of values held.
    /// `None`, with nothing held, if more than `kept_max` would be kept.
    pub(super) fn hits(
        &self,
        batch: &Batch,
        range: (i64, i64),
        values: u64,
        kept_max: u64,
    ) -> Result<Option<(Vec<Hits>, u64)>> {
        let mut found: Vec<Hits> = Vec::new();
        let mut held = 0;
        for target in &batch.targets {
            let search = Arc::new(Search::new(self, target, range, kept_max.saturating_sub(held)));
            let count = usize::try_from(values / self.piece_values().min(PART_VALUES)).unwrap_or(usize::MAX);
            let count = count.clamp(1, target.series.len().max(1));
            let part = |number: usize| {
                let of = |number| target.series.len() * number / count;
                let series: Arc<[SeriesId]> = target.series[of(number)..of(number + 1)].into();
                Part { places: batch.places_of(&series), series }
            };
            let held_before = held;
            let mut next = 0;
            while next < count {
                let parts: Vec<Part> = (next..count.min(next + ROUND_PARTS)).map(part).collect();
                next += parts.len();
                let work = {
                    let search = search.clone();
                    move |part: Part| search.run(&part, count)
                };
                let done = match parts.len() {
                    1 => parts.into_iter().map(|part| Ok(work(part))).collect(),
                    _ => self.select.context.cpu.share(parts, work),
                };
                for part in done {
                    match part?? {
                        Some(hits) => found.extend(hits),
                        None => {
                            self.select.release(held);
                            return Ok(None);
                        }
                    }
                }
                let kept = held_before + search.kept.load(Ordering::Relaxed) - held;
                self.select.hold(kept)?;
                held += kept;
            }
        }
        found.sort_by_key(|hits| hits.place);
        Ok(Some((found, held)))
    }

    /// The rows that hits make together, those that `page` leaves.
    pub(super) fn rows_of(&self, tags: &Tags, hits: Vec<Hits>, page: &mut Page) -> Option<Rows> {
        let (plan, ascending) = (self.plan, self.plan.compiled.ascending);
        let mut times_ns: Vec<i64> = Vec::with_capacity(hits.iter().map(|hits| hits.times_ns.len()).sum());
        let mut series: Vec<Range<u32>> = Vec::with_capacity(hits.len());
        for hits in &hits {
            let start = times_ns.len() as u32;
            times_ns.extend_from_slice(&hits.times_ns);
            series.push(start..times_ns.len() as u32);
        }
        let order = match ranks(&hits, &plan.aux) {
            Some(ranks) => merged(&times_ns, &series, ascending, Ties::Ranks(&ranks)),
            None => {
                let all: Vec<u32> = (0..times_ns.len() as u32).collect();
                let numbers = numbers(&series);
                let texts = |(at, var): (usize, &VarRef)| column(&hits, &numbers, at, var, &all);
                let texts: Vec<Col> = plan.aux.iter().enumerate().map(texts).collect();
                merged(&times_ns, &series, ascending, Ties::Texts(&texts))
            }
        };
        let order = order[page.advance(order.len())].to_vec();
        if order.is_empty() {
            return None;
        }
        let times_ns = order.iter().map(|row| times_ns[*row as usize]).collect();
        let numbers = numbers(&series);
        let slots = if order.len() * plan.aux.len() < SHARED_CELLS {
            plan.aux.iter().enumerate().map(|(at, var)| column(&hits, &numbers, at, var, &order)).collect()
        } else {
            let names: Vec<(usize, VarRef)> = plan.aux.iter().cloned().enumerate().collect();
            let made = self.select.context.cpu.share(names, move |(at, var)| column(&hits, &numbers, at, &var, &order));
            made.into_iter().collect::<rhythmite_model::Result<Vec<Col>>>().ok()?
        };
        Some(self.shown(tags.clone(), times_ns, slots))
    }
}

/// Of each row, those of all hits one after the other, the number of its hits.
fn numbers(series: &[Range<u32>]) -> Vec<u32> {
    let mut numbers: Vec<u32> = Vec::with_capacity(series.last().map_or(0, |rows| rows.end as usize));
    series.iter().enumerate().for_each(|(of, rows)| numbers.resize(rows.end as usize, of as u32));
    numbers
}

/// Column number `at` at `rows`, of those of all hits one after the other; `numbers` are theirs.
fn column(hits: &[Hits], numbers: &[u32], at: usize, var: &VarRef, rows: &[u32]) -> Col {
    if !reads_tag(var.data_type) {
        let columns = || hits.iter().filter_map(|hits| hits.columns[at].as_ref());
        let field_type = columns().next().map_or(FieldType::Float, Col::field_type);
        let mut all = Col::full(Column::with_capacity(field_type, numbers.len()));
        columns().for_each(|col| match col.field_type() == all.field_type() {
            true => all.extend(col),
            false => all.extend(&col.clone().cast(all.field_type())),
        });
        return all.gather(rows);
    }
    let texts: Vec<&str> = hits.iter().map(|hits| hits.tag(&var.name)).collect();
    let texts = || rows.iter().map(|row| texts[numbers[*row as usize] as usize]);
    let bytes = texts().map(str::len).sum();
    let (mut all, mut valid) = (Strings::with_capacity(rows.len(), bytes), Vec::with_capacity(rows.len()));
    texts().for_each(|text| {
        all.push(text);
        valid.push(!text.is_empty());
    });
    Col::with_valid(Column::String(all), valid)
}

/// A number for each series in the order of its texts beside the values, equal ones where these are; `None` if rows have to
/// be looked at.
fn ranks(hits: &[Hits], columns: &[VarRef]) -> Option<Vec<u32>> {
    let mut ranks = vec![0; hits.len()];
    for (at, var) in columns.iter().enumerate() {
        if reads_tag(var.data_type) {
            let texts: Vec<&str> = hits.iter().map(|hits| hits.tag(&var.name)).collect();
            match texts.iter().filter(|text| text.is_empty()).count() {
                0 => {}
                // Without a value no later text decides.
                missing if missing == texts.len() => break,
                _ => return None,
            }
            let mut order: Vec<u32> = (0..hits.len() as u32).collect();
            let key = |number: &u32| (ranks[*number as usize], texts[*number as usize]);
            order.sort_by_key(key);
            let mut finer = vec![0; hits.len()];
            let mut rank = 0;
            for pair in order.windows(2) {
                rank += u32::from(key(&pair[0]) != key(&pair[1]));
                finer[pair[1] as usize] = rank;
            }
            ranks = finer;
            if rank as usize + 1 == hits.len() {
                break;
            }
        } else {
            let is_text = |hits: &Hits| hits.columns[at].as_ref().is_some_and(|c| c.field_type() == FieldType::String);
            if hits.iter().any(is_text) {
                return None;
            }
            break;
        }
    }
    Some(ranks)
}
