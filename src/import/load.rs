//! Puts prepared series and points into the engine: names first, then rows, then the journal.

use std::collections::HashMap;
use std::time::Duration;

use futures::executor::block_on;
use rhythmite_engine::{Durability, Engine};
use rhythmite_env::Clock;
use rhythmite_model::{
    Column, Error, ErrorKind, FieldId, FieldType, KeyKind, Level, PolicyId, Result, RollupRule, Rows, SeriesId,
    TableId, Tier,
};
use rhythmite_whisper::Point;

use super::journal::{Done, Journal};
use super::walk::Found;
use crate::catalog::Catalog;
use crate::ingest::paths::{FIELD, TABLE};

const SECOND_NS: i64 = 1_000_000_000;
/// Rows after which a batch is written.
const BATCH_ROWS: usize = 64 * 1024;
/// Files after which a batch is written, however few points they hold.
const BATCH_FILES: usize = 4_096;
/// Rows of one write; a file of a year of seconds has many times that.
const WRITE_ROWS: usize = 64 * 1024;
/// Pause when the engine is behind.
const BACK_PRESSURE: Duration = Duration::from_millis(20);
/// How often a wait for the engine is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// How long the engine may be behind without taking anything before the import ends.
const BEHIND_MAX: Duration = Duration::from_secs(300);

/// One file, parsed.
pub(super) struct Prepared {
    pub(super) found: Found,
    pub(super) name: String,
    /// Finest first, like `points`.
    pub(super) levels: Vec<Level>,
    pub(super) rollup: RollupRule,
    pub(super) points: Vec<Vec<Point>>,
    /// Nothing of the file was lost.
    pub(super) whole: bool,
}

impl Prepared {
    pub(super) fn rows(&self) -> usize {
        self.points.iter().map(Vec::len).sum()
    }
}

/// How to wait for an engine that is behind.
#[derive(Clone, Copy)]
pub(super) struct Wait<'a> {
    pub(super) clock: &'a dyn Clock,
    pub(super) pause: &'a dyn Fn(Duration),
}

impl Wait<'_> {
    /// Tries until it is something else than `Overloaded`; says every [`TOLD_EVERY`] that it waits.
    ///
    /// # Errors
    /// Those of `attempt`; `Unavailable` when it was `Overloaded` for [`BEHIND_MAX`].
    pub(super) fn until_taken<T>(&self, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
        let started = self.clock.monotonic();
        let mut told = Duration::ZERO;
        loop {
            let e = match attempt() {
                Err(e) if e.kind().is_no_room() => e,
                other => return other,
            };
            let waited = self.clock.monotonic().saturating_sub(started);
            if waited >= BEHIND_MAX {
                return Err(Error::unavailable(format!("nothing was taken for {} s: {e}", waited.as_secs())));
            }
            if waited >= told + TOLD_EVERY {
                told = waited;
                tracing::warn!(waited_s = waited.as_secs(), limit_s = BEHIND_MAX.as_secs(), reason = %e, "import waits");
            }
            (self.pause)(BACK_PRESSURE);
        }
    }
}

/// The numbers of a batch, or why the registry refuses (one of) its names.
type Made = Result<Vec<(SeriesId, FieldId)>, Error>;

/// Collects files and loads them batch by batch.
pub(super) struct Loader<'a> {
    engine: &'a Engine,
    catalog: &'a Catalog,
    journal: Journal,
    wait: Wait<'a>,
    policies: HashMap<Vec<Level>, PolicyId>,
    batch: Vec<Prepared>,
    rows: usize,
    /// Files that a limit of the registry refused, with the reason.
    pub(super) refused: Vec<(String, String)>,
    /// Files loaded whole.
    pub(super) files: u64,
    pub(super) series: u64,
    pub(super) points: u64,
}

impl<'a> Loader<'a> {
    pub(super) fn new(engine: &'a Engine, catalog: &'a Catalog, journal: Journal, wait: Wait<'a>) -> Self {
        let (policies, batch, refused) = (HashMap::new(), Vec::new(), Vec::new());
        Self { engine, catalog, journal, wait, policies, batch, rows: 0, refused, files: 0, series: 0, points: 0 }
    }

    /// What was imported before.
    pub(super) fn done(&self) -> Done {
        self.journal.done()
    }

    /// Takes a file; loads the batch when it is large enough.
    ///
    /// # Errors
    /// `Unavailable`: the disk, or the engine's log.
    pub(super) fn push(&mut self, file: Prepared) -> Result<()> {
        self.rows += file.rows();
        self.batch.push(file);
        if self.rows >= BATCH_ROWS || self.batch.len() >= BATCH_FILES { self.flush() } else { Ok(()) }
    }

