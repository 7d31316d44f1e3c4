//! Merging: flushed files into partitions, the files of a partition into fewer.
//!
//! Flushed files span partitions and are merged oldest first, so that of the same point the newest write wins whatever
//! was merged when: a file's number is the newest write in it, and only neighbours in that order are merged. One merge at a time; it holds one series of its inputs in memory, and writes one file at a time.
//!
//! Points that are spread over very many partitions are merged in steps: each commits the files of some partitions, in
//! order, and the last takes the inputs away. Between two steps the points that were merged are there twice, which no
//! reader sees: they are the same. After a restart such a merge begins again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rhythmite_model::{Column, Error, Policy, PolicyId, Result, SeriesId, Tier};

use crate::commit::Change;
use crate::engine::Engine;
use crate::files::LiveFile;
use crate::manifest::SegmentRecord;
use crate::output::Output;
use crate::registry::{SegmentMeta, merge_segments, plan_merge};
use crate::rollup::Rolling;
use crate::scan::{Scan, SeriesFilter, SeriesPieces};
use crate::view::View;

/// Flushed files that one merge takes: each costs an open reader.
const MERGE_FLUSHED_MAX: usize = 16;
/// Flushed files of this size together are merged as soon as nothing is written, however few they are.
const IDLE_MERGE_BYTES: u64 = 64 << 10;
/// Files of one partition that are no larger together are made one as soon as nothing is written: it takes a second or two.
const IDLE_PARTITION_BYTES: u64 = 64 << 20;
/// But not if the oldest is this many times as large as the others together.
const IDLE_SIZE_RATIO: u64 = 256;
/// A file this many times as large as the newer ones together is left alone: rewriting it would gain little.
const SIZE_RATIO: u64 = 4;

/// A stream that reaches over more partitions than this is read to see which of them it has points in.
const NEIGHBOURS_MAX: i64 = 32;

/// Files whose merge failed are left alone for this long, so that the others are merged meanwhile.
const RETRY_INPUTS: Duration = Duration::from_secs(60);

/// Files that are written but in no manifest yet: removed when the work ends before they are.
#[derive(Default)]
pub(crate) struct Unlisted {
    pub(crate) files: Vec<Arc<LiveFile>>,
}

impl Unlisted {
    /// They are about to be listed: whatever becomes of that, they stay.
    pub(crate) fn keep(mut self) -> Vec<Arc<LiveFile>> {
        std::mem::take(&mut self.files)
    }
}

impl Drop for Unlisted {
    fn drop(&mut self) {
        self.files.iter().for_each(|f| f.doom());
    }
}

/// What one merge reads and replaces.
pub(crate) struct Job {
    pub(crate) policy: PolicyId,
    pub(crate) tier: Tier,
    pub(crate) inputs: Vec<Arc<LiveFile>>,
    /// The raw partition that starts here is to be rolled up: the inputs are all its files. A single one stays as it is.
    pub(crate) rolls: Option<i64>,
}

impl Job {
    pub(crate) fn new(policy: PolicyId, tier: Tier, inputs: Vec<Arc<LiveFile>>) -> Self {
        Self { policy, tier, inputs, rolls: None }
    }
}

/// How far a merge of flushed files in steps has come.
pub(crate) struct PartMerged {
    /// The newest write in its inputs: flushed files up to this one are merged, later ones wait for the next merge.
    pub(crate) seq: u64,
    /// Numbers of the partitions that are still to be written, ascending.
    left: Vec<i64>,
}

/// What one step of a merge wrote.
#[derive(Default)]
struct Step {
    outputs: Vec<Arc<LiveFile>>,
    /// Roll-ups that others among the outputs replace.
    replaced: Vec<Arc<LiveFile>>,
    /// Starts of the partitions that were rolled up.
    rolled: Vec<i64>,
    /// Partitions still to be written; empty when the inputs may go.
    left: Vec<i64>,
}

