//! A file system in memory that forgets what was not synced, and fails on command.
//!
//! It keeps two states: what the running program sees, and what would be there after the power went. File bytes move
//! from the first to the second by [`File::sync_data`], names by [`Fs::sync_dir`] of their directory. [`SimFs::crash`]
//! throws the first state away, or keeps a random part of it: any 512-byte sector of an unsynced write may or may not
//! have reached the disk, and of the unsynced names of a directory those up to some moment.
//!
//! Operations that change something are numbered from 1 (`create write set_len sync_data rename remove remove_dir
//! create_dir_all sync_dir`), so that a test can run a script once, count, and then fail it at every number. All
//! chance comes from the seed. Directories cannot be renamed. Not meant for big files: everything is held twice.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{File, Fs};

/// What the disk writes in one piece.
pub const SECTOR_BYTES: usize = 512;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Input/output error; nothing is done.
    Error,
    /// A write stores a random part of its head, then reports an error; any other operation is [`Fault::Error`].
    ShortWrite,
    /// As [`Fault::ShortWrite`], and every later operation (reads too) fails until [`SimFs::crash`].
    PowerOff,
}

/// What becomes of unsynced changes in a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All are lost: the strictest reading of the contract.
    Lost,
    /// Each sector by chance, and of each directory's name changes a random number of the first.
    Torn(u64),
    /// All are kept, as when only the process died.
    Kept,
}

/// How often what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Changing operations, failed ones included.
    pub ops: u64,
    /// `sync_data` calls.
    pub syncs: u64,
    /// `write_all_at` calls.
    pub writes: u64,
    /// Bytes given to `write_all_at`.
    pub written_bytes: u64,
}

/// The file system; clones share one disk.
#[derive(Clone)]
pub struct SimFs {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Dir,
    File(usize),
}

#[derive(Clone, Debug)]
enum NameOp {
    Link { path: PathBuf, entry: Entry },
    Unlink { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf, entry: Entry },
}

impl NameOp {
    /// The directory whose sync makes it durable.
    fn dir(&self) -> &Path {
        match self {
            NameOp::Link { path, .. } | NameOp::Unlink { path } | NameOp::Rename { to: path, .. } => parent(path),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Entry>) {
        match self {
            NameOp::Link { path, entry } => {
                names.insert(path.clone(), *entry);
            }
            NameOp::Unlink { path } => {
                names.remove(path);
            }
            NameOp::Rename { from, to, entry } => {
                names.remove(from);
                names.insert(to.clone(), *entry);
            }
        }
    }
}

#[derive(Default)]
struct Node {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// Sectors in which `bytes` may differ from `synced`.
    dirty: BTreeSet<usize>,
}

impl Node {
    fn mark(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES));
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if end > self.bytes.len() {
            resize(&mut self.bytes, end);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self.mark(offset, end);
    }

    fn set_len(&mut self, len: usize) {
        // Bytes beyond a cut come back as zeros when the file grows again.
        self.mark(len.min(self.bytes.len()), self.bytes.len());
        resize(&mut self.bytes, len);
    }

    /// `synced` with the length of `bytes` and those dirty sectors that `keep` picks.
    fn settle(&mut self, len: usize, mut keep: impl FnMut() -> bool) {
        resize(&mut self.synced, len);
        for sector in std::mem::take(&mut self.dirty) {
            let start = sector * SECTOR_BYTES;
            let end = (start + SECTOR_BYTES).min(len).min(self.bytes.len());
            if start < end && keep() {
                self.synced[start..end].copy_from_slice(&self.bytes[start..end]);
            }
        }
    }
}

/// Cuts, or adds zeros.
fn resize(bytes: &mut Vec<u8>, len: usize) {
    // PERF: `Vec::resize` writes byte by byte where nothing is optimised, and a log grows by megabytes: it was two fifths
    // of the crash tests' time. Memory that is asked for as zeros costs nothing, and copying is the C library's.
    if len <= bytes.len() {
        bytes.truncate(len);
    } else {
        bytes.extend_from_slice(&vec![0; len - bytes.len()]);
    }
}

