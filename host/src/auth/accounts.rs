// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Accounts: who there is, under which name, in which role. Every change that takes rights away also ends
//! the logins that had them, and none leaves the server without an administrator.

use std::fmt;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{Role, audit};
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// Most characters of a name.
pub(super) const LONGEST_NAME: usize = 64;

/// Names that the audit log gives to those who have no account.
const RESERVED: [&str; 2] = [audit::CONSOLE, audit::NOBODY];

/// A name that may be shown anywhere: 1 to 64 visible characters, without spaces around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        let name = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if name.is_empty() || name.chars().count() > LONGEST_NAME {
            return Err(format!("a name has 1 to {LONGEST_NAME} characters"));
        }
        if name.chars().any(is_invisible) {
            return Err("a name has visible characters only".into());
        }
        if RESERVED.contains(&name.to_lowercase().as_str()) {
            return Err("the audit log means somebody else by it".into());
        }
        Ok(Self(name))
    }
}

/// Characters that show nothing, and so would make a name look like another or turn the text around it: the
/// Default_Ignorable_Code_Points of Unicode, and those that are as blank as a space.
pub(super) fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

impl Name {
    /// `text` as the value of the parameter `param`.
    ///
    /// # Errors
    /// [`Error::Invalid`] about `param`.
    pub fn parse(param: &str, text: &str) -> Result<Self> {
        Self::try_from(text.to_owned())
            .map_err(|problem| Error::invalid(param, format!("cannot be used: {problem}")))
    }

    /// The name as it is shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which two names are compared.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// An account, without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number, which no other account ever gets.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whether it may log in and use its keys.
    pub enabled: bool,
    /// Whether it has a password.
    pub has_password: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

const COLUMNS: &str = "id, name, role, enabled, password IS NOT NULL, created_at";

impl Account {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            role: row.get(2)?,
            enabled: row.get(3)?,
            has_password: row.get(4)?,
            created_at: row.get(5)?,
        })
    }
}

/// All accounts, the oldest first.
///
/// # Errors
/// When the database fails.
pub fn all(connection: &Connection) -> Result<Vec<Account>> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM accounts ORDER BY id"))?;
    let accounts = statement.query_map([], Account::read)?;
    Ok(accounts.collect::<rusqlite::Result<_>>()?)
}

/// The account of a number.
///
/// # Errors
/// [`Error::NotFound`].
pub fn find(connection: &Connection, id: i64) -> Result<Account> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM accounts WHERE id = ?1"))?;
    statement.query_row([id], Account::read).optional()?.ok_or(Error::NotFound)
}

