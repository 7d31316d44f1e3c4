//! The queries that run now: numbered, shown by SHOW QUERIES, ended by KILL QUERY. Brief ones ([`super::is_brief`]), which
//! end by themselves within a millisecond, are not among them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Bytes of a query's text that are kept.
const TEXT_BYTES_MAX: usize = 4_096;

/// The queries of the process.
#[derive(Debug, Default)]
pub struct Running(Mutex<Queries>);

#[derive(Debug, Default)]
struct Queries {
    last: u64,
    by_id: BTreeMap<u64, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    text: String,
    database: String,
    started: Duration,
    cancelled: Arc<AtomicBool>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: u64,
    pub(super) text: String,
    pub(super) database: String,
    pub(super) took: Duration,
    pub(super) killed: bool,
}

/// Keeps a query in the list until it is dropped.
pub(super) struct Entered<'r> {
    running: &'r Running,
    id: u64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.running.0.lock().by_id.remove(&self.id);
    }
}

impl Running {
    /// Lists a query; `started` and later `now` are readings of the monotonic clock.
    pub(super) fn enter(
        &self,
        mut text: String,
        database: &str,
        started: Duration,
        cancelled: Arc<AtomicBool>,
    ) -> Entered<'_> {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        let mut queries = self.0.lock();
        queries.last += 1;
        let id = queries.last;
        queries.by_id.insert(id, Entry { text, database: database.to_owned(), started, cancelled });
        Entered { running: self, id }
    }

    /// All of them, in the order in which they began.
    pub(super) fn list(&self, now: Duration) -> Vec<Seen> {
        let seen = |(id, entry): (&u64, &Entry)| Seen {
            id: *id,
            text: entry.text.clone(),
            database: entry.database.clone(),
            took: now.saturating_sub(entry.started),
            killed: entry.cancelled.load(Ordering::Relaxed),
        };
        self.0.lock().by_id.iter().map(seen).collect()
    }

    /// Tells a query to stop.
    ///
    /// # Errors
    /// There is none of that number, or it was told before; in 1.x's words.
    pub(super) fn kill(&self, id: u64) -> Result<(), String> {
        let queries = self.0.lock();
        let entry = queries.by_id.get(&id).ok_or_else(|| format!("no such query id: {id}"))?;
        match entry.cancelled.swap(true, Ordering::Relaxed) {
            false => Ok(()),
            true => Err("already killed".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_listed_while_they_run() {
        let running = Running::default();
        let flag = Arc::new(AtomicBool::new(false));
        let second = Duration::from_secs(1);
        let first = running.enter("SELECT 1".into(), "d", second, flag.clone());
        let other = running.enter("x".repeat(10_000), "", 2 * second, Arc::default());
        let seen = running.list(3 * second);
        assert_eq!(
            seen.iter().map(|q| (q.id, q.text.len(), q.took)).collect::<Vec<_>>(),
            [(1, 8, 2 * second), (2, TEXT_BYTES_MAX, second)]
        );
        assert_eq!(running.kill(1), Ok(()));
        assert!(flag.load(Ordering::Relaxed) && running.list(second)[0].killed);
        assert_eq!(running.kill(1), Err("already killed".to_owned()));
        drop(first);
        assert_eq!(running.kill(1), Err("no such query id: 1".to_owned()));
        drop(other);
        assert_eq!(running.list(second), []);
    }
}
