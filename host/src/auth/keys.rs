// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Keys: what programs show instead of a name and a password. A key is shown once, when it is made.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::accounts::{self, Name};
use super::token::{self, Hash, Kind};
use super::{Caller, Proof, Role, ShownKey};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Requests a minute of a key for which nothing else was asked.
pub const RATE_LIMIT: u32 = 100;
/// Why a key is refused.
pub const UNKNOWN: &str = "this key is not known here, or was revoked";
/// The key of `server.api_key`, which comes and goes with the configuration.
pub const CONFIGURED: &str = "config";

/// A key, without itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// The account that it belongs to.
    pub account: i64,
    /// That account's name.
    pub account_name: String,
    /// Its name.
    pub name: String,
    /// What it may do at most.
    pub role: Role,
    /// Requests a minute.
    pub rate_limit: u32,
    /// Whether it is accepted.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, as far as it was written down.
    pub last_used: Option<Timestamp>,
}

/// A key that was just made: the only time that it can be read.
#[derive(Debug)]
pub struct NewKey {
    /// Its id.
    pub id: String,
    /// The key itself.
    pub secret: Secret,
}

const SELECT: &str = "SELECT keys.id, account, accounts.name, keys.name, keys.role, rate_limit, keys.enabled,
    keys.created_at, last_used FROM keys JOIN accounts ON accounts.id = account";

impl Key {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            account: row.get(1)?,
            account_name: row.get(2)?,
            name: row.get(3)?,
            role: row.get(4)?,
            rate_limit: row.get(5)?,
            enabled: row.get(6)?,
            created_at: row.get(7)?,
            last_used: row.get(8)?,
        })
    }
}

/// All keys, or those of one account, the oldest first.
///
/// # Errors
/// When the database fails.
pub fn all(connection: &Connection, account: Option<i64>) -> Result<Vec<Key>> {
    let sql = format!("{SELECT} WHERE ?1 IS NULL OR account = ?1 ORDER BY keys.created_at, keys.rowid");
    let mut statement = connection.prepare_cached(&sql)?;
    let keys = statement.query_map([account], Key::read)?;
    Ok(keys.collect::<rusqlite::Result<_>>()?)
}

/// The key of an id; only one of `account` if that is given.
///
/// # Errors
/// [`Error::NotFound`].
pub fn find(connection: &Connection, id: &str, account: Option<i64>) -> Result<Key> {
    let sql = format!("{SELECT} WHERE keys.id = ?1 AND (?2 IS NULL OR account = ?2)");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_row(params![id, account], Key::read).optional()?.ok_or(Error::NotFound)
}

/// Makes a key of `account`, which may do what `role` and the account's own role both allow.
///
/// # Errors
/// When the database fails.
pub fn create(
    transaction: &Transaction<'_>,
    account: i64,
    name: &Name,
    role: Role,
    rate_limit: u32,
    now: Timestamp,
) -> Result<NewKey> {
    let key = NewKey { id: token::id()?, secret: token::mint(Kind::Key)? };
    insert(
        transaction,
        &key.id,
        account,
        name.as_str(),
        &Hash::of(key.secret.expose()),
        role,
        rate_limit,
        now,
    )?;
    Ok(key)
}

/// Makes a key with an account of its own, which gets the key's name, with a number behind it if that is taken.
///
/// # Errors
/// When the database fails.
pub fn create_with_account(
    transaction: &Transaction<'_>,
    name: &Name,
    role: Role,
    rate_limit: u32,
    now: Timestamp,
) -> Result<NewKey> {
    let account = accounts::create_numbered(transaction, name, role, now)?;
    create(transaction, account, name, role, rate_limit, now)
}

#[allow(clippy::too_many_arguments, reason = "one for each column")]
pub(super) fn insert(
    transaction: &Transaction<'_>,
    id: &str,
    account: i64,
    name: &str,
    hash: &Hash,
    role: Role,
    rate_limit: u32,
    now: Timestamp,
) -> Result<()> {
    transaction.execute(
        "INSERT INTO keys (id, account, name, hash, role, rate_limit, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![id, account, name, hash, role, rate_limit, now],
    )?;
    Ok(())
}

/// Takes a key out of use for ever, and ends the logins that were made with it.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`] for the last administrator's.
pub fn revoke(transaction: &Transaction<'_>, id: &str) -> Result<()> {
    accounts::keep_an_administrator(transaction, || {
        if transaction.execute("UPDATE keys SET enabled = 0 WHERE id = ?1", [id])? == 0 {
            return Err(Error::NotFound);
        }
        transaction.execute("DELETE FROM sessions WHERE key = ?1", [id])?;
        Ok(())
    })
}

/// Deletes a key and the logins that were made with it.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`] for the last administrator's.
pub fn delete(transaction: &Transaction<'_>, id: &str) -> Result<()> {
    accounts::keep_an_administrator(transaction, || {
        match transaction.execute("DELETE FROM keys WHERE id = ?1", [id])? {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    })
}

/// Whose key `key` is, if it is one that is accepted.
///
/// # Errors
/// When the database fails.
pub fn holder(connection: &Connection, key: &str) -> Result<Option<Caller>> {
    let mut statement = connection.prepare_cached(
        "SELECT keys.id, keys.name, rate_limit, keys.role, accounts.id, accounts.name, accounts.role
         FROM keys JOIN accounts ON accounts.id = account WHERE hash = ?1 AND keys.enabled AND accounts.enabled",
    )?;
    let caller = statement.query_row([Hash::of(key)], |row| {
        Ok(Caller {
            account: row.get(4)?,
            name: row.get(5)?,
            role: row.get::<_, Role>(3)?.min(row.get(6)?),
            proof: Proof::Key {
                key: ShownKey { id: row.get(0)?, rate_limit: row.get(2)? },
                name: row.get(1)?,
            },
        })
    });
    Ok(caller.optional()?)
}

/// Makes the key of the configuration (`server.api_key`) the one that is in it now, or none. It may make
/// pictures and nothing else.
///
/// # Errors
/// [`Error::Conflict`] when it is somebody's own key.
pub fn configure(transaction: &Transaction<'_>, key: Option<&Secret>, now: Timestamp) -> Result<()> {
    let hash = key.map(|key| Hash::of(key.expose().trim()));
    let known = "SELECT 1 FROM keys WHERE id = ?1 AND hash = ?2 AND enabled";
    if transaction.prepare_cached(known)?.exists(params![CONFIGURED, hash])? {
        return Ok(());
    }
    let another = "SELECT 1 FROM keys WHERE id <> ?1 AND hash = ?2";
    if transaction.prepare_cached(another)?.exists(params![CONFIGURED, hash])? {
        return Err(Error::Conflict("it is the key of an account already".into()));
    }
    // The account outlives the key, so that its pictures stay its own.
    let account = "SELECT account FROM keys WHERE id = ?1";
    let account = transaction.query_row(account, [CONFIGURED], |row| row.get(0)).optional()?;
    let Some(hash) = hash else {
        transaction.execute("UPDATE keys SET enabled = 0 WHERE id = ?1", [CONFIGURED])?;
        transaction.execute("DELETE FROM sessions WHERE key = ?1", [CONFIGURED])?;
        return Ok(());
    };
    let account = match account {
        Some(account) => account,
        None => {
            let name = Name::parse("server.api_key", "server.api_key")?;
            accounts::create_numbered(transaction, &name, Role::User, now)?
        }
    };
    transaction.execute("DELETE FROM keys WHERE id = ?1", [CONFIGURED])?;
    insert(transaction, CONFIGURED, account, "server.api_key", &hash, Role::User, RATE_LIMIT, now)
}
