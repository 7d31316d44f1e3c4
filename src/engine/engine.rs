//! The handle: write, read, flush, compact, drop.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rhythmite_env::{Clock, Env};
use rhythmite_model::{
    Batch, Definition, Error, ErrorKind, FieldId, Policy, PolicyId, Result, Rows, SeriesId, TableId, Tier, Tombstone,
};

use crate::commit::Change;
use crate::compaction::PartMerged;
use crate::decoded::Decoded;
use crate::deletes::{Delete, Deletes};
use crate::files::{FileCache, LiveFile};
use crate::idle::IdleCheck;
use crate::layout;
use crate::manifest::{FileRecord, Manifest, SegmentRecord, TombstoneId};
use crate::memtable::Generation;
use crate::registry::{Creator, Limits, Mark, Registry, TagValues};
use crate::rewrite::Rewrites;
use crate::rollup::Rolled;
use crate::scan::{Scan, SeriesFilter};
use crate::sorted_names::SortedNames;
use crate::space::Space;
use crate::wal::{self, Commit, Durability, Wal};
use crate::weight::{Asked, Weight};

/// How the engine is set up. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything the engine writes lies below this directory.
    pub data_dir: PathBuf,
    /// A memtable of this size is flushed. Twice as much (one filling, one being flushed) turns writes away.
    pub memtable_bytes: usize,
    /// With many series a memtable may grow up to this instead, if it is more: a file with a point or two of each series
    /// costs as much for each as one with twenty.
    pub memtable_bytes_many: usize,
    /// A memtable of at least [`Options::IDLE_FLUSH_BYTES`] is flushed when nothing was written for this long.
    pub idle_flush: Duration,
    /// A memtable is flushed at this age.
    pub flush_age: Duration,
    /// The log.
    pub wal: wal::Options,
    /// Limits on names.
    pub limits: Limits,
    /// Flushed files of one level that wait before they are merged into partitions.
    pub merge_flushed_files: usize,
    /// Flushed files of one level at which writes are turned away until merging has caught up.
    pub flushed_files_max: usize,
    /// Files of one partition that are merged into one.
    pub merge_partition_files: usize,
    /// How long after its end a partition is rolled up into coarser levels, and how much longer than their retention raw
    /// points of such a policy are kept.
    pub rollup_grace: Duration,
    /// How long nothing must have been merged into a partition before it is rolled up, unless its points are to go.
    pub rollup_delay: Duration,
    /// Partitions that one step of a merge writes before it commits them.
    pub merge_partitions: usize,
    /// Points files that are kept open.
    pub open_files_max: usize,
    /// Memory of the indexes and footers of files that are kept loaded.
    pub index_cache_bytes: usize,
    /// Memory of decoded points of files, and of sorted names, that are kept for the next reader.
    pub decoded_cache_bytes: usize,
    /// Writes are refused while less than this is free on the disk; 0: until it is full.
    pub free_bytes_min: u64,
    /// What files and log may take together: beyond, the disk counts as full. 0: no limit but the disk's.
    pub data_bytes_max: u64,
    /// How long a deletion of few points waits before files are written anew without them.
    pub delete_delay: Duration,
}

impl Options {
    /// A deletion is flushed at this age, so that compaction may work it into files.
    pub const DELETE_FLUSH: Duration = Duration::from_secs(60);
    /// A memtable below this stays in memory however quiet it is, until [`Options::flush_age`].
    pub const IDLE_FLUSH_BYTES: usize = 1 << 20;

    /// The defaults, below `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            memtable_bytes: 64 << 20,
            memtable_bytes_many: 0,
            idle_flush: Duration::from_secs(5),
            flush_age: Duration::from_secs(600),
            wal: wal::Options::new(data_dir.join("wal")),
            limits: Limits::default(),
            merge_flushed_files: 8,
            flushed_files_max: 64,
            merge_partition_files: 4,
            rollup_grace: Duration::from_secs(300),
            rollup_delay: Duration::from_secs(60),
            merge_partitions: 256,
            open_files_max: 512,
            index_cache_bytes: 256 << 20,
            decoded_cache_bytes: 64 << 20,
            free_bytes_min: 256 << 20,
            data_bytes_max: 0,
            delete_delay: Duration::from_secs(600),
            data_dir,
        }
    }
}

/// The files of one level of one policy, oldest write first.
pub(crate) type Files = BTreeMap<(PolicyId, Tier), Vec<Arc<LiveFile>>>;

/// Flushed files of the level that has most of them.
pub(crate) fn most_flushed(files: &Files) -> usize {
    let flushed = |files: &Vec<Arc<LiveFile>>| files.iter().filter(|f| f.record.level == 0).count();
    files.values().map(flushed).max().unwrap_or(0)
}

