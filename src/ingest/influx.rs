//! Line protocol into the engine: one body becomes one write.
//!
//! Order of events for a body:
//!
//! 1. Under one look-up guard each line's key is compared with the series that followed the last one (senders repeat
//!    their order), else looked up as sent, else put into its canonical form and looked up again. Fields are compared
//!    with a [`Shape`](rhythmite_influx::line_protocol::Shape) of the table and appended to the columns of their set.
//! 2. Lines that need a table, series or field that is not there wait in [`pending`]; what they need is made in one go,
//!    then their rows are built. A body with very many of them does so in turns.
//! 3. Rows of one series and time that came with different sets of fields are made one ([`groups`]).
//! 4. One [`Engine::write`].
//!
//! A line that cannot be stored is refused in InfluxDB 1.x's words and does not keep the others from being written
//! ([`Outcome`]): bad syntax, a field of another type, a tag or lone field `time`, a time beyond the retention of the
//! policy, a limit of the registry. As in 1.x such a line may leave names behind (its series, never its fields).
//!
//! Limits: those of [`ParseOptions`], of the registry, and of the texts of refusals. Memory is proportional to the
//! body. Never waits for the disk; never reads a clock.

mod columns;
mod groups;
mod outcome;
mod pending;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use hashbrown::HashMap;
use rhythmite_engine::registry::{Directory, Scope, Slot};
use rhythmite_engine::{Durability, Engine};
use rhythmite_influx::line_protocol::{Field, Fields, LineParser, ParseOptions, Precision, RawKey, Row, texts};
use rhythmite_model::{Error, ErrorKind, KeyKind, Policy, Result, Rows, SeriesId};

use super::WRITE_TRIES;
use crate::counters::Counters;
use crate::offenders::brief;
use crate::seldom::Seldom;
use crate::senders::{Sender, Senders};
pub use columns::{FieldColumn, SeriesOutcome, SeriesWrite};
use groups::{Groups, Placed};
pub use outcome::{Outcome, Refusal, Refusals};
use pending::{KeyNumber, Pending, Wanted};

/// Lines read under one guard: a tenth of a millisecond or a few, so that makers of names do not wait long.
const GUARD_LINES: usize = 4_096;

/// The name of the time column, which neither a tag nor a field may have.
const TIME: &str = "time";

const SECOND_NS: i64 = 1_000_000_000;

/// The unit of a body's timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// As the client says.
    Fixed(Precision),
    /// By size, as InfluxDB 3 guesses: below 5e9 seconds, below 5e12 milliseconds, below 5e15 microseconds, else
    /// nanoseconds.
    Auto,
}

impl TimeUnit {
    fn precision(self) -> Precision {
        match self {
            TimeUnit::Fixed(precision) => precision,
            TimeUnit::Auto => Precision::Nanosecond,
        }
    }

    fn time_ns(self, row: &Row<'_>) -> i64 {
        let sent = row.timestamp_ns;
        if self != TimeUnit::Auto || !row.has_timestamp {
            return sent;
        }
        match sent.unsigned_abs() {
            0..5_000_000_000 => sent * SECOND_NS,
            5_000_000_000..5_000_000_000_000 => sent * 1_000_000,
            5_000_000_000_000..5_000_000_000_000_000 => sent * 1_000,
            _ => sent,
        }
    }
}

/// One body and where it goes.
#[derive(Clone, Debug)]
pub struct LineWrite<'a> {
    /// Line protocol, not compressed.
    pub body: &'a [u8],
    /// The policy that keeps the points.
    pub policy: &'a Policy,
    /// The unit of timestamps.
    pub unit: TimeUnit,
    /// Nanoseconds: the time of lines without one, and what retention counts from.
    pub now_ns: i64,
    /// Whether good lines are written beside refused ones; else one refused line refuses all.
    pub accept_partial: bool,
    /// When the commit resolves.
    pub durability: Durability,
    /// Who sent the lines, by places in the body, if they get no answer: then the log says what is refused, and whose.
    pub senders: Option<&'a Senders>,
}

