//! Rolling partitions up, and merging the roll-ups whose raw points have gone.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rhythmite_model::{Aggregate, Aggregates, Policy, PolicyId, Result, SeriesId, Tier};

use super::kernel::{Cut, roll_up};
use crate::compaction::{Job, Unlisted};
use crate::engine::Engine;
use crate::files::LiveFile;
use crate::output::Output;
use crate::scan::{Scan, SeriesFilter, SeriesPieces, SeriesPoints};
use crate::view::View;

const SECOND_NS: i64 = 1_000_000_000;
/// Roll-ups below the floor, in one partition of their level, that are merged before the partition is complete.
const MERGE_FILES: usize = 8;
/// A file this many times as large as the others together is left alone until the partition is complete.
const SIZE_RATIO: u64 = 4;

/// What is known of a raw partition beyond what its files say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rolled {
    /// The newest write in its merged files, and since when it is that, on the monotonic clock.
    newest: (u64, Duration),
    /// It was rolled up to this write, into all of so many levels: one without a file has nothing.
    done: Option<(u64, usize)>,
}

/// The levels of one partition being written, while its raw points go by.
pub(crate) struct Rolling<'a> {
    engine: &'a Engine,
    levels: Vec<(Cut, Output<'a>)>,
    aggregates: Aggregates,
    /// Sketches that have lost their lowest buckets.
    capped: u64,
}

impl<'a> Rolling<'a> {
    /// For the partition that starts at `start_ns`, of which all writes up to `seq` will be pushed.
    pub(crate) fn new(engine: &'a Engine, policy: &Arc<Policy>, start_ns: i64, seq: u64, deletes_seq: u64) -> Self {
        let level = |(at, level): (usize, &rhythmite_model::Level)| {
            let tier = Tier(u8::try_from(at).ok()?).rolled();
            let cut = Cut { step_ns: level.step_ns.max(1), partition_ns: policy.partition_ns.max(1) };
            Some((cut, Output::new(engine, policy.clone(), tier, Some(start_ns), 1, seq, deletes_seq)))
        };
        let levels = policy.levels.iter().enumerate().skip(1).filter_map(level).collect();
        Self { engine, levels, aggregates: policy.aggregates, capped: 0 }
    }

    /// Adds the raw points of a series; ids ascend. False for one that was dropped a moment ago, see [`Output::push`].
    pub(crate) fn push(&mut self, points: &SeriesPoints) -> Result<bool> {
        let rule = {
            let names = self.engine.inner.registry.read();
            let Some(slot) = names.slot(points.series) else { return Ok(false) };
            names.rollup(slot)
        };
        let mut known = true;
        let own = rule.and_then(|rule| own_aggregate(rule.method));
        let wanted = own.map_or(self.aggregates, |own| self.aggregates.with(own)).with(Aggregate::Count);
        let capped = &mut self.capped;
        for (cut, output) in &mut self.levels {
            // Windows that end before an import have their own rows.
            let imported_ns = rule.map_or(0, |rule| rule.imported_until_s).saturating_mul(SECOND_NS);
            let live_ns = if imported_ns > 0 { imported_ns - imported_ns.rem_euclid(cut.step_ns) } else { i64::MIN };
            let mut streams = Vec::new();
            for stream in &points.streams {
                let from = stream.times_ns.partition_point(|t| *t < live_ns);
                if from == 0 {
                    streams.extend(roll_up(stream.field, &stream.times_ns, &stream.values, *cut, wanted, capped));
                } else if from < stream.times_ns.len() {
                    let rows: Vec<u32> = (from as u32..stream.times_ns.len() as u32).collect();
                    let values = stream.values.gather(&rows);
                    streams.extend(roll_up(stream.field, &stream.times_ns[from..], &values, *cut, wanted, capped));
                }
            }
            if !streams.is_empty() {
                known &= output.push(&SeriesPoints { series: points.series, streams }.into())?;
            }
        }
        Ok(known)
    }

