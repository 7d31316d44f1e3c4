//! Values by key, the least recently used given up first.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Holds values and what they weigh; bounds nothing by itself, see [`Lru::shrink`]. Every call costs log n.
pub(crate) struct Lru<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Key by the moment of its last use.
    order: BTreeMap<u64, K>,
    moment: u64,
    weight: usize,
}

/// Moments before it are those of values that were never used.
const FIRST_MOMENT: u64 = 1 << 63;

struct Entry<V> {
    value: V,
    weight: usize,
    used: u64,
}

impl<K, V> Default for Lru<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), moment: FIRST_MOMENT, weight: 0 }
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Lru<K, V> {
    /// The value of `key`, which is now the one used last.
    pub(crate) fn get(&mut self, key: K) -> Option<V> {
        let entry = self.entries.get_mut(&key)?;
        self.moment += 1;
        self.order.remove(&entry.used);
        self.order.insert(self.moment, key);
        entry.used = self.moment;
        Some(entry.value.clone())
    }
}

impl<K: Copy + Eq + Hash, V> Lru<K, V> {
    /// Whether the key has a value.
    pub(crate) fn has(&self, key: K) -> bool {
        self.entries.contains_key(&key)
    }

    /// Puts a value in, as the one used last; gives the one that had the key.
    pub(crate) fn insert(&mut self, key: K, value: V, weight: usize) -> Option<V> {
        let old = self.remove(key);
        self.moment += 1;
        self.insert_at(self.moment, key, value, weight);
        old
    }

    /// Puts a value in, as the first to be given up; gives the one that had the key.
    pub(crate) fn insert_oldest(&mut self, key: K, value: V, weight: usize) -> Option<V> {
        let old = self.remove(key);
        let moment = self.order.first_key_value().map_or(FIRST_MOMENT, |(first, _)| first.saturating_sub(1));
        self.insert_at(moment, key, value, weight);
        old
    }

    fn insert_at(&mut self, used: u64, key: K, value: V, weight: usize) {
        self.order.insert(used, key);
        self.entries.insert(key, Entry { value, weight, used });
        self.weight += weight;
    }

    /// Takes a value out.
    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let entry = self.entries.remove(&key)?;
        self.order.remove(&entry.used);
        self.weight -= entry.weight;
        Some(entry.value)
    }

    /// Takes out what was not used for longest until the rest weighs at most `weight_max`; the value used last stays
    /// whatever it weighs. The caller drops them after it has let go of its lock.
    #[must_use]
    pub(crate) fn shrink(&mut self, weight_max: usize) -> Vec<V> {
        let mut out = Vec::new();
        while self.weight > weight_max && self.entries.len() > 1 {
            let Some((_, &oldest)) = self.order.first_key_value() else { break };
            out.extend(self.remove(oldest));
        }
        out
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What they weigh together.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_go_first_and_the_last_one_stays() {
        let mut lru = Lru::default();
        (1..=4).for_each(|key| assert_eq!(lru.insert(key, key * 10, 5), None));
        assert_eq!(lru.get(1), Some(10));
        assert_eq!(lru.shrink(10), [20, 30]);
        assert_eq!((lru.len(), lru.weight()), (2, 10));
        assert_eq!(lru.get(2), None);
        assert_eq!(lru.insert(4, 41, 100), Some(40), "a key has one value");
        assert_eq!(lru.shrink(10), [10]);
        assert_eq!((lru.get(4), lru.weight()), (Some(41), 100), "the newest is never given up");
        assert_eq!(lru.remove(4), Some(41));
        assert_eq!((lru.len(), lru.weight()), (0, 0));
        assert!(lru.shrink(0).is_empty());
    }
}