impl Engine {
    /// Does one merge that is due, or removes what has expired. Returns whether anything was done.
    ///
    /// # Errors
    /// `Unavailable` for disk and catalogue, `Corrupt` for a damaged input: the inputs live on.
    pub fn compact_once(&self) -> Result<bool> {
        let _one = self.inner.merging.lock();
        self.settle()?;
        if self.expire()?
            || self.merge_segments()?
            || self.check_replayed()?
            || self.drop_idle()?
            || self.forget_deletes()?
        {
            return Ok(true);
        }
        let view = self.inner.shared.view.read().clone();
        match self.due(&view) {
            Some(job) => self.run(&job).map(|()| true),
            None => Ok(false),
        }
    }

    /// Flushes and merges until each partition of each level is one file, without deleted points.
    ///
    /// # Errors
    /// As [`Engine::compact_once`]; `NoSpace` when files were left as they are because the disk is too full for a merge.
    pub fn compact_all(&self) -> Result<()> {
        self.flush()?;
        let _one = self.inner.merging.lock();
        self.settle()?;
        self.expire()?;
        let mut left_for_space = false;
        loop {
            let view = self.inner.shared.view.read().clone();
            let mut fits = |job: &Job| {
                let fits = self.fits(job);
                left_for_space |= !fits;
                fits
            };
            let flushed =
                view.files.iter().find_map(|(key, files)| self.oldest_flushed(*key, files, 1).filter(&mut fits));
            let job = flushed.or_else(|| {
                view.files.iter().find_map(|(key, files)| partition(*key, files, 2, false).filter(&mut fits))
            });
            let job = job.or_else(|| self.rewrite(&view, true));
            let job = job.or_else(|| self.due_roll(&view, true, &mut fits));
            match job.or_else(|| self.due_rolled_merge(&view, true, &mut fits)) {
                Some(job) => self.run(&job)?,
                None => break,
            }
        }
        self.forget_deletes()?;
        if left_for_space { Err(Error::no_space("the disk has no space for some merges")) } else { Ok(()) }
    }

    /// Leaves the files of a job that failed alone for a while.
    fn put_off(&self, job: &Job) {
        let retry = self.inner.env.clock.monotonic() + RETRY_INPUTS;
        self.inner.failed_inputs.lock().extend(job.inputs.iter().map(|f| (f.record.id.clone(), retry)));
    }

    fn due(&self, view: &View) -> Option<Job> {
        let options = &self.inner.options;
        let may = |job: &Job| !self.waits(job) && self.fits(job);
        let enough = options.merge_flushed_files;
        let flushed = view.files.iter().find_map(|(k, files)| self.oldest_flushed(*k, files, enough).filter(may));
        // Nobody is held up, and the files become small and sorted at once; a trickle waits for its full number.
        let quiet = self.merges_idle();
        let idle = || {
            let large = |files: &[Arc<LiveFile>]| {
                let flushed = files.iter().filter(|f| f.record.level == 0);
                flushed.map(|f| f.record.bytes).sum::<u64>() >= IDLE_MERGE_BYTES
            };
            let mut waiting = view.files.iter().filter(|(_, files)| quiet && large(files));
            waiting.find_map(|(k, files)| self.oldest_flushed(*k, files, 1).filter(may))
        };
        let merge = || {
            let enough = options.merge_partition_files + 1;
            view.files.iter().find_map(|(k, files)| partition(*k, files, enough, true).filter(may))
        };
        let overdue = || self.overdue_flushed(view).filter(may);
        let job = flushed.or_else(idle).or_else(overdue).or_else(|| self.rewrite(view, false)).or_else(merge);
        let settled = || {
            let mut waiting = view.files.iter().filter(|_| quiet);
            waiting.find_map(|(k, files)| small_partition(*k, files).filter(may))
        };
        let job = job.or_else(settled).or_else(|| self.due_roll(view, false, &mut |job| self.fits(job)));
        job.or_else(|| self.due_rolled_merge(view, false, &mut |job| self.fits(job)))
    }

