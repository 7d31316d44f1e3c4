//! When a continuous query runs, and which times it covers: arithmetic alone, with 1.x's results.

use jiff::tz::TimeZone;

use super::super::window::zone_offset_ns;

/// How often a query runs and how far back it reaches.
#[derive(Clone, Debug)]
pub(super) struct Rhythm {
    /// Length of its windows; positive.
    pub(super) window_ns: i64,
    /// Where they begin, relative to the epoch.
    pub(super) offset_ns: i64,
    /// `RESAMPLE EVERY`; otherwise it runs once for each window.
    pub(super) every_ns: Option<i64>,
    /// `RESAMPLE FOR`; otherwise it reaches back to where it last came.
    pub(super) for_ns: Option<i64>,
    /// Windows of a day begin at its midnight.
    pub(super) zone: Option<TimeZone>,
}

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Times that count: from here,
    pub(super) start_ns: i64,
    /// to before here. Not above `start_ns` where there is nothing to do yet.
    pub(super) end_ns: i64,
    /// What to remember once it is stored: the next run is one interval behind this.
    pub(super) run_ns: i64,
}

impl Rhythm {
    /// The run that is due, if one is; `last_ns` is [`Due::run_ns`] of the one before.
    ///
    /// The first run takes `now_ns` for the time at which it was due. Later ones begin where they were due, however
    /// late it is, so that nothing is left out after a pause.
    pub(super) fn due(&self, last_ns: Option<i64>, now_ns: i64) -> Option<Due> {
        let every_ns = self.every_ns.unwrap_or(self.window_ns);
        let due_ns = match last_ns {
            None => now_ns,
            // The clock has been set back: go on from where it is now.
            Some(last) if last > now_ns => now_ns,
            Some(last) => Some(self.next(last, every_ns)).filter(|next| *next <= now_ns)?,
        };
        let run_ns = self.truncate(now_ns.saturating_sub(self.offset_ns), every_ns).saturating_add(self.offset_ns);
        let reach_ns = self.for_ns.unwrap_or(every_ns.max(self.window_ns));
        // Of a window that is run more often than it ends, the part there is so far is covered too.
        let ahead_ns = self.window_ns - every_ns.min(self.window_ns);
        let from_ns = due_ns.saturating_add(self.window_ns).saturating_sub(reach_ns).saturating_sub(self.offset_ns + 1);
        let to_ns = now_ns.saturating_add(ahead_ns).saturating_sub(self.offset_ns);
        Some(Due {
            start_ns: self.truncate(from_ns, self.window_ns).saturating_add(self.offset_ns),
            end_ns: self.truncate(to_ns, self.window_ns).saturating_add(self.offset_ns),
            run_ns,
        })
    }

    /// Where a piece of at most so many windows that begins at `start_ns` ends.
    pub(super) fn piece_end(&self, start_ns: i64, windows: i64, end_ns: i64) -> i64 {
        let far_ns = start_ns.saturating_add(self.window_ns.saturating_mul(windows));
        if far_ns >= end_ns {
            return end_ns;
        }
        let at_ns = self.truncate(far_ns.saturating_sub(self.offset_ns), self.window_ns);
        let at_ns = at_ns.saturating_add(self.offset_ns);
        if at_ns > start_ns { at_ns.min(end_ns) } else { end_ns }
    }

    /// One interval later; a day with a clock change is as much longer or shorter.
    fn next(&self, last_ns: i64, every_ns: i64) -> i64 {
        let next_ns = last_ns.saturating_add(every_ns);
        let by_ns = self.zone_at(last_ns.saturating_sub(1)) - self.zone_at(next_ns.saturating_sub(1));
        if by_ns.abs() < every_ns { next_ns.saturating_add(by_ns) } else { next_ns }
    }

    /// The start of the interval that holds a time.
    fn truncate(&self, at_ns: i64, every_ns: i64) -> i64 {
        let zone_ns = self.zone_at(at_ns);
        let start_ns = at_ns.saturating_sub(at_ns.saturating_add(zone_ns).rem_euclid(every_ns));
        let by_ns = zone_ns - self.zone_at(start_ns);
        if by_ns.abs() < every_ns { start_ns.saturating_add(by_ns) } else { start_ns }
    }

