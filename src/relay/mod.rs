//! carbon-relay: points go to other carbons, by rules or by hash, and wait on disk for those that are away.
//!
//! ```text
//! adapter -> route -> queue of each destination -> its thread -> TCP
//! ```
//!
//! Order of events: a batch is routed ([`rhythmite_carbon::relay::Router`], answers kept per name), each destination's
//! share is put on its [`queue`]: in memory, and beyond `memory_bytes` in files. A thread of its own for each destination
//! ([`sender`]) connects, sends and takes off the queue what its socket took; a destination that is away is tried again
//! with growing pauses. Nobody waits: neither who sends to us nor the other destinations.
//!
//! Limits: bytes in memory and on disk of each destination; what comes beyond them is dropped and counted. What a
//! destination's kernel had taken when it died is lost and nobody knows how much: carbon's protocols have no answer.
//! When the server stops, what waits in memory goes to disk too; after a crash only what was on disk is there.

mod chunk;
mod queue;
mod sender;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use rhythmite_carbon::relay::{Destination, Router};
use rhythmite_env::Env;
use serde::Deserialize;
use smallvec::SmallVec;

use self::chunk::Chunk;
use self::queue::Queue;
use self::sender::{Sender, TcpWire};
use crate::counters::{Counter, Counters};
use crate::ingest::PathPoints;

pub use sender::Health;
pub use tls::Tls;

/// Bytes of names whose destinations are remembered; at the limit all are forgotten and found again.
const KNOWN_BYTES_MAX: usize = 64 << 20;
/// What one name costs beside its text.
const NAME_COST: usize = 64;

/// What destinations read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Frames of pickles.
    #[default]
    Pickle,
    /// Lines.
    Line,
}

/// How destinations are served.
#[derive(Clone, Debug)]
pub struct Options {
    /// What they read.
    pub protocol: Protocol,
    /// Points of one message.
    pub points_max: usize,
    /// Bytes that wait in memory, of each.
    pub memory_bytes: usize,
    /// Bytes that wait on disk, of each.
    pub disk_bytes: u64,
    /// The first pause after a failure; it doubles up to the longest.
    pub pause_min: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// How long a connection or a write may take.
    pub timeout: Duration,
    /// Whom to believe, if destinations speak TLS.
    pub tls: Option<Tls>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            protocol: Protocol::Pickle,
            points_max: 500,
            memory_bytes: 4 << 20,
            disk_bytes: 1 << 30,
            pause_min: Duration::from_secs(1),
            pause_max: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            tls: None,
        }
    }
}

/// A router and the queues of its destinations.
pub struct Relay {
    destinations: Vec<Destination>,
    known: Mutex<Known>,
    lanes: Vec<Lane>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    counters: Arc<Counters>,
    env: Env,
}

/// The way to one destination.
struct Lane {
    queue: Arc<Queue>,
    health: Arc<Mutex<Health>>,
    /// Points routed there, and of them those that came while there was no connection.
    routed: Counter,
    routed_away: Counter,
}

/// Numbers of destinations of a name.
type Places = SmallVec<[u16; 4]>;

struct Known {
    router: Router,
    places: HashMap<String, Places>,
    bytes: usize,
}

/// How a destination is.
#[derive(Clone, Debug)]
pub struct Status {
    /// Which.
    pub destination: Destination,
    /// Its connection.
    pub health: Health,
    /// Points that wait.
    pub queued_points: u64,
    /// Their bytes in memory and on disk.
    pub queued_bytes: u64,
    /// Points dropped because the queue was full.
    pub dropped: u64,
    /// Points routed there since the start.
    pub routed: u64,
    /// Of them those that came while there was no connection.
    pub routed_away: u64,
}

