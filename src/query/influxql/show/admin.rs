//! SHOW of databases, policies and of the server itself.

use std::fmt::Write as _;
use std::time::Duration;

use rhythmite_influx::answer::Cell;

use super::output::Output;
use super::source;
use crate::catalog::{ContinuousQuery, Database, GRAPHITE, Rights};
use crate::query::influxql::context::{Context, Request};
use crate::query::influxql::failure::{Failure, Result};

/// `SHOW DATABASES`: those the request may see.
pub(super) fn databases(context: &Context, request: &Request, out: &mut Output<'_>) -> Result<()> {
    let all = context.catalog.databases();
    let visible = |name: &str| request.visible.as_ref().is_none_or(|visible| visible(name));
    let names = all.iter().map(|d| d.name.as_str()).filter(|name| visible(name));
    out.series("databases", &["name"], names.map(|name| vec![Cell::from(name)]))
}

/// `SHOW RETENTION POLICIES`: Graphite's storage schemas are not among them.
pub(super) fn policies(context: &Context, request: &Request, on: Option<&str>, out: &mut Output<'_>) -> Result<()> {
    let all = context.catalog.databases();
    let database = source::database(&all, source::database_name(on, request)?)?;
    let rows = database.policies.iter().filter(|p| !p.internal).map(|p| {
        let retention_ns = p.policy.levels.first().map_or(0, |level| level.retention_ns);
        vec![
            Cell::from(p.policy.name.as_str()),
            Cell::String(go_duration(retention_ns).into()),
            Cell::String(go_duration(p.shard_ns).into()),
            Cell::Int(p.replica_n),
            Cell::Bool(database.default == Some(p.policy.id)),
        ]
    });
    out.series("", &["name", "duration", "shardGroupDuration", "replicaN", "default"], rows)
}

/// `SHOW SHARDS`: databases have none here, points are partitioned by the engine.
pub(super) fn shards(context: &Context, out: &mut Output<'_>) -> Result<()> {
    let columns =
        ["id", "database", "retention_policy", "shard_group", "start_time", "end_time", "expiry_time", "owners"];
    context.catalog.databases().iter().try_for_each(|database| out.series(&database.name, &columns, []))
}

/// `SHOW SHARD GROUPS`: as [`shards`].
pub(super) fn shard_groups(out: &mut Output<'_>) -> Result<()> {
    let columns = ["id", "database", "retention_policy", "start_time", "end_time", "expiry_time"];
    out.series("shard groups", &columns, [])
}

/// `SHOW QUERIES`: all that run now, this one among them.
pub(super) fn queries(context: &Context, request: &Request, out: &mut Output<'_>) -> Result<()> {
    // A query tells what is in its database.
    let visible = |name: &str| request.visible.as_ref().is_none_or(|visible| visible(name));
    let running = context.running.list(context.clock.monotonic());
    let rows = running.into_iter().filter(|query| visible(&query.database)).map(|query| {
        vec![
            Cell::UInt(query.id),
            Cell::String(query.text.into()),
            Cell::String(query.database.into()),
            Cell::String(short_duration(query.took).into()),
            Cell::from(if query.killed { "killed" } else { "running" }),
        ]
    });
    out.series("", &["qid", "query", "database", "duration", "status"], rows)
}

/// `SHOW USERS`, in the order in which they were made.
pub(super) fn users(context: &Context, out: &mut Output<'_>) -> Result<()> {
    let accounts = context.catalog.accounts();
    let rows = accounts.users().map(|user| vec![Cell::from(user.name.as_str()), Cell::Bool(user.is_admin)]);
    out.series("", &["user", "admin"], rows)
}

/// `SHOW GRANTS FOR`: what was revoked is shown as no privileges, as in 1.x.
pub(super) fn grants(context: &Context, user: &str, out: &mut Output<'_>) -> Result<()> {
    let accounts = context.catalog.accounts();
    let user = accounts.user(user).ok_or_else(|| Failure::new("user not found"))?;
    let privilege = |rights: &Rights| match (rights.read, rights.write) {
        (true, true) => "ALL PRIVILEGES",
        (true, false) => "READ",
        (false, true) => "WRITE",
        (false, false) => "NO PRIVILEGES",
    };
    let rows = user.grants.iter().map(|(name, rights)| vec![Cell::from(name.as_str()), Cell::from(privilege(rights))]);
    out.series("", &["database", "privilege"], rows)
}

