//! The command line: one command, one file.

mod check;
mod config;
mod demo;
mod export;
mod import;
mod schema;
mod serve;
mod token;
mod whisper;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rhythmite_model::{Error, Result};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, Layers};

/// A time-series database that speaks Graphite, StatsD and InfluxDB.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    /// What is logged: error, warn, info, debug, or per module (rhythmite=debug,warn).
    #[arg(long, env = "RHYTHMITE_LOG", default_value = "info", global = true, value_name = "FILTER")]
    log: String,
    /// How it is logged, to standard error.
    #[arg(long, env = "RHYTHMITE_LOG_FORMAT", default_value = "text", global = true)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(serve::Serve),
    /// Read another system's data into the data directory of a stopped server.
    #[command(subcommand)]
    Import(import::Import),
    /// Write what a stopped server keeps in the form of another system.
    #[command(subcommand)]
    Export(export::Export),
    /// Test everything in the data directory of a stopped server: every checksum, every row, every name.
    Check(check::Check),
    /// Run a server in a new data directory and show this machine's own figures.
    Demo(demo::Demo),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Apply changed storage schemas to the series that a stopped server keeps.
    #[command(subcommand)]
    Schema(schema::SchemaCommand),
    /// Make, list and revoke tokens of a stopped server.
    #[command(subcommand)]
    Token(token::TokenCommand),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where the configuration comes from; shared by all commands that need it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Source {
    /// A TOML file; variables such as RHYTHMITE_HTTP__LISTEN are stronger.
    #[arg(long, env = "RHYTHMITE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the data is; stronger than file and variable.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Source {
    /// Reads file, environment and flags.
    pub(crate) fn load(&self) -> Result<Config> {
        let file = match &self.config {
            Some(path) => Some((path.clone(), crate::server::read_text(path)?)),
            None => None,
        };
        let mut environment: Vec<_> = std::env::vars_os()
            .filter(|(name, _)| name.to_str().is_some_and(|name| name.starts_with("RHYTHMITE_")))
            .map(|(name, value)| {
                let text = |s: std::ffi::OsString| s.into_string().map_err(|s| format!("{} is not UTF-8", s.display()));
                Ok((text(name)?, text(value)?))
            })
            .collect::<Result<_, String>>()
            .map_err(Error::invalid)?;
        // The same faults are told in the same order.
        environment.sort();
        Layers { file, environment, data_dir: self.data_dir.clone() }.resolve()
    }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(e) = start_log(&cli) {
        eprintln!("rhythmite: {e}");
        return ExitCode::FAILURE;
    }
    let done = match &cli.command {
        Command::Serve(command) => command.run(cli.log_format == LogFormat::Json).map(|()| 0),
        Command::Import(command) => command.run(),
        Command::Export(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Demo(command) => command.run().map(|()| 0),
        Command::Config(command) => command.run().map(|()| 0),
        Command::Schema(command) => command.run().map(|()| 0),
        Command::Token(command) => command.run().map(|()| 0),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(e) => {
            eprintln!("rhythmite: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Prints to standard output. Whoever reads it may have gone (`rhythmite ... | head`), which stops nothing.
fn say(text: impl Display) {
    let mut out = io::stdout().lock();
    // Nobody is left to be told of an error.
    drop(write!(out, "{text}").and_then(|()| out.flush()));
}

/// The runtime of sockets.
fn runtime() -> Result<tokio::runtime::Runtime> {
    let built = tokio::runtime::Builder::new_multi_thread().thread_name("io").enable_all().build();
    built.map_err(|e| Error::unavailable(format!("cannot start a runtime: {e}")))
}

fn start_log(cli: &Cli) -> Result<()> {
    let filter = EnvFilter::try_new(&cli.log).map_err(|e| Error::invalid(format!("--log {}: {e}", cli.log)))?;
    let is_terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(is_terminal);
    match cli.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
