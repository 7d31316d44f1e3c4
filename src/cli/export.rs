//! `rhythmite export`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use rhythmite_env::Env;
use rhythmite_influx::influxql::{TIME_MAX_NS, TIME_MIN_NS, parse_time};
use rhythmite_model::{Error, Result};

use super::{Source, whisper};
use crate::export::influx;
use crate::server::Offline;

#[derive(Debug, Subcommand)]
pub(super) enum Export {
    /// Line protocol, with the headers of `influx_inspect export`; `influx -import` reads it.
    Influx(Influx),
    /// A tree of whisper files, one for each Graphite path, which carbon and graphite-web read.
    Whisper(whisper::Export),
}

#[derive(Debug, Args)]
pub(super) struct Influx {
    /// One database; all without it.
    #[arg(long)]
    database: Option<String>,
    /// One retention policy of it; all without it.
    #[arg(long, requires = "database")]
    policy: Option<String>,
    /// From this time on, as in 2024-01-31 or 2024-01-31T12:00:00Z.
    #[arg(long, value_parser = time)]
    start: Option<i64>,
    /// To this time, which is included.
    #[arg(long, value_parser = time)]
    end: Option<i64>,
    /// A file, which must not exist; compressed if its name ends in .gz or .zst. Without it, standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

fn time(text: &str) -> Result<i64, String> {
    let ns = parse_time(text, None).ok_or_else(|| "write for example 2024-01-31T12:00:00Z".to_owned())?;
    i64::try_from(ns).map_err(|_| "too far away".to_owned())
}

impl Export {
    /// Runs it; the status is 2 when something has no form in the other system.
    pub(super) fn run(&self) -> Result<u8> {
        match self {
            Self::Influx(influx) => {
                let summary = influx.run()?;
                eprintln!("{summary}");
                Ok(if summary.left_out == 0 { 0 } else { 2 })
            }
            Self::Whisper(whisper) => whisper.run(),
        }
    }
}

impl Influx {
    fn run(&self) -> Result<influx::Summary> {
        let (env, config) = (Env::real(), self.source.load()?);
        let runtime = super::runtime()?;
        let offline = runtime.block_on(Offline::open(&env, &config))?;
        let options = influx::Options {
            database: self.database.clone(),
            policy: self.policy.clone(),
            times_ns: (self.start.unwrap_or(TIME_MIN_NS), self.end.unwrap_or(TIME_MAX_NS)),
        };
        let exported = self.write(|out| influx::export(&offline.engine, &offline.catalog.databases(), &options, out));
        let closed = runtime.block_on(offline.close());
        exported.and_then(|summary| closed.map(|()| summary))
    }

    /// Opens what is written to, and sees that all of it is there.
    fn write<T>(&self, export: impl FnOnce(&mut dyn Write) -> Result<T>) -> Result<T> {
        let Some(path) = &self.out else {
            let mut out = BufWriter::new(std::io::stdout().lock());
            let done = export(&mut out)?;
            out.flush()?;
            return Ok(done);
        };
        let failed = |e: std::io::Error| Error::unavailable(format!("{}: {e}", path.display()));
        let file = File::create_new(path).map_err(failed)?;
        let kind = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let (done, file) = match kind {
            "gz" => {
                let mut out = flate2::write::GzEncoder::new(file, flate2::Compression::default());
                (export(&mut out)?, out.finish().map_err(failed)?)
            }
            "zst" => {
                let mut out = zstd::stream::write::Encoder::new(file, 0).map_err(failed)?;
                (export(&mut out)?, out.finish().map_err(failed)?)
            }
            _ => {
                let mut out = BufWriter::new(file);
                (export(&mut out)?, out.into_inner().map_err(|e| failed(e.into_error()))?)
            }
        };
        file.sync_all().map_err(failed)?;
        Ok(done)
    }
}
