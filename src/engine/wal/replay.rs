//! Reading the log at start.
//!
//! One thread walks the segments in order, checks sums and decides what holds; others decompress and decode; the
//! caller's thread receives batches in sequence. Only a few records are decoded ahead.
//!
//! **What holds.** Sequence numbers must follow one another. Where they stop, the question is whether anything that was
//! durable lies behind: a later record of the segment says so by its `durable_seq`, the next segment by its
//! `first_seq`, the catalogue by its hint. If not, the rest was never acknowledged (the pages of one unsynced group
//! reach the disk in any order) and the log is cut there. If so, it is damage, and the server does not start until a
//! person decides. What was flushed is not missed by anybody. A cut changes no byte: the next segment begins with the
//! first missing number, and nothing of an earlier segment counts from there on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rhythmite_env::Env;
use rhythmite_model::{Batch, Error, Result};

use super::record::{GROUP_BYTES_MAX, Head, Record, SECTOR_BYTES, SegmentHeader};
use super::segment::{Closed, number_of};

/// A longer file is not ours.
const FILE_BYTES_MAX: u64 = 4 * GROUP_BYTES_MAX as u64;

/// Decoding threads, at most.
const THREADS_MAX: usize = 8;

/// A range of writes that were durable and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, or the directory if a whole segment is missing.
    pub path: PathBuf,
    /// Where in the file the damage starts.
    pub offset: u64,
    /// The first sequence number that is lost.
    pub first_seq: u64,
    /// The last.
    pub last_seq: u64,
    /// What is wrong.
    pub what: String,
}

impl Damage {
    fn into_error(self) -> Error {
        Error::corrupt(format!(
            "{}: {} at byte {}: the acknowledged writes {} to {} cannot be read; restore the file from a copy, or start \
             once with --wal-salvage to give them up and keep the rest",
            self.path.display(),
            self.what,
            self.offset,
            self.first_seq,
            self.last_seq,
        ))
    }
}

/// What replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Batches given to the caller.
    pub batches: u64,
    /// Records read, flushed ones included.
    pub records: u64,
    /// The last sequence number in use; the next append gets the one after it.
    pub last_seq: u64,
    /// File and offset at which an unfinished, never acknowledged group was cut off.
    pub cut: Option<(PathBuf, u64)>,
    /// What `salvage` gave up. Flush soon: until then every start needs it again.
    pub damages: Vec<Damage>,
}

/// The log as it is on disk.
pub(super) struct Found {
    pub(super) report: ReplayReport,
    pub(super) closed: Vec<Closed>,
    pub(super) next_number: u64,
}

/// What the caller knows.
pub(super) struct Known<'a> {
    pub(super) dir: &'a Path,
    pub(super) flushed_seq: u64,
    pub(super) synced_seq: u64,
    pub(super) salvage: bool,
}

/// A record on its way to a decoder.
struct Job {
    file: Arc<Vec<u8>>,
    path: PathBuf,
    record: Record,
}

/// Replays what is not flushed, in sequence.
pub(super) fn replay(env: &Env, known: &Known<'_>, sink: &mut dyn FnMut(u64, Batch) -> Result<()>) -> Result<Found> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(THREADS_MAX);
    let (jobs, todo) = crossbeam_channel::bounded::<(Job, crossbeam_channel::Sender<Result<Vec<Batch>>>)>(threads);
    let (order, ordered) = crossbeam_channel::bounded(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let todo = todo.clone();
            scope.spawn(move || {
                for (job, done) in todo {
                    // The receiver is gone when an earlier record has failed.
                    let _ = done.send(job.record.batches(&job.file));
                }
            });
        }
        drop(todo);
        let walker = scope.spawn(move || {
            let mut walk = Walk::new(env, known);
            walk.run(&mut |job: Job| {
                let (done, result) = crossbeam_channel::bounded(1);
                let place = (job.path.clone(), job.record.clone());
                jobs.send((job, done)).is_ok() && order.send((place, result)).is_ok()
            })?;
            Ok::<_, Error>(walk)
        });
        let mut batches = 0;
        let mut damages = Vec::new();
        for ((path, record), result) in ordered {
            match result.recv().unwrap_or_else(|_| Err(Error::internal("a thread that reads the log died"))) {
                Ok(decoded) => {
                    for (seq, batch) in (record.first_seq..).zip(decoded) {
                        if seq > known.flushed_seq {
                            sink(seq, batch)?;
                            batches += 1;
                        }
                    }
                }
                Err(e) => {
                    let damage = Damage {
                        path,
                        offset: record.start as u64,
                        first_seq: record.first_seq,
                        last_seq: record.last_seq,
                        what: e.to_string(),
                    };
                    if !known.salvage {
                        return Err(damage.into_error());
                    }
                    damages.push(damage);
                }
            }
        }
        let walk = walker.join().map_err(|_| Error::internal("the thread that walks the log died"))??;
        let mut found = walk.found;
        found.report.batches = batches;
        found.report.damages.extend(damages);
        found.report.damages.sort_by_key(|d| d.first_seq);
        Ok(found)
    })
}

