//! `rhythmite import influx FILE...`: line protocol, as `influx_inspect export` of InfluxDB 1.x writes it.
//!
//! ```text
//! # DDL
//! CREATE DATABASE db WITH NAME autogen
//! # DML
//! # CONTEXT-DATABASE:db
//! # CONTEXT-RETENTION-POLICY:autogen
//! cpu,host=a usage=1 1700000000000000000
//! ```
//!
//! [`input`] opens a file (plain, gzip, Zstandard, or standard input), [`lines`] cuts its text into statements, contexts
//! and bodies of line protocol, the writer of `/write` takes the bodies. A database or policy that a context names and
//! nobody has made is made, and keeps for ever.
//!
//! How far a file has been read is noted in the data directory whenever the log has everything before ([`state`]): an
//! import that was interrupted goes on there. What is written twice is there once: points with the same series and time
//! replace each other.
//!
//! Limits: a line of 8 MiB; memory is one buffer. A line that is refused costs that line, and is told with its number.

mod input;
mod lines;
mod state;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use rhythmite_engine::Durability;
use rhythmite_env::Env;
use rhythmite_influx::answer::{Cell, Message, SeriesHead};
use rhythmite_influx::influxql::{Params, Statement, parse_query};
use rhythmite_influx::line_protocol::{ParseOptions, Precision, for_each_point};
use rhythmite_model::{Error, Policy, Result};

use super::Progress;
use super::load::Wait;
use crate::catalog::NewPolicy;
use crate::ingest::influx::{InfluxWriter, LineWrite, TimeUnit};
use crate::query::influxql::{self, Request, ResultSink};
use input::Input;
use lines::{Lines, Piece};
use state::{Position, State};

/// Problems that are kept word for word; more are only counted.
const PROBLEMS_MAX: usize = 1_000;
/// Bytes of a file between two notes of how far it has been read.
const NOTE_BYTES: u64 = 256 << 20;

/// What is read, and as what.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Files; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// The database of lines before any context; without it they are refused.
    pub database: Option<String>,
    /// The policy of lines before any context; the default one without it.
    pub policy: Option<String>,
    /// The unit of timestamps.
    pub precision: Precision,
}

/// What became of the files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Read to the end.
    pub files: u64,
    /// Read before, and not changed since.
    pub skipped: u64,
    /// Points written.
    pub points: u64,
    /// Their values.
    pub values: u64,
    /// Lines and statements that were refused.
    pub refused: u64,
    /// Bytes of text read.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
    /// The first refusals: `file:line: reason`.
    pub problems: Vec<String>,
}

impl Summary {
    /// 0, or 2 when something was refused.
    pub fn exit_code(&self) -> u8 {
        if self.refused == 0 { 0 } else { 2 }
    }

    fn refuse(&mut self, count: u64, problem: impl FnOnce() -> String) {
        self.refused += count;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem());
        }
    }
}

/// One line of figures.
impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { files, skipped, points, values, refused, bytes, took, .. } = self;
        let seconds = took.as_secs_f64();
        write!(
            f,
            "{files} files imported, {skipped} skipped (imported before); {points} points, {values} values, {refused} \
             lines refused, {bytes} bytes in {seconds:.1} s"
        )
    }
}

