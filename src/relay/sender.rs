//! The thread of one destination: connects, sends, pauses.
//!
//! [`Sender::step`] does one thing and says how long nothing is to be done; time and the connection are parameters, so
//! that a test can let a destination die for ten minutes.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rhythmite_carbon::Point;
use rhythmite_carbon::relay::{Destination, write_line, write_pickle};
use rhythmite_env::Env;

use super::chunk::Chunk;
use super::queue::Queue;
use super::tls::{Tls, TlsStream};
use super::{Options, Protocol};
use crate::counters::Counters;
use crate::seldom::Seldom;

/// How often a quiet connection is looked at.
const QUIET: Duration = Duration::from_secs(1);
/// Of `QUIET`s and pauses, how long at most one waits before it looks whether the server stops.
const NAP: Duration = Duration::from_secs(1);
/// How long a stopping server goes on sending what waits.
const LAST: Duration = Duration::from_secs(3);

/// A connection to a destination, made anew after each failure.
pub(super) trait Wire: Send {
    /// Connects.
    fn connect(&mut self) -> io::Result<()>;
    /// Sends all of it, or fails.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Whether the peer has closed it.
    fn is_closed(&mut self) -> bool;
    /// Lets go of it.
    fn close(&mut self);
}

/// The connection to a destination, as far as anybody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether there is a connection.
    pub connected: bool,
    /// Points sent.
    pub sent: u64,
    /// Messages they were sent in.
    pub messages: u64,
    /// Connections and writes that failed.
    pub failures: u64,
    /// Why the last one failed.
    pub last_error: String,
}

/// One destination's sender.
pub(super) struct Sender<W> {
    queue: Arc<Queue>,
    wire: W,
    options: Options,
    env: Env,
    counters: Arc<Counters>,
    name: String,
    health: Arc<Mutex<Health>>,
    connected: bool,
    pause: Duration,
    retry_at: Duration,
    buffer: Vec<u8>,
}

impl<W: Wire> Sender<W> {
    pub(super) fn new(
        queue: Arc<Queue>,
        wire: W,
        options: &Options,
        env: Env,
        counters: Arc<Counters>,
        destination: &Destination,
    ) -> Self {
        Self {
            queue,
            wire,
            env,
            counters,
            name: destination.to_string(),
            health: Arc::default(),
            connected: false,
            pause: options.pause_min,
            retry_at: Duration::ZERO,
            buffer: Vec::new(),
            options: options.clone(),
        }
    }

    pub(super) fn health(&self) -> Arc<Mutex<Health>> {
        self.health.clone()
    }

    /// Works until the queue is closed.
    pub(super) fn run(mut self) {
        while !self.queue.is_closed() {
            if let Some(pause) = self.step() {
                self.queue.wait(pause.min(NAP));
            }
        }
        let end = self.env.clock.monotonic() + LAST;
        while self.connected && self.env.clock.monotonic() < end && self.step().is_none() {}
        self.wire.close();
        self.queue.spill();
    }

    /// Does what is due: connects, or sends one chunk. `None`: there is more to do now; else how long nothing is, unless
    /// something is pushed to a destination that is connected.
    pub(super) fn step(&mut self) -> Option<Duration> {
        let now = self.env.clock.monotonic();
        if !self.connected {
            if now < self.retry_at {
                return Some(self.retry_at - now);
            }
            if let Err(e) = self.wire.connect() {
                return Some(self.failed(now, &e));
            }
            self.connected = true;
            self.health.lock().connected = true;
        }
        // A peer that has closed would still let the kernel take what is sent.
        if self.wire.is_closed() {
            return Some(self.failed(now, &io::Error::new(io::ErrorKind::ConnectionAborted, "closed by the peer")));
        }
        let Some(chunk) = self.queue.front() else { return Some(QUIET) };
        self.encode(&chunk);
        if let Err(e) = self.wire.send(&self.buffer) {
            return Some(self.failed(now, &e));
        }
        self.queue.done();
        self.pause = self.options.pause_min;
        self.counters.relay_sent.add(chunk.points.into());
        let mut health = self.health.lock();
        health.sent += u64::from(chunk.points);
        health.messages += u64::from(chunk.points).div_ceil(self.options.points_max.max(1) as u64);
        None
    }

    /// The chunk stays on the queue; returns the pause.
    fn failed(&mut self, now: Duration, e: &io::Error) -> Duration {
        static FAILED: Seldom = Seldom::new();
        self.wire.close();
        self.connected = false;
        self.counters.relay_failures.one();
        {
            let mut health = self.health.lock();
            health.connected = false;
            health.failures += 1;
            health.last_error = e.to_string();
        }
        if FAILED.now(&*self.env.clock) {
            tracing::warn!("relay: {}: {e}; points wait, next try in {:?}", self.name, self.pause);
        }
        let pause = self.pause;
        self.retry_at = now + pause;
        self.pause = (pause * 2).min(self.options.pause_max);
        pause
    }

    fn encode(&mut self, chunk: &Chunk) {
        self.buffer.clear();
        match self.options.protocol {
            Protocol::Pickle => {
                let points: Vec<Point<'_>> = chunk.iter().collect();
                for message in points.chunks(self.options.points_max.max(1)) {
                    write_pickle(message.iter().copied(), &mut self.buffer);
                }
            }
            Protocol::Line => {
                let mut lines = String::new();
                for point in chunk.iter() {
                    // A pickled name may hold what would end it in a line.
                    if point.path.contains(|c: char| c.is_ascii_whitespace()) {
                        self.counters.relay_unsendable.one();
                        let now_s = self.env.clock.now_s();
                        self.counters.offenders.note("relay.unsendable", point.path.as_bytes(), now_s);
                    } else {
                        write_line(point, &mut lines);
                    }
                }
                self.buffer.extend_from_slice(lines.as_bytes());
            }
        }
    }
}

/// TCP, with TLS or without.
pub(super) struct TcpWire {
    destination: Destination,
    timeout: Duration,
    tls: Option<Tls>,
    stream: Option<Stream>,
}

enum Stream {
    Plain(TcpStream),
    Tls(TlsStream),
}

impl TcpWire {
    pub(super) fn new(destination: Destination, options: &Options) -> Self {
        Self { destination, timeout: options.timeout, tls: options.tls.clone(), stream: None }
    }

    fn greet(&self, stream: TcpStream) -> io::Result<Stream> {
        stream.set_write_timeout(Some(self.timeout))?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Stream::Plain(stream)),
            Some(tls) => {
                stream.set_read_timeout(Some(self.timeout))?;
                tls.connect(&self.destination.host, stream).map(Stream::Tls)
            }
        }
    }
}

impl Wire for TcpWire {
    fn connect(&mut self) -> io::Result<()> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for at in (self.destination.host.as_str(), self.destination.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&at, self.timeout).and_then(|stream| self.greet(stream)) {
                Ok(stream) => {
                    self.stream = Some(stream);
                    return Ok(());
                }
                Err(e) => failure = e,
            }
        }
        Err(failure)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)? {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes),
        }
    }

    fn is_closed(&mut self) -> bool {
        let stream = match &mut self.stream {
            None => return true,
            Some(Stream::Tls(stream)) => return stream.is_closed(),
            Some(Stream::Plain(stream)) => stream,
        };
        // Carbon says nothing: what can be read is the end.
        let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0; 1]));
        let open = matches!(&looked, Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        !open || stream.set_nonblocking(false).is_err()
    }

    fn close(&mut self) {
        self.stream = None;
    }
}
