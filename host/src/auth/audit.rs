// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! What was done to accounts, keys, sessions and the files of models, by whom and from where. An entry is written in
//! the transaction of the act itself, neither is there without the other; of files right after they were deleted.

use rusqlite::{Connection, Row, Transaction, params};

use super::{Actor, Who};
use crate::clock::Timestamp;
use crate::error::Result;

/// How the log names whoever acts on the server's own command line, and the daemon itself.
pub const CONSOLE: &str = "console";
/// How it names whoever has no account.
pub const NOBODY: &str = "-";

/// One act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// The account's name at that time, or who it was instead of an account.
    pub actor: String,
    /// What was done.
    pub act: String,
    /// To what.
    pub object: String,
    /// From which address.
    pub address: String,
}

/// Somebody who acts.
#[derive(Clone, Debug)]
pub struct Author {
    name: String,
    address: String,
}

impl Author {
    /// Whoever uses the command line on the server itself.
    pub fn console() -> Self {
        Self { name: CONSOLE.into(), address: "-".into() }
    }

    /// The account of this name, which `actor` has proved just now.
    pub fn proved(name: String, actor: &Actor) -> Self {
        Self { name, address: actor.address.to_string() }
    }

    /// The account's name, or who it is instead of an account.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl From<&Actor> for Author {
    fn from(actor: &Actor) -> Self {
        let name = match &actor.who {
            Who::Known(caller) => caller.name.clone(),
            Who::Nobody | Who::Anonymous => NOBODY.into(),
        };
        Self { name, address: actor.address.to_string() }
    }
}

/// Writes down that `author` did `act` to `object`.
///
/// # Errors
/// When the database fails.
pub fn note(
    transaction: &Transaction<'_>,
    author: &Author,
    act: &'static str,
    object: &str,
    now: Timestamp,
) -> Result<()> {
    transaction.execute(
        "INSERT INTO audit (at, actor, act, object, address) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![now, author.name, act, object, author.address],
    )?;
    Ok(())
}

/// The latest `limit` acts, the latest first.
///
/// # Errors
/// When the database fails.
pub fn latest(connection: &Connection, limit: u32) -> Result<Vec<Entry>> {
    let sql = "SELECT at, actor, act, object, address FROM audit ORDER BY id DESC LIMIT ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let entries = statement.query_map([limit], read)?;
    Ok(entries.collect::<rusqlite::Result<_>>()?)
}

fn read(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        at: row.get(0)?,
        actor: row.get(1)?,
        act: row.get(2)?,
        object: row.get(3)?,
        address: row.get(4)?,
    })
}