/// What a reader sees: replaced as a whole.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) files: Arc<Files>,
    /// Flushed files of the level that has most of them.
    pub(crate) flushed_files: usize,
    /// Being flushed, oldest first.
    pub(crate) frozen: Vec<Arc<Frozen>>,
    pub(crate) active: Arc<Active>,
    /// Deletions that some file or generation has not seen yet.
    pub(crate) deletes: Arc<Deletes>,
    /// The moments below which policies have roll-ups only.
    pub(crate) floors: Arc<BTreeMap<PolicyId, i64>>,
}

/// The generation that takes writes.
pub(crate) struct Active {
    pub(crate) generation: Generation,
    /// Writes up to this number went to older generations.
    pub(crate) base_seq: u64,
    pub(crate) since: Duration,
}

/// A generation that takes no writes any more.
pub(crate) struct Frozen {
    pub(crate) active: Arc<Active>,
    /// The newest write in it.
    pub(crate) seq: u64,
    /// The newest name that its rows can refer to.
    pub(crate) mark: Mark,
}

/// What the committer thread and the handle share.
pub(crate) struct Shared {
    pub(crate) view: RwLock<View>,
    last_write_ns: AtomicI64,
    clock: Arc<dyn Clock>,
}

impl Shared {
    /// Makes deletions visible; `seq` is the number of the write that carried them.
    pub(crate) fn delete(&self, seq: u64, tombstones: &[Tombstone]) {
        if tombstones.is_empty() {
            return;
        }
        let since = self.clock.monotonic();
        let new = (0..).zip(tombstones).map(|(ordinal, tombstone)| {
            Arc::new(Delete { id: TombstoneId { seq, ordinal }, tombstone: tombstone.clone(), since })
        });
        let mut view = self.view.write();
        view.deletes = Arc::new(view.deletes.with(new));
    }
}

impl wal::Applier for Shared {
    fn apply(&self, seq: u64, batch: Arc<Batch>) {
        self.delete(seq, &batch.tombstones);
        let active = self.view.read().active.clone();
        active.append(seq, &batch);
    }
}

impl Active {
    fn append(&self, seq: u64, batch: &Batch) {
        let arrival = u32::try_from(seq - self.base_seq).expect("a generation is flushed long before 2^32 writes");
        self.generation.append(batch, arrival);
    }
}

/// Counters since start, and sizes now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Rows accepted.
    pub rows_written: u64,
    /// Field values accepted.
    pub values_written: u64,
    /// Writes turned away because the memtable, the log or compaction was behind.
    pub overloaded: u64,
    /// Writes turned away because the disk was nearly full.
    pub no_space: u64,
    /// Bytes free on the disk, as of a moment ago; `u64::MAX` if it does not say.
    pub disk_free_bytes: u64,
    /// Whether writes are turned away for that now.
    pub disk_low: bool,
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// Flushes done.
    pub flushes: u64,
    /// Merges done.
    pub compactions: u64,
    /// Flushes or merges that failed and are tried again.
    pub background_errors: u64,
    /// Files removed by expiry.
    pub expired_files: u64,
    /// Series removed because their last points expired.
    pub expired_series: u64,
    /// Deletions carried out.
    pub deletes: u64,
    /// Deletions refused because too many wait to be worked into the files.
    pub deletes_refused: u64,
    /// Deletions that some file or memtable has not seen yet.
    pub deletes_waiting: u64,
    /// Series removed because a deletion left them without a point.
    pub emptied_series: u64,
    /// Series removed because nothing was written to them for their policy's `max_idle`.
    pub idle_series: u64,
    /// Partitions rolled up into coarser levels.
    pub rolled_partitions: u64,
    /// Files written anew without deleted points.
    pub rewritten_files: u64,
    /// Live files.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Points files open now.
    pub open_files: u64,
    /// Points files opened, first or again.
    pub opened_files: u64,
    /// Indexes of files that are in memory.
    pub indexes: u64,
    /// Their bytes, with the files' footers.
    pub index_bytes: u64,
    /// Indexes loaded.
    pub index_loads: u64,
    /// Indexes given up for others.
    pub index_evictions: u64,
    /// Memory of points that are kept decoded.
    pub decoded_bytes: u64,
    /// Runs of points that readers found decoded.
    pub decoded_hits: u64,
    /// Runs of points that readers decoded.
    pub decoded_misses: u64,
    /// Decoded runs given up for others.
    pub decoded_evictions: u64,
    /// Memory of names that are kept sorted.
    pub sorted_names_bytes: u64,
    /// Lists of sorted names given up for others.
    pub sorted_names_evictions: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) rows_written: AtomicU64,
    pub(crate) values_written: AtomicU64,
    pub(crate) overloaded: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) background_errors: AtomicU64,
    pub(crate) expired_files: AtomicU64,
    pub(crate) expired_series: AtomicU64,
    pub(crate) deletes: AtomicU64,
    pub(crate) deletes_refused: AtomicU64,
    pub(crate) emptied_series: AtomicU64,
    pub(crate) idle_series: AtomicU64,
    pub(crate) rewritten_files: AtomicU64,
    pub(crate) rolled_partitions: AtomicU64,
}

