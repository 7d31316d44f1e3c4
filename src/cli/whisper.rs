//! `rhythmite import whisper` and `rhythmite export whisper`.

use std::path::{Path, PathBuf};

use clap::Args;
use rhythmite_env::Env;
use rhythmite_model::{Error, Result};
use serde_json::{Value, json};

use super::Source;
use crate::export::whisper as export;
use crate::import::verify::verify;
use crate::import::{Progress, Summary, Verified, whisper as import};
use crate::server::Offline;

/// The status when the store differs from the files.
const DIFFERS: u8 = 3;

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The root of the tree; names begin below it.
    dir: PathBuf,
    /// Read and count, write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Afterwards read files and store again and compare every point.
    #[arg(long, conflicts_with = "dry_run")]
    verify: bool,
    /// Write the figures, and every problem, as JSON to this file ("-" is standard output).
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// The root of the tree; made if need be.
    dir: PathBuf,
    /// Only paths that match, as in /metrics/find; without it all, tagged series too.
    #[arg(long = "match", value_name = "PATTERN", default_value = "**")]
    pattern: String,
    /// Replace files that are there; without it they are skipped.
    #[arg(long)]
    overwrite: bool,
    /// Read and count, write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Write the figures, and every problem, as JSON to this file ("-" is standard output).
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

impl Import {
    /// Runs it; the status is 2 when a file was damaged, 3 when the store differs from the files.
    pub(super) fn run(&self) -> Result<u8> {
        let (summary, verified) = self.import()?;
        tell(self.report.as_deref(), &summary, &json!({ "import": summary, "verify": verified }))?;
        told(&summary.problems);
        let Some(verified) = verified else { return Ok(summary.exit_code()) };
        eprintln!("verified: {verified}");
        told(&verified.differences);
        Ok(if verified.is_equal() { summary.exit_code() } else { DIFFERS })
    }

    fn import(&self) -> Result<(Summary, Option<Verified>)> {
        let (env, mut progress) = (Env::real(), Progress::stderr());
        let config = self.source.load()?;
        if self.dry_run {
            return Ok((import::dry_run(&env, &self.dir, &mut progress)?, None));
        }
        let runtime = super::runtime()?;
        let offline = runtime.block_on(Offline::open(&env, &config))?;
        let (engine, catalog) = (&offline.engine, &offline.catalog);
        let imported = import::import(&env, &config.data_dir, engine, catalog, &self.dir, &mut progress);
        let verified = match &imported {
            Ok(_) if self.verify => verify(&env, engine, &self.dir).map(Some),
            _ => Ok(None),
        };
        // What was imported before an error stays.
        let closed = runtime.block_on(offline.close());
        let (summary, verified) = (imported?, verified?);
        closed.map(|()| (summary, verified))
    }
}

impl Export {
    /// Runs it; the status is 2 when a series has no file.
    pub(super) fn run(&self) -> Result<u8> {
        let summary = self.export()?;
        tell(self.report.as_deref(), &summary, &json!({ "export": summary }))?;
        told(&summary.problems);
        Ok(summary.exit_code())
    }

    fn export(&self) -> Result<export::Summary> {
        let config = self.source.load()?;
        let runtime = super::runtime()?;
        let offline = runtime.block_on(Offline::open(&Env::real(), &config))?;
        let options =
            export::Options { pattern: self.pattern.clone(), overwrite: self.overwrite, dry_run: self.dry_run };
        let exported = export::export(&offline.engine, &self.dir, &options);
        let closed = runtime.block_on(offline.close());
        exported.and_then(|summary| closed.map(|()| summary))
    }
}

/// The figures as a line, or as JSON where that is asked for.
fn tell(report: Option<&Path>, line: &impl std::fmt::Display, figures: &Value) -> Result<()> {
    let text = format!("{figures:#}\n");
    match report {
        Some(path) if path == Path::new("-") => super::say(text),
        Some(path) => {
            std::fs::write(path, text).map_err(|e| Error::unavailable(format!("{}: {e}", path.display())))?;
            super::say(format_args!("{line}\n"));
        }
        None => super::say(format_args!("{line}\n")),
    }
    Ok(())
}

fn told(problems: &[(String, String)]) {
    for (what, problem) in problems {
        eprintln!("{what}: {problem}");
    }
}
