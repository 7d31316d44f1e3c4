//! `rhythmite config check`, `rhythmite config convert`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rhythmite_model::{Error, Result};

use super::Source;
use crate::config::convert::{Classic, RULE_FILES};
use crate::server::{Rules, check_collectd, read_text};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Read the configuration and every file it names; say what is wrong, or what would be opened.
    Check(Source),
    /// Print carbon's and StatsD's configuration as one of ours, with comments on where each key comes from.
    Convert(Convert),
}

#[derive(Debug, Args)]
pub(super) struct Convert {
    /// The directory of carbon.conf and the files beside it.
    #[arg(long, value_name = "DIR", required_unless_present = "statsd")]
    from: Option<PathBuf>,
    /// StatsD's configuration file.
    #[arg(long, value_name = "FILE")]
    statsd: Option<PathBuf>,
}

impl ConfigCommand {
    pub(super) fn run(&self) -> Result<()> {
        match self {
            Self::Check(source) => check(source),
            Self::Convert(convert) => {
                super::say(format_args!("{}", convert.classic()?.convert()?));
                Ok(())
            }
        }
    }
}

fn check(source: &Source) -> Result<()> {
    let config = source.load()?;
    let rules = Rules::read(&config)?;
    // What is skipped in a list or rule is logged as a warning.
    rules.check();
    rules.router(&config)?;
    check_collectd(&config)?;
    super::say(format_args!("data_dir {}\n", config.data_dir.display()));
    for address in config.addresses() {
        super::say(format_args!("{} {}\n", address.key, address.at));
    }
    config.check_exposure(false)
}

impl Convert {
    /// Reads what is there.
    fn classic(&self) -> Result<Classic> {
        let mut classic = Classic::default();
        if let Some(dir) = &self.from {
            classic.dir = std::path::absolute(dir).map_err(|e| Error::invalid(format!("{}: {e}", dir.display())))?;
            let carbon = dir.join("carbon.conf");
            classic.carbon = carbon.exists().then(|| read_text(&carbon)).transpose()?;
            classic.rules = RULE_FILES.into_iter().filter(|name| dir.join(name).exists()).collect();
            if classic.carbon.is_none() && classic.rules.is_empty() {
                return Err(Error::invalid(format!("{}: none of carbon's files is there", dir.display())));
            }
        }
        if let Some(path) = &self.statsd {
            classic.statsd = Some((path.display().to_string(), read_text(path)?));
        }
        Ok(classic)
    }
}
