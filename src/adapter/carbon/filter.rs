//! Whitelist and blacklist, with the answers of names that were asked before.

use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use rhythmite_carbon::rules::{Filter, Verdict};

/// Bytes of names whose verdict is remembered; at the limit all are forgotten and found again.
const KNOWN_BYTES_MAX: usize = 16 << 20;
/// What one name costs beside its text.
const NAME_COST: usize = 48;

/// The lists of one server; without lists every name passes.
#[derive(Default)]
pub struct NameFilter {
    /// Whether there is anything to be asked; without lists nobody waits for the lock.
    asks: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    filter: Filter,
    known: Known,
}

#[derive(Default)]
struct Known {
    verdicts: HashMap<Box<str>, Verdict>,
    bytes: usize,
}

/// The lists, locked for the names of one batch.
pub(super) struct Judge<'a> {
    state: Option<MutexGuard<'a, State>>,
}

impl NameFilter {
    /// Both lists.
    pub fn new(filter: Filter) -> Self {
        let lists = Self::default();
        lists.replace(filter);
        lists
    }

    /// Takes other lists; batches that have begun go by the old ones.
    pub fn replace(&self, filter: Filter) {
        let asks = !(filter.whitelist.is_empty() && filter.blacklist.is_empty());
        *self.state.lock() = State { filter, known: Known::default() };
        self.asks.store(asks, Ordering::Release);
    }

    /// The judge of one batch; other batches wait for it.
    pub(super) fn judge(&self) -> Judge<'_> {
        Judge { state: self.asks.load(Ordering::Acquire).then(|| self.state.lock()) }
    }
}

impl Judge<'_> {
    /// What the lists say of a name. Patterns run once per name.
    pub(super) fn verdict(&mut self, path: &str) -> Verdict {
        let Some(state) = &mut self.state else { return Verdict::Accepted };
        let State { filter, known } = &mut **state;
        if let Some(verdict) = known.verdicts.get(path) {
            return *verdict;
        }
        let verdict = filter.check(path);
        let cost = path.len() + NAME_COST;
        if known.bytes + cost > KNOWN_BYTES_MAX {
            *known = Known::default();
        }
        known.bytes += cost;
        known.verdicts.insert(path.into(), verdict);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use rhythmite_carbon::rules::NameList;

    use super::*;

    #[test]
    fn verdicts_are_remembered_within_a_bound() {
        let filter = Filter { blacklist: NameList::parse("^bad", "").0, ..Filter::default() };
        let names = NameFilter::new(filter);
        let long = "x".repeat(16 << 10);
        let mut judge = names.judge();
        let mut forgotten = 0;
        for n in 0..3_000 {
            let before = judge.state.as_ref().unwrap().known.bytes;
            assert_eq!(judge.verdict(&format!("good.{n}.{long}")), Verdict::Accepted);
            assert_eq!(judge.verdict("bad.a"), Verdict::Blacklisted);
            let bytes = judge.state.as_ref().unwrap().known.bytes;
            assert!(bytes <= KNOWN_BYTES_MAX);
            forgotten += usize::from(bytes < before);
        }
        assert_eq!(forgotten, 2);
    }

    #[test]
    fn without_lists_nothing_is_remembered() {
        assert!(NameFilter::default().judge().state.is_none());
        assert!(NameFilter::new(Filter::default()).judge().state.is_none());
    }
}
