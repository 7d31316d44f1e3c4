//! The clock of continuous queries: looks every second whether one is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::ContinuousQueries;
use crate::query::influxql::{Context, Scheduler};

/// Runs continuous queries until `stop`; a run under way is then given up, and made again after the next start. `None`
/// if they are switched off.
pub(super) fn start(context: Context, config: &ContinuousQueries, stop: &CancellationToken) -> Option<JoinHandle<()>> {
    let interval = config.run_interval.limit().filter(|_| config.enabled)?;
    let stop = stop.clone();
    let cancelled = Arc::new(AtomicBool::new(false));
    Some(tokio::spawn(async move {
        let flag = cancelled.clone();
        let opened = tokio::task::spawn_blocking(move || Scheduler::new(context, flag)).await;
        let mut scheduler = match opened {
            Ok(Ok(scheduler)) => scheduler,
            Ok(Err(error)) => return tracing::error!("continuous queries do not run: {error}"),
            Err(error) => return tracing::error!("continuous queries do not run: {error}"),
        };
        let watch = stop.clone();
        let cancel = tokio::spawn(async move {
            watch.cancelled().await;
            cancelled.store(true, Ordering::Relaxed);
        });
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(interval) => {}
            }
            // A run holds a core, and waits for the disk.
            let ticked = tokio::task::spawn_blocking(move || {
                scheduler.tick();
                scheduler
            });
            scheduler = match ticked.await {
                Ok(scheduler) => scheduler,
                Err(error) => {
                    tracing::error!("continuous queries have stopped: {error}");
                    break;
                }
            };
        }
        cancel.abort();
    }))
}