    /// Makes the files durable; of a level without a window there is none.
    pub(crate) fn finish(self) -> Result<Vec<Arc<LiveFile>>> {
        let mut made = Unlisted::default();
        self.engine.inner.counters.capped_sketches.fetch_add(self.capped, Ordering::Relaxed);
        for (_, output) in self.levels {
            made.files.extend(output.finish()?);
        }
        Ok(made.keep())
    }
}

/// What a method needs that is not kept anyway.
fn own_aggregate(method: u8) -> Option<Aggregate> {
    match method {
        7 => Some(Aggregate::AbsMax),
        8 => Some(Aggregate::AbsMin),
        9 => Some(Aggregate::Median),
        _ => None,
    }
}

impl View {
    pub(crate) fn floor(&self, policy: PolicyId) -> i64 {
        self.floors.get(&policy).copied().unwrap_or(i64::MIN)
    }

    /// The merged raw files of each partition.
    pub(super) fn raw_partitions(&self, policy: PolicyId) -> BTreeMap<i64, Vec<Arc<LiveFile>>> {
        let mut partitions: BTreeMap<i64, Vec<Arc<LiveFile>>> = BTreeMap::new();
        for file in self.files.get(&(policy, Tier::RAW)).into_iter().flatten() {
            if let Some(start_ns) = file.record.partition_ns {
                partitions.entry(start_ns).or_default().push(file.clone());
            }
        }
        partitions
    }

    /// The roll-ups of a raw partition above the floor.
    fn rollups_of(&self, policy: PolicyId, start_ns: i64) -> impl Iterator<Item = &Arc<LiveFile>> {
        let above = start_ns >= self.floor(policy);
        let files = self.files.iter().filter(move |(key, _)| above && key.0 == policy && key.1.is_rolled());
        files.flat_map(|(_, files)| files).filter(move |file| file.record.partition_ns == Some(start_ns))
    }

    /// Whether a deletion, flushed or not, waits to be worked into the roll-ups of a partition.
    pub(super) fn is_touched(&self, policy: PolicyId, start_ns: i64) -> bool {
        let deletes = self.deletes.all();
        let mut files = self.rollups_of(policy, start_ns);
        // A file that cannot be asked keeps its raw points.
        files.any(|file| deletes.iter().any(|delete| file.rows_gone(delete).map_or(true, |rows| rows > 0)))
    }

    /// Whether a roll-up can be computed again: its raw points are there.
    pub(crate) fn is_live(&self, file: &LiveFile) -> bool {
        file.record.tier.is_rolled() && file.record.partition_ns.is_some_and(|p| p >= self.floor(file.record.policy))
    }
}

impl Engine {
    /// Whether a merge of `inputs` into a partition reads all that is merged of it, so that it can be rolled up.
    pub(crate) fn may_roll(&self, view: &View, policy: &Policy, start_ns: i64, inputs: &[Arc<LiveFile>]) -> bool {
        let all_read = || {
            let files = view.files.get(&(policy.id, Tier::RAW)).into_iter().flatten();
            let mut merged = files.filter(|file| file.record.partition_ns == Some(start_ns));
            merged.all(|file| inputs.iter().any(|input| input.record.id == file.record.id))
        };
        policy.has_tiers() && start_ns >= view.floor(policy.id) && self.is_closed(policy, start_ns) && all_read()
    }

    /// The roll-ups of a partition, which new ones replace.
    pub(crate) fn replaced(&self, view: &View, policy: &Policy, start_ns: i64) -> Vec<Arc<LiveFile>> {
        view.rollups_of(policy.id, start_ns).cloned().collect()
    }

    fn is_closed(&self, policy: &Policy, start_ns: i64) -> bool {
        let grace_ns = i64::try_from(self.inner.options.rollup_grace.as_nanos()).unwrap_or(i64::MAX);
        let end_ns = start_ns.saturating_add(policy.partition_ns.max(1));
        end_ns.saturating_add(grace_ns) <= self.inner.env.clock.now_ns()
    }

