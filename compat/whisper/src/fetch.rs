use rhythmite_model::{Error, Result};

use crate::header::be_u32;
use crate::ring::{Clock, value};
use crate::{SLOT_BYTES, Whisper};

/// The answer to one range: a value or a gap for each step.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// Time of the first value, seconds since 1970.
    pub start_s: i64,
    /// Time behind the last value (exclusive).
    pub end_s: i64,
    /// Seconds between values.
    pub step_s: u32,
    /// One entry per step; `None` is a gap. A NaN that was stored stays one.
    pub values: Vec<Option<f64>>,
}

impl Whisper<'_> {
    /// The values of `from_s < t <= until_s` as the whisper library answers them when the clock is at `now_s`.
    ///
    /// The archive is the first whose retention reaches back from now to `from_s`, even where it is empty. The
    /// range is cut to `now_s - longest retention ..= now_s` and rounded down to the step; when both ends then
    /// fall together, one step is answered. `None` if the range lies in the future or before the retention.
    /// One allocation of at most one value per slot (and one more).
    ///
    /// # Errors
    /// `Invalid` if `from_s` is after `until_s`; `Corrupt` if the chosen archive is damaged.
    pub fn fetch(&self, from_s: i64, until_s: i64, now_s: u32) -> Result<Option<Fetched>> {
        if from_s > until_s {
            return Err(Error::invalid(format!("from {from_s} is after until {until_s}")));
        }
        // A header that claims a longer retention than its archives have must not stretch the answer.
        let longest_s = self.archives().iter().map(|a| a.retention_s()).max().unwrap_or(0);
        let longest_s = longest_s.min(self.header().max_retention_s.into()) as i64;
        let now_s = i64::from(now_s);
        let oldest_s = now_s - longest_s;
        if from_s > now_s || until_s < oldest_s {
            return Ok(None);
        }
        let (from_s, until_s) = (from_s.max(oldest_s), until_s.min(now_s));

        let reach_s = (now_s - from_s) as u64;
        let index = self.archives().iter().position(|a| a.retention_s() >= reach_s);
        let index = index.expect("from is cut to the longest retention");
        let (archive, slots) = self.slots(index)?;
        if let Some(damage) = archive.damage {
            return Err(Error::corrupt(format!("archive {index}: {damage}")));
        }

        let step = i64::from(archive.step_s);
        let start_s = from_s - from_s.rem_euclid(step) + step;
        let mut end_s = until_s - until_s.rem_euclid(step) + step;
        if start_s == end_s {
            end_s += step;
        }
        let count = ((end_s - start_s) / step) as usize;
        let mut values = vec![None; count];
        if let Some(ring) = Clock::new(slots, archive.step_s, archive.points) {
            let first = ring.slot_of(start_s).expect("start lies on the step");
            let all = slots.chunks_exact(SLOT_BYTES);
            let ring_order = all.clone().skip(first).chain(all.take(first));
            for (i, (slot, out)) in ring_order.zip(&mut values).enumerate() {
                let ts_s = be_u32(slot, 0);
                if ts_s != 0 && i64::from(ts_s) == start_s + i as i64 * step {
                    *out = Some(value(slot));
                }
            }
        }
        Ok(Some(Fetched { start_s, end_s, step_s: archive.step_s, values }))
    }
}
