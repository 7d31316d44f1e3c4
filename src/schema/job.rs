//! The job: step after step on a thread of its own, slowly, until every series lies where it belongs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rhythmite_engine::{Durability, Engine, SeriesFilter};
use rhythmite_env::Env;
use rhythmite_model::{Error, ErrorKind, FieldType, KeyKind, PolicyId, Result, RollupRule, SeriesId, TableId, Tier};
use serde::{Deserialize, Serialize};

use super::plan::{self, Found, Need, Plan};
use super::step::{Move, Outcome, Side, Step};
use crate::ingest::PathIngest;
use crate::ingest::paths::{FIELD, TABLE};

/// Points that a step moves, about, if it moves more than one series: 16 bytes each, some times over.
pub const STEP_POINTS: u64 = 1_000_000;
/// Series that a step moves.
const STEP_SERIES: usize = 4_096;
/// Rounds over all series: writers may have put points into old series while the first ran.
const ROUNDS_MAX: usize = 5;
/// Between two steps the job rests this many times as long as the step took,
const REST: u32 = 3;
/// but not longer than this.
const REST_MAX: Duration = Duration::from_secs(10);
/// Before a step is tried again for which there was no room.
const ROOM: Duration = Duration::from_secs(5);
/// How often its end is looked for.
const END_POLL: Duration = Duration::from_millis(50);
/// Bytes of the file that says that a job runs.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What the job is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// None has run since the start.
    #[default]
    Idle,
    /// It runs.
    Running,
    /// It has ended, and nothing is left to do but what `waiting_series` says.
    Done,
    /// It was stopped; what it has moved stays moved.
    Cancelled,
    /// It has ended with an error.
    Failed,
}

/// How far it is. Counts are of the job that runs or ran last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Status {
    /// What it is doing.
    pub phase: Phase,
    /// Series that lay in another policy when it began.
    pub series: u64,
    /// Those that have moved.
    pub series_moved: u64,
    /// Series that got another method or xFilesFactor.
    pub rules_changed: u64,
    /// Points written for the moved series.
    pub points_written: u64,
    /// Bytes of files with them.
    pub bytes_written: u64,
    /// Series that could not move yet, see `waits_until_s`.
    pub waiting_series: u64,
    /// Seconds since the epoch at which the job should be run again for these.
    pub waits_until_s: Option<i64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Whether a job was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It was.
    Yes,
    /// One runs already.
    RunsAlready,
}

/// What the file says: series that move now, and the boundaries they get.
#[derive(Default, Serialize, Deserialize)]
struct Journal {
    boundaries: Vec<(u64, i64)>,
}

#[derive(Default)]
struct Stop {
    asked: AtomicBool,
    /// Not to go on after a restart.
    for_good: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Job {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    paths: Arc<PathIngest>,
    env: Env,
    file: PathBuf,
    status: Mutex<Status>,
    stop: Stop,
    /// Never reset: for the figures.
    moved: AtomicU64,
    points: AtomicU64,
    unhurried: bool,
}

impl Job {
    /// For the series of `paths`, kept in `engine`; the file that says that a job runs is in `data_dir`.
    pub fn new(engine: &Engine, paths: &Arc<PathIngest>, env: &Env, data_dir: &std::path::Path) -> Self {
        Self::with(engine, paths, env, data_dir, true)
    }

    /// One that does not rest: nobody else works.
    pub fn alone(engine: &Engine, paths: &Arc<PathIngest>, env: &Env, data_dir: &std::path::Path) -> Self {
        Self::with(engine, paths, env, data_dir, false)
    }

    fn with(engine: &Engine, paths: &Arc<PathIngest>, env: &Env, dir: &std::path::Path, unhurried: bool) -> Self {
        let inner = Inner {
            engine: engine.clone(),
            paths: paths.clone(),
            env: env.clone(),
            file: dir.join("schema-apply.json"),
            status: Mutex::default(),
            stop: Stop::default(),
            moved: AtomicU64::new(0),
            points: AtomicU64::new(0),
            unhurried,
        };
        Self { inner: Arc::new(inner) }
    }

    /// How far it is.
    pub fn status(&self) -> Status {
        self.inner.status.lock().clone()
    }