/// Reads the files without writing anything.
///
/// # Errors
/// `NotFound` or `Unavailable` for a file.
pub fn dry_run(env: &Env, options: &Options, progress: &mut Progress) -> Result<Summary> {
    let mut summary = Summary::default();
    let started = env.clock.monotonic();
    progress.start(options.files.len() as u64, input::total_bytes(&options.files));
    for path in &options.files {
        let mut lines = Lines::new(Input::open(path)?);
        let parsing = ParseOptions::new(options.precision, env.clock.now_ns());
        while let Some(piece) = lines.next()? {
            let line = piece.line;
            match piece.kind {
                Piece::Body(body) => for_each_point(body, &parsing, |point| match point {
                    Ok(point) => {
                        summary.points += 1;
                        summary.values += point.fields.len() as u64;
                    }
                    Err(error) => summary.refuse(1, || {
                        let number = line + error.line_number as u64 - 1;
                        format!("{}:{number}: {}", path.display(), error.reason)
                    }),
                }),
                Piece::Statement(text) => {
                    if let Err(reason) = ddl(text) {
                        summary.refuse(1, || format!("{}:{line}: {reason}", path.display()));
                    }
                }
                Piece::Database(_) | Piece::Policy(_) => {}
            }
            progress.read(&*env.clock, lines.take_raw_bytes());
        }
        summary.bytes += lines.offset();
        summary.files += 1;
    }
    progress.finish();
    summary.took = env.clock.monotonic().saturating_sub(started);
    Ok(summary)
}

/// Imports files into the engine of `context`, whose background threads run and which the caller flushes and closes.
///
/// Blocks: call it outside of any runtime.
///
/// # Errors
/// `NotFound` or `Unavailable` for a file, the disk or the log. What was imported before stays, and is not read again.
pub fn import(
    env: &Env,
    data_dir: &std::path::Path,
    context: &influxql::Context,
    options: &Options,
    progress: &mut Progress,
) -> Result<Summary> {
    let started = env.clock.monotonic();
    progress.start(options.files.len() as u64, input::total_bytes(&options.files));
    let wait = Wait { clock: &*env.clock, pause: &std::thread::sleep };
    let writer = InfluxWriter::counted(context.engine.clone(), context.counters.clone());
    let mut import =
        Import { env, context, options, wait, writer, target: None, summary: Summary::default(), progress };
    for path in &options.files {
        import.file(data_dir, path)?;
    }
    let mut summary = import.summary;
    progress.finish();
    summary.took = env.clock.monotonic().saturating_sub(started);
    Ok(summary)
}

struct Import<'a> {
    env: &'a Env,
    context: &'a influxql::Context,
    options: &'a Options,
    wait: Wait<'a>,
    writer: InfluxWriter,
    /// The policy that lines go to, once it is known to exist.
    target: Option<Policy>,
    summary: Summary,
    progress: &'a mut Progress,
}

