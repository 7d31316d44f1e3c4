//! `rhythmite import`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rhythmite_env::Env;
use rhythmite_model::Result;

use super::Source;
use crate::import::{Progress, Summary, whisper};
use crate::server::Offline;

#[derive(Debug, Subcommand)]
pub(super) enum Import {
    /// A tree of whisper files. Can be interrupted and repeated: what is imported is skipped.
    Whisper(Whisper),
}

#[derive(Debug, Args)]
pub(super) struct Whisper {
    /// The root of the tree; names begin below it.
    dir: PathBuf,
    /// Read and count, write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    source: Source,
}

impl Import {
    /// Runs it; the status is 2 when a file was damaged.
    pub(super) fn run(&self) -> Result<u8> {
        let Self::Whisper(whisper) = self;
        let summary = whisper.run()?;
        super::say(format_args!("{summary}\n"));
        for (file, problem) in &summary.problems {
            eprintln!("{file}: {problem}");
        }
        Ok(summary.exit_code())
    }
}

impl Whisper {
    fn run(&self) -> Result<Summary> {
        let (env, mut progress) = (Env::real(), Progress::stderr());
        let config = self.source.load()?;
        if self.dry_run {
            return whisper::dry_run(&env, &self.dir, &mut progress);
        }
        let runtime = super::runtime()?;
        let offline = runtime.block_on(Offline::open(&env, &config))?;
        let (engine, catalog) = (&offline.engine, &offline.catalog);
        let imported = whisper::import(&env, &config.data_dir, engine, catalog, &self.dir, &mut progress);
        // What was imported before an error stays.
        let closed = runtime.block_on(offline.close());
        imported.and_then(|summary| closed.map(|()| summary))
    }
}
