//! Known keys: from the bytes of a line to the state of its key in one look-up.
//!
//! The table is asked with the bytes as they were sent (key, and tags behind `|#`), so that a known key costs one
//! hash and one comparison and is cleaned only the first time. Keys sent in several spellings
//! have several entries, bounded in number; beyond that the extra spellings are only slower.
//!
//! A program sends its keys in the same order again and again, so the key that came behind the last one before is tried
//! before the table is asked: it lies behind the last one in memory too, and nothing is hashed. Where keys come in no
//! order the guess is not tried, only compared with what the table says.
//!
//! A key that has no counter, gauge, timer or set left is kept for some flushes, because idle
//! series that are deleted often come back; [`Keys::collect`] then drops it.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::num::NonZeroU32;

use foldhash::fast::RandomState;
use hashbrown::{HashSet, HashTable};

use crate::name;
use crate::options::{Dialect, Options, TagStyle};

/// Flushes a key without any state is remembered.
const DEAD_FLUSHES: u32 = 30;

/// Place of a key in [`Keys`]; changes at [`Keys::collect`].
pub(crate) type KeyId = u32;

/// Members of a set.
pub(crate) type Members = HashSet<Box<[u8]>, RandomState>;

/// A timer since the last flush; its values are in [`crate::samples`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    /// Number of values, scaled by their sample rates.
    pub count: f64,
    /// Values kept, and one: so that no timer takes no more room than one.
    kept: NonZeroU32,
}

impl Timer {
    pub const NEW: Self = Self { count: 0.0, kept: NonZeroU32::MIN };
    /// Values of which it can be said how many there are.
    pub const KEPT_MAX: usize = u32::MAX as usize - 1;

    /// Values kept.
    #[inline]
    pub fn kept(&self) -> usize {
        self.kept.get() as usize - 1
    }

    /// One more value is kept; there were fewer than [`Timer::KEPT_MAX`].
    #[inline]
    pub fn keep(&mut self) {
        self.kept = self.kept.saturating_add(1);
    }
}

/// What a key is called.
#[derive(Debug)]
pub(crate) struct Key {
    /// Cleaned, tags behind it.
    pub name: Box<str>,
    /// What Graphite gets, where it is not `name`.
    graphite: Option<Box<str>>,
    /// Where the tags of the Graphite form begin.
    tags_at: u32,
    /// The flush that last found the key in use.
    used: u32,
    /// Who sent it first.
    pub sender: Option<IpAddr>,
}

impl Key {
    /// The Graphite form: base and tags (with their semicolons).
    pub fn graphite(&self) -> (&str, &str) {
        self.graphite.as_deref().unwrap_or(&self.name).split_at(self.tags_at as usize)
    }
}

/// What is kept for a key, of each kind at most one.
// PERF: apart from names and as long as a line of the cache: a line of text touches one here, not two.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub counter: Option<f64>,
    pub gauge: Option<f64>,
    pub timer: Option<Timer>,
    pub set: Option<Box<Members>>,
    /// Flushes until the gauge is deleted; 0 for never.
    pub gauge_ttl: u32,
    /// What was sent behind the key last time, as [`Entry::at`].
    next: u32,
}

const _: () = assert!(size_of::<State>() == 64);

impl State {
    fn is_dead(&self) -> bool {
        self.counter.is_none() && self.gauge.is_none() && self.timer.is_none() && self.set.is_none()
    }
}

/// One in eight bytes, so that the table of many keys stays in the caches.
#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    /// The key that is sent by its own name, or with [`SPELLING`] a place in [`Keys::spellings`].
    at: u32,
}

/// Keys are fewer than this (`Options::validate`).
const SPELLING: u32 = 1 << 31;

impl Entry {
    /// What the table wants: its places come from the low bits, its tags from the high ones.
    fn table_hash(self) -> u64 {
        u64::from(self.hash) << 32 | u64::from(self.hash)
    }
}

/// A key as it was sent, which is not its name.
struct Spelling {
    /// Where its text begins in [`Keys::texts`]: the key, and behind it the tags.
    start: usize,
    key_len: u32,
    tags_len: u32,
    key: KeyId,
    /// As that of a key.
    next: u32,
}

/// What is expected to be sent next.
pub(crate) struct Expected<'a> {
    pub key: &'a [u8],
    /// Empty without tags.
    pub tags: &'a [u8],
    /// As [`Entry::at`].
    pub at: u32,
}

/// From here on the guess is tried: it was right more often than not of late.
const TRUST_MIN: u8 = 4;
const TRUST_MAX: u8 = 8;