/// Rows of a body, ready to be written, and what was refused.
#[derive(Debug)]
pub struct Prepared {
    /// By table and set of fields.
    pub rows: Vec<Rows>,
    /// Lines that are not among them.
    pub refusals: Refusals,
}

/// Writes line protocol. Cheap to clone.
#[derive(Clone)]
pub struct InfluxWriter {
    engine: Engine,
    counters: Arc<Counters>,
}

impl InfluxWriter {
    /// A writer into `engine` that nobody counts.
    pub fn new(engine: Engine) -> Self {
        Self::counted(engine, Arc::default())
    }

    /// A writer into `engine` that counts lines in `counters`.
    pub fn counted(engine: Engine, counters: Arc<Counters>) -> Self {
        Self { engine, counters }
    }

    /// Writes a body. Refused lines are no error: see [`Outcome`].
    ///
    /// # Errors
    /// `Overloaded`: nothing was written, try again later. `Unavailable`: the log has failed. `Invalid`: the body is
    /// 4 GiB or longer.
    pub fn write(&self, write: &LineWrite<'_>) -> Result<Outcome> {
        // A series that is deleted between the two steps is made again.
        let mut tries = WRITE_TRIES;
        loop {
            tries -= 1;
            match self.try_write(write) {
                Err(e) if e.kind() == ErrorKind::NotFound && tries > 0 => {}
                done => return done,
            }
        }
    }

    fn try_write(&self, write: &LineWrite<'_>) -> Result<Outcome> {
        let Prepared { rows, refusals } = self.prepare(write)?;
        let refused_whole = !write.accept_partial && !refusals.is_empty();
        let rows = if refused_whole { Vec::new() } else { rows };
        let points = rows.iter().map(Rows::len).sum();
        let values = rows.iter().map(Rows::values).sum();
        let commit = self.engine.write(rows, write.durability)?;
        let dropped = if refused_whole { refusals.parsed - refusals.too_old } else { refusals.dropped };
        self.counters.influx_points.add(points as u64);
        self.counters.influx_values.add(values as u64);
        self.counters.influx_refused_syntax.add(refusals.unparsed as u64);
        self.counters.influx_refused_rule.add(dropped as u64);
        self.counters.influx_refused_old.add(refusals.too_old as u64);
        let reasons = ["influx.refused.syntax", "influx.refused.rule", "influx.refused.old"];
        for (first, reason) in refusals.samples().into_iter().zip(reasons) {
            if let Some(first) = first {
                let sender = write.senders.map_or(Sender::Unknown, |senders| senders.at(first.offset));
                self.counters.offenders.note_from(reason, first.line.as_bytes(), sender, write.now_ns / SECOND_NS);
            }
        }
        if let Some(senders) = write.senders
            && !refusals.is_empty()
        {
            say_refused(&refusals, senders, write.now_ns);
        }
        Ok(Outcome { commit, points, values, refusals })
    }

    /// Everything that [`InfluxWriter::write`] does before the engine's write: names are made, rows are built.
    ///
    /// # Errors
    /// As [`InfluxWriter::write`].
    pub fn prepare(&self, write: &LineWrite<'_>) -> Result<Prepared> {
        if u32::try_from(write.body.len()).is_err() {
            return Err(Error::invalid("a body of 4 GiB or more cannot be written at once"));
        }
        let options = ParseOptions::new(write.unit.precision(), write.now_ns);
        let mut reader = Reader::new(write, &options, self.engine.raw_floor(write.policy.id));
        loop {
            let more = reader.read_known(&self.engine.registry().read());
            if !more || reader.pending.is_full() {
                reader.write_pending(&self.engine)?;
            }
            if !more {
                break;
            }
        }
        reader.refusals.number_lines(write.body);
        Ok(Prepared { rows: reader.groups.into_rows(), refusals: reader.refusals })
    }
}

