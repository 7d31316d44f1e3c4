//! Users, tokens and what they may do, in memory and as rows.
//!
//! Kept are a hash of each password and a digest of each token, never either itself. `auth` makes and checks them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use rhythmite_model::{Error, ErrorKind, Result};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::{Catalog, databases};

/// What a user of that name is not: 1.x's words.
const USER_NOT_FOUND: &str = "user not found";
/// For who wanted to be the first.
const TAKEN: &str = "create admin user: there is one by now, who has to be asked";

/// What may be done with a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Ask for its points and names.
    pub read: bool,
    /// Add points, and delete them.
    pub write: bool,
}

impl Rights {
    /// Both.
    pub const ALL: Self = Self { read: true, write: true };
    /// Only to read.
    pub const READ: Self = Self { read: true, write: false };
    /// Only to write.
    pub const WRITE: Self = Self { read: false, write: true };

    /// Whether these are at least those.
    pub fn include(self, asked: Rights) -> bool {
        (self.read || !asked.read) && (self.write || !asked.write)
    }

    /// These or those.
    pub fn or(self, other: Rights) -> Rights {
        Self { read: self.read || other.read, write: self.write || other.write }
    }

    /// These without those.
    pub fn without(self, other: Rights) -> Rights {
        Self { read: self.read && !other.read, write: self.write && !other.write }
    }
}

/// A password's hash as a PHC string; not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// Who logs in with a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Row id.
    pub id: i64,
    /// The name.
    pub name: String,
    /// What passwords are compared with.
    pub password: PasswordHash,
    /// May do everything.
    pub is_admin: bool,
    /// By database.
    pub grants: BTreeMap<String, Rights>,
}

/// SHA-256 of a token.
pub type Digest = [u8; 32];

/// What a program shows instead of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Row id.
    pub id: i64,
    /// What people call it.
    pub name: String,
    /// May do everything.
    pub is_admin: bool,
    /// On every database, also those to come.
    pub everywhere: Rights,
    /// By database.
    pub grants: BTreeMap<String, Rights>,
    /// Seconds since 1970.
    pub created_at_s: i64,
    /// Seconds since 1970 at which it is no longer taken; `None` for never.
    pub expires_at_s: Option<i64>,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What people call it; one of a name at a time.
    pub name: String,
    /// Of the token.
    pub digest: Digest,
    /// May do everything.
    pub is_admin: bool,
    /// On every database.
    pub everywhere: Rights,
    /// On these.
    pub grants: BTreeMap<String, Rights>,
    /// Seconds since 1970.
    pub created_at_s: i64,
    /// Seconds since 1970; `None` for never.
    pub expires_at_s: Option<i64>,
    /// Fail when there is an administrator by then, as for [`NewUser::only_first`].
    pub only_first: bool,
}

impl NewToken {
    /// A token of this name that may do nothing, for ever, and has no digest yet.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            digest: Digest::default(),
            is_admin: false,
            everywhere: Rights::default(),
            grants: BTreeMap::new(),
            created_at_s: 0,
            expires_at_s: None,
            only_first: false,
        }
    }
}

/// All users and tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// In the order in which they were made, as 1.x shows them.
    users: Vec<Arc<User>>,
    by_name: HashMap<String, usize>,
    tokens: HashMap<Digest, Arc<Token>>,
}

impl Accounts {
    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.by_name.get(name).and_then(|at| self.users.get(*at))
    }

    /// All users, in the order in which they were made.
    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.iter()
    }

    /// The token with this digest, expired or not.
    pub fn token(&self, digest: &Digest) -> Option<&Arc<Token>> {
        self.tokens.get(digest)
    }

    /// All tokens, in the order in which they were made.
    pub fn tokens(&self) -> Vec<&Arc<Token>> {
        let mut all: Vec<_> = self.tokens.values().collect();
        all.sort_by_key(|token| token.id);
        all
    }

    /// Whether somebody may do everything. Until then whoever comes may make himself the one.
    pub fn has_admin(&self) -> bool {
        self.users.iter().any(|user| user.is_admin) || self.tokens.values().any(|token| token.is_admin)
    }
}

/// Whether a change may take the last administrator away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepAdmin {
    /// It may not: one stays.
    One,
    /// It may.
    None,
}

/// What a new user is besides the name.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The name.
    pub name: String,
    /// Of the password.
    pub password: PasswordHash,
    /// May do everything.
    pub is_admin: bool,
    /// Fail when there is an administrator by then: the one who makes this user is nobody yet.
    pub only_first: bool,
}

impl Catalog {
    /// Users and tokens as of now.
    pub fn accounts(&self) -> Arc<Accounts> {
        self.shared.accounts.load_full()
    }

