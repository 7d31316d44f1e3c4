use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rhythmite_engine::Engine;
use rhythmite_env::{Clock, CpuPool};

use rhythmite_influx::influxql::Mistakes;

use super::running::Running;
use crate::auth::Passwords;
use crate::catalog::Catalog;
use crate::counters::Counters;

/// What statements work on; one for the process.
#[derive(Clone)]
pub struct Context {
    /// Points and names.
    pub engine: Engine,
    /// Databases and policies.
    pub catalog: Catalog,
    /// `now()`, and the deadline's clock.
    pub clock: Arc<dyn Clock>,
    /// Where changes of the catalogue are awaited from the blocking thread.
    pub runtime: tokio::runtime::Handle,
    /// Threads that help with a query that reads much.
    pub cpu: Arc<CpuPool>,
    /// What a query may use at most.
    pub limits: Limits,
    /// Whether 1.x is followed where it is wrong (`[query] influxql_corrected`).
    pub mistakes: Mistakes,
    /// Where hits of limits are counted.
    pub counters: Arc<Counters>,
    /// Who users are.
    pub users: Users,
    /// The queries that run now.
    pub running: Arc<Running>,
}

/// What statements about users need.
#[derive(Clone)]
pub struct Users {
    /// Makes hashes.
    pub passwords: Arc<Passwords>,
    /// Credentials are asked for: then the last administrator cannot be dropped, or whoever comes first would be the
    /// next.
    pub guarded: bool,
}

/// What a query may use at most; 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Series a SELECT reads (`max-select-series`).
    pub select_series_max: u64,
    /// Windows a SELECT makes (`max-select-buckets`).
    pub select_buckets_max: u64,
    /// Rows of a result; more are cut and the series is marked as partial (`max-row-limit`).
    pub rows_max: u64,
    /// Values a SELECT holds at a time: points kept, windows filled, rows of subqueries (`[query] max_select_values`).
    pub values_max: u64,
    /// Values of stored points that are read at a time where that is possible, about; 0 for two million.
    pub piece_values: u64,
}

/// Whether a database is shown to who asks.
pub type Visible = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// One request.
#[derive(Clone, Default)]
pub struct Request {
    /// `db`: the database of statements that name none.
    pub database: Option<String>,
    /// `rp`: the policy of measurements that name none.
    pub policy: Option<String>,
    /// The policy whose points `DELETE` takes, of the request's database; `None` for all of them, as in 1.x.
    pub only_policy: Option<String>,
    /// When and why to stop.
    pub interrupt: Interrupt,
    /// Times are answered as text (JSON without `epoch`): those of a statement with `tz()` are then local, with the
    /// zone's offset.
    pub times_as_text: bool,
    /// The databases `SHOW DATABASES` lists; `None` for all.
    pub visible: Option<Visible>,
    /// The thread must not be held up: a query that is not short fails, and is executed again elsewhere (see
    /// [`is_brief`](super::is_brief)).
    pub briefly: bool,
    /// Nobody asks: `CREATE USER` fails if there is an administrator by then.
    pub by_nobody: bool,
}

/// When a query stops before its end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    /// Set by somebody else: the client is gone, or KILL QUERY.
    pub cancelled: Arc<AtomicBool>,
    /// A reading of [`Clock::monotonic`] at which time is up.
    pub deadline: Option<Duration>,
}

impl Interrupt {
    /// Why the query has to stop now, in 1.x's words; `None` if it may go on.
    pub fn reason(&self, clock: &dyn Clock) -> Option<&'static str> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Some("query interrupted");
        }
        self.deadline.filter(|deadline| clock.monotonic() >= *deadline).map(|_| "query-timeout limit exceeded")
    }
}