/// Tells the log what was refused of lines that get no answer, and who sent the first of it.
#[cold]
fn say_refused(refusals: &Refusals, senders: &Senders, now_ns: i64) {
    static REFUSED: Seldom = Seldom::new();
    let first = REFUSED.at(now_ns).then(|| refusals.lines().first().copied()).flatten();
    if let Some(first) = first {
        let (sender, why, line) = (senders.at(first.offset), brief(&first.reason), brief(&first.line));
        tracing::warn!("{} lines refused, from {sender}: {why}: {line:?}", refusals.total());
    }
}

/// The oldest time that a policy takes points of: they are raw, and coarser levels are made of raw points.
fn oldest_ns(policy: &Policy, now_ns: i64) -> i64 {
    match policy.levels.first().map_or(0, |level| level.retention_ns) {
        0 => i64::MIN,
        retention_ns => now_ns.saturating_sub(retention_ns),
    }
}

/// Where a line's series is.
#[derive(Clone, Copy)]
enum Series {
    Known(SeriesId),
    /// To be made, see [`Pending::add_key`].
    New(KeyNumber),
}

struct Reader<'a, 'o> {
    write: &'o LineWrite<'a>,
    options: &'o ParseOptions,
    scope: Scope,
    oldest_ns: i64,
    lines: LineParser<'a, 'o>,
    fields: Fields<'a>,
    groups: Groups<'a>,
    pending: Pending<'a>,
    refusals: Refusals,
    /// Keys that were sent in another form than the canonical one.
    aliases: HashMap<&'a [u8], SeriesId>,
    /// The series of the line before.
    previous: Option<Slot>,
    /// Lines read so far.
    ordinal: u32,
}

impl<'a, 'o> Reader<'a, 'o> {
    fn new(write: &'o LineWrite<'a>, options: &'o ParseOptions, floor_ns: i64) -> Self {
        Self {
            write,
            options,
            scope: Scope::of(KeyKind::Tagged, write.policy.id),
            oldest_ns: oldest_ns(write.policy, write.now_ns).max(floor_ns),
            lines: LineParser::new(write.body, options),
            fields: Fields::new(),
            groups: Groups::new(write.body.len()),
            pending: Pending::default(),
            refusals: Refusals::default(),
            aliases: HashMap::new(),
            previous: None,
            ordinal: 0,
        }
    }

    /// Reads lines until the guard has been held for long, too many lines are pending, or the body ends; whether there
    /// is more.
    fn read_known(&mut self, names: &Directory) -> bool {
        for _ in 0..GUARD_LINES {
            if self.pending.is_full() {
                return true;
            }
            // A slot from an earlier guard may hold another series by now: then the guess is wrong, nothing else.
            let expected = self.previous.and_then(|slot| names.predict(self.scope, slot));
            let (guess, text) = expected.map_or((None, &b""[..]), |(slot, text)| (Some(slot), text));
            match self.lines.next_key(text) {
                None => return false,
                Some(Err(error)) => self.refusals.unparsed(self.write.body, &error),
                Some(Ok(key)) => {
                    self.ordinal += 1;
                    match guess.filter(|_| key.was_expected()) {
                        Some(slot) => {
                            self.previous = Some(slot);
                            self.read_fields(names, Series::Known(names.series_id(slot)));
                        }
                        None => self.read_line(names, key),
                    }
                }
            }
        }
        true
    }

    /// A line whose key was not the one expected.
    fn read_line(&mut self, names: &Directory, key: RawKey<'a>) {
        if let Some(slot) = self.find(names, key.bytes()) {
            if let Some(previous) = self.previous {
                names.learn(previous, slot);
            }
            self.previous = Some(slot);
            return self.read_fields(names, Series::Known(names.series_id(slot)));
        }
        if let Some(number) = self.pending.find_key(key.bytes()) {
            return self.read_fields(names, Series::New(number));
        }
        match key.parse(self.options) {
            Err(reason) => {
                let error = self.lines.refuse(reason);
                self.refusals.unparsed(self.write.body, &error);
            }
            Ok(parsed) => {
                let canonical = parsed.canonical();
                let series = match names.find_series(self.scope, canonical.as_bytes()) {
                    Some(slot) => {
                        let id = names.series_id(slot);
                        self.aliases.insert(key.bytes(), id);
                        Series::Known(id)
                    }
                    None => Series::New(self.pending.add_key(key.bytes(), parsed, canonical)),
                };
                self.read_fields(names, series);
            }
        }
    }

