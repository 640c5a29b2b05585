// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Invites: codes that administrators give to people who may then make an account of their own.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::audit::{self, Author};
use super::token::{self, Hash, Kind};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// How often an invite may be asked to work; 0 stands for ever.
const USES: RangeInclusive<i64> = 0..=1_000_000;
/// Hours for which an invite may be asked to work: up to ten years.
const HOURS: RangeInclusive<i64> = 1..=87_600;
/// As `uses_remaining`: for ever.
const UNLIMITED: i64 = -1;

/// An invite, without its code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Its id.
    pub id: String,
    /// The name, at that time, of the account that made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working, if ever.
    pub expires_at: Option<Timestamp>,
    /// How often it can still be used; -1 for ever.
    pub uses_remaining: i64,
    /// The ids of the keys that were made with it.
    pub used_by: Vec<String>,
}

impl Invite {
    /// Whether somebody could use it now.
    pub fn is_valid(&self, clock: &Clock) -> bool {
        works(self.expires_at, self.uses_remaining, clock)
    }
}

fn works(expires_at: Option<Timestamp>, uses_remaining: i64, clock: &Clock) -> bool {
    uses_remaining != 0 && !expires_at.is_some_and(|end| clock.passed(end))
}

/// How often and how long a new invite works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    uses: i64,
    hours: Option<i64>,
}

impl Terms {
    /// `uses` from 1, or 0 for an invite that is never used up; `hours` from 1, or `None` for one that never
    /// expires.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] about `uses` or `expires_hours`.
    pub fn new(uses: i64, hours: Option<i64>) -> Result<Self> {
        if !USES.contains(&uses) {
            return Err(Error::out_of_range("uses", format!("0 to {}", USES.end())));
        }
        if hours.is_some_and(|hours| !HOURS.contains(&hours)) {
            let range = format!("{} to {}", HOURS.start(), HOURS.end());
            return Err(Error::out_of_range("expires_hours", range));
        }
        Ok(Self { uses: if uses == 0 { UNLIMITED } else { uses }, hours })
    }
}

/// An invite that was just made: the only time that its code can be read.
#[derive(Debug)]
pub struct NewInvite {
    /// The invite.
    pub invite: Invite,
    /// What its holder shows.
    pub code: Secret,
}

/// Makes an invite.
///
/// # Errors
/// When the database fails.
pub fn create(
    transaction: &Transaction<'_>,
    author: &Author,
    terms: Terms,
    now: Timestamp,
) -> Result<NewInvite> {
    let code = token::mint(Kind::Invite)?;
    let invite = Invite {
        id: token::id()?,
        created_by: author.name().to_owned(),
        created_at: now,
        expires_at: terms.hours.map(|hours| now.saturating_add(hours.saturating_mul(3600))),
        uses_remaining: terms.uses,
        used_by: Vec::new(),
    };
    transaction.execute(
        "INSERT INTO invites (id, hash, created_by, created_at, expires_at, uses_remaining)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            invite.id,
            Hash::of(code.expose()),
            invite.created_by,
            now,
            invite.expires_at,
            invite.uses_remaining
        ],
    )?;
    audit::note(transaction, author, "invite.create", &invite.id, now)?;
    Ok(NewInvite { invite, code })
}

/// All invites, the latest first.
///
/// # Errors
/// When the database fails.
pub fn all(connection: &Connection) -> Result<Vec<Invite>> {
    let mut used: HashMap<String, Vec<String>> = HashMap::new();
    let mut statement = connection.prepare_cached("SELECT invite, key FROM invite_uses ORDER BY rowid")?;
    for row in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (invite, key) = row?;
        used.entry(invite).or_default().push(key);
    }
    let mut statement = connection.prepare_cached(
        "SELECT id, created_by, created_at, expires_at, uses_remaining FROM invites
         ORDER BY created_at DESC, rowid DESC",
    )?;
    let invites = statement.query_map([], |row| {
        let id: String = row.get(0)?;
        Ok(Invite {
            created_by: row.get(1)?,
            created_at: row.get(2)?,
            expires_at: row.get(3)?,
            uses_remaining: row.get(4)?,
            used_by: used.remove(&id).unwrap_or_default(),
            id,
        })
    })?;
    Ok(invites.collect::<rusqlite::Result<_>>()?)
}

/// Deletes an invite by its id or its whole code; the accounts that were made with it stay. Gives its id.
///
/// # Errors
/// [`Error::NotFound`].
pub fn delete(
    transaction: &Transaction<'_>,
    author: &Author,
    id_or_code: &str,
    now: Timestamp,
) -> Result<String> {
    let sql = "DELETE FROM invites WHERE id = ?1 OR hash = ?2 RETURNING id";
    let deleted = transaction.query_row(sql, params![id_or_code, Hash::of(id_or_code)], |row| row.get(0));
    let id: String = deleted.optional()?.ok_or(Error::NotFound)?;
    audit::note(transaction, author, "invite.delete", &id, now)?;
    Ok(id)
}

