//! Which credentials were right, so that the slow comparison is not made for each request.

use std::collections::HashSet;

use hmac::{Hmac, KeyInit, Mac};
use rhythmite_env::Random;
use sha2::Sha256;

/// Credentials of one generation; two are remembered.
const GENERATION: usize = 2_048;

/// What stands for a password and the hash it was compared with. Another password of the same user, or the same after
/// it was set again, is another.
pub(super) type Fingerprint = [u8; 32];

/// Fingerprints of pairs that matched. What was not asked for while a generation of others was is forgotten.
pub(super) struct Verified {
    /// Made at the start: fingerprints mean nothing to another process.
    key: [u8; 32],
    young: HashSet<Fingerprint>,
    old: HashSet<Fingerprint>,
}

impl Verified {
    pub(super) fn new(random: &dyn Random) -> Self {
        let mut key = [0; 32];
        key.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.next_u64().to_le_bytes()));
        Self { key, young: HashSet::new(), old: HashSet::new() }
    }

    pub(super) fn fingerprint(&self, password: &str, hash: &str) -> Fingerprint {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key may be of any length");
        // The hash has no byte 0, so that the two cannot be cut elsewhere.
        for part in [hash.as_bytes(), &[0], password.as_bytes()] {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Whether the pair has matched.
    pub(super) fn has(&mut self, pair: &Fingerprint) -> bool {
        if self.young.contains(pair) {
            return true;
        }
        let known = self.old.contains(pair);
        if known {
            self.add(*pair);
        }
        known
    }

    /// Remembers a pair that matches.
    pub(super) fn add(&mut self, pair: Fingerprint) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(pair);
    }
}

#[cfg(test)]
mod tests {
    use rhythmite_env::SeededRandom;

    use super::*;

    #[test]
    fn what_is_asked_for_is_remembered_and_the_rest_forgotten() {
        let mut verified = Verified::new(&SeededRandom::new(1));
        let pair = |n: usize| {
            let mut pair = [0; 32];
            pair[..8].copy_from_slice(&n.to_le_bytes());
            pair
        };
        (0..GENERATION).for_each(|n| verified.add(pair(n)));
        verified.add(pair(GENERATION));
        assert!(verified.has(&pair(0)) && verified.has(&pair(1)) && !verified.has(&pair(GENERATION + 1)));
        // Another generation comes; 0 and 1 were asked for in this one.
        (0..GENERATION).for_each(|n| verified.add(pair(10_000 + n)));
        assert!(verified.has(&pair(0)) && verified.has(&pair(1)) && !verified.has(&pair(2)));
        assert!(verified.young.len() <= GENERATION && verified.old.len() <= GENERATION);
    }

    #[test]
    fn a_fingerprint_is_of_password_hash_and_process() {
        let verified = Verified::new(&SeededRandom::new(1));
        let other = Verified::new(&SeededRandom::new(2));
        let one = verified.fingerprint("p", "h");
        assert_eq!(one, verified.fingerprint("p", "h"));
        for different in [verified.fingerprint("q", "h"), verified.fingerprint("p", "i"), other.fingerprint("p", "h")] {
            assert_ne!(one, different);
        }
    }
}
