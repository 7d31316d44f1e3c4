//! Statements that change users and what they may do. Who may ask for them is checked before they come here.

use rhythmite_influx::influxql::Privilege;

use super::context::{Context, Request};
use super::failure::{Failure, Result};
use crate::catalog::{KeepAdmin, NewUser, Rights};

/// `CREATE USER`: the same user with the same password again is no error, as in 1.x.
pub(super) fn create(context: &Context, request: &Request, name: &str, password: &str, is_admin: bool) -> Result<()> {
    if name.is_empty() {
        return Err(Failure::new("username required"));
    }
    let passwords = &context.users.passwords;
    if let Some(user) = context.catalog.accounts().user(name).filter(|_| !request.by_nobody) {
        let same = context.runtime.block_on(passwords.verify(password, Some(&user.password)))?;
        return match same && user.is_admin == is_admin {
            true => Ok(()),
            false => Err(Failure::new("user already exists")),
        };
    }
    let password = context.runtime.block_on(passwords.hash(password))?;
    let new = NewUser { name: name.to_owned(), password, is_admin, only_first: request.by_nobody };
    Ok(context.runtime.block_on(context.catalog.create_user(new))?)
}

/// `DROP USER`
pub(super) fn drop_user(context: &Context, name: &str) -> Result<()> {
    Ok(context.runtime.block_on(context.catalog.drop_user(name, keep(context)))?)
}

/// `SET PASSWORD FOR`
pub(super) fn set_password(context: &Context, name: &str, password: &str) -> Result<()> {
    known(context, name)?;
    let password = context.runtime.block_on(context.users.passwords.hash(password))?;
    Ok(context.runtime.block_on(context.catalog.set_password(name, password))?)
}

/// `GRANT ALL PRIVILEGES TO`, `REVOKE ALL PRIVILEGES FROM`
pub(super) fn set_admin(context: &Context, name: &str, is_admin: bool) -> Result<()> {
    Ok(context.runtime.block_on(context.catalog.set_admin(name, is_admin, keep(context)))?)
}

/// `GRANT privilege ON`: what was granted before is replaced, as in 1.x.
pub(super) fn grant(context: &Context, name: &str, database: &str, privilege: Privilege) -> Result<()> {
    Ok(context.runtime.block_on(context.catalog.set_rights(name, database, rights(privilege)))?)
}

/// `REVOKE privilege ON`
pub(super) fn revoke(context: &Context, name: &str, database: &str, privilege: Privilege) -> Result<()> {
    known(context, name)?;
    let held = context.catalog.accounts().user(name).and_then(|user| user.grants.get(database).copied());
    let left = held.unwrap_or_default().without(rights(privilege));
    Ok(context.runtime.block_on(context.catalog.set_rights(name, database, left))?)
}

fn rights(privilege: Privilege) -> Rights {
    match privilege {
        Privilege::Read => Rights::READ,
        Privilege::Write => Rights::WRITE,
        Privilege::All => Rights::ALL,
    }
}

fn known(context: &Context, name: &str) -> Result<()> {
    context.catalog.accounts().user(name).map(|_| ()).ok_or_else(|| Failure::new("user not found"))
}

/// 1.x lets the last administrator go, and asks the next who comes to be it.
fn keep(context: &Context) -> KeepAdmin {
    if context.users.guarded { KeepAdmin::One } else { KeepAdmin::None }
}
