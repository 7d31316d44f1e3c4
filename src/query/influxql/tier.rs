//! Which coarser level answers a statement, if one does.
//!
//! A level answers if its steps nest in the windows of the statement and it keeps what every call needs; the coarsest
//! such is taken. It answers as the points would, so this is a matter of cost, and, where raw points have gone, of having
//! an answer at all. Windows that the range of the statement cuts are read from raw points; where these have gone, they
//! are answered whole.
//!
//! Median and percentile are those of the points as long as all of them are there. Of a range in which raw points have gone they are
//! made of the sketches that a level keeps: within [`RELATIVE_ERROR`](rhythmite_model::sketch::RELATIVE_ERROR) of a value.

use std::sync::Arc;

use rhythmite_engine::SeriesFilter;
use rhythmite_influx::influxql::{Compiled, Source};
use rhythmite_model::{Aggregate, Aggregates, FieldType, Policy, TableId, Tier};

use super::aggregate::fold::Fold;
use super::condition::split;
use super::ends::picks_an_end;
use super::failure::{Failure, Result};
use super::plan::Plan;
use super::select::Select;
use super::source::tables;
use super::value::field_type;
use super::window::Windows;
use crate::ingest::paths::FIELD;
use crate::query::gone::{Gone, time_text};
use crate::query::graphite::levels::{LevelsOf, Timeline};
use crate::query::scan::scope::{Window, has_values, windows};

const SECOND_NS: i64 = 1_000_000_000;

/// What a statement asks of a level.
pub(super) struct Asked {
    pub(super) aggregates: Aggregates,
    /// A level does not say when in a step the first and last values were: those of several series cannot be compared.
    pub(super) of_one_series: bool,
    /// Points know better, as long as they are there.
    only_without_points: bool,
    windows: Windows,
    /// Names and types of the fields.
    fields: Vec<(String, Option<FieldType>)>,
}

impl Asked {
    /// `None` if the statement asks for points.
    pub(super) fn of(plan: &Plan<'_>, tests_points: bool) -> Option<Self> {
        if tests_points || plan.calls.is_empty() || !plan.aux.is_empty() {
            return None;
        }
        // Which points are at the ends of a window only they say.
        let chooses_an_end =
            |call: &super::plan::PlannedCall<'_>| matches!(call.leaf.fold, Some(Fold::First | Fold::Last));
        if plan.windows.is_one() && plan.calls.iter().any(chooses_an_end) {
            return None;
        }
        // What a single call chooses from one window stands at the time of its point, of which a level knows the step. A
        // percentile of sketches is no point: it stands where the window begins.
        let chooses = |call: &super::plan::PlannedCall<'_>| call.leaf.fold.is_some_and(Fold::selects);
        let only_without_points = plan.windows.is_one() && plan.selector && plan.calls.iter().any(chooses);
        let (mut aggregates, mut of_one_series) = (Aggregates::NONE, false);
        let mut fields = Vec::new();
        for call in &plan.calls {
            // Calls that look back further than others cut other windows.
            if call.leaf.range != plan.widest() {
                return None;
            }
            aggregates = match call.leaf.fold? {
                Fold::Count => aggregates.with(Aggregate::Count),
                Fold::Sum | Fold::Mean => aggregates.with(Aggregate::Sum),
                Fold::Min => aggregates.with(Aggregate::Min),
                Fold::Max => aggregates.with(Aggregate::Max),
                Fold::Spread => aggregates.with(Aggregate::Min).with(Aggregate::Max),
                Fold::Sketch => aggregates.with(Aggregate::Sketch).with(Aggregate::Min).with(Aggregate::Max),
                Fold::First => aggregates.with(Aggregate::First),
                Fold::Last => aggregates.with(Aggregate::Last),
            };
            of_one_series |= matches!(call.leaf.fold, Some(Fold::First | Fold::Last));
            fields.push((call.leaf.driver.name.clone(), call.leaf.driver.data_type.and_then(field_type)));
        }
        Some(Self { aggregates, of_one_series, only_without_points, windows: plan.windows.clone(), fields })
    }
}

/// The level of a table that answers.
pub(super) struct Choice {
    pub(super) policy: Arc<Policy>,
    pub(super) tier: Tier,
    pub(super) step_ns: i64,
    /// The windows of the level, both ends included.
    pub(super) range: (i64, i64),
    /// What lies before them within the range of the statement is read from raw points.
    pub(super) begins_raw: bool,
}

