//! Which coarser level answers a statement, if one does.
//!
//! A level answers if its steps nest in the windows of the statement and it keeps what every call needs; the coarsest
//! such is taken. It answers as the points would, so this is a matter of cost, and, where raw points have gone, of having
//! an answer at all. Windows that the range of the statement cuts are read from raw points; where these have gone, they
//! are answered whole.

use std::sync::Arc;

use rhythmite_influx::influxql::{Compiled, Source};
use rhythmite_model::{Aggregate, Aggregates, FieldType, Policy, TableId, Tier};

use super::aggregate::fold::Fold;
use super::condition::split;
use super::failure::Result;
use super::plan::Plan;
use super::select::Select;
use super::source::tables;
use super::value::field_type;
use super::window::Windows;

/// What a statement asks of a level.
pub(super) struct Asked {
    pub(super) aggregates: Aggregates,
    /// A level does not say when in a step the first and last values were: those of several series cannot be compared.
    pub(super) of_one_series: bool,
    windows: Windows,
    /// Names and types of the fields.
    fields: Vec<(String, Option<FieldType>)>,
}

impl Asked {
    /// `None` if the statement asks for points.
    pub(super) fn of(plan: &Plan<'_>, tests_points: bool) -> Option<Self> {
        if tests_points || plan.calls.is_empty() || !plan.aux.is_empty() || plan.windows.is_one() {
            return None;
        }
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
                Fold::First => aggregates.with(Aggregate::First),
                Fold::Last => aggregates.with(Aggregate::Last),
            };
            of_one_series |= matches!(call.leaf.fold, Some(Fold::First | Fold::Last));
            fields.push((call.leaf.driver.name.clone(), call.leaf.driver.data_type.and_then(field_type)));
        }
        Some(Self { aggregates, of_one_series, windows: plan.windows.clone(), fields })
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
        if !policy.has_tiers() || !policy.aggregates.with(Aggregate::Count).has_all(asked.aggregates) {
            return None;
        }
        let floor_ns = select.snapshot.raw_floor(policy.id);
        let now_ns = select.context.clock.now_ns();
        let nests = |at: &usize| policy.levels[*at].step_ns > 0 && asked.windows.nest(policy.levels[*at].step_ns);
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

fn has_tiers(select: &Select<'_>, table: TableId) -> bool {
    let policy = select.context.engine.registry().read().table(table).map(|table| table.policy());
    policy.and_then(|policy| select.context.engine.policy(policy)).is_some_and(|policy| policy.has_tiers())
}

/// For EXPLAIN: which levels answer what, of tables that have any.
pub(super) fn explain(select: &Select<'_>, compiled: &Compiled) -> Result<Vec<String>> {
    let plan = Plan::new(compiled, None, (compiled.min_ns, compiled.max_ns));
    let (_, residual) = split(compiled.statement.condition.as_ref(), compiled.mistakes);
    let asked = Asked::of(&plan, residual.is_some());
    let mut lines = Vec::new();
    for source in &compiled.statement.sources {
        let Source::Measurement(measurement) = source else { continue };
        for (name, found) in tables(measurement, select.context, select.request)? {
            for table in found.into_iter().filter(|table| has_tiers(select, *table)) {
                let choice =
                    asked.as_ref().and_then(|asked| Choice::of(select, asked, table, plan.bounded(plan.widest())));
                let tier =
                    choice.map_or_else(|| "raw".to_owned(), |choice| format!("{}s", choice.step_ns / 1_000_000_000));
                let only = asked.as_ref().is_some_and(|asked| asked.of_one_series) && tier != "raw";
                let only = if only { " (where groups are single series, else raw)" } else { "" };
                lines.push(format!("TIER: {name}: {tier}{only}"));
            }
        }
    }
    Ok(lines)
}