struct Disk {
    rng: StdRng,
    /// Raised by a crash: handles of an earlier life are dead.
    life: u64,
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, Entry>,
    durable_names: BTreeMap<PathBuf, Entry>,
    pending: Vec<NameOp>,
    counts: Counts,
    faults: BTreeMap<u64, Fault>,
    sync_errors: bool,
    space: Option<u64>,
    /// Handles that exist, of this life or an earlier one.
    open: usize,
    open_max: usize,
    power: bool,
}

impl SimFs {
    /// An empty disk. `seed` decides everything that is left to chance.
    pub fn new(seed: u64) -> Self {
        Self {
            disk: Arc::new(Mutex::new(Disk {
                rng: StdRng::seed_from_u64(seed),
                life: 0,
                nodes: Vec::new(),
                names: BTreeMap::new(),
                durable_names: BTreeMap::new(),
                pending: Vec::new(),
                counts: Counts::default(),
                faults: BTreeMap::new(),
                sync_errors: false,
                space: None,
                open: 0,
                open_max: usize::MAX,
                power: true,
            })),
        }
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.disk.lock().counts
    }

    /// Lets changing operation number `op` (the first ever is 1) fail.
    pub fn fail_at(&self, op: u64, fault: Fault) {
        self.disk.lock().faults.insert(op, fault);
    }

    /// Whether a [`Fault::PowerOff`] has struck and no [`SimFs::crash`] came since.
    pub fn is_off(&self) -> bool {
        !self.disk.lock().power
    }

    /// Lets every `sync_data` fail from now on, or no longer. As on Linux a failed sync marks the pages clean: a later
    /// sync succeeds and still has not written them.
    pub fn fail_syncs(&self, fail: bool) {
        self.disk.lock().sync_errors = fail;
    }

    /// Bytes that may still be written before the disk is full; `None` for no limit.
    pub fn set_space(&self, bytes: Option<u64>) {
        self.disk.lock().space = bytes;
    }

    /// Lets `create` and `open` fail, as the system does, while this many files are open.
    pub fn limit_open_files(&self, max: usize) {
        self.disk.lock().open_max = max;
    }

    /// Files open now.
    pub fn open_files(&self) -> usize {
        self.disk.lock().open
    }

    /// The power goes and comes back: unsynced changes meet their fate, open files are dead, faults are forgotten.
    pub fn crash(&self, unsynced: Unsynced) {
        let mut disk = self.disk.lock();
        let disk = &mut *disk;
        let mut rng = StdRng::seed_from_u64(if let Unsynced::Torn(seed) = unsynced { seed } else { 0 });
        let mut cuts: BTreeMap<PathBuf, usize> = BTreeMap::new();
        for op in &disk.pending {
            *cuts.entry(op.dir().to_path_buf()).or_default() += 1;
        }
        for kept in cuts.values_mut() {
            *kept = match unsynced {
                Unsynced::Lost => 0,
                Unsynced::Torn(_) => rng.random_range(0..=*kept),
                Unsynced::Kept => *kept,
            };
        }
        for op in std::mem::take(&mut disk.pending) {
            if let Some(kept) = cuts.get_mut(op.dir()).filter(|kept| **kept > 0) {
                *kept -= 1;
                op.apply(&mut disk.durable_names);
            }
        }
        drop_orphans(&mut disk.durable_names);
        disk.names = disk.durable_names.clone();
        for node in &mut disk.nodes {
            let (old, new) = (node.synced.len(), node.bytes.len());
            match unsynced {
                Unsynced::Lost => node.dirty.clear(),
                Unsynced::Torn(_) => {
                    let len = if rng.random() { new } else { old };
                    node.settle(len, || rng.random());
                }
                Unsynced::Kept => node.settle(new, || true),
            }
            node.bytes = node.synced.clone();
        }
        disk.life += 1;
        disk.faults.clear();
        disk.sync_errors = false;
        disk.space = None;
        disk.power = true;
    }
}

