//! What an engine may answer when disks fail: a map, with steps of which it is not known whether they happened.
//!
//! Steps are in the order of the log, so a crash leaves a head of them: all that were acknowledged, and perhaps more.
//! Until then readers see all that succeeded, and of a tail that failed perhaps a head.

use std::collections::{BTreeSet, HashSet};

use super::world::{D, KEPT_TABLES, Map, P, put, take};

/// One write or deletion.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Put(Vec<P>),
    Take(D),
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is on disk, and so is everything before.
    Acknowledged,
    /// Readers see it.
    Visible,
    /// An error was answered: it may have happened.
    Unknown,
}

#[derive(Default)]
pub(super) struct Oracle {
    /// What is there for sure.
    base: Map,
    steps: Vec<Step>,
    /// So many of the steps outlive a crash.
    acknowledged: usize,
    /// So many of the steps are seen by readers.
    visible: usize,
    /// Every value that was ever written, for points past their retention.
    ever: HashSet<(String, String, i64, String)>,
    /// Series whose names may be there without a point until an engine in health has looked after them.
    unsettled: BTreeSet<String>,
    /// Series whose names may be there because the rows that they were made for were refused.
    without_rows: BTreeSet<String>,
}

impl Oracle {
    pub fn push(&mut self, step: Step, fate: Fate) {
        match &step {
            Step::Put(points) => {
                let keys = points.iter().map(|p| p.key.clone());
                if fate != Fate::Unknown {
                    for key in keys {
                        self.without_rows.remove(&key);
                    }
                }
                let mut map = Map::new();
                put(&mut map, points);
                for ((_, key, field), values) in map {
                    let all = values.into_iter().map(|(t, value)| (key.clone(), field.clone(), t, value));
                    self.ever.extend(all);
                }
            }
            Step::Take(delete) => {
                if fate != Fate::Acknowledged {
                    self.unsettled.extend(delete.keys.iter().cloned());
                }
            }
        }
        self.steps.push(step);
        match fate {
            Fate::Acknowledged => self.all_durable(),
            Fate::Visible => {
                assert_eq!(self.visible + 1, self.steps.len(), "nothing succeeds after the log has failed");
                self.visible = self.steps.len();
            }
            Fate::Unknown => {}
        }
    }

    /// Names may have been made for rows that were not written.
    pub fn refused(&mut self, points: &[P]) {
        self.without_rows.extend(points.iter().map(|p| p.key.clone()));
    }

    /// Everything so far is on disk.
    pub fn all_durable(&mut self) {
        assert!(self.visible + 1 >= self.steps.len(), "nothing succeeds after the log has failed");
        self.base = self.after(self.steps.len());
        self.steps.clear();
        (self.acknowledged, self.visible) = (0, 0);
    }

    fn after(&self, steps: usize) -> Map {
        let mut map = self.base.clone();
        for step in &self.steps[..steps] {
            match step {
                Step::Put(points) => put(&mut map, points),
                Step::Take(delete) => take(&mut map, delete),
            }
        }
        map
    }

    /// Compares with what a reader found; points before `expired_s` may be gone, but for those kept for ever.
    pub fn check(&self, found: &Map, expired_s: i64) {
        self.find(self.visible, found, expired_s);
    }

    /// The log works, so what readers see is what happened: the other steps did not.
    pub fn settle(&mut self, found: &Map, expired_s: i64) {
        self.visible = self.find(self.visible, found, expired_s);
        self.steps.truncate(self.visible);
    }

    /// Compares with what was found after a crash, and goes on from there.
    pub fn restarted(&mut self, found: &Map, expired_s: i64) {
        self.find(self.acknowledged, found, expired_s);
        for step in std::mem::take(&mut self.steps) {
            match step {
                Step::Put(points) => self.refused(&points),
                Step::Take(delete) => self.unsettled.extend(delete.keys),
            }
        }
        self.go_on_from(found);
    }

    /// Takes what was found as it is.
    pub fn go_on_from(&mut self, found: &Map) {
        self.steps.clear();
        (self.acknowledged, self.visible) = (0, 0);
        self.base = found.clone();
    }

    /// The number of steps, at least `least`, after which the map is as found.
    fn find(&self, least: usize, found: &Map, expired_s: i64) -> usize {
        let mut first = None;
        for steps in least..=self.steps.len() {
            match self.difference(&self.after(steps), found, expired_s) {
                None => return steps,
                Some(difference) => drop(first.get_or_insert(difference)),
            }
        }
        let tail = &self.steps[least..];
        panic!("{}\nand not after any of the steps that are not sure: {tail:?}", first.unwrap_or_default());
    }

    fn difference(&self, expected: &Map, found: &Map, expired_s: i64) -> Option<String> {
        let keys: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
        for key in keys {
            let expires = !KEPT_TABLES.contains(&key.0.as_str());
            let none = Default::default();
            let (a, b) = (expected.get(key).unwrap_or(&none), found.get(key).unwrap_or(&none));
            let times: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for time in times.into_iter().filter(|time| a.get(time) != b.get(time)) {
                let (a, b) = (a.get(time), b.get(time));
                let past = expires && *time < expired_s;
                let was = |value: &String| self.ever.contains(&(key.1.clone(), key.2.clone(), *time, value.clone()));
                if !past || !b.is_none_or(was) {
                    return Some(format!("{key:?} at {time}: {b:?} instead of {a:?}"));
                }
            }
        }
        None
    }

    /// Compares the series that are listed with those that have points. `healthy`: the engine has looked after names.
    pub fn check_names(&mut self, listed: &BTreeSet<String>, found: &Map, healthy: bool) {
        if healthy {
            self.unsettled.clear();
        }
        let with_points: BTreeSet<_> = found.keys().map(|key| key.1.clone()).collect();
        let missing: Vec<_> = with_points.difference(listed).collect();
        assert!(missing.is_empty(), "series with points are not listed: {missing:?}");
        self.unsettled.retain(|key| listed.contains(key) && !with_points.contains(key));
        self.without_rows.retain(|key| listed.contains(key) && !with_points.contains(key));
        let more = listed.difference(&with_points);
        let more: Vec<_> =
            more.filter(|key| !self.unsettled.contains(*key) && !self.without_rows.contains(*key)).collect();
        assert!(more.is_empty(), "series without points are listed: {more:?}");
    }
}
