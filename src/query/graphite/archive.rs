//! All that is kept of some series, level by level, whatever its age: for verifying an import and for export.
//!
//! Memory: the points of the series asked for, and of one level the slots.

use std::collections::HashMap;
use std::sync::Arc;

use rhythmite_engine::registry::{Directory, Slot};
use rhythmite_engine::{Engine, RollupsOf, SeriesFilter, Snapshot, Stream};
use rhythmite_model::{Aggregates, Column, Error, FieldId, Level, Policy, Result, RollupRule, SeriesId, TableId, Tier};

use super::rollup::{Rule, raw_from_s};
use super::slots::fill;
use super::window::{self, Window};
use crate::ingest::paths::FIELD;

const SECOND_NS: i64 = 1_000_000_000;

/// Times and values, ascending.
pub type Points = (Vec<i64>, Vec<f64>);

/// A series, and where its points are.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its number.
    pub id: SeriesId,
    /// Its key: the path.
    pub name: String,
    /// By which it is kept.
    pub policy: Arc<Policy>,
    /// How coarser levels come from the finest, if that was said.
    pub rollup: Option<RollupRule>,
    field: FieldId,
}

impl Place {
    /// The place of a series; `None` if its table has no values yet.
    pub fn of(engine: &Engine, names: &Directory, slot: Slot) -> Option<Self> {
        let id = names.series_id(slot);
        let table = names.table(id.table())?;
        let policy = engine.policy(table.policy())?;
        let (field, _) = names.find_field(table.id(), FIELD)?;
        let (name, rollup) = (names.key(slot).to_owned(), names.rollup(slot));
        Some(Self { id, name, policy, rollup, field })
    }
}

/// The points that are stored at one level, by series; nothing is computed. Times are nanoseconds.
///
/// # Errors
/// Those of a scan.
pub fn stored(snapshot: &Snapshot, places: &[Place], tier: Tier) -> Result<HashMap<SeriesId, Points>> {
    let mut tables: HashMap<(TableId, FieldId), Vec<SeriesId>> = HashMap::new();
    for place in places.iter().filter(|p| tier.level() < p.policy.levels.len()) {
        tables.entry((place.id.table(), place.field)).or_default().push(place.id);
    }
    let mut found = HashMap::new();
    for ((table, field), mut ids) in tables {
        ids.sort_unstable();
        ids.dedup();
        let fields = Some([field].into());
        for points in snapshot.scan(table, tier, SeriesFilter::List(Arc::from(ids)), fields, i64::MIN..=i64::MAX)? {
            let points = points?;
            for stream in points.streams {
                if let Column::Float(values) = stream.values {
                    found.insert(points.series, (stream.times_ns, values));
                }
            }
        }
    }
    Ok(found)
}

/// Each level of some series as a whisper file holds it: one lap that ends with the newest point, coarser levels
/// computed where they were not imported. Times are seconds.
///
/// # Errors
/// Those of a scan; `Invalid` for a series with a level that has no step or no end, or more than `slots_max` slots.
pub fn laps(snapshot: &Snapshot, places: &[Place], slots_max: u64) -> Result<Vec<Result<Vec<Points>>>> {
    let deepest = places.iter().map(|p| p.policy.levels.len()).max().unwrap_or(0);
    let (mut all_stored, mut all_rolled) = (Vec::new(), Vec::new());
    for level in 0..deepest {
        let tier = u8::try_from(level).map(Tier).map_err(|e| Error::internal(e.to_string()))?;
        all_stored.push(stored(snapshot, places, tier)?);
        all_rolled.push(if level > 0 { rolled(snapshot, places, tier)? } else { HashMap::new() });
    }
    Ok(places.iter().map(|place| lap_of_each(place, &all_stored, &all_rolled, slots_max)).collect())
}

