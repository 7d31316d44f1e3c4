//! InfluxQL statements, executed over the engine.
//!
//! [`execute`] takes a parsed query and gives the answer piece by piece to a [`ResultSink`], one statement after the
//! other; an error ends the query. It is synchronous and busy: call it on a thread that may block, never on the io
//! runtime.
//!
//! `statement` says who executes what: `show` answers from the names alone, `ddl` changes databases, policies and
//! names.

mod context;
mod ddl;
mod failure;
mod show;
mod sink;
mod statement;
#[cfg(test)]
mod tests;

use rhythmite_influx::influxql::Query;

pub use context::{Context, Interrupt, Limits, Request};
pub use sink::ResultSink;

/// Executes the statements of `query` in order.
///
/// Each statement is `begin_statement`, then its series or an error, then `end_statement`. After an error the rest is
/// not executed, as in 1.x: they get the answer `not executed`.
pub fn execute(context: &Context, request: &Request, query: &Query, out: &mut dyn ResultSink) {
    let mut failed = false;
    for (id, statement) in query.statements.iter().enumerate() {
        out.begin_statement(u32::try_from(id).unwrap_or(u32::MAX), statement::is_whole(statement));
        if failed {
            out.error("not executed");
        } else if let Err(failure) = statement::run(context, request, statement, out) {
            out.error(&failure.to_string());
            failed = true;
        }
        out.end_statement();
    }
}