    /// Whether nothing was written for so long that what is flushed is merged at once: nobody is held up by it.
    pub(crate) fn merges_idle(&self) -> bool {
        self.quiet_and_age().0 >= self.inner.lull.lock().last_wait()
    }

    fn run(&self, job: &Job) -> Result<()> {
        let done = self.step(job);
        if let Err(e) = &done {
            self.put_off(job);
            tracing::error!(policy = job.policy.0, tier = job.tier.0, "a merge failed, its files wait: {e}");
        } else {
            self.inner.counters.compactions.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    /// One step of a merge: writes the next partitions and commits them; with the last the inputs go.
    fn step(&self, job: &Job) -> Result<()> {
        let key = (job.policy, job.tier);
        let flushed = job.inputs.iter().any(|f| f.record.level == 0);
        let seq = job.inputs.iter().map(|f| f.record.seq).max().unwrap_or(0);
        let begun = self.inner.part_merged.lock().get(&key).filter(|part| part.seq == seq).map(|p| p.left.clone());
        let before = self.policy(job.policy);
        let Step { outputs, mut replaced, rolled, left } = self.merge(job, seq, begun.filter(|_| flushed))?;
        let stays = !left.is_empty() || (job.rolls.is_some() && job.inputs.len() == 1);
        if !stays {
            replaced.extend(job.inputs.iter().cloned());
        }
        let mut change = Change::replace(&replaced, outputs);
        if flushed {
            if !left.is_empty() {
                tracing::info!(partitions_left = left.len(), "a merge over many partitions goes on");
            }
            change = change.with_progress(key, (!left.is_empty()).then_some(PartMerged { seq, left }));
        }
        let levels = |policy: &Option<Arc<Policy>>| policy.as_ref().map(|policy| policy.levels.clone());
        if (job.tier.is_rolled() || !rolled.is_empty()) && levels(&before) != levels(&self.policy(job.policy)) {
            // The numbers of levels mean others now. What was written is an orphan of the next start.
            return Err(Error::unavailable("the levels of the policy have changed meanwhile"));
        }
        self.commit(change)?;
        if let Some(policy) = self.policy(job.policy) {
            self.note_rolled(&policy, seq, &rolled);
        }
        self.inner.counters.rolled_partitions.fetch_add(rolled.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The files that replace a job's inputs, one for each of the first partitions of `left` (`None`: of all).
    fn merge(&self, job: &Job, seq: u64, left: Option<Vec<i64>>) -> Result<Step> {
        let mut outputs = Unlisted::default();
        let mut left_out = false;
        let Some(policy) = self.policy(job.policy) else { return Ok(Step::default()) };
        if job.tier.is_rolled() {
            return Ok(Step { outputs: self.merge_rolled(job, &policy)?, ..Step::default() });
        }
        let length = policy.partition_length_of(job.tier);
        let mut numbers = match (job.rolls, left) {
            (Some(start_ns), _) => vec![start_ns.div_euclid(length)],
            (None, Some(left)) => left,
            (None, None) => partitions(&job.inputs, length)?.into_iter().collect(),
        };
        // Raw points have gone there: what came since is too late.
        let view = self.inner.shared.view.read().clone();
        if job.tier == Tier::RAW && policy.has_tiers() {
            let floor_ns = view.floor(policy.id);
            numbers.retain(|number| bounds(*number, length).1 >= floor_ns);
        }
        let left = numbers.split_off(numbers.len().min(self.inner.options.merge_partitions.max(1)));
        // Deletions up to where the open generation begins are durable, and no other one will get such a number.
        let (deletes, deletes_seq) = (view.deletes.clone(), view.active.base_seq);
        let alone = numbers.len() == 1;
        let (mut replaced, mut rolled) = (Vec::new(), Vec::new());
        let mut pieces = SeriesPieces::room();
        for number in numbers {
            let (start, end) = bounds(number, length);
            let everything = SeriesFilter::Range(SeriesId(0)..=SeriesId(u64::MAX));
            let mut scan = Scan::new(everything, None, start..=end).without(deletes.clone(), deletes_seq);
            for (rank, file) in job.inputs.iter().enumerate() {
                if file.record.max_time_ns >= start && file.record.min_time_ns <= end {
                    scan.add_file(rank as u64, file.clone());
                }
            }
            let rolls = job.tier == Tier::RAW && self.may_roll(&view, &policy, start, &job.inputs);
            let mut rolling = rolls.then(|| Rolling::new(self, &policy, start, seq, deletes_seq));
            let rewrites = job.rolls.is_none() || job.inputs.len() > 1;
            let mut output = Output::new(self, policy.clone(), job.tier, Some(start), 1, seq, deletes_seq);
            if alone {
                output.expect(
                    job.inputs
                        .iter()
                        .map(|f| usize::try_from(f.record.rows).unwrap_or(usize::MAX))
                        .fold(0, usize::saturating_add),
                );
            }
            while scan.next_into(&mut pieces)? {
                if let Some(rolling) = &mut rolling {
                    let points = std::mem::replace(&mut pieces, SeriesPieces::room()).into_points();
                    left_out |= !rolling.push(&points)?;
                    pieces = points.into();
                }
                if rewrites {
                    left_out |= !output.push(&pieces)?;
                }
            }
            outputs.files.extend(output.finish()?);
            if let Some(rolling) = rolling {
                outputs.files.extend(rolling.finish()?);
                replaced.extend(self.replaced(&view, &policy, start));
                rolled.push(start);
            }
        }
        if left_out {
            self.make_drops_durable()?;
        }
        Ok(Step { outputs: outputs.keep(), replaced, rolled, left })
    }

    /// The oldest flushed files of a level, if at least `enough` wait or their merge has begun.
    pub(crate) fn oldest_flushed(&self, key: (PolicyId, Tier), files: &[Arc<LiveFile>], enough: usize) -> Option<Job> {
        let begun = self.inner.part_merged.lock().get(&key).map(|part| part.seq);
        let (enough, newest) = begun.map_or((enough, u64::MAX), |seq| (1, seq));
        let mut inputs: Vec<_> =
            files.iter().filter(|f| f.record.level == 0 && f.record.seq <= newest).cloned().collect();
        if inputs.len() < enough {
            return None;
        }
        inputs.truncate(MERGE_FLUSHED_MAX);
        Some(Job::new(key.0, key.1, inputs))
    }

    /// Whether the disk has space for a merge, which writes before it removes.
    pub(crate) fn fits(&self, job: &Job) -> bool {
        self.has_space_to_merge(job.inputs.iter().map(|f| f.record.bytes).sum())
    }

    /// Whether a merge of one of these files failed a moment ago.
    pub(crate) fn waits(&self, job: &Job) -> bool {
        let now = self.inner.env.clock.monotonic();
        let mut failed = self.inner.failed_inputs.lock();
        failed.retain(|_, retry| *retry > now);
        job.inputs.iter().any(|f| failed.contains_key(&f.record.id))
    }

    /// Merges registry segments, so that a start has few to read.
    fn merge_segments(&self) -> Result<bool> {
        let inner = &*self.inner;
        let _flush = inner.flushing.lock();
        self.settle()?;
        let all = inner.segments.lock().clone();
        let metas: Vec<_> = all.iter().map(meta).collect();
        let Some(range) = plan_merge(&metas) else { return Ok(false) };
        let inputs: Vec<u64> = all[range.clone()].iter().map(|s| s.id).collect();
        let id = all.last().map_or(0, |s| s.id) + 1;
        let merged = merge_segments(&inner.env, &self.segment_dir(), &inputs, id, range.start == 0)?;
        self.commit(Change::segments(inputs, record(&merged)))?;
        Ok(true)
    }
}

fn meta(record: &SegmentRecord) -> SegmentMeta {
    SegmentMeta { id: record.id, definitions: record.definitions, bytes: record.bytes }
}

/// What the manifest keeps of a segment.
pub(crate) fn record(meta: &SegmentMeta) -> SegmentRecord {
    SegmentRecord { id: meta.id, definitions: meta.definitions, bytes: meta.bytes }
}

/// First and last nanosecond of partition `number`, cut to what a time can be.
fn bounds(number: i64, length: i64) -> (i64, i64) {
    let clamp = |t: i128| t.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
    let start = i128::from(number) * i128::from(length);
    (clamp(start), clamp(start + i128::from(length) - 1))
}

/// Numbers of the partitions that hold the files' points, and perhaps of some between them that hold none.
fn partitions(files: &[Arc<LiveFile>], length: i64) -> Result<BTreeSet<i64>> {
    let mut numbers = BTreeSet::new();
    for file in files {
        let reader = file.reader()?;
        let mut cursor = reader.cursor();
        // A file's range can be far wider than its points (one late point): ask the index, not the calendar.
        let mut seen = None;
        for entry in reader.entries() {
            let entry = entry?;
            let (first, last) = (entry.min_time_ns.div_euclid(length), entry.max_time_ns.div_euclid(length));
            if seen == Some((first, last)) {
                continue;
            }
            if last - first <= NEIGHBOURS_MAX {
                seen = Some((first, last));
                numbers.extend(first..=last);
            } else {
                let (mut times, mut values) = (Vec::new(), Column::new(entry.field_type()));
                cursor.read_all(&entry, &mut times, &mut values)?;
                numbers.extend(times.into_iter().map(|t| t.div_euclid(length)));
            }
        }
    }
    Ok(numbers)
}

/// Raw files of each partition, oldest first; roll-ups are merged by other rules.
fn by_partition(tier: Tier, files: &[Arc<LiveFile>]) -> impl Iterator<Item = Vec<Arc<LiveFile>>> + use<> {
    let mut by_start: BTreeMap<i64, Vec<Arc<LiveFile>>> = BTreeMap::new();
    for file in files.iter().filter(|_| !tier.is_rolled()) {
        if let Some(start) = file.record.partition_ns {
            by_start.entry(start).or_default().push(file.clone());
        }
    }
    by_start.into_values()
}

fn bytes_of(files: &[Arc<LiveFile>]) -> u64 {
    files.iter().map(|f| f.record.bytes).sum()
}

/// The files of a partition that has at least `enough`. With `by_size` an old file much larger than all newer ones
/// stays out.
fn partition((policy, tier): (PolicyId, Tier), files: &[Arc<LiveFile>], enough: usize, by_size: bool) -> Option<Job> {
    let mut inputs = by_partition(tier, files).find(|inputs| inputs.len() >= enough)?;
    if by_size && inputs.len() < enough * 2 {
        let skip = (0..inputs.len() - 2)
            .take_while(|&i| inputs[i].record.bytes > SIZE_RATIO * bytes_of(&inputs[i + 1..]))
            .count();
        inputs.drain(..skip);
    }
    Some(Job::new(policy, tier, inputs))
}

/// The files of a partition that has several and is small.
fn small_partition((policy, tier): (PolicyId, Tier), files: &[Arc<LiveFile>]) -> Option<Job> {
    let small = |inputs: &Vec<Arc<LiveFile>>| {
        inputs.len() > 1
            && bytes_of(inputs) <= IDLE_PARTITION_BYTES
            && inputs[0].record.bytes <= IDLE_SIZE_RATIO * bytes_of(&inputs[1..])
    };
    by_partition(tier, files).find(small).map(|inputs| Job::new(policy, tier, inputs))
}