struct Walk<'a> {
    env: &'a Env,
    known: &'a Known<'a>,
    found: Found,
    /// The last sequence number read.
    last_seq: Option<u64>,
}

impl<'a> Walk<'a> {
    fn new(env: &'a Env, known: &'a Known<'a>) -> Self {
        let found = Found { report: ReplayReport::default(), closed: Vec::new(), next_number: 1 };
        Self { env, known, found, last_seq: None }
    }

    /// Walks all segments; `emit` returns false when nobody listens any more.
    fn run(&mut self, emit: &mut dyn FnMut(Job) -> bool) -> Result<()> {
        let segments = self.segments()?;
        let flushed_seq = self.known.flushed_seq;
        for (i, (path, header)) in segments.iter().enumerate() {
            if self.last_seq.is_none() && header.first_seq > flushed_seq + 1 {
                let what = format!("the segments before {} are missing", path.display());
                self.damaged(self.known.dir, 0, flushed_seq + 1, header.first_seq - 1, what)?;
            }
            let next = segments.get(i + 1).map(|(_, next)| next.first_seq);
            if !self.segment(path, header, next, emit)? {
                return Ok(());
            }
        }
        let last_seq = self.last_seq.unwrap_or(0).max(flushed_seq);
        if last_seq < self.known.synced_seq {
            let what = "the log ends before what the catalogue knows to be synced".to_owned();
            self.damaged(self.known.dir, 0, last_seq + 1, self.known.synced_seq, what)?;
        }
        self.found.report.last_seq = last_seq.max(self.known.synced_seq);
        Ok(())
    }

    /// Reports damage, or fails because of it.
    fn damaged(&mut self, path: &Path, offset: usize, first_seq: u64, last_seq: u64, what: String) -> Result<()> {
        let damage = Damage { path: path.to_path_buf(), offset: offset as u64, first_seq, last_seq, what };
        if !self.known.salvage {
            return Err(damage.into_error());
        }
        self.found.report.damages.push(damage);
        Ok(())
    }

    /// The segments that may hold something, by number. All other files are spare.
    fn segments(&mut self) -> Result<Vec<(PathBuf, SegmentHeader)>> {
        let mut segments = Vec::new();
        let unreadable = |path: &Path, e| Error::unavailable(format!("cannot read {}: {e}", path.display()));
        let paths = self.env.fs.list(self.known.dir).map_err(|e| unreadable(self.known.dir, e))?;
        for path in paths {
            let Some(number) = number_of(&path) else { continue };
            self.found.next_number = self.found.next_number.max(number.saturating_add(1));
            let file = self.env.fs.open(&path).map_err(|e| unreadable(&path, e))?;
            let file_bytes = file.len().map_err(|e| unreadable(&path, e))?;
            let mut sector = vec![0; file_bytes.min(SECTOR_BYTES as u64) as usize];
            file.read_exact_at(&mut sector, 0).map_err(|e| unreadable(&path, e))?;
            match Head::decode(&sector) {
                Head::Segment(header) if header.number == number => {
                    segments.push((path, header));
                    continue;
                }
                Head::Segment(_) => {}
                Head::Version(version) => {
                    let what = format!("{}: written by a newer server (log format {version})", path.display());
                    return Err(Error::corrupt(what));
                }
                Head::Blank | Head::Damaged => {
                    if let Some(header) = self.headless(&path, number)? {
                        segments.push((path, header));
                        continue;
                    }
                }
            }
            self.found.closed.push(Closed { path, last_seq: 0, bytes: 0, file_bytes });
        }
        Ok(segments)
    }

