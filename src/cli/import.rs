//! `rhythmite import`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rhythmite_env::Env;
use rhythmite_influx::line_protocol::Precision;
use rhythmite_model::Result;

use super::{Source, whisper};
use crate::import::{Progress, influx};
use crate::server::Offline;

#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// A tree of whisper files. Can be interrupted and repeated: what is imported is skipped.
    Whisper(whisper::Import),
    /// Files of line protocol, as `influx_inspect export` writes them. Can be interrupted and repeated, too.
    Influx(Influx),
}

#[derive(Debug, Args)]
pub(super) struct Influx {
    /// Plain, gzip or Zstandard; `-` is standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where lines go that no comment of the file names a database for.
    #[arg(long)]
    database: Option<String>,
    /// And the retention policy; the default one if it is not said.
    #[arg(long)]
    policy: Option<String>,
    /// The unit of timestamps: ns, us, ms, s, m, h.
    #[arg(long, default_value = "ns", value_parser = precision)]
    precision: Precision,
    /// Read and count, write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    source: Source,
}

impl Import {
    /// Runs it; the status is 2 when a file was damaged, 3 when whisper files differ from the store.
    pub(super) fn run(&self) -> Result<u8> {
        match self {
            Self::Whisper(whisper) => whisper.run(),
            Self::Influx(influx) => {
                let summary = influx.run()?;
                super::say(format_args!("{summary}\n"));
                summary.problems.iter().for_each(|problem| eprintln!("{problem}"));
                Ok(summary.exit_code())
            }
        }
    }
}

fn precision(text: &str) -> Result<Precision, String> {
    Precision::from_param(text).ok_or_else(|| "ns, us, ms, s, m or h".to_owned())
}

impl Influx {
    fn run(&self) -> Result<influx::Summary> {
        let (env, mut progress) = (Env::real(), Progress::stderr());
        let options = influx::Options {
            files: self.files.clone(),
            database: self.database.clone(),
            policy: self.policy.clone(),
            precision: self.precision,
        };
        if self.dry_run {
            return influx::dry_run(&env, &options, &mut progress);
        }
        let config = self.source.load()?;
        let runtime = super::runtime()?;
        let offline = runtime.block_on(Offline::open(&env, &config))?;
        let context = offline.influxql(&env, &config, runtime.handle())?;
        let imported = influx::import(&env, &config.data_dir, &context, &options, &mut progress);
        drop(context);
        // What was imported before an error stays.
        let closed = runtime.block_on(offline.close());
        imported.and_then(|summary| closed.map(|()| summary))
    }
}
