//! Windows of time: where each begins and ends, with the clock changes of a time zone.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rhythmite_influx::influxql::{Compiled, TIME_MAX_NS, TIME_MIN_NS};

/// How a statement cuts time.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    /// 0: one window, all of the range.
    every_ns: i64,
    offset_ns: i64,
    zone: Option<TimeZone>,
}

/// Nanoseconds to add to UTC for local time.
pub(super) fn zone_offset_ns(zone: &TimeZone, at_ns: i64) -> i64 {
    let at = Timestamp::from_second(at_ns.div_euclid(1_000_000_000)).unwrap_or(Timestamp::UNIX_EPOCH);
    i64::from(zone.to_offset(at).seconds()) * 1_000_000_000
}

impl Windows {
    pub(super) fn of(compiled: &Compiled) -> Self {
        let (every_ns, offset_ns) = compiled.window.map_or((0, 0), |w| (w.every_ns, w.offset_ns));
        let zone = compiled.statement.zone.as_ref().map(|zone| zone.time_zone().clone());
        Self { every_ns, offset_ns, zone }
    }

    pub(super) fn is_one(&self) -> bool {
        self.every_ns == 0
    }

    pub(super) fn every_ns(&self) -> i64 {
        self.every_ns
    }

    /// How many there are in a range with an end; `None` without one.
    pub(super) fn count(&self, (min_ns, max_ns): (i64, i64)) -> Option<u64> {
        match (self.every_ns, max_ns.checked_sub(min_ns)) {
            (0, _) => Some(1),
            (every_ns, Some(range_ns)) if range_ns >= 0 => Some(range_ns as u64 / every_ns as u64 + 2),
            _ => None,
        }
    }

    /// Whether windows begin and end with steps of a coarser level.
    pub(super) fn nest(&self, step_ns: i64) -> bool {
        self.zone.is_none() && self.every_ns > 0 && self.every_ns % step_ns == 0 && self.offset_ns % step_ns == 0
    }

    pub(super) fn zone(&self) -> Option<&TimeZone> {
        self.zone.as_ref()
    }

    fn zone_at(&self, at_ns: i64) -> i64 {
        self.zone.as_ref().map_or(0, |zone| zone_offset_ns(zone, at_ns))
    }

    /// The window `[start, end)` that holds `at_ns`. With one window that is the range, `end` one beyond it.
    ///
    /// A window that spans a clock change is as much longer or shorter, unless it is not longer than the change.
    pub(super) fn bounds(&self, at_ns: i64, range: (i64, i64)) -> (i64, i64) {
        if self.every_ns == 0 {
            return (range.0, range.1.saturating_add(1));
        }
        let at_ns = at_ns.saturating_sub(self.offset_ns);
        let zone = self.zone_at(at_ns);
        let into = at_ns.saturating_add(zone).rem_euclid(self.every_ns);
        let mut start = if TIME_MIN_NS.saturating_add(into) >= at_ns { TIME_MIN_NS } else { at_ns - into };
        let small = |by: i64| by != 0 && by.abs() < self.every_ns;
        if self.zone.is_some() {
            let by = zone - self.zone_at(start);
            if small(by) {
                start += by;
            }
        }
        let left = self.every_ns - into;
        let mut end = if TIME_MAX_NS - left <= at_ns { TIME_MAX_NS } else { at_ns + left };
        if self.zone.is_some() {
            let end_zone = self.zone_at(end);
            let by = zone - end_zone;
            // Time gained belongs to the window before the change, time lost to the one behind it.
            if small(by) && (by > 0 || self.zone_at(end + by) == end_zone) {
                end += by;
            }
        }
        let start = if start == TIME_MIN_NS { start } else { start.saturating_add(self.offset_ns) };
        (start, end.saturating_add(self.offset_ns))
    }

    /// The window that holds `at_ns`, as [`bounds`](Self::bounds); `before` is another one. PERF: mostly it is the one behind
    /// that, for which nothing has to be divided.
    pub(super) fn after(&self, before: (i64, i64), at_ns: i64, range: (i64, i64)) -> (i64, i64) {
        /// From here to the ends of time no window is cut by them.
        const FAR_NS: i64 = TIME_MAX_NS / 4;
        let end = before.1;
        let plain = self.zone.is_none() && self.every_ns < FAR_NS && (-FAR_NS..FAR_NS).contains(&end);
        match at_ns.checked_sub(end) {
            Some(into) if plain && (0..self.every_ns).contains(&into) => (end, end + self.every_ns),
            _ => self.bounds(at_ns, range),
        }
    }

    /// The start of the window that holds `at_ns`.
    pub(super) fn start(&self, at_ns: i64, range: (i64, i64)) -> i64 {
        self.bounds(at_ns, range).0
    }
}

/// The time shown for a window: one that begins with time itself is shown at the epoch.
pub(super) fn shown(start_ns: i64) -> i64 {
    if start_ns == TIME_MIN_NS { 0 } else { start_ns }
}

/// Cuts ascending or descending times into runs of rows of one window: calls `f` with the window and the rows.
pub(super) fn for_each_run(
    windows: &Windows,
    range: (i64, i64),
    times_ns: &[i64],
    mut f: impl FnMut(i64, std::ops::Range<usize>),
) {
    let mut row = 0;
    let mut before = 0;
    let mut window = None;
    while row < times_ns.len() {
        let at_ns = times_ns[row];
        let (start, end) =
            window.map_or_else(|| windows.bounds(at_ns, range), |window| windows.after(window, at_ns, range));
        window = Some((start, end));
        let inside = |t: i64| t >= start && t < end;
        let rest = &times_ns[row..];
        // Of regular points there are as many as in the window before.
        let guessed = before > 0
            && rest.get(before - 1).is_some_and(|t| inside(*t))
            && rest.get(before).is_some_and(|t| !inside(*t));
        // Runs are mostly short: look at a few rows, then halve.
        let near = || rest.iter().take(64).position(|t| !inside(*t));
        let count = match guessed {
            true => before,
            false => match near() {
                Some(count) => count.max(1),
                None if windows.is_one() => rest.len(),
                None => rest.partition_point(|t| inside(*t)).max(1),
            },
        };
        before = count;
        f(start, row..row + count);
        row += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_the_same_from_whichever_other_it_is_found() {
        let minute = 60_000_000_000;
        let ends = [TIME_MIN_NS, TIME_MIN_NS + 1, TIME_MIN_NS + 90 * minute, TIME_MAX_NS - 90 * minute, TIME_MAX_NS];
        let middle = (-200..200).map(|tenth| tenth * minute / 10);
        let times: Vec<i64> = ends.into_iter().chain(middle).collect();
        for (every_ns, offset_ns) in [(0, 0), (minute, 0), (minute, 7), (7 * minute, -minute), (1 << 62, 3)] {
            for zone in [None, Some("Europe/Berlin")] {
                let zone = zone.map(|name| TimeZone::get(name).unwrap());
                let windows = Windows { every_ns, offset_ns, zone };
                let range = (TIME_MIN_NS, TIME_MAX_NS);
                for before in &times {
                    let before = windows.bounds(*before, range);
                    for at_ns in &times {
                        let expected = windows.bounds(*at_ns, range);
                        let found = windows.after(before, *at_ns, range);
                        assert_eq!(found, expected, "{windows:?}, {at_ns} after {before:?}");
                    }
                }
            }
        }
    }
}