impl Import<'_> {
    fn file(&mut self, data_dir: &std::path::Path, path: &std::path::Path) -> Result<()> {
        let input = Input::open(path)?;
        let mut state = State::open(self.env, data_dir, &input)?;
        let mut at = state.position().cloned().unwrap_or_else(|| Position {
            database: self.options.database.clone().unwrap_or_default(),
            policy: self.options.policy.clone().unwrap_or_default(),
            ..Position::default()
        });
        if at.whole {
            self.summary.skipped += 1;
            self.progress.read(&*self.env.clock, input.bytes());
            return Ok(());
        }
        let mut lines = Lines::resume(input, at.offset, at.line, at.in_ddl)?;
        let skipped = lines.offset();
        self.target = None;
        let mut noted = lines.offset();
        while let Some(piece) = lines.next()? {
            let line = piece.line;
            match piece.kind {
                Piece::Database(name) => {
                    (at.database, at.policy) = (name.to_owned(), String::new());
                    self.target = None;
                }
                Piece::Policy(name) => {
                    name.clone_into(&mut at.policy);
                    self.target = None;
                }
                Piece::Statement(text) => {
                    if let Err(reason) = self.statement(text) {
                        self.summary.refuse(1, || format!("{}:{line}: {reason}", path.display()));
                    }
                    self.target = None;
                }
                Piece::Body(body) => self.body(path, line, body, &at)?,
            }
            let raw = lines.take_raw_bytes();
            self.progress.read(&*self.env.clock, raw);
            if lines.offset() - noted >= NOTE_BYTES {
                noted = lines.offset();
                at = Position { offset: noted, line: lines.line(), in_ddl: lines.in_ddl(), ..at };
                self.context.engine.drain()?;
                state.note(&at)?;
            }
        }
        self.context.engine.drain()?;
        at = Position { offset: lines.offset(), line: lines.line(), whole: true, ..at };
        state.note(&at)?;
        self.summary.bytes += lines.offset() - skipped;
        self.summary.files += 1;
        Ok(())
    }

    fn body(&mut self, path: &std::path::Path, line: u64, body: &[u8], at: &Position) -> Result<()> {
        if self.target.is_none() {
            if at.database.is_empty() {
                let problem = || format!("{}:{line}: no database is named before these lines", path.display());
                self.summary.refuse(memchr::memchr_iter(b'\n', body).count() as u64, problem);
                return Ok(());
            }
            self.target = Some(self.policy(&at.database, &at.policy)?);
        }
        let Some(policy) = &self.target else { return Ok(()) };
        let write = LineWrite {
            body,
            policy,
            unit: TimeUnit::Fixed(self.options.precision),
            now_ns: self.env.clock.now_ns(),
            accept_partial: true,
            durability: Durability::Interval,
            senders: None,
        };
        let outcome = self.wait.until_taken(|| self.writer.write(&write))?;
        self.summary.points += outcome.points as u64;
        self.summary.values += outcome.values as u64;
        let refused = outcome.refusals.total() as u64;
        for refusal in outcome.refusals.lines() {
            let number = line + refusal.line_number as u64 - 1;
            self.summary.refuse(0, || format!("{}:{number}: {}", path.display(), refusal.reason));
        }
        self.summary.refused += refused;
        Ok(())
    }

    /// The policy of a context, made if need be.
    fn policy(&self, database: &str, policy: &str) -> Result<Policy> {
        let (catalog, runtime) = (&self.context.catalog, &self.context.runtime);
        let forever = |name: &str| NewPolicy::raw(if name.is_empty() { "autogen" } else { name }, 0);
        if catalog.databases().get(database).is_none() {
            let first = NewPolicy { default: true, ..forever(policy) };
            runtime.block_on(catalog.create_database(database, first))?;
        }
        let all = catalog.databases();
        if let Some(found) = all.get(database).and_then(|found| found.policy(policy)) {
            return Ok(found.policy.clone());
        }
        runtime.block_on(catalog.create_policy(database, forever(policy)))
    }

    fn statement(&self, text: &str) -> Result<(), String> {
        let query = influx_query(text)?;
        let mut failed = Failed(None);
        influxql::execute(self.context, &Request::default(), &query, &mut failed);
        failed.0.map_or(Ok(()), Err)
    }
}

/// A statement of the first section.
fn ddl(text: &str) -> Result<(), String> {
    influx_query(text).map(drop)
}

fn influx_query(text: &str) -> Result<rhythmite_influx::influxql::Query, String> {
    let query = parse_query(text, &Params::default()).map_err(|error| error.to_string())?;
    let allowed =
        |statement: &Statement| matches!(statement, Statement::CreateDatabase(_) | Statement::CreateRetentionPolicy(_));
    match query.statements.iter().find(|statement| !allowed(statement)) {
        Some(other) => Err(format!("only databases and retention policies can be made here, not: {other}")),
        None => Ok(query),
    }
}

/// Keeps the first error of statements.
struct Failed(Option<String>);

impl ResultSink for Failed {
    fn begin_statement(&mut self, _: u32, _: bool) {}
    fn begin_series(&mut self, _: &SeriesHead<'_>) {}
    fn row(&mut self, _: &[Cell<'_>]) {}
    fn end_series(&mut self, _: bool) {}
    fn message(&mut self, _: Message) {}
    fn error(&mut self, text: &str) {
        self.0.get_or_insert_with(|| text.to_owned());
    }
    fn end_statement(&mut self) {}
}

/// An import's error says which file.
fn at(path: &std::path::Path, error: std::io::Error) -> Error {
    let message = format!("{}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(message),
        std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => Error::corrupt(message),
        _ => Error::unavailable(message),
    }
}