/// What a login by name needs: the account's number and its password's hash.
///
/// # Errors
/// When the database fails.
pub fn for_login(connection: &Connection, folded_name: &str) -> Result<Option<(i64, String)>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, password FROM accounts WHERE folded_name = ?1 AND enabled AND password IS NOT NULL",
    )?;
    Ok(statement.query_row([folded_name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// The hash of an account's password, if it has one.
///
/// # Errors
/// When the database fails.
pub fn password(connection: &Connection, id: i64) -> Result<Option<String>> {
    let mut statement = connection.prepare_cached("SELECT password FROM accounts WHERE id = ?1")?;
    Ok(statement.query_row([id], |row| row.get(0)).optional()?.flatten())
}

/// Makes an account; `password` is a hash. Gives its number.
///
/// # Errors
/// [`Error::Conflict`] when the name is taken.
pub fn create(
    transaction: &Transaction<'_>,
    name: &Name,
    role: Role,
    password: Option<&str>,
    now: Timestamp,
) -> Result<i64> {
    if is_taken(transaction, &name.folded())? {
        return Err(Error::Conflict(format!("the name `{name}` is taken")));
    }
    transaction.execute(
        "INSERT INTO accounts (name, folded_name, role, password, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![name.as_str(), name.folded(), role, password, now],
    )?;
    Ok(transaction.last_insert_rowid())
}

/// Makes an account for a key that was asked for by name alone, as the Python ALICE's clients do: a name that
/// is taken gets a number behind it.
///
/// # Errors
/// When the database fails.
pub fn create_numbered(
    transaction: &Transaction<'_>,
    name: &Name,
    role: Role,
    now: Timestamp,
) -> Result<i64> {
    if !is_taken(transaction, &name.folded())? {
        return create(transaction, name, role, None, now);
    }
    let stem: String = name.as_str().chars().take(LONGEST_NAME - 8).collect();
    for number in 2..1_000_000 {
        let numbered = Name(format!("{} {number}", stem.trim_end()));
        if !is_taken(transaction, &numbered.folded())? {
            return create(transaction, &numbered, role, None, now);
        }
    }
    Err(Error::Conflict(format!("the name `{name}` is taken")))
}

/// Whether an account has this name already.
///
/// # Errors
/// When the database fails.
pub fn is_taken(connection: &Connection, folded_name: &str) -> Result<bool> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM accounts WHERE folded_name = ?1")?;
    Ok(statement.exists([folded_name])?)
}

/// Gives an account another role and ends its logins, which began with the old one.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`] for the last administrator.
pub fn set_role(transaction: &Transaction<'_>, id: i64, role: Role) -> Result<()> {
    change(transaction, "UPDATE accounts SET role = ?2 WHERE id = ?1", id, &role)
}

/// Lets an account in again, or shuts it out with all its logins and keys.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`] for the last administrator.
pub fn set_enabled(transaction: &Transaction<'_>, id: i64, enabled: bool) -> Result<()> {
    change(transaction, "UPDATE accounts SET enabled = ?2 WHERE id = ?1", id, &enabled)
}

/// Sets the hash of an account's password and ends all its logins.
///
/// # Errors
/// [`Error::NotFound`].
pub fn set_password(transaction: &Transaction<'_>, id: i64, password: &str) -> Result<()> {
    change(transaction, "UPDATE accounts SET password = ?2 WHERE id = ?1", id, &password)
}

/// Stores the same password's hash with today's parameters; the logins go on.
///
/// # Errors
/// When the database fails.
pub fn renew_password_hash(transaction: &Transaction<'_>, id: i64, old: &str, new: &str) -> Result<()> {
    // Only if nobody has changed the password in between.
    transaction.execute(
        "UPDATE accounts SET password = ?3 WHERE id = ?1 AND password = ?2",
        params![id, old, new],
    )?;
    Ok(())
}

/// Deletes an account with its keys and logins. Its pictures stay, for administrators to see.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Conflict`] for the last administrator.
pub fn delete(transaction: &Transaction<'_>, id: i64) -> Result<()> {
    keep_an_administrator(transaction, || {
        match transaction.execute("DELETE FROM accounts WHERE id = ?1", [id])? {
            0 => Err(Error::NotFound),
            _ => Ok(()),
        }
    })
}

fn change(transaction: &Transaction<'_>, sql: &str, id: i64, value: &dyn rusqlite::ToSql) -> Result<()> {
    keep_an_administrator(transaction, || {
        if transaction.execute(sql, params![id, value])? == 0 {
            return Err(Error::NotFound);
        }
        transaction.execute("DELETE FROM sessions WHERE account = ?1", [id])?;
        Ok(())
    })
}

/// Makes a change, but not one that takes the last administrator's way in: a password, or a key.
///
/// # Errors
/// Those of `act`; [`Error::Conflict`].
pub fn keep_an_administrator(transaction: &Transaction<'_>, act: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = an_administrator_can_enter(transaction)?;
    act()?;
    if before && !an_administrator_can_enter(transaction)? {
        return Err(Error::Conflict("this is the last administrator's way in".into()));
    }
    Ok(())
}

/// Whether there is an administrator with a password or a key.
///
/// # Errors
/// When the database fails.
pub fn an_administrator_can_enter(connection: &Connection) -> Result<bool> {
    let sql = "SELECT 1 FROM accounts WHERE role = 'admin' AND enabled AND (password IS NOT NULL OR EXISTS (
        SELECT 1 FROM keys WHERE keys.account = accounts.id AND keys.role = 'admin' AND keys.enabled))";
    Ok(connection.prepare_cached(sql)?.exists([])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_looks_like_no_other_and_like_nobody_in_the_log() {
        let name = |text: &str| Name::try_from(text.to_owned()).map(String::from);
        assert_eq!(name("  Ada \t Lovelace "), Ok("Ada Lovelace".into()));
        assert_eq!(name("名前 é"), Ok("名前 é".into()));
        for bad in
            ["", " ", "-", "Console", "a\0b", "admin\u{200b}", "admin\u{3164}", "\u{34f}admin", "a\u{202e}b"]
        {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        assert!(name(&"x".repeat(64)).is_ok() && name(&"x".repeat(65)).is_err());
    }
}