pub(crate) struct Inner {
    pub(crate) env: Env,
    pub(crate) options: Options,
    pub(crate) manifest: Arc<dyn Manifest>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) policies: RwLock<BTreeMap<PolicyId, Arc<Policy>>>,
    pub(crate) wal: Wal,
    pub(crate) shared: Arc<Shared>,
    /// Held for reading while a write takes its number and (below `sync`) enters the memtable; for writing while the
    /// generation is switched. So a generation holds exactly the writes up to the number it is frozen at.
    pub(crate) gate: RwLock<()>,
    /// One flush at a time.
    pub(crate) flushing: Mutex<()>,
    /// One merge at a time.
    pub(crate) merging: Mutex<()>,
    pub(crate) segments: Mutex<Vec<SegmentRecord>>,
    /// Files whose merge failed, and when to try again.
    pub(crate) failed_inputs: Mutex<HashMap<String, Duration>>,
    /// Writers may still know them.
    pub(crate) dropped_policies: Mutex<HashSet<PolicyId>>,
    /// A change of the manifest that may have happened or not.
    pub(crate) unsure: Mutex<Option<Change>>,
    /// Merges of flushed files that are committed in part, by policy and level.
    pub(crate) part_merged: Mutex<HashMap<(PolicyId, Tier), PartMerged>>,
    pub(crate) cache: Arc<FileCache>,
    pub(crate) decoded: Arc<Decoded>,
    sorted_names: SortedNames,
    next_file: AtomicU64,
    /// Deletions found in the log, of which nobody knows whether they left series without a point.
    pub(crate) unchecked: Mutex<Vec<Tombstone>>,
    pub(crate) idle_check: Mutex<IdleCheck>,
    pub(crate) space: Space,
    /// Which files deletions have to be worked into, as of some view.
    pub(crate) rewrites: Mutex<Rewrites>,
    /// Raw partitions of policies with coarser levels, by their starts.
    pub(crate) rolled: Mutex<HashMap<(PolicyId, i64), Rolled>>,
    pub(crate) counters: Counters,
    /// See [`Engine::fit_memtable`].
    memtable_limit: AtomicUsize,
}

/// What a memtable holds of each series before it is flushed, where its limit allows: some sixteen rows of one field.
const MEMTABLE_SERIES_BYTES: usize = 400;

/// The storage engine. Cheap to clone; dropping the last clone writes what the log has queued.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

/// What happened at start.
#[derive(Clone, Debug, Default)]
pub struct OpenReport {
    /// Rows replayed from the log.
    pub replayed_rows: u64,
    /// Files on disk that no record names; removed.
    pub orphans: u64,
    /// What the log found.
    pub log: wal::ReplayReport,
}

