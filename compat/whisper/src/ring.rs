use rhythmite_model::{Error, Result};

use crate::header::be_u32;
use crate::{Archive, Damage, SLOT_BYTES, Whisper};

/// Time in seconds since 1970 and value.
pub type Point = (u32, f64);

/// What could be read of one archive.
#[derive(Clone, Debug, PartialEq)]
pub struct Salvage {
    /// The points found, ascending.
    pub points: Vec<Point>,
    /// Why there may be fewer than were written.
    pub damage: Option<Damage>,
}

impl Whisper<'_> {
    /// The points of one archive, ascending by time: the ring's newest lap.
    ///
    /// A slot counts only if its time lies on the archive's step, belongs to that slot, and is not older
    /// than one lap before the newest such time; leftovers of earlier laps inside a gap are no points.
    /// One pass, one allocation of at most 16 bytes per slot, and a sort that is linear on a ring.
    ///
    /// # Errors
    /// `Invalid` if there is no such archive, `Corrupt` if it is damaged ([`salvage`](Self::salvage) may
    /// still find points).
    pub fn points(&self, archive: usize) -> Result<Vec<Point>> {
        self.points_until(archive, u32::MAX)
    }

    /// As [`points`](Self::points), as if nothing later than `until_s` (inclusive) had been written.
    ///
    /// A sender with a wrong clock can leave one point far in the future, which would make every true
    /// point look like an earlier lap.
    ///
    /// # Errors
    /// As [`points`](Self::points).
    pub fn points_until(&self, archive: usize, until_s: u32) -> Result<Vec<Point>> {
        let salvage = self.salvage(archive, until_s)?;
        match salvage.damage {
            None => Ok(salvage.points),
            Some(damage) => Err(Error::corrupt(format!("archive {archive}: {damage}"))),
        }
    }

    /// As [`points_until`](Self::points_until), but takes what the file holds of an archive that is cut off.
    ///
    /// # Errors
    /// `Invalid` if there is no such archive.
    pub fn salvage(&self, archive: usize, until_s: u32) -> Result<Salvage> {
        let (info, slots) = self.slots(archive)?;
        Ok(info.salvage(slots, until_s))
    }
}

impl Archive {
    /// The points in `slots`, the bytes at [`bytes_present`](Archive::bytes_present); see [`Whisper::salvage`].
    pub fn salvage(&self, slots: &[u8], until_s: u32) -> Salvage {
        let mut points = Vec::new();
        if let Some(ring) = Clock::new(slots, self.step_s, self.points) {
            points.reserve_exact(slots.len() / SLOT_BYTES);
            for (index, slot) in slots.chunks_exact(SLOT_BYTES).enumerate() {
                let ts_s = be_u32(slot, 0);
                if ts_s != 0 && ts_s <= until_s && ring.slot_of(i64::from(ts_s)) == Some(index) {
                    points.push((ts_s, value(slot)));
                }
            }
            let newest = points.iter().map(|p| u64::from(p.0)).max().unwrap_or(0);
            points.retain(|p| u64::from(p.0) + self.retention_s() > newest);
            // Two ascending runs: the stable sort merges them in one pass.
            points.sort_by_key(|p| p.0);
        }
        Salvage { points, damage: self.damage }
    }
}

/// Maps times to slots of one ring.
pub(crate) struct Clock {
    base_s: i64,
    step_s: i64,
    points: i64,
}

impl Clock {
    /// `None` if nothing was ever written: the base is zero (or not in the file).
    pub(crate) fn new(slots: &[u8], step_s: u32, points: u32) -> Option<Self> {
        let base_s = be_u32(slots.get(..SLOT_BYTES)?, 0);
        (base_s != 0).then_some(Self { base_s: base_s.into(), step_s: step_s.into(), points: points.into() })
    }

    /// The slot of time `ts_s`; `None` if the time does not lie on the step.
    pub(crate) fn slot_of(&self, ts_s: i64) -> Option<usize> {
        if ts_s.rem_euclid(self.step_s) != 0 {
            return None;
        }
        let distance = (ts_s - self.base_s).div_euclid(self.step_s);
        Some(distance.rem_euclid(self.points) as usize)
    }
}

pub(crate) fn value(slot: &[u8]) -> f64 {
    f64::from_bits(u64::from(be_u32(slot, 4)) << 32 | u64::from(be_u32(slot, 8)))
}