/// All keys.
pub(crate) struct Keys {
    table: HashTable<Entry>,
    list: Vec<Key>,
    /// Of the keys in the list.
    states: Vec<State>,
    hasher: RandomState,
    /// What keys are called beside their own names.
    spellings: Vec<Spelling>,
    /// The texts of all spellings in the order in which they were first sent.
    // PERF: in boxes of their own, 10,000 keys with four tags cost twice as much to fold (docs/bench, receivers, 8).
    texts: Vec<u8>,
    /// What was sent last, as [`Entry::at`], and how far what it says of the next is to be trusted.
    last: u32,
    trust: u8,
    /// Who sends what is folded now.
    pub sender: Option<IpAddr>,
    keys_max: usize,
    clean: bool,
    dialect: Dialect,
    styles: Vec<TagStyle>,
    scratch: String,
}

impl Keys {
    pub fn new(options: &Options) -> Self {
        Keys {
            table: HashTable::new(),
            list: Vec::new(),
            states: Vec::new(),
            hasher: RandomState::default(),
            spellings: Vec::new(),
            texts: Vec::new(),
            last: 0,
            trust: 0,
            sender: None,
            keys_max: options.max_keys,
            clean: options.key_name_sanitize,
            dialect: options.dialect,
            styles: options.tag_styles.clone(),
            scratch: String::new(),
        }
    }

    /// The key sent as `key` and `tags`; `None` when it is new and there are too many.
    #[inline]
    pub fn resolve(&mut self, key: &[u8], tags: &[u8]) -> Option<KeyId> {
        self.known(key, tags).or_else(|| self.resolve_new(key, tags))
    }

    /// The same, if it was sent so before.
    #[inline]
    pub fn known(&mut self, key: &[u8], tags: &[u8]) -> Option<KeyId> {
        if let Some(expected) = self.expected()
            && (expected.key, expected.tags) == (key, tags)
        {
            let at = expected.at;
            return Some(self.confirm(at));
        }
        let guess = self.next_of(self.last);
        let wanted = self.hash(key, tags);
        let found = self.table.find(wanted.table_hash(), |e| e.hash == wanted.hash && self.is(e.at, key, tags));
        let at = found?.at;
        self.trust = if at == guess { self.trust + 1 } else { self.trust.saturating_sub(1) };
        self.follow(at);
        Some(self.key_of(at))
    }