impl Engine {
    /// Opens the data directory: loads files and names that `manifest` lists, replays the log. What belongs to a policy
    /// that is not among `policies` was dropped: it is removed, with a warning for each file and table.
    ///
    /// # Errors
    /// `Corrupt` when a live file is missing or damaged, or when acknowledged writes in the log are; `Unavailable` for
    /// the disk.
    pub fn open(
        env: Env,
        options: Options,
        manifest: Arc<dyn Manifest>,
        policies: Vec<Policy>,
    ) -> Result<(Self, OpenReport)> {
        env.fs.create_dir_all(&options.data_dir)?;
        if let Some(parent) = options.data_dir.parent().filter(|p| !p.as_os_str().is_empty()) {
            env.fs.sync_dir(parent)?;
        }
        env.fs.create_dir_durably(&options.data_dir, &options.data_dir.join("data"))?;
        let state = manifest.load()?;
        let policies: BTreeMap<_, _> = policies.into_iter().map(|p| (p.id, Arc::new(p))).collect();
        let segment_dir = options.data_dir.join("names");
        env.fs.create_dir_durably(&options.data_dir, &segment_dir)?;
        let registry = Arc::new(Registry::new(options.limits.clone(), env.clock.clone()));
        let mut segments = state.segments;
        segments.sort_by_key(|s| s.id);
        registry.load(&env, &segment_dir, &segments.iter().map(|s| s.id).collect::<Vec<_>>())?;
        let next_file = state.files.iter().filter_map(|f| f.id.parse::<u64>().ok()).max().unwrap_or(0) + 1;
        let cache = FileCache::new(&env, options.index_cache_bytes, options.open_files_max);
        let decoded_bytes = options.decoded_cache_bytes;
        let mut files = Files::new();
        let mut leftovers = Vec::new();
        for record in state.files {
            // A roll-up of a level that has gone goes, too.
            let known = |policy: &&Arc<Policy>| !record.tier.is_rolled() || record.tier.level() < policy.levels.len();
            let Some(policy) = policies.get(&record.policy).filter(known) else {
                leftovers.push(record);
                continue;
            };
            let dir = layout::dir(&options.data_dir, policy, record.tier, record.partition_ns);
            let key = (record.policy, record.tier);
            let reach_ns = policy.reach_of(record.tier);
            let file = LiveFile::new(&cache, dir, record, reach_ns);
            file.check()?;
            files.entry(key).or_default().push(file);
        }
        files.values_mut().for_each(|f| f.sort_by_key(|f| f.record.seq));
        crate::orphan::forget(&*manifest, &leftovers)?;
        let orphans = crate::orphan::remove(&env, &options.data_dir, &files, &segments)?;

        let now = env.clock.monotonic();
        let active = Arc::new(Active { generation: Generation::default(), base_seq: state.flushed_seq, since: now });
        let deletes = state.tombstones.into_iter();
        let deletes = deletes.map(|t| Arc::new(Delete { id: t.id, tombstone: t.tombstone, since: now }));
        let shared = Arc::new(Shared {
            view: RwLock::new(View {
                flushed_files: most_flushed(&files),
                files: Arc::new(files),
                frozen: Vec::new(),
                active: active.clone(),
                deletes: Arc::new(Deletes::default().with(deletes)),
                floors: Arc::new(state.raw_floors.into_iter().collect()),
            }),
            last_write_ns: AtomicI64::new(0),
            clock: env.clock.clone(),
        });
        let mut report = OpenReport { orphans, ..OpenReport::default() };
        let mut unchecked = Vec::new();
        let mut replay = |seq: u64, batch: Batch| {
            registry.apply(&batch.definitions)?;
            registry.delete(&batch.tombstones);
            shared.delete(seq, &batch.tombstones);
            unchecked.extend(batch.tombstones.iter().filter(|t| !t.is_whole()).cloned());
            report.replayed_rows += batch.len() as u64;
            active.append(seq, &batch);
            Ok(())
        };
        let seq = state.flushed_seq;
        let (wal, replayed) = Wal::open(env.clone(), options.wal.clone(), seq, seq, &mut replay, shared.clone())?;
        report.log = replayed;
        let memtable_bytes = options.memtable_bytes;
        let inner = Inner {
            env,
            options,
            manifest,
            registry,
            policies: RwLock::new(policies),
            wal,
            shared,
            gate: RwLock::new(()),
            flushing: Mutex::new(()),
            merging: Mutex::new(()),
            segments: Mutex::new(segments),
            failed_inputs: Mutex::default(),
            dropped_policies: Mutex::default(),
            unsure: Mutex::default(),
            part_merged: Mutex::default(),
            cache,
            decoded: Arc::new(Decoded::new(decoded_bytes)),
            sorted_names: SortedNames::default(),
            next_file: AtomicU64::new(next_file),
            unchecked: Mutex::new(unchecked),
            idle_check: Mutex::default(),
            space: Space::default(),
            rewrites: Mutex::default(),
            rolled: Mutex::default(),
            counters: Counters::default(),
            memtable_limit: AtomicUsize::new(memtable_bytes),
        };
        let engine = Self { inner: Arc::new(inner) };
        engine.drop_leftover_tables()?;
        Ok((engine, report))
    }

    /// Drops the tables of policies that the catalogue no longer has: a crash came between its drop of the policy and
    /// ours.
    fn drop_leftover_tables(&self) -> Result<()> {
        let tables: Vec<_> = {
            let (names, policies) = (self.inner.registry.read(), self.inner.policies.read());
            let leftover = names.all_tables().filter(|t| !policies.contains_key(&t.policy()));
            leftover.map(|t| (t.id(), t.policy().0, t.name().to_owned())).collect()
        };
        if tables.is_empty() {
            return Ok(());
        }
        for (_, policy, name) in &tables {
            tracing::warn!(policy, table = name, "dropping a table whose policy the catalogue does not have");
        }
        let ((), commit) = self.change(Durability::Sync, |names| {
            tables.iter().for_each(|(id, ..)| names.drop_table(*id));
            Ok(())
        })?;
        commit.wait()
    }

