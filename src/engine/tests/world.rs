//! An engine on a file system in memory, and the map it must agree with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rhythmite_env::sim::{SimFs, Unsynced};
use rhythmite_env::{Clock, Env, ManualClock, Random, SeededRandom};
use rhythmite_model::{
    Aggregates, Column, Error, FieldType, KeyKind, Level, Policy, PolicyId, Result, Rows, TableId, Tier, Tombstone,
};

use crate::manifest::{Edit, Manifest, State};
use crate::registry::Slot;
use crate::{Durability, Engine, OpenReport, Options, Snapshot};

pub(super) const POLICY: PolicyId = PolicyId(1);
/// Of the tables in [`KEPT_TABLES`]: everything is kept for ever.
pub(super) const KEPT: PolicyId = PolicyId(2);
/// One of tags, one of paths.
pub(super) const KEPT_TABLES: [&str; 2] = ["kept", "metrics"];
pub(super) const SECOND: i64 = 1_000_000_000;
pub(super) const START_S: i64 = 1_700_000_000;

/// A catalogue whose commits survive every crash.
#[derive(Default)]
pub(super) struct MemoryManifest {
    pub state: Mutex<State>,
    /// Commits so far, failed ones included.
    pub commits: AtomicU64,
    /// Commits that answer an error, by number (the first is 1): whether they happen all the same.
    pub faults: Mutex<BTreeMap<u64, bool>>,
    /// By which clock a commit takes how long.
    pub takes: Mutex<Option<(Arc<ManualClock>, Duration)>>,
}

impl Manifest for MemoryManifest {
    fn load(&self) -> Result<State> {
        Ok(self.state.lock().clone())
    }

    fn commit(&self, edit: &Edit) -> Result<()> {
        if let Some((clock, time)) = &*self.takes.lock() {
            clock.advance(*time);
        }
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        let fault = self.faults.lock().remove(&number);
        if fault == Some(false) {
            return Err(Error::unavailable("the catalogue cannot be reached"));
        }
        let mut state = self.state.lock();
        state.files.retain(|f| !edit.remove_files.contains(&f.id) && edit.add_files.iter().all(|a| a.id != f.id));
        state.files.extend(edit.add_files.clone());
        state.segments.retain(|s| !edit.remove_segments.contains(&s.id));
        state.segments.extend(edit.add_segments.clone());
        let added = |id| edit.add_tombstones.iter().any(|t| t.id == id);
        state.tombstones.retain(|t| !edit.remove_tombstones.contains(&t.id) && !added(t.id));
        state.tombstones.extend(edit.add_tombstones.clone());
        state.raw_floors.retain(|(policy, _)| edit.raw_floors.iter().all(|(p, _)| p != policy));
        state.raw_floors.extend(edit.raw_floors.clone());
        state.flushed_seq = edit.flushed_seq.unwrap_or(state.flushed_seq);
        if fault.is_some() { Err(Error::unavailable("the catalogue's answer was lost")) } else { Ok(()) }
    }
}

/// (table, key, field) -> time -> value.
pub(super) type Map = BTreeMap<(String, String, String), BTreeMap<i64, String>>;

/// One point to write.
#[derive(Clone, Debug)]
pub(super) struct P {
    pub table: &'static str,
    pub key: String,
    pub field: &'static str,
    pub time_s: i64,
    pub value: f64,
}

