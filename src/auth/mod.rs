//! Who asks, and what he may do: one layer for every listener that answers queries or changes state.
//!
//! A listener takes [`Credentials`] from where its protocol has them and asks [`Auth::caller`] who that is. The answer,
//! a [`Caller`], goes with the request, and whoever touches a database asks it first. Order of events for credentials:
//! a token by its digest; a web token by its signature; a user by the password, which is compared with an argon2id hash
//! unless it has been before ([`Passwords`]).
//!
//! Limits: passwords that are compared at a time and wait for it; remembered ones; lengths of passwords and tokens.
//! Hits are counted, as is every failed log-in.
//!
//! Never does: keep a password or a token, show one in a message, or tell an unknown user from a wrong password, by word
//! or by time.

mod caller;
mod credentials;
mod jwt;
mod passwords;
#[cfg(test)]
pub(crate) mod tests;
pub mod tokens;
mod verified;

use std::sync::Arc;

use rhythmite_env::Clock;
use rhythmite_model::Error;

use crate::catalog::Catalog;
use crate::counters::Counters;

pub use caller::{Caller, Readable};
pub use credentials::Credentials;
pub use jwt::{JwtKey, SECRET_BYTES_MIN};
pub use passwords::Passwords;

/// Bytes of a token; none of ours, and no web token of 1.x, is longer.
const TOKEN_BYTES_MAX: usize = 8 << 10;

/// Why nobody is the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No credentials, or wrong ones; the text is for the client, in 1.x's words where it has some.
    Credentials(String),
    /// They could not be checked now.
    Unchecked(Error),
}

/// What it takes to ask for credentials.
pub struct Checks {
    /// Users and tokens.
    pub catalog: Catalog,
    /// Compares passwords.
    pub passwords: Arc<Passwords>,
    /// Checks web tokens, if there is a secret for them.
    pub jwt: Option<JwtKey>,
    /// For what expires.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// The layer.
pub struct Auth {
    checks: Option<Checks>,
}

impl Auth {
    /// Asks everybody for credentials.
    pub fn on(checks: Checks) -> Self {
        Self { checks: Some(checks) }
    }

    /// Lets everybody do everything.
    pub fn off() -> Self {
        Self { checks: None }
    }

    /// Whether credentials are asked for.
    pub fn is_on(&self) -> bool {
        self.checks.is_some()
    }

    /// Says who has these credentials. As long as there is no administrator, who has none, or wrong ones, is
    /// [`Caller::Nobody`]: he may make the first. May be cancelled.
    ///
    /// # Errors
    /// See [`Denied`]; counted.
    pub async fn caller(&self, credentials: Option<Credentials>) -> Result<Caller, Denied> {
        let Some(checks) = &self.checks else { return Ok(Caller::Anybody) };
        let outcome = checks.known(credentials).await;
        if matches!(outcome, Err(Denied::Credentials(_))) {
            if !checks.catalog.accounts().has_admin() {
                return Ok(Caller::Nobody);
            }
            checks.counters.auth_failed.one();
        }
        outcome
    }
}

impl Checks {
    async fn known(&self, credentials: Option<Credentials>) -> Result<Caller, Denied> {
        match credentials {
            None => Err(denied("unable to parse authentication credentials")),
            Some(Credentials::Password { user, password }) => match self.by_token(&password) {
                Some(found) => found,
                None => self.by_password(&user, &password).await,
            },
            Some(Credentials::Token(token)) => match self.by_token(&token) {
                Some(found) => found,
                // 1.8 takes a user's password in this place.
                None => match token.split_once(':') {
                    Some((user, password)) => self.by_password(user, password).await,
                    None => self.by_web_token(&token),
                },
            },
        }
    }

    /// `None` if this is no token of ours.
    fn by_token(&self, token: &str) -> Option<Result<Caller, Denied>> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let accounts = self.catalog.accounts();
        // What is compared is a digest: how far it agrees says nothing about the token.
        let found = accounts.token(&tokens::digest(token))?;
        let expired = found.expires_at_s.is_some_and(|at| at <= self.clock.now_s());
        Some(if expired { Err(denied("the token has expired")) } else { Ok(Caller::Token(found.clone())) })
    }

    async fn by_password(&self, user: &str, password: &str) -> Result<Caller, Denied> {
        if user.is_empty() {
            return Err(denied("username required"));
        }
        let accounts = self.catalog.accounts();
        let found = accounts.user(user);
        let hash = found.map(|user| &user.password);
        let matches = self.passwords.verify(password, hash).await.map_err(Denied::Unchecked)?;
        found.filter(|_| matches).map(|user| Caller::User(user.clone())).ok_or_else(|| denied("authorization failed"))
    }

    fn by_web_token(&self, token: &str) -> Result<Caller, Denied> {
        let Some(key) = self.jwt.as_ref().filter(|_| token.contains('.') && token.len() <= TOKEN_BYTES_MAX) else {
            return Err(denied("authorization failed"));
        };
        let user = key.user_of(token, self.clock.now_s()).map_err(denied)?;
        let found = self.catalog.accounts().user(&user).cloned();
        found.map(Caller::User).ok_or_else(|| denied("user not found"))
    }
}

fn denied(text: impl Into<String>) -> Denied {
    Denied::Credentials(text.into())
}