    /// Series moved and points written since the start.
    pub fn totals(&self) -> (u64, u64) {
        (self.inner.moved.load(Ordering::Relaxed), self.inner.points.load(Ordering::Relaxed))
    }

    /// What it would do. CPU-bound, reads indexes.
    ///
    /// # Errors
    /// As [`plan::plan`].
    pub fn plan(&self) -> Result<Plan> {
        plan::plan(&self.inner.engine, &self.inner.paths, self.inner.env.clock.now_ns())
    }

    /// Whether a job was running when the server ended.
    ///
    /// # Errors
    /// `Unavailable` for the disk.
    pub fn was_interrupted(&self) -> Result<bool> {
        Ok(self.inner.journal()?.is_some())
    }

    /// Begins to move, on a thread of its own.
    ///
    /// # Errors
    /// `Unavailable` for the disk, or when no thread can be started.
    pub fn begin(&self) -> Result<Begun> {
        if !self.claim()? {
            return Ok(Begun::RunsAlready);
        }
        let job = self.clone();
        let thread = std::thread::Builder::new().name("rhythmite-schema".to_owned());
        thread.spawn(move || job.work_to_end()).map_err(|e| {
            self.end(Err(Error::unavailable(e.to_string())));
            Error::unavailable(format!("cannot start a thread: {e}"))
        })?;
        Ok(Begun::Yes)
    }

    /// Moves everything before it returns.
    ///
    /// # Errors
    /// What made it fail.
    pub fn run(&self) -> Result<Status> {
        if self.claim()? {
            self.work_to_end();
        }
        let status = self.status();
        match status.error.clone() {
            Some(error) => Err(Error::unavailable(error)),
            None => Ok(status),
        }
    }

    /// Makes it stop behind the step that runs; says whether one ran. It is not begun again by a restart.
    pub fn cancel(&self) -> bool {
        let runs = self.inner.status.lock().phase == Phase::Running;
        self.inner.stop.for_good.store(true, Ordering::Release);
        self.halt();
        runs
    }

    /// The server ends: the job goes on with the next start.
    pub fn halt(&self) {
        let stop = &self.inner.stop;
        let _guard = stop.lock.lock();
        stop.asked.store(true, Ordering::Release);
        stop.wake.notify_all();
    }

    /// Waits until it does not run any more, for so long at most; whether it does not.
    pub fn finish(self, at_most: Duration) -> bool {
        let inner = &self.inner;
        let until = inner.env.clock.monotonic().saturating_add(at_most);
        loop {
            let mut guard = inner.stop.lock.lock();
            if inner.status.lock().phase != Phase::Running {
                return true;
            }
            let left = until.saturating_sub(inner.env.clock.monotonic());
            if left.is_zero() {
                return false;
            }
            inner.stop.wake.wait_for(&mut guard, left.min(END_POLL));
        }
    }

    fn claim(&self) -> Result<bool> {
        {
            let mut status = self.inner.status.lock();
            if status.phase == Phase::Running {
                return Ok(false);
            }
            *status = Status { phase: Phase::Running, ..Status::default() };
        }
        self.inner.stop.asked.store(false, Ordering::Release);
        self.inner.stop.for_good.store(false, Ordering::Release);
        let claimed = match self.inner.journal() {
            // What an interrupted step has left comes first.
            Ok(Some(_)) => Ok(true),
            Ok(None) => self.inner.write_journal(&Journal::default()).map(|()| true),
            Err(e) => Err(e),
        };
        if let Err(e) = &claimed {
            self.end(Err(e.clone()));
        }
        claimed
    }

    fn work_to_end(&self) {
        // A panic is our bug; the server goes on, and says so.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.inner.work()));
        self.end(done.unwrap_or_else(|_| Err(Error::internal("it panicked"))));
    }