pub(super) struct World {
    pub fs: Arc<SimFs>,
    pub clock: Arc<ManualClock>,
    pub random: Arc<dyn Random>,
    pub manifest: Arc<MemoryManifest>,
    pub engine: Option<Engine>,
    pub options: Options,
    pub retention_s: i64,
    pub max_idle_s: i64,
    /// Step and retention of coarser levels.
    pub tiers_s: Vec<(i64, i64)>,
    pub aggregates: Aggregates,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut world = Self::closed(seed);
        world.open().expect("a new directory opens");
        world
    }

    /// An empty disk that no engine has opened yet.
    pub fn closed(seed: u64) -> Self {
        let fs = Arc::new(SimFs::new(seed));
        let random = Arc::new(SeededRandom::new(seed));
        let mut options = Options::new("/db");
        // A disk is full when it is full, but in the tests of the mark.
        options.free_bytes_min = 0;
        options.merge_flushed_files = 3;
        options.merge_partition_files = 2;
        let clock = Arc::new(ManualClock::new(START_S * SECOND));
        options.rollup_grace = Duration::ZERO;
        options.rollup_delay = Duration::ZERO;
        Self {
            fs,
            clock,
            random,
            manifest: Arc::default(),
            engine: None,
            options,
            retention_s: 0,
            max_idle_s: 0,
            tiers_s: Vec::new(),
            aggregates: Aggregates::USUAL,
        }
    }

    pub fn open(&mut self) -> Result<OpenReport> {
        let policies = vec![self.policy(), self.kept()];
        let (engine, report) = Engine::open(self.env(), self.options.clone(), self.manifest.clone(), policies)?;
        self.engine = Some(engine);
        Ok(report)
    }

    pub fn env(&self) -> Env {
        Env { clock: self.clock.clone(), fs: self.fs.clone(), random: self.random.clone() }
    }

    /// The policy of most tables, kept for `retention_s`.
    pub fn policy(&self) -> Policy {
        Policy {
            id: POLICY,
            database: "d".to_owned(),
            name: "p".to_owned(),
            levels: std::iter::once((0, self.retention_s))
                .chain(self.tiers_s.iter().copied())
                .map(|(step, retention)| Level { step_ns: step * SECOND, retention_ns: retention * SECOND })
                .collect(),
            partition_ns: 100 * SECOND,
            max_idle_ns: self.max_idle_s * SECOND,
            aggregates: self.aggregates,
        }
    }

    /// The other policy.
    pub fn kept(&self) -> Policy {
        let levels = vec![Level { step_ns: 0, retention_ns: 0 }];
        Policy { id: KEPT, name: "kept".to_owned(), levels, max_idle_ns: 0, ..self.policy() }
    }

    pub fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("open")
    }

    pub fn crash(&mut self, unsynced: Unsynced) -> Result<OpenReport> {
        self.fs.crash(unsynced);
        self.engine = None;
        self.open()
    }

    /// Writes points in one batch; waits for the acknowledgement.
    pub fn write(&self, points: &[P], durability: Durability) -> Result<()> {
        self.submit(points, durability)?.wait()
    }

    pub fn submit(&self, points: &[P], durability: Durability) -> Result<crate::Commit> {
        let (rows, _) = self.rows(points)?;
        self.engine().write(rows, durability)
    }

    /// The points as rows of series that exist.
    pub fn rows(&self, points: &[P]) -> Result<(Vec<Rows>, crate::Commit)> {
        let engine = self.engine();
        let (mut rows, mut last) = (Vec::new(), crate::Commit::done());
        for p in points {
            let ((series, field), commit) = engine.create(Durability::Interval, |names| {
                let table = names.create_table(policy_of(p.table), p.table, kind_of(p.table))?;
                let field = names.create_field(table, p.field, FieldType::Float)?;
                Ok((names.create_series(table, &p.key, None)?, field))
            })?;
            last = commit;
            rows.push(Rows {
                table: series.table(),
                tier: Tier::RAW,
                series: vec![series],
                times_ns: vec![p.time_s * SECOND],
                fields: vec![(field, Column::Float(vec![p.value]))],
            });
        }
        Ok((rows, last))
    }

    /// Everything that a reader finds.
    pub fn read(&self) -> Map {
        let engine = self.engine();
        let snapshot = engine.snapshot();
        let mut map = Map::new();
        let tables: Vec<(TableId, String)> =
            engine.registry().read().all_tables().map(|t| (t.id(), t.name().to_owned())).collect();
        for (table, name) in tables {
            let scan = snapshot.scan(table, Tier::RAW, Snapshot::all_series(table), None, i64::MIN..=i64::MAX).unwrap();
            let mut last = None;
            for points in scan {
                let points = points.unwrap();
                assert!(Some(points.series) > last, "series ascend");
                last = Some(points.series);
                let names = engine.registry().read();
                let Some(slot) = names.slot(points.series) else {
                    assert!(engine.is_read_only(), "deleted with its points");
                    continue;
                };
                for stream in points.streams {
                    let field = names.field(table, stream.field).unwrap().0.to_owned();
                    assert!(stream.times_ns.windows(2).all(|w| w[0] < w[1]), "times ascend");
                    let values = (0..stream.values.len()).map(|i| format!("{:?}", stream.values.get(i)));
                    let key = (name.clone(), names.key(slot).to_owned(), field);
                    map.insert(key, stream.times_ns.iter().map(|t| t / SECOND).zip(values).collect());
                }
            }
        }
        map
    }

    /// Deletes points of the series whose key is among `keys`.
    pub fn delete(&self, d: &D, durability: Durability) -> Result<u64> {
        let engine = self.engine();
        let names = engine.registry().read();
        let Some(table) = names.find_table(policy_of(d.table), d.table).map(|t| t.id()) else { return Ok(0) };
        let slots = names.series(table).into_iter();
        let within = slots.filter(|&slot| d.keys.iter().any(|key| key == names.key(Slot(slot)))).collect();
        let field = d.field.map(|field| names.find_field(table, field).map(|f| f.0));
        let tombstone = Tombstone {
            table,
            series: names.set(table, Some(&within)),
            fields: field.map(|field| field.into_iter().collect()),
            times_ns: d.times_s.map_or(Tombstone::ALL_TIMES, |(from, to)| from * SECOND..=to * SECOND),
        };
        drop(names);
        engine.delete(vec![tombstone], durability)
    }

    /// Keys of all series.
    pub fn names(&self) -> BTreeSet<String> {
        let names = self.engine().registry().read();
        let tables: Vec<_> = names.all_tables().map(|t| t.id()).collect();
        let slots = tables.into_iter().flat_map(|table| names.series_by_key(table, None));
        slots.map(|slot| names.key(slot).to_owned()).collect()
    }

    pub fn table(&self, name: &str) -> Option<TableId> {
        self.engine().registry().read().find_table(policy_of(name), name).map(|t| t.id())
    }

    /// Files below the data directory that hold points.
    pub fn files_on_disk(&self) -> usize {
        fn walk(fs: &SimFs, dir: &std::path::Path) -> usize {
            use rhythmite_env::Fs;
            let Ok(list) = fs.list(dir) else { return usize::from(dir.to_string_lossy().ends_with(".idx")) };
            list.iter().map(|p| walk(fs, p)).sum()
        }
        walk(&self.fs, std::path::Path::new("/db/data"))
    }

    pub fn now_s(&self) -> i64 {
        self.clock.now_s()
    }
}

