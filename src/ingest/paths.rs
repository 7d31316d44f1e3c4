//! Points with Graphite paths: from carbon, StatsD, collectd and the server itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use rhythmite_engine::registry::{Directory, Scope};
use rhythmite_engine::{Commit, Durability, Engine, SeriesFilter};
use rhythmite_env::Clock;
use rhythmite_model::{
    Column, Error, ErrorKind, FieldId, FieldType, KeyKind, Policy, Result, Rows, SeriesId, TableId, Tier,
};

use super::WRITE_TRIES;
use super::rules::{PathRule, PathRules};
use crate::offenders::{Offenders, brief};
use crate::seldom::Seldom;
use crate::senders::{Sender, Senders};

/// The measurement of everything that has a path.
pub const TABLE: &str = "metrics";
/// Its one field.
pub const FIELD: &str = "value";

const SECOND_NS: i64 = 1_000_000_000;

/// Points of one batch, as parsed: canonical paths (see `rhythmite_carbon::name`), in the order of arrival.
#[derive(Clone, Debug, Default)]
pub struct PathPoints {
    /// Who sent them, for messages.
    senders: Senders,
    text: String,
    points: Vec<PathPoint>,
}

#[derive(Clone, Debug)]
struct PathPoint {
    path: Range<u32>,
    time_s: i64,
    value: f64,
}

impl PathPoints {
    /// None yet, of a sender or a listener that messages are to name.
    pub fn of(source: impl std::fmt::Display) -> Self {
        Self { senders: Senders::of(source), ..Self::default() }
    }

    /// What is added from now on is of this peer; of whom the batch is `of` if that is `None`.
    pub fn begin(&mut self, peer: Option<IpAddr>) {
        self.senders.begin(self.points.len(), peer);
    }

    /// Who sent a point, by its place.
    pub fn sender(&self, at: usize) -> Sender<'_> {
        self.senders.at(at)
    }

    /// Adds a point. A path repeated from the point before takes no further memory.
    pub fn push(&mut self, path: &str, time_s: i64, value: f64) {
        let same = self.points.last().map(|p| p.path.clone()).filter(|last| self.text_of(last) == path);
        let path = same.unwrap_or_else(|| {
            let start = self.text.len() as u32;
            self.text.push_str(path);
            start..self.text.len() as u32
        });
        self.points.push(PathPoint { path, time_s, value });
    }

    /// Number of points.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Length of the paths' text in bytes: hand the batch over before this nears 4 GiB.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Path, time in seconds and value of each point, in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64, f64)> {
        self.points.iter().map(|point| (self.text_of(&point.path), point.time_s, point.value))
    }

    /// The first point's path, for messages; empty without a point.
    pub fn first_path(&self) -> &str {
        self.points.first().map_or("", |point| self.text_of(&point.path))
    }

    /// Forgets the points, keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.points.clear();
        self.senders.clear();
    }

    fn text_of(&self, range: &Range<u32>) -> &str {
        &self.text[range.start as usize..range.end as usize]
    }
}

/// What became of the points, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathCounters {
    /// Points handed to the engine.
    pub accepted: u64,
    /// Points older than the longest retention of their schema.
    pub too_old: u64,
    /// Points of series that a limit refused.
    pub refused_series: u64,
    /// Series made.
    pub created: u64,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    too_old: AtomicU64,
    refused_series: AtomicU64,
    created: AtomicU64,
}

/// Series whose rule was looked up since the start, one bit for each sequence number: a rule costs regular expressions.
#[derive(Default)]
struct Checked {
    words: Vec<AtomicU64>,
}

impl Checked {
    fn has(&self, id: SeriesId) -> bool {
        let sequence = id.0 as u32;
        let word = self.words.get(sequence as usize / 64);
        word.is_some_and(|w| w.load(Ordering::Relaxed) >> (sequence % 64) & 1 == 1)
    }

    fn set(&mut self, id: SeriesId) {
        let sequence = id.0 as u32;
        let at = sequence as usize / 64;
        if self.words.len() <= at {
            self.words.resize_with(at + 1, AtomicU64::default);
        }
        self.words[at].fetch_or(1 << (sequence % 64), Ordering::Relaxed);
    }
}

/// Where points go: the series, its table's policy and field.
#[derive(Clone)]
struct Target {
    policy: Arc<Policy>,
    field: FieldId,
    /// Before this nothing is stored at the finest level.
    floor_ns: i64,
}