    fn find(&self, names: &Directory, key: &[u8]) -> Option<Slot> {
        let alias = || names.slot(*self.aliases.get(key)?);
        names.find_series(self.scope, key).or_else(alias)
    }

    #[inline]
    fn read_fields(&mut self, names: &Directory, series: Series) {
        let table = match series {
            Series::Known(id) => Some(self.groups.table(id.table())),
            Series::New(_) => None,
        };
        let shape = self.groups.shape(table);
        let row = match self.lines.read_fields(shape, &mut self.fields) {
            Ok(row) => row,
            Err(error) => return self.refusals.unparsed(self.write.body, &error),
        };
        self.refusals.parsed += 1;
        let time_ns = self.write.unit.time_ns(&row);
        if time_ns < self.oldest_ns {
            return self.refusals.too_old(self.write.body, row.line);
        }
        let wanted = Wanted { series, time_ns, ordinal: self.ordinal, line: row.line };
        match (series, table) {
            (Series::Known(id), Some(table)) => {
                if !self.groups.push_shaped(table, id, time_ns, self.ordinal, &self.fields, row.matched) {
                    self.place(names, wanted, id);
                }
            }
            _ => self.pending.push(wanted, &self.fields),
        }
    }

    /// A line of a known series with fields of no known shape, or with a field of another type.
    #[cold]
    fn place(&mut self, names: &Directory, wanted: Wanted<'a>, id: SeriesId) {
        match self.groups.place(names, id, wanted.time_ns, wanted.ordinal, &self.fields) {
            Placed::Done => {}
            Placed::Refused(why) => self.refusals.dropped(self.write.body, wanted.line, why),
            Placed::UnknownField => self.pending.push(wanted, &self.fields),
        }
    }

    /// Makes what the pending lines need and builds their rows.
    fn write_pending(&mut self, engine: &Engine) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let policy = self.write.policy.id;
        // The rows come behind the names in the log, so that their commit covers both.
        let decided = self.pending.refusals(engine.registry(), self.scope);
        let made = match self.pending.all_decided(&decided) {
            Some(made) => made,
            None => engine.create(Durability::Interval, |names| self.pending.make(names, policy, decided))?.0,
        };
        let names = engine.registry().read();
        let pending = std::mem::take(&mut self.pending);
        for ((wanted, fields), series) in pending.lines().zip(made) {
            let id = match series {
                Ok(id) => id,
                Err(why) => {
                    self.refusals.dropped(self.write.body, wanted.line, why);
                    continue;
                }
            };
            match self.groups.place(&names, id, wanted.time_ns, wanted.ordinal, fields) {
                Placed::Done => {}
                Placed::Refused(why) => self.refusals.dropped(self.write.body, wanted.line, why),
                // Somebody dropped the table between the two guards.
                Placed::UnknownField => {
                    let why = "the measurement was dropped while the point was written".to_owned();
                    self.refusals.dropped(self.write.body, wanted.line, why);
                }
            }
        }
        Ok(())
    }
}

/// Whether a field has the name of the time column; its values are left out.
fn is_time(field: &Field<'_>) -> bool {
    field.name.raw() == TIME.as_bytes()
}

/// The text for a line that a limit refuses; `Err` for what is no matter of the line.
fn limit_text(error: Error) -> Result<String> {
    match error.kind() {
        ErrorKind::Invalid | ErrorKind::Overloaded | ErrorKind::NotFound => Ok(error.message().to_owned()),
        _ => Err(error),
    }
}

/// The text for a tag with the name of the time column.
fn invalid_tag(measurement: &str) -> String {
    texts::invalid_tag_key(TIME, measurement)
}