    /// A file without a readable header is spare, unless a record in it is not flushed: then the header was damaged.
    fn headless(&mut self, path: &Path, number: u64) -> Result<Option<SegmentHeader>> {
        let bytes = self.read(path)?;
        let mut records = (0..bytes.len()).step_by(SECTOR_BYTES).filter_map(|at| Record::at(&bytes, at, None));
        let Some(first) = records.find(|r| r.last_seq > self.known.flushed_seq) else { return Ok(None) };
        if !self.known.salvage {
            let last_seq = records.filter(|r| r.epoch == first.epoch).fold(first.last_seq, |_, r| r.last_seq);
            self.damaged(path, 0, first.first_seq, last_seq, "unreadable segment header".to_owned())?;
        }
        Ok(Some(SegmentHeader { number, epoch: first.epoch, first_seq: first.first_seq }))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let read = self.env.fs.read(path, FILE_BYTES_MAX);
        read.map_err(|e| Error::unavailable(format!("cannot read {}: {e}", path.display())))
    }

    /// Walks one segment; `next_first_seq` is what the following one begins with.
    fn segment(
        &mut self,
        path: &Path,
        header: &SegmentHeader,
        next_first_seq: Option<u64>,
        emit: &mut dyn FnMut(Job) -> bool,
    ) -> Result<bool> {
        let file = Arc::new(self.read(path)?);
        let flushed_seq = self.known.flushed_seq;
        let epoch = Some(header.epoch);
        let ours =
            |r: &Record, from_seq: u64| r.first_seq >= from_seq && next_first_seq.is_none_or(|next| r.last_seq < next);
        let mut at = SECTOR_BYTES;
        let mut expected_seq = header.first_seq;
        loop {
            if let Some(record) =
                Record::at(&file, at, epoch).filter(|r| ours(r, expected_seq) && r.first_seq == expected_seq)
            {
                at = record.end;
                expected_seq = record.last_seq + 1;
                self.found.report.records += 1;
                if record.last_seq > flushed_seq && !emit(Job { file: file.clone(), path: path.to_path_buf(), record })
                {
                    return Ok(false);
                }
                continue;
            }
            let behind: Vec<Record> = (at + SECTOR_BYTES..file.len())
                .step_by(SECTOR_BYTES)
                .filter_map(|sector| Record::at(&file, sector, epoch).filter(|r| ours(r, expected_seq)))
                .collect();
            let durable_seq = match next_first_seq {
                Some(next) => next.saturating_sub(1),
                None => behind.iter().map(|r| r.durable_seq).fold(self.known.synced_seq, u64::max),
            };
            let resume = behind.iter().find(|r| r.first_seq > expected_seq);
            if durable_seq < expected_seq || durable_seq <= flushed_seq {
                if next_first_seq.is_none() && (resume.is_some() || Record::begins(&file, at, header.epoch)) {
                    self.found.report.cut = Some((path.to_path_buf(), at as u64));
                }
                break;
            }
            let missing_last_seq = resume.map_or(durable_seq, |r| r.first_seq - 1);
            if missing_last_seq > flushed_seq {
                let first_seq = expected_seq.max(flushed_seq + 1);
                self.damaged(path, at, first_seq, missing_last_seq, "damaged record".to_owned())?;
            }
            expected_seq = missing_last_seq + 1;
            match resume {
                Some(record) => at = record.start,
                None => break,
            }
        }
        self.last_seq = Some(expected_seq.saturating_sub(1));
        self.found.closed.push(Closed {
            path: path.to_path_buf(),
            last_seq: expected_seq.saturating_sub(1),
            bytes: at as u64,
            file_bytes: file.len() as u64,
        });
        Ok(true)
    }
}
