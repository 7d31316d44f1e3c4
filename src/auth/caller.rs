//! Who asks.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::catalog::{Rights, Token, User};

/// Who asks. What he may do is what he might when the request came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Whoever: nobody is asked for credentials.
    Anybody,
    /// Has no credentials, and may only make the first administrator.
    Nobody,
    /// Has a user's password.
    User(Arc<User>),
    /// Has a token.
    Token(Arc<Token>),
}

/// Databases that somebody may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readable {
    /// All, also those to come.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl Caller {
    /// Whether he may do everything.
    pub fn is_admin(&self) -> bool {
        match self {
            Self::Anybody => true,
            Self::Nobody => false,
            Self::User(user) => user.is_admin,
            Self::Token(token) => token.is_admin,
        }
    }

    /// What he may do with a database, there or not.
    pub fn rights(&self, database: &str) -> Rights {
        if self.is_admin() {
            return Rights::ALL;
        }
        let (everywhere, grants) = match self {
            Self::Anybody | Self::Nobody => return Rights::default(),
            Self::User(user) => (Rights::default(), &user.grants),
            Self::Token(token) => (token.everywhere, &token.grants),
        };
        everywhere.or(grants.get(database).copied().unwrap_or_default())
    }

    /// Whether he may do this with a database.
    pub fn may(&self, asked: Rights, database: &str) -> bool {
        self.rights(database).include(asked)
    }

    /// What he may do with every database, also those to come.
    pub fn rights_everywhere(&self) -> Rights {
        match self {
            _ if self.is_admin() => Rights::ALL,
            Self::Token(token) => token.everywhere,
            _ => Rights::default(),
        }
    }

    /// Whether he is told that a database is there: who may read or write it.
    pub fn sees(&self, database: &str) -> bool {
        self.rights(database) != Rights::default()
    }

    /// What he may read.
    pub fn readable(&self) -> Readable {
        if self.rights_everywhere().read {
            return Readable::All;
        }
        let grants = match self {
            Self::User(user) => &user.grants,
            Self::Token(token) => &token.grants,
            Self::Anybody | Self::Nobody => return Readable::Only(BTreeSet::new()),
        };
        Readable::Only(grants.iter().filter(|(_, rights)| rights.read).map(|(name, _)| name.clone()).collect())
    }

    /// The name of the user or token, for messages; empty for nobody in particular.
    pub fn name(&self) -> &str {
        match self {
            Self::Anybody | Self::Nobody => "",
            Self::User(user) => &user.name,
            Self::Token(token) => &token.name,
        }
    }
}
