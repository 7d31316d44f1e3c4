//! SQL: DataFusion over the engine's tables, read-only, within bounds.
//!
//! In the order of events: [`Sql::query`] waits for one of the places for running queries; on the query threads the
//! text is parsed, checked (`read_only.rs`), planned over the databases of the catalogue (`catalog.rs`) with our
//! functions (`functions.rs`), and run; each batch goes through the caller's [`Encode`] on the same threads and to the
//! caller through a short queue. Who drops the [`Answer`] stops the query; so does its deadline, which is watched on the
//! caller's runtime, and on the query threads too: a caller that does not read must not keep a place.
//!
//! Limits ([`SqlOptions`]): queries at a time and in line, time, memory per query and of all together (`memory.rs`),
//! bytes spilled to disk, length and nesting of a statement (`nesting.rs`), pairs compared by a join without an equality (`joins.rs`). Each hit is an error that names
//! the limit, and a count in [`SqlStats`].
//!
//! A database is a catalog, a retention policy a schema, a measurement a table. Nothing here writes anything but spill
//! files below [`SqlOptions::spill_dir`].

mod catalog;
mod error;
mod functions;
mod joins;
mod memory;
mod nesting;
mod planner;
mod read_only;
mod session;
mod shapes;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::{Stream, StreamExt};
use rhythmite_engine::Engine;
use rhythmite_env::Env;
use rhythmite_model::{Error, ErrorKind, Result};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use error::SqlError;
pub use functions::GRAPHITE_GLOB;
pub use session::Param;

use crate::catalog::Catalog;
use session::Sessions;

/// Stack of a query thread, in bytes: plans and expressions are trees that are walked and dropped by recursion, as deep
/// as [`session`] lets a statement be.
const STACK_BYTES: usize = 32 << 20;

/// Encoded pieces that wait for a slow reader; then the query waits.
const QUEUE: usize = 4;

/// Limits on queries. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct SqlOptions {
    /// Threads that queries run on.
    pub threads: usize,
    /// Memory of one query.
    pub query_memory: usize,
    /// Memory of all queries together.
    pub memory: usize,
    /// Where sorts and aggregates put what does not fit; emptied at start.
    pub spill_dir: PathBuf,
    /// Bytes in it.
    pub spill_bytes_max: u64,
    /// From the request to the last row.
    pub timeout: Duration,
    /// Queries that run at a time.
    pub running_max: usize,
    /// Queries that wait for one to end; more are turned away.
    pub waiting_max: usize,
    /// Whether plans of our own are made where they are known to be faster. Off to compare answers.
    pub own_plans: bool,
}

impl SqlOptions {
    /// The defaults, with spill files below `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            threads,
            query_memory: 512 << 20,
            memory: 1 << 30,
            spill_dir: data_dir.into().join("tmp").join("sql"),
            spill_bytes_max: 10 << 30,
            timeout: Duration::from_secs(300),
            running_max: threads * 4,
            waiting_max: 64,
            own_plans: true,
        }
    }
}

/// Counters since start, and what goes on now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SqlStats {
    /// Queries accepted.
    pub queries: u64,
    /// Queries that ended with an error.
    pub failed: u64,
    /// Queries turned away because too many were waiting.
    pub refused: u64,
    /// Queries stopped at their deadline.
    pub timeouts: u64,
    /// Queries that hit a memory limit.
    pub out_of_memory: u64,
    /// Queries running.
    pub running: u64,
    /// Bytes reserved by them.
    pub memory: u64,
    /// Bytes in spill files.
    pub spilled: u64,
    /// Shapes of statements whose plan is kept.
    pub plans: u64,
    /// Queries that used one.
    pub plans_reused: u64,
}

#[derive(Default)]
struct Counters {
    queries: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
    timeouts: AtomicU64,
    out_of_memory: AtomicU64,
    waiting: AtomicUsize,
}

/// Which databases the one who asks may read.
#[derive(Clone, Debug, Default)]
pub enum Visible {
    /// All of them.
    #[default]
    All,
    /// These.
    Only(Arc<BTreeSet<String>>),
}

impl Visible {
    fn contains(&self, database: &str) -> bool {
        match self {
            Visible::All => true,
            Visible::Only(names) => names.contains(database),
        }
    }
}