/// Removes what lies in a directory that is gone.
fn drop_orphans(names: &mut BTreeMap<PathBuf, Entry>) {
    // A parent sorts before its children, so one pass sees it first.
    let mut kept: BTreeMap<PathBuf, Entry> = BTreeMap::new();
    for (path, entry) in std::mem::take(names) {
        if is_root(parent(&path)) || kept.contains_key(parent(&path)) {
            kept.insert(path, entry);
        }
    }
    *names = kept;
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path == Path::new("/")
}

fn eio(what: &str) -> io::Error {
    io::Error::other(format!("simulated input/output error: {what}"))
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{}: no such file or directory", path.display()))
}

impl Disk {
    /// Counts a changing operation and lets it fail if that was asked for. `Ok(true)`: only a part of a write is done.
    fn step(&mut self, what: &str, is_write: bool) -> io::Result<bool> {
        self.counts.ops += 1;
        self.powered(what)?;
        match self.faults.remove(&self.counts.ops) {
            None => Ok(false),
            Some(fault) => {
                self.power = fault != Fault::PowerOff;
                if is_write && fault != Fault::Error { Ok(true) } else { Err(eio(what)) }
            }
        }
    }

    fn powered(&self, what: &str) -> io::Result<()> {
        if self.power { Ok(()) } else { Err(eio(&format!("{what}: power is off"))) }
    }

    fn may_open(&self) -> io::Result<()> {
        if self.open < self.open_max { Ok(()) } else { Err(io::Error::other("simulated: too many open files")) }
    }

    fn has_dir(&self, dir: &Path) -> bool {
        is_root(dir) || self.names.get(dir) == Some(&Entry::Dir)
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Entry::File(node)) => Ok(*node),
            _ => Err(not_found(path)),
        }
    }

    fn change_name(&mut self, op: NameOp) {
        op.apply(&mut self.names);
        self.pending.push(op);
    }
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    node: usize,
    life: u64,
}

impl SimFile {
    fn alive<'a>(&self, disk: &'a mut Disk) -> io::Result<&'a mut Disk> {
        if disk.life == self.life { Ok(disk) } else { Err(eio("file was open in a crash")) }
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        let disk = self.alive(&mut disk)?;
        disk.powered("read")?;
        let bytes = &disk.nodes[self.node].bytes;
        let start = usize::try_from(offset).map_or(bytes.len(), |o| o.min(bytes.len()));
        let n = buf.len().min(bytes.len() - start);
        buf[..n].copy_from_slice(&bytes[start..start + n]);
        Ok(n)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let disk = self.alive(&mut disk)?;
        disk.counts.writes += 1;
        disk.counts.written_bytes += bytes.len() as u64;
        let partial = disk.step("write", true)?;
        let offset = usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        let mut n = if partial { disk.rng.random_range(0..=bytes.len()) } else { bytes.len() };
        let mut full = false;
        if let Some(space) = &mut disk.space {
            full = n as u64 > *space;
            n = n.min(usize::try_from(*space).unwrap_or(usize::MAX));
            *space -= n as u64;
        }
        disk.nodes[self.node].write(&bytes[..n], offset);
        match (partial, full) {
            (true, _) => Err(eio("short write")),
            (false, true) => Err(io::Error::new(io::ErrorKind::StorageFull, "simulated: no space left on device")),
            (false, false) => Ok(()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let disk = self.alive(&mut disk)?;
        disk.counts.syncs += 1;
        disk.step("sync", false)?;
        let failing = disk.sync_errors;
        let node = &mut disk.nodes[self.node];
        if failing {
            node.dirty.clear();
            return Err(eio("sync"));
        }
        node.settle(node.bytes.len(), || true);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let disk = self.alive(&mut disk)?;
        disk.step("set_len", false)?;
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        disk.nodes[self.node].set_len(len);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let mut disk = self.disk.lock();
        let disk = self.alive(&mut disk)?;
        disk.powered("len")?;
        Ok(disk.nodes[self.node].bytes.len() as u64)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.lock().open -= 1;
    }
}

