//! The handle: write, read, flush, compact, drop.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rhythmite_env::Env;
use rhythmite_model::{Batch, Definition, Error, ErrorKind, Policy, PolicyId, Result, Rows, TableId, Tier, Tombstone};

use crate::commit::Change;
use crate::compaction::PartMerged;
use crate::decoded::Decoded;
use crate::deletes::{Delete, Deletes};
use crate::files::{FileCache, LiveFile};
use crate::idle::IdleCheck;
use crate::layout;
use crate::lull::Lull;
use crate::manifest::{FileRecord, Manifest, SegmentRecord};
use crate::memtable::Generation;
use crate::options::Options;
use crate::registry::{Creator, Registry, TagValues};
use crate::rewrite::Rewrites;
use crate::rollup::Rolled;
use crate::snapshot::Snapshot;
use crate::sorted_names::SortedNames;
use crate::space::Space;
use crate::stats::Counters;
use crate::view::{Active, Files, Frozen, Shared, View, most_flushed};
use crate::wal::{self, Commit, Durability, Wal};

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
    pub(crate) sorted_names: SortedNames,
    next_file: AtomicU64,
    /// Deletions found in the log, of which nobody knows whether they left series without a point.
    pub(crate) unchecked: Mutex<Vec<Tombstone>>,
    pub(crate) idle_check: Mutex<IdleCheck>,
    pub(crate) lull: Mutex<Lull>,
    pub(crate) space: Space,
    /// Which files deletions have to be worked into, as of some view.
    pub(crate) rewrites: Mutex<Rewrites>,
    /// Raw partitions of policies with coarser levels, by their starts.
    pub(crate) rolled: Mutex<HashMap<(PolicyId, i64), Rolled>>,
    pub(crate) counters: Counters,
    /// Size at which the memtable is flushed at present, see [`Engine::fit_memtable`].
    pub(crate) memtable_limit: AtomicUsize,
}

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
        let cache = FileCache::new(&env, options.index_cache_bytes, options.page_cache_bytes, options.open_files_max);
        let decoded_bytes = options.decoded_cache_bytes;
        let mut lull = Lull::new(options.idle_flush, options.flush_age);
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
        if report.replayed_rows > 0 {
            lull.filled();
        }
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
            lull: Mutex::new(lull),
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
            at_hand: false,
            view: self.inner.shared.view.read().clone(),
            registry: self.inner.registry.clone(),
            decoded: self.inner.decoded.clone(),
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
        let since = self.inner.shared.view.read().active.since;
        (now.saturating_sub(self.last_write()), now.saturating_sub(since))
    }

    /// When it was last written, on the monotonic clock.
    pub(crate) fn last_write(&self) -> Duration {
        Duration::from_nanos(self.inner.shared.last_write_ns.load(Ordering::Relaxed).max(0) as u64)
    }

    /// Whether nothing was written for so long that a memtable of these bytes is flushed.
    pub(crate) fn flushes_idle(&self, quiet: Duration, bytes: usize) -> bool {
        let mut lull = self.inner.lull.lock();
        quiet >= lull.wait(self.inner.env.clock.monotonic(), bytes) && bytes >= lull.least_bytes()
    }

    /// A memtable was flushed since it was full.
    pub(crate) fn note_full_flush(&self) {
        self.inner.lull.lock().filled();
    }

    /// A memtable of these bytes was flushed because nothing was written since `last_write`.
    pub(crate) fn note_idle_flush(&self, last_write: Duration, bytes: usize) {
        self.inner.lull.lock().flushed(last_write, bytes);
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