/// `SHOW CONTINUOUS QUERIES`, database by database. That of Graphite's names, which nobody made, is shown if it has any.
pub(super) fn continuous_queries(context: &Context, request: &Request, out: &mut Output<'_>) -> Result<()> {
    let all = context.catalog.databases();
    let visible = |name: &str| request.visible.as_ref().is_none_or(|visible| visible(name));
    let shown = |database: &&Database| database.name != GRAPHITE || !database.continuous.is_empty();
    for database in all.iter().filter(|database| visible(&database.name)).filter(shown) {
        let row = |query: &ContinuousQuery| vec![text(&query.name), text(&query.query)];
        out.series(&database.name, &["name", "query"], database.continuous.iter().map(row))?;
    }
    Ok(())
}

fn text(text: &str) -> Cell<'static> {
    Cell::String(text.to_owned().into())
}

/// `SHOW STATS [FOR]`: modules `database` and `engine`.
pub(super) fn stats(context: &Context, module: Option<&str>, out: &mut Output<'_>) -> Result<()> {
    let wanted = |name: &str| module.is_none_or(|module| module == name);
    if wanted("database") {
        for database in context.catalog.databases().iter() {
            let found = source::all(context, database);
            let series: u64 = {
                let directory = context.engine.registry().read();
                found.values().flatten().filter_map(|&table| directory.table(table)).map(|t| t.series_count()).sum()
            };
            let row = vec![Cell::Int(found.len() as i64), Cell::UInt(series)];
            out.tagged("database", &[("database", &database.name)], &["numMeasurements", "numSeries"], [row])?;
        }
    }
    if wanted("engine") {
        let stats = context.engine.stats();
        let columns = [
            ("compactions", stats.compactions),
            ("diskBytes", stats.file_bytes),
            ("files", stats.files),
            ("flushes", stats.flushes),
            ("memtableBytes", stats.memtable_bytes),
            ("pointsWritten", stats.rows_written),
            ("valuesWritten", stats.values_written),
            ("writesRefused", stats.overloaded),
        ];
        let names: Vec<_> = columns.iter().map(|c| c.0).collect();
        out.series("engine", &names, [columns.iter().map(|c| Cell::UInt(c.1)).collect()])?;
    }
    Ok(())
}

/// `SHOW DIAGNOSTICS [FOR]`: modules `build`, `runtime` and `system`.
pub(super) fn diagnostics(context: &Context, module: Option<&str>, out: &mut Output<'_>) -> Result<()> {
    let wanted = |name: &str| module.is_none_or(|module| module == name);
    if wanted("build") {
        let row = ["", "", "", env!("CARGO_PKG_VERSION")].map(Cell::from).to_vec();
        out.series("build", &["Branch", "Build Time", "Commit", "Version"], [row])?;
    }
    if wanted("runtime") {
        let row = [std::env::consts::ARCH, std::env::consts::OS].map(Cell::from).to_vec();
        out.series("runtime", &["arch", "os"], [row])?;
    }
    if wanted("system") {
        let row = vec![Cell::Int(i64::from(std::process::id())), Cell::Time(context.clock.now_ns())];
        out.series("system", &["PID", "currentTime"], [row])?;
    }
    Ok(())
}

/// A duration in whole seconds, or whole units of what is shorter, as Go prints it.
fn short_duration(took: Duration) -> String {
    match took.as_nanos() {
        1_000_000_000.. => go_duration(i64::try_from(took.as_secs() as u128 * 1_000_000_000).unwrap_or(i64::MAX)),
        ns @ 1_000_000.. => format!("{}ms", ns / 1_000_000),
        ns @ 1_000.. => format!("{}µs", ns / 1_000),
        0 => "0s".to_owned(),
        ns => format!("{ns}ns"),
    }
}

/// A duration of seconds or more (or none) as Go prints it: `168h0m0s`.
fn go_duration(ns: i64) -> String {
    const SECOND_NS: i64 = 1_000_000_000;
    let (seconds, fraction) = (ns / SECOND_NS, ns % SECOND_NS);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    let _ = write!(text, "{seconds}");
    if fraction > 0 {
        let digits = format!(".{fraction:09}");
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('s');
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{go_duration, short_duration};

    #[test]
    fn durations_print_as_in_go() {
        for (ns, expected) in [
            (0, "0s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_660_000_000_000, "1h1m0s"),
            (604_800_000_000_000, "168h0m0s"),
            (61_500_000_000, "1m1.5s"),
            (3_600_000_000_001, "1h0m0.000000001s"),
        ] {
            assert_eq!(go_duration(ns), expected, "{ns}");
        }
        for (ns, expected) in [(0, "0s"), (999, "999ns"), (1_500, "1µs"), (2_999_999, "2ms"), (61_500_000_000, "1m1s")]
        {
            assert_eq!(short_duration(Duration::from_nanos(ns)), expected, "{ns}");
        }
    }
}
