//! Quantiles of groups: of what coarser levels keep of windows as sketches, and of raw points beside these.

use rhythmite_model::sketch::Counts;
use rhythmite_model::{Column, Error, Result};

use super::accumulator::Run;

/// Bytes a slot takes beside its buckets.
pub(super) const SLOT_BYTES: usize = size_of::<Slot>();
/// Bytes a bucket takes, and about half as many that a vector holds ready.
const BUCKET_BYTES: usize = 24;

/// The sketch of each slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Sketches {
    slots: Vec<Slot>,
    buckets: usize,
}

#[derive(Clone, Debug)]
struct Slot {
    counts: Counts,
    /// As they are; above and below all numbers where there is no value.
    least: f64,
    greatest: f64,
}

/// What a level keeps of the windows of a field: values of the same windows.
pub(super) struct Stored<'a> {
    pub sketches: &'a Column,
    pub least: &'a Column,
    pub greatest: &'a Column,
}

impl Slot {
    const EMPTY: Self = Self { counts: Counts::EMPTY, least: f64::INFINITY, greatest: f64::NEG_INFINITY };
}

impl Sketches {
    /// Makes room for slots below `slots`.
    pub fn grow(&mut self, slots: usize) {
        self.slots.resize(slots, Slot::EMPTY);
    }

    /// Bytes of the buckets, about.
    pub fn bucket_bytes(&self) -> usize {
        self.buckets * BUCKET_BYTES
    }

    /// Buckets of all slots.
    pub fn buckets(&self) -> usize {
        self.buckets
    }

    /// Adds values; those that are no numbers are passed over.
    pub fn add(&mut self, values: &Column, runs: &[Run]) {
        for run in runs {
            match values {
                Column::Float(v) => self.add_run(run, v[run.rows()].iter().copied()),
                Column::Integer(v) => self.add_run(run, v[run.rows()].iter().map(|v| *v as f64)),
                Column::Unsigned(v) => self.add_run(run, v[run.rows()].iter().map(|v| *v as f64)),
                Column::Boolean(_) | Column::String(_) => {}
            }
        }
    }

    fn add_run(&mut self, run: &Run, values: impl Iterator<Item = f64> + Clone) {
        // `min` and `max` pass NaN over.
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let greatest = values.clone().fold(f64::NEG_INFINITY, f64::max);
        self.join(run.slot as usize, &Slot { counts: Counts::of(values), least, greatest });
    }

    /// Adds windows of a level.
    ///
    /// # Errors
    /// `Corrupt` for a text that is no sketch.
    pub fn add_stored(&mut self, stored: &Stored<'_>, runs: &[Run]) -> Result<()> {
        let Column::String(texts) = stored.sketches else { return Ok(()) };
        for run in runs {
            for row in run.rows() {
                let text = texts.get(row);
                let counts = text.parse().map_err(|_| Error::corrupt(format!("no sketch: {text:?}")))?;
                let (least, greatest) = (number(stored.least, row), number(stored.greatest, row));
                self.join(run.slot as usize, &Slot { counts, least, greatest });
            }
        }
        Ok(())
    }

    /// Adds those of other series or times, whose slot `i` is `to[i]` here.
    pub fn merge(&mut self, other: &Self, to: &[u32]) {
        for (theirs, &slot) in other.slots.iter().zip(to) {
            self.join(slot as usize, theirs);
        }
    }

    fn join(&mut self, slot: usize, other: &Slot) {
        let ours = &mut self.slots[slot];
        self.buckets -= ours.counts.len();
        ours.counts.add(&other.counts);
        self.buckets += ours.counts.len();
        ours.least = ours.least.min(other.least);
        ours.greatest = ours.greatest.max(other.greatest);
    }

    /// What the share `q` of a slot's values does not exceed; `None` without a value.
    pub fn quantile(&self, slot: usize, q: f64) -> Option<f64> {
        let slot = &self.slots[slot];
        slot.counts.continuous(q, slot.least, slot.greatest)
    }
}

fn number(values: &Column, row: usize) -> f64 {
    match values {
        Column::Float(v) => v[row],
        Column::Integer(v) => v[row] as f64,
        Column::Unsigned(v) => v[row] as f64,
        Column::Boolean(_) | Column::String(_) => f64::NAN,
    }
}
