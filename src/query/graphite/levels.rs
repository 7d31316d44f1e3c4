//! The values of a coarser level, series by series: what is stored there, and what is rolled up by each series' method and
//! xFilesFactor.
//!
//! A value stands at the start of its window. A window belongs to a range if it begins in it, and is read whole. What a
//! render answers of a level is the same, with gaps. Memory: one series.

use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::sync::Arc;

use rhythmite_engine::registry::Slot;
use rhythmite_engine::{Engine, RollupScan, RollupsOf, Scan, SeriesFilter, SeriesPoints, Snapshot, Stream};
use rhythmite_model::{Aggregates, Column, FieldId, Policy, Result, SeriesId, TableId, Tier};

use super::rollup::{Rule, raw_from_s};
use super::window;
use crate::query::scan::scope::Window;

const SECOND_NS: i64 = 1_000_000_000;

/// Which values are asked for.
#[derive(Clone, Debug)]
pub struct LevelsOf {
    /// The table's policy.
    pub policy: Arc<Policy>,
    /// Of which table.
    pub table: TableId,
    /// Of which field: floats.
    pub field: FieldId,
    /// Of which level, not the finest.
    pub tier: Tier,
    /// Of which series.
    pub series: SeriesFilter,
    /// When windows begin.
    pub times_ns: RangeInclusive<i64>,
    /// As seen at.
    pub now_s: i64,
}

/// Walks series in ascending order.
pub struct LevelScan {
    own: Peekable<Scan>,
    rolled: Peekable<RollupScan>,
    engine: Engine,
    asked: LevelsOf,
    step_s: i64,
    raw_from_s: i64,
}

impl LevelScan {
    /// Begins to read.
    ///
    /// # Errors
    /// `NotFound` when the table is gone.
    pub fn new(engine: &Engine, snapshot: &Snapshot, asked: LevelsOf) -> Result<Self> {
        let level = asked.policy.levels.get(asked.tier.level());
        let step_s = level.map_or(1, window::step_s);
        let step_ns = step_s.saturating_mul(SECOND_NS);
        let (from, to) = (*asked.times_ns.start(), *asked.times_ns.end());
        // Windows that begin in the range, whole.
        let first =
            if from.rem_euclid(step_ns) == 0 { from } else { from.saturating_add(step_ns - from.rem_euclid(step_ns)) };
        let last = (to - to.rem_euclid(step_ns)).saturating_add(step_ns - 1);
        let within = if from == i64::MIN { i64::MIN } else { first }..=if to == i64::MAX { i64::MAX } else { last };
        let fields: Arc<[FieldId]> = [asked.field].into();
        let aggregates = methods(engine, &asked);
        let own = snapshot.scan(asked.table, asked.tier, asked.series.clone(), Some(fields.clone()), within.clone())?;
        let rolled = snapshot.rollups(RollupsOf {
            policy: &asked.policy,
            table: asked.table,
            level: asked.tier,
            series: &asked.series,
            fields: Some(fields),
            aggregates,
            times_ns: within,
        })?;
        let raw_from_s = raw_from_s(&asked.policy.levels, asked.now_s);
        Ok(Self { own: own.peekable(), rolled: rolled.peekable(), engine: engine.clone(), asked, step_s, raw_from_s })
    }

    fn advance(&mut self) -> Result<Option<SeriesPoints>> {
        loop {
            let heads = [head(&mut self.own)?, head(&mut self.rolled)?];
            let Some(series) = heads.into_iter().flatten().min() else { return Ok(None) };
            let own = take(&mut self.own, series)?;
            let rolled = take(&mut self.rolled, series)?;
            let found = self.values(series, &own, &rolled);
            if !found.0.is_empty() {
                let stream = Stream { field: self.asked.field, times_ns: found.0, values: Column::Float(found.1) };
                return Ok(Some(SeriesPoints { series, streams: vec![stream] }));
            }
        }
    }