/// Writes points with paths. Shared by all adapters.
pub struct PathIngest {
    engine: Engine,
    clock: Arc<dyn Clock>,
    rules: ArcSwap<PathRules>,
    checked: RwLock<Checked>,
    counters: Counters,
    offenders: Offenders,
}

impl PathIngest {
    /// A hall for `engine`, which gets the rules' policies.
    pub fn new(engine: Engine, clock: Arc<dyn Clock>, rules: PathRules) -> Self {
        rules.policies().for_each(|policy| engine.put_policy(policy.clone()));
        Self {
            engine,
            clock,
            rules: ArcSwap::from_pointee(rules),
            checked: RwLock::default(),
            counters: Counters::default(),
            offenders: Offenders::default(),
        }
    }

    /// Paths whose points were too old (`paths.too_old`) or whose series a limit refused (`paths.refused`).
    pub fn offenders(&self) -> &Offenders {
        &self.offenders
    }

    /// Counters since the start.
    pub fn counters(&self) -> PathCounters {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        PathCounters {
            accepted: get(&self.counters.accepted),
            too_old: get(&self.counters.too_old),
            refused_series: get(&self.counters.refused_series),
            created: get(&self.counters.created),
        }
    }

    /// Takes other rules, whose policies the engine gets. A series goes by them when its next point comes.
    pub fn replace_rules(&self, rules: PathRules) {
        rules.policies().for_each(|policy| self.engine.put_policy(policy.clone()));
        // In this order: what is looked up in between is looked up again.
        self.rules.store(Arc::new(rules));
        *self.checked.write() = Checked::default();
    }

    /// The rules that hold now.
    pub fn rules(&self) -> Arc<PathRules> {
        self.rules.load_full()
    }

    /// What the storage rules say of a path.
    ///
    /// # Errors
    /// As [`PathRules::find`].
    pub fn rule(&self, path: &str) -> Result<PathRule> {
        self.rules.load().find(path)
    }

    /// Writes a batch. Times are cut to the finest step of the path's schema; a point older than the finest level
    /// reaches goes to the first that does; one older than all of them, or of a series that a limit refuses, is
    /// dropped and counted. The rest is one write of the engine.
    ///
    /// # Errors
    /// `Overloaded`: nothing was written. `Unavailable`: the log has failed.
    pub fn write_paths(&self, points: &PathPoints, durability: Durability) -> Result<Commit> {
        let mut tries = WRITE_TRIES;
        let (accepted, too_old, commit, ids, why) = loop {
            tries -= 1;
            let mut ids = self.find(points);
            let why = self.create_missing(points, &mut ids)?;
            let (rows, too_old) = self.rows(points, &ids);
            let accepted: usize = rows.iter().map(Rows::len).sum();
            match self.engine.write(rows, durability) {
                // A series was deleted between the two steps: it is made again.
                Err(e) if e.kind() == ErrorKind::NotFound && tries > 0 => {}
                done => break (accepted, too_old, done?, ids, why),
            }
        };
        let refused = points.len() - accepted - too_old;
        self.counters.accepted.fetch_add(accepted as u64, Ordering::Relaxed);
        self.counters.too_old.fetch_add(too_old as u64, Ordering::Relaxed);
        self.counters.refused_series.fetch_add(refused as u64, Ordering::Relaxed);
        if let Some(why) = why {
            self.say_refused(points, &ids, refused, &why);
        }
        Ok(commit)
    }

    /// Names in the log who caused a limit to refuse series: the sender of the first of them.
    #[cold]
    fn say_refused(&self, points: &PathPoints, ids: &[Option<SeriesId>], refused: usize, why: &Error) {
        static REFUSED: Seldom = Seldom::new();
        let first = ids.iter().position(Option::is_none);
        if let Some(first) = first
            && REFUSED.now(&*self.clock)
        {
            tracing::warn!("{refused} points refused, from {}: {}", points.sender(first), brief(why.message()));
        }
    }

