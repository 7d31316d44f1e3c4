use rhythmite_model::{Error, Result};

use crate::ring::Point;
use crate::{ARCHIVE_INFO_BYTES, AggregationMethod, META_BYTES, SLOT_BYTES};

/// One archive to be written.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a> {
    /// Seconds per point.
    pub step_s: u32,
    /// Number of slots.
    pub points: u32,
    /// The archive's own points, already rolled up to its step, in any order.
    pub data: &'a [Point],
}

/// Builds a whole whisper file.
///
/// Times are rounded down to the archive's step; of several points in one slot the last one given
/// counts; points more than one lap older than the newest are left out, as the ring would have
/// overwritten them. Nothing is rolled up: each archive holds what it is given.
///
/// # Errors
/// `Invalid`, naming the archive, if the archives are not what the whisper library accepts (at least one;
/// steps ascending, each dividing the next; retentions growing; enough slots for one roll-up), if the
/// file would outgrow its 32-bit offsets, if the xFilesFactor is outside 0..=1, or for a point in the
/// first step of 1970, which the format cannot tell from an empty slot.
pub fn write(method: AggregationMethod, x_files_factor: f32, rings: &[Ring<'_>]) -> Result<Vec<u8>> {
    if !(0.0..=1.0).contains(&x_files_factor) {
        return Err(Error::invalid(format!("xFilesFactor {x_files_factor} is not between 0 and 1")));
    }
    let layout = layout(rings)?;
    let mut file = Vec::with_capacity(layout.file_bytes);
    file.extend((method as u32).to_be_bytes());
    file.extend(layout.max_retention_s.to_be_bytes());
    file.extend(x_files_factor.to_bits().to_be_bytes());
    file.extend((rings.len() as u32).to_be_bytes());
    for (ring, offset) in rings.iter().zip(&layout.offsets) {
        for word in [*offset, ring.step_s, ring.points] {
            file.extend(word.to_be_bytes());
        }
    }
    file.resize(layout.file_bytes, 0);
    for (index, (ring, offset)) in rings.iter().zip(&layout.offsets).enumerate() {
        let start = *offset as usize;
        let slots = &mut file[start..start + ring.points as usize * SLOT_BYTES];
        fill(slots, ring).map_err(|e| e.at(format_args!("archive {index}")))?;
    }
    Ok(file)
}

struct Layout {
    offsets: Vec<u32>,
    max_retention_s: u32,
    file_bytes: usize,
}

fn layout(rings: &[Ring<'_>]) -> Result<Layout> {
    if rings.is_empty() {
        return Err(Error::invalid("a whisper file needs at least one archive"));
    }
    let mut offsets = Vec::with_capacity(rings.len());
    let mut end = (META_BYTES + rings.len() * ARCHIVE_INFO_BYTES) as u64;
    let mut finer: Option<&Ring<'_>> = None;
    let mut max_retention_s = 0;
    for (index, ring) in rings.iter().enumerate() {
        let refuse = |why: &str| Err(Error::invalid(format!("archive {index}: {why}")));
        if ring.step_s == 0 || ring.points == 0 {
            return refuse("step and points must be above zero");
        }
        let Some(retention_s) = ring.step_s.checked_mul(ring.points) else {
            return refuse("the retention does not fit 32 bits");
        };
        if let Some(finer) = finer {
            if ring.step_s <= finer.step_s || !ring.step_s.is_multiple_of(finer.step_s) {
                return refuse("the step must be a multiple of the finer archive's");
            }
            if retention_s <= max_retention_s {
                return refuse("the retention must be longer than the finer archive's");
            }
            if finer.points < ring.step_s / finer.step_s {
                return refuse("the finer archive has too few slots for one roll-up");
            }
        }
        let Ok(offset) = u32::try_from(end) else {
            return refuse("the file would be larger than 4 GiB");
        };
        offsets.push(offset);
        end += u64::from(ring.points) * SLOT_BYTES as u64;
        max_retention_s = retention_s;
        finer = Some(ring);
    }
    match u32::try_from(end) {
        Ok(end) => Ok(Layout { offsets, max_retention_s, file_bytes: end as usize }),
        Err(_) => Err(Error::invalid("the file would be larger than 4 GiB")),
    }
}

fn fill(slots: &mut [u8], ring: &Ring<'_>) -> Result<()> {
    let step_s = ring.step_s;
    let Some(newest) = ring.data.iter().map(|p| p.0 - p.0 % step_s).max() else {
        return Ok(());
    };
    let lap_s = step_s * ring.points;
    let kept = ring.data.iter().map(|p| (p.0 - p.0 % step_s, p.1)).filter(|p| newest - p.0 < lap_s);
    let base = kept.clone().map(|p| p.0).min().unwrap_or(newest);
    if base == 0 {
        return Err(Error::invalid("time 0 cannot be stored, it means an empty slot"));
    }
    for (ts_s, value) in kept {
        let at = ((ts_s - base) / step_s) as usize * SLOT_BYTES;
        slots[at..at + 4].copy_from_slice(&ts_s.to_be_bytes());
        slots[at + 4..at + SLOT_BYTES].copy_from_slice(&value.to_bits().to_be_bytes());
    }
    Ok(())
}