    /// The values of one series.
    fn values(&self, series: SeriesId, own: &[Stream], rolled: &[Stream]) -> (Vec<i64>, Vec<f64>) {
        let rule = {
            let names = self.engine.registry().read();
            // Who has been dropped has no rule; whoever reads leaves it out.
            let rule = names.slot(series).and_then(|slot| names.rollup(slot));
            Rule::of(&self.asked.policy.levels, rule)
        };
        let own = own.iter().find(|stream| stream.field == self.asked.field);
        let own = own.and_then(|stream| match &stream.values {
            Column::Float(values) => Some((stream.times_ns.as_slice(), values.as_slice())),
            _ => None,
        });
        rule.points(self.step_s, self.raw_from_s, own.unwrap_or_default(), (self.asked.field, rolled))
    }
}

/// Points of a table at all times, each moment from the finest level that reaches it: of each series one after the other.
pub struct Timeline {
    /// Oldest first; they do not overlap.
    parts: Vec<Peekable<Box<dyn Iterator<Item = Series> + Send>>>,
}

impl Timeline {
    /// `asked` of each window in its own times; `fields` are read of the finest level.
    ///
    /// # Errors
    /// `NotFound` when the table is gone.
    pub(in crate::query) fn new(
        engine: &Engine,
        snapshot: &Snapshot,
        asked: &LevelsOf,
        windows: &[Window],
    ) -> Result<Self> {
        let part = |window: &Window| -> Result<Peekable<Box<dyn Iterator<Item = Series> + Send>>> {
            let times_ns = window.times_ns.clone();
            if window.tier == Tier::RAW {
                let fields = Some([asked.field].into());
                let scan = snapshot.scan(asked.table, Tier::RAW, asked.series.clone(), fields, times_ns)?;
                return Ok((Box::new(scan) as Box<dyn Iterator<Item = Series> + Send>).peekable());
            }
            let scan = LevelScan::new(engine, snapshot, LevelsOf { tier: window.tier, times_ns, ..asked.clone() })?;
            Ok((Box::new(scan) as Box<dyn Iterator<Item = Series> + Send>).peekable())
        };
        Ok(Self { parts: windows.iter().map(part).collect::<Result<_>>()? })
    }

    fn advance(&mut self) -> Result<Option<SeriesPoints>> {
        let heads = self.parts.iter_mut().map(head).collect::<Result<Vec<_>>>()?;
        let Some(series) = heads.into_iter().flatten().min() else { return Ok(None) };
        let mut joined: Option<Stream> = None;
        for part in &mut self.parts {
            for stream in take(part, series)? {
                match &mut joined {
                    None => joined = Some(stream),
                    Some(joined) => {
                        joined.times_ns.extend(stream.times_ns);
                        if let (Column::Float(values), Column::Float(more)) = (&mut joined.values, stream.values) {
                            values.extend(more);
                        }
                    }
                }
            }
        }
        Ok(Some(SeriesPoints { series, streams: joined.into_iter().collect() }))
    }
}

impl Iterator for Timeline {
    type Item = Series;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

/// What the methods of the series need.
fn methods(engine: &Engine, asked: &LevelsOf) -> Aggregates {
    let names = engine.registry().read();
    let of = |slot: Slot| Rule::of(&asked.policy.levels, names.rollup(slot)).aggregates();
    match &asked.series {
        SeriesFilter::List(ids) => {
            ids.iter().filter_map(|id| names.slot(*id)).fold(Aggregates::NONE, |all, slot| all.and(of(slot)))
        }
        SeriesFilter::Range(_) => {
            names.series(asked.table).into_iter().fold(Aggregates::NONE, |all, slot| all.and(of(Slot(slot))))
        }
    }
}

type Series = Result<SeriesPoints>;

/// The next series, or the error that is there instead of it.
fn head(scan: &mut Peekable<impl Iterator<Item = Series>>) -> Result<Option<SeriesId>> {
    match scan.peek() {
        None => Ok(None),
        Some(Ok(points)) => Ok(Some(points.series)),
        Some(Err(_)) => scan.next().transpose().map(|_| None),
    }
}

fn take(scan: &mut Peekable<impl Iterator<Item = Series>>, series: SeriesId) -> Result<Vec<Stream>> {
    let found = scan.next_if(|points| points.as_ref().is_ok_and(|points| points.series == series));
    Ok(found.transpose()?.map_or_else(Vec::new, |points| points.streams))
}

impl Iterator for LevelScan {
    type Item = Result<SeriesPoints>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}
