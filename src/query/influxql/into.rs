//! SELECT INTO: the rows of an answer become points of another measurement, by the way of all points: `ingest`.

use std::collections::VecDeque;
use std::time::Duration;

use rhythmite_engine::{Commit, Durability};
use rhythmite_influx::influxql::{Measurement, MeasurementName};
use rhythmite_influx::line_protocol::texts;
use rhythmite_model::Policy;

use super::column::{Col, NO_ROW};
use super::context::{Context, Request};
use super::failure::{Failure, Result};
use super::select::Rows;
use super::source;
use crate::ingest::influx::{FieldColumn, InfluxWriter, SeriesWrite};

/// Commits that are waited for at a time.
const COMMITS_MAX: usize = 1_024;
/// Pause when the engine is behind.
const BACK_PRESSURE: Duration = Duration::from_millis(20);
/// How long the engine may take nothing before the statement fails, if its own time is not up before.
const BEHIND_MAX: Duration = Duration::from_secs(60);

/// Where the rows of a statement go.
pub(super) struct Into<'a> {
    context: &'a Context,
    request: &'a Request,
    writer: InfluxWriter,
    policy: Policy,
    /// `None`: each row goes to the measurement it came from.
    name: Option<String>,
    columns: Vec<String>,
    written: u64,
    refused: u64,
    /// Why the first point was refused.
    reason: Option<String>,
    pending: VecDeque<Commit>,
}

impl<'a> Into<'a> {
    /// `columns` are those of the answer, time first.
    pub(super) fn new(
        context: &'a Context,
        request: &'a Request,
        target: &Measurement,
        columns: &[String],
    ) -> Result<Self> {
        let all = context.catalog.databases();
        let database = source::database(&all, target.database.as_deref(), request)?;
        let named = target.policy.as_deref().unwrap_or("");
        let policy =
            database.policy(named).ok_or_else(|| Failure::new(format!("retention policy not found: {named}")))?;
        let name = match &target.name {
            MeasurementName::Name(name) => Some(name.clone()),
            MeasurementName::Source => None,
            MeasurementName::Regex(_) => return Err(Failure::new("a target is one measurement")),
        };
        Ok(Self {
            context,
            request,
            writer: InfluxWriter::counted(context.engine.clone(), context.counters.clone()),
            policy: policy.policy.clone(),
            name,
            columns: columns.iter().skip(1).cloned().collect(),
            written: 0,
            refused: 0,
            reason: None,
            pending: VecDeque::new(),
        })
    }

    /// Writes the rows of a series. A row of nothing but nulls is no point; points that ingest refuses are counted.
    ///
    /// # Errors
    /// The log has failed, or the engine was behind for too long.
    pub(super) fn take(&mut self, rows: Rows) -> Result<()> {
        let measurement = self.name.clone().unwrap_or_else(|| rows.name.to_string());
        let made = rows.times_ns.len();
        let rows = merged(rows);
        // As 1.x counts: rows, though of those with one time one is left.
        let twice = (made - rows.times_ns.len()) as u64;
        let columns: Vec<FieldColumn<'_>> = self
            .columns
            .iter()
            .zip(&rows.columns)
            .enumerate()
            // Of two columns with one name the later one is kept.
            .filter(|(at, (name, _))| !self.columns[at + 1..].contains(name))
            .map(|(_, (name, col))| FieldColumn { name, values: col.values(), valid: col.valid() })
            .collect();
        let write = SeriesWrite {
            policy: &self.policy,
            measurement: &measurement,
            tags: &rows.tags,
            times_ns: &rows.times_ns,
            columns: &columns,
            now_ns: self.context.clock.now_ns(),
            durability: Durability::Sync,
        };
        let outcome = self.until_taken(|| self.writer.write_series(&write))?;
        self.written += outcome.points + twice;
        self.refused += outcome.refused;
        self.reason = self.reason.take().or(outcome.reason);
        self.pending.push_back(outcome.commit);
        if self.pending.len() > COMMITS_MAX
            && let Some(oldest) = self.pending.pop_front()
        {
            oldest.wait()?;
        }
        Ok(())
    }

    /// Tries until the engine takes it.
    fn until_taken<T>(&self, mut attempt: impl FnMut() -> rhythmite_model::Result<T>) -> Result<T> {
        let clock = &*self.context.clock;
        let started = clock.monotonic();
        loop {
            match attempt() {
                Err(error) if error.kind().is_no_room() => {
                    if let Some(reason) = self.request.interrupt.reason(clock) {
                        return Err(Failure::new(reason));
                    }
                    if clock.monotonic().saturating_sub(started) >= BEHIND_MAX {
                        return Err(error.into());
                    }
                    std::thread::sleep(BACK_PRESSURE);
                }
                other => return Ok(other?),
            }
        }
    }

    /// Waits until everything is on disk; the number of points written.
    ///
    /// # Errors
    /// `partial write: ...` if points were refused; the others are written.
    pub(super) fn finish(self) -> Result<u64> {
        self.pending.into_iter().try_for_each(Commit::wait)?;
        match self.reason {
            Some(reason) => {
                let refused = usize::try_from(self.refused).unwrap_or(usize::MAX);
                Err(Failure::new(texts::partial_write(reason, refused)))
            }
            None => Ok(self.written),
        }
    }
}

/// Rows with the same time made one, with the last value of each field: among them there would be no order.
fn merged(rows: Rows) -> Rows {
    if !rows.times_ns.windows(2).any(|pair| pair[0] == pair[1]) {
        return rows;
    }
    let mut times_ns: Vec<i64> = Vec::new();
    let mut picks: Vec<Vec<u32>> = vec![Vec::new(); rows.columns.len()];
    for (row, time) in (0_u32..).zip(&rows.times_ns) {
        let same = times_ns.last() == Some(time);
        if !same {
            times_ns.push(*time);
        }
        for (picks, col) in picks.iter_mut().zip(&rows.columns) {
            let here = if col.is_valid(row as usize) { row } else { NO_ROW };
            match picks.last_mut().filter(|_| same) {
                Some(pick) if here != NO_ROW => *pick = here,
                Some(_) => {}
                None => picks.push(here),
            }
        }
    }
    let columns: Vec<Col> = rows.columns.iter().zip(&picks).map(|(col, picks)| col.gather(picks)).collect();
    Rows { times_ns, columns, ..rows }
}
