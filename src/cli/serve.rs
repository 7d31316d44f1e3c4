//! `rhythmite serve`.

use clap::Args;
use rhythmite_model::Result;
use tokio_util::sync::CancellationToken;

use super::Source;
use crate::server::{self, RunOptions};

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    source: Source,
    /// Let listeners that answer queries be reached beyond loopback although nobody is asked for a password.
    #[arg(long)]
    insecure_no_auth: bool,
    /// Give up what is damaged in the write-ahead log instead of refusing to start.
    #[arg(long)]
    wal_salvage: bool,
}

impl Serve {
    pub(super) fn run(&self, json: bool) -> Result<()> {
        let config = self.source.load()?;
        let options = RunOptions {
            insecure_no_auth: self.insecure_no_auth,
            wal_salvage: self.wal_salvage,
            ..RunOptions::default()
        };
        let started = |block: &str| {
            if json {
                tracing::info!(start = block, "started");
            } else {
                super::say(block);
            }
        };
        serve(config, options, CancellationToken::new(), started)
    }
}

/// Runs the server. Queries that hold a core run on threads of their own (SQL) or on blocking ones.
pub(super) fn serve(
    config: crate::config::Config,
    options: RunOptions,
    quit: CancellationToken,
    started: impl FnOnce(&str),
) -> Result<()> {
    let runtime = super::runtime()?;
    let done = runtime.block_on(server::run(config, options, quit, started));
    // A query that does not look up is not waited for.
    runtime.shutdown_background();
    done
}
