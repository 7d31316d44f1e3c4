//! Queries that are answered where they are asked for.
//!
//! Dashboards ask for a few hundred points of a few series, over and over. To hand such a question to a thread that may be
//! busy costs more than the answer: two threads wake up, and what the one had in its caches the other fetches. So
//! [`is_brief`] tells from a statement whether it may be so short: an aggregate of fields of named measurements, without
//! a pattern anywhere. It is executed at once with [`Request::briefly`](super::Request::briefly), and then fails as soon
//! as it turns out that it is not short, or that something would have to be read from the disk or decoded. Nothing has
//! been given out by then: it is executed again by another thread, after which what it read is in memory.
//!
//! Limits: [`SERIES_MAX`] and [`VALUES_MAX`]; together some hundred microseconds. Of the columns of a measurement those
//! alone are looked at that a statement names, so that their number does not matter.

use rhythmite_influx::influxql::{Expr, Literal, MeasurementName, Query, SelectStatement, Source, Statement};

use super::aggregate::fold::Fold;
use super::failure::Failure;

/// Series that are read.
pub(super) const SERIES_MAX: u64 = 64;
/// Values that are read, and windows that are filled.
pub(super) const VALUES_MAX: u64 = 16 * 1024;
/// Parts of a condition.
const CONDITION_MAX: usize = 128;
/// Fields of a statement.
const FIELDS_MAX: usize = 32;

/// Whether a query may be answered at once, as far as its text tells.
pub fn is_brief(query: &Query) -> bool {
    match query.statements.as_slice() {
        [Statement::Select(select)] => is_short(select),
        _ => false,
    }
}

fn is_short(select: &SelectStatement) -> bool {
    let folds = |expr: &Expr| match expr {
        Expr::Call(call) => Fold::named(&call.name).is_some() && matches!(call.args.as_slice(), [Expr::VarRef(_)]),
        _ => false,
    };
    let named = |source: &Source| match source {
        Source::Measurement(measurement) => matches!(measurement.name, MeasurementName::Name(_)),
        Source::Subquery(_) => false,
    };
    let plain = |expr: &Expr| {
        let (mut parts, mut is_plain) = (0, true);
        expr.walk(&mut |part| {
            parts += 1;
            is_plain &= !matches!(part, Expr::Literal(Literal::Regex(_)) | Expr::Wildcard(_));
        });
        is_plain && parts <= CONDITION_MAX
    };
    select.target.is_none()
        && select.fields.len() <= FIELDS_MAX
        && select.fields.iter().all(|field| folds(&field.expr))
        && select.sources.len() <= 2
        && select.sources.iter().all(named)
        && select.condition.iter().chain(&select.dimensions).all(plain)
}

/// The end of a query that was not short after all; never shown.
pub(super) fn too_long() -> Failure {
    Failure::new("the query is not brief")
}
