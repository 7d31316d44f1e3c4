//! Lives of an engine made from a seed, in one thread: writes, deletions, flushes, merges, expiry, idle series, disks
//! and catalogues that fail, crashes and restarts, compared with an [`Oracle`] all along.
//!
//! `RHYTHMITE_SIM_LIVES` says how many seeds are tried (300 where `CI` is set, otherwise 60), `RHYTHMITE_SIM_FIRST` which
//! is the first. A failure prints its seed and what happened last; `RHYTHMITE_SIM_SEED` repeats one and prints all of it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rhythmite_env::sim::{Fault, Unsynced};
use rhythmite_model::{ErrorKind, KeyKind, Result, SeriesSet, TableId, Tier, Tombstone};

use super::oracle::{Fate, Oracle, Step};
use super::world::{D, Map, P, POLICY, START_S, World, kind_of, policy_of};
use crate::check::{self, Context};
use crate::registry::{GlobStep, Want};
use crate::snapshot::Snapshot;
use crate::{Durability, background};

const TABLES: [&str; 4] = ["cpu", "mem", "kept", "metrics"];
const FIELDS: [&str; 2] = ["a", "b"];
const HOSTS: u8 = 5;
/// Steps of one life story.
const STEPS: u32 = 120;
/// What is told of a failure.
const TOLD: usize = 25;

fn key(table: &str, host: u8) -> String {
    match kind_of(table) {
        KeyKind::Path => format!("h{host}.{table}"),
        _ => format!("{table},host={host}"),
    }
}

struct Life {
    seed: u64,
    rng: StdRng,
    world: World,
    oracle: Oracle,
    faults: bool,
    /// A reader that takes its time.
    reader: Option<Snapshot>,
    /// Merging found nothing to do since the last change, and nothing has failed.
    healthy: bool,
    told: VecDeque<String>,
    tell_all: bool,
}

impl Drop for Life {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}, last of all:", self.seed);
            self.told.iter().for_each(|line| eprintln!("  {line}"));
            eprintln!("repeat it with RHYTHMITE_SIM_SEED={} cargo test -p rhythmite-engine sim::", self.seed);
        }
    }
}

impl Life {
    fn new(seed: u64, faults: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::closed(seed);
        let options = &mut world.options;
        options.wal.own_thread = false;
        options.wal.segment_bytes_max = *[4 << 10, 16 << 10, 256 << 10].choose(&mut rng).unwrap();
        options.wal.wal_bytes_max = *[64 << 10, 4 << 20].choose(&mut rng).unwrap();
        options.memtable_bytes = *[32 << 10, 1 << 20].choose(&mut rng).unwrap();
        options.index_cache_bytes = *[1, 1 << 20].choose(&mut rng).unwrap();
        options.decoded_cache_bytes = *[0, 4 << 10, 1 << 20].choose(&mut rng).unwrap();
        options.page_cache_bytes = *[0, 16 << 10, 1 << 20].choose(&mut rng).unwrap();
        options.open_files_max = *[1, 64].choose(&mut rng).unwrap();
        options.merge_partitions = *[1, 3, 256].choose(&mut rng).unwrap();
        options.flushed_files_max = *[6, 64].choose(&mut rng).unwrap();
        options.delete_delay = Duration::from_secs(*[0, 60, 600].choose(&mut rng).unwrap());
        options.free_bytes_min = *[0, 0, 20_000].choose(&mut rng).unwrap();
        // Zero: flushes go straight into partitions, where they may.
        options.idle_flush = Duration::from_secs(*[0, 5].choose(&mut rng).unwrap());
        world.retention_s = *[0, 400, 2_000].choose(&mut rng).unwrap();
        world.max_idle_s = *[0, 0, 900].choose(&mut rng).unwrap();
        world.open().expect("a new directory opens");
        let oracle = Oracle::default();
        let tell_all = std::env::var_os("RHYTHMITE_SIM_SEED").is_some();
        let (reader, told) = Default::default();
        Self { seed, rng, world, oracle, faults, reader, healthy: false, told, tell_all }
    }

