//! What waits for one destination: first in memory, then in files, in the order of arrival.
//!
//! Chunks in memory are older than those on disk: once a chunk had to go to disk, later ones follow it there until the
//! disk is empty again. A file is `NUMBER.queue`: [`START`], then records `[length u32][CRC-32C u32][points u32][chunk]`,
//! little-endian (`docs/formats/relay.md`). Files are neither synced nor rewritten; one is removed when its last record was taken. A record that does not check,
//! as the last may after a crash, ends its file and is counted.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rhythmite_env::{Env, File};

use super::Options;
use super::chunk::Chunk;
use crate::counters::Counters;
use crate::seldom::Seldom;

/// Bytes at which the next file is begun.
const FILE_BYTES: u64 = 16 << 20;
/// Bytes up to which chunks in memory are made one.
const CHUNK_BYTES: usize = 64 << 10;
/// What every file begins with: whose it is, and the version of the format.
const START: &[u8; 8] = b"RHYREL\x01\0";
/// Place of the first record.
const FIRST_RECORD: u64 = START.len() as u64;
/// A record's length, checksum and number of points.
const HEADER_BYTES: usize = 12;
/// A longer record is none.
const RECORD_BYTES_MAX: usize = 64 << 20;
/// The first file's number; what was in memory at the end of a run goes before it.
const FIRST_FILE: u64 = 1 << 32;
const EXTENSION: &str = "queue";

/// The queue of one destination. Any number may push, one takes.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    memory_bytes_max: usize,
    counters: Arc<Counters>,
    env: Env,
}

struct State {
    memory: VecDeque<Chunk>,
    memory_bytes: usize,
    memory_points: u64,
    /// Taken and not yet done with; it counts as being in memory or on disk until then.
    taken: Option<Arc<Chunk>>,
    disk: Disk,
    dropped: u64,
    /// Most points that waited since somebody asked.
    longest: u64,
    closed: bool,
}

impl State {
    fn points(&self) -> u64 {
        self.memory_points + self.disk.points
    }
}

/// How full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    pub(super) points: u64,
    pub(super) memory_bytes: usize,
    pub(super) disk_bytes: u64,
    pub(super) dropped: u64,
}

