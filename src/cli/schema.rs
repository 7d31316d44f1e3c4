//! `rhythmite schema`: on the data directory of a stopped server. A running one has `/api/v1/schema/apply`.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use rhythmite_env::Env;
use rhythmite_model::{Error, Result};

use super::Source;
use crate::schema::{Plan, Status};
use crate::server::Offline;

#[derive(Debug, Subcommand)]
pub(super) enum SchemaCommand {
    /// Move every Graphite series to the archives that storage-schemas.conf says now. Can be interrupted and repeated.
    Apply(Apply),
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// Say what would move, move nothing.
    #[arg(long)]
    dry_run: bool,
    /// The report as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

impl SchemaCommand {
    pub(super) fn run(&self) -> Result<()> {
        let Self::Apply(apply) = self;
        let (env, config) = (Env::real(), apply.source.load()?);
        let runtime = super::runtime()?;
        let offline = runtime
            .block_on(Offline::open(&env, &config))
            .map_err(|e| e.at("a running server is asked by /api/v1/schema/apply"))?;
        let job = offline.schema(&env, &config);
        let done = if apply.dry_run { job.plan().map(Report::Plan) } else { job.run().map(Report::Status) };
        drop(job);
        let closed = runtime.block_on(offline.close());
        let report = done?;
        closed?;
        if apply.json {
            let json = match &report {
                Report::Plan(plan) => serde_json::to_string(plan),
                Report::Status(status) => serde_json::to_string(status),
            };
            super::say(format_args!("{}\n", json.map_err(|e| Error::internal(e.to_string()))?));
        } else {
            super::say(match &report {
                Report::Plan(plan) => table(plan),
                Report::Status(status) => sentence(status),
            });
        }
        Ok(())
    }
}

enum Report {
    Plan(Plan),
    Status(Status),
}

fn table(plan: &Plan) -> String {
    let mut text = String::from(
        "schema                   series      moved   rule    points before     points after  bytes before   bytes after      dropped    rolled up\n",
    );
    for schema in &plan.schemas {
        let _ = writeln!(
            text,
            "{:<20} {:>10} {:>10} {:>6} {:>16} {:>16} {:>13} {:>13} {:>12} {:>12}",
            schema.schema,
            schema.series,
            schema.series_moved,
            schema.series_with_other_rule,
            schema.points_before,
            schema.points_after,
            schema.bytes_before,
            schema.bytes_after,
            schema.points_dropped,
            schema.points_rolled_up,
        );
    }
    text.push_str(
        "Points and bytes are those of the moved series, estimated from the files' indexes. Nothing was changed.\n",
    );
    text
}

fn sentence(status: &Status) -> String {
    let mut text = format!(
        "{} of {} series moved, {} points written, {} bytes; {} series got another method or xFilesFactor\n",
        status.series_moved, status.series, status.points_written, status.bytes_written, status.rules_changed
    );
    if let Some(until_s) = status.waits_until_s {
        let _ = writeln!(
            text,
            "{} series wait for the end of a window of their coarsest archive: run it again after {until_s} (Unix time)",
            status.waiting_series
        );
    }
    text
}
