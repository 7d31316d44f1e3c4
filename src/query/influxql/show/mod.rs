//! SHOW: answers from the catalogue and the names; no data page is read.
//!
//! Each statement finds its measurements (`source`), the series of them that a condition leaves (`condition`), and
//! writes rows (`output`). Names are copied under the registry's lock, measurement by measurement, and written when it
//! is free again: a slow client holds nobody up.
//!
//! Times in a condition are checked and have no effect: a name is shown as long as it exists. Without a policy in
//! `FROM`, measurements of all policies of the database are seen as one.

mod admin;
mod cardinality;
pub(super) mod condition;
mod names;
mod output;
pub(super) mod source;
mod values;

use rhythmite_influx::influxql::Show;

use super::context::{Context, Request};
use super::failure::Result;
use super::sink::ResultSink;
use output::Output;

/// Executes a SHOW statement.
pub(super) fn run(context: &Context, request: &Request, show: &Show, out: &mut dyn ResultSink) -> Result<()> {
    let mut out = Output::new(context, request, out);
    match show {
        Show::Databases => admin::databases(context, request, &mut out),
        Show::RetentionPolicies(database) => admin::policies(context, request, database.as_deref(), &mut out),
        Show::Shards => admin::shards(context, &mut out),
        Show::ShardGroups => admin::shard_groups(&mut out),
        Show::Queries => admin::queries(context, request, &mut out),
        Show::Stats(module) => admin::stats(context, module.as_deref(), &mut out),
        Show::Diagnostics(module) => admin::diagnostics(context, module.as_deref(), &mut out),
        Show::Users => admin::users(context, &mut out),
        Show::Grants(user) => admin::grants(context, user, &mut out),
        Show::ContinuousQueries => admin::continuous_queries(context, request, &mut out),
        // As 1.x without subscriptions.
        Show::Subscriptions => Ok(()),
        Show::Measurements(clauses) => names::measurements(context, request, clauses, &mut out),
        Show::Series(clauses) => names::series(context, request, clauses, &mut out),
        Show::TagKeys(clauses) => names::tag_keys(context, request, clauses, &mut out),
        Show::TagValues(keys, clauses) => names::tag_values(context, request, keys, clauses, &mut out),
        Show::FieldKeys(clauses) => names::field_keys(context, request, clauses, &mut out),
        Show::Cardinality(show) => cardinality::run(context, request, show, &mut out),
    }
}