impl Queue {
    /// Opens the queue in `dir` with what is there.
    pub(super) fn open(env: &Env, dir: PathBuf, options: &Options, counters: Arc<Counters>) -> io::Result<Self> {
        let disk = Disk::open(env, dir, options.disk_bytes, &counters)?;
        let state = State {
            memory: VecDeque::new(),
            memory_bytes: 0,
            memory_points: 0,
            taken: None,
            disk,
            dropped: 0,
            longest: 0,
            closed: false,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Ok(Self { state, changed, memory_bytes_max: options.memory_bytes, counters, env: env.clone() })
    }

    /// Adds a chunk; if there is room nowhere it is dropped and counted.
    pub(super) fn push(&self, chunk: Chunk) {
        let mut state = self.state.lock();
        let fits = state.memory_bytes + chunk.bytes.len() <= self.memory_bytes_max;
        if fits && state.disk.is_empty() {
            state.memory_bytes += chunk.bytes.len();
            state.memory_points += u64::from(chunk.points);
            match state.memory.back_mut().filter(|last| last.bytes.len() + chunk.bytes.len() <= CHUNK_BYTES) {
                Some(last) => last.append(&chunk),
                None => state.memory.push_back(chunk),
            }
        } else if let Err(why) = state.disk.append(&self.env, &chunk) {
            self.drop_chunk(&mut state, &chunk, &why);
        }
        state.longest = state.longest.max(state.points());
        drop(state);
        self.changed.notify_one();
    }

    fn drop_chunk(&self, state: &mut State, chunk: &Chunk, why: &io::Error) {
        static FULL: Seldom = Seldom::new();
        state.dropped += u64::from(chunk.points);
        self.counters.relay_dropped.add(chunk.points.into());
        if let Some(first) = chunk.iter().next() {
            self.counters.offenders.note("relay.dropped", first.path.as_bytes(), self.env.clock.now_s());
        }
        if FULL.now(&*self.env.clock) {
            tracing::warn!("relay: {}: {} points dropped: {why}", state.disk.dir.display(), chunk.points);
        }
    }

    /// The oldest chunk, which stays until [`Queue::done`].
    pub(super) fn front(&self) -> Option<Arc<Chunk>> {
        let mut state = self.state.lock();
        if state.taken.is_none() {
            let oldest = match state.memory.pop_front() {
                Some(chunk) => Some(chunk),
                None => state.disk.read(&self.counters),
            };
            state.taken = oldest.map(Arc::new);
        }
        state.taken.clone()
    }

    /// Forgets the chunk that [`Queue::front`] gave.
    pub(super) fn done(&self) {
        let mut state = self.state.lock();
        let Some(chunk) = state.taken.take() else { return };
        if !state.disk.release(&self.env) {
            state.memory_bytes -= chunk.bytes.len();
            state.memory_points -= u64::from(chunk.points);
        }
    }

    /// Waits until something is pushed or it is closed, at most so long. A push while nobody waits is not missed for
    /// longer than that.
    pub(super) fn wait(&self, at_most: Duration) {
        let mut state = self.state.lock();
        if !state.closed {
            self.changed.wait_for(&mut state, at_most);
        }
    }

    /// Tells who waits that the end has come.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Puts what is in memory on disk, before what is there; for the end.
    pub(super) fn spill(&self) {
        let mut state = self.state.lock();
        let mut chunks: Vec<Chunk> = state.memory.drain(..).collect();
        // What was taken from the disk is still there.
        if !state.disk.reading
            && let Some(taken) = state.taken.take()
        {
            chunks.insert(0, (*taken).clone());
        }
        (state.memory_bytes, state.memory_points) = (0, 0);
        if let Err(why) = state.disk.prepend(&self.env, &chunks) {
            for chunk in &chunks {
                self.drop_chunk(&mut state, chunk, &why);
            }
        }
    }

    /// The most points that waited at a time since the last call.
    pub(super) fn take_longest(&self) -> u64 {
        let mut state = self.state.lock();
        let now = state.points();
        std::mem::replace(&mut state.longest, now)
    }

    pub(super) fn levels(&self) -> Levels {
        let state = self.state.lock();
        Levels {
            points: state.points(),
            memory_bytes: state.memory_bytes,
            disk_bytes: state.disk.bytes,
            dropped: state.dropped,
        }
    }
}

/// The files.
struct Disk {
    env: Env,
    dir: PathBuf,
    bytes_max: u64,
    /// Oldest first; appended to at the last.
    files: VecDeque<QueueFile>,
    bytes: u64,
    points: u64,
    /// Place of the next record in the first file.
    read_at: u64,
    /// Whether the record there is taken and not yet done with: its length and points.
    reading: bool,
    record: (u64, u64),
}

struct QueueFile {
    number: u64,
    file: Arc<dyn File>,
    len: u64,
    /// Whether this run may append to it.
    open: bool,
}

impl Disk {
    fn open(env: &Env, dir: PathBuf, bytes_max: u64, counters: &Counters) -> io::Result<Self> {
        env.fs.create_dir_all(&dir)?;
        let mut disk = Self {
            env: env.clone(),
            dir,
            bytes_max,
            files: VecDeque::new(),
            bytes: 0,
            points: 0,
            read_at: FIRST_RECORD,
            reading: false,
            record: (0, 0),
        };
        let mut numbers: Vec<u64> = disk.env.fs.list(&disk.dir)?.iter().filter_map(|path| number_of(path)).collect();
        numbers.sort_unstable();
        for number in numbers {
            let file = disk.env.fs.open(&disk.path(number))?;
            check_start(&*file)
                .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", disk.path(number).display())))?;
            let (mut at, mut points) = (FIRST_RECORD, 0);
            while let Some(chunk) = read_record(&*file, at) {
                at += (HEADER_BYTES + chunk.bytes.len()) as u64;
                points += u64::from(chunk.points);
            }
            if at < file.len()? {
                counters.relay_damaged.one();
                tracing::warn!("relay: {}: what follows byte {at} cannot be read", disk.path(number).display());
            }
            if at == FIRST_RECORD {
                disk.env.fs.remove(&disk.path(number))?;
                continue;
            }
            disk.bytes += at - FIRST_RECORD;
            disk.points += points;
            disk.files.push_back(QueueFile { number, file, len: at, open: false });
        }
        Ok(disk)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:020}.{EXTENSION}"))
    }

    fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn append(&mut self, env: &Env, chunk: &Chunk) -> io::Result<()> {
        let record = record(chunk);
        if self.bytes + record.len() as u64 > self.bytes_max {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the queue is full"));
        }
        if self.files.back().is_none_or(|last| !last.open || last.len >= FILE_BYTES) {
            let number = self.files.back().map_or(FIRST_FILE, |last| last.number + 1);
            let file = env.fs.create(&self.path(number))?;
            file.write_all_at(START, 0)?;
            self.files.push_back(QueueFile { number, file, len: FIRST_RECORD, open: true });
        }
        let Some(last) = self.files.back_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        last.file.write_all_at(&record, last.len)?;
        last.len += record.len() as u64;
        self.bytes += record.len() as u64;
        self.points += u64::from(chunk.points);
        Ok(())
    }

