//! Which types functions take, asked before a point is read.
//!
//! 1.x refuses a function of the wrong type when it opens the series, so it does even if a condition leaves no point; but
//! it knows no type where no shard of the time asked for has points.

use std::collections::BTreeMap;

use rhythmite_engine::SeriesFilter;
use rhythmite_influx::influxql::{Call, Expr};
use rhythmite_model::{FieldType, SeriesId, TableId, Tier};

use super::aggregate::fold::Fold;
use super::aggregate::whole::{Whole, iterator_name};
use super::failure::{Failure, Result};
use super::group::{check_type, is_number};
use super::holt_winters::HoltWinters;
use super::plan::{Plan, tags_of};
use super::read::{Member, Members};
use super::select::Select;
use super::source::reads_tag;
use super::transform::Transform;
use super::value::field_type;

const DAY_NS: i64 = 86_400_000_000_000;
/// The times of one shard, from Monday.
const SHARD_NS: i64 = 7 * DAY_NS;
/// The epoch is a Thursday.
const MONDAY_NS: i64 = -3 * DAY_NS;

/// Fails if a call takes no values of its field's type and one of the groups could have some.
pub(super) fn check(select: &Select<'_>, plan: &Plan<'_>, groups: &[Members]) -> Result<()> {
    for planned in &plan.calls {
        let Err(refused) = result_of(planned.call, plan.windows.every_ns()) else { continue };
        let mut stored: BTreeMap<TableId, Vec<SeriesId>> = BTreeMap::new();
        for member in groups.iter().flat_map(|(_, members)| members) {
            match member {
                Member::Made(..) => return Err(refused),
                Member::Stored(table, id, _) => stored.entry(*table).or_default().push(*id),
            }
        }
        let (min, max) = plan.bounded(planned.leaf.range);
        let (first, last) = (shard(min), shard(max).saturating_add(SHARD_NS - 1));
        for (table, mut series) in stored {
            series.sort_unstable();
            let field = select.context.engine.registry().read().find_field(table, &planned.leaf.driver.name);
            let Some((field, _)) = field else { continue };
            let series = SeriesFilter::List(series.into());
            let found = select.snapshot.weigh(table, Tier::RAW, &series, Some(&[field]), &(first..=last), 1)?;
            if found.iter().any(|weight| weight.values > 0) {
                return Err(refused);
            }
        }
    }
    Ok(())
}

/// Where the shard begins that holds a time.
fn shard(at_ns: i64) -> i64 {
    at_ns.saturating_sub(at_ns.saturating_sub(MONDAY_NS).rem_euclid(SHARD_NS))
}

/// The type of what a call gives; `None` of what is not known.
fn result_of(call: &Call, every_ns: i64) -> Result<Option<FieldType>> {
    let from = match call.args.first() {
        Some(Expr::Call(inner)) => result_of(inner, every_ns)?,
        Some(Expr::VarRef(var)) if !reads_tag(var.data_type) => var.data_type.and_then(field_type),
        _ => None,
    };
    let Some(from) = from else { return Ok(None) };
    if let Some(transform) = Transform::of(call, every_ns) {
        check_type(call, transform.takes(from), from)?;
        return Ok(Some(transform.result(from)));
    }
    if HoltWinters::of(call, every_ns).is_some() || call.name == "integral" {
        check_type(call, is_number(from), from)?;
        return Ok(Some(FieldType::Float));
    }
    if let Some(fold) = Fold::named(&call.name) {
        check_type(call, fold.takes(from), from)?;
        return Ok(Some(fold.result(from)));
    }
    if let Some(whole) = Whole::of(call) {
        check_type(call, whole.takes(from), from)?;
        return Ok(Some(whole.result(from)));
    }
    if !is_number(from) && matches!(call.name.as_str(), "top" | "bottom") {
        // With tags the points come from the greatest or least ones of each combination.
        let each = if call.name == "top" { "max" } else { "min" };
        let (name, kind) = match (tags_of(call).next().is_some(), from) {
            (true, FieldType::String) => (each, iterator_name(from)),
            (true, _) => (call.name.as_str(), "*query.booleanReduceBooleanIterator"),
            (false, _) => (call.name.as_str(), iterator_name(from)),
        };
        return Err(Failure::new(format!("unsupported {name} iterator type: {kind}")));
    }
    Ok(Some(from))
}