impl SimFs {
    fn handle(&self, disk: &mut Disk, node: usize) -> Arc<dyn File> {
        disk.open += 1;
        Arc::new(SimFile { disk: self.disk.clone(), node, life: disk.life })
    }
}

impl Fs for SimFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk.lock();
        disk.step("create", false)?;
        disk.may_open()?;
        if !disk.has_dir(parent(path)) {
            return Err(not_found(parent(path)));
        }
        let node = match disk.names.get(path) {
            Some(Entry::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Entry::File(node)) => {
                let node = *node;
                disk.nodes[node].set_len(0);
                node
            }
            None => {
                disk.nodes.push(Node::default());
                let node = disk.nodes.len() - 1;
                disk.change_name(NameOp::Link { path: path.into(), entry: Entry::File(node) });
                node
            }
        };
        Ok(self.handle(&mut disk, node))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk.lock();
        disk.powered("open")?;
        disk.may_open()?;
        let node = disk.file(path)?;
        Ok(self.handle(&mut disk, node))
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step("rename", false)?;
        let entry = Entry::File(disk.file(from)?);
        if !disk.has_dir(parent(to)) {
            return Err(not_found(parent(to)));
        }
        disk.change_name(NameOp::Rename { from: from.into(), to: to.into(), entry });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step("remove", false)?;
        disk.file(path)?;
        disk.change_name(NameOp::Unlink { path: path.into() });
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step("remove_dir", false)?;
        if disk.names.get(path) != Some(&Entry::Dir) {
            return Err(not_found(path));
        }
        if disk.names.keys().any(|p| parent(p) == path) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        disk.change_name(NameOp::Unlink { path: path.into() });
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step("create_dir_all", false)?;
        let missing: Vec<&Path> = path.ancestors().take_while(|dir| !disk.has_dir(dir)).collect();
        for dir in missing.into_iter().rev() {
            if disk.names.contains_key(dir) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            disk.change_name(NameOp::Link { path: dir.into(), entry: Entry::Dir });
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step("sync_dir", false)?;
        if !disk.has_dir(path) {
            return Err(not_found(path));
        }
        let disk = &mut *disk;
        let (ours, others) = std::mem::take(&mut disk.pending).into_iter().partition(|op: &NameOp| op.dir() == path);
        disk.pending = others;
        for op in Vec::from_iter::<Vec<NameOp>>(ours) {
            op.apply(&mut disk.durable_names);
        }
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let disk = self.disk.lock();
        disk.powered("statvfs")?;
        Ok(disk.space.unwrap_or(u64::MAX))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let disk = self.disk.lock();
        disk.powered("list")?;
        if !disk.has_dir(path) {
            return Err(not_found(path));
        }
        // What lies below a directory stands behind it.
        let below = disk.names.range::<Path, _>((Bound::Excluded(path), Bound::Unbounded));
        let below = below.map(|(p, _)| p).take_while(|p| p.starts_with(path));
        Ok(below.filter(|p| parent(p) == path).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (SimFs, Arc<dyn File>) {
        let fs = SimFs::new(1);
        fs.create_dir_all(Path::new("/d")).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        let file = fs.create(Path::new("/d/a")).unwrap();
        fs.sync_dir(Path::new("/d")).unwrap();
        (fs, file)
    }

    fn content(fs: &SimFs, path: &str) -> Vec<u8> {
        fs.read(Path::new(path), 1 << 20).unwrap()
    }

    #[test]
    fn only_synced_bytes_survive() {
        let (fs, file) = disk();
        file.write_all_at(b"one", 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(b"two", 3).unwrap();
        assert_eq!(content(&fs, "/d/a"), b"onetwo");
        fs.crash(Unsynced::Lost);
        assert_eq!(content(&fs, "/d/a"), b"one");
        assert!(file.write_all_at(b"x", 0).is_err(), "a handle does not outlive the crash");
    }

    #[test]
    fn only_synced_names_survive() {
        let (fs, _) = disk();
        let dir = Path::new("/d");
        fs.create(&dir.join("b")).unwrap();
        fs.crash(Unsynced::Lost);
        assert_eq!(fs.list(dir).unwrap(), [dir.join("a")], "created, directory not synced");
        fs.rename(&dir.join("a"), &dir.join("c")).unwrap();
        fs.crash(Unsynced::Lost);
        assert_eq!(fs.list(dir).unwrap(), [dir.join("a")], "renamed, directory not synced");
        fs.rename(&dir.join("a"), &dir.join("c")).unwrap();
        fs.sync_dir(dir).unwrap();
        fs.remove(&dir.join("c")).unwrap();
        fs.crash(Unsynced::Lost);
        assert_eq!(fs.list(dir).unwrap(), [dir.join("c")], "removed, directory not synced");
        fs.create_dir_all(Path::new("/e/f")).unwrap();
        fs.sync_dir(Path::new("/e")).unwrap();
        fs.crash(Unsynced::Lost);
        assert!(fs.list(Path::new("/e")).is_err(), "the parent of a synced name was not synced");
    }

    #[test]
    fn a_torn_crash_keeps_whole_sectors_by_chance_and_repeats_from_its_seed() {
        let torn = |seed| {
            let (fs, file) = disk();
            file.write_all_at(&[1; 64 * SECTOR_BYTES], 0).unwrap();
            file.sync_data().unwrap();
            file.write_all_at(&[2; 64 * SECTOR_BYTES], 0).unwrap();
            fs.crash(Unsynced::Torn(seed));
            content(&fs, "/d/a")
        };
        let bytes = torn(7);
        let firsts: Vec<u8> = bytes.chunks(SECTOR_BYTES).map(|s| s[0]).collect();
        assert!(bytes.chunks(SECTOR_BYTES).all(|s| s.iter().all(|b| *b == s[0])));
        assert!(firsts.contains(&1) && firsts.contains(&2));
        assert_eq!(bytes, torn(7));
        assert_ne!(bytes, torn(8));
    }

    #[test]
    fn faults_strike_where_they_were_put() {
        let (fs, file) = disk();
        let next = fs.counts().ops + 1;
        fs.fail_at(next, Fault::Error);
        fs.fail_at(next + 2, Fault::PowerOff);
        assert!(file.write_all_at(b"x", 0).is_err());
        assert!(file.write_all_at(b"x", 0).is_ok());
        assert!(file.sync_data().is_err());
        assert!(file.sync_data().is_err() && fs.list(Path::new("/d")).is_err(), "power is off");
        fs.crash(Unsynced::Kept);
        assert_eq!(content(&fs, "/d/a"), b"x");
    }

    #[test]
    fn a_failed_sync_cannot_be_repaired_by_another() {
        let (fs, file) = disk();
        file.write_all_at(b"x", 0).unwrap();
        fs.fail_syncs(true);
        assert!(file.sync_data().is_err());
        fs.fail_syncs(false);
        file.sync_data().unwrap();
        fs.crash(Unsynced::Lost);
        assert_eq!(content(&fs, "/d/a"), [0]);
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        let (fs, file) = disk();
        fs.set_space(Some(2));
        let error = file.write_all_at(b"abc", 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(content(&fs, "/d/a"), b"ab");
    }

    #[test]
    fn bytes_cut_off_do_not_come_back() {
        let (fs, file) = disk();
        file.write_all_at(b"secret", 0).unwrap();
        file.sync_data().unwrap();
        file.set_len(0).unwrap();
        file.set_len(6).unwrap();
        file.sync_data().unwrap();
        fs.crash(Unsynced::Lost);
        assert_eq!(content(&fs, "/d/a"), [0; 6]);
    }
}
