//! `rhythmite check`.

use clap::Args;
use rhythmite_env::Env;
use rhythmite_model::{Error, Result};

use super::Source;
use crate::check;
use crate::import::Progress;

/// Status 0: clean; 1: could not run; 2: problems; 3: everything found was repaired.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Make again what can be, move the rest to `quarantine/`; nothing is deleted.
    #[arg(long)]
    repair: bool,
    /// The report as one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

impl Check {
    pub(super) fn run(&self) -> Result<u8> {
        let (env, config) = (Env::real(), self.source.load()?);
        let runtime = super::runtime()?;
        let report = check::run(&env, &config.data_dir, self.repair, &runtime, &mut Progress::stderr())?;
        if self.json {
            let json = serde_json::to_string(&report).map_err(|e| Error::internal(e.to_string()))?;
            super::say(format_args!("{json}\n"));
        } else {
            super::say(&report);
        }
        Ok(report.exit_code())
    }
}