impl Choice {
    pub(super) fn of(select: &Select<'_>, asked: &Asked, table: TableId, range: (i64, i64)) -> Option<Self> {
        let engine = &select.context.engine;
        let policy = {
            let names = engine.registry().read();
            // A value that is read as another type is not what was added up.
            let same = |(name, wanted): &(String, Option<FieldType>)| match names.find_field(table, name) {
                Some((id, of)) => id.0 < Aggregate::FIELDS_MAX && (*wanted).is_none_or(|wanted| wanted == of),
                None => true,
            };
            if !asked.fields.iter().all(same) {
                return None;
            }
            engine.policy(names.table(table)?.policy())?
        };
        // Values of rows that were stored at a level are no aggregates of points: they are read as points.
        if has_values(&policy) && select.snapshot.has_own_rows(policy.id) {
            return None;
        }
        if asked.only_without_points && gone(select, table, range).is_none() {
            return None;
        }
        if !policy.has_tiers() || !policy.aggregates.with(Aggregate::Count).has_all(asked.aggregates) {
            return None;
        }
        let floor_ns = select.snapshot.raw_floor(policy.id);
        let now_ns = select.context.clock.now_ns();
        let one = asked.windows.is_one();
        let nests =
            |at: &usize| policy.levels[*at].step_ns > 0 && (one || asked.windows.nest(policy.levels[*at].step_ns));
        let at = (1..policy.levels.len()).rev().filter(nests).find(|at| {
            // One that came later than finer ones does not reach as far back.
            let since_ns = select.snapshot.rolled_since(&policy, *at).max(range.0);
            let finer = (1..*at).map(|finer| select.snapshot.rolled_since(&policy, finer)).min();
            finer.is_none_or(|finer| since_ns <= finer.max(range.0).saturating_add(policy.levels[*at].step_ns))
        })?;
        let level = policy.levels[at];
        let kept_ns = match level.retention_ns {
            0 => range.0,
            retention_ns => now_ns.saturating_sub(retention_ns).max(range.0),
        };
        let into = |time_ns: i64| time_ns.rem_euclid(level.step_ns);
        let cut = into(kept_ns) > 0;
        let begins_raw = cut && kept_ns > floor_ns;
        let first = match cut {
            true if begins_raw => kept_ns.saturating_add(level.step_ns - into(kept_ns)),
            _ => kept_ns.saturating_sub(into(kept_ns)),
        };
        let end = range.1.saturating_add(1);
        let last = match into(end) {
            0 => range.1,
            by if end > floor_ns => end.saturating_sub(by).saturating_sub(1),
            by => end.saturating_add(level.step_ns - by).saturating_sub(1),
        };
        let tier = Tier(u8::try_from(at).ok()?);
        (first <= last).then(|| Self {
            policy: policy.clone(),
            tier,
            step_ns: level.step_ns,
            range: (first, last),
            begins_raw,
        })
    }
}

/// The levels of a table of Graphite's, and the times that each answers for, oldest first.
pub(super) fn windows_of(select: &Select<'_>, table: TableId, range: (i64, i64)) -> Vec<Window> {
    let engine = &select.context.engine;
    let policy = engine.registry().read().table(table).and_then(|table| engine.policy(table.policy()));
    let policy = policy.filter(|policy| has_values(policy));
    policy.map_or_else(Vec::new, |policy| windows(&policy, select.context.clock.now_ns(), &(range.0..=range.1)))
}

/// Whether a range reaches over more than the raw points of a table of Graphite's.
pub(super) fn has_timeline(select: &Select<'_>, table: TableId, range: (i64, i64)) -> bool {
    windows_of(select, table, range).iter().any(|window| window.tier != Tier::RAW)
}

/// The points of a range that reaches over more than the raw points of a table of Graphite's; `None` if it does not.
pub(super) fn timeline(
    select: &Select<'_>,
    table: TableId,
    series: SeriesFilter,
    range: (i64, i64),
) -> Result<Option<Timeline>> {
    let windows = windows_of(select, table, range);
    if windows.iter().all(|window| window.tier == Tier::RAW) {
        return Ok(None);
    }
    let (engine, now_ns) = (&select.context.engine, select.context.clock.now_ns());
    let (policy, field) = {
        let names = engine.registry().read();
        let policy = names.table(table).and_then(|table| engine.policy(table.policy()));
        (policy, names.find_field(table, FIELD))
    };
    let (Some(policy), Some((field, _))) = (policy, field) else { return Ok(None) };
    let times_ns = range.0..=range.1;
    let asked =
        LevelsOf { policy, table, field, tier: Tier::RAW, series, times_ns, now_s: now_ns.div_euclid(SECOND_NS) };
    Ok(Some(Timeline::new(engine, &select.snapshot, &asked, &windows)?))
}

/// Whether raw points of a table have gone from a part of a range, while coarser levels still tell of it.
fn gone(select: &Select<'_>, table: TableId, range: (i64, i64)) -> Option<Gone> {
    let engine = &select.context.engine;
    let policy = engine.registry().read().table(table).map(|table| table.policy())?;
    Gone::of(engine, &select.snapshot, policy, select.context.clock.now_ns(), &(range.0..=range.1))
}