    fn end(&self, done: Result<bool>) {
        let mut status = self.inner.status.lock();
        match done {
            Ok(true) => status.phase = Phase::Done,
            Ok(false) => status.phase = Phase::Cancelled,
            Err(e) => {
                tracing::error!("storage schemas could not be applied to all series: {e}");
                status.phase = Phase::Failed;
                status.error = Some(e.message().to_owned());
            }
        }
        tracing::info!(moved = status.series_moved, phase = ?status.phase, "applying storage schemas has ended");
    }
}

/// Series that move together: from one table to one policy.
type Lane = (TableId, PolicyId);

impl Inner {
    /// Whether it came to the end; false if it was stopped.
    fn work(&self) -> Result<bool> {
        if let Some(journal) = self.journal()? {
            self.settle(journal)?;
        }
        let rules = self.paths.rules();
        for round in 0..ROUNDS_MAX {
            let mut lanes: BTreeMap<Lane, Vec<(SeriesId, String, RollupRule)>> = BTreeMap::new();
            let mut changed: Vec<(SeriesId, RollupRule)> = Vec::new();
            plan::each_series(&self.engine, &rules, &mut |found| {
                for Found { id, path, rule, need } in found {
                    match need {
                        Need::Nothing => {}
                        Need::Rule => changed.push((id, rule.rollup)),
                        Need::Move => {
                            lanes.entry((id.table(), rule.policy)).or_default().push((id, path, rule.rollup));
                        }
                    }
                }
                Ok(())
            })?;
            let found: u64 = lanes.values().map(|list| list.len() as u64).sum();
            {
                let mut status = self.status.lock();
                (status.waiting_series, status.waits_until_s) = (0, None);
                if round == 0 {
                    status.series = found;
                }
            }
            self.change_rules(&changed)?;
            let mut moved = 0;
            for ((from, to), list) in lanes {
                let mut left = list.as_slice();
                while !left.is_empty() {
                    if self.is_stopped() {
                        return self.stopped();
                    }
                    let begun = self.env.clock.monotonic();
                    let count = self.fitting(from, left)?;
                    let (now, later) = left.split_at(count);
                    match self.step(from, to, now) {
                        Ok(n) => moved += n,
                        Err(e) if e.kind() == ErrorKind::Overloaded => {
                            tracing::info!("applying storage schemas waits: {e}");
                            self.rest(ROOM);
                            continue;
                        }
                        Err(e) => return Err(e),
                    }
                    left = later;
                    let took = self.env.clock.monotonic().saturating_sub(begun);
                    if self.unhurried && !left.is_empty() {
                        self.rest(took.saturating_mul(REST).min(REST_MAX));
                    }
                }
            }
            if moved == 0 {
                break;
            }
        }
        self.forget()?;
        Ok(true)
    }

    /// A cancelled job is not begun again by a restart.
    fn stopped(&self) -> Result<bool> {
        if self.stop.for_good.load(Ordering::Acquire) {
            self.forget()?;
        }
        Ok(false)
    }

    fn is_stopped(&self) -> bool {
        self.stop.asked.load(Ordering::Acquire)
    }

    fn rest(&self, how_long: Duration) {
        let mut guard = self.stop.lock.lock();
        if !self.is_stopped() {
            self.stop.wake.wait_for(&mut guard, how_long);
        }
    }

    /// How many of the first series a step takes.
    fn fitting(&self, table: TableId, list: &[(SeriesId, String, RollupRule)]) -> Result<usize> {
        let snapshot = self.engine.snapshot();
        let mut count = list.len().min(STEP_SERIES);
        while count > 1 {
            let ids: Vec<SeriesId> = list[..count].iter().map(|(id, ..)| *id).collect();
            let series = SeriesFilter::List(ids.into());
            let weights = snapshot.weigh(table, Tier::RAW, &series, None, &(i64::MIN..=i64::MAX), STEP_POINTS / 2);
            let points: u64 = match weights {
                Ok(weights) => weights.iter().map(|weight| weight.values).sum(),
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(list.len()),
                Err(e) => return Err(e),
            };
            if points <= STEP_POINTS {
                break;
            }
            count = (count / 2).max(1);
        }
        Ok(count)
    }

