// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Sessions: logins that last from request to request. The browser holds a token, the database its hash.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::token::{self, Hash, Kind};
use super::usage::Usage;
use super::{Caller, Proof, Role, ShownKey};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Seconds after which a login ends, however much it is used.
const LONGEST: i64 = 14 * 24 * 3600;

/// [`Terms::ended`] in SQL: the time now, the timeout and [`LONGEST`] are its parameters.
const ENDED: &str = "last_used + ?2 <= ?1 OR created_at + ?3 <= ?1";

/// A login, without its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: String,
    /// The account.
    pub account: i64,
    /// The account's name.
    pub account_name: String,
    /// The key that was used to log in.
    pub key: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, as far as it was written down.
    pub last_used: Timestamp,
}

/// A login that just began: the only time that its token can be read.
#[derive(Debug)]
pub struct NewSession {
    /// Its id.
    pub id: String,
    /// What the browser shows from now on.
    pub token: Secret,
}

/// What decides whether a login has ended.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// What time it is.
    pub clock: &'a Clock,
    /// When sessions were used since it was last written down.
    pub usage: &'a Usage,
    /// Seconds without a request after which a login ends.
    pub timeout: u32,
}

impl Terms<'_> {
    /// When a login was last used, written down or not.
    fn last_used(&self, id: &str, written: Timestamp) -> Timestamp {
        self.usage.session(id).map_or(written, |seen| seen.max(written))
    }

    fn ended(&self, created_at: Timestamp, last_used: Timestamp) -> bool {
        self.clock.passed(ends(created_at, last_used, self.timeout))
    }
}

impl Session {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            account: row.get(1)?,
            account_name: row.get(2)?,
            key: row.get(3)?,
            created_at: row.get(4)?,
            last_used: row.get(5)?,
        })
    }

    /// When it ends if nobody uses it again; `timeout` in seconds.
    pub fn ends(&self, timeout: u32) -> Timestamp {
        ends(self.created_at, self.last_used, timeout)
    }
}

fn ends(created_at: Timestamp, last_used: Timestamp, timeout: u32) -> Timestamp {
    last_used.saturating_add(timeout.into()).min(created_at.saturating_add(LONGEST))
}

/// The logins that have not ended, or those of one account, the latest first.
///
/// # Errors
/// When the database fails.
pub fn all(connection: &Connection, account: Option<i64>, terms: Terms<'_>) -> Result<Vec<Session>> {
    let mut statement = connection.prepare_cached(
        "SELECT sessions.id, account, accounts.name, key, sessions.created_at, last_used
         FROM sessions JOIN accounts ON accounts.id = account
         WHERE ?1 IS NULL OR account = ?1 ORDER BY sessions.created_at DESC, sessions.rowid DESC",
    )?;
    let mut sessions =
        statement.query_map([account], Session::read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    for session in &mut sessions {
        session.last_used = terms.last_used(&session.id, session.last_used);
    }
    sessions.retain(|session| !terms.ended(session.created_at, session.last_used));
    Ok(sessions)
}

/// Begins a login to `account`, proved with `key` if it was by a key.
///
/// # Errors
/// When the database fails.
pub fn begin(
    transaction: &Transaction<'_>,
    account: i64,
    key: Option<&str>,
    now: Timestamp,
) -> Result<NewSession> {
    let session = NewSession { id: token::id()?, token: token::mint(Kind::Session)? };
    transaction.execute(
        "INSERT INTO sessions (id, account, key, hash, created_at, last_used) VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
        params![session.id, account, key, Hash::of(session.token.expose()), now],
    )?;
    Ok(session)
}

/// Whose login `token` is, if it has not ended.
///
/// # Errors
/// When the database fails.
pub fn holder(connection: &Connection, token: &str, terms: Terms<'_>) -> Result<Option<Caller>> {
    let mut statement = connection.prepare_cached(
        "SELECT sessions.id, sessions.created_at, sessions.last_used, accounts.id, accounts.name, accounts.role,
             keys.id, keys.role, keys.rate_limit
         FROM sessions JOIN accounts ON accounts.id = sessions.account LEFT JOIN keys ON keys.id = sessions.key
         WHERE sessions.hash = ?1 AND accounts.enabled AND (keys.id IS NULL OR keys.enabled)",
    )?;
    let found = statement.query_row([Hash::of(token)], |row| {
        let id: String = row.get(0)?;
        if terms.ended(row.get(1)?, terms.last_used(&id, row.get(2)?)) {
            return Ok(None);
        }
        let role: Role = row.get(5)?;
        let of_key: Option<Role> = row.get(7)?;
        let key = match row.get(6)? {
            Some(id) => Some(ShownKey { id, rate_limit: row.get(8)? }),
            None => None,
        };
        Ok(Some(Caller {
            account: row.get(3)?,
            name: row.get(4)?,
            role: of_key.map_or(role, |of_key| of_key.min(role)),
            proof: Proof::Session { id, key },
        }))
    });
    Ok(found.optional()?.flatten())
}

/// Ends a login; only one of `account` if that is given.
///
/// # Errors
/// [`Error::NotFound`].
pub fn end(transaction: &Transaction<'_>, id: &str, account: Option<i64>) -> Result<()> {
    let sql = "DELETE FROM sessions WHERE id = ?1 AND (?2 IS NULL OR account = ?2)";
    if transaction.execute(sql, params![id, account])? == 0 { Err(Error::NotFound) } else { Ok(()) }
}

/// Ends the logins of `account` but the one with the id `kept`.
///
/// # Errors
/// When the database fails.
pub fn end_others(transaction: &Transaction<'_>, account: i64, kept: Option<&str>) -> Result<()> {
    let sql = "DELETE FROM sessions WHERE account = ?1 AND id IS NOT ?2";
    transaction.execute(sql, params![account, kept])?;
    Ok(())
}

/// Whether there are logins that have ended, as far as their use was written down.
///
/// # Errors
/// When the database fails.
pub fn any_ended(connection: &Connection, now: Timestamp, timeout: u32) -> Result<bool> {
    let sql = format!("SELECT 1 FROM sessions WHERE {ENDED}");
    Ok(connection.prepare_cached(&sql)?.exists(params![now, timeout, LONGEST])?)
}

/// Removes the logins that have ended, after their use was written down.
///
/// # Errors
/// When the database fails.
pub fn remove_ended(transaction: &Transaction<'_>, now: Timestamp, timeout: u32) -> Result<()> {
    transaction.execute(&format!("DELETE FROM sessions WHERE {ENDED}"), params![now, timeout, LONGEST])?;
    Ok(())
}
