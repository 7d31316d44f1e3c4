//! SELECT from the statement to the sink: checks, limits, the shape of the answer.

use jiff::tz::TimeZone;
use rhythmite_influx::answer::{Cell, SeriesHead};
use rhythmite_influx::influxql::{Compiled, SelectStatement, compile};

use super::context::{Context, Request};
use super::failure::{Failure, Result};
use super::into::Into as Target;
use super::select::{Rows, Select};
use super::sink::ResultSink;
use super::source::{self, Registered};
use super::tier;
use super::window::{Windows, zone_offset_ns};

/// Runs a SELECT and hands its rows out, or writes them to its target.
pub(super) fn select(
    context: &Context,
    request: &Request,
    statement: &SelectStatement,
    out: &mut dyn ResultSink,
) -> Result<()> {
    if statement.target.is_some() {
        let written = write_target(context, request, statement)?;
        let columns = ["time", "written"].map(Into::into).to_vec();
        out.begin_series(&SeriesHead { name: "result".into(), tags: Vec::new(), columns });
        out.row(&[Cell::Time(0), Cell::Int(i64::try_from(written).unwrap_or(i64::MAX))]);
        out.end_series(false);
        return Ok(());
    }
    let compiled = prepare(context, request, statement)?;
    let select = Select::new(context, request);
    let names = compiled.column_names();
    let zone = compiled.statement.zone.as_ref().filter(|_| request.times_as_text).map(|zone| zone.time_zone());
    let rows_max = context.limits.rows_max;
    let mut answer = Answer { out, names: &names, zone, rows_max, rows: 0, full: false, open: false };
    let done = select.run(&compiled, &mut |rows| {
        answer.series(&rows)?;
        if answer.full { Err(Failure::new(FULL)) } else { Ok(()) }
    });
    if answer.open {
        answer.out.end_series(false);
    }
    match done {
        Err(failure) if answer.full && failure == Failure::new(FULL) => Ok(()),
        other => other,
    }
}

/// Runs a SELECT and writes its rows to its target. Returns the number of points when they are durable.
///
/// # Errors
/// As of a SELECT; also when points were refused, behind which others may be written.
pub(super) fn write_target(context: &Context, request: &Request, statement: &SelectStatement) -> Result<u64> {
    let compiled = prepare(context, request, statement)?;
    let Some(target) = &compiled.statement.target else { return Err(Failure::new("the statement has no target")) };
    let mut target = Target::new(context, request, target, &compiled.column_names())?;
    Select::new(context, request).run(&compiled, &mut |rows| target.take(rows))?;
    target.finish()
}

/// Ends a SELECT whose rows are complete; never shown.
const FULL: &str = "the limit on rows is reached";

/// Checks a statement, gives its names their types and checks its windows.
fn prepare(context: &Context, request: &Request, statement: &SelectStatement) -> Result<Compiled> {
    source::check(statement, context, request)?;
    let mut compiled = compile(statement, context.clock.now_ns(), context.mistakes)?;
    compiled.resolve(&Registered { context, request })?;
    check_windows(&compiled, context.limits.select_buckets_max)?;
    Ok(compiled)
}

fn check_windows(compiled: &Compiled, limit: u64) -> Result<()> {
    let windows = Windows::of(compiled);
    if limit == 0 || windows.is_one() || compiled.calls.is_empty() {
        return Ok(());
    }
    let range = (compiled.min_ns, compiled.max_ns);
    let first = i128::from(windows.start(compiled.min_ns, range));
    let last = i128::from(windows.start(compiled.max_ns.saturating_sub(1), range));
    let every = i128::from(windows.every_ns());
    let count = (last - first + every) / every;
    if count > i128::from(limit) {
        return Err(Failure::new(format!("max-select-buckets limit exceeded: ({count}/{limit})")));
    }
    Ok(())
}

struct Answer<'o> {
    out: &'o mut dyn ResultSink,
    names: &'o [String],
    zone: Option<&'o TimeZone>,
    rows_max: u64,
    rows: u64,
    full: bool,
    /// A series has begun and more of its rows come.
    open: bool,
}

impl Answer<'_> {
    fn series(&mut self, rows: &Rows) -> Result<()> {
        if !self.open {
            self.out.begin_series(&SeriesHead {
                name: (&*rows.name).into(),
                tags: rows.tags.iter().map(|(key, value)| (key.into(), value.into())).collect(),
                columns: self.names.iter().map(Into::into).collect(),
            });
        }
        let mut cells: Vec<Cell<'_>> = Vec::with_capacity(self.names.len());
        for (row, time) in rows.times_ns.iter().enumerate() {
            if self.rows_max > 0 && self.rows == self.rows_max {
                self.full = true;
                break;
            }
            cells.clear();
            cells.push(match self.zone {
                Some(zone) => Cell::String(local(zone, *time).into()),
                None => Cell::Time(*time),
            });
            cells.extend(rows.columns.iter().map(|col| col.cell(row)));
            self.out.row(&cells);
            self.rows += 1;
        }
        self.open = rows.more && !self.full;
        if !self.open {
            self.out.end_series(self.full);
        }
        Ok(())
    }
}

/// RFC 3339 with the offset of the zone.
fn local(zone: &TimeZone, time_ns: i64) -> String {
    let offset_s = zone_offset_ns(zone, time_ns) / 1_000_000_000;
    let mut text = Vec::new();
    rhythmite_influx::answer::write_rfc3339(&mut text, time_ns.saturating_add(offset_s * 1_000_000_000));
    let mut text = String::from_utf8(text).unwrap_or_default();
    if offset_s != 0 {
        text.pop();
        let minutes = offset_s.abs() / 60;
        let sign = if offset_s < 0 { '-' } else { '+' };
        text.push_str(&format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60));
    }
    text
}

/// EXPLAIN: what would be read. ANALYZE runs the statement too.
pub(super) fn explain(
    context: &Context,
    request: &Request,
    statement: &SelectStatement,
    analyze: bool,
    out: &mut dyn ResultSink,
) -> Result<()> {
    let compiled = prepare(context, request, statement)?;
    let mut lines = vec![format!("EXPRESSION: {}", compiled.statement)];
    let select = Select::new(context, request);
    lines.extend(tier::explain(&select, &compiled)?);
    if analyze {
        let began = context.clock.monotonic();
        let (mut series, mut rows) = (0_u64, 0_u64);
        select.run(&compiled, &mut |found| {
            series += u64::from(!found.more);
            rows += found.times_ns.len() as u64;
            Ok(())
        })?;
        let took = context.clock.monotonic().saturating_sub(began);
        lines.push(format!("SERIES READ: {}", select.series_read.borrow()));
        lines.push(format!("SERIES: {series}"));
        lines.push(format!("ROWS: {rows}"));
        lines.push(format!("TIME: {took:?}"));
    }
    let column = if analyze { "EXPLAIN ANALYZE" } else { "QUERY PLAN" };
    out.begin_series(&SeriesHead { name: "".into(), tags: Vec::new(), columns: vec![column.into()] });
    lines.iter().for_each(|line| out.row(&[Cell::from(line.as_str())]));
    out.end_series(false);
    Ok(())
}
