//! carbon-aggregator: points in, aggregates (and, if wanted, the points) out.
//!
//! Order of events for a point: the `[pre]` rewrite rules change its name; it feeds every aggregation rule that
//! matches; unless an aggregate has its very name, it is forwarded under the name that the `[post]` rules give it.
//! An aggregate feeds no other rule and is not rewritten.
//!
//! Each output emits on its own clock, every `frequency` seconds after its first point. Values of an interval
//! stay for `max_aggregation_intervals`, so that a late point re-opens its interval, which is then emitted
//! again, whole. Points older than that still make an aggregate of their own.
//!
//! Pure: time is what the caller says. Memory is bounded by [`Options`]; what does not fit is counted in
//! [`Counters`]. Compiled rules are applied once per name, then remembered.

mod fold;
mod machine;
mod output;
mod rewrite;
mod routes;
mod rules;
#[cfg(test)]
mod tests;

pub use machine::{Aggregator, Counters, Options};
pub use rewrite::RewriteRules;
pub use rules::AggregationRules;