/// Uses an invite once. Gives its id.
///
/// # Errors
/// [`Error::Invalid`] about `invite_code`: unknown, expired and used up are not told apart.
pub fn use_up(transaction: &Transaction<'_>, code: &Secret, clock: &Clock) -> Result<String> {
    let found = transaction
        .prepare_cached("SELECT id, expires_at, uses_remaining FROM invites WHERE hash = ?1")?
        .query_row([Hash::of(code.expose().trim())], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let id: String = found
        .filter(|(_, expires_at, uses_remaining)| works(*expires_at, *uses_remaining, clock))
        .map(|(id, _, _)| id)
        .ok_or_else(|| Error::invalid("invite_code", "is wrong, expired or used up"))?;
    let sql = "UPDATE invites SET uses_remaining = uses_remaining - 1 WHERE id = ?1 AND uses_remaining > 0";
    transaction.execute(sql, [&id])?;
    Ok(id)
}

/// Writes down which key was made with an invite.
///
/// # Errors
/// When the database fails.
pub fn note_use(transaction: &Transaction<'_>, invite: &str, key: &str, now: Timestamp) -> Result<()> {
    let sql = "INSERT INTO invite_uses (invite, key, used_at) VALUES (?1, ?2, ?3)";
    transaction.execute(sql, params![invite, key, now])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::database::Database;

    async fn invite(database: &Database, uses: i64, hours: Option<i64>) -> NewInvite {
        let terms = Terms::new(uses, hours).unwrap();
        database.write(move |transaction| create(transaction, &Author::console(), terms, 1000)).await.unwrap()
    }

    async fn use_once(database: &Database, code: &Secret, clock: &Clock) -> bool {
        let (code, clock) = (code.clone(), clock.clone());
        match database.write(move |transaction| use_up(transaction, &code, &clock)).await {
            Ok(_) => true,
            Err(Error::Invalid { param, .. }) if param == "invite_code" => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn listed(database: &Database) -> Vec<Invite> {
        database.read(all).await.unwrap()
    }

    #[tokio::test]
    async fn an_invite_works_as_often_as_it_says() {
        let (_directory, database) = testing::database();
        let clock = Clock::standing(1000);
        let NewInvite { invite: made, code } = invite(&database, 2, None).await;
        assert_eq!(listed(&database).await, std::slice::from_ref(&made));
        assert!(made.is_valid(&clock) && made.uses_remaining == 2 && made.expires_at.is_none());
        assert!(use_once(&database, &code, &clock).await);
        assert!(use_once(&database, &code, &clock).await);
        assert!(!use_once(&database, &code, &clock).await);
        let spent = &listed(&database).await[0];
        assert!(spent.uses_remaining == 0 && !spent.is_valid(&clock));
    }

    #[tokio::test]
    async fn an_unlimited_invite_is_never_used_up() {
        let (_directory, database) = testing::database();
        let clock = Clock::standing(1000);
        let NewInvite { invite: made, code } = invite(&database, 0, None).await;
        assert_eq!(made.uses_remaining, -1);
        for _ in 0..5 {
            assert!(use_once(&database, &code, &clock).await);
        }
        assert_eq!(listed(&database).await[0].uses_remaining, -1);
    }

    #[tokio::test]
    async fn an_invite_expires_and_stops_working_when_the_clock_went_back() {
        let (_directory, database) = testing::database();
        let clock = Clock::standing(1000);
        let NewInvite { invite: made, code } = invite(&database, 0, Some(1)).await;
        assert_eq!(made.expires_at, Some(4600));
        clock.turn(4599);
        assert!(made.is_valid(&clock) && use_once(&database, &code, &clock).await);
        clock.turn(4600);
        assert!(!made.is_valid(&clock) && !use_once(&database, &code, &clock).await);
        clock.turn(4000);
        assert!(!made.is_valid(&clock) && !use_once(&database, &code, &clock).await);
    }

    #[tokio::test]
    async fn an_invite_is_deleted_by_its_id_or_its_code() {
        let (_directory, database) = testing::database();
        let delete_one = async |text: String| {
            database.write(move |transaction| delete(transaction, &Author::console(), &text, 1000)).await
        };
        for by_code in [false, true] {
            let NewInvite { invite: made, code } = invite(&database, 1, None).await;
            let text = if by_code { code.expose().to_owned() } else { made.id.clone() };
            assert_eq!(delete_one(text.clone()).await.unwrap(), made.id);
            assert!(matches!(delete_one(text).await, Err(Error::NotFound)));
            assert!(!use_once(&database, &code, &Clock::standing(1000)).await);
        }
        let acts = database.read(|connection| audit::latest(connection, 10)).await.unwrap();
        let acts: Vec<_> = acts.iter().rev().map(|entry| entry.act.as_str()).collect();
        assert_eq!(acts, ["invite.create", "invite.delete", "invite.create", "invite.delete"]);
    }

    #[test]
    fn terms_out_of_range_are_named() {
        for (uses, hours, param) in [
            (-1, None, "uses"),
            (1_000_001, None, "uses"),
            (1, Some(0), "expires_hours"),
            (1, Some(-5), "expires_hours"),
            (1, Some(i64::MAX), "expires_hours"),
        ] {
            let problem = Terms::new(uses, hours).unwrap_err();
            assert!(problem.to_string().starts_with(&format!("`{param}`")), "{problem}");
        }
    }

    #[tokio::test]
    async fn neither_the_database_nor_debug_output_holds_the_code() {
        let (directory, database) = testing::database();
        let made = invite(&database, 1, None).await;
        assert!(!format!("{made:?}").contains(made.code.expose()));
        assert!(!testing::is_in_a_file_of(directory.path(), made.code.expose()));
    }
}