    /// Seconds and values of a path's finest level since `since_s`; none for a path that is not there.
    ///
    /// # Errors
    /// `Unavailable` or `Corrupt` for a file that cannot be read.
    pub fn recent(&self, path: &str, since_s: i64) -> Result<Vec<(i64, f64)>> {
        let id = {
            let names = self.engine.registry().read();
            let Some(slot) = names.find_series(Scope::Paths, path.as_bytes()) else { return Ok(Vec::new()) };
            names.series_id(slot)
        };
        let times = since_s.saturating_mul(SECOND_NS)..=i64::MAX;
        let series = SeriesFilter::List(Arc::new([id]));
        let mut out = Vec::new();
        for points in self.engine.snapshot().scan(id.table(), Tier::RAW, series, None, times)? {
            for stream in points?.streams {
                if let Column::Float(values) = &stream.values {
                    out.extend(stream.times_ns.iter().map(|ns| ns.div_euclid(SECOND_NS)).zip(values.iter().copied()));
                }
            }
        }
        Ok(out)
    }

    /// The series of a path, made if need be without a point.
    ///
    /// # Errors
    /// `Invalid` or `Overloaded` when a limit refuses it.
    pub fn ensure_path(&self, path: &str) -> Result<SeriesId> {
        let rule = self.rules.load().find(path)?;
        let (id, _) = self.engine.create(Durability::Interval, |names| {
            if let Some(slot) = names.find_series(Scope::Paths, path.as_bytes()) {
                return Ok(names.series_id(slot));
            }
            let table = names.create_table(rule.policy, TABLE, KeyKind::Path)?;
            names.create_field(table, FIELD, FieldType::Float)?;
            names.create_series(table, path, Some(rule.rollup))
        })?;
        Ok(id)
    }

    /// The series of each point; `None` for those to be made or whose rule has not been checked since the start.
    fn find(&self, points: &PathPoints) -> Vec<Option<SeriesId>> {
        let names = self.engine.registry().read();
        let checked = self.checked.read();
        let mut previous = None;
        let mut ids: Vec<Option<SeriesId>> = Vec::with_capacity(points.len());
        let mut last_start = None;
        for point in &points.points {
            // The same path again has the same text, see PathPoints::push.
            if last_start == Some(point.path.start) {
                ids.push(ids.last().copied().flatten());
                continue;
            }
            last_start = Some(point.path.start);
            let slot = names.find_after(Scope::Paths, previous, points.text_of(&point.path).as_bytes());
            previous = slot.or(previous);
            ids.push(slot.map(|slot| names.series_id(slot)).filter(|&id| checked.has(id)));
        }
        ids
    }

    /// Makes the series that are missing, and moves those whose rule has changed to their new policy. Gives why the first
    /// of those that are not made is refused.
    fn create_missing(&self, points: &PathPoints, ids: &mut [Option<SeriesId>]) -> Result<Option<Error>> {
        let mut missing: hashbrown::HashMap<&str, Option<SeriesId>> = hashbrown::HashMap::new();
        // In order of arrival: at a limit the first come are made.
        let mut order = Vec::new();
        for (point, _) in points.points.iter().zip(ids.iter()).filter(|(_, id)| id.is_none()) {
            let path = points.text_of(&point.path);
            if missing.insert(path, None).is_none() {
                order.push(path);
            }
        }
        let mut why = None;
        if missing.is_empty() {
            return Ok(why);
        }
        // A sender of new series that finds no room for them must not hold up the others.
        {
            let registry = self.engine.registry();
            let names = registry.read();
            if registry.room_for_series(&names, Scope::Paths) < order.len() as u64 {
                order.retain(|path| {
                    if names.find_series(Scope::Paths, path.as_bytes()).is_some() {
                        return true;
                    }
                    let refused = registry.refuse_series(&names, Scope::Paths, path);
                    let made = refused.is_none();
                    why = why.take().or(refused);
                    made
                });
            }
        }
        if order.is_empty() {
            return Ok(why);
        }
        // Regular expressions run before the lock is taken.
        let current = self.rules.load_full();
        let rules = order.into_iter().map(|path| Ok((path, current.find(path)?))).collect::<Result<Vec<_>>>()?;
        let mut created = 0;
        let (made, _) = self.engine.create(Durability::Interval, |names| {
            let mut made = Vec::with_capacity(rules.len());
            let mut last = None;
            for (path, rule) in &rules {
                if let Some(id) = unchanged(names, path, rule) {
                    made.push((*path, id));
                    continue;
                }
                let table = match last {
                    Some((policy, table)) if policy == rule.policy => table,
                    _ => {
                        let table = names.create_table(rule.policy, TABLE, KeyKind::Path)?;
                        names.create_field(table, FIELD, FieldType::Float)?;
                        last = Some((rule.policy, table));
                        table
                    }
                };
                // A limit refuses this series, not the others of the batch; the registry has counted it.
                match names.create_series(table, path, Some(rule.rollup)) {
                    Ok(id) => {
                        names.set_rollup(id, rule.rollup);
                        created += 1;
                        made.push((*path, id));
                    }
                    Err(e) => why = why.take().or(Some(e)),
                }
            }
            Ok(made)
        })?;
        self.counters.created.fetch_add(created, Ordering::Relaxed);
        let mut checked = self.checked.write();
        // If other rules came meanwhile these series are looked at again.
        let still = Arc::ptr_eq(&current, &self.rules.load());
        for (path, id) in made {
            if still {
                checked.set(id);
            }
            missing.insert(path, Some(id));
        }
        for (point, id) in points.points.iter().zip(ids).filter(|(_, id)| id.is_none()) {
            *id = missing.get(points.text_of(&point.path)).copied().flatten();
        }
        Ok(why)
    }