    fn zone_at(&self, at_ns: i64) -> i64 {
        self.zone.as_ref().map_or(0, |zone| zone_offset_ns(zone, at_ns))
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZoneDatabase;

    use super::*;

    const MINUTE_NS: i64 = 60_000_000_000;
    const HOUR_NS: i64 = 60 * MINUTE_NS;

    /// `windows[+offset] [every] [for]` in minutes; `last` and `now` too; expected `start..end run`, or nothing.
    fn check(
        rhythm: (i64, i64, Option<i64>, Option<i64>),
        last: Option<i64>,
        now: i64,
        expected: Option<(i64, i64, i64)>,
    ) {
        let (window, offset, every, reach) = rhythm;
        let minutes = |n: Option<i64>| n.map(|n| n * MINUTE_NS);
        let rhythm = Rhythm {
            window_ns: window * MINUTE_NS,
            offset_ns: offset * MINUTE_NS,
            every_ns: minutes(every),
            for_ns: minutes(reach),
            zone: None,
        };
        let due = rhythm.due(minutes(last), now * MINUTE_NS);
        let found = due.map(|due| (due.start_ns / MINUTE_NS, due.end_ns / MINUTE_NS, due.run_ns / MINUTE_NS));
        assert_eq!(found, expected, "{rhythm:?} after {last:?} at {now}");
    }

    #[test]
    fn each_window_is_run_once_it_is_over() {
        let plain = (5, 0, None, None);
        check(plain, None, 723, Some((720, 720, 720)));
        check(plain, Some(720), 724, None);
        check(plain, Some(720), 725, Some((720, 725, 725)));
        check(plain, Some(720), 727, Some((720, 725, 725)));
        check((5, 1, None, None), Some(721), 726, Some((721, 726, 726)));
    }

    #[test]
    fn after_a_pause_nothing_is_left_out() {
        check((5, 0, None, None), Some(600), 723, Some((600, 720, 720)));
        check((5, 0, Some(1), Some(10)), Some(600), 723, Some((595, 725, 723)));
    }

    #[test]
    fn resampling_reaches_back_and_ahead() {
        // Every minute: the window that has just begun is covered too.
        check((5, 0, Some(1), None), Some(722), 723, Some((720, 725, 723)));
        check((5, 0, Some(1), Some(10)), Some(722), 723, Some((715, 725, 723)));
        // Every half hour, the six windows of it.
        check((5, 0, Some(30), None), Some(720), 750, Some((720, 750, 750)));
        check((5, 0, None, Some(15)), Some(720), 725, Some((710, 725, 725)));
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nothing() {
        check((5, 0, None, None), Some(1_000), 723, Some((720, 720, 720)));
    }

    #[test]
    fn days_begin_at_midnight() {
        let zone = TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
        let day = Rhythm { window_ns: 24 * HOUR_NS, offset_ns: 0, every_ns: None, for_ns: None, zone: Some(zone) };
        // Midnight of 31 March 2024, a day of 23 hours.
        let midnight = 1_711_839_600_000_000_000;
        let next = midnight + 23 * HOUR_NS;
        assert_eq!(day.due(Some(midnight), next - 1), None);
        assert_eq!(day.due(Some(midnight), next + 1), Some(Due { start_ns: midnight, end_ns: next, run_ns: next }));
        assert_eq!(day.piece_end(midnight, 1, next + 24 * HOUR_NS), next);
    }

    #[test]
    fn pieces_end_with_windows() {
        let rhythm = Rhythm { window_ns: 10, offset_ns: 3, every_ns: None, for_ns: None, zone: None };
        assert_eq!(rhythm.piece_end(3, 4, 103), 43);
        assert_eq!(rhythm.piece_end(83, 4, 103), 103);
        assert_eq!(rhythm.piece_end(3, i64::MAX, 103), 103);
    }
}
