//! Whitelist and blacklist, with the answers of names that were asked before.

use std::collections::HashMap;

use parking_lot::RwLock;
use rhythmite_carbon::rules::{Filter, Verdict};

/// Names whose answer is remembered; at the limit all are forgotten.
const NAMES_MAX: usize = 1 << 20;

/// The lists of one server; without lists every name passes.
#[derive(Default)]
pub struct NameFilter {
    lists: Option<Lists>,
}

struct Lists {
    filter: Filter,
    known: RwLock<HashMap<Box<str>, Verdict>>,
}

impl NameFilter {
    /// Both lists.
    pub fn new(filter: Filter) -> Self {
        Self { lists: Some(Lists { filter, known: RwLock::default() }) }
    }

    /// What the lists say. One look-up for a name that was seen before, else every pattern.
    pub fn check(&self, path: &str) -> Verdict {
        let Some(lists) = &self.lists else { return Verdict::Accepted };
        if let Some(verdict) = lists.known.read().get(path) {
            return *verdict;
        }
        let verdict = lists.filter.check(path);
        let mut known = lists.known.write();
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        known.insert(path.into(), verdict);
        verdict
    }
}