    /// Rows by table and level, and how many points were too old for any.
    fn rows(&self, points: &PathPoints, ids: &[Option<SeriesId>]) -> (Vec<Rows>, usize) {
        let now_ns = self.clock.now_ns();
        let mut targets: HashMap<TableId, Option<Target>> = HashMap::new();
        let mut rows: Vec<Rows> = Vec::new();
        let mut too_old = 0;
        let mut last = 0;
        for (at, (point, id)) in points.points.iter().zip(ids).enumerate() {
            let Some(id) = *id else {
                self.blame("paths.refused", points, at, now_ns);
                continue;
            };
            let table = id.table();
            let target = targets.entry(table).or_insert_with(|| self.target(table));
            let Some(target) = target else { continue };
            let time_ns = point.time_s.saturating_mul(SECOND_NS);
            let age = now_ns.saturating_sub(time_ns);
            let levels = &target.policy.levels;
            let takes = |(at, l): (usize, &rhythmite_model::Level)| {
                (l.retention_ns == 0 || age < l.retention_ns) && (at > 0 || time_ns >= target.floor_ns)
            };
            let Some(level) = levels.iter().enumerate().position(takes) else {
                too_old += 1;
                self.blame("paths.too_old", points, at, now_ns);
                continue;
            };
            let tier = Tier(level as u8);
            let time_ns = time_ns - time_ns.rem_euclid(levels[level].step_ns.max(1));
            if rows.get(last).is_none_or(|r| r.table != table || r.tier != tier) {
                last = rows.iter().position(|r| r.table == table && r.tier == tier).unwrap_or_else(|| {
                    rows.push(new_rows(table, tier, target.field, points.len()));
                    rows.len() - 1
                });
            }
            let to = &mut rows[last];
            to.series.push(id);
            to.times_ns.push(time_ns);
            if let Column::Float(values) = &mut to.fields[0].1 {
                values.push(point.value);
            }
        }
        (rows, too_old)
    }

    /// Keeps a sample of what is not stored, with its sender.
    fn blame(&self, reason: &'static str, points: &PathPoints, at: usize, now_ns: i64) {
        let path = points.text_of(&points.points[at].path);
        self.offenders.note_from(reason, path.as_bytes(), points.sender(at), now_ns / SECOND_NS);
    }

    fn target(&self, table: TableId) -> Option<Target> {
        let names = self.engine.registry().read();
        let policy = self.engine.policy(names.table(table)?.policy())?;
        let (field, _) = names.find_field(table, FIELD)?;
        let floor_ns = self.engine.raw_floor(policy.id);
        Some(Target { policy, field, floor_ns })
    }
}

/// The current series of a path if the rules would make it the same way again. An imported series keeps what it came
/// with.
fn unchanged(names: &Directory, path: &str, rule: &PathRule) -> Option<SeriesId> {
    let slot = names.find_series(Scope::Paths, path.as_bytes())?;
    let id = names.series_id(slot);
    let rollup = names.rollup(slot);
    let imported = rollup.is_some_and(|r| r.imported_until_s > 0);
    let same = names.table(id.table())?.policy() == rule.policy && rollup == Some(rule.rollup);
    (imported || same).then_some(id)
}

fn new_rows(table: TableId, tier: Tier, field: FieldId, room: usize) -> Rows {
    Rows {
        table,
        tier,
        series: Vec::with_capacity(room),
        times_ns: Vec::with_capacity(room),
        fields: vec![(field, Column::with_capacity(FieldType::Float, room))],
    }
}