/// Has median and percentile made of sketches, if raw points have gone from the range and levels of all tables have them.
pub(super) fn by_sketches(select: &Select<'_>, plan: &mut Plan<'_>, tables: &[TableId]) {
    let range = plan.bounded(plan.widest());
    if !plan.fold_sketches() {
        return;
    }
    let (_, residual) = split(plan.compiled.statement.condition.as_ref(), plan.compiled.mistakes);
    let asked = Asked::of(plan, residual.is_some());
    let answers = |asked: Asked| tables.iter().all(|table| Choice::of(select, &asked, *table, range).is_some());
    if !tables.iter().any(|table| gone(select, *table, range).is_some()) || !asked.is_some_and(answers) {
        plan.keep_points();
    }
}

/// Refuses a call of a range in which raw points have gone, while coarser levels have what it does not ask for: an answer
/// from the points that are left would look whole.
pub(super) fn refuse_gone(select: &Select<'_>, plan: &Plan<'_>, table: TableId, range: (i64, i64)) -> Result<()> {
    if plan.calls.is_empty() || picks_an_end(plan) == Some(false) {
        return Ok(());
    }
    let Some(gone) = gone(select, table, range) else { return Ok(()) };
    let (floor, policy) = (gone.floor(), &gone.policy);
    let sketches = if policy.aggregates.has(Aggregate::Sketch) { ", median, percentile" } else { "" };
    Err(Failure::new(format!(
        "raw points before {floor} have gone, and no tier of retention policy {:?} answers this: ask for time >= '{floor}', \
         or for count, sum, mean, min, max, spread{sketches}, or last of one series, in windows that are multiples of {}",
        policy.name,
        gone.steps()
    )))
}

/// Where a level has windows of which it does not keep what is asked for.
pub(super) fn refuse_lacking(select: &Select<'_>, choice: &Choice) -> Failure {
    let floor = time_text(select.snapshot.raw_floor(choice.policy.id));
    Failure::new(format!(
        "raw points before {floor} have gone, and retention policy {:?} did not keep what this needs when some of its windows \
         of {}s were rolled up: ask for time >= '{floor}', or for count, sum, mean, min, max, spread",
        choice.policy.name,
        choice.step_ns / SECOND_NS
    ))
}

fn has_tiers(select: &Select<'_>, table: TableId) -> bool {
    let policy = select.context.engine.registry().read().table(table).map(|table| table.policy());
    policy.and_then(|policy| select.context.engine.policy(policy)).is_some_and(|policy| policy.has_tiers())
}

/// The levels that points come from, finest first.
fn levels_read(select: &Select<'_>, table: TableId, range: (i64, i64)) -> String {
    let windows = windows_of(select, table, range);
    let level = |window: &Window| match window.tier {
        Tier::RAW => "raw".to_owned(),
        _ => format!("{}s", window.step_ns / SECOND_NS),
    };
    let levels: Vec<_> = windows.iter().rev().map(level).collect();
    if levels.is_empty() { "raw".to_owned() } else { levels.join("+") }
}

/// For EXPLAIN: which levels answer what, of tables that have any.
pub(super) fn explain(select: &Select<'_>, compiled: &Compiled) -> Result<Vec<String>> {
    let mut plan = Plan::new(compiled, None, (compiled.min_ns, compiled.max_ns));
    let (_, residual) = split(compiled.statement.condition.as_ref(), compiled.mistakes);
    let mut found = Vec::new();
    for source in &compiled.statement.sources {
        if let Source::Measurement(measurement) = source {
            found.extend(tables(measurement, select.context, select.request)?);
        }
    }
    let all: Vec<TableId> = found.iter().flat_map(|(_, tables)| tables).copied().collect();
    by_sketches(select, &mut plan, &all);
    let asked = Asked::of(&plan, residual.is_some());
    let range = plan.bounded(plan.widest());
    let mut lines = Vec::new();
    for (name, tables) in found {
        for table in tables.into_iter().filter(|table| has_tiers(select, *table)) {
            let choice = asked.as_ref().and_then(|asked| Choice::of(select, asked, table, range));
            let tier = match choice {
                Some(choice) => format!("{}s", choice.step_ns / SECOND_NS),
                None => levels_read(select, table, range),
            };
            let only = asked.as_ref().is_some_and(|asked| asked.of_one_series) && tier != "raw";
            let only = if only { " (where groups are single series, else raw)" } else { "" };
            let is_sketched = plan.calls.iter().any(|call| call.leaf.fold == Some(Fold::Sketch));
            let sketched =
                if is_sketched { " (median and percentile of sketches, within 2.2 % of a value)" } else { "" };
            lines.push(format!("TIER: {name}: {tier}{only}{sketched}"));
        }
    }
    Ok(lines)
}