    /// Moves some series of a table to a policy; says how many.
    fn step(&self, from: TableId, to: PolicyId, list: &[(SeriesId, String, RollupRule)]) -> Result<u64> {
        let (moves, commit) = self.engine.create(Durability::Sync, |names| {
            let table = names.create_table(to, TABLE, KeyKind::Path)?;
            names.create_field(table, FIELD, FieldType::Float)?;
            let mut moves = Vec::with_capacity(list.len());
            for (id, path, rule) in list {
                // One that was dropped a moment ago must not come back.
                if names.slot(*id).is_none() {
                    continue;
                }
                let to = names.create_series(table, path, Some(*rule))?;
                let imported_until_s =
                    names.slot(to).and_then(|slot| names.rollup(slot)).map_or(0, |r| r.imported_until_s);
                let rule = RollupRule { imported_until_s, ..*rule };
                names.set_rollup(to, rule);
                moves.push(Move { from: *id, to, rule });
            }
            Ok((table, moves))
        })?;
        commit.wait()?;
        let (table, moves) = moves;
        let Some(to) = Side::of(&self.engine, table) else { return Ok(0) };
        // A table without a value field has no points, and is as good as moved.
        let from = Side::of(&self.engine, from);
        let now_ns = self.env.clock.now_ns();
        let mut outcome = Outcome::default();
        let all = moves.clone();
        let done = self.engine.transfer(|snapshot| {
            let Some(from) = from else {
                let series = all.iter().map(|moving| moving.from).collect();
                return Ok(rhythmite_engine::Remade { moved: Vec::new(), series });
            };
            let step = Step { engine: self.engine.clone(), from, to, moves, now_ns };
            let mut made = step.remake(snapshot)?;
            let remade = std::mem::take(&mut made.remade);
            let boundaries = made.boundaries.iter().map(|(id, s)| (id.0, *s)).collect();
            self.write_journal(&Journal { boundaries })?;
            outcome = made;
            outcome.remade.series.clone_from(&remade.series);
            Ok(remade)
        })?;
        let boundaries = outcome.boundaries.iter().map(|(id, s)| (id.0, *s)).collect();
        self.settle(Journal { boundaries })?;
        let moved = outcome.remade.series.len() as u64;
        let mut status = self.status.lock();
        status.series_moved += moved;
        status.points_written += done.points;
        status.bytes_written += done.bytes;
        status.waiting_series += all.len() as u64 - moved;
        status.waits_until_s = status.waits_until_s.max(outcome.waits_until_s);
        self.moved.fetch_add(moved, Ordering::Relaxed);
        self.points.fetch_add(done.points, Ordering::Relaxed);
        Ok(moved)
    }

    /// Gives series the boundaries between stored and computed windows.
    fn settle(&self, journal: Journal) -> Result<()> {
        if journal.boundaries.is_empty() {
            return Ok(());
        }
        let ((), commit) = self.engine.change(Durability::Sync, |names| {
            for (id, until_s) in &journal.boundaries {
                let id = SeriesId(*id);
                let rule = names.slot(id).and_then(|slot| names.rollup(slot));
                if let Some(rule) = rule.filter(|rule| rule.imported_until_s < *until_s) {
                    names.set_rollup(id, RollupRule { imported_until_s: *until_s, ..rule });
                }
            }
            Ok(())
        })?;
        commit.wait()?;
        self.write_journal(&Journal::default())
    }

    /// Series that lie where they belong get what their rule says now.
    fn change_rules(&self, changed: &[(SeriesId, RollupRule)]) -> Result<()> {
        for chunk in changed.chunks(STEP_SERIES) {
            let (count, commit) = self.engine.change(Durability::Sync, |names| {
                let mut count = 0;
                for (id, rule) in chunk {
                    let Some(slot) = names.slot(*id) else { continue };
                    let old = names.rollup(slot);
                    let imported_until_s = old.map_or(0, |old| old.imported_until_s);
                    let rule = RollupRule { imported_until_s, ..*rule };
                    if old != Some(rule) {
                        names.set_rollup(*id, rule);
                        count += 1;
                    }
                }
                Ok(count)
            })?;
            commit.wait()?;
            self.status.lock().rules_changed += count;
        }
        Ok(())
    }

    /// What the file says; `None` without one.
    fn journal(&self) -> Result<Option<Journal>> {
        let place = |e: &dyn std::fmt::Display| Error::unavailable(format!("{}: {e}", self.file.display()));
        match self.env.fs.read(&self.file, FILE_BYTES_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| place(&e)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(place(&e)),
        }
    }

    fn write_journal(&self, journal: &Journal) -> Result<()> {
        let bytes = serde_json::to_vec(journal).map_err(|e| Error::internal(e.to_string()))?;
        self.env.fs.write_durably(&self.file, &bytes)?;
        Ok(())
    }

    fn forget(&self) -> Result<()> {
        match self.env.fs.remove(&self.file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }
}
