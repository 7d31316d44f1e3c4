//! JSON web tokens as InfluxDB 1.x takes them: HS256 over `username` and `exp`.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use rhythmite_model::{Error, Result};
use serde_json::{Map, Value};
use sha2::Sha256;

/// Shortest secret, in bytes: who sees one token can try secrets at leisure.
pub const SECRET_BYTES_MIN: usize = 32;

/// The secret that tokens are signed with.
#[derive(Clone)]
pub struct JwtKey(Vec<u8>);

impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtKey([REDACTED])")
    }
}

impl JwtKey {
    /// # Errors
    /// `Invalid` for a short secret.
    pub fn new(secret: &str) -> Result<Self> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(Error::invalid(format!("the secret of web tokens needs {SECRET_BYTES_MIN} bytes or more")));
        }
        Ok(Self(secret.as_bytes().to_vec()))
    }

    /// The user a token was made for, if it is signed with the secret and valid now. Nothing of what it says is read
    /// before its signature was checked but the algorithm.
    ///
    /// # Errors
    /// The reason, in 1.x's words.
    pub fn user_of(&self, token: &str, now_s: i64) -> Result<String, &'static str> {
        let mut parts = token.split('.');
        let (Some(head), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("token contains an invalid number of segments");
        };
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| "signature is invalid")?;
        // Never what the token itself names: "none", or a public key taken for a secret, would be a way around.
        if object(head)?.get("alg").and_then(Value::as_str) != Some("HS256") {
            return Err("unexpected signing method");
        }
        let signed = &token[..head.len() + 1 + claims.len()];
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key may be of any length");
        mac.update(signed.as_bytes());
        mac.verify_slice(&signature).map_err(|_| "signature is invalid")?;

        let claims = object(claims)?;
        let seconds = |name: &str| claims.get(name).map(|value| value.as_f64().unwrap_or(f64::NAN));
        let now_s = now_s as f64;
        let expires = seconds("exp").filter(|at| *at > 0.0).ok_or("token expiration required")?;
        if expires <= now_s {
            return Err("Token is expired");
        }
        // A time that is no number is not before now either.
        if seconds("nbf").is_some_and(|from| !matches!(from.partial_cmp(&now_s), Some(o) if o.is_le())) {
            return Err("Token is not valid yet");
        }
        match claims.get("username") {
            Some(Value::String(name)) if name.is_empty() => Err("token must contain a username"),
            Some(Value::String(name)) => Ok(name.clone()),
            _ => Err("username in token must be a string"),
        }
    }
}

fn object(part: &str) -> Result<Map<String, Value>, &'static str> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| "token is malformed")?;
    serde_json::from_slice(&bytes).map_err(|_| "token is malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn token(head: &str, claims: &str, secret: &str) -> String {
        let signed = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(head), BASE64_URL_SAFE_NO_PAD.encode(claims));
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    #[test]
    fn a_token_says_who_comes_if_it_is_signed_and_valid() {
        let key = JwtKey::new(SECRET).unwrap();
        let hs256 = r#"{"alg":"HS256","typ":"JWT"}"#;
        for (head, claims, expected) in [
            (hs256, r#"{"username":"ada","exp":1001}"#, Ok("ada")),
            (hs256, r#"{"username":"ada","exp":1e9,"nbf":1000,"more":[1]}"#, Ok("ada")),
            (hs256, r#"{"username":"ada","exp":1000}"#, Err("Token is expired")),
            (hs256, r#"{"username":"ada","exp":1001,"nbf":1001}"#, Err("Token is not valid yet")),
            (hs256, r#"{"username":"ada","exp":1001,"nbf":"x"}"#, Err("Token is not valid yet")),
            (hs256, r#"{"username":"ada"}"#, Err("token expiration required")),
            (hs256, r#"{"username":"ada","exp":"1001"}"#, Err("token expiration required")),
            (hs256, r#"{"username":"ada","exp":-1}"#, Err("token expiration required")),
            (hs256, r#"{"username":"","exp":1001}"#, Err("token must contain a username")),
            (hs256, r#"{"username":7,"exp":1001}"#, Err("username in token must be a string")),
            (hs256, r#"{"exp":1001}"#, Err("username in token must be a string")),
            (hs256, "[]", Err("token is malformed")),
            (r#"{"alg":"none"}"#, r#"{"username":"ada","exp":1001}"#, Err("unexpected signing method")),
            (r#"{"alg":"HS512"}"#, r#"{"username":"ada","exp":1001}"#, Err("unexpected signing method")),
            (r#"{"alg":"RS256"}"#, r#"{"username":"ada","exp":1001}"#, Err("unexpected signing method")),
            ("{}", r#"{"username":"ada","exp":1001}"#, Err("unexpected signing method")),
        ] {
            let found = key.user_of(&token(head, claims, SECRET), 1_000);
            assert_eq!(found.as_deref().map_err(|e| *e), expected, "{head} {claims}");
        }
    }

    #[test]
    fn a_token_that_was_touched_is_refused() {
        let key = JwtKey::new(SECRET).unwrap();
        let (head, claims) = (r#"{"alg":"HS256"}"#, r#"{"username":"ada","exp":1001}"#);
        let good = token(head, claims, SECRET);
        assert_eq!(key.user_of(&good, 1_000).as_deref(), Ok("ada"));
        let other = token(head, r#"{"username":"bob","exp":1001}"#, SECRET);
        let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
        let (good_parts, other_parts) = (parts(&good), parts(&other));
        for touched in [
            token(head, claims, "another secret of thirty-two b.."),
            format!("{}.{}.{}", good_parts[0], other_parts[1], good_parts[2]),
            format!("{}.{}.", good_parts[0], good_parts[1]),
            format!("{}.{}.{}", good_parts[0], good_parts[1], &good_parts[2][..20]),
        ] {
            assert_eq!(key.user_of(&touched, 1_000), Err("signature is invalid"), "{touched}");
        }
        for malformed in ["", ".", "a.b", "a.b.c.d", "..", "é.é.é", &good[1..]] {
            assert!(key.user_of(malformed, 1_000).is_err(), "{malformed}");
        }
        // Every byte counts.
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let touched = String::from_utf8(bytes).unwrap();
            assert!(touched == good || key.user_of(&touched, 1_000).is_err(), "{at}");
        }
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_shown() {
        assert!(JwtKey::new(&SECRET[1..]).is_err());
        assert_eq!(format!("{:?}", JwtKey::new(SECRET).unwrap()), "JwtKey([REDACTED])");
    }
}
