use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use smallvec::SmallVec;

/// Bytes of the names that are remembered together.
const NAMES_BYTES_MAX: usize = 128 << 20;

/// What becomes of the points of one name.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) forward: Forward,
    /// Rule and output; one entry per rule that matches.
    pub(super) targets: SmallVec<[(u32, u32); 2]>,
}

#[derive(Debug)]
pub(super) enum Forward {
    No,
    Same,
    As(Box<str>),
}

/// The names that were seen, and their routes.
///
/// A sender sends the same names in the same order again and again, so the name that came behind the last one before is
/// tried before the table is asked: such a look-up compares bytes that lie behind those compared last, and hashes
/// nothing. Where names come in no order the guess is not tried, only compared with what the table says.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// The texts of all names, one behind the other, in the order in which they were first seen.
    names: String,
    known: Vec<Known>,
    table: HashTable<Entry>,
    hasher: DefaultHashBuilder,
    /// The name found last.
    last: u32,
    /// How often the guess was right of late.
    trust: u8,
}

/// From here on the guess is tried.
const TRUST_MIN: u8 = 4;
const TRUST_MAX: u8 = 8;

#[derive(Debug)]
struct Known {
    /// Where its text lies in [`Routes::names`].
    start: u32,
    end: u32,
    /// The name that came behind it last time.
    next: u32,
    route: Route,
}

/// In eight bytes, so that the table of many names stays in the caches.
#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    at: u32,
}

impl Entry {
    /// What the table wants: its places come from the low bits, its tags from the high ones.
    fn table_hash(&self) -> u64 {
        u64::from(self.hash) << 32 | u64::from(self.hash)
    }
}

impl Routes {
    /// The place of a name that is known.
    #[inline]
    pub(super) fn find(&mut self, name: &str) -> Option<u32> {
        let last = self.last;
        let guess = self.known.get(last as usize)?.next;
        if self.trust >= TRUST_MIN && self.is(guess, name) {
            self.trust = TRUST_MAX.min(self.trust + 1);
            self.last = guess;
            return Some(guess);
        }
        let hash = self.hash(name);
        let found = self.table.find(hash.table_hash(), |entry| entry.hash == hash.hash && self.is(entry.at, name));
        let at = found?.at;
        self.trust = if at == guess { self.trust + 1 } else { self.trust.saturating_sub(1) };
        self.known[last as usize].next = at;
        self.last = at;
        Some(at)
    }

    /// The route of a name at its place.
    #[inline]
    pub(super) fn get(&self, at: u32) -> &Route {
        &self.known[at as usize].route
    }

    /// Whether a name finds room.
    pub(super) fn has_room(&self, name: &str, routes_max: usize) -> bool {
        self.known.len() < routes_max && self.names.len() + name.len() <= NAMES_BYTES_MAX
    }

    /// Remembers a name that [`Self::find`] does not find; its place. It needs to [have room](Self::has_room), unless
    /// it is the first.
    pub(super) fn insert(&mut self, name: &str, route: Route) -> u32 {
        let at = u32::try_from(self.known.len()).expect("names have a byte at least, and their texts fit in u32");
        let start = self.names.len() as u32;
        self.names.push_str(name);
        if let Some(last) = self.known.get_mut(self.last as usize) {
            last.next = at;
        }
        // What comes behind it is not known; the first is as good a guess as any.
        self.known.push(Known { start, end: self.names.len() as u32, next: 0, route });
        self.last = at;
        let entry = Entry { at, ..self.hash(name) };
        self.table.insert_unique(entry.table_hash(), entry, Entry::table_hash);
        at
    }

    /// Forgets all names.
    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.known.clear();
        self.table.clear();
        self.last = 0;
    }

    #[inline]
    fn is(&self, at: u32, name: &str) -> bool {
        let known = &self.known[at as usize];
        self.names.as_bytes()[known.start as usize..known.end as usize] == *name.as_bytes()
    }

    fn hash(&self, name: &str) -> Entry {
        // Whose it is stands in `at` later.
        Entry { hash: self.hasher.hash_one(name) as u32, at: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(names: &[&str]) -> Routes {
        let mut routes = Routes::default();
        for (at, name) in names.iter().enumerate() {
            assert_eq!(routes.find(name), None);
            assert_eq!(routes.insert(name, Route { forward: Forward::No, targets: SmallVec::new() }), at as u32);
        }
        routes
    }

    #[test]
    fn names_are_found_in_any_order() {
        let names = ["a.b", "a", "", "a.b.c", "b.a"];
        let mut routes = routes(&names);
        for step in 1..10 {
            for n in 0..50 {
                let at = n * step % names.len();
                assert_eq!(routes.find(names[at]), Some(at as u32), "{step} {n}");
                assert_eq!(routes.find("a.b.d"), None);
            }
        }
        routes.clear();
        assert_eq!((routes.find("a"), routes.find("")), (None, None));
    }

    #[test]
    fn the_name_behind_the_last_one_is_found_without_the_table() {
        let names = ["a", "b", "c"];
        let mut routes = routes(&names);
        names.iter().cycle().take(12).for_each(|name| assert!(routes.find(name).is_some()));
        let table = std::mem::take(&mut routes.table);
        for name in ["a", "b", "c", "a", "b"] {
            assert!(routes.find(name).is_some(), "{name}");
        }
        assert_eq!(routes.find("a"), None, "the order was another");
        routes.table = table;
        // Behind each name comes now the one, now the other.
        for name in ["a", "b", "c", "a", "c", "b"].iter().cycle().take(60) {
            assert!(routes.find(name).is_some());
        }
        assert!(routes.trust < TRUST_MIN, "there is no order");
    }

    #[test]
    fn room_is_bounded_by_number_and_bytes() {
        let long = "x".repeat(16 << 10);
        let mut routes = routes(&["a", "b"]);
        assert!(routes.has_room("c", 3));
        assert!(!routes.has_room("c", 2));
        for n in 0..NAMES_BYTES_MAX / long.len() - 1 {
            assert!(routes.has_room(&long, usize::MAX), "{n}");
            routes.insert(&long, Route { forward: Forward::No, targets: SmallVec::new() });
        }
        assert!(!routes.has_room(&long, usize::MAX));
    }
}
