//! Points of the finest level, rolled up into the slots of a coarser one at read.

use rhythmite_graphite::series::{RollupMethod, roll_up};
use rhythmite_model::{Level, RollupRule};

use super::window::{self, Window};

const SECOND_NS: i64 = 1_000_000_000;
/// Fine slots that are rolled up in one call.
const BLOCK_SLOTS: usize = 64 * 1024;

/// Puts `values` into their slots; of two in one slot the later one stays. Times ascend. What lies outside is left
/// out.
pub(super) fn fill(window: &Window, times_ns: &[i64], values: &[f64], slots: &mut [f64]) {
    let (start_ns, step_ns) = (window.start_s.saturating_mul(SECOND_NS), window.step_s.saturating_mul(SECOND_NS));
    // PERF: most points lie in the slot behind the one before; a division costs as much as the rest of the loop.
    let (mut at, mut end_ns) = (0_usize, start_ns.saturating_add(step_ns));
    for (&t, &v) in times_ns.iter().zip(values) {
        if t < start_ns {
            continue;
        }
        if t >= end_ns {
            let ahead = if t - end_ns < step_ns { 1 } else { (t - end_ns) / step_ns + 1 };
            at += ahead as usize;
            end_ns = end_ns.saturating_add(ahead.saturating_mul(step_ns));
        }
        match slots.get_mut(at) {
            Some(slot) => *slot = v,
            None => return,
        }
    }
}

/// How a series' coarser levels come from its finest one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) method: RollupMethod,
    pub(super) x_files_factor: f32,
    /// Seconds between the finest points; divides the window's step.
    pub(super) fine_step_s: i64,
    /// Slots that end at or before this are not computed: they were imported.
    pub(super) imported_until_s: i64,
}

impl Rule {
    /// Without a rule (no adapter makes such a series) whisper's default holds.
    pub(super) fn of(levels: &[Level], rollup: Option<RollupRule>) -> Self {
        let rollup = rollup.unwrap_or(RollupRule { method: 1, x_files_factor: 0.5, imported_until_s: 0 });
        Self {
            method: RollupMethod::from_code(rollup.method).unwrap_or(RollupMethod::Average),
            x_files_factor: rollup.x_files_factor,
            fine_step_s: levels.first().map_or(1, window::step_s),
            imported_until_s: rollup.imported_until_s,
        }
    }

    /// The first slot of `window` that is computed; `None` when all of them were imported.
    pub(super) fn live_from_s(&self, window: &Window) -> Option<i64> {
        if self.imported_until_s >= window.end_s {
            return None;
        }
        let imported_s = self.imported_until_s - self.imported_until_s.rem_euclid(window.step_s);
        Some(imported_s.max(window.start_s))
    }

    /// Computes the slots of `window` that are live and have a fine point, and puts them over what `slots` holds.
    ///
    /// `times_ns` ascend. A slot without a fine point keeps its stored value; one with too few of them is empty.
    pub(super) fn apply(
        &self,
        window: &Window,
        times_ns: &[i64],
        values: &[f64],
        slots: &mut [f64],
        scratch: &mut Vec<f64>,
    ) {
        let Some(live_s) = self.live_from_s(window) else { return };
        let ratio = usize::try_from(window.step_s / self.fine_step_s).unwrap_or(1).max(1);
        let block = (BLOCK_SLOTS / ratio).max(1);
        let block_ns = (block as i64).saturating_mul(window.step_s).saturating_mul(SECOND_NS);
        let live_ns = live_s.saturating_mul(SECOND_NS);
        let mut next = times_ns.partition_point(|&t| t < live_ns);
        while let Some(&t) = times_ns.get(next) {
            // Blocks begin at multiples of the window's step from the first live slot on.
            let start_ns = t - (t - live_ns).rem_euclid(block_ns);
            let end = next + times_ns[next..].partition_point(|&t| t < start_ns.saturating_add(block_ns));
            let start_s = start_ns / SECOND_NS;
            let fine = Window {
                start_s,
                end_s: start_s + block as i64 * window.step_s,
                step_s: self.fine_step_s,
                tier: window.tier,
            };
            scratch.clear();
            scratch.resize(block * ratio, f64::NAN);
            fill(&fine, &times_ns[next..end], &values[next..end], scratch);
            let factor = self.x_files_factor;
            let (_, coarse) = roll_up(start_s, self.fine_step_s, scratch, window.step_s, self.method, factor);
            let first = usize::try_from((start_s - window.start_s) / window.step_s).unwrap_or(usize::MAX);
            for ((slot, value), known) in slots.iter_mut().skip(first).zip(coarse).zip(scratch.chunks(ratio)) {
                if known.iter().any(|v| !v.is_nan()) {
                    *slot = value;
                }
            }
            next = end;
        }
    }
}
