//! What a client shows, as its protocol has it.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Clients leave the padding out, or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a client shows. Not shown in messages.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user's name and password; a token may be in the password's place, with any name.
    Password {
        /// The user.
        user: String,
        /// The password or token.
        password: String,
    },
    /// A token, a web token, or `user:password`.
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password {{ user: {user:?}, password: [REDACTED] }}"),
            Self::Token(_) => f.write_str("Token([REDACTED])"),
        }
    }
}

impl Credentials {
    /// Those of an HTTP request: the parameters `u` and `p`, before the header `Authorization` with `Basic`, `Bearer`
    /// or `Token`, before `p` alone. `None` if there are none, or they are malformed.
    pub fn of_http(authorization: Option<&[u8]>, u: &str, p: &str) -> Option<Self> {
        if !u.is_empty() && !p.is_empty() {
            return Some(Self::Password { user: u.to_owned(), password: p.to_owned() });
        }
        match authorization {
            Some(header) => Self::of_header(header),
            None if !p.is_empty() => Some(Self::Password { user: String::new(), password: p.to_owned() }),
            None => None,
        }
    }

    fn of_header(header: &[u8]) -> Option<Self> {
        let (scheme, rest) = std::str::from_utf8(header).ok()?.trim().split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token") {
            return (!rest.is_empty() && !rest.contains(' ')).then(|| Self::Token(rest.to_owned()));
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = String::from_utf8(BASE64.decode(rest).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some(Self::Password { user: user.to_owned(), password: password.to_owned() })
    }
}