    /// Makes a user.
    ///
    /// # Errors
    /// `Invalid` for a name that is taken or malformed, or when an administrator has come first; `Unavailable`.
    pub async fn create_user(&self, new: NewUser) -> Result<()> {
        databases::check_name(&new.name, "user")?;
        let outcome = self
            .change(move |connection| {
                Box::pin(async move {
                    if new.only_first && has_admin(connection).await? {
                        return Ok(Err(TAKEN));
                    }
                    let done = sqlx::query(
                        "INSERT INTO user (name, password, is_admin) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    )
                    .bind(&new.name)
                    .bind(&new.password.0)
                    .bind(new.is_admin)
                    .execute(connection)
                    .await?;
                    Ok(if done.rows_affected() == 0 { Err("user already exists") } else { Ok(()) })
                })
            })
            .await?;
        outcome.map_err(Error::invalid)
    }

    /// Forgets a user.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the last administrator, where one is kept; `Unavailable`.
    pub async fn drop_user(&self, name: &str, keep: KeepAdmin) -> Result<()> {
        let bound = name.to_owned();
        let done = self.change(move |connection| {
            Box::pin(async move {
                if keep == KeepAdmin::One && is_last_admin(&bound, connection).await? {
                    return Ok(None);
                }
                execute(sqlx::query("DELETE FROM user WHERE name = ?").bind(bound), connection).await.map(Some)
            })
        });
        changed(done.await?, name)
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    pub async fn set_password(&self, name: &str, password: PasswordHash) -> Result<()> {
        let name = name.to_owned();
        self.change_user(move |connection| {
            Box::pin(async move {
                let update = sqlx::query("UPDATE user SET password = ? WHERE name = ?").bind(password.0).bind(name);
                execute(update, connection).await
            })
        })
        .await
    }

    /// Makes a user an administrator, or no longer one.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for the last administrator, where one is kept; `Unavailable`.
    pub async fn set_admin(&self, name: &str, is_admin: bool, keep: KeepAdmin) -> Result<()> {
        let bound = name.to_owned();
        let done = self.change(move |connection| {
            Box::pin(async move {
                if !is_admin && keep == KeepAdmin::One && is_last_admin(&bound, connection).await? {
                    return Ok(None);
                }
                let update = sqlx::query("UPDATE user SET is_admin = ? WHERE name = ?").bind(is_admin).bind(bound);
                execute(update, connection).await.map(Some)
            })
        });
        changed(done.await?, name)
    }

    /// Says what a user may do with a database, whatever it was before.
    ///
    /// # Errors
    /// `NotFound` for either; `Unavailable`.
    pub async fn set_rights(&self, user: &str, database: &str, rights: Rights) -> Result<()> {
        if self.accounts().user(user).is_none() {
            return Err(Error::not_found(USER_NOT_FOUND));
        }
        if self.databases().get(database).is_none() {
            return Err(super::not_found(database));
        }
        let (user, database) = (user.to_owned(), database.to_owned());
        self.change_user(move |connection| {
            Box::pin(async move {
                let insert = sqlx::query(
                    "INSERT INTO user_grant (user_id, database_id, can_read, can_write)
                     SELECT user.id, database.id, ?, ? FROM user, database WHERE user.name = ? AND database.name = ?
                     ON CONFLICT DO UPDATE SET can_read = excluded.can_read, can_write = excluded.can_write",
                );
                execute(insert.bind(rights.read).bind(rights.write).bind(user).bind(database), connection).await
            })
        })
        .await
    }

    /// Makes a token.
    ///
    /// # Errors
    /// `Invalid` for a name that is taken or malformed; `NotFound` for a database; `Unavailable`.
    pub async fn create_token(&self, new: NewToken) -> Result<()> {
        databases::check_name(&new.name, "token")?;
        let all = self.databases();
        if let Some(missing) = new.grants.keys().find(|name| all.get(name).is_none()) {
            return Err(super::not_found(missing));
        }
        let made = self
            .change(move |connection| {
                Box::pin(async move {
                    if new.only_first && has_admin(connection).await? {
                        return Ok(Err(TAKEN));
                    }
                    let done = sqlx::query(
                        "INSERT INTO token (name, digest, is_admin, can_read, can_write, created_at_s, expires_at_s)
                         VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    )
                    .bind(&new.name)
                    .bind(new.digest.to_vec())
                    .bind(new.is_admin)
                    .bind(new.everywhere.read)
                    .bind(new.everywhere.write)
                    .bind(new.created_at_s)
                    .bind(new.expires_at_s)
                    .execute(&mut *connection)
                    .await?;
                    if done.rows_affected() == 0 {
                        return Ok(Err("a token of this name, or this token, is there already"));
                    }
                    for (database, rights) in &new.grants {
                        sqlx::query(
                            "INSERT INTO token_grant (token_id, database_id, can_read, can_write)
                             SELECT ?, id, ?, ? FROM database WHERE name = ?",
                        )
                        .bind(done.last_insert_rowid())
                        .bind(rights.read)
                        .bind(rights.write)
                        .bind(database)
                        .execute(&mut *connection)
                        .await?;
                    }
                    Ok(Ok(()))
                })
            })
            .await?;
        made.map_err(Error::invalid)
    }

    /// Forgets the token of this name.
    ///
    /// # Errors
    /// `NotFound`; `Unavailable`.
    pub async fn revoke_token(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        let revoked = self.change_user(move |connection| {
            Box::pin(
                async move { execute(sqlx::query("DELETE FROM token WHERE name = ?").bind(name), connection).await },
            )
        });
        revoked.await.map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::not_found("token not found"),
            _ => e,
        })
    }

