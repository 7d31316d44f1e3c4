use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rhythmite_influx::influxql::{
    BinaryOp, CreateContinuousQuery, Expr, Known, Literal, Mistakes, SelectStatement, Statement, compile,
    parse_statement, time_range,
};

use super::super::context::{Context, Interrupt, Request};
use super::super::failure::{Failure, Result};
use super::super::output;
use super::rhythm::{Due, Rhythm};
use crate::catalog::ContinuousQuery;

/// Windows that one SELECT makes: what was missed in a long pause is made up for in pieces.
const PIECE_WINDOWS: i64 = 1_000;
/// Longest pause before a run that failed for the disk is tried again.
const RETRY_NS_MAX: i64 = 60_000_000_000;

/// Runs continuous queries when they are due. [`Scheduler::tick`] is to be called every second or so.
///
/// Runs are one after the other. Between two of them, and within each, it looks whether it is to stop.
pub struct Scheduler {
    context: Context,
    interrupt: Interrupt,
    /// By the number of the catalogue.
    known: BTreeMap<i64, Entry>,
}

/// What one look at the queries has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticked {
    /// Runs that covered something and ended well.
    pub runs: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Points written.
    pub points: u64,
}

struct Entry {
    /// `None`: it cannot be run, and was complained about.
    plan: Option<Plan>,
    /// Of the catalogue; `None` until the first look at it.
    run_ns: Option<i64>,
    /// A run that failed is not tried again before this.
    not_before_ns: i64,
}

#[derive(Clone)]
struct Plan {
    database: Arc<str>,
    name: Arc<str>,
    select: Arc<SelectStatement>,
    rhythm: Rhythm,
}

impl Scheduler {
    /// A scheduler that goes on from what the catalogue has recorded. `stop` ends what it does.
    ///
    /// # Errors
    /// `Unavailable` for the catalogue.
    pub fn new(context: Context, stop: Arc<AtomicBool>) -> rhythmite_model::Result<Self> {
        let runs = context.runtime.block_on(context.catalog.continuous_runs())?;
        let mut known = BTreeMap::new();
        for database in context.catalog.databases().iter() {
            for query in &database.continuous {
                let run_ns = runs.get(&query.id).copied();
                known.insert(query.id, Entry::new(&database.name, query, run_ns));
            }
        }
        Ok(Self { context, interrupt: Interrupt { cancelled: stop, deadline: None }, known })
    }

    /// Runs what is due. Failures are logged and counted.
    pub fn tick(&mut self) -> Ticked {
        let mut ticked = Ticked::default();
        self.meet();
        let ids: Vec<i64> = self.known.keys().copied().collect();
        for id in ids {
            if self.stopped() {
                break;
            }
            self.look_at(id, &mut ticked);
        }
        ticked
    }

    fn stopped(&self) -> bool {
        self.interrupt.cancelled.load(Ordering::Relaxed)
    }

    /// Learns of queries that were made and dropped.
    fn meet(&mut self) {
        let databases = self.context.catalog.databases();
        let mut there = BTreeSet::new();
        for database in databases.iter() {
            for query in &database.continuous {
                there.insert(query.id);
                self.known.entry(query.id).or_insert_with(|| Entry::new(&database.name, query, None));
            }
        }
        self.known.retain(|id, _| there.contains(id));
    }

    fn look_at(&mut self, id: i64, ticked: &mut Ticked) {
        let now_ns = self.context.clock.now_ns();
        let Some(entry) = self.known.get_mut(&id) else { return };
        let Some(plan) = entry.plan.clone() else { return };
        if now_ns < entry.not_before_ns {
            return;
        }
        let Some(due) = plan.rhythm.due(entry.run_ns, now_ns) else { return };
        let done = self.run(id, &plan, due, ticked);
        let Some(entry) = self.known.get_mut(&id) else { return };
        match done {
            Ok(()) => {
                entry.run_ns = Some(due.run_ns);
                entry.not_before_ns = 0;
            }
            Err(failure) => {
                if self.interrupt.cancelled.load(Ordering::Relaxed) {
                    return;
                }
                ticked.failed += 1;
                self.context.counters.continuous_failed.one();
                tracing::warn!("continuous query {} on {}: {failure}", plan.name, plan.database);
                if failure.is_transient() {
                    entry.not_before_ns = now_ns.saturating_add(plan.rhythm.window_ns.min(RETRY_NS_MAX));
                } else {
                    // The same would fail again; later windows shall not wait for it.
                    entry.run_ns = Some(due.run_ns);
                    self.record(id, due.run_ns);
                }
            }
        }
    }

