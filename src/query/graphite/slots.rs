//! Which slots of a window points are in. Of two in one slot the later one counts.
//!
//! What lies outside of the window is left out.

use super::window::Window;

const SECOND_NS: i64 = 1_000_000_000;

/// Puts `values` into their slots; of two in one slot the later one stays. Times ascend. What lies outside is left
/// out.
pub(super) fn fill(window: &Window, times_ns: &[i64], values: &[f64], slots: &mut [f64]) {
    let (times_ns, values) = inside(window, times_ns, values);
    let Some(slot_of) = SlotOf::new(window.step_s) else { return };
    scatter(slot_of, window.start_s.saturating_mul(SECOND_NS), times_ns, values, slots);
}

/// The slots of points, and their values.
#[inline]
pub(super) fn place<'a>(
    window: &Window,
    times_ns: &'a [i64],
    values: &'a [f64],
) -> impl Iterator<Item = (usize, f64)> + 'a {
    let slot_of = SlotOf::new(window.step_s);
    let start_ns = window.start_s.saturating_mul(SECOND_NS);
    let (times_ns, values) = if slot_of.is_some() { inside(window, times_ns, values) } else { Default::default() };
    let slot_of = slot_of.unwrap_or(SlotOf { reciprocal: 0, shift: 0 });
    times_ns.iter().zip(values).map(move |(t, v)| (slot_of.at(t.wrapping_sub(start_ns) as u64), *v))
}

/// Those of ascending times that are in a window, and their values.
fn inside<'a>(window: &Window, times_ns: &'a [i64], values: &'a [f64]) -> (&'a [i64], &'a [f64]) {
    let (start_ns, end_ns) = (window.start_s.saturating_mul(SECOND_NS), window.end_s.saturating_mul(SECOND_NS));
    // A store that keeps to the window gives nothing outside, and a search waits for each of its looks.
    let inside = times_ns.first().is_some_and(|t| *t >= start_ns) && times_ns.last().is_some_and(|t| *t < end_ns);
    let rows = match inside {
        true => 0..times_ns.len(),
        false => times_ns.partition_point(|t| *t < start_ns)..times_ns.partition_point(|t| *t < end_ns),
    };
    match (times_ns.get(rows.clone()), values.get(rows)) {
        (Some(times_ns), Some(values)) => (times_ns, values),
        _ => (&[], &[]),
    }
}

/// Puts each value into the slot of its time, which is not before `start_ns`.
// PERF: a function of its own, so that the loop has all registers.
#[inline(never)]
fn scatter(slot_of: SlotOf, start_ns: i64, times_ns: &[i64], values: &[f64], slots: &mut [f64]) {
    for (&t, &v) in times_ns.iter().zip(values) {
        if let Some(slot) = slots.get_mut(slot_of.at(t.wrapping_sub(start_ns) as u64)) {
            *slot = v;
        }
    }
}

/// Divides by a step.
// PERF: gaps come at random, so a branch on them is guessed wrong each time, and a division takes ten times as long as a
// product with the reciprocal.
// Proof: `cargo bench -p rhythmite --bench graphite_fetch -- sum_1000_1d`.
#[derive(Clone, Copy)]
struct SlotOf {
    /// 2^(64 + shift) by the step in units of [`UNIT_BITS`], rounded up.
    reciprocal: u64,
    shift: u32,
}

/// A second is a multiple of 2^9 nanoseconds.
const UNIT_BITS: u32 = 9;

impl SlotOf {
    /// `None` for a step that is no positive number of seconds, or beyond what nanoseconds hold.
    fn new(step_s: i64) -> Option<Self> {
        let step = u64::try_from(step_s.checked_mul(SECOND_NS)?).ok()? >> UNIT_BITS;
        // With 2^shift <= step < 2^(shift + 1) the reciprocal has 64 bits (a step, a multiple of 5^9, is no power of two),
        // and its error, less than one, moves the quotient of a dividend below 2^63 by less than one part of the step.
        let shift = step.checked_ilog2()?;
        let reciprocal = (1_u128 << (64 + shift)).div_ceil(u128::from(step)) as u64;
        Some(Self { reciprocal, shift })
    }

    /// The slot of a time, counted from the first one's.
    fn at(&self, since_ns: u64) -> usize {
        let product = u128::from(since_ns >> UNIT_BITS) * u128::from(self.reciprocal);
        ((product >> 64) as u64 >> self.shift) as usize
    }
}
