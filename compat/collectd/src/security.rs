//! Who may send what: security levels, users, signatures and encryption of the network protocol.
//!
//! A signature is HMAC-SHA256 over the user's name and everything that follows it. Encrypted
//! data is AES-256 in OFB mode under SHA-256 of the password, with SHA-1 of the plain data
//! inside, which is how a wrong password shows.

use std::collections::HashMap;

use aes::Aes256;
use aes::cipher::{Array, BlockCipherEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Length of the initialisation vector and of a block.
pub(crate) const IV_LEN: usize = 16;
/// Length of a signature.
pub(crate) const SIGNATURE_LEN: usize = 32;
/// Length of the check sum before the plain data.
const SHA1_LEN: usize = 20;

/// What a datagram must be for its values to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecurityLevel {
    /// Anything.
    #[default]
    None,
    /// Signed or encrypted.
    Sign,
    /// Encrypted.
    Encrypt,
}

/// The level and the users.
#[derive(Clone, Default)]
pub struct Security {
    /// What is asked for.
    pub level: SecurityLevel,
    users: HashMap<Vec<u8>, User>,
}

#[derive(Clone)]
struct User {
    password: Vec<u8>,
    key: [u8; 32],
}

impl Security {
    /// A level with no users yet.
    pub fn new(level: SecurityLevel) -> Self {
        Security { level, users: HashMap::new() }
    }

    /// Adds the users of an auth file: lines `user: password`, `#` begins a comment line. Gives
    /// the numbers (from 1) of the lines that are neither.
    pub fn add_users(&mut self, auth_file: &str) -> Vec<usize> {
        let mut bad = Vec::new();
        for (i, line) in auth_file.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once(':').map(|(user, password)| (user.trim(), password.trim())) {
                Some((user, password)) if !user.is_empty() => {
                    let key = Sha256::digest(password).into();
                    self.users.insert(user.into(), User { password: password.into(), key });
                }
                _ => bad.push(i + 1),
            }
        }
        bad
    }

    /// Whether there is any user; without one a signature cannot be checked.
    pub fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// Whether `signature` is that of `signed` (the user's name and what follows) under the user's password.
    pub(crate) fn is_signed(&self, user: &[u8], signature: &[u8], signed: &[u8]) -> bool {
        let Some(user) = self.users.get(user) else { return false };
        let mut mac =
            <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&user.password).expect("HMAC takes keys of any length");
        mac.update(signed);
        mac.verify_slice(signature).is_ok()
    }

    /// The plain data; `None` for an unknown user or if the check sum inside does not fit.
    pub(crate) fn decrypt(&self, user: &[u8], iv: &[u8; IV_LEN], data: &[u8]) -> Option<Vec<u8>> {
        let user = self.users.get(user)?;
        let mut plain = data.to_vec();
        apply_key_stream(&user.key, iv, &mut plain);
        let (sum, body) = plain.split_at_checked(SHA1_LEN)?;
        (sum == Sha1::digest(body).as_slice()).then(|| plain.split_off(SHA1_LEN))
    }
}

/// Output feedback: each block of the stream is the encryption of the one before.
fn apply_key_stream(key: &[u8; 32], iv: &[u8; IV_LEN], data: &mut [u8]) {
    let cipher = Aes256::new(&Array::from(*key));
    let mut block = Array::from(*iv);
    for chunk in data.chunks_mut(IV_LEN) {
        cipher.encrypt_block(&mut block);
        for (byte, stream) in chunk.iter_mut().zip(&block) {
            *byte ^= stream;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_read_and_bad_lines_told() {
        let mut security = Security::new(SecurityLevel::Sign);
        assert!(!security.has_users());
        assert_eq!(security.add_users("# users\n\n alice :  pass: word \nbob\n: x\ncarol:\n"), [4, 5]);
        assert_eq!(security.users[&b"alice"[..]].password, b"pass: word");
        assert_eq!(security.users.len(), 2);
    }

    #[test]
    fn levels_are_ordered() {
        assert!(SecurityLevel::None < SecurityLevel::Sign && SecurityLevel::Sign < SecurityLevel::Encrypt);
    }
}
