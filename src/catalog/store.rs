//! The thread that owns the connection.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use rhythmite_env::Fs;
use rhythmite_model::{Error, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{mpsc, oneshot};

use super::copy::Copy;
use super::migrations;

/// Requests that wait for the thread; more callers wait in line.
const QUEUE: usize = 64;

/// What a request to the store answers with.
pub(super) type Answer<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

type Job = Box<dyn for<'c> FnOnce(&'c mut Held) -> Pin<Box<dyn Future<Output = ()> + Send + 'c>> + Send>;

/// What the thread has.
struct Held {
    connection: SqliteConnection,
    copy: Option<Copy>,
}

impl Held {
    /// Runs `f`; what it changed is in the copy before anybody hears of it.
    async fn run<T>(
        &mut self,
        f: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Answer<'c, T>,
    ) -> Result<T, sqlx::Error> {
        let done = f(&mut self.connection).await;
        if let Some(copy) = &mut self.copy {
            copy.follow(&mut self.connection).await;
        }
        done
    }
}

/// Where the copy of the rows goes.
pub(super) struct CopyTo {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) path: PathBuf,
    /// Counts copies that could not be written.
    pub(super) failures: Arc<AtomicU64>,
}

/// The way to the thread. Dropping it does what waits and returns when the file is closed.
pub(super) struct Store {
    /// Taken away to end the thread.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Store {
    fn drop(&mut self) {
        self.jobs = None;
        let Some(thread) = self.thread.take() else { return };
        // A request may hold the last handle: of itself a thread cannot wait for its end.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the catalogue's thread panicked");
        }
    }
}

impl Store {
    pub(super) fn open(path: &Path, copy_to: Option<CopyTo>) -> Result<Self> {
        let options = options(path)?
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let (opened, ready) = std::sync::mpsc::sync_channel(1);
        let name = path.display().to_string();
        let thread = std::thread::Builder::new().name("rhythmite-catalogue".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(e) => return drop(opened.send(Err(Error::from(e)))),
            };
            runtime.block_on(async {
                let connection = async {
                    let mut connection = options.connect().await.map_err(failed)?;
                    migrations::run(&mut connection).await?;
                    let copy = match copy_to {
                        Some(to) => Some(Copy::start(&mut connection, to.fs, &to.path, to.failures).await?),
                        None => None,
                    };
                    Ok::<_, Error>(Held { connection, copy })
                };
                let mut held = match connection.await {
                    Ok(held) => held,
                    Err(e) => return drop(opened.send(Err(e.at(name)))),
                };
                drop(opened.send(Ok(())));
                while let Some(job) = queue.recv().await {
                    job(&mut held).await;
                }
                if let Err(e) = held.connection.close().await {
                    tracing::warn!("the catalogue did not close cleanly: {e}");
                }
            });
        })?;
        ready.recv().map_err(|_| Error::internal("the catalogue's thread ended while it opened the file"))??;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `f` on the connection.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        f: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Answer<'c, T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |held| {
            Box::pin(async move {
                // The caller may have gone; the work is done all the same.
                drop(reply.send(held.run(f).await));
            })
        });
        self.jobs.as_ref().ok_or_else(gone)?.send(job).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(failed)
    }

    /// Runs `f` in one transaction: all of it or nothing.
    pub(super) async fn transact<T: Send + 'static>(
        &self,
        f: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Answer<'c, T> + Send + 'static,
    ) -> Result<T> {
        self.run(move |connection| {
            Box::pin(async move {
                let mut transaction = connection.begin().await?;
                let value = f(&mut transaction).await?;
                transaction.commit().await?;
                Ok(value)
            })
        })
        .await
    }

    /// As [`Store::run`], from a thread that may block. Never call it from a task.
    pub(super) fn call<T: Send + 'static>(
        &self,
        f: impl for<'c> FnOnce(&'c mut SqliteConnection) -> Answer<'c, T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        let job: Job = Box::new(move |held| Box::pin(async move { drop(reply.send(held.run(f).await)) }));
        // Not `blocking_send`, which panics inside a runtime: `serve` opens the catalogue before any task runs.
        let mut job = Some(job);
        while let Some(waiting) = job.take() {
            match self.jobs.as_ref().ok_or_else(gone)?.try_send(waiting) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(back)) => {
                    job = Some(back);
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(gone()),
            }
        }
        answer.recv().map_err(|_| gone())?.map_err(failed)
    }
}

/// A file, however its name looks.
pub(super) fn options(path: &Path) -> Result<SqliteConnectOptions> {
    let options = SqliteConnectOptions::from_str("sqlite::memory:").map_err(failed)?;
    Ok(options.in_memory(false).shared_cache(false).filename(path).disable_statement_logging())
}

fn gone() -> Error {
    Error::unavailable("the catalogue has stopped")
}

pub(super) fn failed(e: sqlx::Error) -> Error {
    match e {
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => Error::corrupt(format!("catalogue: {e}")),
        _ => Error::unavailable(format!("catalogue: {e}")),
    }
}