/// What is rolled up of one level, by series.
fn rolled(snapshot: &Snapshot, places: &[Place], tier: Tier) -> Result<HashMap<SeriesId, Vec<Stream>>> {
    let mut tables: HashMap<TableId, Vec<&Place>> = HashMap::new();
    for place in places.iter().filter(|p| tier.level() < p.policy.levels.len()) {
        tables.entry(place.id.table()).or_default().push(place);
    }
    let mut found = HashMap::new();
    for (table, of_table) in tables {
        let Some(first) = of_table.first() else { continue };
        let (policy, fields) = (first.policy.clone(), Some([first.field].into()));
        let rule = |place: &&Place| Rule::of(&place.policy.levels, place.rollup);
        let wanted = of_table.iter().fold(Aggregates::NONE, |all, place| all.and(rule(place).aggregates()));
        let mut ids: Vec<_> = of_table.iter().map(|place| place.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let ids = SeriesFilter::List(ids.into());
        let asked = RollupsOf {
            policy: &policy,
            table,
            level: tier,
            series: &ids,
            fields,
            aggregates: wanted,
            times_ns: i64::MIN..=i64::MAX,
        };
        for points in snapshot.rollups(asked)? {
            let points = points?;
            found.insert(points.series, points.streams);
        }
    }
    Ok(found)
}

fn lap_of_each(
    place: &Place,
    stored: &[HashMap<SeriesId, Points>],
    rolled: &[HashMap<SeriesId, Vec<Stream>>],
    slots_max: u64,
) -> Result<Vec<Points>> {
    let levels = &place.policy.levels;
    let streams_of = |level: usize| rolled.get(level).and_then(|of| of.get(&place.id)).map_or(&[][..], Vec::as_slice);
    let empty = Points::default();
    let of = |level: usize| stored.get(level).and_then(|s| s.get(&place.id)).unwrap_or(&empty);
    let newest_ns = (0..levels.len()).flat_map(|i| {
        let rolled = streams_of(i).iter().flat_map(|stream| &stream.times_ns);
        of(i).0.last().into_iter().chain(rolled)
    });
    let newest_ns = newest_ns.max();
    let counts = levels.iter().map(slots).collect::<Result<Vec<_>>>()?;
    if counts.iter().sum::<u64>() > slots_max {
        return Err(Error::invalid(format!("more than {slots_max} slots")));
    }
    let Some(newest_s) = newest_ns.map(|t| t.div_euclid(SECOND_NS)) else {
        return Ok(vec![Points::default(); levels.len()]);
    };
    let rule = Rule::of(levels, place.rollup);
    let mut laps = Vec::with_capacity(levels.len());
    for (i, (level, count)) in levels.iter().zip(counts).enumerate() {
        let step_s = window::step_s(level);
        let end_s = newest_s - newest_s.rem_euclid(step_s) + step_s;
        let count = usize::try_from(count).map_err(|e| Error::internal(e.to_string()))?;
        let (times_ns, stored) = of(i);
        // The lap ends with this level's own newest slot, which may lie behind that of the finest.
        let own_s = times_ns.last().map_or(newest_s, |t| t.div_euclid(SECOND_NS));
        let behind = usize::try_from((newest_s - own_s) / step_s).unwrap_or(0).min(count);
        let slots = count + behind;
        let window = Window { tier: Tier(i as u8), start_s: end_s - slots as i64 * step_s, end_s, step_s };
        let mut values = vec![f64::NAN; slots];
        fill(&window, times_ns, stored, &mut values);
        if i > 0 && step_s % rule.fine_step_s == 0 {
            rule.apply(&window, raw_from_s(levels, newest_s), (place.field, streams_of(i)), &mut values);
        }
        let last = values.iter().rposition(|v| !v.is_nan()).unwrap_or(0);
        let lap = values.iter().enumerate().skip((last + 1).saturating_sub(count));
        let known = lap.filter(|(_, v)| !v.is_nan());
        laps.push(known.map(|(at, v)| (window.start_s + at as i64 * step_s, *v)).unzip());
    }
    Ok(laps)
}

/// How many points a level keeps.
///
/// # Errors
/// `Invalid` for points at any time, or kept for ever.
pub fn slots(level: &Level) -> Result<u64> {
    if level.step_ns < SECOND_NS || level.step_ns % SECOND_NS != 0 {
        return Err(Error::invalid("its points have no step of whole seconds"));
    }
    if level.retention_ns == 0 {
        return Err(Error::invalid("its points are kept for ever"));
    }
    Ok((level.retention_ns / level.step_ns).unsigned_abs())
}