/// A question.
#[derive(Clone, Debug, Default)]
pub struct SqlRequest {
    /// Where tables without a database are looked up.
    pub database: String,
    /// One statement.
    pub sql: String,
    /// Values of `$name`.
    pub params: BTreeMap<String, Param>,
    /// Whom the question comes from.
    pub visible: Visible,
}

/// Turns batches into what the caller sends.
pub trait Encode: Send {
    /// A piece of the answer.
    type Item: Send + 'static;

    /// Pieces for one more batch.
    ///
    /// # Errors
    /// Ends the query.
    fn batch(&mut self, batch: RecordBatch) -> Result<Option<Self::Item>>;

    /// What follows the last batch.
    ///
    /// # Errors
    /// Ends the query.
    fn finish(&mut self) -> Result<Option<Self::Item>>;
}

/// Batches as they are.
pub struct Batches;

impl Encode for Batches {
    type Item = RecordBatch;

    fn batch(&mut self, batch: RecordBatch) -> Result<Option<RecordBatch>> {
        Ok(Some(batch))
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>> {
        Ok(None)
    }
}

/// Runs SQL. Cheap to clone.
#[derive(Clone)]
pub struct Sql {
    inner: Arc<Inner>,
}

struct Inner {
    sessions: Sessions,
    options: SqlOptions,
    places: Arc<Semaphore>,
    counters: Arc<Counters>,
    /// Taken at the end, for a runtime must not be dropped where others wait.
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Sql {
    /// Starts the query threads.
    ///
    /// # Errors
    /// `Unavailable` when a thread cannot be started or the spill directory cannot be made.
    pub fn new(env: &Env, engine: Engine, catalog: Catalog, options: SqlOptions) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads.max(1))
            .thread_name("rhythmite-query")
            .thread_stack_size(STACK_BYTES)
            .enable_time()
            .build()?;
        let inner = Inner {
            sessions: Sessions::new(env, engine, catalog, &options)?,
            places: Arc::new(Semaphore::new(options.running_max.max(1))),
            options,
            counters: Arc::default(),
            runtime: Some(runtime),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Counters and what goes on now.
    pub fn stats(&self) -> SqlStats {
        let inner = &*self.inner;
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let counters = &inner.counters;
        let (plans, plans_reused) = inner.sessions.plans();
        SqlStats {
            queries: get(&counters.queries),
            failed: get(&counters.failed),
            refused: get(&counters.refused),
            timeouts: get(&counters.timeouts),
            out_of_memory: get(&counters.out_of_memory),
            running: inner.options.running_max.saturating_sub(inner.places.available_permits()) as u64,
            memory: inner.sessions.reserved() as u64,
            spilled: inner.sessions.spilled(),
            plans,
            plans_reused,
        }
    }

    /// Runs a query. Returns when it has been planned and runs; `encode` is given the columns and makes the pieces that
    /// the [`Answer`] streams. May be cancelled at any moment, and so may the reading of the answer.
    ///
    /// # Errors
    /// `Invalid` for the statement, `NotFound` for the database, `Overloaded` when too many queries are waiting or
    /// memory has run out; [`SqlError::Timeout`] at the deadline.
    pub async fn query<E: Encode + 'static>(
        &self,
        request: SqlRequest,
        encode: impl FnOnce(&SchemaRef) -> Result<E> + Send + 'static,
    ) -> Result<Answer<E::Item>, SqlError> {
        let inner = self.inner.clone();
        let timeout = inner.options.timeout;
        let deadline = tokio::time::Instant::now() + timeout;
        let counters = inner.counters.clone();
        // Both ends watch the deadline; it is counted once.
        let over = Arc::new(AtomicBool::new(false));
        let late = {
            let (counters, over) = (counters.clone(), over.clone());
            move || {
                if !over.swap(true, Ordering::AcqRel) {
                    counters.timeouts.fetch_add(1, Ordering::Relaxed);
                }
                SqlError::Timeout(timeout)
            }
        };
        let place = {
            let waiting = Waiting::enter(&counters);
            if inner.places.available_permits() == 0 && waiting.ahead >= inner.options.waiting_max {
                counters.refused.fetch_add(1, Ordering::Relaxed);
                return Err(SqlError::Failed(Error::overloaded(format!(
                    "{} queries are running and {} are waiting, which is the limit: try again",
                    inner.options.running_max, inner.options.waiting_max
                ))));
            }
            match tokio::time::timeout_at(deadline, inner.places.clone().acquire_owned()).await {
                Ok(place) => place.map_err(|_| Error::unavailable("the server is shutting down"))?,
                Err(_) => return Err(late()),
            }
        };
        counters.queries.fetch_add(1, Ordering::Relaxed);
        let (planned, plan) = oneshot::channel();
        let (pieces, queue) = mpsc::channel(QUEUE);
        let runtime = inner.runtime.as_ref().ok_or_else(|| Error::internal("the query threads are gone"))?;
        let task = {
            let (inner, counters, late) = (inner.clone(), counters.clone(), late.clone());
            runtime.spawn(async move {
                // Given back when the query has really stopped.
                let _place = place;
                let failed = |e: &Error| {
                    counters.failed.fetch_add(1, Ordering::Relaxed);
                    if e.kind() == ErrorKind::Overloaded {
                        counters.out_of_memory.fetch_add(1, Ordering::Relaxed);
                    }
                };
                let started = inner.sessions.start(request).await.inspect_err(failed);
                let (schema, rows, encode) = match started.and_then(|rows| {
                    let schema = rows.schema();
                    let encode = encode(&schema)?;
                    Ok((schema, rows, encode))
                }) {
                    Ok(started) => started,
                    Err(e) => return drop(planned.send(Err(e))),
                };
                if planned.send(Ok(schema)).is_err() {
                    return;
                }
                let delivered = tokio::time::timeout_at(deadline, async {
                    if let Err(e) = deliver(rows, encode, &pieces).await {
                        failed(&e);
                        // Nobody listens any more if this fails.
                        drop(pieces.send(Err(e)).await);
                    }
                });
                if delivered.await.is_err() {
                    // Before the queue closes, so that the reader does not take its end for that of the rows.
                    late();
                }
            })
        };
        let task = AbortOnDrop(task);
        let schema = match tokio::time::timeout_at(deadline, plan).await {
            Ok(Ok(schema)) => schema?,
            Ok(Err(_)) => return Err(Error::internal("the query stopped while it was planned").into()),
            Err(_) => return Err(late()),
        };
        let deadline = Box::pin(tokio::time::sleep_until(deadline));
        Ok(Answer { schema, queue, deadline, over, late: Some(Box::new(late)), _task: task })
    }
}

/// One that waits for a place.
struct Waiting<'a> {
    counters: &'a Counters,
    ahead: usize,
}