    /// The names: tables, fields, series and their indexes.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.inner.registry
    }

    /// Makes a policy known. The catalogue has stored it before.
    pub fn put_policy(&self, policy: Policy) {
        self.inner.policies.write().insert(policy.id, Arc::new(policy));
    }

    /// Of a policy with coarser levels: the moment before which raw points have gone, and none are taken any more.
    pub fn raw_floor(&self, policy: PolicyId) -> i64 {
        self.inner.shared.view.read().floor(policy)
    }

    /// A policy, if it is known.
    pub fn policy(&self, id: PolicyId) -> Option<Arc<Policy>> {
        self.inner.policies.read().get(&id).cloned()
    }

    /// Makes names, where there is room for the rows that are to follow; otherwise as [`Engine::change`].
    ///
    /// # Errors
    /// Those of `f`; `NotFound` for a table of a policy that was dropped; else as [`Engine::write`].
    pub fn create<T>(
        &self,
        durability: Durability,
        f: impl FnOnce(&mut Creator<'_>) -> Result<T>,
    ) -> Result<(T, Commit)> {
        self.has_room().inspect_err(|e| self.count_refusal(e))?;
        self.change(durability, f)
    }

    /// Makes or drops names: all of what `f` makes, or nothing when it fails. Rows may use them at once, at any
    /// durability: the log keeps the order. At [`Durability::Sync`] the commit resolves when the names are durable.
    ///
    /// # Errors
    /// Those of `f`; `Overloaded` when the log is behind, `Unavailable` when it has failed.
    pub fn change<T>(
        &self,
        durability: Durability,
        f: impl FnOnce(&mut Creator<'_>) -> Result<T>,
    ) -> Result<(T, Commit)> {
        let inner = &*self.inner;
        let _switch = inner.gate.read();
        let mut names = inner.registry.write();
        let value = f(&mut names)?;
        let batch = Arc::new(Batch { definitions: names.definitions().to_vec(), ..Batch::default() });
        if batch.is_empty() {
            return Ok((value, Commit::done()));
        }
        for definition in &batch.definitions {
            if let Definition::Table { policy, name, .. } = definition
                && inner.dropped_policies.lock().contains(policy)
            {
                return Err(Error::not_found(format!("table {name:?}: its retention policy was dropped")));
            }
        }
        // Queued before the guard lets anybody else see the names: nothing in the log stands before its definition.
        let (_, commit) = inner.wal.append(&batch, durability).inspect_err(|e| self.count_refusal(e))?;
        names.commit();
        Ok((value, commit))
    }

    /// Writes rows. Every series, field and table in them was made by [`Engine::create`] or found in
    /// [`Engine::registry`].
    ///
    /// At [`Durability::Sync`] the commit resolves when the rows are on disk and visible; below it they are visible on
    /// return. A commit that is dropped early changes nothing about the write.
    ///
    /// # Errors
    /// `Overloaded` when the memtable, the log's queue or compaction is behind, `NoSpace` when the disk is nearly full:
    /// nothing was written, try again later.
    /// `NotFound` when a series was deleted since it was found: nothing was written, find (or make) it and write again.
    /// `Unavailable` when the log has failed: the server is read-only until it is restarted.
    pub fn write(&self, rows: Vec<Rows>, durability: Durability) -> Result<Commit> {
        let inner = &*self.inner;
        self.has_room().inspect_err(|e| self.count_refusal(e))?;
        let batch = Arc::new(Batch { rows, ..Batch::default() });
        if batch.is_empty() {
            return Ok(Commit::done());
        }
        let commit = {
            let _switch = inner.gate.read();
            // Who deletes holds the gate: what exists now does so until the rows are in the log.
            inner.registry.check_exist(&batch.rows)?;
            let (seq, commit) = inner.wal.append(&batch, durability).inspect_err(|e| self.count_refusal(e))?;
            if durability != Durability::Sync {
                let active = inner.shared.view.read().active.clone();
                active.append(seq, &batch);
            }
            commit
        };
        let now_ns = i64::try_from(inner.env.clock.monotonic().as_nanos()).unwrap_or(i64::MAX);
        inner.shared.last_write_ns.store(now_ns, Ordering::Relaxed);
        inner.counters.rows_written.fetch_add(batch.len() as u64, Ordering::Relaxed);
        inner.counters.values_written.fetch_add(batch.values() as u64, Ordering::Relaxed);
        Ok(commit)
    }

    pub(crate) fn count_refusal(&self, e: &Error) {
        if e.kind() == ErrorKind::Overloaded {
            self.inner.counters.overloaded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Size at which the memtable is flushed at present.
    pub(crate) fn memtable_limit(&self) -> usize {
        self.inner.memtable_limit.load(Ordering::Relaxed)
    }

    /// Fits the memtable's size to the number of series.
    pub(crate) fn fit_memtable(&self) {
        let options = &self.inner.options;
        let names = self.inner.registry.read();
        let series: u64 = names.all_tables().map(|table| table.series_count()).sum();
        drop(names);
        let series = usize::try_from(series).unwrap_or(usize::MAX);
        let most = options.memtable_bytes_many.max(options.memtable_bytes);
        let limit = series.saturating_mul(MEMTABLE_SERIES_BYTES).clamp(options.memtable_bytes, most);
        self.inner.memtable_limit.store(limit, Ordering::Relaxed);
    }

    fn has_room(&self) -> Result<()> {
        self.has_space()?;
        let options = &self.inner.options;
        let view = self.inner.shared.view.read();
        let frozen: usize = view.frozen.iter().map(|f| f.active.generation.bytes()).sum();
        let bytes = frozen + view.active.generation.bytes();
        let limit = self.memtable_limit();
        if bytes > limit.saturating_mul(2) {
            return Err(Error::overloaded(format!(
                "the memtable holds {bytes} bytes and waits for the disk ([memory] memtable = {limit})"
            )));
        }
        let files = view.flushed_files;
        if files > options.flushed_files_max {
            return Err(Error::overloaded(format!("{files} flushed files wait for compaction")));
        }
        Ok(())
    }

    /// What a reader sees from now on: later writes to the open memtable may show, flushes and merges do not disturb it.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            view: self.inner.shared.view.read().clone(),
            registry: self.inner.registry.clone(),
            decoded: self.inner.decoded.clone(),
        }
    }

    /// Counters and sizes.
    pub fn stats(&self) -> Stats {
        let view = self.inner.shared.view.read().clone();
        let counters = &self.inner.counters;
        let frozen: usize = view.frozen.iter().map(|f| f.active.generation.bytes()).sum();
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let cache = self.inner.cache.stats();
        let decoded = self.inner.decoded.stats();
        let (sorted_names_bytes, sorted_names_evictions) = self.inner.sorted_names.stats();
        Stats {
            rows_written: get(&counters.rows_written),
            values_written: get(&counters.values_written),
            overloaded: get(&counters.overloaded),
            no_space: self.inner.space.refused(),
            disk_free_bytes: self.free_bytes(),
            disk_low: self.is_disk_low(),
            memtable_bytes: (frozen + view.active.generation.bytes()) as u64,
            flushes: get(&counters.flushes),
            compactions: get(&counters.compactions),
            background_errors: get(&counters.background_errors),
            expired_files: get(&counters.expired_files),
            expired_series: get(&counters.expired_series),
            deletes: get(&counters.deletes),
            deletes_refused: get(&counters.deletes_refused),
            deletes_waiting: view.deletes.len() as u64,
            emptied_series: get(&counters.emptied_series),
            idle_series: get(&counters.idle_series),
            rewritten_files: get(&counters.rewritten_files),
            rolled_partitions: get(&counters.rolled_partitions),
            files: view.files.values().map(|f| f.len() as u64).sum(),
            file_bytes: view.files.values().flatten().map(|f| f.record.bytes).sum(),
            open_files: cache.open_files,
            opened_files: cache.opened_files,
            indexes: cache.indexes,
            index_bytes: cache.bytes,
            index_loads: cache.loads,
            index_evictions: cache.evictions,
            decoded_bytes: decoded.bytes,
            decoded_hits: decoded.hits,
            decoded_misses: decoded.misses,
            decoded_evictions: decoded.evictions,
            sorted_names_bytes,
            sorted_names_evictions,
        }
    }

    /// Counters of the log.
    pub fn wal_stats(&self) -> wal::WalStats {
        self.inner.wal.stats()
    }

    /// The values of a tag of one table in order: made for the first who asks, kept for others, brought up to date.
    /// Sorts what is new since the last time.
    pub fn tag_values(&self, table: TableId, key: &str) -> Arc<TagValues> {
        self.inner.sorted_names.get(&self.inner.registry, &self.inner.decoded, table, key)
    }

    /// The same, if they are at hand and nothing has changed since.
    pub fn tag_values_kept(&self, table: TableId, key: &str) -> Option<Arc<TagValues>> {
        self.inner.sorted_names.peek(&self.inner.registry, table, key)
    }

    /// Waits until everything written so far is in the log and visible.
    ///
    /// # Errors
    /// `Unavailable` when the log has failed.
    pub fn drain(&self) -> Result<u64> {
        self.inner.wal.drain()
    }

    /// Whether the log has failed: everything written so far can be read, nothing can be written before a restart.
    pub fn is_read_only(&self) -> bool {
        self.inner.wal.is_failed()
    }

    /// Live files, for tests and reports.
    pub fn files(&self) -> Vec<FileRecord> {
        self.inner.shared.view.read().files.values().flatten().map(|f| f.record.clone()).collect()
    }

    /// How long nothing was written, and how old the open memtable is.
    pub(crate) fn quiet_and_age(&self) -> (Duration, Duration) {
        let now = self.inner.env.clock.monotonic();
        let last = Duration::from_nanos(self.inner.shared.last_write_ns.load(Ordering::Relaxed).max(0) as u64);
        let since = self.inner.shared.view.read().active.since;
        (now.saturating_sub(last), now.saturating_sub(since))
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Merges small blocks of the memtables; whether there were any.
    pub(crate) fn merge_memtable(&self) -> bool {
        let view = self.inner.shared.view.read().clone();
        view.active.generation.merge_once()
    }

    /// Since when the oldest deletion waits to be flushed.
    pub(crate) fn oldest_unflushed_delete(&self) -> Option<Duration> {
        let view = self.inner.shared.view.read();
        let oldest = view.frozen.first().map_or(view.active.base_seq, |f| f.active.base_seq);
        let deletes = view.deletes.clone();
        drop(view);
        if deletes.is_empty() {
            return None;
        }
        let now = self.inner.env.clock.monotonic();
        deletes.all().iter().find(|delete| delete.id.seq > oldest).map(|delete| now.saturating_sub(delete.since))
    }

    /// Whether anything waits to be flushed.
    pub(crate) fn has_unflushed(&self) -> bool {
        let view = self.inner.shared.view.read();
        !view.frozen.is_empty() || self.inner.wal.stats().last_seq > view.active.base_seq
    }

    /// Does what the log's thread would do now, where it has none ([`wal::Options::own_thread`]).
    pub fn turn(&self) {
        self.inner.wal.turn();
    }

    pub(crate) fn release_idle_log(&self) -> Result<()> {
        self.inner.wal.idle()
    }

    pub(crate) fn count_background_error(&self) {
        self.inner.counters.background_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Freezes the open generation, unless it is empty and no definition waits; returns the frozen ones, oldest first.
    pub(crate) fn freeze(&self) -> Result<Vec<Arc<Frozen>>> {
        let inner = &*self.inner;
        // Most of the queue is written before writers are held up.
        inner.wal.drain()?;
        let _switch = inner.gate.write();
        self.freeze_locked()
    }

    /// The caller holds the gate.
    fn freeze_locked(&self) -> Result<Vec<Arc<Frozen>>> {
        let inner = &*self.inner;
        let seq = inner.wal.drain()?;
        let mut view = inner.shared.view.write();
        if seq > view.active.base_seq {
            let next = Active { generation: Generation::default(), base_seq: seq, since: inner.env.clock.monotonic() };
            let active = std::mem::replace(&mut view.active, Arc::new(next));
            view.frozen.push(Arc::new(Frozen { active, seq, mark: inner.registry.mark() }));
        }
        Ok(view.frozen.clone())
    }

    /// Freezes the open generation, unless it is empty, and gives the next write, which carries nothing, a number. Returns
    /// the frozen ones, oldest first, that number, and when it is durable.
    pub(crate) fn freeze_at_mark(&self) -> Result<(Vec<Arc<Frozen>>, u64, Commit)> {
        let inner = &*self.inner;
        // Most of the queue is written before writers are held up.
        inner.wal.drain()?;
        let _switch = inner.gate.write();
        let frozen = self.freeze_locked()?;
        let (mark, commit) = inner.wal.append(&Arc::new(Batch::default()), Durability::Sync)?;
        Ok((frozen, mark, commit))
    }

    /// The stem of a new file: one above the largest that lives, counted on.
    pub(crate) fn new_file_id(&self) -> String {
        format!("{:010}", self.inner.next_file.fetch_add(1, Ordering::Relaxed))
    }
}

/// The points as of one moment. Holds files and memory until dropped.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) view: View,
    pub(crate) registry: Arc<Registry>,
    pub(crate) decoded: Arc<Decoded>,
}

impl Snapshot {
    /// Points of `series` of one table at one level within `times_ns`, by series. `fields` ascend; `None` for all.
    ///
    /// # Errors
    /// `NotFound` when the table is gone.
    pub fn scan(
        &self,
        table: TableId,
        tier: Tier,
        series: SeriesFilter,
        fields: Option<Arc<[FieldId]>>,
        times_ns: RangeInclusive<i64>,
    ) -> Result<Scan> {
        self.scan_where(table, tier, series, fields, times_ns, &|_| true)
    }

    /// The same, of those files only that `take` takes.
    pub(crate) fn scan_where(
        &self,
        table: TableId,
        tier: Tier,
        series: SeriesFilter,
        fields: Option<Arc<[FieldId]>>,
        times_ns: RangeInclusive<i64>,
        take: &dyn Fn(&LiveFile) -> bool,
    ) -> Result<Scan> {
        let policy = self.registry.read().table(table).map(|t| t.policy());
        let policy = policy.ok_or_else(|| Error::not_found(format!("table {} is gone", table.0)))?;
        let (first, last) = match &series {
            SeriesFilter::Range(range) => (*range.start(), *range.end()),
            SeriesFilter::List(list) => match (list.first(), list.last()) {
                (Some(first), Some(last)) => (*first, *last),
                _ => return Ok(Scan::new(series, fields, times_ns)),
            },
        };
        let mut scan = Scan::new(series, fields, times_ns.clone())
            .without(self.view.deletes.clone(), u64::MAX)
            .through(self.decoded.clone());
        let mut rank = 0;
        for file in self.view.files.get(&(policy, tier)).into_iter().flatten() {
            let record = &file.record;
            let in_time = record.max_time_ns >= *times_ns.start() && record.min_time_ns <= *times_ns.end();
            if in_time && record.max_series >= first && record.min_series <= last && take(file) {
                rank += 1;
                if self.view.is_live(file) {
                    // What a deletion touches is computed again from what it left.
                    scan.add_file_with_deleted(rank, file.clone());
                } else {
                    scan.add_file(rank, file.clone());
                }
            }
        }
        let frozen = self.view.frozen.iter().map(|f| &f.active);
        for active in frozen.chain([&self.view.active]) {
            rank += 1;
            for part in active.generation.parts(table, tier) {
                scan.add_part(rank, active.base_seq, part);
            }
        }
        Ok(scan)
    }

    /// What each source would give to [`Snapshot::scan`] of the same, from indexes alone. If the sources hold no more than
    /// `small` values altogether, only that is told, of all of the range and without looking at series.
    ///
    /// # Errors
    /// `NotFound` when the table is gone; as of reading, for an index that cannot be loaded.
    pub fn weigh(
        &self,
        table: TableId,
        tier: Tier,
        series: &SeriesFilter,
        fields: Option<&[FieldId]>,
        times_ns: &RangeInclusive<i64>,
        small: u64,
    ) -> Result<Vec<Weight>> {
        let policy = self.registry.read().table(table).map(|t| t.policy());
        let policy = policy.ok_or_else(|| Error::not_found(format!("table {} is gone", table.0)))?;
        let (first, last) = match series {
            SeriesFilter::Range(range) => (*range.start(), *range.end()),
            SeriesFilter::List(list) => match (list.first(), list.last()) {
                (Some(first), Some(last)) => (*first, *last),
                _ => return Ok(Vec::new()),
            },
        };
        let may_have = |file: &&Arc<LiveFile>| {
            let record = &file.record;
            let in_time = record.max_time_ns >= *times_ns.start() && record.min_time_ns <= *times_ns.end();
            in_time && record.max_series >= first && record.min_series <= last
        };
        let files = || self.view.files.get(&(policy, tier)).into_iter().flatten().filter(may_have);
        let actives = self.view.frozen.iter().map(|f| &f.active).chain([&self.view.active]);
        let parts: Vec<_> = actives.flat_map(|active| active.generation.parts(table, tier)).collect();
        let of_parts = parts.iter().map(|part| (part.block.len() * part.block.fields().len()) as u64);
        let values = files().map(|file| file.record.rows).chain(of_parts).fold(0, u64::saturating_add);
        if values <= small {
            let (min_time_ns, max_time_ns) = (*times_ns.start(), *times_ns.end());
            return Ok(vec![Weight { values, of_series: values, min_time_ns, max_time_ns }]);
        }
        let asked = Asked { series, fields, times_ns };
        let of_files = files().map(|file| asked.file(file)).collect::<Result<Vec<_>>>()?;
        Ok(of_files.into_iter().chain(parts.iter().map(|part| asked.part(part))).flatten().collect())
    }

    /// Every series id of a table.
    pub fn all_series(table: TableId) -> SeriesFilter {
        SeriesFilter::Range(SeriesId::new(table, 0, 0)..=SeriesId::new(table, u8::MAX, u32::MAX))
    }
}
