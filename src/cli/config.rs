//! `rhythmite config check`.

use clap::Subcommand;
use rhythmite_model::Result;

use super::Source;
use crate::server::{Rules, check_collectd};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Read the configuration and every file it names; say what is wrong, or what would be opened.
    Check(Source),
}

impl ConfigCommand {
    pub(super) fn run(&self) -> Result<()> {
        let Self::Check(source) = self;
        let config = source.load()?;
        let rules = Rules::read(&config)?;
        // What is skipped in a list or rule is logged as a warning.
        rules.check();
        check_collectd(&config)?;
        super::say(format_args!("data_dir {}\n", config.data_dir.display()));
        for address in config.addresses() {
            super::say(format_args!("{} {}\n", address.key, address.at));
        }
        config.check_exposure(false)
    }
}