    /// Loads what has been taken: on return its points are in the log, and its files in the journal.
    ///
    /// # Errors
    /// As [`Loader::push`].
    pub(super) fn flush(&mut self) -> Result<()> {
        let mut batch = std::mem::take(&mut self.batch);
        self.rows = 0;
        if batch.is_empty() {
            return Ok(());
        }
        let mut made = match self.create(&batch)? {
            Ok(made) => made.into_iter().map(Some).collect(),
            // One of them is at fault: each for itself.
            Err(_) => batch.iter().map(|file| self.create_one(file)).collect::<Result<Vec<_>>>()?,
        };
        let mut keep = made.iter().map(Option::is_some);
        batch.retain(|_| keep.next().unwrap_or(false));
        made.retain(Option::is_some);
        self.write(&batch, &made)?;
        // A file is noted only when its points would survive a loss of power.
        self.engine.drain()?;
        self.series += batch.len() as u64;
        self.points += batch.iter().map(Prepared::rows).sum::<usize>() as u64;
        // What was imported in part is told again next time.
        let whole = batch.iter().filter(|file| file.whole);
        self.files += whole.clone().count() as u64;
        self.journal.add(whole.map(|file| &file.found))
    }

    fn create_one(&mut self, file: &Prepared) -> Result<Option<(SeriesId, FieldId)>> {
        match self.create(std::slice::from_ref(file))? {
            Ok(made) => Ok(made.into_iter().next()),
            Err(e) => {
                self.refused.push((file.found.relative.clone(), e.to_string()));
                Ok(None)
            }
        }
    }

    /// Makes the series of a batch, all or none. A limit on names is the inner error, whatever its kind: what the log
    /// says never is, and passes.
    fn create(&mut self, batch: &[Prepared]) -> Result<Made> {
        let policies = batch.iter().map(|file| self.policy(&file.levels)).collect::<Result<Vec<_>>>();
        let policies = match policies {
            Ok(policies) => policies,
            Err(e) if refuses(&e) => return Ok(Err(e)),
            Err(e) => return Err(e),
        };
        self.wait.until_taken(|| {
            let mut refused = None;
            let made = self.engine.create(Durability::Interval, |names| {
                let make = |(file, policy): (&Prepared, &PolicyId)| {
                    let table = names.create_table(*policy, TABLE, KeyKind::Path)?;
                    let field = names.create_field(table, FIELD, FieldType::Float)?;
                    let id = names.create_series(table, &file.name, Some(file.rollup))?;
                    names.set_rollup(id, file.rollup);
                    Ok((id, field))
                };
                let made = batch.iter().zip(&policies).map(make).collect::<Result<Vec<_>>>();
                refused = made.as_ref().err().filter(|e| refuses(e)).cloned();
                made
            });
            match (made, refused) {
                (_, Some(e)) => Ok(Err(e)),
                (made, None) => made.map(|(made, _)| Ok(made)),
            }
        })
    }

    fn policy(&mut self, levels: &[Level]) -> Result<PolicyId> {
        if let Some(id) = self.policies.get(levels) {
            return Ok(*id);
        }
        let policy = block_on(self.catalog.intern_graphite_policy(levels.to_vec()))?;
        let id = policy.id;
        self.engine.put_policy(policy);
        self.policies.insert(levels.to_vec(), id);
        Ok(id)
    }

    fn write(&self, batch: &[Prepared], made: &[Option<(SeriesId, FieldId)>]) -> Result<()> {
        let mut rows: HashMap<(TableId, Tier), Rows> = HashMap::new();
        let mut waiting = 0;
        for (file, (id, field)) in batch.iter().zip(made.iter().flatten()) {
            for (level, points) in file.points.iter().enumerate() {
                let tier = Tier(u8::try_from(level).expect("a policy with more levels is refused when it is parsed"));
                for some in points.chunks(WRITE_ROWS) {
                    if waiting + some.len() > WRITE_ROWS {
                        self.submit(&mut rows)?;
                        waiting = 0;
                    }
                    let key = (id.table(), tier);
                    add(rows.entry(key).or_insert_with(|| empty(key, *field)), *id, some);
                    waiting += some.len();
                }
            }
        }
        self.submit(&mut rows)
    }

    /// Writes, and waits as long as the engine is behind.
    fn submit(&self, rows: &mut HashMap<(TableId, Tier), Rows>) -> Result<()> {
        let rows: Vec<Rows> = rows.drain().map(|(_, rows)| rows).collect();
        self.wait.until_taken(|| self.engine.write(rows.clone(), Durability::Interval).map(drop))
    }
}

/// Errors of a name that say nothing about the others.
fn refuses(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::Invalid | ErrorKind::Overloaded)
}

fn empty((table, tier): (TableId, Tier), field: FieldId) -> Rows {
    Rows { table, tier, series: Vec::new(), times_ns: Vec::new(), fields: vec![(field, Column::Float(Vec::new()))] }
}

fn add(rows: &mut Rows, id: SeriesId, points: &[Point]) {
    rows.series.resize(rows.series.len() + points.len(), id);
    rows.times_ns.extend(points.iter().map(|p| i64::from(p.0) * SECOND_NS));
    if let [(_, Column::Float(values))] = rows.fields.as_mut_slice() {
        values.extend(points.iter().map(|p| p.1));
    }
}
