//! InfluxQL statements, executed over the engine.
//!
//! [`execute`] takes a parsed query and gives the answer piece by piece to a [`ResultSink`], one statement after the
//! other; an error ends the query. It is synchronous and busy: call it on a thread that may block, never on the io
//! runtime.
//!
//! `statement` says who executes what: `show` answers from the names alone, `ddl` changes databases and policies, `users`
//! users and what they may do, `delete` takes points away. A SELECT is checked and typed by `rhythmite_influx::influxql`,
//! then `select` runs it and `output` hands its rows out: `plan` is what it asks of each `group` of series, `read` scans
//! them, `sweep` folds the points of many on several threads, `hits` keeps the rows of many that meet a condition, `source` finds the tables, `condition` splits WHERE between the index and the points, `frame` is what a
//! call sees of a series, `ends` reads no further than the answer needs, `order` merges series, `aggregate` and `transform` are the functions, `points` fills windows,
//! `eval` computes fields. `brief` tells which
//! queries are short enough to be answered at once. `continuous` runs such statements by the clock.
//!
//! Limits are [`Limits`]; a query stops at the next series or group after its [`Interrupt`] says so.

mod aggregate;
mod brief;
mod column;
mod condition;
mod context;
mod continuous;
mod ddl;
mod delete;
mod ends;
mod eval;
mod failure;
mod frame;
mod group;
mod hits;
mod holt_winters;
mod into;
mod math;
mod order;
mod output;
mod plan;
mod points;
mod read;
mod running;
mod select;
mod show;
mod sink;
mod source;
mod statement;
mod sweep;
mod technical;
#[cfg(test)]
pub(crate) mod tests;
mod tier;
mod transform;
mod types;
mod users;
mod value;
mod window;

use rhythmite_influx::influxql::Query;

pub use brief::is_brief;
pub use context::{Context, Interrupt, Limits, Request, Users, Visible};
pub use continuous::{Scheduler, Ticked};
pub use running::Running;
pub use sink::ResultSink;

/// Executes the statements of `query` in order.
///
/// Each statement is `begin_statement`, then its series or an error, then `end_statement`. After an error the rest is
/// not executed, as in 1.x: they get the answer `not executed`.
pub fn execute(context: &Context, request: &Request, query: &Query, out: &mut dyn ResultSink) {
    // What is over before anybody could read the list is not in it: to write its text again costs more than to parse it.
    let _entered = (!request.briefly).then(|| {
        let texts: Vec<String> = query.statements.iter().map(ToString::to_string).collect();
        let (database, started) = (request.database.as_deref().unwrap_or_default(), context.clock.monotonic());
        context.running.enter(texts.join(";\n"), database, started, request.interrupt.cancelled.clone())
    });
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
