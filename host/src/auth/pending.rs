// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Requests for an account that an administrator decides about.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::accounts::Name;
use super::audit::{self, Author};
use super::keys::NewKey;
use super::{registration, token};
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// Most requests that wait to be decided: anybody can send one.
const MOST: i64 = 1000;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its id.
    pub id: String,
    /// The name that is asked for.
    pub name: String,
    /// What became of it.
    pub status: Status,
    /// When it was made.
    pub created_at: Timestamp,
    /// The name, at that time, of the account that decided.
    pub decided_by: Option<String>,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// The id of the key that was made.
    pub key: Option<String>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing yet.
    Pending,
    /// An account.
    Approved,
    /// No account.
    Rejected,
}

impl Status {
    const ALL: [Self; 3] = [Self::Pending, Self::Approved, Self::Rejected];

    /// The word for it in the database and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }

    /// The status that `text` means.
    ///
    /// # Errors
    /// [`Error::Invalid`] about `status`.
    pub fn parse(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| Error::invalid("status", "must be `pending`, `approved` or `rejected`"))
    }
}

/// A request that was just approved.
#[derive(Debug)]
pub struct Approved {
    /// The number of the account.
    pub account: i64,
    /// Its key, which the administrator hands over: the one who asked is not here to see it.
    pub key: NewKey,
}

/// Keeps a request for an account with this name and, if one was chosen, the hash of this password. Gives
/// its id.
///
/// # Errors
/// [`Error::Invalid`] about `name` when it is asked for already; [`Error::Conflict`] when too many requests
/// are pending.
pub(super) fn create(
    transaction: &Transaction<'_>,
    name: &Name,
    password: Option<&str>,
    now: Timestamp,
) -> Result<String> {
    let asked = "SELECT 1 FROM registrations WHERE folded_name = ?1 AND status = 'pending'";
    if transaction.prepare_cached(asked)?.exists([name.folded()])? {
        return Err(Error::invalid("name", "is asked for already"));
    }
    let waiting = "SELECT count(*) FROM registrations WHERE status = 'pending'";
    if transaction.query_row(waiting, [], |row| row.get::<_, i64>(0))? >= MOST {
        return Err(Error::Conflict("too many requests wait for an administrator; try again later".into()));
    }
    let id = token::id()?;
    transaction.execute(
        "INSERT INTO registrations (id, name, folded_name, password, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![id, name.as_str(), name.folded(), password, now],
    )?;
    Ok(id)
}

/// All requests, or those of one status, the oldest first.
///
/// # Errors
/// When the database fails.
pub fn all(connection: &Connection, status: Option<Status>) -> Result<Vec<Request>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, name, status, created_at, decided_by, decided_at, key FROM registrations
         WHERE ?1 IS NULL OR status = ?1 ORDER BY created_at, rowid",
    )?;
    let mut requests = Vec::new();
    let mut rows = statement.query([status.map(Status::as_str)])?;
    while let Some(row) = rows.next()? {
        requests.push(read(row)?);
    }
    Ok(requests)
}

fn read(row: &Row<'_>) -> Result<Request> {
    Ok(Request {
        id: row.get(0)?,
        name: row.get(1)?,
        status: Status::parse(&row.get::<_, String>(2)?)?,
        created_at: row.get(3)?,
        decided_by: row.get(4)?,
        decided_at: row.get(5)?,
        key: row.get(6)?,
    })
}

/// Makes the account that is asked for, with the password that was chosen and a key.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`] when it was decided already, or the name is taken by now.
pub fn approve(transaction: &Transaction<'_>, author: &Author, id: &str, now: Timestamp) -> Result<Approved> {
    let (name, password) = undecided(transaction, id)?;
    let name = Name::parse("name", &name)?;
    let (account, key) = registration::make_account(transaction, &name, password.as_deref(), now)?;
    decide(transaction, author, id, Status::Approved, Some(&key.id), now)?;
    audit::note(transaction, author, "registration.approve", name.as_str(), now)?;
    Ok(Approved { account, key })
}

/// Turns a request down.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`] when it was decided already.
pub fn reject(transaction: &Transaction<'_>, author: &Author, id: &str, now: Timestamp) -> Result<()> {
    let (name, _) = undecided(transaction, id)?;
    decide(transaction, author, id, Status::Rejected, None, now)?;
    audit::note(transaction, author, "registration.reject", &name, now)
}

/// Deletes a request, decided or not; the account that came of it stays.
///
/// # Errors
/// [`Error::NotFound`].
pub fn delete(transaction: &Transaction<'_>, author: &Author, id: &str, now: Timestamp) -> Result<()> {
    let sql = "DELETE FROM registrations WHERE id = ?1 RETURNING name";
    let name: Option<String> = transaction.query_row(sql, [id], |row| row.get(0)).optional()?;
    audit::note(transaction, author, "registration.delete", &name.ok_or(Error::NotFound)?, now)
}

/// The name and the password's hash of a request that nobody has decided.
fn undecided(transaction: &Transaction<'_>, id: &str) -> Result<(String, Option<String>)> {
    let sql = "SELECT name, password, status = 'pending' FROM registrations WHERE id = ?1";
    let found = transaction.query_row(sql, [id], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?)));
    match found.optional()? {
        Some((request, true)) => Ok(request),
        Some((_, false)) => Err(Error::Conflict("this request was decided already".into())),
        None => Err(Error::NotFound),
    }
}

fn decide(
    transaction: &Transaction<'_>,
    author: &Author,
    id: &str,
    status: Status,
    key: Option<&str>,
    now: Timestamp,
) -> Result<()> {
    // The account has the password now, or nobody needs it.
    transaction.execute(
        "UPDATE registrations SET status = ?2, decided_by = ?3, decided_at = ?4, key = ?5, password = NULL
         WHERE id = ?1",
        params![id, status.as_str(), author.name(), now, key],
    )?;
    Ok(())
}
