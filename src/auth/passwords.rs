//! Passwords: hashed by argon2id on the CPU pool, a few at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use parking_lot::Mutex;
use rhythmite_env::{CpuPool, Random};
use rhythmite_model::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::verified::Verified;
use crate::catalog::PasswordHash;
use crate::counters::Counters;

/// Memory and passes of a hash: OWASP's first choice for argon2id. About 20 ms of a core.
const MEMORY_KIB: u32 = 19 << 10;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const SALT_BYTES: usize = 16;
/// Bytes of a password; a longer one is wrong.
const PASSWORD_BYTES_MAX: usize = 1 << 10;
/// Comparisons that wait for their turn; more log-ins are refused.
const WAITING_MAX: usize = 256;
/// How long one waits before it is refused.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What an unknown user's password is compared with, so that it takes as long as a known one's.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmU$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Makes hashes of passwords and compares passwords with them.
pub struct Passwords {
    cpu: Arc<CpuPool>,
    random: Arc<dyn Random>,
    counters: Arc<Counters>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    verified: Mutex<Verified>,
}

impl Passwords {
    /// At most `at_once` threads of `cpu` are busy with passwords.
    pub fn new(cpu: Arc<CpuPool>, random: Arc<dyn Random>, counters: Arc<Counters>, at_once: usize) -> Self {
        let verified = Mutex::new(Verified::new(&*random));
        let turns = Arc::new(Semaphore::new(at_once.max(1)));
        Self { cpu, random, counters, turns, waiting: AtomicUsize::new(0), verified }
    }

    /// A hash to be kept. May be cancelled.
    ///
    /// # Errors
    /// `Invalid` for an empty or very long password; `Overloaded`.
    pub async fn hash(&self, password: &str) -> Result<PasswordHash> {
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Err(Error::invalid(format!("a password has 1 to {PASSWORD_BYTES_MAX} bytes")));
        }
        let mut salt = [0; SALT_BYTES];
        salt.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.random.next_u64().to_le_bytes()));
        let (permit, password) = (self.turn().await?, password.to_owned());
        let hashed = self.cpu.run(move || {
            let _permit = permit;
            let hash = argon2()?.hash_password_with_salt(password.as_bytes(), &salt).map_err(failed)?;
            Ok(PasswordHash(hash.to_string()))
        });
        hashed.await?
    }

    /// Whether this password has this hash; false without one, after as long. May be cancelled.
    ///
    /// # Errors
    /// `Overloaded` when too many are compared; `Internal` for a hash that is none.
    pub async fn verify(&self, password: &str, hash: Option<&PasswordHash>) -> Result<bool> {
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let is_known = hash.is_some();
        let hash = hash.map_or(NOBODYS, |hash| &hash.0);
        let pair = self.verified.lock().fingerprint(password, hash);
        if self.verified.lock().has(&pair) {
            return Ok(true);
        }
        let permit = self.turn().await?;
        // While this one waited, another request with the same credentials may have had its turn.
        if self.verified.lock().has(&pair) {
            return Ok(true);
        }
        self.counters.auth_compared.one();
        let (password, hash) = (password.to_owned(), hash.to_owned());
        // The permit goes along: a client that leaves does not make room for another before the work is done.
        let compared = self.cpu.run(move || {
            let _permit = permit;
            compare(&password, &hash)
        });
        let matches = compared.await?? && is_known;
        if matches {
            self.verified.lock().add(pair);
        }
        Ok(matches)
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit> {
        let busy = || {
            self.counters.auth_busy.one();
            Error::overloaded("too many passwords are being checked, try again later")
        };
        let place = Place::take(&self.waiting).ok_or_else(busy)?;
        let turn = tokio::time::timeout(WAIT_MAX, self.turns.clone().acquire_owned()).await;
        drop(place);
        turn.ok().and_then(|turn| turn.ok()).ok_or_else(busy)
    }
}

/// A place among those who wait; given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        // Dropped at once if there was none.
        let place = Self(waiting);
        (before < WAITING_MAX).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn argon2() -> Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(failed)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// In time that does not depend on how far they agree. A hash that was made with other costs is compared with those.
fn compare(password: &str, hash: &str) -> Result<bool> {
    use argon2::password_hash::Error as HashError;
    match argon2()?.verify_password(password.as_bytes(), hash) {
        Ok(()) => Ok(true),
        Err(HashError::PasswordInvalid) => Ok(false),
        Err(e) => Err(failed(e)),
    }
}

fn failed(e: impl std::fmt::Display) -> Error {
    Error::internal(format!("a password cannot be hashed: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobodys_hash_costs_what_others_do() {
        let made = argon2().unwrap().hash_password_with_salt(b"x", &[7; SALT_BYTES]).unwrap().to_string();
        let costs = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(costs(&made), costs(NOBODYS));
        assert!(!compare("nobody is here", NOBODYS).unwrap());
        assert!(compare("x", &made).unwrap() && !compare("y", &made).unwrap());
        assert!(compare("x", "no hash").is_err());
    }
}