    /// What is expected to be sent now, if that can be said; [`Self::confirm`] says that it was.
    #[inline]
    pub fn expected(&self) -> Option<Expected<'_>> {
        if self.trust < TRUST_MIN {
            return None;
        }
        let at = self.next_of(self.last);
        let (key, tags) = match at.checked_sub(SPELLING) {
            None => (self.list.get(at as usize)?.name.as_bytes(), &[][..]),
            Some(at) => self.text(self.spellings.get(at as usize)?),
        };
        Some(Expected { key, tags, at })
    }

    /// What was expected, [`Expected::at`], was sent: its key.
    #[inline]
    pub fn confirm(&mut self, at: u32) -> KeyId {
        self.trust = TRUST_MAX.min(self.trust + 1);
        self.last = at;
        self.key_of(at)
    }

    /// Notes what was sent now.
    fn follow(&mut self, at: u32) {
        match self.last.checked_sub(SPELLING) {
            None => self.states.get_mut(self.last as usize).map(|state| state.next = at),
            Some(last) => self.spellings.get_mut(last as usize).map(|spelling| spelling.next = at),
        };
        self.last = at;
    }

    fn next_of(&self, at: u32) -> u32 {
        let next = match at.checked_sub(SPELLING) {
            None => self.states.get(at as usize).map(|state| state.next),
            Some(at) => self.spellings.get(at as usize).map(|spelling| spelling.next),
        };
        next.unwrap_or(0)
    }

    /// Whether what is at this place was sent as `key` and `tags`.
    #[inline]
    fn is(&self, at: u32, key: &[u8], tags: &[u8]) -> bool {
        match at.checked_sub(SPELLING) {
            None => tags.is_empty() && self.list.get(at as usize).is_some_and(|known| known.name.as_bytes() == key),
            Some(at) => self.spellings.get(at as usize).is_some_and(|known| self.is_spelled(known, key, tags)),
        }
    }

    /// Whether it was sent as `key` and `tags`.
    #[inline]
    fn is_spelled(&self, known: &Spelling, key: &[u8], tags: &[u8]) -> bool {
        let same_lengths = known.key_len as usize == key.len() && known.tags_len as usize == tags.len();
        same_lengths && self.text(known) == (key, tags)
    }

    /// Key and tags as they were sent.
    #[inline]
    fn text(&self, known: &Spelling) -> (&[u8], &[u8]) {
        let (key_len, tags_len) = (known.key_len as usize, known.tags_len as usize);
        self.texts[known.start..][..key_len + tags_len].split_at(key_len)
    }

    #[inline]
    fn key_of(&self, at: u32) -> KeyId {
        at.checked_sub(SPELLING).map_or(at, |at| self.spellings[at as usize].key)
    }

    #[cold]
    fn resolve_new(&mut self, key: &[u8], tags: &[u8]) -> Option<KeyId> {
        let mut name = std::mem::take(&mut self.scratch);
        let write = match self.dialect {
            Dialect::Statsd => name::statsd_key,
            Dialect::Dogstatsd => name::dogstatsd_key,
        };
        match name::split_styled(key, &self.styles) {
            Some((base, mut all)) => {
                if !all.is_empty() && !tags.is_empty() {
                    all.push(b',');
                }
                all.extend_from_slice(tags);
                write(&base, &all, self.clean, &mut name);
            }
            None => write(key, tags, self.clean, &mut name),
        }
        let id = self.find(&name).or_else(|| (self.list.len() < self.keys_max).then(|| self.insert(&name)));
        let own_name = tags.is_empty() && key == name.as_bytes();
        self.scratch = name;
        let id = id?;
        if own_name {
            self.follow(id);
        } else if self.spellings.len() < self.keys_max {
            let at = SPELLING + self.spellings.len() as u32;
            let (start, key_len, tags_len) = (self.texts.len(), key.len() as u32, tags.len() as u32);
            self.texts.extend_from_slice(key);
            self.texts.extend_from_slice(tags);
            self.spellings.push(Spelling { start, key_len, tags_len, key: id, next: 0 });
            let entry = Entry { at, ..self.hash(key, tags) };
            self.table.insert_unique(entry.table_hash(), entry, |e| e.table_hash());
            self.follow(at);
        }
        Some(id)
    }

    /// The key with this cleaned name.
    pub fn find(&self, name: &str) -> Option<KeyId> {
        let wanted = self.hash(name.as_bytes(), b"");
        // Another key's spelling may look like a name.
        let is_it = |e: &Entry| e.hash == wanted.hash && e.at < SPELLING && *self.list[e.at as usize].name == *name;
        self.table.find(wanted.table_hash(), is_it).map(|entry| entry.at)
    }

    /// Adds a key that [`Self::find`] does not find, whatever the limit says.
    pub fn insert(&mut self, name: &str) -> KeyId {
        let id = KeyId::try_from(self.list.len()).expect("max_keys is below 2^30");
        let graphite = name::graphite_key(name, self.clean);
        self.list.push(Key {
            name: name.into(),
            tags_at: graphite.find(';').unwrap_or(graphite.len()) as u32,
            graphite: (graphite != name).then(|| graphite.as_ref().into()),
            used: 0,
            sender: self.sender,
        });
        self.states.push(State::default());
        let entry = Entry { at: id, ..self.hash(name.as_bytes(), b"") };
        self.table.insert_unique(entry.table_hash(), entry, |e| e.table_hash());
        id
    }

    #[inline]
    pub fn get(&self, id: KeyId) -> &Key {
        &self.list[id as usize]
    }

    #[inline]
    pub fn state(&self, id: KeyId) -> &State {
        &self.states[id as usize]
    }

    #[inline]
    pub fn state_mut(&mut self, id: KeyId) -> &mut State {
        &mut self.states[id as usize]
    }

    #[inline]
    pub fn both_mut(&mut self, id: KeyId) -> (&Key, &mut State) {
        (&self.list[id as usize], &mut self.states[id as usize])
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Called once per flush, with its number: drops keys that have had no state for a while
    /// (at once when there is no room), and all extra spellings when there are too many. Keys below `pinned` stay. Says
    /// where every key went, if any moved.
    pub fn collect(&mut self, flush: u32, pinned: KeyId) -> Option<Vec<Option<KeyId>>> {
        let full = self.list.len() >= self.keys_max;
        let mut gone = 0usize;
        for (key, state) in self.list.iter_mut().zip(&self.states) {
            if !state.is_dead() {
                key.used = flush;
            } else if full || flush.wrapping_sub(key.used) > DEAD_FLUSHES {
                gone += 1;
            }
        }
        if gone == 0 && self.spellings.len() < self.keys_max {
            return None;
        }
        // Rebuilding costs a pass over all keys: wait until it is worth it.
        if !full && gone < self.list.len() / 4 && self.spellings.len() < self.keys_max {
            return None;
        }
        let (old, states) = (std::mem::take(&mut self.list), std::mem::take(&mut self.states));
        self.table.clear();
        self.spellings.clear();
        self.texts.clear();
        (self.last, self.trust) = (0, 0);
        let mut moved = vec![None; old.len()];
        for (i, (key, mut state)) in old.into_iter().zip(states).enumerate() {
            let dead = state.is_dead() && (full || flush.wrapping_sub(key.used) > DEAD_FLUSHES);
            if dead && i >= pinned as usize {
                continue;
            }
            let id = self.insert(&key.name);
            let moving = &mut self.list[id as usize];
            (moving.used, moving.sender) = (key.used, key.sender);
            // What was sent behind it has another place now.
            state.next = 0;
            *self.state_mut(id) = state;
            moved[i] = Some(id);
        }
        Some(moved)
    }

    #[inline]
    fn hash(&self, key: &[u8], tags: &[u8]) -> Entry {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        if !tags.is_empty() {
            hasher.write(tags);
        }
        // Whose it is stands in `at` later.
        Entry { hash: hasher.finish() as u32, at: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(max_keys: usize) -> Keys {
        Keys::new(&Options { max_keys, ..Options::default() })
    }

    #[test]
    fn spellings_of_one_key_are_one_key() {
        let mut keys = keys(10);
        let id = keys.resolve(b"a b", b"x:1").unwrap();
        for (key, tags) in [("a b", "x:1"), ("a  b", "x:1"), ("a_b;x=1", ""), ("a_b", "x=1"), ("a\tb", "x:1")] {
            assert_eq!(keys.resolve(key.as_bytes(), tags.as_bytes()), Some(id), "{key} {tags}");
        }
        assert_eq!(&*keys.get(id).name, "a_b;x=1");
        assert_eq!(keys.get(id).graphite(), ("a_b", ";x=1"));
        assert_ne!(keys.resolve(b"a_b", b""), Some(id));
        assert_eq!((keys.find("a_b;x=1"), keys.find("a b")), (Some(id), None));
        assert_eq!(keys.len(), 2);
    }

    #[test]
    fn keys_beyond_the_limit_are_refused_and_known_ones_stay() {
        let mut keys = keys(2);
        assert_eq!(
            (keys.resolve(b"a", b""), keys.resolve(b"b", b""), keys.resolve(b"c", b"")),
            (Some(0), Some(1), None)
        );
        assert_eq!(keys.resolve(b"a", b""), Some(0));
        // A third spelling has no entry of its own and is still found.
        for spelling in ["a$", "a%", "a!", "a?"] {
            assert_eq!(keys.resolve(spelling.as_bytes(), b""), Some(0));
        }
        assert_eq!(keys.spellings.len(), 2);
    }

    #[test]
    fn keys_sent_in_order_are_found_without_the_table() {
        let mut keys = keys(10);
        let sent: [(&[u8], &[u8]); 4] = [(b"a", b""), (b"b", b"x:1"), (b"a", b"x:1"), (b"c d", b"")];
        let ids = sent.map(|(key, tags)| keys.resolve(key, tags));
        assert_eq!(ids, [0, 1, 2, 3].map(Some));
        (0..2).for_each(|_| assert_eq!(sent.map(|(key, tags)| keys.known(key, tags)), ids));
        let table = std::mem::take(&mut keys.table);
        (0..2).for_each(|_| assert_eq!(sent.map(|(key, tags)| keys.known(key, tags)), ids));
        assert_eq!(keys.known(b"b", b"x:1"), None, "the order was another");
        keys.table = table;
        // Behind each comes now the one, now the other.
        for n in [0, 1, 2, 0, 2, 1].iter().cycle().take(60) {
            assert_eq!(keys.known(sent[*n].0, sent[*n].1), ids[*n]);
        }
        assert!(keys.trust < TRUST_MIN, "there is no order");
        // Places change, and what was sent behind what is forgotten.
        (1..3).for_each(|id| keys.state_mut(id).gauge = Some(1.0));
        assert!(keys.collect(DEAD_FLUSHES + 1, 0).is_some());
        for _ in 0..9 {
            assert_eq!(sent.map(|(key, tags)| keys.resolve(key, tags)), [2, 0, 1, 3].map(Some));
        }
    }

    #[test]
    fn dead_keys_are_collected_after_a_while_and_at_once_when_full() {
        let mut roomy = keys(100);
        for name in ["own", "dead", "alive"] {
            roomy.resolve(name.as_bytes(), b"");
        }
        roomy.state_mut(2).counter = Some(7.0);
        for flush in 1..=DEAD_FLUSHES {
            assert_eq!(roomy.collect(flush, 1), None);
        }
        assert_eq!(roomy.collect(DEAD_FLUSHES + 1, 1), Some(vec![Some(0), None, Some(1)]));
        assert_eq!((roomy.find("alive"), roomy.find("dead"), roomy.state(1).counter), (Some(1), None, Some(7.0)));

        let mut full = keys(2);
        full.resolve(b"dead", b"");
        full.resolve(b"alive", b"");
        full.state_mut(1).gauge = Some(1.0);
        assert_eq!(full.collect(1, 0), Some(vec![None, Some(0)]));
        assert_eq!(full.resolve(b"new", b""), Some(1));
    }
}