pub(super) fn policy_of(table: &str) -> PolicyId {
    if KEPT_TABLES.contains(&table) { KEPT } else { POLICY }
}

pub(super) fn kind_of(table: &str) -> KeyKind {
    if table == "metrics" { KeyKind::Path } else { KeyKind::Tagged }
}

/// A deletion.
#[derive(Clone, Debug)]
pub(super) struct D {
    pub table: &'static str,
    pub keys: Vec<String>,
    pub field: Option<&'static str>,
    /// Both ends included; `None` for all.
    pub times_s: Option<(i64, i64)>,
}

/// Takes points from the map that the engine must agree with.
pub(super) fn take(map: &mut Map, d: &D) {
    map.retain(|(table, key, field), points| {
        if table == d.table && d.keys.contains(key) && d.field.is_none_or(|f| f == field) {
            points.retain(|time, _| d.times_s.is_some_and(|(from, to)| *time < from || *time > to));
        }
        !points.is_empty()
    });
}

/// Puts points into the map that the engine must agree with.
pub(super) fn put(map: &mut Map, points: &[P]) {
    for p in points {
        let key = (p.table.to_owned(), p.key.clone(), p.field.to_owned());
        let value = format!("{:?}", rhythmite_model::FieldValue::Float(p.value));
        map.entry(key).or_default().insert(p.time_s, value);
    }
}

/// A short form: `cpu,host=a usage 10 1.5`.
pub(super) fn p(table: &'static str, host: u8, field: &'static str, time_s: i64, value: f64) -> P {
    P { table, key: format!("{table},host={host}"), field, time_s, value }
}