    fn run(&self, id: i64, plan: &Plan, due: Due, ticked: &mut Ticked) -> Result<()> {
        let windows = match self.context.limits.select_buckets_max {
            0 => PIECE_WINDOWS,
            limit => i64::try_from(limit).unwrap_or(PIECE_WINDOWS).min(PIECE_WINDOWS),
        };
        let mut start_ns = due.start_ns;
        let mut points = 0;
        while start_ns < due.end_ns {
            let end_ns = plan.rhythm.piece_end(start_ns, windows, due.end_ns);
            points += self.write(plan, start_ns, end_ns)?;
            start_ns = end_ns;
            // A long way is not gone again from its beginning.
            let run_ns = end_ns.min(due.run_ns);
            if end_ns < due.end_ns && self.known.get(&id).is_some_and(|entry| entry.run_ns.is_some_and(|n| n < run_ns))
            {
                self.record(id, run_ns);
            }
        }
        self.context.runtime.block_on(self.context.catalog.set_continuous_run(id, due.run_ns))?;
        if due.start_ns < due.end_ns {
            ticked.runs += 1;
            ticked.points += points;
            self.context.counters.continuous_runs.one();
            tracing::debug!(
                "continuous query {} on {}: {points} points from {} to {}",
                plan.name,
                plan.database,
                due.start_ns,
                due.end_ns
            );
        }
        Ok(())
    }

    /// Records how far a query has come. Failing at it costs work after a restart, nothing else.
    fn record(&self, id: i64, run_ns: i64) {
        if let Err(error) = self.context.runtime.block_on(self.context.catalog.set_continuous_run(id, run_ns)) {
            tracing::warn!("the run of a continuous query could not be recorded: {error}");
        }
    }

    /// Runs a query over the times from `start_ns` to before `end_ns`; returns when its points are durable.
    fn write(&self, plan: &Plan, start_ns: i64, end_ns: i64) -> Result<u64> {
        let now_ns = self.context.clock.now_ns();
        let statement = bounded(&plan.select, now_ns, start_ns, end_ns)?;
        let request = Request {
            database: Some(plan.database.to_string()),
            interrupt: self.interrupt.clone(),
            ..Request::default()
        };
        output::write_target(&self.context, &request, &statement)
    }
}

impl Entry {
    fn new(database: &str, query: &ContinuousQuery, run_ns: Option<i64>) -> Self {
        let plan = match Plan::new(database, query) {
            Ok(plan) => plan,
            Err(failure) => {
                tracing::warn!("continuous query {} on {database} cannot be run: {failure}", query.name);
                None
            }
        };
        Self { plan, run_ns, not_before_ns: 0 }
    }
}

impl Plan {
    /// `None` for a query that never runs.
    fn new(database: &str, query: &ContinuousQuery) -> Result<Option<Self>> {
        let statement = parse_statement(&query.query).map_err(|error| Failure::new(error.to_string()))?;
        let Statement::CreateContinuousQuery(create) = statement else {
            return Err(Failure::new("it is no continuous query"));
        };
        // A raw query is kept and never run, as in 1.x.
        if never_runs(&create) {
            return Ok(None);
        }
        let compiled = compile(&create.select, 0, Mistakes::Kept)?;
        let Some(window) = compiled.window else { return Ok(None) };
        let zone = create.select.zone.as_ref().map(|zone| zone.time_zone().clone());
        let rhythm = Rhythm {
            window_ns: window.every_ns,
            offset_ns: window.offset_ns,
            every_ns: create.every_ns,
            for_ns: create.for_ns,
            zone,
        };
        Ok(Some(Self {
            database: database.into(),
            name: query.name.as_str().into(),
            select: create.select.into(),
            rhythm,
        }))
    }
}

/// Whether a query is raw, which 1.x keeps and never runs.
pub(super) fn never_runs(create: &CreateContinuousQuery) -> bool {
    create.select.is_raw()
}

/// The statement with these bounds of time instead of its own.
fn bounded(select: &SelectStatement, now_ns: i64, start_ns: i64, end_ns: i64) -> Result<SelectStatement> {
    let known = Known { now_ns: Some(now_ns), zone: select.zone.as_ref(), math: false };
    let (rest, _) = time_range(select.condition.as_ref(), &known)?;
    let bound = |op, at_ns| Expr::binary(op, Expr::var("time"), Expr::Literal(Literal::Integer(at_ns)));
    let times = Expr::binary(BinaryOp::And, bound(BinaryOp::GtEq, start_ns), bound(BinaryOp::Lt, end_ns));
    let mut statement = select.clone();
    statement.condition = Some(match rest {
        Some(rest) => Expr::binary(BinaryOp::And, Expr::Paren(Box::new(rest)), times),
        None => times,
    });
    Ok(statement)
}