    fn tell(&mut self, line: String) {
        let line = format!("op {}: {line}", self.world.fs.counts().ops);
        if self.tell_all {
            eprintln!("{line}");
        }
        if self.told.len() == TOLD {
            self.told.pop_front();
        }
        self.told.push_back(line);
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.rng.random_ratio(1, one_in)
    }

    fn durability(&mut self) -> Durability {
        *[Durability::Sync, Durability::Sync, Durability::Interval, Durability::None].choose(&mut self.rng).unwrap()
    }

    /// Mostly about now, so that points fall into few partitions and expire in time.
    fn time_s(&mut self) -> i64 {
        let now = self.world.now_s();
        match self.rng.random_range(0..20) {
            0 => START_S - self.rng.random_range(0..3_000),
            1 => now + self.rng.random_range(0..300),
            _ => now - self.rng.random_range(0..300),
        }
    }

    fn run(mut self) -> (u64, Map) {
        for _ in 0..STEPS {
            self.step();
            if self.world.fs.is_off() {
                self.crash();
            } else if self.chance(4) {
                self.check();
            }
        }
        self.finish()
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..34 => self.write(),
            34..42 => self.delete(),
            42..43 => self.drop_table(),
            43..49 => self.flush(),
            49..57 => self.flush_round(),
            57..70 => self.compact(),
            70..71 => self.compact_all(),
            71..73 => drop(self.world.engine().merge_memtable()),
            73..84 => self.advance(),
            84..87 => self.world.engine().turn(),
            87..89 => self.read_slowly(),
            89..92 => self.crash(),
            92..93 => self.stop(),
            _ if self.faults => self.break_something(),
            _ => {}
        }
    }

    fn write(&mut self) {
        let durability = self.durability();
        let n = self.rng.random_range(1..12);
        let table = *TABLES.choose(&mut self.rng).unwrap();
        let points: Vec<P> = (0..n)
            .map(|_| P {
                table,
                key: key(table, self.rng.random_range(0..HOSTS)),
                field: FIELDS.choose(&mut self.rng).unwrap(),
                time_s: self.time_s(),
                value: f64::from(self.rng.random::<i16>()) / 8.0,
            })
            .collect();
        let was_failed = self.world.engine().is_read_only();
        let done = self.world.write(&points, durability);
        self.tell(format!("write {durability:?} {points:?}: {}", short(&done)));
        self.healthy = false;
        match done {
            Ok(()) => {
                let fate = if durability == Durability::Sync { Fate::Acknowledged } else { Fate::Visible };
                self.oracle.push(Step::Put(points), fate);
            }
            Err(e) => {
                self.oracle.refused(&points);
                match e.kind() {
                    kind if kind.is_no_room() => {}
                    ErrorKind::Unavailable if was_failed => {}
                    // Queued by the call that saw the log fail, or not even that.
                    ErrorKind::Unavailable => self.oracle.push(Step::Put(points), Fate::Unknown),
                    _ => panic!("write: {e}"),
                }
            }
        }
    }

    fn delete(&mut self) {
        let durability = self.durability();
        let table = *TABLES.choose(&mut self.rng).unwrap();
        let hosts = self.rng.random_range(1..=3);
        let keys = (0..hosts).map(|_| key(table, self.rng.random_range(0..HOSTS))).collect();
        let field = if self.chance(4) { FIELDS.choose(&mut self.rng).copied() } else { None };
        let from = self.time_s();
        let to = from + self.rng.random_range(0..400);
        let delete = D { table, keys, field, times_s: (!self.chance(4)).then_some((from, to)) };
        let before = self.world.engine().wal_stats().last_seq;
        let was_failed = self.world.engine().is_read_only();
        let done = self.world.delete(&delete, durability);
        self.tell(format!("delete {durability:?} {delete:?}: {}", short(&done)));
        // Nothing of the kind was there: nothing went to the log, and nothing before it is durable for that.
        if done.is_err() || self.world.engine().wal_stats().last_seq > before {
            self.taken(delete, done, was_failed, durability == Durability::Sync);
        }
    }

    fn drop_table(&mut self) {
        let table = *TABLES.choose(&mut self.rng).unwrap();
        let Some(id) = self.world.table(table) else { return };
        let (series, times_ns) = (SeriesSet::table(id), Tombstone::ALL_TIMES);
        let was_failed = self.world.engine().is_read_only();
        let tombstone = Tombstone { table: id, series, fields: None, times_ns };
        let done = self.world.engine().delete(vec![tombstone], Durability::Sync);
        self.tell(format!("drop {table}: {}", short(&done)));
        let keys = (0..HOSTS).map(|host| key(table, host)).collect();
        self.taken(D { table, keys, field: None, times_s: None }, done, was_failed, true);
    }

    fn taken(&mut self, delete: D, done: Result<u64>, was_failed: bool, sync: bool) {
        self.healthy = false;
        match done {
            Ok(_) => self.oracle.push(Step::Take(delete), if sync { Fate::Acknowledged } else { Fate::Visible }),
            Err(e) if e.kind().is_no_room() => {}
            Err(e) if e.kind() == ErrorKind::Unavailable => {
                if !was_failed {
                    self.oracle.push(Step::Take(delete), Fate::Unknown);
                }
            }
            Err(e) => panic!("delete: {e}"),
        }
    }

    fn flush(&mut self) {
        let done = self.world.engine().flush();
        self.tell(format!("flush: {}", short(&done)));
        self.tried(&done);
        if done.is_ok() {
            self.oracle.all_durable();
        }
    }

    fn flush_round(&mut self) {
        let done = background::flush(self.world.engine());
        self.tell(format!("a round of flushing: {done:?}"));
        self.tried(&done);
    }

    fn tried<T>(&mut self, done: &Result<T>) {
        if let Err(e) = done {
            assert!(e.kind().is_no_room() || (self.faults && e.kind() == ErrorKind::Unavailable), "{e}");
        }
    }

    fn compact(&mut self) {
        for _ in 0..self.rng.random_range(1..6) {
            let idle = self.idle();
            let before = self.world.engine().stats().idle_series;
            let done = self.world.engine().compact_once();
            let dropped = self.world.engine().stats().idle_series > before;
            self.tell(format!("merge: {done:?}, idle series dropped: {dropped}"));
            self.tried(&done);
            let fate = if done.is_ok() { Fate::Acknowledged } else { Fate::Unknown };
            if dropped || (done.is_err() && !idle.is_empty()) {
                idle.into_iter().for_each(|delete| self.oracle.push(Step::Take(delete), fate));
            }
            if done.is_err() && !self.world.engine().is_read_only() && !self.world.fs.is_off() {
                let expired_s = self.expired_s();
                self.oracle.settle(&self.world.read(), expired_s);
            }
            self.healthy = matches!(done, Ok(false)) && !self.world.engine().is_read_only();
            if !matches!(done, Ok(true)) {
                break;
            }
        }
    }

    /// What `max_idle` would take now, by table.
    fn idle(&self) -> Vec<D> {
        if self.world.max_idle_s == 0 || self.world.fs.is_off() {
            return Vec::new();
        }
        let since_s = self.world.now_s() - self.world.max_idle_s;
        let found = self.world.read();
        let of = |table: &'static str| {
            let newest = |key: &str| {
                let streams = found.iter().filter(|(k, _)| k.1 == *key);
                streams.filter_map(|(_, points)| points.keys().next_back().copied()).max()
            };
            let keys = (0..HOSTS).map(|host| key(table, host));
            let keys: Vec<_> = keys.filter(|key| newest(key).is_some_and(|newest| newest < since_s)).collect();
            D { table, keys, field: None, times_s: None }
        };
        let tables = TABLES.into_iter().filter(|table| policy_of(table) == POLICY);
        tables.map(of).filter(|delete| !delete.keys.is_empty()).collect()
    }

    fn compact_all(&mut self) {
        let done = self.world.engine().compact_all();
        self.tell(format!("merge all: {done:?}"));
        self.tried(&done);
    }

    fn advance(&mut self) {
        let by = match self.rng.random_range(0..10) {
            0..3 => Duration::from_millis(self.rng.random_range(1..300)),
            3..9 => Duration::from_secs(self.rng.random_range(1..70)),
            _ => Duration::from_secs(self.rng.random_range(300..1_500)),
        };
        self.world.clock.advance(by);
        self.healthy = false;
        self.tell(format!("{by:?} pass"));
    }

    /// Files and memory of a snapshot stay however much is merged and flushed meanwhile.
    fn read_slowly(&mut self) {
        let Some(reader) = self.reader.take() else {
            self.reader = Some(self.world.engine().snapshot());
            return;
        };
        let tables: Vec<TableId> = self.world.engine().registry().read().all_tables().map(|t| t.id()).collect();
        for table in tables {
            let all = Snapshot::all_series(table);
            let scan = reader.scan(table, Tier::RAW, all, None, i64::MIN..=i64::MAX).unwrap();
            scan.for_each(|points| drop(points.unwrap()));
        }
    }

    fn break_something(&mut self) {
        let fault = *[Fault::Error, Fault::ShortWrite, Fault::PowerOff, Fault::PowerOff].choose(&mut self.rng).unwrap();
        match self.rng.random_range(0..12) {
            0..6 => {
                let op = self.world.fs.counts().ops + self.rng.random_range(1..60);
                self.world.fs.fail_at(op, fault);
                self.tell(format!("operation {op} will fail: {fault:?}"));
            }
            6 => {
                self.world.fs.fail_syncs(true);
                self.tell("syncs fail".to_owned());
            }
            7 => {
                self.world.fs.fail_syncs(false);
                self.tell("syncs work".to_owned());
            }
            8 => {
                let space = self.rng.random_range(0..40_000);
                self.world.fs.set_space(Some(space));
                self.tell(format!("{space} bytes are left"));
            }
            9 => {
                self.world.fs.set_space(None);
                self.tell("there is space".to_owned());
            }
            _ => {
                let commits = self.world.manifest.commits.load(std::sync::atomic::Ordering::Relaxed);
                let (number, happens) = (commits + self.rng.random_range(1..4), self.rng.random());
                self.world.manifest.faults.lock().insert(number, happens);
                self.tell(format!("commit {number} will fail, and happen: {happens}"));
            }
        }
    }

    fn expired_s(&self) -> i64 {
        if self.world.retention_s == 0 { i64::MIN } else { self.world.now_s() - self.world.retention_s }
    }

    /// The power goes; sometimes again during the start that follows.
    fn crash(&mut self) {
        let torn = Unsynced::Torn(self.rng.random());
        let unsynced = *[Unsynced::Lost, torn, torn, Unsynced::Kept].choose(&mut self.rng).unwrap();
        self.tell(format!("crash: {unsynced:?}"));
        self.reader = None;
        self.world.fs.crash(unsynced);
        self.world.engine = None;
        while self.faults && self.chance(4) {
            let fault = *[Fault::Error, Fault::ShortWrite, Fault::PowerOff].choose(&mut self.rng).unwrap();
            let op = self.world.fs.counts().ops + self.rng.random_range(1..25);
            self.world.fs.fail_at(op, fault);
            let opened = self.world.open();
            self.tell(format!("start, operation {op} fails ({fault:?}): {}", short(&opened)));
            if let Err(e) = &opened {
                assert_ne!(e.kind(), ErrorKind::Corrupt, "{e}");
            }
            self.world.fs.crash(if fault == Fault::PowerOff { unsynced } else { Unsynced::Kept });
            self.world.engine = None;
        }
        self.world.manifest.faults.lock().clear();
        self.start();
    }

    /// An orderly stop: everything that the log took is there again.
    fn stop(&mut self) {
        self.reader = None;
        let healthy = self.world.engine().drain().is_ok();
        if healthy {
            self.oracle.all_durable();
        }
        self.tell(format!("stop, everything is in the log: {healthy}"));
        self.world.engine = None;
        self.world.fs.crash(Unsynced::Kept);
        self.start();
    }

    fn start(&mut self) {
        let opened = self.world.open();
        self.tell(format!("start: {opened:?}"));
        opened.unwrap_or_else(|e| panic!("cannot open again: {e}"));
        self.healthy = false;
        let found = self.world.read();
        let expired_s = self.expired_s();
        self.oracle.restarted(&found, expired_s);
        self.check();
    }

    fn check(&mut self) {
        let found = self.world.read();
        self.oracle.check(&found, self.expired_s());
        if self.world.engine().is_read_only() {
            return;
        }
        let listed = self.world.names();
        self.oracle.check_names(&listed, &found, self.healthy);
        let names = self.world.engine().registry().read();
        for table in TABLES {
            let of_table = listed.iter().filter(|key| (0..HOSTS).any(|host| **key == self::key(table, host)));
            let expected: BTreeSet<&String> = of_table.collect();
            if kind_of(table) == KeyKind::Path {
                let found = names.find_paths(&[GlobStep::AnyDepth], Want::Leaves, 100).unwrap();
                let found = found.leaves.into_iter().map(|slot| names.key(slot).to_owned()).collect::<BTreeSet<_>>();
                assert_eq!(found.iter().collect::<BTreeSet<_>>(), expected, "found by a glob");
            } else {
                let id = names.find_table(policy_of(table), table).map(|t| t.id());
                let values = id.map_or(Vec::new(), |id| names.tag_values(&[id], "host", None));
                let found: BTreeSet<_> = values.into_iter().map(|(host, _)| format!("{table},host={host}")).collect();
                assert_eq!(found.iter().collect::<BTreeSet<_>>(), expected, "found by a tag");
            }
        }
    }

    /// Everything in order again: what is merged has nothing dead in it, and every file passes its check.
    fn finish(mut self) -> (u64, Map) {
        self.faults = false;
        self.crash();
        self.world.clock.advance(Duration::from_secs(700));
        let mut rounds = 0;
        while self.world.engine().compact_once().unwrap() {
            rounds += 1;
            assert!(rounds < 10_000, "merging never ends");
        }
        // Idle series may have gone.
        let found = self.world.read();
        if self.world.max_idle_s == 0 {
            self.oracle.check(&found, self.expired_s());
        } else {
            self.oracle.go_on_from(&found);
        }
        // Twice: names that go with expired files are deletions of their own, which have to be flushed.
        for _ in 0..2 {
            self.world.engine().compact_all().unwrap();
            while self.world.engine().compact_once().unwrap() {}
        }
        self.healthy = true;
        let found = self.world.read();
        self.check();
        let engine = self.world.engine();
        assert_eq!(engine.stats().deletes_waiting, 0);
        let files = engine.files();
        let rows: u64 = files.iter().map(|f| f.rows).sum();
        assert_eq!(rows as usize, found.values().map(|points| points.len()).sum::<usize>(), "nothing dead is kept");
        assert_eq!(self.world.files_on_disk(), files.len(), "dead files are gone");
        let (names, env) = (engine.registry().clone(), self.world.env());
        let data_dir = &self.world.options.data_dir;
        let context = Context { env: &env, data_dir, names: &names, names_are_whole: true, flushed_seq: u64::MAX };
        for record in &files {
            let policy = engine.policy(record.policy).unwrap();
            let problems = check::file(&context, &policy, record).unwrap();
            assert!(problems.is_empty(), "{problems:?}");
        }
        (self.world.fs.counts().ops, found)
    }
}

fn short<T>(done: &Result<T>) -> String {
    match done {
        Ok(_) => "done".to_owned(),
        Err(e) => e.to_string(),
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().unwrap_or_else(|_| panic!("{name} is not a number: {n}")))
}

#[test]
fn whatever_fails_nothing_acknowledged_is_lost_and_nothing_comes_back() {
    if let Some(seed) = number("RHYTHMITE_SIM_SEED") {
        Life::new(seed, seed % 4 > 0).run();
        return;
    }
    let lives = number("RHYTHMITE_SIM_LIVES").unwrap_or(if std::env::var_os("CI").is_some() { 300 } else { 60 });
    let first = number("RHYTHMITE_SIM_FIRST").unwrap_or(1);
    // One in four without faults: there the engine has no excuse.
    (first..first + lives).for_each(|seed| drop(Life::new(seed, seed % 4 > 0).run()));
}

#[test]
fn a_life_repeats_from_its_seed() {
    for seed in [1, 2, 3, 5, 8, 13] {
        let life = || Life::new(seed, true).run();
        assert_eq!(life(), life(), "seed {seed}");
    }
}