    /// A change of one row; it is `NotFound` when there was none.
    async fn change_user(
        &self,
        f: impl for<'c> FnOnce(&'c mut SqliteConnection) -> super::store::Answer<'c, u64> + Send + 'static,
    ) -> Result<()> {
        match self.change(f).await? {
            0 => Err(Error::not_found(USER_NOT_FOUND)),
            _ => Ok(()),
        }
    }
}

/// What became of a change of a user: the rows it changed, or `None` where the last administrator was kept.
fn changed(rows: Option<u64>, name: &str) -> Result<()> {
    match rows {
        None => Err(Error::invalid(format!("{name:?} is the last admin user: make another one first"))),
        Some(0) => Err(Error::not_found(USER_NOT_FOUND)),
        Some(_) => Ok(()),
    }
}

/// Asked within the change that takes him away: of two who go at the same time one stays.
async fn is_last_admin(name: &str, connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let query = "SELECT EXISTS (SELECT 1 FROM user WHERE is_admin AND name = ?1)
                 AND NOT EXISTS (SELECT 1 FROM user WHERE is_admin AND name <> ?1)";
    sqlx::query(query).bind(name).fetch_one(connection).await?.try_get(0)
}

async fn has_admin(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let query = "SELECT EXISTS (SELECT 1 FROM user WHERE is_admin UNION SELECT 1 FROM token WHERE is_admin)";
    sqlx::query(query).fetch_one(connection).await?.try_get(0)
}

/// Rows that a statement has changed.
async fn execute(
    query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    connection: &mut SqliteConnection,
) -> Result<u64, sqlx::Error> {
    Ok(query.execute(connection).await?.rows_affected())
}

pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Accounts, sqlx::Error> {
    let mut grants = grants(
        "SELECT user_id, database.name, can_read, can_write FROM user_grant JOIN database ON database.id = database_id",
        connection,
    )
    .await?;
    let mut accounts = Accounts::default();
    let rows = sqlx::query("SELECT id, name, password, is_admin FROM user ORDER BY id");
    for row in rows.fetch_all(&mut *connection).await? {
        let (id, name): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        let user = User {
            id,
            name: name.clone(),
            password: PasswordHash(row.try_get(2)?),
            is_admin: row.try_get(3)?,
            grants: grants.remove(&id).unwrap_or_default(),
        };
        accounts.by_name.insert(name, accounts.users.len());
        accounts.users.push(Arc::new(user));
    }
    let mut grants = self::grants(
        "SELECT token_id, database.name, can_read, can_write FROM token_grant
         JOIN database ON database.id = database_id",
        connection,
    )
    .await?;
    let rows = sqlx::query(
        "SELECT id, name, digest, is_admin, can_read, can_write, created_at_s, expires_at_s FROM token ORDER BY id",
    );
    for row in rows.fetch_all(&mut *connection).await? {
        let (id, digest): (i64, Vec<u8>) = (row.try_get(0)?, row.try_get(2)?);
        let digest = Digest::try_from(digest.as_slice()).map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
        let token = Token {
            id,
            name: row.try_get(1)?,
            is_admin: row.try_get(3)?,
            everywhere: rights(&row, 4)?,
            grants: grants.remove(&id).unwrap_or_default(),
            created_at_s: row.try_get(6)?,
            expires_at_s: row.try_get(7)?,
        };
        accounts.tokens.insert(digest, Arc::new(token));
    }
    Ok(accounts)
}

/// Rights by database, by who has them.
async fn grants(
    query: &'static str,
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<i64, BTreeMap<String, Rights>>, sqlx::Error> {
    let mut all: BTreeMap<i64, BTreeMap<String, Rights>> = BTreeMap::new();
    for row in sqlx::query(query).fetch_all(connection).await? {
        all.entry(row.try_get(0)?).or_default().insert(row.try_get(1)?, rights(&row, 2)?);
    }
    Ok(all)
}

/// Two columns, from the `at`th.
fn rights(row: &SqliteRow, at: usize) -> Result<Rights, sqlx::Error> {
    Ok(Rights { read: row.try_get(at)?, write: row.try_get(at + 1)? })
}