impl Relay {
    /// Opens the queues below `dir`, with what an earlier run left there, and starts the threads.
    ///
    /// # Errors
    /// When a queue's directory cannot be read or a thread cannot be started.
    pub fn start(
        env: &Env,
        dir: &Path,
        router: Router,
        options: &Options,
        counters: &Arc<Counters>,
    ) -> io::Result<Arc<Self>> {
        let mut lanes = Vec::new();
        let mut threads = Vec::new();
        for destination in router.destinations() {
            let queue = Arc::new(Queue::open(env, queue_dir(dir, destination), options, counters.clone())?);
            let wire = TcpWire::new(destination.clone(), options);
            let sender = Sender::new(queue.clone(), wire, options, env.clone(), counters.clone(), destination);
            let (routed, routed_away) = (Counter::default(), Counter::default());
            lanes.push(Lane { queue, health: sender.health(), routed, routed_away });
            let name = format!("relay-{}", destination.port);
            threads.push(std::thread::Builder::new().name(name).spawn(move || sender.run())?);
        }
        let destinations = router.destinations().to_vec();
        let (known, threads) = (Mutex::new(Known::new(router)), Mutex::new(threads));
        Ok(Arc::new(Self { destinations, known, lanes, threads, counters: counters.clone(), env: env.clone() }))
    }

    /// Routes by `router` from the next batch on. Its destinations are those it was started with; with others nothing
    /// changes, and it says `false`.
    pub fn replace_router(&self, router: Router) -> bool {
        let fits = router.destinations() == self.destinations;
        if fits {
            *self.known.lock() = Known::new(router);
        }
        fits
    }

    /// Puts points that were received on the queues of their destinations. Does not wait for anybody; when memory is full it
    /// writes to a file.
    pub fn send(&self, points: &PathPoints) {
        self.counters.relay_points.add(points.len() as u64);
        self.send_own(points);
    }

    /// The same for points of the server's own, which nobody sent.
    pub fn send_own(&self, points: &PathPoints) {
        let mut shares: Vec<Chunk> = Vec::new();
        shares.resize_with(self.lanes.len(), Chunk::default);
        let mut unrouted = 0;
        {
            let mut known = self.known.lock();
            for (path, ts_s, value) in points.iter() {
                let places = known.places(path);
                if places.is_empty() {
                    unrouted += 1;
                    self.counters.offenders.note("relay.unrouted", path.as_bytes(), self.env.clock.now_s());
                }
                for at in places {
                    shares[usize::from(*at)].push(path, ts_s, value);
                }
            }
        }
        self.counters.relay_unrouted.add(unrouted);
        for (lane, share) in self.lanes.iter().zip(shares) {
            if !share.is_empty() {
                lane.routed.add(share.points.into());
                if !lane.health.lock().connected {
                    lane.routed_away.add(share.points.into());
                }
                lane.queue.push(share);
            }
        }
    }

    /// How all destinations are.
    pub fn status(&self) -> Vec<Status> {
        let lanes = self.lanes.iter().zip(&self.destinations);
        lanes
            .map(|(lane, destination)| {
                let levels = lane.queue.levels();
                Status {
                    destination: destination.clone(),
                    health: lane.health.lock().clone(),
                    queued_points: levels.points,
                    queued_bytes: levels.memory_bytes as u64 + levels.disk_bytes,
                    dropped: levels.dropped,
                    routed: lane.routed.get(),
                    routed_away: lane.routed_away.get(),
                }
            })
            .collect()
    }

    /// The most points that waited for each destination at a time since the last call.
    pub fn take_longest(&self) -> Vec<u64> {
        self.lanes.iter().map(|lane| lane.queue.take_longest()).collect()
    }

    /// Sends what can be sent at once, puts the rest on disk and ends. Blocks: up to the timeout of a write.
    pub fn stop(&self) {
        for lane in &self.lanes {
            lane.queue.close();
        }
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("relay: the thread of a destination panicked");
            }
        }
    }
}

impl Known {
    fn new(router: Router) -> Self {
        Self { router, places: HashMap::new(), bytes: 0 }
    }

    fn places(&mut self, path: &str) -> &Places {
        let cost = path.len() + NAME_COST;
        if self.bytes + cost > KNOWN_BYTES_MAX {
            (self.places, self.bytes) = (HashMap::new(), 0);
        }
        let (router, bytes) = (&self.router, &mut self.bytes);
        self.places.entry_ref(path).or_insert_with(|| {
            *bytes += cost;
            let mut places = Places::new();
            router.route(path, |at| places.push(at as u16));
            places
        })
    }
}

/// A directory of its own for each destination, called after it.
fn queue_dir(dir: &Path, destination: &Destination) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    dir.join(destination.to_string().chars().map(plain).collect::<String>())
}