    /// A file before all others; synced, since it is made when the process ends.
    fn prepend(&mut self, env: &Env, chunks: &[Chunk]) -> io::Result<()> {
        if chunks.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = START.iter().copied().chain(chunks.iter().flat_map(record)).collect();
        let number = self.files.front().map_or(FIRST_FILE, |first| first.number.saturating_sub(1));
        let file = env.fs.create(&self.path(number))?;
        file.write_all_at(&bytes, 0)?;
        file.sync_data()?;
        env.fs.sync_dir(&self.dir)?;
        self.bytes += bytes.len() as u64 - FIRST_RECORD;
        self.points += chunks.iter().map(|chunk| u64::from(chunk.points)).sum::<u64>();
        self.files.push_front(QueueFile { number, file, len: bytes.len() as u64, open: false });
        self.read_at = FIRST_RECORD;
        Ok(())
    }

    /// The oldest chunk; it stays until [`Disk::release`].
    fn read(&mut self, counters: &Counters) -> Option<Chunk> {
        loop {
            let first = self.files.front()?;
            if let Some(chunk) = read_record(&*first.file, self.read_at).filter(|_| self.read_at < first.len) {
                self.reading = true;
                self.record = ((HEADER_BYTES + chunk.bytes.len()) as u64, chunk.points.into());
                return Some(chunk);
            }
            if self.read_at < first.len {
                counters.relay_damaged.one();
                tracing::error!("relay: {}: byte {} cannot be read", self.path(first.number).display(), self.read_at);
                self.bytes -= first.len - self.read_at;
            }
            self.remove_first();
        }
    }

    /// Forgets the record that was read; `false` if none was.
    fn release(&mut self, _: &Env) -> bool {
        if !std::mem::take(&mut self.reading) {
            return false;
        }
        let (bytes, points) = self.record;
        self.read_at += bytes;
        self.bytes -= bytes;
        self.points -= points.min(self.points);
        if self.files.front().is_some_and(|first| self.read_at >= first.len) {
            self.remove_first();
        }
        true
    }

    fn remove_first(&mut self) {
        self.read_at = FIRST_RECORD;
        if let Some(first) = self.files.pop_front()
            && let Err(e) = self.env.fs.remove(&self.path(first.number))
        {
            tracing::error!("relay: {}: {e}; it will be sent again", self.path(first.number).display());
        }
        if self.files.is_empty() {
            // What could not be read cannot be counted.
            self.points = 0;
        }
    }
}

fn number_of(path: &Path) -> Option<u64> {
    path.extension().filter(|e| *e == EXTENSION)?;
    path.file_stem()?.to_str()?.parse().ok()
}

/// Refuses a file that is not ours, or of a version that is not known. One that a crash cut before its start was complete
/// has no record.
fn check_start(file: &dyn File) -> io::Result<()> {
    let mut start = [0; START.len()];
    match file.read_exact_at(&mut start, 0) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(e) => Err(e),
        Ok(()) if start == *START => Ok(()),
        Ok(()) => Err(io::Error::new(io::ErrorKind::InvalidData, "not a queue of this version; move it away")),
    }
}

fn record(chunk: &Chunk) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + chunk.bytes.len());
    out.extend_from_slice(&(chunk.bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(&checksum(chunk.points, &chunk.bytes).to_le_bytes());
    out.extend_from_slice(&chunk.points.to_le_bytes());
    out.extend_from_slice(&chunk.bytes);
    out
}

fn checksum(points: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&points.to_le_bytes()), bytes)
}

/// The record at this place, if there is a whole one that checks.
fn read_record(file: &dyn File, at: u64) -> Option<Chunk> {
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, at).ok()?;
    let word = |i: usize| u32::from_le_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
    let (len, sum, points) = (word(0) as usize, word(4), word(8));
    let left = file.len().ok()?.saturating_sub(at + HEADER_BYTES as u64);
    if len > RECORD_BYTES_MAX || len as u64 > left {
        return None;
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at + HEADER_BYTES as u64).ok()?;
    (checksum(points, &bytes) == sum).then_some(Chunk { bytes, points })
}