    /// Notes that partitions are rolled up.
    pub(crate) fn note_rolled(&self, policy: &Policy, seq: u64, starts_ns: &[i64]) {
        let now = self.inner.env.clock.monotonic();
        let mut rolled = self.inner.rolled.lock();
        for start_ns in starts_ns {
            let done = Some((seq, policy.levels.len()));
            rolled.insert((policy.id, *start_ns), Rolled { newest: (seq, now), done });
        }
    }

    /// Whether every level of a partition is rolled up, with all that is merged and all deletions.
    pub(super) fn is_rolled(&self, view: &View, policy: &Policy, start_ns: i64, seq: u64) -> bool {
        let levels = policy.levels.len();
        let mut files = 0;
        for file in view.rollups_of(policy.id, start_ns).filter(|file| file.record.tier.level() < levels) {
            if file.record.seq < seq || self.waiting_since(view, file).is_some() {
                return false;
            }
            files += 1;
        }
        let rolled = self.inner.rolled.lock();
        let done = rolled.get(&(policy.id, start_ns)).and_then(|rolled| rolled.done);
        files == levels - 1 || done.is_some_and(|(done, of)| done >= seq && of == levels)
    }

    /// Since when a deletion waits to be worked into a file. One that is not flushed does not count yet.
    fn waiting_since(&self, view: &View, file: &LiveFile) -> Option<Duration> {
        let deletes = view.deletes.all().into_iter().filter(|delete| delete.id.seq <= view.active.base_seq);
        // A file that cannot be read is not written anew for it.
        deletes.filter(|delete| file.rows_gone(delete).unwrap_or(0) > 0).map(|delete| delete.since).min()
    }

    /// A partition to be rolled up: one that is due or, if `all`, any that has closed.
    pub(crate) fn due_roll(&self, view: &View, all: bool, fits: &mut dyn FnMut(&Job) -> bool) -> Option<Job> {
        let policies: Vec<_> = self.inner.policies.read().values().filter(|p| p.has_tiers()).cloned().collect();
        let mut known = HashSet::new();
        let mut found = None;
        for policy in policies {
            let mut partitions = view.raw_partitions(policy.id);
            let rolled = view.files.iter().filter(|(key, _)| key.0 == policy.id && key.1.is_rolled());
            for file in rolled.flat_map(|(_, files)| files).filter(|file| view.is_live(file)) {
                partitions.entry(file.record.partition_ns.unwrap_or(i64::MIN)).or_default();
            }
            for (start_ns, inputs) in partitions {
                known.insert((policy.id, start_ns));
                if found.is_none() && start_ns >= view.floor(policy.id) && self.is_closed(&policy, start_ns) {
                    let job = Job { rolls: Some(start_ns), ..Job::new(policy.id, Tier::RAW, inputs) };
                    found = Some(job).filter(|job| {
                        self.is_due(view, &policy, start_ns, &job.inputs, all) && !self.waits(job) && fits(job)
                    });
                }
            }
        }
        self.inner.rolled.lock().retain(|key, _| known.contains(key));
        found
    }

    fn is_due(&self, view: &View, policy: &Policy, start_ns: i64, inputs: &[Arc<LiveFile>], all: bool) -> bool {
        let now = self.inner.env.clock.monotonic();
        let seq = inputs.iter().map(|file| file.record.seq).max().unwrap_or(0);
        let since = {
            let mut rolled = self.inner.rolled.lock();
            let rolled = rolled.entry((policy.id, start_ns)).or_insert(Rolled { newest: (seq, now), done: None });
            if rolled.newest.0 != seq {
                rolled.newest = (seq, now);
            }
            rolled.newest.1
        };
        if self.is_rolled(view, policy, start_ns, seq) {
            return false;
        }
        let options = &self.inner.options;
        let newer = view.rollups_of(policy.id, start_ns).any(|file| file.record.seq < seq);
        let first = !inputs.is_empty() && view.rollups_of(policy.id, start_ns).next().is_none();
        let deletes = view.rollups_of(policy.id, start_ns).filter_map(|file| self.waiting_since(view, file)).min();
        let expires = inputs.iter().any(|file| self.is_past(policy, &file.record));
        all || expires
            || ((newer || first) && now.saturating_sub(since) >= options.rollup_delay)
            || deletes.is_some_and(|since| now.saturating_sub(since) >= options.delete_delay)
            // A level that the policy has not had so far.
            || !(newer || first || deletes.is_some())
    }

