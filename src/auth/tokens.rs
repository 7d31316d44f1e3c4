//! Tokens: long random texts, of which only a digest is kept.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rhythmite_env::Random;
use rhythmite_model::{Error, Result};
use sha2::{Digest as _, Sha256};

use crate::catalog::Digest;

/// Before every token, so that people and scanners of leaked secrets know what it is.
const PREFIX: &str = "rhythmite_";
/// Random bytes of a token.
const RANDOM_BYTES: usize = 32;
/// Shortest token that is taken from elsewhere, in bytes: one that can be guessed is none.
const FOREIGN_BYTES_MIN: usize = 32;

/// A new token.
pub fn generate(random: &dyn Random) -> String {
    let mut bytes = [0; RANDOM_BYTES];
    bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.next_u64().to_le_bytes()[..chunk.len()]));
    format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// What of a token is kept.
pub fn digest(token: &str) -> Digest {
    Sha256::digest(token.as_bytes()).into()
}

/// Whether a token that was made elsewhere may be used here.
///
/// # Errors
/// `Invalid`, with the reason, which does not repeat the token.
pub fn check_foreign(token: &str) -> Result<()> {
    let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || !(FOREIGN_BYTES_MIN..=super::TOKEN_BYTES_MAX).contains(&token.len()) {
        let (least, most) = (FOREIGN_BYTES_MIN, super::TOKEN_BYTES_MAX);
        return Err(Error::invalid(format!("a token is {least} to {most} visible ASCII characters")));
    }
    Ok(())
}