impl<'a> Waiting<'a> {
    fn enter(counters: &'a Counters) -> Self {
        Self { counters, ahead: counters.waiting.fetch_add(1, Ordering::AcqRel) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.counters.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn deliver<E: Encode>(
    mut rows: SendableRecordBatchStream,
    mut encode: E,
    pieces: &mpsc::Sender<Result<E::Item>>,
) -> Result<()> {
    loop {
        let (piece, last) = match rows.next().await {
            Some(batch) => (encode.batch(batch.map_err(error::from_datafusion)?)?, false),
            None => (encode.finish()?, true),
        };
        if let Some(piece) = piece
            && pieces.send(Ok(piece)).await.is_err()
        {
            // The reader has gone.
            return Ok(());
        }
        if last {
            return Ok(());
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a query gives, piece by piece. Ends with an error at the deadline. Dropped, it stops the query.
pub struct Answer<T> {
    schema: SchemaRef,
    queue: mpsc::Receiver<Result<T>>,
    deadline: Pin<Box<tokio::time::Sleep>>,
    /// The query was stopped at its deadline: where the queue ends is not the end of the rows.
    over: Arc<AtomicBool>,
    /// Makes the error of a missed deadline; taken when it has been.
    late: Option<Box<dyn FnOnce() -> SqlError + Send>>,
    _task: AbortOnDrop,
}

impl<T> Answer<T> {
    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl<T> Stream for Answer<T> {
    type Item = Result<T, SqlError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.late.is_none() {
            return Poll::Ready(None);
        }
        let stopped = match self.queue.poll_recv(context) {
            Poll::Ready(None) if self.over.load(Ordering::Acquire) => true,
            Poll::Ready(piece) => return Poll::Ready(piece.map(|p| p.map_err(SqlError::Failed))),
            Poll::Pending => self.deadline.as_mut().poll(context).is_ready(),
        };
        if stopped && let Some(late) = self.late.take() {
            self._task.0.abort();
            return Poll::Ready(Some(Err(late())));
        }
        Poll::Pending
    }
}