    /// Roll-ups below the floor that become one file.
    pub(crate) fn due_rolled_merge(&self, view: &View, all: bool, fits: &mut dyn FnMut(&Job) -> bool) -> Option<Job> {
        for ((policy, tier), files) in view.files.iter().filter(|(key, _)| key.1.is_rolled()) {
            let Some(of) = self.policy(*policy) else { continue };
            let (length, floor_ns) = (of.partition_length_of(*tier), view.floor(*policy));
            let mut partitions: BTreeMap<i64, Vec<Arc<LiveFile>>> = BTreeMap::new();
            for file in files.iter().filter(|file| !view.is_live(file)) {
                let start_ns = file.record.partition_ns.unwrap_or(0);
                partitions.entry(start_ns.div_euclid(length)).or_default().push(file.clone());
            }
            for (number, mut inputs) in partitions {
                let complete = number.saturating_add(1).saturating_mul(length) <= floor_ns;
                inputs.sort_by_key(|file| file.record.partition_ns);
                if !complete && !all {
                    let others = |at: usize| inputs[at + 1..].iter().map(|f| f.record.bytes).sum::<u64>();
                    let large = |at: &usize| inputs[*at].record.bytes > SIZE_RATIO * others(*at);
                    let skip = (0..inputs.len().saturating_sub(1)).take_while(large).count();
                    inputs.drain(..skip);
                }
                let enough = if complete || all { 2 } else { MERGE_FILES };
                let job = Job::new(*policy, *tier, inputs);
                if job.inputs.len() >= enough && !self.waits(&job) && fits(&job) {
                    return Some(job);
                }
            }
        }
        None
    }

    /// One file instead of some roll-ups: of one level below the floor, or a single one. What deletions take away goes
    /// where it cannot be computed again.
    pub(crate) fn merge_rolled(&self, job: &Job, policy: &Arc<Policy>) -> Result<Vec<Arc<LiveFile>>> {
        let view = self.inner.shared.view.read().clone();
        let live = job.inputs.iter().any(|file| view.is_live(file));
        let seq = job.inputs.iter().map(|file| file.record.seq).max().unwrap_or(0);
        let seen = job.inputs.iter().map(|file| file.record.deletes_seq).min().unwrap_or(0);
        let deletes_seq = if live { seen } else { view.active.base_seq };
        let length = policy.partition_length_of(job.tier);
        let start_ns = match job.inputs.as_slice() {
            [one] => one.record.partition_ns,
            [first, ..] => first.record.partition_ns.map(|start| start - start.rem_euclid(length)),
            [] => None,
        };
        let everything = SeriesFilter::Range(SeriesId(0)..=SeriesId(u64::MAX));
        let mut scan = Scan::new(everything, None, i64::MIN..=i64::MAX);
        if !live {
            scan = scan.without(view.deletes.clone(), deletes_seq);
        }
        for (rank, file) in (0..).zip(&job.inputs) {
            scan.add_file(rank, file.clone());
        }
        let mut output = Output::new(self, policy.clone(), job.tier, start_ns, 1, seq, deletes_seq);
        output.keep_from(job.inputs.iter().map(|file| file.record.kept_from_s).max().unwrap_or(0));
        let mut left_out = false;
        let mut points = SeriesPieces::room();
        while scan.next_into(&mut points)? {
            left_out |= !output.push(&points)?;
        }
        let mut made = Unlisted::default();
        made.files.extend(output.finish()?);
        if left_out {
            self.make_drops_durable()?;
        }
        Ok(made.keep())
    }
}
